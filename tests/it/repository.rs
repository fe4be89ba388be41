//! What is in the repository's files at all: nothing of the machine that it was written on, no host but known ones.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::complain;
use crate::source::root;

/// A text file of the repository.
pub struct Tracked {
    /// As in `docs/metrics.md`.
    pub path: String,
    pub text: String,
}

/// Directories that every machine has: not a sign of one.
const EVERYWHERE: &[&str] = &["/", "/home", "/mnt", "/opt", "/root", "/srv", "/tmp", "/usr", "/usr/src", "/var"];

/// Where packages come from. Whoever builds says where from; the repository does not.
const REGISTRIES: &[&str] = &[
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("npmjs", ".org"),
    concat!("deb.debian", ".org"),
    concat!("security.debian", ".org"),
    concat!("docker", ".io"),
    concat!("ghcr", ".io"),
];

/// The line of `Cargo.lock` that every project has.
const STANDARD_SOURCE: &str = concat!("source = \"registry+https://github.com/rust-lang/crates", ".io-index\"");

/// Hosts that a link may lead to.
const HOSTS: &[&str] = &[
    "127.0.0.1",
    "localhost",
    "[::1]",
    "github.com",
    "keepachangelog.com",
    "opensource.org",
    "prometheus.io",
    "semver.org",
    "spdx.org",
    "systemd.io",
    "www.apache.org",
    "www.debian.org",
    "www.freedesktop.org",
    "www.sqlite.org",
    // The name of SVG.
    "www.w3.org",
];

#[test]
fn nothing_tells_where_it_was_written() {
    let places = places_of(root());
    complain(tracked().iter().flat_map(|file| mentions(file, &places)));
}

#[test]
fn no_registry_is_named() {
    let registries: Vec<String> = REGISTRIES.iter().map(|host| (*host).to_owned()).collect();
    complain(tracked().iter().flat_map(|file| mentions(file, &registries)));
}

#[test]
fn links_lead_to_known_hosts() {
    complain(tracked().iter().flat_map(strange_hosts));
}

/// Text files that are in the repository or would be with the next commit; in an unpacked archive, all files.
pub fn tracked() -> Vec<Tracked> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output();
    let paths: Vec<String> = match listed {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).split_terminator('\0').map(str::to_owned).collect()
        }
        _ => {
            let mut found = Vec::new();
            walk(root(), &mut found);
            found
        }
    };
    let read = |path: String| Some(Tracked { text: fs::read_to_string(root().join(&path)).ok()?, path });
    paths.into_iter().filter_map(read).collect()
}

fn walk(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "target" && name != ".git" {
            walk(&path, found);
        } else if path.is_file() {
            found.extend(path.strip_prefix(root()).map(|path| path.display().to_string()));
        }
    }
}

/// The directory and those above it that not every machine has.
fn places_of(directory: &Path) -> Vec<String> {
    let all = directory.ancestors().map(|place| place.display().to_string());
    all.filter(|place| !EVERYWHERE.contains(&place.as_str())).collect()
}

fn mentions(file: &Tracked, needles: &[String]) -> Vec<String> {
    let lines = file.text.lines().enumerate().filter(|(_, line)| *line != STANDARD_SOURCE);
    let found = lines.flat_map(|(number, line)| {
        let named = needles.iter().filter(|needle| names(line, needle));
        named.map(|needle| format!("{}:{}: names {needle}", file.path, number + 1)).collect::<Vec<_>>()
    });
    found.collect()
}

/// Whether the needle stands in the line as a whole path or host.
fn names(line: &str, needle: &str) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    line.match_indices(needle).any(|(at, _)| {
        let part_of_path =
            needle.starts_with('/') && line[..at].ends_with(|c: char| in_word(c) || c == '.' || c == '}');
        !part_of_path && !line[at + needle.len()..].starts_with(in_word)
    })
}

fn strange_hosts(file: &Tracked) -> Vec<String> {
    let mut strange = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for (at, scheme) in line.match_indices("://") {
            if !line[..at].ends_with("http") && !line[..at].ends_with("https") {
                continue;
            }
            let rest = &line[at + scheme.len()..];
            // Behind a user and a password.
            let authority = rest.split(|c: char| "/?#\"".contains(c) || c.is_whitespace()).next().unwrap_or(rest);
            let rest = authority.rsplit_once('@').map_or(rest, |(_, host)| host);
            let host = match rest.strip_prefix('[') {
                Some(inner) => format!("[{}]", inner.split(']').next().unwrap_or_default()),
                None => rest.split(|c: char| !c.is_alphanumeric() && c != '.' && c != '-').next().unwrap_or("").into(),
            };
            let example = host.is_empty() || host.ends_with(".example") || host.starts_with("example.");
            if !example && !HOSTS.contains(&host.as_str()) {
                strange.push(format!("{}:{}: leads to {host}", file.path, number + 1));
            }
        }
    }
    strange
}

fn file(text: &str) -> Tracked {
    Tracked { path: "x".into(), text: text.into() }
}

#[test]
fn a_place_is_found() {
    let places = places_of(Path::new("/home/ada/unitmedic"));
    assert_eq!(places, ["/home/ada/unitmedic", "/home/ada"]);
    for line in ["see /home/ada/notes", "(/home/ada)", "path=/home/ada/unitmedic/src"] {
        assert!(!mentions(&file(line), &places).is_empty(), "{line}");
    }
    for line in ["/home/adam", "$ROOT/x/home/ada", "/home/bob"] {
        assert!(mentions(&file(line), &places).is_empty(), "{line}");
    }
}

#[test]
fn a_registry_and_a_strange_host_are_found() {
    let registries = [REGISTRIES[0].to_owned()];
    assert_eq!(mentions(&file(&format!("from static.{}/x", REGISTRIES[0])), &registries).len(), 1);
    assert!(mentions(&file(STANDARD_SOURCE), &registries).is_empty());
    let scheme = "https:";
    let text = format!("{scheme}//mirror.inside/x {scheme}//github.com/x {scheme}//[::1]:80 {scheme}//am.example/ ");
    assert_eq!(strange_hosts(&file(&text)), ["x:1: leads to mirror.inside"]);
    let with_user = format!("{scheme}//a:p@ss@mail.example/x {scheme}//a:b@mirror.inside/x");
    assert_eq!(strange_hosts(&file(&with_user)), ["x:1: leads to mirror.inside"]);
}
