//! Units that are never touched, whatever the configuration says. Pure.

use crate::model::name::UnitName;

/// Exact names, and why.
const NAMES: &[(&str, &str)] = &[
    ("unitmedic.service", "it is unitmedic itself"),
    ("unitmedic-helper.service", "it is unitmedic itself"),
    ("dbus.service", "systemd is reached through the bus"),
    ("dbus-broker.service", "systemd is reached through the bus"),
    ("messagebus.service", "systemd is reached through the bus"),
    ("polkit.service", "it decides who may do what"),
    ("rescue.service", "it is a shell of last resort"),
    ("emergency.service", "it is a shell of last resort"),
    ("debug-shell.service", "it is a shell of last resort"),
    ("console-getty.service", "operators log in through it"),
];

/// Beginnings of names, and why.
const PREFIXES: &[(&str, &str)] = &[
    ("systemd-", "it is a part of systemd"),
    ("unitmedic@", "it is unitmedic itself"),
    ("user@", "it is all that a logged-in user runs"),
    ("user-runtime-dir@", "it is all that a logged-in user runs"),
    ("getty@", "operators log in through it"),
    ("serial-getty@", "operators log in through it"),
    ("container-getty@", "operators log in through it"),
    ("autovt@", "operators log in through it"),
    ("initrd-", "it is a part of starting up"),
];

/// Why the unit is never touched; `None`: it may be.
pub fn never_touch(unit: &UnitName) -> Option<&'static str> {
    let name = unit.as_str();
    let exact = NAMES.iter().find(|(each, _)| *each == name);
    let begins = || PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix));
    exact.or_else(begins).map(|(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_never_touched() {
        for unit in [
            "unitmedic.service",
            "dbus.service",
            "dbus-broker.service",
            "systemd-journald.service",
            "polkit.service",
            "user@1000.service",
            "getty@tty1.service",
            "serial-getty@ttyS0.service",
        ] {
            assert!(never_touch(&UnitName::new(unit).unwrap()).is_some(), "{unit}");
        }
        for unit in ["mail.service", "mail@1.service", "dbus-proxy.service", "my-systemd-x.service", "users.service"] {
            assert_eq!(never_touch(&UnitName::new(unit).unwrap()), None, "{unit}");
        }
    }
}
