//! Facts, samples and status as metrics in Prometheus' text format 0.0.4.
//!
//! [`catalog`] names every metric once; the exposition, docs/metrics.md and the tests are made from it. [`Board`]
//! keeps the present value of everything about workers and units and is told of changes; [`Own`] counts the
//! daemon's own doings from any thread. Nothing here decides, and nothing asks the outside world for a value
//! while a scrape waits, but for a few files of our own process.
//!
//! What is not known has no series: neither a zero nor the value of yesterday.

mod alerts;
mod board;
pub mod catalog;
pub mod families;
mod histogram;
mod own;
mod process;
mod queues;
mod text;
mod units;
mod workers;

#[cfg(test)]
mod tests;

pub use board::{Board, Build};
pub use catalog::{ALL, Kind, Metric};
pub use own::{Own, PatternTotals, Queue};
pub use process::Process;
pub use units::{INSTANCES_MAX, Instance};
