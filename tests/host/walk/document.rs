//! What a document tells its reader to type and to write, and what it shows of the answers.
//!
//! - A block without a language is a shell: a line that begins with `# ` is typed, with the lines that continue it or
//!   are its here-document; every other line is what the command above it prints.
//! - A block with a language whose first line is a comment with a path is that file.
//! - Any other block with a language is what the command right before it prints.

use std::iter::{self, Peekable};
use std::vec::IntoIter;

use crate::testhost::Failure;

pub enum Step {
    Type { line: usize, command: String, shown: Vec<Line> },
    Write { line: usize, path: String, text: String },
}

/// A line with its number, counted from 1.
pub struct Line {
    pub number: usize,
    pub text: String,
}

pub fn parse(document: &str) -> Result<Vec<Step>, Failure> {
    let mut lines = numbered(document).into_iter().peekable();
    let mut steps = Vec::new();
    while let Some(fence) = lines.next() {
        let Some(language) = fence.text.strip_prefix("```") else { continue };
        let block = up_to("```", &mut lines, &fence)?;
        match (language, block.first().and_then(|line| named_file(&line.text))) {
            ("", _) => steps.extend(commands(block)?),
            (_, Some(path)) => steps.push(Step::Write { line: fence.number, path, text: joined(&block) }),
            (_, None) => match steps.last_mut() {
                Some(Step::Type { shown, .. }) if shown.is_empty() => *shown = block,
                _ => return Err(wrong(&fence, "begins neither a file (`# /its/path`) nor what a command prints")),
            },
        }
    }
    Ok(steps)
}

pub fn numbered(text: &str) -> Vec<Line> {
    text.lines().zip(1..).map(|(text, number)| Line { number, text: text.into() }).collect()
}

fn named_file(line: &str) -> Option<String> {
    line.strip_prefix("# ").filter(|path| path.starts_with('/') && !path.contains(' ')).map(str::to_owned)
}

fn commands(block: Vec<Line>) -> Result<Vec<Step>, Failure> {
    let mut lines = block.into_iter().peekable();
    let mut steps = Vec::new();
    while let Some(first) = lines.next() {
        let Some(typed) = first.text.strip_prefix("# ") else {
            return Err(wrong(&first, "is no command (`# `), and none is above it"));
        };
        let mut command = typed.to_owned();
        while command.ends_with('\\') {
            let next = lines.next().ok_or_else(|| wrong(&first, "is continued by nothing"))?;
            command = format!("{command}\n{}", next.text);
        }
        if let Some((_, after)) = typed.split_once("<<'") {
            let word = after.split('\'').next().unwrap_or_default();
            let text = up_to(word, &mut lines, &first)?;
            command = format!("{command}\n{}{word}\n", joined(&text));
        }
        let shown = iter::from_fn(|| lines.next_if(|line| !line.text.starts_with("# "))).collect();
        steps.push(Step::Type { line: first.number, command, shown });
    }
    Ok(steps)
}

/// The lines before `end`, which is taken away, too.
fn up_to(end: &str, lines: &mut Peekable<IntoIter<Line>>, opened: &Line) -> Result<Vec<Line>, Failure> {
    let found = iter::from_fn(|| lines.next_if(|line| line.text != end)).collect();
    lines.next().map(|_| found).ok_or_else(|| wrong(opened, &format!("is not ended by `{end}`")))
}

fn joined(lines: &[Line]) -> String {
    lines.iter().map(|line| format!("{}\n", line.text)).collect()
}

fn wrong(line: &Line, what: &str) -> Failure {
    Failure::new(format!("line {}: `{}` {what}", line.number, line.text))
}

#[test]
fn commands_their_answers_and_files_are_found() -> Result<(), Failure> {
    let blocks = [
        "```\n# cat > a <<'EOF'\n# in the file\nEOF\n# one \\\n  two\nan answer\n\n# three\n```\n",
        "words\n```toml\n# an answer, with a comment\n```\n",
        "```yaml\n# /etc/x.yml\na: 1\n```\n",
    ];
    let told = |step: Step| match step {
        Step::Write { line, path, text } => format!("{line}: {path} {text:?}"),
        Step::Type { line, command, shown } => {
            let shown: Vec<String> = shown.iter().map(|line| format!("{}: {}", line.number, line.text)).collect();
            format!("{line}: {command:?} {shown:?}")
        }
    };
    let told: Vec<String> = parse(&blocks.concat())?.into_iter().map(told).collect();
    let expected = [
        r#"2: "cat > a <<'EOF'\n# in the file\nEOF\n" []"#,
        r#"5: "one \\\n  two" ["7: an answer", "8: "]"#,
        r#"9: "three" ["13: # an answer, with a comment"]"#,
        r##"15: /etc/x.yml "# /etc/x.yml\na: 1\n""##,
    ];
    assert_eq!(told, expected);
    Ok(())
}

#[test]
fn no_block_is_passed_over() {
    for (text, why) in [
        ("```\nan answer\n```\n", "line 2: `an answer` is no command (`# `), and none is above it"),
        ("```\n# cat <<'X'\n```\n", "line 2: `# cat <<'X'` is not ended by `X`"),
        ("```\n# a \\\n```\n", "line 2: `# a \\` is continued by nothing"),
        ("\n```sh\n# a\n", "line 2: ````sh` is not ended by `````"),
        ("```toml\na = 1\n```\n", "line 1: ````toml` begins neither a file (`# /its/path`) nor what a command prints"),
        (
            "```\n# a\nb\n```\n```toml\na = 1\n```\n",
            "line 5: ````toml` begins neither a file (`# /its/path`) nor what a command prints",
        ),
    ] {
        assert_eq!(parse(text).err().map(|error| error.to_string()).as_deref(), Some(why));
    }
}
