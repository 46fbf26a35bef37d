//! Connections whose peers must take what is written to them. Whoever asks and reads no answer
//! would otherwise hold a connection, and what is buffered for it, for ever.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

/// What a write has left once the service stops: longer than a lost packet takes to come again.
const LAST_WRITE_TIME: Duration = Duration::from_secs(2);

/// A stream that fails when a write has had to wait for too long. What makes progress may take as
/// long as it likes; what need not wait sets no timer.
pub(super) struct Progressing<S> {
    pub(super) stream: S,
    /// Whether a write was given up: the peer takes nothing.
    pub(super) is_given_up: bool,
    write_time: Duration,
    stopping: CancellationToken,
    /// Runs while a write waits.
    patience: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<S> Progressing<S> {
    pub(super) fn new(stream: S, write_time: Duration, stopping: CancellationToken) -> Self {
        Self {
            stream,
            is_given_up: false,
            write_time,
            stopping,
            patience: None,
        }
    }

    fn judged(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.patience = None;
            return written;
        }
        let (write_time, stopping) = (self.write_time, &self.stopping);
        let patience = self
            .patience
            .get_or_insert_with(|| Box::pin(patience(write_time, stopping.clone())));
        ready!(patience.as_mut().poll(context));
        self.patience = None;
        self.is_given_up = true;
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}

async fn patience(write_time: Duration, stopping: CancellationToken) {
    let stopped = async {
        stopping.cancelled().await;
        tokio::time::sleep(LAST_WRITE_TIME).await;
    };
    // Whichever is over first.
    let _ = tokio::time::timeout(write_time, stopped).await;
}

impl<S: AsyncRead + Unpin> AsyncRead for Progressing<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

/// Only writes wait: a socket has nothing of its own to flush.
impl<S: AsyncWrite + Unpin> AsyncWrite for Progressing<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judged(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.judged(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const WRITE_TIME: Duration = Duration::from_millis(600);

    #[tokio::test]
    async fn a_write_goes_on_while_it_makes_progress_and_no_longer() {
        let (near, mut far) = duplex(10);
        let mut near = Progressing::new(near, WRITE_TIME, CancellationToken::new());
        let writing = tokio::spawn(async move {
            let failed = near.write_all(&[0; 50]).await;
            (failed, near.is_given_up)
        });
        for _ in 0..3 {
            tokio::time::sleep(WRITE_TIME / 2).await;
            far.read_exact(&mut [0; 10]).await.unwrap();
        }
        let read = Instant::now();
        let (failed, is_given_up) = writing.await.unwrap();
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(is_given_up);
        assert!(read.elapsed() >= WRITE_TIME / 2, "{:?}", read.elapsed());
    }

    #[tokio::test]
    async fn a_service_that_stops_waits_less() {
        let (near, _far) = duplex(10);
        let stopping = CancellationToken::new();
        let mut near = Progressing::new(near, Duration::MAX, stopping.clone());
        stopping.cancel();
        let failed = near.write_all(&[0; 50]).await;
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
