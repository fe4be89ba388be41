//! What the machine boots from: the base image, built once, and the drive with the programs, made for each run.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::testhost::{Failure, leftovers, new_name, run_bounded};

const BUILD: &str = include_str!("build-base.sh");

/// It takes half a minute; a slow package server may need more.
const BUILD_LIMIT: Duration = Duration::from_secs(600);
const PACK_LIMIT: Duration = Duration::from_secs(60);

/// The directory with `base.img`, `vmlinuz` and `initrd` below `cache`; built when this recipe has not been built
/// before.
pub fn base(cache: &Path) -> Result<PathBuf, Failure> {
    let directory = cache.join(format!("base-{:016x}", recipe_hash()));
    if directory.join("initrd").exists() {
        return Ok(directory);
    }
    check_tools(&["mmdebstrap", "mke2fs", "busybox", "cpio", "dpkg-deb", "chroot", "unshare"])?;
    if !rustix::process::geteuid().is_root() {
        return Err("building the base image needs root".into());
    }
    let started = Instant::now();
    println!("building the base image of the virtual machine");
    // Built aside and renamed: a run that was stopped leaves no half of a base behind.
    let aside = directory.with_extension(format!("new-{}", std::process::id()));
    fs::create_dir_all(&aside)?;
    // In a mount namespace of its own: what it binds below the new root (this machine's /dev among it) can then never
    // be in the way of removing an unfinished build.
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", BUILD, "build-base"]).arg(&aside);
    let built = run_bounded(command, "build-base.sh", b"", BUILD_LIMIT).and_then(|output| output.success());
    if let Err(error) = built.and_then(|_| Ok(fs::rename(&aside, &directory)?)) {
        let _ = fs::remove_dir_all(&aside);
        if !directory.join("initrd").exists() {
            return Err(error);
        }
    }
    println!("built in {:.1} s", started.elapsed().as_secs_f64());
    remove_older(cache, &directory);
    Ok(directory)
}

/// Each base takes a quarter of a gigabyte, and an older recipe's is of no more use.
fn remove_older(cache: &Path, current: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("base-") && !name.contains(".new-") && entry.path() != current {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A tar archive with `unitmedic`, the program under test, and this program, to be read as a drive.
pub fn programs(cache: &Path, unitmedic: &Path) -> Result<PathBuf, Failure> {
    check_tools(&["tar"])?;
    for name in leftovers(cache) {
        let _ = fs::remove_dir_all(cache.join(name));
    }
    let directory = cache.join(new_name());
    fs::create_dir_all(directory.join("usr/bin"))?;
    fs::create_dir_all(directory.join("opt"))?;
    copy(unitmedic, &directory.join("usr/bin/unitmedic"))?;
    copy(&env::current_exe()?, &directory.join("opt/unitmedic-cases"))?;
    let mut command = Command::new("tar");
    // Only the files: an entry for `usr/bin` would replace the mode of the directory there.
    command.args(["--create", "--file", "programs.tar", "--owner=0", "--group=0"]).current_dir(&directory);
    command.args(["usr/bin/unitmedic", "opt/unitmedic-cases"]);
    run_bounded(command, "tar", b"", PACK_LIMIT)?.success()?;
    Ok(directory)
}

pub fn check_tools(tools: &[&str]) -> Result<(), Failure> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = |tool: &str| env::split_paths(&path).any(|directory| directory.join(tool).is_file());
    let missing: Vec<&str> = tools.iter().copied().filter(|tool| !found(tool)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("not installed: {} (on Debian: `make setup`)", missing.join(", ")).into())
}

/// Debug symbols are most of a test build; the emulated machine would have to read them.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(to).arg(from);
    if !run_bounded(strip, "strip", b"", PACK_LIMIT).is_ok_and(|output| output.ok()) {
        fs::copy(from, to).map_err(|error| Failure::new(format!("{}: {error}", from.display())))?;
    }
    Ok(())
}

fn recipe_hash() -> u64 {
    let mut hasher = DefaultHasher::new();
    BUILD.hash(&mut hasher);
    hasher.finish()
}
