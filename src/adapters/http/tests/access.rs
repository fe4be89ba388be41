//! Who may what over TCP, by real requests to the server in its own thread.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpSocket;

use super::*;
use crate::adapters::http::token::{TokenHash, fresh};

/// Of the password `test`.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuuoD8yw7MmybLKVooaTGGZAt3HXugv2.a";

pub(super) struct Tcp {
    _dir: TempDir,
    pub(super) address: std::net::SocketAddr,
    pub(super) app: Arc<App>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) thread: JoinHandle<()>,
    /// Of `bot`, an operator.
    token: String,
}

/// `more` stands in the file beside a user `alice` who may act, `reader` who may not, and the token of `bot`.
pub(super) async fn tcp(more: &str) -> Tcp {
    let token = fresh().unwrap();
    let file = format!(
        "basic_auth_users: {{alice: {HASH}, reader: {HASH}}}\ntokens: {{bot: \"{}\"}}\noperators: [alice, bot]\n{more}\n",
        TokenHash::of(&token)
    );
    serve(&file, token).await
}

async fn serve(file: &str, token: String) -> Tcp {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.yml");
    std::fs::write(&path, file).unwrap();
    let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = App::new();
    let (stop, shutdown) = watch::channel(false);
    let web = Arc::new(Web::new(Some(&path)).unwrap());
    let thread = spawn_tcp(vec![listener], web, app.clone(), shutdown).unwrap();
    Tcp { _dir: dir, address, app, stop, thread, token }
}

impl Tcp {
    async fn ask(&self, request: &str) -> String {
        exchange(TcpStream::connect(self.address).await.unwrap(), request).await
    }

    /// A request line with headers, each on a line of its own, and a body.
    async fn send(&self, line: &str, headers: &[&str], body: &str) -> String {
        let host = if headers.iter().any(|header| header.starts_with("Host:")) { "" } else { "Host: localhost\r\n" };
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        self.ask(&format!("{line} HTTP/1.1\r\n{host}Connection: close\r\n{headers}{length}\r\n{body}")).await
    }

    async fn deed(&self, headers: &[&str]) -> String {
        let ask = serde_json::to_string(&pause()).unwrap();
        let headers: Vec<&str> = headers.iter().copied().chain(["Content-Type: application/json"]).collect();
        self.send("POST /api/v1/requests", &headers, &ask).await
    }

    fn bearer(&self) -> String {
        format!("Authorization: Bearer {}", self.token)
    }

    fn denied(&self, why: Denial) -> usize {
        self.app.denied.lock().unwrap().iter().filter(|denied| **denied == why).count()
    }
}

fn basic(login: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(login))
}

fn code(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

#[tokio::test]
async fn deeds_are_for_operators_and_bear_their_name() {
    for more in ["", "open_reads: true"] {
        let server = tcp(more).await;
        for (login, expected, word) in [
            ("", "401", "sign in as one of the operators"),
            (&basic("alice:wrong"), "401", "is wrong"),
            (&basic("nobody:test"), "401", "is wrong"),
            ("Authorization: Bearer umt_wrong", "401", "is wrong"),
            (&basic("reader:test"), "403", "add its name to `operators`"),
        ] {
            let headers: Vec<&str> = [login].into_iter().filter(|login| !login.is_empty()).collect();
            let answer = server.deed(&headers).await;
            assert_eq!(code(&answer), expected, "{more} {login}: {answer}");
            assert!(answer.contains("application/problem+json"), "{answer}");
            assert!(answer.contains(word) || (more.is_empty() && login.is_empty()), "{more} {login}: {answer}");
            let challenge = answer.to_lowercase().contains("www-authenticate: bearer realm=\"unitmedic\"");
            assert_eq!(challenge, expected == "401", "a browser does not ask its user: {answer}");
        }
        assert!(server.app.asked.lock().unwrap().is_empty(), "nothing came through");
        for (login, who) in [
            (basic("alice:test"), "alice (basic auth, from 127.0.0.1)"),
            (server.bearer(), "bot (token, from 127.0.0.1)"),
        ] {
            let answer = server.deed(&[&login]).await;
            assert_eq!(code(&answer), "200", "{answer}");
            assert_eq!(server.app.asked.lock().unwrap().pop(), Some((who.to_string(), pause())));
        }
    }
}

#[tokio::test]
async fn reading_needs_a_login_where_there_are_some_and_it_is_not_open() {
    let (closed, open) = (tcp("").await, tcp("open_reads: true").await);
    let nobody = serve("", String::new()).await;
    // The page asks for the login itself, and shows nothing before.
    for path in ["/", "/page/main.js", "/api/v1/me"] {
        assert_eq!(code(&closed.ask(&get(path)).await), "200", "{path}");
    }
    for path in ["/metrics", "/-/healthy", "/api/v1/overview", "/api/v1/events", "/api/v1/me/", "/nonsense"] {
        let answer = closed.ask(&get(path)).await;
        assert_eq!(code(&answer), "401", "{path}: {answer}");
        assert!(answer.to_lowercase().contains("www-authenticate: basic realm=\"unitmedic\""), "{answer}");
        if path == "/api/v1/events" {
            continue;
        }
        let expected = if path == "/nonsense" || path == "/api/v1/me/" { "404" } else { "200" };
        for login in [basic("reader:test"), closed.bearer()] {
            assert_eq!(code(&closed.send(&format!("GET {path}"), &[&login], "").await), expected, "{path}");
        }
        assert_eq!(code(&open.ask(&get(path)).await), expected, "{path}");
        assert_eq!(code(&nobody.ask(&get(path)).await), expected, "{path}");
        // A scraper that has a login configured where there are none is served, as before.
        assert_eq!(code(&nobody.send(&format!("GET {path}"), &[&basic("a:b")], "").await), expected, "{path}");
    }
    assert_eq!(code(&open.send("GET /", &[&basic("reader:wrong")], "").await), "401", "a wrong one is told");
    assert!(nobody.deed(&[]).await.contains("name operators in web_config_file"));
    assert_eq!(closed.denied(Denial::NoLogin), 6);
}

#[tokio::test]
async fn me() {
    let server = tcp("open_reads: true").await;
    for (login, expected) in [
        ("X: y".into(), r#"{"name":null,"role":"anonymous","via":"none","can_act":false,"can_sign_in":true}"#),
        (basic("reader:test"), r#"{"name":"reader","role":"reader","via":"basic","can_act":false,"can_sign_in":true}"#),
        (basic("alice:test"), r#"{"name":"alice","role":"operator","via":"basic","can_act":true,"can_sign_in":true}"#),
        (server.bearer(), r#"{"name":"bot","role":"operator","via":"bearer","can_act":true,"can_sign_in":true}"#),
    ] {
        let answer = server.send("GET /api/v1/me", &[&login], "").await;
        assert!(answer.ends_with(expected), "{answer}");
    }
    let nobody = serve("", String::new()).await.ask(&get("/api/v1/me")).await;
    assert!(nobody.ends_with(r#""via":"none","can_act":false,"can_sign_in":false}"#), "{nobody}");
    let served = control(LIMITS);
    let local = exchange(UnixStream::connect(&served.path).await.unwrap(), &get("/api/v1/me")).await;
    assert!(local.ends_with(r#""role":"operator","via":"socket","can_act":true,"can_sign_in":false}"#), "{local}");
    assert!(!local.contains("null"), "{local}");
}

#[tokio::test]
async fn names_that_dns_can_bend_get_nothing_without_a_login() {
    let server = tcp("open_reads: true\nhosts: [mail1.example]").await;
    let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for path in ["/", "/api/v1/me"] {
        let line = format!("GET {path}");
        for ours in
            ["127.0.0.1", "127.0.0.1:10119", "[::1]:10119", "localhost", "LOCALHOST:1", "mail1.example:10119", &own]
        {
            assert_eq!(code(&server.send(&line, &[&format!("Host: {ours}")], "").await), "200", "{path} {ours}");
        }
        for other in
            ["evil.example", "mail1.example.evil.example", &format!("{own}.evil.example"), "localhost.evil.example"]
        {
            let host = format!("Host: {other}:10119");
            let answer = server.send(&line, &[&host], "").await;
            assert_eq!(code(&answer), "421", "{path} {other}");
            assert!(answer.contains(&format!("(hosts: [{}])", other.to_lowercase())), "{answer}");
            assert_eq!(code(&server.send(&line, &[&host, &server.bearer()], "").await), "200", "with a login");
            assert_eq!(code(&server.send("GET /metrics", &[&host], "").await), "200");
            assert_eq!(code(&server.send("GET /-/healthy", &[&host], "").await), "200");
            assert_eq!(code(&server.send("POST /api/v1/alertmanager", &[&host], "{}").await), "404", "it is off");
        }
        assert_eq!(server.denied(Denial::Host) % 4, 0);
    }
    assert_eq!(server.denied(Denial::Host), 8);
}

#[tokio::test]
async fn requests_say_for_whom_they_are_once() {
    let server = tcp("open_reads: true").await;
    for path in ["/", "/api/v1/me", "/metrics", "/nonsense"] {
        for (request, word) in [
            (
                format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
                "twice",
            ),
            (format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n"), "missing"),
            (format!("GET {path} HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n"), "not a name"),
            (format!("GET http://localhost{path} HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n"), "same host"),
        ] {
            let answer = server.ask(&request).await;
            assert!(code(&answer) == "400" && answer.contains(word), "{request}: {answer}");
        }
    }
    let old = |path: &str| format!("GET {path} HTTP/1.0\r\n\r\n");
    assert_eq!(code(&server.ask(&old("/-/healthy")).await), "200", "a load balancer's check");
    assert_eq!(code(&server.ask(&old("/")).await), "400");
}

#[tokio::test]
async fn a_page_of_another_site_asks_for_nothing() {
    let server = tcp("open_reads: true").await;
    let (login, host) = (basic("alice:test"), format!("Host: {}", server.address));
    let ours = format!("Origin: http://{}", server.address);
    for (headers, expected) in [
        (&[&host, &ours, "Sec-Fetch-Site: same-origin"][..], "200"),
        (&[&host, "Sec-Fetch-Site: none"], "200"),
        (&[&host, "Origin: http://evil.example"], "403"),
        (&[&host, "Origin: http://127.0.0.1:1"], "403"),
        (&[&host, "Origin: null"], "403"),
        (&[&host, &ours, "Sec-Fetch-Site: cross-site"], "403"),
        (&[&host, "Sec-Fetch-Site: same-site"], "403"),
    ] {
        let headers: Vec<&str> = headers.iter().copied().chain([login.as_str()]).collect();
        let answer = server.deed(&headers).await;
        assert_eq!(code(&answer), expected, "{headers:?}: {answer}");
    }
    let ask = serde_json::to_string(&pause()).unwrap();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let kind = format!("Content-Type: {kind}");
        assert_eq!(code(&server.send("POST /api/v1/requests", &[&login, &kind], &ask).await), "415", "{kind}");
    }
    assert_eq!(code(&server.send("POST /api/v1/requests", &[&login], &ask).await), "415");
    assert_eq!(server.app.asked.lock().unwrap().len(), 2);
    assert_eq!((server.denied(Denial::Origin), server.denied(Denial::ContentType)), (5, 4));
    // On the control socket, too, where somebody has put a proxy before it.
    let served = control(LIMITS);
    let hostile = post("/api/v1/requests", "application/json\r\nOrigin: http://evil.example", &ask);
    let answer = exchange(UnixStream::connect(&served.path).await.unwrap(), &hostile).await;
    assert!(code(&answer) == "403" && served.app.asked.lock().unwrap().is_empty(), "{answer}");
}

#[tokio::test]
async fn every_answer_is_hardened() {
    let server = tcp("").await;
    let login = server.bearer();
    for (path, headers) in [
        ("/", vec![login.as_str()]),
        ("/metrics", vec![login.as_str()]),
        ("/nonsense", vec![login.as_str()]),
        ("/api/v1/me", vec![login.as_str()]),
        ("/api/v1/me", vec![]),
        ("/api/v1/me", vec!["Host: evil"]),
        ("/api/v1/me", vec!["Host: a", "Host: b"]),
    ] {
        let answer = server.send(&format!("GET {path}"), &headers, "").await.to_lowercase();
        for header in [
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "x-frame-options: deny",
            "cross-origin-resource-policy: same-origin",
            "content-security-policy: default-src 'none'",
        ] {
            assert_eq!(answer.matches(header).count(), 1, "{path} {header}: {answer}");
        }
        assert_eq!(answer.contains("cache-control: no-store"), path.starts_with("/api/"), "{path}: {answer}");
        assert!(!answer.contains("access-control-"), "{answer}");
    }
}

/// From an address of its own, of which loopback has many.
pub(super) async fn connect_from(last: [u8; 3], to: std::net::SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((std::net::Ipv4Addr::new(127, last[0], last[1], last[2]), 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

#[tokio::test]
async fn a_flood_of_requests_is_slowed_down_and_scrapes_are_not() {
    let server = tcp("open_reads: true").await;
    let one = "GET /api/v1/me HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let many = format!("{}{}", one.repeat(1999), get("/api/v1/me"));
    let answers = exchange(TcpStream::connect(server.address).await.unwrap(), &many).await;
    let (served, limited) = (answers.matches("HTTP/1.1 200").count(), answers.matches("HTTP/1.1 429").count());
    assert!(served >= 1000 && limited >= 1 && served + limited == 2000, "{served} {limited}");
    assert!(answers.to_lowercase().contains("retry-after: 1\r\n"));
    assert_eq!(server.denied(Denial::Rate), limited);
    for path in ["/metrics", "/-/healthy"] {
        assert_eq!(code(&server.ask(&get(path)).await), "200", "{path}");
    }
    let other = exchange(connect_from([0, 0, 2], server.address).await, &get("/api/v1/me")).await;
    assert_eq!(code(&other), "200", "another client");
}

#[tokio::test]
async fn deeds_and_wrong_logins_have_rates_of_their_own() {
    let server = tcp("open_reads: true").await;
    let login = server.bearer();
    let mut codes = Vec::new();
    for _ in 0..30 {
        codes.push(code(&server.deed(&[&login]).await).to_owned());
    }
    let done = codes.iter().filter(|code| *code == "200").count();
    assert!((20..28).contains(&done) && codes.iter().all(|code| code == "200" || code == "429"), "{codes:?}");
    assert_eq!(code(&server.deed(&[&basic("alice:test")]).await), "200", "another operator");
    for _ in 0..20 {
        assert_eq!(code(&server.send("GET /", &[&basic("alice:guess")], "").await), "401");
    }
    let locked = server.send("GET /", &[&basic("alice:test")], "").await;
    assert!(code(&locked) == "429" && locked.to_lowercase().contains("retry-after: "), "{locked}");
    assert_eq!(code(&server.send("GET /", &[&login], "").await), "200", "a token is not locked out");
    let elsewhere = connect_from([0, 0, 3], server.address).await;
    let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{}\r\n\r\n", basic("alice:test"));
    assert_eq!(code(&exchange(elsewhere, &request).await), "200");
    assert_eq!((server.denied(Denial::WrongLogin), server.denied(Denial::LoginRate)), (20, 1));
}

#[tokio::test]
async fn it_is_served_by_a_nice_thread_that_ends_with_the_daemon() {
    let server = tcp("open_reads: true").await;
    assert_eq!(code(&server.ask(&get("/-/ready")).await), "503");
    assert_eq!(code(&server.ask(&get("/metrics")).await), "200");
    let own = rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap();
    assert_eq!(*server.app.asked_on.lock().unwrap(), [("http".to_string(), own + 5)]);
    let made_on = server.app.made_on.lock().unwrap().clone();
    assert!(made_on.len() == 1 && !made_on[0].starts_with("http"), "not on a nice thread: {made_on:?}");
    server.stop.send(true).unwrap();
    timeout(PATIENCE, server.thread).await.expect("the thread ends").unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_panic_of_the_thread_is_not_the_end_of_it() {
    let server = tcp("open_reads: true").await;
    *server.app.panics.lock().unwrap() = 1;
    // The first that finds no place is counted in the loop that accepts.
    let mut held = Vec::new();
    for _ in 0..=TCP_CONNECTIONS_OF_ONE_MAX {
        held.push(TcpStream::connect(server.address).await.unwrap());
    }
    timeout(PATIENCE, async {
        while *server.app.panics.lock().unwrap() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it panics");
    drop(held);
    assert_eq!(code(&server.ask(&get("/metrics")).await), "200", "in its next life");
    server.stop.send(true).unwrap();
    timeout(PATIENCE, server.thread).await.expect("the thread ends").unwrap();
}
