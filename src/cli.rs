//! The command line: one module per command.

pub mod check_config;
pub mod discover;
pub mod generate;
