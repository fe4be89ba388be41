//! What systemd wrote into the journal about the jobs of units. One bounded child per question, for many units.

use std::collections::HashMap;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::bus::BusAddress;
use crate::model::time::Mono;
use crate::model::unit::JobKind;

/// Limit of one call of journalctl.
const TIME_MAX: Duration = Duration::from_secs(5);
/// Limit of what is read from it, bytes.
const BYTES_MAX: u64 = 4 << 20;
/// Entries that are read for one unit, on average: the latest activation has two to four.
const LINES_PER_UNIT: usize = 8;
/// Units asked for in one call; keeps the command line under 100 KiB.
pub const UNITS_MAX: usize = 256;

/// One entry that belongs to a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub at: Mono,
    pub kind: JobKind,
}

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("journalctl cannot be run: {0}; is it installed?")]
    Run(#[from] std::io::Error),
    #[error("journalctl did not answer within {} s", TIME_MAX.as_secs())]
    Timeout,
    #[error("journalctl failed with {0}; may this user read the journal (group systemd-journal)?")]
    Status(std::process::ExitStatus),
    #[error("journalctl wrote more than {BYTES_MAX} bytes")]
    TooMuch,
}

/// Entries about jobs of this boot, newest first, by unit. A unit without any is not in it.
#[derive(Debug, Default)]
pub struct JobEntries {
    pub by_unit: HashMap<String, Vec<Entry>>,
    /// The limit of lines was reached: a unit that is missing may have older entries.
    pub cut: bool,
}

/// Reads the job entries of `units`, at most [`UNITS_MAX`] of them.
pub async fn job_entries(bus: BusAddress, units: &[&str]) -> Result<JobEntries, JournalError> {
    let units = &units[..units.len().min(UNITS_MAX)];
    let lines = (units.len() * LINES_PER_UNIT).max(LINES_PER_UNIT * 2);
    let entries = async {
        let boot = match bus {
            BusAddress::System => newest_boot().await?,
            BusAddress::User => None,
        };
        run(bus, boot, units, lines).await
    };
    let text = tokio::time::timeout(TIME_MAX, entries).await.map_err(|_| JournalError::Timeout)??;
    let mut entries = JobEntries { cut: text.lines().count() >= lines, ..Default::default() };
    for (unit, entry) in text.lines().filter_map(parse) {
        entries.by_unit.entry(unit).or_default().push(entry);
    }
    Ok(entries)
}

/// The boot of the latest entry of PID 1, which is this one, as journald knows it. `--boot` asks the kernel instead, and
/// in a container a service with ProtectSystem= and the like is told the boot of the machine around it.
async fn newest_boot() -> Result<Option<String>, JournalError> {
    let mut command = Command::new("journalctl");
    command.args(["--quiet", "--no-pager", "--output=json", "--output-fields=_BOOT_ID", "--lines=1", "_PID=1"]);
    let text = output(command).await?;
    Ok(serde_json::from_str::<Boot>(text.trim()).ok().map(|entry| entry.boot))
}

async fn run(bus: BusAddress, boot: Option<String>, units: &[&str], lines: usize) -> Result<String, JournalError> {
    let mut command = Command::new("journalctl");
    command.args(["--quiet", "--reverse", "--no-pager", "--output=json"]);
    command.arg(boot.map_or_else(|| "--boot".to_owned(), |boot| format!("_BOOT_ID={boot}")));
    command.args(["--output-fields=UNIT,USER_UNIT,JOB_TYPE", "--lines", &lines.to_string()]);
    // Different fields must all match, values of one field are alternatives. Anybody can write UNIT= into the
    // journal; the underscored fields are journald's own word for who did.
    let field = match bus {
        BusAddress::System => {
            command.arg("_PID=1");
            "UNIT"
        }
        BusAddress::User => {
            command.args(["--user", "_COMM=systemd"]);
            command.arg(format!("_UID={}", rustix::process::getuid().as_raw()));
            "USER_UNIT"
        }
    };
    command.args(["JOB_TYPE=start", "JOB_TYPE=stop", "JOB_TYPE=restart"]);
    command.args(units.iter().map(|unit| format!("{field}={unit}")));
    output(command).await
}

async fn output(mut command: Command) -> Result<String, JournalError> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut bytes = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(BYTES_MAX).read_to_end(&mut bytes).await?;
    }
    if bytes.len() as u64 >= BYTES_MAX {
        return Err(JournalError::TooMuch);
    }
    let status = child.wait().await?;
    if !status.success() {
        return Err(JournalError::Status(status));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[derive(Deserialize)]
struct Boot {
    #[serde(rename = "_BOOT_ID")]
    boot: String,
}

/// journald's JSON: every value is a string, except for binary and repeated fields, which none of ours is.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "__MONOTONIC_TIMESTAMP")]
    at: String,
    #[serde(rename = "UNIT")]
    unit: Option<String>,
    #[serde(rename = "USER_UNIT")]
    user_unit: Option<String>,
    #[serde(rename = "JOB_TYPE")]
    kind: String,
}

fn parse(line: &str) -> Option<(String, Entry)> {
    let line: Line = serde_json::from_str(line).ok()?;
    let entry = Entry { at: Mono(line.at.parse().ok()?), kind: JobKind::parse(&line.kind) };
    Some((line.unit.or(line.user_unit)?, entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_journald() {
        let stop = r#"{"__MONOTONIC_TIMESTAMP":"1967002054","JOB_TYPE":"stop","UNIT":"plain.service","_BOOT_ID":"x"}"#;
        let expected = Entry { at: Mono(1_967_002_054), kind: JobKind::Stop };
        assert_eq!(parse(stop), Some(("plain.service".to_owned(), expected)));
        for bad in ["", "{}", r#"{"__MONOTONIC_TIMESTAMP":"x","JOB_TYPE":"stop","UNIT":"a"}"#, "not json"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        let repeated = r#"{"__MONOTONIC_TIMESTAMP":"1","JOB_TYPE":["stop","stop"],"UNIT":"a.service"}"#;
        assert_eq!(parse(repeated), None);
    }
}
