//! One watched instance: its open files, and how a sample is read from them.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::pread;

use super::files::{Budget, Dir, Failure, Slot, open};
use super::limits::{LIMITS_FOR, Limits, Slices};
use super::open_files::{Counter, LOOKED_AT_MAX, Looks};
use super::parse;
use super::path::{CgroupPath, CgroupRoot};
use super::processes::{PROCESSES_MAX, Processes, each_below, has_children};
use super::stalls::{Seen, Stalls};
use crate::model::usage::OpenFiles;
use crate::model::{Mono, UnitName, Usage};

/// Largest file that is read, bytes: an `io.stat` of 500 devices. Of a longer one nothing is told.
const READ_MAX: usize = 64 * 1024;

/// What all instances share while they are read.
#[derive(Debug)]
pub(super) struct Shared {
    pub root: CgroupRoot,
    pub proc: OwnedFd,
    pub budget: Budget,
    pub slices: Slices,
    pub stalls: Stalls,
    open_files: Counter,
    buffer: Box<[u8]>,
    pids: Vec<u32>,
}

impl Shared {
    pub fn new(root: CgroupRoot, proc: OwnedFd, budget: Budget) -> Self {
        let buffer = vec![0; READ_MAX].into_boxed_slice();
        let open_files = Counter::new(proc.as_fd());
        Self {
            root,
            proc,
            open_files,
            budget,
            slices: Slices::default(),
            stalls: Stalls::default(),
            buffer,
            pids: Vec::with_capacity(PROCESSES_MAX),
        }
    }
}

/// The files of one cgroup, in the order in which they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum File {
    /// Every cgroup below the root has it, whatever controllers there are.
    CpuStat,
    CpuPressure,
    MemoryPressure,
    IoPressure,
    MemoryCurrent,
    MemoryStat,
    MemoryEvents,
    PidsCurrent,
    IoStat,
    Procs,
    Threads,
}

impl File {
    const ALL: [File; 11] = [
        File::CpuStat,
        File::CpuPressure,
        File::MemoryPressure,
        File::IoPressure,
        File::MemoryCurrent,
        File::MemoryStat,
        File::MemoryEvents,
        File::PidsCurrent,
        File::IoStat,
        File::Procs,
        File::Threads,
    ];

    fn name(self) -> &'static CStr {
        match self {
            File::CpuStat => c"cpu.stat",
            File::CpuPressure => c"cpu.pressure",
            File::MemoryPressure => c"memory.pressure",
            File::IoPressure => c"io.pressure",
            File::MemoryCurrent => c"memory.current",
            File::MemoryStat => c"memory.stat",
            File::MemoryEvents => c"memory.events",
            File::PidsCurrent => c"pids.current",
            File::IoStat => c"io.stat",
            File::Procs => c"cgroup.procs",
            File::Threads => c"cgroup.threads",
        }
    }

    /// The file that says the same at less cost, where its controller is there.
    fn better(self) -> Option<File> {
        match self {
            File::Procs => Some(File::MemoryCurrent),
            File::Threads => Some(File::PidsCurrent),
            _ => None,
        }
    }
}

/// The cgroup was removed while it was read.
struct Dead;

/// A file's number, `None` where it is missing; [`Dead`] where the cgroup is.
type Reading<T> = Result<Option<T>, Dead>;

/// What was counted without controllers, and the CPU time at which it was.
#[derive(Debug, Default)]
struct Counted {
    at_cpu_usec: Option<u64>,
    threads: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Instance {
    path: CgroupPath,
    /// Not sampled since it was last watched.
    pub fresh: bool,
    dir: Option<Dir>,
    files: [Slot; File::ALL.len()],
    processes: Processes,
    /// What the last sample counted without controllers.
    counted: Counted,
    pressure: Seen,
    open_files: Looks,
    limits: Limits,
    /// When limits were read and missing files looked for.
    looked: Option<Mono>,
}

impl Instance {
    /// The `number`th that is watched.
    pub fn new(path: CgroupPath, number: usize) -> Self {
        Self {
            path,
            open_files: Looks::new(number),
            fresh: true,
            dir: None,
            files: Default::default(),
            processes: Processes::default(),
            counted: Counted::default(),
            pressure: Seen::default(),
            limits: Limits::default(),
            looked: None,
        }
    }

    pub fn path(&self) -> &CgroupPath {
        &self.path
    }

    /// Watched again: its limits may have changed, and a first sample is wanted soon.
    pub fn renew(&mut self) {
        self.fresh = true;
        self.looked = None;
    }

    /// Reads one sample. A cgroup that was removed and made again under the same path is opened anew; one that
    /// is gone is a gap.
    pub fn sample(&mut self, unit: &UnitName, shared: &mut Shared, now: Mono) -> Usage {
        self.fresh = false;
        let mut usage = Usage::gap(unit.clone(), now);
        for _ in 0..2 {
            if !self.open(shared, now) {
                break;
            }
            let read = self.read(shared, &mut usage);
            if matches!(self.dir, Some(Dir::Fleeting(_))) {
                self.dir = None;
            }
            match read {
                Ok(()) => return usage,
                Err(Dead) => self.close(),
            }
        }
        Usage::gap(unit.clone(), now)
    }

    /// Opens what is not open. False where there is no such cgroup.
    fn open(&mut self, shared: &mut Shared, now: Mono) -> bool {
        let due = self.looked.is_none_or(|at| now.since(at) >= LIMITS_FOR);
        let unkept = self.files.iter().filter(|slot| matches!(slot, Slot::PerRead)).count();
        if due && unkept > 0 && shared.budget.room() > unkept {
            self.close();
        }
        let opening = self.dir.is_none();
        if opening {
            self.dir = Dir::open(&shared.budget, shared.root.as_fd(), self.path.as_str());
        }
        let Some(dir) = &self.dir else {
            self.close();
            return false;
        };
        if opening || due {
            open_missing(&mut self.files, dir.as_fd(), &shared.budget);
        }
        if due {
            self.limits = Limits::of(dir.as_fd()).lowest(shared.slices.above(&shared.root, &self.path, now));
            self.looked = Some(now);
            // A process that was moved in by hand and sleeps is found now at the latest.
            self.counted = Counted::default();
        }
        true
    }

    fn close(&mut self) {
        self.dir = None;
        self.files = Default::default();
        self.processes.clear();
        self.counted = Counted::default();
        self.pressure = Seen::default();
        self.open_files.last = None;
        self.looked = None;
    }

    fn read(&mut self, shared: &mut Shared, usage: &mut Usage) -> Result<(), Dead> {
        let Some(dir) = self.dir.as_ref() else { return Err(Dead) };
        // Before the instance's own files: see there.
        let above = shared.stalls.totals(&shared.root, &shared.budget, self.path.parent(), usage.at);
        let mut files =
            Files { slots: &self.files, dir: dir.as_fd(), budget: &shared.budget, buffer: &mut shared.buffer };
        usage.cpu_usec = files.cpu_usec()?;
        for (resource, (file, told)) in [
            (File::CpuPressure, &mut usage.cpu_pressure),
            (File::MemoryPressure, &mut usage.memory_pressure),
            (File::IoPressure, &mut usage.io_pressure),
        ]
        .into_iter()
        .enumerate()
        {
            *told = self.pressure.still(resource, &above);
            if told.is_none() {
                *told = files.value(file, parse::pressure)?;
                self.pressure.take(resource, &above, *told);
            }
        }
        usage.memory_bytes = files.value(File::MemoryCurrent, parse::number)?;
        let inactive = files.value(File::MemoryStat, |bytes| parse::keyed(bytes, b"inactive_file"))?;
        usage.memory_inactive_file_bytes = inactive;
        usage.oom_kills = files.value(File::MemoryEvents, |bytes| parse::keyed(bytes, b"oom_kill"))?;
        usage.tasks = files.value(File::PidsCurrent, parse::number)?;
        let io = files.whole(File::IoStat, parse::io_bytes)?;
        usage.io_read_bytes = io.map(|io| io.read);
        usage.io_written_bytes = io.map(|io| io.written);
        usage.cpu_quota = self.limits.cpus;
        usage.memory_max_bytes = self.limits.memory_max;
        usage.memory_high_bytes = self.limits.memory_high;
        usage.tasks_max = self.limits.tasks;
        self.count(shared, usage)?;
        if shared.open_files.is_able() && self.open_files.due(usage.at) {
            self.open_files.last = self.count_open_files(shared);
        }
        usage.open_files = self.open_files.last;
        Ok(())
    }

    /// Of the first processes, where there are more than are looked at.
    fn count_open_files(&self, shared: &mut Shared) -> Option<OpenFiles> {
        let dir = self.dir.as_ref()?.as_fd();
        shared.pids.clear();
        first_pids(&shared.budget, dir, &mut shared.buffer, &mut shared.pids)?;
        let Shared { open_files, proc, pids, buffer, .. } = shared;
        open_files.fullest(proc.as_fd(), pids, buffer)
    }

    /// Counts processes and threads where there is no controller that does.
    fn count(&mut self, shared: &mut Shared, usage: &mut Usage) -> Result<(), Dead> {
        let Some(dir) = self.dir.as_ref() else { return Err(Dead) };
        let mut files =
            Files { slots: &self.files, dir: dir.as_fd(), budget: &shared.budget, buffer: &mut shared.buffer };
        let by_processes = files.is_missing(File::MemoryCurrent);
        let by_threads = files.is_missing(File::PidsCurrent);
        if !by_processes && !by_threads {
            return Ok(());
        }
        // Nothing in it ran, so nothing in it began or ended.
        let idle = usage.cpu_usec.is_some() && usage.cpu_usec == self.counted.at_cpu_usec;
        if !idle {
            let nested = has_children(files.dir);
            let told = if by_processes { files.pids(nested, &mut shared.pids)? } else { None };
            let listed = told.map_or(&[][..], |()| &shared.pids);
            self.processes.follow(&shared.budget, shared.proc.as_fd(), listed);
            let threads = if by_threads { files.threads(nested)? } else { None };
            self.counted = Counted { at_cpu_usec: usage.cpu_usec, threads };
        }
        if by_threads {
            usage.tasks = self.counted.threads;
        }
        if by_processes {
            usage.memory_bytes = self.processes.resident(&shared.budget, shared.proc.as_fd());
        }
        Ok(())
    }
}

/// Reads the ids of at most [`LOOKED_AT_MAX`] processes, those of cgroups below included. `None` where there is no list.
fn first_pids(budget: &Budget, dir: BorrowedFd<'_>, buffer: &mut [u8], pids: &mut Vec<u32>) -> Option<()> {
    let list = open(budget, dir, File::Procs.name()).ok()?;
    let length = pread(&list, &mut *buffer, 0).ok()?;
    let whole = buffer[..length].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let told = parse::pids(&buffer[..whole], pids, LOOKED_AT_MAX);
    if told.is_some() && has_children(dir) {
        // What it says is that there are more than are looked at.
        let _ = each_below(dir, File::Procs.name(), buffer, &mut |bytes| parse::pids(bytes, pids, LOOKED_AT_MAX));
    }
    Some(())
}

fn open_missing(files: &mut [Slot; File::ALL.len()], dir: BorrowedFd<'_>, budget: &Budget) {
    for file in File::ALL {
        let instead = file.better().is_some_and(|better| !matches!(files[better as usize], Slot::Missing));
        if instead {
            files[file as usize] = Slot::Missing;
        } else if matches!(files[file as usize], Slot::Missing) {
            files[file as usize] = Slot::open(budget, dir, file.name());
        }
    }
}

/// The open files of one instance with the buffer that they are read into.
struct Files<'a> {
    slots: &'a [Slot; File::ALL.len()],
    dir: BorrowedFd<'a>,
    budget: &'a Budget,
    buffer: &'a mut [u8],
}

impl Files<'_> {
    fn is_missing(&self, file: File) -> bool {
        matches!(self.slots[file as usize], Slot::Missing)
    }

    /// Every cgroup has this file: without it there is no cgroup (any more).
    fn cpu_usec(&mut self) -> Reading<u64> {
        let read = self.slots[File::CpuStat as usize].read(self.budget, self.dir, File::CpuStat.name(), self.buffer);
        let length = read.map_err(|_| Dead)?;
        Ok(parse::keyed(&self.buffer[..length], b"usage_usec"))
    }

    fn value<T>(&mut self, file: File, parse: impl Fn(&[u8]) -> Option<T>) -> Reading<T> {
        let read = self.slots[file as usize].read(self.budget, self.dir, file.name(), self.buffer);
        Ok(some_or_dead(read)?.and_then(|length| parse(&self.buffer[..length])))
    }

    /// Like [`Files::value`], for a file whose end counts: one that fills the buffer is not told.
    fn whole<T>(&mut self, file: File, parse: impl Fn(&[u8]) -> Option<T>) -> Reading<T> {
        let full = self.buffer.len();
        self.value(file, |bytes| if bytes.len() < full { parse(bytes) } else { None })
    }

    fn list<T>(&mut self, file: File, parse: impl Fn(&[u8]) -> Option<T>) -> Reading<T> {
        let read = self.slots[file as usize].read_list(self.budget, self.dir, file.name(), self.buffer);
        Ok(some_or_dead(read)?.and_then(|length| parse(&self.buffer[..length])))
    }

    fn threads(&mut self, nested: bool) -> Reading<u64> {
        let mut count = self.list(File::Threads, parse::lines)?;
        if nested {
            let all = each_below(self.dir, File::Threads.name(), self.buffer, &mut |bytes| {
                count = Some(count?.checked_add(parse::lines(bytes)?)?);
                Some(())
            });
            count = all.and(count);
        }
        Ok(count)
    }

    /// The ids of all processes, in `pids`; `None` where they cannot be told.
    fn pids(&mut self, nested: bool, pids: &mut Vec<u32>) -> Reading<()> {
        pids.clear();
        let read = self.slots[File::Procs as usize].read_list(self.budget, self.dir, File::Procs.name(), self.buffer);
        let Some(length) = some_or_dead(read)? else { return Ok(None) };
        let mut told = parse::pids(&self.buffer[..length], pids, PROCESSES_MAX);
        if nested && told.is_some() {
            told = each_below(self.dir, File::Procs.name(), self.buffer, &mut |bytes| {
                parse::pids(bytes, pids, PROCESSES_MAX)
            });
        }
        Ok(told)
    }
}

fn some_or_dead(read: Result<usize, Failure>) -> Reading<usize> {
    match read {
        Ok(length) => Ok(Some(length)),
        Err(Failure::Missing) => Ok(None),
        Err(Failure::Dead) => Err(Dead),
    }
}
