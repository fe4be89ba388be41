//! The root side: checks (verb, unit) against the hold file, the list of units that are never touched and the
//! configuration, then acts through systemd. Decides nothing, remembers nothing, listens to nobody else.
//!
//! As installed it is a process of its own ([`serve`]), and the daemon, which has no rights, hands it orders
//! ([`remote`]). Under `--user`, or where root tries the daemon by hand, the same code runs in the daemon's process.

pub mod activation;
pub mod memory;
pub mod remote;
pub mod serve;
pub mod trouble;
pub mod wire;

mod connections;
mod hook;
mod refusal;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::{Mutex, watch as cell};
use zbus::{ObjectPath, Variant};

use self::activation::signal_main;
use self::refusal::answer_to;
use crate::adapters::systemd::bus::{BusAddress, Caller, Haste, UNIT, error_name, error_text};
use crate::adapters::systemd::unit_path;
use crate::model::action::{ACT_TIMEOUT, Answer, Order, Refused, Verb};
use crate::model::name::UnitName;
use crate::model::never::never_touch;
use crate::model::settings::{HOLD_FILE, Selector, Settings, WorkerSettings};
use crate::model::unit::ActiveState;

/// Carries out orders. Shared by all who act; calls in flight are bounded by its [`Caller`].
pub struct Helper {
    bus: BusAddress,
    settings: cell::Receiver<Arc<Settings>>,
    /// Where originals are kept that are to be put back. Nobody else may write it.
    records: PathBuf,
    calls: Arc<AtomicU64>,
    caller: Mutex<Option<Caller>>,
    hooks: hook::Running,
}

impl Helper {
    /// Connects with the first order. Every order is checked against the settings that are in force at that moment.
    /// The hold file is looked for in the runtime directory that they name.
    pub fn new(bus: BusAddress, settings: cell::Receiver<Arc<Settings>>, records: &Path) -> Self {
        let (calls, caller, hooks) = (Arc::default(), Mutex::new(None), hook::Running::default());
        Self { bus, settings, records: records.to_owned(), calls, caller, hooks }
    }

    /// Puts back what a killed process of ours left changed. Connects ahead of the first order, which would otherwise
    /// pay for it; a failure is left to the first order.
    pub async fn prepare(&self) {
        let records = self.records.clone();
        let _ = tokio::task::spawn_blocking(move || memory::restore_leftovers(&records)).await;
        if let Err(error) = self.caller().await {
            tracing::debug!(error = %error_text(&error), "no connection for acting yet");
        }
    }

    /// Calls sent to systemd so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Checks the order and carries it out, within [`ACT_TIMEOUT`]. An order that ran out of time may have happened.
    pub async fn act(&self, order: &Order) -> Answer {
        if let Some(refusal) = self.check(&order.unit) {
            return refusal;
        }
        let limit = self.limit(order);
        match tokio::time::timeout(limit, self.carry_out(order)).await {
            Ok(answer) => answer,
            Err(_) => {
                let limit = limit.as_secs();
                Answer::Failed { text: format!("{}: systemd did not answer within {limit} s", order.unit) }
            }
        }
    }

    /// How long the order may take.
    fn limit(&self, order: &Order) -> Duration {
        let settings = self.settings.borrow();
        match (order.verb, settings.worker_of(order.unit.as_str())) {
            (Verb::Hook { name }, Some(worker)) => hook::of(worker, name).map_or(ACT_TIMEOUT, hook::limit),
            _ => ACT_TIMEOUT,
        }
    }

    fn check(&self, unit: &UnitName) -> Option<Answer> {
        let refused = |why, text| Some(Answer::Refused { why, text });
        let settings = self.settings.borrow();
        let hold = settings.daemon.runtime_dir.join(HOLD_FILE);
        // A link that leads nowhere is a switch, too.
        match hold.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Ok(_) => {
                let text = format!("{} exists; remove it to let unitmedic act", hold.display());
                return refused(Refused::Hold, text);
            }
            // A switch that cannot be read is taken as thrown.
            Err(error) => {
                return refused(Refused::Hold, format!("{} cannot be looked for: {error}", hold.display()));
            }
        }
        if let Some(why) = never_touch(unit.as_str()) {
            return refused(Refused::NotAllowed, format!("{unit} is never touched: {why}"));
        }
        match settings.workers.values().filter(|worker| worker.unit.matches(unit.as_str())).count() {
            1 => None,
            0 => refused(Refused::NotAllowed, format!("no configured worker owns {unit}")),
            owners => refused(Refused::NotAllowed, format!("{owners} workers match {unit}; only one may")),
        }
    }

    /// A pattern says nothing of what a unit's other names are: one that is an alias of a unit that nobody configured is
    /// refused. And a worker is asked to finish with its own signal alone.
    async fn check_identity(&self, order: &Order, worker: Option<&WorkerSettings>) -> Option<Answer> {
        let worker = worker?;
        let unit = &order.unit;
        let refused = |why, text| Some(Answer::Refused { why, text });
        if let Verb::Drain { signal, .. } = order.verb
            && signal != worker.drain_signal
        {
            return refused(Refused::NotAllowed, format!("{unit}: signal {signal} is not drain_signal of its worker"));
        }
        if matches!(worker.unit, Selector::Unit(_)) {
            return None;
        }
        let path = unit_path(unit.as_str());
        let id = match self.caller().await {
            Ok(caller) => caller.get(Haste::Quick, &path, UNIT, "Id").await,
            Err(error) => Err(error),
        };
        match id {
            Ok(id) if text(&id) == unit.as_str() => None,
            Ok(id) => refused(Refused::NotAllowed, format!("{unit} is another name of {}", text(&id))),
            Err(error) => Some(answer_to(unit, error_name(&error).as_deref(), &error_text(&error))),
        }
    }

    async fn carry_out(&self, order: &Order) -> Answer {
        let worker = self.settings.borrow().worker_of(order.unit.as_str()).cloned();
        if let Some(refusal) = self.check_identity(order, worker.as_ref()).await {
            return refusal;
        }
        if let (Some(worker), Verb::Hook { name }) = (&worker, order.verb) {
            return hook::run(self.bus, &self.hooks, &order.unit, worker, name).await;
        }
        if let (Some(worker), Verb::Stop) = (&worker, order.verb)
            && !may_be_stopped(worker)
        {
            let text = format!("{} is not scaled, so it is never stopped", order.unit);
            return Answer::Refused { why: Refused::NotAllowed, text };
        }
        let done = match (self.caller().await, worker, order.verb) {
            (Ok(caller), Some(worker), Verb::ResetConnections { invocation }) => {
                connections::reset(&caller, &order.unit, invocation, &worker).await
            }
            (Ok(caller), Some(worker), Verb::ReclaimMemory { invocation }) => {
                memory::clean_up(&caller, &order.unit, invocation, &worker, &self.records).await
            }
            (Ok(caller), ..) => carry_out(&caller, order).await,
            (Err(error), ..) => Err(error),
        };
        done.unwrap_or_else(|error| answer_to(&order.unit, error_name(&error).as_deref(), &error_text(&error)))
    }

    /// The connection that is there, or a new one where there is none or the old one is closed. A call that was on
    /// its way when the bus went is not repeated: it may have happened.
    async fn caller(&self) -> Result<Caller, zbus::Error> {
        let mut slot = self.caller.lock().await;
        if let Some(caller) = slot.as_ref().filter(|caller| !caller.connection().is_closed()) {
            return Ok(caller.clone());
        }
        let caller = Caller::new(self.bus.connect().await?, self.calls.clone());
        Ok(slot.insert(caller).clone())
    }
}

async fn carry_out(caller: &Caller, order: &Order) -> Result<Answer, zbus::Error> {
    let unit = order.unit.as_str();
    match order.verb {
        Verb::Start { reset_failed } => {
            if reset_failed {
                reset_failed_state(caller, unit).await?;
            }
            queue(caller, "StartUnit", unit).await
        }
        Verb::TryRestart => match not_to_restart(caller, unit).await? {
            Some(refusal) => Ok(refusal),
            None => queue(caller, "TryRestartUnit", unit).await,
        },
        Verb::Drain { signal, invocation } => signal_main(caller, &order.unit, invocation, signal, None).await,
        Verb::Stop => queue(caller, "StopUnit", unit).await,
        Verb::ResetConnections { .. } | Verb::ReclaimMemory { .. } | Verb::Hook { .. } => {
            let text = format!("no configured worker owns {unit}");
            Ok(Answer::Refused { why: Refused::NotAllowed, text })
        }
    }
}

/// Only instances of a template that is scaled, or that has others stand in, are ever stopped.
fn may_be_stopped(worker: &WorkerSettings) -> bool {
    matches!(worker.unit, Selector::Template(_)) && (worker.max_instances.is_some() || worker.surge)
}

/// Queues a job in mode `fail`: a queued job of somebody else wins.
async fn queue(caller: &Caller, method: &str, unit: &str) -> Result<Answer, zbus::Error> {
    let reply = caller.manager(method, &(unit, "fail")).await?;
    let body = reply.body();
    let path: ObjectPath<'_> = body.deserialize()?;
    Ok(Answer::Accepted { job: path.as_str().rsplit('/').next().and_then(|id| id.parse().ok()), did: None })
}

/// systemd takes a try-restart of a unit that is down or on its way down, and then does nothing: the order would
/// look carried out. One that waits for its automatic restart would lose its pause.
async fn not_to_restart(caller: &Caller, unit: &str) -> Result<Option<Answer>, zbus::Error> {
    let path = unit_path(unit);
    let (active, sub) = tokio::join!(
        caller.get(Haste::Quick, &path, UNIT, "ActiveState"),
        caller.get(Haste::Quick, &path, UNIT, "SubState"),
    );
    let (active, sub) = (active?, sub?);
    let active = ActiveState::parse(text(&active));
    Ok(refuse_restart(unit, active, text(&sub)))
}

fn refuse_restart(unit: &str, active: ActiveState, sub: &str) -> Option<Answer> {
    let refused = |why, text| Some(Answer::Refused { why, text });
    match active {
        ActiveState::Deactivating => refused(Refused::JobInFlight, format!("{unit} is being stopped ({sub})")),
        ActiveState::Inactive | ActiveState::Failed => {
            refused(Refused::Superseded, format!("{unit} is {active}: there is nothing to restart"))
        }
        ActiveState::Activating if sub.starts_with("auto-restart") => {
            refused(Refused::JobInFlight, format!("{unit} is being restarted by systemd already ({sub})"))
        }
        _ => None,
    }
}

fn text<'v>(value: &'v Variant<'_>) -> &'v str {
    match value {
        Variant::Str(text) => text.as_str(),
        _ => "",
    }
}

/// A unit that systemd has unloaded has no failure that could be in the way.
async fn reset_failed_state(caller: &Caller, unit: &str) -> Result<(), zbus::Error> {
    match caller.manager("ResetFailedUnit", &unit).await {
        Err(error) if error_name(&error).as_deref() != Some("org.freedesktop.systemd1.NoSuchUnit") => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::incident::{AttemptId, IncidentId};
    use crate::model::name::WorkerName;

    fn helper(units: &[Selector], runtime_dir: &Path) -> Helper {
        let mut settings = Settings::empty();
        for (number, unit) in units.iter().enumerate() {
            let name = WorkerName::new(&format!("w{number}")).unwrap();
            settings.workers.insert(name.clone(), WorkerSettings::new(name, unit.clone()));
        }
        settings.daemon.runtime_dir = runtime_dir.to_owned();
        Helper::new(BusAddress::System, cell::channel(Arc::new(settings)).1, runtime_dir)
    }

    fn why(helper: &Helper, unit: &str) -> Option<Refused> {
        match helper.check(&UnitName::new(unit).unwrap()) {
            Some(Answer::Refused { why, text }) => {
                assert!(!text.is_empty());
                Some(why)
            }
            Some(other) => panic!("{other:?}"),
            None => None,
        }
    }

    #[test]
    fn only_what_one_worker_owns() {
        let dir = tempfile::tempdir().unwrap();
        let glob = |pattern: &str| Selector::Glob(pattern.into());
        let helper =
            helper(&[Selector::Template("mail".into()), glob("batch-*.service"), glob("*-x.service")], dir.path());
        for (unit, expected) in [
            ("mail@1.service", None),
            ("batch-a.service", None),
            ("batch-x.service", Some(Refused::NotAllowed)),
            ("mail.service", Some(Refused::NotAllowed)),
            ("systemd-x.service", Some(Refused::NotAllowed)),
        ] {
            assert_eq!(why(&helper, unit), expected, "{unit}");
        }
    }

    #[tokio::test]
    async fn the_hold_file_stops_everything_and_is_asked_every_time() {
        let dir = tempfile::tempdir().unwrap();
        let unit = UnitName::new("mail.service").unwrap();
        let helper = helper(&[Selector::Unit(unit.clone())], dir.path());
        assert_eq!(why(&helper, "mail.service"), None);
        std::fs::write(dir.path().join(HOLD_FILE), "").unwrap();
        let attempt = AttemptId { incident: IncidentId(1), number: 1 };
        let answer = helper.act(&Order { attempt, unit, verb: Verb::Start { reset_failed: false } }).await;
        assert!(matches!(answer, Answer::Refused { why: Refused::Hold, .. }), "{answer:?}");
        std::fs::remove_file(dir.path().join(HOLD_FILE)).unwrap();
        assert_eq!(why(&helper, "mail.service"), None);
        std::os::unix::fs::symlink("/no/such/file", dir.path().join(HOLD_FILE)).unwrap();
        assert_eq!(why(&helper, "mail.service"), Some(Refused::Hold));
    }

    #[test]
    fn what_is_restarted() {
        let why = |active, sub| match refuse_restart("mail.service", active, sub) {
            Some(Answer::Refused { why, .. }) => Some(why),
            _ => None,
        };
        for (active, sub, expected) in [
            (ActiveState::Active, "running", None),
            (ActiveState::Reloading, "reload", None),
            (ActiveState::Activating, "start", None),
            (ActiveState::Activating, "auto-restart", Some(Refused::JobInFlight)),
            (ActiveState::Deactivating, "stop-sigterm", Some(Refused::JobInFlight)),
            (ActiveState::Inactive, "dead", Some(Refused::Superseded)),
            (ActiveState::Failed, "failed", Some(Refused::Superseded)),
        ] {
            assert_eq!(why(active, sub), expected, "{active} {sub}");
        }
    }
}
