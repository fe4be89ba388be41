//! The sample worker: a consumer as good as most, which can be told to misbehave. Host tests run it as units.
//!
//! `worker consume` takes its settings from the environment:
//!
//! | variable | what | default |
//! |---|---|---|
//! | `AMQP_URL` | with user and password | `amqp://guest:guest@127.0.0.1:5672/%2f` |
//! | `QUEUE` | consumed, never declared | none: it must be there |
//! | `PREFETCH` | messages the broker gives out at once | 1 |
//! | `CONSUMERS` | consumers on the one connection | 1 |
//! | `WORK_MS` | time to handle one message | 10 |
//! | `RESULTS` | a line per handled message: id, delivery tag, redelivered, pid | not written |
//! | `CONTROL` | directory of orders, see `orders.rs` | no orders |
//! | `BEATS` | words of `watchdog`, `socket`, `file:PATH` | no beats |
//! | `BEAT_MS` | time between two beats | 500 |
//! | `START_S` | seconds until READY=1 | 0 |
//!
//! SIGTERM drains: no new message, the one in hand is finished and acknowledged, exit code 0. SIGHUP connects anew,
//! SIGUSR1 frees what it leaked. It connects again when its connection ends with an error, as good clients do, and has
//! no heartbeats of AMQP: a silent loss goes unnoticed.
//!
//! `worker declare|delete|depth URL QUEUE` and `worker publish URL QUEUE FIRST COUNT` are what tests need of a broker
//! without the second that `rabbitmqctl` takes.

mod beat;
mod broker;
mod consume;
mod orders;

use std::error::Error;
use std::process::ExitCode;

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const USAGE: &str = "worker consume | declare URL QUEUE | delete URL QUEUE | depth URL QUEUE \
                     | publish URL QUEUE FIRST COUNT";

/// One thread for all: when it hangs, everything does.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("<3>{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &[&str]) -> Result<()> {
    match args {
        ["consume"] => consume::consume().await,
        ["declare", url, queue] => broker::declare(url, queue).await,
        ["delete", url, queue] => broker::delete(url, queue).await,
        ["depth", url, queue] => broker::depth(url, queue).await,
        ["publish", url, queue, first, count] => broker::publish(url, queue, first.parse()?, count.parse()?).await,
        _ => Err(USAGE.into()),
    }
}
