//! What is served where, and how answers and errors look.

use std::sync::Arc;

use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Extension, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use hyper::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, VARY};
use hyper::{HeaderMap, StatusCode, Uri};
use serde::Serialize;
use serde_json::Value;

use super::access::{self, Access};
use super::answers::problem;
use super::caller::Caller;
use super::deeds::Deeds;
use super::denied::Denials;
use super::problem::{PROBLEM_JSON, Problem};
use super::scrape::{self, Scrapes};
use super::streams::Streams;
use super::{
    ASK_BYTES_MAX, BODY_BYTES_MAX, EVENT_STREAMS_MAX, EVENT_STREAMS_OF_ONE_MAX, Port, Shutdown, TCP_ASK_BYTES_MAX, api,
    gzip, openmetrics, page, webhook,
};
use crate::model::request::{Ask, Reply};

const TEXT_0_0_4: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// What TCP serves, to those whom `access` lets in.
pub fn public<P: Port>(port: Arc<P>, access: &Arc<Access>, shutdown: Shutdown) -> Router {
    let desk = Extension(Arc::new(webhook::Desk::default()));
    let webhook = post(webhook::receive::<P>).layer((DefaultBodyLimit::max(webhook::BODY_MAX), desk));
    let api = api::router(port.clone(), shutdown, TCP_ASK_BYTES_MAX);
    let all = pages(port.clone()).nest("/api/v1", api).route(access::WEBHOOK, webhook.with_state(port.clone()));
    access.guard(finish(all), port)
}

/// What is asked for.
pub(super) fn deed<P: Port>(bytes_max: usize) -> MethodRouter<Arc<P>> {
    let deeds = Deeds::new();
    let admit = middleware::from_fn(move |request: Request, next: Next| deeds.clone().admit(request, next));
    post(request::<P>).layer(DefaultBodyLimit::max(bytes_max)).route_layer(admit)
}

/// Everything, for those who may open the control socket.
pub fn control<P: Port>(port: Arc<P>, shutdown: Shutdown) -> Router {
    let api = api::router(port.clone(), shutdown, ASK_BYTES_MAX);
    access::local(finish(pages(port.clone()).nest("/api/v1", api)), port, Arc::new(Denials::default()))
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
        .layer(Extension(Streams::new(EVENT_STREAMS_MAX, EVENT_STREAMS_OF_ONE_MAX)))
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

/// Only behind [`Deeds`].
async fn request<P: Port>(
    State(port): State<Arc<P>>,
    Extension(caller): Extension<Caller>,
    ask: Result<Json<Value>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(mut ask) = ask?;
    whole_numbers(&mut ask);
    let unfit = |error| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("this is nothing that can be asked for: {error}"))
    };
    let ask: Ask = serde_json::from_value(ask).map_err(unfit)?;
    let reply = port.request(caller.who(), ask).await.map_err(problem)?;
    let (status, text) = match &reply {
        Reply::Done { .. } => return Ok(answer(StatusCode::OK, &reply)),
        Reply::Accepted { .. } => return Ok(answer(StatusCode::ACCEPTED, &reply)),
        Reply::Refused { unit, refusal } => {
            (StatusCode::CONFLICT, format!("{unit}: {} (gate {})", refusal.text, refusal.gate))
        }
        Reply::Unknown { text } => (StatusCode::NOT_FOUND, text.clone()),
    };
    Err(Problem { reply: Some(reply), ..Problem::new(status, text) })
}

/// JSON knows one kind of number: `1.0` is a whole one, and some write it so.
fn whole_numbers(value: &mut Value) {
    /// Up to here every whole number has a float of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() <= EXACT);
            if let Some(whole) = whole {
                *number = (whole as i64).into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

pub(super) fn answer<T: Serialize>(status: StatusCode, value: T) -> Response {
    (status, [(CACHE_CONTROL, "no-store")], Json(value)).into_response()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry = self.retry;
        let mut response = (code, Json(self)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if retry {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
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
