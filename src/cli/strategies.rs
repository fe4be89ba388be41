//! `strategies`: what has been learned of actions, why it is ranked so, and how it goes to another host.

mod propose;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};

use super::exit::{self, Usage};
use super::pause::tell;
use super::session::{self, Session};
use super::target::Whom;
use crate::adapters::http::ASK_BYTES_MAX;
use crate::model::request::Ask;
use crate::model::strategy::{Case, Export, Ranked, Strategy};
use crate::model::{Wall, WorkerName};
use crate::views::look::{Look, Tone, clean, wrap};
use crate::views::story::{coarse, fine};
use crate::views::table::{Cell, Table};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct StrategiesArgs {
    #[command(subcommand)]
    command: Option<StrategiesCommand>,
    /// Only those of this worker
    #[arg(long, value_name = "WORKER")]
    worker: Option<WorkerName>,
    /// The strategies as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum StrategiesCommand {
    /// Write what this host has learned, as JSON for `strategies import` on another one
    Export {
        /// Only what was learned of this worker
        #[arg(long, value_name = "WORKER")]
        worker: Option<WorkerName>,
    },
    /// Take over what another host has learned, as a first guess that gives way to what is seen here
    Import {
        /// A file of `strategies export`; - for standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Write changes of recovery that the past is for, as TOML, each with what a replay of the recording says of it
    Propose(propose::ProposeArgs),
    /// Forget what was learned; the default order comes back
    Forget {
        #[command(flatten)]
        whom: Whom,
        /// The answer as JSON
        #[arg(long)]
        json: bool,
    },
}

pub fn run(args: &StrategiesArgs, session: &Session, out: &mut dyn Write) -> anyhow::Result<u8> {
    match &args.command {
        None => list(args, session, out),
        Some(StrategiesCommand::Export { worker }) => {
            let export = session.wait(session.client.export_strategies(worker.as_ref()))?;
            session.check_worker(worker.as_ref(), export.known.is_empty())?;
            session::json(&export, out)?;
            Ok(exit::OK)
        }
        Some(StrategiesCommand::Import { file, json }) => {
            let ask = Ask::ImportStrategies { export: read(file)? };
            tell(session.wait(session.client.ask(&ask))?, *json, session, out)
        }
        Some(StrategiesCommand::Propose(args)) => propose::run(args, session, out),
        Some(StrategiesCommand::Forget { whom, json }) => {
            let ask = Ask::ForgetStrategies { worker: whom.worker.clone() };
            tell(session.wait(session.client.ask(&ask))?, *json, session, out)
        }
    }
}

fn list(args: &StrategiesArgs, session: &Session, out: &mut dyn Write) -> anyhow::Result<u8> {
    let mut strategies = session.wait(session.client.strategies(args.worker.as_ref()))?;
    session.check_worker(args.worker.as_ref(), strategies.is_empty())?;
    // Where there is nothing to choose from there is little to be read.
    strategies.sort_by_key(|strategy| strategy.ranking.actions.len() < 2);
    if args.json {
        session::json(&strategies, out)?;
    } else {
        session::lines(&render(&strategies, session.wall(), &session.look), out)?;
    }
    Ok(exit::OK)
}

fn read(file: &Path) -> anyhow::Result<Export> {
    let shown = file.display();
    let source: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(io::stdin()),
        false => Box::new(File::open(file).with_context(|| format!("cannot open {shown}"))?),
    };
    let mut text = Vec::new();
    // A little is left for the words around it in the request.
    let most = ASK_BYTES_MAX as u64 - 1024;
    source.take(most + 1).read_to_end(&mut text).with_context(|| format!("cannot read {shown}"))?;
    if text.len() as u64 > most {
        return Err(Usage(format!("{shown} is larger than {most} bytes; what unitmedic exports is not")).into());
    }
    let not_ours = |why| Usage(format!("{shown} is not what `unitmedic strategies export` writes: {why}"));
    Ok(serde_json::from_slice(&text).map_err(not_ours)?)
}

/// A block for each case, with its actions in their order and the sentence why.
fn render(strategies: &[Strategy], now: Wall, look: &Look) -> Vec<String> {
    if strategies.is_empty() {
        return vec!["Nothing has been learned yet: every recovery that succeeds or fails teaches.".into()];
    }
    let mut lines = Vec::new();
    for strategy in strategies {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.extend(block(strategy, now, look));
    }
    lines
}

fn block(strategy: &Strategy, now: Wall, look: &Look) -> Vec<String> {
    let mut lines = vec![look.bold(&clean(&title(&strategy.case)))];
    let width = look.width.map_or(usize::MAX, |width| width.saturating_sub(2).max(20));
    let mut say = |text: &str| lines.extend(wrap(&clean(text), width).iter().map(|line| format!("  {line}")));
    if let Some(template) = &strategy.template {
        say(&format!("its log before: {template}"));
    }
    if let Some(from) = &strategy.from {
        let when = look.moment(from.exported, now);
        say(&format!("a first guess comes from {} ({when}, unitmedic {})", from.host, from.version));
    }
    say(&strategy.ranking.why);
    let mut table = Table::new(&["", "ACTION", "HELPED", "CHANCE", "TAKES", "EACH RECOVERY"], 1).indent(2);
    for (place, one) in strategy.ranking.actions.iter().enumerate() {
        table.row(row((place < strategy.planned).then_some(place + 1), one));
    }
    lines.extend(table.lines(look));
    lines
}

fn title(case: &Case) -> String {
    let whose = case.worker.as_ref().map_or("all workers".to_string(), ToString::to_string);
    match case.pattern {
        Some(pattern) => format!("{whose}: {} after pattern {pattern}", case.condition),
        None => format!("{whose}: {}", case.condition),
    }
}

/// `1  restart  9 of 10  86 % (64-98)  3.2 s  9 s`; without a place in the plan `–`.
fn row(place: Option<usize>, one: &Ranked) -> Vec<Cell> {
    let percent = |chance: f64| format!("{:.0}", chance * 100.0);
    let helped = match one.tries {
        0 => "never tried".into(),
        tries => format!("{} of {tries}", one.successes),
    };
    let tone = match one.tries {
        0 => Tone::Plain,
        _ if one.chance >= 0.5 => Tone::Good,
        _ => Tone::Warn,
    };
    vec![
        Cell::right(place.map_or("–".into(), |place| place.to_string())),
        Cell::new(one.action.as_str()),
        Cell::new(helped).tone(tone),
        Cell::new(format!("{} % ({}-{})", percent(one.chance), percent(one.low), percent(one.high))),
        Cell::right(if one.successes == 0 { "–".into() } else { fine(one.took) }),
        Cell::right(coarse(one.cost)),
    ]
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::cli::fixtures::{NOW, ago, plain, terminal, worker};
    use crate::model::pattern::PatternId;
    use crate::model::strategy::{Provenance, Ranking};
    use crate::model::{Action, Condition};
    use std::time::Duration;

    fn strategies() -> Vec<Strategy> {
        let one = |action, chance: f64, tries, successes, took, cost| Ranked {
            action,
            chance,
            low: (chance - 0.2).max(0.0),
            high: (chance + 0.1).min(1.0),
            tries,
            successes,
            took: Duration::from_millis(took),
            cost: Duration::from_secs(cost),
        };
        let mail = Case { worker: Some(worker("mail")), condition: Condition::Hung, pattern: None };
        let ranking = Ranking {
            actions: vec![
                one(Action::Restart, 0.9, 10, 9, 3_200, 9),
                one(Action::GracefulRestart, 0.5, 0, 0, 10_000, 44),
                one(Action::ConnectionReset, 0.05, 7, 0, 10_000, 1_900),
            ],
            learned: true,
            why: "restart helped 9 of 10 times, in 3.2 s: 9 s for each recovery".into(),
        };
        let from = Provenance { host: "a1".into(), exported: ago(86_400).wall, version: "0.1.0".into() };
        vec![
            Strategy { case: mail.clone(), template: None, planned: 3, ranking: ranking.clone(), from: None },
            Strategy {
                planned: 2,
                case: Case { pattern: Some(PatternId(0x1a2b)), ..mail },
                template: Some("connection to <*> refused".into()),
                ranking: Ranking { actions: ranking.actions[..1].to_vec(), ..ranking },
                from: Some(from),
            },
        ]
    }

    #[test]
    fn each_case_is_shown_with_its_order_and_why() {
        expect![[r#"
            mail: hung
              restart helped 9 of 10 times, in 3.2 s: 9 s for each recovery
                 ACTION            HELPED       CHANCE         TAKES  EACH RECOVERY
              1  restart           9 of 10      90 % (70-100)  3.2 s            9 s
              2  graceful_restart  never tried  50 % (30-60)       –           44 s
              3  connection_reset  0 of 7       5 % (0-15)         –    31 min 40 s

            mail: hung after pattern 0000000000001a2b
              its log before: connection to <*> refused
              a first guess comes from a1 (Sun 18:20, unitmedic 0.1.0)
              restart helped 9 of 10 times, in 3.2 s: 9 s for each recovery
                 ACTION   HELPED   CHANCE         TAKES  EACH RECOVERY
              1  restart  9 of 10  90 % (70-100)  3.2 s            9 s
        "#]]
        .assert_eq(&(render(&strategies(), NOW.wall, &plain()).join("\n") + "\n"));
    }

    #[test]
    fn nothing_is_wider_than_the_terminal() {
        for width in [72, 80, 200] {
            for line in render(&strategies(), NOW.wall, &terminal(width)) {
                assert!(crate::views::look::columns(&line) <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn a_foreign_file_is_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("knowledge.json");
        for text in ["", "{}", "[1,2]", "not json", "{\"format\":\"x\",\"from\":{},\"known\":[]}"] {
            std::fs::write(&file, text).unwrap();
            let error = read(&file).unwrap_err().to_string();
            assert!(error.contains("knowledge.json is not what `unitmedic strategies export` writes"), "{error}");
        }
        let large = std::fs::File::create(&file).unwrap();
        large.set_len(ASK_BYTES_MAX as u64 * 2).unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("larger than"));
        std::fs::remove_file(&file).unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("cannot open"));
    }
}
