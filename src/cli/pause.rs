//! `pause` and `resume`: an operator's word that workers are to be left alone.

use std::io::Write;
use std::time::Duration;

use clap::Args;

use super::exit::{self, Usage};
use super::recover::refused;
use super::session::{self, Session};
use super::target::Whom;
use super::when;
use crate::model::Wall;
use crate::model::request::{Ask, Reply};

#[derive(Debug, Args)]
pub struct PauseArgs {
    #[command(flatten)]
    whom: Whom,
    /// How long, such as 30min or 2h; without it or --until, until resumed
    #[arg(long = "for", value_name = "SPAN", value_parser = when::parse_span)]
    span: Option<Duration>,
    /// Until when, in local time: 18:30 or "2026-11-24 08:00"
    #[arg(long, value_name = "TIME", conflicts_with = "span")]
    until: Option<String>,
    /// Why; shown wherever the pause is
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// The daemon's answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct ResumeArgs {
    #[command(flatten)]
    whom: Whom,
    /// The daemon's answer as JSON
    #[arg(long)]
    json: bool,
}

pub fn pause(args: &PauseArgs, session: &Session, out: &mut dyn Write) -> anyhow::Result<u8> {
    let ask = Ask::Pause { worker: args.whom.worker.clone(), until: end(args, session)?, reason: args.reason.clone() };
    tell(session.wait(session.client.ask(&ask))?, args.json, session, out)
}

pub fn resume(args: &ResumeArgs, session: &Session, out: &mut dyn Write) -> anyhow::Result<u8> {
    let ask = Ask::Resume { worker: args.whom.worker.clone() };
    tell(session.wait(session.client.ask(&ask))?, args.json, session, out)
}

fn end(args: &PauseArgs, session: &Session) -> anyhow::Result<Option<Wall>> {
    let now = session.wall();
    match (args.span, &args.until) {
        (Some(span), _) => Ok(Some(Wall(now.0.saturating_add(span.as_micros() as i64)))),
        (None, Some(text)) => Ok(Some(when::until(text, now, &session.look.zone).map_err(Usage)?)),
        (None, None) => Ok(None),
    }
}

/// Tells a reply that is final.
pub fn tell(reply: Reply, json: bool, session: &Session, out: &mut dyn Write) -> anyhow::Result<u8> {
    if json {
        session::json(&reply, out)?;
    }
    match reply {
        Reply::Done { text } => {
            if !json {
                session::lines(&[crate::views::look::clean(&text)], out)?;
            }
            Ok(exit::OK)
        }
        Reply::Accepted { .. } => Ok(exit::OK),
        Reply::Refused { unit, refusal } => {
            if !json {
                session::lines(&[refused(unit.as_str(), &refusal, session.now(), &session.look)], out)?;
            }
            Ok(exit::REFUSED)
        }
        Reply::Unknown { text } => Err(Usage(text).into()),
    }
}
