//! The HTTP server: metrics, health, the API and the page, on TCP and on the control socket. On TCP, too, alerts of others
//! (`webhook`), where a token for them is configured.
//!
//! Whoever can open the control socket may ask for deeds; over TCP an operator of the web configuration may (`access`,
//! `deeds`). TCP is served by a thread of its own (`thread`). What is served comes through
//! [`Port`], which the app implements. Nothing here decides anything, and nobody out there can make it hold
//! memory or connections without a limit.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use crate::model::action::Action;
use crate::model::advice::Advice;
use crate::model::alert::Alerts;
use crate::model::approval::Card;
use crate::model::history::{AuditEntry, AuditFilter, Filter, Recovery, Summary, Told};
use crate::model::incident::{Incident, IncidentId};
use crate::model::name::{UnitName, WorkerName};
use crate::model::overview::{Overview, Preview, Series, Targets};
use crate::model::pattern::{PatternFilter, PatternsView};
use crate::model::request::{Ask, Reply, Target};
use crate::model::settings::WebhookSettings;
use crate::model::signal::ExternalAlert;
use crate::model::status::{Explanation, InstanceStatus, SettingsTable, Status, WorkerStatus};
use crate::model::strategy::{Export, Strategy};
use crate::model::time::Wall;

mod access;
mod answers;
mod api;
mod bind;
mod buckets;
mod caller;
pub mod client;
mod connection;
mod deeds;
mod denied;
mod events;
mod feed;
mod guarded;
mod gzip;
mod hardened;
mod login;
mod openmetrics;
mod page;
mod peer;
mod places;
pub mod problem;
mod routes;
mod scrape;
mod site;
mod streams;
#[cfg(test)]
mod tests;
mod thread;
pub mod token;
mod web;
mod webhook;

use access::Access;
use connection::Limits;
use denied::Denials;
use places::Room;

pub use answers::Answers;
pub use bind::{BindError, bind_control, bind_tcp, take_passed};
pub use denied::Denial;
pub use feed::Feed;
pub use peer::user_id;
pub use thread::spawn_tcp;
pub use web::{Web, check_name};

/// Connections at once. A scraper needs one, a browser with the page two or three, of which one is its event stream.
pub const TCP_CONNECTIONS_MAX: usize = 512;
/// Of one client: a proxy with a hundred browsers behind it, and room for others.
pub const TCP_CONNECTIONS_OF_ONE_MAX: usize = 384;
/// Connections that only a client without one gets.
pub const TCP_CONNECTIONS_RESERVED: usize = 16;
/// Connections that were told to end for another one, and have not yet.
const TCP_CONNECTIONS_ENDING: usize = 64;
/// Event streams at once, on TCP and on the control socket each.
pub const EVENT_STREAMS_MAX: usize = 256;
/// Of one client over TCP: a proxy with a hundred browsers behind it.
pub const EVENT_STREAMS_OF_ONE_MAX: usize = 128;
/// Sockets that systemd may pass. One for each address family and network is a handful.
pub const PASSED_SOCKETS_MAX: usize = 16;
/// Each command holds one while it runs, `--watch` and the live story for longer.
pub const UNIX_CONNECTIONS_MAX: usize = 64;
/// Bytes of request line and headers.
pub const HEAD_BYTES_MAX: usize = 16 << 10;
pub const HEADERS_MAX: usize = 64;
/// Bytes of a request's body; the largest ask has a reason of a few sentences.
pub const BODY_BYTES_MAX: usize = 64 << 10;
/// Bytes of a request on the control socket: what another host has learned comes in one piece, a case in about 600 bytes.
pub const ASK_BYTES_MAX: usize = 8 << 20;
/// The same over TCP, where 20 operators may send at once. What is larger is imported on the host.
pub const TCP_ASK_BYTES_MAX: usize = 1 << 20;
/// From the first byte awaited to the end of the head; also ends idle connections.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// From the end of the head to the answer. Not for the event stream.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that takes no byte for this long is dropped.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A peer that takes what we write, but never all of it, is dropped after this: no answer is so large.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(120);
/// Time that answers under way get when the daemon stops.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// A comment on an event stream without facts, so that both sides notice when the other is gone.
pub const EVENTS_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What the server asks of the app. Calls may come at the same time; each answers within [`REQUEST_TIMEOUT`] or
/// is given up.
pub trait Port: Send + Sync + 'static {
    /// The exposition in text format 0.0.4. Called on a blocking thread, for each wording never twice at once.
    /// With `exemplars` for one that is worded as OpenMetrics afterwards.
    fn metrics(&self, exemplars: bool) -> Bytes;
    /// `Err` with the reason while the daemon does not see its units.
    fn ready(&self) -> Result<(), String>;
    /// The present, never older than the question.
    fn snapshot(&self) -> impl Future<Output = Result<Arc<Snapshot>, PortError>> + Send;
    /// Changes whenever anything may have changed that the engine knows; `None`: it is just changing.
    fn turn(&self) -> Option<u64>;
    /// Changes with everything that is given to the history.
    fn moved(&self) -> u64;
    /// Answers that are kept, for all listeners.
    fn answers(&self) -> &Answers;
    /// The last readings of an instance.
    fn series(&self, unit: UnitName) -> impl Future<Output = Result<Series, PortError>> + Send;
    /// How well it goes, against what is promised.
    fn targets(&self) -> impl Future<Output = Result<Targets, PortError>> + Send;
    /// What people did, newest first.
    fn audit(&self, filter: AuditFilter) -> impl Future<Output = Result<Vec<AuditEntry>, PortError>> + Send;
    /// The settings in force, without secrets.
    fn configuration(&self) -> Vec<SettingsTable>;
    fn explain(&self, target: Target) -> impl Future<Output = Result<Vec<Explanation>, PortError>> + Send;
    fn incidents(&self, filter: Filter) -> impl Future<Output = Result<Vec<Incident>, PortError>> + Send;
    /// What holds, where it was sent, and what was told before.
    fn alerts(&self, filter: Filter) -> impl Future<Output = Result<Alerts, PortError>> + Send;
    fn story(&self, id: IncidentId) -> impl Future<Output = Result<Told, PortError>> + Send;
    fn recoveries(&self, filter: Filter) -> impl Future<Output = Result<Vec<Recovery>, PortError>> + Send;
    /// `since` absent: as far back as the history goes.
    fn summary(
        &self,
        since: Option<Wall>,
        worker: Option<WorkerName>,
    ) -> impl Future<Output = Result<Summary, PortError>> + Send;
    /// What is known of actions, of one worker or all.
    fn strategies(&self, worker: Option<WorkerName>) -> impl Future<Output = Result<Vec<Strategy>, PortError>> + Send;
    /// What this host has learned itself, for another one.
    fn export_strategies(&self, worker: Option<WorkerName>) -> impl Future<Output = Result<Export, PortError>> + Send;
    /// Patterns of errors, by the filter.
    fn patterns(&self, filter: PatternFilter) -> impl Future<Output = Result<PatternsView, PortError>> + Send;
    /// What could be configured better, by what happened since then (30 days where it is not said).
    fn advice(
        &self,
        since: Option<Wall>,
        worker: Option<WorkerName>,
    ) -> impl Future<Output = Result<Advice, PortError>> + Send;
    /// Planned actions that wait for a yes, the most urgent first.
    fn approvals(&self) -> impl Future<Output = Result<Vec<Card>, PortError>> + Send;
    /// What a request for a deed would do now.
    fn preview(
        &self,
        target: Target,
        action: Action,
        force: bool,
    ) -> impl Future<Output = Result<Preview, PortError>> + Send;
    /// `who` is `alice (uid 1000, pid 4242)`, from the socket's credentials, or `alice (basic auth, from 192.0.2.7)`.
    fn request(&self, who: String, ask: Ask) -> impl Future<Output = Result<Reply, PortError>> + Send;
    /// Who may tell of alerts, as configured now.
    fn webhook(&self) -> WebhookSettings;
    /// Alerts of others that name workers or units.
    fn external(&self, alerts: Vec<ExternalAlert>) -> impl Future<Output = Result<(), PortError>> + Send;
    /// The latest facts.
    fn feed(&self) -> &Arc<Feed>;
    /// A request was answered; for the daemon's own metrics.
    fn answered(&self, endpoint: Endpoint, status: u16);
    /// A request, or a connection, was refused; for the daemon's own metrics.
    fn denied(&self, why: Denial);
}

/// The present, and the turn of the event loop in which it was so.
#[derive(Debug)]
pub struct Snapshot {
    pub turn: u64,
    pub status: Status,
    pub overview: Overview,
}

impl Snapshot {
    /// The instance with its worker.
    pub fn instance(&self, unit: &UnitName) -> Option<(&WorkerStatus, &InstanceStatus)> {
        let all = self.status.workers.iter().flat_map(|worker| worker.instances.iter().map(move |one| (worker, one)));
        all.into_iter().find(|(_, instance)| instance.unit == *unit)
    }
}

/// Why the app has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The request names nothing that exists; the text says what does.
    #[error("{0}")]
    NotFound(String),
    /// Too much at once; the same request may succeed in a moment.
    #[error("the daemon is busy; try again in a moment")]
    Busy,
    /// Something that the answer needs is not there (the history, say).
    #[error("{0}")]
    Unavailable(String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
}

impl PortError {
    pub fn no_unit(unit: &UnitName) -> Self {
        PortError::NotFound(format!(
            "{unit} is not a unit of any worker; /api/v1/instances and `unitmedic status` list them"
        ))
    }
}

/// What a request was for; the label `endpoint` of `unitmedic_http_requests_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    Index,
    Metrics,
    Healthy,
    Ready,
    Api,
    Events,
    Other,
}

impl Endpoint {
    pub const ALL: &'static [Endpoint] = &[
        Endpoint::Index,
        Endpoint::Metrics,
        Endpoint::Healthy,
        Endpoint::Ready,
        Endpoint::Api,
        Endpoint::Events,
        Endpoint::Other,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Endpoint::Index => "index",
            Endpoint::Metrics => "metrics",
            Endpoint::Healthy => "healthy",
            Endpoint::Ready => "ready",
            Endpoint::Api => "api",
            Endpoint::Events => "events",
            Endpoint::Other => "other",
        }
    }

    fn of(path: &str) -> Self {
        match path {
            "/" => Endpoint::Index,
            "/metrics" => Endpoint::Metrics,
            "/-/healthy" => Endpoint::Healthy,
            "/-/ready" => Endpoint::Ready,
            "/api/v1/events" => Endpoint::Events,
            _ if path.starts_with("/api/v1/") => Endpoint::Api,
            _ => Endpoint::Other,
        }
    }
}

/// Becomes `true`, or loses its sender, when the daemon stops.
pub type Shutdown = watch::Receiver<bool>;

/// What TCP serves, before there are listeners.
struct Served<P> {
    router: axum::Router,
    web: Arc<Web>,
    port: Arc<P>,
    denials: Arc<Denials>,
}

impl<P: Port> Served<P> {
    /// On the runtime that is to make the expositions.
    fn new(web: Arc<Web>, port: Arc<P>, shutdown: Shutdown) -> Self {
        let denials = Arc::new(Denials::default());
        let router = routes::public(port.clone(), &Access::new(web.clone(), denials.clone()), shutdown);
        Self { router, web, port, denials }
    }

    async fn run(&self, listeners: Vec<TcpListener>, shutdown: Shutdown) {
        let (port, denials) = (self.port.clone(), self.denials.clone());
        let refused = move |from| {
            port.denied(Denial::Connections);
            denials.note(Denial::Connections, Some(from), None);
        };
        let room =
            Room { all: TCP_CONNECTIONS_MAX, of_one: TCP_CONNECTIONS_OF_ONE_MAX, reserved: TCP_CONNECTIONS_RESERVED };
        let listener = connection::Tcp::new(listeners, self.web.clone(), room, refused);
        let limits = Limits::for_connections(TCP_CONNECTIONS_MAX + TCP_CONNECTIONS_ENDING);
        connection::serve(listener, self.router.clone(), self.port.clone(), limits, shutdown).await;
    }
}

/// Serves TCP until `shutdown`, then drains for at most [`DRAIN_TIMEOUT`]. All listeners share the limits. The daemon has
/// a thread for it: [`spawn_tcp`].
pub async fn serve_tcp<P: Port>(listeners: Vec<TcpListener>, web: Arc<Web>, port: Arc<P>, shutdown: Shutdown) {
    Served::new(web, port, shutdown.clone()).run(listeners, shutdown).await;
}

/// Serves everything until `shutdown`, then removes the socket and drains for at most [`DRAIN_TIMEOUT`].
pub async fn serve_unix<P: Port>(listener: UnixListener, port: Arc<P>, shutdown: Shutdown) {
    let router = routes::control(port.clone(), shutdown.clone());
    connection::serve(listener, router, port, Limits::for_connections(UNIX_CONNECTIONS_MAX), shutdown).await;
}

/// Resolves when the daemon stops.
async fn stopped(shutdown: &mut Shutdown) {
    // An error means that the sender is gone, which is a stop as well.
    let _ = shutdown.wait_for(|stop| *stop).await;
}
