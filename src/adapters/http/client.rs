//! A typed client for the control socket, as the command line uses it. One connection per call: a call is rare,
//! and a daemon that was restarted in between is no special case.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::problem::Problem;
use crate::model::action::Action;
use crate::model::advice::Advice;
use crate::model::alert::Alerts;
use crate::model::approval::Card;
use crate::model::fact::Fact;
use crate::model::history::{AuditEntry, AuditFilter, Filter, Recovery, Story, Summary};
use crate::model::incident::{Incident, IncidentId};
use crate::model::name::WorkerName;
use crate::model::overview::{Overview, Preview};
use crate::model::pattern::{PatternFilter, PatternsView};
use crate::model::request::{Ask, Reply, Target};
use crate::model::status::{Explanation, Status};
use crate::model::strategy::{Export, Strategy};
use crate::model::time::Wall;

/// Longer than the server's own limit, so that its word about what took so long arrives.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// The server sends a comment at least every 15 s; this much silence means that it is gone or hangs.
const EVENTS_SILENCE: Duration = Duration::from_secs(60);
/// Largest answer: 1,000 incidents with long time lines stay far below.
const ANSWER_MAX: usize = 256 << 20;
/// Longest line of the event stream; a fact is a few KiB at most.
const EVENT_LINE_MAX: usize = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket is missing or nobody listens on it.
    #[error(
        "no unitmedic daemon at {}: {why}; start it with `systemctl start unitmedic` or `unitmedic run`, or name its \
         socket with --socket", path.display()
    )]
    NoDaemon { path: PathBuf, why: String },
    #[error(
        "not allowed to use {}: become root or a member of the group unitmedic (`usermod -aG unitmedic USER`, then \
         log in anew)", path.display()
    )]
    Denied { path: PathBuf },
    /// The daemon answered with an error; `detail` says what to do.
    #[error("{detail}")]
    Problem { status: u16, title: String, detail: String },
    #[error("talking to the daemon at {}: {why}", path.display())]
    Other { path: PathBuf, why: String },
}

/// A client for one control socket. Cheap to clone; connects anew for each call.
#[derive(Debug, Clone)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/api/v1/status").await
    }

    /// One explanation per instance.
    pub async fn explain(&self, target: &Target) -> Result<Vec<Explanation>, ClientError> {
        self.get(&path_with_query("/api/v1/explain", &[target_pair(target)])).await
    }

    pub async fn incidents(&self, filter: &Filter) -> Result<Vec<Incident>, ClientError> {
        self.get(&path_with_query("/api/v1/incidents", &filter_pairs(filter))).await
    }

    /// What holds, where it was sent, and what was told before, by the filter.
    pub async fn alerts(&self, filter: &Filter) -> Result<Alerts, ClientError> {
        self.get(&path_with_query("/api/v1/alerts", &filter_pairs(filter))).await
    }

    /// Patterns of errors, those that precede incidents first.
    pub async fn patterns(&self, filter: &PatternFilter) -> Result<PatternsView, ClientError> {
        let pairs = [
            ("id", filter.id.map(|id| id.to_string())),
            ("worker", filter.worker.as_ref().map(ToString::to_string)),
            ("limit", filter.limit.map(|limit| limit.to_string())),
        ];
        self.get(&path_with_query("/api/v1/patterns", &pairs)).await
    }

    pub async fn story(&self, id: IncidentId) -> Result<Story, ClientError> {
        self.get(&format!("/api/v1/incidents/{}", id.0)).await
    }

    pub async fn recoveries(&self, filter: &Filter) -> Result<Vec<Recovery>, ClientError> {
        self.get(&path_with_query("/api/v1/history", &filter_pairs(filter))).await
    }

    /// `since` absent: as far back as the history goes.
    pub async fn summary(&self, since: Option<Wall>, worker: Option<&WorkerName>) -> Result<Summary, ClientError> {
        let pairs = [("since", since.map(|at| at.0.to_string())), ("worker", worker.map(ToString::to_string))];
        self.get(&path_with_query("/api/v1/history/summary", &pairs)).await
    }

    /// What is known of actions.
    pub async fn strategies(&self, worker: Option<&WorkerName>) -> Result<Vec<Strategy>, ClientError> {
        self.get(&path_with_query("/api/v1/strategies", &[("worker", worker.map(ToString::to_string))])).await
    }

    /// What the daemon's host has learned itself, for another one.
    pub async fn export_strategies(&self, worker: Option<&WorkerName>) -> Result<Export, ClientError> {
        self.get(&path_with_query("/api/v1/strategies/export", &[("worker", worker.map(ToString::to_string))])).await
    }

    /// What could be configured better; `since` absent: by the last 30 days.
    pub async fn advice(&self, since: Option<Wall>, worker: Option<&WorkerName>) -> Result<Advice, ClientError> {
        let pairs = [("since", since.map(|at| at.0.to_string())), ("worker", worker.map(ToString::to_string))];
        self.get(&path_with_query("/api/v1/advice", &pairs)).await
    }

    /// Planned actions that wait for a yes, the most urgent first.
    pub async fn approvals(&self) -> Result<Vec<Card>, ClientError> {
        self.get("/api/v1/approvals").await
    }

    /// What a recovery would do now.
    pub async fn preview(&self, target: &Target, action: Action, force: bool) -> Result<Preview, ClientError> {
        let pairs = [target_pair(target), ("action", Some(action.to_string())), ("force", Some(force.to_string()))];
        self.get(&path_with_query("/api/v1/preview", &pairs)).await
    }

    /// Asks for something that changes something; the daemon takes the name of the asker from the socket.
    pub async fn ask(&self, ask: &Ask) -> Result<Reply, ClientError> {
        let body = serde_json::to_vec(ask).map_err(|e| self.other(format!("request as JSON: {e}")))?;
        let exchange = async {
            let response = self.send(self.request(Method::POST, "/api/v1/requests", body.into())?).await?;
            let status = response.status();
            Ok((status, self.read(response).await?))
        };
        let (status, body) = timeout(CALL_TIMEOUT, exchange).await.map_err(|_| self.late())??;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|e| self.unreadable("/api/v1/requests", &e));
        }
        // A no is an answer, too.
        let problem = problem_in(status, &body);
        problem.reply.clone().ok_or_else(|| of_problem(status, problem))
    }

    /// The host at a glance. [`Overview::last_event`] says where its events go on.
    pub async fn overview(&self) -> Result<Overview, ClientError> {
        self.get("/api/v1/overview").await
    }

    /// What people did, newest first.
    pub async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>, ClientError> {
        let pairs = [
            ("worker", filter.worker.as_ref().map(ToString::to_string)),
            ("since", filter.since.map(|at| at.0.to_string())),
            ("before", filter.before.map(|id| id.to_string())),
            ("limit", filter.limit.map(|limit| limit.to_string())),
        ];
        self.get(&path_with_query("/api/v1/audit", &pairs)).await
    }

    /// Facts from now on.
    pub async fn events(&self) -> Result<Events, ClientError> {
        self.stream("/api/v1/events").await
    }

    /// Facts behind the event of this id: [`Overview::last_event`], or [`Events::last_id`] of a stream that broke off.
    pub async fn events_after(&self, id: &str) -> Result<Events, ClientError> {
        self.stream(&path_with_query("/api/v1/events", &[("after", Some(id.to_owned()))])).await
    }

    async fn stream(&self, path: &str) -> Result<Events, ClientError> {
        let request = self.request(Method::GET, path, Bytes::new())?;
        let response = timeout(CALL_TIMEOUT, self.send(request)).await.map_err(|_| self.late())??;
        match response.status() {
            StatusCode::OK => Ok(Events {
                path: self.path.clone(),
                body: response.into_body(),
                buffer: Vec::new(),
                data: Vec::new(),
                is_reset: false,
                last_id: None,
            }),
            status => Err(self.problem(status, response).await),
        }
    }

    /// GET of any path with its query; see [`path_with_query`].
    pub async fn get<T: DeserializeOwned>(&self, path_and_query: &str) -> Result<T, ClientError> {
        self.call(Method::GET, path_and_query, Bytes::new()).await
    }

    pub async fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|e| self.other(format!("request as JSON: {e}")))?;
        self.call(Method::POST, path, body.into()).await
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<T, ClientError> {
        let exchange = async {
            let response = self.send(self.request(method, path, body)?).await?;
            match response.status() {
                status if status.is_success() => self.read(response).await,
                status => Err(self.problem(status, response).await),
            }
        };
        let body = timeout(CALL_TIMEOUT, exchange).await.map_err(|_| self.late())??;
        serde_json::from_slice(&body).map_err(|e| self.unreadable(path, &e))
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, ClientError> {
        Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "unitmedic")
            .header(ACCEPT, "*/*")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|e| self.other(format!("request {path:?}: {e}")))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.path).await.map_err(|e| self.connect_error(&e))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.other(e.to_string()))?;
        // The connection ends by itself when the answer's body has been read or dropped.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|e| self.other(format!("no answer: {e}")))
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        match Limited::new(response.into_body(), ANSWER_MAX).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(e) if e.is::<LengthLimitError>() => Err(self.other(format!("answer over {ANSWER_MAX} bytes"))),
            Err(e) => Err(self.other(format!("answer broke off: {e}"))),
        }
    }

    async fn problem(&self, status: StatusCode, response: Response<Incoming>) -> ClientError {
        let body = match self.read(response).await {
            Ok(body) => body,
            Err(e) => return e,
        };
        of_problem(status, problem_in(status, &body))
    }

    fn connect_error(&self, e: &io::Error) -> ClientError {
        let path = self.path.clone();
        match e.kind() {
            io::ErrorKind::NotFound => ClientError::NoDaemon { path, why: "the socket does not exist".into() },
            io::ErrorKind::ConnectionRefused => {
                ClientError::NoDaemon { path, why: "nobody listens on the socket".into() }
            }
            io::ErrorKind::PermissionDenied => ClientError::Denied { path },
            _ => ClientError::Other { path, why: e.to_string() },
        }
    }

    fn unreadable(&self, path: &str, error: &serde_json::Error) -> ClientError {
        self.other(format!("the answer to {path} does not parse ({error}); daemon and command differ in version?"))
    }

    fn late(&self) -> ClientError {
        self.other(format!("no answer within {} s; see `systemctl status unitmedic`", CALL_TIMEOUT.as_secs()))
    }

    fn other(&self, why: String) -> ClientError {
        ClientError::Other { path: self.path.clone(), why }
    }
}

/// A stream of facts. Ends when the daemon stops, and where facts are missing: we read too slowly, or asked for what comes
/// behind an event that is gone. Then the state must be fetched anew.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    body: Incoming,
    /// Bytes after the last whole line.
    buffer: Vec<u8>,
    /// `data:` lines of the event that is being read.
    data: Vec<u8>,
    /// The event that is being read says that facts are missing.
    is_reset: bool,
    last_id: Option<String>,
}

impl Events {
    /// Id of the last event that was read, for [`Client::events_after`].
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// The next fact; `None` when the stream has ended. Safe to drop and call again (cancel-safe).
    pub async fn next(&mut self) -> Result<Option<Fact>, ClientError> {
        loop {
            while let Some(line) = self.take_line().filter(|_| !self.is_reset) {
                if let Some(fact) = self.line(&line)? {
                    return Ok(Some(fact));
                }
            }
            if self.is_reset {
                return Ok(None);
            }
            if self.buffer.len().max(self.data.len()) > EVENT_LINE_MAX {
                return Err(self.error(format!("an event is longer than {EVENT_LINE_MAX} bytes")));
            }
            match timeout(EVENTS_SILENCE, self.body.frame()).await {
                Err(_) => return Err(self.error(format!("nothing heard for {} s", EVENTS_SILENCE.as_secs()))),
                Ok(None) => return Ok(None),
                Ok(Some(Err(e))) => return Err(self.error(format!("event stream broke off: {e}"))),
                Ok(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
            }
        }
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let end = self.buffer.iter().position(|b| *b == b'\n')?;
        let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(line)
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<Fact>, ClientError> {
        if let Some(data) = line.strip_prefix(b"data:") {
            self.data.extend_from_slice(data);
        } else if line.is_empty() && !self.data.is_empty() {
            let data = std::mem::take(&mut self.data);
            return serde_json::from_slice(&data)
                .map(Some)
                .map_err(|e| self.error(format!("event does not parse: {e}")));
        }
        if let Some(id) = line.strip_prefix(b"id: ") {
            self.last_id = Some(String::from_utf8_lossy(id).into_owned());
        }
        self.is_reset |= line == b"event: reset";
        // Other names of events repeat what the data says, and comments keep the connection alive.
        Ok(None)
    }

    fn error(&self, why: String) -> ClientError {
        ClientError::Other { path: self.path.clone(), why }
    }
}

fn target_pair(target: &Target) -> (&'static str, Option<String>) {
    match target {
        Target::Worker(worker) => ("worker", Some(worker.to_string())),
        Target::Unit(unit) => ("unit", Some(unit.to_string())),
    }
}

fn problem_in(status: StatusCode, body: &[u8]) -> Problem {
    serde_json::from_slice(body).unwrap_or_else(|_| Problem::new(status, String::from_utf8_lossy(body)))
}

fn of_problem(status: StatusCode, problem: Problem) -> ClientError {
    ClientError::Problem { status: status.as_u16(), title: problem.title.into_owned(), detail: problem.detail }
}

/// `path?key=value&…` of the pairs that have a value, percent-encoded.
pub fn path_with_query(path: &str, pairs: &[(&str, Option<String>)]) -> String {
    let mut out = path.to_owned();
    let mut separator = '?';
    for (key, value) in pairs {
        let Some(value) = value else { continue };
        out.push(separator);
        out.push_str(key);
        out.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
                _ => write!(out, "%{byte:02X}").expect("writing to a String does not fail"),
            }
        }
        separator = '&';
    }
    out
}

fn filter_pairs(filter: &Filter) -> [(&'static str, Option<String>); 7] {
    [
        ("worker", filter.worker.as_ref().map(ToString::to_string)),
        ("unit", filter.unit.as_ref().map(ToString::to_string)),
        ("open", filter.open.map(|open| open.to_string())),
        ("since", filter.since.map(|at| at.0.to_string())),
        ("until", filter.until.map(|at| at.0.to_string())),
        ("before", filter.before.map(|id| id.to_string())),
        ("limit", filter.limit.map(|limit| limit.to_string())),
    ]
}
