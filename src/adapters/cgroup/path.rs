//! Where cgroup v2 is mounted, and paths below it that cannot lead out of it.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat, statfs};

/// Longest path below the root that is accepted, bytes: PATH_MAX of Linux.
const PATH_MAX: usize = 4096;
/// `f_type` of cgroup v2 in statfs(2) (CGROUP2_SUPER_MAGIC of linux/magic.h).
const CGROUP2_MAGIC: u64 = 0x6367_7270;
/// Where systemd mounts it: the unified and the hybrid layout.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// There is no cgroup v2 tree to read.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    #[error(
        "no cgroup v2 tree at /sys/fs/cgroup or /sys/fs/cgroup/unified; boot with systemd.unified_cgroup_hierarchy=1 \
         to have CPU, memory and pressure of the workers"
    )]
    NotMounted,
    #[error("cannot open {}: {source}", path.display())]
    Open { path: PathBuf, source: std::io::Error },
}

/// The top of the cgroup v2 tree.
#[derive(Debug)]
pub struct CgroupRoot {
    path: PathBuf,
    dir: OwnedFd,
}

impl CgroupRoot {
    /// Finds the tree where systemd mounts it: all of `/sys/fs/cgroup`, or its `unified` directory where the
    /// controllers are still on version 1.
    pub fn detect() -> Result<Self, RootError> {
        let is_v2 = |path: &&str| statfs(*path).is_ok_and(|fs| fs.f_type as u64 == CGROUP2_MAGIC);
        let mount = MOUNTS.into_iter().find(is_v2).ok_or(RootError::NotMounted)?;
        Self::at(Path::new(mount))
    }

    /// Takes the directory as it is, whatever file system it is on.
    pub fn at(path: &Path) -> Result<Self, RootError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(CWD, path, flags, Mode::empty()) {
            Ok(dir) => Ok(Self { path: path.into(), dir }),
            Err(error) => Err(RootError::Open { path: path.into(), source: error.into() }),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Controllers that the top offers on version 2; without `memory` the processes are added up instead.
    pub fn controllers(&self) -> Vec<String> {
        let names = fs::read_to_string(self.path.join("cgroup.controllers")).unwrap_or_default();
        names.split_ascii_whitespace().map(str::to_string).collect()
    }
}

impl AsFd for CgroupRoot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// A control group that is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("control group {path:?} {why}")]
pub struct PathError {
    path: String,
    why: &'static str,
}

/// A path below the root, without its leading slash: `system.slice/mail.service`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CgroupPath(Box<str>);

impl CgroupPath {
    /// Takes a ControlGroup= as systemd tells it. It comes over the bus, so it is not trusted to stay below
    /// the root.
    pub fn parse(control_group: &str) -> Result<Self, PathError> {
        let refuse = |why| Err(PathError { path: control_group.chars().take(200).collect(), why });
        if control_group.len() > PATH_MAX {
            return refuse("is longer than 4096 bytes");
        }
        let Some(relative) = control_group.strip_prefix('/') else {
            return refuse("does not begin with a slash");
        };
        if relative.is_empty() {
            return refuse("is the root of all");
        }
        if relative.contains('\0') || relative.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return refuse("has an empty part, a dot, two dots or a zero byte");
        }
        Ok(Self(relative.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory that it is in; empty for the root.
    pub fn parent(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(parent, _)| parent)
    }

    /// The directories above it, outermost first, without the root: no limits are set there.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(at, _)| &self.0[..at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        let path = CgroupPath::parse("/system.slice/system-mail.slice/mail@1.service").unwrap();
        assert_eq!(path.as_str(), "system.slice/system-mail.slice/mail@1.service");
        assert_eq!(path.ancestors().collect::<Vec<_>>(), ["system.slice", "system.slice/system-mail.slice"]);
        assert_eq!(path.parent(), "system.slice/system-mail.slice");
        assert_eq!(CgroupPath::parse("/init.scope").unwrap().parent(), "");
        assert_eq!(CgroupPath::parse("/init.scope").unwrap().ancestors().count(), 0);
        assert!(CgroupPath::parse("/a/..b/...").is_ok(), "dots within a name are a name");
        for bad in [
            "",
            "/",
            "//",
            "a",
            "a/b",
            "../a",
            "/..",
            "/a/..",
            "/a/../b",
            "/a/./b",
            "/a//b",
            "/a/",
            "/a\0b",
            &format!("/{}", "a".repeat(4096)),
        ] {
            assert!(CgroupPath::parse(bad).is_err(), "{bad:?}");
        }
    }
}
