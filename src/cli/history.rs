//! `history`: what was done, and how well it went.

use std::io::Write;

use clap::Args;

use super::exit;
use super::incidents::{parse_limit, since};
use super::session::{self, Session};
use crate::model::history::{Filter, Recovery, Summary, Totals};
use crate::model::{Outcome, Wall, WorkerName};
use crate::views::look::{Look, Tone, clean};
use crate::views::story::{count, fine};
use crate::views::table::{Cell, Table};

/// Share of recoveries that should succeed, percent.
const SUCCESS_TARGET: f64 = 90.0;

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Totals instead of single recoveries: how many, how many succeeded, mean time, by action
    #[arg(long)]
    summary: bool,
    /// Only since then: a span back (2h, 7d) or a date
    #[arg(long, value_name = "SPAN|DATE")]
    since: Option<String>,
    /// Only those of this worker
    #[arg(long, value_name = "WORKER")]
    worker: Option<WorkerName>,
    /// At most this many
    #[arg(long, value_name = "N", value_parser = parse_limit, conflicts_with = "summary")]
    limit: Option<usize>,
    /// The recoveries, or with --summary the totals, as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &HistoryArgs, session: &Session, out: &mut dyn Write) -> anyhow::Result<u8> {
    let since = since(args.since.as_deref(), session)?;
    if args.summary {
        let summary = session.wait(session.client.summary(since, args.worker.as_ref()))?;
        session.check_worker(args.worker.as_ref(), summary.all.total == 0 && summary.incidents == 0)?;
        if args.json {
            session::json(&summary, out)?;
        } else {
            session::lines(&render_summary(&summary, since.is_some(), session.wall(), &session.look), out)?;
        }
        return Ok(exit::OK);
    }
    let filter = Filter { worker: args.worker.clone(), since, limit: args.limit, ..Filter::default() };
    let recoveries = session.wait(session.client.recoveries(&filter))?;
    session.check_worker(args.worker.as_ref(), recoveries.is_empty())?;
    if args.json {
        session::json(&recoveries, out)?;
    } else {
        session::lines(&table(&recoveries, session.wall(), &session.look), out)?;
    }
    Ok(exit::OK)
}

/// Newest first, one line each.
pub fn table(recoveries: &[Recovery], now: Wall, look: &Look) -> Vec<String> {
    if recoveries.is_empty() {
        return vec!["No recovery.".into()];
    }
    let mut table = Table::new(&["", "WHEN", "ID", "UNIT", "WHY", "ACTION", "OUTCOME", "WELL AFTER", "REASON"], 8);
    for recovery in recoveries {
        let tone = tone(recovery.outcome);
        table.row(vec![
            Cell::new(look.sign(tone)).tone(tone),
            Cell::new(look.moment(recovery.at, now)),
            Cell::right(format!("{}.{}", recovery.incident, recovery.number)),
            Cell::new(recovery.unit.as_str()),
            Cell::new(recovery.condition.map_or("asked", |condition| condition.as_str())),
            Cell::new(recovery.action.as_str()),
            Cell::new(recovery.outcome.as_str()).tone(tone),
            Cell::right(recovery.time_to_recover.map(fine).unwrap_or_default()),
            Cell::new(clean(&recovery.reason)),
        ]);
    }
    table.lines(look)
}

fn tone(outcome: Outcome) -> Tone {
    match outcome {
        Outcome::Succeeded => Tone::Good,
        Outcome::Failed => Tone::Bad,
        Outcome::Superseded | Outcome::InDoubt => Tone::Plain,
    }
}

/// `limited`: the operator named a beginning, so it is worth repeating.
pub fn render_summary(summary: &Summary, limited: bool, now: Wall, look: &Look) -> Vec<String> {
    let since = if limited || summary.since.0 > 0 {
        format!("since {}", look.moment(summary.since, now))
    } else {
        "in all".into()
    };
    let mut lines = vec![look.bold(&format!("Recoveries {since}")), String::new()];
    if summary.all.total == 0 {
        lines.push("  None.".into());
    } else {
        let heading = ["ACTION", "TOTAL", "SUCCEEDED", "FAILED", "OVERTAKEN", "IN DOUBT", "MEAN TIME", "SUCCESS"];
        let mut table = Table::new(&heading, 0).indent(2);
        for (action, totals) in &summary.by_action {
            table.row(row(action.as_str(), totals, look));
        }
        table.row(row("all", &summary.all, look));
        lines.extend(table.lines(look));
        lines.push(String::new());
        lines.push(format!("  {}", verdict(&summary.all, look)));
    }
    lines.push(format!("  {}", alarms(summary)));
    lines
}

fn row(name: &str, totals: &Totals, look: &Look) -> Vec<Cell> {
    let numbers = [totals.total, totals.succeeded, totals.failed, totals.superseded, totals.in_doubt];
    let none = || if look.unicode { "–".to_string() } else { "-".to_string() };
    let mut cells = vec![Cell::new(name)];
    cells.extend(numbers.iter().map(|n| Cell::right(n.to_string())));
    cells.push(Cell::right(totals.mean_time_to_recover.map_or_else(none, fine)));
    cells.push(match success(totals) {
        Some(percent) => {
            Cell::right(format!("{percent:.1} %")).tone(if percent >= SUCCESS_TARGET { Tone::Good } else { Tone::Warn })
        }
        None => Cell::right(none()),
    });
    cells
}

/// Percent; overtaken and doubtful ones say nothing about an action.
fn success(totals: &Totals) -> Option<f64> {
    let judged = totals.succeeded + totals.failed;
    (judged > 0).then(|| totals.succeeded as f64 / judged as f64 * 100.0)
}

fn verdict(totals: &Totals, look: &Look) -> String {
    match success(totals) {
        None => "None of them can be judged.".into(),
        Some(percent) => {
            let (tone, word) = if percent >= SUCCESS_TARGET { (Tone::Good, "reached") } else { (Tone::Warn, "missed") };
            let text = format!("{} {percent:.1} % succeeded: target of {SUCCESS_TARGET:.0} % {word}", look.sign(tone));
            format!("{}; overtaken and doubtful ones do not count", look.paint(tone, &text))
        }
    }
}

fn alarms(summary: &Summary) -> String {
    let incidents = count(summary.incidents as usize, "incident");
    match (summary.false_alarms, summary.incidents) {
        (_, 0) => "No incidents.".into(),
        (0, _) => format!("{incidents}, no false alarm"),
        (n, all) => {
            let share = n as f64 / all as f64 * 100.0;
            format!("{incidents}, {} ({share:.1} %)", count(n as usize, "false alarm"))
        }
    }
}

#[cfg(test)]
mod tests;
