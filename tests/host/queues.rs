//! Queues of a real RabbitMQ.

mod reader;

use std::time::Duration;

use unitmedic::model::Condition;
use unitmedic::model::signal::{QueueDepth, QueueState};

use crate::broker::{Broker, PASSWORD, control, handled, worker_unit};
use crate::fixture::{CONFIG, DAEMON, Host, LIMIT, SLEEPER, Setup, ensure, until};
use crate::testhost::{Failure, Place};

use crate::tls::Authority;
use reader::Reader;

const RESULTS: &str = "/run/worker/results";
const URL: &str = "amqp://127.0.0.1";

#[test]
fn the_sample_worker_handles_each_message_and_drains() -> Result<(), Failure> {
    let host = Setup::new("worker")
        .broker(&Broker::new().queue("tasks"))
        .unit("tasks@.service", &worker_unit("tasks", "WORK_MS=0", ""))
        .boot()?;
    host.publish("tasks", 0, 200)?;
    ensure(host.depth("tasks")? == (200, 0), || "200 messages, no consumer".into())?;
    host.ctl(&["start", "tasks@1.service", "tasks@2.service"])?;
    host.wait_depth("tasks", "empty, two consumers", LIMIT, |ready, consumers| (ready, consumers) == (0, 2))?;
    until("200 are handled", LIMIT, || {
        let count = handled(&*host, RESULTS)?.len();
        if count == 200 { Ok(()) } else { Err(Failure::new(count.to_string())) }
    })?;
    // It finishes the message in hand before it ends.
    control(&*host, "tasks@1.service", "work-ms", Some("1500"))?;
    host.ctl(&["stop", "tasks@2.service"])?;
    host.publish("tasks", 200, 2)?;
    host.wait_depth("tasks", "one in hand", LIMIT, |ready, _| ready == 1)?;
    host.ctl(&["stop", "tasks@1.service"])?;
    ensure(host.property("tasks@1.service", "Result")? == "success", || "a drained worker succeeds".into())?;
    let all = handled(&*host, RESULTS)?;
    let mut ids: Vec<u32> = all.iter().filter_map(|one| one.message.parse().ok()).collect();
    ids.sort_unstable();
    ensure(ids == (0..=200).collect::<Vec<_>>(), || format!("{all:?}"))?;
    ensure(host.depth("tasks")? == (1, 0), || "the other one stays in the queue".into())?;
    host.done()
}

#[test]
fn ready_messages_and_consumers_are_read_of_each_virtual_host() -> Result<(), Failure> {
    let host = Setup::new("depth")
        .broker(&Broker::new().queue("tasks").queue_in("a/b é", "tasks2"))
        .unit("tasks@.service", &worker_unit("tasks", "PREFETCH=3", ""))
        .boot()?;
    let queues = [(None, "tasks"), (Some("a/b é"), "tasks2"), (None, "late"), (Some("nowhere"), "x")];
    let reader = Reader::start(&host, URL, &queues)?;
    reader.wait_known("tasks", 0, 0)?;
    reader.wait_known("tasks2", 0, 0)?;
    // A virtual host that is not there has its own connection, and disturbs no other.
    reader.wait_unknown("x", "vhost nowhere not found")?;

    // A queue that appears later, and one that goes.
    reader.wait_unknown("late", "there is no queue late in vhost /")?;
    host.declare("late")?;
    reader.wait_known("late", 0, 0)?;
    host.delete_queue("late")?;
    reader.wait_unknown("late", "there is no queue late in vhost /")?;

    // What a consumer holds is not ready.
    host.publish("tasks", 0, 10)?;
    reader.wait_known("tasks", 10, 0)?;
    control(&*host, "tasks@1.service", "stop-acking", Some(""))?;
    host.ctl(&["start", "tasks@1.service"])?;
    reader.wait_known("tasks", 7, 1)?;
    reader.wait_known("tasks2", 0, 0)?;

    // The URL names the virtual host too, and a connection that nobody needs is closed.
    reader.reload(&format!("{URL}/a%2fb%20%C3%A9"), &[(None, "tasks2")], None)?;
    reader.wait_known("tasks2", 0, 0)?;
    until("one connection is left", LIMIT, || {
        let left =
            host.sh("rabbitmqctl --quiet list_connections user client_properties | grep -c unitmedic || true")?;
        if left == "1" { Ok(()) } else { Err(Failure::from(left)) }
    })?;
    host.done()
}

#[test]
fn a_broker_that_is_away_is_not_stormed() -> Result<(), Failure> {
    let host = Setup::new("away").broker(&Broker::new().queue("tasks")).boot()?;
    let reader = Reader::start(&host, URL, &[(None, "tasks")])?;
    reader.wait_known("tasks", 0, 0)?;
    ensure(reader.attempts() == 1, || format!("{} attempts", reader.attempts()))?;

    host.stop_broker()?;
    reader.wait_unknown("tasks", "127.0.0.1:5672")?;
    host.start_broker()?;
    reader.wait("tasks", "known again", Duration::from_secs(60), |state| matches!(state, QueueState::Known(_)))?;
    // 1 + 2 + 4 + 8 + 16 + 32 s of pauses are longer than any restart.
    ensure(reader.attempts() <= 7, || format!("{} attempts", reader.attempts()))?;

    // A refused login: the next attempt reads the password anew.
    reader.set_password("wrong")?;
    host.stop_broker()?;
    host.start_broker()?;
    let limit = Duration::from_secs(60);
    reader.wait("tasks", "refused", limit, |state| {
        *state == QueueState::Unknown { why: "127.0.0.1:5672 refuses the login of user medic".into() }
    })?;
    reader.set_password(PASSWORD)?;
    reader.wait("tasks", "known at last", limit, |state| matches!(state, QueueState::Known(_)))?;
    ensure(reader.attempts() <= 14, || format!("{} attempts", reader.attempts()))?;

    // The broker's log is complete when it has stopped. The first login, the one after the restart, a refused one, the
    // last, and up to four that met the broker while it came up or had the wrong password.
    host.stop_broker()?;
    let taken = host.connections_taken()?;
    ensure((4..=8).contains(&taken), || format!("{taken} connections"))?;
    host.done()
}

#[test]
fn the_management_api_adds_what_a_declare_does_not_tell() -> Result<(), Failure> {
    let host = Setup::new("management")
        .broker(&Broker::new().queue("tasks").management())
        .unit("tasks@.service", &worker_unit("tasks", "PREFETCH=3\nWORK_MS=0", ""))
        .boot()?;
    let reader = Reader::start(&host, URL, &[(None, "tasks")])?;
    reader.reload(URL, &[(None, "tasks")], Some("http://127.0.0.1:15672"))?;
    host.publish("tasks", 0, 5)?;
    host.ctl(&["start", "tasks@1.service"])?;
    let known = |want: fn(&QueueDepth) -> bool| move |state: &QueueState| matches!(state, QueueState::Known(depth) if want(depth));
    reader.wait("tasks", "5 acknowledged", LIMIT, known(|depth| depth.acknowledged_total == Some(5)))?;
    control(&*host, "tasks@1.service", "stop-acking", Some(""))?;
    host.publish("tasks", 5, 10)?;
    let full = |depth: &QueueDepth| depth.ready == 7 && depth.consumers == 1 && depth.unacknowledged == Some(3);
    reader.wait("tasks", "3 unacknowledged", LIMIT, known(full))?;
    reader.wait("tasks", "a rate", LIMIT, known(|depth| depth.publish_rate.is_some()))?;

    // Without it the rest stands.
    reader.reload(URL, &[(None, "tasks")], Some("http://127.0.0.1:9"))?;
    reader.wait_known("tasks", 7, 1)?;
    host.done()
}

#[test]
fn tls_trusts_whom_the_configuration_names_and_nobody_else() -> Result<(), Failure> {
    let (house, other) = (Authority::new()?, Authority::new()?);
    let host = Setup::new("tls").broker(&Broker::new().queue("tasks").tls(house.signs("localhost")?)).boot()?;
    host.publish("tasks", 0, 4)?;
    let queues = [(None, "tasks")];
    let reader = Reader::start(&host, "amqps://localhost", &queues)?;
    reader.wait_unknown("tasks", "UnknownIssuer")?;
    let trusting = |url: &str, file: std::path::PathBuf| {
        reader.reload_with(url, &queues, |worker| worker.amqp_ca_file = Some(file.clone()))
    };
    // Of the same name, and not the same.
    trusting("amqps://localhost", other.file())?;
    reader.wait_unknown("tasks", "BadSignature")?;
    trusting("amqps://localhost", house.file())?;
    reader.wait_known("tasks", 4, 0)?;
    trusting("amqps://127.0.0.1", house.file())?;
    reader.wait_unknown("tasks", "certificate not valid for name")?;
    trusting("amqps://localhost", reader.password_file())?;
    reader.wait_unknown("tasks", "holds no certificate")?;
    trusting("amqps://localhost", "/no/such/file".into())?;
    reader.wait_unknown("tasks", "amqp_ca_file /no/such/file cannot be read")?;
    // TLS where none is spoken.
    trusting("amqps://localhost:5672", house.file())?;
    reader.wait_unknown("tasks", "localhost:5672")?;
    host.done()
}

/// Settings of a worker whose queue is `tasks`.
const TASKS: &str = "queues = [\"tasks\"]\namqp_url = \"amqp://127.0.0.1\"\namqp_user = \"medic\"\n\
                     amqp_password_file = \"/etc/unitmedic/amqp-password\"\nstart_timeout = \"2s\"\n";

#[test]
fn the_daemon_sees_a_queue_that_nobody_consumes_and_shows_no_password() -> Result<(), Failure> {
    let host = Setup::new("daemon")
        .broker(&Broker::new().queue("tasks"))
        .file("/etc/unitmedic/amqp-password", PASSWORD)
        .worker("mail", "mail.service", SLEEPER)
        .start()?;
    let before = rss(&host)?;
    // Nothing is to be done about it here.
    let config = host.config.replace("[daemon]\n", "[daemon]\ndry_run = true\n");
    let config = config.replace("unit = \"mail.service\"\n", &format!("unit = \"mail.service\"\n{TASKS}"));
    host.write(CONFIG, &config)?;
    host.ctl(&["reload", DAEMON])?;
    host.publish("tasks", 0, 5)?;
    host.wait_instance("mail.service", "no_consumer", |instance| {
        instance.conditions.contains_key(&Condition::NoConsumer)
    })?;
    let pid = host.main_pid(DAEMON)?;
    let threads = host.sh(&format!("cat /proc/{pid}/task/*/comm | grep -c lapin"))?;
    ensure(threads == "1", || format!("{threads} threads of lapin"))?;
    eprintln!("a connection: {before} kB to {} kB, {threads} thread", rss(&host)?);

    // Nothing of it is where others can look, not even when everything is logged.
    host.write("/etc/systemd/system/unitmedic.service.d/trace.conf", "[Service]\nEnvironment=UNITMEDIC_LOG=trace\n")?;
    host.ctl(&["daemon-reload"])?;
    host.ctl(&["restart", DAEMON])?;
    host.wait_instance("mail.service", "no_consumer again", |instance| {
        instance.conditions.contains_key(&Condition::NoConsumer)
    })?;
    host.stop_broker()?;
    until("the loss is told", LIMIT, || {
        let log = host.journal(&["--unit", DAEMON])?;
        if log.contains("cannot be read; trying again") { Ok(()) } else { Err(Failure::new("not yet")) }
    })?;
    let log = host.journal(&["--unit", DAEMON, "--output=json"])?;
    let all = log + &host.unitmedic(&["explain", "--json"])?.stdout + &host.http("/metrics")?.1;
    ensure(!all.contains("a secret: ") && !all.contains("a%20secret"), || "the password is shown".into())?;
    host.done()
}

/// Memory of the daemon, kB.
fn rss(host: &Host) -> Result<u64, Failure> {
    let pid = host.main_pid(DAEMON)?;
    let text = host.sh(&format!("sed -n 's/^VmRSS:[[:space:]]*\\([0-9]*\\) kB/\\1/p' /proc/{pid}/status"))?;
    text.parse().map_err(|_| Failure::new(text.clone()))
}
