//! A command that keeps running in a host while the test goes on.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::bounded::{Output, end_group, pid_of, wait_until};
use super::place::{Failure, wait_for};

/// Dropping it kills it, and what it started and left in its process group.
pub struct Running {
    child: Child,
    command: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// `log` names the files for its output: `LOG.out` and `LOG.err`.
    pub fn start(mut command: Command, shown: &str, log: &Path) -> Result<Self, Failure> {
        let stdout = log.with_extension("out");
        let stderr = log.with_extension("err");
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(&stdout)?)
            .stderr(File::create(&stderr)?)
            .process_group(0)
            .spawn()
            .map_err(|error| Failure::new(format!("`{shown}`: cannot start: {error}")))?;
        Ok(Self { child, command: shown.to_owned(), stdout, stderr })
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until its output (either kind) holds `text`.
    pub fn wait_output(&mut self, text: &str, limit: Duration) -> Result<(), Failure> {
        let what = format!("`{}` prints {text:?}", self.command);
        wait_for(&what, limit, || {
            let (stdout, stderr) = (self.stdout(), self.stderr());
            if stdout.contains(text) || stderr.contains(text) {
                return Ok(());
            }
            Err(format!("ended: {:?}\n{stdout}{stderr}", self.ended()))
        })
    }

    /// Sends a signal to the command itself.
    pub fn signal(&mut self, signal: Signal) -> Result<(), Failure> {
        let pid = self.inner_pid()?;
        kill_process(pid, signal).map_err(|error| Failure::new(format!("`{}`: {error}", self.command)))
    }

    /// Waits for its end by itself.
    pub fn wait(mut self, limit: Duration) -> Result<Output, Failure> {
        let Some(status) = wait_until(&mut self.child, Instant::now() + limit)? else {
            let (command, stdout, stderr) = (&self.command, self.stdout(), self.stderr());
            return Err(Failure::new(format!("`{command}` did not end within {limit:?}\n{stdout}{stderr}")));
        };
        Ok(Output { command: self.command.clone(), status, stdout: self.stdout(), stderr: self.stderr() })
    }

    /// Asks it to end with SIGTERM, and waits until it has.
    pub fn stop(mut self, limit: Duration) -> Result<Output, Failure> {
        if self.ended().is_none() {
            self.signal(Signal::TERM)?;
        }
        self.wait(limit)
    }

    /// nsenter waits in this machine's process namespace; the command is its only child.
    fn inner_pid(&mut self) -> Result<Pid, Failure> {
        let outer = pid_of(&self.child).as_raw_nonzero();
        wait_for(&format!("`{}` has started", self.command), Duration::from_secs(5), || {
            if let Some(status) = self.ended() {
                return Ok(Err(Failure::new(format!("it has ended: {status}"))));
            }
            let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).unwrap_or_default();
            let first = children.split_whitespace().next().and_then(|pid| pid.parse().ok());
            first.and_then(Pid::from_raw).map(Ok).ok_or("no process yet")
        })?
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended().is_none() {
            end_group(&mut self.child);
        }
    }
}
