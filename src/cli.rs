//! The command line: one module per command. Reads arguments, asks the daemon over its control socket, renders.
//!
//! Decides nothing about workers; `run` alone brings the daemon to life.

pub mod check_config;
pub mod discover;
mod exit;
pub mod explain;
pub mod generate;
pub mod history;
pub mod incidents;
pub mod pause;
pub mod recover;
pub mod run;
mod service;
mod session;
pub mod status;
mod target;
pub mod terminal;
mod when;

use std::ffi::OsString;
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
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Control socket of the daemon [default: /run/unitmedic/control.sock]
    #[arg(long, global = true, value_name = "PATH", help_heading = "Global options")]
    pub socket: Option<PathBuf>,
    /// The user's own services and daemon: socket $XDG_RUNTIME_DIR/unitmedic/control.sock
    #[arg(long, global = true, help_heading = "Global options")]
    pub user: bool,
    /// No colours, also on a terminal (as with NO_COLOR in the environment)
    #[arg(long, global = true, help_heading = "Global options")]
    pub no_color: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch and repair the configured workers, until stopped
    #[command(visible_alias = "start")]
    Run(RunArgs),
    /// How the workers are, sick ones first
    Status(status::StatusArgs),
    /// What was wrong, newest first
    Incidents(incidents::IncidentsArgs),
    /// What was done about it, newest first
    History(history::HistoryArgs),
    /// Why something was or was not recovered, and why it is restarted so often
    Explain(explain::ExplainArgs),
    /// Restart a worker or a unit now, behind the same gates, and show whether it helped
    Recover(recover::RecoverArgs),
    /// Leave a worker, or all, alone for a while
    Pause(pause::PauseArgs),
    /// End a pause
    Resume(pause::ResumeArgs),
    /// Check the configuration without starting anything
    CheckConfig(check_config::Args),
    /// Propose a configuration for services that run here
    Discover(discover::Args),
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
    /// The options of all commands, as given before or after `run`.
    #[arg(skip)]
    pub global: Global,
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
        let mut out = std::io::stdout().lock();
        let session = || Session::new(&self.global);
        match &self.command {
            Command::Run(args) => {
                drop(out);
                let args = RunArgs { global: self.global.clone(), ..args.clone() };
                if args.daemon { service::start(args.global.user) } else { run::run(&args) }
            }
            Command::Status(args) => status::run(args, &session()?, &mut out),
            Command::Incidents(args) => incidents::run(args, &session()?, &mut out),
            Command::History(args) => history::run(args, &session()?, &mut out),
            Command::Explain(args) => explain::run(args, &session()?, &mut out),
            Command::Recover(args) => recover::run(args, &session()?, &mut out),
            Command::Pause(args) => pause::pause(args, &session()?, &mut out),
            Command::Resume(args) => pause::resume(args, &session()?, &mut out),
            Command::CheckConfig(args) => check_config::run(args, &mut out),
            Command::Discover(args) => discover::run(args, &mut out),
            Command::Generate(args) => generate::run(args, &mut out),
        }
    }
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
