//! Totals of the host: memory, CPUs and load, and the room on a disk. Never a look at processes, which costs 39 us each.

use std::path::Path;

use rustix::fs::statvfs;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, System};

use crate::model::HostUsage;
use crate::model::usage::DiskUsage;

/// What the kernel calls this host.
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The room on the file system that `path` is on. May wait for a disk that hangs.
pub fn disk(path: &Path) -> std::io::Result<DiskUsage> {
    let room = statvfs(path)?;
    Ok(DiskUsage {
        total_bytes: room.f_blocks.saturating_mul(room.f_frsize),
        available_bytes: room.f_bavail.saturating_mul(room.f_frsize),
        total_inodes: room.f_files,
        available_inodes: room.f_favail,
    })
}

/// Reads `/proc/meminfo` and the load; the number of CPUs is counted once, as it all but never changes.
#[derive(Debug)]
pub struct Host {
    /// `None` on an operating system that sysinfo does not know.
    system: Option<System>,
    cpus: u32,
}

impl Host {
    pub fn new() -> Self {
        let mut system = System::new().ok();
        let cpus = system.as_mut().map_or(0, |system| {
            system.refresh_cpu_list(CpuRefreshKind::nothing());
            system.cpus().len() as u32
        });
        Self { system, cpus }
    }

    /// The totals as they are now; `None` where one of them cannot be read (no `/proc`).
    pub fn read(&mut self) -> Option<HostUsage> {
        let system = self.system.as_mut()?;
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let load1 = System::load_average().ok()?.one;
        let usage = HostUsage {
            memory_total_bytes: system.total_memory(),
            memory_available_bytes: system.available_memory(),
            cpus: self.cpus,
            load1,
        };
        let whole = usage.memory_total_bytes > 0 && usage.cpus > 0 && load1.is_finite();
        whole.then_some(usage)
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_room_and_one_that_is_not_there_has_none() {
        let room = disk(Path::new("/proc/..")).unwrap();
        assert!(room.total_bytes > 0 && room.available_bytes <= room.total_bytes, "{room:?}");
        assert!(room.available_inodes <= room.total_inodes, "{room:?}");
        assert!(disk(Path::new("/nowhere/at/all")).is_err());
    }

    #[test]
    fn this_host_has_memory_and_cpus() {
        let usage = Host::new().read().unwrap();
        assert!(usage.memory_available_bytes > 0 && usage.memory_available_bytes <= usage.memory_total_bytes);
        assert!(usage.cpus as usize >= std::thread::available_parallelism().unwrap().get());
    }
}
