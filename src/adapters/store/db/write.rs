//! What the store's thread writes. Every function is one transaction: all of it or nothing.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::adapters::store::availability::Span;
use crate::adapters::store::knowledge::Knowledge;
use crate::adapters::store::queue::Loss;
use crate::model::action::Intent;
use crate::model::strategy::Known;
use crate::model::{Alert, Attempt, Fact, Incident, IncidentId, Outcome, Resolution, UnitName, Wall, What, WorkerName};

pub(in crate::adapters::store) const HOUR_US: i64 = 3_600_000_000;

/// A slice of what is to be written, and what came to nothing before it.
#[derive(Default)]
pub(in crate::adapters::store) struct Slice {
    pub incidents: Vec<Incident>,
    pub facts: Vec<Fact>,
    pub alerts: Vec<Alert>,
    /// What is known of cases; without actions, it is forgotten.
    pub known: Vec<Known>,
    pub knowledge: Vec<Knowledge>,
    pub loss: Option<Loss>,
}

pub(in crate::adapters::store) fn intents<'a>(
    connection: &mut Connection,
    boot: &str,
    intents: impl Iterator<Item = &'a Intent>,
) -> rusqlite::Result<()> {
    let transaction = begin(connection)?;
    {
        let mut insert = transaction.prepare_cached(
            "INSERT OR REPLACE INTO intents (incident, number, boot, at_wall, body) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        for intent in intents {
            insert.execute(params![
                intent.attempt.incident.0 as i64,
                intent.attempt.number,
                boot,
                intent.at.0,
                json(intent)?
            ])?;
        }
    }
    transaction.commit()
}

pub(in crate::adapters::store) fn slice(connection: &mut Connection, slice: &Slice) -> rusqlite::Result<()> {
    let transaction = begin(connection)?;
    for incident in &slice.incidents {
        save(&transaction, incident)?;
    }
    for fact in &slice.facts {
        tell(&transaction, fact)?;
    }
    for alert in &slice.alerts {
        keep_alert(&transaction, alert)?;
    }
    for known in &slice.known {
        keep_known(&transaction, known)?;
    }
    for knowledge in &slice.knowledge {
        keep_knowledge(&transaction, knowledge)?;
    }
    if let Some(loss) = &slice.loss {
        transaction
            .prepare_cached("INSERT INTO gaps (from_wall, to_wall, facts, why) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![loss.from.0, loss.to.0, loss.facts as i64, loss.why])?;
    }
    if let Some(highest) = slice.incidents.iter().map(|incident| incident.id.0).max() {
        raise_next_incident(&transaction, highest + 1)?;
    }
    transaction.commit()
}

/// Adds what was measured since the last flush to the hour of `at`.
pub(in crate::adapters::store) fn availability(
    connection: &mut Connection,
    at: Wall,
    spans: &BTreeMap<WorkerName, Span>,
) -> rusqlite::Result<()> {
    let transaction = begin(connection)?;
    {
        let mut add = transaction.prepare_cached(
            "INSERT INTO availability (worker, hour, available_us, observed_us) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET available_us = available_us + excluded.available_us,
                                       observed_us  = observed_us  + excluded.observed_us",
        )?;
        for (worker, span) in spans {
            let hour = at.0.div_euclid(HOUR_US);
            add.execute(params![
                worker.as_str(),
                hour,
                span.available.as_micros() as i64,
                span.observed.as_micros() as i64
            ])?;
        }
    }
    transaction.commit()
}

/// Marks the incident as a false alarm for good. `false`: there is no such incident.
pub(in crate::adapters::store) fn mark_false(connection: &Connection, id: IncidentId) -> rusqlite::Result<bool> {
    let changed =
        connection.prepare_cached("UPDATE incidents SET marked_false = 1 WHERE id = ?1")?.execute([id.0 as i64])?;
    Ok(changed > 0)
}

/// Alerts that held when the daemon ended: nobody saw their end, so it is now. One that still holds is told anew.
pub(in crate::adapters::store) fn end_alerts(connection: &Connection, now: Wall) -> rusqlite::Result<()> {
    let end = "UPDATE alerts SET until = ?1, body = json_set(body, '$.until', ?1) WHERE until IS NULL";
    connection.execute(end, [now.0]).map(drop)
}

fn keep_known(transaction: &Transaction<'_>, known: &Known) -> rusqlite::Result<()> {
    let case = json(&known.case)?;
    let elsewhere = known.from.is_some();
    if known.actions.is_empty() {
        let mut delete = transaction.prepare_cached("DELETE FROM strategies WHERE case_key = ?1 AND elsewhere = ?2")?;
        return delete.execute(params![case, elsewhere]).map(drop);
    }
    transaction
        .prepare_cached(
            "INSERT INTO strategies (case_key, elsewhere, body) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET body = excluded.body",
        )?
        .execute(params![case, elsewhere, json(known)?])
        .map(drop)
}

fn keep_alert(transaction: &Transaction<'_>, alert: &Alert) -> rusqlite::Result<()> {
    let key = &alert.key;
    transaction
        .prepare_cached(
            "INSERT INTO alerts (name, worker, unit, since, until, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT DO UPDATE SET until = excluded.until, body = excluded.body",
        )?
        .execute(params![
            key.name.as_str(),
            key.worker.as_ref().map_or("", WorkerName::as_str),
            key.unit.as_ref().map_or("", UnitName::as_str),
            alert.since.0,
            alert.until.map(|at| at.0),
            json(alert)?
        ])
        .map(drop)
}

fn keep_knowledge(transaction: &Transaction<'_>, knowledge: &Knowledge) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO knowledge (name, at_wall, format, body) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET at_wall = excluded.at_wall, format = excluded.format, body = excluded.body",
        )?
        .execute(params![knowledge.name, knowledge.at.0, knowledge.format, knowledge.body])
        .map(drop)
}

/// Gives it another name, so that nothing is written over it. Which; `None`: there is none.
pub(in crate::adapters::store) fn set_knowledge_aside(
    connection: &Connection,
    name: &str,
    now: Wall,
) -> rusqlite::Result<Option<String>> {
    let other = format!("{name}.refused.{}", now.0);
    let changed = connection.execute("UPDATE knowledge SET name = ?2 WHERE name = ?1", [name, &other])?;
    Ok((changed > 0).then_some(other))
}

/// Intents of an earlier boot have no outcome that could still be observed: they end in doubt.
pub(in crate::adapters::store) fn settle_earlier_boots(
    connection: &mut Connection,
    boot: &str,
) -> rusqlite::Result<()> {
    let transaction = begin(connection)?;
    transaction.execute(
        "INSERT OR IGNORE INTO attempts (incident, number, worker, unit, condition, action, outcome, reason, at_wall)
         SELECT n.incident, n.number, i.worker, i.unit, i.condition, n.body ->> '$.action', ?2,
                'the host was restarted before the outcome was known', n.at_wall
         FROM intents n JOIN incidents i ON i.id = n.incident
         WHERE n.boot <> ?1 AND n.body ->> '$.action' IS NOT NULL",
        params![boot, Outcome::InDoubt.as_str()],
    )?;
    transaction.execute("DELETE FROM intents WHERE boot <> ?1", [boot])?;
    transaction.execute(
        "INSERT INTO meta (key, value) VALUES ('boot', ?1) ON CONFLICT DO UPDATE SET value = excluded.value",
        [boot],
    )?;
    transaction.commit()
}

/// IMMEDIATE: a lock that is not to be had shows at once, not in the middle.
fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

fn save(transaction: &Transaction<'_>, incident: &Incident) -> rusqlite::Result<()> {
    let closed = incident.closed_wall.is_some();
    transaction
        .prepare_cached(
            "INSERT INTO incidents (id, worker, unit, condition, worst, opened_wall, closed_wall, resolution,
                                    time_to_recover_us, false_alarm, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT DO UPDATE SET
                worker = excluded.worker, unit = excluded.unit, condition = excluded.condition,
                worst = excluded.worst, opened_wall = excluded.opened_wall, closed_wall = excluded.closed_wall,
                resolution = excluded.resolution, time_to_recover_us = excluded.time_to_recover_us,
                false_alarm = CASE WHEN excluded.closed_wall IS NULL THEN 0
                                   ELSE max(false_alarm, excluded.false_alarm) END,
                state = excluded.state",
        )?
        .execute(params![
            incident.id.0 as i64,
            incident.worker.as_str(),
            incident.unit.as_str(),
            incident.leading().map(|condition| condition.as_str()),
            incident.worst.as_str(),
            incident.opened_wall.0,
            incident.closed_wall.map(|at| at.0),
            incident.resolution.map(|resolution| resolution.as_str()),
            incident.time_to_recover.map(|span| span.as_micros() as i64),
            closed && incident.resolution == Some(Resolution::FalseAlarm),
            json(incident)?,
        ])?;
    for attempt in &incident.attempts {
        save_attempt(transaction, incident, attempt)?;
    }
    // Once the incident itself knows the attempt, its intent has done its duty.
    let known = incident.last_attempt().map_or(0, |attempt| attempt.number);
    transaction
        .prepare_cached("DELETE FROM intents WHERE incident = ?1 AND number <= ?2")?
        .execute(params![incident.id.0 as i64, known])?;
    Ok(())
}

/// From the incident, for attempts whose fact was lost. Where the fact came, its condition and time stand: it knows
/// better than the incident as a whole.
fn save_attempt(transaction: &Transaction<'_>, incident: &Incident, attempt: &Attempt) -> rusqlite::Result<()> {
    let (Some(outcome), Some(ended)) = (attempt.outcome, attempt.ended_at) else {
        return Ok(());
    };
    let at = attempt.intended_wall.0 + ended.since(attempt.intended_at).as_micros() as i64;
    let recovered =
        attempt.well_at.filter(|_| outcome == Outcome::Succeeded).map(|well| well.since(incident.failed_at));
    transaction
        .prepare_cached(
            "INSERT INTO attempts (incident, number, worker, unit, condition, action, outcome, reason, at_wall,
                                   time_to_recover_us)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT DO UPDATE SET outcome = excluded.outcome, reason = excluded.reason
             WHERE outcome <> excluded.outcome OR reason <> excluded.reason",
        )?
        .execute(params![
            incident.id.0 as i64,
            attempt.number,
            incident.worker.as_str(),
            incident.unit.as_str(),
            incident.leading().map(|condition| condition.as_str()),
            attempt.action.as_str(),
            outcome.as_str(),
            attempt.reason,
            at,
            recovered.map(|span| span.as_micros() as i64),
        ])?;
    Ok(())
}

fn tell(transaction: &Transaction<'_>, fact: &Fact) -> rusqlite::Result<()> {
    let incident = fact.incident.map(|id| id.0 as i64);
    transaction
        .prepare_cached(
            "INSERT INTO facts (seq, incident, at_wall, worker, unit, event, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            fact.seq as i64,
            incident,
            fact.at.wall.0,
            fact.worker.as_ref().map(WorkerName::as_str),
            fact.unit.as_ref().map(|unit| unit.as_str()),
            fact.what.name(),
            json(fact)?,
        ])?;
    match &fact.what {
        What::AttemptEnded { .. } => attempt_ended(transaction, fact),
        What::IncidentClosed { false_alarm, .. } => transaction
            .prepare_cached("UPDATE incidents SET false_alarm = ?2 WHERE id = ?1")?
            .execute(params![incident, false_alarm])
            .map(drop),
        What::MarkedFalse { .. } => transaction
            .prepare_cached("UPDATE incidents SET marked_false = 1 WHERE id = ?1")?
            .execute([incident])
            .map(drop),
        _ => Ok(()),
    }
}

fn attempt_ended(transaction: &Transaction<'_>, fact: &Fact) -> rusqlite::Result<()> {
    let What::AttemptEnded { attempt, action, condition, outcome, reason, time_to_recover } = &fact.what else {
        return Ok(());
    };
    let (Some(worker), Some(unit)) = (&fact.worker, &fact.unit) else {
        return Ok(());
    };
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO attempts (incident, number, worker, unit, condition, action, outcome, reason,
                                              at_wall, time_to_recover_us)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            attempt.incident.0 as i64,
            attempt.number,
            worker.as_str(),
            unit.as_str(),
            condition.map(|condition| condition.as_str()),
            action.as_str(),
            outcome.as_str(),
            reason,
            fact.at.wall.0,
            time_to_recover.map(|span| span.as_micros() as i64),
        ])?;
    Ok(())
}

/// Kept apart from the incidents, which retention deletes: a number is never given twice.
fn raise_next_incident(transaction: &Transaction<'_>, next: u64) -> rusqlite::Result<()> {
    let stored: Option<String> = transaction
        .prepare_cached("SELECT value FROM meta WHERE key = 'next_incident'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    if stored.and_then(|text| text.parse().ok()).is_some_and(|stored: u64| stored >= next) {
        return Ok(());
    }
    transaction
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES ('next_incident', ?1) ON CONFLICT DO UPDATE SET value = excluded.value",
        )?
        .execute([next.to_string()])
        .map(drop)
}

fn json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
