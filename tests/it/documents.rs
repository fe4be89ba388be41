//! What the documentation names is there: metrics, commands and their options, files, headings.

use std::collections::BTreeSet;
use std::fs;

use clap::CommandFactory;
use unitmedic::cli::Cli;
use unitmedic::views::metrics::{ALL, Kind, families};

use crate::complain;
use crate::repository::{Tracked, tracked};
use crate::source::root;

/// Paths that begin like this are files of this repository.
const OUR_DIRECTORIES: &[&str] =
    &["alerts/", "benches/", "docs/", "examples/", "grafana/", "packaging/", "scripts/", "src/", "systemd/", "tests/"];

#[test]
fn metrics_that_are_named_exist() {
    let known: BTreeSet<String> =
        ALL.iter().chain(families::catalog::ALL).flat_map(|metric| series_names(metric.name, metric.kind)).collect();
    complain(
        naming_metrics().iter().flat_map(|file| {
            unknown_metrics(&file.text, &known).into_iter().map(|name| format!("{}: {name}", file.path))
        }),
    );
}

#[test]
fn commands_that_are_named_exist() {
    complain(markdown().iter().flat_map(|file| {
        commands_in(&file.text)
            .into_iter()
            .filter_map(|(line, command)| wrong_command(&command).map(|why| format!("{}:{line}: {why}", file.path)))
    }));
}

#[test]
fn commands_that_the_program_advises_exist() {
    let sources = tracked().into_iter().filter(|file| file.path.starts_with("src/") && file.path.ends_with(".rs"));
    complain(sources.flat_map(|file| {
        let wrong: Vec<String> = advised(&file.text)
            .into_iter()
            .filter_map(|command| wrong_command(&command).map(|why| format!("{}: {why}", file.path)))
            .collect();
        wrong
    }));
}

#[test]
fn links_lead_somewhere() {
    let all = markdown();
    complain(all.iter().flat_map(|file| dead_links(file, &all)));
}

#[test]
fn files_that_are_named_exist() {
    complain(markdown().iter().flat_map(missing_files));
}

fn markdown() -> Vec<Tracked> {
    let found: Vec<Tracked> = tracked().into_iter().filter(|file| file.path.ends_with(".md")).collect();
    assert!(found.iter().any(|file| file.path == "ARCHITECTURE.md"), "the files are not found");
    found
}

/// Documents, alerts and dashboards.
fn naming_metrics() -> Vec<Tracked> {
    let of_metrics = |path: &str| path.ends_with(".md") || path.starts_with("alerts/") || path.starts_with("grafana/");
    tracked().into_iter().filter(|file| of_metrics(&file.path)).collect()
}

/// A family's name, and those of the series of a histogram.
fn series_names(name: &str, kind: Kind) -> Vec<String> {
    let suffixes: &[&str] = if kind == Kind::Histogram { &["", "_bucket", "_sum", "_count"] } else { &[""] };
    suffixes.iter().map(|suffix| format!("{name}{suffix}")).collect()
}

fn unknown_metrics(text: &str, families: &BTreeSet<String>) -> Vec<String> {
    // What a recording rule makes has colons around it: `worker:unitmedic_x:ratio1h`.
    let in_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let named = text.match_indices("unitmedic_").filter(|(at, _)| !text[..*at].ends_with(in_name)).map(|(at, _)| {
        let end = text[at..].find(|c| !in_name(c)).unwrap_or(text.len() - at);
        &text[at..at + end]
    });
    // `unitmedic_unit_` names all that begin so.
    let known =
        |name: &str| families.contains(name) || (name.ends_with('_') && families.iter().any(|f| f.starts_with(name)));
    // The file of a package has its version there.
    // A file of a release, or what a generator makes of the API.
    let is_package = |name: &str| {
        let rest = name.trim_start_matches("unitmedic_");
        rest == "client" || rest.starts_with(|c: char| c.is_ascii_digit())
    };
    named.filter(|name| !known(name) && !is_package(name)).map(str::to_owned).collect()
}

/// The command lines of a document with their line numbers: behind `$ ` in blocks, and in code spans.
fn commands_in(text: &str) -> Vec<(usize, String)> {
    let (mut fenced, mut found) = (false, Vec::new());
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            let typed = line.trim_start().strip_prefix("$ ").or_else(|| line.trim_start().strip_prefix("# "));
            found.extend(typed.into_iter().flat_map(ours).map(|command| (number + 1, command)));
        } else {
            found.extend(line.split('`').skip(1).step_by(2).flat_map(ours).map(|command| (number + 1, command)));
        }
    }
    found
}

/// The parts of a shell line that call the program, without its name.
fn ours(line: &str) -> Vec<String> {
    let parts = line.split([';', '|', '&', '<', '>', '(', ')', '#']).map(str::trim);
    let bare = |part: &str| part.strip_prefix("sudo ").unwrap_or(part).trim_start().to_owned();
    parts.map(bare).filter_map(|part| part.strip_prefix("unitmedic ").map(str::to_owned)).collect()
}

/// Commands in back quotes in the program's own words.
fn advised(text: &str) -> Vec<String> {
    text.match_indices("`unitmedic ")
        .filter_map(|(at, _)| {
            let rest = &text[at + "`unitmedic ".len()..];
            rest.lines().next()?.split_once('`').map(|(command, _)| command.to_owned())
        })
        .collect()
}

/// Why there is no such command line; nothing is parsed as a value, since documents write `WORKER` and `SPAN`.
fn wrong_command(line: &str) -> Option<String> {
    let mut command = Cli::command();
    command.build();
    let mut here = &command;
    for word in line.split_whitespace() {
        let name = word.split('=').next().unwrap_or_default().trim_matches(['"', ',', '.', '…']);
        if name.starts_with("--") {
            let known = here
                .get_arguments()
                .any(|argument| argument.get_long_and_visible_aliases().is_some_and(|all| all.contains(&&name[2..])));
            if !known && name != "--help" && name != "--version" {
                return Some(format!("`unitmedic {line}`: no option {name}"));
            }
        } else if here.has_subcommands() && !name.is_empty() {
            match here.find_subcommand(name) {
                Some(found) => here = found,
                // A placeholder: `unitmedic COMMAND`, or a value of a command that also has commands.
                None if name.chars().all(|c| c.is_ascii_uppercase() || c == '|')
                    || here.get_positionals().count() > 0 => {}
                None if std::ptr::eq(here, &command) => {
                    return Some(format!("`unitmedic {line}`: no command {name}"));
                }
                None => {}
            }
        }
    }
    None
}

fn dead_links(file: &Tracked, all: &[Tracked]) -> Vec<String> {
    let directory = file.path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let mut dead = Vec::new();
    for (at, _) in file.text.match_indices("](") {
        let target = file.text[at + 2..].split([')', ' ', '\n']).next().unwrap_or_default();
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        let path = if path.is_empty() { file.path.clone() } else { resolve(directory, path) };
        let there = root().join(&path).exists();
        let heading = all.iter().find(|other| other.path == path).is_none_or(|other| {
            anchor.is_empty()
                || other.text.lines().filter(|line| line.starts_with('#')).any(|line| slug(line) == anchor)
        });
        if !there || !heading {
            dead.push(format!("{}: {target} leads nowhere", file.path));
        }
    }
    dead
}

fn resolve(directory: &str, path: &str) -> String {
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchor of a heading, as it is made where the documents are read.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Files of this repository that are named in code spans and are not there.
fn missing_files(file: &Tracked) -> Vec<String> {
    let mut missing = Vec::new();
    for line in file.text.lines() {
        for span in line.split('`').skip(1).step_by(2) {
            let path = span.split([':', ' ']).next().unwrap_or_default().trim_end_matches(['/', '*']);
            let ours = OUR_DIRECTORIES.iter().any(|directory| span.starts_with(directory));
            let pattern = span.contains(['*', '{', '<', '…']) || span.contains("NAME");
            if ours && !pattern && !root().join(path).exists() {
                missing.push(format!("{}: {span} is not there", file.path));
            }
        }
    }
    missing
}

fn document(text: &str) -> Tracked {
    Tracked { path: "docs/x.md".into(), text: text.into() }
}

#[test]
fn an_unknown_metric_is_found() {
    let families = BTreeSet::from(["unitmedic_up".to_owned(), "unitmedic_unit_tasks".to_owned()]);
    let text = "`unitmedic_up == 0`, unitmedic_gone{a=\"b\"}, all `unitmedic_unit_`, not `my_unitmedic_x`";
    assert_eq!(unknown_metrics(text, &families), ["unitmedic_gone"]);
    assert_eq!(series_names("h", Kind::Histogram), ["h", "h_bucket", "h_sum", "h_count"]);
    assert!(fs::metadata(root().join("docs/metrics.md")).is_ok());
}

#[test]
fn a_wrong_command_is_found() {
    for wrong in ["statsu", "status --wacth", "run --socket-path x", "incidents show --bad", "generate unit --nope"] {
        assert!(wrong_command(wrong).is_some(), "{wrong}");
    }
    for right in [
        "status --watch",
        "--user status",
        "start --daemon",
        "recover mail@2 --action restart --force",
        "incidents show 42 --user",
        "incidents mark-false ID",
        "run --interval=5s",
        "COMMAND --help",
    ] {
        assert_eq!(wrong_command(right), None, "{right}");
    }
    let text =
        "Say `unitmedic bad-one` or\n```\n$ unitmedic bad-two | head\nunitmedic output\n```\nnot unitmedic words";
    assert_eq!(commands_in(text), [(1, "bad-one".to_owned()), (3, "bad-two".to_owned())]);
    assert_eq!(advised("x `unitmedic bad` y"), ["bad"]);
}

#[test]
fn a_dead_link_is_found() {
    let here = document("# A head: one\n[a](#a-head-one) [b](#none) [c](../ARCHITECTURE.md) [d](gone.md) [e](x.md)");
    let all = [document(&here.text)];
    let dead = dead_links(&here, &all);
    // `x.md` exists in this list only, not on the disk.
    let expected: Vec<String> =
        ["#a-head-one", "#none", "gone.md", "x.md"].map(|link| format!("docs/x.md: {link} leads nowhere")).into();
    assert_eq!(dead, expected);
    assert_eq!(
        missing_files(&document("`src/lib.rs`, `src/gone.rs`, `src/*.rs`")),
        ["docs/x.md: src/gone.rs is not there"]
    );
}
