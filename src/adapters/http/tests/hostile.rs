//! Clients that want to do harm: slow ones, greedy ones, and those who send what no client sends.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpSocket;
use tokio::time::sleep;

use super::access::{connect_from, tcp};
use super::*;

/// The control API over TCP, with limits that are soon reached.
struct Short {
    address: SocketAddr,
    app: Arc<App>,
    _stop: watch::Sender<bool>,
}

const SHORT: Limits = Limits {
    connections: 1000,
    head_timeout: Duration::from_millis(300),
    request_timeout: Duration::from_millis(300),
    drain_timeout: Duration::from_millis(300),
    stall_timeout: Duration::from_millis(300),
    write_timeout: Duration::from_secs(2),
};

const ROOM: Room =
    Room { all: TCP_CONNECTIONS_MAX, of_one: TCP_CONNECTIONS_OF_ONE_MAX, reserved: TCP_CONNECTIONS_RESERVED };

async fn short() -> Short {
    let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = App::new();
    let (stop, shutdown) = watch::channel(false);
    let router = routes::control(app.clone(), shutdown.clone());
    let listener = connection::Tcp::new(vec![listener], Arc::new(Web::new(None).unwrap()), ROOM, |_| ());
    tokio::spawn(connection::serve(listener, router, app.clone(), SHORT, shutdown));
    Short { address, app, _stop: stop }
}

async fn is_served(address: SocketAddr) -> bool {
    let asking = async { exchange(connect_from([0, 0, 9], address).await, &get("/metrics")).await };
    timeout(Duration::from_secs(3), asking).await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// Sends a piece every now and then until the server has enough; how long it had patience.
async fn dribble(address: SocketAddr, begin: &str, piece: &str) -> Duration {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let since = std::time::Instant::now();
    stream.write_all(begin.as_bytes()).await.unwrap();
    let mut answer = [0; 4096];
    loop {
        match timeout(Duration::from_millis(50), stream.read(&mut answer)).await {
            Ok(Ok(0) | Err(_)) => return since.elapsed(),
            // The answer, and then the end.
            Ok(Ok(_)) => {}
            Err(_) => {
                if stream.write_all(piece.as_bytes()).await.is_err() {
                    return since.elapsed();
                }
            }
        }
        assert!(since.elapsed() < PATIENCE, "it is never given up");
    }
}

#[tokio::test]
async fn slow_heads_and_bodies_are_given_up() {
    let server = short().await;
    let body = "POST /api/v1/requests HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n{";
    let chunked = "POST /api/v1/requests HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let times = tokio::join!(
        dribble(server.address, "", "G"),
        dribble(server.address, "GET / HTTP/1.1\r\n", "X: y\r\n"),
        dribble(server.address, body, " "),
        dribble(server.address, chunked, "1\r\n \r\n"),
    );
    let (a, b, c, d) = times;
    for took in [a, b, c, d] {
        // A refused deed is read for a second, so that its answer arrives.
        assert!(took >= Duration::from_millis(250) && took < Duration::from_secs(4), "{times:?}");
    }
    assert!(is_served(server.address).await);
}

#[tokio::test]
async fn a_reader_of_events_that_takes_nothing_is_dropped() {
    let server = short().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    let mut reader = socket.connect(server.address).await.unwrap();
    reader.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let dropped = async {
        while server.app.feed.readers() == 0 {
            tokio::task::yield_now().await;
        }
        let mut seq = 0;
        while server.app.feed.readers() > 0 {
            let what = What::Requested { who: "x".repeat(50_000), action: Action::Restart, force: false };
            let (cause, at) = (Cause::Start, Now::default());
            seq += 1;
            let fact = Fact { seq, at, cause, worker: None, unit: None, incident: None, what };
            server.app.feed.push(Arc::new(fact));
            server.app.feed.announce();
            // Not faster than a reader could follow: it is not for its lag that it is dropped.
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, dropped).await.expect("it is dropped");
    assert!(is_served(server.address).await);
}

#[tokio::test]
async fn event_streams_have_a_limit_and_free_their_room() {
    let server = short().await;
    let open = async || {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        (stream, head)
    };
    let mut readers = Vec::new();
    for n in 0..EVENT_STREAMS_OF_ONE_MAX {
        let (stream, head) = open().await;
        assert_eq!(&head, b"HTTP/1.1 200", "{n}");
        readers.push(stream);
    }
    let (_refused, head) = open().await;
    assert_eq!(&head, b"HTTP/1.1 503");
    assert_eq!(*server.app.denied.lock().unwrap(), [Denial::Streams]);
    assert!(is_served(server.address).await);
    readers.pop();
    timeout(PATIENCE, async { while &open().await.1 != b"HTTP/1.1 200" {} }).await.expect("the room of who has gone");
}

#[tokio::test]
async fn heads_have_limits_on_tcp_too() {
    let server = short().await;
    let many: String = (0..2 * HEADERS_MAX).map(|n| format!("h{n}: x\r\n")).collect();
    for head in [
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(2 * HEAD_BYTES_MAX)),
        format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(2 * HEAD_BYTES_MAX)),
    ] {
        let answer = exchange(TcpStream::connect(server.address).await.unwrap(), &head).await;
        let refused = ["431", "414"].iter().any(|code| answer.starts_with(&format!("HTTP/1.1 {code}")));
        assert!(answer.is_empty() || refused, "{answer}");
    }
    assert!(server.app.answered.lock().unwrap().is_empty(), "none of them came through");
}

/// Descriptors that this process may have more of; the test needs both ends of many connections.
fn descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.map_or(usize::MAX, |current| current as usize)
}

#[tokio::test]
async fn ten_thousand_half_open_connections_stop_nobody_else() {
    let server = tcp("open_reads: true").await;
    // As many are kept open as there are descriptors for.
    let kept = (descriptors() / 4).clamp(400, 10_000);
    let mut open = std::collections::VecDeque::new();
    for n in 0..10_000u32 {
        let mut stream = connect_from([0, 1, 1 + (n % 3) as u8], server.address).await;
        if n % 2 == 0 {
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: lo").await;
        }
        open.push_back(stream);
        if open.len() > kept {
            open.pop_front();
        }
        if n % 500 == 499 {
            let since = std::time::Instant::now();
            assert!(is_served(server.address).await, "another client, after {n}");
            assert!(since.elapsed() < Duration::from_secs(1), "{:?} after {n}", since.elapsed());
        }
    }
    let answer = exchange(connect_from([0, 1, 1], server.address).await, &get("/metrics")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "the same client: {answer}");
    assert!(server.app.denied.lock().unwrap().iter().all(|why| *why == Denial::Connections));
    assert!(!server.app.denied.lock().unwrap().is_empty());
}

#[tokio::test]
async fn who_holds_busy_connections_leaves_some_for_others() {
    let server = tcp("open_reads: true").await;
    // Requests whose answers do not come: each keeps its place.
    let begin = "POST /api/v1/alertmanager HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n";
    let stuck = "POST /api/v1/requests HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n";
    let mut held = Vec::new();
    for n in 0..2 * TCP_CONNECTIONS_MAX {
        let mut stream = connect_from([0, 2, 1 + (n % 2) as u8], server.address).await;
        let _ = stream.write_all(if n % 3 == 0 { begin } else { stuck }.as_bytes()).await;
        held.push(stream);
    }
    assert!(is_served(server.address).await);
}

/// Xorshift: the same requests each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }
}

const METHODS: &[&str] = &["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "get", "G\0T", "PRI"];
const TARGETS: &[&str] = &[
    "/",
    "/metrics",
    "/-/healthy",
    "/api/v1/me",
    "/api/v1/requests",
    "/api/v1/alertmanager",
    // Not the events, which never end.
    "/api/v1/openapi.json",
    "/../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/api/v1/../../metrics",
    "/api/v1/%00",
    "/\0",
    "//evil/",
    "/.",
    "/%",
    "/%zz",
    "/%ff%fe",
    "http://evil.example/metrics",
    "http://localhost/api/v1/me",
    "http://",
    "https:/[::1",
    "*",
    "evil:443",
    "/api/v1/me?x=%00&%",
    "/?",
    "/#",
    "/api/v1/requests?ask=pause",
    "/é",
    "/\u{1F600}",
    "\\..\\..\\x",
    "",
    "/api//v1//me",
    "/api/v1/incidents/99999999999999999999",
    "/-/../metrics",
    "/metrics/../api/v1/me",
];
const VERSIONS: &[&str] = &["HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/9.9", "HTTP", "", "HTTP/1.1 x"];
const HEADERS: &[&str] = &[
    "Host: localhost",
    "Host: evil.example",
    "Host:",
    "Host: a, b",
    "Host: [::1",
    "Host: \u{e9}",
    "Host: localhost:99999",
    "Origin: http://evil.example",
    "Origin: null",
    "Origin: \u{1F600}",
    "Sec-Fetch-Site: cross-site",
    "Content-Type: application/json",
    "Content-Type: text/plain",
    "Content-Length: 5",
    "Content-Length: -1",
    "Content-Length: 99999999999999999999",
    "Content-Length: 5, 5",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: x",
    "Authorization: Basic",
    "Authorization: Basic !!!",
    "Authorization: Basic \u{0}",
    "Authorization: Bearer ",
    "Authorization: Bearer umt_x",
    "Accept-Encoding: gzip;q=x",
    "Accept: application/openmetrics-text;version=9;q=7",
    "X-Prometheus-Scrape-Timeout-Seconds: 1e999",
    "Connection: close",
    "Connection: upgrade",
    "Upgrade: h2c",
    "Expect: 100-continue",
    "Expect: x",
    "Te: trailers",
    "Last-Event-ID: \u{1}",
    " folded: x",
    "no colon",
    ": empty",
    "a\0b: c",
    "Range: bytes=0-",
    "X-Forwarded-For: 127.0.0.1",
];
const PLAIN_HEADERS: &[&str] = &[
    "Content-Type: application/json",
    "Accept-Encoding: gzip",
    "Origin: http://localhost",
    "X: y",
    "Content-Length: 0",
];
const BODIES: &[&str] = &[
    "",
    "hello",
    "{\"ask\":\"pause\"}",
    "5\r\nhello\r\n0\r\n\r\n",
    "ffffffffffffffffff\r\nx",
    "-1\r\n\r\n",
    "5\r\nhel",
    "0\r\n",
    "{\"ask\":\"resume\",\"worker\":null}",
    "[[[[[[[[[[[[[[[[[[[[",
    "\u{0}\u{1}\u{2}",
    "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
];

/// One of `odd` in so many, else one of `plain`: what is wrong everywhere gets nowhere.
fn seldom<'a>(dice: &mut Dice, in_so_many: usize, odd: &[&'a str], plain: &[&'a str]) -> &'a str {
    let from = if dice.roll(in_so_many) == 0 { odd } else { plain };
    dice.pick(from)
}

fn request(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=dice.roll(3) {
        let end = seldom(dice, 12, &["\n", "\r"], &["\r\n"]);
        let method = seldom(dice, 4, METHODS, &["GET", "POST"]);
        let target = seldom(dice, 2, TARGETS, &TARGETS[..7]);
        let mut text = format!("{method} {target} {}{end}", seldom(dice, 8, VERSIONS, &["HTTP/1.1"]));
        if dice.roll(8) > 0 {
            text += &format!("Host: {}{end}", seldom(dice, 8, &["evil.example", "mail1:1"], &["localhost"]));
        }
        for _ in 0..dice.roll(4) {
            text += &format!("{}{end}", seldom(dice, 3, HEADERS, PLAIN_HEADERS));
        }
        if dice.roll(40) == 0 {
            text += &format!("X-Big: {}{end}", "x".repeat(dice.roll(40_000)));
        }
        text += end;
        text += seldom(dice, 2, BODIES, &[""]);
        bytes.extend_from_slice(text.as_bytes());
    }
    for _ in 0..dice.roll(6).saturating_sub(3) {
        let at = dice.roll(bytes.len());
        match dice.roll(3) {
            0 => bytes[at] = dice.roll(256) as u8,
            1 => bytes.insert(at, dice.roll(256) as u8),
            _ => bytes.truncate(at + 1),
        }
    }
    bytes
}

/// A listener on a thread with a name of its own, so that its panics are told from those of other tests.
fn fuzzed(app: Arc<App>, shutdown: Shutdown) -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    let life = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().thread_name("fuzzed").build().unwrap();
        runtime.block_on(async {
            let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            serve_tcp(vec![listener], Arc::new(Web::new(None).unwrap()), app, shutdown).await;
        });
    };
    std::thread::Builder::new().name("fuzzed".into()).spawn(life).unwrap();
    told.recv().unwrap()
}

/// A stream of events has no end.
async fn read_to_its_end(stream: &mut TcpStream, answer: &mut Vec<u8>) {
    while stream.read_buf(answer).await.is_ok_and(|read| read > 0) {
        if String::from_utf8_lossy(answer).contains("content-type: text/event-stream") {
            return;
        }
    }
}

#[tokio::test]
async fn what_no_client_sends_does_no_harm() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() == Some("fuzzed") {
            PANICS.fetch_add(1, Ordering::SeqCst);
        }
        before(panic);
    }));
    let app = App::new();
    let (_stop, shutdown) = watch::channel(false);
    let address = fuzzed(app.clone(), shutdown);
    let mut dice = Dice(0x5eed_5eed_5eed_5eed);
    let mut codes = std::collections::BTreeMap::<String, usize>::new();
    for n in 0..4000usize {
        let bytes = request(&mut dice);
        // Of many addresses, so that the rate of one is not all that is tried.
        let mut stream = connect_from([1, (n / 200) as u8, 1 + (n % 200) as u8], address).await;
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, read_to_its_end(&mut stream, &mut answer)).await;
        assert!(read.is_ok(), "{n}: it hangs: {:?}", String::from_utf8_lossy(&bytes));
        let answer = String::from_utf8_lossy(&answer);
        for (at, _) in answer.match_indices("HTTP/1.") {
            let code = answer.get(at + 9..at + 12).unwrap_or_default();
            let is_bad = code.starts_with('5') && code != "503";
            assert!(!is_bad, "{n}: {answer} to {:?}", String::from_utf8_lossy(&bytes));
            *codes.entry(code.to_owned()).or_default() += 1;
        }
        assert_eq!(PANICS.load(Ordering::SeqCst), 0, "{n}: {:?}", String::from_utf8_lossy(&bytes));
    }
    for code in ["200", "400", "401", "404", "405", "415", "421"] {
        assert!(codes.contains_key(code), "they get far enough to be answered {code}: {codes:?}");
    }
    assert!(app.asked.lock().unwrap().is_empty(), "nothing was done");
    assert!(is_served(address).await);
}
