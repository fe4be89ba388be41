//! `/api/v1`: what is asked of the daemon. One router, for the control socket and for TCP alike; who may pass is decided
//! before it.
//!
//! There is one table of operations. The router is made of it, and so is the document: neither has what the other has not.

mod document;
mod operation;
mod past;
mod present;

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use hyper::HeaderMap;

use super::answers::Answer;
use super::caller::{self, Me};
use super::problem::Problem;
use super::routes::deed;
use super::{Port, Shutdown};
use crate::model::advice::Advice;
use crate::model::alert::Alerts;
use crate::model::approval::Card;
use crate::model::fact::Fact;
use crate::model::history::{AuditEntry, AuditFilter, Filter, Recovery, Summary, Told};
use crate::model::incident::{Incident, IncidentId};
use crate::model::name::{UnitName, WorkerName};
use crate::model::overview::{Overview, Preview, Series, Targets};
use crate::model::pattern::{PatternFilter, PatternsView};
use crate::model::request::{Ask, Reply};
use crate::model::status::{Explanation, InstanceFilter, InstanceStatus, SettingsTable, Status, WorkerStatus};
use crate::model::strategy::{Export, Strategy};

use operation::{Operation, reading};
use past::{EventsQuery, StrategiesQuery, SummaryQuery};
use present::{ExplainQuery, PreviewQuery};

/// Where all of it is.
pub const PREFIX: &str = "/api/v1";

/// Everything below [`PREFIX`].
pub fn router<P: Port>(port: Arc<P>, shutdown: Shutdown, ask_bytes_max: usize) -> Router {
    let operations = operations::<P>(&shutdown, ask_bytes_max);
    let all = operations
        .into_iter()
        .fold(Router::new(), |router, Operation { path, handler, .. }| router.route(path, handler));
    all.with_state(port)
}

fn operations<P: Port>(shutdown: &Shutdown, ask_bytes_max: usize) -> Vec<Operation<P>> {
    let mut all = the_present();
    all.extend(the_past());
    all.extend(what_was_learned());
    all.extend(live(shutdown.clone()));
    all.extend(deeds(ask_bytes_max));
    all
}

fn the_present<P: Port>() -> Vec<Operation<P>> {
    vec![
        reading("/overview", "get_overview", "The host at a glance, sick first", get(present::overview::<P>))
            .says("Small, also with thousands of instances: of those that are well only the name. `last_event` is where the live events go on.")
            .answers::<Overview>(),
        reading("/status", "get_status", "Everything about every instance", get(present::status::<P>))
            .says("Some KB for each instance; most questions are answered by less.")
            .answers::<Status>(),
        reading("/workers", "list_workers", "The workers, without their instances", get(present::workers::<P>))
            .leads_to("get_worker", "name", "/0/worker")
            .answers::<Vec<WorkerStatus>>(),
        reading("/workers/{name}", "get_worker", "A worker with its instances", get(present::worker::<P>))
            .at::<WorkerName>("name")
            .answers::<WorkerStatus>(),
        reading("/instances", "list_instances", "Instances by the name of their unit, page by page", get(present::instances::<P>))
            .says("The next page begins behind the last unit of this one: `after=`.")
            .asks::<InstanceFilter>()
            .fails(404)
            .leads_to("get_instance", "unit", "/0/unit")
            .leads_to("get_series", "unit", "/0/unit")
            .answers::<Vec<InstanceStatus>>(),
        reading("/instances/{unit}", "get_instance", "An instance", get(present::instance::<P>))
            .at::<UnitName>("unit")
            .answers::<InstanceStatus>(),
        reading("/instances/{unit}/series", "get_series", "The last readings of an instance, with their thresholds", get(present::series::<P>))
            .says("The last 120 rounds of samples: an hour at the usual `health_check_interval`.")
            .at::<UnitName>("unit")
            .answers::<Series>(),
        reading("/explain", "explain", "Why something was or was not done, and what would be done next", get(present::explain::<P>))
            .says("For one of `worker` and `unit`.")
            .asks::<ExplainQuery>()
            .fails(404)
            .answers::<Vec<Explanation>>(),
        reading("/approvals", "list_approvals", "Planned actions that wait for a yes, the most urgent first", get(present::approvals::<P>))
            .answers::<Vec<Card>>(),
        reading("/preview", "preview", "What a request for a deed would do now", get(present::preview::<P>))
            .says("Nothing is done by asking. For one of `worker` and `unit`.")
            .asks::<PreviewQuery>()
            .fails(404)
            .answers::<Preview>(),
        reading("/configuration", "get_configuration", "The settings in force, without secrets", get(present::configuration::<P>))
            .answers::<Vec<SettingsTable>>(),
    ]
}

fn the_past<P: Port>() -> Vec<Operation<P>> {
    vec![
        reading("/incidents", "list_incidents", "Incidents, newest first, page by page", get(past::incidents::<P>))
            .says("The next page begins before the last id of this one: `before=`.")
            .asks::<Filter>()
            .leads_to("get_incident", "id", "/0/id")
            .answers::<Vec<Incident>>(),
        reading(
            "/incidents/{id}",
            "get_incident",
            "An incident with its time line, told in sentences",
            get(past::story::<P>),
        )
        .at::<IncidentId>("id")
        .answers::<Told>(),
        reading(
            "/history",
            "list_recoveries",
            "Recoveries that have ended, newest first, page by page",
            get(past::history::<P>),
        )
        .says("The next page is older than the last recovery of this one: `until=`.")
        .asks::<Filter>()
        .answers::<Vec<Recovery>>(),
        reading(
            "/history/summary",
            "summarize_history",
            "Totals of recoveries, in all and by action",
            get(past::summary::<P>),
        )
        .asks::<SummaryQuery>()
        .answers::<Summary>(),
        reading("/targets", "get_targets", "How well it goes, against what is promised", get(past::targets::<P>))
            .answers::<Targets>(),
        reading("/audit", "list_deeds", "What people did, newest first, page by page", get(past::audit::<P>))
            .says("The next page begins before the last id of this one: `before=`.")
            .asks::<AuditFilter>()
            .answers::<Vec<AuditEntry>>(),
        reading(
            "/alerts",
            "get_alerts",
            "What fires, where it was sent, and what was told before",
            get(past::alerts::<P>),
        )
        .asks::<Filter>()
        .answers::<Alerts>(),
    ]
}

fn what_was_learned<P: Port>() -> Vec<Operation<P>> {
    vec![
        reading("/strategies", "list_strategies", "What is known of actions", get(past::strategies::<P>))
            .asks::<StrategiesQuery>()
            .answers::<Vec<Strategy>>(),
        reading(
            "/strategies/export",
            "export_strategies",
            "What this host has learned itself, for another one",
            get(past::export_strategies::<P>),
        )
        .asks::<StrategiesQuery>()
        .answers::<Export>(),
        reading(
            "/patterns",
            "list_patterns",
            "Patterns of errors, those that precede incidents first",
            get(past::patterns::<P>),
        )
        .asks::<PatternFilter>()
        .fails(404)
        .answers::<PatternsView>(),
        reading("/advice", "get_advice", "What could be configured better, and why", get(past::advice::<P>))
            .says("By what happened in the last 30 days, where `since` does not say otherwise.")
            .asks::<SummaryQuery>()
            .fails(404)
            .answers::<Advice>(),
    ]
}

fn live<P: Port>(shutdown: Shutdown) -> Vec<Operation<P>> {
    let streaming = move |port, room, who, query, headers| past::live::<P>(port, room, who, query, headers, shutdown);
    vec![
        reading("/events", "stream_events", "Everything that happens, as Server-Sent Events", get(streaming))
            .says(
                "Each event has the name of what happened, an id, and as data the fact as JSON with `text`, the sentence that \
                 tells it. Come back with the id of the last one, in the header `Last-Event-ID` or as `after=`: what came \
                 later is sent first. Where that is not possible, the event `reset` comes first: fetch the state anew. \
                 Comments come every 15 s.",
            )
            .asks::<EventsQuery>()
            .streams::<Fact>(),
        reading("/openapi.json", "get_openapi", "This document", described::<P>()).answers::<serde_json::Map<String, serde_json::Value>>(),
    ]
}

fn deeds<P: Port>(ask_bytes_max: usize) -> Vec<Operation<P>> {
    vec![
        reading("/me", "get_me", "Who asks, and what they may", get(caller::me)).answers::<Me>(),
        Operation::asking("/requests", "request", "Ask for a deed", deed::<P>(ask_bytes_max))
            .says(
                "On the control socket, or as an operator of the web configuration. Who asked, and from where, is kept: \
                 `/audit`.",
            )
            .takes::<Ask>()
            .answers::<Reply>(),
    ]
}

/// The document, made when it is first asked for.
fn described<P: Port>() -> MethodRouter<Arc<P>> {
    let made: Arc<OnceLock<Arc<Answer>>> = Arc::default();
    get(async move |asked: present::Asked<present::Nothing>, headers: HeaderMap| -> Result<Response, Problem> {
        let present::Nothing {} = asked?.0;
        let document = || {
            let (_, shutdown) = tokio::sync::watch::channel(false);
            Answer::new(document::of(&operations::<P>(&shutdown, 0)).to_string())
        };
        let answer = made.get_or_init(document).clone();
        Ok(answer.respond(&headers).await)
    })
}

#[cfg(test)]
mod tests;
