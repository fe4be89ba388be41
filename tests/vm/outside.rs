//! On the machine that tests: boot the virtual one, print the results as `cargo test` does.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::cases::CASES;
use crate::image;
use crate::inside::FILTER;
use crate::qemu::{Heard, Qemu};
use crate::testhost::Failure;
use crate::wire::Message;

/// From power on to the last result. The machine is killed then.
const RUN_LIMIT: Duration = Duration::from_secs(360);

#[derive(Default)]
struct Report {
    passed: usize,
    failures: Vec<(String, String)>,
    running: Option<String>,
}

pub fn run() -> ExitCode {
    let options: Vec<String> = env::args().skip(1).collect();
    let filter = options.iter().find(|option| !option.starts_with('-')).cloned().unwrap_or_default();
    let names: Vec<&str> = CASES.iter().map(|(name, _)| *name).filter(|name| name.contains(&filter)).collect();
    if options.iter().any(|option| option == "--list") {
        names.iter().for_each(|name| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", names.len());
    let started = Instant::now();
    let mut report = Report::default();
    if !names.is_empty()
        && let Err(error) = boot_and_listen(&filter, &mut report)
    {
        println!("{error}");
    }
    report.finish(&names, started.elapsed())
}

fn boot_and_listen(filter: &str, report: &mut Report) -> Result<(), Failure> {
    let cache = cache();
    let base = image::base(&cache)?;
    let run = image::programs(&cache, Path::new(env!("CARGO_BIN_EXE_unitmedic")))?;
    let qemu = Qemu::boot(&base, &run, &format!("{FILTER}{filter}"))?;
    let outcome = listen(&qemu, report).map_err(|why| {
        let running = report.running.as_deref().unwrap_or("no case");
        Failure::new(format!("{why} (running: {running}); last on its console:\n{}", qemu.last_words()))
    });
    drop(qemu);
    let _ = fs::remove_dir_all(run);
    outcome
}

/// Beside the other products of the build, and shared with the demo.
fn cache() -> PathBuf {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    temporary.parent().unwrap_or(temporary).join("vm")
}

fn listen(qemu: &Qemu, report: &mut Report) -> Result<(), &'static str> {
    let powered_on = Instant::now();
    let deadline = powered_on + RUN_LIMIT;
    loop {
        let line = match qemu.hear(deadline) {
            Heard::Line(line) => line,
            Heard::Silence => return Err("the machine took too long and was killed"),
            Heard::Ended => return Err("the machine ended before its cases did"),
        };
        match Message::parse(&line) {
            Some(Message::End) => return Ok(()),
            Some(Message::Up(after)) => {
                let (seconds, inside) = (powered_on.elapsed().as_secs_f64(), after.as_secs_f64());
                println!("booted in {seconds:.1} s ({inside:.1} s on its own clock)");
            }
            Some(message) => report.note(message),
            None => println!("  {line}"),
        }
    }
}

impl Report {
    fn note(&mut self, message: Message) {
        match message {
            Message::Begin(name) => self.running = Some(name),
            Message::Passed(name, took) => {
                println!("test {name} ... ok ({:.1} s)", took.as_secs_f64());
                self.passed += 1;
                self.running = None;
            }
            Message::Failed(name, took, why) => {
                println!("test {name} ... FAILED ({:.1} s)", took.as_secs_f64());
                self.failures.push((name, why));
                self.running = None;
            }
            Message::Up(_) | Message::End => {}
        }
    }

    /// Every case that should have run and gave no result has failed.
    fn finish(self, names: &[&str], took: Duration) -> ExitCode {
        let failed = names.len() - self.passed;
        let told = self.passed + self.failures.len();
        if !self.failures.is_empty() {
            println!("\nfailures:");
        }
        for (name, why) in &self.failures {
            println!("\n---- {name} ----\n{why}");
        }
        if told < names.len() {
            println!("\n{} of {} cases gave no result", names.len() - told, names.len());
        }
        let verdict = if failed == 0 { "ok" } else { "FAILED" };
        println!(
            "\ntest result: {verdict}. {} passed; {failed} failed; 0 ignored; 0 measured; {} filtered out; \
             finished in {:.2}s\n",
            self.passed,
            CASES.len() - names.len(),
            took.as_secs_f64()
        );
        ExitCode::from(u8::from(failed > 0))
    }
}
