//! Limits that hold for an instance: the lowest on its path, since the kernel enforces every level.

use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::pread;

use super::parse;
use super::path::{CgroupPath, CgroupRoot};
use crate::model::Mono;

/// Limits are read this seldom: an operator changes them by hand, and four files per instance and sample
/// would cost a third of the whole.
pub(super) const LIMITS_FOR: Duration = Duration::from_secs(60);
/// Longest limit file that is read, bytes: two numbers.
const LIMIT_FILE_MAX: usize = 64;

/// Limits of one level or of a whole path; `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Limits {
    pub cpus: Option<f64>,
    pub memory_max: Option<u64>,
    pub memory_high: Option<u64>,
    pub tasks: Option<u64>,
}

impl Limits {
    /// Those of the directory alone.
    pub fn of(dir: BorrowedFd<'_>) -> Self {
        Self {
            cpus: read(dir, c"cpu.max", parse::cpu_quota),
            memory_max: read(dir, c"memory.max", parse::limit),
            memory_high: read(dir, c"memory.high", parse::limit),
            tasks: read(dir, c"pids.max", parse::limit),
        }
    }

    pub fn lowest(self, other: Limits) -> Limits {
        Limits {
            cpus: lowest(self.cpus, other.cpus, f64::min),
            memory_max: lowest(self.memory_max, other.memory_max, u64::min),
            memory_high: lowest(self.memory_high, other.memory_high, u64::min),
            tasks: lowest(self.tasks, other.tasks, u64::min),
        }
    }
}

/// Limits of the slices, which many instances share; each is read once per [`LIMITS_FOR`].
#[derive(Debug, Default)]
pub(super) struct Slices {
    read: HashMap<Box<str>, (Mono, Limits)>,
    pruned: Mono,
}

impl Slices {
    /// The lowest limits of the directories above `path`.
    pub fn above(&mut self, root: &CgroupRoot, path: &CgroupPath, now: Mono) -> Limits {
        path.ancestors().fold(Limits::default(), |limits, slice| limits.lowest(self.limits_of(root, slice, now)))
    }

    fn limits_of(&mut self, root: &CgroupRoot, slice: &str, now: Mono) -> Limits {
        if let Some((at, limits)) = self.read.get(slice)
            && now.since(*at) < LIMITS_FOR / 2
        {
            return *limits;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let limits = match openat(root, slice, flags, Mode::empty()) {
            Ok(dir) => Limits::of(dir.as_fd()),
            Err(_) => Limits::default(),
        };
        self.read.insert(slice.into(), (now, limits));
        limits
    }

    /// Forgets slices that nobody asked for lately, so that the table follows the host.
    pub fn prune(&mut self, now: Mono) {
        if now.since(self.pruned) >= LIMITS_FOR {
            self.read.retain(|_, (at, _)| now.since(*at) < LIMITS_FOR * 2);
            self.pruned = now;
        }
    }
}

fn read<T>(dir: BorrowedFd<'_>, name: &CStr, parse: fn(&[u8]) -> Option<T>) -> Option<T> {
    let file = openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut buffer = [0; LIMIT_FILE_MAX];
    let length = pread(&file, &mut buffer, 0).ok()?;
    parse(buffer.get(..length)?)
}

fn lowest<T>(a: Option<T>, b: Option<T>, min: fn(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(min(a, b)),
        (one, other) => one.or(other),
    }
}
