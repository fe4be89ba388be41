//! Whom a broker's certificate may be signed by, besides the authorities that the host trusts.

use std::io;
use std::path::Path;

use lapin::tcp::OwnedTLSConfig;
use tokio::io::AsyncReadExt;

/// Longest file of authorities, bytes. All that a Debian host trusts are 220 kB.
const CA_FILE_MAX: u64 = 1 << 20;
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// Reads the file anew, so that a renewed authority is taken with the next connection.
pub async fn read(ca_file: Option<&Path>) -> Result<OwnedTLSConfig, String> {
    let Some(path) = ca_file else { return Ok(OwnedTLSConfig::default()) };
    let told = |error: io::Error| format!("amqp_ca_file {} cannot be read: {error}", path.display());
    let mut text = String::new();
    let file = tokio::fs::File::open(path).await.map_err(told)?;
    file.take(CA_FILE_MAX + 1).read_to_string(&mut text).await.map_err(told)?;
    if text.len() as u64 > CA_FILE_MAX {
        return Err(format!("amqp_ca_file {} is longer than {CA_FILE_MAX} bytes", path.display()));
    }
    if !text.contains(BEGIN) {
        return Err(format!("amqp_ca_file {} holds no certificate: there is no line {BEGIN}", path.display()));
    }
    Ok(OwnedTLSConfig { identity: None, cert_chain: Some(text) })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(content: &[u8]) -> Result<OwnedTLSConfig, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ca.pem");
        std::fs::write(&path, content).expect("written");
        let read = read(Some(&path)).await;
        read.map_err(|why| why.replace(&directory.path().display().to_string(), "DIR"))
    }

    #[tokio::test]
    async fn what_is_no_authority_is_told() {
        assert_eq!(read(None).await, Ok(OwnedTLSConfig::default()));
        assert!(of(format!("# ours\n{BEGIN}\n").as_bytes()).await.is_ok_and(|trust| trust.cert_chain.is_some()));
        let refused = [
            (&b"no"[..], "amqp_ca_file DIR/ca.pem holds no certificate: there is no line -----BEGIN CERTIFICATE-----"),
            (&[0xff][..], "amqp_ca_file DIR/ca.pem cannot be read: invalid utf-8 sequence of 1 bytes from index 0"),
            (&[b' '; (1 << 20) + 1][..], "amqp_ca_file DIR/ca.pem is longer than 1048576 bytes"),
        ];
        for (content, why) in refused {
            assert_eq!(of(content).await, Err(why.into()));
        }
        assert!(read(Some(Path::new("/no/such"))).await.is_err());
    }
}
