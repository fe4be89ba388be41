//! The root of another system than this machine's, for a host: built once, and kept.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::bounded::run_bounded;
use super::owner;
use super::place::Failure;

const BUILD: &str = include_str!("build-tree.sh");

/// It takes a quarter of a minute; a slow package server may need more.
const BUILD_LIMIT: Duration = Duration::from_secs(600);

/// A clean Debian of this suite below `cache`; built when this recipe has not been built before.
pub fn debian(cache: &Path, suite: &str) -> Result<PathBuf, Failure> {
    let mut hasher = DefaultHasher::new();
    BUILD.hash(&mut hasher);
    let name = format!("{suite}-{:016x}", hasher.finish());
    let tree = cache.join(&name);
    if tree.exists() {
        return Ok(tree);
    }
    fs::create_dir_all(cache)?;
    remove_older(cache, suite);
    let started = Instant::now();
    println!("building a Debian {suite}");
    // Built aside and renamed: a run that was stopped leaves no half of a tree behind. In a mount namespace of its own:
    // what it binds below the new root can then never be in the way of removing an unfinished one.
    let aside = cache.join(owner::new_name());
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", BUILD, "build-tree"]).arg(&aside).arg(suite);
    let built = run_bounded(command, "build-tree.sh", b"", BUILD_LIMIT).and_then(|output| output.success());
    if let Err(error) = built.and_then(|_| Ok(fs::rename(&aside, &tree)?)) {
        let _ = fs::remove_dir_all(&aside);
        // Another process may have been faster.
        if !tree.exists() {
            return Err(error);
        }
    }
    println!("built in {:.1} s", started.elapsed().as_secs_f64());
    Ok(tree)
}

/// Those of older recipes, and unfinished ones of processes that are gone.
fn remove_older(cache: &Path, suite: &str) {
    let entries = fs::read_dir(cache).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let older: Vec<String> = names.filter(|name| name.starts_with(&format!("{suite}-"))).collect();
    for name in older.into_iter().chain(owner::leftovers(cache)) {
        let _ = fs::remove_dir_all(cache.join(name));
    }
}
