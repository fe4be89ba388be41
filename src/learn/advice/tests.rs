//! For each kind: a clear case, too little of it, and what speaks against it. And that a past without trouble gives nothing.

use super::fixtures::*;
use crate::model::advice::{Confidence, ProposalKind};
use crate::model::incident::Origin;
use crate::model::{Action, Condition, Outcome, Resolution};

fn about<'p>(found: &'p [super::Proposal], name: &str) -> Option<&'p super::Proposal> {
    let mut of_it = found.iter().filter(|one| one.worker.as_str() == name);
    let first = of_it.next();
    assert!(of_it.next().is_none(), "more than one about {name}: {found:#?}");
    first
}

/// `backoff = "2min"`, without the worker's name.
fn change(history: &History, name: &str) -> Option<String> {
    let found = history.advise();
    about(&found, name).map(|one| one.toml.replace(&format!("worker.{name}."), "").trim().replace('\n', "; "))
}

#[test]
fn all_kinds_are_found_and_each_names_its_change() {
    let history = everything();
    let found = history.advise();
    for kind in ProposalKind::ALL {
        assert!(found.iter().any(|one| one.kind == *kind), "{kind}");
    }
    let expected = [
        ("cache", "memory_threshold = 93"),
        ("beats", "heartbeat_timeout = \"160s\""),
        ("probed", "probe_failures = 5; probe_window = 5"),
        ("noisy", "error_rate_threshold = 0.7"),
        ("needs-db", "backoff = \"2min\""),
        ("slow_to_try", "restart_cooldown = \"450s\""),
        ("patient", "backoff = \"10s\""),
        ("resets", "plans.hung = [\"graceful_restart\", \"restart\", \"escalate\"]"),
        ("settled", "plans.hung = [\"restart\", \"connection_reset\", \"graceful_restart\", \"escalate\"]"),
        ("drains", "drain_timeout = \"7s\""),
        ("drains-soon", "drain_timeout = \"25s\""),
        ("drains-never", "drain_timeout = \"1min\""),
        ("fills", "memory_target = 40"),
        ("fills-at-once", "plans.memory_high = [\"graceful_restart\", \"escalate\"]"),
        ("busy", "min_instances = 3"),
        ("leaks", "preventive = true"),
        ("first", ""),
    ];
    for (name, toml) in expected {
        assert_eq!(change(&history, name).as_deref(), Some(toml), "{name}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert!(found.is_sorted_by_key(|one| std::cmp::Reverse(one.confidence)));
    assert_eq!(history.advise(), found, "the same again");
    let mut turned = everything();
    turned.incidents.reverse();
    assert_eq!(turned.advise(), found, "in any order");
}

/// Numbers that look like chance, and are the same each time.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn moment(&mut self) -> f64 {
        self.next() * SPAN as f64
    }
}

/// A month of six workers in which what fails is repaired, and what is raised is real.
fn healthy(seed: u64) -> History {
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    let mut history = History::of(&NAMES).with("f", |one| one.max_instances = Some(4));
    let mut dice = Dice(seed);
    for name in NAMES {
        for _ in 0..(dice.next() * 25.0) as usize {
            history.cured(name, dice.moment(), Condition::Dead, Action::Restart, 0.0);
        }
        for _ in 0..(dice.next() * 10.0) as usize {
            let peak = 86.0 + dice.next() * 12.0;
            history.cured(name, dice.moment(), Condition::MemoryHigh, Action::MemoryCleanup, peak);
        }
        for _ in 0..(dice.next() * 10.0) as usize {
            let took = 0.5 + dice.next() * 20.0;
            history.drained(name, dice.moment(), Some(took));
        }
        for _ in 0..3 {
            history.wolf(name, dice.moment(), Condition::MemoryHigh, 86.0 + dice.next() * 5.0, 60.0);
        }
    }
    for day in 0..30 {
        if dice.next() < 0.5 {
            let begun = (day * DAY + 9 * HOUR) as f64;
            history.scaled("f", "2", begun, begun + dice.next() * 4.0 * HOUR as f64);
        }
    }
    history
}

#[test]
fn a_past_in_which_all_went_well_gives_no_advice() {
    assert_eq!(History::of(&["a"]).advise(), []);
    for seed in 0..300 {
        let found = healthy(seed).advise();
        assert!(found.is_empty(), "seed {seed}: {found:#?}");
    }
}

#[test]
fn what_is_not_configured_or_not_over_or_too_old_does_not_count() {
    let mut history = everything();
    history.settings.workers.clear();
    assert_eq!(history.advise(), []);
    let mut history = everything();
    history.incidents.iter_mut().for_each(|one| one.closed_at = None);
    assert_eq!(history.advise(), []);
    let mut history = everything();
    history.incidents.iter_mut().for_each(|one| one.opened_wall.0 -= 40 * DAY as i64 * 1_000_000);
    assert_eq!(history.advise(), []);
}

#[test]
fn a_threshold_is_moved_between_the_false_and_the_real() {
    let with = |not_real: &[f64], real: &[f64]| {
        let mut history = History::of(&["m"]);
        for (n, peak) in not_real.iter().enumerate() {
            history.wolf("m", n as f64 * 90_000.0, Condition::MemoryHigh, *peak, 60.0);
        }
        for (n, peak) in real.iter().enumerate() {
            history.cured("m", n as f64 * 80_000.0 + 7.0, Condition::MemoryHigh, Action::GracefulRestart, *peak);
        }
        change(&history, "m")
    };
    let some = |text: &str| Some(text.to_string());
    assert_eq!(with(&[86.0, 88.0, 87.0, 86.0, 86.5], &[]), some("memory_threshold = 95"));
    assert_eq!(with(&[86.0; 10], &[98.0]), some("memory_threshold = 92"));
    assert_eq!(with(&[86.0; 4], &[]), None, "too few");
    assert_eq!(with(&[86.0; 6], &[98.0; 4]), None, "not mostly");
    assert_eq!(with(&[86.0, 86.0, 92.0, 86.0, 86.0, 86.0, 86.0, 86.0], &[91.0]), None, "a real one was lower");
    assert_eq!(with(&[96.0; 8], &[]), None, "close to the limit nothing is passed over");
    assert_eq!(with(&[84.0; 9], &[]), None, "today's threshold does not raise them");
}

#[test]
fn patience_is_stretched_to_what_went_away_by_itself_and_not_further() {
    let with = |lasted: f64, count: usize, was: f64| {
        let mut history = History::of(&["h"]);
        for n in 0..count {
            history.wolf("h", n as f64 * 90_000.0, Condition::Hung, was, lasted);
            let one = history.incidents.last_mut().unwrap();
            one.conditions.get_mut(&Condition::Hung).unwrap().threshold = Some(was);
        }
        change(&history, "h")
    };
    assert_eq!(with(50.0, 6, 120.0).as_deref(), Some("heartbeat_timeout = \"3min\""));
    assert_eq!(with(50.0, 4, 120.0), None, "too few");
    assert_eq!(with(600.0, 6, 120.0), None, "a real one would wait for ten minutes");
    assert_eq!(with(50.0, 6, 60.0), None, "they were raised by a shorter timeout than today's");
    let mut acted = History::of(&["h"]);
    for n in 0..8 {
        acted.cured("h", n as f64 * 90_000.0, Condition::Hung, Action::Restart, 120.0);
        close(acted.incidents.last_mut().unwrap(), Resolution::FalseAlarm, 5.0);
    }
    assert_eq!(change(&acted, "h"), None, "how long they would have lasted is not known");
}

#[test]
fn pauses_are_judged_by_what_helped_after_them() {
    let mut mixed = History::of(&["needs-db", "slow_to_try", "patient"]);
    pauses(&mut mixed);
    mixed.incidents.retain(|one| one.worker.as_str() == "needs-db");
    assert!(change(&mixed, "needs-db").is_some());
    let mut few = History { incidents: mixed.incidents[..4].to_vec(), ..History::of(&["needs-db"]) };
    assert_eq!(change(&few, "needs-db"), None, "too few");
    few.incidents = mixed.incidents;
    for n in 0..6 {
        let one = few.incident("needs-db", 50_000.0 + n as f64 * 100_000.0, Condition::Dead);
        tried(one, Action::Restart, 0.0, 10.0, Outcome::Failed);
        tried(one, Action::Restart, 12.0, 3.0, Outcome::Succeeded);
    }
    assert_eq!(change(&few, "needs-db"), None, "as often the next try helped at once");
}

#[test]
fn an_action_leaves_the_plan_only_where_another_one_helps() {
    let with = |resets: usize, helped: usize, restarts: Outcome| {
        let mut history = History::of(&["r"]);
        for n in 0..resets {
            let one = history.incident("r", n as f64 * 90_000.0, Condition::Hung);
            let order = [Action::ConnectionReset, Action::Restart, Action::Escalate];
            planned(one, Condition::Hung, &order, false);
            match n < helped {
                true => drop(tried(one, Action::ConnectionReset, 0.0, 3.0, Outcome::Succeeded)),
                false => {
                    tried(one, Action::ConnectionReset, 0.0, 60.0, Outcome::Failed);
                    tried(one, Action::Restart, 61.0, 3.0, restarts);
                }
            }
        }
        history
    };
    let toml = Some("plans.hung = [\"restart\", \"escalate\"]".to_string());
    assert_eq!(change(&with(16, 0, Outcome::Succeeded), "r"), toml);
    assert_eq!(change(&with(12, 0, Outcome::Succeeded), "r"), None, "too few");
    assert_eq!(change(&with(20, 4, Outcome::Succeeded), "r"), None, "it helps now and then");
    assert_eq!(change(&with(20, 0, Outcome::Failed), "r"), None, "nothing helps");
    let superseded = with(20, 0, Outcome::Superseded);
    assert_eq!(change(&superseded, "r"), None, "nothing is known to help");
    let already = with(20, 0, Outcome::Succeeded)
        .with("r", |one| drop(one.plans.insert(Condition::Hung, vec![Action::Restart, Action::Escalate])));
    assert_eq!(change(&already, "r"), None, "it is not in the plan any more");
}

#[test]
fn an_order_has_settled_when_all_plans_began_with_what_is_far_better() {
    let with = |tries: u64, low: f64, second: u64, others: usize| {
        let mut history = History::of(&["s"]);
        for n in 0..12 {
            let one = history.incident("s", n as f64 * 90_000.0, Condition::Hung);
            let mut order = [Action::Restart, Action::GracefulRestart];
            if n >= 12 - others {
                order.reverse();
            }
            planned(one, Condition::Hung, &order, true);
            tried(one, order[0], 0.0, 3.0, Outcome::Succeeded);
        }
        let ranked = [(Action::Restart, low, tries, tries, 9), (Action::GracefulRestart, 0.1, 5, 1, second)];
        history.strategies.push(strategy("s", Condition::Hung, &ranked));
        change(&history, "s").is_some()
    };
    assert!(with(12, 0.8, 40, 0));
    assert!(!with(6, 0.8, 40, 0), "too few tries");
    assert!(!with(12, 0.5, 40, 0), "too uncertain");
    assert!(!with(12, 0.8, 15, 0), "not much better");
    assert!(!with(12, 0.8, 40, 1), "the last plan was another one");
}

#[test]
fn drains_are_judged_by_those_under_the_limit_of_today() {
    let with = |ended: &[f64], cut_off: usize, limit: u64| {
        let mut history = History::of(&["d"]).with("d", |one| one.drain_timeout = seconds(limit));
        for (n, took) in ended.iter().enumerate() {
            history.drained("d", n as f64 * 90_000.0, Some(*took));
        }
        for n in 0..cut_off {
            history.drained("d", n as f64 * 90_000.0 + 40_000.0, None);
        }
        history
    };
    let toml = |text: &str| Some(text.to_string());
    assert_eq!(change(&with(&[2.0; 5], 5, 30), "d"), toml("drain_timeout = \"5s\""));
    assert_eq!(change(&with(&[2.0; 4], 4, 30), "d"), None, "too few");
    assert_eq!(change(&with(&[2.0, 20.0, 3.0, 4.0, 2.0], 5, 30), "d"), None, "one took nearly as long");
    assert_eq!(change(&with(&[2.0; 20], 0, 30), "d"), None, "a short limit that is not reached costs nothing");
    assert_eq!(change(&with(&[2.0; 9], 0, 300), "d"), None, "the slow one may be yet to come");
    assert_eq!(change(&with(&[2.0; 20], 1, 300), "d"), None, "one was cut off, and why is not known");
    assert_eq!(change(&with(&[], 5, 30), "d"), toml("drain_timeout = \"1min\""));
    let longer = with(&[2.0; 20], 0, 300).with("d", |one| one.drain_timeout = seconds(120));
    assert_eq!(change(&longer, "d"), None, "they had another limit");
}

#[test]
fn a_cleanup_that_lasts_is_left_alone() {
    let with = |pause: u64, count: u64| {
        let mut history = History::of(&["m"]);
        for n in 0..count {
            let begun = (n * pause + n * n * pause / 20) as f64;
            history.cured("m", begun, Condition::MemoryHigh, Action::MemoryCleanup, 90.0);
        }
        change(&history, "m")
    };
    assert_eq!(with(30 * MINUTE, 8).as_deref(), Some("memory_target = 40"));
    assert_eq!(with(30 * MINUTE, 5), None, "too few");
    assert_eq!(with(30 * HOUR, 14), None, "it lasted for days");
    let mut reopened = History::of(&["m"]);
    for n in 0..3 {
        let one = reopened.incident("m", n as f64 * 700_000.0, Condition::MemoryHigh);
        for n in 0..8 {
            tried(one, Action::MemoryCleanup, f64::from(n) * 300.0, 20.0, Outcome::Succeeded);
        }
    }
    assert!(change(&reopened, "m").is_some(), "within one incident that was reopened");
}

#[test]
fn instances_stay_where_they_run_as_a_rule() {
    let with = |days: u64, hours: f64, own: u32| {
        let mut history = History::of(&["w"]).with("w", |one| {
            one.max_instances = Some(5);
            one.min_instances = (own > 1).then_some(own);
        });
        for day in 0..days {
            let begun = (day * DAY) as f64;
            history.scaled("w", "8", begun, begun + hours * HOUR as f64);
        }
        change(&history, "w")
    };
    assert_eq!(with(30, 20.0, 1).as_deref(), Some("min_instances = 2"));
    assert_eq!(with(30, 20.0, 3).as_deref(), Some("min_instances = 4"));
    assert_eq!(with(30, 4.0, 1), None, "a few hours a day are what scaling is for");
    assert_eq!(with(9, 24.0, 1), None, "too few");
    assert_eq!(with(30, 20.0, 5), None, "max_instances are there already");
}

#[test]
fn memory_leaks_when_it_fills_like_a_clock_and_not_like_a_day() {
    let with = |period: f64, wobble: f64, count: usize| {
        let mut history = History::of(&["l"]);
        let mut dice = Dice(7);
        let mut begun = 5_000.0;
        for _ in 0..count {
            history.cured("l", begun, Condition::OomKilled, Action::Restart, 0.0);
            begun += period * HOUR as f64 * (1.0 + wobble * (dice.next() * 2.0 - 1.0));
        }
        about(&history.advise(), "l").map(|one| one.title.clone())
    };
    assert_eq!(with(9.0, 0.02, 12).as_deref(), Some("memory of l@1.service fills every 9 h"));
    assert_eq!(with(9.0, 0.1, 6), None, "too few");
    assert_eq!(with(9.0, 0.9, 20), None, "at any time");
    assert_eq!(with(24.0, 0.001, 20), None, "the rhythm of a day");
    assert_eq!(with(0.5, 0.1, 20), None, "too small for its work from the beginning");
}

#[test]
fn workers_fall_together_beyond_chance_or_not_at_all() {
    let mut history = History::of(&["x", "y", "z"]);
    together(&mut history, "x", "y", 5);
    let found = history.advise();
    let one = about(&found, "x").unwrap();
    assert_eq!((one.title.as_str(), one.confidence), ("x and y fall together", Confidence::Sure));
    assert!(one.evidence[1].starts_with("x fails first, 5.0 s before y"), "{:?}", one.evidence);
    together(&mut history, "y", "z", 6);
    let found = history.advise();
    assert_eq!(about(&found, "x").unwrap().title, "x, y and z fall together");
    assert!(found[0].is_about(&worker("z")) && found.len() == 1, "{found:#?}");

    let mut few = History::of(&["x", "y"]);
    together(&mut few, "x", "y", 3);
    assert_eq!(few.advise(), [], "too few");

    let mut often = History::of(&["x", "y"]);
    for n in 0..400 {
        often.cured("x", n as f64 * 6_000.0, Condition::Dead, Action::Restart, 0.0);
        let near = n as f64 * 6_000.0 + if n % 100 < 1 { 30.0 } else { 3_000.0 };
        often.cured("y", near, Condition::Dead, Action::Restart, 0.0);
    }
    assert_eq!(often.advise(), [], "both fail all the time, and now and then at the same");
}

#[test]
fn chance_alone_brings_no_workers_together() {
    const NAMES: [&str; 20] =
        ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t"];
    for seed in 0..50 {
        let mut history = History::of(&NAMES);
        let mut dice = Dice(seed);
        for name in NAMES {
            for _ in 0..60 {
                history.cured(name, dice.moment(), Condition::Dead, Action::Restart, 0.0);
            }
        }
        assert_eq!(history.advise(), [], "seed {seed}");
    }
}

#[test]
fn an_errand_is_no_failure() {
    let mut history = everything();
    for one in &mut history.incidents {
        one.origin = Origin::Operator { who: "ada".into(), action: Action::Restart, force: false };
        one.conditions.clear();
    }
    history.strategies.clear();
    let found = history.advise();
    let drains = found.iter().all(|one| one.kind == ProposalKind::DrainTime);
    assert!(drains && found.len() == 3, "how long a drain takes does not depend on who asked: {found:#?}");
}

#[test]
fn what_is_proposed_is_bounded() {
    let names: Vec<String> = (0..200).map(|n| format!("w{n}")).collect();
    let mut history = History::of(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut dice = Dice(1);
    for name in &names {
        for _ in 0..20 {
            history.wolf(name, dice.moment(), Condition::MemoryHigh, 86.0, 60.0);
        }
    }
    assert_eq!(history.advise().len(), super::PROPOSALS_MAX);
}
