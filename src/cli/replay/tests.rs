use std::collections::BTreeMap;
use std::time::Duration;

use expect_test::expect;

use super::*;
use crate::app::replay::report::{Compared, Deviations, Recording, Times, Trouble};
use crate::app::replay::{Difference, ReplayReport, Sums};
use crate::cli::fixtures::plain;
use crate::model::{UnitName, Wall};

fn moment(seconds: i64) -> Wall {
    Wall((1_795_000_000 + seconds) * 1_000_000)
}

fn report() -> ReplayReport {
    let times = |median: u64| Times {
        count: 4,
        median: Some(Duration::from_millis(median)),
        p90: Some(Duration::from_millis(5 * median)),
    };
    let restarts = |count| BTreeMap::from([("restart".to_string(), count)]);
    let baseline =
        Sums { incidents: 4, actions: restarts(4), succeeded: 4, time_to_recover: times(840), ..Sums::default() };
    let suppressed = BTreeMap::from([("cooldown".to_string(), 2)]);
    let candidate = Sums {
        incidents: 5,
        actions: restarts(6),
        supposed: 2,
        succeeded: 5,
        failed: 1,
        false_actions: 1,
        suppressed,
        time_to_recover: times(1200),
        ..Sums::default()
    };
    let worker = |name| WorkerName::new(name).unwrap();
    let same = Compared { baseline: Sums::default(), candidate: Sums::default() };
    ReplayReport {
        recording: Recording {
            from: Some(moment(0)),
            to: Some(moment(3600)),
            inputs: 12_345,
            bytes: 4 << 20,
            lives: 2,
            reloads: 1,
            gaps: 1,
            troubles: Trouble { count: 1, told: vec!["17 inputs were not recorded".into()] },
            left_out: 0,
        },
        deviations: Deviations { orders: 4, ..Deviations::default() },
        baseline: baseline.clone(),
        candidate: candidate.clone(),
        workers: [(worker("db"), same), (worker("mail"), Compared { baseline, candidate })].into(),
        withheld: 1,
        apart_at_the_end: 1,
        differences: vec![Difference {
            at: moment(60),
            worker: worker("mail"),
            unit: UnitName::new("mail.service").unwrap(),
            decision: "restart".into(),
            baseline: "nothing".into(),
            candidate: "restart (it is not running)".into(),
            supposed: true,
        }],
        differences_in_all: 3,
        unknown: vec!["worker web: no unit that web.service matches is in the recording".into()],
    }
}

#[test]
fn a_report_for_people() {
    let text = view::render(&report(), "new.toml", moment(3700), &plain()).join("\n");
    expect![[r#"
        Replay of 11:06:40 to 12:06:40: 12345 inputs, 2 lives of the daemon
        + The recorded settings come to the same decisions: 4 recorded orders, all given again
        - The settings changed once meanwhile
        ! 17 inputs were not recorded
        ! worker web: no unit that web.service matches is in the recording

                                     RECORDED  new.toml
          incidents                         4         5
          actions                           4         6
            restart                         4         6
            supposed                        0         2
          false actions                     0         1
          recoveries that succeeded         4         5
          recoveries that failed            0         1
          escalations                       0         0
          suppressed by cooldown            0         2
          time to recover, median      840 ms     1.2 s
          time to recover, 9 of 10      4.2 s     6.0 s

        ! 2 of 6 actions are supposed, not recorded; 1 recorded order would not have been given, and what followed is left out; 1 unit would not be as recorded at the end

          mail                       RECORDED  new.toml
          incidents                         4         5
          actions                           4         6
            restart                         4         6
            supposed                        0         2
          false actions                     0         1
          recoveries that succeeded         4         5
          recoveries that failed            0         1
          escalations                       0         0
          suppressed by cooldown            0         2
          time to recover, median      840 ms     1.2 s
          time to recover, 9 of 10      4.2 s     6.0 s

        3 decisions differ, the first 1: --differences
        11:07:40 mail.service (mail)
            recorded  nothing
            new.toml  restart (it is not running) (supposed)"#]].assert_eq(&text);
}

#[test]
fn an_incomplete_recording_comes_first() {
    let told = vec![(moment(30), "start of mail.service is ordered and was not".to_string())];
    let deviations = Deviations { orders: 3, count: 1, first: Some(moment(30)), told };
    let report = ReplayReport { deviations, ..report() };
    let lines = view::render(&report, "new.toml", moment(3700), &plain());
    assert!(lines[1].contains("The recording is not complete"), "{lines:#?}");
    assert!(lines[2].contains("start of mail.service is ordered and was not"), "{lines:#?}");
}

#[test]
fn a_directory_of_configuration_is_read_like_the_default_one() {
    let read = |path: &Path| source(Some(path), &Mode::System);
    let dir = tempfile::tempdir().unwrap();
    let of_dir = read(dir.path());
    assert_eq!(
        (of_dir.main, of_dir.fragments_dir),
        (dir.path().join("unitmedic.toml"), Some(dir.path().join("conf.d")))
    );
    let of_file = read(&dir.path().join("new.toml"));
    assert_eq!((of_file.main, of_file.fragments_dir), (dir.path().join("new.toml"), None));
}

#[test]
fn why_there_is_nothing_to_replay_is_told() {
    let troubles = Trouble { count: 2, told: vec!["/r/1.jsonl is passed over: a later format".into()] };
    assert!(
        nothing(Path::new("/r"), &troubles, &Options::default())
            .ends_with("can be replayed: /r/1.jsonl is passed over: a later format")
    );
    assert!(nothing(Path::new("/r"), &Trouble::default(), &Options::default()).contains("record_bytes"));
    let long_ago = Options { until: Some(Wall(1)), ..Options::default() };
    assert_eq!(nothing(Path::new("/r"), &Trouble::default(), &long_ago), "nothing is recorded in /r of that time");
}

#[test]
fn who_may_not_read_is_told_what_to_do() {
    let denied = ReadError::Io { path: "/r".into(), error: std::io::ErrorKind::PermissionDenied.into() };
    assert!(format!("{:#}", hint(denied)).starts_with("run it as root, or as a member of"));
    let missing = ReadError::Io { path: "/r".into(), error: std::io::ErrorKind::NotFound.into() };
    assert_eq!(format!("{:#}", hint(missing)), "cannot read /r: entity not found");
}
