//! The cgroup that a host runs in.
//!
//! Each host needs its own: systemd-nspawn puts the host into `payload` below the cgroup it was started in, so two
//! hosts started in one cgroup would be one tree to both systemds. It also makes the end certain: `cgroup.kill` ends
//! all of it, and nothing else, whatever happened to the process numbers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::owner;
use super::place::{Failure, wait_for};

const DEATH_LIMIT: Duration = Duration::from_secs(10);

pub struct Cgroup {
    directory: PathBuf,
}

impl Cgroup {
    pub fn create(name: &str) -> Result<Self, Failure> {
        let directory = unified_mount()?.join(name);
        let failed = |error: io::Error| Failure::new(format!("cannot make cgroup {}: {error}", directory.display()));
        fs::create_dir(&directory).map_err(failed)?;
        for controller in ["cpu", "io", "memory", "pids"] {
            // Those that the outer machine keeps on cgroup v1 are refused; the host then lives without them.
            let _ = fs::write(directory.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        // A cgroup with controllers for its children may hold no process itself: the guard gets one of its own.
        for part in ["guard", "host"] {
            fs::create_dir(directory.join(part)).map_err(failed)?;
        }
        Ok(Self { directory })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where systemd runs in the host. A command that joins it is inside the host's tree, and not a service.
    pub fn init_scope(&self) -> PathBuf {
        self.directory.join("host/payload/init.scope")
    }

    /// Kills what is left, and removes the cgroup.
    pub fn end(&self) -> Result<(), Failure> {
        end(&self.directory)
    }
}

/// Ends the hosts of processes that are gone.
pub fn sweep() {
    let Ok(mount) = unified_mount() else { return };
    for name in owner::leftovers(&mount) {
        if let Err(error) = end(&mount.join(name)) {
            eprintln!("leftover of an earlier run: {error}");
        }
    }
}

/// Where cgroup v2 is mounted, alone or beside v1.
pub fn unified_mount() -> Result<PathBuf, Failure> {
    mount_point(|kind, _| kind == "cgroup2").ok_or_else(|| "cgroup v2 is not mounted".into())
}

fn end(directory: &Path) -> Result<(), Failure> {
    fs::write(directory.join("cgroup.kill"), "1")
        .map_err(|error| Failure::new(format!("cannot kill {}: {error}", directory.display())))?;
    wait_for(&format!("{} empty", directory.display()), DEATH_LIMIT, || {
        let events = fs::read_to_string(directory.join("cgroup.events")).map_err(|e| e.to_string())?;
        if events.contains("populated 0") { Ok(()) } else { Err(events) }
    })?;
    // systemd-nspawn mirrors the tree in the hierarchy of the same name that a hybrid machine has.
    let twin = mount_point(|kind, options| kind == "cgroup" && options.contains("name=systemd"));
    for root in unified_mount().ok().into_iter().chain(twin) {
        if let Some(name) = directory.file_name() {
            remove_tree(&root.join(name));
        }
    }
    if directory.exists() {
        return Err(format!("cannot remove {}", directory.display()).into());
    }
    Ok(())
}

/// The files in a cgroup go with its directory, so only directories are removed, the deepest first.
fn remove_tree(directory: &Path) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        remove_tree(&entry.path());
    }
    let _ = fs::remove_dir(directory);
}

fn mount_point(wanted: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, point, kind, options, ..] = fields.as_slice() else {
            return None;
        };
        wanted(kind, options).then(|| PathBuf::from(point))
    })
}
