//! From the question for the list of units to the snapshot that tells it, while signals go on being handled.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::{Done, End, Session};
use crate::adapters::systemd::bus::{Haste, error_name, error_text};
use crate::adapters::systemd::look::{Listing, is_reply, list};
use crate::adapters::systemd::table::{Looks, UNITS_MAX};
use crate::model::fact::ResyncReason;
use crate::model::input::{Input, Snapshot};
use crate::model::name::UnitName;
use crate::model::time::Mono;
use crate::model::unit::ManagerState;

/// Resyncs in a row that may fail before the session counts as lost.
const RESYNCS_FAILED_MAX: u32 = 3;
/// Pause before a resync that failed is tried again.
const RESYNC_PAUSE: Duration = Duration::from_millis(200);

/// A resync that is under way.
pub(super) struct Resync {
    pub(super) listing: Option<Listing>,
    /// Units that must have been looked at before the snapshot is whole.
    pub(super) awaited: HashSet<UnitName>,
    /// Units whose unit files are read again after it.
    pub(super) refresh: Looks,
}

impl Session<'_> {
    pub(super) fn start_listing(&mut self) {
        self.table.listing_begins();
        self.resync = Some(Resync { listing: None, awaited: HashSet::new(), refresh: Vec::new() });
        let (caller, patterns) = (self.caller.clone(), self.table.patterns());
        self.start(async move { Done::Listed(list(&caller, &patterns).await) });
    }

    pub(super) fn resync_failed(&mut self, error: &zbus::Error) -> Option<End> {
        self.resyncs_failed += 1;
        let reason = self.resyncs.finish();
        self.resync = None;
        if self.resyncs_failed >= RESYNCS_FAILED_MAX || (!is_reply(error) && error_name(error).is_none()) {
            return Some(End::Lost(format!("systemd does not list its units: {}", error_text(error))));
        }
        // A manager that re-executes itself drops the calls that it had, before the bus tells that it is gone.
        self.resyncs.ask(Instant::now() + RESYNC_PAUSE, reason.unwrap_or(ResyncReason::ManagerReexecuted));
        None
    }

    pub(super) fn listed(&mut self, listing: Listing) {
        let reason = self.resyncs.running().unwrap_or(ResyncReason::Connected);
        let all = matches!(reason, ResyncReason::Connected | ResyncReason::ManagerReexecuted);
        let mut listing = listing;
        let units = std::mem::take(&mut listing.units);
        let (before, after) = self.table.listed(units, &listing.files, all);
        self.manager = Some(listing.manager);
        if let Some(resync) = &mut self.resync {
            resync.listing = Some(listing);
            resync.refresh = after;
            resync.awaited = before.iter().map(|(unit, _)| unit.clone()).collect();
        }
        for (unit, depth) in before {
            self.look(unit, depth, Haste::Bulk);
        }
        self.whole();
    }

    /// If nothing is awaited any more, the snapshot is ready to be told.
    pub(super) fn whole(&mut self) {
        let Some(resync) = self.resync.take_if(|resync| resync.listing.is_some() && resync.awaited.is_empty()) else {
            return;
        };
        self.resyncs_failed = 0;
        if let Some(listing) = resync.listing {
            self.last_listing = Some((listing.manager, listing.startup_finished));
        }
        self.ready = Some(self.resyncs.finish().unwrap_or(ResyncReason::Connected));
        for (unit, depth) in resync.refresh {
            self.look(unit, depth, Haste::Bulk);
        }
    }

    /// The snapshot as of this moment.
    pub(super) fn snapshot(&mut self) -> Input {
        let reason = self.ready.take().unwrap_or(ResyncReason::Connected);
        let (manager, startup_finished) = self.last_listing.unwrap_or((ManagerState::Unknown, Mono(0)));
        let units = self.table.snapshot();
        self.overflowed = false;
        self.stats.resynced(reason);
        if self.table.left_out() > 0 {
            tracing::warn!(
                left_out = self.table.left_out(),
                limit = UNITS_MAX,
                "too many units match; narrow the workers' units"
            );
        }
        Input::Snapshot(Snapshot { reason, manager, startup_finished, units })
    }

    pub(super) fn after_snapshot(&mut self) {
        for input in std::mem::take(&mut self.late) {
            self.send(input);
        }
        // Jobs that were queued before we looked: of what kind they are decides whether a stop was wanted.
        let waiting: Vec<(UnitName, u32)> = self.table.jobs().collect();
        for (unit, job) in waiting {
            self.ask_kind(unit.to_string(), job);
        }
    }
}
