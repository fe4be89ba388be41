//! When the next resync starts: bursts become one, at most one runs and one waits. Pure.

use std::time::{Duration, Instant};

use crate::model::fact::ResyncReason;

/// A burst of unit file changes or reloads within this time is answered by one resync.
pub const BURST: Duration = Duration::from_millis(100);

/// The resync that runs and the one that waits.
#[derive(Debug, Default)]
pub struct Resyncs {
    running: Option<ResyncReason>,
    waiting: Option<(Instant, ResyncReason)>,
}

impl Resyncs {
    /// Asks for a resync. A later request within a burst never moves the start: a host that reloads without end must
    /// not keep us from looking.
    pub fn ask(&mut self, now: Instant, reason: ResyncReason) {
        let start = match reason {
            ResyncReason::Connected | ResyncReason::ManagerReexecuted => now,
            _ => now + BURST,
        };
        self.waiting = Some(match self.waiting {
            Some((planned, other)) => (planned.min(start), stronger(other, reason)),
            None => (start, reason),
        });
    }

    /// When the next one may start; `None` while one runs or none waits.
    pub fn due(&self) -> Option<Instant> {
        match self.running {
            Some(_) => None,
            None => self.waiting.map(|(start, _)| start),
        }
    }

    /// Starts the one that waits, if it may.
    pub fn start(&mut self, now: Instant) -> Option<ResyncReason> {
        if self.due()? > now {
            return None;
        }
        self.running = self.waiting.take().map(|(_, reason)| reason);
        self.running
    }

    pub fn running(&self) -> Option<ResyncReason> {
        self.running
    }

    /// The running one is over; returns its reason.
    pub fn finish(&mut self) -> Option<ResyncReason> {
        self.running.take()
    }
}

/// The reason that asks for the deeper look.
fn stronger(one: ResyncReason, other: ResyncReason) -> ResyncReason {
    let depth = |reason| match reason {
        ResyncReason::Connected => 5,
        ResyncReason::ManagerReexecuted => 4,
        ResyncReason::ManagerReloaded => 3,
        ResyncReason::SettingsChanged => 2,
        ResyncReason::UnitFilesChanged => 1,
        ResyncReason::QueueOverflow => 0,
    };
    if depth(other) > depth(one) { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_one_resync_that_is_not_put_off() {
        let t0 = Instant::now();
        let mut resyncs = Resyncs::default();
        for ms in [0, 40, 80] {
            resyncs.ask(t0 + Duration::from_millis(ms), ResyncReason::UnitFilesChanged);
        }
        assert_eq!(resyncs.due(), Some(t0 + BURST));
        assert_eq!(resyncs.start(t0 + Duration::from_millis(99)), None);
        assert_eq!(resyncs.start(t0 + BURST), Some(ResyncReason::UnitFilesChanged));
        assert_eq!(resyncs.due(), None);
    }

    #[test]
    fn one_runs_and_one_waits() {
        let t0 = Instant::now();
        let mut resyncs = Resyncs::default();
        resyncs.ask(t0, ResyncReason::Connected);
        assert_eq!(resyncs.start(t0), Some(ResyncReason::Connected));
        resyncs.ask(t0, ResyncReason::UnitFilesChanged);
        resyncs.ask(t0, ResyncReason::ManagerReloaded);
        resyncs.ask(t0, ResyncReason::UnitFilesChanged);
        assert_eq!(resyncs.start(t0 + BURST * 9), None);
        assert_eq!(resyncs.finish(), Some(ResyncReason::Connected));
        assert_eq!(resyncs.start(t0 + BURST), Some(ResyncReason::ManagerReloaded));
        resyncs.finish();
        assert_eq!(resyncs.due(), None);
    }

    #[test]
    fn a_new_manager_is_looked_at_without_delay() {
        let t0 = Instant::now();
        let mut resyncs = Resyncs::default();
        resyncs.ask(t0, ResyncReason::UnitFilesChanged);
        resyncs.ask(t0, ResyncReason::ManagerReexecuted);
        assert_eq!(resyncs.start(t0), Some(ResyncReason::ManagerReexecuted));
    }
}
