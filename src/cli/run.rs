//! `unitmedic run`: the daemon itself, with the live story when a person is watching.

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tracing::level_filters::LevelFilter;
use tracing::{error, info, warn};

use crate::adapters::notify::Notifier;
use crate::adapters::passed;
use crate::adapters::systemd::BusAddress;
use crate::app::{Daemon, Loader, Options};
use crate::config::{self, Mode, Overrides, Source, reference};
use crate::model::{Fact, Settings};
use crate::views::log::{self, LogTarget};
use crate::views::story::Story;

use super::RunArgs;
use super::terminal;

/// EX_CONFIG; the unit has RestartPreventExitStatus=78.
const BAD_CONFIGURATION: u8 = 78;

/// Threads for D-Bus, HTTP and calls. The event loop is one task among them and never waits.
const THREADS: usize = 2;

pub fn run(args: &RunArgs) -> anyhow::Result<u8> {
    // SAFETY: no other thread has been started yet, and nothing has been opened.
    let passed = unsafe { passed::take_from_env() };
    let person = std::io::stdout().is_terminal();
    let target = if person { LogTarget::StderrWithoutFacts } else { LogTarget::Auto };
    log::init(target, LevelFilter::INFO);
    // SAFETY: no other thread has been started yet.
    let notifier = unsafe { Notifier::take_from_env() }.unwrap_or_else(|error| {
        warn!(%error, "NOTIFY_SOCKET cannot be used; systemd will not hear from us");
        Notifier::silent()
    });
    let sockets = passed.context("the sockets that systemd passed cannot be taken")?;
    let bus = if args.user { BusAddress::User } else { BusAddress::System };
    let source = match Mode::from_env(args.user) {
        Ok(mode) => Source::new(args.config.as_deref(), mode),
        Err(errors) => return Ok(refuse(&errors)),
    };
    let overrides = Overrides { interval: args.interval, dry_run: args.dry_run };
    let settings = match load(&source, &overrides) {
        Ok(settings) => settings,
        Err(errors) => return Ok(refuse(&errors)),
    };
    let reload = Some(loader(source.clone(), overrides));
    let options = Options { bus, notifier, sockets, reload, describe: reference::effective };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(settings, args, &source, &overrides, person, options))
}

/// The files, then what the command line says.
fn load(source: &Source, overrides: &Overrides) -> Result<Settings, config::ConfigErrors> {
    let mut settings = config::load(source)?;
    overrides.apply(&mut settings);
    Ok(settings)
}

/// For those who ask for a reload over the API: the same as for SIGHUP, with the problems as one text.
fn loader(source: Source, overrides: Overrides) -> Loader {
    Arc::new(move || {
        let told = |errors: config::ConfigErrors| {
            let problems: Vec<String> = errors.problems().iter().map(ToString::to_string).collect();
            problems.join("; ")
        };
        load(&source, &overrides).map_err(told)
    })
}

fn refuse(errors: &config::ConfigErrors) -> u8 {
    for problem in errors.problems() {
        error!("{problem}");
    }
    BAD_CONFIGURATION
}

async fn serve(
    settings: Settings,
    args: &RunArgs,
    source: &Source,
    overrides: &Overrides,
    person: bool,
    options: Options,
) -> anyhow::Result<u8> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    if settings.workers.is_empty() {
        info!("no worker is configured: nothing is touched; `unitmedic discover` proposes some");
    }
    let mut daemon = Daemon::start(settings, options).await?;
    if person {
        let story = Story::new(terminal::stdout_look(args.no_color));
        tokio::spawn(tell(story, daemon.facts()));
    }
    loop {
        tokio::select! {
            _ = hangup.recv() => reload(&daemon, source, overrides).await,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            why = daemon.failed() => anyhow::bail!("{why}; this is a bug, please report it"),
        }
    }
    info!("stopping");
    daemon.stop().await;
    Ok(0)
}

/// A bad file leaves the settings in force as they are, and says so.
async fn reload(daemon: &Daemon, source: &Source, overrides: &Overrides) {
    match load(source, overrides) {
        Ok(settings) => {
            if let Err(error) = daemon.reload(settings).await {
                error!(%error, "the new configuration could not be put in force");
            }
        }
        Err(errors) => {
            refuse(&errors);
            error!("the configuration has errors; the one in force stays in force");
        }
    }
}

async fn tell(mut story: Story, mut facts: Receiver<Arc<Fact>>) {
    loop {
        match facts.recv().await {
            Ok(fact) => {
                story.set_width(terminal::stdout_look(false).width);
                // Nobody is watching any more when this cannot be written; the daemon goes on.
                if let Some(lines) = story.tell(&fact) {
                    let _ = writeln!(std::io::stdout(), "{lines}");
                }
            }
            Err(RecvError::Lagged(missed)) => drop(writeln!(std::io::stdout(), "… {missed} more events")),
            Err(RecvError::Closed) => return,
        }
    }
}
