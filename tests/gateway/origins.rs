//! Browsers: whose pages may call, and what they are told before they do.

use reqwest::Method;
use serde_json::Value;

use crate::rig::Rig;
use crate::upstream::Upstream;

#[tokio::test]
async fn pages_of_other_origins_are_refused_before_anything_else() {
    let upstream = Upstream::start().await;
    let rig = Rig::new(&upstream.url).await;
    let token = rig.grant("read").await.token;
    let own = rig.url.clone();
    let admitted = [
        "http://localhost:6274",
        "http://127.0.0.1:1",
        "https://auth.example",
        &own,
    ];
    for origin in admitted {
        let response = rig
            .post("/mcp", &token)
            .header("origin", origin)
            .send()
            .await;
        let response = response.expect("an answer");
        assert_eq!(response.status(), 200, "{origin}");
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
    }
    for path in ["/mcp", "/proxy/1/mcp", "/proxy/9/mcp"] {
        for origin in [
            "https://evil.example",
            "null",
            "http://localhost.evil.example",
            "x",
            "",
        ] {
            for method in [Method::POST, Method::OPTIONS] {
                let request = rig.http.request(method, rig.at(path)).bearer_auth(&token);
                let response = request
                    .header("origin", origin)
                    .send()
                    .await
                    .expect("an answer");
                assert_eq!(response.status(), 403, "{origin}");
                assert!(
                    !response
                        .headers()
                        .contains_key("access-control-allow-origin")
                );
                let body: Value = response.json().await.expect("JSON");
                assert_eq!(body["error"], "origin_not_allowed");
            }
        }
    }
    assert_eq!(upstream.received().len(), admitted.len());
    assert_eq!(rig.refusals().await["origin_not_allowed"], 3 * 5 * 2);
}

/// Asks on behalf of a page whether it may send a POST with these headers.
async fn preflight(rig: &Rig, path: &str, headers: &str) -> String {
    let request = rig
        .http
        .request(Method::OPTIONS, rig.at(path))
        .header("origin", "http://localhost:6274")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", headers);
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 200, "{path}");
    let allowed = response.headers()["access-control-allow-headers"].to_str();
    allowed.expect("text").to_owned()
}

#[tokio::test]
async fn preflights_are_answered_before_authentication() {
    let rig = Rig::new("http://127.0.0.1:9/").await;
    let names = "authorization,content-type,accept,mcp-protocol-version,mcp-session-id,\
                 mcp-method,mcp-name,last-event-id";
    for path in [
        "/mcp",
        "/proxy/1/mcp",
        "/.well-known/oauth-protected-resource",
        "/token",
    ] {
        let allowed = preflight(&rig, path, names).await;
        for name in names.split(',') {
            assert!(allowed.contains(name), "{name} not in {allowed}");
        }
    }
}

#[tokio::test]
async fn a_page_may_send_whatever_headers_its_tools_take() {
    let rig = Rig::new("http://127.0.0.1:9/").await;
    let names = "authorization,mcp-param-city,x-anything";
    for path in ["/mcp", "/proxy/1/mcp/"] {
        assert_eq!(preflight(&rig, path, names).await, names);
    }
}
