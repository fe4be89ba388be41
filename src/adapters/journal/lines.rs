//! The text of errors, for whoever learns from it: cut, made text, and of a flood a sample. Never waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::{JournalLine, Mono, UnitName};

use super::export::Entry;

/// Bytes of a message that are handed over.
const TEXT_MAX: usize = 8 << 10;
/// Lines of a unit in one round that are handed over whole; of more, stretches are, so that the lines of a trace stay together.
const WHOLE: u32 = 512;
const STRETCH: u32 = 64;
/// Of so many lines one stretch is handed over.
const OUT_OF: u32 = 1024;

/// Takes a line, or has no room for it.
pub type Listener = Arc<dyn Fn(JournalLine) + Send + Sync>;

/// Counts what of a flood was not handed over.
#[derive(Debug, Default)]
pub struct LineStats {
    left_out: AtomicU64,
}

impl LineStats {
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }
}

pub struct Lines {
    listener: Listener,
    stats: Arc<LineStats>,
    /// Lines of this round.
    round: BTreeMap<UnitName, u32>,
}

impl Lines {
    pub fn new(listener: Listener, stats: Arc<LineStats>) -> Self {
        Self { listener, stats, round: BTreeMap::new() }
    }

    /// An error of the unit. `now`: when we read it, for entries that do not tell when they were written.
    pub fn hand_over(&mut self, unit: &UnitName, entry: &Entry, now: Mono) {
        let nth = match self.round.get_mut(unit) {
            Some(count) => {
                *count = count.saturating_add(1);
                *count - 1
            }
            None => {
                self.round.insert(unit.clone(), 1);
                0
            }
        };
        let weight = match nth {
            nth if nth < WHOLE => 1,
            nth if (nth - WHOLE) % OUT_OF < STRETCH => OUT_OF / STRETCH,
            _ => {
                self.stats.left_out.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        let text = String::from_utf8_lossy(&entry.message[..entry.message.len().min(TEXT_MAX)]).into_owned();
        let at = written(&entry.cursor).map_or(now, |at| at.min(now));
        (self.listener)(JournalLine { unit: unit.clone(), at, text, weight });
    }

    /// A new round begins.
    pub fn clear(&mut self) {
        self.round.clear();
    }
}

/// When the journal got the entry (`m=`, microseconds of the boot in hexadecimal). Entries of other boots are not read.
fn written(cursor: &str) -> Option<Mono> {
    let time = cursor.split(';').find_map(|part| part.strip_prefix("m="))?;
    u64::from_str_radix(time, 16).ok().map(Mono)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn heard(lines: &[(&str, &[u8])]) -> (Vec<JournalLine>, u64) {
        let (heard, stats) = (Arc::new(Mutex::new(Vec::new())), Arc::new(LineStats::default()));
        let into = heard.clone();
        let mut lines_of = Lines::new(Arc::new(move |line| into.lock().unwrap().push(line)), stats.clone());
        for (cursor, message) in lines {
            let entry = Entry { cursor: cursor.to_string(), message: message.to_vec(), ..Entry::default() };
            lines_of.hand_over(&UnitName::new("a.service").unwrap(), &entry, Mono(5_000));
        }
        drop(lines_of);
        let heard = Arc::into_inner(heard).unwrap().into_inner().unwrap();
        (heard, stats.left_out())
    }

    #[test]
    fn a_line_is_text_of_bounded_length_and_has_its_time() {
        let long = vec![b'x'; 64 << 10];
        let (heard, _) = heard(&[("s=1;m=ff;t=1", b"bad \xff \0"), ("s=1", &long), ("s=1;m=ffffff", b"")]);
        assert_eq!((heard[0].text.as_str(), heard[0].at, heard[0].weight), ("bad \u{fffd} \0", Mono(255), 1));
        assert_eq!((heard[1].text.len(), heard[1].at), (TEXT_MAX, Mono(5_000)));
        assert_eq!((heard[2].text.as_str(), heard[2].at), ("", Mono(5_000)), "never of the future");
    }

    #[test]
    fn of_a_flood_stretches_are_handed_over_that_stand_for_all() {
        let flood = vec![("s=1", b"oops".as_slice()); (WHOLE + 4 * OUT_OF) as usize];
        let (heard, left_out) = heard(&flood);
        assert_eq!(heard.len() as u32, WHOLE + 4 * STRETCH);
        assert!(heard.len() < 1_000, "of a flood of {} lines a few are enough: {}", flood.len(), heard.len());
        assert_eq!(heard.len() as u64 + left_out, flood.len() as u64);
        let weight: u32 = heard.iter().map(|line| line.weight).sum();
        assert_eq!(weight as usize, flood.len());
    }
}
