use std::time::Duration;

use expect_test::expect;

use super::*;
use crate::cli::fixtures::*;
use crate::model::{Action, Condition, IncidentId};

fn recovery(number: u32, outcome: Outcome, reason: &str) -> Recovery {
    Recovery {
        incident: IncidentId(41),
        number,
        worker: worker("mail"),
        unit: unit("mail@2.service"),
        condition: Some(Condition::Dead),
        action: Action::Restart,
        outcome,
        reason: reason.into(),
        at: ago(3600).wall,
        time_to_recover: (outcome == Outcome::Succeeded).then_some(Duration::from_millis(13)),
    }
}

fn totals(succeeded: u64, failed: u64) -> Totals {
    Totals {
        total: succeeded + failed + 2,
        succeeded,
        failed,
        superseded: 1,
        in_doubt: 1,
        mean_time_to_recover: (succeeded > 0).then_some(Duration::from_millis(1800)),
    }
}

#[test]
fn one_line_each() {
    let recoveries = [
        recovery(2, Outcome::Succeeded, "healthy for 10 s"),
        recovery(1, Outcome::Failed, "failed again: exit code 3"),
        Recovery { condition: None, ..recovery(1, Outcome::InDoubt, "unitmedic ended between intent and outcome") },
    ];
    expect![[r#"
           WHEN         ID  UNIT            WHY    ACTION   OUTCOME    WELL AFTER  REASON
        ✔  17:20:00  #41.2  mail@2.service  dead   restart  succeeded       13 ms  healthy for 10 s
        ✖  17:20:00  #41.1  mail@2.service  dead   restart  failed                 failed again: exit code 3
        ·  17:20:00  #41.1  mail@2.service  asked  restart  in_doubt               unitmedic ended between intent and outcome"#]].assert_eq(&text(&table(&recoveries, NOW.wall, &terminal(120))));
    assert_eq!(table(&[], NOW.wall, &plain()), ["No recovery."]);
}

#[test]
fn totals_against_the_target() {
    let summary = Summary {
        since: ago(7 * 86_400).wall,
        all: totals(19, 1),
        by_action: [(Action::Restart, totals(19, 0)), (Action::GracefulRestart, totals(0, 1))].into(),
        incidents: 40,
        false_alarms: 1,
    };
    expect![[r#"
        Recoveries since 2026-11-16 18:20

          ACTION            TOTAL  SUCCEEDED  FAILED  OVERTAKEN  IN DOUBT  MEAN TIME  SUCCESS
          graceful_restart      3          0       1          1         1          –    0.0 %
          restart              21         19       0          1         1      1.8 s  100.0 %
          all                  22         19       1          1         1      1.8 s   95.0 %

          ✔ 95.0 % succeeded: target of 90 % reached; overtaken and doubtful ones do not count
          40 incidents, 1 false alarm (2.5 %)"#]]
    .assert_eq(&text(&render_summary(&summary, true, NOW.wall, &terminal(100))));
    let missed = Summary { all: totals(8, 2), ..Summary::default() };
    expect![[r#"
        Recoveries in all

          ACTION  TOTAL  SUCCEEDED  FAILED  OVERTAKEN  IN DOUBT  MEAN TIME  SUCCESS
          all        12          8       2          1         1      1.8 s   80.0 %

          ! 80.0 % succeeded: target of 90 % missed; overtaken and doubtful ones do not count
          No incidents."#]]
    .assert_eq(&text(&render_summary(&missed, false, NOW.wall, &plain())));
    expect![[r#"
        Recoveries in all

          None.
          No incidents."#]]
    .assert_eq(&text(&render_summary(&Summary::default(), false, NOW.wall, &plain())));
}
