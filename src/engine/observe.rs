//! From signals to what they mean for an instance: it came up, it failed, it was stopped on purpose.

use std::time::Duration;

use crate::model::fact::{RestartCause, ResyncReason};
use crate::model::input::{Finding, Snapshot, Wanted};
use crate::model::unit::{FileState, JobKind, JobResult, LoadState, ManagerState, TAKEN_ALONG, UnitChange};
use crate::model::{ActiveState, Command, Health, HostUsage, Mono, Selector, UnitName, Usage, What, WorkerName};

use super::instance::{Instance, Job, Standing};
use super::timers::TimerKey;
use super::{Engine, INSTANCES_PER_WORKER};

/// Most failures that one signal can report at once (a jump of NRestarts).
const FAILURES_PER_SIGNAL: u32 = 16;

/// After a job was canceled, the job that replaces it is about to be told.
const CANCELED_PAUSE: Duration = Duration::from_millis(100);

impl Engine {
    pub(super) fn bus_lost(&mut self, why: String) {
        let was_sighted = std::mem::replace(&mut self.sighted, false);
        self.blind_because = why.clone();
        if !was_sighted {
            return;
        }
        self.desk.tell(What::BusLost { why });
        for unit in self.unit_names() {
            let instance = self.instances.get_mut(&unit).expect("listed");
            instance.seen = false;
            instance.job = None;
            instance.being_restarted = false;
            instance.well_since = None;
            instance.inquiring = false;
            self.set_health(&unit, Health::Unknown);
        }
    }

    pub(super) fn snapshot(&mut self, snapshot: Snapshot) {
        let after_gap = !self.sighted || snapshot.reason == ResyncReason::QueueOverflow;
        self.sighted = true;
        self.manager = snapshot.manager;
        self.startup_finished = (snapshot.startup_finished.0 != 0).then_some(snapshot.startup_finished);
        if after_gap {
            // The end of a job may be among what was missed; one that still runs is in the snapshot.
            for instance in self.instances.values_mut() {
                instance.seen = false;
                instance.job = None;
            }
        }
        self.desk.tell(What::Resynced { reason: snapshot.reason, units: snapshot.units.len() });
        let mut listed = std::collections::BTreeSet::new();
        for (unit, change) in snapshot.units {
            listed.insert(unit.clone());
            self.unit_changed(&unit, change);
        }
        for unit in self.unit_names() {
            if !listed.contains(&unit) {
                self.missing_from_snapshot(&unit);
            }
        }
        self.look_at_remembered();
        for name in self.settings.workers.keys().cloned().collect::<Vec<_>>() {
            self.expect_configured(&name);
        }
        self.set_grace_timer();
        self.reassess_all();
        self.tidy_owned();
    }

    /// systemd has no such unit loaded: look at it by name, or let it go if it was down on purpose anyway.
    fn missing_from_snapshot(&mut self, unit: &UnitName) {
        let instance = &self.instances[unit];
        let plain = matches!(self.selector_of(unit), Some(Selector::Unit(_)));
        if !plain && matches!(instance.standing, Standing::NotFound) {
            self.vanish(unit);
        } else if instance.is_spare() {
            // Not loaded is what a spare is.
            self.instances.get_mut(unit).expect("listed").seen = true;
        } else if !matches!(instance.standing, Standing::Stopped(_)) {
            self.desk.command(Command::Look { unit: unit.clone() });
        }
    }

    /// What we knew of in a former life and systemd has unloaded since: a clean end leaves no trace in its lists.
    fn look_at_remembered(&mut self) {
        let remembered: std::collections::BTreeSet<UnitName> =
            self.wanted.keys().chain(self.incidents.values().map(|incident| &incident.unit)).cloned().collect();
        for unit in remembered {
            if self.instances.contains_key(&unit) {
                continue;
            }
            let Some(worker) = self.settings.worker_of(unit.as_str()).map(|worker| worker.name.clone()) else {
                continue;
            };
            self.add_instance(&unit, &worker);
            self.desk.command(Command::Look { unit });
        }
    }

    fn selector_of(&self, unit: &UnitName) -> Option<&Selector> {
        let instance = self.instances.get(unit)?;
        self.settings.workers.get(&instance.worker).map(|worker| &worker.unit)
    }

    pub(super) fn unit_changed(&mut self, unit: &UnitName, change: UnitChange) {
        if !self.sighted || !self.ensure_instance(unit, &change) {
            return;
        }
        let instance = self.instances.get_mut(unit).expect("ensured");
        let (was_active, was_invocation, was_restarts) =
            (instance.view.active, instance.view.invocation, instance.view.n_restarts);
        let was_auto = instance.view.in_auto_restart();
        let was_begun = instance.view.inactive_exit;
        instance.view.apply(change);
        if was_active.is_down() && !instance.view.active.is_down() {
            instance.come_up();
        }
        let first_look = !std::mem::replace(&mut instance.seen, true);
        if instance.job.is_none()
            && let Some(id) = instance.view.job
        {
            // At a first look the former activation is unknown: a stop under way must not look like a new one.
            let invocation = if first_look { instance.view.invocation } else { was_invocation };
            let found_midway =
                first_look && instance.view.active == ActiveState::Activating && !instance.view.in_auto_restart();
            // What is on its way down while it has a job is being taken down by it, whenever the job was queued.
            let going_down = instance.view.active == ActiveState::Deactivating;
            let found_up = (was_active.is_up() && !first_look) || going_down;
            instance.job = Some(Job { found_midway, ..Job::new(id, found_up, invocation) });
        }
        let new_activation = instance.view.invocation != was_invocation && !instance.view.invocation.is_none();
        let restarted_by_systemd = instance.view.n_restarts.saturating_sub(was_restarts);
        if restarted_by_systemd > 0 && !first_look {
            self.systemd_restarted(unit, restarted_by_systemd, was_auto);
        }
        match (new_activation, first_look) {
            (true, false) => self.new_activation(unit, was_auto || restarted_by_systemd > 0),
            (true, true) => {
                if !was_invocation.is_none() {
                    // Who started it cannot be known: it is left running.
                    self.disown(unit);
                }
                self.unseen_activation(unit);
            }
            (false, _) => {}
        }
        if !first_look || self.instances[unit].is_spare() {
            self.notice_short_run(unit, was_begun);
        }
        self.judge_standing(unit, first_look);
        self.reassess(unit);
    }

    /// What was stopped has been started and has ended again, so quickly that both came in one signal.
    fn notice_short_run(&mut self, unit: &UnitName, was_begun: Option<Mono>) {
        let instance = &self.instances[unit];
        let ran = instance.view.active.is_down() && instance.view.inactive_exit > was_begun;
        if ran && matches!(instance.standing, Standing::Stopped(_) | Standing::Spare) {
            let now_and_then = instance.view.runs_now_and_then();
            self.stand(unit, if now_and_then { Standing::NowAndThen } else { Standing::ShouldRun });
        }
    }

    /// Creates the instance if a worker wants the unit. False: not ours.
    fn ensure_instance(&mut self, unit: &UnitName, change: &UnitChange) -> bool {
        if self.instances.contains_key(unit) {
            return true;
        }
        let Some(worker) = self.settings.worker_of(unit.as_str()).map(|worker| worker.name.clone()) else {
            return false;
        };
        let known = change.load.is_some() || change.active.is_some();
        let plain = matches!(self.settings.workers[&worker].unit, Selector::Unit(_));
        let absent = change.load == Some(LoadState::NotFound) && !plain;
        let full = self.workers.get(&worker).is_some_and(|w| w.instances() >= INSTANCES_PER_WORKER);
        if !known || absent || full || crate::model::never::never_touch(unit.as_str()).is_some() {
            return false;
        }
        self.add_instance(unit, &worker);
        true
    }

    pub(super) fn add_instance(&mut self, unit: &UnitName, worker: &WorkerName) {
        let mut instance = Instance::new(unit.clone(), worker.clone());
        instance.incident = self.incidents.values().find(|incident| incident.unit == *unit).map(|incident| incident.id);
        self.instances.insert(unit.clone(), instance);
        self.take_up_habits(unit);
        self.recount(worker, None, Some(Health::Unknown));
        self.desk.tell_unit(worker, unit, None, What::InstanceAppeared { health: Health::Unknown });
    }

    pub(super) fn vanish(&mut self, unit: &UnitName) {
        let Some(mut instance) = self.instances.remove(unit) else { return };
        self.put_habits_by(&mut instance);
        self.timers.set(TimerKey::Assess(unit.clone()), None);
        self.recount(&instance.worker, Some(instance.health), None);
        if let Some(id) = instance.incident {
            self.close_as_superseded(id, "the unit is not watched any more");
        }
        self.closed.remove(unit);
        self.want(unit, None);
        self.desk.tell_unit(&instance.worker, unit, None, What::InstanceVanished);
    }

    fn systemd_restarted(&mut self, unit: &UnitName, times: u32, announced: bool) {
        let now = self.now();
        let instance = self.instances.get_mut(unit).expect("known");
        // The failure that led to the last restart has been counted when auto-restart was seen. From there it comes to
        // rest once more, before it is started.
        if announced && instance.counted.is_some() {
            instance.counted = Some(None);
        }
        let uncounted = times.min(FAILURES_PER_SIGNAL) - u32::from(announced);
        (0..uncounted).for_each(|_| instance.count_failure(now));
        *instance.restarts.entry(RestartCause::Systemd).or_default() += times;
        let (worker, incident) = (instance.worker.clone(), instance.incident);
        self.desk.tell_unit(&worker, unit, incident, What::Restarted { by: RestartCause::Systemd, count: times });
        self.note_helper(unit, RestartCause::Systemd);
    }

    /// A new invocation began: whose doing was it?
    fn new_activation(&mut self, unit: &UnitName, by_systemd: bool) {
        let now = self.now();
        let instance = self.instances.get_mut(unit).expect("known");
        instance.begin_activation(now);
        if let Some(worker) = self.workers.get_mut(&instance.worker) {
            worker.queues.disturb(now);
        }
        let had_run = instance.view.active_exit.is_some() || instance.view.inactive_enter.is_some();
        if by_systemd || self.claim_activation(unit) {
            return;
        }
        if let Some(extra) = self.owned.get_mut(unit).filter(|owned| owned.surge_for.is_some() && !owned.started) {
            extra.started = true;
            self.desk.safety_changed = true;
            let instance = self.instances.get_mut(unit).expect("known");
            *instance.restarts.entry(RestartCause::Unitmedic).or_default() += 1;
            return;
        }
        // Whoever starts it wants it to stay.
        self.disown(unit);
        let instance = self.instances.get_mut(unit).expect("known");
        if had_run {
            *instance.restarts.entry(RestartCause::Operator).or_default() += 1;
            let (worker, incident) = (instance.worker.clone(), instance.incident);
            self.desk.tell_unit(&worker, unit, incident, What::Restarted { by: RestartCause::Operator, count: 1 });
        }
        self.note_helper(unit, RestartCause::Operator);
    }

    /// It began a new life while we could not see it: what was being proven of the old one proves nothing.
    fn unseen_activation(&mut self, unit: &UnitName) {
        let now = self.now();
        let instance = self.instances.get_mut(unit).expect("known");
        instance.begin_activation(now);
        // Only within one life: what a former life knew bears wall time alone, and that may have jumped.
        let started_since = matches!(instance.standing, Standing::Stopped(_));
        let incident = instance.incident;
        if started_since {
            instance.standing = Standing::Undecided;
            self.want(unit, Some(Wanted::Run));
        }
        if let Some(id) = incident {
            self.begin_proof_anew(id);
        }
    }

    /// Decides whether the unit should run, from what is seen now and what is known.
    pub(super) fn judge_standing(&mut self, unit: &UnitName, first_look: bool) {
        let Some(instance) = self.instances.get_mut(unit).filter(|instance| instance.seen) else { return };
        let view = &instance.view;
        if matches!(view.load, LoadState::NotFound) && view.active == ActiveState::Inactive {
            return self.stand(unit, Standing::NotFound);
        }
        if view.active.is_up() || view.active == ActiveState::Activating {
            instance.inquiring = false;
            let standing = if view.runs_now_and_then() { Standing::NowAndThen } else { Standing::ShouldRun };
            return self.stand(unit, standing);
        }
        if instance.is_masked() {
            return self.stand(unit, Standing::Stopped("the unit is masked".into()));
        }
        if view.active.is_down() {
            self.judge_down(unit, first_look);
        }
    }

    fn judge_down(&mut self, unit: &UnitName, first_look: bool) {
        let instance = &self.instances[unit];
        if instance.is_spare() && instance.job.or(instance.last_job).is_none() {
            return;
        }
        if first_look {
            return self.first_look_at_down(unit);
        }
        if matches!(instance.standing, Standing::Stopped(_)) {
            return;
        }
        if let Some(job) = instance.job {
            if job.kind == Some(JobKind::Stop) {
                self.stopped_by_job(unit);
            }
            return;
        }
        if let Some(job) = instance.last_job.filter(|job| job.was_stop(instance.view.invocation)) {
            // While an order of ours is out, a job of unknown kind may be ours: the answer will tell.
            if job.kind.is_some() || !self.order_is_out(unit) {
                self.stopped_by_job(unit);
            }
            return;
        }
        if instance.view.file_state == FileState::Transient && instance.view.active == ActiveState::Inactive {
            self.stand(unit, Standing::Stopped("a transient unit that has ended".into()));
        }
    }

    /// A unit that is down when we first see it, or see it again after an outage.
    fn first_look_at_down(&mut self, unit: &UnitName) {
        let (instance, settings) = self.with_settings(unit);
        let view = &instance.view;
        let known = match (self.wanted.get(unit), &instance.standing) {
            // Somebody has started it since, which takes the stop back; why it is down again is to be found out.
            (Some(Wanted::Stopped { seen, .. }), _) if view.inactive_exit.is_some_and(|at| at > *seen) => {
                Some(Wanted::Run)
            }
            (None, Standing::ShouldRun) => Some(Wanted::Run),
            (known, _) => known.cloned(),
        };
        let ran = view.active_enter.is_some() || view.inactive_enter.is_some();
        let enabled = matches!(view.file_state, FileState::Enabled | FileState::EnabledRuntime);
        let scalable = settings.max_instances.is_some() && matches!(settings.unit, Selector::Template(_));
        let filled = settings.min_instances.is_some() && matches!(settings.unit, Selector::Template(_));
        match (known, view.active) {
            (Some(Wanted::Stopped { why, .. }), _) => self.stand(unit, Standing::Stopped(why)),
            _ if view.runs_now_and_then() => self.stand(unit, Standing::NowAndThen),
            (Some(Wanted::Run), _) | (None, ActiveState::Failed) => self.inquire(unit),
            (None, _) if ran => {
                self.stand(unit, Standing::Stopped("it was inactive at our first look; we did not see why".into()));
            }
            (None, _) if enabled || filled => self.stand_after_grace(unit),
            // Somebody has only asked about it.
            (None, _) if scalable => self.stand(unit, Standing::Spare),
            (None, _) => {
                let why = format!("it has not run since boot and is not enabled ({})", view.file_state);
                self.stand(unit, Standing::Stopped(why));
            }
        }
    }

    fn inquire(&mut self, unit: &UnitName) {
        let instance = self.instances.get_mut(unit).expect("known");
        instance.standing = Standing::Undecided;
        if !std::mem::replace(&mut instance.inquiring, true) {
            self.desk.command(Command::Inquire { unit: unit.clone() });
        }
    }

    pub(super) fn inquired(&mut self, unit: &UnitName, finding: Finding) {
        let Some(instance) = self.instances.get_mut(unit) else { return };
        if !std::mem::replace(&mut instance.inquiring, false) {
            return;
        }
        if let Standing::Stopped(why) = &instance.standing {
            if let Some(through) = finding.through
                && !why.contains(&through)
            {
                self.stand(unit, Standing::Stopped(format!("{TAKEN_ALONG}{through}")));
            }
            return;
        }
        if instance.standing != Standing::Undecided || !instance.view.active.is_down() {
            return;
        }
        let through = finding.through.map(|through| format!(", taken along by {through}")).unwrap_or_default();
        let succeeded = instance.view.active == ActiveState::Inactive;
        match finding.stop_job {
            Some(true) => {
                self.stand(unit, Standing::Stopped(format!("the journal shows a stop job{through}")));
            }
            // Without the journal's word, a clean end that we did not see is taken for a stop.
            None if succeeded => {
                self.stand(
                    unit,
                    Standing::Stopped("it ended while we could not see it, and the journal is silent".into()),
                );
            }
            _ => self.stand(unit, Standing::ShouldRun),
        }
        self.reassess(unit);
    }

    fn stopped_by_job(&mut self, unit: &UnitName) {
        if self.is_scaling_down(unit) || self.instances[unit].stopped_by_us() {
            return;
        }
        self.disown(unit);
        let (_, settings) = self.with_settings(unit);
        if settings.on_stop == crate::model::settings::OnStop::Restart {
            return;
        }
        self.stand(unit, Standing::Stopped("a stop job (operator, deploy or a dependency)".into()));
        // Only to be able to name the dependency; the standing is already clear.
        let instance = self.instances.get_mut(unit).expect("known");
        instance.inquiring = true;
        self.desk.command(Command::Inquire { unit: unit.clone() });
    }

    /// Enabled and never run: systemd gets its time to start it.
    fn stand_after_grace(&mut self, unit: &UnitName) {
        match self.grace_left() {
            None => self.stand(unit, Standing::ShouldRun),
            Some(_) => self.instances.get_mut(unit).expect("known").standing = Standing::Undecided,
        }
    }

    /// Time at which the grace after the host's start ends; `None`: it is over.
    fn grace_left(&self) -> Option<Mono> {
        let end = self.startup_finished? + self.settings.guard.boot_grace;
        (end > self.now()).then_some(end)
    }

    fn set_grace_timer(&mut self) {
        let end = self.grace_left();
        self.timers.set(TimerKey::Grace, end);
    }

    pub(super) fn grace_over(&mut self) {
        for unit in self.unit_names() {
            let instance = &self.instances[&unit];
            if instance.seen && instance.standing == Standing::Undecided && !instance.inquiring {
                self.first_look_at_down(&unit);
                self.reassess(&unit);
            }
        }
        for name in self.settings.workers.keys().cloned().collect::<Vec<_>>() {
            self.expect_configured(&name);
        }
        self.reassess_all();
    }

    /// Sets the standing and remembers it outside the database.
    pub(super) fn stand(&mut self, unit: &UnitName, standing: Standing) {
        let now = self.desk.now;
        let instance = self.instances.get_mut(unit).expect("known");
        if instance.standing == standing {
            return;
        }
        let was_stopped = matches!(instance.standing, Standing::Stopped(_));
        if standing != Standing::Spare {
            instance.wanted = None;
        }
        instance.standing = standing;
        let worker = instance.worker.clone();
        let wanted = match &instance.standing {
            Standing::ShouldRun => Some(Wanted::Run),
            Standing::Stopped(why) => Some(Wanted::Stopped { why: why.clone(), at: now.wall, seen: now.mono }),
            _ => None,
        };
        if let Standing::Stopped(why) = instance.standing.clone() {
            let (failures, incident) = (&mut instance.failures, instance.incident);
            failures.clear();
            if !was_stopped {
                self.desk.tell_unit(&worker, unit, incident, What::StoppedOnPurpose { why: why.clone() });
            }
            if let Some(id) = incident {
                self.close_as_superseded(id, &why);
            }
            self.closed.remove(unit);
        }
        self.want(unit, wanted);
    }

    fn want(&mut self, unit: &UnitName, wanted: Option<Wanted>) {
        let changed = match (&wanted, self.wanted.get(unit)) {
            (Some(Wanted::Run), Some(Wanted::Run)) | (None, None) => false,
            (Some(new), Some(old)) => new != old,
            _ => true,
        };
        if changed {
            match wanted {
                Some(wanted) => self.wanted.insert(unit.clone(), wanted),
                None => self.wanted.remove(unit),
            };
            self.desk.safety_changed = true;
        }
    }

    pub(super) fn unloaded(&mut self, unit: &UnitName) {
        let Some(instance) = self.instances.get_mut(unit) else { return };
        if instance.view.active.is_up() || instance.view.active == ActiveState::Activating {
            // Garbage collection of a unit that we believe to be up: we have missed something.
            self.desk.command(Command::Look { unit: unit.clone() });
            return;
        }
        instance.job = None;
        let transient = instance.view.file_state == FileState::Transient;
        let ended = transient && !instance.should_run() || instance.standing == Standing::NotFound;
        if ended && !matches!(self.selector_of(unit), Some(Selector::Unit(_))) {
            self.vanish(unit);
        }
    }

    pub(super) fn job_new(&mut self, unit: &UnitName, id: u32) {
        let Some(instance) = self.instances.get_mut(unit) else { return };
        if instance.job.is_none_or(|job| job.id != id) {
            let activating = instance.view.active == ActiveState::Activating;
            let found_up = !instance.view.active.is_down() && !activating;
            let found_starting = activating && !instance.view.in_auto_restart();
            instance.job = Some(Job { found_starting, ..Job::new(id, found_up, instance.view.invocation) });
            instance.name_own_job();
        }
    }

    pub(super) fn job_kind(&mut self, unit: &UnitName, id: u32, kind: JobKind) {
        let Some(instance) = self.instances.get_mut(unit) else { return };
        let ours = instance.own_job.is_some_and(|(own, _)| own == id);
        for job in [&mut instance.job, &mut instance.last_job].into_iter().flatten() {
            if job.id == id {
                // What runs is not started, and what is being started is so by the job that it has. This is the second half
                // of a restart, which systemd makes a start without a word. That it is down in between is a part of it.
                let second_half = kind == JobKind::Start && (job.found_up || job.found_starting) && !ours;
                job.kind = Some(if second_half { JobKind::Restart } else { kind });
            }
        }
        self.judge_standing(unit, false);
        self.reassess(unit);
    }

    pub(super) fn job_removed(&mut self, unit: &UnitName, id: u32, result: JobResult) {
        let Some(instance) = self.instances.get_mut(unit) else { return };
        if let Some(job) = instance.job.take_if(|job| job.id == id) {
            // A job that leaves the unit up was no stop, and must not pass for one when it goes down later.
            let left_up = instance.seen && instance.view.active.is_up();
            let now_in = instance.view.invocation;
            // Nor does one that found it stopped wipe out the stop.
            let stopped = instance.last_job.filter(|last| !left_up && last.was_stop(now_in));
            instance.last_job = stopped.or((!left_up).then_some(Job { result: Some(result), ..job }));
            instance.being_restarted = false;
            instance.taken_down &= !instance.view.active.is_down();
            if instance.is_spare() && instance.stopped_by_us() {
                // It is over: a later stop is somebody else's.
                (instance.last_job, instance.own_job) = (None, None);
            }
        }
        if instance.view.job == Some(id) {
            instance.view.job = None;
        }
        if !instance.seen {
            return;
        }
        if result == JobResult::Canceled {
            // Somebody's other job takes its place: to act in between would be to act against it.
            let next = self.now() + CANCELED_PAUSE;
            return self.timers.set_by(TimerKey::Assess(unit.clone()), next);
        }
        self.judge_standing(unit, false);
        self.reassess(unit);
    }

    pub(super) fn manager_changed(&mut self, state: ManagerState) {
        self.manager = state;
        if self.startup_finished.is_none() && matches!(state, ManagerState::Running | ManagerState::Degraded) {
            self.startup_finished = Some(self.now());
            self.set_grace_timer();
        }
        self.reassess_open();
    }

    pub(super) fn usage(&mut self, samples: Vec<Usage>, host: Option<HostUsage>) {
        if host.is_some() {
            self.host = host;
        }
        let mut over = super::unusual::Over::new();
        for sample in samples {
            let Some(instance) = self.instances.get_mut(&sample.unit) else { continue };
            let Some(settings) = self.settings.workers.get(&instance.worker) else { continue };
            instance.readings.take(sample, self.host.as_ref(), settings);
            super::unusual::note(instance, settings, &mut over);
            let unit = instance.unit.clone();
            self.reassess(&unit);
        }
        self.await_judging(over);
        self.rescale_by_strain();
    }

    pub(super) fn hold(&mut self, held: bool) {
        if std::mem::replace(&mut self.held, held) != held {
            self.desk.tell(What::HoldChanged { held });
            self.reassess_open();
        }
    }

    pub(super) fn unit_names(&self) -> Vec<UnitName> {
        self.instances.keys().cloned().collect()
    }
}
