//! TLS and users on TCP, by the file that Prometheus' exporters share, read by a real Prometheus; and who may do what.

use std::time::Duration;

use crate::fixture::{CONFIG, DAEMON, Host, SLEEPER, Setup, ensure, until};
use crate::testhost::{Failure, Place};
use crate::tls::Authority;

const LIMIT: Duration = Duration::from_secs(60);
const WEB: &str = "/etc/unitmedic/web.yml";
const TLS: &str = "tls_server_config: {cert_file: it.pem, key_file: it.key, min_version: TLS13}\n";
/// The user `medic` with the password `test`.
const USERS: &str = "basic_auth_users:\n  medic: $2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay\n";
const SCRAPE: &str = "
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: unitmedic
    scheme: https
    tls_config: {ca_file: /etc/house-ca.pem}
    basic_auth: {username: medic, password: test}
    static_configs: [{targets: ['localhost:10119']}]
";
const PROMETHEUS: &str = "[Service]
ExecStart=/usr/bin/prometheus --config.file=/etc/prom.yml --storage.tsdb.path=/run/prom --web.listen-address=127.0.0.1:9090
";

/// The status of an answer; 000 where there is none.
fn code(host: &Host, arguments: &str) -> Result<String, Failure> {
    host.sh(&format!("curl -s -o /dev/null -w '%{{http_code}}' --cacert /etc/house-ca.pem {arguments} || true"))
}

#[test]
fn tls_and_users_by_the_file_of_the_exporters_are_read_without_a_restart() -> Result<(), Failure> {
    let authority = Authority::new()?;
    let certificate = authority.signs("localhost")?;
    let host = Setup::new("web")
        .file("/etc/house-ca.pem", &std::fs::read_to_string(authority.file())?)
        .file("/etc/unitmedic/it.pem", &certificate.certificate)
        .file("/etc/unitmedic/it.key", &certificate.key)
        .file("/etc/unitmedic/webhook-token", "open-sesame")
        .file("/etc/prom.yml", SCRAPE)
        .unit("prom.service", PROMETHEUS)
        .worker("mail", "mail.service", SLEEPER)
        .boot()?;
    let more = "web_config_file = \"/etc/unitmedic/web.yml\"\n";
    let config = host.config.replacen("[daemon]\n", &format!("[daemon]\n{more}"), 1);
    host.write(CONFIG, &format!("{config}\n[webhook]\ntoken_file = \"/etc/unitmedic/webhook-token\"\n"))?;
    // A file with errors keeps it from starting, and says why.
    host.write(WEB, "basic_auth_users: {medic: test}\n")?;
    ensure(host.run(&["systemctl", "start", DAEMON])?.code() == Some(1), || "it started".into())?;
    let told = host.journal(&["-u", DAEMON])?;
    ensure(told.contains("the password of \"medic\" is not a bcrypt hash"), || told)?;
    host.write(WEB, &format!("{TLS}{USERS}"))?;
    host.ctl(&["reset-failed", DAEMON])?;
    host.start_daemon()?;

    let metrics = "https://localhost:10119/metrics";
    for (arguments, expected) in [
        (format!("-u medic:test {metrics}"), "200"),
        (format!("-u medic:test {metrics}"), "200"),
        (format!("-u medic:tes {metrics}"), "401"),
        (format!("-u root:test {metrics}"), "401"),
        (metrics.to_string(), "401"),
        ("https://localhost:10119/-/healthy".into(), "401"),
        (format!("--tls-max 1.2 -u medic:test {metrics}"), "000"),
        ("-u medic:test http://localhost:10119/metrics".into(), "000"),
        // The webhook has a token of its own.
        (
            "-H 'Authorization: Bearer open-sesame' -d '{\"version\":\"4\",\"alerts\":[]}' \
             https://localhost:10119/api/v1/alertmanager"
                .into(),
            "200",
        ),
    ] {
        let code = code(&host, &arguments)?;
        ensure(code == expected, || format!("{arguments}: {code}, not {expected}"))?;
    }
    host.ctl(&["start", "prom.service"])?;
    until("Prometheus scrapes it", LIMIT, || {
        let up = host.sh("curl -sf 'http://127.0.0.1:9090/api/v1/query?query=unitmedic_up'")?;
        if up.contains("\"1\"]") { Ok(()) } else { Err(Failure::new(up)) }
    })?;

    // Another certificate, no users: taken with the next connection. One with errors changes nothing.
    let pid = host.main_pid(DAEMON)?;
    let renewed = authority.signs("localhost")?;
    host.write("/etc/unitmedic/it.pem", &renewed.certificate)?;
    host.write("/etc/unitmedic/it.key", &renewed.key)?;
    host.write(WEB, TLS)?;
    ensure(code(&host, metrics)? == "200", || "the new file is not in force".into())?;
    host.write(WEB, "tls_server_config: {cert_file: no.pem, key_file: no.key}\n")?;
    ensure(code(&host, metrics)? == "200", || "a file with errors is in force".into())?;
    host.write(WEB, "")?;
    ensure(code(&host, "http://localhost:10119/metrics")? == "200", || "TLS is still in force".into())?;
    ensure(host.main_pid(DAEMON)? == pid, || "it was restarted".into())?;
    // Packed, and OpenMetrics, as Prometheus asks for them.
    let packed = host.sh("curl -s -D - -o /dev/null -H 'Accept-Encoding: gzip' http://localhost:10119/metrics")?;
    ensure(packed.to_lowercase().contains("content-encoding: gzip"), || packed)?;
    host.done()
}

/// Deeds by an operator over TCP, and by nobody else; what the history, the metrics and the kernel say of it.
#[test]
fn operators_act_over_tcp_and_readers_and_others_do_not() -> Result<(), Failure> {
    let host = Setup::new("access").worker("mail", "mail.service", SLEEPER).boot()?;
    let token = host.sh("unitmedic generate token deploy-bot")?;
    let line = |begin: &str| token.lines().find(|line| line.starts_with(begin)).unwrap_or_default().to_string();
    let (token, hash) = (line("umt_"), line("  deploy-bot: \"sha256:"));
    let users = "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay";
    let web = format!(
        "basic_auth_users:\n  medic: {users}\n  reader: {users}\ntokens:\n{hash}\noperators: [medic, deploy-bot]\nopen_reads: true\n"
    );
    host.write(WEB, &web)?;
    let more = "web_config_file = \"/etc/unitmedic/web.yml\"\n";
    host.write(CONFIG, &host.config.replacen("[daemon]\n", &format!("[daemon]\n{more}"), 1))?;
    host.start_daemon()?;

    let deed = |ask: &str, arguments: &str| {
        code(
            &host,
            &format!(
                "-H 'Content-Type: application/json' {arguments} -d '{ask}' http://localhost:10119/api/v1/requests"
            ),
        )
    };
    let pause = r#"{"ask":"pause","worker":"mail","until":null,"reason":"deploy"}"#;
    let resume = r#"{"ask":"resume","worker":"mail"}"#;
    let bearer = format!("-H 'Authorization: Bearer {token}'");
    for (ask, arguments, expected) in [
        (pause, "", "401"),
        (pause, "-u reader:test", "403"),
        (pause, "-u medic:wrong", "401"),
        (pause, "-u medic:test -H 'Origin: http://evil.example'", "403"),
        (pause, "-u medic:test -H 'Content-Type: text/plain'", "415"),
        (pause, "-u medic:test", "200"),
        (resume, &bearer, "200"),
    ] {
        let code = deed(ask, arguments)?;
        ensure(code == expected, || format!("{arguments} {ask}: {code}, not {expected}"))?;
    }
    let told = host.journal(&["-u", DAEMON])?;
    for who in ["medic (basic auth, from ", "deploy-bot (token, from "] {
        ensure(told.contains(who), || format!("{who} is not in {told}"))?;
    }
    ensure(!told.contains(&token) && !told.contains("wrong\""), || "a secret is in the log".into())?;
    let status = host.status()?;
    ensure(status.pauses.is_empty(), || format!("it was resumed: {:?}", status.pauses))?;

    let own = host.sh("cat /proc/sys/kernel/hostname")?;
    for (arguments, expected) in [
        ("http://127.0.0.1:10119/".to_string(), "200"),
        ("http://localhost:10119/api/v1/me".into(), "200"),
        (format!("-H 'Host: {}' http://localhost:10119/api/v1/me", own.trim()), "200"),
        ("-H 'Host: evil.example' http://localhost:10119/api/v1/me".into(), "421"),
        ("-H 'Host: evil.example' http://localhost:10119/metrics".into(), "200"),
        ("-u reader:test -H 'Host: evil.example' http://localhost:10119/api/v1/me".into(), "200"),
    ] {
        let code = code(&host, &arguments)?;
        ensure(code == expected, || format!("{arguments}: {code}, not {expected}"))?;
    }
    // Taken without a restart.
    host.write(WEB, &web.replace("open_reads: true", "hosts: [evil.example]"))?;
    let closed = code(&host, "-H 'Host: evil.example' http://localhost:10119/api/v1/overview")?;
    ensure(closed == "401", || format!("reading is not open any more: {closed}"))?;
    host.write(WEB, &format!("{web}hosts: [evil.example]\n"))?;
    let known = code(&host, "-H 'Host: evil.example' http://localhost:10119/api/v1/me")?;
    ensure(known == "200", || format!("a host that is ours now: {known}"))?;

    for (reason, at_least) in
        [("no_login", 2.0), ("wrong_login", 1.0), ("not_operator", 1.0), ("origin", 1.0), ("host", 1.0)]
    {
        let counted = host.metric(&format!("unitmedic_http_denied_total{{reason=\"{reason}\"}}"))?;
        ensure(counted.is_some_and(|counted| counted >= at_least), || format!("{reason}: {counted:?}"))?;
    }
    // Under the filter of its unit, too.
    let threads =
        host.sh(&format!("for t in /proc/{}/task/*; do cut -d' ' -f2,19 $t/stat; done", host.main_pid(DAEMON)?))?;
    ensure(threads.contains("(http) 5") && threads.contains("(unitmedic) 0"), || threads)?;
    host.done()
}
