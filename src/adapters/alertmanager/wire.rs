//! Alerts as Alertmanager's API v2 takes them.
//!
//! Labels are an alert's identity and never change while it holds; all that changes is an annotation.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::model::Wall;
use crate::model::alert::Alert;
use crate::model::settings::AlertSettings;

/// The value of the label `source`: how anybody knows alerts of ours, ourselves first of all.
pub const SOURCE: &str = "unitmedic";
/// Alertmanager takes an alert for resolved that it has not heard of for so many intervals.
const INTERVALS_HELD: u32 = 4;
const RUNBOOKS: &str = "https://github.com/unitmedic/unitmedic/blob/main/docs/alerts.md";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PostableAlert<'a> {
    labels: BTreeMap<&'a str, String>,
    annotations: BTreeMap<&'a str, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL", skip_serializing_if = "Option::is_none")]
    generator_url: Option<String>,
}

/// The body of `POST /api/v2/alerts`.
pub fn body(alerts: &[Alert], settings: &AlertSettings, now: Wall) -> Vec<u8> {
    let postable: Vec<PostableAlert<'_>> = alerts.iter().map(|alert| postable(alert, settings, now)).collect();
    // Maps of texts always serialise.
    serde_json::to_vec(&postable).unwrap_or_else(|_| b"[]".to_vec())
}

fn postable<'a>(alert: &Alert, settings: &'a AlertSettings, now: Wall) -> PostableAlert<'a> {
    let hold = settings.resend_interval.saturating_mul(INTERVALS_HELD);
    let hold = i64::try_from(hold.max(Duration::from_secs(1)).as_micros()).unwrap_or(i64::MAX);
    let ends = alert.until.unwrap_or(Wall(now.0.saturating_add(hold)));
    PostableAlert {
        labels: labels(alert, settings),
        annotations: annotations(alert),
        starts_at: rfc3339(alert.since.min(ends)),
        ends_at: rfc3339(ends),
        generator_url: settings.link.as_deref().map(|link| filled(link, alert)),
    }
}

fn labels<'a>(alert: &Alert, settings: &'a AlertSettings) -> BTreeMap<&'a str, String> {
    let house = settings.labels.iter().filter_map(|label| label.split_once('='));
    let mut labels: BTreeMap<&str, String> = house.map(|(name, value)| (name, value.to_string())).collect();
    labels.insert("alertname", alert.key.name.to_string());
    labels.insert("severity", settings.word(alert.severity).to_string());
    labels.insert("source", SOURCE.into());
    labels.insert("instance", settings.instance.clone().unwrap_or_else(host_name));
    labels.extend(alert.key.worker.as_ref().map(|worker| ("worker", worker.to_string())));
    labels.extend(alert.key.unit.as_ref().map(|unit| ("unit", unit.to_string())));
    labels
}

fn annotations(alert: &Alert) -> BTreeMap<&'static str, String> {
    let anchor = alert.key.name.as_str().to_ascii_lowercase();
    let mut annotations = BTreeMap::from([
        ("message", alert.message.clone()),
        // What templates of others show of an alert.
        ("summary", alert.message.clone()),
        ("timestamp", rfc3339(alert.since)),
        ("total_workers", alert.fleet.total.to_string()),
        ("healthy_workers", alert.fleet.healthy.to_string()),
        ("critical_workers", alert.fleet.critical.to_string()),
        ("advice", alert.advice.clone()),
        ("runbook", format!("{RUNBOOKS}#{anchor}")),
    ]);
    if !alert.evidence.is_empty() {
        annotations.insert("description", alert.evidence.join("\n"));
    }
    if !alert.tried.is_empty() {
        annotations.insert("tried", alert.tried.join("\n"));
    }
    annotations.extend(alert.incident.map(|id| ("incident", id.to_string())));
    annotations.extend(alert.condition.map(|condition| ("condition", condition.to_string())));
    annotations
}

fn filled(link: &str, alert: &Alert) -> String {
    let word = |text: Option<String>| encode(&text.unwrap_or_default());
    link.replace("{worker}", &word(alert.key.worker.as_ref().map(ToString::to_string)))
        .replace("{unit}", &word(alert.key.unit.as_ref().map(ToString::to_string)))
        .replace("{incident}", &word(alert.incident.map(|id| id.0.to_string())))
}

/// Part of a URL: everything but letters, digits and `-._~` as `%XX`.
fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A time that no calendar has is the nearest that one has.
fn rfc3339(at: Wall) -> String {
    let clamped = at.0.clamp(Timestamp::MIN.as_microsecond(), Timestamp::MAX.as_microsecond());
    Timestamp::from_microsecond(clamped).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

#[cfg(test)]
pub mod tests {
    use expect_test::expect;

    use super::*;
    use crate::model::alert::{AlertKey, AlertName, Fleet};
    use crate::model::{Condition, IncidentId, UnitName, WorkerName};

    pub fn alert(name: &str) -> Alert {
        let worker = WorkerName::new(name).unwrap();
        let unit = UnitName::new(&format!("{name}@1.service")).unwrap();
        Alert {
            key: AlertKey { name: AlertName::RecoveryGivenUp, worker: Some(worker), unit: Some(unit) },
            severity: AlertName::RecoveryGivenUp.severity(),
            message: format!("Worker {name}@1 failed after 3 restart attempts"),
            evidence: vec!["dead: unit exited \"1\"".into()],
            tried: vec!["1. restart: failed".into(), "2. restart: failed".into()],
            advice: format!("unitmedic explain {name}@1.service"),
            incident: Some(IncidentId(42)),
            condition: Some(Condition::Dead),
            fleet: Fleet { total: 3, healthy: 2, critical: 1 },
            since: Wall(1_800_000_000_250_000),
            until: None,
        }
    }

    fn shown(alert: &Alert, settings: &AlertSettings) -> String {
        let body = body(std::slice::from_ref(alert), settings, Wall(1_800_000_100_000_000));
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        serde_json::to_string_pretty(&value).unwrap()
    }

    #[test]
    fn as_alertmanager_takes_it() {
        let settings = AlertSettings {
            instance: Some("host.example:10119".into()),
            labels: vec!["site=paris=east".into()],
            severity_critical: "page".into(),
            link: Some("https://g.example/d?w={worker}&u={unit}&i={incident}".into()),
            ..AlertSettings::default()
        };
        expect![[r##"
            [
              {
                "annotations": {
                  "advice": "unitmedic explain mail@1.service",
                  "condition": "dead",
                  "critical_workers": "1",
                  "description": "dead: unit exited \"1\"",
                  "healthy_workers": "2",
                  "incident": "#42",
                  "message": "Worker mail@1 failed after 3 restart attempts",
                  "runbook": "https://github.com/unitmedic/unitmedic/blob/main/docs/alerts.md#unitmedicrecoverygivenup",
                  "summary": "Worker mail@1 failed after 3 restart attempts",
                  "timestamp": "2027-01-15T08:00:00.25Z",
                  "total_workers": "3",
                  "tried": "1. restart: failed\n2. restart: failed"
                },
                "endsAt": "2027-01-15T08:05:40Z",
                "generatorURL": "https://g.example/d?w=mail&u=mail%401.service&i=42",
                "labels": {
                  "alertname": "UnitmedicRecoveryGivenUp",
                  "instance": "host.example:10119",
                  "severity": "page",
                  "site": "paris=east",
                  "source": "unitmedic",
                  "unit": "mail@1.service",
                  "worker": "mail"
                },
                "startsAt": "2027-01-15T08:00:00.25Z"
              }
            ]"##]]
        .assert_eq(&shown(&alert("mail"), &settings));
    }

    #[test]
    fn identity_does_not_move_and_an_end_is_an_end() {
        let settings = AlertSettings::default();
        let firing = alert("mail");
        let later = Alert {
            message: "other".into(),
            tried: Vec::new(),
            incident: None,
            fleet: Fleet::default(),
            since: Wall(1),
            until: Some(Wall(1_800_000_050_000_000)),
            ..firing.clone()
        };
        assert_eq!(labels(&firing, &settings), labels(&later, &settings));
        let resolved = shown(&later, &settings);
        assert!(resolved.contains("\"endsAt\": \"2027-01-15T08:00:50Z\""), "{resolved}");
        assert!(!resolved.contains("generatorURL"));
        // A clock that was set back: an alert does not end before it begins.
        let odd = shown(&Alert { since: Wall(i64::MAX), until: Some(Wall(5)), ..firing }, &settings);
        assert!(odd.contains("\"startsAt\": \"1970-01-01T00:00:00.000005Z\""), "{odd}");
    }

    #[test]
    fn a_link_is_filled_with_plain_words() {
        let mut alert = alert("mail");
        alert.key.unit = UnitName::new("a\\x2d@b:c.service").ok();
        assert_eq!(filled("/{unit}?{incident}{x}", &alert), "/a%5Cx2d%40b%3Ac.service?42{x}");
    }
}
