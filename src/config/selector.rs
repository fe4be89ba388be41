//! Selectors: which units a worker owns, and whether two workers could own the same one.

use std::collections::VecDeque;

use crate::model::name::check_unit_characters;
use crate::model::never::never_matches;
use crate::model::{Selector, UnitName};

use super::errors::quoted;

const SUFFIX: &str = ".service";

/// Reads `mail.service`, `mail@.service` or `mail-*.service`. The error completes "unit in [worker.x] …".
pub fn parse_selector(text: &str) -> Result<Selector, String> {
    let selector = shape(text)?;
    match never_matches(&selector) {
        Some(why) => Err(format!("is {}, which is never touched: {why}", quoted(text))),
        None => Ok(selector),
    }
}

fn shape(text: &str) -> Result<Selector, String> {
    // An empty selector is not all: a pattern must name something.
    let stem = text.strip_suffix(SUFFIX);
    if text.contains(['*', '?']) && !stem.unwrap_or(text).bytes().any(|b| b.is_ascii_alphanumeric()) {
        let text = quoted(text);
        return Err(format!("is {text}, which would take every service of the host; name the units of this worker"));
    }
    let Some(stem) = stem else {
        let hint = match text.rsplit_once('.') {
            _ if text.is_empty() => "name the units of this worker, such as \"mail.service\"".into(),
            Some((_, "timer" | "socket" | "path" | "target" | "mount" | "slice" | "scope" | "device")) => {
                "unitmedic watches services".into()
            }
            _ => format!("write {}", quoted(&format!("{text}{SUFFIX}"))),
        };
        return Err(format!("is {}, which does not end in .service; {hint}", quoted(text)));
    };
    if stem.contains(['*', '?', '[']) {
        return glob(text, stem);
    }
    match stem.strip_suffix('@') {
        Some(prefix) => template(text, prefix),
        None => UnitName::new(text).map(Selector::Unit).map_err(|error| format!("is refused: {error}")),
    }
}

fn template(text: &str, prefix: &str) -> Result<Selector, String> {
    if prefix.is_empty() || prefix.contains('@') {
        return Err(format!("is {}, which is no template; a template is NAME@.service", quoted(text)));
    }
    check_unit_characters(text).map_err(|error| format!("is refused: {error}"))?;
    Ok(Selector::Template(prefix.into()))
}

fn glob(text: &str, stem: &str) -> Result<Selector, String> {
    if stem.contains('[') {
        return Err(format!("is {}; a pattern has only * and ?, no [ ]", quoted(text)));
    }
    let literals: String = text.chars().filter(|c| !matches!(c, '*' | '?')).collect();
    check_unit_characters(&literals).map_err(|_| {
        format!("is {}, a pattern with a character that no unit name has, or a pattern that is too long", quoted(text))
    })?;
    if text.len() > crate::model::name::UNIT_NAME_MAX {
        return Err(format!("is {}, a pattern that is longer than any unit name", quoted(text)));
    }
    Ok(Selector::Glob(text.into()))
}

/// A unit name that both selectors match; `None` when there is none.
pub fn common_unit(a: &Selector, b: &Selector) -> Option<String> {
    match (a, b) {
        (Selector::Unit(name), other) | (other, Selector::Unit(name)) => {
            other.matches(name.as_str()).then(|| name.to_string())
        }
        (Selector::Template(a), Selector::Template(b)) => (a == b).then(|| format!("{a}@1{SUFFIX}")),
        _ => {
            let (a, b) = (stem_pattern(a), stem_pattern(b));
            let stem = if may_share(&a, &b) { common_stem(&a, &b) } else { None };
            // What two long patterns share may be longer than any name.
            stem.map(|stem| format!("{stem}{SUFFIX}")).filter(|name| UnitName::new(name).is_ok())
        }
    }
}

/// The pattern of the name without `.service`: both patterns end in it, so the rest decides.
fn stem_pattern(selector: &Selector) -> Vec<u8> {
    let pattern = match selector {
        Selector::Unit(name) => name.to_string(),
        Selector::Template(prefix) => format!("{prefix}@?*{SUFFIX}"),
        Selector::Glob(pattern) => pattern.clone(),
    };
    pattern.strip_suffix(SUFFIX).unwrap_or(&pattern).as_bytes().to_vec()
}

/// Compares what stands before the first and after the last wildcard: it settles nearly every pair at once.
fn may_share(a: &[u8], b: &[u8]) -> bool {
    fn agree<'p>(a: impl Iterator<Item = &'p u8>, b: impl Iterator<Item = &'p u8>) -> bool {
        let literal = |c: &&u8| !matches!(c, b'*' | b'?');
        a.take_while(literal).zip(b.take_while(literal)).all(|(a, b)| a == b)
    }
    agree(a.iter(), b.iter()) && agree(a.iter().rev(), b.iter().rev())
}

/// How far a name under construction is, and what its last character was: no unit name is empty, begins
/// with `@`, or ends with `@` (that is a template).
#[derive(Clone, Copy)]
struct Place {
    a: usize,
    b: usize,
    last: Last,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Start,
    At,
    Other,
}

/// Shortest name that both patterns match: a breadth-first walk over the product of the two, of at most
/// 3 x 256 x 256 places.
fn common_stem(a: &[u8], b: &[u8]) -> Option<String> {
    let start = Place { a: 0, b: 0, last: Last::Start };
    let mut seen = vec![false; 3 * (a.len() + 1) * (b.len() + 1)];
    let mut is_new = |place: Place| {
        let index = (place.a * (b.len() + 1) + place.b) * 3 + place.last as usize;
        !std::mem::replace(&mut seen[index], true)
    };
    let mut queue = VecDeque::from([(start, usize::MAX)]);
    // Every character that was added, with the entry that it follows: the names share their beginnings.
    let mut trail: Vec<(u8, usize)> = Vec::new();
    while let Some((at, from)) = queue.pop_front() {
        if at.a == a.len() && at.b == b.len() && at.last == Last::Other {
            return Some(spell(&trail, from));
        }
        for skipped in skips(a, b, at) {
            if is_new(skipped) {
                queue.push_front((skipped, from));
            }
        }
        if let Some((letter, next)) = step(a, b, at)
            && is_new(next)
        {
            trail.push((letter, from));
            queue.push_back((next, trail.len() - 1));
        }
    }
    None
}

/// Places that are reached without a character: a `*` that takes nothing more.
fn skips(a: &[u8], b: &[u8], at: Place) -> impl Iterator<Item = Place> {
    let in_a = (a.get(at.a) == Some(&b'*')).then(|| Place { a: at.a + 1, ..at });
    let in_b = (b.get(at.b) == Some(&b'*')).then(|| Place { b: at.b + 1, ..at });
    in_a.into_iter().chain(in_b)
}

/// The place after one more character that both patterns take.
fn step(a: &[u8], b: &[u8], at: Place) -> Option<(u8, Place)> {
    let (in_a, in_b) = (*a.get(at.a)?, *b.get(at.b)?);
    let wild = |c: u8| matches!(c, b'*' | b'?');
    let letter = match (wild(in_a), wild(in_b)) {
        (true, true) => b'1',
        (true, false) => in_b,
        (false, true) => in_a,
        (false, false) if in_a == in_b => in_a,
        (false, false) => return None,
    };
    if letter == b'@' && at.last == Last::Start {
        return None;
    }
    let after = |pattern: u8, place: usize| if pattern == b'*' { place } else { place + 1 };
    let last = if letter == b'@' { Last::At } else { Last::Other };
    Some((letter, Place { a: after(in_a, at.a), b: after(in_b, at.b), last }))
}

fn spell(trail: &[(u8, usize)], mut from: usize) -> String {
    let mut letters = Vec::new();
    while let Some((letter, before)) = trail.get(from) {
        letters.push(char::from(*letter));
        from = *before;
    }
    letters.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_selectors() {
        for (text, selector) in [
            ("mail.service", Selector::Unit(UnitName::new("mail.service").unwrap())),
            ("mail@1.service", Selector::Unit(UnitName::new("mail@1.service").unwrap())),
            ("mail@.service", Selector::Template("mail".into())),
            ("batch-*.service", Selector::Glob("batch-*.service".into())),
            ("mail@*.service", Selector::Glob("mail@*.service".into())),
            ("worker-?.service", Selector::Glob("worker-?.service".into())),
        ] {
            assert_eq!(parse_selector(text), Ok(selector), "{text}");
        }
    }

    #[test]
    fn bad_selectors() {
        for (text, part) in [
            ("", "does not end in .service; name the units"),
            ("mail", "write \"mail.service\""),
            ("mail.timer", "unitmedic watches services"),
            ("*", "would take every service"),
            ("??.service", "would take every service"),
            ("*.service", "would take every service"),
            ("**?.service", "would take every service"),
            ("*@*.service", "would take every service"),
            (".service", "is refused"),
            ("@.service", "no template"),
            ("a@b@.service", "no template"),
            ("a b.service", "is refused"),
            ("a[12].service", "only * and ?"),
            ("a/*.service", "no unit name has"),
            ("dbus.service", "never touched: it is the message bus"),
            ("systemd-*.service", "never touched: it is part of systemd"),
            ("user@.service", "never touched: it holds all sessions"),
            ("unitmedic.service", "never touched: it is unitmedic itself"),
        ] {
            let error = parse_selector(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    fn common(a: &str, b: &str) -> Option<String> {
        common_unit(&parse_selector(a).unwrap(), &parse_selector(b).unwrap())
    }

    #[test]
    fn overlaps_come_with_a_name_that_both_match() {
        for (a, b, name) in [
            ("mail.service", "mail.service", "mail.service"),
            ("mail@1.service", "mail@.service", "mail@1.service"),
            ("mail.service", "ma*.service", "mail.service"),
            ("mail@.service", "mail@.service", "mail@1.service"),
            ("mail@.service", "mail@*.service", "mail@1.service"),
            ("mail@.service", "m*.service", "mail@1.service"),
            ("a*.service", "*b.service", "ab.service"),
            ("a*c.service", "*b*.service", "abc.service"),
            ("ma*@*.service", "mail@*.service", "mail@1.service"),
            ("w-?.service", "w-*.service", "w-1.service"),
            ("a*.service", "a?.service", "a1.service"),
            ("x*y*z.service", "*q*.service", "xqyz.service"),
        ] {
            for (left, right) in [(a, b), (b, a)] {
                let shared = common(left, right).unwrap_or_else(|| panic!("{left} and {right} overlap"));
                let both =
                    parse_selector(left).unwrap().matches(&shared) && parse_selector(right).unwrap().matches(&shared);
                assert!(both && UnitName::new(&shared).is_ok(), "{left} and {right}: {shared}");
                assert_eq!(shared.len(), name.len(), "{left} and {right}: {shared}");
            }
        }
    }

    #[test]
    fn selectors_that_share_nothing() {
        for (a, b) in [
            ("mail.service", "web.service"),
            ("mail.service", "mail@.service"),
            ("mail@.service", "mailx@.service"),
            ("mail-*.service", "web-*.service"),
            ("*a.service", "*b.service"),
            ("a?.service", "a??.service"),
            ("mail@.service", "mail?.service"),
            // Only the template itself would match both.
            ("mail@*.service", "mail?.service"),
        ] {
            assert_eq!(common(a, b), None, "{a} and {b}");
            assert_eq!(common(b, a), None, "{b} and {a}");
        }
    }

    #[test]
    fn long_patterns_end_in_time() {
        let a = format!("a{}.service", "*b".repeat(100));
        let b = format!("a{}c.service", "*b".repeat(100));
        assert_eq!(common(&a, &b), None);
        let (a, b) = (format!("{}*.service", "a".repeat(200)), format!("*{}.service", "b".repeat(200)));
        assert_eq!(common(&a, &b), None, "no name has 400 characters");
    }
}
