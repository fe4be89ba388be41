//! File descriptors that are kept between samples, within a budget, and reads that know a dead cgroup.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, pread};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are left to the rest of the daemon: senders of signs of life (16,384 are kept), connections, the
/// database, child processes.
const RESERVE: u64 = 17_000;
/// What is kept at most where there is no limit at all.
const KEPT_MAX: u64 = 1_000_000;
/// A list in a seq file ends when a read comes back short of a page by more than one entry. Pages are at
/// least this long.
const PAGE: usize = 4096;
/// Longest entry of such a list: ten digits and a newline, rounded up.
const ENTRY: usize = 32;

/// Raises the soft limit of open files to the hard one. Returns the limit now in force; `None`: no limit.
pub fn raise_nofile() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

/// How many descriptors may be kept. Shared by all that are.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    kept: AtomicUsize,
    limit: AtomicUsize,
    told: AtomicBool,
}

impl Budget {
    /// What the soft limit of this process leaves: half of it where it is too small for the reserve.
    pub fn of_process() -> Self {
        let soft = getrlimit(Resource::Nofile).current.unwrap_or(KEPT_MAX + RESERVE);
        let limit = soft.saturating_sub(RESERVE).max(soft / 2).min(KEPT_MAX);
        Self::of(limit as usize)
    }

    pub fn of(limit: usize) -> Self {
        Self(Arc::new(Shared {
            kept: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
            told: AtomicBool::new(false),
        }))
    }

    pub fn kept(&self) -> usize {
        self.0.kept.load(Relaxed)
    }

    /// How many more may be kept.
    pub fn room(&self) -> usize {
        self.0.limit.load(Relaxed).saturating_sub(self.kept())
    }

    fn keep(&self, fd: OwnedFd) -> Result<Kept, OwnedFd> {
        if self.room() == 0 {
            self.tell();
            return Err(fd);
        }
        self.0.kept.fetch_add(1, Relaxed);
        Ok(Kept { fd, budget: self.clone() })
    }

    /// The kernel refused one more: what is open now is all that there is for us.
    fn exhausted(&self) {
        self.0.limit.fetch_min(self.kept(), Relaxed);
        self.tell();
    }

    fn tell(&self) {
        if !self.0.told.swap(true, Relaxed) {
            tracing::warn!(
                kept = self.kept(),
                "too few open files are allowed to keep all cgroup files open, so some are opened for every sample, \
                 which costs more; raise LimitNOFILE= of unitmedic.service"
            );
        }
    }
}

/// A descriptor that counts against the budget until it is dropped.
#[derive(Debug)]
pub(super) struct Kept {
    fd: OwnedFd,
    budget: Budget,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.budget.0.kept.fetch_sub(1, Relaxed);
    }
}

impl AsFd for Kept {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Why there is nothing to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// No such file, not allowed, or not supported: the reading is missing.
    Missing,
    /// The cgroup (or process) behind the descriptor has been removed.
    Dead,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        match errno {
            // cgroupfs says the first of a removed cgroup, procfs the second of a process that has ended.
            Errno::NODEV | Errno::SRCH => Failure::Dead,
            _ => Failure::Missing,
        }
    }
}

/// One file, open or not.
#[derive(Debug, Default)]
pub(super) enum Slot {
    #[default]
    Missing,
    Kept(Kept),
    /// There is no room to keep it: opened, read and closed for every sample.
    PerRead,
}

impl Slot {
    pub fn open(budget: &Budget, dir: BorrowedFd<'_>, name: &CStr) -> Self {
        match open(budget, dir, name) {
            Ok(fd) => budget.keep(fd).map_or(Slot::PerRead, Slot::Kept),
            Err(Errno::MFILE | Errno::NFILE) => Slot::PerRead,
            Err(_) => Slot::Missing,
        }
    }

    /// Reads the beginning of the file, as much as `buffer` takes.
    pub fn read(&self, budget: &Budget, dir: BorrowedFd<'_>, name: &CStr, buffer: &mut [u8]) -> Result<usize, Failure> {
        match self {
            Slot::Missing => Err(Failure::Missing),
            Slot::Kept(kept) => Ok(pread(kept, buffer, 0)?),
            Slot::PerRead => Ok(pread(open(budget, dir, name)?, buffer, 0)?),
        }
    }

    /// Like [`Slot::read`], but never opens.
    pub fn read_kept(&self, buffer: &mut [u8]) -> Result<usize, Failure> {
        match self {
            Slot::Kept(kept) => Ok(pread(kept, buffer, 0)?),
            Slot::Missing | Slot::PerRead => Err(Failure::Missing),
        }
    }

    /// Reads a list of numbers to its end; `Missing` where it does not fit into `buffer`.
    pub fn read_list(
        &self,
        budget: &Budget,
        dir: BorrowedFd<'_>,
        name: &CStr,
        buffer: &mut [u8],
    ) -> Result<usize, Failure> {
        match self {
            Slot::Missing => Err(Failure::Missing),
            Slot::Kept(kept) => read_to_end(kept.as_fd(), buffer),
            Slot::PerRead => read_to_end(open(budget, dir, name)?.as_fd(), buffer),
        }
    }
}

/// Opens for reading; remembers when the kernel has no more descriptors for us.
pub(super) fn open(budget: &Budget, dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let opened = openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    if let Err(Errno::MFILE | Errno::NFILE) = opened {
        budget.exhausted();
    }
    opened
}

/// A directory as the starting point for opening files; kept where there is room.
#[derive(Debug)]
pub(super) enum Dir {
    Kept(Kept),
    Fleeting(OwnedFd),
}

impl Dir {
    pub fn open(budget: &Budget, above: BorrowedFd<'_>, path: &str) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(above, path, flags, Mode::empty()) {
            Ok(fd) => Some(budget.keep(fd).map_or_else(Dir::Fleeting, Dir::Kept)),
            Err(Errno::MFILE | Errno::NFILE) => {
                budget.exhausted();
                None
            }
            Err(_) => None,
        }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Dir::Kept(kept) => kept.as_fd(),
            Dir::Fleeting(fd) => fd.as_fd(),
        }
    }
}

pub(super) fn read_to_end(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Failure> {
    let mut length = 0;
    loop {
        let room = buffer.get_mut(length..).filter(|room| !room.is_empty()).ok_or(Failure::Missing)?;
        let room_length = room.len();
        let read = pread(fd, room, length as u64)?;
        length += read;
        if read == 0 || (read < PAGE - ENTRY && read < room_length) {
            return Ok(length);
        }
    }
}
