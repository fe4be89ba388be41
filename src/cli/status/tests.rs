use expect_test::expect;

use super::*;
use crate::cli::fixtures::*;
use crate::model::Health;
use crate::model::input::Pause;
use crate::model::signal::{BeatSource, QueueDepth, QueueName};
use crate::model::status::{LastBeat, QueueStatus, StateDisk};
use crate::model::usage::{DiskUsage, OpenFiles};
use crate::model::{Mono, Usage};
use crate::views::look::columns;

#[test]
fn sick_ones_in_detail_and_well_ones_as_one_line() {
    expect![[r#"
        ✖ 1 sick, 1 open incident  3 workers, 1004 instances; unitmedic 0.1.0, 18:20:00

           WORKER / UNIT     HEALTH    SERVING             CPU  MEMORY  UP
        ✖  mail (critical)   critical  2 of 3, min 3      50 %  96 MiB
        ✖    mail@2.service  dead                            –       –   –
               #42: unit failed: killed by signal SIGKILL (9)
               → waiting: pause between attempts, 4 s left
             and 2 healthy
        ✔  task              healthy   1000 of 1000   250 CPUs  47 GiB
        ◌  cron              stopped   0 of 0                –       –
               stopped on purpose: an operator's stop job"#]]
    .assert_eq(&text(&render(&status(), &[], &terminal(80))));
}

#[test]
fn all_is_well_only_when_nothing_is_worth_a_look() {
    let first_line = |health: Health, instances: bool| {
        let mut status = status();
        status.open_incidents = 0;
        status.workers.retain(|worker| worker.worker.as_str() == "mail");
        let worker = &mut status.workers[0];
        worker.health = health;
        worker.instances.iter_mut().for_each(|one| (one.health, one.incident) = (health, None));
        worker.instances.truncate(if instances { 2 } else { 0 });
        let lines = render(&status, &[], &plain());
        lines[0].split("  ").next().unwrap_or_default().to_string()
    };
    assert_eq!(first_line(Health::Healthy, true), "+ all well");
    assert_eq!(first_line(Health::Stopped, true), "+ all well");
    assert_eq!(first_line(Health::Warning, true), "! none sick, 2 warning");
    assert_eq!(first_line(Health::Unknown, false), "! none sick, 1 unknown");
}

#[test]
fn plain_for_a_pipe() {
    expect![[r#"
        x 1 sick, 1 open incident  3 workers, 1004 instances; unitmedic 0.1.0, 18:20:00

           WORKER / UNIT     HEALTH    SERVING             CPU  MEMORY  UP
        x  mail (critical)   critical  2 of 3, min 3      50 %  96 MiB
        x    mail@2.service  dead                            -       -   -
               #42: unit failed: killed by signal SIGKILL (9)
               -> waiting: pause between attempts, 4 s left
             and 2 healthy
        +  task              healthy   1000 of 1000   250 CPUs  47 GiB
        o  cron              stopped   0 of 0                -       -
               stopped on purpose: an operator's stop job"#]]
    .assert_eq(&text(&render(&status(), &[], &plain())));
}

#[test]
fn named_ones_in_detail() {
    let names = ["cron".to_string(), "mail@1".to_string()];
    let status = select(status(), &names).unwrap();
    expect![[r#"
        ✖ 1 sick, 1 open incident  2 workers, 4 instances; unitmedic 0.1.0, 18:20:00

           WORKER / UNIT            HEALTH    SERVING         CPU            MEMORY         UP
        ✖  mail (critical)          critical  2 of 3, min 3  50 %            96 MiB
        ✔    mail@1.service         healthy                  25 %  48 MiB / 512 MiB  1 h 2 min
             and 1 healthy, 1 dead
        ◌  cron                     stopped   0 of 0            –                 –
        ◌    cron.service           stopped                     –                 –          –
               stopped on purpose: an operator's stop job"#]]
    .assert_eq(&text(&render(&status, &names, &terminal(100))));
}

#[test]
fn a_disk_with_little_room_is_told_and_one_with_room_is_not() {
    let usage = DiskUsage { total_bytes: 100, available_bytes: 4, ..DiskUsage::default() };
    let disk = |warning: Option<&str>| {
        let warning = warning.map(str::to_owned);
        Some(StateDisk { path: "/s".into(), usage, warning, full_at: None })
    };
    let lines = |disk| render(&Status { disk, ..status() }, &[], &plain());
    assert_eq!(lines(disk(Some("the disk of /s has 4 B left")))[1], "! the disk of /s has 4 B left");
    assert_eq!(lines(disk(None)), lines(None));
}

#[test]
fn signals_of_work_in_detail() {
    let mut status = status();
    let queue = |name: &str, depth, unknown: Option<&str>| QueueStatus {
        queue: QueueName { vhost: None, name: name.into() },
        depth,
        unknown: unknown.map(str::to_owned),
    };
    let depth = QueueDepth { ready: 120, consumers: 1, unacknowledged: Some(5), ..QueueDepth::default() };
    status.workers[0].queues = vec![
        queue("mail", Some(depth), None),
        queue("late", None, None),
        queue("lost", None, Some("the broker is away: connection refused")),
    ];
    let first = &mut status.workers[0].instances[0];
    first.scaled = true;
    first.heartbeat = Some(LastBeat { at: ago(3).wall, source: BeatSource::Socket });
    first.errors_per_minute = Some(0.2);
    let mut usage = Usage::gap(first.unit.clone(), Mono(1));
    (usage.tasks, usage.tasks_max) = (Some(12), Some(512));
    usage.open_files = Some(OpenFiles { count: 90, limit: 1024 });
    first.usage = Some(usage);
    let named = ["mail".to_string()];
    expect![[r#"
        ✖ 1 sick, 1 open incident  1 worker, 3 instances; unitmedic 0.1.0, 18:20:00

           WORKER / UNIT     HEALTH    SERVING         CPU            MEMORY         UP
        ✖  mail (critical)   critical  2 of 3, min 3  50 %            96 MiB
               queue mail: 120 ready, 1 consumer, 5 unacknowledged
               queue late: not read yet
               ▲ queue lost cannot be read: the broker is away: connection refused
        ✔    mail@1.service  healthy                  25 %  48 MiB / 512 MiB  1 h 2 min
               started by unitmedic, last sign of life 3 s ago (socket), 0.2 errors per minute, 12 of 512
               tasks, 90 of 1024 files open
        ✖    mail@2.service  dead                        –                 –          –
               #42: unit failed: killed by signal SIGKILL (9)
               → waiting: pause between attempts, 4 s left
        ✔    mail@3.service  healthy                  25 %  48 MiB / 512 MiB  1 h 2 min"#]]
    .assert_eq(&text(&render(&select(status.clone(), &named).unwrap(), &named, &terminal(100))));
    expect![[r#"
        x 1 sick, 1 open incident  3 workers, 1004 instances; unitmedic 0.1.0, 18:20:00

           WORKER / UNIT     HEALTH    SERVING             CPU  MEMORY  UP
        x  mail (critical)   critical  2 of 3, min 3      50 %  96 MiB
               ! queue lost cannot be read: the broker is away: connection refused
        x    mail@2.service  dead                            -       -   -
               #42: unit failed: killed by signal SIGKILL (9)
               -> waiting: pause between attempts, 4 s left
             and 2 healthy
        +  task              healthy   1000 of 1000   250 CPUs  47 GiB
        o  cron              stopped   0 of 0                -       -
               stopped on purpose: an operator's stop job"#]]
    .assert_eq(&text(&render(&status, &[], &plain())));
}

#[test]
fn what_holds_it_back_stands_on_top() {
    let mut status = status();
    status.workers.clear();
    status.ready = false;
    status.not_ready = Some("no connection to the bus".into());
    status.dry_run = true;
    status.held = true;
    status.storm = true;
    status.watch_only = Some("three crashes within ten minutes".into());
    let pause = |name: Option<&str>, until| Pause {
        worker: name.map(worker),
        until,
        since: ago(60).wall,
        who: "ada".into(),
        reason: "deploy".into(),
    };
    status.pauses = vec![pause(Some("mail"), Some(NOW.wall_of(in_seconds(7200)))), pause(None, None)];
    expect![[r#"
        ✖ not ready  0 workers, 0 instances; unitmedic 0.1.0, 18:20:00
        ✖ not ready: no connection to the bus
        ▲ watches only and does nothing: three crashes within ten minutes
        ▲ the hold file is there: nothing is done until it is removed
        ▲ dry run: decides and tells, but does nothing
        ▲ storm breaker open: so many are sick at once that running instances are left alone
        ◌ mail is paused until 20:20:00 (in 2 h) by ada: deploy
        ◌ everything is paused until resumed, since 18:19:00 by ada: deploy

        No worker is configured: nothing is touched. `unitmedic discover` proposes a configuration."#]]
    .assert_eq(&text(&render(&status, &[], &terminal(100))));
}

#[test]
fn many_sick_instances_become_a_number() {
    let mut status = status();
    for instance in &mut status.workers[1].instances[..400] {
        instance.health = Health::Dead;
        instance.because = "unit failed: exit code 1".into();
    }
    let lines = render(&status, &[], &terminal(100));
    assert_eq!(lines.len(), 2 + 1 + 5 + 1 + 10 * 2 + 1 + 2, "{}", text(&lines));
    assert!(text(&lines).contains("and 600 healthy, 390 dead"), "{}", text(&lines));
}

#[test]
fn lines_fit_the_terminal() {
    for width in [80, 100, 132] {
        for line in render(&status(), &[], &terminal(width)) {
            assert!(columns(&line) <= width, "{width}: {line}");
        }
    }
}

#[test]
fn a_name_that_nothing_bears_is_an_error() {
    let error = select(status(), &["mail".into(), "taks".into()]).unwrap_err();
    assert_eq!(error.to_string(), "no worker or unit \"taks\"; did you mean task?");
    assert!(select(status(), &["mail@2.service".into()]).is_ok());
}
