//! Passwords and tokens: read when they are needed, never shown.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::OFlags;
use tokio::io::AsyncReadExt;

/// Longest password or token, bytes. Whatever is longer is some other file.
const SECRET_MAX: u64 = 4096;

/// A password or token. It has no `Display`, and its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// For the one who sends it to its owner, and nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Takes as long whatever the first difference is.
    pub fn is(&self, given: &[u8]) -> bool {
        let differences = given.iter().zip(self.0.as_bytes()).fold(0, |seen, (a, b)| seen | (a ^ b));
        given.len() == self.0.len() && differences == 0
    }

    /// The value of the header Authorization for this password of the user.
    pub fn basic(&self, user: &str) -> String {
        format!("Basic {}", STANDARD.encode(format!("{user}:{}", self.0)))
    }

    /// The value of the header Authorization for this token.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nobody configured one: RabbitMQ's own default, which it accepts on its loopback only.
    Default,
    File(PathBuf),
    /// A systemd credential of the service.
    Credential(String),
}

/// Where systemd puts the credentials of this service.
pub fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

impl Source {
    /// Reads the secret anew; `credentials` is the service's `$CREDENTIALS_DIRECTORY`. The error names the file and
    /// never what is in it.
    pub async fn read(&self, credentials: Option<&PathBuf>) -> Result<Secret, String> {
        let path = match self {
            Source::Default => return Ok(Secret::new("guest")),
            Source::File(path) => path.clone(),
            Source::Credential(name) if name.contains('/') || name.starts_with('.') => {
                return Err(format!("{name:?} is not the name of a credential"));
            }
            Source::Credential(name) => credentials
                .ok_or_else(|| {
                    format!("there is no credential {name}: unitmedic.service needs LoadCredential={name}:")
                })?
                .join(name),
        };
        let told = |error: io::Error| format!("the secret in {} cannot be read: {error}", path.display());
        let mut bytes = Vec::new();
        let from = path.clone();
        let opened = tokio::task::spawn_blocking(move || open_regular(&from)).await.map_err(io::Error::from);
        let file = tokio::fs::File::from_std(opened.flatten().map_err(told)?);
        file.take(SECRET_MAX + 1).read_to_end(&mut bytes).await.map_err(told)?;
        if bytes.len() as u64 > SECRET_MAX {
            return Err(format!("the secret in {} is longer than {SECRET_MAX} bytes", path.display()));
        }
        let text = String::from_utf8(bytes).map_err(|_| format!("the secret in {} is not UTF-8", path.display()))?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(Secret::new(text.strip_suffix('\r').unwrap_or(text)))
    }
}

/// A FIFO would have us wait for a writer, and whoever waits holds a thread for as long.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    async fn read(content: &[u8]) -> Result<Secret, String> {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("pw"), content).expect("written");
        let at = directory.path().to_path_buf();
        Source::Credential("pw".into()).read(Some(&at)).await
    }

    #[test]
    fn it_is_compared_whole() {
        let secret = Secret::new("abc");
        assert!(secret.is(b"abc"));
        assert!(!secret.is(b"abd") && !secret.is(b"ab") && !secret.is(b"abcd") && !secret.is(b""));
    }

    #[tokio::test]
    async fn one_newline_is_cut() {
        for (content, want) in [("pass", "pass"), ("pass\n", "pass"), ("pass\r\n", "pass"), (" pass \n\n", " pass \n")]
        {
            assert_eq!(read(content.as_bytes()).await.expect("a password").expose(), want);
        }
    }

    #[tokio::test]
    async fn what_is_no_password_is_refused_without_showing_it() {
        assert!(read(&[b'x'; 4096]).await.is_ok());
        let long = read(&[b'x'; 4097]).await.expect_err("too long");
        assert!(long.ends_with("is longer than 4096 bytes") && !long.contains("xxx"), "{long}");
        assert!(read(b"\xff").await.expect_err("not UTF-8").ends_with("is not UTF-8"));
        let outside = Source::Credential("../shadow".into()).read(Some(&"/etc/x".into())).await;
        assert_eq!(outside, Err("\"../shadow\" is not the name of a credential".into()));
        assert!(Source::Credential("pw".into()).read(None).await.expect_err("none").contains("LoadCredential=pw:"));
        assert!(Source::File("/nowhere/pw".into()).read(None).await.expect_err("none").contains("/nowhere/pw"));
    }

    #[tokio::test]
    async fn what_never_ends_or_never_begins_is_not_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a fifo");
        for path in [fifo, directory.path().to_path_buf(), "/dev/zero".into()] {
            let told = Source::File(path.clone()).read(None).await.expect_err("no file");
            assert!(told.ends_with("cannot be read: it is not a regular file"), "{}: {told}", path.display());
        }
    }

    #[test]
    fn headers() {
        assert_eq!(Secret::new("open sesame").basic("Aladdin"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(Secret::new("abc").bearer(), "Bearer abc");
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert_eq!(
            format!("{:?} {:#?}", Secret::new("hunter2"), Some(Secret::new("hunter2"))).matches("hunter").count(),
            0
        );
    }
}
