use std::fs;

use super::*;
use crate::adapters::store::tests::{HOUR, closed, fact, incident, now};
use crate::model::{Resolution, What};
use write::Slice;

fn path(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("unitmedic.db")
}

#[test]
fn an_older_database_is_brought_up_to_date_with_what_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut old = Connection::open(path(&dir)).unwrap();
    schema::MIGRATIONS.to_version(&mut old, 1).unwrap();
    let state = serde_json::to_string(&incident(3, 1)).unwrap();
    old.execute(
        "INSERT INTO incidents (id, worker, unit, condition, worst, opened_wall, state)
         VALUES (3, 'mail', 'mail@3.service', 'dead', 'dead', 1, ?1)",
        [state],
    )
    .unwrap();
    drop(old);
    let mut connection = open(&path(&dir)).unwrap();
    assert_eq!(read::incidents(&connection, &Default::default()).unwrap(), [incident(3, 1)]);
    write::availability(&mut connection, now(0).wall, &Default::default()).unwrap();
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(version, schema::VERSION);
}

#[test]
fn a_newer_database_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let newer = open(&path(&dir)).unwrap();
    newer.pragma_update(None, "user_version", schema::VERSION + 1).unwrap();
    // The connection stays open: the version stands in the log alone, as after a crash of the newer one.
    let log = files::with_suffix(&path(&dir), "-wal");
    let before = (fs::read(path(&dir)).unwrap(), fs::read(&log).unwrap());
    let error = open(&path(&dir)).unwrap_err();
    assert!(
        matches!(error, OpenError::Newer { found, known, .. } if found == known + 1 && known == schema::VERSION),
        "{error}"
    );
    assert!(error.to_string().contains("unitmedic.db"), "{error}");
    assert_eq!((fs::read(path(&dir)).unwrap(), fs::read(&log).unwrap()), before);
}

#[test]
fn damage_is_told_from_trouble() {
    let dir = tempfile::tempdir().unwrap();
    let whole = {
        let mut connection = open(&path(&dir)).unwrap();
        let facts = (0..500).map(|seq| fact(seq, 1, None, What::InstanceVanished)).collect();
        write::slice(&mut connection, &Slice { facts, ..Slice::default() }).unwrap();
        drop(connection);
        fs::read(path(&dir)).unwrap()
    };
    let mut scrambled = whole.clone();
    scrambled[4096..20_480].fill(0xff);
    let cases: [(&str, &[u8]); 4] = [
        ("garbage", &[0x55; 5000]),
        ("shorter than a header", b"SQLite format 3\0"),
        ("truncated", &whole[..whole.len() / 3]),
        ("scrambled", &scrambled),
    ];
    for (name, bytes) in cases {
        fs::write(path(&dir), bytes).unwrap();
        let opened = open(&path(&dir)).map(drop);
        assert!(matches!(opened, Err(OpenError::Damaged { .. })), "{name}: {opened:?}");
        let (connection, told) = open_or_begin_anew(&path(&dir), now(0).wall).unwrap();
        let told = told.unwrap_or_default();
        assert!(told.contains("damaged") && told.contains("set aside as"), "{name}: {told}");
        assert_eq!(read::incidents(&connection, &Default::default()).unwrap(), [], "{name}");
    }
    assert_eq!(files::damaged_copies(&path(&dir)).unwrap().len(), files::DAMAGED_KEPT);
    let trouble = open(Path::new("/proc/unitmedic/unitmedic.db")).unwrap_err();
    assert!(matches!(trouble, OpenError::Unavailable { .. }), "{trouble}");
}

#[test]
fn an_empty_file_is_a_fresh_one() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(path(&dir), "").unwrap();
    open(&path(&dir)).unwrap();
}

fn count(connection: &Connection, table: &str) -> i64 {
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

fn sweep(connection: &Connection, cutoff: Wall, bytes_max: u64) -> usize {
    (1..).find(|_| !retain::slice(connection, cutoff, bytes_max).unwrap()).unwrap()
}

#[test]
fn what_is_older_than_the_retention_goes_in_slices() {
    let dir = tempfile::tempdir().unwrap();
    let mut connection = open(&path(&dir)).unwrap();
    let hour = 3600;
    let slice = Slice {
        incidents: vec![
            closed(incident(1, 0), 1, Resolution::Recovered),
            closed(incident(2, 0), 3 * hour, Resolution::Recovered),
            incident(3, 0),
        ],
        facts: (0..1000).map(|seq| fact(seq, seq % 2 * 3 * hour, None, What::InstanceVanished)).collect(),
        alerts: Vec::new(),
        known: Vec::new(),
        loss: None,
        ..Slice::default()
    };
    write::slice(&mut connection, &slice).unwrap();
    let slices = sweep(&connection, Wall(now(0).wall.0 + 2 * HOUR), u64::MAX);
    assert!(slices > 3, "{slices}");
    assert_eq!(count(&connection, "facts"), 500);
    let left = read::incidents(&connection, &Default::default()).unwrap();
    assert_eq!(left.iter().map(|it| it.id.0).collect::<Vec<_>>(), [3, 2], "the open one stays, however old");
    let past = read::past(&connection, now(0).wall).unwrap();
    assert_eq!(past.next_incident, 4);
}

#[test]
fn what_is_too_much_goes_oldest_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut connection = open(&path(&dir)).unwrap();
    let facts = (0..12_000).map(|seq| fact(seq, 0, None, What::InstanceVanished)).collect();
    write::slice(&mut connection, &Slice { facts, ..Slice::default() }).unwrap();
    let used = retain::bytes_used(&connection).unwrap();
    sweep(&connection, Wall(0), used / 2);
    assert!(retain::bytes_used(&connection).unwrap() <= used / 2);
    let oldest: i64 = connection.query_row("SELECT min(seq) FROM facts", [], |row| row.get(0)).unwrap();
    assert!(oldest > 4000, "{oldest}");
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let length = fs::metadata(path(&dir)).unwrap().len();
    assert!(length < used, "the file itself has shrunk: {length} of {used}");
}

#[test]
fn a_number_outlives_the_incidents_that_bore_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut connection = open(&path(&dir)).unwrap();
    let incidents = vec![closed(incident(70, 0), 1, Resolution::Recovered)];
    write::slice(&mut connection, &Slice { incidents, ..Slice::default() }).unwrap();
    sweep(&connection, Wall(i64::MAX), u64::MAX);
    assert_eq!(count(&connection, "incidents"), 0);
    assert_eq!(read::past(&connection, Wall(0)).unwrap().next_incident, 71);
}

#[test]
fn the_reader_may_checkpoint_but_not_write() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(&path(&dir)).unwrap();
    let facts = (0..500).map(|seq| fact(seq, 0, None, What::InstanceVanished)).collect();
    write::slice(&mut writer, &Slice { facts, ..Slice::default() }).unwrap();
    let reader = open_reader(&path(&dir)).unwrap();
    let (busy, pages, done): (i64, i64, i64) = reader
        .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap();
    assert!(busy == 0 && pages > 10 && done == pages, "{busy} {pages} {done}");
    assert!(reader.execute("DELETE FROM facts", []).is_err());
    assert_eq!(count(&reader, "facts"), 500);
}
