//! The test hosts themselves: what every other host test takes for granted.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use testhost::{Failure, Machine, Place, link, wait_for};

#[path = "testhost.rs"]
mod testhost;

const LIMIT: Duration = Duration::from_secs(10);

const SLEEPER: &str = "[Service]\nExecStart=sleep infinity\n";

#[test]
fn boots_and_shows_a_killed_service_as_failed() -> Result<(), Failure> {
    let host = Machine::boot("smoke")?;
    println!("booted in {:?}", host.boot_time());
    assert_eq!(host.ctl(&["is-system-running"])?, "running");
    assert_eq!(host.sh("hostname")?, "smoke");

    host.install_unit("sleeper.service", SLEEPER)?;
    host.ctl(&["start", "sleeper.service"])?;
    host.wait_active("sleeper.service", LIMIT)?;
    let pid = host.main_pid("sleeper.service")?;
    host.sh(&format!("kill -KILL {pid}"))?;
    host.wait_property("sleeper.service", "ActiveState", "failed", LIMIT)?;
    assert_eq!(host.property("sleeper.service", "Result")?, "signal");

    wait_for("the journal tells", LIMIT, || {
        let journal = host.journal(&["--unit", "sleeper.service"])?;
        if journal.contains("code=killed") { Ok(()) } else { Err(Failure::from(journal)) }
    })
}

#[test]
fn starts_with_no_service_that_this_machine_has_enabled() -> Result<(), Failure> {
    let host = Machine::boot("clean")?;
    let services = host.ctl(&["list-units", "--plain", "--no-legend", "--state=running", "--type=service"])?;
    let mut names: Vec<&str> = services.lines().filter_map(|line| line.split(' ').next()).collect();
    names.sort_unstable();
    assert_eq!(names, ["dbus.service", "systemd-journald.service", "systemd-logind.service"]);
    assert_eq!(host.sh("ls -A /run/unitmedic /etc/unitmedic 2>/dev/null || true")?, "");
    Ok(())
}

#[test]
fn has_the_files_and_the_program_it_was_built_with() -> Result<(), Failure> {
    let host = Machine::builder("built")
        .binary(env!("CARGO_BIN_EXE_unitmedic"))
        .file("/etc/unitmedic/unitmedic.toml", "# a 'quoted' line\n")
        .boot()?;
    assert_eq!(host.read("/etc/unitmedic/unitmedic.toml")?, "# a 'quoted' line\n");
    assert_eq!(host.sh("stat -c %a /usr/bin/unitmedic /etc/unitmedic/unitmedic.toml")?, "755\n644");
    host.run(&["unitmedic", "--version"])?.success()?;
    Ok(())
}

#[test]
fn hosts_of_one_name_do_not_see_each_other() -> Result<(), Failure> {
    let (one, other) = std::thread::scope(|scope| {
        let one = scope.spawn(|| Machine::boot("twin"));
        let other = scope.spawn(|| Machine::boot("twin"));
        (one.join().expect("no panic"), other.join().expect("no panic"))
    });
    let (one, other) = (one?, other?);
    one.install_unit("sleeper.service", SLEEPER)?;
    one.ctl(&["start", "sleeper.service"])?;
    assert_eq!(other.property("sleeper.service", "LoadState")?, "not-found");
    assert!(one.sh("ls /sys/fs/cgroup/system.slice")?.contains("sleeper.service"));
    assert!(!other.sh("ls /sys/fs/cgroup/system.slice")?.contains("sleeper.service"));
    one.write("/run/mine", "1")?;
    assert!(other.read("/run/mine").is_err());
    assert_eq!(other.sh("ls /sys/class/net | grep -v lo || true")?, "");
    Ok(())
}

#[test]
fn hosts_that_are_linked_reach_each_other_and_nobody_else() -> Result<(), Failure> {
    let (one, other, third) = (Machine::boot("one")?, Machine::boot("other")?, Machine::boot("third")?);
    link((&one, "192.0.2.1/24"), (&other, "192.0.2.2/24"))?;
    one.install_unit(
        "web.service",
        "[Service]\nExecStart=python3 -m http.server --bind 192.0.2.1 --directory /etc/systemd 8000\n",
    )?;
    one.ctl(&["start", "web.service"])?;
    let ask = "curl -sf -m 2 192.0.2.1:8000";
    wait_for("it answers", LIMIT, || other.sh(ask))?;
    assert!(third.sh(ask).is_err());
    Ok(())
}

#[test]
fn a_command_runs_inside_the_tree_of_the_host() -> Result<(), Failure> {
    let host = Machine::boot("inside")?;
    let cgroup = host.sh("grep ^0:: /proc/self/cgroup")?;
    assert_eq!(cgroup, "0::/init.scope");
    Ok(())
}

#[test]
fn a_command_that_does_not_end_is_ended() -> Result<(), Failure> {
    let host = Machine::boot("limit")?;
    let started = Instant::now();
    let script = "echo before; sleep 4321 & sleep 4321";
    let error = host.run_for(&["sh", "-c", script], b"", Duration::from_millis(300)).expect_err("it cannot end");
    assert!(started.elapsed() < Duration::from_secs(5), "{error}");
    assert!(error.to_string().contains("did not end within 300ms\nbefore"), "{error}");
    wait_for("its processes are gone", LIMIT, || match host.run(&["pgrep", "-f", "^sleep 4321"])?.stdout {
        none if none.is_empty() => Ok(()),
        some => Err(Failure::from(some)),
    })
}

#[test]
fn a_running_command_is_heard_and_stopped() -> Result<(), Failure> {
    let host = Machine::boot("spawn")?;
    let script = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done";
    let mut running = host.spawn(&["sh", "-c", script])?;
    running.wait_output("up", LIMIT)?;
    let output = running.stop(LIMIT)?;
    assert_eq!((output.code(), output.stdout.as_str()), (Some(7), "up\nbye\n"));
    Ok(())
}

#[test]
fn a_user_has_a_manager() -> Result<(), Failure> {
    let host = Machine::boot("user")?;
    let session = host.user_session()?;
    assert_eq!(session.sh("id -un")?, session.user());
    session.install_unit("sleeper.service", SLEEPER)?;
    session.ctl(&["start", "sleeper.service"])?;
    session.wait_active("sleeper.service", LIMIT)?;
    let pid = session.main_pid("sleeper.service")?;
    session.sh(&format!("kill -KILL {pid}"))?;
    session.wait_property("sleeper.service", "ActiveState", "failed", LIMIT)?;
    session.run(&["busctl", "--user", "list"])?.success()?;
    assert_eq!(host.property("sleeper.service", "LoadState")?, "not-found");
    assert!(session.journal(&[])?.contains("sleeper.service"));
    Ok(())
}

#[test]
fn leaves_nothing_behind_even_after_a_panic() -> Result<(), Failure> {
    let host = Machine::boot("gone")?;
    host.install_unit("stubborn.service", "[Service]\nExecStart=sh -c 'trap \"\" TERM; while :; do sleep 1; done'\n")?;
    host.ctl(&["start", "stubborn.service"])?;
    let leader = host.leader();
    let mark = host.mark();
    assert!(traces(&mark).len() >= 2, "{:?}", traces(&mark));
    let panicked = std::thread::spawn(move || {
        let _host = host;
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    wait_for_no_trace(&mark)?;
    assert!(!fs::exists(format!("/proc/{leader}/ns/pid"))?, "PID 1 of the host lives");
    Ok(())
}

#[test]
fn a_host_ends_with_the_process_that_made_it() -> Result<(), Failure> {
    if std::env::var_os("UNITMEDIC_TEST_ABANDON").is_some() {
        let host = Machine::boot("abandoned")?;
        println!("mark {}", host.mark());
        std::process::abort();
    }
    let this = "a_host_ends_with_the_process_that_made_it";
    let output = Command::new(std::env::current_exe()?)
        .args(["--exact", this, "--nocapture"])
        .env("UNITMEDIC_TEST_ABANDON", "1")
        .output()?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let mark = stdout
        .split_once("mark ")
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .ok_or(format!("no host: {stdout}{}", String::from_utf8_lossy(&output.stderr)))?;
    wait_for("the host has ended", LIMIT, || {
        let processes: Vec<String> = traces(mark).into_iter().filter(|t| t.starts_with("process")).collect();
        if processes.is_empty() { Ok(()) } else { Err(processes.join("\n")) }
    })?;
    testhost::sweep();
    wait_for_no_trace(mark)
}

/// The last processes are dead by then, but whoever inherited them may not have buried them yet.
fn wait_for_no_trace(mark: &str) -> Result<(), Failure> {
    wait_for("nothing is left", Duration::from_secs(2), || {
        let left = traces(mark);
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    })
}

/// Whatever on this machine still bears the name of a host: mounts, processes, files, cgroups.
fn traces(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    found.extend(mounts.lines().filter(|line| line.contains(mark)).map(str::to_owned));
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = fs::read_to_string(process.path().join("cgroup")).unwrap_or_default();
        if line.contains(mark) {
            found.push(format!("process {} {line}", process.path().display()));
        }
    }
    for directory in ["/tmp", "/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"] {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path().display().to_string());
        found.extend(paths.filter(|path| path.contains(mark)));
    }
    found
}
