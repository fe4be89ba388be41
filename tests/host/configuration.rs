//! Configuration: what is wrong is refused, what changes is taken over, what is missing is waited for.

use unitmedic::model::status::Status;
use unitmedic::model::{Health, Incident};

use crate::fixture::{AS_THE_DAEMON, CONFIG, DAEMON, LIMIT, SLEEPER, Setup, ensure, read_json, until};
use crate::testhost::{Failure, Place};

#[test]
fn a_wrong_file_is_refused_at_start_and_harmless_at_reload() -> Result<(), Failure> {
    let host = Setup::new("wrong").worker("mail", "mail.service", SLEEPER).unit("web.service", SLEEPER).boot()?;
    let wrong = host.config.replace("backoff", "backof");
    host.write(CONFIG, &wrong)?;
    ensure(host.run(&["systemctl", "start", DAEMON])?.code() == Some(1), || "it started".into())?;
    host.wait_property(DAEMON, "ActiveState", "failed", LIMIT)?;
    ensure(host.property(DAEMON, "ExecMainStatus")? == "78", || "another exit code".into())?;
    ensure(host.property(DAEMON, "NRestarts")? == "0", || "it is tried again".into())?;
    ensure(host.sh("ls -A /run/unitmedic /var/lib/unitmedic")?.lines().all(|line| !line.contains('.')), || {
        "something was bound or made".into()
    })?;
    let journal = host.journal(&["--unit", DAEMON])?;
    let line = wrong.lines().position(|line| line.starts_with("backof ")).ok_or("no such line")? + 1;
    let told = format!("{CONFIG}:{line}: unknown key \"backof\"");
    ensure(journal.contains(&told) && journal.contains("did you mean \"backoff\"?"), || journal)?;
    ensure(host.unitmedic(&["check-config"])?.code() == Some(78), || "check-config says otherwise".into())?;

    host.write(CONFIG, &host.config)?;
    ensure(host.unitmedic(&["check-config"])?.code() == Some(0), || "check-config says otherwise".into())?;
    host.start_daemon()?;
    host.ctl(&["start", "web.service"])?;
    let more = format!("{}\n[worker.web]\nunit = \"web.service\"\n", host.config);
    host.write(CONFIG, &more)?;
    host.ctl(&["reload", DAEMON])?;
    host.wait_health("web.service", Health::Healthy)?;
    host.write(CONFIG, &more.replace("backoff", "backof"))?;
    host.ctl(&["reload", DAEMON])?;
    until("the bad file is told of", LIMIT, || match host.journal(&["--unit", DAEMON])? {
        journal if journal.contains("the one in force stays in force") => Ok(()),
        journal => Err(Failure::from(journal)),
    })?;
    host.kill("web.service")?;
    host.wait_recovered("web.service", 1)?;
    host.wait_active(DAEMON, LIMIT)?;
    host.done()
}

#[test]
fn a_unit_that_does_not_exist_is_shown_and_picked_up_when_it_appears() -> Result<(), Failure> {
    let host = Setup::new("missing").start()?;
    let more = format!("{}\n[worker.late]\nunit = \"late.service\"\n", host.config);
    host.write(CONFIG, &more)?;
    host.ctl(&["reload", DAEMON])?;
    let instance =
        host.wait_instance("late.service", "not found", |instance| instance.because.contains("not found"))?;
    ensure(instance.health == Health::Unknown, || format!("{instance:?}"))?;
    let series = "unitmedic_unit_health{worker=\"late\",unit=\"late.service\",health=\"unknown\"}";
    until("the metrics have it", LIMIT, || match host.metric(series)? {
        Some(1.0) => Ok(()),
        other => Err(Failure::new(format!("{other:?}"))),
    })?;
    host.install_unit("late.service", SLEEPER)?;
    host.ctl(&["start", "late.service"])?;
    host.wait_health("late.service", Health::Healthy)?;
    host.kill("late.service")?;
    host.wait_recovered("late.service", 1)?;

    // A second daemon on the same state.
    let pid = host.main_pid(DAEMON)?;
    let output = host.run(&[AS_THE_DAEMON, &["unitmedic", "run"]].concat())?;
    ensure(!output.ok() && output.stderr.contains(&pid.to_string()), || format!("{output:?}"))?;
    host.prove_awake()?;
    host.done()
}

#[test]
fn a_user_has_a_medic_of_his_own() -> Result<(), Failure> {
    let host = Setup::new("user").boot()?;
    let session = host.session()?;
    let config = host.config.replace("canary.service", "mine.service");
    session.write(&format!("{}/.config/unitmedic/unitmedic.toml", session.home()), &config)?;
    session.install_unit("mine.service", SLEEPER)?;
    session.ctl(&["start", "mine.service"])?;
    let mut daemon = session.spawn(&["unitmedic", "run", "--user"])?;
    daemon.wait_output("began to watch", LIMIT)?;
    let healthy = |session: &crate::testhost::UserSession<'_>| -> Result<(), Failure> {
        let status: Status = read_json(session, &["status", "--user", "--json"])?;
        let all = status.ready && status.workers.iter().all(|worker| worker.health == Health::Healthy);
        if all { Ok(()) } else { Err(Failure::new(format!("{status:?}"))) }
    };
    until("it watches", LIMIT, || healthy(&session))?;
    let pid = session.main_pid("mine.service")?;
    session.sh(&format!("kill -KILL {pid}"))?;
    until("it is brought back", LIMIT, || {
        let incidents: Vec<Incident> = read_json(&session, &["incidents", "--user", "--json"])?;
        if incidents.len() == 1 && !incidents[0].is_open() {
            Ok(())
        } else {
            Err(Failure::new(format!("{incidents:?}")))
        }
    })?;
    session.wait_active("mine.service", LIMIT)?;
    ensure(host.run(&["curl", "-sS", "http://127.0.0.1:10119/metrics"])?.code() == Some(7), || {
        "a port is open".into()
    })?;
    let output = daemon.stop(LIMIT)?;
    ensure(output.code() == Some(0), || format!("{output:?}"))?;
    host.done()
}
