//! Whether a socket belongs to the processes of a unit. Reads cgroupfs and /proc, and blocks for that.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::message::Socket;

/// Depth below the unit's cgroup; a delegated tree of containers has three or four levels.
const DEPTH_MAX: usize = 16;
/// Cgroups below one unit that are looked at.
const CGROUPS_MAX: usize = 4096;
/// Processes of one unit whose descriptors are looked at: the default of TasksMax= is 15 % of 32,768.
const PROCESSES_MAX: usize = 8192;
/// Descriptors of one process that are looked at.
const DESCRIPTORS_MAX: usize = 65_536;
/// The id of the root of all cgroups. A kernel before 5.14 gives it for every socket while net_cls or net_prio of
/// cgroup v1 are in use, so it says nothing of a socket's owner.
const ROOT_ID: u64 = 1;

/// Knows the sockets of one unit at one moment.
pub struct Owner {
    cgroups: Vec<PathBuf>,
    /// Inode numbers of the directories, which are the ids that the kernel gives with its sockets.
    ids: BTreeSet<u64>,
    /// Inodes of the sockets that the processes hold, where that had to be asked.
    held: Option<BTreeSet<u32>>,
    proc: PathBuf,
}

impl Owner {
    /// The unit whose cgroup is `directory`, with all cgroups below it.
    pub fn of(directory: &Path) -> io::Result<Self> {
        Self::with_proc(directory, Path::new("/proc"))
    }

    fn with_proc(directory: &Path, proc: &Path) -> io::Result<Self> {
        let mut owner = Self { cgroups: Vec::new(), ids: BTreeSet::new(), held: None, proc: proc.to_owned() };
        owner.add(directory, DEPTH_MAX)?;
        Ok(owner)
    }

    fn add(&mut self, directory: &Path, depth: usize) -> io::Result<()> {
        if depth == 0 || self.cgroups.len() >= CGROUPS_MAX {
            return Err(io::Error::other(format!("{} has too many cgroups below it", directory.display())));
        }
        self.ids.insert(fs::symlink_metadata(directory)?.ino());
        self.cgroups.push(directory.to_owned());
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                match self.add(&entry.path(), depth - 1) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    added => added?,
                }
            }
        }
        Ok(())
    }

    /// Whether one of the unit's processes made the socket and still holds it. One that is closed and only waits for
    /// its last packets is nobody's: before Linux 6.11 destroying it would leave it behind for ever.
    pub fn owns(&mut self, socket: &Socket) -> bool {
        match socket.cgroup {
            _ if socket.inode == 0 => false,
            Some(id) if id != ROOT_ID => self.ids.contains(&id),
            _ => self.held().contains(&socket.inode),
        }
    }

    /// Some process of the unit.
    pub fn process(&self) -> Option<u32> {
        self.cgroups.iter().find_map(|cgroup| processes(cgroup).into_iter().next())
    }

    fn held(&mut self) -> &BTreeSet<u32> {
        let (cgroups, proc) = (&self.cgroups, &self.proc);
        self.held.get_or_insert_with(|| {
            let mut held = BTreeSet::new();
            let mut left = PROCESSES_MAX;
            for cgroup in cgroups {
                let before = processes(cgroup);
                let of_each: Vec<(u32, BTreeSet<u32>)> =
                    before.into_iter().take(left).map(|pid| (pid, sockets_of(proc, pid))).collect();
                left -= of_each.len();
                // A number that another process has taken meanwhile is no longer in the list.
                let after = processes(cgroup);
                held.extend(of_each.into_iter().filter(|(pid, _)| after.contains(pid)).flat_map(|(_, held)| held));
            }
            held
        })
    }
}

/// Processes of the cgroup itself, without those of another PID namespace (shown as 0).
fn processes(cgroup: &Path) -> BTreeSet<u32> {
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|pid| pid.parse().ok()).filter(|pid| *pid != 0).collect()
}

fn sockets_of(proc: &Path, pid: u32) -> BTreeSet<u32> {
    let entries = fs::read_dir(proc.join(pid.to_string()).join("fd")).into_iter().flatten().take(DESCRIPTORS_MAX);
    let targets = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.filter_map(|target| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::message::tests::socket_to;
    use super::*;

    fn tree() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let unit = dir.path().join("cgroup/mail@1.service");
        fs::create_dir_all(unit.join("sub/deeper")).unwrap();
        fs::create_dir_all(dir.path().join("cgroup/mail@2.service")).unwrap();
        fs::write(unit.join("cgroup.procs"), "0\n").unwrap();
        fs::write(unit.join("sub/cgroup.procs"), "41\n").unwrap();
        fs::write(dir.path().join("cgroup/mail@2.service/cgroup.procs"), "42\n").unwrap();
        for (pid, target) in [("41", "socket:[1001]"), ("41", "pipe:[1002]"), ("42", "socket:[1003]")] {
            let fd = dir.path().join("proc").join(pid).join("fd");
            fs::create_dir_all(&fd).unwrap();
            symlink(target, fd.join(format!("{}", fs::read_dir(&fd).unwrap().count()))).unwrap();
        }
        (dir, unit)
    }

    #[test]
    fn a_socket_is_of_the_cgroup_and_those_below_it() {
        let (dir, unit) = tree();
        let mut owner = Owner::with_proc(&unit, &dir.path().join("proc")).unwrap();
        let id = |path: &str| fs::metadata(dir.path().join("cgroup").join(path)).unwrap().ino();
        let remote = "127.0.0.1:5672".parse().unwrap();
        for (cgroup, inode, expected) in [
            (Some(id("mail@1.service")), 1, true),
            (Some(id("mail@1.service/sub/deeper")), 1, true),
            (Some(id("mail@2.service")), 1, false),
            (Some(id("")), 1, false),
            // Nobody holds it any more.
            (Some(id("mail@1.service")), 0, false),
            // Its cgroup decides, even if a descriptor of it was handed to us.
            (Some(id("mail@2.service")), 1001, false),
        ] {
            assert_eq!(owner.owns(&socket_to(remote, inode, cgroup)), expected, "{cgroup:?} {inode}");
        }
        assert_eq!(owner.process(), Some(41));
    }

    #[test]
    fn without_a_cgroup_id_the_descriptors_tell() {
        let (dir, unit) = tree();
        let mut owner = Owner::with_proc(&unit, &dir.path().join("proc")).unwrap();
        let remote = "127.0.0.1:5672".parse().unwrap();
        for (cgroup, inode, expected) in [
            (None, 1001, true),
            (Some(ROOT_ID), 1001, true),
            (None, 1002, false),
            (None, 1003, false),
            (None, 0, false),
        ] {
            assert_eq!(owner.owns(&socket_to(remote, inode, cgroup)), expected, "{cgroup:?} {inode}");
        }
    }

    #[test]
    fn a_tree_too_deep_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("d/".repeat(DEPTH_MAX - 1))).unwrap();
        assert!(Owner::of(dir.path()).is_ok());
        fs::create_dir_all(dir.path().join("d/".repeat(DEPTH_MAX))).unwrap();
        assert!(Owner::of(dir.path()).is_err());
        assert!(Owner::of(&dir.path().join("gone")).is_err());
    }
}
