//! The operator's page in a real browser: Chromium runs on the host beside the daemon, driven by the cases in
//! `tests/browser`, and what it did is looked at with the command line.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use unitmedic::model::Resolution;
use unitmedic::model::history::AuditEntry;

use crate::fixture::{CONFIG, Host, LIMIT, SLEEPER, Setup, ensure, until};
use crate::testhost::{Failure, Place, run_bounded};

macro_rules! browser {
    ($($name:literal),+ $(,)?) => {
        /// The cases, by the name of their file.
        const BROWSER: &[(&str, &str)] = &[$(($name, include_str!(concat!("../browser/", $name)))),+];
    };
}
browser!["chrome.py", "deeds.py", "hostile.py", "keyboard.py", "live.py", "loss.py", "many.py", "views.py"];

/// Where they are on the host, with what they fetch and leave.
const PLACE: &str = "/root/browser";
/// They are for the Python that the packages of the browser's driver are made for.
const PYTHON: &str = "/usr/bin/python3";

/// For one case, on a machine that has other work.
const CASE_LIMIT: Duration = Duration::from_secs(240);
/// It comes over the network, once.
const FETCH_LIMIT: Duration = Duration::from_secs(120);

/// Both have the password `test`. One may act, and everybody may read.
const WEB: &str = "basic_auth_users:
  medic: $2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay
  reader: $2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay
operators: [medic]
open_reads: true
";

/// It asks before it starts what is dead, and not again soon after a no.
const ASKS: &str = "approval = \"everything\"\nrestart_cooldown = \"1h\"\n";

/// How many instances of `orders` there are.
const ORDERS: usize = 9;

/// What is asked of the page is in docs/benchmarks.md; here a machine with other work must do.
const LIVE_LIMIT_MS: f64 = 1000.0;
const FIRST_PAINT_LIMIT_MS: f64 = 3000.0;
const WEIGHT_LIMIT_BYTES: u64 = 200_000;

const MANY: usize = 1000;
/// A thousand units need 9 s to start on two idle cores.
const MANY_LIMIT: Duration = Duration::from_secs(120);

fn page(name: &str) -> Result<Setup, Failure> {
    let mut setup = Setup::new(name).program(&format!("{PLACE}/axe.min.js"), axe()?);
    for (name, text) in BROWSER {
        setup = setup.file(&format!("{PLACE}/{name}"), text);
    }
    Ok(setup.file("/etc/unitmedic/web.yml", WEB))
}

/// Workers of each kind: many instances, one unit, and one that is not touched without a yes.
fn with_workers(setup: Setup) -> Setup {
    let setup = setup
        .worker("orders", "orders@.service", SLEEPER)
        .worker("mail", "mail.service", SLEEPER)
        .worker_with("billing", "billing@.service", SLEEPER, ASKS)
        .starting("billing@1.service")
        .starting("billing@2.service")
        .starting("billing@3.service");
    (1..=ORDERS).fold(setup, |setup, number| setup.starting(&format!("orders@{number}.service")))
}

/// Boots it, lets the daemon know who may what, and starts it.
fn start(setup: Setup) -> Result<Host, Failure> {
    let host = setup.boot()?;
    let more = "web_config_file = \"/etc/unitmedic/web.yml\"\n";
    host.write(CONFIG, &host.config.replacen("[daemon]\n", &format!("[daemon]\n{more}"), 1))?;
    host.start_daemon()?;
    Ok(host)
}

/// The audit that runs in the page.
fn axe() -> Result<PathBuf, Failure> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/fetch-axe");
    let fetched = run_bounded(Command::new(script), "scripts/fetch-axe", b"", FETCH_LIMIT)?.success()?;
    Ok(fetched.trim().into())
}

/// Plays a case, and keeps its pictures; what it saw.
fn play(host: &Host, case: &str, arguments: &[&str]) -> Result<Value, Failure> {
    let script = format!("{PLACE}/{case}.py");
    let output = host.run_for(&[&[PYTHON, "-B", &script], arguments].concat(), b"", CASE_LIMIT)?;
    keep_pictures(host, case)?;
    let text = output.success()?;
    serde_json::from_str(&text).map_err(|error| Failure::new(format!("{case}: {error}: {text}")))
}

/// Copies what the host has of pictures to `target/page-screenshots`; the one of a former failure goes.
fn keep_pictures(host: &Host, case: &str) -> Result<(), Failure> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("no target directory")?;
    let kept = target.join("page-screenshots");
    fs::create_dir_all(&kept)?;
    let _ = fs::remove_file(kept.join(format!("failed-{case}.png")));
    let shots = format!("/proc/{}/root{PLACE}/shots", host.leader());
    let Ok(entries) = fs::read_dir(shots) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        fs::copy(entry.path(), kept.join(entry.file_name()))?;
    }
    Ok(())
}

/// A number for who reads the run of the tests, also of one that passes.
fn report(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn numbers(seen: &Value, name: &str) -> Vec<f64> {
    let mut all: Vec<f64> = seen.as_array().into_iter().flatten().filter_map(|one| one[name].as_f64()).collect();
    all.sort_by(f64::total_cmp);
    all
}

fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[test]
fn a_kill_is_seen_on_the_page_at_once() -> Result<(), Failure> {
    let host = start(with_workers(page("page-live")?))?;
    let seen = play(&host, "live", &["orders", &ORDERS.to_string()])?;
    let ms = |name| numbers(&seen, name).into_iter().map(|us| us / 1e3).collect::<Vec<f64>>();
    let (changed, painted) = (ms("dom_us"), ms("painted_us"));
    ensure(changed.len() == ORDERS && changed[0] > 0.0, || format!("{seen:#}"))?;
    report(&format!(
        "page: kill -9 to the change on the page, {} kills: median {:.0} ms, painted {:.0} ms; longest {:.0} ms",
        changed.len(),
        median(&changed),
        median(&painted),
        painted[ORDERS - 1]
    ));
    ensure(median(&painted) < LIVE_LIMIT_MS, || format!("{seen:#}"))?;
    host.done()
}

#[test]
fn deeds_on_the_page_are_done_and_bear_a_name() -> Result<(), Failure> {
    let host = start(with_workers(page("page-deeds")?))?;
    let seen = play(&host, "deeds", &[])?;
    // What was said beforehand is what was done.
    let asked = host.incidents("mail.service")?;
    ensure(seen["recovered"]["incident"] == json!(asked[0].id.0), || format!("{seen:#}"))?;
    ensure(asked[0].resolution == Some(Resolution::Recovered), || format!("{:#?}", asked[0]))?;
    let history = host.unitmedic(&["history"])?.success()?;
    for unit in ["mail.service", "billing@1.service", "orders@1.service"] {
        ensure(history.contains(unit), || format!("{unit} is not in {history}"))?;
    }
    ensure(!history.contains("billing@2.service"), || history.clone())?;
    ensure(host.property("billing@1.service", "ActiveState")? == "active", || "approved, and not started".into())?;
    ensure(host.property("billing@2.service", "ActiveState")? == "failed", || "rejected, and started".into())?;
    let wrong = host.incidents("orders@1.service")?;
    ensure(wrong[0].resolution == Some(Resolution::FalseAlarm), || format!("{:#?}", wrong[0]))?;
    ensure(host.status()?.pauses.is_empty(), || "it is still paused".into())?;

    // The case has closed reading in the end.
    host.write("/etc/unitmedic/web.yml", WEB)?;
    let (code, audit) = host.http("/api/v1/audit")?;
    let audit: Vec<AuditEntry> = serde_json::from_str(&audit).map_err(|error| format!("{code}: {error}: {audit}"))?;
    let by = "medic (basic auth, from 127.0.0.1";
    let named = |event: &str, about: &str| {
        audit.iter().any(|one| {
            let who = one.who.as_deref().is_some_and(|who| who.starts_with(by));
            let unit = one.unit.as_ref().map(|unit| unit.as_str()).or(one.worker.as_ref().map(|name| name.as_str()));
            who && one.event == event && unit.unwrap_or_default() == about
        })
    };
    for (event, about) in [
        ("requested", "mail"),
        ("paused", "mail"),
        ("resumed", "mail"),
        ("approval_answered", "billing@1.service"),
        ("approval_answered", "billing@2.service"),
        ("approval_answered", "billing@3.service"),
        ("marked_false", "orders@1.service"),
        ("settings_changed", ""),
    ] {
        ensure(named(event, about), || format!("{event} of {about:?} is not in {audit:#?}"))?;
    }
    ensure(!audit.iter().any(|one| one.who.as_deref().unwrap_or_default().contains("reader")), || {
        format!("a reader did something: {audit:#?}")
    })?;
    host.done()
}

#[test]
fn a_lost_connection_is_told_and_comes_back_by_itself() -> Result<(), Failure> {
    let host = start(with_workers(page("page-loss")?))?;
    let seen = play(&host, "loss", &[])?;
    report(&format!("page: {seen}"));
    host.done()
}

#[test]
fn what_would_be_markup_is_text() -> Result<(), Failure> {
    let markup = "</script><script>window.hit=2</script>";
    let loud = format!(
        "[Service]\nExecStart=/bin/sh -c 'while :; do echo \"<3><img src=x onerror=window.hit=1>{markup} failed\"; \
         sleep 1; done'\n"
    );
    let setup = with_workers(page("page-hostile")?)
        .worker_with("loud", "loud@.service", &loud, &format!("probe_command = [\"/bin/true\", \"{markup}\"]"))
        .starting("loud@1.service");
    let host = start(setup)?;
    play(&host, "hostile", &[])?;
    host.done()
}

#[test]
fn the_keyboard_alone_reaches_a_recovery_and_an_answer() -> Result<(), Failure> {
    let host = start(with_workers(page("page-keyboard")?))?;
    let seen = play(&host, "keyboard", &[])?;
    report(&format!("page: stops of the tab key: {}", seen["stops"]));
    ensure(host.incidents("mail.service")?.len() == 1, || "not one incident: Escape has done something".into())?;
    host.wait_recovered("billing@1.service", 1)?;
    host.done()
}

#[test]
fn every_view_passes_the_audit_in_both_themes_and_in_every_width() -> Result<(), Failure> {
    let host = start(with_trouble(with_workers(page("page-views")?)))?;
    let views = troubled(&host)?;
    host.write(&format!("{PLACE}/views.json"), &views.to_string())?;
    let seen = play(&host, "views", &[&format!("{PLACE}/views.json")])?;
    report(&format!("page: {seen}"));
    host.done()
}

/// Workers with something to show in every view.
fn with_trouble(setup: Setup) -> Setup {
    let beats = "[Service]\nExecStart=/bin/sh -c 'while :; do echo > /run/alive; sleep 0.5; done'\n";
    let broken = "[Service]\nExecStart=/bin/sh -c 'echo \"<3>cannot open the ledger\"; exit 3'\n";
    let stubborn = "[Service]\nTimeoutStopSec=1s\n\
                    ExecStart=/bin/sh -c 'trap \"\" TERM; while :; do sleep 1 & wait; done'\n";
    setup
        .worker_with("beating", "beating.service", beats, "heartbeat_file = \"/run/alive\"\ncritical = true")
        .idle_worker("broken", "broken.service", broken, "max_restart_attempts = 1\nrestart_cooldown = \"1h\"")
        .worker_with("stubborn", "stubborn.service", stubborn, "drain_timeout = \"1s\"")
}

/// Lets things happen; the views to look at.
fn troubled(host: &Host) -> Result<Value, Failure> {
    for _ in 0..5 {
        host.unitmedic(&["recover", "stubborn", "--action", "graceful_restart", "--force"])?.success()?;
    }
    host.kill("orders@3.service")?;
    let closed = host.wait_recovered("orders@3.service", 1)?.id.0;
    host.sh("systemctl start broken.service || true")?;
    host.unitmedic(&["pause", "mail", "--for", "2h", "--reason", "deploy of mail 2.1"])?.success()?;
    host.kill("billing@1.service")?;
    let open = until("somebody is asked", LIMIT, || {
        let (_, cards) = host.http("/api/v1/approvals")?;
        let cards: Value = serde_json::from_str(&cards).map_err(|error| Failure::new(format!("{error}: {cards}")))?;
        cards[0]["incident"].as_u64().ok_or_else(|| Failure::new(format!("{cards}")))
    })?;
    until("all views have something to show", LIMIT, || {
        let (_, advice) = host.http("/api/v1/advice")?;
        let (_, alerts) = host.http("/api/v1/alerts")?;
        let (_, strategies) = host.http("/api/v1/strategies")?;
        let told = [(&advice, "drain_timeout"), (&alerts, "UnitmedicRecoveryGivenUp"), (&strategies, "orders")];
        match told.into_iter().find(|(text, word)| !text.contains(word)) {
            None => Ok(()),
            Some((text, word)) => Err(Failure::new(format!("{word}: {text}"))),
        }
    })?;
    Ok(json!({
        "overview": "#/",
        "worker": "#/worker/orders",
        "worker-beating": "#/worker/beating",
        "incident-open": format!("#/incident/{open}"),
        "incident-closed": format!("#/incident/{closed}"),
        "incidents": "#/incidents",
        "history": "#/history",
        "strategies": "#/strategies",
        "advice": "#/advice",
        "alerts": "#/alerts",
        "audit": "#/audit",
        "configuration": "#/configuration",
    }))
}

#[test]
fn a_thousand_instances_are_painted_soon_and_weigh_little() -> Result<(), Failure> {
    let host = start(page("page-many")?.worker("load", "load@.service", SLEEPER))?;
    let all = format!("systemctl start $(seq -f 'load@%g.service' 1 {MANY})");
    host.run_for(&["sh", "-c", &all], b"", MANY_LIMIT)?.success()?;
    until("all are seen", MANY_LIMIT, || {
        let status = host.status()?;
        let healthy: usize = status.workers.iter().map(|worker| worker.healthy).sum();
        if healthy > MANY { Ok(()) } else { Err(Failure::new(format!("{healthy} are healthy"))) }
    })?;
    let seen = play(&host, "many", &[&MANY.to_string(), "5"])?;
    let (paint, tiles) = (numbers(&seen, "first_paint_ms"), numbers(&seen, "tiles_painted_ms"));
    let weight = seen[0]["bytes"].as_u64().ok_or_else(|| format!("{seen}"))?;
    report(&format!(
        "page: {MANY} instances: first paint {:.0} ms, all tiles {:.0} ms (medians of {}); {weight} bytes over the wire, {} \
         of them the overview",
        median(&paint),
        median(&tiles),
        paint.len(),
        seen[0]["overview_bytes"]
    ));
    ensure(median(&paint) < FIRST_PAINT_LIMIT_MS && weight < WEIGHT_LIMIT_BYTES, || format!("{seen:#}"))?;
    host.done()
}
