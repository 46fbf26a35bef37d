//! What every reply carries, and what no reply says.

use reqwest::{Method, Response};
use serde_json::{Value, json};
use support::{Answer, Browser, Pkce, Server, plain_http};

use crate::rig::Rig;

/// A request to each kind of endpoint, good or bad: origin, method, path.
fn requests(rig: &Rig) -> Vec<(Method, String)> {
    let (server, gateway) = (&rig.server.url, &rig.server.gateway_url);
    let base = format!("{server}/api/v1/oauth-proxy/1");
    let mut requests = vec![
        (Method::GET, format!("{server}/")),
        (Method::GET, format!("{server}/nowhere")),
        (Method::GET, format!("{server}/api/v1/nowhere")),
        (Method::GET, format!("{server}/assets/page.css")),
        (Method::GET, format!("{server}/api/v1/oauth/callback/1")),
        (Method::GET, format!("{server}/api/v1/oauth/callback/x")),
        (Method::GET, format!("{server}/api/v1/proxies")),
        (Method::GET, format!("{server}/api/v1/openapi.json")),
        (
            Method::GET,
            format!("{server}/.well-known/oauth-authorization-server?proxy_id=1"),
        ),
        (
            Method::GET,
            format!("{server}/.well-known/oauth-authorization-server"),
        ),
        (
            Method::GET,
            format!("{server}/.well-known/oauth-authorization-server?proxy_id=x"),
        ),
        (
            Method::GET,
            format!("{server}/api/v1/oauth-proxy/9/authorize"),
        ),
        (Method::GET, format!("{gateway}/")),
        (Method::GET, format!("{gateway}/mcp")),
        (Method::POST, format!("{gateway}/proxy/9/mcp")),
        (
            Method::GET,
            format!("{gateway}/.well-known/oauth-protected-resource/mcp"),
        ),
        (
            Method::GET,
            format!("{gateway}/.well-known/oauth-protected-resource/nowhere"),
        ),
        (Method::POST, format!("{gateway}/token")),
    ];
    for endpoint in [
        "register",
        "authorize",
        "consent",
        "token",
        "revoke",
        "introspect",
        "jwks",
    ] {
        for method in [Method::GET, Method::POST, Method::PUT, Method::OPTIONS] {
            requests.push((method, format!("{base}/{endpoint}")));
        }
    }
    requests.push((Method::GET, format!("{base}/register/gateway_x")));
    requests
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().expect("text"))
}

/// RFC 6749 §5.2.
fn is_description(text: &str) -> bool {
    text.bytes()
        .all(|b| matches!(b, 0x20..=0x21 | 0x23..=0x5B | 0x5D..=0x7E))
}

async fn check(rig: &Rig, is_tls: bool) {
    for (method, url) in requests(rig) {
        for body in ["", "x=\"%00\\\u{e9}&x=2", "{\"a\":1,\"a\":2}"] {
            let sent = plain_http().request(method.clone(), &url).body(body);
            let response = sent.send().await.expect("an answer");
            let case = format!("{method} {url}: {response:?}");
            assert!(!response.status().is_server_error(), "{case}");
            assert_eq!(
                header(&response, "x-content-type-options"),
                "nosniff",
                "{case}"
            );
            let hsts = header(&response, "strict-transport-security");
            assert_eq!(hsts.starts_with("max-age="), is_tls, "{case}");
            for name in ["server", "x-powered-by", "via"] {
                assert_eq!(header(&response, name), "", "{case}");
            }
            if response.status() == 405 {
                assert!(!header(&response, "allow").is_empty(), "{case}");
            }
            let text = response.text().await.expect("text");
            let lower = text.to_lowercase();
            for word in [
                "panicked", "sqlite", "rusqlite", "src/", "axum", "hyper", "/tmp",
            ] {
                assert!(!lower.contains(word), "{word}: {case} {text}");
            }
            if let Ok(Value::Object(members)) = serde_json::from_str(&text)
                && let Some(description) = members.get("error_description")
            {
                assert!(
                    is_description(description.as_str().expect("text")),
                    "{case} {text}"
                );
            }
        }
    }
}

#[tokio::test]
async fn every_reply_over_plain_http() {
    check(&Rig::start().await, false).await;
}

/// A public https address promises that there is never another.
#[tokio::test]
async fn every_reply_behind_tls() {
    let setup = Server::setup()
        .env("GRANTLOG_SERVER__PUBLIC_URL", "https://auth.example")
        .env("GRANTLOG_GATEWAY__PUBLIC_URL", "https://mcp.example");
    check(&Rig::on(setup, json!({})).await, true).await;
}

#[tokio::test]
async fn pages_cannot_be_framed_kept_or_read_by_other_origins() {
    let rig = Rig::with(json!({})).await;
    let client = rig.client().await;
    let good = client.authorization(&Pkce::rfc7636());
    for params in [good.clone(), good.with("client_id", "gateway_nobody")] {
        let page = Browser::new()
            .open(&client.authorize_url(&params), "http://x.invalid/")
            .await;
        let policy = page.header("content-security-policy");
        for directive in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(directive), "{policy}");
        }
        assert!(
            !policy.contains("unsafe") && !policy.contains("http"),
            "{policy}"
        );
        assert_eq!(page.header("x-frame-options"), "DENY");
        assert_eq!(page.header("cache-control"), "no-store");
        assert_eq!(page.header("referrer-policy"), "no-referrer");
        for name in page.headers.keys() {
            assert!(!name.as_str().starts_with("access-control"), "{name}");
        }
        assert!(!page.body.contains("<script"), "{}", page.body);
    }
    for (method, endpoint) in [(Method::OPTIONS, "authorize"), (Method::POST, "consent")] {
        let asked = plain_http()
            .request(method, format!("{}/{endpoint}", rig.proxy.issuer))
            .header("origin", "http://localhost:6274")
            .header("access-control-request-method", "GET");
        let answer = asked.send().await.expect("an answer");
        assert!(
            !answer.headers().contains_key("access-control-allow-origin"),
            "{endpoint}"
        );
    }
}

/// What a request claims of itself changes no address that we hand out (check 73).
#[tokio::test]
async fn spoofed_hosts_are_nowhere() {
    let rig = Rig::with(json!({})).await;
    let client = rig.client().await;
    let good = client.authorize_url(&client.authorization(&Pkce::rfc7636()));
    let wrong = client.authorize_url(
        &client
            .authorization(&Pkce::rfc7636())
            .without("scope")
            .with("scope", "x"),
    );
    let (server, gateway) = (&rig.server.url, &rig.server.gateway_url);
    for url in [
        good,
        wrong,
        format!("{server}/.well-known/openid-configuration/api/v1/oauth-proxy/1"),
        format!("{gateway}/.well-known/oauth-protected-resource"),
        format!("{gateway}/.well-known/oauth-authorization-server"),
        format!("{gateway}/mcp"),
        format!("{server}/api/v1/oauth-proxy/9/token"),
    ] {
        let sent = plain_http()
            .get(&url)
            .header("host", "evil.example")
            .header("x-forwarded-host", "evil.example")
            .header("x-forwarded-proto", "gopher")
            .header("x-original-url", "/evil.example")
            .header(
                "forwarded",
                "for=evil.example;host=evil.example;proto=gopher",
            );
        let answer = Answer::read(sent.send().await.expect("an answer")).await;
        let text = format!("{answer:?}");
        assert!(
            !text.contains("evil.example") && !text.contains("gopher"),
            "{url}: {text}"
        );
    }
}
