//! `start --daemon`: systemd starts and keeps the service; we only ask it to.

use std::io;
use std::process::Command;

use anyhow::Context;

use super::exit;

const SERVICE: &str = "unitmedic.service";

/// Asks systemd to start the service and reports whether it runs. The service is of Type=notify, so that
/// `systemctl start` returns when the daemon is ready or has failed.
pub fn start(user: bool) -> anyhow::Result<u8> {
    let scope: &[&str] = if user { &["--user"] } else { &[] };
    let mut systemctl = Command::new("systemctl");
    systemctl.args(scope).args(["start", SERVICE]);
    let ended = systemctl.status().map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => anyhow::anyhow!("systemctl is not installed: is this a systemd host?"),
        _ => anyhow::Error::from(e).context("running systemctl"),
    })?;
    if ended.success() {
        println!("{SERVICE} is running; see `unitmedic status`");
        return Ok(exit::OK);
    }
    let scope = if user { " --user" } else { "" };
    eprintln!(
        "unitmedic: {SERVICE} did not start; see `systemctl{scope} status {SERVICE}` and `journalctl{scope} -u {SERVICE}`"
    );
    let code = ended.code().context("systemctl was killed by a signal")?;
    // systemctl answers with the codes of LSB: 4 is insufficient privilege.
    Ok(if code == 4 { exit::DENIED } else { exit::FAILED })
}
