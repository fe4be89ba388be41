//! Where a resource is heading: the growth of one reading of one instance, and when it will cross a limit.
//!
//! A process that leaks keeps more after each cleaning than after the one before, so what counts are the *lows* of spans of
//! time, from minutes to hours ([`scale`]); a line through them must rise in nearly all pairs of spans, in all its parts, without
//! levelling off, and mostly over ground that was not held and lost before ([`line`]). That leaves out garbage collection
//! (its lows do not rise), caches that fill (they level off), jumps (one part has it all) and the rhythm of a day
//! (yesterday it was there, too); and all that has to hold for a while, because two of these together can look like growth for
//! some minutes. A forecast never looks further ahead than the growth has been seen.
//!
//! Missing data is a gap, and no forecast comes from it.

mod line;
mod passage;
mod scale;

use std::time::Duration;

use crate::model::Mono;
use crate::model::time::human;

use line::{Line, pace};
use passage::passage;
use scale::{BUCKETS, Scale};

/// Width of the finest buckets, seconds. Each further scale is twice as wide.
const FINEST: u32 = 300;
/// 5 minutes to 5 h 20 min; with 16 buckets each that is 80 minutes to three and a half days.
const SCALES: usize = 7;
/// Readings of which the middle one counts: one that lies outside is none.
const SMOOTHED: usize = 5;
/// A reading that is older says nothing of now.
const FRESH: f64 = 600.0;
/// How far ahead a forecast looks at most, as a share of the time for which the growth has been seen.
const REACH: f64 = 1.0;
/// The same where it has grown like that in former lives.
const REACH_KNOWN: f64 = 3.0;
/// What goes up and down by itself, more than this share of the rise, is not told further ahead than this, seconds: it may be a
/// day's rhythm.
const NEAR: f64 = 7_200.0;
const SWING_MAX: f64 = 0.15;
/// The scale in which that is looked for: nearly two days.
const SWINGS: usize = 5;
/// No slope is known more exactly than by this share of it.
const VAGUE_MIN: f64 = 0.02;
/// Times are not told apart below this, seconds.
const SHORTEST: f64 = 60.0;
/// Bounds of a forecast are never closer than this share of it: the future owes us nothing.
const BOUNDS_MIN: f64 = 0.6;
/// A forecast of more horizons from now is none within the horizon, however vague it is.
const LATE_MAX: u32 = 2;
/// One that may as well be so many horizons away says nothing.
const VAGUE_MAX: u32 = 7;
/// Growth since the beginning is believed when it has lasted so long, seconds; later growth, when it was not there before.
const BEGINNING: f64 = 4.0 * 3600.0;
/// So many finer scales are asked whether it still grows, and by how much of the whole growth it must.
const SHORTER: usize = 3;
const SLOWER_MIN: f64 = 0.6;
/// A look at buckets of at most this width, seconds, shows growth when it has shown it from one closed bucket to another: a
/// jump and the tooth after it look like growth for one.
const HELD_BELOW: u32 = 1_200;
/// What it has grown lately brings the earliest time forward, by up to so much.
const FASTER_MAX: f64 = 2.0;
/// Seconds from which a rise may be that of a morning, and those of a day.
const MORNING: f64 = 1.5 * 3600.0;
const DAY: f64 = 86_400.0;
/// What may be a morning must go on at this share of its pace by so many finer scales, all of which must have seen it; may do so
/// by so many more; and its bounds must be no further apart than so much of what it says, or of an hour.
const MORNING_MIN: f64 = 0.8;
const MORNING_NEAR: usize = 2;
const MORNING_FASTEST: f64 = 0.95;
const MORNING_SCALES: usize = 4;
const MORNING_WIDTH: f64 = 1.7;
const WIDTH_OF: f64 = 3600.0;
/// Where the lows may be below the line by now, as a share of the whole rise.
const BELOW_MAX: f64 = 0.1;
/// Nothing is said of later, seconds.
const LATEST: f64 = 1e9;
/// Lives in which it grew alike before that is taken for its habit.
const LIVES_MIN: u32 = 2;
/// Paces that are so close, one to the other, are alike.
const ALIKE: f64 = 1.6;
/// Share of a new life in the pace of all.
const NEWEST: f64 = 0.3;

/// The past of one reading of one instance, in about two kilobytes.
#[derive(Debug, Clone)]
pub struct Trend {
    scales: [Scale; SCALES],
    recent: [f32; SMOOTHED],
    /// Readings among `recent`.
    count: usize,
    /// Of the first and of the last reading, seconds since the boot.
    began: f64,
    at: f64,
    habit: Habit,
}

/// What is known of its growth from former lives of the process. A leak goes on as before after a restart.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Habit {
    /// A second.
    slope: f64,
    lives: u32,
}

/// When a limit will be crossed, if all goes on as it has for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    pub at: Mono,
    /// From `at` on.
    pub crosses_in: Duration,
    pub earliest: Duration,
    pub latest: Duration,
    pub per_hour: f64,
    /// Share of pairs of spans of time of which the later one was higher.
    pub confidence: f64,
    /// Since when the growth has been seen.
    pub since: Mono,
}

impl Default for Trend {
    fn default() -> Self {
        Trend {
            scales: std::array::from_fn(|number| Scale::new(FINEST << number)),
            recent: [0.0; SMOOTHED],
            count: 0,
            began: f64::INFINITY,
            at: 0.0,
            habit: Habit::default(),
        }
    }
}

impl Trend {
    /// One reading. True when there is something new to be seen in the whole.
    pub fn take(&mut self, at: Mono, value: f64) -> bool {
        let seconds = at.0 as f64 / 1e6;
        if seconds <= self.at && self.count > 0 || !value.is_finite() {
            return false;
        }
        if seconds - self.at > FRESH {
            self.count = 0;
        }
        self.began = self.began.min(seconds);
        self.at = seconds;
        self.recent.copy_within(1.., 0);
        self.recent[SMOOTHED - 1] = value as f32;
        self.count = (self.count + 1).min(SMOOTHED);
        if self.count < SMOOTHED {
            return false;
        }
        let mut sorted = self.recent;
        sorted.sort_unstable_by(f32::total_cmp);
        let level = sorted[SMOOTHED / 2];
        let mut news = false;
        for scale in &mut self.scales {
            if scale.take(seconds, level) {
                scale.look();
                news = true;
            }
        }
        news
    }

    /// A new life of the process begins: the level starts anew, and how it grew in the old one is remembered.
    pub fn begin_life(&mut self) {
        let lines = self.scales.iter().filter_map(|scale| scale.line.filter(|line| self.still(line)));
        let longest = lines.max_by(|a, b| (a.until - a.since).total_cmp(&(b.until - b.since)));
        let mut habit = self.habit;
        match longest {
            Some(line) => habit.learn(line.slope),
            // Too short a life says nothing; a longer one without growth says that it has ended.
            None if self.at - self.began > BEGINNING => habit = Habit::default(),
            None => {}
        }
        *self = Trend { habit, ..Trend::default() };
    }

    /// How fast it grew in lives that are over, a second, and in how many of them alike.
    pub fn habit(&self) -> Option<(f64, u32)> {
        (self.habit.lives > 0).then_some((self.habit.slope, self.habit.lives))
    }

    /// What [`Self::habit`] said once; less than is known by now, or no number, is let be.
    pub fn recall(&mut self, slope: f64, lives: u32) {
        if slope.is_finite() && slope > 0.0 && lives > self.habit.lives {
            self.habit = Habit { slope, lives };
        }
    }

    /// When it will cross the limit; `None`: it does not grow, it is not known, or it is further away than can be said.
    pub fn forecast(&self, limit: f64) -> Option<Forecast> {
        let fastest =
            self.scales.iter().find_map(|scale| scale.line).map(|line| line.fast.min(FASTER_MAX * line.slope));
        let mut agreed = [None; SCALES];
        let (mut least, mut most) = (0.0_f64, f64::INFINITY);
        for (number, place) in agreed.iter_mut().enumerate() {
            // A longer look counts when its bounds agree with those of all shorter ones.
            let seen = self.seen(number, limit, fastest);
            *place = seen.filter(|(line, _)| line.slow <= most && line.fast >= least);
            if let Some((line, _)) = place {
                (least, most) = (least.max(line.slow), most.min(line.fast));
            }
        }
        together(agreed.into_iter().flatten())
    }

    /// What one scale says, if it is growth.
    fn seen(&self, number: usize, limit: f64, fastest: Option<f64>) -> Option<(Line, Forecast)> {
        let scale = &self.scales[number];
        let held = scale.width > HELD_BELOW || scale.held() > 0.0;
        let line = scale.line.filter(|line| held && self.still(line))?;
        let known = self.habit.is_like(&line);
        let mut forecast = self.ahead(&line, limit, if known { REACH_KNOWN } else { REACH })?;
        if let Some(fastest) = fastest.filter(|fastest| *fastest > line.fast) {
            forecast.earliest = forecast.earliest.mul_f64(line.fast / fastest);
        }
        let grows = known || self.is_no_beginning(&line) && self.is_no_morning(&line, number, &forecast);
        (grows && self.is_as_fast_lately(&line, number)).then_some((line, forecast))
    }

    /// A shorter look does not show that it has become slower.
    fn is_as_fast_lately(&self, line: &Line, scale: usize) -> bool {
        let shorter = &self.scales[scale.saturating_sub(SHORTER)..scale];
        shorter.iter().filter_map(pace).all(|(_, fastest)| fastest >= SLOWER_MIN * line.slope)
    }

    /// Until it has been seen for a day, a long rise may be that of a morning, which ends.
    fn is_no_morning(&self, line: &Line, scale: usize, forecast: &Forecast) -> bool {
        if line.until - line.since < MORNING || line.since - self.began >= DAY {
            return true;
        }
        let paces = |scales: usize| self.scales[scale.saturating_sub(scales)..scale].iter().map(pace);
        // Before it ends it becomes slower, which the finest scales see first, though they see it less surely.
        paces(MORNING_NEAR).all(|pace| pace.is_some_and(|(slope, _)| slope >= MORNING_MIN * line.slope))
            && paces(MORNING_SCALES).flatten().all(|(_, fastest)| fastest >= MORNING_FASTEST * line.slope)
            && width(forecast) <= MORNING_WIDTH
    }

    /// What has just begun fills its caches, and its first tooth looks like growth, too.
    fn is_no_beginning(&self, line: &Line) -> bool {
        let span = line.until - line.since;
        span >= BEGINNING || line.since - self.began >= span
    }

    /// It has not fallen off the line since, and is still seen.
    fn still(&self, line: &Line) -> bool {
        let rise = line.slope * (line.until - line.since);
        let below = (BELOW_MAX * rise).max(2.0 * line.spread);
        let on_line = |at: f64| line.level + line.slope * (at - line.until);
        let mut lately = self.scales[0].lately().peekable();
        lately.peek().is_some() && lately.all(|(at, low)| low >= on_line(at) - below)
    }

    /// By how much it has fallen by itself in the last days.
    fn swing(&self) -> f64 {
        let (mut highest, mut swing) = (f64::NEG_INFINITY, 0.0_f64);
        for point in self.scales[SWINGS].points(BUCKETS) {
            highest = highest.max(point.low);
            swing = swing.max(highest - point.low);
        }
        swing
    }

    fn ahead(&self, line: &Line, limit: f64, reach: f64) -> Option<Forecast> {
        let room = limit - (line.level + line.slope * (self.at - line.until));
        let crosses_in = passage(&self.scales, line, limit, self.at)?;
        let seen = self.at - line.since;
        if crosses_in > reach * seen || crosses_in > NEAR && self.swing() > SWING_MAX * line.slope * seen {
            return None;
        }
        let (least, most) = (room - line.highest - line.spread, room - line.usual + line.spread);
        let earliest = (least / line.fast).min(crosses_in * (1.0 - BOUNDS_MIN)).max(0.0);
        let latest = (most / line.slow).max(crosses_in * (1.0 + BOUNDS_MIN)).min(LATEST);
        let mono = |seconds: f64| Mono((seconds * 1e6) as u64);
        Some(Forecast {
            at: mono(self.at),
            crosses_in: Duration::from_secs_f64(crosses_in),
            earliest: Duration::from_secs_f64(earliest),
            latest: Duration::from_secs_f64(latest),
            per_hour: line.slope * 3600.0,
            confidence: line.rising,
            since: mono(line.since),
        })
    }
}

impl Habit {
    fn learn(&mut self, slope: f64) {
        if self.lives > 0 && alike(self.slope, slope) {
            self.slope += NEWEST * (slope - self.slope);
            self.lives = self.lives.saturating_add(1);
        } else {
            *self = Habit { slope, lives: 1 };
        }
    }

    /// It has grown like that often enough.
    fn is_like(&self, line: &Line) -> bool {
        self.lives >= LIVES_MIN && alike(self.slope, line.slope)
    }
}

fn alike(one: f64, other: f64) -> bool {
    one <= other * ALIKE && other <= one * ALIKE
}

/// One forecast of several, each counting by how exactly its slope is known.
fn together(all: impl Iterator<Item = (Line, Forecast)> + Clone) -> Option<Forecast> {
    let vague = |line: &Line| ((line.fast - line.slow) / line.slope).max(VAGUE_MIN);
    // Of those that are as exact, the one that has been seen for longest.
    let exact = |a: &Line, b: &Line| vague(a).total_cmp(&vague(b)).then(a.since.total_cmp(&b.since));
    let (_, best) = all.clone().min_by(|(a, _), (b, _)| exact(a, b))?;
    let (mut sum, mut weights) = (0.0, 0.0);
    for (line, forecast) in all {
        let weight = vague(&line).powi(-2);
        sum += weight * forecast.crosses_in.as_secs_f64().max(SHORTEST).ln();
        weights += weight;
    }
    let crosses_in = (sum / weights).exp();
    let longer = crosses_in / best.crosses_in.as_secs_f64().max(SHORTEST);
    let earliest = best.earliest.as_secs_f64() * longer;
    Some(Forecast {
        crosses_in: Duration::from_secs_f64(crosses_in),
        earliest: Duration::from_secs_f64(earliest.min(crosses_in * (1.0 - BOUNDS_MIN))),
        latest: Duration::from_secs_f64((best.latest.as_secs_f64() * longer).max(crosses_in * (1.0 + BOUNDS_MIN))),
        ..best
    })
}

/// How far its bounds are apart, to what it says.
fn width(forecast: &Forecast) -> f64 {
    (forecast.latest.as_secs_f64() - forecast.earliest.as_secs_f64()) / forecast.crosses_in.as_secs_f64().max(WIDTH_OF)
}

impl Forecast {
    /// It may well be crossed within that time.
    pub fn within(&self, horizon: Duration) -> bool {
        self.earliest <= horizon && self.crosses_in <= horizon * LATE_MAX && self.latest <= horizon * VAGUE_MAX
    }

    /// `grows by 120 MiB an hour for 3 h and reaches its limit of 2 GiB in 45 to 70 min`
    pub fn words(&self, limit: &str, amount: impl Fn(f64) -> String) -> String {
        let minutes = |span: Duration| span.as_secs() / 60;
        let (low, high) = (minutes(self.earliest), minutes(self.latest));
        let when = match (low, high) {
            (0, high) => format!("within {}", human(Duration::from_secs(high.max(1) * 60))),
            (low, high) if high < 120 => format!("in {low} to {high} min"),
            (low, high) => {
                format!("in {} to {}", human(Duration::from_secs(low * 60)), human(Duration::from_secs(high * 60)))
            }
        };
        let seen = Duration::from_secs(self.at.since(self.since).as_secs() / 60 * 60);
        format!("grows by {} an hour for {} and reaches {limit} {when}", amount(self.per_hour), human(seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = (1 << 20) as f64;
    const LIMIT: f64 = 2048.0 * MIB;
    const HORIZON: Duration = Duration::from_secs(1_800);

    /// Readings each 30 s, from `hours` to `hours`, in MiB.
    fn feed(trend: &mut Trend, hours: std::ops::Range<f64>, mib: impl Fn(f64) -> f64) {
        let steps = |hours: f64| (hours * 120.0).round() as u64;
        for step in steps(hours.start)..steps(hours.end) {
            trend.take(Mono(step * 30_000_000), mib(step as f64 / 120.0) * MIB);
        }
    }

    fn after(hours: f64, mib: impl Fn(f64) -> f64) -> Option<Forecast> {
        let mut trend = Trend::default();
        feed(&mut trend, 0.0..hours, mib);
        trend.forecast(LIMIT)
    }

    /// A leak of 200 MiB an hour that begins after ten hours.
    fn leak(hour: f64) -> f64 {
        500.0 + 200.0 * (hour - 10.0).max(0.0)
    }

    /// Between 0 and 1, rising in each `hours`.
    fn tooth(hour: f64, hours: f64) -> f64 {
        (hour / hours).fract()
    }

    #[test]
    fn how_it_grew_in_former_lives_is_read_again() {
        let mut trend = Trend::default();
        assert_eq!(trend.habit(), None);
        for life in 0..2 {
            let begin = f64::from(life) * 8.0;
            feed(&mut trend, begin..begin + 8.0, |hour| 300.0 + 200.0 * (hour - begin));
            trend.begin_life();
        }
        let (slope, lives) = trend.habit().expect("it grew alike twice");
        assert_eq!(lives, 2);
        let mut read = Trend::default();
        read.recall(slope, lives);
        read.recall(f64::NAN, 9);
        read.recall(1.0, 1);
        assert_eq!(read.habit(), Some((slope, lives)));
        for trend in [&mut trend, &mut read] {
            feed(trend, 16.0..18.5, |hour| 300.0 + 500.0 * (hour - 16.0));
        }
        assert_eq!(read.forecast(LIMIT), trend.forecast(LIMIT));
    }

    #[test]
    fn a_leak_is_told_with_its_time() {
        let forecast = after(17.0, leak).unwrap();
        assert!((forecast.per_hour / MIB - 200.0).abs() < 2.0, "{forecast:?}");
        let truth = 17.75 - 17.0;
        assert!((forecast.crosses_in.as_secs_f64() / 3600.0 - truth).abs() < 0.05, "{forecast:?}");
        assert!(forecast.within(HORIZON));
        assert!(!after(16.0, leak).unwrap().within(HORIZON), "an hour and three quarters are left");
        let words = forecast.words("its limit of 2 GiB", |bytes| format!("{:.0} MiB", bytes / MIB));
        assert!(words.starts_with("grows by 200 MiB an hour for "), "{words}");
        assert!(words.ends_with(" and reaches its limit of 2 GiB in 17 to 71 min"), "{words}");
    }

    #[test]
    fn what_only_looks_like_a_leak_is_none() {
        let teeth = |hour: f64| 500.0 + 1400.0 * tooth(hour, 0.7);
        let warm_up = |hour: f64| 400.0 + 1500.0 * (1.0 - (-hour / 0.7).exp());
        let steps = |hour: f64| 500.0 + 450.0 * (hour / 5.0).floor().min(3.0);
        let day = |hour: f64| 400.0 + 1300.0 * (std::f64::consts::PI * hour / 24.0).sin().powi(2);
        for (name, mib) in
            [("teeth", &teeth as &dyn Fn(f64) -> f64), ("warm up", &warm_up), ("steps", &steps), ("day", &day)]
        {
            let mut trend = Trend::default();
            for hour in 0..72 {
                feed(&mut trend, f64::from(hour)..f64::from(hour + 1), mib);
                let forecast = trend.forecast(LIMIT);
                assert!(forecast.is_none_or(|forecast| !forecast.within(HORIZON)), "{name} at {hour} h: {forecast:?}");
            }
        }
    }

    #[test]
    fn a_jump_and_the_long_tooth_after_it_are_no_leak() {
        // Teeth of 42 to 54 minutes; a longer one after a jump is still taken for growth.
        for case in 0..3 * 12 {
            let (period, phase) = (0.7 + 0.1 * f64::from(case / 12), f64::from(case % 12) / 12.0);
            let jump = |hour: f64| if hour >= 7.3 { 350.0 } else { 0.0 };
            let mib = |hour: f64| 1200.0 + jump(hour) + 300.0 * tooth(hour + period * phase, period);
            let mut trend = Trend::default();
            for step in 0..120 {
                let hours = |step: i32| f64::from(step) / 12.0;
                feed(&mut trend, hours(step)..hours(step + 1), mib);
                let forecast = trend.forecast(LIMIT);
                assert!(forecast.is_none_or(|forecast| !forecast.within(HORIZON)), "{case} {step}: {forecast:?}");
            }
        }
    }

    #[test]
    fn a_morning_that_was_not_seen_closely_is_none() {
        let day = |hour: f64| 927.0 + 1011.0 * (std::f64::consts::PI * (hour / 24.0 + 0.08)).sin().abs().powf(4.2);
        for gap in 80..125 {
            let begin = f64::from(gap) / 12.0;
            let mut trend = Trend::default();
            feed(&mut trend, 0.0..begin, day);
            for step in 0..24 {
                let from = begin + 0.3 + f64::from(step) / 12.0;
                feed(&mut trend, from..from + 1.0 / 12.0, day);
                let forecast = trend.forecast(LIMIT);
                assert!(forecast.is_none_or(|forecast| !forecast.within(HORIZON)), "{begin} {step}: {forecast:?}");
            }
        }
    }

    #[test]
    fn the_lows_of_teeth_tell_of_the_leak_below_them() {
        let forecast = after(17.0, |hour| leak(hour) + 200.0 * tooth(hour, 0.3)).unwrap();
        assert!((forecast.per_hour / MIB - 200.0).abs() < 30.0, "{forecast:?}");
        let deep = after(17.0, |hour| leak(hour) + 600.0 * tooth(hour + 0.05, 0.3)).expect("its lows rise");
        assert!((deep.per_hour / MIB - 200.0).abs() < 30.0, "{deep:?}");
    }

    #[test]
    fn what_is_over_the_lows_brings_the_crossing_forward() {
        // Every quarter of an hour it is 200 MiB above the line: an hour of growth sooner.
        let told = |peak: f64| after(16.0, |hour| leak(hour) + peak * tooth(hour, 0.25)).unwrap().crosses_in;
        let sooner = told(0.0).as_secs_f64() - told(200.0).as_secs_f64();
        assert!((0.7..1.1).contains(&(sooner / 3600.0)), "{sooner}");
    }

    #[test]
    fn no_forecast_comes_from_what_was_not_seen() {
        let mut trend = Trend::default();
        feed(&mut trend, 0.0..10.0, leak);
        feed(&mut trend, 16.9..17.0, leak);
        assert_eq!(trend.forecast(LIMIT), None, "nearly all of the rise was not seen");
        assert_eq!(Trend::default().forecast(LIMIT), None);
        let mut trend = Trend::default();
        trend.take(Mono(1), f64::NAN);
        feed(&mut trend, 0.0..17.0, leak);
        let before = trend.forecast(LIMIT);
        assert!(!trend.take(Mono(5), 1e12), "a clock that goes back is not followed");
        assert_eq!(trend.forecast(LIMIT), before);
    }

    #[test]
    fn what_fell_is_not_told_any_more() {
        let mut trend = Trend::default();
        feed(&mut trend, 0.0..17.0, leak);
        assert!(trend.forecast(LIMIT).is_some());
        feed(&mut trend, 17.0..17.2, |_| 500.0);
        assert_eq!(trend.forecast(LIMIT), None);
    }

    #[test]
    fn a_leak_that_was_seen_in_former_lives_is_told_sooner() {
        let quick = |hour: f64| 500.0 + 600.0 * hour;
        let lives = |count: u32| {
            let mut trend = Trend::default();
            for life in 0..count {
                let begun = f64::from(life) * 3.0;
                feed(&mut trend, begun..begun + 2.5, |hour| quick(hour - begun));
                trend.begin_life();
            }
            let begun = f64::from(count) * 3.0;
            feed(&mut trend, begun..begun + 1.5, |hour| quick(hour - begun));
            trend.forecast(LIMIT)
        };
        assert_eq!(lives(0), None, "what has just begun may level off");
        assert_eq!(lives(1), None, "once is no habit");
        assert!(lives(3).is_some());
    }

    #[test]
    fn a_long_life_without_growth_ends_the_habit() {
        let mut trend = Trend { habit: Habit { slope: 1.0, lives: 5 }, ..Trend::default() };
        feed(&mut trend, 0.0..1.0, |_| 500.0);
        trend.begin_life();
        assert_eq!(trend.habit.lives, 5, "an hour says nothing");
        feed(&mut trend, 1.0..6.0, |_| 500.0);
        trend.begin_life();
        assert_eq!(trend.habit.lives, 0);
    }
}
