//! Whom a worker is connected to, as addresses.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;

use crate::model::settings::{Peer, WorkerSettings};

/// Limit of resolving all names of a worker. A resolver that hangs must leave time for the deed.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Addresses of one name that are used.
const ADDRESSES_MAX: usize = 256;

/// Addresses of the peers at the time of the act.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Peers {
    pub addresses: BTreeSet<SocketAddr>,
    /// Names that have no address now.
    pub unresolved: Vec<String>,
}

impl Peers {
    pub async fn of(worker: &WorkerSettings) -> Self {
        let mut peers = Self::default();
        let listed: Vec<Peer> = listed(worker).into_iter().collect();
        let found = join_all(listed.iter().map(addresses)).await;
        for (addresses, peer) in found.into_iter().zip(listed) {
            if addresses.is_empty() {
                peers.unresolved.push(peer.host);
            }
            peers.addresses.extend(addresses);
        }
        peers
    }

    /// Whether a socket's other end is a peer.
    pub fn contain(&self, remote: SocketAddr) -> bool {
        self.addresses.contains(&remote)
    }
}

/// Peers as configured, the broker among them.
fn listed(worker: &WorkerSettings) -> BTreeSet<Peer> {
    worker.peers.iter().cloned().chain(worker.amqp_url.as_deref().and_then(broker)).collect()
}

/// Host and port of an AMQP URL; nothing else of it is used.
fn broker(url: &str) -> Option<Peer> {
    let (scheme, rest) = url.split_once("://")?;
    let default = match scheme {
        "amqp" => 5672,
        "amqps" => 5671,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let (host, port) = match place.strip_prefix('[') {
        Some(six) => six.split_once(']')?,
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok()?,
        None => default,
    };
    (!host.is_empty()).then(|| Peer { host: host.to_owned(), port })
}

async fn addresses(peer: &Peer) -> Vec<SocketAddr> {
    if let Ok(ip) = peer.host.parse::<IpAddr>() {
        return vec![SocketAddr::new(ip.to_canonical(), peer.port)];
    }
    let lookup = tokio::net::lookup_host((peer.host.as_str(), peer.port));
    let Ok(Ok(found)) = tokio::time::timeout(RESOLVE_TIMEOUT, lookup).await else { return Vec::new() };
    found.take(ADDRESSES_MAX).map(|address| SocketAddr::new(address.ip().to_canonical(), address.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::name::{UnitName, WorkerName};
    use crate::model::settings::Selector;

    #[test]
    fn brokers_of_urls() {
        for (url, expected) in [
            ("amqp://broker", Some(("broker", 5672))),
            ("amqps://broker/vhost", Some(("broker", 5671))),
            ("amqp://127.0.0.1:1234/%2f", Some(("127.0.0.1", 1234))),
            ("amqp://[::1]:1234/x?heartbeat=5", Some(("::1", 1234))),
            ("amqps://[fd00::1]", Some(("fd00::1", 5671))),
            ("amqp://user:p@ss@broker:1/", Some(("broker", 1))),
            ("amqp://", None),
            ("amqp://[::1", None),
            ("amqp://broker:99999", None),
            ("amqp://broker:", None),
            ("stomp://broker", None),
            ("broker", None),
        ] {
            let expected = expected.map(|(host, port)| Peer { host: host.into(), port });
            assert_eq!(broker(url), expected, "{url}");
        }
    }

    #[tokio::test]
    async fn addresses_of_peers() {
        let unit = Selector::Unit(UnitName::new("mail.service").unwrap());
        let mut worker = WorkerSettings::new(WorkerName::new("mail").unwrap(), unit);
        assert_eq!(Peers::of(&worker).await, Peers::default());
        worker.amqp_url = Some("amqp://[::ffff:10.0.0.9]/".into());
        worker.peers = vec![
            Peer { host: "10.0.0.9".into(), port: 5672 },
            Peer { host: "fd00::1".into(), port: 80 },
            Peer { host: "not a name".into(), port: 80 },
        ];
        let peers = Peers::of(&worker).await;
        let addresses: Vec<String> = peers.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.0.9:5672", "[fd00::1]:80"]);
        assert_eq!(peers.unresolved, ["not a name"]);
        assert!(peers.contain("10.0.0.9:5672".parse().unwrap()));
        assert!(!peers.contain("10.0.0.9:5671".parse().unwrap()));
    }
}
