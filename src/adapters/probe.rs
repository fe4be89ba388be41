//! Probes: asks each instance by HTTP, TCP or a command whether it works.
//!
//! A probe that cannot be made says nothing about the instance. Nothing here judges; that several must fail in a row is
//! for others.

mod command;
mod http;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::model::signal::{Member, ProbeReading, ProbeResult};
use crate::model::time::human;
use crate::model::{Input, Now, Settings, UnitName, WorkerName, WorkerSettings};

/// Both clocks, read together.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;
/// The instances that are up.
pub type Members = Arc<dyn Fn() -> Vec<Member> + Send + Sync>;

/// The instances of an interval are spread over so many ticks, so that they are not all asked at once.
const TICKS: u32 = 20;
/// Probes under way. Each worker has its share of them, so that one whose instances answer slowly holds up itself only.
const IN_FLIGHT: usize = 64;
/// A name that takes longer to resolve is one that does not.
const RESOLVE_TIME_MAX: Duration = Duration::from_secs(5);
/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 8;

/// Probes the instances that are up, once each `health_check_interval`, until nobody receives its inputs.
pub async fn watch(
    mut settings: watch::Receiver<Arc<Settings>>,
    members: Members,
    clock: Clock,
    inputs: mpsc::Sender<Input>,
) {
    let mut under_way = UnderWay::default();
    loop {
        let now = settings.borrow_and_update().clone();
        let mut ticks = interval(now.daemon.health_check_interval / TICKS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut turn = 0;
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    if inputs.is_closed() {
                        return;
                    }
                    under_way.queue(&now, members(), turn);
                    under_way.begin(&now, &clock);
                    under_way.hand_over(&inputs);
                    turn = (turn + 1) % TICKS;
                }
                Some(done) = under_way.tasks.join_next() => {
                    under_way.take(done.ok());
                    under_way.begin(&now, &clock);
                }
                changed = settings.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
            }
        }
    }
}

#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<ProbeReading>,
    /// Those whose turn it is, in the order in which it came. An instance is there once.
    waiting: VecDeque<Member>,
    /// Waiting or being asked, and of which worker.
    asked: BTreeMap<UnitName, WorkerName>,
    /// Being asked, by worker.
    busy: BTreeMap<WorkerName, usize>,
    /// The newest of each instance, until the event loop takes it.
    found: BTreeMap<UnitName, ProbeReading>,
}

impl UnderWay {
    /// Lines up those whose turn it is. One that still waits or is being asked is not asked again.
    fn queue(&mut self, settings: &Settings, members: Vec<Member>, turn: u32) {
        if self.tasks.is_empty() && self.waiting.is_empty() {
            // One that panicked has not said goodbye.
            self.asked.clear();
            self.busy.clear();
        }
        for member in members {
            let probed = settings.workers.get(&member.worker).is_some_and(is_probed);
            if probed && slot(&member.unit) == turn && !self.asked.contains_key(&member.unit) {
                self.asked.insert(member.unit.clone(), member.worker.clone());
                self.waiting.push_back(member);
            }
        }
    }

    /// Asks those who wait, as far as there is room for their workers.
    fn begin(&mut self, settings: &Settings, clock: &Clock) {
        let probed = settings.workers.values().filter(|worker| is_probed(worker)).count();
        let share = (IN_FLIGHT / probed.max(1)).max(1);
        for _ in 0..self.waiting.len() {
            if self.tasks.len() >= IN_FLIGHT {
                return;
            }
            let Some(member) = self.waiting.pop_front() else { return };
            let busy = self.busy.get(&member.worker).copied().unwrap_or(0);
            match settings.workers.get(&member.worker).filter(|worker| is_probed(worker)) {
                Some(_) if busy >= share => self.waiting.push_back(member),
                Some(worker) => {
                    self.busy.insert(member.worker.clone(), busy + 1);
                    self.ask(member, worker.clone(), clock.clone());
                }
                None => drop(self.asked.remove(&member.unit)),
            }
        }
    }

    fn ask(&mut self, member: Member, worker: WorkerSettings, clock: Clock) {
        self.tasks.spawn(async move {
            let result = probe(&member, &worker).await;
            ProbeReading { unit: member.unit, at: clock().mono, invocation: member.invocation, result }
        });
    }

    fn take(&mut self, reading: Option<ProbeReading>) {
        let Some(reading) = reading else { return };
        if let Some(worker) = self.asked.remove(&reading.unit)
            && let Some(busy) = self.busy.get_mut(&worker)
        {
            *busy = busy.saturating_sub(1);
        }
        self.found.insert(reading.unit.clone(), reading);
    }

    /// What does not fit into the queue is kept for the next time.
    fn hand_over(&mut self, inputs: &mpsc::Sender<Input>) {
        if self.found.is_empty() {
            return;
        }
        let readings = std::mem::take(&mut self.found);
        let input = Input::Probes { readings: readings.into_values().collect() };
        if let Err(mpsc::error::TrySendError::Full(Input::Probes { readings })) = inputs.try_send(input) {
            self.found = readings.into_iter().map(|reading| (reading.unit.clone(), reading)).collect();
        }
    }
}

fn is_probed(worker: &WorkerSettings) -> bool {
    worker.probe_http.is_some() || worker.probe_tcp.is_some() || worker.probe_command.is_some()
}

/// The tick at which the unit is asked: always the same one, whoever else comes and goes.
fn slot(unit: &UnitName) -> u32 {
    let mut hasher = DefaultHasher::new();
    unit.hash(&mut hasher);
    (hasher.finish() % u64::from(TICKS)) as u32
}

/// All probes of the worker; the first that does not pass is the result.
async fn probe(member: &Member, worker: &WorkerSettings) -> ProbeResult {
    let limit = worker.probe_timeout;
    if let Some(address) = &worker.probe_tcp {
        let result = tcp(&member.expand(address), limit).await;
        if result != ProbeResult::Passed {
            return result;
        }
    }
    if let Some(url) = &worker.probe_http {
        let result = http::get(&member.expand(url), limit).await;
        if result != ProbeResult::Passed {
            return result;
        }
    }
    match &worker.probe_command {
        Some(words) => command::run(member, words, limit).await,
        None => ProbeResult::Passed,
    }
}

async fn tcp(address: &str, limit: Duration) -> ProbeResult {
    let addresses = match resolve(address, address).await {
        Ok(addresses) => addresses,
        Err(result) => return result,
    };
    match timeout(limit, connect(address, &addresses)).await {
        Ok(Ok(_)) => ProbeResult::Passed,
        Ok(Err(result)) => result,
        Err(_) => late(address, limit),
    }
}

/// The addresses of `host:port`. That a name does not resolve, in time or at all, says nothing about the instance.
/// `what` is how the reason names it.
async fn resolve(what: &str, address: &str) -> Result<Vec<SocketAddr>, ProbeResult> {
    let unknown = |why: String| Err(ProbeResult::Unknown { why: format!("{what}: {why}") });
    match timeout(RESOLVE_TIME_MAX, lookup_host(address)).await {
        Ok(Ok(found)) => {
            let found: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
            if found.is_empty() { unknown("the name has no address".into()) } else { Ok(found) }
        }
        Ok(Err(error)) => unknown(format!("the name could not be resolved: {error}")),
        Err(_) => unknown(format!("the name could not be resolved within {}", human(RESOLVE_TIME_MAX))),
    }
}

/// Connects to the first address that accepts.
async fn connect(what: &str, addresses: &[SocketAddr]) -> Result<TcpStream, ProbeResult> {
    let mut last = ProbeResult::Unknown { why: format!("{what}: no address") };
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = refused(what, &error),
        }
    }
    Err(last)
}

fn late(what: &str, limit: Duration) -> ProbeResult {
    ProbeResult::Failed { why: format!("{what} did not answer within {}", human(limit)) }
}

/// What we lack ourselves says nothing about the instance: descriptors, memory, ports, rights, a way to the network.
fn refused(what: &str, error: &io::Error) -> ProbeResult {
    const OURS: [Errno; 9] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::NOBUFS,
        Errno::ADDRNOTAVAIL,
        Errno::ACCESS,
        Errno::PERM,
        Errno::NETUNREACH,
        Errno::NETDOWN,
    ];
    let why = format!("{what}: {error}");
    match error.raw_os_error().is_some_and(|code| OURS.iter().any(|errno| errno.raw_os_error() == code)) {
        true => ProbeResult::Unknown { why },
        false => ProbeResult::Failed { why },
    }
}

#[cfg(test)]
mod tests;
