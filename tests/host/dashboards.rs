//! The dashboards in `grafana/`: every query of every panel, variable and annotation has an answer of a real Prometheus
//! that has scraped a real unitmedic through real faults.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::broker::{Broker, PASSWORD, control, worker_unit};
use crate::fixture::{Host, Setup, ensure, until};
use crate::running_out::kernel_counts_open_files;
use crate::testhost::{Failure, Place};

const PATIENCE: Duration = Duration::from_secs(90);
const PROMETHEUS: &str = "prom.service";

const SCRAPE: &str = "
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: unitmedic
    static_configs: [{targets: ['127.0.0.1:10119']}]
";
const PROMETHEUS_UNIT: &str = "[Service]
ExecStart=/usr/bin/prometheus --config.file=/etc/prom.yml --storage.tsdb.path=/run/prom --web.listen-address=127.0.0.1:9090
";

/// Only cgroups of version 2 have these; the cases of the virtual machine compare them with the cgroup.
const NOT_ON_THIS_HOST: &[&str] = &[
    "unitmedic_unit_pressure_waiting_seconds_total",
    "unitmedic_unit_memory_limit_bytes",
    "unitmedic_unit_tasks_limit",
];

const WORK: &str = "queues = [\"tasks\"]\namqp_url = \"amqp://127.0.0.1\"\namqp_user = \"medic\"\n\
                    amqp_password_file = \"/etc/unitmedic/amqp-password\"\nmanagement_url = \"http://127.0.0.1:15672\"\n\
                    probe_command = [\"/bin/true\"]\n";

fn host() -> Result<Host, Failure> {
    Setup::new("dashboards")
        .broker(&Broker::new().queue("tasks").management())
        .file("/etc/unitmedic/amqp-password", PASSWORD)
        .file("/etc/prom.yml", SCRAPE)
        .unit(PROMETHEUS, PROMETHEUS_UNIT)
        .starting(PROMETHEUS)
        .worker_with("tasks", "tasks@.service", &worker_unit("tasks", "WORK_MS=5\nBEATS=socket\nBEAT_MS=500", ""), WORK)
        .starting("tasks@1.service")
        .start()
}

/// A query as it stands, and where.
struct Query {
    place: String,
    expression: String,
}

/// The strings below `value` whose key is `key`.
fn strings<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                match inner {
                    Value::String(text) if name == key => found.push(text),
                    _ => strings(inner, key, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| strings(item, key, found)),
        _ => {}
    }
}

fn queries() -> Result<Vec<Query>, Failure> {
    let mut all = Vec::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana/dashboards"))? {
        let path = entry?.path();
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(&path)?)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        let mut found = Vec::new();
        strings(&dashboard, "expr", &mut found);
        let mut variables = Vec::new();
        strings(&dashboard["templating"], "definition", &mut variables);
        ensure(!found.is_empty() && !variables.is_empty(), || format!("{} asks nothing", path.display()))?;
        let place = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let named = found.into_iter().map(str::to_owned).chain(variables.into_iter().map(of_variable));
        all.extend(named.map(|expression| Query { place: place.clone(), expression }));
    }
    ensure(all.len() > 50, || format!("{} queries", all.len()))?;
    Ok(all)
}

/// `label_values(METRIC, LABEL)`, which Grafana turns into a question of its own, as a query.
fn of_variable(definition: &str) -> String {
    let inner = definition.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
    let (metric, label) = inner.and_then(|inner| inner.rsplit_once(", ")).expect("label_values(METRIC, LABEL)");
    format!("count by ({label}) ({metric})")
}

/// What Grafana would put in.
fn filled(expression: &str) -> String {
    let values = [("$__rate_interval", "30s"), ("$__interval", "5m"), ("$instance", ".*"), ("$worker", ".*")];
    values.iter().fold(expression.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// How many series the answer has.
fn ask(host: &Host, expression: &str) -> Result<usize, Failure> {
    let query = format!("query={}", filled(expression));
    let text = host
        .run(&["curl", "-sS", "-G", "--data-urlencode", &query, "http://127.0.0.1:9090/api/v1/query"])?
        .success()?;
    let answer: Value = serde_json::from_str(&text).map_err(|error| Failure::new(format!("{error}: {text}")))?;
    ensure(answer["status"] == "success", || format!("{expression}: {text}"))?;
    Ok(answer["data"]["result"].as_array().map_or(0, Vec::len))
}

#[test]
fn every_query_has_an_answer() -> Result<(), Failure> {
    let host = host()?;
    // A counter that Prometheus sees for the first time after it has moved has not moved for it.
    until("Prometheus has scraped", PATIENCE, || match ask(&host, "unitmedic_worker_health == 1")? {
        0 => Err(Failure::new("nothing yet")),
        _ => Ok(()),
    })?;
    host.publish("tasks", 0, 2000)?;
    control(&*host, "tasks@1.service", "log-errors", Some("120"))?;
    // Twice, so that counters are seen to move.
    host.prove_awake()?;
    std::thread::sleep(Duration::from_secs(3));
    host.prove_awake()?;
    // What a gate holds back, and an operator.
    host.unitmedic(&["pause", "tasks"])?.success()?;
    host.kill("tasks@1.service")?;
    host.wait_instance("tasks@1.service", "held back", |one| !one.health.serves())?;
    std::thread::sleep(Duration::from_secs(2));
    host.unitmedic(&["resume", "tasks"])?.success()?;
    host.wait_recovered("tasks@1.service", 1)?;

    let mut unanswered: Vec<Query> = queries()?;
    let counted = |query: &Query| kernel_counts_open_files() || !query.expression.contains("open_files");
    let everywhere =
        |query: &Query| counted(query) && !NOT_ON_THIS_HOST.iter().any(|metric| query.expression.contains(metric));
    unanswered.retain(everywhere);
    until("every query has an answer", PATIENCE, || {
        let mut empty = Vec::new();
        for query in unanswered.drain(..) {
            if ask(&host, &query.expression)? == 0 {
                empty.push(query);
            }
        }
        unanswered = empty;
        let left: Vec<String> = unanswered.iter().map(|one| format!("{}: {}", one.place, one.expression)).collect();
        if left.is_empty() { Ok(()) } else { Err(Failure::new(left.join("\n"))) }
    })?;
    // Only OpenMetrics names units: this is what Prometheus asks for, and it takes nothing that is malformed.
    let described = host.sh("curl -sS 'http://127.0.0.1:9090/api/v1/metadata?metric=unitmedic_mttr_seconds'")?;
    ensure(described.contains("\"unit\":\"seconds\""), || described.clone())?;
    // A query that is wrong is found.
    ensure(ask(&host, "no_such_metric")? == 0 && ask(&host, "sum(").is_err(), || "the check sees nothing".into())?;
    host.done()
}
