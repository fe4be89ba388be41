//! A million incidents in the history, with as many recoveries and a million facts: how long a page of them takes, and what
//! sums them up. `cargo bench --bench million [-- DIR]`; making it takes a minute and 1.5 GB.

#[path = "report/report.rs"]
mod report;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use report::{Row, publish};
use rusqlite::{Connection, params};
use unitmedic::adapters::clock;
use unitmedic::adapters::store::{Clock, Store};
use unitmedic::model::fact::Cause;
use unitmedic::model::history::{AuditFilter, Filter};
use unitmedic::model::incident::Origin;
use unitmedic::model::settings::DaemonSettings;
use unitmedic::model::{Condition, Fact, Incident, IncidentId, Now, UnitName, Wall, What, WorkerName};

const MANY: i64 = 1_000_000;
/// Ninety days of them.
const STEP_US: i64 = 90 * 86_400_000_000 / MANY;
const ROUNDS: u32 = 9;

fn main() {
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let dir = given.as_deref().map_or(temporary.path(), Path::new);
    let settings =
        DaemonSettings { state_dir: dir.join("state"), runtime_dir: dir.join("run"), ..DaemonSettings::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let open = || Store::open(&settings, "bench", Arc::new(clock::now) as Clock).store;
    runtime.block_on(open().close());
    let first = clock::now().wall.0 - MANY * STEP_US;
    eprintln!("making {MANY} incidents …");
    fill(&settings.state_dir.join("unitmedic.db"), first);
    let store = open();
    let at = |share: i64| Some(Wall(first + MANY / 100 * share * STEP_US));
    let (middle, worker) = (Some(MANY as u64 / 2), WorkerName::new("w3").ok());
    let mut rows = Vec::new();
    let mut measure = |what: &str, limit: f64, work: &mut dyn FnMut()| {
        let took = median(work);
        let row = Row::new(&format!("of a million: {what}"), format!("{took:.2} ms"));
        rows.push(row.asked(&format!("< {limit} ms"), took < limit));
    };
    let all = Filter::default();
    for (what, filter) in [
        ("the first page of incidents", all.clone()),
        ("a page in their middle", Filter { before: middle, ..all.clone() }),
        ("the same of a worker", Filter { before: middle, worker: worker.clone(), ..all.clone() }),
        ("the last page of the last day", Filter { since: at(99), before: Some(990_010), ..all.clone() }),
    ] {
        measure(what, 10.0, &mut || drop(runtime.block_on(store.incidents(filter.clone())).expect("a history")));
    }
    for (what, filter) in [
        ("the first page of recoveries", all.clone()),
        ("a page in their middle", Filter { until: at(50), ..all.clone() }),
        ("the same of a worker", Filter { until: at(50), worker, ..all }),
    ] {
        measure(what, 10.0, &mut || drop(runtime.block_on(store.recoveries(filter.clone())).expect("a history")));
    }
    let deep = AuditFilter { before: middle, ..AuditFilter::default() };
    measure("a page of what people did", 10.0, &mut || {
        drop(runtime.block_on(store.deeds(deep.clone())).expect("a history"))
    });
    let workers: Vec<WorkerName> = (0..20).filter_map(|n| WorkerName::new(&format!("w{n}")).ok()).collect();
    let since = Wall(clock::now().wall.0 - 30 * 86_400_000_000);
    measure("the ratios of 30 days", 2000.0, &mut || {
        drop(runtime.block_on(store.sums(workers.clone(), since)).expect("a history"));
    });
    measure("totals of 30 days", 2000.0, &mut || {
        drop(runtime.block_on(store.summary(since, None)).expect("a history"))
    });
    runtime.block_on(store.close());
    publish(&rows);
}

/// Milliseconds.
fn median(work: &mut dyn FnMut()) -> f64 {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            work();
            begun.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

/// All in the schema of the store, with what it would have written but for the numbers.
fn fill(path: &Path, first: i64) {
    let connection = Connection::open(path).expect("the database that the store has made");
    connection.pragma_update(None, "synchronous", "OFF").expect("a setting");
    connection.pragma_update(None, "cache_size", -200_000).expect("a setting");
    let (worker, unit) = (WorkerName::new("w3").expect("a name"), UnitName::new("w3@3.service").expect("a name"));
    let origin = Origin::Condition { condition: Condition::Dead };
    let incident = Incident::new(IncidentId(1), worker.clone(), unit, origin, "bench", Now::default());
    let what = What::Paused { until: None, who: "ada (uid 1000, pid 4242)".into(), reason: "deploy".into() };
    let (at, cause) = (Now::default(), Cause::Start);
    let fact = Fact { seq: 1, at, cause, worker: Some(worker), unit: None, incident: None, what };
    let json = |value: serde_json::Result<String>| value.expect("plain data");
    let (state, body) = (json(serde_json::to_string(&incident)), json(serde_json::to_string(&fact)));
    let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)";
    let columns = "'w' || (i % 20), 'w' || (i % 20) || '@' || (i % 1000) || '.service'";
    for (into, text) in [
        (
            format!(
                "INSERT INTO incidents (id, worker, unit, condition, worst, opened_wall, closed_wall, resolution,
                    time_to_recover_us, false_alarm, marked_false, state)
                 {numbers} SELECT i, {columns}, 'dead', 'dead', ?2 + i * ?3, ?2 + i * ?3 + 5000000, 'recovered', 3000000,
                    i % 50 = 0, 0, ?4 FROM n"
            ),
            state,
        ),
        (
            format!(
                "INSERT INTO attempts (incident, number, worker, unit, condition, action, outcome, reason, at_wall,
                    time_to_recover_us)
                 {numbers} SELECT i, 1, {columns}, 'dead', 'restart', iif(i % 30, 'succeeded', 'failed'), ?4,
                    ?2 + i * ?3 + 4000000, 3000000 FROM n"
            ),
            "healthy for 10 s".into(),
        ),
        (
            format!(
                "INSERT INTO facts (seq, incident, at_wall, worker, unit, event, body)
                 {numbers} SELECT i, NULL, ?2 + i * ?3, 'w' || (i % 20), NULL, iif(i % 2, 'paused', 'restarted'), ?4 FROM n"
            ),
            body,
        ),
    ] {
        connection.execute(&into, params![MANY, first, STEP_US, text]).expect("room for a million rows");
    }
}
