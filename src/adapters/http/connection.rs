//! Accepting connections, their limits, and the orderly end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::peer::Peer;
use super::problem::Problem;
use super::web::Web;
use super::{
    DRAIN_TIMEOUT, Endpoint, HEAD_BYTES_MAX, HEAD_TIMEOUT, HEADERS_MAX, Port, REQUEST_TIMEOUT, Shutdown,
    WRITE_STALL_TIMEOUT, stopped,
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
}

impl Limits {
    pub fn for_connections(connections: usize) -> Self {
        Self { connections, head_timeout: HEAD_TIMEOUT, request_timeout: REQUEST_TIMEOUT, drain_timeout: DRAIN_TIMEOUT }
    }
}

/// What the accept loop needs of a listener.
pub trait Listener: Send {
    /// What is accepted, and then opened in the connection's own task.
    type Stream: Opening;
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Option<Peer>)>> + Send;
    /// File to remove at the end.
    fn file(&self) -> Option<PathBuf>;
}

/// A connection that may have to be opened by a handshake.
pub trait Opening: Send + 'static {
    type Opened: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    fn open(self) -> impl Future<Output = io::Result<Self::Opened>> + Send;
}

/// TCP, with TLS where the web configuration has it.
pub struct Tcp {
    listeners: Vec<TcpListener>,
    /// Accepts so far: the next look begins with another listener, so that none is starved by the others.
    turn: AtomicUsize,
    web: Arc<Web>,
}

impl Tcp {
    pub fn new(listeners: Vec<TcpListener>, web: Arc<Web>) -> Self {
        Self { listeners, turn: AtomicUsize::new(0), web }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        let (before, after) = self.listeners.split_at(self.turn.load(Ordering::Relaxed) % self.listeners.len().max(1));
        for listener in after.iter().chain(before) {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                self.turn.fetch_add(1, Ordering::Relaxed);
                return Poll::Ready(accepted.map(|(stream, _)| stream));
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
    async fn accept(&self) -> io::Result<(TcpConnection, Option<Peer>)> {
        let stream = poll_fn(|cx| self.poll_accept(cx)).await?;
        stream.set_nodelay(true)?;
        Ok((TcpConnection { stream, tls: self.web.terms().tls.clone() }, None))
    }
    fn file(&self) -> Option<PathBuf> {
        None
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;
    async fn accept(&self) -> io::Result<(UnixStream, Option<Peer>)> {
        let (stream, _) = UnixListener::accept(self).await?;
        let credentials = stream.peer_cred()?;
        Ok((stream, Some(Peer { uid: credentials.uid(), pid: credentials.pid() })))
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
            Ok((stream, peer, permit)) => {
                let connection = connection(stream, peer, router.clone(), port.clone(), limits, shutdown.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
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

async fn accept<L: Listener>(
    listener: &L,
    room: &Arc<Semaphore>,
) -> io::Result<(L::Stream, Option<Peer>, tokio::sync::OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

async fn connection<S, P>(
    stream: S,
    peer: Option<Peer>,
    router: Router,
    port: Arc<P>,
    limits: Limits,
    mut shutdown: Shutdown,
) where
    S: Opening,
    P: Port,
{
    let stream = match timeout(limits.head_timeout, stream.open()).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a connection was not opened"),
        Err(_) => return,
    };
    let routes = TowerToHyperService::new(router);
    let (asked, mut first) = watch::channel(false);
    let service = service_fn(move |request| {
        asked.send_replace(true);
        answer(request, peer, routes.clone(), port.clone(), limits.request_timeout)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(Guarded::new(stream, WRITE_STALL_TIMEOUT)), service)
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
    mut request: Request<Incoming>,
    peer: Option<Peer>,
    routes: TowerToHyperService<Router>,
    port: Arc<P>,
    limit: Duration,
) -> Result<Response, Infallible> {
    let endpoint = Endpoint::of(request.uri().path());
    if let Some(peer) = peer {
        request.extensions_mut().insert(peer);
    }
    let call = hyper::service::Service::call(&routes, request.map(Body::new));
    let response = match timeout(limit, call).await {
        Ok(answered) => answered.unwrap_or_else(|never| match never {}),
        Err(_) => {
            let detail =
                format!("no answer within {limit:?}; the daemon is overloaded, or the request's body never came");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
        }
    };
    port.answered(endpoint, response.status().as_u16());
    Ok(response)
}

/// A stream whose peer must take what we write: a reader that stalls is cut off instead of held.
struct Guarded<S> {
    inner: S,
    limit: Duration,
    /// Runs while a write waits.
    stall: Option<Pin<Box<Sleep>>>,
}

impl<S: Unpin> Guarded<S> {
    fn new(inner: S, limit: Duration) -> Self {
        Self { inner, limit, stall: None }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(self.limit)));
        stall.as_mut().poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the peer reads nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.watch(cx, written)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn no_listener_is_starved_by_the_others() {
        let busy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let quiet = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (to_busy, to_quiet) = (busy.local_addr().unwrap(), quiet.local_addr().unwrap());
        let mut clients = Vec::new();
        for address in [to_busy, to_busy, to_busy, to_quiet] {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        let tcp = Tcp::new(vec![busy, quiet], Arc::new(Web::new(None).unwrap()));
        let mut accepted = Vec::new();
        for _ in 0..2 {
            accepted.push(tcp.accept().await.unwrap().0.stream.local_addr().unwrap());
        }
        assert_eq!(accepted, [to_busy, to_quiet]);
    }

    #[tokio::test]
    async fn a_reader_that_stalls_is_cut_off() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let mut guarded = Guarded::new(ours, Duration::from_millis(5));
        let error = guarded.write_all(&[0; 100]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
