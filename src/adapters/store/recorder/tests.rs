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
        Input::Reload { settings: Box::new(reloaded) },
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
    assert!(segments.len() as u64 <= SEGMENTS && segments[0].0 > 1, "{segments:?}");
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
    assert_eq!(entries(&dir).len(), 3, "the torn line is gone, the next segment is read");
    fs::write(&first, "{\"nonsense\":1}\n{\"dropped\":4}\n").unwrap();
    let read: Vec<_> = read(&inputs_dir(dir.path())).unwrap().collect();
    assert!(read[0].as_ref().unwrap_err().to_string().contains("000001.jsonl:1: neither"), "{:?}", read[0]);
    assert!(matches!(read[1], Ok(Entry::Dropped(4))));
    assert_eq!(read.len(), 4);
}

#[test]
fn what_does_not_fit_is_counted_in_its_place() {
    let mut buffer = Buffer::default();
    let (now, input) = hold(1);
    buffer.push(now, &input);
    let one = buffer.bytes;
    buffer.bytes += BUFFER_BYTES_MAX;
    for _ in 0..3 {
        buffer.push(now, &input);
    }
    buffer.bytes -= BUFFER_BYTES_MAX;
    buffer.push(now, &input);
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
