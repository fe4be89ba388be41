//! What instances usually do, from samples. What one does not usually do is evidence in its incidents, and a condition when
//! it lasts; nothing is ever done for it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::learn::unusual::{Common, Habits, Reading, SIBLINGS_MAX};
use crate::model::unusual::UNUSUAL_KEPT;
use crate::model::{Evidence, Measure, Mono, UnitName, Unusual, WorkerName, WorkerSettings};

use super::Engine;
use super::instance::Instance;
use super::timers::TimerKey;

/// What has not been found again for so long is not known any more: three blocks of samples.
pub const FORGOTTEN: Duration = Duration::from_secs(900);
/// The journal is out of sight when errors have not been counted for so long.
const JOURNAL_SILENT: Duration = Duration::from_secs(120);
/// Strength from which behaviour is unusual; the threshold of the evidence.
const STRENGTH_MIN: f64 = 3.0;

/// So many instances are judged in one turn; of very many this part of those that wait.
const JUDGED_AT_ONCE: usize = 8;
const JUDGING_TURNS: usize = 100;
/// Between two turns that judge.
const JUDGING_PAUSE: Duration = Duration::from_secs(1);

/// Instances whose block of samples is over, by worker, with the number of the block.
pub type Over = BTreeMap<WorkerName, (u32, Vec<UnitName>)>;

/// Takes the last sample of an instance into what is known of its habits.
pub fn note(instance: &mut Instance, settings: &WorkerSettings, over: &mut Over) {
    let Some(at) = instance.readings.last.as_ref().map(|last| last.at) else { return };
    if !instance.seen || !instance.view.active.is_up() {
        return;
    }
    if instance.habits.is_new() {
        instance.habits.begin(instance.view.active_enter.unwrap_or(at).min(at));
    }
    let well = instance.incident.is_none() && instance.health.serves();
    let reading = reading(instance, settings, at);
    if let Some(block) = instance.habits.take(at, &reading, well) {
        let (newest, units) = over.entry(instance.worker.clone()).or_default();
        *newest = block.max(*newest);
        units.push(instance.unit.clone());
    }
}

fn reading(instance: &Instance, settings: &WorkerSettings, at: Mono) -> Reading {
    let Instance { readings, work, .. } = instance;
    let counted = work.errors.counted_at().is_some_and(|counted| at.since(counted) < JOURNAL_SILENT);
    let tasks = readings.last.as_ref().and_then(|last| last.tasks);
    Reading::default()
        .with(Measure::Cpu, readings.cpus.map(|cpus| cpus * 100.0))
        .with(Measure::Memory, readings.memory_used.map(|bytes| bytes as f64))
        .with(Measure::Tasks, tasks.map(|tasks| tasks as f64))
        .with(Measure::Io, readings.io)
        .with(Measure::Errors, work.errors.per_minute(settings).filter(|_| counted))
}

/// Those that wait to be judged, with what their worker's instances have in common.
pub type Due = VecDeque<(UnitName, Common)>;

impl Engine {
    /// Instances whose block is over are judged a few at a time, before their next one is over.
    pub(super) fn await_judging(&mut self, over: Over) {
        for (block, units) in over.into_values() {
            // What has not been judged until now is out of date.
            self.habits_due.retain(|(_, common)| common.block() >= block);
            // Of many some are looked at, spread over all.
            let step = units.len().div_ceil(SIBLINGS_MAX + 1).max(1);
            let common = Common::of(block, units.iter().step_by(step).map(|unit| &self.instances[unit].habits));
            self.habits_due.extend(units.into_iter().map(|unit| (unit, common)));
        }
        if !self.habits_due.is_empty() {
            self.timers.set_by(TimerKey::Habits, self.now() + JUDGING_PAUSE);
        }
    }

    pub(super) fn judge_habits(&mut self) {
        let now = self.now();
        for _ in 0..JUDGED_AT_ONCE.max(self.habits_due.len() / JUDGING_TURNS) {
            let Some((unit, common)) = self.habits_due.pop_front() else { break };
            self.judge_habits_of(&unit, &common, now);
        }
        let next = (!self.habits_due.is_empty()).then_some(now + JUDGING_PAUSE);
        self.timers.set(TimerKey::Habits, next);
    }

    fn judge_habits_of(&mut self, unit: &UnitName, common: &Common, now: Mono) {
        let Some(instance) = self.instances.get_mut(unit) else { return };
        let Some(after) = self.settings.workers.get(&instance.worker).map(|settings| settings.unusual_after) else {
            return;
        };
        let mut habits = std::mem::take(&mut instance.habits);
        let siblings = self.siblings(unit);
        habits.judge(common, &siblings);
        let unusual = habits.lasting(after, now, &siblings).into_iter().next();
        let Some(instance) = self.instances.get_mut(unit) else { return };
        instance.habits = habits;
        let changed = instance.unusual.is_some() || unusual.is_some();
        let evidence = |first: Unusual| Evidence::measured(first.text(now), first.strength, STRENGTH_MIN);
        instance.unusual = unusual.map(|first| (now, evidence(first)));
        if changed {
            self.reassess(unit);
        }
    }

    /// What is known of the others of its worker; of many some, spread over all.
    fn siblings(&self, unit: &UnitName) -> Vec<&Habits> {
        let worker = &self.instances[unit].worker;
        let others = self.instances.values().filter(|one| one.worker == *worker && one.unit != *unit);
        let all: Vec<&Habits> = others.map(|one| &one.habits).collect();
        let step = all.len().div_ceil(SIBLINGS_MAX).max(1);
        all.into_iter().step_by(step).collect()
    }

    /// What is unusual of an instance at this moment.
    pub(super) fn unusual_now(&self, unit: &UnitName) -> Vec<Unusual> {
        let (now, instance) = (self.now(), &self.instances[unit]);
        // Of many that fail at once most were as always: that is seen without looking for siblings.
        if !instance.habits.may_be_unusual(now) {
            return Vec::new();
        }
        let mut unusual = instance.habits.now(now, &self.siblings(unit));
        unusual.truncate(UNUSUAL_KEPT);
        unusual
    }
}

#[cfg(test)]
mod tests {
    use crate::model::fact::ResyncReason;
    use crate::model::input::{Memory, Snapshot};
    use crate::model::unit::ManagerState;
    use crate::model::{
        ActiveState, Command, Condition, Health, Incident, Input, LoadState, Now, Selector, Settings, UnitChange,
        Usage, Wall, WorkerSettings,
    };

    use super::*;

    const EVERY: u64 = 60;

    struct Bench {
        engine: Engine,
        minute: u64,
        cpu: Vec<u64>,
        saved: Vec<Incident>,
    }

    fn unit(number: usize) -> UnitName {
        UnitName::new(&format!("task@{number}.service")).unwrap()
    }

    fn change(active: ActiveState) -> UnitChange {
        UnitChange {
            load: Some(LoadState::Loaded),
            active: Some(active),
            main_pid: Some(u32::from(active == ActiveState::Active)),
            active_enter: Some(Mono(1_000_000)),
            ..UnitChange::default()
        }
    }

    impl Bench {
        fn new(count: usize, after: Duration) -> Self {
            let name = WorkerName::new("task").unwrap();
            let worker = WorkerSettings::new(name.clone(), Selector::Template("task".into()));
            let mut settings = Settings::empty();
            settings.workers.insert(name, WorkerSettings { unusual_after: after, cpu_threshold: 900.0, ..worker });
            let memory = Memory { boot: "b".into(), ..Memory::default() };
            let engine = Engine::new(now(1), settings, memory, 7);
            let mut bench = Bench { engine, minute: 1, cpu: vec![0; count], saved: Vec::new() };
            let units = (0..count).map(|number| (unit(number), change(ActiveState::Active))).collect();
            let (reason, manager) = (ResyncReason::Connected, ManagerState::Running);
            bench.take(Input::Snapshot(Snapshot { reason, manager, startup_finished: Mono(1), units }));
            bench
        }

        fn take(&mut self, input: Input) {
            self.engine.handle(now(self.minute), input);
            while let Some(command) = self.engine.poll_command() {
                if let Command::Save(incident) = command {
                    self.saved.push(*incident);
                }
            }
        }

        fn run(&mut self, hours: u64, percent: impl Fn(usize) -> u64) {
            for _ in 0..hours * 60 {
                self.minute += 1;
                let at = now(self.minute).mono;
                self.cpu.iter_mut().enumerate().for_each(|(n, used)| *used += percent(n) * EVERY * 10_000);
                let sample = |(n, used): (usize, &u64)| Usage { cpu_usec: Some(*used), ..Usage::gap(unit(n), at) };
                let samples = self.cpu.iter().enumerate().map(sample).collect();
                self.take(Input::Usage { samples, host: None });
                self.wait();
            }
        }

        /// Lets what is due within the minute happen; answers with the most instances judged in one turn.
        fn wait(&mut self) -> usize {
            let (mut most, from) = (0, now(self.minute));
            for second in 1..EVERY {
                let due = self.engine.habits_due.len();
                let mono = Mono(from.mono.0 + second * 1_000_000);
                self.engine.handle_timeout(Now { mono, ..from });
                most = most.max(due - self.engine.habits_due.len());
            }
            most
        }

        fn told(&self, number: usize) -> Option<&str> {
            let held = self.engine.instances[&unit(number)].conditions.get(&Condition::Unusual)?;
            Some(held.evidence.text.as_str())
        }
    }

    fn now(minute: u64) -> Now {
        Now { mono: Mono(minute * EVERY * 1_000_000), wall: Wall(1_700_000_000_000_000) }
    }

    const QUARTER: Duration = Duration::from_secs(900);

    #[test]
    fn what_lasts_is_a_warning_without_an_incident_and_ends_with_it() {
        let mut bench = Bench::new(4, QUARTER);
        bench.run(60, |_| 20);
        bench.run(1, |n| if n == 1 { 150 } else { 20 });
        let text = bench.told(1).expect("told");
        assert!(text.starts_with("CPU 150 %, usually ") && text.contains("; its 3 siblings 20 %, for "), "{text}");
        assert_eq!(bench.engine.instances[&unit(1)].health, Health::Warning);
        assert!(bench.told(0).is_none() && bench.saved.is_empty() && bench.engine.incidents.is_empty());
        bench.run(1, |_| 20);
        assert_eq!(bench.told(1), None);
        assert_eq!(bench.engine.instances[&unit(1)].health, Health::Healthy);
    }

    #[test]
    fn no_turn_judges_more_than_a_few() {
        let mut bench = Bench::new(40, QUARTER);
        bench.run(1, |_| 20);
        let block = |minute: u64| now(minute).mono.0 / 300_000_000;
        while block(bench.minute) == block(bench.minute + 1) {
            bench.minute += 1;
        }
        bench.minute += 1;
        let at = now(bench.minute).mono;
        let samples = (0..40).map(|n| Usage { cpu_usec: Some(1), ..Usage::gap(unit(n), at) }).collect();
        bench.take(Input::Usage { samples, host: None });
        assert_eq!(bench.engine.habits_due.len(), 40);
        assert_eq!(bench.wait(), JUDGED_AT_ONCE);
        assert!(bench.engine.habits_due.is_empty(), "and all are judged within the minute");
    }

    #[test]
    fn zero_turns_it_off() {
        let mut bench = Bench::new(4, Duration::ZERO);
        bench.run(60, |_| 20);
        bench.run(3, |n| if n == 1 { 150 } else { 20 });
        assert_eq!(bench.told(1), None);
    }

    #[test]
    fn an_incident_knows_what_was_unusual_when_it_opened() {
        let mut bench = Bench::new(4, QUARTER);
        bench.run(60, |_| 20);
        bench.run(1, |n| if n == 1 { 150 } else { 20 });
        for number in [0, 1] {
            let change = Box::new(change(ActiveState::Failed));
            bench.take(Input::Unit { unit: unit(number), change });
        }
        let of = |number: usize| bench.saved.iter().find(|incident| incident.unit == unit(number)).expect("opened");
        assert_eq!(of(0).unusual, []);
        assert_eq!(of(1).unusual.len(), 1);
        assert_eq!(of(1).unusual[0].measure, Measure::Cpu);
    }

    #[test]
    fn what_was_usual_outlives_the_instance_and_the_life() {
        let mut bench = Bench::new(4, QUARTER);
        bench.run(60, |_| 20);
        let known = bench.engine.kept_habits(now(bench.minute).wall);
        assert_eq!(known.len(), 4);
        let mut next = Bench::new(4, QUARTER);
        next.take(Input::Habits { known });
        next.run(3, |_| 20);
        // One is taken away and comes back.
        next.engine.vanish(&unit(1));
        assert!(!next.engine.instances.contains_key(&unit(1)), "it is not there");
        assert_eq!(next.engine.kept_habits(now(next.minute).wall).len(), 4);
        let later = Wall(now(next.minute).wall.0 + 31 * 86_400_000_000);
        assert_eq!(next.engine.kept_habits(later).len(), 3, "what is long away is forgotten");
        next.take(Input::Unit { unit: unit(1), change: Box::new(change(ActiveState::Active)) });
        next.run(3, |_| 20);
        next.run(2, |n| if n == 1 { 150 } else { 20 });
        assert!(next.told(1).is_some_and(|text| text.starts_with("CPU 150 %, usually ")), "{:?}", next.told(1));
    }
}
