//! Readings of what may run out: tasks and open files of a unit that leaks them, seen by a daemon without rights, and the
//! disk of the history.

use std::fs;
use std::time::Duration;

use crate::fixture::{DAEMON, Setup, ensure, until};
use crate::testhost::{Failure, Place};

const UNIT: &str = "leaky.service";
const STATE: &str = "/var/lib/unitmedic";
/// Open files are looked at once a minute.
const PATIENCE: Duration = Duration::from_secs(150);

/// Opens a file and begins a thread every second; a child of its own has fewer files, and a higher limit.
const LEAKY: &str = r#"
import os, resource, threading, time
if os.fork() == 0:
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))
    time.sleep(1e6)
kept = []
while True:
    kept.append(open('/dev/null'))
    if len(kept) < 100:
        threading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()
    time.sleep(1)
"#;

/// The size of the directory is their number since Linux 6.2.
pub fn kernel_counts_open_files() -> bool {
    fs::metadata("/proc/self/fd").is_ok_and(|metadata| metadata.len() > 0)
}

#[test]
fn tasks_and_open_files_of_a_unit_that_leaks_are_seen() -> Result<(), Failure> {
    let text = "[Service]\nExecStart=/usr/bin/python3 -u /usr/local/lib/leaky.py\nLimitNOFILE=300:500\n";
    let setup = Setup::new("leaky").file("/usr/local/lib/leaky.py", LEAKY).worker("leaky", UNIT, text);
    let host = setup.start()?;
    let user = host.property(DAEMON, "User")?;
    ensure(user == "unitmedic", || format!("the daemon runs as {user:?}"))?;
    if !kernel_counts_open_files() {
        let said = "open files of workers are not counted: that takes Linux 6.2 or later";
        let journal = host.journal(&["--unit", DAEMON])?;
        ensure(journal.matches(said).count() == 1, || journal)?;
        ensure(host.instance(UNIT)?.usage.is_some_and(|usage| usage.open_files.is_none()), || "counted".into())?;
        return host.done();
    }
    let first = until("its open files are seen", PATIENCE, || {
        let usage = host.instance(UNIT)?.usage.ok_or("no sample")?;
        usage.open_files.zip(usage.tasks).ok_or_else(|| Failure::new(format!("{usage:?}")))
    })?;
    ensure(first.0.limit == 300 && first.0.count >= 3 && first.1 >= 3, || format!("{first:?}"))?;
    let (files, tasks) = until("they have grown", PATIENCE, || {
        let usage = host.instance(UNIT)?.usage.ok_or("no sample")?;
        let now = usage.open_files.zip(usage.tasks).filter(|(files, tasks)| *files != first.0 && *tasks > first.1);
        now.ok_or_else(|| Failure::new(format!("{usage:?}")))
    })?;
    ensure(files.count >= first.0.count + 30 && files.limit == 300, || format!("{first:?}, then {files:?}, {tasks}"))?;
    let metric = |name: &str| host.metric(&format!("unitmedic_unit_{name}{{worker=\"leaky\",unit=\"{UNIT}\"}}"));
    ensure(metric("open_files_limit")? == Some(300.0), || "the limit is no metric".into())?;
    ensure(metric("open_files")?.is_some_and(|shown| shown >= files.count as f64), || "no metric".into())?;
    ensure(metric("tasks")?.is_some_and(|shown| shown >= tasks as f64), || "tasks are no metric".into())?;
    let shown = host.unitmedic(&["status", "leaky"])?.success()?;
    ensure(shown.contains(" of 300 files open"), || shown)?;
    let journal = host.journal(&["--unit", DAEMON])?;
    ensure(!journal.contains("open files of workers"), || journal)?;
    host.done()
}

#[test]
fn little_room_for_the_history_is_told() -> Result<(), Failure> {
    let host = Setup::new("little-room").boot()?;
    host.sh(&format!("mkdir -p {STATE}; mount -t tmpfs -o size=100M none {STATE}; fallocate -l 97M {STATE}/filler"))?;
    host.start_daemon()?;
    let why = until("it is told", PATIENCE, || {
        let disk = host.status()?.disk.ok_or("nothing is known of the disk")?;
        disk.warning.clone().ok_or_else(|| Failure::new(format!("{disk:?}")))
    })?;
    ensure(why.starts_with(&format!("the disk of {STATE} has ")) && why.contains(" of 100 MiB left"), || why.clone())?;
    ensure(host.metric("unitmedic_state_disk_low")? == Some(1.0), || "no metric".into())?;
    let shown = host.unitmedic(&["status"])?.success()?;
    ensure(shown.contains(&format!("the disk of {STATE} has ")), || shown)?;
    let journal = host.journal(&["--unit", DAEMON, "--priority=warning"])?;
    ensure(journal.contains(&format!("the disk of {STATE} has ")), || journal)?;

    host.sh(&format!("rm {STATE}/filler"))?;
    until("it is over", PATIENCE, || match host.metric("unitmedic_state_disk_low")? {
        Some(0.0) => Ok(()),
        other => Err(Failure::new(format!("{other:?}"))),
    })?;
    ensure(host.status()?.disk.is_some_and(|disk| disk.warning.is_none()), || "it is told still".into())?;
    host.done()
}
