//! What a handler leaves of a request's body, mostly by refusing it for its headers.
//!
//! Hyper closes a connection on such a rest without having said so in the answer, unless the rest is there by then; a client that
//! keeps the connection for its next request finds it closed. So the rest is waited for, if it is small, or the close is told.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};

/// Segments of one request follow each other; whoever is refused is not kept waiting for more than that.
const PATIENCE: Duration = Duration::from_millis(100);
/// No request of ours is larger.
const BYTES_MAX: usize = 64 * 1024;

/// Where a body is put that nobody reads any more.
pub(super) struct Rest(Arc<Mutex<Option<Incoming>>>);

/// A body for a handler, and what it will leave of it.
pub(super) fn lend(body: Incoming) -> (Body, Rest) {
    let rest = Arc::default();
    let lent = Lent {
        body: Some(body),
        rest: Arc::clone(&rest),
    };
    (Body::new(lent), Rest(rest))
}

impl Rest {
    /// Reads it to its end. Whether the connection can be used for another request.
    pub(super) async fn read(self) -> bool {
        let rest = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut rest) = rest else {
            return true;
        };
        let reading = async {
            let mut bytes = 0;
            while let Some(frame) = poll_fn(|cx| Pin::new(&mut rest).poll_frame(cx)).await {
                let Ok(frame) = frame else {
                    return false;
                };
                bytes += frame.data_ref().map_or(0, Bytes::len);
                if bytes > BYTES_MAX {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .unwrap_or(false)
    }
}

struct Lent {
    body: Option<Incoming>,
    rest: Arc<Mutex<Option<Incoming>>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.as_ref().map(HttpBody::size_hint);
        hint.unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::post;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use crate::server::listen::serve;

    /// A server that refuses whatever comes, for its headers; and what tells of each refusal.
    async fn refusing() -> (TcpStream, mpsc::UnboundedReceiver<()>, CancellationToken) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (refused, refusals) = mpsc::unbounded_channel();
        let refuse = move || {
            let _ = refused.send(());
            async { "refused" }
        };
        let router = Router::new().route("/", post(refuse));
        let stopping = CancellationToken::new();
        tokio::spawn(serve(listener, router, stopping.clone(), 9));
        let stream = TcpStream::connect(address).await.unwrap();
        (stream, refusals, stopping)
    }

    async fn answer(stream: &mut TcpStream) -> String {
        let (mut said, mut bytes) = (String::new(), [0; 1024]);
        while !said.ends_with("refused") {
            let read = stream.read(&mut bytes).await.unwrap();
            assert!(read > 0, "closed after {said:?}");
            said.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        said
    }

    /// Many a client sends headers and body apart, and goes on with its token on the same connection.
    #[tokio::test]
    async fn whoever_is_refused_before_its_body_came_may_ask_again() {
        let (mut stream, mut refusals, _stopping) = refusing().await;
        for _ in 0..3 {
            let headers = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n";
            stream.write_all(headers).await.unwrap();
            refusals.recv().await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            let answer = answer(&mut stream).await;
            assert!(!answer.contains("close"), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_costs_the_connection_and_that_is_said() {
        for length in ["5", "1000000"] {
            let (mut stream, _refusals, _stopping) = refusing().await;
            let headers =
                format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n1");
            stream.write_all(headers.as_bytes()).await.unwrap();
            let answer = answer(&mut stream).await;
            assert!(answer.contains("connection: close"), "{answer}");
        }
    }
}
