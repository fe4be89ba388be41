//! Takes messages, handles them, acknowledges them; connects again when the connection ends.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::select_all;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Result;
use super::beat::{beat, notify};
use super::orders::Orders;

/// First pause before it connects again; doubles up to the second.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(2);

struct Settings {
    url: String,
    queue: String,
    prefetch: u16,
    consumers: u16,
    work: Duration,
    results: Option<File>,
}

struct Signals {
    term: Signal,
    hup: Signal,
}

/// Why a connection is no longer used.
enum End {
    Drained,
    /// SIGHUP.
    Anew,
    Lost(String),
}

pub async fn consume() -> Result<()> {
    let orders = Orders::from_env();
    let mut signals = Signals { term: signal(SignalKind::terminate())?, hup: signal(SignalKind::hangup())? };
    let tasks = tokio::task::LocalSet::new();
    let freeing = orders.clone();
    let mut free = signal(SignalKind::user_defined1())?;
    tasks.spawn_local(async move {
        while free.recv().await.is_some() {
            freeing.free();
        }
    });
    tasks.spawn_local(orders.clone().obey());
    tasks.run_until(live(&orders, &mut signals)).await
}

async fn live(orders: &Orders, signals: &mut Signals) -> Result<()> {
    let settings = Settings::from_env()?;
    let start = orders.number("slow-start").or_else(|| number("START_S")).unwrap_or_default();
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs_f64(start)) => {}
        () = termination(&mut signals.term, orders) => return Ok(()),
    }
    notify("READY=1");
    tokio::task::spawn_local(beat(orders.clone()));
    let mut pause = PAUSE;
    loop {
        let end = match serve(&settings, orders, signals, &mut pause).await {
            Ok(end) => end,
            Err(error) => End::Lost(error.to_string()),
        };
        match end {
            End::Drained => return Ok(()),
            End::Anew => eprintln!("<6>connecting anew"),
            End::Lost(why) => {
                eprintln!("<4>no connection: {why}");
                tokio::select! {
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
                    () = termination(&mut signals.term, orders) => return Ok(()),
                }
            }
        }
    }
}

/// One life of a connection.
async fn serve(settings: &Settings, orders: &Orders, signals: &mut Signals, pause: &mut Duration) -> Result<End> {
    let connection = Connection::connect(&settings.url, ConnectionProperties::default()).await?;
    let mut consumers = Vec::new();
    for _ in 0..settings.consumers {
        let channel = connection.create_channel().await?;
        channel.basic_qos(settings.prefetch, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        consumers.push(
            channel.basic_consume(settings.queue.as_str().into(), "".into(), options, FieldTable::default()).await?,
        );
    }
    let mut deliveries = select_all(consumers);
    eprintln!("<6>consuming {}", settings.queue);
    *pause = PAUSE;
    // What was taken and never acknowledged: dropping it would not give it back either, the connection does.
    let mut kept = Vec::new();
    loop {
        let delivery = tokio::select! {
            biased;
            () = termination(&mut signals.term, orders) => {
                // What was prefetched and not begun goes back to the queue with the connection.
                connection.close(200, "draining".into()).await?;
                return Ok(End::Drained);
            }
            _ = signals.hup.recv() => {
                drop(connection.close(200, "told to".into()).await);
                return Ok(End::Anew);
            }
            delivery = deliveries.next() => delivery,
        };
        let Some(delivery) = delivery else { return Ok(End::Lost("all consumers were cancelled".into())) };
        let delivery = delivery?;
        if orders.given("stop-acking") {
            kept.push(delivery);
            continue;
        }
        handle(&delivery, settings, orders).await?;
    }
}

/// The result is written before the acknowledgement: a death between the two shows as a second handling of a message
/// that the broker marks as redelivered.
async fn handle(delivery: &Delivery, settings: &Settings, orders: &Orders) -> Result<()> {
    let work = orders.number("work-ms").map_or(settings.work, |ms| Duration::from_secs_f64(ms / 1000.0));
    tokio::time::sleep(work).await;
    if let Some(mut results) = settings.results.as_ref() {
        let id = delivery.properties.message_id().as_ref().map_or("-", |id| id.as_str());
        let pid = std::process::id();
        // One write to a file opened for appending: lines of several workers do not mix.
        results.write_all(format!("{id} {} {} {pid}\n", delivery.delivery_tag, delivery.redelivered).as_bytes())?;
    }
    delivery.ack(BasicAckOptions::default()).await?;
    Ok(())
}

/// SIGTERM, unless it is to be ignored.
async fn termination(term: &mut Signal, orders: &Orders) {
    loop {
        term.recv().await;
        if !orders.given("ignore-term") {
            return;
        }
        eprintln!("<4>SIGTERM is ignored");
    }
}

impl Settings {
    fn from_env() -> Result<Self> {
        let results = match env::var_os("RESULTS") {
            Some(path) => Some(OpenOptions::new().create(true).append(true).open(path)?),
            None => None,
        };
        Ok(Self {
            url: env::var("AMQP_URL").unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".into()),
            queue: env::var("QUEUE").map_err(|_| "QUEUE is not set")?,
            prefetch: number("PREFETCH").unwrap_or(1.0) as u16,
            consumers: number("CONSUMERS").unwrap_or(1.0) as u16,
            work: Duration::from_secs_f64(number("WORK_MS").unwrap_or(10.0) / 1000.0),
            results,
        })
    }
}

fn number(name: &str) -> Option<f64> {
    env::var(name).ok()?.trim().parse().ok()
}
