//! Names that are valid from the moment they exist: a unit, a worker and an Alertmanager.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Longest unit name that systemd accepts (UNIT_NAME_MAX less the terminating zero).
pub const UNIT_NAME_MAX: usize = 255;
/// Longest worker name; it becomes a metric label and a column of tables.
pub const WORKER_NAME_MAX: usize = 64;

/// What [`UnitName::new`] takes, but for the length.
const UNIT_PATTERN: &str = r"^[A-Za-z0-9:_.\\-]([A-Za-z0-9:_.\\@-]*[A-Za-z0-9:_.\\-])?\.service$";
/// What [`is_plain`] takes, but for the length.
const PLAIN_PATTERN: &str = "^[A-Za-z0-9_][A-Za-z0-9_-]*$";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("unit name {0:?} is empty or longer than {UNIT_NAME_MAX} bytes")]
    UnitLength(String),
    #[error(
        "unit name {0:?} has a character that systemd does not allow; allowed are ASCII letters, digits and : _ . - \\ @"
    )]
    UnitCharacter(String),
    #[error("unit name {0:?} does not end in .service; unitmedic watches services")]
    UnitSuffix(String),
    #[error("unit name {0:?} is a template; name an instance, such as {1:?}")]
    UnitTemplate(String, String),
    #[error("worker name {0:?} is not 1 to {WORKER_NAME_MAX} characters of a-z, A-Z, 0-9, - and _")]
    Worker(String),
    #[error("Alertmanager name {0:?} is not 1 to {WORKER_NAME_MAX} characters of a-z, A-Z, 0-9, - and _")]
    Alertmanager(String),
}

/// The exact name of one service unit, never a pattern and never a template.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnitName(Arc<str>);

impl UnitName {
    pub fn new(name: &str) -> Result<Self, NameError> {
        check_unit_characters(name)?;
        let Some(stem) = name.strip_suffix(".service") else {
            return Err(NameError::UnitSuffix(name.into()));
        };
        if stem.is_empty() || stem.starts_with('@') {
            return Err(NameError::UnitLength(name.into()));
        }
        if let Some(prefix) = stem.strip_suffix('@') {
            return Err(NameError::UnitTemplate(name.into(), format!("{prefix}@1.service")));
        }
        Ok(Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `mail@3.service` has the instance string `3`; a plain unit has none.
    pub fn instance(&self) -> Option<&str> {
        let stem = self.0.strip_suffix(".service")?;
        stem.split_once('@').map(|(_, instance)| instance)
    }
}

/// Checks length and characters of a unit name or a unit template.
pub fn check_unit_characters(name: &str) -> Result<(), NameError> {
    if name.is_empty() || name.len() > UNIT_NAME_MAX {
        return Err(NameError::UnitLength(name.into()));
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b":_.-\\@".contains(&b);
    if !name.bytes().all(allowed) {
        return Err(NameError::UnitCharacter(name.into()));
    }
    Ok(())
}

/// What the operator calls a worker; safe as a label, a file name and an argument.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkerName(Arc<str>);

impl WorkerName {
    pub fn new(name: &str) -> Result<Self, NameError> {
        match is_plain(name) {
            true => Ok(Self(name.into())),
            false => Err(NameError::Worker(name.into())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the operator calls an Alertmanager; a metric label.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AlertmanagerName(Arc<str>);

impl AlertmanagerName {
    pub fn new(name: &str) -> Result<Self, NameError> {
        match is_plain(name) {
            true => Ok(Self(name.into())),
            false => Err(NameError::Alertmanager(name.into())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_plain(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !name.is_empty() && name.len() <= WORKER_NAME_MAX && name.bytes().all(allowed) && !name.starts_with('-')
}

macro_rules! string_like {
    ($type:ident, $what:literal, $pattern:expr, $max:expr, $example:literal) => {
        /// Takes what [`$type::new`] takes.
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "description": $what,
                    "type": "string",
                    "pattern": $pattern,
                    "maxLength": $max,
                    "examples": [$example],
                })
            }
        }
        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(&name)
            }
        }
        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.to_string()
            }
        }
        impl std::str::FromStr for $type {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}
string_like!(UnitName, "The exact name of one service unit.", UNIT_PATTERN, UNIT_NAME_MAX, "mail@1.service");
string_like!(WorkerName, "What the operator calls a worker.", PLAIN_PATTERN, WORKER_NAME_MAX, "mail");
string_like!(AlertmanagerName, "What the operator calls an Alertmanager.", PLAIN_PATTERN, WORKER_NAME_MAX, "main");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_names() {
        for good in ["a.service", "mail@1.service", "dev-disk\\x2d1.service", "a@b@c.service", "x:y_z.service"] {
            assert!(UnitName::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".service",
            "@1.service",
            "a@.service",
            "a.timer",
            "a b.service",
            "a/b.service",
            "ä.service",
            "*.service",
        ] {
            assert!(UnitName::new(bad).is_err(), "{bad}");
        }
        assert!(UnitName::new(&format!("{}.service", "a".repeat(248))).is_err());
        assert_eq!(UnitName::new("mail@1.service").unwrap().instance(), Some("1"));
        assert_eq!(UnitName::new("mail.service").unwrap().instance(), None);
    }

    /// What the parsers take is what the patterns say, so that nobody who reads them is refused.
    #[test]
    fn the_patterns_of_the_schemas_take_what_the_parsers_take() {
        let (unit, plain) = (regex::Regex::new(UNIT_PATTERN).unwrap(), regex::Regex::new(PLAIN_PATTERN).unwrap());
        let parts = ["", "a", "@", "-", ".", "\\", "_", ":", " ", "ä", ".service", "service", "1", "/", "\n"];
        let all = parts.iter().flat_map(|a| parts.map(|b| parts.map(|c| [*a, b, c].concat())).concat());
        for name in all {
            for name in [name.clone(), format!("{name}.service")] {
                assert_eq!(UnitName::new(&name).is_ok(), unit.is_match(&name), "{name:?}");
                assert_eq!(WorkerName::new(&name).is_ok(), plain.is_match(&name), "{name:?}");
            }
        }
    }

    #[test]
    fn worker_names() {
        assert!(WorkerName::new("simple_task-2").is_ok());
        for bad in ["", "-x", "a b", "a/b", "a\"b", &"x".repeat(65)] {
            assert!(WorkerName::new(bad).is_err(), "{bad}");
        }
    }
}
