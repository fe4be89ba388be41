//! Counts our own crashes, so that a daemon that crashes again and again stops acting and only watches.
//!
//! A run that ends cleanly says so; a start that finds the last run without that word follows a crash. The
//! file stands in the runtime directory: a new boot begins with a clean slate.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::files::{self, Sync};
use crate::model::Mono;

/// This many crashes within [`CRASH_WINDOW`] mean: watch only.
pub const CRASHES_MAX: usize = 3;
pub const CRASH_WINDOW: Duration = Duration::from_secs(600);
const FILE_BYTES_MAX: u64 = 16 << 10;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    boot: String,
    /// The run that wrote this has not said that it ended.
    running: bool,
    /// When a start found that the run before it had crashed; the newest [`CRASHES_MAX`].
    crashes: Vec<Mono>,
}

#[derive(Debug, Clone)]
pub struct Starts {
    path: PathBuf,
}

impl Starts {
    pub fn new(runtime_dir: &Path) -> Self {
        Self { path: runtime_dir.join("starts.json") }
    }

    /// Notes that a run begins. Returns how many runs crashed within [`CRASH_WINDOW`] before `now`.
    /// A file that cannot be read counts as no crash: doubt must not switch protection off.
    pub fn note_start(&self, now: Mono, boot: &str) -> io::Result<usize> {
        let mut record = self.read().filter(|record| record.boot == boot).unwrap_or_default();
        if record.running {
            record.crashes.push(now);
        }
        record.crashes.retain(|at| *at <= now && now.since(*at) <= CRASH_WINDOW);
        let count = record.crashes.len();
        record.crashes.drain(..count.saturating_sub(CRASHES_MAX));
        record.boot = boot.to_string();
        record.running = true;
        self.write(&record)?;
        Ok(count)
    }

    /// Notes that this run ends because somebody wanted it to. That is also an operator's way out of
    /// watch-only: earlier crashes are forgotten.
    pub fn note_clean_stop(&self) -> io::Result<()> {
        let boot = self.read().unwrap_or_default().boot;
        self.write(&Record { boot, running: false, crashes: Vec::new() })
    }

    /// The reason for watching only, where so many crashes are one.
    pub fn watch_only(crashes: usize) -> Option<String> {
        (crashes >= CRASHES_MAX).then(|| {
            format!(
                "unitmedic itself crashed {crashes} times within {} min; it watches and tells, but acts on nothing \
                 until it is restarted (systemctl restart unitmedic)",
                CRASH_WINDOW.as_secs() / 60
            )
        })
    }

    fn read(&self) -> Option<Record> {
        let bytes = files::read_limited(&self.path, FILE_BYTES_MAX).ok()??;
        serde_json::from_slice(&bytes).ok()
    }

    fn write(&self, record: &Record) -> io::Result<()> {
        if let Some(dir) = self.path.parent() {
            files::create_dir(dir)?;
        }
        files::write_atomically(&self.path, &serde_json::to_vec(record)?, Sync::Crash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(n: u64) -> Mono {
        Mono(n * 60_000_000)
    }

    #[test]
    fn crashes_count_and_clean_stops_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let starts = Starts::new(&dir.path().join("run"));
        assert_eq!(starts.note_start(minute(1), "a").unwrap(), 0);
        starts.note_clean_stop().unwrap();
        assert_eq!(starts.note_start(minute(2), "a").unwrap(), 0, "after a clean stop");
        assert_eq!(starts.note_start(minute(3), "a").unwrap(), 1);
        assert_eq!(starts.note_start(minute(4), "a").unwrap(), 2);
        assert_eq!(starts.note_start(minute(5), "a").unwrap(), 3);
        assert_eq!(starts.note_start(minute(6), "a").unwrap(), 4, "a loop does not count itself down");
        assert_eq!(starts.note_start(minute(14), "a").unwrap(), 4, "4 to 6 and 14; the bound has dropped 3");
        assert_eq!(starts.note_start(minute(60), "a").unwrap(), 1, "old ones are forgotten");
        starts.note_clean_stop().unwrap();
        assert_eq!(starts.note_start(minute(61), "a").unwrap(), 0, "a clean restart is the way out");
        assert_eq!(starts.note_start(minute(1), "b").unwrap(), 0, "another boot");
    }

    #[test]
    fn garbage_is_no_crash() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("starts.json"), "{{{").unwrap();
        assert_eq!(Starts::new(dir.path()).note_start(minute(1), "a").unwrap(), 0);
    }

    #[test]
    fn three_are_too_many() {
        assert_eq!(Starts::watch_only(2), None);
        assert!(Starts::watch_only(3).unwrap().contains("crashed 3 times within 10 min"));
    }
}
