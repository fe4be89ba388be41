//! Workers of the cases: this program again, as the process of a unit. Each does one thing and then sleeps for good.
//!
//! A trigger is a file: what a worker does to harm itself it does only after somebody made that file, and it takes the
//! file away first. So it begins well, does its harm when the case is looking, and is well again once restarted.

use std::cell::Cell;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};
use unitmedic::helper::memory::Way;

use crate::cases::cleanup::{RUNTIME_DIR, TARGET, subject};
use crate::testhost::Failure;

/// The first argument of such a process.
pub const FLAG: &str = "--as-worker";

const PAGE: usize = 4096;
const MIB: usize = 1 << 20;
/// What `read-file` reads between two pauses.
const CHUNK: usize = 256 << 10;
const CHUNK_PAUSE: Duration = Duration::from_millis(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs one worker: the words after [`FLAG`].
pub fn run(words: &[String]) -> Result<(), Failure> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["hold-anon", size, trigger] => {
            wait_for_trigger(trigger);
            let held = hold(mebibytes(size)?);
            sleep_for_good(held)
        }
        ["alloc-forever", trigger] => {
            wait_for_trigger(trigger);
            let mut held = Vec::new();
            loop {
                held.push(black_box(hold(MIB)));
            }
        }
        ["read-file", path] => read_for_good(Path::new(path)),
        ["read-on", path, trigger] => loop {
            wait_for_trigger(trigger);
            std::io::copy(&mut File::open(path)?, &mut std::io::sink())?;
            fs::write(format!("{trigger}-done"), "")?;
        },
        ["time-box", unit] => cleaned_for_ever(unit),
        ["spin", trigger] => {
            wait_for_trigger(trigger);
            loop {
                black_box(0);
            }
        }
        ["spin-for", seconds] => {
            let end = Instant::now() + Duration::from_secs(seconds.parse()?);
            while Instant::now() < end {
                black_box(0);
            }
            sleep_for_good(())
        }
        ["write-and-read", path, size] => {
            write_and_read(Path::new(path), mebibytes(size)?)?;
            sleep_for_good(())
        }
        _ => Err(format!("no such worker: {words:?}").into()),
    }
}

fn wait_for_trigger(path: &str) {
    while fs::remove_file(path).is_err() {
        thread::sleep(LOOK_EVERY);
    }
}

/// Anonymous memory, every page of it in use.
fn hold(bytes: usize) -> Vec<u8> {
    let mut memory = vec![0; bytes];
    for page in memory.chunks_mut(PAGE) {
        page[0] = 1;
    }
    memory
}

fn sleep_for_good<T>(held: T) -> ! {
    loop {
        black_box(&held);
        thread::park();
    }
}

/// Over and over, a little at a time, as something that serves or scans files does.
fn read_for_good(path: &Path) -> Result<(), Failure> {
    let mut file = File::open(path)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        if file.read(&mut chunk)? == 0 {
            file.rewind()?;
        }
        thread::sleep(CHUNK_PAUSE);
    }
}

/// Both reach the disk: what was written is synced and dropped from the cache before it is read.
fn write_and_read(path: &Path, bytes: usize) -> Result<(), Failure> {
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    let chunk = vec![0x5a; MIB];
    for _ in 0..bytes / MIB {
        file.write_all(&chunk)?;
    }
    file.sync_all()?;
    fadvise(&file, 0, None, Advice::DontNeed).map_err(|error| Failure::new(error.to_string()))?;
    file.rewind()?;
    file.read_to_end(&mut Vec::with_capacity(bytes))?;
    Ok(())
}

/// The root side in the middle of a time box: it lowers memory.high and then never gets any further.
fn cleaned_for_ever(unit: &str) -> Result<(), Failure> {
    let steps = Cell::new(0);
    let go_on = || {
        steps.set(steps.get() + 1);
        if steps.get() == 3 {
            sleep_for_good(())
        }
        true
    };
    let cleaned = subject(unit)?.clean(TARGET, Path::new(RUNTIME_DIR), Way::TimeBox, &go_on);
    Err(format!("it came to an end: {cleaned:?}").into())
}

/// `57M`
fn mebibytes(text: &str) -> Result<usize, Failure> {
    Ok(text.trim_end_matches('M').parse::<usize>()? * MIB)
}
