//! RFC 9728 documents.

use reqwest::Response;
use serde_json::{Value, json};

use crate::rig::Rig;

async fn get(rig: &Rig, path: &str) -> Response {
    let request = rig
        .http
        .get(rig.at(&format!("/.well-known/oauth-protected-resource{path}")));
    let request = request.header("origin", "https://any.example");
    request.send().await.expect("an answer")
}

#[tokio::test]
async fn a_document_names_the_resource_as_it_was_asked_for() {
    let rig = Rig::new("http://127.0.0.1:9/").await;
    rig.add_proxy(2, "http://127.0.0.1:9/", |s| s.scopes = None, None)
        .await;
    for (path, resource) in [
        ("", "/mcp"),
        ("/mcp", "/mcp"),
        ("/mcp/", "/mcp/"),
        ("/proxy/1/mcp", "/proxy/1/mcp"),
    ] {
        let response = get(&rig, path).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        assert!(
            response.headers()["cache-control"]
                .to_str()
                .expect("text")
                .contains("max-age")
        );
        let document: Value = response.json().await.expect("JSON");
        assert_eq!(
            document,
            json!({
                "resource": rig.at(resource),
                "authorization_servers": ["https://auth.example/api/v1/oauth-proxy/1"],
                "scopes_supported": ["read", "write"],
                "bearer_methods_supported": ["header"],
                "resource_name": "Upstream",
            })
        );
    }
    let other: Value = get(&rig, "/proxy/2/mcp").await.json().await.expect("JSON");
    assert_eq!(other["resource"], rig.at("/proxy/2/mcp"));
    assert_eq!(
        other["scopes_supported"],
        json!(["openid", "read", "write"])
    );
}

#[tokio::test]
async fn there_is_none_of_what_is_no_resource() {
    let rig = Rig::new("http://127.0.0.1:9/").await;
    for path in ["/proxy/9/mcp", "/mcp/x", "/mcpx", "/proxy/1", "/other"] {
        let response = get(&rig, path).await;
        assert_eq!(response.status(), 404, "{path}");
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(body["error"], "proxy_not_found");
    }
}
