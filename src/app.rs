//! The composition root: starts the adapters, owns the event loop, and is the handle by which the command line,
//! the HTTP server and programs that embed the crate speak with it.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use unitmedic::app::{Daemon, Options};
//! use unitmedic::config::{Mode, Source, load};
//!
//! let settings = load(&Source::new(None, Mode::System))?;
//! let daemon = Daemon::start(settings, Options::default()).await?;
//! let mut facts = daemon.facts();
//! println!("{:?}", daemon.status().await?.workers);
//! while let Ok(fact) = facts.recv().await {
//!     println!("{}", unitmedic::views::story::sentence(&fact));
//! }
//! # Ok(()) }
//! ```

mod advice;
mod authority;
mod disk_desk;
mod dispatch;
mod event_loop;
mod habit_desk;
mod log_desk;
mod pattern_desk;
mod port;
mod recall;
pub mod replay;
mod roster;
mod series_desk;
mod snapshots;
mod start;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::adapters::alertmanager::Alertmanagers;
use crate::adapters::heartbeat::HeartbeatStats;
use crate::adapters::http::{Answers, Feed, PortError};
use crate::adapters::journal::LineStats;
use crate::adapters::notify::Notifier;
use crate::adapters::passed::Passed;
use crate::adapters::rabbitmq::BrokerStats;
use crate::adapters::store::Store;
use crate::adapters::systemd::{BusAddress, BusStats, Families};
use crate::model::approval::Card;
use crate::model::overview::Preview;
use crate::model::request::{Ask, Reply, Target};
use crate::model::signal::ExternalAlert;
use crate::model::status::{Explanation, SettingsTable, Status};
use crate::model::strategy::{Known, Strategy};
use crate::model::{Action, Alert, Fact, Settings, WorkerName};
use crate::views::metrics::{Board, Own};

pub use start::StartError;

use authority::Authority;
use disk_desk::DiskDesk;
use pattern_desk::PatternDesk;
use series_desk::SeriesDesk;
use snapshots::{Present, Snapshots};

/// Facts that a slow subscriber may lag behind before it misses some.
pub const FACTS_BEHIND: usize = 4096;
/// Questions to the event loop that may wait.
const QUERIES: usize = 256;

/// Reads the configuration anew, as [`Options::reload`] has it; the error says all that is wrong with it.
pub type Loader = Arc<dyn Fn() -> Result<Settings, String> + Send + Sync>;

/// What is not configuration: how this process runs.
pub struct Options {
    /// The system's manager, or the user's.
    pub bus: BusAddress,
    /// Who is told that we are ready, alive and stopping; [`Notifier::silent`] where we are not a service.
    pub notifier: Notifier,
    /// What systemd opened for us. Where there is any it is served, and `listen` is left alone.
    pub sockets: Vec<Passed>,
    /// What an operator who asks for a reload over the API gets; without it, the answer is no.
    pub reload: Option<Loader>,
    /// The settings in force for people, without secrets: [`crate::config::reference::effective`], or what fits where they
    /// come from elsewhere.
    pub describe: fn(&Settings) -> Vec<SettingsTable>,
}

impl Default for Options {
    /// For a program that has its settings from elsewhere: no reload over the API, and no description of them.
    fn default() -> Self {
        Self {
            bus: BusAddress::System,
            notifier: Notifier::silent(),
            sockets: Vec::new(),
            reload: None,
            describe: |_| Vec::new(),
        }
    }
}

/// A running unitmedic. Dropping the handle leaves it running; [`Daemon::stop`] ends it.
pub struct Daemon {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    event_loop: JoinHandle<event_loop::Ended>,
    remains: start::Remains,
}

/// What callers from other threads may use.
pub(crate) struct Shared {
    queries: mpsc::Sender<Query>,
    facts: broadcast::Sender<Arc<Fact>>,
    readiness: watch::Receiver<Result<(), String>>,
    store: Store,
    board: std::sync::Mutex<Board>,
    own: Own,
    bus: Arc<BusStats>,
    roster: roster::Roster,
    families: Arc<Families>,
    counted: Counted,
    authority: Arc<Authority>,
    alertmanagers: Alertmanagers,
    patterns: PatternDesk,
    disk: DiskDesk,
    in_force: watch::Receiver<Arc<Settings>>,
    reading: Reading,
    reload: Option<Loader>,
    describe: fn(&Settings) -> Vec<SettingsTable>,
}

/// What those who only look share, so that however many they are, the event loop hardly notices.
pub(crate) struct Reading {
    snapshots: Snapshots,
    series: SeriesDesk,
    feed: Arc<Feed>,
    answers: Answers,
}

/// What adapters of signals of work count, for the metrics.
#[derive(Default)]
pub(crate) struct Counted {
    beats: Arc<HeartbeatStats>,
    brokers: Arc<BrokerStats>,
    lines: Arc<LineStats>,
}

/// A question to the event loop, which alone knows the engine.
pub(crate) enum Query {
    Status(oneshot::Sender<Present>),
    Explain(Target, oneshot::Sender<Vec<Explanation>>),
    Alerts(oneshot::Sender<Vec<Alert>>),
    Strategies(Option<WorkerName>, oneshot::Sender<Vec<Strategy>>),
    ExportStrategies(Option<WorkerName>, oneshot::Sender<Vec<Known>>),
    External(Vec<ExternalAlert>, oneshot::Sender<()>),
    Approvals(oneshot::Sender<Vec<Card>>),
    Preview {
        target: Target,
        action: Action,
        force: bool,
        reply: oneshot::Sender<Result<Preview, String>>,
    },
    Request {
        who: String,
        ask: Ask,
        reply: oneshot::Sender<Reply>,
    },
    /// By whom, if not by a signal.
    Reload(Box<Settings>, Option<String>, oneshot::Sender<()>),
}

impl Daemon {
    /// Starts everything. Returns when the control socket listens; systemd may not have been seen yet.
    pub async fn start(settings: Settings, options: Options) -> Result<Self, StartError> {
        start::start(settings, options).await
    }

    /// What happens from now on. A receiver that lags more than [`FACTS_BEHIND`] misses the oldest.
    pub fn facts(&self) -> broadcast::Receiver<Arc<Fact>> {
        self.shared.facts.subscribe()
    }

    pub async fn status(&self) -> Result<Status, PortError> {
        Ok(self.shared.snapshot().await?.status.clone())
    }

    /// One explanation per instance; empty when the target is unknown.
    pub async fn explain(&self, target: Target) -> Result<Vec<Explanation>, PortError> {
        self.shared.ask(|reply| Query::Explain(target, reply)).await
    }

    /// Asks for a deed. `who` goes into the history.
    pub async fn request(&self, who: &str, ask: Ask) -> Result<Reply, PortError> {
        self.shared.request(who.to_string(), ask).await
    }

    /// Puts new settings in force. Listening addresses and directories stay as they were at the start.
    pub async fn reload(&self, settings: Settings) -> Result<(), PortError> {
        self.shared.ask(|reply| Query::Reload(Box::new(settings), None, reply)).await
    }

    /// The incidents, recoveries and ratios of the past.
    pub fn history(&self) -> &Store {
        &self.shared.store
    }

    /// Resolves when the event loop has ended by itself, which it does only through a bug.
    pub async fn failed(&mut self) -> String {
        match (&mut self.event_loop).await {
            Ok(_) => "the event loop ended".into(),
            Err(error) => format!("the event loop failed: {error}"),
        }
    }

    /// Ends cleanly: what is under way is written down, and a later start goes on with it.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.event_loop.await;
        for task in self.tasks {
            let _ = task.await;
        }
        self.shared.alertmanagers.close().await;
        self.shared.patterns.close().await;
        self.remains.wind_up(self.shared.store.clone()).await;
    }
}

impl Shared {
    pub(crate) async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> Result<T, PortError> {
        let (reply, answer) = oneshot::channel();
        self.queries.try_send(query(reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => PortError::Busy,
            mpsc::error::TrySendError::Closed(_) => PortError::Unavailable("the daemon is stopping".into()),
        })?;
        answer.await.map_err(|_| PortError::Unavailable("the daemon is stopping".into()))
    }
}
