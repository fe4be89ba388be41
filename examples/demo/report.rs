//! What came of each fault, by unitmedic's own incidents and by systemd's word.

use std::time::Duration;

use unitmedic::model::incident::Origin;
use unitmedic::model::{Action, Incident, Resolution};
use unitmedic::views::look::{Look, Tone};
use unitmedic::views::story::fine;
use unitmedic::views::table::{Cell, Table};

use crate::faults::{FAULTS, Fault, Kind};
use crate::host::Host;
use crate::testhost::Failure;

pub struct Row {
    fault: &'static str,
    workers: String,
    /// Of several instances the slowest.
    seen_after: Option<Duration>,
    action: String,
    well_after: Option<Duration>,
    /// Why this is not as it should be.
    complaint: Option<String>,
}

/// `left_alone`: how the units of a fault of that kind were when it was over.
pub fn rows(host: &Host<'_>, left_alone: &str) -> Result<Vec<Row>, Failure> {
    FAULTS.iter().map(|fault| row(fault, host, left_alone)).collect()
}

fn row(fault: &Fault, host: &Host<'_>, left_alone: &str) -> Result<Row, Failure> {
    let mut incidents = Vec::new();
    let mut complaint = None;
    for unit in fault.units {
        incidents.extend(host.incidents(unit)?.into_iter().next());
        let state = host.place.property(unit, "ActiveState")?;
        if fault.kind != Kind::LeftAlone && state != "active" {
            complaint = Some(format!("{unit} is {state}"));
        }
    }
    if fault.kind == Kind::LeftAlone {
        return touched_row(fault, &incidents, left_alone, &host.life(fault.units[0])?);
    }
    if incidents.len() < fault.units.len() {
        complaint = Some("no incident".into());
    }
    if let Some(open) = incidents.iter().find(|incident| !is_recovered(incident)) {
        complaint = Some(format!("incident {} of {} ended otherwise", open.id, open.unit));
    }
    Ok(Row {
        fault: fault.title,
        workers: workers(fault),
        seen_after: incidents.iter().filter_map(seen_after).max(),
        action: action(&incidents),
        well_after: incidents.iter().filter_map(|incident| incident.time_to_recover).max(),
        complaint,
    })
}

fn touched_row(fault: &Fault, incidents: &[Incident], before: &str, now: &str) -> Result<Row, Failure> {
    let complaint = match incidents {
        [] if before == now => None,
        [] => Some(format!("it was touched: {before} became {now}").replace('\n', " ")),
        [incident, ..] => Some(format!("it has an incident, {}", incident.id)),
    };
    let action = if complaint.is_none() { "left alone".into() } else { "touched".into() };
    Ok(Row { fault: fault.title, workers: workers(fault), seen_after: None, action, well_after: None, complaint })
}

fn workers(fault: &Fault) -> String {
    let first = fault.units[0].trim_end_matches(".service");
    match fault.units.len() {
        1 => first.to_owned(),
        n => format!("{first}..{n}"),
    }
}

/// What somebody asked for was not seen.
fn seen_after(incident: &Incident) -> Option<Duration> {
    let was_seen = matches!(incident.origin, Origin::Condition { .. });
    was_seen.then(|| incident.opened_at.since(incident.failed_at))
}

fn is_recovered(incident: &Incident) -> bool {
    let good = matches!(incident.resolution, Some(Resolution::Recovered | Resolution::Systemd | Resolution::Escalated));
    good && incident.time_to_recover.is_some()
}

fn action(incidents: &[Incident]) -> String {
    let Some(first) = incidents.first() else { return "none".into() };
    let name = match (first.attempts.last(), first.resolution) {
        (Some(attempt), _) => attempt.action.as_str(),
        (None, Some(Resolution::Systemd)) => "by systemd itself",
        (None, _) => "none",
    };
    let tries = first.attempts.iter().filter(|attempt| attempt.action != Action::Escalate).count();
    match (incidents.len(), tries) {
        (1, 0 | 1) => name.to_owned(),
        (1, n) => format!("{name}, {n} tries"),
        (n, _) => format!("{name} x {n}"),
    }
}

pub fn all_well(rows: &[Row]) -> bool {
    rows.iter().all(|row| row.complaint.is_none())
}

pub fn table(rows: &[Row], look: &Look) -> Vec<String> {
    let none = if look.unicode { "–" } else { "-" };
    let span = |span: Option<Duration>| Cell::right(span.map_or_else(|| none.to_owned(), fine));
    let mut table = Table::new(&["", "FAULT", "WORKER", "SEEN AFTER", "ACTION", "WELL AFTER"], 1);
    for row in rows {
        let tone = match (&row.complaint, row.action.as_str()) {
            (Some(_), _) => Tone::Bad,
            (None, "left alone") => Tone::Wait,
            (None, _) => Tone::Good,
        };
        table.row(vec![
            Cell::new(look.sign(tone)).tone(tone),
            Cell::new(row.fault),
            Cell::new(row.workers.as_str()),
            span(row.seen_after),
            Cell::new(row.action.as_str()),
            span(row.well_after),
        ]);
        if let Some(complaint) = &row.complaint {
            table.note(Cell::new(complaint.as_str()).tone(Tone::Bad));
        }
    }
    table.lines(look)
}
