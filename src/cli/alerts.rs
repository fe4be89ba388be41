//! `alerts`: what is firing, where it was sent, and what fired before.

use std::io::Write;

use clap::Args;

use super::exit;
use super::incidents::{parse_limit, since};
use super::session::{self, Session};
use crate::model::alert::{Alert, Alerts, Delivery};
use crate::model::history::Filter;
use crate::model::time::human;
use crate::model::{Severity, UnitName, Wall, WorkerName};
use crate::views::look::{Look, Tone, clean, wrap};
use crate::views::table::{Cell, Table};

/// Alerts of the past that are shown where no number is given.
const HISTORY_SHOWN: usize = 10;

#[derive(Debug, Args)]
pub struct AlertsArgs {
    /// Only those of this worker
    #[arg(long, value_name = "WORKER")]
    worker: Option<WorkerName>,
    /// Only those of this unit
    #[arg(long, value_name = "UNIT")]
    unit: Option<UnitName>,
    /// Of the past only those since then: a span back (2h, 7d) or a date
    #[arg(long, value_name = "SPAN|DATE")]
    since: Option<String>,
    /// Of the past at most this many [default: 10]
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    limit: Option<usize>,
    /// All of it as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &AlertsArgs, session: &Session, out: &mut dyn Write) -> anyhow::Result<u8> {
    let filter = Filter {
        worker: args.worker.clone(),
        unit: args.unit.clone(),
        since: since(args.since.as_deref(), session)?,
        limit: Some(args.limit.unwrap_or(HISTORY_SHOWN)),
        ..Filter::default()
    };
    let mut alerts = session.wait(session.client.alerts(&filter))?;
    alerts.firing.retain(|alert| {
        args.worker.as_ref().is_none_or(|worker| alert.key.worker.as_ref() == Some(worker))
            && args.unit.as_ref().is_none_or(|unit| alert.key.unit.as_ref() == Some(unit))
    });
    session.check_worker(args.worker.as_ref(), alerts.firing.is_empty() && alerts.history.is_empty())?;
    if args.json {
        session::json(&alerts, out)?;
    } else {
        session::lines(&render(&alerts, session.wall(), &session.look), out)?;
    }
    Ok(exit::OK)
}

pub fn render(alerts: &Alerts, now: Wall, look: &Look) -> Vec<String> {
    let mut lines = Vec::new();
    if alerts.firing.is_empty() {
        lines.push("Nothing is firing.".into());
    }
    for alert in &alerts.firing {
        lines.extend(firing(alert, now, look));
    }
    lines.push(String::new());
    lines.extend(deliveries(&alerts.alertmanagers, now, look));
    let past: Vec<&Alert> = alerts.history.iter().filter(|alert| alert.until.is_some()).collect();
    if !past.is_empty() {
        lines.push(String::new());
        lines.push(look.bold("Before"));
        lines.extend(history(&past, now, look));
    }
    lines
}

/// The alert in full: what a reader at night needs without a second command.
fn firing(alert: &Alert, now: Wall, look: &Look) -> Vec<String> {
    let tone = tone(alert.severity);
    let held = human(std::time::Duration::from_micros(now.0.saturating_sub(alert.since.0).max(0) as u64));
    let head = format!("{} {}  {}", look.sign(tone), alert.severity, alert.key.name);
    let since = look.dim(&format!("since {} ({held})", look.moment(alert.since, now)));
    let mut lines = vec![format!("{}  {since}", look.paint(tone, &head))];
    let mut say = |text: &str| {
        let width = look.width.map(|width| width.max(crate::views::look::WIDTH_MIN) - 4);
        let text = clean(text);
        match width {
            Some(width) => lines.extend(wrap(&text, width).iter().map(|line| format!("    {line}"))),
            None => lines.push(format!("    {text}")),
        }
    };
    say(&alert.message);
    alert.evidence.iter().for_each(|line| say(&format!("seen: {line}")));
    alert.tried.iter().for_each(|line| say(&format!("tried: {line}")));
    let incident = alert.incident.map(|id| format!(" (incident {id})")).unwrap_or_default();
    say(&format!("now: {}{incident}", alert.advice));
    lines
}

fn deliveries(deliveries: &[Delivery], now: Wall, look: &Look) -> Vec<String> {
    if deliveries.is_empty() {
        return vec![
            "No Alertmanager is configured, so alerts are shown here alone. Add [alertmanager.NAME] with its url."
                .into(),
        ];
    }
    let mut table = Table::new(&["", "ALERTMANAGER", "TAKEN", "FAILED", "DROPPED", "WAITING", "LAST", "STATE"], 7);
    for delivery in deliveries {
        let tone = if delivery.last_error.is_some() { Tone::Bad } else { Tone::Good };
        let state = match (&delivery.last_error, delivery.last_success) {
            (Some(why), _) => clean(why),
            (None, Some(_)) => format!("takes alerts at {}", delivery.url),
            (None, None) => format!("nothing sent yet to {}", delivery.url),
        };
        table.row(vec![
            Cell::new(look.sign(tone)).tone(tone),
            Cell::new(delivery.alertmanager.as_str()),
            Cell::right(delivery.sent.to_string()),
            Cell::right(delivery.errors.to_string()),
            Cell::right(delivery.dropped.to_string()),
            Cell::right(delivery.queued.to_string()),
            Cell::new(delivery.last_success.map(|at| look.moment(at, now)).unwrap_or_default()),
            Cell::new(state),
        ]);
    }
    table.lines(look)
}

fn history(past: &[&Alert], now: Wall, look: &Look) -> Vec<String> {
    let mut table = Table::new(&["", "WHEN", "LASTED", "SEVERITY", "UNIT", "ALERT"], 5);
    for alert in past {
        let lasted = alert.until.map_or(0, |until| until.0.saturating_sub(alert.since.0).max(0));
        table.row(vec![
            Cell::new(look.sign(tone(alert.severity))).tone(tone(alert.severity)),
            Cell::new(look.moment(alert.since, now)),
            Cell::right(human(std::time::Duration::from_micros(lasted as u64))),
            Cell::new(alert.severity.as_str()),
            Cell::new(alert.key.unit.as_ref().map_or("this host", |unit| unit.as_str())),
            Cell::new(clean(&alert.message)),
        ]);
    }
    table.lines(look)
}

fn tone(severity: Severity) -> Tone {
    match severity {
        Severity::Critical | Severity::High => Tone::Bad,
        Severity::Medium => Tone::Warn,
        Severity::Low => Tone::Plain,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::cli::fixtures;
    use crate::model::alert::{AlertKey, AlertName, Fleet};
    use crate::model::{AlertmanagerName, Condition, IncidentId};

    fn alert(name: AlertName, until: Option<Wall>) -> Alert {
        Alert {
            key: AlertKey { name, worker: WorkerName::new("mail").ok(), unit: UnitName::new("mail@1.service").ok() },
            severity: name.severity(),
            message: "Worker mail@1 failed after 3 restart attempts: unit exited with 1".into(),
            evidence: vec!["dead: unit exited with 1".into()],
            tried: vec!["1. restart: failed: it died again".into()],
            advice: "unitmedic explain mail@1.service".into(),
            incident: Some(IncidentId(42)),
            condition: Some(Condition::Dead),
            fleet: Fleet::default(),
            since: Wall(fixtures::NOW.wall.0 - 90_000_000),
            until,
        }
    }

    fn delivery(name: &str, last_error: Option<&str>) -> Delivery {
        Delivery {
            alertmanager: AlertmanagerName::new(name).unwrap(),
            url: format!("http://{name}.example:9093"),
            sent: 12,
            errors: u64::from(last_error.is_some()),
            dropped: 0,
            queued: 3,
            last_success: Some(Wall(fixtures::NOW.wall.0 - 1_000_000)),
            last_error: last_error.map(str::to_string),
        }
    }

    #[test]
    fn what_fires_is_told_in_full() {
        let alerts = Alerts {
            firing: vec![alert(AlertName::RecoveryGivenUp, None)],
            alertmanagers: vec![delivery("east", None), delivery("west", Some("connection refused\x1b[31m"))],
            history: vec![
                alert(AlertName::WorkerFailed, Some(fixtures::NOW.wall)),
                alert(AlertName::WorkerFailed, None),
            ],
        };
        let lines = render(&alerts, fixtures::NOW.wall, &fixtures::terminal(100)).join("\n");
        expect![[r#"
            ✖ critical  UnitmedicRecoveryGivenUp  since 18:18:30 (1 min 30 s)
                Worker mail@1 failed after 3 restart attempts: unit exited with 1
                seen: dead: unit exited with 1
                tried: 1. restart: failed: it died again
                now: unitmedic explain mail@1.service (incident #42)

               ALERTMANAGER  TAKEN  FAILED  DROPPED  WAITING  LAST      STATE
            ✔  east             12       0        0        3  18:19:59  takes alerts at http://east.example:9093
            ✖  west             12       1        0        3  18:19:59  connection refused�[31m

            Before
               WHEN          LASTED  SEVERITY  UNIT            ALERT
            ▲  18:18:30  1 min 30 s  medium    mail@1.service  Worker mail@1 failed after 3 restart attempts: u…"#]]
        .assert_eq(&lines);
    }

    #[test]
    fn without_an_alertmanager_it_says_so() {
        let nothing = Alerts { firing: vec![], alertmanagers: vec![], history: vec![] };
        let lines = render(&nothing, fixtures::NOW.wall, &fixtures::plain()).join("\n");
        expect![[r#"
            Nothing is firing.

            No Alertmanager is configured, so alerts are shown here alone. Add [alertmanager.NAME] with its url."#]]
        .assert_eq(&lines);
    }
}
