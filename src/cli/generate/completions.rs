//! Completions: which commands and options there are, as a shell wants to be told.

use std::io::Write;

use clap::CommandFactory;

use crate::cli::Cli;

#[derive(Debug, Clone, clap::Args)]
pub struct CompletionsArgs {
    /// Shell that they are for
    #[arg(value_enum)]
    pub shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub fn run(args: &CompletionsArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    // Into memory first: it would panic where the output cannot be written.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "unitmedic", &mut text);
    out.write_all(&text)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_learns_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut out = Vec::new();
            assert!(matches!(run(&CompletionsArgs { shell }, &mut out), Ok(0)));
            let text = String::from_utf8(out).unwrap();
            for word in ["status", "mark-false", "graceful_restart", "no-color"] {
                assert!(text.contains(word), "{shell:?}: {word}");
            }
        }
    }
}
