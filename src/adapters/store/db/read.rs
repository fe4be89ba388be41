//! What is asked of the history.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use serde::de::DeserializeOwned;

use super::paging::{Clause, Paging};
use super::schema::DEEDS;
use super::write::HOUR_US;
use crate::adapters::store::knowledge::BODY_MAX;
use crate::model::action::Intent;
use crate::model::history::{
    AuditFilter, FILTER_LIMIT_DEFAULT, FILTER_LIMIT_MAX, Filter, Recovery, Story, Summary, Sums, Totals,
};
use crate::model::strategy::{self, Known, PAST_KEPT};
use crate::model::{
    Action, Alert, Condition, Fact, Incident, IncidentId, Outcome, Resolution, UnitName, Wall, WorkerName,
};

/// A story longer than this loses its middle: how it began and how it stands tell most.
pub const STORY_FACTS_FIRST: usize = 100;
pub const STORY_FACTS_LAST: usize = 400;
/// Incidents that are given back to the engine at a start: the open ones, and the latest closed one of each unit.
const MEMORY_INCIDENTS_MAX: i64 = 10_000;
const MEMORY_INTENTS_MAX: i64 = 10_000;
/// Cases of what was learned, of this host and of others.
const MEMORY_STRATEGIES_MAX: i64 = 8_192;

/// How far a clock may have been set back, so that what was put down before it is still found.
const CLOCK_SET_BACK_US: i64 = 24 * HOUR_US;
/// Bytes of one row of these: 64 actions with all their evidence are 20 KB.
const ROW_MAX: i64 = 1 << 20;

/// What the engine needs of the past when it starts.
#[derive(Debug, Default)]
pub(in crate::adapters::store) struct Past {
    pub incidents: Vec<Incident>,
    /// Intents in the database, newest first; whether an incident knows them is for the caller to find out.
    pub intents: Vec<Intent>,
    /// What was learned of actions.
    pub strategies: Vec<Known>,
    /// The last incidents that closed, oldest first, to compare others with.
    pub closed: Vec<strategy::Past>,
    /// Larger than every number that the database has seen.
    pub next_incident: u64,
    /// Rows that could not be read back.
    pub problems: Vec<String>,
}

pub(in crate::adapters::store) fn past(connection: &Connection, closed_since: Wall) -> rusqlite::Result<Past> {
    let mut past = Past { next_incident: next_incident(connection)?, ..Past::default() };
    let mut select = connection.prepare(
        "SELECT id, state, marked_false FROM incidents WHERE closed_wall IS NULL
         UNION ALL
         SELECT max(id), state, marked_false FROM incidents WHERE closed_wall >= ?1 GROUP BY unit
         ORDER BY id DESC LIMIT ?2",
    )?;
    let mut rows = select.query(params![closed_since.0, MEMORY_INCIDENTS_MAX])?;
    while let Some(row) = rows.next()? {
        match incident(row) {
            Ok(incident) => past.incidents.push(incident),
            Err(Unreadable { id, why }) => past.problems.push(format!("incident #{id} cannot be read back: {why}")),
        }
    }
    past.incidents.reverse();
    let sql = "SELECT iif(octet_length(body) <= ?2, body, NULL) FROM intents ORDER BY at_wall DESC LIMIT ?1";
    let (intents, problems) = bodies(connection, sql, MEMORY_INTENTS_MAX)?;
    past.intents = intents;
    past.problems.extend(problems.into_iter().map(|why| format!("an intent cannot be read back: {why}")));
    experience(connection, &mut past)?;
    Ok(past)
}

fn experience(connection: &Connection, past: &mut Past) -> rusqlite::Result<()> {
    let sql = "SELECT iif(octet_length(body) <= ?2, body, NULL) FROM strategies LIMIT ?1";
    let (strategies, problems) = bodies(connection, sql, MEMORY_STRATEGIES_MAX)?;
    past.strategies = strategies;
    let of_case = |why| format!("what was learned of a case cannot be read back: {why}");
    past.problems.extend(problems.into_iter().map(of_case));
    let mut select = connection.prepare(
        "SELECT id, state, marked_false FROM incidents WHERE closed_wall IS NOT NULL ORDER BY id DESC LIMIT ?1",
    )?;
    let mut rows = select.query([PAST_KEPT as i64])?;
    while let Some(row) = rows.next()? {
        // One that cannot be read back has been told of where it matters.
        past.closed.extend(incident(row).ok().and_then(|incident| strategy::Past::of(&incident)));
    }
    past.closed.reverse();
    Ok(())
}

/// What stands in the rows, and why some cannot be read back: one that is damaged costs no other. `sql` takes the most rows
/// and the most bytes of one.
fn bodies<T: DeserializeOwned>(
    connection: &Connection,
    sql: &str,
    most: i64,
) -> rusqlite::Result<(Vec<T>, Vec<String>)> {
    let (mut read, mut problems) = (Vec::new(), Vec::new());
    let mut select = connection.prepare(sql)?;
    let mut rows = select.query([most, ROW_MAX])?;
    while let Some(row) = rows.next()? {
        // No String: a text with bytes that are none would end the reading of all others.
        match row.get_ref(0)?.as_bytes_or_null().ok().flatten().map(serde_json::from_slice) {
            Some(Ok(one)) => read.push(one),
            Some(Err(error)) => problems.push(error.to_string()),
            None => problems.push(format!("it is larger than {ROW_MAX} bytes")),
        }
    }
    Ok((read, problems))
}

fn next_incident(connection: &Connection) -> rusqlite::Result<u64> {
    let highest: i64 = connection.query_row(
        "SELECT max(coalesce((SELECT max(id) FROM incidents), 0),
                    coalesce((SELECT max(incident) FROM facts WHERE incident IS NOT NULL), 0),
                    coalesce((SELECT max(incident) FROM intents), 0))",
        [],
        |row| row.get(0),
    )?;
    let kept: Option<String> =
        connection.query_row("SELECT value FROM meta WHERE key = 'next_incident'", [], |row| row.get(0)).optional()?;
    let kept = kept.and_then(|text| text.parse().ok()).unwrap_or(1);
    Ok(kept.max(highest as u64 + 1))
}

/// The number of the last attempt that the stored incident knows; `None`: no such incident.
pub(in crate::adapters::store) fn last_attempt(
    connection: &Connection,
    incident: IncidentId,
) -> rusqlite::Result<Option<u32>> {
    connection
        .prepare_cached(
            "SELECT coalesce(max(value ->> '$.number'), 0)
             FROM incidents LEFT JOIN json_each(incidents.state, '$.attempts') WHERE id = ?1 GROUP BY id",
        )?
        .query_row([incident.0 as i64], |row| row.get(0))
        .optional()
}

pub(in crate::adapters::store) fn incidents(
    connection: &Connection,
    filter: &Filter,
) -> rusqlite::Result<Vec<Incident>> {
    let mut clause = Clause::of(filter, "id", "opened_wall");
    match filter.open {
        Some(true) => clause.fixed("closed_wall IS NULL"),
        Some(false) => clause.fixed("closed_wall IS NOT NULL"),
        None => {}
    }
    let paging = Paging {
        select: "SELECT id, state, marked_false FROM incidents",
        order: "id DESC",
        id: "id",
        first: "SELECT id FROM incidents WHERE opened_wall >= ?1 ORDER BY opened_wall LIMIT 1",
        by_time: if filter.unit.is_some() { "incidents_unit" } else { "incidents_opened" },
    };
    let mut found = Vec::new();
    // One of a format that this version cannot read is left out; the others are still worth showing.
    paging.read(connection, &clause, filter, limit(filter), &mut |row| {
        found.extend(incident(row).ok());
        Ok(())
    })?;
    Ok(found)
}

/// Newest first. One that this version cannot read is left out.
pub(in crate::adapters::store) fn alerts(connection: &Connection, filter: &Filter) -> rusqlite::Result<Vec<Alert>> {
    let clause = Clause::of(&Filter { before: None, ..filter.clone() }, "rowid", "since");
    let sql = format!("SELECT body FROM alerts {} ORDER BY since DESC LIMIT {}", clause.text(), limit(filter));
    let mut select = connection.prepare_cached(&sql)?;
    let bodies = select.query_map(params_from_iter(clause.values), |row| row.get::<_, String>(0))?;
    let mut found = Vec::new();
    for body in bodies {
        found.extend(serde_json::from_str::<Alert>(&body?).ok());
    }
    Ok(found)
}

pub(in crate::adapters::store) fn story(connection: &Connection, id: IncidentId) -> rusqlite::Result<Option<Story>> {
    let mut select = connection.prepare_cached("SELECT id, state, marked_false FROM incidents WHERE id = ?1")?;
    let mut rows = select.query([id.0 as i64])?;
    let Some(Ok(incident)) = rows.next()?.map(incident) else {
        return Ok(None);
    };
    let total: i64 = connection
        .prepare_cached("SELECT count(*) FROM facts WHERE incident = ?1")?
        .query_row([id.0 as i64], |row| row.get(0))?;
    let mut facts =
        facts(connection, "SELECT body FROM facts WHERE incident = ?1 ORDER BY id LIMIT ?2", id, STORY_FACTS_FIRST)?;
    let rest = (total as usize).saturating_sub(STORY_FACTS_FIRST).min(STORY_FACTS_LAST);
    let mut last =
        self::facts(connection, "SELECT body FROM facts WHERE incident = ?1 ORDER BY id DESC LIMIT ?2", id, rest)?;
    last.reverse();
    facts.append(&mut last);
    let left_out = (total as usize).saturating_sub(STORY_FACTS_FIRST + STORY_FACTS_LAST);
    Ok(Some(Story { incident, facts, left_out }))
}

fn facts(connection: &Connection, sql: &str, id: IncidentId, limit: usize) -> rusqlite::Result<Vec<Fact>> {
    let mut select = connection.prepare_cached(sql)?;
    let bodies = select.query_map(params![id.0 as i64, limit as i64], |row| row.get::<_, String>(0))?;
    let mut found = Vec::new();
    for body in bodies {
        found.extend(serde_json::from_str::<Fact>(&body?).ok());
    }
    Ok(found)
}

pub(in crate::adapters::store) fn recoveries(
    connection: &Connection,
    filter: &Filter,
) -> rusqlite::Result<Vec<Recovery>> {
    let mut clause = Clause::of(filter, "incident", "at_wall");
    match filter.open {
        Some(true) => clause.fixed("incident IN (SELECT id FROM incidents WHERE closed_wall IS NULL)"),
        Some(false) => clause.fixed("incident NOT IN (SELECT id FROM incidents WHERE closed_wall IS NULL)"),
        None => {}
    }
    let index = match (&filter.unit, &filter.worker) {
        (Some(_), _) => "attempts_unit",
        (None, Some(_)) => "attempts_worker",
        (None, None) => "attempts_at",
    };
    let sql = format!(
        "SELECT incident, number, worker, unit, condition, action, outcome, reason, at_wall, time_to_recover_us
         FROM attempts INDEXED BY {index} {} ORDER BY at_wall DESC, incident DESC, number DESC LIMIT {}",
        clause.text(),
        limit(filter)
    );
    let mut select = connection.prepare_cached(&sql)?;
    let rows = select.query_map(params_from_iter(clause.values), |row| Ok(recovery(row)))?;
    let mut found = Vec::new();
    for row in rows {
        found.extend(row?.ok().flatten());
    }
    Ok(found)
}

/// `Ok(None)`: a row with words of another version.
fn recovery(row: &Row<'_>) -> rusqlite::Result<Option<Recovery>> {
    let text = |index: usize| row.get_ref(index)?.as_str().map(str::to_string).map_err(rusqlite::Error::from);
    let parsed = (|| {
        Some(Recovery {
            incident: IncidentId(row.get::<_, i64>(0).ok()? as u64),
            number: row.get(1).ok()?,
            worker: WorkerName::new(&text(2).ok()?).ok()?,
            unit: UnitName::new(&text(3).ok()?).ok()?,
            condition: row.get::<_, Option<String>>(4).ok()?.as_deref().and_then(Condition::parse),
            action: Action::parse(&text(5).ok()?)?,
            outcome: Outcome::parse(&text(6).ok()?)?,
            reason: text(7).ok()?,
            at: Wall(row.get(8).ok()?),
            time_to_recover: row.get::<_, Option<i64>>(9).ok()?.map(micros),
        })
    })();
    Ok(parsed)
}

/// Totals since `since`, of `worker` or of all.
pub(in crate::adapters::store) fn summary(
    connection: &Connection,
    since: Wall,
    worker: Option<&WorkerName>,
) -> rusqlite::Result<Summary> {
    let mut summary = Summary { since, ..Summary::default() };
    let worker = worker.map(WorkerName::as_str);
    let mut select = connection.prepare_cached(
        "SELECT action, outcome, count(*), count(time_to_recover_us), coalesce(sum(time_to_recover_us), 0)
         FROM attempts INDEXED BY attempts_at WHERE at_wall >= ?1 AND (?2 IS NULL OR worker = ?2)
         GROUP BY action, outcome",
    )?;
    let mut rows = select.query(params![since.0, worker])?;
    let mut all = Tally::default();
    let mut by_action: BTreeMap<Action, Tally> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let outcome = Outcome::parse(&row.get::<_, String>(1)?);
        let (count, timed, sum) = (row.get::<_, i64>(2)?, row.get::<_, i64>(3)?, row.get::<_, i64>(4)?);
        all.add(outcome, count, timed, sum);
        if let Some(action) = Action::parse(&row.get::<_, String>(0)?) {
            by_action.entry(action).or_default().add(outcome, count, timed, sum);
        }
    }
    summary.all = all.totals();
    summary.by_action = by_action.into_iter().map(|(action, tally)| (action, tally.totals())).collect();
    let (incidents, false_alarms) = connection
        .prepare_cached(
            "SELECT count(*), coalesce(sum(false_alarm OR marked_false), 0) FROM incidents INDEXED BY incidents_opened
             WHERE opened_wall >= ?1 AND (?2 IS NULL OR worker = ?2)",
        )?
        .query_row(params![since.0, worker], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
    summary.incidents = incidents as u64;
    summary.false_alarms = false_alarms as u64;
    Ok(summary)
}

/// What the ratios of the design since `since` are made of, of each worker; one that the history does not know has zeros.
pub(in crate::adapters::store) fn sums(
    connection: &Connection,
    workers: &[WorkerName],
    since: Wall,
) -> rusqlite::Result<BTreeMap<WorkerName, Sums>> {
    let mut found: BTreeMap<WorkerName, Sums> =
        workers.iter().map(|worker| (worker.clone(), Sums::default())).collect();
    // One pass over each table, however many workers there are.
    let mut select = connection.prepare_cached(
        "SELECT worker, outcome, count(*), count(time_to_recover_us), coalesce(sum(time_to_recover_us), 0)
         FROM attempts INDEXED BY attempts_at WHERE at_wall >= ?1 GROUP BY worker, outcome",
    )?;
    let mut rows = select.query([since.0])?;
    while let Some(row) = rows.next()? {
        let Some(sums) = found.get_mut(row.get_ref(0)?.as_str()?) else { continue };
        let (count, timed, sum) = (row.get::<_, i64>(2)?, row.get::<_, i64>(3)?, row.get::<_, i64>(4)?);
        match Outcome::parse(row.get_ref(1)?.as_str()?) {
            Some(Outcome::Succeeded) => {
                sums.succeeded = count as u64;
                sums.timed = timed as u64;
                sums.time_to_recover = micros(sum);
            }
            Some(Outcome::Failed) => sums.failed = count as u64,
            Some(Outcome::Superseded | Outcome::InDoubt) | None => {}
        }
    }
    let mut select = connection.prepare_cached(
        "SELECT worker, count(*), coalesce(sum(false_alarm OR marked_false), 0)
         FROM incidents INDEXED BY incidents_opened WHERE opened_wall >= ?1 GROUP BY worker",
    )?;
    let mut rows = select.query([since.0])?;
    while let Some(row) = rows.next()? {
        if let Some(sums) = found.get_mut(row.get_ref(0)?.as_str()?) {
            sums.incidents = row.get::<_, i64>(1)? as u64;
            sums.false_alarms = row.get::<_, i64>(2)? as u64;
        }
    }
    for (worker, sums) in &mut found {
        let (available, observed) = availability(connection, worker, since)?;
        sums.available = Duration::from_micros(available);
        sums.observed = Duration::from_micros(observed);
    }
    Ok(found)
}

/// Facts of what people did, each with its id, newest first. One that this version cannot read is left out.
pub(in crate::adapters::store) fn deeds(
    connection: &Connection,
    filter: &AuditFilter,
) -> rusqlite::Result<Vec<(u64, Fact)>> {
    let as_filter =
        Filter { worker: filter.worker.clone(), since: filter.since, before: filter.before, ..Filter::default() };
    let mut clause = Clause::of(&as_filter, "id", "at_wall");
    if let Some(since) = filter.since {
        // Facts are put down as they happen, so that only a clock that was set back puts one of these before that row.
        let first = "SELECT id FROM facts WHERE at_wall >= ?1 ORDER BY at_wall LIMIT 1";
        let from = since.0.saturating_sub(CLOCK_SET_BACK_US);
        let first = connection.prepare_cached(first)?.query_row([from], |row| row.get::<_, i64>(0)).optional()?;
        let Some(first) = first else { return Ok(Vec::new()) };
        clause.bound("id >= ", first.into());
    }
    let index = if filter.worker.is_some() { "facts_deeds_worker" } else { "facts_deeds" };
    let and = if clause.parts.is_empty() { String::new() } else { format!("AND {}", clause.parts.join(" AND ")) };
    let most = filter.limit.unwrap_or(FILTER_LIMIT_DEFAULT).min(FILTER_LIMIT_MAX);
    let sql =
        format!("SELECT id, body FROM facts INDEXED BY {index} WHERE {DEEDS} {and} ORDER BY id DESC LIMIT {most}");
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query(params_from_iter(clause.values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let fact = serde_json::from_str(row.get_ref(1)?.as_str()?).ok();
        found
            .extend(fact.map(|fact| (row.get_ref(0).and_then(|id| Ok(id.as_i64()?)).unwrap_or_default() as u64, fact)));
    }
    Ok(found)
}

/// How long each worker was watched since `since`.
pub(in crate::adapters::store) fn watched(
    connection: &Connection,
    workers: &[WorkerName],
    since: Wall,
) -> rusqlite::Result<BTreeMap<WorkerName, Duration>> {
    let mut found = BTreeMap::new();
    for worker in workers {
        let (_, observed) = availability(connection, worker, since)?;
        found.insert(worker.clone(), Duration::from_micros(observed));
    }
    Ok(found)
}

fn availability(connection: &Connection, worker: &WorkerName, since: Wall) -> rusqlite::Result<(u64, u64)> {
    connection
        .prepare_cached(
            "SELECT coalesce(sum(available_us), 0), coalesce(sum(observed_us), 0) FROM availability
             WHERE worker = ?1 AND hour >= ?2",
        )?
        .query_row(params![worker.as_str(), since.0.div_euclid(HOUR_US)], |row| {
            Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64))
        })
}

/// A span of which facts are missing from the history.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Gap {
    pub from: Wall,
    pub to: Wall,
    /// Facts that were lost.
    pub facts: u64,
    pub why: String,
}

/// `None`: nothing was learned. A body that is no text of bounded length is the empty text, and a format that is no such
/// number the largest: nobody can read them.
pub(in crate::adapters::store) fn knowledge(
    connection: &Connection,
    name: &str,
) -> rusqlite::Result<Option<(u32, String)>> {
    let sql = "SELECT format, iif(octet_length(body) <= ?2, body, '') FROM knowledge WHERE name = ?1";
    let row = |row: &Row<'_>| {
        let body = row.get_ref(1)?.as_bytes().map(<[u8]>::to_vec).unwrap_or_default();
        let format = u32::try_from(row.get::<_, i64>(0)?).unwrap_or(u32::MAX);
        Ok((format, String::from_utf8(body).unwrap_or_default()))
    };
    connection.prepare_cached(sql)?.query_row(params![name, BODY_MAX as i64], row).optional()
}

/// Newest first, at most [`FILTER_LIMIT_MAX`].
pub(in crate::adapters::store) fn gaps(connection: &Connection, since: Wall) -> rusqlite::Result<Vec<Gap>> {
    let mut select = connection.prepare_cached(
        "SELECT from_wall, to_wall, facts, why FROM gaps WHERE to_wall >= ?1 ORDER BY id DESC LIMIT ?2",
    )?;
    let rows = select.query_map(params![since.0, FILTER_LIMIT_MAX as i64], |row| {
        let facts = row.get::<_, i64>(2)? as u64;
        Ok(Gap { from: Wall(row.get(0)?), to: Wall(row.get(1)?), facts, why: row.get(3)? })
    })?;
    rows.collect()
}

fn micros(us: i64) -> Duration {
    Duration::from_micros(us.max(0) as u64)
}

#[derive(Default)]
struct Tally {
    totals: Totals,
    timed: u64,
    sum_us: u64,
}

impl Tally {
    fn add(&mut self, outcome: Option<Outcome>, count: i64, timed: i64, sum_us: i64) {
        let count = count as u64;
        self.totals.total += count;
        match outcome {
            Some(Outcome::Succeeded) => {
                self.totals.succeeded += count;
                self.timed += timed as u64;
                self.sum_us += sum_us as u64;
            }
            Some(Outcome::Failed) => self.totals.failed += count,
            Some(Outcome::Superseded) => self.totals.superseded += count,
            Some(Outcome::InDoubt) => self.totals.in_doubt += count,
            None => {}
        }
    }

    fn totals(self) -> Totals {
        let mean = (self.timed > 0).then(|| Duration::from_micros(self.sum_us / self.timed));
        Totals { mean_time_to_recover: mean, ..self.totals }
    }
}

struct Unreadable {
    id: i64,
    why: String,
}

/// From the columns `id, state, marked_false`. An operator's verdict outlives what the engine thought.
fn incident(row: &Row<'_>) -> Result<Incident, Unreadable> {
    let id = row.get(0).unwrap_or_default();
    let unreadable = |why: String| Unreadable { id, why };
    let state = row.get_ref(1).ok().and_then(|value| value.as_str().ok()).unwrap_or_default();
    let mut incident: Incident = serde_json::from_str(state).map_err(|error| unreadable(error.to_string()))?;
    let marked: bool = row.get(2).map_err(|error| unreadable(error.to_string()))?;
    if marked && !incident.is_open() {
        incident.resolution = Some(Resolution::FalseAlarm);
    }
    Ok(incident)
}

fn limit(filter: &Filter) -> usize {
    filter.limit.unwrap_or(FILTER_LIMIT_DEFAULT).min(FILTER_LIMIT_MAX)
}
