//! The lines that carry results out of the machine, one message a line. Other lines are what a case printed.

use std::time::Duration;

const MARK: &str = "@vm ";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// systemd has started everything; so long after the kernel began.
    Up(Duration),
    Begin(String),
    Passed(String, Duration),
    /// The name, the time, and why; the text may have many lines.
    Failed(String, Duration, String),
    End,
}

impl Message {
    pub fn line(&self) -> String {
        match self {
            Self::Up(took) => format!("{MARK}up {}", took.as_millis()),
            Self::Begin(name) => format!("{MARK}begin {name}"),
            Self::Passed(name, took) => format!("{MARK}passed {name} {}", took.as_millis()),
            Self::Failed(name, took, why) => {
                format!("{MARK}failed {name} {} {}", took.as_millis(), why.escape_default())
            }
            Self::End => format!("{MARK}end"),
        }
    }

    /// `None` for a line that is no message.
    pub fn parse(line: &str) -> Option<Self> {
        let (kind, rest) = match line.strip_prefix(MARK)?.split_once(' ') {
            Some(both) => both,
            None => return (line.strip_prefix(MARK)? == "end").then_some(Self::End),
        };
        match kind {
            "up" => Some(Self::Up(milliseconds(rest)?)),
            "begin" => Some(Self::Begin(rest.to_owned())),
            "passed" => {
                let (name, took) = rest.split_once(' ')?;
                Some(Self::Passed(name.to_owned(), milliseconds(took)?))
            }
            "failed" => {
                let mut parts = rest.splitn(3, ' ');
                let (name, took, why) = (parts.next()?, milliseconds(parts.next()?)?, parts.next()?);
                Some(Self::Failed(name.to_owned(), took, unescape(why)))
            }
            _ => None,
        }
    }
}

fn milliseconds(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_millis)
}

/// The inverse of `escape_default` for what people read: line ends, quotes and backslashes.
fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => plain.push('\n'),
                Some('t') => plain.push('\t'),
                Some('r') | None => {}
                Some('u') => plain.extend(unicode(&mut letters)),
                Some(other) => plain.push(other),
            },
            other => plain.push(other),
        }
    }
    plain
}

/// The rest of `\u{1f600}`.
fn unicode(letters: &mut std::str::Chars<'_>) -> Option<char> {
    let digits: String = letters.take_while(|letter| *letter != '}').filter(|letter| *letter != '{').collect();
    u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32)
}
