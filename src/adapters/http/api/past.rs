//! What is asked of the history and of what was learned; and the live events.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Query, State};
use axum::response::{IntoResponse, Response};
use hyper::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::present::{Asked, Asker, Nothing};
use crate::adapters::http::answers::While;
use crate::adapters::http::caller::Caller;
use crate::adapters::http::problem::Problem;
use crate::adapters::http::streams::Streams;
use crate::adapters::http::{Port, Shutdown, events};
use crate::model::history::{AuditFilter, Filter};
use crate::model::incident::IncidentId;
use crate::model::name::WorkerName;
use crate::model::pattern::PatternFilter;
use crate::model::time::Wall;

/// What sums up a long history is made anew after this time.
const SUMMED_FOR: Duration = Duration::from_secs(1);

/// As long as nothing is given to the history.
fn history_stays<P: Port>(port: &P) -> While {
    While::Same(Some(0), Some(port.moved()))
}

pub async fn incidents<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<Filter>,
) -> Result<Response, Problem> {
    let valid = history_stays(&*port);
    asker.answer(port.answers(), valid, port.incidents(asked?.0)).await
}

pub async fn alerts<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<Filter>,
) -> Result<Response, Problem> {
    // Also of the Alertmanagers, whose answers are no turn of the loop.
    asker.answer(port.answers(), While::Now, port.alerts(asked?.0)).await
}

pub async fn patterns<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<PatternFilter>,
) -> Result<Response, Problem> {
    asker.answer(port.answers(), While::Now, port.patterns(asked?.0)).await
}

pub async fn story<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    id: Result<Path<u64>, PathRejection>,
    asked: Asked<Nothing>,
) -> Result<Response, Problem> {
    let (Path(id), Nothing {}) = (id?, asked?.0);
    let valid = While::Same(port.turn(), Some(port.moved()));
    asker.answer(port.answers(), valid, port.story(IncidentId(id))).await
}

pub async fn history<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<Filter>,
) -> Result<Response, Problem> {
    let valid = history_stays(&*port);
    asker.answer(port.answers(), valid, port.recoveries(asked?.0)).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SummaryQuery {
    since: Option<Wall>,
    worker: Option<WorkerName>,
}

pub async fn summary<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<SummaryQuery>,
) -> Result<Response, Problem> {
    let Query(query) = asked?;
    let valid = history_stays(&*port);
    asker.answer(port.answers(), valid, port.summary(query.since, query.worker)).await
}

pub async fn targets<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<Nothing>,
) -> Result<Response, Problem> {
    let Nothing {} = asked?.0;
    asker.answer(port.answers(), While::For(SUMMED_FOR), port.targets()).await
}

pub async fn audit<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<AuditFilter>,
) -> Result<Response, Problem> {
    let valid = history_stays(&*port);
    asker.answer(port.answers(), valid, port.audit(asked?.0)).await
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StrategiesQuery {
    worker: Option<WorkerName>,
}

pub async fn strategies<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<StrategiesQuery>,
) -> Result<Response, Problem> {
    let valid = While::Same(port.turn(), Some(0));
    asker.answer(port.answers(), valid, port.strategies(asked?.0.worker)).await
}

pub async fn export_strategies<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<StrategiesQuery>,
) -> Result<Response, Problem> {
    asker.answer(port.answers(), While::Now, port.export_strategies(asked?.0.worker)).await
}

pub async fn advice<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<SummaryQuery>,
) -> Result<Response, Problem> {
    let Query(query) = asked?;
    asker.answer(port.answers(), While::For(SUMMED_FOR), port.advice(query.since, query.worker)).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// The id of the last event that was read: what came later is sent first.
    after: Option<String>,
}

pub async fn live<P: Port>(
    State(port): State<Arc<P>>,
    Extension(streams): Extension<Streams>,
    Extension(caller): Extension<Caller>,
    asked: Asked<EventsQuery>,
    headers: HeaderMap,
    shutdown: Shutdown,
) -> Result<Response, Problem> {
    let Query(query) = asked?;
    let header = headers.get(events::LAST_EVENT_ID).and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    // A browser that comes back by itself asks the same address again: its header is newer.
    let last = header.or(query.after.as_deref());
    Ok(match streams.enter(caller.address()) {
        Ok(room) => events::respond(port.feed().clone(), last, shutdown, room),
        Err(refusal) => refusal.into_response(),
    })
}
