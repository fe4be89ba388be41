//! The adapter by itself, in the network of a host: what it reads, without a daemon around it.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use unitmedic::adapters::clock;
use unitmedic::adapters::rabbitmq::{self, BrokerStats, Outlet};
use unitmedic::model::signal::{QueueDepth, QueueName, QueueReading, QueueState};
use unitmedic::model::{Input, Selector, Settings, WorkerName, WorkerSettings};

use crate::broker::{PASSWORD, USER};
use crate::fixture::{LIMIT, until};
use crate::testhost::{Failure, Machine};

pub struct Reader {
    settings: Option<watch::Sender<Arc<Settings>>>,
    readings: Arc<Mutex<Vec<QueueReading>>>,
    pub counts: Arc<BrokerStats>,
    thread: Option<JoinHandle<()>>,
    directory: TempDir,
}

impl Drop for Reader {
    fn drop(&mut self) {
        drop(self.settings.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Reader {
    /// Reads these queues of the broker at 127.0.0.1, as `amqp_url` names it, every second.
    pub fn start(host: &Machine, url: &str, queues: &[(Option<&str>, &str)]) -> Result<Self, Failure> {
        let directory = tempfile::tempdir()?;
        let password = directory.path().join("password");
        std::fs::write(&password, format!("{PASSWORD}\n"))?;
        let (sender, settings) = watch::channel(Arc::new(settings(url, queues, &password)?));
        let readings = Arc::new(Mutex::new(Vec::new()));
        let counts = Arc::new(BrokerStats::default());
        let network = File::open(format!("/proc/{}/ns/net", host.leader()))?;
        let (kept, counted) = (readings.clone(), counts.clone());
        let thread = thread::spawn(move || {
            // Of this thread alone, and of those that it starts.
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).expect("the host's network");
            read(settings, &kept, counted);
        });
        Ok(Self { settings: Some(sender), readings, counts, thread: Some(thread), directory })
    }

    pub fn password_file(&self) -> PathBuf {
        self.directory.path().join("password")
    }

    pub fn set_password(&self, password: &str) -> Result<(), Failure> {
        Ok(std::fs::write(self.password_file(), password)?)
    }

    pub fn reload(&self, url: &str, queues: &[(Option<&str>, &str)], management: Option<&str>) -> Result<(), Failure> {
        self.reload_with(url, queues, |worker| worker.management_url = management.map(str::to_string))
    }

    pub fn reload_with(
        &self,
        url: &str,
        queues: &[(Option<&str>, &str)],
        change: impl FnMut(&mut WorkerSettings),
    ) -> Result<(), Failure> {
        let mut new = settings(url, queues, &self.password_file())?;
        new.workers.values_mut().for_each(change);
        let sender = self.settings.as_ref().ok_or("it has ended")?;
        sender.send(Arc::new(new)).map_err(|_| "the adapter has ended")?;
        Ok(())
    }

    pub fn attempts(&self) -> u64 {
        self.counts.connects.load(Ordering::Relaxed)
    }

    pub fn last(&self, queue: &str) -> Option<QueueState> {
        let readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        readings.iter().rev().find(|one| one.queue.name == queue).map(|one| one.reading.clone())
    }

    /// Waits for a reading made from now on.
    pub fn wait(
        &self,
        queue: &str,
        what: &str,
        limit: Duration,
        want: impl Fn(&QueueState) -> bool,
    ) -> Result<QueueState, Failure> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner).clear();
        until(&format!("{queue}: {what}"), limit, || match self.last(queue) {
            Some(state) if want(&state) => Ok(state),
            other => Err(Failure::new(format!("{other:?}"))),
        })
    }

    pub fn wait_known(&self, queue: &str, ready: u64, consumers: u64) -> Result<(), Failure> {
        let want = QueueState::Known(QueueDepth { ready, consumers, ..QueueDepth::default() });
        self.wait(queue, &format!("{want:?}"), LIMIT, |state| *state == want).map(drop)
    }

    pub fn wait_unknown(&self, queue: &str, why: &str) -> Result<(), Failure> {
        let says = |state: &QueueState| matches!(state, QueueState::Unknown { why: told } if told.contains(why));
        self.wait(queue, why, LIMIT, says).map(drop)
    }
}

fn settings(url: &str, queues: &[(Option<&str>, &str)], password: &Path) -> Result<Settings, Failure> {
    let mut settings = Settings::empty();
    settings.daemon.health_check_interval = Duration::from_secs(1);
    let name = WorkerName::new("tasks").map_err(|error| error.to_string())?;
    let mut worker = WorkerSettings::new(name.clone(), Selector::Template("tasks".into()));
    worker.amqp_url = Some(url.into());
    worker.amqp_user = Some(USER.into());
    worker.amqp_password_file = Some(password.to_owned());
    let named =
        |(vhost, name): &(Option<&str>, &str)| QueueName { vhost: vhost.map(str::to_string), name: name.to_string() };
    worker.queues = queues.iter().map(named).collect();
    settings.workers.insert(name, worker);
    Ok(settings)
}

fn read(settings: watch::Receiver<Arc<Settings>>, kept: &Mutex<Vec<QueueReading>>, counts: Arc<BrokerStats>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (sender, mut inputs) = mpsc::channel(64);
    runtime.spawn(rabbitmq::watch(settings, Outlet::new(sender, Arc::new(clock::now), counts)));
    runtime.block_on(async {
        while let Some(input) = inputs.recv().await {
            if let Input::Queues { readings } = input {
                kept.lock().unwrap_or_else(PoisonError::into_inner).extend(readings);
            }
        }
    });
}
