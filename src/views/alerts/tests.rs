use std::time::Duration;

use expect_test::{Expect, expect};

use super::*;
use crate::model::fact::{Cause, Refusal, ResyncReason};
use crate::model::incident::{Origin, Stage};
use crate::model::{Action, Attempt, Evidence, IncidentId, Outcome, Selector, Wall, WorkerSettings};

const FLEET: Fleet = Fleet { total: 3, healthy: 2, critical: 1 };

fn at(seconds: u64) -> Now {
    Now { mono: Mono(seconds * 1_000_000), wall: Wall(1_800_000_000_000_000 + seconds as i64 * 1_000_000) }
}

fn unit(name: &str) -> UnitName {
    UnitName::new(&format!("{name}.service")).unwrap()
}

fn worker(name: &str) -> WorkerName {
    WorkerName::new(name).unwrap()
}

fn settings(information: bool) -> Settings {
    let mut settings = Settings::empty();
    for (name, critical) in [("mail", false), ("db", true)] {
        let selector = Selector::Template(name.into());
        let of_worker = WorkerSettings { critical, ..WorkerSettings::new(worker(name), selector) };
        settings.workers.insert(worker(name), of_worker);
    }
    settings.alerts.information = information;
    settings
}

struct Scene {
    board: AlertBoard,
    now: Now,
}

impl Scene {
    fn new(information: bool) -> Self {
        Self { board: AlertBoard::new(&settings(information)), now: at(0) }
    }

    fn fact(&mut self, name: &str, what: What) {
        let (worker, unit) = match name {
            "" => (None, None),
            name => (Some(worker(name)), Some(unit(&format!("{name}@1")))),
        };
        self.board.apply(&Fact { seq: 1, at: self.now, cause: Cause::Start, worker, unit, incident: None, what });
    }

    fn health(&mut self, name: &str, to: Health) {
        self.fact(name, What::HealthChanged { from: Health::Unknown, to, because: String::new() });
    }

    fn incident(&mut self, incident: &Incident) {
        self.board.incident(incident, self.now);
    }

    /// What is told until `seconds`, told at the time when it is due.
    fn until(&mut self, seconds: u64) -> String {
        let mut told = self.told();
        while let Some(due) = self.board.poll_timeout().filter(|due| *due <= at(seconds).mono) {
            self.now = at(due.0 / 1_000_000);
            told.push_str(&self.told());
        }
        self.now = at(seconds);
        told + &self.told()
    }

    fn told(&mut self) -> String {
        let seconds = self.now.mono.0 / 1_000_000;
        let line = |change: &Change| {
            let (word, alert) = match change {
                Change::Fired(alert) => ("fired", alert),
                Change::Reworded(alert) => ("reworded", alert),
                Change::Resolved(alert) => ("resolved", alert),
            };
            format!("{seconds} {word} {} {}: {}\n", alert.key.name, alert.severity, alert.message)
        };
        self.board.poll(self.now, || FLEET).iter().map(line).collect()
    }

    fn expect(&mut self, seconds: u64, expected: Expect) {
        expected.assert_eq(&self.until(seconds));
    }
}

fn ill(name: &str, condition: Condition, opened: u64) -> Incident {
    let origin = Origin::Condition { condition };
    let new = Incident::new(IncidentId(7), worker(name), unit(&format!("{name}@1")), origin, "boot", at(opened));
    let evidence = Evidence::text("unit failed: killed by signal SIGKILL (9)");
    Incident { conditions: [(condition, evidence)].into(), worst: condition.health(), ..new }
}

fn attempt(number: u32, outcome: Option<Outcome>) -> Attempt {
    let stage = if outcome.is_some() { Stage::Ended } else { Stage::Verifying };
    let acted_at = Some(at(1).mono);
    Attempt { stage, outcome, acted_at, ..Attempt::intended(number, Action::Restart, "it died again".into(), at(1)) }
}

fn closed(incident: Incident, resolution: Resolution, seconds: u64) -> Incident {
    let at = at(seconds);
    Incident { closed_at: Some(at.mono), closed_wall: Some(at.wall), resolution: Some(resolution), ..incident }
}

#[test]
fn what_heals_itself_pages_nobody() {
    let mut scene = Scene::new(false);
    scene.health("mail", Health::Dead);
    let incident = ill("mail", Condition::Dead, 0);
    scene.incident(&incident);
    scene.expect(2, expect![""]);
    // Up again, and watched for longer than alert_after.
    scene.health("mail", Health::Healthy);
    scene.expect(60, expect![""]);
    scene.incident(&closed(incident, Resolution::Recovered, 60));
    scene.expect(600, expect![""]);
    assert!(scene.board.firing().is_empty());
}

#[test]
fn what_lasts_is_told_once_and_resolved_once() {
    let mut scene = Scene::new(false);
    for (name, number) in [("mail", 7), ("db", 8)] {
        scene.health(name, Health::Dead);
        scene.incident(&Incident { id: IncidentId(number), ..ill(name, Condition::Dead, 0) });
    }
    scene.expect(
        100,
        expect![[r#"
            30 fired UnitmedicCriticalWorkerFailed high: Worker db@1 is dead: unit failed: killed by signal SIGKILL (9)
            30 fired UnitmedicWorkerFailed medium: Worker mail@1 is dead: unit failed: killed by signal SIGKILL (9)
        "#]],
    );
    // Well for a moment, while it is being proven: not over yet, and not told anew when it dies again.
    scene.health("mail", Health::Healthy);
    scene.expect(101, expect![""]);
    scene.health("mail", Health::Dead);
    let tried = Incident { attempts: vec![attempt(1, Some(Outcome::Failed))], ..ill("mail", Condition::Dead, 0) };
    scene.incident(&tried);
    scene.expect(
        102,
        expect![[r#"
            101 reworded UnitmedicWorkerFailed medium: Worker mail@1 is dead: unit failed: killed by signal SIGKILL (9)
        "#]],
    );
    scene.incident(&closed(tried, Resolution::Recovered, 103));
    scene.expect(
        103,
        expect![[r#"
            102 resolved UnitmedicWorkerFailed medium: Worker mail@1 is dead: unit failed: killed by signal SIGKILL (9)
        "#]],
    );
    assert_eq!(scene.board.firing().len(), 1);
}

#[test]
fn what_was_given_up_is_told_at_once() {
    let mut scene = Scene::new(false);
    scene.health("mail", Health::Dead);
    let incident = ill("mail", Condition::Dead, 0);
    scene.incident(&incident);
    scene.expect(10, expect![""]);
    let attempts = (1..=3).map(|number| attempt(number, Some(Outcome::Failed))).collect();
    let given_up = Incident { attempts, escalations: 1, given_up: true, ..incident };
    scene.incident(&given_up);
    scene.expect(10, expect![[r#"
        10 fired UnitmedicRecoveryGivenUp critical: Worker mail@1 failed after 3 restart attempts: unit failed: killed by signal SIGKILL (9)
    "#]]);
    expect![[r#"
        Alert {
            key: AlertKey {
                name: RecoveryGivenUp,
                worker: Some(
                    "mail",
                ),
                unit: Some(
                    "mail@1.service",
                ),
            },
            severity: Critical,
            message: "Worker mail@1 failed after 3 restart attempts: unit failed: killed by signal SIGKILL (9)",
            evidence: [
                "dead: unit failed: killed by signal SIGKILL (9)",
            ],
            tried: [
                "1. restart: failed: it died again",
                "2. restart: failed: it died again",
                "3. restart: failed: it died again",
            ],
            advice: "unitmedic explain mail@1.service; it says what was tried, and whether and when it is tried again",
            incident: Some(
                #7,
            ),
            condition: Some(
                Dead,
            ),
            fleet: Fleet {
                total: 3,
                healthy: 2,
                critical: 1,
            },
            since: wall 1800000010000000us,
            until: None,
        }"#]]
    .assert_eq(&format!("{:#?}", scene.board.firing()[0]));
    scene.expect(
        31,
        expect![[r#"
            30 fired UnitmedicWorkerFailed medium: Worker mail@1 is dead: unit failed: killed by signal SIGKILL (9)
        "#]],
    );
    scene.incident(&closed(given_up, Resolution::Escalated, 40));
    scene.expect(40, expect![[r#"
        31 resolved UnitmedicRecoveryGivenUp critical: Worker mail@1 failed after 3 restart attempts: unit failed: killed by signal SIGKILL (9)
        31 resolved UnitmedicWorkerFailed medium: Worker mail@1 is dead: unit failed: killed by signal SIGKILL (9)
    "#]]);
}

/// Its time as a warning does not count: systemd or we may bring it back in milliseconds.
#[test]
fn a_warning_that_becomes_a_failure_waits_anew() {
    let mut scene = Scene::new(false);
    scene.health("mail", Health::Warning);
    let mut incident = ill("mail", Condition::MemoryHigh, 0);
    scene.incident(&incident);
    scene.expect(
        600,
        expect![[r#"
            30 fired UnitmedicWorkerWarning medium: Worker mail@1 has a warning (memory_high): unit failed: killed by signal SIGKILL (9)
        "#]],
    );
    scene.health("mail", Health::Dead);
    incident.worst = Health::Dead;
    incident.conditions.insert(Condition::Dead, Evidence::text("unit exited"));
    scene.incident(&incident);
    scene.expect(
        700,
        expect![[r#"
            600 reworded UnitmedicWorkerWarning medium: Worker mail@1 has a warning (memory_high): unit failed: killed by signal SIGKILL (9)
            630 fired UnitmedicWorkerFailed medium: Worker mail@1 is dead: unit exited
            630 resolved UnitmedicWorkerWarning medium: Worker mail@1 has a warning (memory_high): unit failed: killed by signal SIGKILL (9)
        "#]],
    );
}

#[test]
fn a_warning_without_an_incident_is_told() {
    let mut scene = Scene::new(false);
    let evidence = Evidence::measured("CPU 97 % of 1 core for 2 min", 97.0, 80.0);
    scene.fact("mail", What::ConditionRaised { condition: Condition::CpuHigh, evidence, delay: None });
    scene.expect(
        40,
        expect![[r#"
            30 fired UnitmedicWorkerWarning medium: Worker mail@1 has a warning (cpu_high): CPU 97 % of 1 core for 2 min
        "#]],
    );
    scene.fact("mail", What::ConditionCleared { condition: Condition::CpuHigh, held: Duration::ZERO });
    scene.expect(
        41,
        expect![[r#"
            40 resolved UnitmedicWorkerWarning medium: Worker mail@1 has a warning (cpu_high): CPU 97 % of 1 core for 2 min
        "#]],
    );
    assert!(scene.board.subjects.is_empty(), "nothing is kept of what is well");
}

#[test]
fn a_paused_worker_pages_nobody() {
    let mut scene = Scene::new(false);
    scene.health("mail", Health::Dead);
    let text = "paused by alice".to_string();
    let waiting = Some(Refusal { gate: Gate::Maintenance, text, until: None, setting: None });
    let incident = Incident { waiting, ..ill("mail", Condition::Dead, 0) };
    scene.incident(&incident);
    scene.expect(3600, expect![""]);
    scene.incident(&Incident { waiting: None, ..incident });
    scene.expect(
        3600,
        expect![[r#"
            3600 fired UnitmedicWorkerFailed medium: Worker mail@1 is dead: unit failed: killed by signal SIGKILL (9)
        "#]],
    );
}

#[test]
fn the_host_has_alerts_of_its_own() {
    let mut scene = Scene::new(false);
    scene.fact("", What::BusLost { why: "connection reset".into() });
    scene.fact("", What::WatchOnly { why: "crashed 3 times".into() });
    scene.expect(
        10,
        expect![[r#"
        0 fired UnitmedicActsNoMore critical: unitmedic only watches and does nothing: crashed 3 times
    "#]],
    );
    scene.fact("", What::StormOpened { sick: 5, instances: 6 });
    scene.expect(35, expect![[r#"
        30 fired UnitmedicHostUnseen critical: the connection to systemd is lost: connection reset; nothing is judged and nothing is done until it is back
    "#]]);
    scene.fact("", What::Resynced { reason: ResyncReason::Connected, units: 6 });
    scene.fact("", What::StormClosed { sick: 0, instances: 6 });
    scene.expect(100, expect![[r#"
        35 resolved UnitmedicHostUnseen critical: the connection to systemd is lost: connection reset; nothing is judged and nothing is done until it is back
    "#]]);
}

#[test]
fn information_is_told_to_those_who_want_it_and_passes() {
    let incident = Incident {
        attempts: vec![attempt(1, Some(Outcome::Succeeded))],
        time_to_recover: Some(Duration::from_millis(2100)),
        ..ill("mail", Condition::Dead, 0)
    };
    let asked = || What::Requested { who: "alice (uid 1000)".into(), action: Action::Restart, force: false };
    for information in [false, true] {
        let mut scene = Scene::new(information);
        scene.incident(&incident);
        scene.incident(&closed(incident.clone(), Resolution::Recovered, 5));
        scene.fact("mail", asked());
        let told = scene.until(1000);
        let expected = match information {
            false => expect![""],
            true => expect![[r#"
                0 fired UnitmedicWorkerRecovered low: Worker mail@1 was brought back by restart after 2.1 s
                0 fired UnitmedicOperatorActed low: alice (uid 1000) asked for restart of mail@1.service
                300 resolved UnitmedicWorkerRecovered low: Worker mail@1 was brought back by restart after 2.1 s
                300 resolved UnitmedicOperatorActed low: alice (uid 1000) asked for restart of mail@1.service
            "#]],
        };
        expected.assert_eq(&told);
    }
}

/// An incident that was open before our own restart has been so since then.
#[test]
fn after_a_restart_of_ours_what_still_holds_is_told_at_once() {
    let mut scene = Scene { now: at(500), ..Scene::new(false) };
    scene.health("mail", Health::Dead);
    let incident = Incident { escalations: 1, given_up: true, ..ill("mail", Condition::Dead, 100) };
    scene.incident(&incident);
    scene.expect(500, expect![[r#"
        500 fired UnitmedicRecoveryGivenUp critical: Worker mail@1 needs an operator: unit failed: killed by signal SIGKILL (9)
        500 fired UnitmedicWorkerFailed medium: Worker mail@1 is dead: unit failed: killed by signal SIGKILL (9)
    "#]]);
    assert!(scene.board.firing().iter().all(|alert| alert.since == at(100).wall));
}

#[test]
fn text_from_outside_is_made_short_and_plain() {
    let mut incident = ill("mail", Condition::Dead, 0);
    incident.conditions.insert(Condition::Dead, Evidence::text(format!("\x1b[31m{}", "ä".repeat(5000))));
    let key = AlertKey { name: AlertName::WorkerFailed, worker: None, unit: None };
    let alert = words::of_incident(key, at(0).wall, &incident, Complaint::Failed);
    assert!(alert.message.starts_with("Worker mail@1 is dead:  [31mä"), "{}", alert.message);
    assert!(alert.message.ends_with('…') && alert.message.chars().count() == 501);
}

/// That it was given up in a former life of the incident is no reason to page for the new one.
#[test]
fn a_reopened_incident_is_not_given_up_yet() {
    let mut scene = Scene::new(false);
    let given_up = Incident { escalations: 1, given_up: true, ..ill("mail", Condition::Dead, 0) };
    scene.incident(&given_up);
    scene.told();
    scene.incident(&closed(given_up.clone(), Resolution::Escalated, 10));
    scene.until(20);
    scene.health("mail", Health::Dead);
    scene.incident(&Incident { opened_at: at(20).mono, opened_wall: at(20).wall, given_up: false, ..given_up });
    scene.expect(49, expect![""]);
}

#[test]
fn what_has_an_empty_plan_is_told_as_failed() {
    let mut scene = Scene::new(false);
    scene.health("mail", Health::Dead);
    let evidence = Evidence::text("unit failed: exit code 3");
    scene.fact("mail", What::ConditionRaised { condition: Condition::Dead, evidence, delay: None });
    scene.expect(40, expect![[r#"
        30 fired UnitmedicWorkerFailed medium: Worker mail@1 failed, and its plan is empty (dead): unit failed: exit code 3
    "#]]);
}

#[test]
fn an_instance_that_comes_to_another_worker_leaves_no_alert_behind() {
    let mut scene = Scene::new(false);
    let raised = |condition| What::ConditionRaised { condition, evidence: Evidence::text("97 %"), delay: None };
    scene.fact("mail", raised(Condition::CpuHigh));
    scene.until(40);
    let (worker, unit) = (Some(worker("db")), Some(unit("mail@1")));
    let what = raised(Condition::CpuHigh);
    scene.board.apply(&Fact { seq: 1, at: scene.now, cause: Cause::Start, worker, unit, incident: None, what });
    scene.until(80);
    let firing = scene.board.firing();
    let workers: Vec<_> = firing.iter().filter_map(|alert| alert.key.worker.as_ref()).map(|it| it.as_str()).collect();
    assert_eq!(workers, ["db"]);
}
