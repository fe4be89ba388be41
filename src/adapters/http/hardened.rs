//! What every answer says to a browser, unless its handler has said it already.

use axum::response::Response;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};

use super::Endpoint;

const CORP: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// No guessing of kinds, no frames, no name of this host to others, no use by other pages; and what brings no policy of
/// its own loads and runs nothing.
const ALWAYS: [(HeaderName, HeaderValue); 5] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (CORP, HeaderValue::from_static("same-origin")),
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'")),
];

/// What the API says is true now, and may be for this reader alone.
const UNKEPT: (HeaderName, HeaderValue) = (CACHE_CONTROL, HeaderValue::from_static("no-store"));

pub fn harden(response: &mut Response, endpoint: Endpoint) {
    let unkept = matches!(endpoint, Endpoint::Api | Endpoint::Events).then_some(UNKEPT);
    for (name, value) in ALWAYS.into_iter().chain(unkept) {
        response.headers_mut().entry(name).or_insert(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;

    #[test]
    fn what_the_handler_has_said_stands() {
        let mut page =
            ([(CONTENT_SECURITY_POLICY, "default-src 'self'"), (CACHE_CONTROL, "max-age=9")], "x").into_response();
        harden(&mut page, Endpoint::Api);
        assert_eq!(page.headers()[CONTENT_SECURITY_POLICY], "default-src 'self'");
        assert_eq!(page.headers()[CACHE_CONTROL], "max-age=9");
        assert_eq!(page.headers()[X_FRAME_OPTIONS], "DENY");
        for (endpoint, unkept) in [(Endpoint::Api, true), (Endpoint::Events, true), (Endpoint::Metrics, false)] {
            let mut plain = "x".into_response();
            harden(&mut plain, endpoint);
            assert_eq!(plain.headers().get(CACHE_CONTROL).is_some_and(|value| value == "no-store"), unkept);
            assert_eq!(plain.headers()[CORP], "same-origin");
        }
    }
}
