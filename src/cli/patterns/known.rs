//! What the daemon knows of patterns, as text: a table to find the one that matters, and all of one.

use crate::model::pattern::{Cluster, PatternView, PatternWorker, PatternsView, Precedes};
use crate::model::{UnitName, Wall};
use crate::views::look::{Look, Tone, clean, wrap};
use crate::views::story::{coarse, count};
use crate::views::table::{Cell, Table};

/// Units that one cell names.
const UNITS_NAMED: usize = 2;

/// Two or three lines for each: its numbers, its template, and what is worth knowing.
pub fn table(view: &PatternsView, now: Wall, look: &Look) -> Vec<String> {
    if view.patterns.is_empty() {
        return vec![format!("No pattern is known; {}.", learned(view))];
    }
    let mut table = Table::new(&["", "PATTERN", "LINES", "PER HOUR", "FIRST", "LAST", "WHERE"], 6);
    for pattern in &view.patterns {
        let tone = if pattern.workers.iter().any(|of| of.precedes.beyond_chance) { Tone::Warn } else { Tone::Plain };
        table.row(vec![
            Cell::new(look.sign(tone)).tone(tone),
            Cell::new(pattern.id.to_string()),
            Cell::right(pattern.total.to_string()),
            Cell::right(rate(pattern.per_hour)),
            Cell::new(look.moment(pattern.first, now)),
            Cell::new(look.moment(pattern.last, now)),
            Cell::new(places(&pattern.workers)),
        ]);
        table.note(Cell::new(clean(&pattern.template)));
        for of in &pattern.workers {
            // Where there are several, it is said of which.
            let lead = if pattern.workers.len() > 1 { format!("{}: ", of.worker) } else { String::new() };
            if of.precedes.beyond_chance {
                table.note(Cell::new(format!("{lead}{}", precedes(&of.precedes))).tone(Tone::Warn));
            }
            for text in clusters(of) {
                table.note(Cell::new(format!("{lead}{text}")).tone(Tone::Plain));
            }
        }
    }
    let mut lines = table.lines(look);
    let more = if view.left_out > 0 { format!("; {} more: --limit", view.left_out) } else { String::new() };
    lines.push(format!("{}{more}; {}", count(view.patterns.len(), "pattern"), learned(view)));
    lines
}

/// All that is known of one.
pub fn page(pattern: &PatternView, now: Wall, look: &Look) -> Vec<String> {
    let mut lines = vec![look.bold(&format!("Pattern {}", pattern.id))];
    let mut tell = |indent: usize, text: String| {
        let width = look.width.map_or(usize::MAX, |width| width.saturating_sub(indent).max(20));
        lines.extend(wrap(&clean(&text), width).iter().map(|line| format!("{}{line}", " ".repeat(indent))));
    };
    tell(2, pattern.template.clone());
    tell(
        2,
        format!(
            "{} from {} to {}, of late {} an hour",
            count(pattern.total as usize, "line"),
            look.moment(pattern.first, now),
            look.moment(pattern.last, now),
            rate(pattern.per_hour)
        ),
    );
    for of in &pattern.workers {
        tell(
            2,
            format!(
                "worker {}: {}, last of {}",
                of.worker,
                count(of.total as usize, "line"),
                units(&of.units, usize::MAX)
            ),
        );
        tell(4, precedes(&of.precedes));
        if !of.precedes.incidents.is_empty() {
            let ids: Vec<String> = of.precedes.incidents.iter().map(ToString::to_string).collect();
            tell(4, format!("before {}: unitmedic incidents show ID", ids.join(", ")));
        }
        clusters(of).into_iter().for_each(|text| tell(4, text));
    }
    for one in &pattern.unusual {
        tell(2, format!("{} was unusual {:.0} % of the times, by {:.1}", one.name, one.share * 100.0, one.strength));
    }
    lines
}

/// Whether incidents follow, in a sentence with its numbers.
fn precedes(precedes: &Precedes) -> String {
    let Precedes { spans, followed, expected, .. } = precedes;
    let numbers = format!("{followed:.0} of {spans:.0} half hours with it had an incident, {expected:.1} by chance");
    let lead = precedes.median_lead.map(|lead| format!(", {} after it in the median", coarse(lead)));
    let lead = lead.unwrap_or_default();
    match (precedes.beyond_chance, *followed < 0.5) {
        (true, _) => format!("precedes incidents: {numbers}{lead} (p {})", small(precedes.chance)),
        (false, true) => "no incident has followed it".into(),
        (false, false) => format!("no more incidents follow than by chance, as far as is known: {numbers}{lead}"),
    }
}

fn clusters(of: &PatternWorker) -> Vec<String> {
    let tell = |cluster: &Cluster, range: String| {
        let others = if cluster.like_others { ", as the worker's other errors do" } else { "" };
        let (within, of) = (cluster.within, cluster.of);
        format!("breaks out {range}: {within} of {of} times (p {}){others}", small(cluster.chance))
    };
    let hours = of.hours.as_ref().map(|cluster| tell(cluster, cluster.hours_text()));
    let days = of.days.as_ref().map(|cluster| tell(cluster, cluster.days_text()));
    hours.into_iter().chain(days).collect()
}

/// `mail (mail@1.service, mail@2.service and 3 more)`
fn places(workers: &[PatternWorker]) -> String {
    let of = |worker: &PatternWorker| format!("{} ({})", worker.worker, units(&worker.units, UNITS_NAMED));
    workers.iter().map(of).collect::<Vec<_>>().join(", ")
}

fn units(units: &[UnitName], most: usize) -> String {
    let named: Vec<&str> = units.iter().take(most).map(UnitName::as_str).collect();
    match units.len().saturating_sub(most) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

fn rate(per_hour: f64) -> String {
    match per_hour {
        rate if rate >= 9.95 => format!("{rate:.0}"),
        rate if rate >= 0.05 => format!("{rate:.1}"),
        _ => "<0.1".into(),
    }
}

fn small(chance: f64) -> String {
    if chance < 0.0001 { "< 0.0001".into() } else { format!("{chance:.4}") }
}

fn learned(view: &PatternsView) -> String {
    let left_out = match view.lines_left_out {
        0 => String::new(),
        lines => format!(", {lines} left out of floods"),
    };
    format!("{} of errors learned since the daemon started{left_out}", count(view.lines as usize, "line"))
}
