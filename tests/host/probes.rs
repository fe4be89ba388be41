//! Probes of real instances: what fails is repaired, what is slow or strange is left alone, and a probe that runs wild
//! disturbs nobody.

use std::time::Duration;

use unitmedic::model::{Action, Condition, Outcome};

use crate::fixture::{DAEMON, Host, Setup, ensure, until};
use crate::testhost::{Failure, Place};

/// A few readings, a repair and its proof, on a machine that has other work.
const PATIENCE: Duration = Duration::from_secs(60);
/// The daemon may grow by this much while a probe prints without end.
const GROWTH_MAX_KIB: u64 = 16 << 10;

/// A server that does as its file says: `503`, `deaf` (no longer listens), `late` (answers after a second), `stall` (a
/// head and no body). A new process begins well.
const SERVER: &str = r#"
import os, socket, sys, threading, time
name, port = sys.argv[1], int(sys.argv[2])
def mode():
    try:
        return open('/run/mode-' + name).read().strip()
    except OSError:
        return ''
def serve(peer):
    peer.recv(4096)
    now = mode()
    if now == 'late':
        time.sleep(1)
    if now == '503':
        peer.sendall(b'HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n')
    else:
        peer.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n')
    if now == 'stall':
        time.sleep(30)
    peer.close()
door = socket.create_server(('127.0.0.1', port), backlog=64)
door.settimeout(0.2)
while True:
    if mode() == 'deaf':
        door.close()
        time.sleep(1000)
    try:
        peer, _ = door.accept()
    except TimeoutError:
        continue
    threading.Thread(target=serve, args=(peer,), daemon=True).start()
"#;

fn unit(port: u16) -> String {
    format!(
        "[Service]\nExecStartPre=/bin/rm -f /run/mode-%p\n\
         ExecStart=/usr/bin/python3 -u /usr/local/lib/server.py %p {port}\nKillSignal=SIGKILL\n"
    )
}

/// Quick to drain, so that the test is.
const QUICK: &str = "drain_timeout = \"1s\"\nstart_timeout = \"5s\"\nprobe_timeout = \"2s\"\n";

fn host() -> Result<Host, Failure> {
    let worker = |setup: Setup, name: &str, port: u16, probe: &str| {
        let file = format!("{name}.service");
        setup.worker_with(name, &file, &unit(port), &format!("{QUICK}{probe}\n")).starting(&file)
    };
    let web = |port: u16| format!("probe_http = \"http://127.0.0.1:{port}/health?token=hunter2\"");
    let setup = Setup::new("probes").file("/usr/local/lib/server.py", SERVER);
    let setup = worker(setup, "web", 8101, &web(8101));
    let setup = worker(setup, "door", 8102, "probe_tcp = \"127.0.0.1:8102\"");
    let setup = worker(setup, "calm", 8103, &web(8103));
    let setup = worker(setup, "nowhere", 8104, "probe_tcp = \"no-such-host.invalid:80\"");
    // Its probe fails for ever, and that is told.
    let endless =
        "probe_command = [\"/bin/sh\", \"-c\", \"yes noise\"]\n[worker.endless.plans]\nprobe_failed = [\"escalate\"]";
    worker(setup, "endless", 8105, endless).start()
}

fn resident_kib(host: &Host) -> Result<u64, Failure> {
    let pid = host.main_pid(DAEMON)?;
    let text = host.sh(&format!("sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/{pid}/status"))?;
    text.trim().parse().map_err(|_| Failure::new(format!("VmRSS: {text}")))
}

/// It was repaired for its probe, once, and its incident is closed.
fn repaired(host: &Host, unit: &str) -> Result<(), Failure> {
    let incident = until(&format!("{unit} is repaired"), PATIENCE, || {
        let incidents = host.incidents(unit)?;
        let closed = incidents.iter().find(|incident| !incident.is_open()).cloned();
        closed.ok_or_else(|| Failure::new(format!("{incidents:#?}")))
    })?;
    let attempts: Vec<_> = incident.attempts.iter().map(|attempt| (attempt.action, attempt.outcome)).collect();
    let want = [(Action::GracefulRestart, Some(Outcome::Succeeded))];
    let for_probe = incident.conditions.contains_key(&Condition::ProbeFailed);
    ensure(for_probe && attempts == want, || format!("{incident:#?}"))
}

#[test]
fn what_fails_its_probe_is_repaired_and_the_rest_is_left_alone() -> Result<(), Failure> {
    let host = host()?;
    let before = ["calm", "nowhere", "endless"].map(|name| host.activation(&format!("{name}.service")));
    until("the first probes have passed", PATIENCE, || {
        let of =
            |name: &str| host.metric(&format!("unitmedic_probe_success{{worker=\"{name}\",unit=\"{name}.service\"}}"));
        match (of("web")?, of("door")?, of("calm")?, of("nowhere")?, of("endless")?) {
            (Some(1.0), Some(1.0), Some(1.0), None, Some(0.0)) => Ok(()),
            other => Err(Failure::new(format!("{other:?}"))),
        }
    })?;
    let resident = resident_kib(&host)?;
    host.write("/run/mode-calm", "late")?;
    host.write("/run/mode-web", "503")?;
    repaired(&host, "web.service")?;
    host.write("/run/mode-calm", "stall")?;
    host.write("/run/mode-door", "deaf")?;
    repaired(&host, "door.service")?;
    let grown = resident_kib(&host)?.saturating_sub(resident);
    ensure(grown < GROWTH_MAX_KIB, || format!("the daemon grew by {grown} KiB"))?;
    for (name, before) in ["calm", "nowhere", "endless"].into_iter().zip(before) {
        let unit = format!("{name}.service");
        ensure(host.activation(&unit)? == before?, || format!("{unit} was restarted"))?;
        let incidents = host.incidents(&unit)?;
        ensure(incidents.is_empty() || name == "endless", || format!("{incidents:#?}"))?;
    }
    let endless = host.explain("endless.service")?;
    let said = endless.conditions.get(&Condition::ProbeFailed).map(|evidence| evidence.text.clone());
    // Its last line, as far as it came before it was killed.
    ensure(said.as_ref().is_some_and(|text| text.contains("within 2.0 s: n")), || format!("{said:?}"))?;
    let all = host.sh("journalctl --no-pager -u unitmedic")? + &host.unitmedic(&["incidents", "--json"])?.stdout;
    ensure(!all.contains("hunter2"), || "the token is shown".into())?;
    host.done()
}
