//! What reaches the upstream, and what comes back.

use axum::http::{HeaderMap, HeaderValue};
use axum::response::IntoResponse;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{BODY_BYTES_MAX, Rig};
use crate::upstream::Upstream;

#[tokio::test]
async fn the_upstream_gets_the_request_without_what_is_not_its_own() {
    let upstream = Upstream::start().await;
    let rig = Rig::new(&upstream.url).await;
    let token = rig.grant("read").await.token;
    let response = rig
        .post("/mcp", &token)
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-session-id", "s1")
        .header("mcp-method", "tools/list")
        .header("last-event-id", "41")
        .header("cookie", "a=b")
        .header("origin", "http://localhost:1")
        .header("forwarded", "for=6.6.6.6")
        .header("x-forwarded-for", "6.6.6.6")
        .header("x-forwarded-user", "root")
        .header("x-real-ip", "6.6.6.6")
        .header("x_forwarded_for", "6.6.6.6")
        .header("connection", "keep-alive, x-hop")
        .header("x-hop", "1")
        .header("te", "trailers")
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 200);
    let request_id = response.headers()["x-request-id"]
        .to_str()
        .expect("text")
        .to_owned();
    let body: Value = response.json().await.expect("JSON");
    assert!(body["result"]["tools"].is_array());

    let received = upstream.only();
    let host = upstream.url.split('/').nth(2).expect("a host");
    let own_host = rig.url.trim_start_matches("http://");
    for (name, value) in [
        ("host", host),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-session-id", "s1"),
        ("mcp-method", "tools/list"),
        ("last-event-id", "41"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", own_host),
        ("x-request-id", &request_id),
        ("via", "1.1 grantlog"),
    ] {
        assert_eq!(received.header(name), value, "{name}");
    }
    for name in [
        "authorization",
        "cookie",
        "origin",
        "forwarded",
        "x-forwarded-user",
        "x-real-ip",
        "x_forwarded_for",
        "connection",
        "x-hop",
        "te",
    ] {
        assert!(!received.headers.contains_key(name), "{name}");
    }
    assert_eq!(received.method, Method::POST);
    assert_eq!(received.uri, "/up/mcp");
    assert_eq!(
        received.body,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#
    );
}

#[tokio::test]
async fn methods_paths_and_queries_go_on_as_they_are() {
    let upstream = Upstream::start().await;
    let rig = Rig::new(&upstream.url).await;
    let token = rig.grant("read").await.token;
    for (method, path, uri) in [
        ("GET", "/mcp/", "/up/mcp"),
        ("DELETE", "/mcp", "/up/mcp"),
        ("PUT", "/mcp/x?y=1&z", "/up/mcp/x?y=1&z"),
        ("PATCH", "/proxy/1/mcp/a%20b/", "/up/mcp/a%20b/"),
    ] {
        let request = Method::from_bytes(method.as_bytes()).expect("a method");
        let request = rig.http.request(request, rig.at(path)).bearer_auth(&token);
        assert_eq!(request.send().await.expect("an answer").status(), 200);
        let received = upstream.received().pop().expect("a request");
        assert_eq!(
            (received.method.as_str(), received.uri.to_string().as_str()),
            (method, uri)
        );
    }
    for method in ["TRACE", "trace", "Trace"] {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let trace = rig.http.request(method, rig.at("/mcp")).bearer_auth(&token);
        let trace = trace.send().await.expect("an answer");
        assert_eq!(trace.status(), 405);
        let allowed = trace.headers()["allow"].to_str().expect("text");
        assert!(allowed.contains("POST") && !allowed.contains("TRACE"));
    }
    let address = rig.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("a listener");
    let connect = format!(
        "CONNECT /proxy/1/mcp HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         connection: close\r\n\r\n"
    );
    let sent = stream.write_all(connect.as_bytes()).await;
    sent.expect("it is taken");
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer).await;
    read.expect("an orderly end");
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    let climbing = rig
        .http
        .get(rig.at("/mcp/a%2f..%2f..%2fadmin"))
        .bearer_auth(&token);
    assert_eq!(climbing.send().await.expect("an answer").status(), 400);
    assert_eq!(upstream.received().len(), 4);
}

#[tokio::test]
async fn the_client_gets_the_answer_without_what_would_speak_for_our_origin() {
    let upstream = Upstream::answering(|| {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("set-cookie", "a=b"),
            ("access-control-allow-origin", "https://up.example"),
            ("access-control-allow-credentials", "true"),
            ("server", "up/1.0"),
            ("strict-transport-security", "max-age=1"),
            ("mcp-session-id", "s1"),
            ("x-hop", "1"),
            ("connection", "x-hop"),
            ("keep-alive", "timeout=9"),
            ("location", "https://elsewhere.example/"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        (StatusCode::TEMPORARY_REDIRECT, headers, "moved").into_response()
    })
    .await;
    let rig = Rig::new(&upstream.url).await;
    let response = rig.call(&rig.grant("read").await.token).await;
    assert_eq!(response.status(), 307);
    let headers = response.headers();
    assert_eq!(headers["location"], "https://elsewhere.example/");
    assert_eq!(headers["mcp-session-id"], "s1");
    assert_eq!(headers["access-control-allow-origin"], "*");
    assert_eq!(
        headers
            .get_all("access-control-allow-origin")
            .iter()
            .count(),
        1
    );
    for name in [
        "set-cookie",
        "access-control-allow-credentials",
        "server",
        "x-hop",
        "keep-alive",
    ] {
        assert!(!headers.contains_key(name), "{name}");
    }
    assert_ne!(
        headers
            .get("strict-transport-security")
            .map(HeaderValue::as_bytes),
        Some(b"max-age=1".as_slice()),
        "what an origin promises about TLS is for the origin to say"
    );
    assert_eq!(response.text().await.expect("text"), "moved");
    upstream.only();
}

#[tokio::test]
async fn a_redirect_within_the_upstream_does_not_lead_past_the_gateway() {
    for (location, proxy, expected) in [
        ("mcp/other", 1, Some("/proxy/1/mcp/other")),
        ("/up/mcp/other?a=b", 2, Some("/proxy/2/mcp/other?a=b")),
        ("ORIGIN/up/mcp/other", 2, Some("/proxy/2/mcp/other")),
        ("ORIGIN/up/mcp/other/", 0, Some("/mcp/other/")),
        ("/proxy/1/mcp", 2, None),
        ("ORIGIN/admin", 1, None),
        ("ORIGIN/up/mcp/", 1, None),
    ] {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let location = location.replace("ORIGIN", &origin);
        let router = axum::Router::new().fallback(move || {
            let headers = [("location", location.clone())];
            async move { (StatusCode::TEMPORARY_REDIRECT, headers).into_response() }
        });
        crate::rig::serve(listener, router);
        let upstream = format!("{origin}/up/mcp");
        let rig = Rig::new(&upstream).await;
        rig.add_proxy(2, &upstream, |_| {}, None).await;
        let path = match proxy {
            0 => "/mcp/".to_owned(),
            proxy => format!("/proxy/{proxy}/mcp"),
        };
        let key = rig.api_key(proxy.max(1), "read", None).await;
        let response = rig.post(&path, key.expose()).send().await;
        let response = response.expect("an answer");
        let told = response.headers().get("location");
        let told = told.map(|told| told.to_str().expect("text").to_owned());
        assert_eq!(told, expected.map(|path| rig.at(path)));
        let status = if expected.is_some() { 307 } else { 502 };
        assert_eq!(response.status(), status);
    }
}

#[tokio::test]
async fn an_upstream_that_asks_for_credentials_is_not_taken_for_us() {
    for (status, challenge, expected) in [
        (401, true, 502),
        (401, false, 502),
        (403, true, 502),
        (403, false, 403),
        (404, false, 404),
        (500, false, 500),
    ] {
        let upstream = Upstream::answering(move || {
            let mut headers = HeaderMap::new();
            if challenge {
                let value = HeaderValue::from_static("Bearer error=\"invalid_token\"");
                headers.insert("www-authenticate", value);
            }
            (StatusCode::from_u16(status).expect("a status"), headers).into_response()
        })
        .await;
        let rig = Rig::new(&upstream.url).await;
        let response = rig.call(&rig.grant("read").await.token).await;
        assert_eq!(response.status(), expected, "{status}");
        assert!(!response.headers().contains_key("www-authenticate"));
        if expected == 502 {
            let body: Value = response.json().await.expect("JSON");
            assert_eq!(body["error"], "upstream_unauthorized");
        }
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_a_bad_gateway() {
    let free = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let rig = Rig::new(&format!("http://{address}/mcp")).await;
    let response = rig.call(&rig.grant("read").await.token).await;
    assert_eq!(response.status(), 502);
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(body["error"], "upstream_unreachable");
}

#[tokio::test]
async fn a_malformed_body_is_the_clients_fault() {
    let upstream = Upstream::start().await;
    let rig = Rig::new(&upstream.url).await;
    let token = rig.grant("read").await.token;
    let address = rig.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.expect("a listener");
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         transfer-encoding: chunked\r\n\r\n1\r\na\r\nno number\r\n"
    );
    let sent = stream.write_all(request.as_bytes()).await;
    sent.expect("it is taken");
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer).await;
    read.expect("an orderly end");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("invalid_request"), "{answer}");
    assert_eq!(rig.refusals().await["body_broken"], 1);
}

#[tokio::test]
async fn the_body_of_a_get_is_not_lost() {
    let upstream = Upstream::start().await;
    let rig = Rig::new(&upstream.url).await;
    let token = rig.grant("read").await.token;
    for (framing, value) in [("content-length", "4"), ("transfer-encoding", "chunked")] {
        let request = rig.http.get(rig.at("/mcp")).bearer_auth(&token);
        let request = request.header(framing, value).body("body");
        assert_eq!(request.send().await.expect("an answer").status(), 200);
        let received = upstream.received().pop().expect("a request");
        assert_eq!(received.body, "body");
    }
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused_whether_announced_or_not() {
    let upstream = Upstream::start().await;
    let rig = Rig::new(&upstream.url).await;
    let token = rig.grant("read").await.token;
    let chunked = |bytes: usize| {
        let chunks = (0..bytes / 1000).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1000]));
        reqwest::Body::wrap_stream(futures_util::stream::iter(chunks))
    };
    for (body, status) in [
        (reqwest::Body::from(vec![b'x'; BODY_BYTES_MAX]), 200),
        (chunked(BODY_BYTES_MAX), 200),
        (reqwest::Body::from(vec![b'x'; BODY_BYTES_MAX + 1]), 413),
        (chunked(BODY_BYTES_MAX + 1000), 413),
    ] {
        let response = rig
            .post("/mcp", &token)
            .body(body)
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), status);
    }
    let received = upstream.received();
    assert!(
        received
            .iter()
            .all(|received| received.body.len() == BODY_BYTES_MAX)
    );
    assert_eq!(received.len(), 2);
}
