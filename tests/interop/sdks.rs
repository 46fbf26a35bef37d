//! Each MCP client from its first unauthenticated call to a refreshed token.

use rmcp::ServiceExt as _;
use rmcp::model::CallToolRequestParams;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::{Value, json};
use support::interop::{Run, run_node, run_python};
use support::{Setup, World, public_client};

#[tokio::test]
async fn typescript_sdk_from_discovery_to_refresh() {
    let world = World::start().await;
    let run = run_node("client.mjs", &[&world.proxy.mcp_url]).await;
    assert_eq!(
        run.step("challenged")["resource"],
        json!(world.proxy.mcp_url)
    );
    assert_eq!(run.step("registered")["client_secret"], false);
    check(&world, &run, "TypeScript SDK").await;
}

#[tokio::test]
async fn python_sdk_from_discovery_to_refresh() {
    let world = World::start().await;
    let run = run_python("client.py", &[&world.proxy.mcp_url]).await;
    assert_eq!(run.step("registered")["client_secret"], true);
    assert_eq!(run.step("connected")["protocol"], "2026-07-28");
    check(&world, &run, "Python SDK").await;
}

/// What must hold whichever client it was.
async fn check(world: &World, run: &Run, client_name: &str) {
    assert_eq!(run.step("returned")["iss"], json!(world.proxy.issuer));
    assert_eq!(run.step("tools/call")["progress"], 5);
    run.step("refreshed");
    run.step("done");
    asked_before_the_provider(world, &run.step("returned")["visited"]);

    let client_id = run.step("registered")["client_id"].as_str().unwrap();
    let logins = world
        .server
        .list(&format!("/api/v1/logins?client_id={client_id}"))
        .await;
    assert_eq!(logins.len(), 1, "{logins:#?}");
    assert_eq!(logins[0]["outcome"], "success");
    assert_eq!(logins[0]["email"], "alice@example.com");
    assert_eq!(logins[0]["client_name"], client_name);
    let grant = logins[0]["grant_id"].as_str().unwrap();
    let story = world.server.event_types(&format!("grant_id={grant}")).await;
    for step in ["grant.code_redeemed", "grant.refresh_token_rotated"] {
        assert!(
            story.iter().any(|event| event == step),
            "no {step} in {story:?}"
        );
    }
}

/// Our consent page was answered before the browser ever met the provider.
fn asked_before_the_provider(world: &World, visited: &Value) {
    let visited: Vec<_> = visited
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap())
        .collect();
    let consent = visited
        .iter()
        .position(|v| v.starts_with(&format!("POST {}", world.server.url)));
    let provider = visited
        .iter()
        .position(|v| v.contains(&world.provider.issuer));
    assert!(consent.is_some() && consent < provider, "{visited:#?}");
}

#[tokio::test]
async fn rmcp_calls_tools_and_the_upstream_gets_the_users_provider_token() {
    let config = json!({ "oauth_proxy_upstream_auth": "provider_token" });
    let world = World::with(Setup::default(), config).await;
    let tokens = world.proxy.register(public_client()).await.log_in().await;
    let config = StreamableHttpClientTransportConfig::with_uri(world.proxy.mcp_url.clone());
    let transport =
        StreamableHttpClientTransport::from_config(config.auth_header(tokens.access.clone()));
    let client = ().serve(transport).await.expect("the gateway lets the client in");

    let tools = client.list_all_tools().await.unwrap();
    assert_eq!(tools.len(), 4, "{tools:?}");
    let arguments = json!({ "a": 20, "b": 22 });
    let add =
        CallToolRequestParams::new("add").with_arguments(arguments.as_object().unwrap().clone());
    assert_eq!(text(&client.call_tool(add).await.unwrap()), "42");

    let seen = client
        .call_tool(CallToolRequestParams::new("seen_headers"))
        .await
        .unwrap();
    let seen: Value = serde_json::from_str(&text(&seen)).unwrap();
    let authorization = seen["authorization"].as_str().unwrap();
    assert!(
        authorization.starts_with("Bearer ") && !authorization.contains(&tokens.access),
        "{authorization}"
    );
    client.cancel().await.unwrap();
}

#[tokio::test]
async fn rmcp_is_refused_without_a_token() {
    let world = World::start().await;
    let transport = StreamableHttpClientTransport::from_uri(world.proxy.mcp_url.clone());
    let refused = ().serve(transport).await.expect_err("there is no token");
    assert!(
        format!("{refused:?}").contains("resource_metadata"),
        "{refused:?}"
    );
}

fn text(result: &rmcp::model::CallToolResult) -> String {
    let result = serde_json::to_value(result).unwrap();
    result["content"][0]["text"].as_str().unwrap().to_owned()
}
