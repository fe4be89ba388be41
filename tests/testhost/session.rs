//! A user of a host and that user's manager, for what runs without root (`--user`).

use std::time::Duration;

use super::bounded::Output;
use super::machine::Machine;
use super::place::{Failure, Place, wait_for};
use super::running::Running;

/// Free on Debian, which gives people 1000 and up.
const UID: &str = "4711";
const USER: &str = "tester";
const HOME: &str = "/home/tester";
const START_LIMIT: Duration = Duration::from_secs(20);

pub struct UserSession<'a> {
    machine: &'a Machine,
}

impl<'a> UserSession<'a> {
    pub fn open(machine: &'a Machine) -> Result<Self, Failure> {
        machine.sh(&format!(
            "id -u {USER} >/dev/null 2>&1 || useradd --uid {UID} --home-dir {HOME} --create-home --shell /bin/sh {USER}
             systemctl start user@{UID}.service"
        ))?;
        let session = Self { machine };
        wait_for("the user's manager has started", START_LIMIT, || {
            let output = session.run(&["systemctl", "--user", "is-system-running"])?;
            match output.stdout.trim() {
                "running" | "degraded" => Ok(()),
                state => Err(Failure::new(format!("{state} {}", output.stderr))),
            }
        })?;
        Ok(session)
    }

    pub fn user(&self) -> &'static str {
        USER
    }

    pub fn home(&self) -> &'static str {
        HOME
    }

    pub fn spawn(&self, argv: &[&str]) -> Result<Running, Failure> {
        let argv = as_user(argv);
        self.machine.spawn(&borrow(&argv))
    }
}

impl Place for UserSession<'_> {
    fn run_for(&self, argv: &[&str], stdin: &[u8], limit: Duration) -> Result<Output, Failure> {
        let argv = as_user(argv);
        self.machine.run_for(&borrow(&argv), stdin, limit)
    }

    fn unit_directory(&self) -> String {
        format!("{HOME}/.config/systemd/user")
    }

    fn systemctl(&self) -> &'static [&'static str] {
        &["systemctl", "--user"]
    }

    /// The host keeps its journal in memory, where users have none of their own: root reads theirs.
    fn journal(&self, args: &[&str]) -> Result<String, Failure> {
        let mine = format!("_UID={UID}");
        self.machine.journal(&[&[mine.as_str()], args].concat())
    }
}

fn as_user(argv: &[&str]) -> Vec<String> {
    let runtime = format!("/run/user/{UID}");
    let identity = [format!("--reuid={UID}"), format!("--regid={UID}")];
    let environment = [
        format!("HOME={HOME}"),
        format!("USER={USER}"),
        format!("XDG_RUNTIME_DIR={runtime}"),
        format!("DBUS_SESSION_BUS_ADDRESS=unix:path={runtime}/bus"),
    ];
    let mut all = vec!["setpriv".to_owned()];
    all.extend(identity);
    all.extend(["--init-groups", "--reset-env", "env", "--chdir", HOME].map(str::to_owned));
    all.extend(environment);
    all.extend(argv.iter().map(|&word| word.to_owned()));
    all
}

fn borrow(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}
