//! One GET, bounded in time and size.

use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{late, refused};
use crate::model::signal::ProbeResult;

/// Largest head of an answer.
const HEAD_MAX: usize = 64 << 10;
/// What is read of a body before the connection is given up.
const BODY_MAX: usize = 64 << 10;

/// Passes with a status from 200 to 399. Redirects are not followed.
pub async fn get(url: &str, limit: Duration) -> ProbeResult {
    let Ok(uri) = url.parse::<Uri>() else {
        return ProbeResult::Unknown { why: format!("{url} is not a URL") };
    };
    match timeout(limit, ask(url, &uri)).await {
        Ok(result) => result,
        Err(_) => late(url, limit),
    }
}

async fn ask(url: &str, uri: &Uri) -> ProbeResult {
    let Some(host) = uri.host() else {
        return ProbeResult::Unknown { why: format!("{url} has no host") };
    };
    let port = uri.port_u16().unwrap_or(80);
    let stream = match TcpStream::connect((host.trim_matches(['[', ']']), port)).await {
        Ok(stream) => stream,
        Err(error) => return refused(url, &error),
    };
    let failed = |error: hyper::Error| ProbeResult::Failed { why: format!("{url}: {error}") };
    let handshake = http1::Builder::new().max_buf_size(HEAD_MAX).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = match handshake {
        Ok(pair) => pair,
        Err(error) => return failed(error),
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or(host, |authority| authority.as_str());
    let request = Request::get(path)
        .header(HOST, authority)
        .header(USER_AGENT, "unitmedic")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new());
    let Ok(request) = request else {
        return ProbeResult::Unknown { why: format!("{url} cannot be asked for") };
    };
    let answer = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let mut body = response.into_body();
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            read += frame.map_err(failed)?.data_ref().map_or(0, Bytes::len);
            if read > BODY_MAX {
                break;
            }
        }
        Ok(match status.as_u16() {
            200..=399 => ProbeResult::Passed,
            code => ProbeResult::Failed { why: format!("{url} answered {code}") },
        })
    };
    // Ends with this future, also when that runs out of time.
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(connection);
    answer.await.unwrap_or_else(|result| result)
}
