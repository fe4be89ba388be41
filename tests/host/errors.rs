//! Errors that instances write to a real journal, as the daemon counts them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use unitmedic::model::pattern::PatternsView;

use crate::fixture::{DAEMON, Host, Setup, ensure, until};
use crate::testhost::{Failure, Place};

/// Counts come every ten seconds.
const ROUNDS: Duration = Duration::from_secs(45);

/// Runs the lines of shell that are put into its pipe. It writes by itself: of a process that has ended journald does
/// not know the unit any more. It keeps the pipe open: a line that is put there between two openings would be lost.
const TALKER: &str = "[Service]\nExecStartPre=sh -c 'rm -f /run/say-%i; mkfifo /run/say-%i'\n\
                      ExecStart=sh -c 'exec 3<>/run/say-%i; while read -r script <&3; do eval \"$$script\"; done'\n\
                      Restart=always\nLogRateLimitIntervalSec=0\n";

fn host(name: &str, settings: &str) -> Result<Host, Failure> {
    let journald = "[Journal]\nStorage=volatile\nRuntimeMaxUse=200M\nRateLimitIntervalSec=0\n";
    Setup::new(name)
        .file("/etc/systemd/journald.conf.d/test.conf", journald)
        .worker_with("talk", "talk@.service", TALKER, settings)
        .starting("talk@1.service")
        .starting("talk@2.service")
        .start()
}

/// Makes an instance run a line of shell.
fn say(host: &Host, instance: u32, script: &str) -> Result<(), Failure> {
    let pipe = format!("/run/say-{instance}");
    host.run_for(&["sh", "-c", &format!("cat > {pipe}")], format!("{script}\n").as_bytes(), Duration::from_secs(20))?
        .success()?;
    Ok(())
}

/// What was counted in all, by unit, and the gaps, from the inputs that the daemon recorded.
fn told(host: &Host) -> Result<(BTreeMap<String, u64>, Vec<String>), Failure> {
    let lines = host.sh("grep -h '\"input\":\"errors\"' /var/lib/unitmedic/inputs/*.jsonl || true")?;
    let (mut counts, mut gaps) = (BTreeMap::new(), Vec::new());
    for line in lines.lines() {
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let input = &line["input"];
        for count in input["counts"].as_array().into_iter().flatten() {
            let unit = count[0].as_str().unwrap_or_default().to_owned();
            *counts.entry(unit).or_default() += count[1].as_u64().unwrap_or_default();
        }
        gaps.extend(input["gap"].as_str().map(str::to_owned));
    }
    Ok((counts, gaps))
}

fn wait_counts(host: &Host, want: &[(&str, u64)]) -> Result<(), Failure> {
    let want: BTreeMap<String, u64> = want.iter().map(|(unit, count)| (unit.to_string(), *count)).collect();
    until("the counts", ROUNDS, || match told(host)? {
        (counts, _) if counts == want => Ok(()),
        other => Err(Failure::new(format!("{other:?}, not {want:?}"))),
    })
}

/// In one test: each round takes ten seconds.
#[test]
fn errors_of_each_instance_are_counted() -> Result<(), Failure> {
    let host = host("errors", "error_match = '(?i)panicked'")?;
    say(&host, 1, "for n in 1 2 3 4 5; do echo '<3>oops'; done; echo fine; echo '<4>warning'")?;
    say(&host, 2, "echo thread main panicked; echo '<2>bad'")?;
    // A megabyte in one entry, and bytes that are no text.
    say(&host, 2, "printf '<3>%01000000d\\n' 7; printf '<3>\\001\\377\\n'")?;
    // Nobody is blamed for what others say of it.
    host.sh("echo talk@1.service failed | systemd-cat -p err; printf 'MESSAGE=x\\nPRIORITY=3\\n_SYSTEMD_UNIT=talk@1.service\\nUNIT=talk@1.service\\n' | logger --journald")?;
    // systemd says that it failed; that is no error of its own.
    host.sh("systemctl kill --signal=KILL --kill-whom=main talk@1.service")?;
    host.wait_active("talk@1.service", ROUNDS)?;
    // Nor is it when its program cannot be executed, which systemd says in its place.
    host.write(
        "/etc/systemd/system/talk@3.service.d/broken.conf",
        "[Service]\nExecStartPre=\nExecStart=\nExecStart=/etc/hostname\nRestart=no\n",
    )?;
    host.ctl(&["daemon-reload"])?;
    host.ctl(&["start", "talk@3.service"])?;
    // Whose it is journald may not find out: the process is gone at once.
    until("systemd says so", ROUNDS, || match host.journal(&["-p", "err"])? {
        said if said.contains("talk@3.service: Failed at step EXEC") => Ok(()),
        said => Err(Failure::new(said)),
    })?;
    host.ctl(&["stop", "talk@3.service"])?;
    wait_counts(&host, &[("talk@1.service", 5), ("talk@2.service", 4)])?;

    host.ctl(&["restart", "systemd-journald.service"])?;
    until("it can be written to again", ROUNDS, || say(&host, 2, "echo '<3>again'"))?;
    wait_counts(&host, &[("talk@1.service", 5), ("talk@2.service", 5)])?;

    // What is written while we are away is counted afterwards.
    host.ctl(&["stop", DAEMON])?;
    say(&host, 2, "echo '<3>unseen'")?;
    host.start_daemon()?;
    wait_counts(&host, &[("talk@1.service", 5), ("talk@2.service", 6)])?;
    let (_, gaps) = told(&host)?;
    ensure(gaps.is_empty(), || format!("{gaps:?}"))?;

    // A journal that was rotated away is noticed.
    host.ctl(&["stop", DAEMON])?;
    host.sh("journalctl --quiet --rotate && journalctl --quiet --vacuum-size=1 && journalctl --quiet --rotate && journalctl --quiet --vacuum-size=1")?;
    host.start_daemon()?;
    until("the gap", ROUNDS, || match told(&host)? {
        (_, gaps) if gaps.iter().any(|gap| gap.contains("rotated away")) => Ok(()),
        other => Err(Failure::new(format!("{other:?}"))),
    })?;
    host.done()
}

#[test]
fn a_flood_of_errors_is_bounded() -> Result<(), Failure> {
    let host = host("flood", "")?;
    say(&host, 1, "yes '<3>oops'")?;
    until("the gap", Duration::from_secs(90), || match told(&host)? {
        (_, gaps) if gaps.iter().any(|gap| gap.contains("flooded")) => Ok(()),
        other => Err(Failure::new(format!("{other:?}"))),
    })?;
    ensure(host.status()?.ready, || "the daemon is not ready".into())?;
    let usage = host.property(DAEMON, "CPUUsageNSec")?;
    eprintln!("CPU of the daemon and its children until the flood was seen: {usage} ns");
    host.ctl(&["stop", "talk@1.service"])?;
    // Over, and what comes then is counted: a round without a gap.
    say(&host, 2, "echo '<3>after'")?;
    until("a round without a gap", Duration::from_secs(60), || {
        let lines = host.sh("grep -h '\"input\":\"errors\"' /var/lib/unitmedic/inputs/*.jsonl | tail -n 1")?;
        if lines.contains("flooded") { Err(Failure::new(lines)) } else { Ok(()) }
    })?;
    host.done()
}

/// A word that must not get out of the journal.
const SECRET: &str = "swordfish";

/// The pattern of which this is a part of the template.
fn pattern(host: &Host, words: &str) -> Result<String, Failure> {
    let view: PatternsView = host.json(&["patterns", "--json"])?;
    let found = view.patterns.iter().find(|pattern| pattern.template.contains(words));
    found.map(|pattern| pattern.id.to_string()).ok_or_else(|| Failure::new(format!("{view:?}")))
}

#[test]
fn what_a_worker_says_before_it_dies_is_named() -> Result<(), Failure> {
    let unit = "talk@1.service";
    let mortal = TALKER.replace("Restart=always", "Restart=no");
    let host = Setup::new("patterns").worker_with("talk", "talk@.service", &mortal, "").starting(unit).start()?;
    for number in 1..=3 {
        let last = format!("login of job {number} refused: password={SECRET} at amqp://me:{SECRET}@10.0.0.{number}/");
        say(&host, 1, &format!("echo '<3>{last}'; exit 3"))?;
        host.wait_recovered(unit, number)?;
        let incident = until("the pattern is known", ROUNDS, || match host.incidents(unit)?.remove(0) {
            incident if incident.pattern.is_some() => Ok(incident),
            incident => Err(Failure::new(format!("{incident:#?}"))),
        })?;
        let said = incident.pattern.map(|pattern| pattern.template).unwrap_or_default();
        ensure(said.starts_with("login of job <*> refused: password=<*>"), || said)?;
        // Beyond restart_cooldown another failure is another incident.
        std::thread::sleep(Duration::from_secs(3));
    }
    let id = pattern(&host, "login of job <*> refused")?;
    let named = format!("its log before: login of job <*> refused: password=<*> at <*> (pattern {id})");
    let id = id.as_str();
    for (command, words) in [
        (&["explain", unit][..], named.as_str()),
        (&["incidents", "show", "1"], &named),
        (&["patterns"], id),
        (&["patterns", id], "3 lines"),
        (&["patterns", "--worker", "talk"], id),
    ] {
        let text = host.unitmedic(command)?.success()?;
        ensure(text.contains(words), || format!("{command:?}: {text}"))?;
    }
    let (_, metrics) = host.http("/metrics")?;
    ensure(metrics.contains("unitmedic_pattern_lines_total{result=\"learned\"} 3\n"), || metrics.clone())?;
    ensure(metrics.contains("unitmedic_patterns 1\n"), || metrics.clone())?;

    // It is known over a restart, and has its name.
    host.ctl(&["stop", DAEMON])?;
    host.start_daemon()?;
    ensure(pattern(&host, "login of job <*> refused")? == id, || "it has another id".into())?;

    let answers = ["patterns", "explain", "incidents"].map(|command| match command {
        "explain" => vec!["explain", "--json", unit],
        command => vec![command, "--json"],
    });
    for answer in answers {
        let text = host.unitmedic(&answer)?.success()?;
        ensure(!text.contains(SECRET), || text.clone())?;
    }
    ensure(!metrics.contains(SECRET), || metrics.clone())?;
    host.ctl(&["stop", DAEMON])?;
    let found = host.sh(&format!("grep -rl {SECRET} /var/lib/unitmedic /run/unitmedic || true"))?;
    ensure(found.trim().is_empty(), || found.clone())?;
    let own = host.journal(&["_SYSTEMD_UNIT=unitmedic.service"])?;
    ensure(!own.contains(SECRET), || own.clone())?;
    host.done()
}
