//! The rules in `alerts/` say what they should, by the judgement of the programs that read them.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use unitmedic::model::AlertName;

use crate::complain;
use crate::source::root;

const SEVERITIES: &[&str] = &["critical", "high", "medium", "low"];

fn directory() -> PathBuf {
    root().join("alerts")
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs a checker in `alerts/`. One that is not there is a failure: CI installs it.
fn check(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).current_dir(directory()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; `make setup` installs it"));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && !said.contains("FAILED"), "{program} {words:?}:\n{said}");
}

/// What follows `- alert: `, with the lines up to the next rule.
fn alerts(rules: &str) -> Vec<(&str, &str)> {
    let parts = rules.split("- alert: ").skip(1);
    parts.map(|part| part.split_once('\n').expect("more than a name")).collect()
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_pass() {
    check("promtool", &["check", "rules", "unitmedic.rules.yml"]);
    check("promtool", &["test", "rules", "unitmedic.rules.test.yml"]);
}

#[test]
fn amtool_accepts_the_example() {
    check("amtool", &["check-config", "alertmanager.yml"]);
}

#[test]
fn each_alert_has_a_severity_a_source_a_runbook_and_a_test() {
    let (rules, tests, page) =
        (text("alerts/unitmedic.rules.yml"), text("alerts/unitmedic.rules.test.yml"), text("docs/alerts.md"));
    let all = alerts(&rules);
    assert!(all.len() > 10, "the alerts are not found");
    complain(all.iter().flat_map(|(name, body)| wrong(name, body, &tests, &page)));
    let direct = AlertName::ALL.iter().map(|name| name.as_str());
    let known: BTreeSet<&str> = all.iter().map(|(name, _)| *name).chain(direct.clone()).collect();
    let headings = page.lines().filter_map(|line| line.strip_prefix("## ")).filter(|name| *name != "Setting it up");
    let unexplained = direct.filter(|name| !page.contains(&format!("\n## {name}\n")));
    complain(unexplained.map(|name| format!("docs/alerts.md does not explain {name}")));
    complain(headings.filter(|name| !known.contains(name)).map(|name| format!("docs/alerts.md: {name} is no alert")));
}

fn wrong(name: &str, body: &str, tests: &str, page: &str) -> Vec<String> {
    let severity = SEVERITIES.iter().any(|one| body.contains(&format!("severity: {one}, source: unitmedic")));
    let checks = [
        (severity, "it has no known severity with source: unitmedic"),
        (body.contains(&format!("runbook: docs/alerts.md#{}\n", name.to_lowercase())), "it has not its runbook"),
        (page.contains(&format!("\n## {name}\n")), "docs/alerts.md does not explain it"),
        (tests.contains(&format!("- name: \"{name}: ")), "no test lets it fire"),
        (tests.contains(&format!("alertname: {name}, exp_alerts: []")), "no test lets it be silent"),
    ];
    checks.into_iter().filter(|(holds, _)| !holds).map(|(_, what)| format!("{name}: {what}")).collect()
}

#[test]
fn a_wrong_alert_is_complained_of() {
    let rules = "- alert: A\n  labels: {severity: urgent, source: unitmedic}\n  runbook: docs/alerts.md#b\n";
    let all = alerts(rules);
    assert_eq!(wrong(all[0].0, all[0].1, "", "").len(), 5);
}
