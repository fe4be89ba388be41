//! TLS, and who may do what on TCP, by a file in the format that Prometheus' exporters share (`--web.config.file`), with
//! some keys of our own. Read again when it, or a certificate, has changed; one with errors leaves the last good in force.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use serde::Deserialize;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::caller::Role;
use super::site;
use super::token::TokenHash;
use crate::adapters::tls::{certificates, read_bounded};

/// Longest file of the configuration, of certificates or of a key, bytes.
const FILE_MAX: u64 = 1 << 20;
const USERS_MAX: usize = 256;
/// Every one is compared at each login by token; this many take 10 us.
const TOKENS_MAX: usize = 256;
const HOSTS_MAX: usize = 64;
/// Characters of a name that stands in the history.
const NAME_MAX: usize = 64;
/// Higher costs would let a few guesses take a core for minutes.
const COST_MAX: u32 = 16;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    tls_server_config: Option<TlsFile>,
    basic_auth_users: BTreeMap<String, String>,
    /// The keys from here on are ours, and no exporter's.
    tokens: BTreeMap<String, String>,
    operators: Vec<String>,
    open_reads: bool,
    hosts: Vec<String>,
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
    /// Names, with the bcrypt hashes of their passwords.
    pub users: BTreeMap<String, String>,
    pub tokens: BTreeMap<String, TokenHash>,
    operators: BTreeSet<String>,
    open_reads: bool,
    hosts: BTreeSet<String>,
}

impl Terms {
    /// Whether there is anybody who could sign in.
    pub fn has_logins(&self) -> bool {
        !self.users.is_empty() || !self.tokens.is_empty()
    }

    /// Whether reading needs no login.
    pub fn reads_are_open(&self) -> bool {
        self.open_reads || !self.has_logins()
    }

    /// Of somebody who has signed in.
    pub fn role(&self, name: &str) -> Role {
        if self.operators.contains(name) { Role::Operator } else { Role::Reader }
    }

    /// A further name of this host, in small letters.
    pub fn is_host(&self, name: &str) -> bool {
        self.hosts.contains(name)
    }
}

pub struct Web {
    path: Option<PathBuf>,
    state: Mutex<State>,
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
        let web = Self { path: path.map(Path::to_path_buf), state: Mutex::default() };
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
    check_users(&file.basic_auth_users)?;
    let tokens = read_tokens(&file)?;
    check_operators(&file)?;
    let hosts = read_hosts(&file.hosts)?;
    let tls = match &file.tls_server_config {
        Some(tls) => {
            let beside = |file: &Path| path.parent().unwrap_or(Path::new("/")).join(file);
            let files = [Some(&tls.cert_file), Some(&tls.key_file), tls.client_ca_file.as_ref()];
            seen.extend(marks(&files.into_iter().flatten().map(|file| beside(file)).collect::<Vec<_>>()));
            Some(Arc::new(server_config(tls, &beside)?))
        }
        None => None,
    };
    let operators = file.operators.into_iter().collect();
    Ok(Terms { tls, users: file.basic_auth_users, tokens, operators, open_reads: file.open_reads, hosts })
}

fn check_users(users: &BTreeMap<String, String>) -> Result<(), String> {
    if users.len() > USERS_MAX {
        return Err(format!("it has more than {USERS_MAX} users"));
    }
    for (user, hash) in users {
        let parts: Option<bcrypt::HashParts> = hash.parse().ok();
        match parts {
            Some(parts) if parts.get_cost() <= COST_MAX => {}
            Some(_) => return Err(format!("the hash of {user:?} costs more than {COST_MAX}, which would stop us")),
            None => return Err(format!("the password of {user:?} is not a bcrypt hash: htpasswd -nBC 10 makes one")),
        }
    }
    Ok(())
}

fn read_tokens(file: &File) -> Result<BTreeMap<String, TokenHash>, String> {
    if file.tokens.len() > TOKENS_MAX {
        return Err(format!("it has more than {TOKENS_MAX} tokens"));
    }
    let read = |(name, hash): (&String, &String)| {
        check_name(name)?;
        // Two people under one name could not be told apart in the history.
        if file.basic_auth_users.contains_key(name) {
            return Err(format!("{name:?} is in basic_auth_users and in tokens; give one of them another name"));
        }
        let hash = TokenHash::read(hash).map_err(|why| format!("the token of {name:?} {why}"))?;
        Ok((name.clone(), hash))
    };
    file.tokens.iter().map(read).collect()
}

fn check_operators(file: &File) -> Result<(), String> {
    for name in &file.operators {
        check_name(name)?;
        if !file.basic_auth_users.contains_key(name) && !file.tokens.contains_key(name) {
            return Err(format!("{name:?} in operators is neither in basic_auth_users nor in tokens"));
        }
    }
    Ok(())
}

/// What stands in the history and in the log must be plain there. Users who only read may be called as they like.
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+');
    match !name.is_empty() && name.len() <= NAME_MAX && name.chars().all(plain) {
        true => Ok(()),
        false => Err(format!(
            "the name {name:?} of a token or an operator is not 1 to {NAME_MAX} characters of a-z, A-Z, 0-9, ., _, -, @ and +"
        )),
    }
}

fn read_hosts(hosts: &[String]) -> Result<BTreeSet<String>, String> {
    if hosts.len() > HOSTS_MAX {
        return Err(format!("it has more than {HOSTS_MAX} hosts"));
    }
    let wrong = |host: &String| format!("{host:?} in hosts is not a name as mail1.example, without scheme and port");
    hosts.iter().map(|host| site::name(host).ok_or_else(|| wrong(host))).collect()
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

    use super::*;

    /// Of the password `test`.
    const HASH: &str = "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay";

    fn of(text: &str) -> Result<Web, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.yml");
        fs::write(&path, text).unwrap();
        Web::new(Some(&path)).map_err(|why| why.replace(&directory.path().display().to_string(), "DIR"))
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
    fn who_may_what() {
        let hash = "ab".repeat(32);
        let logins =
            format!("basic_auth_users: {{alice: {HASH}, prometheus: {HASH}}}\ntokens: {{bot: \"sha256:{hash}\"}}\n");
        let terms = of(&format!("{logins}operators: [alice, bot]\nhosts: [Mail1.Example]\n")).unwrap().terms();
        assert_eq!(
            ["alice", "bot", "prometheus"].map(|name| terms.role(name)),
            [Role::Operator, Role::Operator, Role::Reader]
        );
        assert!(terms.has_logins() && !terms.reads_are_open());
        assert!(terms.is_host("mail1.example") && !terms.is_host("mail2.example"));
        assert!(of(&format!("{logins}open_reads: true\n")).unwrap().terms().reads_are_open());
        let token_alone = of(&format!("tokens: {{bot: \"sha256:{hash}\"}}\n")).unwrap().terms();
        assert!(token_alone.has_logins() && !token_alone.reads_are_open());
        let today = of(&format!("basic_auth_users: {{\"Ada L.\": {HASH}}}\n")).unwrap().terms();
        assert_eq!(today.role("Ada L."), Role::Reader, "a file as it was before reads and does nothing else");
        let empty = of("").unwrap().terms();
        assert!(!empty.has_logins() && empty.reads_are_open());
    }

    #[test]
    fn what_is_wrong_with_who_may_what_is_told() {
        let token = format!("\"sha256:{}\"", "ab".repeat(32));
        for (text, why) in [
            ("tokens: {bot: umt_abc}\n".to_string(), "the token of \"bot\" is not \"sha256:\""),
            (format!("tokens: {{\"a b\": {token}}}\n"), "the name \"a b\" of a token or an operator is not"),
            (format!("tokens: {{a: {token}}}\nbasic_auth_users: {{a: {HASH}}}\n"), "in basic_auth_users and in tokens"),
            ("operators: [alice]\n".into(), "\"alice\" in operators is neither in basic_auth_users nor in tokens"),
            (format!("basic_auth_users: {{\"a (b)\": {HASH}}}\noperators: [\"a (b)\"]\n"), "the name \"a (b)\""),
            ("hosts: [\"https://mail1.example\"]\n".into(), "without scheme and port"),
            ("hosts: [\"mail1.example:80\"]\n".into(), "without scheme and port"),
            ("hosts: [\"*.example\"]\n".into(), "without scheme and port"),
            (format!("hosts: [{}]\n", "a,".repeat(65)), "more than 64 hosts"),
            ("open_reads: maybe\n".into(), "invalid boolean"),
            ("open_read: true\n".into(), "open_read"),
            (
                format!("tokens: {{{}}}\n", (0..257).map(|n| format!("t{n}: {token},")).collect::<String>()),
                "more than 256 tokens",
            ),
        ] {
            let told = of(&text).map(drop).unwrap_err();
            assert!(told.starts_with("web_config_file DIR/web.yml: ") && told.contains(why), "{text}: {told}");
        }
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
