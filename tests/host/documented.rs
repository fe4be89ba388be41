//! What the documents show, to be tried as it stands there.

use std::fs;
use std::path::Path;

use crate::testhost::Failure;

/// The block of `docs/PAGE` whose first line is `title`, with that line.
pub fn block(page: &str, title: &str) -> Result<String, Failure> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page))?;
    let fences: Vec<&str> = text.split("\n```").collect();
    let blocks = fences.iter().skip(1).step_by(2).filter_map(|fenced| fenced.split_once('\n'));
    let mut found = blocks.map(|(_, block)| block).filter(|block| block.lines().next() == Some(title));
    match (found.next(), found.next()) {
        (Some(block), None) => Ok(format!("{block}\n")),
        _ => Err(Failure::new(format!("docs/{page} has not one block that begins with {title}"))),
    }
}
