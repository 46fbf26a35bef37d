//! The peers with nothing between them: where these fail, the fault is not the server's.

use support::interop::{McpServer, Provider, run_node, run_python};
use support::{ALICE, Browser, Params, Person, Pkce};

#[tokio::test]
async fn the_clients_use_the_mcp_server() {
    let upstream = McpServer::start().await;
    run_node("client.mjs", &[&upstream.url, "--no-auth"])
        .await
        .step("done");
    run_python("client.py", &[&upstream.url, "--no-auth"])
        .await
        .step("done");
}

#[tokio::test]
async fn the_browser_logs_in_at_the_provider() {
    let redirect_uri = "http://127.0.0.1:33418/callback";
    let provider = Provider::start(&[redirect_uri]).await;
    let params = Params::new([
        ("response_type", "code"),
        ("client_id", &provider.client_id),
        ("redirect_uri", redirect_uri),
        ("scope", "openid read"),
        ("code_challenge", &Pkce::rfc7636().challenge),
        ("code_challenge_method", "S256"),
    ]);
    let url = format!("{}/auth?{}", provider.issuer, params.encode());

    let mut browser = Browser::new();
    let page = browser.walk(&url, redirect_uri, ALICE).await;
    assert!(page.param("code").is_some(), "{page:#?}");
    assert_eq!(page.param("iss"), Some(provider.issuer.clone()));
    let again = browser.open(&url, redirect_uri).await;
    assert!(
        again.param("code").is_some(),
        "the session cookie is remembered: {again:#?}"
    );

    let cancels = Person {
        cancels_login: true,
        ..ALICE
    };
    let page = Browser::new().walk(&url, redirect_uri, cancels).await;
    assert_eq!(
        page.param("error").as_deref(),
        Some("access_denied"),
        "{page:#?}"
    );
}
