//! From settings to connections: which brokers, which queues of each, and who wants to know.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::signal::QueueName;
use crate::model::{Settings, WorkerName, WorkerSettings};

use super::address::{self, Address};
use crate::adapters::secret::Source;

/// Connections at once. Each is a thread, and a host has a handful of brokers.
pub const LINKS_MAX: usize = 64;
/// Queues that are read. A passive declare takes 0.2 ms: a round of all stays under a second.
pub const QUEUES_MAX: usize = 4096;

/// Readings come three times in an interval of checks, so that one which is late costs nothing.
const ROUNDS_PER_INTERVAL: u32 = 3;
const ROUND_MIN: Duration = Duration::from_secs(1);
const ROUND_MAX: Duration = Duration::from_secs(10);

/// What makes a connection another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    pub address: Address,
    pub vhost: String,
    pub user: String,
    pub password: Source,
    /// Authorities for TLS, besides those of the host.
    pub ca_file: Option<PathBuf>,
}

/// What is read over a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Work {
    pub period: Duration,
    pub queues: Vec<Asked>,
}

/// One queue, with all who asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub name: String,
    /// Where the management API listens, and the path before `/api`.
    pub management: Option<(Address, String)>,
    pub askers: Vec<Asker>,
}

/// A worker, and the queue as its settings name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    pub worker: WorkerName,
    pub queue: QueueName,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub links: BTreeMap<Link, Work>,
    /// What cannot be read, and why.
    pub refused: Vec<(Asker, String)>,
}

impl Plan {
    pub fn of(settings: &Settings) -> Self {
        let mut plan = Self::default();
        let period = Self::period(settings);
        let mut queues = 0;
        for worker in settings.workers.values() {
            for queue in &worker.queues {
                let asker = Asker { worker: worker.name.clone(), queue: queue.clone() };
                let added = if queues < QUEUES_MAX {
                    plan.add(worker, &asker, period)
                } else {
                    Err(format!("more than {QUEUES_MAX} queues are configured"))
                };
                match added {
                    Ok(()) => queues += 1,
                    Err(why) => plan.refused.push((asker, why)),
                }
            }
        }
        plan
    }

    /// Time between two readings of a queue.
    pub fn period(settings: &Settings) -> Duration {
        period(settings.daemon.health_check_interval)
    }

    fn add(&mut self, worker: &WorkerSettings, asker: &Asker, period: Duration) -> Result<(), String> {
        let link = link(worker, asker)?;
        let management = match &worker.management_url {
            Some(url) => Some(address::management(url).map_err(|why| format!("management_url: {why}"))?),
            None => None,
        };
        if !self.links.contains_key(&link) && self.links.len() >= LINKS_MAX {
            return Err(format!("more than {LINKS_MAX} connections to brokers are configured"));
        }
        let work = self.links.entry(link).or_insert_with(|| Work { period, queues: Vec::new() });
        let name = &asker.queue.name;
        match work.queues.iter_mut().find(|asked| asked.name == *name && asked.management == management) {
            Some(asked) => asked.askers.push(asker.clone()),
            None => work.queues.push(Asked { name: name.clone(), management, askers: vec![asker.clone()] }),
        }
        Ok(())
    }
}

fn link(worker: &WorkerSettings, asker: &Asker) -> Result<Link, String> {
    let url = worker.amqp_url.as_ref().ok_or("amqp_url is not set")?;
    let (address, vhost) = address::amqp(url).map_err(|why| format!("amqp_url: {why}"))?;
    let password = match (&worker.amqp_password_file, &worker.amqp_password_credential) {
        (Some(path), _) => Source::File(path.clone()),
        (None, Some(name)) => Source::Credential(name.clone()),
        (None, None) => Source::Default,
    };
    let vhost = asker.queue.vhost.clone().unwrap_or(vhost);
    let user = worker.amqp_user.clone().unwrap_or_else(|| "guest".into());
    Ok(Link { address, vhost, user, password, ca_file: worker.amqp_ca_file.clone() })
}

fn period(interval: Duration) -> Duration {
    (interval / ROUNDS_PER_INTERVAL).clamp(ROUND_MIN, ROUND_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Selector;

    fn worker(name: &str, url: &str, queues: &[(Option<&str>, &str)]) -> WorkerSettings {
        let name = WorkerName::new(name).expect("a name");
        let mut worker = WorkerSettings::new(name, Selector::Template("mail".into()));
        worker.amqp_url = Some(url.into());
        let named = |(vhost, name): &(Option<&str>, &str)| QueueName {
            vhost: vhost.map(str::to_string),
            name: name.to_string(),
        };
        worker.queues = queues.iter().map(named).collect();
        worker
    }

    fn plan(workers: Vec<WorkerSettings>) -> Plan {
        let mut settings = Settings::empty();
        settings.workers = workers.into_iter().map(|worker| (worker.name.clone(), worker)).collect();
        Plan::of(&settings)
    }

    #[test]
    fn workers_share_connections_and_queues() {
        let plan = plan(vec![
            worker("a", "amqp://broker.example/jobs", &[(None, "x"), (Some("other"), "x")]),
            worker("b", "amqp://broker.example:5672", &[(Some("jobs"), "x"), (Some("jobs"), "y")]),
        ]);
        assert_eq!(plan.refused, []);
        let shape: Vec<_> = plan
            .links
            .iter()
            .map(|(link, work)| {
                let queues: Vec<_> = work.queues.iter().map(|one| (one.name.as_str(), one.askers.len())).collect();
                (link.vhost.as_str(), queues)
            })
            .collect();
        assert_eq!(shape, [("jobs", vec![("x", 2), ("y", 1)]), ("other", vec![("x", 1)])]);
    }

    #[test]
    fn another_user_or_password_is_another_connection() {
        let mut with_user = worker("b", "amqp://broker.example", &[(None, "x")]);
        with_user.amqp_user = Some("medic".into());
        let mut with_password = with_user.clone();
        with_password.name = WorkerName::new("c").expect("a name");
        with_password.amqp_password_credential = Some("amqp".into());
        assert_eq!(
            plan(vec![worker("a", "amqp://broker.example", &[(None, "x")]), with_user, with_password]).links.len(),
            3
        );
    }

    #[test]
    fn what_is_too_much_or_wrong_is_refused_with_its_reason() {
        let vhosts: Vec<String> = (0..70).map(|n| format!("v{n}")).collect();
        let queues: Vec<_> = vhosts.iter().map(|vhost| (Some(vhost.as_str()), "x")).collect();
        let many = plan(vec![
            worker("a", "amqp://broker.example", &queues),
            worker("b", "amqp://u:hunter2@broker.example", &[(None, "x")]),
        ]);
        assert_eq!((many.links.len(), many.refused.len()), (64, 7));
        assert_eq!(many.refused[0].1, "more than 64 connections to brokers are configured");
        assert_eq!(many.refused[6].1, "amqp_url: a user or password has no place in it");
        let names: Vec<String> = (0..4100).map(|n| n.to_string()).collect();
        let queues: Vec<_> = names.iter().map(|name| (None, name.as_str())).collect();
        assert_eq!(plan(vec![worker("a", "amqp://broker.example", &queues)]).refused.len(), 4);
    }

    #[test]
    fn a_round_takes_a_third_of_the_interval() {
        let seconds = |s| period(Duration::from_secs(s)).as_secs();
        assert_eq!((seconds(1), seconds(9), seconds(30), seconds(600)), (1, 3, 10, 10));
    }
}
