//! Errors that instances write to the journal, counted by instance: one `journalctl --follow` as a child.
//!
//! Counted are entries of the instance's own processes (`_SYSTEMD_UNIT=`, journald's word) of priority err and worse, or
//! whose message matches the worker's `error_match`. What systemd writes about a unit (`UNIT=`, from PID 1) is not
//! counted: "Failed with result" tells of a crash, and other conditions see that. Nothing here judges. What could not be
//! read is told as a gap: errors that are unknown are not zero. The text of errors is handed to a listener ([`lines`]).

mod child;
mod cursor;
mod export;
mod lines;
mod tally;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tracing::{info, warn};

use crate::model::signal::ErrorCounts;
use crate::model::{Input, Mono, Now, Settings};

use child::{Follower, From, Wanted};
use cursor::{Keeper, time_of};
use export::Parser;
use lines::Lines;
use tally::Tally;

pub use lines::{LineStats, Listener};

/// Between two inputs.
const ROUND: Duration = Duration::from_secs(10);
/// Entries of one round beyond which we stop reading for a while: 5,000 a second, at 20 us each, are a tenth of a core.
const FLOOD_ENTRIES: u64 = 50_000;
/// The same in bytes, for entries of a megabyte each.
const FLOOD_BYTES: u64 = 256 << 20;
/// After so many rounds without an entry another journalctl is asked whether there is any: 10 ms of CPU a minute.
const QUIET_ROUNDS: u32 = 6;
/// Pause after a flood or an end of the child; doubles up to the second.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// What was written before we came is read as far back.
const OLDEST: Duration = Duration::from_secs(600);
/// Different reasons for gaps that one input names.
const GAPS_MAX: usize = 3;

/// Whose journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    System,
    User,
}

pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// What differs in tests.
#[derive(Debug, Clone)]
struct Pace {
    program: String,
    round: Duration,
    flood_entries: u64,
    pause_first: Duration,
    pause_max: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            program: "journalctl".into(),
            round: ROUND,
            flood_entries: FLOOD_ENTRIES,
            pause_first: PAUSE_FIRST,
            pause_max: PAUSE_MAX,
        }
    }
}

/// Counts until `inputs` is closed, and lets `listener` hear the text of each error. Dropping the future ends the child.
pub async fn watch(
    scope: Scope,
    state_dir: PathBuf,
    clock: Clock,
    settings: watch::Receiver<Arc<Settings>>,
    inputs: mpsc::Sender<Input>,
    (listener, stats): (Listener, Arc<LineStats>),
) {
    let keeper = Keeper::new(&state_dir);
    Watcher::new(scope, keeper, clock, settings, inputs, Pace::default(), Lines::new(listener, stats)).run().await;
}

enum Reading {
    Follows {
        follower: Box<Follower>,
        since: Instant,
    },
    /// Nothing is read until then.
    Pauses {
        until: Instant,
        why: String,
    },
    /// There is no worker.
    Rests,
}

struct Watcher {
    pace: Pace,
    wanted: Wanted,
    clock: Clock,
    settings: watch::Receiver<Arc<Settings>>,
    inputs: mpsc::Sender<Input>,
    keeper: Keeper,
    tally: Tally,
    lines: Lines,
    parser: Parser,
    reading: Reading,
    pause: Duration,
    /// Where the next child begins: behind what was read, or where that is not wanted, elsewhere.
    from: From,
    /// The latest entry that was read, for the next life of ours.
    cursor: Option<String>,
    /// The present span began here.
    since: Mono,
    gaps: Vec<String>,
    entries: u64,
    bytes: u64,
    /// Rounds without an entry, one after the other.
    quiet: u32,
    /// Why nothing can be read, as the log has it.
    told: Option<String>,
}

impl Watcher {
    fn new(
        scope: Scope,
        keeper: Keeper,
        clock: Clock,
        settings: watch::Receiver<Arc<Settings>>,
        inputs: mpsc::Sender<Input>,
        pace: Pace,
        lines: Lines,
    ) -> Self {
        let tally = Tally::new(scope, settings.borrow().clone());
        let wanted = Wanted { program: pace.program.clone(), scope, all: tally.needs_all() };
        let now = clock();
        Self {
            wanted,
            clock,
            settings,
            inputs,
            keeper,
            tally,
            lines,
            parser: Parser::default(),
            reading: Reading::Rests,
            pause: pace.pause_first,
            pace,
            from: From::End,
            cursor: None,
            since: now.mono,
            gaps: Vec::new(),
            entries: 0,
            bytes: 0,
            quiet: 0,
            told: None,
        }
    }

    async fn run(mut self) {
        self.go_on_from_the_kept_cursor().await;
        self.begin().await;
        let mut rounds = interval_at(Instant::now() + self.pace.round, self.pace.round);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let pause = match &self.reading {
                Reading::Pauses { until, .. } => Some(*until),
                _ => None,
            };
            tokio::select! {
                _ = rounds.tick() => if !self.hand_over().await { return },
                changed = self.settings.changed() => match changed {
                    Ok(()) => self.take_settings().await,
                    Err(_) => return,
                },
                length = read(&mut self.reading) => match length {
                    Ok(0) | Err(_) => self.child_ended().await,
                    Ok(length) => self.take(length),
                },
                () = sleep_until(pause.unwrap_or_else(Instant::now)), if pause.is_some() => self.begin().await,
            }
        }
    }

    /// What was written while we were away counts, but neither what is long past nor what is of another boot.
    async fn go_on_from_the_kept_cursor(&mut self) {
        let Some(cursor) = self.keeper.read() else { return };
        let Some(left) = time_of(&cursor) else { return };
        let now = (self.clock)();
        let back = OLDEST.min(Duration::from_micros(now.mono.0)).as_micros() as i64;
        let oldest = now.wall.0 - back;
        let intact = match self.wanted.has(&cursor).await {
            Ok(intact) => {
                if !intact {
                    self.gap("entries since our last look were rotated away");
                }
                intact
            }
            Err(_) => return self.gap("the journal did not tell what was written while we were away"),
        };
        if left.0 < oldest {
            if !matches!(self.wanted.has_between(&cursor, oldest).await, Ok(false)) {
                self.gap("errors of our absence that are older than 10 min were not counted");
            }
            self.from = self.since_time(oldest).await;
        } else if intact {
            self.from = From::Cursor(cursor);
        } else {
            self.from = self.since_time(left.0).await;
        }
        self.since = now.mono - Duration::from_micros(now.wall.0.saturating_sub(left.0.max(oldest)).max(0) as u64);
    }

    /// A journalctl of systemd 252 that follows from a time behind which there is nothing yet never shows anything.
    async fn since_time(&self, time: i64) -> From {
        match self.wanted.has_any(&From::Time(time)).await {
            Ok(true) => From::Time(time),
            _ => From::End,
        }
    }

    /// Starts a child, if there is anything to watch.
    async fn begin(&mut self) {
        if let Reading::Pauses { why, .. } = std::mem::replace(&mut self.reading, Reading::Rests) {
            self.gap(&why);
        }
        if !self.tally.has_workers() {
            return;
        }
        self.parser = Parser::default();
        self.quiet = 0;
        if self.from == From::End {
            self.from = self.wanted.end().await;
        }
        match self.wanted.follow(&self.from) {
            Ok(follower) => {
                self.reading = Reading::Follows { follower: Box::new(follower), since: Instant::now() };
            }
            Err(error) => self.stop_for_a_while(format!("journalctl cannot be run: {error}; is it installed?")),
        }
    }

    fn take(&mut self, length: usize) {
        let Reading::Follows { follower, .. } = &self.reading else { return };
        let (damaged, before) = (self.parser.damaged(), self.entries);
        let (tally, lines, entries, cursor) = (&mut self.tally, &mut self.lines, &mut self.entries, &mut self.cursor);
        let now = (self.clock)().mono;
        self.parser.feed(follower.bytes(length), |entry| {
            *entries += 1;
            entry.cursor.clone_into(cursor.get_or_insert_default());
            if let Some(unit) = tally.note(entry) {
                lines.hand_over(unit, entry, now);
            }
        });
        if let Some(cursor) = cursor.as_ref().filter(|_| self.entries > before) {
            self.from = From::Cursor(cursor.clone());
        }
        self.bytes += length as u64;
        if self.parser.damaged() != damaged {
            self.gap("journalctl wrote what is no export of the journal");
        }
        if self.entries > self.pace.flood_entries || self.bytes > FLOOD_BYTES {
            self.flooded();
        }
    }

    /// The rest of the flood is not read: our own use of CPU stays bounded whatever others write.
    fn flooded(&mut self) {
        let why = format!(
            "the journal is flooded, {} entries in less than {} s",
            self.entries,
            self.pace.round.as_secs_f32()
        );
        (self.entries, self.bytes) = (0, 0);
        self.from = From::End;
        self.stop_for_a_while(why);
    }

    async fn child_ended(&mut self) {
        let Reading::Follows { follower, .. } = std::mem::replace(&mut self.reading, Reading::Rests) else { return };
        let why = follower.end(self.wanted.scope).await;
        self.stop_for_a_while(why);
    }

    fn stop_for_a_while(&mut self, why: String) {
        // The numbers of a flood differ every time; the log has it once.
        let kind = why.split([',', ';']).next().unwrap_or_default();
        if self.told.as_deref() != Some(kind) {
            warn!(why, "errors in the journal are not counted; tried again");
            self.told = Some(kind.to_owned());
        }
        self.gap(&why);
        self.reading = Reading::Pauses { until: Instant::now() + self.pause, why };
        self.pause = (self.pause * 2).min(self.pace.pause_max);
    }

    /// Closes the span. `false`: nobody listens any more.
    async fn hand_over(&mut self) -> bool {
        let now = (self.clock)();
        self.look_at_the_child().await;
        if !self.tally.has_workers() {
            self.close_span(now.mono);
            return true;
        }
        let span = now.mono.since(self.since);
        let gap = (!self.gaps.is_empty()).then(|| self.gaps.join("; "));
        let counts = ErrorCounts { at: now.mono, span, counts: self.tally.counts(), gap };
        match self.inputs.try_send(Input::Errors(counts)) {
            Ok(()) => {
                self.close_span(now.mono);
                if let Some(cursor) = &self.cursor {
                    self.keeper.keep(cursor).await;
                }
                true
            }
            // Nothing is lost: this span goes on into the next round.
            Err(TrySendError::Full(_)) => true,
            Err(TrySendError::Closed(_)) => false,
        }
    }

    /// Quiet may mean that nothing was written, or that the child does not see it: then another one reads on from the
    /// same place, and nothing is lost.
    async fn look_whether_it_follows(&mut self) {
        self.quiet = if self.entries == 0 { self.quiet + 1 } else { 0 };
        if self.quiet < QUIET_ROUNDS || !matches!(self.reading, Reading::Follows { .. }) {
            return;
        }
        self.quiet = 0;
        if matches!(self.wanted.has_any(&self.from).await, Ok(true)) {
            warn!("journalctl did not show entries that are there; another one is started");
            self.begin().await;
        }
    }

    async fn look_at_the_child(&mut self) {
        self.look_whether_it_follows().await;
        match &self.reading {
            Reading::Follows { follower, since } => match follower.blindness(self.wanted.scope) {
                // It may come to see more: another one is started later.
                Some(why) => self.stop_for_a_while(why.to_owned()),
                None if since.elapsed() >= self.pace.round => {
                    self.pause = self.pace.pause_first;
                    if self.told.take().is_some() {
                        info!("errors in the journal are counted again");
                    }
                }
                None => {}
            },
            Reading::Pauses { why, .. } => {
                let why = why.clone();
                self.gap(&why);
            }
            Reading::Rests => {}
        }
    }

    fn close_span(&mut self, now: Mono) {
        self.tally.clear();
        self.lines.clear();
        self.gaps.clear();
        (self.entries, self.bytes) = (0, 0);
        self.since = now;
    }

    async fn take_settings(&mut self) {
        let settings = self.settings.borrow_and_update().clone();
        self.tally.set(settings);
        let all = self.tally.needs_all();
        let changed = self.wanted.all != all;
        self.wanted.all = all;
        match (&self.reading, self.tally.has_workers()) {
            (Reading::Follows { .. }, true) if changed => self.begin().await,
            (Reading::Rests, true) => {
                // What was written while nothing was watched is nobody's.
                let now = (self.clock)();
                (self.from, self.since) = (From::End, now.mono);
                self.begin().await;
            }
            (_, false) => self.reading = Reading::Rests,
            _ => {}
        }
    }

    fn gap(&mut self, why: &str) {
        if self.gaps.len() < GAPS_MAX && !self.gaps.iter().any(|gap| gap == why) {
            self.gaps.push(why.to_owned());
        }
    }
}

/// The next bytes of the child; never ready while there is none.
async fn read(reading: &mut Reading) -> std::io::Result<usize> {
    match reading {
        Reading::Follows { follower, .. } => follower.read().await,
        Reading::Pauses { .. } | Reading::Rests => std::future::pending().await,
    }
}
