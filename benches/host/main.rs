//! Measures on a real systemd, side by side with systemd itself and with node_exporter: `cargo bench --bench host`.
//!
//! A throwaway host runs 1,000 units with `Restart=no` that unitmedic watches and 400 with `Restart=always RestartSec=0`
//! that it does not; another one runs 10,000 that give signs of life. `-- --json` prints every number; `-- kill storm`
//! measures these parts only; `-- table FILE` prints
//! the rows that `make bench` has collected.

#[path = "../report/report.rs"]
mod report;
#[path = "../../tests/testhost/testhost.rs"]
mod testhost;

mod api;
mod beats;
mod families;
mod inside;
mod page;

use std::time::Duration;

use report::{Row, median};
use serde_json::{Value, json};
use testhost::{Failure, Machine, Place, installed, wait_for};

/// Watched by unitmedic.
const OURS: u32 = 1000;
/// systemd's own.
const THEIRS: u32 = 400;
/// Killed at once.
const STORM: u32 = 400;
const ROUNDS: u32 = 4;
/// Single kills of each side in a round.
const KILLS: u32 = 12;
const SCRAPES: u32 = 20;
/// Each takes node_exporter more than a second.
const PEER_SCRAPES: u32 = 5;
/// Between two scrapes. Prometheus comes less often; what PID 1 and the bus do meanwhile is subtracted.
const SCRAPE_PAUSE_MS: u32 = 100;
const IDLE_SECONDS: u32 = 60;

/// How long 1,400 units may take to start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(180);
const INSIDE_LIMIT: Duration = Duration::from_secs(300);

const PROGRAM: &str = "/usr/bin/hostbench";
const OUR_ADDRESS: &str = "127.0.0.1:10119";
const PEER_ADDRESS: &str = "127.0.0.1:9100";

const CONFIGURATION: &str = "[daemon]
health_check_interval = \"10s\"
control_group = \"\"

[worker.load]
unit = \"load@.service\"
";

/// The same for both sides but for who restarts it. Without a start limit, so that it can be killed often.
const OUR_UNIT: &str = "[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/bin/sleep infinity
Restart=no
";
const THEIR_UNIT: &str = "[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/bin/sleep infinity
Restart=always
RestartSec=0
";
/// The systemd collector only, with the switches that give the fields that our exposition has, too.
const EXPORTER_UNIT: &str = "[Service]
ExecStart=/usr/bin/prometheus-node-exporter --collector.disable-defaults --collector.systemd \
 --collector.systemd.enable-restarts-metrics --collector.systemd.enable-start-time-metrics \
 --collector.systemd.enable-task-metrics --web.listen-address=127.0.0.1:9100
";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("inside") => inside::main(&arguments[1..]),
        Some("table") => report::print(&report::read(&arguments[1])),
        _ => match measure(&arguments) {
            Ok((rows, raw)) => {
                if arguments.iter().any(|argument| argument == "--json") {
                    println!("{}", serde_json::to_string_pretty(&raw).expect("plain data"));
                }
                report::publish(&rows);
            }
            Err(failure) => {
                eprintln!("{failure}");
                std::process::exit(1);
            }
        },
    }
}

fn measure(arguments: &[String]) -> Result<(Vec<Row>, Value), Failure> {
    let parts: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    let mut rows = Vec::new();
    let mut raw = json!({});
    if wanted("beats") {
        raw["beats"] = beats::measure(&mut rows)?;
    }
    if !["idle", "scrape", "families", "api", "kill", "storm", "page"].into_iter().any(wanted) {
        return Ok((rows, raw));
    }
    let host = Host::boot()?;
    if wanted("idle") {
        raw["idle"] = host.idle(&mut rows)?;
    }
    if wanted("scrape") {
        raw["scrape"] = host.scrape(&mut rows)?;
    }
    if wanted("families") {
        raw["families"] = host.families(&mut rows)?;
    }
    if wanted("api") {
        raw["api"] = api::measure(&host, &mut rows)?;
    }
    if wanted("kill") {
        raw["kill"] = host.kill(&mut rows)?;
    }
    if wanted("storm") {
        raw["storm"] = host.storm(&mut rows)?;
    }
    if wanted("page") {
        raw["page"] = page::measure(&host, &mut rows)?;
    }
    Ok((rows, raw))
}

struct Host {
    machine: Machine,
}

impl Host {
    fn boot() -> Result<Self, Failure> {
        let machine = Machine::builder("bench")
            .installed(env!("CARGO_BIN_EXE_unitmedic"))
            .program(PROGRAM, std::env::current_exe()?)
            .file("/etc/unitmedic/unitmedic.toml", CONFIGURATION)
            .file("/etc/systemd/system/load@.service", OUR_UNIT)
            .file("/etc/systemd/system/alone@.service", THEIR_UNIT)
            .file("/etc/systemd/system/exporter.service", EXPORTER_UNIT);
        let host = Self { machine: page::with_browser(machine).boot()? };
        installed::settle(&host.machine)?;
        let units: Vec<String> = names("load", 1..=OURS).chain(names("alone", 1..=THEIRS)).collect();
        let start: Vec<&str> = ["systemctl", "start"].into_iter().chain(units.iter().map(String::as_str)).collect();
        eprintln!("starting {} units …", units.len());
        host.machine.run_for(&start, b"", START_LIMIT)?.success()?;
        Ok(host)
    }

    /// Starts unitmedic without a past, and waits until it has seen all its instances.
    fn start_medic(&self) -> Result<(), Failure> {
        self.machine.sh("rm -rf /var/lib/unitmedic /run/unitmedic && systemd-tmpfiles --create unitmedic.conf")?;
        self.machine.ctl(&["start", "unitmedic.service"])?;
        wait_for("unitmedic watches all instances", START_LIMIT, || {
            let status = self.machine.run(&["unitmedic", "status", "--json"])?;
            let status: Value = serde_json::from_str(&status.stdout).unwrap_or_default();
            let workers = status["workers"].as_array().into_iter().flatten();
            let instances = workers.filter_map(|worker| worker["instances"].as_array()).flatten();
            let healthy = instances.filter(|instance| instance["health"] == "healthy").count();
            if healthy == OURS as usize { Ok(()) } else { Err(Failure::new(format!("{healthy} healthy"))) }
        })
    }

    fn stop_medic(&self) -> Result<(), Failure> {
        self.machine.ctl(&["stop", "unitmedic.service"]).map(drop)
    }

    fn inside(&self, words: &[&str]) -> Result<Value, Failure> {
        let all: Vec<&str> = [PROGRAM, "inside"].iter().chain(words).copied().collect();
        let text = self.machine.run_for(&all, b"", INSIDE_LIMIT)?.success()?;
        serde_json::from_str(&text).map_err(|error| Failure::new(format!("{error}: {text}")))
    }

    /// Runs a measurement on units.
    fn on_units(&self, what: &[&str], units: &[String]) -> Result<Value, Failure> {
        let words: Vec<&str> = what.iter().copied().chain(units.iter().map(String::as_str)).collect();
        self.inside(&words)
    }

    /// In each round: kills of both kinds in turn while unitmedic runs, then of systemd's own while it does not.
    fn kill(&self, rows: &mut Vec<Row>) -> Result<Value, Failure> {
        let (mut ours, mut beside, mut alone, mut stages) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            eprintln!("single kills, round {} of {ROUNDS} …", round + 1);
            let numbers = round * KILLS + 1..=(round + 1) * KILLS;
            let (of_us, of_them): (Vec<_>, Vec<_>) =
                (names("load", numbers.clone()).collect(), names("alone", numbers).collect());
            let both: Vec<String> =
                of_us.iter().zip(&of_them).flat_map(|(one, other)| [one.clone(), other.clone()]).collect();
            self.start_medic()?;
            // What a start brings along (history, first samples) is over.
            self.inside(&["idle", "5"])?;
            let kills = self.on_units(&["kill"], &both)?;
            let of = |prefix: &str| {
                let named = move |kill: &&Value| kill["unit"].as_str().is_some_and(|unit| unit.starts_with(prefix));
                kills.as_array().into_iter().flatten().filter(named).cloned().collect::<Vec<Value>>()
            };
            let times: Vec<String> = of("load")
                .iter()
                .map(|kill| format!("{}={}", kill["unit"].as_str().unwrap_or_default(), kill["killed"]))
                .collect();
            let words: Vec<&str> =
                ["stages", "/var/lib/unitmedic"].into_iter().chain(times.iter().map(String::as_str)).collect();
            self.inside(&["idle", "1"])?;
            stages.extend(self.inside(&words)?.as_array().cloned().unwrap_or_default());
            ours.extend(of("load"));
            beside.extend(of("alone"));
            self.stop_medic()?;
            let kills = self.on_units(&["kill"], &of_them)?;
            alone.extend(kills.as_array().cloned().unwrap_or_default());
        }
        for (until, what) in [("begun_us", "systemd has begun the start"), ("took_us", "running again")] {
            println!("kill -9 to {what}, ms:");
            let sides = [("unitmedic", &ours), ("systemd alone", &alone), ("systemd beside us", &beside)];
            for (who, kills) in sides {
                let seen = times(kills, until);
                // Where systemd keeps the group of a unit between its lives, the beginning cannot be seen.
                let spread = if seen.is_empty() { "not seen".into() } else { spread("", &seen) };
                println!("  {who}:{spread}, {} of {} kills", seen.len(), kills.len());
            }
        }
        let middle = |kills: &[Value]| median(&times(kills, "took_us"));
        let (us, them, there) = (middle(&ours), middle(&alone), middle(&beside));
        let peer = format!("systemd alone {them:.2} ms (beside us {there:.2} ms)");
        let row = Row::new("kill -9 to running again, median", format!("{us:.2} ms")).peer(peer, us / them);
        rows.push(row.asked("< 0.5 x systemd", us < 0.5 * them));
        let stage = |name: &str| {
            let times: Vec<f64> = stages.iter().filter_map(|one| one[name].as_f64()).map(|us| us / 1e3).collect();
            if times.is_empty() { "-".into() } else { format!("{:.2}", median(&times)) }
        };
        println!(
            "  from the kill, ms, medians: first signal handled {}, failed seen {}, intent stored {}, call answered {}, active seen {} ({} kills)",
            stage("seen"),
            stage("failed"),
            stage("recorded"),
            stage("acted"),
            stage("active"),
            stages.len()
        );
        Ok(json!({ "ours_ms": ours, "alone_ms": alone, "beside_ms": beside, "stages_us": stages }))
    }

    fn storm(&self, rows: &mut Vec<Row>) -> Result<Value, Failure> {
        let (mut ours, mut beside, mut alone) = (Vec::new(), Vec::new(), Vec::new());
        let of_them: Vec<String> = names("alone", 1..=STORM).collect();
        for round in 0..ROUNDS {
            eprintln!("{STORM} kills at once, round {} of {ROUNDS} …", round + 1);
            let first = (round % 2) * STORM + 101;
            let of_us: Vec<String> = names("load", first..=first + STORM - 1).collect();
            self.start_medic()?;
            self.inside(&["idle", "5"])?;
            let (bus, medic) = (self.pid("dbus.service")?, self.pid("unitmedic.service")?);
            let (with, without) = (format!("1,{bus},{medic}"), format!("1,{bus}"));
            let mut with_us = self.on_units(&["storm", &with], &of_us)?;
            with_us["cpu"] = json!([cpu(&with_us, "1"), cpu(&with_us, &bus), cpu(&with_us, &medic)]);
            ours.push(with_us);
            self.inside(&["idle", "3"])?;
            beside.push(self.on_units(&["storm", &without], &of_them)?);
            self.stop_medic()?;
            self.inside(&["idle", "2"])?;
            let mut without_us = self.on_units(&["storm", &without], &of_them)?;
            without_us["cpu"] = json!([cpu(&without_us, "1"), cpu(&without_us, &bus)]);
            alone.push(without_us);
            self.inside(&["idle", "2"])?;
        }
        let seconds = |all: &[Value]| {
            all.iter().filter_map(|one| one["took_us"].as_f64()).map(|us| us / 1e6).collect::<Vec<f64>>()
        };
        let (us, them, there) = (seconds(&ours), seconds(&alone), seconds(&beside));
        println!(
            "{STORM} of {} killed at once to all running again, s: {}; {}",
            OURS + THEIRS,
            spread("ours", &us),
            spread("systemd alone", &them)
        );
        println!("  {}", spread("systemd beside us", &there));
        let spent = |all: &[Value], place: usize| {
            median(&all.iter().map(|one| one["cpu"][place].as_f64().unwrap_or(f64::NAN) / 1e6).collect::<Vec<f64>>())
        };
        println!(
            "  CPU meanwhile, s, medians: PID 1 {:.2}, dbus-daemon {:.2}, unitmedic {:.2}; systemd alone: PID 1 {:.2}, dbus-daemon {:.2}",
            spent(&ours, 0),
            spent(&ours, 1),
            spent(&ours, 2),
            spent(&alone, 0),
            spent(&alone, 1)
        );
        let (us, them, there) = (median(&us), median(&them), median(&there));
        let what = "400 of 1,400 killed at once, all running again, median";
        rows.push(
            Row::new(what, format!("{us:.2} s"))
                .peer(format!("systemd alone {them:.2} s (beside us {there:.2} s)"), us / them)
                .asked("< 1.2 x systemd", us < 1.2 * them),
        );
        Ok(json!({ "ours": ours, "alone": alone, "beside": beside }))
    }

    fn scrape(&self, rows: &mut Vec<Row>) -> Result<Value, Failure> {
        eprintln!("scrapes …");
        self.start_medic()?;
        let (init, bus, medic) = ("1".to_owned(), self.pid("dbus.service")?, self.pid("unitmedic.service")?);
        let pause = SCRAPE_PAUSE_MS.to_string();
        self.inside(&["idle", "12"])?;
        let before = self.inside(&["idle", "2", &init, &bus])?;
        let ours = self.inside(&["scrape", OUR_ADDRESS, &SCRAPES.to_string(), &pause, &init, &bus, &medic])?;
        let after = self.inside(&["idle", "2", &init, &bus])?;
        self.stop_medic()?;
        self.machine.ctl(&["start", "exporter.service"])?;
        wait_for("node_exporter listens", START_LIMIT, || self.machine.sh("ss -Hltn | grep -q 127.0.0.1:9100"))?;
        let exporter = self.pid("exporter.service")?;
        let theirs =
            self.inside(&["scrape", PEER_ADDRESS, &PEER_SCRAPES.to_string(), &pause, &init, &bus, &exporter])?;
        self.machine.ctl(&["stop", "exporter.service"])?;
        let (us, them) = (median(&walls(&ours)), median(&walls(&theirs)));
        let what = "one scrape, 1,000 instances, wall, median";
        rows.push(
            Row::new(what, format!("{us:.2} ms"))
                .peer(format!("node_exporter {them:.0} ms"), us / them)
                .asked("< 10 ms", us < 10.0),
        );
        // PID 1 and the bus are never quite idle: what they spend without scrapes is the measure.
        let idle = |one: &Value| (cpu(one, &init) + cpu(one, &bus)) / (one["span_us"].as_f64().unwrap_or(1.0));
        let per_scrape = |one: &Value, count: u32| (cpu(one, &init) + cpu(one, &bus)) / 1e3 / f64::from(count);
        let base = idle(&before).max(idle(&after)) * ours["span_us"].as_f64().unwrap_or(0.0) / 1e3 / f64::from(SCRAPES);
        let (ours_cpu, theirs_cpu) = (per_scrape(&ours, SCRAPES), per_scrape(&theirs, PEER_SCRAPES));
        let extra = (ours_cpu - base).max(0.0);
        let what = "the same, CPU of PID 1 and dbus-daemon for one scrape";
        let measured = format!("{extra:.3} ms ({ours_cpu:.3} ms, {base:.3} ms without scrapes)");
        rows.push(
            Row::new(what, measured)
                .peer(format!("node_exporter {theirs_cpu:.0} ms"), extra / theirs_cpu)
                .asked("none", extra < 0.05),
        );
        println!(
            "a scrape: ours {} bytes, {:.2} ms of our CPU; node_exporter {} bytes, {:.0} ms of its CPU",
            ours["bytes"],
            cpu(&ours, &medic) / 1e3 / f64::from(SCRAPES),
            theirs["bytes"],
            cpu(&theirs, &exporter) / 1e3 / f64::from(PEER_SCRAPES)
        );
        Ok(json!({ "ours": ours, "theirs": theirs, "idle": [before, after] }))
    }

    fn idle(&self, rows: &mut Vec<Row>) -> Result<Value, Failure> {
        let (init, bus) = ("1".to_owned(), self.pid("dbus.service")?);
        let seconds = IDLE_SECONDS.to_string();
        eprintln!("{IDLE_SECONDS} s without unitmedic …");
        self.inside(&["idle", "5"])?;
        let without = self.inside(&["idle", &seconds, &init, &bus])?;
        self.start_medic()?;
        let medic = self.pid("unitmedic.service")?;
        eprintln!("{IDLE_SECONDS} s with unitmedic …");
        self.inside(&["idle", "30"])?;
        let with = self.inside(&["idle", &seconds, &init, &bus, &medic])?;
        self.stop_medic()?;
        let share = |one: &Value, pid: &str| cpu(one, pid) / one["span_us"].as_f64().unwrap_or(1.0) * 100.0;
        let base = share(&without, &init) + share(&without, &bus);
        let (ours, one, daemon) = (share(&with, &medic), share(&with, &init), share(&with, &bus));
        let sum = ours + one + daemon - base;
        println!(
            "idle watch, % of a core: unitmedic {ours:.3}, PID 1 {one:.3}, dbus-daemon {daemon:.3}; without unitmedic PID 1 {:.3}, dbus-daemon {:.3}",
            share(&without, &init),
            share(&without, &bus)
        );
        let what = "watching 1,000 instances, 10 s sampling, CPU of all three";
        let measured = format!("{sum:.2} % of a core");
        rows.push(
            Row::new(what, measured)
                .peer(format!("without us {base:.3} %, subtracted"), sum / 0.5)
                .asked("< 0.5 %", sum < 0.5),
        );
        let memory = &with["memory"][&medic];
        let rss = memory["rss_kb"].as_f64().unwrap_or(f64::NAN) / 1024.0;
        let anon = memory["anon_kb"].as_f64().unwrap_or(f64::NAN) / 1024.0;
        let measured = format!("{rss:.1} MiB ({anon:.1} anonymous)");
        rows.push(Row {
            ratio: Some(rss / 40.0),
            ..Row::new("resident memory, the same", measured).asked("< 40 MB", rss * 1.048_576 < 40.0)
        });
        Ok(json!({ "without": without, "with": with }))
    }

    fn pid(&self, unit: &str) -> Result<String, Failure> {
        self.machine.main_pid(unit).map(|pid| pid.to_string())
    }
}

fn names(template: &str, numbers: std::ops::RangeInclusive<u32>) -> impl Iterator<Item = String> {
    numbers.map(move |number| format!("{template}@{number}.service"))
}

/// Milliseconds until there is a process again, or until its program runs.
fn times(kills: &[Value], until: &str) -> Vec<f64> {
    kills.iter().filter_map(|kill| kill[until].as_f64()).map(|us| us / 1e3).collect()
}

fn walls(scrapes: &Value) -> Vec<f64> {
    scrapes["walls_us"].as_array().into_iter().flatten().filter_map(Value::as_f64).map(|us| us / 1e3).collect()
}

/// Microseconds.
fn cpu(measured: &Value, pid: &str) -> f64 {
    measured["cpu_us"][pid].as_f64().unwrap_or(f64::NAN)
}

fn spread(who: &str, values: &[f64]) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
    format!("{who} {:.2} (fastest {:.2}, 90 % {:.2}, slowest {:.2})", median(values), at(0.0), at(0.9), at(1.0))
}
