//! Patterns of log lines, as incidents and those who ask know them. How they are found is in `learn`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::incident::IncidentId;
use super::name::{UnitName, WorkerName};
use super::time::{Mono, Wall};

/// Characters of a template that go into the engine, an incident and what is recorded.
pub const TEMPLATE_SHOWN: usize = 200;

/// Names a pattern for as long as it is known, also when it becomes more general; shown as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PatternId(pub u64);

impl From<PatternId> for String {
    fn from(id: PatternId) -> Self {
        id.to_string()
    }
}
impl JsonSchema for PatternId {
    fn schema_name() -> Cow<'static, str> {
        "PatternId".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "Names a pattern.", "type": "string", "pattern": "^[0-9a-fA-F]{16}$" })
    }
}

impl TryFrom<String> for PatternId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = u64::from_str_radix(&text, 16).ok().filter(|_| digits);
        id.map(PatternId).ok_or_else(|| format!("{text:?} is no id of a pattern, which has 16 hexadecimal digits"))
    }
}
impl fmt::Display for PatternId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:016x}", self.0))
    }
}
impl fmt::Debug for PatternId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What the log of an instance said before its trouble.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentPattern {
    pub id: PatternId,
    /// Masked: no value and no secret is in it. At most [`TEMPLATE_SHOWN`] characters.
    pub template: String,
}

/// A line that an instance wrote to the journal as an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalLine {
    pub unit: UnitName,
    /// When the journal got it.
    pub at: Mono,
    /// As it was written, made text and cut: it may have secrets and line breaks.
    pub text: String,
    /// Lines that it stands for: of a flood a few are handed over.
    pub weight: u32,
}

/// A pattern that an instance's log has shown lately.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PatternSeen {
    pub unit: UnitName,
    pub pattern: PatternId,
    pub template: String,
    /// The last line of it.
    pub at: Mono,
    pub count: u64,
    /// Share of the time in which the worker writes it without trouble: 0 never, 1 always.
    pub usual: f64,
    /// Incidents follow it, more often than chance would have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warns: Option<Warns>,
}

/// How often an incident followed a pattern, and when.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Warns {
    /// Half hours that began with the pattern, and those in which an incident came. Old ones count less.
    pub of: f64,
    pub followed: f64,
    /// The median time from the pattern to the incident.
    pub lead: Duration,
}

/// Which patterns to return. Everything absent: all, up to the limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PatternFilter {
    pub id: Option<PatternId>,
    pub worker: Option<WorkerName>,
    /// At most this many; capped at [`PATTERNS_MAX`].
    pub limit: Option<usize>,
}

/// Patterns that are returned at once.
pub const PATTERNS_MAX: usize = 1000;

/// What is known of the patterns that were asked for: those that precede incidents first, then those seen last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PatternsView {
    pub patterns: Vec<PatternView>,
    /// Patterns that match and are beyond the limit.
    pub left_out: usize,
    /// Lines that were learned since the daemon started, and those that were not: of a flood, or because we were behind.
    pub lines: u64,
    pub lines_left_out: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PatternView {
    pub id: PatternId,
    pub template: String,
    /// Lines that had it.
    pub total: u64,
    /// Of the last day or so; what is older counts less.
    pub per_hour: f64,
    pub first: Wall,
    pub last: Wall,
    pub workers: Vec<PatternWorker>,
    /// What was unusual when it came.
    pub unusual: Vec<PatternResource>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PatternWorker {
    pub worker: WorkerName,
    pub total: u64,
    /// Those that wrote it last.
    pub units: Vec<UnitName>,
    pub precedes: Precedes,
    pub hours: Option<Cluster>,
    pub days: Option<Cluster>,
}

/// Whether incidents follow a pattern more often than chance would have it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Precedes {
    /// Spans of half an hour that began with it. Old ones count less.
    pub spans: f64,
    /// Those in which the same unit had an incident.
    pub followed: f64,
    /// As many would be followed if incidents came whenever they like.
    pub expected: f64,
    /// How likely chance alone does as much, corrected for the number of patterns that were tested.
    pub chance: f64,
    /// `chance` is so small that it is told.
    pub beyond_chance: bool,
    /// From the first line of the span to the incident.
    pub median_lead: Option<Duration>,
    /// The last ones.
    pub incidents: Vec<IncidentId>,
}

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Hours of day, or days of week, in which a pattern breaks out beyond chance. Local time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cluster {
    /// Hour 0 to 23, or day 0 (Monday) to 6.
    pub from: u8,
    /// How many of them; past midnight, or past Sunday, it goes on at 0.
    pub length: u8,
    /// Outbreaks in these, of so many.
    pub within: u32,
    pub of: u32,
    /// See [`Precedes::chance`].
    pub chance: f64,
    /// The other patterns of the worker do so, too: its work may be at that time.
    pub like_others: bool,
}

impl Cluster {
    /// `from 23:00 to 01:00`
    pub fn hours_text(&self) -> String {
        let end = (u16::from(self.from) + u16::from(self.length)) % 24;
        format!("from {:02}:00 to {end:02}:00", self.from)
    }

    /// `on Sun and Mon`
    pub fn days_text(&self) -> String {
        let day = |place: u8| DAYS[(usize::from(self.from) + usize::from(place)) % 7];
        let days: Vec<&str> = (0..self.length.min(7)).map(day).collect();
        format!("on {}", days.join(" and "))
    }

    /// Whether the hour, or day, is one of them.
    pub fn contains(&self, place: u8, places: u8) -> bool {
        (i16::from(place) - i16::from(self.from)).rem_euclid(i16::from(places)) < i16::from(self.length)
    }
}

/// The hours at which a unit mostly fails are there, or are the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoursAhead {
    pub unit: UnitName,
    pub hours: Cluster,
    /// It is so on these days only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<Cluster>,
    /// Dates on which these hours were watched, and those of them on which it failed then.
    pub dates: u32,
    pub failed: u32,
    /// When they are over.
    pub until: Mono,
}

impl HoursAhead {
    /// `it has mostly failed from 03:00 to 04:00 (local time): on 9 of 11 days, 9 of 10 times`
    pub fn text(&self) -> String {
        let days = self.days.as_ref().map(|days| format!(" {}", days.days_text())).unwrap_or_default();
        let Cluster { within, of, .. } = self.hours;
        format!(
            "it has mostly failed {}{days} (local time): on {} of {} days, {within} of {of} times",
            self.hours.hours_text(),
            self.failed,
            self.dates
        )
    }
}

/// A reading that was unusual when a pattern came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PatternResource {
    pub name: String,
    /// Share of the spans in which it was.
    pub share: f64,
    /// How strongly, in the mean, in the unit of who judges that.
    pub strength: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_and_read() {
        let id = PatternId(0x12ab);
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"00000000000012ab\"");
        assert_eq!(serde_json::from_str::<PatternId>("\"00000000000012ab\"").unwrap(), id);
        for wrong in ["\"12ab\"", "\"00000000000012ag\"", "\"+0000000000012ab\"", "12"] {
            assert!(serde_json::from_str::<PatternId>(wrong).is_err(), "{wrong}");
        }
    }
}
