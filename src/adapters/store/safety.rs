//! Safety state outlives the database: pauses and what should run, in `<state_dir>/safety.json`; and the number of
//! the next incident, in `<state_dir>/next-incident`. Written by a thread of its own, newest wins.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use super::files::{self, Sync};
use crate::model::Wall;
use crate::model::input::Safety;

const FORMAT: u32 = 1;
/// A file beyond this is not ours. 20,000 units at the longest name and reason are 12 MB.
const FILE_BYTES_MAX: u64 = 16 << 20;
const PAUSES_MAX: usize = 10_000;
const WANTED_MAX: usize = 20_000;
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct Out<'a> {
    format: u32,
    safety: &'a Safety,
}

#[derive(Deserialize)]
struct In {
    format: u32,
    safety: Safety,
}

/// Reads the safety state. What could not be read is told in the second value and is treated as absent.
pub(super) fn read(path: &Path, now: Wall) -> (Safety, Option<String>) {
    let why = match files::read_limited(path, FILE_BYTES_MAX) {
        Ok(None) => return (Safety::default(), None),
        Ok(Some(bytes)) => match serde_json::from_slice::<In>(&bytes) {
            Ok(found) if found.format <= FORMAT => return (found.safety, None),
            Ok(found) => return newer(path, found),
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    let aside = match files::set_aside(path, &[], now) {
        Ok(aside) => format!("it was set aside as {}", aside.display()),
        Err(error) => format!("and it could not be set aside: {error}"),
    };
    let text = format!(
        "{} is damaged ({why}); {aside}. All pauses are forgotten: pause again what must not be touched",
        path.display()
    );
    (Safety::default(), Some(text))
}

/// What we understand of a newer file counts; the file itself is kept beside the one that we shall write.
fn newer(path: &Path, found: In) -> (Safety, Option<String>) {
    let kept = files::with_suffix(path, &format!(".format-{}", found.format));
    let copied = match fs::copy(path, &kept) {
        Ok(_) => format!("a copy is kept as {}", kept.display()),
        Err(error) => format!("no copy could be kept: {error}"),
    };
    let text = format!(
        "{} was written by a newer unitmedic (format {}, this one knows {FORMAT}); what could be understood is in force, {copied}",
        path.display(),
        found.format
    );
    (found.safety, Some(text))
}

/// The next incident's number as it was last written; `None` where it is not known.
pub(super) fn read_next_incident(path: &Path) -> Option<u64> {
    let bytes = files::read_limited(path, 32).ok()??;
    std::str::from_utf8(&bytes).ok()?.trim().parse().ok()
}

/// Keeps the newest safety state and incident number, off the hot path.
pub(super) struct Keeper {
    safety_path: PathBuf,
    number_path: PathBuf,
    inner: Mutex<Kept>,
    wake: Condvar,
    next_incident: AtomicU64,
    pub errors: AtomicU64,
}

#[derive(Default)]
struct Kept {
    safety: Option<Box<Safety>>,
    number: Option<u64>,
    closing: bool,
}

impl Keeper {
    pub fn new(state_dir: &Path, next_incident: u64) -> Self {
        Self {
            safety_path: safety_path(state_dir),
            number_path: number_path(state_dir),
            inner: Mutex::default(),
            wake: Condvar::new(),
            next_incident: AtomicU64::new(next_incident),
            errors: AtomicU64::new(0),
        }
    }

    pub fn keep(&self, safety: Box<Safety>) {
        self.lock().safety = Some(safety);
        self.wake.notify_one();
    }

    /// The number `id` has been given.
    pub fn saw_incident(&self, id: u64) {
        let next = id.saturating_add(1);
        if self.next_incident.fetch_max(next, Ordering::Relaxed) < next {
            let mut inner = self.lock();
            inner.number = inner.number.max(Some(next));
            self.wake.notify_one();
        }
    }

    /// The body of the keeper's thread. Ends after [`Keeper::close`], when what waits is written or has failed.
    pub fn run(&self) {
        let mut retry: Option<(Instant, Duration)> = None;
        let mut inner = self.lock();
        loop {
            let waits = inner.safety.is_some() || inner.number.is_some();
            if inner.closing && !waits {
                return;
            }
            let now = Instant::now();
            match retry.filter(|(at, _)| *at > now && !inner.closing) {
                Some((at, _)) => {
                    inner = self.wake.wait_timeout(inner, at - now).unwrap_or_else(PoisonError::into_inner).0;
                    continue;
                }
                None if !waits => {
                    inner = self.wake.wait(inner).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                None => {}
            }
            let (safety, number, closing) = (inner.safety.take(), inner.number.take(), inner.closing);
            drop(inner);
            let failed = self.write(safety.as_deref(), number);
            inner = self.lock();
            retry = self.settle(&mut inner, failed, safety, number, retry);
            if closing && retry.is_some() {
                return;
            }
        }
    }

    /// Logs a change between working and failing, and puts back what failed unless something newer waits.
    fn settle(
        &self,
        inner: &mut Kept,
        failed: Option<String>,
        safety: Option<Box<Safety>>,
        number: Option<u64>,
        retry: Option<(Instant, Duration)>,
    ) -> Option<(Instant, Duration)> {
        let Some(why) = failed else {
            if retry.is_some() {
                info!(path = %self.safety_path.display(), "safety state is written again");
            }
            return None;
        };
        self.errors.fetch_add(1, Ordering::Relaxed);
        if retry.is_none() {
            error!(%why, "safety state cannot be written: pauses made now will not survive a restart");
        }
        inner.safety = inner.safety.take().or(safety);
        inner.number = inner.number.max(number);
        let pause = retry.map_or(RETRY_FIRST, |(_, pause)| (pause * 2).min(RETRY_MAX));
        Some((Instant::now() + pause, pause))
    }

    fn write(&self, safety: Option<&Safety>, number: Option<u64>) -> Option<String> {
        let told = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
        if let Some(safety) = safety
            && let Err(error) = write_safety(&self.safety_path, safety)
        {
            return Some(told(&self.safety_path, error));
        }
        if let Some(number) = number
            && let Err(error) =
                files::write_atomically(&self.number_path, format!("{number}\n").as_bytes(), Sync::PowerCut)
        {
            return Some(told(&self.number_path, error));
        }
        None
    }

    pub fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn safety_path(state_dir: &Path) -> PathBuf {
    state_dir.join("safety.json")
}

pub(super) fn number_path(state_dir: &Path) -> PathBuf {
    state_dir.join("next-incident")
}

fn write_safety(path: &Path, safety: &Safety) -> std::io::Result<()> {
    if let Some(dir) = path.parent() {
        files::create_dir(dir)?;
    }
    let fits =
        safety.pauses.len() <= PAUSES_MAX && safety.wanted.len() <= WANTED_MAX && safety.owned.len() <= WANTED_MAX;
    let cut;
    let safety = if fits {
        safety
    } else {
        warn!(
            pauses = safety.pauses.len(),
            units = safety.wanted.len(),
            "more safety state than is kept: the last ones are forgotten at a restart"
        );
        cut = Safety {
            boot: safety.boot.clone(),
            pauses: safety.pauses.iter().take(PAUSES_MAX).cloned().collect(),
            wanted: safety.wanted.iter().take(WANTED_MAX).cloned().collect(),
            owned: safety.owned.iter().take(WANTED_MAX).cloned().collect(),
        };
        &cut
    };
    files::write_atomically(path, &serde_json::to_vec(&Out { format: FORMAT, safety })?, Sync::PowerCut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::input::{Owned, Pause, Wanted};
    use crate::model::{Mono, UnitName, WorkerName};

    fn sample() -> Safety {
        Safety {
            boot: "b".into(),
            pauses: vec![Pause {
                worker: Some(WorkerName::new("mail").unwrap()),
                until: None,
                since: Wall(1),
                who: "root".into(),
                reason: "upgrade".into(),
            }],
            wanted: vec![
                (UnitName::new("a.service").unwrap(), Wanted::Run),
                (
                    UnitName::new("b.service").unwrap(),
                    Wanted::Stopped { why: "operator".into(), at: Wall(2), seen: Mono(2) },
                ),
            ],
            owned: vec![Owned {
                unit: UnitName::new("c@2.service").unwrap(),
                since: Wall(3),
                surge_for: None,
                started: false,
            }],
        }
    }

    #[test]
    fn the_newest_state_is_what_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = Keeper::new(dir.path(), 1);
        keeper.keep(Box::default());
        keeper.keep(Box::new(sample()));
        for id in [7, 3] {
            keeper.saw_incident(id);
        }
        keeper.close();
        keeper.run();
        let path = safety_path(dir.path());
        assert_eq!(read(&path, Wall(0)), (sample(), None));
        assert_eq!(read_next_incident(&number_path(dir.path())), Some(8));
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o137, 0, "nobody else reads or writes it: {mode:o}");
    }

    #[test]
    fn a_damaged_file_is_set_aside_loudly() {
        let dir = tempfile::tempdir().unwrap();
        let path = safety_path(dir.path());
        fs::write(&path, "{\"format\":1,\"safety\":{\"pau").unwrap();
        let (safety, problem) = read(&path, Wall(0));
        assert_eq!(safety, Safety::default());
        let problem = problem.unwrap();
        assert!(problem.contains("damaged") && problem.contains("pauses are forgotten"), "{problem}");
        assert!(!path.exists());
        assert_eq!(files::damaged_copies(&path).unwrap().len(), 1);
    }

    #[test]
    fn a_newer_file_is_used_as_far_as_understood_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = safety_path(dir.path());
        let text = serde_json::json!({"format": 9, "safety": sample(), "more": true}).to_string();
        fs::write(&path, &text).unwrap();
        let (safety, problem) = read(&path, Wall(0));
        assert_eq!(safety, sample());
        assert!(problem.unwrap().contains("format 9"));
        assert_eq!(fs::read_to_string(dir.path().join("safety.json.format-9")).unwrap(), text);
    }
}
