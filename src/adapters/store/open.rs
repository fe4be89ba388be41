//! Opening the store: what the engine needs of the past, what an operator must know, and the threads.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;

use super::db::{self, Fault, OpenError, read, write};
use super::intent::{Desk, RECORD_LIMIT};
use super::safety::{self, Keeper};
use super::starts::Starts;
use super::{Clock, Counters, QUESTIONS_MAX, Shared, Store, before, files, reader, writer};
use crate::model::action::Intent;
use crate::model::input::Memory;
use crate::model::settings::DaemonSettings;
use crate::model::{Incident, Wall};

/// Longer than any cooldown: an incident that closed before cannot reopen.
const CLOSED_LATELY: Duration = Duration::from_secs(86_400);
/// An attempt in doubt for longer has long shown whether it helped.
const ORPHAN_AGE_MAX: Duration = Duration::from_secs(86_400);
/// No thread of the store goes deep.
const STACK_BYTES: usize = 512 << 10;

pub(super) const DESK_THREAD: &str = "store-intents";

/// The store, and what it found.
pub struct Opened {
    pub store: Store,
    pub memory: Memory,
    /// For an operator, loudly: each names the thing and what was done or is to do.
    pub problems: Vec<String>,
    /// To be told of a clean stop.
    pub starts: Starts,
}

impl Store {
    /// Never fails as a whole: what is missing or damaged is told in [`Opened::problems`], and the daemon
    /// protects without it. Take the [`super::lock::Lock`] first.
    pub fn open(settings: &DaemonSettings, boot: &str, clock: Clock) -> Opened {
        let now = clock();
        let mut problems = Vec::new();
        if let Err(error) = files::create_dir(&settings.state_dir) {
            problems
                .push(format!("cannot create {}: {error}; nothing will be remembered", settings.state_dir.display()));
        }
        let starts = Starts::new(&settings.runtime_dir);
        let crashes = starts.note_start(now.mono, boot).unwrap_or_else(|error| {
            problems.push(format!("cannot count our own crashes in {}: {error}", settings.runtime_dir.display()));
            0
        });
        let (safety, problem) = safety::read(&safety::safety_path(&settings.state_dir), now.wall);
        problems.extend(problem);
        let desk = Desk::new(&settings.runtime_dir, boot);
        let opening = Opening::new(&settings.state_dir.join("unitmedic.db"), boot, now.wall, &mut problems);
        let orphans = orphans(&opening, &desk, now.wall, &mut problems);
        let hint = safety::read_next_incident(&safety::number_path(&settings.state_dir));
        let next_incident = next_incident(&opening, &orphans, hint, now.wall);

        let shared = Arc::new(Shared {
            queue: Default::default(),
            desk,
            keeper: Keeper::new(&settings.state_dir, next_incident),
            ledger: Mutex::default(),
            counters: Counters::default(),
            generation: AtomicU64::new(1),
            unavailable: Mutex::new(opening.unavailable.clone()),
            interrupt: Mutex::default(),
            db_path: settings.state_dir.join("unitmedic.db"),
            boot: boot.into(),
            retention: settings.retention,
            clock,
        });
        if let Some(damage) = opening.damage {
            shared.queue.note_gap(now.wall, damage);
        }
        let memory = Memory {
            boot: boot.into(),
            safety,
            incidents: opening.past.incidents,
            orphans,
            next_incident,
            strategies: opening.past.strategies,
            past: opening.past.closed,
            watch_only: Starts::watch_only(crashes),
        };
        let store = start(shared, opening.connection, opening.refused, &mut problems);
        Opened { store, memory, problems, starts }
    }
}

/// The database as it was found.
struct Opening {
    connection: Option<Connection>,
    past: read::Past,
    unavailable: Option<String>,
    refused: Option<String>,
    /// There may be incidents that we know nothing of.
    forgot: bool,
    /// What became of the history before.
    damage: Option<String>,
}

impl Opening {
    fn new(path: &Path, boot: &str, now: Wall, problems: &mut Vec<String>) -> Self {
        let nothing = |why: String, refused: bool| Self {
            connection: None,
            past: read::Past { next_incident: 1, ..Default::default() },
            unavailable: Some(why.clone()),
            refused: refused.then_some(why),
            forgot: true,
            damage: None,
        };
        let mut damage = None;
        // The second round is for damage that shows only when the past is read.
        for _ in 0..2 {
            let (mut connection, found) = match db::open_or_begin_anew(path, now) {
                Ok(opened) => opened,
                Err(error) => {
                    problems.push(error.to_string());
                    return nothing(error.to_string(), matches!(error, OpenError::Newer { .. }));
                }
            };
            problems.extend(found.clone());
            damage = damage.or(found);
            let error = match look_back(&mut connection, boot, now) {
                Ok(past) => {
                    problems.extend(past.problems.iter().cloned());
                    return Self {
                        connection: Some(connection),
                        past,
                        unavailable: None,
                        refused: None,
                        forgot: damage.is_some(),
                        damage,
                    };
                }
                Err(error) => error,
            };
            if db::fault(&error) != Fault::Damaged {
                let why = format!("{} cannot be read: {error}", path.display());
                problems.push(why.clone());
                return nothing(why, false);
            }
            drop(connection);
            let told = match db::set_aside(path, now) {
                Ok(aside) => {
                    let (path, aside) = (path.display(), aside.display());
                    format!("{path} is damaged: {error}; it was set aside as {aside} and a new history begun")
                }
                Err(failed) => format!("{} is damaged: {error}; it cannot be set aside: {failed}", path.display()),
            };
            problems.push(told.clone());
            damage = Some(told);
        }
        nothing(format!("{} is damaged", path.display()), false)
    }
}

fn look_back(connection: &mut Connection, boot: &str, now: Wall) -> rusqlite::Result<read::Past> {
    match write::settle_earlier_boots(connection, boot) {
        Err(error) if db::fault(&error) == Fault::Damaged => return Err(error),
        // A disk without room cannot settle them; the past can still be read.
        _ => {}
    }
    match write::end_alerts(connection, now) {
        Err(error) if db::fault(&error) == Fault::Damaged => return Err(error),
        _ => {}
    }
    read::past(connection, before(now, CLOSED_LATELY))
}

/// Intents, in the database or in files, of attempts that no stored incident knows.
fn orphans(opening: &Opening, desk: &Desk, now: Wall, problems: &mut Vec<String>) -> Vec<Intent> {
    let (mut orphans, unreadable) = desk.left_behind();
    problems.extend(unreadable);
    orphans.extend(opening.past.intents.iter().cloned());
    orphans.sort_by_key(|intent| intent.attempt);
    orphans.dedup_by_key(|intent| intent.attempt);
    orphans.retain(|intent| match known(opening, intent) {
        Some(ended) => {
            if ended {
                desk.forget(intent.incident, intent.attempt.number);
            }
            false
        }
        None => intent.at >= before(now, ORPHAN_AGE_MAX),
    });
    orphans
}

/// Whether the attempt's incident knows it, and then whether it has ended.
fn known(opening: &Opening, intent: &Intent) -> Option<bool> {
    let number = intent.attempt.number;
    let of = |incident: &Incident| {
        let last = incident.last_attempt().map_or(0, |attempt| attempt.number);
        let running = incident.attempts.iter().any(|attempt| attempt.number == number && attempt.is_running());
        (number <= last).then_some(!running)
    };
    if let Some(incident) = opening.past.incidents.iter().find(|incident| incident.id == intent.incident) {
        return of(incident);
    }
    // An incident that the engine does not get back is closed, and its attempts have ended.
    let last =
        opening.connection.as_ref().and_then(|connection| read::last_attempt(connection, intent.incident).ok()?);
    last.filter(|last| number <= *last).map(|_| true)
}

/// Never a number that was given before, as far as anything still knows. When the history was lost and the file
/// beside it too, the clock gives one that is larger than all before: hosts do not have an incident a second.
fn next_incident(opening: &Opening, orphans: &[Intent], hint: Option<u64>, now: Wall) -> u64 {
    let orphaned = orphans.iter().map(|intent| intent.incident.0 + 1).max().unwrap_or(1);
    let known = opening.past.next_incident.max(orphaned).max(hint.unwrap_or(1));
    match hint {
        None if opening.forgot => known.max((now.0 / 1_000_000).max(1) as u64),
        _ => known,
    }
}

fn start(
    shared: Arc<Shared>,
    connection: Option<Connection>,
    refused: Option<String>,
    problems: &mut Vec<String>,
) -> Store {
    let (messages, inbox) = sync_channel(QUESTIONS_MAX);
    let mut threads = Vec::new();
    let mut spawn = |name: &str, body: Box<dyn FnOnce() + Send>| match spawn(name, body) {
        Ok(thread) => threads.push(thread),
        Err(error) => problems.push(format!("cannot start the thread {name}: {error}")),
    };
    let available = connection.is_some();
    let writer = writer::Writer::new(shared.clone(), connection, refused);
    spawn("store", Box::new(move || writer.run()));
    let keeper = shared.clone();
    spawn("store-safety", Box::new(move || keeper.keeper.run()));
    let of_reader = shared.clone();
    spawn("store-read", Box::new(move || reader::Reader::new(of_reader).run(&inbox)));
    if available {
        let checked = shared.clone();
        spawn("store-check", Box::new(move || reader::quick_check(&checked)));
    }
    // Last, and joined last: while the others end, intents still have their file.
    let desk = shared.clone();
    spawn(DESK_THREAD, Box::new(move || desk.desk.run()));
    Store { shared, messages, record_limit: RECORD_LIMIT, threads: Arc::new(Mutex::new(threads)) }
}

fn spawn(name: &str, body: Box<dyn FnOnce() + Send>) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).stack_size(STACK_BYTES).spawn(body)
}
