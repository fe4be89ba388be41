//! Totals of the host: memory, CPUs and load. Never a look at processes, which costs 39 us each.

use sysinfo::{CpuRefreshKind, MemoryRefreshKind, System};

use crate::model::HostUsage;

/// What the kernel calls this host.
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
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
    fn this_host_has_memory_and_cpus() {
        let usage = Host::new().read().unwrap();
        assert!(usage.memory_available_bytes > 0 && usage.memory_available_bytes <= usage.memory_total_bytes);
        assert!(usage.cpus as usize >= std::thread::available_parallelism().unwrap().get());
    }
}
