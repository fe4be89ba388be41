//! Alerts of others, as Alertmanager's webhook tells them (payload version 4). What it says is evidence and never an order.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use hyper::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use hyper::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::Port;
use super::answers::problem;
use super::denied::pass_over;
use super::problem::Problem;
use super::routes::answer;
use crate::adapters::secret::{Source, credentials_directory};
use crate::model::request::Target;
use crate::model::settings::WebhookSettings;
use crate::model::signal::ExternalAlert;
use crate::model::{UnitName, WorkerName};

/// Bytes of a page. Alertmanager's own limit is none; a thousand alerts are half of this.
pub const BODY_MAX: usize = 1 << 20;
/// For so long a page is read that is not taken.
const PASSED_OVER_FOR: Duration = Duration::from_secs(1);
/// Alerts of one page that are looked at.
const ALERTS_MAX: usize = 1000;
/// What is kept of a name, a summary or an id, in characters.
const TEXT_MAX: usize = 200;
/// Alerts with this label are ours, directly or by our rules: acting on them would be acting on ourselves.
const SOURCE: (&str, &str) = ("source", "unitmedic");

/// What we need of a page; whatever else is in it is left alone.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    version: String,
    #[serde(default)]
    truncated_alerts: u64,
    alerts: Vec<PagedAlert>,
}

#[derive(Deserialize)]
struct PagedAlert {
    status: String,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    annotations: Labels,
    #[serde(default)]
    fingerprint: String,
}

type Labels = std::collections::BTreeMap<String, String>;

/// The answer: Alertmanager throws it away, a person who tries it does not.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Taken {
    taken: usize,
    /// Ours, or without a label that names a worker or a unit.
    ignored: usize,
    /// Not in the page, as it says itself, or beyond our limit.
    truncated: u64,
}

/// What one page leaves for the next.
#[derive(Default)]
pub struct Desk {
    /// Why the token could not be read the last time: told once, for anybody can ask for it as often as they like.
    trouble: std::sync::Mutex<Option<String>>,
    /// One page at a time goes to the engine: other inputs are to come between two that name thousands of instances.
    turn: Mutex<()>,
}

impl Desk {
    fn trouble_is(&self, why: Option<&str>) {
        let mut told = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = why.filter(|why| told.as_deref() != Some(why)) {
            tracing::error!(why, "alerts of others cannot be taken");
        }
        *told = why.map(str::to_owned);
    }
}

/// The body is kept last: who has no token is not to fill our memory.
pub async fn receive<P: Port>(
    State(port): State<Arc<P>>,
    Extension(desk): Extension<Arc<Desk>>,
    request: Request,
) -> Response {
    let settings = port.webhook();
    if !settings.is_on() {
        let detail = "no alerts of others are taken: set token_file in [webhook]";
        return Problem::new(StatusCode::NOT_FOUND, detail).into_response();
    }
    if let Err(refusal) = authorize(&settings, request.headers(), &desk).await {
        // Without this the connection would be reset under who still sends, and the answer lost with it.
        let _ = timeout(PASSED_OVER_FOR, pass_over(request.into_body(), BODY_MAX)).await;
        return refusal;
    }
    let body = match Bytes::from_request(request, &()).await {
        Ok(body) => body,
        Err(rejection) => return Problem::from(rejection).into_response(),
    };
    let page: Page = match serde_json::from_slice(&body) {
        Ok(page) => page,
        Err(error) => {
            let detail = format!("this is not a page of Alertmanager's webhook: {error}");
            return Problem::new(StatusCode::BAD_REQUEST, detail).into_response();
        }
    };
    if page.version != "4" {
        let detail = "a page of Alertmanager's webhook has version \"4\"";
        return Problem::new(StatusCode::BAD_REQUEST, detail).into_response();
    }
    let (alerts, taken) = read(&page, &settings);
    let _turn = desk.turn.lock().await;
    match port.external(alerts).await {
        Ok(()) => answer(StatusCode::OK, taken),
        Err(error) => problem(error).into_response(),
    }
}

/// The token is read anew, so that another one is in force at once.
async fn authorize(settings: &WebhookSettings, headers: &HeaderMap, desk: &Desk) -> Result<(), Response> {
    let source = settings.token_file.clone().map(Source::File);
    let source = source.or_else(|| settings.token_credential.clone().map(Source::Credential));
    let read = match &source {
        Some(source) => source.read(credentials_directory().as_ref()).await,
        None => Err("no token is configured".into()),
    };
    desk.trouble_is(read.as_ref().err().map(String::as_str));
    let token = match read {
        Ok(token) if !token.expose().is_empty() => token,
        Ok(_) => return Err(unavailable("the token of [webhook] is empty")),
        Err(_) => return Err(unavailable("the token of [webhook] cannot be read; the journal says why")),
    };
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.split_once(' ')).filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
    match given.is_some_and(|(_, given)| token.is(given.trim().as_bytes())) {
        true => Ok(()),
        false => {
            let problem = Problem::new(StatusCode::UNAUTHORIZED, "the bearer token of [webhook] must come with it");
            Err(([(WWW_AUTHENTICATE, "Bearer realm=\"unitmedic\"")], problem).into_response())
        }
    }
}

fn unavailable(detail: &str) -> Response {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
}

fn read(page: &Page, settings: &WebhookSettings) -> (Vec<ExternalAlert>, Taken) {
    let looked_at = &page.alerts[..page.alerts.len().min(ALERTS_MAX)];
    let alerts: Vec<ExternalAlert> = looked_at.iter().filter_map(|alert| external(alert, settings)).collect();
    let beyond = (page.alerts.len() - looked_at.len()) as u64;
    let ignored = looked_at.len() - alerts.len();
    let taken = Taken { taken: alerts.len(), ignored, truncated: page.truncated_alerts.saturating_add(beyond) };
    (alerts, taken)
}

fn external(alert: &PagedAlert, settings: &WebhookSettings) -> Option<ExternalAlert> {
    let label = |name: &str| alert.labels.get(name).map(String::as_str);
    if label(SOURCE.0) == Some(SOURCE.1) {
        return None;
    }
    let firing = match alert.status.as_str() {
        "firing" => true,
        "resolved" => false,
        _ => return None,
    };
    let named = |labels: &[String]| labels.iter().find_map(|name| label(name)).map(str::to_owned);
    let worker = named(&settings.worker_labels).and_then(|name| WorkerName::new(&name).ok()).map(Target::Worker);
    let unit = || named(&settings.unit_labels).and_then(|name| UnitName::new(&name).ok()).map(Target::Unit);
    let target = worker.or_else(unit)?;
    let name = label("alertname").unwrap_or("an alert without a name");
    let says = ["summary", "description", "message"].iter().find_map(|key| alert.annotations.get(*key));
    let text = match says {
        Some(says) => format!("{}: {}", short(name), short(says)),
        None => short(name),
    };
    // Without a fingerprint, what makes it the same one are its labels.
    let id = match alert.fingerprint.is_empty() {
        false => alert.fingerprint.clone(),
        true => format!("{:?}", alert.labels),
    };
    let severe = label("severity").is_some_and(|severity| settings.severe.iter().any(|one| one == severity));
    Some(ExternalAlert { id: short(&id), target, text, severe, firing })
}

fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_MAX).collect()
}

impl IntoResponse for Taken {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(alerts: &str) -> Page {
        let text = format!(
            r#"{{"version":"4","groupKey":"x","truncatedAlerts":2,"status":"firing","receiver":"r","alerts":{alerts}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn alert(labels: &str, more: &str) -> String {
        format!(
            r#"{{"status":"firing","labels":{{{labels}}},"fingerprint":"f1","startsAt":"2026-01-01T00:00:00Z"{more}}}"#
        )
    }

    #[test]
    fn alerts_name_workers_and_units() {
        let settings = WebhookSettings::default();
        let alerts = [
            alert(
                r#""alertname":"Slow","worker":"mail","unit":"x.service","severity":"critical""#,
                r#","annotations":{"summary":"p99 3 s"}"#,
            ),
            alert(r#""alertname":"UnitFailed","name":"db.service""#, ""),
            alert(r#""alertname":"UnitmedicWorkerDead","worker":"mail","source":"unitmedic""#, ""),
            alert(r#""alertname":"Host","instance":"a:9100""#, ""),
            alert(r#""alertname":"Timer","name":"x.timer""#, ""),
            alert(r#""alertname":"Odd","worker":"../../etc","unit":"*.service""#, ""),
        ];
        let (taken, answer) = read(&page(&format!("[{}]", alerts.join(","))), &settings);
        assert_eq!(answer, Taken { taken: 2, ignored: 4, truncated: 2 });
        assert_eq!(taken[0].target, Target::Worker(WorkerName::new("mail").unwrap()));
        assert_eq!((taken[0].text.as_str(), taken[0].severe), ("Slow: p99 3 s", true));
        assert_eq!(taken[1].target, Target::Unit(UnitName::new("db.service").unwrap()));
        assert_eq!((taken[1].text.as_str(), taken[1].severe), ("UnitFailed", false));
    }

    #[test]
    fn hostile_pages_are_cut() {
        let long = alert(&format!(r#""alertname":"{}","worker":"mail""#, "\\u001b[31m".repeat(1000)), "");
        let many = vec![long.as_str(); 1500].join(",");
        let (taken, answer) = read(&page(&format!("[{many}]")), &WebhookSettings::default());
        assert_eq!(answer, Taken { taken: 1000, ignored: 0, truncated: 502 });
        assert!(taken[0].text.chars().count() <= TEXT_MAX && !taken[0].text.contains('\x1b'));
        for wrong in ["{}", "[]", r#"{"version":4,"alerts":[]}"#, r#"{"version":"4","alerts":[{"labels":{"a":1}}]}"#] {
            assert!(serde_json::from_str::<Page>(wrong).is_err(), "{wrong}");
        }
        let other = page(r#"[{"status":"???","labels":{"worker":"mail"}}]"#);
        assert_eq!(read(&other, &WebhookSettings::default()).1.taken, 0);
    }
}
