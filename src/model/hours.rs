//! Hours of the day, UTC.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::Wall;

const MINUTES_OF_DAY: u16 = 24 * 60;
const MICROS_OF_DAY: i64 = 86_400_000_000;
const MICROS_OF_MINUTE: i64 = 60_000_000;

/// From a minute of the day, and until another one, which may be of the next day. Never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hours {
    /// Minutes after midnight, below 1,440.
    from: u16,
    until: u16,
}

impl Hours {
    /// `02:00-05:00`, or over midnight `22:30-04:00`.
    pub fn parse(text: &str) -> Option<Hours> {
        let (from, until) = text.split_once('-')?;
        let hours = Hours { from: minute_of_day(from)?, until: minute_of_day(until)? };
        (hours.from != hours.until).then_some(hours)
    }

    /// How long until they begin; zero while they last.
    pub fn begin_in(&self, now: Wall) -> Duration {
        let of_day = now.0.rem_euclid(MICROS_OF_DAY);
        let (from, until) = (i64::from(self.from) * MICROS_OF_MINUTE, i64::from(self.until) * MICROS_OF_MINUTE);
        let begun = (of_day - from).rem_euclid(MICROS_OF_DAY);
        let last = (until - from).rem_euclid(MICROS_OF_DAY);
        let left = if begun < last { 0 } else { MICROS_OF_DAY - begun };
        Duration::from_micros(left as u64)
    }
}

fn minute_of_day(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    let of_day = hour * 60 + minute;
    (minute < 60 && of_day < MINUTES_OF_DAY).then_some(of_day)
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, until) = (self.from, self.until);
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, until / 60, until % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(hours: &str, hour: i64, minute: i64) -> u64 {
        let hours = Hours::parse(hours).unwrap();
        let day = 20_000 * MICROS_OF_DAY;
        hours.begin_in(Wall(day + (hour * 60 + minute) * MICROS_OF_MINUTE)).as_secs() / 60
    }

    #[test]
    fn they_begin_and_end_by_the_clock() {
        assert_eq!(left("02:00-05:00", 1, 0), 60);
        assert_eq!(left("02:00-05:00", 2, 0), 0);
        assert_eq!(left("02:00-05:00", 4, 59), 0);
        assert_eq!(left("02:00-05:00", 5, 0), 21 * 60);
    }

    #[test]
    fn they_may_go_over_midnight() {
        assert_eq!(left("22:30-04:00", 23, 0), 0);
        assert_eq!(left("22:30-04:00", 3, 59), 0);
        assert_eq!(left("22:30-04:00", 4, 0), 18 * 60 + 30);
        let before_1970 = Hours::parse("22:30-04:00").unwrap().begin_in(Wall(-MICROS_OF_MINUTE));
        assert_eq!(before_1970, Duration::ZERO, "23:59");
    }

    #[test]
    fn what_is_no_time_of_day_is_refused() {
        for bad in
            ["", "02:00", "2:00-05:00", "02:00-24:00", "02:60-05:00", "02:00-02:00", "+2:00-05:00", "02:00 - 05:00"]
        {
            assert_eq!(Hours::parse(bad), None, "{bad}");
        }
        assert_eq!(Hours::parse("02:00-05:30").unwrap().to_string(), "02:00-05:30");
    }
}
