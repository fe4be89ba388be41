//! journalctl as a child: its arguments, what it writes, and short questions to it.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use super::Scope;
use super::export::{Entry, Parser};

/// Read at once: a pipe holds as much.
const CHUNK: usize = 64 << 10;
/// What is kept of its complaints.
const COMPLAINT_MAX: usize = 1024;
/// Limit of a short question.
const QUESTION_TIME_MAX: Duration = Duration::from_secs(5);

/// Where to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// Behind this entry.
    Cursor(String),
    /// At this wall time, microseconds.
    Time(i64),
    /// With what comes from now on. [`Wanted::end`] makes an entry of it.
    End,
}

/// Which entries, with which fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub program: String,
    pub scope: Scope,
    /// All entries; else those of priority err and worse.
    pub all: bool,
}

impl Wanted {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--no-pager", "--output=export"]);
        if self.scope == Scope::User {
            command.arg("--user");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    fn filter(&self, command: &mut Command) {
        let units = match self.scope {
            Scope::System => "_SYSTEMD_UNIT,UNIT",
            Scope::User => "_SYSTEMD_USER_UNIT,USER_UNIT",
        };
        command.arg(format!("--output-fields=PRIORITY,{units},_PID,MESSAGE"));
        if !self.all {
            command.arg("--priority=err");
        }
    }

    /// Follows the journal from there on.
    pub fn follow(&self, from: &From) -> io::Result<Follower> {
        let mut command = self.command();
        self.filter(&mut command);
        command.arg("--follow");
        // --follow takes the present boot alone, by an id that is another machine's in a container whose /proc/sys was
        // mounted anew (ProtectKernelTunables=). --merge takes all boots, but the journals of other machines, too.
        if let Some(machine) = machine_id() {
            command.args(["--merge".to_owned(), format!("_MACHINE_ID={machine}")]);
        }
        match from {
            // --follow alone begins ten entries before the end.
            From::Cursor(cursor) => command.args(["--no-tail", &format!("--after-cursor={cursor}")]),
            From::Time(time) => command.args(["--no-tail", &format!("--since={}", at(*time))]),
            From::End => command.arg("--lines=0"),
        };
        let mut child = command.spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
            return Err(io::Error::other("a child without its pipes"));
        };
        Ok(Follower { child, stdout, stderr: Some(stderr), buffer: vec![0; CHUNK], complaint: String::new() })
    }

    /// Whether the entry is still there: after a rotation a cursor means the nearest entry that is left.
    pub async fn has(&self, cursor: &str) -> io::Result<bool> {
        let mut command = self.command();
        command.args(["--quiet", "--output-fields=_PID", "--lines=1", &format!("--cursor={cursor}")]);
        Ok(first(command).await?.is_some_and(|found| found == cursor))
    }

    /// Whether there are entries behind the cursor that are older than that.
    pub async fn has_between(&self, cursor: &str, before: i64) -> io::Result<bool> {
        let mut command = self.command();
        self.filter(&mut command);
        let range = [format!("--after-cursor={cursor}"), format!("--until={}", at(before))];
        command.args(["--quiet", "--lines=1"]).args(range);
        Ok(first(command).await?.is_some())
    }

    /// Behind the last entry of all, wanted or not. A journalctl of systemd 252 that follows from the end (`--lines=0`)
    /// while no entry matches never shows anything; behind an entry it finds its way.
    pub async fn end(&self) -> From {
        let mut command = self.command();
        command.args(["--quiet", "--output-fields=_PID", "--lines=1"]);
        first(command).await.ok().flatten().map_or(From::End, From::Cursor)
    }

    /// Whether there is an entry to read from there on.
    pub async fn has_any(&self, from: &From) -> io::Result<bool> {
        let mut command = self.command();
        self.filter(&mut command);
        command.arg("--quiet");
        match from {
            From::Cursor(cursor) => drop(command.arg(format!("--after-cursor={cursor}"))),
            From::Time(time) => drop(command.arg(format!("--since={}", at(*time)))),
            From::End => {}
        }
        Ok(first(command).await?.is_some())
    }
}

/// This machine's id, as journald has it in its entries.
fn machine_id() -> Option<String> {
    let text = std::fs::read_to_string("/etc/machine-id").ok()?;
    let id = text.trim_end();
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_owned())
}

/// A time as journalctl takes it, seconds with a fraction.
fn at(micros: i64) -> String {
    let micros = micros.max(0);
    format!("@{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// The cursor of the first entry that it writes.
async fn first(mut command: Command) -> io::Result<Option<String>> {
    let answer = async {
        let mut child = command.stderr(Stdio::null()).spawn()?;
        let Some(mut stdout) = child.stdout.take() else { return Ok(None) };
        let (mut parser, mut buffer) = (Parser::default(), vec![0; CHUNK]);
        let mut cursor = None;
        while cursor.is_none() {
            let length = stdout.read(&mut buffer).await?;
            if length == 0 {
                break;
            }
            parser.feed(&buffer[..length], |entry: &Entry| {
                cursor.get_or_insert_with(|| entry.cursor.clone());
            });
        }
        Ok(cursor)
    };
    tokio::time::timeout(QUESTION_TIME_MAX, answer).await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// A journalctl that follows. It ends with this value.
pub struct Follower {
    child: Child,
    stdout: ChildStdout,
    stderr: Option<ChildStderr>,
    buffer: Vec<u8>,
    complaint: String,
}

impl Follower {
    /// How many bytes came, for [`Follower::bytes`]; 0: it has ended. May be dropped while it waits.
    pub async fn read(&mut self) -> io::Result<usize> {
        loop {
            let Some(stderr) = &mut self.stderr else {
                return self.stdout.read(&mut self.buffer).await;
            };
            let mut words = [0; 256];
            tokio::select! {
                length = self.stdout.read(&mut self.buffer) => return length,
                length = stderr.read(&mut words) => match length {
                    Ok(length @ 1..) => complain(&mut self.complaint, &words[..length]),
                    _ => self.stderr = None,
                },
            }
        }
    }

    pub fn bytes(&self, length: usize) -> &[u8] {
        &self.buffer[..length]
    }

    /// What it said that keeps it from telling us everything.
    pub fn blindness(&self, scope: Scope) -> Option<&'static str> {
        let said = |words: &str| self.complaint.contains(words);
        let partly = scope == Scope::System && said("not seeing messages from other users");
        if partly || said("insufficient permissions") {
            return Some("no permission to read the journal; add the user to the group systemd-journal");
        }
        said("No journal files were found").then_some("there is no journal")
    }

    /// How it ended, after [`Follower::read`] has returned nothing.
    pub async fn end(mut self, scope: Scope) -> String {
        if let Some(mut stderr) = self.stderr.take() {
            drain(&mut stderr, &mut self.complaint).await;
        }
        if let Some(why) = self.blindness(scope) {
            return why.to_owned();
        }
        // It has closed its output; if it does not end by itself it is ended.
        let status = tokio::time::timeout(QUESTION_TIME_MAX, self.child.wait()).await;
        let status = status.ok().and_then(Result::ok).map_or("did not end".into(), |s: ExitStatus| s.to_string());
        match self.complaint.lines().last() {
            Some(line) => format!("journalctl ended ({status}): {line}"),
            None => format!("journalctl ended ({status})"),
        }
    }
}

async fn drain(stderr: &mut (impl AsyncRead + Unpin), complaint: &mut String) {
    let mut words = [0; 256];
    let reading = async {
        while let Ok(length @ 1..) = stderr.read(&mut words).await {
            complain(complaint, &words[..length]);
        }
    };
    let _ = tokio::time::timeout(QUESTION_TIME_MAX, reading).await;
}

fn complain(complaint: &mut String, words: &[u8]) {
    let room = COMPLAINT_MAX.saturating_sub(complaint.len());
    complaint.extend(String::from_utf8_lossy(words).chars().take(room));
}
