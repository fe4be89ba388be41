//! Which properties are read, and how each becomes part of a [`UnitChange`]. Pure.

use zbus::Variant;

use super::bus::{SERVICE, UNIT};
use crate::model::time::Mono;
use crate::model::unit::{ActiveState, FileState, InvocationId, LoadState, ServiceResult, ServiceType, UnitChange};

/// Properties that the list of units has, too.
const LISTED: &[(&str, &str)] = &[(UNIT, "LoadState"), (UNIT, "ActiveState"), (UNIT, "SubState"), (UNIT, "Job")];

/// Properties whose changes systemd signals, and ControlGroup, which belongs to an activation.
const CHANGING: &[(&str, &str)] = &[
    (UNIT, "InvocationID"),
    (UNIT, "StateChangeTimestampMonotonic"),
    (UNIT, "ActiveEnterTimestampMonotonic"),
    (UNIT, "ActiveExitTimestampMonotonic"),
    (UNIT, "InactiveEnterTimestampMonotonic"),
    (UNIT, "InactiveExitTimestampMonotonic"),
    (SERVICE, "Result"),
    (SERVICE, "NRestarts"),
    (SERVICE, "MainPID"),
    (SERVICE, "ExecMainCode"),
    (SERVICE, "ExecMainStatus"),
    (SERVICE, "ControlGroup"),
];

/// Properties that come from unit files: they change with a reload only, and no signal tells so. UnitFileState is
/// not among them, because one Get of it costs PID 1 three milliseconds; see `look`.
const STANDING: &[(&str, &str)] = &[
    (UNIT, "TriggeredBy"),
    (UNIT, "RequiredBy"),
    (UNIT, "BoundBy"),
    (UNIT, "ConsistsOf"),
    (SERVICE, "Type"),
    (SERVICE, "RemainAfterExit"),
    (SERVICE, "Restart"),
];

/// How much of a unit is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    Everything,
    /// Everything but what the list of units has just told.
    Unlisted,
    /// What comes from unit files.
    Standing,
}

impl Depth {
    /// (interface, property) of all that is read.
    pub fn properties(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let (listed, changing): (&[_], &[_]) = match self {
            Depth::Everything => (LISTED, CHANGING),
            Depth::Unlisted => (&[], CHANGING),
            Depth::Standing => (&[], &[]),
        };
        listed.iter().chain(changing).chain(STANDING).copied()
    }

    /// Nothing is left unread, if what the list told is counted in.
    pub fn is_whole(self) -> bool {
        self != Depth::Standing
    }
}

/// Takes one property over into `change`; false where the property is none of ours, unset, or of an unknown shape.
pub fn take(change: &mut UnitChange, property: &str, value: &Variant<'_>) -> bool {
    match property {
        "LoadState" => set(&mut change.load, text(value).map(LoadState::parse)),
        "ActiveState" => set(&mut change.active, text(value).map(ActiveState::parse)),
        "SubState" => set(&mut change.sub, text(value).map(str::to_owned)),
        "Job" => set(&mut change.job, job(value)),
        "InvocationID" => set(&mut change.invocation, bytes(value).map(|id| InvocationId::from_bytes(&id))),
        "StateChangeTimestampMonotonic" => set(&mut change.state_changed, time(value)),
        "ActiveEnterTimestampMonotonic" => set(&mut change.active_enter, time(value)),
        "ActiveExitTimestampMonotonic" => set(&mut change.active_exit, time(value)),
        "InactiveEnterTimestampMonotonic" => set(&mut change.inactive_enter, time(value)),
        "InactiveExitTimestampMonotonic" => set(&mut change.inactive_exit, time(value)),
        "UnitFileState" => set(&mut change.file_state, text(value).map(FileState::parse)),
        "TriggeredBy" => set(&mut change.triggered, names(value).map(|by| !by.is_empty())),
        "RequiredBy" | "BoundBy" | "ConsistsOf" => add_dependents(change, names(value)),
        "Result" => set(&mut change.result, text(value).map(ServiceResult::parse)),
        "NRestarts" => set(&mut change.n_restarts, number(value)),
        "MainPID" => set(&mut change.main_pid, number(value)),
        "ExecMainCode" => set(&mut change.exec_code, signed(value)),
        "ExecMainStatus" => set(&mut change.exec_status, signed(value)),
        "Type" => set(&mut change.service_type, text(value).map(ServiceType::parse)),
        "RemainAfterExit" => set(&mut change.remain_after_exit, flag(value)),
        "Restart" => set(&mut change.restarts_itself, text(value).map(|when| when != "no")),
        "ControlGroup" => set(&mut change.control_group, text(value).map(str::to_owned)),
        _ => false,
    }
}

/// Lays `newer` over `older`.
pub fn merge(older: &mut UnitChange, newer: &UnitChange) {
    macro_rules! over { ($($field:ident),+) => { $(if newer.$field.is_some() { older.$field.clone_from(&newer.$field); })+ } }
    over!(load, active, sub, result, n_restarts, main_pid, exec_code, exec_status, invocation, job);
    over!(state_changed, active_enter, active_exit, inactive_enter, inactive_exit);
    over!(file_state, service_type, remain_after_exit, triggered, restarts_itself, dependents, control_group);
}

/// What `newer` tells that `older` does not already say.
pub fn difference(older: &UnitChange, newer: UnitChange) -> UnitChange {
    let mut left = newer;
    macro_rules! drop_same { ($($field:ident),+) => { $(if left.$field == older.$field { left.$field = None; })+ } }
    drop_same!(load, active, sub, result, n_restarts, main_pid, exec_code, exec_status, invocation, job);
    drop_same!(state_changed, active_enter, active_exit, inactive_enter, inactive_exit);
    drop_same!(file_state, service_type, remain_after_exit, triggered, restarts_itself, dependents, control_group);
    left
}

fn set<T>(field: &mut Option<T>, value: Option<T>) -> bool {
    let told = value.is_some();
    if told {
        *field = value;
    }
    told
}

/// Three properties make one list: each adds to it, none replaces it.
fn add_dependents(change: &mut UnitChange, names: Option<Vec<String>>) -> bool {
    let Some(names) = names else { return false };
    let all = change.dependents.get_or_insert_default();
    all.extend(names);
    all.sort_unstable();
    all.dedup();
    true
}

fn text<'v>(value: &'v Variant<'_>) -> Option<&'v str> {
    match value {
        Variant::Str(text) => Some(text.as_str()),
        _ => None,
    }
}

fn number(value: &Variant<'_>) -> Option<u32> {
    match value {
        Variant::U32(number) => Some(*number),
        _ => None,
    }
}

fn signed(value: &Variant<'_>) -> Option<i32> {
    match value {
        Variant::I32(number) => Some(*number),
        _ => None,
    }
}

fn flag(value: &Variant<'_>) -> Option<bool> {
    match value {
        Variant::Bool(flag) => Some(*flag),
        _ => None,
    }
}

/// systemd writes "not set" as the largest number.
fn time(value: &Variant<'_>) -> Option<Mono> {
    match value {
        Variant::U64(u64::MAX) => None,
        Variant::U64(time) => Some(Mono(*time)),
        _ => None,
    }
}

fn bytes(value: &Variant<'_>) -> Option<Vec<u8>> {
    match value {
        Variant::Array(array) => array.iter().map(|item| u8::try_from(item).ok()).collect(),
        _ => None,
    }
}

/// A list of unit names.
pub fn names(value: &Variant<'_>) -> Option<Vec<String>> {
    match value {
        Variant::Array(array) => array.iter().map(|item| text(item).map(str::to_owned)).collect(),
        _ => None,
    }
}

/// (id, path); the id 0 means that there is no job.
fn job(value: &Variant<'_>) -> Option<u32> {
    match value {
        Variant::Structure(pair) => pair.fields().first().and_then(number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(properties: Vec<(&str, Variant<'_>)>) -> UnitChange {
        let mut change = UnitChange::default();
        for (property, value) in &properties {
            take(&mut change, property, value);
        }
        change
    }

    #[test]
    fn every_property_that_is_read_is_understood() {
        for (_, property) in Depth::Everything.properties() {
            let values = [
                Variant::from("loaded"),
                Variant::from(1u32),
                Variant::from(1i32),
                Variant::from(1u64),
                Variant::from(true),
                Variant::from(vec![7u8; 16]),
                Variant::from(vec!["a.service"]),
                Variant::from((7u32, zbus::ObjectPath::try_from("/").unwrap())),
            ];
            let understood = values.iter().filter(|value| take(&mut UnitChange::default(), property, value)).count();
            assert!(understood >= 1, "{property} is read but never understood");
        }
    }

    #[test]
    fn a_failure_is_read() {
        let change = read(vec![
            ("ActiveState", Variant::from("failed")),
            ("Result", Variant::from("signal")),
            ("ExecMainStatus", Variant::from(9i32)),
            ("InvocationID", Variant::from(vec![1u8; 16])),
            ("Job", Variant::from((4u32, zbus::ObjectPath::try_from("/j").unwrap()))),
            ("StatusText", Variant::from("busy")),
        ]);
        assert_eq!(change.active, Some(ActiveState::Failed));
        assert_eq!(change.result, Some(ServiceResult::Signal));
        assert_eq!(change.exec_status, Some(9));
        assert_eq!(change.invocation, Some(InvocationId(0x0101_0101_0101_0101_0101_0101_0101_0101)));
        assert_eq!(change.job, Some(4));
    }

    #[test]
    fn unset_and_ill_typed_values_tell_nothing() {
        let change = read(vec![
            ("ActiveEnterTimestampMonotonic", Variant::from(u64::MAX)),
            ("NRestarts", Variant::from("three")),
            ("Job", Variant::from(3u32)),
        ]);
        assert_eq!(change, UnitChange::default());
    }

    #[test]
    fn dependents_are_the_sum_of_three_properties() {
        let change = read(vec![
            ("RequiredBy", Variant::from(vec!["b.service", "a.service"])),
            ("BoundBy", Variant::from(vec!["a.service"])),
            ("ConsistsOf", Variant::from(Vec::<&str>::new())),
        ]);
        assert_eq!(change.dependents, Some(vec!["a.service".to_owned(), "b.service".to_owned()]));
    }

    #[test]
    fn newer_lies_over_older_and_difference_is_what_is_new() {
        let mut older = UnitChange { active: Some(ActiveState::Active), main_pid: Some(7), ..Default::default() };
        let newer = UnitChange { active: Some(ActiveState::Failed), main_pid: Some(7), ..Default::default() };
        let left = difference(&older, newer.clone());
        assert_eq!(left, UnitChange { active: Some(ActiveState::Failed), ..Default::default() });
        merge(&mut older, &newer);
        assert_eq!(older, newer);
    }
}
