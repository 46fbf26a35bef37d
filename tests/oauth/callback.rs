//! Where the provider returns the browser.

use support::{ALICE, Browser, Client, Pkce, plain_http};

use crate::fake_provider::{Behaviour, Endpoint, Fault};
use crate::rig::Rig;

pub const REDIRECT_URI: &str = "http://127.0.0.1:33418/callback";

/// The callback's address for a login that has reached the provider, not opened yet.
pub async fn callback(rig: &Rig, browser: &mut Browser) -> String {
    let client = rig.client().await;
    callback_of(rig, browser, &client).await
}

/// The same for a login that this client asks for.
pub async fn callback_of(rig: &Rig, browser: &mut Browser, client: &Client) -> String {
    let url = client.authorize_url(&client.authorization(&Pkce::rfc7636()));
    let callback = format!("{}/api/v1/oauth/callback/1", rig.server.url);
    browser.open(&url, &callback).await.url.to_string()
}

#[tokio::test]
async fn another_browser_is_refused_before_the_code_is_spent() {
    let rig = Rig::start().await;
    let mut browser = Browser::new();
    let url = callback(&rig, &mut browser).await;
    let stolen = Browser::new().open(&url, REDIRECT_URI).await;
    assert_eq!(stolen.status, 403);
    assert!(rig.provider.requests_to(Endpoint::Token).is_empty());
    let own = browser.open(&url, REDIRECT_URI).await;
    assert!(own.param("code").is_some(), "{}", own.body);
    let again = browser.open(&url, REDIRECT_URI).await;
    assert!(
        again.status == 400 || again.status == 403,
        "{}",
        again.status
    );
    assert_eq!(rig.server.events("type=grant.code_issued").await.len(), 1);
    assert_eq!(rig.provider.requests_to(Endpoint::Token).len(), 1);
}

#[tokio::test]
async fn states_that_are_none_of_ours() {
    let rig = Rig::start().await;
    let mut browser = Browser::new();
    let good = callback(&rig, &mut browser).await;
    let other_provider = good.replace("/callback/1", "/callback/2");
    let base = format!("{}/api/v1/oauth/callback/1", rig.server.url);
    for url in [
        format!("{base}?code=x"),
        format!("{base}?code=x&state=y"),
        base,
        other_provider,
    ] {
        let answer = plain_http().get(&url).send().await.expect("an answer");
        assert_eq!(answer.status(), 400, "{url}");
        assert!(!answer.headers().contains_key("location"));
    }
    assert!(rig.provider.requests_to(Endpoint::Token).is_empty());
}

#[tokio::test]
async fn a_providers_no_and_its_faults_reach_the_client_and_the_record() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    for (behaviour, error) in [
        (
            Behaviour::AuthorizationError("access_denied"),
            "access_denied",
        ),
        (
            Behaviour::AuthorizationError("temporarily_unavailable"),
            "temporarily_unavailable",
        ),
        (Behaviour::AuthorizationError("weird"), "server_error"),
        (
            Behaviour::At(Endpoint::Token, Fault::Status(500)),
            "temporarily_unavailable",
        ),
        (Behaviour::At(Endpoint::Token, Fault::Html), "server_error"),
    ] {
        rig.provider.behave(behaviour.clone());
        let params = client.authorization(&Pkce::rfc7636());
        let page = client.authorize(&mut Browser::new(), &params, ALICE).await;
        assert_eq!(
            page.param("error").as_deref(),
            Some(error),
            "{behaviour:?} {}",
            page.url
        );
        assert_eq!(page.param("state").as_deref(), Some("the client's state"));
        assert_eq!(
            page.param("iss").as_deref(),
            Some(rig.proxy.issuer.as_str())
        );
        // A sentence of ours, and nothing of the provider's.
        let description = page.param("error_description").expect("a description");
        assert!(description.contains("identity provider"), "{description}");
    }
    let logins = rig.server.list("/api/v1/logins?outcome=failure").await;
    assert_eq!(logins.len(), 5);
    assert!(logins.iter().all(|login| login["reason"].is_string()));
}

#[tokio::test]
async fn two_tabs_do_not_disturb_each_other() {
    let rig = Rig::start().await;
    let mut browser = Browser::new();
    let (one, other) = (
        callback(&rig, &mut browser).await,
        callback(&rig, &mut browser).await,
    );
    for url in [other, one] {
        assert!(
            browser
                .open(&url, REDIRECT_URI)
                .await
                .param("code")
                .is_some()
        );
    }
}
