//! Reading a ring back, oldest segment first.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Header;
use super::ring::segments;
use crate::model::{Input, Now};

/// Longest line that is read. A snapshot of 10,000 units is about 10 MB.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// One line of a recording.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A segment begins. Where it is not `continued`, the engine began anew or was given new settings.
    Header(Box<Header>),
    Input {
        now: Now,
        input: Box<Input>,
    },
    /// So many inputs are missing here.
    Dropped(u64),
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// A line that is not ours; the next one may be.
    #[error("{}:{line}: {why}", path.display())]
    Line { path: PathBuf, line: u64, why: String },
}

#[derive(Deserialize)]
struct Line {
    header: Option<Box<Header>>,
    now: Option<Now>,
    input: Option<Box<Input>>,
    dropped: Option<u64>,
}

/// Reads every segment in `dir`, oldest first. A torn last line of a segment, which a crash leaves, ends it quietly.
pub fn read(dir: &Path) -> Result<Records, ReadError> {
    let mut paths: Vec<PathBuf> = segments(dir)
        .map_err(|source| ReadError::Io { path: dir.into(), source })?
        .into_iter()
        .map(|(_, path)| path)
        .collect();
    paths.reverse();
    Ok(Records { paths, current: None })
}

/// See [`read`].
pub struct Records {
    /// Newest first, so that the next one is at the end.
    paths: Vec<PathBuf>,
    current: Option<Segment>,
}

struct Segment {
    path: PathBuf,
    reader: BufReader<File>,
    line: u64,
}

impl Iterator for Records {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(segment) = &mut self.current else {
                let path = self.paths.pop()?;
                match File::open(&path) {
                    Ok(file) => self.current = Some(Segment { path, reader: BufReader::new(file), line: 0 }),
                    // The ring went on while we read.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(source) => return Some(Err(ReadError::Io { path, source })),
                }
                continue;
            };
            match segment.next() {
                Ok(Some(entry)) => return Some(Ok(entry)),
                Ok(None) => self.current = None,
                Err(error @ ReadError::Io { .. }) => {
                    self.current = None;
                    return Some(Err(error));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Segment {
    fn next(&mut self) -> Result<Option<Entry>, ReadError> {
        let mut bytes = Vec::new();
        let io = |source| ReadError::Io { path: self.path.clone(), source };
        self.reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes).map_err(io)?;
        self.line += 1;
        if bytes.last() != Some(&b'\n') {
            return match bytes.len() as u64 == LINE_BYTES_MAX {
                true => Err(io(io::Error::new(io::ErrorKind::FileTooLarge, "a line without an end"))),
                false => Ok(None),
            };
        }
        self.parse(&bytes).map(Some)
    }

    fn parse(&self, bytes: &[u8]) -> Result<Entry, ReadError> {
        let wrong = |why: String| ReadError::Line { path: self.path.clone(), line: self.line, why };
        let line: Line = serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
        match line {
            Line { header: Some(header), .. } if header.format > super::FORMAT => {
                Err(wrong(format!("recorded in format {}, this version reads up to {}", header.format, super::FORMAT)))
            }
            Line { header: Some(header), .. } => Ok(Entry::Header(header)),
            Line { now: Some(now), input: Some(input), .. } => Ok(Entry::Input { now, input }),
            Line { dropped: Some(count), .. } => Ok(Entry::Dropped(count)),
            _ => Err(wrong("neither a header nor an input".into())),
        }
    }
}
