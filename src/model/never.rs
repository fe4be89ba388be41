//! Units that are never acted on, whatever the configuration says.

/// Why the unit is never acted on; `None` if it may be.
pub fn never_touch(unit: &str) -> Option<&'static str> {
    const EXACT: [(&str, &str); 6] = [
        ("unitmedic.service", "it is unitmedic itself"),
        ("dbus.service", "it is the bus that everything is seen and done through"),
        ("dbus-broker.service", "it is the bus that everything is seen and done through"),
        ("polkit.service", "it decides who may do what"),
        ("init.scope", "it is systemd itself"),
        ("emergency.service", "it is the operator's last resort"),
    ];
    const PREFIX: [(&str, &str); 3] = [
        ("systemd-", "it belongs to systemd"),
        ("user@", "it is a user's own manager"),
        ("unitmedic-", "it belongs to unitmedic"),
    ];
    let exact = EXACT.iter().find(|(name, _)| *name == unit);
    exact.or_else(|| PREFIX.iter().find(|(prefix, _)| unit.starts_with(prefix))).map(|(_, why)| *why)
}
