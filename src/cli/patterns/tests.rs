//! What is asked for, and what an operator reads.

use std::time::Duration;

use expect_test::expect;

use super::known::{page, table};
use super::*;
use crate::cli::fixtures::{NOW, ago, plain, text, unit, worker};
use crate::model::IncidentId;
use crate::model::pattern::{Cluster, PatternResource, PatternView, PatternWorker, PatternsView, Precedes};

fn args(subject: Option<&str>) -> PatternsArgs {
    PatternsArgs { subject: subject.map(str::to_owned), worker: None, limit: None, json: false }
}

#[test]
fn an_id_is_told_from_a_log() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("00000000000012ab");
    std::fs::write(&file, "x").unwrap();
    let path = file.display().to_string();
    assert_eq!(args(None).subject(), Subject::All);
    assert_eq!(args(Some("00000000000012ab")).subject(), Subject::One(PatternId(0x12ab)));
    for log in ["-", "12ab", "/var/log/messages", &path] {
        assert_eq!(args(Some(log)).subject(), Subject::Log(log.into()));
    }
}

fn patterns() -> PatternsView {
    let quiet = Precedes {
        spans: 12.0,
        followed: 0.0,
        expected: 0.3,
        chance: 1.0,
        beyond_chance: false,
        median_lead: None,
        incidents: vec![],
    };
    let mail = PatternWorker {
        worker: worker("mail"),
        total: 413,
        units: vec![unit("mail@2.service"), unit("mail@1.service"), unit("mail@3.service")],
        precedes: Precedes {
            followed: 9.0,
            chance: 0.000_02,
            beyond_chance: true,
            median_lead: Some(Duration::from_secs(312)),
            incidents: vec![IncidentId(41), IncidentId(42)],
            ..quiet.clone()
        },
        hours: Some(Cluster { from: 23, length: 2, within: 8, of: 9, chance: 0.003, like_others: true }),
        days: None,
    };
    let batch = PatternWorker {
        worker: worker("batch"),
        total: 2,
        units: vec![unit("batch.service")],
        precedes: quiet,
        hours: None,
        days: Some(Cluster { from: 6, length: 2, within: 5, of: 5, chance: 0.008, like_others: false }),
    };
    let broken = PatternView {
        id: PatternId(0x1a2b),
        template: "no route to <*>".into(),
        total: 415,
        per_hour: 12.4,
        first: ago(3 * 86_400).wall,
        last: ago(60).wall,
        workers: vec![batch.clone(), mail],
        unusual: vec![PatternResource { name: "memory".into(), share: 0.75, strength: 4.25 }],
    };
    let other = PatternView {
        id: PatternId(7),
        template: "cannot open <*>: \u{1b}[31m".into(),
        total: 2,
        per_hour: 0.01,
        workers: vec![PatternWorker { days: None, ..batch }],
        unusual: vec![],
        ..broken.clone()
    };
    PatternsView { patterns: vec![broken, other], left_out: 3, lines: 417, lines_left_out: 9 }
}

#[test]
fn the_table_says_what_precedes_incidents() {
    let shown = text(&table(&patterns(), NOW.wall, &plain()));
    expect![[r#"
           PATTERN           LINES  PER HOUR  FIRST      LAST      WHERE
        !  0000000000001a2b    415        12  Fri 18:20  18:19:00  batch (batch.service), mail (mail@2.service, mail@1.service and 1 more)
               no route to <*>
               batch: breaks out on Sun and Mon: 5 of 5 times (p 0.0080)
               mail: precedes incidents: 9 of 12 half hours with it had an incident, 0.3 by chance, 5 min 12 s after it in the median (p < 0.0001)
               mail: breaks out from 23:00 to 01:00: 8 of 9 times (p 0.0030), as the worker's other errors do
        -  0000000000000007      2      <0.1  Fri 18:20  18:19:00  batch (batch.service)
               cannot open <*>: �[31m
        2 patterns; 3 more: --limit; 417 lines of errors learned since the daemon started, 9 left out of floods"#]].assert_eq(&shown);
    let nothing = PatternsView { lines: 0, ..PatternsView::default() };
    let shown = text(&table(&nothing, NOW.wall, &plain()));
    assert_eq!(shown, "No pattern is known; 0 lines of errors learned since the daemon started.");
}

#[test]
fn one_pattern_in_full() {
    let shown = text(&page(&patterns().patterns[0], NOW.wall, &plain()));
    expect![[r#"
        Pattern 0000000000001a2b
          no route to <*>
          415 lines from Fri 18:20 to 18:19:00, of late 12 an hour
          worker batch: 2 lines, last of batch.service
            no incident has followed it
            breaks out on Sun and Mon: 5 of 5 times (p 0.0080)
          worker mail: 413 lines, last of mail@2.service, mail@1.service, mail@3.service
            precedes incidents: 9 of 12 half hours with it had an incident, 0.3 by chance, 5 min 12 s after it in the median (p < 0.0001)
            before #41, #42: unitmedic incidents show ID
            breaks out from 23:00 to 01:00: 8 of 9 times (p 0.0030), as the worker's other errors do
          memory was unusual 75 % of the times, by 4.2"#]].assert_eq(&shown);
}
