//! The table of keys as people read it: the reference in docs/configuration.md, the commented default
//! configuration, and the settings in force with their origin.

use crate::model::settings::{
    AlertSettings, AlertmanagerSettings, DaemonSettings, GuardSettings, HookSettings, WebhookSettings,
};
use crate::model::status::{SettingView, SettingsKey, SettingsTable};
use crate::model::{Action, Condition, Selector, Settings, WorkerName, WorkerSettings};

use super::keys::{ALERTMANAGER, ALERTS, DAEMON, GUARD, HOOK, Key, Section, WEBHOOK, WORKER};
use super::masked;
use super::value::{Kind, Value, words};

/// Origin of a value that nobody set.
const DEFAULT: &str = "default";
/// Width of the comments in the default configuration.
const COMMENT_WIDTH: usize = 110;

/// The settings of a worker that are in force, each with where it was set.
pub fn in_force(settings: &Settings, worker: &WorkerSettings) -> Vec<SettingView> {
    let view = |key: String, value: String| {
        let origin = settings.origins.get(&key).map_or(DEFAULT, String::as_str).to_string();
        SettingView { key, value, origin }
    };
    let name = &worker.name;
    let keys = WORKER.iter().filter_map(|key| {
        let value = match key.spec.kind {
            Kind::Selector => Value::Selector(worker.unit.clone()),
            _ => (key.show)(worker)?,
        };
        Some(view(format!("worker.{name}.{}", key.spec.name), value.toml()))
    });
    let plans = worker.plans.iter().map(|(condition, plan)| {
        let plan = plan.iter().map(|action| format!("\"{action}\"")).collect::<Vec<_>>().join(", ");
        view(format!("worker.{name}.plans.{condition}"), format!("[{plan}]"))
    });
    let hooks = worker.hooks.iter().flat_map(|(hook, settings)| {
        let scope = format!("worker.{name}.hooks.{hook}");
        HOOK.iter().filter_map(move |key| Some((format!("{scope}.{}", key.spec.name), (key.show)(settings)?.toml())))
    });
    let hooks = hooks.map(|(key, value)| view(key, value));
    keys.chain(plans).chain(hooks).collect()
}

/// All settings in force, table by table, each with where it was set. Secrets are masked.
pub fn effective(settings: &Settings) -> Vec<SettingsTable> {
    let table = |name: &str, keys| SettingsTable { table: name.into(), keys };
    let mut tables = vec![
        table("daemon", keys(settings, "daemon", DAEMON, &settings.daemon)),
        table("guard", keys(settings, "guard", GUARD, &settings.guard)),
        table("alerts", keys(settings, "alerts", ALERTS, &settings.alerts)),
    ];
    for (name, one) in &settings.alertmanagers {
        let name = format!("alertmanager.{name}");
        tables.push(table(&name, keys(settings, &name, ALERTMANAGER, one)));
    }
    tables.push(table("webhook", keys(settings, "webhook", WEBHOOK, &settings.webhook)));
    for worker in settings.workers.values() {
        let name = format!("worker.{}", worker.name);
        let mut of_worker = keys(settings, &name, WORKER, worker);
        // It has no default, and so no way to show one.
        let unit = of_worker.iter_mut().filter(|key| key.key == "unit");
        unit.for_each(|key| key.value = Some(Value::Selector(worker.unit.clone()).toml()));
        tables.push(table(&name, of_worker));
        if !worker.plans.is_empty() {
            let scope = format!("{name}.plans");
            let plan = |(condition, actions): (&Condition, &Vec<Action>)| {
                let actions = Value::Texts(actions.iter().map(Action::to_string).collect());
                let doc = "Its own order of actions for this condition.".into();
                let (key, value) = (condition.to_string(), Some(actions.toml()));
                SettingsKey { origin: origin(settings, &format!("{scope}.{key}")), key, value, doc }
            };
            tables.push(table(&scope, worker.plans.iter().map(plan).collect()));
        }
        for (hook, one) in &worker.hooks {
            let name = format!("{name}.hooks.{hook}");
            tables.push(table(&name, keys(settings, &name, HOOK, one)));
        }
    }
    tables
}

fn keys<T>(settings: &Settings, table: &str, keys: &[Key<T>], of: &T) -> Vec<SettingsKey> {
    let key = |key: &Key<T>| SettingsKey {
        key: key.spec.name.into(),
        value: (key.show)(of).map(|value| without_secrets(key.spec.kind, value).toml()),
        origin: origin(settings, &format!("{table}.{}", key.spec.name)),
        doc: key.spec.doc.into(),
    };
    keys.iter().map(key).collect()
}

fn origin(settings: &Settings, key: &str) -> String {
    settings.origins.get(key).map_or(DEFAULT, String::as_str).into()
}

fn without_secrets(kind: Kind, value: Value) -> Value {
    match (kind, value) {
        (Kind::Url(_), Value::Text(text)) => Value::Text(masked::url(&text)),
        (Kind::Command, Value::Texts(arguments)) => Value::Texts(masked::command(&arguments)),
        (_, value) => value,
    }
}

/// A key as a reader needs it.
pub struct Entry {
    pub name: &'static str,
    pub doc: &'static str,
    /// What its value may be: completes "Takes …".
    pub takes: String,
    /// As TOML.
    pub default: Option<String>,
    pub example: Option<&'static str>,
    /// Not for `[defaults]`.
    pub own: bool,
}

/// Tables with the same keys.
pub struct Table {
    pub titles: Vec<&'static str>,
    pub entries: Vec<Entry>,
}

/// All keys, in the order in which they are explained.
pub fn tables() -> Vec<Table> {
    let table = |section: Section| Table {
        titles: match section {
            Section::Worker => vec![Section::Worker.title(), Section::Defaults.title()],
            Section::Hook => vec![Section::Hook.title(), "[defaults.hooks.HOOK]"],
            _ => vec![section.title()],
        },
        entries: entries(section).into_iter().map(entry).collect(),
    };
    [
        Section::Daemon,
        Section::Guard,
        Section::Alerts,
        Section::Alertmanager,
        Section::Webhook,
        Section::Worker,
        Section::Hook,
    ]
    .map(table)
    .into()
}

fn entry((spec, default): (super::keys::Spec, Option<String>)) -> Entry {
    let super::keys::Spec { name, doc, example, own, .. } = spec;
    Entry { name, doc, takes: spec.kind.takes(), default, example, own }
}

/// What a table of plans takes.
pub fn plans() -> String {
    let conditions = words(Condition::ALL.iter().map(|condition| condition.as_str()));
    let planned = Action::ALL.iter().filter(|action| **action != Action::ScaleDown);
    let actions = words(planned.map(|action| action.as_str()).chain(["hook:NAME"]));
    format!("A key is a condition: {conditions}. Its value is a list of actions: {actions}.")
}

/// The tables of docs/configuration.md.
pub fn markdown() -> String {
    let mut text = String::new();
    for table in tables() {
        let titles: Vec<String> = table.titles.iter().map(|title| format!("`{title}`")).collect();
        let title = titles.join(" and ");
        text.push_str(&format!("### {title}\n\n| key | takes | default | meaning |\n|---|---|---|---|\n"));
        for Entry { name, doc, takes, default, example, own } in table.entries {
            let default = default.map_or("none".into(), |default| format!("`{}`", default.replace('|', "\\|")));
            let own = if own { " Not in `[defaults]`." } else { "" };
            let example =
                example.map(|example| format!(" Example: `{}`", example.replace('|', "\\|"))).unwrap_or_default();
            text.push_str(&format!("| `{name}` | {takes} | {default} | {doc}{own}{example} |\n"));
        }
        text.push('\n');
    }
    text.push_str("### `[worker.NAME.plans]` and `[defaults.plans]`\n\n");
    text.push_str(&plans().replace('"', "`"));
    text.push('\n');
    text
}

/// packaging/unitmedic.toml: every key with its default or an example, all commented out.
pub fn default_file() -> String {
    let mut text = String::from(
        "# Configuration of unitmedic. Every key is shown with its default; one that has none is\n\
         # shown with an example, after \"# \".\n\
         # Nothing is touched until there is a worker. `unitmedic discover` proposes workers for this host,\n\
         # `unitmedic check-config` checks this file, `systemctl reload unitmedic` takes it into use.\n\
         # Files in conf.d/*.toml beside this one are read after it, in the order of their names.\n",
    );
    for section in [Section::Daemon, Section::Guard, Section::Alerts, Section::Webhook, Section::Defaults] {
        text.push_str(&format!("\n{}\n", section.title()));
        if section == Section::Defaults {
            text.push_str("# For every worker that does not say otherwise.\n");
        }
        for (spec, default) in entries(section) {
            let doc = format!("{} Takes {}.", spec.doc.replace('`', ""), spec.kind.takes());
            text.push_str(&format!("\n{}", comment(&doc)));
            match (default, spec.example) {
                (Some(default), _) => text.push_str(&format!("#{} = {default}\n", spec.name)),
                // The space keeps it apart from what can be switched on as it stands.
                (None, example) => text.push_str(&format!("# {} = {}\n", spec.name, example.unwrap_or_default())),
            }
        }
    }
    text.push_str(
        "\n# An Alertmanager, which is told of every alert. Of a cluster, name each one.\n\
         #[alertmanager.main]\n\
         #url = \"http://127.0.0.1:9093\"\n\
         \n# A worker: one unit, all instances of a template, or a pattern. It takes every key of [defaults], and:\n\
         #[worker.mail]\n\
         #unit = \"mail@.service\"\n\
         #critical = true\n\
         #min_instances = 2\n\
         #max_instances = 4\n\
         \n# Its own order of actions for a condition:\n\
         #[worker.mail.plans]\n\
         #dead = [\"restart\", \"escalate\"]\n\
         #memory_high = [\"hook:flush\", \"memory_cleanup\", \"escalate\"]\n\
         \n# An action of its own:\n\
         #[worker.mail.hooks.flush]\n\
         #command = [\"/usr/lib/mail/flush\", \"%i\"]\n\
         #timeout = \"30s\"\n\
         #disruptive = false\n",
    );
    text
}

fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from("#");
    for word in text.split(' ') {
        if line.len() + 1 + word.len() > COMMENT_WIDTH {
            lines.push_str(&line);
            lines.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    format!("{lines}{line}\n")
}

/// The keys of a section with their defaults as TOML.
fn entries(section: Section) -> Vec<(super::keys::Spec, Option<String>)> {
    fn of<T>(keys: &[Key<T>], settings: &T) -> Vec<(super::keys::Spec, Option<String>)> {
        keys.iter().map(|key| (key.spec, (key.show)(settings).map(|value| value.toml()))).collect()
    }
    let worker = || WorkerName::new("x").ok().map(|name| WorkerSettings::new(name, Selector::Template("x".into())));
    match section {
        Section::Daemon => of(DAEMON, &DaemonSettings::default()),
        Section::Guard => of(GUARD, &GuardSettings::default()),
        Section::Alerts => of(ALERTS, &AlertSettings::default()),
        Section::Webhook => of(WEBHOOK, &WebhookSettings::default()),
        Section::Alertmanager => of(ALERTMANAGER, &AlertmanagerSettings::default()),
        Section::Hook => of(HOOK, &HookSettings::default()),
        Section::Worker => worker().map(|worker| of(WORKER, &worker)).unwrap_or_default(),
        Section::Defaults => entries(Section::Worker).into_iter().filter(|(spec, _)| !spec.own).collect(),
    }
}
