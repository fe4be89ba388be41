use expect_test::expect;

use super::*;
use crate::cli::fixtures::*;
use crate::model::action::Plan;
use crate::model::{AttemptId, Condition, Evidence, Resolution};

fn ended(incident: u64, name: &str, outcome: Outcome) -> Fact {
    let what = What::AttemptEnded {
        attempt: AttemptId { incident: IncidentId(incident), number: 1 },
        action: Action::Restart,
        condition: None,
        outcome,
        reason: "r".into(),
        time_to_recover: None,
    };
    fact(1, NOW, incident, name, what)
}

fn opened(incident: u64, name: &str, condition: Option<Condition>) -> Fact {
    let what = What::IncidentOpened { condition, evidence: Evidence::text("e"), plan: Plan::default() };
    fact(1, NOW, incident, name, what)
}

#[test]
fn one_unit() {
    let mut progress = Progress::new(&[IncidentId(7)], &[]);
    assert!(!progress.take(&ended(6, "mail@1.service", Outcome::Succeeded)), "not of this request");
    assert!(!progress.is_over());
    assert!(progress.take(&ended(7, "mail@1.service", Outcome::Succeeded)));
    assert!(progress.is_over() && progress.all_helped());
    assert_eq!(progress.verdict(&terminal(80)), "✔ It helped.");
}

#[test]
fn instances_go_one_by_one() {
    let mut progress = Progress::new(&[IncidentId(7)], &[unit("mail@2.service")]);
    progress.take(&ended(7, "mail@1.service", Outcome::Succeeded));
    assert!(!progress.is_over());
    assert_eq!(progress.patience(), TURN_PATIENCE);
    assert!(!progress.take(&opened(8, "mail@2.service", Some(Condition::Dead))), "an incident of its own");
    assert!(progress.take(&opened(9, "mail@2.service", None)));
    assert_eq!(progress.patience(), FOREVER);
    progress.take(&ended(9, "mail@2.service", Outcome::Succeeded));
    assert!(progress.is_over() && progress.all_helped());
    assert_eq!(progress.verdict(&plain()), "+ It helped all 2 instances.");
}

#[test]
fn what_did_not_help_ends_it() {
    let mut progress = Progress::new(&[IncidentId(7)], &[unit("mail@2.service")]);
    progress.take(&ended(7, "mail@1.service", Outcome::Failed));
    assert!(progress.is_over() && !progress.all_helped());
    let verdict = progress.verdict(&plain());
    assert_eq!(verdict, "x It helped 0 of 1; 1 further instance left as they are: see `unitmedic explain`.");

    let mut closed = Progress::new(&[IncidentId(7)], &[]);
    let what = What::IncidentClosed {
        resolution: Resolution::Operator,
        time_to_recover: None,
        attempts: 0,
        false_alarm: false,
    };
    closed.take(&fact(1, NOW, 7, "mail@1.service", what));
    assert!(closed.is_over() && !closed.all_helped());

    let mut held = Progress::new(&[], &[unit("mail@2.service")]);
    held.abandon();
    assert!(held.is_over() && !held.all_helped());
}

#[test]
fn refusals_name_gate_time_and_setting() {
    expect!["! mail@2.service: refused by gate cooldown: pause between attempts, 4 s left; possible in 4 s (18:20:04); setting worker.mail.backoff"].assert_eq(&refused("mail@2.service", &cooldown(), NOW, &plain()));
}

#[test]
fn what_was_accepted() {
    assert_eq!(accepted(&[IncidentId(7)], &[]), "accepted as incident #7");
    let waiting = [unit("mail@2.service"), unit("mail@3.service")];
    assert_eq!(
        accepted(&[IncidentId(7)], &waiting),
        "accepted as incident #7; 2 further instances after that, one by one"
    );
}
