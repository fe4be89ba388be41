//! Signs of life of real instances, in each way that there is: who stops giving them is repaired, who never gave one is
//! left alone, and nobody gives them for another.

use std::time::Duration;

use unitmedic::model::Condition;

use crate::fixture::{Host, SLEEPER, Setup, ensure, until};
use crate::testhost::{Failure, Place};

const PATIENCE: Duration = Duration::from_secs(60);
const SOCKET: &str = "/run/unitmedic/heartbeat.sock";

/// Beats three times a second, until a file says otherwise.
const BEATER: &str = r#"
import os, socket, sys, time
name, way = sys.argv[1:3]
to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
to.setblocking(False)
while True:
    if not os.path.exists('/run/quiet-' + name):
        try:
            if way.startswith('/run/alive'):
                open(way, 'w').close()
            else:
                to.sendto(b'WATCHDOG=1', way)
        except OSError as error:
            print(error)
    time.sleep(0.3)
"#;

/// All that may come over a socket that everybody can write to.
const RUBBISH: &str = r#"
import os, socket, sys, time
to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
end = time.monotonic() + 20
pieces = [b'', b'\0' * 4096, os.urandom(30000), b'WATCHDOG=', b'WATCHDOG=1' * 3000, b'UNIT=quiet.service\nWATCHDOG=2\n', b'\n' * 60000]
sent = 0
while sent < 50000 and time.monotonic() < end:
    to.sendto(pieces[sent % len(pieces)], sys.argv[1])
    sent += 1
try:
    to.sendto(b'x' * (1 << 20), sys.argv[1])
except OSError as error:
    print('a megabyte:', error)
print('sent', sent)
"#;

const SETTINGS: &str = "heartbeat_timeout = \"3s\"\ndrain_timeout = \"1s\"\n";

fn host() -> Result<Host, Failure> {
    let beater = |name: &str, way: &str, more: &str| {
        format!(
            "[Service]\nExecStartPre=/bin/rm -f /run/quiet-{name}\n\
             ExecStart=/usr/bin/python3 -u /usr/local/lib/beat.py {name} {way}\nKillSignal=SIGKILL\n{more}"
        )
    };
    let worker = |setup: Setup, name: &str, text: &str, more: &str| {
        setup.worker_with(name, &format!("{name}.service"), text, &format!("{SETTINGS}{more}"))
    };
    let setup = Setup::new("beats").file("/usr/local/lib/beat.py", BEATER).file("/usr/local/lib/rubbish.py", RUBBISH);
    let setup = worker(setup, "socket", &beater("socket", SOCKET, ""), "");
    let touched = beater("touched", "/run/alive-touched", "");
    let setup = worker(setup, "touched", &touched, "heartbeat_file = \"/run/alive-%p\"\n");
    // systemd's own limit is far away: unitmedic sees it first.
    let notifies = beater("watchdog", "$NOTIFY_SOCKET", "WatchdogSec=1h\nNotifyAccess=all\n");
    let setup = worker(setup, "watchdog", &notifies, "heartbeat_watchdog = true\n");
    // As a shell script does it; docs/heartbeats.md says so.
    let shell = format!(
        "[Service]\nExecStartPre=/bin/rm -f /run/quiet-shell\nKillSignal=SIGKILL\nEnvironment=NOTIFY_SOCKET={SOCKET}\n\
         ExecStart=/bin/sh -c 'while sleep 0.3; do [ -e /run/quiet-shell ] || systemd-notify WATCHDOG=1; done'\n"
    );
    let setup = worker(setup, "shell", &shell, "");
    let never = "heartbeat_watchdog = true\nheartbeat_file = \"/run/alive-never\"\n";
    worker(setup, "never", SLEEPER, never).unit("forger.service", &beater("forger", SOCKET, "")).start()
}

fn beat(host: &Host, name: &str) -> Result<Option<f64>, Failure> {
    host.metric(&format!("unitmedic_heartbeat_timestamp_seconds{{worker=\"{name}\",unit=\"{name}.service\"}}"))
}

fn datagrams(host: &Host, result: &str) -> Result<f64, Failure> {
    let series = format!("unitmedic_heartbeat_datagrams_total{{result=\"{result}\"}}");
    host.metric(&series)?.ok_or_else(|| Failure::new(series))
}

const WAYS: [&str; 4] = ["socket", "touched", "watchdog", "shell"];

#[test]
fn who_stops_beating_is_repaired_and_nobody_beats_for_another() -> Result<(), Failure> {
    let host = host()?;
    until("all beat that do", PATIENCE, || {
        let beats: Vec<Option<f64>> = WAYS.iter().map(|name| beat(&host, name)).collect::<Result<_, _>>()?;
        if beats.iter().all(Option::is_some) { Ok(()) } else { Err(Failure::new(format!("{beats:?}"))) }
    })?;
    host.ctl(&["start", "forger.service"])?;
    until("the forger is refused", PATIENCE, || match datagrams(&host, "stranger")? {
        refused if refused >= 3.0 => Ok(()),
        refused => Err(Failure::new(refused.to_string())),
    })?;
    for name in WAYS {
        host.write(&format!("/run/quiet-{name}"), "")?;
    }
    for name in WAYS {
        let unit = format!("{name}.service");
        let incident = until(&format!("{unit} is repaired"), PATIENCE, || {
            let incidents = host.incidents(&unit)?;
            let closed = incidents.iter().find(|incident| !incident.is_open()).cloned();
            closed.ok_or_else(|| Failure::new(format!("{incidents:#?}")))
        })?;
        let hung = incident.conditions.contains_key(&Condition::Hung);
        ensure(hung && !incident.attempts.is_empty(), || format!("{incident:#?}"))?;
        until(&format!("{unit} beats again"), PATIENCE, || match beat(&host, name)? {
            Some(_) => Ok(()),
            None => Err(Failure::new("it does not")),
        })?;
    }
    ensure(beat(&host, "never")?.is_none(), || "it never beat".into())?;
    host.assert_untouched("never.service")?;
    host.done()
}

#[test]
fn rubbish_on_the_socket_disturbs_nobody() -> Result<(), Failure> {
    let host = host()?;
    until("it beats", PATIENCE, || match beat(&host, "socket")? {
        Some(_) => Ok(()),
        None => Err(Failure::new("it does not")),
    })?;
    let before = datagrams(&host, "other")? + datagrams(&host, "stranger")?;
    let sent = host.run_for(&["python3", "/usr/local/lib/rubbish.py", SOCKET], b"", PATIENCE)?.success()?;
    ensure(sent.contains("a megabyte"), || sent.clone())?;
    // Who floods has to wait; a busy machine, whose kernel holds ten datagrams for us, takes only some thousands.
    let sent: u32 = sent.trim().rsplit_once("sent ").ok_or("how many?")?.1.parse()?;
    ensure(sent >= 1000, || format!("{sent} datagrams are no flood"))?;
    until("all of it is counted", PATIENCE, || {
        let counted = datagrams(&host, "other")? + datagrams(&host, "stranger")? - before;
        if counted >= f64::from(sent) { Ok(()) } else { Err(Failure::new(counted.to_string())) }
    })?;
    ensure(host.status()?.ready, || "the daemon is not ready".into())?;
    let last = beat(&host, "socket")?;
    until("it is heard", PATIENCE, || match beat(&host, "socket")? {
        now if now > last => Ok(()),
        now => Err(Failure::new(format!("{now:?}"))),
    })?;
    for name in WAYS {
        host.assert_untouched(&format!("{name}.service"))?;
    }
    host.done()
}
