//! The thread "store": the only one that writes the database. Intents go before everything else; nothing that the
//! disk does stops it, and what it cannot write it keeps for later or counts as lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tracing::{debug, error, info, warn};

use super::db::{self, Fault, OpenError, retain, write};
use super::intent::Pending;
use super::queue::{Ask, Turn};
use super::{Shared, before};

/// Pauses between tries while the disk takes nothing.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Availability reaches the database this often; a crash of ours loses so much of it.
const FLUSH_EVERY: Duration = Duration::from_secs(60);
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// Between two slices of a sweep, so that forgetting takes a small share of the disk.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);

/// Why something was not written.
enum Trouble {
    /// It may be, later.
    Later(String),
    /// It never will be.
    Never(String),
}

struct Failing {
    why: String,
    pause: Duration,
    until: Instant,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    connection: Option<Connection>,
    /// The file belongs to a newer version: nothing is written in this life.
    refused: Option<String>,
    failing: Option<Failing>,
    flush_at: Instant,
    sweep_at: Instant,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, connection: Option<Connection>, refused: Option<String>) -> Self {
        let now = Instant::now();
        Self { shared, connection, refused, failing: None, flush_at: now + FLUSH_EVERY, sweep_at: now }
    }

    pub fn run(mut self) {
        loop {
            let due = self.flush_at.min(self.sweep_at);
            let write_from = self.failing.as_ref().map_or_else(Instant::now, |failing| failing.until);
            match self.shared.queue.next(due, write_from) {
                Turn::Intents(intents) => self.record(&intents),
                Turn::Ask(ask) => self.answer(ask),
                Turn::Slice(slice) => self.write(slice),
                Turn::Due => self.keep_house(),
                Turn::Closed => break,
            }
        }
        self.flush();
        let (_, waiting) = self.shared.queue.lost_and_waiting();
        if waiting > 0 {
            error!(waiting, "the history ends incomplete: the database took no more");
        }
    }

    fn record(&mut self, intents: &[Arc<Pending>]) {
        let boot = self.shared.boot.clone();
        let written = self.attempt(|connection| write::intents(connection, &boot, intents.iter().map(|it| &it.intent)));
        for pending in intents {
            match &written {
                Ok(()) => pending.stored(),
                Err(Trouble::Later(why) | Trouble::Never(why)) => self.shared.desk.keep(pending, why),
            }
        }
    }

    fn write(&mut self, slice: write::Slice) {
        match self.attempt(|connection| write::slice(connection, &slice)) {
            Ok(()) => {
                for incident in &slice.incidents {
                    let settled = incident.attempts.iter().filter(|attempt| !attempt.is_running());
                    if let Some(last) = settled.map(|attempt| attempt.number).max() {
                        self.shared.desk.forget(incident.id, last);
                    }
                }
                self.shared.queue.written();
            }
            Err(Trouble::Later(why)) => self.shared.queue.put_back(slice, &why),
            Err(Trouble::Never(_)) if self.refused.is_some() => self.shared.queue.forsake(slice),
            Err(Trouble::Never(_)) => self.write_singly(slice),
        }
    }

    /// One part of the slice can never be written; the others still can.
    fn write_singly(&mut self, slice: write::Slice) {
        let incidents =
            slice.incidents.into_iter().map(|it| write::Slice { incidents: vec![it], ..Default::default() });
        let facts = slice.facts.into_iter().map(|it| write::Slice { facts: vec![it], ..Default::default() });
        let alerts = slice.alerts.into_iter().map(|it| write::Slice { alerts: vec![it], ..Default::default() });
        let known = slice.known.into_iter().map(|it| write::Slice { known: vec![it], ..Default::default() });
        let knowledge =
            slice.knowledge.into_iter().map(|it| write::Slice { knowledge: vec![it], ..Default::default() });
        let loss = slice.loss.map(|it| write::Slice { loss: Some(it), ..Default::default() });
        let mut later: Option<(write::Slice, String)> = None;
        for mut single in incidents.chain(facts).chain(alerts).chain(known).chain(knowledge).chain(loss) {
            if let Some((rest, _)) = &mut later {
                rest.incidents.append(&mut single.incidents);
                rest.facts.append(&mut single.facts);
                rest.alerts.append(&mut single.alerts);
                rest.known.append(&mut single.known);
                rest.knowledge.append(&mut single.knowledge);
                rest.loss = rest.loss.take().or(single.loss);
                continue;
            }
            match self.attempt(|connection| write::slice(connection, &single)) {
                Ok(()) => {}
                Err(Trouble::Later(why)) => later = Some((single, why)),
                Err(Trouble::Never(why)) => {
                    warn!(%why, "a part of the history cannot be written and is left out");
                    self.shared.queue.give_up(single, &why);
                }
            }
        }
        match later {
            Some((rest, why)) => self.shared.queue.put_back(rest, &why),
            None => self.shared.queue.written(),
        }
    }

    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::MarkFalse(id, reply) => {
                let answer = self.attempt(|connection| write::mark_false(connection, id));
                // The asker may have gone away meanwhile.
                let _ = reply.send(answer.map_err(|(Trouble::Later(why) | Trouble::Never(why))| why));
            }
            Ask::SetAside(name, reply) => {
                let now = (self.shared.clock)().wall;
                let answer = self.attempt(|connection| write::set_knowledge_aside(connection, name, now));
                let _ = reply.send(answer.map_err(|(Trouble::Later(why) | Trouble::Never(why))| why));
            }
            Ask::Damaged { generation, why } => {
                if generation == self.shared.generation.load(Ordering::Acquire) {
                    self.begin_anew(&why);
                }
            }
        }
    }

    fn keep_house(&mut self) {
        let now = Instant::now();
        if now >= self.flush_at {
            self.flush_at = now + FLUSH_EVERY;
            self.flush();
        }
        if now >= self.sweep_at {
            let cutoff = before((self.shared.clock)().wall, self.shared.retention);
            let more = self.attempt(|connection| retain::slice(connection, cutoff, retain::BYTES_MAX));
            self.sweep_at = now + if matches!(more, Ok(true)) { SWEEP_PAUSE } else { SWEEP_EVERY };
        }
    }

    fn flush(&mut self) {
        let now = (self.shared.clock)();
        let spans = self.shared.ledger().take(now.mono);
        if spans.is_empty() {
            return;
        }
        if self.attempt(|connection| write::availability(connection, now.wall, &spans)).is_err()
            && self.refused.is_none()
        {
            self.shared.ledger().put_back(spans);
        }
    }

    /// Does `work` on the database, opening it where it is not, and once more on a fresh one where it is damaged.
    fn attempt<T>(&mut self, work: impl Fn(&mut Connection) -> rusqlite::Result<T>) -> Result<T, Trouble> {
        for _ in 0..2 {
            let error = match work(self.connect()?) {
                Ok(value) => {
                    self.works();
                    return Ok(value);
                }
                Err(error) => error,
            };
            self.shared.counters.errors.fetch_add(1, Ordering::Relaxed);
            match db::fault(&error) {
                Fault::Damaged => self.begin_anew(&error.to_string()),
                Fault::Surroundings => return Err(self.fails(error.to_string())),
                Fault::Statement => return Err(Trouble::Never(error.to_string())),
            }
        }
        Err(self.fails("the database is damaged, and so is the one that was begun anew".into()))
    }

    fn connect(&mut self) -> Result<&mut Connection, Trouble> {
        if self.connection.is_none() {
            self.connection = Some(self.open()?);
        }
        self.connection.as_mut().ok_or_else(|| Trouble::Later("no database".into()))
    }

    fn open(&mut self) -> Result<Connection, Trouble> {
        if let Some(why) = &self.refused {
            return Err(Trouble::Never(why.clone()));
        }
        if let Some(failing) = self.failing.as_ref().filter(|failing| Instant::now() < failing.until) {
            return Err(Trouble::Later(failing.why.clone()));
        }
        match db::open_or_begin_anew(&self.shared.db_path, (self.shared.clock)().wall) {
            Ok((connection, damage)) => {
                if let Some(damage) = damage {
                    error!("{damage}");
                    self.shared.queue.note_gap((self.shared.clock)().wall, damage);
                }
                self.shared.opened();
                Ok(connection)
            }
            Err(refusal @ OpenError::Newer { .. }) => {
                error!("{refusal}");
                self.shared.closed(refusal.to_string());
                self.refused = Some(refusal.to_string());
                Err(Trouble::Never(refusal.to_string()))
            }
            Err(error) => {
                self.shared.counters.errors.fetch_add(1, Ordering::Relaxed);
                self.shared.closed(error.to_string());
                Err(self.fails(error.to_string()))
            }
        }
    }

    /// The file is damaged: it is set aside; the next work begins a fresh one.
    fn begin_anew(&mut self, why: &str) {
        let path = self.shared.db_path.display();
        self.connection = None;
        // Further reports about this file come too late.
        self.shared.generation.fetch_add(1, Ordering::AcqRel);
        match db::set_aside(&self.shared.db_path, (self.shared.clock)().wall) {
            Ok(aside) => {
                error!(%path, why, aside = %aside.display(), "the history is damaged; it was set aside and a new one begins");
                let gap = format!("the history before was damaged ({why}) and set aside as {}", aside.display());
                self.shared.queue.note_gap((self.shared.clock)().wall, gap);
                self.shared.closed(format!("the history was damaged and is being begun anew: {why}"));
                self.failing = None;
            }
            Err(error) => {
                error!(%path, why, %error, "the history is damaged and cannot be set aside; workers are protected without it");
                self.shared.closed(format!("{path} is damaged: {why}"));
                self.fails(format!("{path} is damaged and cannot be set aside: {error}"));
            }
        }
    }

    fn works(&mut self) {
        self.shared.counters.last_write.store((self.shared.clock)().wall.0, Ordering::Relaxed);
        if self.failing.take().is_some() {
            info!(path = %self.shared.db_path.display(), "history is written again");
        }
    }

    fn fails(&mut self, why: String) -> Trouble {
        let pause = self.failing.as_ref().map_or(RETRY_FIRST, |failing| (failing.pause * 2).min(RETRY_MAX));
        match &self.failing {
            Some(_) => debug!(%why, "history still cannot be written"),
            None => {
                warn!(%why, path = %self.shared.db_path.display(), "history cannot be written; workers are protected without it")
            }
        }
        self.failing = Some(Failing { why: why.clone(), pause, until: Instant::now() + pause });
        Trouble::Later(why)
    }
}
