//! What is known of every unit that a selector matches, and what a signal about one calls for. Pure: no calls, no
//! clock. Because everything that was forwarded is also merged here, a snapshot is simply this table.

use std::collections::{HashMap, HashSet};

use super::properties::{Depth, difference, merge};
use crate::model::input::Input;
use crate::model::name::UnitName;
use crate::model::settings::Selector;
use crate::model::time::Mono;
use crate::model::unit::{ActiveState, FileState, InvocationId, JobKind, LoadState, ServiceResult, UnitChange};

/// Units that are followed at once; more are left out and counted.
pub const UNITS_MAX: usize = 20_000;
/// Job signals of one unit that wait until the first look at it is over.
const HELD_MAX: usize = 16;

/// What the session has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    Send(Input),
    Look(UnitName, Depth),
    /// systemd does not signal ControlGroup: read it, once in this activation.
    ReadControlGroup(UnitName, InvocationId),
}

/// Units to look at, and how deeply.
pub type Looks = Vec<(UnitName, Depth)>;

/// One unit of ListUnits.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    pub unit: UnitName,
    pub load: LoadState,
    pub active: ActiveState,
    pub sub: String,
    /// 0: none.
    pub job: u32,
}

impl Listed {
    fn told(&self) -> UnitChange {
        UnitChange {
            load: Some(self.load),
            active: Some(self.active),
            sub: Some(self.sub.clone()),
            job: Some(self.job),
            ..Default::default()
        }
    }
}

#[derive(Debug, Default)]
struct Entry {
    known: UnitChange,
    loaded: bool,
    /// Everything has been read at least once; until then nothing is told.
    read: bool,
    /// It was unloaded since: what comes from unit files must be read again when it is used again.
    stale: bool,
    /// A look is under way: what signals have told since it began.
    looking: Option<UnitChange>,
    held: Vec<Input>,
    /// Reads of ours that are under way. A read of a unit that is not loaded loads it and lets it go again, which
    /// emits UnitNew and UnitRemoved: two monitors that look at each other's UnitNew would go on for ever.
    reads: u32,
    /// So its UnitNew, up to its next UnitRemoved, means nothing.
    ours: bool,
    /// It was told, or is understood, that it is not loaded; until somebody uses it.
    gone: bool,
    /// A signal has told of it since the listing that runs began: newer than the list.
    touched: bool,
    /// The activation for which ControlGroup was asked.
    group_of: InvocationId,
    /// The latest job, and how the unit was when it was queued.
    job: Option<(u32, ActiveState, InvocationId)>,
}

/// All units that matter.
#[derive(Debug, Default)]
pub struct Table {
    units: HashMap<UnitName, Entry>,
    selectors: Vec<Selector>,
    /// The first snapshot has been sent: changes are forwarded as they come.
    live: bool,
    /// Units with an enabled unit file.
    enabled: Vec<UnitName>,
    /// Units left out because of [`UNITS_MAX`].
    left_out: u64,
}

impl Table {
    pub fn new(selectors: Vec<Selector>) -> Self {
        Self { selectors, ..Self::default() }
    }

    pub fn select(&mut self, selectors: Vec<Selector>) {
        self.selectors = selectors;
        let selectors = &self.selectors;
        self.units.retain(|unit, _| selectors.iter().any(|selector| selector.matches(unit.as_str())));
    }

    pub fn patterns(&self) -> Vec<String> {
        self.selectors.iter().map(Selector::pattern).collect()
    }

    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    pub fn known(&self, unit: &UnitName) -> Option<&UnitChange> {
        self.units.get(unit).map(|entry| &entry.known)
    }

    /// Whether a selector matches the unit.
    pub fn wants(&self, unit: &str) -> bool {
        self.units.contains_key(unit) || self.selectors.iter().any(|selector| selector.matches(unit))
    }

    /// The unit by its name, if it matters.
    pub fn name(&self, unit: &str) -> Option<UnitName> {
        match self.units.get_key_value(unit) {
            Some((name, _)) => Some(name.clone()),
            None if self.wants(unit) => UnitName::new(unit).ok(),
            None => None,
        }
    }

    /// Properties of a unit have changed.
    pub fn changed(&mut self, unit: UnitName, change: UnitChange) -> Vec<Effect> {
        let live = self.live;
        let Some(entry) = self.entry(&unit) else { return Vec::new() };
        let used_again = entry.used();
        // A reply may overtake signals that were sent before it. Told afterwards, they would be a fall that never was.
        let change = if is_older(&change, &entry.known) { UnitChange::default() } else { change };
        if let Some(since) = &mut entry.looking {
            merge(since, &change);
        }
        // systemd repeats everything with every signal; only what is new is told.
        let news = difference(&entry.known, change);
        merge(&mut entry.known, &news);
        let mut effects = Vec::with_capacity(2);
        if live && entry.read && news != UnitChange::default() {
            effects.push(Effect::Send(Input::Unit { unit: unit.clone(), change: Box::new(news) }));
        }
        if let Some(invocation) = entry.group_to_read() {
            effects.push(Effect::ReadControlGroup(unit.clone(), invocation));
        }
        if used_again {
            effects.push(Effect::Look(unit, Depth::Everything));
        }
        effects
    }

    /// systemd has loaded a unit.
    pub fn loaded(&mut self, unit: UnitName) -> Vec<Effect> {
        let Some(entry) = self.entry(&unit) else { return Vec::new() };
        entry.touched = true;
        // A unit that is known is looked at again when something happens to it, not because somebody read it.
        let unknown = !entry.read && entry.looking.is_none() && !entry.ours;
        entry.stale |= entry.read && !entry.ours && !entry.loaded;
        entry.loaded = true;
        if unknown { vec![Effect::Look(unit, Depth::Everything)] } else { Vec::new() }
    }

    /// systemd has unloaded a unit.
    pub fn removed(&mut self, unit: UnitName) -> Vec<Effect> {
        let live = self.live;
        let Some(entry) = self.entry(&unit) else { return Vec::new() };
        let news = entry.read && !std::mem::replace(&mut entry.gone, true);
        // A read that is under way may load it again; what comes of that is our own doing.
        entry.ours = entry.reads > 0;
        entry.loaded = false;
        entry.stale = true;
        entry.touched = true;
        merge(&mut entry.known, &unloaded());
        if live && news { vec![Effect::Send(Input::Unloaded { unit })] } else { Vec::new() }
    }

    /// A job of the unit was queued or is over; `input` says so.
    pub fn job(&mut self, unit: UnitName, input: Input) -> Vec<Effect> {
        let live = self.live;
        let Some(entry) = self.entry(&unit) else { return Vec::new() };
        // Only a new job proves that somebody uses the unit; its end and its kind may come after the unit is gone.
        let used_again = matches!(input, Input::JobNew { .. }) && entry.used();
        if let (Input::JobNew { job, .. }, true, Some(state)) = (&input, entry.read, entry.known.active) {
            entry.job = Some((*job, state, entry.known.invocation.unwrap_or_default()));
        }
        let mut effects = Vec::with_capacity(2);
        if live && entry.read {
            effects.push(Effect::Send(input));
        } else if live && entry.held.len() < HELD_MAX {
            entry.held.push(input);
        }
        if used_again {
            effects.push(Effect::Look(unit, Depth::Everything));
        }
        effects
    }

    /// Of what kind a job that is done must have been, from how the unit was before and is now.
    pub fn kind_by_effect(&self, unit: &UnitName, job: u32) -> Option<JobKind> {
        let entry = self.units.get(unit)?;
        let (_, before, activation) = entry.job.filter(|(id, _, _)| *id == job)?;
        let now = entry.known.active?;
        if now.is_down() && (before.is_up() || before == ActiveState::Deactivating) {
            Some(JobKind::Stop)
        } else if now.is_up() && before.is_down() {
            Some(JobKind::Start)
        } else if now.is_up() && before.is_up() && entry.known.invocation != Some(activation) {
            Some(JobKind::Restart)
        } else {
            None
        }
    }

    /// A look at the unit begins. False when one is under way already.
    pub fn look_begins(&mut self, unit: &UnitName) -> bool {
        let Some(entry) = self.entry(unit) else { return false };
        if entry.looking.is_some() {
            return false;
        }
        entry.looking = Some(UnitChange::default());
        entry.read_begins();
        true
    }

    /// Something of the unit is read that is not told.
    pub fn read_begins(&mut self, unit: &UnitName) {
        if let Some(entry) = self.units.get_mut(unit) {
            entry.read_begins();
        }
    }

    pub fn read_ends(&mut self, unit: &UnitName) {
        if let Some(entry) = self.units.get_mut(unit) {
            entry.reads = entry.reads.saturating_sub(1);
        }
    }

    /// A look is over; what signals told meanwhile is newer. `answer`: somebody asked, and must be told even when
    /// nothing is new.
    pub fn look_ends(&mut self, unit: &UnitName, depth: Depth, seen: UnitChange, answer: bool) -> Vec<Effect> {
        let live = self.live;
        let Some(entry) = self.units.get_mut(unit) else { return Vec::new() };
        let mut seen = seen;
        entry.reads = entry.reads.saturating_sub(1);
        if let Some(since) = entry.looking.take().filter(|since| !is_older(since, &seen)) {
            merge(&mut seen, &since);
        }
        let first = !entry.read;
        let mut news = difference(&entry.known, seen.clone());
        merge(&mut entry.known, &seen);
        if first || answer {
            news = entry.known.clone();
        }
        if depth.is_whole() {
            entry.read = true;
            entry.stale = false;
            if entry.known.control_group.as_deref().is_some_and(|path| !path.is_empty()) {
                entry.group_of = entry.known.invocation.unwrap_or_default();
            }
        }
        if entry.known.active.is_some_and(|state| state != ActiveState::Inactive) {
            entry.ours = false;
            entry.gone = false;
        }
        let mut effects = Vec::new();
        if live && entry.read && (first || answer || news != UnitChange::default()) {
            effects.push(Effect::Send(Input::Unit { unit: unit.clone(), change: Box::new(news) }));
            effects.extend(entry.held.drain(..).map(Effect::Send));
        }
        entry.held.clear();
        if let Some(invocation) = entry.group_to_read() {
            effects.push(Effect::ReadControlGroup(unit.clone(), invocation));
        }
        effects
    }

    /// A look has failed: nothing is learned, and the next change asks for another.
    pub fn look_failed(&mut self, unit: &UnitName) {
        if let Some(entry) = self.units.get_mut(unit) {
            entry.looking = None;
            entry.reads = entry.reads.saturating_sub(1);
        }
    }

    /// ControlGroup was read. An empty one is asked for again with the next change.
    pub fn control_group(&mut self, unit: &UnitName, invocation: InvocationId, path: String) -> Option<Effect> {
        let live = self.live;
        let entry = self.units.get_mut(unit)?;
        if path.is_empty() || entry.known.invocation != Some(invocation) {
            entry.group_of = InvocationId::default();
            return None;
        }
        let change = UnitChange { control_group: Some(path), ..Default::default() };
        let new = difference(&entry.known, change.clone()) != UnitChange::default();
        merge(&mut entry.known, &change);
        (live && entry.read && new).then(|| Effect::Send(Input::Unit { unit: unit.clone(), change: Box::new(change) }))
    }

    /// A listing begins: from here on signals are newer than what it will say.
    pub fn listing_begins(&mut self) {
        for entry in self.units.values_mut() {
            entry.touched = false;
        }
    }

    /// The listing is here. Returns what must be looked at before the snapshot can be told, and what can be
    /// refreshed after it. `files`: the state of unit files; an enabled one counts although its unit is not loaded.
    /// `all`: believe nothing that was known.
    pub fn listed(&mut self, units: Vec<Listed>, files: &[(UnitName, FileState)], all: bool) -> (Looks, Looks) {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let mut found = HashSet::with_capacity(units.len());
        for listed in units {
            // Selectors may have changed since the question, and patterns match aliases, too.
            if !self.wants(listed.unit.as_str()) {
                continue;
            }
            let Some(entry) = self.entry(&listed.unit) else { continue };
            found.insert(listed.unit.clone());
            let as_known = entry.agrees(&listed);
            if !entry.touched {
                entry.loaded = true;
                merge(&mut entry.known, &listed.told());
            }
            if entry.read && !all && as_known && !entry.stale {
                after.push((listed.unit, Depth::Standing));
            } else if entry.loaded {
                // What signals have told of it since then may be less than the list tells.
                let depth = if entry.touched { Depth::Everything } else { Depth::Unlisted };
                before.push((listed.unit, depth));
            }
        }
        for (unit, entry) in &mut self.units {
            if !entry.touched && !found.contains(unit) {
                entry.loaded = false;
                merge(&mut entry.known, &unloaded());
            }
        }
        self.enabled = files.iter().filter(|(_, state)| is_enabled(*state)).map(|(unit, _)| unit.clone()).collect();
        for unit in self.wanted_anyway() {
            if !found.contains(&unit) && self.entry(&unit).is_some() {
                before.push((unit, Depth::Everything));
            }
        }
        for (unit, state) in files {
            if let Some(entry) = self.units.get_mut(unit) {
                entry.known.file_state = Some(*state);
            }
        }
        (before, after)
    }

    /// Everything that is known, for a snapshot; units that nobody names and that are gone are forgotten.
    pub fn snapshot(&mut self) -> Vec<(UnitName, UnitChange)> {
        self.live = true;
        let anyway = self.wanted_anyway();
        self.units.retain(|unit, entry| entry.loaded || entry.reads > 0 || anyway.contains(unit));
        let mut units: Vec<_> = self
            .units
            .iter()
            .filter(|(_, entry)| entry.read)
            .map(|(unit, entry)| (unit.clone(), entry.known.clone()))
            .collect();
        units.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        units
    }

    /// Units that have a job, and its id.
    pub fn jobs(&self) -> impl Iterator<Item = (UnitName, u32)> + '_ {
        let job = |entry: &Entry| entry.known.job.filter(|job| *job != 0);
        self.units.iter().filter_map(move |(unit, entry)| Some((unit.clone(), job(entry)?)))
    }

    /// Units that are told of although they are not loaded: those that selectors name, and enabled ones.
    fn wanted_anyway(&self) -> HashSet<UnitName> {
        let named = self.selectors.iter().filter_map(|selector| match selector {
            Selector::Unit(unit) => Some(unit),
            Selector::Template(_) | Selector::Glob(_) => None,
        });
        named.chain(self.enabled.iter().filter(|unit| self.wants(unit.as_str()))).cloned().collect()
    }

    fn entry(&mut self, unit: &UnitName) -> Option<&mut Entry> {
        if !self.units.contains_key(unit) && self.units.len() >= UNITS_MAX {
            self.left_out += 1;
            return None;
        }
        Some(self.units.entry(unit.clone()).or_default())
    }
}

impl Entry {
    fn read_begins(&mut self) {
        self.reads += 1;
        self.ours |= !self.loaded;
        self.gone |= !self.loaded;
    }

    /// Something happens to the unit. True when it must be looked at because of that.
    fn used(&mut self) -> bool {
        self.loaded = true;
        self.touched = true;
        self.ours = false;
        self.gone = false;
        (!self.read || self.stale) && self.looking.is_none()
    }

    /// The activation whose ControlGroup is to be read; marked as asked.
    fn group_to_read(&mut self) -> Option<InvocationId> {
        let up = matches!(self.known.active, Some(state) if state.is_up() || state == ActiveState::Activating);
        let invocation = self.known.invocation.filter(|id| !id.is_none() && *id != self.group_of)?;
        if !up || !self.read {
            return None;
        }
        self.group_of = invocation;
        Some(invocation)
    }

    /// The list says what is known, or signals are newer than the list.
    fn agrees(&self, listed: &Listed) -> bool {
        self.touched || difference(&self.known, listed.told()) == UnitChange::default()
    }
}

fn is_enabled(state: FileState) -> bool {
    matches!(state, FileState::Enabled | FileState::EnabledRuntime)
}

/// systemd sends the time of the last change of state along with every state.
fn is_older(one: &UnitChange, other: &UnitChange) -> bool {
    matches!((one.state_changed, other.state_changed), (Some(one), Some(other)) if one < other)
}

/// What unloading does to what is known: loaded again, the unit has no past.
fn unloaded() -> UnitChange {
    let never = Some(Mono(0));
    UnitChange {
        active: Some(ActiveState::Inactive),
        sub: Some("dead".into()),
        result: Some(ServiceResult::Success),
        n_restarts: Some(0),
        main_pid: Some(0),
        exec_code: Some(0),
        exec_status: Some(0),
        invocation: Some(InvocationId::default()),
        job: Some(0),
        state_changed: never,
        active_enter: never,
        active_exit: never,
        inactive_enter: never,
        inactive_exit: never,
        control_group: Some(String::new()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit() -> UnitName {
        UnitName::new("mail@1.service").unwrap()
    }

    fn state(active: ActiveState) -> UnitChange {
        UnitChange { active: Some(active), ..Default::default() }
    }

    fn listed(active: ActiveState) -> Listed {
        Listed { unit: unit(), load: LoadState::Loaded, active, sub: "running".into(), job: 0 }
    }

    /// A table in which the unit is active, read and told.
    fn live() -> Table {
        let mut table = Table::new(vec![Selector::Template("mail".into())]);
        table.listing_begins();
        let (before, after) = table.listed(vec![listed(ActiveState::Active)], &[], true);
        assert_eq!((before, after), (vec![(unit(), Depth::Unlisted)], vec![]));
        assert!(table.look_begins(&unit()));
        assert_eq!(table.look_ends(&unit(), Depth::Unlisted, UnitChange::default(), false), vec![]);
        assert_eq!(table.snapshot().len(), 1);
        table
    }

    fn told<'e>(effects: &'e [Effect]) -> Vec<&'e Input> {
        let input = |effect: &'e Effect| match effect {
            Effect::Send(input) => Some(input),
            _ => None,
        };
        effects.iter().filter_map(input).collect()
    }

    #[test]
    fn a_change_of_a_known_unit_is_told_at_once() {
        let mut table = live();
        let effects = table.changed(unit(), state(ActiveState::Failed));
        let change = Box::new(state(ActiveState::Failed));
        assert_eq!(effects, vec![Effect::Send(Input::Unit { unit: unit(), change })]);
    }

    #[test]
    fn a_new_unit_is_told_once_it_is_known_with_what_came_meanwhile() {
        let mut table = live();
        let new = UnitName::new("mail@2.service").unwrap();
        assert_eq!(table.loaded(new.clone()), vec![Effect::Look(new.clone(), Depth::Everything)]);
        assert!(table.look_begins(&new));
        assert!(!table.look_begins(&new), "one look at a time");
        let job = Input::JobNew { unit: new.clone(), job: 7 };
        assert_eq!(table.job(new.clone(), job.clone()), vec![]);
        assert_eq!(table.changed(new.clone(), state(ActiveState::Active)), vec![]);
        // The look was answered before the change, and arrives after it.
        let effects = table.look_ends(&new, Depth::Everything, state(ActiveState::Activating), false);
        let change = Box::new(state(ActiveState::Active));
        assert_eq!(told(&effects), vec![&Input::Unit { unit: new, change }, &job]);
    }

    #[test]
    fn what_our_own_look_loads_is_not_looked_at_again() {
        let mut table = Table::new(vec![Selector::Unit(unit())]);
        let (before, _) = table.listed(vec![], &[], true);
        assert_eq!(before, vec![(unit(), Depth::Everything)]);
        assert!(table.look_begins(&unit()));
        for _ in 0..3 {
            assert_eq!(table.loaded(unit()), vec![]);
            assert_eq!(table.removed(unit()), vec![]);
        }
        table.look_ends(&unit(), Depth::Everything, state(ActiveState::Inactive), false);
        table.snapshot();
        // Signals of the look that come after its answer, and another monitor that reads the unit.
        for _ in 0..3 {
            assert_eq!(table.loaded(unit()), vec![]);
            assert_eq!(table.removed(unit()), vec![]);
        }
        // Somebody starts it: now it is looked at again.
        table.loaded(unit());
        let effects = table.job(unit(), Input::JobNew { unit: unit(), job: 7 });
        assert!(effects.contains(&Effect::Look(unit(), Depth::Everything)), "{effects:?}");
    }

    #[test]
    fn unloading_is_told_once() {
        let mut table = live();
        assert_eq!(table.removed(unit()), vec![Effect::Send(Input::Unloaded { unit: unit() })]);
        assert_eq!(table.loaded(unit()), vec![]);
        assert_eq!(table.removed(unit()), vec![]);
        assert_eq!(table.snapshot(), vec![], "an instance that is gone is forgotten");
    }

    #[test]
    fn a_list_that_is_older_than_a_signal_is_not_believed() {
        let mut table = live();
        table.listing_begins();
        table.changed(unit(), state(ActiveState::Failed));
        let (before, after) = table.listed(vec![listed(ActiveState::Active)], &[], false);
        assert_eq!((before, after), (vec![], vec![(unit(), Depth::Standing)]));
        assert_eq!(table.snapshot()[0].1.active, Some(ActiveState::Failed));

        table.listing_begins();
        table.removed(unit());
        let (before, _) = table.listed(vec![listed(ActiveState::Active)], &[], false);
        assert_eq!(before, vec![]);
        assert_eq!(table.snapshot(), vec![]);
    }

    #[test]
    fn a_signal_that_a_reply_has_overtaken_is_not_told() {
        let at = |time, active| UnitChange { state_changed: Some(Mono(time)), ..state(active) };
        let mut table = live();
        table.look_begins(&unit());
        table.changed(unit(), at(5, ActiveState::Inactive));
        table.look_ends(&unit(), Depth::Everything, at(9, ActiveState::Active), false);
        assert_eq!(table.snapshot()[0].1.active, Some(ActiveState::Active));
        assert_eq!(table.changed(unit(), at(7, ActiveState::Failed)), vec![]);
        assert_eq!(told(&table.changed(unit(), at(10, ActiveState::Failed))).len(), 1);
        // Unloaded and loaded again it has no past, so nothing is too old.
        table.removed(unit());
        let again = UnitChange { job: Some(7), ..at(0, ActiveState::Inactive) };
        assert_eq!(told(&table.changed(unit(), again)).len(), 1);
    }

    #[test]
    fn a_job_is_known_by_what_it_did() {
        use ActiveState::{Activating, Active, Deactivating, Failed, Inactive};
        for (before, after, invocation, expected) in [
            (Active, Inactive, 1, Some(JobKind::Stop)),
            (Active, Failed, 1, Some(JobKind::Stop)),
            (Deactivating, Inactive, 1, Some(JobKind::Stop)),
            (Inactive, Active, 2, Some(JobKind::Start)),
            (Failed, Active, 2, Some(JobKind::Start)),
            (Active, Active, 2, Some(JobKind::Restart)),
            // A reload; a oneshot that was started; a start that joined another.
            (Active, Active, 1, None),
            (Inactive, Inactive, 2, None),
            (Activating, Active, 1, None),
        ] {
            let mut table = live();
            let at = |state_: ActiveState, id| UnitChange { invocation: Some(InvocationId(id)), ..state(state_) };
            table.changed(unit(), at(before, 1));
            table.job(unit(), Input::JobNew { unit: unit(), job: 7 });
            table.changed(unit(), at(after, invocation));
            assert_eq!(table.kind_by_effect(&unit(), 7), expected, "{before} -> {after}");
            assert_eq!(table.kind_by_effect(&unit(), 8), None);
        }
    }

    #[test]
    fn a_list_that_disagrees_asks_for_a_look() {
        let mut table = live();
        table.listing_begins();
        let (before, _) = table.listed(vec![listed(ActiveState::Failed)], &[], false);
        assert_eq!(before, vec![(unit(), Depth::Unlisted)]);
    }

    #[test]
    fn the_control_group_is_read_once_in_an_activation() {
        let mut table = live();
        let id = InvocationId(7);
        let start = UnitChange { invocation: Some(id), ..state(ActiveState::Activating) };
        let effects = table.changed(unit(), start.clone());
        assert!(effects.contains(&Effect::ReadControlGroup(unit(), id)), "{effects:?}");
        assert_eq!(table.changed(unit(), start.clone()), vec![], "it is on its way, and nothing is new");
        assert_eq!(table.control_group(&unit(), id, String::new()), None);
        assert!(table.changed(unit(), start.clone()).contains(&Effect::ReadControlGroup(unit(), id)), "it was empty");
        assert!(table.control_group(&unit(), id, "/system.slice/x".into()).is_some());
        assert_eq!(table.changed(unit(), start), vec![]);
    }

    #[test]
    fn the_number_of_units_is_bounded() {
        let mut table = Table::new(vec![Selector::Glob("*.service".into())]);
        for number in 0..UNITS_MAX + 3 {
            table.loaded(UnitName::new(&format!("u{number}.service")).unwrap());
        }
        assert_eq!(table.left_out(), 3);
    }
}
