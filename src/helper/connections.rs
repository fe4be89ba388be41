//! Destroys the TCP connections of one instance to the peers of its worker, and touches no other socket of the host.
//!
//! A connection is the instance's if the kernel says that it was made in the unit's cgroup; it is destroyed by its
//! addresses and its cookie, so that another one in its place is not hit. Where that is not possible the worker may
//! have a signal for it.

mod diag;
mod message;
mod owner;
mod peers;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use self::diag::Diag;
use self::message::Socket;
use self::owner::Owner;
use self::peers::Peers;
use super::activation::{Group, sent, signal_main, superseded};
use super::trouble::{Trouble, blocking};
use crate::adapters::systemd::bus::Caller;
use crate::model::action::{Answer, Refused};
use crate::model::name::UnitName;
use crate::model::settings::WorkerSettings;
use crate::model::unit::InvocationId;

/// Limit of each of the two conversations with the kernel: finding, and destroying. Together with the resolver they
/// stay below the limit of an act. A dump of 100,000 sockets takes a tenth of a second.
const DIAG_TIMEOUT: Duration = Duration::from_secs(3);
/// Peers that are named in an answer.
const NAMED_MAX: usize = 4;

/// Destroys the connections of the activation that was meant, or sends the worker's `reset_signal`.
pub async fn reset(
    caller: &Caller,
    unit: &UnitName,
    meant: InvocationId,
    worker: &WorkerSettings,
) -> Result<Answer, zbus::Error> {
    let peers = Peers::of(worker).await;
    let group = match Group::of(caller, unit).await? {
        Ok(group) => group,
        Err(why) => return instead(caller, unit, meant, worker, &why).await,
    };
    let found = blocking(move || find(&group.directory(), &peers)).await;
    // Immediately before the deed. What was found is of the old activation then, and its cgroup is gone, too.
    if let Some(refusal) = superseded(caller, unit, meant).await? {
        return Ok(refusal);
    }
    let destroyed = match found {
        Ok(sockets) => blocking(move || destroy(&sockets)).await,
        Err(trouble) => Err(trouble),
    };
    match destroyed {
        Ok(did) => Ok(Answer::Accepted { job: None, did: Some(did) }),
        Err(Trouble::Unable(why)) => instead(caller, unit, meant, worker, &why).await,
        Err(Trouble::Failed(why)) => Ok(Answer::Failed { text: format!("{unit}: {why}") }),
    }
}

async fn instead(
    caller: &Caller,
    unit: &UnitName,
    meant: InvocationId,
    worker: &WorkerSettings,
    why: &str,
) -> Result<Answer, zbus::Error> {
    match worker.reset_signal {
        Some(signal) => signal_main(caller, unit, meant, signal, Some(format!("{}: {why}", sent(signal)))).await,
        None => {
            let text = format!("{unit}: {why}; reset_signal of worker {} would be sent instead", worker.name);
            Ok(Answer::Refused { why: Refused::Nothing, text })
        }
    }
}

/// The connections of the processes below `directory` to the peers; at least one.
fn find(directory: &Path, peers: &Peers) -> Result<Vec<Socket>, Trouble> {
    if peers.addresses.is_empty() {
        return Err(Trouble::Unable(match peers.unresolved.as_slice() {
            [] => "the worker has no peers".into(),
            names => format!("no address is known for {}", names.join(", ")),
        }));
    }
    let mut owner = Owner::of(directory).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Trouble::Unable("its control group is gone".into()),
        _ => Trouble::Failed(format!("its control group cannot be looked at: {error}")),
    })?;
    let mut diag = Diag::open(DIAG_TIMEOUT).map_err(|error| trouble("sockets cannot be listed", &error))?;
    let wanted = |socket: &Socket| peers.contain(socket.remote()) && owner.owns(socket);
    let sockets = diag.connections(wanted).map_err(|error| trouble("sockets cannot be listed", &error))?;
    if sockets.is_empty() {
        return Err(Trouble::Unable(nothing_found(&owner, peers)));
    }
    Ok(sockets)
}

fn nothing_found(owner: &Owner, peers: &Peers) -> String {
    let mut text = format!("no connection to {} is there", named(peers.addresses.iter().map(ToString::to_string)));
    if owner.process().is_some_and(has_own_network) {
        text += " that can be seen: it has a network of its own (PrivateNetwork=)";
    }
    if !peers.unresolved.is_empty() {
        text += &format!("; no address is known for {}", peers.unresolved.join(", "));
    }
    text
}

/// Whether the process is in another network namespace than we are. One that cannot be looked at is not.
fn has_own_network(pid: u32) -> bool {
    let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    of(&pid.to_string()).is_some_and(|theirs| of("self").is_some_and(|ours| ours != theirs))
}

/// Destroys them, and looks whether they are gone.
fn destroy(sockets: &[Socket]) -> Result<String, Trouble> {
    let mut diag = Diag::open(DIAG_TIMEOUT).map_err(|error| trouble("connections cannot be destroyed", &error))?;
    let mut done: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    for socket in sockets {
        match diag.destroy(socket) {
            Ok(true) => *done.entry(socket.remote()).or_default() += 1,
            Ok(false) => {}
            // What was done before stands; that the rest is still there shows below.
            Err(error) if done.is_empty() => return Err(trouble("connections cannot be destroyed", &error)),
            Err(error) => tracing::warn!(%error, remote = %socket.remote(), "a connection cannot be destroyed"),
        }
    }
    let meant: BTreeSet<[u8; 8]> = sockets.iter().map(Socket::cookie).collect();
    let left = diag.connections(|socket| socket.inode != 0 && meant.contains(&socket.cookie()));
    let left = left.map_err(|error| Trouble::Failed(format!("{}; it cannot be verified: {error}", told(&done))))?;
    if !left.is_empty() {
        return Err(Trouble::Failed(format!("{}, but {} of {} are still there", told(&done), left.len(), meant.len())));
    }
    if done.is_empty() {
        return Err(Trouble::Unable("its connections were closed meanwhile".into()));
    }
    Ok(told(&done))
}

/// What an error of the kernel means.
fn trouble(what: &str, error: &io::Error) -> Trouble {
    let why = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM | Errno::ACCESS) => "CAP_NET_ADMIN is missing",
        Some(Errno::OPNOTSUPP) => "the kernel is built without CONFIG_INET_DIAG_DESTROY",
        Some(Errno::NOENT) => "the kernel module tcp_diag is not loaded",
        Some(Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT) => "AF_NETLINK or the kernel module inet_diag is missing",
        _ => return Trouble::Failed(format!("{what}: {error}")),
    };
    Trouble::Unable(format!("{what}: {why}"))
}

/// `destroyed 2 connections to 127.0.0.1:5672`
fn told(done: &BTreeMap<SocketAddr, usize>) -> String {
    let count: usize = done.values().sum();
    let plural = if count == 1 { "" } else { "s" };
    let of_each = done.iter().map(|(remote, count)| match done.len() {
        1 => remote.to_string(),
        _ => format!("{remote} ({count})"),
    });
    match count {
        0 => "destroyed no connection".into(),
        _ => format!("destroyed {count} connection{plural} to {}", named(of_each)),
    }
}

fn named(all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(NAMED_MAX);
    let names: Vec<String> = all.take(NAMED_MAX).collect();
    let names = names.join(", ");
    if more == 0 { names } else { format!("{names} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(counts: &[(&str, usize)]) -> BTreeMap<SocketAddr, usize> {
        counts.iter().map(|(remote, count)| (remote.parse().unwrap(), *count)).collect()
    }

    #[test]
    fn what_is_told() {
        assert_eq!(told(&done(&[])), "destroyed no connection");
        assert_eq!(told(&done(&[("127.0.0.1:5672", 1)])), "destroyed 1 connection to 127.0.0.1:5672");
        assert_eq!(told(&done(&[("127.0.0.1:5672", 2)])), "destroyed 2 connections to 127.0.0.1:5672");
        let two = done(&[("127.0.0.1:5672", 2), ("[::1]:5672", 1)]);
        assert_eq!(told(&two), "destroyed 3 connections to 127.0.0.1:5672 (2), [::1]:5672 (1)");
        let many: Vec<String> = (1..=6).map(|n| format!("10.0.0.{n}:1")).collect();
        assert!(named(many.into_iter()).ends_with("10.0.0.4:1 and 2 more"));
    }

    #[test]
    fn a_missing_right_is_no_failure() {
        for (errno, able) in
            [(Errno::PERM, false), (Errno::OPNOTSUPP, false), (Errno::NOENT, false), (Errno::NOMEM, true)]
        {
            let trouble = trouble("x", &errno.into());
            assert_eq!(matches!(trouble, Trouble::Failed(_)), able, "{errno:?} {trouble:?}");
        }
    }

    #[test]
    fn without_peers_nothing_is_looked_for() {
        let nobody = find(Path::new("/nowhere"), &Peers::default());
        assert_eq!(nobody.unwrap_err(), Trouble::Unable("the worker has no peers".into()));
        let unknown = Peers { unresolved: vec!["broker".into()], ..Peers::default() };
        let unknown = find(Path::new("/nowhere"), &unknown);
        assert_eq!(unknown.unwrap_err(), Trouble::Unable("no address is known for broker".into()));
    }

    /// A connection of this test is seen, is not taken for another cgroup's, and is destroyed alone.
    #[test]
    fn one_connection_is_destroyed() {
        use std::io::Read;
        use std::net::{TcpListener, TcpStream};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let remote = listener.local_addr().unwrap();
        let (mut one, other) = (TcpStream::connect(remote).unwrap(), TcpStream::connect(remote).unwrap());
        let (_a, _b) = (listener.accept().unwrap(), listener.accept().unwrap());
        let Ok(mut diag) = Diag::open(DIAG_TIMEOUT) else { return };
        let found = match diag.connections(|socket| socket.remote() == remote) {
            Ok(found) => found,
            // Nothing to test where the kernel has no tcp_diag.
            Err(_) => return,
        };
        assert_eq!(found.len(), 2);
        let port = |stream: &TcpStream| stream.local_addr().unwrap().port();
        let mine: Vec<Socket> = found.into_iter().filter(|socket| socket.local_port() == port(&one)).collect();
        match destroy(&mine) {
            Err(Trouble::Unable(_)) => return,
            did => assert_eq!(did.unwrap(), format!("destroyed 1 connection to {remote}")),
        }
        assert_eq!(one.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        let left = diag.connections(|socket| socket.remote() == remote).unwrap();
        assert_eq!(left.iter().map(Socket::local_port).collect::<Vec<_>>(), [port(&other)]);
        assert_eq!(destroy(&mine), Err(Trouble::Unable("its connections were closed meanwhile".into())));
    }
}
