//! Memory: what counts as in use, by which limit, and what is done about it.

use std::time::Duration;

use unitmedic::model::fact::Gate;
use unitmedic::model::{Action, Condition, Evidence, Health, Outcome, Resolution};

use super::LIMIT;
use crate::medic::{self, cgroup, keyed, number};
use crate::testhost::{Failure, Here, Place, wait_for};

const MIB: u64 = 1 << 20;

pub const WORKERS: &str = r#"
[worker.leak]
unit = "vm-leak@.service"

[worker.reader]
unit = "vm-reader.service"
allow_downtime = true
warning_patience = 0

[worker.solo]
unit = "vm-solo.service"
plans.memory_high = ["graceful_restart", "escalate"]
warning_patience = "1s"

[worker.inner]
unit = "vm-inner.service"

[worker.hog]
unit = "vm-hog.service"
"#;

pub const UNITS: &[(&str, &str)] = &[
    (
        "vm-leak@.service",
        "[Service]\nMemoryMax=64M\nExecStart=/opt/unitmedic-cases --as-worker hold-anon 57M /run/cases/leak-%i\n",
    ),
    (
        "vm-reader.service",
        "[Service]\nMemoryMax=32M\nExecStart=/opt/unitmedic-cases --as-worker read-file /var/tmp/cases-read\n",
    ),
    (
        "vm-solo.service",
        "[Service]\nMemoryMax=32M\nExecStart=/opt/unitmedic-cases --as-worker hold-anon 28M /run/cases/solo\n",
    ),
    ("vmlimits.slice", "[Slice]\nMemoryMax=48M\n"),
    // 43 MiB are 90 % of the slice's limit and 67 % of its own.
    (
        "vm-inner.service",
        "[Service]\nSlice=vmlimits.slice\nMemoryMax=64M\n\
         ExecStart=/opt/unitmedic-cases --as-worker hold-anon 43M /run/cases/inner\n",
    ),
    (
        "vm-hog.service",
        "[Service]\nMemoryMax=32M\nExecStart=/opt/unitmedic-cases --as-worker alloc-forever /run/cases/hog\n",
    ),
];

/// `warning_patience` of the cases.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn ends_in_a_graceful_restart() -> Result<(), Failure> {
    let (sick, other) = ("vm-leak@1.service", "vm-leak@2.service");
    medic::start(&[sick, other])?;
    let before = [Here.property(sick, "InvocationID")?, Here.property(other, "InvocationID")?];
    let directory = cgroup(sick)?;

    medic::trigger("leak-1")?;
    let (seen, _) = medic::wait_condition(sick, Condition::MemoryHigh)?;
    if seen.health != Health::Warning {
        return Err(format!("health is {}", seen.health).into());
    }
    let evidence = wait_evidence(sick, &directory, 64 * MIB)?;
    let labels = [format!("unit=\"{sick}\"")];
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let file = |name: &str| Ok(number(&format!("{directory}/{name}"))? as f64);
    let bytes = medic::wait_agrees("unitmedic_unit_memory_bytes", &labels, || file("memory.current"))?;
    let limit = medic::wait_agrees("unitmedic_unit_memory_limit_bytes", &labels, || file("memory.max"))?;
    println!("{}; metrics {bytes} of {limit}", evidence.text);

    let incident = medic::wait_closed(sick)?;
    let (attempt, before_it) = incident.attempts.split_last().ok_or("no attempt")?;
    let waited = attempt.intended_at.since(incident.opened_at);
    let facts = (attempt.action, attempt.outcome, incident.resolution);
    // What a process holds cannot be reclaimed without swap.
    let milder =
        before_it.iter().all(|one| (one.action, one.outcome) == (Action::MemoryCleanup, Some(Outcome::Superseded)));
    if facts != (Action::GracefulRestart, Some(Outcome::Succeeded), Some(Resolution::Recovered)) || !milder {
        return Err(format!("{incident:?}\n{}", story(sick)?).into());
    }
    if waited < PATIENCE {
        return Err(format!("acted after {waited:?}, before warning_patience was over").into());
    }
    let after = [Here.property(sick, "InvocationID")?, Here.property(other, "InvocationID")?];
    if after[0] == before[0] || after[1] != before[1] {
        return Err(format!("invocations before {before:?}, after {after:?}").into());
    }
    let left = number(&format!("{}/memory.current", cgroup(sick)?))?;
    if left > 16 * MIB {
        return Err(format!("{left} bytes are still in use").into());
    }
    println!(
        "acted {:.1} s after the warning; {left} bytes left; recovered in {:?}",
        waited.as_secs_f64(),
        incident.time_to_recover
    );
    medic::stop(&[sick, other])
}

/// What unitmedic and systemd said of a unit lately, for a failure.
fn story(unit: &str) -> Result<String, Failure> {
    Here.journal(&["-u", "unitmedic", "-u", unit, "-o", "short-monotonic", "-n", "40"])
}

/// A sample may fall into the time in which memory grows, so the evidence is compared until it is of a later one.
fn wait_evidence(unit: &str, directory: &str, limit: u64) -> Result<Evidence, Failure> {
    wait_for("the evidence says what the cgroup says", LIMIT, || {
        let (_, evidence) = medic::wait_condition(unit, Condition::MemoryHigh)?;
        let cache = keyed(&format!("{directory}/memory.stat"), "inactive_file")?;
        let used = number(&format!("{directory}/memory.current"))? - cache;
        let percent = used as f64 / limit as f64 * 100.0;
        let text = format!(
            "memory {:.0} MiB of {} MiB ({percent:.0} % of MemoryMax=), over 85 %",
            used as f64 / MIB as f64,
            limit / MIB
        );
        let near = evidence.value.is_some_and(|value| (value - percent).abs() < 0.1);
        if near && evidence.threshold == Some(85.0) && evidence.text == text {
            return Ok(evidence);
        }
        Err(Failure::new(format!("{evidence:?}; the cgroup: {text}")))
    })
}

pub fn page_cache_is_not_in_use() -> Result<(), Failure> {
    let name = "vm-reader.service";
    // Four times the limit, so that no page is read again while it is still cached. Holes are cached like data.
    Here.sh("truncate --size 128M /var/tmp/cases-read")?;
    medic::start(&[name])?;
    let (pid, directory) = (Here.main_pid(name)?, cgroup(name)?);
    let full = |share: f64| {
        let current = number(&format!("{directory}/memory.current"))?;
        if current as f64 >= share * (32 * MIB) as f64 { Ok(current) } else { Err(Failure::new(current.to_string())) }
    };
    wait_for("the cache fills its limit", LIMIT, || full(0.97))?;
    let (mut most, mut pressure) = (0, 0.0_f32);
    medic::while_sampled(name, Duration::from_secs(8), |seen| {
        let usage = seen.usage.as_ref().ok_or("no sample")?;
        pressure = pressure.max(usage.memory_pressure.map_or(0.0, |pressure| pressure.avg10));
        most = most.max(full(0.9)?);
        let over = seen.conditions.get(&Condition::MemoryHigh);
        over.map_or(Ok(()), |evidence| Err(Failure::new(format!("memory_high: {}; {usage:?}", evidence.text))))
    })?;
    if !medic::incidents(name)?.is_empty() || Here.main_pid(name)? != pid {
        return Err("something was done about a full cache".into());
    }
    println!("memory.current up to {most} of {} bytes, memory pressure up to {pressure} %", 32 * MIB);
    medic::stop(&[name])
}

pub fn no_downtime_for_a_warning() -> Result<(), Failure> {
    let name = "vm-solo.service";
    medic::start(&[name])?;
    let pid = Here.main_pid(name)?;
    medic::trigger("solo")?;
    medic::wait_condition(name, Condition::MemoryHigh)?;
    let refusal = wait_for("the gate downtime refuses", LIMIT, || {
        let explanation = medic::explain(name)?;
        let first = explanation.gates.into_iter().find_map(|view| view.refusal);
        first
            .filter(|refusal| refusal.gate == Gate::Downtime)
            .ok_or_else(|| Failure::new(format!("{:?}", explanation.health)))
    })?;
    if refusal.setting.as_deref() != Some("worker.solo.allow_downtime") {
        return Err(format!("{refusal:?}").into());
    }
    let text = Here.run(&["unitmedic", "explain", name])?.success()?;
    if !text.contains(&refusal.text) || !text.contains("worker.solo.allow_downtime") {
        return Err(format!("explain does not name the gate and its setting:\n{text}").into());
    }
    medic::while_sampled(name, Duration::from_secs(4), |seen| match seen.health {
        Health::Warning => Ok(()),
        other => Err(format!("health is {other}").into()),
    })?;
    let incident = medic::incidents(name)?.into_iter().next().ok_or("no incident")?;
    if !incident.attempts.is_empty() || Here.main_pid(name)? != pid {
        return Err(format!("something was done: {incident:?}").into());
    }
    println!("{}", refusal.text);
    medic::stop(&[name])
}

pub fn the_lowest_limit_holds() -> Result<(), Failure> {
    let name = "vm-inner.service";
    medic::start(&[name])?;
    let directory = cgroup(name)?;
    medic::trigger("inner")?;
    medic::wait_condition(name, Condition::MemoryHigh)?;
    let evidence = wait_evidence(name, &directory, 48 * MIB)?;
    let limit = medic::metric("unitmedic_unit_memory_limit_bytes", &[&format!("unit=\"{name}\"")])?;
    if limit != (48 * MIB) as f64 {
        return Err(format!("the limit is told as {limit}").into());
    }
    println!("{}", evidence.text);
    medic::stop(&[name])
}

pub fn an_oom_kill_is_mended() -> Result<(), Failure> {
    let name = "vm-hog.service";
    medic::start(&[name])?;
    let before = Here.property(name, "InvocationID")?;
    medic::trigger("hog")?;
    let incident = medic::wait_closed(name)?;
    let conditions: Vec<Condition> = incident.conditions.keys().copied().collect();
    if !conditions.contains(&Condition::OomKilled) || !conditions.contains(&Condition::Dead) {
        return Err(format!("conditions {:?}", incident.conditions).into());
    }
    let attempt = incident.attempts.first().ok_or("no attempt")?;
    let facts = (attempt.action, attempt.outcome, incident.attempts.len(), incident.resolution);
    if facts != (Action::Restart, Some(Outcome::Succeeded), 1, Some(Resolution::Recovered)) {
        return Err(format!("{incident:?}\n{}", story(name)?).into());
    }
    let told = Here.journal(&["-u", name, "--grep", "oom-kill"])?;
    if !told.contains("Failed with result 'oom-kill'") || Here.property(name, "InvocationID")? == before {
        return Err(format!("systemd saw no kill: {told}").into());
    }
    wait_for("the kill is counted", LIMIT, || {
        match medic::metric("unitmedic_unit_oom_kills_total", &[&format!("unit=\"{name}\"")])? {
            1.0 => Ok(()),
            count => Err(Failure::new(count.to_string())),
        }
    })?;
    println!("{:?}; recovered in {:?}", incident.conditions, incident.time_to_recover);
    medic::stop(&[name])
}
