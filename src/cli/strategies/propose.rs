//! `strategies propose`: sequences and parameters of recovery that the past is for, as a file for `conf.d`, each with what
//! a replay of the recording says of it. Changes nothing.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use crate::app::replay::{Options, ReplayReport, inputs_dir, replay};
use crate::cli::advice::{rests_on, trust};
use crate::cli::exit;
use crate::cli::replay::bar::Bar;
use crate::cli::session::{self, Session};
use crate::config::{self, Mode, Source};
use crate::model::advice::{Advice, Proposal, ProposalKind};
use crate::model::{Settings, Wall, WorkerName};
use crate::views::look::{Look, clean, wrap};
use crate::views::story::{count, fine};

/// Replays of one call: each reads the whole recording twice.
const REPLAYS_MAX: usize = 8;
/// Columns of a comment.
const WIDTH: usize = 110;
/// Name of the file among the fragments: read after most others, so that it wins over them.
const FILE: &str = "zz-strategies.toml";

#[derive(Debug, clap::Args)]
pub struct ProposeArgs {
    /// Only what is about this worker
    #[arg(long, value_name = "WORKER")]
    worker: Option<WorkerName>,
    /// The proposals and the reports of their replays as JSON
    #[arg(long)]
    json: bool,
}

/// A proposal, and what came of trying it on the recording.
#[derive(Debug, Serialize)]
struct Tried {
    #[serde(flatten)]
    proposal: Proposal,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<Box<ReplayReport>>,
    /// Why there is no replay.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_replayed: Option<String>,
}

/// The present configuration, to which a proposal is added.
struct Present {
    files: Vec<(PathBuf, String)>,
    mode: Mode,
    recordings: PathBuf,
}

pub fn run(args: &ProposeArgs, session: &Session, out: &mut dyn Write) -> anyhow::Result<u8> {
    let advice = session.wait(session.client.advice(None, args.worker.as_ref()))?;
    let present = present(session.user);
    let mut tried = Vec::new();
    for proposal in of_recovery(&advice) {
        let outcome = match &present {
            Err(why) => Err(why.clone()),
            Ok(_) if tried.len() >= REPLAYS_MAX => Err(format!("only the first {REPLAYS_MAX} are")),
            Ok(present) => try_out(present, &proposal, !args.json),
        };
        let (replay, not_replayed) = match outcome {
            Ok(report) => (Some(Box::new(report)), None),
            Err(why) => (None, Some(why)),
        };
        tried.push(Tried { proposal, replay, not_replayed });
    }
    if args.json {
        session::json(&tried, out)?;
    } else {
        let dir = Source::new(None, present.map_or(Mode::System, |present| present.mode)).fragments_dir;
        let file = dir.unwrap_or_default().join(FILE).display().to_string();
        session::lines(&render(&tried, &advice, &file, session.wall(), &session.look), out)?;
    }
    Ok(exit::OK)
}

/// Those that change recovery. Of several that set the same key the first stands.
fn of_recovery(advice: &Advice) -> Vec<Proposal> {
    let mut keys = BTreeSet::new();
    let wanted = advice.proposals.iter().filter(|one| one.kind.is_of_recovery() && !one.toml.is_empty());
    let alone = wanted.filter(|one| one.toml.lines().all(|line| keys.insert(key(line).to_string())));
    alone.cloned().collect()
}

fn key(line: &str) -> &str {
    line.split_once(" = ").map_or(line, |(key, _)| key)
}

fn present(user: bool) -> Result<Present, String> {
    let read = || -> Result<Present, config::ConfigErrors> {
        let mode = Mode::from_env(user)?;
        let files = Source::new(None, mode.clone()).read()?;
        let settings = config::parse(&files, &mode)?;
        Ok(Present { files, mode, recordings: inputs_dir(&settings.daemon.state_dir) })
    };
    read().map_err(|errors| format!("the present configuration cannot be used here: {}", first_line(&errors)))
}

fn first_line(text: &impl ToString) -> String {
    text.to_string().lines().next().unwrap_or_default().to_string()
}

impl Present {
    fn with(&self, toml: &str) -> Result<Settings, String> {
        let mut files = self.files.clone();
        files.push((PathBuf::from(FILE), toml.to_string()));
        config::parse(&files, &self.mode).map_err(|errors| format!("with it: {}", first_line(&errors)))
    }
}

fn try_out(present: &Present, proposal: &Proposal, watched: bool) -> Result<ReplayReport, String> {
    let settings = present.with(&proposal.toml)?;
    let options = Options { worker: Some(proposal.worker.clone()), ..Options::default() };
    let mut bar = Bar::new(watched);
    let report = replay(&present.recordings, &settings, &options, &mut |progress| bar.show(progress));
    bar.clear();
    match report {
        Ok(report) if report.recording.inputs == 0 => {
            Err(format!("nothing is recorded in {}; record_bytes may be 0", present.recordings.display()))
        }
        Ok(report) => Ok(report),
        Err(error) => Err(format!("there is no recording to replay: {error}")),
    }
}

fn render(tried: &[Tried], advice: &Advice, file: &str, now: Wall, look: &Look) -> Vec<String> {
    let from = rests_on(advice, now, look);
    if tried.is_empty() {
        return comment(
            "",
            &format!("No change of recovery is proposed, by {from}. See `unitmedic advice` for the rest."),
        );
    }
    let number = count(tried.len(), "change");
    let mut lines = comment("", &format!("{number} of recovery that the past is for, by {from}, the surest first."));
    lines.extend(comment("", "NOTHING OF THIS IS IN FORCE. To use it: delete what you do not want, put the rest into"));
    lines.extend(comment("", &format!("{file}, then: unitmedic check-config && systemctl reload unitmedic")));
    for one in tried {
        lines.push(String::new());
        lines.extend(block(one, now, look));
    }
    lines
}

fn block(tried: &Tried, now: Wall, look: &Look) -> Vec<String> {
    let proposal = &tried.proposal;
    let mut lines = comment("", &format!("{} ({})", proposal.title, trust(proposal.confidence)));
    for sentence in &proposal.evidence {
        lines.extend(comment("seen    ", sentence));
    }
    lines.extend(comment("gain    ", &proposal.gain));
    let replayed = match (&tried.replay, &tried.not_replayed) {
        (Some(report), _) => format!("{}. {}", outcome(report, now, look), cannot_tell(proposal.kind)),
        (None, why) => format!("not replayed: {}", why.as_deref().unwrap_or("unknown")),
    };
    lines.extend(comment("replay  ", replayed.trim_end()));
    if !proposal.set_at.is_empty() {
        lines.extend(comment("now     ", &format!("set at {}", proposal.set_at.join(", "))));
    }
    let against = tried.replay.as_deref().is_some_and(speaks_against);
    if against {
        let why = "THE REPLAY SPEAKS AGAINST IT: more would have failed, or been done or told without need. So it is a comment:";
        lines.extend(comment("", why));
    }
    let head = if against { "# " } else { "" };
    lines.extend(proposal.toml.lines().map(|line| format!("{head}{}", clean(line))));
    lines
}

/// With it something would have become worse, whatever became better.
fn speaks_against(report: &ReplayReport) -> bool {
    let (was, would) = (&report.baseline, &report.candidate);
    would.failed > was.failed || would.escalations > was.escalations || would.false_actions > was.false_actions
}

fn comment(head: &str, text: &str) -> Vec<String> {
    let wrapped = wrap(&clean(text), WIDTH - head.len() - 2);
    let head = |nth: usize| if nth == 0 { head.to_string() } else { " ".repeat(head.len()) };
    wrapped.iter().enumerate().map(|(nth, line)| format!("# {}{line}", head(nth))).collect()
}

/// `14 incidents replayed (Mon 10:00 to 18:20:00): time to recover 2 min -> 40 s, ...`
fn outcome(report: &ReplayReport, now: Wall, look: &Look) -> String {
    let (was, would) = (&report.baseline, &report.candidate);
    let span = match (report.recording.from, report.recording.to) {
        (Some(from), Some(to)) => format!("{} to {}", look.moment(from, now), look.moment(to, now)),
        _ => "nothing".into(),
    };
    if was.incidents == 0 && would.incidents == 0 {
        return format!("the recording ({span}) has no incident of this worker, and says nothing");
    }
    let mut text = format!("{} replayed ({span}): ", count(was.incidents as usize, "incident"));
    if report.differences_in_all == 0 {
        text.push_str("no decision differs");
    } else {
        let time = |times: &crate::app::replay::report::Times| times.median.map_or_else(|| "none".into(), fine);
        let (before, after) = (time(&was.time_to_recover), time(&would.time_to_recover));
        let (supposed, actions) = report.supposed();
        text.push_str(&format!("time to recover {before} -> {after} (median), "));
        text.push_str(&format!("{} -> {}, ", was.actions_in_all(), count(actions as usize, "action")));
        text.push_str(&format!("failed {} -> {}, ", was.failed, would.failed));
        text.push_str(&format!("escalations {} -> {}, ", was.escalations, would.escalations));
        text.push_str(&format!("false actions {} -> {}; ", was.false_actions, would.false_actions));
        text.push_str(&format!("{supposed} of {actions} actions are supposed, not recorded"));
    }
    if !report.is_reproduced() {
        text.push_str(". The recording is not complete, so this is worth less");
    }
    text
}

/// What no replay knows of such a change.
fn cannot_tell(kind: ProposalKind) -> &'static str {
    match kind {
        ProposalKind::Pauses => "That an attempt at another time would have ended as it says is supposed",
        ProposalKind::DrainTime => "How long what was cut off would have drained is not in the recording",
        ProposalKind::ReclaimTarget => "What more would have been taken back is not in the recording",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
