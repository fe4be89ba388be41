//! What every benchmark says in the end: asked, measured, peer, ratio.
//!
//! With `UNITMEDIC_BENCH_ROWS=FILE` the rows are also appended to that file, from which `make bench` prints one table
//! of all benchmarks.

// Each benchmark that includes this uses another part of it.
#![allow(dead_code)]

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};

const ROWS: &str = "UNITMEDIC_BENCH_ROWS";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    pub what: String,
    pub asked: String,
    pub measured: String,
    /// The same done by somebody else in the same run; empty where there is nobody.
    pub peer: String,
    /// Ours to the peer's, or ours to the limit where there is no peer.
    pub ratio: Option<f64>,
    /// Empty where nothing was asked.
    pub met: Option<bool>,
}

impl Row {
    pub fn new(what: &str, measured: impl Into<String>) -> Self {
        let (what, measured) = (what.into(), measured.into());
        Row { what, asked: String::new(), measured, peer: String::new(), ratio: None, met: None }
    }

    pub fn asked(mut self, asked: &str, met: bool) -> Self {
        self.asked = asked.into();
        self.met = Some(met);
        self
    }

    pub fn peer(mut self, peer: impl Into<String>, ratio: f64) -> Self {
        self.peer = peer.into();
        self.ratio = Some(ratio);
        self
    }
}

/// Prints the rows, and keeps them for the table of all benchmarks.
pub fn publish(rows: &[Row]) {
    print(rows);
    let Some(path) = std::env::var_os(ROWS) else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(&path).expect("the file of rows can be written");
    for row in rows {
        writeln!(file, "{}", serde_json::to_string(row).expect("a row is plain data")).expect("room for a row");
    }
}

pub fn print(rows: &[Row]) {
    let head = ["what", "asked", "measured", "peer", "ratio", "met"].map(String::from);
    let lines: Vec<[String; 6]> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    println!();
    for line in &lines {
        let cells: Vec<String> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("{}", cells.join("  ").trim_end());
    }
}

fn cells(row: &Row) -> [String; 6] {
    let ratio = row.ratio.map_or(String::new(), |ratio| match ratio {
        small if small < 0.095 => format!("{small:.3}"),
        ratio => format!("{ratio:.2}"),
    });
    let met = match row.met {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "",
    };
    [row.what.clone(), row.asked.clone(), row.measured.clone(), row.peer.clone(), ratio, met.into()]
}

/// The file of rows, read back.
pub fn read(path: &str) -> Vec<Row> {
    let text = std::fs::read_to_string(path).expect("the file of rows can be read");
    text.lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
}

/// The middle one; of an even number the upper of the two.
pub fn median<T: Copy + PartialOrd>(values: &[T]) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).expect("comparable"));
    sorted[sorted.len() / 2]
}

pub fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}
