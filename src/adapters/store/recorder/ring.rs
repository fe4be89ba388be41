//! The files of the ring: numbered segments, the oldest given up for the newest.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Chunk, FILES_MAX, Header, SEGMENTS};
use crate::adapters::store::files;

pub(super) struct Ring {
    dir: PathBuf,
    bytes_max: u64,
    /// What one segment should take.
    segment_bytes: u64,
    header: Option<Box<Header>>,
    segment: Option<Segment>,
}

struct Segment {
    file: File,
    bytes: u64,
    /// Lines after the header.
    lines: u64,
}

impl Ring {
    pub fn new(dir: PathBuf, bytes_max: u64) -> Self {
        Self { dir, bytes_max, segment_bytes: bytes_max / SEGMENTS, header: None, segment: None }
    }

    /// Writes the chunk, in a new segment where it asks for one or the present one is full. What is written is taken
    /// off `chunk.inputs`. After a failure nothing more is written into the present segment: its last line may be torn.
    pub fn write(&mut self, chunk: &mut Chunk) -> io::Result<()> {
        if let Some(header) = chunk.begin.take() {
            self.header = Some(header);
            self.segment = None;
        }
        let written = self.write_lines(chunk);
        if written.is_err() {
            self.go_on();
        }
        written
    }

    fn write_lines(&mut self, chunk: &mut Chunk) -> io::Result<()> {
        let mut lines = chunk.lines.as_slice();
        loop {
            let segment = match &mut self.segment {
                Some(segment) => segment,
                none => none.insert(Self::begin(&self.dir, self.bytes_max, self.header.as_deref_mut())?),
            };
            let fresh = segment.lines == 0;
            let fit = whole_lines(lines, self.segment_bytes.saturating_sub(segment.bytes), fresh);
            if fit.len() as u64 + segment.bytes > 2 * self.segment_bytes {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, "record_bytes is too small for these inputs"));
            }
            segment.file.write_all(fit)?;
            segment.bytes += fit.len() as u64;
            let count = fit.iter().filter(|byte| **byte == b'\n').count() as u64;
            segment.lines += count;
            chunk.inputs = chunk.inputs.saturating_sub(count);
            lines = &lines[fit.len()..];
            if lines.is_empty() {
                return Ok(());
            }
            self.go_on();
        }
    }

    /// The next line opens a new segment, with a header that says that something came before.
    fn go_on(&mut self) {
        self.segment = None;
        if let Some(header) = &mut self.header {
            header.continued = true;
            // It was the engine's state at the beginning, and not here.
            header.checkpoint = None;
        }
    }

    fn begin(dir: &Path, bytes_max: u64, header: Option<&mut Header>) -> io::Result<Segment> {
        files::create_dir(dir)?;
        let last = prune(dir, bytes_max)?;
        let path = dir.join(format!("{:06}.jsonl", last + 1));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)?;
        let mut line = Vec::new();
        if let Some(header) = header {
            serde_json::to_writer(&mut line, &HeaderLine { header })?;
            if line.len() as u64 > bytes_max / SEGMENTS / 2 && header.checkpoint.take().is_some() {
                // A ring so small is better used for inputs.
                line.clear();
                serde_json::to_writer(&mut line, &HeaderLine { header })?;
            }
            line.push(b'\n');
            file.write_all(&line)?;
        }
        Ok(Segment { file, bytes: line.len() as u64, lines: 0 })
    }
}

/// As many whole lines as fit into `room`; the first one in any case where the segment has none yet.
fn whole_lines(lines: &[u8], room: u64, fresh: bool) -> &[u8] {
    if lines.len() as u64 <= room {
        return lines;
    }
    let end_of_line = |byte: &u8| *byte == b'\n';
    let end = match lines[..room as usize].iter().rposition(end_of_line) {
        Some(end) => end + 1,
        None if fresh => lines.iter().position(end_of_line).map_or(lines.len(), |end| end + 1),
        None => 0,
    };
    &lines[..end]
}

/// Makes room for one more segment, which may take twice its share when a single line is that long. Returns the
/// highest number in use.
fn prune(dir: &Path, bytes_max: u64) -> io::Result<u64> {
    let mut segments = segments(dir)?;
    let last = segments.last().map_or(0, |(number, _)| *number);
    let mut total: u64 = segments.iter().map(|(_, path)| path.metadata().map_or(0, |it| it.len())).sum();
    let room = bytes_max - 2 * (bytes_max / SEGMENTS);
    while !segments.is_empty() && (total > room || segments.len() as u64 >= FILES_MAX) {
        let (_, oldest) = segments.remove(0);
        total = total.saturating_sub(oldest.metadata().map_or(0, |it| it.len()));
        fs::remove_file(oldest)?;
    }
    Ok(last)
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
