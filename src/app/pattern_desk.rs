//! Learns patterns from the errors of the workers, on a thread of its own: neither the journal nor the event loop waits
//! for it, and what it has no room for is dropped and counted.
//!
//! Lines come from the journal, incidents from the facts. What it knows it writes to the store ([`super::recall`] reads it at
//! the start), and the engine is told which patterns its instances have shown.

mod inbox;
mod learner;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, warn};

use crate::adapters::clock;
use crate::adapters::http::PortError;
use crate::adapters::journal::Listener;
use crate::adapters::store::{Knowledge, Store};
use crate::learn::book::{Moment, Unusual};
use crate::model::pattern::{PatternFilter, PatternsView};
use crate::model::{Condition, Fact, IncidentId, Input, Mono, Now, Settings, UnitName, What, WorkerName};
use crate::views::metrics::PatternTotals;

use super::recall::{Kind, Recalled, recall};
use super::roster::Roster;
use inbox::{Handed, Inbox};
use learner::{FORMAT, Learned, Learner};

/// What was learned has this name in the store.
const NAME: &str = "patterns";
/// Patterns are told to the engine at most this often; the first line after a pause at once.
const TURN: Duration = Duration::from_millis(250);
/// Where a turn takes long, the next comes so many times as long after it, but no later than this: what workers write must
/// not cost more than a tenth of a core, unless a turn takes a quarter of a second.
const TURN_PAUSE: u32 = 9;
const TURN_LATEST: Duration = Duration::from_secs(2);
/// Knowledge is written at most this often; a crash of ours loses so much of it.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// And so much later for each of these bytes, so that a large one does not wear the disk.
const SAVE_BYTES: usize = 256 << 10;
/// A pause longer than this was no watching.
const WATCHED_MAX: Duration = Duration::from_secs(120);

/// What a fact says of unusual readings: that there is one (nothing: no more), with what it is of and how strong it is.
fn unusual_in(what: &What) -> Option<Vec<Unusual>> {
    match what {
        What::ConditionRaised { condition: Condition::Unusual, evidence, .. } => {
            // Its sentence begins with the measure: `CPU 94 %, usually 12 to 31 %`.
            let name = evidence.text.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default().trim();
            let strength = evidence.value.unwrap_or_default();
            Some(vec![Unusual { name: name.into(), strength }])
        }
        What::ConditionCleared { condition: Condition::Unusual, .. } => Some(Vec::new()),
        _ => None,
    }
}

/// What the thread is told besides lines.
enum Word {
    Trouble {
        worker: WorkerName,
        unit: UnitName,
        incident: IncidentId,
        at: Mono,
    },
    Over {
        unit: UnitName,
    },
    /// What is unusual of the unit from now on.
    Unusual {
        unit: UnitName,
        unusual: Vec<Unusual>,
    },
    Ask(PatternFilter, oneshot::Sender<PatternsView>),
    /// What was known; `None`: nothing. From now on it may be written.
    Recalled(Option<Box<Learned>>),
    /// What was known cannot be read at present. It will be tried again, and nothing is written before.
    NotYet,
}

/// Where the thread looks things up and where it tells.
pub(super) struct Sources {
    pub settings: watch::Receiver<Arc<Settings>>,
    pub roster: Roster,
    pub inputs: mpsc::Sender<Input>,
    pub store: Store,
}

#[derive(Default)]
pub(super) struct Counted {
    learned: AtomicU64,
    dropped: AtomicU64,
    patterns: AtomicU64,
    refused: AtomicU64,
    inputs_dropped: AtomicU64,
}

impl Counted {
    /// `left_out`: what of floods was not handed over.
    pub fn totals(&self, left_out: u64) -> PatternTotals {
        PatternTotals {
            learned: self.learned.load(Relaxed),
            left_out,
            dropped: self.dropped.load(Relaxed),
            patterns: self.patterns.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }

    /// Something that was known, of patterns or not, was refused.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub fn inputs_dropped(&self) -> u64 {
        self.inputs_dropped.load(Relaxed)
    }
}

/// A handle to the thread. Cheap to clone.
#[derive(Clone)]
pub(super) struct PatternDesk {
    inbox: Arc<Inbox>,
    counted: Arc<Counted>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl PatternDesk {
    pub fn start(sources: Sources) -> Self {
        let (inbox, counted) = (Arc::new(Inbox::default()), Arc::new(Counted::default()));
        let work = Work::new(sources, inbox.clone(), counted.clone());
        let thread = std::thread::Builder::new().name("patterns".into()).spawn(move || work.run());
        if let Err(error) = &thread {
            error!(%error, "no patterns are learned: their thread cannot be started");
            inbox.close();
        }
        Self { inbox, counted, thread: Arc::new(Mutex::new(thread.ok())) }
    }

    /// What the journal hands its lines to.
    pub fn listener(&self) -> Listener {
        let (inbox, counted) = (self.inbox.clone(), self.counted.clone());
        Arc::new(move |line| {
            if !inbox.push_line(line) {
                counted.dropped.fetch_add(1, Relaxed);
            }
        })
    }

    pub fn fact(&self, fact: &Fact) {
        let (Some(worker), Some(unit)) = (&fact.worker, &fact.unit) else { return };
        if let Some(unusual) = unusual_in(&fact.what) {
            self.inbox.push_word(Word::Unusual { unit: unit.clone(), unusual });
        }
        let Some(incident) = fact.incident else { return };
        // What is only foreseen is no trouble yet.
        let began = |condition: &Option<Condition>| condition.is_some_and(|it| it != Condition::Predicted);
        match &fact.what {
            What::IncidentOpened { condition, .. } | What::IncidentReopened { condition, .. } if began(condition) => {
                let (worker, unit) = (worker.clone(), unit.clone());
                self.inbox.push_word(Word::Trouble { worker, unit, incident, at: fact.at.mono });
            }
            What::IncidentClosed { .. } => drop(self.inbox.push_word(Word::Over { unit: unit.clone() })),
            _ => {}
        }
    }

    pub async fn view(&self, filter: PatternFilter) -> Result<PatternsView, PortError> {
        let (reply, answer) = oneshot::channel();
        if !self.inbox.push_word(Word::Ask(filter, reply)) {
            return Err(PortError::Busy);
        }
        let mut view = answer.await.map_err(|_| PortError::Unavailable("no patterns are learned".into()))?;
        view.lines = self.counted.learned.load(Relaxed);
        view.lines_left_out = self.counted.dropped.load(Relaxed);
        Ok(view)
    }

    pub fn counted(&self) -> &Counted {
        &self.counted
    }

    /// Gives the thread what was known, as soon as the store can tell.
    pub async fn recall(self, store: Store) {
        let kind = Kind { name: NAME, of: "patterns", read: Learned::read };
        let not_yet = || _ = self.inbox.push_word(Word::NotYet);
        let recalled = recall(&store, &kind, not_yet).await;
        let learned = match recalled {
            Recalled::Known(learned) => Some(Box::new(learned)),
            Recalled::Nothing => None,
            Recalled::Refused => {
                self.counted.refuse();
                None
            }
        };
        // A thread that has ended needs it no more.
        self.inbox.push_word(Word::Recalled(learned));
    }

    /// Learns what waits, hands it to the store and ends the thread.
    pub async fn close(&self) {
        self.inbox.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // One that panicked has said so already.
            let _ = tokio::task::spawn_blocking(move || drop(thread.join())).await;
        }
    }
}

/// The thread.
struct Work {
    sources: Sources,
    inbox: Arc<Inbox>,
    counted: Arc<Counted>,
    learner: Learner,
    zone: TimeZone,
    /// What was known is known, or will be later.
    started: bool,
    /// What is learned may be written.
    may_write: bool,
    changed: bool,
    turn_at: Instant,
    save_at: Instant,
    minute_at: Instant,
    watched_until: Mono,
    /// The last hour of the day that was looked at.
    hour: u8,
}

impl Work {
    fn new(sources: Sources, inbox: Arc<Inbox>, counted: Arc<Counted>) -> Self {
        let now = Instant::now();
        let zone = TimeZone::system();
        Self {
            sources,
            inbox,
            counted,
            learner: Learner::default(),
            hour: moment(clock::now(), &zone).hour,
            zone,
            started: false,
            may_write: false,
            changed: false,
            turn_at: now,
            save_at: now + SAVE_EVERY,
            minute_at: now + SAVE_EVERY,
            watched_until: clock::now().mono,
        }
    }

    fn run(mut self) {
        loop {
            let due = self.minute_at.min(self.save_at);
            let due = if self.learner.is_behind() { due.min(self.turn_at) } else { due };
            // While there is no room, lines wait in the inbox, which drops and counts what is too much.
            let room = !self.learner.is_full();
            let Handed { lines, words, closed } = self.inbox.next(due, self.started && room);
            words.into_iter().for_each(|word| self.hear(word));
            if !lines.is_empty() {
                let settings = self.sources.settings.borrow().clone();
                for line in &lines {
                    if let Some(worker) = settings.worker_of(line.unit.as_str()) {
                        self.learner.take(line, &worker.name);
                    }
                }
                self.counted.learned.fetch_add(lines.len() as u64, Relaxed);
            }
            let now = Instant::now();
            if self.learner.is_behind() && (closed || now >= self.turn_at) {
                self.turn();
            }
            if now >= self.minute_at {
                self.minute();
            }
            if now >= self.save_at || closed {
                self.save();
            }
            if closed && room {
                return;
            }
        }
    }

    fn hear(&mut self, word: Word) {
        match word {
            Word::Trouble { worker, unit, incident, at } => {
                // What was said before it comes first.
                self.turn();
                self.learner.book.advance(&self.moment());
                self.learner.book.incident(&worker, &unit, incident, at);
                self.changed = true;
            }
            Word::Over { unit } => self.learner.book.over(&unit),
            Word::Unusual { unit, unusual } => self.learner.book.tell_unusual(&unit, unusual),
            Word::Ask(filter, reply) => {
                self.turn();
                // An asker that has gone away needs no answer.
                let _ = reply.send(self.learner.book.view(&filter));
            }
            Word::Recalled(learned) => {
                if let Some(learned) = learned {
                    // What was learned until now is little, and what was known is much.
                    self.learner = Learner::knowing(*learned);
                    self.learner.book.advance(&self.moment());
                }
                (self.started, self.may_write) = (true, true);
            }
            Word::NotYet => self.started = true,
        }
    }

    /// Lines become patterns, and the engine is told of them.
    fn turn(&mut self) {
        if !self.learner.is_behind() {
            return;
        }
        let began = Instant::now();
        let seen = self.learner.turn(&self.moment());
        self.turn_at = Instant::now() + pause_after(began.elapsed());
        self.changed = true;
        self.counted.patterns.store(self.learner.book.len() as u64, Relaxed);
        if !seen.is_empty() {
            self.tell(Input::Patterns { seen });
        }
    }

    fn tell(&self, input: Input) {
        if self.sources.inputs.try_send(input).is_err() {
            self.counted.inputs_dropped.fetch_add(1, Relaxed);
        }
    }

    fn minute(&mut self) {
        self.minute_at = Instant::now() + SAVE_EVERY;
        let moment = self.moment();
        let span = moment.now.mono.since(self.watched_until).min(WATCHED_MAX);
        self.watched_until = moment.now.mono;
        self.learner.book.advance(&moment);
        let members = self.sources.roster.members();
        self.learner.book.watched(members.iter().map(|member| &member.worker), span);
        self.counted.patterns.store(self.learner.book.len() as u64, Relaxed);
        if std::mem::replace(&mut self.hour, moment.hour) != moment.hour {
            let ahead = self.learner.book.hours_ahead(&moment);
            if !ahead.is_empty() {
                self.tell(Input::Hours { ahead });
            }
        }
        // Time that goes by is worth knowing where there is something to know.
        self.changed |= !self.learner.book.is_empty();
    }

    fn save(&mut self) {
        self.save_at = Instant::now() + SAVE_EVERY;
        if !(self.changed && self.may_write) {
            return;
        }
        let body = match serde_json::to_string(&self.learner.learned()) {
            Ok(body) => body,
            Err(error) => return warn!(%error, "what was learned of patterns cannot be written"),
        };
        self.save_at += SAVE_EVERY * u32::try_from(body.len() / SAVE_BYTES).unwrap_or(u32::MAX);
        let bytes = body.len();
        let knowledge = Knowledge { name: NAME, at: clock::now().wall, format: FORMAT, body };
        match self.sources.store.keep_knowledge(knowledge) {
            true => self.changed = false,
            false => warn!(bytes, "what was learned of patterns is too much to be written"),
        }
    }

    fn moment(&self) -> Moment {
        moment(clock::now(), &self.zone)
    }
}

/// Until the next turn.
fn pause_after(turn: Duration) -> Duration {
    (turn * TURN_PAUSE).clamp(TURN, TURN_LATEST)
}

/// What people call the present.
fn moment(now: Now, zone: &TimeZone) -> Moment {
    let offset = Timestamp::from_microsecond(now.wall.0).map_or(0, |at| zone.to_offset(at).seconds());
    let local = now.wall.0.saturating_add(i64::from(offset) * 1_000_000);
    let (hours, date) = (local.div_euclid(3_600_000_000), local.div_euclid(86_400_000_000));
    // 1970-01-01 was a Thursday.
    Moment { now, hour: hours.rem_euclid(24) as u8, day: (date + 3).rem_euclid(7) as u8, date }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Evidence, Wall};

    #[test]
    fn turns_that_take_long_are_seldom() {
        let after = |millis: u64| pause_after(Duration::from_millis(millis)).as_millis();
        assert_eq!([0, 5, 100, 222, 5_000].map(after), [250, 250, 900, 1_998, 2_000]);
    }

    #[test]
    fn what_is_unusual_is_named_by_its_measure() {
        let evidence = Evidence::measured("errors in the journal 40 a minute, usually 0 to 1", 7.5, 3.0);
        let raised = What::ConditionRaised { condition: Condition::Unusual, evidence, delay: None };
        let expected = Unusual { name: "errors in the journal".into(), strength: 7.5 };
        assert_eq!(unusual_in(&raised), Some(vec![expected]));
        let cleared = What::ConditionCleared { condition: Condition::Unusual, held: Duration::ZERO };
        assert_eq!(unusual_in(&cleared), Some(vec![]));
        let other = What::ConditionCleared { condition: Condition::Hung, held: Duration::ZERO };
        assert_eq!(unusual_in(&other), None);
    }

    #[test]
    fn a_moment_is_that_of_the_zone() {
        // 2026-11-23 23:30 UTC, a Monday.
        let now = Now { mono: Mono(1), wall: Wall(1_795_476_600_000_000) };
        let utc = moment(now, &TimeZone::UTC);
        assert_eq!((utc.hour, utc.day), (23, 0));
        let east = moment(now, &TimeZone::fixed(jiff::tz::Offset::constant(2)));
        assert_eq!((east.hour, east.day, east.date), (1, 1, utc.date + 1));
        let odd = moment(Now { wall: Wall(i64::MIN), ..now }, &TimeZone::UTC);
        assert!(odd.hour < 24 && odd.day < 7);
    }
}
