//! One GET, bounded in time and size: the head of the answer decides.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{connect, late, resolve};
use crate::model::signal::ProbeResult;

/// Largest head of an answer.
const HEAD_MAX: usize = 64 << 10;

/// Passes with a status from 200 to 399. Redirects are not followed, and the body is not waited for.
pub async fn get(url: &str, limit: Duration) -> ProbeResult {
    let shown = shown(url);
    let unknown = |why: &str| ProbeResult::Unknown { why: format!("{shown} {why}") };
    let Ok(uri) = url.parse::<Uri>() else { return unknown("is not a URL") };
    let Some(host) = uri.host() else { return unknown("has no host") };
    let addresses = match resolve(&shown, &format!("{host}:{}", uri.port_u16().unwrap_or(80))).await {
        Ok(addresses) => addresses,
        Err(result) => return result,
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or(host, |authority| authority.as_str());
    let request = Request::get(path)
        .header(HOST, authority)
        .header(USER_AGENT, "unitmedic")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    let Ok(request) = request else { return unknown("cannot be asked for") };
    match timeout(limit, ask(&shown, &addresses, request)).await {
        Ok(result) => result,
        Err(_) => late(&shown, limit),
    }
}

/// Without the query, which may hold a token.
fn shown(url: &str) -> String {
    match url.split_once('?') {
        Some((path, _)) => format!("{path}?…"),
        None => url.to_owned(),
    }
}

async fn ask(shown: &str, addresses: &[SocketAddr], request: Request<Empty<Bytes>>) -> ProbeResult {
    let stream = match connect(shown, addresses).await {
        Ok(stream) => stream,
        Err(result) => return result,
    };
    let failed = |error: hyper::Error| ProbeResult::Failed { why: format!("{shown}: {error}") };
    let handshake = http1::Builder::new().max_buf_size(HEAD_MAX).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = match handshake {
        Ok(pair) => pair,
        Err(error) => return failed(error),
    };
    // Ends with this future, also when that runs out of time.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    match sender.send_request(request).await.map(|response| response.status().as_u16()) {
        Ok(200..=399) => ProbeResult::Passed,
        Ok(code) => ProbeResult::Failed { why: format!("{shown} answered {code}") },
        Err(error) => failed(error),
    }
}
