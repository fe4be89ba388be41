//! Passwords and tokens that come with requests over TCP, checked against the web configuration.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use tokio::sync::Semaphore;

use super::buckets::{Buckets, Rate, client};
use super::caller::Via;
use super::token::TokenHash;
use super::web::Terms;
use crate::adapters::secret::Secret;

/// Longest header that is decoded.
const HEADER_MAX: usize = 1024;
/// Passwords that are hashed at once; each takes a core meanwhile.
const CHECKS_MAX: usize = 2;
/// Somebody who mistypes does not come near this, and who guesses gets through 15,000 in a day.
pub const WRONG_LOGINS: Rate = Rate { per_second: 10.0 / 60.0, burst: 20.0 };
/// Clients whose wrong logins are counted.
const CLIENTS_MAX: usize = 4096;

/// What a request says of who sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// Nothing, or nobody could sign in.
    Absent,
    Known {
        name: String,
        via: Via,
    },
    /// With the name where it is one of the configuration.
    Wrong(Option<String>),
    /// So many were wrong that none is looked at until then.
    TooMany(Duration),
}

pub struct Logins {
    /// The password with which a user was let in, with the hash that it fitted.
    known: Mutex<BTreeMap<String, (String, Secret)>>,
    checks: Arc<Semaphore>,
    wrong: Mutex<Buckets<IpAddr>>,
}

enum Given {
    Password {
        user: String,
        password: String,
    },
    Token(String),
    /// Something else.
    Odd,
}

impl Logins {
    pub fn new() -> Self {
        let wrong = Mutex::new(Buckets::new(WRONG_LOGINS, CLIENTS_MAX));
        Self { known: Mutex::default(), checks: Arc::new(Semaphore::new(CHECKS_MAX)), wrong }
    }

    pub async fn check(&self, terms: &Terms, headers: &HeaderMap, from: IpAddr) -> Login {
        if !terms.has_logins() {
            return Login::Absent;
        }
        match given(headers) {
            None => Login::Absent,
            Some(Given::Password { user, password }) => self.password(terms, user, password, from).await,
            Some(Given::Token(token)) => match owner(terms, &token) {
                // Not held up by the wrong logins of others at the same address: a token cannot be guessed.
                Some(name) => Login::Known { name, via: Via::Bearer },
                // It cannot be guessed, so it costs nobody their password.
                None => Login::Wrong(None),
            },
            Some(Given::Odd) => self.is_wrong(None, from),
        }
    }

    /// Hashing takes a tenth of a second of a core: off the loops that serve.
    async fn password(&self, terms: &Terms, user: String, password: String, from: IpAddr) -> Login {
        // One that does not exist is checked too, so that the time that it takes does not tell who does.
        let Some((_, some_hash)) = terms.users.first_key_value() else { return self.is_wrong(None, from) };
        let (hash, exists) = terms.users.get(&user).map_or((some_hash, false), |hash| (hash, true));
        // Before what is remembered is looked at, for that could be guessed as well.
        if let Err(wait) = self.lock_wrong().has(&client(from), Instant::now()) {
            return Login::TooMany(wait);
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&user).cloned();
        if known.is_some_and(|(with, then)| exists && with == *hash && then.is(password.as_bytes())) {
            return Login::Known { name: user, via: Via::Basic };
        }
        let Ok(place) = self.checks.clone().acquire_owned().await else { return Login::Wrong(None) };
        // Taken before the check, so that who hangs up has paid for it, and given back if it was right.
        if let Err(wait) = self.lock_wrong().take(&client(from), Instant::now()) {
            return Login::TooMany(wait);
        }
        let (checked, given) = (hash.clone(), password.clone());
        let checking = tokio::task::spawn_blocking(move || {
            // Held to the end of the hashing, which nobody can stop: also when the one who asked has gone away.
            let _place = place;
            bcrypt::verify(given, &checked).unwrap_or(false)
        });
        if !checking.await.unwrap_or(false) || !exists {
            return Login::Wrong(exists.then_some(user));
        }
        self.lock_wrong().give_back(&client(from));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|user, _| terms.users.contains_key(user));
        known.insert(user.clone(), (hash.clone(), Secret::new(password)));
        Login::Known { name: user, via: Via::Basic }
    }

    fn is_wrong(&self, name: Option<String>, from: IpAddr) -> Login {
        match self.lock_wrong().take(&client(from), Instant::now()) {
            Ok(()) => Login::Wrong(name),
            Err(wait) => Login::TooMany(wait),
        }
    }

    fn lock_wrong(&self) -> std::sync::MutexGuard<'_, Buckets<IpAddr>> {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose token it is. All are compared, so that the time that it takes tells nothing.
fn owner(terms: &Terms, token: &str) -> Option<String> {
    let given = TokenHash::of(token);
    terms.tokens.iter().fold(None, |found, (name, hash)| if hash.is(&given) { Some(name) } else { found }).cloned()
}

fn given(headers: &HeaderMap) -> Option<Given> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let first = values.next()?;
    let one = values.next().is_none();
    let value = first.to_str().ok().filter(|value| one && value.len() <= HEADER_MAX);
    let read = value.and_then(|value| {
        let (kind, rest) = value.split_once(' ')?;
        match kind.to_ascii_lowercase().as_str() {
            "basic" => password(rest.trim()),
            "bearer" => Some(Given::Token(rest.trim().to_owned())),
            _ => None,
        }
    });
    Some(read.unwrap_or(Given::Odd))
}

fn password(encoded: &str) -> Option<Given> {
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some(Given::Password { user: user.to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use hyper::header::HeaderValue;
    use tempfile::TempDir;

    use super::*;
    use crate::adapters::http::token;
    use crate::adapters::http::web::Web;

    /// Of the password `test`; the cost is the lowest there is.
    const HASH: &str = "$2b$04$abcdefghijklmnopqrstuuoD8yw7MmybLKVooaTGGZAt3HXugv2.a";
    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    struct Setup {
        _directory: TempDir,
        path: PathBuf,
        web: Web,
        logins: Logins,
    }

    impl Setup {
        fn new(text: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("web.yml");
            fs::write(&path, text).unwrap();
            let web = Web::new(Some(&path)).unwrap();
            Self { _directory: directory, path, web, logins: Logins::new() }
        }

        async fn login(&self, value: &str, from: IpAddr) -> Login {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            self.logins.check(&self.web.terms(), &headers, from).await
        }

        async fn basic(&self, login: &str, from: IpAddr) -> Login {
            self.login(&format!("Basic {}", STANDARD.encode(login)), from).await
        }
    }

    fn known(name: &str, via: Via) -> Login {
        Login::Known { name: name.into(), via }
    }

    #[tokio::test]
    async fn users_are_let_in_by_their_password_and_nobody_else_is() {
        let setup = Setup::new(&format!("basic_auth_users:\n  alice: {HASH}\n"));
        assert_eq!(setup.basic("alice:test", HOME).await, known("alice", Via::Basic));
        assert_eq!(setup.basic("alice:test", HOME).await, known("alice", Via::Basic), "also from memory");
        for (wrong, name) in
            [("alice:tes", true), ("alice:", true), ("bob:test", false), ("alice", false), (":", false)]
        {
            let name = name.then(|| "alice".to_string());
            assert_eq!(setup.basic(wrong, HOME).await, Login::Wrong(name), "{wrong}");
        }
        assert_eq!(setup.logins.check(&setup.web.terms(), &HeaderMap::new(), HOME).await, Login::Absent);
        // Taken away, and it is gone at once; one with errors changes nothing.
        fs::write(&setup.path, format!("basic_auth_users:\n  somebody: {HASH}\n")).unwrap();
        assert_eq!(setup.basic("alice:test", HOME).await, Login::Wrong(None));
        fs::write(&setup.path, "basic_auth_users: 3\n").unwrap();
        assert_eq!(setup.basic("somebody:test", HOME).await, known("somebody", Via::Basic));
        let nobody = Setup::new("");
        assert_eq!(nobody.basic("alice:test", HOME).await, Login::Absent, "where nobody can sign in, nothing is wrong");
    }

    #[tokio::test]
    async fn tokens_are_let_in_by_their_hash() {
        let (one, other) = (token::fresh().unwrap(), token::fresh().unwrap());
        let (first, second) = (TokenHash::of(&one), TokenHash::of(&other));
        let setup = Setup::new(&format!("tokens:\n  deploy-bot: \"{first}\"\n  grafana: \"{second}\"\n"));
        assert_eq!(setup.login(&format!("Bearer {one}"), HOME).await, known("deploy-bot", Via::Bearer));
        assert_eq!(setup.login(&format!("bearer  {other} "), HOME).await, known("grafana", Via::Bearer));
        for wrong in
            [format!("Bearer {one}x"), format!("Bearer {first}"), "Bearer".into(), "Digest x".into(), one.clone()]
        {
            assert_eq!(setup.login(&wrong, HOME).await, Login::Wrong(None), "{wrong}");
        }
        assert_eq!(setup.basic(&format!("deploy-bot:{one}"), HOME).await, Login::Wrong(None), "there are no users");
        let mut twice = HeaderMap::new();
        for _ in 0..2 {
            twice.append(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {one}")).unwrap());
        }
        assert_eq!(setup.logins.check(&setup.web.terms(), &twice, HOME).await, Login::Wrong(None));
    }

    #[tokio::test]
    async fn after_many_wrong_logins_none_is_looked_at() {
        let token = token::fresh().unwrap();
        let (hash, burst) = (TokenHash::of(&token), WRONG_LOGINS.burst as usize);
        let setup = Setup::new(&format!("basic_auth_users: {{alice: {HASH}}}\ntokens: {{bot: \"{hash}\"}}\n"));
        assert_eq!(setup.basic("alice:test", HOME).await, known("alice", Via::Basic), "a right one costs nothing");
        for _ in 0..burst {
            assert_eq!(setup.basic("alice:guess", HOME).await, Login::Wrong(Some("alice".into())));
        }
        for again in ["alice:guess", "alice:test", "bob:x"] {
            assert!(matches!(setup.basic(again, HOME).await, Login::TooMany(wait) if wait <= Duration::from_secs(6)));
        }
        assert!(matches!(setup.login("Bearer umt_guess", HOME).await, Login::Wrong(_)), "it costs nobody anything");
        assert_eq!(setup.login(&format!("Bearer {token}"), HOME).await, known("bot", Via::Bearer));
        let elsewhere = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(setup.basic("alice:test", elsewhere).await, known("alice", Via::Basic));
    }

    #[tokio::test]
    async fn who_goes_away_leaves_no_more_hashing_behind_than_is_allowed() {
        // A cost that is not over before the test is.
        let slow = "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay";
        let setup = Setup::new(&format!("basic_auth_users:\n  alice: {slow}\n"));
        for left in [1, 0, 0] {
            let asked = tokio::time::timeout(Duration::ZERO, setup.basic("alice:wrong", HOME)).await;
            assert!(asked.is_err(), "it goes away at once");
            assert_eq!(setup.logins.checks.available_permits(), left);
        }
    }
}
