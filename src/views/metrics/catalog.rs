//! Every metric of unitmedic, once: name, type, unit, labels, help.
//!
//! Labels take values from closed sets or from the configuration, never from the outside.

use std::fmt::Write as _;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One metric family.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    /// `seconds`, `bytes`, `ratio` (0 to 1), `bool` (0 or 1), `timestamp` (seconds since 1970-01-01 UTC), `count`.
    pub unit: &'static str,
    /// In the order in which they are written; `le` of histograms is not among them.
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

macro_rules! catalog {
    ($($id:ident = $kind:ident $name:literal $unit:literal [$($label:literal),*] $help:literal;)+) => {
        $(pub const $id: $crate::views::metrics::Metric = $crate::views::metrics::Metric {
            name: $name, kind: $crate::views::metrics::Kind::$kind, unit: $unit, labels: &[$($label),*], help: $help,
        };)+
        /// In the order of the exposition.
        pub const ALL: &[&$crate::views::metrics::Metric] = &[$(&$id),+];
    };
}
pub(super) use catalog;

catalog! {
    UP = Gauge "unitmedic_up" "bool" []
        "Whether unitmedic sees its units: 0 while the bus is lost, and then no unit or health has a series.";
    READY = Gauge "unitmedic_ready" "bool" []
        "Whether unitmedic sees its units and decides; /-/ready says why not.";
    BUILD_INFO = Gauge "unitmedic_build_info" "count" ["version", "revision", "systemd"]
        "Always 1; the labels name the versions of unitmedic and systemd.";
    DRY_RUN = Gauge "unitmedic_dry_run" "bool" []
        "Whether unitmedic decides and tells but does nothing.";
    HELD = Gauge "unitmedic_held" "bool" []
        "Whether the hold file is there, which stops every act.";
    WATCH_ONLY = Gauge "unitmedic_watch_only" "bool" []
        "Whether unitmedic only watches because it crashed again and again.";
    STORM = Gauge "unitmedic_storm" "bool" []
        "Whether so many instances are sick at once that a shared cause is assumed and restarts wait.";

    WORKER_HEALTH = Gauge "unitmedic_worker_health" "bool" ["worker", "health"]
        "1 for the present health of the worker, 0 for the others.";
    WORKER_INSTANCES = Gauge "unitmedic_worker_instances" "count" ["worker", "state"]
        "Instances of the worker: configured min and max, desired, running, healthy.";
    WORKER_SCALED = Gauge "unitmedic_worker_scaled_instances" "count" ["worker"]
        "Instances that unitmedic started by scale_up or surge and will stop again.";
    PAUSED = Gauge "unitmedic_paused" "bool" ["worker"]
        "Whether an operator has paused the worker (maintenance).";

    UNIT_HEALTH = Gauge "unitmedic_unit_health" "bool" ["worker", "unit", "health"]
        "1 for the present health of the unit, 0 for the others.";
    UNIT_ACTIVE_STATE = Gauge "unitmedic_unit_active_state" "bool" ["worker", "unit", "state"]
        "1 for the ActiveState that systemd gives the unit, 0 for the others.";
    UNIT_FOUND = Gauge "unitmedic_unit_found" "bool" ["worker", "unit"]
        "Whether systemd has the unit loaded and valid: 0 for not-found, masked and broken ones.";
    UNIT_START_TIME = Gauge "unitmedic_unit_start_time_seconds" "timestamp" ["worker", "unit"]
        "When the unit became active, in seconds since 1970-01-01 UTC; absent while it is not.";
    UNIT_RESTARTS = Counter "unitmedic_unit_restarts_total" "count" ["worker", "unit", "cause"]
        "Starts and restarts of the unit seen by this daemon, by who did it; systemd's NRestarts starts anew, this does not.";
    UNIT_CPU = Counter "unitmedic_unit_cpu_seconds_total" "seconds" ["worker", "unit"]
        "CPU time of the unit since its cgroup began.";
    UNIT_MEMORY = Gauge "unitmedic_unit_memory_bytes" "bytes" ["worker", "unit"]
        "Memory charged to the unit, page cache included; without a memory controller, the resident memory of its processes.";
    UNIT_MEMORY_CACHE = Gauge "unitmedic_unit_memory_inactive_file_bytes" "bytes" ["worker", "unit"]
        "Part of the memory that is page cache and can go at once; memory_high judges the memory less this.";
    UNIT_MEMORY_LIMIT = Gauge "unitmedic_unit_memory_limit_bytes" "bytes" ["worker", "unit"]
        "Lowest memory.max on the path of the unit's cgroup; absent where there is no limit.";
    UNIT_TASKS = Gauge "unitmedic_unit_tasks" "count" ["worker", "unit"]
        "Processes and threads of the unit.";
    UNIT_TASKS_LIMIT = Gauge "unitmedic_unit_tasks_limit" "count" ["worker", "unit"]
        "Lowest pids.max (TasksMax=) on the path of the unit's cgroup; absent where there is no limit.";
    UNIT_OPEN_FILES = Gauge "unitmedic_unit_open_files" "count" ["worker", "unit"]
        "Open files of the process of the unit that is nearest to its limit, read once a minute; absent before Linux 6.2.";
    UNIT_OPEN_FILES_LIMIT = Gauge "unitmedic_unit_open_files_limit" "count" ["worker", "unit"]
        "Soft limit of open files (RLIMIT_NOFILE, LimitNOFILE=) of that process.";
    UNIT_IO_READ = Counter "unitmedic_unit_io_read_bytes_total" "bytes" ["worker", "unit"]
        "Bytes that the unit read from block devices since its cgroup began.";
    UNIT_IO_WRITTEN = Counter "unitmedic_unit_io_written_bytes_total" "bytes" ["worker", "unit"]
        "Bytes that the unit wrote to block devices since its cgroup began.";
    UNIT_PRESSURE = Counter "unitmedic_unit_pressure_waiting_seconds_total" "seconds" ["worker", "unit", "resource"]
        "Time in which at least one task of the unit waited for the resource (PSI some) since its cgroup began.";
    UNIT_OOM_KILLS = Counter "unitmedic_unit_oom_kills_total" "count" ["worker", "unit"]
        "Processes of the unit that were killed for memory: those that its cgroups counted, and one where systemd says that such a kill ended the unit.";
    HEARTBEAT_TIME = Gauge "unitmedic_heartbeat_timestamp_seconds" "timestamp" ["worker", "unit"]
        "When the unit last gave a sign of life, in seconds since 1970-01-01 UTC; absent for one that never did since it started.";
    JOURNAL_ERRORS = Counter "unitmedic_journal_errors_total" "count" ["worker", "unit"]
        "Entries of priority err and worse, or matching error_match, that the unit wrote to the journal.";
    PROBE_SUCCESS = Gauge "unitmedic_probe_success" "bool" ["worker", "unit"]
        "Whether the last probe of the unit passed; absent while that is unknown.";
    QUEUE_UP = Gauge "unitmedic_queue_up" "bool" ["worker", "vhost", "queue"]
        "Whether the queue could be read the last time; 0 takes its other series away and judges nobody.";
    QUEUE_READY = Gauge "unitmedic_queue_messages_ready" "count" ["worker", "vhost", "queue"]
        "Messages ready for delivery.";
    QUEUE_UNACKED = Gauge "unitmedic_queue_messages_unacknowledged" "count" ["worker", "vhost", "queue"]
        "Messages delivered and not acknowledged; needs management_url.";
    QUEUE_CONSUMERS = Gauge "unitmedic_queue_consumers" "count" ["worker", "vhost", "queue"]
        "Consumers of the queue, those of other hosts included.";
    QUEUE_ACKED = Counter "unitmedic_queue_acknowledged_total" "count" ["worker", "vhost", "queue"]
        "Messages acknowledged since the broker's statistics of the queue began; needs management_url.";
    SERIES_DROPPED = Gauge "unitmedic_series_dropped" "count" []
        "Units that have no series because there are more of them than the exposition's limit.";

    ALERTS_FIRING = Gauge "unitmedic_alerts_firing" "count" ["severity"]
        "Alerts that hold now, by severity.";
    ALERTS_SENT = Counter "unitmedic_alerts_sent_total" "count" ["alertmanager"]
        "Alerts that the Alertmanager took; each telling of an alert counts.";
    ALERTS_ERRORS = Counter "unitmedic_alerts_errors_total" "count" ["alertmanager"]
        "Alerts that the Alertmanager could not be given or did not take; they are tried again.";
    ALERTS_DROPPED = Counter "unitmedic_alerts_dropped_total" "count" ["alertmanager"]
        "Alerts that were dropped because too many waited; what still holds is told again.";
    ALERTS_QUEUED = Gauge "unitmedic_alerts_queue_length" "count" ["alertmanager"]
        "Alerts that wait for the Alertmanager.";

    INCIDENTS = Counter "unitmedic_incidents_total" "count" ["worker", "condition"]
        "Incidents opened, by the condition that opened them; requested means that an operator asked for a recovery.";
    INCIDENTS_OPEN = Gauge "unitmedic_incidents_open" "count" ["worker", "health"]
        "Incidents open now, by the worst health that their conditions imply; healthy means that an operator asked.";
    INCIDENTS_CLOSED = Counter "unitmedic_incidents_closed_total" "count" ["worker", "resolution"]
        "Incidents closed, by how they ended.";
    ATTEMPTS = Counter "unitmedic_recovery_attempts_total" "count" ["worker", "action"]
        "Actions carried out for incidents; escalate counts how often an operator was called.";
    RECOVERIES = Counter "unitmedic_recoveries_total" "count" ["worker", "condition", "action", "outcome"]
        "Recoveries that ended, by outcome; only succeeded and failed enter a success ratio.";
    SUPPRESSED = Counter "unitmedic_recovery_suppressed_total" "count" ["worker", "reason"]
        "Times that a gate began to hold back an action, by gate.";
    APPROVALS = Counter "unitmedic_approvals_total" "count" ["worker", "answer"]
        "Questions whether a planned action may be done, by how they ended: approved, rejected, or expired without an answer.";
    APPROVALS_WAITING = Gauge "unitmedic_approvals_waiting" "count" ["worker"]
        "Planned actions that wait for an operator's yes now.";
    RECOVERY_DURATION = Histogram "unitmedic_recovery_duration_seconds" "seconds" ["worker", "action"]
        "Time from the failure to the first observation of the healthy stretch that proved the recovery.";
    DETECTION_DELAY = Histogram "unitmedic_detection_delay_seconds" "seconds" ["condition"]
        "Time from the failure, by systemd's timestamp, to unitmedic's seeing it.";
    AVAILABLE = Counter "unitmedic_available_seconds_total" "seconds" ["worker"]
        "Time in which the worker had at least min_instances serving.";
    OBSERVED = Counter "unitmedic_observed_seconds_total" "seconds" ["worker"]
        "Time in which the worker was seen and its time counted: not paused, not stopped, not unknown.";

    SUCCESS_RATIO = Gauge "unitmedic_recovery_success_ratio" "ratio" ["worker"]
        "Succeeded recoveries of the last 30 days over those that succeeded or failed, from the history.";
    MTTR = Gauge "unitmedic_mttr_seconds" "seconds" ["worker"]
        "Mean time to recover of the succeeded recoveries of the last 30 days, from the history.";
    AVAILABILITY_RATIO = Gauge "unitmedic_availability_ratio" "ratio" ["worker"]
        "Available time over observed time of the last 30 days, from the history.";
    FALSE_ALARM_RATIO = Gauge "unitmedic_false_alarm_ratio" "ratio" ["worker"]
        "False alarms among the incidents of the last 30 days, from the history.";

    DBUS_CONNECTED = Gauge "unitmedic_dbus_connected" "bool" []
        "Whether the connection to systemd's bus is up and a snapshot has been taken over it.";
    DBUS_CALLS = Counter "unitmedic_dbus_calls_total" "count" []
        "Method calls sent over D-Bus.";
    DBUS_SIGNALS = Counter "unitmedic_dbus_signals_total" "count" []
        "Signals received over D-Bus.";
    RESYNCS = Counter "unitmedic_resyncs_total" "count" ["reason"]
        "Times that all units were looked at anew, by reason.";
    LAST_RESYNC = Gauge "unitmedic_last_resync_timestamp_seconds" "timestamp" []
        "When all units were last looked at, in seconds since 1970-01-01 UTC.";
    LOOP_TURN = Histogram "unitmedic_loop_turn_seconds" "seconds" []
        "Duration of one turn of the event loop, waiting not included.";
    INPUTS_DROPPED = Counter "unitmedic_inputs_dropped_total" "count" ["queue"]
        "Inputs lost because a bounded queue was full, by queue; lost signals are made good by a resync.";
    JOURNAL_GAPS = Counter "unitmedic_journal_gaps_total" "count" []
        "Spans of time in which errors in the journal may have been missed; the log says why.";
    HEARTBEATS = Counter "unitmedic_heartbeat_datagrams_total" "count" ["result"]
        "Datagrams to the heartbeat socket: counted, other (no WATCHDOG=1), or refused because the sender is a stranger, gone, or unseen.";
    BROKER_CONNECTS = Counter "unitmedic_broker_connects_total" "count" []
        "Attempts to connect to a message broker.";
    BROKER_FAILURES = Counter "unitmedic_broker_connect_failures_total" "count" []
        "Attempts to connect to a message broker that failed, and connections that were lost.";
    STORE_ERRORS = Counter "unitmedic_store_errors_total" "count" []
        "Writes to the history that failed; protection goes on, the history has a hole.";
    STORE_LAST_WRITE = Gauge "unitmedic_store_last_write_timestamp_seconds" "timestamp" []
        "When the history was last written, in seconds since 1970-01-01 UTC.";
    STATE_DISK_SIZE = Gauge "unitmedic_state_disk_size_bytes" "bytes" []
        "Size of the file system of the state directory; it and its kin are absent where it cannot be looked at.";
    STATE_DISK_AVAILABLE = Gauge "unitmedic_state_disk_available_bytes" "bytes" []
        "Room on the file system of the state directory for users without privilege.";
    STATE_DISK_INODES = Gauge "unitmedic_state_disk_available_inodes" "count" []
        "Files that the file system of the state directory takes further; absent where it sets no limit.";
    STATE_DISK_LOW = Gauge "unitmedic_state_disk_low" "bool" []
        "Whether little room is left on the file system of the state directory, or will be within 6 hours; unitmedic status says which.";
    STATE_DISK_FULL = Gauge "unitmedic_state_disk_full_timestamp_seconds" "timestamp" []
        "When the file system of the state directory will be full, as it fills now; absent where that is not foreseen within 6 hours.";
    PATTERN_LINES = Counter "unitmedic_pattern_lines_total" "count" ["result"]
        "Lines of errors that patterns are learned from: learned, left_out (of a flood, of which a sample is learned), or dropped because learning was behind.";
    PATTERNS = Gauge "unitmedic_patterns" "count" []
        "Patterns of errors that are known.";
    KNOWLEDGE_REFUSED = Counter "unitmedic_knowledge_refused_total" "count" []
        "Times that what was learned could not be read and was set aside; the log says why.";
    HTTP_REQUESTS = Counter "unitmedic_http_requests_total" "count" ["endpoint", "code"]
        "HTTP requests answered, on TCP and on the control socket.";
    HTTP_DENIED = Counter "unitmedic_http_denied_total" "count" ["reason"]
        "HTTP requests and connections that were refused; docs/security.md tells the reasons.";

    PROCESS_CPU = Counter "process_cpu_seconds_total" "seconds" []
        "CPU time of unitmedic itself.";
    PROCESS_RESIDENT = Gauge "process_resident_memory_bytes" "bytes" []
        "Resident memory of unitmedic itself.";
    PROCESS_START = Gauge "process_start_time_seconds" "timestamp" []
        "When unitmedic started, in seconds since 1970-01-01 UTC.";
    PROCESS_FDS = Gauge "process_open_fds" "count" []
        "File descriptors that unitmedic has open; absent where they are many and Linux older than 6.2, for counting takes long there.";
}

/// The part of docs/metrics.md that is made from a catalog.
pub fn markdown(catalog: &[&Metric]) -> String {
    let mut out = String::from("| metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n");
    for metric in catalog {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, unit, help) = (metric.name, metric.kind.as_str(), metric.unit, metric.help);
        writeln!(out, "| `{name}` | {kind} | {unit} | {} | {help} |", labels.join(", "))
            .expect("writing to a String does not fail");
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::views::metrics::families::catalog as families;

    const BEGIN: &str = "<!-- made from the catalog: UPDATE_DOCS=1 cargo test catalog -->\n";
    const FAMILIES_BEGIN: &str = "<!-- made from the catalog of families: UPDATE_DOCS=1 cargo test catalog -->\n";
    const END: &str = "<!-- end of the catalog -->";

    /// The conventions of Prometheus that promtool checks, and ours.
    #[test]
    fn names_follow_the_conventions() {
        let mut names = BTreeSet::new();
        for metric in ALL {
            let name = metric.name;
            assert!(names.insert(name), "{name} is there twice");
            assert!(name.starts_with("unitmedic_") || name.starts_with("process_"), "{name}: prefix");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}: _total is for counters");
            let base = name.trim_end_matches("_total");
            match metric.unit {
                "seconds" => assert!(base.ends_with("_seconds"), "{name}"),
                "timestamp" => assert!(base.ends_with("_seconds"), "{name}"),
                "bytes" => assert!(base.ends_with("_bytes"), "{name}"),
                "ratio" => assert!(base.ends_with("_ratio"), "{name}"),
                "bool" | "count" => {
                    assert!(!["_seconds", "_bytes", "_ratio"].iter().any(|s| base.ends_with(s)), "{name}")
                }
                unit => panic!("{name}: unit {unit}"),
            }
            assert!(!metric.help.is_empty() && !metric.help.contains(['\n', '\\', '|']), "{name}: help");
        }
    }

    /// The names of the drop-in families are not ours to choose.
    #[test]
    fn families_are_named_as_the_exporters_name_them() {
        let mut names: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        for metric in families::ALL {
            let (name, help) = (metric.name, metric.help);
            assert!(names.insert(name), "{name} is there twice");
            let prefixes = ["node_systemd_", "systemd_", "unitmedic_families_"];
            assert!(prefixes.iter().any(|prefix| name.starts_with(prefix)), "{name}: prefix");
            assert!(metric.kind != Kind::Counter || name.ends_with("_total"), "{name}");
            assert!(!help.is_empty() && !help.contains(['\n', '\\', '|', '"']), "{name}: help");
        }
    }

    #[test]
    fn docs_are_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        let mut text = std::fs::read_to_string(path).unwrap();
        let stale = "docs/metrics.md is stale: UPDATE_DOCS=1 cargo test catalog";
        for (begin, catalog) in [(BEGIN, ALL), (FAMILIES_BEGIN, families::ALL)] {
            let from = text.find(begin).expect("docs/metrics.md has the marker") + begin.len();
            let to = from + text[from..].find(END).expect("docs/metrics.md has the second marker");
            if std::env::var_os("UPDATE_DOCS").is_some() {
                text.replace_range(from..to, &markdown(catalog));
            }
            assert!(text[from..].starts_with(&format!("{}{END}", markdown(catalog))), "{stale}");
        }
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, text).unwrap();
        }
    }
}
