//! RabbitMQ as a real unit on a host, and the sample worker beside it.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::fixture::{Host, Setup, until};
use crate::testhost::{Failure, Place};

pub const BROKER: &str = "rabbitmq-server.service";

/// Where the sample worker is on a host.
pub const WORKER: &str = "/usr/bin/sample-worker";

/// RabbitMQ starts in 4 s of CPU; a machine on which ten of them start at once needs more.
const BROKER_LIMIT: Duration = Duration::from_secs(120);

pub const USER: &str = "medic";
pub const PASSWORD: &str = "a secret: é%@/";

/// The same for programs, which take it from the environment.
pub const URL: &str = "amqp://medic:a%20secret%3A%20%C3%A9%25%40%2F@127.0.0.1:5672/%2f";

const LOG: &str = "/var/log/rabbitmq/broker.log";

/// The node is named after a name that every host resolves. A second scheduler would only keep the other core busy.
const ENVIRONMENT: &str = "NODENAME=rabbit@localhost\nSERVER_ADDITIONAL_ERL_ARGS='+S 1:1'\n";

/// Limits for a host whose disk is a tmpfs; no heartbeats, so that a silent loss stays silent; each connection is noted
/// in a log that tests can count in; statistics every second.
const CONFIG: &str = "\
listeners.tcp.default = 5672
loopback_users = none
heartbeat = 0
vm_memory_high_watermark.absolute = 1GiB
disk_free_limit.absolute = 1MB
log.file = broker.log
log.file.level = info
collect_statistics_interval = 1000
load_definitions = /etc/rabbitmq/definitions.json
";

const TLS_CONFIG: &str = "\
listeners.ssl.default = 5671
ssl_options.certfile = /etc/rabbitmq/certificate.pem
ssl_options.keyfile = /etc/rabbitmq/key.pem
ssl_options.verify = verify_none
ssl_options.fail_if_no_peer_cert = false
";

/// A broker before its host boots: which virtual hosts and queues it begins with.
pub struct Broker {
    vhosts: Vec<String>,
    queues: Vec<(String, String)>,
    management: bool,
    tls: Option<Tls>,
}

/// What a broker shows on its TLS port, PEM.
pub struct Tls {
    pub certificate: String,
    pub key: String,
}

impl Broker {
    pub fn new() -> Self {
        Self { vhosts: vec!["/".into()], queues: Vec::new(), management: false, tls: None }
    }

    /// A durable queue in the virtual host `/`.
    pub fn queue(self, name: &str) -> Self {
        self.queue_in("/", name)
    }

    /// A durable queue in a virtual host, which is made if it is not there.
    pub fn queue_in(mut self, vhost: &str, name: &str) -> Self {
        if !self.vhosts.iter().any(|known| known == vhost) {
            self.vhosts.push(vhost.into());
        }
        self.queues.push((vhost.into(), name.into()));
        self
    }

    /// With its HTTP API on 127.0.0.1:15672. It adds to the time of the start.
    pub fn management(mut self) -> Self {
        self.management = true;
        self
    }

    /// Listens with TLS on port 5671 as well.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Imported by the broker when it starts: `rabbitmqctl` would cost a second of CPU for each of these.
    fn definitions(&self) -> String {
        let vhosts: Vec<_> = self.vhosts.iter().map(|name| serde_json::json!({ "name": name })).collect();
        let permissions: Vec<_> = self
            .vhosts
            .iter()
            .map(|vhost| {
                serde_json::json!({ "user": USER, "vhost": vhost, "configure": ".*", "write": ".*", "read": ".*" })
            })
            .collect();
        let queues: Vec<_> = self
            .queues
            .iter()
            .map(|(vhost, name)| {
                serde_json::json!({
                    "name": name, "vhost": vhost, "durable": true, "auto_delete": false, "arguments": {}
                })
            })
            .collect();
        let users = serde_json::json!([{ "name": USER, "password": PASSWORD, "tags": "administrator" }]);
        serde_json::json!({ "users": users, "vhosts": vhosts, "permissions": permissions, "queues": queues })
            .to_string()
    }
}

impl Setup {
    /// RabbitMQ on the host, started and ready before everything else, with the sample worker at [`WORKER`].
    pub fn broker(self, broker: &Broker) -> Self {
        let plugins = if broker.management { "[rabbitmq_management].\n" } else { "[].\n" };
        let setup = match &broker.tls {
            None => self.file("/etc/rabbitmq/rabbitmq.conf", CONFIG),
            Some(tls) => self
                .file("/etc/rabbitmq/rabbitmq.conf", &format!("{CONFIG}{TLS_CONFIG}"))
                .file("/etc/rabbitmq/certificate.pem", &tls.certificate)
                .file("/etc/rabbitmq/key.pem", &tls.key),
        };
        setup
            .file("/etc/rabbitmq/rabbitmq-env.conf", ENVIRONMENT)
            .file("/etc/rabbitmq/enabled_plugins", plugins)
            .file("/etc/rabbitmq/definitions.json", &broker.definitions())
            .program(WORKER, sample_worker())
            .starting_first(BROKER)
    }
}

impl Host {
    /// Starts the broker, and waits until it takes connections: it tells systemd when it is ready.
    pub fn start_broker(&self) -> Result<(), Failure> {
        self.run_for(&["systemctl", "start", BROKER], b"", BROKER_LIMIT)?.success()?;
        Ok(())
    }

    pub fn stop_broker(&self) -> Result<(), Failure> {
        self.run_for(&["systemctl", "stop", BROKER], b"", BROKER_LIMIT)?.success()?;
        Ok(())
    }

    /// Publishes messages `FIRST` to `FIRST + COUNT - 1`, each confirmed by the broker.
    pub fn publish(&self, queue: &str, first: u32, count: u32) -> Result<(), Failure> {
        self.queue_tool(&["publish", URL, queue, &first.to_string(), &count.to_string()])?;
        Ok(())
    }

    pub fn declare(&self, queue: &str) -> Result<(), Failure> {
        self.queue_tool(&["declare", URL, queue])?;
        Ok(())
    }

    pub fn delete_queue(&self, queue: &str) -> Result<(), Failure> {
        self.queue_tool(&["delete", URL, queue])?;
        Ok(())
    }

    /// Ready messages and consumers of a queue, as the broker has them.
    pub fn depth(&self, queue: &str) -> Result<(u32, u32), Failure> {
        let text = self.queue_tool(&["depth", URL, queue])?;
        let (ready, consumers) = text.split_once(' ').ok_or_else(|| Failure::new(text.clone()))?;
        Ok((ready.parse()?, consumers.parse()?))
    }

    pub fn wait_depth(
        &self,
        queue: &str,
        what: &str,
        limit: Duration,
        want: impl Fn(u32, u32) -> bool,
    ) -> Result<(u32, u32), Failure> {
        until(&format!("{queue}: {what}"), limit, || {
            let (ready, consumers) = self.depth(queue)?;
            if want(ready, consumers) {
                Ok((ready, consumers))
            } else {
                Err(Failure::new(format!("{ready} {consumers}")))
            }
        })
    }

    /// Connections that the broker has taken since the host booted, refused ones included. It writes its log with a delay:
    /// the number is final when the broker has stopped.
    pub fn connections_taken(&self) -> Result<usize, Failure> {
        Ok(self.read(LOG)?.matches("accepting AMQP connection").count())
    }

    fn queue_tool(&self, args: &[&str]) -> Result<String, Failure> {
        self.run(&[&[WORKER], args].concat())?.success()
    }
}

/// One line of the file in which workers write what they handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handled {
    pub message: String,
    pub tag: u64,
    pub redelivered: bool,
    pub pid: u32,
}

/// What all workers that share the file have handled, in order.
pub fn handled(place: &impl Place, path: &str) -> Result<Vec<Handled>, Failure> {
    let text = place.sh(&format!("touch {path}; cat {path}"))?;
    let parse = |line: &str| -> Option<Handled> {
        let mut words = line.split(' ');
        Some(Handled {
            message: words.next()?.into(),
            tag: words.next()?.parse().ok()?,
            redelivered: words.next()?.parse().ok()?,
            pid: words.next()?.parse().ok()?,
        })
    };
    text.lines().map(|line| parse(line).ok_or_else(|| Failure::new(format!("{path}: {line}")))).collect()
}

/// The unit of a sample worker, `%i` and the like included: what is not in `environment` has the worker's default.
/// Its control directory is `/run/worker/UNIT`, what it handled is in `/run/worker/results`.
pub fn worker_unit(queue: &str, environment: &str, service: &str) -> String {
    let extra: String = environment.lines().map(|line| format!("Environment=\"{line}\"\n")).collect();
    format!(
        "[Service]\nType=notify\nExecStart={WORKER} consume\nRuntimeDirectory=worker\nRuntimeDirectoryPreserve=yes\n\
         Environment=\"AMQP_URL={}\"\nEnvironment=QUEUE={queue}\nEnvironment=RESULTS=/run/worker/results\n\
         Environment=CONTROL=/run/worker/%n\n{extra}{service}",
        URL.replace('%', "%%")
    )
}

/// Tells the worker of a unit to misbehave, or with `None` to stop that.
pub fn control(place: &impl Place, unit: &str, what: &str, value: Option<&str>) -> Result<(), Failure> {
    let path = format!("/run/worker/{unit}/{what}");
    match value {
        Some(value) => place.write(&path, value),
        None => place.sh(&format!("rm -f {path}")).map(drop),
    }
}

/// The program in `tests/worker`. `cargo test --test host` does not build examples, so the first who asks does.
pub fn sample_worker() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build().unwrap_or_else(|error| panic!("the sample worker cannot be built: {error}"))).clone()
}

/// This program is `TARGET/PROFILE/deps/host-HASH`; the example comes to `TARGET/PROFILE/examples`.
fn build() -> Result<PathBuf, Failure> {
    let me = env::current_exe()?;
    let profile = me.ancestors().nth(2).ok_or("the test program has no directory")?;
    let target = profile.parent().ok_or("no target directory")?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--locked", "--example", "worker", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    // What cargo tells the tests about their package would make it build anew what its build scripts have read.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"].iter().any(|prefix| text.starts_with(prefix))
        {
            cargo.env_remove(&name);
        }
    }
    if profile.file_name().is_some_and(|name| name == "release") {
        cargo.arg("--release");
    }
    let output = cargo.output()?;
    if !output.status.success() {
        return Err(Failure::new(String::from_utf8_lossy(&output.stderr)));
    }
    Ok(profile.join("examples/worker"))
}
