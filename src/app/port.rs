//! What the HTTP server asks, answered by the event loop, the store and the metrics board.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};

use hyper::body::Bytes;
use tokio::sync::broadcast;

use crate::adapters::http::{Denial, Endpoint, Port, PortError};
use crate::adapters::store::StoreError;
use crate::adapters::{clock, host};
use crate::model::advice::Advice;
use crate::model::alert::Alerts;
use crate::model::history::{Filter, Recovery, Story, Summary};
use crate::model::pattern::{PATTERNS_MAX, PatternFilter, PatternsView};
use crate::model::request::{Ask, Reply, Target};
use crate::model::settings::WebhookSettings;
use crate::model::signal::ExternalAlert;
use crate::model::status::{Explanation, Status};
use crate::model::strategy::{EXPORT_FORMAT, Export, Provenance, Strategy};
use crate::model::{Fact, Incident, IncidentId, Wall, WorkerName};
use crate::views::metrics::{Process, families};

use super::{Counted, Query, Shared, advice};

/// Beginning of history, for totals without a start.
const ALWAYS: Wall = Wall(0);

impl Shared {
    pub(crate) async fn request(&self, who: String, ask: Ask) -> Result<Reply, PortError> {
        let old = match &ask {
            Ask::MarkFalse { incident } => Some(*incident),
            _ => None,
        };
        let reply = self.ask(|reply| Query::Request { who, ask, reply }).await?;
        match (reply, old) {
            // The engine keeps lately closed incidents only; the history knows the older ones.
            (Reply::Unknown { .. }, Some(id)) if self.store.mark_false(id).await.map_err(no_history)? => {
                Ok(Reply::Done { text: format!("incident {id} is marked as a false alarm") })
            }
            (reply, _) => Ok(reply),
        }
    }
}

impl Port for Shared {
    fn metrics(&self, exemplars: bool) -> Bytes {
        let now = clock::now();
        let store = self.store.stats();
        self.own.store_totals(store.errors, store.last_write_wall);
        self.own.state_disk(self.disk.present());
        let (calls, signals) = (self.families.calls(), self.families.signals());
        self.own.dbus_totals(self.bus.calls() + self.authority.calls() + calls, self.bus.signals() + signals);
        let Counted { beats, brokers, lines } = &self.counted;
        self.own.pattern_totals(&self.patterns.counted().totals(lines.left_out()));
        self.own.broker_totals(brokers.connects.load(Relaxed), brokers.connect_failures.load(Relaxed));
        self.own.heartbeats_total("counted", beats.beats());
        self.own.heartbeats_total("other", beats.other());
        beats.refused().for_each(|(why, count)| self.own.heartbeats_total(why.as_str(), count));
        let process = Process::read();
        let deliveries = self.alertmanagers.deliveries();
        let mut text = {
            let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
            board.deliveries(deliveries);
            board.render(now, &process, exemplars)
        };
        if let Some(reading) = self.families.read() {
            text.push_str(&families::render(&reading));
        }
        text.into()
    }

    fn ready(&self) -> Result<(), String> {
        self.readiness.borrow().clone()
    }

    async fn status(&self) -> Result<Status, PortError> {
        self.present().await
    }

    async fn explain(&self, target: Target) -> Result<Vec<Explanation>, PortError> {
        let text = match &target {
            Target::Worker(name) => format!("there is no worker {name}; `unitmedic status` lists them"),
            Target::Unit(unit) => format!("{unit} is not a unit of any worker; `unitmedic status` lists them"),
        };
        let explanations = self.ask(|reply| Query::Explain(target, reply)).await?;
        if explanations.is_empty() { Err(PortError::NotFound(text)) } else { Ok(explanations) }
    }

    async fn incidents(&self, filter: Filter) -> Result<Vec<Incident>, PortError> {
        self.store.incidents(filter).await.map_err(no_history)
    }

    async fn alerts(&self, filter: Filter) -> Result<Alerts, PortError> {
        let firing = self.ask(Query::Alerts).await?;
        let history = self.store.alerts(filter).await.map_err(no_history)?;
        Ok(Alerts { firing, alertmanagers: self.alertmanagers.deliveries(), history })
    }

    async fn story(&self, id: IncidentId) -> Result<Story, PortError> {
        let story = self.store.story(id).await.map_err(no_history)?;
        story.ok_or_else(|| PortError::NotFound(format!("there is no incident {id} in the history")))
    }

    async fn recoveries(&self, filter: Filter) -> Result<Vec<Recovery>, PortError> {
        self.store.recoveries(filter).await.map_err(no_history)
    }

    async fn summary(&self, since: Option<Wall>, worker: Option<WorkerName>) -> Result<Summary, PortError> {
        self.store.summary(since.unwrap_or(ALWAYS), worker).await.map_err(no_history)
    }

    async fn strategies(&self, worker: Option<WorkerName>) -> Result<Vec<Strategy>, PortError> {
        let mut strategies = self.ask(|reply| Query::Strategies(worker, reply)).await?;
        let named = strategies.iter_mut().filter(|strategy| strategy.case.pattern.is_some());
        let mut named: Vec<_> = named.collect();
        if !named.is_empty() {
            let filter = PatternFilter { limit: Some(PATTERNS_MAX), ..PatternFilter::default() };
            // Without them the strategies are worth showing as well.
            let known = self.patterns.view(filter).await.unwrap_or_default().patterns;
            for strategy in &mut named {
                let pattern = known.iter().find(|pattern| Some(pattern.id) == strategy.case.pattern);
                strategy.template = pattern.map(|pattern| pattern.template.clone());
            }
        }
        Ok(strategies)
    }

    async fn export_strategies(&self, worker: Option<WorkerName>) -> Result<Export, PortError> {
        let known = self.ask(|reply| Query::ExportStrategies(worker, reply)).await?;
        let from =
            Provenance { host: host::name(), exported: clock::now().wall, version: env!("CARGO_PKG_VERSION").into() };
        Ok(Export { format: EXPORT_FORMAT.into(), from, known })
    }

    async fn patterns(&self, filter: PatternFilter) -> Result<PatternsView, PortError> {
        let id = filter.id;
        let mut view = self.patterns.view(filter).await?;
        if let (Some(id), true) = (id, view.patterns.is_empty()) {
            let text = format!("no pattern {id} is known; `unitmedic patterns` lists those that are");
            return Err(PortError::NotFound(text));
        }
        view.lines_left_out += self.counted.lines.left_out();
        Ok(view)
    }

    async fn advice(&self, since: Option<Wall>, worker: Option<WorkerName>) -> Result<Advice, PortError> {
        advice::advice(self, since, worker).await
    }

    async fn request(&self, who: String, ask: Ask) -> Result<Reply, PortError> {
        Shared::request(self, who, ask).await
    }

    fn webhook(&self) -> WebhookSettings {
        self.in_force.borrow().webhook.clone()
    }

    async fn external(&self, alerts: Vec<ExternalAlert>) -> Result<(), PortError> {
        self.ask(|reply| Query::External(alerts, reply)).await
    }

    fn events(&self) -> broadcast::Receiver<Arc<Fact>> {
        self.facts.subscribe()
    }

    fn answered(&self, endpoint: Endpoint, status: u16) {
        self.own.http_answered(endpoint.as_str(), status);
    }

    fn denied(&self, why: Denial) {
        self.own.http_denied(why.as_str());
    }
}

pub(super) fn no_history(error: StoreError) -> PortError {
    match error {
        StoreError::Busy => PortError::Busy,
        other => PortError::Unavailable(other.to_string()),
    }
}
