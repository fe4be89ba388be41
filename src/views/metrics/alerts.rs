//! The series of alerts: what holds, and how it reaches each Alertmanager.

use super::catalog::{self as c, Metric};
use super::text::{Text, label};
use crate::model::alert::{Delivery, Severity};

/// As last told.
#[derive(Default)]
pub struct Alerts {
    pub firing: [u64; Severity::ALL.len()],
    pub deliveries: Vec<Delivery>,
}

impl Alerts {
    pub fn write(&self, text: &mut Text) {
        text.family(&c::ALERTS_FIRING, |series| {
            for severity in Severity::ALL {
                series.int(&label("severity", severity.as_str()), "", self.firing[*severity as usize]);
            }
        });
        let mut each = |metric: &'static Metric, read: fn(&Delivery) -> u64| {
            text.family(metric, |series| {
                for delivery in &self.deliveries {
                    series.int(&label("alertmanager", delivery.alertmanager.as_str()), "", read(delivery));
                }
            });
        };
        each(&c::ALERTS_SENT, |delivery| delivery.sent);
        each(&c::ALERTS_ERRORS, |delivery| delivery.errors);
        each(&c::ALERTS_DROPPED, |delivery| delivery.dropped);
        each(&c::ALERTS_QUEUED, |delivery| delivery.queued as u64);
    }
}
