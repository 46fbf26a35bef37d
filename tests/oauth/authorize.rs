//! The authorization endpoint: errors on a page of ours, errors at the redirect URI, consent.

use serde_json::json;
use support::{ALICE, Browser, Params, Pkce, plain_http};

use crate::fake_provider::Endpoint;
use crate::rig::Rig;

/// Nobody is redirected, and the page cannot be framed or cached.
fn is_local_page(page: &support::Page, code: &str) {
    assert_eq!(page.status, 400, "{}", page.body);
    assert_eq!(page.header("location"), "");
    assert_eq!(page.header("cache-control"), "no-store");
    assert!(
        page.header("content-security-policy")
            .contains("frame-ancestors 'none'")
    );
    assert!(page.body.contains(code), "{}", page.body);
}

#[tokio::test]
async fn what_is_never_redirected() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let good = client.authorization(&Pkce::rfc7636());
    let cases: Vec<(Params, &str)> = vec![
        (
            good.clone().with("client_id", "gateway_nobody"),
            "unauthorized_client",
        ),
        (good.clone().without("client_id"), "unauthorized_client"),
        (
            good.clone().and("client_id", &client.id),
            "unauthorized_client",
        ),
        (
            good.clone().with("redirect_uri", "https://evil.example/"),
            "invalid_redirect_uri",
        ),
        (
            good.clone()
                .with("redirect_uri", "http://127.0.0.1:33418/callback/"),
            "invalid_redirect_uri",
        ),
        (
            good.clone()
                .with("redirect_uri", "http://127.0.0.1:33418/Callback"),
            "invalid_redirect_uri",
        ),
        (
            good.clone()
                .with("redirect_uri", "http://127.0.0.1:33418/callback?x=1"),
            "invalid_redirect_uri",
        ),
        (
            good.clone()
                .with("redirect_uri", "http://127.0.0.1:33418/x/../callback"),
            "invalid_redirect_uri",
        ),
        (
            good.clone()
                .with("redirect_uri", "http://evil@127.0.0.1:33418/callback"),
            "invalid_redirect_uri",
        ),
        (
            good.clone()
                .and("redirect_uri", "http://127.0.0.1:33418/callback"),
            "invalid_redirect_uri",
        ),
    ];
    for (params, code) in cases {
        let url = client.authorize_url(&params);
        let page = Browser::new().open(&url, "http://nowhere.invalid/").await;
        is_local_page(&page, code);
    }
}

#[tokio::test]
async fn what_goes_back_to_the_client_as_an_error() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let good = client.authorization(&Pkce::rfc7636());
    for (params, error) in [
        (good.clone().without("response_type"), "invalid_request"),
        (
            good.clone().with("response_type", "token"),
            "unsupported_response_type",
        ),
        (
            good.clone().with("response_type", "code token"),
            "unsupported_response_type",
        ),
        (good.clone().without("code_challenge"), "invalid_request"),
        (
            good.clone().with("code_challenge_method", "plain"),
            "invalid_request",
        ),
        (
            good.clone().without("code_challenge_method"),
            "invalid_request",
        ),
        (
            good.clone().with("code_challenge", "short"),
            "invalid_request",
        ),
        (good.clone().and("state", "again"), "invalid_request"),
        (good.clone().with("scope", "admin"), "invalid_scope"),
        (good.clone().with("scope", "re\"ad"), "invalid_scope"),
        (
            good.clone()
                .with("resource", "https://elsewhere.example/mcp"),
            "invalid_target",
        ),
        (good.clone().with("prompt", "none"), "login_required"),
        (good.clone().with("prompt", "none login"), "invalid_request"),
        (
            good.clone().with("response_mode", "fragment"),
            "invalid_request",
        ),
        (
            good.clone().with("request", "ey.J.x"),
            "request_not_supported",
        ),
        (
            good.clone().with("request_uri", "https://x.example/"),
            "request_uri_not_supported",
        ),
    ] {
        let page = client.authorize(&mut Browser::new(), &params, ALICE).await;
        assert_eq!(page.param("error").as_deref(), Some(error), "{}", page.url);
        let description = page.param("error_description").expect("a description");
        assert!(description.starts_with("expected "), "{description}");
        assert_eq!(
            page.param("iss").as_deref(),
            Some(rig.proxy.issuer.as_str())
        );
        assert_eq!(page.param("code"), None);
    }
    assert!(rig.provider.requests_to(Endpoint::Authorize).is_empty());
}

/// Who looks for a client finds what it did wrong, and the redirect URI it sent.
#[tokio::test]
async fn a_refusal_names_the_client_once_it_is_certain() {
    let mut rig = Rig::start().await;
    let client = rig.client().await;
    let good = client.authorization(&Pkce::rfc7636());
    let elsewhere = "https://app.example/cb?code=secret";
    for params in [
        good.clone().with("redirect_uri", elsewhere),
        good.clone().without("code_challenge"),
    ] {
        let url = client.authorize_url(&params);
        plain_http().get(&url).send().await.expect("an answer");
    }
    // What is not recorded yet is when the server stops.
    rig.server.stop().await;
    rig.server.start_again().await;
    let of_client = format!("type=request.refused&client_id={}", client.id);
    let refusals = rig.server.events(&of_client).await;
    let told: Vec<_> = refusals
        .iter()
        .map(|event| json!([event["data"]["cause"], event["data"]["redirect_uri"]]))
        .collect();
    assert_eq!(
        told,
        [
            json!(["redirect_uri_unregistered", "https://app.example/cb"]),
            json!(["code_challenge_missing", null]),
        ]
    );
}

#[tokio::test]
async fn state_comes_back_as_it_was_and_nothing_of_the_provider_does() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let long = "x".repeat(2048);
    for state in ["a+b%20c&d=ü/\u{1f600}", " ", long.as_str()] {
        let params = client.authorization(&Pkce::rfc7636()).with("state", state);
        let page = client.authorize(&mut Browser::new(), &params, ALICE).await;
        assert_eq!(page.param("state").as_deref(), Some(state));
        assert_eq!(
            page.param("iss").as_deref(),
            Some(rig.proxy.issuer.as_str())
        );
        assert!(page.param("code").expect("a code").starts_with("gw_code_"));
        assert_eq!(page.url.query_pairs().count(), 3, "{}", page.url);
    }
    let params = client.authorization(&Pkce::rfc7636()).without("state");
    let page = client.authorize(&mut Browser::new(), &params, ALICE).await;
    assert_eq!(page.param("state"), None);
    let asked = rig.provider.requests_to(Endpoint::Authorize);
    for request in &asked {
        assert_eq!(request.parameter("code_challenge_method"), "S256");
        assert!(!request.parameter("nonce").is_empty());
        assert_eq!(request.parameter("resource"), "");
        assert_ne!(
            request.parameter("code_challenge"),
            Pkce::rfc7636().challenge
        );
    }
    let nonces: std::collections::BTreeSet<_> =
        asked.iter().map(|r| r.parameter("nonce")).collect();
    assert_eq!(nonces.len(), asked.len());
}

#[tokio::test]
async fn a_loopback_port_is_free_and_nothing_else_is() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let other = "http://127.0.0.1:50123/callback";
    let params = client
        .authorization(&Pkce::rfc7636())
        .with("redirect_uri", other);
    let page = Browser::new()
        .walk(&client.authorize_url(&params), other, ALICE)
        .await;
    assert!(page.url.as_str().starts_with(other), "{}", page.url);
    assert!(page.param("code").is_some());
}

#[tokio::test]
async fn addresses_come_from_configuration_not_from_headers() {
    let rig = Rig::start().await;
    let url = format!(
        "{}/.well-known/oauth-authorization-server?proxy_id=1",
        rig.server.url
    );
    let spoofed = plain_http()
        .get(url)
        .header("host", "evil.example")
        .header("x-forwarded-host", "evil.example")
        .header("forwarded", "host=evil.example");
    let text = spoofed
        .send()
        .await
        .expect("an answer")
        .text()
        .await
        .expect("text");
    assert!(!text.contains("evil.example"), "{text}");
}

#[tokio::test]
async fn consent_binds_the_browser_and_a_no_is_a_no() {
    let rig = Rig::with(json!({})).await;
    let client = rig.client().await;
    let url = client.authorize_url(&client.authorization(&Pkce::rfc7636()));
    let mut browser = Browser::new();
    let page = browser.open(&url, "http://nowhere.invalid/").await;
    assert!(
        page.body.contains("Test client") && page.body.contains("read"),
        "{}",
        page.body
    );
    assert_eq!(page.header("x-frame-options"), "DENY");
    assert!(rig.provider.requests_to(Endpoint::Authorize).is_empty());
    let form = page.form().expect("a form");
    let fields = |decision: &str| {
        let mut fields = form.inputs.clone();
        fields.push(("decision".to_owned(), decision.to_owned()));
        fields
    };
    // Another browser has the form's fields, but not its cookie.
    let stolen = Browser::new()
        .submit(&page, &form, &fields("approve"), "http://x.invalid/")
        .await;
    assert_eq!(stolen.status, 403);
    let forged = vec![
        ("transaction".to_owned(), "x".to_owned()),
        ("decision".to_owned(), "approve".to_owned()),
    ];
    assert_eq!(
        browser
            .submit(&page, &form, &forged, "http://x.invalid/")
            .await
            .status,
        403
    );
    let denied = browser
        .submit(
            &page,
            &form,
            &fields("deny"),
            "http://127.0.0.1:33418/callback",
        )
        .await;
    assert_eq!(denied.param("error").as_deref(), Some("access_denied"));
    assert!(denied.param("error_description").is_some());
    assert!(rig.provider.requests_to(Endpoint::Authorize).is_empty());
    let logins = rig.server.list("/api/v1/logins").await;
    assert_eq!(logins[0]["outcome"], "denied");
}
