//! unitmedic as its real service in the machine, and what the cases ask it: status, incidents, explanations, metrics.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use unitmedic::adapters::http::client::{Client, ClientError};
use unitmedic::model::history::Filter;
use unitmedic::model::request::Target;
use unitmedic::model::status::{Explanation, InstanceStatus, Status};
use unitmedic::model::{Condition, Evidence, Health, Incident, UnitName};

use crate::cases::{LIMIT, WORKER_UNITS, WORKERS};
use crate::testhost::{Failure, Here, Place, installed, wait_for};

const PORT: &str = "127.0.0.1:10119";
const SOCKET: &str = "/run/unitmedic/control.sock";

/// Pause before each question, so that asking does not take the processor from what is asked.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Short spans, so that a case takes seconds. Patience is long enough to look at a warning before it is acted on.
const MAIN: &str = r#"
[daemon]
health_check_interval = "1s"
families = ["node_exporter"]

[defaults]
raise_samples = 2
window_samples = 3
cpu_sustained = "2s"
warning_patience = "5s"
verify_for = "3s"
verify_dead_for = "3s"
backoff = "500ms"
"#;

/// Starts units of a case and waits until all of them are healthy in unitmedic's eyes.
pub fn start(units: &[&str]) -> Result<(), Failure> {
    install()?;
    Here.ctl(&[&["start"], units].concat())?;
    for unit in units {
        wait_health(unit, Health::Healthy)?;
    }
    Ok(())
}

/// An operator's stop: unitmedic leaves them alone from then on.
pub fn stop(units: &[&str]) -> Result<(), Failure> {
    Here.ctl(&[&["stop"], units].concat())?;
    Ok(())
}

/// Installs unitmedic and the workers of all cases, and starts it. Once: to reload systemd takes seconds here.
fn install() -> Result<(), Failure> {
    static INSTALLED: OnceLock<Result<(), Failure>> = OnceLock::new();
    let install = || -> Result<(), Failure> {
        for (name, text) in WORKER_UNITS.iter().copied().flatten() {
            fs::write(format!("{}/{name}", Here.unit_directory()), text)?;
        }
        Here.write("/etc/unitmedic/unitmedic.toml", &[MAIN, &WORKERS.concat()].concat())?;
        installed::put(&Here)?;
        Here.sh("mkdir -p /run/cases && systemctl daemon-reload")?;
        let started =
            Here.run_for(&["systemctl", "start", "unitmedic"], b"", LIMIT).and_then(|output| output.success());
        started.map_err(|failure| {
            let said = Here.journal(&["-u", "unitmedic", "-n", "40"]).unwrap_or_default();
            Failure::new(format!("{failure}\n{said}"))
        })?;
        Ok(())
    };
    INSTALLED.get_or_init(install).clone()
}

pub fn status() -> Result<Status, Failure> {
    ask(async |client| client.status().await)
}

/// The incidents of a unit, newest first.
pub fn incidents(unit: &str) -> Result<Vec<Incident>, Failure> {
    let filter = Filter { unit: Some(name(unit)?), ..Filter::default() };
    ask(async |client| client.incidents(&filter).await)
}

pub fn explain(unit: &str) -> Result<Explanation, Failure> {
    let target = Target::Unit(name(unit)?);
    let explanations = ask(async |client| client.explain(&target).await)?;
    explanations.into_iter().next().ok_or_else(|| format!("no explanation of {unit}").into())
}

/// Over the control socket, as the commands do, but without a process for each question: those are dear here.
fn ask<T>(question: impl AsyncFnOnce(&Client) -> Result<T, ClientError>) -> Result<T, Failure> {
    thread::sleep(ASK_EVERY);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(question(&Client::new(SOCKET))).map_err(|error| error.to_string().into())
}

fn name(unit: &str) -> Result<UnitName, Failure> {
    UnitName::new(unit).map_err(|error| error.to_string().into())
}

pub fn instance(unit: &str) -> Result<InstanceStatus, Failure> {
    let mut instances = status()?.workers.into_iter().flat_map(|worker| worker.instances);
    instances.find(|instance| instance.unit.as_str() == unit).ok_or_else(|| format!("{unit} is not watched").into())
}

pub fn wait_health(unit: &str, health: Health) -> Result<InstanceStatus, Failure> {
    wait_for(&format!("{unit} is {health}"), LIMIT, || {
        let seen = instance(unit)?;
        if seen.health == health { Ok(seen) } else { Err(shown(&seen)) }
    })
}

/// Waits until a condition holds for a unit.
pub fn wait_condition(unit: &str, condition: Condition) -> Result<(InstanceStatus, Evidence), Failure> {
    wait_for(&format!("{unit} has {condition}"), LIMIT, || {
        let seen = instance(unit)?;
        match seen.conditions.get(&condition).cloned() {
            Some(evidence) => Ok((seen, evidence)),
            None => Err(shown(&seen)),
        }
    })
}

fn shown(seen: &InstanceStatus) -> Failure {
    Failure::new(format!("{}: {}; {:?}; {:?}", seen.health, seen.because, seen.conditions, seen.usage))
}

/// Waits for the unit's latest incident to close.
pub fn wait_closed(unit: &str) -> Result<Incident, Failure> {
    wait_for(&format!("the incident of {unit} is closed"), LIMIT, || match incidents(unit)?.into_iter().next() {
        Some(incident) if !incident.is_open() => Ok(incident),
        other => Err(Failure::new(format!("{other:?}"))),
    })
}

/// Looks at each new sample of a unit until samples have gone on for `span`. Nothing shows that something does not
/// happen but time; what counts is that unitmedic itself has looked all the while.
pub fn while_sampled(
    unit: &str,
    span: Duration,
    mut look: impl FnMut(&InstanceStatus) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut first = None;
    wait_for(&format!("{unit} was sampled for {span:?}"), LIMIT + span, || -> Result<Result<(), Failure>, Failure> {
        let seen = instance(unit)?;
        if let Err(failure) = look(&seen) {
            return Ok(Err(failure));
        }
        let at = seen.usage.as_ref().ok_or("no sample")?.at;
        let begun = *first.get_or_insert(at);
        if at.since(begun) >= span { Ok(Ok(())) } else { Err(format!("since {begun:?}, now {at:?}").into()) }
    })?
}

/// The value of the series with all these labels (`unit="mail.service"`).
pub fn metric(name: &str, labels: &[&str]) -> Result<f64, Failure> {
    let text = scrape()?;
    let mut series = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} "));
    let (_, value) = series
        .find(|(all, _)| labels.iter().all(|label| all.split(',').any(|one| one == *label)))
        .ok_or_else(|| Failure::new(format!("no series {name} with {labels:?}")))?;
    value.parse().map_err(|error| format!("{name} is {value}: {error}").into())
}

fn scrape() -> Result<String, Failure> {
    let mut stream = TcpStream::connect(PORT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: unitmedic\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200 ") { Ok(answer) } else { Err(answer.into()) }
}

/// Waits until a unit's metric is what a file of its cgroup says at the same time.
pub fn wait_agrees(name: &str, labels: &[&str], file: impl Fn() -> Result<f64, Failure>) -> Result<f64, Failure> {
    wait_for(&format!("{name} is what the cgroup says"), LIMIT, || {
        let (told, there) = (metric(name, labels)?, file()?);
        // Both come from whole numbers of bytes or microseconds.
        if (told - there).abs() < 1e-6 { Ok(told) } else { Err(Failure::new(format!("{told}, the file {there}"))) }
    })
}

/// The directory of a unit's cgroup.
pub fn cgroup(unit: &str) -> Result<String, Failure> {
    Ok(format!("/sys/fs/cgroup{}", Here.property(unit, "ControlGroup")?))
}

/// A file of one number.
pub fn number(path: &str) -> Result<u64, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::new(format!("{path}: {error}")))?;
    text.trim().parse().map_err(|error| format!("{path} says {text}: {error}").into())
}

/// One number of a file of `key value` lines.
pub fn keyed(path: &str, key: &str) -> Result<u64, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::new(format!("{path}: {error}")))?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    Ok(value.ok_or_else(|| format!("{path} has no {key}: {text}"))?.parse()?)
}

/// Numbers of lines such as `254:0 rbytes=1 wbytes=2` or `some avg10=0.00 total=3`, added up over lines that begin with
/// `start`.
pub fn assigned(path: &str, start: &str, key: &str) -> Result<u64, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::new(format!("{path}: {error}")))?;
    let words = text.lines().filter(|line| line.starts_with(start)).flat_map(str::split_whitespace);
    let mut found = words.filter_map(|word| word.strip_prefix(key)?.strip_prefix('=')).peekable();
    if found.peek().is_none() {
        return Err(format!("{path} has no {key}: {text}").into());
    }
    found.try_fold(0, |sum, value| Ok(sum + value.parse::<u64>()?))
}

/// Makes the file that a worker waits for.
pub fn trigger(name: &str) -> Result<(), Failure> {
    Here.write(&format!("/run/cases/{name}"), "")
}
