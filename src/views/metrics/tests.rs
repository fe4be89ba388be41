//! The exposition against the catalog, and what each fact does to it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::catalog::{ALL, Kind, Metric};
use super::*;
use crate::model::action::{Action, Plan};
use crate::model::alert::Delivery;
use crate::model::condition::{Condition, Evidence, Health};
use crate::model::fact::{Availability, Cause, Fact, Gate, Refusal, RestartCause, ResyncReason, What};
use crate::model::history::WorkerRatios;
use crate::model::incident::{AttemptId, Incident, IncidentId, Origin, Outcome, Resolution};
use crate::model::input::Input;
use crate::model::name::{AlertmanagerName, UnitName, WorkerName};
use crate::model::settings::{Selector, Settings, WorkerSettings};
use crate::model::signal::{
    Beat, BeatSource, ErrorCounts, ProbeReading, ProbeResult, QueueDepth, QueueName, QueueReading, QueueState,
};
use crate::model::status::{InstanceStatus, StateDisk, Status, WorkerStatus};
use crate::model::time::{Mono, Now, Wall};
use crate::model::unit::{ActiveState, InvocationId, LoadState, UnitView};
use crate::model::usage::{DiskUsage, OpenFiles, Pressure, Usage};

fn worker(name: &str) -> WorkerName {
    WorkerName::new(name).unwrap()
}

fn unit(name: &str) -> UnitName {
    UnitName::new(name).unwrap()
}

fn now(seconds: u64) -> Now {
    Now { mono: Mono(seconds * 1_000_000), wall: Wall(1_700_000_000_000_000 + seconds as i64 * 1_000_000) }
}

fn queue(name: &str) -> QueueName {
    QueueName { vhost: None, name: name.into() }
}

fn settings(workers: &[&str]) -> Settings {
    let mut settings = Settings::empty();
    for name in workers {
        let mut one = WorkerSettings::new(worker(name), Selector::Template((*name).into()));
        one.max_instances = Some(3);
        one.queues = vec![queue("jobs"), queue("late")];
        one.amqp_url = Some("amqp://broker.example/a%2Fb".into());
        settings.workers.insert(worker(name), one);
    }
    settings
}

fn board(workers: &[&str]) -> Board {
    let build = Build { version: "1.2.3".into(), revision: "a\"b".into(), systemd: "257 (x\\y)".into() };
    Board::new(build, Own::new(), &settings(workers))
}

fn fact(seconds: u64, of: Option<&str>, on: Option<&str>, what: What) -> Fact {
    let incident = Some(IncidentId(1));
    let (worker, unit) = (of.map(worker), on.map(unit));
    Fact { seq: 0, at: now(seconds), cause: Cause::Start, worker, unit, incident, what }
}

const RUNNING: Instance = Instance {
    health: Health::Healthy,
    load: LoadState::Loaded,
    active: ActiveState::Active,
    up_since: Some(Wall(1_700_000_000_500_000)),
};

fn full_usage(name: &str, at: u64) -> Usage {
    let pressure = Some(Pressure { avg10: 1.0, total_usec: 1_500_000 });
    Usage {
        cpu_usec: Some(12_345_678),
        memory_bytes: Some(1 << 30),
        memory_inactive_file_bytes: Some(4096),
        memory_max_bytes: Some(2 << 30),
        tasks: Some(3),
        tasks_max: Some(512),
        open_files: Some(OpenFiles { count: 90, limit: 1024 }),
        io_read_bytes: Some(u64::MAX / 2),
        io_written_bytes: Some(1),
        cpu_pressure: pressure,
        memory_pressure: pressure,
        io_pressure: pressure,
        oom_kills: Some(0),
        ..Usage::gap(unit(name), now(at).mono)
    }
}

fn depth(ready: u64) -> QueueState {
    let (unacknowledged, acknowledged_total) = (Some(5), Some(70));
    QueueState::Known(QueueDepth { ready, consumers: 2, unacknowledged, acknowledged_total, publish_rate: None })
}

/// A reading of each kind of work.
fn work(name: &str, queue_state: QueueState, probe: ProbeResult) -> Vec<Input> {
    let (stranger, unit, at) = (unit("stranger.service"), unit(name), now(1).mono);
    let reading = QueueReading { worker: worker("mail"), queue: queue("jobs"), at, reading: queue_state };
    let probed = ProbeReading { unit: unit.clone(), at, invocation: InvocationId::default(), result: probe };
    let counts = vec![(unit.clone(), 3), (stranger, 9)];
    vec![
        Input::Queues { readings: vec![reading] },
        Input::Beats { beats: vec![Beat { unit, at, source: BeatSource::Socket }] },
        Input::Errors(ErrorCounts { at, span: Duration::from_secs(10), counts, gap: None }),
        Input::Probes { readings: vec![probed] },
    ]
}

/// A board on which every family of the catalog has a series.
fn full_board() -> Board {
    let mut board = board(&["mail", "web"]);
    let evidence = || Evidence::text("killed");
    let attempt = AttemptId { incident: IncidentId(1), number: 1 };
    let resynced = What::Resynced { reason: ResyncReason::Connected, units: 2 };
    let raised = What::ConditionRaised {
        condition: Condition::Dead,
        evidence: evidence(),
        delay: Some(Duration::from_millis(2)),
    };
    let opened = What::IncidentOpened { condition: Some(Condition::Dead), evidence: evidence(), plan: Plan::default() };
    let acted = What::AttemptActed { attempt, action: Action::Restart, dependents: vec![], did: None };
    let ended = What::AttemptEnded {
        attempt,
        action: Action::Restart,
        condition: Some(Condition::Dead),
        outcome: Outcome::Succeeded,
        reason: "well".into(),
        time_to_recover: Some(Duration::from_millis(300)),
    };
    for (of, on, what) in [
        (None, None, resynced),
        (Some("mail"), None, What::AvailabilityChanged { to: Availability::Available }),
        (Some("mail"), Some(r"mail@\x2d1.service"), What::InstanceAppeared { health: Health::Unknown }),
        (Some("mail"), Some(r"mail@\x2d1.service"), raised),
        (Some("mail"), Some(r"mail@\x2d1.service"), opened),
        (Some("mail"), Some(r"mail@\x2d1.service"), acted),
        (Some("mail"), Some(r"mail@\x2d1.service"), What::Restarted { by: RestartCause::Unitmedic, count: 1 }),
        (Some("mail"), Some(r"mail@\x2d1.service"), ended),
    ] {
        board.apply(&fact(1, of, on, what));
    }
    board.unit(&worker("mail"), &unit(r"mail@\x2d1.service"), RUNNING);
    board.unit(&worker("web"), &unit("web@1.service"), RUNNING);
    board.usage(&[full_usage(r"mail@\x2d1.service", 1), full_usage("web@1.service", 1)]);
    for input in work(r"mail@\x2d1.service", depth(120), ProbeResult::Passed) {
        board.input(&input, now(2));
    }
    board.worker(&worker_status("mail", false));
    let ratios = WorkerRatios {
        recovery_success: Some(0.5),
        mttr: Some(Duration::from_millis(2500)),
        availability: Some(0.999),
        false_alarms: Some(0.0),
    };
    board.ratios(&BTreeMap::from([(worker("mail"), ratios)]));
    board.deliveries(vec![Delivery {
        alertmanager: AlertmanagerName::new("main").unwrap(),
        url: "http://127.0.0.1:9093".into(),
        sent: 3,
        errors: 1,
        dropped: 0,
        queued: 2,
        last_success: None,
        last_error: None,
    }]);
    let own = board.own().clone();
    own.store_totals(2, Some(now(1).wall));
    own.state_disk(Some(state_disk()));
    own.http_answered("metrics", 418);
    own.http_denials(["rate", "host"].into_iter());
    own.http_denied("rate");
    own.turn(Duration::from_micros(80));
    board
}

fn state_disk() -> StateDisk {
    let usage = DiskUsage { total_bytes: 100, available_bytes: 4, total_inodes: 50, available_inodes: 40 };
    StateDisk { path: "/s".into(), usage, warning: Some("4 % left".into()), full_at: Some(Wall(9_000_000)) }
}

fn worker_status(name: &str, paused: bool) -> WorkerStatus {
    WorkerStatus {
        worker: worker(name),
        selector: format!("{name}@.service"),
        critical: false,
        health: Health::Healthy,
        because: String::new(),
        paused,
        min_instances: 1,
        max_instances: Some(3),
        desired: 2,
        running: 2,
        serving: 2,
        healthy: 1,
        scaled: 1,
        waiting_approvals: 0,
        queues: vec![],
        instances: vec![],
    }
}

fn render(board: &mut Board, seconds: u64) -> String {
    board.render(now(seconds), &Process::read(), false)
}

/// Value of a series, by its exact name and labels.
fn value(text: &str, series: &str) -> Option<f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let found: Vec<&str> = lines.filter_map(|line| line.strip_prefix(series)?.strip_prefix(' ')).collect();
    assert!(found.len() < 2, "{series} is there twice");
    found.first().map(|value| value.parse().unwrap())
}

/// `name{a="x",b="y"} 1` as name, label names and label values.
fn parse(line: &str) -> (String, Vec<String>, Vec<String>) {
    let Some((name, rest)) = line.split_once('{') else {
        return (line.split_once(' ').unwrap().0.into(), vec![], vec![]);
    };
    let (mut keys, mut values, mut rest) = (vec![], vec![], rest);
    loop {
        let (key, after) = rest.split_once("=\"").unwrap();
        let mut escaped = false;
        let end = after
            .find(|c| match c {
                _ if escaped => {
                    escaped = false;
                    false
                }
                '\\' => {
                    escaped = true;
                    false
                }
                c => c == '"',
            })
            .unwrap();
        keys.push(key.to_owned());
        values.push(after[..end].to_owned());
        rest = &after[end + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    assert!(rest.starts_with("} "), "{line}");
    rest[2..].parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
    (name.into(), keys, values)
}

fn family_of(name: &str) -> &'static Metric {
    let exact = ALL.iter().find(|metric| metric.name == name);
    let histogram = || {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix))?;
        ALL.iter().find(|metric| metric.kind == Kind::Histogram && metric.name == base)
    };
    exact.or_else(histogram).unwrap_or_else(|| panic!("{name} is not in the catalog"))
}

#[test]
fn every_line_is_of_the_catalog_and_every_metric_is_there() {
    let text = render(&mut full_board(), 2);
    let (mut seen, mut series, mut current) = (BTreeSet::new(), BTreeSet::new(), "");
    for line in text.lines() {
        if let Some(header) = line.strip_prefix("# TYPE ") {
            let (name, kind) = header.split_once(' ').unwrap();
            let metric = family_of(name);
            assert_eq!(metric.kind.as_str(), kind, "{name}");
            assert!(seen.insert(metric.name), "{name} has two blocks");
            current = metric.name;
        } else if let Some(header) = line.strip_prefix("# HELP ") {
            let (name, help) = header.split_once(' ').unwrap();
            assert_eq!(family_of(name).help, help);
        } else {
            let (name, mut keys, values) = parse(line);
            let metric = family_of(&name);
            assert_eq!(metric.name, current, "{line} stands outside of its block");
            if metric.kind == Kind::Histogram && keys.last().is_some_and(|key| key == "le") {
                keys.pop();
            }
            keys.sort();
            let mut expected = metric.labels.to_vec();
            expected.sort();
            assert_eq!(keys, expected, "{line}");
            assert!(series.insert((name, values)), "{line} is there twice");
        }
    }
    let missing: Vec<&str> = ALL.iter().map(|metric| metric.name).filter(|name| !seen.contains(name)).collect();
    assert!(missing.is_empty(), "no series of {missing:?}");
}

#[test]
fn values_and_escapes() {
    let text = render(&mut full_board(), 11);
    let of = r#"{worker="mail",unit="mail@\\x2d1.service""#;
    for (series, expected) in [
        ("unitmedic_up".to_owned(), 1.0),
        (r#"unitmedic_build_info{version="1.2.3",revision="a\"b",systemd="257 (x\\y)"}"#.into(), 1.0),
        (format!("unitmedic_unit_health{of},health=\"healthy\"}}"), 1.0),
        (format!("unitmedic_unit_health{of},health=\"dead\"}}"), 0.0),
        (format!("unitmedic_unit_active_state{of},state=\"active\"}}"), 1.0),
        (format!("unitmedic_unit_active_state{of},state=\"refreshing\"}}"), 0.0),
        (format!("unitmedic_unit_start_time_seconds{of}}}"), 1_700_000_000.5),
        (format!("unitmedic_unit_cpu_seconds_total{of}}}"), 12.345678),
        (format!("unitmedic_unit_pressure_waiting_seconds_total{of},resource=\"io\"}}"), 1.5),
        (format!("unitmedic_unit_restarts_total{of},cause=\"unitmedic\"}}"), 1.0),
        (format!("unitmedic_unit_restarts_total{of},cause=\"systemd\"}}"), 0.0),
        (r#"unitmedic_worker_instances{worker="mail",state="max"}"#.into(), 3.0),
        (r#"unitmedic_worker_instances{worker="mail",state="desired"}"#.into(), 2.0),
        (r#"unitmedic_incidents_total{worker="mail",condition="dead"}"#.into(), 1.0),
        (r#"unitmedic_incidents_total{worker="web",condition="requested"}"#.into(), 0.0),
        (r#"unitmedic_incidents_open{worker="mail",health="dead"}"#.into(), 1.0),
        (r#"unitmedic_recovery_attempts_total{worker="mail",action="restart"}"#.into(), 1.0),
        (
            r#"unitmedic_recoveries_total{worker="mail",condition="dead",action="restart",outcome="succeeded"}"#.into(),
            1.0,
        ),
        (r#"unitmedic_recoveries_total{worker="web",condition="dead",action="restart",outcome="failed"}"#.into(), 0.0),
        (r#"unitmedic_recovery_duration_seconds_bucket{worker="mail",action="restart",le="0.25"}"#.into(), 0.0),
        (r#"unitmedic_recovery_duration_seconds_bucket{worker="mail",action="restart",le="0.5"}"#.into(), 1.0),
        (r#"unitmedic_recovery_duration_seconds_bucket{worker="mail",action="restart",le="+Inf"}"#.into(), 1.0),
        (r#"unitmedic_recovery_duration_seconds_sum{worker="mail",action="restart"}"#.into(), 0.3),
        (r#"unitmedic_available_seconds_total{worker="mail"}"#.into(), 10.0),
        (r#"unitmedic_observed_seconds_total{worker="web"}"#.into(), 0.0),
        (r#"unitmedic_mttr_seconds{worker="mail"}"#.into(), 2.5),
        (r#"unitmedic_resyncs_total{reason="connected"}"#.into(), 1.0),
        (r#"unitmedic_resyncs_total{reason="queue_overflow"}"#.into(), 0.0),
        (r#"unitmedic_http_requests_total{code="other",endpoint="metrics"}"#.into(), 1.0),
        (r#"unitmedic_http_denied_total{reason="rate"}"#.into(), 1.0),
        (r#"unitmedic_http_denied_total{reason="host"}"#.into(), 0.0),
        ("unitmedic_last_resync_timestamp_seconds".into(), 1_700_000_001.0),
        ("unitmedic_store_errors_total".into(), 2.0),
    ] {
        assert_eq!(value(&text, &series), Some(expected), "{series}");
    }
    assert_eq!(value(&text, r#"unitmedic_mttr_seconds{worker="web"}"#), None, "nothing to divide by");
}

#[test]
fn a_lost_bus_takes_away_what_cannot_be_seen() {
    let mut board = full_board();
    board.apply(&fact(11, None, None, What::BusLost { why: "gone".into() }));
    let text = render(&mut board, 100);
    assert_eq!(value(&text, "unitmedic_up"), Some(0.0));
    assert_eq!(value(&text, "unitmedic_ready"), Some(0.0));
    for gone in ["unitmedic_unit_", "unitmedic_worker_health", "state=\"running\"", "state=\"desired\""] {
        assert!(!text.contains(gone), "{gone}");
    }
    assert!(text.contains("state=\"min\""), "what is configured stays");
    assert_eq!(value(&text, r#"unitmedic_incidents_total{worker="mail",condition="dead"}"#), Some(1.0));
    assert_eq!(
        value(&text, r#"unitmedic_observed_seconds_total{worker="mail"}"#),
        Some(10.0),
        "blind time is not counted"
    );

    board.set_ready(true);
    assert_eq!(value(&render(&mut board, 100), "unitmedic_ready"), Some(0.0), "not ready while it does not see");
    board.apply(&fact(100, None, None, What::Resynced { reason: ResyncReason::Connected, units: 2 }));
    let text = render(&mut board, 105);
    assert_eq!(value(&text, "unitmedic_up"), Some(1.0));
    assert_eq!(value(&text, r#"unitmedic_observed_seconds_total{worker="mail"}"#), Some(15.0));
    assert!(text.contains("unitmedic_unit_health{"));
    assert!(!text.contains("unitmedic_unit_cpu"), "samples from before are stale");
    assert!(!text.contains("unitmedic_unit_active_state"), "nor is the state from before believed");
    board.unit(&worker("web"), &unit("web@1.service"), RUNNING);
    assert!(render(&mut board, 105).contains("unitmedic_unit_active_state{"));
}

#[test]
fn units_that_go_take_their_series_along() {
    let mut board = full_board();
    let of = r#"{worker="web",unit="web@1.service"}"#;
    board.usage(&[Usage::gap(unit("web@1.service"), now(2).mono), full_usage("stranger.service", 2)]);
    let text = render(&mut board, 2);
    assert_eq!(value(&text, &format!("unitmedic_unit_memory_bytes{of}")), None, "a gap is no zero");
    assert_eq!(value(&text, &format!("unitmedic_unit_found{of}")), Some(1.0));
    assert!(!text.contains("stranger.service"));

    board.usage(&[full_usage("web@1.service", 3)]);
    let down = Instance { health: Health::Dead, active: ActiveState::Failed, up_since: None, ..RUNNING };
    board.unit(&worker("web"), &unit("web@1.service"), down);
    board.usage(&[full_usage("web@1.service", 3)]);
    let text = render(&mut board, 3);
    assert_eq!(value(&text, &format!("unitmedic_unit_memory_bytes{of}")), None, "its cgroup is gone");
    assert_eq!(value(&text, &format!("unitmedic_unit_start_time_seconds{of}")), None);

    board.apply(&fact(4, Some("web"), Some("web@1.service"), What::InstanceVanished));
    assert!(!render(&mut board, 4).contains("web@1.service"));

    board.configure(&settings(&["web"]));
    assert!(!render(&mut board, 5).contains("worker=\"mail\""));
    board.unit(&worker("mail"), &unit("mail@1.service"), RUNNING);
    assert!(!render(&mut board, 5).contains("mail@1.service"), "a late word about a worker that is gone");
}

#[test]
fn signals_of_work() {
    let mut board = full_board();
    let text = render(&mut board, 2);
    let queue = r#"{worker="mail",vhost="a/b",queue="jobs"}"#;
    let of_unit = r#"{worker="mail",unit="mail@\\x2d1.service"}"#;
    for (metric, labels, expected) in [
        ("queue_up", queue, 1.0),
        ("queue_messages_ready", queue, 120.0),
        ("queue_messages_unacknowledged", queue, 5.0),
        ("queue_consumers", queue, 2.0),
        ("queue_acknowledged_total", queue, 70.0),
        ("heartbeat_timestamp_seconds", of_unit, 1_700_000_001.0),
        ("journal_errors_total", of_unit, 3.0),
        ("probe_success", of_unit, 1.0),
        ("worker_scaled_instances", r#"{worker="mail"}"#, 1.0),
    ] {
        assert_eq!(value(&text, &format!("unitmedic_{metric}{labels}")), Some(expected), "{metric}");
    }
    assert!(!text.contains("stranger.service") && !text.contains(r#"queue="late""#), "not watched, or not read");

    let why = || "the broker is away".to_owned();
    for input in work(r"mail@\x2d1.service", QueueState::Unknown { why: why() }, ProbeResult::Unknown { why: why() }) {
        board.input(&input, now(3));
    }
    let text = render(&mut board, 3);
    assert_eq!(value(&text, &format!("unitmedic_queue_up{queue}")), Some(0.0));
    assert_eq!(value(&text, &format!("unitmedic_queue_messages_ready{queue}")), None, "unknown is not zero");
    assert_eq!(value(&text, &format!("unitmedic_journal_errors_total{of_unit}")), Some(6.0));
    assert_eq!(value(&text, &format!("unitmedic_probe_success{of_unit}")), None);

    let down = Instance { active: ActiveState::Failed, up_since: None, ..RUNNING };
    board.unit(&worker("mail"), &unit(r"mail@\x2d1.service"), down);
    let text = render(&mut board, 4);
    assert_eq!(
        value(&text, &format!("unitmedic_heartbeat_timestamp_seconds{of_unit}")),
        None,
        "of a process that is gone"
    );
    assert_eq!(value(&text, &format!("unitmedic_journal_errors_total{of_unit}")), Some(6.0));
    board.configure(&settings(&["web"]));
    assert!(!render(&mut board, 5).contains("vhost="));
}

#[test]
fn oom_kills_are_counted_over_all_cgroups() {
    let mut board = board(&["mail"]);
    let name = "mail.service";
    board.apply(&fact(1, None, None, What::Resynced { reason: ResyncReason::Connected, units: 1 }));
    board.apply(&fact(1, Some("mail"), Some(name), What::InstanceAppeared { health: Health::Healthy }));
    let sample = |board: &mut Board, at, kills| {
        board.usage(&[Usage { oom_kills: Some(kills), ..full_usage(name, at) }]);
        value(&render(board, at), "unitmedic_unit_oom_kills_total{worker=\"mail\",unit=\"mail.service\"}")
    };
    let raised = || {
        let evidence = Evidence::text("result oom-kill");
        let what = What::ConditionRaised { condition: Condition::OomKilled, evidence, delay: None };
        fact(1, Some("mail"), Some(name), what)
    };
    assert_eq!(sample(&mut board, 1, 0), Some(0.0));
    board.apply(&raised());
    assert_eq!(sample(&mut board, 2, 0), Some(1.0), "no sample saw the kill");
    assert_eq!(sample(&mut board, 3, 2), Some(3.0), "children of one that lives on");
    board.apply(&raised());
    assert_eq!(sample(&mut board, 4, 0), Some(3.0), "a sample had seen the kill that ended it");
    assert_eq!(sample(&mut board, 5, 1), Some(4.0));
    assert_eq!(sample(&mut board, 6, 0), Some(4.0), "an operator's restart takes nothing away");
}

#[test]
fn units_over_the_limit_are_counted() {
    let mut board = board(&["mail"]).with_limit(2);
    board.apply(&fact(1, None, None, What::Resynced { reason: ResyncReason::Connected, units: 4 }));
    for number in [1, 2, 3, 4, 4] {
        board.unit(&worker("mail"), &unit(&format!("mail@{number}.service")), RUNNING);
    }
    let text = render(&mut board, 1);
    assert_eq!(value(&text, "unitmedic_series_dropped"), Some(2.0));
    assert_eq!(text.matches("unitmedic_unit_found{").count(), 2);

    board.apply(&fact(2, Some("mail"), Some("mail@1.service"), What::InstanceVanished));
    board.unit(&worker("mail"), &unit("mail@3.service"), RUNNING);
    assert_eq!(value(&render(&mut board, 2), "unitmedic_series_dropped"), Some(1.0), "a place came free");
}

#[test]
fn attempts_count_once() {
    let attempt = |number| AttemptId { incident: IncidentId(1), number };
    let acted = |number| What::AttemptActed {
        attempt: attempt(number),
        action: Action::Restart,
        dependents: vec![],
        did: None,
    };
    let ended = |number, outcome| What::AttemptEnded {
        attempt: attempt(number),
        action: Action::Restart,
        condition: Some(Condition::Dead),
        outcome,
        reason: String::new(),
        time_to_recover: None,
    };
    let escalated = What::Escalated { attempts: 3, next_try: None, text: String::new() };
    let cases: &[(&str, Vec<What>, (f64, f64))] = &[
        ("acted and ended", vec![acted(1), ended(1, Outcome::Succeeded)], (1.0, 0.0)),
        ("told twice", vec![acted(1), acted(1)], (1.0, 0.0)),
        ("the call failed", vec![ended(1, Outcome::Failed)], (1.0, 0.0)),
        ("refused", vec![ended(1, Outcome::Superseded)], (0.0, 0.0)),
        ("from a former life", vec![ended(1, Outcome::InDoubt)], (0.0, 0.0)),
        ("two", vec![acted(1), ended(1, Outcome::Failed), acted(2)], (2.0, 0.0)),
        ("escalated", vec![escalated], (0.0, 1.0)),
    ];
    for (name, facts, expected) in cases {
        let mut board = board(&["mail"]);
        facts.iter().for_each(|what| board.apply(&fact(1, Some("mail"), Some("mail@1.service"), what.clone())));
        let text = render(&mut board, 1);
        let count = |action| {
            value(&text, &format!("unitmedic_recovery_attempts_total{{worker=\"mail\",action=\"{action}\"}}")).unwrap()
        };
        assert_eq!((count("restart"), count("escalate")), *expected, "{name}");
    }
}

#[test]
fn incidents_open_and_close() {
    let mut board = board(&["mail"]);
    let evidence = Evidence::text("x");
    let plan = Plan::default();
    let open = |board: &mut Board| {
        let text = render(board, 1);
        ["healthy", "warning", "critical", "dead"].map(|health| {
            value(&text, &format!("unitmedic_incidents_open{{worker=\"mail\",health=\"{health}\"}}")).unwrap()
        })
    };
    let refusal = Refusal { gate: Gate::Cooldown, text: String::new(), until: None, setting: None };
    let steps = [
        (
            What::IncidentOpened {
                condition: Some(Condition::MemoryHigh),
                evidence: evidence.clone(),
                plan: plan.clone(),
            },
            [0.0, 1.0, 0.0, 0.0],
        ),
        (
            What::ConditionJoined { condition: Condition::OomKilled, evidence: evidence.clone(), plan: plan.clone() },
            [0.0, 0.0, 1.0, 0.0],
        ),
        (
            What::ConditionJoined { condition: Condition::CpuHigh, evidence: evidence.clone(), plan: plan.clone() },
            [0.0, 0.0, 1.0, 0.0],
        ),
        (What::ActionSuppressed { action: Action::Restart, refusal }, [0.0, 0.0, 1.0, 0.0]),
        (
            What::IncidentClosed {
                resolution: Resolution::Systemd,
                time_to_recover: None,
                attempts: 0,
                false_alarm: false,
            },
            [0.0; 4],
        ),
        (
            What::IncidentReopened { condition: Some(Condition::Dead), attempts_used: 0, since_closed: Duration::ZERO },
            [0.0, 0.0, 0.0, 1.0],
        ),
    ];
    for (what, expected) in steps {
        let name = what.name();
        board.apply(&fact(1, Some("mail"), Some("mail@1.service"), what));
        assert_eq!(open(&mut board), expected, "after {name}");
    }
    let text = render(&mut board, 1);
    for (series, expected) in [
        (r#"unitmedic_incidents_total{worker="mail",condition="memory_high"}"#, 1.0),
        (r#"unitmedic_incidents_total{worker="mail",condition="dead"}"#, 0.0),
        (r#"unitmedic_incidents_closed_total{worker="mail",resolution="systemd"}"#, 1.0),
        (r#"unitmedic_recovery_suppressed_total{worker="mail",reason="cooldown"}"#, 1.0),
        (r#"unitmedic_recovery_suppressed_total{worker="mail",reason="storm"}"#, 0.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series}");
    }
}

#[test]
fn availability_and_pauses() {
    let mut board = board(&["mail", "web"]);
    let paused = || What::Paused { until: None, who: "alice".into(), reason: "deploy".into() };
    for (at, of, what) in [
        (0, None, What::Resynced { reason: ResyncReason::Connected, units: 0 }),
        (10, Some("mail"), What::AvailabilityChanged { to: Availability::Available }),
        (15, Some("mail"), What::AvailabilityChanged { to: Availability::Unavailable }),
        (17, Some("mail"), What::AvailabilityChanged { to: Availability::NotCounted }),
        (17, None, paused()),
        (18, Some("web"), What::Resumed { who: "alice".into() }),
    ] {
        board.apply(&fact(at, of, None, what));
    }
    let text = render(&mut board, 100);
    for (series, expected) in [
        (r#"unitmedic_available_seconds_total{worker="mail"}"#, 5.0),
        (r#"unitmedic_observed_seconds_total{worker="mail"}"#, 7.0),
        (r#"unitmedic_paused{worker="mail"}"#, 1.0),
        (r#"unitmedic_paused{worker="web"}"#, 0.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series}");
    }
}

fn instance_status(name: &str, health: Health) -> InstanceStatus {
    let view = UnitView { load: LoadState::Loaded, active: ActiveState::Active, ..UnitView::default() };
    InstanceStatus {
        unit: unit(name),
        health,
        because: String::new(),
        view,
        usage: Some(full_usage(name, 1)),
        cpus: None,
        memory_used_bytes: None,
        memory_limit_bytes: None,
        up_since: Some(Wall(5_000_000)),
        restarts: BTreeMap::new(),
        heartbeat: None,
        errors_per_minute: None,
        scaled: false,
        conditions: BTreeMap::new(),
        incident: None,
        doing: None,
    }
}

#[test]
fn what_cannot_be_seen_of_the_disk_has_no_series() {
    let mut board = full_board();
    let text = render(&mut board, 2);
    let shown = |text: &str| {
        let of = |name: &str| value(text, &format!("unitmedic_state_disk_{name}"));
        ["size_bytes", "available_bytes", "available_inodes", "low", "full_timestamp_seconds"].map(of)
    };
    assert_eq!(shown(&text), [Some(100.0), Some(4.0), Some(40.0), Some(1.0), Some(9.0)]);
    let usage = DiskUsage { total_inodes: 0, available_inodes: 0, ..state_disk().usage };
    board.own().state_disk(Some(StateDisk { usage, warning: None, full_at: None, ..state_disk() }));
    assert_eq!(shown(&render(&mut board, 3)), [Some(100.0), Some(4.0), None, Some(0.0), None]);
    board.own().state_disk(None);
    assert_eq!(shown(&render(&mut board, 4)), [None; 5]);
}

#[test]
fn a_status_is_the_whole_truth() {
    let mut board = full_board();
    let instances = vec![instance_status("mail@7.service", Health::Warning)];
    let mut status = Status {
        at: now(2),
        version: "1".into(),
        ready: false,
        not_ready: Some("systemd is stopping".into()),
        dry_run: true,
        held: true,
        watch_only: Some("three crashes".into()),
        storm: true,
        pauses: vec![],
        host: None,
        workers: vec![WorkerStatus { instances, ..worker_status("mail", true) }],
        open_incidents: 0,
        waiting_approvals: 0,
        disk: None,
    };
    board.status(&status);
    let text = render(&mut board, 2);
    for one in ["dry_run", "held", "watch_only", "storm", "up", "paused{worker=\"mail\"}"] {
        assert_eq!(value(&text, &format!("unitmedic_{one}")), Some(1.0), "{one}");
    }
    assert_eq!(value(&text, "unitmedic_ready"), Some(0.0));
    let of = r#"{worker="mail",unit="mail@7.service""#;
    assert_eq!(value(&text, &format!("unitmedic_unit_health{of},health=\"warning\"}}")), Some(1.0));
    assert_eq!(value(&text, &format!("unitmedic_unit_start_time_seconds{of}}}")), Some(5.0));
    assert_eq!(value(&text, &format!("unitmedic_unit_tasks{of}}}")), Some(3.0));
    assert!(!text.contains("x2d1.service") && !text.contains("web@1.service"), "units that are not in it are gone");

    status.workers[0].instances[0].view.active = ActiveState::Failed;
    board.status(&status);
    let text = render(&mut board, 2);
    assert_eq!(value(&text, &format!("unitmedic_unit_start_time_seconds{of}}}")), None, "it is not up");
}

#[test]
fn incidents_of_a_former_life_are_open() {
    let incident = Incident {
        id: IncidentId(4),
        worker: worker("mail"),
        unit: unit("mail@1.service"),
        origin: Origin::Condition { condition: Condition::MemoryHigh },
        conditions: [Condition::MemoryHigh, Condition::OomKilled].map(|c| (c, Evidence::text("x"))).into(),
        worst: Health::Critical,
        boot: String::new(),
        failed_at: Mono(0),
        failed_wall: Wall(0),
        opened_at: Mono(0),
        opened_wall: Wall(0),
        closed_at: None,
        closed_wall: None,
        resolution: None,
        time_to_recover: None,
        plan: Plan::default(),
        attempts: vec![],
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
    };
    let closed = Incident { id: IncidentId(5), closed_at: Some(Mono(1)), ..incident.clone() };
    let mut board = board(&["mail"]);
    board.restore([&incident, &closed]);
    let text = render(&mut board, 1);
    assert_eq!(value(&text, r#"unitmedic_incidents_open{worker="mail",health="critical"}"#), Some(1.0));
    assert_eq!(text.lines().filter(|l| l.starts_with("unitmedic_incidents_open") && l.ends_with(" 1")).count(), 1);
}

/// The checker of Prometheus itself, where it is installed; CI installs it.
#[test]
fn promtool_is_silent() {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(e) => {
            eprintln!("not checked: promtool: {e}");
            return;
        }
    };
    let text = render(&mut full_board(), 2);
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn an_exemplar_names_the_incident_where_it_is_understood() {
    let mut board = full_board();
    let bucket = |text: &str, le: &str| {
        let lead =
            format!("unitmedic_recovery_duration_seconds_bucket{{worker=\"mail\",action=\"restart\",le=\"{le}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&lead));
        line.unwrap_or_else(|| panic!("no bucket {le}: {text}")).to_owned()
    };
    let plain = board.render(now(2), &Process::read(), false);
    let open = board.render(now(2), &Process::read(), true);
    assert_eq!(bucket(&plain, "0.5"), "1");
    let with = bucket(&open, "0.5");
    let (count, exemplar) = with.split_once(" # {incident=\"").unwrap();
    assert_eq!(count, "1");
    let mut parts = exemplar.split_once("\"} ").unwrap().1.split(' ').map(|part| part.parse::<f64>().unwrap());
    assert_eq!(parts.next(), Some(0.3));
    assert!(parts.next().is_some_and(|at| at > 1e9) && parts.next().is_none(), "{exemplar}");
    // The others have seen nothing of their own.
    assert_eq!((bucket(&open, "0.25").as_str(), bucket(&open, "1").as_str()), ("0", "1"));
    assert!(!plain.contains(" # {") && open.matches(" # {").count() == 1, "one observation, one exemplar");
}
