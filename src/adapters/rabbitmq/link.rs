//! One broker and virtual host: connects, reads its queues in rounds, connects again after a pause. Never gives up.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::model::signal::{QueueDepth, QueueState};

use super::backoff::Backoff;
use super::connection::{Broker, Trouble};
use super::plan::{Link, Work};
use super::rates::Rates;
use super::{Outlet, readings};

pub struct Keeper {
    link: Link,
    work: watch::Receiver<Arc<Work>>,
    outlet: Outlet,
    broker: Option<Broker>,
    backoff: Backoff,
    retry_at: Instant,
    rates: Rates,
    /// Why the broker cannot be asked, as the log has been told: it hears of changes only.
    away: Option<String>,
}

impl Keeper {
    pub fn new(link: Link, work: watch::Receiver<Arc<Work>>, outlet: Outlet) -> Self {
        Self {
            link,
            work,
            outlet,
            broker: None,
            backoff: Backoff::default(),
            retry_at: Instant::now(),
            rates: Rates::default(),
            away: None,
        }
    }

    /// Ends when the sender of its work is gone.
    pub async fn run(mut self) {
        let mut round_at = Instant::now();
        loop {
            let wake = if self.broker.is_some() { round_at } else { round_at.min(self.retry_at) };
            tokio::select! {
                changed = self.work.changed() => match changed {
                    Ok(()) => round_at = Instant::now(),
                    Err(_) => break,
                },
                () = sleep_until(wake) => {
                    let work = self.work.borrow_and_update().clone();
                    self.connect().await;
                    self.round(&work).await;
                    // From its end: a broker that is slow is not asked the more often.
                    round_at = Instant::now() + work.period;
                }
            }
        }
        if let Some(broker) = self.broker.take() {
            broker.close().await;
        }
    }

    /// At most one attempt, and none before its time.
    async fn connect(&mut self) {
        if self.broker.is_some() || Instant::now() < self.retry_at {
            return;
        }
        self.outlet.counts.connects(1);
        let password = self.link.password.read(self.outlet.credentials.as_ref()).await;
        let connected = match &password {
            Ok(password) => Broker::connect(&self.link, password).await,
            Err(why) => Err(why.clone()),
        };
        match connected {
            Ok(broker) => self.broker = Some(broker),
            Err(why) => self.lost(why),
        }
    }

    fn lost(&mut self, why: String) {
        self.broker = None;
        self.retry_at = Instant::now() + self.backoff.next();
        self.outlet.counts.connect_failures(1);
        if self.away.as_ref() != Some(&why) {
            let (broker, vhost) = (self.link.address.to_string(), &self.link.vhost);
            warn!(broker, vhost, why, "the queues of a broker cannot be read; trying again at growing intervals");
            self.away = Some(why);
        }
    }

    async fn round(&mut self, work: &Work) {
        let mut states = Vec::with_capacity(work.queues.len());
        for asked in &work.queues {
            states.push(self.read(&asked.name).await);
        }
        if self.broker.is_some() {
            self.backoff.reset();
            if self.away.take().is_some() {
                info!(broker = self.link.address.to_string(), vhost = self.link.vhost, "the broker answers again");
            }
            self.rates.add(&self.link, &work.queues, &mut states, &self.outlet).await;
        }
        self.outlet.send(readings(&work.queues, states, self.outlet.now()));
    }

    async fn read(&mut self, queue: &str) -> QueueState {
        let Some(broker) = &mut self.broker else {
            let why = self.away.clone().unwrap_or_else(|| "not connected yet".into());
            return QueueState::Unknown { why };
        };
        match broker.depth(&self.link, queue).await {
            Ok((ready, consumers)) => QueueState::Known(QueueDepth { ready, consumers, ..QueueDepth::default() }),
            Err(Trouble::Queue(why)) => QueueState::Unknown { why },
            Err(Trouble::Connection(why)) => {
                self.lost(why.clone());
                QueueState::Unknown { why }
            }
        }
    }
}
