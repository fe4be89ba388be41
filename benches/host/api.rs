//! The API with 1,000 instances: 50 clients that ask, and 100 that read the live events; and what that does to the others.

use std::time::Duration;

use serde_json::{Value, json};

use super::report::{Row, median};
use super::testhost::{Failure, Place};
use super::{Host, OUR_ADDRESS, SCRAPE_PAUSE_MS, SCRAPES, cpu, names, times, walls};

/// Each asks every 100 ms, one after the other of [`super::inside::api::MIX`].
const CLIENTS: u32 = 50;
const READERS: u32 = 100;
/// Single kills in a measurement.
const KILLS: u32 = 24;
const ROUNDS: u32 = 3;
const LOAD_SECONDS: u64 = 20;
const EVENT_SECONDS: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(120);

/// The same 1,000 instances, as ten workers: by the last digit.
fn ten_workers() -> String {
    let head = super::CONFIGURATION.split("[worker").next().unwrap_or_default();
    let worker = |digit: u32| format!("[worker.load-{digit}]\nunit = \"load@*{digit}.service\"\n");
    (0..10).map(worker).fold(head.to_owned(), |all, one| all + &one)
}

pub fn measure(host: &Host, rows: &mut Vec<Row>) -> Result<Value, Failure> {
    host.machine.write("/etc/unitmedic/unitmedic.toml", &ten_workers())?;
    let measured = measured(host, rows);
    host.machine.write("/etc/unitmedic/unitmedic.toml", super::CONFIGURATION)?;
    measured
}

fn measured(host: &Host, rows: &mut Vec<Row>) -> Result<Value, Failure> {
    host.start_medic()?;
    let medic = host.pid("unitmedic.service")?;
    // The first samples are in, and what they foretell is known.
    host.inside(&["idle", "12"])?;
    // In turn, so that what else the machine does falls on both.
    let (mut quiet, mut loaded, mut asked) = (Vec::new(), Vec::new(), Value::Null);
    let (clients, seconds) = (CLIENTS.to_string(), LOAD_SECONDS.to_string());
    for round in 0..ROUNDS {
        eprintln!("scrapes and kills without clients and with {CLIENTS}, round {} of {ROUNDS} …", round + 1);
        let first = round * 2 * KILLS + 1;
        quiet.push(others(host, &medic, first)?);
        let load = host.machine.spawn(&[super::PROGRAM, "inside", "load", OUR_ADDRESS, &clients, &seconds])?;
        host.inside(&["idle", "2"])?;
        loaded.push(others(host, &medic, first + KILLS)?);
        let answers = read(&load.wait(PATIENCE)?.success()?)?;
        if asked.is_null() || answers["p99_us"].as_f64() < asked["p99_us"].as_f64() {
            asked = answers;
        }
    }
    let of = |all: &[Value], key: &str| {
        let every: Vec<f64> =
            all.iter().filter_map(|one| one[key].as_array()).flatten().filter_map(Value::as_f64).collect();
        median(&every)
    };
    let p99 = asked["p99_us"].as_f64().unwrap_or(f64::NAN) / 1e3;
    println!("{CLIENTS} clients, each every 100 ms, by question, us: {}", asked["by_question"]);
    println!("  {} answers, {} of them no 200; slowest {} us", asked["answers"], asked["bad"], asked["max_us"]);
    rows.push(
        Row::new("API with 1,000 instances and 50 clients, p99 of the best of three rounds", format!("{p99:.2} ms"))
            .asked("< 5 ms", p99 < 5.0),
    );
    for (what, key) in
        [("a scrape meanwhile, median", "scrape_ms"), ("kill -9 to running meanwhile, median", "kill_ms")]
    {
        let (with, without) = (of(&loaded, key), of(&quiet, key));
        let row =
            Row::new(what, format!("{with:.2} ms")).peer(format!("without clients {without:.2} ms"), with / without);
        rows.push(row.asked("< 1.1 x", with < 1.1 * without));
    }
    let events = events(host, &medic, rows)?;
    host.stop_medic()?;
    Ok(json!({ "quiet": quiet, "loaded": loaded, "asked": asked, "events": events }))
}

/// What others see: scrapes, and kills of instances from `first` on.
fn others(host: &Host, medic: &str, first: u32) -> Result<Value, Failure> {
    let rounds = SCRAPES.to_string();
    let scrapes = host.inside(&["scrape", OUR_ADDRESS, &rounds, &SCRAPE_PAUSE_MS.to_string(), medic])?;
    let units: Vec<String> = names("load", first..=first + KILLS - 1).collect();
    let kills = host.on_units(&["kill"], &units)?;
    let kills = times(kills.as_array().map_or(&[], Vec::as_slice), "took_us");
    Ok(json!({ "scrape_ms": walls(&scrapes), "kill_ms": kills }))
}

/// The same kills with and without readers of the events: the difference is theirs.
fn events(host: &Host, medic: &str, rows: &mut Vec<Row>) -> Result<Value, Failure> {
    eprintln!("kills for {READERS} readers of events …");
    let kill = |first: u32| host.on_units(&["kill"], &names("load", first..=first + KILLS - 1).collect::<Vec<_>>());
    let (readers, seconds) = (READERS.to_string(), EVENT_SECONDS.to_string());
    let listen = |readers: &str| {
        host.machine.spawn(&[super::PROGRAM, "inside", "listen", OUR_ADDRESS, readers, &seconds, medic])
    };
    let nobody = listen("0")?;
    kill(401)?;
    let without = read(&nobody.wait(PATIENCE)?.success()?)?;
    let many = listen(&readers)?;
    kill(501)?;
    let with = read(&many.wait(PATIENCE)?.success()?)?;
    let share = |one: &Value| cpu(one, medic) / one["span_us"].as_f64().unwrap_or(f64::NAN) * 100.0;
    let rss = |one: &Value| one["memory"][medic]["rss_kb"].as_f64().unwrap_or(f64::NAN) / 1024.0;
    let (cost, more) = (share(&with) - share(&without), rss(&with) - rss(&without));
    println!("{READERS} readers: {} events, {} reads and {} bytes each", with["events"], with["reads"], with["bytes"]);
    rows.push(
        Row::new("100 readers of live events, CPU", format!("{cost:.2} % of a core"))
            .peer(format!("without readers {:.2} %, subtracted", share(&without)), cost / 5.0)
            .asked("< 5 %", cost < 5.0),
    );
    rows.push(Row::new("the same, memory", format!("{more:.1} MiB more")).asked("< 20 MB", more < 19.0));
    Ok(json!({ "without": without, "with": with }))
}

fn read(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::new(format!("{error}: {text}")))
}
