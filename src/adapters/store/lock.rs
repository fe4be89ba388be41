//! One daemon per state directory: an flock on `<state_dir>/lock`, with the pid inside for people.
//!
//! The kernel drops the lock when the process ends, however it ends; the file itself stays and means nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::files;

/// Longest text read from a lock file; a pid has at most ten digits.
const PID_BYTES_MAX: u64 = 32;

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon runs on this state: end, exit code says so.
    #[error("{} is in use by another unitmedic{}; stop that one, or give this one a state_dir of its own", path.display(), pid_text(*pid))]
    Held { path: PathBuf, pid: Option<u32> },
    /// The lock could not even be tried: a missing right, or a read-only or full file system.
    #[error("cannot lock {}: {source}; check that the directory exists and belongs to the user that runs unitmedic", path.display())]
    Unavailable { path: PathBuf, source: io::Error },
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

/// Held as long as it lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Never waits. Creates the directory where it is missing.
    pub fn acquire(state_dir: &Path) -> Result<Lock, LockError> {
        let path = state_dir.join("lock");
        let unavailable = |source| LockError::Unavailable { path: path.clone(), source };
        files::create_dir(state_dir).map_err(unavailable)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(&path)
            .map_err(unavailable)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(LockError::Held { pid: read_pid(&mut file), path }),
            Err(errno) => return Err(unavailable(errno.into())),
        }
        // The lock is the flock; a disk too full for the pid must not keep protection from starting.
        let _ = write_pid(&mut file);
        Ok(Lock { _file: file })
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(PID_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_with_the_pid_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let first = Lock::acquire(&state).unwrap();
        let error = Lock::acquire(&state).unwrap_err();
        assert!(matches!(&error, LockError::Held { pid: Some(pid), .. } if *pid == std::process::id()), "{error}");
        assert!(error.to_string().contains(&format!("(pid {})", std::process::id())), "{error}");
        drop(first);
        Lock::acquire(&state).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = Lock::acquire(&file).unwrap_err();
        assert!(matches!(error, LockError::Unavailable { .. }), "{error}");
        assert!(error.to_string().contains("file/lock"), "{error}");
    }
}
