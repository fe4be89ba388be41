//! What the terminal can do, and putting it into a state for a live view and back.

use std::env;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};

use jiff::tz::TimeZone;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::views::look::Look;

/// What standard output can show. `no_color` is the option of that name.
pub fn stdout_look(no_color: bool) -> Look {
    look(io::stdout(), no_color)
}

fn look(fd: impl AsFd + IsTerminal, no_color: bool) -> Look {
    let tty = fd.is_terminal();
    let set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
    Look {
        width: size(fd.as_fd()).map(|(columns, _)| columns).filter(|_| tty),
        colour: tty && !no_color && !set("NO_COLOR") && !dumb,
        unicode: is_utf8(|name| env::var(name).ok()),
        zone: TimeZone::system(),
    }
}

/// Columns and rows; `None` where there is no terminal or it does not know.
pub fn size(fd: BorrowedFd<'_>) -> Option<(usize, usize)> {
    let size = tcgetwinsize(fd).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// By the first of the variables that decide about characters (locale(7)).
fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let value = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| variable(name).filter(|v| !v.is_empty()));
    value.is_some_and(|value| {
        let value = value.to_ascii_lowercase();
        value.contains("utf-8") || value.contains("utf8")
    })
}

/// Standard input without line editing and echo, so that one key is enough; Ctrl-C still is a signal. Puts the
/// former state back when dropped.
#[derive(Debug)]
pub struct SingleKeys {
    before: Termios,
}

impl SingleKeys {
    /// `None`: standard input is not a terminal.
    pub fn new() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut mode = before.clone();
        mode.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        // A read returns with the first key.
        mode.special_codes[SpecialCodeIndex::VMIN] = 1;
        mode.special_codes[SpecialCodeIndex::VTIME] = 0;
        // Stopped by Ctrl-Z we would leave the terminal as it is: switched off.
        mode.special_codes[SpecialCodeIndex::VSUSP] = 0;
        tcsetattr(io::stdin(), OptionalActions::Now, &mode).ok()?;
        Some(Self { before })
    }
}

impl Drop for SingleKeys {
    fn drop(&mut self) {
        // The terminal may be gone: nothing to restore then.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf8_by_the_first_variable_that_is_set() {
        let with = |pairs: &[(&str, &str)]| {
            let pairs: Vec<(String, String)> = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            is_utf8(|name| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()))
        };
        assert!(with(&[("LANG", "de_DE.UTF-8")]));
        assert!(with(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8")]));
        assert!(!with(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]));
        assert!(!with(&[]));
    }
}
