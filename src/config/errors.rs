//! What is wrong with a configuration: every problem, with its file and line, in the order of the files.

use std::fmt;
use std::path::{Path, PathBuf};

/// Problems that are told one by one; a wrong file given by mistake must not fill a terminal or a journal.
pub const PROBLEMS_MAX: usize = 100;
/// Characters of a value that an error repeats.
const SHOWN_MAX: usize = 80;

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Problem {
    /// The file, or `command line`.
    pub file: PathBuf,
    /// Counted from 1; `None` when the file as a whole is meant.
    pub line: Option<usize>,
    pub text: String,
}

/// All problems of a configuration; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    problems: Vec<Problem>,
    left_out: usize,
}

impl ConfigErrors {
    /// A problem with a file as a whole.
    pub fn of_file(file: &Path, text: impl Into<String>) -> Self {
        Self { problems: vec![Problem { file: file.into(), line: None, text: text.into() }], left_out: 0 }
    }

    pub fn len(&self) -> usize {
        self.problems.len() + self.left_out
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// At most [`PROBLEMS_MAX`], in the order of the files and their lines.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file.display(), self.text),
            None => write!(f, "{}: {}", self.file.display(), self.text),
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, problem) in self.problems.iter().enumerate() {
            if nth > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        match self.left_out {
            0 => Ok(()),
            more => write!(f, "\nand {more} more problems"),
        }
    }
}

impl std::error::Error for ConfigErrors {}

/// A place in the fragments that are being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// Index into the fragments.
    pub file: usize,
    /// Counted from 1; 0 stands for the file as a whole.
    pub line: usize,
}

/// Gathers problems while the stages run.
#[derive(Debug, Default)]
pub struct Problems(Vec<(At, String)>);

impl Problems {
    pub fn add(&mut self, at: At, text: impl Into<String>) {
        self.0.push((at, text.into()));
    }

    /// Sorted and without repetitions (a bad default would otherwise be told once per worker).
    pub fn finish(mut self, files: &[PathBuf]) -> Result<(), ConfigErrors> {
        self.0.sort();
        self.0.dedup();
        if self.0.is_empty() {
            return Ok(());
        }
        let left_out = self.0.len().saturating_sub(PROBLEMS_MAX);
        let problems = self.0.into_iter().take(PROBLEMS_MAX).map(|(at, text)| Problem {
            file: files[at.file].clone(),
            line: (at.line > 0).then_some(at.line),
            text,
        });
        Err(ConfigErrors { problems: problems.collect(), left_out })
    }
}

/// A word of the operator's as an error repeats it: quoted, without control characters, never long.
pub fn quoted(word: &str) -> String {
    match word.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{:?}…", &word[..end]),
        None => format!("{word:?}"),
    }
}

/// The nearest of the known words, for "did you mean".
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this Jaro-Winkler similarity two words only happen to share letters.
    const SIMILAR: f64 = 0.85;
    let known: Vec<&str> = known.collect();
    let scored = known.iter().map(|name| (strsim::jaro_winkler(word, name), *name));
    let best = scored.filter(|(score, _)| *score >= SIMILAR).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, name)| name).or_else(|| {
        let mut parts = known.iter().filter(|name| word.len() >= 4 && name.contains(word));
        parts.next().copied().filter(|_| parts.next().is_none())
    })
}
