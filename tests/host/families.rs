//! The drop-in families beside the exporter that they replace, series by series and value by value.

use std::collections::{BTreeMap, BTreeSet};

use crate::fixture::{CONFIG, DAEMON, Host, LIMIT, SLEEPER, Setup, ensure, until};
use crate::testhost::{Failure, Place};

/// Debian's build leaves out targets, too; this is what the exporter itself has, and we have.
const EXPORTER: &str = "[Service]
ExecStart=/usr/bin/prometheus-node-exporter --collector.disable-defaults --collector.systemd \
 --collector.systemd.enable-restarts-metrics --collector.systemd.enable-start-time-metrics \
 --collector.systemd.enable-task-metrics --web.listen-address=127.0.0.1:9100 \
 '--collector.systemd.unit-exclude=.+\\\\.(automount|device|mount|scope|slice)'
";

/// Comes up at its fourth try.
const FLAPPING: &str = "[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=sh -c 'echo x >> /run/tries; [ $(wc -l < /run/tries) -gt 3 ] && exec sleep infinity; exit 1'
Restart=on-failure
RestartSec=0
";

const ODD: &str = r"odd\x2dname@a\x2fb:c_d\x5ce.service";

/// Series by name and labels, whatever their order.
type Series = BTreeMap<String, f64>;

/// Families that the exporter of this Debian does not have yet.
const NEWER: &str = "node_systemd_virtualization_info";

#[test]
fn what_node_exporter_says_is_said_by_us_too() -> Result<(), Failure> {
    let host = zoo("families")?;
    ensure(read(&host)?.is_empty(), || "families without being configured".into())?;
    switch_on(&host, "families = [\"node_exporter\"]")?;
    same(&host, "at the beginning")?;
    let series = read(&host)?;
    for (name, expected) in [
        ("node_systemd_unit_state{name=\"broken.service\",state=\"failed\",type=\"simple\"}", 1.0),
        ("node_systemd_service_restart_total{name=\"flapping.service\"}", 3.0),
        ("node_systemd_system_running{}", 0.0),
        (NEWER_SERIES, 1.0),
    ] {
        ensure(series.get(name) == Some(&expected), || format!("{name} is {:?}", series.get(name)))?;
    }
    ensure(series.keys().any(|name| name.contains(r"odd\\x2dname@a")), || "the odd name is not there".into())?;
    ensure(!series.keys().any(|name| name.contains("masked.service")), || "a masked unit has series".into())?;
    change_states(&host)?;
    change_sockets(&host)?;
    change_files(&host)?;
    let left_out = host.metric("unitmedic_families_units_left_out")?;
    ensure(left_out == Some(0.0), || format!("{left_out:?} are left out"))?;
    host.done()
}

const NEWER_SERIES: &str = "node_systemd_virtualization_info{virtualization_type=\"systemd-nspawn\"}";

/// One by one, because two changes may hide a fault of the first.
fn change_states(host: &Host) -> Result<(), Failure> {
    for script in [
        "systemctl stop mail.service",
        "systemctl start mail.service",
        "systemctl restart mail.service 'tpl@one.service'",
        "systemctl kill --signal=KILL mail.service",
        "systemctl reset-failed broken.service",
        "systemctl start broken.service || true",
        "systemctl kill --signal=KILL flapping.service",
        "systemctl start again.timer",
        "systemctl start 'tpl@two.service' sleepy.service",
        "systemctl stop stay.service 'tpl@one.service'",
        "systemd-run --unit=passing --property=Type=exec sleep infinity",
        "systemd-run --wait --quiet true",
        "systemctl stop passing.service",
        "systemctl list-dependencies --all >/dev/null; systemctl show never-seen.service >/dev/null",
    ] {
        host.sh(script)?;
        same(host, script)?;
    }
    Ok(())
}

fn change_sockets(host: &Host) -> Result<(), Failure> {
    let connect = |number: u32| {
        let script =
            format!("exec 3<>/dev/tcp/127.0.0.1/7007; while [ ! -e /run/hang-up-{number} ]; do sleep 0.1; done");
        host.sh(&format!("setsid bash -c '{script}' >/dev/null 2>&1 </dev/null &"))
    };
    let count = |what: &str| host.property("echo.socket", what);
    for number in 1..=2 {
        connect(number)?;
        until("accepted", LIMIT, || match count("NConnections")?.as_str() {
            open if open == number.to_string() => Ok(()),
            other => Err(Failure::new(other)),
        })?;
        same(host, "a connection")?;
    }
    connect(3)?;
    until("refused", LIMIT, || match count("NRefused")?.as_str() {
        "1" => Ok(()),
        other => Err(Failure::new(other)),
    })?;
    same(host, "a refused connection")?;
    host.sh("touch /run/hang-up-1 /run/hang-up-3")?;
    until("one has hung up", LIMIT, || match count("NConnections")?.as_str() {
        "1" => Ok(()),
        other => Err(Failure::new(other)),
    })?;
    same(host, "a connection less")?;
    host.sh("touch /run/hang-up-2")?;
    same(host, "no connection any more")?;
    let accepted = host.metric("node_systemd_socket_accepted_connections_total{name=\"echo.socket\"}")?;
    ensure(accepted == Some(2.0), || format!("{accepted:?} accepted"))
}

fn change_files(host: &Host) -> Result<(), Failure> {
    for script in [
        "systemctl daemon-reload",
        "printf '[Service]\\nExecStart=sleep infinity\\n' > /etc/systemd/system/new.service; systemctl start new.service",
        "mkdir -p /etc/systemd/system/mail.service.d; printf '[Service]\\nType=exec\\nTasksMax=77\\n' > /etc/systemd/system/mail.service.d/x.conf; systemctl daemon-reload",
        "systemctl restart mail.service",
        "systemctl mask --now --runtime flapping.service",
        "systemctl stop new.service; rm /etc/systemd/system/new.service; systemctl daemon-reload",
        "systemctl daemon-reexec",
        "systemctl restart mail.service",
    ] {
        host.sh(script)?;
        same(host, script)?;
    }
    Ok(())
}

#[test]
fn systemd_exporter_s_families_and_the_patterns() -> Result<(), Failure> {
    let host = zoo("families-2")?;
    switch_on(&host, "families = [\"systemd_exporter\", \"node_exporter\"]\nfamilies_exclude = '.+\\.device'")?;
    let series = until("the families are there", LIMIT, || match read(&host)? {
        none if none.is_empty() => Err(Failure::new("none")),
        series => Ok(series),
    })?;
    let value = |name: &str| series.get(name).copied();
    for (name, expected) in [
        ("systemd_unit_state{name=\"mail.service\",state=\"active\",type=\"service\"}", 1.0),
        ("systemd_unit_state{name=\"init.scope\",state=\"active\",type=\"scope\"}", 1.0),
        ("systemd_unit_info{mount_type=\"\",name=\"stay.service\",service_type=\"oneshot\",type=\"service\"}", 1.0),
        ("systemd_service_restart_total{name=\"flapping.service\"}", 3.0),
        ("systemd_socket_accepted_connections_total{name=\"echo.socket\"}", 0.0),
        ("systemd_unit_start_time_seconds{name=\"broken.service\",type=\"service\"}", 0.0),
    ] {
        ensure(value(name) == Some(expected), || format!("{name} is {:?}", value(name)))?;
    }
    for (family, property) in [
        ("active_enter", "ActiveEnterTimestamp"),
        ("active_exit", "ActiveExitTimestamp"),
        ("inactive_enter", "InactiveEnterTimestamp"),
        ("inactive_exit", "InactiveExitTimestamp"),
    ] {
        for (unit, path, kind) in
            [("flapping.service", "flapping_2eservice", "service"), ("echo.socket", "echo_2esocket", "socket")]
        {
            let path = format!("/org/freedesktop/systemd1/unit/{path}");
            let interface = "org.freedesktop.systemd1.Unit";
            let told = host
                .run(&["busctl", "get-property", "org.freedesktop.systemd1", &path, interface, property])?
                .success()?;
            let micros: f64 = told.trim_start_matches("t ").parse().map_err(|_| Failure::new(told))?;
            let name = format!("systemd_unit_{family}_time_seconds{{name=\"{unit}\",type=\"{kind}\"}}");
            ensure(value(&name) == Some(micros / 1e6), || format!("{name} is {:?}, not {micros}", value(&name)))?;
        }
    }
    let mounts = series.keys().filter(|name| name.starts_with("systemd_unit_info{") && name.contains("type=\"mount\""));
    ensure(mounts.count() > 0, || "no mount has its file system".into())?;
    ensure(!series.keys().any(|name| name.contains(".device\"")), || "devices are excluded".into())?;

    switch_on(&host, "families = [\"node_exporter\"]\nfamilies_include = 'mail.*|nothing'")?;
    until("only what is included", LIMIT, || {
        let names: BTreeSet<String> = read(&host)?.into_keys().filter(|name| name.contains("name=")).collect();
        let mail = names.iter().all(|name| name.contains("name=\"mail.service\""));
        if mail && names.len() == 8 { Ok(()) } else { Err(Failure::new(format!("{names:?}"))) }
    })?;
    host.ctl(&["stop", "dbus.socket", "dbus.service"])?;
    until("without a bus there are none", LIMIT, || match read(&host)? {
        none if none.is_empty() => Ok(()),
        left => Err(Failure::new(format!("{left:?}"))),
    })?;
    host.ctl(&["start", "dbus.socket", "dbus.service"])?;
    until("and with it they are back", LIMIT, || match read(&host)? {
        none if none.is_empty() => Err(Failure::new("none")),
        _ => Ok(()),
    })?;
    switch_on(&host, "")?;
    until("nobody wants them any more", LIMIT, || match read(&host)? {
        none if none.is_empty() => Ok(()),
        left => Err(Failure::new(format!("{} series", left.len()))),
    })?;
    host.done()
}

/// A host with units of all sorts, and unitmedic on it without families.
fn zoo(name: &str) -> Result<Host, Failure> {
    let host = Setup::new(name)
        .unit("exporter.service", EXPORTER)
        .unit("mail.service", &format!("[Unit]\nWants=masked.service missing.service\n{SLEEPER}"))
        .unit("broken.service", "[Service]\nExecStart=false\n")
        .unit("flapping.service", FLAPPING)
        .unit("stay.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n")
        .unit("sleepy.service", "[Service]\nType=oneshot\nExecStart=sleep 1\n")
        .unit("tpl@.service", SLEEPER)
        .unit(r"odd\x2dname@.service", SLEEPER)
        .unit("once.timer", "[Timer]\nOnActiveSec=100ms\nAccuracySec=1ms\n")
        .unit("once.service", "[Service]\nType=oneshot\nExecStart=true\n")
        .unit("again.timer", "[Timer]\nOnActiveSec=100ms\nAccuracySec=1ms\nUnit=once.service\n")
        .unit("echo.socket", "[Socket]\nListenStream=127.0.0.1:7007\nAccept=yes\nMaxConnections=2\n")
        .unit("echo@.service", "[Service]\nExecStart=cat\nStandardInput=socket\n")
        .starting("exporter.service")
        .starting("flapping.service")
        .starting("stay.service")
        .starting("tpl@one.service")
        .starting(ODD)
        .starting("once.timer")
        .starting("echo.socket")
        .boot()?;
    // First of all: a reload of systemd while a restart is due counts that restart twice.
    until("it has restarted", LIMIT, || {
        let seen = ["NRestarts", "SubState"].map(|property| host.property("flapping.service", property));
        match seen {
            [Ok(restarts), Ok(state)] if restarts == "3" && state == "running" => Ok(()),
            other => Err(Failure::new(format!("{other:?}"))),
        }
    })?;
    host.sh(
        "ln -s /dev/null /etc/systemd/system/masked.service; systemctl daemon-reload; systemctl start mail.service",
    )?;
    host.sh("systemctl start broken.service || true")?;
    until("the exporter listens", LIMIT, || host.sh("curl -sf 127.0.0.1:9100 > /dev/null"))?;
    host.start_daemon()?;
    Ok(host)
}

/// Puts these lines into `[daemon]` and has them read.
fn switch_on(host: &Host, lines: &str) -> Result<(), Failure> {
    host.write(CONFIG, &host.config.replacen("[daemon]\n", &format!("[daemon]\n{lines}\n"), 1))?;
    host.ctl(&["reload", DAEMON])?;
    Ok(())
}

/// Waits until a scrape of ours between two equal ones of the exporter is the same.
fn same(host: &Host, when: &str) -> Result<(), Failure> {
    until(&format!("the same series ({when})"), LIMIT, || {
        let theirs = "curl -s 127.0.0.1:9100/metrics | grep ^node_systemd";
        let ours = "curl -s 127.0.0.1:10119/metrics";
        let text = host.sh(&format!("{theirs}; echo ====; {ours}; echo ====; {theirs}"))?;
        let parts: Vec<Series> = text.split("====\n").map(families).collect::<Result<_, _>>()?;
        let [before, ours, after] = parts.as_slice() else { return Err(Failure::new("three scrapes")) };
        let different = differences(before, after);
        ensure(different.is_empty(), || format!("the host does not rest: {different:#?}"))?;
        let ours = ours.clone().into_iter().filter(|(name, _)| !name.starts_with(NEWER)).collect();
        let different = differences(&ours, before);
        ensure(different.is_empty() && !before.is_empty(), || format!("ours and theirs: {different:#?}"))
    })
}

fn differences(one: &Series, other: &Series) -> Vec<String> {
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let differ = names.into_iter().filter(|name| one.get(*name) != other.get(*name));
    differ.map(|name| format!("{name}: {:?} and {:?}", one.get(name), other.get(name))).collect()
}

fn read(host: &Host) -> Result<Series, Failure> {
    families(&host.http("/metrics")?.1)
}

/// The series of both exporters' families, with their labels sorted.
fn families(text: &str) -> Result<Series, Failure> {
    let lines = text.lines().filter(|line| line.starts_with("node_systemd_") || line.starts_with("systemd_"));
    let mut series = Series::new();
    for line in lines {
        let (name, value) = line.rsplit_once(' ').ok_or("a value")?;
        let value: f64 = value.parse().map_err(|_| Failure::new(line))?;
        let (name, labels) = name.split_once('{').unwrap_or((name, "}"));
        let mut labels = split_labels(labels.strip_suffix('}').ok_or(line)?);
        labels.sort();
        let twice = series.insert(format!("{name}{{{}}}", labels.join(",")), value);
        ensure(twice.is_none(), || format!("twice: {line}"))?;
    }
    Ok(series)
}

/// At the commas that are not within a value.
fn split_labels(labels: &str) -> Vec<String> {
    let (mut parts, mut part, mut quoted, mut escaped) = (Vec::new(), String::new(), false, false);
    for c in labels.chars() {
        match c {
            ',' if !quoted => parts.push(std::mem::take(&mut part)),
            c => {
                quoted ^= c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                part.push(c);
            }
        }
    }
    parts.extend(Some(part).filter(|part| !part.is_empty()));
    parts
}
