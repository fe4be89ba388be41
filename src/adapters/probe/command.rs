//! One command, in a process group of its own, bounded in time, in what it may use and in what it may say.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getrlimit, kill_process_group, prlimit, waitid,
};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::signal;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::late;
use crate::model::signal::{Member, ProbeResult};

/// Read at once of its output. It is read to its end, so that it does not block, and all but the last line is dropped.
const CHUNK: usize = 4 << 10;
/// Longest line that is shown.
const LINE_MAX: usize = 200;
/// How long what it left in its pipes is read, after its group was killed.
const LEFT_OVER: Duration = Duration::from_millis(200);
/// What it finds in its environment.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What it may use: it asks a question. Memory and file size in bytes, descriptors.
const LIMITS: [(Resource, u64); 4] =
    [(Resource::Data, 512 << 20), (Resource::Fsize, 64 << 20), (Resource::Nofile, 1024), (Resource::Core, 0)];
/// It is killed before any worker when memory runs out; it would have our own place, which is the last.
const OOM_SCORE: &str = "500";

/// A child that leads a process group.
struct Group {
    child: Child,
    pid: Pid,
    /// Some child of ours has ended.
    children: signal::unix::Signal,
}

impl Group {
    fn start(mut command: Command) -> io::Result<Self> {
        let children = signal::unix::signal(signal::unix::SignalKind::child())?;
        let child = command.spawn()?;
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let pid = pid.ok_or_else(|| io::Error::other("it has no pid"))?;
        Ok(Self { child, pid, children })
    }

    /// Until the child has ended. It stays a zombie, so that its number is nobody else's, until it is waited for.
    async fn ended(&mut self) {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        while matches!(waitid(WaitId::Pid(self.pid), look), Ok(None) | Err(Errno::INTR)) {
            if self.children.recv().await.is_none() {
                return;
            }
        }
    }

    /// What cannot be limited runs without; the time limit holds in any case.
    fn limit(&self) {
        for (resource, most) in LIMITS {
            let most = Some(getrlimit(resource).maximum.map_or(most, |hard| hard.min(most)));
            let _ = prlimit(Some(self.pid), resource, Rlimit { current: most, maximum: most });
        }
        let _ = std::fs::write(format!("/proc/{}/oom_score_adj", self.pid.as_raw_nonzero()), OOM_SCORE);
    }

    fn kill(&self) {
        let _ = kill_process_group(self.pid, Signal::KILL);
    }
}

impl Drop for Group {
    /// The child has not been waited for, or it was killed before that: nothing that it started survives it.
    fn drop(&mut self) {
        if self.child.id().is_some() {
            self.kill();
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
    let mut group = match Group::start(command) {
        Ok(group) => group,
        Err(error) => return ProbeResult::Unknown { why: format!("{program} cannot be run: {error}") },
    };
    group.limit();
    let mut readers = JoinSet::new();
    let (out, err) = (group.child.stdout.take(), group.child.stderr.take());
    readers.spawn(async { (0, last_line(out).await) });
    readers.spawn(async { (1, last_line(err).await) });
    // A child that it leaves behind may hold the pipes open: its own end is what counts.
    let in_time = timeout(limit, group.ended()).await.is_ok();
    group.kill();
    let said = said(readers).await;
    match group.child.wait().await {
        _ if !in_time => with(late(program, limit), &said),
        Ok(status) if status.success() => ProbeResult::Passed,
        Ok(status) => with(ProbeResult::Failed { why: format!("{program}: {status}") }, &said),
        Err(error) => ProbeResult::Unknown { why: format!("{program}: {error}") },
    }
}

fn with(result: ProbeResult, said: &str) -> ProbeResult {
    match result {
        ProbeResult::Failed { why } if !said.is_empty() => ProbeResult::Failed { why: format!("{why}: {said}") },
        other => other,
    }
}

/// Its last line on stderr, else on stdout.
async fn said(mut readers: JoinSet<(usize, String)>) -> String {
    let mut lines = [String::new(), String::new()];
    let all = async {
        while let Some(read) = readers.join_next().await {
            if let Ok((which, line)) = read {
                lines[which] = line;
            }
        }
    };
    let _ = timeout(LEFT_OVER, all).await;
    let [out, err] = lines;
    if err.is_empty() { out } else { err }
}

/// Reads all that comes, so that the command never waits for a reader. The last line with anything on it, as far as it
/// is shown.
async fn last_line(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let (mut line, mut next) = (Vec::new(), Vec::new());
    let Some(mut pipe) = pipe else { return String::new() };
    let mut buffer = vec![0; CHUNK];
    while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
        let mut parts = buffer[..read].split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            let room = LINE_MAX.saturating_sub(next.len());
            next.extend_from_slice(&part[..part.len().min(room)]);
            if parts.peek().is_some() {
                if !next.trim_ascii().is_empty() {
                    std::mem::swap(&mut line, &mut next);
                }
                next.clear();
            }
        }
    }
    let last = if next.trim_ascii().is_empty() { line } else { next };
    let text = String::from_utf8_lossy(&last);
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
