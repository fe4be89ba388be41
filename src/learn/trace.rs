//! Lines that belong together: the frames of a stack trace belong to the error, and the lines of a key or a certificate to
//! its heading; they are no messages of their own.

/// Lines that one trace may have; what comes after them stands for itself again.
const TRACE_MAX: u32 = 1_000;

const PYTHON: &str = "Traceback (most recent call last):";
/// Between two tracebacks of Python, and what Java and Rust say below their errors.
const BELOW: [&str; 6] = [
    "Caused by:",
    "Suppressed: ",
    "stack backtrace:",
    "note: run with `RUST_BACKTRACE",
    "During handling of the above exception",
    "The above exception was the direct cause",
];

/// Around keys and certificates, `-----BEGIN PRIVATE KEY-----`; their lines are nobody's business.
const ARMOUR_BEGINS: &str = "-----BEGIN ";
const ARMOUR_ENDS: &str = "-----END ";

/// What a line is to its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belongs {
    /// It is a message.
    ToItself,
    /// It goes on with the message before.
    Before,
    /// It leads to the message that comes: Python says last what is wrong.
    After,
}

/// Goes through the lines of one source in their order.
#[derive(Debug, Default)]
pub struct Traces {
    state: State,
    /// Lines that belonged to others since the last message.
    joined: u32,
    any: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum State {
    #[default]
    Outside,
    /// Below Python's heading; the first line that is not indented is the error.
    Python,
    /// Below Go's heading; an empty line ends it, or a line that is no frame.
    Go,
    /// Below the heading of a key or a certificate, until its end.
    Armour,
}

impl Traces {
    pub fn take(&mut self, line: &str) -> Belongs {
        let belongs = if self.joined >= TRACE_MAX { self.anew() } else { self.place(line) };
        match belongs {
            Belongs::ToItself => (self.joined, self.any) = (0, true),
            Belongs::Before | Belongs::After => self.joined += 1,
        }
        belongs
    }

    fn anew(&mut self) -> Belongs {
        self.state = State::Outside;
        Belongs::ToItself
    }

    fn place(&mut self, line: &str) -> Belongs {
        if self.state == State::Armour {
            if line.contains(ARMOUR_ENDS) {
                self.state = State::Outside;
            }
            return Belongs::Before;
        }
        if line.contains(ARMOUR_BEGINS) && !line.contains(ARMOUR_ENDS) {
            self.state = State::Armour;
            return Belongs::ToItself;
        }
        if line.starts_with(PYTHON) {
            self.state = State::Python;
            return Belongs::After;
        }
        let indented = line.starts_with([' ', '\t']);
        match self.state {
            State::Python if indented => return Belongs::After,
            State::Python => return self.anew(),
            State::Go if line.trim().is_empty() => {
                self.state = State::Outside;
                return Belongs::Before;
            }
            State::Go if indented || line.ends_with(')') || line.starts_with("created by ") => return Belongs::Before,
            State::Go | State::Armour | State::Outside => self.state = State::Outside,
        }
        if !self.any {
            return Belongs::ToItself;
        }
        if line.starts_with("goroutine ") && line.ends_with("]:") {
            self.state = State::Go;
            return Belongs::Before;
        }
        let below = BELOW.iter().any(|start| line.starts_with(start));
        match below || (indented && !line.trim().is_empty()) {
            true => Belongs::Before,
            false => Belongs::ToItself,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Belongs::{After, Before, ToItself};
    use super::*;

    fn placed(text: &str) -> Vec<Belongs> {
        let mut traces = Traces::default();
        text.lines().map(|line| traces.take(line)).collect()
    }

    #[test]
    fn java() {
        let text = "ERROR no such row\njava.sql.SQLException: gone\n\tat a.b.C.d(C.java:1)\nCaused by: x\n\t... 3 more\nINFO next";
        assert_eq!(placed(text), [ToItself, ToItself, Before, Before, Before, ToItself]);
    }

    #[test]
    fn python_says_last_what_is_wrong() {
        let text = "ERROR job failed\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\n    g()\nValueError: no\nINFO next";
        assert_eq!(placed(text), [ToItself, After, After, After, ToItself, ToItself]);
    }

    #[test]
    fn go() {
        let text = "panic: boom\n\ngoroutine 1 [running]:\nmain.main()\n\t/src/main.go:5 +0x1\nexit status 2";
        assert_eq!(placed(text), [ToItself, ToItself, Before, Before, Before, ToItself]);
    }

    #[test]
    fn rust() {
        let text = "thread 'main' panicked at src/main.rs:2:5:\nboom\nstack backtrace:\n   0: f\n             at ./a.rs:1\nnote: run with `RUST_BACKTRACE=1`";
        assert_eq!(placed(text), [ToItself, ToItself, Before, Before, Before, Before]);
    }

    #[test]
    fn a_key_belongs_to_its_heading() {
        let text = "cannot use this:\n-----BEGIN RSA PRIVATE KEY-----\nProc-Type: x\n\nMIIEpAIB\nhunter==\n-----END RSA PRIVATE KEY-----\nnext";
        assert_eq!(placed(text), [ToItself, ToItself, Before, Before, Before, Before, Before, ToItself]);
    }

    #[test]
    fn a_trace_without_end_is_cut() {
        let mut traces = Traces::default();
        traces.take("head");
        let alone = (0..5_000).filter(|_| traces.take("  frame") == ToItself).count();
        assert_eq!(alone, 5_000 / (TRACE_MAX as usize + 1));
    }

    #[test]
    fn the_first_line_has_nothing_before_it() {
        assert_eq!(placed("  indented"), [ToItself]);
        assert_eq!(placed("Caused by: x"), [ToItself]);
    }
}
