//! Why is it restarted so often: how often, by whom, of what it ends, and what to change.

use super::{Page, by_cause, where_set};
use crate::model::status::Explanation;
use crate::model::time::human;
use crate::model::{Condition, Incident};
use crate::views::look::Tone;
use crate::views::story::count;

/// Failures that are named with their time, newest ones.
const FAILURES_NAMED: usize = 5;

pub fn section(page: &mut Page<'_>, explanation: &Explanation, past: &[Incident]) {
    let causes = by_cause(&explanation.restarts);
    if causes.is_empty() && explanation.recent_failures.is_empty() {
        return;
    }
    page.section("Restarts", |page| {
        if !causes.is_empty() {
            page.plain(&format!("restarts since it is watched: {causes}"));
        }
        failures(page, explanation);
        for text in endings(explanation, past) {
            page.plain(&format!("it ended: {text}"));
        }
        for hint in hints(explanation) {
            page.item(Tone::Act, &hint);
        }
    });
}

fn failures(page: &mut Page<'_>, explanation: &Explanation) {
    let failures = &explanation.recent_failures;
    let window = human(explanation.crash_loop_window);
    let limit = explanation.crash_loop_limit as usize;
    let tone = if failures.len() >= limit { Tone::Bad } else { Tone::Plain };
    let rule = format!("{limit} within {window} make a crash loop");
    if failures.is_empty() {
        page.item(tone, &format!("no failure in the last {window}; {rule}"));
        return;
    }
    let newest = &failures[failures.len().saturating_sub(FAILURES_NAMED)..];
    let times: Vec<String> = newest.iter().map(|at| page.look.moment(*at, page.now.wall)).collect();
    let last = if failures.len() > newest.len() { "the last at" } else { "at" };
    let text =
        format!("{} in the last {window}, {last} {}; {rule}", count(failures.len(), "failure"), times.join(", "));
    page.item(tone, &text);
    page.plain(&where_set("crash_loop_failures", &explanation.settings));
}

/// What it died of lately, each text once, newest first.
fn endings(explanation: &Explanation, past: &[Incident]) -> Vec<String> {
    let past = explanation.incident.iter().chain(past).map(|incident| &incident.conditions);
    let mut endings: Vec<String> = Vec::new();
    for conditions in std::iter::once(&explanation.conditions).chain(past) {
        for evidence in [Condition::Dead, Condition::OomKilled].iter().filter_map(|down| conditions.get(down)) {
            if !endings.contains(&evidence.text) {
                endings.push(evidence.text.clone());
            }
        }
    }
    endings.truncate(3);
    endings
}

/// What to change, most telling first.
fn hints(explanation: &Explanation) -> Vec<String> {
    let holds = |condition| explanation.conditions.contains_key(&condition);
    let by = |who: &str| explanation.restarts.get(who).copied().unwrap_or(0);
    let looping =
        holds(Condition::CrashLoop) || explanation.recent_failures.len() >= explanation.crash_loop_limit as usize;
    let mut hints = Vec::new();
    if holds(Condition::OomKilled) || holds(Condition::MemoryHigh) {
        hints.push("it needs more memory than it may have: raise MemoryMax= in its unit, or find the leak".to_string());
    }
    if holds(Condition::StartStuck) {
        hints.push("if its start is slow but sound, raise start_timeout for its worker".into());
    }
    if explanation.recent_failures.len() > 1 {
        hints.push(format!(
            "restarting does not mend the cause; its own words: journalctl -u {} -n 50",
            explanation.unit
        ));
    }
    if looping {
        hints.push(format!("to leave it alone while you look: unitmedic pause {} --for 1h", explanation.worker));
    }
    if by("systemd") > by("unitmedic") && by("systemd") > 0 {
        hints.push("most restarts are systemd's own (Restart= in its unit): RestartSec= slows them down".into());
    } else if by("unitmedic") > 1 {
        hints.push("restart_cooldown and max_restart_attempts set how often unitmedic restarts it".into());
    }
    hints
}
