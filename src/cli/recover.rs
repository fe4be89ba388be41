//! `recover`: asks the daemon to act now, and follows until the verification has spoken.

use std::collections::BTreeSet;
use std::io::Write;

use clap::{Args, ValueEnum};

use super::exit;
use super::pause::tell;
use super::session::{self, Session};
use super::target::{as_unit, is_unknown, parse_target};
use crate::adapters::http::client::ClientError;
use crate::model::fact::Refusal;
use crate::model::request::{Ask, Reply, Target};
use crate::model::time::human;
use crate::model::{Action, Fact, IncidentId, Now, Outcome, UnitName, What};
use crate::views::look::{Look, Tone, clean};
use crate::views::story::{Story, count};

#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// A worker, whose instances go one by one, or one unit
    #[arg(value_name = "WORKER|UNIT", value_parser = parse_target)]
    target: Target,
    /// What to do
    #[arg(long)]
    action: Deed,
    /// Past the gates that protect capacity and pace; recorded with your name
    #[arg(long)]
    force: bool,
    /// Return as soon as the daemon has taken the request
    #[arg(long)]
    no_wait: bool,
    /// The daemon's answer, then each event, as JSON, one per line
    #[arg(long)]
    json: bool,
}

/// The actions that can be asked for.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Deed {
    /// Start it, or restart it at once
    Restart,
    /// Let it finish its work first
    GracefulRestart,
}

impl From<Deed> for Action {
    fn from(deed: Deed) -> Self {
        match deed {
            Deed::Restart => Action::Restart,
            Deed::GracefulRestart => Action::GracefulRestart,
        }
    }
}

pub fn run(args: &RecoverArgs, session: &Session, out: &mut dyn Write) -> anyhow::Result<u8> {
    session.wait(async {
        // The events first, so that none is missed between the answer and our listening.
        let mut events = match args.no_wait {
            true => None,
            false => Some(session.client.events().await?),
        };
        let reply = ask(args, session).await?;
        let Reply::Accepted { incidents, waiting } = &reply else {
            return tell(reply, args.json, session, out);
        };
        if args.json {
            session::json_line(&reply, out)?;
        } else {
            session::lines(&[accepted(incidents, waiting)], out)?;
        }
        let Some(events) = &mut events else { return Ok(exit::OK) };
        let mut progress = Progress::new(incidents, waiting);
        let story = Story::of_every_fact(session.look.clone());
        while !progress.is_over() {
            let Some(fact) = events.next().await? else {
                anyhow::bail!(
                    "the daemon has ended the stream of events before the verification has spoken; it goes on with \
                     the request after its restart: see `unitmedic incidents --open`"
                );
            };
            if !progress.take(&fact) {
                continue;
            }
            match args.json {
                true => session::json_line(&fact, out)?,
                false => session::lines(&story.tell(&fact).into_iter().collect::<Vec<_>>(), out)?,
            }
        }
        if !args.json {
            session::lines(&[progress.verdict(&session.look)], out)?;
        }
        Ok(if progress.all_helped() { exit::OK } else { exit::FAILED })
    })
}

/// A name that is no worker may be a unit without its suffix.
async fn ask(args: &RecoverArgs, session: &Session) -> Result<Reply, ClientError> {
    let of = |target: Target| Ask::Recover { target, action: args.action.into(), force: args.force };
    let first = session.client.ask(&of(args.target.clone())).await;
    let unknown = match &first {
        Ok(Reply::Unknown { .. }) => true,
        Ok(_) => false,
        Err(error) => is_unknown(error),
    };
    let Some(unit) = as_unit(&args.target).filter(|_| unknown) else { return first };
    match session.client.ask(&of(unit)).await {
        // The first answer speaks of what was written.
        Ok(Reply::Unknown { .. }) | Err(ClientError::Problem { .. }) => first,
        second => second,
    }
}

fn accepted(incidents: &[IncidentId], waiting: &[UnitName]) -> String {
    let ids: Vec<String> = incidents.iter().map(ToString::to_string).collect();
    let begun = match ids.as_slice() {
        [] => "accepted".to_string(),
        [one] => format!("accepted as incident {one}"),
        many => format!("accepted as incidents {}", many.join(", ")),
    };
    match waiting.len() {
        0 => begun,
        n => format!("{begun}; {} after that, one by one", count(n, "further instance")),
    }
}

/// A gate's word in a sentence, with what would change it.
pub fn refused(unit: &str, refusal: &Refusal, now: Now, look: &Look) -> String {
    let until = match refusal.until {
        Some(at) => format!("; possible in {} ({})", human(at.since(now.mono)), look.moment(now.wall_of(at), now.wall)),
        None => String::new(),
    };
    let setting = refusal.setting.as_ref().map(|key| format!("; setting {key}")).unwrap_or_default();
    let text =
        format!("{} {unit}: refused by gate {}: {}{until}{setting}", look.sign(Tone::Warn), refusal.gate, refusal.text);
    look.paint(Tone::Warn, &clean(&text))
}

/// Which of the requested instances have been judged.
struct Progress {
    /// Incidents that carry the request, known from the answer.
    incidents: BTreeSet<IncidentId>,
    /// Instances whose turn comes later.
    waiting: BTreeSet<UnitName>,
    helped: usize,
    failed: usize,
}

impl Progress {
    fn new(incidents: &[IncidentId], waiting: &[UnitName]) -> Self {
        Self {
            incidents: incidents.iter().copied().collect(),
            waiting: waiting.iter().cloned().collect(),
            helped: 0,
            failed: 0,
        }
    }

    fn is_over(&self) -> bool {
        self.incidents.is_empty() && self.waiting.is_empty()
    }

    fn all_helped(&self) -> bool {
        self.failed == 0
    }

    /// Whether the fact belongs to the request; notes what it decides.
    fn take(&mut self, fact: &Fact) -> bool {
        let by_incident = fact.incident.is_some_and(|id| self.incidents.contains(&id));
        let by_unit = fact.unit.as_ref().is_some_and(|unit| self.waiting.contains(unit));
        if !by_incident && !by_unit {
            return false;
        }
        let helped = match &fact.what {
            What::AttemptEnded { outcome, .. } => *outcome == Outcome::Succeeded,
            // Closed or given up without an attempt: nothing of ours helped.
            What::IncidentClosed { .. } | What::Escalated { .. } => false,
            _ => return true,
        };
        if let Some(id) = fact.incident {
            self.incidents.remove(&id);
        }
        if let Some(unit) = &fact.unit {
            self.waiting.remove(unit);
        }
        match helped {
            true => self.helped += 1,
            false => self.failed += 1,
        }
        true
    }

    fn verdict(&self, look: &Look) -> String {
        let (tone, text) = match (self.helped, self.failed) {
            (1, 0) => (Tone::Good, "It helped: healthy for as long as it takes to be sure.".to_string()),
            (n, 0) => (Tone::Good, format!("It helped all {n} instances.")),
            (0, 1) => {
                (Tone::Bad, "It did not help; the daemon goes on with the incident: see `unitmedic explain`.".into())
            }
            (helped, failed) => (Tone::Bad, format!("It helped {helped} of {}.", count(helped + failed, "instance"))),
        };
        look.paint(tone, &format!("{} {text}", look.sign(tone)))
    }
}

#[cfg(test)]
mod tests;
