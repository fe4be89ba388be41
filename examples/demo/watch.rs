//! The live story: unitmedic's own event stream, told as it comes. What was missed while the daemon was away is taken
//! from its history.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use unitmedic::adapters::clock::now;
use unitmedic::adapters::http::client::{Client, ClientError};
use unitmedic::model::history::Filter;
use unitmedic::model::status::Status;
use unitmedic::model::{Fact, IncidentId, Mono, What};
use unitmedic::views::look::{Look, Tone, columns};
use unitmedic::views::story::Story;

use crate::screen::Screen;
use crate::testhost::Failure;

/// How often the foot is looked at anew, and whether the watch is to end.
const BEAT: Duration = Duration::from_millis(250);
const RETRY: Duration = Duration::from_millis(20);

pub struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    screen: Arc<Screen>,
    told: Mutex<Vec<Fact>>,
    /// Connected to the stream, so that nothing is missed from now on.
    listening: AtomicBool,
    end: AtomicBool,
}

impl Watch {
    pub fn start(client: Client, screen: Arc<Screen>) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::new(Shared {
            screen,
            told: Mutex::default(),
            listening: AtomicBool::new(false),
            end: AtomicBool::new(false),
        });
        let teller = Teller {
            client,
            shared: shared.clone(),
            seen: BTreeSet::new(),
            held_back: BTreeSet::new(),
            since: Mono::default(),
        };
        let thread = thread::spawn(move || runtime.block_on(teller.run()));
        Ok(Self { shared, thread: Some(thread) })
    }

    pub fn is_listening(&self) -> bool {
        self.shared.listening.load(Ordering::SeqCst)
    }

    /// How many facts have been told: where to begin to look for those that are to come.
    pub fn mark(&self) -> usize {
        self.shared.told().len()
    }

    /// The first fact told after `mark` for which `wanted` says yes.
    pub fn told(&self, mark: usize, wanted: impl Fn(&Fact) -> bool) -> Option<Fact> {
        self.shared.told().iter().skip(mark).find(|fact| wanted(fact)).cloned()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.shared.screen.set_foot(String::new());
    }
}

impl Shared {
    fn told(&self) -> std::sync::MutexGuard<'_, Vec<Fact>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> bool {
        self.end.load(Ordering::SeqCst)
    }
}

struct Teller {
    client: Client,
    shared: Arc<Shared>,
    /// Facts told already: by number and time, since numbers begin anew with the daemon.
    seen: BTreeSet<(u64, Mono)>,
    held_back: BTreeSet<(Option<IncidentId>, &'static str)>,
    /// Nothing older is told.
    since: Mono,
}

impl Teller {
    async fn run(mut self) {
        while !self.shared.ended() {
            // Ends when the daemon goes away; then it is waited for.
            let _ = self.listen().await;
            if self.shared.listening.swap(false, Ordering::SeqCst) && !self.shared.ended() {
                self.say_that_it_is_gone();
            }
            sleep(RETRY).await;
        }
    }

    async fn listen(&mut self) -> Result<(), ClientError> {
        let mut events = self.client.events().await?;
        let status = self.client.status().await?;
        match self.since == Mono::default() {
            true => self.since = status.at.mono,
            false => self.catch_up().await?,
        }
        self.shared.listening.store(true, Ordering::SeqCst);
        self.show(&status);
        while !self.shared.ended() {
            match timeout(BEAT, events.next()).await {
                Ok(Ok(Some(fact))) => self.tell(fact),
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_) => {}
            }
            if self.shared.screen.has_foot() {
                self.show(&self.client.status().await?);
            }
        }
        Ok(())
    }

    /// Tells what the history has and the stream did not bring.
    async fn catch_up(&mut self) -> Result<(), ClientError> {
        let mut missed = Vec::new();
        for incident in self.client.incidents(&Filter::default()).await? {
            missed.extend(self.client.story(incident.id).await?.facts);
        }
        missed.sort_by_key(|fact| (fact.at.mono, fact.seq));
        missed.into_iter().for_each(|fact| self.tell(fact));
        Ok(())
    }

    fn tell(&mut self, fact: Fact) {
        if fact.at.mono < self.since || !self.seen.insert((fact.seq, fact.at.mono)) {
            return;
        }
        let repeated = self.is_repeated(&fact);
        let screen = &self.shared.screen;
        if !repeated && let Some(lines) = Story::new(screen.look.clone()).tell(&fact) {
            screen.line(&lines);
        }
        self.shared.told().push(fact);
    }

    /// While systemd loops, the same two gates take turns: each is told once for an incident.
    fn is_repeated(&mut self, fact: &Fact) -> bool {
        let What::ActionSuppressed { refusal, .. } = &fact.what else { return false };
        !self.held_back.insert((fact.incident, refusal.gate.as_str()))
    }

    /// Of its own death a daemon cannot tell.
    fn say_that_it_is_gone(&self) {
        let screen = &self.shared.screen;
        let look = &screen.look;
        let (time, sign) = (look.dim(&look.clock(now().wall)), look.paint(Tone::Bad, look.sign(Tone::Bad)));
        screen.line(&format!("{time} {sign} {}", look.paint(Tone::Bad, "unitmedic itself is gone")));
    }

    fn show(&self, status: &Status) {
        self.shared.screen.set_foot(foot(status, &self.shared.screen.look));
    }
}

/// All workers on one line, with a sign for each instance. Names alone where even that is too wide.
fn foot(status: &Status, look: &Look) -> String {
    let width = look.width.unwrap_or(80).saturating_sub(1);
    let mut workers: Vec<_> = status.workers.iter().collect();
    workers.sort_by_key(|worker| crate::workers::place_of(worker.worker.as_str()));
    let plain: usize =
        workers.iter().map(|worker| columns(worker.worker.as_str()) + worker.instances.len() + 2).sum::<usize>();
    let gap = if plain + workers.len() <= width { "  " } else { " " };
    let cells = workers.iter().map(|worker| {
        let signs: String = worker
            .instances
            .iter()
            .map(|instance| look.paint(Tone::of(instance.health), look.sign(Tone::of(instance.health))))
            .collect();
        format!("{signs}{}", look.dim(worker.worker.as_str()))
    });
    cells.collect::<Vec<_>>().join(gap)
}
