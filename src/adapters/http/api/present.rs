//! What is asked of the present: answered from a snapshot that all share, or by the event loop.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::response::Response;
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::adapters::http::answers::{Answers, While, json, problem, written};
use crate::adapters::http::problem::Problem;
use crate::adapters::http::{Port, PortError, Snapshot};
use crate::model::action::Action;
use crate::model::name::{UnitName, WorkerName};
use crate::model::request::Target;
use crate::model::status::{INSTANCES_DEFAULT, INSTANCES_MAX, InstanceFilter, InstanceStatus, WorkerStatus};

/// A question without parameters: one that has any is refused, so that a misspelt filter does not pass for none.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

pub type Asked<T> = Result<Query<T>, QueryRejection>;

/// What is asked, word for word, and what decides about the form of the answer.
pub struct Asker {
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
    pub async fn answer<T: Serialize + Send + 'static>(
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

pub async fn overview<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<Nothing>,
) -> Result<Response, Problem> {
    let Nothing {} = asked?.0;
    asker.of_present(&*port, |snapshot| json(&snapshot.overview)).await
}

pub async fn status<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<Nothing>,
) -> Result<Response, Problem> {
    let Nothing {} = asked?.0;
    asker.of_present(&*port, |snapshot| json(&snapshot.status)).await
}

pub async fn workers<P: Port>(
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

pub async fn worker<P: Port>(
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

pub async fn instances<P: Port>(
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

pub async fn instance<P: Port>(
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

pub async fn series<P: Port>(
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

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    worker: Option<WorkerName>,
    unit: Option<UnitName>,
}

pub async fn explain<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<ExplainQuery>,
) -> Result<Response, Problem> {
    let Query(query) = asked?;
    let target = target_of(&*port, query.worker, query.unit).await?;
    asker.answer(port.answers(), While::Same(port.turn(), Some(0)), port.explain(target)).await
}

/// The worker or unit that is named; where both are, the unit must be the worker's.
async fn target_of<P: Port>(port: &P, worker: Option<WorkerName>, unit: Option<UnitName>) -> Result<Target, Problem> {
    let (worker, unit) = match (worker, unit) {
        (Some(worker), None) => return Ok(Target::Worker(worker)),
        (None, Some(unit)) => return Ok(Target::Unit(unit)),
        (Some(worker), Some(unit)) => (worker, unit),
        (None, None) => {
            let detail =
                "it is not said of what: name a worker (worker=) or a unit (unit=); /api/v1/overview lists both";
            return Err(Problem::new(StatusCode::NOT_FOUND, detail));
        }
    };
    let snapshot = port.snapshot().await.map_err(problem)?;
    match snapshot.instance(&unit).is_some_and(|(of, _)| of.worker == worker) {
        true => Ok(Target::Unit(unit)),
        false => {
            Err(problem(PortError::NotFound(format!("{unit} is not a unit of worker {worker}; name one of the two"))))
        }
    }
}

pub async fn approvals<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<Nothing>,
) -> Result<Response, Problem> {
    let Nothing {} = asked?.0;
    asker.answer(port.answers(), While::Same(port.turn(), Some(0)), port.approvals()).await
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewQuery {
    worker: Option<WorkerName>,
    unit: Option<UnitName>,
    action: Action,
    #[serde(default)]
    force: bool,
}

pub async fn preview<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<PreviewQuery>,
) -> Result<Response, Problem> {
    let Query(query) = asked?;
    let target = target_of(&*port, query.worker, query.unit).await?;
    let valid = While::Same(port.turn(), Some(0));
    asker.answer(port.answers(), valid, port.preview(target, query.action, query.force)).await
}

pub async fn configuration<P: Port>(
    State(port): State<Arc<P>>,
    asker: Asker,
    asked: Asked<Nothing>,
) -> Result<Response, Problem> {
    let Nothing {} = asked?.0;
    let valid = While::Same(port.turn(), Some(0));
    asker.answer(port.answers(), valid, async { Ok(port.configuration()) }).await
}
