//! What an operator may name: a worker, a unit, an incident.

use clap::Args;

use crate::adapters::http::client::ClientError;
use crate::model::request::Target;
use crate::model::{IncidentId, UnitName, WorkerName};

use super::exit::Usage;

/// One worker or all of them; nothing named is not all.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Whom {
    /// One worker
    #[arg(value_name = "WORKER")]
    pub worker: Option<WorkerName>,
    /// All workers
    #[arg(long)]
    all: bool,
}

/// What `explain` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    Incident(IncidentId),
    Target(Target),
}

/// `#42` or `42` is an incident, `mail@2.service` and `mail@2` are units, anything else is a worker.
pub fn parse_subject(text: &str) -> Result<Subject, String> {
    match text.strip_prefix('#') {
        Some(number) => parse_incident(number).map(Subject::Incident),
        None if text.bytes().all(|b| b.is_ascii_digit()) => parse_incident(text).map(Subject::Incident),
        None => parse_target(text).map(Subject::Target),
    }
}

pub fn parse_incident(text: &str) -> Result<IncidentId, String> {
    let number = text.strip_prefix('#').unwrap_or(text);
    number.parse().map(IncidentId).map_err(|_| format!("{text:?} is not an incident: use its number, as in 42 or #42"))
}

pub fn parse_target(text: &str) -> Result<Target, String> {
    if text.ends_with(".service") {
        return UnitName::new(text).map(Target::Unit).map_err(|e| e.to_string());
    }
    if let Ok(worker) = WorkerName::new(text) {
        return Ok(Target::Worker(worker));
    }
    UnitName::new(&format!("{text}.service"))
        .map(Target::Unit)
        .map_err(|_| format!("{text:?} is neither a worker nor a unit such as mail@2.service"))
}

/// As the operator wrote it.
pub fn name(target: &Target) -> &str {
    match target {
        Target::Worker(worker) => worker.as_str(),
        Target::Unit(unit) => unit.as_str(),
    }
}

/// `mail` that is no worker may be `mail.service`.
pub fn as_unit(target: &Target) -> Option<Target> {
    match target {
        Target::Worker(worker) => UnitName::new(&format!("{worker}.service")).ok().map(Target::Unit),
        Target::Unit(_) => None,
    }
}

pub fn is_unknown(error: &ClientError) -> bool {
    matches!(error, ClientError::Problem { status: 404, .. })
}

/// For a name that nothing bears: the nearest that exists, or all when they are few.
pub fn no_such(what: &str, name: &str, known: &[&str]) -> Usage {
    /// More names than this are not listed.
    const LISTED: usize = 12;
    let nearest = known.iter().map(|other| (strsim::damerau_levenshtein(name, other), other)).min();
    let hint = match nearest {
        Some((distance, other)) if distance <= 3 => format!("; did you mean {other}?"),
        _ if known.is_empty() => "; no worker is configured".into(),
        _ if known.len() <= LISTED => format!("; there are: {}", known.join(", ")),
        _ => "; see `unitmedic status`".into(),
    };
    Usage(format!("no {what} {name:?}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects() {
        let unit = |name: &str| Subject::Target(Target::Unit(UnitName::new(name).unwrap()));
        let table = [
            ("#42", Subject::Incident(IncidentId(42))),
            ("42", Subject::Incident(IncidentId(42))),
            ("mail", Subject::Target(Target::Worker(WorkerName::new("mail").unwrap()))),
            ("mail@2", unit("mail@2.service")),
            ("mail.service", unit("mail.service")),
        ];
        for (text, expected) in table {
            assert_eq!(parse_subject(text), Ok(expected), "{text}");
        }
        for bad in ["#", "#x", "a b", "mail@.service", "../x"] {
            assert!(parse_subject(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_nearest_name_is_offered() {
        assert_eq!(no_such("worker", "mial", &["mail", "web"]).0, "no worker \"mial\"; did you mean mail?");
        assert_eq!(no_such("worker", "zzzzzz", &["mail", "web"]).0, "no worker \"zzzzzz\"; there are: mail, web");
        assert_eq!(no_such("worker", "x", &[]).0, "no worker \"x\"; no worker is configured");
    }
}
