//! Alerts on their way to real Alertmanagers, and from them to who is paged.

use std::time::Duration;

use serde_json::Value;
use unitmedic::model::alert::{AlertName, Alerts};
use unitmedic::model::{Health, Wall};

use crate::fixture::{CONFIG, DAEMON, Host, SLEEPER, Setup, ensure, until};
use crate::testhost::{Failure, Place};
use crate::tls::Authority;

const PATIENCE: Duration = Duration::from_secs(60);
const PLAIN: &str = "alertmanager.service";
const SAFE: &str = "alertmanager-tls.service";
const ALERTMANAGER: &str = "/usr/bin/prometheus-alertmanager --cluster.listen-address= --config.file=/etc/am.yml";

/// Pages a program that writes down what it gets, one line for each alert of each page.
const ROUTES: &str = "
route: {receiver: pager, group_by: [alertname, unit], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}
receivers:
  - name: pager
    webhook_configs: [{url: 'http://127.0.0.1:9099/'}]
";
const PAGER: &str = r#"
import http.server, json, time
class Pager(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        page = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open("/run/page-times", "a") as times:
            print(page["groupLabels"]["alertname"], int(time.time() * 1e6), file=times)
        with open("/run/pages", "a") as pages:
            for alert in page["alerts"]:
                labels = alert["labels"]
                print(labels["alertname"], labels.get("unit", "-"), alert["status"], labels["severity"], file=pages)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", 9099), Pager).serve_forever()
"#;

/// The user `medic` with the password `test`.
const WEB: &str = "
tls_server_config: {cert_file: /etc/am/it.pem, key_file: /etc/am/it.key}
basic_auth_users:
  medic: $2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay
";

const ALERTS: &str = "
[alerts]
alert_after = \"4s\"
resend_interval = \"2s\"
instance = \"this.example:10119\"
labels = [\"site=paris\"]
severity_critical = \"page\"
link = \"https://grafana.example/d/worker?unit={unit}\"

[alertmanager.plain]
url = \"http://127.0.0.1:9093\"

[alertmanager.safe]
url = \"https://localhost:9443/\"
user = \"medic\"
password_file = \"/etc/unitmedic/am-password\"
ca_file = \"/etc/unitmedic/am-ca.pem\"
";

fn host(name: &str) -> Result<Host, Failure> {
    let authority = Authority::new()?;
    let certificate = authority.signs("localhost")?;
    let unit = |arguments: &str| format!("[Service]\nExecStart={ALERTMANAGER} {arguments}\n");
    let mut setup = Setup::new(name)
        .file("/etc/am.yml", ROUTES)
        .file("/etc/pager.py", PAGER)
        .file("/etc/am/web.yml", WEB)
        .file("/etc/am/it.pem", &certificate.certificate)
        .file("/etc/am/it.key", &certificate.key)
        .file("/etc/unitmedic/am-ca.pem", &std::fs::read_to_string(authority.file())?)
        .file("/etc/unitmedic/am-password", "test\n")
        .unit("pager.service", "[Service]\nExecStart=/usr/bin/python3 /etc/pager.py\n")
        .unit(PLAIN, &unit("--storage.path=/run/am --web.listen-address=127.0.0.1:9093"))
        .unit(
            SAFE,
            &unit("--storage.path=/run/am2 --web.listen-address=127.0.0.1:9443 --web.config.file=/etc/am/web.yml"),
        )
        // It dies until somebody makes /run/mended; that is seen at once.
        .worker_with(
            "mail",
            "mail@.service",
            "[Service]\nExecStart=/bin/sh -c 'test -e /run/mended-%i && exec sleep infinity; exit 7'\n",
            "max_restart_attempts = 1\nrestart_cooldown = \"1s\"",
        )
        .worker("steady", "steady.service", "[Service]\nExecStart=sleep infinity\n");
    setup = setup.starting("pager.service").starting(PLAIN).starting(SAFE);
    let host = setup.boot()?;
    let config = format!("{}{ALERTS}", host.config);
    host.write(CONFIG, &config)?;
    until("Alertmanager answers", PATIENCE, || host.sh("curl -sf http://127.0.0.1:9093/-/ready"))?;
    host.sh("touch /run/mended-1 && systemctl start mail@1.service")?;
    host.start_daemon()?;
    Ok(host)
}

/// What the Alertmanager at the port holds, by name and unit.
fn held(host: &Host, safe: bool) -> Result<Vec<Value>, Failure> {
    let url = match safe {
        true => "--cacert /etc/unitmedic/am-ca.pem -u medic:test https://localhost:9443",
        false => "http://127.0.0.1:9093",
    };
    let text = host.sh(&format!("curl -sf {url}/api/v2/alerts"))?;
    serde_json::from_str(&text).map_err(|error| Failure::new(format!("{error}: {text}")))
}

fn find<'v>(alerts: &'v [Value], name: &str) -> Option<&'v Value> {
    alerts.iter().find(|alert| alert["labels"]["alertname"] == name)
}

fn wait_held(host: &Host, safe: bool, name: AlertName) -> Result<Value, Failure> {
    until(&format!("{name} is held"), PATIENCE, || {
        let alerts = held(host, safe)?;
        find(&alerts, name.as_str()).cloned().ok_or_else(|| Failure::new(format!("{alerts:?}")))
    })
}

fn wait_gone(host: &Host, safe: bool) -> Result<(), Failure> {
    until("nothing is held", PATIENCE, || match held(host, safe)?.as_slice() {
        [] => Ok(()),
        left => Err(Failure::new(format!("{left:?}"))),
    })
}

fn pages(host: &Host) -> Result<Vec<String>, Failure> {
    Ok(host.sh("cat /run/pages 2>/dev/null || true")?.lines().map(str::to_owned).collect())
}

fn fail(host: &Host) -> Result<(), Failure> {
    host.sh("rm /run/mended-1")?;
    host.kill("mail@1.service")
}

#[test]
fn what_heals_itself_pages_nobody_and_what_was_given_up_does_within_a_second() -> Result<(), Failure> {
    let host = host("alerting")?;
    host.kill("steady.service")?;
    host.wait_recovered("steady.service", 1)?;
    fail(&host)?;
    let alert = wait_held(&host, false, AlertName::RecoveryGivenUp)?;
    wait_held(&host, true, AlertName::RecoveryGivenUp)?;

    let labels = serde_json::json!({
        "alertname": "UnitmedicRecoveryGivenUp", "severity": "page", "source": "unitmedic", "site": "paris",
        "instance": "this.example:10119", "worker": "mail", "unit": "mail@1.service",
    });
    ensure(alert["labels"] == labels, || format!("{alert:#}"))?;
    let says = |key: &str| alert["annotations"][key].as_str().unwrap_or_default().to_owned();
    ensure(
        says("message").starts_with("Worker mail@1 failed after 1 restart attempt: unit failed: exit code 7"),
        || format!("{alert:#}"),
    )?;
    let counts = ["total_workers", "healthy_workers", "critical_workers"].map(&says);
    ensure(counts == ["3", "2", "1"], || format!("{counts:?}"))?;
    ensure(says("tried").starts_with("1. restart: failed"), || format!("{alert:#}"))?;
    ensure(alert["generatorURL"] == "https://grafana.example/d/worker?unit=mail%401.service", || format!("{alert:#}"))?;

    // From giving up, by the journal's clock, to the page itself.
    let entry =
        host.sh("journalctl -u unitmedic UNITMEDIC_EVENT=escalated -o json --output-fields=MESSAGE | head -1")?;
    let entry: Value = serde_json::from_str(&entry).map_err(|error| Failure::new(error.to_string()))?;
    let given_up = entry["__REALTIME_TIMESTAMP"].as_str().and_then(|text| text.parse::<u64>().ok());
    let given_up = given_up.ok_or_else(|| Failure::new(format!("no time in {entry}")))?;
    let paged = until("somebody is paged", PATIENCE, || {
        let times = host.sh("cat /run/page-times")?;
        let line = times.lines().find_map(|line| line.strip_prefix("UnitmedicRecoveryGivenUp "));
        line.and_then(|time| time.parse::<u64>().ok()).ok_or_else(|| Failure::new(times.clone()))
    })?;
    let took = Duration::from_micros(paged.saturating_sub(given_up));
    println!("from giving up to the page: {took:?}");
    ensure(took < Duration::from_secs(1), || format!("from giving up to the page: {took:?}"))?;

    let told: Alerts = host.json(&["alerts", "--json"])?;
    ensure(told.firing.iter().any(|alert| alert.key.name == AlertName::RecoveryGivenUp), || format!("{told:?}"))?;
    ensure(told.alertmanagers.iter().all(|to| to.sent > 0 && to.errors == 0), || format!("{:?}", told.alertmanagers))?;
    ensure(pages(&host)?.iter().all(|page| page.contains("mail@1.service firing")), || format!("{:?}", pages(&host)))?;
    ensure(host.metric("unitmedic_alerts_sent_total{alertmanager=\"safe\"}")?.is_some_and(|sent| sent > 0.0), || {
        "not counted".into()
    })?;
    println!("{}", host.unitmedic(&["alerts"])?.stdout);

    host.sh("touch /run/mended-1")?;
    host.wait_health("mail@1.service", Health::Healthy)?;
    wait_gone(&host, false)?;
    wait_gone(&host, true)?;
    until("the pager hears of the end", PATIENCE, || {
        let pages = pages(&host)?;
        match pages.iter().any(|page| page == "UnitmedicRecoveryGivenUp mail@1.service resolved page") {
            true => Ok(()),
            false => Err(Failure::new(format!("{pages:?}"))),
        }
    })?;
    let told: Alerts = host.json(&["alerts", "--json"])?;
    ensure(told.firing.is_empty() && told.history.iter().all(|alert| alert.until > Some(Wall(0))), || {
        format!("{told:?}")
    })?;
    host.done()
}

#[test]
fn nothing_is_lost_while_alertmanager_or_we_are_away() -> Result<(), Failure> {
    let host = host("alerting-away")?;
    host.ctl(&["stop", PLAIN])?;
    fail(&host)?;
    wait_held(&host, true, AlertName::WorkerFailed)?;
    let told: Alerts = host.json(&["alerts", "--json"])?;
    let plain = told.alertmanagers.iter().find(|to| to.alertmanager.as_str() == "plain");
    let why = plain.and_then(|to| to.last_error.clone()).unwrap_or_default();
    ensure(why == "http://127.0.0.1:9093: Connection refused (os error 111)", || format!("{told:?}"))?;
    host.ctl(&["start", PLAIN])?;
    wait_held(&host, false, AlertName::RecoveryGivenUp)?;

    // We are away for a moment: what still holds goes on, and nobody is told that it was over.
    host.ctl(&["restart", DAEMON])?;
    until("it is told again", PATIENCE, || {
        let told: Alerts = host.json(&["alerts", "--json"])?;
        match told.firing.len() == 2 && told.alertmanagers.iter().all(|to| to.sent >= 4) {
            true => Ok(()),
            false => Err(Failure::new(format!("{told:?}"))),
        }
    })?;
    ensure(!pages(&host)?.iter().any(|page| page.contains("resolved")), || format!("{:?}", pages(&host)))?;

    // A wrong password is told, and the right one is taken without a word to us.
    host.write("/etc/unitmedic/am-password", "wrong\n")?;
    until("the refusal is told", PATIENCE, || {
        let told: Alerts = host.json(&["alerts", "--json"])?;
        let safe = told.alertmanagers.iter().find(|to| to.alertmanager.as_str() == "safe");
        match safe.and_then(|to| to.last_error.as_deref()) {
            Some(why) if why.starts_with("https://localhost:9443 answered 401 Unauthorized") => Ok(()),
            other => Err(Failure::new(format!("{other:?}"))),
        }
    })?;
    host.write("/etc/unitmedic/am-password", "test")?;
    until("it is taken again", PATIENCE, || {
        let told: Alerts = host.json(&["alerts", "--json"])?;
        match told.alertmanagers.iter().all(|to| to.last_error.is_none()) {
            true => Ok(()),
            false => Err(Failure::new(format!("{:?}", told.alertmanagers))),
        }
    })?;
    let journal = host.journal(&["-u", "unitmedic"])?;
    ensure(!journal.contains("test\n") && !journal.contains("Basic "), || "a secret is in the journal".into())?;
    host.done()
}

const WEBHOOK: &str = "
[webhook]
token_file = \"/etc/unitmedic/webhook-token\"
";
/// Pages unitmedic of everything but what is its own, as docs/conditions.md has it.
const TO_UNITMEDIC: &str = "
route: {receiver: unitmedic, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}
receivers:
  - name: unitmedic
    webhook_configs:
      - url: http://127.0.0.1:10119/api/v1/alertmanager
        send_resolved: true
        http_config: {authorization: {credentials_file: /etc/unitmedic/webhook-token}}
";

/// Fires or ends an alert of somebody else at the Alertmanager.
fn others(host: &Host, labels: &str, end: &str) -> Result<(), Failure> {
    let script = format!(
        "curl -sf -H 'Content-Type: application/json' http://127.0.0.1:9093/api/v2/alerts \
         -d '[{{\"labels\": {{{labels}}}, \"annotations\": {{\"summary\": \"p99 over 3 s\"}}{end}}}]'"
    );
    host.sh(&script).map(drop)
}

#[test]
fn alerts_of_others_are_evidence_and_trigger_what_is_configured() -> Result<(), Failure> {
    let host = Setup::new("webhook")
        .file("/etc/am.yml", TO_UNITMEDIC)
        .file("/etc/unitmedic/webhook-token", "open-sesame\n")
        .unit(
            PLAIN,
            &format!(
                "[Service]\nExecStart={ALERTMANAGER} --storage.path=/run/am --web.listen-address=127.0.0.1:9093\n"
            ),
        )
        .starting(PLAIN)
        .worker("calm", "calm.service", SLEEPER)
        .worker_with(
            "mail",
            "mail@.service",
            SLEEPER,
            "allow_downtime = true\n[worker.mail.plans]\nexternal = [\"restart\", \"escalate\"]",
        )
        .starting("mail@1.service")
        .boot()?;
    host.write(CONFIG, &format!("{}{WEBHOOK}", host.config))?;
    until("Alertmanager answers", PATIENCE, || host.sh("curl -sf http://127.0.0.1:9093/-/ready"))?;
    host.start_daemon()?;
    let calm = host.activation("calm.service")?;
    let mail = host.activation("mail@1.service")?;

    // Ours never trigger us, whatever else they say.
    others(
        &host,
        "\"alertname\": \"UnitmedicWorkerDead\", \"worker\": \"mail\", \"severity\": \"critical\", \"source\": \"unitmedic\"",
        "",
    )?;
    // Nothing is configured for this one: it is told, and nothing is done.
    others(&host, "\"alertname\": \"Slow\", \"name\": \"calm.service\", \"severity\": \"warning\"", "")?;
    let instance = host.wait_instance("calm.service", "warning", |instance| instance.health == Health::Warning)?;
    ensure(instance.because.contains("Slow: p99 over 3 s"), || format!("{instance:?}"))?;
    ensure(host.activation("mail@1.service")? == mail, || "an alert of ours triggered us".into())?;
    others(&host, "\"alertname\": \"Slow\", \"worker\": \"mail\", \"severity\": \"critical\"", "")?;
    until("it is restarted, as configured", PATIENCE, || match host.activation("mail@1.service")? {
        now if now != mail => Ok(()),
        now => Err(Failure::new(now)),
    })?;
    let over = ", \"endsAt\": \"2020-01-01T00:00:00Z\"";
    others(&host, "\"alertname\": \"Slow\", \"worker\": \"mail\", \"severity\": \"critical\"", over)?;
    others(&host, "\"alertname\": \"Slow\", \"name\": \"calm.service\", \"severity\": \"warning\"", over)?;
    host.wait_health("calm.service", Health::Healthy)?;
    host.wait_health("mail@1.service", Health::Healthy)?;
    ensure(host.activation("calm.service")? == calm, || "the calm one was touched".into())?;

    // Who has no token is not heard, and what is no page is told so.
    let code = |arguments: &str| {
        host.sh(&format!(
            "curl -s -o /dev/null -w '%{{http_code}}' {arguments} http://127.0.0.1:10119/api/v1/alertmanager"
        ))
    };
    host.sh("head -c 1100000 /dev/zero > /run/long")?;
    for (arguments, expected) in [
        ("-d '{}'", "401"),
        ("-H 'Authorization: Bearer open-sesam' -d '{}'", "401"),
        ("-H 'Authorization: Basic open-sesame' -d '{}'", "401"),
        ("-H 'Authorization: Bearer open-sesame' -d '{}'", "400"),
        ("-H 'Authorization: Bearer open-sesame' -d '{\"version\": \"4\", \"alerts\": []}'", "200"),
        ("-H 'Authorization: Bearer open-sesame'", "405"),
        ("-H 'Authorization: Bearer open-sesame' -H 'Expect:' --data-binary @/run/long", "413"),
        ("-H 'Expect:' --data-binary @/run/long", "401"),
    ] {
        let code = code(arguments)?;
        ensure(code == expected, || format!("{arguments}: {code}, not {expected}"))?;
    }
    ensure(!host.journal(&["-u", DAEMON])?.contains("open-sesame"), || "the token is in the journal".into())?;
    host.done()
}
