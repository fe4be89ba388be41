//! A replay of what the daemon recorded on a real host tells the story that the history tells.

use unitmedic::app::replay::ReplayReport;
use unitmedic::model::history::Summary;

use crate::fixture::{AS_THE_DAEMON, CONFIG, DAEMON, LIMIT, SLEEPER, Setup, ensure, until};
use crate::testhost::{Failure, Place};

#[test]
fn a_replay_tells_the_story_of_the_history() -> Result<(), Failure> {
    let mut setup = Setup::new("replayed");
    for name in ["mail", "db", "web", "job"] {
        setup = setup.worker(name, &format!("{name}.service"), SLEEPER);
    }
    let host = setup.start()?;
    for unit in ["mail.service", "db.service"] {
        host.kill(unit)?;
        host.wait_recovered(unit, 1)?;
    }
    // Another life of the daemon, and one that ends in the middle of a line, perhaps.
    host.ctl(&["restart", DAEMON])?;
    host.kill("web.service")?;
    host.wait_recovered("web.service", 1)?;
    host.ctl(&["kill", "--signal=KILL", DAEMON])?;
    until("it is back", LIMIT, || host.status())?;
    host.kill("job.service")?;
    host.wait_recovered("job.service", 1)?;

    let summary: Summary = host.json(&["history", "--summary", "--json"])?;
    // What has been decided last may not be on the disk yet.
    let report = until("the recording is on the disk", LIMIT, || {
        let report: ReplayReport = host.json(&["replay", "--json"])?;
        if report.deviations.orders >= 4 { Ok(report) } else { Err(Failure::new(format!("{report:#?}"))) }
    })?;
    ensure(report.is_reproduced(), || format!("{:#?}", report.deviations))?;
    ensure(report.recording.lives == 3 && report.deviations.orders == 4, || format!("{report:#?}"))?;
    ensure(report.baseline == report.candidate && report.differences_in_all == 0, || format!("{report:#?}"))?;
    ensure(report.baseline.actions.get("restart") == Some(&4), || format!("{:#?}", report.baseline))?;
    ensure(report.baseline.succeeded == summary.all.succeeded, || format!("{summary:#?} {:#?}", report.baseline))?;
    let (mean, median) = (summary.all.mean_time_to_recover, report.baseline.time_to_recover.median);
    let close = mean.zip(median).is_some_and(|(mean, median)| median < 3 * mean && mean < 10 * median);
    ensure(close, || format!("{mean:?} in the history, {median:?} in the replay"))?;

    host.sh(&format!("sed 's/^.daemon.$/&\\ndry_run = true/' {CONFIG} > /etc/unitmedic/new.toml"))?;
    let dry: ReplayReport = host.json(&["replay", "--config", "/etc/unitmedic/new.toml", "--json"])?;
    ensure(dry.candidate.actions_in_all() == 0 && dry.withheld == 4, || format!("{dry:#?}"))?;
    ensure(dry.candidate.suppressed.contains_key("dry_run"), || format!("{dry:#?}"))?;
    let told = host.unitmedic(&["replay", "--config", "/etc/unitmedic/new.toml"])?.success()?;
    ensure(told.contains("4 recorded orders would not have been given") && told.contains("dry_run"), || told)?;
    host.done()
}

#[test]
fn who_may_not_read_the_recording_is_told_what_to_do() -> Result<(), Failure> {
    let host = Setup::new("unreadable").worker("mail", "mail.service", SLEEPER).start()?;
    let stranger = host.run(&["setpriv", "--reuid", "nobody", "--clear-groups", "unitmedic", "replay"])?;
    ensure(stranger.status.code() == Some(77), || stranger.stderr.clone())?;
    ensure(stranger.stderr.contains("run it as root, or as a member"), || stranger.stderr.clone())?;
    until("the group may read it", LIMIT, || host.run(&[AS_THE_DAEMON, &["unitmedic", "replay"]].concat())?.success())?;
    host.write("/etc/unitmedic/wrong.toml", "[defaults]\ncpu_treshold = 5\n")?;
    let wrong = host.unitmedic(&["replay", "--config", "/etc/unitmedic/wrong.toml"])?;
    ensure(wrong.status.code() == Some(78) && wrong.stderr.contains("wrong.toml:2"), || wrong.stderr.clone())?;
    let nowhere = host.unitmedic(&["replay", "--recordings", "/nowhere"])?;
    ensure(nowhere.status.code() == Some(1) && nowhere.stderr.contains("/nowhere"), || nowhere.stderr.clone())?;
    host.done()
}
