//! Tokens for the API on TCP. Made here and never given as an argument: arguments are in the list of processes and in the
//! history of the shell.

use std::io::Write;

use anyhow::Context;

use crate::adapters::http::check_name;
use crate::adapters::http::token::{TokenHash, fresh};
use crate::cli::Usage;

#[derive(Debug, Clone, clap::Args)]
pub struct TokenArgs {
    /// Whose it is: the name that the history shows
    pub name: String,
}

pub fn run(args: &TokenArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    check_name(&args.name).map_err(Usage)?;
    let token = fresh().context("the kernel gives no random numbers")?;
    let (name, hash) = (&args.name, TokenHash::of(&token));
    write!(
        out,
        "# The token, shown this once. Who asks sends it as: Authorization: Bearer TOKEN\n\
         {token}\n\
         # In the file that web_config_file names; it has the hash alone:\n\
         tokens:\n  {name}: \"{hash}\"\n\
         # And there, if it may also ask for deeds:\n\
         operators: [{name}]\n"
    )?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(name: &str) -> anyhow::Result<String> {
        let mut out = Vec::new();
        run(&TokenArgs { name: name.into() }, &mut out)?;
        Ok(String::from_utf8(out)?)
    }

    #[test]
    fn a_token_and_the_lines_for_the_file() {
        let text = print("deploy-bot").unwrap();
        let token = text.lines().find(|line| line.starts_with("umt_")).unwrap();
        assert_eq!(text.matches(token).count(), 1, "{text}");
        assert!(text.contains(&format!("  deploy-bot: \"{}\"\n", TokenHash::of(token))), "{text}");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("web.yml");
        std::fs::write(&file, text.replace(token, "")).unwrap();
        assert!(crate::adapters::http::Web::new(Some(&file)).is_ok(), "it is the file as it stands: {text}");
        assert_ne!(print("deploy-bot").unwrap(), text);
    }

    #[test]
    fn names_are_those_of_the_file() {
        for wrong in ["", "a b", "a:b", "x\ny", &"x".repeat(65)] {
            assert!(print(wrong).unwrap_err().is::<Usage>(), "{wrong:?}");
        }
    }
}
