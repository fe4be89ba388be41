//! The latest facts, for those who read them as events: each is written once for all readers, and who comes back goes
//! on where it was.
//!
//! What bounds it: [`FACTS_KEPT`] facts of [`BYTES_KEPT`], however many readers there are; a reader is a number. The event
//! loop puts facts down and never waits for anybody.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hyper::body::Bytes;
use tokio::sync::watch;

use crate::model::fact::Fact;

/// Facts that are kept: a reader that is further behind has missed some.
pub const FACTS_KEPT: usize = 4096;
/// Bytes of the facts that are kept, as JSON. What they take in memory, written out, is about three times as much.
pub const BYTES_KEPT: usize = 2 << 20;
/// Bytes that a reader gets in one piece.
const PIECE_MAX: usize = 128 << 10;

/// Where a reader stands: the number of the last fact that it has.
pub type Place = u64;

/// Some facts between the reader's place and now are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed;

pub struct Feed {
    /// Names this run of the daemon: numbers of facts mean nothing in another.
    run: String,
    /// Puts a fact into words.
    tell: fn(&Fact) -> String,
    ring: Mutex<Ring>,
    newest: watch::Sender<Place>,
}

#[derive(Default)]
struct Ring {
    facts: VecDeque<Arc<Entry>>,
    bytes: usize,
    newest: Place,
    /// What was last put together, from where and up to where: readers go in step, and mostly want the same.
    piece: Option<(Place, Place, Bytes)>,
}

struct Entry {
    fact: Arc<Fact>,
    bytes: usize,
    frame: OnceLock<Bytes>,
}

impl Feed {
    pub fn new(run: String, tell: fn(&Fact) -> String) -> Self {
        Self { run, tell, ring: Mutex::default(), newest: watch::Sender::new(0) }
    }

    /// Keeps a fact; [`Feed::announce`] tells the readers. Facts come in the order of their numbers, none is left out.
    pub fn push(&self, fact: Arc<Fact>) {
        let bytes = Length::of(&fact);
        let mut ring = self.ring();
        ring.newest = fact.seq;
        ring.bytes += bytes;
        ring.facts.push_back(Arc::new(Entry { fact, bytes, frame: OnceLock::new() }));
        while ring.facts.len() > FACTS_KEPT || ring.bytes > BYTES_KEPT {
            let Some(oldest) = ring.facts.pop_front() else { break };
            ring.bytes -= oldest.bytes;
        }
    }

    /// Wakes the readers if there is anything new.
    pub fn announce(&self) {
        let newest = self.ring().newest;
        self.newest.send_if_modified(|known| std::mem::replace(known, newest) != newest);
    }

    /// The id of the last fact.
    pub fn last_id(&self) -> String {
        self.id(self.ring().newest)
    }

    pub fn newest(&self) -> Place {
        self.ring().newest
    }

    /// Those who hear of what is new.
    pub fn readers(&self) -> usize {
        self.newest.receiver_count()
    }

    /// Hears of what is new.
    pub fn news(&self) -> watch::Receiver<Place> {
        self.newest.subscribe()
    }

    pub fn id(&self, place: Place) -> String {
        format!("{}-{place}", self.run)
    }

    /// Where who has got `id` last goes on; the error says why that is not possible.
    pub fn resume(&self, id: &str) -> Result<Place, String> {
        let place =
            id.strip_prefix(&*self.run).and_then(|rest| rest.strip_prefix('-')).and_then(|seq| seq.parse().ok());
        let Some(place) = place.filter(|place| *place <= self.newest()) else {
            return Err("that event is of another run of the daemon".into());
        };
        match self.ring().after(place) {
            Some(_) => Ok(place),
            None => {
                Err(format!("that event is too old: the last {FACTS_KEPT} events are kept, and no more than some MB"))
            }
        }
    }

    /// The next facts behind `place` as one piece of the stream, and the place behind them; `None`: there are none yet.
    pub fn after(&self, place: Place) -> Result<Option<(Bytes, Place)>, Missed> {
        let entries = {
            let ring = self.ring();
            if let Some((from, to, piece)) = &ring.piece
                && *from == place
                && *to == ring.newest
            {
                return Ok(Some((piece.clone(), *to)));
            }
            let first = ring.after(place).ok_or(Missed)?;
            let mut bytes = 0;
            let some = ring.facts.range(first..).take_while(|entry| {
                let fits = bytes < PIECE_MAX;
                bytes += entry.bytes;
                fits
            });
            some.cloned().collect::<Vec<_>>()
        };
        let Some(last) = entries.last() else { return Ok(None) };
        let to = last.fact.seq;
        let frames: Vec<&Bytes> = entries.iter().map(|entry| self.frame(entry)).collect();
        let piece = match frames.as_slice() {
            [one] => (*one).clone(),
            many => Bytes::from(many.iter().flat_map(|frame| frame.iter().copied()).collect::<Vec<u8>>()),
        };
        self.ring().piece = Some((place, to, piece.clone()));
        Ok(Some((piece, to)))
    }

    fn frame<'e>(&self, entry: &'e Entry) -> &'e Bytes {
        entry.frame.get_or_init(|| {
            let fact = &*entry.fact;
            let mut out = Vec::with_capacity(entry.bytes + 512);
            // JSON escapes line breaks, so the data is one line. Writing to memory does not fail, nor does plain data.
            let _ = write!(out, "event: {}\nid: {}-{}\ndata: ", fact.what.name(), self.run, fact.seq);
            let _ = serde_json::to_writer(&mut out, fact);
            if out.pop() == Some(b'}') {
                out.extend_from_slice(b",\"text\":");
                let _ = serde_json::to_writer(&mut out, &(self.tell)(fact));
                out.push(b'}');
            }
            out.extend_from_slice(b"\n\n");
            out.into()
        })
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    /// Index of the fact behind `place`; `None`: it is gone.
    fn after(&self, place: Place) -> Option<usize> {
        match self.facts.front() {
            None => (place == self.newest).then_some(0),
            Some(oldest) if oldest.fact.seq > place + 1 => None,
            Some(oldest) => Some((place + 1 - oldest.fact.seq) as usize).map(|index| index.min(self.facts.len())),
        }
    }
}

/// Counts what is written.
struct Length(usize);

impl Length {
    fn of(fact: &Fact) -> usize {
        let mut length = Length(0);
        let _ = serde_json::to_writer(&mut length, fact);
        length.0
    }
}

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fact::{Cause, What};
    use crate::model::time::Now;

    fn fact(seq: u64, why: &str) -> Arc<Fact> {
        let what = What::BusLost { why: why.into() };
        Arc::new(Fact { seq, at: Now::default(), cause: Cause::Start, worker: None, unit: None, incident: None, what })
    }

    fn feed(facts: u64) -> Feed {
        let feed = Feed::new("cafe".into(), |fact| format!("told\n{}", fact.seq));
        (1..=facts).for_each(|seq| feed.push(fact(seq, "two\nlines")));
        feed.announce();
        feed
    }

    fn text(piece: &Bytes) -> String {
        String::from_utf8(piece.to_vec()).unwrap()
    }

    #[test]
    fn a_frame_is_an_event_with_its_id_and_its_sentence() {
        let (piece, place) = feed(2).after(1).unwrap().unwrap();
        assert_eq!(place, 2);
        let piece = text(&piece);
        let lines: Vec<&str> = piece.split('\n').collect();
        assert_eq!((lines[0], lines[1], &lines[3..]), ("event: bus_lost", "id: cafe-2", &["", ""][..]));
        let data = lines[2].strip_prefix("data: ").unwrap();
        assert_eq!(serde_json::from_str::<Fact>(data).unwrap(), *fact(2, "two\nlines"));
        assert_eq!(serde_json::from_str::<serde_json::Value>(data).unwrap()["text"], "told\n2");
    }

    #[test]
    fn readers_share_what_was_put_together() {
        let feed = feed(3);
        let (one, _) = feed.after(0).unwrap().unwrap();
        let (other, place) = feed.after(0).unwrap().unwrap();
        assert_eq!((one.as_ptr(), place), (other.as_ptr(), 3));
        assert_eq!(feed.after(3), Ok(None));
        feed.push(fact(4, ""));
        let (piece, place) = feed.after(0).unwrap().unwrap();
        assert!(text(&piece).contains("id: cafe-4\n") && place == 4, "no old piece when there is more");
    }

    #[test]
    fn the_oldest_go_and_who_needs_them_is_told() {
        let feed = feed(FACTS_KEPT as u64 + 2);
        assert_eq!(feed.after(1), Err(Missed));
        assert!(feed.after(2).is_ok());
        assert!(feed.resume("cafe-1").unwrap_err().contains("too old"));
        assert_eq!(feed.resume("cafe-2"), Ok(2));
        for other in ["beef-7", "cafe-99999", "cafe", "cafe-", "cafe-x", ""] {
            assert!(feed.resume(other).unwrap_err().contains("another run"), "{other}");
        }
        assert_eq!(Feed::new("cafe".into(), |_| String::new()).resume("cafe-0"), Ok(0), "before the first fact");
    }

    #[test]
    fn large_facts_are_fewer_and_come_in_pieces() {
        let feed = Feed::new("cafe".into(), |_| String::new());
        let long = "x".repeat(64 << 10);
        (1..=100).for_each(|seq| feed.push(fact(seq, &long)));
        let kept = feed.ring().facts.len();
        assert!((30..=32).contains(&kept) && feed.ring().bytes <= BYTES_KEPT, "{kept}");
        let mut place = 100 - kept as u64;
        let mut pieces = 0;
        while let Some((piece, to)) = feed.after(place).unwrap() {
            assert!(piece.len() < PIECE_MAX + (70 << 10) && to > place, "{}", piece.len());
            (place, pieces) = (to, pieces + 1);
        }
        assert!(place == 100 && pieces > 10, "{place} {pieces}");
    }
}
