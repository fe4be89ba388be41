//! The status as text: a line about the daemon, what holds it back, and one table of workers and instances.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::input::Pause;
use crate::model::status::{InstanceStatus, Status, WorkerStatus};
use crate::model::time::human;
use crate::model::{Health, Wall};
use crate::views::look::{Look, Tone, clean};
use crate::views::story::count;
use crate::views::table::{Cell, Table};

/// Instances of one worker and one health that are listed one by one; more become a number.
const LISTED_PER_HEALTH: usize = 10;

const HEADING: [&str; 8] = ["", "WORKER / UNIT", "HEALTH", "SERVING", "CPU", "MEMORY", "UP", "BECAUSE"];
const BECAUSE: usize = 7;

/// Lines without line breaks. `in_detail`: every instance in a row of its own.
pub fn render(status: &Status, in_detail: bool, look: &Look) -> Vec<String> {
    let mut lines = vec![summary(status, look)];
    lines.extend(notices(status, look));
    lines.push(String::new());
    if status.workers.is_empty() {
        lines
            .push("No worker is configured: nothing is touched. `unitmedic discover` proposes a configuration.".into());
        return lines;
    }
    let mut table = Table::new(&HEADING, BECAUSE);
    for worker in &status.workers {
        table.row(worker_row(worker, look));
        for row in instance_rows(worker, status, in_detail, look) {
            table.row(row);
        }
    }
    lines.extend(table.lines(look));
    lines
}

fn summary(status: &Status, look: &Look) -> String {
    let instances: usize = status.workers.iter().map(|worker| worker.instances.len()).sum();
    let all = status.workers.iter().flat_map(|worker| &worker.instances);
    let sick = all.filter(|instance| instance.health.is_sick()).count();
    let (tone, state) = match (status.ready, sick, status.open_incidents) {
        (false, ..) => (Tone::Bad, "not ready".to_string()),
        (true, 0, 0) => (Tone::Good, "all well".to_string()),
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
    notices.extend(status.pauses.iter().map(|pause| (Tone::Wait, paused(pause, status.at.wall, look))));
    let line = |(tone, text): (Tone, String)| look.paint(tone, &format!("{} {}", look.sign(tone), clean(&text)));
    notices.into_iter().map(line).collect()
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
    let span = Duration::from_micros(to.0.saturating_sub(from.0).max(0) as u64);
    // Below a second there is nothing to read off a clock.
    if span < Duration::from_secs(1) { "0 s".into() } else { human(Duration::from_secs(span.as_secs())) }
}

fn worker_row(worker: &WorkerStatus, look: &Look) -> Vec<Cell> {
    let tone = if worker.paused { Tone::Wait } else { Tone::of(worker.health) };
    let critical = if worker.critical { " (critical)" } else { "" };
    let health = if worker.paused { format!("{}, paused", worker.health) } else { worker.health.to_string() };
    let sums = |value: fn(&InstanceStatus) -> Option<f64>| -> Option<f64> {
        worker.instances.iter().filter_map(value).reduce(|a, b| a + b)
    };
    let need = if worker.min_instances > 0 { format!(", min {}", worker.min_instances) } else { String::new() };
    vec![
        Cell::new(look.sign(tone)).tone(tone),
        Cell::new(format!("{}{critical}", worker.worker)),
        Cell::new(health).tone(tone),
        Cell::new(format!("{} of {}{need}", worker.serving, worker.instances.len())),
        Cell::right(percent(sums(|instance| instance.cpus), look)),
        Cell::right(
            sums(|instance| instance.memory_used_bytes.map(|b| b as f64))
                .map_or_else(|| none(look), |b| bytes(b as u64)),
        ),
        Cell::right(String::new()),
        Cell::new(clean(&worker.because)),
    ]
}

fn instance_rows(worker: &WorkerStatus, status: &Status, in_detail: bool, look: &Look) -> Vec<Vec<Cell>> {
    let shown = |instance: &&InstanceStatus| in_detail || needs_a_look(instance);
    let mut listed: BTreeMap<Health, usize> = BTreeMap::new();
    let mut rows = Vec::new();
    for instance in worker.instances.iter().filter(shown) {
        let of_health = listed.entry(instance.health).or_default();
        if in_detail || *of_health < LISTED_PER_HEALTH {
            *of_health += 1;
            rows.extend(instance_row(instance, status, look));
        }
    }
    let listed_in_all: usize = listed.values().sum();
    if listed_in_all > 0 && listed_in_all < worker.instances.len() {
        rows.push(others_row(worker, &listed));
    }
    rows
}

/// Stopped, unseen and well instances are told as a number.
fn needs_a_look(instance: &InstanceStatus) -> bool {
    instance.health.is_sick() || instance.health == Health::Warning || instance.incident.is_some()
}

fn instance_row(instance: &InstanceStatus, status: &Status, look: &Look) -> Vec<Vec<Cell>> {
    let tone = Tone::of(instance.health);
    let memory = match (instance.memory_used_bytes, instance.memory_limit_bytes) {
        (Some(used), Some(limit)) => format!("{} / {}", bytes(used), bytes(limit)),
        (Some(used), None) => bytes(used),
        (None, _) => none(look),
    };
    let up = instance.up_since.map_or_else(|| none(look), |at| between(at, status.at.wall));
    let incident = instance.incident.map(|id| format!("{id} ")).unwrap_or_default();
    let mut rows = vec![vec![
        Cell::new(look.sign(tone)).tone(tone),
        Cell::new(format!("  {}", instance.unit)),
        Cell::new(instance.health.as_str()).tone(tone),
        Cell::new(String::new()),
        Cell::right(percent(instance.cpus, look)),
        Cell::right(memory),
        Cell::right(up),
        Cell::new(format!("{incident}{}", clean(&instance.because))),
    ]];
    if let Some(doing) = &instance.doing {
        let arrow = if look.unicode { "→" } else { "->" };
        let mut row: Vec<Cell> = (0..BECAUSE).map(|_| Cell::new(String::new())).collect();
        row.push(Cell::new(format!("{arrow} {}", clean(doing))).tone(Tone::Act));
        rows.push(row);
    }
    rows
}

/// `  and 998 healthy, 2 stopped`
fn others_row(worker: &WorkerStatus, listed: &BTreeMap<Health, usize>) -> Vec<Cell> {
    let left = |health: &Health| {
        let all = worker.instances.iter().filter(|instance| instance.health == *health).count();
        all - listed.get(health).copied().unwrap_or(0)
    };
    let parts: Vec<String> = Health::ALL
        .iter()
        .filter(|health| left(health) > 0)
        .map(|health| format!("{} {health}", left(health)))
        .collect();
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
        Some(cpus) if cpus < 0.0995 => format!("{:.1} %", cpus * 100.0),
        Some(cpus) => format!("{:.0} %", cpus * 100.0),
    }
}

/// `640 KiB`, `12 MiB`, `1.5 GiB`
pub fn bytes(n: u64) -> String {
    const KIB: f64 = 1024.0;
    let n = n as f64;
    match n {
        n if n < KIB => format!("{n} B"),
        n if n < KIB * KIB => format!("{:.0} KiB", n / KIB),
        n if n < KIB * KIB * KIB => format!("{:.0} MiB", n / KIB / KIB),
        n if n < 10.0 * KIB * KIB * KIB => format!("{:.1} GiB", n / KIB / KIB / KIB),
        n => format!("{:.0} GiB", n / KIB / KIB / KIB),
    }
}
