use std::collections::BTreeMap;
use std::time::Duration;

use expect_test::expect;

use super::*;
use crate::app::replay::Sums;
use crate::app::replay::report::{Deviations, Recording, Times};
use crate::cli::fixtures::{NOW, ago, plain};
use crate::learn::advice::fixtures::{SINCE, everything};

fn advice() -> Advice {
    let history = everything();
    let until = Wall(SINCE.0 + 30 * 86_400_000_000);
    Advice { since: SINCE, until, incidents: history.incidents.len(), cut: false, proposals: history.advise() }
}

fn report() -> ReplayReport {
    let times = |seconds| Times { count: 7, median: Some(Duration::from_secs(seconds)), p90: None };
    let restarts = |count| BTreeMap::from([("restart".to_string(), count)]);
    let was = Sums {
        incidents: 7,
        actions: restarts(28),
        failed: 21,
        escalations: 7,
        time_to_recover: times(339),
        ..Sums::default()
    };
    let would = Sums {
        actions: restarts(21),
        failed: 14,
        escalations: 0,
        supposed: 14,
        time_to_recover: times(123),
        ..was.clone()
    };
    let recording = Recording { from: Some(ago(90_000).wall), to: Some(NOW.wall), inputs: 9, ..Recording::default() };
    ReplayReport {
        recording,
        deviations: Deviations::default(),
        baseline: was,
        candidate: would,
        workers: BTreeMap::new(),
        withheld: 7,
        apart_at_the_end: 0,
        differences: Vec::new(),
        differences_in_all: 21,
        unknown: Vec::new(),
    }
}

#[test]
fn only_recovery_is_proposed_and_each_key_once() {
    let mut advice = advice();
    let reset = advice.proposals.iter().find(|one| one.worker.as_str() == "resets").unwrap().clone();
    advice.proposals.push(Proposal { kind: ProposalKind::SettledOrder, ..reset });
    let found = of_recovery(&advice);
    assert!(found.iter().all(|one| one.kind.is_of_recovery()) && found.len() == 10, "{found:#?}");
    assert_eq!(found.iter().filter(|one| one.worker.as_str() == "resets").count(), 1);
}

#[test]
fn the_file_says_what_it_rests_on_and_that_it_is_not_in_force() {
    let advice = advice();
    let of = |name: &str| advice.proposals.iter().find(|one| one.worker.as_str() == name).unwrap().clone();
    let same = ReplayReport { differences_in_all: 0, ..report() };
    let nothing = ReplayReport { baseline: Sums::default(), candidate: Sums::default(), ..report() };
    let tried = [
        Tried { proposal: of("needs-db"), replay: Some(Box::new(report())), not_replayed: None },
        Tried { proposal: of("drains"), replay: Some(Box::new(same)), not_replayed: None },
        Tried { proposal: of("fills"), replay: Some(Box::new(nothing)), not_replayed: None },
        Tried { proposal: of("resets"), replay: None, not_replayed: Some("nothing is recorded in /x".into()) },
    ];
    let file = "/etc/unitmedic/conf.d/zz-strategies.toml";
    let text = render(&tried, &advice, file, NOW.wall, &plain()).join("\n") + "\n";
    assert!(toml::from_str::<toml::Table>(&text).is_ok(), "{text}");
    expect![[r##"
        # 4 changes of recovery that the past is for, by 422 incidents in 30 d, the surest first.
        # NOTHING OF THIS IS IN FORCE. To use it: delete what you do not want, put the rest into
        # /etc/unitmedic/conf.d/zz-strategies.toml, then: unitmedic check-config && systemctl reload unitmedic

        # attempts of needs-db follow too early on each other (likely)
        # seen    in 7 incidents in 30 d the same action helped only after the attempts had been used up and somebody
        #         had been called: #50, #53, #56 and 4 more
        # seen    the one that helped came 5 min 36 s after the first (median); 21 before it were in vain
        # gain    with the pauses spread over that time nobody is called for nothing; a second try comes 1 min 58 s
        #         later
        # replay  7 incidents replayed (Sun 17:20 to 18:20:00): time to recover 5 min 39 s -> 2 min 3 s (median), 28
        #         -> 21 actions, failed 21 -> 14, escalations 7 -> 0, false actions 0 -> 0; 14 of 21 actions are
        #         supposed, not recorded. That an attempt at another time would have ended as it says is supposed
        worker.needs-db.backoff = "2min"

        # drains of drains end soon or never (sure)
        # seen    6 drains ended by themselves in 30 d, the slowest after 3.2 s
        # seen    6 did not end within 30s: #107, #113, #119 and 3 more
        # gain    23 s less for each that does not end; those that end have twice their time
        # replay  7 incidents replayed (Sun 17:20 to 18:20:00): no decision differs. How long what was cut off would
        #         have drained is not in the recording
        worker.drains.drain_timeout = "7s"

        # memory that is taken back from fills does not stay away (worth a try)
        # seen    after 28 of 32 cleanups in 30 d that helped, memory was over its threshold again within 20 min:
        #         #143, #144, #145 and 25 more
        # gain    more is taken back at once, down to 40 % instead of 60 %. If it does not last either, what fills it
        #         is in use: then only a restart frees it
        # replay  the recording (Sun 17:20 to 18:20:00) has no incident of this worker, and says nothing. What more
        #         would have been taken back is not in the recording
        worker.fills.memory_target = 40

        # connection_reset does not help resets against hung (sure)
        # seen    connection_reset helped in none of 18 tries for hung in 30 d: #71, #73, #75 and 15 more
        # seen    other actions helped 18 times
        # gain    1 min less for each try (mean); an order that is set is kept as it stands, and not learned any more
        # replay  not replayed: nothing is recorded in /x
        worker.resets.plans.hung = ["graceful_restart", "restart", "escalate"]
    "##]]
    .assert_eq(&text);
    expect![[r#"
        # No change of recovery is proposed, by 422 incidents in 30 d. See `unitmedic advice` for the rest.
    "#]]
    .assert_eq(&(render(&[], &advice, file, NOW.wall, &plain()).join("\n") + "\n"));
}

#[test]
fn what_the_replay_speaks_against_is_a_comment() {
    let advice = advice();
    let proposal = advice.proposals.iter().find(|one| one.worker.as_str() == "drains").unwrap().clone();
    let text = |replay: ReplayReport| {
        let tried = Tried { proposal: proposal.clone(), replay: Some(Box::new(replay)), not_replayed: None };
        block(&tried, NOW.wall, &plain()).join("\n")
    };
    assert!(!text(report()).contains("AGAINST"));
    let worse: [fn(&mut Sums); 3] = [|it| it.failed = 22, |it| it.escalations = 8, |it| it.false_actions = 1];
    for make in worse {
        let mut report = report();
        make(&mut report.candidate);
        let text = text(report);
        assert!(text.contains("THE REPLAY SPEAKS AGAINST IT"), "{text}");
        assert!(text.lines().all(|line| line.starts_with('#')), "{text}");
    }
}

#[test]
fn an_incomplete_recording_is_told() {
    let mut report = report();
    report.deviations.count = 1;
    assert!(outcome(&report, NOW.wall, &plain()).ends_with("The recording is not complete, so this is worth less"));
}

#[test]
fn without_a_recording_there_is_no_replay_and_what_is_refused_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let main = "[worker.fills]\nunit = \"fills@.service\"\n".to_string();
    let present =
        Present { files: vec![("u.toml".into(), main)], mode: Mode::System, recordings: dir.path().join("inputs") };
    let proposal = advice().proposals.into_iter().find(|one| one.worker.as_str() == "fills").unwrap();
    let why = try_out(&present, &proposal, false).unwrap_err();
    assert!(why.starts_with("there is no recording to replay: "), "{why}");
    let wrong = Proposal { toml: "worker.fills.memory_target = 99.0\n".into(), ..proposal };
    let why = try_out(&present, &wrong, false).unwrap_err();
    assert!(why.contains("memory_target"), "{why}");
}
