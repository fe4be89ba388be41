//! Small files that are there whole or not at all, and damaged ones that are put aside for people to look at.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::model::Wall;

/// Only our user writes, only our group reads: history names units and error texts.
const FILE_MODE: u32 = 0o640;
const DIR_MODE: u32 = 0o750;
/// Damaged copies of one file that are kept; each may be as large as the file was.
pub(super) const DAMAGED_KEPT: usize = 3;

/// Whether a file must survive a power cut, or only a crash of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sync {
    PowerCut,
    Crash,
}

/// Replaces `path` by `bytes`: a reader sees the old file or the new one, never a mixture.
pub(super) fn write_atomically(path: &Path, bytes: &[u8], sync: Sync) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let temporary = with_suffix(path, ".tmp");
    let written = write_new(&temporary, bytes, sync).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // Best effort: half a file must not take the room that the next try needs.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    match sync {
        Sync::PowerCut => File::open(dir)?.sync_all(),
        Sync::Crash => Ok(()),
    }
}

fn write_new(path: &Path, bytes: &[u8], sync: Sync) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    file.write_all(bytes)?;
    match sync {
        Sync::PowerCut => file.sync_all(),
        Sync::Crash => Ok(()),
    }
}

/// Reads a whole file of at most `limit` bytes; `None` where there is none.
pub(super) fn read_limited(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit} bytes")));
    }
    Ok(Some(bytes))
}

/// Creates the file empty with our mode when it is not there yet.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path).map(drop)
}

pub(super) fn create_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(path)
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Renames `path`, with the companions that have the given suffixes, to `….damaged-<time>`, and removes the
/// oldest such copies beyond [`DAMAGED_KEPT`]. Returns the new name.
pub(super) fn set_aside(path: &Path, companions: &[&str], now: Wall) -> io::Result<PathBuf> {
    let aside = free_name(path, now)?;
    for suffix in companions {
        match fs::rename(with_suffix(path, suffix), with_suffix(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, &aside)?;
    let copies = damaged_copies(path)?;
    for old in copies.iter().rev().skip(DAMAGED_KEPT) {
        fs::remove_file(old)?;
        for suffix in companions {
            let _ = fs::remove_file(with_suffix(old, suffix));
        }
    }
    Ok(aside)
}

/// The damaged copies of `path`, oldest first, without their companions.
pub(super) fn damaged_copies(path: &Path) -> io::Result<Vec<PathBuf>> {
    let prefix = with_suffix(path, ".damaged-");
    let prefix = prefix.file_name().unwrap_or_default().as_encoded_bytes();
    let mut copies = Vec::new();
    for entry in fs::read_dir(path.parent().ok_or(io::ErrorKind::InvalidInput)?)? {
        let name = entry?.path();
        let bytes = name.file_name().unwrap_or_default().as_encoded_bytes();
        // A companion has a second dash: `….damaged-20250102T030405Z-wal`.
        if bytes.strip_prefix(prefix).is_some_and(|rest| !rest.contains(&b'-')) {
            copies.push(name);
        }
    }
    copies.sort();
    Ok(copies)
}

/// Copies made within one second are told apart by a count, so that none is overwritten.
fn free_name(path: &Path, now: Wall) -> io::Result<PathBuf> {
    let stamp = jiff::Timestamp::from_microsecond(now.0).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ").to_string();
    for count in 0..=damaged_copies(path)?.len() {
        let suffix = if count == 0 { String::new() } else { format!(".{count:02}") };
        let name = with_suffix(path, &format!(".damaged-{stamp}{suffix}"));
        if !name.exists() {
            return Ok(name);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_atomically(&path, b"one", Sync::PowerCut).unwrap();
        write_atomically(&path, b"two", Sync::Crash).unwrap();
        assert_eq!(read_limited(&path, 3).unwrap().unwrap(), b"two");
        assert_eq!(read_limited(&path, 2).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read_limited(&dir.path().join("b"), 2).unwrap(), None);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn damaged_copies_are_bounded_and_keep_their_companions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        for round in 0..5 {
            fs::write(&path, [round]).unwrap();
            fs::write(with_suffix(&path, "-wal"), [round]).unwrap();
            // Rounds 0 and 1 fall into the same second.
            set_aside(&path, &["-wal", "-shm"], Wall((round as i64 / 2) * 1_000_000)).unwrap();
        }
        let copies = damaged_copies(&path).unwrap();
        let kept: Vec<u8> = copies.iter().map(|copy| fs::read(copy).unwrap()[0]).collect();
        assert_eq!(kept, [2, 3, 4]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 6);
        assert!(with_suffix(&copies[0], "-wal").exists());
    }
}
