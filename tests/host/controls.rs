//! Nothing is wrong here: workers that are busy, slow to start, deployed, stopped, idle or not to be seen, all on one
//! host with every signal switched on. Any action, and any incident, fails the test.
//!
//! It lasts 90 s; `make soak` sets `UNITMEDIC_CONTROL_SECONDS=600`.

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use unitmedic::model::{Health, Incident};

use crate::broker::{BROKER, Broker, PASSWORD, URL, WORKER, control, worker_unit};
use crate::fixture::{DAEMON, Host, LIMIT, SLEEPER, Setup, ensure, until};
use crate::testhost::{Failure, Place};

const SECONDS: u64 = 90;
/// The pattern of what is done repeats after so many seconds.
const ROUND: u64 = 30;
/// Until a bus that went with systemd's re-execution is back.
const REEXEC_GRACE: Duration = Duration::from_secs(5);
/// Attempts to connect for each restart of the broker and each of the two logins; without a pause between them there
/// would be hundreds.
const CONNECTS_MAX: f64 = 30.0;

/// Every signal that a worker can have; its thresholds are the defaults, or short enough to be reached within the time.
fn signals(queue: &str) -> String {
    format!(
        "queues = [\"{queue}\"]\namqp_url = \"amqp://127.0.0.1\"\namqp_user = \"medic\"\n\
         amqp_password_file = \"/etc/unitmedic/amqp-password\"\nmanagement_url = \"http://127.0.0.1:15672\"\n\
         heartbeat_timeout = \"5s\"\nprobe_command = [\"/bin/true\"]\nstart_timeout = \"40s\"\n"
    )
}

/// A consumer that beats.
fn consumer(setup: Setup, name: &str, environment: &str, service: &str) -> Setup {
    let text = worker_unit(name, &format!("BEATS=socket\n{environment}"), service);
    setup.worker_with(name, &format!("{name}.service"), &text, &signals(name))
}

/// Does nothing, and is watched for everything.
fn sleeper(setup: Setup, name: &str, settings: &str) -> Setup {
    setup.worker_with(name, &format!("{name}.service"), SLEEPER, settings)
}

fn with_dependencies(setup: Setup) -> Setup {
    let bound = |word: &str| format!("[Unit]\n{word}=base.service\nAfter=base.service\n{SLEEPER}");
    let setup = setup
        .unit("base.service", SLEEPER)
        .unit("rival.service", SLEEPER)
        .worker("bound", "bound.service", &bound("BindsTo"))
        .worker("part", "part.service", &bound("PartOf"))
        .worker("shy", "shy.service", &format!("[Unit]\nConflicts=rival.service\n{SLEEPER}"));
    let once = "[Service]\nType=oneshot\nExecStart=/bin/sleep 0.3\n";
    setup
        .idle_worker("tick", "tick.service", once, "")
        .unit("tick.timer", "[Timer]\nOnActiveSec=1s\nOnUnitActiveSec=3s\nAccuracySec=100ms\n")
        .starting("tick.timer")
        .idle_worker("once", "once.service", once, "")
        .starting("once.service")
}

fn host() -> Result<Host, Failure> {
    let queues = ["busy", "slow", "spike", "deploy", "idle", "elsewhere", "errors"];
    let broker = queues.iter().fold(Broker::new().management(), |broker, queue| broker.queue(queue));
    let setup = Setup::new("controls")
        .broker(&broker)
        .file("/etc/unitmedic/amqp-password", PASSWORD)
        .file("/etc/unitmedic/wrong-password", "not this one");
    let busy = worker_unit("busy", "BEATS=socket\nWORK_MS=20", "");
    let setup = setup
        .worker_with("busy", "busy@.service", &busy, &format!("max_instances = 3\n{}", signals("busy")))
        .starting("busy@1.service");
    let setup = consumer(setup, "spike", "WORK_MS=2", "");
    let setup = consumer(setup, "deploy", "", "");
    let setup = consumer(setup, "idle", "", "");
    let setup = consumer(setup, "errors", "", "");
    let slow = worker_unit("slow", "BEATS=socket\nSTART_S=20", "TimeoutStartSec=60\n");
    let setup = setup.idle_worker("slow", "slow.service", &slow, &signals("slow"));
    // Its queue is consumed by somebody of whom unitmedic knows nothing; and it never gives a sign of life.
    let never = "heartbeat_watchdog = true\nheartbeat_file = \"/run/never-%n\"\n";
    let setup = sleeper(setup, "elsewhere", &format!("{}{never}", signals("elsewhere")))
        .unit("plain.service", &worker_unit("elsewhere", "", ""))
        .starting("plain.service");
    let setup = sleeper(setup, "late", &signals("late"));
    let setup = sleeper(setup, "missing", &signals("missing"));
    let setup = sleeper(setup, "locked", &signals("idle").replace("amqp-password", "wrong-password"));
    let setup = sleeper(setup, "stopped", &signals("idle"));
    with_dependencies(setup).start()
}

/// What happens in second `second`, from the outside.
fn happen(host: &Host, second: u64) -> Result<(), Failure> {
    if second.is_multiple_of(2) {
        host.publish("busy", 0, 20)?;
        host.publish("elsewhere", 0, 5)?;
    }
    match second {
        1 => control(&**host, "busy@1.service", "spin", Some(""))?,
        3 => drop(host.ctl(&["stop", "stopped.service"])?),
        // Seven errors in a second and a half, and never ten.
        5 => control(&**host, "errors.service", "log-errors", Some("280"))?,
        6 => control(&**host, "errors.service", "log-errors", Some("0.2"))?,
        7 => drop(host.ctl(&["start", "--no-block", "slow.service"])?),
        25 => drop(host.ctl(&["daemon-reexec"])?),
        65 => host.declare("late")?,
        _ if second % 180 == 40 => drop(host.ctl(&["restart", "--no-block", BROKER])?),
        _ => {}
    }
    match second % ROUND {
        2 => control(&**host, "spike.service", "spin", Some(""))?,
        4 => control(&**host, "spike.service", "spin", None)?,
        // A broker that is restarting takes no messages.
        6 if second % 180 != 66 => host.publish("spike", 0, 150)?,
        8 => {
            host.ctl(&["stop", "deploy.service"])?;
            let text = worker_unit("deploy", &format!("BEATS=socket\nRELEASE={second}"), "");
            host.write("/etc/systemd/system/deploy.service", &text)?;
            host.ctl(&["daemon-reload"])?;
        }
        10 => drop(host.ctl(&["start", "deploy.service"])?),
        12 => drop(host.ctl(&["stop", "base.service"])?),
        14 => drop(host.ctl(&["restart", "deploy.service"])?),
        16 => drop(host.ctl(&["start", "bound.service", "part.service"])?),
        18 => drop(host.ctl(&["start", "rival.service"])?),
        20 => drop(host.ctl(&["try-restart", "deploy.service"])?),
        22 => {
            host.ctl(&["stop", "rival.service"])?;
            host.ctl(&["start", "shy.service"])?;
        }
        24 => drop(host.ctl(&["restart", "part.service"])?),
        _ => {}
    }
    Ok(())
}

/// Which activation of the unit is up.
fn up(host: &Host, unit: &str) -> Result<Option<String>, Failure> {
    let active = host.property(unit, "ActiveState")? == "active";
    active.then(|| host.property(unit, "InvocationID")).transpose()
}

fn live(host: &Host, seconds: u64) -> Result<(), Failure> {
    let began = Instant::now();
    let mut reexec_at = None;
    for second in 0..seconds {
        thread::sleep((began + Duration::from_secs(second)).saturating_duration_since(Instant::now()));
        let broker_before = up(host, BROKER)?;
        let done = happen(host, second);
        // Nobody can publish while the broker is away, and it may be back by the time that we look.
        let broker_stayed = broker_before.is_some() && broker_before == up(host, BROKER)?;
        ensure(done.is_ok() || !broker_stayed, || format!("second {second}: {done:?}"))?;
        if second == 25 {
            reexec_at = Some(Instant::now());
        }
        let (code, body) = host.http("/-/ready")?;
        let excused = reexec_at.is_some_and(|at| at.elapsed() < REEXEC_GRACE);
        ensure(code == 200 || excused, || format!("not ready in second {second}: {body}"))?;
    }
    Ok(())
}

/// Nothing was done, and nobody was called.
fn nothing_was_done(host: &Host) -> Result<(), Failure> {
    let incidents: Vec<Incident> = host.json(&["incidents", "--json"])?;
    for incident in &incidents {
        eprintln!("{}", host.unitmedic(&["incidents", "show", &incident.id.to_string()])?.stdout);
    }
    let acted = host.journal(&["UNITMEDIC_EVENT=attempt_acted"])? + &host.journal(&["UNITMEDIC_EVENT=escalated"])?;
    ensure(incidents.is_empty() && acted.is_empty(), || format!("{} incidents; {acted}", incidents.len()))
}

/// The readings came in: what is judged could have been raised.
fn was_seen(host: &Host) -> Result<(), Failure> {
    let queue = |worker: &str, queue: &str, metric: &str| {
        host.metric(&format!("unitmedic_queue_{metric}{{worker=\"{worker}\",vhost=\"/\",queue=\"{queue}\"}}"))
    };
    for (worker, name, up) in [
        ("busy", "busy", 1.0),
        ("elsewhere", "elsewhere", 1.0),
        ("late", "late", 1.0),
        ("missing", "missing", 0.0),
        ("locked", "idle", 0.0),
    ] {
        // The broker may have been restarted a moment ago.
        until(&format!("{name} of {worker} is {up}"), LIMIT, || match queue(worker, name, "up")? {
            read if read == Some(up) => Ok(()),
            read => Err(Failure::new(format!("{read:?}"))),
        })?;
    }
    until("acknowledgements are counted", LIMIT, || match queue("elsewhere", "elsewhere", "acknowledged_total")? {
        Some(count) if count > 0.0 => Ok(()),
        other => Err(Failure::new(format!("{other:?}"))),
    })?;
    let of_unit = |metric: &str, worker: &str, unit: &str| {
        host.metric(&format!("unitmedic_{metric}{{worker=\"{worker}\",unit=\"{unit}\"}}"))
    };
    for (worker, unit) in [("busy", "busy@1.service"), ("slow", "slow.service"), ("deploy", "deploy.service")] {
        let beat = of_unit("heartbeat_timestamp_seconds", worker, unit)?;
        ensure(beat.is_some(), || format!("{unit} never beat"))?;
    }
    let never = of_unit("heartbeat_timestamp_seconds", "elsewhere", "elsewhere.service")?;
    ensure(never.is_none(), || format!("it never beat: {never:?}"))?;
    let errors = of_unit("journal_errors_total", "errors", "errors.service")?;
    ensure(errors.is_some_and(|count| (3.0..10.0).contains(&count)), || format!("errors: {errors:?}"))?;
    let health = host.instance("stopped.service")?.health;
    ensure(health == Health::Stopped, || format!("stopped.service is {health}"))
}

/// What is wrong with a queue is named once, not with each reading.
fn was_told_once(host: &Host, restarts: u64) -> Result<(), Failure> {
    let log = host.sh(&format!("journalctl --no-pager -o cat -u {DAEMON} -p warning"))?;
    for word in ["missing", "locked"] {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(word)).collect();
        let most = 2 + 2 * restarts as usize;
        ensure((1..=most).contains(&lines.len()), || format!("{word}: {} lines\n{log}", lines.len()))?;
    }
    ensure(!log.contains("not this one") && !log.contains(PASSWORD), || format!("a password: {log}"))?;
    let connects = host.metric("unitmedic_broker_connects_total")?.unwrap_or(f64::MAX);
    eprintln!("{connects} attempts to connect to the broker, {restarts} restarts of it");
    ensure(connects <= CONNECTS_MAX * (restarts + 1) as f64, || format!("{connects} attempts to connect"))
}

#[test]
fn nothing_is_done_where_nothing_is_wrong() -> Result<(), Failure> {
    let seconds = env::var("UNITMEDIC_CONTROL_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let host = host()?;
    live(&host, seconds)?;
    nothing_was_done(&host)?;
    was_seen(&host)?;
    was_told_once(&host, (seconds + 139) / 180)?;
    // All of this was watched by somebody who can act.
    host.prove_awake()?;
    host.kill("busy@1.service")?;
    host.wait_recovered("busy@1.service", 1)?;
    let flows = || host.run(&[WORKER, "depth", URL, "busy"]).map(|output| output.stdout);
    until("messages flow", LIMIT, || {
        let text = flows()?;
        if text.trim().ends_with(" 1") { Ok(()) } else { Err(Failure::new(text)) }
    })?;
    host.done()
}
