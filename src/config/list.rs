//! Values that are lists: commands, queues, peers, and what scales a worker.
//!
//! Every error is a phrase that completes "found … (…)".

use toml::de::{DeArray, DeTable, DeValue};

use crate::model::families::Family;
use crate::model::settings::{Peer, ScaleOn};
use crate::model::signal::QueueName;

use super::address::{host_and_port, show_queue, with_specifiers};
use super::errors::{nearest, quoted};
use super::keys::LABEL_VALUE_MAX;
use super::value::{DIR_PATH_MAX, found, is_path, is_word, words};

/// Program and arguments of a command.
pub const ARGUMENTS_MAX: usize = 64;
/// Longest argument, in bytes.
const ARGUMENT_MAX: usize = 4096;
/// Queues of one worker; each is asked for in every interval.
pub const QUEUES_MAX: usize = 64;
/// Longest name of a queue or virtual host (AMQP's short string).
pub const QUEUE_NAME_MAX: usize = 255;
/// Further labels of alerts.
pub const LABELS_MAX: usize = 16;
/// Labels that every alert has.
const LABELS_TAKEN: &[&str] = &["alertname", "instance", "severity", "source", "unit", "worker"];
/// Peers of one worker; each connection of an instance is compared with them.
pub const PEERS_MAX: usize = 64;

pub fn command(list: &DeArray<'_>) -> Result<Vec<String>, String> {
    let arguments = texts(list, ARGUMENTS_MAX)?;
    for argument in &arguments {
        if argument.len() > ARGUMENT_MAX || argument.contains('\0') {
            return Err(format!("an argument has at most {ARGUMENT_MAX} bytes, none of them zero"));
        }
        with_specifiers(argument, false).map_err(|why| format!("in {}: {why}", quoted(argument)))?;
    }
    match arguments.first() {
        None => Err("it is empty".into()),
        Some(program) if program.contains('%') => Err("the program itself cannot have a %".into()),
        Some(program) if !is_path(program, DIR_PATH_MAX) => {
            Err(format!("the program {} has no absolute path", quoted(program)))
        }
        Some(_) => Ok(arguments),
    }
}

pub fn queues(list: &DeArray<'_>) -> Result<Vec<QueueName>, String> {
    let mut queues = Vec::new();
    for entry in entries(list, QUEUES_MAX)? {
        let queue = match entry {
            DeValue::String(name) => QueueName { vhost: None, name: queue_word("a queue's name", name)? },
            DeValue::Table(table) => queue_table(table)?,
            other => return Err(format!("a queue is a name or a table; {} is in it", found(other))),
        };
        if queues.contains(&queue) {
            return Err(format!("it has {} twice", show_queue(&queue)));
        }
        queues.push(queue);
    }
    Ok(queues)
}

fn queue_table(table: &DeTable<'_>) -> Result<QueueName, String> {
    let (mut vhost, mut name) = (None, None);
    for (key, value) in table.iter() {
        let key = key.get_ref().as_ref();
        let place = match key {
            "vhost" => &mut vhost,
            "name" => &mut name,
            _ => {
                return Err(match nearest(key, ["vhost", "name"].into_iter()) {
                    Some(near) => format!("unknown key {} of a queue; did you mean {near:?}?", quoted(key)),
                    None => format!("unknown key {} of a queue; known are vhost and name", quoted(key)),
                });
            }
        };
        let DeValue::String(text) = value.get_ref() else {
            return Err(format!("{key} of a queue is a text; {} is in it", found(value.get_ref())));
        };
        *place = Some(queue_word(&format!("{key} of a queue"), text)?);
    }
    let name = name.ok_or("a queue has no name")?;
    Ok(QueueName { vhost, name })
}

fn queue_word(what: &str, text: &str) -> Result<String, String> {
    match is_word(text, QUEUE_NAME_MAX) {
        true => Ok(text.into()),
        false => Err(format!("{what} has 1 to {QUEUE_NAME_MAX} bytes and no control characters")),
    }
}

pub fn peers(list: &DeArray<'_>) -> Result<Vec<Peer>, String> {
    let mut peers = Vec::new();
    for text in texts(list, PEERS_MAX)? {
        let shown = if text.contains('@') { "a text with a user in it".into() } else { quoted(&text) };
        let peer = host_and_port(&text).map_err(|why| format!("in {shown}: {why}"))?;
        if peers.contains(&peer) {
            return Err(format!("it has {shown} twice"));
        }
        peers.push(peer);
    }
    Ok(peers)
}

/// `NAME=VALUE`, none of which is one of ours.
pub fn labels(list: &DeArray<'_>) -> Result<Vec<String>, String> {
    let mut labels: Vec<String> = Vec::new();
    for text in texts(list, LABELS_MAX)? {
        let (name, value) = text.split_once('=').ok_or_else(|| format!("{} has no =", quoted(&text)))?;
        if !is_label_name(name) {
            return Err(format!("{} is not the name of a label: letters, digits and _, no digit first", quoted(name)));
        }
        if LABELS_TAKEN.contains(&name) || name.starts_with("__") {
            return Err(format!("the label {name} is taken"));
        }
        if !is_word(value, LABEL_VALUE_MAX) {
            return Err(format!("the value of {name} has 1 to {LABEL_VALUE_MAX} bytes, without control characters"));
        }
        if labels.iter().any(|other| other.split_once('=').is_some_and(|(other, _)| other == name)) {
            return Err(format!("it has {name} twice"));
        }
        labels.push(text);
    }
    Ok(labels)
}

pub fn label_names(list: &DeArray<'_>) -> Result<Vec<String>, String> {
    let names = texts(list, LABELS_MAX)?;
    match names.iter().find(|name| !is_label_name(name)) {
        Some(name) => {
            Err(format!("{} is not the name of a label: letters, digits and _, no digit first", quoted(name)))
        }
        None if names.is_empty() => Err("it is empty".into()),
        None => Ok(names),
    }
}

pub fn label_values(list: &DeArray<'_>) -> Result<Vec<String>, String> {
    let values = texts(list, LABELS_MAX)?;
    match values.iter().find(|value| !is_word(value, LABEL_VALUE_MAX)) {
        Some(value) => Err(format!("{} is empty, too long, or has control characters", quoted(value))),
        None => Ok(values),
    }
}

fn is_label_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !name.is_empty() && name.len() <= 64 && name.bytes().all(allowed) && !name.as_bytes()[0].is_ascii_digit()
}

pub fn scale_on(list: &DeArray<'_>) -> Result<Vec<ScaleOn>, String> {
    closed(list, ScaleOn::ALL, ScaleOn::as_str)
}

pub fn families(list: &DeArray<'_>) -> Result<Vec<Family>, String> {
    closed(list, Family::ALL, Family::as_str)
}

/// Words of a closed set, each at most once.
fn closed<T: Copy + PartialEq>(list: &DeArray<'_>, all: &[T], as_str: fn(T) -> &'static str) -> Result<Vec<T>, String> {
    let mut found = Vec::new();
    let known = || all.iter().map(|word| as_str(*word));
    for text in texts(list, all.len())? {
        let word =
            all.iter().copied().find(|word| as_str(*word) == text).ok_or_else(|| match nearest(&text, known()) {
                Some(near) => format!("unknown is {}; did you mean {near:?}?", quoted(&text)),
                None => format!("unknown is {}; known are {}", quoted(&text), words(known())),
            })?;
        if found.contains(&word) {
            return Err(format!("it has {} twice", quoted(&text)));
        }
        found.push(word);
    }
    Ok(found)
}

fn texts(list: &DeArray<'_>, max: usize) -> Result<Vec<String>, String> {
    let text = |entry: &DeValue<'_>| match entry {
        DeValue::String(text) => Ok(text.to_string()),
        other => Err(format!("{} is in it", found(other))),
    };
    entries(list, max)?.map(text).collect()
}

fn entries<'l, 'i>(list: &'l DeArray<'i>, max: usize) -> Result<impl Iterator<Item = &'l DeValue<'i>>, String> {
    match list.iter().count() {
        count if count > max => Err(format!("it has {count}")),
        _ => Ok(list.iter().map(|entry| entry.get_ref())),
    }
}
