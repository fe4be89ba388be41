//! The metrics of a unit against the files of its cgroup.

use crate::medic::{self, assigned, cgroup, keyed, number};
use crate::testhost::Failure;

const MIB: u64 = 1 << 20;

pub const WORKERS: &str = r#"
[worker.disk]
unit = "vm-disk.service"

[worker.spun]
unit = "vm-spun.service"
"#;

pub const UNITS: &[(&str, &str)] = &[
    (
        "vm-disk.service",
        "[Service]\nIOAccounting=yes\nMemoryMax=64M\nTasksMax=40\n\
         ExecStart=/opt/unitmedic-cases --as-worker write-and-read /var/tmp/cases-disk 8M\n",
    ),
    ("vm-spun.service", "[Service]\nCPUQuota=50%\nExecStart=/opt/unitmedic-cases --as-worker spin-for 2\n"),
];

/// The worker has done its work and sleeps, so that every number stands still and must agree to the last digit.
pub fn agree_with_the_cgroup() -> Result<(), Failure> {
    let (disk, spun) = ("vm-disk.service", "vm-spun.service");
    medic::start(&[disk, spun])?;

    let io = format!("{}/io.stat", cgroup(disk)?);
    for (metric, key) in
        [("unitmedic_unit_io_read_bytes_total", "rbytes"), ("unitmedic_unit_io_written_bytes_total", "wbytes")]
    {
        // The first reading may come before its last write; 8 MiB must have gone either way in the end.
        let bytes = medic::wait_agrees(metric, &[&label(disk)], || {
            let bytes = assigned(&io, "", key)?;
            if bytes >= 8 * MIB { Ok(bytes as f64) } else { Err(Failure::new(format!("{key}={bytes}"))) }
        })?;
        println!("{metric} {bytes}");
    }
    for unit in [disk, spun] {
        let directory = cgroup(unit)?;
        let file = |name: &str| format!("{directory}/{name}");
        let seconds = |usec: u64| usec as f64 / 1e6;
        let cpu = medic::wait_agrees("unitmedic_unit_cpu_seconds_total", &[&label(unit)], || {
            Ok(seconds(keyed(&file("cpu.stat"), "usage_usec")?))
        })?;
        let tasks =
            medic::wait_agrees("unitmedic_unit_tasks", &[&label(unit)], || Ok(number(&file("pids.current"))? as f64))?;
        let limit =
            medic::wait_agrees(
                "unitmedic_unit_tasks_limit",
                &[&label(unit)],
                || Ok(number(&file("pids.max"))? as f64),
            )?;
        medic::wait_agrees("unitmedic_unit_memory_bytes", &[&label(unit)], || {
            Ok(number(&file("memory.current"))? as f64)
        })?;
        println!("{unit}: {cpu} s of CPU, {tasks} of {limit} tasks");
        for resource in ["cpu", "memory", "io"] {
            let labels = [label(unit), format!("resource=\"{resource}\"")];
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            let waited = medic::wait_agrees("unitmedic_unit_pressure_waiting_seconds_total", &labels, || {
                Ok(seconds(assigned(&file(&format!("{resource}.pressure")), "some", "total")?))
            })?;
            println!("{unit}: waited {waited} s for {resource}");
        }
    }
    medic::stop(&[disk, spun])
}

fn label(unit: &str) -> String {
    format!("unit=\"{unit}\"")
}
