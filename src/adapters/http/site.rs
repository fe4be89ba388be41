//! Under which name a request came, and from which page: what keeps a hostile page in an operator's browser from
//! reading (DNS rebinding) and from acting (requests across sites). Pure.

use std::net::{IpAddr, Ipv6Addr};

use hyper::header::{HOST, HeaderName, ORIGIN};
use hyper::{HeaderMap, Uri};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// Longest name of a host (RFC 1035).
const NAME_MAX: usize = 253;

/// Host and port as a client wrote them, the name in small letters and without the dot at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    host: Host,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    Name(String),
}

impl Authority {
    pub fn parse(text: &str) -> Option<Self> {
        let (host, rest) = match text.strip_prefix('[') {
            Some(bracketed) => {
                let (address, rest) = bracketed.split_once(']')?;
                (Host::Address(address.parse::<Ipv6Addr>().ok()?.into()), rest)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                (host(&text[..end])?, &text[end..])
            }
        };
        let port = match rest.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
            None if rest.is_empty() => None,
            None => return None,
        };
        Some(Self { host, port })
    }

    /// Whether no page of somebody else can have come under this name: an address, which no DNS can bend, or a name that
    /// is known to be ours.
    pub fn is_ours(&self, is_known: impl Fn(&str) -> bool) -> bool {
        match &self.host {
            Host::Address(_) => true,
            Host::Name(name) => name == "localhost" || is_known(name),
        }
    }

    /// The name, for a sentence.
    pub fn name(&self) -> String {
        match &self.host {
            Host::Address(address) => address.to_string(),
            Host::Name(name) => name.clone(),
        }
    }

    fn is_same(&self, other: &Self, default_port: u16) -> bool {
        self.host == other.host && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }
}

fn host(text: &str) -> Option<Host> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(Host::Address(address));
    }
    name(text).map(Host::Name)
}

/// The name of a host in small letters, if it is one.
pub fn name(text: &str) -> Option<String> {
    let bare = text.strip_suffix('.').unwrap_or(text);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (!bare.is_empty() && bare.len() <= NAME_MAX && bare.chars().all(plain)).then(|| bare.to_ascii_lowercase())
}

/// Whom the request is for; `None` where it does not say, as in HTTP/1.0. The error says what is wrong with it.
pub fn asked(uri: &Uri, headers: &HeaderMap) -> Result<Option<Authority>, &'static str> {
    let mut given = headers.get_all(HOST).iter();
    let (first, second) = (given.next(), given.next());
    if second.is_some() {
        return Err("the header Host is there twice");
    }
    let asked = match first {
        Some(value) => {
            let parsed = value.to_str().ok().and_then(Authority::parse);
            Some(parsed.ok_or("the header Host is not a name or an address, with or without a port")?)
        }
        None => None,
    };
    match (uri.authority().map(|authority| Authority::parse(authority.as_str())), &asked) {
        (None, _) => Ok(asked),
        (Some(Some(named)), Some(host)) if named == *host => Ok(asked),
        (Some(_), _) => Err("the request line and the header Host do not name the same host"),
    }
}

/// Whether a browser sends this for a page of ours, or it comes from no browser at all.
pub fn same_origin(headers: &HeaderMap, asked: Option<&Authority>) -> Result<(), &'static str> {
    for origin in headers.get_all(ORIGIN) {
        let from = origin.to_str().ok().and_then(|origin| {
            let (scheme, rest) = origin.split_once("://")?;
            let port = match scheme {
                "http" => 80,
                "https" => 443,
                _ => return None,
            };
            Some((Authority::parse(rest)?, port))
        });
        match (from, asked) {
            (Some((from, port)), Some(asked)) if from.is_same(asked, port) => {}
            _ => return Err("the header Origin names another page than the header Host"),
        }
    }
    match headers.get_all(SEC_FETCH_SITE).iter().all(|site| site == "same-origin" || site == "none") {
        true => Ok(()),
        false => Err("the browser says that a page of another site asks (Sec-Fetch-Site)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn hosts_are_read_strictly() {
        for good in ["a", "A.b-c_d.", "a:1", "127.0.0.1", "127.0.0.1:10119", "[::1]", "[::1]:80", "x:65535"] {
            assert!(Authority::parse(good).is_some(), "{good}");
        }
        let long = "a".repeat(254);
        for bad in [
            "",
            ":",
            ":80",
            "a:",
            "a:b",
            "a:65536",
            "a:+1",
            "a b",
            "a/b",
            "u@a",
            "[::1",
            "::1",
            "[a]",
            "[::1]x",
            "a,b",
            "é",
            ".",
            "a:1:2",
            "a#",
            "a?b",
            "[127.0.0.1]",
            &long,
        ] {
            // A port that is empty is allowed by the letter of RFC 3986, and sent by nobody.
            assert!(Authority::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(Authority::parse("MAIL1.Example."), Authority::parse("mail1.example"));
    }

    #[test]
    fn names_that_dns_can_bend_are_ours_only_if_known() {
        let is_ours = |text: &str| Authority::parse(text).unwrap().is_ours(|name| name == "mail1.example");
        for ours in ["127.0.0.1:1", "192.0.2.1", "[::1]:1", "LOCALHOST:10119", "mail1.example:1", "Mail1.Example."] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in
            ["evil.example", "mail1", "mail1.example.evil.example", "localhost.evil.example", "127.1", "0x7f.1"]
        {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[test]
    fn whom_a_request_is_for() {
        let uri = |text: &str| text.parse::<Uri>().unwrap();
        let (plain, absolute) = (uri("/x"), uri("http://h.example:1/x"));
        assert_eq!(asked(&plain, &headers(&[])), Ok(None));
        assert_eq!(asked(&plain, &headers(&[("host", "h.example:1")])), Ok(Authority::parse("h.example:1")));
        assert_eq!(asked(&absolute, &headers(&[("host", "H.example:1")])), Ok(Authority::parse("h.example:1")));
        assert!(asked(&plain, &headers(&[("host", "h"), ("host", "h")])).unwrap_err().contains("twice"));
        assert!(asked(&plain, &headers(&[("host", "h\u{e9}")])).is_err());
        for other in ["h.example", "h.example:2", "evil.example:1"] {
            assert!(asked(&absolute, &headers(&[("host", other)])).unwrap_err().contains("same host"), "{other}");
        }
        assert!(asked(&absolute, &headers(&[])).is_err());
    }

    #[test]
    fn pages_of_others_are_told_from_ours() {
        let check =
            |origin: &str, host: &str| same_origin(&headers(&[("origin", origin)]), Authority::parse(host).as_ref());
        for (origin, host) in [
            ("http://127.0.0.1:10119", "127.0.0.1:10119"),
            ("https://mail1.example", "mail1.example"),
            ("https://mail1.example", "mail1.example:443"),
            ("http://MAIL1.example:80", "mail1.example"),
            ("http://[::1]:10119", "[::1]:10119"),
        ] {
            assert_eq!(check(origin, host), Ok(()), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://evil.example", "mail1.example"),
            ("http://mail1.example:8080", "mail1.example"),
            ("http://mail1.example", "mail1.example:443"),
            ("null", "mail1.example"),
            ("", "mail1.example"),
            ("ftp://mail1.example", "mail1.example"),
            ("http://mail1.example/", "mail1.example"),
            ("http://mail1.example@evil.example", "mail1.example"),
        ] {
            assert!(check(origin, host).is_err(), "{origin} {host}");
        }
        let host = Authority::parse("h.example");
        let both = headers(&[("origin", "http://h.example"), ("origin", "http://evil.example")]);
        assert!(same_origin(&both, host.as_ref()).is_err());
        assert!(same_origin(&headers(&[("origin", "http://h.example")]), None).is_err());
        for (site, good) in
            [("same-origin", true), ("none", true), ("same-site", false), ("cross-site", false), ("", false)]
        {
            assert_eq!(same_origin(&headers(&[("sec-fetch-site", site)]), host.as_ref()).is_ok(), good, "{site}");
        }
        assert!(same_origin(&headers(&[]), None).is_ok(), "curl");
    }
}
