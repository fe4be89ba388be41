//! The daemon has no rights, and its helper does for it what is configured and nothing else, whatever it is asked.

use std::time::Duration;

use serde_json::{Value, json};
use unitmedic::helper::wire;
use unitmedic::model::Health;

use crate::fixture::{CONFIG, DAEMON, Host, LIMIT, SLEEPER, Setup, ensure, until};
use crate::testhost::{Failure, Place};

const HELPER: &str = "unitmedic-helper.service";

/// Says one line to the helper as a user, and prints what it answers; nothing when it hangs up.
const ASK: &str = r#"
import socket, sys
peer = socket.socket(socket.AF_UNIX)
peer.settimeout(10)
peer.connect(sys.argv[1])
peer.sendall(sys.stdin.buffer.read())
answer = b""
try:
    while not answer.endswith(b"\n"):
        part = peer.recv(65536)
        if not part: break
        answer += part
except OSError as error:
    print("error", error, file=sys.stderr)
sys.stdout.write(answer.decode())
"#;

/// Victims of all kinds beside workers of all kinds of selectors.
fn host(name: &str) -> Result<Host, Failure> {
    let host = Setup::new(name)
        .file("/usr/lib/ask.py", ASK)
        .worker("mail", "mail@.service", SLEEPER)
        .starting("mail@1.service")
        .worker_with("batch", "batch-*.service", SLEEPER, "")
        .unit("victim.service", SLEEPER)
        .starting("victim.service")
        .unit("victim@.service", SLEEPER)
        // What a pattern matches by its name only: another name of the victim.
        .unit("batch-a.service", SLEEPER)
        .boot()?;
    host.sh("ln -s victim.service /etc/systemd/system/batch-alias.service && ln -s victim@.service \
         /etc/systemd/system/mail@alias.service && ln -s /dev/null \
         /etc/systemd/system/batch-masked.service && systemctl daemon-reload")?;
    host.start_daemon()?;
    Ok(host)
}

fn line(unit: &str, verb: &Value) -> String {
    format!(
        "{}\n",
        json!({"number": 7, "order": {"attempt": {"incident": 1, "number": 1}, "unit": unit, "verb": verb}})
    )
}

/// What the helper answers to a line of this user.
fn ask(host: &Host, user: &str, line: &str) -> Result<String, Failure> {
    let command = ["setpriv", "--reuid", user, "--clear-groups", "python3", "/usr/lib/ask.py", wire::SOCKET];
    let output = host.run_for(&command, line.as_bytes(), Duration::from_secs(30))?;
    Ok(format!("{}{}", output.stdout, output.stderr))
}

fn refused(host: &Host, unit: &str, verb: Value, why: &str) -> Result<(), Failure> {
    let said = ask(host, "unitmedic", &line(unit, &verb))?;
    let reply: Value = serde_json::from_str(&said).unwrap_or_default();
    let text = reply["answer"]["text"].as_str().unwrap_or_default();
    ensure(reply["answer"]["answer"] == "refused" && text.contains(why), || format!("{unit} {verb}: {said}, not {why}"))
}

#[test]
fn a_daemon_that_was_taken_over_can_restart_workers_and_nothing_more() -> Result<(), Failure> {
    let host = host("authority")?;
    let victim = host.activation("victim.service")?;
    let none = "no configured worker owns";
    for (unit, why) in [
        ("victim.service", none),
        ("no-such.service", none),
        ("mail.service", none),
        ("run-r1234.service", none),
        ("dbus.service", "never touched"),
        ("systemd-journald.service", "never touched"),
        ("unitmedic.service", "never touched"),
        ("unitmedic-helper.service", "never touched"),
        ("batch-alias.service", "is another name of victim.service"),
        ("mail@alias.service", "is another name of victim@alias.service"),
        ("batch-masked.service", "masked"),
        ("batch-missing.service", "cannot be loaded"),
        ("mail@nobody-has-seen-me-\\x2f..\\x2f.service", ""),
    ] {
        if !why.is_empty() {
            refused(&host, unit, json!({"verb": "start", "reset_failed": true}), why)?;
        }
        let said = ask(&host, "unitmedic", &line(unit, &json!({"verb": "try_restart"})))?;
        ensure(said.contains("refused"), || format!("{unit}: {said}"))?;
    }
    refused(&host, "mail@1.service", json!({"verb": "stop"}), "is not scaled, so it is never stopped")?;
    let id = host.property("mail@1.service", "InvocationID")?;
    let drain = json!({"verb": "drain", "signal": 9, "invocation": id});
    refused(&host, "mail@1.service", drain, "is not drain_signal")?;
    refused(&host, "mail@1.service", json!({"verb": "hook", "name": "x"}), "has no hook x")?;

    // What is no order at all ends the connection, and nothing else.
    let (long, glob) = ("x".repeat(100_000), line("*.service", &json!({"verb": "try_restart"})));
    for rubbish in ["rubbish\n", "{}\n", &long, &glob, "\0\n", &line("../x.service", &json!({"verb": "stop"}))] {
        let said = ask(&host, "unitmedic", rubbish)?;
        ensure(!said.contains("answer"), || format!("{:.60}: {said}", rubbish))?;
    }
    let template = line("mail@.service", &json!({"verb": "start", "reset_failed": false}));
    ensure(!ask(&host, "unitmedic", &template)?.contains("answer"), || "a template".into())?;

    // Others are not even heard.
    let restart = line("mail@1.service", &json!({"verb": "try_restart"}));
    let nobody = ask(&host, "nobody", &restart)?;
    ensure(nobody.contains("Permission denied"), || nobody.clone())?;
    host.sh(&format!("chmod 666 {}", wire::SOCKET))?;
    let before = host.activation("mail@1.service")?;
    for user in ["nobody", "root"] {
        ensure(!ask(&host, user, &restart)?.contains("answer"), || format!("{user} is heard"))?;
    }
    ensure(host.activation("mail@1.service")? == before, || "somebody else restarted it".into())?;
    ensure(host.activation("victim.service")? == victim, || "the victim was touched".into())?;

    // And it can do what it is there for, until somebody throws the switch, which the daemon cannot throw back.
    let accepted = |said: &str| said.contains("\"accepted\"");
    ensure(accepted(&ask(&host, "unitmedic", &restart)?), || "the daemon is not heard".into())?;
    host.sh("touch /run/unitmedic/hold")?;
    refused(&host, "mail@1.service", json!({"verb": "try_restart"}), "remove it to let unitmedic act")?;
    let removed = host.run(&[
        "setpriv",
        "--reuid",
        "unitmedic",
        "--regid",
        "unitmedic",
        "--clear-groups",
        "rm",
        "-f",
        "/run/unitmedic/hold",
    ])?;
    ensure(removed.code() != Some(0), || "the daemon can take a hold away".into())?;
    host.sh("rm /run/unitmedic/hold")?;

    // The configuration that counts is root's own, as it is now, whatever the daemon has in force.
    host.write(CONFIG, &host.config.replace("mail@.service", "post@.service"))?;
    refused(&host, "mail@1.service", json!({"verb": "try_restart"}), none)?;
    host.sh(&format!("chown unitmedic {CONFIG}"))?;
    refused(&host, "post@1.service", json!({"verb": "try_restart"}), "nothing to restart")?;
    host.done()
}

#[test]
fn the_daemon_has_no_rights_and_works_without_its_helper() -> Result<(), Failure> {
    let host = host("unprivileged")?;
    let pid = host.main_pid(DAEMON)?;
    let status = host.read(&format!("/proc/{pid}/status"))?;
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    ensure(field("CapEff:") == "0000000000000000" && field("CapBnd:") == "0000000000000000", || status.clone())?;
    ensure(field("NoNewPrivs:") == "1" && !field("Uid:").starts_with('0'), || status.clone())?;

    // The helper goes away in the middle; the next order finds one again.
    host.kill("mail@1.service")?;
    host.wait_recovered("mail@1.service", 1)?;
    host.ctl(&["kill", "--signal=KILL", HELPER])?;
    host.kill("mail@1.service")?;
    host.wait_health("mail@1.service", Health::Healthy)?;

    // Without it the daemon watches, and says what is missing.
    host.ctl(&["stop", "unitmedic-helper.socket", HELPER])?;
    host.kill("mail@1.service")?;
    until("it says why nothing is done", LIMIT, || {
        let told = host.unitmedic(&["incidents", "--open", "--json"])?.stdout;
        match host.journal(&["-u", DAEMON])?.contains("systemctl status unitmedic-helper.socket") {
            true => Ok(()),
            false => Err(Failure::new(told)),
        }
    })?;
    // Not every second for a night: the pauses double.
    let attempts = || -> Result<usize, Failure> {
        let open = host.incidents("mail@1.service")?.into_iter().find(|incident| incident.is_open());
        Ok(open.map_or(0, |incident| incident.attempts.len()))
    };
    let before = attempts()?;
    host.sh("sleep 9")?;
    let more = attempts()? - before;
    ensure((1..=4).contains(&more), || format!("{more} more attempts in 9 s"))?;
    host.ctl(&["start", "unitmedic-helper.socket"])?;
    host.wait_health("mail@1.service", Health::Healthy)?;
    host.done()
}

#[test]
fn systemd_finds_little_to_complain_of() -> Result<(), Failure> {
    let host = host("security")?;
    for (unit, most) in [(DAEMON, 2.0), (HELPER, 5.0)] {
        let told = host.sh(&format!("systemd-analyze security --no-pager {unit} | tail -1"))?;
        let exposure = told.split_whitespace().find_map(|word| word.parse::<f64>().ok());
        println!("{told}");
        ensure(exposure.is_some_and(|exposure| exposure <= most), || told.clone())?;
    }
    let unit = include_str!("../../systemd/unitmedic.service");
    ensure(unit.lines().filter(|line| line.starts_with('#')).count() > 20, || "directives are not explained".into())?;
    host.done()
}

/// What root writes there the service could neither read nor remove.
#[test]
fn a_trial_as_root_does_not_spoil_the_service() -> Result<(), Failure> {
    let host = Setup::new("trial").worker("mail", "mail@.service", SLEEPER).starting("mail@1.service").start()?;
    host.ctl(&["stop", DAEMON])?;
    let trial = host.run(&["timeout", "20", "unitmedic", "run", "--dry-run"])?;
    ensure(trial.code() == Some(1) && trial.stderr.contains("/var/lib/unitmedic belongs to another user"), || {
        format!("{trial:?}")
    })?;
    let roots = host.sh("find /var/lib/unitmedic /run/unitmedic -mindepth 1 -user root")?;
    ensure(roots.is_empty(), || format!("root left {roots}"))?;
    host.ctl(&["start", DAEMON])?;
    host.prove_awake()?;
    host.done()
}
