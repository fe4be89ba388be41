//! What is printed, line by line, with one line at the foot that is always the present.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use unitmedic::views::look::Look;

/// Shared by the story's thread and the demo's.
pub struct Screen {
    pub look: Look,
    /// The foot as it stands on the terminal; none in a pipe.
    foot: Mutex<String>,
    with_foot: bool,
}

impl Screen {
    pub fn new(look: Look) -> Self {
        let with_foot = look.width.is_some() && look.colour;
        Self { look, foot: Mutex::new(String::new()), with_foot }
    }

    /// For where only whole lines are passed on.
    pub fn of_lines(look: Look) -> Self {
        Self { look, foot: Mutex::default(), with_foot: false }
    }

    pub fn has_foot(&self) -> bool {
        self.with_foot
    }

    pub fn line(&self, text: &str) {
        self.lines(&[text.to_owned()]);
    }

    pub fn lines(&self, lines: &[String]) {
        let foot = self.lock();
        let mut text = String::new();
        if !foot.is_empty() {
            text.push_str("\r\x1b[K");
        }
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str(&foot);
        put(&text);
    }

    /// Replaces the foot; it must fit on one line. Empty: takes it away.
    pub fn set_foot(&self, text: String) {
        if !self.with_foot {
            return;
        }
        let mut foot = self.lock();
        if *foot != text {
            put(&format!("\r\x1b[K{text}"));
            *foot = text;
        }
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.foot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader that has gone away is no reason to leave a host behind.
fn put(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
