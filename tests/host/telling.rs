//! What others hear: the journal, Prometheus.

use serde_json::Value;
use unitmedic::model::history::Summary;

use crate::fixture::{DAEMON, LIMIT, SLEEPER, Setup, ensure, until};
use crate::testhost::{Failure, Place};

#[test]
fn the_journal_has_the_fields_and_the_group_may_ask() -> Result<(), Failure> {
    let host = Setup::new("journal").worker("mail", "mail.service", SLEEPER).start()?;
    ensure(host.sh("stat -c '%a %G' /run/unitmedic/control.sock")? == "660 unitmedic", || "the socket".into())?;
    ensure(host.property(DAEMON, "StatusText")?.starts_with("2 workers, 2 instances"), || "STATUS=".into())?;
    host.kill("mail.service")?;
    host.wait_recovered("mail.service", 1)?;
    let lines = until("the end is in the journal", LIMIT, || {
        let lines = host.journal(&["--unit", DAEMON, "--output=json"])?;
        if lines.contains("\"incident_closed\"") { Ok(lines) } else { Err(Failure::from(lines)) }
    })?;
    let entries: Vec<Value> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for event in ["incident_opened", "attempt_intended", "attempt_acted", "attempt_ended", "incident_closed"] {
        let entry = entries.iter().find(|entry| entry["UNITMEDIC_EVENT"] == event).ok_or(format!("no {event}"))?;
        let told = entry["UNITMEDIC_UNIT"] == "mail.service"
            && entry["UNITMEDIC_WORKER"] == "mail"
            && entry["UNITMEDIC_INCIDENT"] == "1"
            && entry["SYSLOG_IDENTIFIER"] == "unitmedic"
            && entry["MESSAGE_ID"].as_str().is_some_and(|id| id.len() == 32);
        ensure(told, || format!("{entry:#}"))?;
        ensure(!event.starts_with("attempt") || entry["UNITMEDIC_ACTION"] == "restart", || format!("{entry:#}"))?;
    }
    host.done()
}

#[test]
fn prometheus_reads_what_history_says() -> Result<(), Failure> {
    let scrape = "global: {scrape_interval: 1s, scrape_timeout: 1s}\n\
                  scrape_configs: [{job_name: unitmedic, static_configs: [{targets: ['127.0.0.1:10119']}]}]\n";
    let host =
        Setup::new("prometheus").worker("mail", "mail.service", SLEEPER).file("/etc/prometheus.yml", scrape).start()?;
    let _prometheus = host.spawn(&[
        "prometheus",
        "--config.file=/etc/prometheus.yml",
        "--storage.tsdb.path=/run/prometheus",
        "--web.listen-address=127.0.0.1:9090",
    ])?;
    host.kill("mail.service")?;
    host.wait_recovered("mail.service", 1)?;
    let output = host.sh("curl -sS http://127.0.0.1:10119/metrics | promtool check metrics 2>&1")?;
    ensure(output.is_empty(), || output)?;

    let summary: Summary = host.json(&["history", "--summary", "--json", "--worker", "mail"])?;
    ensure(summary.all.succeeded == 1, || format!("{summary:?}"))?;
    let expected = summary.all.mean_time_to_recover.ok_or("no mean time")?.as_secs_f64();
    let query = "http://127.0.0.1:9090/api/v1/query?query=unitmedic_mttr_seconds%7Bworker%3D%22mail%22%7D";
    until("Prometheus has the value", std::time::Duration::from_secs(60), || {
        let text = host.run(&["curl", "-sS", query])?.success()?;
        let answer: Value = serde_json::from_str(&text).map_err(|error| Failure::new(error.to_string()))?;
        let value = answer["data"]["result"][0]["value"][1].as_str().and_then(|value| value.parse::<f64>().ok());
        match value {
            Some(value) if (value - expected).abs() < 1e-6 => Ok(()),
            _ => Err(Failure::new(format!("{text}, not {expected}"))),
        }
    })?;
    let up = host.run(&["curl", "-sS", "http://127.0.0.1:9090/api/v1/query?query=up"])?.success()?;
    ensure(up.contains("\"1\""), || up)?;
    host.done()
}
