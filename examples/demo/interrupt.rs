//! Ctrl-C: what waits stops waiting, and everything is put away on the way out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::testhost::Failure;

static ASKED: AtomicBool = AtomicBool::new(false);

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Takes SIGINT, SIGTERM and SIGHUP from now on. A second one ends the program at once: hosts and machines end with
/// it, and what they leave is swept by the next run.
pub fn listen() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    thread::spawn(move || {
        runtime.block_on(async {
            let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
            let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else { return };
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                if ASKED.swap(true, Ordering::SeqCst) {
                    std::process::exit(130);
                }
            }
        });
    });
}

pub fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

pub fn check() -> Result<(), Failure> {
    if asked() { Err("stopped by a signal".into()) } else { Ok(()) }
}

/// Waits until `look` returns something; the failure names `what` when `limit` has passed.
pub fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T, Failure> {
    let deadline = Instant::now() + limit;
    loop {
        check()?;
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(Failure::new(format!("{what}: not within {} s", limit.as_secs())));
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Lets time pass; not a wait for anything.
pub fn linger(span: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + span;
    while Instant::now() < deadline {
        check()?;
        thread::sleep(LOOK_EVERY.min(span));
    }
    Ok(())
}
