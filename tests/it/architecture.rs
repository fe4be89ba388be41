//! Which module may know which, what the pure parts never do, and how modules and functions look.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::complain;
use crate::source::{Module, crate_paths, functions, has_word, modules, root, without_tests, without_words};

/// A function fits a screen.
const FUNCTION_LINES_MAX: usize = 70;

/// Who may name what of the crate. A row is for the module and all below it; an adapter is an area of its own.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("model", &["model"]),
    ("engine", &["model", "learn", "engine"]),
    ("config", &["model", "config"]),
    ("adapters::alertmanager", &["model", "adapters::secret", "adapters::tls", "adapters::alertmanager"]),
    ("adapters::cgroup", &["model", "adapters::cgroup"]),
    ("adapters::clock", &["model", "adapters::clock"]),
    ("adapters::heartbeat", &["model", "adapters::heartbeat"]),
    ("adapters::host", &["model", "adapters::host"]),
    ("adapters::http", &["model", "adapters::secret", "adapters::tls", "adapters::http"]),
    ("adapters::journal", &["model", "adapters::journal"]),
    ("adapters::notify", &["model", "adapters::notify"]),
    ("adapters::passed", &["adapters::passed"]),
    ("adapters::probe", &["model", "adapters::probe"]),
    ("adapters::rabbitmq", &["model", "adapters::secret", "adapters::rabbitmq"]),
    // What several adapters need: how secrets are read, and whom to trust.
    ("adapters::secret", &["adapters::secret"]),
    ("adapters::store", &["model", "adapters::store"]),
    ("adapters::systemd", &["model", "adapters::systemd"]),
    ("adapters::tls", &["adapters::secret", "adapters::tls"]),
    ("adapters", &[]),
    // It acts through systemd, over a connection of its own. Of cgroups it takes where they are, which paths are safe and
    // how their files read: a second parser of what the kernel says would be a second truth.
    ("helper", &["model", "adapters::cgroup", "adapters::systemd", "helper"]),
    ("learn", &["model", "learn"]),
    ("views", &["model", "views"]),
    // The composition root knows all but the files of the configuration and the command line.
    ("app", &["model", "engine", "learn", "adapters", "helper", "views", "app"]),
    // Of the adapters: the client of the control socket, the clock for ages, and what `run` hands to the daemon.
    (
        "cli",
        &[
            "model",
            "config",
            // `patterns FILE` groups the lines of any log.
            "learn",
            "adapters::clock",
            "adapters::http",
            "adapters::notify",
            "adapters::passed",
            "adapters::systemd",
            "views",
            "app",
            // `helper` brings the root side to life, as `run` does the daemon.
            "helper",
            "cli",
        ],
    ),
];

/// Nothing of the world, of time, of chance and of unordered things.
const IMPURE: &[&str] = &[
    "Instant",
    "SystemTime",
    "UNIX_EPOCH",
    "std::env",
    "std::fs",
    "std::io",
    "std::process",
    "atomic",
    "LazyLock",
    "mpsc",
    "Mutex",
    "OnceLock",
    "RwLock",
    "std::thread",
    "tokio",
    "zbus",
    "rustix",
    "rusqlite",
    "tracing",
    "log",
    "rand",
    "jiff",
    "HashMap",
    "HashSet",
    "RandomState",
    "print!",
    "println!",
    "eprint!",
    "eprintln!",
    "dbg!",
    "async",
    "await",
    "unsafe",
    "thread_local!",
];

/// Where code begins outside the crate, in the pure parts.
const ENGINE_USES: &[&str] =
    &["std::collections::BTreeMap", "std::collections::BTreeSet", "std::collections::VecDeque"];

const VAGUE_NAMES: &[&str] = &["common", "helpers", "manager", "misc", "util", "utils"];

#[test]
fn modules_know_only_what_they_may() {
    complain(modules().iter().flat_map(|module| foreign(module, MAY_KNOW)));
}

#[test]
fn every_module_has_its_row_and_every_row_its_module() {
    let modules = modules();
    let rowless = modules.iter().filter(|m| !m.path.is_empty() && area(&m.path, MAY_KNOW).is_none());
    complain(rowless.map(|module| format!("{}: no row in MAY_KNOW", module.file)));
    let gone = MAY_KNOW.iter().filter(|(row, _)| !modules.iter().any(|module| module.path.join("::") == *row));
    complain(gone.map(|(row, _)| format!("{row} is not a module")));
}

#[test]
fn the_crate_is_listed_in_reading_order() {
    let lib = modules().into_iter().find(|module| module.file == "src/lib.rs").expect("a library");
    complain(disorder(&lib.code, MAY_KNOW));
}

#[test]
fn the_binary_only_calls_the_command_line() {
    let main = modules().into_iter().find(|module| module.file == "src/main.rs").expect("a program");
    let named: Vec<&str> = main.code.match_indices("unitmedic::").map(|(at, _)| &main.code[at..at + 16]).collect();
    assert_eq!(named, ["unitmedic::cli::"]);
}

#[test]
fn the_engine_and_the_words_are_pure() {
    let pure = modules()
        .into_iter()
        .filter(|m| m.path.first().is_some_and(|top| matches!(top.as_str(), "engine" | "learn" | "model")));
    complain(pure.collect::<Vec<_>>().iter().flat_map(|module| impurities(module, IMPURE)));
}

#[test]
fn the_engine_uses_nothing_from_outside_but_a_few_types() {
    let engine = modules().into_iter().filter(|m| m.path.first().is_some_and(|top| top == "engine"));
    complain(engine.collect::<Vec<_>>().iter().flat_map(|module| foreign_types(module, ENGINE_USES)));
}

#[test]
fn modules_are_named_for_what_they_are() {
    complain(modules().iter().filter_map(vague_name));
}

#[test]
fn modules_say_what_they_are_for() {
    complain(modules().iter().filter(|m| !m.text.starts_with("//! ")).map(|m| format!("{}: no `//!`", m.file)));
}

#[test]
fn functions_fit_a_screen() {
    complain(modules().iter().flat_map(|module| long_functions(module, FUNCTION_LINES_MAX)));
}

/// The longest row that the path begins with.
fn area<'r>(path: &[String], rows: &[(&'r str, &'r [&'r str])]) -> Option<(&'r str, &'r [&'r str])> {
    let path = path.join("::");
    rows.iter().filter(|(row, _)| begins_with(&path, row)).max_by_key(|(row, _)| row.len()).copied()
}

fn begins_with(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn foreign(module: &Module, rows: &[(&str, &[&str])]) -> Vec<String> {
    let Some((row, known)) = area(&module.path, rows) else { return Vec::new() };
    let paths = crate_paths(&module.path, &module.code);
    let strange = paths.iter().map(|path| path.join("::")).filter(|path| {
        let own_child = row == "adapters";
        !path.is_empty() && !own_child && !known.iter().any(|known| begins_with(path, known))
    });
    strange.map(|path| format!("{}: {row} must not know {path}", module.file)).collect()
}

/// Modules of the library that stand before something they know.
fn disorder(lib: &str, rows: &[(&str, &[&str])]) -> Vec<String> {
    let order: Vec<&str> = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let place = |name: &str| order.iter().position(|listed| *listed == name);
    let mut wrong = Vec::new();
    for (row, known) in rows {
        let top = |path: &str| path.split("::").next().unwrap_or_default().to_owned();
        let own = top(row);
        for other in known.iter().map(|path| top(path)).filter(|other| *other != own) {
            if place(&own).is_none() || place(&other).is_none() || place(&other) > place(&own) {
                wrong.push(format!("src/lib.rs: {own} knows {other}, which must stand before it"));
            }
        }
    }
    wrong
}

fn impurities(module: &Module, forbidden: &[&str]) -> Vec<String> {
    let found = forbidden.iter().filter(|word| has_word(&module.code, word));
    found.map(|word| format!("{}: {word}", module.file)).collect()
}

/// `use` of anything that is not of the crate, is not a span of time, a formatter or a listed type.
fn foreign_types(module: &Module, allowed: &[&str]) -> Vec<String> {
    let uses = module.code.lines().map(str::trim).filter_map(|line| {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        line.strip_prefix("use ")?.strip_suffix(';')
    });
    let children: Vec<&str> =
        module.code.lines().filter_map(|line| line.trim().strip_prefix("mod ")?.strip_suffix(';')).collect();
    let known = |path: &str| {
        let first = path.split("::").next().unwrap_or_default();
        ["crate", "super", "self"].contains(&first)
            || children.contains(&first)
            // An enum of the crate, to write its variants short.
            || first.starts_with(char::is_uppercase)
            || ["std::fmt", "std::time::Duration", "std::cmp::Reverse"].contains(&path)
            || allowed.contains(&path)
    };
    let mut strange = Vec::new();
    for path in uses {
        let members: Vec<String> = match path.split_once("::{") {
            Some((base, group)) => {
                group.trim_end_matches('}').split(',').map(|member| format!("{base}::{}", member.trim())).collect()
            }
            None => vec![path.to_owned()],
        };
        strange.extend(members.into_iter().filter(|member| !known(member)));
    }
    strange.into_iter().map(|path| format!("{}: use {path}", module.file)).collect()
}

fn vague_name(module: &Module) -> Option<String> {
    let last = module.path.last()?;
    let vague = last == "mod" || VAGUE_NAMES.contains(&last.as_str());
    vague.then(|| format!("{}: a name that says nothing", module.file))
}

fn long_functions(module: &Module, limit: usize) -> Vec<String> {
    let functions = functions(&module.code).into_iter().filter(|(_, _, lines)| *lines > limit);
    functions.map(|(name, line, lines)| format!("{}:{line}: {name} has {lines} lines", module.file)).collect()
}

fn bad(path: &[&str], text: &str) -> Module {
    Module {
        file: format!("src/{}.rs", path.join("/")),
        path: path.iter().map(|part| (*part).to_owned()).collect(),
        text: text.to_owned(),
        code: without_tests(&without_words(text)),
    }
}

#[test]
fn a_break_of_the_imports_is_found() {
    for (path, text, found) in [
        (&["engine", "gate"][..], "use crate::adapters::clock;", 1),
        (&["model", "fact"], "fn f(x: crate::engine::Engine) {}", 1),
        (&["adapters", "http", "bind"], "use super::super::store::Store;", 1),
        (&["adapters", "http", "bind"], "use crate::{model::Fact, adapters::systemd::bus};", 1),
        (&["helper"], "use crate::adapters::store::Store;", 1),
        (&["app", "start"], "use crate::config::load;", 1),
        (&["cli", "status"], "use crate::adapters::store::Store; use crate::engine::Engine;", 2),
        (&["views", "story"], "use crate::model::Fact; use super::look::Look;", 0),
        (&["engine", "gate"], "// crate::cli\n#[cfg(test)]\nmod tests { use crate::cli; }", 0),
    ] {
        assert_eq!(foreign(&bad(path, text), MAY_KNOW).len(), found, "{text}");
    }
}

#[test]
fn a_break_of_the_reading_order_is_found() {
    assert_eq!(disorder("pub mod model;\npub mod app;\n", &[("model", &["app"])]).len(), 1);
    assert_eq!(disorder("pub mod model;\npub mod app;\n", &[("app", &["model"])]).len(), 0);
}

#[test]
fn a_break_of_purity_is_found() {
    for text in [
        "let now = std::time::Instant::now();",
        "use std::collections::HashMap;",
        "tracing::info!(\"x\");",
        "println!(\"x\");",
        "async fn f() {}",
        "use rand::Rng;",
    ] {
        assert!(!impurities(&bad(&["engine", "gate"], text), IMPURE).is_empty(), "{text}");
    }
    assert!(
        impurities(&bad(&["engine", "gate"], "let s = \"static println!\"; let x: &'static str = logged;"), IMPURE)
            .is_empty()
    );
}

#[test]
fn a_use_from_outside_is_found() {
    let uses = |text| foreign_types(&bad(&["engine"], text), ENGINE_USES);
    assert_eq!(
        uses("use std::collections::{BTreeMap, BinaryHeap};"),
        ["src/engine.rs: use std::collections::BinaryHeap"]
    );
    assert_eq!(uses("use serde::Serialize;").len(), 1);
    assert!(uses("mod desk;\nuse desk::Desk;\nuse std::time::Duration;\nuse crate::model::Fact;").is_empty());
}

#[test]
fn bad_names_and_long_functions_are_found() {
    assert!(vague_name(&bad(&["views", "utils"], "")).is_some());
    assert!(vague_name(&bad(&["views", "mod"], "")).is_some());
    assert!(vague_name(&bad(&["views", "look"], "")).is_none());
    let long = format!("fn long() {{\n{}}}\n", "    x();\n".repeat(69));
    assert_eq!(long_functions(&bad(&["views"], &long), 70), ["src/views.rs:1: long has 71 lines"]);
    assert!(long_functions(&bad(&["views"], &long.replacen("    x();\n", "", 1)), 70).is_empty());
}

/// A break that does not fit the engine any more would prove nothing; `scripts/prove-checkers` runs them.
#[test]
fn the_breaks_of_the_simulator_fit_the_engine() {
    let breaks = root().join("tests/sim/breaks");
    let patches: Vec<_> = fs::read_dir(&breaks).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!patches.is_empty());
    complain(patches.iter().filter_map(|patch| complaint_of_patch(patch)));
    let stale = tempfile::NamedTempFile::new().unwrap();
    fs::write(stale.path(), "--- a/Makefile\n+++ b/Makefile\n@@ -1 +1 @@\n-what is not there\n+x\n").unwrap();
    assert!(complaint_of_patch(stale.path()).is_some());
}

fn complaint_of_patch(patch: &Path) -> Option<String> {
    let check = Command::new("git").args(["apply", "--check"]).arg(patch).current_dir(root()).output().unwrap();
    (!check.status.success()).then(|| format!("{}: {}", patch.display(), String::from_utf8_lossy(&check.stderr)))
}
