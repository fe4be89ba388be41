//! The API over TCP on a real host: nothing that a tool which knows its document tries finds a fault; what happens is told
//! live, and again to who comes back; and what people did is kept.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use unitmedic::model::Health;

use crate::fixture::{CONFIG, Host, LIMIT, SLEEPER, Setup, ensure, until};
use crate::testhost::{Failure, Place};

const API: &str = "http://127.0.0.1:10119/api/v1";
const WEB: &str = "/etc/unitmedic/web.yml";

/// A host with a history, on which everybody may read and the token of `bot` may act; and the token.
fn host(name: &str) -> Result<(Host, String), Failure> {
    let host = Setup::new(name)
        .worker("mail", "mail@.service", SLEEPER)
        .worker("web", "web.service", SLEEPER)
        .starting("mail@1.service")
        .starting("mail@2.service")
        .boot()?;
    let more = "[daemon]\nweb_config_file = \"/etc/unitmedic/web.yml\"\n";
    host.write(CONFIG, &host.config.replacen("[daemon]\n", more, 1))?;
    let made = host.sh("unitmedic generate token bot")?;
    let find = |begins: &str| {
        let word = made.split(|c: char| c.is_whitespace() || c == '"').find(|word| word.starts_with(begins));
        word.map(str::to_owned).ok_or_else(|| Failure::new(format!("no {begins} in {made}")))
    };
    host.write(WEB, &format!("tokens: {{bot: \"{}\"}}\noperators: [bot]\nopen_reads: true\n", find("sha256:")?))?;
    host.start_daemon()?;
    Ok((host, find("umt_")?))
}

fn get(host: &Host, path: &str) -> Result<Value, Failure> {
    let answer = host.sh(&format!("curl -sf '{API}{path}'"))?;
    serde_json::from_str(&answer).map_err(|error| Failure::new(format!("{path}: {error}: {answer}")))
}

/// The status of the answer, and the answer.
fn ask(host: &Host, token: &str, ask: &str) -> Result<(String, Value), Failure> {
    let answer = host.sh(&format!(
        "curl -s -w '\\n%{{http_code}}' -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' -d '{ask}' \
         {API}/requests"
    ))?;
    let (body, code) = answer.trim().rsplit_once('\n').ok_or_else(|| Failure::new(answer.clone()))?;
    let body = serde_json::from_str(body).map_err(|error| Failure::new(format!("{ask}: {error}: {body}")))?;
    Ok((code.to_owned(), body))
}

#[test]
fn a_tool_that_knows_the_document_finds_no_fault() -> Result<(), Failure> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/check-api");
    // Before the host's own network, in which there is nobody to get it from.
    let installed = Command::new(&script).arg("--install").status()?;
    ensure(installed.success(), || "schemathesis could not be installed".into())?;
    let (host, token) = host("api-fuzz")?;
    for unit in ["mail@1.service", "web.service"] {
        host.kill(unit)?;
        host.wait_recovered(unit, 1)?;
    }
    let token_file = std::env::temp_dir().join(format!("{}.token", host.mark()));
    std::fs::write(&token_file, token)?;
    let found = Command::new("nsenter")
        .args(["--target", &host.leader().to_string(), "--net", "--"])
        .arg(&script)
        .args(["http://127.0.0.1:10119".as_ref(), token_file.as_path()])
        .output()?;
    let _ = std::fs::remove_file(&token_file);
    ensure(found.status.success(), || String::from_utf8_lossy(&found.stdout).into_owned())?;
    // It has asked for much, and nobody has fallen over.
    host.sh("unitmedic resume --all")?;
    host.prove_awake()?;
    host.done()
}

#[test]
fn what_happens_is_told_live_and_again_to_who_comes_back() -> Result<(), Failure> {
    let (host, token) = host("api-events")?;
    let last = get(&host, "/overview")?["last_event"].as_str().unwrap_or_default().to_owned();
    let stream = host.spawn(&["curl", "-sN", &format!("{API}/events?after={last}")])?;
    until("the stream begins", LIMIT, || {
        let begun = stream.stdout().contains("retry:");
        if begun { Ok(()) } else { Err(Failure::new(stream.stdout())) }
    })?;
    host.kill("mail@1.service")?;
    let since = Instant::now();
    while !stream.stdout().contains("event: health_changed") && since.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(2));
    }
    let seen = since.elapsed();
    println!("from kill -9 to the event on the stream: {} ms", seen.as_millis());
    ensure(seen < Duration::from_millis(500), || format!("{seen:?}: {}", stream.stdout()))?;
    host.wait_recovered("mail@1.service", 1)?;
    let told = until("the recovery is told", LIMIT, || {
        let told = stream.stdout();
        if told.contains("event: incident_closed") { Ok(told) } else { Err(Failure::new(told)) }
    })?;
    ensure(told.contains("\"text\":\"mail@1.service failed: killed by signal SIGKILL (9)"), || told.clone())?;

    let ids: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    let again = |id: &str| host.sh(&format!("timeout 2 curl -sN -H 'Last-Event-ID: {id}' {API}/events || true"));
    let rest = again(ids[0])?;
    ensure(ids[1..].iter().all(|id| rest.contains(&format!("id: {id}\n"))), || format!("{ids:?}: {rest}"))?;
    ensure(!rest.contains(&format!("id: {}\n", ids[0])) && !rest.contains("event: reset"), || rest.clone())?;
    let stranger = again("beef-7")?;
    ensure(stranger.contains("event: reset\n"), || stranger.clone())?;

    // What is seen in the overview is what the events have told.
    let id = get(&host, "/incidents?unit=mail%401.service")?[0]["id"].as_u64().unwrap_or_default();
    let (code, done) = ask(&host, &token, &format!("{{\"ask\":\"mark_false\",\"incident\":{id}}}"))?;
    ensure(code == "200", || format!("{code} {done}"))?;
    let audit = get(&host, "/audit?limit=1")?;
    let who = audit[0]["who"].as_str().unwrap_or_default();
    ensure(who == "bot (token, from 127.0.0.1)" && audit[0]["event"] == "marked_false", || audit.to_string())?;
    host.done()
}

#[test]
fn a_reload_over_the_api_is_kept_and_a_bad_file_changes_nothing() -> Result<(), Failure> {
    let (host, token) = host("api-reload")?;
    let config = host.read(CONFIG)?;
    host.write(CONFIG, &format!("{config}\n[worker.later]\nunit = \"later.service\"\nhooks.flush.command = [\"/bin/x\", \"--password\", \"hunter2\"]\n"))?;
    let (code, done) = ask(&host, &token, "{\"ask\":\"reload\"}")?;
    ensure(code == "200" && done["reply"] == "done", || format!("{code} {done}"))?;
    let settings = get(&host, "/configuration")?.to_string();
    ensure(settings.contains("worker.later.hooks.flush") && !settings.contains("hunter2"), || settings.clone())?;
    host.write(CONFIG, "[worker.later]\nunit = 7\n")?;
    let (code, problem) = ask(&host, &token, "{\"ask\":\"reload\"}")?;
    let detail = problem["detail"].as_str().unwrap_or_default();
    ensure(code == "404" && detail.contains("unit in [worker.later] takes"), || format!("{code} {problem}"))?;
    ensure(problem["reply"]["reply"] == "unknown", || problem.to_string())?;
    ensure(get(&host, "/workers/later")?["worker"] == "later", || "the old settings are gone".into())?;
    let audit = get(&host, "/audit")?;
    ensure(audit[0]["event"] == "settings_changed", || audit.to_string())?;
    ensure(audit[0]["who"] == "bot (token, from 127.0.0.1)", || audit.to_string())?;

    // Readings are kept from the first round on.
    let series = until("two rounds of readings", LIMIT, || {
        let series = get(&host, "/instances/web.service/series")?;
        let points = series["cpu"]["points"].as_array().map_or(0, Vec::len);
        if points >= 2 { Ok(series) } else { Err(Failure::new(series.to_string())) }
    })?;
    ensure(series["cpu"]["threshold"] == 0.8, || series.to_string())?;
    host.write("/run/unitmedic/hold", "")?;
    ensure(get(&host, "/overview")?["held"] == true, || "who has touched the hold file is not told".into())?;
    host.wait_health("web.service", Health::Healthy)?;
    host.done()
}
