//! Where a worker's partners are: URLs, `host:port`, and texts with the specifiers of unit files.
//!
//! Every error is a phrase that completes "found … (…)". None repeats a URL, for it could hold a password.

use std::net::Ipv6Addr;

use crate::model::UnitName;
use crate::model::settings::Peer;
use crate::model::signal::{QueueName, expand};

use super::errors::quoted;

/// Longest URL that is taken.
const URL_MAX: usize = 1024;
/// Longest host name (RFC 1035 counts 255 bytes with lengths and root).
const HOST_MAX: usize = 253;

/// What can stand between braces in a link.
const LINK_PLACEHOLDERS: [&str; 3] = ["{worker}", "{unit}", "{incident}"];

/// What kind of URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlKind {
    /// A broker, with its virtual host.
    Amqp,
    /// The management API of a broker.
    Management,
    /// What a probe asks for.
    Probe,
    /// An Alertmanager, with the path under which it is served.
    Alertmanager,
    /// For a person, with placeholders in braces.
    Link,
}

impl UrlKind {
    pub fn takes(self) -> &'static str {
        match self {
            UrlKind::Amqp => "a URL such as \"amqps://broker.example:5671/VHOST\"",
            UrlKind::Management => "a URL such as \"http://broker.example:15672\"",
            UrlKind::Probe => "a URL such as \"http://127.0.0.1:8080/health\"",
            UrlKind::Alertmanager => "a URL such as \"https://alerts.example:9093\"",
            UrlKind::Link => "a URL such as \"https://grafana.example/d/unitmedic-worker?var-worker={worker}\"",
        }
    }

    pub fn check(self, text: &str) -> Result<(), String> {
        let text = match self {
            UrlKind::Probe => with_specifiers(text, true)?,
            UrlKind::Link => with_placeholders(text)?,
            UrlKind::Amqp | UrlKind::Management | UrlKind::Alertmanager => text.to_string(),
        };
        if text.len() > URL_MAX {
            return Err(format!("longer than {URL_MAX} bytes"));
        }
        if text.bytes().any(|b| !b.is_ascii_graphic() || b"\"\\<>^`{|}".contains(&b)) {
            return Err("it has a character that a URL cannot have; write it as %XX".into());
        }
        let (scheme, rest) = text.split_once("://").ok_or("it has no scheme")?;
        self.check_scheme(scheme)?;
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(self.user_info().into());
        }
        match port_of(authority)? {
            (_, Some("")) => return Err("its port is missing".into()),
            (host, Some(port)) => {
                host_and_port(&format!("{host}:{port}"))?;
            }
            (host, None) => check_host(host)?,
        }
        self.check_path(path)
    }

    fn check_scheme(self, scheme: &str) -> Result<(), String> {
        match (self, scheme) {
            (UrlKind::Amqp, "amqp" | "amqps") => Ok(()),
            (UrlKind::Amqp, _) => Err("it must begin with amqp:// or amqps://".into()),
            (UrlKind::Management | UrlKind::Alertmanager | UrlKind::Link, "http" | "https") => Ok(()),
            (UrlKind::Management | UrlKind::Alertmanager | UrlKind::Link, _) => {
                Err("it must begin with http:// or https://".into())
            }
            (UrlKind::Probe, "http") => Ok(()),
            (UrlKind::Probe, "https") => Err("https needs probe_command, with a program such as curl".into()),
            (UrlKind::Probe, _) => Err("it must begin with http://".into()),
        }
    }

    fn user_info(self) -> &'static str {
        match self {
            UrlKind::Amqp | UrlKind::Management => {
                "a user or password in it would be seen by others; take it out, and set amqp_user and amqp_password_file"
            }
            UrlKind::Probe => "a user or password in it would be seen by others; use probe_command",
            UrlKind::Alertmanager => {
                "a user or password in it would be seen by others; take it out, and set user and password_file"
            }
            UrlKind::Link => "a user or password in it would be seen by others; take it out",
        }
    }

    fn check_path(self, path: &str) -> Result<(), String> {
        if self != UrlKind::Link && (path.contains('#') || (self != UrlKind::Probe && path.contains('?'))) {
            return Err("nothing can follow its path".into());
        }
        let escapes = path.match_indices('%').map(|(at, _)| path.as_bytes().get(at + 1..at + 3));
        if !escapes.into_iter().all(|hex| hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))) {
            return Err("% must be followed by two hexadecimal digits".into());
        }
        if self != UrlKind::Amqp || path.is_empty() {
            return Ok(());
        }
        match &path[1..] {
            "" => Err("its virtual host is empty; for the virtual host \"/\", leave the last / out".into()),
            vhost if vhost.contains('/') => Err("a virtual host is one word; a / in its name is written %2F".into()),
            _ => Ok(()),
        }
    }
}

/// What is put in is as plain as its name.
fn with_placeholders(text: &str) -> Result<String, String> {
    let filled = LINK_PLACEHOLDERS.iter().fold(text.to_string(), |text, name| text.replace(name, "x"));
    match filled.contains(['{', '}']) {
        true => Err(format!("known between braces are {}", LINK_PLACEHOLDERS.join(", "))),
        false => Ok(filled),
    }
}

/// `10.0.0.5:5672`, `broker.example:5672` or `[::1]:5672`.
pub fn host_and_port(text: &str) -> Result<Peer, String> {
    if text.contains('@') {
        return Err("a user or password has no place here".into());
    }
    let (host, port) = port_of(text)?;
    let digits = |port: &&str| port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    let port = port.filter(digits).and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0);
    let port = port.ok_or("a port from 1 to 65535 must follow a colon")?;
    check_host(host)?;
    Ok(Peer { host: host.trim_matches(['[', ']']).to_string(), port })
}

pub fn show_peer(peer: &Peer) -> String {
    match peer.host.contains(':') {
        true => format!("[{}]:{}", peer.host, peer.port),
        false => format!("{}:{}", peer.host, peer.port),
    }
}

/// `jobs/mail` as people say it.
pub fn show_queue(queue: &QueueName) -> String {
    match &queue.vhost {
        Some(vhost) => format!("{} of the virtual host {}", quoted(&queue.name), quoted(vhost)),
        None => quoted(&queue.name),
    }
}

/// Host and, where a colon follows, the port. Brackets stay.
fn port_of(text: &str) -> Result<(&str, Option<&str>), String> {
    let end = match text.starts_with('[') {
        true => text.find(']').map(|at| at + 1).ok_or("its [ is not closed")?,
        false => text.find(':').unwrap_or(text.len()),
    };
    let (host, rest) = text.split_at(end);
    match rest.strip_prefix(':') {
        Some(port) if port.contains(':') => Err("an IPv6 address is written in brackets, [::1]:5672".into()),
        Some(port) => Ok((host, Some(port))),
        None if rest.is_empty() => Ok((host, None)),
        None => Err("only a colon and a port can follow ]".into()),
    }
}

fn check_host(host: &str) -> Result<(), String> {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().map(|_| ()).map_err(|_| "no IPv6 address is in its brackets".into());
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if host.is_empty() {
        return Err("its host is missing".into());
    }
    if host.len() > HOST_MAX || !host.bytes().all(allowed) || host.starts_with(['-', '.']) {
        return Err("its host is no address and no name".into());
    }
    let numeric = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if numeric && host.parse::<std::net::Ipv4Addr>().is_err() {
        return Err("its host is no IPv4 address".into());
    }
    Ok(())
}

/// The text as it is for one instance. Only `%n`, `%i`, `%p` and `%%` are known; a URL has escapes besides.
pub fn with_specifiers(text: &str, escapes: bool) -> Result<String, String> {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let after = &rest.as_bytes()[at + 1..];
        let hex = escapes && after.len() >= 2 && after[..2].iter().all(u8::is_ascii_hexdigit);
        if !hex && !matches!(after.first(), Some(b'n' | b'i' | b'p' | b'%')) {
            return Err("known after % are n, i, p and %; a percent sign is written %%".into());
        }
        rest = &rest[at + 2..];
    }
    // The instance is a digit, so that ports that end in %i are ports.
    let sample = UnitName::new("x@1.service").map_err(|error| error.to_string())?;
    Ok(expand(text, &sample))
}
