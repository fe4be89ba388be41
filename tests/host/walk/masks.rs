//! What may differ between two walks, and nothing else: clocks, how long something took, what it uses, who it is.

use std::sync::OnceLock;

use regex::Regex;

use super::document::{Line, numbered};
use crate::testhost::Failure;

/// Patterns and what stands for what they find, in this order. A span in a setting or in a promise ("healthy for 10 s")
/// stays as it is: spans, shares and sizes vary only in the places that are named here.
const MASKS: &[(&str, &str)] = &[
    // The widths of columns follow from their cells.
    (r"(?<before>\S) {2,}", "$before  "),
    (r"\b\d{2}:\d{2}:\d{2}\b", "CLOCK"),
    (r"CLOCK\.\d{3}\b", "CLOCK.MS"),
    (r"\b\d{4}-\d{2}-\d{2} CLOCK", "DATE CLOCK"),
    (r"^[A-Z][a-z]{2} {1,2}\d{1,2} CLOCK ", "DATE CLOCK "),
    (r"@\[\d{10}(?:\.\d{1,3})?\]", "@[TIME]"),
    (r"\b(?<who>pid|UID|GID) \d{1,7}\b", "$who NUMBER"),
    (r"\bunitmedic\[\d{1,7}\]:", "unitmedic[NUMBER]:"),
    (r"\bunitmedic \d+\.\d+\.\d+\b", "unitmedic VERSION"),
    (r"\b(?<what>seen|again after|longer down, after|well for only) SPAN\b", "$what SPAN"),
    // Between the two there are milliseconds, and it is as it was when we looked.
    (r"\b(?:unit failed|its main process ended): (?<how>killed by signal|exit code) ", "ENDED: $how "),
    (r"\(SPAN ago\)", "(SPAN ago)"),
    (r"(?<since>  since CLOCK) \(SPAN\)$", "$since (SPAN)"),
    (r"(?<column>  dead  \d|  succeeded|  \d  0  0  0|✖  CLOCK)  SPAN  ", "$column  SPAN  "),
    // Before the first sample there is no number.
    (r"(?<serving>  \d of \d, min \d)  (?:–|SHARE)  (?:–|SIZE)$", "$serving  SHARE  SIZE"),
    (r"(?<unit>✔  mail@\d\.service  healthy)  (?:–|SHARE)  (?:–|SIZE)  SPAN$", "$unit  SHARE  SIZE  SPAN"),
];

/// Below a hundred seconds: nothing in the walk takes longer.
const SPAN: &str = r"(?:\d{1,3}(?:\.\d{1,2})? (?:us|ms)|\d{1,2}(?:\.\d)? s)";
const SHARE: &str = r"\d{1,2}(?:\.\d)? %";
const SIZE: &str = r"\d{1,4}(?:\.\d)? [KM]iB(?: / \d{1,4}(?:\.\d)? [GT]iB)?";

/// Whether a command printed the lines that are shown.
pub fn compare(shown: &[Line], printed: &str) -> Result<(), Failure> {
    let lines = in_order(printed);
    let differs = |number: usize, shown: &str, line: &str| {
        Err(Failure::new(format!(
            "line {number}\n  shows   {shown}\n  printed {line}\nAll that was printed:\n{printed}"
        )))
    };
    for (at, line) in shown.iter().enumerate() {
        match lines.get(at) {
            Some(text) if masked(&line.text) == masked(text) => {}
            Some(text) => return differs(line.number, &line.text, text),
            None => return differs(line.number, &line.text, "(nothing more)"),
        }
    }
    match (lines.get(shown.len()), shown.last()) {
        (None, _) => Ok(()),
        (Some(more), Some(last)) => differs(last.number + 1, "(nothing more)", more),
        (Some(_), None) => Err(Failure::new(format!("nothing is shown, and it printed\n{printed}"))),
    }
}

/// The answer to an order and systemd's signal of what came of it race each other. Here the answer comes first.
fn in_order(printed: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = printed.lines().collect();
    let order = |line: &str, end: &str| {
        let (before, _) = line.split_once(end)?;
        before.rsplit_once("● ").map(|(_, order)| order.to_owned())
    };
    for to in 0..lines.len() {
        let Some(intended) = order(lines[to], " is about to be done: ") else { continue };
        let answered = |line: &&str| order(line, " was handed to systemd").as_ref() == Some(&intended);
        if let Some(later) = lines[to + 1..].iter().position(answered) {
            lines[to + 1..=to + 1 + later].rotate_right(1);
        }
    }
    lines
}

/// The masks that change none of these lines, and so serve nothing any more.
pub fn unused<'l>(lines: impl Iterator<Item = &'l Line>) -> Vec<&'static str> {
    let mut unused: Vec<&str> = MASKS.iter().map(|(pattern, _)| *pattern).collect();
    for line in lines {
        let mut text = line.text.clone();
        for ((compiled, instead), (pattern, _)) in compiled().iter().zip(MASKS) {
            if compiled.is_match(&text) {
                unused.retain(|other| other != pattern);
                text = compiled.replace_all(&text, *instead).into_owned();
            }
        }
    }
    unused
}

fn masked(line: &str) -> String {
    let line = line.trim_end().to_owned();
    compiled().iter().fold(line, |line, (pattern, instead)| pattern.replace_all(&line, *instead).into_owned())
}

fn compiled() -> &'static [(Regex, &'static str)] {
    static COMPILED: OnceLock<Vec<(Regex, &str)>> = OnceLock::new();
    COMPILED.get_or_init(|| {
        let whole = |pattern: &str| pattern.replace("SPAN", SPAN).replace("SHARE", SHARE).replace("SIZE", SIZE);
        let compile = |pattern: &str| Regex::new(&whole(pattern)).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        MASKS.iter().map(|(pattern, instead)| (compile(pattern), *instead)).collect()
    })
}

const INCIDENT: &str = "✔  #1  20:26:08  mail@2.service  dead      1   39 ms  recovered";
const SUMMARY: &str = "  restart      1          1       0          0         0      39 ms  100.0 %";
const STATUS: &str = "✔  mail           healthy  3 of 3, min 3    –       –";

#[test]
fn what_must_vary_may() {
    for (shown, printed) in [
        (INCIDENT, "✔  #1  01:02:03  mail@2.service  dead      1  1.2 s  recovered"),
        (SUMMARY, "  restart      1          1       0          0         0     700 us  100.0 %"),
        (STATUS, "✔  mail           healthy  3 of 3, min 3  0.1 %   8 MiB"),
        ("✔    mail@2.service  healthy  –  –  1 s", "✔    mail@2.service  healthy    –  4 MiB / 24 GiB  980 ms"),
        ("unit failed: exit code 7", "its main process ended: exit code 7"),
        ("20:26:09.023 ✔ no longer down, after 35 ms", "01:26:09.999 ✔ no longer down, after 2.1 s"),
        ("  healthy_instances  3 @[1700771188.1]", "  healthy_instances  3 @[1795658104.951]"),
        ("░░ ", "░░"),
    ] {
        assert_eq!(masked(shown), masked(printed));
    }
}

#[test]
fn nothing_else_may() {
    for (shown, printed) in [
        (INCIDENT, INCIDENT.replace("#1", "#2")),
        (INCIDENT, INCIDENT.replace("dead      1", "dead      2")),
        (INCIDENT, INCIDENT.replace("39 ms", "2 min")),
        (INCIDENT, INCIDENT.replace("recovered", "escalated")),
        (SUMMARY, SUMMARY.replace("100.0 %", " 50.0 %")),
        (SUMMARY, SUMMARY.replacen("0          0", "0          1", 1)),
        (STATUS, STATUS.replace("3 of 3", "2 of 3")),
        (STATUS, STATUS.replace('✔', "▲")),
        ("unit failed: exit code 7", "unit failed: exit code 1".into()),
        ("unit failed: exit code 7", "it exited without a stop job: exit code 7".into()),
        ("healthy for 10 s", "healthy for 11 s".into()),
        ("well again after 39 ms", "well again after 139 s".into()),
        ("    verify_dead_for       10 s        default", "    verify_dead_for       20 s        default".into()),
        ("(in 10 min) by root (uid 0, pid 274)", "(in 10 min) by root (uid 1, pid 274)".into()),
        ("main  1  0  0  0  20:26:08", "main  2  0  0  0  20:26:08".into()),
        ("alerts_received_total{status=\"resolved\"} 1", "alerts_received_total{status=\"resolved\"} 0".into()),
        ("    an indented line", "  an indented line".into()),
    ] {
        assert_ne!(masked(shown), masked(&printed), "{shown}");
    }
}

#[test]
fn an_answer_may_come_late_and_to_its_own_order_alone() {
    let intended = "01:00:00.001 ● restart of a (#1.1) is about to be done: why";
    let (handed, started) =
        ("01:00:00.002 ● restart of a (#1.1) was handed to systemd", "01:00:00.003 · a was started");
    let other = "01:00:00.002 ● restart of a (#1.2) was handed to systemd";
    let shown = numbered(&[intended, handed, started].join("\n"));
    assert_eq!(compare(&shown, &[intended, started, handed].join("\n")), Ok(()));
    assert!(compare(&shown, &[intended, started, other].join("\n")).is_err());
    assert!(compare(&shown, &[intended, started].join("\n")).is_err());
}

#[test]
fn a_line_too_many_or_too_few_is_told_with_its_number() {
    assert_eq!(compare(&numbered("a\nb"), "a\nb\n"), Ok(()));
    for (shown, printed, why) in [
        ("a\nb", "a\nc", "line 2\n  shows   b\n  printed c\n"),
        ("a\nb", "a", "line 2\n  shows   b\n  printed (nothing more)\n"),
        ("a", "a\nb", "line 2\n  shows   (nothing more)\n  printed b\n"),
        ("", "b", "nothing is shown, and it printed\nb"),
    ] {
        let told = compare(&numbered(shown), printed).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told.starts_with(why), "{told}");
    }
}
