//! All units of the host for the drop-in metric families: listed once, then kept up to date by signals.
//!
//! It has a connection of its own, and only while the configuration wants families: what it costs is paid by nobody else,
//! and no fault of it comes near the watching of workers. A scrape reads the table, and never asks systemd.
//! Everything goes over this one connection and is handled in the order in which systemd sent it, so that an answer and a
//! signal need not be compared: the later one is the truth.

mod keeper;
mod session;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use regex::{Regex, RegexBuilder};
use tokio::sync::watch as cell;

use super::bus::BusAddress;
use super::{RETRY_MAX, RETRY_MIN};
use crate::model::Settings;
use crate::model::families::{Family, HostReading, HostUnits, UNIT_PATTERN_COMPILED_MAX};

/// Processes and threads of a control group, such as `/system.slice/mail.service`; `None`: no such group, or nobody counts.
pub type TasksOf = Arc<dyn Fn(&str) -> Option<u64> + Send + Sync>;

/// The table; written by [`watch_families`], read by scrapes.
pub struct Families {
    /// `None` until all units have been read once, and while they cannot be.
    host: Mutex<Option<Arc<HostUnits>>>,
    /// `None`: there is no pids controller, and nobody needs to know the control groups.
    tasks: Option<TasksOf>,
    calls: AtomicU64,
    signals: AtomicU64,
}

impl Families {
    pub fn new(tasks: Option<TasksOf>) -> Self {
        Self { host: Mutex::default(), tasks, calls: AtomicU64::new(0), signals: AtomicU64::new(0) }
    }

    /// All units as of now, and the tasks of services as their cgroups count them at this moment.
    pub fn read(&self) -> Option<HostReading> {
        let host = self.host.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let shown = host.units.iter().filter(|(_, unit)| unit.shown && self.tasks.is_some());
        let tasks = shown.filter_map(|(name, unit)| {
            let count = self.tasks.as_ref()?(unit.control_group.as_deref()?)?;
            Some((name.clone(), count))
        });
        let tasks = tasks.collect();
        Some(HostReading { host, tasks })
    }

    /// Calls sent to systemd.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Signals that came.
    pub fn signals(&self) -> u64 {
        self.signals.load(Ordering::Relaxed)
    }

    /// Changes what scrapes see. A table that a scrape is reading is copied once.
    fn change(&self, change: impl FnOnce(&mut HostUnits)) {
        if let Some(host) = &mut *self.host.lock().unwrap_or_else(PoisonError::into_inner) {
            change(Arc::make_mut(host));
        }
    }

    fn show(&self, host: Option<HostUnits>) {
        *self.host.lock().unwrap_or_else(PoisonError::into_inner) = host.map(Arc::new);
    }
}

/// What the configuration wants.
#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    families: Vec<Family>,
    include: String,
    exclude: String,
}

impl Wanted {
    fn of(settings: &Settings) -> Self {
        let daemon = &settings.daemon;
        Self {
            families: daemon.families.clone(),
            include: daemon.families_include.clone(),
            exclude: daemon.families_exclude.clone(),
        }
    }
}

/// Which units are shown.
#[derive(Debug, Clone)]
struct Filter {
    include: Regex,
    exclude: Regex,
}

impl Filter {
    /// Patterns must match whole names. The configuration has tried them, so an error is not expected.
    fn new(wanted: &Wanted) -> Result<Self, regex::Error> {
        let whole = |pattern: &str| {
            RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(UNIT_PATTERN_COMPILED_MAX).build()
        };
        Ok(Self { include: whole(&wanted.include)?, exclude: whole(&wanted.exclude)? })
    }

    fn wants(&self, unit: &str) -> bool {
        self.include.is_match(unit) && !self.exclude.is_match(unit)
    }
}

/// Why a session is over.
enum End {
    Lost(String),
    /// The configuration wants something else.
    Changed,
    /// Nobody will change the configuration any more: the daemon ends.
    Stopped,
}

/// Keeps the table as long as the configuration wants families; without, it waits and holds nothing.
pub async fn watch_families(bus: BusAddress, mut settings: cell::Receiver<Arc<Settings>>, families: Arc<Families>) {
    let mut pause = RETRY_MIN;
    let mut told = false;
    loop {
        let wanted = Wanted::of(&settings.borrow_and_update());
        if wanted.families.is_empty() {
            if settings.changed().await.is_err() {
                return;
            }
            continue;
        }
        let end = session::run(bus, &wanted, &mut settings, &families).await;
        let was_well = families.host.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        families.show(None);
        if was_well {
            (pause, told) = (RETRY_MIN, false);
        }
        match end {
            End::Stopped => return,
            End::Changed => continue,
            End::Lost(why) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(why, "the drop-in metric families are gone until systemd can be read again");
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
        }
    }
}
