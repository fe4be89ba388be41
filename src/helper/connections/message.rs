//! Messages of NETLINK_SOCK_DIAG as bytes: linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h. Pure.
//!
//! A message that is not exactly what those headers say is an error, and nothing of it is used: what is read here
//! decides which connection dies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// `struct inet_diag_sockid`.
const ID: usize = 48;
/// `struct inet_diag_req_v2`.
const REQUEST: usize = 8 + ID;
/// `struct inet_diag_msg`.
const MESSAGE: usize = 4 + ID + 20;
/// `struct nlattr`.
const ATTRIBUTE: usize = 4;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
/// NLM_F_ROOT | NLM_F_MATCH.
const NLM_F_DUMP: u16 = 0x300;

const INET_DIAG_CGROUP_ID: u16 = 21;
/// The two upper bits of an attribute's type are flags.
const NLA_TYPE_MASK: u16 = 0x3fff;

const IPPROTO_TCP: u8 = 6;

/// States in which a connection is one, or may still become one: established, syn-sent, fin-wait-1, fin-wait-2,
/// close-wait, last-ack, by their numbers in net/tcp_states.h.
const STATES: u32 = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9;

/// Whose sockets a dump shows. One of [`Family::Six`] may still speak IPv4, by a mapped address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Four,
    Six,
}

impl Family {
    pub const BOTH: [Family; 2] = [Family::Four, Family::Six];

    fn number(self) -> u8 {
        match self {
            Family::Four => 2,
            Family::Six => 10,
        }
    }
}

/// A socket as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    pub family: Family,
    /// Both ends, the interface and the cookie, as they came: given back unchanged they name this socket alone.
    id: [u8; ID],
    /// 0 where no process holds it any more.
    pub inode: u32,
    /// The cgroup that its process was in when it made it; `None` before Linux 5.8.
    pub cgroup: Option<u64>,
}

impl Socket {
    /// The other end; an IPv4 address is one, mapped or not.
    pub fn remote(&self) -> SocketAddr {
        let port = u16::from_be_bytes([self.id[2], self.id[3]]);
        let ip = match self.family {
            Family::Four => IpAddr::V4(Ipv4Addr::from(take::<4>(&self.id, 20))),
            Family::Six => IpAddr::V6(Ipv6Addr::from(take::<16>(&self.id, 20))).to_canonical(),
        };
        SocketAddr::new(ip, port)
    }

    #[cfg(test)]
    pub fn local_port(&self) -> u16 {
        u16::from_be_bytes([self.id[0], self.id[1]])
    }

    /// Unlike the addresses it is never used again while the host is up.
    pub fn cookie(&self) -> [u8; 8] {
        take(&self.id, 40)
    }
}

/// One message of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Socket(Socket),
    /// The end of a dump, or the answer to a deed: 0, or the error's number.
    End {
        errno: i32,
    },
}

/// What came is not what the headers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the kernel's answer cannot be read: {0}")]
pub struct Malformed(&'static str);

/// Asks for all TCP sockets of a family in [`STATES`].
pub fn dump(family: Family, sequence: u32) -> Vec<u8> {
    request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, sequence, family, &[0; ID])
}

/// Asks to destroy exactly this socket.
pub fn destroy(socket: &Socket, sequence: u32) -> Vec<u8> {
    request(SOCK_DESTROY, NLM_F_ACK, sequence, socket.family, &socket.id)
}

fn request(kind: u16, flags: u16, sequence: u32, family: Family, id: &[u8; ID]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + REQUEST);
    bytes.extend(((HEADER + REQUEST) as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend([family.number(), IPPROTO_TCP, 0, 0]);
    bytes.extend(STATES.to_ne_bytes());
    bytes.extend(id);
    bytes
}

/// The messages of one datagram that answer the request of this number.
pub fn parts(datagram: &[u8], sequence: u32) -> Result<Vec<Part>, Malformed> {
    let mut parts = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        if rest.len() < HEADER {
            return Err(Malformed("a header is cut off"));
        }
        let length = u32::from_ne_bytes(take(rest, 0)) as usize;
        if length < HEADER || length > rest.len() {
            return Err(Malformed("a message is cut off"));
        }
        let kind = u16::from_ne_bytes(take(rest, 4));
        if u32::from_ne_bytes(take(rest, 8)) == sequence {
            parts.extend(part(kind, &rest[HEADER..length])?);
        }
        rest = &rest[aligned(length).min(rest.len())..];
    }
    Ok(parts)
}

fn part(kind: u16, payload: &[u8]) -> Result<Option<Part>, Malformed> {
    match kind {
        SOCK_DIAG_BY_FAMILY => Ok(socket(payload)?.map(Part::Socket)),
        NLMSG_ERROR if payload.len() < 4 => Err(Malformed("an error without its number")),
        NLMSG_OVERRUN => Err(Malformed("sockets were left out")),
        NLMSG_ERROR | NLMSG_DONE => {
            let number = if payload.len() < 4 { 0 } else { i32::from_ne_bytes(take(payload, 0)) };
            Ok(Some(Part::End { errno: number.checked_neg().filter(|errno| *errno >= 0).unwrap_or(i32::MAX) }))
        }
        _ => Ok(None),
    }
}

fn socket(payload: &[u8]) -> Result<Option<Socket>, Malformed> {
    if payload.len() < MESSAGE {
        return Err(Malformed("a socket is cut off"));
    }
    let Some(family) = Family::BOTH.into_iter().find(|family| family.number() == payload[0]) else {
        return Ok(None);
    };
    let state = payload[1];
    if state >= 32 || STATES & 1 << state == 0 {
        return Ok(None);
    }
    let cgroup = cgroup(&payload[MESSAGE..])?;
    Ok(Some(Socket { family, id: take(payload, 4), inode: u32::from_ne_bytes(take(payload, MESSAGE - 4)), cgroup }))
}

fn cgroup(attributes: &[u8]) -> Result<Option<u64>, Malformed> {
    let mut found = None;
    let mut rest = attributes;
    while !rest.is_empty() {
        if rest.len() < ATTRIBUTE {
            return Err(Malformed("an attribute's header is cut off"));
        }
        let length = usize::from(u16::from_ne_bytes(take(rest, 0)));
        if length < ATTRIBUTE || length > rest.len() {
            return Err(Malformed("an attribute is cut off"));
        }
        if u16::from_ne_bytes(take(rest, 2)) & NLA_TYPE_MASK == INET_DIAG_CGROUP_ID {
            if length != ATTRIBUTE + 8 || found.is_some() {
                return Err(Malformed("a cgroup that is no number"));
            }
            found = Some(u64::from_ne_bytes(take(rest, ATTRIBUTE)));
        }
        rest = &rest[aligned(length).min(rest.len())..];
    }
    Ok(found)
}

/// NLMSG_ALIGN and NLA_ALIGN.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// `N` bytes that the caller has seen to be there.
fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of this length")
}

#[cfg(test)]
pub mod tests {
    use super::*;

    const SEQUENCE: u32 = 7;

    fn message(kind: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + payload.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(0u16.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((ATTRIBUTE + value.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn shown(family: Family, state: u8, port: u16, remote: &[u8], inode: u32, attributes: &[u8]) -> Vec<u8> {
        let mut payload = vec![family.number(), state, 0, 0];
        payload.extend(40_000u16.to_be_bytes());
        payload.extend(port.to_be_bytes());
        payload.extend([0; 16]);
        payload.extend(remote);
        payload.resize(4 + 36, 0);
        payload.extend([0; 4]);
        payload.extend([1, 2, 3, 4, 5, 6, 7, 8]);
        payload.extend([0; 16]);
        payload.extend(inode.to_ne_bytes());
        payload.extend(attributes);
        message(SOCK_DIAG_BY_FAMILY, SEQUENCE, &payload)
    }

    /// A socket to `remote`, as the kernel would show it.
    pub fn socket_to(remote: SocketAddr, inode: u32, cgroup: Option<u64>) -> Socket {
        let (family, address) = match remote.ip() {
            IpAddr::V4(ip) => (Family::Four, ip.octets().to_vec()),
            IpAddr::V6(ip) => (Family::Six, ip.octets().to_vec()),
        };
        let attributes = cgroup.map(|id| attribute(INET_DIAG_CGROUP_ID, &id.to_ne_bytes())).unwrap_or_default();
        match parts(&shown(family, 1, remote.port(), &address, inode, &attributes), SEQUENCE).unwrap().remove(0) {
            Part::Socket(socket) => socket,
            end => panic!("{end:?}"),
        }
    }

    #[test]
    fn a_socket_is_read_and_named_again() {
        let attributes =
            [attribute(8, &[0]), attribute(INET_DIAG_CGROUP_ID | 0x8000, &99u64.to_ne_bytes()), attribute(22, &[0, 0])];
        let bytes = [
            shown(Family::Four, 1, 5672, &[127, 0, 0, 1], 12, &attributes.concat()),
            shown(Family::Six, 8, 5672, &Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets(), 13, &[]),
            shown(Family::Six, 5, 5671, &Ipv6Addr::LOCALHOST.octets(), 0, &[]),
            message(NLMSG_DONE, SEQUENCE, &0i32.to_ne_bytes()),
        ];
        let parts = parts(&bytes.concat(), SEQUENCE).unwrap();
        let sockets: Vec<(String, u32, Option<u64>)> = parts
            .iter()
            .filter_map(|part| match part {
                Part::Socket(socket) => Some((socket.remote().to_string(), socket.inode, socket.cgroup)),
                Part::End { .. } => None,
            })
            .collect();
        let expected = [
            ("127.0.0.1:5672".into(), 12, Some(99)),
            ("127.0.0.1:5672".into(), 13, None),
            ("[::1]:5671".into(), 0, None),
        ];
        assert_eq!(sockets, expected);
        assert_eq!(parts.last(), Some(&Part::End { errno: 0 }));
        let Part::Socket(first) = &parts[0] else { panic!("{parts:?}") };
        assert_eq!(first.cookie(), [1, 2, 3, 4, 5, 6, 7, 8]);
        let order = destroy(first, 9);
        assert_eq!(order.len(), 72);
        assert_eq!(order[24..], first.id[..], "the identity goes back as it came");
        assert_eq!((order[4], order[16], order[17]), (21, 2, 6));
    }

    #[test]
    fn listeners_and_what_nobody_asked_for_are_no_connections() {
        let listen = shown(Family::Four, 10, 1, &[0; 4], 1, &[]);
        let waits = shown(Family::Four, 6, 1, &[0; 4], 1, &[]);
        let unknown = shown(Family::Four, 255, 1, &[0; 4], 1, &[]);
        let mut other = shown(Family::Four, 1, 1, &[0; 4], 1, &[]);
        other[HEADER] = 1;
        let foreign = message(NLMSG_ERROR, SEQUENCE + 1, &(-1i32).to_ne_bytes());
        assert_eq!(parts(&[listen, waits, unknown, other, foreign].concat(), SEQUENCE), Ok(Vec::new()));
    }

    #[test]
    fn errors_have_their_number() {
        let errno = |number: i32| match parts(&message(NLMSG_ERROR, SEQUENCE, &number.to_ne_bytes()), SEQUENCE) {
            Ok(parts) => parts,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(errno(0), [Part::End { errno: 0 }]);
        assert_eq!(errno(-2), [Part::End { errno: 2 }]);
        assert_eq!(errno(i32::MIN), [Part::End { errno: i32::MAX }], "never a success");
        assert_eq!(errno(5), [Part::End { errno: i32::MAX }], "never a success");
    }

    #[test]
    fn what_is_cut_off_is_not_used() {
        let id = attribute(INET_DIAG_CGROUP_ID, &99u64.to_ne_bytes());
        let whole = shown(Family::Four, 1, 5672, &[127, 0, 0, 1], 12, &id);
        for end in 1..whole.len() {
            assert!(parts(&whole[..end], SEQUENCE).is_err(), "{end} bytes");
        }
        for (value, why) in [(&[1, 2, 3, 4][..], "short"), (&[0; 12], "long")] {
            let odd = shown(Family::Four, 1, 1, &[0; 4], 1, &attribute(INET_DIAG_CGROUP_ID, value));
            assert!(parts(&odd, SEQUENCE).is_err(), "{why}");
        }
        assert!(parts(&shown(Family::Four, 1, 1, &[0; 4], 1, &[id.clone(), id].concat()), SEQUENCE).is_err(), "two");
        assert!(parts(&message(NLMSG_OVERRUN, SEQUENCE, &[]), SEQUENCE).is_err());
        assert!(parts(&message(NLMSG_ERROR, SEQUENCE, &[]), SEQUENCE).is_err());
    }

    /// Xorshift64*: the same bytes on every run.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
        }
        fn below(&mut self, limit: usize) -> usize {
            (self.next() % limit as u64) as usize
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_turn_without_end() {
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let attributes = [attribute(8, &[0]), attribute(INET_DIAG_CGROUP_ID, &99u64.to_ne_bytes())].concat();
        let real = [
            shown(Family::Four, 1, 5672, &[127, 0, 0, 1], 12, &attributes),
            shown(Family::Six, 8, 5672, &Ipv6Addr::LOCALHOST.octets(), 13, &attributes),
            message(NLMSG_DONE, SEQUENCE, &0i32.to_ne_bytes()),
        ]
        .concat();
        for _ in 0..50_000 {
            let mut bytes = real.clone();
            for _ in 0..=random.below(6) {
                let at = random.below(bytes.len());
                bytes[at] = random.next() as u8;
            }
            bytes.truncate(random.below(bytes.len() + 1));
            let most = bytes.len() / HEADER;
            assert!(parts(&bytes, SEQUENCE).is_ok_and(|parts| parts.len() <= most) || parts(&bytes, SEQUENCE).is_err());
            let noise: Vec<u8> = (0..random.below(200)).map(|_| random.next() as u8).collect();
            let _ = parts(&noise, SEQUENCE);
        }
    }
}
