//! Waking up: what is taken over from a former life, and what is written down for the next one.

use std::collections::BTreeMap;

use crate::model::action::Intent;
use crate::model::fact::ResyncReason;
use crate::model::incident::{Origin, Stage};
use crate::model::input::{Checkpoint, Memory, Safety, Snapshot};
use crate::model::unit::ManagerState;
use crate::model::{Attempt, Cause, Incident, IncidentId, Now, Outcome, Resolution, Settings, UnitName, What};

use super::Engine;
use super::desk::Desk;
use super::experience::Experience;
use super::policy::Dice;
use super::timers::{TimerKey, Timers};

impl Engine {
    /// An engine that has seen nothing yet but remembers. `seed` feeds the jitter of pauses.
    pub fn new(now: Now, settings: Settings, memory: Memory, seed: u64) -> Self {
        let same_boot = memory.safety.boot == memory.boot;
        let wanted = if same_boot { memory.safety.wanted.iter().cloned().collect() } else { BTreeMap::new() };
        let owned = memory.safety.owned.iter().filter(|_| same_boot);
        let owned = owned.map(|owned| (owned.unit.clone(), owned.clone())).collect();
        let experience = Experience::restore(memory.strategies.clone(), memory.past.clone(), now.mono);
        let mut desk = Desk::default();
        desk.begin(now, Cause::Start);
        let mut engine = Engine {
            settings,
            boot: memory.boot.clone(),
            workers: BTreeMap::new(),
            instances: BTreeMap::new(),
            incidents: BTreeMap::new(),
            closed: BTreeMap::new(),
            next_incident: memory.next_incident.max(1),
            wanted,
            pauses: memory.safety.pauses.clone(),
            owned,
            host: None,
            sighted: false,
            blind_because: "not connected yet".into(),
            manager: ManagerState::Unknown,
            startup_finished: None,
            held: false,
            storm: false,
            watch_only: memory.watch_only.clone(),
            queue: Default::default(),
            starts_in_flight: 0,
            place_freed: false,
            counts: Default::default(),
            changed: Default::default(),
            former: Default::default(),
            habits_due: Default::default(),
            dice: Dice::new(seed),
            experience,
            timers: Timers::default(),
            desk,
        };
        engine.restore(memory);
        engine
    }

    fn restore(&mut self, memory: Memory) {
        let restored_incidents = memory.incidents.iter().filter(|incident| incident.is_open()).count();
        let version = env!("CARGO_PKG_VERSION").to_string();
        self.desk.tell(What::Started { version, restored_incidents });
        if let Some(why) = memory.watch_only {
            self.desk.tell(What::WatchOnly { why });
        }
        for incident in memory.incidents {
            self.next_incident = self.next_incident.max(incident.id.0 + 1);
            self.take_over(incident);
        }
        for intent in memory.orphans {
            self.next_incident = self.next_incident.max(intent.incident.0 + 1);
            self.adopt(intent);
        }
        self.keep_one_for_each_unit();
        let ids: Vec<IncidentId> = self.incidents.keys().copied().collect();
        for id in ids {
            self.doubt(id);
        }
        for name in self.settings.workers.keys() {
            self.workers.entry(name.clone()).or_default();
            self.changed.insert(name.clone());
        }
        self.set_pause_timer();
        self.desk.safety_changed = true;
        self.refresh_workers();
        self.flush_records();
    }

    fn take_over(&mut self, incident: Incident) {
        let same_boot = incident.boot == self.boot;
        if !incident.is_open() {
            if same_boot {
                self.closed.insert(incident.unit.clone(), incident);
            }
            return;
        }
        let owner = self.settings.worker_of(incident.unit.as_str()).map(|worker| worker.name.clone());
        let known = owner.as_ref() == Some(&incident.worker);
        let id = incident.id;
        self.incidents.insert(id, incident);
        if !same_boot {
            self.end_attempt(id, Outcome::InDoubt, "the host was restarted", None);
            self.close(id, Resolution::Operator, None);
            self.closed.retain(|_, incident| incident.id != id);
        } else if !known {
            self.close_as_superseded(id, "the unit belongs to no worker any more");
        }
    }

    /// The store may have lost that an incident was closed, while an intent of the next one survived.
    fn keep_one_for_each_unit(&mut self) {
        let mut last: BTreeMap<UnitName, IncidentId> = BTreeMap::new();
        let mut older = Vec::new();
        for incident in self.incidents.values() {
            older.extend(last.insert(incident.unit.clone(), incident.id));
        }
        for id in older {
            self.end_attempt(id, Outcome::InDoubt, "a later incident of the unit was found", None);
            self.close(id, Resolution::Operator, None);
            self.closed.retain(|_, incident| incident.id != id);
        }
    }

    /// An intent that no incident knows of: we crashed right after writing it down.
    fn adopt(&mut self, intent: Intent) {
        let Some(settings) = self.settings.worker_of(intent.unit.as_str()) else { return };
        let worker = settings.name.clone();
        let now = self.desk.now;
        if let Some(mut known) = self.closed.remove(&intent.unit) {
            if known.id == intent.incident {
                // It had been reopened, and the store lost that.
                known.closed_at = None;
                known.closed_wall = None;
                known.resolution = None;
                known.time_to_recover = None;
                self.incidents.insert(known.id, known);
            } else {
                self.closed.insert(intent.unit.clone(), known);
            }
        }
        let then = Now { mono: now.mono, wall: intent.at };
        let incident = self.incidents.entry(intent.incident).or_insert_with(|| {
            let origin = Origin::Operator { who: "restored".into(), action: intent.action, force: false };
            let incident = Incident::new(intent.incident, worker, intent.unit.clone(), origin, &self.boot, then);
            Incident { action_was_allowed: true, ..incident }
        });
        let last = incident.last_attempt().map_or(0, |attempt| attempt.number);
        if last >= intent.attempt.number {
            return;
        }
        if let Some(before) = incident.attempts.last_mut().filter(|attempt| attempt.is_running()) {
            // A later one is known, so this one had ended.
            before.stage = Stage::Ended;
            before.outcome = Some(Outcome::InDoubt);
            before.ended_at = Some(now.mono);
        }
        // Those between, whose intents were lost, count as well.
        incident.attempts_used += intent.attempt.number - last;
        let reason = "found as an intent without an outcome".to_string();
        let attempt = Attempt::intended(intent.attempt.number, intent.action, reason, then);
        incident.attempts.push(Attempt { stage: Stage::Acting, flagged: true, in_doubt: true, ..attempt });
    }

    /// An attempt without an outcome is verified, never repeated. What had been acted on and only waited for
    /// its proof is no matter of doubt.
    fn doubt(&mut self, id: IncidentId) {
        let now = self.now();
        let incident = self.incidents.get_mut(&id).expect("restored");
        incident.waiting = None;
        self.desk.touched.insert(id);
        self.timers.set(TimerKey::Proceed(id), Some(now));
        let Some(running) = incident.attempts.last_mut().filter(|attempt| attempt.is_running()) else { return };
        running.in_doubt |= running.stage != Stage::Verifying;
        running.stage = Stage::Verifying;
        running.well_at = None;
        // Its window begins with our first look.
        running.acted_at = Some(now);
        running.intended_at = running.intended_at.max(now);
    }

    /// What another engine needs to go on from here.
    pub fn checkpoint(&self) -> Checkpoint {
        let seen = self.instances.values().filter(|instance| instance.seen);
        let snapshot = self.sighted.then(|| Snapshot {
            reason: ResyncReason::Connected,
            manager: self.manager,
            startup_finished: self.startup_finished.unwrap_or_default(),
            units: seen.map(|instance| (instance.unit.clone(), instance.view.as_change())).collect(),
        });
        let (strategies, past) = self.experience.kept();
        let memory = Memory {
            boot: self.boot.clone(),
            safety: self.safety(),
            incidents: self.incidents.values().chain(self.closed.values()).cloned().collect(),
            orphans: Vec::new(),
            next_incident: self.next_incident,
            strategies,
            past,
            watch_only: self.watch_only.clone(),
        };
        Checkpoint { memory, seed: self.dice.state(), snapshot, held: self.held }
    }

    /// What goes into the safety file.
    pub(super) fn safety(&self) -> Safety {
        Safety {
            boot: self.boot.clone(),
            pauses: self.pauses.clone(),
            wanted: self.wanted.iter().map(|(unit, wanted)| (unit.clone(), wanted.clone())).collect(),
            owned: self.owned.values().cloned().collect(),
        }
    }
}
