use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicI64;
use std::sync::mpsc;
use std::time::Instant;

use super::*;
use crate::model::action::{Action, Plan};
use crate::model::condition::{Condition, Evidence, Health};
use crate::model::fact::{Availability, Cause};
use crate::model::incident::{Attempt, AttemptId, Origin, Outcome, Resolution, Stage};
use crate::model::input::Wake;
use crate::model::settings::DaemonSettings;
use crate::model::{Mono, UnitName};

pub(super) const BOOT: &str = "boot-1";
/// 2025-11-23, so that names made of it are plausible.
pub(super) const START: i64 = 1_763_900_000_000_000;
pub(super) const HOUR: i64 = 3_600_000_000;

pub(super) fn worker() -> WorkerName {
    WorkerName::new("mail").unwrap()
}

pub(super) fn unit(n: u64) -> UnitName {
    UnitName::new(&format!("mail@{n}.service")).unwrap()
}

pub(super) fn now(seconds: u64) -> Now {
    Now { mono: Mono(seconds * 1_000_000), wall: Wall(START + seconds as i64 * 1_000_000) }
}

pub(super) fn incident(id: u64, opened: u64) -> Incident {
    Incident {
        id: IncidentId(id),
        worker: worker(),
        unit: unit(id),
        origin: Origin::Condition { condition: Condition::Dead },
        conditions: BTreeMap::from([(Condition::Dead, Evidence::text("killed"))]),
        worst: Health::Dead,
        boot: BOOT.into(),
        failed_at: now(opened).mono,
        failed_wall: now(opened).wall,
        opened_at: now(opened).mono,
        opened_wall: now(opened).wall,
        closed_at: None,
        closed_wall: None,
        resolution: None,
        time_to_recover: None,
        plan: Plan::default(),
        attempts: Vec::new(),
        attempts_used: 0,
        escalations: 0,
        given_up: false,
        not_before: None,
        reopened: 0,
        waiting: None,
        action_was_allowed: false,
        idle_actions: Vec::new(),
        rejected: Vec::new(),
        approval: None,
        helped_by: None,
        pattern: None,
        similar: vec![],
        peaks: BTreeMap::new(),
        unusual: vec![],
    }
}

pub(super) fn closed(mut incident: Incident, at: u64, resolution: Resolution) -> Incident {
    incident.closed_at = Some(now(at).mono);
    incident.closed_wall = Some(now(at).wall);
    incident.resolution = Some(resolution);
    incident
}

pub(super) fn attempt(number: u32, at: u64, ended: Option<(u64, Outcome)>) -> Attempt {
    Attempt {
        number,
        action: Action::Restart,
        condition: None,
        stage: if ended.is_some() { Stage::Ended } else { Stage::Acting },
        intended_at: now(at).mono,
        intended_wall: now(at).wall,
        acted_at: Some(now(at).mono),
        well_at: ended.map(|(end, _)| now(end).mono),
        ended_at: ended.map(|(end, _)| now(end).mono),
        outcome: ended.map(|(_, outcome)| outcome),
        reason: "because".into(),
        flagged: false,
        in_doubt: false,
        activated: ended.is_some(),
        drain_until: None,
        extra: None,
    }
}

pub(super) fn intent(id: u64, number: u32) -> Intent {
    Intent {
        attempt: AttemptId { incident: IncidentId(id), number },
        incident: IncidentId(id),
        unit: unit(id),
        action: Action::Restart,
        at: now(0).wall,
    }
}

pub(super) fn fact(seq: u64, at: u64, incident: Option<u64>, what: What) -> Fact {
    Fact {
        seq,
        at: now(at),
        cause: Cause::Timer(Wake::Proceed),
        worker: Some(worker()),
        unit: Some(unit(incident.unwrap_or(1))),
        incident: incident.map(IncidentId),
        what,
    }
}

fn ended(id: u64, number: u32, outcome: Outcome, recovered: Option<u64>) -> What {
    What::AttemptEnded {
        attempt: AttemptId { incident: IncidentId(id), number },
        action: Action::Restart,
        condition: Some(Condition::OomKilled),
        outcome,
        reason: "told".into(),
        time_to_recover: recovered.map(Duration::from_secs),
    }
}

/// A state directory, a runtime directory and a clock that a test sets.
struct Place {
    dir: tempfile::TempDir,
    settings: DaemonSettings,
    seconds: Arc<AtomicI64>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = DaemonSettings {
            state_dir: dir.path().join("state"),
            runtime_dir: dir.path().join("run"),
            ..DaemonSettings::default()
        };
        Self { dir, settings, seconds: Arc::new(AtomicI64::new(0)) }
    }

    fn open(&self) -> Opened {
        self.open_in_boot(BOOT)
    }

    fn open_in_boot(&self, boot: &str) -> Opened {
        let seconds = self.seconds.clone();
        let clock = Arc::new(move || now(seconds.load(Ordering::Relaxed) as u64));
        let mut opened = Store::open(&self.settings, boot, clock);
        // A test machine may be slow without the database being at fault.
        opened.store.record_limit = Duration::from_secs(20);
        opened
    }

    fn db(&self) -> PathBuf {
        self.settings.state_dir.join("unitmedic.db")
    }

    fn intent_file(&self, name: &str) -> PathBuf {
        self.settings.runtime_dir.join("intents").join(name)
    }
}

fn record(store: &Store, intent: Intent) -> Durability {
    let (reply, answer) = mpsc::channel();
    store.record(intent, move |how| reply.send(how).unwrap());
    answer.recv_timeout(Duration::from_secs(30)).unwrap()
}

/// Waits for a condition, never for a guess.
fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn what_is_told_can_be_asked() {
    let place = Place::new();
    let opened = place.open();
    assert_eq!((opened.problems, opened.memory.next_incident), (vec![], 1));
    let store = opened.store;
    let mut first = closed(incident(1, 10), 30, Resolution::Recovered);
    first.attempts = vec![attempt(1, 11, Some((15, Outcome::Failed))), attempt(2, 16, Some((30, Outcome::Succeeded)))];
    store.save(Box::new(incident(1, 10)));
    store.save(Box::new(first.clone()));
    let mut second = incident(2, 40);
    second.attempts = vec![attempt(1, 41, None)];
    store.save(Box::new(second.clone()));
    store.tell(fact(1, 30, Some(1), ended(1, 2, Outcome::Succeeded, Some(18))));

    assert_eq!(store.incidents(Filter::default()).await.unwrap(), [second.clone(), first.clone()]);
    let some = |filter| async { store.incidents(filter).await.unwrap().iter().map(|it| it.id.0).collect::<Vec<_>>() };
    assert_eq!(some(Filter { open: Some(true), ..Filter::default() }).await, [2]);
    assert_eq!(some(Filter { unit: Some(unit(1)), open: Some(false), ..Filter::default() }).await, [1]);
    assert_eq!(some(Filter { before: Some(2), worker: Some(worker()), ..Filter::default() }).await, [1]);
    assert_eq!(some(Filter { since: Some(now(20).wall), ..Filter::default() }).await, [2]);
    assert_eq!(some(Filter { limit: Some(1), ..Filter::default() }).await, [2]);

    let recoveries = store.recoveries(Filter::default()).await.unwrap();
    let told: Vec<_> = recoveries.iter().map(|it| (it.number, it.outcome, it.condition, it.time_to_recover)).collect();
    let expected = [
        (2, Outcome::Succeeded, Some(Condition::OomKilled), Some(Duration::from_secs(18))),
        (1, Outcome::Failed, Some(Condition::Dead), None),
    ];
    assert_eq!(told, expected, "the fact's own condition and time stand; the other comes from the incident");
    assert_eq!(recoveries[1].at, now(15).wall);

    let story = store.story(IncidentId(1)).await.unwrap().unwrap();
    assert_eq!((story.incident, story.facts.len(), story.left_out), (first.clone(), 1, 0));
    assert_eq!(store.story(IncidentId(9)).await.unwrap(), None);
    assert!(store.stats().last_write_wall.is_some());
    store.close().await;

    let memory = place.open().memory;
    assert_eq!(memory.incidents, [first, second]);
    assert_eq!((memory.next_incident, memory.watch_only, memory.orphans.len()), (3, None, 0));
}

#[tokio::test]
async fn only_the_latest_closed_incident_of_a_unit_comes_back_and_none_of_yesterday() {
    let place = Place::new();
    let store = place.open().store;
    for (id, close) in [(1, 100), (2, 200)] {
        let mut it = closed(incident(id, 50), close, Resolution::Recovered);
        it.unit = unit(1);
        store.save(Box::new(it));
    }
    store.save(Box::new(incident(3, 50)));
    store.close().await;
    let ids = |opened: Opened| opened.memory.incidents.iter().map(|it| it.id.0).collect::<Vec<_>>();
    assert_eq!(ids(place.open()), [2, 3]);
    place.seconds.store(2 * 86_400, Ordering::Relaxed);
    assert_eq!(ids(place.open()), [3]);
}

#[tokio::test]
async fn an_intent_without_an_incident_is_an_orphan_of_this_boot_only() {
    let place = Place::new();
    let store = place.open().store;
    store.save(Box::new(incident(5, 0)));
    assert_eq!(record(&store, intent(5, 1)), Durability::Stored);
    assert_eq!(record(&store, intent(6, 2)), Durability::Stored);
    store.close().await;

    let opened = place.open();
    assert_eq!(opened.memory.orphans, [intent(5, 1), intent(6, 2)]);
    assert_eq!(opened.memory.next_incident, 7);
    let mut known = incident(5, 0);
    known.attempts = vec![attempt(1, 0, None)];
    opened.store.save(Box::new(known));
    opened.store.close().await;
    assert_eq!(place.open().memory.orphans, [intent(6, 2)], "an attempt that its incident knows is no orphan");

    let store = place.open().store;
    store.save(Box::new(incident(6, 0)));
    store.close().await;
    let opened = place.open_in_boot("boot-2");
    assert_eq!(opened.memory.orphans, []);
    let recoveries = opened.store.recoveries(Filter::default()).await.unwrap();
    assert_eq!(recoveries.iter().map(|it| (it.number, it.outcome)).collect::<Vec<_>>(), [(2, Outcome::InDoubt)]);
}

#[tokio::test]
async fn a_stored_intent_survives_a_crash() {
    let place = Place::new();
    let store = place.open().store;
    assert_eq!(record(&store, intent(5, 1)), Durability::Stored);
    // What a kill -9 now would leave, as another daemon finds it.
    let later = Place::new();
    fs::create_dir(&later.settings.state_dir).unwrap();
    for name in ["unitmedic.db", "unitmedic.db-wal"] {
        fs::copy(place.settings.state_dir.join(name), later.settings.state_dir.join(name)).unwrap();
    }
    let opened = later.open();
    assert_eq!((opened.memory.orphans, opened.problems), (vec![intent(5, 1)], vec![]));
    assert_eq!(opened.memory.next_incident, 6);
}

#[tokio::test]
async fn an_intent_that_the_database_cannot_take_is_kept_in_a_file() {
    let place = Place::new();
    // A file where the directory should be: no database can be.
    fs::write(&place.settings.state_dir, "").unwrap();
    let opened = place.open();
    assert!(opened.problems.iter().any(|it| it.contains("cannot open")), "{:?}", opened.problems);
    assert!(matches!(record(&opened.store, intent(7, 1)), Durability::Volatile { .. }));
    assert!(place.intent_file("7.1.json").exists());
    assert!(matches!(opened.store.incidents(Filter::default()).await, Err(StoreError::Unavailable { .. })));
    assert!(opened.store.stats().errors > 0);

    // The room comes back: the same store begins to write.
    fs::remove_file(&place.settings.state_dir).unwrap();
    opened.store.tell(fact(1, 0, None, What::InstanceVanished));
    until("the backlog is written", || opened.store.stats().backlog == 0);
    opened.store.close().await;

    let opened = place.open();
    assert_eq!(opened.memory.orphans, [intent(7, 1)]);
    assert_eq!(opened.memory.next_incident, 8);
    let mut it = incident(7, 0);
    it.attempts = vec![attempt(1, 0, Some((3, Outcome::InDoubt)))];
    opened.store.save(Box::new(it));
    opened.store.close().await;
    assert!(!place.intent_file("7.1.json").exists(), "settled: the file has done its duty");
    assert_eq!(place.open().memory.orphans, []);
}

#[tokio::test]
async fn an_intent_is_lost_only_when_there_is_no_place_at_all() {
    let place = Place::new();
    fs::write(&place.settings.state_dir, "").unwrap();
    fs::write(&place.settings.runtime_dir, "").unwrap();
    let opened = place.open();
    let answer = record(&opened.store, intent(7, 1));
    assert!(matches!(&answer, Durability::Lost { why } if why.contains("intents")), "{answer:?}");
}

#[tokio::test]
async fn an_intent_is_answered_in_time_while_the_database_hangs() {
    let place = Place::new();
    let mut store = place.open().store;
    store.record_limit = RECORD_LIMIT;
    let other = Connection::open(place.db()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let asked = Instant::now();
    let answer = record(&store, intent(1, 1));
    let took = asked.elapsed();
    assert!(matches!(&answer, Durability::Volatile { why } if why.contains("100 ms")), "{answer:?}");
    assert!(took >= RECORD_LIMIT && took < Duration::from_millis(900), "{took:?}");
    other.execute_batch("ROLLBACK").unwrap();
    assert!(place.intent_file("1.1.json").exists());
    until("the next one is stored", || record(&store, intent(2, 1)) == Durability::Stored);
}

#[tokio::test]
async fn a_newer_database_is_refused_and_the_daemon_goes_on_without() {
    let place = Place::new();
    place.open().store.close().await;
    let connection = Connection::open(place.db()).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let before = fs::read(place.db()).unwrap();

    let opened = place.open();
    let told = opened.problems.join("\n");
    assert!(told.contains("schema 99") && told.contains("unitmedic.db"), "{told}");
    assert!(matches!(record(&opened.store, intent(1, 1)), Durability::Volatile { .. }));
    opened.store.tell(fact(1, 0, None, What::InstanceVanished));
    until("it is counted as lost", || opened.store.stats().lost == 1);
    let error = opened.store.incidents(Filter::default()).await.unwrap_err();
    assert!(error.to_string().contains("newer"), "{error}");
    opened.store.close().await;
    assert_eq!(fs::read(place.db()).unwrap(), before, "untouched");
}

#[tokio::test]
async fn damage_that_the_quick_check_finds_begins_a_new_history() {
    let place = Place::new();
    let store = place.open().store;
    for seq in 0..2000 {
        store.tell(fact(seq, 1, Some(3), What::InstanceVanished));
    }
    store.save(Box::new(incident(3, 1)));
    store.close().await;
    // In the middle of the file: the facts, which nothing reads at the start.
    let mut bytes = fs::read(place.db()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 65_536].fill(0xa5);
    fs::write(place.db(), bytes).unwrap();

    let opened = place.open();
    until("the damaged file is set aside", || files::damaged_copies(&place.db()).unwrap().len() == 1);
    assert_eq!(record(&opened.store, intent(4, 1)), Durability::Stored);
    opened.store.save(Box::new(incident(4, 2)));
    let found = opened.store.incidents(Filter { open: Some(true), ..Filter::default() }).await.unwrap();
    assert_eq!(found.iter().map(|it| it.id.0).collect::<Vec<_>>(), [4]);
    let gaps = opened.store.gaps(Wall(0)).await.unwrap();
    assert!(gaps.len() == 1 && gaps[0].why.contains("set aside as"), "{gaps:?}");
    opened.store.close().await;
    assert_eq!(place.open().memory.next_incident, 5);
}

#[tokio::test]
async fn numbers_are_never_given_twice() {
    let place = Place::new();
    let store = place.open().store;
    store.save(Box::new(incident(41, 0)));
    store.close().await;
    fs::write(place.db(), "garbage, longer than a header of sixty-four bytes, which is what is read first").unwrap();
    let opened = place.open();
    assert!(opened.problems.iter().any(|it| it.contains("set aside")), "{:?}", opened.problems);
    assert_eq!(opened.memory.next_incident, 42, "from the file beside the database");
    opened.store.close().await;

    fs::write(place.db(), "garbage").unwrap();
    fs::remove_file(place.settings.state_dir.join("next-incident")).unwrap();
    assert_eq!(place.open().memory.next_incident, START as u64 / 1_000_000, "from the clock");
}

#[tokio::test]
async fn a_long_story_loses_its_middle() {
    let place = Place::new();
    let store = place.open().store;
    store.save(Box::new(incident(1, 0)));
    let total = STORY_FACTS_FIRST + STORY_FACTS_LAST + 7;
    for seq in 0..total as u64 {
        store.tell(fact(seq, seq, Some(1), What::InstanceVanished));
    }
    let story = store.story(IncidentId(1)).await.unwrap().unwrap();
    let seqs: Vec<u64> = story.facts.iter().map(|it| it.seq).collect();
    let expected: Vec<u64> = (0..STORY_FACTS_FIRST as u64).chain(STORY_FACTS_FIRST as u64 + 7..total as u64).collect();
    assert_eq!((seqs, story.left_out), (expected, 7));
}

#[tokio::test]
async fn the_history_is_told_by_time_also_where_an_incident_was_reopened() {
    let place = Place::new();
    let store = place.open().store;
    for (seq, (id, number, at)) in [(1, 1, 10), (2, 1, 20), (1, 2, 30)].into_iter().enumerate() {
        store.save(Box::new(closed(incident(id, 10), at, Resolution::Recovered)));
        store.tell(fact(seq as u64, at, Some(id), ended(id, number, Outcome::Succeeded, Some(1))));
    }
    let told = store.recoveries(Filter::default()).await.unwrap();
    let told: Vec<(u64, u32)> = told.iter().map(|one| (one.incident.0, one.number)).collect();
    assert_eq!(told, [(1, 2), (2, 1), (1, 1)], "newest first");
    store.close().await;
}

#[tokio::test]
async fn ratios_are_what_the_design_says() {
    let place = Place::new();
    let store = place.open().store;
    let outcomes = [
        (1, Outcome::Succeeded, Some(10)),
        (2, Outcome::Succeeded, Some(20)),
        (3, Outcome::Succeeded, Some(60)),
        (4, Outcome::Failed, None),
        (5, Outcome::Superseded, None),
        (6, Outcome::InDoubt, None),
    ];
    for (id, outcome, recovered) in outcomes {
        store.save(Box::new(closed(incident(id, 10), 20, Resolution::Recovered)));
        store.tell(fact(id, 20, Some(id), ended(id, 1, outcome, recovered)));
    }
    store.save(Box::new(closed(incident(7, 10), 20, Resolution::FalseAlarm)));
    store.save(Box::new(closed(incident(8, 10), 20, Resolution::SelfCleared)));
    assert!(store.mark_false(IncidentId(8)).await.unwrap());
    assert!(!store.mark_false(IncidentId(99)).await.unwrap());
    // The engine may write it once more, knowing nothing of the mark.
    store.save(Box::new(closed(incident(8, 10), 21, Resolution::SelfCleared)));
    store.tell(fact(10, 100, None, What::AvailabilityChanged { to: Availability::Available }));
    store.tell(fact(11, 190, None, What::AvailabilityChanged { to: Availability::Unavailable }));
    store.tell(fact(12, 200, None, What::AvailabilityChanged { to: Availability::NotCounted }));
    place.seconds.store(300, Ordering::Relaxed);
    store.close().await;

    let store = place.open().store;
    let other = WorkerName::new("other").unwrap();
    let ratios = store.ratios(vec![worker(), other.clone()], Duration::from_secs(30 * 86_400)).await.unwrap();
    let expected = WorkerRatios {
        recovery_success: Some(0.75),
        mttr: Some(Duration::from_secs(30)),
        availability: Some(0.9),
        false_alarms: Some(0.25),
    };
    assert_eq!(ratios[&worker()], expected);
    assert_eq!(ratios[&other], WorkerRatios::default(), "nothing to divide by");
    let watched = store.watched(vec![worker(), other.clone()], now(0).wall).await.unwrap();
    assert_eq!((watched[&worker()], watched[&other]), (Duration::from_secs(100), Duration::ZERO));
    let summary = store.summary(now(0).wall, None).await.unwrap();
    let all = &summary.all;
    assert_eq!((all.total, all.succeeded, all.failed, all.superseded, all.in_doubt), (6, 3, 1, 1, 1));
    assert_eq!((summary.incidents, summary.false_alarms), (8, 2));
    assert_eq!(summary.by_action[&Action::Restart], summary.all);
    assert_eq!(store.summary(now(21).wall, None).await.unwrap().all.total, 0);
    let marked = store.incidents(Filter { unit: Some(unit(8)), ..Filter::default() }).await.unwrap();
    assert_eq!(marked[0].resolution, Some(Resolution::FalseAlarm));
}

/// A place that takes nothing more until it is cleared: a full file system for root, else a directory without rights.
enum Obstacle {
    Full(PathBuf),
    NoRights(PathBuf),
}

impl Obstacle {
    fn put_on(place: &Place) -> Self {
        let dir = place.settings.state_dir.clone();
        fs::create_dir_all(&dir).unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64m", "unitmedic-test"])
            .arg(&dir)
            .output();
        match mount {
            Ok(output) if output.status.success() => Obstacle::Full(dir),
            _ => {
                assert!(!rustix::process::geteuid().is_root(), "root that may not mount: no way to fill a disk here");
                Obstacle::NoRights(dir)
            }
        }
    }

    fn block(&self) {
        use std::os::unix::fs::PermissionsExt;
        match self {
            // The filler takes whatever is left; that the last write fails is the point.
            Obstacle::Full(dir) => {
                let mut file = fs::File::create(dir.join("filler")).unwrap();
                while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
            }
            Obstacle::NoRights(dir) => {
                for name in ["unitmedic.db", "unitmedic.db-wal", "unitmedic.db-shm"] {
                    let _ = fs::remove_file(dir.join(name));
                }
                fs::set_permissions(dir, fs::Permissions::from_mode(0o500)).unwrap();
            }
        }
    }

    fn clear(&self) {
        use std::os::unix::fs::PermissionsExt;
        match self {
            Obstacle::Full(dir) => fs::remove_file(dir.join("filler")).unwrap(),
            Obstacle::NoRights(dir) => fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap(),
        }
    }
}

impl Drop for Obstacle {
    fn drop(&mut self) {
        if let Obstacle::Full(dir) = self {
            let _ = std::process::Command::new("umount").arg("-l").arg(dir).status();
        }
    }
}

#[tokio::test]
async fn a_full_disk_costs_history_and_nothing_else() {
    let place = Place::new();
    let obstacle = Obstacle::put_on(&place);
    if let Obstacle::Full(_) = obstacle {
        place.open().store.close().await;
    }
    obstacle.block();
    let store = place.open().store;
    assert!(matches!(record(&store, intent(1, 1)), Durability::Volatile { .. }));
    // More than the backlog holds; one byte more than nothing may still have fitted before.
    for seq in 0..40_000 {
        store.tell(fact(seq, seq, None, What::InstanceVanished));
    }
    store.save(Box::new(incident(1, 5)));
    until("facts are lost", || store.stats().lost > 0);
    assert!(store.stats().errors > 0);

    obstacle.clear();
    until("the backlog is written", || store.stats().backlog == 0);
    let lost = store.stats().lost;
    let gaps = store.gaps(Wall(0)).await.unwrap();
    assert_eq!(gaps.iter().map(|gap| gap.facts).sum::<u64>(), lost, "{gaps:?}");
    assert!(gaps.iter().all(|gap| gap.from <= gap.to && gap.from >= now(0).wall && !gap.why.is_empty()), "{gaps:?}");
    assert_eq!(store.incidents(Filter::default()).await.unwrap().len(), 1, "the state of an incident was kept");
    assert_eq!(record(&store, intent(2, 1)), Durability::Stored);
    store.close().await;
}

#[tokio::test]
async fn what_is_too_old_is_forgotten_after_a_start() {
    let mut place = Place::new();
    let store = place.open().store;
    store.save(Box::new(closed(incident(1, 0), 1, Resolution::Recovered)));
    store.tell(fact(1, 1, Some(1), What::InstanceVanished));
    store.close().await;
    place.settings.retention = Duration::from_secs(86_400);
    place.seconds.store(2 * 86_400, Ordering::Relaxed);
    let opened = place.open();
    let connection = Connection::open(place.db()).unwrap();
    let rows = "SELECT (SELECT count(*) FROM facts) + (SELECT count(*) FROM incidents)";
    until("nothing is left", || connection.query_row(rows, [], |row| row.get::<_, i64>(0)).unwrap() == 0);
    assert_eq!(opened.memory.next_incident, 2);
}

#[test]
fn a_span_longer_than_time_does_not_wrap() {
    assert_eq!(before(Wall(5), Duration::from_micros(3)), Wall(2));
    assert!(before(Wall(5), Duration::MAX) < Wall(0));
}

#[tokio::test]
async fn three_crashes_and_a_clean_restart() {
    let place = Place::new();
    for _ in 0..3 {
        let opened = place.open();
        assert_eq!(opened.memory.watch_only, None);
        opened.store.close().await;
    }
    let opened = place.open();
    assert!(opened.memory.watch_only.unwrap().contains("3 times"));
    opened.starts.note_clean_stop().unwrap();
    assert_eq!(place.open().memory.watch_only, None);
}

#[tokio::test]
async fn nothing_is_written_outside_the_two_directories() {
    let place = Place::new();
    place.open().store.close().await;
    let mut names: Vec<_> = fs::read_dir(place.dir.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["run", "state"]);
}

fn knowledge(body: &str) -> Knowledge {
    Knowledge { name: "patterns", at: now(0).wall, format: 1, body: body.into() }
}

#[tokio::test]
async fn knowledge_is_kept_over_a_restart_and_what_is_set_aside_is_never_lost() {
    let place = Place::new();
    let store = place.open().store;
    assert_eq!(store.knowledge("patterns").await.unwrap(), None);
    assert_eq!(store.set_knowledge_aside("patterns").await.unwrap(), None);
    for body in ["old", "new"] {
        assert!(store.keep_knowledge(knowledge(body)));
    }
    assert!(!store.keep_knowledge(knowledge(&"x".repeat(17 << 20))), "too long");
    store.close().await;
    let store = place.open().store;
    assert_eq!(store.knowledge("patterns").await.unwrap(), Some((1, "new".into())));
    let aside = store.set_knowledge_aside("patterns").await.unwrap().expect("there was one");
    assert!(aside.starts_with("patterns.refused."), "{aside}");
    assert_eq!(store.knowledge("patterns").await.unwrap(), None);
    store.keep_knowledge(knowledge("anew"));
    store.close().await;
    let connection = Connection::open(place.settings.state_dir.join("unitmedic.db")).unwrap();
    let bodies: Vec<String> = connection
        .prepare("SELECT body FROM knowledge ORDER BY body")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(bodies, ["anew", "new"]);
}

/// Opens the store after its database was changed by another hand, and closes it again.
fn after(place: &Place, sql: &str) -> Opened {
    Connection::open(place.db()).unwrap().execute(sql, []).unwrap();
    place.open()
}

#[tokio::test]
async fn a_damaged_row_of_what_was_learned_costs_nothing_else() {
    let place = Place::new();
    place.open().store.close().await;
    for (body, why) in [
        ("CAST(x'ff7b' AS TEXT)", "cannot be read back"),
        ("'{}'", "cannot be read back"),
        ("CAST(zeroblob(30000000) AS TEXT)", "larger than"),
    ] {
        let opened = after(&place, &format!("INSERT OR REPLACE INTO strategies VALUES ('x', 0, {body})"));
        assert!(opened.problems.iter().any(|problem| problem.contains(why)), "{body}: {:?}", opened.problems);
        assert_eq!(opened.problems.len(), 1, "{body}: the history is there: {:?}", opened.problems);
        opened.store.close().await;
    }
    after(&place, "DELETE FROM strategies").store.close().await;
    let opened = after(&place, "INSERT INTO intents VALUES (7, 1, 'boot', 1, CAST(x'ff7b' AS TEXT))");
    let told = "an intent cannot be read back";
    assert!(matches!(&opened.problems[..], [one] if one.starts_with(told)), "{:?}", opened.problems);
    opened.store.close().await;
}

#[tokio::test]
async fn knowledge_that_nobody_can_have_written_is_still_told_of() {
    let place = Place::new();
    place.open().store.close().await;
    for (format, body, told) in [
        ("-5", "'x'", (u32::MAX, "x".to_string())),
        ("99999999999", "'x'", (u32::MAX, "x".into())),
        ("1", "CAST(zeroblob(30000000) AS TEXT)", (1, String::new())),
    ] {
        let sql = format!("INSERT OR REPLACE INTO knowledge VALUES ('patterns', 1, {format}, {body})");
        let store = after(&place, &sql).store;
        assert_eq!(store.knowledge("patterns").await.unwrap(), Some(told), "{sql}");
        store.close().await;
    }
}

/// Each page begins where the last one ended, whatever came back later, and nothing is told twice or left out.
#[tokio::test]
async fn pages_are_whole() {
    let place = Place::new();
    let store = place.open().store;
    for id in 1..=40 {
        let mut one = closed(incident(id, id * 100), id * 100 + 5, Resolution::Recovered);
        if id == 3 {
            // Reopened when all others were over.
            one.opened_wall = now(9_000).wall;
        }
        store.save(Box::new(one));
        store.tell(fact(id, id * 100 + 5, Some(id), ended(id, 1, Outcome::Succeeded, Some(1))));
    }
    store.tell(fact(41, 9_001, Some(3), ended(3, 2, Outcome::Succeeded, Some(1))));
    let all = |filter: Filter| {
        let store = store.clone();
        async move {
            let mut ids = Vec::new();
            let mut filter = Filter { limit: Some(7), ..filter };
            loop {
                let page = store.incidents(filter.clone()).await.unwrap();
                let Some(last) = page.last() else { return ids };
                assert!(page.len() <= 7);
                filter.before = Some(last.id.0);
                ids.extend(page.iter().map(|one| one.id.0));
            }
        }
    };
    assert_eq!(all(Filter::default()).await, (1..=40).rev().collect::<Vec<_>>());
    let since = Some(now(3_000).wall);
    let expected: Vec<u64> = (30..=40).rev().chain([3]).collect();
    assert_eq!(all(Filter { since, ..Filter::default() }).await, expected, "the reopened one is not forgotten");
    let of_worker = Filter { since, worker: Some(worker()), ..Filter::default() };
    assert_eq!(all(of_worker).await, expected);
    assert_eq!(all(Filter { since, unit: Some(unit(3)), ..Filter::default() }).await, [3]);
    assert_eq!(all(Filter { since, open: Some(true), ..Filter::default() }).await, [0; 0]);
    let until = Some(now(3_200).wall);
    assert_eq!(all(Filter { since, until, ..Filter::default() }).await, [31, 30]);
    assert_eq!(all(Filter { since: Some(now(10_000).wall), ..Filter::default() }).await, [0; 0]);

    let (mut told, mut filter) = (Vec::new(), Filter { limit: Some(7), ..Filter::default() });
    loop {
        let page = store.recoveries(filter.clone()).await.unwrap();
        let Some(last) = page.last() else { break };
        filter.until = Some(last.at);
        told.extend(page.iter().map(|one| (one.incident.0, one.number)));
    }
    let expected: Vec<(u64, u32)> = [(3, 2)].into_iter().chain((1..=40).rev().map(|id| (id, 1))).collect();
    assert_eq!(told, expected);
    store.close().await;
}

#[tokio::test]
async fn what_people_did_is_found_among_all_that_happened() {
    let place = Place::new();
    let store = place.open().store;
    let paused = |who: &str| What::Paused { until: None, who: who.into(), reason: "deploy".into() };
    let learned = |by: Option<&str>| What::StrategiesChanged { by: by.map(Into::into), text: "restart first".into() };
    let other = Fact { worker: WorkerName::new("web").ok(), ..fact(4, 40, None, paused("bob")) };
    for fact in [
        fact(1, 10, None, paused("alice")),
        fact(2, 20, Some(1), ended(1, 1, Outcome::Succeeded, None)),
        fact(3, 30, None, learned(None)),
        other,
        fact(5, 50, None, learned(Some("carol"))),
        Fact { worker: None, unit: None, ..fact(6, 60, None, What::HoldChanged { held: true }) },
        fact(7, 70, None, What::SettingsChanged { workers: 1, by: None }),
    ] {
        store.tell(fact);
    }
    let seqs = |filter: AuditFilter| {
        let store = store.clone();
        async move { store.deeds(filter).await.unwrap().iter().map(|(_, fact)| fact.seq).collect::<Vec<_>>() }
    };
    assert_eq!(seqs(AuditFilter::default()).await, [7, 6, 5, 4, 1], "newest first, and nothing that it did by itself");
    assert_eq!(seqs(AuditFilter { worker: WorkerName::new("web").ok(), ..AuditFilter::default() }).await, [4]);
    let first = store.deeds(AuditFilter { limit: Some(2), ..AuditFilter::default() }).await.unwrap();
    let before = Some(first[1].0);
    assert_eq!(seqs(AuditFilter { before, limit: Some(2), ..AuditFilter::default() }).await, [5, 4]);
    assert_eq!(seqs(AuditFilter { since: Some(now(50).wall), ..AuditFilter::default() }).await, [7, 6, 5]);
    store.close().await;
}

#[tokio::test]
async fn what_is_given_to_the_history_moves_it() {
    let place = Place::new();
    let store = place.open().store;
    let before = store.moved();
    store.incidents(Filter::default()).await.unwrap();
    assert_eq!(store.moved(), before, "a question changes nothing");
    store.tell(fact(1, 10, None, What::HoldChanged { held: true }));
    assert!(store.moved() > before);
    store.close().await;
}
