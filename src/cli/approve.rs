//! `approve` and `reject`: an operator's word on a planned action that waits for it. Without an incident, what waits.

use std::io::{self, BufRead, IsTerminal, Write};

use clap::Args;

use super::exit::{self, Usage};
use super::pause::tell;
use super::session::{self, Session};
use super::target::parse_incident;
use crate::model::approval::Card;
use crate::model::request::Ask;
use crate::model::{IncidentId, Wall};
use crate::views::look::{Look, Tone, clean, wrap};
use crate::views::story::coarse;

/// Columns before the words of a card: two, the longest heading, and one.
const MARGIN: usize = 13;
/// Where lines end when nobody says how wide a line is.
const WIDTH: usize = 100;

#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The incident that asks; without it all that waits is shown
    #[arg(value_name = "INCIDENT", value_parser = parse_incident)]
    incident: Option<IncidentId>,
    /// Do not ask back: for scripts
    #[arg(long, requires = "incident")]
    yes: bool,
    /// The cards, or the daemon's answer, as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct RejectArgs {
    /// The incident that asks
    #[arg(value_name = "INCIDENT", value_parser = parse_incident)]
    incident: IncidentId,
    /// Why; it is in the history
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// The daemon's answer as JSON
    #[arg(long)]
    json: bool,
}

pub fn approve(args: &ApproveArgs, session: &Session, out: &mut dyn Write) -> anyhow::Result<u8> {
    let cards = session.wait(session.client.approvals())?;
    let Some(id) = args.incident else {
        return list(&cards, args.json, session, out);
    };
    let card = find(&cards, id)?;
    if !args.json {
        session::lines(&render(card, session.wall(), &session.look), out)?;
    }
    if !args.yes && !agrees(&mut io::stdin().lock(), out)? {
        session::lines(&["Nothing was approved.".into()], out)?;
        return Ok(exit::FAILED);
    }
    let ask = Ask::Approve { incident: id, action: card.action, asked: Some(card.asked) };
    tell(session.wait(session.client.ask(&ask))?, args.json, session, out)
}

pub fn reject(args: &RejectArgs, session: &Session, out: &mut dyn Write) -> anyhow::Result<u8> {
    let cards = session.wait(session.client.approvals())?;
    let card = find(&cards, args.incident)?;
    let (incident, action, asked) = (card.incident, card.action, Some(card.asked));
    let ask = Ask::Reject { incident, action, reason: args.reason.clone(), asked };
    tell(session.wait(session.client.ask(&ask))?, args.json, session, out)
}

fn list(cards: &[Card], json: bool, session: &Session, out: &mut dyn Write) -> anyhow::Result<u8> {
    if json {
        session::json(&cards, out)?;
        return Ok(exit::OK);
    }
    let mut lines: Vec<String> = Vec::new();
    for card in cards {
        lines.extend(render(card, session.wall(), &session.look));
        lines.push(String::new());
    }
    if lines.pop().is_none() {
        lines.push("Nothing waits for a yes.".into());
    }
    session::lines(&lines, out)?;
    Ok(exit::OK)
}

fn find(cards: &[Card], id: IncidentId) -> Result<&Card, Usage> {
    cards.iter().find(|card| card.incident == id).ok_or_else(|| {
        let waiting: Vec<String> = cards.iter().map(|card| card.incident.to_string()).collect();
        match waiting.is_empty() {
            true => Usage(format!("incident {id} waits for no answer; nothing does")),
            false => Usage(format!("incident {id} waits for no answer; there wait: {}", waiting.join(", "))),
        }
    })
}

/// Only a person at a terminal can be asked back.
fn agrees(input: &mut impl BufRead, out: &mut dyn Write) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(Usage("nobody can be asked here whether this is to be done: say --yes".into()).into());
    }
    write!(out, "Approve? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// The card as lines: what, why, what else was considered, what happens without an answer.
pub fn render(card: &Card, now: Wall, look: &Look) -> Vec<String> {
    let head = format!("{} {}: {} of {}?", look.sign(Tone::Wait), card.incident, card.action, card.unit);
    let mut lines = vec![look.paint(Tone::Wait, &head)];
    let mut say = |heading: &str, text: &str| {
        let width = look.width.unwrap_or(WIDTH).saturating_sub(MARGIN).max(20);
        for (at, line) in wrap(&clean(text), width).into_iter().enumerate() {
            let heading = if at == 0 { heading } else { "" };
            lines.push(format!("  {} {line}", look.dim(&format!("{heading:<10}"))));
        }
    };
    say("would", &card.what);
    card.why.iter().for_each(|evidence| say("because", &evidence.text));
    if !card.reason.is_empty() {
        say("reason", &card.reason);
    }
    card.considered.iter().for_each(|other| say("considered", &format!("{}: {}", other.action, other.why_not)));
    match &card.approved_by {
        Some(who) => say("approved", &format!("by {who}; it waits for another gate: unitmedic explain {}", card.unit)),
        None => {
            say("no answer", &card.without_answer);
            let (until, id) = (look.moment(card.deadline, now), card.incident.0);
            let answer = format!(
                "within {} (until {until}): unitmedic approve {id}, or unitmedic reject {id}",
                coarse(card.left)
            );
            say("answer", &answer);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use expect_test::expect;

    use super::*;
    use crate::model::approval::Considered;
    use crate::model::{Action, Evidence, Health, UnitName, WorkerName};

    fn card() -> Card {
        Card {
            incident: IncidentId(42),
            worker: WorkerName::new("mail").unwrap(),
            unit: UnitName::new("mail@1.service").unwrap(),
            health: Health::Critical,
            action: Action::Restart,
            what: "restart mail@1.service at once: what it is doing is broken off".into(),
            why: vec![Evidence::text("hung: no sign of life for 2 min 10 s")],
            reason: "the mildest that can help here".into(),
            considered: vec![
                Considered { action: Action::ConnectionReset, why_not: "it was tried, and that was not enough".into() },
                Considered { action: Action::Escalate, why_not: "when nothing helps".into() },
            ],
            without_answer: "restart is not done: an operator is called, and it is asked again after 5 min".into(),
            asked: Wall(0),
            deadline: Wall(600_000_000),
            left: Duration::from_secs(580),
            approved_by: None,
        }
    }

    fn shown(card: &Card, width: usize) -> String {
        render(card, Wall(20_000_000), &Look { width: Some(width), ..Look::plain(jiff::tz::TimeZone::UTC) }).join("\n")
            + "\n"
    }

    #[test]
    fn a_card_says_what_why_what_else_and_what_without_an_answer() {
        expect![[r#"
            o #42: restart of mail@1.service?
              would      restart mail@1.service at once: what it is doing is broken off
              because    hung: no sign of life for 2 min 10 s
              reason     the mildest that can help here
              considered connection_reset: it was tried, and that was not enough
              considered escalate: when nothing helps
              no answer  restart is not done: an operator is called, and it is asked again
                         after 5 min
              answer     within 9 min 40 s (until 00:10:00): unitmedic approve 42, or
                         unitmedic reject 42
        "#]]
        .assert_eq(&shown(&card(), 80));
    }

    #[test]
    fn one_that_has_its_yes_says_what_it_waits_for() {
        let card = Card { approved_by: Some("ada (uid 1000)".into()), ..card() };
        assert!(shown(&card, 200).contains("approved   by ada (uid 1000); it waits for another gate"));
    }

    #[test]
    fn an_incident_that_asks_nothing_is_told() {
        let cards = [card()];
        assert!(find(&cards, IncidentId(42)).is_ok());
        let told = find(&cards, IncidentId(7)).unwrap_err().0;
        assert_eq!(told, "incident #7 waits for no answer; there wait: #42");
    }
}
