//! One connection to a broker, for as long as it lives. It never reconnects by itself: the link decides when.

use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::tcp::{AMQPUriTcpExt, AsyncTcpStream, OwnedTLSConfig};
use lapin::types::FieldTable;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind};
use rustix::net::{Shutdown, shutdown};

use super::address::Address;
use super::plan::Link;
use super::trust;
use crate::adapters::secret::Secret;

/// Name, TCP, TLS and login together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// One question. RabbitMQ answers in 0.2 ms.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Seconds after which an idle connection says that it lives. A round is shorter; this is for what hangs in between.
const HEARTBEAT: u16 = 20;
/// Largest frame, bytes: we receive a few hundred. lapin keeps room for 64 of them, 8 MiB with RabbitMQ's default.
const FRAME_MAX: u32 = 8192;
/// Longest part of a broker's text that is passed on.
const TEXT_MAX: usize = 200;

pub struct Broker {
    connection: Connection,
    channel: Option<Channel>,
    socket: Socket,
}

/// Why a question has no answer.
pub enum Trouble {
    /// The broker will not say it about this queue; others can be asked.
    Queue(String),
    /// The connection is of no use any more.
    Connection(String),
}

impl Broker {
    pub async fn connect(link: &Link, password: &Secret) -> Result<Self, String> {
        Self::connect_within(CONNECT_TIMEOUT, link, password).await
    }

    async fn connect_within(limit: Duration, link: &Link, password: &Secret) -> Result<Self, String> {
        let trust = trust::read(link.ca_file.as_deref()).await?;
        let socket = Socket::default();
        let attempt = open(link, password, trust, socket.clone());
        match tokio::time::timeout(limit, attempt).await {
            Ok(Ok(connection)) => Ok(Self { connection, channel: None, socket }),
            Ok(Err(error)) => Err(refusal(link, &error)),
            Err(_) => {
                // lapin's thread would wait for a silent broker for ever.
                socket.cut();
                Err(format!("{} does not answer", link.address))
            }
        }
    }

    /// Ready messages and consumers of a queue, by a passive declare.
    pub async fn depth(&mut self, link: &Link, queue: &str) -> Result<(u64, u64), Trouble> {
        let asked = tokio::time::timeout(ASK_TIMEOUT, self.ask(queue)).await;
        let error = match asked {
            Ok(Ok(depth)) => return Ok(depth),
            Ok(Err(error)) => error,
            Err(_) => {
                return Err(Trouble::Connection(format!("{} has not answered for {ASK_TIMEOUT:?}", link.address)));
            }
        };
        // Any error ends the channel.
        self.channel = None;
        match error.kind() {
            ErrorKind::ProtocolError(told) => match told.kind() {
                AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => {
                    Err(Trouble::Queue(format!("there is no queue {queue} in vhost {}", link.vhost)))
                }
                AMQPErrorKind::Soft(_) => Err(Trouble::Queue(shown(told.get_message().as_str()))),
                AMQPErrorKind::Hard(_) => Err(Trouble::Connection(shown(told.get_message().as_str()))),
            },
            _ => Err(Trouble::Connection(format!("the connection to {} was lost: {}", link.address, plain(&error)))),
        }
    }

    async fn ask(&mut self, queue: &str) -> lapin::Result<(u64, u64)> {
        let channel = match self.channel.take() {
            Some(channel) => channel,
            None => self.connection.create_channel().await?,
        };
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = channel.queue_declare(queue.into(), passive, FieldTable::default()).await?;
        self.channel = Some(channel);
        Ok((u64::from(found.message_count()), u64::from(found.consumer_count())))
    }

    /// Says goodbye, if the broker listens.
    pub async fn close(self) {
        let goodbye = self.connection.close(200, "OK".into());
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, goodbye).await;
    }
}

impl Drop for Broker {
    /// Whatever state lapin is in, its thread ends with the socket.
    fn drop(&mut self) {
        self.socket.cut();
    }
}

async fn open(link: &Link, password: &Secret, trust: OwnedTLSConfig, socket: Socket) -> lapin::Result<Connection> {
    let properties = ConnectionProperties::default().with_connection_name("unitmedic".into());
    let runtime = lapin::runtime::default_runtime()?;
    // Inline: only as an argument does the closure know its types.
    let connecting = Connection::connector(
        uri(link, password),
        runtime,
        async move |uri, runtime| {
            // The future that waits for all of this may be gone; lapin's thread must not go on by itself.
            let connecting = uri.connect_with_config_async(trust.as_ref(), &runtime);
            let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
            let stream = stream.map_err(|_| io::Error::from(io::ErrorKind::TimedOut)).flatten()?;
            match &stream {
                AsyncTcpStream::Plain(plain) => socket.keep(plain.get_ref().as_fd())?,
                AsyncTcpStream::Rustls(tls) => socket.keep(tls.get_ref().0.get_ref().as_fd())?,
                _ => {}
            }
            Ok(stream)
        },
        properties,
    );
    connecting.await
}

/// The parts are put in as they are: nothing of them is parsed again.
fn uri(link: &Link, password: &Secret) -> AMQPUri {
    let userinfo = AMQPUserInfo { username: link.user.clone(), password: password.expose().to_string() };
    AMQPUri {
        vhost: link.vhost.clone(),
        query: AMQPQueryString { frame_max: Some(FRAME_MAX), heartbeat: Some(HEARTBEAT), ..AMQPQueryString::default() },
        ..endpoint(&link.address, userinfo)
    }
}

fn endpoint(address: &Address, userinfo: AMQPUserInfo) -> AMQPUri {
    AMQPUri {
        scheme: if address.tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority { userinfo, host: address.host.clone(), port: address.port },
        ..AMQPUri::default()
    }
}

/// A second handle of the connection's socket, by which it can be ended whatever lapin does.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<State>>);

#[derive(Default)]
enum State {
    #[default]
    New,
    Open(OwnedFd),
    Cut,
}

impl Socket {
    /// Fails when nobody waits for the connection any more.
    fn keep(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Cut) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        *state = State::Open(socket.try_clone_to_owned()?);
        Ok(())
    }

    fn cut(&self) {
        let state = mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), State::Cut);
        if let State::Open(socket) = state {
            let _ = shutdown(socket, Shutdown::Both);
        }
    }
}

/// Why there is no connection. The broker's own words about a login are kept out: they are vague on purpose.
fn refusal(link: &Link, error: &lapin::Error) -> String {
    let Link { address, vhost, user, .. } = link;
    match error.kind() {
        ErrorKind::ProtocolError(told) => match told.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => format!("{address} refuses the login of user {user}"),
            AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => {
                format!("{address} does not let user {user} into vhost {vhost}: {}", shown(told.get_message().as_str()))
            }
            _ => format!("{address} refuses the connection: {}", shown(told.get_message().as_str())),
        },
        _ => format!("cannot connect to {address}: {}", plain(error)),
    }
}

/// The reason without lapin's words around it.
fn plain(error: &lapin::Error) -> String {
    match error.kind() {
        ErrorKind::IOError(error) => shown(&error.to_string()),
        ErrorKind::InvalidChannelState(..) | ErrorKind::InvalidConnectionState(_) => "it was closed".into(),
        _ => shown(&error.to_string()),
    }
}

/// A foreign text in one line of bounded length.
pub fn shown(text: &str) -> String {
    text.chars().take(TEXT_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::adapters::secret::Source;

    #[test]
    fn foreign_text_is_one_bounded_line() {
        assert_eq!(shown("a\nb\u{1b}[31m"), "a b [31m");
        assert_eq!(shown(&"é".repeat(1000)).chars().count(), 200);
    }

    fn link(port: u16) -> Link {
        let address = Address { tls: false, host: "127.0.0.1".into(), port };
        Link { address, vhost: "/".into(), user: "medic".into(), password: Source::Default, ca_file: None }
    }

    fn listener() -> (std::net::TcpListener, u16) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        (listener, port)
    }

    #[tokio::test]
    async fn a_broker_that_is_not_there_is_named_and_the_password_is_not() {
        let (_, port) = listener();
        let why = Broker::connect(&link(port), &Secret::new("hunter2")).await.err().expect("nobody listens");
        assert_eq!(why, format!("cannot connect to 127.0.0.1:{port}: Connection refused (os error 111)"));
        assert!(!format!("{:?}", link(port)).contains("hunter2"));
    }

    fn lapin_threads() -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").expect("/proc").flatten();
        let names = tasks.map(|task| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default());
        names.filter(|name| name.starts_with("lapin")).count()
    }

    #[tokio::test]
    async fn a_silent_broker_is_left_alone_and_no_thread_waits_for_it() {
        let (listener, port) = listener();
        let limit = Duration::from_millis(300);
        let (link, password) = (link(port), Secret::new("hunter2"));
        let why = Broker::connect_within(limit, &link, &password).await.err().expect("nobody answers");
        assert_eq!(why, format!("127.0.0.1:{port} does not answer"));
        let (mut ours, _) = listener.accept().expect("it connected");
        let ended = tokio::task::spawn_blocking(move || {
            ours.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
            let mut greeting = Vec::new();
            io::Read::read_to_end(&mut ours, &mut greeting).map(|_| greeting)
        });
        assert_eq!(ended.await.expect("read").expect("the end"), b"AMQP\0\0\x09\x01");
        let deadline = Instant::now() + Duration::from_secs(10);
        while lapin_threads() > 0 {
            assert!(Instant::now() < deadline, "lapin's thread goes on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
