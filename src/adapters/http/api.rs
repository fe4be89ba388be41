//! `/api/v1`: what is asked of the daemon. One router, for the control socket and for TCP alike; who may pass is decided
//! before it.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::answers::{Answers, While, json, problem, written};
use super::problem::Problem;
use super::routes::request;
use super::{ASK_BYTES_MAX, Port, PortError, Shutdown, Snapshot, events};
use crate::model::action::Action;
use crate::model::history::{AuditFilter, Filter};
use crate::model::incident::IncidentId;
use crate::model::name::{UnitName, WorkerName};
use crate::model::pattern::PatternFilter;
use crate::model::request::Target;
use crate::model::status::{INSTANCES_DEFAULT, INSTANCES_MAX, InstanceFilter, InstanceStatus, WorkerStatus};
use crate::model::time::Wall;

/// What sums up a long history is made anew after this time.
const SUMMED_FOR: std::time::Duration = std::time::Duration::from_secs(1);

/// Everything below `/api/v1`.
pub fn router<P: Port>(port: Arc<P>, shutdown: Shutdown) -> Router {
    Router::new()
        .route("/overview", get(overview::<P>))
        .route("/status", get(status::<P>))
        .route("/workers", get(workers::<P>))
        .route("/workers/{name}", get(worker::<P>))
        .route("/instances", get(instances::<P>))
        .route("/instances/{unit}", get(instance::<P>))
        .route("/instances/{unit}/series", get(series::<P>))
        .route("/explain", get(explain::<P>))
        .route("/incidents", get(incidents::<P>))
        .route("/incidents/{id}", get(story::<P>))
        .route("/history", get(history::<P>))
        .route("/history/summary", get(summary::<P>))
        .route("/targets", get(targets::<P>))
        .route("/audit", get(audit::<P>))
        .route("/strategies", get(strategies::<P>))
        .route("/strategies/export", get(export_strategies::<P>))
        .route("/patterns", get(patterns::<P>))
        .route("/alerts", get(alerts::<P>))
        .route("/advice", get(advice::<P>))
        .route("/approvals", get(approvals::<P>))
        .route("/preview", get(preview::<P>))
        .route("/configuration", get(configuration::<P>))
        .route("/requests", post(request::<P>).layer(DefaultBodyLimit::max(ASK_BYTES_MAX)))
        .route("/events", get(move |port, query, headers| live::<P>(port, query, headers, shutdown)))
        .with_state(port)
}

/// A question without parameters: one that has any is refused, so that a misspelt filter does not pass for none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

type Asked<T> = Result<Query<T>, QueryRejection>;

/// What is asked, word for word, and what decides about the form of the answer.
struct Asker {
    key: String,
    headers: HeaderMap,
}

impl<S: Sync> FromRequestParts<S> for Asker {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let key = parts.uri.path_and_query().map_or("", |asked| asked.as_str()).to_owned();
        Ok(Self { key, headers: parts.headers.clone() })
    }
}

impl Asker {
    /// The answer, made at most once for all who ask it at a time.
    async fn answer<T: Serialize + Send + 'static>(
        self,
        answers: &Answers,
        valid: While,
        make: impl Future<Output = Result<T, PortError>>,
    ) -> Result<Response, Problem> {
        let make = async {
            let value = make.await?;
            written(move || json(&value)).await
        };
        Ok(answers.get(&self.key, valid, make).await?.respond(&self.headers).await)
    }

    /// From the snapshot of the present: true as long as the snapshot is the present one.
    async fn of_present<P: Port>(
        self,
        port: &P,
        write: impl FnOnce(&Snapshot) -> Result<Vec<u8>, PortError> + Send + 'static,
    ) -> Result<Response, Problem> {
        let snapshot = port.snapshot().await.map_err(problem)?;
        let valid = While::Same(Some(snapshot.turn), Some(0));
        let make = written(move || write(&snapshot));
        Ok(port.answers().get(&self.key, valid, make).await?.respond(&self.headers).await)
    }
}

/// As long as nothing is given to the history.
fn history_stays<P: Port>(port: &P) -> While {
    While::Same(Some(0), Some(port.moved()))
}

async fn overview<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<Nothing>,
) -> Result<Response, Problem> {
    let Nothing {} = asked?.0;
    asker.of_present(&*port, |snapshot| json(&snapshot.overview)).await
}

async fn status<P: Port>(State(port): State<Arc<P>>, asker: Asker, asked: Asked<Nothing>) -> Result<Response, Problem> {
    let Nothing {} = asked?.0;
    asker.of_present(&*port, |snapshot| json(&snapshot.status)).await
}

async fn workers<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<Nothing>,
) -> Result<Response, Problem> {
    let Nothing {} = asked?.0;
    let without = |worker: &WorkerStatus| WorkerStatus {
        worker: worker.worker.clone(),
        selector: worker.selector.clone(),
        because: worker.because.clone(),
        queues: worker.queues.clone(),
        instances: Vec::new(),
        ..*worker
    };
    asker
        .of_present(&*port, move |snapshot| json(&snapshot.status.workers.iter().map(without).collect::<Vec<_>>()))
        .await
}

async fn worker<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    name: Result<Path<WorkerName>, PathRejection>,
    asked: Asked<Nothing>,
) -> Result<Response, Problem> {
    let (Path(name), Nothing {}) = (name?, asked?.0);
    asker
        .of_present(&*port, move |snapshot| {
            let worker = snapshot.status.workers.iter().find(|worker| worker.worker == name);
            json(worker.ok_or_else(|| no_worker(&name))?)
        })
        .await
}

async fn instances<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<InstanceFilter>,
) -> Result<Response, Problem> {
    let filter = asked?.0;
    asker.of_present(&*port, move |snapshot| json(&page(snapshot, &filter)?)).await
}

/// A page of instances, by name.
fn page<'s>(snapshot: &'s Snapshot, filter: &InstanceFilter) -> Result<Vec<&'s InstanceStatus>, PortError> {
    let workers = &snapshot.status.workers;
    let of_worker = |worker: &&WorkerStatus| filter.worker.as_ref().is_none_or(|name| worker.worker == *name);
    if let Some(name) = &filter.worker
        && !workers.iter().any(|worker| worker.worker == *name)
    {
        return Err(no_worker(name));
    }
    let wanted = |instance: &&InstanceStatus| {
        filter.health.is_none_or(|health| instance.health == health)
            && filter.after.as_ref().is_none_or(|after| instance.unit > *after)
    };
    let instances = workers.iter().filter(of_worker).flat_map(|worker| &worker.instances).filter(wanted);
    let mut page: Vec<&InstanceStatus> = instances.collect();
    page.sort_by(|a, b| a.unit.cmp(&b.unit));
    page.truncate(filter.limit.unwrap_or(INSTANCES_DEFAULT).min(INSTANCES_MAX));
    Ok(page)
}

async fn instance<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    unit: Result<Path<UnitName>, PathRejection>,
    asked: Asked<Nothing>,
) -> Result<Response, Problem> {
    let (Path(unit), Nothing {}) = (unit?, asked?.0);
    asker
        .of_present(&*port, move |snapshot| json(snapshot.instance(&unit).ok_or_else(|| PortError::no_unit(&unit))?.1))
        .await
}

fn no_worker(name: &WorkerName) -> PortError {
    PortError::NotFound(format!("there is no worker {name}; /api/v1/workers and `unitmedic status` list them"))
}

async fn series<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    unit: Result<Path<UnitName>, PathRejection>,
    asked: Asked<Nothing>,
) -> Result<Response, Problem> {
    let (Path(unit), Nothing {}) = (unit?, asked?.0);
    let snapshot = port.snapshot().await.map_err(problem)?;
    let valid = While::Same(Some(snapshot.turn), Some(0));
    asker.answer(port.answers(), valid, port.series(unit)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainQuery {
    worker: Option<WorkerName>,
    unit: Option<UnitName>,
}

async fn explain<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<ExplainQuery>,
) -> Result<Response, Problem> {
    let Query(query) = asked?;
    let target = target_of(query.worker, query.unit)?;
    asker.answer(port.answers(), While::Same(port.turn(), Some(0)), port.explain(target)).await
}

fn target_of(worker: Option<WorkerName>, unit: Option<UnitName>) -> Result<Target, Problem> {
    match (worker, unit) {
        (Some(worker), None) => Ok(Target::Worker(worker)),
        (None, Some(unit)) => Ok(Target::Unit(unit)),
        _ => Err(Problem::new(StatusCode::BAD_REQUEST, "name one of worker= and unit=")),
    }
}

async fn approvals<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<Nothing>,
) -> Result<Response, Problem> {
    let Nothing {} = asked?.0;
    asker.answer(port.answers(), While::Same(port.turn(), Some(0)), port.approvals()).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PreviewQuery {
    worker: Option<WorkerName>,
    unit: Option<UnitName>,
    action: Action,
    #[serde(default)]
    force: bool,
}

async fn preview<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<PreviewQuery>,
) -> Result<Response, Problem> {
    let Query(query) = asked?;
    let target = target_of(query.worker, query.unit)?;
    let valid = While::Same(port.turn(), Some(0));
    asker.answer(port.answers(), valid, port.preview(target, query.action, query.force)).await
}

async fn incidents<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<Filter>,
) -> Result<Response, Problem> {
    let valid = history_stays(&*port);
    asker.answer(port.answers(), valid, port.incidents(asked?.0)).await
}

async fn alerts<P: Port>(State(port): State<Arc<P>>, asker: Asker, asked: Asked<Filter>) -> Result<Response, Problem> {
    // Also of the Alertmanagers, whose answers are no turn of the loop.
    asker.answer(port.answers(), While::Now, port.alerts(asked?.0)).await
}

async fn patterns<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<PatternFilter>,
) -> Result<Response, Problem> {
    asker.answer(port.answers(), While::Now, port.patterns(asked?.0)).await
}

async fn story<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    id: Result<Path<u64>, PathRejection>,
    asked: Asked<Nothing>,
) -> Result<Response, Problem> {
    let (Path(id), Nothing {}) = (id?, asked?.0);
    let valid = While::Same(port.turn(), Some(port.moved()));
    asker.answer(port.answers(), valid, port.story(IncidentId(id))).await
}

async fn history<P: Port>(State(port): State<Arc<P>>, asker: Asker, asked: Asked<Filter>) -> Result<Response, Problem> {
    let valid = history_stays(&*port);
    asker.answer(port.answers(), valid, port.recoveries(asked?.0)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SummaryQuery {
    since: Option<Wall>,
    worker: Option<WorkerName>,
}

async fn summary<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<SummaryQuery>,
) -> Result<Response, Problem> {
    let Query(query) = asked?;
    let valid = history_stays(&*port);
    asker.answer(port.answers(), valid, port.summary(query.since, query.worker)).await
}

async fn targets<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<Nothing>,
) -> Result<Response, Problem> {
    let Nothing {} = asked?.0;
    asker.answer(port.answers(), While::For(SUMMED_FOR), port.targets()).await
}

async fn audit<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<AuditFilter>,
) -> Result<Response, Problem> {
    let valid = history_stays(&*port);
    asker.answer(port.answers(), valid, port.audit(asked?.0)).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StrategiesQuery {
    worker: Option<WorkerName>,
}

async fn strategies<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<StrategiesQuery>,
) -> Result<Response, Problem> {
    let valid = While::Same(port.turn(), Some(0));
    asker.answer(port.answers(), valid, port.strategies(asked?.0.worker)).await
}

async fn export_strategies<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<StrategiesQuery>,
) -> Result<Response, Problem> {
    asker.answer(port.answers(), While::Now, port.export_strategies(asked?.0.worker)).await
}

async fn advice<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<SummaryQuery>,
) -> Result<Response, Problem> {
    let Query(query) = asked?;
    asker.answer(port.answers(), While::For(SUMMED_FOR), port.advice(query.since, query.worker)).await
}

async fn configuration<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<Nothing>,
) -> Result<Response, Problem> {
    let Nothing {} = asked?.0;
    let valid = While::Same(port.turn(), Some(0));
    asker.answer(port.answers(), valid, async { Ok(port.configuration()) }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    after: Option<String>,
}

async fn live<P: Port>(
    State(port): State<Arc<P>>,
    asked: Asked<EventsQuery>,
    headers: HeaderMap,
    shutdown: Shutdown,
) -> Result<Response, Problem> {
    let Query(query) = asked?;
    let header = headers.get(events::LAST_EVENT_ID).and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    // A browser that comes back by itself asks the same address again: its header is newer.
    let last = header.or(query.after.as_deref());
    Ok(events::respond(port.feed().clone(), last, shutdown))
}
