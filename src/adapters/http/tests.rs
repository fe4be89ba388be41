//! The servers over real sockets, with an app that is a stub, and the client against them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

mod api;

use super::client::{Client, ClientError};
use super::*;
use crate::model::action::Action;
use crate::model::alert::Alerts;
use crate::model::approval::Card;
use crate::model::condition::Health;
use crate::model::fact::{Cause, Fact, What};
use crate::model::history::Totals;
use crate::model::name::UnitName;
use crate::model::overview::Preview;
use crate::model::pattern::PatternId;
use crate::model::settings::WebhookSettings;
use crate::model::signal::ExternalAlert;
use crate::model::time::Now;
use crate::model::unit::UnitView;

mod access;
mod hostile;

/// No test waits longer than this for something that should happen.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct App {
    ready: Result<(), String>,
    asked: Mutex<Vec<(String, Ask)>>,
    /// What the next request for a deed is answered; without it, it is done.
    reply: Mutex<Option<Reply>>,
    filters: Mutex<Vec<Filter>>,
    answered: Mutex<Vec<(Endpoint, u16)>>,
    feed: Arc<Feed>,
    denied: Mutex<Vec<Denial>>,
    /// How often counting a refusal panics.
    panics: Mutex<usize>,
    /// Name and nice value of the threads that asked whether we are ready, and name of those that made an exposition.
    asked_on: Mutex<Vec<(String, i32)>>,
    made_on: Mutex<Vec<String>>,
    webhook: WebhookSettings,
    answers: Answers,
    /// Counts the answers that were made.
    turn: AtomicU64,
    snapshots: AtomicU64,
}

impl App {
    fn new() -> Arc<Self> {
        Self::with(WebhookSettings::default())
    }

    fn with(webhook: WebhookSettings) -> Arc<Self> {
        Arc::new(Self {
            webhook,
            ready: Err("no bus".into()),
            asked: Mutex::default(),
            reply: Mutex::default(),
            filters: Mutex::default(),
            answered: Mutex::default(),
            feed: Arc::new(Feed::new("run".into(), |fact| format!("told {}", fact.seq))),
            answers: Answers::default(),
            turn: AtomicU64::new(1),
            snapshots: AtomicU64::default(),
            denied: Mutex::default(),
            panics: Mutex::default(),
            asked_on: Mutex::default(),
            made_on: Mutex::default(),
        })
    }
}

fn status() -> Status {
    Status {
        at: Now::default(),
        version: "1".into(),
        ready: false,
        not_ready: Some("no bus".into()),
        dry_run: false,
        held: false,
        watch_only: None,
        storm: false,
        pauses: vec![],
        host: None,
        workers: vec![],
        open_incidents: 3,
        waiting_approvals: 0,
        disk: None,
    }
}

fn instance(unit: &str, health: Health) -> InstanceStatus {
    InstanceStatus {
        unit: UnitName::new(unit).unwrap(),
        health,
        because: "so it is".into(),
        view: UnitView::default(),
        usage: None,
        cpus: Some(0.5),
        memory_used_bytes: None,
        memory_limit_bytes: None,
        up_since: None,
        restarts: BTreeMap::new(),
        heartbeat: None,
        errors_per_minute: None,
        scaled: false,
        conditions: BTreeMap::new(),
        incident: None,
        doing: None,
    }
}

/// One with a sick instance, sick first, and one that is well.
fn workers() -> Vec<WorkerStatus> {
    let worker = |name: &str, instances: Vec<InstanceStatus>| WorkerStatus {
        worker: WorkerName::new(name).unwrap(),
        selector: format!("{name}@.service"),
        critical: false,
        health: instances[0].health,
        because: "so it is".into(),
        paused: false,
        min_instances: 1,
        max_instances: None,
        desired: instances.len(),
        running: instances.len(),
        serving: 1,
        healthy: 1,
        scaled: 0,
        waiting_approvals: 0,
        queues: vec![],
        instances,
    };
    vec![
        worker("web", vec![instance("web@2.service", Health::Dead), instance("web@1.service", Health::Healthy)]),
        worker("mail", vec![instance("mail@1.service", Health::Healthy)]),
    ]
}

fn overview(status: &Status) -> Overview {
    Overview {
        at: status.at,
        last_event: "run-0".into(),
        host: "h".into(),
        version: status.version.clone(),
        ready: false,
        not_ready: None,
        dry_run: false,
        held: false,
        watch_only: None,
        storm: false,
        pauses: vec![],
        disk_warning: None,
        open_incidents: status.open_incidents,
        waiting_approvals: 0,
        counts: BTreeMap::new(),
        workers: vec![],
    }
}

impl Port for App {
    fn metrics(&self, _: bool) -> Bytes {
        self.made_on.lock().unwrap().push(std::thread::current().name().unwrap_or_default().to_string());
        Bytes::from_static(b"unitmedic_up 1\n")
    }
    fn ready(&self) -> Result<(), String> {
        let own = rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap();
        let name = std::thread::current().name().unwrap_or_default().to_string();
        self.asked_on.lock().unwrap().push((name, own));
        self.ready.clone()
    }
    async fn snapshot(&self) -> Result<Arc<Snapshot>, PortError> {
        self.snapshots.fetch_add(1, Relaxed);
        let status = Status { workers: workers(), ..status() };
        let overview = overview(&status);
        Ok(Arc::new(Snapshot { turn: self.turn.load(Relaxed), status, overview }))
    }
    fn turn(&self) -> Option<u64> {
        Some(self.turn.load(Relaxed))
    }
    fn moved(&self) -> u64 {
        1
    }
    fn answers(&self) -> &Answers {
        &self.answers
    }
    async fn series(&self, unit: UnitName) -> Result<Series, PortError> {
        Err(PortError::no_unit(&unit))
    }
    async fn targets(&self) -> Result<Targets, PortError> {
        Err(PortError::Busy)
    }
    async fn audit(&self, _: AuditFilter) -> Result<Vec<AuditEntry>, PortError> {
        Ok(vec![])
    }
    fn configuration(&self) -> Vec<SettingsTable> {
        vec![]
    }
    async fn approvals(&self) -> Result<Vec<Card>, PortError> {
        Ok(vec![])
    }
    async fn preview(&self, target: Target, _: Action, _: bool) -> Result<Preview, PortError> {
        Err(PortError::NotFound(format!("{target:?} is not watched")))
    }
    async fn explain(&self, target: Target) -> Result<Vec<Explanation>, PortError> {
        Err(PortError::NotFound(format!("{target:?} is not watched")))
    }
    async fn incidents(&self, filter: Filter) -> Result<Vec<Incident>, PortError> {
        self.filters.lock().unwrap().push(filter);
        Ok(vec![])
    }
    async fn alerts(&self, filter: Filter) -> Result<Alerts, PortError> {
        self.filters.lock().unwrap().push(filter);
        Ok(Alerts { firing: vec![], alertmanagers: vec![], history: vec![] })
    }
    async fn patterns(&self, filter: PatternFilter) -> Result<PatternsView, PortError> {
        match filter.id {
            Some(id) => Err(PortError::NotFound(format!("no pattern {id}"))),
            None => Ok(PatternsView { left_out: filter.limit.unwrap_or(0), ..PatternsView::default() }),
        }
    }
    async fn story(&self, id: IncidentId) -> Result<Told, PortError> {
        match id.0 {
            7 => std::future::pending().await,
            _ => Err(PortError::Busy),
        }
    }
    async fn recoveries(&self, filter: Filter) -> Result<Vec<Recovery>, PortError> {
        self.filters.lock().unwrap().push(filter);
        Err(PortError::Unavailable("the history is damaged".into()))
    }
    async fn summary(&self, since: Option<Wall>, _worker: Option<WorkerName>) -> Result<Summary, PortError> {
        let all = Totals { total: 4, ..Totals::default() };
        Ok(Summary { since: since.unwrap_or_default(), all, ..Summary::default() })
    }
    async fn strategies(&self, _: Option<WorkerName>) -> Result<Vec<Strategy>, PortError> {
        Ok(vec![])
    }
    async fn export_strategies(&self, _: Option<WorkerName>) -> Result<Export, PortError> {
        Err(PortError::Busy)
    }
    async fn advice(&self, since: Option<Wall>, worker: Option<WorkerName>) -> Result<Advice, PortError> {
        let nothing =
            Advice { since: since.unwrap_or_default(), until: Wall(7), incidents: 3, cut: false, proposals: vec![] };
        worker.is_none().then_some(nothing).ok_or(PortError::NotFound("there is no such worker".into()))
    }
    async fn request(&self, who: String, ask: Ask) -> Result<Reply, PortError> {
        self.asked.lock().unwrap().push((who, ask));
        Ok(self.reply.lock().unwrap().take().unwrap_or(Reply::Done { text: "done".into() }))
    }
    fn webhook(&self) -> WebhookSettings {
        self.webhook.clone()
    }
    async fn external(&self, _: Vec<ExternalAlert>) -> Result<(), PortError> {
        Ok(())
    }
    fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }
    fn answered(&self, endpoint: Endpoint, status: u16) {
        self.answered.lock().unwrap().push((endpoint, status));
    }
    fn denied(&self, why: Denial) {
        let panics = {
            let mut left = self.panics.lock().unwrap();
            let panics = *left > 0;
            *left = left.saturating_sub(1);
            panics
        };
        assert!(!panics, "on purpose");
        self.denied.lock().unwrap().push(why);
    }
}

/// The control socket, served.
struct Served {
    _dir: TempDir,
    path: PathBuf,
    app: Arc<App>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

fn control(limits: Limits) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let listener = bind_control(&path, "").unwrap();
    let app = App::new();
    let (stop, shutdown) = watch::channel(false);
    let router = routes::control(app.clone(), shutdown.clone());
    let server = tokio::spawn(connection::serve(listener, router, app.clone(), limits, shutdown));
    Served { _dir: dir, path, app, stop, server }
}

const LIMITS: Limits = Limits {
    connections: 8,
    head_timeout: PATIENCE,
    request_timeout: PATIENCE,
    drain_timeout: PATIENCE,
    stall_timeout: PATIENCE,
    write_timeout: PATIENCE,
};

/// Sends bytes as they are and returns all that comes back until the server closes.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, request: &str) -> String {
    // The server may refuse and close before it has read everything.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server closes");
    String::from_utf8_lossy(&answer).into_owned()
}

fn wanting(path: &str, accept: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: {accept}\r\n\r\n")
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

fn post(path: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn pause() -> Ask {
    Ask::Pause { worker: Some(WorkerName::new("mail").unwrap()), until: None, reason: "deploy".into() }
}

fn fact(seq: u64) -> Arc<Fact> {
    let what = What::Requested { who: "alice".into(), action: Action::Restart, force: false };
    let unit = Some(UnitName::new(r"mail@a\x2db.service").unwrap());
    Arc::new(Fact { seq, at: Now::default(), cause: Cause::Start, worker: None, unit, incident: None, what })
}

#[tokio::test]
async fn without_a_web_configuration_tcp_reads_and_nothing_else() {
    let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = App::new();
    let (stop, shutdown) = watch::channel(false);
    let server = tokio::spawn(serve_tcp(vec![listener], Arc::new(Web::new(None).unwrap()), app.clone(), shutdown));

    let ask = serde_json::to_string(&pause()).unwrap();
    for (request, code, kind, body) in [
        (get("/"), "200", "text/html", "href=\"/metrics\""),
        (get("/metrics"), "200", "text/plain; version=0.0.4", "unitmedic_up 1"),
        (
            wanting("/metrics", "application/openmetrics-text"),
            "200",
            "application/openmetrics-text; version=1.0.0",
            "# EOF",
        ),
        (get("/-/healthy"), "200", "text/plain", "healthy"),
        (get("/-/ready"), "503", "text/plain", "not ready: no bus"),
        (get("/nonsense?x"), "404", "application/problem+json", "there is nothing at /nonsense;"),
        (get("/api/v1/status"), "200", "application/json", "\"open_incidents\":3"),
        (get("/api/v1/nonsense"), "404", "application/problem+json", "about:blank"),
        (post("/api/v1/requests", "application/json", &ask), "401", "application/problem+json", "\"status\":401"),
        (get("/api/v1/requests"), "405", "application/problem+json", "Method Not Allowed"),
        (get("/api/v1/me"), "200", "application/json", "\"role\":\"anonymous\""),
        (get("/api/v1/me?x=1"), "400", "application/problem+json", "unknown field"),
        (post("/metrics", "text/plain", ""), "405", "application/problem+json", "Method Not Allowed"),
    ] {
        let answer = exchange(TcpStream::connect(address).await.unwrap(), &request).await;
        let (head, rest) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request}: {answer:?}"));
        assert!(head.starts_with(&format!("HTTP/1.1 {code} ")), "{request}: {answer}");
        assert!(head.to_lowercase().contains(&format!("content-type: {kind}")), "{request}: {answer}");
        assert!(rest.contains(body), "{request}: {answer}");
    }
    assert!(app.asked.lock().unwrap().is_empty());
    assert_eq!(app.answered.lock().unwrap()[1], (Endpoint::Metrics, 200));

    stop.send(true).unwrap();
    timeout(PATIENCE, server).await.expect("the server ends").unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_page_without_the_token_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "sesame\n").unwrap();
    let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = App::with(WebhookSettings { token_file: Some(token), ..WebhookSettings::default() });
    let (_stop, shutdown) = watch::channel(false);
    let web = Arc::new(Web::new(None).unwrap());
    tokio::spawn(serve_tcp(vec![listener], web, app.clone(), shutdown));
    let page = r#"{"version":"4","alerts":[]}"#;
    let (short, long) = (page.len(), webhook::BODY_MAX + 1);
    for (token, length, body, code) in
        [("wrong", 1000, "", "401"), ("wrong", long, "", "401"), ("sesame", short, page, "200")]
    {
        let head = "POST /api/v1/alertmanager HTTP/1.1\r\nHost: x\r\nConnection: close";
        let asked = format!("{head}\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n{body}");
        let answer = exchange(TcpStream::connect(address).await.unwrap(), &asked).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{asked}: {answer}");
    }
}

#[tokio::test]
async fn the_client_gets_what_the_app_says() {
    let served = control(LIMITS);
    let client = Client::new(&served.path);

    assert_eq!(client.status().await.unwrap(), Status { workers: workers(), ..status() });
    assert_eq!(client.summary(Some(Wall(-5)), None).await.unwrap().since, Wall(-5));
    assert_eq!(client.advice(Some(Wall(-5)), None).await.unwrap().since, Wall(-5));
    let nobody = client.advice(None, Some(&WorkerName::new("nobody").unwrap())).await.unwrap_err();
    assert!(matches!(nobody, ClientError::Problem { status: 404, .. }), "{nobody}");
    assert_eq!(client.ask(&pause()).await.unwrap(), Reply::Done { text: "done".into() });
    let (who, ask) = served.app.asked.lock().unwrap().pop().unwrap();
    let uid = rustix::process::getuid().as_raw();
    assert!(who.contains(&format!("uid {uid}, pid {}", std::process::id())), "{who}");
    assert_eq!(ask, pause());

    let filter = Filter {
        worker: Some(WorkerName::new("mail").unwrap()),
        unit: Some(UnitName::new(r"mail@a\x2db.service").unwrap()),
        open: Some(true),
        since: Some(Wall(1)),
        until: Some(Wall(2)),
        before: Some(9),
        limit: Some(5),
    };
    assert_eq!(client.incidents(&filter).await.unwrap(), vec![]);
    assert_eq!(client.incidents(&Filter::default()).await.unwrap(), vec![]);
    assert_eq!(*served.app.filters.lock().unwrap(), [filter, Filter::default()]);
    let worker = Some(WorkerName::new("mail").unwrap());
    let filter = PatternFilter { id: None, worker, limit: Some(5) };
    assert_eq!(client.patterns(&filter).await.unwrap().left_out, 5, "it arrives as it was sent");
    let one = PatternFilter { id: Some(PatternId(0x12ab)), ..PatternFilter::default() };
    let error = client.patterns(&one).await.unwrap_err();
    assert!(matches!(error, ClientError::Problem { status: 404, .. }), "{error:?}");
}

#[tokio::test]
async fn errors_are_problems_with_what_to_do() {
    let served = control(LIMITS);
    let client = Client::new(&served.path);
    let target = Target::Unit(UnitName::new("a.service").unwrap());
    let errors = [
        (client.explain(&target).await.unwrap_err(), 404, "is not watched"),
        (client.story(IncidentId(1)).await.unwrap_err(), 503, "busy"),
        (client.recoveries(&Filter::default()).await.unwrap_err(), 503, "the history is damaged"),
        (client.get::<()>("/api/v1/explain").await.unwrap_err(), 404, "name a worker"),
        (client.get::<()>("/api/v1/incidents?wurker=x").await.unwrap_err(), 400, "wurker"),
        (client.get::<()>("/api/v1/incidents?worker=a%20b").await.unwrap_err(), 400, "worker name"),
        (client.get::<()>("/api/v1/incidents/x").await.unwrap_err(), 400, "x"),
        (client.post::<_, ()>("/api/v1/requests", &"nonsense").await.unwrap_err(), 422, "nothing that can be asked"),
        (client.post::<_, ()>("/api/v1/requests", &"x".repeat(ASK_BYTES_MAX)).await.unwrap_err(), 413, "limit"),
        (client.get::<()>("/api/v2/status").await.unwrap_err(), 404, "/api/v2/status"),
    ];
    for (error, code, text) in errors {
        let ClientError::Problem { status, title, detail } = &error else { panic!("{error:?}") };
        assert_eq!(*status, code, "{error:?}");
        assert!(!title.is_empty() && detail.contains(text), "{error:?}");
    }
    assert!(served.app.asked.lock().unwrap().is_empty());

    let wrong_kind = post("/api/v1/requests", "text/plain", &serde_json::to_string(&pause()).unwrap());
    let answer = exchange(UnixStream::connect(&served.path).await.unwrap(), &wrong_kind).await;
    assert!(answer.starts_with("HTTP/1.1 415") && answer.contains("application/problem+json"), "{answer}");
}

#[tokio::test]
async fn events_flow_and_end_with_the_daemon() {
    let served = control(LIMITS);
    let mut events = Client::new(&served.path).events().await.unwrap();
    for seq in 1..=3 {
        served.app.feed.push(fact(seq));
        served.app.feed.announce();
    }
    for seq in 1..=3 {
        assert_eq!(timeout(PATIENCE, events.next()).await.unwrap().unwrap(), Some((*fact(seq)).clone()));
    }
    served.stop.send(true).unwrap();
    assert_eq!(timeout(PATIENCE, events.next()).await.unwrap().unwrap(), None);
    timeout(PATIENCE, served.server).await.expect("the server ends").unwrap();
    assert!(!served.path.exists(), "the socket is removed");
}

#[tokio::test]
async fn who_has_just_connected_is_answered_when_the_daemon_stops() {
    let served = control(LIMITS);
    let connected = UnixStream::connect(&served.path).await.unwrap();
    // Behind it in the queue.
    exchange(UnixStream::connect(&served.path).await.unwrap(), &get("/metrics")).await;
    served.stop.send(true).unwrap();
    // The file goes when the stop is seen.
    while served.path.exists() {
        tokio::task::yield_now().await;
    }
    let answer = exchange(connected, &get("/metrics")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    timeout(PATIENCE, served.server).await.expect("the server ends").unwrap();
}

#[tokio::test]
async fn who_connects_and_is_silent_does_not_hold_up_the_stop() {
    let served = control(LIMITS);
    let _silent = UnixStream::connect(&served.path).await.unwrap();
    exchange(UnixStream::connect(&served.path).await.unwrap(), &get("/metrics")).await;
    let since = std::time::Instant::now();
    served.stop.send(true).unwrap();
    timeout(PATIENCE, served.server).await.expect("the server ends").unwrap();
    assert!(since.elapsed() < PATIENCE / 2, "{:?}", since.elapsed());
}

#[tokio::test]
async fn the_client_says_what_to_do_without_a_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let error = Client::new(&path).status().await.unwrap_err();
    assert!(matches!(&error, ClientError::NoDaemon { .. }) && error.to_string().contains("systemctl start"), "{error}");
    drop(bind_control(&path, "").unwrap());
    let error = Client::new(&path).status().await.unwrap_err();
    assert!(matches!(&error, ClientError::NoDaemon { why, .. } if why.contains("nobody listens")), "{error:?}");
}

#[tokio::test]
async fn heads_have_limits() {
    let served = control(Limits { head_timeout: Duration::from_millis(50), ..LIMITS });
    let connect = || UnixStream::connect(&served.path);

    let idle = exchange(connect().await.unwrap(), "").await;
    assert!(idle.is_empty() || idle.starts_with("HTTP/1.1 408"), "{idle}");
    let slow = exchange(connect().await.unwrap(), "GET / HTTP/1.1\r\nHos").await;
    assert!(slow.is_empty() || slow.starts_with("HTTP/1.1 408"), "{slow}");

    let long = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(2 * HEAD_BYTES_MAX));
    let answer = exchange(connect().await.unwrap(), &long).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let many: String = (0..2 * HEADERS_MAX).map(|n| format!("h{n}: x\r\n")).collect();
    let answer = exchange(connect().await.unwrap(), &format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert!(served.app.answered.lock().unwrap().is_empty(), "none of them came through");
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_given_up() {
    let served = control(Limits { request_timeout: Duration::from_millis(50), ..LIMITS });
    let error = Client::new(&served.path).story(IncidentId(7)).await.unwrap_err();
    assert!(matches!(&error, ClientError::Problem { status: 503, detail, .. } if detail.contains("50ms")), "{error:?}");

    let half =
        "POST /api/v1/requests HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{";
    let answer = exchange(UnixStream::connect(&served.path).await.unwrap(), half).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_their_turn() {
    let served = control(Limits { connections: 1, ..LIMITS });
    let client = Client::new(&served.path);
    let first = client.events().await.unwrap();
    let second = {
        let client = client.clone();
        tokio::spawn(async move { client.status().await })
    };
    assert!(
        timeout(Duration::from_millis(50), async {
            while !second.is_finished() {
                tokio::task::yield_now().await
            }
        })
        .await
        .is_err()
    );
    drop(first);
    assert!(timeout(PATIENCE, second).await.unwrap().unwrap().is_ok());
}
