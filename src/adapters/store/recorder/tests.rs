use std::fs;

use super::*;
use crate::adapters::store::tests::now;
use crate::model::action::{Answer, Refused};
use crate::model::input::{Durability, Finding, Snapshot, SnapshotReason};
use crate::model::request::{Ask, Request, Target};
use crate::model::unit::{InvocationId, JobResult, ManagerState};
use crate::model::{
    Action, AttemptId, Condition, HostUsage, IncidentId, Mono, Selector, UnitChange, UnitName, Usage, WorkerName,
    WorkerSettings,
};

fn settings(dir: &tempfile::TempDir, record_bytes: u64) -> DaemonSettings {
    DaemonSettings { state_dir: dir.path().into(), record_bytes, ..DaemonSettings::default() }
}

fn header(boot: &str) -> Header {
    Header::new(boot, now(1), Settings::empty(), serde_json::json!({ "next_incident": 7 }))
}

fn hold(n: u64) -> (Now, Input) {
    (now(n), Input::Hold { held: n.is_multiple_of(2) })
}

fn entries(dir: &tempfile::TempDir) -> Vec<Entry> {
    read(&inputs_dir(dir.path())).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn what_is_recorded_is_read_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let unit = UnitName::new("a.service").unwrap();
    let change = UnitChange {
        invocation: Some(InvocationId(u128::MAX - 5)),
        active_enter: Some(Mono(u64::MAX)),
        dependents: Some(vec!["b".into()]),
        ..UnitChange::default()
    };
    let host = HostUsage { memory_total_bytes: 1, memory_available_bytes: 2, cpus: 3, load1: 0.1 };
    let mut sample = Usage::gap(unit.clone(), Mono(5));
    sample.cpu_pressure = Some(crate::model::usage::Pressure { avg10: 1.17, total_usec: 9 });
    let name = WorkerName::new("mail").unwrap();
    let mut worker = WorkerSettings::new(name.clone(), Selector::Unit(unit.clone()));
    worker.plans.insert(Condition::Dead, vec![Action::Restart, Action::Escalate]);
    let mut reloaded = Settings::empty();
    reloaded.workers.insert(name.clone(), worker);
    let snapshot = Snapshot {
        reason: SnapshotReason::Connected,
        manager: ManagerState::Running,
        startup_finished: Mono(3),
        units: vec![(unit.clone(), change.clone())],
    };
    let attempt = AttemptId { incident: IncidentId(4), number: 2 };
    let ask = Ask::Recover { target: Target::Worker(name), action: Action::Restart, force: true };
    let inputs = [
        Input::Unit { unit: unit.clone(), change: Box::new(change) },
        Input::Usage { samples: vec![sample], host: Some(host) },
        Input::Reload { settings: Box::new(reloaded), by: None },
        Input::Snapshot(snapshot),
        Input::JobRemoved { unit: unit.clone(), job: 7, result: JobResult::Once },
        Input::Recorded { attempt, how: Durability::Volatile { why: "slow".into() } },
        Input::Acted { attempt, answer: Answer::Refused { why: Refused::JobInFlight, text: "stop".into() } },
        Input::Request(Request { id: 1, who: "root".into(), ask }),
        Input::Inquired { unit, finding: Finding { stop_job: Some(true), through: None } },
    ];
    let recorder = Recorder::open(&settings(&dir, 1 << 20), header("one"));
    for input in &inputs {
        recorder.record(now(2), input);
    }
    recorder.begin(header("two"));
    recorder.record(now(3), &inputs[0]);
    recorder.close();
    assert_eq!(recorder.stats(), RecorderStats::default());

    let input = |seconds, input: &Input| Entry::Input { now: now(seconds), input: Box::new(input.clone()) };
    let mut expected = vec![Entry::Header(Box::new(header("one")))];
    expected.extend(inputs.iter().map(|it| input(2, it)));
    expected.push(Entry::Header(Box::new(header("two"))));
    expected.push(input(3, &inputs[0]));
    assert_eq!(entries(&dir), expected);
}

#[test]
fn the_ring_is_bounded_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = 256 << 10;
    for round in 0..3 {
        let recorder = Recorder::open(&settings(&dir, bytes), header(&format!("boot-{round}")));
        for n in 0..4000 {
            let (now, input) = hold(n);
            recorder.record(now, &input);
        }
        recorder.close();
        assert_eq!(recorder.stats().dropped, 0);
    }
    let segments = ring::segments(&inputs_dir(dir.path())).unwrap();
    let total: u64 = segments.iter().map(|(_, path)| path.metadata().unwrap().len()).sum();
    assert!(total <= bytes, "{total}");
    assert!(segments.len() as u64 <= FILES_MAX && segments[0].0 > 1, "{segments:?}");
    let read = entries(&dir);
    assert!(matches!(&read[0], Entry::Header(_)), "every segment begins with a header");
    let (last, input) = hold(3999);
    assert_eq!(read.last(), Some(&Entry::Input { now: last, input: Box::new(input) }));
    // A smaller ring from now on: what is too much goes at the next start.
    Recorder::open(&settings(&dir, bytes / 4), header("small")).close();
    let segments = ring::segments(&inputs_dir(dir.path())).unwrap();
    let total: u64 = segments.iter().map(|(_, path)| path.metadata().unwrap().len()).sum();
    assert!(total <= bytes / 4, "{total}");
}

#[test]
fn a_torn_last_line_is_no_error_and_a_wrong_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for boot in ["one", "two"] {
        let recorder = Recorder::open(&settings(&dir, 1 << 20), header(boot));
        let (now, input) = hold(1);
        recorder.record(now, &input);
        recorder.close();
    }
    let first = inputs_dir(dir.path()).join("000001.jsonl");
    let whole = fs::read(&first).unwrap();
    fs::write(&first, &whole[..whole.len() - 5]).unwrap();
    let torn = entries(&dir);
    assert_eq!((torn.len(), &torn[1]), (4, &Entry::Torn), "the torn line is gone, the next segment is read");
    let header = whole.split_inclusive(|byte| *byte == b'\n').next().unwrap();
    fs::write(&first, [header, b"{\"nonsense\":1}\n{\"dropped\":4}\n"].concat()).unwrap();
    let found: Vec<_> = read(&inputs_dir(dir.path())).unwrap().collect();
    assert!(found[1].as_ref().unwrap_err().to_string().contains("000001.jsonl:2: neither"), "{:?}", found[1]);
    assert!(matches!(found[2], Ok(Entry::Dropped(4))));
    assert_eq!(found.len(), 5);
}

#[test]
fn many_short_lives_do_not_drive_out_what_was_before() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..FILES_MAX + 4 {
        let recorder = Recorder::open(&settings(&dir, 64 << 20), header(&format!("boot-{round}")));
        let (now, input) = hold(round);
        recorder.record(now, &input);
        recorder.close();
    }
    let segments = ring::segments(&inputs_dir(dir.path())).unwrap();
    assert_eq!((segments.len() as u64, segments[0].0), (FILES_MAX, 5));
}

#[test]
fn a_file_without_a_header_of_ours_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    Recorder::open(&settings(&dir, 1 << 20), header("one")).close();
    let (first, fourth) = (inputs_dir(dir.path()).join("000001.jsonl"), inputs_dir(dir.path()).join("000004.jsonl"));
    let whole = fs::read_to_string(&first).unwrap();
    fs::write(&first, whole.replacen("\"format\":2", "\"format\":3", 1) + "{\"dropped\":4}\n").unwrap();
    fs::write(inputs_dir(dir.path()).join("000002.jsonl"), [0xff, b'\n', 0, b'\n'].repeat(100)).unwrap();
    fs::write(fourth, whole).unwrap();
    let found: Vec<_> = read(&inputs_dir(dir.path())).unwrap().collect();
    let told = |n: usize| found[n].as_ref().unwrap_err().to_string();
    assert!(told(0).contains("in format 3, and this version reads up to 2"), "{}", told(0));
    assert!(told(1).contains("000002.jsonl is passed over"), "{}", told(1));
    assert!(matches!(found[2], Ok(Entry::Missing(1))), "{:?}", found[2]);
    assert!(matches!(found[3], Ok(Entry::Header(_))) && found.len() == 4);
}

#[test]
fn settings_of_an_older_version_have_the_defaults_of_today() {
    let dir = tempfile::tempdir().unwrap();
    let mut older = Settings::empty();
    let name = WorkerName::new("mail").unwrap();
    let mut worker = WorkerSettings::new(name.clone(), Selector::Template("mail".into()));
    worker.cpu_threshold = 12.5;
    older.workers.insert(name, worker);
    let recorder = Recorder::open(
        &settings(&dir, 1 << 20),
        Header::new("one", now(1), older.clone(), serde_json::json!({ "boot": "one" })).seeded(4),
    );
    recorder.record(now(2), &Input::Reload { settings: Box::new(older.clone()), by: None });
    recorder.close();
    let first = inputs_dir(dir.path()).join("000001.jsonl");
    let text = fs::read_to_string(&first).unwrap();
    let text =
        text.replace("\"warning_patience\":{\"secs\":300,\"nanos\":0},", "").replace("\"storm_threshold\":50.0,", "");
    fs::write(&first, &text).unwrap();
    assert!(!text.contains("warning_patience") && !text.contains("storm_threshold"), "{text}");
    let found = entries(&dir);
    assert!(matches!(&found[0], Entry::Header(header) if header.settings == older), "{found:?}");
    assert!(
        matches!(&found[1], Entry::Input { input, .. } if **input == Input::Reload { settings: Box::new(older), by: None })
    );
}

#[test]
fn a_file_begins_with_a_checkpoint_where_there_is_room_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(&settings(&dir, 1 << 20), header("one"));
    let (at, input) = hold(1);
    assert!(!recorder.checkpoint_is_due());
    while !recorder.checkpoint_is_due() {
        recorder.record(at, &input);
    }
    let small = Checkpoint { seed: 5, ..Checkpoint::default() };
    let units = (0..100).map(|n| (UnitName::new(&format!("a{n}.service")).unwrap(), crate::model::UnitView::default()));
    let units = units.map(|(unit, view)| (unit, view.as_change())).collect();
    let reason = SnapshotReason::Connected;
    let snapshot = Snapshot { reason, manager: ManagerState::Running, startup_finished: Mono(3), units };
    let large = Checkpoint { snapshot: Some(snapshot), ..small.clone() };
    for checkpoint in [&small, &large] {
        recorder.begin(Header::going_on("one", at, Settings::empty(), checkpoint.clone()));
        assert!(!recorder.checkpoint_is_due());
        recorder.timers(at);
    }
    recorder.close();
    let headers = entries(&dir).into_iter().filter_map(|entry| match entry {
        Entry::Header(header) => Some((header.continued, header.checkpoint.is_some())),
        _ => None,
    });
    assert_eq!(headers.collect::<Vec<_>>(), [(false, false), (true, true), (true, false)]);
    assert_eq!(recorder.stats().dropped, 0);
}

#[test]
fn what_does_not_fit_is_counted_in_its_place() {
    let mut buffer = Buffer::default();
    let (now, input) = hold(1);
    buffer.push(&Line { now, input: Some(&input), timers: None, act: None });
    let one = buffer.bytes;
    buffer.bytes += BUFFER_BYTES_MAX;
    for _ in 0..3 {
        buffer.push(&Line { now, input: Some(&input), timers: None, act: None });
    }
    buffer.bytes -= BUFFER_BYTES_MAX;
    buffer.push(&Line { now, input: Some(&input), timers: None, act: None });
    let text = String::from_utf8(buffer.chunks[0].lines.clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[1]), (3, "{\"dropped\":3}"));
    assert_eq!((buffer.bytes, buffer.stats.dropped), (2 * one + 14, 3));
}

#[test]
fn a_place_that_takes_nothing_costs_inputs_only() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(inputs_dir(dir.path()), "").unwrap();
    let recorder = Recorder::open(&settings(&dir, 1 << 20), header("one"));
    let (now, input) = hold(1);
    recorder.record(now, &input);
    recorder.close();
    let stats = recorder.stats();
    assert!(stats.errors >= 1 && stats.dropped <= 1, "{stats:?}");
}

#[test]
fn zero_bytes_record_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(&settings(&dir, 0), header("one"));
    let (now, input) = hold(1);
    recorder.record(now, &input);
    recorder.begin(header("two"));
    recorder.close();
    assert!(!inputs_dir(dir.path()).exists());
}

#[test]
fn links_and_pipes_in_the_place_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(&settings(&dir, 1 << 20), header("one"));
    let (now, input) = hold(1);
    recorder.record(now, &input);
    recorder.close();
    let place = inputs_dir(dir.path());
    let first = fs::read_dir(&place).unwrap().next().unwrap().unwrap().path();
    let named = |number: &str| first.with_file_name(format!("{number}.jsonl"));
    let secret = dir.path().join("secret");
    fs::copy(&first, &secret).unwrap();
    let width = first.file_stem().unwrap().len();
    std::os::unix::fs::symlink(&secret, named(&format!("{:0width$}", 90))).unwrap();
    let pipe = named(&format!("{:0width$}", 91));
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let read: Vec<_> = read(&place).unwrap().collect();
    let refused = read.iter().filter(|one| matches!(one, Err(ReadError::Io { .. }))).count();
    assert_eq!(refused, 2, "{read:?}");
    assert_eq!(read.iter().filter(|one| matches!(one, Ok(Entry::Input { .. }))).count(), 1, "only what is its own");
}
