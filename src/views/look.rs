//! How text looks where it is shown: width, colour, signs, local time.
//!
//! Nothing here finds out what the terminal can do; the caller says so.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::model::{Health, Wall};

/// Narrowest width that text is wrapped to; below it, lines are cut by the terminal instead.
pub const WIDTH_MIN: usize = 40;

/// What the place where text is shown can do.
#[derive(Debug, Clone)]
pub struct Look {
    /// Columns; `None`: not a terminal, lines are as long as they are.
    pub width: Option<usize>,
    /// ANSI colours are understood and wanted.
    pub colour: bool,
    /// Signs outside of ASCII are understood.
    pub unicode: bool,
    pub zone: TimeZone,
}

/// The meaning of a line, shown as a sign and a colour together: neither alone carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It is well, or well again.
    Good,
    /// It needs attention.
    Bad,
    /// A complaint; nothing is broken.
    Warn,
    /// We do something.
    Act,
    /// We wait, on purpose.
    Wait,
    /// Neither good nor bad.
    Plain,
}

impl Tone {
    pub fn of(health: Health) -> Self {
        match health {
            Health::Healthy => Tone::Good,
            Health::Warning => Tone::Warn,
            Health::Critical | Health::Dead => Tone::Bad,
            Health::Stopped => Tone::Wait,
            Health::Unknown => Tone::Plain,
        }
    }

    fn ansi(self) -> &'static str {
        match self {
            Tone::Good => "\x1b[32m",
            Tone::Bad => "\x1b[1;31m",
            Tone::Warn => "\x1b[33m",
            Tone::Act => "\x1b[36m",
            Tone::Wait | Tone::Plain => "\x1b[2m",
        }
    }
}

impl Look {
    /// For pipes and files: no colour, no wrapping, ASCII, the given zone.
    pub fn plain(zone: TimeZone) -> Self {
        Self { width: None, colour: false, unicode: false, zone }
    }

    /// One column wide, whatever the tone.
    pub fn sign(&self, tone: Tone) -> &'static str {
        match (tone, self.unicode) {
            (Tone::Good, true) => "✔",
            (Tone::Bad, true) => "✖",
            (Tone::Warn, true) => "▲",
            (Tone::Act, true) => "●",
            (Tone::Wait, true) => "◌",
            (Tone::Plain, true) => "·",
            (Tone::Good, false) => "+",
            (Tone::Bad, false) => "x",
            (Tone::Warn, false) => "!",
            (Tone::Act, false) => "*",
            (Tone::Wait, false) => "o",
            (Tone::Plain, false) => "-",
        }
    }

    pub fn paint(&self, tone: Tone, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("{}{text}\x1b[0m", tone.ansi()) } else { text.to_owned() }
    }

    pub fn dim(&self, text: &str) -> String {
        self.paint(Tone::Plain, text)
    }

    pub fn bold(&self, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// `18:03:09.250`
    pub fn clock(&self, at: Wall) -> String {
        self.format(at, "%H:%M:%S%.3f")
    }

    /// `18:03:09` on the day of `now`, `Mon 18:03` within six days of it, else `2026-11-23 18:03`.
    pub fn moment(&self, at: Wall, now: Wall) -> String {
        let (Some(then), Some(today)) = (self.zoned(at), self.zoned(now)) else { return "?".into() };
        let near = today.checked_sub(6.days()).is_ok_and(|from| then >= from)
            && today.checked_add(6.days()).is_ok_and(|to| then <= to);
        match (then.date() == today.date(), near) {
            (true, _) => self.format(at, "%H:%M:%S"),
            (false, true) => self.format(at, "%a %H:%M"),
            (false, false) => self.format(at, "%Y-%m-%d %H:%M"),
        }
    }

    fn zoned(&self, at: Wall) -> Option<jiff::ZonedDateTime> {
        Timestamp::from_microsecond(at.0).ok().map(|at| at.to_zoned_datetime(self.zone.clone()))
    }

    fn format(&self, at: Wall, format: &str) -> String {
        self.zoned(at).map_or_else(|| "?".into(), |at| at.strftime(format).to_string())
    }
}

/// Text from outside (reasons, journal, unit states) without what a terminal would obey or a line would break on.
pub fn clean(text: &str) -> String {
    let replace = |c: char| match c {
        '\n' | '\t' => ' ',
        // C0 and C1 controls, and marks that turn the direction of writing around.
        c if c.is_control() => '\u{fffd}',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c => c,
    };
    text.chars().map(replace).collect()
}

/// Columns that the text takes on a terminal.
pub fn columns(text: &str) -> usize {
    text.chars().map(char_columns).sum()
}

/// Combining marks take no column, East Asian wide characters and emoji two. Not the whole of UAX #11, but what
/// unit names (ASCII) and operators' reasons contain.
fn char_columns(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f => 2,
        0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// The text in lines of at most `width` columns, broken at spaces where there are any.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let space = usize::from(!line.is_empty());
        if columns(&line) + space + columns(word) <= width {
            line.extend(std::iter::repeat_n(' ', space));
            line.push_str(word);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for c in word.chars() {
            if columns(&line) + char_columns(c) > width && !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    lines.push(line);
    lines
}

/// The text cut to `width` columns, with a mark where something is missing.
pub fn fit(text: &str, width: usize, unicode: bool) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mark = if unicode { "…" } else { "~" };
    let mut out = String::new();
    for c in text.chars() {
        if columns(&out) + char_columns(c) + 1 > width {
            break;
        }
        out.push(c);
    }
    out.push_str(mark);
    out
}

/// The text with spaces up to `width` columns.
pub fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

/// `640 KiB`, `12 MiB`, `1.5 GiB`
pub fn bytes(n: u64) -> String {
    const KIB: f64 = 1024.0;
    let n = n as f64;
    match n {
        n if n < KIB => format!("{n} B"),
        n if n < KIB * KIB => format!("{:.0} KiB", n / KIB),
        n if n < KIB * KIB * KIB => format!("{:.0} MiB", n / KIB / KIB),
        n if n < 10.0 * KIB * KIB * KIB => format!("{:.1} GiB", n / KIB / KIB / KIB),
        n => format!("{:.0} GiB", n / KIB / KIB / KIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_at_spaces_and_cuts_long_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("日本語 x", 4), ["日本", "語 x"]);
    }

    #[test]
    fn fits_by_columns() {
        assert_eq!(fit("mail@1.service", 8, true), "mail@1.…");
        assert_eq!(fit("mail@1.service", 8, false), "mail@1.~");
        assert_eq!(fit("mail", 4, true), "mail");
        assert_eq!(fit("日本語", 5, true), "日本…");
        assert_eq!(pad("日本", 6), "日本  ");
        assert_eq!(columns("e\u{301}"), 1);
    }

    #[test]
    fn outside_text_cannot_steer_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\nc\td\u{9b}\u{202e}"), "a\u{fffd}[2Jb c d\u{fffd}\u{fffd}");
    }

    #[test]
    fn moments() {
        let look = Look::plain(TimeZone::UTC);
        let day = 86_400_000_000;
        let now = Wall(1_795_458_000_123_456);
        assert_eq!(look.clock(now), "18:20:00.123");
        assert_eq!(look.moment(now, now), "18:20:00");
        assert_eq!(look.moment(Wall(now.0 - 2 * day), now), "Sat 18:20");
        assert_eq!(look.moment(Wall(now.0 - 30 * day), now), "2026-10-24 18:20");
        assert_eq!(look.moment(Wall(i64::MAX), now), "?");
    }
}
