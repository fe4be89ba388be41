//! All units of the host, workers or not, as the drop-in metric families show them.
//!
//! What could not be read is `None`, and has no series.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::condition::closed_set;
use super::unit::ActiveState;

closed_set!(
    /// Whose families are served besides our own.
    Family { NodeExporter = "node_exporter", SystemdExporter = "systemd_exporter" }
);

/// Longest regular expression of units, in bytes: people list their units in it.
pub const UNIT_PATTERN_MAX: usize = 8192;
/// Memory that one may take when compiled, in bytes.
pub const UNIT_PATTERN_COMPILED_MAX: usize = 4 << 20;

/// One unit. Times are microseconds since 1970-01-01 UTC, 0 for never, as systemd tells them.
#[derive(Debug, Clone, PartialEq)]
pub struct HostUnit {
    pub active: ActiveState,
    /// It is loaded, the patterns want it, and everything of it has been read once.
    pub shown: bool,
    /// `Type=` of a service; the file system of a mount.
    pub kind: Option<Box<str>>,
    pub active_enter: Option<u64>,
    pub active_exit: Option<u64>,
    pub inactive_enter: Option<u64>,
    pub inactive_exit: Option<u64>,
    /// Services only.
    pub restarts: Option<u32>,
    pub tasks_max: Option<u64>,
    pub control_group: Option<Box<str>>,
    /// Timers only.
    pub last_trigger: Option<u64>,
    /// Sockets only.
    pub accepted: Option<u32>,
    pub connections: Option<u32>,
    pub refused: Option<u32>,
}

impl HostUnit {
    /// Nothing is known but its state.
    pub fn new(active: ActiveState) -> Self {
        Self {
            active,
            shown: false,
            kind: None,
            active_enter: None,
            active_exit: None,
            inactive_enter: None,
            inactive_exit: None,
            restarts: None,
            tasks_max: None,
            control_group: None,
            last_trigger: None,
            accepted: None,
            connections: None,
            refused: None,
        }
    }
}

/// The host as of now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostUnits {
    pub families: Vec<Family>,
    pub units: BTreeMap<Arc<str>, HostUnit>,
    /// Units that are not in `units` because there are too many.
    pub left_out: usize,
    /// Whether the state of the manager is `running`.
    pub running: Option<bool>,
    pub version: Option<String>,
    /// Empty on bare metal.
    pub virtualization: Option<String>,
    /// When each stage of the boot was reached, by its name in systemd's properties.
    pub stages: BTreeMap<&'static str, Stage>,
}

/// A stage of the boot, microseconds; 0 where there was none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stage {
    pub monotonic: Option<u64>,
    pub realtime: Option<u64>,
}

/// A scrape's look at the host.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostReading {
    pub host: Arc<HostUnits>,
    /// Processes and threads of the services that have a cgroup with a pids controller.
    pub tasks: BTreeMap<Arc<str>, u64>,
}
