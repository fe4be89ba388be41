//! Exit codes, and how an error is told.

use std::io;

use crate::adapters::http::client::ClientError;
use crate::app::replay::ReadError;
use crate::views::look::clean;

/// Characters of a line of an error that are told.
const LINE_SHOWN: usize = 2_000;

pub const OK: u8 = 0;
/// What was asked for did not succeed.
pub const FAILED: u8 = 1;
/// A gate said no.
pub const REFUSED: u8 = 3;
/// EX_USAGE
pub const USAGE: u8 = 64;
/// EX_UNAVAILABLE
pub const UNAVAILABLE: u8 = 69;
/// EX_NOPERM
pub const DENIED: u8 = 77;

/// Stands below `--help` of the program.
pub const HELP: &str = "\
Exit codes:
  0   done; for recover: it helped
  1   it failed; for recover: it did not help
  3   a gate refused, and nothing was done
  64  wrong arguments, or no such worker, unit or incident
  69  the daemon does not run or does not answer
  77  no permission
  78  the configuration is wrong";

/// The arguments cannot be carried out as they are; the text says why and what can.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Tells the error on stderr and returns the exit code. A reader that has gone away is not an error.
pub fn report(error: &anyhow::Error) -> u8 {
    let code = code(error);
    if code != OK {
        eprintln!("unitmedic: {}", told(error));
    }
    code
}

/// The error without what a terminal would obey in what it cites, and not longer than anybody reads.
fn told(error: &anyhow::Error) -> String {
    let line = |line: &str| match line.char_indices().nth(LINE_SHOWN) {
        Some((end, _)) => format!("{}…", clean(&line[..end])),
        None => clean(line),
    };
    format!("{error:#}").lines().map(line).collect::<Vec<_>>().join("\n")
}

fn code(error: &anyhow::Error) -> u8 {
    error.chain().find_map(code_of).unwrap_or(FAILED)
}

fn code_of(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if let Some(client) = cause.downcast_ref::<ClientError>() {
        return Some(match client {
            ClientError::NoDaemon { .. } | ClientError::Other { .. } => UNAVAILABLE,
            ClientError::Denied { .. } => DENIED,
            ClientError::Problem { status: 400 | 404 | 422, .. } => USAGE,
            ClientError::Problem { status: 401 | 403, .. } => DENIED,
            ClientError::Problem { status: 503 | 504, .. } => UNAVAILABLE,
            ClientError::Problem { .. } => FAILED,
        });
    }
    if cause.is::<Usage>() {
        return Some(USAGE);
    }
    // It tells its cause itself.
    let io = match cause.downcast_ref::<ReadError>() {
        Some(ReadError::Io { error, .. }) => Some(error),
        _ => cause.downcast_ref::<io::Error>(),
    };
    io.and_then(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Some(OK),
        io::ErrorKind::PermissionDenied => Some(DENIED),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        let problem = |status| ClientError::Problem { status, title: "t".into(), detail: "d".into() };
        let io = |kind| anyhow::Error::from(io::Error::from(kind)).context("writing");
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let table: [(anyhow::Error, u8); 10] = [
            (anyhow::Error::from(ReadError::Io { path: "/r".into(), error: denied }).context("replay"), DENIED),
            (ClientError::NoDaemon { path: "/s".into(), why: "w".into() }.into(), UNAVAILABLE),
            (ClientError::Denied { path: "/s".into() }.into(), DENIED),
            (problem(404).into(), USAGE),
            (problem(500).into(), FAILED),
            (problem(503).into(), UNAVAILABLE),
            (Usage("x".into()).into(), USAGE),
            (io(io::ErrorKind::BrokenPipe), OK),
            (io(io::ErrorKind::StorageFull), FAILED),
            (anyhow::anyhow!("x"), FAILED),
        ];
        for (error, expected) in table {
            assert_eq!(code(&error), expected, "{error:#}");
        }
    }

    #[test]
    fn what_an_error_cites_does_not_reach_the_terminal_as_it_is() {
        let error = anyhow::anyhow!("unknown \x1b[2J`{}`\nsecond line", "x".repeat(100_000)).context("a\u{9b}b");
        let told = told(&error);
        assert!(told.starts_with("a\u{fffd}b: unknown \u{fffd}[2J`xxx") && told.ends_with("…\nsecond line"), "{told}");
        assert!(told.chars().count() < 3_000);
    }
}
