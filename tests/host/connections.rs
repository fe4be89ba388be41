//! connection_reset as the root side does it: whose connections die, whose live, and what is done where none can be.
//!
//! This program goes along into the host and is the root side there, so that the deed is tried without the daemon.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;
use unitmedic::adapters::systemd::bus::BusAddress;
use unitmedic::helper::Helper;
use unitmedic::model::action::{Answer, Refused};
use unitmedic::model::settings::Peer;
use unitmedic::model::unit::InvocationId;
use unitmedic::model::{AttemptId, IncidentId, Order, Selector, Settings, UnitName, Verb, WorkerName, WorkerSettings};

use crate::fixture::{DAEMON, LIMIT, Setup, ensure, until};
use crate::testhost::{Failure, Machine, Place, wait_for};

/// This program, in the host.
const PROGRAM: &str = "/opt/host-tests";
/// The order for it, as JSON.
const ORDER: &str = "UNITMEDIC_TEST_ORDER";
/// The `reset_signal` of the worker there.
const SIGNAL: &str = "UNITMEDIC_TEST_SIGNAL";

const BROKER: u16 = 5672;
/// Accepts nobody: whoever connects stays in syn-sent.
const FULL: u16 = 5674;

/// Listens at the ports, at 5673 as somebody who is no peer; a client that says `half` gets its end closed.
const LISTENER: &str = r#"
import socket, threading
def listen(port, backlog):
    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", port))
    listener.listen(backlog)
    return listener
def serve(connection):
    try:
        while word := connection.recv(4):
            if word == b"half":
                connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass
kept = []
def accept(listener):
    while True:
        connection, _ = listener.accept()
        kept.append(connection)
        threading.Thread(target=serve, args=(connection,)).start()
full = listen(5674, 0)
fill = [socket.socket() for _ in range(4)]
for one in fill:
    one.setblocking(False)
    one.connect_ex(("127.0.0.1", 5674))
for port in (5672, 5673):
    threading.Thread(target=accept, args=(listen(port, 128),)).start()
open("/run/listening", "w")
"#;

/// Opens one connection for each word `KIND-ADDRESS-PORT`, and says when all are as they should be.
const CLIENT: &str = r#"
import os, socket, sys, signal, time
name, words = sys.argv[1], sys.argv[2:]
signal.signal(signal.SIGHUP, lambda *_: open(f"/run/hup-{name}", "w"))
if "below" in words:
    words.remove("below")
    own = "/sys/fs/cgroup" + open("/proc/self/cgroup").read().split("0::")[1].split("\n")[0]
    os.mkdir(own + "/below")
    open(own + "/below/cgroup.procs", "w").write(str(os.getpid()))
kept = []
for word in words:
    kind, address, port = word.replace("[", "").replace("]", "").split("-")
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    if kind == "syn":
        one.setblocking(False)
        one.connect_ex((address, int(port)))
    else:
        one.connect((address, int(port)))
    if kind == "closewait":
        one.send(b"half")
        one.recv(1)
    if kind == "finwait":
        one.shutdown(socket.SHUT_WR)
    kept.append(one)
open(f"/run/up-{name}", "w")
while True:
    time.sleep(1000)
"#;

fn client(name: &str, words: &str, further: &str) -> String {
    format!("[Service]\nExecStart=python3 /opt/client.py {name} {words}\n{further}")
}

/// A host with a listener; clients are to be started.
fn boot(name: &str, units: &[(&str, String)]) -> Result<Machine, Failure> {
    let mut builder = Machine::builder(name)
        .program(PROGRAM, std::env::current_exe()?)
        .file("/opt/listener.py", LISTENER)
        .file("/opt/client.py", CLIENT)
        .file("/etc/systemd/system/listener.service", "[Service]\nExecStart=python3 /opt/listener.py\n");
    for (name, text) in units {
        builder = builder.file(&format!("/etc/systemd/system/{name}"), text);
    }
    let host = builder.boot()?;
    host.ctl(&["start", "listener.service"])?;
    wait_for_file(&host, "/run/listening")?;
    Ok(host)
}

fn wait_for_file(host: &Machine, path: &str) -> Result<(), Failure> {
    until(path, LIMIT, || match host.run(&["test", "-e", path])?.ok() {
        true => Ok(()),
        false => Err(Failure::from("not there")),
    })
}

fn start(host: &Machine, units: &[(&str, &str)]) -> Result<(), Failure> {
    for (unit, name) in units {
        host.ctl(&["start", unit])?;
        wait_for_file(host, &format!("/run/up-{name}"))?;
    }
    Ok(())
}

/// Connections of the processes of a unit, as `ss` sees them: state and the other end, sorted.
fn connections(host: &Machine, unit: &str) -> Result<Vec<String>, Failure> {
    let text = host.sh("ss --tcp --all --numeric --no-header --cgroup")?;
    let of_unit = |line: &&str| {
        let cgroup = line.split_whitespace().find_map(|field| field.strip_prefix("cgroup:"));
        cgroup.is_some_and(|path| path.split('/').any(|part| part == unit))
    };
    let mut found: Vec<String> = text
        .lines()
        .filter(of_unit)
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            Some(format!("{} {}", fields.next()?, fields.nth(3)?))
        })
        .filter(|line| !line.starts_with("LISTEN"))
        .collect();
    found.sort();
    Ok(found)
}

fn wait_connections(host: &Machine, unit: &str, expected: &[&str]) -> Result<(), Failure> {
    wait_for(&format!("connections of {unit}"), LIMIT, || {
        let found = connections(host, unit)?;
        if found == expected { Ok(()) } else { Err(Failure::new(format!("{found:?} is not {expected:?}"))) }
    })
}

/// Has the root side in the host do it.
fn reset(host: &Machine, unit: &str, invocation: &str, signal: Option<i32>) -> Result<Answer, Failure> {
    reset_as(host, &["env"], unit, invocation, signal)
}

/// The same with fewer rights: `rights` ends in `env`.
fn reset_as(
    host: &Machine,
    rights: &[&str],
    unit: &str,
    invocation: &str,
    signal: Option<i32>,
) -> Result<Answer, Failure> {
    let invocation = InvocationId::try_from(invocation.to_owned())?;
    let order = Order {
        attempt: AttemptId { incident: IncidentId(1), number: 1 },
        unit: UnitName::new(unit).map_err(|error| error.to_string())?,
        verb: Verb::ResetConnections { invocation },
    };
    let order = serde_json::to_string(&order).map_err(|error| error.to_string())?;
    let (order, signal) = (format!("{ORDER}={order}"), format!("{SIGNAL}={}", signal.unwrap_or(0)));
    let this = "connections::the_root_side";
    let command = [rights, &[&order, &signal, PROGRAM, "--exact", this, "--ignored", "--nocapture"]].concat();
    let run = host.run(&command)?.success()?;
    let answer = run.lines().find_map(|line| line.split_once("answer ")).ok_or(Failure::new(run.clone()))?.1;
    println!("{answer}");
    let json = answer.split_once(' ').map_or(answer, |(_, json)| json);
    serde_json::from_str(json).map_err(|error| Failure::new(format!("{error}: {run}")))
}

fn did(answer: &Answer) -> &str {
    match answer {
        Answer::Accepted { did: Some(did), .. } => did,
        _ => "",
    }
}

/// Not a test: the root side, when it is run in a host. Otherwise it does nothing.
#[test]
#[ignore = "it is run by the other tests"]
fn the_root_side() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let order: Order = serde_json::from_str(&order).expect("an order");
    let prefix = order.unit.as_str().split('@').next().expect("a name").to_owned();
    let name = WorkerName::new(&prefix).expect("a name");
    let mut worker = WorkerSettings::new(name.clone(), Selector::Template(prefix));
    worker.amqp_url = Some("amqp://localhost/".into());
    worker.peers = vec![Peer { host: "::1".into(), port: BROKER }, Peer { host: "127.0.0.1".into(), port: FULL }];
    worker.reset_signal =
        std::env::var(SIGNAL).ok().and_then(|signal| signal.parse().ok()).filter(|signal| *signal != 0);
    let mut settings = Settings::empty();
    settings.workers.insert(name, worker);
    std::fs::create_dir_all("/run/unitmedic").expect("a runtime directory");
    let (_keep, settings) = watch::channel(Arc::new(settings));
    let helper = Helper::new(BusAddress::System, settings, "/run/unitmedic".as_ref());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let answer = runtime.block_on(async {
        helper.prepare().await;
        let begun = Instant::now();
        let answer = helper.act(&order).await;
        (begun.elapsed(), answer)
    });
    println!("answer {:.1}ms {}", answer.0.as_secs_f64() * 1e3, serde_json::to_string(&answer.1).expect("JSON"));
}

#[test]
fn only_the_connections_of_the_instance_to_its_peers_die() -> Result<(), Failure> {
    let all = "est-127.0.0.1-5672 est-[::1]-5672 est-[::ffff:127.0.0.1]-5672 closewait-127.0.0.1-5672 \
               finwait-[::1]-5672 syn-127.0.0.1-5674 est-127.0.0.1-5673 est-[::1]-5673";
    let units = [
        ("mail@.service", client("%i", all, "")),
        ("deep@.service", client("deep", &format!("{all} below"), "Delegate=yes\n")),
        ("stranger.service", client("stranger", all, "")),
    ];
    let host = boot("reset", &units)?;
    let started = [
        ("mail@1.service", "1"),
        ("mail@2.service", "2"),
        ("deep@1.service", "deep"),
        ("stranger.service", "stranger"),
    ];
    start(&host, &started)?;
    let whole = [
        "CLOSE-WAIT 127.0.0.1:5672",
        "ESTAB 127.0.0.1:5672",
        "ESTAB 127.0.0.1:5673",
        "ESTAB [::1]:5672",
        "ESTAB [::1]:5673",
        "ESTAB [::ffff:127.0.0.1]:5672",
        "FIN-WAIT-2 [::1]:5672",
        "SYN-SENT 127.0.0.1:5674",
    ];
    let left = ["ESTAB 127.0.0.1:5673", "ESTAB [::1]:5673"];
    for (unit, _) in started {
        wait_connections(&host, unit, &whole)?;
    }

    let activation = host.property("mail@1.service", "InvocationID")?;
    let later = reset(&host, "mail@1.service", &host.property("mail@2.service", "InvocationID")?, None)?;
    ensure(matches!(later, Answer::Refused { why: Refused::Superseded, .. }), || format!("{later:?}"))?;
    wait_connections(&host, "mail@1.service", &whole)?;

    let expected = "destroyed 6 connections to 127.0.0.1:5672 (3), 127.0.0.1:5674 (1), [::1]:5672 (2)";
    let answer = reset(&host, "mail@1.service", &activation, None)?;
    ensure(did(&answer) == expected, || format!("{answer:?}"))?;
    wait_connections(&host, "mail@1.service", &left)?;
    for unit in ["mail@2.service", "deep@1.service", "stranger.service"] {
        wait_connections(&host, unit, &whole)?;
    }
    let again = reset(&host, "mail@1.service", &activation, None)?;
    ensure(matches!(again, Answer::Refused { why: Refused::Nothing, .. }), || format!("{again:?}"))?;

    let answer = reset(&host, "deep@1.service", &host.property("deep@1.service", "InvocationID")?, None)?;
    ensure(did(&answer) == expected, || format!("{answer:?}"))?;
    wait_connections(&host, "deep@1.service", &left)?;
    for unit in ["mail@2.service", "stranger.service"] {
        wait_connections(&host, unit, &whole)?;
    }
    ensure(host.property("mail@1.service", "InvocationID")? == activation, || "it was started anew".into())
}

#[test]
fn where_connections_cannot_be_seen_a_signal_is_sent() -> Result<(), Failure> {
    let private = "PrivateNetwork=yes\n";
    let units = [("own@.service", client("%i", "", private)), ("idle@.service", client("idle", "", ""))];
    let host = boot("own-network", &units)?;
    start(&host, &[("own@1.service", "1"), ("idle@1.service", "idle")])?;
    for (unit, name, because) in [
        ("own@1.service", "1", "it has a network of its own (PrivateNetwork=)"),
        ("idle@1.service", "idle", "no connection to 127.0.0.1:5672, 127.0.0.1:5674, [::1]:5672 is there"),
    ] {
        let activation = host.property(unit, "InvocationID")?;
        match reset(&host, unit, &activation, None)? {
            Answer::Refused { why: Refused::Nothing, text }
                if text.contains(because) && text.contains("reset_signal") => {}
            other => return Err(Failure::new(format!("{other:?}"))),
        }
        let hup = format!("/run/hup-{name}");
        ensure(!host.run(&["test", "-e", &hup])?.ok(), || "a signal that nobody configured was sent".into())?;
        let answer = reset(&host, unit, &activation, Some(1))?;
        let told = did(&answer);
        ensure(told.starts_with("sent SIGHUP (1) to the main process: ") && told.contains(because), || told.into())?;
        wait_for_file(&host, &hup)?;
        ensure(host.property(unit, "InvocationID")? == activation, || format!("{unit} was started anew"))?;
    }
    Ok(())
}

#[test]
fn without_the_right_to_destroy_a_signal_is_sent() -> Result<(), Failure> {
    let host = boot("no-right", &[("mail@.service", client("%i", "est-127.0.0.1-5672", ""))])?;
    start(&host, &[("mail@1.service", "1")])?;
    let activation = host.property("mail@1.service", "InvocationID")?;
    let without = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "env"];
    match reset_as(&host, &without, "mail@1.service", &activation, None)? {
        Answer::Refused { why: Refused::Nothing, text } if text.contains("CAP_NET_ADMIN is missing") => {}
        other => return Err(Failure::new(format!("{other:?}"))),
    }
    let answer = reset_as(&host, &without, "mail@1.service", &activation, Some(1))?;
    ensure(did(&answer).ends_with("CAP_NET_ADMIN is missing"), || format!("{answer:?}"))?;
    wait_for_file(&host, "/run/hup-1")?;
    wait_connections(&host, "mail@1.service", &["ESTAB 127.0.0.1:5672"])
}

/// What the daemon needs for it, beyond what its unit allows.
const RIGHTS: &str = "[Service]\nCapabilityBoundingSet=CAP_NET_ADMIN\nRestrictAddressFamilies=AF_NETLINK\n";

#[test]
fn an_operator_asks_for_it() -> Result<(), Failure> {
    let listener = "[Service]\nExecStart=python3 /opt/listener.py\n";
    let host = Setup::new("asked")
        .file("/opt/listener.py", LISTENER)
        .file("/opt/client.py", CLIENT)
        .file(&format!("/etc/systemd/system/{DAEMON}.d/rights.conf"), RIGHTS)
        .unit("listener.service", listener)
        .worker_with(
            "mail",
            "mail@.service",
            &client("%i", "est-127.0.0.1-5672 closewait-[::1]-5672 est-127.0.0.1-5673", ""),
            "peers = [\"localhost:5672\", \"[::1]:5672\"]",
        )
        .starting("listener.service")
        .boot()?;
    wait_for_file(&host, "/run/listening")?;
    let (one, other) = ("mail@1.service", "mail@2.service");
    start(&host, &[(one, "1"), (other, "2")])?;
    host.start_daemon()?;
    let whole = ["CLOSE-WAIT [::1]:5672", "ESTAB 127.0.0.1:5672", "ESTAB 127.0.0.1:5673"];
    wait_connections(&host, one, &whole)?;
    let activation = host.activation(one)?;
    let ask = format!(r#"{{"ask":"recover","target":{{"unit":"{one}"}},"action":"connection_reset","force":false}}"#);
    let socket = ["curl", "-sS", "--unix-socket", "/run/unitmedic/control.sock"];
    let request = ["-H", "Content-Type: application/json", "-d", &ask, "http://localhost/api/v1/requests"];
    let reply = host.run(&[&socket[..], &request].concat())?.success()?;
    ensure(reply.contains("accepted"), || reply.clone())?;
    wait_connections(&host, one, &["ESTAB 127.0.0.1:5673"])?;
    wait_connections(&host, other, &whole)?;
    until("it is told", LIMIT, || {
        let told = host.journal(&["UNITMEDIC_EVENT=attempt_acted", &format!("UNITMEDIC_UNIT={one}")])?;
        let whole = told.contains("destroyed 2 connections to 127.0.0.1:5672 (1), [::1]:5672 (1)");
        if whole { Ok(()) } else { Err(Failure::new(told)) }
    })?;
    ensure(host.activation(one)? == activation, || "it was started anew".into())?;
    host.done()
}
