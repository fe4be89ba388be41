//! Files that instances touch: looked at on a steady grid, on a thread of their own.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::{fs, thread};

use tokio::sync::{mpsc, watch};

use super::outbox::tell_reading;
use super::{Clock, HeartbeatStats, Members, Sources};
use crate::model::signal::{Beat, BeatSource, Member};
use crate::model::{Input, Mono, Now, Settings, UnitName, Wall};

/// Longest rest: changed settings and an end of the event loop are seen within it.
const REST_MAX: Duration = Duration::from_secs(1);
/// Shortest interval between rounds.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// What is known of one instance's file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    modified: Wall,
    at: Mono,
    looked: Mono,
}

pub struct Watcher {
    settings: watch::Receiver<Arc<Settings>>,
    clock: Clock,
    members: Members,
    inputs: mpsc::Sender<Input>,
    stats: Arc<HeartbeatStats>,
    seen: BTreeMap<UnitName, Seen>,
}

impl Watcher {
    pub fn new(settings: watch::Receiver<Arc<Settings>>, sources: Sources) -> Self {
        let Sources { clock, members, inputs, stats } = sources;
        Self { settings, clock, members, inputs, stats, seen: BTreeMap::new() }
    }

    pub fn run(&mut self) {
        let mut next = (self.clock)().mono;
        while !self.inputs.is_closed() {
            let interval = self.settings.borrow().daemon.health_check_interval.max(INTERVAL_MIN);
            let now = (self.clock)().mono;
            next = next.min(now + interval);
            if now >= next {
                // Rounds that were missed are not made up for, and do not move the grid.
                let missed = now.since(next).as_micros() / interval.as_micros();
                next = next + interval * (missed as u32).saturating_add(1);
                let beats = self.round();
                let stats = &self.stats;
                tell_reading(&self.inputs, beats, || _ = stats.held_back.fetch_add(1, Relaxed));
            }
            thread::sleep(next.since((self.clock)().mono).min(REST_MAX));
        }
    }

    /// The latest sign of every instance that has given one, told also when it is not new: that it is old is what is to
    /// be judged.
    fn round(&mut self) -> Vec<Beat> {
        let settings = self.settings.borrow().clone();
        if settings.workers.values().all(|worker| worker.heartbeat_file.is_none()) {
            self.seen.clear();
            return Vec::new();
        }
        let mut seen = BTreeMap::new();
        for member in (self.members)() {
            let worker = settings.workers.get(&member.worker);
            let Some(file) = worker.and_then(|worker| worker.heartbeat_file.as_deref()) else { continue };
            if let Some(found) = self.look(&member, file) {
                seen.insert(member.unit, found);
            }
        }
        self.seen = seen;
        let beat =
            |(unit, seen): (&UnitName, &Seen)| Beat { unit: unit.clone(), at: seen.at, source: BeatSource::File };
        self.seen.iter().map(beat).collect()
    }

    fn look(&self, member: &Member, file: &str) -> Option<Seen> {
        let modified = modified(Path::new(&member.expand(file)))?;
        Some(judge(self.seen.get(&member.unit), modified, (self.clock)()))
    }
}

/// When a regular file was last written; links are followed. Never opened, so that nothing can hold us but the file
/// system itself.
fn modified(path: &Path) -> Option<Wall> {
    let found = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    let whole = found.mtime().checked_mul(1_000_000)?;
    Some(Wall(whole.checked_add(found.mtime_nsec() / 1000)?))
}

/// When the instance beat. The two clocks say so at the first look. Later any change of the time of the file is a sign
/// given since the look before, whatever was done to the clock meanwhile: setting it makes nobody hang.
fn judge(before: Option<&Seen>, modified: Wall, now: Now) -> Seen {
    let age = u64::try_from(now.wall.0.saturating_sub(modified.0)).unwrap_or(0);
    let by_clocks = Mono(now.mono.0.saturating_sub(age));
    let at = match before {
        Some(before) if before.modified == modified => before.at,
        Some(before) => by_clocks.max(before.looked),
        None => by_clocks,
    };
    Seen { modified, at, looked: now.mono }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::members::tests::{fixed, member};
    use super::*;
    use crate::model::{Selector, WorkerName, WorkerSettings};

    const SECOND: u64 = 1_000_000;

    fn now(mono: u64, wall: i64) -> Now {
        Now { mono: Mono(mono * SECOND), wall: Wall(wall * SECOND as i64) }
    }

    fn modified_at(seconds: i64) -> Wall {
        Wall(seconds * SECOND as i64)
    }

    #[test]
    fn the_clocks_tell_at_the_first_look_and_never_of_the_future() {
        let at = |modified, now| judge(None, modified_at(modified), now).at;
        assert_eq!(at(900, now(500, 1000)), Mono(400 * SECOND));
        assert_eq!(at(1000, now(500, 1000)), Mono(500 * SECOND));
        assert_eq!(at(5000, now(500, 1000)), Mono(500 * SECOND), "a time of the future is now");
        assert_eq!(at(-5000, now(500, 1000)), Mono(0), "from before this boot");
        assert_eq!(at(i64::MIN / SECOND as i64, now(500, 1000)), Mono(0));
    }

    #[test]
    fn setting_the_clock_makes_nobody_hang_and_nobody_well() {
        let mut seen = judge(None, modified_at(995), now(500, 1000));
        assert_eq!(seen.at, Mono(495 * SECOND));
        // The clock goes ahead by an hour; the file has not been touched.
        seen = judge(Some(&seen), modified_at(995), now(510, 4610));
        assert_eq!(seen.at, Mono(495 * SECOND));
        // It is touched under the new clock, which then goes back by two hours.
        seen = judge(Some(&seen), modified_at(4615), now(520, -2580));
        assert_eq!(seen.at, Mono(520 * SECOND));
        // It is touched under the clock that went back, and the clock is set ahead before we look.
        seen = judge(Some(&seen), modified_at(-2575), now(530, 4630));
        assert_eq!(seen.at, Mono(520 * SECOND), "not before the last look");
        seen = judge(Some(&seen), modified_at(-2575), now(540, 4640));
        assert_eq!(seen.at, Mono(520 * SECOND));
    }

    #[test]
    fn what_is_no_regular_file_is_a_gap() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("file"), "").unwrap();
        symlink(path("file"), path("link")).unwrap();
        symlink(path("nothing"), path("dangling")).unwrap();
        symlink(path("loop"), path("loop")).unwrap();
        fs::create_dir(path("dir")).unwrap();
        for (name, there) in
            [("file", true), ("link", true), ("nothing", false), ("dangling", false), ("loop", false), ("dir", false)]
        {
            assert_eq!(modified(&path(name)).is_some(), there, "{name}");
        }
        assert_eq!(modified(Path::new("/dev/null")), None);
    }

    #[test]
    fn each_round_tells_the_latest_sign_of_those_that_have_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::empty();
        for name in ["w", "other"] {
            let name = WorkerName::new(name).unwrap();
            let mut worker = WorkerSettings::new(name.clone(), Selector::Template(name.to_string()));
            worker.heartbeat_file =
                (name.as_str() == "w").then(|| dir.path().join("%p-%i").to_string_lossy().into_owned());
            settings.workers.insert(name, worker);
        }
        let (_settings_in, settings) = watch::channel(Arc::new(settings));
        let (inputs, _inputs_out) = mpsc::channel(1);
        let mut strange = member("x@1.service", "/x");
        strange.worker = WorkerName::new("other").unwrap();
        let members = fixed(vec![member("w@1.service", "/1"), member("w@2.service", "/2"), strange]);
        let clock: Clock = Arc::new(|| now(500, 1_900_000_000));
        let mut watcher = Watcher::new(settings, Sources { clock, members, inputs, stats: Default::default() });
        assert_eq!(watcher.round(), []);
        fs::write(dir.path().join("w-1"), "").unwrap();
        let told = watcher.round();
        assert_eq!(told.iter().map(|beat| beat.unit.as_str()).collect::<Vec<_>>(), ["w@1.service"]);
        assert_eq!(told[0].source, BeatSource::File);
        assert_eq!(watcher.round(), told, "told again, as old as it is");
        fs::remove_file(dir.path().join("w-1")).unwrap();
        assert_eq!(watcher.round(), [], "a file that is gone is a gap");
    }
}
