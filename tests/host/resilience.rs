//! systemd, the bus and unitmedic itself go away and come back.

use std::time::Duration;

use unitmedic::model::{Health, Outcome};

use crate::fixture::{DAEMON, LIMIT, SLEEPER, Setup, ensure, until};
use crate::testhost::{Failure, Place};

/// Needs seconds to come up.
const SLOW_START: &str = "[Service]\nType=notify\nNotifyAccess=all\n\
                          ExecStart=sh -c 'sleep 3; systemd-notify --ready; exec sleep infinity'\n";

#[test]
fn reload_and_reexec_of_systemd_are_no_failures() -> Result<(), Failure> {
    let host = Setup::new("reexec").worker("mail", "mail.service", SLEEPER).start()?;
    let before = host.activation("mail.service")?;
    host.ctl(&["daemon-reload"])?;
    host.prove_awake()?;
    host.ctl(&["daemon-reexec"])?;
    host.prove_awake()?;
    host.ctl(&["daemon-reload"])?;
    host.wait_health("mail.service", Health::Healthy)?;
    host.assert_untouched("mail.service")?;
    ensure(host.activation("mail.service")? == before, || "it was restarted".into())?;
    ensure(host.incidents("mail.service")?.is_empty(), || "it has an incident".into())?;
    host.kill("mail.service")?;
    host.wait_recovered("mail.service", 1)?;
    host.done()
}

#[test]
fn without_the_bus_nothing_is_decided_and_after_it_everything_is_right() -> Result<(), Failure> {
    let host = Setup::new("bus")
        .worker("died", "died.service", SLEEPER)
        .worker("stopped", "stopped.service", SLEEPER)
        .worker("steady", "steady.service", SLEEPER)
        .start()?;
    ensure(host.http("/-/ready")?.0 == 200, || "not ready".into())?;
    let steady = host.activation("steady.service")?;
    host.ctl(&["stop", "dbus.socket", "dbus.service"])?;
    until("it is not ready", LIMIT, || match host.http("/-/ready")? {
        (503, _) => Ok(()),
        other => Err(Failure::new(format!("{other:?}"))),
    })?;
    ensure(host.metric("unitmedic_up")? == Some(0.0), || format!("up {:?}", host.metric("unitmedic_up")))?;
    let stale = host.metric("unitmedic_unit_health{worker=\"died\",unit=\"died.service\",health=\"healthy\"}")?;
    ensure(stale.is_none(), || format!("series of units stay: {stale:?}"))?;
    host.kill("died.service")?;
    host.ctl(&["stop", "stopped.service"])?;
    ensure(!host.status()?.ready, || "ready without a bus".into())?;
    host.ctl(&["start", "dbus.socket", "dbus.service"])?;
    host.wait_recovered("died.service", 1)?;
    ensure(host.http("/-/ready")?.0 == 200, || "not ready".into())?;
    ensure(host.metric("unitmedic_up")? == Some(1.0), || "not up".into())?;
    host.assert_left_stopped("stopped.service")?;
    host.assert_untouched("stopped.service")?;

    // And the way that a careless upgrade does it.
    host.ctl(&["restart", "dbus.service"])?;
    until("it is ready again", LIMIT, || match host.status()? {
        status if status.ready => Ok(()),
        status => Err(Failure::new(format!("{:?}", status.not_ready))),
    })?;
    host.prove_awake()?;
    host.sh("systemctl kill --signal=KILL dbus.service")?;
    until("the bus is lost and found", LIMIT, || match host.journal(&["UNITMEDIC_EVENT=bus_lost"])? {
        told if told.lines().count() >= 3 && host.status()?.ready => Ok(()),
        told => Err(Failure::new(told)),
    })?;
    host.prove_awake()?;
    host.assert_untouched("steady.service")?;
    ensure(host.activation("steady.service")? == steady, || "it was restarted".into())?;
    host.done()
}

#[test]
fn no_bus_at_start_is_waited_for() -> Result<(), Failure> {
    let host = Setup::new("no-bus").worker("mail", "mail.service", SLEEPER).boot()?;
    host.ctl(&["stop", "dbus.socket", "dbus.service"])?;
    host.ctl(&["start", "--no-block", DAEMON])?;
    until("it says that it is not ready", LIMIT, || match host.http("/-/ready")? {
        (503, text) if !text.is_empty() => Ok(()),
        other => Err(Failure::new(format!("{other:?}"))),
    })?;
    host.kill("mail.service")?;
    host.ctl(&["start", "dbus.socket", "dbus.service"])?;
    host.wait_active(DAEMON, LIMIT)?;
    host.wait_recovered("mail.service", 1)?;
    ensure(host.http("/-/ready")?.0 == 200, || "not ready".into())?;
    host.done()
}

#[test]
fn an_act_that_we_died_over_is_verified_and_not_repeated_and_three_deaths_are_enough() -> Result<(), Failure> {
    let host = Setup::new("died").worker("slow", "slow.service", SLOW_START).start()?;
    host.kill("slow.service")?;
    host.wait_property("slow.service", "ActiveState", "activating", LIMIT)?;
    host.kill(DAEMON)?;
    let ours = host.activation("slow.service")?;
    host.wait_property(DAEMON, "NRestarts", "1", LIMIT)?;
    host.wait_active(DAEMON, LIMIT)?;
    let incident = host.wait_closed("slow.service", 1)?;
    ensure(incident.attempts.len() == 1, || format!("repeated: {incident:#?}"))?;
    // Verified, if systemd's answer was written down in time; else in doubt for ever.
    let outcome = incident.attempts[0].outcome;
    ensure(matches!(outcome, Some(Outcome::Succeeded | Outcome::InDoubt)), || format!("{incident:#?}"))?;
    ensure(host.activation("slow.service")? == ours, || "it was started again".into())?;
    ensure(host.status()?.watch_only.is_none(), || "one death is not three".into())?;

    for deaths in ["2", "3"] {
        host.kill(DAEMON)?;
        host.wait_property(DAEMON, "NRestarts", deaths, LIMIT)?;
        host.wait_active(DAEMON, LIMIT)?;
    }
    ensure(host.status()?.watch_only.is_some(), || format!("{:?}", host.status()))?;
    host.kill("slow.service")?;
    host.wait_health("slow.service", Health::Dead)?;
    // Longer than any pause of its configuration.
    let refused = until("the refusal is told", LIMIT, || {
        let journal = host.journal(&["UNITMEDIC_EVENT=action_suppressed", "UNITMEDIC_UNIT=slow.service"])?;
        if journal.is_empty() { Err(Failure::from("not told")) } else { Ok(journal) }
    })?;
    ensure(refused.contains("watch_only"), || refused)?;
    ensure(host.property("slow.service", "ActiveState")? == "failed", || "it acted".into())?;
    host.done()
}

#[test]
fn a_daemon_that_hangs_is_restarted_by_systemd() -> Result<(), Failure> {
    let host = Setup::new("hangs")
        .worker("mail", "mail.service", SLEEPER)
        .file("/etc/systemd/system/unitmedic.service.d/quick.conf", "[Service]\nWatchdogSec=2s\nTimeoutAbortSec=1s\n")
        .start()?;
    host.prove_awake()?;
    let first = host.main_pid(DAEMON)?;
    host.prove_awake()?;
    ensure(host.main_pid(DAEMON)? == first, || "it gives no sign of life".into())?;
    host.sh(&format!("kill -STOP {first}"))?;
    host.kill("mail.service")?;
    until("it is restarted", Duration::from_secs(30), || match host.property(DAEMON, "NRestarts")? {
        n if n == "1" => Ok(()),
        n => Err(Failure::from(n)),
    })?;
    host.wait_active(DAEMON, LIMIT)?;
    host.wait_recovered("mail.service", 1)?;
    let journal = host.journal(&["--unit", DAEMON, "_PID=1"])?;
    ensure(journal.contains("Watchdog timeout"), || journal)?;
    host.done()
}
