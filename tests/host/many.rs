//! Templates: many instances, instances that come and go by hand, and those that must be there.

use std::time::Duration;

use unitmedic::model::{Health, Resolution};

use crate::fixture::{LIMIT, SLEEPER, Setup, ensure, until};
use crate::testhost::{Failure, Place};

const MANY: usize = 200;

#[test]
fn two_hundred_that_die_at_once_are_all_back_after_one_restart_each() -> Result<(), Failure> {
    let host = Setup::new("many").worker("w", "w@.service", SLEEPER).start()?;
    host.sh(&format!("systemctl start $(seq -f 'w@%g.service' 1 {MANY})"))?;
    until("all are seen", LIMIT, || {
        let status = host.status()?;
        let worker = status.workers.into_iter().find(|worker| worker.worker.as_str() == "w");
        let healthy = worker.map_or(0, |worker| worker.healthy);
        if healthy == MANY { Ok(()) } else { Err(Failure::new(format!("{healthy}"))) }
    })?;
    let number = "systemctl show --value --property=InvocationID 'w@*.service' | sed '/^$/d' | sort -u";
    host.sh(&format!("{number} > /run/before; systemctl kill --signal=KILL 'w@*.service'"))?;
    until("all are back, once", Duration::from_secs(60), || {
        let status = host.status()?;
        let worker = status.workers.iter().find(|worker| worker.worker.as_str() == "w").ok_or("no worker")?;
        let back = worker.instances.iter().filter(|i| i.restarts.get("unitmedic") == Some(&1)).count();
        let all = worker.healthy == MANY && back == MANY && status.open_incidents == 0;
        if all { Ok(()) } else { Err(Failure::new(format!("{} healthy, {back} back", worker.healthy))) }
    })?;
    ensure(host.sh("systemctl list-units --no-legend --state=active 'w@*.service' | wc -l")? == "200", || {
        "systemd says otherwise".into()
    })?;
    let started = host.sh("journalctl --quiet --output=cat _PID=1 | grep -c '^Started w@'")?;
    ensure(started == "400", || format!("{started} starts, not one by hand and one by us each"))?;
    let again = host.sh(&format!("{number} > /run/after; comm -12 /run/before /run/after | wc -l"))?;
    ensure(again == "0", || format!("{again} are those from before"))?;
    let history = host.history()?;
    ensure(history.len() == MANY, || format!("{} in the history", history.len()))?;
    host.done()
}

#[test]
fn a_template_that_people_scale_by_hand() -> Result<(), Failure> {
    let host = Setup::new("scaled")
        .worker("free", "free@.service", SLEEPER)
        .starting("free@1.service")
        .starting("free@2.service")
        .starting("free@3.service")
        .worker_with("pool", "pool@.service", SLEEPER, "min_instances = 3\nmax_instances = 5")
        .start()?;
    // Nobody started them: the configuration wants three.
    for unit in ["pool@1.service", "pool@2.service", "pool@3.service"] {
        host.wait_active(unit, LIMIT)?;
        host.wait_closed(unit, 1)?;
    }
    host.ctl(&["start", "free@4.service", "pool@4.service"])?;
    host.ctl(&["stop", "free@2.service", "pool@2.service"])?;
    for unit in ["free@4.service", "pool@4.service"] {
        host.wait_health(unit, Health::Healthy)?;
        host.kill(unit)?;
        host.wait_recovered(unit, 1)?;
    }
    host.ctl(&["daemon-reload"])?;
    host.prove_awake()?;
    for unit in ["free@2.service", "pool@2.service"] {
        host.assert_left_stopped(unit)?;
    }
    for never in ["free@5.service", "pool@5.service"] {
        ensure(host.property(never, "ActiveState")? == "inactive", || {
            format!("{never} replaces the one that was stopped")
        })?;
    }
    for unit in ["pool@1.service", "pool@3.service", "free@1.service", "free@3.service"] {
        ensure(host.property(unit, "ActiveState")? == "active", || format!("{unit} is not active"))?;
    }
    ensure(host.incidents("pool@1.service")?[0].resolution == Some(Resolution::Recovered), || {
        format!("{:#?}", host.incidents("pool@1.service"))
    })?;
    host.done()
}
