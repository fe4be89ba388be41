//! Recorded runs of the simulator, replayed: the same settings decide the same, and others differ as they must.

use std::path::Path;
use std::time::Duration;

use unitmedic::adapters::store::recorder::{Header, Recorder, inputs_dir};
use unitmedic::app::replay::{Options, ReplayReport, replay};
use unitmedic::model::settings::DaemonSettings;
use unitmedic::model::{Settings, WorkerSettings};

use crate::driver::{BOOT, Sim};

/// Runs that are recorded and replayed in a plain test run.
const SEEDS: u64 = 40;

/// Runs that are replayed with settings of all kinds.
const OTHERS: u64 = 8;

/// A ring that is large enough for a whole run.
pub fn recorder(state_dir: &Path, sim: &Sim) -> Recorder {
    let daemon = DaemonSettings { state_dir: state_dir.into(), record_bytes: 1 << 30, ..DaemonSettings::default() };
    // The first life begins with a header of its own, which takes the place of this one.
    Recorder::open(&daemon, Header::new(BOOT, sim.clock(), sim.settings.clone(), serde_json::Value::Null))
}

fn again(state_dir: &Path, settings: &Settings) -> ReplayReport {
    replay(&inputs_dir(state_dir), settings, &Options::default(), &mut |_| {}).expect("a recording")
}

#[test]
fn the_same_settings_decide_the_same() {
    let (mut same, mut orders) = (0, 0);
    let from = crate::number("SIM_FROM").unwrap_or(1);
    let seeds = crate::number("SIM_SEEDS").unwrap_or(SEEDS);
    for seed in from..from + seeds {
        let dir = tempfile::tempdir().expect("a directory");
        let begun = crate::scene_of(seed);
        let sim = crate::run_recorded(seed, 1, Some(dir.path()));
        assert_eq!(sim.recorder.as_ref().map(|recorder| recorder.stats().dropped), Some(0));
        let report = again(dir.path(), &begun);
        assert!(report.is_reproduced(), "seed {seed}: {:#?}", report.deviations);
        assert_eq!(report.deviations.orders, sim.orders, "seed {seed}: every order of the run is given again");
        orders += report.deviations.orders;
        // A run that began as a dry one ends as a real one, and some change their settings midway.
        if report.recording.reloads == 0 && !begun.daemon.dry_run {
            same += 1;
            assert_eq!(report.differences_in_all, 0, "seed {seed}: {:#?}", report.differences);
            assert_eq!((report.candidate.supposed, report.withheld), (0, 0), "seed {seed}");
            assert_eq!(report.baseline, report.candidate, "seed {seed}");
        }
    }
    println!("{orders} orders, {same} runs with the same settings all along");
    assert!(orders > 10 * seeds && same > seeds / 3, "{orders} orders, {same} runs");
}

fn changed(settings: &Settings, change: fn(&mut WorkerSettings)) -> Settings {
    let mut changed = settings.clone();
    changed.workers.values_mut().for_each(change);
    changed
}

#[test]
fn other_settings_differ_as_they_must() {
    let (mut withheld, mut supposed, mut less) = (0, 0, 0);
    for seed in 1..=OTHERS {
        let dir = tempfile::tempdir().expect("a directory");
        let begun = crate::scene_of(seed);
        let sim = crate::run_recorded(seed, 1, Some(dir.path()));
        let mut dry = begun.clone();
        dry.daemon.dry_run = true;
        let report = again(dir.path(), &dry);
        // What an operator forces is done in a dry run, too.
        assert!(report.candidate.actions_in_all() <= sim.forced, "seed {seed}: {} forced", sim.forced);
        let done = report.candidate.actions_in_all() - report.candidate.supposed;
        // An action may take several orders: a stop and a start, and what was refused is asked for again.
        assert!(report.withheld + 3 * done >= report.deviations.orders, "seed {seed}: {} withheld", report.withheld);
        withheld += report.withheld;
        let patient = changed(&begun, |worker| {
            (worker.max_restart_attempts, worker.restart_cooldown) = (1, Duration::from_secs(3600));
        });
        let eager = changed(&begun, |worker| {
            (worker.max_restart_attempts, worker.restart_cooldown) = (9, Duration::from_secs(10));
            (worker.memory_threshold, worker.cpu_threshold, worker.allow_downtime) = (40.0, 40.0, true);
            worker.warning_patience = Duration::from_secs(10);
        });
        for (name, settings) in [("patient", &patient), ("eager", &eager)] {
            let report = again(dir.path(), settings);
            let (of_these, actions) = report.supposed();
            println!(
                "seed {seed}, {name}: {} actions, then {actions}, {of_these} supposed",
                report.baseline.actions_in_all()
            );
            assert!(report.is_reproduced() && of_these <= actions, "seed {seed}, {name}");
            supposed += of_these;
            less += u64::from(name == "patient" && actions < report.baseline.actions_in_all());
        }
    }
    assert!(withheld > 50 && supposed > 50 && less > OTHERS / 2, "{withheld} {supposed} {less}");
}
