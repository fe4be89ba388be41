//! What the daemon learns on a real host: what has not helped no longer comes first, it says why, and it outlives a restart.

use std::time::Duration;

use unitmedic::model::strategy::{Export, Strategy};
use unitmedic::model::{Action, Condition, Incident, Outcome};

use crate::fixture::{DAEMON, Host, Setup, ensure, until};
use crate::testhost::{Failure, Place};

const UNIT: &str = "beater.service";
const PATIENCE: Duration = Duration::from_secs(90);

/// Beats over a file and holds a connection, which means nothing to it; `/run/hang` stops its beats until it is started anew.
const BEATER: &str = r#"
import os, socket, threading, time
try:
    os.remove('/run/hang')
except FileNotFoundError:
    pass
listener = socket.create_server(('127.0.0.1', 5672))
kept = []
def accept():
    while True:
        kept.append(listener.accept())
threading.Thread(target=accept, daemon=True).start()
def connect():
    while True:
        try:
            with socket.create_connection(('127.0.0.1', 5672)) as one:
                one.recv(1)
        except OSError:
            pass
        time.sleep(0.1)
threading.Thread(target=connect, daemon=True).start()
while True:
    if not os.path.exists('/run/hang'):
        open('/run/alive', 'w').close()
    time.sleep(0.2)
"#;

const SETTINGS: &str = "heartbeat_file = \"/run/alive\"\nheartbeat_timeout = \"2s\"\npeers = [\"127.0.0.1:5672\"]\n\
                        start_timeout = \"1s\"\ndrain_timeout = \"2s\"\nverify_for = \"2s\"\nbackoff = \"1s\"\n\
                        restart_cooldown = \"2s\"\nexplore = \"never\"\n";

fn hang(host: &Host, number: usize) -> Result<Incident, Failure> {
    host.sh("touch /run/hang")?;
    let incident = until("it is well again", PATIENCE, || {
        let incidents = host.incidents(UNIT)?;
        let closed = incidents.iter().filter(|incident| !incident.is_open()).count();
        match incidents.first().filter(|_| closed == number) {
            Some(last) => Ok(last.clone()),
            None => Err(Failure::new(format!("{} closed of {number}", closed))),
        }
    })?;
    // One that comes back within restart_cooldown would be the same incident.
    std::thread::sleep(Duration::from_secs(4));
    Ok(incident)
}

fn actions(incident: &Incident) -> Vec<(Action, Option<Outcome>)> {
    incident.attempts.iter().map(|attempt| (attempt.action, attempt.outcome)).collect()
}

fn strategy_of(host: &Host, worker: Option<&str>) -> Result<Option<Strategy>, Failure> {
    let all: Vec<Strategy> = host.json(&["strategies", "--json"])?;
    let wanted = |one: &&Strategy| {
        one.case.worker.as_ref().map(|name| name.as_str()) == worker && one.case.condition == Condition::Hung
    };
    Ok(all.iter().find(wanted).cloned())
}

#[test]
fn what_has_not_helped_no_longer_comes_first() -> Result<(), Failure> {
    let text = "[Service]\nExecStart=/usr/bin/python3 -u /usr/local/lib/beater.py\n";
    let setup = Setup::new("learning").file("/usr/local/lib/beater.py", BEATER);
    let host = setup.worker_with("beater", UNIT, text, SETTINGS).start()?;
    until("it beats", PATIENCE, || host.run(&["test", "-e", "/run/alive"])?.success())?;

    use Action::{ConnectionReset, GracefulRestart};
    use Outcome::{Failed, Succeeded};
    for number in 1..=2 {
        let incident = hang(&host, number)?;
        let done = actions(&incident);
        ensure(done == [(ConnectionReset, Some(Failed)), (GracefulRestart, Some(Succeeded))], || format!("{done:?}"))?;
    }
    let learned = host.unitmedic(&["strategies"])?.success()?;
    ensure(learned.contains("beater: hung") && learned.contains("graceful_restart helped 2 of 2 times"), || learned)?;
    host.ctl(&["restart", DAEMON])?;
    until("it is back", PATIENCE, || host.status())?;

    let third = hang(&host, 3)?;
    let done = actions(&third);
    ensure(done == [(GracefulRestart, Some(Succeeded))], || format!("{done:?}"))?;
    ensure(third.plan.is_learned() && third.similar.len() == 2, || format!("{third:#?}"))?;
    let shown = host.unitmedic(&["incidents", "show", &third.id.0.to_string()])?.success()?;
    ensure(shown.contains("1. graceful_restart: helped 2 of 2 times"), || shown.clone())?;
    ensure(shown.contains("same unit, both hung): graceful_restart helped"), || shown.clone())?;
    let journal = host.sh("journalctl -o cat -u unitmedic UNITMEDIC_EVENT=strategies_changed")?;
    ensure(journal.contains("learned: for hung of beater graceful_restart comes first now"), || journal)?;

    let export: Export = host.json(&["strategies", "export"])?;
    let commands =
        ["strategies", "strategies export", "alerts", "incidents", "history", "history --summary", "patterns"];
    for command in commands {
        let typo: Vec<&str> = command.split(' ').chain(["--worker", "mial"]).collect();
        let refused = host.unitmedic(&typo)?;
        let as_usage = refused.status.code() == Some(64) && refused.stderr.contains("no worker \"mial\"");
        ensure(as_usage, || refused.stderr)?;
    }
    ensure(export.known.len() == 2, || format!("{export:#?}"))?;
    host.sh("unitmedic strategies export > /run/learned.json && unitmedic strategies forget --all")?;
    let nothing = host.unitmedic(&["strategies"])?.success()?;
    ensure(nothing.starts_with("Nothing has been learned yet"), || nothing)?;
    host.sh("echo '{}' > /run/foreign.json")?;
    let foreign = host.unitmedic(&["strategies", "import", "/run/foreign.json"])?;
    ensure(foreign.status.code() == Some(64) && foreign.stderr.contains("foreign.json is not what"), || {
        foreign.stderr
    })?;
    host.unitmedic(&["strategies", "import", "/run/learned.json"])?.success()?;
    host.ctl(&["restart", DAEMON])?;
    until("it is back", PATIENCE, || host.status())?;
    let known = strategy_of(&host, Some("beater"))?;
    let from = known.as_ref().and_then(|strategy| strategy.from.as_ref());
    ensure(from.is_some_and(|from| from.host == export.from.host), || format!("{known:#?}"))?;
    ensure(known.is_some_and(|strategy| strategy.ranking.actions[0].action == GracefulRestart), || "order".into())?;
    host.done()
}
