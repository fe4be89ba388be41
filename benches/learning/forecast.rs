//! Forecasts of leaks, on generated traces: none where nothing leaks, and in time and right where something does.
//!
//! A trace is made of noise, a sawtooth as of garbage collection, a cache that warms up, steps and the rhythm of a day: one of
//! them or several, with gaps in some. With a leak there is a steady growth on top, from some moment on. It crosses the limit when
//! three of five samples are over it, as `memory_high` does. It is called when the forecast's earliest time is within the horizon.

use std::hint::black_box;
use std::time::{Duration, Instant};

use unitmedic::learn::forecast::{Forecast, Trend};
use unitmedic::model::Mono;

use crate::report::{Row, median};
use crate::rng::Rng;

const TRACES: u64 = 1_000;
/// What was looked at while the forecasts were made: `DEVELOP=1` takes these, and the table never does.
const SEEDS_DEVELOPED: u64 = 1_000_000;
const SEEDS_REPORTED: u64 = 330_000_000;
const STEP: f64 = 30.0;
const HOUR: f64 = 3_600.0;
const DAY: f64 = 24.0 * HOUR;
/// Days of a trace without a leak.
const DAYS: f64 = 3.0;
/// A leak takes so many hours from its beginning to the limit.
const LEAK_HOURS: (f64, f64) = (2.5, 60.0);
/// One that is restarted again and again takes so many.
const QUICK_HOURS: (f64, f64) = (2.0, 5.0);
const LIVES: usize = 4;
const HORIZON: Duration = Duration::from_secs(1_800);
const LEAD: f64 = 1_800.0;

/// Parts of a trace. Levels in hundredths of something: only their ratio to the limit counts.
#[derive(Default)]
struct Parts {
    base: f64,
    noise: f64,
    wander: Option<Wander>,
    sawtooth: Option<Sawtooth>,
    /// How much, and in what time it comes to two thirds.
    warm_up: Option<(f64, f64)>,
    steps: Vec<(f64, f64)>,
    rhythm: Option<Rhythm>,
    gaps: Vec<(f64, f64)>,
}

struct Wander {
    size: f64,
    seconds: f64,
    level: f64,
}

struct Sawtooth {
    height: f64,
    period: f64,
    began: f64,
    ends: f64,
}

struct Rhythm {
    size: f64,
    phase: f64,
    /// 1: a sine; above: short peaks.
    power: f64,
    /// Each day is another.
    days: Vec<f64>,
}

impl Rhythm {
    fn at(&self, at: f64) -> f64 {
        let turn = at / DAY + self.phase;
        let (day, part) = (turn as usize % self.days.len(), turn.fract());
        self.size * self.days[day] * (std::f64::consts::PI * part).sin().powf(2.0 * self.power)
    }
}

impl Parts {
    fn new(rng: &mut Rng) -> Self {
        let mut parts = Parts { base: rng.between(15.0, 45.0), noise: rng.scale(0.05, 1.5), ..Parts::default() };
        let alone = rng.chance(0.5).then(|| (rng.next() * 5.0) as usize);
        let has = |rng: &mut Rng, number: usize| alone.map_or_else(|| rng.chance(0.6), |alone| alone == number);
        if has(rng, 0) {
            parts.noise = rng.scale(0.5, 2.5);
            parts.wander = Some(Wander { size: rng.scale(0.3, 2.0), seconds: rng.scale(300.0, HOUR), level: 0.0 });
        }
        if has(rng, 1) {
            let (height, period) = (rng.scale(3.0, 25.0), rng.scale(120.0, 1.5 * HOUR));
            parts.sawtooth = Some(Sawtooth { height, period, began: 0.0, ends: period * rng.next() });
        }
        if has(rng, 2) {
            parts.warm_up = Some((rng.between(5.0, 30.0), rng.scale(300.0, 4.0 * HOUR)));
        }
        if has(rng, 3) {
            for _ in 0..1 + (rng.next() * 4.0) as usize {
                let size = rng.between(3.0, 12.0) * if rng.chance(0.35) { -1.0 } else { 1.0 };
                parts.steps.push((rng.between(0.0, DAYS * DAY), size));
            }
        }
        if has(rng, 4) {
            let days = (0..8).map(|_| rng.between(0.85, 1.15)).collect();
            let (size, phase, power) = (rng.between(6.0, 30.0), rng.next(), rng.between(1.0, 3.0));
            parts.rhythm = Some(Rhythm { size, phase, power, days });
        }
        if rng.chance(0.3) {
            parts.gaps = (0..4).map(|_| (rng.between(0.0, DAYS * DAY), rng.scale(120.0, HOUR))).collect();
        }
        parts
    }

    fn at(&mut self, at: f64, rng: &mut Rng) -> f64 {
        let mut level = self.base + self.noise * rng.normal();
        if let Some(wander) = &mut self.wander {
            let keeps = (-STEP / wander.seconds).exp();
            wander.level = keeps * wander.level + wander.size * (1.0 - keeps * keeps).sqrt() * rng.normal();
            level += wander.level;
        }
        if let Some(tooth) = &mut self.sawtooth {
            if at >= tooth.ends {
                (tooth.began, tooth.ends) = (at, at + tooth.period * rng.between(0.7, 1.3));
            }
            level += tooth.height * (at - tooth.began) / tooth.period;
        }
        if let Some((size, seconds)) = self.warm_up {
            level += size * (1.0 - (-at / seconds).exp());
        }
        level += self.steps.iter().filter(|(since, _)| at >= *since).map(|(_, size)| size).sum::<f64>();
        level += self.rhythm.as_ref().map_or(0.0, |rhythm| rhythm.at(at));
        level.max(1.0)
    }
}

struct Trace {
    values: Vec<Option<f64>>,
    limit: f64,
    /// When it crosses the limit, seconds.
    crosses: Option<f64>,
    onset: f64,
}

impl Trace {
    fn new(seed: u64, leaks: bool) -> Self {
        let mut rng = Rng(seed);
        let parts = Parts::new(&mut rng);
        let hours = rng.scale(LEAK_HOURS.0, LEAK_HOURS.1);
        let onset = rng.between(0.0, DAY);
        Trace::of(parts, leaks, hours, onset, &mut rng)
    }

    /// One that leaks from its beginning, a few hours to the limit; each life is another, and the leak is the same.
    fn of_life(seed: u64, life: u64) -> Self {
        let mut rng = Rng(seed);
        let parts = Parts::new(&mut rng);
        let hours = rng.scale(QUICK_HOURS.0, QUICK_HOURS.1);
        Trace::of(parts, true, hours, 0.0, &mut Rng(seed + 100_000 * life))
    }

    fn of(mut parts: Parts, leaks: bool, hours: f64, onset: f64, rng: &mut Rng) -> Self {
        if leaks {
            // Nobody foresees a jump over the limit.
            parts.steps.retain(|(at, _)| *at < onset + hours * HOUR / 3.0);
        }
        let span = if leaks { onset + 1.5 * hours * HOUR } else { DAYS * DAY };
        let mut values: Vec<f64> = (0..(span / STEP) as usize).map(|step| parts.at(step as f64 * STEP, rng)).collect();
        // Without a leak there is some room at its highest, sometimes little; a leak has to fill at least a fifth.
        let filled = if leaks { rng.between(0.3, 0.8) } else { rng.between(0.6, 0.92) };
        let limit = values.iter().copied().fold(0.0, f64::max) / filled;
        if leaks {
            let slope = (limit - values[(onset / STEP) as usize]) / (hours * HOUR);
            for (step, value) in values.iter_mut().enumerate() {
                *value += slope * (step as f64 * STEP - onset).max(0.0);
            }
        }
        let over = |five: &[f64]| five.iter().filter(|value| **value > limit).count() >= 3;
        let crosses = values.windows(5).position(over).map(|step| (step + 4) as f64 * STEP);
        let gaps = &parts.gaps;
        let seen = |at: f64| !gaps.iter().any(|(begin, long)| at >= *begin && at < begin + long);
        let value = |(step, value): (usize, f64)| seen(step as f64 * STEP).then_some(value);
        Trace { values: values.into_iter().enumerate().map(value).collect(), limit, crosses, onset }
    }

    /// The forecasts that are new, with their time; `begun` is that of the trace.
    fn forecasts(&self, trend: &mut Trend, begun: f64) -> Vec<(f64, Forecast)> {
        let end = self.crosses.unwrap_or(f64::INFINITY);
        let mut all = Vec::new();
        for (step, value) in self.values.iter().enumerate() {
            let at = step as f64 * STEP;
            if at >= end {
                break;
            }
            if value.is_some_and(|value| trend.take(mono(begun + at), value)) {
                all.extend(trend.forecast(self.limit).map(|forecast| (at, forecast)));
            }
        }
        all
    }
}

/// The host has been up for a while.
fn mono(at: f64) -> Mono {
    Mono(((at + 1_000.0) * 1e6) as u64)
}

fn calls(forecast: &Forecast) -> bool {
    forecast.within(HORIZON)
}

#[derive(Default)]
struct Figures {
    false_calls: usize,
    far: usize,
    leaks: usize,
    early: usize,
    late: usize,
    missed: usize,
    /// Called before it leaked.
    too_soon: usize,
    leads: Vec<f64>,
    /// Distance to the truth, to the remaining time: at the call, and of all forecasts half an hour ahead or more.
    at_call: Vec<f64>,
    all: Vec<f64>,
    within_bounds: usize,
    /// Of those that leak from their beginning, called in time in each life.
    lives: [usize; LIVES],
    readings: usize,
    seconds: f64,
}

pub fn measure() -> Vec<Row> {
    let seeds = if std::env::var_os("DEVELOP").is_some() { SEEDS_DEVELOPED } else { SEEDS_REPORTED };
    let mut figures = Figures::default();
    for seed in seeds..seeds + TRACES {
        figures.take_well(seed);
        figures.take_leak(seed + 500_000);
        figures.take_lives(seed + 600_000);
    }
    figures.rows()
}

impl Figures {
    fn take_well(&mut self, seed: u64) {
        let trace = Trace::new(seed, false);
        let begun = Instant::now();
        let forecasts = black_box(trace.forecasts(&mut Trend::default(), 0.0));
        self.seconds += begun.elapsed().as_secs_f64();
        self.readings += trace.values.len();
        self.false_calls += usize::from(forecasts.iter().any(|(_, forecast)| calls(forecast)));
        self.far += usize::from(!forecasts.is_empty());
    }

    fn take_leak(&mut self, seed: u64) {
        let trace = Trace::new(seed, true);
        let Some(crosses) = trace.crosses else { return };
        self.leaks += 1;
        let forecasts = trace.forecasts(&mut Trend::default(), 0.0);
        let away =
            |at: f64, forecast: &Forecast| (forecast.crosses_in.as_secs_f64() - (crosses - at)).abs() / (crosses - at);
        let ahead = forecasts.iter().filter(|(at, _)| crosses - at >= LEAD);
        for (at, forecast) in ahead {
            self.all.push(away(*at, forecast));
            let bounds = forecast.earliest.as_secs_f64()..=forecast.latest.as_secs_f64();
            self.within_bounds += usize::from(bounds.contains(&(crosses - at)));
        }
        let called = |(at, forecast): &&(f64, Forecast)| *at > trace.onset && calls(forecast);
        self.too_soon += usize::from(forecasts.iter().any(|(at, forecast)| *at <= trace.onset && calls(forecast)));
        match forecasts.iter().find(called) {
            None => self.missed += 1,
            Some((at, _)) if crosses - at < LEAD => self.late += 1,
            Some((at, forecast)) => {
                self.early += 1;
                self.leads.push(crosses - at);
                self.at_call.push(away(*at, forecast));
            }
        }
    }

    fn take_lives(&mut self, seed: u64) {
        let (mut trend, mut begun) = (Trend::default(), 0.0);
        for life in 0..LIVES {
            let trace = Trace::of_life(seed, life as u64);
            let Some(crosses) = trace.crosses else { continue };
            let forecasts = trace.forecasts(&mut trend, begun);
            let called = forecasts.iter().find(|(_, forecast)| calls(forecast));
            self.lives[life] += usize::from(called.is_some_and(|(at, _)| crosses - at >= LEAD));
            begun += crosses + 60.0;
            trend.begin_life();
        }
    }

    fn rows(&self) -> Vec<Row> {
        let share = |part: usize, of: usize| part as f64 / of.max(1) as f64 * 100.0;
        let within = |values: &[f64]| share(values.iter().filter(|away| **away <= 0.25).count(), values.len());
        let text = |values: &[f64]| {
            format!("median {:.0} % away, {:.1} % within 25 %", median(values) * 100.0, within(values))
        };
        let early = share(self.early, self.leaks);
        let each = self.seconds / self.readings as f64 * 1e9;
        let lives = |life: usize| share(self.lives[life], TRACES as usize);
        vec![
            Row::new("forecast: traces without a leak, called", format!("{} of {TRACES}", self.false_calls))
                .asked("0", self.false_calls == 0),
            Row::new("forecast: of these with any forecast, however far", self.far.to_string()),
            Row::new(
                "forecast: leaks called 30 min ahead or more",
                format!("{early:.1} % of {} ({} later, {} not)", self.leaks, self.late, self.missed),
            )
            .asked(">= 95 %", early >= 95.0),
            Row::new("forecast: of these traces, called before they leaked", self.too_soon.to_string()),
            Row::new("forecast: median lead", format!("{:.0} min", median(&self.leads) / 60.0)),
            Row::new("forecast: time, when called", text(&self.at_call)).asked("25 %", median(&self.at_call) <= 0.25),
            Row::new("forecast: time, all forecasts 30 min ahead or more", text(&self.all)),
            Row::new(
                "forecast: of these, truth within the bounds that were told",
                format!("{:.1} %", share(self.within_bounds, self.all.len())),
            ),
            Row::new(
                "forecast: leaks of 2 to 5 h from the beginning, in the first life and after three restarts",
                format!("{:.1} % and {:.1} %", lives(0), lives(LIVES - 1)),
            ),
            Row::new("forecast: cost of a reading", format!("{each:.0} ns")).asked("< 2 us", each < 2_000.0),
            Row::new("forecast: memory of a trace", format!("{} bytes", std::mem::size_of::<Trend>())),
        ]
    }
}
