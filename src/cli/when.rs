//! Spans and points in time, as people write them.

use std::time::Duration;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, ZonedDateTime};

use crate::model::Wall;

/// Longest span that is taken; more is a slip of the pen.
const SPAN_MAX: Duration = Duration::from_secs(3650 * 86_400);

/// `90s`, `5 min`, `1h 30min`, `2d`, `1w`; a bare number is seconds, as systemd has it.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a span: write it as 30s, 5min, 2h, 1h 30min or 7d");
    let mut rest = text.trim();
    let mut total = 0.0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        total += number * unit_seconds(&rest[..letters]).ok_or_else(wrong)?;
        rest = rest[letters..].trim_start();
    }
    let span = Duration::try_from_secs_f64(total).map_err(|_| wrong())?;
    match span {
        span if span.is_zero() => Err(format!("{text:?} is no time at all")),
        span if span > SPAN_MAX => Err(format!("{text:?} is longer than ten years")),
        span => Ok(span),
    }
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ms" | "msec" => 0.001,
        "" | "s" | "sec" | "second" | "seconds" => 1.0,
        "m" | "min" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86_400.0,
        "w" | "week" | "weeks" => 604_800.0,
        _ => return None,
    })
}

/// A point in the past: a span back from now, or a date.
pub fn since(text: &str, now: Wall, zone: &TimeZone) -> Result<Wall, String> {
    if let Ok(span) = parse_span(text) {
        return Ok(Wall(now.0.saturating_sub(span.as_micros() as i64)));
    }
    let at = point(text, zone).ok_or_else(|| {
        format!("{text:?} is neither a span (2h, 7d) nor a date (2026-11-23, 2026-11-23 18:30, an RFC 3339 time)")
    })?;
    if at.0 > now.0 { Err(format!("{text:?} is in the future")) } else { Ok(at) }
}

/// A point in the future: a date, or a time of day, which is tomorrow's when today's has passed.
pub fn until(text: &str, now: Wall, zone: &TimeZone) -> Result<Wall, String> {
    let at = match text.parse::<Time>() {
        Ok(time) => next(time, now, zone),
        Err(_) => point(text, zone),
    };
    let at = at.ok_or_else(|| {
        format!(
            "{text:?} is not a time: write it as 18:30, 2026-11-24 08:00, or an RFC 3339 time; a span goes with --for"
        )
    })?;
    if at.0 <= now.0 { Err(format!("{text:?} is in the past")) } else { Ok(at) }
}

fn next(time: Time, now: Wall, zone: &TimeZone) -> Option<Wall> {
    let today = Timestamp::from_microsecond(now.0).ok()?.to_zoned_datetime(zone.clone()).date();
    let on = |date: jiff::civil::Date| date.to_datetime(time).to_zoned_datetime(zone.clone()).ok().map(wall);
    on(today).filter(|at| at.0 > now.0).or_else(|| on(today.checked_add(1.day()).ok()?))
}

/// A bare date is its local midnight.
fn point(text: &str, zone: &TimeZone) -> Option<Wall> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(Wall(at.as_microsecond()));
    }
    text.parse::<DateTime>().ok()?.to_zoned_datetime(zone.clone()).ok().map(wall)
}

fn wall(at: ZonedDateTime) -> Wall {
    Wall(at.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (text, seconds) in [
            ("30", 30.0),
            ("30s", 30.0),
            ("500ms", 0.5),
            ("5 min", 300.0),
            ("1h 30min", 5400.0),
            ("1h30m", 5400.0),
            ("2d", 172_800.0),
            ("1.5h", 5400.0),
        ] {
            assert_eq!(parse_span(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for bad in ["", " ", "x", "5 parsecs", "-3s", "1.2.3s", "0", "11 years", "4000d", "s", "1e9s", "5ä"] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn points() {
        let now = Wall(1_795_458_000_000_000); // 2026-11-23 18:20:00 UTC
        let hour = 3_600_000_000;
        let zone = TimeZone::posix("XXX-1").unwrap(); // local 19:20
        assert_eq!(since("2h", now, &zone), Ok(Wall(now.0 - 2 * hour)));
        assert_eq!(since("2026-11-23 18:20", now, &zone), Ok(Wall(now.0 - hour)));
        assert_eq!(since("2026-11-23T18:20:00Z", now, &zone), Ok(now));
        assert_eq!(since("2026-11-23", now, &zone), Ok(Wall(now.0 - 19 * hour - hour / 3)));
        assert!(since("2027-01-01", now, &zone).is_err());
        assert!(since("soon", now, &zone).is_err());
        assert_eq!(until("20:20", now, &zone), Ok(Wall(now.0 + hour)));
        assert_eq!(until("18:20", now, &zone), Ok(Wall(now.0 + 23 * hour)));
        assert_eq!(until("2026-11-23 20:20", now, &zone), Ok(Wall(now.0 + hour)));
        assert!(until("2026-11-22", now, &zone).is_err());
        assert!(until("2h", now, &zone).is_err());
    }
}
