//! One unit in the candidate's world: as it was recorded, or as it is supposed to be since both part.

use std::time::Duration;

use crate::model::signal::{ProbeReading, ProbeResult};
use crate::model::unit::{InvocationId, ServiceResult, ServiceType};
use crate::model::{ActiveState, LoadState, Mono, UnitChange, UnitView, Usage, Verb};

/// What supposed activations are called: no recorded one begins so.
const SUPPOSED: u128 = 0x5a5a_5a5a_0000_0000_0000_0000_0000_0000;
/// Main process of a supposed activation: it is there, and no more is known of it.
const SUPPOSED_PID: u32 = 1;
/// A process that is asked to finish its work takes this long, where nothing is known of it.
const DRAIN_TAKES: Duration = Duration::from_secs(1);

/// Where the candidate's unit stands to the recorded one.
#[derive(Debug, Clone, Default)]
pub struct Unit {
    /// As it was recorded.
    pub recorded: UnitView,
    way: Way,
    readings: Readings,
    /// Restarts by systemd that the candidate was not shown.
    restarts_hidden: u32,
    last_usage: Option<Usage>,
    last_probe: Option<ProbeResult>,
}

#[derive(Debug, Clone, Default)]
enum Way {
    /// Shown as it is.
    #[default]
    Recorded,
    /// Both are in the same state again; the candidate knows the activation by another name.
    Alike {
        recorded: InvocationId,
        shown: Box<UnitView>,
    },
    Apart(Box<Apart>),
}

#[derive(Debug, Clone)]
struct Apart {
    shown: UnitView,
    why: Why,
    /// Supposed changes are still to come.
    busy: bool,
    /// The recorded act brings an activation that the candidate must not see.
    own_to_come: bool,
    /// The candidate has done the recorded act after all: the activation that it brings is seen.
    rejoins: bool,
    /// The recorded act was a stop.
    stopping: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The candidate did not do what was done: the unit stays as it was.
    Held,
    /// The candidate did what was not done.
    Supposed,
}

/// How recorded readings are to be taken.
#[derive(Debug, Clone, Default)]
enum Readings {
    #[default]
    AsRecorded,
    /// A supposed restart: as those of a fresh process. Inside: recorded memory at that time and the activation.
    Fresh { memory: Option<u64>, of: InvocationId },
    /// What was done to it was not done: they stay as they were.
    Stale,
}

/// A supposed change, so long after the order.
pub struct Effect {
    pub after: Duration,
    pub change: UnitChange,
    /// The job is over with it.
    pub ends_job: bool,
}

/// How a supposed stop or start goes.
#[derive(Debug, Clone, Copy)]
pub struct Fate {
    pub stop_takes: Duration,
    pub start_takes: Duration,
    /// It fails again after this time, as the recorded activation beside it did.
    pub fails_after: Option<(Duration, ServiceResult, i32, i32)>,
}

impl Unit {
    /// What the candidate sees.
    pub fn shown(&self) -> &UnitView {
        match &self.way {
            Way::Recorded => &self.recorded,
            Way::Alike { shown, .. } => shown,
            Way::Apart(apart) => &apart.shown,
        }
    }

    pub fn is_apart(&self) -> bool {
        matches!(self.way, Way::Apart(_))
    }

    /// Takes a recorded change; what the candidate is shown of it.
    pub fn change(&mut self, change: &UnitChange) -> Option<UnitChange> {
        let was = self.recorded.invocation;
        self.recorded.apply(change.clone());
        let anew = self.recorded.invocation != was;
        if anew && matches!(&self.readings, Readings::Fresh { .. }) {
            self.readings = Readings::AsRecorded;
        }
        match &mut self.way {
            Way::Recorded => Some(self.without_hidden(change.clone())),
            Way::Alike { recorded, .. } if *recorded != self.recorded.invocation => Some(self.release()),
            Way::Alike { .. } => Some(self.alike(change.clone())),
            Way::Apart(apart) => {
                let ours = anew && std::mem::take(&mut apart.own_to_come);
                let rejoins = apart.rejoins && anew;
                let somebody_else = anew && !ours && apart.why == Why::Held;
                if rejoins || somebody_else {
                    return Some(self.release());
                }
                self.agreement()
            }
        }
    }

    /// What the candidate sees in a look at all units.
    pub fn look(&mut self, change: &UnitChange) -> UnitChange {
        let told = self.change(change);
        match self.way {
            Way::Recorded => told.unwrap_or_default(),
            _ => self.shown().as_change(),
        }
    }

    /// Somebody stops the recorded unit while the candidate's stands elsewhere: that would have been done to it, too.
    pub fn stopped_by_somebody(&mut self) -> Option<UnitChange> {
        match &self.way {
            Way::Apart(apart) if !apart.stopping => Some(self.release()),
            _ => None,
        }
    }

    /// From here on as it was recorded.
    fn release(&mut self) -> UnitChange {
        self.way = Way::Recorded;
        self.readings = Readings::AsRecorded;
        let whole = self.recorded.as_change();
        self.without_hidden(whole)
    }

    /// Where both are up, or both down in the same way, they go on together: the change that makes them alike.
    fn agreement(&mut self) -> Option<UnitChange> {
        let Way::Apart(apart) = &self.way else { return None };
        let (seen, true_one) = (apart.shown.active, self.recorded.active);
        let alike = (seen.is_up() && true_one.is_up()) || (seen.is_down() && seen == true_one);
        if !alike || apart.busy || self.recorded.job.is_some() || apart.own_to_come {
            return None;
        }
        let mut shown = apart.shown.clone();
        self.restarts_hidden = self.recorded.n_restarts.saturating_sub(shown.n_restarts);
        let change = UnitChange {
            invocation: None,
            state_changed: None,
            active_enter: None,
            active_exit: None,
            inactive_enter: None,
            inactive_exit: None,
            n_restarts: None,
            ..self.recorded.as_change()
        };
        shown.apply(change.clone());
        self.way = Way::Alike { recorded: self.recorded.invocation, shown: Box::new(shown) };
        Some(change)
    }

    /// A recorded change in the words of the candidate's activation.
    fn alike(&mut self, change: UnitChange) -> UnitChange {
        let change = UnitChange { invocation: None, active_enter: None, inactive_exit: None, ..change };
        let change = self.without_hidden(change);
        if let Way::Alike { shown, .. } = &mut self.way {
            shown.apply(change.clone());
        }
        change
    }

    fn without_hidden(&self, mut change: UnitChange) -> UnitChange {
        if let Some(restarts) = &mut change.n_restarts {
            *restarts = restarts.saturating_sub(self.restarts_hidden);
        }
        change
    }

    /// The recorded act is not the candidate's: from here on the unit stays as it is.
    pub fn hold(&mut self, verb: Verb) {
        let ends_process = matches!(verb, Verb::TryRestart | Verb::Drain { .. } | Verb::Stop);
        if self.shown().active.is_up() && (ends_process || matches!(verb, Verb::ReclaimMemory { .. })) {
            self.readings = Readings::Stale;
        }
        if !ends_process && !matches!(verb, Verb::Start { .. }) {
            return;
        }
        let stopping = matches!(verb, Verb::Stop);
        let begins = !stopping;
        if let Way::Apart(apart) = &mut self.way {
            apart.own_to_come = begins;
            apart.stopping = stopping;
            return;
        }
        let shown = self.shown().clone();
        let apart = Apart { shown, why: Why::Held, busy: false, own_to_come: begins, rejoins: false, stopping };
        self.way = Way::Apart(Box::new(apart));
    }

    /// The candidate does what was done, at the same time: what follows is what was recorded.
    pub fn rejoin(&mut self) {
        if let Way::Apart(apart) = &mut self.way {
            apart.rejoins = true;
        }
    }

    /// The candidate does what was not done: what becomes of the unit, if its state changes.
    pub fn suppose(&mut self, verb: Verb, number: u64, job: u32, fate: Fate) -> Vec<Effect> {
        let effects = effects(self.shown(), verb, InvocationId(SUPPOSED + u128::from(number)), job, fate);
        if effects.is_empty() {
            return effects;
        }
        let shown = self.shown().clone();
        self.readings = match self.recorded.active.is_up() {
            true => {
                let memory = self.last_usage.as_ref().and_then(|usage| usage.memory_bytes);
                Readings::Fresh { memory, of: self.recorded.invocation }
            }
            false => Readings::AsRecorded,
        };
        let own_to_come = matches!(&self.way, Way::Apart(apart) if apart.own_to_come);
        let apart =
            Apart { shown, why: Why::Supposed, busy: true, own_to_come, rejoins: false, stopping: verb == Verb::Stop };
        self.way = Way::Apart(Box::new(apart));
        effects
    }

    /// A supposed change has come; `last` of its order. Also the change that makes both alike, where that is so now.
    pub fn supposed(&mut self, change: &UnitChange, last: bool) -> Option<UnitChange> {
        if let Way::Apart(apart) = &mut self.way {
            apart.shown.apply(change.clone());
            apart.busy &= !last;
        }
        self.agreement()
    }

    /// The sample as the candidate gets it. `least` is the least memory that the unit ever had.
    pub fn usage(&mut self, sample: Usage, least: Option<u64>) -> Option<Usage> {
        if !matches!(self.way, Way::Recorded) && !self.shown().active.is_up() {
            return None;
        }
        let shown = match (&self.readings, &self.last_usage) {
            (Readings::AsRecorded, _) | (Readings::Stale, None) => sample.clone(),
            (Readings::Fresh { memory, .. }, _) => {
                Usage { memory_bytes: fresh(sample.memory_bytes, *memory, least), ..sample.clone() }
            }
            (Readings::Stale, Some(last)) => {
                return Some(Usage { at: sample.at, cpu_usec: None, ..last.clone() });
            }
        };
        self.last_usage = Some(sample);
        Some(shown)
    }

    pub fn probe(&mut self, reading: ProbeReading) -> Option<ProbeReading> {
        let invocation = match &self.way {
            Way::Recorded => reading.invocation,
            Way::Alike { recorded, shown } if *recorded == reading.invocation => shown.invocation,
            Way::Apart(apart) if apart.shown.active.is_up() => apart.shown.invocation,
            Way::Alike { .. } | Way::Apart(_) => return None,
        };
        let result = match (&self.readings, &self.last_probe) {
            (Readings::Fresh { .. }, _) if matches!(reading.result, ProbeResult::Failed { .. }) => ProbeResult::Passed,
            (Readings::Stale, Some(last)) => last.clone(),
            _ => {
                self.last_probe = Some(reading.result.clone());
                reading.result
            }
        };
        Some(ProbeReading { invocation, result, ..reading })
    }

    /// Whether a recorded sign of life is one of the candidate's process.
    pub fn beats(&self) -> bool {
        !matches!(self.readings, Readings::Stale) && (matches!(self.way, Way::Recorded) || self.shown().active.is_up())
    }

    /// A supposed process gives signs of life, if the unit's ever did.
    pub fn beats_by_itself(&self) -> bool {
        matches!(self.readings, Readings::Fresh { .. }) && self.shown().active.is_up()
    }

    /// Whether errors that were recorded are those of the candidate's process.
    pub fn errs(&self) -> bool {
        !matches!(&self.readings, Readings::Fresh { of, .. } if *of == self.recorded.invocation)
            && (matches!(self.way, Way::Recorded) || self.shown().active.is_up())
    }
}

/// Memory of a process that was started anew when the recorded one had `then`, and grows as that one does.
fn fresh(recorded: Option<u64>, then: Option<u64>, least: Option<u64>) -> Option<u64> {
    let (recorded, then) = (recorded?, then?);
    Some(least.unwrap_or(then).min(then) + recorded.saturating_sub(then))
}

/// What an order that systemd took makes of a unit.
fn effects(shown: &UnitView, verb: Verb, invocation: InvocationId, job: u32, fate: Fate) -> Vec<Effect> {
    let at_once = Duration::from_millis(1);
    match verb {
        Verb::Start { .. } if shown.active.is_up() => Vec::new(),
        Verb::Start { .. } => begin(shown, invocation, job, at_once, fate),
        Verb::TryRestart => {
            let mut effects = stopping(shown, job, fate);
            effects.extend(begin(shown, invocation, job, at_once + fate.stop_takes, fate));
            effects
        }
        Verb::Drain { .. } if shown.restarts_itself => begin(shown, invocation, 0, DRAIN_TAKES, fate),
        Verb::Drain { .. } => vec![Effect { after: DRAIN_TAKES, change: ended(), ends_job: false }],
        Verb::Stop => {
            let mut effects = stopping(shown, job, fate);
            effects.push(Effect { after: at_once + fate.stop_takes, change: ended(), ends_job: true });
            effects
        }
        Verb::ResetConnections { .. } | Verb::ReclaimMemory { .. } | Verb::Hook { .. } => Vec::new(),
    }
}

/// On its way down, where that takes any time.
fn stopping(shown: &UnitView, job: u32, fate: Fate) -> Vec<Effect> {
    if !shown.active.is_up() || fate.stop_takes.is_zero() {
        return Vec::new();
    }
    let change = UnitChange {
        active: Some(ActiveState::Deactivating),
        sub: Some("stop-sigterm".into()),
        active_exit: Some(Mono(1)),
        job: Some(job),
        ..UnitChange::default()
    };
    vec![Effect { after: Duration::from_millis(1), change, ends_job: false }]
}

/// Begins, is up, and perhaps fails again. Moments are put in by [`at`].
fn begin(shown: &UnitView, invocation: InvocationId, job: u32, after: Duration, fate: Fate) -> Vec<Effect> {
    let known = !matches!(shown.load, LoadState::Stub | LoadState::NotFound);
    let begins = UnitChange {
        load: (!known).then_some(LoadState::Loaded),
        active: Some(ActiveState::Activating),
        sub: Some("start".into()),
        result: Some(ServiceResult::Success),
        invocation: Some(invocation),
        main_pid: Some(SUPPOSED_PID),
        exec_code: Some(0),
        exec_status: Some(0),
        inactive_exit: Some(Mono(1)),
        job: Some(job),
        ..UnitChange::default()
    };
    let up = UnitChange {
        active: Some(ActiveState::Active),
        sub: Some("running".into()),
        active_enter: Some(Mono(1)),
        job: Some(0),
        ..UnitChange::default()
    };
    let rests = shown.service_type == ServiceType::Oneshot && !shown.remain_after_exit;
    let mut effects = vec![
        Effect { after, change: begins, ends_job: false },
        Effect { after: after + fate.start_takes, change: if rests { ended() } else { up }, ends_job: true },
    ];
    if let Some((lasts, result, exec_code, exec_status)) = fate.fails_after.filter(|_| !rests) {
        let change = UnitChange {
            active: Some(ActiveState::Failed),
            sub: Some("failed".into()),
            result: Some(result),
            exec_code: Some(exec_code),
            exec_status: Some(exec_status),
            ..ended()
        };
        effects.push(Effect { after: after + lasts.max(fate.start_takes), change, ends_job: false });
    }
    effects
}

fn ended() -> UnitChange {
    UnitChange {
        active: Some(ActiveState::Inactive),
        sub: Some("dead".into()),
        result: Some(ServiceResult::Success),
        main_pid: Some(0),
        exec_code: Some(1),
        exec_status: Some(0),
        active_exit: Some(Mono(1)),
        inactive_enter: Some(Mono(1)),
        job: Some(0),
        ..UnitChange::default()
    }
}

/// The change with the moment at which it happens wherever it has one.
pub fn at(change: UnitChange, moment: Mono) -> UnitChange {
    let set = |stamp: Option<Mono>| stamp.map(|_| moment);
    UnitChange {
        state_changed: Some(moment),
        active_enter: set(change.active_enter),
        active_exit: set(change.active_exit),
        inactive_enter: set(change.inactive_enter),
        inactive_exit: set(change.inactive_exit),
        ..change
    }
}
