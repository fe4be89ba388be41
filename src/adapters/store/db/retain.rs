//! Forgetting: what is older than the retention, and what is too much, in slices so small that an intent never
//! waits for one.

use rusqlite::{Connection, params};

use super::write::HOUR_US;
use crate::model::Wall;

/// Rows that one slice deletes at most; about a millisecond.
const SLICE_ROWS: i64 = 200;
/// Pages that one slice gives back to the file system at most.
const SLICE_PAGES: i64 = 64;
/// Past this the oldest facts go, however young: half of the file's hard limit.
pub(in crate::adapters::store) const BYTES_MAX: u64 = 512 << 20;

/// Deletes one slice of what is older than `cutoff` or beyond `bytes_max`. `true`: there is more to do.
pub(in crate::adapters::store) fn slice(
    connection: &Connection,
    cutoff: Wall,
    bytes_max: u64,
) -> rusqlite::Result<bool> {
    for sql in [
        "DELETE FROM facts WHERE id IN (SELECT id FROM facts WHERE at_wall < ?1 ORDER BY at_wall LIMIT ?2)",
        "DELETE FROM incidents WHERE id IN (SELECT id FROM incidents WHERE closed_wall < ?1 ORDER BY closed_wall LIMIT ?2)",
        "DELETE FROM attempts WHERE (incident, number) IN
            (SELECT incident, number FROM attempts WHERE at_wall < ?1 ORDER BY at_wall LIMIT ?2)",
        "DELETE FROM intents WHERE (incident, number) IN
            (SELECT incident, number FROM intents WHERE at_wall < ?1 ORDER BY at_wall LIMIT ?2)",
        "DELETE FROM alerts WHERE (name, worker, unit, since) IN
            (SELECT name, worker, unit, since FROM alerts WHERE since < ?1 ORDER BY since LIMIT ?2)",
        "DELETE FROM gaps WHERE id IN (SELECT id FROM gaps WHERE to_wall < ?1 LIMIT ?2)",
    ] {
        if connection.prepare_cached(sql)?.execute(params![cutoff.0, SLICE_ROWS])? > 0 {
            return Ok(true);
        }
    }
    let old_hours = "DELETE FROM availability WHERE (worker, hour) IN
        (SELECT worker, hour FROM availability WHERE hour < ?1 ORDER BY hour LIMIT ?2)";
    if connection.prepare_cached(old_hours)?.execute(params![cutoff.0.div_euclid(HOUR_US), SLICE_ROWS])? > 0 {
        return Ok(true);
    }
    if bytes_used(connection)? > bytes_max {
        let oldest = "DELETE FROM facts WHERE id IN (SELECT id FROM facts ORDER BY id LIMIT ?1)";
        if connection.prepare_cached(oldest)?.execute([SLICE_ROWS])? > 0 {
            return Ok(true);
        }
    }
    give_back(connection)
}

/// Bytes in pages that hold something.
pub(in crate::adapters::store) fn bytes_used(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    Ok(((pragma("page_count")? - pragma("freelist_count")?) * pragma("page_size")?).max(0) as u64)
}

fn give_back(connection: &Connection) -> rusqlite::Result<bool> {
    let free: i64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    // A few free pages are kept for what comes next.
    if free < 4 * SLICE_PAGES {
        return Ok(false);
    }
    let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({SLICE_PAGES})"))?;
    let mut rows = vacuum.query([])?;
    while rows.next()?.is_some() {}
    let left: i64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    // A file that was made without auto_vacuum gives nothing back: not a reason to try for ever.
    Ok(left < free)
}
