//! Levels, ids, fields and the filter; the journal itself is looked at on a real host.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use super::*;
use crate::model::fact::Cause;
use crate::model::incident::{AttemptId, IncidentId};
use crate::model::{Condition, Evidence, Now, Plan, UnitName, WorkerName};

fn fact(what: What) -> Fact {
    Fact {
        seq: 1,
        at: Now::default(),
        cause: Cause::Start,
        worker: Some(WorkerName::new("mail").unwrap()),
        unit: Some(UnitName::new("mail@1.service").unwrap()),
        incident: Some(IncidentId(42)),
        what,
    }
}

fn opened(condition: Option<Condition>) -> What {
    What::IncidentOpened { condition, evidence: Evidence::text("unit failed"), plan: Plan::default() }
}

#[test]
fn ids_are_unique_and_well_formed() {
    let ids: BTreeSet<&str> = MESSAGE_IDS.iter().map(|(_, id)| *id).collect();
    let events: BTreeSet<&str> = MESSAGE_IDS.iter().map(|(event, _)| *event).collect();
    assert_eq!((ids.len(), events.len()), (MESSAGE_IDS.len(), MESSAGE_IDS.len()));
    for (event, id) in MESSAGE_IDS {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        assert!(id.len() == 32 && id.bytes().all(hex), "{event}: {id}");
    }
}

#[test]
fn an_event_has_the_id_that_stands_beside_its_name() {
    for what in [
        What::InstanceVanished,
        What::HoldChanged { held: true },
        What::WatchOnly { why: String::new() },
        opened(None),
        What::SettingsChanged { workers: 1, by: None },
    ] {
        let listed = MESSAGE_IDS.iter().find(|(event, _)| *event == what.name()).map(|(_, id)| *id);
        assert_eq!(listed, Some(message_id(&what)), "{}", what.name());
    }
}

#[test]
fn who_is_woken() {
    let ended = |outcome| What::AttemptEnded {
        attempt: AttemptId { incident: IncidentId(1), number: 1 },
        action: Action::Restart,
        condition: None,
        outcome,
        reason: String::new(),
        time_to_recover: None,
    };
    for (what, level) in [
        (What::Escalated { attempts: 3, next_try: None, text: String::new() }, Level::ERROR),
        (What::WatchOnly { why: String::new() }, Level::ERROR),
        (opened(Some(Condition::Dead)), Level::WARN),
        (opened(Some(Condition::OomKilled)), Level::WARN),
        (opened(Some(Condition::MemoryHigh)), Level::INFO),
        (opened(None), Level::INFO),
        (ended(Outcome::Failed), Level::WARN),
        (ended(Outcome::Succeeded), Level::INFO),
        (What::BusLost { why: String::new() }, Level::WARN),
        (What::HoldChanged { held: true }, Level::WARN),
        (What::HoldChanged { held: false }, Level::INFO),
        (What::InstanceVanished, Level::DEBUG),
    ] {
        assert_eq!(level_of(&what), level, "{what:?}");
    }
}

#[test]
fn filters_of_the_environment() {
    let with = |variables: &[(&str, &str)]| {
        let get = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string());
        let (filter, complaint) = filter(LevelFilter::INFO, get);
        (filter.to_string(), complaint)
    };
    let sorted = |text: &str| text.split(',').map(str::to_string).collect::<BTreeSet<_>>();
    assert_eq!(sorted(&with(&[]).0), sorted("warn,unitmedic=info,lapin=off"));
    assert_eq!(sorted(&with(&[("RUST_LOG", "debug")]).0), sorted("debug,lapin=off"));
    assert_eq!(sorted(&with(&[("RUST_LOG", "debug"), ("UNITMEDIC_LOG", "error")]).0), sorted("error,lapin=off"));
    assert_eq!(sorted(&with(&[("RUST_LOG", "debug"), ("UNITMEDIC_LOG", "")]).0), sorted("debug,lapin=off"));
    let (bad, complaint) = with(&[("UNITMEDIC_LOG", "unitmedic=loud")]);
    assert_eq!(sorted(&bad), sorted("warn,unitmedic=info,lapin=off"));
    assert!(complaint.is_some_and(|text| text.contains("UNITMEDIC_LOG") && text.contains("loud")));
}

#[test]
fn the_stream_must_be_the_same_device_and_inode() {
    assert!(names_stream("9:1234", 9, 1234));
    for bad in ["9:1235", "8:1234", "9", "", ":", "9:", "9:1234:1", "x:y"] {
        assert!(!names_stream(bad, 9, 1234), "{bad}");
    }
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_line_for_the_journal_has_its_level_and_its_values() {
    let written = Written::default();
    let writer = written.clone();
    let layer = tracing_subscriber::fmt::layer()
        .event_format(line::Prefixed)
        .fmt_fields(line::Fields)
        .with_ansi(false)
        .with_writer(move || writer.clone());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        tracing::error!(path = "/a", error = %io::Error::from_raw_os_error(2), "cannot read the hold file");
        tracing::info!("plain");
    });
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text, "<3>cannot read the hold file path=/a error=No such file or directory (os error 2)\n<6>plain\n");
}

#[test]
fn a_line_on_stderr_is_readable() {
    let written = Written::default();
    let writer = written.clone();
    let layer = tracing_subscriber::fmt::layer()
        .compact()
        .fmt_fields(line::Fields)
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_writer(move || writer.clone());
    let opened = fact(opened(Some(Condition::Dead)));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        log_fact(&opened);
        tracing::info!(unit = "a b", count = 3, "plain");
    });
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let sentence = story::sentence(&opened);
    let expected =
        format!(" WARN {sentence} worker=mail unit=mail@1.service incident=42\n INFO plain unit=\"a b\" count=3\n");
    assert_eq!(text, expected);
}

#[test]
fn every_event_is_in_the_message_catalog() {
    let catalog = include_str!("../../../systemd/catalog/unitmedic.catalog");
    let entries: Vec<&str> = catalog.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
    let ids: Vec<&str> = MESSAGE_IDS.iter().map(|(_, id)| *id).collect();
    assert_eq!(entries, ids, "one entry for each event, in the order of the events");
}
