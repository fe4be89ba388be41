//! What a seed starts from: workers, units, settings.

use std::time::Duration;

use unitmedic::model::approval::{ApprovalFor, NoAnswer};
use unitmedic::model::settings::{Explore, OnStop};
use unitmedic::model::unit::FileState;
use unitmedic::model::{Action, Condition, Selector, Settings, UnitName, WorkerName, WorkerSettings};

use crate::host::{Host, MS, Restart, SEC, Spec, Want};
use crate::rng::Rng;
use crate::work;

/// Virtual time at which every run starts: the host has been up for a while.
pub const BEGIN: u64 = 1_000 * SEC;

pub fn unit(name: &str) -> UnitName {
    UnitName::new(name).expect("a good name")
}

pub fn worker(name: &str, selector: Selector) -> WorkerSettings {
    WorkerSettings::new(WorkerName::new(name).expect("a good name"), selector)
}

pub fn with_workers(workers: impl IntoIterator<Item = WorkerSettings>) -> Settings {
    let workers = workers.into_iter().map(|worker| (worker.name.clone(), worker)).collect();
    Settings { workers, ..Settings::empty() }
}

/// Settings and a host for one seed.
pub fn of_seed(rng: &mut Rng) -> (Settings, Host) {
    let mut host = Host::new(BEGIN);
    let mut workers = Vec::new();
    host.startup_finished = BEGIN - if rng.chance(80) { 900 * SEC } else { 60 * SEC };
    for kind in 0..6 {
        let last_resort = kind == 5 && workers.is_empty();
        if !rng.chance(60) && !last_resort {
            continue;
        }
        let (name, selector, units): (&str, Selector, Vec<String>) = match kind {
            0 => ("api", Selector::Unit(unit("api.service")), vec!["api.service".into()]),
            1 => ("db", Selector::Unit(unit("db.service")), vec!["db.service".into()]),
            2 => {
                let units = (0..rng.range(2, 7)).map(|n| format!("batch-{n}.service")).collect();
                ("batch", Selector::Glob("batch-*.service".into()), units)
            }
            3 => ("report", Selector::Unit(unit("report.service")), vec!["report.service".into()]),
            4 => {
                let units = (1..=rng.range(2, 6)).map(|n| format!("mail@{n}.service")).collect();
                ("mail", Selector::Template("mail".into()), units)
            }
            _ => {
                let units = (1..=rng.range(1, 4)).map(|n| format!("task@{n}.service")).collect();
                (work::WORKER, Selector::Template("task".into()), units)
            }
        };
        let mut spec = Spec {
            restart: *rng.pick(&[Restart::No, Restart::No, Restart::OnFailure, Restart::Always]),
            restart_sec: *rng.pick(&[0, 100 * MS, 2 * SEC, 20 * SEC]),
            start_time: *rng.pick(&[0, 0, 50 * MS, 3 * SEC]),
            stop_time: *rng.pick(&[5 * MS, 50 * MS, 2 * SEC]),
            file_state: *rng.pick(&[FileState::Enabled, FileState::Enabled, FileState::Disabled]),
            start_limit: *rng.pick(&[(5, 10 * SEC), (5, 10 * SEC), (3, 60 * SEC), (100, 10 * SEC)]),
            ..Spec::plain()
        };
        spec.oneshot = kind == 3;
        if spec.oneshot {
            spec.restart = Restart::No;
        }
        spec.collected = kind == 4 && rng.chance(70);
        for name in &units {
            host.add(&unit(name), spec.clone());
        }
        let mut settings = worker(name, selector);
        vary(&mut settings, units.len() as u32, rng);
        if kind == 5 {
            consume(&mut settings, units.len() as u32, rng);
        }
        workers.push(settings);
    }
    begin(&mut host, rng);
    let mut settings = with_workers(workers);
    settings.daemon.dry_run = rng.chance(4);
    settings.guard.max_concurrent_actions = *rng.pick(&[1, 2, 4]);
    settings.guard.max_concurrent_starts = *rng.pick(&[1, 4, 32]);
    (settings, host)
}

fn vary(settings: &mut WorkerSettings, units: u32, rng: &mut Rng) {
    settings.critical = rng.chance(30);
    settings.min_instances = if rng.chance(50) { Some(rng.range(1, u64::from(units) + 1) as u32) } else { None };
    settings.allow_downtime = rng.chance(30);
    settings.on_stop = if rng.chance(8) { OnStop::Restart } else { OnStop::Respect };
    settings.restart_cooldown = Duration::from_secs(*rng.pick(&[60, 300, 300]));
    settings.max_restart_attempts = *rng.pick(&[1, 2, 3, 3, 3, 5]);
    settings.drain_timeout = Duration::from_secs(*rng.pick(&[1, 5, 30]));
    settings.warning_patience = Duration::from_secs(*rng.pick(&[30, 300]));
    settings.start_timeout = Duration::from_secs(*rng.pick(&[10, 90]));
    settings.verify_for = Duration::from_secs(*rng.pick(&[20, 60]));
    if rng.chance(30) {
        let action = *rng.pick(&[Action::Restart, Action::GracefulRestart]);
        settings.plans.insert(Condition::External, vec![action, Action::Escalate]);
    }
    settings.learn = rng.chance(85);
    settings.explore = *rng.pick(&[Explore::Never, Explore::NotCritical, Explore::Always, Explore::Always]);
    settings.preventive = rng.chance(30);
    settings.approval = *rng.pick(&[
        ApprovalFor::Nothing,
        ApprovalFor::Nothing,
        ApprovalFor::Nothing,
        ApprovalFor::Disruptive,
        ApprovalFor::Everything,
    ]);
    settings.approval_timeout = Duration::from_secs(*rng.pick(&[60, 600]));
    settings.no_answer = *rng.pick(&[NoAnswer::Act, NoAnswer::Escalate]);
}

/// It consumes the queue of the broker, and may be scaled.
fn consume(settings: &mut WorkerSettings, units: u32, rng: &mut Rng) {
    settings.queues = vec![work::queue()];
    settings.amqp_url = Some("amqp://localhost".into());
    settings.max_instances = if rng.chance(80) { Some(units + rng.range(0, 4) as u32) } else { None };
    settings.min_instances = settings.min_instances.min(settings.max_instances);
    settings.scale_down_after = Duration::from_secs(*rng.pick(&[60, 300]));
    settings.surge = rng.chance(30);
    settings.error_rate_window = Duration::from_secs(*rng.pick(&[60, 600]));
}

/// Most units run already when we first look.
fn begin(host: &mut Host, rng: &mut Rng) {
    for name in host.units.keys().cloned().collect::<Vec<_>>() {
        if host.units[&name].spec.oneshot || !rng.chance(85) {
            continue;
        }
        host.start(&name);
        host.unit(&name).want = Want::Run;
        host.unit(&name).want_since = host.now;
    }
    host.signals.clear();
}
