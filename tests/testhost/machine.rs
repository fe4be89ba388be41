//! A throwaway host: boot, reach into it, end it.

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::bounded::{Output, run_bounded, wait_until};
use super::cgroup::{self, Cgroup};
use super::installed;
use super::owner;
use super::place::{Failure, Place, wait_for};
use super::running::Running;
use super::session::UserSession;
use super::support;

/// A host boots in half a second; a machine with ten of them booting at once on two cores needs more.
const BOOT_LIMIT: Duration = Duration::from_secs(60);

/// How long a host may take to shut down by itself before it is killed. It needs 0.15 s; a unit under test that
/// ignores SIGTERM would need its whole stop timeout, and is not worth waiting for.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

const GUARD: &str = include_str!("guard.sh");

/// Joins the host's cgroup, then its namespaces. `$0` is the cgroup, `$1` the host's PID 1, the rest the command.
const ENTER: &str = "echo 0 > \"$0/cgroup.procs\" && leader=$1 && shift &&
    exec nsenter --target \"$leader\" --all -- env -i HOME=/root USER=root LANG=C.UTF-8 TERM=dumb \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_COLORS=0 SYSTEMD_PAGER= \"$@\"";

/// A running host. Dropping it, also in a panic, ends it and removes all of it.
pub struct Machine {
    name: String,
    mark: String,
    work: PathBuf,
    cgroup: Cgroup,
    guard: Mutex<Child>,
    /// The host's PID 1, as this machine counts. Valid while the guard lives, which reaps it.
    leader: u32,
    boot_time: Duration,
    next_log: AtomicU32,
}

/// What a host is made of, before it boots.
pub struct Builder {
    name: String,
    /// Where its root comes from; nothing is written there.
    tree: PathBuf,
    files: Vec<(&'static str, Source, String)>,
    private_network: bool,
}

enum Source {
    Text(String),
    File(PathBuf),
}

impl Builder {
    /// Boots another system than this machine's, such as that of [`debian`](super::debian).
    pub fn tree(mut self, root: impl AsRef<Path>) -> Self {
        self.tree = root.as_ref().to_owned();
        self
    }

    /// Puts the program under test at `/usr/bin/unitmedic`. It is copied: a target directory on another mount cannot
    /// be seen through the overlay.
    pub fn binary(self, path: impl AsRef<Path>) -> Self {
        self.program("/usr/bin/unitmedic", path)
    }

    /// unitmedic as a package installs it, but for what [`installed::settle`] does when the host runs.
    pub fn installed(mut self, program: impl AsRef<Path>) -> Self {
        for (target, text) in installed::FILES {
            self = self.file(target, text);
        }
        self.binary(program)
    }

    /// Copies a program of this machine into the host.
    pub fn program(mut self, target: &str, source: impl AsRef<Path>) -> Self {
        let source = Source::File(source.as_ref().to_owned());
        self.files.push(("0755", source, target.to_owned()));
        self
    }

    /// Writes a file before systemd starts. (Not below `/run` and `/tmp`, which the host mounts afresh.)
    pub fn file(mut self, target: &str, text: &str) -> Self {
        let source = Source::Text(text.to_owned());
        self.files.push(("0644", source, target.to_owned()));
        self
    }

    /// Leaves the host on this machine's network. By default it has a loopback of its own and nothing else.
    pub fn shared_network(mut self) -> Self {
        self.private_network = false;
        self
    }

    /// Boots the host, and waits until its systemd has started everything.
    pub fn boot(self) -> Result<Machine, Failure> {
        support::supported()?;
        sweep_once();
        let started = Instant::now();
        let mark = owner::new_name();
        let work = env::temp_dir().join(&mark);
        fs::create_dir_all(work.join("mount"))?;
        self.stage(&work)?;
        let cgroup = Cgroup::create(&mark)?;
        let guard = self.start_guard(&work, &cgroup)?;
        let mut machine = Machine {
            name: self.name,
            mark,
            work,
            cgroup,
            guard: Mutex::new(guard),
            leader: 0,
            boot_time: Duration::ZERO,
            next_log: AtomicU32::new(1),
        };
        machine.wait_until_up()?;
        machine.boot_time = started.elapsed();
        Ok(machine)
    }

    /// Lays out the files for the guard, with a list of mode, source and target.
    fn stage(&self, work: &Path) -> Result<(), Failure> {
        let mut list = String::new();
        for (number, (mode, source, target)) in self.files.iter().enumerate() {
            let source = match source {
                Source::File(path) => {
                    fs::canonicalize(path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?
                }
                Source::Text(text) => {
                    let path = work.join(format!("file-{number}"));
                    fs::write(&path, text)?;
                    path
                }
            };
            let _ = writeln!(list, "{mode}\t{}\t{target}", source.display());
        }
        fs::write(work.join("files"), list)?;
        Ok(())
    }

    fn start_guard(&self, work: &Path, cgroup: &Cgroup) -> Result<Child, Failure> {
        let log = File::create(work.join("guard"))?;
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", GUARD, "guard"])
            .args([work, cgroup.directory()])
            .arg(&self.name)
            .arg(&self.tree)
            .args(self.private_network.then_some("--private-network"))
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is for the test alone: the host ends in order when the guard's input closes.
            .process_group(0);
        command.spawn().map_err(|error| Failure::new(format!("cannot start `unshare`: {error}")))
    }
}

impl Machine {
    /// Whether a host can run here; else the reason, for a person.
    pub fn supported() -> Result<(), String> {
        support::supported()
    }

    pub fn builder(name: &str) -> Builder {
        Builder { name: name.to_owned(), tree: "/".into(), files: Vec::new(), private_network: true }
    }

    /// A host without the program under test, named `name`. Names need not differ.
    pub fn boot(name: &str) -> Result<Self, Failure> {
        Self::builder(name).boot()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What everything on the outer machine that belongs to this host is named: its directory and its cgroup.
    pub fn mark(&self) -> String {
        self.mark.clone()
    }

    /// From the request to a systemd that has started everything.
    pub fn boot_time(&self) -> Duration {
        self.boot_time
    }

    /// The host's PID 1 as this machine counts, for `nsenter` and for network links between hosts.
    pub fn leader(&self) -> u32 {
        self.leader
    }

    /// Starts a command that keeps running, with its output in files.
    pub fn spawn(&self, argv: &[&str]) -> Result<Running, Failure> {
        self.check_alive()?;
        let number = self.next_log.fetch_add(1, Ordering::Relaxed);
        Running::start(self.enter(argv), &argv.join(" "), &self.work.join(format!("run-{number}")))
    }

    /// A user of the host, logged in, whose own manager (`systemd --user`) runs.
    pub fn user_session(&self) -> Result<UserSession<'_>, Failure> {
        UserSession::open(self)
    }

    /// What systemd printed on its console.
    pub fn console(&self) -> String {
        let read = |name| fs::read_to_string(self.work.join(name)).unwrap_or_default();
        read("guard") + &read("console")
    }

    /// Ends the host at once, as a power cut would.
    pub fn power_cut(self) -> Result<(), Failure> {
        self.cgroup.end()
    }

    fn enter(&self, argv: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", ENTER]).arg(self.cgroup.init_scope()).arg(self.leader.to_string()).args(argv);
        command
    }

    fn wait_until_up(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + BOOT_LIMIT;
        let up = self.find_leader().and_then(|leader| {
            self.leader = leader;
            let left = deadline.saturating_duration_since(Instant::now());
            wait_for("systemd has started", left, || self.look_up(left))
        });
        up.map_err(|error| {
            let name = &self.name;
            Failure::new(format!("host {name} did not boot: {error}\n{}", self.console()))
        })
    }

    /// The bus comes up during boot; until then the call fails.
    fn look_up(&self, limit: Duration) -> Result<(), Failure> {
        let output = self.run_for(&["systemctl", "is-system-running", "--wait"], b"", limit)?;
        match output.stdout.trim() {
            "running" | "degraded" => Ok(()),
            state => Err(Failure::new(format!("{state} {}", output.stderr))),
        }
    }

    /// systemd moves itself to `init.scope` once it runs in the host's root, so whoever is PID 1 there is ready to be
    /// entered.
    fn find_leader(&self) -> Result<u32, Failure> {
        wait_for("systemd runs", BOOT_LIMIT, || {
            let ended = self.ended();
            let members = fs::read_to_string(self.cgroup.init_scope().join("cgroup.procs")).unwrap_or_default();
            match members.lines().filter_map(|pid| pid.parse().ok()).find(|pid| is_init(*pid)) {
                Some(leader) => Ok(Ok(leader)),
                None if ended => Ok(Err(Failure::from("systemd-nspawn ended"))),
                None => Err("no process in init.scope"),
            }
        })?
    }

    fn ended(&self) -> bool {
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        !matches!(guard.try_wait(), Ok(None))
    }

    /// Entering by number is safe only while the guard holds the number.
    fn check_alive(&self) -> Result<(), Failure> {
        if self.ended() {
            return Err(Failure::new(format!("host {} has ended\n{}", self.name, self.console())));
        }
        Ok(())
    }

    /// A failed test's reader wants to know what the host was doing.
    fn show_last_words(&self) {
        let args = ["journalctl", "--no-pager", "--quiet", "--lines=40", "--output=short-precise"];
        match self.run_for(&args, b"", Duration::from_secs(5)) {
            Ok(output) => eprintln!("--- journal of host {}\n{}---", self.name, output.stdout),
            Err(error) => eprintln!("--- host {}: {error}", self.name),
        }
    }
}

impl Place for Machine {
    fn run_for(&self, argv: &[&str], stdin: &[u8], limit: Duration) -> Result<Output, Failure> {
        self.check_alive()?;
        run_bounded(self.enter(argv), &argv.join(" "), stdin, limit)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() && self.leader != 0 {
            self.show_last_words();
        }
        let guard = self.guard.get_mut().unwrap_or_else(PoisonError::into_inner);
        // The guard sends SIGTERM to systemd-nspawn when its input closes.
        drop(guard.stdin.take());
        let _ = wait_until(guard, Instant::now() + SHUTDOWN_LIMIT);
        let ended = self.cgroup.end();
        let _ = guard.kill();
        let _ = guard.wait();
        if let Err(error) = ended {
            eprintln!("host {}: {error}", self.name);
        }
        let _ = fs::remove_dir_all(&self.work);
    }
}

/// In its own process namespace the host's first process has number 1.
fn is_init(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|numbers| numbers.split_whitespace().next_back() == Some("1"))
}

fn sweep_once() {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(sweep);
}

/// Removes what earlier runs left behind whose process died without a chance to clean up. Their mounts went with the
/// guard's namespace, so the directories hold plain files.
pub fn sweep() {
    cgroup::sweep();
    let directory = env::temp_dir();
    for name in owner::leftovers(&directory) {
        let _ = fs::remove_dir_all(directory.join(name));
    }
}
