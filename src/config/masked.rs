//! Values without the secrets that could stand in them: passwords in addresses, and what commands are given.
//!
//! The configuration takes passwords from files alone; what is found here was put where it should not be.

const MASK: &str = "***";
/// What is called by such a word is nobody's business, however its words are put together.
const SECRETS: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "credential",
    "authorization",
    "bearer",
    "cookie",
    "signature",
    "auth",
];
/// So ends the name of a secret.
const SECRET_ENDS: [&str; 5] = ["pass", "pwd", "key", "pw", "sig"];
/// Options of programs that are given `user:password`.
const USER_OPTIONS: [&str; 3] = ["-u", "--user", "--proxy-user"];
/// With the value behind them without a space: curl's user, the password of database clients.
const USER_OPTIONS_ATTACHED: [&str; 2] = ["-u", "-p"];

/// An address without a password, and without secrets in its query.
pub fn url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.into() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (place, path) = rest.split_at(end);
    let place = match place.rsplit_once('@') {
        Some((_, host)) => format!("{MASK}@{host}"),
        None => place.into(),
    };
    let path = match path.split_once('?') {
        Some((path, query)) => {
            let pairs: Vec<String> = query.split('&').map(pair).collect();
            format!("{path}?{}", pairs.join("&"))
        }
        None => path.into(),
    };
    format!("{scheme}://{place}{path}")
}

/// A program and its arguments, without the values of those that are called like secrets. An argument may be a command of
/// its own, as those of a shell are.
pub fn command(arguments: &[String]) -> Vec<String> {
    let mut is_secret = false;
    let mut masked = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let header = argument.split_once(':').filter(|(name, _)| !name.contains(' ') && is_named_secret(name));
        masked.push(match header {
            _ if std::mem::take(&mut is_secret) => MASK.into(),
            Some((name, _)) => format!("{name}: {MASK}"),
            None => words(argument, &mut is_secret),
        });
    }
    masked
}

/// `is_secret`: the word before was an option whose value follows.
fn words(argument: &str, is_secret: &mut bool) -> String {
    let one = |text: &str| {
        let plain = text.trim_matches(['"', '\'']);
        if plain.is_empty() {
            return text.into();
        }
        if std::mem::take(is_secret) {
            return MASK.into();
        }
        let is_option = plain.starts_with('-') && !plain.contains('=');
        *is_secret = is_option && (is_named_secret(plain) || USER_OPTIONS.contains(&plain));
        match USER_OPTIONS_ATTACHED.iter().find(|option| plain.len() > option.len() && plain.starts_with(**option)) {
            Some(option) if !plain.starts_with("--") && !*is_secret => format!("{option}{MASK}"),
            _ => word(text),
        }
    };
    argument.split(' ').map(one).collect::<Vec<_>>().join(" ")
}

fn word(text: &str) -> String {
    if text.contains("://") { url(text) } else { pair(text) }
}

/// `key=value`
fn pair(text: &str) -> String {
    match text.split_once('=') {
        Some((key, _)) if is_named_secret(key) || USER_OPTIONS.contains(&key) => format!("{key}={MASK}"),
        _ => text.into(),
    }
}

fn is_named_secret(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    SECRETS.iter().any(|secret| plain.contains(secret)) || SECRET_ENDS.iter().any(|end| plain.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, shown) in [
            ("amqp://broker.example/jobs", "amqp://broker.example/jobs"),
            ("amqps://mail:hunter2@broker.example:5671/jobs", "amqps://***@broker.example:5671/jobs"),
            (
                "http://localhost:p@ss@mail.example/x?y=1&api_key=abc&Token=1",
                "http://***@mail.example/x?y=1&api_key=***&Token=***",
            ),
            ("http://mail.example?next=a@b", "http://mail.example?next=a@b"),
            ("no address", "no address"),
        ] {
            assert_eq!(url(text), shown);
        }
    }

    #[test]
    fn commands() {
        let masked = |line: &[&str]| command(&line.iter().map(ToString::to_string).collect::<Vec<_>>());
        for (line, shown) in [
            (&["/bin/flush", "%i", "--all"][..], &["/bin/flush", "%i", "--all"][..]),
            (&["/bin/x", "--password", "hunter2", "on"], &["/bin/x", "--password", "***", "on"]),
            (&["/bin/x", "--auth-token=abc", "DB_PASS=abc"], &["/bin/x", "--auth-token=***", "DB_PASS=***"]),
            (
                &["/bin/curl", "-u", "me:hunter2", "http://localhost:b@mail.example/"],
                &["/bin/curl", "-u", "***", "http://***@mail.example/"],
            ),
            (&["/bin/curl", "-H", "X-Api-Key: abc"], &["/bin/curl", "-H", "X-Api-Key: ***"]),
            (
                &["/bin/sh", "-c", "KEY=abc run http://localhost:b@mail.example"],
                &["/bin/sh", "-c", "KEY=*** run http://***@mail.example"],
            ),
            (&["/bin/curl", "-ume:hunter2", "-b", "Cookie: sid=abc"], &["/bin/curl", "-u***", "-b", "Cookie: ***"]),
            (&["/bin/mysql", "-phunter2", "--user=me:hunter2"], &["/bin/mysql", "-p***", "--user=***"]),
            (&["/bin/x", "--auth", "me:hunter2", "--pw", "hunter2"], &["/bin/x", "--auth", "***", "--pw", "***"]),
            (
                &["/bin/sh", "-c", "mysql --password hunter2; curl -u 'me:hunter2' http://a.example/?pw=1&sig=2"],
                &["/bin/sh", "-c", "mysql --password *** curl -u *** http://a.example/?pw=***&sig=***"],
            ),
        ] {
            assert_eq!(masked(line), shown);
        }
    }
}
