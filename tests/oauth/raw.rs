//! Bytes that no HTTP client sends: never an error of ours, never a panic, and the next request is
//! served as if nothing had been.

use std::time::Duration;

use support::{Pkce, Tokens};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::Rig;

const PATIENCE: Duration = Duration::from_secs(20);

/// Sends bytes, says that there are no more, and reads until the other side has nothing to say.
async fn exchange(origin: &str, bytes: &[u8]) -> String {
    answered(origin, bytes, true).await
}

async fn answered(origin: &str, bytes: &[u8], is_all: bool) -> String {
    let address = origin.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("a listener");
    let exchange = async {
        // The server may have answered and closed before it has read everything.
        let _ = stream.write_all(bytes).await;
        if is_all {
            let _ = stream.shutdown().await;
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let ended = tokio::time::timeout(PATIENCE, exchange).await;
    ended.unwrap_or_else(|_| {
        panic!(
            "no end of {}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(200)])
        )
    })
}

/// The statuses of all answers on a connection.
fn statuses(answer: &str) -> Vec<u16> {
    let lines = answer
        .lines()
        .filter_map(|line| line.strip_prefix("HTTP/1.1 "));
    lines
        .filter_map(|line| line.get(..3)?.parse().ok())
        .collect()
}

fn post(path: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         connection: close\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

fn get(target: &str, headers: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n").into_bytes()
}

const BASE: &str = "/api/v1/oauth-proxy/1";

fn requests_that_are_none() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        "",
        "\r\n\r\n\r\n",
        "x",
        "GET",
        "GET /",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "get / HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET  /  HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET / HTTP/1.1\nhost: x\n\n",
        "GET / HTTP/1.1\r\nhost : x\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
        "GET http://evil.example/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "CONNECT evil.example:443 HTTP/1.1\r\nhost: x\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}",
        "\0\0\0\0\r\n\r\n",
        "TRACE / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c, websocket\r\n\r\n",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    all.push(b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n".to_vec());
    all.push(
        b"GET / HTTP/1.1\r\nhost: x\r\nuser-agent: \xff\x80\x01\r\nconnection: close\r\n\r\n"
            .to_vec(),
    );
    all.push(format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(70_000)).into_bytes());
    all.push(get("/", &format!("x: {}\r\n", "a".repeat(70_000))));
    all.push(get("/", &"x: y\r\n".repeat(500)));
    all
}

fn targets() -> Vec<Vec<u8>> {
    let paths = [
        "%",
        "%2",
        "%zz",
        "%00",
        "%ff",
        "%c0%ae",
        "%2e%2e/%2e%2e/etc/passwd",
        "..;/",
        "//",
        "/./",
        "%0d%0aset-cookie:x=1",
        "\u{1F600}",
        "1%00",
        "+1",
        "1e9",
        "99999999999999999999",
        "-1",
        "0x1",
        "１",
    ];
    let mut all = Vec::new();
    for path in paths {
        all.push(get(
            &format!("/api/v1/oauth-proxy/{path}/authorize?client_id=x"),
            "",
        ));
        all.push(get(
            &format!("{BASE}/register/{path}"),
            "authorization: Bearer x\r\n",
        ));
        all.push(get(&format!("/api/v1/oauth/callback/{path}?state=x"), ""));
        all.push(get(
            &format!("{BASE}/authorize?client_id={path}&redirect_uri={path}&{path}={path}"),
            "",
        ));
        all.push(get(
            &format!("/.well-known/oauth-authorization-server?proxy_id={path}"),
            "",
        ));
        all.push(get(
            &format!("/.well-known/oauth-authorization-server/{path}"),
            "",
        ));
        all.push(get(&format!("/assets/{path}"), ""));
        all.push(get(&format!("/mcp/{path}?{path}"), ""));
        all.push(get(&format!("/proxy/{path}/mcp"), ""));
        all.push(get(
            &format!("/.well-known/oauth-protected-resource/{path}"),
            "",
        ));
    }
    all
}

fn bodies() -> Vec<Vec<u8>> {
    let big = "a".repeat(64 * 1024 + 1);
    let chunk = format!("{:x}\r\n{big}\r\n0\r\n\r\n", big.len());
    let mut all = Vec::new();
    for path in ["token", "revoke", "introspect", "register", "consent"] {
        let path = format!("{BASE}/{path}");
        for (headers, body) in [
            ("content-length: 10\r\n", "a=b"),
            ("content-length: 1\r\n", "a=b"),
            ("content-length: -1\r\n", "a=b"),
            ("content-length: 99999999999999999999\r\n", "a=b"),
            ("content-length: 3\r\ncontent-length: 4\r\n", "a=b"),
            (
                "content-length: 3\r\ntransfer-encoding: chunked\r\n",
                "3\r\na=b\r\n0\r\n\r\n",
            ),
            (
                "transfer-encoding: chunked\r\n",
                "ffffffffffffffff\r\na=b\r\n0\r\n\r\n",
            ),
            ("transfer-encoding: chunked\r\n", "3\r\na=b"),
            ("transfer-encoding: chunked\r\n", "zz\r\n\r\n"),
            (
                "transfer-encoding: gzip, chunked\r\n",
                "3\r\na=b\r\n0\r\n\r\n",
            ),
            ("transfer-encoding: chunked\r\n", chunk.as_str()),
            ("expect: 100-continue\r\ncontent-length: 3\r\n", "a=b"),
            ("content-encoding: gzip\r\ncontent-length: 3\r\n", "a=b"),
            ("content-length: 11\r\n", "a=%00%ff&%=%"),
            ("authorization: Basic \r\ncontent-length: 3\r\n", "a=b"),
            (
                "authorization: Basic eA==\r\nauthorization: Basic eA==\r\ncontent-length: 3\r\n",
                "a=b",
            ),
            ("authorization: Bearer\r\ncontent-length: 3\r\n", "a=b"),
            ("content-length: 0\r\n", ""),
            ("", ""),
        ] {
            all.push(post(&path, headers, body));
        }
        let length = format!("content-length: {}\r\n", big.len());
        all.push(post(&path, &length, &big));
    }
    for document in [
        "[".repeat(10_000),
        "{\"a\":".repeat(10_000),
        format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000)),
        "{\"redirect_uris\":[\"http://localhost/\"],\"redirect_uris\":[\"https://evil.example/\"]}"
            .to_owned(),
        "{\"redirect_uris\":[\"http://localhost/\\u0000\"]}".to_owned(),
        "{\"redirect_uris\":[\"http://localhost/\"],\"client_name\":\"\\ud800\"}".to_owned(),
        "{\"redirect_uris\":[\"http://localhost/\"],\"client_name\":1e999}".to_owned(),
        "{\"redirect_uris\":[\"http://localhost/\"],\"default_max_age\":1e400}".to_owned(),
        "\u{feff}{}".to_owned(),
        "nul".to_owned(),
        "{}{}".to_owned(),
        "\"".to_owned(),
        "1".repeat(60_000),
    ] {
        let length = format!("content-length: {}\r\n", document.len());
        all.push(post(&format!("{BASE}/register"), &length, &document));
    }
    let mut invalid = post(
        &format!("{BASE}/token"),
        "content-length: 20\r\n",
        "grant_type=",
    );
    invalid.extend_from_slice(b"\xff\xfe\x80\x80\x80\x80\x80\x80\x80");
    all.push(invalid);
    all
}

#[tokio::test]
async fn no_bytes_are_answered_with_an_error_of_ours() {
    let rig = Rig::start().await;
    let tokens = rig.log_in(&rig.client().await).await;
    for (name, requests) in [
        ("requests", requests_that_are_none()),
        ("targets", targets()),
        ("bodies", bodies()),
    ] {
        for request in requests {
            for origin in [&rig.server.url, &rig.server.gateway_url] {
                let answer = exchange(origin, &request).await;
                let shown =
                    String::from_utf8_lossy(&request[..request.len().min(300)]).into_owned();
                for status in statuses(&answer) {
                    // A transfer coding that nobody has implemented is the client's choice.
                    assert!(
                        status < 500 || status == 501,
                        "{name}: {shown:?} at {origin}: {answer}"
                    );
                }
                assert!(
                    !answer.to_lowercase().contains("\nset-cookie:x"),
                    "{shown:?}: {answer}"
                );
            }
        }
    }
    assert!(rig.admits(&tokens.access).await);
    alive(&rig).await;
}

/// Where readers could disagree on whom a request is for, or where it ends (RFC 9112 §3.2, §6.1).
#[tokio::test]
async fn a_request_that_can_be_read_in_two_ways_is_refused() {
    let rig = Rig::start().await;
    for (head, status) in [
        ("GET / HTTP/1.1\r\n", 400),
        ("GET / HTTP/1.0\r\n", 404),
        ("GET / HTTP/1.1\r\nhost:\r\n", 404),
        ("GET / HTTP/1.1\r\nhost: x\r\nhost: x\r\n", 400),
        ("GET / HTTP/1.0\r\nhost: x\r\nhost: y\r\n", 400),
        (
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: Chunked\r\n",
            404,
        ),
    ] {
        let request = format!("{head}connection: close\r\n\r\n0\r\n\r\n");
        let servers = &rig.server;
        for origin in [&servers.url, &servers.gateway_url, &servers.ops_url] {
            let answer = answered(origin, request.as_bytes(), false).await;
            let told = answer.get("HTTP/1.1 ".len()..).unwrap_or_default();
            assert!(
                told.starts_with(&status.to_string()),
                "{head:?} at {origin}: {answer}"
            );
        }
    }
}

/// A body that says it is small and is not, or the reverse, smuggles no second request.
#[tokio::test]
async fn lengths_that_disagree_smuggle_nothing() {
    let rig = Rig::start().await;
    let inner = format!("GET {BASE}/jwks HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    for headers in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\ncontent-length: 4\r\n",
        "content-length: 5\r\ncontent-length: 4\r\n",
    ] {
        let request = format!(
            "POST {BASE}/token HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n\
             {headers}\r\n0\r\n\r\n{inner}"
        );
        let answer = exchange(&rig.server.url, request.as_bytes()).await;
        let statuses = statuses(&answer);
        assert!(
            statuses.iter().all(|status| *status < 500),
            "{headers:?}: {answer}"
        );
        // With two lengths nobody knows where the request ends; chunks say it themselves.
        let most = if headers.starts_with("content-length: 5") {
            1
        } else {
            2
        };
        assert!(statuses.len() <= most, "{headers:?}: {answer}");
    }
    alive(&rig).await;
}

/// Flooding a server with connections that say nothing keeps nobody else out.
#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let rig = Rig::start().await;
    let address = rig.server.url.trim_start_matches("http://");
    let mut silent = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(address).await.expect("a listener");
        stream
            .write_all(b"POST / HTTP/1.1\r\nhost: x\r\n")
            .await
            .expect("sent");
        silent.push(stream);
    }
    alive(&rig).await;
    drop(silent);
}

async fn alive(rig: &Rig) {
    let client = rig.client().await;
    let code = rig.code(&client).await;
    let answer = client.redeem(&code, &Pkce::rfc7636()).await.expect(200);
    assert!(rig.admits(&Tokens::of(&answer).access).await);
    assert!(
        !rig.server.log().contains("panicked"),
        "{}",
        rig.server.log()
    );
}
