//! Alerts of others from a real Alertmanager on another host, over TLS, as docs/alerts.md shows it.

use std::time::Duration;

use unitmedic::model::Health;

use crate::documented::block;
use crate::fixture::{DAEMON, Host, SLEEPER, Setup, ensure, until};
use crate::testhost::{Failure, Machine, Place, link};
use crate::tls::Authority;

const PATIENCE: Duration = Duration::from_secs(60);
const PAGE: &str = "alerts.md";
const ALERTMANAGER: &str = "prometheus-alertmanager.service";
const WEB: &str = "/etc/unitmedic/web.yml";
const TOKEN: &str = "/etc/prometheus/unitmedic-token";
const CA: &str = "/etc/prometheus/house-ca.pem";
const URL: &str = "https://mail1.example:10119";
/// The user `medic` with the password `test`.
const USERS: &str = "basic_auth_users:\n  medic: $2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay\n";
/// A page that would raise the condition, were it taken.
const FORGED: &str =
    r#"{"version": "4", "alerts": [{"status": "firing", "labels": {"alertname": "Forged", "unit": "mail.service"}}]}"#;

/// The host of the workers, with all that the page says of it.
fn mail1(authority: &Authority) -> Result<Host, Failure> {
    let certificate = authority.signs("mail1.example")?;
    let fragment = "/etc/unitmedic/conf.d/webhook.toml";
    Setup::new("mail1")
        .worker("mail", "mail.service", SLEEPER)
        .worker("calm", "calm.service", SLEEPER)
        .file(fragment, &block(PAGE, &format!("# {fragment}"))?)
        .file(WEB, &block(PAGE, &format!("# {WEB}"))?)
        .file("/etc/unitmedic/host.pem", &certificate.certificate)
        .file("/etc/unitmedic/host.key", &certificate.key)
        .boot()
}

/// The host of Alertmanager, with Debian's unit.
fn watch(authority: &Authority) -> Result<Machine, Failure> {
    let config = "/etc/prometheus/alertmanager.yml";
    Machine::builder("watch")
        .file(config, &block(PAGE, &format!("# {config}"))?)
        .file(CA, &std::fs::read_to_string(authority.file())?)
        // It has no neighbours.
        .file("/etc/default/prometheus-alertmanager", "ARGS=\"--cluster.listen-address=\"\n")
        .boot()
}

/// Fires or ends an alert at the Alertmanager.
fn alert(watch: &Machine, labels: &[(&str, &str)], over: bool) -> Result<(), Failure> {
    let labels: serde_json::Map<String, serde_json::Value> =
        labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let mut alert = serde_json::json!({ "labels": labels, "annotations": { "summary": "p99 over 3 s" } });
    if over {
        alert["endsAt"] = "2020-01-01T00:00:00Z".into();
    }
    watch.write("/run/alert.json", &format!("[{alert}]"))?;
    let post = "curl -sf -H 'Content-Type: application/json' -d @/run/alert.json http://127.0.0.1:9093/api/v2/alerts";
    watch.sh(post).map(drop)
}

/// The status of an answer to the other host; 000 where there is none.
fn code(watch: &Machine, arguments: &[&str]) -> Result<String, Failure> {
    let curl = ["curl", "-s", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", CA];
    Ok(watch.run(&[&curl, arguments].concat())?.stdout)
}

fn not_taken(watch: &Machine) -> Result<f64, Failure> {
    let metrics = watch.sh("curl -sf http://127.0.0.1:9093/metrics")?;
    let values = metrics
        .lines()
        .filter(|line| line.starts_with("alertmanager_notifications_failed_total{") && line.contains("\"webhook\""));
    Ok(values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

fn untouched(host: &Host) -> Result<(), Failure> {
    for unit in ["mail.service", "calm.service"] {
        let instance = host.instance(unit)?;
        ensure(instance.health == Health::Healthy && instance.conditions.is_empty(), || format!("{instance:?}"))?;
    }
    Ok(())
}

/// Whoever is not let in changes nothing.
fn refused(host: &Host, watch: &Machine, token: &str) -> Result<(), Failure> {
    let webhook = format!("{URL}/api/v1/alertmanager");
    let clear = webhook.replace("https:", "http:");
    let right = format!("Authorization: Bearer {token}");
    let wrong = format!("Authorization: Bearer {}", &token[1..]);
    for (arguments, expected) in [
        (vec!["-d", FORGED, &webhook], "401"),
        (vec!["-H", &wrong, "-d", FORGED, &webhook], "401"),
        (vec!["-u", "medic:test", "-d", FORGED, &webhook], "401"),
        (vec!["-H", &right, "-d", FORGED, &clear], "000"),
        (vec!["-H", &right, "--cacert", "/etc/ssl/certs/ca-certificates.crt", "-d", FORGED, &webhook], "000"),
        (vec!["-H", &right, "--tls-max", "1.2", "-d", FORGED, &webhook], "000"),
    ] {
        let code = code(watch, &arguments)?;
        ensure(code == expected, || format!("{arguments:?}: {code}, not {expected}"))?;
    }
    untouched(host)
}

/// Gives Alertmanager this token, as only it may read it.
fn with_token(watch: &Machine, token: &str) -> Result<(), Failure> {
    watch.write(TOKEN, token)?;
    watch.sh(&format!("chown root:prometheus {TOKEN} && chmod 640 {TOKEN}")).map(drop)
}

const SLOW: [(&str, &str); 4] =
    [("alertname", "Slow"), ("instance", "mail1.example:9100"), ("unit", "mail.service"), ("severity", "critical")];

/// Puts the alert into Alertmanager and takes it back; the worker is critical in between.
fn raised_and_lowered(host: &Host, watch: &Machine) -> Result<(), Failure> {
    alert(watch, &SLOW, false)?;
    let instance = host.wait_health("mail.service", Health::Critical)?;
    ensure(instance.because.contains("Slow: p99 over 3 s"), || format!("{instance:?}"))?;
    alert(watch, &SLOW, true)?;
    host.wait_health("mail.service", Health::Healthy)?;
    Ok(())
}

/// To the pages the users, to the webhook the token.
fn users_besides(host: &Host, watch: &Machine, token: &str) -> Result<(), Failure> {
    host.write(WEB, &format!("{}{USERS}", block(PAGE, &format!("# {WEB}"))?))?;
    refused(host, watch, token)?;
    let metrics = format!("{URL}/metrics");
    let right = format!("Authorization: Bearer {token}");
    for (arguments, expected) in [
        (vec!["-u", "medic:test", &metrics], "200"),
        (vec!["-H", &right, &metrics], "401"),
        (vec![metrics.as_str()], "401"),
    ] {
        let code = code(watch, &arguments)?;
        ensure(code == expected, || format!("{arguments:?}: {code}, not {expected}"))?;
    }
    raised_and_lowered(host, watch)
}

/// Who has no certificate does not come as far as the token.
fn certificates_besides(host: &Host, watch: &Machine, authority: &Authority, token: &str) -> Result<(), Failure> {
    let theirs = authority.signs("watch.example")?;
    watch.write("/etc/prometheus/it.pem", &theirs.certificate)?;
    watch.write("/etc/prometheus/it.key", &theirs.key)?;
    host.write("/etc/unitmedic/house-ca.pem", &std::fs::read_to_string(authority.file())?)?;
    let asks = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: house-ca.pem\n";
    host.write(WEB, &format!("{}{asks}", block(PAGE, &format!("# {WEB}"))?))?;
    let webhook = format!("{URL}/api/v1/alertmanager");
    let empty = r#"{"version": "4", "alerts": []}"#;
    let right = format!("Authorization: Bearer {token}");
    let certificate = ["--cert", "/etc/prometheus/it.pem", "--key", "/etc/prometheus/it.key"];
    for (arguments, expected) in [
        (vec!["-H", &right, "-d", empty, &webhook], "000"),
        ([&certificate[..], &["-d", empty, &webhook]].concat(), "401"),
        ([&certificate[..], &["-H", &right, "-d", empty, &webhook]].concat(), "200"),
    ] {
        let code = code(watch, &arguments)?;
        ensure(code == expected, || format!("{arguments:?}: {code}, not {expected}"))?;
    }
    Ok(())
}

#[test]
fn an_alertmanager_on_another_host_raises_external_over_tls() -> Result<(), Failure> {
    let authority = Authority::new()?;
    let (host, watch) = (mail1(&authority)?, watch(&authority)?);
    link((&host, "192.0.2.1/24"), (&watch, "192.0.2.2/24"))?;
    watch.sh("echo 192.0.2.1 mail1.example >> /etc/hosts")?;
    let steps = "# What only the daemon may read; then a restart, because of the address.";
    host.sh(&block(PAGE, steps)?)?;
    let token = host.read("/etc/unitmedic/webhook-token")?.trim().to_owned();
    with_token(&watch, "not-the-token")?;
    watch.ctl(&["start", ALERTMANAGER])?;
    until("Alertmanager answers", PATIENCE, || watch.sh("curl -sf http://127.0.0.1:9093/-/ready"))?;
    refused(&host, &watch, &token)?;

    // By a wrong token Alertmanager is refused; by the right one it is heard, without a reload on either side.
    alert(&watch, &SLOW, false)?;
    until("Alertmanager is refused", PATIENCE, || match not_taken(&watch)? {
        failed if failed > 0.0 => Ok(()),
        failed => Err(Failure::new(failed.to_string())),
    })?;
    untouched(&host)?;
    with_token(&watch, &token)?;
    // Of another host: the route keeps it away, though there is a unit of that name here. It fires until the end.
    let elsewhere = [("alertname", "Slow"), ("instance", "mail2.example:9100"), ("unit", "calm.service")];
    alert(&watch, &elsewhere, false)?;
    raised_and_lowered(&host, &watch)?;
    users_besides(&host, &watch, &token)?;
    certificates_besides(&host, &watch, &authority, &token)?;

    untouched(&host)?;
    let told = host.journal(&[])? + &watch.journal(&[])?;
    for secret in [&token, &token[1..], "medic:test"] {
        ensure(!told.contains(secret), || format!("{secret} is in a journal"))?;
    }
    ensure(host.journal(&["-u", DAEMON])?.contains("address=192.0.2.1:10119"), || "it listens elsewhere".into())?;
    host.done()
}
