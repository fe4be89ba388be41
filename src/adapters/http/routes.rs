//! What is served where, and how answers and errors look.

use std::sync::Arc;

use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Extension, Path, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use hyper::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};

use super::peer::Peer;
use super::problem::{PROBLEM_JSON, Problem};
use super::scrape::{self, Scrapes};
use super::web::Web;
use super::{ASK_BYTES_MAX, BODY_BYTES_MAX, Port, PortError, Shutdown, events, gzip, openmetrics, page, webhook};
use crate::model::history::Filter;
use crate::model::incident::IncidentId;
use crate::model::name::{UnitName, WorkerName};
use crate::model::pattern::PatternFilter;
use crate::model::request::{Ask, Target};
use crate::model::time::Wall;

const TEXT_0_0_4: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Reads only: what TCP serves.
pub fn public<P: Port>(port: Arc<P>, web: Arc<Web>) -> Router {
    let desk = Extension(Arc::new(webhook::Desk::default()));
    let webhook = post(webhook::receive::<P>).layer((DefaultBodyLimit::max(webhook::BODY_MAX), desk));
    let known = middleware::from_fn(move |request: Request, next: Next| admit(web.clone(), request, next));
    // The webhook has a token of its own.
    finish(pages(port.clone()).layer(known).route("/api/v1/alertmanager", webhook.with_state(port)))
}

/// Where the web configuration has users, one of them must ask.
async fn admit(web: Arc<Web>, request: Request, next: Next) -> Response {
    if web.admits(request.headers()).await {
        return next.run(request).await;
    }
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "user and password of the web configuration are needed");
    ([(WWW_AUTHENTICATE, "Basic realm=\"unitmedic\"")], problem).into_response()
}

/// Everything, for those who may open the control socket.
pub fn control<P: Port>(port: Arc<P>, shutdown: Shutdown) -> Router {
    let api = Router::new()
        .route("/status", get(status::<P>))
        .route("/explain", get(explain::<P>))
        .route("/alerts", get(alerts::<P>))
        .route("/incidents", get(incidents::<P>))
        .route("/incidents/{id}", get(story::<P>))
        .route("/history", get(history::<P>))
        .route("/history/summary", get(summary::<P>))
        .route("/patterns", get(patterns::<P>))
        .route("/strategies", get(strategies::<P>))
        .route("/strategies/export", get(export_strategies::<P>))
        .route("/advice", get(advice::<P>))
        .route("/requests", post(request::<P>).layer(DefaultBodyLimit::max(ASK_BYTES_MAX)))
        .route(
            "/events",
            get(move |State(port): State<Arc<P>>| async move { events::respond(port.events(), shutdown) }),
        )
        .with_state(port.clone());
    finish(pages(port).nest("/api/v1", api))
}

fn pages<P: Port>(port: Arc<P>) -> Router {
    Router::new()
        .merge(page::routes())
        .route("/metrics", get(metrics::<P>))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready::<P>))
        .layer(Extension(Arc::new(Expositions::default())))
        .with_state(port)
}

fn finish(router: Router) -> Router {
    router
        .fallback(|uri: Uri| async move {
            let detail = format!("there is nothing at {}; see / for what there is", uri.path());
            Problem::new(StatusCode::NOT_FOUND, detail)
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the header Allow names the methods that this path takes")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

/// Each wording is made once for all who wait for it, so that many scrapers hold one text and not each its own.
#[derive(Default)]
pub struct Expositions {
    text: Scrapes,
    open: Scrapes,
    packed_text: Scrapes,
    packed_open: Scrapes,
}

async fn metrics<P: Port>(
    State(port): State<Arc<P>>,
    Extension(made): Extension<Arc<Expositions>>,
    headers: HeaderMap,
) -> Response {
    let (is_open, is_packed) = (openmetrics::is_preferred(&headers), gzip::is_accepted(&headers));
    let worded = move || match is_open {
        true => openmetrics::from_text(&String::from_utf8_lossy(&port.metrics(true))).into(),
        false => port.metrics(false),
    };
    let (scrapes, kind) = match (is_open, is_packed) {
        (false, false) => (&made.text, TEXT_0_0_4),
        (false, true) => (&made.packed_text, TEXT_0_0_4),
        (true, false) => (&made.open, openmetrics::OPENMETRICS_1_0_0),
        (true, true) => (&made.packed_open, openmetrics::OPENMETRICS_1_0_0),
    };
    let making = scrapes.get(move || if is_packed { gzip::packed(&worded()) } else { worded() });
    let text = match tokio::time::timeout(scrape::deadline(&headers), making).await {
        Ok(Some(text)) => text,
        Ok(None) => {
            let detail = "making the exposition failed; see the journal";
            return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response();
        }
        Err(_) => {
            let detail = "the exposition was not ready within the scraper's own timeout";
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response();
        }
    };
    let headers = [(CONTENT_TYPE, kind), (VARY, "Accept, Accept-Encoding")];
    match is_packed {
        true => (headers, [(CONTENT_ENCODING, "gzip")], text).into_response(),
        false => (headers, text).into_response(),
    }
}

async fn healthy() -> impl IntoResponse {
    ([(CONTENT_TYPE, PLAIN), (CACHE_CONTROL, "no-store")], "healthy\n")
}

async fn ready<P: Port>(State(port): State<Arc<P>>) -> impl IntoResponse {
    let (code, text) = match port.ready() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
    };
    (code, [(CONTENT_TYPE, PLAIN), (CACHE_CONTROL, "no-store")], text)
}

async fn status<P: Port>(State(port): State<Arc<P>>) -> Response {
    answer(port.status().await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainQuery {
    worker: Option<WorkerName>,
    unit: Option<UnitName>,
}

async fn explain<P: Port>(
    State(port): State<Arc<P>>,
    query: Result<Query<ExplainQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    let target = match (query.worker, query.unit) {
        (Some(worker), None) => Target::Worker(worker),
        (None, Some(unit)) => Target::Unit(unit),
        _ => return Err(Problem::new(StatusCode::BAD_REQUEST, "name one of worker= and unit=")),
    };
    Ok(answer(port.explain(target).await))
}

async fn incidents<P: Port>(
    State(port): State<Arc<P>>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Response, Problem> {
    Ok(answer(port.incidents(filter?.0).await))
}

async fn alerts<P: Port>(
    State(port): State<Arc<P>>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Response, Problem> {
    Ok(answer(port.alerts(filter?.0).await))
}

async fn patterns<P: Port>(
    State(port): State<Arc<P>>,
    filter: Result<Query<PatternFilter>, QueryRejection>,
) -> Result<Response, Problem> {
    Ok(answer(port.patterns(filter?.0).await))
}

async fn story<P: Port>(State(port): State<Arc<P>>, id: Result<Path<u64>, PathRejection>) -> Result<Response, Problem> {
    Ok(answer(port.story(IncidentId(id?.0)).await))
}

async fn history<P: Port>(
    State(port): State<Arc<P>>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Response, Problem> {
    Ok(answer(port.recoveries(filter?.0).await))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SummaryQuery {
    since: Option<Wall>,
    worker: Option<WorkerName>,
}

async fn summary<P: Port>(
    State(port): State<Arc<P>>,
    query: Result<Query<SummaryQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    Ok(answer(port.summary(query.since, query.worker).await))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StrategiesQuery {
    worker: Option<WorkerName>,
}

async fn strategies<P: Port>(
    State(port): State<Arc<P>>,
    query: Result<Query<StrategiesQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    Ok(answer(port.strategies(query.worker).await))
}

async fn export_strategies<P: Port>(
    State(port): State<Arc<P>>,
    query: Result<Query<StrategiesQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    Ok(answer(port.export_strategies(query.worker).await))
}

async fn advice<P: Port>(
    State(port): State<Arc<P>>,
    query: Result<Query<SummaryQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    Ok(answer(port.advice(query.since, query.worker).await))
}

/// A peer without credentials asks for nothing: only the control socket has them.
async fn request<P: Port>(
    State(port): State<Arc<P>>,
    peer: Option<Extension<Peer>>,
    ask: Result<Json<Ask>, JsonRejection>,
) -> Result<Response, Problem> {
    let Some(Extension(peer)) = peer else {
        return Err(Problem::new(StatusCode::FORBIDDEN, "requests are taken on the control socket alone"));
    };
    let Json(ask) = ask?;
    Ok(answer(port.request(peer.who(), ask).await))
}

pub(super) fn answer<T: Serialize>(result: Result<T, PortError>) -> Response {
    match result {
        Ok(value) => ([(CACHE_CONTROL, "no-store")], Json(value)).into_response(),
        Err(error) => {
            let code = match &error {
                PortError::NotFound(_) => StatusCode::NOT_FOUND,
                PortError::Invalid(_) => StatusCode::BAD_REQUEST,
                PortError::Busy | PortError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            let problem = Problem::new(code, error.to_string()).into_response();
            match error {
                PortError::Busy => ([(RETRY_AFTER, "1")], problem).into_response(),
                _ => problem,
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (code, Json(self)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(PROBLEM_JSON));
        response
    }
}

macro_rules! problem_from {
    ($($rejection:ty),+) => {$(
        impl From<$rejection> for Problem {
            fn from(rejection: $rejection) -> Self {
                Problem::new(rejection.status(), rejection.body_text())
            }
        }
    )+};
}
problem_from!(BytesRejection, JsonRejection, PathRejection, QueryRejection);
