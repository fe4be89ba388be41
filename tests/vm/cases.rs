//! The cases. Each runs as root in the machine, one after the other; a name is a sentence about the product.

use std::time::Duration;

use crate::testhost::{Failure, Here, Place, wait_for};

/// QEMU emulates the processor: what takes 10 ms elsewhere may take 200 ms here.
const LIMIT: Duration = Duration::from_secs(30);

pub type Case = (&'static str, fn() -> Result<(), Failure>);

pub const CASES: &[Case] = &[
    ("a_unit_has_a_memory_controller", a_unit_has_a_memory_controller),
    ("a_unit_has_pressure_files", a_unit_has_pressure_files),
    ("the_program_under_test_runs", the_program_under_test_runs),
];

fn a_unit_has_a_memory_controller() -> Result<(), Failure> {
    let cgroup = start_sleeper("sleeper-memory", "MemoryMax=64M")?;
    let limit = Here.sh(&format!("cat {cgroup}/memory.max"))?;
    if limit != (64 << 20).to_string() {
        return Err(format!("memory.max is {limit}").into());
    }
    wait_for("memory.current is above 0", LIMIT, || {
        let current = Here.sh(&format!("cat {cgroup}/memory.current"))?;
        if current.parse::<u64>()? > 0 { Ok(()) } else { Err(Failure::from(current)) }
    })?;
    let events = Here.sh(&format!("cat {cgroup}/memory.events"))?;
    if !events.contains("oom_kill 0") {
        return Err(format!("memory.events: {events}").into());
    }
    Here.ctl(&["stop", "sleeper-memory"])?;
    Ok(())
}

fn a_unit_has_pressure_files() -> Result<(), Failure> {
    let cgroup = start_sleeper("sleeper-pressure", "CPUWeight=100")?;
    for resource in ["cpu", "memory", "io"] {
        let pressure = Here.sh(&format!("cat {cgroup}/{resource}.pressure"))?;
        if !pressure.starts_with("some avg10=") {
            return Err(format!("{resource}.pressure: {pressure}").into());
        }
    }
    Here.ctl(&["stop", "sleeper-pressure"])?;
    Ok(())
}

fn the_program_under_test_runs() -> Result<(), Failure> {
    Here.run(&["unitmedic", "--version"])?.success()?;
    Ok(())
}

/// Starts a transient service; returns its cgroup's directory.
fn start_sleeper(name: &str, property: &str) -> Result<String, Failure> {
    Here.sh(&format!("systemd-run --quiet --unit={name} --property={property} sleep infinity"))?;
    Here.wait_active(name, LIMIT)?;
    Ok(format!("/sys/fs/cgroup{}", Here.property(name, "ControlGroup")?))
}
