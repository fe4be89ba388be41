//! `unitmedic check-config`: reads the configuration as the daemon does and says what is in it or wrong with it.

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use crate::config::{self, ConfigErrors, Mode, Problem, Source, reference};
use crate::model::status::SettingView;
use crate::model::{Selector, Settings, WorkerSettings};

/// sysexits.h: something is wrong with the configuration.
pub const EXIT_CONFIG: u8 = 78;

/// Check the configuration and show its workers.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Args {
    /// Check this file alone, instead of the default one and conf.d
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The configuration of the user's own manager
    #[arg(long)]
    pub user: bool,
    /// Print JSON: each worker with every setting and where it was set, or the problems
    #[arg(long)]
    pub json: bool,
}

/// Returns the exit code: 0, or 78 with the problems on standard error (with `--json`, in `out`).
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<u8> {
    let loaded = Mode::from_env(args.user).and_then(|mode| config::load(&Source::new(args.config.as_deref(), mode)));
    report(loaded, args.json, out, &mut std::io::stderr().lock())
}

fn report(
    loaded: Result<Settings, ConfigErrors>,
    json: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> anyhow::Result<u8> {
    match &loaded {
        Ok(settings) if json => write_json(out, &Report::good(settings))?,
        Ok(settings) => table(settings, out)?,
        Err(errors) if json => write_json(out, &Report::bad(errors))?,
        Err(errors) => writeln!(err, "{errors}")?,
    }
    Ok(if loaded.is_ok() { 0 } else { EXIT_CONFIG })
}

fn table(settings: &Settings, out: &mut dyn Write) -> std::io::Result<()> {
    let workers: Vec<&WorkerSettings> = settings.workers.values().collect();
    if workers.is_empty() {
        return writeln!(out, "ok: no workers, so nothing is touched; `unitmedic discover` proposes some");
    }
    let dry = if settings.daemon.dry_run { ", dry run" } else { "" };
    let count = workers.len();
    writeln!(out, "ok: {count} {}{dry}\n", if count == 1 { "worker" } else { "workers" })?;
    let rows = workers.iter().map(|worker| {
        let critical = if worker.critical { "yes" } else { "no" };
        [worker.name.to_string(), worker.unit.to_string(), instances(worker), critical.to_string()]
    });
    let rows: Vec<[String; 4]> =
        std::iter::once(["WORKER", "UNIT", "INSTANCES", "CRITICAL"].map(String::from)).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second, third) = (width(0), width(1), width(2));
    for [name, unit, instances, critical] in &rows {
        writeln!(out, "{name:first$}  {unit:second$}  {instances:third$}  {critical}")?;
    }
    Ok(())
}

/// `2–4`, `2–` without a maximum, `any` where neither is set; a worker that is one unit has one.
fn instances(worker: &WorkerSettings) -> String {
    match (worker.min_instances, worker.max_instances) {
        (None, None) if matches!(worker.unit, Selector::Unit(_)) => "1".into(),
        (None, None) => "any".into(),
        (min, None) => format!("{}–", min.unwrap_or(1)),
        (min, Some(max)) => format!("{}–{max}", min.unwrap_or(1)),
    }
}

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    workers: Option<Vec<WorkerReport>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problems: Option<&'a [Problem]>,
}

#[derive(Serialize)]
struct WorkerReport {
    worker: String,
    unit: String,
    critical: bool,
    min_instances: Option<u32>,
    max_instances: Option<u32>,
    settings: Vec<SettingView>,
}

impl<'a> Report<'a> {
    fn good(settings: &Settings) -> Self {
        let workers = settings.workers.values().map(|worker| WorkerReport {
            worker: worker.name.to_string(),
            unit: worker.unit.to_string(),
            critical: worker.critical,
            min_instances: worker.min_instances,
            max_instances: worker.max_instances,
            settings: reference::in_force(settings, worker),
        });
        Self { ok: true, workers: Some(workers.collect()), problems: None }
    }

    fn bad(errors: &'a ConfigErrors) -> Self {
        Self { ok: false, workers: None, problems: Some(errors.problems()) }
    }
}

fn write_json(out: &mut dyn Write, report: &Report<'_>) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(text: &str, json: bool, expected: Expect) {
        let loaded = config::parse(&[("u.toml".into(), text.into())], &Mode::System);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = report(loaded, json, &mut out, &mut err).unwrap();
        let (out, err) = (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap());
        expected.assert_eq(&format!("exit {code}\nout: {out}\nerr: {err}\n"));
    }

    const TWO: &str = "[worker.a]\nunit = \"a.service\"\ncritical = true\n[worker.batch]\nunit = \"batch@.service\"\nmin_instances = 2\n";

    #[test]
    fn what_is_said() {
        check(
            "",
            false,
            expect![[r#"
            exit 0
            out: ok: no workers, so nothing is touched; `unitmedic discover` proposes some

            err: 
        "#]],
        );
        check(
            TWO,
            false,
            expect![[r#"
            exit 0
            out: ok: 2 workers

            WORKER  UNIT            INSTANCES  CRITICAL
            a       a.service       1          yes
            batch   batch@.service  2–         no

            err: 
        "#]],
        );
        check(
            "[worker.a]\nunit = \"a\"",
            false,
            expect![[r#"
            exit 78
            out: 
            err: u.toml:2: unit in [worker.a] is "a", which does not end in .service; write "a.service"

        "#]],
        );
        check(
            "[worker.a]\nunit = \"a\"",
            true,
            expect![[r#"
            exit 78
            out: {
              "ok": false,
              "problems": [
                {
                  "file": "u.toml",
                  "line": 2,
                  "text": "unit in [worker.a] is \"a\", which does not end in .service; write \"a.service\""
                }
              ]
            }

            err: 
        "#]],
        );
    }

    #[test]
    fn json_has_every_setting_with_its_origin() {
        let settings = config::parse(&[("u.toml".into(), TWO.into())], &Mode::System).unwrap();
        let report = serde_json::to_value(Report::good(&settings)).unwrap();
        assert_eq!(report["ok"], true);
        assert_eq!(report["workers"][1]["min_instances"], 2);
        let settings = report["workers"][1]["settings"].as_array().unwrap();
        let origin = |key: &str| settings.iter().find(|view| view["key"] == key).map(|view| view["origin"].clone());
        assert_eq!(origin("worker.batch.min_instances"), Some("u.toml:6".into()));
        assert_eq!(origin("worker.batch.cpu_threshold"), Some("default".into()));
    }
}
