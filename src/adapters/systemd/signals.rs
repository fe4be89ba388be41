//! Messages of the bus as the few signals that matter. Reads no body that nobody needs; trusts no sender but systemd
//! and the bus itself, because anybody may send a signal straight to us.

use std::collections::HashMap;

use zbus::message::Type;
use zbus::{Message, ObjectPath, Variant};

use super::bus::{MANAGER, MANAGER_PATH, PROPERTIES, SYSTEMD};
use super::path::unit_of_path;
use super::properties::take;
use crate::model::unit::{JobResult, UnitChange};

const BUS: &str = "org.freedesktop.DBus";

/// What we ask the bus to send us: everything that systemd says of itself, its units and its jobs.
pub const SYSTEMD_RULE: &str =
    "type='signal',sender='org.freedesktop.systemd1',path_namespace='/org/freedesktop/systemd1'";
/// And who systemd is: daemon-reexec gives it a new name on the bus.
pub const OWNER_RULE: &str = "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',\
     member='NameOwnerChanged',arg0='org.freedesktop.systemd1'";

#[derive(Debug, Clone, PartialEq)]
pub enum Signal {
    Changed {
        unit: String,
        change: Box<UnitChange>,
    },
    UnitNew {
        unit: String,
    },
    UnitRemoved {
        unit: String,
    },
    JobNew {
        unit: String,
        job: u32,
    },
    JobRemoved {
        unit: String,
        job: u32,
        result: JobResult,
    },
    Reloading {
        active: bool,
    },
    UnitFilesChanged,
    StartupFinished,
    /// systemd's new name on the bus; empty while it has none.
    Owner {
        name: String,
    },
}

/// Reads one message. `wanted` says whether the changes of a unit are of interest, before its body is read.
pub fn read(message: &Message, systemd: &str, wanted: impl FnOnce(&str) -> bool) -> Option<Signal> {
    if message.message_type() != Type::Signal {
        return None;
    }
    let header = message.header();
    let sender = header.sender()?.as_str();
    let interface = header.interface()?.as_str();
    let member = header.member()?.as_str();
    let path = header.path()?.as_str();
    match interface {
        BUS if sender == BUS && member == "NameOwnerChanged" => owner_changed(message),
        _ if sender != systemd => None,
        PROPERTIES if member == "PropertiesChanged" => properties_changed(message, path, wanted),
        MANAGER if path == MANAGER_PATH => manager_signal(message, member),
        _ => None,
    }
}

fn owner_changed(message: &Message) -> Option<Signal> {
    let body = message.body();
    let (name, _, new): (&str, &str, &str) = body.deserialize().ok()?;
    (name == SYSTEMD).then(|| Signal::Owner { name: new.to_owned() })
}

fn properties_changed(message: &Message, path: &str, wanted: impl FnOnce(&str) -> bool) -> Option<Signal> {
    let unit = unit_of_path(path).filter(|unit| wanted(unit))?;
    let body = message.body();
    let (_, properties, _): (&str, HashMap<&str, Variant<'_>>, Vec<&str>) = body.deserialize().ok()?;
    let mut change = Box::<UnitChange>::default();
    let mut told = false;
    for (property, value) in &properties {
        told |= take(&mut change, property, value);
    }
    told.then_some(Signal::Changed { unit, change })
}

fn manager_signal(message: &Message, member: &str) -> Option<Signal> {
    let body = message.body();
    match member {
        "UnitNew" => named(&body).map(|unit| Signal::UnitNew { unit }),
        "UnitRemoved" => named(&body).map(|unit| Signal::UnitRemoved { unit }),
        "JobNew" => {
            let (job, _, unit): (u32, ObjectPath<'_>, &str) = body.deserialize().ok()?;
            Some(Signal::JobNew { unit: unit.to_owned(), job })
        }
        "JobRemoved" => {
            let (job, _, unit, result): (u32, ObjectPath<'_>, &str, &str) = body.deserialize().ok()?;
            Some(Signal::JobRemoved { unit: unit.to_owned(), job, result: JobResult::parse(result) })
        }
        "Reloading" => body.deserialize().ok().map(|active| Signal::Reloading { active }),
        "UnitFilesChanged" => Some(Signal::UnitFilesChanged),
        "StartupFinished" => Some(Signal::StartupFinished),
        _ => None,
    }
}

fn named(body: &zbus::message::Body) -> Option<String> {
    let (unit, _): (&str, ObjectPath<'_>) = body.deserialize().ok()?;
    Some(unit.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::unit::ActiveState;

    const US: &str = ":1.7";

    fn changed(sender: &str, path: &str) -> Message {
        let properties = HashMap::from([("ActiveState", Variant::from("failed"))]);
        Message::signal(path, PROPERTIES, "PropertiesChanged")
            .sender(sender)
            .build(&("org.freedesktop.systemd1.Unit", properties, Vec::<&str>::new()))
            .unwrap()
    }

    #[test]
    fn a_change_is_read_once_it_is_wanted() {
        let message = changed(US, "/org/freedesktop/systemd1/unit/mail_401_2eservice");
        let change = UnitChange { active: Some(ActiveState::Failed), ..Default::default() };
        let expected = Signal::Changed { unit: "mail@1.service".into(), change: Box::new(change) };
        assert_eq!(read(&message, US, |unit| unit == "mail@1.service"), Some(expected));
        assert_eq!(read(&message, US, |_| false), None);
    }

    #[test]
    fn a_signal_of_anybody_else_is_not_believed() {
        let message = changed(":1.66", "/org/freedesktop/systemd1/unit/mail_2eservice");
        assert_eq!(read(&message, US, |_| true), None);
        let owner = Message::signal("/org/freedesktop/DBus", BUS, "NameOwnerChanged")
            .sender(":1.66")
            .build(&(SYSTEMD, US, ":1.66"))
            .unwrap();
        assert_eq!(read(&owner, US, |_| true), None);
    }

    #[test]
    fn jobs_and_the_manager() {
        let path = ObjectPath::try_from("/org/freedesktop/systemd1/job/9").unwrap();
        let signal = |member: &'static str| Message::signal(MANAGER_PATH, MANAGER, member).sender(US);
        let table = [
            (
                signal("JobNew").build(&(9u32, &path, "a.service")).unwrap(),
                Signal::JobNew { unit: "a.service".into(), job: 9 },
            ),
            (
                signal("JobRemoved").build(&(9u32, &path, "a.service", "canceled")).unwrap(),
                Signal::JobRemoved { unit: "a.service".into(), job: 9, result: JobResult::Canceled },
            ),
            (
                signal("UnitRemoved").build(&("a.service", &path)).unwrap(),
                Signal::UnitRemoved { unit: "a.service".into() },
            ),
            (signal("Reloading").build(&true).unwrap(), Signal::Reloading { active: true }),
            (signal("UnitFilesChanged").build(&()).unwrap(), Signal::UnitFilesChanged),
        ];
        for (message, expected) in table {
            assert_eq!(read(&message, US, |_| false), Some(expected));
        }
        // A body of another shape is not a signal of ours, and no reason to panic.
        assert_eq!(read(&signal("JobNew").build(&("x", 1u8)).unwrap(), US, |_| true), None);
    }
}
