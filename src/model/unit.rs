//! What systemd says of a unit and its jobs, in systemd's own terms.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::time::Mono;

/// A closed set of systemd's words, with `Other` for words of versions to come.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum $name {
            $(#[serde(rename = $word)] $variant,)+
            /// A word that this version does not know.
            #[serde(rename = "other", other)]
            Other,
        }
        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant,)+ $name::Other];
            pub fn parse(word: &str) -> Self {
                match word { $($word => $name::$variant,)+ _ => $name::Other }
            }
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)+ $name::Other => "other" }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words!(LoadState { Stub = "stub", Loaded = "loaded", NotFound = "not-found", BadSetting = "bad-setting", Error = "error", Merged = "merged", Masked = "masked" });
words!(ActiveState { Active = "active", Reloading = "reloading", Inactive = "inactive", Failed = "failed", Activating = "activating", Deactivating = "deactivating", Maintenance = "maintenance", Refreshing = "refreshing" });
words!(
    /// Result= of a service.
    ServiceResult { Success = "success", Resources = "resources", Protocol = "protocol", Timeout = "timeout", ExitCode = "exit-code", Signal = "signal", CoreDump = "core-dump", Watchdog = "watchdog", StartLimitHit = "start-limit-hit", OomKill = "oom-kill", ExecCondition = "exec-condition" }
);
words!(
    /// UnitFileState=; the empty word means that there is no unit file.
    FileState { Enabled = "enabled", EnabledRuntime = "enabled-runtime", Linked = "linked", LinkedRuntime = "linked-runtime", Alias = "alias", Masked = "masked", MaskedRuntime = "masked-runtime", Static = "static", Disabled = "disabled", Indirect = "indirect", Generated = "generated", Transient = "transient", Bad = "bad", None = "" }
);
words!(JobKind { Start = "start", VerifyActive = "verify-active", Stop = "stop", Reload = "reload", ReloadOrStart = "reload-or-start", Restart = "restart", TryRestart = "try-restart", TryReload = "try-reload", Nop = "nop" });
words!(JobResult { Done = "done", Canceled = "canceled", Timeout = "timeout", Failed = "failed", Dependency = "dependency", Skipped = "skipped", Invalid = "invalid", Assert = "assert", Unsupported = "unsupported", Collected = "collected", Once = "once", Frozen = "frozen", Concurrency = "concurrency" });
words!(
    /// Type= of a service.
    ServiceType { Simple = "simple", Exec = "exec", Forking = "forking", Oneshot = "oneshot", Dbus = "dbus", Notify = "notify", NotifyReload = "notify-reload", Idle = "idle" }
);
words!(
    /// SystemState of the manager.
    ManagerState { Initializing = "initializing", Starting = "starting", Running = "running", Degraded = "degraded", Maintenance = "maintenance", Stopping = "stopping", Offline = "offline", Unknown = "unknown" }
);

impl ActiveState {
    /// The unit has no process of its main phase and none is coming.
    pub fn is_down(self) -> bool {
        matches!(self, ActiveState::Inactive | ActiveState::Failed)
    }
    /// The unit does its work.
    pub fn is_up(self) -> bool {
        matches!(self, ActiveState::Active | ActiveState::Reloading | ActiveState::Refreshing)
    }
}

/// The 128-bit id of one activation of a unit; zero where there has been none.
/// Written as 32 hex digits, as systemd shows it: JSON readers, serde's own for tagged enums among them, lose a
/// number of 128 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InvocationId(pub u128);

impl From<InvocationId> for String {
    fn from(id: InvocationId) -> String {
        format!("{:032x}", id.0)
    }
}

impl JsonSchema for InvocationId {
    fn schema_name() -> Cow<'static, str> {
        "InvocationId".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The id of one activation of a unit; zeros where there has been none.",
            "type": "string",
            "pattern": "^[0-9a-f]{32}$",
        })
    }
}

impl TryFrom<String> for InvocationId {
    type Error = std::num::ParseIntError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(Self)
    }
}

impl InvocationId {
    pub fn from_bytes(bytes: &[u8]) -> Self {
        bytes.try_into().map(|b| Self(u128::from_be_bytes(b))).unwrap_or_default()
    }
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl std::fmt::Debug for InvocationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What is known about one unit. Starts empty and is brought up to date by [`UnitChange`]s.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UnitView {
    pub load: LoadState,
    pub active: ActiveState,
    /// SubState as systemd writes it: `running`, `auto-restart`, `stop-sigterm` …
    pub sub: String,
    pub result: ServiceResult,
    /// Restarts by Restart= since the last manual start.
    pub n_restarts: u32,
    pub main_pid: u32,
    /// CLD_EXITED (1), CLD_KILLED (2), CLD_DUMPED (3); 0 when the main process has not ended.
    pub exec_code: i32,
    /// Exit status or signal number, by `exec_code`.
    pub exec_status: i32,
    pub invocation: InvocationId,
    /// Id of the job that systemd has in flight for the unit.
    pub job: Option<u32>,
    /// When ActiveState or SubState last changed. `None` where systemd has no value.
    pub state_changed: Option<Mono>,
    pub active_enter: Option<Mono>,
    pub active_exit: Option<Mono>,
    pub inactive_enter: Option<Mono>,
    pub inactive_exit: Option<Mono>,
    pub file_state: FileState,
    pub service_type: ServiceType,
    pub remain_after_exit: bool,
    /// A timer, socket or path unit starts it (TriggeredBy=).
    pub triggered: bool,
    /// Restart= is anything but `no`.
    pub restarts_itself: bool,
    /// Units that go down with it when it is stopped or restarted (RequiredBy=, BoundBy=, ConsistsOf=).
    pub dependents: Vec<String>,
    /// Path below the cgroup root, such as `/system.slice/mail.service`; empty when it has none.
    pub control_group: String,
}

impl Default for UnitView {
    fn default() -> Self {
        Self {
            load: LoadState::Stub,
            active: ActiveState::Inactive,
            sub: String::new(),
            result: ServiceResult::Success,
            n_restarts: 0,
            main_pid: 0,
            exec_code: 0,
            exec_status: 0,
            invocation: InvocationId::default(),
            job: None,
            state_changed: None,
            active_enter: None,
            active_exit: None,
            inactive_enter: None,
            inactive_exit: None,
            file_state: FileState::None,
            service_type: ServiceType::Simple,
            remain_after_exit: false,
            triggered: false,
            restarts_itself: false,
            dependents: Vec::new(),
            control_group: String::new(),
        }
    }
}

/// The part of a [`UnitView`] that one signal or reply told. `None` means: not told.
/// In `job`, `Some(0)` means that the unit has no job. Timestamps of 0 mean: never.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<ServiceResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n_restarts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub main_pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec_status: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invocation: Option<InvocationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_changed: Option<Mono>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_enter: Option<Mono>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_exit: Option<Mono>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inactive_enter: Option<Mono>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inactive_exit: Option<Mono>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_state: Option<FileState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_type: Option<ServiceType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remain_after_exit: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub triggered: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts_itself: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependents: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control_group: Option<String>,
}

impl UnitView {
    /// Takes over what `change` tells.
    pub fn apply(&mut self, change: UnitChange) {
        macro_rules! take { ($($field:ident),+) => { $(if let Some(value) = change.$field { self.$field = value; })+ } }
        macro_rules! take_time { ($($field:ident),+) => { $(if let Some(at) = change.$field { self.$field = (at.0 != 0).then_some(at); })+ } }
        take!(
            load,
            active,
            sub,
            result,
            n_restarts,
            main_pid,
            exec_code,
            exec_status,
            invocation,
            file_state,
            service_type,
            remain_after_exit,
            triggered,
            restarts_itself,
            dependents,
            control_group
        );
        take_time!(state_changed, active_enter, active_exit, inactive_enter, inactive_exit);
        if let Some(job) = change.job {
            self.job = (job != 0).then_some(job);
        }
    }

    /// The change that brings an empty view to this one.
    pub fn as_change(&self) -> UnitChange {
        let time = |at: Option<Mono>| Some(at.unwrap_or_default());
        UnitChange {
            load: Some(self.load),
            active: Some(self.active),
            sub: Some(self.sub.clone()),
            result: Some(self.result),
            n_restarts: Some(self.n_restarts),
            main_pid: Some(self.main_pid),
            exec_code: Some(self.exec_code),
            exec_status: Some(self.exec_status),
            invocation: Some(self.invocation),
            job: Some(self.job.unwrap_or(0)),
            state_changed: time(self.state_changed),
            active_enter: time(self.active_enter),
            active_exit: time(self.active_exit),
            inactive_enter: time(self.inactive_enter),
            inactive_exit: time(self.inactive_exit),
            file_state: Some(self.file_state),
            service_type: Some(self.service_type),
            remain_after_exit: Some(self.remain_after_exit),
            triggered: Some(self.triggered),
            restarts_itself: Some(self.restarts_itself),
            dependents: Some(self.dependents.clone()),
            control_group: Some(self.control_group.clone()),
        }
    }

    /// systemd itself is about to start it again (Restart=).
    pub fn in_auto_restart(&self) -> bool {
        matches!(
            self.sub.as_str(),
            "auto-restart" | "auto-restart-queued" | "dead-before-auto-restart" | "failed-before-auto-restart"
        )
    }

    /// The main process is there, or none is known of (a forking service without a PID file).
    pub fn main_alive(&self) -> bool {
        self.main_pid != 0 || self.exec_code == 0
    }

    /// Being inactive is normal for it: a oneshot, or one that a timer, socket or path starts.
    pub fn runs_now_and_then(&self) -> bool {
        self.triggered || (self.service_type == ServiceType::Oneshot && !self.remain_after_exit)
    }

    /// How the main process ended, in words; `None` while it has not.
    pub fn ending(&self) -> Option<String> {
        match self.exec_code {
            1 => Some(exit_code(self.exec_status)),
            2 => Some(format!("killed by signal {}", signal_name(self.exec_status))),
            3 => Some(format!("dumped core on signal {}", signal_name(self.exec_status))),
            _ => None,
        }
    }

    /// How long it has been active, if it is.
    pub fn up_for(&self, now: Mono) -> Option<Duration> {
        self.active.is_up().then(|| self.active_enter.map(|at| now.since(at))).flatten()
    }
}

/// How the reason of a stop begins when another unit took the unit along. Who stopped that one, and whether anybody
/// meant it, is not known: it may have crashed.
pub const TAKEN_ALONG: &str = "taken along by ";

pub fn was_taken_along(why: &str) -> bool {
    why.starts_with(TAKEN_ALONG)
}

/// `stopped on purpose: the unit is masked`, or `taken along by BindsTo=db.service`
pub fn stop_in_words(why: &str) -> String {
    if was_taken_along(why) { why.to_owned() } else { format!("stopped on purpose: {why}") }
}

/// `exit code 3`, or as systemd writes what it says itself of a program that it could not run: `exit code 203/EXEC`.
fn exit_code(status: i32) -> String {
    let step = match status {
        200 => "CHDIR",
        203 => "EXEC",
        206 => "OOM_ADJUST",
        208 => "STDIN",
        209 => "STDOUT",
        214 => "SETSCHEDULER",
        216 => "GROUP",
        217 => "USER",
        218 => "CAPABILITIES",
        219 => "CGROUP",
        226 => "NAMESPACE",
        227 => "NO_NEW_PRIVILEGES",
        228 => "SECCOMP",
        233 => "RUNTIME_DIRECTORY",
        238 => "STATE_DIRECTORY",
        239 => "CACHE_DIRECTORY",
        240 => "LOGS_DIRECTORY",
        241 => "CONFIGURATION_DIRECTORY",
        243 => "CREDENTIALS",
        _ => return format!("exit code {status}"),
    };
    format!("exit code {status}/{step}")
}

/// `SIGTERM (15)`
pub fn signal_name(number: i32) -> String {
    let name = match number {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        4 => "ILL",
        6 => "ABRT",
        7 => "BUS",
        8 => "FPE",
        9 => "KILL",
        10 => "USR1",
        11 => "SEGV",
        12 => "USR2",
        13 => "PIPE",
        14 => "ALRM",
        15 => "TERM",
        24 => "XCPU",
        31 => "SYS",
        _ => return number.to_string(),
    };
    format!("SIG{name} ({number})")
}
