//! The families of node_exporter's systemd collector and of systemd_exporter, for all units of the host. Pure.
//!
//! What is not known has no series. What the exporters show as 0 is 0 here, too: a unit that is not active has a start
//! time of 0.

pub mod catalog;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::catalog as c;
use super::catalog::Metric;
use super::text::{Series, Text, closed, label};
use crate::model::families::{Family, HostReading, HostUnit, HostUnits, Stage};
use crate::model::unit::ActiveState;

/// States that every unit has a series for; a unit in another one has 0 in all of them.
const STATES: [ActiveState; 5] = [
    ActiveState::Active,
    ActiveState::Activating,
    ActiveState::Deactivating,
    ActiveState::Inactive,
    ActiveState::Failed,
];
/// Bytes that a unit takes in all families of one exporter, roughly.
const UNIT_BYTES: usize = 1_000;
/// A version begins with so many digits.
const VERSION_DIGITS_MIN: usize = 3;
const SERVICE: &str = ",type=\"service\"";
const MOUNT: &str = ",type=\"mount\"";

/// A unit that has series.
struct Shown<'h> {
    /// `name="mail.service"`.
    name: String,
    /// `,type="service"`: the ending of its name.
    ending: String,
    tasks: Option<u64>,
    unit: &'h HostUnit,
}

/// The families that the reading was made for.
pub fn render(reading: &HostReading) -> String {
    let host = &reading.host;
    let shown = host.units.iter().filter(|(_, unit)| unit.shown).map(|(name, unit)| Shown {
        name: label("name", name),
        ending: more("type", name.rsplit('.').next().unwrap_or_default()),
        tasks: reading.tasks.get(name).copied(),
        unit,
    });
    let units: Vec<Shown<'_>> = shown.collect();
    let mut text = Text::with_capacity(4096 + units.len() * UNIT_BYTES * host.families.len());
    text.single_int(&c::LEFT_OUT, host.left_out as u64);
    if host.families.contains(&Family::NodeExporter) {
        node_units(&mut text, &units);
        node_host(&mut text, host);
    }
    if host.families.contains(&Family::SystemdExporter) {
        systemd_units(&mut text, &units);
        systemd_boot(&mut text, host);
    }
    // Only whole strings were copied in; should that ever not hold, nothing is lost but the odd byte.
    String::from_utf8(text.finish()).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

fn node_units(text: &mut Text, units: &[Shown<'_>]) {
    states(text, &c::NODE_UNIT_STATE, units, |shown| more("type", shown.unit.kind.as_deref().unwrap_or_default()));
    times(text, &c::NODE_UNIT_START_TIME, units, false, start_time);
    numbers(text, &c::NODE_UNIT_TASKS, units, false, |shown| shown.tasks);
    numbers(text, &c::NODE_UNIT_TASKS_MAX, units, false, |shown| shown.unit.tasks_max);
    numbers(text, &c::NODE_RESTARTS, units, false, |shown| shown.unit.restarts.map(u64::from));
    times(text, &c::NODE_TIMER, units, false, |shown| shown.unit.last_trigger);
    numbers(text, &c::NODE_ACCEPTED, units, false, |shown| shown.unit.accepted.map(u64::from));
    numbers(text, &c::NODE_CONNECTIONS, units, false, |shown| shown.unit.connections.map(u64::from));
    numbers(text, &c::NODE_REFUSED, units, false, |shown| shown.unit.refused.map(u64::from));
}

fn node_host(text: &mut Text, host: &HostUnits) {
    // A sum over some of the units would be wrong.
    if host.left_out == 0 {
        let mut sums: BTreeMap<&str, u64> = STATES.iter().map(|state| (state.as_str(), 0)).collect();
        for unit in host.units.values() {
            *sums.entry(unit.active.as_str()).or_default() += 1;
        }
        text.family(&c::NODE_UNITS, |series| {
            sums.iter().for_each(|(state, count)| series.int(&label("state", state), "", *count));
        });
    }
    if let Some(running) = host.running {
        text.single_int(&c::NODE_RUNNING, running.into());
    }
    if let Some((version, number)) = host.version.as_deref().and_then(|version| Some((version, number_of(version)?))) {
        text.family(&c::NODE_VERSION, |series| series.float(&label("version", version), "", number));
    }
    if let Some(kind) = &host.virtualization {
        let kind = if kind.is_empty() { "none" } else { kind };
        text.family(&c::NODE_VIRTUALIZATION, |series| series.int(&label("virtualization_type", kind), "", 1));
    }
}

fn systemd_units(text: &mut Text, units: &[Shown<'_>]) {
    states(text, &c::UNIT_STATE, units, |shown| shown.ending.clone());
    text.family(&c::UNIT_INFO, |series| {
        for shown in units {
            let (mount, service) = match shown.ending.as_str() {
                MOUNT => (shown.unit.kind.as_deref(), Some("")),
                SERVICE => (Some(""), shown.unit.kind.as_deref()),
                _ => continue,
            };
            if let (Some(mount), Some(service)) = (mount, service) {
                let kinds = more("mount_type", mount) + &more("service_type", service);
                series.int(&shown.name, &(shown.ending.clone() + &kinds), 1);
            }
        }
    });
    times(text, &c::UNIT_START_TIME, units, true, |shown| start_time(shown).filter(|_| shown.ending == SERVICE));
    numbers(text, &c::UNIT_TASKS, units, false, |shown| shown.tasks);
    numbers(text, &c::UNIT_TASKS_MAX, units, true, |shown| shown.unit.tasks_max);
    times(text, &c::UNIT_ACTIVE_ENTER, units, true, |shown| shown.unit.active_enter);
    times(text, &c::UNIT_ACTIVE_EXIT, units, true, |shown| shown.unit.active_exit);
    times(text, &c::UNIT_INACTIVE_ENTER, units, true, |shown| shown.unit.inactive_enter);
    times(text, &c::UNIT_INACTIVE_EXIT, units, true, |shown| shown.unit.inactive_exit);
    numbers(text, &c::RESTARTS, units, false, |shown| shown.unit.restarts.map(u64::from));
    times(text, &c::TIMER, units, false, |shown| shown.unit.last_trigger);
    numbers(text, &c::ACCEPTED, units, false, |shown| shown.unit.accepted.map(u64::from));
    numbers(text, &c::CONNECTIONS, units, false, |shown| shown.unit.connections.map(u64::from));
    numbers(text, &c::REFUSED, units, false, |shown| shown.unit.refused.map(u64::from));
}

fn systemd_boot(text: &mut Text, host: &HostUnits) {
    let mut stages = |metric, time: fn(&Stage) -> Option<u64>| {
        text.family(metric, |series| {
            for (stage, at) in &host.stages {
                if let Some(at) = time(at) {
                    series.float(&label("stage", stage), "", seconds(at));
                }
            }
        });
    };
    stages(&c::BOOT_MONOTONIC, |stage| stage.monotonic);
    stages(&c::BOOT_TIME, |stage| stage.realtime);
}

fn states(text: &mut Text, metric: &'static Metric, units: &[Shown<'_>], kind: impl Fn(&Shown<'_>) -> String) {
    let words = closed("state", STATES.iter().map(|state| state.as_str()));
    text.family(metric, |series| {
        for shown in units {
            let labels = shown.name.clone() + &kind(shown);
            for (state, word) in STATES.iter().zip(&words) {
                series.bool(&labels, word, shown.unit.active == *state);
            }
        }
    });
}

fn numbers(
    text: &mut Text,
    metric: &'static Metric,
    units: &[Shown<'_>],
    with_ending: bool,
    value: impl Fn(&Shown<'_>) -> Option<u64>,
) {
    each(text, metric, units, with_ending, |series, shown, ending| {
        if let Some(value) = value(shown) {
            series.int(&shown.name, ending, value);
        }
    });
}

fn times(
    text: &mut Text,
    metric: &'static Metric,
    units: &[Shown<'_>],
    with_ending: bool,
    value: impl Fn(&Shown<'_>) -> Option<u64>,
) {
    each(text, metric, units, with_ending, |series, shown, ending| {
        if let Some(value) = value(shown) {
            series.float(&shown.name, ending, seconds(value));
        }
    });
}

fn each(
    text: &mut Text,
    metric: &'static Metric,
    units: &[Shown<'_>],
    with_ending: bool,
    write: impl Fn(&mut Series<'_>, &Shown<'_>, &str),
) {
    text.family(metric, |series| {
        units.iter().for_each(|shown| write(series, shown, if with_ending { &shown.ending } else { "" }));
    });
}

fn start_time(shown: &Shown<'_>) -> Option<u64> {
    if shown.unit.active == ActiveState::Active { shown.unit.active_enter } else { Some(0) }
}

/// As the exporters divide it, so that the last digit is the same.
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// A label behind others.
fn more(key: &str, value: &str) -> String {
    format!(",{}", label(key, value))
}

/// The first number of three digits or more, with its fraction: 252.39 of `252.39-1~deb12u2`.
fn number_of(version: &str) -> Option<f64> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut rest = version;
    while !rest.is_empty() {
        let whole = digits(rest);
        if whole >= VERSION_DIGITS_MIN {
            let fraction = rest[whole..].strip_prefix('.').map_or(0, digits);
            let end = if fraction > 0 { whole + 1 + fraction } else { whole };
            return rest[..end].parse().ok();
        }
        let skipped = rest.char_indices().nth(whole.max(1)).map_or(rest.len(), |(at, _)| at);
        rest = &rest[skipped..];
    }
    None
}
