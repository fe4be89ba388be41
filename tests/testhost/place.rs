//! A place with a systemd in it, and what tests do there: a throwaway host, a user's session, or the virtual machine.

use std::fmt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::bounded::{Output, run_bounded};

/// How long a command may take unless the caller says otherwise.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// How often [`wait_for`] looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Why a test failed. Shown as written (also by `{:?}`, which a test that returns an error is printed with).
#[derive(Clone, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<std::num::ParseIntError> for Failure {
    fn from(error: std::num::ParseIntError) -> Self {
        Self(error.to_string())
    }
}

/// Looks until `look` returns a value; its last `Err` is the state that the failure shows.
pub fn wait_for<T, E: fmt::Display>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<T, E>,
) -> Result<T, Failure> {
    let deadline = Instant::now() + limit;
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(state) if Instant::now() >= deadline => {
                return Err(Failure::new(format!("{what}: not within {limit:?}; last seen: {state}")));
            }
            Err(_) => thread::sleep(LOOK_EVERY),
        }
    }
}

/// Somewhere that commands run and a systemd manager listens.
pub trait Place {
    /// Runs a command there as it stands, with `stdin` as its input. An exit code that is not zero is no failure.
    fn run_for(&self, argv: &[&str], stdin: &[u8], limit: Duration) -> Result<Output, Failure>;

    /// Where an administrator's units lie.
    fn unit_directory(&self) -> String {
        "/etc/systemd/system".to_owned()
    }

    /// The call that reaches this place's manager.
    fn systemctl(&self) -> &'static [&'static str] {
        &["systemctl"]
    }

    fn run(&self, argv: &[&str]) -> Result<Output, Failure> {
        self.run_for(argv, b"", COMMAND_LIMIT)
    }

    /// Runs a shell script that must succeed; returns its standard output without the last newline.
    fn sh(&self, script: &str) -> Result<String, Failure> {
        self.sh_for(script, COMMAND_LIMIT)
    }

    fn sh_for(&self, script: &str, limit: Duration) -> Result<String, Failure> {
        self.run_for(&["sh", "-euc", script], b"", limit)?.success()
    }

    /// Calls `systemctl` (with `--user` in a session); it must succeed.
    fn ctl(&self, args: &[&str]) -> Result<String, Failure> {
        self.run(&[self.systemctl(), args].concat())?.success()
    }

    /// Writes a file, and the directories above it.
    fn write(&self, path: &str, text: &str) -> Result<(), Failure> {
        let script = "mkdir -p -- \"$(dirname -- \"$0\")\" && cat > \"$0\"";
        self.run_for(&["sh", "-c", script, path], text.as_bytes(), COMMAND_LIMIT)?.success()?;
        Ok(())
    }

    /// Writes a program that can be run.
    fn write_program(&self, path: &str, text: &str) -> Result<(), Failure> {
        self.write(path, text)?;
        self.run(&["chmod", "0755", path])?.success()?;
        Ok(())
    }

    /// The file as it stands, its last newline included.
    fn read(&self, path: &str) -> Result<String, Failure> {
        let output = self.run(&["cat", "--", path])?;
        let text = output.stdout.clone();
        output.success()?;
        Ok(text)
    }

    /// Writes a unit and reloads the manager.
    fn install_unit(&self, name: &str, text: &str) -> Result<(), Failure> {
        self.write(&format!("{}/{name}", self.unit_directory()), text)?;
        self.ctl(&["daemon-reload"])?;
        Ok(())
    }

    /// One property as `systemctl show` gives it.
    fn property(&self, unit: &str, name: &str) -> Result<String, Failure> {
        self.ctl(&["show", "--value", "--property", name, "--", unit])
    }

    fn main_pid(&self, unit: &str) -> Result<u32, Failure> {
        let pid = self.property(unit, "MainPID")?;
        match pid.parse() {
            Ok(0) | Err(_) => Err(Failure::new(format!("{unit} has no main process (MainPID={pid})"))),
            Ok(pid) => Ok(pid),
        }
    }

    /// Waits until a property of a unit has a value.
    fn wait_property(&self, unit: &str, name: &str, want: &str, limit: Duration) -> Result<(), Failure> {
        wait_for(&format!("{unit} {name}={want}"), limit, || {
            let now = self.property(unit, name)?;
            if now == want {
                return Ok(());
            }
            let state = self.property(unit, "SubState")?;
            Err(Failure::new(format!("{name}={now} (SubState={state})")))
        })
    }

    fn wait_active(&self, unit: &str, limit: Duration) -> Result<(), Failure> {
        self.wait_property(unit, "ActiveState", "active", limit)
    }

    /// What `journalctl` prints for these arguments.
    fn journal(&self, args: &[&str]) -> Result<String, Failure> {
        self.run(&[&["journalctl", "--no-pager", "--quiet"], args].concat())?.success()
    }
}

/// The machine that this process runs on: inside the virtual machine, the place to test.
pub struct Here;

impl Place for Here {
    fn run_for(&self, argv: &[&str], stdin: &[u8], limit: Duration) -> Result<Output, Failure> {
        let (program, args) = argv.split_first().ok_or("an empty command")?;
        let mut command = Command::new(program);
        command.args(args).env("SYSTEMD_COLORS", "0").env("SYSTEMD_PAGER", "");
        run_bounded(command, &argv.join(" "), stdin, limit)
    }
}
