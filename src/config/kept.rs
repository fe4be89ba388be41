//! Settings that follow their files without being told: for a process that checks orders against them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::errors::ConfigErrors;
use super::{Source, load};
use crate::model::Settings;

/// The settings as the files last had them in good order.
pub struct Kept {
    source: Source,
    seen: Vec<Mark>,
}

/// A file as it was when it was read: another one, or other content, has another mark.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    path: PathBuf,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Kept {
    pub fn new(source: Source) -> Self {
        Self { source, seen: Vec::new() }
    }

    /// New settings when the files have changed since the last call; `None` when they have not. Files with errors are
    /// told once.
    pub fn changed(&mut self) -> Option<Result<Settings, ConfigErrors>> {
        let now = self.marks();
        if now == self.seen {
            return None;
        }
        let loaded = load(&self.source);
        self.seen = now;
        Some(loaded)
    }

    fn marks(&self) -> Vec<Mark> {
        let fragments = self.source.fragments_dir.iter();
        // The directory's own times tell of files that came and went.
        let entries = fragments.clone().filter_map(|dir| fs::read_dir(dir).ok()).flatten();
        let inside = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        let mut paths: Vec<PathBuf> = inside.take(2 * super::FRAGMENTS_MAX).collect();
        paths.extend(fragments.cloned());
        paths.push(self.source.main.clone());
        paths.sort();
        paths.into_iter().filter_map(mark).collect()
    }
}

fn mark(path: PathBuf) -> Option<Mark> {
    let meta = fs::metadata(&path).ok()?;
    Some(Mark {
        inode: meta.ino(),
        size: meta.size(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;

    #[test]
    fn files_are_read_again_when_they_change() {
        let directory = tempfile::tempdir().unwrap();
        let main = directory.path().join("unitmedic.toml");
        let write = |text: &str| {
            // Another inode each time, as an editor does it: a clock too coarse for the test does not matter.
            fs::write(directory.path().join("new"), text).unwrap();
            fs::rename(directory.path().join("new"), &main).unwrap();
        };
        let mut kept = Kept::new(Source::new(Some(&main), Mode::System));
        let workers = |settings: Option<Result<Settings, ConfigErrors>>| {
            settings.map(|loaded| loaded.map(|settings| settings.workers.len()).map_err(|errors| errors.len()))
        };
        assert_eq!(workers(kept.changed()), None, "no file, nothing new");
        write("[worker.mail]\nunit = \"mail.service\"\n");
        assert_eq!(workers(kept.changed()), Some(Ok(1)));
        assert_eq!(workers(kept.changed()), None);
        write("[worker.mail]\nunit = 3\n");
        assert_eq!(workers(kept.changed()), Some(Err(1)));
        assert_eq!(workers(kept.changed()), None, "told once");
        write("");
        assert_eq!(workers(kept.changed()), Some(Ok(0)));
        fs::remove_file(&main).unwrap();
        assert_eq!(workers(kept.changed()), Some(Err(1)), "a file that went away has changed");
    }
}
