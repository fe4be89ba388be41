//! A replay's report for people.

use std::collections::BTreeSet;

use crate::app::replay::report::Times;
use crate::app::replay::{Difference, ReplayReport, Sums};
use crate::model::Wall;
use crate::views::look::{Look, Tone, clean};
use crate::views::story::{count, fine};
use crate::views::table::{Cell, Table};

pub fn render(report: &ReplayReport, with: &str, now: Wall, look: &Look) -> Vec<String> {
    let mut lines = recording(report, now, look);
    lines.push(String::new());
    lines.extend(compare("", &report.baseline, &report.candidate, with, look));
    lines.push(String::new());
    lines.extend(rests_on(report, look));
    if report.workers.len() > 1 {
        for (worker, sums) in &report.workers {
            if sums.baseline != sums.candidate {
                lines.push(String::new());
                lines.extend(compare(worker.as_str(), &sums.baseline, &sums.candidate, with, look));
            }
        }
    }
    lines.push(String::new());
    lines.extend(differences(report, with, now, look));
    lines
}

/// What was there, whether the recorded settings do what was done, and what is missing.
fn recording(report: &ReplayReport, now: Wall, look: &Look) -> Vec<String> {
    let recording = &report.recording;
    let span = match (recording.from, recording.to) {
        (Some(from), Some(to)) => format!("{} to {}", look.moment(from, now), look.moment(to, now)),
        _ => "nothing".into(),
    };
    let mut lines = vec![look.bold(&format!(
        "Replay of {span}: {}, {} of the daemon",
        count(recording.inputs as usize, "input"),
        match recording.lives {
            1 => "1 life".into(),
            lives => format!("{lives} lives"),
        }
    ))];
    let deviations = &report.deviations;
    if report.is_reproduced() {
        let orders = count(deviations.orders as usize, "recorded order");
        let text = format!("The recorded settings come to the same decisions: {orders}, all given again");
        lines.push(sign(Tone::Good, &text, look));
    } else {
        let text = format!(
            "The recording is not complete: the recorded settings decide otherwise in {}, first {}",
            count(deviations.count as usize, "place"),
            deviations.first.map_or_else(String::new, |at| look.moment(at, now))
        );
        lines.push(sign(Tone::Bad, &text, look));
        lines.extend(deviations.told.iter().map(|(at, text)| format!("    {} {}", look.moment(*at, now), clean(text))));
    }
    if recording.reloads > 0 {
        lines.push(sign(Tone::Plain, &format!("The settings changed {} meanwhile", times(recording.reloads)), look));
    }
    for text in &recording.troubles.told {
        lines.push(sign(Tone::Warn, &clean(text), look));
    }
    let more = recording.troubles.count - recording.troubles.told.len() as u64;
    if more > 0 {
        lines.push(sign(Tone::Warn, &format!("{more} more places could not be read"), look));
    }
    if recording.left_out > 0 {
        let text = format!("{} more than can be remembered were left out", recording.left_out);
        lines.push(sign(Tone::Warn, &text, look));
    }
    lines.extend(report.unknown.iter().map(|text| sign(Tone::Warn, &clean(text), look)));
    lines
}

fn sign(tone: Tone, text: &str, look: &Look) -> String {
    look.paint(tone, &format!("{} {text}", look.sign(tone)))
}

fn times(n: u64) -> String {
    if n == 1 { "once".into() } else { format!("{n} times") }
}

/// Both side by side; what neither has is left out.
fn compare(title: &str, baseline: &Sums, candidate: &Sums, with: &str, look: &Look) -> Vec<String> {
    let mut table = Table::new(&[title, "RECORDED", with], 0).indent(2);
    let mut row = |name: &str, left: u64, right: u64, always: bool| {
        if always || left + right > 0 {
            let tone = if left == right { Tone::Plain } else { Tone::Act };
            let right = Cell::right(right.to_string()).tone(tone);
            table.row(vec![Cell::new(name), Cell::right(left.to_string()), right]);
        }
    };
    row("incidents", baseline.incidents, candidate.incidents, true);
    row("cleared by themselves", baseline.cleared_by_themselves, candidate.cleared_by_themselves, false);
    row("marked false", baseline.marked_false, candidate.marked_false, false);
    row("open at the end", baseline.open_at_the_end, candidate.open_at_the_end, false);
    row("actions", baseline.actions_in_all(), candidate.actions_in_all(), true);
    for action in keys(&baseline.actions, &candidate.actions) {
        let of = |sums: &Sums| sums.actions.get(action).copied().unwrap_or(0);
        row(&format!("  {action}"), of(baseline), of(candidate), false);
    }
    row("  supposed", baseline.supposed, candidate.supposed, false);
    row("false actions", baseline.false_actions, candidate.false_actions, true);
    row("recoveries that succeeded", baseline.succeeded, candidate.succeeded, true);
    row("recoveries that failed", baseline.failed, candidate.failed, true);
    row("escalations", baseline.escalations, candidate.escalations, true);
    for gate in keys(&baseline.suppressed, &candidate.suppressed) {
        let of = |sums: &Sums| sums.suppressed.get(gate).copied().unwrap_or(0);
        row(&format!("suppressed by {gate}"), of(baseline), of(candidate), false);
    }
    let (left, right) = (&baseline.time_to_recover, &candidate.time_to_recover);
    table.row(spans("time to recover, median", left, right, |times| times.median, look));
    table.row(spans("time to recover, 9 of 10", left, right, |times| times.p90, look));
    table.lines(look)
}

fn keys<'s, V>(
    left: &'s std::collections::BTreeMap<String, V>,
    right: &'s std::collections::BTreeMap<String, V>,
) -> BTreeSet<&'s String> {
    left.keys().chain(right.keys()).collect()
}

fn spans(
    name: &str,
    left: &Times,
    right: &Times,
    of: fn(&Times) -> Option<std::time::Duration>,
    look: &Look,
) -> Vec<Cell> {
    let cell = |times: &Times| {
        let none = if look.unicode { "–" } else { "-" };
        Cell::right(of(times).map_or_else(|| none.to_string(), fine))
    };
    vec![Cell::new(name), cell(left), cell(right)]
}

/// How much of it is recorded and how much is supposed.
fn rests_on(report: &ReplayReport, look: &Look) -> Vec<String> {
    let (supposed, actions) = report.supposed();
    if supposed == 0 && report.withheld == 0 && report.apart_at_the_end == 0 {
        return vec![sign(Tone::Good, "All of it is recorded; nothing had to be supposed", look)];
    }
    let mut text = match supposed {
        0 => "no action is supposed".to_string(),
        1 => format!("1 of {} is supposed, not recorded", count(actions as usize, "action")),
        _ => format!("{supposed} of {actions} actions are supposed, not recorded"),
    };
    if report.withheld > 0 {
        let orders = count(report.withheld as usize, "recorded order");
        text.push_str(&format!("; {orders} would not have been given, and what followed is left out"));
    }
    if report.apart_at_the_end > 0 {
        let units = count(report.apart_at_the_end as usize, "unit");
        text.push_str(&format!("; {units} would not be as recorded at the end"));
    }
    vec![sign(Tone::Warn, &text, look)]
}

fn differences(report: &ReplayReport, with: &str, now: Wall, look: &Look) -> Vec<String> {
    if report.differences_in_all == 0 {
        return vec!["No decision differs.".into()];
    }
    let shown = report.differences.len() as u64;
    let all = count(report.differences_in_all as usize, "decision");
    let verb = if report.differences_in_all == 1 { "differs" } else { "differ" };
    let first =
        if shown < report.differences_in_all { format!(", the first {shown}: --differences") } else { String::new() };
    let mut lines = vec![look.bold(&format!("{all} {verb}{first}"))];
    for difference in &report.differences {
        lines.extend(told(difference, with, now, look));
    }
    lines
}

fn told(difference: &Difference, with: &str, now: Wall, look: &Look) -> [String; 3] {
    let width = with.chars().count().max("recorded".len());
    let supposed = if difference.supposed { " (supposed)" } else { "" };
    [
        format!("{} {} ({})", look.moment(difference.at, now), difference.unit, difference.worker),
        format!("    {:width$}  {}", "recorded", clean(&difference.baseline)),
        format!("    {with:width$}  {}{supposed}", clean(&difference.candidate)),
    ]
}
