//! Runs an operator's own command for an instance, as a transient unit with limits.
//!
//! systemd-run makes the unit and waits for it. What the command is comes from the configuration alone.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::adapters::systemd::bus::BusAddress;
use crate::model::action::{Answer, HookName, Refused};
use crate::model::name::UnitName;
use crate::model::settings::{HookSettings, WorkerSettings};
use crate::model::signal::expand;

/// Beyond the hook's own timeout, for systemd to start the unit and to kill what does not end.
const MARGIN: Duration = Duration::from_secs(15);
/// What a hook may use: it is a helping hand, not a worker.
const MEMORY_MAX: &str = "256M";
const TASKS_MAX: &str = "64";
/// Kept of what systemd-run says when it cannot run it.
const WORDS_MAX: u64 = 4096;

/// How long an act with this hook may take.
pub fn limit(hook: &HookSettings) -> Duration {
    hook.timeout + MARGIN
}

/// The hook of this name, if the worker has it.
pub fn of(worker: &WorkerSettings, name: HookName) -> Option<&HookSettings> {
    worker.hooks.get(&name)
}

/// Runs the hook and waits for its end.
pub async fn run(bus: BusAddress, unit: &UnitName, worker: &WorkerSettings, name: HookName) -> Answer {
    let Some(hook) = of(worker, name) else {
        let text = format!("worker {} has no hook {name}; add [worker.{}.hooks.{name}]", worker.name, worker.name);
        return Answer::Refused { why: Refused::NotAllowed, text };
    };
    let began = Instant::now();
    let mut command = Command::new("systemd-run");
    command.args(arguments(bus, unit, worker, name, hook));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Answer::Failed { text: format!("hook {name}: systemd-run cannot be started: {error}") },
    };
    let mut words = Vec::new();
    if let Some(pipe) = child.stderr.take() {
        let _ = pipe.take(WORDS_MAX).read_to_end(&mut words).await;
    }
    let took = crate::model::time::human(began.elapsed());
    match child.wait().await {
        Ok(status) if status.success() => {
            Answer::Accepted { job: None, did: Some(format!("hook {name} ended well after {took}")) }
        }
        Ok(status) => {
            let words = String::from_utf8_lossy(&words);
            let words: String = words.lines().last().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
            let words = if words.is_empty() { String::new() } else { format!(" ({words})") };
            Answer::Failed { text: format!("hook {name} failed after {took}: {status}{words}") }
        }
        Err(error) => Answer::Failed { text: format!("hook {name}: {error}") },
    }
}

fn arguments(
    bus: BusAddress,
    unit: &UnitName,
    worker: &WorkerSettings,
    name: HookName,
    hook: &HookSettings,
) -> Vec<String> {
    let mut arguments: Vec<String> = ["--quiet", "--wait", "--collect", "--service-type=exec"].map(Into::into).into();
    if bus == BusAddress::User {
        arguments.push("--user".into());
    }
    arguments.push(format!("--description=unitmedic: hook {name} for {unit}"));
    arguments.push(format!("--setenv=UNITMEDIC_UNIT={unit}"));
    arguments.push(format!("--setenv=UNITMEDIC_WORKER={}", worker.name));
    let properties = [
        format!("RuntimeMaxSec={}ms", hook.timeout.as_millis()),
        "TimeoutStopSec=5s".into(),
        "KillMode=control-group".into(),
        "NoNewPrivileges=yes".into(),
        format!("MemoryMax={MEMORY_MAX}"),
        format!("TasksMax={TASKS_MAX}"),
        "LogRateLimitIntervalSec=10s".into(),
        "LogRateLimitBurst=100".into(),
    ];
    arguments.extend(properties.map(|property| format!("--property={property}")));
    arguments.extend(hook.user.iter().map(|user| format!("--property=User={user}")));
    arguments.push("--".into());
    arguments.extend(hook.command.iter().map(|word| expand(word, unit)));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WorkerName;
    use crate::model::settings::Selector;

    #[test]
    fn the_command_is_the_configured_one_and_has_limits() {
        let unit = UnitName::new("mail@2.service").unwrap();
        let mut worker = WorkerSettings::new(WorkerName::new("mail").unwrap(), Selector::Template("mail".into()));
        let name = HookName::new("flush").unwrap();
        let hook = HookSettings {
            command: vec!["/usr/bin/flush".into(), "--queue=%i".into(), "--user=root".into()],
            user: Some("mail".into()),
            ..HookSettings::default()
        };
        worker.hooks.insert(name, hook.clone());
        let arguments = arguments(BusAddress::System, &unit, &worker, name, &hook);
        let split = arguments.iter().position(|word| word == "--").unwrap();
        assert_eq!(arguments[split + 1..], ["/usr/bin/flush", "--queue=2", "--user=root"]);
        for limit in ["RuntimeMaxSec=30000ms", "MemoryMax=256M", "TasksMax=64", "User=mail", "NoNewPrivileges=yes"] {
            assert!(arguments[..split].contains(&format!("--property={limit}")), "{limit}");
        }
    }

    #[tokio::test]
    async fn one_that_is_not_configured_is_refused() {
        let unit = UnitName::new("mail.service").unwrap();
        let worker = WorkerSettings::new(WorkerName::new("mail").unwrap(), Selector::Unit(unit.clone()));
        let answer = run(BusAddress::System, &unit, &worker, HookName::new("flush").unwrap()).await;
        assert!(matches!(answer, Answer::Refused { why: Refused::NotAllowed, .. }), "{answer:?}");
    }
}
