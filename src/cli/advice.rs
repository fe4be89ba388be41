//! `advice`: what could be configured better, why, and the change it would take.

use std::io::Write;

use clap::Args;

use super::exit;
use super::incidents::since;
use super::session::{self, Session};
use crate::model::advice::{Advice, Confidence, Proposal};
use crate::model::time::human;
use crate::model::{Wall, WorkerName};
use crate::views::look::{Look, Tone, clean, wrap};
use crate::views::story::count;

/// A file of the operator's own, which is read after most others and so wins over them.
const FILE: &str = "/etc/unitmedic/conf.d/zz-advice.toml";
const USER_FILE: &str = "~/.config/unitmedic/conf.d/zz-advice.toml";
/// Columns before what is said of a proposal.
const INDENT: usize = 10;

#[derive(Debug, Args)]
pub struct AdviceArgs {
    /// Only what is about this worker
    #[arg(long, value_name = "WORKER")]
    worker: Option<WorkerName>,
    /// By what happened since then: a span back (2h, 7d) or a date [default: 30d]
    #[arg(long, value_name = "SPAN|DATE")]
    since: Option<String>,
    /// The advice as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &AdviceArgs, session: &Session, out: &mut dyn Write) -> anyhow::Result<u8> {
    let since = since(args.since.as_deref(), session)?;
    let advice = session.wait(session.client.advice(since, args.worker.as_ref()))?;
    if args.json {
        session::json(&advice, out)?;
    } else {
        let file = if session.user { USER_FILE } else { FILE };
        session::lines(&render(&advice, file, session.wall(), &session.look), out)?;
    }
    Ok(exit::OK)
}

fn render(advice: &Advice, file: &str, now: Wall, look: &Look) -> Vec<String> {
    let from = rests_on(advice, now, look);
    if advice.proposals.is_empty() {
        return vec![format!("Nothing to change, by {from}.")];
    }
    let number = count(advice.proposals.len(), "proposal");
    let mut lines = vec![look.bold(&format!("{number}, the surest first, by {from}"))];
    for (place, proposal) in advice.proposals.iter().enumerate() {
        lines.push(String::new());
        lines.extend(block(place + 1, proposal, look));
    }
    if advice.proposals.iter().any(|proposal| !proposal.toml.is_empty()) {
        lines.push(String::new());
        lines.push("None of it is in force. To use a change:".into());
        lines.push(format!("  1. put its lines into {file}, at the top, before any [table]"));
        lines.push("  2. unitmedic check-config && systemctl reload unitmedic".into());
        lines.push(
            "What changes of recovery would have done with what was recorded: unitmedic strategies propose".into(),
        );
    }
    lines
}

/// `41 incidents in 30 d`
pub fn rests_on(advice: &Advice, now: Wall, look: &Look) -> String {
    let span = std::time::Duration::from_micros(u64::try_from(advice.until.0 - advice.since.0).unwrap_or(0));
    let incidents = count(advice.incidents, "incident");
    match advice.cut {
        false => format!("{incidents} in {}", human(span)),
        true => format!("the last {incidents}, since {}", look.moment(advice.since, now)),
    }
}

fn block(place: usize, proposal: &Proposal, look: &Look) -> Vec<String> {
    let tone = match proposal.confidence {
        Confidence::Sure => Tone::Warn,
        Confidence::Likely => Tone::Act,
        Confidence::Try => Tone::Plain,
    };
    let title = format!("{place}. {} ({})", clean(&proposal.title), trust(proposal.confidence));
    let title = wrap(&title, look.width.unwrap_or(usize::MAX));
    let mut lines: Vec<String> = title.iter().map(|line| look.paint(tone, line)).collect();
    let mut say = |head: &str, text: &str| lines.extend(said(head, text, look));
    for (nth, sentence) in proposal.evidence.iter().enumerate() {
        say(if nth == 0 { "seen" } else { "" }, sentence);
    }
    say("gain", &proposal.gain);
    for (nth, line) in proposal.toml.lines().enumerate() {
        // It is to be copied as it stands, so it is not wrapped.
        let head = if nth == 0 { "change" } else { "" };
        lines.push(format!("   {head:7}{}", clean(line)));
    }
    if !proposal.set_at.is_empty() {
        lines.extend(said("", &format!("set now at {}", proposal.set_at.join(", ")), look));
    }
    lines
}

fn said(head: &str, text: &str, look: &Look) -> Vec<String> {
    let width = look.width.map_or(usize::MAX, |width| width.saturating_sub(INDENT).max(20));
    let wrapped = wrap(&clean(text), width);
    let first = |nth: usize| if nth == 0 { head } else { "" };
    wrapped.iter().enumerate().map(|(nth, line)| format!("   {:7}{line}", first(nth))).collect()
}

/// How much it is to be believed.
pub fn trust(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Sure => "sure",
        Confidence::Likely => "likely",
        Confidence::Try => "worth a try",
    }
}

#[cfg(test)]
mod tests;
