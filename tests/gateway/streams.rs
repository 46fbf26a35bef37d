//! Bodies that do not end by themselves: each piece passes as it comes, and who goes away takes
//! the other side along.

use std::time::Duration;

use axum::body::Bytes;
use futures_util::StreamExt;
use reqwest::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::rig::Rig;
use crate::upstream::Scripted;

const PATIENCE: Duration = Duration::from_secs(10);

async fn next(response: &mut Response) -> Option<Bytes> {
    let chunk = timeout(PATIENCE, response.chunk()).await.expect("in time");
    chunk.expect("no error")
}

#[tokio::test]
async fn events_pass_one_by_one() {
    let upstream = Scripted::start("text/event-stream").await;
    let rig = Rig::new(&upstream.url).await;
    let mut response = rig.call(&rig.grant("read").await.token).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    for event in ["data: 1\n\n", "id: 2\ndata: 2\n\n", ": ping\n\n"] {
        upstream.say(event).await;
        assert_eq!(next(&mut response).await.expect("an event"), event);
    }
    drop(upstream.says);
    assert_eq!(next(&mut response).await, None);
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_upstreams_answer() {
    for content_type in ["text/event-stream", "application/json"] {
        let upstream = Scripted::start(content_type).await;
        let rig = Rig::new(&upstream.url).await;
        let mut response = rig.call(&rig.grant("read").await.token).await;
        upstream.say("1").await;
        assert_eq!(next(&mut response).await.expect("a chunk"), "1");
        drop(response);
        timeout(PATIENCE, upstream.says.closed())
            .await
            .expect("it notices");
    }
}

/// An upstream by hand: it accepts one connection and hands out the raw bytes.
async fn raw() -> (TcpListener, String) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, format!("http://{address}/mcp"))
}

#[tokio::test]
async fn a_client_that_goes_away_before_the_answer_ends_the_upstreams_request() {
    let (listener, url) = raw().await;
    let rig = Rig::new(&url).await;
    let token = rig.grant("read").await.token;
    let call = tokio::spawn(rig.post("/mcp", &token).send());
    let (mut connection, _) = listener.accept().await.expect("a connection");
    let mut bytes = [0; 4096];
    assert!(connection.read(&mut bytes).await.expect("a request") > 0);
    call.abort();
    let gone = async { while connection.read(&mut bytes).await.is_ok_and(|n| n > 0) {} };
    timeout(PATIENCE, gone).await.expect("it notices");
}

#[tokio::test]
async fn an_upstream_that_breaks_off_breaks_the_answer_off() {
    let (listener, url) = raw().await;
    let rig = Rig::new(&url).await;
    let token = rig.grant("read").await.token;
    let upstream = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.expect("a connection");
        let mut bytes = [0; 4096];
        assert!(connection.read(&mut bytes).await.expect("a request") > 0);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                    transfer-encoding: chunked\r\n\r\n1\r\na\r\n";
        connection
            .write_all(head.as_bytes())
            .await
            .expect("a listener");
    });
    let mut response = rig.call(&token).await;
    assert_eq!(response.status(), 200);
    let broken = async { while let Ok(Some(_)) = response.chunk().await {} };
    timeout(PATIENCE, broken).await.expect("it ends");
    upstream.await.expect("no panic");
}

#[tokio::test]
async fn an_upstream_that_does_not_shake_hands_is_not_waited_for() {
    let (listener, url) = raw().await;
    let rig = Rig::new(&url.replace("http:", "https:")).await;
    let token = rig.grant("read").await.token;
    let call = tokio::spawn(rig.post("/mcp", &token).send());
    let (_silent, _) = listener.accept().await.expect("a connection");
    let response = timeout(PATIENCE, call).await.expect("in time");
    let response = response.expect("no panic").expect("an answer");
    assert_eq!(response.status(), 502);
}

#[tokio::test]
async fn an_upstreams_framing_is_not_passed_on() {
    for head in [
        "HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\n\r\n",
    ] {
        let (listener, url) = raw().await;
        let rig = Rig::new(&url).await;
        let token = rig.grant("read").await.token;
        let upstream = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.expect("a connection");
            let mut bytes = [0; 4096];
            assert!(connection.read(&mut bytes).await.expect("a request") > 0);
            let sent = connection.write_all(head.as_bytes()).await;
            sent.expect("a listener");
        });
        let response = rig.call(&token).await;
        upstream.await.expect("no panic");
        assert_eq!(response.version(), reqwest::Version::HTTP_11);
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key("content-length"), "{head}");
        assert_eq!(response.text().await.expect("text"), "hello");
    }
}

#[tokio::test]
async fn a_request_body_passes_piece_by_piece() {
    let (listener, url) = raw().await;
    let rig = Rig::new(&url).await;
    let token = rig.grant("read").await.token;
    let (says, pieces) = tokio::sync::mpsc::channel::<&'static str>(1);
    let pieces = futures_util::stream::unfold(pieces, async |mut pieces| {
        let piece = pieces.recv().await?;
        Some((Ok::<_, std::io::Error>(piece), pieces))
    });
    let body = reqwest::Body::wrap_stream(pieces.boxed());
    let call = tokio::spawn(rig.post("/mcp", &token).body(body).send());
    let (mut connection, _) = listener.accept().await.expect("a connection");
    let mut seen = String::new();
    for piece in ["first", "second"] {
        says.send(piece).await.expect("somebody listens");
        while !seen.contains(piece) {
            let mut bytes = [0; 4096];
            let read = timeout(PATIENCE, connection.read(&mut bytes))
                .await
                .expect("in time");
            let read = read.expect("bytes");
            assert!(read > 0, "{seen}");
            seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    }
    drop(says);
    let answer = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
    connection
        .write_all(answer.as_bytes())
        .await
        .expect("a listener");
    let response = call.await.expect("no panic").expect("an answer");
    assert_eq!(response.status(), 202);
}
