//! Units that unitmedic never acts on, whatever the configuration says.
//!
//! Stopping one of them takes away the host, every session, or the means to act and to undo. Configuration
//! refuses a worker that names one; the root side checks again before every act.

use super::settings::Selector;

/// Exact names, with the reason in words that complete "never touched: …".
const EXACT: &[(&str, &str)] = &[
    ("unitmedic.service", "it is unitmedic itself"),
    ("unitmedic-helper.service", "it is unitmedic itself"),
    ("init.scope", "it is systemd itself"),
    ("dbus.service", "it is the message bus, over which everything is done"),
    ("dbus-broker.service", "it is the message bus, over which everything is done"),
    ("messagebus.service", "it is the message bus, over which everything is done"),
    ("polkit.service", "it decides who may do what"),
    ("polkitd.service", "it decides who may do what"),
    ("rescue.service", "it is a shell of last resort"),
    ("emergency.service", "it is a shell of last resort"),
    ("debug-shell.service", "it is a shell of last resort"),
    ("console-getty.service", "operators log in through it"),
];

/// Name prefixes. The bus names `dbus-org.freedesktop.…` are aliases of systemd's own services.
const PREFIXES: &[(&str, &str)] = &[
    ("unitmedic@", "it is unitmedic itself"),
    ("unitmedic-helper@", "it is unitmedic itself"),
    ("unitmedic-hook-", "it is a hook of unitmedic"),
    ("systemd-", "it is part of systemd"),
    ("dbus-org.freedesktop.", "it is an alias of a system service that others call over the bus"),
    ("user@", "it holds all sessions of a user"),
    ("user-runtime-dir@", "it holds the runtime directory of a user"),
    ("getty@", "operators log in through it"),
    ("serial-getty@", "operators log in through it"),
    ("container-getty@", "operators log in through it"),
    ("autovt@", "operators log in through it"),
    ("initrd-", "it is a part of starting up"),
];

/// Why the unit is never touched; `None` when it may be.
pub fn never_touch(unit: &str) -> Option<&'static str> {
    let exact = EXACT.iter().find(|(name, _)| *name == unit);
    exact.or_else(|| PREFIXES.iter().find(|(prefix, _)| unit.starts_with(prefix))).map(|(_, why)| *why)
}

/// Why a selector could match nothing but units that are never touched; `None` when it may match others.
/// Units on the list that a wider selector matches are not the worker's: see `Settings::worker_of`.
pub fn never_matches(selector: &Selector) -> Option<&'static str> {
    match selector {
        Selector::Unit(name) => never_touch(name.as_str()),
        Selector::Template(prefix) => never_touch(&format!("{prefix}@1.service")),
        Selector::Glob(pattern) => {
            let literal = pattern.split(['*', '?']).next().unwrap_or_default();
            PREFIXES.iter().find(|(prefix, _)| literal.starts_with(prefix)).map(|(_, why)| *why)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UnitName;

    #[test]
    fn units_of_the_system_are_never_touched() {
        for never in [
            "unitmedic.service",
            "unitmedic-helper@3.service",
            "unitmedic-hook-flush-12-1.service",
            "dbus.service",
            "dbus-broker.service",
            "dbus-org.freedesktop.login1.service",
            "systemd-journald.service",
            "systemd-logind.service",
            "polkit.service",
            "init.scope",
            "user@1000.service",
        ] {
            assert!(never_touch(never).is_some(), "{never}");
        }
        for allowed in ["mail.service", "unitmedic-demo@1.service", "dbus-exporter.service", "user-sync@1.service"] {
            assert_eq!(never_touch(allowed), None, "{allowed}");
        }
    }

    #[test]
    fn a_wide_selector_does_not_own_them() {
        use crate::model::{Settings, WorkerName, WorkerSettings};
        let mut settings = Settings::empty();
        let name = WorkerName::new("d").unwrap();
        settings.workers.insert(name.clone(), WorkerSettings::new(name, Selector::Glob("d*.service".into())));
        assert!(settings.worker_of("dovecot.service").is_some());
        assert!(settings.worker_of("dbus.service").is_none());
    }

    #[test]
    fn selectors_that_could_match_nothing_else() {
        assert!(never_matches(&Selector::Unit(UnitName::new("dbus.service").unwrap())).is_some());
        assert!(never_matches(&Selector::Template("user".into())).is_some());
        assert!(never_matches(&Selector::Template("systemd-fsck".into())).is_some());
        assert!(never_matches(&Selector::Glob("systemd-*.service".into())).is_some());
        assert!(never_matches(&Selector::Glob("user@*.service".into())).is_some());
        assert_eq!(never_matches(&Selector::Glob("dbus*.service".into())), None);
        assert_eq!(never_matches(&Selector::Template("mail".into())), None);
    }
}
