//! What samples mean: rates, shares of limits, and whether they have been over a threshold for long enough.

use std::time::Duration;

use crate::model::{Evidence, HostUsage, Mono, Usage, WorkerSettings};

use super::outlook::Outlook;

/// A raised condition clears below this share of its threshold, so that it does not flap at the edge.
const CLEAR_BELOW: f64 = 0.95;
/// Memory pressure (some avg10, percent) from which an excess of cache or of MemoryHigh= counts.
const MEMORY_PRESSURE: f32 = 10.0;

/// The last samples of one instance and what has been made of them.
///
/// While a condition holds though the latest sample is not over its threshold (it clears later), its evidence stays that
/// of the last sample that was.
#[derive(Default)]
pub struct Readings {
    pub last: Option<Usage>,
    /// CPUs used over the last interval.
    pub cpus: Option<f64>,
    /// Read and written over the last interval, bytes per second.
    pub io: Option<f64>,
    pub memory_used: Option<u64>,
    pub memory_limit: Option<u64>,
    cpu: Sustained,
    memory: Window,
    pressure: Window,
    pub cpu_high: Option<Evidence>,
    pub memory_high: Option<Evidence>,
    pub starved: Option<Evidence>,
    pub outlook: Outlook,
}

impl Readings {
    /// Forgets the readings of the former activation, but not how they grew.
    pub fn begin_activation(&mut self) {
        let mut outlook = std::mem::take(&mut self.outlook);
        outlook.begin_life();
        *self = Readings { outlook, ..Readings::default() };
    }

    /// Something was done about the memory: one sample below the threshold shows that it helped.
    pub fn ease_memory(&mut self) {
        self.memory.eased = true;
    }

    /// Its tasks wait for CPU, by the last sample.
    pub fn waits_for_cpu(&self, settings: &WorkerSettings) -> bool {
        let pressure = self.last.as_ref().and_then(|last| last.cpu_pressure);
        pressure.is_some_and(|pressure| f64::from(pressure.avg10) > settings.pressure_threshold)
    }

    pub fn take(&mut self, sample: Usage, host: Option<&HostUsage>, settings: &WorkerSettings) {
        let cpus = self.last.as_ref().and_then(|last| cpus_between(last, &sample));
        self.cpus = cpus;
        self.io = self.last.as_ref().and_then(|last| io_between(last, &sample));
        self.judge_cpu(&sample, settings);
        self.judge_memory(&sample, host, settings);
        self.look_ahead(&sample, settings);
        self.judge_pressure(&sample, settings);
        self.last = Some(sample);
    }

    fn judge_cpu(&mut self, sample: &Usage, settings: &WorkerSettings) {
        let (allowed, whose) = match sample.cpu_quota {
            Some(quota) => (quota, "CPUQuota="),
            None => (settings.cpu_cores, "cpu_cores"),
        };
        let share = self.cpus.filter(|_| allowed > 0.0).map(|cpus| cpus / allowed * 100.0);
        let raised = self.cpu_high.is_some();
        let holds = self.cpu.update(sample.at, share, settings.cpu_threshold, settings.cpu_sustained, raised);
        self.cpu_high = match (holds, share, self.cpu_high.take()) {
            (false, _, _) => None,
            (true, Some(share), kept) if share <= settings.cpu_threshold && kept.is_some() => kept,
            (true, Some(share), _) => Some(Evidence::measured(
                format!(
                    "CPU at {share:.0} % of {allowed} CPU ({whose}) for {} or more, over {:.0} %",
                    crate::model::time::human(settings.cpu_sustained),
                    settings.cpu_threshold
                ),
                share,
                settings.cpu_threshold,
            )),
            (true, None, kept) => kept,
        };
    }

    fn judge_memory(&mut self, sample: &Usage, host: Option<&HostUsage>, settings: &WorkerSettings) {
        let reading = memory_reading(sample, host);
        self.memory_used = reading.as_ref().map(|r| r.used);
        self.memory_limit = reading.as_ref().map(|r| r.limit);
        if let Some(reading) = &reading {
            self.outlook.take_memory(sample.at, reading.used, reading.limit, settings);
        }
        let share = reading.as_ref().map(|r| r.share(settings.memory_threshold));
        let percent = share.as_ref().map(Share::percent);
        let raised = self.memory_high.is_some();
        let holds = self.memory.update(percent, settings.memory_threshold, settings, raised);
        self.memory_high = match (holds, share, self.memory_high.take()) {
            (false, _, _) => None,
            (true, Some(share), kept) if share.percent() <= settings.memory_threshold && kept.is_some() => kept,
            (true, Some(share), _) => {
                let threshold = settings.memory_threshold;
                Some(Evidence::measured(share.text(threshold), share.percent(), threshold))
            }
            (true, None, kept) => kept,
        };
    }

    /// Of tasks and open files only what is coming is told: a service may well live close to its limits.
    fn look_ahead(&mut self, sample: &Usage, settings: &WorkerSettings) {
        if let (Some(tasks), Some(limit)) = (sample.tasks, sample.tasks_max) {
            self.outlook.take_tasks(sample.at, tasks, limit, settings);
        }
        if let Some(files) = sample.open_files {
            self.outlook.take_files(sample.at, files, settings);
        }
    }

    fn judge_pressure(&mut self, sample: &Usage, settings: &WorkerSettings) {
        let named = [("CPU", sample.cpu_pressure), ("memory", sample.memory_pressure), ("IO", sample.io_pressure)];
        let worst = named
            .into_iter()
            .filter_map(|(name, pressure)| pressure.map(|p| (name, f64::from(p.avg10))))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        let raised = self.starved.is_some();
        let holds = self.pressure.update(worst.map(|w| w.1), settings.pressure_threshold, settings, raised);
        self.starved = match (holds, worst, self.starved.take()) {
            (false, _, _) => None,
            (true, Some((_, percent)), kept) if percent <= settings.pressure_threshold && kept.is_some() => kept,
            (true, Some((name, percent)), _) => Some(Evidence::measured(
                format!("waited for {name} {percent:.0} % of the last 10 s, over {:.0} %", settings.pressure_threshold),
                percent,
                settings.pressure_threshold,
            )),
            (true, None, kept) => kept,
        };
    }
}

/// CPUs used between two samples; `None` across a counter that went back or where a reading is missing.
fn cpus_between(from: &Usage, to: &Usage) -> Option<f64> {
    let used = to.cpu_usec?.checked_sub(from.cpu_usec?)?;
    let span = to.at.0.checked_sub(from.at.0).filter(|span| *span > 0)?;
    Some(used as f64 / span as f64)
}

/// Bytes read and written per second between two samples.
fn io_between(from: &Usage, to: &Usage) -> Option<f64> {
    let read = to.io_read_bytes?.checked_sub(from.io_read_bytes?)?;
    let written = to.io_written_bytes?.checked_sub(from.io_written_bytes?)?;
    let span = to.at.0.checked_sub(from.at.0).filter(|span| *span > 0)?;
    Some((read + written) as f64 / (span as f64 / 1e6))
}

struct MemoryReading {
    /// In use, without cache that can go at once.
    used: u64,
    with_cache: u64,
    limit: u64,
    limit_is: &'static str,
    high: Option<u64>,
    pressed: bool,
}

fn memory_reading(sample: &Usage, host: Option<&HostUsage>) -> Option<MemoryReading> {
    let with_cache = sample.memory_bytes?;
    let used = with_cache.saturating_sub(sample.memory_inactive_file_bytes.unwrap_or(0));
    let host_total = host.map(|h| h.memory_total_bytes).filter(|total| *total > 0);
    let (limit, limit_is) = match (sample.memory_max_bytes, host_total) {
        (Some(max), Some(total)) if total < max => (total, "the host's memory"),
        (Some(max), _) => (max, "MemoryMax="),
        (None, Some(total)) => (total, "the host's memory"),
        (None, None) => return None,
    };
    let pressed = sample.memory_pressure.is_some_and(|p| p.avg10 >= MEMORY_PRESSURE);
    Some(MemoryReading { used, with_cache, limit: limit.max(1), limit_is, high: sample.memory_high_bytes, pressed })
}

impl MemoryReading {
    /// The share that counts. Cache and MemoryHigh= count only under pressure.
    fn share(&self, threshold: f64) -> Share {
        let plain = Share { used: self.used, limit: self.limit, of: self.limit_is, note: "" };
        if plain.percent() > threshold || !self.pressed {
            return plain;
        }
        let cached = Share { used: self.with_cache, note: ", cache included, under pressure", ..plain };
        let high =
            self.high.map(|limit| Share { used: self.with_cache, limit, of: "MemoryHigh=", note: ", under pressure" });
        let worse = |best: Share, next: Share| if next.percent() > best.percent() { next } else { best };
        [Some(cached), high].into_iter().flatten().fold(plain, worse)
    }
}

/// A part of a limit. Put into words only when it counts: most samples of most instances do not.
#[derive(Clone, Copy)]
struct Share {
    used: u64,
    limit: u64,
    of: &'static str,
    note: &'static str,
}

impl Share {
    fn percent(&self) -> f64 {
        self.used as f64 / self.limit.max(1) as f64 * 100.0
    }

    fn text(&self, threshold: f64) -> String {
        let (used, limit, percent) = (mib(self.used), mib(self.limit), self.percent());
        let Share { of, note, .. } = self;
        format!("memory {used} of {limit} ({percent:.0} % of {of}{note}), over {threshold:.0} %")
    }
}

pub(super) fn mib(bytes: u64) -> String {
    match bytes {
        b if b >= 10 << 30 => format!("{:.0} GiB", b as f64 / (1u64 << 30) as f64),
        b if b >= 1 << 30 => format!("{:.1} GiB", b as f64 / (1u64 << 30) as f64),
        b => format!("{:.0} MiB", b as f64 / (1u64 << 20) as f64),
    }
}

/// Over a threshold in N of the last M samples. Clears when N of the last M are below the clearing level.
/// A gap counts as neither; M gaps in a row forget everything.
#[derive(Default)]
struct Window {
    over: u64,
    under: u64,
    gaps: u32,
    /// One sample below clears it.
    eased: bool,
}

impl Window {
    fn update(&mut self, value: Option<f64>, threshold: f64, settings: &WorkerSettings, raised: bool) -> bool {
        let Some(value) = value else {
            self.gaps += 1;
            if self.gaps >= settings.window_samples {
                *self = Window::default();
                return false;
            }
            return raised;
        };
        self.gaps = 0;
        let mask = (1u64 << settings.window_samples.min(63)) - 1;
        self.over = (self.over << 1 | u64::from(value > threshold)) & mask;
        self.under = (self.under << 1 | u64::from(value < threshold * CLEAR_BELOW)) & mask;
        if raised && self.eased && self.under & 1 == 1 {
            *self = Window::default();
            return false;
        }
        match raised {
            false => self.over.count_ones() >= settings.raise_samples,
            true => self.under.count_ones() < settings.raise_samples,
        }
    }
}

/// Over a threshold without a break for a time. Two samples below the clearing level clear it.
#[derive(Default)]
struct Sustained {
    since: Option<Mono>,
    below: u32,
    gaps: u32,
}

impl Sustained {
    fn update(&mut self, at: Mono, value: Option<f64>, threshold: f64, span: Duration, raised: bool) -> bool {
        const CLEARING_SAMPLES: u32 = 2;
        let Some(value) = value else {
            self.gaps += 1;
            if self.gaps > CLEARING_SAMPLES {
                *self = Sustained::default();
                return false;
            }
            return raised;
        };
        self.gaps = 0;
        if value > threshold {
            self.below = 0;
            let since = *self.since.get_or_insert(at);
            return raised || at.since(since) >= span;
        }
        self.since = None;
        self.below = if value < threshold * CLEAR_BELOW { self.below + 1 } else { 0 };
        raised && self.below < CLEARING_SAMPLES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Selector, UnitName, WorkerName};

    #[test]
    fn evidence_is_of_a_sample_over_the_threshold() {
        let unit = UnitName::new("a.service").unwrap();
        let mut settings = WorkerSettings::new(WorkerName::new("a").unwrap(), Selector::Unit(unit.clone()));
        settings.cpu_sustained = Duration::from_secs(2);
        let mut readings = Readings::default();
        let (mut used, mut seconds) = (0, 0);
        let mut take = |cpus: f64, readings: &mut Readings| {
            (used, seconds) = (used + (cpus * 1e6) as u64, seconds + 1);
            let high = if cpus > 0.5 { 90 } else { 50 };
            let sample = Usage {
                cpu_usec: Some(used),
                cpu_quota: Some(1.0),
                memory_bytes: Some(high),
                memory_max_bytes: Some(100),
                cpu_pressure: Some(crate::model::usage::Pressure { avg10: high as f32, total_usec: 0 }),
                ..Usage::gap(unit.clone(), Mono(seconds * 1_000_000))
            };
            settings.pressure_threshold = 80.0;
            readings.take(sample, None, &settings);
            [&readings.cpu_high, &readings.memory_high, &readings.starved].map(|e| e.as_ref().and_then(|e| e.value))
        };
        (0..4).for_each(|_| {
            take(0.9, &mut readings);
        });
        let over = take(0.9, &mut readings);
        assert!(over.iter().all(|value| value.is_some_and(|value| value > 85.0)), "{over:?}");
        assert_eq!(take(0.2, &mut readings), over, "one sample below clears nothing and says nothing");
        assert_eq!(take(0.2, &mut readings)[0], None, "two clear CPU");
    }
}
