//! A model of systemd and of the processes that it runs: what really is, and the signals that tell of it.
//!
//! It knows nothing of unitmedic. Its fields that say why something is so (`want`, `failed_at`, `up_since`) are
//! the truth that the checkers judge by; they are never delivered.

use std::collections::{BTreeMap, VecDeque};

use unitmedic::model::unit::{FileState, InvocationId, JobKind, JobResult, ManagerState, ServiceResult, ServiceType};
use unitmedic::model::{ActiveState, Input, LoadState, Mono, UnitChange, UnitName, UnitView, Verb};

use crate::work::Trouble;

pub const MS: u64 = 1_000;
pub const SEC: u64 = 1_000_000;

/// A unit file, and how its program behaves when nothing is wrong with it.
#[derive(Clone)]
pub struct Spec {
    pub restart: Restart,
    pub restart_sec: u64,
    pub start_time: u64,
    pub stop_time: u64,
    pub stop_timeout: u64,
    pub start_limit: (usize, u64),
    pub file_state: FileState,
    pub oneshot: bool,
    /// Unloaded when it is inactive and nothing wants it.
    pub collected: bool,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Restart {
    No,
    OnFailure,
    Always,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Phase {
    Dead,
    Failed,
    Starting,
    Running,
    Stopping,
    Killing,
    AutoRestart,
}

/// What the operators of the host want of the unit.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Want {
    Run,
    Stopped,
    /// Nobody can tell from outside: never started, at rest, or stopped while it was down and nobody looked.
    Open,
}

#[derive(Clone, Copy)]
pub struct Job {
    pub id: u32,
    pub kind: JobKind,
}

/// What is wrong with the program now.
#[derive(Clone, Copy, Default)]
pub struct Broken {
    /// Ends this long after its start.
    pub crash_after: Option<u64>,
    pub hang_start: bool,
    pub ignore_term: bool,
}

pub struct Unit {
    pub name: UnitName,
    pub spec: Spec,
    pub phase: Phase,
    pub since: u64,
    generation: u64,
    pub loaded: bool,
    pub job: Option<Job>,
    pub view: UnitView,
    told: Option<UnitView>,
    starts: VecDeque<u64>,
    pub masked: bool,
    pub broken: Broken,
    pub stop_job_in_journal: bool,
    pub want: Want,
    pub want_since: u64,
    /// Start of the present stretch of being up.
    pub up_since: Option<u64>,
    /// When it last went down or failed without having been asked to.
    pub failed_at: Option<u64>,
    pub down_at: Option<u64>,
    pub usage: Load,
    pub trouble: Trouble,
    /// When something last was wrong with its work.
    pub trouble_at: u64,
}

#[derive(Clone, Copy)]
pub struct Load {
    pub cpu_usec: u64,
    pub cpus: f64,
    pub memory: u64,
    pub growth_per_sec: u64,
    /// Tasks, of 512, and open files of its process, of 1,024.
    pub tasks: f64,
    pub tasks_per_hour: f64,
    pub files: f64,
    pub files_per_hour: f64,
    pub pressure: f32,
    /// When it last was over what the thresholds allow.
    pub high_at: u64,
}

impl Load {
    /// Of a program that does its work; `high_at` as of the one before.
    pub fn usual(high_at: u64) -> Self {
        Self {
            cpu_usec: 0,
            cpus: 0.1,
            memory: 100 << 20,
            growth_per_sec: 0,
            tasks: 12.0,
            tasks_per_hour: 0.0,
            files: 90.0,
            files_per_hour: 0.0,
            pressure: 0.0,
            high_at,
        }
    }
}

#[derive(Debug, Clone)]
pub enum Event {
    Started(UnitName, u64),
    Stopped(UnitName, u64),
    StopTimeout(UnitName, u64),
    RestartDue(UnitName, u64),
    /// The second half of a restart.
    StartDue(UnitName, u64),
    Crash(UnitName, u64),
    /// Ends by itself, cleanly.
    Finish(UnitName, u64),
    Collect(UnitName, u64),
    Flush(UnitName),
}

pub struct Host {
    pub now: u64,
    pub units: BTreeMap<UnitName, Unit>,
    pub manager: ManagerState,
    pub startup_finished: u64,
    pub held: bool,
    /// Signals in the order in which systemd sent them.
    pub signals: Vec<Input>,
    /// What will happen by itself, and when.
    pub coming: Vec<(u64, Event)>,
    /// Signals of property changes may wait this long and swallow states in between.
    pub coalesce: u64,
    jobs: u32,
    activations: u128,
    pids: u32,
}

/// What systemd says to a call.
pub enum Called {
    Job(u32),
    Delivered,
    Did(&'static str),
    Nothing,
    Conflict,
    NoSuchUnit,
    Superseded,
}

impl Spec {
    pub fn plain() -> Self {
        Spec {
            restart: Restart::No,
            restart_sec: 100 * MS,
            start_time: 0,
            stop_time: 20 * MS,
            stop_timeout: 10 * SEC,
            start_limit: (5, 10 * SEC),
            file_state: FileState::Enabled,
            oneshot: false,
            collected: false,
        }
    }
}

impl Unit {
    fn new(name: UnitName, spec: Spec) -> Self {
        Unit {
            name,
            spec,
            phase: Phase::Dead,
            since: 0,
            generation: 0,
            loaded: false,
            job: None,
            view: UnitView::default(),
            told: None,
            starts: VecDeque::new(),
            masked: false,
            broken: Broken::default(),
            stop_job_in_journal: false,
            want: Want::Open,
            want_since: 0,
            up_since: None,
            failed_at: None,
            down_at: None,
            usage: Load::usual(0),
            trouble: Trouble::default(),
            trouble_at: 0,
        }
    }

    pub fn is_down(&self) -> bool {
        matches!(self.phase, Phase::Dead | Phase::Failed)
    }

    pub fn serves(&self) -> bool {
        self.phase == Phase::Running
    }

    fn load(&mut self) {
        if self.loaded {
            return;
        }
        self.loaded = true;
        self.told = None;
        self.view = UnitView {
            load: if self.masked { LoadState::Masked } else { LoadState::Loaded },
            sub: "dead".into(),
            file_state: self.spec.file_state,
            service_type: if self.spec.oneshot { ServiceType::Oneshot } else { ServiceType::Simple },
            triggered: self.spec.oneshot,
            restarts_itself: self.spec.restart != Restart::No,
            ..UnitView::default()
        };
    }
}

impl Host {
    pub fn new(now: u64) -> Self {
        Host {
            now,
            units: BTreeMap::new(),
            manager: ManagerState::Running,
            startup_finished: now,
            held: false,
            signals: Vec::new(),
            coming: Vec::new(),
            coalesce: 0,
            jobs: 100,
            activations: 0,
            pids: 1000,
        }
    }

    pub fn add(&mut self, name: &UnitName, spec: Spec) {
        let mut unit = Unit::new(name.clone(), spec);
        if !unit.spec.collected {
            unit.load();
        }
        self.units.insert(name.clone(), unit);
    }

    /// A unit of a template exists as soon as somebody names it.
    pub fn know_template(&mut self, name: &UnitName) {
        let Some((prefix, _)) = name.as_str().split_once('@') else { return };
        let of_template = |unit: &&Unit| unit.name.as_str().split_once('@').is_some_and(|(other, _)| other == prefix);
        let spec = self.units.values().find(of_template).map(|unit| unit.spec.clone());
        if let Some(spec) = spec.filter(|_| !self.units.contains_key(name)) {
            self.add(name, Spec { collected: true, file_state: FileState::Disabled, ..spec });
        }
    }

    pub fn unit(&mut self, name: &UnitName) -> &mut Unit {
        self.units.get_mut(name).expect("a unit of this host")
    }

    fn later(&mut self, after: u64, event: Event) {
        self.coming.push((self.now + after, event));
    }

    /// Something that was to come has come.
    pub fn happen(&mut self, event: Event) {
        let (name, generation) = match &event {
            Event::Flush(name) => return self.flush(&name.clone()),
            Event::Started(name, g)
            | Event::Stopped(name, g)
            | Event::StopTimeout(name, g)
            | Event::RestartDue(name, g)
            | Event::StartDue(name, g)
            | Event::Crash(name, g)
            | Event::Finish(name, g)
            | Event::Collect(name, g) => (name.clone(), *g),
        };
        if self.units[&name].generation != generation {
            return;
        }
        match event {
            Event::Started(..) => self.started(&name),
            Event::Stopped(..) => self.stopped(&name),
            Event::StopTimeout(..) => {
                self.enter(&name, Phase::Killing);
                let generation = self.units[&name].generation;
                self.later(5 * MS, Event::Stopped(name, generation));
            }
            Event::RestartDue(..) => self.auto_restart(&name),
            Event::StartDue(..) => self.activate(&name),
            Event::Crash(..) => self.ended(&name, 1, 1),
            Event::Finish(..) => self.ended(&name, 1, 0),
            Event::Collect(..) => self.collect(&name),
            Event::Flush(_) => {}
        }
    }

    // ---- calls and jobs ----

    pub fn start(&mut self, name: &UnitName) -> Called {
        if self.units[name].masked {
            return Called::NoSuchUnit;
        }
        match self.units[name].job {
            Some(job) if matches!(job.kind, JobKind::Start | JobKind::Restart) => return Called::Job(job.id),
            Some(job) => self.end_job(name, job.id, JobResult::Canceled),
            None => {}
        }
        let id = self.new_job(name, JobKind::Start);
        self.unit(name).view.n_restarts = 0;
        match self.units[name].phase {
            Phase::Running => self.end_job(name, id, JobResult::Done),
            Phase::Dead | Phase::Failed | Phase::AutoRestart => self.activate(name),
            Phase::Starting | Phase::Stopping | Phase::Killing => {}
        }
        Called::Job(id)
    }

    pub fn stop(&mut self, name: &UnitName) -> Called {
        if let Some(job) = self.units[name].job {
            if job.kind == JobKind::Stop {
                return Called::Job(job.id);
            }
            self.end_job(name, job.id, JobResult::Canceled);
        }
        let id = self.new_job(name, JobKind::Stop);
        match self.units[name].phase {
            // Nothing to do, and nothing in the journal.
            Phase::Dead | Phase::Failed => self.end_job(name, id, JobResult::Done),
            Phase::AutoRestart => {
                self.unit(name).stop_job_in_journal = true;
                self.enter(name, Phase::Dead);
                self.end_job(name, id, JobResult::Done);
                self.maybe_collect(name);
            }
            Phase::Running | Phase::Starting => {
                self.unit(name).stop_job_in_journal = true;
                self.terminate(name);
            }
            Phase::Stopping | Phase::Killing => self.unit(name).stop_job_in_journal = true,
        }
        Called::Job(id)
    }

    pub fn restart(&mut self, name: &UnitName) -> Called {
        if self.units[name].masked {
            return Called::NoSuchUnit;
        }
        if let Some(job) = self.units[name].job {
            match job.kind {
                JobKind::Restart => return Called::Job(job.id),
                _ => self.end_job(name, job.id, JobResult::Canceled),
            }
        }
        let id = self.new_job(name, JobKind::Restart);
        match self.units[name].phase {
            Phase::Running | Phase::Starting => self.terminate(name),
            Phase::Dead | Phase::Failed | Phase::AutoRestart => self.activate(name),
            Phase::Stopping | Phase::Killing => {}
        }
        Called::Job(id)
    }

    /// What the root side is asked for; job mode `fail`.
    pub fn carry_out(&mut self, name: &UnitName, verb: Verb) -> Called {
        let Some(unit) = self.units.get_mut(name) else { return Called::NoSuchUnit };
        if unit.masked {
            return Called::NoSuchUnit;
        }
        unit.load();
        let job = unit.job;
        match verb {
            Verb::Drain { invocation, .. } => self.drain(name, invocation),
            _ if job.is_some_and(|job| job.kind == JobKind::Stop) => Called::Conflict,
            Verb::Start { reset_failed } => {
                if reset_failed {
                    self.reset_failed(name);
                }
                self.start(name)
            }
            Verb::Stop => match self.units[name].phase {
                Phase::Dead | Phase::Failed => Called::Nothing,
                _ => self.stop(name),
            },
            Verb::ResetConnections { invocation } | Verb::ReclaimMemory { invocation } => {
                self.mild(name, verb, invocation)
            }
            Verb::Hook { .. } => Called::Nothing,
            Verb::TryRestart => match self.units[name].phase {
                Phase::Dead | Phase::Failed | Phase::Stopping | Phase::Killing => {
                    // Collapses to no operation.
                    let id = self.next_job();
                    self.signals.push(Input::JobNew { unit: name.clone(), job: id });
                    self.signals.push(Input::JobRemoved { unit: name.clone(), job: id, result: JobResult::Done });
                    Called::Job(id)
                }
                _ => self.restart(name),
            },
        }
    }

    /// What interrupts nothing.
    fn mild(&mut self, name: &UnitName, verb: Verb, invocation: InvocationId) -> Called {
        let unit = self.unit(name);
        if unit.view.invocation != invocation || unit.view.main_pid == 0 {
            return Called::Superseded;
        }
        match verb {
            Verb::ReclaimMemory { .. } if unit.usage.growth_per_sec > 0 || unit.usage.memory <= 300 << 20 => {
                Called::Did("reclaimed nothing")
            }
            Verb::ReclaimMemory { .. } => {
                unit.usage.memory = 300 << 20;
                Called::Did("reclaimed 500 MiB")
            }
            _ => {
                unit.trouble.half_open = false;
                Called::Did("destroyed 1 connection")
            }
        }
    }

    fn drain(&mut self, name: &UnitName, invocation: InvocationId) -> Called {
        let unit = &self.units[name];
        if unit.view.invocation != invocation || unit.view.main_pid == 0 {
            return Called::Superseded;
        }
        if unit.phase == Phase::Running && !unit.broken.ignore_term {
            let (after, generation) = (unit.spec.stop_time * 10, unit.generation);
            self.coming.push((self.now + after, Event::Finish(name.clone(), generation)));
        }
        Called::Delivered
    }

    pub fn reset_failed(&mut self, name: &UnitName) {
        let unit = self.unit(name);
        unit.starts.clear();
        if unit.phase == Phase::Failed {
            unit.view.result = ServiceResult::Success;
            unit.view.n_restarts = 0;
            self.enter(name, Phase::Dead);
            self.maybe_collect(name);
        }
    }

    fn next_job(&mut self) -> u32 {
        self.jobs += 1;
        self.jobs
    }

    fn new_job(&mut self, name: &UnitName, kind: JobKind) -> u32 {
        let id = self.next_job();
        let unit = self.unit(name);
        unit.load();
        unit.job = Some(Job { id, kind });
        unit.view.job = Some(id);
        self.signals.push(Input::JobNew { unit: name.clone(), job: id });
        self.dirty(name);
        id
    }

    /// systemd tells what changed in the unit before it tells that the job is over.
    fn end_job(&mut self, name: &UnitName, id: u32, result: JobResult) {
        self.flush(name);
        let unit = self.unit(name);
        unit.job = None;
        unit.view.job = None;
        self.signals.push(Input::JobRemoved { unit: name.clone(), job: id, result });
        self.dirty(name);
    }

    // ---- phases ----

    fn enter(&mut self, name: &UnitName, phase: Phase) {
        let now = self.now;
        let unit = self.unit(name);
        unit.generation += 1;
        let was = unit.phase;
        unit.phase = phase;
        unit.since = now;
        let (active, sub) = match phase {
            Phase::Dead => (ActiveState::Inactive, "dead"),
            Phase::Failed => (ActiveState::Failed, "failed"),
            Phase::Starting => (ActiveState::Activating, "start"),
            Phase::Running => (ActiveState::Active, "running"),
            Phase::Stopping => (ActiveState::Deactivating, "stop-sigterm"),
            Phase::Killing => (ActiveState::Deactivating, "stop-sigkill"),
            Phase::AutoRestart => (ActiveState::Activating, "auto-restart"),
        };
        let view = &mut unit.view;
        let at = Some(Mono(now));
        let (was_down, is_down) = (view.active.is_down(), active.is_down());
        // On its way into and out of auto-restart a unit is dead for an instant.
        let through_dead = phase == Phase::AutoRestart || was == Phase::AutoRestart;
        if through_dead || was_down && !is_down {
            view.inactive_exit = at;
        }
        if through_dead || !was_down && is_down {
            view.inactive_enter = at;
        }
        if !view.active.is_up() && active.is_up() {
            view.active_enter = at;
        }
        if view.active.is_up() && !active.is_up() {
            view.active_exit = at;
        }
        view.active = active;
        view.sub = sub.into();
        view.state_changed = at;
        match (was, phase) {
            (_, Phase::Running) => unit.up_since = Some(now),
            (Phase::Running, _) => {
                unit.up_since = None;
                unit.down_at = Some(now);
            }
            _ => {}
        }
        self.dirty(name);
    }

    fn activate(&mut self, name: &UnitName) {
        let now = self.now;
        let unit = self.unit(name);
        let (burst, interval) = unit.spec.start_limit;
        while unit.starts.front().is_some_and(|at| now - at > interval) {
            unit.starts.pop_front();
        }
        if unit.starts.len() >= burst {
            unit.view.result = ServiceResult::StartLimitHit;
            unit.failed_at = Some(now);
            self.enter(name, Phase::Failed);
            if let Some(job) = self.units[name].job {
                self.end_job(name, job.id, JobResult::Failed);
            }
            return;
        }
        unit.starts.push_back(now);
        self.activations += 1;
        self.pids += 1;
        let (invocation, pid) = (InvocationId(self.activations << 64 | 7), self.pids);
        let unit = self.unit(name);
        unit.stop_job_in_journal = false;
        unit.view.invocation = invocation;
        unit.view.main_pid = pid;
        unit.view.exec_code = 0;
        unit.view.exec_status = 0;
        unit.view.result = ServiceResult::Success;
        unit.trouble = Trouble::default();
        unit.usage = Load::usual(unit.usage.high_at);
        let (wait, hang) = (unit.spec.start_time, unit.broken.hang_start);
        self.enter(name, Phase::Starting);
        match (hang, wait) {
            (true, _) => {}
            (false, 0) => self.started(name),
            (false, wait) => {
                let generation = self.units[name].generation;
                self.later(wait, Event::Started(name.clone(), generation));
            }
        }
    }

    fn started(&mut self, name: &UnitName) {
        self.enter(name, Phase::Running);
        if let Some(job) = self.units[name].job {
            self.end_job(name, job.id, JobResult::Done);
        }
        let unit = &self.units[name];
        let generation = unit.generation;
        if unit.spec.oneshot {
            let work = unit.spec.stop_time * 5;
            self.later(work, Event::Finish(name.clone(), generation));
        } else if let Some(after) = unit.broken.crash_after {
            self.later(after, Event::Crash(name.clone(), generation));
        }
    }

    fn terminate(&mut self, name: &UnitName) {
        self.enter(name, Phase::Stopping);
        let unit = &self.units[name];
        let generation = unit.generation;
        match unit.broken.ignore_term {
            true => self.later(unit.spec.stop_timeout, Event::StopTimeout(name.clone(), generation)),
            false => self.later(unit.spec.stop_time, Event::Stopped(name.clone(), generation)),
        }
    }

    /// The processes are gone after a stop.
    fn stopped(&mut self, name: &UnitName) {
        let unit = self.unit(name);
        let killed = unit.phase == Phase::Killing;
        unit.view.main_pid = 0;
        unit.view.exec_code = 2;
        unit.view.exec_status = if killed { 9 } else { 15 };
        unit.view.result = if killed { ServiceResult::Timeout } else { ServiceResult::Success };
        self.enter(name, if killed { Phase::Failed } else { Phase::Dead });
        match self.units[name].job {
            Some(job) if job.kind == JobKind::Stop => {
                self.end_job(name, job.id, JobResult::Done);
                self.maybe_collect(name);
            }
            Some(job) => {
                // systemd makes a start of what is left of a restart, under the same number and without a word.
                self.unit(name).job = Some(Job { kind: JobKind::Start, ..job });
                let generation = self.units[name].generation;
                self.later(MS, Event::StartDue(name.clone(), generation));
            }
            None => self.maybe_collect(name),
        }
    }

    /// The main process ended: `code` as in CLD_*, `status` exit code or signal.
    pub fn ended(&mut self, name: &UnitName, code: i32, status: i32) {
        let unit = &self.units[name];
        if unit.phase == Phase::Stopping || unit.phase == Phase::Killing {
            return self.stopped(name);
        }
        if !matches!(unit.phase, Phase::Running | Phase::Starting) {
            return;
        }
        let clean = (code, status) == (1, 0) || (code, status) == (2, 15);
        let result = match (code, clean) {
            (_, true) => ServiceResult::Success,
            (1, _) => ServiceResult::ExitCode,
            _ => ServiceResult::Signal,
        };
        self.die(name, code, status, result);
    }

    pub fn die(&mut self, name: &UnitName, code: i32, status: i32, result: ServiceResult) {
        let now = self.now;
        let unit = self.unit(name);
        if !matches!(unit.phase, Phase::Running | Phase::Starting) {
            return;
        }
        unit.view.main_pid = 0;
        unit.view.exec_code = code;
        unit.view.exec_status = status;
        unit.view.result = result;
        if !(unit.spec.oneshot && result == ServiceResult::Success) {
            unit.failed_at = Some(now);
        }
        let clean = result == ServiceResult::Success;
        let again = match unit.spec.restart {
            Restart::No => false,
            Restart::OnFailure => !clean,
            Restart::Always => true,
        };
        let (wait, job) = (unit.spec.restart_sec, unit.job);
        if again {
            self.enter(name, Phase::AutoRestart);
            let generation = self.units[name].generation;
            self.later(wait, Event::RestartDue(name.clone(), generation));
        } else {
            self.enter(name, if clean { Phase::Dead } else { Phase::Failed });
        }
        if let Some(job) = job {
            self.end_job(name, job.id, JobResult::Failed);
        }
        self.maybe_collect(name);
    }

    fn auto_restart(&mut self, name: &UnitName) {
        if self.units[name].job.is_none() {
            self.new_job(name, JobKind::Restart);
        }
        self.unit(name).view.n_restarts += 1;
        self.activate(name);
    }

    fn maybe_collect(&mut self, name: &UnitName) {
        let unit = &self.units[name];
        if unit.spec.collected && unit.phase == Phase::Dead && unit.job.is_none() {
            let generation = unit.generation;
            self.later(3 * MS, Event::Collect(name.clone(), generation));
        }
    }

    fn collect(&mut self, name: &UnitName) {
        if self.units[name].phase != Phase::Dead || self.units[name].job.is_some() {
            return;
        }
        self.flush(name);
        let unit = self.unit(name);
        unit.loaded = false;
        unit.told = None;
        self.signals.push(Input::Unloaded { unit: name.clone() });
    }

    pub fn mask(&mut self, name: &UnitName, masked: bool) {
        let unit = self.unit(name);
        unit.masked = masked;
        if unit.loaded {
            unit.view.load = if masked { LoadState::Masked } else { LoadState::Loaded };
            unit.view.file_state = if masked { FileState::Masked } else { unit.spec.file_state };
            // Neither is signalled; daemon-reload follows and makes for a snapshot.
        }
    }

    // ---- signals ----

    fn dirty(&mut self, name: &UnitName) {
        match self.coalesce {
            0 => self.flush(name),
            wait => self.later(wait, Event::Flush(name.clone())),
        }
    }

    /// Sends what has changed since the last time.
    fn flush(&mut self, name: &UnitName) {
        let unit = self.units.get_mut(name).expect("a unit of this host");
        if !unit.loaded {
            return;
        }
        let change = match &unit.told {
            Some(told) => difference(told, &unit.view),
            None => Some(whole(&unit.view)),
        };
        unit.told = Some(unit.view.clone());
        if let Some(change) = change {
            self.signals.push(Input::Unit { unit: name.clone(), change: Box::new(change) });
        }
    }

    /// Answer to a look at one unit; it loads the unit.
    pub fn look(&mut self, name: &UnitName) -> UnitChange {
        let Some(unit) = self.units.get_mut(name) else {
            return UnitChange {
                load: Some(LoadState::NotFound),
                active: Some(ActiveState::Inactive),
                ..Default::default()
            };
        };
        unit.load();
        let change = whole(&unit.view);
        unit.told = Some(unit.view.clone());
        self.maybe_collect(name);
        change
    }

    pub fn everything(&mut self) -> Vec<(UnitName, UnitChange)> {
        let loaded = self.units.values_mut().filter(|unit| unit.loaded);
        loaded
            .map(|unit| {
                unit.told = Some(unit.view.clone());
                (unit.name.clone(), whole(&unit.view))
            })
            .collect()
    }
}

macro_rules! fields {
    ($do:ident) => {
        $do!(load active sub result n_restarts main_pid exec_code exec_status invocation file_state service_type
             remain_after_exit triggered restarts_itself dependents control_group;
             state_changed active_enter active_exit inactive_enter inactive_exit)
    };
}

fn whole(view: &UnitView) -> UnitChange {
    let mut change = UnitChange::default();
    macro_rules! all { ($($f:ident)+; $($t:ident)+) => {
        $(change.$f = Some(view.$f.clone());)+
        $(change.$t = Some(view.$t.unwrap_or_default());)+
    } }
    fields!(all);
    change.job = Some(view.job.unwrap_or(0));
    change
}

fn difference(old: &UnitView, new: &UnitView) -> Option<UnitChange> {
    if old == new {
        return None;
    }
    let mut change = UnitChange::default();
    macro_rules! all { ($($f:ident)+; $($t:ident)+) => {
        $(if old.$f != new.$f { change.$f = Some(new.$f.clone()); })+
        $(if old.$t != new.$t { change.$t = Some(new.$t.unwrap_or_default()); })+
    } }
    fields!(all);
    if old.job != new.job {
        change.job = Some(new.job.unwrap_or(0));
    }
    // Never signalled: they come with a look.
    change.file_state = None;
    change.load = None;
    Some(change)
}
