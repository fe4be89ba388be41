//! What is known of all units, and what has to be asked. Pure: signals and answers come in, questions go out.
//!
//! systemd signals what changes, with three exceptions: the counters of a socket (a connection that ends, or is refused),
//! `TasksMax=` that `systemctl set-property` changes, and `NRestarts` that `systemctl reset-failed` clears. The first are
//! read while a socket has connections, the others once in [`AUDIT_SPAN`].

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::time::Duration;

use zbus::Variant;

use super::Filter;
use crate::adapters::systemd::bus::{SERVICE, UNIT};
use crate::model::families::{Family, HostUnit, HostUnits, Stage};
use crate::model::unit::{ActiveState, LoadState};

/// Units in the table. What is beyond is left out, and counted.
pub const UNITS_MAX: usize = 20_000;
/// Units that are new, or loaded at last, and whose state is asked for by name. Of more, all units are listed.
const NAMED_MAX: usize = 16;
/// Between two looks at what is never signalled.
pub const TICK: Duration = Duration::from_secs(2);
/// Sockets that are read in one tick; the others have their turn in the next.
const SOCKETS_PER_TICK: usize = 64;
/// Within this span every service is read once.
const AUDIT_SPAN: Duration = Duration::from_secs(600);

const MOUNT: &str = "org.freedesktop.systemd1.Mount";
const SOCKET: &str = "org.freedesktop.systemd1.Socket";
const TIMER: &str = "org.freedesktop.systemd1.Timer";

/// Everything that is read of units: a set of these is a set of bits.
const PROPERTIES: [(&str, &str); 13] = [
    (UNIT, "ActiveEnterTimestamp"),
    (UNIT, "ActiveExitTimestamp"),
    (UNIT, "InactiveEnterTimestamp"),
    (UNIT, "InactiveExitTimestamp"),
    (SERVICE, "Type"),
    (SERVICE, "NRestarts"),
    (SERVICE, "TasksMax"),
    (SERVICE, "ControlGroup"),
    (MOUNT, "Type"),
    (TIMER, "LastTriggerUSec"),
    (SOCKET, "NAccepted"),
    (SOCKET, "NConnections"),
    (SOCKET, "NRefused"),
];
type Set = u16;
const ACTIVE_ENTER: Set = 1;
const TIMES: Set = 0b1111;
const SERVICE_TYPE: Set = 1 << 4;
const RESTARTS: Set = 1 << 5;
const TASKS_MAX: Set = 1 << 6;
const CONTROL_GROUP: Set = 1 << 7;
const MOUNT_TYPE: Set = 1 << 8;
const LAST_TRIGGER: Set = 1 << 9;
const CONNECTIONS: Set = 0b111 << 10;

/// Stages of the boot whose times systemd keeps.
const STAGES: [&str; 18] = [
    "Finish",
    "Firmware",
    "Loader",
    "Kernel",
    "InitRD",
    "InitRDGeneratorsStart",
    "InitRDGeneratorsFinish",
    "InitRDSecurityStart",
    "InitRDSecurityFinish",
    "InitRDUnitsLoadStart",
    "InitRDUnitsLoadFinish",
    "GeneratorsStart",
    "GeneratorsFinish",
    "SecurityStart",
    "SecurityFinish",
    "Userspace",
    "UnitsLoadStart",
    "UnitsLoadFinish",
];

/// A question to systemd.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// The states of these units; of all where it is empty.
    Units(Vec<String>),
    Running,
    Version,
    Virtualization,
    Stage {
        stage: &'static str,
        monotonic: bool,
    },
    /// One of [`PROPERTIES`].
    Property {
        unit: Arc<str>,
        number: u8,
    },
}

impl Ask {
    /// Interface and property of a question for a unit's property.
    pub fn property(number: u8) -> (&'static str, &'static str) {
        PROPERTIES[usize::from(number) % PROPERTIES.len()]
    }
}

/// One unit of ListUnits.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    pub unit: String,
    pub load: LoadState,
    pub active: ActiveState,
}

#[derive(Debug)]
struct Row {
    load: LoadState,
    wanted: bool,
    /// What is under way or waits to be asked.
    open: Set,
    /// What must be there before the unit is shown.
    missing: Set,
    /// Its slice may have changed: the control group is read again when it starts.
    group_stale: bool,
}

pub struct Keeper {
    filter: Filter,
    all_times: bool,
    with_tasks: bool,
    rows: HashMap<Arc<str>, Row>,
    asks: VecDeque<Ask>,
    /// Units whose state is to be asked.
    pending: BTreeSet<String>,
    /// A listing of all units is due; one is under way.
    list_due: bool,
    listing: bool,
    /// The due listing follows a reload; the one under way does.
    refresh_due: bool,
    refreshing: bool,
    reloading: bool,
    running_due: bool,
    running_asked: bool,
    stages_due: bool,
    /// All units were listed once.
    listed: bool,
    /// Questions to the manager itself without an answer.
    manager_open: usize,
    /// Rows that miss something.
    unread: usize,
    audited: Option<Arc<str>>,
    polled: Option<Arc<str>>,
}

impl Keeper {
    pub fn new(filter: Filter, families: &[Family], with_tasks: bool) -> Self {
        let mut keeper = Self {
            filter,
            all_times: families.contains(&Family::SystemdExporter),
            with_tasks,
            rows: HashMap::new(),
            asks: VecDeque::new(),
            pending: BTreeSet::new(),
            list_due: true,
            listing: false,
            refresh_due: false,
            refreshing: false,
            reloading: false,
            running_due: true,
            running_asked: false,
            stages_due: true,
            listed: false,
            manager_open: 0,
            unread: 0,
            audited: None,
            polled: None,
        };
        keeper.ask_manager(Ask::Version);
        keeper.ask_manager(Ask::Virtualization);
        keeper.settle();
        keeper
    }

    /// Everything that was asked at first has been answered.
    pub fn is_whole(&self) -> bool {
        self.listed && self.unread == 0 && self.manager_open == 0
    }

    /// The next question. What a unit that is gone was to be asked is not: that would load it again.
    pub fn next_ask(&mut self) -> Option<Ask> {
        loop {
            match self.asks.pop_front()? {
                Ask::Property { unit, .. } if !self.rows.contains_key(&unit) => {}
                ask => return Some(ask),
            }
        }
    }

    // Signals.

    pub fn unit_new(&mut self, unit: String) {
        if !self.reloading {
            self.look_for(unit);
        }
    }

    /// A reload drops every unit and loads it again; the listing after it finds those that are really gone.
    pub fn unit_removed(&mut self, host: &mut HostUnits, unit: &str) {
        if !self.reloading {
            self.pending.remove(unit);
            self.forget(host, unit);
            self.list_due |= host.left_out > 0;
        }
    }

    pub fn reloading(&mut self, active: bool) {
        self.reloading = active;
        if !active {
            self.list_due = true;
            self.refresh_due = true;
            self.running_due = true;
            self.stages_due = true;
        }
    }

    pub fn startup_finished(&mut self) {
        self.running_due = true;
        self.stages_due = true;
    }

    pub fn manager_changed(&mut self) {
        self.running_due = true;
    }

    pub fn changed(&mut self, host: &mut HostUnits, name: &str, properties: &HashMap<&str, Variant<'_>>) {
        let Some(row) = self.rows.get(name) else { return };
        let (load, wanted, group_stale) = (row.load, row.wanted, row.group_stale);
        let Some(unit) = host.units.get_mut(name) else { return };
        let before = unit.active;
        if let Some(Variant::Str(state)) = properties.get("ActiveState") {
            unit.active = ActiveState::parse(state.as_str());
        }
        if wanted {
            properties.iter().for_each(|(property, value)| take(unit, property, Some(value)));
        }
        let (active, group_known) = (unit.active, unit.control_group.is_some() && !group_stale);
        if load != LoadState::Loaded {
            // A start may have loaded it, which is not signalled.
            self.look_for(name.to_owned());
        }
        if name.ends_with(".socket") {
            self.ask(name, CONNECTIONS);
        }
        if active != before {
            self.running_due = true;
            if active.is_down() {
                self.ask_socket_of(name);
            } else if !group_known {
                self.ask(name, CONTROL_GROUP);
            }
        }
    }

    // Answers.

    /// `asked` is empty where all units were asked for.
    pub fn listed(&mut self, host: &mut HostUnits, asked: &[String], units: Vec<Listed>) {
        let there: BTreeSet<&str> = units.iter().map(|listed| &*listed.unit).collect();
        let gone: Vec<Arc<str>> = if asked.is_empty() {
            self.rows.keys().filter(|unit| !there.contains(&***unit)).cloned().collect()
        } else {
            asked.iter().filter(|unit| !there.contains(&***unit)).map(|unit| Arc::from(&**unit)).collect()
        };
        gone.iter().for_each(|unit| self.forget(host, unit));
        let refresh = asked.is_empty() && self.refreshing;
        if asked.is_empty() {
            (self.listing, self.refreshing, self.listed) = (false, false, true);
            host.left_out = 0;
        }
        for listed in units {
            self.see(host, listed, refresh);
        }
        if host.left_out > 0 {
            tracing::debug!(left_out = host.left_out, limit = UNITS_MAX, "more units than the metric families show");
        }
    }

    fn see(&mut self, host: &mut HostUnits, listed: Listed, refresh: bool) {
        let name: Arc<str> = listed.unit.into();
        if !self.rows.contains_key(&name) && self.rows.len() >= UNITS_MAX {
            host.left_out += 1;
            return;
        }
        let unit = host.units.entry(name.clone()).or_insert_with(|| HostUnit::new(listed.active));
        let row = self.rows.entry(name.clone()).or_insert_with(|| Row {
            load: listed.load,
            wanted: false,
            open: 0,
            missing: 0,
            group_stale: false,
        });
        row.load = listed.load;
        let moved = std::mem::replace(&mut unit.active, listed.active) != listed.active;
        let wants = listed.load == LoadState::Loaded && self.filter.wants(&name);
        let all = self.properties_of(&name);
        let Some(row) = self.rows.get_mut(&name) else { return };
        match (std::mem::replace(&mut row.wanted, wants), wants) {
            (false, true) => {
                row.missing = all;
                unit.shown = all == 0;
                self.unread += usize::from(all != 0);
                self.ask(&name, all);
            }
            (true, false) => {
                self.unread -= usize::from(row.missing != 0);
                row.missing = 0;
                *unit = HostUnit::new(listed.active);
            }
            (true, true) if refresh => {
                row.group_stale = true;
                // Times are signalled, and survive a reload; what unit files say is not.
                self.ask(&name, if moved { all } else { all & !(TIMES | CONTROL_GROUP) });
            }
            _ => {}
        }
    }

    pub fn answered(&mut self, host: &mut HostUnits, ask: &Ask, value: Option<&Variant<'_>>) {
        let text = || match value {
            Some(Variant::Str(text)) => Some(text.as_str().to_owned()),
            _ => None,
        };
        match ask {
            Ask::Property { unit, number } => return self.property_answered(host, unit, *number, value),
            Ask::Running => {
                self.running_asked = false;
                host.running = text().map(|state| state == "running");
            }
            Ask::Version => host.version = text(),
            Ask::Virtualization => host.virtualization = text(),
            Ask::Stage { stage, monotonic } => {
                let entry: &mut Stage = host.stages.entry(stage).or_default();
                let field = if *monotonic { &mut entry.monotonic } else { &mut entry.realtime };
                *field = value.and_then(long);
            }
            Ask::Units(_) => return,
        }
        self.manager_open = self.manager_open.saturating_sub(1);
    }

    fn property_answered(&mut self, host: &mut HostUnits, name: &str, number: u8, value: Option<&Variant<'_>>) {
        let (Some(row), Some(unit)) = (self.rows.get_mut(name), host.units.get_mut(name)) else { return };
        let bit: Set = 1 << number;
        row.open &= !bit;
        if !row.wanted {
            return;
        }
        take(unit, Ask::property(number).1, value);
        if bit == CONTROL_GROUP && unit.control_group.is_some() {
            row.group_stale = false;
        }
        if row.missing != 0 {
            row.missing &= !bit;
            if row.missing == 0 {
                unit.shown = true;
                self.unread -= 1;
            }
        }
    }

    // Time.

    /// Something waits for [`Keeper::settle`].
    pub fn is_restless(&self) -> bool {
        let look = (self.list_due || !self.pending.is_empty()) && !self.listing;
        !self.reloading && (look || self.stages_due || (self.running_due && !self.running_asked))
    }

    /// Asks for what a burst of signals has made doubtful, once.
    pub fn settle(&mut self) {
        if self.reloading {
            return;
        }
        if !self.listing && (self.list_due || self.pending.len() > NAMED_MAX) {
            self.pending.clear();
            (self.listing, self.list_due) = (true, false);
            self.refreshing = std::mem::take(&mut self.refresh_due);
            self.asks.push_back(Ask::Units(Vec::new()));
        } else if !self.listing && !self.pending.is_empty() {
            let names = std::mem::take(&mut self.pending).into_iter().collect();
            self.asks.push_back(Ask::Units(names));
        }
        if self.running_due && !self.running_asked {
            (self.running_due, self.running_asked) = (false, true);
            self.ask_manager(Ask::Running);
        }
        if std::mem::take(&mut self.stages_due) && self.all_times {
            for stage in STAGES {
                self.ask_manager(Ask::Stage { stage, monotonic: true });
                self.ask_manager(Ask::Stage { stage, monotonic: false });
            }
        }
    }

    /// Asks for what is never signalled; once each [`TICK`].
    pub fn tick(&mut self, host: &HostUnits) {
        let held = |(name, unit): &(&Arc<str>, &HostUnit)| {
            name.ends_with(".socket") && unit.connections.is_some_and(|count| count > 0)
        };
        for name in in_turn(&host.units, &mut self.polled, SOCKETS_PER_TICK, held) {
            self.ask(&name, CONNECTIONS);
        }
        let ticks = (AUDIT_SPAN.as_secs() / TICK.as_secs()).max(1) as usize;
        let share = host.units.len().div_ceil(ticks);
        let service = |(name, unit): &(&Arc<str>, &HostUnit)| unit.shown && name.ends_with(".service");
        for name in in_turn(&host.units, &mut self.audited, share, service) {
            self.ask(&name, RESTARTS | TASKS_MAX);
        }
    }

    fn look_for(&mut self, unit: String) {
        if self.pending.len() < UNITS_MAX {
            self.pending.insert(unit);
        } else {
            self.list_due = true;
        }
    }

    fn forget(&mut self, host: &mut HostUnits, unit: &str) {
        host.units.remove(unit);
        if let Some(row) = self.rows.remove(unit) {
            self.unread -= usize::from(row.missing != 0);
            self.running_due = true;
            self.ask_socket_of(unit);
        }
    }

    fn properties_of(&self, unit: &str) -> Set {
        let times = if self.all_times { TIMES } else { ACTIVE_ENTER };
        let group = if self.with_tasks { CONTROL_GROUP } else { 0 };
        times
            | match unit.rsplit('.').next() {
                Some("service") => SERVICE_TYPE | RESTARTS | TASKS_MAX | group,
                Some("mount") => MOUNT_TYPE,
                Some("timer") => LAST_TRIGGER,
                Some("socket") => CONNECTIONS,
                _ => 0,
            }
    }

    fn ask_manager(&mut self, ask: Ask) {
        self.manager_open += 1;
        self.asks.push_back(ask);
    }

    /// What is open already needs no second question: its answer comes after the signal that made us ask.
    fn ask(&mut self, unit: &str, set: Set) {
        let set = set & self.properties_of(unit);
        let Some((name, _)) = self.rows.get_key_value(unit) else { return };
        let name = name.clone();
        let Some(row) = self.rows.get_mut(unit).filter(|row| row.wanted) else { return };
        let new = set & !row.open;
        row.open |= new;
        let numbers = (0..PROPERTIES.len() as u8).filter(|number| new & (1 << number) != 0);
        self.asks.extend(numbers.map(|number| Ask::Property { unit: name.clone(), number }));
    }

    /// A connection of `mail.socket` is an instance of `mail@.service`; when it ends, the socket says nothing.
    fn ask_socket_of(&mut self, unit: &str) {
        if let Some((prefix, _)) = unit.split_once('@').filter(|_| unit.ends_with(".service")) {
            self.ask(&format!("{prefix}.socket"), CONNECTIONS);
        }
    }
}

/// The next units of a kind behind the last one that had its turn, at most `count`; then from the beginning.
fn in_turn(
    units: &BTreeMap<Arc<str>, HostUnit>,
    last: &mut Option<Arc<str>>,
    count: usize,
    kind: impl Fn(&(&Arc<str>, &HostUnit)) -> bool,
) -> Vec<Arc<str>> {
    let behind = last.take().map_or(Unbounded, Excluded);
    let turn: Vec<Arc<str>> =
        units.range((behind, Unbounded)).filter(kind).take(count).map(|(name, _)| name.clone()).collect();
    // Fewer than there was room for: the end is reached, and the next turn begins anew.
    *last = turn.last().filter(|_| turn.len() == count).cloned();
    turn
}

/// `None` and what has another shape than expected: it is not known.
fn take(unit: &mut HostUnit, property: &str, value: Option<&Variant<'_>>) {
    let text = || match value {
        Some(Variant::Str(text)) if !text.as_str().is_empty() => Some(Box::from(text.as_str())),
        _ => None,
    };
    let number = || match value {
        Some(Variant::U32(number)) => Some(*number),
        _ => None,
    };
    let time = || value.and_then(long);
    match property {
        "Type" => unit.kind = text(),
        "ActiveEnterTimestamp" => unit.active_enter = time(),
        "ActiveExitTimestamp" => unit.active_exit = time(),
        "InactiveEnterTimestamp" => unit.inactive_enter = time(),
        "InactiveExitTimestamp" => unit.inactive_exit = time(),
        "NRestarts" => unit.restarts = number(),
        // The largest number means that there is no limit.
        "TasksMax" => unit.tasks_max = time().filter(|max| *max < u64::MAX),
        "ControlGroup" => unit.control_group = text(),
        "LastTriggerUSec" => unit.last_trigger = time(),
        "NAccepted" => unit.accepted = number(),
        "NConnections" => unit.connections = number(),
        "NRefused" => unit.refused = number(),
        _ => {}
    }
}

fn long(value: &Variant<'_>) -> Option<u64> {
    match value {
        Variant::U64(number) => Some(*number),
        _ => None,
    }
}
