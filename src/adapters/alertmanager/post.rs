//! One request to one Alertmanager, bounded in time and size.

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::adapters::secret::{self, Secret, Source};
use crate::adapters::tls;
use crate::model::settings::AlertmanagerSettings;

/// From the look for its address to the end of its answer.
const LIMIT: Duration = Duration::from_secs(10);
/// Largest head of an answer.
const HEAD_MAX: usize = 16 << 10;
/// Of an answer that says what is wrong, so much is read, and so much is shown.
const ANSWER_MAX: usize = 8 << 10;
const SHOWN_MAX: usize = 300;
const PATH: &str = "/api/v2/alerts";

#[derive(Debug, PartialEq, Eq)]
pub enum PostError {
    /// It cannot be reached or is in trouble; the same request may succeed soon.
    Later(String),
    /// It does not like the request, which would not be better the next time.
    Refused(String),
}

/// Where an Alertmanager is, and how to log in.
pub struct Target {
    url: String,
    user: Option<String>,
    secret: Option<Source>,
    ca_file: Option<PathBuf>,
}

impl Target {
    pub fn new(settings: &AlertmanagerSettings) -> Self {
        let file = settings.password_file.clone().or_else(|| settings.token_file.clone());
        let credential = settings.password_credential.clone().or_else(|| settings.token_credential.clone());
        Self {
            url: settings.url.trim_end_matches('/').to_string(),
            user: settings.user.clone(),
            secret: file.map(Source::File).or_else(|| credential.map(Source::Credential)),
            ca_file: settings.ca_file.clone(),
        }
    }

    /// Sends the alerts over a connection of its own: a secret or certificate that was renewed is taken at once, and
    /// none that has gone stale in silence costs a try.
    pub async fn post(&self, body: Vec<u8>) -> Result<(), PostError> {
        match timeout(LIMIT, self.try_post(body)).await {
            Ok(result) => result,
            Err(_) => Err(PostError::Later(format!("{} did not answer within {LIMIT:?}", self.url))),
        }
    }

    async fn try_post(&self, body: Vec<u8>) -> Result<(), PostError> {
        let later = |why: String| PostError::Later(format!("{}: {why}", self.url));
        let uri: Uri = self.url.parse().map_err(|_| PostError::Refused(format!("{} is not a URL", self.url)))?;
        let (Some(host), Some(authority)) = (uri.host(), uri.authority()) else {
            return Err(PostError::Refused(format!("{} has no host", self.url)));
        };
        let authorization = self.authorization().await.map_err(later)?;
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let path = format!("{}{PATH}", uri.path().trim_end_matches('/'));
        let mut request = Request::post(path)
            .header(HOST, authority.as_str())
            .header(USER_AGENT, concat!("unitmedic/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json");
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        // A secret with a line break in it cannot be a header; the error does not repeat it.
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| PostError::Refused("user, password or token cannot be sent in a header".into()))?;
        let stream =
            TcpStream::connect((host.trim_matches(['[', ']']), port)).await.map_err(|e| later(e.to_string()))?;
        let answer = match is_tls {
            true => {
                let stream = tls::connect(host, self.ca_file.as_deref(), stream).await.map_err(later)?;
                ask(stream, request).await
            }
            false => ask(stream, request).await,
        };
        let (status, text) = answer.map_err(|error| later(error.to_string()))?;
        let why = || format!("{} answered {status}{text}", self.url);
        match status {
            status if status.is_success() => Ok(()),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(PostError::Later(why())),
            status if status.is_server_error() => Err(PostError::Later(why())),
            _ => Err(PostError::Refused(why())),
        }
    }

    async fn authorization(&self) -> Result<Option<String>, String> {
        let Some(source) = &self.secret else { return Ok(None) };
        let secret: Secret = source.read(secret::credentials_directory().as_ref()).await?;
        Ok(Some(match &self.user {
            Some(user) => secret.basic(user),
            None => secret.bearer(),
        }))
    }
}

async fn ask<S>(stream: S, request: Request<Full<Bytes>>) -> hyper::Result<(StatusCode, String)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::Builder::new().max_buf_size(HEAD_MAX).handshake(TokioIo::new(stream)).await?;
    // Ends with this future, also when that runs out of time.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    if status.is_success() {
        return Ok((status, String::new()));
    }
    // Why it is not content may be in the answer, and may be cut.
    let text = match Limited::new(answer.into_body(), ANSWER_MAX).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(_) => String::new(),
    };
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_MAX).collect();
    Ok((status, if plain.trim().is_empty() { String::new() } else { format!(": {}", plain.trim()) }))
}
