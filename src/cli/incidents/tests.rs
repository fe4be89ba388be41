use std::time::Duration;

use expect_test::expect;

use super::*;
use crate::cli::fixtures::*;
use crate::model::{Action, AttemptId, Condition, Evidence, Health, Outcome, What};

fn time_line() -> TimeLine {
    let unit = "mail@2.service";
    let id = AttemptId { incident: IncidentId(41), number: 1 };
    let raised = What::ConditionRaised {
        condition: Condition::Dead,
        evidence: Evidence::text("unit failed: killed by signal SIGKILL (9)"),
        delay: Some(Duration::from_micros(1234)),
    };
    let acted = What::AttemptActed { attempt: id, action: Action::Restart, dependents: vec![], did: None };
    let ended = What::AttemptEnded {
        attempt: id,
        action: Action::Restart,
        condition: Some(Condition::Dead),
        outcome: Outcome::Succeeded,
        reason: "healthy for 10 s".into(),
        time_to_recover: Some(Duration::from_millis(13)),
    };
    let changed = What::HealthChanged { from: Health::Healthy, to: Health::Dead, because: "unit failed".into() };
    TimeLine {
        incident: closed_incident(),
        facts: vec![
            fact(1, ago(300), 41, unit, changed),
            fact(2, ago(63), 41, unit, raised),
            fact(3, ago(62), 41, unit, acted),
            fact(4, ago(50), 41, unit, ended),
        ],
        left_out: 0,
    }
}

#[test]
fn one_line_each() {
    let incidents = [open_incident(), closed_incident()];
    expect![[r#"
            ID  WHEN      UNIT            WHAT  TRIES     LASTED  NOW
        ✖  #42  18:18:57  mail@2.service  dead      1  1 min 3 s  open: pause between attempts, 4 s left (gate cooldo…
        ✔  #41  18:18:57  mail@2.service  dead      1      13 ms  recovered"#]]
    .assert_eq(&text(&table(&incidents, NOW.wall, &terminal(110))));
    assert_eq!(table(&[], NOW.wall, &plain()), ["No incident."]);
}

#[test]
fn one_in_full() {
    expect![[r#"
        ✔ Incident #41 of mail@2.service (worker mail): dead
          dead: unit failed: killed by signal SIGKILL (9)
          failed 18:18:57, seen 1.2 ms later
          closed 18:19:10 as recovered, well again after 13 ms
          1 attempt

        18:15:00.250 ✖ mail@2.service went from healthy to dead: unit failed
                     ⋮ 3 min 57 s later
        18:18:57.250 ✖ mail@2.service failed: killed by signal SIGKILL (9); seen 1.2 ms after it happened
        18:18:58.250 ● restart of mail@2.service (#41.1) was handed to systemd
        18:19:10.250 ✔ restart of mail@2.service (#41.1) helped: healthy for 10 s, well again after 13 ms"#]]
    .assert_eq(&text(&story(&time_line(), NOW, &terminal(100))));
    let open = TimeLine { incident: open_incident(), facts: vec![], left_out: 0 };
    expect![[r#"
        ✖ Incident #42 of mail@2.service (worker mail): dead
          dead: unit failed: killed by signal SIGKILL (9)
          failed 18:18:57, seen 1.2 ms later
          open for 1 min 3 s: pause between attempts, 4 s left (gate
          cooldown)
          1 attempt
    "#]]
    .assert_eq(&text(&story(&open, NOW, &terminal(60))));
}

#[test]
fn what_is_left_out_is_said() {
    let lines = text(&story(&TimeLine { left_out: 7, ..time_line() }, NOW, &plain()));
    assert!(lines.contains("7 facts left out"), "{lines}");
}

#[test]
fn limits() {
    assert_eq!(parse_limit("1000"), Ok(1000));
    for bad in ["0", "1001", "-1", "x", ""] {
        assert!(parse_limit(bad).is_err(), "{bad}");
    }
}
