//! What the HTTP server asks, answered by the event loop, the store and the metrics board.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;

use crate::adapters::http::{Answers, Denial, Endpoint, Feed, Port, PortError, Snapshot};
use crate::adapters::store::StoreError;
use crate::adapters::{clock, host};
use crate::model::advice::Advice;
use crate::model::alert::Alerts;
use crate::model::approval::Card;
use crate::model::history::{AuditEntry, AuditFilter, Filter, Recovery, Story, Summary, Sums, Told};
use crate::model::overview::{Preview, Series, Targets};
use crate::model::pattern::{PATTERNS_MAX, PatternFilter, PatternsView};
use crate::model::request::{Ask, Reply, Target};
use crate::model::settings::WebhookSettings;
use crate::model::signal::ExternalAlert;
use crate::model::status::{Explanation, SettingsTable};
use crate::model::strategy::{EXPORT_FORMAT, Export, Provenance, Strategy};
use crate::model::{Action, Cause, Fact, Incident, IncidentId, UnitName, Wall, What, WorkerName};
use crate::views::metrics::{Process, families};
use crate::views::story::{count, sentence};

use super::{Counted, Query, Shared, advice};

/// What the targets are held against.
const WINDOW: Duration = Duration::from_secs(30 * 86_400);
/// Beginning of history, for totals without a start.
const ALWAYS: Wall = Wall(0);

impl Shared {
    pub(crate) async fn request(&self, who: String, ask: Ask) -> Result<Reply, PortError> {
        ask.check().map_err(PortError::Invalid)?;
        if ask == Ask::Reload {
            return self.reload(who).await;
        }
        let old = match &ask {
            Ask::MarkFalse { incident } => Some(*incident),
            _ => None,
        };
        let reply = self.ask(|reply| Query::Request { who: who.clone(), ask, reply }).await?;
        match (reply, old) {
            // The engine keeps lately closed incidents only; the history knows the older ones.
            (Reply::Unknown { .. }, Some(id)) if self.mark_old(id, who).await.map_err(no_history)? => {
                Ok(Reply::Done { text: format!("incident {id} is marked as a false alarm") })
            }
            (reply, _) => Ok(reply),
        }
    }

    /// `false`: there is no such incident. The engine tells nothing of it, so what was done is written down here.
    async fn mark_old(&self, id: IncidentId, who: String) -> Result<bool, StoreError> {
        let Some(Story { incident, .. }) = self.store.story(id).await? else { return Ok(false) };
        if !self.store.mark_false(id).await? {
            return Ok(false);
        }
        self.store.tell(Fact {
            seq: 0,
            at: clock::now(),
            cause: Cause::Input(0),
            worker: Some(incident.worker),
            unit: Some(incident.unit),
            incident: Some(id),
            what: What::MarkedFalse { who },
        });
        Ok(true)
    }

    /// A bad file leaves the settings in force as they are.
    async fn reload(&self, who: String) -> Result<Reply, PortError> {
        let Some(load) = self.reload.clone() else {
            let text = "this daemon has its settings from a program, which alone can change them";
            return Ok(Reply::Unknown { text: text.into() });
        };
        let loaded = tokio::task::spawn_blocking(move || load()).await;
        let settings = match loaded.unwrap_or_else(|error| Err(format!("reading it failed: {error}"))) {
            Ok(settings) => settings,
            Err(problems) => {
                let text = format!("the configuration has errors; the one in force stays in force: {problems}");
                return Ok(Reply::Unknown { text });
            }
        };
        let workers = settings.workers.len();
        self.ask(|reply| Query::Reload(Box::new(settings), Some(who), reply)).await?;
        Ok(Reply::Done { text: format!("the new configuration is in force: {}", count(workers, "worker")) })
    }

    /// The sentences, and, of one that is open, why it is as it is.
    async fn told(&self, id: IncidentId) -> Result<Told, PortError> {
        let story = self.store.story(id).await.map_err(no_history)?;
        let story = story.ok_or_else(|| {
            PortError::NotFound(format!(
                "there is no incident {id} in the history; /api/v1/incidents lists those that are"
            ))
        })?;
        let told = story.facts.iter().map(sentence).collect();
        let explanation = match story.incident.is_open() {
            true => {
                let target = Target::Unit(story.incident.unit.clone());
                let explained = self.ask(|reply| Query::Explain(target, reply)).await?;
                // It may have been closed, and another opened, meanwhile.
                explained.into_iter().find(|one| one.incident.as_ref().is_some_and(|open| open.id == id))
            }
            false => None,
        };
        let waits = story.incident.is_open() && story.incident.approval.is_some();
        let cards = if waits { self.ask(Query::Approvals).await? } else { Vec::new() };
        let approval = cards.into_iter().find(|card| card.incident == id);
        Ok(Told { story, told, explanation, approval })
    }

    async fn against_targets(&self) -> Result<Targets, PortError> {
        let workers = self.in_force.borrow().workers.keys().cloned().collect();
        let since = Wall(clock::now().wall.0 - WINDOW.as_micros() as i64);
        let sums = self.store.sums(workers, since).await.map_err(no_history)?;
        let mut all = Sums::default();
        sums.values().for_each(|sums| all.add(sums));
        Ok(Targets {
            since,
            window: WINDOW,
            availability_min: 0.99,
            time_to_recover_max: Duration::from_secs(30),
            recovery_success_min: 0.9,
            false_alarms_max: 0.05,
            all: all.ratios(),
            workers: sums.into_iter().map(|(worker, sums)| (worker, sums.ratios())).collect(),
        })
    }
}

fn entry((id, fact): (u64, Fact)) -> AuditEntry {
    let text = sentence(&fact);
    let event = fact.what.name().into();
    let who = fact.what.who().map(ToOwned::to_owned);
    AuditEntry { id, at: fact.at.wall, who, worker: fact.worker, unit: fact.unit, incident: fact.incident, event, text }
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

    async fn snapshot(&self) -> Result<Arc<Snapshot>, PortError> {
        Shared::snapshot(self).await
    }

    fn turn(&self) -> Option<u64> {
        self.reading.snapshots.settled()
    }

    fn moved(&self) -> u64 {
        self.store.moved()
    }

    fn answers(&self) -> &Answers {
        &self.reading.answers
    }

    async fn series(&self, unit: UnitName) -> Result<Series, PortError> {
        let snapshot = Shared::snapshot(self).await?;
        let (worker, instance) = snapshot.instance(&unit).ok_or_else(|| PortError::no_unit(&unit))?;
        let settings = self.in_force.borrow().clone();
        // Put in force since the snapshot was made, without this worker.
        let by = settings.workers.get(&worker.worker).ok_or_else(|| PortError::no_unit(&unit))?;
        Ok(self.reading.series.series(worker, instance, by, snapshot.status.at.wall))
    }

    async fn targets(&self) -> Result<Targets, PortError> {
        self.against_targets().await
    }

    async fn audit(&self, filter: AuditFilter) -> Result<Vec<AuditEntry>, PortError> {
        let deeds = self.store.deeds(filter).await.map_err(no_history)?;
        Ok(deeds.into_iter().map(entry).collect())
    }

    fn configuration(&self) -> Vec<SettingsTable> {
        (self.describe)(&self.in_force.borrow())
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

    async fn story(&self, id: IncidentId) -> Result<Told, PortError> {
        self.told(id).await
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

    async fn approvals(&self) -> Result<Vec<Card>, PortError> {
        self.ask(Query::Approvals).await
    }

    async fn preview(&self, target: Target, action: Action, force: bool) -> Result<Preview, PortError> {
        let preview = self.ask(|reply| Query::Preview { target, action, force, reply }).await?;
        preview.map_err(PortError::NotFound)
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

    fn feed(&self) -> &Arc<Feed> {
        &self.reading.feed
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
