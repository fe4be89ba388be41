//! Workers that are alive for systemd and useless in practice: real consumers of a real RabbitMQ, seen and repaired.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use unitmedic::model::{Action, Condition, Outcome};

use crate::broker::{Broker, Handled, PASSWORD, control, handled, worker_unit};
use crate::fixture::{LIMIT, Setup, ensure, until};
use crate::testhost::{Failure, Place};

const RESULTS: &str = "/run/worker/results";

/// For what takes thousands of messages, or several readings, on a machine that has other work.
const WORK_LIMIT: Duration = Duration::from_secs(90);

/// Settings of a worker whose queue is `tasks`.
const TASKS: &str = "queues = [\"tasks\"]\namqp_url = \"amqp://127.0.0.1\"\namqp_user = \"medic\"\n\
                     amqp_password_file = \"/etc/unitmedic/amqp-password\"\nstart_timeout = \"10s\"\n";

fn setup(name: &str, environment: &str, settings: &str) -> Setup {
    Setup::new(name).broker(&Broker::new().queue("tasks")).file("/etc/unitmedic/amqp-password", PASSWORD).worker_with(
        "tasks",
        "tasks@.service",
        &worker_unit("tasks", environment, ""),
        &format!("{TASKS}{settings}"),
    )
}

/// Each message was handled, and more than once only where the broker says that it delivered it again.
fn check_deliveries(all: &[Handled], count: u32) -> Result<(), Failure> {
    let mut first: BTreeMap<u32, u32> = BTreeMap::new();
    for one in all {
        let id: u32 = one.message.parse().map_err(|_| Failure::new(format!("{one:?}")))?;
        *first.entry(id).or_default() += u32::from(!one.redelivered);
    }
    let missing = (0..count).filter(|id| !first.contains_key(id)).count();
    let twice = first.values().filter(|times| **times > 1).count();
    ensure(missing == 0 && twice == 0, || format!("{missing} messages were lost, {twice} delivered twice as new"))
}

#[test]
fn a_backlog_scales_a_template_up_and_down_again() -> Result<(), Failure> {
    const COUNT: u32 = 10_000;
    let settings = "max_instances = 3\nscale_down_after = \"5s\"\n";
    let host = setup("scale", "WORK_MS=2", settings).starting("tasks@1.service").start()?;
    host.wait_depth("tasks", "one consumer", LIMIT, |_, consumers| consumers == 1)?;
    host.publish("tasks", 0, COUNT)?;
    let pushed = Instant::now();
    let active = |unit: &str| host.property(unit, "ActiveState").is_ok_and(|state| state == "active");
    until("three instances run", WORK_LIMIT, || {
        let up = (1..=3).filter(|n| active(&format!("tasks@{n}.service"))).count();
        if up == 3 { Ok(()) } else { Err(Failure::new(format!("{up}"))) }
    })?;
    eprintln!("three instances run {:?} after the last message was pushed", pushed.elapsed());
    until("the metrics have it", LIMIT, || {
        let of = |metric: &str, labels: &str| host.metric(&format!("unitmedic_{metric}{{worker=\"tasks\"{labels}}}"));
        let queue = ",vhost=\"/\",queue=\"tasks\"";
        match (of("worker_scaled_instances", "")?, of("queue_up", queue)?, of("queue_consumers", queue)?) {
            (Some(2.0), Some(1.0), Some(3.0)) => Ok(()),
            other => Err(Failure::new(format!("{other:?}"))),
        }
    })?;
    eprintln!("{}", host.unitmedic(&["status", "tasks"])?.stdout);
    host.wait_depth("tasks", "empty", WORK_LIMIT, |ready, _| ready == 0)?;
    until("all are handled", WORK_LIMIT, || {
        let ids: std::collections::BTreeSet<String> =
            handled(&*host, RESULTS)?.into_iter().map(|one| one.message).collect();
        if ids.len() == COUNT as usize { Ok(()) } else { Err(Failure::new(ids.len().to_string())) }
    })?;
    until("one instance runs again", WORK_LIMIT, || {
        let up = (1..=3).filter(|n| active(&format!("tasks@{n}.service"))).count();
        if up == 1 && active("tasks@1.service") { Ok(()) } else { Err(Failure::new(format!("{up}"))) }
    })?;
    let all = handled(&*host, RESULTS)?;
    check_deliveries(&all, COUNT)?;
    eprintln!("{} deliveries of {COUNT} messages", all.len());
    let acted = host.history()?;
    let of = |action| acted.iter().filter(|one| one.action == action && one.outcome == Outcome::Succeeded).count();
    ensure(of(Action::ScaleDown) == 2, || format!("{acted:#?}"))?;
    host.done()
}

#[test]
fn a_half_open_connection_is_reset_and_no_message_is_lost() -> Result<(), Failure> {
    let host = setup("halfopen", "WORK_MS=20", "").starting("tasks@1.service").start()?;
    host.publish("tasks", 0, 50)?;
    host.wait_depth("tasks", "consumed", LIMIT, |ready, consumers| (ready, consumers) == (0, 1))?;
    until("the daemon has seen its consumer", LIMIT, || {
        let seen = host.explain("tasks@1.service")?;
        if seen.health.serves() { Ok(()) } else { Err(Failure::new(format!("{seen:?}"))) }
    })?;
    std::thread::sleep(Duration::from_secs(3));
    let (pid, activation) = (host.main_pid("tasks@1.service")?, host.activation("tasks@1.service")?);
    let port = host.sh(&format!("ss -Htnp | grep 'pid={pid},' | awk '{{print $4}}' | head -1 | sed 's/.*://'"))?;
    // From now on neither hears the other, and the broker gives up first.
    host.sh(&format!(
        "nft add table inet cut && nft 'add chain inet cut in {{ type filter hook input priority 0; }}' && \
         nft add rule inet cut in tcp sport {port} drop && nft add rule inet cut in tcp dport {port} drop && \
         ss -K dport = {port} sport = 5672"
    ))?;
    let cut = Instant::now();
    host.wait_depth("tasks", "no consumer", LIMIT, |_, consumers| consumers == 0)?;
    host.publish("tasks", 50, 50)?;
    let published = Instant::now();
    host.wait_depth("tasks", "consumed again", WORK_LIMIT, |ready, consumers| (ready, consumers) == (0, 1))?;
    eprintln!("messages flow {:?} after they were published, {:?} after the cut", published.elapsed(), cut.elapsed());
    until("all are handled", LIMIT, || check_deliveries(&handled(&*host, RESULTS)?, 100))?;
    ensure(host.activation("tasks@1.service")? == activation, || "it was restarted".into())?;
    let incident = host.wait_closed("tasks@1.service", 1)?;
    let actions: Vec<Action> = incident.attempts.iter().map(|attempt| attempt.action).collect();
    ensure(actions == [Action::ConnectionReset], || format!("{incident:#?}"))?;
    host.done()
}

#[test]
fn one_that_acknowledges_nothing_is_seen_and_one_that_is_slow_is_left_alone() -> Result<(), Failure> {
    const COUNT: u32 = 530;
    let settings =
        "management_url = \"http://127.0.0.1:15672\"\nscale_on = []\ndrain_timeout = \"1s\"\nqueue_samples = 2\n";
    let broker = Broker::new().queue("tasks").queue("slow").management();
    // What it is stuck in ends with the process.
    let mends = "ExecStartPre=/bin/rm -f /run/worker/%n/stop-acking\n";
    let host = Setup::new("stalled")
        .broker(&broker)
        .file("/etc/unitmedic/amqp-password", PASSWORD)
        .worker_with(
            "tasks",
            "tasks@.service",
            &worker_unit("tasks", "PREFETCH=3\nWORK_MS=50", mends),
            &format!("{TASKS}{settings}"),
        )
        .worker_with(
            "slow",
            "slow@.service",
            &worker_unit("slow", "PREFETCH=3\nWORK_MS=4000\nRESULTS=/run/worker/slowly", ""),
            &format!("{TASKS}{settings}").replace("[\"tasks\"]", "[\"slow\"]"),
        )
        .starting("tasks@1.service")
        .starting("slow@1.service")
        .start()?;
    host.publish("slow", 0, 100)?;
    // The broker brings its statistics up to date every 5 s: enough to show its pace.
    host.publish("tasks", 0, 500)?;
    until("the first are handled and counted", WORK_LIMIT, || {
        match host.metric("unitmedic_queue_acknowledged_total{worker=\"tasks\",vhost=\"/\",queue=\"tasks\"}")? {
            Some(500.0) => Ok(()),
            other => Err(Failure::new(format!("{other:?}"))),
        }
    })?;
    control(&*host, "tasks@1.service", "stop-acking", Some(""))?;
    host.publish("tasks", 500, COUNT - 500)?;
    let incident = until("it is repaired", WORK_LIMIT, || {
        let incidents = host.incidents("tasks@1.service")?;
        let closed = incidents.iter().find(|incident| !incident.is_open()).cloned();
        closed.ok_or_else(|| Failure::new(format!("{incidents:#?}")))
    })?;
    let attempts: Vec<_> = incident.attempts.iter().map(|attempt| (attempt.action, attempt.outcome)).collect();
    let want = [(Action::ConnectionReset, Some(Outcome::Failed)), (Action::GracefulRestart, Some(Outcome::Succeeded))];
    let stalled = incident.conditions.contains_key(&Condition::ConsumerStalled);
    ensure(stalled && attempts == want, || format!("{incident:#?}"))?;
    until("all are handled", WORK_LIMIT, || check_deliveries(&handled(&*host, RESULTS)?, COUNT))?;
    host.assert_untouched("slow@1.service")?;
    host.done()
}

#[test]
fn two_that_share_a_queue_start_what_is_lacking_once() -> Result<(), Failure> {
    // As two hosts would be: neither knows of the other but by the broker's count of consumers.
    let settings = "max_instances = 8\nscale_down_after = \"10min\"\nqueue_backlog_threshold = 100\n";
    let unit = worker_unit("tasks", "WORK_MS=3000\nPREFETCH=1", "");
    let host = Setup::new("shared")
        .broker(&Broker::new().queue("tasks"))
        .file("/etc/unitmedic/amqp-password", PASSWORD)
        .worker_with("left", "left@.service", &unit, &format!("{TASKS}{settings}"))
        .worker_with("right", "right@.service", &unit, &format!("{TASKS}{settings}"))
        .starting("left@1.service")
        .starting("right@1.service")
        .start()?;
    host.wait_depth("tasks", "two consumers", LIMIT, |_, consumers| consumers == 2)?;
    // Six consumers are wanted, four are lacking.
    host.publish("tasks", 0, 590)?;
    host.wait_depth("tasks", "six consumers", WORK_LIMIT, |_, consumers| consumers >= 6)?;
    // Time for several readings, in which more could be asked for.
    std::thread::sleep(Duration::from_secs(8));
    let (ready, consumers) = host.depth("tasks")?;
    ensure(consumers == 6, || format!("{consumers} consumers for {ready} messages"))?;
    for worker in ["left", "right"] {
        let up = host.ctl(&["list-units", "--no-legend", "--state=active", &format!("{worker}@*")])?.lines().count();
        ensure(up == 3, || format!("{up} of {worker}"))?;
    }
    host.done()
}

#[test]
fn a_graceful_restart_loses_no_message() -> Result<(), Failure> {
    let host = setup("graceful", "WORK_MS=5", "surge = true\nmax_instances = 2\nscale_on = []\n")
        .starting("tasks@1.service")
        .start()?;
    host.publish("tasks", 0, 1500)?;
    let before = host.activation("tasks@1.service")?;
    host.unitmedic(&["recover", "tasks@1.service", "--action", "graceful_restart"])?.success()?;
    host.wait_depth("tasks", "empty", WORK_LIMIT, |ready, _| ready == 0)?;
    until("it was restarted", WORK_LIMIT, || {
        if host.activation("tasks@1.service")? == before { Err(Failure::new("not yet")) } else { Ok(()) }
    })?;
    until("all are handled", WORK_LIMIT, || check_deliveries(&handled(&*host, RESULTS)?, 1500))?;
    until("the one that stood in is gone", WORK_LIMIT, || {
        let state = host.property("tasks@2.service", "ActiveState")?;
        if state == "inactive" { Ok(()) } else { Err(Failure::new(state)) }
    })?;
    host.done()
}

#[test]
fn one_that_hangs_is_seen_by_its_silence_and_restarted() -> Result<(), Failure> {
    let settings = "heartbeat_timeout = \"5s\"\ndrain_timeout = \"1s\"\nscale_on = []\n";
    let host = setup("hung", "BEATS=socket\nBEAT_MS=200", settings).starting("tasks@1.service").start()?;
    let before = host.activation("tasks@1.service")?;
    // One beat must have been heard: what never beat is unknown.
    std::thread::sleep(Duration::from_secs(3));
    control(&*host, "tasks@1.service", "hang", Some(""))?;
    let hung = Instant::now();
    until("hung", WORK_LIMIT, || {
        let incidents = host.incidents("tasks@1.service")?;
        let seen = incidents.iter().any(|incident| incident.conditions.contains_key(&Condition::Hung));
        if seen { Ok(()) } else { Err(Failure::new(format!("{incidents:#?}"))) }
    })?;
    eprintln!("hung is seen after {:?}", hung.elapsed());
    control(&*host, "tasks@1.service", "hang", None)?;
    let incident = host.wait_closed("tasks@1.service", 1)?;
    ensure(!incident.attempts.is_empty(), || format!("{incident:#?}"))?;
    let _ = before;
    host.done()
}

#[test]
fn a_probe_that_fails_is_answered_by_a_restart() -> Result<(), Failure> {
    let settings = "probe_command = [\"/bin/sh\", \"-c\", \"test ! -e /run/sick\"]\nscale_on = []\ndrain_timeout = \"2s\"\nprobe_timeout = \"1s\"\n";
    let host = setup("probed", "", settings).starting("tasks@1.service").start()?;
    let before = host.activation("tasks@1.service")?;
    std::thread::sleep(Duration::from_secs(2));
    host.write("/run/sick", "")?;
    until("it is restarted for its probe", WORK_LIMIT, || {
        let incidents = host.incidents("tasks@1.service")?;
        let failed = incidents.iter().any(|incident| incident.conditions.contains_key(&Condition::ProbeFailed));
        let anew = host.activation("tasks@1.service")? != before;
        if failed && anew { Ok(()) } else { Err(Failure::new(format!("{incidents:#?}"))) }
    })?;
    host.sh("rm /run/sick")?;
    host.wait_recovered("tasks@1.service", 1)?;
    host.done()
}
