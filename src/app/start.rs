//! Brings everything to life in an order in which nothing is bound before it is known to be right.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{error, warn};

use crate::adapters::alertmanager::Alertmanagers;
use crate::adapters::cgroup::{self, CgroupRoot, Sampler, SamplerHandle, Sources};
use crate::adapters::http::{self, Answers, BindError, Feed, Web};
use crate::adapters::journal;
use crate::adapters::passed::Passed;
use crate::adapters::rabbitmq::{self, Outlet};
use crate::adapters::store::lock::{Lock, LockError};
use crate::adapters::store::recorder::{Header, Recorder};
use crate::adapters::store::starts::Starts;
use crate::adapters::store::{Opened, Store};
use crate::adapters::systemd::{self, BusAddress, BusStats, Families, TasksOf};
use crate::adapters::{clock, heartbeat, host, probe};
use crate::engine::Engine;
use crate::learn::strategies::Strategies;
use crate::model::input::Memory;
use crate::model::settings::DaemonSettings;
use crate::model::settings::HOLD_FILE;
use crate::model::{Input, Now, Settings};
use crate::views::metrics::{Board, Build, Own};
use crate::views::story::sentence;

use super::authority::Authority;
use super::disk_desk::DiskDesk;
use super::dispatch::Dispatch;
use super::event_loop::{EventLoop, selectors};
use super::habit_desk::HabitDesk;
use super::pattern_desk::{PatternDesk, Sources as Learning};
use super::roster::Roster;
use super::series_desk::SeriesDesk;
use super::snapshots::Snapshots;
use super::{Counted, Daemon, FACTS_BEHIND, Options, QUERIES, Reading, Shared};

/// Signals and samples that may wait for the event loop; beyond it the adapters resync or drop a round.
const INPUTS: usize = 16_384;
/// Questions to systemd that may wait.
const QUESTIONS: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another daemon works on the same state.
    #[error(transparent)]
    Locked(LockError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot create {}: {source}; check its rights, or set runtime_dir", path.display())]
    RuntimeDir { path: PathBuf, source: std::io::Error },
    #[error(
        "{} belongs to another user, whose daemon could not read any more what root writes there; start that one \
         (systemctl start unitmedic), or name a state_dir, a runtime_dir and a listen of its own for a trial",
        .0.display()
    )]
    NotRoots(PathBuf),
    #[error("cannot read the boot id from /proc: {0}; is /proc mounted?")]
    BootId(std::io::Error),
}

/// What is wound up after the event loop has ended.
pub(super) struct Remains {
    lock: Option<Lock>,
    starts: Starts,
}

impl Remains {
    pub async fn wind_up(self, store: Store) {
        store.close().await;
        if let Err(error) = self.starts.note_clean_stop() {
            warn!(%error, "the clean stop could not be noted; the next start will take it for a crash");
        }
        drop(self.lock);
    }
}

pub(super) async fn start(settings: Settings, options: Options) -> Result<Daemon, StartError> {
    let boot = clock::boot_id().map_err(StartError::BootId)?;
    directories(&settings.daemon)?;
    let lock = lock(&settings)?;
    let control = http::bind_control(&settings.daemon.control_socket, &settings.daemon.control_group)?;
    let tcp = listen_tcp(&settings.daemon, options.sockets).await?;
    let Opened { store, memory, problems, starts } = Store::open(&settings.daemon, &boot, Arc::new(clock::now));
    tell(problems, &memory);
    let (stop, stopped) = watch::channel(false);
    let (inputs_in, inputs) = mpsc::channel(INPUTS);
    let (answers_in, answers) = mpsc::unbounded_channel();
    let (questions_in, questions) = mpsc::channel(QUESTIONS);
    let (queries_in, queries) = mpsc::channel(QUERIES);
    let (selectors_in, selectors_out) = watch::channel(selectors(&settings));
    let (readiness, ready) = watch::channel(Err("starting".to_string()));
    let (helper_settings, in_force) = watch::channel(Arc::new(settings.clone()));
    let authority = Arc::new(Authority::new(options.bus, in_force.clone(), &settings.daemon.runtime_dir));
    let bus = Arc::new(BusStats::default());
    let (own, board) = board(&settings, &memory);
    let (roster, patterns) = learning(&in_force, &inputs_in, &store);
    let (now, seed) = (clock::now(), seed());
    let shared = Arc::new(Shared {
        queries: queries_in,
        facts: broadcast::channel(FACTS_BEHIND).0,
        readiness: ready,
        store,
        board: Mutex::new(board),
        own,
        bus: bus.clone(),
        roster,
        families: Arc::new(Families::new(tasks_of_cgroups())),
        counted: Counted::default(),
        authority: authority.clone(),
        alertmanagers: Alertmanagers::new(Arc::new(clock::now), &settings),
        patterns,
        disk: DiskDesk::start(settings.daemon.state_dir.clone()),
        in_force: in_force.clone(),
        reading: reading(&settings, seed),
        reload: options.reload,
        describe: options.describe,
    });
    let recorder = recorder(&boot, now, &settings, &memory, seed);
    prepare(authority.clone());
    let sampler = sampler(&settings, inputs_in.clone());
    let mut watchers = signals(&settings, options.bus, &in_force, &inputs_in, &shared);
    let habits = habits(&shared, &inputs_in, &mut watchers);
    watchers.push(tokio::spawn(systemd::watch(options.bus, selectors_out, inputs_in, questions, bus)));
    let dispatch =
        Dispatch::new(shared.clone(), authority, helper_settings, questions_in, sampler, answers_in, &settings);
    let event_loop = EventLoop {
        habits,
        hold_file: hold_file(&settings),
        engine: Engine::new(now, settings, memory, seed),
        dispatch,
        inputs,
        answers,
        queries,
        selectors: selectors_in,
        readiness,
        recorder,
        notifier: options.notifier,
        boot,
        stop: stopped.clone(),
        requests: 0,
        seconds: 0,
    };
    let event_loop = tokio::spawn(event_loop.run());
    let tasks = serve(control, tcp, &shared, stopped, watchers)?;
    Ok(Daemon { shared, stop, tasks, event_loop, remains: Remains { lock, starts } })
}

fn hold_file(settings: &Settings) -> PathBuf {
    settings.daemon.runtime_dir.join(HOLD_FILE)
}

/// The seed differs with each start, and so names this run to those who read its events.
fn reading(settings: &Settings, seed: u64) -> Reading {
    Reading {
        snapshots: Snapshots::new(hold_file(settings)),
        series: SeriesDesk::default(),
        feed: Arc::new(Feed::new(format!("{seed:x}"), sentence)),
        answers: Answers::default(),
    }
}

/// What keeps the habits of instances; a task among the watchers brings back what was known.
fn habits(shared: &Shared, inputs: &mpsc::Sender<Input>, watchers: &mut Vec<JoinHandle<()>>) -> HabitDesk {
    let (habits, patterns) = (HabitDesk::new(shared.store.clone()), shared.patterns.clone());
    let recalled = habits.recall(inputs.clone(), move || patterns.counted().refuse());
    watchers.push(tokio::spawn(recalled));
    habits
}

/// With the incidents that are still open.
fn board(settings: &Settings, memory: &Memory) -> (Own, Board) {
    let own = Own::new();
    own.http_denials(http::Denial::ALL.iter().map(|why| why.as_str()));
    let mut board = Board::new(build(), own.clone(), settings);
    board.restore(&memory.incidents);
    (own, board)
}

/// What an operator must know of the past that was found.
fn tell(problems: Vec<String>, memory: &Memory) {
    let (_, refused) = Strategies::restore(memory.strategies.clone());
    for problem in problems {
        error!("{problem}");
    }
    for why in refused {
        error!("what was learned of {why}; it is left in the history as it is, and learned anew");
    }
}

/// What learns from the workers' errors, and who it sees up.
fn learning(
    in_force: &watch::Receiver<Arc<Settings>>,
    inputs: &mpsc::Sender<Input>,
    store: &Store,
) -> (Roster, PatternDesk) {
    let roster = Roster::default();
    let (settings, inputs, store) = (in_force.clone(), inputs.clone(), store.clone());
    let patterns = PatternDesk::start(Learning { settings, roster: roster.clone(), inputs, store });
    (roster, patterns)
}

fn recorder(boot: &str, now: Now, settings: &Settings, memory: &Memory, seed: u64) -> Recorder {
    let header = Header::new(boot, now, settings.clone(), serde_json::to_value(memory).unwrap_or_default());
    Recorder::open(&settings.daemon, header.seeded(seed))
}

/// Puts back what a killed process of ours left changed, and connects ahead of the first order.
fn prepare(authority: Arc<Authority>) {
    tokio::spawn(async move { authority.prepare().await });
}

/// The sources of signals of work, and of what is only shown.
fn signals(
    settings: &Settings,
    bus: BusAddress,
    in_force: &watch::Receiver<Arc<Settings>>,
    inputs: &mpsc::Sender<Input>,
    shared: &Shared,
) -> Vec<JoinHandle<()>> {
    let scope = match bus {
        BusAddress::System => journal::Scope::System,
        BusAddress::User => journal::Scope::User,
    };
    let state_dir = settings.daemon.state_dir.clone();
    let heard = (shared.patterns.listener(), shared.counted.lines.clone());
    let errors = journal::watch(scope, state_dir, Arc::new(clock::now), in_force.clone(), inputs.clone(), heard);
    let recalled = shared.patterns.clone().recall(shared.store.clone());
    let outlet = Outlet::new(inputs.clone(), Arc::new(clock::now), shared.counted.brokers.clone());
    let queues = rabbitmq::watch(in_force.clone(), outlet);
    let members = members_of(&shared.roster);
    let probes = probe::watch(in_force.clone(), members.clone(), Arc::new(clock::now), inputs.clone());
    let watchdogs = systemd::watch_watchdogs(bus, in_force.clone(), members.clone(), inputs.clone());
    hear_beats(settings, in_force, members, inputs, shared.counted.beats.clone());
    let families = systemd::watch_families(bus, in_force.clone(), shared.families.clone());
    vec![
        tokio::spawn(errors),
        tokio::spawn(recalled),
        tokio::spawn(queues),
        tokio::spawn(probes),
        tokio::spawn(watchdogs),
        tokio::spawn(families),
    ]
}

/// How the tasks of a service are counted; `None` where nobody does.
fn tasks_of_cgroups() -> Option<TasksOf> {
    let root = CgroupRoot::detect().ok().filter(|root| root.controllers().iter().any(|name| name == "pids"))?;
    Some(Arc::new(move |control_group| cgroup::tasks(&root, control_group)))
}

fn members_of(roster: &Roster) -> heartbeat::Members {
    let roster = roster.clone();
    Arc::new(move || roster.members())
}

/// Without the socket no sign of life comes by it, and what never beat is unknown, not hung.
fn hear_beats(
    settings: &Settings,
    in_force: &watch::Receiver<Arc<Settings>>,
    members: heartbeat::Members,
    inputs: &mpsc::Sender<Input>,
    stats: Arc<heartbeat::HeartbeatStats>,
) {
    let sources = heartbeat::Sources { clock: Arc::new(clock::now), members, inputs: inputs.clone(), stats };
    let socket = settings.daemon.runtime_dir.join(heartbeat::SOCKET_NAME);
    if let Err(error) = heartbeat::listen(&socket, sources.clone()) {
        error!(%error, socket = %socket.display(), "no signs of life can be heard over the socket");
    }
    if let Err(error) = heartbeat::watch_files(in_force.clone(), sources) {
        error!(%error, "files of signs of life cannot be looked at");
    }
}

/// What systemd passed, else what is configured. `listen` that is "none" opens no port; one that is open is served.
async fn listen_tcp(
    settings: &DaemonSettings,
    passed: Vec<Passed>,
) -> Result<Option<(Vec<TcpListener>, Arc<Web>)>, BindError> {
    let listeners = match settings.listen {
        _ if !passed.is_empty() => {
            http::take_passed(passed.into_iter().map(|Passed { name, socket }| (name, socket)).collect())?
        }
        Some(address) => vec![http::bind_tcp(address).await?],
        None => return Ok(None),
    };
    let web = Web::new(settings.web_config_file.as_deref()).map_err(BindError::Web)?;
    Ok(Some((listeners, Arc::new(web))))
}

/// The servers, and what ends the watchers with them.
fn serve(
    control: UnixListener,
    tcp: Option<(Vec<TcpListener>, Arc<Web>)>,
    shared: &Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
    watchers: Vec<JoinHandle<()>>,
) -> Result<Vec<JoinHandle<()>>, BindError> {
    let mut tasks = vec![tokio::spawn(http::serve_unix(control, shared.clone(), stopped.clone()))];
    if let Some((tcp, web)) = tcp {
        tasks.push(http::spawn_tcp(tcp, web, shared.clone(), stopped.clone())?);
    }
    tasks.push(tokio::spawn(async move {
        let _ = stopped.wait_for(|stop| *stop).await;
        for watcher in watchers {
            watcher.abort();
        }
    }));
    Ok(tasks)
}

fn directories(settings: &DaemonSettings) -> Result<(), StartError> {
    not_of_others(&settings.state_dir)?;
    make_runtime_directory(&settings.runtime_dir)
}

/// What root writes among the files of the service, the service can neither read nor remove.
fn not_of_others(state_dir: &Path) -> Result<(), StartError> {
    let owner = std::fs::metadata(state_dir).map_or(0, |meta| meta.uid());
    match rustix::process::geteuid().is_root() && owner != 0 {
        true => Err(StartError::NotRoots(state_dir.into())),
        false => Ok(()),
    }
}

/// tmpfiles.d makes it for the service; by hand and under `--user` nobody else does.
fn make_runtime_directory(path: &Path) -> Result<(), StartError> {
    std::fs::create_dir_all(path).map_err(|source| StartError::RuntimeDir { path: path.into(), source })
}

/// A second daemon is refused. A lock that cannot be tried, on a full or read-only disk, must not keep
/// protection from starting; the control socket still refuses a second one.
fn lock(settings: &Settings) -> Result<Option<Lock>, StartError> {
    match Lock::acquire(&settings.daemon.state_dir) {
        Ok(lock) => Ok(Some(lock)),
        Err(held @ LockError::Held { .. }) => Err(StartError::Locked(held)),
        Err(unavailable) => {
            error!("{unavailable}; going on without a lock");
            Ok(None)
        }
    }
}

/// Without cgroup v2 resources are unknown; liveness is still watched.
fn sampler(settings: &Settings, inputs: mpsc::Sender<Input>) -> Option<SamplerHandle> {
    cgroup::raise_nofile();
    let root = CgroupRoot::detect().map_err(|error| error.to_string());
    let sampler = root.and_then(|root| Sampler::new(root).map_err(|error| error.to_string()));
    let mut totals = host::Host::new();
    let sources = Sources { clock: Box::new(|| clock::now().mono), host: Box::new(move || totals.read()) };
    let interval: Duration = settings.daemon.health_check_interval;
    let spawned = sampler
        .and_then(|sampler| cgroup::spawn(sampler, interval, sources, inputs).map_err(|error| error.to_string()));
    match spawned {
        Ok(handle) => Some(handle),
        Err(why) => {
            error!(why, "CPU, memory and pressure cannot be read; their conditions stay unknown");
            None
        }
    }
}

fn build() -> Build {
    Build {
        version: env!("CARGO_PKG_VERSION").into(),
        revision: option_env!("UNITMEDIC_REVISION").unwrap_or_default().into(),
        systemd: String::new(),
    }
}

/// Only spreads the pauses of several daemons; needs no quality.
fn seed() -> u64 {
    clock::now().wall.0 as u64 ^ (u64::from(std::process::id()) << 32)
}
