//! What people, deployments and dependencies take down stays down.

use unitmedic::model::{Condition, Health};

use crate::fixture::{DAEMON, LIMIT, SLEEPER, Setup, ensure, until};
use crate::testhost::{Failure, Place};

/// Says no to SIGTERM; systemd kills it after a second.
const STUBBORN: &str = "[Service]\nExecStart=sh -c 'trap \"\" TERM; while :; do sleep 0.2; done'\nTimeoutStopSec=1\n";

/// Takes two seconds to stop.
const SLOW_TO_STOP: &str = "[Service]\nExecStart=sleep infinity\nExecStop=sleep 2\n";

/// Dies at once while there is `/run/broken`.
const BROKEN: &str = "[Service]\nExecStart=sh -c '[ ! -e /run/broken ] && exec sleep infinity'\n";

#[test]
fn what_an_operator_stopped_stays_down_until_he_starts_it() -> Result<(), Failure> {
    let host = Setup::new("stops")
        .worker("mail", "mail.service", SLEEPER)
        .worker("stubborn", "stubborn.service", STUBBORN)
        .worker("slow", "slow.service", SLOW_TO_STOP)
        .worker("clean", "clean@.service", SLEEPER)
        .starting("clean@1.service")
        .start()?;
    let stopped = ["mail.service", "stubborn.service", "slow.service", "clean@1.service"];
    host.ctl(&["stop", "--no-block", "slow.service"])?;
    host.wait_property("slow.service", "ActiveState", "deactivating", LIMIT)?;
    // It dies while its stop is under way.
    host.sh("systemctl kill --kill-who=main --signal=KILL slow.service")?;
    host.ctl(&["stop", "mail.service", "stubborn.service", "clean@1.service", "slow.service"])?;
    ensure(host.property("stubborn.service", "Result")? == "timeout", || "it was not killed".into())?;
    for unit in stopped {
        host.wait_health(unit, Health::Stopped)?;
    }
    host.ctl(&["daemon-reload"])?;
    host.prove_awake()?;
    host.prove_awake()?;
    for unit in stopped {
        host.assert_left_stopped(unit)?;
        host.assert_untouched(unit)?;
    }

    host.ctl(&["start", "mail.service", "stubborn.service", "clean@1.service"])?;
    for unit in ["mail.service", "stubborn.service", "clean@1.service"] {
        host.wait_health(unit, Health::Healthy)?;
        host.kill(unit)?;
    }
    for unit in ["mail.service", "stubborn.service", "clean@1.service"] {
        let count = host.incidents(unit)?.len().max(1);
        host.wait_recovered(unit, count)?;
    }
    host.assert_left_stopped("slow.service")?;
    host.done()
}

#[test]
fn a_stop_wins_while_we_act_or_wait() -> Result<(), Failure> {
    let patient = "backoff = \"2s\"\nrestart_cooldown = \"10s\"";
    let slow_start = "[Service]\nType=notify\nNotifyAccess=all\n\
                      ExecStart=sh -c 'sleep 3; systemd-notify --ready; exec sleep infinity'\n";
    let host = Setup::new("races")
        .worker_with("broken", "broken.service", BROKEN, patient)
        .worker("slow", "slow.service", slow_start)
        .worker("mail", "mail.service", SLEEPER)
        .start()?;

    // While we wait for the next attempt.
    host.sh("touch /run/broken")?;
    host.kill("broken.service")?;
    host.wait_instance("broken.service", "the first attempt failed", |_| {
        let failed = |incident: &unitmedic::model::Incident| incident.attempts.iter().any(|a| a.outcome.is_some());
        host.incidents("broken.service").is_ok_and(|incidents| incidents.iter().any(failed))
    })?;
    host.ctl(&["stop", "broken.service"])?;
    host.wait_health("broken.service", Health::Stopped)?;
    let attempts = host.incidents("broken.service")?[0].attempts.len();
    host.sh("rm /run/broken")?;

    // While the start that we asked for is under way.
    host.kill("slow.service")?;
    host.wait_property("slow.service", "ActiveState", "activating", LIMIT)?;
    host.ctl(&["stop", "slow.service"])?;
    host.wait_health("slow.service", Health::Stopped)?;

    // In the very moment of its death.
    for _ in 0..5 {
        host.ctl(&["start", "mail.service"])?;
        host.wait_health("mail.service", Health::Healthy)?;
        let pid = host.main_pid("mail.service")?;
        host.sh(&format!("kill -KILL {pid}; systemctl stop mail.service"))?;
        // A stop that falls into the two or three milliseconds between the death and our start finds nothing to stop,
        // and systemd keeps no memory of it: then the operator sees it up and stops it again.
        let seen = host.wait_instance("mail.service", "stopped, or up in a new life", |seen| {
            seen.health == Health::Stopped || (seen.health == Health::Healthy && seen.view.main_pid != pid)
        })?;
        if seen.health != Health::Stopped {
            host.ctl(&["stop", "mail.service"])?;
        }
        host.wait_health("mail.service", Health::Stopped)?;
    }
    host.ctl(&["stop", "mail.service"])?;
    host.wait_health("mail.service", Health::Stopped)?;

    host.prove_awake()?;
    host.prove_awake()?;
    for unit in ["broken.service", "slow.service", "mail.service"] {
        host.assert_left_stopped(unit)?;
    }
    let incident = &host.incidents("broken.service")?[0];
    ensure(!incident.is_open() && incident.attempts.len() == attempts, || format!("{incident:#?}"))?;
    host.done()
}

#[test]
fn what_happened_before_unitmedic_came() -> Result<(), Failure> {
    let host = Setup::new("before")
        .worker("stopped", "stopped.service", SLEEPER)
        .worker("stubborn", "stubborn.service", STUBBORN)
        .worker("failed", "failed.service", SLEEPER)
        .idle_worker("masked", "masked.service", SLEEPER, "")
        .idle_worker(
            "disabled",
            "disabled.service",
            "[Service]\nExecStart=sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
            "",
        )
        .idle_worker(
            "enabled",
            "enabled.service",
            "[Service]\nExecStart=sleep infinity\n[Install]\nWantedBy=multi-user.target\n",
            "",
        )
        .boot()?;
    host.ctl(&["stop", "stopped.service", "stubborn.service"])?;
    ensure(host.property("stubborn.service", "ActiveState")? == "failed", || "it was not killed".into())?;
    host.kill("failed.service")?;
    host.wait_property("failed.service", "ActiveState", "failed", LIMIT)?;
    host.ctl(&["mask", "--runtime", "masked.service"])
        .or_else(|_| host.sh("mv /etc/systemd/system/masked.service /root; systemctl mask masked.service"))?;
    host.ctl(&["enable", "enabled.service"])?;

    host.start_daemon()?;
    host.wait_recovered("failed.service", 1)?;
    host.wait_recovered("enabled.service", 1)?;
    host.prove_awake()?;
    for unit in ["stopped.service", "stubborn.service", "masked.service", "disabled.service"] {
        host.assert_left_stopped(unit)?;
        host.assert_untouched(unit)?;
    }

    // The same for what happens while it is away.
    host.ctl(&["stop", DAEMON])?;
    host.ctl(&["stop", "enabled.service"])?;
    host.kill("failed.service")?;
    host.wait_property("failed.service", "ActiveState", "failed", LIMIT)?;
    host.start_daemon()?;
    until("failed.service is brought back", LIMIT, || match host.property("failed.service", "ActiveState")? {
        state if state == "active" => Ok(()),
        state => Err(Failure::from(state)),
    })?;
    host.prove_awake()?;
    for unit in ["stopped.service", "stubborn.service", "enabled.service"] {
        host.assert_left_stopped(unit)?;
    }
    host.done()
}

#[test]
fn what_a_dependency_takes_down_stays_down_and_is_explained() -> Result<(), Failure> {
    let bound = "[Unit]\nBindsTo=lead.service\nAfter=lead.service\n[Service]\nExecStart=sleep infinity\n";
    let part = "[Unit]\nPartOf=lead.service\n[Service]\nExecStart=sleep infinity\n";
    let rival = "[Unit]\nConflicts=victim.service\n[Service]\nExecStart=sleep infinity\n";
    let host = Setup::new("taken-along")
        .unit("lead.service", SLEEPER)
        .unit("rival.service", rival)
        .starting("lead.service")
        .worker("bound", "bound.service", bound)
        .worker("part", "part.service", part)
        .worker("victim", "victim.service", SLEEPER)
        .start()?;
    host.ctl(&["stop", "lead.service"])?;
    host.ctl(&["start", "rival.service"])?;
    let names = [
        ("bound.service", "BindsTo=lead.service"),
        ("part.service", "PartOf=lead.service"),
        ("victim.service", "ConflictedBy=rival.service"),
    ];
    for (unit, by) in names {
        until(&format!("{unit} is explained"), LIMIT, || {
            let standing = host.explain(unit)?.standing;
            if standing.contains(by) { Ok(()) } else { Err(Failure::new(standing)) }
        })?;
    }
    let text = host.unitmedic(&["explain", "bound.service"])?.success()?;
    ensure(text.contains("BindsTo=lead.service"), || text)?;

    // A dependency that crashes takes it along by a stop job, too.
    host.ctl(&["start", "lead.service", "bound.service"])?;
    host.wait_health("bound.service", Health::Healthy)?;
    host.kill("lead.service")?;
    host.wait_health("bound.service", Health::Stopped)?;

    host.prove_awake()?;
    for (unit, _) in names {
        host.assert_left_stopped(unit)?;
        host.assert_untouched(unit)?;
    }
    host.done()
}

#[test]
fn oneshots_and_timers_are_left_to_their_own_time() -> Result<(), Failure> {
    let oneshot = "[Service]\nType=oneshot\nExecStart=sh -c '[ ! -e /run/broken ]'\n";
    let host = Setup::new("now-and-then")
        .idle_worker("job", "job.service", oneshot, "max_restart_attempts = 1")
        .idle_worker("nightly", "nightly.service", "[Service]\nExecStart=true\n", "")
        .unit("nightly.timer", "[Timer]\nOnActiveSec=3s\nOnUnitInactiveSec=1h\nAccuracySec=1ms\n")
        .idle_worker("weekly", "weekly.service", "[Service]\nExecStart=true\n", "")
        .unit("weekly.timer", "[Timer]\nOnActiveSec=1s\nOnUnitInactiveSec=1h\nAccuracySec=1ms\n")
        .starting("nightly.timer")
        .start()?;
    // One timer runs when unitmedic comes, the other is not even loaded then.
    host.ctl(&["start", "job.service", "weekly.timer"])?;
    for unit in ["nightly.service", "weekly.service"] {
        until("the timer has fired", LIMIT, || match host.property(unit, "InactiveEnterTimestampMonotonic")? {
            never if never == "0" => Err(Failure::from("never")),
            _ => Ok(()),
        })?;
    }
    host.prove_awake()?;
    for unit in ["job.service", "nightly.service", "weekly.service"] {
        host.wait_health(unit, Health::Healthy)?;
        host.assert_untouched(unit)?;
        ensure(host.incidents(unit)?.is_empty(), || format!("{unit} has an incident"))?;
    }

    host.sh("touch /run/broken; ! systemctl start job.service")?;
    let incident = until("the failed oneshot is seen", LIMIT, || {
        host.incidents("job.service")?.pop().ok_or(Failure::from("no incident"))
    })?;
    ensure(incident.conditions.contains_key(&Condition::Dead), || format!("{incident:#?}"))?;
    host.sh("rm /run/broken")?;
    host.wait_closed("job.service", 1)?;
    ensure(host.property("job.service", "ActiveState")? == "inactive", || "it failed again".into())?;
    host.done()
}
