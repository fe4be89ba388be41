//! CPU and pressure: busy is not sick.

use std::time::{Duration, Instant};

use unitmedic::model::{Condition, Health};

use super::LIMIT;
use crate::medic::{self, cgroup, keyed};
use crate::testhost::{Failure, Here, Place, wait_for};

pub const WORKERS: &str = r#"
[worker.throttled]
unit = "vm-throttled.service"
pressure_threshold = 20
allow_downtime = true
warning_patience = 0

[worker.roomy]
unit = "vm-roomy.service"
pressure_threshold = 90

[worker.crowd]
unit = "vm-crowd@.service"
max_instances = 2
scale_on = ["cpu"]
cpu_sustained = "2s"
pressure_threshold = 20
"#;

/// One uses all of a fifth of a CPU, the other half of two; the template has more work than its fifth can take.
pub const UNITS: &[(&str, &str)] = &[
    (
        "vm-throttled.service",
        "[Service]\nCPUQuota=20%\nExecStart=/opt/unitmedic-cases --as-worker spin /run/cases/throttled\n",
    ),
    (
        "vm-roomy.service",
        "[Service]\nCPUQuota=200%\nExecStart=/opt/unitmedic-cases --as-worker spin /run/cases/roomy\n",
    ),
    (
        "vm-crowd@.service",
        "[Service]\nCPUQuota=20%\nExecStart=/opt/unitmedic-cases --as-worker spin /run/cases/crowd\n",
    ),
];

pub fn judged_by_the_quota() -> Result<(), Failure> {
    let (throttled, roomy) = ("vm-throttled.service", "vm-roomy.service");
    medic::start(&[throttled, roomy])?;
    medic::trigger("throttled")?;
    medic::trigger("roomy")?;
    let pids = [Here.main_pid(throttled)?, Here.main_pid(roomy)?];

    let (seen, evidence) = medic::wait_condition(throttled, Condition::CpuHigh)?;
    let plausible = evidence.value.is_some_and(|value| (80.0..150.0).contains(&value));
    if seen.health != Health::Warning || !plausible || !evidence.text.contains("of 0.2 CPU (CPUQuota=)") {
        return Err(format!("{}: {evidence:?}", seen.health).into());
    }
    let (seen, starved) = medic::wait_condition(throttled, Condition::Starved)?;
    if seen.health != Health::Warning || !starved.text.starts_with("waited for CPU ") {
        return Err(format!("{}: {starved:?}", seen.health).into());
    }
    println!("{}; {}", evidence.text, starved.text);

    let stat = format!("{}/cpu.stat", cgroup(throttled)?);
    let (from, begun) = (keyed(&stat, "usage_usec")?, Instant::now());
    let mut told = Vec::new();
    medic::while_sampled(throttled, Duration::from_secs(6), |seen| {
        told.extend(seen.cpus);
        if seen.health == Health::Warning { Ok(()) } else { Err(format!("health is {}", seen.health).into()) }
    })?;
    let used = keyed(&stat, "usage_usec")? - from;
    let measured = used as f64 / begun.elapsed().as_micros() as f64;
    let mean = told.iter().sum::<f64>() / told.len() as f64;
    println!("CPUs in use: told {mean:.3} on average, by cpu.stat {measured:.3}");
    if (mean / measured - 1.0).abs() > 0.25 {
        return Err("the CPU in use is not what cpu.stat says".into());
    }
    let calm = medic::instance(roomy)?;
    println!("with two CPUs allowed: {:?} in use, {}", calm.cpus, calm.health);
    if calm.conditions.contains_key(&Condition::CpuHigh) {
        return Err(format!("one CPU of two is not high: {:?}", calm.conditions).into());
    }
    for (unit, pid) in [(throttled, pids[0]), (roomy, pids[1])] {
        let incidents = medic::incidents(unit)?;
        if !incidents.is_empty() || Here.main_pid(unit)? != pid {
            return Err(format!("something was done about {unit}, which is only busy: {incidents:?}").into());
        }
    }
    medic::stop(&[throttled, roomy])
}

pub fn a_template_that_waits_for_cpu_is_scaled() -> Result<(), Failure> {
    let (first, second) = ("vm-crowd@1.service", "vm-crowd@2.service");
    medic::start(&[first])?;
    let (pid, begun) = (Here.main_pid(first)?, Instant::now());
    medic::trigger("crowd")?;
    wait_for("a second instance is started", LIMIT, || {
        let state = Here.property(second, "ActiveState")?;
        if state == "active" { Ok(()) } else { Err(Failure::new(format!("it is {state}"))) }
    })?;
    println!("started {:.1} s after the first one had too much work", begun.elapsed().as_secs_f64());
    if Here.main_pid(first)? != pid {
        return Err("the first one was touched, which is only busy".into());
    }
    medic::stop(&[first, second])
}
