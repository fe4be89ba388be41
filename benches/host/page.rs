//! What a person sees: from `kill -9` to the change on the page, and a page of 1,000 instances from nothing. The browser,
//! Debian's Chromium without a screen, runs on the same host and takes its share of the same cores.

use serde_json::{Value, json};

use super::report::{Row, median};
use super::testhost::{Builder, Failure, Place};
use super::{Host, INSIDE_LIMIT, OURS, spread};

const KILLS: u32 = 100;
const LOADS: u32 = 10;

/// The cases of the tests, which measure the same on a busy machine.
const BROWSER: &[(&str, &str)] = &[
    ("chrome.py", include_str!("../../tests/browser/chrome.py")),
    ("live.py", include_str!("../../tests/browser/live.py")),
    ("many.py", include_str!("../../tests/browser/many.py")),
];

pub fn with_browser(builder: Builder) -> Builder {
    BROWSER.iter().fold(builder, |builder, (name, text)| builder.file(&format!("/root/browser/{name}"), text))
}

pub fn measure(host: &Host, rows: &mut Vec<Row>) -> Result<Value, Failure> {
    host.start_medic()?;
    // What a start brings along (history, first samples) is over.
    host.inside(&["idle", "5"])?;
    eprintln!("{LOADS} loads of the page …");
    let loads = play(host, "many", &[&OURS.to_string(), &LOADS.to_string()])?;
    eprintln!("{KILLS} kills before the eyes of a browser …");
    let kills = play(host, "live", &["load", &KILLS.to_string()])?;
    host.stop_medic()?;

    let (changed, painted) = (sorted(&kills, "dom_us", 1e3), sorted(&kills, "painted_us", 1e3));
    println!("kill -9 to the change on the page, ms: {}; {}", spread("changed", &changed), spread("painted", &painted));
    let (middle, most) = (median(&painted), percentile(&painted, 99));
    let what = "kill -9 to the change painted on the page, median of 100";
    rows.push(Row {
        ratio: Some(middle / 200.0),
        ..Row::new(what, format!("{middle:.0} ms (p99 {most:.0} ms)")).asked("< 200 ms", middle < 200.0)
    });

    let (first, tiles) = (sorted(&loads, "first_paint_ms", 1.0), sorted(&loads, "tiles_painted_ms", 1.0));
    println!("a page of {OURS} instances, ms: {}; {}", spread("first paint", &first), spread("all tiles", &tiles));
    let measured = format!("{:.0} ms (all tiles {:.0} ms)", median(&first), median(&tiles));
    rows.push(Row {
        ratio: Some(median(&tiles) / 500.0),
        ..Row::new("first paint of the page, 1,000 instances, median of 10", measured)
            .asked("< 500 ms", median(&tiles) < 500.0)
    });
    let kb = loads[0]["bytes"].as_f64().unwrap_or(f64::NAN) / 1e3;
    let overview = loads[0]["overview_bytes"].as_f64().unwrap_or(f64::NAN) / 1e3;
    rows.push(Row {
        ratio: Some(kb / 200.0),
        ..Row::new(
            "weight of that page, all views, over the wire",
            format!("{kb:.1} kB ({overview:.1} kB of it the state)"),
        )
        .asked("< 200 kB", kb < 200.0)
    });
    Ok(json!({ "kills": kills, "loads": loads }))
}

fn play(host: &Host, case: &str, arguments: &[&str]) -> Result<Value, Failure> {
    let script = format!("/root/browser/{case}.py");
    let words = [&["/usr/bin/python3", "-B", &script], arguments].concat();
    let text = host.machine.run_for(&words, b"", INSIDE_LIMIT)?.success()?;
    serde_json::from_str(&text).map_err(|error| Failure::new(format!("{error}: {text}")))
}

fn sorted(seen: &Value, name: &str, by: f64) -> Vec<f64> {
    let mut all: Vec<f64> = seen.as_array().into_iter().flatten().filter_map(|one| one[name].as_f64()).collect();
    all.sort_by(f64::total_cmp);
    all.into_iter().map(|one| one / by).collect()
}

fn percentile(sorted: &[f64], of_100: usize) -> f64 {
    sorted.get((sorted.len() * of_100).div_ceil(100).saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
