//! Placeholder so that this branch compiles; the lead has the command.

use super::RunArgs;

pub fn run(_: &RunArgs) -> anyhow::Result<u8> {
    anyhow::bail!("not merged yet")
}
