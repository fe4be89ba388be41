//! The words of unitmedic as plain values: no behaviour beyond parsing, formatting and merging.
//!
//! Everything else in the crate speaks in these types. Nothing here reads a clock, does I/O or logs.

pub mod action;
pub mod advice;
pub mod alert;
pub mod approval;
pub mod condition;
pub mod fact;
pub mod families;
pub mod habits;
pub mod history;
pub mod hours;
pub mod incident;
pub mod input;
pub mod name;
pub mod never;
pub mod overview;
pub mod pattern;
pub mod request;
pub mod settings;
pub mod signal;
pub mod status;
pub mod strategy;
pub mod time;
pub mod unit;
pub mod unusual;
pub mod usage;

pub use action::{Action, Order, Plan, Step, Verb};
pub use alert::{Alert, AlertName, Severity};
pub use condition::{Condition, Evidence, Health};
pub use fact::{Cause, Fact, What};
pub use incident::{Attempt, AttemptId, Incident, IncidentId, Outcome, Resolution};
pub use input::{Command, Input};
pub use name::{AlertmanagerName, UnitName, WorkerName};
pub use pattern::{IncidentPattern, JournalLine, PatternId, PatternSeen};
pub use settings::{Selector, Settings, WorkerSettings};
pub use time::{Mono, Now, Wall};
pub use unit::{ActiveState, LoadState, UnitChange, UnitView};
pub use unusual::{Measure, Unusual};
pub use usage::{HostUsage, Usage};
