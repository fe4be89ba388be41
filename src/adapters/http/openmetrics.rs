//! OpenMetrics 1.0 out of the text format 0.0.4, for scrapers that prefer it.
//!
//! The series are the same. Counters are named without `_total` where they are described, units are named, borders of
//! buckets are written as floats, and the end is marked, so that a cut answer is known as such.

use hyper::HeaderMap;
use hyper::header::ACCEPT;

pub const OPENMETRICS_1_0_0: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const NAME: &str = "application/openmetrics-text";
/// Units that a name can end with.
const UNITS: &[&str] = &["seconds", "bytes", "ratio"];
/// Bytes of Accept that are looked at; Prometheus sends 160.
const ACCEPT_MAX: usize = 1024;

/// Whether the asker likes OpenMetrics at least as much as the plain text.
pub fn is_preferred(headers: &HeaderMap) -> bool {
    let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let accept = accept.join(",");
    if accept.len() > ACCEPT_MAX {
        return false;
    }
    let (mut open, mut plain) = (0.0_f64, 0.0_f64);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        let of = |key: &str| parameters.iter().find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim());
        let quality = of("q").map_or(1.0, |q| q.parse().unwrap_or(0.0));
        if name.eq_ignore_ascii_case(NAME) && of("version").is_none_or(|version| version == "1.0.0") {
            open = open.max(quality);
        } else if name.eq_ignore_ascii_case("text/plain") {
            plain = plain.max(quality);
        }
    }
    open > 0.0 && open >= plain
}

/// The same exposition as OpenMetrics.
pub fn from_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 16 + 64);
    let (mut help, mut is_histogram) = ("", false);
    for line in text.split_inclusive('\n') {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.trim_end_matches('\n').split_once(' ').map_or("", |(_, help)| help);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.trim_end_matches('\n').split_once(' ').unwrap_or((rest, "unknown"));
            is_histogram = kind == "histogram";
            describe(&mut out, name, kind, help);
            help = "";
        } else if is_histogram {
            bucket(&mut out, line);
        } else {
            out.push_str(line);
        }
    }
    out.push_str("# EOF\n");
    out
}

fn describe(out: &mut String, name: &str, kind: &str, help: &str) {
    let (name, kind) = match (kind, name.strip_suffix("_total")) {
        ("counter", Some(family)) => (family, "counter"),
        // Without the suffix it would not be one.
        ("counter", None) | ("untyped", _) => (name, "unknown"),
        (kind, _) => (name, kind),
    };
    out.extend(["# TYPE ", name, " ", kind, "\n"]);
    let unit = UNITS.iter().find(|unit| name.strip_suffix(**unit).is_some_and(|rest| rest.ends_with('_')));
    if let Some(unit) = unit {
        out.extend(["# UNIT ", name, " ", unit, "\n"]);
    }
    if !help.is_empty() {
        out.extend(["# HELP ", name, " ", &help.replace('"', "\\\""), "\n"]);
    }
}

/// `le="5"` becomes `le="5.0"`.
fn bucket(out: &mut String, line: &str) {
    const BORDER: &str = "le=\"";
    let border = line.rfind(BORDER).map(|at| at + BORDER.len());
    let number = border.map(|at| (at, line[at..].find('"').unwrap_or(0)));
    match number {
        Some((at, length)) if length > 0 && line[at..at + length].bytes().all(|byte| byte.is_ascii_digit()) => {
            out.extend([&line[..at + length], ".0", &line[at + length..]]);
        }
        _ => out.push_str(line),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use hyper::header::HeaderValue;

    use super::*;

    fn preferred(accept: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).expect("a header"));
        is_preferred(&headers)
    }

    #[test]
    fn the_asker_chooses() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert!(preferred(prometheus));
        assert!(preferred("application/openmetrics-text"));
        assert!(preferred("text/plain;q=0.5, application/openmetrics-text; version=1.0.0; q=0.6"));
        assert!(!preferred("*/*"));
        assert!(!preferred("text/plain;version=0.0.4"));
        assert!(!preferred("application/openmetrics-text;version=0.0.1"), "an older version than we speak");
        assert!(!preferred("application/openmetrics-text;q=0"));
        assert!(!preferred("application/openmetrics-text;q=0.2, text/plain"));
        assert!(
            !preferred(&format!("application/openmetrics-text,{}", "x/y,".repeat(500))),
            "longer than anybody needs"
        );
        assert!(!is_preferred(&HeaderMap::new()));
    }

    #[test]
    fn the_same_series_are_described_otherwise() {
        let text = "# HELP a_seconds_total So \"long\".\n# TYPE a_seconds_total counter\na_seconds_total{x=\"le=\\\"5\\\"\"} 1\n\
                    # HELP b Up.\n# TYPE b gauge\nb 1\n\
                    # TYPE c_seconds histogram\nc_seconds_bucket{le=\"0.5\"} 1\nc_seconds_bucket{w=\"1\",le=\"5\"} 2 # {incident=\"4\"} 3.5 9\n\
                    c_seconds_bucket{le=\"+Inf\"} 2\nc_seconds_sum 3\nc_seconds_count 2\n\
                    # TYPE odd counter\nodd 1\n";
        expect![[r##"
            # TYPE a_seconds counter
            # UNIT a_seconds seconds
            # HELP a_seconds So \"long\".
            a_seconds_total{x="le=\"5\""} 1
            # TYPE b gauge
            # HELP b Up.
            b 1
            # TYPE c_seconds histogram
            # UNIT c_seconds seconds
            c_seconds_bucket{le="0.5"} 1
            c_seconds_bucket{w="1",le="5.0"} 2 # {incident="4"} 3.5 9
            c_seconds_bucket{le="+Inf"} 2
            c_seconds_sum 3
            c_seconds_count 2
            # TYPE odd unknown
            odd 1
            # EOF
        "##]]
        .assert_eq(&from_text(text));
        assert_eq!(from_text(""), "# EOF\n");
    }
}
