//! How units came to be down: by a stop job, and through which other unit. Asks our own memory of jobs first, then
//! the journal, then the units that could have taken them along.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;

use super::bus::{BusAddress, Caller, Haste, MANAGER, MANAGER_PATH, UNIT};
use super::jobs::RecentJobs;
use super::journal::{Entry, JobEntries, UNITS_MAX, job_entries};
use super::look::{is_reply, read};
use super::path::unit_path;
use super::properties::names;
use crate::model::input::Finding;
use crate::model::name::UnitName;
use crate::model::time::Mono;
use crate::model::unit::{ActiveState, JobKind};

/// Units that are related to one unit and looked at.
const RELATED_MAX: usize = 64;
/// Units whose entries were cut off and that are asked for one by one.
const AGAIN_MAX: usize = 16;
/// Jobs of one transaction are queued within milliseconds of each other.
const SAME_TRANSACTION: Duration = Duration::from_millis(500);
/// The other unit's stop is written after the one that it took along is down, which may take its stop timeout.
const SAME_STORY: Duration = Duration::from_secs(5);

/// Relations by which a unit's stop, or start, stops another, the most telling first.
const RELATIONS: &[(&str, Blame)] = &[
    ("BindsTo", Blame::ItsStop),
    ("PartOf", Blame::ItsStop),
    ("Requires", Blame::ItsStop),
    ("Requisite", Blame::ItsStop),
    ("ConflictedBy", Blame::ItsStart),
    ("Conflicts", Blame::ItsStart),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    ItsStop,
    ItsStart,
}

/// A stop job: when it was queued or first written of, and when it was over as far as known.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stop {
    from: Mono,
    to: Mono,
}

/// Answers for every one of `units`, at most [`UNITS_MAX`] of them. Fails only when the bus does.
pub async fn inquire(
    caller: &Caller,
    bus: BusAddress,
    jobs: &RecentJobs,
    units: &[UnitName],
) -> Result<Vec<(UnitName, Finding)>, zbus::Error> {
    let unclear: Vec<&str> = units.iter().map(UnitName::as_str).filter(|unit| ended(jobs, unit).is_none()).collect();
    let written = read_journal(bus, &unclear).await;
    let mut findings = Vec::with_capacity(units.len());
    for unit in units {
        let ending = ended(jobs, unit.as_str()).or_else(|| written.get(unit.as_str()).and_then(|e| last_stop(e)));
        let through = match ending {
            Some(Some(stop)) => through(caller, bus, jobs, unit, stop).await?,
            _ => None,
        };
        findings.push((unit.clone(), Finding { stop_job: ending.map(|stop| stop.is_some()), through }));
    }
    Ok(findings)
}

/// What our own memory says of the last job: a stop, no stop, or (outer `None`) nothing.
fn ended(jobs: &RecentJobs, unit: &str) -> Option<Option<Stop>> {
    let job = jobs.last_of(unit)?;
    Some((job.kind? == JobKind::Stop).then_some(Stop { from: job.at, to: job.at }))
}

/// The same from journal entries, newest first. The last word counts: a restart ends with `restart` or `start`.
fn last_stop(entries: &[Entry]) -> Option<Option<Stop>> {
    let newest = entries.first()?;
    if newest.kind != JobKind::Stop {
        return Some(None);
    }
    let oldest = entries.iter().take_while(|entry| entry.kind == JobKind::Stop).last().unwrap_or(newest);
    Some(Some(Stop { from: oldest.at, to: newest.at }))
}

/// Entries by unit; a journal that cannot be read has none, and says so once.
async fn read_journal(bus: BusAddress, units: &[&str]) -> HashMap<String, Vec<Entry>> {
    if units.is_empty() {
        return HashMap::new();
    }
    let JobEntries { mut by_unit, cut } = match job_entries(bus, units).await {
        Ok(entries) => entries,
        Err(error) => {
            tracing::warn!(%error, "the journal could not tell whether units were stopped on purpose");
            return HashMap::new();
        }
    };
    let missing: Vec<&str> = units.iter().copied().filter(|unit| !by_unit.contains_key(*unit)).collect();
    for unit in missing.into_iter().take(if cut { AGAIN_MAX } else { 0 }) {
        if let Ok(entries) = job_entries(bus, &[unit]).await {
            by_unit.extend(entries.by_unit);
        }
    }
    by_unit
}

/// A unit that could have taken `unit` along, and how.
struct Suspect {
    relation: &'static str,
    blame: Blame,
    unit: String,
}

async fn through(
    caller: &Caller,
    bus: BusAddress,
    jobs: &RecentJobs,
    unit: &UnitName,
    stop: Stop,
) -> Result<Option<String>, zbus::Error> {
    let suspects = suspects(caller, unit).await?;
    if let Some(found) = suspects.iter().find(|suspect| in_memory(jobs, suspect, stop)) {
        return Ok(Some(found.told()));
    }
    let asked: Vec<&str> = suspects.iter().map(|suspect| suspect.unit.as_str()).take(UNITS_MAX).collect();
    let written = read_journal(bus, &asked).await;
    if let Some(found) = suspects.iter().find(|suspect| in_journal(&written, suspect, stop)) {
        return Ok(Some(found.told()));
    }
    for suspect in suspects.iter().filter(|suspect| suspect.blame == Blame::ItsStop) {
        if went_down(caller, &suspect.unit, stop).await? {
            return Ok(Some(suspect.told()));
        }
    }
    Ok(None)
}

impl Suspect {
    fn told(&self) -> String {
        format!("{}={}", self.relation, self.unit)
    }
}

async fn suspects(caller: &Caller, unit: &UnitName) -> Result<Vec<Suspect>, zbus::Error> {
    let path = unit_path(unit.as_str());
    // All at once, so that a unit that is not loaded is loaded once and not six times.
    let values = join_all(RELATIONS.iter().map(|(relation, _)| read(caller, &path, UNIT, relation))).await;
    let mut suspects: Vec<Suspect> = Vec::new();
    for ((relation, blame), value) in RELATIONS.iter().zip(values) {
        for name in value?.as_deref().and_then(names).unwrap_or_default() {
            let known = suspects.iter().any(|suspect| suspect.unit == name && suspect.blame == *blame);
            if !known && suspects.len() < RELATED_MAX {
                suspects.push(Suspect { relation, blame: *blame, unit: name });
            }
        }
    }
    Ok(suspects)
}

/// A job in the same transaction.
fn in_memory(jobs: &RecentJobs, suspect: &Suspect, stop: Stop) -> bool {
    jobs.iter().any(|job| {
        job.unit == suspect.unit
            && job.kind.is_some_and(|kind| suspect.blame.fits(kind))
            && apart(job.at, stop) <= SAME_TRANSACTION
    })
}

fn in_journal(written: &HashMap<String, Vec<Entry>>, suspect: &Suspect, stop: Stop) -> bool {
    written
        .get(&suspect.unit)
        .is_some_and(|entries| entries.iter().any(|e| suspect.blame.fits(e.kind) && apart(e.at, stop) <= SAME_STORY))
}

/// The other unit went down by itself (a crash writes no job), and lately. Does not load a unit that is gone.
async fn went_down(caller: &Caller, unit: &str, stop: Stop) -> Result<bool, zbus::Error> {
    match caller.call(Haste::Bulk, MANAGER_PATH, MANAGER, "GetUnit", &unit).await {
        Err(error) if is_reply(&error) => return Ok(false),
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    let path = unit_path(unit);
    let state = read(caller, &path, UNIT, "ActiveState").await?;
    let since = read(caller, &path, UNIT, "InactiveEnterTimestampMonotonic").await?;
    let down = matches!(state.as_deref(), Some(zbus::Variant::Str(state)) if ActiveState::parse(state).is_down());
    let near = matches!(since.as_deref(), Some(zbus::Variant::U64(at)) if apart(Mono(*at), stop) <= SAME_STORY);
    Ok(down && near)
}

impl Blame {
    fn fits(self, kind: JobKind) -> bool {
        match self {
            Blame::ItsStop => matches!(kind, JobKind::Stop | JobKind::Restart | JobKind::TryRestart),
            Blame::ItsStart => kind == JobKind::Start,
        }
    }
}

/// Time between an instant and a span; zero inside it.
fn apart(at: Mono, stop: Stop) -> Duration {
    if at < stop.from { stop.from.since(at) } else { at.since(stop.to) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(kinds: &[(u64, JobKind)]) -> Vec<Entry> {
        kinds.iter().map(|(at, kind)| Entry { at: Mono(*at), kind: *kind }).collect()
    }

    /// Newest first, as systemd 252 wrote them.
    #[test]
    fn what_the_journal_says() {
        use JobKind::{Restart, Start, Stop as StopJob};
        let stop = |from, to| Some(Some(Stop { from: Mono(from), to: Mono(to) }));
        let table = [
            ("plain stop", vec![(4, StopJob), (2, StopJob), (1, Start)], stop(2, 4)),
            ("crash", vec![(1, Start)], Some(None)),
            ("restart that failed to start", vec![(5, Start), (4, Restart), (2, StopJob), (1, Start)], Some(None)),
            ("systemd's own restart", vec![(5, Start), (4, Restart), (1, Start)], Some(None)),
            ("restart, its start did not come", vec![(4, Restart), (2, StopJob), (1, Start)], Some(None)),
            ("nothing written", vec![], None),
        ];
        for (case, kinds, expected) in table {
            assert_eq!(last_stop(&entries(&kinds)), expected, "{case}");
        }
    }

    #[test]
    fn memory_knows_first() {
        let mut jobs = RecentJobs::default();
        assert_eq!(ended(&jobs, "a.service"), None);
        jobs.queued("a.service".into(), 1, Mono(10));
        assert_eq!(ended(&jobs, "a.service"), None, "a job of unknown kind tells nothing");
        jobs.kind(1, JobKind::Stop);
        assert_eq!(ended(&jobs, "a.service"), Some(Some(Stop { from: Mono(10), to: Mono(10) })));
        jobs.queued("a.service".into(), 2, Mono(20));
        jobs.kind(2, JobKind::Start);
        assert_eq!(ended(&jobs, "a.service"), Some(None));
    }

    #[test]
    fn distance_to_a_span() {
        let stop = Stop { from: Mono(100), to: Mono(200) };
        for (at, expected) in [(90, 10), (100, 0), (150, 0), (230, 30)] {
            assert_eq!(apart(Mono(at), stop), Duration::from_micros(expected));
        }
    }
}
