//! Requests that were refused: the answer, which says what to do, and its trace in metrics and log. Who floods us must not
//! flood the log.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use tokio::time::timeout;

use super::buckets::client;
use super::problem::Problem;
use crate::model::condition::closed_set;

/// The same reason and client is told once in so long.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// Reasons and clients whose last line is known; and, as each has one line a minute at most, lines a minute in all.
const TOLD_MAX: usize = 128;
/// For so long the body of a request is read that is not taken.
const PASSED_OVER_FOR: Duration = Duration::from_secs(1);

closed_set!(
    /// Why a request was not served; the label `reason` of `unitmedic_http_denied_total`.
    Denial {
        /// More requests of one client than the rate allows.
        Rate = "rate",
        /// More deeds of one operator than the rate allows.
        DeedRate = "deed_rate",
        /// So many wrong logins that none is looked at for a while.
        LoginRate = "login_rate",
        /// A password or token that is wrong.
        WrongLogin = "wrong_login",
        /// Nobody has signed in where somebody must.
        NoLogin = "no_login",
        /// Somebody who may read asks for a deed.
        NotOperator = "not_operator",
        /// The page of another site asks for a deed.
        Origin = "origin",
        /// A name that is not known to be ours.
        Host = "host",
        /// No Host, two, or one that is none.
        BadHost = "bad_host",
        /// A deed that is not JSON, as a form of another page would send it.
        ContentType = "content_type",
        /// No room for another event stream.
        Streams = "streams",
        /// No room for another connection, or an idle one that was ended for it.
        Connections = "connections",
    }
);

/// A request that is not served.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub why: Denial,
    /// Who asks, where the configuration knows the name; never one that was only typed.
    pub name: Option<String>,
    status: StatusCode,
    detail: String,
    challenge: Option<&'static str>,
    retry_after: Option<Duration>,
}

impl Refusal {
    pub fn new(why: Denial, detail: impl Into<String>) -> Self {
        let status = match why {
            Denial::Rate | Denial::DeedRate | Denial::LoginRate => StatusCode::TOO_MANY_REQUESTS,
            Denial::WrongLogin | Denial::NoLogin => StatusCode::UNAUTHORIZED,
            Denial::NotOperator | Denial::Origin => StatusCode::FORBIDDEN,
            Denial::Host => StatusCode::MISDIRECTED_REQUEST,
            Denial::BadHost => StatusCode::BAD_REQUEST,
            Denial::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Denial::Streams | Denial::Connections => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self { why, name: None, status, detail: detail.into(), challenge: None, retry_after: None }
    }

    pub fn of(mut self, name: Option<String>) -> Self {
        self.name = name;
        self
    }

    pub fn challenge(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    pub fn wait(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The answer, when what the client sends has been read for a while: without this the connection would be reset
    /// under who still sends, and the answer lost with it. Nothing of it is kept.
    pub async fn instead_of(self, body: Body) -> Response {
        let _ = timeout(PASSED_OVER_FOR, pass_over(body, super::BODY_BYTES_MAX)).await;
        self.into_response()
    }
}

impl IntoResponse for Refusal {
    /// With the refusal itself beside it, for the one place that counts them.
    fn into_response(self) -> Response {
        let mut response = Problem::new(self.status, self.detail.as_str()).into_response();
        if let Some(challenge) = self.challenge {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds(wait)));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Whole ones, and never none.
pub fn seconds(wait: Duration) -> u64 {
    (wait.as_secs_f64().ceil() as u64).max(1)
}

/// Reads so many bytes of what is not wanted, at least.
pub async fn pass_over(mut body: Body, most: usize) {
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await
        && length < most
    {
        length += frame.data_ref().map_or(0, Bytes::len);
    }
}

/// What was told of refusals, so that it is not told again at once.
#[derive(Default)]
pub struct Denials {
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    last: HashMap<(Denial, Option<IpAddr>), Instant>,
    left_out: u64,
}

impl Denials {
    /// `from` absent: the control socket.
    pub fn note(&self, why: Denial, from: Option<IpAddr>, name: Option<&str>) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).tell(why, from, Instant::now());
        if let Some(left_out) = told {
            let from = from.map_or_else(|| "the control socket".to_string(), |from| from.to_canonical().to_string());
            let reason = why.as_str();
            tracing::warn!(reason, from, name, left_out, "a request was refused");
        }
    }
}

impl Told {
    /// Whether to say it, with the number of those that were not said since the last line.
    fn tell(&mut self, why: Denial, from: Option<IpAddr>, now: Instant) -> Option<u64> {
        self.last.retain(|_, at| now.saturating_duration_since(*at) < TOLD_EVERY);
        let key = (why, from.map(client));
        if self.last.contains_key(&key) || self.last.len() >= TOLD_MAX {
            self.left_out += 1;
            return None;
        }
        self.last.insert(key, now);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn a_line_for_each_reason_and_client_in_a_minute() {
        let (mut told, start) = (Told::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(told.tell(Denial::Rate, from(1), at(0)), Some(0));
        assert_eq!(told.tell(Denial::Rate, from(1), at(1)), None);
        assert_eq!(told.tell(Denial::Rate, from(1), at(59)), None);
        assert_eq!(told.tell(Denial::Host, from(1), at(59)), Some(2), "what was left out is told");
        assert_eq!(told.tell(Denial::Rate, from(2), at(59)), Some(0));
        assert_eq!(told.tell(Denial::Rate, None, at(59)), Some(0));
        assert_eq!(told.tell(Denial::Rate, from(1), at(60)), Some(0));
    }

    #[test]
    fn a_flood_from_everywhere_has_few_lines() {
        let (mut told, start) = (Told::default(), Instant::now());
        let lines =
            (0..10_000u32).filter(|n| told.tell(Denial::Rate, Some(IpAddr::from(n.to_be_bytes())), start).is_some());
        assert_eq!(lines.count(), TOLD_MAX);
        assert_eq!(told.last.len(), TOLD_MAX);
        let later = start + TOLD_EVERY;
        assert_eq!(told.tell(Denial::Rate, from(1), later), Some(10_000 - TOLD_MAX as u64));
    }

    #[test]
    fn answers_say_when_to_come_back() {
        for (wait, header) in [(Duration::ZERO, "1"), (Duration::from_millis(1001), "2"), (Duration::from_secs(6), "6")]
        {
            let answer = Refusal::new(Denial::Rate, "slower").wait(wait).into_response();
            assert_eq!((answer.status().as_u16(), answer.headers()[RETRY_AFTER].to_str().unwrap()), (429, header));
        }
    }
}
