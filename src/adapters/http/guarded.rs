//! Clients that do not take what they asked for are not waited for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream whose peer must take what we write: a reader that stalls, or takes a byte now and then, is cut off instead of
/// held.
pub struct Guarded<S> {
    inner: S,
    /// Without taking a byte.
    stall_limit: Duration,
    /// Without taking everything.
    limit: Duration,
    /// Runs while a write waits.
    stall: Option<Pin<Box<Sleep>>>,
    /// Runs while something is left to write.
    behind: Option<Pin<Box<Sleep>>>,
}

impl<S: Unpin> Guarded<S> {
    pub fn new(inner: S, stall_limit: Duration, limit: Duration) -> Self {
        Self { inner, stall_limit, limit, stall: None, behind: None }
    }

    /// Of a write.
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
        }
        self.wait(cx, written)
    }

    /// Of what is done when everything is written: with TLS it is then that the last bytes go.
    fn watch_end(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        if done.is_ready() {
            (self.stall, self.behind) = (None, None);
        }
        self.wait(cx, done)
    }

    fn wait<T>(&mut self, cx: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() && self.behind.is_none() {
            return progress;
        }
        let is_late = match progress.is_ready() {
            true => false,
            false => self.stall.get_or_insert_with(|| Box::pin(sleep(self.stall_limit))).as_mut().poll(cx).is_ready(),
        };
        let behind = self.behind.get_or_insert_with(|| Box::pin(sleep(self.limit)));
        match is_late || behind.as_mut().poll(cx).is_ready() {
            true => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read"))),
            false => progress,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.watch(cx, written)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch_end(cx, flushed)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.watch_end(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(5);
    const LATE: Duration = Duration::from_secs(60);
    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_reader_that_stalls_is_cut_off() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let mut guarded = Guarded::new(ours, SOON, LATE);
        let error = timeout(PATIENCE, guarded.write_all(&[0; 100])).await.expect("it ends").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_reader_that_takes_a_byte_now_and_then_is_cut_off() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        tokio::spawn(async move {
            loop {
                sleep(Duration::from_millis(5)).await;
                if tokio::io::AsyncReadExt::read_u8(&mut theirs).await.is_err() {
                    break;
                }
            }
        });
        let mut guarded = Guarded::new(ours, LATE, Duration::from_millis(100));
        let error = timeout(PATIENCE, guarded.write_all(&[0; 100_000])).await.expect("it ends").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_reader_that_takes_everything_has_all_the_time_of_the_world() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        tokio::spawn(async move {
            let mut taken = [0; 64];
            while tokio::io::AsyncReadExt::read(&mut theirs, &mut taken).await.is_ok_and(|length| length > 0) {
                sleep(Duration::from_millis(10)).await;
            }
        });
        let limit = Duration::from_secs(1);
        let (mut guarded, begun) = (Guarded::new(ours, LATE, limit), std::time::Instant::now());
        while begun.elapsed() < 2 * limit {
            guarded.write_all(&[0; 100]).await.unwrap();
            guarded.flush().await.unwrap();
        }
    }

    /// Takes what is written and never gets rid of it, as TLS does with a peer that reads nothing.
    struct Clogged;

    impl AsyncWrite for Clogged {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn what_never_leaves_is_given_up_too() {
        let mut guarded = Guarded::new(Clogged, SOON, LATE);
        guarded.write_all(&[0; 100]).await.unwrap();
        let flushed = timeout(PATIENCE, guarded.flush()).await.expect("it ends");
        assert_eq!(flushed.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut guarded = Guarded::new(Clogged, SOON, LATE);
        let shut = timeout(PATIENCE, guarded.shutdown()).await.expect("it ends");
        assert_eq!(shut.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
