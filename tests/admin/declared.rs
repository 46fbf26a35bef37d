//! Providers and proxies that the configuration file declares.

use serde_json::json;
use support::Server;

const DECLARED: &str = r#"
[[provider]]
name = "idp"
type = "oidc"
issuer = "https://idp.example"
client_id = "us"
client_secret = "hush-hush-hush"
scopes = "openid email"

[[proxy]]
name = "files"
upstream_url = "http://127.0.0.1:9/mcp"
provider = "idp"
[proxy.config]
oauth_proxy_allowed_subjects = ["example.com"]
"#;

#[tokio::test]
async fn what_is_declared_is_applied_once_and_again_only_where_it_differs() {
    let mut server = Server::setup().config(DECLARED).start().await;
    let proxy = server.get("/api/v1/proxies/1").await.expect(200).json();
    assert_eq!(proxy["name"], "files");
    assert_eq!(proxy["config"]["oauth_proxy_provider_id"], 1);
    assert_eq!(
        proxy["config"]["oauth_proxy_allowed_subjects"],
        json!(["example.com"])
    );
    server.stop().await;
    server.start_again().await;
    let changes = "type=provider.*,proxy.*";
    assert_eq!(
        server.event_types(changes).await,
        ["provider.added", "proxy.added"]
    );

    let changed = json!({"config": {"oauth_proxy_access_token_seconds": 60}});
    server
        .patch("/api/v1/proxies/1", &changed)
        .await
        .expect(200);
    server.stop().await;
    server.start_again().await;
    let proxy = server.get("/api/v1/proxies/1").await.expect(200).json();
    assert_eq!(
        proxy["config"]["oauth_proxy_access_token_seconds"], 3600,
        "the file says so"
    );
    let types = server.event_types(changes).await;
    assert_eq!(
        types,
        [
            "provider.added",
            "proxy.added",
            "proxy.changed",
            "proxy.changed"
        ]
    );
    let events = server.events(changes).await;
    assert_eq!(events[0]["actor"]["kind"], "system");
}

#[tokio::test]
async fn a_declaration_that_breaks_a_rule_stops_the_start() {
    let broken = DECLARED.replace("provider = \"idp\"", "provider = \"ipd\"");
    let output = Server::setup().config(&broken).refused().await;
    assert_eq!(output.status.code(), Some(8));
    let said = String::from_utf8_lossy(&output.stderr);
    let reason = "[[proxy]] files: unknown provider \"ipd\", did you mean \"idp\"?";
    assert!(said.contains(reason), "{said}");
}
