//! A bar on standard error while a long replay runs; nothing where nobody watches.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::app::replay::Progress;

/// A replay that is over sooner needs no bar.
const PATIENCE: Duration = Duration::from_millis(500);
/// Time between two pictures.
const EVERY: Duration = Duration::from_millis(100);
/// Columns of the bar itself.
const WIDTH: usize = 30;

pub struct Bar {
    next: Option<Instant>,
    begun: Instant,
    drawn: bool,
}

impl Bar {
    pub fn new(wanted: bool) -> Self {
        let begun = Instant::now();
        let watched = wanted && std::io::stderr().is_terminal();
        Self { next: watched.then(|| begun + PATIENCE), begun, drawn: false }
    }

    pub fn show(&mut self, progress: Progress) {
        let Some(next) = self.next else { return };
        let now = Instant::now();
        if now < next {
            return;
        }
        self.next = Some(now + EVERY);
        self.drawn = true;
        // A bar that cannot be drawn is not missed.
        let _ = write!(std::io::stderr(), "\r{}", picture(progress, now - self.begun));
    }

    pub fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// `replaying [######........]  40 %, 12 s left`
fn picture(progress: Progress, taken: Duration) -> String {
    let share = (progress.done as f64 / progress.total.max(1) as f64).clamp(0.0, 1.0);
    let full = (share * WIDTH as f64) as usize;
    let left = taken.mul_f64((1.0 - share) / share.max(0.001));
    format!(
        "replaying [{}{}] {:3.0} %, {} s left ",
        "#".repeat(full),
        ".".repeat(WIDTH - full),
        share * 100.0,
        left.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_grows_and_says_how_long() {
        let drawn = |done| picture(Progress { done, total: 200 }, Duration::from_secs(10));
        assert_eq!(drawn(50), format!("replaying [{}{}]  25 %, 30 s left ", "#".repeat(7), ".".repeat(23)));
        assert_eq!(drawn(200), format!("replaying [{}] 100 %, 0 s left ", "#".repeat(30)));
        // The daemon may have written more meanwhile.
        assert!(drawn(900).contains("100 %"));
    }
}
