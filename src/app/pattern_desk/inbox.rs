//! What waits for the thread. Bounded, and never waited for by those who put something in.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::model::JournalLine;

use super::Word;

/// Lines that may wait: 16 MiB at the longest.
const LINES_MAX: usize = 2_048;
/// Incidents and questions that may wait.
const WORDS_MAX: usize = 1_024;
/// Lines that are handed out at once.
const BATCH: usize = 256;

#[derive(Default)]
pub struct Inbox {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<JournalLine>,
    words: VecDeque<Word>,
    closed: bool,
}

#[derive(Default)]
pub struct Handed {
    pub lines: Vec<JournalLine>,
    pub words: Vec<Word>,
    /// Nothing else will come.
    pub closed: bool,
}

impl Inbox {
    /// `false`: no room.
    pub fn push_line(&self, line: JournalLine) -> bool {
        let mut waiting = self.lock();
        if waiting.closed || waiting.lines.len() >= LINES_MAX {
            return false;
        }
        waiting.lines.push_back(line);
        // The thread is awake while there are more.
        if waiting.lines.len() == 1 {
            self.wake.notify_one();
        }
        true
    }

    /// `false`: no room.
    pub fn push_word(&self, word: Word) -> bool {
        let mut waiting = self.lock();
        if waiting.closed || waiting.words.len() >= WORDS_MAX {
            return false;
        }
        waiting.words.push_back(word);
        self.wake.notify_one();
        true
    }

    pub fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        // Who waits for an answer gets none.
        waiting.words.retain(|word| !matches!(word, Word::Ask(..)));
        self.wake.notify_all();
    }

    /// Waits until there is something, or until then. `lines`: they are wanted, too.
    pub fn next(&self, until: Instant, lines: bool) -> Handed {
        let mut waiting = self.lock();
        loop {
            let some = !waiting.words.is_empty() || lines && !waiting.lines.is_empty();
            let left = until.saturating_duration_since(Instant::now());
            if some || waiting.closed || left.is_zero() {
                let count = if lines { waiting.lines.len().min(BATCH) } else { 0 };
                let handed: Vec<JournalLine> = waiting.lines.drain(..count).collect();
                let closed = waiting.closed && (waiting.lines.is_empty() || !lines);
                return Handed { lines: handed, words: waiting.words.drain(..).collect(), closed };
            }
            waiting = self.wake.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Mono, UnitName};

    fn line() -> JournalLine {
        JournalLine { unit: UnitName::new("a.service").unwrap(), at: Mono(1), text: "x".into(), weight: 1 }
    }

    #[test]
    fn it_is_bounded_and_handed_out_in_batches_until_it_is_closed() {
        let inbox = Inbox::default();
        let taken = (0..LINES_MAX + 10).filter(|_| inbox.push_line(line())).count();
        assert_eq!(taken, LINES_MAX);
        let words = (0..WORDS_MAX + 10).filter(|_| inbox.push_word(Word::NotYet)).count();
        assert_eq!(words, WORDS_MAX);
        let now = Instant::now();
        let first = inbox.next(now, false);
        assert_eq!((first.lines.len(), first.words.len(), first.closed), (0, WORDS_MAX, false));
        inbox.close();
        let mut lines = 0;
        loop {
            let handed = inbox.next(now, true);
            lines += handed.lines.len();
            if handed.closed {
                break;
            }
        }
        assert_eq!(lines, LINES_MAX);
        assert!(!inbox.push_line(line()));
    }
}
