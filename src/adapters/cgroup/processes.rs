//! Memory and tasks of a cgroup that has no controller for them: from its processes.

use std::ffi::CStr;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, fstat, openat};
use rustix::param::page_size;

use super::files::{Budget, Failure, Slot, read_to_end};
use super::parse;

/// Processes of one instance that are looked at; of more the memory is not told.
pub(super) const PROCESSES_MAX: usize = 512;
/// Cgroups below one instance that are looked at (Delegate=); of more nothing is told.
const CHILDREN_MAX: usize = 64;
/// Levels of them.
const DEPTH_MAX: usize = 8;
/// Seven numbers of at most twenty digits.
const STATM_MAX: usize = 160;

/// Kept descriptors of `/proc/PID/statm`. A kept one never follows a reused process id.
#[derive(Debug, Default)]
pub(super) struct Processes {
    known: Vec<(u32, Slot)>,
}

impl Processes {
    /// The processes are now `pids`.
    pub fn follow(&mut self, budget: &Budget, proc: BorrowedFd<'_>, pids: &[u32]) {
        for (place, pid) in pids.iter().enumerate() {
            self.bring(place, *pid, budget, proc);
        }
        self.known.truncate(pids.len());
    }

    /// Resident bytes of all of them, shared pages counted for each. `None` where not one could be read.
    pub fn resident(&mut self, budget: &Budget, proc: BorrowedFd<'_>) -> Option<u64> {
        let mut pages: Option<u64> = None;
        for (pid, slot) in &mut self.known {
            if let Some(more) = resident_pages(slot, budget, proc, *pid) {
                pages = Some(pages.unwrap_or(0).checked_add(more)?);
            }
        }
        pages?.checked_mul(page_size() as u64)
    }

    pub fn clear(&mut self) {
        self.known.clear();
    }

    /// Puts the descriptor of `pid` at `place`. The kernel's list keeps its order from sample to sample, so
    /// that it is nearly always there already. One that was found dead is opened anew: its id was used again.
    fn bring(&mut self, place: usize, pid: u32, budget: &Budget, proc: BorrowedFd<'_>) {
        let later = self.known.iter().skip(place).position(|(known, _)| *known == pid);
        let at = later.map_or(self.known.len(), |offset| place + offset);
        if at == self.known.len() {
            self.known.push((pid, Slot::Missing));
        }
        self.known.swap(place, at);
        let slot = &mut self.known[place].1;
        if matches!(slot, Slot::Missing) {
            *slot = Slot::open(budget, proc, path_of(pid, "statm", &mut [0; 24]));
        }
    }
}

fn resident_pages(slot: &mut Slot, budget: &Budget, proc: BorrowedFd<'_>, pid: u32) -> Option<u64> {
    let mut name = [0; 24];
    let mut buffer = [0; STATM_MAX];
    match slot.read(budget, proc, path_of(pid, "statm", &mut name), &mut buffer) {
        Ok(length) => parse::resident_pages(&buffer[..length]),
        Err(Failure::Dead) => {
            *slot = Slot::Missing;
            None
        }
        Err(Failure::Missing) => None,
    }
}

/// `PID/file` as a C string, without an allocation.
pub(super) fn path_of<'a>(pid: u32, file: &str, buffer: &'a mut [u8; 24]) -> &'a CStr {
    buffer.fill(0);
    let fits = write!(&mut buffer[..], "{pid}/{file}").is_ok();
    debug_assert!(fits, "ten digits and seven letters fit");
    CStr::from_bytes_until_nul(buffer).unwrap_or(c"0/none")
}

/// Opens `/proc`.
pub(super) fn open_proc() -> std::io::Result<OwnedFd> {
    Ok(openat(CWD, "/proc", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Whether the cgroup has cgroups below it: kernfs counts them as links, as every Unix file system used to.
pub(super) fn has_children(dir: BorrowedFd<'_>) -> bool {
    fstat(dir).is_ok_and(|stat| stat.st_nlink > 2)
}

/// Hands the contents of the file `name` of every cgroup below `dir` to `take`. `None` when there are too many,
/// when one cannot be read, or when `take` says so. A cgroup that goes away meanwhile is left out.
pub(super) fn each_below(
    dir: BorrowedFd<'_>,
    name: &CStr,
    buffer: &mut [u8],
    take: &mut dyn FnMut(&[u8]) -> Option<()>,
) -> Option<()> {
    let mut left = CHILDREN_MAX;
    below(dir, name, buffer, take, DEPTH_MAX, &mut left)
}

fn below(
    dir: BorrowedFd<'_>,
    name: &CStr,
    buffer: &mut [u8],
    take: &mut dyn FnMut(&[u8]) -> Option<()>,
    depth: usize,
    left: &mut usize,
) -> Option<()> {
    for entry in Dir::read_from(dir).ok()?.flatten() {
        if entry.file_type() != FileType::Directory || matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        *left = left.checked_sub(1)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(child) = openat(dir, entry.file_name(), flags, Mode::empty()) else { continue };
        let Ok(file) = openat(&child, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else { continue };
        match read_to_end(file.as_fd(), buffer) {
            Ok(length) => take(&buffer[..length])?,
            Err(Failure::Dead) => continue,
            Err(Failure::Missing) => return None,
        }
        below(child.as_fd(), name, buffer, take, depth.checked_sub(1)?, left)?;
    }
    Some(())
}
