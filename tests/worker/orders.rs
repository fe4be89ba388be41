//! Orders to misbehave: files in a control directory, looked at ten times a second. Removing the file ends it.
//!
//! | file | content | what it does |
//! |---|---|---|
//! | `hang` | | the thread stops for as long as the file is there: no message, no beat, no signal |
//! | `leak` | MiB per second | memory grows, up to 1 GiB |
//! | `spin` | | a thread uses a CPU |
//! | `stop-acking` | | takes messages, handles and acknowledges none |
//! | `log-errors` | per minute | lines of priority err |
//! | `ignore-term` | | SIGTERM does nothing |
//! | `work-ms` | milliseconds | instead of `WORK_MS` |
//! | `no-beat` | | works on, without a sign of life |
//! | `slow-start` | seconds | until READY=1, instead of `START_S` |

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(100);
const MIB: usize = 1 << 20;
/// Enough for every test; a forgotten leak must not take the machine along.
const LEAK_MAX: usize = 1024;

/// Orders as they stand. Cloning gives another handle.
#[derive(Clone)]
pub struct Orders {
    directory: Option<PathBuf>,
    leaked: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Orders {
    pub fn from_env() -> Self {
        let directory = std::env::var_os("CONTROL").map(PathBuf::from);
        if let Some(directory) = &directory {
            let _ = fs::create_dir_all(directory);
        }
        Self { directory, leaked: Rc::default() }
    }

    pub fn given(&self, order: &str) -> bool {
        self.directory.as_ref().is_some_and(|directory| directory.join(order).exists())
    }

    /// The number in the order's file; an order without one is not given.
    pub fn number(&self, order: &str) -> Option<f64> {
        fs::read_to_string(self.directory.as_ref()?.join(order)).ok()?.trim().parse().ok()
    }

    pub fn free(&self) {
        self.leaked.borrow_mut().clear();
    }

    /// Carries out what is not the consumer's own business. Never returns.
    pub async fn obey(self) {
        let mut spinning: Option<Arc<AtomicBool>> = None;
        let mut last = Instant::now();
        let (mut leak_due, mut errors_due) = (0.0, 0.0);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            while self.given("hang") {
                // Blocks the only thread: that is the point.
                thread::sleep(LOOK_EVERY);
            }
            let passed = last.elapsed().as_secs_f64();
            last = Instant::now();
            leak_due += self.number("leak").unwrap_or_default() * passed;
            while leak_due >= 1.0 {
                leak_due -= 1.0;
                self.leak();
            }
            errors_due += self.number("log-errors").unwrap_or_default() / 60.0 * passed;
            while errors_due >= 1.0 {
                errors_due -= 1.0;
                eprintln!("<3>cannot reach the archive: connection timed out");
            }
            spin(&mut spinning, self.given("spin"));
        }
    }

    fn leak(&self) {
        let mut leaked = self.leaked.borrow_mut();
        if leaked.len() < LEAK_MAX {
            // Not zero: every page is really used.
            leaked.push(vec![1; MIB]);
        }
    }
}

fn spin(spinning: &mut Option<Arc<AtomicBool>>, wanted: bool) {
    match (&spinning, wanted) {
        (None, true) => {
            let go = Arc::new(AtomicBool::new(true));
            *spinning = Some(go.clone());
            thread::spawn(move || while go.load(Ordering::Relaxed) {});
        }
        (Some(go), false) => {
            go.store(false, Ordering::Relaxed);
            *spinning = None;
        }
        _ => {}
    }
}
