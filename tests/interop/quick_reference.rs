//! The OAuth Proxy Quick Reference: its flows, its snippets, its configuration and its error table.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::interop::{McpServer, Provider, run_node, run_python};
use support::{ALICE, Browser, Client, Params, Person, Pkce, Proxy, Server, confidential_client};

const REDIRECT_URI: &str = "https://your-app.com/callback";

/// A server configured as the reference says: a provider of type `okta` with both URLs and the
/// scopes `read write`, and a proxy with the reference's own `config`.
struct Configured {
    server: Server,
    proxy: Proxy,
    _provider: Provider,
    _upstream: McpServer,
}

async fn configured() -> Configured {
    let server = Server::start().await;
    let provider = Provider::start(&[&server.callback_url(1)]).await;
    let upstream = McpServer::start().await;
    let settings = json!({
        "name": "okta",
        "type": "okta",
        "issuer": provider.issuer,
        "client_id": provider.client_id,
        "client_secret": provider.client_secret,
        "authorization_url": format!("{}/auth", provider.issuer),
        "token_url": format!("{}/token", provider.issuer),
        "scopes": "read write",
    });
    assert_eq!(server.add_provider(&settings).await, 1);
    let config = json!({
        "oauth_proxy_enabled": true,
        "oauth_proxy_mode": "gateway",
        "oauth_proxy_provider_id": 1,
        "oauth_proxy_allowed_redirects": ["https://your-app.com/callback"],
        "oauth_proxy_require_consent": false,
    });
    let proxy = server.add_proxy(&upstream.url, config).await;
    Configured {
        server,
        proxy,
        _provider: provider,
        _upstream: upstream,
    }
}

impl Configured {
    /// The arguments of the snippet programs.
    fn arguments(&self) -> [String; 3] {
        [
            self.server.url.clone(),
            self.server.gateway_url.clone(),
            self.proxy.id.to_string(),
        ]
    }

    async fn client(&self) -> Client {
        self.proxy.register(registration(REDIRECT_URI)).await
    }

    async fn set(&self, config: Value) {
        let path = format!("/api/v1/proxies/{}", self.proxy.id);
        self.server
            .patch(&path, &json!({ "config": config }))
            .await
            .expect(200);
    }
}

fn registration(redirect_uri: &str) -> Value {
    let mut metadata = confidential_client();
    metadata["redirect_uris"] = json!([redirect_uri]);
    metadata
}

#[tokio::test]
async fn javascript_snippets_in_their_order() {
    let it = configured().await;
    let arguments = it.arguments();
    run_node(
        "quick_reference.mjs",
        &arguments.each_ref().map(String::as_str),
    )
    .await
    .step("done");
}

#[tokio::test]
async fn python_snippets_in_their_order() {
    let it = configured().await;
    let arguments = it.arguments();
    run_python(
        "quick_reference.py",
        &arguments.each_ref().map(String::as_str),
    )
    .await
    .step("done");
}

#[tokio::test]
async fn error_invalid_redirect_uri_until_the_operator_allows_it() {
    let it = configured().await;
    let elsewhere = registration("https://elsewhere.example/callback");
    let refused = it
        .proxy
        .try_register(&elsewhere)
        .await
        .expect_error(400, "invalid_redirect_uri");
    assert!(
        refused.body.contains("https://elsewhere.example/callback"),
        "{}",
        refused.body
    );
    it.set(json!({ "oauth_proxy_allowed_redirects": [REDIRECT_URI, "https://elsewhere.example/callback"] })).await;
    it.proxy.register(elsewhere).await;
}

#[tokio::test]
async fn error_invalid_grant_when_pkce_fails_and_the_code_survives() {
    let it = configured().await;
    let (client, pkce) = (it.client().await, Pkce::rfc7636());
    let code = client.authorize_code(&mut Browser::new(), &pkce).await;
    let wrong = Pkce::of("a-verifier-that-does-not-match-the-challenge-at-all");
    client
        .redeem(&code, &wrong)
        .await
        .expect_error(400, "invalid_grant");
    client.redeem(&code, &pkce).await.expect(200);
}

#[tokio::test]
async fn error_invalid_client_when_the_credentials_are_wrong() {
    let it = configured().await;
    let (client, pkce) = (it.client().await, Pkce::rfc7636());
    let code = client.authorize_code(&mut Browser::new(), &pkce).await;
    let good = client.redemption(&code, &pkce);
    for bad in [
        good.clone().with("client_secret", "gw_secret_wrong"),
        good.clone().with("client_id", "gateway_x"),
    ] {
        it.proxy
            .post("token", &bad)
            .await
            .expect_error(401, "invalid_client");
    }
    it.proxy.post("token", &good).await.expect(200);
}

#[tokio::test]
async fn error_unauthorized_client_until_it_is_registered() {
    let it = configured().await;
    let client = it.client().await;
    let params = client
        .authorization(&Pkce::rfc7636())
        .with("client_id", "gateway_never_registered");
    let page = client.authorize(&mut Browser::new(), &params, ALICE).await;
    assert_eq!(page.status, 400, "{page:#?}");
    assert!(
        page.url.as_str().starts_with(&it.proxy.issuer),
        "never a redirect: {}",
        page.url
    );
    assert!(page.body.contains("unauthorized_client"), "{}", page.body);
}

#[tokio::test]
async fn error_access_denied_when_the_user_says_no() {
    let it = configured().await;
    it.set(json!({ "oauth_proxy_require_consent": true })).await;
    let client = it.client().await;
    let params = client.authorization(&Pkce::rfc7636());
    for person in [
        Person {
            decision: "deny",
            ..ALICE
        },
        Person {
            cancels_login: true,
            ..ALICE
        },
    ] {
        let page = client.authorize(&mut Browser::new(), &params, person).await;
        assert_eq!(
            page.param("error").as_deref(),
            Some("access_denied"),
            "{page:#?}"
        );
        assert_eq!(page.param("state").as_deref(), Some("the client's state"));
        assert_eq!(page.param("iss"), Some(it.proxy.issuer.clone()));
    }
}

#[tokio::test]
async fn tokens_and_secrets_are_stored_encrypted_or_not_at_all() {
    let it = configured().await;
    let (client, pkce) = (it.client().await, Pkce::rfc7636());
    let code = client.authorize_code(&mut Browser::new(), &pkce).await;
    let tokens = support::Tokens::of(&client.redeem(&code, &pkce).await.expect(200));
    it.proxy.list_tools(&tokens.access).await.expect(200);
    let message = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "seen_headers", "arguments": {} },
    });
    let seen = it
        .proxy
        .call_mcp(&tokens.access, &message)
        .await
        .expect(200)
        .body;
    let upstream_token = seen
        .split("Bearer ")
        .nth(1)
        .and_then(|rest| rest.split(['"', '\\']).next());

    let secrets = [
        client.secret.as_deref().unwrap(),
        &code,
        &pkce.verifier,
        &tokens.access,
        &tokens.refresh,
        &it._provider.client_secret,
        &it.server.admin_token,
        upstream_token.expect("the upstream got the user's provider token"),
    ];
    for secret in secrets {
        // The random part alone must not be found either; all of ours end with one of 43 characters.
        let secret = &secret[secret.len().saturating_sub(43)..];
        assert_eq!(
            files_with(it.server.folder(), secret.as_bytes()),
            [""; 0],
            "{secret} is stored in clear"
        );
    }
}

/// "Manual OAuth Flow Test": PKCE is not optional, the redirect URI of the exchange is.
#[tokio::test]
async fn manual_flow() {
    let it = configured().await;
    let (client, pkce) = (it.client().await, Pkce::rfc7636());
    let first = Params::new([
        ("response_type", "code"),
        ("client_id", &client.id),
        ("redirect_uri", REDIRECT_URI),
        ("state", "test123"),
    ]);
    let page = client.authorize(&mut Browser::new(), &first, ALICE).await;
    assert_eq!(
        page.param("error").as_deref(),
        Some("invalid_request"),
        "{page:#?}"
    );
    assert_eq!(page.param("state").as_deref(), Some("test123"));

    let code = client.authorize_code(&mut Browser::new(), &pkce).await;
    let exchange = client.redemption(&code, &pkce).without("redirect_uri");
    it.proxy.post("token", &exchange).await.expect(200);
}

/// The files below `folder` that contain `needle`.
fn files_with(folder: &Path, needle: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else if fs::read(&path)
            .unwrap()
            .windows(needle.len())
            .any(|window| window == needle)
        {
            found.push(path.display().to_string());
        }
    }
    found
}
