//! `incidents`: what was wrong; one of them in full; and marking one as a false alarm.

use std::collections::BTreeSet;
use std::io::Write;

use clap::{Args, Subcommand};

use super::exit::{self, Usage};
use super::pause::tell;
use super::reasons;
use super::session::{self, Session};
use super::status::between;
use super::target::parse_incident;
use super::when;
use crate::model::fact::Fact;
use crate::model::history::{FILTER_LIMIT_MAX, Filter, Story as TimeLine};
use crate::model::incident::{Incident, Origin};
use crate::model::request::Ask;
use crate::model::time::human;
use crate::model::{IncidentId, IncidentPattern, Now, Resolution, UnitName, Wall, WorkerName};
use crate::views::look::{Look, Tone, clean, wrap};
use crate::views::story::{Story, count, fine};
use crate::views::table::{Cell, Table};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct IncidentsArgs {
    #[command(subcommand)]
    command: Option<IncidentsCommand>,
    /// Only those that are open
    #[arg(long)]
    open: bool,
    /// Only those of this worker
    #[arg(long, value_name = "WORKER")]
    worker: Option<WorkerName>,
    /// Only those of this unit
    #[arg(long, value_name = "UNIT")]
    unit: Option<UnitName>,
    /// Only those since then: a span back (2h, 7d) or a date
    #[arg(long, value_name = "SPAN|DATE")]
    since: Option<String>,
    /// At most this many
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    limit: Option<usize>,
    /// The incidents as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum IncidentsCommand {
    /// One incident with its time line
    Show {
        /// Its number, 42 or #42
        #[arg(value_parser = parse_incident)]
        id: IncidentId,
        /// The answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// It was a false alarm: nothing was wrong. Enters the ratio of false alarms
    MarkFalse {
        /// Its number, 42 or #42
        #[arg(value_parser = parse_incident)]
        id: IncidentId,
        /// The answer as JSON
        #[arg(long)]
        json: bool,
    },
}

/// What the daemon returns at once.
pub fn parse_limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=FILTER_LIMIT_MAX).contains(&n) => Ok(n),
        _ => Err(format!("it must be from 1 to {FILTER_LIMIT_MAX}")),
    }
}

pub fn run(args: &IncidentsArgs, session: &Session, out: &mut dyn Write) -> anyhow::Result<u8> {
    match &args.command {
        None => list(args, session, out),
        Some(IncidentsCommand::Show { id, json }) => show(*id, *json, session, out),
        Some(IncidentsCommand::MarkFalse { id, json }) => {
            tell(session.wait(session.client.ask(&Ask::MarkFalse { incident: *id }))?, *json, session, out)
        }
    }
}

fn list(args: &IncidentsArgs, session: &Session, out: &mut dyn Write) -> anyhow::Result<u8> {
    let filter = Filter {
        worker: args.worker.clone(),
        unit: args.unit.clone(),
        open: args.open.then_some(true),
        since: since(args.since.as_deref(), session)?,
        before: None,
        limit: args.limit,
        until: None,
    };
    let incidents = session.wait(session.client.incidents(&filter))?;
    session.check_worker(args.worker.as_ref(), incidents.is_empty())?;
    if args.json {
        session::json(&incidents, out)?;
    } else {
        session::lines(&table(&incidents, session.wall(), &session.look), out)?;
    }
    Ok(exit::OK)
}

pub fn since(text: Option<&str>, session: &Session) -> anyhow::Result<Option<Wall>> {
    let parse = |text| when::since(text, session.wall(), &session.look.zone).map_err(Usage);
    Ok(text.map(parse).transpose()?)
}

/// Prints one incident with its time line.
pub fn show(id: IncidentId, json: bool, session: &Session, out: &mut dyn Write) -> anyhow::Result<u8> {
    let time_line = session.wait(session.client.story(id))?;
    if json {
        session::json(&time_line, out)?;
    } else {
        session::lines(&story(&time_line, session.now(), &session.look), out)?;
    }
    Ok(exit::OK)
}

/// Newest first, one line each.
pub fn table(incidents: &[Incident], now: Wall, look: &Look) -> Vec<String> {
    if incidents.is_empty() {
        return vec!["No incident.".into()];
    }
    let mut table = Table::new(&["", "ID", "WHEN", "UNIT", "WHAT", "TRIES", "LASTED", "NOW"], 7);
    for incident in incidents {
        let tone = tone(incident);
        table.row(vec![
            Cell::new(look.sign(tone)).tone(tone),
            Cell::right(incident.id.to_string()),
            Cell::new(look.moment(incident.failed_wall, now)),
            Cell::new(incident.unit.as_str()),
            Cell::new(what(incident)),
            Cell::right(incident.attempts.len().to_string()),
            Cell::right(lasted(incident, now)),
            Cell::new(clean(&state(incident))).tone(tone),
        ]);
    }
    table.lines(look)
}

fn tone(incident: &Incident) -> Tone {
    match incident.resolution {
        None if incident.worst.is_sick() => Tone::Bad,
        None => Tone::Act,
        Some(Resolution::Recovered | Resolution::Systemd | Resolution::SelfCleared) => Tone::Good,
        Some(Resolution::Escalated) => Tone::Warn,
        Some(Resolution::Operator | Resolution::FalseAlarm) => Tone::Plain,
    }
}

/// The weightiest condition, or what an operator asked for.
pub fn what(incident: &Incident) -> String {
    match (incident.leading(), &incident.origin) {
        (Some(condition), _) => condition.to_string(),
        (None, Origin::Condition { condition }) => condition.to_string(),
        (None, Origin::Surplus) => "not needed".into(),
        (None, Origin::Operator { action, .. }) => format!("asked: {action}"),
    }
}

/// `its log before: no route to <*> (pattern 00000000000012ab)`
pub fn log_said(pattern: &IncidentPattern) -> String {
    format!("its log before: {} (pattern {})", pattern.template, pattern.id)
}

fn lasted(incident: &Incident, now: Wall) -> String {
    match (incident.time_to_recover, incident.closed_wall) {
        (Some(span), _) => fine(span),
        (None, Some(closed)) => between(incident.failed_wall, closed),
        (None, None) => between(incident.failed_wall, now),
    }
}

fn state(incident: &Incident) -> String {
    match (incident.resolution, doing(incident)) {
        (Some(resolution), _) => resolution.to_string(),
        (None, Some(doing)) => format!("open: {doing}"),
        (None, None) => "open".into(),
    }
}

fn doing(incident: &Incident) -> Option<String> {
    let running = incident.last_attempt().filter(|attempt| attempt.is_running());
    match (running, &incident.waiting) {
        (Some(attempt), _) => Some(format!("{} is {}", attempt.action, attempt.stage)),
        (None, Some(waiting)) => Some(format!("{} (gate {})", waiting.text, waiting.gate)),
        (None, None) => (incident.escalations > 0).then(|| "escalated".into()),
    }
}

/// One incident in full.
pub fn story(time_line: &TimeLine, now: Now, look: &Look) -> Vec<String> {
    let incident = &time_line.incident;
    let mut lines = head(incident, now.wall, look);
    lines.extend(why(incident, now, look));
    lines.push(String::new());
    lines.extend(facts(&time_line.facts, time_line.left_out, look));
    lines
}

fn head(incident: &Incident, now: Wall, look: &Look) -> Vec<String> {
    let tone = tone(incident);
    let title =
        format!("Incident {} of {} (worker {}): {}", incident.id, incident.unit, incident.worker, what(incident));
    let mut lines = vec![format!("{} {}", look.paint(tone, look.sign(tone)), look.bold(&title))];
    let mut tell = |text: String| {
        let width = look.width.map_or(usize::MAX, |width| width.saturating_sub(2).max(20));
        lines.extend(wrap(&clean(&text), width).iter().map(|line| format!("  {line}")));
    };
    if let Origin::Operator { who, action, force } = &incident.origin {
        tell(format!("{who} asked for {action}{}", if *force { ", past the gates" } else { "" }));
    }
    for (condition, evidence) in &incident.conditions {
        tell(format!("{condition}: {}", evidence.text));
    }
    if let Some(pattern) = &incident.pattern {
        tell(log_said(pattern));
    }
    for unusual in &incident.unusual {
        tell(format!("unusual then: {}", unusual.text(incident.opened_at)));
    }
    let seen = incident.opened_at.since(incident.failed_at);
    tell(format!("failed {}, seen {} later", look.moment(incident.failed_wall, now), fine(seen)));
    tell(match (incident.resolution, incident.closed_wall) {
        (Some(resolution), Some(at)) => {
            let spent = incident.time_to_recover.map(|span| format!(", well again after {}", fine(span)));
            format!("closed {} as {resolution}{}", look.moment(at, now), spent.unwrap_or_default())
        }
        _ => {
            let doing = doing(incident).map(|doing| format!(": {doing}")).unwrap_or_default();
            format!("open for {}{doing}", between(incident.failed_wall, now))
        }
    });
    let mut counts = vec![count(incident.attempts.len(), "attempt")];
    counts.extend((incident.escalations > 0).then(|| count(incident.escalations as usize, "escalation")));
    counts.extend((incident.reopened > 0).then(|| format!("reopened {}", times(incident.reopened))));
    tell(counts.join(", "));
    if let Some(flagged) = incident.attempts.iter().find(|attempt| attempt.flagged) {
        tell(format!("the intent of attempt {} was not stored in time", flagged.number));
    }
    lines
}

/// The plan in its order, and what helped before.
fn why(incident: &Incident, now: Now, look: &Look) -> Vec<String> {
    let mut lines = Vec::new();
    let mut section = |title: &str, texts: Vec<String>| {
        if texts.is_empty() {
            return;
        }
        lines.push(String::new());
        lines.push(look.bold(title));
        let width = look.width.map_or(usize::MAX, |width| width.saturating_sub(4).max(20));
        for text in texts {
            let wrapped = wrap(&clean(&text), width);
            lines.extend(
                wrapped.iter().enumerate().map(|(i, line)| format!("{}{line}", if i == 0 { "  " } else { "    " })),
            );
        }
    };
    section("Plan", reasons::plan(&incident.plan));
    section("Like it before", incident.similar.iter().map(|one| reasons::similar(one, now, look)).collect());
    lines
}

fn times(n: u32) -> String {
    if n == 1 { "once".into() } else { format!("{n} times") }
}

/// The time line, with the pause between two facts where it is worth a line.
pub fn facts(facts: &[Fact], left_out: usize, look: &Look) -> Vec<String> {
    /// A silence longer than this is named.
    const SILENCE: std::time::Duration = std::time::Duration::from_secs(60);
    let story = Story::of_every_fact(look.clone()).without_worker();
    let mut lines = Vec::new();
    let mut seen = BTreeSet::new();
    for (i, fact) in facts.iter().enumerate() {
        let silence = i.checked_sub(1).map(|before| fact.at.mono.since(facts[before].at.mono));
        if let Some(silence) = silence.filter(|span| *span > SILENCE) {
            lines.push(look.dim(&format!(
                "             {} {} later",
                if look.unicode { "⋮" } else { ":" },
                human(silence)
            )));
        }
        if seen.insert((fact.seq, fact.at.wall)) {
            lines.extend(story.tell(fact).iter().flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()));
        }
        if left_out > 0 && i + 1 == facts.len() / 2 {
            lines.push(look.dim(&format!("             {} left out", count(left_out, "fact"))));
        }
    }
    lines
}

#[cfg(test)]
mod tests;
