//! Resource readings of an instance and of the host. A missing reading is `None`, never zero.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name::UnitName;
use super::time::Mono;

/// One sample of the resources of one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    pub unit: UnitName,
    pub at: Mono,
    /// CPU time since the cgroup began, microseconds.
    pub cpu_usec: Option<u64>,
    /// CPUs that CPUQuota= allows (1.5 = 150 %), the lowest on its path.
    pub cpu_quota: Option<f64>,
    /// memory.current, bytes; without the controller the resident sum of the processes.
    pub memory_bytes: Option<u64>,
    /// Page cache that can go at once (inactive_file), bytes.
    pub memory_inactive_file_bytes: Option<u64>,
    /// Lowest memory.max on its path, bytes; `None` where there is none.
    pub memory_max_bytes: Option<u64>,
    /// Lowest memory.high on its path, bytes.
    pub memory_high_bytes: Option<u64>,
    /// Processes and threads.
    pub tasks: Option<u64>,
    /// Lowest pids.max (TasksMax=) on its path; `None` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks_max: Option<u64>,
    /// Looked at once a minute; between two looks the last one stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files: Option<OpenFiles>,
    pub io_read_bytes: Option<u64>,
    pub io_written_bytes: Option<u64>,
    pub cpu_pressure: Option<Pressure>,
    pub memory_pressure: Option<Pressure>,
    pub io_pressure: Option<Pressure>,
    /// oom_kill of memory.events since the cgroup began.
    pub oom_kills: Option<u64>,
}

impl Usage {
    /// A sample with no reading at all: the gap itself.
    pub fn gap(unit: UnitName, at: Mono) -> Self {
        Self {
            unit,
            at,
            cpu_usec: None,
            cpu_quota: None,
            memory_bytes: None,
            memory_inactive_file_bytes: None,
            memory_max_bytes: None,
            memory_high_bytes: None,
            tasks: None,
            tasks_max: None,
            open_files: None,
            io_read_bytes: None,
            io_written_bytes: None,
            cpu_pressure: None,
            memory_pressure: None,
            io_pressure: None,
            oom_kills: None,
        }
    }
}

/// Open files of one process: of the processes of an instance the one that is nearest to its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct OpenFiles {
    pub count: u64,
    /// The soft RLIMIT_NOFILE (LimitNOFILE=): the process gets no further file.
    pub limit: u64,
}

impl OpenFiles {
    /// Part of its limit that is used. A process that may open nothing has used it up.
    pub fn share(&self) -> f64 {
        self.count as f64 / self.limit.max(1) as f64
    }
}

/// The `some` line of a PSI file.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Pressure {
    /// Share of the last 10 s in which a task waited, percent.
    pub avg10: f32,
    /// Time in which a task waited, microseconds since the cgroup began.
    pub total_usec: u64,
}

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DiskUsage {
    pub total_bytes: u64,
    /// What a user without privilege may still fill.
    pub available_bytes: u64,
    /// Files that there may be; 0 where the file system sets no such limit.
    pub total_inodes: u64,
    pub available_inodes: u64,
}

/// Host totals that thresholds fall back to.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct HostUsage {
    pub memory_total_bytes: u64,
    pub memory_available_bytes: u64,
    pub cpus: u32,
    pub load1: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readings that came later are not in it.
    #[test]
    fn an_old_recording_is_read() {
        let gap = Usage::gap(UnitName::new("a.service").unwrap(), Mono(7));
        let old = serde_json::to_value(&gap).unwrap();
        assert!(old.get("tasks").is_some() && old.get("tasks_max").is_none() && old.get("open_files").is_none());
        assert_eq!(serde_json::from_value::<Usage>(old).unwrap(), gap);
        let files = OpenFiles { count: 90, limit: 1024 };
        let full = Usage { tasks_max: Some(512), open_files: Some(files), ..gap };
        assert_eq!(serde_json::from_value::<Usage>(serde_json::to_value(&full).unwrap()).unwrap(), full);
    }
}
