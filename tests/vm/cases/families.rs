//! The drop-in families where a pids controller counts tasks.

use super::LIMIT;
use crate::medic::{self, metric, wait_agrees};
use crate::testhost::{Failure, Here, Place, wait_for};

const UNIT: &str = "vm-tasks.service";

pub const WORKERS: &str = r#"
[worker.tasks]
unit = "vm-tasks.service"
"#;

pub const UNITS: &[(&str, &str)] =
    &[(UNIT, "[Service]\nTasksMax=55\nExecStart=sh -c 'sleep infinity & sleep infinity & sleep infinity; exit 1'\n")];

/// What systemd reads by itself for a question is read by us from the same file.
pub fn tasks_are_systemds() -> Result<(), Failure> {
    medic::start(&[UNIT])?;
    for unit in [UNIT, "systemd-journald.service", "dbus.service"] {
        let label = format!("name=\"{unit}\"");
        for (family, property) in
            [("node_systemd_unit_tasks_current", "TasksCurrent"), ("node_systemd_unit_tasks_max", "TasksMax")]
        {
            let told = || {
                let text = Here.property(unit, property)?;
                text.parse::<f64>().map_err(|_| Failure::new(format!("{property} is {text}")))
            };
            let value = wait_agrees(family, &[&label], told)?;
            println!("{unit}: {property} {value}");
        }
    }
    let label = format!("name=\"{UNIT}\"");
    let counted = metric("node_systemd_unit_tasks_current", &[&label])?;
    if counted != 4.0 {
        return Err(format!("{counted} tasks, not the shell and three that sleep").into());
    }
    medic::stop(&[UNIT])?;
    let others = || metric("node_systemd_unit_tasks_current", &["name=\"dbus.service\""]);
    wait_for("who has no cgroup has no tasks", LIMIT, || match metric("node_systemd_unit_tasks_current", &[&label]) {
        Ok(left) => Err(Failure::new(format!("{left} tasks"))),
        // The others have, so it is not that nothing is read.
        Err(_) => others().map(drop),
    })
}
