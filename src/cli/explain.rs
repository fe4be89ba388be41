//! `explain`: why something was or was not recovered, and why it is restarted so often, in plain words.

mod view;

use std::io::Write;

use clap::Args;

use super::session::{self, Session};
use super::target::{Subject, as_unit, is_unknown, name, no_such, parse_subject};
use super::{exit, incidents};
use crate::adapters::http::client::ClientError;
use crate::model::history::Filter;
use crate::model::request::Target;
use crate::model::status::Explanation;
use crate::model::{Incident, UnitName};

pub use view::render;

/// Past incidents that the text leans on.
const PAST_INCIDENTS: usize = 5;
/// Instances of a worker that are explained one by one, sick ones first.
const INSTANCES: usize = 5;

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A unit (mail@2.service or mail@2), a worker, or an incident (42 or #42)
    #[arg(value_name = "UNIT|WORKER|INCIDENT", value_parser = parse_subject)]
    subject: Subject,
    /// The explanations, or the incident with its time line, as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &ExplainArgs, session: &Session, out: &mut dyn Write) -> anyhow::Result<u8> {
    let target = match &args.subject {
        Subject::Incident(id) => return incidents::show(*id, args.json, session, out),
        Subject::Target(target) => target,
    };
    let mut explanations = session.wait(fetch(target, session))?;
    if args.json {
        session::json(&explanations, out)?;
        return Ok(exit::OK);
    }
    if explanations.is_empty() {
        let text = format!(
            "worker {} has no unit at present: nothing to explain. `systemctl list-units` shows what there is.",
            name(target)
        );
        session::lines(&[text], out)?;
        return Ok(exit::OK);
    }
    // Those that need an explanation first; the order of equals stays.
    explanations.sort_by_key(|explanation| !(explanation.health.is_sick() || explanation.incident.is_some()));
    let more = explanations.len().saturating_sub(INSTANCES);
    for (i, explanation) in explanations.iter().take(INSTANCES).enumerate() {
        if i > 0 {
            writeln!(out)?;
        }
        let past = session.wait(past(&explanation.unit, session))?;
        session::lines(&render(explanation, &past, session.now(), &session.look), out)?;
    }
    if more > 0 {
        let worker = &explanations[0].worker;
        let text = format!("\n{more} further instances of {worker} are not shown: name a unit, or use --json.");
        session::lines(&[text], out)?;
    }
    Ok(exit::OK)
}

/// One explanation per instance; none for a worker that has no unit at present. A name that is no worker may be a
/// unit without its suffix.
async fn fetch(target: &Target, session: &Session) -> anyhow::Result<Vec<Explanation>> {
    for target in [Some(target.clone()), as_unit(target)].into_iter().flatten() {
        match session.client.explain(&target).await {
            Ok(explanations) if explanations.is_empty() => {}
            Err(error) if is_unknown(&error) => {}
            answer => return Ok(answer?),
        }
    }
    let status = session.client.status().await?;
    let name = name(target);
    if status.workers.iter().any(|worker| worker.worker.as_str() == name) {
        return Ok(Vec::new());
    }
    let workers = status.workers.iter().map(|worker| worker.worker.as_str());
    let units = status.workers.iter().flat_map(|worker| &worker.instances).map(|instance| instance.unit.as_str());
    Err(no_such("worker or unit", name, &workers.chain(units).collect::<Vec<_>>()).into())
}

/// The unit's latest incidents. Without a store there are none to lean on, and the rest is still worth telling.
async fn past(unit: &UnitName, session: &Session) -> Result<Vec<Incident>, ClientError> {
    let filter = Filter { unit: Some(unit.clone()), limit: Some(PAST_INCIDENTS), ..Filter::default() };
    match session.client.incidents(&filter).await {
        Err(ClientError::Problem { .. }) => Ok(Vec::new()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
