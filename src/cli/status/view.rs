//! The status as text: a line about the daemon, what holds it back, and one table of workers and instances.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::input::Pause;
use crate::model::status::{InstanceStatus, QueueStatus, Status, WorkerStatus};
use crate::model::{Health, Wall};
use crate::views::look::{Look, Tone, bytes, clean, wrap};
use crate::views::story::{coarse, count};
use crate::views::table::{Cell, Table};

/// Instances of one worker and one health that are listed one by one; more become a number.
const LISTED_PER_HEALTH: usize = 10;

const HEADING: [&str; 7] = ["", "WORKER / UNIT", "HEALTH", "SERVING", "CPU", "MEMORY", "UP"];
/// The column that gives way on a narrow terminal.
const ELASTIC: usize = 1;

/// Lines without line breaks. Instances that `names` or whose worker it names have a row of their own; without
/// names, those that need a look.
pub fn render(status: &Status, names: &[String], look: &Look) -> Vec<String> {
    let mut lines = vec![summary(status, names, look)];
    lines.extend(notices(status, look));
    lines.push(String::new());
    if status.workers.is_empty() {
        lines
            .push("No worker is configured: nothing is touched. `unitmedic discover` proposes a configuration.".into());
        return lines;
    }
    let mut table = Table::new(&HEADING, ELASTIC);
    for worker in &status.workers {
        add_worker(&mut table, worker, status, names, look);
    }
    lines.extend(table.lines(look));
    lines
}

fn summary(status: &Status, names: &[String], look: &Look) -> String {
    let instances: usize = status.workers.iter().map(|worker| worker.instances.len()).sum();
    let all = status.workers.iter().flat_map(|worker| &worker.instances);
    let sick = all.filter(|instance| instance.health.is_sick()).count();
    let all = status.workers.iter().flat_map(|worker| &worker.instances);
    let open = match names {
        [] => status.open_incidents,
        _ => all.filter(|instance| instance.incident.is_some()).count(),
    };
    let (tone, state) = match (status.ready, sick, open) {
        (false, ..) => (Tone::Bad, "not ready".to_string()),
        (true, 0, 0) => less_than_well(status),
        (true, 0, open) => (Tone::Warn, format!("none sick, {}", count(open, "open incident"))),
        (true, sick, open) => (Tone::Bad, format!("{sick} sick, {}", count(open, "open incident"))),
    };
    let workers = count(status.workers.len(), "worker");
    format!(
        "{} {}  {}",
        look.paint(tone, look.sign(tone)),
        look.paint(tone, &state),
        look.dim(&format!(
            "{workers}, {}; unitmedic {}, {}",
            count(instances, "instance"),
            clean(&status.version),
            look.moment(status.at.wall, status.at.wall)
        ))
    )
}

/// What is not sick and has no incident may still be worth a look.
fn less_than_well(status: &Status) -> (Tone, String) {
    let all = || status.workers.iter().flat_map(|worker| &worker.instances);
    let instances = |health: Health| all().filter(|instance| instance.health == health).count();
    // A worker without instances has only its own.
    let empty =
        |health: Health| status.workers.iter().filter(move |one| one.health == health && one.instances.is_empty());
    let parts: Vec<String> = [Health::Warning, Health::Unknown]
        .into_iter()
        .map(|health| (instances(health) + empty(health).count(), health))
        .filter(|(so, _)| *so > 0)
        .map(|(so, health)| format!("{so} {health}"))
        .collect();
    match parts.is_empty() {
        true => (Tone::Good, "all well".into()),
        false => (Tone::Warn, format!("none sick, {}", parts.join(", "))),
    }
}

/// What keeps unitmedic from seeing or acting.
fn notices(status: &Status, look: &Look) -> Vec<String> {
    let mut notices = Vec::new();
    if let Some(why) = &status.not_ready {
        notices.push((Tone::Bad, format!("not ready: {why}")));
    }
    if let Some(why) = &status.watch_only {
        notices.push((Tone::Warn, format!("watches only and does nothing: {why}")));
    }
    if status.held {
        notices.push((Tone::Warn, "the hold file is there: nothing is done until it is removed".into()));
    }
    if status.dry_run {
        notices.push((Tone::Warn, "dry run: decides and tells, but does nothing".into()));
    }
    if status.storm {
        let text = "storm breaker open: so many are sick at once that running instances are left alone";
        notices.push((Tone::Warn, text.into()));
    }
    if status.waiting_approvals > 0 {
        let waiting = count(status.waiting_approvals, "planned action");
        let verb = if status.waiting_approvals == 1 { "waits" } else { "wait" };
        notices.push((Tone::Wait, format!("{waiting} {verb} for your yes: unitmedic approve")));
    }
    if let Some(why) = status.disk.as_ref().and_then(|disk| disk.warning.clone()) {
        notices.push((Tone::Warn, why));
    }
    notices.extend(status.pauses.iter().map(|pause| (Tone::Wait, paused(pause, status.at.wall, look))));
    notices.into_iter().flat_map(|(tone, text)| notice(tone, &text, look)).collect()
}

/// In as many lines as it takes: its end often says what to do.
fn notice(tone: Tone, text: &str, look: &Look) -> Vec<String> {
    let width = look.width.map_or(usize::MAX, |width| width.saturating_sub(2).max(20));
    let lines = wrap(&clean(text), width).into_iter().enumerate();
    let sign = |at| if at == 0 { look.sign(tone) } else { " " };
    lines.map(|(at, line)| look.paint(tone, &format!("{} {line}", sign(at)))).collect()
}

/// `mail is paused until 20:20:00 (for 2 h) by ada: deploy`
pub fn paused(pause: &Pause, now: Wall, look: &Look) -> String {
    let what = pause.worker.as_ref().map_or("everything".to_string(), ToString::to_string);
    let until = match pause.until {
        Some(at) => format!("until {} (in {})", look.moment(at, now), between(now, at)),
        None => format!("until resumed, since {}", look.moment(pause.since, now)),
    };
    let reason = if pause.reason.is_empty() { String::new() } else { format!(": {}", pause.reason) };
    format!("{what} is paused {until} by {}{reason}", pause.who)
}

/// Time from one to the other, in words; zero when it is not later.
pub fn between(from: Wall, to: Wall) -> String {
    coarse(Duration::from_micros(to.0.saturating_sub(from.0).max(0) as u64))
}

fn add_worker(table: &mut Table, worker: &WorkerStatus, status: &Status, names: &[String], look: &Look) {
    table.row(worker_row(worker, look));
    let whole = is_named(worker.worker.as_str(), names);
    for queue in worker.queues.iter().filter(|queue| whole || queue.unknown.is_some()) {
        table.note(queue_note(queue, look));
    }
    let wanted = |instance: &&InstanceStatus| match names {
        [] => needs_a_look(instance),
        _ => whole || is_named(instance.unit.as_str(), names),
    };
    let mut listed: BTreeMap<Health, usize> = BTreeMap::new();
    for instance in worker.instances.iter().filter(wanted) {
        let of_health = listed.entry(instance.health).or_default();
        if !names.is_empty() || *of_health < LISTED_PER_HEALTH {
            *of_health += 1;
            add_instance(table, instance, status, !names.is_empty(), look);
        }
    }
    match listed.values().sum::<usize>() {
        // With several instances the numbers in the row say why.
        0 if worker.instances.len() <= 1 && worker.health != Health::Healthy => {
            table.note(Cell::new(clean(&worker.because)));
        }
        0 => {}
        n if n < worker.instances.len() => table.row(others_row(worker, &listed)),
        _ => {}
    }
}

/// By its whole name, or by a unit's name without suffix.
pub fn is_named(name: &str, names: &[String]) -> bool {
    names.iter().any(|wanted| wanted == name || name.strip_suffix(".service") == Some(wanted))
}

/// Stopped, unseen and well instances are told as a number.
fn needs_a_look(instance: &InstanceStatus) -> bool {
    instance.health.is_sick() || instance.health == Health::Warning || instance.incident.is_some()
}

fn worker_row(worker: &WorkerStatus, look: &Look) -> Vec<Cell> {
    let tone = if worker.paused { Tone::Wait } else { Tone::of(worker.health) };
    let critical = if worker.critical { " (critical)" } else { "" };
    let health = if worker.paused { format!("{}, paused", worker.health) } else { worker.health.to_string() };
    let sum =
        |value: fn(&InstanceStatus) -> Option<f64>| worker.instances.iter().filter_map(value).reduce(|a, b| a + b);
    let memory = sum(|instance| instance.memory_used_bytes.map(|bytes| bytes as f64));
    let need = if worker.min_instances > 1 { format!(", min {}", worker.min_instances) } else { String::new() };
    vec![
        Cell::new(look.sign(tone)).tone(tone),
        Cell::new(format!("{}{critical}", worker.worker)),
        Cell::new(health).tone(tone),
        Cell::new(format!("{} of {}{need}", worker.serving, worker.desired.max(worker.serving))),
        Cell::right(percent(sum(|instance| instance.cpus), look)),
        Cell::right(memory.map_or_else(|| none(look), |sum| bytes(sum as u64))),
        Cell::right(String::new()),
    ]
}

/// `queue mail: 120 ready, 3 consumers, 5 unacknowledged`
fn queue_note(queue: &QueueStatus, look: &Look) -> Cell {
    let name = clean(&queue.queue.to_string());
    match (&queue.depth, &queue.unknown) {
        (_, Some(why)) => {
            let text = format!("{} queue {name} cannot be read: {}", look.sign(Tone::Warn), clean(why));
            Cell::new(text).tone(Tone::Warn)
        }
        (Some(depth), None) => {
            let unacknowledged = depth.unacknowledged.map(|n| format!(", {n} unacknowledged")).unwrap_or_default();
            let consumers = count(depth.consumers as usize, "consumer");
            Cell::new(format!("queue {name}: {} ready, {consumers}{unacknowledged}", depth.ready))
        }
        (None, None) => Cell::new(format!("queue {name}: not read yet")),
    }
}

/// `started by unitmedic, last sign of life 3 s ago (socket), 0.2 errors per minute, 12 of 512 tasks, 90 of 1024 files open`
fn work_note(instance: &InstanceStatus, now: Wall) -> Option<Cell> {
    let beat = instance.heartbeat.as_ref();
    let usage = instance.usage.as_ref();
    let tasks = usage.and_then(|usage| usage.tasks.zip(usage.tasks_max));
    let files = usage.and_then(|usage| usage.open_files);
    let parts = [
        instance.scaled.then(|| "started by unitmedic".to_owned()),
        beat.map(|beat| format!("last sign of life {} ago ({})", between(beat.at, now), beat.source)),
        instance.errors_per_minute.filter(|rate| *rate > 0.0).map(|rate| format!("{rate:.1} errors per minute")),
        tasks.map(|(tasks, limit)| format!("{tasks} of {limit} tasks")),
        files.map(|files| format!("{} of {} files open", files.count, files.limit)),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| Cell::new(parts.join(", ")))
}

fn add_instance(table: &mut Table, instance: &InstanceStatus, status: &Status, detailed: bool, look: &Look) {
    let tone = Tone::of(instance.health);
    let memory = match (instance.memory_used_bytes, instance.memory_limit_bytes) {
        (Some(used), Some(limit)) => format!("{} / {}", bytes(used), bytes(limit)),
        (Some(used), None) => bytes(used),
        (None, _) => none(look),
    };
    table.row(vec![
        Cell::new(look.sign(tone)).tone(tone),
        Cell::new(format!("  {}", instance.unit)),
        Cell::new(instance.health.as_str()).tone(tone),
        Cell::new(String::new()),
        Cell::right(percent(instance.cpus, look)),
        Cell::right(memory),
        Cell::right(instance.up_since.map_or_else(|| none(look), |at| between(at, status.at.wall))),
    ]);
    if let Some(note) = work_note(instance, status.at.wall).filter(|_| detailed) {
        table.note(note);
    }
    let incident = instance.incident.map(|id| format!("{id}: ")).unwrap_or_default();
    let sick = instance.health != Health::Healthy;
    if sick {
        table.note(Cell::new(format!("{incident}{}", clean(&instance.because))));
    }
    if let Some(doing) = &instance.doing {
        let arrow = if look.unicode { "→" } else { "->" };
        let incident = if sick { "" } else { &incident };
        table.note(Cell::new(format!("{arrow} {incident}{}", clean(doing))).tone(Tone::Act));
    }
}

/// `  and 998 healthy, 2 stopped`
fn others_row(worker: &WorkerStatus, listed: &BTreeMap<Health, usize>) -> Vec<Cell> {
    let left = |health: &Health| {
        let all = worker.instances.iter().filter(|instance| instance.health == *health).count();
        all - listed.get(health).copied().unwrap_or(0)
    };
    let counted = Health::ALL.iter().map(|health| (left(health), health)).filter(|(left, _)| *left > 0);
    let parts: Vec<String> = counted.map(|(left, health)| format!("{left} {health}")).collect();
    let mut row = vec![Cell::new(String::new()), Cell::new(format!("  and {}", parts.join(", "))).tone(Tone::Plain)];
    row.extend((row.len()..HEADING.len()).map(|_| Cell::new(String::new())));
    row
}

fn none(look: &Look) -> String {
    if look.unicode { "–".into() } else { "-".into() }
}

fn percent(cpus: Option<f64>, look: &Look) -> String {
    match cpus {
        None => none(look),
        // From here on a percentage is harder to read than a number of CPUs.
        Some(cpus) if cpus >= 9.995 => format!("{cpus:.0} CPUs"),
        Some(cpus) if cpus < 0.0995 => format!("{:.1} %", cpus * 100.0),
        Some(cpus) => format!("{:.0} %", cpus * 100.0),
    }
}
