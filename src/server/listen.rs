//! Accepting connections: HTTP/1.1 with bounded headers and patience, until told to stop.
//!
//! A connection is closed in stages (RFC 9112 §9.6): whoever is refused may still be sending, and what
//! is closed on unread bytes is reset, which can take the answer away before it is read.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// A client that takes longer for its headers is not worth a connection.
const HEADER_TIME: Duration = Duration::from_secs(30);
/// More is answered 431.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Notices a client that vanished while it had nothing to say, such as during an event stream.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// How long, and how much, a client may go on sending after its last answer; twice what is
/// forwarded at most by default.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// The pause after the machine refused another connection (no descriptors left).
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Serves until `stopping`, then until every request in flight is answered.
pub async fn serve(listener: TcpListener, router: Router, stopping: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                connections.spawn(connection(stream, peer, router.clone(), stopping.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    stopping: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&keep_alive);
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request)
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let served = tokio::select! {
        served = poll_fn(|context| connection.poll_without_shutdown(context)) => Some(served),
        () = stopping.cancelled() => None,
    };
    let served = match served {
        Some(served) => served,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|context| connection.poll_without_shutdown(context)).await
        }
    };
    if served.is_ok() {
        let lingering = linger(connection.into_parts().io.into_inner());
        stopping.run_until_cancelled(lingering).await;
    }
}

/// Says that nothing more comes, and takes what does until the client has seen it.
async fn linger(mut stream: TcpStream) {
    let unread = async {
        stream.shutdown().await?;
        let mut rest = stream.take(LINGER_BYTES_MAX);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // Gone or too long: it is closed either way.
    let _ = tokio::time::timeout(LINGER, unread).await;
}
