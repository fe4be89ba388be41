//! How many files the processes of an instance have open, and how many each may.
//!
//! The limit holds for each process, so what counts is the process that is nearest to its own. Since Linux 6.2 the size of
//! `/proc/PID/fd` is the number of open files, which may be asked without any right over the process; before, they would
//! have to be listed, which only root may. A process costs 10 us, most of it for its limits, so the looks are rare: for 10,000
//! instances of one process they take a fifth of a percent of one core.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags, openat, statat};
use rustix::io::{Errno, pread};

use super::parse;
use super::processes::path_of;
use crate::model::Mono;
use crate::model::usage::OpenFiles;

/// Between two looks at one instance.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Processes of one instance that are looked at, in the kernel's order, which begins with the oldest.
pub(super) const LOOKED_AT_MAX: usize = 64;

/// Counts the files of processes.
#[derive(Debug)]
pub(super) struct Counter {
    /// The kernel tells how many are open.
    able: bool,
    /// That it may not be asked has been told.
    told: bool,
}

impl Counter {
    /// This process has files open, so a size of zero means that the kernel does not count.
    pub fn new(proc: BorrowedFd<'_>) -> Self {
        let able = statat(proc, c"self/fd", AtFlags::empty()).is_ok_and(|stat| stat.st_size > 0);
        if !able {
            tracing::info!("open files of workers are not counted: that takes Linux 6.2 or later");
        }
        Self { able, told: false }
    }

    pub fn is_able(&self) -> bool {
        self.able
    }

    /// Of the process that is nearest to its limit; `None` where not one could be read, or none has a limit.
    pub fn fullest(&mut self, proc: BorrowedFd<'_>, pids: &[u32], buffer: &mut [u8]) -> Option<OpenFiles> {
        let all = pids.iter().take(LOOKED_AT_MAX).filter_map(|pid| self.of(proc, *pid, buffer));
        all.max_by(|a, b| a.share().total_cmp(&b.share()))
    }

    fn of(&mut self, proc: BorrowedFd<'_>, pid: u32, buffer: &mut [u8]) -> Option<OpenFiles> {
        let mut name = [0; 24];
        let stat = statat(proc, path_of(pid, "fd", &mut name), AtFlags::empty());
        let count = stat.inspect_err(|error| self.tell(pid, *error)).ok()?.st_size;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let limits = openat(proc, path_of(pid, "limits", &mut name), flags, Mode::empty()).ok()?;
        let length = pread(&limits, &mut *buffer, 0).ok()?;
        Some(OpenFiles { count: u64::try_from(count).ok()?, limit: parse::open_files_limit(&buffer[..length])? })
    }

    /// A process that has ended meanwhile is nothing to tell of.
    fn tell(&mut self, pid: u32, error: Errno) {
        if matches!(error, Errno::ACCESS | Errno::PERM) && !std::mem::replace(&mut self.told, true) {
            tracing::warn!(pid, %error, "open files of workers cannot be counted; is /proc mounted with hidepid?");
        }
    }
}

/// When one instance is looked at, and what was seen last.
#[derive(Debug)]
pub(super) struct Looks {
    /// After the first sample, so that instances that begin together are looked at one after the other.
    phase: Duration,
    next: Option<Mono>,
    pub last: Option<OpenFiles>,
}

impl Looks {
    /// Of the `number`th instance.
    pub fn new(number: usize) -> Self {
        Self { phase: Duration::from_secs(number as u64 % LOOK_EVERY.as_secs()), next: None, last: None }
    }

    /// True when it is time for a look, and then not for a while.
    pub fn due(&mut self, now: Mono) -> bool {
        let due = now >= *self.next.get_or_insert(now + self.phase);
        if due {
            self.next = Some(now + LOOK_EVERY);
        }
        due
    }
}
