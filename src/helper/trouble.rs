//! Why a deed was not done, and how its blocking part is run.

use tokio::task::spawn_blocking;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It cannot be done here, or there is nothing to do it to. Nothing has happened.
    #[error("{0}")]
    Unable(String),
    /// It was tried, and may have happened in part.
    #[error("{0}")]
    Failed(String),
}

/// Runs what reads and writes kernel files on a thread that may wait for them.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Trouble> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(Trouble::Failed(error.to_string())))
}
