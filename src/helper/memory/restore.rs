//! The memory.high that a cgroup had before we lowered it, kept on tmpfs until it stands there again.
//!
//! A record is written before the first change and removed after the last. One that is found later is of a process of
//! ours that was killed. Somebody else's value is never overwritten.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use super::group::Cgroup;
use crate::adapters::cgroup::CgroupPath;

/// Below the runtime directory, which is on tmpfs: neither a record nor a cgroup outlives the boot.
const DIRECTORY: &str = "restore";
const LOCK: &str = "lock";
const PREFIX: &str = "memory.high-";
/// Longest record: a path of 4 KiB and a dozen numbers.
const RECORD_MAX: u64 = 16 << 10;
/// Records that are read at once. There is one for each time box that was killed.
const RECORDS_MAX: usize = 1024;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The directory of records, for as long as it is ours alone. A kill frees it.
#[derive(Debug)]
pub struct Records {
    directory: PathBuf,
    _lock: File,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    path: String,
    inode: u64,
    original: String,
    /// Every value that we may have written, so that one of somebody else is known as such.
    ours: Vec<u64>,
}

impl Records {
    /// Waits up to `limit` for another time box to end.
    pub fn lock(runtime_dir: &Path, limit: Duration) -> io::Result<Self> {
        let directory = runtime_dir.join(DIRECTORY);
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // The runtime directory may belong to the daemon, and what a record says is done as root.
        let found = fs::symlink_metadata(&directory)?;
        if !found.is_dir() || found.uid() != geteuid().as_raw() || found.mode() & 0o022 != 0 {
            return Err(io::Error::other(format!("{} is not ours alone; remove it", directory.display())));
        }
        let mut options = File::options();
        let lock = options.write(true).create(true).truncate(false).mode(0o600).open(directory.join(LOCK))?;
        let deadline = Instant::now() + limit;
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { directory, _lock: lock }),
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => thread::sleep(LOCK_PAUSE),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Puts back what processes of ours left lowered when they were killed. Returns for how many cgroups.
    pub fn restore_leftovers(&self, root: &Path) -> io::Result<usize> {
        let mut restored = 0;
        for entry in fs::read_dir(&self.directory)?.take(RECORDS_MAX) {
            let file = entry?.path();
            if !file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX)) {
                continue;
            }
            match read(&file).and_then(|record| restore_by_path(root, &record)) {
                Ok(done) => restored += usize::from(done),
                // Kept: the value stands lowered, and the next start may have more luck.
                Err(error) if error.kind() != io::ErrorKind::InvalidData => {
                    tracing::error!(%error, record = %file.display(), "memory.high stays lowered for now");
                    continue;
                }
                Err(error) => tracing::error!(%error, record = %file.display(), "a record is damaged and removed"),
            }
            fs::remove_file(&file)?;
        }
        Ok(restored)
    }

    /// Writes down what is there, before it is changed to one value after the other of `ours`.
    pub fn keep<'a>(&'a self, path: &CgroupPath, cgroup: &'a Cgroup, ours: &[u64]) -> io::Result<Kept<'a>> {
        let original = cgroup.high()?;
        let record = Record { path: format!("/{}", path.as_str()), inode: cgroup.inode, original, ours: ours.into() };
        let file = self.directory.join(format!("{PREFIX}{}", cgroup.inode));
        let aside = self.directory.join("new");
        // The rename makes it whole or not there. Not synced: tmpfs has no disk behind it.
        fs::write(&aside, serde_json::to_vec(&record)?)?;
        fs::rename(&aside, &file)?;
        Ok(Kept { cgroup, record, file, _records: self })
    }
}

/// A cgroup whose memory.high may be changed while this lives. Dropping it, however that comes, puts it back.
#[derive(Debug)]
pub struct Kept<'a> {
    cgroup: &'a Cgroup,
    record: Record,
    file: PathBuf,
    _records: &'a Records,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        match restore(self.cgroup, &self.record) {
            Ok(_) => {
                let _ = fs::remove_file(&self.file);
            }
            Err(error) => {
                tracing::error!(%error, cgroup = self.record.path, "memory.high stays lowered until the next start");
            }
        }
    }
}

fn read(file: &Path) -> io::Result<Record> {
    let mut bytes = Vec::new();
    File::open(file)?.take(RECORD_MAX).read_to_end(&mut bytes)?;
    serde_json::from_slice(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// `false`: there was nothing to put back, for the cgroup is gone, or has a value that is not ours.
fn restore_by_path(root: &Path, record: &Record) -> io::Result<bool> {
    let path = CgroupPath::parse(&record.path).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    match Cgroup::open(root, &path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Ok(another) if another.inode != record.inode => Ok(false),
        cgroup => restore(&cgroup?, record),
    }
}

fn restore(cgroup: &Cgroup, record: &Record) -> io::Result<bool> {
    let restored = || {
        let now = cgroup.high()?;
        let ours = now.parse().is_ok_and(|now| record.ours.contains(&now));
        if ours {
            cgroup.write("memory.high", &record.original)?;
        }
        Ok(ours)
    };
    match restored() {
        // The cgroup went, and its limits with it.
        Err(error) if is_gone(&error) => Ok(false),
        other => other,
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error().map(Errno::from_raw_os_error).is_some_and(|errno| errno == Errno::NODEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    struct Host {
        dir: tempfile::TempDir,
    }

    impl Host {
        fn new(high: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("cgroup/a.slice/mail.service")).unwrap();
            fs::create_dir(dir.path().join("run")).unwrap();
            let host = Self { dir };
            host.set_high(high);
            host
        }
        fn root(&self) -> PathBuf {
            self.dir.path().join("cgroup")
        }
        fn run(&self) -> PathBuf {
            self.dir.path().join("run")
        }
        fn file(&self) -> PathBuf {
            self.root().join("a.slice/mail.service/memory.high")
        }
        fn set_high(&self, value: &str) {
            fs::write(self.file(), format!("{value}\n")).unwrap();
        }
        fn high(&self) -> String {
            fs::read_to_string(self.file()).unwrap().trim().into()
        }
        fn open(&self) -> (CgroupPath, Cgroup) {
            let path = CgroupPath::parse("/a.slice/mail.service").unwrap();
            let cgroup = Cgroup::open(&self.root(), &path).unwrap();
            (path, cgroup)
        }
        /// As a kill -9 leaves it: lowered, with its record.
        fn killed_in_the_middle(&self) {
            let (path, cgroup) = self.open();
            let records = Records::lock(&self.run(), SOON).unwrap();
            let kept = records.keep(&path, &cgroup, &[8192, 4096]).unwrap();
            cgroup.write("memory.high", "4096").unwrap();
            std::mem::forget(kept);
        }
        fn restore(&self) -> usize {
            Records::lock(&self.run(), SOON).unwrap().restore_leftovers(&self.root()).unwrap()
        }
        fn records(&self) -> usize {
            let names = fs::read_dir(self.run().join(DIRECTORY)).unwrap().map(|entry| entry.unwrap().file_name());
            names.filter(|name| name.to_string_lossy().starts_with(PREFIX)).count()
        }
    }

    #[test]
    fn what_was_lowered_is_put_back() {
        for original in ["max", "1048576"] {
            let host = Host::new(original);
            let (path, cgroup) = host.open();
            let records = Records::lock(&host.run(), SOON).unwrap();
            let kept = records.keep(&path, &cgroup, &[4096]).unwrap();
            assert_eq!(host.records(), 1, "written before anything is changed");
            cgroup.write("memory.high", "4096").unwrap();
            drop(kept);
            assert_eq!((host.high().as_str(), host.records()), (original, 0));
        }
    }

    #[test]
    fn what_a_kill_left_is_put_back_once() {
        let host = Host::new("max");
        host.killed_in_the_middle();
        assert_eq!((host.high().as_str(), host.records()), ("4096", 1));
        assert_eq!(host.restore(), 1);
        assert_eq!((host.high().as_str(), host.records()), ("max", 0));
        assert_eq!(host.restore(), 0);
    }

    #[test]
    fn a_value_of_somebody_else_stands() {
        let host = Host::new("max");
        host.killed_in_the_middle();
        host.set_high("12288");
        assert_eq!(host.restore(), 0);
        assert_eq!((host.high().as_str(), host.records()), ("12288", 0));
    }

    #[test]
    fn another_cgroup_under_the_same_path_is_not_touched() {
        let host = Host::new("max");
        host.killed_in_the_middle();
        let directory = host.root().join("a.slice/mail.service");
        fs::rename(&directory, host.root().join("old")).unwrap();
        fs::create_dir(&directory).unwrap();
        host.set_high("4096");
        assert_eq!(host.restore(), 0);
        assert_eq!((host.high().as_str(), host.records()), ("4096", 0));
        host.killed_in_the_middle();
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!((host.restore(), host.records()), (0, 0), "gone");
    }

    #[test]
    fn a_damaged_record_does_no_harm() {
        let host = Host::new("4096");
        drop(Records::lock(&host.run(), SOON).unwrap());
        let inode = host.open().1.inode;
        for text in [
            "",
            "{",
            "[]",
            &format!(r#"{{"path":"/../cgroup/a.slice/mail.service","inode":{inode},"original":"max","ours":[4096]}}"#),
            &format!(r#"{{"path":"a.slice/mail.service","inode":{inode},"original":"max","ours":[4096]}}"#),
        ] {
            fs::write(host.run().join(DIRECTORY).join("memory.high-1"), text).unwrap();
            assert_eq!((host.restore(), host.records()), (0, 0), "{text}");
            assert_eq!(host.high(), "4096", "{text}");
        }
    }

    #[test]
    fn one_time_box_at_a_time() {
        let host = Host::new("max");
        let first = Records::lock(&host.run(), SOON).unwrap();
        assert!(Records::lock(&host.run(), SOON).is_err());
        drop(first);
        assert!(Records::lock(&host.run(), SOON).is_ok());
    }

    #[test]
    fn a_directory_that_others_can_write_is_not_believed() {
        use std::os::unix::fs::PermissionsExt;
        let host = Host::new("max");
        host.killed_in_the_middle();
        let directory = host.run().join(DIRECTORY);
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
        let error = Records::lock(&host.run(), SOON).unwrap_err().to_string();
        assert!(error.contains("not ours alone"), "{error}");
    }
}
