//! Values for the tests of this module: a host with a sick template, a large well one, and their past.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::model::action::{Plan, Step};
use crate::model::fact::{Cause, Gate, Refusal};
use crate::model::incident::{Attempt, Origin, Stage};
use crate::model::status::{Explanation, GateView, InstanceStatus, SettingView, Status, WorkerStatus};
use crate::model::{
    Action, Condition, Evidence, Fact, Health, Incident, IncidentId, Mono, Now, Outcome, UnitName, UnitView, Wall,
    What, WorkerName,
};
use crate::views::look::Look;

/// 2026-11-23 18:20:00.250 UTC, some days after the host's start.
pub const NOW: Now = Now { mono: Mono(1_000_000_000_000), wall: Wall(1_795_458_000_250_000) };

pub fn ago(seconds: u64) -> Now {
    Now { mono: Mono(NOW.mono.0 - seconds * 1_000_000), wall: Wall(NOW.wall.0 - seconds as i64 * 1_000_000) }
}

pub fn in_seconds(seconds: u64) -> Mono {
    Mono(NOW.mono.0 + seconds * 1_000_000)
}

pub fn plain() -> Look {
    Look::plain(TimeZone::UTC)
}

/// A terminal of so many columns that shows all signs.
pub fn terminal(width: usize) -> Look {
    Look { width: Some(width), unicode: true, ..plain() }
}

pub fn unit(name: &str) -> UnitName {
    UnitName::new(name).unwrap()
}

pub fn worker(name: &str) -> WorkerName {
    WorkerName::new(name).unwrap()
}

pub fn text(lines: &[String]) -> String {
    lines.join("\n")
}

pub fn instance(name: &str, health: Health, because: &str) -> InstanceStatus {
    let serves = health.serves();
    InstanceStatus {
        unit: unit(name),
        health,
        because: because.into(),
        view: UnitView::default(),
        usage: None,
        cpus: serves.then_some(0.25),
        memory_used_bytes: serves.then_some(48 << 20),
        memory_limit_bytes: serves.then_some(512 << 20),
        up_since: serves.then_some(ago(3725).wall),
        restarts: BTreeMap::new(),
        heartbeat: None,
        errors_per_minute: None,
        scaled: false,
        conditions: BTreeMap::new(),
        incident: None,
        doing: None,
    }
}

pub fn worker_status(name: &str, health: Health, because: &str, instances: Vec<InstanceStatus>) -> WorkerStatus {
    let count = |health: fn(Health) -> bool| instances.iter().filter(|instance| health(instance.health)).count();
    WorkerStatus {
        worker: worker(name),
        selector: format!("{name}@.service"),
        critical: false,
        health,
        because: because.into(),
        paused: false,
        min_instances: 1,
        max_instances: None,
        desired: count(|health| health != Health::Stopped),
        running: count(Health::serves),
        serving: count(Health::serves),
        healthy: count(|health| health == Health::Healthy),
        scaled: 0,
        waiting_approvals: 0,
        queues: Vec::new(),
        instances,
    }
}

pub fn status() -> Status {
    let sick = InstanceStatus {
        incident: Some(IncidentId(42)),
        doing: Some("waiting: pause between attempts, 4 s left".into()),
        ..instance("mail@2.service", Health::Dead, "unit failed: killed by signal SIGKILL (9)")
    };
    let mail = vec![
        instance("mail@1.service", Health::Healthy, "running"),
        sick,
        instance("mail@3.service", Health::Healthy, "running"),
    ];
    let many = (0..1000).map(|n| instance(&format!("task@{n}.service"), Health::Healthy, "running")).collect();
    let cron = vec![instance("cron.service", Health::Stopped, "stopped on purpose: an operator's stop job")];
    Status {
        at: NOW,
        version: "0.1.0".into(),
        ready: true,
        not_ready: None,
        dry_run: false,
        held: false,
        watch_only: None,
        storm: false,
        pauses: Vec::new(),
        host: None,
        workers: vec![
            WorkerStatus {
                critical: true,
                min_instances: 3,
                ..worker_status("mail", Health::Critical, "2 of 3 instances serve, 3 are needed", mail)
            },
            worker_status("task", Health::Healthy, "1000 of 1000 instances serve", many),
            worker_status("cron", Health::Stopped, "stopped on purpose: an operator's stop job", cron),
        ],
        open_incidents: 1,
        waiting_approvals: 0,
        disk: None,
    }
}

pub fn attempt(number: u32, seconds_ago: u64, outcome: Option<Outcome>, reason: &str) -> Attempt {
    let at = ago(seconds_ago);
    Attempt {
        number,
        action: Action::Restart,
        condition: None,
        stage: if outcome.is_some() { Stage::Ended } else { Stage::Verifying },
        intended_at: at.mono,
        intended_wall: at.wall,
        acted_at: Some(at.mono),
        well_at: None,
        ended_at: outcome.map(|_| at.mono),
        outcome,
        reason: reason.into(),
        flagged: false,
        in_doubt: false,
        activated: false,
        drain_until: None,
        extra: None,
    }
}

pub fn plan() -> Plan {
    let step = |action, reason: &str| Step { action, reason: reason.into() };
    Plan {
        steps: vec![
            step(Action::Restart, "it is not running: starting it is the mildest that can help"),
            step(Action::Escalate, "when the attempts are used up, an operator must look"),
        ],
        ..Plan::default()
    }
}

/// Open, after one attempt that did not help, waiting for the next.
pub fn open_incident() -> Incident {
    let failed = ago(63);
    Incident {
        id: IncidentId(42),
        worker: worker("mail"),
        unit: unit("mail@2.service"),
        origin: Origin::Condition { condition: Condition::Dead },
        conditions: [(Condition::Dead, Evidence::text("unit failed: killed by signal SIGKILL (9)"))].into(),
        worst: Health::Dead,
        boot: "b".into(),
        failed_at: failed.mono,
        failed_wall: failed.wall,
        opened_at: Mono(failed.mono.0 + 1234),
        opened_wall: Wall(failed.wall.0 + 1234),
        closed_at: None,
        closed_wall: None,
        resolution: None,
        time_to_recover: None,
        plan: plan(),
        attempts: vec![attempt(1, 62, Some(Outcome::Failed), "failed again: exit code 3")],
        attempts_used: 1,
        escalations: 0,
        given_up: false,
        not_before: Some(in_seconds(4)),
        reopened: 0,
        waiting: Some(cooldown()),
        action_was_allowed: true,
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

pub fn closed_incident() -> Incident {
    let closed = ago(50);
    Incident {
        id: IncidentId(41),
        closed_at: Some(closed.mono),
        closed_wall: Some(closed.wall),
        resolution: Some(crate::model::Resolution::Recovered),
        time_to_recover: Some(Duration::from_millis(13)),
        attempts: vec![attempt(1, 62, Some(Outcome::Succeeded), "healthy for 10 s")],
        not_before: None,
        waiting: None,
        ..open_incident()
    }
}

pub fn cooldown() -> Refusal {
    Refusal {
        gate: Gate::Cooldown,
        text: "pause between attempts, 4 s left".into(),
        until: Some(in_seconds(4)),
        setting: Some("worker.mail.backoff".into()),
    }
}

pub fn explanation() -> Explanation {
    let refusal = |gate| if gate == Gate::Cooldown { Some(cooldown()) } else { None };
    let setting = |key: &str, value: &str, origin: &str| SettingView {
        key: format!("worker.mail.{key}"),
        value: value.into(),
        origin: origin.into(),
    };
    Explanation {
        unit: unit("mail@2.service"),
        worker: worker("mail"),
        health: Health::Dead,
        because: "unit failed: killed by signal SIGKILL (9)".into(),
        standing: "should run".into(),
        conditions: open_incident().conditions,
        incident: Some(open_incident()),
        plan: plan(),
        next_action: Some(Action::Restart),
        gates: Gate::ALL.iter().map(|gate| GateView { gate: *gate, refusal: refusal(*gate) }).collect(),
        attempts_left: 2,
        max_attempts: 3,
        cooldown_left: Some(Duration::from_secs(4)),
        cooldown_until: Some(NOW.wall_of(in_seconds(4))),
        recent_failures: [400, 200, 63, 61].map(|seconds| ago(seconds).wall).to_vec(),
        crash_loop_limit: 5,
        crash_loop_window: Duration::from_secs(600),
        restarts: [("unitmedic".to_string(), 4), ("operator".to_string(), 1)].into(),
        settings: vec![
            setting("backoff", "4 s", "/etc/unitmedic/unitmedic.toml:12"),
            setting("crash_loop_failures", "5", "default"),
            setting("max_restart_attempts", "3", "/etc/unitmedic/conf.d/mail.toml:3"),
            setting("restart_cooldown", "5 min", "default"),
        ],
    }
}

/// A well instance that was never sick.
pub fn well() -> Explanation {
    Explanation {
        unit: unit("task@7.service"),
        worker: worker("task"),
        health: Health::Healthy,
        because: "running".into(),
        conditions: BTreeMap::new(),
        incident: None,
        plan: Plan::default(),
        next_action: None,
        gates: Vec::new(),
        attempts_left: 3,
        cooldown_left: None,
        cooldown_until: None,
        recent_failures: Vec::new(),
        restarts: BTreeMap::new(),
        ..explanation()
    }
}

pub fn fact(seq: u64, at: Now, incident: u64, name: &str, what: What) -> Fact {
    Fact {
        seq,
        at,
        cause: Cause::Input(seq),
        worker: Some(worker("mail")),
        unit: Some(unit(name)),
        incident: Some(IncidentId(incident)),
        what,
    }
}
