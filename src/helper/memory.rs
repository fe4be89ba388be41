//! Makes the kernel take memory of one instance back, down to `memory_target` of its limit, and sends `memory_signal`
//! to a program that frees memory on a signal.
//!
//! By memory.reclaim, or where the kernel has none, by a memory.high that is lowered for a moment and always put back.

mod group;
mod restore;
mod ways;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::system::sysinfo;

use self::group::{Cgroup, lowest_max};
use self::restore::Records;
use self::ways::Until;
use super::activation::{Group, sent, signal_main, superseded};
use super::trouble::{Trouble, blocking};
use crate::adapters::cgroup::CgroupRoot;
use crate::adapters::systemd::bus::Caller;
use crate::model::action::{Answer, Refused};
use crate::model::name::UnitName;
use crate::model::settings::WorkerSettings;
use crate::model::unit::InvocationId;

/// The whole of it is to be over within 2 s; a request that is under way then is let finish.
const TIME_LIMIT: Duration = Duration::from_millis(1800);
/// How long a time box waits for others to end: four actions may be under way at once.
const TURN_LIMIT: Duration = Duration::from_secs(6);
const MIB: f64 = (1 << 20) as f64;

/// How memory may be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The best that the kernel has.
    Best,
    /// By memory.high, also where memory.reclaim is there.
    TimeBox,
}

/// What came of it, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reclaimed {
    pub before: u64,
    pub after: u64,
    /// The lowest memory.max, or the memory of the host.
    pub limit: u64,
    /// Why it stopped before the target, where that is known.
    pub early: Option<&'static str>,
}

/// Cleans up the activation that was meant.
pub async fn clean_up(
    caller: &Caller,
    unit: &UnitName,
    meant: InvocationId,
    worker: &WorkerSettings,
    runtime_dir: &Path,
) -> Result<Answer, zbus::Error> {
    let group = match Group::of(caller, unit).await? {
        Ok(group) => group,
        Err(why) => return Ok(Answer::Refused { why: Refused::Nothing, text: format!("{unit}: {why}") }),
    };
    // Opened before the question: a cgroup of a later activation is another directory.
    let opened = Subject::open(group);
    let signalled = match worker.memory_signal {
        Some(signal) => match signal_main(caller, unit, meant, signal, None).await? {
            Answer::Accepted { .. } => Some(sent(signal)),
            refusal => return Ok(refusal),
        },
        None => match superseded(caller, unit, meant).await? {
            Some(refusal) => return Ok(refusal),
            None => None,
        },
    };
    // Dropped with this future: the thread then ends at its next step, and puts back what it changed.
    let waits = Waits::default();
    let cancelled = waits.0.clone();
    let (percent, runtime_dir) = (worker.memory_target, runtime_dir.to_owned());
    let cleaned =
        blocking(move || opened?.clean(percent, &runtime_dir, Way::Best, &|| !cancelled.load(Ordering::Relaxed)));
    Ok(answer(unit, cleaned.await, signalled))
}

/// Tells the blocking part that nobody waits any more.
#[derive(Default)]
struct Waits(Arc<AtomicBool>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn answer(unit: &UnitName, cleaned: Result<Reclaimed, Trouble>, signalled: Option<String>) -> Answer {
    match (cleaned, signalled) {
        (Ok(reclaimed), None) => Answer::Accepted { job: None, did: Some(told(&reclaimed)) },
        (Ok(reclaimed), Some(sent)) => {
            Answer::Accepted { job: None, did: Some(format!("{sent}; {}", told(&reclaimed))) }
        }
        (Err(Trouble::Unable(why)), Some(sent)) => {
            Answer::Accepted { job: None, did: Some(format!("{sent}; nothing reclaimed: {why}")) }
        }
        (Err(Trouble::Unable(why)), None) => Answer::Refused { why: Refused::Nothing, text: format!("{unit}: {why}") },
        (Err(Trouble::Failed(why)), _) => Answer::Failed { text: format!("{unit}: {why}") },
    }
}

/// `reclaimed 120 MiB: 450 of 512 MiB -> 330 MiB`
fn told(reclaimed: &Reclaimed) -> String {
    let mib = |bytes: u64| format!("{:.0}", bytes as f64 / MIB);
    let less = reclaimed.before.saturating_sub(reclaimed.after);
    let (before, after, limit) = (mib(reclaimed.before), mib(reclaimed.after), mib(reclaimed.limit));
    let early = reclaimed.early.map(|why| format!(" ({why})")).unwrap_or_default();
    format!("reclaimed {} MiB: {before} of {limit} MiB -> {after} MiB{early}", mib(less))
}

/// A cgroup that is to be cleaned up.
pub struct Subject {
    group: Group,
    cgroup: Cgroup,
}

impl Subject {
    pub fn open(group: Group) -> Result<Self, Trouble> {
        match Cgroup::open(&group.root, &group.path) {
            Ok(cgroup) => Ok(Self { group, cgroup }),
            Err(error) => Err(Trouble::Unable(format!("its control group cannot be opened: {error}"))),
        }
    }

    /// Blocks for at most about 2 s, and up to 6 s more to have its turn where memory.high is to be used. Whatever
    /// was changed is as before when it returns.
    pub fn clean(
        &self,
        percent: f64,
        runtime_dir: &Path,
        way: Way,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Reclaimed, Trouble> {
        let before = self.cgroup.current().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Trouble::Unable("its control group has no memory controller".into()),
            _ => Trouble::Failed(format!("memory.current cannot be read: {error}")),
        })?;
        let limit = lowest_max(&self.group.root, &self.group.path).unwrap_or_else(host_memory);
        let target = share(limit, percent);
        if before <= target {
            let (before, target) = (before as f64 / MIB, target as f64 / MIB);
            return Err(Trouble::Unable(format!(
                "{before:.0} MiB are in use, not more than memory_target ({percent} %, {target:.0} MiB)"
            )));
        }
        let until = |target| Until { target, deadline: Instant::now() + TIME_LIMIT, go_on };
        let early = if way == Way::Best && self.cgroup.has("memory.reclaim") {
            ways::reclaim(&self.cgroup, &until(target)).map(|()| None)
        } else if self.cgroup.has("memory.high") {
            let records = self.turn(runtime_dir)?;
            ways::time_box(&self.cgroup, &self.group.path, &records, &until(target))
        } else {
            return Err(Trouble::Unable("the kernel has neither memory.reclaim nor memory.high for it".into()));
        };
        let early = early.map_err(|error| trouble(&error))?;
        let after = self.cgroup.current().map_err(|error| trouble(&error))?;
        Ok(Reclaimed { before, after, limit, early })
    }

    fn turn(&self, runtime_dir: &Path) -> Result<Records, Trouble> {
        let records = Records::lock(runtime_dir, TURN_LIMIT);
        let restored = records.and_then(|records| records.restore_leftovers(&self.group.root).map(|_| records));
        restored.map_err(|error| Trouble::Failed(format!("the original memory.high cannot be kept: {error}")))
    }
}

fn trouble(error: &io::Error) -> Trouble {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM | Errno::ACCESS | Errno::ROFS) => {
            Trouble::Unable(format!("its control group cannot be written (ProtectControlGroups=?): {error}"))
        }
        Some(Errno::NODEV | Errno::NOENT) => Trouble::Unable("its control group is gone".into()),
        _ => Trouble::Failed(format!("memory cannot be reclaimed: {error}")),
    }
}

/// So many percent of a limit, bytes.
fn share(limit: u64, percent: f64) -> u64 {
    (limit as f64 * percent.clamp(0.0, 100.0) / 100.0) as u64
}

fn host_memory() -> u64 {
    let host = sysinfo();
    u64::from(host.totalram).saturating_mul(u64::from(host.mem_unit))
}

/// Puts every memory.high back that a process of ours left lowered when it was killed. Called when the root side
/// starts; blocks, in vain at most as long as time boxes of others take.
pub fn restore_leftovers(runtime_dir: &Path) {
    let Ok(root) = CgroupRoot::detect() else { return };
    match ways::restore_leftovers(root.path(), runtime_dir, TURN_LIMIT) {
        Ok(0) => {}
        Ok(restored) => tracing::warn!(restored, "memory.high was left lowered by a process that was killed"),
        Err(error) => tracing::error!(%error, "memory.high may be left lowered"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::adapters::cgroup::CgroupPath;

    const MIB: u64 = 1 << 20;

    struct Tree {
        dir: tempfile::TempDir,
    }

    impl Tree {
        fn new(files: &[(&str, u64)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("a.slice/mail.service")).unwrap();
            for (name, value) in files {
                fs::write(dir.path().join("a.slice").join(name), format!("{value}\n")).unwrap();
            }
            Self { dir }
        }
        fn clean(&self, percent: f64) -> Result<Reclaimed, Trouble> {
            let root: PathBuf = self.dir.path().into();
            let path = CgroupPath::parse("/a.slice/mail.service").unwrap();
            Subject::open(Group { root, path })?.clean(percent, self.dir.path(), Way::Best, &|| true)
        }
    }

    #[test]
    fn the_lowest_limit_on_the_path_counts() {
        let current = ("mail.service/memory.current", 40 * MIB);
        let own = ("mail.service/memory.max", 64 * MIB);
        let slice = ("memory.max", 48 * MIB);
        let reclaim = ("mail.service/memory.reclaim", 0);
        let limit = |files: &[(&str, u64)]| Tree::new(files).clean(60.0).map(|reclaimed| reclaimed.limit);
        assert_eq!(limit(&[current, own, reclaim]), Ok(64 * MIB));
        assert_eq!(limit(&[current, own, slice, reclaim]), Ok(48 * MIB));
        let host = host_memory();
        assert!(host > 64 * MIB);
        let all = Tree::new(&[("mail.service/memory.current", host), reclaim]).clean(60.0);
        assert_eq!(all.map(|reclaimed| reclaimed.limit), Ok(host));
    }

    #[test]
    fn where_nothing_can_be_done_it_is_said() {
        let current = ("mail.service/memory.current", 40 * MIB);
        let own = ("mail.service/memory.max", 64 * MIB);
        let why = |files: &[(&str, u64)], percent| match Tree::new(files).clean(percent) {
            Err(Trouble::Unable(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(why(&[], 60.0).contains("no memory controller"));
        assert!(why(&[current, own], 62.5).contains("40 MiB are in use, not more than memory_target (62.5 %, 40 MiB)"));
        assert!(why(&[current, own], 60.0).contains("neither memory.reclaim nor memory.high"));
        let gone = Group { root: "/nowhere".into(), path: CgroupPath::parse("/mail.service").unwrap() };
        assert!(matches!(Subject::open(gone), Err(Trouble::Unable(_))));
    }

    #[test]
    fn shares() {
        assert_eq!(share(100 * MIB, 60.0), 60 * MIB);
        assert_eq!(share(100 * MIB, 120.0), 100 * MIB);
        assert_eq!(share(100 * MIB, -1.0), 0);
        assert_eq!(share(u64::MAX, 100.0), u64::MAX);
    }

    #[test]
    fn what_is_told() {
        let unit = UnitName::new("mail.service").unwrap();
        let reclaimed = Reclaimed { before: 450 * MIB, after: 330 * MIB, limit: 512 * MIB, early: None };
        assert_eq!(told(&reclaimed), "reclaimed 120 MiB: 450 of 512 MiB -> 330 MiB");
        let did = |cleaned, signalled| match answer(&unit, cleaned, signalled) {
            Answer::Accepted { did, .. } => did.unwrap(),
            other => panic!("{other:?}"),
        };
        let signal = || Some(sent(10));
        assert_eq!(
            did(Ok(reclaimed), signal()),
            "sent SIGUSR1 (10) to the main process; reclaimed 120 MiB: 450 of 512 MiB -> 330 MiB"
        );
        let unable = || Err(Trouble::Unable("why".into()));
        assert_eq!(did(unable(), signal()), "sent SIGUSR1 (10) to the main process; nothing reclaimed: why");
        let refused = answer(&unit, unable(), None);
        assert!(matches!(refused, Answer::Refused { why: Refused::Nothing, .. }), "{refused:?}");
    }
}
