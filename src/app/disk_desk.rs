//! The disk of the state directory: how much room is left for the history, and whether it will be full.
//!
//! It is told in the journal, in the status and in metrics, and nothing is done about it: a full disk costs history and
//! nothing else, and whose files fill it we cannot know.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::{info, warn};

use crate::adapters::{clock, host};
use crate::learn::forecast::{Forecast, Trend};
use crate::model::status::StateDisk;
use crate::model::usage::DiskUsage;
use crate::model::{Mono, Now};
use crate::views::look::bytes;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How far ahead a full disk is told: long enough for a person to make room.
const HORIZON: Duration = Duration::from_secs(6 * 3600);
/// Little is left below this share of the whole,
const LEFT_MIN: f64 = 0.05;
/// unless there is as much as this, 20 times of what the history takes at most, or room for so many files.
const PLENTY_BYTES: u64 = 10 << 30;
const PLENTY_INODES: u64 = 100_000;
/// Little is left until there is this much more.
const CLEARS_ABOVE: f64 = 1.2;
/// So many looks without a forecast, five minutes apart, take back what was told.
const MISSES_MAX: u8 = 3;

/// What was seen last. Its thread ends with it.
pub(super) struct DiskDesk {
    present: Arc<Mutex<Option<StateDisk>>>,
    /// Its end is the word to stop.
    _alive: Sender<()>,
}

impl DiskDesk {
    /// Begins to look at the disk of `state_dir`, on a thread of its own: a disk that hangs holds up nobody else.
    pub fn start(state_dir: PathBuf) -> Self {
        let (alive, stop) = channel();
        let present = Arc::<Mutex<Option<StateDisk>>>::default();
        let desk = Self { present: present.clone(), _alive: alive };
        let look = move || look(state_dir, &present, &stop);
        if let Err(error) = std::thread::Builder::new().name("state-disk".into()).spawn(look) {
            warn!(%error, "the disk of the state directory is not watched");
        }
        desk
    }

    pub fn present(&self) -> Option<StateDisk> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn look(state_dir: PathBuf, present: &Mutex<Option<StateDisk>>, stop: &Receiver<()>) {
    let (mut watch, mut unseen) = (Watch::new(state_dir), false);
    loop {
        let seen = host::disk(&watch.state_dir);
        if let Err(error) = &seen
            && !unseen
        {
            warn!(%error, path = %watch.state_dir.display(), "the disk of the state directory cannot be looked at");
        }
        unseen = seen.is_err();
        let disk = seen.ok().map(|usage| {
            let (disk, news) = watch.take(clock::now(), usage);
            match news {
                Some(News::Low(why)) => warn!("{why}"),
                Some(News::Over) => info!(path = %disk.path.display(), "its disk has room again"),
                None => {}
            }
            disk
        });
        *present.lock().unwrap_or_else(PoisonError::into_inner) = disk;
        if stop.recv_timeout(LOOK_EVERY) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// What a person must hear of.
#[derive(Debug, PartialEq)]
enum News {
    Low(String),
    Over,
}

/// How bad it is, worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Well,
    Foreseen,
    Little,
}

/// What is known of the disk; knows no clock.
struct Watch {
    state_dir: PathBuf,
    room: Filling,
    files: Filling,
    level: Level,
}

impl Watch {
    fn new(state_dir: PathBuf) -> Self {
        Self { state_dir, room: Filling::default(), files: Filling::default(), level: Level::Well }
    }

    /// One look. There is news when it has become worse, or well.
    fn take(&mut self, now: Now, usage: DiskUsage) -> (StateDisk, Option<News>) {
        self.room.take(now.mono, usage.total_bytes, usage.available_bytes, PLENTY_BYTES);
        self.files.take(now.mono, usage.total_inodes, usage.available_inodes, PLENTY_INODES);
        let before = self.level;
        self.level = self.room.level().max(self.files.level());
        let warning = self.warning(&usage);
        let news = match &warning {
            Some(why) if self.level > before => Some(News::Low(why.clone())),
            None if before > Level::Well => Some(News::Over),
            _ => None,
        };
        let full = [&self.room, &self.files].into_iter().filter_map(|filling| filling.forecast.as_ref());
        let full_at = full.map(|forecast| now.wall_of(forecast.at + forecast.crosses_in)).min();
        (StateDisk { path: self.state_dir.clone(), usage, warning, full_at }, news)
    }

    fn warning(&self, usage: &DiskUsage) -> Option<String> {
        let (disk, all) = (format!("the disk of {}", self.state_dir.display()), bytes(usage.total_bytes));
        let left = |left: u64, all: u64| left as f64 / all.max(1) as f64 * 100.0;
        let why = match (self.level, self.room.level(), &self.room.forecast, &self.files.forecast) {
            (Level::Well, ..) => return None,
            (Level::Little, Level::Little, ..) => {
                let percent = left(usage.available_bytes, usage.total_bytes);
                format!("{disk} has {} of {all} left ({percent:.1} %)", bytes(usage.available_bytes))
            }
            (Level::Little, ..) => {
                let (files, percent) = (usage.available_inodes, left(usage.available_inodes, usage.total_inodes));
                format!("{disk} has room for {files} more files ({percent:.1} % of its inodes)")
            }
            (Level::Foreseen, _, Some(forecast), _) => {
                format!("what is on {disk} {}", forecast.words(&format!("its {all}"), |more| bytes(more as u64)))
            }
            (Level::Foreseen, _, _, forecast) => {
                let reaches = format!("its {} inodes", usage.total_inodes);
                let words = forecast.as_ref().map(|it| it.words(&reaches, |more| format!("{more:.0}")));
                format!("the number of files on {disk} {}", words.unwrap_or_default())
            }
        };
        Some(format!("{why}; on a full disk workers are protected as before, and the history is lost"))
    }
}

/// One thing that may run out.
#[derive(Default)]
struct Filling {
    trend: Trend,
    forecast: Option<Forecast>,
    misses: u8,
    little: bool,
}

impl Filling {
    /// How much there is in all, how much of it is left, and how much is plenty. Nothing in all: there is no limit.
    fn take(&mut self, at: Mono, total: u64, left: u64, plenty: u64) {
        if total == 0 {
            *self = Self::default();
            return;
        }
        let factor = if self.little { CLEARS_ABOVE } else { 1.0 };
        self.little = (left as f64) < (total as f64 * LEFT_MIN).min(plenty as f64) * factor;
        if !self.trend.take(at, total.saturating_sub(left) as f64) {
            return;
        }
        match self.trend.forecast(total as f64).filter(|forecast| forecast.within(HORIZON)) {
            Some(forecast) => (self.forecast, self.misses) = (Some(forecast), 0),
            None => self.misses = self.misses.saturating_add(1),
        }
        if self.misses >= MISSES_MAX {
            self.forecast = None;
        }
    }

    fn level(&self) -> Level {
        match (self.little, &self.forecast) {
            (true, _) => Level::Little,
            (false, Some(_)) => Level::Foreseen,
            (false, None) => Level::Well,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Wall;

    const GIB: u64 = 1 << 30;
    const MINUTE: u64 = 60_000_000;

    fn at(minute: u64) -> Now {
        Now { mono: Mono(minute * MINUTE), wall: Wall((minute * MINUTE) as i64 + 1_000_000_000) }
    }

    fn room(gib: f64) -> DiskUsage {
        let available_bytes = (gib * GIB as f64) as u64;
        DiskUsage { total_bytes: 100 * GIB, available_bytes, total_inodes: 6_000_000, available_inodes: 5_000_000 }
    }

    fn low(news: Option<News>) -> String {
        match news {
            Some(News::Low(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn little_room_is_told_once_and_is_over_when_there_is_clearly_more() {
        let mut watch = Watch::new("/var/lib/unitmedic".into());
        let (disk, news) = watch.take(at(0), room(6.0));
        assert_eq!((disk.warning, news), (None, None));
        let (disk, news) = watch.take(at(1), room(4.9));
        let why = low(news);
        assert_eq!(disk.warning.as_ref(), Some(&why));
        assert!(why.starts_with("the disk of /var/lib/unitmedic has 4.9 GiB of 100 GiB left (4.9 %); "), "{why}");
        assert_eq!(watch.take(at(2), room(4.8)).1, None, "once");
        let (disk, news) = watch.take(at(3), room(5.5));
        assert!(disk.warning.is_some() && news.is_none(), "not at the edge");
        let (disk, news) = watch.take(at(4), room(6.1));
        assert_eq!((disk.warning, news), (None, Some(News::Over)));
    }

    #[test]
    fn a_large_disk_has_enough_with_less_than_its_share_and_inodes_run_out_too() {
        let mut watch = Watch::new("/s".into());
        let large = DiskUsage { total_bytes: 20_000 * GIB, available_bytes: 12 * GIB, ..room(0.0) };
        assert_eq!(watch.take(at(0), large).0.warning, None);
        let no_inodes = DiskUsage { available_inodes: 90_000, ..large };
        let why = low(watch.take(at(1), no_inodes).1);
        assert!(why.starts_with("the disk of /s has room for 90000 more files (1.5 % of its inodes)"), "{why}");
        let unlimited = DiskUsage { total_inodes: 0, available_inodes: 0, ..large };
        assert_eq!(watch.take(at(2), unlimited), (disk_of(unlimited), Some(News::Over)));
    }

    fn disk_of(usage: DiskUsage) -> StateDisk {
        StateDisk { path: "/s".into(), usage, warning: None, full_at: None }
    }

    #[test]
    fn a_disk_that_fills_is_told_ahead_and_no_more_when_it_does_not() {
        let mut watch = Watch::new("/s".into());
        // Eight hours as it is, then 5 GiB an hour of 60: full after 20 hours.
        let left = |minute: u64| 60.0 - 5.0 * (minute as f64 / 60.0 - 8.0).clamp(0.0, 9.0);
        let mut told = Vec::new();
        for minute in 0..16 * 60 {
            let (disk, news) = watch.take(at(minute), room(left(minute)));
            told.extend(news.map(|news| (minute, disk.full_at, news)));
        }
        assert_eq!(told.len(), 1, "{told:?}");
        let (minute, full_at, news) = told.remove(0);
        assert!((10 * 60..16 * 60).contains(&minute), "{minute}");
        let why = low(Some(news));
        assert!(why.starts_with("what is on the disk of /s grows by 5.0 GiB an hour for "), "{why}");
        assert!(why.contains(" and reaches its 100 GiB in "), "{why}");
        let full = full_at.unwrap().0 as f64 / MINUTE as f64 - 1_000_000_000.0 / MINUTE as f64;
        assert!((full - 1_200.0).abs() < 60.0, "{full}");
        let over = (16 * 60..20 * 60).find(|minute| watch.take(at(*minute), room(left(*minute))).1 == Some(News::Over));
        assert!(over.is_some(), "it has stopped to fill after 17 hours");
    }
}
