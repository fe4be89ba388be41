//! Writing the text format fast: whole pieces are copied, numbers are formatted without `fmt`.

use super::catalog::{Kind, Metric};
use super::histogram::Exemplar;

/// An exposition under way.
pub struct Text {
    out: Vec<u8>,
    int: itoa::Buffer,
    float: zmij::Buffer,
    /// The plain text has no place for them.
    exemplars: bool,
}

/// The series of one family. Labels come rendered: `worker="mail",unit="mail@1.service"`, without braces, escaped.
pub struct Series<'a> {
    text: &'a mut Text,
    name: &'static str,
}

impl Text {
    pub fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes), int: itoa::Buffer::new(), float: zmij::Buffer::new(), exemplars: false }
    }

    /// For a reader who knows OpenMetrics.
    pub fn with_exemplars(self, exemplars: bool) -> Self {
        Self { exemplars, ..self }
    }

    /// Writes a family; one without series leaves no trace.
    pub fn family(&mut self, metric: &'static Metric, write: impl FnOnce(&mut Series<'_>)) {
        let begin = self.out.len();
        for piece in
            ["# HELP ", metric.name, " ", metric.help, "\n# TYPE ", metric.name, " ", metric.kind.as_str(), "\n"]
        {
            self.put(piece);
        }
        let body = self.out.len();
        write(&mut Series { text: self, name: metric.name });
        if self.out.len() == body {
            self.out.truncate(begin);
        }
    }

    /// A family of one series without labels, absent where there is no value.
    pub fn single(&mut self, metric: &'static Metric, value: impl Into<Option<f64>>) {
        debug_assert!(metric.kind != Kind::Histogram && metric.labels.is_empty());
        if let Some(value) = value.into() {
            self.family(metric, |series| series.bare(value));
        }
    }

    pub fn single_int(&mut self, metric: &'static Metric, value: u64) {
        debug_assert!(metric.kind != Kind::Histogram && metric.labels.is_empty());
        self.family(metric, |series| series.bare_int(value));
    }

    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    #[inline]
    fn put(&mut self, piece: &str) {
        self.out.extend_from_slice(piece.as_bytes());
    }

    #[inline]
    fn put_int(&mut self, value: u64) {
        self.out.extend_from_slice(self.int.format(value).as_bytes());
    }

    #[inline]
    fn put_float(&mut self, value: f64) {
        if value.is_finite() {
            self.out.extend_from_slice(self.float.format_finite(value).as_bytes());
        } else {
            self.put(match value {
                f64::INFINITY => "+Inf",
                f64::NEG_INFINITY => "-Inf",
                _ => "NaN",
            });
        }
    }
}

impl Series<'_> {
    /// `more` are further labels with a leading comma, or nothing.
    #[inline]
    pub fn int(&mut self, labels: &str, more: &str, value: u64) {
        self.head("", labels, more);
        self.text.put_int(value);
        self.text.out.push(b'\n');
    }

    #[inline]
    pub fn float(&mut self, labels: &str, more: &str, value: f64) {
        self.head("", labels, more);
        self.text.put_float(value);
        self.text.out.push(b'\n');
    }

    #[inline]
    pub fn bool(&mut self, labels: &str, more: &str, value: bool) {
        self.head("", labels, more);
        self.text.put(if value { "1\n" } else { "0\n" });
    }

    /// One line of a histogram: `suffix` is `_bucket`, `_sum` or `_count`.
    pub fn part_int(&mut self, suffix: &str, labels: &str, more: &str, value: u64) {
        self.head(suffix, labels, more);
        self.text.put_int(value);
        self.text.out.push(b'\n');
    }

    /// One bucket of a histogram.
    pub fn bucket(&mut self, labels: &str, le: &str, value: u64, exemplar: Option<&Exemplar>) {
        self.head("_bucket", labels, le);
        self.text.put_int(value);
        if let Some(Exemplar { incident, value, at }) = exemplar.filter(|_| self.text.exemplars) {
            self.text.put(" # {incident=\"");
            self.text.put_int(incident.0);
            self.text.put("\"} ");
            self.text.put_float(*value);
            self.text.put(" ");
            self.text.put_float(*at);
        }
        self.text.out.push(b'\n');
    }

    pub fn part_float(&mut self, suffix: &str, labels: &str, value: f64) {
        self.head(suffix, labels, "");
        self.text.put_float(value);
        self.text.out.push(b'\n');
    }

    fn bare(&mut self, value: f64) {
        self.text.put(self.name);
        self.text.out.push(b' ');
        self.text.put_float(value);
        self.text.out.push(b'\n');
    }

    fn bare_int(&mut self, value: u64) {
        self.text.put(self.name);
        self.text.out.push(b' ');
        self.text.put_int(value);
        self.text.out.push(b'\n');
    }

    #[inline]
    fn head(&mut self, suffix: &str, labels: &str, more: &str) {
        // One check for room per line instead of one per piece.
        const VALUE_MAX: usize = 32;
        self.text.out.reserve(self.name.len() + suffix.len() + labels.len() + more.len() + VALUE_MAX);
        self.text.put(self.name);
        self.text.put(suffix);
        self.text.out.push(b'{');
        self.text.put(labels);
        self.text.put(more);
        self.text.put("} ");
    }
}

/// `key="value"`, with the value escaped.
pub fn label(key: &str, value: &str) -> String {
    let mut out = String::with_capacity(key.len() + value.len() + 3);
    out.push_str(key);
    out.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// `,key="value"` for each value of a closed set.
pub fn closed<'a>(key: &str, values: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    values.into_iter().map(|value| format!(",{}", label(key, value))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::catalog::{MTTR, PAUSED, UP};
    use super::*;

    fn made(write: impl FnOnce(&mut Text)) -> String {
        let mut text = Text::with_capacity(0);
        write(&mut text);
        String::from_utf8(text.finish()).unwrap()
    }

    #[test]
    fn escaping() {
        assert_eq!(label("unit", r"dev\x2d1.service"), r#"unit="dev\\x2d1.service""#);
        assert_eq!(label("a", "q\"\nz"), r#"a="q\"\nz""#);
        assert_eq!(label("a", "ä"), "a=\"ä\"");
    }

    #[test]
    fn a_family_without_series_leaves_no_trace() {
        assert_eq!(made(|text| text.family(&PAUSED, |_| {})), "");
        assert_eq!(made(|text| text.single(&UP, None)), "");
    }

    #[test]
    fn numbers() {
        let text = made(|text| {
            text.family(&MTTR, |series| {
                for value in [0.0, 1.5, 1e21, 1e-7, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -2.0] {
                    series.float("worker=\"w\"", "", value);
                }
                series.int("worker=\"w\"", ",x=\"y\"", u64::MAX);
            })
        });
        let values: Vec<&str> = text.lines().skip(2).map(|line| line.rsplit_once(' ').unwrap().1).collect();
        assert_eq!(values[4..], ["NaN", "+Inf", "-Inf", "-2.0", "18446744073709551615"]);
        let parsed: Vec<f64> = values[..4].iter().map(|value| value.parse().unwrap()).collect();
        assert_eq!(parsed, [0.0, 1.5, 1e21, 1e-7]);
        assert!(text.contains("unitmedic_mttr_seconds{worker=\"w\",x=\"y\"} 18446744073709551615\n"));
        assert!(text.starts_with("# HELP unitmedic_mttr_seconds Mean time"));
    }
}
