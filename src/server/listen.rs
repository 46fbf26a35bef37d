//! Accepting connections: HTTP/1.1 with bounded headers, buffers and patience, until told to stop.
//!
//! A connection is closed in stages (RFC 9112 §9.6): whoever is refused may still be sending, and what
//! is closed on unread bytes is reset, which can take the answer away before it is read.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderValue, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::progress::Progressing;
use super::unread;
use crate::causes::chain;

/// A client that takes longer for its headers is not worth a connection.
const HEADER_TIME: Duration = Duration::from_secs(30);
/// More is answered 431.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// A write that gets nothing on its way for so long ends its connection.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// What waits in the kernel to be sent: by default some 4 MB for a client that does not read. A fixed
/// send buffer would also count what is on its way, and slow down streams over long fat networks.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 128 * 1024;
/// Notices a client that vanished while it had nothing to say, such as during an event stream.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// How long, and how much, a client may go on sending after its last answer; twice what is
/// forwarded at most by default.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// The pause after the machine refused another connection (no descriptors left).
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
/// How often that is worth a line.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Serves until `stopping`, then until every request in flight is answered. Beyond `connections_max`
/// connections, others wait to be accepted.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stopping: CancellationToken,
    connections_max: usize,
) {
    let connections = TaskTracker::new();
    let free = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
    let (mut warned, mut full): (Option<Instant>, Option<Instant>) = (None, None);
    loop {
        if free.available_permits() == 0 && full.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            tracing::warn!(
                connections_max,
                "no more connections are accepted until one ends"
            );
            full = Some(Instant::now());
        }
        let accepting = async {
            // Never closed.
            let permit = free.clone().acquire_owned().await.ok();
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            accepted = accepting => accepted,
            () = stopping.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let served = connection(stream, peer, router.clone(), stopping.clone());
                connections.spawn(async move {
                    served.await;
                    drop(permit);
                });
            }
            Err(error) => {
                if warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
                    tracing::warn!(error = chain(&error), "connections cannot be accepted");
                    warned = Some(Instant::now());
                }
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
    let socket = SockRef::from(&stream);
    let _ = socket.set_tcp_keepalive(&keep_alive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
    let stream = Progressing::new(stream, WRITE_TIME, stopping.clone());
    let has_asked = Arc::new(AtomicBool::new(false));
    let asks = has_asked.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        asks.store(true, Ordering::Release);
        answer(router.clone(), request, peer)
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = &mut connection => {}
        () = stopping.cancelled() => {
            // Whoever is still at the headers of a first request is not waited for.
            if !has_asked.load(Ordering::Acquire) {
                return;
            }
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            let _ = (&mut connection).await;
        }
    }
    let ended = connection.into_parts().io.into_inner();
    if ended.is_given_up {
        // The kernel, too, is to forget what was not taken.
        let _ = SockRef::from(&ended.stream).set_linger(Some(Duration::ZERO));
        return;
    }
    let lingering = linger(ended.stream);
    stopping.run_until_cancelled(lingering).await;
}

async fn answer(
    router: Router,
    request: hyper::Request<Incoming>,
    peer: SocketAddr,
) -> Result<Response, Infallible> {
    if let Some(status) = refusal(&request) {
        return Ok((status, [(header::CONNECTION, "close")]).into_response());
    }
    // A client that waits to be told to go on with its body is not told so only to be refused.
    let waits = request.headers().contains_key(header::EXPECT);
    let (parts, body) = request.into_parts();
    let (body, rest) = match body.is_end_stream() || waits {
        true => (Body::new(body), None),
        false => {
            let (body, rest) = unread::lend(body);
            (body, Some(rest))
        }
    };
    let mut request = Request::from_parts(parts, body);
    request.extensions_mut().insert(ConnectInfo(peer));
    let mut response = router.oneshot(request).await?;
    if let Some(rest) = rest
        && !rest.read().await
    {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    Ok(response)
}

/// What else of a message hyper would take, and others read in another way: whom it is for (RFC 9112
/// §3.2), and what its body is (§6.1).
fn refusal<B>(request: &Request<B>) -> Option<StatusCode> {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return Some(StatusCode::BAD_REQUEST);
    }
    let mut codings = request.headers().get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    let understood = codings.next().is_none_or(is_chunked) && codings.next().is_none();
    (!understood).then_some(StatusCode::NOT_IMPLEMENTED)
}

/// Takes what still comes after the last answer, until the client has seen that nothing more does.
async fn linger(mut stream: TcpStream) {
    let unread = async {
        // Where a request was malformed, nobody has said so yet.
        let _ = stream.shutdown().await;
        let mut rest = stream.take(LINGER_BYTES_MAX);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    // Gone or too long: it is closed either way.
    let _ = tokio::time::timeout(LINGER, unread).await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use axum::routing::get;
    use tokio::time::timeout;

    use super::*;

    async fn ask(stream: &mut TcpStream) {
        let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        stream.write_all(request).await.unwrap();
    }

    /// The end of the answer is the end of what is said.
    async fn answer(stream: &mut TcpStream) -> String {
        let mut bytes = vec![0; 1024];
        let mut said = String::new();
        while !said.ends_with("hello") {
            let read = stream.read(&mut bytes).await.unwrap();
            assert!(read > 0, "{said}");
            said.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        said
    }

    #[tokio::test]
    async fn a_malformed_request_is_answered_and_its_connection_closed() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stopping = CancellationToken::new();
        let served = tokio::spawn(serve(listener, Router::new(), stopping.clone(), 9));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"nonsense\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        let read = timeout(LINGER / 2, stream.read_to_string(&mut answer));
        read.await.expect("closed at once").unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        stopping.cancel();
        served.await.unwrap();
    }

    /// Also where the request was not read to its end, and the client takes its time.
    #[tokio::test]
    async fn an_answer_is_sent_to_its_end() {
        const BYTES: usize = 8 << 20;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", axum::routing::post(|| async { vec![0; BYTES] }));
        let stopping = CancellationToken::new();
        let served = tokio::spawn(serve(listener, router, stopping.clone(), 9));
        for _ in 0..5 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n1";
            stream.write_all(request).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            let head = answer
                .windows(4)
                .position(|end| end == b"\r\n\r\n")
                .unwrap();
            assert_eq!(answer.len() - head - 4, BYTES);
        }
        stopping.cancel();
        served.await.unwrap();
    }

    /// What is kept for a peer that does not read is bounded, however much it asks for.
    #[tokio::test]
    async fn answers_are_not_made_far_ahead_of_a_peer_that_does_not_read() {
        const BYTES: usize = 64 << 10;
        static ANSWERS: AtomicUsize = AtomicUsize::new(0);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = || async {
            ANSWERS.fetch_add(1, Ordering::Relaxed);
            vec![0; BYTES]
        };
        let router = Router::new().route("/", get(answer));
        let stopping = CancellationToken::new();
        let served = tokio::spawn(serve(listener, router, stopping.clone(), 9));
        let mut unread = TcpStream::connect(address).await.unwrap();
        for _ in 0..500 {
            ask(&mut unread).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let made = ANSWERS.load(Ordering::Relaxed) * BYTES;
        assert!(made <= 1 << 20, "{made} bytes");
        stopping.cancel();
        let stopped = timeout(Duration::from_secs(5), served).await;
        stopped.expect("it is not waited for").unwrap();
    }

    #[tokio::test]
    async fn beyond_the_limit_a_connection_waits_for_another_to_end() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "hello" }));
        let stopping = CancellationToken::new();
        let served = tokio::spawn(serve(listener, router, stopping.clone(), 1));
        let mut first = TcpStream::connect(address).await.unwrap();
        ask(&mut first).await;
        answer(&mut first).await;
        let mut second = TcpStream::connect(address).await.unwrap();
        ask(&mut second).await;
        let early = timeout(Duration::from_millis(200), answer(&mut second)).await;
        assert!(early.is_err(), "{early:?}");
        drop(first);
        answer(&mut second).await;
        stopping.cancel();
        served.await.unwrap();
    }
}
