//! The helper as a process of its own: takes orders from the daemon's user alone, over a socket that systemd made.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::Helper;
use super::wire::{self, Reply, Request};
use crate::model::action::{Answer, Refused};

/// Connections at once. The daemon has one, and for a moment two when it is restarted.
const CONNECTIONS_MAX: usize = 4;
/// Orders under way at once; the next is read when one of them has ended.
const ORDERS_MAX: usize = 128;
/// Without a connection and an order for so long it ends; systemd starts it with the next one.
const IDLE: Duration = Duration::from_secs(30);
/// An act takes less (a hook may take longer); TimeoutStopSec= of the service is more.
const STOP_LIMIT: Duration = Duration::from_secs(12);
/// A peer that does not read its answer for so long is dropped.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// Whose orders are taken, and what is done before each of them.
pub struct Terms {
    /// The daemon's user.
    pub uid: u32,
    /// Brings the settings up to date; the error says why they are unknown, and then nothing is done.
    pub refresh: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
}

/// Serves until nobody has been there for [`IDLE`], or until `stop`: then no further order is taken, and what was begun
/// has [`STOP_LIMIT`] to end, so that what was changed for a moment is put back.
pub async fn serve(
    listener: UnixListener,
    helper: Arc<Helper>,
    terms: Arc<Terms>,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut stop = pin!(stop);
    let mut peers = JoinSet::new();
    let room = Arc::new(Semaphore::new(ORDERS_MAX));
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept(), if peers.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => drop(peers.spawn(attend(stream, helper.clone(), terms.clone(), room.clone()))),
                Err(error) => {
                    // Out of descriptors, say: pausing is better than spinning.
                    warn!(%error, "a connection cannot be taken");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = peers.join_next() => {}
            // What was begun for a daemon that has gone away is done to its end.
            () = tokio::time::sleep(IDLE), if peers.is_empty() => if room.available_permits() == ORDERS_MAX {
                return Ok(());
            },
        }
    }
    peers.shutdown().await;
    if tokio::time::timeout(STOP_LIMIT, room.acquire_many(ORDERS_MAX as u32)).await.is_err() {
        warn!(orders = ORDERS_MAX - room.available_permits(), "stopped while they are carried out");
    }
    Ok(())
}

async fn attend(stream: UnixStream, helper: Arc<Helper>, terms: Arc<Terms>, room: Arc<Semaphore>) {
    let peer = match stream.peer_cred() {
        Ok(peer) if peer.uid() == terms.uid => peer,
        Ok(peer) => return warn!(uid = peer.uid(), pid = peer.pid(), "orders are not taken from this user"),
        Err(error) => return warn!(%error, "who connects is not known; nothing is taken from it"),
    };
    if let Err(error) = take_orders(stream, helper, terms, room).await {
        info!(%error, pid = peer.pid(), "the connection of the daemon has ended");
    }
}

async fn take_orders(
    stream: UnixStream,
    helper: Arc<Helper>,
    terms: Arc<Terms>,
    room: Arc<Semaphore>,
) -> io::Result<()> {
    let (reader, writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(wire::LINE_MAX, reader);
    let writer = Arc::new(Mutex::new(writer));
    while let Some(line) = wire::next_line(&mut reader).await? {
        // One that does not speak our language is not the daemon as we know it.
        let request: Request = serde_json::from_slice(&line).map_err(io::Error::other)?;
        let place = room.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (helper, terms, writer) = (helper.clone(), terms.clone(), writer.clone());
        // What was begun is done to its end, also when the daemon has gone away meanwhile.
        tokio::spawn(async move {
            let answer = carry_out(&helper, &terms, &request).await;
            answer_with(&writer, Reply { number: request.number, answer }).await;
            drop(place);
        });
    }
    Ok(())
}

async fn carry_out(helper: &Helper, terms: &Arc<Terms>, request: &Request) -> Answer {
    let refresh = terms.refresh.clone();
    let known = tokio::task::spawn_blocking(move || refresh()).await.unwrap_or_else(|error| Err(error.to_string()));
    let Some(order) = &request.order else { return Answer::Accepted { job: None, did: None } };
    let answer = match known {
        Ok(()) => helper.act(order).await,
        Err(why) => Answer::Refused { why: Refused::NotAllowed, text: format!("the helper knows no worker: {why}") },
    };
    match &answer {
        Answer::Accepted { .. } => info!(unit = %order.unit, verb = order.verb.as_str(), "done"),
        Answer::Refused { text, .. } => warn!(unit = %order.unit, verb = order.verb.as_str(), why = text, "refused"),
        Answer::Failed { text } | Answer::DidNotWork { text } => {
            warn!(unit = %order.unit, verb = order.verb.as_str(), why = text, "failed");
        }
    }
    answer
}

async fn answer_with(writer: &Mutex<OwnedWriteHalf>, reply: Reply) {
    let line = wire::line(&reply);
    let mut writer = writer.lock().await;
    match tokio::time::timeout(WRITE_LIMIT, writer.write_all(&line)).await {
        Ok(Ok(())) => {}
        // The daemon has gone away, and finds out what happened by looking at the unit.
        Ok(Err(_)) => {}
        Err(_) => drop(writer.shutdown().await),
    }
}
