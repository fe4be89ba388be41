//! Where in the journal we are, kept over our restarts.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tokio::task::JoinHandle;
use tracing::warn;

use crate::model::Wall;

const FILE_NAME: &str = "journal.cursor";
/// Longest cursor that is taken; journald's have about 150 bytes.
const CURSOR_MAX: usize = 1024;

/// The file with the cursor. Its disk may hang; at most one write is under way and nobody waits for it.
pub struct Keeper {
    path: PathBuf,
    kept: Option<String>,
    writing: Option<JoinHandle<io::Result<()>>>,
    failed: bool,
}

impl Keeper {
    pub fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join(FILE_NAME), kept: None, writing: None, failed: false }
    }

    /// The cursor of our former life. One that cannot be read is none, and that is told.
    pub fn read(&mut self) -> Option<String> {
        let text = match read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(file = %self.path.display(), %error, "where reading of the journal ended cannot be read");
                return None;
            }
        };
        let cursor = text.trim_end();
        self.kept = (is_cursor(cursor)).then(|| cursor.to_owned());
        self.kept.clone()
    }

    /// Writes it, if it is another one and the last write is over. To be called after the counts were handed over: a crash
    /// between the two counts some errors twice, never none.
    pub async fn keep(&mut self, cursor: &str) {
        if let Some(writing) = self.writing.take_if(|writing| writing.is_finished()) {
            self.tell(writing.await.unwrap_or_else(|error| Err(io::Error::other(error))));
        }
        if self.writing.is_some() || self.kept.as_deref() == Some(cursor) || !is_cursor(cursor) {
            return;
        }
        self.kept = Some(cursor.to_owned());
        let (path, text) = (self.path.clone(), format!("{cursor}\n"));
        self.writing = Some(tokio::task::spawn_blocking(move || write(&path, &text)));
    }

    /// Once when it begins to fail, not every ten seconds.
    fn tell(&mut self, written: io::Result<()>) {
        match written {
            Ok(()) => self.failed = false,
            Err(error) => {
                if !self.failed {
                    warn!(file = %self.path.display(), %error, "where reading of the journal has got to cannot be kept");
                }
                self.failed = true;
                self.kept = None;
            }
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(2 * CURSOR_MAX as u64).read_to_string(&mut text)?;
    Ok(text)
}

/// Whole or not at all. It need not survive a power cut: the boot is then another one.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("cursor.tmp");
    fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path))
}

/// Made of what journald puts in one, so that it can be an argument.
fn is_cursor(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"=;-".contains(&b);
    !text.is_empty() && text.len() <= CURSOR_MAX && text.bytes().all(allowed) && text.starts_with("s=")
}

/// When its entry was written (`t=`, microseconds in hexadecimal).
pub fn time_of(cursor: &str) -> Option<Wall> {
    let time = cursor.split(';').find_map(|part| part.strip_prefix("t="))?;
    i64::from_str_radix(time, 16).ok().map(Wall)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURSOR: &str = "s=6a8b;i=5f;b=1d;m=4f2;t=60e9b5a1f0c80;x=9c";

    #[tokio::test]
    async fn a_cursor_is_kept_and_garbage_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::new(dir.path());
        assert_eq!(keeper.read(), None);
        keeper.keep(CURSOR).await;
        keeper.writing.take().unwrap().await.unwrap().unwrap();
        assert_eq!(Keeper::new(dir.path()).read().as_deref(), Some(CURSOR));
        keeper.keep(CURSOR).await;
        assert!(keeper.writing.is_none(), "it is there already");
        for bad in ["", "--rotate", "s=1\nrm", "x", &"s=1".repeat(CURSOR_MAX)] {
            fs::write(dir.path().join(FILE_NAME), bad).unwrap();
            assert_eq!(Keeper::new(dir.path()).read(), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_disk_that_refuses_is_tried_again() {
        let mut keeper = Keeper::new(Path::new("/proc/nowhere"));
        for _ in 0..2 {
            keeper.keep(CURSOR).await;
            while !keeper.writing.as_ref().unwrap().is_finished() {
                tokio::task::yield_now().await;
            }
        }
        keeper.keep("s=2").await;
        assert!(keeper.failed);
    }

    #[test]
    fn times() {
        assert_eq!(time_of(CURSOR), Some(Wall(0x60e9b5a1f0c80)));
        assert_eq!(time_of("s=1"), None);
        assert_eq!(time_of("s=1;t=x"), None);
    }
}
