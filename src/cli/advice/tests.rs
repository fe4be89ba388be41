use std::fs;

use expect_test::expect;

use super::*;
use crate::cli::fixtures::{plain, terminal};
use crate::config::{self, Mode, Source, UserDirs};
use crate::learn::advice::fixtures::{SINCE, WORKERS, everything};
use crate::model::Settings;
use crate::model::advice::ProposalKind;

/// The configuration of [`WORKERS`].
fn main_file() -> String {
    let worker = |(name, more): &(&str, &str)| format!("[worker.{name}]\nunit = \"{name}@.service\"\n{more}\n");
    WORKERS.iter().map(worker).collect()
}

/// A directory of configuration, and all that is advised for it.
fn configured() -> (tempfile::TempDir, Source, Settings, Advice) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("conf.d")).unwrap();
    fs::write(at("unitmedic.toml"), main_file()).unwrap();
    let dirs = UserDirs { config: at("c"), state: at("s"), runtime: at("r") };
    let source = Source { main: at("unitmedic.toml"), fragments_dir: Some(at("conf.d")), mode: Mode::User(dirs) };
    let present = config::load(&source).unwrap();
    let history = crate::learn::advice::fixtures::History { settings: present.clone(), ..everything() };
    let until = Wall(SINCE.0 + 30 * 86_400_000_000);
    let incidents = history.incidents.len();
    let advice = Advice { since: SINCE, until, incidents, cut: false, proposals: history.advise() };
    (dir, source, present, advice)
}

#[test]
fn the_loader_takes_every_kind_of_proposal_alone_and_all_in_one_file() {
    let (dir, source, present, advice) = configured();
    let file = dir.path().join("conf.d/zz-advice.toml");
    let mut together = String::new();
    for kind in ProposalKind::ALL {
        assert!(advice.proposals.iter().any(|one| one.kind == *kind), "{kind}");
    }
    for proposal in advice.proposals.iter().filter(|one| !one.toml.is_empty()) {
        fs::write(&file, &proposal.toml).unwrap();
        let with = config::load(&source).unwrap_or_else(|errors| panic!("{}{errors}", proposal.toml));
        let name = &proposal.worker;
        assert_ne!(with.workers[name], present.workers[name], "{}", proposal.toml);
        let others = |settings: &Settings| {
            settings.workers.iter().filter(|(other, _)| *other != name).map(|(_, one)| one.clone()).collect::<Vec<_>>()
        };
        assert_eq!(others(&with), others(&present), "{}", proposal.toml);
        together.push_str(&proposal.toml);
    }
    fs::write(&file, &together).unwrap();
    config::load(&source).unwrap_or_else(|errors| panic!("{together}{errors}"));
}

#[test]
fn what_is_set_already_is_named_with_its_place() {
    let (dir, _, _, advice) = configured();
    let of = |name: &str| advice.proposals.iter().find(|one| one.worker.as_str() == name).unwrap();
    let line = main_file().lines().position(|line| line.starts_with("backoff")).unwrap() + 1;
    assert_eq!(of("patient").set_at, [format!("{}:{line}", dir.path().join("unitmedic.toml").display())]);
    assert!(of("needs-db").set_at.is_empty(), "it has its default");
}

#[test]
fn advice_is_shown_with_its_evidence_and_the_change() {
    let (_dir, _, _, mut advice) = configured();
    let shown = ["cache", "drains", "first", "needs-db"];
    advice.proposals.retain(|one| shown.contains(&one.worker.as_str()));
    advice.proposals[1].set_at.push("/etc/unitmedic/unitmedic.toml:12".into());
    expect![[r#"
        4 proposals, the surest first, by 422 incidents in 30 d

        1. memory_threshold of cache cries wolf (sure)
           seen   12 of 13 incidents of memory_high in 30 d went away by themselves or were marked false: #1, #5, #9 and 9 more
                  those reached at most 88 %; the real ones (#49) at least 97 %
           gain   12 false alarms fewer in 30 d; what is over 93 % is still seen
           change worker.cache.memory_threshold = 93

        2. drains of drains end soon or never (sure)
           seen   6 drains ended by themselves in 30 d, the slowest after 3.2 s
                  6 did not end within 30s: #107, #113, #119 and 3 more
           gain   23 s less for each that does not end; those that end have twice their time
           change worker.drains.drain_timeout = "7s"
                  set now at /etc/unitmedic/unitmedic.toml:12

        3. first and second fall together (sure)
           seen   when first failed, second failed within 1 min of it 8 of 8 times, where chance would have it hardly once: #407, #409, #411 and 5 more
                  first fails first, 7.0 s before second (median; 8 of 8 times)
           gain   8 failures in 30 d have one cause: look for what they share (a broker, a database, a disk, a timer). Where one needs the other, say so in its unit (Requires= and After=, or BindsTo=)

        4. attempts of needs-db follow too early on each other (likely)
           seen   in 7 incidents in 30 d the same action helped only after the attempts had been used up and somebody had been called: #50, #53, #56 and 4 more
                  the one that helped came 5 min 36 s after the first (median); 21 before it were in vain
           gain   with the pauses spread over that time nobody is called for nothing; a second try comes 1 min 58 s later
           change worker.needs-db.backoff = "2min"

        None of it is in force. To use a change:
          1. put its lines into /etc/unitmedic/conf.d/zz-advice.toml, at the top, before any [table]
          2. unitmedic check-config && systemctl reload unitmedic
        What changes of recovery would have done with what was recorded: unitmedic strategies propose
    "#]].assert_eq(&(render(&advice, FILE, advice.until, &plain()).join("\n") + "\n"));
}

#[test]
fn without_advice_there_is_one_calm_line() {
    let until = Wall(SINCE.0 + 30 * 86_400_000_000);
    let none = Advice { since: SINCE, until, incidents: 41, cut: false, proposals: vec![] };
    let cut = Advice { incidents: 5000, cut: true, ..none.clone() };
    let lines: Vec<String> = [none, cut].iter().flat_map(|one| render(one, FILE, until, &plain())).collect();
    assert_eq!(
        lines,
        [
            "Nothing to change, by 41 incidents in 30 d.",
            "Nothing to change, by the last 5000 incidents, since 2026-11-18 11:06."
        ]
    );
}

#[test]
fn nothing_but_toml_is_wider_than_the_terminal() {
    let (_dir, _, _, advice) = configured();
    for width in [72, 80, 200] {
        let is_text =
            |line: &&String| !line.contains("worker.") && !line.contains("conf.d") && !line.contains("propose");
        for line in render(&advice, FILE, advice.until, &terminal(width)).iter().filter(is_text) {
            assert!(crate::views::look::columns(line) <= width, "{width}: {line}");
        }
    }
}
