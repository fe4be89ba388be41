//! A command that ends by its deadline, whatever it and its children do.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::place::Failure;

/// What a command that ended said.
#[derive(Debug, Clone)]
pub struct Output {
    pub command: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub fn ok(&self) -> bool {
        self.status.success()
    }

    /// The exit code; `None` where a signal ended the command.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The standard output without its last newline, or a failure that shows everything.
    pub fn success(self) -> Result<String, Failure> {
        if self.ok() {
            return Ok(self.stdout.trim_end_matches('\n').to_owned());
        }
        let how = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "an unknown status".to_owned(),
        };
        Err(Failure::new(format!("`{}` ended with {how}\n{}{}", self.command, self.stdout, self.stderr)))
    }
}

/// Runs `command` with `stdin` as its input; kills its process group at the deadline.
///
/// Output goes to memory files instead of pipes: a background process that inherits a pipe would keep us reading.
pub fn run_bounded(mut command: Command, shown: &str, stdin: &[u8], limit: Duration) -> Result<Output, Failure> {
    let fail = |what: &str, error: &dyn std::fmt::Display| Failure::new(format!("`{shown}`: {what}: {error}"));
    let mut input = memory_file().map_err(|e| fail("no memory file", &e))?;
    let mut stdout = memory_file().map_err(|e| fail("no memory file", &e))?;
    let mut stderr = memory_file().map_err(|e| fail("no memory file", &e))?;
    input.write_all(stdin).and_then(|()| input.rewind()).map_err(|e| fail("cannot keep its input", &e))?;
    let copies = stdout.try_clone().and_then(|o| Ok((o, stderr.try_clone()?)));
    let (child_stdout, child_stderr) = copies.map_err(|e| fail("cannot keep its output", &e))?;
    let mut child = command
        .stdin(input)
        .stdout(child_stdout)
        .stderr(child_stderr)
        .process_group(0)
        .spawn()
        .map_err(|e| fail("cannot start", &e))?;
    let ended = wait_until(&mut child, Instant::now() + limit).map_err(|e| fail("cannot wait", &e))?;
    let Some(status) = ended else {
        end_group(&mut child);
        return Err(Failure::new(format!(
            "`{shown}` did not end within {limit:?}\n{}{}",
            text(&mut stdout),
            text(&mut stderr)
        )));
    };
    Ok(Output { command: shown.to_owned(), status, stdout: text(&mut stdout), stderr: text(&mut stderr) })
}

/// Waits for `child`; `None` when it still runs at `deadline`.
pub fn wait_until(child: &mut Child, deadline: Instant) -> std::io::Result<Option<ExitStatus>> {
    let handle = pidfd_open(pid_of(child), PidfdFlags::empty())?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let left =
            Timespec { tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Kills a child that was started as the leader of its own process group, with the whole group, and reaps it.
pub fn end_group(child: &mut Child) {
    // The group's id stays taken while its leader is unreaped, so this cannot hit a stranger.
    let _ = kill_process_group(pid_of(child), Signal::KILL);
    let _ = child.wait();
}

pub fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

fn memory_file() -> std::io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create("unitmedic-test", MemfdFlags::CLOEXEC)?))
}

fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    let read = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("(output lost: {error})"),
    }
}
