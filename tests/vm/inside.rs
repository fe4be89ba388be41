//! In the machine: run the cases, say what came of them.

use std::fs;
use std::panic;
use std::time::{Duration, Instant};

use crate::cases::CASES;
use crate::testhost::{Failure, Here, Place, wait_for};
use crate::wire::Message;

/// Set in the environment of this program in the machine.
pub const MARK: &str = "UNITMEDIC_VM_INSIDE";

/// On the kernel's command line: only cases whose name contains this.
pub const FILTER: &str = "unitmedic.filter=";

const BOOT_LIMIT: Duration = Duration::from_secs(120);

pub fn run() {
    let filter = filter();
    match wait_until_up() {
        Ok(()) => tell(&Message::Up(uptime())),
        Err(error) => println!("the machine is not up: {error}"),
    }
    for (name, case) in CASES.iter().filter(|(name, _)| name.contains(&filter)) {
        tell(&Message::Begin((*name).to_owned()));
        let started = Instant::now();
        // The hook's own message goes out as plain text, with the place.
        let outcome = panic::catch_unwind(case).unwrap_or_else(|_| Err("panicked; see above".into()));
        let took = started.elapsed();
        tell(&match outcome {
            Ok(()) => Message::Passed((*name).to_owned(), took),
            Err(why) => Message::Failed((*name).to_owned(), took, why.to_string()),
        });
    }
    tell(&Message::End);
}

fn tell(message: &Message) {
    println!("{}", message.line());
}

fn wait_until_up() -> Result<(), Failure> {
    wait_for("systemd has started", BOOT_LIMIT, || {
        let output = Here.run_for(&["systemctl", "is-system-running", "--wait"], b"", BOOT_LIMIT)?;
        match output.stdout.trim() {
            "running" | "degraded" => Ok(()),
            state => Err(Failure::new(format!("{state} {}", output.stderr))),
        }
    })
}

fn uptime() -> Duration {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(0.0))
}

fn filter() -> String {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    line.split_whitespace().find_map(|word| word.strip_prefix(FILTER)).unwrap_or_default().to_owned()
}
