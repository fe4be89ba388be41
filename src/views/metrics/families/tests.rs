//! The table as text.

use std::collections::BTreeSet;
use std::sync::Arc;

use expect_test::expect;

use super::catalog::ALL;
use super::{number_of, render};
use crate::model::families::{Family, HostReading, HostUnit, HostUnits, Stage};
use crate::model::unit::ActiveState;

fn unit(active: ActiveState) -> HostUnit {
    HostUnit {
        shown: true,
        active_enter: Some(1_795_645_545_826_207),
        active_exit: Some(0),
        inactive_enter: Some(0),
        inactive_exit: Some(1_795_645_545_800_000),
        ..HostUnit::new(active)
    }
}

fn reading(families: &[Family]) -> HostReading {
    let service = |active| HostUnit { kind: Some("simple".into()), restarts: Some(3), ..unit(active) };
    let units = [
        (r"a\x2db.service", HostUnit { tasks_max: Some(77), ..service(ActiveState::Active) }),
        ("down.service", service(ActiveState::Failed)),
        (
            "echo.socket",
            HostUnit { accepted: Some(2), connections: Some(1), refused: Some(0), ..unit(ActiveState::Active) },
        ),
        ("home.mount", HostUnit { kind: Some("ext4".into()), ..unit(ActiveState::Active) }),
        ("late.service", HostUnit::new(ActiveState::Reloading)),
        ("tick.timer", HostUnit { last_trigger: Some(1_500_000), ..unit(ActiveState::Active) }),
    ];
    let host = HostUnits {
        families: families.to_vec(),
        units: units.into_iter().map(|(name, unit)| (Arc::from(name), unit)).collect(),
        left_out: 0,
        running: Some(false),
        version: Some("252.39-1~deb12u2".into()),
        virtualization: Some(String::new()),
        stages: [("Kernel", Stage { monotonic: Some(0), realtime: Some(1_795_645_545_000_000) })].into(),
    };
    HostReading { host: Arc::new(host), tasks: [(Arc::from(r"a\x2db.service"), 12)].into() }
}

fn series(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with("# HELP")).flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn node_exporter_s() {
    expect![[r##"
        # TYPE unitmedic_families_units_left_out gauge
        unitmedic_families_units_left_out 0
        # TYPE node_systemd_unit_state gauge
        node_systemd_unit_state{name="a\\x2db.service",type="simple",state="active"} 1
        node_systemd_unit_state{name="a\\x2db.service",type="simple",state="activating"} 0
        node_systemd_unit_state{name="a\\x2db.service",type="simple",state="deactivating"} 0
        node_systemd_unit_state{name="a\\x2db.service",type="simple",state="inactive"} 0
        node_systemd_unit_state{name="a\\x2db.service",type="simple",state="failed"} 0
        node_systemd_unit_state{name="down.service",type="simple",state="active"} 0
        node_systemd_unit_state{name="down.service",type="simple",state="activating"} 0
        node_systemd_unit_state{name="down.service",type="simple",state="deactivating"} 0
        node_systemd_unit_state{name="down.service",type="simple",state="inactive"} 0
        node_systemd_unit_state{name="down.service",type="simple",state="failed"} 1
        node_systemd_unit_state{name="echo.socket",type="",state="active"} 1
        node_systemd_unit_state{name="echo.socket",type="",state="activating"} 0
        node_systemd_unit_state{name="echo.socket",type="",state="deactivating"} 0
        node_systemd_unit_state{name="echo.socket",type="",state="inactive"} 0
        node_systemd_unit_state{name="echo.socket",type="",state="failed"} 0
        node_systemd_unit_state{name="home.mount",type="ext4",state="active"} 1
        node_systemd_unit_state{name="home.mount",type="ext4",state="activating"} 0
        node_systemd_unit_state{name="home.mount",type="ext4",state="deactivating"} 0
        node_systemd_unit_state{name="home.mount",type="ext4",state="inactive"} 0
        node_systemd_unit_state{name="home.mount",type="ext4",state="failed"} 0
        node_systemd_unit_state{name="tick.timer",type="",state="active"} 1
        node_systemd_unit_state{name="tick.timer",type="",state="activating"} 0
        node_systemd_unit_state{name="tick.timer",type="",state="deactivating"} 0
        node_systemd_unit_state{name="tick.timer",type="",state="inactive"} 0
        node_systemd_unit_state{name="tick.timer",type="",state="failed"} 0
        # TYPE node_systemd_unit_start_time_seconds gauge
        node_systemd_unit_start_time_seconds{name="a\\x2db.service"} 1795645545.826207
        node_systemd_unit_start_time_seconds{name="down.service"} 0.0
        node_systemd_unit_start_time_seconds{name="echo.socket"} 1795645545.826207
        node_systemd_unit_start_time_seconds{name="home.mount"} 1795645545.826207
        node_systemd_unit_start_time_seconds{name="tick.timer"} 1795645545.826207
        # TYPE node_systemd_unit_tasks_current gauge
        node_systemd_unit_tasks_current{name="a\\x2db.service"} 12
        # TYPE node_systemd_unit_tasks_max gauge
        node_systemd_unit_tasks_max{name="a\\x2db.service"} 77
        # TYPE node_systemd_service_restart_total counter
        node_systemd_service_restart_total{name="a\\x2db.service"} 3
        node_systemd_service_restart_total{name="down.service"} 3
        # TYPE node_systemd_timer_last_trigger_seconds gauge
        node_systemd_timer_last_trigger_seconds{name="tick.timer"} 1.5
        # TYPE node_systemd_socket_accepted_connections_total counter
        node_systemd_socket_accepted_connections_total{name="echo.socket"} 2
        # TYPE node_systemd_socket_current_connections gauge
        node_systemd_socket_current_connections{name="echo.socket"} 1
        # TYPE node_systemd_socket_refused_connections_total gauge
        node_systemd_socket_refused_connections_total{name="echo.socket"} 0
        # TYPE node_systemd_units gauge
        node_systemd_units{state="activating"} 0
        node_systemd_units{state="active"} 4
        node_systemd_units{state="deactivating"} 0
        node_systemd_units{state="failed"} 1
        node_systemd_units{state="inactive"} 0
        node_systemd_units{state="reloading"} 1
        # TYPE node_systemd_system_running gauge
        node_systemd_system_running 0
        # TYPE node_systemd_version gauge
        node_systemd_version{version="252.39-1~deb12u2"} 252.39
        # TYPE node_systemd_virtualization_info gauge
        node_systemd_virtualization_info{virtualization_type="none"} 1
    "##]]
    .assert_eq(&series(&render(&reading(&[Family::NodeExporter]))));
}

#[test]
fn systemd_exporter_s() {
    expect![[r##"
        # TYPE unitmedic_families_units_left_out gauge
        unitmedic_families_units_left_out 0
        # TYPE systemd_unit_state gauge
        systemd_unit_state{name="a\\x2db.service",type="service",state="active"} 1
        systemd_unit_state{name="a\\x2db.service",type="service",state="activating"} 0
        systemd_unit_state{name="a\\x2db.service",type="service",state="deactivating"} 0
        systemd_unit_state{name="a\\x2db.service",type="service",state="inactive"} 0
        systemd_unit_state{name="a\\x2db.service",type="service",state="failed"} 0
        systemd_unit_state{name="down.service",type="service",state="active"} 0
        systemd_unit_state{name="down.service",type="service",state="activating"} 0
        systemd_unit_state{name="down.service",type="service",state="deactivating"} 0
        systemd_unit_state{name="down.service",type="service",state="inactive"} 0
        systemd_unit_state{name="down.service",type="service",state="failed"} 1
        systemd_unit_state{name="echo.socket",type="socket",state="active"} 1
        systemd_unit_state{name="echo.socket",type="socket",state="activating"} 0
        systemd_unit_state{name="echo.socket",type="socket",state="deactivating"} 0
        systemd_unit_state{name="echo.socket",type="socket",state="inactive"} 0
        systemd_unit_state{name="echo.socket",type="socket",state="failed"} 0
        systemd_unit_state{name="home.mount",type="mount",state="active"} 1
        systemd_unit_state{name="home.mount",type="mount",state="activating"} 0
        systemd_unit_state{name="home.mount",type="mount",state="deactivating"} 0
        systemd_unit_state{name="home.mount",type="mount",state="inactive"} 0
        systemd_unit_state{name="home.mount",type="mount",state="failed"} 0
        systemd_unit_state{name="tick.timer",type="timer",state="active"} 1
        systemd_unit_state{name="tick.timer",type="timer",state="activating"} 0
        systemd_unit_state{name="tick.timer",type="timer",state="deactivating"} 0
        systemd_unit_state{name="tick.timer",type="timer",state="inactive"} 0
        systemd_unit_state{name="tick.timer",type="timer",state="failed"} 0
        # TYPE systemd_unit_info gauge
        systemd_unit_info{name="a\\x2db.service",type="service",mount_type="",service_type="simple"} 1
        systemd_unit_info{name="down.service",type="service",mount_type="",service_type="simple"} 1
        systemd_unit_info{name="home.mount",type="mount",mount_type="ext4",service_type=""} 1
        # TYPE systemd_unit_start_time_seconds gauge
        systemd_unit_start_time_seconds{name="a\\x2db.service",type="service"} 1795645545.826207
        systemd_unit_start_time_seconds{name="down.service",type="service"} 0.0
        # TYPE systemd_unit_tasks_current gauge
        systemd_unit_tasks_current{name="a\\x2db.service"} 12
        # TYPE systemd_unit_tasks_max gauge
        systemd_unit_tasks_max{name="a\\x2db.service",type="service"} 77
        # TYPE systemd_unit_active_enter_time_seconds gauge
        systemd_unit_active_enter_time_seconds{name="a\\x2db.service",type="service"} 1795645545.826207
        systemd_unit_active_enter_time_seconds{name="down.service",type="service"} 1795645545.826207
        systemd_unit_active_enter_time_seconds{name="echo.socket",type="socket"} 1795645545.826207
        systemd_unit_active_enter_time_seconds{name="home.mount",type="mount"} 1795645545.826207
        systemd_unit_active_enter_time_seconds{name="tick.timer",type="timer"} 1795645545.826207
        # TYPE systemd_unit_active_exit_time_seconds gauge
        systemd_unit_active_exit_time_seconds{name="a\\x2db.service",type="service"} 0.0
        systemd_unit_active_exit_time_seconds{name="down.service",type="service"} 0.0
        systemd_unit_active_exit_time_seconds{name="echo.socket",type="socket"} 0.0
        systemd_unit_active_exit_time_seconds{name="home.mount",type="mount"} 0.0
        systemd_unit_active_exit_time_seconds{name="tick.timer",type="timer"} 0.0
        # TYPE systemd_unit_inactive_enter_time_seconds gauge
        systemd_unit_inactive_enter_time_seconds{name="a\\x2db.service",type="service"} 0.0
        systemd_unit_inactive_enter_time_seconds{name="down.service",type="service"} 0.0
        systemd_unit_inactive_enter_time_seconds{name="echo.socket",type="socket"} 0.0
        systemd_unit_inactive_enter_time_seconds{name="home.mount",type="mount"} 0.0
        systemd_unit_inactive_enter_time_seconds{name="tick.timer",type="timer"} 0.0
        # TYPE systemd_unit_inactive_exit_time_seconds gauge
        systemd_unit_inactive_exit_time_seconds{name="a\\x2db.service",type="service"} 1795645545.8
        systemd_unit_inactive_exit_time_seconds{name="down.service",type="service"} 1795645545.8
        systemd_unit_inactive_exit_time_seconds{name="echo.socket",type="socket"} 1795645545.8
        systemd_unit_inactive_exit_time_seconds{name="home.mount",type="mount"} 1795645545.8
        systemd_unit_inactive_exit_time_seconds{name="tick.timer",type="timer"} 1795645545.8
        # TYPE systemd_service_restart_total counter
        systemd_service_restart_total{name="a\\x2db.service"} 3
        systemd_service_restart_total{name="down.service"} 3
        # TYPE systemd_timer_last_trigger_seconds gauge
        systemd_timer_last_trigger_seconds{name="tick.timer"} 1.5
        # TYPE systemd_socket_accepted_connections_total counter
        systemd_socket_accepted_connections_total{name="echo.socket"} 2
        # TYPE systemd_socket_current_connections gauge
        systemd_socket_current_connections{name="echo.socket"} 1
        # TYPE systemd_socket_refused_connections_total gauge
        systemd_socket_refused_connections_total{name="echo.socket"} 0
        # TYPE systemd_boot_monotonic_seconds gauge
        systemd_boot_monotonic_seconds{stage="Kernel"} 0.0
        # TYPE systemd_boot_time_seconds gauge
        systemd_boot_time_seconds{stage="Kernel"} 1795645545.0
    "##]]
    .assert_eq(&series(&render(&reading(&[Family::SystemdExporter]))));
}

#[test]
fn every_family_of_the_catalog_is_there() {
    let text = render(&reading(&[Family::NodeExporter, Family::SystemdExporter]));
    let described: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let catalog: Vec<String> = ALL.iter().map(|metric| format!("{} {}", metric.name, metric.kind.as_str())).collect();
    assert_eq!(described.iter().collect::<BTreeSet<_>>().len(), described.len(), "one is there twice");
    assert_eq!(described.into_iter().collect::<BTreeSet<_>>(), catalog.iter().map(String::as_str).collect());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once(['{', ' ']).unwrap();
        let metric = ALL.iter().find(|metric| metric.name == name).unwrap();
        for label in metric.labels {
            assert!(rest.contains(&format!("{label}=\"")), "{line}: no {label}");
        }
        assert_eq!(rest.matches("=\"").count(), metric.labels.len(), "{line}");
    }
}

#[test]
fn what_is_not_known_has_no_series() {
    let mut reading = reading(&[Family::NodeExporter, Family::SystemdExporter]);
    let host = Arc::make_mut(&mut reading.host);
    host.left_out = 4;
    (host.running, host.version, host.virtualization) = (None, None, None);
    for unit in host.units.values_mut() {
        *unit = HostUnit { shown: unit.shown, ..HostUnit::new(unit.active) };
    }
    reading.tasks.clear();
    let text = render(&reading);
    let names: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).map(|(name, _)| name).collect();
    let left = [
        "node_systemd_unit_start_time_seconds",
        "node_systemd_unit_state",
        "systemd_boot_monotonic_seconds",
        "systemd_boot_time_seconds",
        "systemd_unit_start_time_seconds",
        "systemd_unit_state",
        "unitmedic_families_units_left_out",
    ];
    assert_eq!(names, left.into(), "a sum over some of the units is not told either");
    let starts: Vec<&str> = text.lines().filter(|line| line.starts_with("node_systemd_unit_start_time")).collect();
    assert_eq!(starts, [r#"node_systemd_unit_start_time_seconds{name="down.service"} 0.0"#]);
}

#[test]
fn versions() {
    for (version, number) in [
        ("252.39-1~deb12u2", Some(252.39)),
        ("257", Some(257.0)),
        ("v255-rc1", Some(255.0)),
        ("12 254.1.2", Some(254.1)),
        ("systemd 25", None),
        ("ä", None),
        ("", None),
    ] {
        assert_eq!(number_of(version), number, "{version}");
    }
}
