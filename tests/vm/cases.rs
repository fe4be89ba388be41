//! The cases. Each runs as root in the machine, one after the other; a name is a sentence about the product.

use std::time::Duration;

pub mod cleanup;
mod cpu;
mod families;
mod memory;
mod recovery;
mod sampling;

use crate::testhost::{Failure, Here, Place, wait_for};

/// QEMU emulates the processor: what takes 10 ms elsewhere may take 200 ms here.
pub const LIMIT: Duration = Duration::from_secs(60);

pub type Case = (&'static str, fn() -> Result<(), Failure>);

pub const CASES: &[Case] = &[
    ("a_unit_has_a_memory_controller", a_unit_has_a_memory_controller),
    ("a_unit_has_pressure_files", a_unit_has_pressure_files),
    ("the_program_under_test_runs", the_program_under_test_runs),
    ("memory_over_the_threshold_ends_in_a_graceful_restart", memory::ends_in_a_graceful_restart),
    ("page_cache_up_to_the_limit_is_no_memory_in_use", memory::page_cache_is_not_in_use),
    ("a_warning_does_not_justify_downtime_of_the_only_instance", memory::no_downtime_for_a_warning),
    ("the_lowest_memory_limit_on_the_path_holds", memory::the_lowest_limit_holds),
    ("an_oom_kill_is_seen_counted_and_mended", memory::an_oom_kill_is_mended),
    ("memory_cleanup_reclaims_to_the_target_without_a_restart", cleanup::reclaims_to_the_target),
    ("a_time_box_reclaims_and_puts_memory_high_back", cleanup::time_box_restores),
    ("memory_high_is_put_back_after_a_kill_of_unitmedic", cleanup::a_kill_is_mended),
    ("memory_that_cannot_be_taken_costs_no_time", cleanup::gives_up),
    ("cpu_is_judged_by_the_quota_and_busy_is_not_sick", cpu::judged_by_the_quota),
    ("a_template_that_waits_for_cpu_is_scaled", cpu::a_template_that_waits_for_cpu_is_scaled),
    ("tasks_of_the_drop_in_families_are_what_systemd_says", families::tasks_are_systemds),
    ("samples_are_what_the_cgroup_says", sampling::agree_with_the_cgroup),
    ("verification_goes_on_after_a_kill_of_unitmedic", recovery::verification_goes_on),
];

/// What unitmedic is told of the workers of all cases.
pub const WORKERS: &[&str] = &[memory::WORKERS, cpu::WORKERS, families::WORKERS, sampling::WORKERS, recovery::WORKERS];

/// Their units: name and text.
pub const WORKER_UNITS: &[&[(&str, &str)]] =
    &[memory::UNITS, cpu::UNITS, families::UNITS, sampling::UNITS, recovery::UNITS];

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
