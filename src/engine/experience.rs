//! What was learned from incidents, and what it says about the one at hand: the order of its plan, and which past ones were alike.
//!
//! It can put in order what a plan may use, and nothing else: gates, configured orders and operators stand above it.

use std::collections::VecDeque;
use std::time::Duration;

use crate::learn::similar::similar;
use crate::learn::strategies::{Explore, Strategies};
use crate::model::pattern::PatternId;
use crate::model::request::Reply;
use crate::model::strategy::{Case, Export, Known, PAST_KEPT, Past, Ranked, Ranking, Strategy};
use crate::model::{
    Action, Command, Condition, Health, Incident, IncidentId, Mono, Outcome, Plan, UnitName, What, WorkerName,
    WorkerSettings,
};

use super::Engine;
use super::plan::{self, Choice};

/// What the engine knows from former incidents.
#[derive(Default)]
pub struct Experience {
    strategies: Strategies,
    /// Oldest first.
    past: VecDeque<Past>,
    /// What had been watched when this life began, and when that was.
    watched: Duration,
    since: Mono,
}

impl Experience {
    pub fn restore(known: Vec<Known>, past: Vec<Past>, now: Mono) -> Self {
        // What is refused the caller has told already; it stays in the store as it is.
        let (strategies, _) = Strategies::restore(known);
        let watched = strategies.latest();
        let skip = past.len().saturating_sub(PAST_KEPT);
        Self { strategies, past: past.into_iter().skip(skip).collect(), watched, since: now }
    }

    /// Time that has been watched since learning began.
    fn at(&self, now: Mono) -> Duration {
        self.watched + now.since(self.since)
    }

    /// What another life goes on with.
    pub fn kept(&self) -> (Vec<Known>, Vec<Past>) {
        (self.strategies.known().collect(), self.past.iter().cloned().collect())
    }

    fn remember(&mut self, past: Past) {
        // One that was reopened has closed before.
        self.past.retain(|known| known.incident != past.incident);
        self.past.push_back(past);
        if self.past.len() > PAST_KEPT {
            self.past.pop_front();
        }
    }
}

impl Engine {
    /// The plan for an incident of the unit that `condition` leads.
    pub(super) fn plan_for(&self, unit: &UnitName, condition: Condition, pattern: Option<PatternId>) -> Plan {
        let (instance, settings) = self.with_settings(unit);
        let choice = plan::choice(condition, instance, settings);
        let weak = instance.health == Health::Warning;
        if choice.configured || !settings.learn {
            return plan::of(condition, weak, &choice, None);
        }
        let case = Case { worker: Some(settings.name.clone()), condition, pattern };
        let explore = match settings.believes_hearsay() {
            false => Explore::OwnOnly,
            true if settings.explores() && !self.storm => Explore::Sometimes,
            true => Explore::Never,
        };
        let ranking = self.ranking(&case, &choice, weak, settings, explore);
        plan::of(condition, weak, &choice, Some(ranking))
    }

    /// Whether the plan still answers what holds now. Within an incident its order stays: what was tried is not tried again
    /// because of what it has just taught.
    pub(super) fn plan_stands(&self, incident: &Incident, leading: Condition) -> bool {
        let Some(instance) = self.instances.get(&incident.unit) else { return true };
        let Some(settings) = self.settings.workers.get(&incident.worker) else { return true };
        let plan = &incident.plan;
        if plan.condition != Some(leading) || plan.weak != (instance.health == Health::Warning) {
            return false;
        }
        let choice = plan::choice(leading, instance, settings);
        plan.ranking.is_some() == (settings.learn && !choice.configured) && choice.is_of(plan)
    }

    /// Its log has said something: what helped against that comes first, unless something has been tried already.
    pub(super) fn plan_anew(&mut self, id: IncidentId) {
        let Some(incident) = self.incidents.get(&id).filter(|incident| incident.attempts.is_empty()) else { return };
        let pattern = incident.pattern.as_ref().map(|pattern| pattern.id);
        let Some(condition) = incident.plan.condition else { return };
        if !self.instances.contains_key(&incident.unit) {
            return;
        }
        let plan = self.plan_for(&incident.unit, condition, pattern);
        if let Some(incident) = self.incidents.get_mut(&id).filter(|incident| incident.plan != plan) {
            incident.plan = plan;
            self.desk.touched.insert(id);
        }
    }

    /// A mere warning earns a strong action only after the mild ones, however well it helps.
    fn ranking(
        &self,
        case: &Case,
        choice: &Choice,
        weak: bool,
        settings: &WorkerSettings,
        explore: Explore,
    ) -> Ranking {
        let now = self.experience.at(self.now());
        let rank = |actions: &[Action]| self.experience.strategies.rank(case, actions, explore, now);
        let acts: Vec<Action> = choice.actions.iter().copied().filter(|action| *action != Action::Escalate).collect();
        let strong = |action: &Action| settings.is_disruptive(*action) || action.replaces_process();
        let (strong, mild): (Vec<Action>, Vec<Action>) = acts.iter().partition(|action| strong(action));
        if !weak || strong.is_empty() || mild.is_empty() {
            return rank(&acts);
        }
        let (first, second) = (rank(&mild), rank(&strong));
        let why = match (mild.len(), strong.len()) {
            (1, 1) => "for a warning the mild comes first".into(),
            (1, _) => second.why,
            _ => first.why,
        };
        let actions = first.actions.into_iter().chain(second.actions).collect();
        Ranking { actions, learned: first.learned || second.learned, why }
    }

    /// An attempt has ended. Only what is known to have helped or not teaches.
    pub(super) fn learn_from(&mut self, id: IncidentId) {
        let incident = &self.incidents[&id];
        let Some(attempt) = incident.last_attempt() else { return };
        let helped = match attempt.outcome {
            Some(Outcome::Succeeded) => true,
            Some(Outcome::Failed) => false,
            _ => return,
        };
        let Some(condition) = attempt.condition.filter(|_| !attempt.in_doubt) else { return };
        let until = if helped { attempt.well_at } else { attempt.ended_at };
        let took = until.unwrap_or(self.now()).since(attempt.intended_at);
        let pattern = incident.pattern.as_ref().map(|pattern| pattern.id);
        let case = Case { worker: Some(incident.worker.clone()), condition, pattern };
        let (action, unit) = (attempt.action, incident.unit.clone());
        let before = self.first_action(&unit, &case);
        let at = self.experience.at(self.now());
        let changed = self.experience.strategies.learn(&case, action, helped, took, at);
        let known = changed.iter().map(|case| self.experience.strategies.known_of(case)).collect();
        self.desk.command(Command::Learned(known));
        let after = self.first_action(&unit, &case);
        if let (Some((old, _)), Some((new, why))) = (before, after)
            && old != new
        {
            let text = format!(
                "for {condition} of {} {new} comes first now, no longer {old}: {why}",
                self.incidents[&id].worker
            );
            self.desk.tell_unit(
                &self.incidents[&id].worker,
                &unit,
                Some(id),
                What::StrategiesChanged { by: None, text },
            );
        }
    }

    /// What the next plan for the case would begin with, and why; `None` where it would not be ranked.
    fn first_action(&self, unit: &UnitName, case: &Case) -> Option<(Action, String)> {
        let instance = self.instances.get(unit)?;
        let settings = self.settings.workers.get(&instance.worker).filter(|settings| settings.learn)?;
        let choice = plan::choice(case.condition, instance, settings);
        let weak = instance.health == Health::Warning;
        let ranking = (!choice.configured).then(|| self.ranking(case, &choice, weak, settings, Explore::Never))?;
        ranking.actions.first().map(|one| (one.action, ranking.why.clone()))
    }

    /// An incident has closed.
    pub(super) fn remember(&mut self, incident: &Incident) {
        if let Some(past) = Past::of(incident) {
            self.experience.remember(past);
        }
    }

    /// Finds the past incidents that are most like an open one.
    pub(super) fn compare(&mut self, id: IncidentId) {
        let Some(incident) = self.incidents.get_mut(&id) else { return };
        let alike = similar(incident, self.experience.past.iter());
        if incident.similar != alike {
            incident.similar = alike;
            self.desk.touched.insert(id);
        }
    }

    /// What is known of actions, of one worker or all, each in the order in which they would be tried.
    pub fn strategies(&self, worker: Option<&WorkerName>) -> Vec<Strategy> {
        let wanted = |case: &Case| worker.is_none() || case.worker.as_ref() == worker;
        let mut cases: Vec<Known> = self.experience.strategies.known().filter(|known| wanted(&known.case)).collect();
        cases.sort_by(|a, b| (a.case.worker.is_none(), &a.case).cmp(&(b.case.worker.is_none(), &b.case)));
        // Known here and from elsewhere: shown once.
        cases.dedup_by(|a, b| a.case == b.case);
        cases.into_iter().map(|known| self.strategy(known)).collect()
    }

    fn strategy(&self, known: Known) -> Strategy {
        let Known { case, actions, .. } = known;
        let settings = case.worker.as_ref().and_then(|name| self.settings.workers.get(name));
        let order = match settings.and_then(|settings| settings.plans.get(&case.condition)) {
            Some(configured) => configured.as_slice(),
            None => plan::default_order(case.condition),
        };
        let own_order: Vec<Action> = order.iter().copied().filter(|action| *action != Action::Escalate).collect();
        let tried = actions.keys().copied().filter(|action| !own_order.contains(action));
        let acts: Vec<Action> = own_order.iter().copied().chain(tried).collect();
        let now = self.experience.at(self.now());
        let own_only = settings.is_some_and(|settings| !settings.believes_hearsay());
        let explore = if own_only { Explore::OwnOnly } else { Explore::Never };
        let mut ranking = self.experience.strategies.rank(&case, &acts, explore, now);
        let why = match settings {
            Some(settings) if settings.plans.contains_key(&case.condition) => "the order is configured and is kept",
            Some(settings) if !settings.learn => "the default order is kept (learn = false)",
            None if case.worker.is_none() => "a first guess for workers of which little is known",
            None => "no such worker is configured now",
            _ => "",
        };
        // What was tried and is in no plan comes after those that are.
        let place = |one: &Ranked| own_order.iter().position(|action| *action == one.action);
        ranking.actions.sort_by_key(|one| place(one).is_none());
        if !why.is_empty() {
            ranking.why = why.into();
            ranking.actions.sort_by_key(|one| place(one).unwrap_or(usize::MAX));
        }
        let planned = own_order.len();
        let from = self.experience.strategies.source(&case).cloned();
        Strategy { from, case, template: None, planned, ranking }
    }

    /// What this host has learned itself, for another one.
    pub fn export_strategies(&self, worker: Option<&WorkerName>) -> Vec<Known> {
        self.experience.strategies.export(worker, self.experience.at(self.now()))
    }

    pub(super) fn import_strategies(&mut self, mut export: Export, who: String) -> Reply {
        let at = self.experience.at(self.now());
        let offered = export.known.len();
        let here =
            |known: &Known| known.case.worker.as_ref().is_none_or(|worker| self.settings.workers.contains_key(worker));
        export.known.retain(here);
        let left_out = offered - export.known.len();
        let from = export.from.host.clone();
        let taken = match self.experience.strategies.import(export, at) {
            Ok(taken) => taken,
            Err(why) => return Reply::Unknown { text: format!("nothing was taken over: {why}") },
        };
        let count = taken.iter().filter(|known| !known.actions.is_empty()).count();
        let mut text = format!("{count} of {offered} cases from {from} were taken over");
        if left_out > 0 {
            text.push_str(&format!("; {left_out} are of workers that are not configured here"));
        }
        self.desk.command(Command::Learned(taken));
        self.desk.tell(What::StrategiesChanged { by: Some(who), text: text.clone() });
        Reply::Done { text }
    }

    pub(super) fn forget_strategies(&mut self, worker: Option<WorkerName>, who: String) -> Reply {
        let gone = self.experience.strategies.forget(worker.as_ref());
        let of = worker.as_ref().map_or("all workers".to_string(), ToString::to_string);
        if gone.is_empty() {
            return Reply::Done { text: format!("nothing was known of {of}") };
        }
        let text = format!("what was known of {of} is forgotten: {} cases", gone.len());
        self.desk.command(Command::Learned(gone));
        self.desk.tell(What::StrategiesChanged { by: Some(who), text: text.clone() });
        Reply::Done { text }
    }
}
