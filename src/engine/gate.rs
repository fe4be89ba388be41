//! The checks that an action must pass, in order, each with its own reason.
//!
//! Starts of dead instances pass the gates of capacity, since they cannot take capacity away; they never
//! pass the gates of authority.

use std::time::Duration;

use crate::model::fact::{Gate, Refusal};
use crate::model::incident::{Origin, Stage};
use crate::model::settings::HOLD_FILE;
use crate::model::time::human;
use crate::model::unit::{ManagerState, stop_in_words};
use crate::model::{Action, Condition, Health, Incident, IncidentId, UnitName, What, WorkerSettings};

use super::Engine;
use super::instance::{Instance, Standing};
use super::plan;
use super::policy::Rank;
use super::timers::TimerKey;

/// A gate that names no time is asked again after this, should nothing have changed before.
const RECHECK: Duration = Duration::from_secs(5);
/// Whether systemd restarts a unit by itself it decides at once, and tells in the next signal. A busy machine may take
/// this long to deliver it.
const AUTO_RESTART_TELLS: Duration = Duration::from_millis(100);

/// Gates before the second act of a graceful restart. What we have drained is started again even if a pause
/// has begun meanwhile; a process that still works is not interrupted then.
pub const TO_FINISH: &[Gate] = &[Gate::SystemState, Gate::Hold, Gate::Stopped, Gate::JobInFlight];
pub const TO_INTERRUPT: &[Gate] =
    &[Gate::SystemState, Gate::Hold, Gate::Maintenance, Gate::Stopped, Gate::JobInFlight, Gate::AutoRestart];
/// What wants to pass the gates.
pub struct Asking<'a> {
    pub incident: Option<&'a Incident>,
    pub instance: &'a Instance,
    pub settings: &'a WorkerSettings,
    pub action: Action,
    /// An operator asked for it; with force, only what force may not override is asked.
    pub requested: bool,
    pub forced: bool,
    /// The intent stands already; what was decided by counting is not counted twice.
    pub intended: bool,
}

impl Asking<'_> {
    /// The instance does no work that the action could interrupt.
    pub(super) fn starts_what_is_down(&self) -> bool {
        matches!(self.instance.health, Health::Dead) || self.instance.view.active.is_down()
    }

    fn skips(&self, gate: Gate) -> bool {
        let by_force = !matches!(gate, Gate::Unknown | Gate::Hold | Gate::JobInFlight);
        let by_request =
            matches!(gate, Gate::Cooldown | Gate::Attempts | Gate::Persistence | Gate::QuietHours | Gate::Downtime);
        let once_intended = matches!(gate, Gate::Cooldown | Gate::Attempts | Gate::Approval | Gate::Concurrency);
        let of_capacity = matches!(gate, Gate::Downtime | Gate::MinInstances | Gate::Storm);
        (self.forced && by_force)
            || (self.requested && by_request)
            || (self.intended && once_intended)
            || (of_capacity && self.starts_what_is_down())
    }
}

impl Engine {
    pub(super) fn asking<'a>(&'a self, incident: &'a Incident, action: Action, intended: bool) -> Asking<'a> {
        let (instance, settings) = self.with_settings(&incident.unit);
        let (requested, forced) = match &incident.origin {
            Origin::Operator { force, .. } if incident.is_errand() => (true, *force),
            Origin::Surplus if incident.is_errand() => (true, false),
            _ => (false, false),
        };
        Asking { incident: Some(incident), instance, settings, action, requested, forced, intended }
    }

    /// The first gate that says no.
    pub(super) fn refusal(&self, asking: &Asking<'_>) -> Option<Refusal> {
        Gate::ALL.iter().find_map(|gate| self.ask_gate(*gate, asking))
    }

    /// The first of some gates that says no.
    pub(super) fn refusal_of(&self, gates: &[Gate], asking: &Asking<'_>) -> Option<Refusal> {
        gates.iter().find_map(|gate| self.ask_gate(*gate, asking))
    }

    pub(super) fn ask_gate(&self, gate: Gate, asking: &Asking<'_>) -> Option<Refusal> {
        if asking.skips(gate) {
            return None;
        }
        match gate {
            Gate::WatchOnly => self.watch_only.as_ref().map(|why| no(gate, why.clone())),
            Gate::Unknown => self.gate_unknown(asking),
            Gate::SystemState => self.gate_system_state(),
            Gate::Hold => self.gate_hold(),
            Gate::Maintenance => self.gate_maintenance(asking),
            Gate::DryRun => self.gate_dry_run(),
            Gate::Stopped => gate_stopped(asking),
            Gate::JobInFlight => gate_job(asking),
            Gate::AutoRestart => self.gate_auto_restart(asking),
            Gate::Cooldown => self.gate_cooldown(asking),
            Gate::Attempts => gate_attempts(asking),
            Gate::Persistence => self.gate_persistence(asking),
            Gate::QuietHours => self.gate_quiet_hours(asking),
            Gate::Downtime => self.gate_downtime(asking),
            Gate::MinInstances => self.gate_min_instances(asking),
            Gate::Storm => self.gate_storm(),
            Gate::Approval => self.gate_approval(asking),
            Gate::Concurrency => self.gate_concurrency(asking),
        }
    }

    fn gate_unknown(&self, asking: &Asking<'_>) -> Option<Refusal> {
        if !self.sighted {
            return Some(no(Gate::Unknown, format!("the bus is not there: {}", self.blind_because)));
        }
        let unknown = !asking.instance.seen || asking.instance.standing == Standing::Undecided;
        unknown.then(|| no(Gate::Unknown, asking.instance.standing_text()))
    }

    fn gate_system_state(&self) -> Option<Refusal> {
        match self.manager {
            ManagerState::Stopping => Some(no(Gate::SystemState, "systemd is shutting down".into())),
            ManagerState::Initializing | ManagerState::Starting if self.startup_finished.is_none() => {
                Some(no(Gate::SystemState, "systemd is still starting up".into()))
            }
            _ => None,
        }
    }

    /// With its path: at night somebody looks for it.
    fn gate_hold(&self) -> Option<Refusal> {
        let path = self.settings.daemon.runtime_dir.join(HOLD_FILE);
        self.held.then(|| no(Gate::Hold, format!("the hold file {} exists", path.display())))
    }

    fn gate_maintenance(&self, asking: &Asking<'_>) -> Option<Refusal> {
        let worker = &asking.settings.name;
        let pause = self.pauses.iter().find(|p| p.worker.as_ref().is_none_or(|name| name == worker))?;
        let whole = if pause.worker.is_some() { format!("worker {worker} is") } else { "everything is".into() };
        let reason = if pause.reason.is_empty() { String::new() } else { format!(" ({})", pause.reason) };
        let mut refusal = no(Gate::Maintenance, format!("{whole} paused by {}{reason}", pause.who));
        refusal.until = pause.until.map(|until| {
            let left = Duration::from_micros((until.0 - self.desk.now.wall.0).max(0) as u64);
            self.now() + left
        });
        Some(refusal)
    }

    fn gate_dry_run(&self) -> Option<Refusal> {
        let daemon = &self.settings.daemon;
        daemon
            .dry_run
            .then(|| set_by(no(Gate::DryRun, "dry run: it is only told what would be done".into()), "daemon.dry_run"))
    }

    /// On its way to auto-restart a unit is failed or inactive for a moment, and systemd tells of both.
    fn gate_auto_restart(&self, asking: &Asking<'_>) -> Option<Refusal> {
        if asking.instance.systemd_restarts_it() {
            return Some(no(Gate::AutoRestart, "systemd is restarting it already (Restart=)".into()));
        }
        let view = &asking.instance.view;
        let gave_up = asking.instance.start_limit_hit();
        let until = view.inactive_enter? + AUTO_RESTART_TELLS;
        (view.restarts_itself && view.active.is_down() && !gave_up && until > self.now()).then(|| {
            let text = "systemd may be about to restart it (Restart=)".into();
            Refusal { until: Some(until), ..no(Gate::AutoRestart, text) }
        })
    }

    fn gate_cooldown(&self, asking: &Asking<'_>) -> Option<Refusal> {
        let incident = asking.incident?;
        let until = incident.not_before.filter(|at| *at > self.now())?;
        let (text, key) = match incident.escalations {
            0 => ("pause between attempts", "backoff"),
            _ => ("after giving up it is tried again at a low rate", "restart_cooldown"),
        };
        let mut refusal = set_by(no(Gate::Cooldown, text.into()), &asking.key(key));
        refusal.until = Some(until);
        Some(refusal)
    }

    /// A mere warning earns a disruptive action only after it has persisted.
    fn gate_persistence(&self, asking: &Asking<'_>) -> Option<Refusal> {
        if asking.instance.health != Health::Warning || !asking.interrupts() {
            return None;
        }
        let patience = asking.settings.warning_patience;
        let since = asking.instance.leading_condition().map(|(_, held)| held.since)?;
        let until = since + patience;
        (until > self.now()).then(|| {
            let text = format!("a warning must last {} before it is acted on", human(patience));
            Refusal { until: Some(until), ..set_by(no(Gate::Persistence, text), &asking.key("warning_patience")) }
        })
    }

    /// What is only foreseen can wait for a quiet hour. Hours are of the wall clock: when that jumps, it is asked again.
    fn gate_quiet_hours(&self, asking: &Asking<'_>) -> Option<Refusal> {
        let of_guess = asking.incident?.plan.condition == Some(Condition::Predicted);
        let hours = asking.settings.quiet_hours.filter(|_| of_guess && asking.interrupts())?;
        let left = hours.begin_in(self.desk.now.wall);
        (!left.is_zero()).then(|| {
            let text = format!("what is only foreseen waits for the quiet hours, {hours} UTC");
            let until = Some(self.now() + left);
            Refusal { until, ..set_by(no(Gate::QuietHours, text), &asking.key("quiet_hours")) }
        })
    }

    fn gate_downtime(&self, asking: &Asking<'_>) -> Option<Refusal> {
        let only_one = self.workers.get(&asking.settings.name).is_some_and(|worker| worker.instances() == 1);
        let refused =
            only_one && asking.is_disruptive() && asking.instance.health.serves() && !asking.settings.allow_downtime;
        refused.then(|| {
            let text = "its only instance still serves; a warning does not justify downtime".into();
            set_by(no(Gate::Downtime, text), &asking.key("allow_downtime"))
        })
    }

    /// Taking a serving instance away must leave enough of them. One that does not serve takes nothing along.
    fn gate_min_instances(&self, asking: &Asking<'_>) -> Option<Refusal> {
        asking.is_disruptive().then(|| self.gate_too_few_left(asking)).flatten()
    }

    /// The same, also where an extra instance stands in: others may have gone while it was started.
    pub(super) fn gate_too_few_left(&self, asking: &Asking<'_>) -> Option<Refusal> {
        if asking.skips(Gate::MinInstances) {
            return None;
        }
        let worker = self.workers.get(&asking.settings.name)?;
        let needed = asking.settings.needed() as usize;
        let single = worker.instances() == 1;
        if !asking.instance.does_its_work() || single {
            return None;
        }
        let under_repair = self.under_repair(asking);
        let all = self.instances.values().filter(|instance| instance.worker == asking.settings.name);
        let left = all.filter(|instance| instance.does_its_work()).count().saturating_sub(1 + under_repair);
        (left < needed).then(|| {
            let repaired = match under_repair {
                0 => String::new(),
                n => format!(", since {n} more {} under repair", if n == 1 { "is" } else { "are" }),
            };
            let text = format!("only {left} serving would be left{repaired}, and {needed} are needed");
            set_by(no(Gate::MinInstances, text), &asking.key("min_instances"))
        })
    }

    /// Other instances of the worker that serve but have an action of ours under way.
    fn under_repair(&self, asking: &Asking<'_>) -> usize {
        let others = self.incidents.values().filter(|incident| {
            incident.worker == asking.settings.name
                && incident.unit != asking.instance.unit
                && incident.last_attempt().is_some_and(|attempt| attempt.is_running())
        });
        let works = |unit| self.instances.get(unit).is_some_and(Instance::does_its_work);
        others.filter(|incident| works(&incident.unit)).count()
    }

    fn gate_storm(&self) -> Option<Refusal> {
        self.storm.then(|| {
            let text = "too many instances are sick at once: a shared cause is likely, restarts would add harm".into();
            set_by(no(Gate::Storm, text), "guard.storm_threshold")
        })
    }

    fn gate_concurrency(&self, asking: &Asking<'_>) -> Option<Refusal> {
        if asking.starts_what_is_down() {
            let limit = self.settings.guard.max_concurrent_starts;
            return self.starts_are_full().then(|| {
                set_by(no(Gate::Concurrency, format!("{limit} starts are under way")), "guard.max_concurrent_starts")
            });
        }
        let running = |incident: &&Incident| {
            let open = incident.last_attempt().is_some_and(|a| a.is_running() && a.well_at.is_none());
            open && Some(incident.id) != asking.incident.map(|own| own.id)
        };
        let mine = self.incidents.values().filter(running).filter(|i| i.worker == asking.settings.name).count();
        let takes_away = asking.is_disruptive() || asking.action.replaces_process();
        if mine > 0 && takes_away {
            return Some(no(Gate::Concurrency, "another instance of this worker is being repaired".into()));
        }
        let limit = self.settings.guard.max_concurrent_actions as usize;
        let all = self.incidents.values().filter(running).filter(|i| !self.is_start(i)).count();
        (all >= limit).then(|| {
            let text = format!("{limit} disruptive actions are under way");
            set_by(no(Gate::Concurrency, text), "guard.max_concurrent_actions")
        })
    }

    /// The running attempt only starts what was down.
    fn is_start(&self, incident: &Incident) -> bool {
        incident.last_attempt().is_some_and(|a| a.action == Action::Restart && a.stage != Stage::Draining)
            && incident.worst == Health::Dead
    }

    /// Notes why nothing is done, tells it once, and sees to being asked again.
    pub(super) fn wait_for(&mut self, id: IncidentId, action: Action, refusal: Refusal) {
        let now = self.now();
        let asks = refusal.gate == Gate::Approval;
        let refusal = if asks { self.ask_for_approval(id, action, refusal) } else { refusal };
        let at = refusal.until.filter(|until| *until > now).unwrap_or(now + RECHECK);
        self.timers.set(TimerKey::Proceed(id), Some(at));
        if refusal.gate == Gate::Concurrency {
            self.enqueue(id);
        }
        let allowed_but_for_dry_run = refusal.gate == Gate::DryRun && self.only_dry_run_refuses(id, action);
        let incident = self.incidents.get_mut(&id).expect("open");
        incident.action_was_allowed |= allowed_but_for_dry_run;
        // The question has been told.
        let news = !asks && incident.waiting.as_ref().is_none_or(|told| told.gate != refusal.gate);
        incident.waiting = Some(refusal.clone());
        if news {
            let what = What::ActionSuppressed { action, refusal };
            self.desk.tell_unit(&incident.worker, &incident.unit, Some(id), what);
            self.desk.touched.insert(id);
        }
    }

    fn only_dry_run_refuses(&self, id: IncidentId, action: Action) -> bool {
        let asking = self.asking(&self.incidents[&id], action, false);
        Gate::ALL.iter().filter(|gate| **gate != Gate::DryRun).all(|gate| self.ask_gate(*gate, &asking).is_none())
    }

    fn enqueue(&mut self, id: IncidentId) {
        self.leave_queue(id);
        self.queue.insert((self.rank(id), id));
    }

    fn rank(&self, id: IncidentId) -> Rank {
        let incident = &self.incidents[&id];
        let (_, settings) = self.with_settings(&incident.unit);
        let left = self.workers.get(&incident.worker).map_or(0, |worker| worker.serving() as u32);
        Rank::of(incident, self.health_of(&incident.unit), settings, left)
    }

    pub(super) fn leave_queue(&mut self, id: IncidentId) {
        if !self.queue.is_empty() {
            self.queue.retain(|(_, waiting)| *waiting != id);
        }
    }

    /// Lets those go on that only waited for a free place, best first.
    pub(super) fn admit_waiting(&mut self) {
        if self.queue.is_empty() || !std::mem::take(&mut self.place_freed) {
            return;
        }
        let mut waiting_on = Vec::new();
        for (_, id) in std::mem::take(&mut self.queue) {
            // Once the places are taken again the rest need not ask: of 400 that wait, 399 would hear the same.
            if self.starts_are_full() && self.waits_to_start(id) {
                waiting_on.push((self.rank(id), id));
            } else {
                self.proceed(id);
            }
        }
        self.queue.extend(waiting_on);
    }

    fn starts_are_full(&self) -> bool {
        self.starts_in_flight >= self.settings.guard.max_concurrent_starts
    }

    /// It is down and nothing runs for it: all it can do is ask for a start.
    fn waits_to_start(&self, id: IncidentId) -> bool {
        self.incidents.get(&id).is_some_and(|incident| {
            !incident.last_attempt().is_some_and(|attempt| attempt.is_running())
                && incident.waiting.as_ref().is_some_and(|refusal| refusal.gate == Gate::Concurrency)
                && self.instances.get(&incident.unit).is_some_and(|instance| instance.view.active.is_down())
        })
    }

    pub(super) fn with_settings(&self, unit: &UnitName) -> (&Instance, &WorkerSettings) {
        let instance = &self.instances[unit];
        (instance, &self.settings.workers[&instance.worker])
    }
}

impl Asking<'_> {
    fn is_disruptive(&self) -> bool {
        self.settings.is_disruptive(self.action)
    }

    /// The process that runs ends with it, also where another one stands in.
    pub(super) fn interrupts(&self) -> bool {
        self.is_disruptive() || self.action.replaces_process()
    }

    pub(super) fn key(&self, name: &str) -> String {
        format!("worker.{}.{name}", self.settings.name)
    }
}

fn no(gate: Gate, text: String) -> Refusal {
    Refusal { gate, text, until: None, setting: None }
}

fn set_by(refusal: Refusal, key: &str) -> Refusal {
    Refusal { setting: Some(key.to_string()), ..refusal }
}

fn gate_stopped(asking: &Asking<'_>) -> Option<Refusal> {
    match &asking.instance.standing {
        Standing::Stopped(why) => Some(no(Gate::Stopped, format!("it was {}", stop_in_words(why)))),
        Standing::NotFound => Some(no(Gate::Stopped, "systemd does not know this unit".into())),
        _ if asking.instance.is_masked() => Some(no(Gate::Stopped, "the unit is masked".into())),
        _ => None,
    }
}

/// Somebody's job is in flight; the start job of a start that is stuck is what we are here for.
fn gate_job(asking: &Asking<'_>) -> Option<Refusal> {
    let job = asking.instance.job?;
    let stuck_start = job.is_start() && asking.instance.conditions.contains_key(&Condition::StartStuck);
    // The job by which systemd itself brings it back is told by the next gate, so that the two do not alternate.
    let own_restart = asking.instance.view.in_auto_restart();
    let kind = job.kind.map_or(String::new(), |kind| format!(" {kind}"));
    (!stuck_start && !own_restart)
        .then(|| no(Gate::JobInFlight, format!("systemd has a{kind} job in flight for it (job {})", job.id)))
}

fn gate_attempts(asking: &Asking<'_>) -> Option<Refusal> {
    let incident = asking.incident?;
    let (used, max) = (incident.attempts_used, plan::attempts_max(&incident.plan, asking.settings));
    (used >= max).then(|| {
        set_by(no(Gate::Attempts, format!("{used} of {max} attempts are used")), &asking.key("max_restart_attempts"))
    })
}
