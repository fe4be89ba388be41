//! The one table of keys: name, kind, range and meaning. It feeds the parser, the suggestions for misspelt
//! keys, docs/configuration.md and packaging/unitmedic.toml. Defaults come from the model.

use std::time::Duration;

use crate::model::WorkerSettings;
use crate::model::approval::{ApprovalFor, NoAnswer};
use crate::model::settings::{
    AlertSettings, AlertmanagerSettings, DaemonSettings, Explore, GuardSettings, HookSettings, OnStop, WebhookSettings,
};

use super::address::UrlKind;
use super::value::{DIR_PATH_MAX, Field, Kind, SOCKET_PATH_MAX, Value};

/// Most instances of one worker that a limit may name.
pub const INSTANCES_MAX: u32 = 10_000;

/// One key: what it is called and takes, and which field it fills.
pub struct Key<T: 'static> {
    pub spec: Spec,
    pub show: fn(&T) -> Option<Value>,
    pub set: fn(&mut T, Value),
}

/// What is known of a key without knowing its field.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    pub name: &'static str,
    pub kind: Kind,
    /// For `[worker.NAME]` only: `[defaults]` cannot have it.
    pub own: bool,
    /// For a key without a default: a value as TOML, to show how it is written.
    pub example: Option<&'static str>,
    pub doc: &'static str,
}

/// A table of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Daemon,
    Guard,
    Alerts,
    Alertmanager,
    Webhook,
    Defaults,
    Worker,
    Hook,
}

impl Section {
    pub const ALL: [Section; 8] = [
        Section::Daemon,
        Section::Guard,
        Section::Alerts,
        Section::Alertmanager,
        Section::Webhook,
        Section::Defaults,
        Section::Worker,
        Section::Hook,
    ];

    /// As errors and documentation name it.
    pub fn title(self) -> &'static str {
        match self {
            Section::Daemon => "[daemon]",
            Section::Guard => "[guard]",
            Section::Alerts => "[alerts]",
            Section::Alertmanager => "[alertmanager.NAME]",
            Section::Webhook => "[webhook]",
            Section::Defaults => "[defaults]",
            Section::Worker => "[worker.NAME]",
            Section::Hook => "[worker.NAME.hooks.HOOK]",
        }
    }

    /// The keys that it takes, apart from `plans` and `hooks`.
    pub fn specs(self) -> Vec<&'static Spec> {
        match self {
            Section::Daemon => DAEMON.iter().map(|key| &key.spec).collect(),
            Section::Guard => GUARD.iter().map(|key| &key.spec).collect(),
            Section::Alerts => ALERTS.iter().map(|key| &key.spec).collect(),
            Section::Webhook => WEBHOOK.iter().map(|key| &key.spec).collect(),
            Section::Alertmanager => ALERTMANAGER.iter().map(|key| &key.spec).collect(),
            Section::Defaults => WORKER.iter().map(|key| &key.spec).filter(|spec| !spec.own).collect(),
            Section::Worker => WORKER.iter().map(|key| &key.spec).collect(),
            Section::Hook => HOOK.iter().map(|key| &key.spec).collect(),
        }
    }

    /// The tables that it takes besides.
    pub fn tables(self) -> &'static [&'static str] {
        match self {
            Section::Defaults | Section::Worker => &["plans", "hooks"],
            Section::Daemon
            | Section::Guard
            | Section::Alerts
            | Section::Alertmanager
            | Section::Webhook
            | Section::Hook => &[],
        }
    }
}

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const YEARS: Duration = Duration::from_secs(3_650 * 86_400);

/// Messages and errors beyond this are no threshold but a way to switch a condition off.
const MANY: u32 = 1_000_000_000;
/// Longest name of a user of a broker: what RabbitMQ's tools show.
const BROKER_USER_MAX: usize = 255;
/// Longest value of a label of an alert.
pub const LABEL_VALUE_MAX: usize = 256;

macro_rules! key {
    ($field:ident, $kind:expr, $doc:literal) => {
        key!($field, $kind, $doc, false, None)
    };
    ($field:ident, $kind:expr, $doc:literal, own = $own:literal) => {
        key!($field, $kind, $doc, $own, None)
    };
    ($field:ident, $kind:expr, $doc:literal, example = $example:literal) => {
        key!($field, $kind, $doc, false, Some($example))
    };
    ($field:ident, $kind:expr, $doc:literal, $own:literal, $example:expr) => {
        Key {
            spec: Spec { name: stringify!($field), kind: $kind, own: $own, example: $example, doc: $doc },
            show: |settings| Field::show(&settings.$field),
            set: |settings, value| settings.$field = Field::take(value),
        }
    };
}

pub static DAEMON: &[Key<DaemonSettings>] = &[
    key!(
        health_check_interval,
        Kind::Span(SECOND, HOUR),
        "Time between two samples of CPU, memory and pressure. What systemd signals is acted on at once, whatever this says."
    ),
    key!(dry_run, Kind::Switch, "Watch, decide and tell, but do nothing."),
    key!(
        listen,
        Kind::Address,
        "Address and port of `/metrics` and the health pages. `\"none\"` opens no port; that is the default under `--user`. Sockets that systemd passes are served instead, whatever this says. Takes effect at the next start."
    ),
    key!(
        web_config_file,
        Kind::Path(DIR_PATH_MAX),
        "TLS and users of `listen`, in the format of `--web.config.file` of Prometheus' exporters. Read again when it, or a certificate, changes.",
        example = "\"/etc/unitmedic/web.yml\""
    ),
    key!(
        control_socket,
        Kind::Path(SOCKET_PATH_MAX),
        "Unix socket over which the commands talk to the daemon. Where it is not set, `control.sock` in `runtime_dir`."
    ),
    key!(
        control_group,
        Kind::Group,
        "Group whose members may use the control socket, and with it restart workers. `\"\"`, the default under `--user`: only the daemon's own user and root."
    ),
    key!(
        state_dir,
        Kind::Path(DIR_PATH_MAX),
        "Where the history is kept. Under `--user`: `$XDG_STATE_HOME/unitmedic`."
    ),
    key!(
        runtime_dir,
        Kind::Path(DIR_PATH_MAX),
        "Where things that end with the boot are kept, and the file `hold`. Under `--user`: `$XDG_RUNTIME_DIR/unitmedic`."
    ),
    key!(retention, Kind::Span(DAY, YEARS), "How long incidents and facts are kept."),
    key!(
        record_bytes,
        Kind::Size(1 << 20, 1 << 40),
        "Size of the ring of files in which the daemon's inputs are recorded for post-mortems. `0` records nothing."
    ),
    key!(
        families,
        Kind::Families,
        "Metric families of other exporters that `/metrics` has as well, for all units of the host: see docs/metrics.md. `[]`: none."
    ),
    key!(
        families_include,
        Kind::UnitPattern,
        "Units that `families` show: a regular expression that the whole name must match."
    ),
    key!(
        families_exclude,
        Kind::UnitPattern,
        "Units that `families` do not show, even if `families_include` matches. `\"\"` excludes none."
    ),
];

pub static GUARD: &[Key<GuardSettings>] = &[
    key!(
        storm_threshold,
        Kind::Percent,
        "Share of all instances, in percent, that must be sick at once for the storm breaker to open: then a shared cause is likely, and nothing that runs is interrupted."
    ),
    key!(
        storm_min_instances,
        Kind::Count(1, INSTANCES_MAX),
        "Fewer sick instances than this never open the storm breaker."
    ),
    key!(max_concurrent_actions, Kind::Count(1, 32), "Disruptive actions under way at once, over all workers."),
    key!(max_concurrent_starts, Kind::Count(1, 100), "Starts of dead instances under way at once, over all workers."),
    key!(
        boot_grace,
        Kind::Span(Duration::ZERO, HOUR),
        "Time after the start of the host before an enabled unit that never ran is started. `0`: at once."
    ),
];

pub static ALERTS: &[Key<AlertSettings>] = &[
    key!(
        alert_after,
        Kind::Span(Duration::ZERO, HOUR),
        "A failure must have lasted this long before anybody is told, so that what heals itself pages nobody. What was given up is told at once."
    ),
    key!(
        resend_interval,
        Kind::Span(SECOND, HOUR),
        "Pause between two tellings of an alert that still holds. An Alertmanager that hears nothing for four of them takes the alert for resolved."
    ),
    key!(
        instance,
        Kind::Word(LABEL_VALUE_MAX),
        "Label `instance` of every alert. Set it to the `instance` that Prometheus gives to this host's metrics, so that inhibition rules fit both. Where it is not set, the name of the host.",
        example = "\"host.example:10119\""
    ),
    key!(labels, Kind::Labels, "Further labels of every alert.", example = "[\"site=paris\", \"team=mail\"]"),
    key!(
        information,
        Kind::Switch,
        "Also send alerts of severity low: a worker was brought back, an operator asked for an action. They end by themselves after five minutes."
    ),
    key!(
        link,
        Kind::Url(UrlKind::Link),
        "Where the reader of an alert finds more; `{worker}`, `{unit}` and `{incident}` are put in.",
        example = "\"https://grafana.example/d/unitmedic-worker?var-worker={worker}\""
    ),
    key!(severity_critical, Kind::Word(LABEL_VALUE_MAX), "The house's own word for the severity critical."),
    key!(severity_high, Kind::Word(LABEL_VALUE_MAX), "The house's own word for the severity high."),
    key!(severity_medium, Kind::Word(LABEL_VALUE_MAX), "The house's own word for the severity medium."),
    key!(severity_low, Kind::Word(LABEL_VALUE_MAX), "The house's own word for the severity low."),
];

pub static ALERTMANAGER: &[Key<AlertmanagerSettings>] = &[
    Key {
        spec: Spec {
            name: "url",
            kind: Kind::Url(UrlKind::Alertmanager),
            own: false,
            example: Some("\"http://127.0.0.1:9093\""),
            doc: "Where it is served, as in a browser. Of a cluster, name every one: each is told by itself. Required.",
        },
        // It has no default, and after validation it is there.
        show: |settings| Some(settings.url.clone()).filter(|url| !url.is_empty()).map(Value::Text),
        set: |settings, value| settings.url = Field::take(value),
    },
    key!(user, Kind::Word(BROKER_USER_MAX), "User for basic authentication.", example = "\"unitmedic\""),
    key!(
        password_file,
        Kind::SecretPath(DIR_PATH_MAX),
        "File with the password, and nothing else in it. Read anew for every connection.",
        example = "\"/etc/unitmedic/alertmanager-password\""
    ),
    key!(
        password_credential,
        Kind::Credential,
        "Name of the systemd credential with the password, instead of `password_file`.",
        example = "\"alertmanager-password\""
    ),
    key!(
        token_file,
        Kind::SecretPath(DIR_PATH_MAX),
        "File with a bearer token, instead of user and password.",
        example = "\"/etc/unitmedic/alertmanager-token\""
    ),
    key!(
        token_credential,
        Kind::Credential,
        "Name of the systemd credential with the bearer token, instead of `token_file`.",
        example = "\"alertmanager-token\""
    ),
    key!(
        ca_file,
        Kind::Path(DIR_PATH_MAX),
        "File with the certificates of authorities, in PEM, that may have signed its certificate, besides those of the host.",
        example = "\"/etc/unitmedic/alertmanager-ca.pem\""
    ),
];

pub static WEBHOOK: &[Key<WebhookSettings>] = &[
    key!(
        token_file,
        Kind::SecretPath(DIR_PATH_MAX),
        "File with the bearer token that an Alertmanager sends with `POST /api/v1/alertmanager`, and nothing else in it. Without a token no alert of others is taken.",
        example = "\"/etc/unitmedic/webhook-token\""
    ),
    key!(
        token_credential,
        Kind::Credential,
        "Name of the systemd credential with the token, instead of `token_file`.",
        example = "\"webhook-token\""
    ),
    key!(
        worker_labels,
        Kind::LabelNames,
        "Labels of an alert that name a worker. The first one that it has counts, before `unit_labels`."
    ),
    key!(
        unit_labels,
        Kind::LabelNames,
        "Labels of an alert that name a unit, such as the `name` of node_exporter's systemd metrics."
    ),
    key!(
        severe,
        Kind::LabelValues,
        "Values of the label `severity` that make the condition `external` critical. With any other it is a warning."
    ),
    key!(
        expire_after,
        Kind::Span(MINUTE, Duration::from_secs(7 * 86_400)),
        "An alert that has not been told again for so long is taken for over. More than `repeat_interval` of Alertmanager."
    ),
];

pub static WORKER: &[Key<WorkerSettings>] = &[
    key!(
        unit,
        Kind::Selector,
        "The units of this worker: one unit (`mail.service`), all instances of a template (`mail@.service`), or a pattern with `*` and `?` (`batch-*.service`). Required. A unit can have one worker only.",
        own = true
    ),
    key!(critical, Kind::Switch, "Workers that are critical are repaired first when several are sick."),
    key!(
        min_instances,
        Kind::Count(1, INSTANCES_MAX),
        "Instances that must serve. Where it is set, missing instances of a template are started. Where it is not, one is needed, and none is started only to reach a number.",
        own = true
    ),
    key!(
        max_instances,
        Kind::Count(1, INSTANCES_MAX),
        "Most instances of a template or pattern. Not below `min_instances`.",
        own = true
    ),
    key!(
        on_stop,
        Kind::Choice(OnStop::WORDS),
        "What to do when somebody stops the worker: `\"respect\"` leaves it alone until it is started again, `\"restart\"` starts it."
    ),
    key!(
        allow_downtime,
        Kind::Switch,
        "A worker of one instance may be interrupted for a mere warning. Without it, only when it is critical."
    ),
    key!(
        learn,
        Kind::Switch,
        "Put the actions of a plan in the order of what has helped before, with the least expected time and harm first. An order in `[worker.NAME.plans]` is kept as it stands; gates and limits are the same."
    ),
    key!(
        explore,
        Kind::Choice(Explore::WORDS),
        "Whether one in twelve incidents may begin with an allowed action that could be better than is known: `\"not_critical\"` only of workers that are not `critical`, `\"never\"`, or `\"always\"`. Never while too many are sick at once."
    ),
    key!(
        approval,
        Kind::Choice(ApprovalFor::WORDS),
        "Planned actions that wait for an operator's yes (`unitmedic approve`, or the page): none of them; those that take a running instance away for a moment or end its process; or all, also the start of a dead instance. What an operator asks for by hand, and the end of an instance that unitmedic started itself, needs no yes."
    ),
    key!(
        approval_timeout,
        Kind::Span(SECOND, DAY),
        "So long a yes is waited for. A yes is good for as long: should another gate have held the action back until then, it is asked for again."
    ),
    key!(
        no_answer,
        Kind::Choice(NoAnswer::WORDS),
        "What happens when nobody has answered by then: the action is done, or an operator is called and asked again later."
    ),
    key!(
        cpu_threshold,
        Kind::Percent,
        "CPU in use, in percent of what the instance may use: `CPUQuota=` of its unit, else `cpu_cores`."
    ),
    key!(
        cpu_cores,
        Kind::Number(1024.0),
        "CPUs that 100 % of `cpu_threshold` means where the unit has no `CPUQuota=`."
    ),
    key!(cpu_sustained, Kind::Span(SECOND, HOUR), "How long the CPU must stay over the threshold."),
    key!(
        unusual_after,
        Kind::Span(Duration::ZERO, DAY),
        "How long an instance must behave unusually, against its own past and its siblings, before it is told. What it has done before for shorter times takes longer. `0`: never."
    ),
    key!(
        memory_threshold,
        Kind::Percent,
        "Memory in use, in percent of the lowest `MemoryMax=` that applies to the instance, else of the host's memory. Page cache that can be dropped does not count."
    ),
    key!(
        predict_horizon,
        Kind::Span(Duration::ZERO, DAY),
        "How long ahead it is told (`predicted`) that the memory, as it grows, will be over `memory_threshold`, or that tasks or open files will be used up to 90 %. `0`: never."
    ),
    key!(
        preventive,
        Kind::Switch,
        "A forecast alone (`predicted`) may restart the worker gracefully, through all gates, and calls an operator when that did not help. Without it a forecast is only told, as every warning is, or has memory cleaned up."
    ),
    key!(
        quiet_hours,
        Kind::Hours,
        "Hours of the day, in UTC, in which a forecast may restart the worker. Where they are not set, at any hour. Only with `preventive`.",
        example = "\"02:00-05:00\""
    ),
    key!(
        pressure_threshold,
        Kind::Percent,
        "Share of the last 10 seconds in which a task of the instance waited for CPU, memory or IO, in percent."
    ),
    key!(
        raise_samples,
        Kind::Count(1, 60),
        "So many of the last `window_samples` samples must be over a threshold to raise a sampled condition."
    ),
    key!(window_samples, Kind::Count(1, 60), "Samples that are looked at. Not below `raise_samples`."),
    key!(start_timeout, Kind::Span(SECOND, DAY), "A start that takes longer is stuck."),
    key!(crash_loop_failures, Kind::Count(2, 100), "So many failures within `crash_loop_window` are a crash loop."),
    key!(crash_loop_window, Kind::Span(SECOND, DAY), "See `crash_loop_failures`."),
    key!(
        restart_cooldown,
        Kind::Span(SECOND, HOUR),
        "Pause after `max_restart_attempts` failed attempts, and the longest pause between two attempts before that. Doubles, up to one hour, while the worker stays sick."
    ),
    key!(
        max_restart_attempts,
        Kind::Count(1, 100),
        "Attempts in one incident before it is escalated to an operator. After that unitmedic goes on at low frequency."
    ),
    key!(
        backoff,
        Kind::Span(MILLISECOND, HOUR),
        "First pause between two attempts. Doubles with each, up to `restart_cooldown`. A dead worker's first restart does not wait."
    ),
    key!(verify_dead_for, Kind::Span(SECOND, HOUR), "Sustained health that proves that a dead worker has recovered."),
    key!(verify_for, Kind::Span(SECOND, HOUR), "The same for every other condition."),
    key!(
        warning_patience,
        Kind::Span(Duration::ZERO, DAY),
        "A warning must have lasted this long before it earns a `graceful_restart`. `0`: at once."
    ),
    key!(
        drain_signal,
        Kind::Signal,
        "Signal that asks the worker to finish its work and exit, by name or number, for `graceful_restart`."
    ),
    key!(
        drain_timeout,
        Kind::Span(SECOND, HOUR),
        "How long `graceful_restart` waits for the worker to finish before it restarts it."
    ),
    key!(
        surge,
        Kind::Switch,
        "`graceful_restart` of a template's instance starts an extra instance first, and stops it afterwards. In `[defaults]` it is for the templates among the workers."
    ),
    key!(
        heartbeat_timeout,
        Kind::Span(SECOND, DAY),
        "Age of the last sign of life at which an instance is `hung`. An instance that never gave one is not judged."
    ),
    key!(
        heartbeat_watchdog,
        Kind::Switch,
        "`WATCHDOG=1`, which the unit sends to systemd, is a sign of life. Needs `WatchdogSec=` in the unit."
    ),
    key!(
        heartbeat_file,
        Kind::InstancePath,
        "A file whose time of modification is a sign of life.",
        example = "\"/run/mail/%i.alive\""
    ),
    key!(
        queues,
        Kind::Queues,
        "Queues that the worker consumes. Needs `amqp_url`, whose virtual host is meant where none is given.",
        example = "[\"mail\", { vhost = \"jobs\", name = \"mail\" }]"
    ),
    key!(
        amqp_url,
        Kind::Url(UrlKind::Amqp),
        "The broker and its virtual host; without one, `/`. Without user and password.",
        example = "\"amqps://broker.example:5671/jobs\""
    ),
    key!(
        amqp_user,
        Kind::Word(BROKER_USER_MAX),
        "Whom to log in as, at the broker and its management API.",
        example = "\"unitmedic\""
    ),
    key!(
        amqp_password_file,
        Kind::SecretPath(DIR_PATH_MAX),
        "File with the password, and nothing else in it. Not with `amqp_password_credential`.",
        example = "\"/etc/unitmedic/amqp-password\""
    ),
    key!(
        amqp_password_credential,
        Kind::Credential,
        "Name of the systemd credential with the password, which `LoadCredential=` gives to unitmedic.service. Not with `amqp_password_file`.",
        example = "\"amqp-password\""
    ),
    key!(
        amqp_ca_file,
        Kind::Path(DIR_PATH_MAX),
        "PEM file with the authority that signed the certificate of an `amqps://` broker, or of its `https://` management API. Those that the host trusts are trusted anyway.",
        example = "\"/etc/unitmedic/broker-ca.pem\""
    ),
    key!(
        management_url,
        Kind::Url(UrlKind::Management),
        "Management API of the broker, for unacknowledged messages and rates. Without it, `consumer_stalled` is not judged.",
        example = "\"http://broker.example:15672\""
    ),
    key!(
        queue_backlog_threshold,
        Kind::Count(1, MANY),
        "Ready messages for each consumer of a queue, those of other hosts included, over which `backlog_high` is raised."
    ),
    key!(
        consumers_per_instance,
        Kind::Count(1, 10_000),
        "Consumers that one instance has on a queue, to tell how many instances a backlog needs."
    ),
    key!(queue_samples, Kind::Count(1, 60), "So many readings in a row raise `no_consumer` and `consumer_stalled`."),
    key!(
        scale_on,
        Kind::ScaleOn,
        "What may start further instances of a template, up to `max_instances`: a backlog; CPU or memory, with work waiting. `[]`: nothing."
    ),
    key!(
        scale_down_after,
        Kind::Span(SECOND, DAY),
        "An instance that unitmedic started is drained and stopped when it has not been needed for so long."
    ),
    key!(
        error_rate_threshold,
        Kind::Number(MANY as f64),
        "Errors per minute that an instance writes to the journal, over which `error_rate_high` is raised: entries of priority err and worse."
    ),
    key!(error_rate_window, Kind::Span(MINUTE, HOUR), "Time over which errors are counted."),
    key!(
        error_match,
        Kind::Pattern,
        "Entries whose message matches are errors, too, whatever their priority.",
        example = "'(?i)\\b(fatal|panicked)\\b'"
    ),
    key!(
        probe_http,
        Kind::Url(UrlKind::Probe),
        "Is asked for in each `health_check_interval`; good is an answer from 200 to 399. `%n`, `%i` and `%p` as in unit files. https needs `probe_command`.",
        example = "\"http://127.0.0.1:8080/health\""
    ),
    key!(
        probe_tcp,
        Kind::Endpoint,
        "Must accept a connection. `%n`, `%i` and `%p` as in unit files.",
        example = "\"127.0.0.1:5000\""
    ),
    key!(
        probe_command,
        Kind::Command,
        "Must exit with 0. `%n`, `%i`, `%p` and `%%` as in unit files.",
        example = "[\"/usr/lib/mail/check\", \"%i\"]"
    ),
    key!(
        probe_timeout,
        Kind::Span(Duration::from_millis(100), MINUTE),
        "A probe that takes longer has failed. While one runs, it is not begun again."
    ),
    key!(
        probe_failures,
        Kind::Count(1, 60),
        "So many of the last `probe_window` probes must fail to raise `probe_failed`."
    ),
    key!(probe_window, Kind::Count(1, 60), "Probes that are looked at. Not below `probe_failures`."),
    key!(
        peers,
        Kind::Peers,
        "Whom the worker is connected to, besides the broker of `amqp_url`, for `connection_reset`.",
        example = "[\"10.0.0.5:5672\", \"broker.example:5672\", \"[::1]:5672\"]"
    ),
    key!(
        reset_signal,
        Kind::Signal,
        "Sent by `connection_reset` to the main process where connections cannot be destroyed.",
        example = "\"SIGUSR2\""
    ),
    key!(
        memory_target,
        Kind::Percent,
        "`memory_cleanup` reclaims down to this share of the memory limit. Below `memory_threshold`."
    ),
    key!(
        memory_signal,
        Kind::Signal,
        "Sent by `memory_cleanup` to the main process, for programs that free memory on a signal.",
        example = "\"SIGUSR1\""
    ),
];

pub static HOOK: &[Key<HookSettings>] = &[
    key!(
        command,
        Kind::Command,
        "What is run. `%n`, `%i`, `%p` and `%%` as in unit files. Required.",
        example = "[\"/usr/lib/mail/flush\", \"%i\"]"
    ),
    key!(
        timeout,
        Kind::Span(SECOND, Duration::from_secs(600)),
        "A command that takes longer is stopped and has failed."
    ),
    key!(user, Kind::User, "As whom it runs; where it is not set, as root.", example = "\"mail\""),
    key!(
        disruptive,
        Kind::Switch,
        "It takes the instance away for a moment, and has to pass the same gates as a restart."
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::Value;
    use crate::model::{Selector, WorkerName};
    use toml::de::DeTable;

    fn parse(kind: Kind, toml: &str) -> Result<Value, String> {
        let text = format!("x = {toml}");
        let table = DeTable::parse(&text).unwrap();
        kind.parse(table.get_ref().get("x").unwrap().get_ref())
    }

    /// Each default is written as TOML, read back, set, and shown again.
    fn defaults_survive<T>(keys: &[Key<T>], mut settings: T) {
        for key in keys {
            let Some(default) = (key.show)(&settings) else {
                let Some(example) = key.spec.example else {
                    assert!(key.spec.own, "{} has neither a default nor an example", key.spec.name);
                    continue;
                };
                let read = parse(key.spec.kind, example).unwrap_or_else(|why| panic!("{} {why}", key.spec.name));
                (key.set)(&mut settings, read.clone());
                assert_eq!((key.show)(&settings), Some(read.clone()), "{}", key.spec.name);
                assert_eq!(
                    parse(key.spec.kind, &read.toml()),
                    Ok(read),
                    "{} is not written as it is read",
                    key.spec.name
                );
                continue;
            };
            let read = parse(key.spec.kind, &default.toml());
            assert_eq!(read, Ok(default.clone()), "{}", key.spec.name);
            (key.set)(&mut settings, default.clone());
            assert_eq!((key.show)(&settings), Some(default), "{}", key.spec.name);
        }
    }

    fn worker() -> WorkerSettings {
        WorkerSettings::new(WorkerName::new("mail").unwrap(), Selector::Template("mail".into()))
    }

    #[test]
    fn every_default_is_in_range() {
        defaults_survive(DAEMON, DaemonSettings::default());
        defaults_survive(GUARD, GuardSettings::default());
        defaults_survive(ALERTS, AlertSettings::default());
        defaults_survive(WEBHOOK, WebhookSettings::default());
        defaults_survive(ALERTMANAGER, AlertmanagerSettings::default());
        defaults_survive(WORKER, worker());
        defaults_survive(HOOK, HookSettings::default());
    }

    /// A field of the settings without a key would be an option that nobody can set.
    #[test]
    fn every_field_has_a_key() {
        let fields = |json: serde_json::Value| json.as_object().unwrap().keys().cloned().collect::<Vec<String>>();
        let known = |section: Section| section.specs().iter().map(|spec| spec.name).collect::<Vec<_>>();
        for (section, fields) in [
            (Section::Daemon, fields(serde_json::to_value(DaemonSettings::default()).unwrap())),
            (Section::Guard, fields(serde_json::to_value(GuardSettings::default()).unwrap())),
            (Section::Worker, fields(serde_json::to_value(worker()).unwrap())),
            (Section::Alerts, fields(serde_json::to_value(AlertSettings::default()).unwrap())),
            (Section::Webhook, fields(serde_json::to_value(WebhookSettings::default()).unwrap())),
            (Section::Alertmanager, fields(serde_json::to_value(AlertmanagerSettings::default()).unwrap())),
            (Section::Hook, fields(serde_json::to_value(HookSettings::default()).unwrap())),
        ] {
            for field in fields.iter().filter(|field| !matches!(field.as_str(), "name" | "plans" | "hooks")) {
                assert!(known(section).contains(&field.as_str()), "{field} of {}", section.title());
            }
        }
    }
}
