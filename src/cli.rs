//! The command line: one module per command. Reads arguments, asks the daemon over its control socket, renders.
//!
//! Decides nothing about workers; `run` alone brings the daemon to life.

pub mod advice;
pub mod alerts;
pub mod approve;
pub mod audit;
pub mod check_config;
pub mod discover;
mod exit;
pub mod explain;
pub mod generate;
pub mod helper;
pub mod history;
pub mod incidents;
pub mod patterns;
pub mod pause;
mod reasons;
pub mod recover;
pub mod replay;
pub mod run;
mod service;
mod session;
pub mod status;
pub mod strategies;
mod target;
pub mod terminal;
mod when;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

pub use exit::Usage;
use session::Session;

/// Keeps the workers of a systemd host alive and well.
#[derive(Debug, Parser)]
#[command(name = "unitmedic", version, after_help = exit::HELP, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that may stand before the command or after it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Global {
    /// Control socket of the daemon [default: /run/unitmedic/control.sock]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The user's own services and daemon: socket $XDG_RUNTIME_DIR/unitmedic/control.sock
    #[arg(long)]
    pub user: bool,
    /// No colours, also on a terminal (as with NO_COLOR in the environment)
    #[arg(long)]
    pub no_color: bool,
}

impl Global {
    /// What stands after the command wins.
    fn or(&self, before: &Global) -> Self {
        Self {
            socket: self.socket.clone().or_else(|| before.socket.clone()),
            user: self.user || before.user,
            no_color: self.no_color || before.no_color,
        }
    }

    /// The first option that was given, for a command that has no use for it.
    fn given(&self) -> Option<&'static str> {
        let given = [("--socket", self.socket.is_some()), ("--user", self.user), ("--no-color", self.no_color)];
        given.iter().find(|(_, given)| *given).map(|(name, _)| *name)
    }
}

/// A command that asks the daemon, with the options that say which one. They may also stand behind a command of
/// the command (`incidents show 42 --user`).
#[derive(Debug, Args)]
#[command(
    mut_arg("socket", |arg| arg.global(true)),
    mut_arg("user", |arg| arg.global(true)),
    mut_arg("no_color", |arg| arg.global(true))
)]
struct Asking<A: Args> {
    #[command(flatten)]
    args: A,
    #[command(flatten, next_help_heading = "Global options")]
    global: Global,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch and repair the configured workers, until stopped
    #[command(visible_alias = "start")]
    Run(RunArgs),
    /// How the workers are, sick ones first
    Status(Asking<status::StatusArgs>),
    /// What was wrong, newest first
    Incidents(Asking<incidents::IncidentsArgs>),
    /// What was done about it, newest first
    History(Asking<history::HistoryArgs>),
    /// Who did what, and from where, newest first
    Audit(Asking<audit::AuditArgs>),
    /// What is firing, where it was sent, and what fired before
    Alerts(Asking<alerts::AlertsArgs>),
    /// Why something was or was not recovered, and why it is restarted so often
    Explain(Asking<explain::ExplainArgs>),
    /// What has been learned: which action helps for which failure, and why it is ranked so
    Strategies(Asking<strategies::StrategiesArgs>),
    /// What could be configured better, with the evidence for it and the change it would take
    Advice(Asking<advice::AdviceArgs>),
    /// Restart a worker or a unit now, behind the same gates, and show whether it helped
    Recover(Asking<recover::RecoverArgs>),
    /// Say yes to a planned action that waits for it; without an incident, what waits
    Approve(Asking<approve::ApproveArgs>),
    /// Say no to a planned action that waits for a yes
    Reject(Asking<approve::RejectArgs>),
    /// Leave a worker, or all, alone for a while
    Pause(Asking<pause::PauseArgs>),
    /// End a pause
    Resume(Asking<pause::ResumeArgs>),
    /// Check the configuration without starting anything
    CheckConfig(check_config::Args),
    /// Propose a configuration for services that run here
    Discover(discover::Args),
    /// Which errors the workers write, and what they precede; or group the lines of a log
    Patterns(Asking<patterns::PatternsArgs>),
    /// What would another configuration have done with what was recorded?
    Replay(replay::ReplayArgs),
    /// The root side of the daemon; systemd alone starts it
    #[command(hide = true)]
    Helper,
    /// Write files that go with a worker, such as its unit
    Generate(generate::Args),
}

/// What `run` was asked for.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// Configuration file [default: /etc/unitmedic/unitmedic.toml and /etc/unitmedic/conf.d/*.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Time between two samples of CPU, memory and pressure, such as 10s; overrides health_check_interval
    #[arg(long, value_name = "SPAN", value_parser = when::parse_span)]
    pub interval: Option<Duration>,
    /// Decide and tell, but do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Ask systemd to start unitmedic.service, report whether it runs, and return
    #[arg(long, conflicts_with_all = ["config", "interval", "dry_run"])]
    pub daemon: bool,
    /// The user's own manager and configuration
    #[arg(long)]
    pub user: bool,
    /// No colours, also on a terminal (as with NO_COLOR in the environment)
    #[arg(long)]
    pub no_color: bool,
}

/// The whole program: parses, runs, and answers with the documented exit code.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell when even this cannot be written.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { exit::OK });
        }
    };
    match cli.run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => ExitCode::from(exit::report(&error)),
    }
}

impl Cli {
    /// Carries out the command; the value is the exit code.
    fn run(self) -> anyhow::Result<u8> {
        let before = &self.global;
        // Not locked: `run` and a live view write from elsewhere as well.
        let out = &mut std::io::stdout();
        match self.command {
            Command::Run(args) => run_daemon(args, before),
            Command::Status(asking) => asking.run(before, out, status::run),
            Command::Incidents(asking) => asking.run(before, out, incidents::run),
            Command::History(asking) => asking.run(before, out, history::run),
            Command::Audit(asking) => asking.run(before, out, audit::run),
            Command::Alerts(asking) => asking.run(before, out, alerts::run),
            Command::Explain(asking) => asking.run(before, out, explain::run),
            Command::Strategies(asking) => asking.run(before, out, strategies::run),
            Command::Advice(asking) => asking.run(before, out, advice::run),
            Command::Recover(asking) => asking.run(before, out, recover::run),
            Command::Approve(asking) => asking.run(before, out, approve::approve),
            Command::Reject(asking) => asking.run(before, out, approve::reject),
            Command::Pause(asking) => asking.run(before, out, pause::pause),
            Command::Resume(asking) => asking.run(before, out, pause::resume),
            Command::CheckConfig(mut args) => {
                args.user |= before.user;
                check_config::run(&args, out)
            }
            Command::Discover(mut args) => {
                args.user |= before.user;
                discover::run(&args, out)
            }
            Command::Patterns(asking) => asking.run(before, out, patterns::run),
            Command::Replay(mut args) => {
                args.user |= before.user;
                replay::run(&args, &terminal::stdout_look(before.no_color), out)
            }
            Command::Helper => helper::run(),
            Command::Generate(args) => match before.given() {
                Some(option) => Err(Usage(format!("{option} has no meaning for generate")).into()),
                None => generate::run(&args, out),
            },
        }
    }
}

impl<A: Args> Asking<A> {
    fn run(
        &self,
        before: &Global,
        out: &mut dyn Write,
        command: fn(&A, &Session, &mut dyn Write) -> anyhow::Result<u8>,
    ) -> anyhow::Result<u8> {
        command(&self.args, &Session::new(&self.global.or(before))?, out)
    }
}

fn run_daemon(mut args: RunArgs, before: &Global) -> anyhow::Result<u8> {
    if before.socket.is_some() {
        return Err(Usage("--socket has no meaning for run: set control_socket in the configuration".into()).into());
    }
    args.user |= before.user;
    args.no_color |= before.no_color;
    if args.daemon { service::start(args.user) } else { run::run(&args) }
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
