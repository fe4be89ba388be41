//! Queues of a real RabbitMQ.

use std::time::Instant;

use crate::broker::{Broker, control, handled, worker_unit};
use crate::fixture::{LIMIT, Setup, ensure, until};
use crate::testhost::{Failure, Place};

const RESULTS: &str = "/run/worker/results";

#[test]
fn the_sample_worker_handles_each_message_and_drains() -> Result<(), Failure> {
    let started = Instant::now();
    let host = Setup::new("worker")
        .broker(&Broker::new().queue("tasks"))
        .unit("tasks@.service", &worker_unit("tasks", "WORK_MS=0", ""))
        .boot()?;
    eprintln!("host with broker: {:?}", started.elapsed());
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
