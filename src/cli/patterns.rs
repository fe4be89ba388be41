//! `unitmedic patterns`: what the daemon has learned of the errors of the workers; or groups the lines of any log.

mod file;
mod known;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::{Path, PathBuf};

use super::exit::Usage;
use super::session::{self, Session};
use super::{exit, incidents};
use crate::model::pattern::PatternFilter;
use crate::model::{PatternId, WorkerName};

/// Patterns that the table shows.
const SHOWN: usize = 40;

#[derive(Debug, clap::Args)]
pub struct PatternsArgs {
    /// The id of a pattern, to see all that is known of it; or a log, whose lines are grouped without a daemon (- reads
    /// standard input)
    #[arg(value_name = "ID|FILE")]
    subject: Option<String>,
    /// Only what this worker wrote
    #[arg(long, value_name = "WORKER")]
    worker: Option<WorkerName>,
    /// Show at most this many patterns [default: 40]
    #[arg(long, value_name = "N", value_parser = incidents::parse_limit)]
    limit: Option<usize>,
    /// The answer as JSON; of a log each line's number, pattern and template, one object per line
    #[arg(long)]
    json: bool,
}

/// What was asked for.
#[derive(Debug, PartialEq)]
enum Subject {
    All,
    One(PatternId),
    Log(PathBuf),
}

impl PatternsArgs {
    /// A file with such a name is read, whatever it looks like.
    fn subject(&self) -> Subject {
        let Some(text) = &self.subject else { return Subject::All };
        match PatternId::try_from(text.clone()) {
            Ok(id) if !Path::new(text).exists() => Subject::One(id),
            _ => Subject::Log(text.into()),
        }
    }
}

pub fn run(args: &PatternsArgs, session: &Session, out: &mut dyn Write) -> anyhow::Result<u8> {
    let id = match args.subject() {
        Subject::Log(_) if args.worker.is_some() => {
            return Err(Usage("--worker asks the daemon, and has no meaning for a log".into()).into());
        }
        Subject::Log(_) if args.json && args.limit.is_some() => {
            return Err(Usage("--limit has no meaning for a log with --json: each line is told".into()).into());
        }
        Subject::Log(path) => {
            file::group(&path, args.limit.unwrap_or(SHOWN), args.json, &session.look, out)?;
            return Ok(exit::OK);
        }
        Subject::One(id) => Some(id),
        Subject::All => None,
    };
    let limit = args.limit.unwrap_or(SHOWN);
    let filter = PatternFilter { id, worker: args.worker.clone(), limit: Some(limit) };
    let view = session.wait(session.client.patterns(&filter))?;
    session.check_worker(args.worker.as_ref(), view.patterns.is_empty())?;
    match (args.json, id) {
        (true, _) => session::json(&view, out)?,
        (false, None) => session::lines(&known::table(&view, session.wall(), &session.look), out)?,
        (false, Some(_)) => {
            for pattern in &view.patterns {
                session::lines(&known::page(pattern, session.wall(), &session.look), out)?;
            }
        }
    }
    Ok(exit::OK)
}
