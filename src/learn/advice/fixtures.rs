//! Made-up histories of thirty days, for tests.

use std::time::Duration;

use super::{Past, advise};
use crate::model::action::{Plan, Step};
use crate::model::advice::Proposal;
use crate::model::incident::{Origin, Stage};
use crate::model::strategy::{Case, Ranked, Ranking, Strategy};
use crate::model::{
    Action, Attempt, Condition, Evidence, Incident, IncidentId, Mono, Now, Outcome, Resolution, Selector, Settings,
    UnitName, Wall, WorkerName, WorkerSettings,
};

pub const SINCE: Wall = Wall(1_795_000_000_000_000);
pub const MINUTE: u64 = 60;
pub const HOUR: u64 = 3600;
pub const DAY: u64 = 86_400;
/// How long the history is, seconds.
pub const SPAN: u64 = 30 * DAY;

pub fn at(seconds: f64) -> Now {
    let us = (seconds * 1e6) as u64;
    Now { mono: Mono(us), wall: Wall(SINCE.0 + us as i64) }
}

pub fn worker(name: &str) -> WorkerName {
    WorkerName::new(name).unwrap()
}

pub fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// What happened to workers that are templates of their own name.
pub struct History {
    pub settings: Settings,
    pub incidents: Vec<Incident>,
    pub strategies: Vec<Strategy>,
}

impl History {
    pub fn of(workers: &[&str]) -> Self {
        let mut settings = Settings::empty();
        for name in workers {
            let one = WorkerSettings::new(worker(name), Selector::Template((*name).into()));
            settings.workers.insert(worker(name), one);
        }
        Self { settings, incidents: Vec::new(), strategies: Vec::new() }
    }

    pub fn with(mut self, name: &str, change: impl FnOnce(&mut WorkerSettings)) -> Self {
        change(self.settings.workers.get_mut(&worker(name)).unwrap());
        self
    }

    pub fn past<T>(&self, look: impl FnOnce(&Past<'_>) -> T) -> T {
        let watched = self.settings.workers.keys().map(|name| (name.clone(), seconds(SPAN))).collect();
        let own = self.settings.workers.keys().map(|name| (name.clone(), 1)).collect();
        look(&Past {
            incidents: &self.incidents,
            settings: &self.settings,
            strategies: &self.strategies,
            watched: &watched,
            own: &own,
            since: SINCE,
            until: Wall(SINCE.0 + SPAN as i64 * 1_000_000),
        })
    }

    pub fn advise(&self) -> Vec<Proposal> {
        self.past(advise)
    }

    /// One that was opened then and is closed, and to which nothing was done.
    pub fn incident(&mut self, name: &str, opened: f64, condition: Condition) -> &mut Incident {
        self.incident_of(name, "1", opened, condition)
    }

    pub fn incident_of(&mut self, name: &str, instance: &str, opened: f64, condition: Condition) -> &mut Incident {
        let unit = UnitName::new(&format!("{name}@{instance}.service")).unwrap();
        let id = IncidentId(self.incidents.len() as u64 + 1);
        let mut one = Incident::new(id, worker(name), unit, Origin::Condition { condition }, "boot", at(opened));
        one.note(condition, Evidence::text("seen"));
        one.worst = condition.health();
        close(&mut one, Resolution::SelfCleared, 5.0);
        self.incidents.push(one);
        self.incidents.last_mut().unwrap()
    }

    /// One that went away by itself after so many seconds, with the highest value.
    pub fn wolf(&mut self, name: &str, opened: f64, condition: Condition, peak: f64, lasted: f64) {
        let one = self.incident(name, opened, condition);
        one.note(condition, Evidence::measured("seen", peak, 0.0));
        one.conditions.insert(condition, Evidence::text("seen"));
        close(one, Resolution::FalseAlarm, lasted);
    }

    /// One that an action cured, with the highest value.
    pub fn cured(&mut self, name: &str, opened: f64, condition: Condition, action: Action, peak: f64) {
        let one = self.incident(name, opened, condition);
        one.note(condition, Evidence::measured("seen", peak, 0.0));
        tried(one, action, 0.0, 2.0, Outcome::Succeeded);
    }

    /// An instance that was started because of work, and stopped again.
    pub fn scaled(&mut self, name: &str, instance: &str, from: f64, until: f64) {
        let up = self.incident_of(name, instance, from, Condition::BacklogHigh);
        tried(up, Action::ScaleUp, 0.0, 2.0, Outcome::Succeeded);
        let down = self.incident_of(name, instance, until, Condition::BacklogHigh);
        down.origin = Origin::Surplus;
        down.conditions.clear();
        tried(down, Action::ScaleDown, 0.0, 2.0, Outcome::Succeeded);
    }

    /// A graceful restart whose process ended after so many seconds, or was cut off.
    pub fn drained(&mut self, name: &str, opened: f64, took: Option<f64>) {
        let limit = self.settings.workers[name].drain_timeout;
        let one = self.incident(name, opened, Condition::ProbeFailed);
        let attempt = tried(one, Action::GracefulRestart, 0.0, 2.0, Outcome::Succeeded);
        let begun = attempt.intended_at;
        attempt.drain_until = Some(begun + limit + Duration::from_millis(20));
        let took = took.map_or(limit + Duration::from_millis(25), Duration::from_secs_f64);
        attempt.acted_at = Some(begun + took);
        attempt.well_at = Some(begun + took + seconds(2));
        attempt.ended_at = Some(begun + took + seconds(62));
    }
}

pub fn close(incident: &mut Incident, resolution: Resolution, well_after: f64) {
    let well = incident.opened_at + Duration::from_secs_f64(well_after);
    incident.closed_at = Some(well);
    incident.closed_wall = Some(Wall(incident.opened_wall.0 + (well_after * 1e6) as i64));
    incident.resolution = Some(resolution);
    incident.time_to_recover = Some(well.since(incident.failed_at));
}

/// An attempt so many seconds after the incident was opened, well or given up after `took`.
pub fn tried(incident: &mut Incident, action: Action, after: f64, took: f64, outcome: Outcome) -> &mut Attempt {
    let begun = at(incident.opened_at.0 as f64 / 1e6 + after);
    let ended = begun.mono + Duration::from_secs_f64(took);
    let helped = outcome == Outcome::Succeeded;
    let number = incident.attempts.len() as u32 + 1;
    let condition = incident.leading();
    let attempt = Attempt {
        condition,
        stage: Stage::Ended,
        acted_at: Some(begun.mono),
        well_at: helped.then_some(ended),
        ended_at: Some(if helped { ended + seconds(10) } else { ended }),
        outcome: Some(outcome),
        ..Attempt::intended(number, action, "because".into(), begun)
    };
    incident.attempts.push(attempt);
    if helped {
        close(incident, Resolution::Recovered, after + took);
    }
    incident.attempts.last_mut().unwrap()
}

/// The plan that the incident had.
pub fn planned(incident: &mut Incident, condition: Condition, order: &[Action], learned: bool) {
    let steps = order.iter().map(|action| Step { action: *action, reason: String::new() }).collect();
    let ranking = Ranking { actions: Vec::new(), learned, why: String::new() };
    incident.plan = Plan { steps, condition: Some(condition), ranking: Some(ranking), ..Plan::default() };
}

pub fn strategy(name: &str, condition: Condition, ranked: &[(Action, f64, u64, u64, u64)]) -> Strategy {
    let one = |(action, low, tries, successes, cost): &(Action, f64, u64, u64, u64)| Ranked {
        action: *action,
        chance: (low + 1.0) / 2.0,
        low: *low,
        high: 1.0,
        tries: *tries,
        successes: *successes,
        took: seconds(3),
        cost: seconds(*cost),
    };
    Strategy {
        planned: ranked.len(),
        case: Case { worker: Some(worker(name)), condition, pattern: None },
        template: None,
        ranking: Ranking { actions: ranked.iter().map(one).collect(), learned: true, why: "it helps".into() },
        from: None,
    }
}

/// The workers of [`everything`], and the settings in which they are not as usual.
pub const WORKERS: &[(&str, &str)] = &[
    ("cache", ""),
    ("beats", ""),
    ("probed", ""),
    ("noisy", ""),
    ("needs-db", ""),
    ("slow_to_try", "restart_cooldown = \"30min\""),
    ("patient", "backoff = \"40s\""),
    ("resets", "peers = [\"10.0.0.5:5672\"]"),
    ("settled", "peers = [\"10.0.0.5:5672\"]"),
    ("drains", ""),
    ("drains-soon", "drain_timeout = \"5min\""),
    ("drains-never", ""),
    ("fills", ""),
    ("fills-at-once", "memory_target = 40"),
    ("busy", "max_instances = 4\nqueues = [\"tasks\"]\namqp_url = \"amqp://10.0.0.5\""),
    ("leaks", ""),
    ("first", ""),
    ("second", ""),
];

/// One history with all that advice is given for.
pub fn everything() -> History {
    let names: Vec<&str> = WORKERS.iter().map(|(name, _)| *name).collect();
    let mut all = History::of(&names)
        .with("slow_to_try", |one| one.restart_cooldown = seconds(30 * MINUTE))
        .with("patient", |one| one.backoff = seconds(40))
        .with("drains-soon", |one| one.drain_timeout = seconds(5 * MINUTE))
        .with("fills-at-once", |one| one.memory_target = 40.0)
        .with("busy", |one| one.max_instances = Some(4));
    thresholds(&mut all);
    pauses(&mut all);
    actions(&mut all);
    drains(&mut all);
    memory(&mut all);
    work(&mut all);
    together(&mut all, "first", "second", 8);
    all
}

/// Every so many seconds, for each worker at other times.
fn turn(name: &str, nth: u32, every: f64) -> f64 {
    let place = WORKERS.iter().position(|(one, _)| *one == name).unwrap();
    f64::from(nth) * every + place as f64 * 2_600.0
}

pub fn thresholds(all: &mut History) {
    for n in 0..12 {
        all.wolf("cache", turn("cache", n, 50_000.0), Condition::MemoryHigh, 86.0 + f64::from(n % 3), 90.0);
        all.wolf("beats", turn("beats", n, 50_000.0), Condition::Hung, 120.0, 20.0 + f64::from(n));
        all.wolf("probed", turn("probed", n, 50_000.0), Condition::ProbeFailed, 0.0, 50.0);
        all.wolf("noisy", turn("noisy", n, 50_000.0), Condition::ErrorRateHigh, 0.5 + f64::from(n) / 100.0, 90.0);
    }
    all.cured("cache", 700_000.0, Condition::MemoryHigh, Action::GracefulRestart, 97.0);
}

/// Attempts that come too early for a database that takes its time; and pauses that nobody needs.
pub fn pauses(all: &mut History) {
    use Outcome::{Failed, Succeeded};
    for n in 0..7 {
        let one = all.incident("needs-db", turn("needs-db", n, 100_000.0), Condition::Dead);
        for after in [0.0, 12.0, 26.0] {
            tried(one, Action::Restart, after, 10.0, Failed);
        }
        one.escalations = 1;
        tried(one, Action::Restart, 336.0, 3.0, Succeeded);
        close(one, Resolution::Escalated, 339.0);

        let one = all.incident("slow_to_try", turn("slow_to_try", n, 100_000.0), Condition::Dead);
        tried(one, Action::Restart, 0.0, 10.0, Failed);
        one.escalations = 1;
        tried(one, Action::Restart, 1810.0, 2.0, Succeeded);
        close(one, Resolution::Escalated, 1812.0);

        let one = all.incident("patient", turn("patient", n, 100_000.0), Condition::Dead);
        tried(one, Action::Restart, 0.0, 5.0, Failed);
        tried(one, Action::Restart, 45.0, 2.0, Succeeded);
    }
}

pub fn actions(all: &mut History) {
    use Action::{ConnectionReset, Escalate, GracefulRestart, Restart};
    for n in 0..18 {
        let one = all.incident("resets", turn("resets", n, 100_000.0), Condition::Hung);
        planned(one, Condition::Hung, &[ConnectionReset, GracefulRestart, Restart, Escalate], false);
        tried(one, ConnectionReset, 0.0, 60.0, Outcome::Failed);
        tried(one, Restart, 62.0, 3.0, Outcome::Succeeded);

        let one = all.incident("settled", turn("settled", n, 100_000.0), Condition::Hung);
        planned(one, Condition::Hung, &[Restart, ConnectionReset, GracefulRestart, Escalate], true);
        tried(one, Restart, 0.0, 3.0, Outcome::Succeeded);
    }
    all.strategies.push(strategy(
        "settled",
        Condition::Hung,
        &[(Restart, 0.8, 18, 18, 9), (ConnectionReset, 0.1, 4, 1, 300), (GracefulRestart, 0.2, 0, 0, 44)],
    ));
}

pub fn drains(all: &mut History) {
    for n in 0..12 {
        all.drained(
            "drains",
            turn("drains", n, 100_000.0),
            if n % 2 == 0 { None } else { Some(1.0 + f64::from(n) / 5.0) },
        );
        all.drained("drains-soon", turn("drains-soon", n, 100_000.0), Some(1.0 + f64::from(n)));
        all.drained("drains-never", turn("drains-never", n, 100_000.0), None);
    }
}

pub fn memory(all: &mut History) {
    for name in ["fills", "fills-at-once"] {
        for day in 0..4 {
            for n in 0..8 {
                all.cured(
                    name,
                    (day * 7 * DAY + n * 20 * MINUTE) as f64,
                    Condition::MemoryHigh,
                    Action::MemoryCleanup,
                    90.0,
                );
            }
        }
    }
    for n in 0..20 {
        let wobble = [0.0, 900.0, -700.0, 400.0][n % 4];
        all.cured("leaks", n as f64 * 9.0 * HOUR as f64 + 1_000.0 + wobble, Condition::OomKilled, Action::Restart, 0.0);
    }
}

/// Two more instances for most of each day.
pub fn work(all: &mut History) {
    for day in 0..30 {
        let begun = (day * DAY) as f64;
        all.scaled("busy", "2", begun, begun + 20.0 * HOUR as f64);
        all.scaled("busy", "3", begun + 60.0, begun + 14.0 * HOUR as f64);
        all.scaled("busy", "4", begun + 120.0, begun + 2.0 * HOUR as f64);
    }
}

/// Two that fail within seconds of each other.
pub fn together(all: &mut History, one: &str, other: &str, times: u64) {
    for n in 0..times {
        let begun = (n * 3 * DAY + n * n * 1000) as f64;
        all.cured(one, begun, Condition::Dead, Action::Restart, 0.0);
        all.cured(other, begun + 3.0 + n as f64, Condition::Dead, Action::Restart, 0.0);
    }
}
