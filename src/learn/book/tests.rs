//! A worker's life in virtual time, and what the book says of it.

use super::*;
use crate::model::pattern::{HoursAhead, PatternFilter, PatternView};

const MINUTE: u64 = 60_000_000;
const HOUR: u64 = 60 * MINUTE;
/// 2026-11-23 00:00 UTC, a Monday.
const MONDAY: i64 = 1_795_392_000_000_000;

struct Life {
    book: Book,
    at: u64,
    wall: i64,
    incidents: u64,
}

fn worker() -> WorkerName {
    WorkerName::new("mail").unwrap()
}

fn unit(number: u32) -> UnitName {
    UnitName::new(&format!("mail@{number}.service")).unwrap()
}

impl Life {
    fn new() -> Self {
        Self { book: Book::default(), at: HOUR, wall: MONDAY, incidents: 0 }
    }

    fn moment(&self) -> Moment {
        let hours = self.wall.div_euclid(HOUR as i64);
        let date = hours.div_euclid(24);
        Moment {
            now: Now { mono: Mono(self.at), wall: Wall(self.wall) },
            hour: hours.rem_euclid(24) as u8,
            day: (date - MONDAY / (24 * HOUR as i64)).rem_euclid(7) as u8,
            date,
        }
    }

    /// Time goes by, watched by two instances.
    fn pass(&mut self, span: u64) {
        let end = self.at + span;
        while self.at < end {
            let step = (10 * MINUTE).min(end - self.at);
            (self.at, self.wall) = (self.at + step, self.wall + step as i64);
            let moment = self.moment();
            self.book.advance(&moment);
            self.book.watched([worker(), worker()].iter(), Duration::from_micros(step));
        }
    }

    fn say(&mut self, id: u64, number: u32) {
        let (unit, worker, at) = (unit(number), worker(), Mono(self.at));
        let seen = Sighting { id: PatternId(id), worker: &worker, unit: &unit, first: at, last: at, count: 1 };
        self.book.note(&seen, &self.moment());
        self.book.describe(PatternId(id), &format!("pattern {id}"));
    }

    fn fail(&mut self, number: u32) {
        self.incidents += 1;
        self.book.incident(&worker(), &unit(number), IncidentId(self.incidents), Mono(self.at));
    }

    fn heal(&mut self, number: u32) {
        self.book.over(&unit(number));
    }

    fn view(&self, id: u64) -> PatternView {
        let filter = PatternFilter { id: Some(PatternId(id)), ..PatternFilter::default() };
        self.book.view(&filter).patterns.remove(0)
    }
}

#[test]
fn what_precedes_incidents_is_told_from_what_always_comes_and_from_chance() {
    let mut life = Life::new();
    // Noise each 20 minutes; a fatal line 5 minutes before each incident; another one now and then.
    for turn in 0..60_u64 {
        for step in 0..17 {
            life.say(1, 1);
            if turn % 7 == 3 && step == 9 {
                life.say(3, 1);
            }
            life.pass(20 * MINUTE);
        }
        if turn % 5 == 0 {
            // At any time between two of the noise, and not always at the same.
            life.pass(turn * 7 % 20 * MINUTE);
            life.say(2, 1);
            life.pass(5 * MINUTE);
            life.fail(1);
            life.pass(MINUTE);
            life.heal(1);
        }
    }
    let (noise, fatal, other) = (life.view(1), life.view(2), life.view(3));
    let precedes = &fatal.workers[0].precedes;
    assert!(precedes.beyond_chance && precedes.chance < 1e-6, "{precedes:?}");
    assert!(precedes.followed > 9.0 && precedes.expected < 1.0, "{precedes:?}");
    assert_eq!(precedes.median_lead, Some(Duration::from_secs(300)));
    assert_eq!(precedes.incidents.len(), 8);
    assert!(noise.workers[0].precedes.followed > 3.0, "it is followed: {:?}", noise.workers[0].precedes);
    assert!(!noise.workers[0].precedes.beyond_chance, "{:?}", noise.workers[0].precedes);
    assert!(!other.workers[0].precedes.beyond_chance, "{:?}", other.workers[0].precedes);
    let warns = |id: u64| life.book.warns(PatternId(id), &worker());
    let told = warns(2).expect("it is a sign");
    assert_eq!((told.followed.round(), told.lead), (told.of.round(), Duration::from_secs(300)));
    assert_eq!((warns(1), warns(3), warns(4)), (None, None, None), "noise, another one, one that is not known");
    assert!(life.book.usual(PatternId(1), &worker()) > 0.3, "one of two instances writes it all the time");
    assert!(life.book.usual(PatternId(2), &worker()) < 0.01);
    assert_eq!(life.book.view(&PatternFilter::default()).patterns[0].id, PatternId(2), "comes first");
}

#[test]
fn the_last_words_of_a_process_count_though_they_come_after_the_word_of_its_end() {
    let mut life = Life::new();
    life.pass(24 * HOUR);
    life.fail(1);
    life.at += 40_000;
    life.say(1, 1);
    life.say(1, 1);
    assert_eq!(life.view(1).workers[0].precedes.followed, 1.0, "once");
    // What comes later is of the next process, and begins nothing while the incident is open.
    life.at += 40_000;
    life.say(2, 1);
    assert_eq!(life.view(2).workers[0].precedes.followed, 0.0);
    life.heal(1);
    life.pass(HOUR);
    assert_eq!(life.view(2).workers[0].precedes.spans, 0.0);
}

#[test]
fn an_incident_of_another_instance_or_long_after_is_not_preceded() {
    let mut life = Life::new();
    life.say(1, 1);
    life.pass(MINUTE);
    life.fail(2);
    life.pass(31 * MINUTE);
    life.fail(1);
    let precedes = &life.view(1).workers[0].precedes;
    assert_eq!((precedes.spans, precedes.followed), (1.0, 0.0));
}

/// Chance alone, many times: patterns that come at random, incidents that do, too.
#[test]
fn chance_is_hardly_ever_taken_for_a_cause() {
    let mut told = 0;
    for seed in 1..=20_u64 {
        let mut life = Life::new();
        let mut chance = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut below = |limit: u64| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (chance >> 33) % limit
        };
        for _ in 0..1_000 {
            life.pass(10 * MINUTE);
            let id = below(120);
            if id < 20 {
                life.say(id, 1);
            }
            if below(60) == 0 {
                life.fail(1);
                life.pass(MINUTE);
                life.heal(1);
            }
        }
        let view = life.book.view(&PatternFilter::default());
        let of = |view: &PatternView| {
            let one = &view.workers[0];
            usize::from(one.precedes.beyond_chance) + usize::from(one.hours.is_some()) + usize::from(one.days.is_some())
        };
        told += view.patterns.iter().map(of).sum::<usize>();
    }
    // Each book looks for three things, and may be wrong in one of a hundred.
    assert!(told <= 2, "{told} wrong words in 20 books");
}

#[test]
fn nights_and_weekdays_stand_out_and_one_long_night_does_not() {
    let mut life = Life::new();
    // Each night at 2 and each Tuesday at noon; pattern 5 for a whole night, once.
    for day in 0..56 {
        life.pass(2 * HOUR);
        life.say(1, 1);
        life.say(1, 2);
        if day == 10 {
            for _ in 0..40 {
                life.pass(5 * MINUTE);
                life.say(5, 1);
            }
            life.pass(6 * HOUR + 40 * MINUTE);
        } else {
            life.pass(10 * HOUR);
        }
        if day % 7 == 1 {
            life.say(2, 1);
        }
        life.pass(12 * HOUR);
    }
    let night = life.view(1).workers[0].hours.clone().expect("a cluster");
    assert_eq!((night.from, night.length, night.within, night.of), (2, 1, 56, 56));
    assert!(!night.like_others && night.chance < 1e-9);
    assert_eq!(life.view(1).workers[0].days, None);
    let tuesday = life.view(2).workers[0].days.clone().expect("a day");
    assert_eq!((tuesday.from, tuesday.length, tuesday.within), (1, 1, 8));
    assert_eq!(life.view(5).workers[0].hours, None);
}

#[test]
fn a_worker_that_works_at_night_errs_at_night() {
    let mut life = Life::new();
    for _ in 0..40 {
        life.pass(3 * HOUR);
        (1..=6).for_each(|id| life.say(id, 1));
        life.pass(21 * HOUR);
    }
    assert!(life.view(1).workers[0].hours.as_ref().expect("a cluster").like_others);
}

#[test]
fn rates_fade_and_what_has_just_come_is_not_extrapolated() {
    let mut life = Life::new();
    for _ in 0..10 {
        life.say(1, 1);
    }
    assert!(life.view(1).per_hour < 11.0, "{}", life.view(1).per_hour);
    for _ in 0..96 {
        life.pass(HOUR);
        (0..6).for_each(|_| life.say(1, 1));
    }
    assert!((life.view(1).per_hour - 6.0).abs() < 0.5, "{}", life.view(1).per_hour);
    life.pass(96 * HOUR);
    assert!(life.view(1).per_hour < 0.2);
}

#[test]
fn what_was_unusual_is_remembered_with_the_spans_that_began_then() {
    let mut life = Life::new();
    life.book.tell_unusual(&unit(1), vec![Unusual { name: "memory".into(), strength: 5.0 }]);
    life.say(1, 1);
    life.pass(HOUR);
    life.book.tell_unusual(&unit(1), vec![Unusual { name: "memory".into(), strength: 7.0 }]);
    life.say(1, 1);
    life.pass(HOUR);
    life.book.tell_unusual(&unit(1), Vec::new());
    for _ in 0..2 {
        life.say(1, 1);
        life.pass(HOUR);
    }
    let unusual = &life.view(1).unusual;
    assert_eq!((unusual[0].name.as_str(), unusual[0].share, unusual[0].strength), ("memory", 0.5, 6.0));
}

#[test]
fn a_flood_of_patterns_is_bounded_and_takes_nothing_that_is_established() {
    let mut life = Life::new();
    for _ in 0..5 {
        life.say(1, 1);
        life.pass(HOUR);
    }
    life.say(2, 1);
    life.fail(1);
    life.heal(1);
    for id in 100..20_000 {
        life.say(id, 1);
    }
    assert!(life.book.len() <= PATTERNS_KEPT && life.book.evicted() > 10_000);
    assert!(life.book.contains(PatternId(1)) && life.book.contains(PatternId(2)));
    for number in 0..500 {
        life.say(1, number);
        life.say(1, number);
    }
    life.book.check().unwrap();
}

#[test]
fn it_is_written_and_read_and_goes_on_whatever_the_clocks_say() {
    let mut life = Life::new();
    for _ in 0..5 {
        life.say(1, 1);
        life.pass(HOUR);
        life.fail(1);
        life.pass(MINUTE);
        life.heal(1);
    }
    let text = serde_json::to_string(&life.book).unwrap();
    for (mono, wall) in [(1, i64::MAX), (u64::MAX, i64::MIN), (MINUTE, 0), (HOUR, life.wall + HOUR as i64)] {
        let book: Book = serde_json::from_str(&text).unwrap();
        book.check().unwrap();
        (life.at, life.wall) = (mono, wall.clamp(-(1 << 60), 1 << 60));
        life.book = book;
        let (before, total) = (life.book.clock, life.view(1).total);
        life.say(1, 1);
        assert!(life.book.clock >= before && life.book.clock - before <= AWAY_MAX.as_micros() as u64);
        assert_eq!(life.view(1).total, total + 1);
        // Back in time, and forth again.
        for at in [0, 1 << 50, 5] {
            life.at = at;
            life.say(1, 2);
        }
        assert!(life.view(1).per_hour.is_finite());
        life.book.check().unwrap();
    }
}

#[test]
fn what_no_book_of_ours_would_be_is_refused() {
    let mut life = Life::new();
    life.say(1, 1);
    life.pass(HOUR);
    let good = serde_json::to_value(&life.book).unwrap();
    serde_json::from_value::<Book>(good.clone()).unwrap().check().unwrap();
    let id = PatternId(1).to_string();
    for (path, value) in [
        ("/clock".to_owned(), serde_json::json!(u64::MAX)),
        (format!("/entries/{id}/template"), serde_json::json!("x".repeat(TEMPLATE_MAX + 1))),
        (format!("/entries/{id}/recent"), serde_json::json!(-1.0)),
        (format!("/entries/{id}/seen"), serde_json::json!(1_u64 << 59)),
        (format!("/entries/{id}/workers/mail/followed"), serde_json::json!(-3.0)),
        ("/workers/mail/spans".to_owned(), serde_json::json!(-3.0)),
        ("/workers/mail/outbreaks/hours/3".to_owned(), serde_json::json!(u32::MAX)),
        (format!("/entries/{id}/workers/mail/outbreaks/days/3"), serde_json::json!(u32::MAX)),
        (format!("/entries/{id}/template"), serde_json::json!("a\x1b[2J")),
        ("/hours/3".to_owned(), serde_json::json!(u64::MAX)),
        ("/days/3".to_owned(), serde_json::json!(1_u64 << 50)),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(&path).unwrap() = value;
        assert!(serde_json::from_value::<Book>(bad).unwrap().check().is_err(), "{path}");
    }
}

#[test]
fn patterns_that_become_one_have_one_past() {
    let mut life = Life::new();
    life.say(1, 1);
    life.say(2, 1);
    life.say(2, 2);
    life.pass(MINUTE);
    life.fail(1);
    life.book.merge(PatternId(2), PatternId(1));
    life.book.merge(PatternId(9), PatternId(1));
    life.book.merge(PatternId(1), PatternId(7));
    let merged = life.view(7);
    assert_eq!((life.book.len(), merged.total), (1, 3));
    assert_eq!(merged.workers[0].precedes.incidents, [IncidentId(1)]);
    assert_eq!(merged.workers[0].units.len(), 2);
}

/// The unit fails within the hour `at(day)` of each day, if in one; says what is foretold at which hours of the last day.
fn nights(days: u64, at: impl Fn(u64) -> Option<u64>) -> Vec<(u8, HoursAhead)> {
    let mut life = Life::new();
    let mut told = Vec::new();
    for day in 0..days {
        for hour in 0..24 {
            let moment = life.moment();
            if day + 1 == days {
                told.extend(life.book.hours_ahead(&moment).into_iter().map(|ahead| (moment.hour, ahead)));
            }
            life.pass(20 * MINUTE);
            if at(day) == Some(hour) {
                life.fail(1);
                life.pass(10 * MINUTE);
                life.heal(1);
                life.pass(30 * MINUTE);
            } else {
                life.pass(40 * MINUTE);
            }
        }
    }
    told
}

#[test]
fn hours_at_which_a_unit_mostly_fails_are_foretold() {
    let told = nights(12, |day| (day != 4).then_some(3));
    let hours: Vec<u8> = told.iter().map(|(hour, _)| *hour).collect();
    assert_eq!(hours, [2, 3], "an hour before, and when it begins; not after it has failed");
    let ahead = &told[0].1;
    assert_eq!((ahead.hours.from, ahead.hours.length, ahead.days.is_some()), (3, 1, false), "{ahead:?}");
    assert_eq!((ahead.failed, ahead.dates), (10, 11));
    assert_eq!(ahead.text(), "it has mostly failed from 03:00 to 04:00 (local time): on 10 of 11 days, 10 of 10 times");
    assert_eq!(ahead.until, Mono(HOUR * (1 + 11 * 24 + 4)));
    // The second time it is the same hour, and it ends at the same time.
    assert_eq!(told[1].1.until, ahead.until);
}

#[test]
fn what_has_no_hours_or_none_any_more_is_not_foretold() {
    assert_eq!(nights(40, |day| (day % 9 == 0).then_some(3)), [], "seldom");
    assert_eq!(nights(40, |day| Some(day * 7 % 24)), [], "at all hours");
    assert_eq!(nights(16, |day| (day < 12).then_some(3)), [], "no longer");
    assert_ne!(nights(14, |day| (day < 12).then_some(3)), [], "one date may be missed");
    assert_eq!(nights(4, |_| Some(3)), [], "too few");
}

#[test]
fn what_fails_on_certain_days_is_foretold_for_these() {
    let sundays = |day: u64| (day % 7 == 6).then_some(3);
    let told = nights(7 * 7, sundays);
    assert_eq!(told.iter().map(|(hour, _)| *hour).collect::<Vec<_>>(), [2, 3]);
    let text = told[0].1.text();
    assert_eq!(text, "it has mostly failed from 03:00 to 04:00 on Sun (local time): on 6 of 6 days, 6 of 6 times");
    assert_eq!(nights(7 * 7 - 1, sundays), [], "on a Saturday");
}

#[test]
fn units_whose_hours_are_known_are_bounded() {
    let mut life = Life::new();
    life.pass(HOUR);
    for number in 0..5_000 {
        life.fail(number);
        life.pass(MINUTE);
    }
    assert_eq!(life.book.trouble.len(), trouble::UNITS_KEPT);
    assert!(life.book.trouble.contains_key(&unit(4_999)) && !life.book.trouble.contains_key(&unit(0)));
    let body = serde_json::to_string(&life.book).unwrap();
    let read = serde_json::from_str::<Book>(&body).unwrap();
    assert_eq!((read.check(), &read.trouble), (Ok(()), &life.book.trouble));
    let ahead = HoursAhead {
        unit: unit(1),
        hours: crate::model::pattern::Cluster {
            from: 255,
            length: 255,
            within: 1,
            of: 1,
            chance: 0.1,
            like_others: false,
        },
        days: None,
        dates: 1,
        failed: 1,
        until: Mono(1),
    };
    let damaged = HoursAhead { days: Some(ahead.hours.clone()), ..ahead };
    assert!(!damaged.text().is_empty() && damaged.hours.contains(3, 24), "whatever is in a file does no harm");
    let mut hours: serde_json::Value = serde_json::from_str(&body).unwrap();
    let first = hours["trouble"].as_object_mut().unwrap().values_mut().next().unwrap();
    first["failures"]["hours"][0] = u32::MAX.into();
    assert!(serde_json::from_value::<Book>(hours).unwrap().check().is_err(), "these were never counted");
}
