//! Questions and orders to NETLINK_SOCK_DIAG. Blocks; ends by its deadline. Knows no units.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recvfrom, sendto, socket_with};

use super::message::{self, Family, Malformed, Part, Socket};

/// The kernel fills at most this much of one datagram of a dump (NLMSG_GOODSIZE and the reader's buffer, capped at
/// 32 KiB in net/netlink/af_netlink.c).
const DATAGRAM_MAX: usize = 32 << 10;
/// Connections of one instance to its peers that are destroyed at once. More than this is no worker.
const SOCKETS_MAX: usize = 16_384;

/// A conversation with the kernel.
pub struct Diag {
    socket: OwnedFd,
    sequence: u32,
    deadline: Instant,
    buffer: Vec<u8>,
}

impl Diag {
    /// `limit` is for the whole conversation.
    pub fn open(limit: Duration) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(SOCK_DIAG))?;
        Ok(Self { socket, sequence: 0, deadline: Instant::now() + limit, buffer: vec![0; DATAGRAM_MAX] })
    }

    /// The TCP connections of this network namespace that are `wanted`.
    pub fn connections(&mut self, mut wanted: impl FnMut(&Socket) -> bool) -> io::Result<Vec<Socket>> {
        let mut found = Vec::new();
        for family in Family::BOTH {
            self.sequence += 1;
            self.send(&message::dump(family, self.sequence))?;
            let mut more = true;
            while more {
                for part in self.receive()? {
                    match part {
                        Part::Socket(socket) if wanted(&socket) => found.push(socket),
                        Part::Socket(_) => {}
                        Part::End { errno: 0 } => more = false,
                        Part::End { errno } => return Err(io::Error::from_raw_os_error(errno)),
                    }
                }
                if found.len() > SOCKETS_MAX {
                    return Err(io::Error::other(format!("more than {SOCKETS_MAX} connections are no worker's")));
                }
            }
        }
        Ok(found)
    }

    /// Destroys exactly this socket: the process that holds it gets ECONNABORTED, the other end a reset. `false`: it
    /// was gone already.
    pub fn destroy(&mut self, socket: &Socket) -> io::Result<bool> {
        self.sequence += 1;
        self.send(&message::destroy(socket, self.sequence))?;
        loop {
            for part in self.receive()? {
                match part {
                    Part::End { errno: 0 } => return Ok(true),
                    Part::End { errno } if errno == Errno::NOENT.raw_os_error() => return Ok(false),
                    Part::End { errno } => return Err(io::Error::from_raw_os_error(errno)),
                    Part::Socket(_) => {}
                }
            }
        }
    }

    fn send(&self, request: &[u8]) -> io::Result<()> {
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&self.socket, request, SendFlags::empty(), &kernel)?;
        Ok(())
    }

    /// The parts of the next datagram that are answers of the kernel to the last request.
    fn receive(&mut self) -> io::Result<Vec<Part>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        set_socket_timeout(&self.socket, Timeout::Recv, Some(left))?;
        let (_, length, from) = match recvfrom(&self.socket, &mut self.buffer, RecvFlags::TRUNC) {
            Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(Errno::INTR) => return Ok(Vec::new()),
            received => received?,
        };
        let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
        if from.is_none_or(|from| from.pid() != 0) {
            return Ok(Vec::new());
        }
        let datagram = self.buffer.get(..length).ok_or_else(|| io::Error::other("a datagram is too long"))?;
        message::parts(datagram, self.sequence).map_err(|error: Malformed| io::Error::other(error))
    }
}
