//! MCP clients that are web pages, such as the MCP inspector.

use serde_json::{Value, json};
use support::{Params, Pkce};

use crate::rig::{ALLOW, Rig, param};
use crate::tab::Tab;

/// What a page's script can read of an answer.
async fn fetch(tab: &Tab, url: &str, options: &Value) -> Value {
    let script = format!(
        "fetch({url:?}, {options}).then(async answer => ({{
            status: answer.status,
            headers: Object.fromEntries(answer.headers),
            body: await answer.text().then(text => {{ try {{ return JSON.parse(text) }} catch {{ return text }} }}),
        }}), error => ({{ error: String(error) }}))"
    );
    tab.evaluate(&script).await
}

/// A form, as `fetch` takes it.
fn form(fields: &[(&str, &str)]) -> Value {
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    let body = body.extend_pairs(fields).finish();
    json!({
        "method": "POST", "body": body,
        "headers": { "content-type": "application/x-www-form-urlencoded",
                     "mcp-protocol-version": "2025-11-25" },
    })
}

fn mcp_call(token: &str) -> Value {
    json!({
        "method": "POST",
        "body": r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
        "headers": {
            "authorization": format!("Bearer {token}"),
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": "2025-11-25",
            "mcp-session-id": "a-session",
            "last-event-id": "1",
        },
    })
}

#[tokio::test]
async fn a_page_on_localhost_does_everything_a_client_does() {
    let rig = Rig::start().await;
    let mut tab = rig.chromium.tab().await;
    let redirect_uri = rig.site.at("localhost", "/oauth/callback");
    tab.open(&rig.site.at("localhost", "/")).await;
    let issuer = &rig.proxy.issuer;

    let challenge = fetch(&tab, &rig.proxy.mcp_url, &mcp_call("")).await;
    assert_eq!(challenge["status"], 401, "{challenge}");
    let challenge = challenge["headers"]["www-authenticate"].as_str().unwrap();
    let (_, metadata_url) = challenge.split_once("resource_metadata=\"").unwrap();
    let (metadata_url, _) = metadata_url.split_once('"').unwrap();
    let version = json!({ "headers": { "mcp-protocol-version": "2025-11-25" } });
    let resource = fetch(&tab, metadata_url, &version).await;
    assert_eq!(resource["body"]["authorization_servers"], json!([issuer]));
    let metadata = issuer.replace("/api/", "/.well-known/oauth-authorization-server/api/");
    let metadata = fetch(&tab, &metadata, &version).await["body"].clone();
    let endpoint = |name: &str| metadata[name].as_str().unwrap().to_owned();

    let registration = json!({
        "method": "POST", "headers": { "content-type": "application/json" },
        "body": json!({
            "client_name": "Inspector", "redirect_uris": [redirect_uri],
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
        }).to_string(),
    });
    let registered = fetch(&tab, &endpoint("registration_endpoint"), &registration).await;
    assert_eq!(registered["status"], 201, "{registered}");
    let client_id = registered["body"]["client_id"].as_str().unwrap();

    let client_id = client_id.to_owned();

    let authorize = Params::new([
        ("response_type", "code"),
        ("client_id", &client_id),
        ("redirect_uri", &redirect_uri),
        ("code_challenge", &Pkce::rfc7636().challenge),
        ("code_challenge_method", "S256"),
        ("resource", resource["body"]["resource"].as_str().unwrap()),
    ]);
    let authorize = format!(
        "{}?{}",
        endpoint("authorization_endpoint"),
        authorize.encode()
    );
    tab.open(&authorize).await;
    tab.click(ALLOW).await;
    rig.log_in(&mut tab).await;
    let code = param(&tab.loaded(&redirect_uri).await, "code");

    let token_endpoint = endpoint("token_endpoint");
    let exchange = |verifier: &str| {
        form(&[
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", &redirect_uri),
            ("client_id", &client_id),
            ("code_verifier", verifier),
        ])
    };
    let refused = fetch(&tab, &token_endpoint, &exchange(&"x".repeat(43))).await;
    assert_eq!(refused["status"], 400, "{refused}");
    assert_eq!(refused["body"]["error"], "invalid_grant");
    let tokens = fetch(&tab, &token_endpoint, &exchange(&Pkce::rfc7636().verifier)).await;
    assert_eq!(tokens["status"], 200, "{tokens}");
    let token = |name: &str| tokens["body"][name].as_str().unwrap().to_owned();

    let called = fetch(&tab, &rig.proxy.mcp_url, &mcp_call(&token("access_token"))).await;
    assert_eq!(called["status"], 200, "{called}");
    assert_eq!(called["headers"]["mcp-session-id"], "a-session");
    let received = rig.site.received();
    let at_upstream = &received
        .iter()
        .find(|r| r.method == "POST")
        .unwrap()
        .headers;
    assert_eq!(at_upstream["mcp-session-id"], "a-session");
    assert_eq!(at_upstream["mcp-protocol-version"], "2025-11-25");
    assert!(!at_upstream.contains_key("authorization"));

    let refresh = form(&[
        ("grant_type", "refresh_token"),
        ("refresh_token", &token("refresh_token")),
        ("client_id", &client_id),
    ]);
    let refreshed = fetch(&tab, &token_endpoint, &refresh).await;
    assert_eq!(refreshed["status"], 200, "{refreshed}");
    let revocation = form(&[
        (
            "token",
            refreshed["body"]["refresh_token"].as_str().unwrap(),
        ),
        ("client_id", &client_id),
    ]);
    let revocation_endpoint = endpoint("revocation_endpoint");
    let revoked = fetch(&tab, &revocation_endpoint, &revocation).await;
    assert_eq!(revoked["status"], 200, "{revoked}");
    let unknown = form(&[("token", "x"), ("client_id", "gateway_unknown")]);
    let unknown = fetch(&tab, &revocation_endpoint, &unknown).await;
    assert_eq!(unknown["body"]["error"], "invalid_client", "{unknown}");
    let gone = fetch(&tab, &rig.proxy.mcp_url, &mcp_call(&token("access_token"))).await;
    assert_eq!(gone["status"], 401, "{gone}");
    let challenge = gone["headers"]["www-authenticate"].as_str().unwrap();
    assert!(challenge.contains("invalid_token"), "{challenge}");

    for address in [&rig.proxy.mcp_url, &token_endpoint, &revocation_endpoint] {
        let preflights = tab.statuses("OPTIONS", address, 1).await;
        let all_pass = preflights.iter().all(|status| *status == 200);
        assert!(
            all_pass && !preflights.is_empty(),
            "{address}: {preflights:?}"
        );
    }
}

/// A page anywhere, whose name may even point at this machine (DNS rebinding).
#[tokio::test]
async fn a_page_elsewhere_reaches_no_mcp_server() {
    let rig = Rig::start().await;
    let mut tab = rig.chromium.tab().await;
    tab.open(&rig.site.at("evil.example", "/")).await;
    let asked = fetch(&tab, &rig.proxy.mcp_url, &mcp_call("x")).await;
    assert!(asked["error"].is_string(), "{asked}");
    assert_eq!(tab.statuses("OPTIONS", &rig.proxy.mcp_url, 1).await, [403]);

    let simple = json!({ "method": "POST", "mode": "no-cors", "body": "{}" });
    let sent = fetch(&tab, &rig.proxy.mcp_url, &simple).await;
    assert_eq!((&sent["status"], &sent["body"]), (&json!(0), &json!("")));
    assert_eq!(tab.statuses("POST", &rig.proxy.mcp_url, 1).await, [403]);
    let received = rig.site.received();
    assert!(received.iter().all(|r| r.method == "GET"), "{received:#?}");
}
