use std::collections::BTreeSet;
use std::time::Duration;

use expect_test::{Expect, expect};
use jiff::tz::TimeZone;

use super::*;
use crate::model::action::{Plan, Step};
use crate::model::fact::{Availability, Cause, Gate, Refusal, RestartCause, ResyncReason};
use crate::model::{AttemptId, Condition, Evidence, Health, IncidentId, Mono, Now, UnitName, Wall, WorkerName};

const NOW: Now = Now { mono: Mono(100_000_000), wall: Wall(1_795_458_000_250_000) };
const ATTEMPT: AttemptId = AttemptId { incident: IncidentId(42), number: 1 };

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn fact(unit: bool, worker: bool, what: What) -> Fact {
    Fact {
        seq: 1,
        at: NOW,
        cause: Cause::Input(1),
        worker: worker.then(|| WorkerName::new("mail").unwrap()),
        unit: unit.then(|| UnitName::new("mail@2.service").unwrap()),
        incident: unit.then_some(IncidentId(42)),
        what,
    }
}

fn plan() -> Plan {
    let step = |action| Step { action, reason: "because".into() };
    Plan { steps: vec![step(Action::Restart), step(Action::Escalate)], ..Plan::default() }
}

fn raised(condition: Condition, text: &str) -> What {
    What::ConditionRaised { condition, evidence: Evidence::text(text), delay: None }
}

fn closed(resolution: Resolution, attempts: u32) -> What {
    What::IncidentClosed { resolution, time_to_recover: Some(ms(13)), attempts, false_alarm: false }
}

fn ended(outcome: Outcome, reason: &str, spent: Option<Duration>) -> What {
    What::AttemptEnded {
        attempt: ATTEMPT,
        action: Action::Restart,
        condition: Some(Condition::Dead),
        outcome,
        reason: reason.into(),
        time_to_recover: spent,
    }
}

fn of_host() -> Vec<What> {
    vec![
        What::Started { version: "0.1.0".into(), restored_incidents: 0 },
        What::Started { version: "0.1.0".into(), restored_incidents: 2 },
        What::BusLost { why: "connection closed".into() },
        What::Resynced { reason: ResyncReason::ManagerReloaded, units: 1000 },
        What::Resynced { reason: ResyncReason::Connected, units: 1 },
        What::SettingsChanged { workers: 3, by: None },
        What::SettingsChanged { workers: 3, by: Some("alice (uid 1000)".into()) },
        What::WatchOnly { why: "three crashes of ours in ten minutes".into() },
        What::StrategiesChanged { by: Some("ada".into()), text: "what was known of mail is forgotten: 3 cases".into() },
        What::StrategiesChanged {
            by: None,
            text: "for hung of mail restart comes first now, no longer connection_reset: restart helped 4 of 4 times"
                .into(),
        },
        What::HoldChanged { held: true },
        What::HoldChanged { held: false },
        What::StormOpened { sick: 400, instances: 700 },
        What::StormClosed { sick: 3, instances: 700 },
        What::Paused { until: Some(Wall(NOW.wall.0 + 7_200_000_000)), who: "ada".into(), reason: "deploy".into() },
        What::Resumed { who: "ada".into() },
    ]
}

fn of_worker() -> Vec<What> {
    vec![
        What::WorkerHealthChanged { from: Health::Healthy, to: Health::Critical, serving: 1, instances: 3 },
        What::AvailabilityChanged { to: Availability::Unavailable },
        What::Paused { until: None, who: "ada".into(), reason: String::new() },
        What::Resumed { who: "ada".into() },
    ]
}

fn of_unit() -> Vec<What> {
    let refusal = Refusal {
        gate: Gate::Cooldown,
        text: "the last attempt was 40 s ago, and restart_cooldown is 5 min".into(),
        until: Some(Mono(360_000_000)),
        setting: Some("worker.mail.restart_cooldown".into()),
    };
    let stopped = Refusal { gate: Gate::Stopped, text: "an operator stopped it".into(), until: None, setting: None };
    vec![
        What::InstanceAppeared { health: Health::Healthy },
        What::InstanceVanished,
        What::HealthChanged { from: Health::Healthy, to: Health::Dead, because: "unit failed: exit code 3".into() },
        What::ConditionRaised {
            condition: Condition::Dead,
            evidence: Evidence::text("unit failed: killed by signal SIGKILL (9)"),
            delay: Some(Duration::from_micros(1234)),
        },
        raised(Condition::Dead, "it exited without a stop job: exit code 0"),
        raised(Condition::Dead, "its main process ended: exit code 1"),
        raised(Condition::CrashLoop, "5 failures within 10 min"),
        raised(Condition::StartStuck, "starting for 1 min 30 s or more, over 1 min 30 s"),
        raised(Condition::OomKilled, "the kernel or systemd-oomd killed it for memory (result oom-kill)"),
        raised(Condition::MemoryHigh, "memory 900 MiB of 1.0 GiB (88 % of memory.max), over 85 %"),
        raised(Condition::CpuHigh, "CPU at 97 % of 1 CPU (cpu_cores) for 2 min or more, over 80 %"),
        raised(Condition::Starved, "waited for memory 60 % of the last 10 s, over 40 %"),
        What::ConditionCleared { condition: Condition::Dead, held: ms(13) },
        What::Restarted { by: RestartCause::Unitmedic, count: 1 },
        What::Restarted { by: RestartCause::Systemd, count: 12 },
        What::Restarted { by: RestartCause::Operator, count: 22 },
        What::StoppedOnPurpose { why: "the journal shows a stop job".into() },
        What::IncidentOpened {
            condition: Some(Condition::Dead),
            evidence: Evidence::text("unit failed: exit code 3"),
            plan: plan(),
        },
        What::IncidentOpened { condition: None, evidence: Evidence::text("asked for by ada"), plan: Plan::default() },
        What::IncidentReopened { condition: Some(Condition::Dead), attempts_used: 1, since_closed: ms(42_000) },
        What::ConditionJoined {
            condition: Condition::CrashLoop,
            evidence: Evidence::text("5 failures within 10 min"),
            plan: plan(),
        },
        What::ActionSuppressed { action: Action::Restart, refusal },
        What::ActionSuppressed { action: Action::Restart, refusal: stopped },
        What::AttemptIntended { attempt: ATTEMPT, action: Action::Restart, reason: "the mildest that can help".into() },
        What::IntentNotStored { attempt: ATTEMPT, text: "disk full".into() },
        What::AttemptActed { attempt: ATTEMPT, action: Action::Restart, dependents: vec![], did: None },
        What::AttemptActed {
            attempt: ATTEMPT,
            action: Action::GracefulRestart,
            dependents: vec!["web.service".into()],
            did: None,
        },
        What::AttemptActed { attempt: ATTEMPT, action: Action::Escalate, dependents: vec![], did: None },
        What::AttemptActed {
            attempt: ATTEMPT,
            action: Action::ConnectionReset,
            dependents: vec![],
            did: Some("destroyed 2 connections".into()),
        },
        What::QueueLost { queue: "jobs".into(), why: "there is no such queue".into() },
        What::QueueFound { queue: "jobs".into() },
        What::JournalGap { why: "it was rotated".into() },
        What::ScaleWanted { from: 1, to: 3, because: "10000 messages wait".into() },
        What::AttemptDraining { attempt: ATTEMPT, limit: ms(30_000) },
        What::VerificationStarted { attempt: Some(ATTEMPT), verify_for: ms(10_000) },
        What::VerificationStarted { attempt: None, verify_for: ms(60_000) },
        ended(Outcome::Succeeded, "healthy for 10 s", Some(ms(13))),
        ended(Outcome::Failed, "failed again: exit code 3", None),
        ended(Outcome::Superseded, "an operator stopped it", None),
        ended(Outcome::InDoubt, "unitmedic ended between intent and outcome", None),
        What::Escalated {
            attempts: 3,
            next_try: Some(Mono(400_000_000)),
            text: "failed after 3 restart attempts".into(),
        },
        What::Escalated { attempts: 1, next_try: None, text: "nothing is left to try".into() },
        closed(Resolution::Recovered, 1),
        closed(Resolution::SelfCleared, 0),
        closed(Resolution::Systemd, 0),
        closed(Resolution::Operator, 2),
        closed(Resolution::Escalated, 5),
        closed(Resolution::FalseAlarm, 0),
        What::IncidentClosed {
            resolution: Resolution::SelfCleared,
            time_to_recover: None,
            attempts: 0,
            false_alarm: true,
        },
        What::MarkedFalse { who: "ada".into() },
        What::Requested { who: "ada".into(), action: Action::Restart, force: false },
        What::Requested { who: "ada".into(), action: Action::Restart, force: true },
    ]
}

fn every_fact() -> Vec<Fact> {
    let host = of_host().into_iter().map(|what| fact(false, false, what));
    let worker = of_worker().into_iter().map(|what| fact(false, true, what));
    host.chain(worker).chain(of_unit().into_iter().map(|what| fact(true, true, what))).collect()
}

/// Kinds of facts that there are. A new one must get a sentence here.
const KINDS: usize = 38;

#[test]
fn every_kind_of_fact_has_a_sentence() {
    let facts = every_fact();
    let kinds: BTreeSet<&str> = facts.iter().map(|fact| fact.what.name()).collect();
    assert_eq!(kinds.len(), KINDS, "{kinds:?}");
    for fact in &facts {
        let text = sentence(fact);
        assert!(!text.ends_with(fact.what.name()), "no sentence of its own: {text}");
        assert!(!text.contains('\n') && !text.ends_with('.'), "{text}");
    }
}

fn check(facts: &[Fact], expected: Expect) {
    let sentences: Vec<String> = facts.iter().map(sentence).collect();
    expected.assert_eq(&sentences.join("\n"));
}

#[test]
fn sentences() {
    check(
        &every_fact(),
        expect![[r#"
            unitmedic 0.1.0 began to watch
            unitmedic 0.1.0 began to watch and took up 2 open incidents from before
            the connection to systemd is lost: connection closed; nothing is judged and nothing is done until it is back
            looked at 1000 units anew, because systemd has reloaded its units
            looked at 1 unit anew, because unitmedic has connected to systemd
            new settings are in force: 3 workers
            new settings are in force: 3 workers; asked by alice (uid 1000)
            unitmedic only watches and does nothing: three crashes of ours in ten minutes
            what was known of mail is forgotten: 3 cases; asked by ada
            learned: for hung of mail restart comes first now, no longer connection_reset: restart helped 4 of 4 times
            the hold file is there: unitmedic does nothing until it is removed
            the hold file is gone: unitmedic acts again
            storm breaker open: 400 of 700 instances are sick at once, which has a shared cause; running instances are left alone, dead ones are still started
            storm breaker closed: 3 of 700 instances are sick
            ada paused all workers for 2 h: deploy
            ada resumed all workers
            worker mail went from healthy to critical: 1 of 3 instances serving
            worker mail is not available: too few instances serve
            ada paused worker mail until resumed
            ada resumed worker mail
            mail@2.service is now watched; it is healthy
            mail@2.service is gone and no longer watched
            mail@2.service went from healthy to dead: unit failed: exit code 3
            mail@2.service failed: killed by signal SIGKILL (9); seen 1.2 ms after it happened
            mail@2.service exited without a stop job: exit code 0
            mail@2.service is down: its main process ended: exit code 1
            mail@2.service fails again and again: 5 failures within 10 min
            mail@2.service does not come up: starting for 1 min 30 s or more, over 1 min 30 s
            mail@2.service ran out of memory: the kernel or systemd-oomd killed it for memory (result oom-kill)
            mail@2.service uses too much memory: memory 900 MiB of 1.0 GiB (88 % of memory.max), over 85 %
            mail@2.service uses much CPU: CPU at 97 % of 1 CPU (cpu_cores) for 2 min or more, over 80 %
            mail@2.service waits for resources: waited for memory 60 % of the last 10 s, over 40 %
            mail@2.service is no longer down, after 13 ms
            mail@2.service was started by unitmedic
            mail@2.service was started by systemd itself (Restart=), 12 times
            mail@2.service was started by an operator, 22 times
            mail@2.service was stopped on purpose and is left alone: the journal shows a stop job
            incident #42 opened for mail@2.service: dead (unit failed: exit code 3); plan: restart, then escalate
            incident #42 opened for mail@2.service: asked for by ada
            incident #42 of mail@2.service reopened: dead is back 42 s after it was closed; 1 attempt made already
            incident #42 of mail@2.service is now also crash_loop (5 failures within 10 min); plan: restart, then escalate
            restart of mail@2.service is held back: the last attempt was 40 s ago, and restart_cooldown is 5 min (gate cooldown); possible in 4 min 20 s
            restart of mail@2.service is held back: an operator stopped it (gate stopped)
            restart of mail@2.service (#42.1) is about to be done: the mildest that can help
            the intent of #42.1 for mail@2.service could not be stored in time and was done all the same: disk full
            restart of mail@2.service (#42.1) was handed to systemd
            graceful_restart of mail@2.service (#42.1) was handed to systemd; along with it: web.service
            mail@2.service (#42.1) was escalated
            connection_reset of mail@2.service (#42.1): destroyed 2 connections
            queue jobs of mail@2.service cannot be read: there is no such queue
            queue jobs of mail@2.service can be read again
            entries of the journal were missed, errors may be uncounted: it was rotated
            mail@2.service wants 3 instances instead of 1: 10000 messages wait
            mail@2.service (#42.1) was asked to finish its work; it has 30 s for that
            mail@2.service is well after #42.1; it must stay healthy for 10 s to count as well
            mail@2.service is well; it must stay healthy for 1 min to count as well
            restart of mail@2.service (#42.1) helped: healthy for 10 s, well again after 13 ms
            restart of mail@2.service (#42.1) did not help: failed again: exit code 3
            restart of mail@2.service (#42.1) was called off: an operator stopped it
            restart of mail@2.service (#42.1) is in doubt: unitmedic ended between intent and outcome
            mail@2.service needs an operator: failed after 3 restart attempts; next try in 5 min
            mail@2.service needs an operator: nothing is left to try; no further try by itself
            incident #42 of mail@2.service closed: unitmedic helped, with 1 attempt, well again after 13 ms
            incident #42 of mail@2.service closed: it went away by itself, well again after 13 ms
            incident #42 of mail@2.service closed: systemd's own restart helped, well again after 13 ms
            incident #42 of mail@2.service closed: an operator took over
            incident #42 of mail@2.service closed: well at last, after an escalation and 5 attempts, well again after 13 ms
            incident #42 of mail@2.service closed: it was a false alarm
            incident #42 of mail@2.service closed: it went away by itself; a false alarm
            incident #42 of mail@2.service was marked as a false alarm by ada
            ada asked for restart of mail@2.service
            ada asked for restart of mail@2.service, past the gates (--force)"#]],
    );
}

#[test]
fn a_plain_log_has_one_line_per_fact() {
    let story = Story::new(Look::plain(TimeZone::UTC));
    let lines: Vec<String> = every_fact().iter().take(4).filter_map(|fact| story.tell(fact)).collect();
    expect![[r#"
        18:20:00.250 - unitmedic        unitmedic 0.1.0 began to watch
        18:20:00.250 - unitmedic        unitmedic 0.1.0 began to watch and took up 2 open incidents from before
        18:20:00.250 x unitmedic        the connection to systemd is lost: connection closed; nothing is judged and nothing is done until it is back
        18:20:00.250 - unitmedic        looked at 1000 units anew, because systemd has reloaded its units"#]].assert_eq(&lines.join("\n"));
}

#[test]
fn a_terminal_gets_wrapped_lines_within_its_width() {
    for width in [20, 40, 80, 100, 132] {
        let look = Look { width: Some(width), unicode: true, ..Look::plain(TimeZone::UTC) };
        let story = Story::of_every_fact(look);
        for fact in every_fact() {
            let lines = story.tell(&fact).expect("this story tells every fact");
            assert!(lines.lines().all(|line| columns(line) <= width.max(WIDTH_MIN)), "{width}: {lines}");
        }
    }
    let look = Look { width: Some(110), unicode: true, ..Look::plain(TimeZone::UTC) };
    let lines: Vec<String> = every_fact().iter().filter_map(|fact| Story::new(look.clone()).tell(fact)).collect();
    expect![[r#"
        18:20:00.250 ✔ mail             incident #42 of mail@2.service closed: it went away by itself, well again
                                        after 13 ms
        18:20:00.250 ✔ mail             incident #42 of mail@2.service closed: systemd's own restart helped, well
                                        again after 13 ms
        18:20:00.250 · mail             incident #42 of mail@2.service closed: an operator took over
        18:20:00.250 ✔ mail             incident #42 of mail@2.service closed: well at last, after an escalation and 5
                                        attempts, well again after 13 ms
        18:20:00.250 · mail             incident #42 of mail@2.service closed: it was a false alarm
        18:20:00.250 ✔ mail             incident #42 of mail@2.service closed: it went away by itself; a false alarm
        18:20:00.250 · mail             incident #42 of mail@2.service was marked as a false alarm by ada
        18:20:00.250 ● mail             ada asked for restart of mail@2.service
        18:20:00.250 ● mail             ada asked for restart of mail@2.service, past the gates (--force)"#]]
    .assert_eq(&lines[lines.len() - 9..].join("\n"));
}

#[test]
fn colours_only_where_wanted() {
    let fact = &every_fact()[0];
    let story = |colour| Story::new(Look { colour, ..Look::plain(TimeZone::UTC) });
    assert!(!story(false).tell(fact).unwrap().contains('\x1b'));
    assert!(story(true).tell(fact).unwrap().contains('\x1b'));
}

#[test]
fn a_reader_is_not_told_twice() {
    let story = Story::new(Look::plain(TimeZone::UTC));
    let quiet = fact(true, true, What::HealthChanged { from: Health::Healthy, to: Health::Dead, because: "x".into() });
    assert_eq!(story.tell(&quiet), None);
    let appeared = |health| fact(true, true, What::InstanceAppeared { health });
    assert_eq!(story.tell(&appeared(Health::Healthy)), None);
    assert!(story.tell(&appeared(Health::Dead)).is_some());
}
