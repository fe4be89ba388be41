//! Runs an operator's own command for an instance, as a transient unit with limits.
//!
//! systemd-run makes the unit and waits for it. What the command is comes from the configuration alone.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
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
/// Kept of what systemd-run says.
const WORDS_MAX: u64 = 4096;
/// What systemd-run says at the end of a unit that it has waited for.
const RESULT: &str = "Finished with result: ";
const ENDED: &str = "Main processes terminated with: ";

/// How long an act with this hook may take.
pub fn limit(hook: &HookSettings) -> Duration {
    hook.timeout + MARGIN
}

/// The hook of this name, if the worker has it.
pub fn of(worker: &WorkerSettings, name: HookName) -> Option<&HookSettings> {
    worker.hooks.get(&name)
}

/// Runs the hook and waits for its end.
pub async fn run(
    bus: BusAddress,
    running: &Running,
    unit: &UnitName,
    worker: &WorkerSettings,
    name: HookName,
) -> Answer {
    let Some(hook) = of(worker, name) else {
        let text = format!("worker {} has no hook {name}; add [worker.{}.hooks.{name}]", worker.name, worker.name);
        return Answer::Refused { why: Refused::NotAllowed, text };
    };
    if let Some(why) = misleading(&hook.command, unit) {
        return Answer::Refused { why: Refused::NotAllowed, text: format!("hook {name}: {why}") };
    }
    let Some(_turn) = running.begin(unit) else {
        let text = format!("{unit}: a hook runs for it already");
        return Answer::Refused { why: Refused::JobInFlight, text };
    };
    let began = Instant::now();
    let mut command = Command::new("systemd-run");
    command.args(arguments(bus, unit, worker, name, hook));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            return Answer::DidNotWork { text: format!("hook {name}: systemd-run cannot be started: {error}") };
        }
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
        Ok(_) => {
            let why = why(&String::from_utf8_lossy(&words));
            Answer::DidNotWork { text: format!("hook {name} failed after {took}: {why}") }
        }
        Err(error) => Answer::Failed { text: format!("hook {name}: {error}") },
    }
}

/// Instances for which a hook runs: one at a time for each, whatever is ordered.
#[derive(Default)]
pub struct Running(Mutex<BTreeSet<UnitName>>);

impl Running {
    fn begin<'r>(&'r self, unit: &'r UnitName) -> Option<Turn<'r>> {
        let is_first = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(unit.clone());
        is_first.then_some(Turn { running: self, unit })
    }
}

struct Turn<'r> {
    running: &'r Running,
    unit: &'r UnitName,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.running.0.lock().unwrap_or_else(PoisonError::into_inner).remove(self.unit);
    }
}

/// Whoever gives the order chooses the unit's name, and so what `%i` stands for: it must not lead a path to another
/// directory, nor make an option of a word.
fn misleading(command: &[String], unit: &UnitName) -> Option<String> {
    let names = [expand("%i", unit), expand("%p", unit)];
    if let Some(dots) = names.iter().find(|name| !name.is_empty() && name.bytes().all(|byte| byte == b'.')) {
        return Some(format!("{dots:?} in the name of {unit} would mean a directory"));
    }
    // A script for a shell is one argument of many words.
    let words = command.iter().skip(1).flat_map(|argument| argument.split_whitespace());
    for word in words.take_while(|word| *word != "--") {
        let expanded = expand(word, unit);
        if expanded.starts_with('-') && !word.starts_with('-') {
            return Some(format!("{expanded:?} would be an option; put \"--\" before {word:?}"));
        }
    }
    None
}

/// `timeout, code=killed/status=TERM`, or what systemd-run complained of.
fn why(words: &str) -> String {
    let after = |lead: &str| words.lines().find_map(|line| line.trim().strip_prefix(lead)).map(str::trim);
    let why = match (after(RESULT), after(ENDED)) {
        (Some(result), Some(ended)) => format!("{result}, {ended}"),
        (Some(result), None) => result.into(),
        _ => words.lines().last().unwrap_or("systemd-run does not say why").trim().into(),
    };
    why.chars().filter(|c| !c.is_control()).collect()
}

/// A name that no other unit has, also not of a former process of ours.
fn unit_name(name: HookName) -> String {
    static RUN: AtomicU64 = AtomicU64::new(0);
    let run = RUN.fetch_add(1, Ordering::Relaxed);
    format!("unitmedic-hook-{}-{}-{run}.service", name.as_str(), std::process::id())
}

/// systemd replaces variables in the words of a command, and `$$` by a dollar.
fn verbatim(word: &str) -> String {
    word.replace('$', "$$")
}

fn arguments(
    bus: BusAddress,
    unit: &UnitName,
    worker: &WorkerSettings,
    name: HookName,
    hook: &HookSettings,
) -> Vec<String> {
    let mut arguments: Vec<String> = ["--wait", "--collect", "--service-type=simple"].map(Into::into).into();
    arguments.push(format!("--unit={}", unit_name(name)));
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
    let mut words = hook.command.iter();
    arguments.extend(words.next().cloned());
    arguments.extend(words.map(|word| verbatim(&expand(word, unit))));
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
            command: vec!["/usr/bin/flush".into(), "--queue=%i".into(), "--user=root".into(), "$HOME".into()],
            user: Some("mail".into()),
            ..HookSettings::default()
        };
        worker.hooks.insert(name, hook.clone());
        let arguments = arguments(BusAddress::System, &unit, &worker, name, &hook);
        let split = arguments.iter().position(|word| word == "--").unwrap();
        assert_eq!(arguments[split + 1..], ["/usr/bin/flush", "--queue=2", "--user=root", "$$HOME"]);
        for limit in ["RuntimeMaxSec=30000ms", "MemoryMax=256M", "TasksMax=64", "User=mail", "NoNewPrivileges=yes"] {
            assert!(arguments[..split].contains(&format!("--property={limit}")), "{limit}");
        }
    }

    #[test]
    fn each_run_has_a_unit_of_its_own() {
        let name = HookName::new(&"x".repeat(26)).unwrap();
        let (first, second) = (unit_name(name), unit_name(name));
        assert_ne!(first, second);
        for unit in [first, second] {
            let unit = UnitName::new(&unit).unwrap();
            assert!(crate::model::never::never_touch(unit.as_str()).is_some(), "{unit}");
        }
    }

    #[test]
    fn an_instance_does_not_change_what_a_command_means() {
        let misled = |command: &[&str], unit: &str| {
            let command: Vec<String> = command.iter().map(ToString::to_string).collect();
            misleading(&command, &UnitName::new(unit).unwrap()).is_some()
        };
        for (command, unit, is_misled) in [
            (&["/bin/x", "%i"][..], "mail@1.service", false),
            (&["/bin/x", "%i"], "mail@-rf.service", true),
            (&["/bin/x", "--", "%i"], "mail@-rf.service", false),
            (&["/bin/x", "--queue=%i"], "mail@-rf.service", false),
            (&["/bin/x", "-%i"], "mail@-rf.service", false),
            (&["/bin/x", "/spool/%i"], "mail@...service", true),
            (&["/bin/x", "--dir=%i"], "mail@..service", true),
            (&["/bin/x", "--", "%i/x"], "mail@...service", true),
            (&["/bin/x", "../%i.d"], "mail@.1.service", false),
            (&["/bin/x", "%n"], "-x@1.service", true),
            (&["/bin/x", "%p/%i"], "...service", true),
            (&["/bin/x", "%p"], "mail.service", false),
            (&["/bin/sh", "-c", "flush %i"], "mail@-rf.service", true),
            (&["/bin/sh", "-c", "flush -- %i"], "mail@-rf.service", false),
        ] {
            assert_eq!(misled(command, unit), is_misled, "{command:?} {unit}");
        }
    }

    #[test]
    fn one_runs_for_an_instance() {
        let (one, other) = (UnitName::new("turn@1.service").unwrap(), UnitName::new("turn@2.service").unwrap());
        let running = Running::default();
        let turn = running.begin(&one).expect("nothing runs");
        assert!(running.begin(&one).is_none() && running.begin(&other).is_some());
        drop(turn);
        assert!(running.begin(&one).is_some());
    }

    #[test]
    fn why_it_failed() {
        let said = "Running as unit: unitmedic-hook-x-1-0.service\nFinished with result: exit-code\n\
                    Main processes terminated with: code=exited/status=3\nService runtime: 4ms\n";
        assert_eq!(why(said), "exit-code, code=exited/status=3");
        assert_eq!(
            why("Failed to start transient service unit: \u{1b}no\n"),
            "Failed to start transient service unit: no"
        );
        assert_eq!(why(""), "systemd-run does not say why");
    }

    #[tokio::test]
    async fn one_that_is_not_configured_is_refused() {
        let unit = UnitName::new("mail.service").unwrap();
        let worker = WorkerSettings::new(WorkerName::new("mail").unwrap(), Selector::Unit(unit.clone()));
        let answer =
            run(BusAddress::System, &Running::default(), &unit, &worker, HookName::new("flush").unwrap()).await;
        assert!(matches!(answer, Answer::Refused { why: Refused::NotAllowed, .. }), "{answer:?}");
    }
}
