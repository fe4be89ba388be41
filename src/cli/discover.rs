//! Placeholder so that this branch compiles; the `config` branch has the command.

use std::io::Write;

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    pub user: bool,
}

pub fn run(_: &Args, _: &mut dyn Write) -> anyhow::Result<u8> {
    anyhow::bail!("not merged yet")
}
