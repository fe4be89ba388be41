//! What must fit together in the settings of one worker. Each problem is told at the key that is set nearest to it.

use crate::model::action::{HOOK_PREFIX, HookName};
use crate::model::settings::{AlertSettings, AlertmanagerSettings};
use crate::model::{Action, Condition, Selector, Severity, UnitName, WorkerName, WorkerSettings};

use super::build::Builder;
use super::errors::{At, nearest};
use super::keys::WORKER;
use super::merge::Table;

/// The tables that a value can come from, nearest first, each with its title.
type Tables<'t> = [(&'t str, &'t Table)];

impl Builder<'_> {
    pub fn check_worker(&mut self, worker: &WorkerSettings, title: &str, table: &Table, defaults: &Table) {
        let tables = [(title, table), ("[defaults]", defaults)];
        self.check_pairs(worker, &tables);
        self.check_passwords(worker, &tables);
        // Queues in the defaults wait for a worker; this is one.
        if !worker.queues.is_empty() && worker.amqp_url.is_none() {
            let text = format!("needs amqp_url in [worker.{}], such as \"amqp://broker.example/VHOST\"", worker.name);
            self.told("queues", &tables, &text);
        }
        self.check_instances(worker, title, table);
        self.check_hooks(worker, &tables);
        for condition in worker.plans.keys() {
            let plan = tables.iter().find_map(|(title, table)| Some((title, table.plans.get(condition)?)));
            if let Some((title, input)) = plan {
                self.check_plan(worker, *condition, title, input.at);
            }
        }
    }

    /// Two severities with one word could not be told apart by those who route them.
    pub fn check_severities(&mut self, alerts: &AlertSettings, table: &Table) {
        for (nth, severity) in Severity::ALL.iter().enumerate() {
            let word = alerts.word(*severity);
            let other = Severity::ALL[..nth].iter().find(|other| alerts.word(**other) == word);
            let key = |severity: &Severity| format!("severity_{severity}");
            let input = other.and_then(|other| {
                table.keys.get(key(severity).as_str()).or_else(|| table.keys.get(key(other).as_str()))
            });
            if let (Some(other), Some(input)) = (other, input) {
                let text = format!("severity_{severity} in [alerts] is {word:?}, and so is severity_{other}");
                self.problems.add(input.at, text);
            }
        }
    }

    /// Two keys that say the same in two ways.
    pub fn one_of(&mut self, title: &str, table: &Table, first: &str, second: &str) {
        if let (Some(_), Some(input)) = (table.keys.get(first), table.keys.get(second)) {
            let text = format!("{second} in {title} cannot be set together with {first}; keep one of them");
            self.problems.add(input.at, text);
        }
    }

    /// There is one way to log in.
    pub fn check_login(&mut self, settings: &AlertmanagerSettings, title: &str, table: &Table) {
        let set = |key: &&str| table.keys.contains_key(*key);
        const SECRETS: [&str; 4] = ["password_file", "password_credential", "token_file", "token_credential"];
        let secrets: Vec<&str> = SECRETS.into_iter().filter(set).collect();
        let mut told = |key: &str, text: &str| {
            if let Some(input) = table.keys.get(key) {
                self.problems.add(input.at, format!("{key} in {title} {text}"));
            }
        };
        if let [first, second, ..] = secrets[..] {
            told(second, &format!("cannot be set together with {first}; keep one of them"));
        }
        let with_password = secrets.iter().any(|key| key.starts_with("password"));
        match (settings.user.is_some(), with_password) {
            (true, false) => told("user", "needs password_file or password_credential"),
            (false, true) => told(secrets[0], "needs user"),
            _ => {}
        }
    }

    /// Defaults that contradict each other are told even when no worker has come to use them.
    pub fn check_defaults(&mut self, defaults: &Table) {
        let (Ok(name), Ok(unit)) = (WorkerName::new("defaults"), UnitName::new("defaults.service")) else {
            return;
        };
        let mut worker = WorkerSettings::new(name, Selector::Unit(unit));
        for key in WORKER.iter().filter(|key| !key.spec.own) {
            if let Some(value) = defaults.keys.get(key.spec.name).and_then(|input| input.value.clone()) {
                (key.set)(&mut worker, value);
            }
        }
        self.check_pairs(&worker, &[("[defaults]", defaults)]);
        self.check_passwords(&worker, &[("[defaults]", defaults)]);
    }

    /// Values that must be in order: the first not above the second.
    fn check_pairs(&mut self, worker: &WorkerSettings, tables: &Tables<'_>) {
        if worker.raise_samples > worker.window_samples {
            let (raise, window) = (worker.raise_samples, worker.window_samples);
            let text = format!("is above window_samples: {raise} of {window} samples can never be");
            self.pair(("raise_samples", "window_samples"), tables, text);
        }
        if worker.backoff > worker.restart_cooldown {
            let text = "is above restart_cooldown, which is the longest pause between two attempts".to_string();
            self.pair(("backoff", "restart_cooldown"), tables, text);
        }
        if worker.probe_failures > worker.probe_window {
            let (failures, window) = (worker.probe_failures, worker.probe_window);
            let text = format!("is above probe_window: {failures} of {window} probes can never be");
            self.pair(("probe_failures", "probe_window"), tables, text);
        }
        if worker.memory_target >= worker.memory_threshold {
            let (target, threshold) = (worker.memory_target, worker.memory_threshold);
            let text = format!("is {target}, and must be below memory_threshold ({threshold})");
            self.pair(("memory_target", "memory_threshold"), tables, text);
        }
    }

    /// Tells it at the key that is set nearest to the worker.
    fn pair(&mut self, (low, high): (&str, &str), tables: &Tables<'_>, text: String) {
        for (title, table) in tables {
            if let Some(input) = table.keys.get(low).or_else(|| table.keys.get(high)) {
                return self.problems.add(input.at, format!("{low} in {title} {text}"));
            }
        }
    }

    fn check_passwords(&mut self, worker: &WorkerSettings, tables: &Tables<'_>) {
        if worker.amqp_password_file.is_some() && worker.amqp_password_credential.is_some() {
            let text = "cannot be set together with amqp_password_file; keep one of the two";
            self.told("amqp_password_credential", tables, text);
        }
    }

    /// Tells it at the place where the key is set.
    fn told(&mut self, key: &str, tables: &Tables<'_>, text: &str) {
        if let Some((title, input)) = tables.iter().find_map(|(title, table)| Some((title, table.keys.get(key)?))) {
            self.problems.add(input.at, format!("{key} in {title} {text}"));
        }
    }

    fn check_hooks(&mut self, worker: &WorkerSettings, tables: &Tables<'_>) {
        for (hook, settings) in &worker.hooks {
            let placed = tables.iter().find_map(|(title, table)| Some((title, table.hooks.get(hook)?)));
            let Some((title, (at, _))) = placed.filter(|_| settings.command.is_empty()) else { continue };
            // A command that was refused is told already.
            if tables
                .iter()
                .all(|(_, table)| table.hooks.get(hook).is_none_or(|(_, t)| !t.keys.contains_key("command")))
            {
                let scope = title.trim_end_matches(']');
                let text =
                    format!("{scope}.hooks.{hook}] has no command; add, for example, command = [\"/usr/bin/true\"]");
                self.problems.add(*at, text);
            }
        }
    }

    /// A plan is kept as it stands, so each of its actions must be possible.
    fn check_plan(&mut self, worker: &WorkerSettings, condition: Condition, title: &str, at: At) {
        let name = &worker.name;
        let plan = format!("plan {condition} of {title}");
        for action in &worker.plans[&condition] {
            let wrong = match action {
                _ if condition == Condition::Predicted
                    && !worker.preventive
                    && is_for_more_than_a_guess(worker, *action) =>
                {
                    format!("has \"{action}\", which a forecast may use only with preventive = true in [worker.{name}]")
                }
                Action::Hook(hook) if !worker.hooks.contains_key(hook) => no_such_hook(worker, hook),
                Action::ScaleUp => match (&worker.unit, worker.max_instances) {
                    (Selector::Template(_), Some(_)) => continue,
                    (Selector::Template(_), None) => {
                        format!("has \"scale_up\", which needs max_instances in [worker.{name}]")
                    }
                    (unit, _) => format!(
                        "has \"scale_up\", which starts instances of a template, but unit in [worker.{name}] is {unit}; set unit = \"NAME@.service\" and max_instances"
                    ),
                },
                Action::ConnectionReset if !worker.has_peers() => {
                    format!("has \"connection_reset\", which needs peers or amqp_url in [worker.{name}]")
                }
                _ => continue,
            };
            self.problems.add(at, format!("{plan} {wrong}"));
        }
    }

    fn check_instances(&mut self, worker: &WorkerSettings, title: &str, table: &Table) {
        let at = |key: &str| table.keys.get(key).map(|input| input.at);
        for (key, value) in [("min_instances", worker.min_instances), ("max_instances", worker.max_instances)] {
            if let (Selector::Unit(unit), Some(at), Some(2..)) = (&worker.unit, at(key), value) {
                let text =
                    format!("{key} in {title} is above 1, but {unit} is a single unit; use a template, NAME@.service");
                self.problems.add(at, text);
            }
        }
        if let (true, false, Some(at)) = (worker.surge, matches!(worker.unit, Selector::Template(_)), at("surge")) {
            let unit = &worker.unit;
            let text = format!(
                "surge in {title} starts an extra instance of a template, but unit is {unit}; use NAME@.service"
            );
            self.problems.add(at, text);
        }
        if let (Some(min), Some(max), Some(at)) = (worker.min_instances, worker.max_instances, at("max_instances"))
            && max < min
        {
            self.problems.add(at, format!("max_instances in {title} is {max}, below min_instances ({min})"));
        }
    }
}

/// It interrupts work, or somebody's sleep.
fn is_for_more_than_a_guess(worker: &WorkerSettings, action: Action) -> bool {
    action == Action::Escalate || worker.is_disruptive(action) || action.replaces_process()
}

fn no_such_hook(worker: &WorkerSettings, hook: &HookName) -> String {
    let name = &worker.name;
    let known: Vec<&str> = worker.hooks.keys().map(HookName::as_str).collect();
    let hint = match nearest(hook.as_str(), known.iter().copied()) {
        Some(near) => format!("did you mean \"{HOOK_PREFIX}{near}\"?"),
        None if known.is_empty() => format!("add [worker.{name}.hooks.{hook}]"),
        None => format!("known are {}", known.join(", ")),
    };
    format!("has \"{HOOK_PREFIX}{hook}\", but [worker.{name}] has no such hook; {hint}")
}
