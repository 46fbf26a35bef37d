//! Bodies that do not come: bounded, whoever sends them and wherever they are read to their end.
//! Bodies that nobody wants: whoever sends them hears it. Answers that nobody reads: given up.

use std::io::ErrorKind;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::Rig;

/// A body has 30 s, and so has each write.
const PATIENCE: Duration = Duration::from_secs(50);

/// Sends the headers and one byte of the body, and then listens only.
async fn stalled(origin: &str, path: &str, headers: &str) -> String {
    let address = origin.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("a listener");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n{headers}content-type: "
    );
    let kind = if path.ends_with("register") || path.contains("v1/operators") {
        "application/json"
    } else {
        "application/x-www-form-urlencoded"
    };
    let sent = format!("{head}{kind}\r\n\r\n{{");
    let sent = stream.write_all(sent.as_bytes()).await;
    sent.expect("it is taken");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.unwrap_or_else(|_| panic!("{path} waits on"))
        .expect("an orderly end");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_body_that_does_not_come_is_waited_for_only_so_long() {
    let rig = Rig::start().await;
    let (server, gateway) = (&rig.server.url, &rig.server.gateway_url);
    let operator = format!("authorization: Bearer {}\r\n", rig.server.admin_token);
    let base = "/api/v1/oauth-proxy/1";
    let asked: Vec<(&String, String, &str)> =
        ["register", "token", "revoke", "introspect", "consent"]
            .iter()
            .map(|endpoint| (server, format!("{base}/{endpoint}"), ""))
            .chain(["/register", "/token", "/mcp"].map(|path| (gateway, path.to_owned(), "")))
            .chain([(server, "/api/v1/operators".to_owned(), operator.as_str())])
            .collect();
    let answers = asked.iter().map(async |(origin, path, headers)| {
        let answer = stalled(origin, path, headers).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{path}: {answer}");
    });
    join_all(answers).await;
    // Somebody whose token is no good is told so before the form is there.
    let refused = stalled(gateway, "/mcp", "authorization: Bearer x\r\n");
    let refused = tokio::time::timeout(Duration::from_secs(20), refused);
    let answer = refused.await.expect("at once");
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn whoever_is_refused_hears_it_while_still_sending() {
    const BYTES: usize = 17_000_000;
    let rig = Rig::start().await;
    let (server, gateway) = (&rig.server.url, &rig.server.gateway_url);
    for (origin, path, headers, status) in [
        (gateway, "/mcp", "authorization: Bearer x\r\n", 401),
        (server, "/api/v1/oauth-proxy/1/register", "", 413),
    ] {
        let address = origin.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.expect("a listener");
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {BYTES}\r\n\
             content-type: application/json\r\n{headers}\r\n"
        );
        let answer = async {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&vec![b' '; BYTES]).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        let answer = tokio::time::timeout(PATIENCE, answer)
            .await
            .expect("in time");
        let answer = answer.expect("nothing is reset");
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
}

/// Asks for more than is kept for a peer, reads nothing, and waits to be let go.
async fn unread(origin: &str) {
    let address = origin.trim_start_matches("http://");
    let stream = TcpStream::connect(address).await.expect("a listener");
    let let_go = async {
        loop {
            match stream.try_write(&b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n".repeat(500)) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let let_go = tokio::time::timeout(PATIENCE, let_go).await;
    let_go.unwrap_or_else(|_| panic!("{origin} waits on"));
}

#[tokio::test]
async fn whoever_reads_no_answer_is_let_go() {
    let rig = Rig::start().await;
    let (server, gateway) = (&rig.server.url, &rig.server.gateway_url);
    join_all([server, gateway, &rig.server.ops_url].map(|origin| unread(origin))).await;
}
