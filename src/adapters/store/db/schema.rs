//! The tables, as a list of migrations. One that was released is never edited: add another.

use std::sync::LazyLock;

use rusqlite_migration::{M, Migrations};

/// Times are microseconds of wall time. `state` and `body` are the model's own JSON; the columns beside them
/// exist to be searched.
const HISTORY: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE incidents (
    id                 INTEGER PRIMARY KEY,
    worker             TEXT NOT NULL,
    unit               TEXT NOT NULL,
    condition          TEXT,
    worst              TEXT NOT NULL,
    opened_wall        INTEGER NOT NULL,
    closed_wall        INTEGER,
    resolution         TEXT,
    time_to_recover_us INTEGER,
    false_alarm        INTEGER NOT NULL DEFAULT 0,
    marked_false       INTEGER NOT NULL DEFAULT 0,
    state              TEXT NOT NULL
) STRICT;
CREATE INDEX incidents_open   ON incidents (id) WHERE closed_wall IS NULL;
CREATE INDEX incidents_closed ON incidents (closed_wall) WHERE closed_wall IS NOT NULL;
CREATE INDEX incidents_opened ON incidents (opened_wall, worker);
CREATE INDEX incidents_worker ON incidents (worker, id);
CREATE INDEX incidents_unit   ON incidents (unit, id);

CREATE TABLE attempts (
    incident           INTEGER NOT NULL,
    number             INTEGER NOT NULL,
    worker             TEXT NOT NULL,
    unit               TEXT NOT NULL,
    condition          TEXT,
    action             TEXT NOT NULL,
    outcome            TEXT NOT NULL,
    reason             TEXT NOT NULL,
    at_wall            INTEGER NOT NULL,
    time_to_recover_us INTEGER,
    PRIMARY KEY (incident, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_at     ON attempts (at_wall, worker);
CREATE INDEX attempts_worker ON attempts (worker, incident);
CREATE INDEX attempts_unit   ON attempts (unit, incident);

CREATE TABLE intents (
    incident INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    boot     TEXT NOT NULL,
    at_wall  INTEGER NOT NULL,
    body     TEXT NOT NULL,
    PRIMARY KEY (incident, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX intents_at ON intents (at_wall);

CREATE TABLE facts (
    id       INTEGER PRIMARY KEY,
    seq      INTEGER NOT NULL,
    incident INTEGER,
    at_wall  INTEGER NOT NULL,
    worker   TEXT,
    unit     TEXT,
    event    TEXT NOT NULL,
    body     TEXT NOT NULL
) STRICT;
CREATE INDEX facts_incident ON facts (incident, id) WHERE incident IS NOT NULL;
CREATE INDEX facts_at       ON facts (at_wall);
";

/// Availability in hours, so that a ratio over 30 days survives a restart; and what history missed.
const AVAILABILITY: &str = "
CREATE TABLE availability (
    worker       TEXT NOT NULL,
    hour         INTEGER NOT NULL,
    available_us INTEGER NOT NULL,
    observed_us  INTEGER NOT NULL,
    PRIMARY KEY (worker, hour)
) STRICT, WITHOUT ROWID;
CREATE INDEX availability_hour ON availability (hour);

CREATE TABLE gaps (
    id        INTEGER PRIMARY KEY,
    from_wall INTEGER NOT NULL,
    to_wall   INTEGER NOT NULL,
    facts     INTEGER NOT NULL,
    why       TEXT NOT NULL
) STRICT;
";

/// Alerts that were told, each with its end. Without worker or unit: the empty text, which has no other meaning.
const ALERTS: &str = "
CREATE TABLE alerts (
    name   TEXT NOT NULL,
    worker TEXT NOT NULL,
    unit   TEXT NOT NULL,
    since  INTEGER NOT NULL,
    until  INTEGER,
    body   TEXT NOT NULL,
    PRIMARY KEY (name, worker, unit, since)
) STRICT, WITHOUT ROWID;
CREATE INDEX alerts_since ON alerts (since);
CREATE INDEX alerts_open  ON alerts (since) WHERE until IS NULL;
";

/// What was learned of actions: for each case one row of this host, and one from another.
const STRATEGIES: &str = "
CREATE TABLE strategies (
    case_key  TEXT NOT NULL,
    elsewhere INTEGER NOT NULL,
    body      TEXT NOT NULL,
    PRIMARY KEY (case_key, elsewhere)
) STRICT, WITHOUT ROWID;
";

/// What was learned, each in a text of its own format. What could not be read stays under another name.
const KNOWLEDGE: &str = "
CREATE TABLE knowledge (
    name    TEXT PRIMARY KEY,
    at_wall INTEGER NOT NULL,
    format  INTEGER NOT NULL,
    body    TEXT NOT NULL
) STRICT;
";

/// Facts of what people did: what the audit trail shows. What was learned is one only where somebody asked for it.
pub(super) const DEEDS: &str = "event IN ('requested', 'paused', 'resumed', 'marked_false', 'hold_changed', \
'settings_changed', 'strategies_changed', 'approval_answered') \
AND (event <> 'strategies_changed' OR body ->> '$.what.by' IS NOT NULL)";

/// So that few rows among millions are found at once: the audit trail, and totals over a span without their rows.
static READING: LazyLock<String> = LazyLock::new(|| {
    format!(
        "CREATE INDEX facts_deeds        ON facts (id, at_wall) WHERE {DEEDS};
         CREATE INDEX facts_deeds_worker ON facts (worker, id, at_wall) WHERE {DEEDS};
         DROP INDEX attempts_at;
         CREATE INDEX attempts_at ON attempts (at_wall, worker, action, outcome, time_to_recover_us);
         DROP INDEX attempts_worker;
         CREATE INDEX attempts_worker ON attempts (worker, at_wall);
         DROP INDEX attempts_unit;
         CREATE INDEX attempts_unit ON attempts (unit, at_wall);
         DROP INDEX incidents_opened;
         CREATE INDEX incidents_opened ON incidents (opened_wall, worker, false_alarm, marked_false);"
    )
});

/// `user_version` of a database that all of [`MIGRATIONS`] have passed over.
pub(super) const VERSION: u32 = 6;

pub(super) const TABLES: &[&str] =
    &["meta", "incidents", "attempts", "intents", "facts", "availability", "gaps", "alerts", "strategies", "knowledge"];

pub(super) static MIGRATIONS: LazyLock<Migrations<'static>> = LazyLock::new(|| {
    let steps = [HISTORY, AVAILABILITY, ALERTS, STRATEGIES, KNOWLEDGE, &READING];
    Migrations::new(steps.map(M::up).to_vec())
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_apply_and_are_counted() {
        MIGRATIONS.validate().unwrap();
        let mut connection = rusqlite::Connection::open_in_memory().unwrap();
        MIGRATIONS.to_latest(&mut connection).unwrap();
        let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, VERSION);
        let tables: usize = connection
            .query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table'", [], |r| r.get::<_, i64>(0))
            .unwrap() as usize;
        assert_eq!(tables, TABLES.len());
    }
}
