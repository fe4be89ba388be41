//! An authority of the house, made by openssl.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::broker::Tls;
use crate::testhost::Failure;

/// Signs what the tests trust, or do not.
pub struct Authority {
    directory: TempDir,
}

impl Authority {
    pub fn new() -> Result<Self, Failure> {
        let authority = Self { directory: tempfile::tempdir()? };
        let subject = ["-subj", "/CN=The house", "-addext", "basicConstraints=critical,CA:TRUE"];
        authority.openssl(&[&["req", "-x509", "-out", "ca.pem", "-keyout", "ca.key"], &subject[..], &NEW].concat())?;
        Ok(authority)
    }

    /// PEM file of its certificate.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A certificate for this host name.
    pub fn signs(&self, name: &str) -> Result<Tls, Failure> {
        let alternative = format!("subjectAltName=DNS:{name}");
        let words = ["req", "-x509", "-CA", "ca.pem", "-CAkey", "ca.key", "-out", "it.pem", "-keyout", "it.key"];
        let subject = ["-subj", "/CN=broker", "-addext", &alternative, "-addext", "basicConstraints=CA:FALSE"];
        self.openssl(&[&words[..], &subject, &NEW].concat())?;
        let read = |file: &str| fs::read_to_string(self.directory.path().join(file));
        Ok(Tls { certificate: read("it.pem")?, key: read("it.key")? })
    }

    fn openssl(&self, words: &[&str]) -> Result<(), Failure> {
        let output = Command::new("openssl").args(words).current_dir(self.directory.path()).output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(Failure::new(format!("openssl {words:?}: {}", String::from_utf8_lossy(&output.stderr)))),
        }
    }
}

const NEW: [&str; 6] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-batch"];
