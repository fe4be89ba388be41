//! TLS: whom to trust, and the files that say it.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::adapters::secret::open_regular;

/// Longest file of certificates, bytes. All that a Debian host trusts are 220 kB.
const CERTIFICATES_MAX: u64 = 1 << 20;

/// Speaks TLS with `host` on the stream. The authorities are read anew, so that renewed ones are taken at once.
pub async fn connect(host: &str, ca_file: Option<&Path>, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
    let ca_file = ca_file.map(Path::to_path_buf);
    let reading = tokio::task::spawn_blocking(move || client_config(ca_file.as_deref()));
    let config = reading.await.map_err(|error| error.to_string())??;
    let host = host.trim_matches(['[', ']']).to_string();
    let name = ServerName::try_from(host.clone()).map_err(|_| format!("{host} is not a name for TLS"))?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| format!("TLS: {error}"))
}

fn client_config(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    // What cannot be read of the host's store is missing from it; the server's certificate shows whether it matters.
    let (_, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        for certificate in certificates(path).map_err(|why| format!("ca_file {why}"))? {
            let wrong = |error| format!("ca_file {}: {error}", path.display());
            roots.add(certificate).map_err(wrong)?;
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The certificates of a file in PEM, at least one.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read_bounded(path, CERTIFICATES_MAX)?).collect();
    match found {
        Ok(found) if found.is_empty() => Err(format!("{} holds no certificate", path.display())),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// The content of a regular file of at most `max` bytes.
pub fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    match open_regular(path).and_then(|file| file.take(max + 1).read_to_end(&mut bytes)) {
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
        Ok(_) if bytes.len() as u64 > max => Err(format!("{} is longer than {max} bytes", path.display())),
        Ok(_) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_authority_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let of = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            client_config(Some(&path)).map(drop).unwrap_err().replace(&directory.path().display().to_string(), "DIR")
        };
        assert_eq!(of(b"no"), "ca_file DIR/ca.pem holds no certificate");
        assert_eq!(of(&[b' '; (1 << 20) + 1]), "ca_file DIR/ca.pem is longer than 1048576 bytes");
        let rubbish = of(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        assert!(rubbish.starts_with("ca_file DIR/ca.pem: "), "{rubbish}");
        assert!(client_config(Some(Path::new("/no/such"))).is_err());
        assert!(client_config(None).is_ok());
    }
}
