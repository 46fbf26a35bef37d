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

fn text<'a>(json: &'a Value, member: &str) -> &'a str {
    let text = json[member].as_str();
    text.unwrap_or_else(|| panic!("no {member} in {json:#}"))
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
            "mcp-method": "ping",
            "mcp-name": "ping",
            "last-event-id": "1",
        },
    })
}

/// From the first refusal to the metadata of the authorization server (RFC 9728, RFC 8414).
pub async fn discover(tab: &Tab, mcp_url: &str) -> Value {
    let refused = fetch(tab, mcp_url, &mcp_call("")).await;
    assert_eq!(refused["status"], 401, "{refused}");
    let challenge = refused["headers"]["www-authenticate"].as_str().unwrap();
    let (_, document) = challenge.split_once("resource_metadata=\"").unwrap();
    let (document, _) = document.split_once('"').unwrap();
    let version = json!({ "headers": { "mcp-protocol-version": "2025-11-25" } });
    let resource = fetch(tab, document, &version).await;
    assert_eq!(resource["body"]["resource"], mcp_url, "{resource}");
    let issuer = resource["body"]["authorization_servers"][0].as_str();
    let well_known = "/.well-known/oauth-authorization-server/api/";
    let metadata = issuer.unwrap().replacen("/api/", well_known, 1);
    fetch(tab, &metadata, &version).await["body"].clone()
}

pub async fn register(tab: &Tab, metadata: &Value, redirect_uri: &str) -> String {
    let registration = |uri: &str| {
        let body = json!({
            "client_name": "Inspector", "redirect_uris": [uri],
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
        });
        let headers = json!({ "content-type": "application/json" });
        json!({ "method": "POST", "headers": headers, "body": body.to_string() })
    };
    let endpoint = text(metadata, "registration_endpoint");
    let refused = fetch(tab, endpoint, &registration("http://evil.example/")).await;
    assert_eq!(
        refused["body"]["error"], "invalid_redirect_uri",
        "{refused}"
    );
    let registered = fetch(tab, endpoint, &registration(redirect_uri)).await;
    assert_eq!(registered["status"], 201, "{registered}");
    text(&registered["body"], "client_id").to_owned()
}

pub fn request(metadata: &Value, mcp_url: &str, client_id: &str, redirect_uri: &str) -> String {
    let params = Params::new([
        ("response_type", "code"),
        ("client_id", client_id),
        ("redirect_uri", redirect_uri),
        ("code_challenge", &Pkce::rfc7636().challenge),
        ("code_challenge_method", "S256"),
        ("resource", mcp_url),
        ("prompt", "consent"),
    ]);
    let endpoint = text(metadata, "authorization_endpoint");
    format!("{endpoint}?{}", params.encode())
}

/// As the MCP inspector does it.
#[tokio::test]
async fn a_page_on_localhost_is_a_whole_client() {
    let rig = Rig::start().await;
    let mut tab = rig.chromium.tab().await;
    let mcp_url = &rig.proxy.mcp_url;
    let redirect_uri = rig.site.at("localhost", "/oauth/callback");
    tab.open(&rig.site.at("localhost", "/")).await;
    let metadata = discover(&tab, mcp_url).await;
    let client_id = register(&tab, &metadata, &redirect_uri).await;
    tab.open(&request(&metadata, mcp_url, &client_id, &redirect_uri))
        .await;
    tab.click(ALLOW).await;
    rig.log_in(&mut tab).await;
    let code = param(&tab.loaded(&redirect_uri).await, "code");

    let token_endpoint = text(&metadata, "token_endpoint");
    let exchange = |verifier: &str| {
        form(&[
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", &redirect_uri),
            ("client_id", &client_id),
            ("code_verifier", verifier),
        ])
    };
    let refused = fetch(&tab, token_endpoint, &exchange(&"x".repeat(43))).await;
    assert_eq!(refused["status"], 400, "{refused}");
    assert_eq!(refused["body"]["error"], "invalid_grant");
    let tokens = fetch(&tab, token_endpoint, &exchange(&Pkce::rfc7636().verifier)).await;
    assert_eq!(tokens["status"], 200, "{tokens}");
    let access_token = text(&tokens["body"], "access_token");

    let called = fetch(&tab, mcp_url, &mcp_call(access_token)).await;
    assert_eq!(called["status"], 200, "{called}");
    assert_eq!(called["headers"]["mcp-session-id"], "a-session");
    let received = rig.site.received();
    let call = received.iter().find(|r| r.method == "POST").unwrap();
    assert_eq!(call.headers["mcp-session-id"], "a-session");
    assert_eq!(call.headers["mcp-protocol-version"], "2025-11-25");
    assert!(!call.headers.contains_key("authorization"));

    let refresh = form(&[
        ("grant_type", "refresh_token"),
        ("refresh_token", text(&tokens["body"], "refresh_token")),
        ("client_id", &client_id),
    ]);
    let refreshed = fetch(&tab, token_endpoint, &refresh).await;
    assert_eq!(refreshed["status"], 200, "{refreshed}");

    let revocation_endpoint = text(&metadata, "revocation_endpoint");
    let revocation = |client_id: &str| {
        let token = text(&refreshed["body"], "refresh_token");
        form(&[("token", token), ("client_id", client_id)])
    };
    let refused = fetch(&tab, revocation_endpoint, &revocation("gateway_unknown")).await;
    assert_eq!(refused["body"]["error"], "invalid_client", "{refused}");
    let revoked = fetch(&tab, revocation_endpoint, &revocation(&client_id)).await;
    assert_eq!(revoked["status"], 200, "{revoked}");
    let gone = fetch(&tab, mcp_url, &mcp_call(access_token)).await;
    assert_eq!(gone["status"], 401, "{gone}");
    let challenge = text(&gone["headers"], "www-authenticate");
    assert!(challenge.contains("invalid_token"), "{challenge}");

    for address in [mcp_url, token_endpoint, revocation_endpoint] {
        let preflights = tab.statuses("OPTIONS", address, 1).await;
        let all_pass = preflights.iter().all(|status| *status == 200);
        assert!(all_pass, "{address}: {preflights:?}");
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
