//! What people do to the host and ask of us.

use std::collections::BTreeMap;
use std::time::Duration;

use unitmedic::model::fact::ResyncReason;
use unitmedic::model::input::Wanted;
use unitmedic::model::pattern::{Cluster, HoursAhead, Warns};
use unitmedic::model::request::{Ask, Target};
use unitmedic::model::strategy::{Case, EXPORT_FORMAT, Evidence, Export, Known, Provenance};
use unitmedic::model::{Action, Condition, IncidentId, Input, PatternId, PatternSeen, Settings, UnitName, Wall};

use crate::driver::{Event, Sim};
use crate::faults::Step;
use crate::host::{Phase, SEC, Want};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Doing {
    Start,
    Stop,
    Restart,
    Deploy,
    ResetFailed,
    Scale,
    Pause,
    PauseAll,
    Resume,
    Recover,
    RecoverWorker,
    MarkFalse,
    /// Brings knowledge from elsewhere, however wrong, or has it forgotten.
    Teach,
    Reload,
    Reexec,
    Hold,
    Mask,
    Reconfigure,
}

pub const ALL: [Doing; 18] = [
    Doing::Start,
    Doing::Stop,
    Doing::Restart,
    Doing::Deploy,
    Doing::ResetFailed,
    Doing::Scale,
    Doing::Pause,
    Doing::PauseAll,
    Doing::Resume,
    Doing::Recover,
    Doing::RecoverWorker,
    Doing::MarkFalse,
    Doing::Teach,
    Doing::Reload,
    Doing::Reexec,
    Doing::Hold,
    Doing::Mask,
    Doing::Reconfigure,
];

pub fn act(sim: &mut Sim, doing: Doing) {
    let units = sim.unit_names();
    let unit = sim.rng.pick(&units).clone();
    sim.transcript.note(sim.now, || format!("== operator: {doing:?} {unit}"));
    match doing {
        Doing::Start => start(sim, &unit),
        Doing::Stop => stop(sim, &unit),
        Doing::Restart => restart(sim, &unit),
        Doing::Deploy => {
            stop(sim, &unit);
            let wait = sim.rng.range(0, 20 * SEC);
            sim.after(wait, Event::Step(Step::Start(unit)));
        }
        Doing::ResetFailed => {
            // It makes a failed unit inactive; whether it should run remains what it was.
            sim.host.reset_failed(&unit);
        }
        Doing::Scale => {
            for unit in units.iter().filter(|unit| unit.as_str().starts_with("mail@")) {
                if sim.rng.chance(50) {
                    start(sim, unit);
                } else {
                    stop(sim, unit);
                }
            }
        }
        Doing::Pause | Doing::PauseAll => {
            let now = sim.clock().wall;
            let span = sim.rng.range(SEC, 600 * SEC);
            let until = sim.rng.chance(70).then_some(Wall(now.0 + span as i64));
            let worker = (doing == Doing::Pause)
                .then(|| sim.settings.worker_of(unit.as_str()).map(|w| w.name.clone()))
                .flatten();
            sim.ask(Ask::Pause { worker, until, reason: "deploy".into() });
        }
        Doing::Resume => {
            let worker = sim.settings.worker_of(unit.as_str()).map(|w| w.name.clone());
            let worker = worker.filter(|_| sim.rng.chance(50));
            sim.ask(Ask::Resume { worker });
        }
        Doing::Recover | Doing::RecoverWorker => {
            let action = *sim.rng.pick(&[
                Action::Restart,
                Action::GracefulRestart,
                Action::ConnectionReset,
                Action::MemoryCleanup,
                Action::ScaleUp,
                Action::ScaleDown,
            ]);
            let force = sim.rng.chance(25);
            let worker = sim.settings.worker_of(unit.as_str()).map(|w| w.name.clone());
            let target = match worker.filter(|_| doing == Doing::RecoverWorker) {
                Some(worker) => Target::Worker(worker),
                None => Target::Unit(unit.clone()),
            };
            if force && doing == Doing::Recover {
                sim.host.unit(&unit).want = Want::Open;
            }
            sim.ask(Ask::Recover { target, action, force });
        }
        Doing::MarkFalse => {
            let now = sim.clock();
            let open = sim.engine.as_ref().and_then(|engine| engine.instance(&unit, now)).and_then(|(_, i)| i.incident);
            if let Some(incident) = open {
                sim.ask(Ask::MarkFalse { incident });
            }
        }
        Doing::Teach => teach(sim, &unit),
        Doing::Reload => sim.resync(ResyncReason::ManagerReloaded),
        Doing::Reexec => sim.resync(ResyncReason::ManagerReexecuted),
        Doing::Hold => {
            sim.set_hold(true);
            let wait = sim.rng.range(SEC, 300 * SEC);
            sim.after(wait, Event::Step(Step::Unhold));
        }
        Doing::Reconfigure => {
            let Some(worker) = sim.settings.worker_of(unit.as_str()).cloned() else { return };
            for other in sim.host.units.values_mut().filter(|other| worker.unit.matches(other.name.as_str())) {
                // Nobody looks at it for a while, and what was known of it is forgotten.
                if other.want == Want::Stopped || other.is_down() {
                    other.want = Want::Open;
                }
            }
            let mut settings = sim.settings.clone();
            settings.workers.remove(&worker.name);
            configure(sim, settings);
            let wait = sim.rng.range(SEC, 120 * SEC);
            sim.after(wait, Event::Step(Step::Configure(Box::new(worker))));
        }
        Doing::Mask => {
            sim.host.unit(&unit).want = Want::Open;
            sim.host.mask(&unit, true);
            sim.resync(ResyncReason::UnitFilesChanged);
            let wait = sim.rng.range(10 * SEC, 300 * SEC);
            sim.after(wait, Event::Step(Step::Unmask(unit)));
        }
    }
}

/// A card lies before somebody, who may not look in time while there is trouble.
pub fn is_asked(sim: &mut Sim, incident: IncidentId, unit: UnitName, action: Action) {
    let nobody_is_there = !sim.mended && sim.swarm.operator_every == 0;
    if nobody_is_there || !sim.mended && sim.rng.chance(20) {
        return;
    }
    let longest = if sim.mended { 50 } else { 700 };
    let wait = sim.rng.range(SEC, longest * SEC);
    sim.after(wait, Event::Step(Step::Answer { incident, unit, action }));
}

/// Who says no takes it in hand.
pub fn answer(sim: &mut Sim, incident: IncidentId, unit: UnitName, action: Action) {
    if sim.mended || sim.rng.chance(75) {
        return sim.ask(Ask::Approve { incident, action, asked: None });
    }
    sim.ask(Ask::Reject { incident, action, reason: "not now".into(), asked: None });
    let wait = sim.rng.range(SEC, 120 * SEC);
    sim.after(wait, Event::Step(Step::Restart(unit)));
}

/// What was rejected and failed again since then is nobody's but the operator's.
pub fn take_in_hand_what_was_rejected(sim: &mut Sim) {
    let now = sim.clock();
    let Some(engine) = sim.engine.as_ref() else { return };
    let rejected = |unit: &UnitName| {
        let explained = engine.explain(&Target::Unit(unit.clone()), now).pop();
        let incident = explained.and_then(|explained| explained.incident);
        incident.is_some_and(|incident| incident.is_open() && !incident.rejected.is_empty())
    };
    let units: Vec<UnitName> = sim.unit_names().into_iter().filter(rejected).collect();
    for unit in units {
        sim.after(SEC, Event::Step(Step::Restart(unit)));
    }
}

/// Knowledge of another host, in which any action helps against anything; and a pattern that goes before incidents there.
fn teach(sim: &mut Sim, unit: &UnitName) {
    let worker = sim.settings.worker_of(unit.as_str()).map(|worker| worker.name.clone());
    if sim.rng.chance(30) {
        return sim.ask(Ask::ForgetStrategies { worker });
    }
    let mut known = Vec::new();
    for condition in Condition::ALL {
        let mut actions = BTreeMap::new();
        for action in Action::ALL {
            let tries = sim.rng.range(0, 20);
            let successes = sim.rng.range(0, tries + 1);
            let (helped, failed) = (successes as f64, (tries - successes) as f64);
            actions.insert(*action, Evidence { helped, failed, tries, successes, ..Evidence::default() });
        }
        known.push(Known {
            case: Case { worker: worker.clone(), condition: *condition, pattern: None },
            from: None,
            actions,
        });
    }
    let from = Provenance { host: "elsewhere".into(), exported: sim.clock().wall, version: "0.1.0".into() };
    sim.ask(Ask::ImportStrategies { export: Export { format: EXPORT_FORMAT.into(), from, known } });
    let warns = Some(Warns { of: 10.0, followed: 9.0, lead: Duration::from_secs(300) });
    let (at, template) = (sim.clock().mono, "it is about to fail".into());
    let seen = PatternSeen { unit: unit.clone(), pattern: PatternId(1), template, at, count: 1, usual: 0.0, warns };
    sim.deliver(Input::Patterns { seen: vec![seen] });
    let hours = Cluster { from: 3, length: 1, within: 9, of: 10, chance: 0.001, like_others: false };
    let until = at + Duration::from_secs(sim.rng.range(0, 7_200));
    let ahead = HoursAhead { unit: unit.clone(), hours, days: None, dates: 11, failed: 9, until };
    sim.deliver(Input::Hours { ahead: vec![ahead] });
}

/// New settings are in force, and all units are looked at anew.
pub fn configure(sim: &mut Sim, settings: Settings) {
    // What went down while it belonged to no worker is nobody's to bring back.
    for unit in sim.host.units.values_mut().filter(|unit| unit.is_down()) {
        if sim.settings.worker_of(unit.name.as_str()).is_none() {
            unit.want = Want::Open;
        }
    }
    sim.settings = settings.clone();
    sim.deliver(Input::Reload { settings: Box::new(settings), by: None });
    sim.resync(ResyncReason::SettingsChanged);
}

/// That one which we started and remember as ours was started anew while we were away cannot be seen.
fn ours_unseen(sim: &Sim, name: &UnitName) -> bool {
    sim.engine.is_none() && sim.store.safety.owned.iter().any(|owned| owned.unit == *name)
}

pub fn start(sim: &mut Sim, name: &UnitName) {
    let ours = ours_unseen(sim, name);
    let ran = matches!(sim.host.units[name].phase, Phase::Running | Phase::Starting);
    sim.host.start(name);
    let unit = sim.host.unit(name);
    if ran {
        // Nothing happens, and nothing is said by it.
        return settle(sim);
    }
    // Refused by the mask or by the start limit: nobody can tell from outside that it was wanted.
    // Started while we were away, of one that we remember as stopped: it is left to people if it fails again.
    let remembered =
        |(name, wanted): &(UnitName, Wanted)| *name == unit.name && matches!(wanted, Wanted::Stopped { .. });
    let unseen = sim.engine.is_none() && sim.store.safety.wanted.iter().any(remembered);
    let tried = !unseen && !ours && !unit.masked && unit.phase != Phase::Failed && !unit.spec.oneshot;
    unit.want = if tried { Want::Run } else { Want::Open };
    unit.want_since = sim.now;
    settle(sim);
}

pub fn restart(sim: &mut Sim, name: &UnitName) {
    let masked = sim.host.units[name].masked;
    let ours = ours_unseen(sim, name);
    sim.host.restart(name);
    let unit = sim.host.unit(name);
    unit.want = if ours || masked || unit.phase == Phase::Failed || unit.spec.oneshot { Want::Open } else { Want::Run };
    unit.want_since = sim.now;
    settle(sim);
}

pub fn stop(sim: &mut Sim, name: &UnitName) {
    let watched = sim.settings.worker_of(name.as_str()).is_some();
    let seen = watched && sim.engine.is_some() && sim.bus_up && sim.known.sighted;
    // A unit that we never got to know and that systemd unloads leaves nothing to inquire into.
    let unknown = !sim.store.safety.wanted.iter().any(|(unit, _)| unit == name);
    let unit = sim.host.unit(name);
    let down = unit.is_down() || !seen && unknown && unit.spec.collected;
    let oneshot = unit.spec.oneshot;
    sim.host.stop(name);
    let unit = sim.host.unit(name);
    // A stop of what is down leaves no trace but a short job.
    unit.want = if oneshot || down && !seen { Want::Open } else { Want::Stopped };
    unit.want_since = sim.now;
    settle(sim);
}

fn settle(sim: &mut Sim) {
    sim.ship_signals();
}
