//! Fragments to merged inputs: every key is known and every value is of its kind, each with its origin. What
//! keys mean together is for the next stage.
//!
//! A key that is set twice: the later fragment wins. A worker that is defined twice: its keys merge by the same
//! rule. A value that is overridden must be valid all the same.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::model::action::{HOOK_NAME_MAX, HOOK_PREFIX, HookName};
use crate::model::name::NameError;
use crate::model::{Action, AlertmanagerName, Condition, WorkerName};

use super::errors::{At, Problems, nearest, quoted};
use super::keys::{Section, Spec};
use super::value::{Value, found, words};

/// More workers than this on one host are a mistake of whatever generated the files.
pub const WORKERS_MAX: usize = 4096;
/// Hooks of one worker.
const HOOKS_MAX: usize = 64;
/// Syntax errors told per file: what follows the first few is mostly their echo.
const SYNTAX_ERRORS_MAX: usize = 5;
const TABLES: &[&str] = &["daemon", "guard", "alerts", "alertmanager", "webhook", "defaults", "worker"];
/// Each is told of every alert; a cluster has three.
const ALERTMANAGERS_MAX: usize = 16;

/// What all fragments say together.
#[derive(Debug, Default)]
pub struct Inputs {
    pub daemon: Table,
    pub guard: Table,
    pub alerts: Table,
    /// With the place where each was first named.
    pub alertmanagers: BTreeMap<AlertmanagerName, (At, Table)>,
    pub webhook: Table,
    pub defaults: Table,
    /// With the place where each was first named.
    pub workers: BTreeMap<WorkerName, (At, Table)>,
    /// A fragment could not be read as TOML, so what seems to be missing may be in there.
    pub partial: bool,
}

#[derive(Debug, Default)]
pub struct Table {
    pub keys: BTreeMap<&'static str, Input<Value>>,
    pub plans: BTreeMap<Condition, Input<Vec<Action>>>,
    /// With the place where each was first named. A hook has keys alone.
    pub hooks: BTreeMap<HookName, (At, Table)>,
}

#[derive(Debug)]
pub struct Input<T> {
    /// `None`: the value was refused and the problem is told already.
    pub value: Option<T>,
    pub at: At,
}

/// Merges fragments in the order in which they are given.
pub fn merge(files: &[(PathBuf, String)], problems: &mut Problems) -> Inputs {
    let mut inputs = Inputs::default();
    for (file, (_, text)) in files.iter().enumerate() {
        Fragment { file, lines: line_starts(text), problems }.read(text, &mut inputs);
    }
    inputs
}

/// A name that the operator gives to a table.
trait Named: Ord + std::fmt::Display + Sized {
    const SECTION: Section;
    const MAX: usize;
    fn new(name: &str) -> Result<Self, NameError>;
}

impl Named for WorkerName {
    const SECTION: Section = Section::Worker;
    const MAX: usize = WORKERS_MAX;
    fn new(name: &str) -> Result<Self, NameError> {
        WorkerName::new(name)
    }
}

impl Named for AlertmanagerName {
    const SECTION: Section = Section::Alertmanager;
    const MAX: usize = ALERTMANAGERS_MAX;
    fn new(name: &str) -> Result<Self, NameError> {
        AlertmanagerName::new(name)
    }
}

struct Fragment<'p> {
    file: usize,
    lines: Vec<usize>,
    problems: &'p mut Problems,
}

type Key<'i> = Spanned<DeString<'i>>;
type Entry<'i> = Spanned<DeValue<'i>>;

impl Fragment<'_> {
    fn read(&mut self, text: &str, inputs: &mut Inputs) {
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in errors.iter().take(SYNTAX_ERRORS_MAX) {
            let at = error.span().map(|span| self.at(span.start)).unwrap_or(At { file: self.file, line: 0 });
            self.problems.add(at, format!("not valid TOML: {}", error.message().replace('\n', "; ")));
        }
        if !errors.is_empty() {
            inputs.partial = true;
            return;
        }
        for (key, value) in document.get_ref().iter() {
            match key.get_ref().as_ref() {
                "daemon" => self.section(Section::Daemon, "[daemon]", key, value, &mut inputs.daemon),
                "guard" => self.section(Section::Guard, "[guard]", key, value, &mut inputs.guard),
                "defaults" => self.section(Section::Defaults, "[defaults]", key, value, &mut inputs.defaults),
                "alerts" => self.section(Section::Alerts, "[alerts]", key, value, &mut inputs.alerts),
                "webhook" => self.section(Section::Webhook, "[webhook]", key, value, &mut inputs.webhook),
                "alertmanager" => self.named("alertmanager", key, value, &mut inputs.alertmanagers),
                "worker" => self.named("worker", key, value, &mut inputs.workers),
                _ => self.unknown_table(key, value),
            }
        }
    }

    fn unknown_table(&mut self, key: &Key<'_>, value: &Entry<'_>) {
        let name = key.get_ref().as_ref();
        let text = if let Some(place) = belongs(name, None) {
            format!("key {} is outside of any table; it belongs in {place}", quoted(name))
        } else if value.get_ref().is_table() {
            let hint = match nearest(name, TABLES.iter().copied()) {
                Some(near @ ("worker" | "alertmanager")) => format!("did you mean [{near}.NAME]?"),
                Some(near) => format!("did you mean [{near}]?"),
                None => {
                    "known are [daemon], [guard], [alerts], [alertmanager.NAME], [webhook], [defaults] and [worker.NAME]".into()
                }
            };
            format!("unknown table [{}]; {hint}", bare(name))
        } else {
            format!("unknown key {} outside of any table", quoted(name))
        };
        self.add(key, text);
    }

    /// Tables of the operator's own names: `[worker.NAME]`, `[alertmanager.NAME]`.
    fn named<N: Named>(&mut self, what: &str, key: &Key<'_>, value: &Entry<'_>, into: &mut BTreeMap<N, (At, Table)>) {
        let DeValue::Table(tables) = value.get_ref() else {
            let found = found(value.get_ref());
            return self.add(key, format!("{what} takes tables named [{what}.NAME]; found {found}"));
        };
        for (key, value) in tables.iter() {
            let name = match N::new(key.get_ref()) {
                Ok(name) => name,
                Err(error) => {
                    self.add(key, error.to_string());
                    continue;
                }
            };
            let at = self.at(key.span().start);
            if into.len() >= N::MAX && !into.contains_key(&name) {
                return self.problems.add(at, format!("more than {} {what}s", N::MAX));
            }
            let title = format!("[{what}.{name}]");
            if !value.get_ref().is_table() {
                let found = found(value.get_ref());
                self.add(key, format!("{title} must be a table; found {found}"));
                continue;
            }
            let table = &mut into.entry(name).or_insert_with(|| (at, Table::default())).1;
            self.section(N::SECTION, &title, key, value, table);
        }
    }

    fn section(&mut self, section: Section, title: &str, key: &Key<'_>, value: &Entry<'_>, into: &mut Table) {
        let DeValue::Table(table) = value.get_ref() else {
            return self.add(key, format!("{title} must be a table; found {}", found(value.get_ref())));
        };
        let specs = section.specs();
        for (key, value) in table.iter() {
            let name = key.get_ref().as_ref();
            if name == "plans" && section.tables().contains(&name) {
                self.plans(title, key, value, into);
            } else if name == "hooks" && section.tables().contains(&name) {
                self.hooks(title, key, value, into);
            } else if let Some(spec) = specs.iter().find(|spec| spec.name == name) {
                let at = self.at(key.span().start);
                let value = spec.kind.parse(value.get_ref());
                let value = value.map_err(|why| self.problems.add(at, format!("{name} in {title} {why}"))).ok();
                into.keys.insert(spec.name, Input { value, at });
            } else {
                self.add(key, unknown_key(name, section, title, &specs));
            }
        }
    }

    fn hooks(&mut self, title: &str, key: &Key<'_>, value: &Entry<'_>, into: &mut Table) {
        let DeValue::Table(hooks) = value.get_ref() else {
            let found = found(value.get_ref());
            return self.add(key, format!("hooks in {title} takes tables, one for each hook; found {found}"));
        };
        let scope = title.trim_end_matches(']');
        for (key, value) in hooks.iter() {
            let name = match HookName::new(key.get_ref()) {
                Ok(name) => name,
                Err(_) => {
                    let limits = format!("1 to {HOOK_NAME_MAX} characters of a-z, 0-9, - and _");
                    self.add(key, format!("hook name {} in {title} is not {limits}", quoted(key.get_ref())));
                    continue;
                }
            };
            let at = self.at(key.span().start);
            let title = format!("{scope}.hooks.{name}]");
            if !value.get_ref().is_table() {
                let found = found(value.get_ref());
                self.add(key, format!("{title} must be a table; found {found}"));
                continue;
            }
            if into.hooks.len() >= HOOKS_MAX && !into.hooks.contains_key(&name) {
                return self.problems.add(at, format!("{scope}] has more than {HOOKS_MAX} hooks"));
            }
            let table = &mut into.hooks.entry(name).or_insert_with(|| (at, Table::default())).1;
            self.section(Section::Hook, &title, key, value, table);
        }
    }

    fn plans(&mut self, title: &str, key: &Key<'_>, value: &Entry<'_>, into: &mut Table) {
        let DeValue::Table(table) = value.get_ref() else {
            let found = found(value.get_ref());
            return self
                .add(key, format!("plans in {title} takes a table of lists, dead = [\"restart\"]; found {found}"));
        };
        for (key, value) in table.iter() {
            let name = key.get_ref().as_ref();
            let Some(condition) = Condition::parse(name) else {
                let known = || Condition::ALL.iter().map(|condition| condition.as_str());
                let hint = match nearest(name, known()) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("known are {}", known().collect::<Vec<_>>().join(", ")),
                };
                self.add(key, format!("unknown condition {} in the plans of {title}; {hint}", quoted(name)));
                continue;
            };
            let value = self.plan(&format!("plan {condition} of {title}"), key, value);
            into.plans.insert(condition, Input { value, at: self.at(key.span().start) });
        }
    }

    fn plan(&mut self, title: &str, key: &Key<'_>, value: &Entry<'_>) -> Option<Vec<Action>> {
        let DeValue::Array(list) = value.get_ref() else {
            let found = found(value.get_ref());
            self.add(
                key,
                format!("{title} takes a list of actions, such as [\"restart\", \"escalate\"]; found {found}"),
            );
            return None;
        };
        if list.iter().next().is_none() {
            self.add(key, format!("{title} is empty; to be told and nothing more, write [\"escalate\"]"));
            return None;
        }
        let mut plan: Vec<Action> = Vec::new();
        let mut good = true;
        for entry in list.iter() {
            let wrong = match self.action(entry.get_ref()) {
                Err(why) => Some(why),
                Ok(action) if plan.contains(&action) => Some(format!("has {action:?} twice", action = action.as_str())),
                Ok(_) if plan.contains(&Action::Escalate) => {
                    Some("goes on after \"escalate\", which must be last: nothing follows it".into())
                }
                Ok(action) => {
                    plan.push(action);
                    None
                }
            };
            if let Some(wrong) = wrong {
                good = false;
                let at = self.at(entry.span().start);
                self.problems.add(at, format!("{title} {wrong}"));
            }
        }
        good.then_some(plan)
    }

    fn action(&self, value: &DeValue<'_>) -> Result<Action, String> {
        let planned = Action::ALL.iter().filter(|action| **action != Action::ScaleDown);
        let known = || planned.clone().map(|action| action.as_str()).chain(["hook:NAME"]);
        let Some(word) = value.as_str() else {
            return Err(format!("takes {}; found {}", words(known()), found(value)));
        };
        match Action::parse(word) {
            Some(Action::ScaleDown) => {
                return Err(
                    "has \"scale_down\", which needs no plan: it happens by itself when there is less work".into()
                );
            }
            Some(action) => return Ok(action),
            None if word.starts_with(HOOK_PREFIX) => {
                let limits = format!("1 to {HOOK_NAME_MAX} characters of a-z, 0-9, - and _");
                return Err(format!("has {}; the name of a hook has {limits}", quoted(word)));
            }
            None => {}
        }
        Err(match nearest(word, known()) {
            Some(near) => format!("has the unknown action {}; did you mean {near:?}?", quoted(word)),
            None => format!("has the unknown action {}; it can be {}", quoted(word), words(known())),
        })
    }

    fn add(&mut self, key: &Key<'_>, text: String) {
        let at = self.at(key.span().start);
        self.problems.add(at, text);
    }

    fn at(&self, byte: usize) -> At {
        At { file: self.file, line: self.lines.partition_point(|start| *start <= byte) }
    }
}

fn unknown_key(name: &str, section: Section, title: &str, specs: &[&'static Spec]) -> String {
    let unknown = format!("unknown key {} in {title}", quoted(name));
    if let Some(place) = belongs(name, Some(section)) {
        return format!("{unknown}; it belongs in {place}");
    }
    let known = || specs.iter().map(|spec| spec.name).chain(section.tables().iter().copied());
    match nearest(name, known()) {
        Some(near) => format!("{unknown}; did you mean {near:?}?"),
        None if specs.len() < 10 => format!("{unknown}; known are {}", known().collect::<Vec<_>>().join(", ")),
        None => unknown,
    }
}

/// The tables that do take the key.
fn belongs(name: &str, except: Option<Section>) -> Option<String> {
    let others = Section::ALL.into_iter().filter(|section| Some(*section) != except);
    let takes =
        |section: &Section| section.specs().iter().any(|spec| spec.name == name) || section.tables().contains(&name);
    let places: Vec<&str> = others.filter(takes).map(Section::title).collect();
    (!places.is_empty()).then(|| places.join(" or "))
}

/// A table name as it stands in brackets.
fn bare(name: &str) -> String {
    quoted(name).trim_matches('"').to_string()
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}
