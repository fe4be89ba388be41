//! An explanation as text: the answer first, then what it rests on.

mod restarts;

use std::collections::BTreeMap;

use crate::cli::incidents::{log_said, what};
use crate::cli::reasons;
use crate::cli::status::between;
use crate::model::fact::Refusal;
use crate::model::incident::{Attempt, Stage};
use crate::model::status::{Explanation, SettingView};
use crate::model::unit::TAKEN_ALONG;
use crate::model::{Action, Health, Incident, Now, Outcome, Wall};
use crate::views::look::{Look, Tone, clean, columns, pad, wrap};
use crate::views::story::{coarse, count, fine};

const INDENT: usize = 2;

/// Lines without line breaks. `past`: the unit's latest incidents, newest first.
pub fn render(explanation: &Explanation, past: &[Incident], now: Now, look: &Look) -> Vec<String> {
    let mut page = Page { look, now, lines: Vec::new() };
    page.title(explanation);
    page.section("Answer", |page| {
        for (tone, text) in answer(explanation, past, page) {
            page.item(tone, &text);
        }
    });
    // One condition is the title's reason already.
    if explanation.conditions.len() > 1 {
        page.section("What holds", |page| {
            for (condition, evidence) in &explanation.conditions {
                page.item(Tone::of(condition.health()), &format!("{condition}: {}", evidence.text));
            }
        });
    }
    match (&explanation.incident, past.first()) {
        (Some(incident), _) => page.incident(incident, explanation),
        (None, Some(incident)) => page.incident(incident, explanation),
        (None, None) => {}
    }
    page.plan(explanation);
    page.gates(explanation);
    restarts::section(&mut page, explanation, past);
    page.settings(&explanation.settings);
    page.lines
}

/// Lines under construction.
pub(super) struct Page<'a> {
    pub look: &'a Look,
    pub now: Now,
    lines: Vec<String>,
}

impl Page<'_> {
    fn title(&mut self, explanation: &Explanation) {
        let tone = Tone::of(explanation.health);
        let sign = self.look.paint(tone, self.look.sign(tone));
        let title = format!("{} is {}: {}", explanation.unit, explanation.health, explanation.because);
        let width = self.look.width.map_or(usize::MAX, |width| width.saturating_sub(INDENT).max(20));
        for (i, line) in wrap(&clean(&title), width).iter().enumerate() {
            let lead = if i == 0 { sign.as_str() } else { " " };
            self.lines.push(format!("{lead} {}", self.look.bold(line)));
        }
        let standing = format!("worker {}; {}", explanation.worker, explanation.standing);
        for line in wrap(&clean(&standing), width) {
            self.lines.push(self.look.dim(&format!("  {line}")));
        }
    }

    pub fn section(&mut self, title: &str, fill: impl FnOnce(&mut Self)) {
        self.lines.push(String::new());
        self.lines.push(self.look.bold(title));
        fill(self);
    }

    /// A sentence with its sign, wrapped behind it.
    pub fn item(&mut self, tone: Tone, text: &str) {
        let sign = self.look.paint(tone, self.look.sign(tone));
        self.hang(&sign, 1, text);
    }

    pub fn plain(&mut self, text: &str) {
        self.hang(" ", 1, text);
    }

    /// `lead` of so many columns, then the text, its further lines below its first.
    fn hang(&mut self, lead: &str, columns: usize, text: &str) {
        let margin = INDENT + columns + 1;
        let width = self.look.width.map_or(usize::MAX, |width| width.saturating_sub(margin).max(20));
        for (i, line) in wrap(&clean(text), width).iter().enumerate() {
            match i {
                0 => self.lines.push(format!("{}{lead} {line}", " ".repeat(INDENT))),
                _ => self.lines.push(format!("{}{line}", " ".repeat(margin))),
            }
        }
    }

    /// `18:25:00 (in 4 min 20 s)`, or `18:10:00 (8 min ago)`
    pub fn point(&self, at: Wall) -> String {
        let now = self.now.wall;
        let distance = if at > now { format!("in {}", between(now, at)) } else { format!("{} ago", between(at, now)) };
        format!("{} ({distance})", self.look.moment(at, now))
    }

    /// The time line in short.
    fn incident(&mut self, incident: &Incident, explanation: &Explanation) {
        let title = match incident.closed_wall {
            None => format!("Incident {}, open", incident.id),
            Some(_) => format!("Last incident: {}", incident.id),
        };
        self.section(&title, |page| {
            let seen = fine(incident.opened_at.since(incident.failed_at));
            let failed = page.look.moment(incident.failed_wall, page.now.wall);
            page.item(
                Tone::of(incident.worst),
                &format!("{failed}  {}; seen {seen} after it happened", what(incident)),
            );
            for (condition, evidence) in incident.conditions.iter().filter(|_| incident.closed_at.is_some()) {
                page.plain(&format!("{condition}: {}", evidence.text));
            }
            if let Some(pattern) = &incident.pattern {
                page.plain(&log_said(pattern));
            }
            for unusual in &incident.unusual {
                page.plain(&format!("unusual then: {}", unusual.text(incident.opened_at)));
            }
            for attempt in &incident.attempts {
                let (tone, text) = attempt_text(incident, attempt);
                let at = page.look.moment(attempt.intended_wall, page.now.wall);
                page.item(tone, &format!("{at}  {text}"));
            }
            if incident.escalations > 0 {
                page.item(Tone::Bad, &format!("escalated to an operator, {} so far", times(incident.escalations)));
            }
            if let (Some(at), Some(resolution)) = (incident.closed_wall, incident.resolution) {
                let spent = incident.time_to_recover.map(|span| format!(", well again after {}", fine(span)));
                let at = page.look.moment(at, page.now.wall);
                page.item(Tone::Good, &format!("{at}  closed: {resolution}{}", spent.unwrap_or_default()));
            }
            if incident.closed_at.is_none() {
                page.plain(&left(explanation, incident));
            }
            page.plain(&format!("all of it: unitmedic incidents show {}", incident.id.0));
        });
    }

    /// What would be done and why in this order, and what helped before.
    fn plan(&mut self, explanation: &Explanation) {
        let Some(incident) = explanation.incident.as_ref().filter(|incident| incident.is_open()) else { return };
        let steps = reasons::plan(&explanation.plan);
        if !steps.is_empty() {
            self.section("The plan, and why in this order", |page| steps.iter().for_each(|step| page.plain(step)));
        }
        if !incident.similar.is_empty() {
            self.section("Like it before", |page| {
                for similar in &incident.similar {
                    page.plain(&reasons::similar(similar, page.now, page.look));
                }
            });
        }
    }

    fn gates(&mut self, explanation: &Explanation) {
        let Some(action) = explanation.next_action else { return };
        let last = explanation.incident.as_ref().and_then(Incident::last_attempt);
        if last.is_some_and(Attempt::is_running) {
            return;
        }
        let refusals: Vec<&Refusal> = explanation.gates.iter().filter_map(|view| view.refusal.as_ref()).collect();
        let open = explanation.gates.len() - refusals.len();
        self.section(&format!("What stands between it and {action}"), |page| {
            for refusal in &refusals {
                let until = match refusal.until {
                    Some(at) => format!("; until {}", page.point(page.now.wall_of(at))),
                    None => "; until that changes".into(),
                };
                page.item(Tone::Warn, &format!("gate {}: {}{until}", refusal.gate, refusal.text));
                if let Some(key) = &refusal.setting {
                    page.plain(&where_set(key, &explanation.settings));
                }
            }
            match (refusals.len(), open) {
                (0, open) => page.item(Tone::Good, &format!("nothing: all {} let it through", count(open, "gate"))),
                (_, 0) => {}
                (_, open) => page.item(Tone::Good, &format!("the other {} let it through", count(open, "gate"))),
            }
        });
    }

    fn settings(&mut self, settings: &[SettingView]) {
        if settings.is_empty() {
            return;
        }
        let column = |text: fn(&SettingView) -> &str| settings.iter().map(|s| columns(text(s))).max().unwrap_or(0);
        let (keys, values) = (column(|s| last(&s.key)), column(|s| &s.value));
        let scope = settings[0].key.rsplit_once('.').map(|(scope, _)| format!(" ({scope})")).unwrap_or_default();
        self.section(&format!("Settings that decide{scope}"), |page| {
            for setting in settings {
                let (key, value) = (pad(last(&setting.key), keys), pad(&clean(&setting.value), values));
                let origin = page.look.dim(&clean(&setting.origin));
                page.lines.push(format!("    {key}  {value}  {origin}"));
            }
        });
    }
}

fn times(n: u32) -> String {
    if n == 1 { "once".into() } else { format!("{n} times") }
}

/// `restart_cooldown = 5 min, set at /etc/unitmedic/unitmedic.toml:12`
fn where_set(key: &str, settings: &[SettingView]) -> String {
    let setting = settings.iter().find(|s| s.key == key || last(&s.key) == last(key));
    match setting {
        Some(setting) if setting.origin == "default" => format!("{} = {}, the default", setting.key, setting.value),
        Some(setting) => format!("{} = {}, set at {}", setting.key, setting.value, setting.origin),
        None => format!("setting {key}"),
    }
}

/// `worker.mail.restart_cooldown` is about `restart_cooldown`.
fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// The answer to "why is it (not) being recovered?", in one to three sentences.
fn answer(explanation: &Explanation, past: &[Incident], page: &Page<'_>) -> Vec<(Tone, String)> {
    let open = explanation.incident.as_ref().filter(|incident| incident.is_open());
    match (explanation.health, open) {
        (Health::Stopped, _) => vec![(Tone::Wait, about_stopped(explanation))],
        (Health::Unknown, _) => vec![(Tone::Plain, about_unknown(explanation))],
        (_, Some(incident)) => about_open(explanation, incident, page),
        (health, None) if health.serves() => about_well(explanation, past, page),
        (_, None) => vec![(
            Tone::Warn,
            format!("It is {} and has no incident yet: {}.", explanation.health, explanation.because),
        )],
    }
}

fn about_stopped(explanation: &Explanation) -> String {
    let standing = &explanation.standing;
    let first = match standing.split_once(TAKEN_ALONG).and_then(|(_, through)| through.split_once('=')) {
        Some((_, other)) => format!("Look at {other} first. "),
        None if standing.ends_with("is masked") => format!("First systemctl unmask {}. ", explanation.unit),
        None => String::new(),
    };
    format!("It is left alone: {standing}. {first}Start it (systemctl start) and it is watched again.")
}

fn about_unknown(explanation: &Explanation) -> String {
    let because = &explanation.because;
    if because.starts_with("activating") {
        return format!("It is being started: {because}. One that takes longer than start_timeout counts as stuck.");
    }
    let hint = match because.ends_with("(not found)") {
        true => " Its name in the configuration is wrong, or its unit file is not installed.",
        false => "",
    };
    format!("It cannot be seen, so it is not judged and nothing is done: {because}.{hint}")
}

fn about_well(explanation: &Explanation, past: &[Incident], page: &Page<'_>) -> Vec<(Tone, String)> {
    let mut answer = Vec::new();
    if explanation.conditions.is_empty() {
        answer.push((Tone::Good, "It is well: there is nothing to recover.".to_string()));
    } else {
        let names: Vec<&str> = explanation.conditions.keys().map(|condition| condition.as_str()).collect();
        let text =
            format!("It works, with a complaint ({}); that alone earns no action, it is told only.", names.join(", "));
        answer.push((Tone::Warn, text));
    }
    if let Some(incident) = past.first().filter(|incident| incident.closed_wall.is_some()) {
        let when = incident.closed_wall.map(|at| page.point(at)).unwrap_or_default();
        let how = match (incident.resolution, incident.last_attempt()) {
            (Some(resolution), Some(attempt)) => format!("{resolution}, last by {}", attempt.action),
            (Some(resolution), None) => format!("{resolution}, without an action of ours"),
            (None, _) => "closed".into(),
        };
        answer.push((Tone::Plain, format!("Its last incident {} ended {when}: {how}.", incident.id)));
    }
    answer
}

fn about_open(explanation: &Explanation, incident: &Incident, page: &Page<'_>) -> Vec<(Tone, String)> {
    if let Some(attempt) = incident.last_attempt().filter(|attempt| attempt.is_running()) {
        let text = match attempt.stage {
            Stage::Recording => format!("{} is about to be done; its intent is being written down.", attempt.action),
            Stage::Draining => format!("{} is under way: it was asked to finish its work first.", attempt.action),
            Stage::Surging => format!("{} is under way: an extra instance is to stand in first.", attempt.action),
            Stage::Acting => format!("{} is under way: the order is with systemd.", attempt.action),
            Stage::Verifying if attempt.well_at.is_none() => format!("{} is done; it is not well yet.", attempt.action),
            Stage::Verifying => format!("{} is done; now it must stay healthy to count as recovered.", attempt.action),
            Stage::Ended => unreachable!("a running attempt has not ended"),
        };
        return vec![(Tone::Act, text)];
    }
    let first = explanation.gates.iter().find_map(|view| view.refusal.as_ref());
    match (explanation.next_action, first) {
        (None | Some(Action::Escalate), _) => {
            let text = match (explanation.plan.steps.is_empty(), &incident.waiting) {
                (true, _) => "Nothing is planned for what it has: it is told only.".to_string(),
                (false, Some(waiting)) => format!("No action is left: {}.", waiting.text),
                (false, None) => "No action is left but to tell an operator.".into(),
            };
            vec![(Tone::Warn, text)]
        }
        (Some(action), Some(refusal)) => {
            let mut answer =
                vec![(Tone::Warn, format!("{action} is held back by gate {}: {}.", refusal.gate, refusal.text))];
            answer.extend(next_try(explanation, page).map(|text| (Tone::Wait, text)));
            answer
        }
        (Some(action), None) => {
            let text = next_try(explanation, page).unwrap_or_else(|| format!("{action} is due now."));
            vec![(Tone::Act, text)]
        }
    }
}

fn next_try(explanation: &Explanation, page: &Page<'_>) -> Option<String> {
    let at = explanation.cooldown_until?;
    let pause = explanation.cooldown_left.filter(|left| !left.is_zero())?;
    Some(format!("The next attempt may be made at {}, in {}.", page.look.moment(at, page.now.wall), coarse(pause)))
}

fn left(explanation: &Explanation, incident: &Incident) -> String {
    if !incident.rejected.is_empty() && explanation.next_action.is_none() {
        return "none by itself: an operator said no to what is left".into();
    }
    if incident.given_up {
        return "given up; from now on one attempt at a time, with pauses that grow up to one hour".into();
    }
    match explanation.attempts_left {
        0 => format!(
            "none of {} left before the pause of restart_cooldown",
            count(explanation.max_attempts as usize, "attempt")
        ),
        n => format!("{n} of {} left", count(explanation.max_attempts as usize, "attempt")),
    }
}

fn attempt_text(incident: &Incident, attempt: &Attempt) -> (Tone, String) {
    let name = format!("{} ({}.{})", attempt.action, incident.id, attempt.number);
    let reason = if attempt.reason.is_empty() { String::new() } else { format!(": {}", attempt.reason) };
    match attempt.outcome {
        Some(Outcome::Succeeded) => (Tone::Good, format!("{name} helped{reason}")),
        Some(Outcome::Failed) => (Tone::Bad, format!("{name} did not help{reason}")),
        Some(Outcome::Superseded) => (Tone::Plain, format!("{name} was called off{reason}")),
        Some(Outcome::InDoubt) => (Tone::Warn, format!("{name} is in doubt{reason}")),
        None => (Tone::Act, format!("{name} is {}", attempt.stage)),
    }
}

/// `12 by systemd, 3 by unitmedic`
fn by_cause(restarts: &BTreeMap<String, u32>) -> String {
    let parts: Vec<String> = restarts.iter().filter(|(_, n)| **n > 0).map(|(by, n)| format!("{n} by {by}")).collect();
    parts.join(", ")
}
