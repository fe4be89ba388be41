//! `unitmedic patterns FILE`: groups the lines of any log, without a daemon.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::cli::session;
use crate::learn::patterns::{Line, Miner};
use crate::learn::trace::{Belongs, Traces};
use crate::model::PatternId;
use crate::views::look::{Look, clean};
use crate::views::story::count;
use crate::views::table::{Cell, Table};

/// Bytes of a line that are read; the rest of it is passed over.
const LINE_MAX: u64 = 1 << 20;
/// Lines that are kept before they are told: so much is seen of what comes after a line. Fewer than the miner
/// remembers, so that it has not forgotten the first when the last comes.
const AHEAD: usize = 10_000;

/// What is said of a line.
#[derive(Serialize)]
struct Told<'t> {
    /// From 1.
    line: u64,
    pattern: PatternId,
    template: &'t str,
}

/// `-` is standard input. Without `json` a table of at most `limit` patterns.
pub fn group(file: &Path, limit: usize, json: bool, look: &Look, out: &mut dyn Write) -> anyhow::Result<()> {
    let name = file.display();
    let input: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => {
            // Whoever asks for a worker or a part of an id gets here, too.
            let hint = "what is known of a worker: --worker NAME; of a pattern: its 16 digits";
            Box::new(File::open(file).with_context(|| format!("{name} cannot be opened ({hint})"))?)
        }
    };
    let mut reading = Reading::default();
    let mut lines = BufReader::with_capacity(1 << 16, input);
    let mut bytes = Vec::new();
    while next_line(&mut lines, &mut bytes).with_context(|| format!("{name} cannot be read"))? {
        reading.take(&String::from_utf8_lossy(&bytes));
        if reading.waiting.len() >= AHEAD {
            reading.tell(json.then_some(&mut *out))?;
        }
    }
    reading.tell(json.then_some(&mut *out))?;
    if !json {
        session::lines(&reading.table(limit, look), out)?;
    }
    Ok(out.flush()?)
}

#[derive(Default)]
struct Reading {
    miner: Miner,
    traces: Traces,
    /// Lines of which nothing was told yet, by their message.
    waiting: Vec<Option<Line>>,
    last: Option<Line>,
    told: u64,
}

impl Reading {
    fn take(&mut self, line: &str) {
        let message = match self.traces.take(line) {
            Belongs::Before => self.last,
            Belongs::After => None,
            Belongs::ToItself => {
                self.last = Some(self.miner.learn(line));
                // What led to it was waiting for it.
                let leading = self.waiting.iter_mut().rev().take_while(|message| message.is_none());
                leading.for_each(|message| *message = self.last);
                self.last
            }
        };
        self.waiting.push(message);
    }

    fn tell(&mut self, out: Option<&mut (dyn Write + '_)>) -> anyhow::Result<()> {
        self.miner.settle();
        let waiting = std::mem::take(&mut self.waiting);
        if let Some(out) = out {
            let templates: BTreeMap<PatternId, String> =
                self.miner.patterns().into_iter().map(|pattern| (pattern.id, pattern.template)).collect();
            for (number, message) in (self.told + 1..).zip(&waiting) {
                let pattern = message.or(self.last).and_then(|line| self.miner.pattern_of(line));
                let Some((pattern, template)) = pattern.and_then(|id| Some((id, templates.get(&id)?))) else {
                    continue;
                };
                serde_json::to_writer(&mut *out, &Told { line: number, pattern, template })?;
                writeln!(out)?;
            }
        }
        self.told += waiting.len() as u64;
        Ok(())
    }

    fn table(&self, limit: usize, look: &Look) -> Vec<String> {
        let mut patterns = self.miner.patterns();
        patterns.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.template.cmp(&b.template)));
        let mut table = Table::new(&["PATTERN", "LINES", "TEMPLATE"], 2);
        for pattern in patterns.iter().take(limit) {
            table.row(vec![
                Cell::new(pattern.id.to_string()),
                Cell::right(pattern.count.to_string()),
                Cell::new(clean(&pattern.template)),
            ]);
        }
        let mut lines = table.lines(look);
        let hidden = patterns.len().saturating_sub(limit);
        let more = if hidden > 0 { format!("; {hidden} more patterns: --limit") } else { String::new() };
        lines.push(format!("{}, {}{more}", count(self.told as usize, "line"), count(patterns.len(), "pattern")));
        lines
    }
}

/// The next line without its end, cut at [`LINE_MAX`]; `false` at the end of the file.
fn next_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<bool> {
    line.clear();
    let taken = from.by_ref().take(LINE_MAX).read_until(b'\n', line)?;
    if taken as u64 == LINE_MAX && line.last() != Some(&b'\n') {
        from.skip_until(b'\n')?;
    }
    while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        line.pop();
    }
    Ok(taken > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn read(content: &[u8], json: bool) -> String {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("log");
        std::fs::write(&file, content).unwrap();
        let mut out = Vec::new();
        group(&file, 2, json, &crate::cli::fixtures::plain(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_line_has_its_number_pattern_and_template() {
        let text = read(b"took 3 ms\nno route\n\tat a frame\ntook 4 ms\r\n\xff\xfe\nTraceback (most recent call last):\n  f\nValueError: x", true);
        let told: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let numbers: Vec<u64> = told.iter().filter_map(|line| line["line"].as_u64()).collect();
        assert_eq!(numbers, (1..=8).collect::<Vec<u64>>());
        let templates: Vec<&str> = told.iter().filter_map(|line| line["template"].as_str()).collect();
        let python = "ValueError: x";
        assert_eq!(
            templates,
            ["took <*>", "no route", "no route", "took <*>", "\u{fffd}\u{fffd}", python, python, python]
        );
        assert_eq!(told[0]["pattern"], told[3]["pattern"]);
    }

    #[test]
    fn the_table_has_the_most_frequent_first_and_says_what_it_hides() {
        let text = read("one 1\none 2\ntwo\ntwo\nthree\none 3\n".as_bytes(), false);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].ends_with("one <*>") && lines[2].ends_with("two"), "{text}");
        assert_eq!(lines[3], "6 lines, 3 patterns; 1 more patterns: --limit");
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_one_is_whole() {
        let mut content = vec![b'x'; 3 << 20];
        content.extend(b"\nnext\n");
        let text = read(&content, true);
        assert_eq!(text.lines().count(), 2);
        assert!(text.ends_with("\"template\":\"next\"}\n"), "{}", &text[text.len() - 100..]);
    }
}
