//! `recover`: asks the daemon to act now, and follows until the verification has spoken.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Write;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, Args, Command};
use tokio::time::timeout;

use super::exit;
use super::pause::tell;
use super::session::{self, Session};
use super::target::{as_unit, is_unknown, parse_target};
use crate::adapters::http::client::ClientError;
use crate::model::action::{HOOK_PREFIX, HookName};
use crate::model::fact::Refusal;
use crate::model::request::{Ask, Reply, Target};
use crate::model::{Action, Fact, IncidentId, Now, Outcome, UnitName, What};
use crate::views::look::{Look, Tone, clean};
use crate::views::story::{Story, coarse, count};

#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// A worker, whose instances go one by one, or one unit
    #[arg(value_name = "WORKER|UNIT", value_parser = parse_target)]
    target: Target,
    /// What to do; `hook:NAME` is a command of the worker's own
    #[arg(long, value_parser = DeedParser)]
    action: Action,
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

/// What can be asked for, with the line of the help.
const DEEDS: [(Action, &str); 6] = [
    (Action::Restart, "Start it, or restart it at once"),
    (Action::GracefulRestart, "Let it finish its work first"),
    (Action::ScaleUp, "Start one more instance of the worker"),
    (Action::ScaleDown, "Drain and stop an instance that unitmedic started"),
    (Action::ConnectionReset, "Destroy its connections to the worker's peers"),
    (Action::MemoryCleanup, "Reclaim its memory"),
];

/// Takes the word of an action, or `hook:NAME`.
#[derive(Debug, Clone, Copy)]
struct DeedParser;

impl TypedValueParser for DeedParser {
    type Value = Action;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Action, clap::Error> {
        if let Some(name) = value.to_str().and_then(|word| word.strip_prefix(HOOK_PREFIX)) {
            return HookName::new(name).map(Action::Hook).map_err(|text| {
                clap::Error::raw(ErrorKind::ValueValidation, format!("the name of a hook: {text}\n")).with_cmd(command)
            });
        }
        let known = PossibleValuesParser::new(self.possible_values().into_iter().flatten());
        let word = known.parse_ref(command, arg, value)?;
        Ok(Action::parse(&word).expect("each possible value is an action"))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(DEEDS.iter().map(|(action, help)| PossibleValue::new(action.kind()).help(*help))))
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
        let story = Story::of_every_fact(session.look.clone()).without_worker();
        while !progress.is_over() {
            let Ok(fact) = timeout(progress.patience(), events.next()).await else {
                progress.abandon();
                break;
            };
            let Some(fact) = fact? else {
                anyhow::bail!(
                    "the daemon has ended the stream of events before the verification has spoken; see `unitmedic \
                     incidents --open`"
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
    let of = |target: Target| Ask::Recover { target, action: args.action, force: args.force };
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
        Some(at) => {
            format!("; possible in {} ({})", coarse(at.since(now.mono)), look.moment(now.wall_of(at), now.wall))
        }
        None => String::new(),
    };
    let setting = refusal.setting.as_ref().map(|key| format!("; setting {key}")).unwrap_or_default();
    let text =
        format!("{} {unit}: refused by gate {}: {}{until}{setting}", look.sign(Tone::Warn), refusal.gate, refusal.text);
    look.paint(Tone::Warn, &clean(&text))
}

/// The next instance of a worker gets its turn at once; when it has none for so long, a gate holds the rest back.
const TURN_PATIENCE: Duration = Duration::from_secs(10);
/// With an attempt under way the daemon decides how long it takes; its silence is noticed elsewhere.
const FOREVER: Duration = Duration::from_secs(86_400 * 365);

/// Which of the requested instances have been judged.
struct Progress {
    /// Incidents that carry the request.
    incidents: BTreeSet<IncidentId>,
    /// Instances whose turn comes later.
    waiting: BTreeSet<UnitName>,
    helped: usize,
    failed: usize,
    abandoned: usize,
}

impl Progress {
    fn new(incidents: &[IncidentId], waiting: &[UnitName]) -> Self {
        Self {
            incidents: incidents.iter().copied().collect(),
            waiting: waiting.iter().cloned().collect(),
            helped: 0,
            failed: 0,
            abandoned: 0,
        }
    }

    /// After one that was not helped, the daemon leaves the rest as it is.
    fn is_over(&self) -> bool {
        self.incidents.is_empty() && (self.waiting.is_empty() || self.failed > 0)
    }

    fn patience(&self) -> Duration {
        if self.incidents.is_empty() { TURN_PATIENCE } else { FOREVER }
    }

    /// The rest is not waited for.
    fn abandon(&mut self) {
        self.abandoned = self.waiting.len();
        self.waiting.clear();
    }

    fn all_helped(&self) -> bool {
        self.failed == 0 && self.abandoned == 0
    }

    /// Whether the fact belongs to the request; notes what it decides.
    fn take(&mut self, fact: &Fact) -> bool {
        let (Some(id), Some(unit)) = (fact.incident, &fact.unit) else { return false };
        // What was asked for opens an incident without a condition; others of the same unit are not ours.
        if matches!(fact.what, What::IncidentOpened { condition: None, .. }) && self.waiting.remove(unit) {
            self.incidents.insert(id);
        }
        if !self.incidents.contains(&id) {
            return false;
        }
        let helped = match &fact.what {
            What::AttemptEnded { outcome, .. } => *outcome == Outcome::Succeeded,
            // Closed or given up without an attempt: nothing of ours helped.
            What::IncidentClosed { .. } | What::Escalated { .. } => false,
            _ => return true,
        };
        self.incidents.remove(&id);
        match helped {
            true => self.helped += 1,
            false => self.failed += 1,
        }
        true
    }

    fn verdict(&self, look: &Look) -> String {
        let left = self.abandoned + self.waiting.len();
        let (tone, text) = match (self.helped, self.failed, left) {
            (1, 0, 0) => (Tone::Good, "It helped.".to_string()),
            (n, 0, 0) => (Tone::Good, format!("It helped all {n} instances.")),
            (0, 1, 0) => (Tone::Bad, "It did not help; see `unitmedic explain`.".into()),
            (helped, failed, 0) => (Tone::Bad, format!("It helped {helped} of {}.", helped + failed)),
            (helped, failed, left) => {
                let rest = format!("{} left as they are: see `unitmedic explain`", count(left, "further instance"));
                (Tone::Bad, format!("It helped {helped} of {}; {rest}.", helped + failed))
            }
        };
        look.paint(tone, &format!("{} {text}", look.sign(tone)))
    }
}

#[cfg(test)]
mod tests;
