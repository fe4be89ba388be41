//! The drop-in families, once: names, types and labels are those of the exporters, the help texts are ours.
//!
//! Refused connections are a gauge there, whatever the name says; whoever replaces an exporter must not be told otherwise.

use crate::views::metrics::catalog::catalog;

catalog! {
    LEFT_OUT = Gauge "unitmedic_families_units_left_out" "count" []
        "Units that the drop-in families leave out because there are more of them than the limit.";

    NODE_UNIT_STATE = Gauge "node_systemd_unit_state" "bool" ["name", "type", "state"]
        "1 for the ActiveState of the unit, 0 for the others; type is Type= of a service or the file system of a mount.";
    NODE_UNIT_START_TIME = Gauge "node_systemd_unit_start_time_seconds" "timestamp" ["name"]
        "When the unit became active, in seconds since 1970-01-01 UTC; 0 while it is not.";
    NODE_UNIT_TASKS = Gauge "node_systemd_unit_tasks_current" "count" ["name"]
        "Processes and threads of the service; absent where no pids controller counts them.";
    NODE_UNIT_TASKS_MAX = Gauge "node_systemd_unit_tasks_max" "count" ["name"]
        "TasksMax= of the service; absent where there is no limit.";
    NODE_RESTARTS = Counter "node_systemd_service_restart_total" "count" ["name"]
        "Restarts of the service by its own Restart=, as systemd counts them.";
    NODE_TIMER = Gauge "node_systemd_timer_last_trigger_seconds" "timestamp" ["name"]
        "When the timer last elapsed, in seconds since 1970-01-01 UTC; 0 for never.";
    NODE_ACCEPTED = Counter "node_systemd_socket_accepted_connections_total" "count" ["name"]
        "Connections that the socket has accepted.";
    NODE_CONNECTIONS = Gauge "node_systemd_socket_current_connections" "count" ["name"]
        "Connections of the socket that are open.";
    NODE_REFUSED = Gauge "node_systemd_socket_refused_connections_total" "count" ["name"]
        "Connections that the socket has refused.";
    NODE_UNITS = Gauge "node_systemd_units" "count" ["state"]
        "Units by ActiveState, all that systemd has in memory.";
    NODE_RUNNING = Gauge "node_systemd_system_running" "bool" []
        "Whether the state of the system is running: neither starting nor degraded.";
    NODE_VERSION = Gauge "node_systemd_version" "count" ["version"]
        "Version of systemd as a number; the label has it in full.";
    NODE_VIRTUALIZATION = Gauge "node_systemd_virtualization_info" "count" ["virtualization_type"]
        "Always 1; the label names the virtualization that systemd detected, none on bare metal.";

    UNIT_STATE = Gauge "systemd_unit_state" "bool" ["name", "type", "state"]
        "1 for the ActiveState of the unit, 0 for the others; type is the ending of its name.";
    UNIT_INFO = Gauge "systemd_unit_info" "count" ["name", "type", "mount_type", "service_type"]
        "Always 1; the labels tell Type= of a service or the file system of a mount.";
    UNIT_START_TIME = Gauge "systemd_unit_start_time_seconds" "timestamp" ["name", "type"]
        "When the service became active, in seconds since 1970-01-01 UTC; 0 while it is not.";
    UNIT_TASKS = Gauge "systemd_unit_tasks_current" "count" ["name"]
        "Processes and threads of the service; absent where no pids controller counts them.";
    UNIT_TASKS_MAX = Gauge "systemd_unit_tasks_max" "count" ["name", "type"]
        "TasksMax= of the service; absent where there is no limit.";
    UNIT_ACTIVE_ENTER = Gauge "systemd_unit_active_enter_time_seconds" "timestamp" ["name", "type"]
        "When the unit last became active, in seconds since 1970-01-01 UTC; 0 for never.";
    UNIT_ACTIVE_EXIT = Gauge "systemd_unit_active_exit_time_seconds" "timestamp" ["name", "type"]
        "When the unit last ceased to be active, in seconds since 1970-01-01 UTC; 0 for never.";
    UNIT_INACTIVE_ENTER = Gauge "systemd_unit_inactive_enter_time_seconds" "timestamp" ["name", "type"]
        "When the unit last became inactive, in seconds since 1970-01-01 UTC; 0 for never.";
    UNIT_INACTIVE_EXIT = Gauge "systemd_unit_inactive_exit_time_seconds" "timestamp" ["name", "type"]
        "When the unit last ceased to be inactive, in seconds since 1970-01-01 UTC; 0 for never.";
    RESTARTS = Counter "systemd_service_restart_total" "count" ["name"]
        "Restarts of the service by its own Restart=, as systemd counts them.";
    TIMER = Gauge "systemd_timer_last_trigger_seconds" "timestamp" ["name"]
        "When the timer last elapsed, in seconds since 1970-01-01 UTC; 0 for never.";
    ACCEPTED = Counter "systemd_socket_accepted_connections_total" "count" ["name"]
        "Connections that the socket has accepted.";
    CONNECTIONS = Gauge "systemd_socket_current_connections" "count" ["name"]
        "Connections of the socket that are open.";
    REFUSED = Gauge "systemd_socket_refused_connections_total" "count" ["name"]
        "Connections that the socket has refused.";
    BOOT_MONOTONIC = Gauge "systemd_boot_monotonic_seconds" "seconds" ["stage"]
        "When the stage of the boot was reached, on the monotonic clock; 0 where there was none.";
    BOOT_TIME = Gauge "systemd_boot_time_seconds" "timestamp" ["stage"]
        "When the stage of the boot was reached, in seconds since 1970-01-01 UTC; 0 where there was none.";
}
