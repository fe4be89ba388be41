//! One command, in a process group of its own, bounded in time and in what it may say.

use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

use super::late;
use crate::model::signal::{Member, ProbeResult};

/// Kept of its output for the reason; the rest is read and dropped, so that it does not block.
const WORDS_MAX: usize = 4 << 10;
/// What it finds in its environment.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Kills the whole group when it is dropped, so that nothing that the command started survives it.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Passes with exit code 0.
pub async fn run(member: &Member, words: &[String], limit: Duration) -> ProbeResult {
    let Some((program, arguments)) = words.split_first() else {
        return ProbeResult::Unknown { why: "the probe command is empty".into() };
    };
    let mut command = Command::new(program);
    command.args(arguments.iter().map(|word| member.expand(word)));
    command.env_clear().env("PATH", PATH);
    command.env("UNITMEDIC_UNIT", member.unit.as_str()).env("UNITMEDIC_WORKER", member.worker.as_str());
    command.process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return ProbeResult::Unknown { why: format!("{program} cannot be run: {error}") },
    };
    let group = Group(child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())));
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let ended = timeout(limit, async {
        // A child that it leaves behind may hold the pipes open: its own end is what counts.
        let status = tokio::select! {
            status = child.wait() => status,
            () = async { tokio::join!(drain(out), drain(err)); std::future::pending().await } => unreachable!(),
        };
        status
    })
    .await;
    drop(group);
    match ended {
        Ok(Ok(status)) if status.success() => ProbeResult::Passed,
        Ok(Ok(status)) => ProbeResult::Failed { why: format!("{program}: {status}") },
        Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => ProbeResult::Unknown { why: error.to_string() },
        Ok(Err(error)) => ProbeResult::Unknown { why: format!("{program}: {error}") },
        Err(_) => late(program, limit),
    }
}

/// Reads all that comes, so that the command never waits for a reader.
async fn drain(pipe: Option<impl AsyncRead + Unpin>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; WORDS_MAX];
    while matches!(pipe.read(&mut buffer).await, Ok(read) if read > 0) {}
}
