//! `replay`: what other settings would have done with what was recorded. Asks no daemon and changes nothing.

pub(in crate::cli) mod bar;
mod view;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::check_config::EXIT_CONFIG;
use super::exit::{self, Usage};
use super::{session, when};
use crate::adapters::clock;
use crate::app::replay::{DIFFERENCES, Options, ReadError, Trouble, inputs_dir, replay};
use crate::config::{self, ConfigErrors, Mode, Source};
use crate::model::{Settings, WorkerName};
use crate::views::look::Look;

use bar::Bar;

/// Name of the main file in a directory of configuration, and of the directory of further ones beside it.
const MAIN_NAME: &str = "unitmedic.toml";
const FRAGMENTS_NAME: &str = "conf.d";

#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// What would this configuration have done? A file, or a directory with unitmedic.toml and conf.d
    /// [default: the present one]
    #[arg(long, value_name = "FILE|DIR")]
    pub config: Option<PathBuf>,
    /// Where the recording is [default: inputs in the configured state_dir]
    #[arg(long, value_name = "DIR")]
    pub recordings: Option<PathBuf>,
    /// Count only since then: a span back (2h, 7d) or a date
    #[arg(long, value_name = "SPAN|DATE")]
    pub since: Option<String>,
    /// Stop there: a span back or a date
    #[arg(long, value_name = "SPAN|DATE")]
    pub until: Option<String>,
    /// Count only this worker
    #[arg(long, value_name = "WORKER")]
    pub worker: Option<WorkerName>,
    /// Tell at most this many decisions that differ, the first ones
    #[arg(long, value_name = "N", default_value_t = DIFFERENCES)]
    pub differences: usize,
    /// The configuration and the recording of the user's own daemon
    #[arg(long)]
    pub user: bool,
    /// The report as JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &ReplayArgs, look: &Look, out: &mut dyn Write) -> anyhow::Result<u8> {
    let (settings, recordings) = match load(args) {
        Ok(loaded) => loaded,
        Err(errors) => {
            eprintln!("{errors}");
            return Ok(EXIT_CONFIG);
        }
    };
    let options = options(args, look)?;
    let mut bar = Bar::new(!args.json);
    let report = replay(&recordings, &settings, &options, &mut |progress| bar.show(progress));
    bar.clear();
    let report = report.map_err(hint).context("there is no recording to replay")?;
    if report.recording.inputs == 0 {
        anyhow::bail!(nothing(&recordings, &report.recording.troubles, &options));
    }
    if let Some(worker) = &args.worker
        && !settings.workers.contains_key(worker)
        && !report.workers.contains_key(worker)
    {
        return Err(Usage(format!("no worker {worker} is in the configuration or in the recording")).into());
    }
    if args.json {
        session::json(&report, out)?;
    } else {
        let with = args.config.as_ref().map_or_else(|| "PRESENT".into(), |path| name_of(path));
        session::lines(&view::render(&report, &with, clock::now().wall, look), out)?;
    }
    Ok(exit::OK)
}

/// The settings to try, and the directory of the recording: that of the daemon that is configured here, unless the
/// settings to try name another one.
fn load(args: &ReplayArgs) -> Result<(Settings, PathBuf), ConfigErrors> {
    let mode = Mode::from_env(args.user)?;
    let settings = config::load(&source(args.config.as_deref(), &mode))?;
    if let Some(recordings) = &args.recordings {
        return Ok((settings, recordings.clone()));
    }
    let says = settings.origins.contains_key("daemon.state_dir");
    let present = (!says && args.config.is_some()).then(|| config::load(&Source::new(None, mode)).ok()).flatten();
    let state_dir = present.map_or_else(|| settings.daemon.state_dir.clone(), |present| present.daemon.state_dir);
    Ok((settings, inputs_dir(&state_dir)))
}

fn source(config: Option<&Path>, mode: &Mode) -> Source {
    match config.filter(|path| path.is_dir()) {
        Some(dir) => {
            Source { main: dir.join(MAIN_NAME), fragments_dir: Some(dir.join(FRAGMENTS_NAME)), mode: mode.clone() }
        }
        None => Source::new(config, mode.clone()),
    }
}

fn options(args: &ReplayArgs, look: &Look) -> Result<Options, Usage> {
    let now = clock::now().wall;
    let point = |text: &Option<String>| text.as_deref().map(|text| when::since(text, now, &look.zone)).transpose();
    let (since, until) = (point(&args.since).map_err(Usage)?, point(&args.until).map_err(Usage)?);
    if since.zip(until).is_some_and(|(since, until)| since >= until) {
        return Err(Usage("--since must be before --until".into()));
    }
    Ok(Options { since, until, worker: args.worker.clone(), differences: args.differences })
}

/// Why there is nothing to replay.
fn nothing(recordings: &Path, troubles: &Trouble, options: &Options) -> String {
    let dir = recordings.display();
    match troubles.told.first() {
        Some(first) => format!("nothing of what is recorded in {dir} can be replayed: {first}"),
        None if options.since.is_some() || options.until.is_some() => {
            format!("nothing is recorded in {dir} of that time")
        }
        None => format!("nothing is recorded in {dir}: the daemon records while record_bytes is not 0"),
    }
}

/// The file that was tried, as a heading.
fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// What to do where the recording may not be read.
fn hint(error: ReadError) -> anyhow::Error {
    let denied = matches!(&error, ReadError::Io { error, .. } if error.kind() == std::io::ErrorKind::PermissionDenied);
    let error = anyhow::Error::from(error);
    if denied { error.context("run it as root, or as a member of the daemon's group unitmedic") } else { error }
}

#[cfg(test)]
mod tests;
