//! unitmedic inside another program: load settings, start, listen, ask for status, request a recovery, stop.
//!
//! `cargo run --example embed -- CONFIG [UNIT]` watches the workers of CONFIG, restarts UNIT where one is named, and
//! ends when its incident has ended, or with Ctrl-C.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, bail};
use unitmedic::app::{Daemon, Options};
use unitmedic::config::{self, Mode, Source};
use unitmedic::model::request::{Ask, Reply, Target};
use unitmedic::model::{Action, IncidentId, UnitName, What};
use unitmedic::views::story::sentence;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let path: PathBuf = arguments.next().context("usage: embed CONFIG [UNIT]")?.into();
    let unit: Option<UnitName> = arguments.next().map(|name| name.parse()).transpose()?;

    let settings = config::load(&Source::new(Some(&path), Mode::System))?;
    let daemon = Daemon::start(settings, Options::default()).await?;
    // Before anything is asked for, so that nothing that follows from it is missed.
    let facts = daemon.facts();
    let result = tokio::select! {
        result = watch(&daemon, facts, unit) => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    daemon.stop().await;
    result
}

type Facts = tokio::sync::broadcast::Receiver<std::sync::Arc<unitmedic::model::Fact>>;

async fn watch(daemon: &Daemon, mut facts: Facts, unit: Option<UnitName>) -> anyhow::Result<()> {
    // All units have been looked at once a fact says so, maybe before we listened.
    while !daemon.status().await?.ready {
        let fact = facts.recv().await?;
        println!("{}", sentence(&fact));
    }
    show(daemon).await?;
    let asked = match &unit {
        Some(unit) => Some(restart(daemon, unit).await?),
        None => None,
    };
    loop {
        let fact = facts.recv().await?;
        println!("{}", sentence(&fact));
        if let What::IncidentClosed { resolution, .. } = &fact.what
            && asked.is_some()
            && fact.incident == asked
        {
            println!("ended as {resolution}");
            return Ok(());
        }
    }
}

async fn show(daemon: &Daemon) -> anyhow::Result<()> {
    for worker in daemon.status().await?.workers {
        println!("{}: {}, {} of {} serving", worker.worker, worker.health, worker.serving, worker.instances.len());
    }
    Ok(())
}

/// The request passes the same gates as unitmedic's own decisions.
async fn restart(daemon: &Daemon, unit: &UnitName) -> anyhow::Result<IncidentId> {
    let ask = Ask::Recover { target: Target::Unit(unit.clone()), action: Action::Restart, force: false };
    match daemon.request("embed", ask).await? {
        Reply::Accepted { incidents, .. } => incidents.first().copied().context("accepted without an incident"),
        Reply::Refused { refusal, .. } => bail!("refused by gate {}: {}", refusal.gate, refusal.text),
        Reply::Unknown { text } | Reply::Done { text } => bail!(text),
    }
}
