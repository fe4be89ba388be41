//! What 10,000 instances cost that give a sign of life every 10 s: unitmedic on its socket, and PID 1 on its own.
//!
//! One sender speaks for all of them: root may name another process in a datagram's credentials, so what receives it has
//! the same work as with 10,000 senders.

use std::time::Duration;

use serde_json::{Value, json};

use super::report::Row;
use super::testhost::{Failure, Machine, Place, wait_for};
use super::{PROGRAM, cpu, names};

const INSTANCES: u32 = 10_000;
/// A worker has at most 4,096 instances.
const TEMPLATES: [&str; 4] = ["beata", "beatb", "beatc", "beatd"];
const EACH: u32 = 2_500;
/// Units in one call of systemctl, whose arguments have a limit.
const BATCH: u32 = 500;
const SECONDS: &str = "60";
/// Each instance beats once in this.
const PERIOD: u32 = 10;
const OUR_SOCKET: &str = "/run/unitmedic/heartbeat.sock";
const PEER_SOCKET: &str = "/run/systemd/notify";
/// How long 10,000 units may take to start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(600);
const INSIDE_LIMIT: Duration = Duration::from_secs(120);

const UNIT: &str = "[Service]
ExecStart=/usr/bin/sleep infinity
NotifyAccess=main
";
/// Sampling is the same with and without beats; with a minute in between it disturbs less.
const CONFIGURATION: &str = "[daemon]
health_check_interval = \"60s\"
control_group = \"\"

[worker.beata]
unit = \"beata@.service\"
[worker.beatb]
unit = \"beatb@.service\"
[worker.beatc]
unit = \"beatc@.service\"
[worker.beatd]
unit = \"beatd@.service\"
";

pub fn measure(rows: &mut Vec<Row>) -> Result<Value, Failure> {
    let mut builder = Machine::builder("beats")
        .binary(env!("CARGO_BIN_EXE_unitmedic"))
        .program(PROGRAM, std::env::current_exe()?)
        .file("/etc/unitmedic/unitmedic.toml", CONFIGURATION)
        .file("/etc/systemd/system/unitmedic.service", include_str!("../../systemd/unitmedic.service"));
    for template in TEMPLATES {
        builder = builder.file(&format!("/etc/systemd/system/{template}@.service"), UNIT);
    }
    let machine = builder.boot()?;
    eprintln!("starting {INSTANCES} units …");
    let batches = TEMPLATES.into_iter().flat_map(|of| (1..=EACH).step_by(BATCH as usize).map(move |first| (of, first)));
    for (template, first) in batches {
        let units: Vec<String> = names(template, first..=first + BATCH - 1).collect();
        let start: Vec<&str> = ["systemctl", "start"].into_iter().chain(units.iter().map(String::as_str)).collect();
        machine.run_for(&start, b"", START_LIMIT)?.success()?;
    }
    machine.ctl(&["start", "unitmedic.service"])?;
    let medic = machine.main_pid("unitmedic.service")?.to_string();
    let inside = |words: &[&str]| -> Result<Value, Failure> {
        let all: Vec<&str> = [PROGRAM, "inside"].iter().chain(words).copied().collect();
        let text = machine.run_for(&all, b"", INSIDE_LIMIT)?.success()?;
        serde_json::from_str(&text).map_err(|error| Failure::new(format!("{error}: {text}")))
    };
    let templates = TEMPLATES.join(",");
    wait_for("a beat is heard of each instance", START_LIMIT, || {
        inside(&["beats", OUR_SOCKET, &templates, &PERIOD.to_string(), "20"])?;
        let heard = heard(&machine)?;
        if heard >= f64::from(INSTANCES) { Ok(()) } else { Err(Failure::new(format!("{heard} heard"))) }
    })?;
    eprintln!("{SECONDS} s without beats, {SECONDS} s with, {SECONDS} s to PID 1 …");
    let period = PERIOD.to_string();
    let without = inside(&["idle", SECONDS, "1", &medic])?;
    let before = heard(&machine)?;
    let ours = inside(&["beats", OUR_SOCKET, &templates, &period, SECONDS, "1", &medic])?;
    // The last ones may be on their way.
    inside(&["idle", "2"])?;
    let heard = heard(&machine)? - before;
    let theirs = inside(&["beats", PEER_SOCKET, &templates, &period, SECONDS, "1", &medic])?;
    let sent = ours["sent"].as_f64().unwrap_or(f64::NAN);
    if heard != sent {
        return Err(Failure::new(format!("{sent} beats were sent, and {heard} were heard")));
    }
    let share = |one: &Value, pid: &str| cpu(one, pid) / one["span_us"].as_f64().unwrap_or(f64::NAN) * 100.0;
    let (us, base) = (share(&ours, &medic), share(&without, &medic));
    let them = share(&theirs, "1") - share(&without, "1");
    println!("threads of unitmedic, us in {SECONDS} s: {}", ours["threads_us"][&medic]);
    println!("beats, % of a core: unitmedic {us:.3}, without beats {base:.3}; PID 1, sent to it {them:.3}");
    let measured = format!("{:.2} % of a core", us - base);
    let peer = format!("PID 1, the same sent to it: {them:.2} %");
    let row = Row::new("signs of life of 10,000 instances every 10 s, CPU", measured).peer(peer, (us - base) / them);
    rows.push(row.asked("< 1 %", us - base < 1.0));
    Ok(json!({ "without": without, "ours": ours, "theirs": theirs, "heard": heard }))
}

/// Datagrams that counted for an instance.
fn heard(machine: &Machine) -> Result<f64, Failure> {
    let text = machine.run(&["curl", "-sS", "http://127.0.0.1:10119/metrics"])?.success()?;
    let series = "unitmedic_heartbeat_datagrams_total{result=\"counted\"} ";
    let value = text.lines().find_map(|line| line.strip_prefix(series)).ok_or("no such series")?;
    value.parse().map_err(|_| Failure::new(format!("{series}{value}")))
}
