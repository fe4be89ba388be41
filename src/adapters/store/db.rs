//! The database file: opening it, refusing one of a newer version, setting a damaged one aside.
//!
//! What is in it is the business of `write`, `read` and `retain`; who may touch it, that of `writer` and `reader`.

mod paging;
pub(super) mod read;
pub(super) mod retain;
mod schema;
pub(super) mod write;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::files;
use crate::model::Wall;

/// Nobody else should hold the file; a backup by hand may, for a moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// The reader's thread checkpoints; only when it cannot keep up does a write do it, at this many pages (64 MiB).
const WAL_PAGES_MAX: u32 = 16_384;
/// The log file is cut back to this after a checkpoint, bytes.
const WAL_BYTES_KEPT: u32 = 16 << 20;
/// Page cache of one connection, KiB.
const CACHE_KIB: i32 = 2048;
/// Past this the file grows no more and writes fail as on a full disk: the last of three bounds after time and
/// `retain`'s size. 262,144 pages of 4 KiB are 1 GiB.
const PAGES_MAX: u32 = 262_144;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const COMPANIONS: &[&str] = &["-wal", "-shm"];

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Left untouched; the daemon runs on without history.
    #[error(
        "{} was written by a newer unitmedic (schema {found}, this one knows up to {known}): history is off and the \
         file stays as it is; install the newer version again, or move the file away to begin a new history",
        path.display()
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
    /// The file is not what it should be.
    #[error("{} is damaged: {why}", path.display())]
    Damaged { path: PathBuf, why: String },
    /// It may work later: rights, room, a read-only or absent file system.
    #[error("cannot open {}: {why}; check that the directory exists, has room and belongs to the user that runs unitmedic", path.display())]
    Unavailable { path: PathBuf, why: String },
}

/// What a failed statement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The file is damaged: set it aside.
    Damaged,
    /// The world around the file: try again later.
    Surroundings,
    /// This statement with these values never works: trying again is of no use.
    Statement,
}

pub(super) fn fault(error: &rusqlite::Error) -> Fault {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Fault::Damaged,
        Some(
            ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::TooBig
            | ErrorCode::ParameterOutOfRange,
        ) => Fault::Statement,
        Some(_) => Fault::Surroundings,
        None => Fault::Statement,
    }
}

/// Opens for reading and writing, creating and migrating as needed. Only the store's thread writes.
pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
    let unavailable = |why: String| OpenError::Unavailable { path: path.into(), why };
    if let Some(dir) = path.parent() {
        files::create_dir(dir).map_err(|error| unavailable(error.to_string()))?;
    }
    files::create_private(path).map_err(|error| unavailable(error.to_string()))?;
    refuse_newer(path)?;
    let told = |error: rusqlite::Error| match fault(&error) {
        Fault::Damaged => OpenError::Damaged { path: path.into(), why: error.to_string() },
        _ => unavailable(error.to_string()),
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(told)?;
    configure(&connection).map_err(told)?;
    schema::MIGRATIONS.to_latest(&mut connection).map_err(|error| match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => told(err),
        // Our version number on tables that are not ours.
        other => OpenError::Damaged { path: path.into(), why: other.to_string() },
    })?;
    probe(&connection).map_err(|error| match error.sqlite_error_code() {
        // `no such table`: a file that calls itself ours and is not.
        Some(ErrorCode::Unknown) => OpenError::Damaged { path: path.into(), why: error.to_string() },
        _ => told(error),
    })?;
    Ok(connection)
}

/// Opens what [`open`] has made, for queries and checkpoints.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Takes effect in a fresh file only, before its first table.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", WAL_PAGES_MAX, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES_KEPT, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "max_page_count", PAGES_MAX, |_| Ok(()))?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Touches the root page of every table, so that the coarsest damage shows at once.
fn probe(connection: &Connection) -> rusqlite::Result<()> {
    for table in schema::TABLES {
        connection.prepare(&format!("SELECT 1 FROM {table} LIMIT 1"))?.exists([])?;
    }
    Ok(())
}

/// Reads the version without the rights to change anything: a newer file is not even checkpointed.
fn refuse_newer(path: &Path) -> Result<(), OpenError> {
    let unavailable = |why: String| OpenError::Unavailable { path: path.into(), why };
    let mut header = Vec::new();
    let file = File::open(path).map_err(|error| unavailable(error.to_string()))?;
    file.take(64).read_to_end(&mut header).map_err(|error| unavailable(error.to_string()))?;
    if header.is_empty() {
        return Ok(());
    }
    if header.len() < 64 || !header.starts_with(MAGIC) {
        return Err(OpenError::Damaged { path: path.into(), why: "it is not an SQLite database".into() });
    }
    // user_version, big-endian at offset 60: https://www.sqlite.org/fileformat.html#user_version_number
    let mut found = u32::from_be_bytes([header[60], header[61], header[62], header[63]]);
    if files::with_suffix(path, "-wal").metadata().is_ok_and(|wal| wal.len() > 0) {
        // The log may hold a newer version of the header. A log that cannot be read shows itself in `open`.
        found = version_with_log(path).unwrap_or(found);
    }
    match found > schema::VERSION {
        true => Err(OpenError::Newer { path: path.into(), found, known: schema::VERSION }),
        false => Ok(()),
    }
}

fn version_with_log(path: &Path) -> rusqlite::Result<u32> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Renames the file with its log and index, so that a fresh one can be begun. Returns the new name.
pub(super) fn set_aside(path: &Path, now: Wall) -> std::io::Result<PathBuf> {
    files::set_aside(path, COMPANIONS, now)
}

/// Opens; sets a damaged file aside and begins a fresh one. The text is for the operator, loudly.
pub(super) fn open_or_begin_anew(path: &Path, now: Wall) -> Result<(Connection, Option<String>), OpenError> {
    let damage = match open(path) {
        Ok(connection) => return Ok((connection, None)),
        Err(damage @ OpenError::Damaged { .. }) => damage,
        Err(other) => return Err(other),
    };
    let aside = set_aside(path, now).map_err(|error| OpenError::Unavailable {
        path: path.into(),
        why: format!("{damage}; setting it aside: {error}"),
    })?;
    let connection = open(path)?;
    Ok((connection, Some(format!("{damage}; it was set aside as {} and a new history begun", aside.display()))))
}

#[cfg(test)]
mod tests;
