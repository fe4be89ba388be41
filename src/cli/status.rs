//! `status`: how the workers are. Sick ones first, and only what is sick in detail.

mod view;
mod watch;

use std::io::Write;

use clap::Args;

use super::exit;
use super::session::{self, Session};
use super::target::no_such;
use crate::model::status::Status;

pub use view::{between, render};

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Only these workers or units, each instance in detail
    #[arg(value_name = "WORKER|UNIT")]
    pub names: Vec<String>,
    /// Go on showing it: redrawn on a terminal, one line per event elsewhere
    #[arg(long, short)]
    pub watch: bool,
    /// The whole status as JSON
    #[arg(long, conflicts_with = "watch")]
    pub json: bool,
}

pub fn run(args: &StatusArgs, session: &Session, out: &mut dyn Write) -> anyhow::Result<u8> {
    if args.watch {
        return watch::run(args, session, out);
    }
    let status = select(session.wait(session.client.status())?, &args.names)?;
    if args.json {
        session::json(&status, out)?;
    } else {
        session::lines(&render(&status, !args.names.is_empty(), &session.look), out)?;
    }
    Ok(exit::OK)
}

/// Only what was named; everything when nothing was. A name that nothing bears is an error.
pub fn select(mut status: Status, names: &[String]) -> anyhow::Result<Status> {
    if names.is_empty() {
        return Ok(status);
    }
    let mut unmatched: Vec<&String> = names.iter().collect();
    let mut named = |name: &str| {
        let hit = |wanted: &str| wanted == name || name.strip_suffix(".service") == Some(wanted);
        unmatched.retain(|wanted| !hit(wanted));
        names.iter().any(|wanted| hit(wanted))
    };
    let mut known = Vec::new();
    let mut selected = Vec::new();
    for mut worker in std::mem::take(&mut status.workers) {
        known.push(worker.worker.to_string());
        let whole = named(worker.worker.as_str());
        worker.instances.retain(|instance| named(instance.unit.as_str()) || whole);
        if whole || !worker.instances.is_empty() {
            selected.push(worker);
        }
    }
    if let Some(name) = unmatched.first() {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        return Err(no_such("worker or unit", name, &known).into());
    }
    status.workers = selected;
    Ok(status)
}

#[cfg(test)]
mod tests;
