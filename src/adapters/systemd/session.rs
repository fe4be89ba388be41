//! One life of the connection: signals, calls and questions meet in one loop that never waits for a call.

mod resync;

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch as cell};
use zbus::{Message, MessageStream, Variant};

use self::resync::Resync;
use super::bus::{BusAddress, Caller, Haste, JOB, SERVICE, SYSTEMD, UNIT, error_name, error_text};
use super::debounce::Resyncs;
use super::inquire::inquire;
use super::jobs::RecentJobs;
use super::look::{Listing, look, manager_state};
use super::path::{job_path, unit_path};
use super::properties::{Depth, names};
use super::signals::{OWNER_RULE, SYSTEMD_RULE, Signal, read};
use super::table::{Effect, Table};
use super::{BusStats, Question, journal};
use crate::model::fact::ResyncReason;
use crate::model::input::{Finding, Input};
use crate::model::name::UnitName;
use crate::model::settings::Selector;
use crate::model::time::Mono;
use crate::model::unit::{InvocationId, JobKind, JobResult, ManagerState, UnitChange};

/// Signals that wait for us inside zbus. When it is full the bus holds the rest back: nothing is lost.
const SIGNAL_QUEUE: NonZeroUsize = NonZeroUsize::new(8192).unwrap();
/// Time in which questions about units that went down together are gathered into one.
const INQUIRY_BURST: Duration = Duration::from_millis(20);
/// Answers and questions that are kept while the channel of inputs is full.
const ANSWERS_MAX: usize = 4096;
/// Jobs whose kind is being asked; of more at once, only those of units that matter are asked.
const KINDS_MAX: usize = 256;
/// How long systemd may be without a name on the bus. A re-exec takes well under a second.
const OWNERLESS_MAX: Duration = Duration::from_secs(10);
/// Pause between two questions for the state of the manager.
const MANAGER_PAUSE: Duration = Duration::from_secs(1);

/// Targets whose jobs mean that the manager comes up or goes down.
const SHUTDOWN_TARGETS: &[&str] =
    &["shutdown.target", "reboot.target", "poweroff.target", "halt.target", "kexec.target", "exit.target"];
const SLOW_TARGETS: &[&str] = &["rescue.target", "emergency.target", "default.target", "multi-user.target"];
/// Endings of units that start others.
const TRIGGERS: &[&str] = &[".timer", ".socket", ".path"];

/// Why a session is over.
pub enum End {
    Lost(String),
    NobodyListens,
}

/// What a call has brought.
enum Done {
    Looked {
        unit: UnitName,
        depth: Depth,
        seen: Result<UnitChange, zbus::Error>,
    },
    ControlGroup {
        unit: UnitName,
        invocation: InvocationId,
        path: String,
    },
    /// What a timer, socket or path unit starts.
    Triggers(Vec<String>),
    Kind {
        unit: String,
        job: u32,
        kind: Option<JobKind>,
    },
    Listed(Result<Listing, zbus::Error>),
    Manager(Option<ManagerState>),
    Found {
        asked: Vec<UnitName>,
        findings: Result<Vec<(UnitName, Finding)>, zbus::Error>,
    },
    Subscribed,
}

type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// Both connections and all that is known while they last.
pub struct Session<'s> {
    bus: BusAddress,
    stats: &'s Arc<BusStats>,
    inputs: mpsc::Sender<Input>,
    stream: MessageStream,
    caller: Caller,
    /// systemd's unique name on the bus; empty while it has none.
    systemd: String,
    ownerless_since: Option<Instant>,
    reloading: bool,
    table: Table,
    jobs: RecentJobs,
    kinds_asked: usize,
    work: FuturesUnordered<Work>,
    resyncs: Resyncs,
    resync: Option<Resync>,
    resyncs_failed: u32,
    /// The snapshot that is whole and waits for room in the channel.
    ready: Option<ResyncReason>,
    last_listing: Option<(ManagerState, Mono)>,
    /// An input was dropped: nothing more is told until a snapshot has been.
    overflowed: bool,
    late: VecDeque<Input>,
    /// Units of which somebody asked for a look.
    asked: HashSet<UnitName>,
    manager: Option<ManagerState>,
    manager_due: Option<Instant>,
    inquiries: Vec<UnitName>,
    inquiries_due: Option<Instant>,
    inquiring: bool,
}

impl<'s> Session<'s> {
    /// Connects twice, installs the match rules, subscribes. Nothing that happens from now on is missed.
    pub async fn connect(
        bus: BusAddress,
        stats: &'s Arc<BusStats>,
        inputs: mpsc::Sender<Input>,
    ) -> Result<Self, zbus::Error> {
        let signals = bus.connect().await?;
        let mut stream = MessageStream::from(&signals);
        stream.set_max_queued(SIGNAL_QUEUE);
        let caller = Caller::new(bus.connect().await?, stats.calls.clone());
        for rule in [SYSTEMD_RULE, OWNER_RULE] {
            on_the_bus(&signals, "AddMatch", rule).await?;
        }
        subscribe(&caller).await?;
        let version = super::look::version(&caller).await?;
        *stats.version.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = version;
        let systemd = on_the_bus(&signals, "GetNameOwner", SYSTEMD).await?.body().deserialize::<String>()?;
        Ok(Self {
            bus,
            stats,
            inputs,
            stream,
            caller,
            systemd,
            ownerless_since: None,
            reloading: false,
            table: Table::default(),
            jobs: RecentJobs::default(),
            kinds_asked: 0,
            work: FuturesUnordered::new(),
            resyncs: Resyncs::default(),
            resync: None,
            resyncs_failed: 0,
            ready: None,
            last_listing: None,
            overflowed: false,
            late: VecDeque::new(),
            asked: HashSet::new(),
            manager: None,
            manager_due: None,
            inquiries: Vec::new(),
            inquiries_due: None,
            inquiring: false,
        })
    }

    /// Runs until the bus or the receiver of inputs is gone. `unanswered` carries questions over to the next life.
    pub async fn run(
        mut self,
        selectors: &mut cell::Receiver<Vec<Selector>>,
        questions: &mut mpsc::Receiver<Question>,
        unanswered: &mut Vec<UnitName>,
    ) -> End {
        self.table = Table::new(selectors.borrow_and_update().clone());
        for unit in unanswered.drain(..) {
            self.ask_about(unit);
        }
        self.resyncs.ask(Instant::now(), ResyncReason::Connected);
        let end = self.turn(selectors, questions).await;
        unanswered.append(&mut self.inquiries);
        end
    }

    async fn turn(
        &mut self,
        selectors: &mut cell::Receiver<Vec<Selector>>,
        questions: &mut mpsc::Receiver<Question>,
    ) -> End {
        let caller = self.caller.clone();
        let inputs = self.inputs.clone();
        // After an overflow a snapshot with no room behind it would only be followed by the next overflow.
        let room_wanted = (inputs.max_capacity() / 2).max(1);
        loop {
            if let Some(end) = self.timers() {
                return end;
            }
            let wake = self.next_timer();
            // In this order: a signal waits for nothing.
            tokio::select! {
                biased;
                message = self.stream.next() => match message {
                    Some(Ok(message)) => self.message(&message),
                    Some(Err(error)) => return End::Lost(error_text(&error)),
                    None => return End::Lost("the bus closed the connection for signals".into()),
                },
                () = caller.connection().closed() => return End::Lost("the bus closed the connection for calls".into()),
                () = inputs.closed() => return End::NobodyListens,
                room = inputs.reserve_many(room_wanted), if self.ready.is_some() => match room {
                    Ok(mut room) => {
                        let snapshot = self.snapshot();
                        if let Some(place) = room.next() { place.send(snapshot); }
                        drop(room);
                        self.after_snapshot();
                    }
                    Err(_) => return End::NobodyListens,
                },
                Some(done) = self.work.next(), if !self.work.is_empty() => {
                    if let Some(end) = self.done(done) { return end; }
                }
                question = questions.recv(), if !questions.is_closed() || !questions.is_empty() => match question {
                    Some(Question::Look(unit)) => self.look_for(unit),
                    Some(Question::Inquire(unit)) => self.ask_about(unit),
                    None => {}
                },
                Ok(()) = selectors.changed() => {
                    self.table.select(selectors.borrow_and_update().clone());
                    self.resyncs.ask(Instant::now(), ResyncReason::SettingsChanged);
                }
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    fn timers(&mut self) -> Option<End> {
        let now = Instant::now();
        if self.ownerless_since.is_some_and(|since| now.duration_since(since) >= OWNERLESS_MAX) {
            return Some(End::Lost("systemd has left the bus".into()));
        }
        let free = self.ownerless_since.is_none() && self.resync.is_none() && self.ready.is_none();
        if free && self.resyncs.start(now).is_some() {
            self.start_listing();
        }
        if self.inquiries_due.is_some_and(|due| due <= now) && !self.inquiring {
            self.start_inquiry();
        }
        if self.manager_due.is_some_and(|due| due <= now) {
            self.manager_due = None;
            self.ask_manager();
        }
        None
    }

    fn next_timer(&self) -> Instant {
        let resync = if self.resync.is_none() && self.ready.is_none() { self.resyncs.due() } else { None };
        let inquiry = if self.inquiring { None } else { self.inquiries_due };
        let ownerless = self.ownerless_since.map(|since| since + OWNERLESS_MAX);
        let due = [resync.filter(|_| ownerless.is_none()), inquiry, ownerless, self.manager_due];
        due.into_iter().flatten().min().unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))
    }

    // Signals.

    fn message(&mut self, message: &Message) {
        self.stats.signals.fetch_add(1, Ordering::Relaxed);
        let table = &self.table;
        if let Some(signal) = read(message, &self.systemd, |unit| table.wants(unit)) {
            self.signal(signal);
        }
    }

    fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::Changed { unit, change } => self.changed(&unit, *change),
            Signal::UnitNew { unit } => {
                if let Some(unit) = self.table.name(&unit) {
                    let effects = self.table.loaded(unit);
                    self.carry_out(effects);
                }
            }
            // A reload drops every unit and loads it again; the resync after it finds those that are really gone.
            Signal::UnitRemoved { .. } if self.reloading => {}
            Signal::UnitRemoved { unit } => {
                if let Some(unit) = self.table.name(&unit) {
                    let effects = self.table.removed(unit);
                    self.carry_out(effects);
                }
            }
            Signal::JobNew { unit, job } => self.job_new(unit, job),
            Signal::JobRemoved { unit, job, result } => self.job_removed(unit, job, result),
            Signal::Reloading { active: true } => self.reloading = true,
            Signal::Reloading { active: false } => {
                self.reloading = false;
                self.resyncs.ask(Instant::now(), ResyncReason::ManagerReloaded);
            }
            Signal::UnitFilesChanged => self.resyncs.ask(Instant::now(), ResyncReason::UnitFilesChanged),
            Signal::StartupFinished => self.manager_due = Some(Instant::now()),
            Signal::Owner { name } => self.owner(name),
        }
    }

    fn changed(&mut self, unit: &str, change: UnitChange) {
        let Some(unit) = self.table.name(unit) else { return };
        if change.active.is_some() {
            // Whether the manager is degraded hangs on what failed; it does not say so by itself.
            self.manager_due.get_or_insert_with(|| Instant::now() + MANAGER_PAUSE);
        }
        let effects = self.table.changed(unit, change);
        self.carry_out(effects);
    }

    fn job_new(&mut self, unit: String, job: u32) {
        self.jobs.queued(unit.clone(), job, monotonic());
        if SHUTDOWN_TARGETS.contains(&&*unit) {
            // Its only job is its start; whether it is really so is asked at once.
            self.manager_is(ManagerState::Stopping);
            self.manager_due = Some(Instant::now());
        }
        let matters = self.tell_job(&unit, |unit| Input::JobNew { unit, job });
        if matters || self.kinds_asked < KINDS_MAX {
            self.ask_kind(unit, job);
        }
    }

    fn job_removed(&mut self, unit: String, job: u32, result: JobResult) {
        if SHUTDOWN_TARGETS.contains(&&*unit) || SLOW_TARGETS.contains(&&*unit) {
            self.manager_due.get_or_insert_with(Instant::now);
        }
        // A job that is over before its kind could be asked is known by what it did. This must be told before its
        // end: a stop that looks like an exit would be answered with a start.
        let name = self.table.name(&unit).filter(|_| result == JobResult::Done && self.jobs.kind_of(job).is_none());
        if let Some(kind) = name.and_then(|name| self.table.kind_by_effect(&name, job)) {
            self.jobs.kind(job, kind);
            self.tell_job(&unit, |unit| Input::JobKind { unit, job, kind });
        }
        self.jobs.removed(job, result);
        if result == JobResult::Done && TRIGGERS.iter().any(|kind| unit.ends_with(kind)) {
            self.read_triggers(&unit);
        }
        self.tell_job(&unit, |unit| Input::JobRemoved { unit, job, result });
    }

    fn tell_job(&mut self, unit: &str, input: impl FnOnce(UnitName) -> Input) -> bool {
        let Some(unit) = self.table.name(unit) else { return false };
        let effects = self.table.job(unit.clone(), input(unit));
        self.carry_out(effects);
        true
    }

    fn owner(&mut self, name: String) {
        self.systemd = name;
        if self.systemd.is_empty() {
            self.ownerless_since.get_or_insert_with(Instant::now);
            return;
        }
        self.ownerless_since = None;
        self.reloading = false;
        let caller = self.caller.clone();
        self.start(async move {
            if let Err(error) = subscribe(&caller).await {
                tracing::warn!(error = %error_text(&error), "systemd did not confirm the subscription after a re-exec");
            }
            Done::Subscribed
        });
        self.resyncs.ask(Instant::now(), ResyncReason::ManagerReexecuted);
    }

    // What signals and replies call for.

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(input) => self.send(input),
                Effect::Look(unit, depth) => self.look(unit, depth, Haste::Bulk),
                Effect::ReadControlGroup(unit, invocation) => self.read_control_group(unit, invocation),
            }
        }
    }

    /// Never waits. A full channel loses the input and is made up for by a snapshot of all that is known.
    fn send(&mut self, input: Input) {
        let refused =
            if self.overflowed { Some(input) } else { self.inputs.try_send(input).err().map(|e| e.into_inner()) };
        let Some(input) = refused else { return };
        self.stats.dropped.fetch_add(1, Ordering::Relaxed);
        if !self.overflowed {
            self.overflowed = true;
            tracing::debug!("the channel of inputs is full; a snapshot will follow");
        }
        if self.resync.is_none() && self.ready.is_none() && self.last_listing.is_some() {
            self.ready = Some(ResyncReason::QueueOverflow);
        }
        if matches!(input, Input::Inquired { .. }) && self.late.len() < ANSWERS_MAX {
            self.late.push_back(input);
        }
    }

    fn start(&mut self, work: impl Future<Output = Done> + Send + 'static) {
        self.work.push(Box::pin(work));
    }

    /// Starts a look unless one is under way, whose answer then serves both: signals since its start are in it.
    fn look(&mut self, unit: UnitName, depth: Depth, haste: Haste) {
        if !self.table.look_begins(&unit) {
            return;
        }
        let (caller, known) = (self.caller.clone(), self.table.known(&unit).cloned());
        self.start(async move {
            let seen = look(&caller, &unit, depth, known, haste).await;
            Done::Looked { unit, depth, seen }
        });
    }

    fn look_for(&mut self, unit: UnitName) {
        if self.asked.len() < ANSWERS_MAX && self.table.wants(unit.as_str()) {
            self.asked.insert(unit.clone());
            self.look(unit, Depth::Everything, Haste::Quick);
        }
    }

    fn read_control_group(&mut self, unit: UnitName, invocation: InvocationId) {
        let caller = self.caller.clone();
        self.start(async move {
            let value = caller.get(Haste::Quick, &unit_path(unit.as_str()), SERVICE, "ControlGroup").await;
            let path = match value.as_deref() {
                Ok(Variant::Str(path)) => path.as_str().to_owned(),
                _ => String::new(),
            };
            Done::ControlGroup { unit, invocation, path }
        });
    }

    /// A service is triggered by units that are loaded, and no signal tells when that changes. Asked when a job of such
    /// a unit is done, not when it is loaded: reading loads it, too.
    fn read_triggers(&mut self, trigger: &str) {
        let (caller, path) = (self.caller.clone(), unit_path(trigger));
        self.start(async move {
            let value = caller.get(Haste::Quick, &path, UNIT, "Triggers").await;
            Done::Triggers(value.ok().as_deref().and_then(names).unwrap_or_default())
        });
    }

    fn look_at_triggered(&mut self, units: Vec<String>) {
        for unit in units.iter().filter_map(|unit| self.table.name(unit)).collect::<Vec<_>>() {
            self.look(unit, Depth::Standing, Haste::Quick);
        }
    }

    fn ask_kind(&mut self, unit: String, job: u32) {
        self.kinds_asked += 1;
        let caller = self.caller.clone();
        self.start(async move {
            // The job may be over already; then nobody can tell its kind.
            let value = caller.get(Haste::Quick, &job_path(job), JOB, "JobType").await;
            let kind = match value.as_deref() {
                Ok(Variant::Str(kind)) => Some(JobKind::parse(kind.as_str())),
                _ => None,
            };
            Done::Kind { unit, job, kind }
        });
    }

    fn ask_manager(&mut self) {
        let caller = self.caller.clone();
        self.start(async move { Done::Manager(manager_state(&caller).await.ok()) });
    }

    fn manager_is(&mut self, state: ManagerState) {
        if self.manager != Some(state) {
            self.manager = Some(state);
            if let Some((known, _)) = &mut self.last_listing {
                *known = state;
                self.send(Input::Manager { state });
            }
        }
    }

    fn ask_about(&mut self, unit: UnitName) {
        if self.inquiries.len() < ANSWERS_MAX && !self.inquiries.contains(&unit) {
            self.inquiries.push(unit);
        }
        self.inquiries_due.get_or_insert_with(|| Instant::now() + INQUIRY_BURST);
    }

    fn start_inquiry(&mut self) {
        self.inquiries_due = None;
        self.inquiring = true;
        let some = self.inquiries.len().min(journal::UNITS_MAX);
        // They stay on the list until they are answered, so that a lost bus does not lose the question.
        let asked = self.inquiries[..some].to_vec();
        for unit in &asked {
            self.table.read_begins(unit);
        }
        let (caller, bus, jobs) = (self.caller.clone(), self.bus, self.jobs.clone());
        self.start(async move {
            let findings = inquire(&caller, bus, &jobs, &asked).await;
            Done::Found { asked, findings }
        });
    }

    // Replies.

    fn done(&mut self, done: Done) -> Option<End> {
        match done {
            Done::Looked { unit, depth, seen } => return self.looked(unit, depth, seen),
            Done::ControlGroup { unit, invocation, path } => {
                let effect = self.table.control_group(&unit, invocation, path);
                self.carry_out(effect.into_iter().collect());
            }
            Done::Triggers(units) => self.look_at_triggered(units),
            Done::Kind { unit, job, kind } => {
                self.kinds_asked -= 1;
                if let Some(kind) = kind.filter(|_| self.jobs.kind_of(job).is_none()) {
                    self.jobs.kind(job, kind);
                    self.tell_job(&unit, |unit| Input::JobKind { unit, job, kind });
                }
            }
            Done::Listed(Ok(listing)) => {
                self.listed(listing);
            }
            Done::Listed(Err(error)) => return self.resync_failed(&error),
            Done::Manager(Some(state)) => self.manager_is(state),
            Done::Manager(None) | Done::Subscribed => {}
            Done::Found { asked, findings } => self.found(asked, findings),
        }
        None
    }

    fn looked(&mut self, unit: UnitName, depth: Depth, seen: Result<UnitChange, zbus::Error>) -> Option<End> {
        let awaited = self.resync.as_ref().is_some_and(|resync| resync.awaited.contains(&unit));
        match seen {
            Ok(seen) => {
                let answer = depth.is_whole() && self.asked.remove(&unit);
                let effects = self.table.look_ends(&unit, depth, seen, answer);
                self.carry_out(effects);
            }
            Err(error) => {
                self.table.look_failed(&unit);
                self.asked.remove(&unit);
                if awaited {
                    return self.resync_failed(&error);
                }
                // A manager that hangs, or one that re-executes itself, which brings a look at everything.
                tracing::debug!(%unit, error = %error_text(&error), "unit not read");
                return None;
            }
        }
        if !depth.is_whole() && (awaited || self.asked.contains(&unit)) {
            self.look(unit, Depth::Everything, Haste::Quick);
        } else if awaited && let Some(resync) = &mut self.resync {
            resync.awaited.remove(&unit);
            self.whole();
        }
        None
    }

    fn found(&mut self, asked: Vec<UnitName>, findings: Result<Vec<(UnitName, Finding)>, zbus::Error>) {
        self.inquiring = false;
        for unit in &asked {
            self.table.read_ends(unit);
        }
        match findings {
            Ok(findings) => {
                self.inquiries.retain(|unit| !asked.contains(unit));
                for (unit, finding) in findings {
                    self.send(Input::Inquired { unit, finding });
                }
            }
            // They are still on the list. No reply means that the bus or the manager is on its way out.
            Err(error) => tracing::debug!(error = %error_text(&error), "inquiry not answered; asked again"),
        }
        if !self.inquiries.is_empty() {
            self.inquiries_due.get_or_insert_with(|| Instant::now() + INQUIRY_BURST);
        }
    }
}

async fn on_the_bus(connection: &zbus::Connection, method: &str, argument: &str) -> Result<Message, zbus::Error> {
    const BUS: &str = "org.freedesktop.DBus";
    connection.call_method(Some(BUS), "/org/freedesktop/DBus", Some(BUS), method, &argument).await
}

/// Without a subscriber systemd sends no signals. That we are one already is what we wanted.
async fn subscribe(caller: &Caller) -> Result<(), zbus::Error> {
    match caller.manager("Subscribe", &()).await {
        Err(error) if error_name(&error).as_deref() != Some("org.freedesktop.systemd1.AlreadySubscribed") => Err(error),
        _ => Ok(()),
    }
}

/// Now on the clock of systemd's timestamps.
fn monotonic() -> Mono {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Mono(now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000)
}
