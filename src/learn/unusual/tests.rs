//! What is told and what is not, in hours of samples.

use super::*;

const EVERY: u64 = 60;
const QUARTER: Duration = Duration::from_secs(900);

/// Some instances of a worker, sampled every minute.
struct Group {
    all: Vec<Habits>,
    minute: u64,
    /// Warnings: the minute, the instance, in words.
    told: Vec<(u64, usize, String)>,
}

impl Group {
    fn of(count: usize) -> Self {
        Group { all: vec![Habits::default(); count], minute: 60, told: Vec::new() }
    }

    fn now(&self) -> Mono {
        Mono(self.minute * EVERY * 1_000_000)
    }

    fn run(&mut self, hours: u64, cpu: impl Fn(u64, usize) -> Option<f64>) {
        self.run_as(hours, true, cpu);
    }

    fn run_as(&mut self, hours: u64, well: bool, cpu: impl Fn(u64, usize) -> Option<f64>) {
        for _ in 0..hours * 60 {
            self.minute += 1;
            let (now, minute) = (self.now(), self.minute);
            let take = |(n, one): (usize, &mut Habits)| {
                one.take(now, &Reading::default().with(Measure::Cpu, cpu(minute, n)), well)
            };
            if let Some(block) = self.all.iter_mut().enumerate().map(take).fold(None, |over, one| one.or(over)) {
                self.judge(block);
            }
        }
    }

    fn judge(&mut self, block: u32) {
        let common = Common::of(block, self.all.iter());
        for number in 0..self.all.len() {
            let mut one = std::mem::take(&mut self.all[number]);
            let siblings: Vec<&Habits> = self.all.iter().collect();
            one.judge(&common, &siblings);
            let lasting = one.lasting(QUARTER, self.now(), &siblings);
            self.told.extend(lasting.first().map(|first| (self.minute, number, first.text(self.now()))));
            self.all[number] = one;
        }
    }

    fn first(&self) -> Option<&str> {
        self.told.first().map(|(_, _, text)| text.as_str())
    }
}

/// Between 15 and 25 %.
fn usual(minute: u64, number: usize) -> Option<f64> {
    Some(15.0 + ((minute * 7 + number as u64 * 3) % 11) as f64)
}

#[test]
fn one_that_does_what_its_siblings_do_not_is_told_once_it_lasts() {
    let mut group = Group::of(5);
    group.run(60, usual);
    assert_eq!(group.told, []);
    let from = group.minute;
    group.run(1, |minute, n| if n == 2 { Some(150.0) } else { usual(minute, n) });
    let (minute, number, text) = group.told[0].clone();
    assert_eq!(number, 2);
    assert!((15..=25).contains(&(minute - from)), "after {} min", minute - from);
    assert_eq!(text, "CPU 150 %, usually 18 to 22 %; its 4 siblings 19 to 21 %, for 15 min");
    assert!(group.told.iter().all(|(_, number, _)| *number == 2));
}

#[test]
fn what_all_do_is_no_anomaly_of_one() {
    let mut group = Group::of(5);
    group.run(60, usual);
    group.run(3, |minute, n| usual(minute, n).map(|cpu| cpu * 5.0));
    assert_eq!(group.told, []);
}

#[test]
fn one_alone_needs_a_day_of_its_own() {
    let mut young = Group::of(1);
    young.run(12, usual);
    young.run(3, |_, _| Some(150.0));
    assert_eq!(young.told, []);
    let mut known = Group::of(1);
    known.run(60, usual);
    known.run(3, |_, _| Some(150.0));
    assert!(
        known.first().is_some_and(|text| text.starts_with("CPU 150 %, usually 18 to 22 %, for 1 h")),
        "{:?}",
        known.first()
    );
}

#[test]
fn a_burst_is_not_told_and_a_job_that_comes_every_six_hours_is_usual() {
    let mut group = Group::of(1);
    let job = |minute: u64, n: usize| if minute % 360 < 40 { Some(90.0) } else { usual(minute, n) };
    group.run(100, job);
    assert_eq!(group.told, []);
    group.run(6, |_, _| Some(90.0));
    assert!(!group.told.is_empty(), "the same for six hours is not");
}

#[test]
fn an_anomaly_is_not_learned_while_it_lasts_and_is_accepted_after_a_day() {
    let mut group = Group::of(5);
    group.run(60, usual);
    let spins = |minute: u64, n: usize| if n == 2 { Some(150.0) } else { usual(minute, n) };
    group.run(12, spins);
    let last = group.told.last().map(|(minute, ..)| *minute);
    assert!(last.is_some_and(|last| group.minute - last < 10), "it is still told after 12 h");
    group.run(14, spins);
    let told = group.told.len();
    group.run(12, spins);
    assert_eq!(group.told.len(), told, "after a day it is what it does");
}

#[test]
fn what_ended_with_a_restart_is_not_learned_and_what_ended_by_itself_is() {
    let again = |restart: bool| {
        let mut group = Group::of(5);
        group.run(60, usual);
        let spins = |minute: u64, n: usize| if n == 2 { Some(150.0) } else { usual(minute, n) };
        group.run(1, spins);
        if restart {
            let now = group.now();
            group.all[2].begin(now);
        }
        group.run(6, usual);
        group.told.clear();
        group.run(1, spins);
        !group.told.is_empty()
    };
    assert!(again(true));
    assert!(!again(false));
}

#[test]
fn a_deploy_that_changes_all_is_a_new_normal_also_for_one_alone() {
    for count in [1, 5] {
        let mut group = Group::of(count);
        group.run(60, usual);
        let now = group.now();
        group.all.iter_mut().for_each(|one| one.begin(now));
        group.run(48, |minute, n| usual(minute, n).map(|cpu| cpu * 5.0));
        assert_eq!(group.told, [], "{count} instances");
    }
}

#[test]
fn one_that_takes_over_from_another_is_not_told_and_one_that_does_more_beside_it_is() {
    let lead = |leader: usize| {
        move |minute: u64, n: usize| if n == leader { usual(minute, n).map(|cpu| cpu * 2.0) } else { Some(0.5) }
    };
    let mut group = Group::of(5);
    group.run(60, lead(0));
    group.run(30, |minute, n| lead(1)(minute, n).map(|cpu| if n == 1 { cpu * 3.0 } else { cpu }));
    assert_eq!(group.told, []);
    let mut group = Group::of(5);
    group.run(60, lead(0));
    group.run(12, |minute, n| if n == 1 { Some(120.0) } else { lead(0)(minute, n) });
    assert!(group.told.iter().any(|(_, number, _)| *number == 1), "the other one works on");
}

#[test]
fn nothing_is_learned_of_one_that_is_not_well() {
    let mut group = Group::of(1);
    group.run_as(60, false, usual);
    group.run(3, |_, _| Some(150.0));
    assert_eq!(group.told, []);
}

#[test]
fn no_data_is_no_anomaly_and_ends_one() {
    let mut group = Group::of(5);
    group.run(60, usual);
    group.run(5, |minute, n| if n == 2 { None } else { usual(minute, n) });
    assert_eq!(group.told, []);
    group.run(1, |minute, n| if n == 2 { Some(150.0) } else { usual(minute, n) });
    assert!(!group.told.is_empty());
    group.run(1, |minute, n| if n == 2 { None } else { usual(minute, n) });
    group.told.clear();
    group.run(1, |minute, n| if n == 2 { None } else { usual(minute, n) });
    assert_eq!(group.told, []);
}

#[test]
fn a_standstill_among_siblings_that_work_is_told() {
    let mut group = Group::of(5);
    // At night all of them rest.
    let rhythm = |minute: u64, n: usize| if minute % 1440 < 480 { Some(0.1) } else { usual(minute, n) };
    group.run(64, rhythm);
    group.run(8, |minute, n| if n == 1 { Some(0.0) } else { rhythm(minute, n) });
    assert!(group.told.iter().any(|(_, number, _)| *number == 1), "{:?}", group.told);
    assert!(group.told.iter().all(|(_, number, _)| *number == 1));
}

#[test]
fn what_is_unusual_just_now_is_evidence_at_once() {
    let mut group = Group::of(1);
    group.run(40, usual);
    assert_eq!(group.all[0].now(group.now(), &[]), []);
    let soon = Mono(group.now().0 + 400_000_000);
    group.all[0].take(soon, &Reading::default().with(Measure::Cpu, Some(300.0)), true);
    let found = group.all[0].now(soon, &[]);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].measure, found[0].against), (Measure::Cpu, Against::OwnPast));
    assert!(found[0].strength >= 3.0 && found[0].strength <= 30.0);
    let later = Mono(soon.0 + 3_600_000_000);
    assert_eq!(group.all[0].now(later, &[]), [], "an hour later nobody knows");
}

#[test]
fn memory_is_bounded() {
    let mut group = Group::of(4);
    group.run(24 * 11, usual);
    let before = group.all[0].heap_bytes();
    group.run(24 * 3, usual);
    assert_eq!(group.all[0].heap_bytes(), before);
}

#[test]
fn another_life_goes_on_from_what_was_usual() {
    let mut group = Group::of(5);
    group.run(60, usual);
    let kept: Vec<Vec<KeptUsual>> = group.all.iter().map(Habits::kept).collect();
    let mut heir = Group::of(5);
    heir.all.iter_mut().zip(&kept).for_each(|(one, known)| one.recall(known));
    let mut stranger = Group::of(5);
    for group in [&mut heir, &mut stranger] {
        group.run(3, usual);
        assert_eq!(group.told, []);
        group.run(1, |minute, n| if n == 2 { Some(150.0) } else { usual(minute, n) });
    }
    assert!(heir.first().is_some_and(|text| text.starts_with("CPU 150 %, usually ")), "{:?}", heir.told);
    assert_eq!(stranger.told, [], "who knows little says nothing");
}

/// Work that scatters as there is more of it.
fn work(minute: u64, percent: f64) -> f64 {
    percent * (0.7 + ((minute * 7) % 11) as f64 * 0.06)
}

#[test]
fn a_thread_that_spins_is_told_of_one_alone_and_more_of_the_same_work_is_not() {
    let mut group = Group::of(1);
    group.run(60, |minute, _| Some(work(minute, 30.0)));
    group.run(6, |minute, _| Some(work(minute, 120.0)));
    assert_eq!(group.told, []);
    let mut group = Group::of(1);
    group.run(60, |minute, _| Some(work(minute, 30.0)));
    let from = group.minute;
    group.run(6, |minute, _| Some(work(minute, 30.0) + 97.0));
    let after = group.told.first().map(|(minute, ..)| minute - from);
    assert!(after.is_some_and(|after| (60..90).contains(&after)), "after {after:?} min");
}

#[test]
fn a_job_as_steady_as_a_thread_that_spins_is_usual_for_as_long_as_jobs_are() {
    let mut group = Group::of(1);
    let job = |minute: u64| if minute % 300 < 40 { 97.0 } else { 0.0 };
    group.run(60, |minute, _| Some(work(minute, 30.0) + job(minute)));
    let from = group.minute;
    group.run(8, |minute, _| Some(work(minute, 30.0) + 97.0));
    let after = group.told.first().map(|(minute, ..)| minute - from);
    assert!(after.is_some_and(|after| (120..360).contains(&after)), "after {after:?} min");
}

#[test]
fn a_handover_is_seen_that_a_job_before_it_hides() {
    let mut group = Group::of(5);
    let lead = |leader: usize, minute: u64, n: usize| match n == leader {
        true => usual(minute, n).map(|cpu| cpu * 2.0),
        false => Some(0.5),
    };
    // The last of its jobs ends when it takes over.
    let job = |minute: u64, n: usize| n == 1 && (minute + 340 - 3_660 % 300) % 300 < 40;
    group.run(60, |minute, n| if job(minute, n) { Some(95.0) } else { lead(0, minute, n) });
    group.run(30, |minute, n| lead(1, minute, n).map(|cpu| if n == 1 { cpu * 2.0 } else { cpu }));
    assert_eq!(group.told, []);
}

#[test]
fn a_spin_within_what_is_usual_is_evidence_as_well() {
    let mut group = Group::of(1);
    // A job of half an hour, twice a day, takes more than a thread that spins.
    let job = |minute: u64, n: usize| match minute % 720 {
        0..30 => Some(180.0 + (minute * 37 % 60) as f64),
        _ => usual(minute, n),
    };
    group.run(4 * 24, job);
    assert_eq!(group.told, []);
    group.run(6, |minute, n| job(minute, n).map(|cpu| cpu + 97.0));
    let evidence = group.all[0].now(group.now(), &[]);
    assert!(group.all[0].may_be_unusual(group.now()), "a first look does not leave it out");
    assert!(evidence.first().is_some_and(|one| one.measure == Measure::Cpu && one.since < group.now()), "{evidence:?}");
}
