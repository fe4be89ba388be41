//! From TOML files to validated settings, in stages: fragments, merged inputs, settings.
//!
//! Whatever leaves here is in range and exact; whatever is wrong is told with file and line, all at once.
//! Knows the model alone; reads files and nothing else of the world.

mod address;
mod build;
mod checks;
mod errors;
pub mod kept;
mod keys;
mod list;
mod masked;
mod merge;
pub mod reference;
mod selector;
mod source;
pub mod span;
mod value;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use crate::model::Settings;

pub use errors::{ConfigErrors, PROBLEMS_MAX, Problem};
pub use merge::WORKERS_MAX;
pub use source::{FILE_MAX, FRAGMENTS_MAX, Mode, Source, UserDirs};

use errors::Problems;
use value::Kind;

/// Name of the control socket in the runtime directory.
const SOCKET_NAME: &str = "control.sock";

/// Origin of what the command line sets.
const COMMAND_LINE: &str = "command line";

/// Reads, merges and validates. Problems with files end it at the first; problems in them are told together.
pub fn load(source: &Source) -> Result<Settings, ConfigErrors> {
    parse(&source.read()?, &source.mode)
}

/// The same from texts in memory, in the order in which they take effect.
pub fn parse(files: &[(PathBuf, String)], mode: &Mode) -> Result<Settings, ConfigErrors> {
    let mut problems = Problems::default();
    let inputs = merge::merge(files, &mut problems);
    let paths: Vec<PathBuf> = files.iter().map(|(path, _)| path.clone()).collect();
    let settings = build::build(&inputs, mode.daemon_defaults(), &paths, &mut problems);
    problems.finish(&paths)?;
    Ok(settings)
}

/// What the command line sets; it wins over every file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overrides {
    pub interval: Option<Duration>,
    /// Can switch it on, never off: a file that says `dry_run = true` stays in force.
    pub dry_run: bool,
}

impl Overrides {
    pub fn apply(&self, settings: &mut Settings) {
        if let Some(interval) = self.interval {
            settings.daemon.health_check_interval = interval;
            settings.origins.insert("daemon.health_check_interval".into(), COMMAND_LINE.into());
        }
        if self.dry_run {
            settings.daemon.dry_run = true;
            settings.origins.insert("daemon.dry_run".into(), COMMAND_LINE.into());
        }
    }
}

/// Reads the argument of `--interval`, with the range of `health_check_interval`. Made to be clap's `value_parser`.
pub fn interval(text: &str) -> Result<Duration, String> {
    let kind = keys::DAEMON.iter().find(|key| key.spec.name == "health_check_interval").map(|key| key.spec.kind);
    let span = span::parse_span(text)?;
    match kind {
        Some(Kind::Span(min, max)) if !(min..=max).contains(&span) => {
            Err(format!("takes a time span from {} to {}", span::show_span(min), span::show_span(max)))
        }
        _ => Ok(span),
    }
}
