//! The files of the ring: numbered segments, the oldest given up for the newest.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Chunk, Header, SEGMENTS};
use crate::adapters::store::files;

pub(super) struct Ring {
    dir: PathBuf,
    bytes_max: u64,
    header: Option<Box<Header>>,
    segment: Option<Segment>,
}

struct Segment {
    file: File,
    bytes: u64,
}

impl Ring {
    pub fn new(dir: PathBuf, bytes_max: u64) -> Self {
        Self { dir, bytes_max, header: None, segment: None }
    }

    /// Writes the chunk, in a new segment where it asks for one or the present one is full. After a failure nothing
    /// more is written into the present segment: its last line may be torn.
    pub fn write(&mut self, chunk: &mut Chunk) -> io::Result<()> {
        if let Some(header) = chunk.begin.take() {
            self.header = Some(header);
            self.segment = None;
        }
        let written = self.write_lines(&chunk.lines);
        if written.is_err() {
            self.segment = None;
        }
        written
    }

    fn write_lines(&mut self, lines: &[u8]) -> io::Result<()> {
        let room = self.bytes_max / SEGMENTS;
        let full = |segment: &Segment| segment.bytes > 0 && segment.bytes + lines.len() as u64 > room;
        if self.segment.as_ref().is_none_or(full) {
            self.segment = None;
            self.segment = Some(self.begin()?);
            if let Some(header) = &mut self.header {
                header.continued = true;
            }
        }
        let Some(segment) = &mut self.segment else { return Ok(()) };
        // A chunk larger than a segment would break the bound of the whole ring.
        if segment.bytes + lines.len() as u64 > self.bytes_max / 2 {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "record_bytes is too small for these inputs"));
        }
        segment.file.write_all(lines)?;
        segment.bytes += lines.len() as u64;
        Ok(())
    }

    fn begin(&self) -> io::Result<Segment> {
        files::create_dir(&self.dir)?;
        let last = self.prune()?;
        let path = self.dir.join(format!("{:06}.jsonl", last + 1));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)?;
        let mut line = Vec::new();
        if let Some(header) = &self.header {
            serde_json::to_writer(&mut line, &HeaderLine { header })?;
            line.push(b'\n');
            file.write_all(&line)?;
        }
        Ok(Segment { file, bytes: line.len() as u64 })
    }

    /// Makes room for one more segment. Returns the highest number in use.
    fn prune(&self) -> io::Result<u64> {
        let mut segments = segments(&self.dir)?;
        let last = segments.last().map_or(0, |(number, _)| *number);
        let mut total: u64 = segments.iter().map(|(_, path)| path.metadata().map_or(0, |it| it.len())).sum();
        let room = self.bytes_max - self.bytes_max / SEGMENTS;
        while total > room || segments.len() as u64 >= SEGMENTS {
            if segments.is_empty() {
                break;
            }
            let (_, oldest) = segments.remove(0);
            total = total.saturating_sub(oldest.metadata().map_or(0, |it| it.len()));
            fs::remove_file(oldest)?;
        }
        Ok(last)
    }
}

#[derive(serde::Serialize)]
struct HeaderLine<'a> {
    header: &'a Header,
}

/// The segments of a ring with their numbers, oldest first.
pub(super) fn segments(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jsonl")?.parse().ok());
        found.extend(number.map(|number| (number, path)));
    }
    found.sort();
    Ok(found)
}
