//! `WATCHDOG=1` that units send to systemd: never signalled, so it is asked for, of those workers alone that want it.
//!
//! 11 to 76 us of PID 1 each.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures_util::stream::{self, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use zbus::Variant;

use super::bus::{BusAddress, Caller, Haste, SERVICE};
use super::unit_path;
use crate::model::signal::{Beat, BeatSource, Member};
use crate::model::{Input, Mono, Settings};

/// Questions in flight.
const IN_FLIGHT: usize = 16;

/// Tells the beats of members with `heartbeat_watchdog` once each `health_check_interval`. What cannot be asked is a gap.
pub async fn watch_watchdogs(
    bus: BusAddress,
    settings: watch::Receiver<Arc<Settings>>,
    members: Arc<dyn Fn() -> Vec<Member> + Send + Sync>,
    inputs: mpsc::Sender<Input>,
) {
    let mut caller: Option<Caller> = None;
    while !inputs.is_closed() {
        let now = settings.borrow().clone();
        sleep(now.daemon.health_check_interval).await;
        let wants = |member: &Member| now.workers.get(&member.worker).is_some_and(|worker| worker.heartbeat_watchdog);
        let members: Vec<Member> = members().into_iter().filter(wants).collect();
        if members.is_empty() {
            caller = None;
            continue;
        }
        if caller.as_ref().is_none_or(|caller| caller.connection().is_closed()) {
            caller = bus.connect().await.ok().map(|connection| Caller::new(connection, Arc::new(AtomicU64::new(0))));
        }
        let Some(caller) = &caller else { continue };
        let asked =
            stream::iter(members.into_iter().map(|member| ask(caller.clone(), member))).buffer_unordered(IN_FLIGHT);
        let beats: Vec<Beat> = asked.filter_map(std::future::ready).collect().await;
        if !beats.is_empty() {
            // A round that does not fit is made good by the next.
            let _ = inputs.try_send(Input::Beats { beats });
        }
    }
}

async fn ask(caller: Caller, member: Member) -> Option<Beat> {
    let path = unit_path(member.unit.as_str());
    let value = caller.get(Haste::Bulk, &path, SERVICE, "WatchdogTimestampMonotonic").await.ok()?;
    match *value {
        Variant::U64(at) if is_beat(at, member.up_since) => {
            Some(Beat { unit: member.unit, at: Mono(at), source: BeatSource::Watchdog })
        }
        _ => None,
    }
}

/// systemd sets the timestamp itself when it starts a unit with WatchdogSec=, before the unit is active: taken for a
/// beat, that would make a program that never beats look hung.
fn is_beat(at: u64, up_since: Option<Mono>) -> bool {
    at < u64::MAX && up_since.is_some_and(|up| at > up.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_sets_at_the_start_is_no_beat() {
        // As measured on systemd 252 with WatchdogSec=1h and a program that never beats.
        let up = Some(Mono(14_264_248_547));
        assert!(!is_beat(14_264_248_225, up));
        assert!(is_beat(14_264_348_547, up));
        assert!(!is_beat(14_264_348_547, None), "one that is not up does not beat");
        assert!(!is_beat(0, up) && !is_beat(u64::MAX, up), "none was ever set");
    }
}
