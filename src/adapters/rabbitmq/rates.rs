//! Adds what the management API knows to the depths of a round. Its failure is told once and costs nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::model::signal::{QueueDepth, QueueState};

use super::Outlet;
use super::address::Address;
use super::management::{Client, Statistics, Trouble};
use super::plan::{Asked, Link};

/// The part of a round that all questions to management APIs may take together.
const ROUND_TIMEOUT: Duration = Duration::from_secs(5);

type Target = (Address, String);

#[derive(Default)]
pub struct Rates {
    /// APIs that fail, and what the log was told of it.
    failing: BTreeMap<Target, String>,
}

impl Rates {
    pub async fn add(&mut self, link: &Link, queues: &[Asked], states: &mut [QueueState], outlet: &Outlet) {
        let mut targets: Vec<&Target> = queues.iter().filter_map(|asked| asked.management.as_ref()).collect();
        targets.sort();
        targets.dedup();
        self.failing.retain(|target, _| targets.contains(&target));
        let deadline = Instant::now() + ROUND_TIMEOUT;
        for target in targets {
            let asking = ask_all(target, link, queues, states, outlet);
            let asked = match timeout_at(deadline, asking).await {
                Ok(asked) => asked,
                Err(_) => Err(format!("the management API at {} takes longer than {ROUND_TIMEOUT:?}", target.0)),
            };
            self.tell(target, asked);
        }
    }

    fn tell(&mut self, target: &Target, asked: Result<(), String>) {
        match asked {
            Ok(()) if self.failing.remove(target).is_some() => {
                info!(management = target.0.to_string(), "the management API answers again");
            }
            Err(why) if self.failing.get(target) != Some(&why) => {
                warn!(management = target.0.to_string(), why, "unacknowledged messages and rates are unknown");
                self.failing.insert(target.clone(), why);
            }
            _ => {}
        }
    }
}

async fn ask_all(
    target: &Target,
    link: &Link,
    queues: &[Asked],
    states: &mut [QueueState],
    outlet: &Outlet,
) -> Result<(), String> {
    let password = link.password.read(outlet.credentials.as_ref()).await?;
    let told = |trouble| match trouble {
        Trouble::Queue(why) | Trouble::Api(why) => why,
    };
    let mut client = Client::connect(target, link, &password).await.map_err(told)?;
    for (asked, state) in queues.iter().zip(states) {
        let (true, QueueState::Known(depth)) = (asked.management.as_ref() == Some(target), state) else { continue };
        match client.statistics(&link.vhost, &asked.name).await {
            Ok(statistics) => complete(depth, statistics),
            // A queue that AMQP knows and the API does not (yet): its numbers are unknown.
            Err(Trouble::Queue(_)) => {}
            Err(Trouble::Api(why)) => return Err(why),
        }
    }
    Ok(())
}

fn complete(depth: &mut QueueDepth, statistics: Statistics) {
    depth.unacknowledged = statistics.unacknowledged;
    depth.acknowledged_total = statistics.acknowledged_total;
    depth.publish_rate = statistics.publish_rate;
}
