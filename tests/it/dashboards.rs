//! The dashboards in `grafana/` are laid out as Grafana wants them. That their queries have answers is shown on a host.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::complain;
use crate::source::root;

/// Columns of Grafana's grid.
const COLUMNS: u64 = 24;
const PANELS: &[&str] = &["row", "stat", "table", "timeseries", "state-timeline"];

#[test]
fn dashboards_are_laid_out_well() {
    let directory = root().join("grafana/dashboards");
    let mut uids = BTreeSet::new();
    let mut complaints = Vec::new();
    for entry in fs::read_dir(directory).expect("the dashboards") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("readable");
        let dashboard: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let uid = dashboard["uid"].as_str().unwrap_or_default().to_owned();
        if uid.is_empty() || !uids.insert(uid) {
            complaints.push(format!("{name}: no uid of its own"));
        }
        complaints.extend(wrong(&dashboard).into_iter().map(|what| format!("{name}: {what}")));
    }
    assert_eq!(uids.len(), 4, "a dashboard for each question");
    complain(complaints);
}

fn wrong(dashboard: &Value) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut ids = BTreeSet::new();
    let mut taken: BTreeSet<(u64, u64)> = BTreeSet::new();
    let panels = dashboard["panels"].as_array().cloned().unwrap_or_default();
    if panels.is_empty() || dashboard["title"].as_str().is_none_or(str::is_empty) {
        complaints.push("it has no title or no panels".into());
    }
    for panel in &panels {
        let title = panel["title"].as_str().unwrap_or_default();
        if title.is_empty() || !ids.insert(panel["id"].as_u64()) {
            complaints.push(format!("panel {title:?} has no title or no id of its own"));
        }
        if !panel["type"].as_str().is_some_and(|kind| PANELS.contains(&kind)) {
            complaints.push(format!("{title}: a panel of type {}", panel["type"]));
        }
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap_or(u64::MAX);
        let (x, y, w, h) = (at("x"), at("y"), at("w"), at("h"));
        if w > COLUMNS || x.saturating_add(w) > COLUMNS || h > 40 {
            complaints.push(format!("{title} is beyond the grid"));
            continue;
        }
        let cells: Vec<(u64, u64)> = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))).collect();
        if cells.into_iter().any(|cell| !taken.insert(cell)) {
            complaints.push(format!("{title} lies over another panel"));
        }
        let asks = panel["targets"].as_array().is_some_and(|targets| !targets.is_empty());
        let chosen = panel["datasource"]["uid"] == "${datasource}";
        if panel["type"] != "row" && !(asks && chosen) {
            complaints.push(format!("{title} asks nothing, or not whom the reader has chosen"));
        }
    }
    complaints
}

#[test]
fn a_wrong_dashboard_is_complained_of() {
    let text = r#"{"title":"t","panels":[
        {"id":1,"title":"a","type":"stat","gridPos":{"x":0,"y":0,"w":12,"h":4}},
        {"id":1,"title":"b","type":"pie","gridPos":{"x":6,"y":0,"w":12,"h":4},"targets":[{}],"datasource":{"uid":"x"}},
        {"id":2,"title":"c","type":"row","gridPos":{"x":20,"y":9,"w":12,"h":1}}]}"#;
    let dashboard: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(wrong(&dashboard).len(), 6, "{:?}", wrong(&dashboard));
}
