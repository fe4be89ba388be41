//! A host with workers, and unitmedic on it as `unitmedic.service`, installed as a package would.

use std::fmt::Display;
use std::ops::Deref;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;
use unitmedic::model::history::Recovery;
use unitmedic::model::status::{Explanation, InstanceStatus, Status};
use unitmedic::model::{Health, Incident, Resolution};

use crate::testhost::{Failure, Machine, Output, Place, UserSession, installed, wait_for};

/// For things that take milliseconds, on a machine that has other work.
pub const LIMIT: Duration = Duration::from_secs(20);

/// For what is slow to start (RabbitMQ: 4 s of CPU) on a machine that has other work.
const FIRST_LIMIT: Duration = Duration::from_secs(120);

/// Each look at the daemon is a process.
const LOOK_PAUSE: Duration = Duration::from_millis(40);

pub const CONFIG: &str = "/etc/unitmedic/unitmedic.toml";
/// Before a command: by hand as the user that the service has, for root may not start among its files.
pub const AS_THE_DAEMON: &[&str] = &["setpriv", "--reuid", "unitmedic", "--regid", "unitmedic", "--init-groups"];
pub const DAEMON: &str = "unitmedic.service";

/// Spans short enough to wait for.
const SHORT_SPANS: &str = "\
[daemon]
health_check_interval = \"1s\"
record_bytes = \"1M\"

[guard]
boot_grace = 0

[defaults]
verify_dead_for = \"1s\"
verify_for = \"1s\"
backoff = \"200ms\"
restart_cooldown = \"2s\"
";

/// A worker that does what it should, for as long as it is let.
pub const SLEEPER: &str = "[Service]\nExecStart=sleep infinity\n";

/// The worker by which a host shows that unitmedic is awake; see [`Host::prove_awake`].
const CANARY: &str = "canary.service";

/// A host before it boots.
pub struct Setup {
    name: String,
    config: String,
    files: Vec<(String, String)>,
    programs: Vec<(String, PathBuf)>,
    first: Option<String>,
    starts: Vec<String>,
}

impl Setup {
    pub fn new(name: &str) -> Self {
        let setup = Self {
            name: name.into(),
            config: SHORT_SPANS.into(),
            files: Vec::new(),
            programs: Vec::new(),
            first: None,
            starts: Vec::new(),
        };
        setup.worker("canary", CANARY, SLEEPER)
    }

    /// A worker of one unit, or of a template with the instances to be named by [`Setup::starting`]. One unit is
    /// started before unitmedic.
    pub fn worker(self, name: &str, unit: &str, text: &str) -> Self {
        self.worker_with(name, unit, text, "")
    }

    /// `settings` are further lines of its table.
    pub fn worker_with(self, name: &str, unit: &str, text: &str, settings: &str) -> Self {
        let setup = self.idle_worker(name, unit, text, settings);
        if unit.contains('@') { setup } else { setup.starting(unit) }
    }

    /// A worker that is not started.
    pub fn idle_worker(mut self, name: &str, unit: &str, text: &str, settings: &str) -> Self {
        self.config += &format!("\n[worker.{name}]\nunit = \"{unit}\"\n{settings}\n");
        self.unit(unit, text)
    }

    /// A unit, watched or not.
    pub fn unit(self, name: &str, text: &str) -> Self {
        self.file(&format!("/etc/systemd/system/{name}"), text)
    }

    pub fn file(mut self, path: &str, text: &str) -> Self {
        self.files.push((path.into(), text.into()));
        self
    }

    /// Copies a program of this machine.
    pub fn program(mut self, path: &str, source: PathBuf) -> Self {
        self.programs.push((path.into(), source));
        self
    }

    /// What others need: started, and ready, before them. It may take its time.
    pub fn starting_first(mut self, unit: &str) -> Self {
        self.first = Some(unit.into());
        self
    }

    /// What is started before unitmedic is.
    pub fn starting(mut self, unit: &str) -> Self {
        self.starts.push(unit.into());
        self
    }

    /// Boots the host and starts the workers. unitmedic is installed, and does not run.
    pub fn boot(self) -> Result<Host, Failure> {
        let mut builder =
            Machine::builder(&self.name).installed(env!("CARGO_BIN_EXE_unitmedic")).file(CONFIG, &self.config);
        for (path, text) in &self.files {
            builder = builder.file(path, text);
        }
        for (path, source) in self.programs {
            builder = builder.program(&path, source);
        }
        let host = Host { machine: builder.boot()?, config: self.config, done: false };
        installed::settle(&host.machine)?;
        if let Some(first) = &self.first {
            host.run_for(&["systemctl", "start", first], b"", FIRST_LIMIT)?.success()?;
        }
        let starts: Vec<&str> = self.starts.iter().map(String::as_str).collect();
        host.ctl(&[&["start"], starts.as_slice()].concat())?;
        Ok(host)
    }

    /// Boots the host, starts the workers, then unitmedic, and waits until it watches.
    pub fn start(self) -> Result<Host, Failure> {
        let host = self.boot()?;
        host.start_daemon()?;
        Ok(host)
    }
}

/// A host that runs. A test ends with [`Host::done`]; one that ends otherwise shows what the daemon had to say.
pub struct Host {
    machine: Machine,
    pub config: String,
    done: bool,
}

impl Deref for Host {
    type Target = Machine;
    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if !self.done {
            eprintln!("{}", self.last_words());
        }
    }
}

impl Host {
    /// One that was set up in another way.
    pub fn of(machine: Machine) -> Self {
        Self { machine, config: String::new(), done: false }
    }

    pub fn done(mut self) -> Result<(), Failure> {
        self.done = true;
        Ok(())
    }

    /// `systemctl start` returns with READY=1, and that comes with the first snapshot.
    pub fn start_daemon(&self) -> Result<(), Failure> {
        self.ctl(&["start", DAEMON])?;
        let status = self.status()?;
        if status.ready { Ok(()) } else { Err(format!("READY=1, but {:?}", status.not_ready).into()) }
    }

    fn last_words(&self) -> String {
        let told = |argv: &[&str]| match self.machine.run_for(argv, b"", Duration::from_secs(5)) {
            Ok(output) => format!("--- {}\n{}{}", argv.join(" "), output.stdout, output.stderr),
            Err(error) => format!("--- {error}\n"),
        };
        let journal = ["journalctl", "--no-pager", "--quiet", "--lines=150", "--output=short-precise"];
        told(&["unitmedic", "status"])
            + &told(&["unitmedic", "incidents"])
            + &told(&["systemctl", "list-units", "--all", "--failed", "--no-legend"])
            + &told(&journal)
            + "---"
    }

    /// Runs `unitmedic` with these arguments.
    pub fn unitmedic(&self, args: &[&str]) -> Result<Output, Failure> {
        self.run(&[&["unitmedic"], args].concat())
    }

    pub fn json<T: DeserializeOwned>(&self, args: &[&str]) -> Result<T, Failure> {
        read_json(&self.machine, args)
    }

    pub fn status(&self) -> Result<Status, Failure> {
        self.json(&["status", "--json"])
    }

    pub fn instance(&self, unit: &str) -> Result<InstanceStatus, Failure> {
        let status = self.status()?;
        let mut all = status.workers.into_iter().flat_map(|worker| worker.instances);
        all.find(|instance| instance.unit.as_str() == unit).ok_or(Failure::new(format!("{unit} is not in the status")))
    }

    /// Newest first.
    pub fn incidents(&self, unit: &str) -> Result<Vec<Incident>, Failure> {
        self.json(&["incidents", "--json", "--unit", unit])
    }

    pub fn history(&self) -> Result<Vec<Recovery>, Failure> {
        self.json(&["history", "--json", "--limit", "1000"])
    }

    pub fn explain(&self, unit: &str) -> Result<Explanation, Failure> {
        let mut all: Vec<Explanation> = self.json(&["explain", "--json", unit])?;
        match (all.pop(), all.is_empty()) {
            (Some(one), true) => Ok(one),
            _ => Err(format!("{unit}: not one explanation").into()),
        }
    }

    /// The activation of a unit; another one means that somebody started it anew.
    pub fn activation(&self, unit: &str) -> Result<String, Failure> {
        self.property(unit, "InvocationID")
    }

    /// Kills the main process.
    pub fn kill(&self, unit: &str) -> Result<(), Failure> {
        let pid = self.main_pid(unit)?;
        self.sh(&format!("kill -KILL {pid}"))?;
        Ok(())
    }

    pub fn wait_instance(
        &self,
        unit: &str,
        what: &str,
        want: impl Fn(&InstanceStatus) -> bool,
    ) -> Result<InstanceStatus, Failure> {
        until(&format!("{unit}: {what}"), LIMIT, || {
            let instance = self.instance(unit)?;
            if want(&instance) { Ok(instance) } else { Err(Failure::new(format!("{instance:?}"))) }
        })
    }

    pub fn wait_health(&self, unit: &str, health: Health) -> Result<InstanceStatus, Failure> {
        self.wait_instance(unit, health.as_str(), |instance| instance.health == health)
    }

    /// Waits until the unit has had `count` incidents and the last one is closed; returns that one.
    pub fn wait_closed(&self, unit: &str, count: usize) -> Result<Incident, Failure> {
        until(&format!("incident {count} of {unit} is closed"), LIMIT, || {
            let incidents = self.incidents(unit)?;
            let last = incidents.first().filter(|last| incidents.len() == count && !last.is_open());
            last.cloned().ok_or_else(|| Failure::new(format!("{incidents:#?}")))
        })
    }

    /// Waits until the last of the unit's `count` incidents is closed, which an action of ours must have done.
    pub fn wait_recovered(&self, unit: &str, count: usize) -> Result<Incident, Failure> {
        let incident = self.wait_closed(unit, count)?;
        let active = self.property(unit, "ActiveState")?;
        if incident.resolution == Some(Resolution::Recovered) && active == "active" {
            return Ok(incident);
        }
        Err(Failure::new(format!("{unit} is {active}, its incident ended otherwise: {incident:#?}")))
    }

    /// Kills a worker that must be brought back. When that has been proven, whatever was to be done for others at
    /// the time of this call has been done, or will not be done.
    pub fn prove_awake(&self) -> Result<(), Failure> {
        let closed = self.incidents(CANARY)?.len();
        let reopened = self.incidents(CANARY)?.first().map_or(0, |incident| incident.reopened);
        self.kill(CANARY)?;
        until("the canary is brought back", LIMIT, || {
            let incidents = self.incidents(CANARY)?;
            let last = incidents.first().filter(|last| !last.is_open());
            let new = last.is_some_and(|last| incidents.len() > closed || last.reopened > reopened);
            if new { Ok(()) } else { Err(Failure::new(format!("{incidents:#?}"))) }
        })
    }

    /// No order for the unit has been given to systemd.
    pub fn assert_untouched(&self, unit: &str) -> Result<(), Failure> {
        let acted: Vec<Incident> =
            self.incidents(unit)?.into_iter().filter(|incident| !incident.attempts.is_empty()).collect();
        let restarts = self.instance(unit)?.restarts;
        let orders = self.journal(&["UNITMEDIC_EVENT=attempt_acted", &format!("UNITMEDIC_UNIT={unit}")])?;
        if acted.is_empty() && !restarts.contains_key("unitmedic") && orders.is_empty() {
            return Ok(());
        }
        Err(Failure::new(format!("{unit} was touched: {restarts:?}\n{orders}\n{acted:#?}")))
    }

    /// Down, known to be so on purpose, and left alone.
    pub fn assert_left_stopped(&self, unit: &str) -> Result<(), Failure> {
        let state = self.property(unit, "ActiveState")?;
        let instance = self.instance(unit)?;
        if matches!(state.as_str(), "inactive" | "failed") && instance.health == Health::Stopped {
            return Ok(());
        }
        Err(Failure::new(format!("{unit} is {state}: {instance:#?}")))
    }

    /// Body of an HTTP answer of the daemon's port, with its status.
    pub fn http(&self, path: &str) -> Result<(u16, String), Failure> {
        let url = format!("http://127.0.0.1:10119{path}");
        let text = self.run(&["curl", "-sS", "-w", "\n%{http_code}", &url])?.success()?;
        let (body, code) = text.rsplit_once('\n').ok_or("curl prints the status")?;
        Ok((code.parse()?, body.to_owned()))
    }

    /// The value of a series, written as in the exposition; `None`: it is not there.
    pub fn metric(&self, series: &str) -> Result<Option<f64>, Failure> {
        let (_, text) = self.http("/metrics")?;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map(|value| value.parse().map_err(|_| Failure::new(format!("{series} {value}")))).transpose()
    }

    pub fn session(&self) -> Result<UserSession<'_>, Failure> {
        self.user_session()
    }
}

pub fn read_json<T: DeserializeOwned>(place: &impl Place, args: &[&str]) -> Result<T, Failure> {
    let text = place.run(&[&["unitmedic"], args].concat())?.success()?;
    serde_json::from_str(&text).map_err(|error| Failure::new(format!("{args:?}: {error}\n{text}")))
}

/// [`wait_for`] with a pause that lets the host do its work.
pub fn until<T, E: Display>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T, E>) -> Result<T, Failure> {
    wait_for(what, limit, || look().inspect_err(|_| thread::sleep(LOOK_PAUSE)))
}

/// A check that shows what it saw.
pub fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::new(what())) }
}
