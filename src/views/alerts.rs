//! Which alerts hold: made from incidents, conditions and the state of the host. Pure; whoever sends them keeps time.
//!
//! State, not events: what could not be sent holds all the same, and is sent when there is somebody to take it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::alert::{Alert, AlertKey, AlertName, Change, Fleet};
use crate::model::fact::Gate;
use crate::model::settings::AlertSettings;
use crate::model::{Condition, Fact, Health, Incident, Mono, Now, Resolution, Settings, UnitName, What, WorkerName};

#[cfg(test)]
mod tests;
mod words;

/// How long an alert for information holds.
const INFORMATION_HOLDS: Duration = Duration::from_secs(300);
const OF_THE_HOST: [AlertName; 3] = [AlertName::HostUnseen, AlertName::SharedCause, AlertName::ActsNoMore];

/// Bounded by the instances that there are: at most four alerts for each, and two for information.
pub struct AlertBoard {
    settings: AlertSettings,
    /// Workers marked critical.
    critical: BTreeSet<WorkerName>,
    subjects: BTreeMap<UnitName, Subject>,
    /// What is wrong with the host as a whole, since when.
    host: BTreeMap<AlertName, (Now, String)>,
    firing: BTreeMap<AlertKey, Alert>,
    /// Alerts for information, with the end of their time.
    passing: BTreeMap<AlertKey, Mono>,
    /// Information that is to be told.
    news: Vec<Alert>,
    /// Instances that must be judged anew.
    dirty: BTreeSet<UnitName>,
    host_dirty: bool,
    /// When to judge what anew; without a unit: the host.
    due: BTreeSet<(Mono, Option<UnitName>)>,
}

/// What is known of one instance.
struct Subject {
    worker: WorkerName,
    /// The worker that it was of, until its alerts have been told to be over.
    former: Option<WorkerName>,
    health: Health,
    conditions: BTreeMap<Condition, (Now, String)>,
    illness: Option<Illness>,
}

/// An open incident.
struct Illness {
    incident: Box<Incident>,
    /// When it was first critical or dead.
    sick_since: Option<Now>,
    given_up_since: Option<Now>,
}

/// How an instance gives reason to tell somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Complaint {
    GivenUp,
    Asks,
    Failed,
    Warning,
}

impl AlertBoard {
    pub fn new(settings: &Settings) -> Self {
        let mut board = Self {
            settings: settings.alerts.clone(),
            critical: BTreeSet::new(),
            subjects: BTreeMap::new(),
            host: BTreeMap::new(),
            firing: BTreeMap::new(),
            passing: BTreeMap::new(),
            news: Vec::new(),
            dirty: BTreeSet::new(),
            host_dirty: false,
            due: BTreeSet::new(),
        };
        board.configure(settings);
        board
    }

    /// Judges everything anew by other settings.
    pub fn configure(&mut self, settings: &Settings) {
        self.settings = settings.alerts.clone();
        let critical = settings.workers.values().filter(|worker| worker.critical);
        self.critical = critical.map(|worker| worker.name.clone()).collect();
        self.dirty.extend(self.subjects.keys().cloned());
        self.host_dirty = true;
    }

    /// An incident as it now stands.
    pub fn incident(&mut self, incident: &Incident, now: Now) {
        if incident.is_errand() {
            return;
        }
        let subject = self.subject(&incident.unit, &incident.worker);
        if incident.is_open() {
            subject.fall_ill(incident, now);
        } else if subject.illness.take_if(|illness| illness.incident.id == incident.id).is_some() {
            self.recovered(incident);
        }
    }

    pub fn apply(&mut self, fact: &Fact) {
        match &fact.what {
            What::BusLost { .. } => self.host_is(AlertName::HostUnseen, fact),
            What::StormOpened { .. } => self.host_is(AlertName::SharedCause, fact),
            What::WatchOnly { .. } => self.host_is(AlertName::ActsNoMore, fact),
            What::Resynced { .. } => self.host_is_not(AlertName::HostUnseen),
            What::StormClosed { .. } => self.host_is_not(AlertName::SharedCause),
            What::Requested { .. } if self.settings.information => {
                let key =
                    AlertKey { name: AlertName::OperatorActed, worker: fact.worker.clone(), unit: fact.unit.clone() };
                self.news.push(words::without_incident(key, fact.at.wall, super::story::sentence(fact)));
            }
            _ => self.apply_to_unit(fact),
        }
    }

    fn apply_to_unit(&mut self, fact: &Fact) {
        let (Some(unit), Some(worker)) = (&fact.unit, &fact.worker) else { return };
        match &fact.what {
            What::InstanceAppeared { health: to } | What::HealthChanged { to, .. } => {
                self.subject(unit, worker).health = *to;
            }
            // Those who told us of it have told everybody.
            What::ConditionRaised { condition: Condition::External, .. } => {}
            What::ConditionRaised { condition, evidence, .. } => {
                let conditions = &mut self.subject(unit, worker).conditions;
                conditions.insert(*condition, (fact.at, evidence.text.clone()));
            }
            What::ConditionCleared { condition, .. } => {
                self.subject(unit, worker).conditions.remove(condition);
            }
            What::InstanceVanished => {
                let subject = self.subject(unit, worker);
                (subject.health, subject.conditions) = (Health::Unknown, BTreeMap::new());
            }
            _ => {}
        }
    }

    /// The instance, which will be judged anew.
    fn subject(&mut self, unit: &UnitName, worker: &WorkerName) -> &mut Subject {
        self.dirty.insert(unit.clone());
        let subject = self.subjects.entry(unit.clone()).or_insert_with(|| Subject::new(worker));
        if subject.worker != *worker {
            subject.former = Some(std::mem::replace(&mut subject.worker, worker.clone()));
        }
        subject
    }

    fn host_is(&mut self, name: AlertName, fact: &Fact) {
        self.host.entry(name).or_insert_with(|| (fact.at, super::story::sentence(fact)));
        self.host_dirty = true;
    }

    fn host_is_not(&mut self, name: AlertName) {
        self.host_dirty |= self.host.remove(&name).is_some();
    }

    fn recovered(&mut self, incident: &Incident) {
        let ours = matches!(incident.resolution, Some(Resolution::Recovered | Resolution::Escalated));
        if self.settings.information && ours {
            let (worker, unit) = (Some(incident.worker.clone()), Some(incident.unit.clone()));
            let key = AlertKey { name: AlertName::WorkerRecovered, worker, unit };
            let at = incident.closed_wall.unwrap_or(incident.opened_wall);
            let message = words::recovered(incident);
            self.news.push(words::with_incident(words::without_incident(key, at, message), incident));
        }
    }

    /// What is to be told now. `fleet` counts the workers as they are now.
    pub fn poll(&mut self, now: Now, fleet: impl FnOnce() -> Fleet) -> Vec<Change> {
        while let Some((at, _)) = self.due.first()
            && *at <= now.mono
        {
            match self.due.pop_first() {
                Some((_, Some(unit))) => drop(self.dirty.insert(unit)),
                _ => self.host_dirty = true,
            }
        }
        if self.dirty.is_empty() && !self.host_dirty && self.news.is_empty() {
            return Vec::new();
        }
        let mut turn = Turn { now, fleet: fleet(), changes: Vec::new() };
        for unit in std::mem::take(&mut self.dirty) {
            self.judge_unit(&unit, &mut turn);
        }
        if std::mem::take(&mut self.host_dirty) {
            self.judge_host(&mut turn);
        }
        for alert in std::mem::take(&mut self.news) {
            let ends = now.mono + INFORMATION_HOLDS;
            self.passing.insert(alert.key.clone(), ends);
            self.due.insert((ends, None));
            let alert = Alert { fleet: turn.fleet, until: Some(now.wall_of(ends)), ..alert };
            self.firing.insert(alert.key.clone(), alert.clone());
            turn.changes.push(Change::Fired(alert));
        }
        turn.changes
    }

    /// When [`AlertBoard::poll`] has something to say by time alone.
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.due.first().map(|(at, _)| *at)
    }

    /// What holds now, most severe first.
    pub fn firing(&self) -> Vec<Alert> {
        let mut firing: Vec<Alert> = self.firing.values().cloned().collect();
        firing.sort_by_key(|alert| (alert.severity, alert.since));
        firing
    }

    fn judge_unit(&mut self, unit: &UnitName, turn: &mut Turn) {
        let Some(subject) = self.subjects.get_mut(unit) else { return };
        let former = subject.former.take();
        let failed = match self.critical.contains(&subject.worker) {
            true => AlertName::CriticalWorkerFailed,
            false => AlertName::WorkerFailed,
        };
        let name_of = |complaint| match complaint {
            Complaint::GivenUp => AlertName::RecoveryGivenUp,
            Complaint::Asks => AlertName::ApprovalWaiting,
            Complaint::Failed => failed,
            Complaint::Warning => AlertName::WorkerWarning,
        };
        let key = |name| AlertKey { name, worker: Some(subject.worker.clone()), unit: Some(unit.clone()) };
        let fires = |complaint| self.firing.contains_key(&key(name_of(complaint)));
        let (complaints, due) = subject.judge(self.settings.alert_after, turn.now.mono, fires);
        let mut wanted: BTreeMap<AlertName, Alert> = BTreeMap::new();
        for (complaint, since) in complaints {
            let name = name_of(complaint);
            let alert = match subject.incident() {
                Some(incident) => words::of_incident(key(name), since.wall, incident, complaint),
                None => words::of_conditions(key(name), since.wall, &subject.conditions, complaint),
            };
            wanted.insert(name, alert);
        }
        let mut keys: Vec<AlertKey> = AlertName::ALL.iter().map(|name| key(*name)).collect();
        if let Some(former) = former {
            let of_former = |name: &AlertName| AlertKey { worker: Some(former.clone()), ..key(*name) };
            keys.extend(AlertName::ALL.iter().map(of_former));
        }
        if subject.is_idle() {
            self.subjects.remove(unit);
        }
        self.due.extend(due.map(|at| (at, Some(unit.clone()))));
        for key in keys {
            let alert = wanted.remove(&key.name);
            self.settle(key, alert, turn);
        }
    }

    fn judge_host(&mut self, turn: &mut Turn) {
        for name in OF_THE_HOST {
            let mut wanted = None;
            if let Some((since, message)) = self.host.get(&name) {
                // That we do nothing any more does not heal by itself.
                let wait = if name == AlertName::ActsNoMore { Duration::ZERO } else { self.settings.alert_after };
                let at = since.mono + wait;
                let key = AlertKey { name, worker: None, unit: None };
                match at <= turn.now.mono {
                    true => wanted = Some(words::without_incident(key, since.wall, message.clone())),
                    false => drop(self.due.insert((at, None))),
                }
            }
            self.settle(AlertKey { name, worker: None, unit: None }, wanted, turn);
        }
        let over = |(key, ends): (&AlertKey, &Mono)| (*ends <= turn.now.mono).then(|| key.clone());
        let over: Vec<AlertKey> = self.passing.iter().filter_map(over).collect();
        for key in over {
            self.passing.remove(&key);
            self.settle(key, None, turn);
        }
    }

    /// Brings one alert from what it is to what it should be.
    fn settle(&mut self, key: AlertKey, wanted: Option<Alert>, turn: &mut Turn) {
        if self.passing.contains_key(&key) {
            return;
        }
        match (self.firing.remove(&key), wanted) {
            (None, None) => {}
            (None, Some(alert)) => {
                let alert = Alert { fleet: turn.fleet, ..alert };
                self.firing.insert(key, alert.clone());
                turn.changes.push(Change::Fired(alert));
            }
            (Some(old), Some(alert)) => {
                // It began when it began, and other counts of workers alone are no news.
                let alert = Alert { fleet: old.fleet, since: old.since, ..alert };
                let changed = old != alert;
                let fleet = if changed { turn.fleet } else { old.fleet };
                let alert = Alert { fleet, ..alert };
                self.firing.insert(key, alert.clone());
                if changed {
                    turn.changes.push(Change::Reworded(alert));
                }
            }
            (Some(old), None) => {
                turn.changes.push(Change::Resolved(Alert { until: Some(turn.now.wall), ..old }));
            }
        }
    }
}

/// One call of [`AlertBoard::poll`].
struct Turn {
    now: Now,
    fleet: Fleet,
    changes: Vec<Change>,
}

impl Subject {
    fn new(worker: &WorkerName) -> Self {
        Self {
            worker: worker.clone(),
            former: None,
            health: Health::Unknown,
            conditions: BTreeMap::new(),
            illness: None,
        }
    }

    /// There is nothing to remember: what it is worth comes with the next fact.
    fn is_idle(&self) -> bool {
        self.illness.is_none() && self.conditions.is_empty() && !self.health.is_sick()
    }

    fn incident(&self) -> Option<&Incident> {
        self.illness.as_ref().map(|illness| &*illness.incident)
    }

    fn fall_ill(&mut self, incident: &Incident, now: Now) {
        let known = self.illness.take().filter(|illness| illness.incident.id == incident.id);
        let opened = Now { mono: incident.opened_at.min(now.mono), wall: incident.opened_wall };
        // What we hear of for the first time has been so since it was opened.
        let since = if known.is_some() { now } else { opened };
        let (sick_since, given_up_since) = known.map(|it| (it.sick_since, it.given_up_since)).unwrap_or_default();
        self.illness = Some(Illness {
            incident: Box::new(incident.clone()),
            sick_since: sick_since.or_else(|| incident.worst.is_sick().then_some(since)),
            given_up_since: given_up_since.or_else(|| incident.given_up.then_some(since)),
        });
    }

    /// What there is to complain of, and when to look again. What has fired holds until it is over.
    fn judge(
        &self,
        alert_after: Duration,
        now: Mono,
        fires: impl Fn(Complaint) -> bool,
    ) -> (Vec<(Complaint, Now)>, Option<Mono>) {
        let mut found = Vec::new();
        let mut due = None;
        // An instance that is well again is being proven: whatever has not fired has healed itself.
        let mut lasts = |complaint, since: Now, is_well: bool| {
            let at = since.mono + alert_after;
            let holds = fires(complaint) || (at <= now && !is_well);
            if !holds && at > now {
                due = Some(due.map_or(at, |other: Mono| other.min(at)));
            }
            holds
        };
        match &self.illness {
            Some(illness) if illness.is_in_maintenance() => {}
            Some(illness) => {
                let is_well = self.health == Health::Healthy;
                let opened = Now { mono: illness.incident.opened_at.min(now), wall: illness.incident.opened_wall };
                found.extend(illness.given_up_since.map(|since| (Complaint::GivenUp, since)));
                // At once: the time for an answer runs.
                found.extend(illness.asks_since().map(|since| (Complaint::Asks, since)));
                if illness.incident.conditions.keys().all(|condition| *condition == Condition::External) {
                    return (found, None);
                }
                match illness.sick_since.filter(|since| lasts(Complaint::Failed, *since, is_well)) {
                    Some(since) => found.push((Complaint::Failed, since)),
                    // Below it, the warning that it began with.
                    None if !illness.began_sick() && lasts(Complaint::Warning, opened, is_well) => {
                        found.push((Complaint::Warning, opened));
                    }
                    None => {}
                }
            }
            None => {
                let sick = self.conditions.iter().filter(|(condition, _)| condition.health().is_sick());
                let sick = sick.map(|(_, (since, _))| *since).min_by_key(|since| since.mono);
                let any = self.conditions.values().map(|(since, _)| *since).min_by_key(|since| since.mono);
                match (sick.filter(|since| lasts(Complaint::Failed, *since, false)), any) {
                    (Some(since), _) => found.push((Complaint::Failed, since)),
                    (None, Some(since)) if sick.is_none() && lasts(Complaint::Warning, since, false) => {
                        found.push((Complaint::Warning, since));
                    }
                    _ => {}
                }
            }
        }
        (found, due)
    }
}

impl Illness {
    /// An operator has paused the worker and knows.
    fn is_in_maintenance(&self) -> bool {
        self.incident.waiting.as_ref().is_some_and(|refusal| refusal.gate == Gate::Maintenance)
    }

    fn asks_since(&self) -> Option<Now> {
        let asked = self.incident.approval.as_ref().filter(|asked| asked.approved_by.is_none())?;
        Some(Now { mono: asked.asked_at, wall: asked.asked_wall })
    }

    fn began_sick(&self) -> bool {
        self.sick_since.is_some_and(|since| since.mono <= self.incident.opened_at)
    }
}
