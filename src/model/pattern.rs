//! Patterns of log lines, as incidents and those who ask know them. How they are found is in `learn`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names a pattern for as long as it is known, also when it becomes more general; shown as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PatternId(pub u64);

impl From<PatternId> for String {
    fn from(id: PatternId) -> Self {
        id.to_string()
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentPattern {
    pub id: PatternId,
    /// Masked: no value and no secret is in it.
    pub template: String,
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
