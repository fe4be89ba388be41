//! Opening the two listeners, or taking those that systemd opened, with errors that say what to do.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, ipproto, listen, socket_with, sockopt,
};
use tokio::net::{TcpListener, UnixListener};

use super::{PASSED_SOCKETS_MAX, peer};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;
/// The same on TCP, where a flood must not fill it before our thread has its turn: who finds it full tries again after a
/// second, and a scraper has not many of them.
const TCP_BACKLOG: i32 = 1024;

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("{0} is in use by another process: `ss -ltnp 'sport = :{port}'` names it; set daemon.listen to a free port", port = .0.port())]
    PortInUse(SocketAddr),
    #[error(
        "may not listen on {0}: ports below 1024 need CAP_NET_BIND_SERVICE; set daemon.listen to a higher port, or let a socket unit of systemd open it"
    )]
    PortDenied(SocketAddr),
    #[error("{0} is not an address of this host; set daemon.listen to one that is, such as 127.0.0.1:10119")]
    NoSuchAddress(SocketAddr),
    #[error("cannot listen on {address}: {source}")]
    Tcp { address: SocketAddr, source: io::Error },
    #[error("{0}")]
    Web(String),
    #[error(
        "cannot start the thread that serves TCP: {0}; is there room for threads and open files (LimitNOFILE=, TasksMax=)?"
    )]
    Thread(io::Error),
    #[error(
        "systemd passed {0} sockets, and {PASSED_SOCKETS_MAX} are the most: fewer ListenStream= in its socket units"
    )]
    TooManyPassed(usize),
    #[error(
        "the socket {name} that systemd passed {why}: `systemctl cat '*.socket'` has its unit, which needs ListenStream= with a TCP port and no Accept=yes"
    )]
    Passed { name: String, why: String },
    #[error("another unitmedic answers on {}: stop it first, or set daemon.control_socket to another path", .0.display())]
    Alive(PathBuf),
    #[error("{} exists and is not a socket; remove it, or set daemon.control_socket to another path", .0.display())]
    NotASocket(PathBuf),
    #[error("the directory of {} does not exist; create it, or set daemon.control_socket to another path", .0.display())]
    NoDirectory(PathBuf),
    #[error("may not create {}: run as root, or set daemon.control_socket to a path that you may write", .0.display())]
    Denied(PathBuf),
    #[error("the path {} is too long for a socket (107 bytes at most); set daemon.control_socket to a shorter one", .0.display())]
    TooLong(PathBuf),
    #[error("cannot listen on {}: {source}", path.display())]
    Unix { path: PathBuf, source: io::Error },
}

/// Listens for scrapers. Needs a tokio runtime.
pub async fn bind_tcp(address: SocketAddr) -> Result<TcpListener, BindError> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.and_then(|listener| {
        // Again, with a queue of another length (listen(2)).
        listen(&listener, TCP_BACKLOG)?;
        Ok(listener)
    });
    let listener = listener.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::PortInUse(address),
        io::ErrorKind::AddrNotAvailable => BindError::NoSuchAddress(address),
        io::ErrorKind::PermissionDenied => BindError::PortDenied(address),
        _ => BindError::Tcp { address, source },
    })?;
    tracing::info!(%address, "metrics are served");
    Ok(listener)
}

/// Takes the sockets that systemd passed, each with its name. One that is no use keeps us from starting: nobody else
/// would ever answer on it. Needs a tokio runtime.
pub fn take_passed(passed: Vec<(String, OwnedFd)>) -> Result<Vec<TcpListener>, BindError> {
    if passed.len() > PASSED_SOCKETS_MAX {
        return Err(BindError::TooManyPassed(passed.len()));
    }
    passed.into_iter().map(|(name, socket)| take_one(&name, socket)).collect()
}

fn take_one(name: &str, socket: OwnedFd) -> Result<TcpListener, BindError> {
    let useless = |why: String| BindError::Passed { name: name.into(), why };
    match no_use(&socket) {
        Ok(None) => {}
        Ok(Some(why)) => return Err(useless(why.into())),
        Err(error) => return Err(useless(format!("cannot be looked at: {error}"))),
    }
    let listener = std::net::TcpListener::from(socket);
    let taken = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
    let taken = taken.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = taken.map_err(|error| useless(format!("cannot be taken: {error}")))?;
    tracing::info!(%address, socket = name, "metrics are served on a socket that systemd keeps; listen in [daemon] is left alone");
    Ok(listener)
}

/// What it is instead of a TCP socket that listens.
fn no_use(socket: &OwnedFd) -> io::Result<Option<&'static str>> {
    let (family, kind) = match (sockopt::socket_domain(socket), sockopt::socket_type(socket)) {
        (Err(Errno::NOTSOCK), _) => return Ok(Some("is not a socket")),
        (family, kind) => (family?, kind?),
    };
    let tcp = matches!(family, AddressFamily::INET | AddressFamily::INET6)
        && kind == SocketType::STREAM
        && matches!(sockopt::socket_protocol(socket)?, Some(ipproto::TCP | ipproto::MPTCP));
    Ok(match tcp {
        false => Some("is not of TCP"),
        true if !sockopt::socket_acceptconn(socket)? => Some("does not listen"),
        true => None,
    })
}

/// Listens on the control socket: mode 0660 and the group where it exists and we may give it away, else 0600.
/// Replaces the socket of a daemon that is gone, never that of one that answers. Needs a tokio runtime.
pub fn bind_control(path: &Path, group: &str) -> Result<UnixListener, BindError> {
    let address = SocketAddrUnix::new(path).map_err(|_| BindError::TooLong(path.into()))?;
    make_way(path, &address)?;
    let listener = open(&address).map_err(|e| unix_error(path, e))?;
    let mode = match open_to_group(path, group) {
        Ok(()) => 0o660,
        Err(why) => {
            tracing::info!(socket = %path.display(), group, why, "the control socket is for its owner alone");
            0o600
        }
    };
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode))
        .and_then(|()| UnixListener::from_std(listener))
        .map_err(|source| BindError::Unix { path: path.into(), source })
}

/// Removes a socket file that nobody listens on.
fn make_way(path: &Path, address: &SocketAddrUnix) -> Result<(), BindError> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(unix_error(path, e)),
        Ok(there) if !there.file_type().is_socket() => return Err(BindError::NotASocket(path.into())),
        Ok(_) => {}
    }
    let probe = unix_socket().map_err(|e| unix_error(path, e))?;
    match connect(&probe, address) {
        // EAGAIN: its queue is full, so somebody owns it.
        Ok(()) | Err(Errno::AGAIN) => Err(BindError::Alive(path.into())),
        Err(Errno::CONNREFUSED) => std::fs::remove_file(path).map_err(|e| unix_error(path, e)),
        Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(unix_error(path, e.into())),
    }
}

fn unix_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?)
}

/// The socket file takes the mode of the descriptor, so there is no moment in which others may connect.
fn open(address: &SocketAddrUnix) -> io::Result<StdUnixListener> {
    let socket = unix_socket()?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

fn open_to_group(path: &Path, group: &str) -> Result<(), String> {
    let id = peer::group_id(group).ok_or("there is no such group in /etc/group")?;
    chown(path, None, Some(id)).map_err(|e| format!("cannot give it to the group: {e}"))
}

fn unix_error(path: &Path, source: io::Error) -> BindError {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => BindError::NoDirectory(path.into()),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => BindError::Denied(path.into()),
        io::ErrorKind::AddrInUse => BindError::Alive(path.into()),
        _ => BindError::Unix { path: path.into(), source },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    /// A group that the test may give files to: its own.
    fn own_group() -> String {
        let id = rustix::process::getgid().as_raw();
        let groups = std::fs::read_to_string("/etc/group").unwrap();
        let line = groups.lines().find(|line| line.split(':').nth(2) == Some(&id.to_string())).unwrap();
        line.split(':').next().unwrap().to_owned()
    }

    #[tokio::test]
    async fn modes_and_stale_sockets() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");

        let first = bind_control(&path, "no-such-group").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(matches!(bind_control(&path, "x"), Err(BindError::Alive(_))), "a live socket stays");

        drop(first);
        assert!(path.exists(), "a dead daemon leaves its socket");
        let _second = bind_control(&path, &own_group()).unwrap();
        assert_eq!(mode(&path), 0o660);
    }

    #[tokio::test]
    async fn refusals_name_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        assert!(matches!(bind_control(&file, "x"), Err(BindError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");

        let missing = dir.path().join("no/control.sock");
        let error = bind_control(&missing, "x").unwrap_err();
        assert!(matches!(error, BindError::NoDirectory(_)) && error.to_string().contains("no/control.sock"));

        let long = dir.path().join("x".repeat(120));
        assert!(matches!(bind_control(&long, "x"), Err(BindError::TooLong(_))));
    }

    #[tokio::test]
    async fn a_port_in_use_is_told_with_what_to_do() {
        let first = bind_tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = first.local_addr().unwrap();
        let error = bind_tcp(address).await.unwrap_err();
        assert!(matches!(error, BindError::PortInUse(_)));
        assert!(error.to_string().contains(&format!("sport = :{}", address.port())), "{error}");
    }

    fn passed(name: &str, socket: impl Into<OwnedFd>) -> Vec<(String, OwnedFd)> {
        vec![(name.into(), socket.into())]
    }

    #[tokio::test]
    async fn sockets_of_systemd_that_listen_on_tcp_are_taken() {
        let mut both = Vec::new();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            both.extend(passed("unitmedic.socket", std::net::TcpListener::bind(address).unwrap()));
        }
        let taken = take_passed(both).unwrap();
        assert_eq!(taken.len(), 2);
        for listener in taken {
            let address = listener.local_addr().unwrap();
            let (_, accepted) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
            accepted.unwrap();
        }
    }

    #[tokio::test]
    async fn sockets_of_systemd_that_are_no_use_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let tcp = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let there = tcp();
        let connection = std::net::TcpStream::connect(there.local_addr().unwrap()).unwrap();
        let cases = [
            (
                passed("a", StdUnixListener::bind(dir.path().join("a")).unwrap()),
                "the socket a that systemd passed is not of TCP",
            ),
            (
                passed("b", std::net::UdpSocket::bind("127.0.0.1:0").unwrap()),
                "the socket b that systemd passed is not of TCP",
            ),
            (passed("c", connection), "the socket c that systemd passed does not listen"),
            (
                passed("d", std::fs::File::open("/dev/null").unwrap()),
                "the socket d that systemd passed is not a socket",
            ),
            ((0..17).flat_map(|_| passed("e", tcp())).collect(), "systemd passed 17 sockets, and 16 are the most"),
        ];
        for (sockets, expected) in cases {
            let told = take_passed(sockets).unwrap_err().to_string();
            assert!(told.starts_with(expected), "{told}");
        }
    }
}
