//! Protection goes on whatever becomes of the history.

use crate::fixture::{DAEMON, LIMIT, SLEEPER, Setup, ensure, until};
use crate::testhost::{Failure, Place};

const STATE: &str = "/var/lib/unitmedic";

#[test]
fn a_full_disk_costs_history_and_nothing_else() -> Result<(), Failure> {
    let host = Setup::new("full").worker("mail", "mail.service", SLEEPER).boot()?;
    host.sh(&format!("mkdir -p {STATE}; mount -t tmpfs -o size=1M none {STATE}"))?;
    host.start_daemon()?;
    host.kill("mail.service")?;
    host.wait_recovered("mail.service", 1)?;
    let errors = host.metric("unitmedic_store_errors_total")?.ok_or("no such metric")?;
    host.sh(&format!("dd if=/dev/zero of={STATE}/filler bs=4k 2>/dev/null || true; df {STATE}"))?;
    let before = host.activation("mail.service")?;
    host.kill("mail.service")?;
    until("mail.service is brought back", LIMIT, || match host.activation("mail.service")? {
        now if now != before && host.property("mail.service", "ActiveState")? == "active" => Ok(()),
        now => Err(Failure::from(now)),
    })?;
    until("errors are counted", LIMIT, || match host.metric("unitmedic_store_errors_total")? {
        Some(now) if now > errors => Ok(()),
        other => Err(Failure::new(format!("{other:?}"))),
    })?;
    let restarts = host.instance("mail.service")?.restarts;
    ensure(restarts == [("unitmedic".into(), 2)].into(), || format!("{restarts:?}"))?;
    // Room again: what comes from now on is kept, and what was lost is told.
    host.sh(&format!("rm {STATE}/filler"))?;
    let before = host.activation("mail.service")?;
    host.kill("mail.service")?;
    until("mail.service is brought back", LIMIT, || match host.activation("mail.service")? {
        now if now != before && host.property("mail.service", "ActiveState")? == "active" => Ok(()),
        now => Err(Failure::from(now)),
    })?;
    until("the history goes on", LIMIT, || match host.history()?.len() {
        n if n >= 2 => Ok(()),
        n => Err(Failure::new(format!("{n} recoveries"))),
    })?;
    let journal = host.journal(&["--unit", DAEMON])?;
    ensure(journal.contains("full") || journal.contains("No space left"), || journal)?;
    host.done()
}

#[test]
fn a_state_directory_that_cannot_be_written() -> Result<(), Failure> {
    let read_only = format!("[Service]\nReadOnlyPaths={STATE}\nStateDirectory=\n");
    let host = Setup::new("read-only")
        .worker("mail", "mail.service", SLEEPER)
        .file("/etc/systemd/system/unitmedic.service.d/read-only.conf", &read_only)
        .boot()?;
    host.sh(&format!("mkdir -p {STATE}"))?;
    host.start_daemon()?;
    let before = host.activation("mail.service")?;
    host.kill("mail.service")?;
    until("mail.service is brought back", LIMIT, || match host.activation("mail.service")? {
        now if now != before && host.property("mail.service", "ActiveState")? == "active" => Ok(()),
        now => Err(Failure::from(now)),
    })?;
    let journal = host.journal(&["--unit", DAEMON])?;
    ensure(journal.to_lowercase().contains("read-only") || journal.contains("Read-only file system"), || journal)?;
    ensure(host.http("/-/ready")?.0 == 200, || "not ready".into())?;
    host.done()
}

#[test]
fn a_damaged_database_is_set_aside_and_a_newer_one_is_left_alone() -> Result<(), Failure> {
    let host = Setup::new("damaged").worker("mail", "mail.service", SLEEPER).boot()?;
    let garbage = format!("{STATE}/unitmedic.db");
    host.write(&garbage, &"this is no database\n".repeat(500))?;
    host.start_daemon()?;
    host.kill("mail.service")?;
    host.wait_recovered("mail.service", 1)?;
    let kept = host.sh(&format!("grep -l 'this is no database' {STATE}/unitmedic.db*"))?;
    ensure(kept != garbage && !kept.is_empty(), || format!("kept as {kept:?}"))?;
    let journal = host.journal(&["--unit", DAEMON, "--priority=err"])?;
    ensure(journal.contains("set aside") || journal.contains(&kept), || journal)?;

    host.ctl(&["stop", DAEMON])?;
    // The version stands at offset 60 of the file, as four bytes.
    host.sh(&format!("rm -f {STATE}/unitmedic.db-wal {STATE}/unitmedic.db-shm; printf '\\0\\0\\047\\017' | dd of={garbage} bs=1 seek=60 conv=notrunc 2>/dev/null; cksum {garbage} > /run/sum"))?;
    host.start_daemon()?;
    let before = host.activation("mail.service")?;
    host.kill("mail.service")?;
    until("mail.service is brought back", LIMIT, || match host.activation("mail.service")? {
        now if now != before && host.property("mail.service", "ActiveState")? == "active" => Ok(()),
        now => Err(Failure::from(now)),
    })?;
    let journal = host.journal(&["--unit", DAEMON, "--priority=err"])?;
    ensure(journal.contains("newer"), || journal)?;
    host.sh(&format!("cksum {garbage} | cmp - /run/sum"))?;
    host.done()
}
