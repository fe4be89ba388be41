use super::*;
use crate::model::pattern::PatternId;
use crate::model::{Condition, Wall};

const ORDER: [Action; 3] = [Action::ConnectionReset, Action::GracefulRestart, Action::Restart];
const HOUR: Duration = Duration::from_secs(3600);

fn case(worker: &str) -> Case {
    Case { worker: Some(WorkerName::new(worker).unwrap()), condition: Condition::Hung, pattern: None }
}

fn order(strategies: &Strategies, case: &Case, now: Duration) -> Vec<Action> {
    strategies.rank(case, &ORDER, Explore::Never, now).actions.iter().map(|one| one.action).collect()
}

/// Incidents in which only `cure` helps, each an hour after the one before.
fn live(strategies: &mut Strategies, case: &Case, cure: Action, incidents: u32, from: Duration) -> Duration {
    let mut now = from;
    for _ in 0..incidents {
        now += HOUR;
        for one in strategies.rank(case, &ORDER, Explore::Never, now).actions {
            let helps = one.action == cure;
            let took = if helps { Duration::from_secs(4) } else { Duration::from_secs(90) };
            strategies.learn(case, one.action, helps, took, now);
            if helps {
                break;
            }
        }
    }
    now
}

#[test]
fn the_default_order_stands_until_enough_is_known() {
    let mut strategies = Strategies::default();
    let mail = case("mail");
    assert_eq!(strategies.rank(&mail, &ORDER, Explore::Sometimes, HOUR).why, "default order: nothing is known yet");
    live(&mut strategies, &mail, Action::GracefulRestart, 1, HOUR);
    let ranking = strategies.rank(&mail, &ORDER, Explore::Sometimes, HOUR);
    assert!(!ranking.learned);
    assert_eq!(ranking.why, "default order: 2 tries are known, 3 are needed");
}

#[test]
fn what_helps_comes_first_and_the_sentence_says_why() {
    let mut strategies = Strategies::default();
    let mail = case("mail");
    let now = live(&mut strategies, &mail, Action::GracefulRestart, 5, HOUR);
    let ranking = strategies.rank(&mail, &ORDER, Explore::Never, now);
    assert!(ranking.learned);
    assert_eq!(ranking.actions[0].action, Action::GracefulRestart);
    assert_eq!(
        ranking.why,
        "graceful_restart helped 5 of 5 times, in 4.0 s: 9.0 s for each recovery, against 50 s by restart, which was \
         never tried here"
    );
    assert!(ranking.actions.iter().all(|one| one.low <= one.chance && one.chance <= one.high), "{ranking:?}");
}

#[test]
fn what_helps_elsewhere_is_a_first_guess_and_no_more() {
    let mut strategies = Strategies::default();
    let now = live(&mut strategies, &case("mail"), Action::Restart, 8, HOUR);
    let web = case("web");
    assert_eq!(order(&strategies, &web, now), ORDER, "nothing is known of it yet");
    let chances: Vec<f64> =
        strategies.rank(&web, &ORDER, Explore::Never, now).actions.iter().map(|one| one.chance).collect();
    assert!(chances[2] > chances[0], "{chances:?}");
    live(&mut strategies, &web, Action::ConnectionReset, 4, now);
    assert_eq!(order(&strategies, &web, now)[0], Action::ConnectionReset);
    assert_eq!(order(&strategies, &case("mail"), now)[0], Action::Restart, "each worker keeps what is true of it");
}

#[test]
fn a_pattern_that_is_well_known_counts_before_the_condition() {
    let mut strategies = Strategies::default();
    let broad = case("mail");
    let refused = Case { pattern: Some(PatternId(7)), ..broad.clone() };
    let leaking = Case { pattern: Some(PatternId(8)), ..broad.clone() };
    let now = live(&mut strategies, &refused, Action::ConnectionReset, 6, HOUR);
    let now = live(&mut strategies, &leaking, Action::Restart, 6, now);
    assert_eq!(order(&strategies, &refused, now)[0], Action::ConnectionReset);
    assert_eq!(order(&strategies, &leaking, now)[0], Action::Restart);
    let new = Case { pattern: Some(PatternId(9)), ..broad.clone() };
    assert_eq!(order(&strategies, &new, now), order(&strategies, &broad, now), "one that is new falls back");
}

#[test]
fn when_what_helps_changes_so_does_the_order() {
    let mut strategies = Strategies::default();
    let mail = case("mail");
    let now = live(&mut strategies, &mail, Action::ConnectionReset, 40, HOUR);
    let now = live(&mut strategies, &mail, Action::Restart, 6, now);
    assert_eq!(order(&strategies, &mail, now)[0], Action::Restart);
}

#[test]
fn none_is_written_off_for_good() {
    let mut strategies = Strategies::default();
    let mail = case("mail");
    let mut now = HOUR;
    let mut first = 0;
    // Only the last of the order was ever seen to help; the first would by now.
    for _ in 0..400 {
        now += HOUR;
        let ranking = strategies.rank(&mail, &ORDER, Explore::Sometimes, now);
        first += u32::from(ranking.actions[0].action == Action::ConnectionReset);
        strategies.learn(&mail, Action::ConnectionReset, false, Duration::from_secs(90), now);
        strategies.learn(&mail, Action::Restart, true, Duration::from_secs(60), now);
        if first > 0 {
            break;
        }
    }
    let hopeless = strategies.rank(&mail, &ORDER, Explore::Never, now).actions;
    assert!(hopeless.iter().all(|one| one.chance > 0.0), "{hopeless:?}");
    assert_eq!(hopeless.len(), 3, "all stay in the plan");
}

#[test]
fn old_evidence_counts_less_and_is_still_shown() {
    let mut strategies = Strategies::default();
    let mail = case("mail");
    let now = live(&mut strategies, &mail, Action::GracefulRestart, 5, HOUR);
    let sure = |at: Duration| {
        let ranking = strategies.rank(&mail, &ORDER, Explore::Never, at);
        let one = ranking.actions.into_iter().find(|one| one.action == Action::GracefulRestart).unwrap();
        (one.high - one.low, one.tries)
    };
    let (fresh, old) = (sure(now), sure(now + HALF_LIFE * 3));
    assert!(old.0 > fresh.0, "{fresh:?} {old:?}");
    assert_eq!(old.1, 5);
}

#[test]
fn knowledge_travels_with_its_provenance_and_gives_way_to_what_is_seen_here() {
    let mut there = Strategies::default();
    let mail = case("mail");
    let now = live(&mut there, &mail, Action::Restart, 12, HOUR);
    let from = Provenance { host: "a1".into(), exported: Wall(5), version: "0.1.0".into() };
    let export = Export { format: EXPORT_FORMAT.into(), from: from.clone(), known: there.export(None, now) };
    let text = serde_json::to_string(&export).unwrap();
    let mut here = Strategies::default();
    let taken = here.import(serde_json::from_str(&text).unwrap(), HOUR).unwrap();
    assert_eq!(taken.len(), 2, "the case, and what is shared by all workers");
    assert_eq!(here.source(&mail), Some(&from));
    assert_eq!(order(&here, &mail, HOUR)[0], Action::Restart, "it is used");
    let careful = here.rank(&mail, &ORDER, Explore::OwnOnly, HOUR);
    assert_eq!(careful.why, "default order: it was tried elsewhere only, 3 tries here are needed");
    assert_eq!((careful.learned, careful.actions[0].action), (false, ORDER[0]));
    let now = live(&mut here, &mail, Action::ConnectionReset, 6, HOUR);
    assert_eq!(order(&here, &mail, now)[0], Action::ConnectionReset, "what is seen here outweighs it");
    assert!(here.export(None, now).iter().all(|one| one.from.is_none()), "hearsay is not passed on");
    let (again, refused) = Strategies::restore(here.known().collect());
    assert_eq!((again, refused), (here, vec![]));
}

#[test]
fn a_foreign_or_broken_file_changes_nothing() {
    let mut there = Strategies::default();
    let mail = case("mail");
    live(&mut there, &mail, Action::Restart, 4, HOUR);
    let from = Provenance { host: "a1".into(), exported: Wall(5), version: "0.1.0".into() };
    let good = Export { format: EXPORT_FORMAT.into(), from, known: there.export(None, HOUR) };
    let broken: Vec<fn(&mut Evidence)> = vec![
        |one| one.helped = -1.0,
        |one| one.failed = f64::INFINITY,
        |one| one.helped = f64::NAN,
        |one| one.successes = one.tries + 1,
        |one| one.took = Some(1e300),
        |one| one.last = Duration::MAX,
    ];
    for wrong in broken {
        let mut export = good.clone();
        export.known[0].actions.values_mut().for_each(wrong);
        let mut here = Strategies::default();
        let why = here.import(export.clone(), HOUR).unwrap_err();
        assert!(why.contains("hung of mail") || why.contains("hung of all workers"), "{why}");
        assert_eq!(here, Strategies::default());
        let (rest, refused) = Strategies::restore(export.known);
        assert_eq!((rest.known().count(), refused.len()), (1, 1), "what is sound is kept");
    }
    let mut other = good.clone();
    other.format = "somebody else's".into();
    assert!(Strategies::default().import(other, HOUR).unwrap_err().contains("somebody else's"));
}

#[test]
fn what_is_forgotten_is_gone_and_the_rest_stays() {
    let mut strategies = Strategies::default();
    let now = live(&mut strategies, &case("mail"), Action::Restart, 4, HOUR);
    live(&mut strategies, &case("web"), Action::Restart, 4, now);
    let gone = strategies.forget(Some(&WorkerName::new("mail").unwrap()));
    assert_eq!(gone.iter().map(|one| &one.case).collect::<Vec<_>>(), [&case("mail")]);
    assert_eq!(order(&strategies, &case("web"), now)[0], Action::Restart);
    strategies.forget(None);
    assert_eq!(strategies, Strategies::default());
}

#[test]
fn what_has_to_go_for_an_import_is_named() {
    let mut here = Strategies::default();
    let import = |here: &mut Strategies, host: &str, exported: i64, patterns: std::ops::Range<u64>| {
        let one = Evidence { helped: 1.0, tries: 1, successes: 1, ..Evidence::default() };
        let known = patterns.map(|n| {
            let case = Case { pattern: Some(PatternId(n)), ..case("mail") };
            Known { case, from: None, actions: [(Action::Restart, one.clone())].into() }
        });
        let from = Provenance { host: host.into(), exported: Wall(exported), version: "0.1.0".into() };
        let known = known.collect();
        here.import(Export { format: EXPORT_FORMAT.into(), from, known }, HOUR).unwrap()
    };
    import(&mut here, "a1", 1, 0..CASES_MAX as u64);
    let changed = import(&mut here, "a2", 2, 10_000..10_003);
    let (taken, gone): (Vec<&Known>, Vec<&Known>) = changed.iter().partition(|one| !one.actions.is_empty());
    assert_eq!((taken.len(), gone.len()), (3, 3));
    assert!(gone.iter().all(|one| one.from.as_ref().is_some_and(|from| from.host == "a1")), "the older ones");
    assert_eq!(here.known().count(), CASES_MAX);
}

#[test]
fn cases_are_bounded_and_the_oldest_goes_first() {
    let mut strategies = Strategies::default();
    let mut gone = Vec::new();
    for n in 0..CASES_MAX as u64 + 10 {
        let case = Case { pattern: Some(PatternId(n)), ..case("mail") };
        gone.extend(
            strategies
                .learn(&case, Action::Restart, true, HOUR, Duration::from_secs(n))
                .into_iter()
                .filter(|changed| strategies.known_of(changed).actions.is_empty()),
        );
    }
    assert_eq!(strategies.known().count(), CASES_MAX);
    assert_eq!(gone.iter().map(|case| case.pattern.unwrap().0).collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
}

fn foreign(host: &str, exported: i64, known: Vec<Known>) -> Export {
    let from = Provenance { host: host.into(), exported: Wall(exported), version: "0.1.0".into() };
    Export { format: EXPORT_FORMAT.into(), from, known }
}

fn told(pattern: u64, actions: &[Action]) -> Known {
    let one = Evidence { helped: 1.0, tries: 1, successes: 1, ..Evidence::default() };
    let actions = actions.iter().map(|action| (*action, one.clone())).collect();
    Known { case: Case { pattern: Some(PatternId(pattern)), ..case("mail") }, from: None, actions }
}

#[test]
fn who_says_that_he_wrote_it_is_a_name_and_no_more() {
    let long = "x".repeat(1_000);
    for (host, version) in
        [("a\n1", "0"), ("a\x1b[2J", "0"), (long.as_str(), "0"), ("", "0"), ("a1", "\u{9b}"), ("a1", &long)]
    {
        let mut export = foreign(host, 1, vec![told(1, &[Action::Restart])]);
        export.from.version = version.into();
        let mut here = Strategies::default();
        let why = here.import(export.clone(), HOUR).unwrap_err();
        assert!(why.len() < 200 && !why.chars().any(char::is_control), "{why}");
        assert_eq!(here, Strategies::default());
        let known = Known { from: Some(export.from), ..told(1, &[Action::Restart]) };
        assert_eq!(Strategies::restore(vec![known]).1.len(), 1);
    }
    let mut other = foreign("a1", 1, Vec::new());
    other.format = "x".repeat(1_000_000);
    assert!(Strategies::default().import(other, HOUR).unwrap_err().len() < 200);
}

#[test]
fn an_import_says_each_thing_once_and_nothing_takes_nothing_away() {
    let mut here = Strategies::default();
    let twice = vec![told(1, &[Action::Restart]), told(1, &[Action::ConnectionReset])];
    assert!(here.import(foreign("a1", 1, twice), HOUR).unwrap_err().contains("twice"));
    let why = here.import(foreign("a1", 1, vec![told(1, &[Action::Escalate])]), HOUR).unwrap_err();
    assert!(why.contains("escalate"), "{why}");
    assert_eq!(here, Strategies::default());
    here.import(foreign("a1", 1, vec![told(1, &[Action::Restart])]), HOUR).unwrap();
    let known = here.clone();
    assert_eq!(here.import(foreign("a1", 2, vec![told(1, &[])]), HOUR), Ok(Vec::new()));
    assert_eq!(here, known);
}

#[test]
fn what_was_imported_last_stays_whatever_date_the_others_claim() {
    let mut here = Strategies::default();
    let many = (0..CASES_MAX as u64).map(|n| told(n + 10, &[Action::Restart])).collect();
    here.import(foreign("liar", i64::MAX, many), HOUR).unwrap();
    let changed = here.import(foreign("a1", 1, vec![told(1, &[Action::Restart])]), 2 * HOUR).unwrap();
    assert_eq!(changed.iter().filter(|one| !one.actions.is_empty()).count(), 1);
    assert_eq!(here.known().count(), CASES_MAX);
    assert!(here.source(&told(1, &[]).case).is_some());
}
