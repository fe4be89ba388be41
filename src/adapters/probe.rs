//! Probes: asks each instance by HTTP, TCP or a command whether it works.
//!
//! A probe that cannot be made says nothing about the instance. Nothing here judges; that several must fail in a row is
//! for others.

mod command;
mod http;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::model::signal::{Member, ProbeReading, ProbeResult};
use crate::model::time::human;
use crate::model::{Input, Now, Settings, UnitName, WorkerSettings};

/// Both clocks, read together.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;
/// The instances that are up.
pub type Members = Arc<dyn Fn() -> Vec<Member> + Send + Sync>;

/// The instances of an interval are spread over so many ticks, so that they are not all asked at once.
const TICKS: u32 = 20;
/// Probes under way; more wait for their next turn.
const IN_FLIGHT: usize = 64;

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
                    under_way.begin(&now, &members(), turn, &clock);
                    under_way.hand_over(&inputs);
                    turn = (turn + 1) % TICKS;
                }
                Some(done) = under_way.tasks.join_next() => under_way.take(done.ok()),
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
    asked: BTreeSet<UnitName>,
    /// The newest of each instance, until the event loop takes it.
    found: BTreeMap<UnitName, ProbeReading>,
}

impl UnderWay {
    /// Asks those whose turn it is. One that is still being asked is not asked again.
    fn begin(&mut self, settings: &Settings, members: &[Member], turn: u32, clock: &Clock) {
        if self.tasks.is_empty() {
            self.asked.clear();
        }
        for (number, member) in members.iter().enumerate() {
            let Some(worker) = settings.workers.get(&member.worker).filter(|worker| is_probed(worker)) else {
                continue;
            };
            let its_turn = number as u32 % TICKS == turn;
            if !its_turn || self.tasks.len() >= IN_FLIGHT || !self.asked.insert(member.unit.clone()) {
                continue;
            }
            let (member, worker, clock) = (member.clone(), worker.clone(), clock.clone());
            self.tasks.spawn(async move {
                let result = probe(&member, &worker).await;
                ProbeReading { unit: member.unit, at: clock().mono, invocation: member.invocation, result }
            });
        }
    }

    fn take(&mut self, reading: Option<ProbeReading>) {
        if let Some(reading) = reading {
            self.asked.remove(&reading.unit);
            self.found.insert(reading.unit.clone(), reading);
        }
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
    match timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(_)) => ProbeResult::Passed,
        Ok(Err(error)) => refused(address, &error),
        Err(_) => late(address, limit),
    }
}

fn late(what: &str, limit: Duration) -> ProbeResult {
    ProbeResult::Failed { why: format!("{what} did not answer within {}", human(limit)) }
}

/// What we lack ourselves says nothing about the instance.
fn refused(what: &str, error: &io::Error) -> ProbeResult {
    const OURS: [i32; 3] = [
        rustix::io::Errno::MFILE.raw_os_error(),
        rustix::io::Errno::NFILE.raw_os_error(),
        rustix::io::Errno::NOMEM.raw_os_error(),
    ];
    let why = format!("{what}: {error}");
    match error.raw_os_error().is_some_and(|code| OURS.contains(&code)) {
        true => ProbeResult::Unknown { why },
        false => ProbeResult::Failed { why },
    }
}

#[cfg(test)]
mod tests;
