//! One watched unit: what is seen of it, whether it should run, and which conditions hold.

use std::collections::{BTreeMap, VecDeque};

use crate::model::fact::RestartCause;
use crate::model::unit::{FileState, InvocationId, JobKind, JobResult, ServiceResult, stop_in_words};
use crate::model::{
    ActiveState, Condition, Evidence, Health, IncidentId, LoadState, Mono, UnitName, UnitView, WorkerName,
};

use super::pattern::Log;
use super::readings::Readings;
use super::work::Work;
use crate::learn::unusual::Habits;

/// Most failures remembered for the crash-loop window.
pub const FAILURES_KEPT: usize = 64;

/// Whether a unit should run, and how we know.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// Not decided yet: no look so far, or an inquiry is under way.
    Undecided,
    ShouldRun,
    /// On purpose; the text names who or what.
    Stopped(String),
    /// Inactive is normal: a oneshot, or one that a timer, socket or path starts. Only its result is judged.
    NowAndThen,
    NotFound,
    /// Not needed now; scaling may start it.
    Spare,
}

/// A job of systemd for this unit.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    pub id: u32,
    pub kind: Option<JobKind>,
    /// The unit was up when the job was queued: if it ends down, it was a stop.
    pub found_up: bool,
    /// The unit was being started, and not waiting for systemd's own restart: a start would have been merged with the job
    /// that was there, so this is most likely none.
    pub found_starting: bool,
    /// It had begun a start when we first looked, so the activation that we saw is that of the job itself.
    pub found_midway: bool,
    /// The activation in which the job was queued.
    pub invocation: InvocationId,
    pub result: Option<JobResult>,
}

impl Job {
    pub fn new(id: u32, found_up: bool, invocation: InvocationId) -> Self {
        Self { id, kind: None, found_up, found_starting: false, found_midway: false, invocation, result: None }
    }

    /// The job took the unit down, or kept it down, and that was its purpose. Asked of a unit that is down now.
    pub fn was_stop(&self, now_in: InvocationId) -> bool {
        match (self.kind, self.result) {
            (Some(kind), _) => kind == JobKind::Stop,
            // Too quick for us to read its kind. A start or restart that is done leaves the unit up, or in a
            // new activation; a stop is done also when the processes had to be killed, and one of a unit that
            // was not loaded leaves it without any activation.
            (None, Some(result)) => result == JobResult::Done && (now_in == self.invocation || now_in.is_none()),
            (None, None) => self.found_up,
        }
    }

    pub fn is_start(&self) -> bool {
        match self.kind {
            Some(kind) => matches!(kind, JobKind::Start | JobKind::ReloadOrStart),
            None => !self.found_up && !self.found_starting,
        }
    }
}

pub struct Instance {
    pub unit: UnitName,
    pub worker: WorkerName,
    pub view: UnitView,
    pub standing: Standing,
    /// We have looked at it since the bus was last connected.
    pub seen: bool,
    /// An inquiry into how it came to be down has been sent.
    pub inquiring: bool,
    pub job: Option<Job>,
    /// The last job that ended since the unit was last up.
    pub last_job: Option<Job>,
    /// The kind of job that our last order asks for.
    pub ordered: Option<JobKind>,
    /// The job that our last order made, as systemd named it; its kind needs no reading.
    pub own_job: Option<(u32, JobKind)>,
    pub health: Health,
    pub conditions: BTreeMap<Condition, Held>,
    pub failures: VecDeque<Mono>,
    /// The failure that is under way and has been counted, so that none is counted twice. Inside: when it came
    /// to rest (InactiveEnterTimestamp), once it has.
    pub counted: Option<Option<Mono>>,
    /// When the present failure happened.
    pub failed_at: Option<Mono>,
    pub readings: Readings,
    pub work: Work,
    /// What its log showed lately.
    pub said: Log,
    /// What its log is a sign of, or the hour, and until when that may come.
    pub foretold: Option<(Mono, Evidence)>,
    /// What it usually does.
    pub habits: Habits,
    /// What is unusual of it and lasts, and when that was found.
    pub unusual: Option<(Mono, Evidence)>,
    /// Why scaling wants this spare to run.
    pub wanted: Option<Evidence>,
    pub incident: Option<IncidentId>,
    /// We took it down ourselves (drain): being down is not a failure until its next activation.
    pub taken_down: bool,
    /// Our restart of a running unit is under way: being down is a part of it until its job is over.
    pub being_restarted: bool,
    /// Start of the present stretch of health.
    pub well_since: Option<Mono>,
    pub restarts: BTreeMap<RestartCause, u32>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    pub evidence: Evidence,
    pub since: Mono,
    pub health: Health,
    /// It is told, and nothing is done for it.
    pub tell_only: bool,
}

impl Instance {
    pub fn new(unit: UnitName, worker: WorkerName) -> Self {
        Self {
            unit,
            worker,
            view: UnitView::default(),
            standing: Standing::Undecided,
            seen: false,
            inquiring: false,
            job: None,
            last_job: None,
            ordered: None,
            own_job: None,
            health: Health::Unknown,
            conditions: BTreeMap::new(),
            failures: VecDeque::new(),
            counted: None,
            failed_at: None,
            readings: Readings::default(),
            work: Work::default(),
            said: Log::default(),
            foretold: None,
            habits: Habits::default(),
            unusual: None,
            wanted: None,
            incident: None,
            taken_down: false,
            being_restarted: false,
            well_since: None,
            restarts: BTreeMap::new(),
        }
    }

    /// A job of ours is known by its id, whichever of reply and signal comes first.
    pub fn name_own_job(&mut self) {
        let Some((id, kind)) = self.own_job else { return };
        for job in [&mut self.job, &mut self.last_job].into_iter().flatten() {
            if job.id == id {
                job.kind = Some(kind);
            }
        }
    }

    /// The stop job that is or was in the queue is our own.
    pub fn stopped_by_us(&self) -> bool {
        let stop = self.own_job.filter(|(_, kind)| *kind == JobKind::Stop).map(|(id, _)| id);
        stop.is_some() && self.job.or(self.last_job).map(|job| job.id) == stop
    }

    pub fn count_failure(&mut self, at: Mono) {
        self.failures.push_back(at);
        if self.failures.len() > FAILURES_KEPT {
            self.failures.pop_front();
        }
    }

    pub fn should_run(&self) -> bool {
        matches!(self.standing, Standing::ShouldRun | Standing::NowAndThen)
    }

    /// It serves, as far as can be seen from here: that others complain of it does not say that it does nothing.
    pub fn does_its_work(&self) -> bool {
        let sick = || self.conditions.iter().filter(|(_, held)| held.health.is_sick());
        let only_told = || self.at_work() && sick().all(|(condition, _)| *condition == Condition::External);
        self.health.serves() || self.health.is_sick() && only_told()
    }

    pub fn is_spare(&self) -> bool {
        self.standing == Standing::Spare
    }

    pub fn is_masked(&self) -> bool {
        self.view.load == LoadState::Masked
            || matches!(self.view.file_state, FileState::Masked | FileState::MaskedRuntime)
    }

    /// systemd is bringing it back by itself, or will once it has cleaned up.
    pub fn systemd_restarts_it(&self) -> bool {
        self.view.in_auto_restart()
            || (self.view.active == ActiveState::Deactivating && self.view.restarts_itself && self.job.is_none())
    }

    /// systemd refuses to start it. Where the limit was hit in an automatic restart, Result= still tells of the last
    /// process: then only the job says so, which failed without an activation.
    pub fn start_limit_hit(&self) -> bool {
        let refused = self.last_job.is_some_and(|job| {
            let meant_to_start = job.kind != Some(JobKind::Stop);
            let not_activated = job.invocation == self.view.invocation && !job.found_midway;
            job.result == Some(JobResult::Failed) && meant_to_start && not_activated
        });
        self.view.active == ActiveState::Failed && (self.view.result == ServiceResult::StartLimitHit || refused)
    }

    /// In its own state as it should be: up, or at rest with a good result where rest is normal.
    pub fn at_work(&self) -> bool {
        match self.standing {
            Standing::NowAndThen => {
                self.view.active.is_up()
                    || (self.view.active == ActiveState::Inactive && !super::assess::failed_result(&self.view))
            }
            Standing::ShouldRun => self.view.active.is_up(),
            _ => false,
        }
    }

    pub fn leading_condition(&self) -> Option<(Condition, &Held)> {
        self.conditions.iter().next_back().map(|(condition, held)| (*condition, held))
    }

    /// Forgets what belonged to the former activation.
    pub fn begin_activation(&mut self, now: Mono) {
        self.readings.begin_activation();
        self.habits.begin(now);
        self.unusual = None;
        self.foretold = None;
        self.work.begin_activation();
        self.last_job = None;
        // The new invocation can be told before the new state: until then being down is still our doing.
        if !self.view.active.is_down() {
            self.come_up();
        }
    }

    /// It has left the state into which we had taken it.
    pub fn come_up(&mut self) {
        self.taken_down = false;
        self.being_restarted = false;
    }

    /// The standing in a sentence.
    pub fn standing_text(&self) -> String {
        match &self.standing {
            Standing::Undecided if !self.seen => "not looked at yet".into(),
            Standing::Undecided => "finding out whether it was stopped on purpose".into(),
            Standing::ShouldRun => "should run".into(),
            Standing::Stopped(why) => stop_in_words(why),
            Standing::NowAndThen => "runs now and then (oneshot, or started by a timer, socket or path)".into(),
            Standing::NotFound => "systemd does not know this unit (not found)".into(),
            Standing::Spare => "not needed now; unitmedic starts it when there is more work".into(),
        }
    }

    /// Why its health is what it is.
    pub fn because(&self) -> String {
        if !self.seen && self.standing != Standing::NotFound {
            return "systemd is out of sight, or the unit has not been looked at yet".into();
        }
        if let Some((_, held)) = self.leading_condition() {
            return held.evidence.text.clone();
        }
        match (&self.standing, self.view.active) {
            (Standing::ShouldRun | Standing::NowAndThen, active) if !self.at_work() => match self.view.sub.as_str() {
                "" => active.to_string(),
                sub => format!("{active} ({sub})"),
            },
            (Standing::ShouldRun | Standing::NowAndThen, active) if active.is_up() => "running".into(),
            (Standing::NowAndThen, _) => "at rest, last run succeeded".into(),
            _ => self.standing_text(),
        }
    }
}
