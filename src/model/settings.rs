//! Validated settings: every value is in range, every name is exact, nothing is optional that must be there.
//!
//! `config` makes these from TOML; the engine and the adapters only read them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::action::{Action, HookName};
use super::alert::Severity;
use super::approval::{ApprovalFor, NoAnswer};
use super::condition::{Condition, closed_set};
use super::families::Family;
use super::hours::Hours;
use super::name::{AlertmanagerName, UnitName, WorkerName};
use super::never::never_touch;
use super::signal::QueueName;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub daemon: DaemonSettings,
    pub guard: GuardSettings,
    #[serde(default)]
    pub alerts: AlertSettings,
    #[serde(default)]
    pub alertmanagers: BTreeMap<AlertmanagerName, AlertmanagerSettings>,
    #[serde(default)]
    pub webhook: WebhookSettings,
    pub workers: BTreeMap<WorkerName, WorkerSettings>,
    /// Where each key was set: `worker.mail.cpu_threshold` -> `/etc/unitmedic/unitmedic.toml:12`. Keys that
    /// are not here have their default.
    pub origins: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DaemonSettings {
    /// Time between two samples of what is not signalled.
    pub health_check_interval: Duration,
    /// Decide and tell, but do nothing.
    pub dry_run: bool,
    /// `None`: no TCP port.
    pub listen: Option<SocketAddr>,
    /// TLS and users of the TCP port, in the format of Prometheus' exporters.
    #[serde(default)]
    pub web_config_file: Option<PathBuf>,
    pub control_socket: PathBuf,
    pub control_group: String,
    pub state_dir: PathBuf,
    pub runtime_dir: PathBuf,
    /// How long incidents and facts are kept.
    pub retention: Duration,
    /// Size of the ring of recorded inputs, bytes; 0 records nothing.
    pub record_bytes: u64,
    /// Metric families of other exporters that are served for all units of the host.
    pub families: Vec<Family>,
    /// Regular expressions of whole unit names: a unit is shown if the first matches and the second does not.
    pub families_include: String,
    pub families_exclude: String,
}

/// Limits over all workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardSettings {
    /// Share of instances that must be sick at once for the storm breaker to open, percent.
    pub storm_threshold: f64,
    /// Fewer sick instances than this never open it.
    pub storm_min_instances: u32,
    /// Disruptive actions under way at once, over all workers.
    pub max_concurrent_actions: u32,
    /// Starts under way at once. dbus-daemon refuses the 129th call in flight; 32 is as fast as any.
    pub max_concurrent_starts: u32,
    /// Time after the host's start before an enabled unit that never ran is started.
    pub boot_grace: Duration,
}

/// What is told to Alertmanager, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertSettings {
    /// A failure must have lasted this long; what was given up is told at once.
    pub alert_after: Duration,
    /// Pause between two tellings of an alert that still holds.
    pub resend_interval: Duration,
    /// Label `instance` of every alert; `None`: the name of the host.
    pub instance: Option<String>,
    /// Further labels of every alert, as `NAME=VALUE`.
    pub labels: Vec<String>,
    /// Also alerts of severity low: recoveries, and what operators asked for.
    pub information: bool,
    /// Where a reader finds more: `{worker}`, `{unit}` and `{incident}` are put in.
    pub link: Option<String>,
    /// The words that the label `severity` has.
    pub severity_critical: String,
    pub severity_high: String,
    pub severity_medium: String,
    pub severity_low: String,
}

impl AlertSettings {
    /// The word of the house.
    pub fn word(&self, severity: Severity) -> &str {
        match severity {
            Severity::Critical => &self.severity_critical,
            Severity::High => &self.severity_high,
            Severity::Medium => &self.severity_medium,
            Severity::Low => &self.severity_low,
        }
    }
}

/// One Alertmanager. Every one of a cluster is told by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertmanagerSettings {
    /// With the path under which it is served; always there after validation.
    pub url: String,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub password_credential: Option<String>,
    /// A bearer token instead of user and password.
    pub token_file: Option<PathBuf>,
    pub token_credential: Option<String>,
    /// Whom its certificate may be signed by, besides the authorities that the host trusts.
    pub ca_file: Option<PathBuf>,
}

/// Who may tell us of alerts, and how they name workers and units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSettings {
    /// The bearer token that must come with them; without one, none are taken.
    pub token_file: Option<PathBuf>,
    pub token_credential: Option<String>,
    /// Labels that name a worker, and those that name a unit; the first that an alert has counts.
    pub worker_labels: Vec<String>,
    pub unit_labels: Vec<String>,
    /// The value of `severity` that means more than a warning.
    pub severe: Vec<String>,
    /// An alert that is not told again for so long is over.
    pub expire_after: Duration,
}

impl WebhookSettings {
    pub fn is_on(&self) -> bool {
        self.token_file.is_some() || self.token_credential.is_some()
    }
}

impl Default for WebhookSettings {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        Self {
            token_file: None,
            token_credential: None,
            worker_labels: words(&["worker"]),
            unit_labels: words(&["unit", "name"]),
            severe: words(&["critical", "high", "error", "page"]),
            // Alertmanager tells again after repeat_interval, 4 h by default.
            expire_after: Duration::from_secs(5 * 3600),
        }
    }
}

closed_set!(
    /// What to do when somebody stops a worker.
    OnStop { Respect = "respect", Restart = "restart" }
);

/// Longest `error_match`, in bytes.
pub const ERROR_MATCH_MAX: usize = 1024;
/// Memory that an `error_match` may take when compiled, in bytes: enough for any pattern of words.
pub const ERROR_MATCH_COMPILED_MAX: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerSettings {
    pub name: WorkerName,
    pub unit: Selector,
    pub critical: bool,
    /// As configured; absent: 1 serving instance is needed, and no instance is started only to reach a number.
    pub min_instances: Option<u32>,
    pub max_instances: Option<u32>,
    pub on_stop: OnStop,
    /// A worker of one instance may be interrupted for a mere warning.
    pub allow_downtime: bool,
    /// Plans that are not configured are ordered by what has helped before.
    pub learn: bool,
    /// Whether an action may come first only to learn more of it.
    pub explore: Explore,
    /// Planned actions that wait for an operator's yes.
    #[serde(default = "nothing_is_asked")]
    pub approval: ApprovalFor,
    /// So long a yes is waited for, and so long a yes is good.
    #[serde(default = "approval_timeout")]
    pub approval_timeout: Duration,
    /// What happens when nobody has answered by then.
    #[serde(default = "nobody_answers")]
    pub no_answer: NoAnswer,

    /// Percent of the CPU that the instance may use.
    pub cpu_threshold: f64,
    /// CPUs that 100 % means where no CPUQuota= is set.
    pub cpu_cores: f64,
    /// CPU must stay over the threshold for this long.
    pub cpu_sustained: Duration,
    /// Unusual behaviour is told when it has lasted this long; zero: never.
    pub unusual_after: Duration,
    /// Percent of the memory limit.
    pub memory_threshold: f64,
    /// How far ahead a forecast is told; zero: never.
    pub predict_horizon: Duration,
    /// A forecast alone may restart it, and wake an operator when that did not help.
    #[serde(default)]
    pub preventive: bool,
    /// When a forecast may restart it; `None`: at any hour.
    #[serde(default)]
    pub quiet_hours: Option<Hours>,
    /// Share of 10 s in which a task waited (PSI some avg10), percent.
    pub pressure_threshold: f64,
    /// Samples over a threshold, of the last `window_samples`, that raise a sampled condition.
    pub raise_samples: u32,
    pub window_samples: u32,

    pub start_timeout: Duration,
    pub crash_loop_failures: u32,
    pub crash_loop_window: Duration,

    pub restart_cooldown: Duration,
    pub max_restart_attempts: u32,
    /// First pause between two attempts; doubles with each, up to `restart_cooldown`.
    pub backoff: Duration,
    /// Sustained health that proves a recovery, for `dead`.
    pub verify_dead_for: Duration,
    /// The same for every other condition.
    pub verify_for: Duration,
    /// A warning must have lasted this long before it earns a graceful_restart.
    pub warning_patience: Duration,
    /// Signal that asks the worker to finish its work and exit (graceful_restart).
    pub drain_signal: i32,
    pub drain_timeout: Duration,

    /// graceful_restart of a template's instance starts an extra one first and stops it afterwards.
    pub surge: bool,

    /// The last sign of life may be this old.
    pub heartbeat_timeout: Duration,
    /// `WATCHDOG=1` that the unit sends to systemd counts as a sign of life.
    pub heartbeat_watchdog: bool,
    /// A file whose modification time is a sign of life; `%n`, `%i`, `%p` as in unit files.
    pub heartbeat_file: Option<String>,

    /// Queues that the worker consumes.
    pub queues: Vec<QueueName>,
    /// `amqp://` or `amqps://`, with the virtual host, without credentials.
    pub amqp_url: Option<String>,
    pub amqp_user: Option<String>,
    /// File with the password, or a systemd credential of this name.
    pub amqp_password_file: Option<PathBuf>,
    pub amqp_password_credential: Option<String>,
    /// PEM file of authorities that may have signed the broker's certificate, besides those of the host.
    pub amqp_ca_file: Option<PathBuf>,
    /// Management API of the broker, for unacknowledged messages and rates.
    pub management_url: Option<String>,
    /// Ready messages per consumer of the whole queue.
    pub queue_backlog_threshold: u32,
    /// Consumers that one instance has on a queue.
    pub consumers_per_instance: u32,
    /// Readings in a row that raise `no_consumer` and `consumer_stalled`.
    pub queue_samples: u32,

    /// What scales the worker up.
    pub scale_on: Vec<ScaleOn>,
    /// An instance that we started is stopped when it has not been needed for this long.
    pub scale_down_after: Duration,

    /// Errors in the journal per minute.
    pub error_rate_threshold: f64,
    pub error_rate_window: Duration,
    /// A regular expression: messages that match it are errors, too.
    pub error_match: Option<String>,

    pub probe_http: Option<String>,
    pub probe_tcp: Option<String>,
    pub probe_command: Option<Vec<String>>,
    pub probe_timeout: Duration,
    /// So many of the last `probe_window` probes.
    pub probe_failures: u32,
    pub probe_window: u32,

    /// Whom the worker is connected to, besides the broker of `amqp_url`.
    pub peers: Vec<Peer>,
    /// Sent where connections cannot be destroyed.
    pub reset_signal: Option<i32>,

    /// memory_cleanup reclaims down to this share of the limit, percent.
    pub memory_target: f64,
    /// Sent by memory_cleanup, to programs that free memory on a signal.
    pub memory_signal: Option<i32>,

    /// The operator's own actions.
    pub hooks: BTreeMap<HookName, HookSettings>,

    /// Plans that the operator configured; kept as they stand.
    pub plans: BTreeMap<Condition, Vec<Action>>,
}

closed_set!(
    /// Which workers may have an action tried first only to learn more of it.
    Explore {
        Never = "never",
        /// Those that are not `critical`.
        NotCritical = "not_critical",
        Always = "always",
    }
);

closed_set!(
    /// What may scale a worker up.
    ScaleOn { Backlog = "backlog", Cpu = "cpu", Memory = "memory" }
);

/// Somebody whom a worker is connected to: an address or a name, and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Peer {
    pub host: String,
    pub port: u16,
}

/// A command of the operator's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookSettings {
    /// The program with an absolute path, and its arguments; `%n`, `%i`, `%p` as in unit files.
    pub command: Vec<String>,
    pub timeout: Duration,
    /// As whom it runs; `None`: root.
    pub user: Option<String>,
    /// Takes the instance away for a moment, and has to pass the gates of such an action.
    pub disruptive: bool,
}

impl Default for HookSettings {
    /// Without a command, which must be given.
    fn default() -> Self {
        Self { command: Vec::new(), timeout: Duration::from_secs(30), user: None, disruptive: true }
    }
}

// Also of recordings that were made before there were approvals.
fn nothing_is_asked() -> ApprovalFor {
    ApprovalFor::Nothing
}
fn approval_timeout() -> Duration {
    Duration::from_secs(600)
}
fn nobody_answers() -> NoAnswer {
    NoAnswer::Escalate
}

impl WorkerSettings {
    /// An action may come first only to learn more of it.
    pub fn explores(&self) -> bool {
        match self.explore {
            Explore::Never => false,
            Explore::NotCritical => !self.critical,
            Explore::Always => true,
        }
    }

    /// What was learned elsewhere is reason enough to leave the default order.
    pub fn believes_hearsay(&self) -> bool {
        !self.critical || self.explores()
    }

    /// Serving instances that the worker needs to count as available.
    pub fn needed(&self) -> u32 {
        self.min_instances.unwrap_or(1)
    }

    /// The virtual host of a queue: its own, else that of `amqp_url`, else `/`.
    pub fn vhost_of(&self, queue: &QueueName) -> String {
        let of_url = || {
            let rest = self.amqp_url.as_deref()?.split_once("://")?.1;
            Some(percent_decoded(rest.split_once('/')?.1))
        };
        queue.vhost.clone().or_else(of_url).unwrap_or_else(|| "/".into())
    }

    /// Whether connection_reset has anything to reset.
    pub fn has_peers(&self) -> bool {
        !self.peers.is_empty() || self.amqp_url.is_some()
    }

    /// Whether the action takes a running instance away for a moment.
    pub fn is_disruptive(&self, action: Action) -> bool {
        match action {
            Action::Hook(name) => self.hooks.get(&name).is_none_or(|hook| hook.disruptive),
            Action::GracefulRestart => !self.surges(),
            Action::Restart | Action::ScaleDown => true,
            Action::MemoryCleanup | Action::ConnectionReset | Action::ScaleUp | Action::Escalate => false,
        }
    }

    /// graceful_restart starts an extra instance first.
    pub fn surges(&self) -> bool {
        self.surge && matches!(self.unit, Selector::Template(_))
    }

    pub fn verify_for(&self, condition: Option<Condition>) -> Duration {
        match condition {
            Some(Condition::Dead) => self.verify_dead_for,
            _ => self.verify_for,
        }
    }
}

/// Which units a worker owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    Unit(UnitName),
    /// `mail@.service` is kept as its prefix `mail`.
    Template(String),
    /// `*` and `?` over whole unit names, as in `batch-*.service`.
    Glob(String),
}

impl Selector {
    pub fn matches(&self, unit: &str) -> bool {
        match self {
            Selector::Unit(name) => name.as_str() == unit,
            Selector::Template(prefix) => unit
                .strip_prefix(prefix.as_str())
                .and_then(|rest| rest.strip_prefix('@'))
                .is_some_and(|rest| rest != ".service"),
            Selector::Glob(pattern) => glob(pattern.as_bytes(), unit.as_bytes()),
        }
    }

    /// The pattern that systemd's ListUnitsByPatterns and ListUnitFilesByPatterns take.
    pub fn pattern(&self) -> String {
        match self {
            Selector::Unit(name) => name.to_string(),
            Selector::Template(prefix) => format!("{prefix}@*.service"),
            Selector::Glob(pattern) => pattern.clone(),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Unit(name) => f.pad(name.as_str()),
            Selector::Template(prefix) => f.pad(&format!("{prefix}@.service")),
            Selector::Glob(pattern) => f.pad(pattern),
        }
    }
}

/// `*` any run of bytes, `?` one byte. Linear in practice, never worse than pattern x name.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, n));
                p += 1;
            }
            Some(b) if *b == b'?' || *b == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    p = star + 1;
                    n = from + 1;
                    retry = Some((star, n));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

impl Default for DaemonSettings {
    fn default() -> Self {
        Self {
            health_check_interval: Duration::from_secs(30),
            dry_run: false,
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 10119))),
            web_config_file: None,
            control_socket: "/run/unitmedic/control.sock".into(),
            control_group: "unitmedic".into(),
            state_dir: "/var/lib/unitmedic".into(),
            runtime_dir: "/run/unitmedic".into(),
            retention: Duration::from_secs(90 * 86_400),
            record_bytes: 256 << 20,
            families: Vec::new(),
            // As node_exporter has them.
            families_include: ".+".into(),
            families_exclude: r".+\.(automount|device|mount|scope|slice)".into(),
        }
    }
}

/// While a file of this name is in the runtime directory, nothing is done.
pub const HOLD_FILE: &str = "hold";

impl DaemonSettings {
    /// Takes over what cannot change while the daemon runs from `started`, and names the keys that asked for it.
    pub fn keep_until_a_restart(&mut self, started: &DaemonSettings) -> Vec<&'static str> {
        let mut kept = Vec::new();
        macro_rules! keep {
            ($($key:ident),*) => {$(
                if self.$key != started.$key {
                    self.$key.clone_from(&started.$key);
                    kept.push(stringify!($key));
                }
            )*};
        }
        keep!(listen, web_config_file, control_socket, control_group, state_dir, runtime_dir, record_bytes);
        kept
    }
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self {
            storm_threshold: 50.0,
            storm_min_instances: 5,
            max_concurrent_actions: 4,
            max_concurrent_starts: 32,
            boot_grace: Duration::from_secs(120),
        }
    }
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self {
            alert_after: Duration::from_secs(30),
            resend_interval: Duration::from_secs(60),
            instance: None,
            labels: Vec::new(),
            information: false,
            link: None,
            severity_critical: Severity::Critical.to_string(),
            severity_high: Severity::High.to_string(),
            severity_medium: Severity::Medium.to_string(),
            severity_low: Severity::Low.to_string(),
        }
    }
}

impl WorkerSettings {
    pub fn new(name: WorkerName, unit: Selector) -> Self {
        Self {
            name,
            unit,
            critical: false,
            min_instances: None,
            max_instances: None,
            on_stop: OnStop::Respect,
            allow_downtime: false,
            learn: true,
            explore: Explore::NotCritical,
            approval: nothing_is_asked(),
            approval_timeout: approval_timeout(),
            no_answer: nobody_answers(),
            cpu_threshold: 80.0,
            cpu_cores: 1.0,
            cpu_sustained: Duration::from_secs(120),
            unusual_after: Duration::from_secs(900),
            memory_threshold: 85.0,
            predict_horizon: Duration::from_secs(1_800),
            preventive: false,
            quiet_hours: None,
            pressure_threshold: 40.0,
            raise_samples: 3,
            window_samples: 5,
            start_timeout: Duration::from_secs(90),
            crash_loop_failures: 5,
            crash_loop_window: Duration::from_secs(600),
            restart_cooldown: Duration::from_secs(300),
            max_restart_attempts: 3,
            backoff: Duration::from_secs(2),
            verify_dead_for: Duration::from_secs(10),
            verify_for: Duration::from_secs(60),
            warning_patience: Duration::from_secs(300),
            drain_signal: 15,
            drain_timeout: Duration::from_secs(30),
            surge: false,
            heartbeat_timeout: Duration::from_secs(120),
            heartbeat_watchdog: false,
            heartbeat_file: None,
            queues: Vec::new(),
            amqp_url: None,
            amqp_user: None,
            amqp_password_file: None,
            amqp_password_credential: None,
            amqp_ca_file: None,
            management_url: None,
            queue_backlog_threshold: 100,
            consumers_per_instance: 1,
            queue_samples: 3,
            scale_on: vec![ScaleOn::Backlog, ScaleOn::Cpu],
            scale_down_after: Duration::from_secs(300),
            error_rate_threshold: 0.3,
            error_rate_window: Duration::from_secs(600),
            error_match: None,
            probe_http: None,
            probe_tcp: None,
            probe_command: None,
            probe_timeout: Duration::from_secs(5),
            probe_failures: 3,
            probe_window: 3,
            peers: Vec::new(),
            reset_signal: None,
            memory_target: 60.0,
            memory_signal: None,
            hooks: BTreeMap::new(),
            plans: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// No workers: nothing is touched.
    pub fn empty() -> Self {
        Self {
            daemon: DaemonSettings::default(),
            guard: GuardSettings::default(),
            alerts: AlertSettings::default(),
            alertmanagers: BTreeMap::new(),
            webhook: WebhookSettings::default(),
            workers: BTreeMap::new(),
            origins: BTreeMap::new(),
        }
    }

    /// The worker that owns the unit. `config` has made sure that two never do for a unit that it could see.
    /// A unit that is never touched has none, however wide a worker's selector is.
    pub fn worker_of(&self, unit: &str) -> Option<&WorkerSettings> {
        if never_touch(unit).is_some() {
            return None;
        }
        self.workers.values().find(|worker| worker.unit.matches(unit))
    }
}

/// What is no escape stays as it is; the configuration has refused it.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = tail.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => (bytes.push(byte), rest = &tail[2..]),
            None => (bytes.push(*first), rest = tail),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        let template = Selector::Template("mail".into());
        assert!(template.matches("mail@1.service"));
        assert!(!template.matches("mail@.service"));
        assert!(!template.matches("mail.service"));
        assert!(!template.matches("mailx@1.service"));
        let glob = Selector::Glob("batch-*.service".into());
        assert!(glob.matches("batch-a.service"));
        assert!(glob.matches("batch-.service"));
        assert!(!glob.matches("batch.service"));
        assert!(Selector::Glob("*a*b?.service".into()).matches("xaybz.service"));
        assert!(!Selector::Glob("a?".into()).matches("a"));
    }

    #[test]
    fn what_cannot_change_stays_and_is_named() {
        let started = DaemonSettings::default();
        let mut new =
            DaemonSettings { listen: None, runtime_dir: "/run/other".into(), dry_run: true, ..started.clone() };
        assert_eq!(new.keep_until_a_restart(&started), ["listen", "runtime_dir"]);
        assert_eq!(new, DaemonSettings { dry_run: true, ..started.clone() });
        assert!(new.keep_until_a_restart(&started).is_empty());
    }
}
