//! The main rules as time lines: what happens on the left of each story, what the engine tells on the right.

use std::time::Duration;

use expect_test::{Expect, expect};
use unitmedic::model::action::Answer;
use unitmedic::model::approval::{ApprovalFor, NoAnswer};
use unitmedic::model::fact::{ResyncReason, What};
use unitmedic::model::hours::Hours;
use unitmedic::model::input::Durability;
use unitmedic::model::pattern::{Cluster, HoursAhead, Warns};
use unitmedic::model::request::{Ask, Request, Target};
use unitmedic::model::status::Explanation;
use unitmedic::model::unit::JobKind;
use unitmedic::model::{
    Action, ActiveState, AttemptId, Command, Condition, IncidentId, Input, Mono, PatternId, PatternSeen, Selector,
    Settings, UnitChange, UnitName, WorkerSettings,
};

use crate::driver::{Event, Sim};
use crate::faults::Swarm;
use crate::host::{Host, Load, MS, Restart, SEC, Spec, Want};
use crate::scene::{BEGIN, unit, with_workers, worker};
use crate::work;

/// A calm host with some units, all of them running.
struct Stage {
    sim: Sim,
}

impl Stage {
    fn new(settings: Settings, units: &[(&str, Spec)]) -> Self {
        let mut host = Host::new(BEGIN);
        host.startup_finished = BEGIN - 900 * SEC;
        for (name, spec) in units {
            host.add(&unit(name), spec.clone());
            host.start(&unit(name));
            host.unit(&unit(name)).want = Want::Run;
        }
        host.signals.clear();
        let mut sim = Sim::new(1, settings, Swarm::calm(), host, usize::MAX);
        sim.ship_signals();
        sim.start_engine();
        sim.run_until(BEGIN + 60 * SEC);
        Stage { sim }
    }

    fn one(change: impl Fn(&mut WorkerSettings), spec: Spec) -> Self {
        let mut api = worker("api", Selector::Unit(unit("api.service")));
        change(&mut api);
        Stage::new(with_workers([api]), &[("api.service", spec)])
    }

    /// Lets `span` seconds go by.
    fn pass(&mut self, span: f64) -> &mut Self {
        self.sim.ship_signals();
        let end = self.sim.now + (span * SEC as f64) as u64;
        self.sim.run_until(end);
        self
    }

    fn explained(&self, name: &str) -> Explanation {
        let engine = self.sim.engine.as_ref().expect("it runs");
        engine.explain(&Target::Unit(unit(name)), self.sim.clock()).remove(0)
    }

    /// What is foreseen of `api.service`.
    fn foretold(&self) -> Option<String> {
        self.explained("api.service").conditions.get(&Condition::Predicted).map(|evidence| evidence.text.clone())
    }

    /// Bytes that the status shows.
    fn memory(&self, name: &str) -> Option<u64> {
        let engine = self.sim.engine.as_ref().expect("it runs");
        engine.instance(&unit(name), self.sim.clock()).and_then(|(_, instance)| instance.memory_used_bytes)
    }

    fn kill(&mut self, name: &str) -> &mut Self {
        self.sim.host.ended(&unit(name), 2, 9);
        self
    }

    /// The facts and orders since the stage was set, without the host's own signals.
    fn told(&self, expected: Expect) {
        assert!(self.sim.failure.is_none(), "{}", self.sim.failure.as_ref().map_or("", |f| &f.text));
        let mut text = String::new();
        for line in self.sim.transcript.lines() {
            let (time, rest) = line.trim_start().split_once(' ').unwrap_or((line, ""));
            let boring = ["<-", "== life", "-> record", "   systemd", "-> look", "instance_appeared", "resynced"];
            let noise =
                ["health_changed", "started", "verification_started", "attempt_acted", "condition_", "availability"];
            let skip = boring.iter().any(|b| rest.trim_start().starts_with(b.trim_start()))
                || noise.iter().any(|n| rest.contains(n))
                || rest.contains("resynced")
                || rest.contains("instance_appeared");
            if !skip {
                // Tenths of seconds, from the setting of the stage.
                let at = seconds(time) - (BEGIN / SEC) as f64 - 60.0;
                text.push_str(&format!("+{:<6.1} {}\n", at.max(0.0), rest.trim()));
            }
        }
        expected.assert_eq(&text);
    }
}

fn seconds(clock: &str) -> f64 {
    clock.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap_or(0.0))
}

fn plain() -> Spec {
    Spec::plain()
}

fn template(min: u32, numbers: &[&str], spec: Spec) -> Stage {
    let mut mail = worker("mail", Selector::Template("mail".into()));
    mail.min_instances = Some(min);
    let units: Vec<(&str, Spec)> = numbers.iter().map(|name| (*name, spec.clone())).collect();
    Stage::new(with_workers([mail]), &units)
}

#[test]
fn a_killed_worker_is_restarted_at_once_and_proven() {
    let mut stage = Stage::one(|_| {}, plain());
    stage.kill("api.service").pass(30.0);
    stage.told(expect![[r#"
        +0.0    #1 api.service incident_opened: unit failed: killed by signal SIGKILL (9)
        +0.0    #1 api.service attempt_intended #1.1 restart
        +0.0    -> act #1.1 api.service Start { reset_failed: false }
        +10.0   [Proceed] #1 api.service attempt_ended #1.1 succeeded 10 ms: healthy for 10 s
        +10.0   [Proceed] #1 api.service incident_closed recovered after 1 attempts
    "#]]);
}

#[test]
fn three_failures_escalate_and_then_it_is_tried_at_a_low_rate() {
    let mut stage = Stage::one(|_| {}, Spec { start_limit: (100, SEC), ..plain() });
    stage.sim.host.unit(&unit("api.service")).broken.crash_after = Some(300 * MS);
    stage.kill("api.service").pass(1000.0);
    stage.told(expect![[r#"
        +0.0    #1 api.service incident_opened: unit failed: killed by signal SIGKILL (9)
        +0.0    #1 api.service attempt_intended #1.1 restart
        +0.0    -> act #1.1 api.service Start { reset_failed: false }
        +0.3    #1 api.service attempt_ended #1.1 failed : it was well for only 299 ms: unit failed: exit code 1
        +0.3    #1 api.service action_suppressed restart: cooldown: pause between attempts
        +2.2    [Proceed] #1 api.service attempt_intended #1.2 restart
        +2.2    -> act #1.2 api.service Start { reset_failed: false }
        +2.5    #1 api.service attempt_ended #1.2 failed : it was well for only 299 ms: unit failed: exit code 1
        +2.5    #1 api.service action_suppressed restart: cooldown: pause between attempts
        +6.2    [Proceed] #1 api.service attempt_intended #1.3 restart
        +6.2    -> act #1.3 api.service Start { reset_failed: false }
        +6.5    #1 api.service attempt_ended #1.3 failed : it was well for only 295 ms: unit failed: exit code 1
        +6.5    #1 api.service escalated: api.service failed after 3 restart attempts: it was well for only 295 ms: unit failed: exit code 1
        +6.5    #1 api.service action_suppressed restart: cooldown: after giving up it is tried again at a low rate
        +306.5  [Proceed] #1 api.service attempt_intended #1.4 restart
        +306.5  -> act #1.4 api.service Start { reset_failed: false }
        +306.8  #1 api.service attempt_ended #1.4 failed : it was well for only 298 ms: 5 failures within 10 min
        +306.8  #1 api.service escalated: api.service failed after 4 restart attempts: it was well for only 298 ms: 5 failures within 10 min
        +306.8  #1 api.service action_suppressed restart: cooldown: after giving up it is tried again at a low rate
        +906.8  [Proceed] #1 api.service attempt_intended #1.5 restart
        +906.8  -> act #1.5 api.service Start { reset_failed: false }
        +907.1  #1 api.service attempt_ended #1.5 failed : it was well for only 299 ms: unit failed: exit code 1
        +907.1  #1 api.service escalated: api.service failed after 5 restart attempts: it was well for only 299 ms: unit failed: exit code 1
        +907.1  #1 api.service action_suppressed restart: cooldown: after giving up it is tried again at a low rate
    "#]]);
}

#[test]
fn what_an_operator_stops_is_left_alone_until_started_again() {
    let mut stage = Stage::one(|_| {}, plain());
    crate::operator::stop(&mut stage.sim, &unit("api.service"));
    stage.pass(600.0);
    crate::operator::start(&mut stage.sim, &unit("api.service"));
    stage.pass(10.0).kill("api.service").pass(20.0);
    stage.told(expect![[r#"
        +0.0    api.service stopped_on_purpose: a stop job (operator, deploy or a dependency)
        +0.0    -> inquire api.service
        +610.0  #1 api.service incident_opened: unit failed: killed by signal SIGKILL (9)
        +610.0  #1 api.service attempt_intended #1.1 restart
        +610.0  -> act #1.1 api.service Start { reset_failed: false }
        +620.0  [Proceed] #1 api.service attempt_ended #1.1 succeeded 23 ms: healthy for 10 s
        +620.0  [Proceed] #1 api.service incident_closed recovered after 1 attempts
    "#]]);
}

#[test]
fn a_stop_that_ends_in_a_kill_is_still_a_stop() {
    let mut stage = Stage::one(|_| {}, plain());
    stage.sim.host.unit(&unit("api.service")).broken.ignore_term = true;
    crate::operator::stop(&mut stage.sim, &unit("api.service"));
    stage.pass(100.0);
    stage.told(expect![[r#"
        +10.0   api.service stopped_on_purpose: a stop job (operator, deploy or a dependency)
        +10.0   -> inquire api.service
    "#]]);
}

#[test]
fn a_stop_that_races_with_our_start_wins() {
    let mut stage = Stage::one(|_| {}, Spec { start_time: 3 * SEC, ..plain() });
    stage.kill("api.service").pass(1.0);
    crate::operator::stop(&mut stage.sim, &unit("api.service"));
    stage.pass(60.0);
    stage.told(expect![[r#"
        +0.0    #1 api.service incident_opened: unit failed: killed by signal SIGKILL (9)
        +0.0    #1 api.service attempt_intended #1.1 restart
        +0.0    -> act #1.1 api.service Start { reset_failed: false }
        +1.0    #1 api.service stopped_on_purpose: a stop job (operator, deploy or a dependency)
        +1.0    #1 api.service attempt_ended #1.1 superseded : a stop job (operator, deploy or a dependency)
        +1.0    #1 api.service incident_closed operator after 1 attempts
        +1.0    -> inquire api.service
    "#]]);
}

#[test]
fn what_systemd_restarts_itself_is_left_to_systemd() {
    let mut stage = Stage::one(|_| {}, Spec { restart: Restart::OnFailure, restart_sec: 5 * SEC, ..plain() });
    stage.kill("api.service").pass(60.0);
    stage.told(expect![[r#"
        +0.0    #1 api.service incident_opened: it failed and systemd is restarting it: killed by signal SIGKILL (9)
        +0.0    #1 api.service action_suppressed restart: auto_restart: systemd is restarting it already (Restart=)
        +5.0    #1 api.service action_suppressed restart: job_in_flight: systemd has a job in flight for it (job 102)
        +15.0   [Proceed] #1 api.service incident_closed systemd after 0 attempts
    "#]]);
}

#[test]
fn when_systemd_gives_up_we_reset_the_start_limit_and_go_on_slowly() {
    let spec = Spec { restart: Restart::Always, restart_sec: 100 * MS, start_limit: (3, 60 * SEC), ..plain() };
    let mut stage = Stage::one(|_| {}, spec);
    stage.sim.host.unit(&unit("api.service")).broken.crash_after = Some(50 * MS);
    stage.kill("api.service").pass(2.0);
    stage.sim.host.unit(&unit("api.service")).broken.crash_after = None;
    stage.pass(120.0);
    stage.told(expect![[r#"
        +0.0    #1 api.service incident_opened: it failed and systemd is restarting it: killed by signal SIGKILL (9)
        +0.0    #1 api.service action_suppressed restart: auto_restart: systemd is restarting it already (Restart=)
        +0.1    #1 api.service action_suppressed restart: job_in_flight: systemd has a job in flight for it (job 102)
        +0.2    #1 api.service action_suppressed restart: auto_restart: systemd is restarting it already (Restart=)
        +0.2    #1 api.service action_suppressed restart: job_in_flight: systemd has a job in flight for it (job 103)
        +0.3    #1 api.service action_suppressed restart: auto_restart: systemd is restarting it already (Restart=)
        +0.4    #1 api.service action_suppressed restart: job_in_flight: systemd has a job in flight for it (job 104)
        +0.5    #1 api.service action_suppressed restart: auto_restart: systemd is restarting it already (Restart=)
        +0.5    #1 api.service action_suppressed restart: job_in_flight: systemd has a job in flight for it (job 105)
        +0.5    #1 api.service action_suppressed restart: cooldown: pause between attempts
        +4.3    [Proceed] #1 api.service attempt_intended #1.1 restart
        +4.3    -> act #1.1 api.service Start { reset_failed: true }
        +64.3   [Proceed] #1 api.service attempt_ended #1.1 succeeded 4.3 s: healthy for 1 min
        +64.3   [Proceed] #1 api.service incident_closed recovered after 1 attempts
    "#]]);
}

#[test]
fn what_fails_again_within_the_cooldown_reopens_with_its_attempts() {
    let mut stage = Stage::one(|_| {}, plain());
    stage.kill("api.service").pass(30.0).kill("api.service").pass(400.0).kill("api.service").pass(30.0);
    stage.told(expect![[r#"
        +0.0    #1 api.service incident_opened: unit failed: killed by signal SIGKILL (9)
        +0.0    #1 api.service attempt_intended #1.1 restart
        +0.0    -> act #1.1 api.service Start { reset_failed: false }
        +10.0   [Proceed] #1 api.service attempt_ended #1.1 succeeded 10 ms: healthy for 10 s
        +10.0   [Proceed] #1 api.service incident_closed recovered after 1 attempts
        +30.0   #1 api.service incident_reopened, 1 attempts used
        +30.0   #1 api.service attempt_intended #1.2 restart
        +30.0   -> act #1.2 api.service Start { reset_failed: false }
        +40.0   [Proceed] #1 api.service attempt_ended #1.2 succeeded 17 ms: healthy for 10 s
        +40.0   [Proceed] #1 api.service incident_closed recovered after 2 attempts
        +430.0  #2 api.service incident_opened: unit failed: killed by signal SIGKILL (9)
        +430.0  #2 api.service attempt_intended #2.1 restart
        +430.0  -> act #2.1 api.service Start { reset_failed: false }
        +440.0  [Proceed] #2 api.service attempt_ended #2.1 succeeded 9 ms: healthy for 10 s
        +440.0  [Proceed] #2 api.service incident_closed recovered after 1 attempts
    "#]]);
}

fn recover(stage: &mut Stage, action: Action) {
    stage.sim.ask(Ask::Recover { target: Target::Unit(unit("api.service")), action, force: false });
}

#[test]
fn a_graceful_restart_lets_the_work_be_finished() {
    let mut stage = Stage::one(|_| {}, Spec { stop_time: 200 * MS, ..plain() });
    recover(&mut stage, Action::GracefulRestart);
    stage.pass(90.0);
    stage.told(expect![[r#"
        +0.0    api.service requested graceful_restart force=false
        +0.0    #1 api.service incident_opened: anna asked for graceful_restart
        +0.0    #1 api.service attempt_intended #1.1 graceful_restart
        +0.0    -> reply accepted [#1], waiting []
        +0.0    -> act #1.1 api.service Drain { signal: 15, invocation: 00000000000000010000000000000007 }
        +0.0    #1 api.service attempt_draining
        +2.0    -> act #1.1 api.service Start { reset_failed: false }
        +62.0   [Proceed] #1 api.service attempt_ended #1.1 succeeded 2.0 s: healthy for 1 min
        +62.0   [Proceed] #1 api.service incident_closed recovered after 1 attempts
    "#]]);
}

#[test]
fn a_graceful_restart_does_not_wait_for_ever() {
    let mut stage = Stage::one(|api| api.drain_timeout = Duration::from_secs(10), plain());
    stage.sim.host.unit(&unit("api.service")).broken.ignore_term = true;
    recover(&mut stage, Action::GracefulRestart);
    stage.pass(120.0);
    stage.told(expect![[r#"
        +0.0    api.service requested graceful_restart force=false
        +0.0    #1 api.service incident_opened: anna asked for graceful_restart
        +0.0    #1 api.service attempt_intended #1.1 graceful_restart
        +0.0    -> reply accepted [#1], waiting []
        +0.0    -> act #1.1 api.service Drain { signal: 15, invocation: 00000000000000010000000000000007 }
        +0.0    #1 api.service attempt_draining
        +10.0   -> act #1.1 api.service TryRestart
        +80.0   [Proceed] #1 api.service attempt_ended #1.1 succeeded 20 s: healthy for 1 min
        +80.0   [Proceed] #1 api.service incident_closed recovered after 1 attempts
    "#]]);
}

#[test]
fn a_worker_is_recovered_one_instance_at_a_time() {
    let mut stage = template(1, &["mail@1.service", "mail@2.service"], plain());
    let name = stage.sim.settings.workers.keys().next().expect("mail").clone();
    stage.sim.ask(Ask::Recover { target: Target::Worker(name), action: Action::Restart, force: false });
    stage.pass(150.0);
    stage.told(expect![[r#"
        +0.0    mail requested restart force=false
        +0.0    #1 mail@1.service incident_opened: anna asked for restart
        +0.0    #1 mail@1.service attempt_intended #1.1 restart
        +0.0    -> reply accepted [#1], waiting ["mail@2.service"]
        +0.0    -> act #1.1 mail@1.service TryRestart
        +60.0   [Proceed] #1 mail@1.service attempt_ended #1.1 succeeded 24 ms: healthy for 1 min
        +60.0   [Proceed] #1 mail@1.service incident_closed recovered after 1 attempts
        +60.0   [Proceed] #2 mail@2.service incident_opened: anna asked for restart
        +60.0   [Proceed] #2 mail@2.service attempt_intended #2.1 restart
        +60.0   -> act #2.1 mail@2.service TryRestart
        +120.1  [Proceed] #2 mail@2.service attempt_ended #2.1 succeeded 29 ms: healthy for 1 min
        +120.1  [Proceed] #2 mail@2.service incident_closed recovered after 1 attempts
    "#]]);
}

#[test]
fn what_is_enabled_and_never_ran_is_started_after_the_grace() {
    let mut host = Host::new(BEGIN);
    host.startup_finished = BEGIN - 30 * SEC;
    host.add(&unit("api.service"), plain());
    let settings = with_workers([worker("api", Selector::Unit(unit("api.service")))]);
    let mut sim = Sim::new(1, settings, Swarm::calm(), host, usize::MAX);
    sim.start_engine();
    let mut stage = Stage { sim };
    stage.pass(200.0);
    stage.told(expect![[r#"
        +30.0   [Grace] #1 api.service incident_opened: it is not running, though it should
        +30.0   [Grace] #1 api.service attempt_intended #1.1 restart
        +30.0   -> act #1.1 api.service Start { reset_failed: false }
        +40.0   [Proceed] #1 api.service attempt_ended #1.1 succeeded 6 ms: healthy for 10 s
        +40.0   [Proceed] #1 api.service incident_closed recovered after 1 attempts
    "#]]);
}

#[test]
fn a_template_is_filled_to_its_minimum_and_a_stopped_number_is_skipped() {
    let spec = Spec { collected: true, ..plain() };
    let mut stage = template(3, &["mail@1.service", "mail@2.service", "mail@3.service"], spec);
    crate::operator::stop(&mut stage.sim, &unit("mail@2.service"));
    stage.pass(5.0);
    stage.sim.host.ended(&unit("mail@3.service"), 1, 0);
    stage.pass(60.0);
    stage.sim.crash();
    stage.pass(60.0);
    stage.told(expect![[r#"
        +0.0    mail@2.service stopped_on_purpose: a stop job (operator, deploy or a dependency)
        +0.0    -> inquire mail@2.service
        +5.0    #1 mail@3.service incident_opened: it exited without a stop job: exit code 0
        +5.0    #1 mail@3.service attempt_intended #1.1 restart
        +5.0    -> act #1.1 mail@3.service Start { reset_failed: false }
        +15.0   [Proceed] #1 mail@3.service attempt_ended #1.1 succeeded 22 ms: healthy for 10 s
        +15.0   [Proceed] #1 mail@3.service incident_closed recovered after 1 attempts
        +65.0   == we crash
        +66.3   mail@2.service stopped_on_purpose: a stop job (operator, deploy or a dependency)
    "#]]);
}

#[test]
fn a_storm_blocks_what_interrupts_and_not_what_starts() {
    let batch = worker("batch", Selector::Glob("batch-*.service".into()));
    let names: Vec<String> = (0..8).map(|n| format!("batch-{n}.service")).collect();
    let units: Vec<(&str, Spec)> = names.iter().map(|name| (name.as_str(), plain())).collect();
    let mut stage = Stage::new(with_workers([batch]), &units);
    for name in &names[..6] {
        stage.kill(name);
    }
    stage.pass(0.001);
    let target = Target::Unit(UnitName::new("batch-7.service").expect("a good name"));
    stage.sim.ask(Ask::Recover { target, action: Action::Restart, force: false });
    stage.pass(30.0);
    stage.told(expect![[r#"
        +0.0    #1 batch-0.service incident_opened: unit failed: killed by signal SIGKILL (9)
        +0.0    #1 batch-0.service attempt_intended #1.1 restart
        +0.0    #2 batch-1.service incident_opened: unit failed: killed by signal SIGKILL (9)
        +0.0    #2 batch-1.service attempt_intended #2.1 restart
        +0.0    #3 batch-2.service incident_opened: unit failed: killed by signal SIGKILL (9)
        +0.0    #3 batch-2.service attempt_intended #3.1 restart
        +0.0    #4 batch-3.service incident_opened: unit failed: killed by signal SIGKILL (9)
        +0.0    #4 batch-3.service attempt_intended #4.1 restart
        +0.0    #5 batch-4.service incident_opened: unit failed: killed by signal SIGKILL (9)
        +0.0    #5 batch-4.service attempt_intended #5.1 restart
        +0.0    storm_opened
        +0.0    #6 batch-5.service incident_opened: unit failed: killed by signal SIGKILL (9)
        +0.0    #6 batch-5.service attempt_intended #6.1 restart
        +0.0    batch-7.service requested restart force=false
        +0.0    -> reply refused batch-7.service: storm (too many instances are sick at once: a shared cause is likely, restarts would add harm)
        +0.0    -> act #1.1 batch-0.service Start { reset_failed: false }
        +0.0    -> act #2.1 batch-1.service Start { reset_failed: false }
        +0.0    -> act #3.1 batch-2.service Start { reset_failed: false }
        +0.0    -> act #4.1 batch-3.service Start { reset_failed: false }
        +0.0    -> act #5.1 batch-4.service Start { reset_failed: false }
        +0.0    -> act #6.1 batch-5.service Start { reset_failed: false }
        +0.0    storm_closed
        +10.0   [Proceed] #1 batch-0.service attempt_ended #1.1 succeeded 15 ms: healthy for 10 s
        +10.0   [Proceed] #1 batch-0.service incident_closed recovered after 1 attempts
        +10.0   [Proceed] #5 batch-4.service attempt_ended #5.1 succeeded 24 ms: healthy for 10 s
        +10.0   [Proceed] #5 batch-4.service incident_closed recovered after 1 attempts
        +10.0   [Proceed] #2 batch-1.service attempt_ended #2.1 succeeded 24 ms: healthy for 10 s
        +10.0   [Proceed] #2 batch-1.service incident_closed recovered after 1 attempts
        +10.0   [Proceed] #3 batch-2.service attempt_ended #3.1 succeeded 28 ms: healthy for 10 s
        +10.0   [Proceed] #3 batch-2.service incident_closed recovered after 1 attempts
        +10.0   [Proceed] #6 batch-5.service attempt_ended #6.1 succeeded 30 ms: healthy for 10 s
        +10.0   [Proceed] #6 batch-5.service incident_closed recovered after 1 attempts
        +10.0   [Proceed] #4 batch-3.service attempt_ended #4.1 succeeded 32 ms: healthy for 10 s
        +10.0   [Proceed] #4 batch-3.service incident_closed recovered after 1 attempts
    "#]]);
}

#[test]
fn a_dry_run_tells_once_what_it_would_do() {
    let mut settings = with_workers([worker("api", Selector::Unit(unit("api.service")))]);
    settings.daemon.dry_run = true;
    let mut stage = Stage::new(settings, &[("api.service", plain())]);
    stage.sim.at(stage.sim.now + SEC, Event::Sample);
    assert!(stage.pass(60.0).memory("api.service").is_some());
    stage.kill("api.service").pass(600.0);
    assert_eq!(stage.memory("api.service"), None, "of a process that is gone");
    stage.told(expect![[r#"
        +60.0   #1 api.service incident_opened: unit failed: killed by signal SIGKILL (9)
        +60.0   #1 api.service action_suppressed restart: dry_run: dry run: it is only told what would be done
    "#]]);
}

#[test]
fn an_attempt_without_an_outcome_is_verified_and_not_repeated() {
    let mut stage = Stage::one(|_| {}, Spec { start_time: 2 * SEC, ..plain() });
    // The intent is stored, the order is on its way.
    stage.kill("api.service").pass(0.004);
    stage.sim.crash();
    stage.pass(40.0);
    stage.told(expect![[r#"
        +0.0    #1 api.service incident_opened: unit failed: killed by signal SIGKILL (9)
        +0.0    #1 api.service attempt_intended #1.1 restart
        +0.0    -> act #1.1 api.service Start { reset_failed: false }
        +0.0    == we crash
        +13.7   [Proceed] #1 api.service attempt_ended #1.1 in_doubt : healthy for 10 s
        +13.7   [Proceed] #1 api.service incident_closed recovered after 1 attempts
    "#]]);
}

#[test]
fn a_reload_of_systemd_is_no_failure() {
    let mut stage = Stage::one(|_| {}, plain());
    stage.sim.resync(ResyncReason::ManagerReexecuted);
    stage.pass(10.0);
    stage.told(expect![[r#""#]]);
}

// ---- signals of work ----

fn tasks(change: impl Fn(&mut WorkerSettings), running: u32) -> Stage {
    let mut task = worker(work::WORKER, Selector::Template("task".into()));
    task.queues = vec![work::queue()];
    task.amqp_url = Some("amqp://localhost".into());
    task.max_instances = Some(3);
    change(&mut task);
    let names: Vec<String> = (1..=running).map(|number| format!("task@{number}.service")).collect();
    let units: Vec<(&str, Spec)> = names.iter().map(|name| (name.as_str(), plain())).collect();
    let mut stage = Stage::new(with_workers([task]), &units);
    let begin = stage.sim.now + 5 * SEC;
    stage.sim.at(begin, Event::Work);
    stage.pass(300.0);
    stage
}

#[test]
fn one_that_hangs_has_its_connections_reset_and_then_is_restarted() {
    let mut stage = tasks(|_| {}, 1);
    stage.sim.host.unit(&unit("task@1.service")).trouble.hung = true;
    stage.pass(700.0);
    stage.told(expect![[r#"
        +325.0  #1 task@1.service incident_opened: 60 messages are ready in jobs, 1 consumers are there, and nothing was acknowledged for 30 s (longest so far 10 s)
        +325.0  #1 task@1.service attempt_intended #1.1 connection_reset
        +325.0  -> act #1.1 task@1.service ResetConnections { invocation: 00000000000000010000000000000007 }
        +365.0  task scale_wanted
        +365.0  #2 task@2.service incident_opened: 140 messages are ready in jobs for 1 consumers, over 100 each
        +365.0  #2 task@2.service attempt_intended #2.1 scale_up
        +365.0  -> act #2.1 task@2.service Start { reset_failed: false }
        +425.0  [Proceed] #2 task@2.service attempt_ended #2.1 succeeded 16 ms: healthy for 1 min
        +425.0  [Proceed] #2 task@2.service incident_closed recovered after 1 attempts
        +455.0  [Proceed] #1 task@1.service attempt_ended #1.1 failed : not well within 2 min 10 s: no sign of life (socket) for 2 min or more
        +455.0  [Proceed] #1 task@1.service action_suppressed graceful_restart: cooldown: pause between attempts
        +456.9  [Proceed] #1 task@1.service attempt_intended #1.2 graceful_restart
        +456.9  -> act #1.2 task@1.service Drain { signal: 15, invocation: 00000000000000010000000000000007 }
        +456.9  #1 task@1.service attempt_draining
        +457.1  -> act #1.2 task@1.service Start { reset_failed: false }
        +545.0  #1 task@1.service attempt_ended #1.2 succeeded 2 min 40 s: healthy for 1 min
        +545.0  #1 task@1.service incident_closed recovered after 2 attempts
        +665.0  [Rescale] task scale_wanted
        +665.0  [Rescale] #3 task@2.service incident_opened: not needed for 5 min
        +665.0  [Rescale] #3 task@2.service attempt_intended #3.1 scale_down
        +665.0  -> act #3.1 task@2.service Drain { signal: 15, invocation: 00000000000000020000000000000007 }
        +665.0  #3 task@2.service attempt_draining
        +665.2  #3 task@2.service attempt_ended #3.1 succeeded : it finished its work and ended
        +665.2  #3 task@2.service incident_closed recovered after 1 attempts
    "#]]);
}

#[test]
fn explain_names_the_settings_by_which_what_holds_holds() {
    let mut stage = tasks(|_| {}, 1);
    let names = |stage: &Stage| -> Vec<String> {
        stage.explained("task@1.service").settings.into_iter().map(|view| view.key).collect()
    };
    let by_queues = "worker.task.queue_samples".to_string();
    assert!(!names(&stage).contains(&by_queues));
    stage.sim.host.unit(&unit("task@1.service")).trouble.hung = true;
    stage.pass(30.0);
    assert!(names(&stage).contains(&by_queues), "{:?}", names(&stage));
}

#[test]
fn a_half_open_connection_is_reset_and_nothing_is_restarted() {
    let mut stage = tasks(|_| {}, 2);
    for name in ["task@1.service", "task@2.service"] {
        stage.sim.host.unit(&unit(name)).trouble.half_open = true;
    }
    stage.pass(200.0);
    stage.told(expect![[r#"
        +325.0  #1 task@1.service incident_opened: 60 messages are ready in jobs and nobody consumes it, in 3 readings
        +325.0  #1 task@1.service attempt_intended #1.1 connection_reset
        +325.0  #2 task@2.service incident_opened: 60 messages are ready in jobs and nobody consumes it, in 3 readings
        +325.0  #2 task@2.service attempt_intended #2.1 connection_reset
        +325.0  -> act #1.1 task@1.service ResetConnections { invocation: 00000000000000010000000000000007 }
        +325.0  -> act #2.1 task@2.service ResetConnections { invocation: 00000000000000020000000000000007 }
        +395.0  #1 task@1.service attempt_ended #1.1 succeeded 10 s: healthy for 1 min
        +395.0  #1 task@1.service incident_closed recovered after 1 attempts
        +395.0  #2 task@2.service attempt_ended #2.1 succeeded 10 s: healthy for 1 min
        +395.0  #2 task@2.service incident_closed recovered after 1 attempts
    "#]]);
}

#[test]
fn a_backlog_scales_up_and_down_again() {
    let mut stage = tasks(|task| task.scale_down_after = Duration::from_secs(60), 1);
    stage.sim.broker.ready += 10_000;
    stage.pass(600.0);
    stage.told(expect![[r#"
        +315.0  task scale_wanted
        +315.0  #1 task@2.service incident_opened: 9240 messages are ready in jobs for 1 consumers, over 100 each
        +315.0  #1 task@2.service attempt_intended #1.1 scale_up
        +315.0  #2 task@3.service incident_opened: 9240 messages are ready in jobs for 1 consumers, over 100 each
        +315.0  #2 task@3.service attempt_intended #2.1 scale_up
        +315.0  -> act #1.1 task@2.service Start { reset_failed: false }
        +315.0  -> act #2.1 task@3.service Start { reset_failed: false }
        +375.0  [Proceed] #1 task@2.service attempt_ended #1.1 succeeded 17 ms: healthy for 1 min
        +375.0  [Proceed] #1 task@2.service incident_closed recovered after 1 attempts
        +375.0  [Proceed] #2 task@3.service attempt_ended #2.1 succeeded 23 ms: healthy for 1 min
        +375.0  [Proceed] #2 task@3.service incident_closed recovered after 1 attempts
        +445.0  [Rescale] task scale_wanted
        +445.0  [Rescale] #3 task@3.service incident_opened: not needed for 1 min
        +445.0  [Rescale] #3 task@3.service attempt_intended #3.1 scale_down
        +445.0  [Rescale] #4 task@2.service incident_opened: not needed for 1 min
        +445.0  [Rescale] #4 task@2.service action_suppressed scale_down: concurrency: another instance of this worker is being repaired
        +445.0  -> act #3.1 task@3.service Drain { signal: 15, invocation: 00000000000000030000000000000007 }
        +445.0  #3 task@3.service attempt_draining
        +445.2  #3 task@3.service attempt_ended #3.1 succeeded : it finished its work and ended
        +445.2  #3 task@3.service incident_closed recovered after 1 attempts
        +445.2  #4 task@2.service attempt_intended #4.1 scale_down
        +445.2  -> act #4.1 task@2.service Drain { signal: 15, invocation: 00000000000000020000000000000007 }
        +445.2  #4 task@2.service attempt_draining
        +445.4  #4 task@2.service attempt_ended #4.1 succeeded : it finished its work and ended
        +445.4  #4 task@2.service incident_closed recovered after 1 attempts
    "#]]);
}

#[test]
fn a_spare_whose_start_was_lost_is_let_be_when_the_backlog_is_gone() {
    let mut stage = tasks(|task| task.max_instances = Some(2), 1);
    stage.sim.broker.ready += 10_000;
    stage.sim.swarm.call_fails = 100;
    stage.pass(15.5);
    stage.sim.swarm.call_fails = 0;
    stage.sim.broker.ready = 0;
    stage.pass(600.0);
    stage.told(expect![[r#"
        +315.0  task scale_wanted
        +315.0  #1 task@2.service incident_opened: 9240 messages are ready in jobs for 1 consumers, over 100 each
        +315.0  #1 task@2.service attempt_intended #1.1 scale_up
        +315.0  -> act #1.1 task@2.service Start { reset_failed: false }
        +376.8  [Proceed] #1 task@2.service attempt_ended #1.1 in_doubt : not well within 1 min: not needed now; unitmedic starts it when there is more work
        +376.8  [Proceed] #1 task@2.service incident_closed self_cleared after 1 attempts
    "#]]);
}

#[test]
fn a_backlog_beyond_all_instances_calls_an_operator_when_it_lasts() {
    let mut stage = tasks(|_| {}, 3);
    stage.sim.broker.ready += 1_000_000;
    stage.pass(400.0);
    stage.told(expect![[r#"
        +615.0  #1 task@1.service incident_opened: 962240 messages are ready in jobs for 3 consumers, over 100 each; max_instances (3) are there
        +615.0  #1 task@1.service escalated: task@1.service needs an operator: 962240 messages are ready in jobs for 3 consumers, over 100 each; max_instances (3) are there
        +625.0  #1 task@1.service action_suppressed escalate: cooldown: after giving up it is tried again at a low rate
    "#]]);
}

#[test]
fn a_broker_that_goes_away_and_comes_back_moves_nobody() {
    let mut stage = tasks(|_| {}, 2);
    stage.sim.broker.up = false;
    stage.pass(120.0);
    stage.sim.broker.ready += 90;
    stage.sim.broker.up = true;
    stage.sim.broker.returned_at = stage.sim.now;
    stage.pass(300.0);
    stage.told(expect![[r#"
        +305.0  task queue_lost
        +425.0  task queue_found
    "#]]);
}

#[test]
fn an_instance_that_stands_in_makes_room_for_a_graceful_restart() {
    let mut stage = tasks(|task| task.surge = true, 1);
    let target = Target::Unit(unit("task@1.service"));
    stage.sim.ask(Ask::Recover { target, action: Action::GracefulRestart, force: false });
    stage.pass(120.0);
    stage.told(expect![[r#"
        +300.0  task@1.service requested graceful_restart force=false
        +300.0  #1 task@1.service incident_opened: anna asked for graceful_restart
        +300.0  #1 task@1.service attempt_intended #1.1 graceful_restart
        +300.0  -> reply accepted [#1], waiting []
        +300.0  -> act #1.1 task@2.service Start { reset_failed: false }
        +310.0  -> act #1.1 task@1.service Drain { signal: 15, invocation: 00000000000000010000000000000007 }
        +310.0  #1 task@1.service attempt_draining
        +310.2  -> act #1.1 task@1.service Start { reset_failed: false }
        +370.2  [Proceed] #2 task@2.service incident_opened: it stood in during a graceful restart, which is over
        +370.2  [Proceed] #2 task@2.service attempt_intended #2.1 scale_down
        +370.2  [Proceed] #1 task@1.service attempt_ended #1.1 succeeded 10 s: healthy for 1 min
        +370.2  [Proceed] #1 task@1.service incident_closed recovered after 1 attempts
        +370.2  -> act #2.1 task@2.service Drain { signal: 15, invocation: 00000000000000020000000000000007 }
        +370.2  #2 task@2.service attempt_draining
        +370.4  #2 task@2.service attempt_ended #2.1 succeeded : it finished its work and ended
        +370.4  #2 task@2.service incident_closed recovered after 1 attempts
    "#]]);
}

#[test]
fn a_probe_that_fails_is_answered_by_a_graceful_restart() {
    let mut stage = tasks(|_| {}, 1);
    stage.sim.host.unit(&unit("task@1.service")).trouble.deaf = true;
    stage.pass(300.0);
    stage.told(expect![[r#"
        +365.0  #1 task@1.service incident_opened: connection refused (3 of the last 3 probes failed)
        +365.0  #1 task@1.service attempt_intended #1.1 graceful_restart
        +365.0  -> act #1.1 task@1.service Drain { signal: 15, invocation: 00000000000000010000000000000007 }
        +365.0  #1 task@1.service attempt_draining
        +365.2  -> act #1.1 task@1.service Start { reset_failed: false }
        +455.0  #1 task@1.service attempt_ended #1.1 succeeded 30 s: healthy for 1 min
        +455.0  #1 task@1.service incident_closed recovered after 1 attempts
    "#]]);
}

#[test]
fn errors_are_told_at_once_and_acted_on_when_they_are_unusual() {
    let mut stage = tasks(|task| task.error_rate_window = Duration::from_secs(60), 1);
    stage.sim.host.unit(&unit("task@1.service")).trouble.errors = 5;
    stage.pass(400.0);
    stage.told(expect![[r#"
        +315.0  #1 task@1.service incident_opened: 10 errors within 1 min (10.0 per minute, threshold 0.3; usually 0.0)
        +315.0  #1 task@1.service attempt_intended #1.1 connection_reset
        +315.0  -> act #1.1 task@1.service ResetConnections { invocation: 00000000000000010000000000000007 }
        +445.0  [Proceed] #1 task@1.service attempt_ended #1.1 failed : not well within 2 min 10 s: 35 errors within 1 min (35.0 per minute, threshold 0.3; usually 0.0)
        +445.0  [Proceed] #1 task@1.service action_suppressed graceful_restart: cooldown: pause between attempts
        +446.9  [Proceed] #1 task@1.service attempt_intended #1.2 graceful_restart
        +446.9  -> act #1.2 task@1.service Drain { signal: 15, invocation: 00000000000000010000000000000007 }
        +446.9  #1 task@1.service attempt_draining
        +447.1  -> act #1.2 task@1.service Start { reset_failed: false }
        +507.1  [Proceed] #1 task@1.service attempt_ended #1.2 succeeded 2 min 12 s: healthy for 1 min
        +507.1  [Proceed] #1 task@1.service incident_closed recovered after 2 attempts
    "#]]);
}

#[test]
fn memory_is_cleaned_up_before_anything_is_restarted() {
    let mut stage = tasks(|_| {}, 1);
    stage.sim.at(stage.sim.now + SEC, Event::Sample);
    stage.sim.host.unit(&unit("task@1.service")).usage.memory = 950 << 20;
    stage.pass(400.0);
    stage.told(expect![[r#"
        +361.0  #1 task@1.service incident_opened: memory 950 MiB of 1.0 GiB (93 % of MemoryMax=), over 85 %
        +361.0  #1 task@1.service attempt_intended #1.1 memory_cleanup
        +361.0  -> act #1.1 task@1.service ReclaimMemory { invocation: 00000000000000010000000000000007 }
        +451.0  #1 task@1.service attempt_ended #1.1 succeeded 30 s: healthy for 1 min
        +451.0  #1 task@1.service incident_closed recovered after 1 attempts
    "#]]);
}

fn told_of(stage: &mut Stage, firing: bool) {
    work::tell_of(&mut stage.sim, Target::Unit(unit("api.service")), true, firing);
}

/// It says nothing of the new process until it is told again.
#[test]
fn a_lasting_alert_of_others_is_answered_once() {
    let plan = [(Condition::External, vec![Action::Restart, Action::Escalate])];
    let mut stage = Stage::one(|api| api.plans = plan.clone().into(), plain());
    told_of(&mut stage, true);
    stage.pass(3600.0);
    told_of(&mut stage, false);
    stage.pass(60.0);
    stage.told(expect![[r#"
        +0.0    #1 api.service incident_opened: SlowAnswers: 3 s
        +0.0    #1 api.service attempt_intended #1.1 restart
        +0.0    -> act #1.1 api.service TryRestart
        +60.0   [Proceed] #1 api.service attempt_ended #1.1 succeeded 24 ms: healthy for 1 min
        +60.0   [Proceed] #1 api.service incident_closed recovered after 1 attempts
    "#]]);
}

/// What somebody else says moves nothing that an operator has stopped or paused, and nothing without a plan for it.
#[test]
fn an_alert_of_others_moves_only_what_may_be_moved() {
    let plan = [(Condition::External, vec![Action::Restart, Action::Escalate])];
    let mut stage = Stage::one(|_| {}, plain());
    told_of(&mut stage, true);
    stage.pass(600.0);
    stage.told(expect![[""]]);
    let mut stage = Stage::one(|api| api.plans = plan.clone().into(), plain());
    crate::operator::stop(&mut stage.sim, &unit("api.service"));
    stage.pass(10.0);
    told_of(&mut stage, true);
    stage.pass(600.0);
    stage.told(expect![[r#"
        +0.0    api.service stopped_on_purpose: a stop job (operator, deploy or a dependency)
        +0.0    -> inquire api.service
    "#]]);
}

/// That others complain of all instances does not say that none of them works: they go one after the other.
#[test]
fn an_alert_of_others_for_a_worker_takes_its_instances_one_at_a_time() {
    let plan = [(Condition::External, vec![Action::Restart, Action::Escalate])];
    let mut mail = worker("mail", Selector::Template("mail".into()));
    mail.plans = plan.into();
    mail.min_instances = Some(2);
    let spec = Spec { start_time: 3 * SEC, ..plain() };
    let units = ["mail@1.service", "mail@2.service", "mail@3.service"].map(|name| (name, spec.clone()));
    let mut stage = Stage::new(with_workers([mail.clone()]), &units);
    work::tell_of(&mut stage.sim, Target::Worker(mail.name.clone()), true, true);
    stage.pass(300.0);
    stage.told(expect![[r#"
        +0.0    #1 mail@1.service incident_opened: SlowAnswers: 3 s
        +0.0    #1 mail@1.service attempt_intended #1.1 restart
        +0.0    #2 mail@2.service incident_opened: SlowAnswers: 3 s
        +0.0    #2 mail@2.service action_suppressed restart: min_instances: only 1 serving would be left, since 1 more is under repair, and 2 are needed
        +0.0    #3 mail@3.service incident_opened: SlowAnswers: 3 s
        +0.0    #3 mail@3.service action_suppressed restart: min_instances: only 1 serving would be left, since 1 more is under repair, and 2 are needed
        +0.0    -> act #1.1 mail@1.service TryRestart
        +63.0   [Proceed] #1 mail@1.service attempt_ended #1.1 succeeded 3.0 s: healthy for 1 min
        +63.0   [Proceed] #1 mail@1.service incident_closed recovered after 1 attempts
        +65.0   [Proceed] #2 mail@2.service attempt_intended #2.1 restart
        +65.0   -> act #2.1 mail@2.service TryRestart
        +128.0  [Proceed] #2 mail@2.service attempt_ended #2.1 succeeded 1 min 8 s: healthy for 1 min
        +128.0  [Proceed] #2 mail@2.service incident_closed recovered after 1 attempts
        +130.0  [Proceed] #3 mail@3.service attempt_intended #3.1 restart
        +130.0  -> act #3.1 mail@3.service TryRestart
        +193.0  [Proceed] #3 mail@3.service attempt_ended #3.1 succeeded 2 min 13 s: healthy for 1 min
        +193.0  [Proceed] #3 mail@3.service incident_closed recovered after 1 attempts
    "#]]);
}

#[test]
fn a_start_found_under_way_that_fails_is_no_start_limit() {
    let mut stage = Stage::one(|_| {}, Spec { start_time: 30 * SEC, ..plain() });
    stage.sim.crash();
    stage.sim.host.stop(&unit("api.service"));
    stage.pass(0.1);
    stage.sim.host.start(&unit("api.service"));
    stage.pass(10.0).kill("api.service").pass(60.0);
    stage.told(expect![[r#"
        +0.0    == we crash
        +10.1   #1 api.service incident_opened: unit failed: killed by signal SIGKILL (9)
        +10.1   #1 api.service action_suppressed restart: job_in_flight: systemd has a job in flight for it (job 103)
        +10.1   #1 api.service attempt_intended #1.1 restart
        +10.1   -> act #1.1 api.service Start { reset_failed: false }
        +50.1   [Proceed] #1 api.service attempt_ended #1.1 succeeded 30 s: healthy for 10 s
        +50.1   [Proceed] #1 api.service incident_closed recovered after 1 attempts
    "#]]);
}

/// While the extra instance proves itself another one goes down: to drain now would leave too few.
#[test]
fn an_extra_instance_does_not_let_a_drain_leave_too_few() {
    let mut stage = tasks(
        |task| {
            task.surge = true;
            task.min_instances = Some(2);
        },
        2,
    );
    let target = Target::Unit(unit("task@1.service"));
    stage.sim.ask(Ask::Recover { target, action: Action::GracefulRestart, force: false });
    stage.pass(2.0);
    stage.sim.host.unit(&unit("task@2.service")).broken.hang_start = true;
    stage.kill("task@2.service").pass(60.0);
    let broken = &mut stage.sim.host.unit(&unit("task@2.service")).broken;
    broken.hang_start = false;
    stage.sim.host.ended(&unit("task@2.service"), 1, 1);
    stage.pass(200.0);
    stage.told(expect![[r#"
        +300.0  task@1.service requested graceful_restart force=false
        +300.0  #1 task@1.service incident_opened: anna asked for graceful_restart
        +300.0  #1 task@1.service attempt_intended #1.1 graceful_restart
        +300.0  -> reply accepted [#1], waiting []
        +300.0  -> act #1.1 task@3.service Start { reset_failed: false }
        +302.0  #2 task@2.service incident_opened: unit failed: killed by signal SIGKILL (9)
        +302.0  #2 task@2.service attempt_intended #2.1 restart
        +302.0  -> act #2.1 task@2.service Start { reset_failed: false }
        +310.0  [Proceed] #1 task@1.service action_suppressed graceful_restart: min_instances: only 1 serving would be left, and 2 are needed
        +362.0  #2 task@2.service attempt_ended #2.1 failed : it failed again: unit failed: exit code 1
        +362.0  #2 task@2.service action_suppressed restart: job_in_flight: systemd has a start job in flight for it (job 104)
        +362.0  #2 task@2.service action_suppressed restart: cooldown: pause between attempts
        +363.9  [Proceed] #2 task@2.service attempt_intended #2.2 restart
        +363.9  -> act #2.2 task@2.service Start { reset_failed: false }
        +373.9  [Proceed] #2 task@2.service attempt_ended #2.2 succeeded 1 min 1 s: healthy for 10 s
        +373.9  [Proceed] #2 task@2.service incident_closed recovered after 2 attempts
        +375.0  -> act #1.1 task@1.service Drain { signal: 15, invocation: 00000000000000010000000000000007 }
        +375.0  #1 task@1.service attempt_draining
        +375.2  -> act #1.1 task@1.service Start { reset_failed: false }
        +435.2  [Proceed] #3 task@3.service incident_opened: it stood in during a graceful restart, which is over
        +435.2  [Proceed] #3 task@3.service attempt_intended #3.1 scale_down
        +435.2  [Proceed] #1 task@1.service attempt_ended #1.1 succeeded 1 min 15 s: healthy for 1 min
        +435.2  [Proceed] #1 task@1.service incident_closed recovered after 1 attempts
        +435.2  -> act #3.1 task@3.service Drain { signal: 15, invocation: 00000000000000030000000000000007 }
        +435.2  #3 task@3.service attempt_draining
        +435.4  #3 task@3.service attempt_ended #3.1 succeeded : it finished its work and ended
        +435.4  #3 task@3.service incident_closed recovered after 1 attempts
    "#]]);
}

/// That another instance consumed the queue meanwhile says nothing of one that is still connecting.
#[test]
fn one_that_connects_is_not_blamed_when_another_is_restarted() {
    let mut stage = tasks(|_| {}, 2);
    stage.sim.broker.habits.connect = 40 * SEC;
    stage.sim.broker.arrivals = 100;
    crate::operator::restart(&mut stage.sim, &unit("task@1.service"));
    stage.pass(12.0);
    crate::operator::restart(&mut stage.sim, &unit("task@2.service"));
    stage.pass(300.0);
    stage.told(expect![[""]]);
}

#[test]
fn what_has_not_helped_three_times_no_longer_comes_first() {
    let mut stage = tasks(|task| task.max_instances = Some(1), 1);
    for _ in 0..3 {
        stage.sim.host.unit(&unit("task@1.service")).trouble.stalled = true;
        stage.pass(1000.0);
    }
    stage.told(expect![[r#"
        +325.0  #1 task@1.service incident_opened: 60 messages are ready in jobs, 1 consumers are there, and nothing was acknowledged for 30 s (longest so far 10 s)
        +325.0  #1 task@1.service attempt_intended #1.1 connection_reset
        +325.0  -> act #1.1 task@1.service ResetConnections { invocation: 00000000000000010000000000000007 }
        +455.0  [Proceed] #1 task@1.service attempt_ended #1.1 failed : not well within 2 min 10 s: 320 messages are ready in jobs, 1 consumers are there, and nothing was acknowledged for 2 min 40 s (longest so far 10 s)
        +455.0  [Proceed] #1 task@1.service action_suppressed graceful_restart: cooldown: pause between attempts
        +456.9  [Proceed] #1 task@1.service attempt_intended #1.2 graceful_restart
        +456.9  -> act #1.2 task@1.service Drain { signal: 15, invocation: 00000000000000010000000000000007 }
        +456.9  #1 task@1.service attempt_draining
        +457.1  -> act #1.2 task@1.service Start { reset_failed: false }
        +525.0  [Proceed] #1 task@1.service attempt_ended #1.2 succeeded 2 min 20 s: healthy for 1 min
        +525.0  [Proceed] #1 task@1.service incident_closed recovered after 2 attempts
        +1325.0 #2 task@1.service incident_opened: 60 messages are ready in jobs, 1 consumers are there, and nothing was acknowledged for 30 s (longest so far 10 s)
        +1325.0 #2 task@1.service attempt_intended #2.1 connection_reset
        +1325.0 -> act #2.1 task@1.service ResetConnections { invocation: 00000000000000020000000000000007 }
        +1455.0 [Proceed] #2 task@1.service attempt_ended #2.1 failed : not well within 2 min 10 s: 320 messages are ready in jobs, 1 consumers are there, and nothing was acknowledged for 2 min 40 s (longest so far 10 s)
        +1455.0 [Proceed] #2 task@1.service action_suppressed graceful_restart: cooldown: pause between attempts
        +1456.9 [Proceed] #2 task@1.service attempt_intended #2.2 graceful_restart
        +1456.9 -> act #2.2 task@1.service Drain { signal: 15, invocation: 00000000000000020000000000000007 }
        +1456.9 #2 task@1.service attempt_draining
        +1457.1 -> act #2.2 task@1.service Start { reset_failed: false }
        +1525.0 [Proceed] #2 task@1.service attempt_ended #2.2 succeeded 2 min 20 s: healthy for 1 min
        +1525.0 [Proceed] #2 task@1.service strategies_changed
        +1525.0 [Proceed] #2 task@1.service incident_closed recovered after 2 attempts
        +2325.0 #3 task@1.service incident_opened: 60 messages are ready in jobs, 1 consumers are there, and nothing was acknowledged for 30 s (longest so far 10 s)
        +2325.0 #3 task@1.service attempt_intended #3.1 graceful_restart
        +2325.0 -> act #3.1 task@1.service Drain { signal: 15, invocation: 00000000000000030000000000000007 }
        +2325.0 #3 task@1.service attempt_draining
        +2325.2 -> act #3.1 task@1.service Start { reset_failed: false }
        +2395.0 [Proceed] #3 task@1.service attempt_ended #3.1 succeeded 10 s: healthy for 1 min
        +2395.0 [Proceed] #3 task@1.service incident_closed recovered after 1 attempts
    "#]]);
}

#[test]
fn one_that_stands_in_stays_when_an_operator_restarts_it() {
    let mut stage = tasks(|task| task.surge = true, 1);
    let target = Target::Unit(unit("task@1.service"));
    stage.sim.ask(Ask::Recover { target, action: Action::GracefulRestart, force: false });
    stage.pass(20.0);
    stage.sim.host.restart(&unit("task@2.service"));
    stage.pass(400.0);
    assert!(stage.sim.host.unit(&unit("task@2.service")).serves(), "who restarts it wants it to stay");
    stage.told(expect![[r#"
        +300.0  task@1.service requested graceful_restart force=false
        +300.0  #1 task@1.service incident_opened: anna asked for graceful_restart
        +300.0  #1 task@1.service attempt_intended #1.1 graceful_restart
        +300.0  -> reply accepted [#1], waiting []
        +300.0  -> act #1.1 task@2.service Start { reset_failed: false }
        +310.0  -> act #1.1 task@1.service Drain { signal: 15, invocation: 00000000000000010000000000000007 }
        +310.0  #1 task@1.service attempt_draining
        +310.2  -> act #1.1 task@1.service Start { reset_failed: false }
        +370.2  [Proceed] #1 task@1.service attempt_ended #1.1 succeeded 10 s: healthy for 1 min
        +370.2  [Proceed] #1 task@1.service incident_closed recovered after 1 attempts
    "#]]);
}

#[test]
fn an_incident_names_what_its_log_said_before_it() {
    let mut stage = Stage::one(|_| {}, plain());
    let said = |stage: &mut Stage, pattern: u64, at: u64, usual: f64| {
        let template = format!("pattern {pattern}");
        let (unit, pattern, at) = (unit("api.service"), PatternId(pattern), Mono(at));
        stage.sim.deliver(Input::Patterns {
            seen: vec![PatternSeen { unit, pattern, template, at, count: 1, usual, warns: None }],
        });
    };
    let named = |stage: &Stage, id: u64| {
        let pattern = stage.sim.store.incidents[&IncidentId(id)].pattern.clone();
        pattern.map(|pattern| (pattern.id.0, pattern.template))
    };
    // Noise, and what is rare.
    let now = stage.sim.now;
    said(&mut stage, 1, now, 0.9);
    said(&mut stage, 2, now, 0.0);
    stage.pass(5.0).kill("api.service").pass(30.0);
    assert_eq!(named(&stage, 1), Some((2, "pattern 2".into())));
    // Its last words come after the word of its end; what the next process says is not of the failure.
    stage.pass(1_000.0).kill("api.service");
    let killed = stage.sim.now;
    stage.pass(0.5);
    assert_eq!(named(&stage, 2), None);
    said(&mut stage, 3, killed + 400 * MS, 0.0);
    assert_eq!(named(&stage, 2), None, "of the next process");
    said(&mut stage, 4, killed - MS, 0.0);
    stage.pass(30.0);
    assert_eq!(named(&stage, 2), Some((4, "pattern 4".into())));
    assert!(stage.sim.failure.is_none());
}

/// It leaks 26 KiB a second, and would be over its threshold after eight hours and a quarter.
fn leaking(change: impl Fn(&mut WorkerSettings)) -> Stage {
    let mut stage = Stage::one(
        |api| {
            api.allow_downtime = true;
            api.warning_patience = Duration::ZERO;
            change(api);
        },
        plain(),
    );
    stage.sim.at(stage.sim.now + SEC, Event::Sample);
    stage.sim.host.unit(&unit("api.service")).usage.growth_per_sec = 26 << 10;
    stage
}

#[test]
fn a_leak_that_is_predicted_wakes_nobody_and_leaves_attempts_to_what_comes() {
    let mut stage = leaking(|_| {});
    stage.pass(8.1 * 3600.0);
    assert!(stage.sim.transcript.lines().all(|line| !line.contains("escalated")));
    stage.pass(0.9 * 3600.0);
    let raised = stage.sim.transcript.lines().filter(|line| line.contains("condition_raised predicted")).count();
    assert_eq!(raised, 1);
    stage.told(expect![[r#"
        +26851.0 #1 api.service incident_opened: memory grows by 91 MiB an hour for 7 h 25 min and reaches 85 % of its limit of 1.0 GiB in 23 to 93 min
        +26851.0 #1 api.service attempt_intended #1.1 memory_cleanup
        +26851.0 -> act #1.1 api.service ReclaimMemory { invocation: 00000000000000010000000000000007 }
        +26981.0 [Proceed] #1 api.service attempt_ended #1.1 failed : not well within 2 min 10 s: memory grows by 91 MiB an hour for 7 h 25 min and reaches 85 % of its limit of 1.0 GiB in 23 to 93 min
        +26981.0 [Proceed] #1 api.service action_suppressed memory_cleanup: cooldown: pause between attempts
        +26982.9 [Proceed] #1 api.service action_suppressed memory_cleanup: attempts: 1 of 1 attempts are used
        +30391.0 #1 api.service attempt_intended #1.2 graceful_restart
        +30391.0 -> act #1.2 api.service Drain { signal: 15, invocation: 00000000000000010000000000000007 }
        +30391.0 #1 api.service attempt_draining
        +30391.2 -> act #1.2 api.service Start { reset_failed: false }
        +30451.2 [Proceed] #1 api.service attempt_ended #1.2 succeeded 59 min: healthy for 1 min
        +30451.2 [Proceed] #1 api.service incident_closed recovered after 2 attempts
    "#]]);
}

#[test]
fn a_restart_that_is_allowed_comes_before_the_memory_runs_out() {
    let mut stage = leaking(|api| api.preventive = true);
    stage.pass(9.0 * 3600.0);
    stage.told(expect![[r#"
        +26851.0 #1 api.service incident_opened: memory grows by 91 MiB an hour for 7 h 25 min and reaches 85 % of its limit of 1.0 GiB in 23 to 93 min
        +26851.0 #1 api.service attempt_intended #1.1 memory_cleanup
        +26851.0 -> act #1.1 api.service ReclaimMemory { invocation: 00000000000000010000000000000007 }
        +26981.0 [Proceed] #1 api.service attempt_ended #1.1 failed : not well within 2 min 10 s: memory grows by 91 MiB an hour for 7 h 25 min and reaches 85 % of its limit of 1.0 GiB in 23 to 93 min
        +26981.0 [Proceed] #1 api.service action_suppressed graceful_restart: cooldown: pause between attempts
        +26982.9 [Proceed] #1 api.service attempt_intended #1.2 graceful_restart
        +26982.9 -> act #1.2 api.service Drain { signal: 15, invocation: 00000000000000010000000000000007 }
        +26982.9 #1 api.service attempt_draining
        +26983.1 -> act #1.2 api.service Start { reset_failed: false }
        +27043.1 [Proceed] #1 api.service attempt_ended #1.2 succeeded 2 min 12 s: healthy for 1 min
        +27043.1 [Proceed] #1 api.service incident_closed recovered after 2 attempts
    "#]]);
}

#[test]
fn a_restart_for_a_guess_waits_for_a_quiet_hour_and_one_for_what_is_there_does_not() {
    let mut stage = leaking(|api| {
        api.preventive = true;
        api.quiet_hours = Hours::parse("00:00-00:01");
    });
    stage.pass(9.0 * 3600.0);
    stage.told(expect![[r#"
        +26851.0 #1 api.service incident_opened: memory grows by 91 MiB an hour for 7 h 25 min and reaches 85 % of its limit of 1.0 GiB in 23 to 93 min
        +26851.0 #1 api.service attempt_intended #1.1 memory_cleanup
        +26851.0 -> act #1.1 api.service ReclaimMemory { invocation: 00000000000000010000000000000007 }
        +26981.0 [Proceed] #1 api.service attempt_ended #1.1 failed : not well within 2 min 10 s: memory grows by 91 MiB an hour for 7 h 25 min and reaches 85 % of its limit of 1.0 GiB in 23 to 93 min
        +26981.0 [Proceed] #1 api.service action_suppressed graceful_restart: cooldown: pause between attempts
        +26982.9 [Proceed] #1 api.service action_suppressed graceful_restart: quiet_hours: what is only foreseen waits for the quiet hours, 00:00-00:01 UTC
        +30391.0 #1 api.service attempt_intended #1.2 graceful_restart
        +30391.0 -> act #1.2 api.service Drain { signal: 15, invocation: 00000000000000010000000000000007 }
        +30391.0 #1 api.service attempt_draining
        +30391.2 -> act #1.2 api.service Start { reset_failed: false }
        +30451.2 [Proceed] #1 api.service attempt_ended #1.2 succeeded 59 min: healthy for 1 min
        +30451.2 [Proceed] #1 api.service incident_closed recovered after 2 attempts
    "#]]);
}

/// What is used up by 90 % of its limit after about eight hours.
fn using_up(preventive: bool, grow: impl Fn(&mut Load)) -> Stage {
    let mut stage = Stage::one(|api| (api.allow_downtime, api.preventive) = (true, preventive), plain());
    stage.sim.at(stage.sim.now + SEC, Event::Sample);
    grow(&mut stage.sim.host.unit(&unit("api.service")).usage);
    stage
}

#[test]
fn tasks_that_will_be_used_up_are_told_and_where_it_is_allowed_a_restart_gives_them_back() {
    let leak = |load: &mut Load| load.tasks_per_hour = 56.0;
    let mut stage = using_up(false, leak);
    stage.pass(9.0 * 3600.0);
    stage.told(expect![[r#""#]]);
    let mut stage = using_up(true, leak);
    stage.pass(9.0 * 3600.0);
    stage.told(expect![[r#"
        +25351.0 #1 api.service incident_opened: number of tasks grows by 56 an hour for 6 h 23 min and reaches 90 % of its limit of 512 in 23 to 93 min
        +25351.0 #1 api.service action_suppressed graceful_restart: persistence: a warning must last 5 min before it is acted on
        +25651.0 #1 api.service attempt_intended #1.1 graceful_restart
        +25651.0 -> act #1.1 api.service Drain { signal: 15, invocation: 00000000000000010000000000000007 }
        +25651.0 #1 api.service attempt_draining
        +25651.2 -> act #1.1 api.service Start { reset_failed: false }
        +25711.2 [Proceed] #1 api.service attempt_ended #1.1 succeeded 5 min: healthy for 1 min
        +25711.2 [Proceed] #1 api.service incident_closed recovered after 1 attempts
    "#]]);
}

#[test]
fn open_files_that_will_be_used_up_are_told_and_where_it_is_allowed_a_restart_gives_them_back() {
    let leak = |load: &mut Load| load.files_per_hour = 104.0;
    let mut stage = using_up(false, leak);
    stage.pass(9.0 * 3600.0);
    stage.told(expect![[r#""#]]);
    let raised: Vec<&String> = stage.sim.transcript.lines().filter(|line| line.contains("predicted")).collect();
    assert_eq!(raised.len(), 1, "{raised:#?}");
    let mut stage = using_up(true, leak);
    stage.pass(9.0 * 3600.0);
    stage.told(expect![[r#"
        +25351.0 #1 api.service incident_opened: number of open files of a process grows by 104 an hour for 6 h 59 min and reaches 90 % of its limit of 1024 in 23 to 93 min
        +25351.0 #1 api.service action_suppressed graceful_restart: persistence: a warning must last 5 min before it is acted on
        +25651.0 #1 api.service attempt_intended #1.1 graceful_restart
        +25651.0 -> act #1.1 api.service Drain { signal: 15, invocation: 00000000000000010000000000000007 }
        +25651.0 #1 api.service attempt_draining
        +25651.2 -> act #1.1 api.service Start { reset_failed: false }
        +25711.2 [Proceed] #1 api.service attempt_ended #1.1 succeeded 5 min: healthy for 1 min
        +25711.2 [Proceed] #1 api.service incident_closed recovered after 1 attempts
    "#]]);
}

#[test]
fn what_mostly_goes_before_an_incident_is_told_of_for_a_while() {
    let mut stage = Stage::one(|_| {}, plain());
    let say = |stage: &mut Stage, warns: Option<Warns>| {
        let (name, at) = (unit("api.service"), Mono(stage.sim.now));
        let template = "archive is away".into();
        let seen = PatternSeen { unit: name, pattern: PatternId(7), template, at, count: 1, usual: 0.0, warns };
        stage.sim.deliver(Input::Patterns { seen: vec![seen] });
    };
    say(&mut stage, None);
    assert_eq!(stage.foretold(), None);
    say(&mut stage, Some(Warns { of: 10.0, followed: 9.0, lead: Duration::from_secs(400) }));
    let text = stage.foretold().expect("told at once");
    assert!(text.ends_with("after which an incident came 9 of 10 times, mostly 6 min 40 s later"), "{text}");
    stage.pass(790.0);
    assert!(stage.foretold().is_some(), "for twice the time that it mostly takes");
    stage.pass(20.0);
    assert_eq!(stage.foretold(), None);
    stage.told(expect![[""]]);
}

#[test]
fn hours_at_which_it_mostly_fails_are_told_of_until_they_are_over_or_it_has_failed() {
    let mut stage = Stage::one(|_| {}, plain());
    let tell = |stage: &mut Stage| {
        let hours = Cluster { from: 3, length: 1, within: 9, of: 10, chance: 0.001, like_others: false };
        let until = Mono(stage.sim.now + 7_200 * SEC);
        let ahead = HoursAhead { unit: unit("api.service"), hours, days: None, dates: 11, failed: 9, until };
        stage.sim.deliver(Input::Hours { ahead: vec![ahead] });
    };
    tell(&mut stage);
    let text = stage.foretold().expect("told at once");
    assert_eq!(text, "it has mostly failed from 03:00 to 04:00 (local time): on 9 of 11 days, 9 of 10 times");
    stage.pass(7_190.0);
    assert!(stage.foretold().is_some());
    stage.pass(20.0);
    assert_eq!(stage.foretold(), None);
    stage.told(expect![[""]]);
    tell(&mut stage);
    stage.kill("api.service").pass(60.0);
    assert_eq!(stage.foretold(), None, "it has come");
}

/// A worker of one unit that asks before each deed.
fn asking(no_answer: NoAnswer) -> Stage {
    Stage::one(
        |settings| {
            settings.approval = ApprovalFor::Everything;
            settings.approval_timeout = Duration::from_secs(60);
            settings.no_answer = no_answer;
        },
        plain(),
    )
}

#[test]
fn a_planned_action_waits_for_a_yes_and_then_goes_ahead() {
    let mut stage = asking(NoAnswer::Escalate);
    stage.kill("api.service").pass(20.0);
    let cards = stage.sim.engine.as_ref().unwrap().cards(stage.sim.clock());
    let [card] = &cards[..] else { panic!("one card: {cards:?}") };
    expect![[r#"
        restart of api.service: start api.service
        because dead: unit failed: killed by signal SIGKILL (9)
        reason it is not running: starting it is the mildest that can help
        else [Considered { action: Escalate, why_not: "when nothing helps" }]
        without restart is not done: an operator is called, and it is asked again after 5 min
    "#]]
    .assert_eq(&format!(
        "{} of {}: {}\nbecause {}\nreason {}\nelse {:?}\nwithout {}\n",
        card.action, card.unit, card.what, card.why[0].text, card.reason, card.considered, card.without_answer
    ));
    stage.sim.ask(Ask::Approve { incident: IncidentId(1), action: Action::Restart, asked: None });
    stage.pass(15.0);
    stage.told(expect![[r#"
        +0.0    #1 api.service incident_opened: unit failed: killed by signal SIGKILL (9)
        +0.0    #1 api.service approval_asked restart, else escalate
        +20.0   #1 api.service approval_answered restart approved=true
        +20.0   #1 api.service attempt_intended #1.1 restart
        +20.0   -> reply approved: restart of api.service goes ahead
        +20.0   -> act #1.1 api.service Start { reset_failed: false }
        +30.0   [Proceed] #1 api.service attempt_ended #1.1 succeeded 20 s: healthy for 10 s
        +30.0   [Proceed] #1 api.service incident_closed recovered after 1 attempts
    "#]]);
}

#[test]
fn without_an_answer_it_is_done_or_an_operator_is_called_and_asked_again() {
    let mut stage = asking(NoAnswer::Act);
    stage.kill("api.service").pass(100.0);
    stage.told(expect![[r#"
        +0.0    #1 api.service incident_opened: unit failed: killed by signal SIGKILL (9)
        +0.0    #1 api.service approval_asked restart, else act
        +60.0   [Proceed] #1 api.service approval_expired restart: act
        +60.0   [Proceed] #1 api.service attempt_intended #1.1 restart
        +60.0   -> act #1.1 api.service Start { reset_failed: false }
        +70.0   [Proceed] #1 api.service attempt_ended #1.1 succeeded 1 min: healthy for 10 s
        +70.0   [Proceed] #1 api.service incident_closed recovered after 1 attempts
    "#]]);
    let mut stage = asking(NoAnswer::Escalate);
    stage.kill("api.service").pass(900.0);
    stage.told(expect![[r#"
        +0.0    #1 api.service incident_opened: unit failed: killed by signal SIGKILL (9)
        +0.0    #1 api.service approval_asked restart, else escalate
        +60.0   [Proceed] #1 api.service approval_expired restart: escalate
        +60.0   [Proceed] #1 api.service escalated: api.service needs an operator: nobody has answered for 1 min whether restart may be done
        +360.0  [Proceed] #1 api.service approval_asked restart, else escalate
        +420.0  [Proceed] #1 api.service approval_expired restart: escalate
        +420.0  [Proceed] #1 api.service escalated: api.service needs an operator: nobody has answered for 1 min whether restart may be done
        +600.0  [Assess] #1 api.service action_suppressed restart: cooldown: after giving up it is tried again at a low rate
    "#]]);
}

#[test]
fn after_a_no_the_plan_goes_on_without_the_action() {
    let mut stage = Stage::one(
        |settings| {
            settings.approval = ApprovalFor::Disruptive;
            settings
                .plans
                .insert(Condition::External, vec![Action::GracefulRestart, Action::Restart, Action::Escalate]);
        },
        plain(),
    );
    work::tell_of(&mut stage.sim, Target::Unit(unit("api.service")), true, true);
    stage.pass(20.0);
    let no =
        |action| Ask::Reject { incident: IncidentId(1), action, reason: "a customer is on it".into(), asked: None };
    // Another action than the one that is asked for is answered by nobody.
    stage.sim.ask(no(Action::Restart));
    stage.pass(1.0);
    stage.sim.ask(no(Action::GracefulRestart));
    stage.pass(20.0);
    stage.sim.ask(no(Action::Restart));
    stage.pass(20.0);
    stage.told(expect![[r#"
        +0.0    #1 api.service incident_opened: SlowAnswers: 3 s
        +0.0    #1 api.service approval_asked graceful_restart, else escalate
        +20.0   -> reply incident #1 asks for graceful_restart, not for restart: look at it again
        +21.0   #1 api.service approval_answered graceful_restart approved=false
        +21.0   #1 api.service approval_asked restart, else escalate
        +21.0   -> reply rejected: graceful_restart of api.service is not done; the plan goes on with restart
        +41.0   #1 api.service approval_answered restart approved=false
        +41.0   #1 api.service escalated: api.service is left as it is: an operator said no to graceful_restart and restart: SlowAnswers: 3 s
        +41.0   -> reply rejected: restart of api.service is not done; nothing else is left to try, so an operator must look
    "#]]);
}

#[test]
fn who_is_well_again_needs_no_answer() {
    let mut stage = asking(NoAnswer::Act);
    stage.kill("api.service").pass(10.0);
    stage.sim.host.start(&unit("api.service"));
    stage.pass(100.0);
    stage.told(expect![[r#"
        +0.0    #1 api.service incident_opened: unit failed: killed by signal SIGKILL (9)
        +0.0    #1 api.service approval_asked restart, else act
        +10.0   #1 api.service action_suppressed restart: job_in_flight: systemd has a job in flight for it (job 102)
        +20.0   [Proceed] #1 api.service incident_closed operator after 0 attempts
    "#]]);
}

#[test]
fn a_yes_is_remembered_over_our_crash() {
    let mut stage = asking(NoAnswer::Escalate);
    stage.kill("api.service").pass(10.0);
    stage.sim.set_hold(true);
    stage.pass(1.0);
    stage.sim.ask(Ask::Approve { incident: IncidentId(1), action: Action::Restart, asked: None });
    stage.pass(1.0);
    stage.sim.crash();
    stage.pass(30.0);
    stage.sim.set_hold(false);
    stage.pass(20.0);
    stage.told(expect![[r#"
        +0.0    #1 api.service incident_opened: unit failed: killed by signal SIGKILL (9)
        +0.0    #1 api.service approval_asked restart, else escalate
        +10.0   hold_changed
        +10.0   #1 api.service action_suppressed restart: hold: the hold file /run/unitmedic/hold exists
        +11.0   #1 api.service approval_answered restart approved=true
        +11.0   -> reply approved; restart of api.service is done as soon as it can be: the hold file /run/unitmedic/hold exists
        +12.0   == we crash
        +16.5   hold_changed
        +16.5   -> inquire api.service
        +16.5   #1 api.service action_suppressed restart: hold: the hold file /run/unitmedic/hold exists
        +42.0   hold_changed
        +42.0   #1 api.service attempt_intended #1.1 restart
        +42.0   -> act #1.1 api.service Start { reset_failed: false }
        +52.0   [Proceed] #1 api.service attempt_ended #1.1 succeeded 42 s: healthy for 10 s
        +52.0   [Proceed] #1 api.service incident_closed recovered after 1 attempts
    "#]]);
}

#[test]
fn a_preview_says_what_would_be_done_and_what_stands_against_it() {
    let mut stage = template(2, &["mail@1.service", "mail@2.service"], plain());
    stage.sim.set_hold(true);
    stage.pass(1.0);
    let engine = stage.sim.engine.as_ref().unwrap();
    let mail = Target::Worker(worker("mail", Selector::Template("mail".into())).name);
    let preview = engine.preview(&mail, Action::GracefulRestart, false).unwrap();
    expect![[r#"
        Preview {
            worker: "mail",
            action: GracefulRestart,
            what: "ask mail@1.service by its drain signal to finish its work, for up to 30 s, then start it anew",
            units: [
                PreviewUnit {
                    unit: "mail@1.service",
                    health: Healthy,
                    refusal: Some(
                        Refusal {
                            gate: Hold,
                            text: "the hold file /run/unitmedic/hold exists",
                            until: None,
                            setting: None,
                        },
                    ),
                    dependents: [],
                },
                PreviewUnit {
                    unit: "mail@2.service",
                    health: Healthy,
                    refusal: Some(
                        Refusal {
                            gate: Hold,
                            text: "the hold file /run/unitmedic/hold exists",
                            until: None,
                            setting: None,
                        },
                    ),
                    dependents: [],
                },
            ],
            notes: [
                "2 instances go one by one: the next only when the one before is well; should one not come back well, the rest is left as it is",
            ],
        }
    "#]].assert_debug_eq(&preview);
    assert!(engine.preview(&mail, Action::ScaleUp, false).unwrap_err().contains("cannot be scaled"));
    assert!(engine.preview(&mail, Action::Escalate, false).is_err());
}

#[test]
fn what_comes_to_rest_after_our_order_is_the_failure_that_we_act_on() {
    let stage = Stage::one(|_| {}, plain());
    let (mut now, mut engine) = (stage.sim.clock(), stage.sim.engine.expect("it runs"));
    let name = unit("api.service");
    let attempt = AttemptId { incident: IncidentId(1), number: 1 };
    let change = |change: UnitChange| Input::Unit { unit: name.clone(), change: Box::new(change) };
    let at = now.mono + Duration::from_millis(5);
    let (code, status) = (Some(1), Some(0));
    let ended = UnitChange { main_pid: Some(0), exec_code: code, exec_status: status, ..UnitChange::default() };
    let accepted = Answer::Accepted { job: Some(9), did: None };
    // The process ends by itself, we order a start, and only then systemd brings the unit to rest.
    for (after, input) in [
        (0, change(UnitChange { active: Some(ActiveState::Deactivating), ..ended })),
        (1, Input::Recorded { attempt, how: Durability::Stored }),
        (4, change(UnitChange { job: Some(9), ..UnitChange::default() })),
        (0, Input::JobNew { unit: name.clone(), job: 9 }),
        (1, Input::Acted { attempt, answer: accepted }),
        (
            1,
            change(UnitChange {
                active: Some(ActiveState::Inactive),
                inactive_enter: Some(at),
                ..UnitChange::default()
            }),
        ),
        (1, Input::JobKind { unit: name.clone(), job: 9, kind: JobKind::Start }),
    ] {
        now.mono.0 += after * MS;
        engine.handle(now, input);
        while let Some(command) = engine.poll_command() {
            let Command::Tell(fact) = command else { continue };
            assert!(!matches!(fact.what, What::AttemptEnded { .. }), "{:?}", fact.what);
        }
    }
    let incident = engine.explain(&Target::Unit(name), now).remove(0).incident.expect("one is open");
    assert_eq!(incident.last_attempt().expect("one was made").stage.as_str(), "verifying");
}

#[test]
fn a_yes_is_for_the_question_that_was_asked_and_for_no_other() {
    let mut stage = asking(NoAnswer::Escalate);
    stage.kill("api.service").pass(10.0);
    let cards = |stage: &Stage| stage.sim.engine.as_ref().unwrap().cards(stage.sim.clock());
    let asked = cards(&stage)[0].asked;
    // It is well by itself: the question goes away, and a yes to it is taken by nobody.
    stage.sim.host.start(&unit("api.service"));
    stage.pass(2.0);
    assert_eq!(cards(&stage), []);
    let yes = |asked| Ask::Approve { incident: IncidentId(1), action: Action::Restart, asked };
    stage.sim.ask(yes(Some(asked)));
    stage.pass(1.0);
    // It fails again before that was proven: this is another question, and the old card is not for it.
    stage.kill("api.service").pass(5.0);
    stage.sim.ask(yes(Some(asked)));
    stage.pass(1.0);
    assert_ne!(cards(&stage)[0].asked, asked);
    stage.told(expect![[r#"
        +0.0    #1 api.service incident_opened: unit failed: killed by signal SIGKILL (9)
        +0.0    #1 api.service approval_asked restart, else escalate
        +10.0   #1 api.service action_suppressed restart: job_in_flight: systemd has a job in flight for it (job 102)
        +12.0   -> reply incident #1 waits for no answer: it has one, its time is over, or it needs none any more
        +13.0   #1 api.service approval_asked restart, else escalate
        +18.0   -> reply incident #1 asks something else by now: look at it again
    "#]]);
}

#[test]
fn a_yes_to_a_start_is_none_to_the_restart_of_what_runs() {
    let (mut now, mut engine) = {
        let stage = asking(NoAnswer::Escalate);
        (stage.sim.clock(), stage.sim.engine.expect("it runs"))
    };
    let name = unit("api.service");
    let mut feed = |engine: &mut unitmedic::engine::Engine, input: Input| {
        now.mono.0 += 50 * MS;
        engine.handle(now, input);
        let mut acts = 0;
        while let Some(command) = engine.poll_command() {
            acts += usize::from(matches!(command, Command::Act(_) | Command::Record(_)));
        }
        (acts, engine.cards(now))
    };
    let change = |change: UnitChange| Input::Unit { unit: name.clone(), change: Box::new(change) };
    let state = |active| UnitChange { active: Some(active), ..UnitChange::default() };
    let ended =
        UnitChange { main_pid: Some(0), exec_code: Some(2), exec_status: Some(9), ..state(ActiveState::Failed) };
    let (_, cards) = feed(&mut engine, change(ended));
    assert_eq!(cards[0].what, "start api.service");
    let yes = Ask::Approve { incident: cards[0].incident, action: Action::Restart, asked: Some(cards[0].asked) };
    // Somebody starts it, and it hangs: what the plan would do now is something else.
    let (acts, cards) = feed(&mut engine, change(UnitChange { main_pid: Some(7), ..state(ActiveState::Active) }));
    assert!(acts == 0 && cards.is_empty(), "{cards:?}");
    let (acts, _) = feed(&mut engine, Input::Request(Request { id: 1, who: "anna".into(), ask: yes }));
    assert_eq!(acts, 0);
}
