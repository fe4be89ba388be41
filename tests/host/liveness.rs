//! Workers that end, loop, or do not come up.

use std::time::Duration;

use unitmedic::model::{Condition, Health, Outcome, Resolution};

use crate::fixture::{LIMIT, SLEEPER, Setup, ensure, until};
use crate::testhost::{Failure, Place};

/// Leaves with the code that its name says, when it is told to.
const LEAVER: &str =
    "[Service]\nExecStart=sh -c 'until [ -e /run/leave-%i ]; do sleep 0.05; done; rm /run/leave-%i; exit %i'\n";

#[test]
fn whatever_ends_is_brought_back() -> Result<(), Failure> {
    let host = Setup::new("ends")
        .worker("mail", "mail.service", SLEEPER)
        .worker("asked", "asked.service", SLEEPER)
        .worker("leaver", "leaver@.service", LEAVER)
        .starting("leaver@0.service")
        .starting("leaver@1.service")
        .starting("leaver@143.service")
        .start()?;
    let ended = ["mail.service", "asked.service", "leaver@0.service", "leaver@1.service", "leaver@143.service"];
    let before: Vec<String> = ended.iter().map(|unit| host.activation(unit)).collect::<Result<_, _>>()?;

    host.kill("mail.service")?;
    let pid = host.main_pid("asked.service")?;
    host.sh(&format!("kill -TERM {pid}; touch /run/leave-0 /run/leave-1 /run/leave-143"))?;

    for (unit, before) in ended.iter().zip(before) {
        let incident = host.wait_recovered(unit, 1)?;
        ensure(incident.conditions.contains_key(&Condition::Dead), || format!("{incident:#?}"))?;
        ensure(incident.attempts.len() == 1, || format!("one start is enough: {incident:#?}"))?;
        let outcome = incident.attempts[0].outcome;
        ensure(outcome == Some(Outcome::Succeeded), || format!("{incident:#?}"))?;
        let taken = incident.time_to_recover.unwrap_or(Duration::MAX);
        ensure(taken < Duration::from_secs(5), || format!("{unit} took {taken:?}"))?;
        ensure(host.activation(unit)? != before, || format!("{unit} is still the one that ended"))?;
        let restarts = host.instance(unit)?.restarts;
        ensure(restarts == [("unitmedic".into(), 1)].into(), || format!("{unit}: {restarts:?}"))?;
    }
    let seen = &host.incidents("mail.service")?[0].conditions[&Condition::Dead].text;
    ensure(seen.contains("SIGKILL"), || seen.clone())?;
    let seen = &host.incidents("leaver@1.service")?[0].conditions[&Condition::Dead].text;
    ensure(seen.contains("exit code 1"), || seen.clone())?;
    host.done()
}

#[test]
fn what_systemd_restarts_is_left_to_it_until_it_gives_up() -> Result<(), Failure> {
    let loops = "[Unit]\nStartLimitIntervalSec=30\nStartLimitBurst=3\n\
                 [Service]\nExecStart=sh -c '[ ! -e /run/broken ] && exec sleep infinity'\nRestart=always\nRestartSec=50ms\n";
    let lasts = "[Service]\nExecStart=sleep infinity\nRestart=always\nRestartSec=500ms\n";
    let host = Setup::new("gives-up")
        .worker("loops", "loops.service", loops)
        .worker("lasts", "lasts.service", lasts)
        .start()?;

    host.kill("lasts.service")?;
    let incident = host.wait_closed("lasts.service", 1)?;
    ensure(incident.resolution == Some(Resolution::Systemd), || format!("{incident:#?}"))?;
    host.assert_untouched("lasts.service")?;
    let restarts = host.instance("lasts.service")?.restarts;
    ensure(restarts == [("systemd".into(), 1)].into(), || format!("{restarts:?}"))?;

    host.sh("touch /run/broken")?;
    host.kill("loops.service")?;
    let instance = host.wait_instance("loops.service", "crash_loop is seen", |instance| {
        instance.conditions.contains_key(&Condition::CrashLoop)
    })?;
    let text = &instance.conditions[&Condition::CrashLoop].text;
    ensure(text.contains("start limit hit"), || text.clone())?;
    host.sh("rm /run/broken")?;
    let incident = until("loops.service is well", LIMIT, || {
        let incident = host.incidents("loops.service")?.remove(0);
        if incident.is_open() { Err(Failure::new(format!("{incident:#?}"))) } else { Ok(incident) }
    })?;
    ensure(incident.attempts.last().is_some_and(|last| last.outcome == Some(Outcome::Succeeded)), || {
        format!("{incident:#?}")
    })?;
    ensure(incident.attempts.len() <= 3, || format!("{incident:#?}"))?;
    host.wait_active("loops.service", LIMIT)?;
    host.done()
}

#[test]
fn a_slow_start_is_waited_for_and_a_stuck_one_is_not() -> Result<(), Failure> {
    let slow = "[Service]\nType=notify\nNotifyAccess=all\nExecStart=sh -c 'sleep 5; systemd-notify --ready; exec sleep infinity'\n";
    let stuck = "[Service]\nType=notify\nNotifyAccess=all\nTimeoutStartSec=infinity\n\
                 ExecStart=sh -c 'mkdir /run/first || systemd-notify --ready; exec sleep infinity'\n";
    let host = Setup::new("starts")
        .idle_worker("slow", "slow.service", slow, "")
        .idle_worker("stuck", "stuck.service", stuck, "start_timeout = \"2s\"")
        .start()?;
    host.ctl(&["start", "--no-block", "slow.service", "stuck.service"])?;
    host.wait_property("slow.service", "ActiveState", "activating", LIMIT)?;
    host.wait_property("stuck.service", "ActiveState", "activating", LIMIT)?;
    let (slow_first, stuck_first) = (host.activation("slow.service")?, host.activation("stuck.service")?);

    let incident = host.wait_recovered("stuck.service", 1)?;
    ensure(incident.conditions.contains_key(&Condition::StartStuck), || format!("{incident:#?}"))?;
    ensure(incident.attempts.len() == 1, || format!("{incident:#?}"))?;
    ensure(host.activation("stuck.service")? != stuck_first, || "it was not restarted".into())?;

    host.wait_active("slow.service", LIMIT)?;
    host.wait_health("slow.service", Health::Healthy)?;
    ensure(host.activation("slow.service")? == slow_first, || "its start was disturbed".into())?;
    ensure(host.incidents("slow.service")?.is_empty(), || format!("{:#?}", host.incidents("slow.service")))?;
    host.assert_untouched("slow.service")?;
    host.done()
}
