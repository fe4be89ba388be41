//! The recording as a replay needs it: where lives begin, what happened in them, and where something is missing.

use std::path::Path;

use crate::adapters::store::recorder::{Entry, FORMAT, Header, ReadError, Records, read};
use crate::model::action::Order;
use crate::model::{Input, Now, Wall};

use super::report::Trouble;

/// Troubles that are told in words; the others are counted.
const TROUBLES_TOLD: usize = 10;

/// One step of a recording.
pub enum Step {
    /// An engine begins, with what the header says: a life of the daemon, or the place behind a gap.
    Begin(Box<Header>),
    Input {
        now: Now,
        input: Box<Input>,
    },
    Timers {
        now: Now,
    },
    Act {
        now: Now,
        order: Order,
    },
    /// Something is missing here.
    Gap,
}

pub struct Tape {
    records: Records,
    until: Option<Wall>,
    /// An engine can run: a header was there.
    alive: bool,
    gap: bool,
    torn: bool,
    position: u64,
    stop: Option<u64>,
    pub inputs: u64,
    pub lives: u64,
    pub gaps: u64,
    pub first: Option<Wall>,
    pub last: Option<Wall>,
    pub troubles: Trouble,
}

impl Tape {
    pub fn open(dir: &Path, until: Option<Wall>) -> Result<Self, ReadError> {
        Ok(Self {
            records: read(dir)?,
            until,
            alive: false,
            gap: false,
            torn: false,
            position: 0,
            stop: None,
            inputs: 0,
            lives: 0,
            gaps: 0,
            first: None,
            last: None,
            troubles: Trouble::default(),
        })
    }

    pub fn total(&self) -> u64 {
        self.records.total()
    }

    /// Bytes read so far.
    pub fn taken(&self) -> u64 {
        self.records.taken()
    }

    /// Number of the last step; the same step has the same number in every reading.
    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn stop_after(&mut self, position: u64) {
        self.stop = Some(position);
    }

    /// The next step; `None` at the end.
    pub fn next(&mut self) -> Option<Step> {
        if self.stop.is_some_and(|stop| self.position >= stop) {
            return None;
        }
        loop {
            let step = match self.records.next()? {
                Ok(entry) => self.take(entry),
                Err(error) => {
                    self.skip(&error);
                    Some(Step::Gap)
                }
            };
            let Some(step) = step else { continue };
            if let Step::Input { now, .. } | Step::Timers { now } = &step {
                if self.until.is_some_and(|until| now.wall > until) {
                    return None;
                }
                self.first = self.first.or(Some(now.wall));
                self.last = Some(now.wall);
            }
            self.inputs += u64::from(matches!(step, Step::Input { .. }));
            self.position += 1;
            return Some(step);
        }
    }

    fn take(&mut self, entry: Entry) -> Option<Step> {
        match entry {
            Entry::Header(header) => self.header(header),
            // Without a beginning nothing is known of what they are about.
            _ if !self.alive => None,
            Entry::Input { now, input } => Some(Step::Input { now, input }),
            Entry::Timers { now } => Some(Step::Timers { now }),
            Entry::Act { now, order } => Some(Step::Act { now, order }),
            Entry::Dropped(count) => Some(self.missing(format!("{count} inputs were not recorded"))),
            Entry::Missing(count) => Some(self.missing(format!("{count} files are missing"))),
            Entry::Torn => {
                self.torn = true;
                None
            }
        }
    }

    fn header(&mut self, header: Box<Header>) -> Option<Step> {
        let life = !header.continued && !header.memory.is_null();
        if std::mem::take(&mut self.torn) && !life {
            // A crash of ours tears the last line, and another life follows. Here the same one goes on.
            self.gap = true;
            self.gaps += 1;
            self.tell("a file ends in the middle of a line, and the recording goes on in the next one".into());
        }
        let anew = life || !self.alive || (self.gap && header.checkpoint.is_some());
        if !anew {
            // The same engine goes on. New settings come as an input.
            return None;
        }
        if !life && header.checkpoint.is_none() {
            self.tell("it begins in the middle of a life: until the next look at all units nothing is known".into());
        }
        self.lives += u64::from(life || !self.alive);
        self.alive = true;
        self.gap = false;
        Some(Step::Begin(header))
    }

    fn missing(&mut self, what: String) -> Step {
        self.gap = true;
        self.gaps += 1;
        self.tell(what);
        Step::Gap
    }

    fn skip(&mut self, error: &ReadError) {
        self.gap = true;
        self.gaps += 1;
        if matches!(error, ReadError::Foreign { .. }) {
            // What follows in another file without a beginning of its own is about a life that was passed over.
            self.alive = false;
        }
        self.tell(error.to_string());
    }

    fn tell(&mut self, text: String) {
        self.troubles.count += 1;
        if self.troubles.told.len() < TROUBLES_TOLD {
            self.troubles.told.push(text);
        }
    }
}

/// Whether the moments of timers and the orders are in the recording.
pub fn is_exact(header: &Header) -> bool {
    header.format == FORMAT
}
