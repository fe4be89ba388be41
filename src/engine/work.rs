//! Signals of work of one instance and what they mean: signs of life, errors in the journal, probes.
//!
//! What one never did is unknown, not bad: an instance that never beat cannot hang, and a probe that has not passed
//! yet has its time to start.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::model::signal::{Beat, BeatSource, ErrorCounts, ProbeReading, ProbeResult};
use crate::model::time::human;
use crate::model::{Condition, Evidence, Health, Mono, UnitView, What, WorkerSettings};

use super::Engine;
use super::external::External;
use super::instance::Instance;

/// Errors in the window from which an action is worth its harm.
const ERRORS_TO_ACT: u64 = 10;
/// And so many times the rate that the instance has always had.
const BASELINE_FACTOR: f64 = 3.0;
/// The usual rate is known when it has been watched for so many windows.
const BASELINE_WINDOWS: u32 = 3;
/// The usual rate forgets with this time constant.
const BASELINE_MEMORY: Duration = Duration::from_secs(6 * 3600);
/// Error counts kept: one for each report in the longest window (1 h, a report every 10 s).
const REPORTS_KEPT: usize = 512;
/// A raised error rate clears below this share of its threshold.
const CLEAR_BELOW: f64 = 0.5;

/// A condition that holds, and how it is to be taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Symptom {
    pub evidence: Evidence,
    pub health: Health,
    /// It is told, and nothing is done for it.
    pub tell_only: bool,
}

impl Symptom {
    pub fn of(condition: Condition, evidence: Evidence) -> Self {
        Self { evidence, health: condition.health(), tell_only: false }
    }
}

/// What an instance's signals of work have shown.
#[derive(Default)]
pub struct Work {
    pub beats: Beats,
    pub errors: Errors,
    pub probe: Probes,
    /// Alerts of others that name it.
    pub external: External,
    /// Conditions of queues that were raised for it and have not been seen to be over.
    pub queues: BTreeMap<Condition, (Mono, Evidence)>,
}

impl Work {
    /// Forgets what belonged to the former activation. That it beat or failed its probe is remembered until it beats
    /// or passes again: a new process has to show that it is better. Alerts of others spoke of the former process, and
    /// whether they speak of this one too they say only when they are told again.
    pub fn begin_activation(&mut self) {
        self.external = External::default();
        self.beats.last = None;
        self.errors.begin_anew();
        self.probe.begin_activation();
    }
}

/// Signs of life.
#[derive(Default)]
pub struct Beats {
    /// The last of the present activation.
    pub last: Option<(Mono, BeatSource)>,
    /// It has ever beaten, also before the present activation: it can be expected to.
    expected: bool,
    /// When those were last looked at that must be looked at; a sign may have been given since.
    sampled_at: Option<Mono>,
    /// It hung, and has not beaten since.
    hung: bool,
}

impl Beats {
    fn take(&mut self, at: Mono, source: BeatSource, now: Mono, view: &UnitView) {
        self.expected = true;
        if source != BeatSource::Socket {
            self.sampled_at = Some(now);
        }
        // One of the former activation shows only that it can be expected to beat.
        let of_this_life = view.inactive_exit.or(view.active_enter).is_none_or(|began| at >= began);
        if of_this_life && self.last.is_none_or(|(last, _)| at > last) {
            self.last = Some((at, source));
            self.hung = false;
        }
    }

    /// Since when there has been no sign.
    fn silent_since(&self, view: &UnitView) -> Option<Mono> {
        let began = view.active_enter.or(view.inactive_exit);
        self.expected.then(|| self.last.map(|(at, _)| at).max(began)).flatten()
    }

    fn looked_at(&self, now: Mono) -> Mono {
        self.sampled_at.unwrap_or(now)
    }

    pub fn judge(&mut self, view: &UnitView, settings: &WorkerSettings, now: Mono) -> Option<Evidence> {
        let limit = settings.heartbeat_timeout;
        let since = self.silent_since(view)?;
        self.hung |= self.looked_at(now).since(since) >= limit;
        self.hung.then(|| {
            let how = match self.last {
                Some((_, source)) => format!("no sign of life ({source}) for {} or more", human(limit)),
                None => "no sign of life since it hung, though it used to give them".into(),
            };
            Evidence::measured(how, limit.as_secs_f64(), limit.as_secs_f64())
        })
    }

    /// When silence alone will have lasted too long; those that are sampled are judged when they are.
    pub fn due(&self, view: &UnitView, settings: &WorkerSettings) -> Option<Mono> {
        let since = self.silent_since(view).filter(|_| self.sampled_at.is_none() && !self.hung)?;
        Some(since + settings.heartbeat_timeout)
    }
}

/// Errors in the journal.
#[derive(Default)]
pub struct Errors {
    /// Reports within the window, oldest first.
    reports: VecDeque<(Mono, u64)>,
    /// Errors per minute in the time before the window.
    usual: f64,
    /// How long the time before the window is.
    watched: Duration,
    raised_at: Option<Mono>,
}

impl Errors {
    /// Counts of one report. Spans with gaps count, but teach nothing about what is usual.
    fn take(&mut self, at: Mono, span: Duration, count: u64, whole: bool, window: Duration) {
        if whole {
            self.watched = (self.watched + span).min(BASELINE_MEMORY);
        }
        self.reports.push_back((at, count));
        while let Some((old, count)) = self.reports.front().copied() {
            if at.since(old) <= window && self.reports.len() <= REPORTS_KEPT {
                break;
            }
            self.reports.pop_front();
            // What is complained of must not become what is usual.
            if self.raised_at.is_none() {
                self.learn(count, span);
            }
        }
    }

    /// What leaves the window becomes a part of what is usual.
    fn learn(&mut self, count: u64, span: Duration) {
        let minutes = span.as_secs_f64() / 60.0;
        if minutes > 0.0 {
            let share = (span.as_secs_f64() / BASELINE_MEMORY.min(self.watched.max(span)).as_secs_f64()).min(1.0);
            self.usual += (count as f64 / minutes - self.usual) * share;
        }
    }

    fn begin_anew(&mut self) {
        self.reports.clear();
        self.raised_at = None;
    }

    fn count(&self) -> u64 {
        self.reports.iter().map(|(_, count)| count).sum()
    }

    /// When errors were last counted.
    pub fn counted_at(&self) -> Option<Mono> {
        self.reports.back().map(|(at, _)| *at)
    }

    pub fn per_minute(&self, settings: &WorkerSettings) -> Option<f64> {
        let minutes = settings.error_rate_window.as_secs_f64() / 60.0;
        (!self.reports.is_empty()).then(|| self.count() as f64 / minutes)
    }

    /// Errors per minute before the window; `None` while that is not known.
    pub fn usual(&self, settings: &WorkerSettings) -> Option<f64> {
        (self.watched >= settings.error_rate_window * BASELINE_WINDOWS).then_some(self.usual)
    }

    pub fn judge(&mut self, settings: &WorkerSettings, now: Mono) -> Option<Symptom> {
        let rate = self.per_minute(settings)?;
        let threshold = settings.error_rate_threshold;
        let holds = rate >= if self.raised_at.is_some() { threshold * CLEAR_BELOW } else { threshold };
        if !holds {
            self.raised_at = None;
            return None;
        }
        let since = *self.raised_at.get_or_insert(now);
        let usual = self.usual(settings);
        let unusual = usual.is_some_and(|usual| rate >= usual * BASELINE_FACTOR);
        let acts = self.count() >= ERRORS_TO_ACT && unusual;
        let sustained = acts && now.since(since) >= settings.error_rate_window;
        let usual = match usual {
            Some(usual) => format!("usually {usual:.1}"),
            None => "what is usual is not known yet".into(),
        };
        let text = format!(
            "{} errors within {} ({rate:.1} per minute, threshold {threshold}; {usual})",
            self.count(),
            human(settings.error_rate_window)
        );
        Some(Symptom {
            evidence: Evidence::measured(text, rate, threshold),
            health: if sustained { Health::Critical } else { Health::Warning },
            tell_only: !acts,
        })
    }
}

/// Probes of the present activation.
#[derive(Default)]
pub struct Probes {
    /// The last results, newest in the lowest bit; 1 is a failure.
    failed: u64,
    passed_once: bool,
    pub why: Option<String>,
    /// It failed so often that it counts, and has not passed since.
    failing: bool,
}

impl Probes {
    fn take(&mut self, result: ProbeResult, settings: &WorkerSettings, starting: bool) {
        let mask = (1u64 << settings.probe_window.min(63)) - 1;
        match result {
            ProbeResult::Passed => {
                self.failed = (self.failed << 1) & mask;
                self.passed_once = true;
                self.why = None;
            }
            ProbeResult::Failed { why } => {
                self.why = Some(why);
                // It has its time to start, as long as it has never answered.
                if self.passed_once || !starting {
                    self.failed = (self.failed << 1 | 1) & mask;
                }
            }
            ProbeResult::Unknown { .. } => {}
        }
        let enough = self.failed.count_ones() >= settings.probe_failures;
        self.failing = enough || (self.failing && !self.passed_once);
    }

    fn begin_activation(&mut self) {
        self.failed = 0;
        self.passed_once = false;
    }

    pub fn judge(&self, settings: &WorkerSettings) -> Option<Evidence> {
        let why = self.why.as_deref().unwrap_or("it has not passed since it failed");
        self.failing.then(|| {
            let (failures, window) = (settings.probe_failures, settings.probe_window);
            Evidence::text(format!("{why} ({failures} of the last {window} probes failed)"))
        })
    }
}

impl Engine {
    pub(super) fn beats(&mut self, beats: Vec<Beat>) {
        let now = self.now();
        for beat in beats {
            let Some(instance) = self.instances.get_mut(&beat.unit).filter(|instance| instance.seen) else { continue };
            let hung = instance.conditions.contains_key(&Condition::Hung);
            instance.work.beats.take(beat.at.min(now), beat.source, now, &instance.view);
            // Most beats change nothing but the time until silence is too long.
            if hung || beat.source != BeatSource::Socket {
                self.reassess(&beat.unit);
            } else {
                self.await_silence(&beat.unit);
            }
        }
    }

    pub(super) fn errors(&mut self, counts: ErrorCounts) {
        let whole = counts.gap.is_none();
        if let Some(why) = counts.gap {
            self.desk.tell(What::JournalGap { why });
        }
        let by_unit: BTreeMap<_, u64> = counts.counts.into_iter().collect();
        for unit in self.unit_names() {
            let instance = self.instances.get_mut(&unit).expect("listed");
            let Some(settings) = self.settings.workers.get(&instance.worker) else { continue };
            let count = by_unit.get(&unit).copied().unwrap_or(0);
            if !instance.seen || (!instance.view.active.is_up() && count == 0) {
                continue;
            }
            let quiet = count == 0 && !instance.conditions.contains_key(&Condition::ErrorRateHigh);
            instance.work.errors.take(counts.at, counts.span, count, whole, settings.error_rate_window);
            if !quiet {
                self.reassess(&unit);
            }
        }
    }

    pub(super) fn probes(&mut self, readings: Vec<ProbeReading>) {
        let now = self.now();
        for ProbeReading { unit, invocation, result, .. } in readings {
            let Some(instance) = self.instances.get_mut(&unit).filter(|instance| instance.seen) else { continue };
            let Some(settings) = self.settings.workers.get(&instance.worker) else { continue };
            if instance.view.invocation != invocation {
                continue;
            }
            let began = instance.view.active_enter.or(instance.view.inactive_exit);
            let starting = began.is_some_and(|at| now.since(at) < settings.start_timeout);
            instance.work.probe.take(result, settings, starting);
            self.reassess(&unit);
        }
    }
}

/// The conditions of work of an instance that is up.
pub fn symptoms(instance: &mut Instance, settings: &WorkerSettings, now: Mono) -> Vec<(Condition, Symptom)> {
    let Instance { work, view, .. } = instance;
    let hung = work.beats.judge(view, settings, now).map(|evidence| (Condition::Hung, evidence));
    let probe = work.probe.judge(settings).map(|evidence| (Condition::ProbeFailed, evidence));
    let errors = work.errors.judge(settings, now).map(|symptom| (Condition::ErrorRateHigh, symptom));
    let external = work.external.judge(settings, now).map(|symptom| (Condition::External, symptom));
    let plain = |(condition, evidence)| (condition, Symptom::of(condition, evidence));
    hung.into_iter().chain(probe).map(plain).chain(errors).chain(external).collect()
}
