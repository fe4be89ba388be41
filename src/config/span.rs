//! Time spans, sizes and signals as people write them in unit files.

use std::time::Duration;

use rustix::process::Signal;

/// Longest text that is looked at: nothing sensible is longer.
const TEXT_MAX: usize = 64;

/// systemd's units of time (systemd.time(7)), in microseconds. A month is 30.44 days, a year 365.25.
const UNITS: &[(&[&str], u64)] = &[
    (&["y", "year", "years"], 31_557_600_000_000),
    (&["M", "month", "months"], 2_629_800_000_000),
    (&["w", "week", "weeks"], 604_800_000_000),
    (&["d", "day", "days"], 86_400_000_000),
    (&["h", "hr", "hour", "hours"], 3_600_000_000),
    (&["min", "m", "minute", "minutes"], 60_000_000),
    (&["s", "sec", "second", "seconds"], 1_000_000),
    (&["ms", "msec"], 1_000),
    (&["us", "usec", "µs", "μs"], 1),
];

/// A time span in systemd's syntax: `30s`, `1h30min`, `2 min 200ms`; a number without a unit is seconds.
/// The error is a phrase that completes "found … (…)".
pub fn parse_span(text: &str) -> Result<Duration, String> {
    if text.len() > TEXT_MAX {
        return Err(format!("longer than {TEXT_MAX} characters"));
    }
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("it is empty".into());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let after = after.trim_start();
        let unit_end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        total += micros(number, unit)?;
        rest = after.trim_start();
    }
    let micros = u64::try_from(total).map_err(|_| "it is too long".to_string())?;
    Ok(Duration::from_micros(micros))
}

fn micros(number: &str, unit: &str) -> Result<u128, String> {
    let scale = match unit {
        "" => 1_000_000,
        _ => match UNITS.iter().find(|(names, _)| names.contains(&unit)) {
            Some((_, scale)) => *scale,
            None => return Err(format!("unknown unit {unit:?}; known are us, ms, s, min, h, d, w")),
        },
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || number.ends_with('.') || !(fraction.is_empty() || digits(fraction)) || number.len() > 18 {
        return Err("a number is expected before each unit".into());
    }
    let value = |text: &str| text.parse::<u128>().unwrap_or(0);
    let part = value(fraction) * u128::from(scale) / 10u128.pow(fraction.len() as u32);
    Ok(value(whole) * u128::from(scale) + part)
}

/// The shortest way to write a span that [`parse_span`] reads back: `1h30min`.
pub fn show_span(span: Duration) -> String {
    let mut left = span.as_micros() as u64;
    if left == 0 {
        return "0".into();
    }
    let mut text = String::new();
    // Days are the largest unit shown: weeks and months only make people calculate.
    for (names, scale) in UNITS.iter().filter(|(_, scale)| *scale <= 86_400_000_000) {
        if left / scale > 0 {
            text.push_str(&format!("{}{}", left / scale, names[0]));
            left %= scale;
        }
    }
    text
}

/// Size suffixes as unit files have them (`MemoryMax=512M`), to the base 1024.
const SIZES: &[(&str, u64)] = &[("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];

/// A size in bytes: `256M`, or a plain number of bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let suffix = SIZES.iter().find_map(|(suffix, scale)| Some((text.strip_suffix(suffix)?, *scale)));
    let (number, scale) = suffix.unwrap_or((text, 1));
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let number = digits.then(|| number.parse::<u64>().ok()).flatten();
    number.and_then(|number| number.checked_mul(scale)).ok_or_else(|| "a whole number with K, M, G or T".into())
}

pub fn show_size(bytes: u64) -> String {
    match SIZES.iter().find(|(_, scale)| bytes >= *scale && bytes.is_multiple_of(*scale)) {
        Some((suffix, scale)) => format!("{}{suffix}", bytes / scale),
        None => bytes.to_string(),
    }
}

const SIGNALS: &[(&str, Signal)] = &[
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("PIPE", Signal::PIPE),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("CONT", Signal::CONT),
    ("WINCH", Signal::WINCH),
    ("PWR", Signal::POWER),
];

/// First real-time signal for programs; glibc keeps 32 and 33 for itself.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// A signal that can ask a process for something: by name with or without `SIG`, `SIGRTMIN+3`, or a number.
pub fn parse_signal(text: &str) -> Result<i32, String> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let named = SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, signal)| signal.as_raw());
    let real_time = || name.strip_prefix("RTMIN+")?.parse::<i32>().ok().map(|n| RTMIN.saturating_add(n));
    match named.or_else(real_time).or_else(|| name.parse().ok()) {
        Some(number) => check_signal(number),
        None if matches!(name, "KILL" | "STOP") => Err(UNCATCHABLE.into()),
        None => Err("no such signal, or none that asks a process to finish".into()),
    }
}

const UNCATCHABLE: &str = "a process cannot catch it, so it cannot finish its work";

/// The same check for a signal given by its number.
pub fn check_signal(number: i32) -> Result<i32, String> {
    let known = SIGNALS.iter().any(|(_, signal)| signal.as_raw() == number);
    match number {
        _ if number == Signal::KILL.as_raw() || number == Signal::STOP.as_raw() => Err(UNCATCHABLE.into()),
        _ if known || (RTMIN..=RTMAX).contains(&number) => Ok(number),
        _ => Err("no such signal, or none that asks a process to finish".into()),
    }
}

pub fn show_signal(number: i32) -> String {
    match SIGNALS.iter().find(|(_, signal)| signal.as_raw() == number) {
        Some((name, _)) => format!("SIG{name}"),
        None if number >= RTMIN => format!("SIGRTMIN+{}", number - RTMIN),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_as_systemd_reads_them() {
        let table: &[(&str, u64)] = &[
            ("30", 30_000_000),
            ("30s", 30_000_000),
            ("5min", 300_000_000),
            ("5 m", 300_000_000),
            ("1h30min", 5_400_000_000),
            ("1h 30min", 5_400_000_000),
            ("2min 200ms", 120_200_000),
            ("1.5h", 5_400_000_000),
            ("0.25s", 250_000),
            ("1d", 86_400_000_000),
            ("1w", 604_800_000_000),
            ("1M", 2_629_800_000_000),
            ("1y", 31_557_600_000_000),
            ("40us", 40),
            ("0", 0),
        ];
        for (text, micros) in table {
            assert_eq!(parse_span(text), Ok(Duration::from_micros(*micros)), "{text}");
        }
        for bad in ["", " ", "s", "5x", "-5s", "1..5s", "1.s", ".5s", "infinity", "1e3s", "99999999999999999999"] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
        assert!(parse_span("999999999999999999y").is_err(), "too long for 64 bits of microseconds");
        assert!(parse_span(&"1s ".repeat(40)).is_err());
    }

    #[test]
    fn spans_are_read_back() {
        for (seconds, shown) in [(0, "0"), (1, "1s"), (90, "1min30s"), (5400, "1h30min"), (7_776_000, "90d")] {
            let span = Duration::from_secs(seconds);
            assert_eq!(show_span(span), shown);
            assert_eq!(parse_span(shown), Ok(span));
        }
        assert_eq!(show_span(Duration::from_micros(1_500_020)), "1s500ms20us");
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("4096", 4096), ("4K", 4096), ("256M", 256 << 20), ("2G", 2 << 30)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        assert_eq!(show_size(256 << 20), "256M");
        assert_eq!(show_size(0), "0");
        assert_eq!(show_size(1025), "1025");
        for bad in ["", "M", "1.5G", "-1", "256MB", "99999999999T"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn signals() {
        for (text, number) in [("SIGTERM", 15), ("TERM", 15), ("15", 15), ("USR1", 10), ("SIGRTMIN+3", 37)] {
            assert_eq!(parse_signal(text), Ok(number), "{text}");
        }
        assert_eq!(show_signal(15), "SIGTERM");
        assert_eq!(show_signal(37), "SIGRTMIN+3");
        for bad in ["", "SIGKILL", "KILL", "9", "19", "0", "65", "-1", "SIGFOO", "RTMIN+99"] {
            assert!(parse_signal(bad).is_err(), "{bad}");
        }
    }
}
