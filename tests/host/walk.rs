//! docs/getting-started.md: typed on a clean Debian as it stands there, it prints what it shows, to the resolved alert.

mod document;
mod masks;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::fixture::{Host, ensure, until};
use crate::testhost::{Builder, Failure, Machine, Output, Place, debian};
use document::{Line, Step, parse};

const PATH: &str = "docs/getting-started.md";
const DOCUMENT: &str = include_str!("../../docs/getting-started.md");

/// The name of the host in the document.
const NAME: &str = "web1";

/// Where its reader has the sources, as far as the document speaks of them.
const SOURCES: &str = "/root/unitmedic";
const PROGRAM: &str = "target/release/unitmedic";

/// What cannot be typed on a host without a network and without a compiler, and what is done instead.
const INSTEAD: &[(&str, &str)] = &[
    ("apt-get install --no-install-recommends gcc libc6-dev", "true"),
    ("cargo build --release", "test -x target/release/unitmedic"),
    // It is installed; what the package does besides is to start it, and the reader is not as fast as we are.
    (
        "apt-get install --no-install-recommends prometheus",
        "systemctl start prometheus && until curl -sf http://127.0.0.1:9090/-/ready > /dev/null; do sleep 0.1; done",
    ),
    // Where there is no network at all it ends until it is told to have no neighbours, which is what comes next.
    (
        "apt-get install --no-install-recommends prometheus-alertmanager",
        "dpkg --status prometheus-alertmanager > /dev/null",
    ),
];

/// What only reads may be typed again: on a machine with other work, things take longer than the document says.
const READING: &[&str] = &[
    "amtool alert ",
    "curl -s http",
    "journalctl -u ",
    "journalctl -x ",
    "promtool query ",
    "systemctl is-active ",
    "unitmedic alerts",
    "unitmedic explain ",
    "unitmedic history",
    "unitmedic incidents",
    "unitmedic status",
];
const READING_LIMIT: Duration = Duration::from_secs(20);

/// For one command; the longest sleeps for a quarter of a minute.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_walk_through_the_document_prints_what_it_shows() -> Result<(), Failure> {
    let steps = parse(DOCUMENT)?;
    let host = clean_host()?;
    for step in &steps {
        take(&host, step)?;
    }
    host.done()
}

#[test]
fn nothing_is_replaced_or_masked_that_is_not_in_the_document() -> Result<(), Failure> {
    let steps = parse(DOCUMENT)?;
    let typed: BTreeSet<&str> = steps.iter().filter_map(command_of).collect();
    let replaced = INSTEAD.iter().map(|(command, _)| *command);
    let gone: Vec<&str> = replaced.filter(|command| !typed.contains(command)).collect();
    ensure(gone.is_empty(), || format!("{PATH} does not say {gone:?}"))?;
    let read = |start: &str| typed.iter().any(|command| without_sleep(command).starts_with(start));
    let gone: Vec<&str> = READING.iter().copied().filter(|start| !read(start)).collect();
    ensure(gone.is_empty(), || format!("{PATH} has no command that begins with {gone:?}"))?;
    let unused = masks::unused(steps.iter().flat_map(shown_of));
    ensure(unused.is_empty(), || format!("{PATH} shows nothing that has {unused:#?}"))
}

fn clean_host() -> Result<Host, Failure> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("no target directory")?;
    let builder = Machine::builder(NAME).tree(debian(&target.join("trees"), "bookworm")?);
    let builder = builder.program(&format!("{SOURCES}/{PROGRAM}"), env!("CARGO_BIN_EXE_unitmedic"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let host = Host::of(with_files(builder, root, Path::new("systemd"))?.boot()?);
    let ours = host.sh(&format!("find / -xdev -name '*unitmedic*' -not -path '{SOURCES}*'"))?;
    ensure(ours.is_empty(), || format!("the host is not clean: {ours}"))?;
    Ok(host)
}

/// Everything below a directory of the sources.
fn with_files(mut builder: Builder, root: &Path, directory: &Path) -> Result<Builder, Failure> {
    for entry in fs::read_dir(root.join(directory))? {
        let path = directory.join(entry?.file_name());
        builder = match root.join(&path).is_dir() {
            true => with_files(builder, root, &path)?,
            false => builder.file(&format!("{SOURCES}/{}", path.display()), &fs::read_to_string(root.join(&path))?),
        };
    }
    Ok(builder)
}

fn take(host: &Host, step: &Step) -> Result<(), Failure> {
    match step {
        Step::Write { line, path, text } => {
            // As an editor does it: the directory must be there.
            let output = host.run_for(&["sh", "-c", "cat > \"$0\"", path], text.as_bytes(), COMMAND_LIMIT)?;
            output.success().map(drop).map_err(|error| Failure::new(format!("{PATH}:{line}: {error}")))
        }
        Step::Type { line, command, shown } => answered(host, command, shown).map_err(|error| {
            let first = command.lines().next().unwrap_or_default();
            Failure::new(format!("{PATH}:{line}: `{first}`: {error}"))
        }),
    }
}

/// Types a command, and compares what it prints with what is shown.
fn answered(host: &Host, command: &str, shown: &[Line]) -> Result<(), Failure> {
    let typed = INSTEAD.iter().find(|(replaced, _)| *replaced == command).map_or(command, |(_, instead)| *instead);
    let look = |typed: &str| {
        let output = on_terminal(host, typed)?;
        masks::compare(shown, &output.stdout)?;
        output.success().map(drop)
    };
    let again = without_sleep(command);
    match look(typed) {
        Err(first) if READING.iter().any(|start| again.starts_with(start)) => {
            until("typed again", READING_LIMIT, || look(again))
                .map_err(|last| Failure::new(format!("{first}\nAnd {last}")))
        }
        outcome => outcome,
    }
}

/// Answers and errors in one, as a reader sees them.
fn on_terminal(host: &Host, typed: &str) -> Result<Output, Failure> {
    let script = format!("exec 2>&1\n{typed}");
    host.run_for(&["env", &format!("--chdir={SOURCES}"), "bash", "-c", &script], b"", COMMAND_LIMIT)
}

fn without_sleep(command: &str) -> &str {
    match command.split_once("; ") {
        Some((first, rest)) if first.starts_with("sleep ") => rest,
        _ => command,
    }
}

fn command_of(step: &Step) -> Option<&str> {
    match step {
        Step::Type { command, .. } => Some(command),
        Step::Write { .. } => None,
    }
}

fn shown_of(step: &Step) -> &[Line] {
    match step {
        Step::Type { shown, .. } => shown,
        Step::Write { .. } => &[],
    }
}
