//! `status`: how the workers are. Sick ones first, and only what is sick in detail.

mod view;
mod watch;

use std::io::Write;

use clap::Args;

use super::exit;
use super::session::{self, Session};
use super::target::no_such;
use crate::model::status::{Status, WorkerStatus};

pub use view::{between, is_named, render};

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
        session::lines(&render(&status, &args.names, &session.look), out)?;
    }
    Ok(exit::OK)
}

/// Only the workers that are named, or have a unit that is; all when nothing is named. A name that nothing bears
/// is an error.
pub fn select(mut status: Status, names: &[String]) -> anyhow::Result<Status> {
    if names.is_empty() {
        return Ok(status);
    }
    let bears = |worker: &WorkerStatus, names: &[String]| {
        let mut units = worker.instances.iter().map(|instance| instance.unit.as_str());
        is_named(worker.worker.as_str(), names) || units.any(|unit| is_named(unit, names))
    };
    let nobody = |name: &&String| !status.workers.iter().any(|worker| bears(worker, std::slice::from_ref(*name)));
    if let Some(name) = names.iter().find(nobody) {
        let workers: Vec<&str> = status.workers.iter().map(|worker| worker.worker.as_str()).collect();
        return Err(no_such("worker or unit", name, &workers).into());
    }
    status.workers.retain(|worker| bears(worker, names));
    Ok(status)
}

#[cfg(test)]
mod tests;
