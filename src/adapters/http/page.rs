//! The operator's page: its files are in the program, so it needs no network and always fits the API that it reads.
//! It is the same for everybody and tells nothing of the host: what it shows, it asks the API for.

use std::io::Write;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
    IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{HeaderMap, StatusCode};

use super::gzip;
use super::problem::Problem;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const DRAWING: &str = "image/svg+xml";

/// A file of the page, as it is in the repository.
struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

macro_rules! assets {
    ($($name:literal: $kind:ident),+ $(,)?) => {
        &[$(Asset { name: $name, kind: $kind, bytes: include_bytes!(concat!("../../../page/", $name)) }),+]
    };
}

/// All there is. The first is what `/` answers with; each is at `/page/NAME`.
const ASSETS: &[Asset] = assets![
    "index.html": HTML,
    "favicon.svg": DRAWING,
    "page.css": STYLE,
    "alerts.js": SCRIPT,
    "api.js": SCRIPT,
    "configuration.js": SCRIPT,
    "deeds.js": SCRIPT,
    "dialog.js": SCRIPT,
    "dom.js": SCRIPT,
    "events.js": SCRIPT,
    "explanation.js": SCRIPT,
    "facts.js": SCRIPT,
    "first.js": SCRIPT,
    "history.js": SCRIPT,
    "incident.js": SCRIPT,
    "incidents.js": SCRIPT,
    "learned.js": SCRIPT,
    "main.js": SCRIPT,
    "overview.js": SCRIPT,
    "plot.js": SCRIPT,
    "present.js": SCRIPT,
    "reading.js": SCRIPT,
    "say.js": SCRIPT,
    "signin.js": SCRIPT,
    "targets.js": SCRIPT,
    "time.js": SCRIPT,
    "words.js": SCRIPT,
    "worker.js": SCRIPT,
];

/// What a browser may do with the page: run and show what came with it, ask the daemon that served it, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src \
                      'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// With every answer. The browser asks each time whether what it has is still right: after an update of the daemon an
/// old page would read a new API.
const HEADERS: [(HeaderName, HeaderValue); 8] = [
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    (VARY, HeaderValue::from_static("Accept-Encoding")),
];

/// An asset as it goes out, in both codings. Each coding has an ETag of its own: a strong one names bytes.
struct Served {
    asset: &'static Asset,
    packed: Bytes,
    tag: String,
    packed_tag: String,
}

/// Packed once, by the first who asks.
static SERVED: LazyLock<Vec<Served>> = LazyLock::new(|| ASSETS.iter().map(Served::new).collect());

impl Served {
    fn new(asset: &'static Asset) -> Self {
        let hash = fnv1a(asset.bytes);
        let (tag, packed_tag) = (format!("\"{hash:016x}\""), format!("\"{hash:016x}-gzip\""));
        Self { asset, packed: packed(asset.bytes), tag, packed_tag }
    }

    fn respond(&self, asked: &HeaderMap) -> Response {
        let is_packed = gzip::is_accepted(asked);
        let tag = if is_packed { &self.packed_tag } else { &self.tag };
        let headers = (HEADERS, [(ETAG, tag.as_str())]);
        if is_known(asked, tag) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        let headers = (headers.0, headers.1, [(CONTENT_TYPE, self.asset.kind)]);
        match is_packed {
            true => {
                (headers.0, headers.1, headers.2, [(CONTENT_ENCODING, "gzip")], self.packed.clone()).into_response()
            }
            false => (headers.0, headers.1, headers.2, self.asset.bytes).into_response(),
        }
    }
}

/// `/` and `/page/NAME`.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/", get(|headers: HeaderMap| async move { SERVED[0].respond(&headers) })).route(
        "/page/{name}",
        get(|Path(name): Path<String>, headers: HeaderMap| async move {
            match SERVED.iter().find(|served| served.asset.name == name) {
                Some(served) => served.respond(&headers),
                None => Problem::new(StatusCode::NOT_FOUND, "the page has no such file; load / anew").into_response(),
            }
        }),
    )
}

/// Whether the asker has these bytes already. It may name several, and weak ones, which is as good here.
fn is_known(asked: &HeaderMap, tag: &str) -> bool {
    let named = asked.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}

/// FNV-1a, 64 bit: tells versions of our own files apart, and is not asked for more.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Made once, so it may take its time.
fn packed(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Read;
    use std::path::Path;

    use http_body_util::BodyExt;
    use hyper::Request;
    use hyper::header::{ACCEPT_ENCODING, CONTENT_LENGTH};
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    /// What all files may cost, packed: half of the 200 kB that a visit may, for the state of a large host comes on top.
    const WEIGHT_MAX: usize = 100_000;

    async fn ask(method: &str, path: &str, headers: &[(HeaderName, &str)]) -> (StatusCode, HeaderMap, Bytes) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let request = request.body(axum::body::Body::empty()).unwrap();
        let service = TowerToHyperService::new(routes::<()>().with_state(()));
        let (parts, body) = service.call(request).await.unwrap().into_parts();
        (parts.status, parts.headers, body.collect().await.unwrap().to_bytes())
    }

    fn text(asset: &Asset) -> &'static str {
        std::str::from_utf8(asset.bytes).unwrap()
    }

    #[test]
    fn every_file_of_the_page_is_served_and_they_weigh_little() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
        let there: BTreeSet<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let served: BTreeSet<String> = ASSETS.iter().map(|asset| asset.name.to_owned()).collect();
        assert_eq!(there, served);
        let weight: usize = SERVED.iter().map(|served| served.packed.len()).sum();
        assert!(weight <= WEIGHT_MAX, "{weight} bytes");
    }

    /// `"./dom.js"` in a module, `"/page/main.js"` in the document.
    #[test]
    fn what_files_name_exists() {
        for asset in ASSETS {
            let quoted =
                text(asset).split('"').filter_map(|part| part.strip_prefix("./").or(part.strip_prefix("/page/")));
            for name in quoted {
                assert!(ASSETS.iter().any(|other| other.name == name), "{} names {name}", asset.name);
            }
        }
    }

    /// The policy would stop it, and hostile names would get through where it does not.
    #[test]
    fn nothing_is_inline_and_no_markup_is_made_of_text() {
        for asset in ASSETS.iter().filter(|asset| asset.kind == SCRIPT) {
            assert!(text(asset).starts_with("// "), "{} says what it is for", asset.name);
            for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
            {
                assert!(!text(asset).contains(forbidden), "{}: {forbidden}", asset.name);
            }
        }
        let document = text(&ASSETS[0]);
        for forbidden in [" style=", "<style", " onclick=", " onload=", "<script>"] {
            assert!(!document.contains(forbidden), "{forbidden}");
        }
    }

    #[tokio::test]
    async fn the_page_comes_with_its_policy() {
        let (status, headers, body) = ask("GET", "/", &[]).await;
        assert_eq!((status, &headers[CONTENT_TYPE]), (StatusCode::OK, &HeaderValue::from_static(HTML)));
        assert_eq!(body, ASSETS[0].bytes);
        assert!(headers.get(CONTENT_ENCODING).is_none());
        for path in ["/", "/page/main.js", "/page/page.css", "/page/favicon.svg"] {
            let (status, headers, _) = ask("GET", path, &[]).await;
            assert_eq!(status, StatusCode::OK, "{path}");
            for (name, value) in HEADERS {
                assert_eq!(headers.get(&name), Some(&value), "{path}: {name}");
            }
        }
        for wrong in
            ["/page/", "/page/nothing.js", "/page/..%2fCargo.toml", "/page/../Cargo.toml", "/page/page/main.js"]
        {
            assert_eq!(ask("GET", wrong, &[]).await.0, StatusCode::NOT_FOUND, "{wrong}");
        }
        assert_eq!(ask("POST", "/", &[]).await.0, StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn what_is_packed_is_the_same_and_has_a_tag_of_its_own() {
        let (_, plain, whole) = ask("GET", "/page/dom.js", &[]).await;
        let (_, headers, body) = ask("GET", "/page/dom.js", &[(ACCEPT_ENCODING, "gzip, br")]).await;
        assert_eq!(headers[CONTENT_ENCODING], "gzip");
        assert_ne!(headers[ETAG], plain[ETAG]);
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut back).unwrap();
        assert_eq!(back, whole);
        let (status, head, nothing) = ask("HEAD", "/page/dom.js", &[]).await;
        assert_eq!((status, nothing.len()), (StatusCode::OK, 0));
        assert_eq!((&head[ETAG], &head[CONTENT_LENGTH]), (&plain[ETAG], &HeaderValue::from(whole.len())));
    }

    #[tokio::test]
    async fn what_is_known_is_not_sent_again() {
        let tag = ask("GET", "/page/dom.js", &[]).await.1[ETAG].to_str().unwrap().to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".into()] {
            let (status, headers, body) = ask("GET", "/page/dom.js", &[(IF_NONE_MATCH, &known)]).await;
            assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0), "{known}");
            assert_eq!(headers[ETAG], *tag);
        }
        for other in [(IF_NONE_MATCH, "\"x\""), (IF_NONE_MATCH, "")] {
            assert_eq!(ask("GET", "/page/dom.js", &[other]).await.0, StatusCode::OK);
        }
        let packed = [(IF_NONE_MATCH, tag.as_str()), (ACCEPT_ENCODING, "gzip")];
        assert_eq!(ask("GET", "/page/dom.js", &packed).await.0, StatusCode::OK, "other bytes");
    }
}
