//! Names that say which process made a thing, so that a later run can tell leftovers from a neighbour's work.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

const PREFIX: &str = "unitmedic-test-";

/// A name for one more thing of this process, unique on this machine until it boots again.
pub fn new_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let pid = std::process::id();
    let started = start_time(pid).unwrap_or_else(|| "0".to_owned());
    format!("{PREFIX}{pid}-{started}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The names below `directory` that a process made which is gone.
pub fn leftovers(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| owner_is_gone(name)).collect()
}

/// The start time tells our owner from a process that got its number later.
fn owner_is_gone(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else {
        return false;
    };
    let mut parts = rest.split('-');
    let (Some(pid), Some(started)) = (parts.next(), parts.next()) else {
        return false;
    };
    match pid.parse() {
        Ok(pid) => start_time(pid).as_deref() != Some(started),
        Err(_) => false,
    }
}

/// When a process started, in clock ticks since boot: field 22 of `/proc/PID/stat`. The name before it may hold
/// spaces and parentheses, so the count begins after the last one.
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    Some(after_name.split_whitespace().nth(19)?.to_owned())
}
