//! Accepting connections, their limits, and the orderly end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::guarded::Guarded;
use super::hardened::harden;
use super::peer::{Credentials, Peer, Remote};
use super::places::{Busy, Place, Places, Room};
use super::problem::Problem;
use super::web::Web;
use super::{
    DRAIN_TIMEOUT, Endpoint, HEAD_BYTES_MAX, HEAD_TIMEOUT, HEADERS_MAX, Port, REQUEST_TIMEOUT, Shutdown,
    WRITE_STALL_TIMEOUT, WRITE_TIMEOUT, stopped,
};

/// Pause after a failed accept, mostly because descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Time that a connection gets for its first request when the daemon stops: that is on its way, for the connection was
/// made a moment ago. Whoever connects and is silent must not hold up the stop for longer.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(500);

/// What a listener allows.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub connections: usize,
    pub head_timeout: Duration,
    pub request_timeout: Duration,
    pub drain_timeout: Duration,
    /// Without a byte that the peer takes.
    pub stall_timeout: Duration,
    /// Until the peer has taken everything.
    pub write_timeout: Duration,
}

impl Limits {
    pub fn for_connections(connections: usize) -> Self {
        Self {
            connections,
            head_timeout: HEAD_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            drain_timeout: DRAIN_TIMEOUT,
            stall_timeout: WRITE_STALL_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
        }
    }
}

/// What came in.
pub struct Accepted<S> {
    stream: S,
    peer: Peer,
    /// Where places are given by client.
    place: Option<Place>,
}

/// What the accept loop needs of a listener.
pub trait Listener: Send {
    /// What is accepted, and then opened in the connection's own task.
    type Stream: Opening;
    fn accept(&self) -> impl Future<Output = io::Result<Accepted<Self::Stream>>> + Send;
    /// File to remove at the end.
    fn file(&self) -> Option<PathBuf>;
}

/// A connection that may have to be opened by a handshake.
pub trait Opening: Send + 'static {
    type Opened: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    fn open(self) -> impl Future<Output = io::Result<Self::Opened>> + Send;
}

/// TCP, with TLS where the web configuration has it. Who finds no place is let go at once: one that waited in the kernel's
/// queue would be before all who come after it.
pub struct Tcp {
    listeners: Vec<TcpListener>,
    /// Accepts so far: the next look begins with another listener, so that none is starved by the others.
    turn: AtomicUsize,
    web: Arc<Web>,
    places: Arc<Places>,
    refused: Box<dyn Fn(IpAddr) + Send + Sync>,
}

impl Tcp {
    /// `refused` is told the address of who finds no place, or loses one.
    pub fn new(
        listeners: Vec<TcpListener>,
        web: Arc<Web>,
        room: Room,
        refused: impl Fn(IpAddr) + Send + Sync + 'static,
    ) -> Self {
        Self { listeners, turn: AtomicUsize::new(0), web, places: Places::new(room), refused: Box::new(refused) }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let (before, after) = self.listeners.split_at(self.turn.load(Ordering::Relaxed) % self.listeners.len().max(1));
        for listener in after.iter().chain(before) {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                self.turn.fetch_add(1, Ordering::Relaxed);
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }
}

pub struct TcpConnection {
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
}

/// In the clear, or not.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

impl Opening for TcpConnection {
    type Opened = Box<dyn Duplex>;
    async fn open(self) -> io::Result<Box<dyn Duplex>> {
        match self.tls {
            Some(config) => Ok(Box::new(TlsAcceptor::from(config).accept(self.stream).await?)),
            None => Ok(Box::new(self.stream)),
        }
    }
}

impl Opening for UnixStream {
    type Opened = UnixStream;
    async fn open(self) -> io::Result<UnixStream> {
        Ok(self)
    }
}

impl Listener for Tcp {
    type Stream = TcpConnection;
    async fn accept(&self) -> io::Result<Accepted<TcpConnection>> {
        loop {
            let (stream, address) = poll_fn(|cx| self.poll_accept(cx)).await?;
            let asked = self.places.enter(address.ip());
            if let Some(ended) = asked.ended {
                (self.refused)(ended);
            }
            let Some(place) = asked.place else {
                (self.refused)(address.ip());
                // A flood of them must not keep this thread from those who are here.
                tokio::task::yield_now().await;
                continue;
            };
            // Fails where the client has gone again, which is found out soon enough.
            let _ = stream.set_nodelay(true);
            let tls = self.web.terms().tls.clone();
            let peer = Peer::Remote(Remote { address: address.ip(), tls: tls.is_some() });
            return Ok(Accepted { stream: TcpConnection { stream, tls }, peer, place: Some(place) });
        }
    }
    fn file(&self) -> Option<PathBuf> {
        None
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;
    async fn accept(&self) -> io::Result<Accepted<UnixStream>> {
        let (stream, _) = UnixListener::accept(self).await?;
        let credentials = stream.peer_cred()?;
        let peer = Peer::Local(Credentials { uid: credentials.uid(), pid: credentials.pid() });
        Ok(Accepted { stream, peer, place: None })
    }
    fn file(&self) -> Option<PathBuf> {
        self.local_addr().ok()?.as_pathname().map(PathBuf::from)
    }
}

/// Accepts up to `limits.connections` at a time until `shutdown`; further ones wait in the kernel's queue.
pub async fn serve<L: Listener, P: Port>(
    listener: L,
    router: Router,
    port: Arc<P>,
    limits: Limits,
    mut shutdown: Shutdown,
) {
    let room = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut shutdown) => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((accepted, permit)) => {
                let connection = connection(accepted, router.clone(), port.clone(), limits, shutdown.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            // Of that connection alone: it had failed before it was ours (accept(2)).
            Err(error) if !is_short(&error) => tracing::debug!(%error, "a connection was not accepted"),
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::select! { () = stopped(&mut shutdown) => break, () = sleep(ACCEPT_PAUSE) => {} }
            }
        }
    }
    // The file goes first: a successor must not find it without a listener and have its own removed by us.
    if let Some(Err(error)) = listener.file().map(std::fs::remove_file) {
        tracing::debug!(%error, "the control socket was gone already");
    }
    drop(listener);
    let drained = timeout(limits.drain_timeout, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::info!(connections = connections.len(), "connections cut off at shutdown");
    }
}

/// Whether descriptors or memory have run out, which time may mend.
fn is_short(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_none_or(|errno| matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

async fn accept<L: Listener>(
    listener: &L,
    room: &Arc<Semaphore>,
) -> io::Result<(Accepted<L::Stream>, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    Ok((listener.accept().await?, permit))
}

async fn connection<S: Opening, P: Port>(
    accepted: Accepted<S>,
    router: Router,
    port: Arc<P>,
    limits: Limits,
    shutdown: Shutdown,
) {
    let Accepted { stream, peer, place } = accepted;
    let place = place.map(Arc::new);
    let ended = async {
        match &place {
            Some(place) => place.ended().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = converse(stream, peer, place.clone(), router, port, limits, shutdown) => {}
        () = ended => tracing::debug!("an idle connection was ended, for another one needed its place"),
    }
}

async fn converse<S: Opening, P: Port>(
    stream: S,
    peer: Peer,
    place: Option<Arc<Place>>,
    router: Router,
    port: Arc<P>,
    limits: Limits,
    mut shutdown: Shutdown,
) {
    let stream = match timeout(limits.head_timeout, stream.open()).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a connection was not opened"),
        Err(_) => return,
    };
    let routes = TowerToHyperService::new(router);
    let (asked, mut first) = watch::channel(false);
    let service = service_fn(move |mut request: Request<Incoming>| {
        asked.send_replace(true);
        request.extensions_mut().insert(peer);
        let busy = place.as_ref().map(|place| place.busy());
        let answer = answer(request, routes.clone(), port.clone(), limits.request_timeout);
        async move { answer.await.map(|response| response.map(|body| Body::new(Held { body, busy }))) }
    });
    let stream = Guarded::new(stream, limits.stall_timeout, limits.write_timeout);
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
    );
    let closing = async {
        stopped(&mut shutdown).await;
        let _ = timeout(FIRST_REQUEST_GRACE, first.wait_for(|asked| *asked)).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}

async fn answer<P: Port>(
    request: Request<Incoming>,
    routes: TowerToHyperService<Router>,
    port: Arc<P>,
    limit: Duration,
) -> Result<Response, Infallible> {
    let endpoint = Endpoint::of(request.uri().path());
    let call = hyper::service::Service::call(&routes, request.map(Body::new));
    let mut response = match timeout(limit, call).await {
        Ok(answered) => answered.unwrap_or_else(|never| match never {}),
        Err(_) => {
            let detail =
                format!("no answer within {limit:?}; the daemon is overloaded, or the request's body never came");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
        }
    };
    harden(&mut response, endpoint);
    port.answered(endpoint, response.status().as_u16());
    Ok(response)
}

/// The body of an answer, with what says that it is still under way.
struct Held {
    body: Body,
    busy: Option<Busy>,
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.busy = None;
        }
        frame
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_listener_is_starved_by_the_others() {
        let busy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let quiet = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (to_busy, to_quiet) = (busy.local_addr().unwrap(), quiet.local_addr().unwrap());
        let mut clients = Vec::new();
        for address in [to_busy, to_busy, to_busy, to_quiet] {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        let room = Room { all: 9, of_one: 9, reserved: 0 };
        let tcp = Tcp::new(vec![busy, quiet], Arc::new(Web::new(None).unwrap()), room, |_| ());
        let mut accepted = Vec::new();
        for _ in 0..2 {
            accepted.push(tcp.accept().await.unwrap().stream.stream.local_addr().unwrap());
        }
        assert_eq!(accepted, [to_busy, to_quiet]);
    }
}
