//! One cgroup by an open directory: what is written goes to that cgroup, or nowhere once it is gone.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, fstat, openat};

use crate::adapters::cgroup::{CgroupPath, limit, number, pressure};

/// Longest file that is read here; pressure files have two lines.
const FILE_MAX: u64 = 1024;

#[derive(Debug)]
pub struct Cgroup {
    dir: OwnedFd,
    /// Another one under the same path has another.
    pub inode: u64,
}

impl Cgroup {
    pub fn open(root: &Path, path: &CgroupPath) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = openat(CWD, root.join(path.as_str()), flags, Mode::empty())?;
        let inode = fstat(&dir)?.st_ino;
        Ok(Self { dir, inode })
    }

    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let file = openat(&self.dir, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let mut bytes = Vec::new();
        File::from(file).take(FILE_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// In one call, as cgroup files want it. Never makes a file.
    pub fn write(&self, name: &str, value: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        File::from(openat(&self.dir, name, flags, Mode::empty())?).write_all(value.as_bytes())
    }

    pub fn has(&self, name: &str) -> bool {
        openat(&self.dir, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).is_ok()
    }

    /// `memory.current`, bytes.
    pub fn current(&self) -> io::Result<u64> {
        number(&self.read("memory.current")?).ok_or_else(|| io::Error::other("memory.current is no number"))
    }

    /// `memory.high` as it stands there: a number of bytes, or `max`.
    pub fn high(&self) -> io::Result<String> {
        let text = self.read("memory.high")?;
        let text = text.trim_ascii();
        if text != b"max" && number(text).is_none() {
            return Err(io::Error::other("memory.high is neither a number nor max"));
        }
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// How long tasks of the cgroup have waited for memory in all, microseconds; `None` where nobody counts it.
    pub fn stalled(&self) -> Option<u64> {
        pressure(&self.read("memory.pressure").ok()?).map(|pressure| pressure.total_usec)
    }
}

/// The lowest memory.max on the path, for the kernel enforces every level; `None`: no limit.
pub fn lowest_max(root: &Path, path: &CgroupPath) -> Option<u64> {
    let of = |path: &str| {
        let cgroup = Cgroup::open(root, &CgroupPath::parse(&format!("/{path}")).ok()?).ok()?;
        limit(&cgroup.read("memory.max").ok()?)
    };
    path.ancestors().chain([path.as_str()]).filter_map(of).min()
}
