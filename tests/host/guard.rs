//! What holds unitmedic back, and what an operator asks of it.

use unitmedic::model::fact::Gate;
use unitmedic::model::{Action, Health, Outcome};

use crate::fixture::{CONFIG, DAEMON, Host, LIMIT, SLEEPER, Setup, ensure, until};
use crate::testhost::{Failure, Place};

/// Waits until a gate is named as the reason why the dead unit is left down.
fn wait_refused(host: &Host, unit: &str, gate: Gate) -> Result<(), Failure> {
    until(&format!("{unit} is refused by {gate}"), LIMIT, || {
        let incidents = host.incidents(unit)?;
        let waiting = incidents.first().and_then(|incident| incident.waiting.as_ref());
        match waiting {
            Some(refusal) if refusal.gate == gate => Ok(()),
            _ => Err(Failure::new(format!("{incidents:#?}"))),
        }
    })?;
    let state = host.property(unit, "ActiveState")?;
    ensure(state == "failed", || format!("{unit} is {state}"))
}

#[test]
fn the_hold_file_pauses_and_a_dry_run() -> Result<(), Failure> {
    let host =
        Setup::new("held").worker("mail", "mail.service", SLEEPER).worker("web", "web.service", SLEEPER).start()?;
    host.write("/run/unitmedic/hold", "")?;
    host.kill("mail.service")?;
    wait_refused(&host, "mail.service", Gate::Hold)?;
    ensure(host.status()?.held, || "not held".into())?;
    // The file outlives a restart of the daemon.
    host.ctl(&["restart", DAEMON])?;
    until("it is held again", LIMIT, || if host.status()?.held { Ok(()) } else { Err(Failure::from("not held")) })?;
    ensure(host.property("mail.service", "ActiveState")? == "failed", || "it acted".into())?;
    host.sh("rm /run/unitmedic/hold")?;
    host.wait_recovered("mail.service", 1)?;

    // A pause with an end.
    host.unitmedic(&["pause", "mail", "--for", "3s", "--reason", "upgrade"])?.success()?;
    host.kill("mail.service")?;
    wait_refused(&host, "mail.service", Gate::Maintenance)?;
    host.prove_awake()?;
    host.wait_active("mail.service", LIMIT)?;
    ensure(host.status()?.pauses.is_empty(), || "the pause did not end".into())?;

    // Without one: until it is resumed; it outlives a restart.
    host.unitmedic(&["pause", "--all"])?.success()?;
    host.kill("web.service")?;
    wait_refused(&host, "web.service", Gate::Maintenance)?;
    host.ctl(&["restart", DAEMON])?;
    wait_refused(&host, "web.service", Gate::Maintenance)?;
    host.unitmedic(&["resume", "--all"])?.success()?;
    host.wait_recovered("web.service", 1)?;

    // Dry run, put in force by a reload.
    host.write(CONFIG, &host.config.replace("[daemon]\n", "[daemon]\ndry_run = true\n"))?;
    host.ctl(&["reload", DAEMON])?;
    until("it runs dry", LIMIT, || if host.status()?.dry_run { Ok(()) } else { Err(Failure::from("not yet")) })?;
    host.kill("web.service")?;
    wait_refused(&host, "web.service", Gate::DryRun)?;
    host.done()
}

#[test]
fn recover_shows_progress_and_tells_by_its_exit_code() -> Result<(), Failure> {
    let host = Setup::new("recover")
        .worker("mail", "mail.service", SLEEPER)
        .worker("stopped", "stopped.service", SLEEPER)
        .start()?;
    let before = host.activation("mail.service")?;
    let output = host.unitmedic(&["recover", "mail", "--action", "restart"])?;
    ensure(output.code() == Some(0), || format!("{output:?}"))?;
    ensure(output.stdout.contains("It helped"), || output.stdout.clone())?;
    ensure(host.activation("mail.service")? != before, || "it was not restarted".into())?;

    host.ctl(&["stop", "stopped.service"])?;
    host.wait_health("stopped.service", Health::Stopped)?;
    let output = host.unitmedic(&["recover", "stopped.service", "--action", "restart"])?;
    ensure(output.code() == Some(3), || format!("{output:?}"))?;
    ensure(output.stdout.contains("gate stopped"), || output.stdout.clone())?;
    host.assert_left_stopped("stopped.service")?;

    let output = host.unitmedic(&["recover", "nobody.service", "--action", "restart"])?;
    ensure(output.code() == Some(64), || format!("{output:?}"))?;
    host.ctl(&["stop", DAEMON])?;
    let output = host.unitmedic(&["status"])?;
    ensure(output.code() == Some(69), || format!("{output:?}"))?;
    host.done()
}

#[test]
fn a_graceful_restart_lets_the_worker_finish_but_not_for_ever() -> Result<(), Failure> {
    let finishes = "[Service]\nExecStart=sh -c 'trap \"sleep 1; echo finished > /run/finished; exit 0\" TERM; while :; do sleep 0.1; done'\n";
    let ignores = "[Service]\nExecStart=sh -c 'trap \"\" TERM; while :; do sleep 0.1; done'\nTimeoutStopSec=1\n";
    let limit = "drain_timeout = \"2s\"";
    let host = Setup::new("graceful")
        .worker_with("finishes", "finishes.service", finishes, limit)
        .worker_with("ignores", "ignores.service", ignores, limit)
        .start()?;
    for unit in ["finishes.service", "ignores.service"] {
        let before = host.activation(unit)?;
        let output = host.unitmedic(&["recover", unit, "--action", "graceful_restart"])?;
        ensure(output.code() == Some(0), || format!("{output:?}"))?;
        ensure(host.activation(unit)? != before, || format!("{unit} was not restarted"))?;
        let history = host.history()?;
        let last = history.iter().find(|recovery| recovery.unit.as_str() == unit).ok_or("not in the history")?;
        ensure(last.action == Action::GracefulRestart && last.outcome == Outcome::Succeeded, || format!("{last:?}"))?;
        ensure(host.incidents(unit)?.len() == 1, || format!("{:#?}", host.incidents(unit)))?;
    }
    ensure(host.read("/run/finished")? == "finished\n", || "it was not let finish".into())?;
    ensure(host.property("finishes.service", "Result")? == "success", || "it was killed".into())?;
    host.done()
}
