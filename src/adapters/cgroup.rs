//! Resource readings of instances from cgroup files with kept file descriptors.
//!
//! One pread on a kept descriptor costs a tenth of open, read and close, and 1,000 instances have to fit into a
//! fraction of a percent of one core. Nothing here decides: a file that is not there is a missing reading, a
//! cgroup that is not there is a gap, and both are told as such. cgroup v2 only, also in the hybrid layout where
//! the controllers stayed on version 1; what they would count is then added up from the processes.

use std::collections::BTreeMap;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::pread;

use crate::model::{Mono, UnitName, Usage};

mod files;
mod instance;
mod limits;
mod open_files;
mod parse;
mod path;
mod processes;
mod stalls;
mod thread;

#[cfg(test)]
mod tests;

pub use files::raise_nofile;
pub use parse::{limit, number, pressure};
pub use path::{CgroupPath, CgroupRoot, PathError, RootError};
pub use thread::{SamplerGone, SamplerHandle, Sources, Stats, spawn};

use files::Budget;
use instance::{Instance, Shared};

/// Processes and threads of one control group, read at this moment; `None` where there is no such group, or no pids
/// controller that counts them.
pub fn tasks(root: &CgroupRoot, control_group: &str) -> Option<u64> {
    let path = CgroupPath::parse(control_group).ok()?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(root, format!("{}/pids.current", path.as_str()), flags, Mode::empty()).ok()?;
    let mut buffer = [0; 32];
    let length = pread(&file, &mut buffer, 0).ok()?;
    number(&buffer[..length])
}

/// Reads the usage of many instances.
#[derive(Debug)]
pub struct Sampler {
    instances: BTreeMap<UnitName, Instance>,
    /// Instances that have been watched so far.
    begun: usize,
    shared: Shared,
}

impl Sampler {
    /// Keeps as many descriptors open as the soft limit of the process allows; call [`raise_nofile`] before.
    pub fn new(root: CgroupRoot) -> std::io::Result<Self> {
        Self::with_budget(root, Budget::of_process())
    }

    fn with_budget(root: CgroupRoot, budget: Budget) -> std::io::Result<Self> {
        let shared = Shared::new(root, processes::open_proc()?, budget);
        Ok(Self { instances: BTreeMap::new(), begun: 0, shared })
    }

    /// Begins to watch `unit` in `control_group` (systemd's ControlGroup=, such as `/system.slice/mail.service`).
    /// Again for a unit that is watched: its path may be another one, and its limits are read anew.
    ///
    /// A path that could lead out of the tree is refused, and the unit is then not watched at all.
    pub fn watch(&mut self, unit: UnitName, control_group: &str) -> Result<(), PathError> {
        let path = CgroupPath::parse(control_group).inspect_err(|_| {
            self.instances.remove(&unit);
        })?;
        match self.instances.get_mut(&unit) {
            Some(instance) if *instance.path() == path => instance.renew(),
            _ => {
                self.instances.insert(unit, Instance::new(path, self.begun));
                self.begun += 1;
            }
        }
        Ok(())
    }

    /// Stops to watch `unit` and closes its files.
    pub fn forget(&mut self, unit: &UnitName) {
        self.instances.remove(unit);
    }

    /// Number of watched instances.
    pub fn watched(&self) -> usize {
        self.instances.len()
    }

    /// Number of descriptors that are kept open.
    pub fn kept_files(&self) -> usize {
        self.shared.budget.kept()
    }

    /// One sample of every watched instance, by name. An instance without a cgroup is a [`Usage::gap`].
    pub fn sample(&mut self, now: Mono) -> Vec<Usage> {
        let mut samples = Vec::with_capacity(self.instances.len());
        for (unit, instance) in &mut self.instances {
            samples.push(instance.sample(unit, &mut self.shared, now));
        }
        self.shared.slices.prune(now);
        self.shared.stalls.prune(now);
        samples
    }

    /// One sample of every instance that has had none since it was last watched.
    pub fn sample_fresh(&mut self, now: Mono) -> Vec<Usage> {
        let fresh = self.instances.iter_mut().filter(|(_, instance)| instance.fresh);
        fresh.map(|(unit, instance)| instance.sample(unit, &mut self.shared, now)).collect()
    }
}
