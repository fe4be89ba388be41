//! What operators ask for: pauses, recoveries, marking false alarms, new settings.

use crate::model::action::HookName;
use crate::model::incident::Origin;
use crate::model::input::Pause;
use crate::model::request::{Ask, Reply, Request, Target};
use crate::model::{Action, Command, Evidence, IncidentId, Resolution, Settings, UnitName, Wall, What, WorkerName};

use super::Engine;
use super::timers::TimerKey;
use super::worker::Rolling;

/// The longest pause that has an end, microseconds.
const PAUSE_MAX_US: i64 = 10 * 366 * 86_400 * 1_000_000;

impl Engine {
    pub(super) fn request(&mut self, request: Request) {
        let Request { id, who, ask } = request;
        let reply = match ask {
            Ask::Pause { worker, until, reason } => self.pause(worker, until, who, reason),
            Ask::Resume { worker } => self.resume(worker, &who),
            Ask::Recover { target, action, force } => self.recover(target, action, force, who),
            Ask::MarkFalse { incident } => self.mark_false(incident, who),
            Ask::Approve { incident, action, asked } => self.approve(incident, action, asked, who),
            Ask::Reject { incident, action, reason, asked } => self.reject(incident, action, asked, who, reason),
            // The files are read outside, and come in as an input of their own.
            Ask::Reload => Reply::Unknown { text: "the engine reads no files".into() },
            Ask::ImportStrategies { export } => self.import_strategies(export, who),
            Ask::ForgetStrategies { worker } => self.forget_strategies(worker, who),
        };
        self.desk.command(Command::Reply { id, reply });
    }

    fn pause(&mut self, worker: Option<WorkerName>, until: Option<Wall>, who: String, reason: String) -> Reply {
        if let Some(text) = worker.as_ref().and_then(|name| self.unknown_worker(name)) {
            return Reply::Unknown { text };
        }
        let now = self.desk.now.wall;
        if until.is_some_and(|until| until <= now) {
            return Reply::Unknown { text: "the end of the pause is not in the future".into() };
        }
        if until.is_some_and(|until| until.0 - now.0 > PAUSE_MAX_US) {
            let text = "a pause of more than ten years is one without an end: leave the end away";
            return Reply::Unknown { text: text.into() };
        }
        self.pauses.retain(|pause| pause.worker != worker);
        let what = What::Paused { until, who: who.clone(), reason: reason.clone() };
        self.tell_of(worker.as_ref(), what);
        let text = match &worker {
            Some(name) => format!("{name} is paused: it is watched and judged, nothing is done to it"),
            None => "all workers are paused: they are watched and judged, nothing is done to them".into(),
        };
        self.pauses.push(Pause { worker, until, since: now, who, reason });
        self.pauses_changed();
        Reply::Done { text }
    }

    fn resume(&mut self, worker: Option<WorkerName>, who: &str) -> Reply {
        if let Some(text) = worker.as_ref().and_then(|name| self.unknown_worker(name)) {
            return Reply::Unknown { text };
        }
        let before = self.pauses.len();
        match &worker {
            // Resuming everything lifts the pauses of single workers, too.
            None => self.pauses.clear(),
            Some(_) => self.pauses.retain(|pause| pause.worker != worker),
        }
        if self.pauses.len() == before {
            let all = self.pauses.iter().any(|pause| pause.worker.is_none());
            let hint = if all { "; everything is paused: resume --all lifts that" } else { "" };
            return Reply::Done { text: format!("it was not paused{hint}") };
        }
        self.tell_of(worker.as_ref(), What::Resumed { who: who.to_string() });
        self.pauses_changed();
        let left = self.pauses.iter().any(|pause| pause.worker.is_none());
        let hint = if left { ", but everything is still paused: resume --all lifts that" } else { "" };
        Reply::Done { text: format!("resumed{hint}") }
    }

    fn tell_of(&mut self, worker: Option<&WorkerName>, what: What) {
        match worker {
            Some(name) => self.desk.tell_worker(name, what),
            None => self.desk.tell(what),
        }
    }

    fn pauses_changed(&mut self) {
        self.desk.safety_changed = true;
        self.changed.extend(self.workers.keys().cloned());
        self.set_pause_timer();
        self.reassess_open();
    }

    /// Lifts the pauses whose time is over.
    pub(super) fn end_pauses(&mut self) {
        let now = self.desk.now.wall;
        if !self.pauses.iter().any(|pause| pause.until.is_some_and(|until| until <= now)) {
            return;
        }
        let (over, going): (Vec<Pause>, Vec<Pause>) =
            self.pauses.drain(..).partition(|pause| pause.until.is_some_and(|until| until <= now));
        self.pauses = going;
        for pause in over {
            self.tell_of(pause.worker.as_ref(), What::Resumed { who: "its end time".into() });
        }
        self.pauses_changed();
    }

    /// Pauses end by wall time, since that is what the operator gave; the timer is set anew on every change.
    pub(super) fn set_pause_timer(&mut self) {
        let now = self.desk.now;
        let next = self.pauses.iter().filter_map(|pause| pause.until).min();
        let at = next.map(|until| now.mono + std::time::Duration::from_micros((until.0 - now.wall.0).max(0) as u64));
        self.timers.set(TimerKey::PauseEnds, at);
    }

    fn unknown_worker(&self, name: &WorkerName) -> Option<String> {
        (!self.settings.workers.contains_key(name)).then(|| {
            let known: Vec<&str> = self.settings.workers.keys().map(WorkerName::as_str).collect();
            format!("there is no worker {name}; there are: {}", known.join(", "))
        })
    }

    /// The worker of the target has no such hook.
    fn lacks_hook(&self, target: &Target, name: HookName) -> Option<String> {
        let worker = match target {
            Target::Worker(worker) => self.settings.workers.get(worker),
            Target::Unit(unit) => self.settings.worker_of(unit.as_str()),
        }?;
        let known: Vec<&str> = worker.hooks.keys().map(HookName::as_str).collect();
        let known = if known.is_empty() { "it has none".into() } else { format!("there are: {}", known.join(", ")) };
        let text = format!("worker {} has no hook {name}; {known}", worker.name);
        (!worker.hooks.contains_key(&name)).then_some(text)
    }

    fn recover(&mut self, target: Target, action: Action, force: bool, who: String) -> Reply {
        let units = match self.targets_of(&target, action) {
            Ok(units) => units,
            Err(text) => return Reply::Unknown { text },
        };
        if let Target::Worker(name) = &target {
            self.desk.tell_worker(name, What::Requested { who: who.clone(), action, force });
        }
        let mut rolling: Vec<Rolling> =
            units.into_iter().map(|unit| Rolling { unit, action, force, who: who.clone() }).collect();
        let first = rolling.remove(0);
        if let (Target::Worker(name), Action::ScaleUp) = (&target, action) {
            self.make_spare(&first.unit, name);
        }
        let worker = self.instances[&first.unit].worker.clone();
        if let Target::Unit(unit) = &target {
            self.desk.tell_unit(&worker, unit, None, What::Requested { who, action, force });
        }
        match self.begin_requested(&first) {
            Ok(id) => {
                let waiting = rolling.iter().map(|next| next.unit.clone()).collect();
                let sum = self.workers.entry(worker).or_default();
                sum.rolling = rolling.into();
                sum.rolled = Some(id);
                Reply::Accepted { incidents: vec![id], waiting }
            }
            Err(reply) => reply,
        }
    }

    /// What an action that is asked for is done to, in order.
    pub(super) fn targets_of(&self, target: &Target, action: Action) -> Result<Vec<UnitName>, String> {
        match action {
            Action::Escalate => Err("escalate is not an action that can be asked for".into()),
            Action::Hook(name) => self.lacks_hook(target, name).map_or_else(|| self.targets(target), Err),
            Action::ScaleUp | Action::ScaleDown => self.scale_targets(target, action == Action::ScaleUp),
            _ => self.targets(target),
        }
    }

    /// The one instance that is started or stopped.
    fn scale_targets(&self, target: &Target, up: bool) -> Result<Vec<UnitName>, String> {
        let name = match target {
            Target::Worker(name) => name.clone(),
            Target::Unit(unit) => {
                self.targets(target)?;
                self.instances[unit].worker.clone()
            }
        };
        if let Some(unknown) = self.unknown_worker(&name) {
            return Err(unknown);
        }
        if let Target::Unit(unit) = target {
            return match up {
                true if self.instances[unit].is_spare() => Ok(vec![unit.clone()]),
                false if self.owned.contains_key(unit) => Ok(vec![unit.clone()]),
                true => Err(format!("{unit} is not a spare instance; name the worker: {name}")),
                false => Err(format!("{unit} was not started by unitmedic, so it is not stopped; use systemctl stop")),
            };
        }
        self.scale_target(&name, up).map(|unit| vec![unit])
    }

    fn targets(&self, target: &Target) -> Result<Vec<UnitName>, String> {
        match target {
            Target::Unit(unit) if self.instances.contains_key(unit) => Ok(vec![unit.clone()]),
            Target::Unit(unit) => Err(format!("{unit} is not a unit of any worker; `unitmedic status` lists them")),
            Target::Worker(name) => {
                if let Some(unknown) = self.unknown_worker(name) {
                    return Err(unknown);
                }
                let all = self.instances.values().filter(|instance| instance.worker == *name);
                let units: Vec<UnitName> =
                    all.filter(|instance| instance.should_run()).map(|instance| instance.unit.clone()).collect();
                match units.is_empty() {
                    true => Err(format!("worker {name} has no instance that should run")),
                    false => Ok(units),
                }
            }
        }
    }

    /// Starts what an operator asked for on one unit, if the gates let it.
    fn begin_requested(&mut self, wanted: &Rolling) -> Result<IncidentId, Reply> {
        let Rolling { unit, action, force, who } = wanted;
        let Some(instance) = self.instances.get(unit) else {
            return Err(Reply::Unknown { text: format!("{unit} is not watched any more") });
        };
        let running = instance.incident.filter(|id| {
            self.incidents.get(id).is_some_and(|i| i.last_attempt().is_some_and(|attempt| attempt.is_running()))
        });
        if let Some(id) = running {
            return Err(Reply::Unknown { text: format!("{unit} is being recovered already, see incident {id}") });
        }
        let open = instance.incident;
        if let Some(refusal) = self.refusal_of_request(instance, *action, *force) {
            return Err(Reply::Refused { unit: unit.clone(), refusal });
        }
        if let Some(id) = open {
            // The open incident's matter is taken in hand by the operator.
            self.close_as_superseded(id, &format!("{who} asked for {action}"));
            self.closed.remove(unit);
        }
        if *force && !self.instances[unit].should_run() && !self.instances[unit].is_spare() {
            self.stand(unit, super::instance::Standing::ShouldRun);
        }
        let origin = Origin::Operator { who: who.clone(), action: *action, force: *force };
        let id = self.open(unit, origin, Evidence::text(format!("{who} asked for {action}")));
        self.start_requested(id, *action);
        Ok(id)
    }

    /// Goes on with the next unit of a worker-wide request when the incident that carries it has ended.
    pub(super) fn roll_on(&mut self, worker: &WorkerName, ended: IncidentId, resolution: Resolution) {
        let Some(sum) = self.workers.get_mut(worker).filter(|sum| sum.rolled == Some(ended)) else { return };
        sum.rolled = None;
        let mut rest = std::mem::take(&mut sum.rolling);
        if matches!(resolution, Resolution::Operator | Resolution::FalseAlarm) {
            // It did not come back well, or somebody else took it in hand: the rest is left as it is.
            return;
        }
        while let Some(next) = rest.pop_front() {
            if !self.instances.get(&next.unit).is_some_and(|instance| instance.should_run()) {
                // Stopped since the request was made.
                continue;
            }
            match self.begin_requested(&next) {
                Ok(id) => {
                    let sum = self.workers.entry(worker.clone()).or_default();
                    sum.rolling = rest;
                    sum.rolled = Some(id);
                }
                Err(Reply::Refused { unit, refusal }) => {
                    let what = What::ActionSuppressed { action: next.action, refusal };
                    self.desk.tell_unit(worker, &unit, None, what);
                }
                Err(_) => {}
            }
            return;
        }
    }

    fn mark_false(&mut self, id: IncidentId, who: String) -> Reply {
        let closed = self.closed.values_mut().find(|incident| incident.id == id);
        if let Some(incident) = self.incidents.get(&id) {
            let (worker, unit) = (incident.worker.clone(), incident.unit.clone());
            self.desk.tell_unit(&worker, &unit, Some(id), What::MarkedFalse { who: who.clone() });
            self.end_attempt(id, crate::model::Outcome::Superseded, &format!("{who} marked it as a false alarm"), None);
            self.close(id, Resolution::FalseAlarm, None);
            return Reply::Done { text: format!("incident {id} is closed as a false alarm") };
        }
        if let Some(incident) = closed {
            incident.resolution = Some(Resolution::FalseAlarm);
            let (worker, unit, record) = (incident.worker.clone(), incident.unit.clone(), incident.clone());
            self.desk.tell_unit(&worker, &unit, Some(id), What::MarkedFalse { who });
            self.desk.command(Command::Save(Box::new(record)));
            return Reply::Done { text: format!("incident {id} is marked as a false alarm") };
        }
        Reply::Unknown { text: format!("incident {id} is neither open nor lately closed") }
    }

    pub(super) fn reload(&mut self, settings: Settings, by: Option<String>) {
        let workers = settings.workers.len();
        self.settings = settings;
        for unit in self.unit_names() {
            let owner = self.settings.worker_of(unit.as_str()).map(|worker| worker.name.clone());
            if owner.as_ref() != Some(&self.instances[&unit].worker) {
                self.vanish(&unit);
            }
        }
        let gone: Vec<WorkerName> =
            self.workers.keys().filter(|name| !self.settings.workers.contains_key(*name)).cloned().collect();
        for name in gone {
            self.workers.remove(&name);
        }
        self.changed.extend(self.workers.keys().cloned());
        self.desk.tell(What::SettingsChanged { workers, by });
        // What the new settings expect is judged by the snapshot that follows a change of settings: before it,
        // a unit that nobody watched yet would pass for one that does not run.
        self.reassess_all();
    }
}
