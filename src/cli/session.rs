//! What the asking commands share: the client, the look of the output, JSON.

use std::env;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;

use super::exit::Usage;
use super::target::no_such;
use super::{Global, terminal};
use crate::adapters::clock;
use crate::adapters::http::client::Client;
use crate::model::settings::DaemonSettings;
use crate::model::{Now, Wall, WorkerName};
use crate::views::look::Look;

pub struct Session {
    pub client: Client,
    pub look: Look,
    pub runtime: tokio::runtime::Runtime,
    /// The user's own daemon and configuration.
    pub user: bool,
}

impl Session {
    pub fn new(global: &Global) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self {
            client: Client::new(socket(global)?),
            look: terminal::stdout_look(global.no_color),
            runtime: runtime.context("starting the runtime for asking the daemon")?,
            user: global.user,
        })
    }

    /// Where nothing is known of a worker, it may be none.
    pub fn check_worker(&self, worker: Option<&WorkerName>, nothing: bool) -> anyhow::Result<()> {
        let Some(worker) = worker.filter(|_| nothing) else { return Ok(()) };
        let status = self.wait(self.client.status())?;
        let workers: Vec<&str> = status.workers.iter().map(|known| known.worker.as_str()).collect();
        match workers.contains(&worker.as_str()) {
            true => Ok(()),
            false => Err(no_such("worker", worker.as_str(), &workers).into()),
        }
    }

    pub fn now(&self) -> Now {
        clock::now()
    }

    pub fn wall(&self) -> Wall {
        clock::now().wall
    }

    pub fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}

/// Where the daemon listens, by the options alone; a `control_socket` in its configuration needs --socket here.
fn socket(global: &Global) -> Result<PathBuf, Usage> {
    match (&global.socket, global.user) {
        (Some(path), _) => Ok(path.clone()),
        (None, false) => Ok(DaemonSettings::default().control_socket),
        (None, true) => match env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
            Some(dir) => Ok(PathBuf::from(dir).join("unitmedic/control.sock")),
            None => Err(Usage(
                "--user needs XDG_RUNTIME_DIR in the environment, as a login sets it; or name the socket with --socket"
                    .into(),
            )),
        },
    }
}

/// A value as indented JSON with a line break at its end.
pub fn json(value: &impl Serialize, out: &mut dyn Write) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value).context("rendering the answer as JSON")?;
    Ok(writeln!(out, "{text}")?)
}

/// A value as JSON on one line, flushed: for streams.
pub fn json_line(value: &impl Serialize, out: &mut dyn Write) -> anyhow::Result<()> {
    let text = serde_json::to_string(value).context("rendering the answer as JSON")?;
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Lines with a line break after each.
pub fn lines(lines: &[String], out: &mut dyn Write) -> anyhow::Result<()> {
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(out.flush()?)
}
