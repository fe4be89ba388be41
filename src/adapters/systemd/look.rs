//! Reading units: one unit property by property, all units as a list. Never GetAll, which costs PID 1 milliseconds a
//! unit.

use futures_util::future::join_all;
use zbus::{ObjectPath, OwnedVariant, Variant};

use super::bus::{Caller, Haste, MANAGER, MANAGER_PATH, UNIT};
use super::path::unit_path;
use super::properties::{Depth, take};
use super::table::Listed;
use crate::model::name::UnitName;
use crate::model::time::Mono;
use crate::model::unit::{ActiveState, FileState, LoadState, ManagerState, UnitChange};

/// What the manager says of itself and of all units that patterns match.
#[derive(Debug)]
pub struct Listing {
    pub units: Vec<Listed>,
    /// State of the unit files of plain units, loaded or not; an instance has none of its own.
    pub files: Vec<(UnitName, FileState)>,
    pub manager: ManagerState,
    pub startup_finished: Mono,
}

/// Reads one unit. A property that this systemd does not have is left out; a call that got no reply fails the look.
///
/// UnitFileState is read only where it decides something, for an instance that never ran: the state of plain units
/// comes with the listing, all of them for the price of one Get.
pub async fn look(
    caller: &Caller,
    unit: &UnitName,
    depth: Depth,
    known: Option<UnitChange>,
    haste: Haste,
) -> Result<UnitChange, zbus::Error> {
    let mut seen = read_all(caller, unit, depth, haste).await?;
    let never_ran = match depth {
        Depth::Everything => never_ran(&seen),
        Depth::Unlisted | Depth::Standing => known.as_ref().is_some_and(never_ran),
    };
    if never_ran
        && unit.instance().is_some()
        && let Some(value) = read(caller, &unit_path(unit.as_str()), UNIT, "UnitFileState").await?
    {
        take(&mut seen, "UnitFileState", &value);
    }
    Ok(seen)
}

fn never_ran(unit: &UnitChange) -> bool {
    unit.active == Some(ActiveState::Inactive) && unit.inactive_exit.is_none_or(|at| at == Mono(0))
}

async fn read_all(caller: &Caller, unit: &UnitName, depth: Depth, haste: Haste) -> Result<UnitChange, zbus::Error> {
    let path = unit_path(unit.as_str());
    let reads = depth.properties().map(|(interface, property)| {
        let path = &path;
        async move { (property, caller.get(haste, path, interface, property).await) }
    });
    let mut change = UnitChange::default();
    for (property, value) in join_all(reads).await {
        match value {
            Ok(value) => {
                take(&mut change, property, &value);
            }
            Err(error) if is_reply(&error) => {
                tracing::debug!(unit = %unit, property, error = %error, "property not read");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(change)
}

/// Lists what matches `patterns`; none matches nothing.
pub async fn list(caller: &Caller, patterns: &[String]) -> Result<Listing, zbus::Error> {
    let (units, files, manager, finished) = tokio::join!(
        list_units(caller, patterns),
        list_files(caller, patterns),
        manager_state(caller),
        caller.get(Haste::Quick, MANAGER_PATH, MANAGER, "FinishTimestampMonotonic"),
    );
    let finished = finished?;
    let startup_finished = match &*finished {
        Variant::U64(time) if *time != u64::MAX => Mono(*time),
        _ => Mono(0),
    };
    Ok(Listing { units: units?, files: files?, manager: manager?, startup_finished })
}

/// SystemState; systemd does not signal it.
pub async fn manager_state(caller: &Caller) -> Result<ManagerState, zbus::Error> {
    let value = caller.get(Haste::Quick, MANAGER_PATH, MANAGER, "SystemState").await?;
    Ok(match &*value {
        Variant::Str(state) => ManagerState::parse(state.as_str()),
        _ => ManagerState::Unknown,
    })
}

/// systemd's own version, such as `252.38-1~deb12u1`.
pub async fn version(caller: &Caller) -> Result<String, zbus::Error> {
    let value = caller.get(Haste::Quick, MANAGER_PATH, MANAGER, "Version").await?;
    Ok(match &*value {
        Variant::Str(version) => version.as_str().to_owned(),
        _ => String::new(),
    })
}

/// One property of a unit that holds unit names.
pub async fn read(
    caller: &Caller,
    path: &str,
    interface: &str,
    property: &str,
) -> Result<Option<OwnedVariant>, zbus::Error> {
    match caller.get(Haste::Bulk, path, interface, property).await {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_reply(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// systemd answered, though with an error; else the bus or the manager is gone or silent.
pub fn is_reply(error: &zbus::Error) -> bool {
    super::bus::error_name(error).is_some_and(|name| {
        !matches!(
            name.as_str(),
            "org.freedesktop.DBus.Error.NoReply"
                | "org.freedesktop.DBus.Error.Disconnected"
                | "org.freedesktop.DBus.Error.NameHasNoOwner"
                | "org.freedesktop.DBus.Error.ServiceUnknown"
                | "org.freedesktop.DBus.Error.LimitsExceeded"
        )
    })
}

/// name, description, load, active, sub, following, path, job, job type, job path.
type UnitRow<'m> = (&'m str, &'m str, &'m str, &'m str, &'m str, &'m str, ObjectPath<'m>, u32, &'m str, ObjectPath<'m>);

async fn list_units(caller: &Caller, patterns: &[String]) -> Result<Vec<Listed>, zbus::Error> {
    if patterns.is_empty() {
        return Ok(Vec::new());
    }
    let states: [&str; 0] = [];
    let reply = caller.manager("ListUnitsByPatterns", &(&states[..], patterns)).await?;
    let body = reply.body();
    let rows: Vec<UnitRow<'_>> = body.deserialize()?;
    Ok(rows
        .into_iter()
        .filter_map(|(unit, _, load, active, sub, _, _, job, _, _)| {
            Some(Listed {
                unit: UnitName::new(unit).ok()?,
                load: LoadState::parse(load),
                active: ActiveState::parse(active),
                sub: sub.to_owned(),
                job,
            })
        })
        .collect())
}

async fn list_files(caller: &Caller, patterns: &[String]) -> Result<Vec<(UnitName, FileState)>, zbus::Error> {
    if patterns.is_empty() {
        return Ok(Vec::new());
    }
    let states: [&str; 0] = [];
    let reply = caller.manager("ListUnitFilesByPatterns", &(&states[..], patterns)).await?;
    let body = reply.body();
    let rows: Vec<(&str, &str)> = body.deserialize()?;
    // A template's own file is no unit, and UnitName refuses it.
    let row =
        |(path, state): (&str, &str)| Some((UnitName::new(path.rsplit('/').next()?).ok()?, FileState::parse(state)));
    Ok(rows.into_iter().filter_map(row).collect())
}
