//! What is learned of actions, in simulation with hidden chances and durations: against the default order and an oracle.
//!
//! 20 failure classes, 5 actions. In each class one action helps in 75 to 98 of 100 cases, the others in 2 to 60; how long each
//! takes when it helps and when it does not is hidden, too. An incident tries the actions in the ranked order until one
//! helps; who finds none loses five minutes. What is compared is the exact expectation of the ranked order.

use std::time::Duration;

use unitmedic::learn::similar::similar;
use unitmedic::learn::strategies::{Explore, Strategies};
use unitmedic::model::incident::Origin;
use unitmedic::model::pattern::PatternId;
use unitmedic::model::strategy::{Case, Known, PAST_KEPT, Past};
use unitmedic::model::{
    Action, Condition, Evidence, Incident, IncidentId, Now, Resolution, UnitName, Wall, WorkerName,
};

use crate::report::{Row, median};
use crate::rng::Rng;

const SEEDS: u64 = 1_000;
const CLASSES: usize = 20;
const ACTIONS: [Action; 5] =
    [Action::MemoryCleanup, Action::ConnectionReset, Action::ScaleUp, Action::GracefulRestart, Action::Restart];
const GIVEN_UP: f64 = 300.0;
/// Between two incidents.
const PAUSE: Duration = Duration::from_secs(3600);

/// About 1, by a third more or less.
fn noise(rng: &mut Rng) -> f64 {
    (0.3 * rng.bell()).exp()
}

/// The truth about one class.
struct Class {
    case: Case,
    chance: [f64; 5],
    took: [f64; 5],
    wasted: [f64; 5],
}

impl Class {
    fn new(number: usize, rng: &mut Rng) -> Self {
        let best = (rng.next() * 5.0) as usize;
        let mut class = Class { case: case(number), chance: [0.0; 5], took: [0.0; 5], wasted: [0.0; 5] };
        for action in 0..5 {
            let high = if rng.next() < 0.5 { 0.2 } else { 0.6 };
            class.chance[action] = if action == best { rng.between(0.75, 0.98) } else { rng.between(0.02, high) };
            class.took[action] = 3.0 * 2.0_f64.powf((action as f64).powf(0.8)) * noise(rng);
            class.wasted[action] = rng.between(10.0, 60.0);
        }
        class
    }

    /// Time to recover that the order has, on average.
    fn expected(&self, order: &[usize]) -> f64 {
        let (mut spent, mut still, mut sum) = (0.0, 1.0, 0.0);
        for action in order {
            sum += still * self.chance[*action] * (spent + self.took[*action]);
            spent += self.wasted[*action];
            still *= 1.0 - self.chance[*action];
        }
        sum + still * (spent + GIVEN_UP)
    }

    fn best(&self) -> f64 {
        let cost = |action: &usize| {
            let (chance, took, wasted) = (self.chance[*action], self.took[*action], self.wasted[*action]);
            (chance * took + (1.0 - chance) * wasted) / chance
        };
        let mut order = [0, 1, 2, 3, 4];
        order.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
        self.expected(&order)
    }
}

fn case(number: usize) -> Case {
    let worker = WorkerName::new(&format!("worker-{}", number / 4)).expect("a good name");
    let conditions = [Condition::Hung, Condition::ProbeFailed, Condition::MemoryHigh, Condition::ErrorRateHigh];
    Case { worker: Some(worker), condition: conditions[number % 4], pattern: None }
}

struct Run {
    rng: Rng,
    classes: Vec<Class>,
    learned: Strategies,
    now: Duration,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let classes = (0..CLASSES).map(|number| Class::new(number, &mut rng)).collect();
        Run { rng, classes, learned: Strategies::default(), now: Duration::ZERO }
    }

    fn order(&self, class: &Class, explore: Explore) -> Vec<usize> {
        let ranking = self.learned.rank(&class.case, &ACTIONS, explore, self.now);
        let place = |action: Action| ACTIONS.iter().position(|one| *one == action).expect("one of them");
        ranking.actions.iter().map(|ranked| place(ranked.action)).collect()
    }

    fn incidents(&mut self, count: usize, of: impl Fn(&mut Rng, usize) -> usize) {
        for number in 0..count {
            let index = of(&mut self.rng, number);
            self.now += PAUSE;
            let class = &self.classes[index];
            for action in self.order(class, Explore::Sometimes) {
                let helps = self.rng.next() < class.chance[action];
                let time = if helps { class.took[action] } else { class.wasted[action] } * noise(&mut self.rng);
                self.learned.learn(&class.case, ACTIONS[action], helps, Duration::from_secs_f64(time), self.now);
                if helps {
                    break;
                }
            }
        }
    }

    /// Time to recover, to that of the oracle and to that of the default order.
    fn ratios(&self) -> (f64, f64) {
        let sum = |time: &dyn Fn(&Class) -> f64| self.classes.iter().map(time).sum::<f64>();
        let ours = sum(&|class| class.expected(&self.order(class, Explore::Never)));
        (ours / sum(&Class::best), ours / sum(&|class| class.expected(&[0, 1, 2, 3, 4])))
    }

    fn change(&mut self) {
        let rng = &mut self.rng;
        self.classes = (0..CLASSES).map(|number| Class::new(number, rng)).collect();
    }

    /// Classes whose best first action was not tried in so many further incidents of each class.
    fn lost(&mut self, further: usize) -> usize {
        let first = |class: &Class| {
            let alone = |action: usize| {
                let rest = (0..5).filter(move |other| *other != action);
                class.expected(&std::iter::once(action).chain(rest).collect::<Vec<_>>())
            };
            (0..5).min_by(|a, b| alone(*a).total_cmp(&alone(*b))).expect("five")
        };
        let best: Vec<usize> = self.classes.iter().map(first).collect();
        let tries = |run: &Run, class: usize| {
            let ranking = run.learned.rank(&run.classes[class].case, &ACTIONS, Explore::Never, run.now);
            let one = ranking.actions.iter().find(|ranked| ranked.action == ACTIONS[best[class]]);
            one.map_or(0, |ranked| ranked.tries)
        };
        let before: Vec<u64> = (0..CLASSES).map(|class| tries(self, class)).collect();
        self.incidents(further * CLASSES, |_, number| number % CLASSES);
        (0..CLASSES).filter(|class| tries(self, *class) == before[*class]).count()
    }
}

#[derive(Default)]
struct Figures {
    after_200: Vec<f64>,
    after_500: Vec<f64>,
    changed: Vec<f64>,
    changed_each: Vec<f64>,
    lost: usize,
}

pub fn measure() -> Vec<Row> {
    let any = |rng: &mut Rng, _: usize| (rng.next() * CLASSES as f64) as usize;
    let mut figures = Figures::default();
    for seed in 0..SEEDS {
        let mut run = Run::new(seed);
        run.incidents(200, any);
        figures.after_200.push(run.ratios().1);
        run.incidents(300, any);
        figures.after_500.push(run.ratios().0);
        figures.lost += usize::from(run.lost(200) > 0);
        run.change();
        run.incidents(60, any);
        figures.changed.push(run.ratios().0);
        run.incidents(60 * CLASSES - 60, |_, number| number % CLASSES);
        figures.changed_each.push(run.ratios().0);
    }
    rows(&figures)
}

fn rows(figures: &Figures) -> Vec<Row> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let text = |values: &[f64]| {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        format!(
            "{:.3} (median {:.3}, 95 % of seeds under {:.3})",
            mean(values),
            median(values),
            sorted[values.len() * 95 / 100]
        )
    };
    let row = |what: &str, values: &[f64], asked: &str, most: f64| {
        Row::new(what, text(values)).asked(asked, mean(values) <= most)
    };
    vec![
        row("strategies: time to recover to the default order's, 200 incidents", &figures.after_200, "<= 0.75", 0.75),
        row("strategies: to the oracle's, 500 incidents", &figures.after_500, "<= 1.10", 1.10),
        row("strategies: to the oracle's, all changed, 60 incidents of all classes", &figures.changed, "<= 1.15", 1.15),
        row("strategies: to the oracle's, all changed, 60 of each class", &figures.changed_each, "<= 1.15", 1.15),
        Row::new("strategies: seeds in which the best action was not tried again", figures.lost.to_string())
            .asked("0", figures.lost == 0),
        cost(),
    ]
}

/// What an incident costs the event loop when all tables are full: two attempts that teach, the order before and after each, and
/// the comparison with those of the past.
fn cost() -> Row {
    const INCIDENTS: u32 = 2_000;
    let mut learned = Strategies::default();
    let mut now = Duration::ZERO;
    let of = |pattern: u64| Case { pattern: Some(PatternId(pattern)), ..case(0) };
    for pattern in 0..5_000 {
        now += PAUSE;
        learned.learn(&of(pattern), Action::Restart, true, PAUSE, now);
    }
    let mut incident = incident();
    let past: Vec<Past> = (0..PAST_KEPT as u64).map(|number| past(&incident, number)).collect();
    let mut spent = Vec::new();
    for number in 0..u64::from(INCIDENTS) {
        now += PAUSE;
        // One in four is of a pattern that was never seen, for which another has to go.
        let case = if number % 4 == 0 { of(10_000 + number) } else { of(4_900 + number % 90) };
        let began = std::time::Instant::now();
        incident.similar = similar(&incident, past.iter());
        for (action, helped) in [(Action::ConnectionReset, false), (Action::Restart, true)] {
            let before = learned.rank(&case, &ACTIONS, Explore::Sometimes, now);
            let changed = learned.learn(&case, action, helped, PAUSE, now);
            let known: Vec<Known> = changed.iter().map(|case| learned.known_of(case)).collect();
            let after = learned.rank(&case, &ACTIONS, Explore::Never, now);
            std::hint::black_box((before, known, after));
        }
        spent.push(began.elapsed().as_secs_f64() * 1e6);
    }
    let typical = median(&spent);
    spent.sort_by(f64::total_cmp);
    let worst = spent[spent.len() * 99 / 100];
    let text = format!("{typical:.0} us (99 % under {worst:.0} us)");
    Row::new("learning: of an incident, tables full", text).asked("< 100 us", typical < 100.0)
}

fn incident() -> Incident {
    let (worker, unit) = (WorkerName::new("worker-0").expect("a name"), UnitName::new("w@1.service").expect("a name"));
    let origin = Origin::Condition { condition: Condition::Hung };
    let conditions = [(Condition::Hung, Evidence::text("silent")), (Condition::ProbeFailed, Evidence::text("refused"))];
    let new = Incident::new(IncidentId(1_000_000), worker, unit, origin, "boot", Now::default());
    Incident { conditions: conditions.into(), ..new }
}

fn past(like: &Incident, number: u64) -> Past {
    Past {
        incident: IncidentId(number),
        worker: like.worker.clone(),
        unit: UnitName::new(&format!("w@{number}.service")).expect("a name"),
        at: Wall(number as i64),
        conditions: vec![Condition::Hung, Condition::ErrorRateHigh],
        pattern: Some(PatternId(number)),
        in_vain: vec![Action::ConnectionReset],
        helped: Some(Action::Restart),
        resolution: Resolution::Recovered,
        time_to_recover: Some(PAUSE),
    }
}
