//! The URLs of a broker: parsed once, shown without secrets, percent-encoded where they go into a path.
//!
//! Our own parser, for lapin's takes `amqp://[::1]` for localhost and a missing virtual host for one without a name.

use std::fmt;

/// Where a broker or its management API listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    pub tls: bool,
    /// A name or an IP address, without brackets.
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// The address and the virtual host, `/` where none is given, of `amqp:` or `amqps:`, host, port and virtual host. The error names the
/// fault and never repeats the URL, which may hold a password.
pub fn amqp(url: &str) -> Result<(Address, String), String> {
    let (address, path) = split(url, [("amqp", false, 5672), ("amqps", true, 5671)])?;
    let vhost = match path.strip_prefix('/') {
        None => "/".to_string(),
        Some(word) if word.contains(['/', '?', '#']) => return Err("a virtual host is one word".into()),
        Some(word) => decode(word)?,
    };
    Ok((address, vhost))
}

/// The address, and the path before `/api`, of `http:` or `https:`, host, port and path.
pub fn management(url: &str) -> Result<(Address, String), String> {
    let (address, path) = split(url, [("http", false, 15672), ("https", true, 15671)])?;
    if path.contains(['?', '#']) {
        return Err("nothing can follow its path".into());
    }
    Ok((address, path.trim_end_matches('/').to_string()))
}

/// The address, and what follows it from the first `/` on.
fn split<'u>(url: &'u str, schemes: [(&str, bool, u16); 2]) -> Result<(Address, &'u str), String> {
    let (scheme, rest) = url.split_once("://").ok_or("it has no scheme")?;
    let known = schemes.into_iter().find(|(name, ..)| *name == scheme);
    let (_, tls, port) =
        known.ok_or_else(|| format!("it must begin with {}:// or {}://", schemes[0].0, schemes[1].0))?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err("a user or password has no place in it".into());
    }
    let (host, digits) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or("a port follows a colon")?)),
        None => match authority.split_once(':') {
            Some((host, digits)) => (host, Some(digits)),
            None => (authority, None),
        },
    };
    let port = match digits {
        Some(digits) => digits.parse().ok().filter(|port| *port > 0).ok_or("its port is not one of 1 to 65535")?,
        None => port,
    };
    match host.is_empty() {
        true => Err("it has no host".into()),
        false => Ok((Address { tls, host: host.to_string(), port }, path)),
    }
}

/// One segment of a path: everything but letters, digits and `-._~` as `%XX`.
pub fn encode(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    for byte in word.bytes() {
        match byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            true => out.push(byte as char),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn decode(word: &str) -> Result<String, String> {
    let wrong = || "% must be followed by two hexadecimal digits".to_string();
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = rest else { return Err(wrong()) };
        let digit = |byte: &u8| (*byte as char).to_digit(16).ok_or_else(wrong);
        bytes.push((digit(high)? * 16 + digit(low)?) as u8);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| "its virtual host is not UTF-8".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> String {
        match amqp(url) {
            Ok((address, vhost)) => format!("{} {address} {vhost:?}", if address.tls { "tls" } else { "plain" }),
            Err(why) => why,
        }
    }

    #[test]
    fn urls_of_brokers() {
        for (url, want) in [
            ("amqp://broker.example", r#"plain broker.example:5672 "/""#),
            ("amqps://broker.example", r#"tls broker.example:5671 "/""#),
            ("amqp://broker.example:1234/jobs", r#"plain broker.example:1234 "jobs""#),
            ("amqp://broker.example/%2F", r#"plain broker.example:5672 "/""#),
            ("amqp://broker.example/a%2fb%20%C3%A9", r#"plain broker.example:5672 "a/b é""#),
            ("amqp://[::1]:99/x", r#"plain [::1]:99 "x""#),
            ("amqps://[::1]", r#"tls [::1]:5671 "/""#),
            ("http://broker.example", "it must begin with amqp:// or amqps://"),
            ("broker", "it has no scheme"),
            ("amqp://", "it has no host"),
            ("amqp://broker.example:0", "its port is not one of 1 to 65535"),
            ("amqp://broker.example:65536", "its port is not one of 1 to 65535"),
            ("amqp://broker.example/a/b", "a virtual host is one word"),
            ("amqp://broker.example/%2", "% must be followed by two hexadecimal digits"),
            ("amqp://broker.example/%+1", "% must be followed by two hexadecimal digits"),
            ("amqp://broker.example/%FF", "its virtual host is not UTF-8"),
            ("amqp://me:hunter2@broker.example", "a user or password has no place in it"),
        ] {
            assert_eq!(parsed(url), want, "{url}");
        }
    }

    #[test]
    fn urls_of_management() {
        let (address, path) = management("https://broker.example/rabbit/").expect("a URL");
        assert_eq!((address.tls, address.port, path.as_str()), (true, 15671, "/rabbit"));
        let (address, path) = management("http://[::1]:80").expect("a URL");
        assert_eq!((address.to_string().as_str(), path.as_str()), ("[::1]:80", ""));
        assert!(management("http://broker.example/?x").is_err());
    }

    #[test]
    fn a_virtual_host_survives_the_path() {
        for vhost in ["/", "jobs", "a/b c%é~", ""] {
            assert_eq!(decode(&encode(vhost)).as_deref(), Ok(vhost));
        }
        assert_eq!(encode("/"), "%2F");
    }
}
