//! The management API: what a passive declare does not tell. It may fail; then only that is missing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::io::{AsyncRead, AsyncWrite};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::rt::ReadBufCursor;
use hyper::{Request, StatusCode};
use lapin::tcp::{AMQPUriTcpExt, OwnedTLSConfig};
use lapin::uri::{AMQPAuthority, AMQPScheme, AMQPUri, AMQPUserInfo};
use serde::Deserialize;
use tokio::task::JoinHandle;

use super::address::{Address, encode};
use super::connection::shown;
use super::plan::Link;

use super::trust;
use crate::adapters::secret::Secret;

/// Connecting, and one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// One queue is described in 2 KiB; with thousands of consumers in more.
const BODY_MAX: usize = 1 << 20;
/// Bytes read at once.
const READ_SIZE: usize = 16 * 1024;

/// What the API knows of a queue. What it leaves out is unknown, not zero.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Statistics {
    pub unacknowledged: Option<u64>,
    pub acknowledged_total: Option<u64>,
    pub publish_rate: Option<f64>,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// About this queue; others can be asked.
    Queue(String),
    /// The API is of no use in this round.
    Api(String),
}

/// A connection for the questions of one round.
pub struct Client {
    sender: SendRequest<Empty<Bytes>>,
    driver: JoinHandle<()>,
    authorization: String,
    address: Address,
    path: String,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Client {
    pub async fn connect(target: &(Address, String), link: &Link, password: &Secret) -> Result<Self, Trouble> {
        let (address, path) = target;
        let failed = |why: String| Trouble::Api(format!("the management API at {address} cannot be asked: {why}"));
        let trust = trust::read(link.ca_file.as_deref()).await.map_err(failed)?;
        let opening = tokio::time::timeout(ANSWER_TIMEOUT, open(address, &trust)).await;
        let opened = opening.map_err(|_| failed("no answer".into()))?.map_err(|error| failed(error.to_string()))?;
        let (sender, driver) = opened;
        let authorization = password.basic(&link.user);
        Ok(Self { sender, driver, authorization, address: address.clone(), path: path.clone() })
    }

    pub async fn statistics(&mut self, vhost: &str, queue: &str) -> Result<Statistics, Trouble> {
        let address = self.address.clone();
        let failed = |why: String| Trouble::Api(format!("the management API at {address}: {why}"));
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, self.ask(vhost, queue)).await;
        let (status, body) = asked.map_err(|_| failed("no answer".into()))?.map_err(|error| failed(shown(&error)))?;
        match status {
            StatusCode::OK => parse(&body).map_err(|error| failed(format!("the answer about {queue} is odd: {error}"))),
            StatusCode::NOT_FOUND => Err(Trouble::Queue(format!("the management API knows no queue {queue}"))),
            StatusCode::UNAUTHORIZED => {
                Err(failed("it refuses the login, or the user lacks the tag `monitoring`".into()))
            }
            other => Err(failed(format!("it answers {other}"))),
        }
    }

    async fn ask(&mut self, vhost: &str, queue: &str) -> Result<(StatusCode, Bytes), String> {
        let uri = format!("{}/api/queues/{}/{}", self.path, encode(vhost), encode(queue));
        let request = Request::get(uri)
            .header(HOST, self.address.to_string())
            .header(AUTHORIZATION, &self.authorization)
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        self.sender.ready().await.map_err(|error| error.to_string())?;
        let answer = self.sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), BODY_MAX).collect().await.map_err(|error| error.to_string())?;
        Ok((status, body.to_bytes()))
    }
}

/// TCP and TLS by the same means as for AMQP.
async fn open(address: &Address, trust: &OwnedTLSConfig) -> io::Result<(SendRequest<Empty<Bytes>>, JoinHandle<()>)> {
    let uri = AMQPUri {
        scheme: if address.tls { AMQPScheme::AMQPS } else { AMQPScheme::AMQP },
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo { username: String::new(), password: String::new() },
            host: address.host.clone(),
            port: address.port,
        },
        ..AMQPUri::default()
    };
    let runtime = lapin::runtime::default_runtime().map_err(io::Error::other)?;
    let stream = uri.connect_with_config_async(trust.as_ref(), &runtime).await?;
    let (sender, connection) = handshake(Stream(stream)).await.map_err(io::Error::other)?;
    let driver = tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok((sender, driver))
}

/// A stream of `futures`, as hyper wants it.
struct Stream<S>(S);

impl<S: AsyncRead + Unpin> hyper::rt::Read for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; READ_SIZE];
        let room = cursor.remaining().min(READ_SIZE);
        Pin::new(&mut self.0).poll_read(cx, &mut bytes[..room]).map_ok(|read| cursor.put_slice(&bytes[..read]))
    }
}

impl<S: AsyncWrite + Unpin> hyper::rt::Write for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

#[derive(Deserialize)]
struct Answer {
    messages_unacknowledged: Option<u64>,
    message_stats: Option<MessageStats>,
}

#[derive(Deserialize)]
struct MessageStats {
    ack: Option<u64>,
    publish_details: Option<Rate>,
}

#[derive(Deserialize)]
struct Rate {
    rate: Option<f64>,
}

fn parse(body: &[u8]) -> Result<Statistics, serde_json::Error> {
    let answer: Answer = serde_json::from_slice(body)?;
    let stats = answer.message_stats;
    let rate = stats.as_ref().and_then(|stats| stats.publish_details.as_ref()?.rate);
    Ok(Statistics {
        unacknowledged: answer.messages_unacknowledged,
        acknowledged_total: stats.and_then(|stats| stats.ack),
        publish_rate: rate.filter(|rate| rate.is_finite() && *rate >= 0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::secret::Source;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn what_is_left_out_is_unknown() {
        assert_eq!(parse(b"{}").expect("an answer"), Statistics::default());
        let full = br#"{"messages_unacknowledged":3,"message_stats":{"ack":7,"publish_details":{"rate":0.4}},"x":[1]}"#;
        let known = Statistics { unacknowledged: Some(3), acknowledged_total: Some(7), publish_rate: Some(0.4) };
        assert_eq!(parse(full).expect("an answer"), known);
        for wrong in [&b"[]"[..], b"{\"messages_unacknowledged\":-1}", b"{\"messages_unacknowledged\":\"3\"}", b""] {
            assert!(parse(wrong).is_err());
        }
        let odd = br#"{"message_stats":{"publish_details":{"rate":-1}}}"#;
        assert_eq!(parse(odd).expect("an answer").publish_rate, None);
    }

    /// Asks a server that answers this; returns its request, too.
    async fn ask(answer: Vec<u8>) -> (Result<Statistics, Trouble>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address =
            Address { tls: false, host: "127.0.0.1".into(), port: listener.local_addr().expect("an address").port() };
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.expect("a request");
            let _ = stream.write_all(&answer).await;
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let link = Link {
            address: address.clone(),
            vhost: "/".into(),
            user: "medic".into(),
            password: Source::Default,
            ca_file: None,
        };
        let client = Client::connect(&(address, "/rabbit".into()), &link, &Secret::new("hunter2")).await;
        let result = client.expect("a connection").statistics("/", "a b").await;
        (result, server.await.expect("the server"))
    }

    #[tokio::test]
    async fn a_queue_is_asked_for_by_its_encoded_name() {
        let body = "{\"messages_unacknowledged\":3}";
        let (result, request) =
            ask(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into()).await;
        assert_eq!(result.expect("an answer").unacknowledged, Some(3));
        assert!(request.starts_with("GET /rabbit/api/queues/%2F/a%20b HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("authorization: Basic bWVkaWM6aHVudGVyMg==\r\n"), "{request}");
    }

    #[tokio::test]
    async fn an_answer_is_bounded_and_a_refusal_shows_no_password() {
        let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        endless.resize(BODY_MAX + 4096, b' ');
        let answers = [
            (endless, "length limit exceeded"),
            (b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n".to_vec(), "it refuses the login"),
            (b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_vec(), "it answers 500"),
            (b"SSH-2.0\r\n".to_vec(), "invalid HTTP"),
        ];
        for (answer, want) in answers {
            let Err(Trouble::Api(why)) = ask(answer).await.0 else { panic!("{want}: no trouble") };
            assert!(why.contains(want) && !why.contains("hunter2") && !why.contains("aHVudGVyMg"), "{why}");
        }
        let missing = ask(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n".to_vec()).await.0;
        assert_eq!(missing, Err(Trouble::Queue("the management API knows no queue a b".into())));
    }
}
