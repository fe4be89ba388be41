//! Tells every Alertmanager which alerts hold: at once when one begins or ends, and again while it holds.
//!
//! Alertmanager forgets what it does not hear of, so telling anew is also how one that was away learns what still
//! holds. Each has a queue and a task of its own: one that hangs holds up no other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::model::alert::{Alert, AlertKey, Change, Delivery};
use crate::model::settings::{AlertSettings, AlertmanagerSettings};
use crate::model::{AlertmanagerName, Now, Settings};

mod outbox;
mod post;
mod wire;

use outbox::Outbox;
use post::{PostError, Target};

/// Pauses between two tries while an Alertmanager takes nothing. The longest bounds how late it hears when it is back.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(15);
/// What waits when the daemon ends has this long to get out.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// All Alertmanagers of the configuration. No method but `close` ever waits.
pub struct Alertmanagers {
    clock: Clock,
    peers: Mutex<Peers>,
    settings: watch::Sender<Arc<AlertSettings>>,
    stop: watch::Sender<bool>,
}

#[derive(Default)]
struct Peers {
    /// What holds, for one that joins later.
    firing: BTreeMap<AlertKey, Alert>,
    by_name: BTreeMap<AlertmanagerName, Peer>,
}

struct Peer {
    settings: AlertmanagerSettings,
    outbox: Arc<Outbox>,
    task: JoinHandle<()>,
}

impl Alertmanagers {
    pub fn new(clock: Clock, settings: &Settings) -> Self {
        let this = Self {
            clock,
            peers: Mutex::default(),
            settings: watch::channel(Arc::new(settings.alerts.clone())).0,
            stop: watch::channel(false).0,
        };
        this.configure(settings);
        this
    }

    /// Puts other settings in force. An Alertmanager that stays keeps its queue and its counts.
    pub fn configure(&self, settings: &Settings) {
        self.settings.send_replace(Arc::new(settings.alerts.clone()));
        let mut peers = self.lock();
        let Peers { firing, by_name } = &mut *peers;
        by_name.retain(|name, peer| {
            let stays = settings.alertmanagers.get(name) == Some(&peer.settings);
            if !stays {
                peer.task.abort();
            }
            stays
        });
        for (name, settings) in &settings.alertmanagers {
            by_name.entry(name.clone()).or_insert_with(|| self.start(name, settings, firing));
        }
    }

    fn start(
        &self,
        name: &AlertmanagerName,
        settings: &AlertmanagerSettings,
        firing: &BTreeMap<AlertKey, Alert>,
    ) -> Peer {
        let outbox = Arc::new(Outbox::default());
        for alert in firing.values() {
            outbox.put(&Change::Fired(alert.clone()), Instant::now());
        }
        let sender = Sender {
            name: name.clone(),
            target: Target::new(settings),
            outbox: outbox.clone(),
            settings: self.settings.subscribe(),
            stop: self.stop.subscribe(),
            clock: self.clock.clone(),
        };
        Peer { settings: settings.clone(), outbox, task: tokio::spawn(sender.run()) }
    }

    pub fn tell(&self, change: &Change) {
        let mut peers = self.lock();
        let alert = change.alert();
        match change {
            Change::Resolved(_) => drop(peers.firing.remove(&alert.key)),
            _ => drop(peers.firing.insert(alert.key.clone(), alert.clone())),
        }
        for peer in peers.by_name.values() {
            peer.outbox.put(change, Instant::now());
        }
    }

    pub fn deliveries(&self) -> Vec<Delivery> {
        let delivery = |(name, peer): (&AlertmanagerName, &Peer)| {
            let (stats, queued) = peer.outbox.stats();
            Delivery {
                alertmanager: name.clone(),
                url: peer.settings.url.clone(),
                sent: stats.sent,
                errors: stats.errors,
                dropped: stats.dropped,
                queued,
                last_success: stats.last_success,
                last_error: stats.last_error,
            }
        };
        self.lock().by_name.iter().map(delivery).collect()
    }

    /// Sends what waits, for at most [`CLOSE_LIMIT`]. What holds is left to Alertmanager, which lets it end by itself.
    pub async fn close(&self) {
        let _ = self.stop.send(true);
        let tasks: Vec<JoinHandle<()>> =
            std::mem::take(&mut self.lock().by_name).into_values().map(|peer| peer.task).collect();
        let deadline = Instant::now() + CLOSE_LIMIT;
        for mut task in tasks {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task of one Alertmanager.
struct Sender {
    name: AlertmanagerName,
    target: Target,
    outbox: Arc<Outbox>,
    settings: watch::Receiver<Arc<AlertSettings>>,
    stop: watch::Receiver<bool>,
    clock: Clock,
}

impl Sender {
    async fn run(mut self) {
        let mut failures = 0;
        let mut not_before = Instant::now();
        loop {
            let interval = self.settings.borrow().resend_interval;
            self.outbox.renew(Instant::now(), interval);
            let stopping = *self.stop.borrow();
            let batch = self.outbox.take();
            if batch.is_empty() {
                if stopping {
                    return;
                }
                self.wait(interval).await;
                continue;
            }
            if !stopping && not_before > Instant::now() {
                self.outbox.put_back(&batch);
                tokio::select! {
                    () = sleep_until(not_before) => {}
                    _ = self.stop.changed() => {}
                }
                continue;
            }
            failures = match self.send(&batch, failures).await {
                Ok(()) => 0,
                Err(()) if stopping => return,
                Err(()) => failures + 1,
            };
            let pause = RETRY_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(RETRY_MAX);
            not_before = if failures > 0 { Instant::now() + pause } else { Instant::now() };
        }
    }

    async fn wait(&mut self, interval: Duration) {
        let renewal = self.outbox.next_renewal(Instant::now(), interval);
        tokio::select! {
            () = self.outbox.filled() => {}
            () = sleep_until(renewal) => {}
            _ = self.settings.changed() => {}
            _ = self.stop.changed() => {}
        }
    }

    /// `Err`: it is to be tried again soon.
    async fn send(&self, batch: &[Alert], failures: u32) -> Result<(), ()> {
        let now = (self.clock)().wall;
        let body = wire::body(batch, &self.settings.borrow(), now);
        let count = batch.len() as u64;
        match self.target.post(body).await {
            Ok(()) => {
                if failures > 0 {
                    info!(alertmanager = %self.name, "Alertmanager takes alerts again");
                }
                self.outbox.sent(count, now);
                Ok(())
            }
            Err(error) => {
                let (why, again) = match error {
                    PostError::Later(why) => (why, true),
                    // It may have taken some of them; the others come again with the next renewal.
                    PostError::Refused(why) => (why, false),
                };
                if failures == 0 {
                    warn!(alertmanager = %self.name, %why, "alerts cannot be delivered");
                }
                self.outbox.failed(count, why);
                if again {
                    self.outbox.put_back(batch);
                    return Err(());
                }
                Ok(())
            }
        }
    }
}
