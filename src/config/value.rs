//! Kinds of values: what a key takes, in words and as a parser. Nothing here knows which keys there are.

use std::net::SocketAddr;
use std::path::{Component, PathBuf};
use std::time::Duration;

use toml::de::{DeFloat, DeInteger, DeValue};

use crate::model::Selector;
use crate::model::approval::{ApprovalFor, NoAnswer};
use crate::model::families::{Family, UNIT_PATTERN_COMPILED_MAX, UNIT_PATTERN_MAX};
use crate::model::hours::Hours;
use crate::model::settings::{ERROR_MATCH_COMPILED_MAX, ERROR_MATCH_MAX, Explore, OnStop, Peer, ScaleOn};
use crate::model::signal::QueueName;

use super::address::{UrlKind, host_and_port, show_peer, with_specifiers};
use super::errors::{nearest, quoted};
use super::list::{self, ARGUMENTS_MAX};
use super::selector::parse_selector;
use super::span::{check_signal, parse_signal, parse_size, parse_span, show_signal, show_size, show_span};

/// Longest path of a Unix socket that the kernel takes (sun_path less the terminating zero).
pub const SOCKET_PATH_MAX: usize = 107;
/// Longest path of a directory: leaves room for what we create in it.
pub const DIR_PATH_MAX: usize = 1024;
/// Longest name of a group (LOGIN_NAME_MAX is 256; useradd stops at 32).
const GROUP_MAX: usize = 32;

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Switch,
    /// A whole number within the two, both included.
    Count(u32, u32),
    /// Over 0, up to 100.
    Percent,
    /// Over 0, up to the given.
    Number(f64),
    /// Within the two, both included.
    Span(Duration, Duration),
    Signal,
    /// Bytes, within the two; 0 is allowed besides and means none.
    Size(u64, u64),
    /// Name of a group; empty for none.
    Group,
    /// An absolute path of at most so many bytes.
    Path(usize),
    /// `ADDRESS:PORT`, or `none`.
    Address,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Hours of the day.
    Hours,
    Selector,
    /// A text of so many bytes at most, without control characters, and not empty.
    Word(usize),
    /// Name of a user of the host.
    User,
    /// The path of a file with a secret; in a mistake it is the secret itself.
    SecretPath(usize),
    /// Name of a systemd credential.
    Credential,
    /// An absolute path with the specifiers of unit files.
    InstancePath,
    Url(UrlKind),
    /// `HOST:PORT`, with the specifiers of unit files.
    Endpoint,
    /// A regular expression.
    Pattern,
    /// A program and its arguments, with the specifiers of unit files.
    Command,
    Queues,
    Peers,
    ScaleOn,
    /// `NAME=VALUE` of Prometheus.
    Labels,
    /// Names of labels, at least one.
    LabelNames,
    /// Values of a label, maybe none.
    LabelValues,
    Families,
    /// A regular expression of unit names; it may be empty.
    UnitPattern,
}

/// A value that is valid for its key.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Switch(bool),
    Count(u32),
    Number(f64),
    Span(Duration),
    Signal(i32),
    Size(u64),
    Text(String),
    Path(PathBuf),
    Address(Option<SocketAddr>),
    /// Of a closed set.
    Choice(&'static str),
    Hours(Hours),
    Selector(Selector),
    Texts(Vec<String>),
    Queues(Vec<QueueName>),
    Peers(Vec<Peer>),
    ScaleOn(Vec<ScaleOn>),
    Families(Vec<Family>),
}

impl Kind {
    /// What is taken, for errors and documentation: completes "KEY takes …".
    pub fn takes(&self) -> String {
        match self {
            Kind::Switch => "true or false".into(),
            Kind::Count(min, max) => format!("a whole number from {min} to {max}"),
            Kind::Percent => "a percentage over 0 and up to 100, as a number".into(),
            Kind::Number(max) => format!("a number over 0 and up to {max}"),
            Kind::Span(min, max) => format!("a time span from {} to {}", show_span(*min), show_span(*max)),
            Kind::Signal => "a signal, such as \"SIGTERM\" or 15".into(),
            Kind::Size(min, max) => format!("0, or a size from \"{}\" to \"{}\"", show_size(*min), show_size(*max)),
            Kind::Group => "the name of a group, or \"\" for none".into(),
            Kind::Path(max) | Kind::SecretPath(max) => format!("an absolute path of at most {max} bytes"),
            Kind::Address => "an address with its port, such as \"127.0.0.1:10119\", or \"none\"".into(),
            Kind::Choice(choices) => words(choices.iter().copied()),
            Kind::Hours => "hours of the day, such as \"02:00-05:00\" or \"22:30-04:00\"".into(),
            Kind::Selector => "a unit, a template or a pattern of units".into(),
            Kind::Word(max) => format!("a text of 1 to {max} bytes, without control characters"),
            Kind::User => "the name of a user".into(),
            Kind::Credential => "a name of letters, digits, -, _ and .".into(),
            Kind::InstancePath => {
                "an absolute path, in which %n, %i, %p and %% mean what they mean in unit files".into()
            }
            Kind::Url(kind) => kind.takes().into(),
            Kind::Endpoint => "a host and its port, such as \"127.0.0.1:5000\" or \"[::1]:5000\"".into(),
            Kind::Pattern => format!("a regular expression of at most {ERROR_MATCH_MAX} bytes"),
            Kind::Command => {
                format!("a list of 1 to {ARGUMENTS_MAX} texts: a program with its absolute path, and its arguments")
            }
            Kind::Queues => format!(
                "a list of at most {} queues, such as [\"mail\", {{ vhost = \"jobs\", name = \"mail\" }}]",
                list::QUEUES_MAX
            ),
            Kind::Peers => format!(
                "a list of at most {} hosts with their ports, such as [\"10.0.0.5:5672\", \"[::1]:5672\"]",
                list::PEERS_MAX
            ),
            Kind::LabelNames => format!("a list of 1 to {} names of labels", list::LABELS_MAX),
            Kind::LabelValues => format!("a list of at most {} texts", list::LABELS_MAX),
            Kind::Labels => {
                format!("a list of at most {} labels, such as [\"site=paris\"]", list::LABELS_MAX)
            }
            Kind::ScaleOn => format!("a list of {}", words(ScaleOn::ALL.iter().map(|word| word.as_str()))),
            Kind::Families => format!("a list of {}", words(Family::ALL.iter().map(|word| word.as_str()))),
            Kind::UnitPattern => format!("a regular expression of at most {UNIT_PATTERN_MAX} bytes"),
        }
    }

    /// The error is a phrase that completes "KEY in [TABLE] …".
    pub fn parse(&self, value: &DeValue<'_>) -> Result<Value, String> {
        let refuse = |why: Option<String>| {
            let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
            format!("takes {}; found {}{why}", self.takes(), self.found(value))
        };
        let because = |why: String| refuse(Some(why));
        match (self, value) {
            (Kind::Switch, DeValue::Boolean(on)) => Ok(Value::Switch(*on)),
            (Kind::Count(min, max), DeValue::Integer(number)) => match whole(number) {
                Some(0) if *min > 0 => Err(refuse(Some("zero does not mean unlimited".into()))),
                Some(number) if (i64::from(*min)..=i64::from(*max)).contains(&number) => {
                    Ok(Value::Count(number as u32))
                }
                _ => Err(refuse(None)),
            },
            (Kind::Percent, _) => within(value, 100.0).ok_or_else(|| refuse(None)),
            (Kind::Number(max), _) => within(value, *max).ok_or_else(|| refuse(None)),
            (Kind::Span(min, max), _) => match span(value) {
                Some(Ok(span)) if (*min..=*max).contains(&span) => Ok(Value::Span(span)),
                Some(Err(why)) => Err(refuse(Some(why))),
                _ => Err(refuse(None)),
            },
            (Kind::Signal, DeValue::String(text)) => {
                parse_signal(text).map(Value::Signal).map_err(|why| refuse(Some(why)))
            }
            (Kind::Signal, DeValue::Integer(number)) => {
                let number = whole(number).and_then(|number| i32::try_from(number).ok()).unwrap_or(0);
                check_signal(number).map(Value::Signal).map_err(|why| refuse(Some(why)))
            }
            (Kind::Size(min, max), _) => match size(value) {
                Some(Ok(bytes)) if bytes == 0 || (*min..=*max).contains(&bytes) => Ok(Value::Size(bytes)),
                Some(Err(why)) => Err(refuse(Some(why))),
                _ => Err(refuse(None)),
            },
            (Kind::Group, DeValue::String(name)) if is_group(name) => Ok(Value::Text(name.to_string())),
            (Kind::Path(max) | Kind::SecretPath(max), DeValue::String(path)) if is_path(path, *max) => {
                Ok(Value::Path(path.as_ref().into()))
            }
            (Kind::Address, DeValue::String(text)) if text == "none" => Ok(Value::Address(None)),
            (Kind::Address, DeValue::String(text)) => match text.parse::<SocketAddr>() {
                Ok(address) if address.port() > 0 => Ok(Value::Address(Some(address))),
                _ => Err(refuse(None)),
            },
            (Kind::Choice(choices), DeValue::String(word)) => {
                choices.iter().find(|choice| *choice == word).map(|choice| Value::Choice(choice)).ok_or_else(|| {
                    let near = nearest(word, choices.iter().copied());
                    refuse(near.map(|near| format!("did you mean \"{near}\"?")))
                })
            }
            (Kind::Hours, DeValue::String(text)) => Hours::parse(text).map(Value::Hours).ok_or_else(|| refuse(None)),
            (Kind::Selector, DeValue::String(text)) => parse_selector(text).map(Value::Selector),
            (_, DeValue::String(text)) => match self.text(text) {
                Some(Ok(value)) => Ok(value),
                Some(Err(why)) => Err(because(why)),
                None => Err(refuse(None)),
            },
            (Kind::Command, DeValue::Array(list)) => list::command(list).map(Value::Texts).map_err(because),
            (Kind::Queues, DeValue::Array(list)) => list::queues(list).map(Value::Queues).map_err(because),
            (Kind::Peers, DeValue::Array(list)) => list::peers(list).map(Value::Peers).map_err(because),
            (Kind::LabelNames, DeValue::Array(list)) => list::label_names(list).map(Value::Texts).map_err(because),
            (Kind::LabelValues, DeValue::Array(list)) => list::label_values(list).map(Value::Texts).map_err(because),
            (Kind::Labels, DeValue::Array(list)) => list::labels(list).map(Value::Texts).map_err(because),
            (Kind::ScaleOn, DeValue::Array(list)) => list::scale_on(list).map(Value::ScaleOn).map_err(because),
            (Kind::Families, DeValue::Array(list)) => list::families(list).map(Value::Families).map_err(because),
            _ => Err(refuse(None)),
        }
    }

    /// The kinds that are texts of a certain form; `None` where nothing is to be added to what is taken.
    fn text(&self, text: &str) -> Option<Result<Value, String>> {
        let plain = |good: bool| good.then(|| Ok(Value::Text(text.into())));
        match self {
            Kind::Word(max) => plain(is_word(text, *max)),
            Kind::User => plain(!text.is_empty() && is_group(text)),
            Kind::Credential => plain(is_credential(text)),
            Kind::InstancePath => match with_specifiers(text, false) {
                Ok(path) if is_path(&path, DIR_PATH_MAX) => Some(Ok(Value::Text(text.into()))),
                Ok(_) => None,
                Err(why) => Some(Err(why)),
            },
            Kind::Url(kind) => Some(kind.check(text).map(|()| Value::Text(text.into()))),
            Kind::Endpoint => {
                let checked = with_specifiers(text, false).and_then(|text| host_and_port(&text));
                Some(checked.map(|_| Value::Text(text.into())))
            }
            Kind::Pattern if text.is_empty() || text.len() > ERROR_MATCH_MAX => None,
            Kind::Pattern => Some(check_pattern(text).map(|()| Value::Text(text.into()))),
            Kind::UnitPattern if text.len() > UNIT_PATTERN_MAX => None,
            Kind::UnitPattern => Some(check_unit_pattern(text).map(|()| Value::Text(text.into()))),
            _ => None,
        }
    }

    /// What stands there instead. Where a password could be, it is not repeated.
    fn found(&self, value: &DeValue<'_>) -> String {
        match (self, value) {
            (Kind::Url(_) | Kind::Endpoint | Kind::Peers, DeValue::String(text)) if text.contains('@') => {
                "a text with a user in it".into()
            }
            (Kind::SecretPath(_) | Kind::Credential, DeValue::String(_)) => {
                "a text that is not repeated here, as it could be the password itself".into()
            }
            _ => found(value),
        }
    }
}

impl Value {
    /// As it is written in TOML.
    pub fn toml(&self) -> String {
        match self {
            Value::Switch(on) => on.to_string(),
            Value::Count(number) => number.to_string(),
            Value::Number(number) => format!("{number:?}"),
            Value::Span(span) => format!("\"{}\"", show_span(*span)),
            Value::Signal(number) => format!("\"{}\"", show_signal(*number)),
            Value::Size(bytes) => format!("\"{}\"", show_size(*bytes)),
            Value::Text(text) => quote(text),
            Value::Path(path) => format!("\"{}\"", path.display()),
            Value::Address(Some(address)) => format!("\"{address}\""),
            Value::Address(None) => "\"none\"".into(),
            Value::Choice(word) => format!("\"{word}\""),
            Value::Hours(hours) => format!("\"{hours}\""),
            Value::Selector(selector) => format!("\"{selector}\""),
            Value::Texts(texts) => array(texts.iter().map(|text| quote(text))),
            Value::Queues(queues) => array(queues.iter().map(|queue| match &queue.vhost {
                Some(vhost) => format!("{{ vhost = {}, name = {} }}", quote(vhost), quote(&queue.name)),
                None => quote(&queue.name),
            })),
            Value::Peers(peers) => array(peers.iter().map(|peer| quote(&show_peer(peer)))),
            Value::ScaleOn(words) => array(words.iter().map(|word| format!("\"{word}\""))),
            Value::Families(words) => array(words.iter().map(|word| format!("\"{word}\""))),
        }
    }
}

fn quote(text: &str) -> String {
    toml::Value::String(text.into()).to_string()
}

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// A field of the settings that a key fills.
pub trait Field: Sized {
    /// `None` for a field that has no default.
    fn show(&self) -> Option<Value>;
    fn take(value: Value) -> Self;
}

macro_rules! field {
    ($type:ty, $variant:ident, $show:expr, $take:expr) => {
        impl Field for $type {
            fn show(&self) -> Option<Value> {
                let show: fn(&$type) -> Option<_> = $show;
                show(self).map(Value::$variant)
            }
            fn take(value: Value) -> Self {
                match value {
                    Value::$variant(inner) => $take(inner),
                    other => unreachable!("the kind of a key does not fit its field: {other:?}"),
                }
            }
        }
    };
}
field!(bool, Switch, |on| Some(*on), |on| on);
field!(u32, Count, |number| Some(*number), |number| number);
field!(Option<u32>, Count, |number| *number, Some);
field!(Option<Hours>, Hours, |hours| *hours, Some);
field!(f64, Number, |number| Some(*number), |number| number);
field!(Duration, Span, |span| Some(*span), |span| span);
field!(i32, Signal, |number| Some(*number), |number| number);
field!(u64, Size, |bytes| Some(*bytes), |bytes| bytes);
field!(String, Text, |text| Some(text.clone()), |text| text);
field!(PathBuf, Path, |path| Some(path.clone()), |path| path);
field!(Option<SocketAddr>, Address, |address| Some(*address), |address| address);
/// A word that was found among those of the set.
macro_rules! choice {
    ($($set:ty),+) => {$(
        field!($set, Choice, |word| Some(word.as_str()), |word| <$set>::parse(word).expect("a word of the set"));
    )+};
}
choice!(OnStop, Explore, ApprovalFor, NoAnswer);
field!(Selector, Selector, |_| None, |selector| selector);
field!(Option<String>, Text, |text| text.clone(), Some);
field!(Option<PathBuf>, Path, |path| path.clone(), Some);
field!(Option<i32>, Signal, |number| *number, Some);
field!(Vec<String>, Texts, |texts| Some(texts.clone()).filter(|texts| !texts.is_empty()), |texts| texts);
field!(Option<Vec<String>>, Texts, |texts| texts.clone(), Some);
field!(Vec<QueueName>, Queues, |queues| Some(queues.clone()).filter(|queues| !queues.is_empty()), |queues| queues);
field!(Vec<Peer>, Peers, |peers| Some(peers.clone()).filter(|peers| !peers.is_empty()), |peers| peers);
field!(Vec<ScaleOn>, ScaleOn, |words| Some(words.clone()), |words| words);
field!(Vec<Family>, Families, |words| Some(words.clone()), |words| words);

/// `"a", "b" or "c"`.
pub fn words<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.map(|word| format!("\"{word}\"")).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// What stands there instead, in words.
pub fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {}", quoted(text)),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(on) => on.to_string(),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "an array".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

fn whole(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn real(number: &DeFloat<'_>) -> Option<f64> {
    number.as_str().parse().ok().filter(|number: &f64| number.is_finite())
}

fn within(value: &DeValue<'_>, max: f64) -> Option<Value> {
    let number = match value {
        DeValue::Integer(number) => whole(number)? as f64,
        DeValue::Float(number) => real(number)?,
        _ => return None,
    };
    (number > 0.0 && number <= max).then_some(Value::Number(number))
}

fn span(value: &DeValue<'_>) -> Option<Result<Duration, String>> {
    match value {
        DeValue::String(text) => Some(parse_span(text)),
        DeValue::Integer(number) => Some(Ok(Duration::from_secs(u64::try_from(whole(number)?).ok()?))),
        DeValue::Float(number) => Some(Ok(Duration::try_from_secs_f64(real(number)?).ok()?)),
        _ => None,
    }
}

fn size(value: &DeValue<'_>) -> Option<Result<u64, String>> {
    match value {
        DeValue::String(text) => Some(parse_size(text)),
        DeValue::Integer(number) => Some(Ok(u64::try_from(whole(number)?).ok()?)),
        _ => None,
    }
}

fn is_group(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
    name.len() <= GROUP_MAX && name.bytes().all(allowed) && !name.starts_with('-')
}

/// As journals, prompts and protocols take it.
pub fn is_word(text: &str, max: usize) -> bool {
    !text.is_empty() && text.len() <= max && !text.chars().any(char::is_control)
}

fn is_credential(name: &str) -> bool {
    /// Longest name of a file, which a credential becomes.
    const NAME_MAX: usize = 255;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(allowed) && name != "." && name != ".."
}

fn check_pattern(text: &str) -> Result<(), String> {
    let built = regex::bytes::RegexBuilder::new(text).size_limit(ERROR_MATCH_COMPILED_MAX).build();
    match built {
        Ok(pattern) if pattern.is_match(b"") => Err("it matches every message".into()),
        Ok(_) => Ok(()),
        Err(error) => Err(pattern_error(&error)),
    }
}

/// As it is compiled where it is used: for whole names.
fn check_unit_pattern(text: &str) -> Result<(), String> {
    let built = |text: &str| regex::RegexBuilder::new(text).size_limit(UNIT_PATTERN_COMPILED_MAX).build();
    // By itself first: a parenthesis too many would fit the one that is put around it.
    built(text).and_then(|_| built(&format!("^(?:{text})$"))).map(drop).map_err(|error| pattern_error(&error))
}

fn pattern_error(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => "it is too large when compiled".into(),
        // The message draws the pattern over several lines; its last line says what is wrong.
        other => other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").into(),
    }
}

pub fn is_path(text: &str, max: usize) -> bool {
    let path = std::path::Path::new(text);
    let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    path.is_absolute()
        && plain
        && text.len() > 1
        && text.len() <= max
        && !text.chars().any(|c| c.is_control() || c == '"')
}
