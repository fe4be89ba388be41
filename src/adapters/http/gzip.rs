//! Answers in gzip, for those who take it.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::HeaderMap;
use hyper::body::Bytes;
use hyper::header::ACCEPT_ENCODING;

/// Bytes of Accept-Encoding that are looked at; Prometheus sends four.
const ACCEPT_MAX: usize = 256;

/// Whether the asker names gzip and does not refuse it.
pub fn is_accepted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.filter(|value| value.len() <= ACCEPT_MAX).flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
        named && quality > 0.0
    })
}

/// The fastest level: a scraper waits for it, and what repeats itself as an exposition does shrinks by any.
pub fn packed(text: &Bytes) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 16 + 64), Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(text);
    encoder.finish().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn the_asker_chooses() {
        let accepted = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_str(value).unwrap());
            is_accepted(&headers)
        };
        for yes in ["gzip", "deflate, GZIP;q=0.5", "gzip; q=1", "br,gzip"] {
            assert!(accepted(yes), "{yes}");
        }
        for no in ["", "identity", "*", "gzip;q=0", "x-gzip", "gzip;q=no"] {
            assert!(!accepted(no), "{no}");
        }
        assert!(!accepted(&format!("gzip{}", " ".repeat(300))));
        assert!(!is_accepted(&HeaderMap::new()));
    }

    #[test]
    fn what_is_packed_is_the_same() {
        let text = Bytes::from("unitmedic_up 1\n".repeat(1000));
        let packed = packed(&text);
        assert!(packed.len() < text.len() / 20, "{}", packed.len());
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut back).unwrap();
        assert_eq!(back, text);
    }
}
