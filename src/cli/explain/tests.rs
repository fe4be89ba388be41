use std::time::Duration;

use expect_test::expect;

use super::*;
use crate::cli::fixtures::*;
use crate::model::action::Plan;
use crate::model::fact::{Gate, Refusal};
use crate::model::status::GateView;
use crate::model::{Condition, Evidence, Health, Outcome};
use crate::views::look::columns;

#[test]
fn held_back_by_a_gate() {
    expect![[r#"
        ✖ mail@2.service is dead: unit failed: killed by signal SIGKILL (9)
          worker mail; should run

        Answer
          ▲ restart is held back by gate cooldown: pause between attempts, 4 s left.
          ◌ The next attempt may be made at 18:20:04, in 4 s.

        Incident #42, open
          ✖ 18:18:57  dead; seen 1.2 ms after it happened
          ✖ 18:18:58  restart (#42.1) did not help: failed again: exit code 3
            2 of 3 attempts left
            all of it: unitmedic incidents show 42

        What stands between it and restart
          ▲ gate cooldown: pause between attempts, 4 s left; until 18:20:04 (in 4 s)
            worker.mail.backoff = 4 s, set at /etc/unitmedic/unitmedic.toml:12
          ✔ the other 17 gates let it through

        Restarts
            restarts since it is watched: 1 by operator, 4 by unitmedic
          · 4 failures in the last 10 min, at 18:13:20, 18:16:40, 18:18:57, 18:18:59; 5 within 10 min make a
            crash loop
            worker.mail.crash_loop_failures = 5, the default
            it ended: unit failed: killed by signal SIGKILL (9)
          ● restarting does not mend the cause; its own words: journalctl -u mail@2.service -n 50
          ● restart_cooldown and max_restart_attempts set how often unitmedic restarts it

        Settings that decide (worker.mail)
            backoff               4 s    /etc/unitmedic/unitmedic.toml:12
            crash_loop_failures   5      default
            max_restart_attempts  3      /etc/unitmedic/conf.d/mail.toml:3
            restart_cooldown      5 min  default"#]]
    .assert_eq(&text(&render(&explanation(), &[open_incident()], NOW, &terminal(100))));
}

#[test]
fn well_and_well_again() {
    expect![[r#"
        + task@7.service is healthy: running
          worker task; should run

        Answer
          + It is well: there is nothing to recover.

        Settings that decide (worker.mail)
            backoff               4 s    /etc/unitmedic/unitmedic.toml:12
            crash_loop_failures   5      default
            max_restart_attempts  3      /etc/unitmedic/conf.d/mail.toml:3
            restart_cooldown      5 min  default"#]]
    .assert_eq(&text(&render(&well(), &[], NOW, &plain())));
    let again = Explanation { incident: Some(closed_incident()), ..well() };
    expect![[r#"
        + task@7.service is healthy: running
          worker task; should run

        Answer
          + It is well: there is nothing to recover.
          - Its last incident #41 ended 18:19:10 (50 s ago): recovered, last by restart.

        Last incident: #41
          x 18:18:57  dead; seen 1.2 ms after it happened
            dead: unit failed: killed by signal SIGKILL (9)
          + 18:18:58  restart (#41.1) helped: healthy for 10 s
          + 18:19:10  closed: recovered, well again after 13 ms
            all of it: unitmedic incidents show 41

        Settings that decide (worker.mail)
            backoff               4 s    /etc/unitmedic/unitmedic.toml:12
            crash_loop_failures   5      default
            max_restart_attempts  3      /etc/unitmedic/conf.d/mail.toml:3
            restart_cooldown      5 min  default"#]]
    .assert_eq(&text(&render(&again, &[closed_incident()], NOW, &plain())));
}

#[test]
fn answers() {
    let verifying = crate::model::Incident { attempts: vec![attempt(1, 5, None, "")], ..open_incident() };
    let tell_only = Explanation { plan: Plan::default(), next_action: None, gates: vec![], ..explanation() };
    let stopped = Refusal {
        gate: Gate::Maintenance,
        text: "worker mail is paused by ada (deploy)".into(),
        until: None,
        setting: None,
    };
    let busy = [(Condition::CpuHigh, Evidence::text("CPU at 97 %"))].into();
    let table = [
        Explanation { incident: Some(verifying), ..explanation() },
        Explanation {
            gates: vec![GateView { gate: Gate::Maintenance, refusal: Some(stopped) }],
            cooldown_left: None,
            ..explanation()
        },
        Explanation {
            gates: vec![GateView { gate: Gate::Storm, refusal: None }],
            cooldown_until: None,
            ..explanation()
        },
        tell_only,
        Explanation { next_action: None, attempts_left: 0, ..explanation() },
        Explanation {
            health: Health::Stopped,
            standing: "stopped on purpose: the journal shows a stop job".into(),
            ..well()
        },
        Explanation { health: Health::Stopped, standing: "taken along by BindsTo=db.service".into(), ..well() },
        Explanation { health: Health::Stopped, standing: "stopped on purpose: the unit is masked".into(), ..well() },
        Explanation { health: Health::Unknown, because: "not looked at yet".into(), ..well() },
        Explanation { health: Health::Unknown, because: "activating (start-pre)".into(), ..well() },
        Explanation {
            health: Health::Unknown,
            because: "systemd does not know this unit (not found)".into(),
            ..well()
        },
        Explanation { health: Health::Warning, conditions: busy, ..well() },
        Explanation { health: Health::Dead, because: "unit failed".into(), ..well() },
    ];
    let answers: Vec<String> = table
        .iter()
        .map(|explanation| {
            let lines = render(explanation, &[], NOW, &plain());
            let from = lines.iter().position(|line| line == "Answer").unwrap() + 1;
            lines[from..].iter().take_while(|line| !line.is_empty()).map(|l| l.trim()).collect::<Vec<_>>().join(" ")
        })
        .collect();
    expect![[r#"
        * restart is done; it is not well yet.
        ! restart is held back by gate maintenance: worker mail is paused by ada (deploy).
        * restart is due now.
        ! Nothing is planned for what it has: it is told only.
        ! No action is left: pause between attempts, 4 s left.
        o It is left alone: stopped on purpose: the journal shows a stop job. Start it (systemctl start) and it is watched again.
        o It is left alone: taken along by BindsTo=db.service. Look at db.service first. Start it (systemctl start) and it is watched again.
        o It is left alone: stopped on purpose: the unit is masked. First systemctl unmask task@7.service. Start it (systemctl start) and it is watched again.
        - It cannot be seen, so it is not judged and nothing is done: not looked at yet.
        - It is being started: activating (start-pre). One that takes longer than start_timeout counts as stuck.
        - It cannot be seen, so it is not judged and nothing is done: systemd does not know this unit (not found). Its name in the configuration is wrong, or its unit file is not installed.
        ! It works, with a complaint (cpu_high); that alone earns no action, it is told only.
        ! It is dead and has no incident yet: unit failed."#]].assert_eq(&text(&answers));
}

#[test]
fn a_crash_loop_says_what_to_change() {
    let conditions = [
        (Condition::Dead, Evidence::text("unit failed: exit code 3")),
        (Condition::CrashLoop, Evidence::text("7 failures within 10 min")),
    ];
    let looping = Explanation {
        conditions: conditions.clone().into(),
        recent_failures: (0..7).rev().map(|n| ago(30 * n).wall).collect(),
        restarts: [("systemd".to_string(), 12), ("unitmedic".to_string(), 3)].into(),
        crash_loop_window: Duration::from_secs(600),
        ..explanation()
    };
    let lines = render(&looping, &[], NOW, &plain());
    let from = lines.iter().position(|line| line == "Restarts").unwrap();
    expect![[r#"
        Restarts
            restarts since it is watched: 12 by systemd, 3 by unitmedic
          x 7 failures in the last 10 min, the last at 18:18:00, 18:18:30, 18:19:00, 18:19:30, 18:20:00; 5 within 10 min make a crash loop
            worker.mail.crash_loop_failures = 5, the default
            it ended: unit failed: exit code 3
            it ended: unit failed: killed by signal SIGKILL (9)
          * restarting does not mend the cause; its own words: journalctl -u mail@2.service -n 50
          * to leave it alone while you look: unitmedic pause mail --for 1h
          * most restarts are systemd's own (Restart= in its unit): RestartSec= slows them down

        Settings that decide (worker.mail)
            backoff               4 s    /etc/unitmedic/unitmedic.toml:12
            crash_loop_failures   5      default
            max_restart_attempts  3      /etc/unitmedic/conf.d/mail.toml:3
            restart_cooldown      5 min  default"#]].assert_eq(&text(&lines[from..]));
}

#[test]
fn lines_fit_the_terminal() {
    let mut incident = open_incident();
    incident.attempts.push(attempt(2, 5, Some(Outcome::InDoubt), "unitmedic ended between intent and outcome"));
    let explanation = Explanation { incident: Some(incident), ..explanation() };
    for width in [60, 80, 120] {
        let lines = render(&explanation, &[closed_incident()], NOW, &terminal(width));
        let prose = lines.iter().take_while(|line| !line.starts_with("Settings that decide"));
        assert!(prose.clone().all(|line| columns(line) <= width), "{width}:\n{}", text(&lines));
    }
}

#[test]
fn what_its_log_said_before_it_is_told() {
    use crate::model::{IncidentPattern, PatternId};
    let pattern = IncidentPattern { id: PatternId(0x1a2b), template: "no route to <*>".into() };
    let incident = crate::model::Incident { pattern: Some(pattern), ..open_incident() };
    let said = "its log before: no route to <*> (pattern 0000000000001a2b)";
    let explanation = Explanation { incident: Some(incident), ..explanation() };
    let text = text(&render(&explanation, &[], NOW, &plain()));
    assert!(text.contains(said), "{text}");
}
