//! Views of facts: alert, metric, log entry, live story. They render; they never decide.

pub mod alerts;
pub mod log;
pub mod look;
pub mod metrics;
pub mod overview;
pub mod story;
pub mod table;
