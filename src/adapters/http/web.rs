//! TLS and basic authentication on TCP, by a file in the format that Prometheus' exporters share
//! (`--web.config.file`). Read again when it, or a certificate, has changed; one with errors leaves the last good in force.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use crate::adapters::secret::Secret;
use crate::adapters::tls::{certificates, read_bounded};

/// Longest file of the configuration, of certificates or of a key, bytes.
const FILE_MAX: u64 = 1 << 20;
const USERS_MAX: usize = 256;
/// Longest header that is decoded.
const HEADER_MAX: usize = 1024;
/// Higher costs would let a few guesses take a core for minutes.
const COST_MAX: u32 = 16;
/// Passwords that are hashed at once; each takes a core meanwhile.
const CHECKS_MAX: usize = 2;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    tls_server_config: Option<TlsFile>,
    basic_auth_users: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsFile {
    cert_file: PathBuf,
    key_file: PathBuf,
    #[serde(default)]
    client_auth_type: ClientAuth,
    client_ca_file: Option<PathBuf>,
    #[serde(default)]
    min_version: MinVersion,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq)]
enum ClientAuth {
    #[default]
    NoClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq)]
enum MinVersion {
    #[default]
    TLS12,
    TLS13,
}

/// What is in force.
#[derive(Default)]
pub struct Terms {
    pub tls: Option<Arc<ServerConfig>>,
    users: BTreeMap<String, String>,
}

pub struct Web {
    path: Option<PathBuf>,
    state: Mutex<State>,
    /// The password with which a user was let in, with the hash that it fitted.
    known: Mutex<BTreeMap<String, (String, Secret)>>,
    checks: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    seen: Vec<Mark>,
    terms: Arc<Terms>,
}

/// A file as it was before it was read: inode, size, and when it, or who may read it, was changed.
type Mark = (PathBuf, u64, u64, i64, i64);

impl Web {
    /// Without a path: neither TLS nor users. The error says what is wrong with the file.
    pub fn new(path: Option<&Path>) -> Result<Self, String> {
        let (path_kept, checks) = (path.map(Path::to_path_buf), Arc::new(Semaphore::new(CHECKS_MAX)));
        let web = Self { path: path_kept, state: Mutex::default(), known: Mutex::default(), checks };
        let Some(path) = path else { return Ok(web) };
        let mut seen = Vec::new();
        let terms = read(path, &mut seen).map_err(|why| format!("web_config_file {}: {why}", path.display()))?;
        *web.state.lock().unwrap_or_else(PoisonError::into_inner) = State { seen, terms: Arc::new(terms) };
        Ok(web)
    }

    /// What is in force for a connection that begins now.
    pub fn terms(&self) -> Arc<Terms> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = &self.path else { return state.terms.clone() };
        let files: Vec<PathBuf> = state.seen.iter().map(|(path, ..)| path.clone()).collect();
        let now = marks(&files);
        if now != state.seen {
            // Also of those with errors: they may be mended in another file than the one that was changed.
            let mut seen = Vec::new();
            match read(path, &mut seen) {
                Ok(terms) => {
                    state.terms = Arc::new(terms);
                    tracing::info!(path = %path.display(), "TLS and users of TCP were read again");
                }
                Err(why) => {
                    tracing::error!(path = %path.display(), why, "has errors; what was in force stays in force");
                }
            }
            state.seen = seen;
        }
        state.terms.clone()
    }

    /// Whether the request may pass. Hashing takes a tenth of a second of a core: off the loops that serve.
    pub async fn admits(&self, headers: &HeaderMap) -> bool {
        let terms = self.terms();
        let Some((_, some_hash)) = terms.users.first_key_value() else { return true };
        let Some((user, password)) = login(headers) else { return false };
        // One that does not exist is checked too, so that the time that it takes does not tell who does.
        let (hash, exists) = terms.users.get(&user).map_or((some_hash, false), |hash| (hash, true));
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&user).cloned();
        if known.is_some_and(|(with, then)| exists && with == *hash && then.is(password.as_bytes())) {
            return true;
        }
        let Ok(place) = self.checks.clone().acquire_owned().await else { return false };
        let (checked, given) = (hash.clone(), password.clone());
        let checking = tokio::task::spawn_blocking(move || {
            // Held to the end of the hashing, which nobody can stop: also when the one who asked has gone away.
            let _place = place;
            bcrypt::verify(given, &checked).unwrap_or(false)
        });
        let admitted = checking.await.unwrap_or(false) && exists;
        if admitted {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|user, _| terms.users.contains_key(user));
            known.insert(user, (hash.clone(), Secret::new(password)));
        }
        admitted
    }
}

fn login(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok().filter(|value| value.len() <= HEADER_MAX)?;
    let (kind, encoded) = value.split_once(' ')?;
    if !kind.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn marks(files: &[PathBuf]) -> Vec<Mark> {
    let mark = |path: &PathBuf| {
        let meta = fs::metadata(path).ok();
        let meta = meta.map(|meta| (meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec()));
        let (inode, size, seconds, nanos) = meta.unwrap_or_default();
        (path.clone(), inode, size, seconds, nanos)
    };
    files.iter().map(mark).collect()
}

/// `seen` gets the files that it is made of, each before it is read: what is changed under our eyes is read again.
fn read(path: &Path, seen: &mut Vec<Mark>) -> Result<Terms, String> {
    seen.extend(marks(&[path.to_path_buf()]));
    let text = String::from_utf8(read_bounded(path, FILE_MAX)?).map_err(|_| "it is not UTF-8".to_string())?;
    let file: File = match text.trim().is_empty() {
        true => File::default(),
        // The first line says what and where; the rest draws it.
        false => serde_saphyr::from_str(&text).map_err(|error| first_line(&error.to_string()))?,
    };
    if file.basic_auth_users.len() > USERS_MAX {
        return Err(format!("it has more than {USERS_MAX} users"));
    }
    for (user, hash) in &file.basic_auth_users {
        let parts: Option<bcrypt::HashParts> = hash.parse().ok();
        match parts {
            Some(parts) if parts.get_cost() <= COST_MAX => {}
            Some(_) => return Err(format!("the hash of {user:?} costs more than {COST_MAX}, which would stop us")),
            None => return Err(format!("the password of {user:?} is not a bcrypt hash: htpasswd -nBC 10 makes one")),
        }
    }
    let tls = match &file.tls_server_config {
        Some(tls) => {
            let beside = |file: &Path| path.parent().unwrap_or(Path::new("/")).join(file);
            let files = [Some(&tls.cert_file), Some(&tls.key_file), tls.client_ca_file.as_ref()];
            seen.extend(marks(&files.into_iter().flatten().map(|file| beside(file)).collect::<Vec<_>>()));
            Some(Arc::new(server_config(tls, &beside)?))
        }
        None => None,
    };
    Ok(Terms { tls, users: file.basic_auth_users })
}

fn server_config(tls: &TlsFile, beside: &impl Fn(&Path) -> PathBuf) -> Result<ServerConfig, String> {
    let provider = Arc::new(default_provider());
    let both: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
    let versions = if tls.min_version == MinVersion::TLS13 { &both[..1] } else { both };
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions);
    let builder = builder.map_err(|error| error.to_string())?;
    let builder = match (tls.client_auth_type, &tls.client_ca_file) {
        (ClientAuth::NoClientCert, _) => builder.with_no_client_auth(),
        (_, None) => return Err("client_auth_type needs client_ca_file".into()),
        (kind, Some(file)) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&beside(file))? {
                roots.add(certificate).map_err(|error| format!("client_ca_file: {error}"))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match kind {
                ClientAuth::VerifyClientCertIfGiven => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| error.to_string())?)
        }
    };
    let key_path = beside(&tls.key_file);
    let key = PrivateKeyDer::from_pem_slice(&read_bounded(&key_path, FILE_MAX)?);
    let key = key.map_err(|error| format!("key_file {}: {error}", key_path.display()))?;
    let chain = certificates(&beside(&tls.cert_file))?;
    builder.with_single_cert(chain, key).map_err(|error| format!("cert_file and key_file: {error}"))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;
    use hyper::header::HeaderValue;

    /// Of the password `test`.
    const HASH: &str = "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay";

    fn of(text: &str) -> Result<Web, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.yml");
        fs::write(&path, text).unwrap();
        Web::new(Some(&path)).map_err(|why| why.replace(&directory.path().display().to_string(), "DIR"))
    }

    fn headers(login: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let value = format!("Basic {}", STANDARD.encode(login));
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&value).unwrap());
        headers
    }

    #[tokio::test]
    async fn users_are_let_in_by_their_password_and_nobody_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.yml");
        fs::write(&path, format!("basic_auth_users:\n  alice: {HASH}\n")).unwrap();
        let web = Web::new(Some(&path)).unwrap();
        assert!(web.admits(&headers("alice:test")).await);
        assert!(web.admits(&headers("alice:test")).await, "also from memory");
        for wrong in ["alice:tes", "alice:", "bob:test", "alice", ":", "nobody:nobody"] {
            assert!(!web.admits(&headers(wrong)).await, "{wrong}");
        }
        assert!(!web.admits(&HeaderMap::new()).await);
        // Taken away, and it is gone at once; one with errors changes nothing.
        fs::write(&path, format!("basic_auth_users:\n  somebody: {HASH}\n")).unwrap();
        assert!(!web.admits(&headers("alice:test")).await);
        fs::write(&path, "basic_auth_users: 3\n").unwrap();
        assert!(web.admits(&headers("somebody:test")).await);
        assert!(Web::new(None).unwrap().admits(&HeaderMap::new()).await);
    }

    #[tokio::test]
    async fn who_goes_away_leaves_no_more_hashing_behind_than_is_allowed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.yml");
        fs::write(&path, format!("basic_auth_users:\n  alice: {HASH}\n")).unwrap();
        let web = Web::new(Some(&path)).unwrap();
        let headers = headers("alice:wrong");
        for left in [1, 0, 0] {
            let asked = tokio::time::timeout(Duration::ZERO, web.admits(&headers)).await;
            assert!(asked.is_err(), "it goes away at once");
            assert_eq!(web.checks.available_permits(), left);
        }
    }

    #[test]
    fn a_file_that_mends_another_one_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.yml");
        fs::write(&path, "").unwrap();
        let web = Web::new(Some(&path)).unwrap();
        fs::write(&path, "tls_server_config: {cert_file: a.pem, key_file: b.pem}\n").unwrap();
        let reads = || {
            let before = web.state.lock().unwrap().seen.clone();
            drop(web.terms());
            web.state.lock().unwrap().seen != before
        };
        assert!(reads() && !reads());
        fs::write(directory.path().join("b.pem"), "not yet").unwrap();
        assert!(reads() && !reads(), "the key that was missing");
        fs::set_permissions(directory.path().join("b.pem"), PermissionsExt::from_mode(0o640)).unwrap();
        assert!(reads() && !reads(), "a key that may be read at last");
    }

    #[test]
    fn what_is_wrong_is_told() {
        assert!(of("").is_ok() && of("# nothing\n").is_ok() && of("basic_auth_users: {}\n").is_ok());
        for (text, why) in [
            ("basic_auth_users: {a: secret}\n", "the password of \"a\" is not a bcrypt hash"),
            (
                "basic_auth_users: {a: \"$2b$20$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay\"}\n",
                "costs more than 16",
            ),
            ("tls_server_config: {cert_file: a.pem, key_file: b.pem}\n", "DIR/b.pem cannot be read"),
            ("tls_server_config: {cert_file: a.pem}\n", "key_file"),
            (
                "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAndVerifyClientCert}\n",
                "client_ca_file",
            ),
            ("http_server_config: {http2: true}\n", "http_server_config"),
            ("nonsense: [\n", ""),
        ] {
            let told = of(text).map(drop).unwrap_err();
            assert!(told.starts_with("web_config_file DIR/web.yml: ") && told.contains(why), "{text}: {told}");
        }
        assert!(Web::new(Some(Path::new("/no/such.yml"))).is_err());
    }
}
