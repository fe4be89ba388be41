//! Rust sources as far as the rules need them: modules, code without comments, literals and tests, the paths in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One file of `src/`.
pub struct Module {
    /// As in `src/engine/gate.rs`.
    pub file: String,
    /// As in `["engine", "gate"]`; empty for the two roots.
    pub path: Vec<String>,
    pub text: String,
    /// The code without comments, contents of literals, and what is compiled for tests only; lines stay where they are.
    pub code: String,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every module of the crate but those that are compiled for tests only.
pub fn modules() -> Vec<Module> {
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    files.sort();
    let all: Vec<Module> = files.into_iter().map(|file| module(&file)).collect();
    let tests: BTreeSet<Vec<String>> = all.iter().flat_map(test_children).collect();
    let of_tests = |module: &Module| (1..=module.path.len()).any(|end| tests.contains(&module.path[..end]));
    all.into_iter().filter(|module| !of_tests(module)).collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("src is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn module(file: &Path) -> Module {
    let inside = file.strip_prefix(root().join("src")).expect("below src").with_extension("");
    let path: Vec<String> = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let path = if path == ["lib"] || path == ["main"] { Vec::new() } else { path };
    let text = fs::read_to_string(file).expect("a source can be read");
    let code = without_tests(&without_words(&text));
    let file = file.strip_prefix(root()).expect("below the root").display().to_string();
    Module { file, path, text, code }
}

/// Modules that the module declares for tests only.
fn test_children(module: &Module) -> Vec<Vec<String>> {
    let code = without_words(&module.text);
    let declared = code.split("#[cfg(test)]").skip(1).filter_map(|rest| {
        let (declaration, _) = rest.split_once(';')?;
        declaration.trim().strip_prefix("mod ").map(str::to_owned)
    });
    declared.map(|name| [module.path.clone(), vec![name]].concat()).collect()
}

/// Blanks comments and the contents of literals.
pub fn without_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(next) = rest.chars().next() {
        let length = match word_at(rest, before) {
            0 => {
                out.push(next);
                next.len_utf8()
            }
            length => {
                out.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
                length
            }
        };
        before = rest[..length].chars().next_back().unwrap_or(' ');
        rest = &rest[length..];
    }
    out
}

/// Length of the comment or literal that begins here; 0: none does.
fn word_at(rest: &str, before: char) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    let inside_name = before.is_alphanumeric() || before == '_';
    let prefix = rest.bytes().take_while(|b| matches!(b, b'b' | b'c' | b'r')).count();
    let raw = rest[..prefix].contains('r');
    let hashes = rest[prefix..].bytes().take_while(|b| *b == b'#').count();
    if rest[prefix + hashes..].starts_with('"') && (prefix == 0 || !inside_name) && (raw || hashes == 0) {
        let open = prefix + hashes + 1;
        let end = if raw { format!("\"{}", "#".repeat(hashes)) } else { "\"".into() };
        return open + string_end(&rest[open..], &end, raw);
    }
    if rest.starts_with('\'') && !inside_name { character(rest) } else { 0 }
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        match here {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn string_end(rest: &str, end: &str, raw: bool) -> usize {
    if raw {
        return rest.find(end).map_or(rest.len(), |at| at + end.len());
    }
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A character literal, or nothing for a lifetime.
fn character(rest: &str) -> usize {
    let inner = &rest[1..];
    if inner.starts_with('\\') {
        return inner[2..].find('\'').map_or(rest.len(), |at| at + 4);
    }
    let first = inner.chars().next().map_or(0, char::len_utf8);
    if inner[first..].starts_with('\'') { first + 2 } else { 0 }
}

/// Blanks what stands behind `#[cfg(test)]`, up to the end of that item.
pub fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        let length = item_length(&rest[at..]);
        out.push_str(&rest[..at]);
        out.extend(rest[at..at + length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[at + length..];
    }
    out + rest
}

/// Up to the `;` or the closing brace that ends the item.
fn item_length(rest: &str) -> usize {
    let mut depth = 0;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' => depth -= 1,
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The paths of the crate that the code names, from the crate's root: `crate::…` and `super::…`.
pub fn crate_paths(module: &[String], code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if begins_a_path(code, at) {
            expand(&[], &code[at + "crate::".len()..], &mut found);
        }
    }
    for (at, _) in code.match_indices("super::") {
        if begins_a_path(code, at) {
            let ups = code[at..].split("::").take_while(|part| *part == "super").count();
            let above = &module[..module.len().saturating_sub(ups)];
            expand(above, &code[at + ups * "super::".len()..], &mut found);
        }
    }
    found
}

fn begins_a_path(code: &str, at: usize) -> bool {
    // `pub(in crate::…)` says who may see, and imports nothing.
    let before = &code[..at];
    let joined = before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$');
    !joined && !before.trim_end().ends_with("(in")
}

/// Adds `prefix` with the path, or with each path of the group, that `rest` begins with.
fn expand(prefix: &[String], rest: &str, found: &mut Vec<Vec<String>>) {
    let mut path = prefix.to_vec();
    let mut rest = rest;
    loop {
        if let Some(group) = rest.strip_prefix('{') {
            for member in members(group) {
                expand(&path, member, found);
            }
            return;
        }
        let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        if !name.is_empty() && name != "self" {
            path.push(name.to_owned());
        }
        match rest[name.len()..].strip_prefix("::") {
            Some(more) => rest = more,
            None => break,
        }
    }
    found.push(path);
}

/// The members of a group, whose opening brace is gone.
fn members(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, byte) in group.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => {
                found.push(group[start..at].trim());
                break;
            }
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                found.push(group[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    found.retain(|member| !member.is_empty());
    found
}

/// Name, first line (from 1) and number of lines of every function with a body.
pub fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let length = item_length(&code[at..]);
        if name.is_empty() || !code[at..at + length].ends_with('}') {
            continue;
        }
        let first = code[..at].matches('\n').count() + 1;
        found.push((name, first, code[at..at + length].matches('\n').count() + 1));
    }
    found
}

/// Whether `word` stands in the code by itself; a word that ends in `::` or `!` may be followed by anything.
pub fn has_word(code: &str, word: &str) -> bool {
    let in_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let open_end = !word.ends_with(in_name);
        !code[..at].ends_with(in_name) && (open_end || !code[at + word.len()..].starts_with(in_name))
    })
}

#[test]
fn comments_literals_and_tests_are_left_out() {
    let text = "use a::B; // tokio\n/* rand /* x */ */ let s = \"std::fs \\\" y\"; let r = r#\"io \"\" \"#;\n\
                let c = '\"'; fn f<'a>(x: &'a str) {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\nfn g() {}\n";
    let code = without_tests(&without_words(text));
    for gone in ["tokio", "rand", "std::fs", "io", "y"] {
        assert!(!has_word(&code, gone), "{gone}: {code}");
    }
    for kept in ["use a::B;", "fn f<'a>(x: &'a str) {}", "fn g() {}"] {
        assert!(code.contains(kept), "{kept}: {code}");
    }
    assert_eq!(code.matches('\n').count(), text.matches('\n').count());
}

#[test]
fn paths_are_found_in_groups_and_from_above() {
    let module = ["adapters".to_owned(), "http".to_owned(), "bind".to_owned()];
    let code = "use crate::{model::{self, Fact as F}, views};\nuse super::super::store::Store;\n\
                pub(in crate::adapters) fn f(x: crate::config::Mode) {}\nuse super::Port;";
    let found: Vec<String> = crate_paths(&module, code).iter().map(|path| path.join("::")).collect();
    let expected = ["model", "model::Fact", "views", "config::Mode", "adapters::store::Store", "adapters::http::Port"];
    assert_eq!(found, expected);
}

#[test]
fn functions_are_measured() {
    let code = "trait T {\n    fn a(&self);\n    fn b(&self) {\n        x();\n    }\n}\nfn c() {}\n";
    assert_eq!(functions(code), [("b".to_owned(), 3, 3), ("c".to_owned(), 7, 1)]);
}
