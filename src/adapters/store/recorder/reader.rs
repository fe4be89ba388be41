//! Reading a ring back, oldest segment first.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::Deserialize;

use super::Header;
use super::older;
use super::ring::segments;
use crate::model::action::Order;
use crate::model::{Input, Now};

/// Longest line that is read. A snapshot of 10,000 units is about 10 MB.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// Bytes asked of the disk at once.
const READ_BYTES: usize = 256 << 10;

/// One line of a recording.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A segment begins. Where it is not `continued`, the engine began anew or was given new settings.
    Header(Box<Header>),
    Input {
        now: Now,
        input: Box<Input>,
    },
    /// Timers that were due were let act.
    Timers {
        now: Now,
    },
    /// An order that was given, after the input or the timers that led to it.
    Act {
        now: Now,
        order: Order,
    },
    /// So many inputs are missing here.
    Dropped(u64),
    /// So many whole files are missing here.
    Missing(u64),
    /// The file ends in the middle of a line, as a crash leaves it.
    Torn,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read {}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    /// A line that is not ours; the next one may be.
    #[error("{}:{line}: {why}", path.display())]
    Line { path: PathBuf, line: u64, why: String },
    /// A file that is passed over as a whole: it does not begin with a header that this version reads.
    #[error("{} is passed over: {why}", path.display())]
    Foreign { path: PathBuf, why: String },
}

#[derive(Deserialize)]
pub(super) struct Line {
    header: Option<Box<Header>>,
    now: Option<Now>,
    input: Option<Box<Input>>,
    timers: Option<bool>,
    act: Option<Order>,
    dropped: Option<u64>,
}

/// Reads every segment in `dir`, oldest first, a line at a time.
pub fn read(dir: &Path) -> Result<Records, ReadError> {
    let mut paths = segments(dir).map_err(|error| ReadError::Io { path: dir.into(), error })?;
    let total = paths.iter().map(|(_, path)| path.metadata().map_or(0, |it| it.len())).sum();
    paths.reverse();
    Ok(Records { paths, current: None, last: None, total, taken: 0 })
}

/// See [`read`].
pub struct Records {
    /// Newest first, so that the next one is at the end; with their numbers.
    paths: Vec<(u64, PathBuf)>,
    current: Option<Segment>,
    /// Number of the last one that was begun.
    last: Option<u64>,
    total: u64,
    taken: u64,
}

struct Segment {
    path: PathBuf,
    reader: BufReader<File>,
    line: u64,
    /// The line under way; kept, so that not every line needs memory of its own.
    bytes: Vec<u8>,
}

impl Records {
    /// Bytes of all files when the reading began.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes read so far; may grow past the total when somebody writes meanwhile.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Opens the next segment; `None` at the end. A number that is left out is a file that is missing.
    fn open_next(&mut self) -> Option<Result<Option<Entry>, ReadError>> {
        let (number, path) = self.paths.pop()?;
        let missing = self.last.replace(number).map_or(0, |last| number.saturating_sub(last + 1));
        match open_regular(&path) {
            Ok(file) => {
                let reader = BufReader::with_capacity(READ_BYTES, file);
                self.current = Some(Segment { path, reader, line: 0, bytes: Vec::new() });
            }
            // The ring went on while we read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.last = None,
            Err(error) => return Some(Err(ReadError::Io { path, error })),
        }
        Some(Ok((missing > 0).then_some(Entry::Missing(missing))))
    }
}

/// The directory is the daemon's, and who reads may be root: no link is followed, and nothing waits for a writer.
fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

impl Iterator for Records {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(segment) = &mut self.current else {
                match self.open_next()? {
                    Ok(None) => continue,
                    Ok(Some(entry)) => return Some(Ok(entry)),
                    Err(error) => return Some(Err(error)),
                }
            };
            let next = segment.next();
            self.taken += segment.bytes.len() as u64;
            match next {
                Ok(Some(entry)) => {
                    if entry == Entry::Torn {
                        self.current = None;
                    }
                    return Some(Ok(entry));
                }
                Ok(None) => self.current = None,
                Err(error @ ReadError::Line { .. }) => return Some(Err(error)),
                Err(error) => {
                    self.current = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Segment {
    fn next(&mut self) -> Result<Option<Entry>, ReadError> {
        self.bytes.clear();
        let io = |error| ReadError::Io { path: self.path.clone(), error };
        self.reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut self.bytes).map_err(io)?;
        self.line += 1;
        if self.bytes.last() != Some(&b'\n') {
            return match self.bytes.len() as u64 {
                0 => Ok(None),
                LINE_BYTES_MAX => Err(io(io::Error::new(io::ErrorKind::FileTooLarge, "a line without an end"))),
                _ => Ok(Some(Entry::Torn)),
            };
        }
        match self.parse() {
            Ok(entry) if self.line == 1 && !matches!(entry, Entry::Header(_)) => {
                Err(self.foreign("it does not begin with a header".into()))
            }
            Ok(entry) => Ok(Some(entry)),
            Err(why) if self.line == 1 => Err(self.foreign(why)),
            Err(why) => Err(ReadError::Line { path: self.path.clone(), line: self.line, why }),
        }
    }

    fn foreign(&self, why: String) -> ReadError {
        ReadError::Foreign { path: self.path.clone(), why }
    }

    fn parse(&self) -> Result<Entry, String> {
        let line = match serde_json::from_slice::<Line>(&self.bytes) {
            Ok(line) => line,
            Err(error) => older::completed(&self.bytes).ok_or(error.to_string())?,
        };
        match line {
            Line { header: Some(header), .. } if header.format > super::FORMAT => Err(format!(
                "recorded by unitmedic {} in format {}, and this version reads up to {}",
                header.version,
                header.format,
                super::FORMAT
            )),
            Line { header: Some(header), .. } => Ok(Entry::Header(header)),
            Line { now: Some(now), input: Some(input), .. } => Ok(Entry::Input { now, input }),
            Line { now: Some(now), timers: Some(_), .. } => Ok(Entry::Timers { now }),
            Line { now: Some(now), act: Some(order), .. } => Ok(Entry::Act { now, order }),
            Line { dropped: Some(count), .. } => Ok(Entry::Dropped(count)),
            _ => Err("neither a header nor an input".into()),
        }
    }
}
