//! Logins that end on a page of ours: on record, told as what they are, and with a way on.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use support::{ALICE, Browser, Client, Form, Page, Pkce, plain_http, public_client};
use url::Url;

use crate::callback::{REDIRECT_URI, callback_of};
use crate::fake_provider::{Behaviour, CLIENT_ID, CLIENT_SECRET, Endpoint, Fault, Gate};
use crate::rig::Rig;

/// A page that leads nowhere else.
fn is_page(page: &Page, words: &str) {
    assert_eq!(page.status, 400, "{}", page.body);
    assert_eq!(page.header("location"), "");
    assert!(page.body.contains(words), "{}", page.body);
}

/// The person starts again by the page's link and logs in.
async fn starts_again(page: &Page, browser: &mut Browser) {
    let again = page.link("/authorize?").expect("a link to start again");
    let walked = browser.walk(again.as_str(), REDIRECT_URI, ALICE).await;
    assert!(walked.url.as_str().starts_with(REDIRECT_URI), "{walked:?}");
    assert!(walked.param("code").is_some(), "{}", walked.url);
}

/// Why logins failed, oldest first.
async fn reasons(rig: &Rig) -> Vec<Value> {
    let path = "/api/v1/logins?outcome=failure&sort=asc";
    let logins = rig.server.list(path).await;
    logins.iter().map(|row| row["reason"].clone()).collect()
}

fn without(url: &str, name: &str) -> String {
    let mut url: Url = url.parse().expect("a URL");
    let pairs: Vec<_> = url.query_pairs().into_owned().collect();
    let kept = pairs.iter().filter(|(known, _)| known != name);
    url.query_pairs_mut().clear().extend_pairs(kept);
    url.into()
}

#[tokio::test]
async fn an_answer_that_cannot_be_trusted_is_a_login_that_failed() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    for reason in ["callback_malformed", "issuer_mismatch"] {
        let mut browser = Browser::new();
        let url = callback_of(&rig, &mut browser, &client).await;
        let bad = match reason {
            "callback_malformed" => without(&url, "code"),
            _ => format!("{url}&iss=https%3A%2F%2Fother.example"),
        };
        let before = reasons(&rig).await;
        let stranger = Browser::new().open(&bad, REDIRECT_URI).await;
        assert_eq!(stranger.status, 403);
        assert_eq!(reasons(&rig).await, before, "strangers write no history");
        let page = browser.open(&bad, REDIRECT_URI).await;
        is_page(&page, "cannot be trusted");
        assert_eq!(reasons(&rig).await.last(), Some(&json!(reason)));
        starts_again(&page, &mut browser.clone()).await;
        // The provider's real answer comes too late, and is no stranger's.
        let late = browser.open(&url, REDIRECT_URI).await;
        is_page(&late, "ended without success");
        starts_again(&late, &mut browser).await;
    }
    assert_eq!(reasons(&rig).await.len(), 2);
}

#[tokio::test]
async fn a_proxy_that_changes_its_provider_ends_the_logins_at_the_old_one() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let mut browser = Browser::new();
    let url = callback_of(&rig, &mut browser, &client).await;
    let other = json!({
        "name": "other", "type": "oidc", "issuer": rig.provider.issuer(),
        "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "scopes": "openid email",
    });
    let other = rig.server.add_provider(&other).await;
    let change = json!({ "config": { "oauth_proxy_provider_id": other } });
    let path = format!("/api/v1/proxies/{}", rig.proxy.id);
    rig.server.patch(&path, &change).await.expect(200);
    let page = browser.open(&url, REDIRECT_URI).await;
    is_page(&page, "has changed");
    assert_eq!(reasons(&rig).await, ["proxy_changed_during_login"]);
    starts_again(&page, &mut browser).await;
    assert_eq!(rig.provider.requests_to(Endpoint::Token).len(), 1);
}

#[tokio::test]
async fn going_back_after_a_failure_is_not_told_as_a_success() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let mut browser = Browser::new();
    let url = client.authorize_url(&client.authorization(&Pkce::rfc7636()));
    let provider = rig.provider.at("/v1/authorize");
    let at_provider = browser.open(&url, provider.as_str()).await.url;
    let failing = Behaviour::At(Endpoint::Token, Fault::Status(500));
    rig.provider.behave(failing);
    let other = browser.clone();
    let failed = browser.open(at_provider.as_str(), REDIRECT_URI).await;
    let error = failed.param("error");
    assert_eq!(error.as_deref(), Some("temporarily_unavailable"));
    rig.provider.behave(Behaviour::WellBehaved);
    // Back to the provider's page, with the cookie and without.
    for mut browser in [browser, other] {
        let again = browser.open(at_provider.as_str(), REDIRECT_URI).await;
        is_page(&again, "ended without success");
        starts_again(&again, &mut browser).await;
    }
    assert_eq!(reasons(&rig).await, ["upstream_unavailable"]);
}

/// The consent page, and the form that approves.
async fn approval(browser: &mut Browser, client: &Client) -> (Page, Form, Vec<(String, String)>) {
    let url = client.authorize_url(&client.authorization(&Pkce::rfc7636()));
    let page = browser.open(&url, REDIRECT_URI).await;
    let form = page.form().expect("a form");
    let mut fields = form.inputs.clone();
    fields.push(("decision".to_owned(), "approve".to_owned()));
    (page, form, fields)
}

#[tokio::test]
async fn consent_to_a_login_that_failed_sends_nobody_to_the_provider() {
    let rig = Rig::with(json!({})).await;
    let client = rig.client().await;
    let mut browser = Browser::new();
    let (page, form, fields) = approval(&mut browser, &client).await;
    let down = Behaviour::At(Endpoint::Discovery, Fault::Status(500));
    rig.provider.behave(down);
    let failed = browser.submit(&page, &form, &fields, REDIRECT_URI).await;
    let error = failed.param("error");
    assert_eq!(error.as_deref(), Some("temporarily_unavailable"));
    rig.provider.behave(Behaviour::WellBehaved);
    let again = browser.submit(&page, &form, &fields, REDIRECT_URI).await;
    is_page(&again, "ended without success");
    assert!(rig.provider.requests_to(Endpoint::Authorize).is_empty());
    others_get_through(&client).await;
    starts_again(&again, &mut browser).await;
}

/// A provider that could not be asked is not asked again at once.
async fn others_get_through(client: &Client) {
    loop {
        let mut browser = Browser::new();
        let (page, form, fields) = approval(&mut browser, client).await;
        let sent = browser.submit(&page, &form, &fields, REDIRECT_URI).await;
        if sent.param("error").is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Removes the client, or has it return elsewhere (RFC 7592).
async fn change(client: &Client, reason: &str) {
    match reason {
        "client_removed" => manage(client, Method::DELETE, &Value::Null).await,
        _ => return_to(client, "http://127.0.0.1/elsewhere").await,
    }
}

async fn return_to(client: &Client, redirect_uri: &str) {
    let mut metadata = public_client();
    metadata["client_id"] = json!(client.id);
    metadata["redirect_uris"] = json!([redirect_uri]);
    manage(client, Method::PUT, &metadata).await;
}

async fn manage(client: &Client, method: Method, metadata: &Value) {
    let text = |name: &str| client.registration[name].as_str().expect("text").to_owned();
    let request = plain_http()
        .request(method, text("registration_client_uri"))
        .bearer_auth(text("registration_access_token"))
        .json(metadata);
    let answer = request.send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.status());
}

#[tokio::test]
async fn nothing_leads_to_a_client_that_is_gone_or_returns_elsewhere() {
    for (reason, code) in [
        ("client_removed", "unauthorized_client"),
        ("redirect_uri_removed", "invalid_redirect_uri"),
    ] {
        // While the person logs in.
        let rig = Rig::start().await;
        let client = rig.client().await;
        let mut browser = Browser::new();
        let url = callback_of(&rig, &mut browser, &client).await;
        change(&client, reason).await;
        let page = browser.open(&url, REDIRECT_URI).await;
        is_page(&page, code);
        assert!(rig.provider.requests_to(Endpoint::Token).is_empty());
        assert_eq!(reasons(&rig).await, [reason]);

        // While the provider answers.
        let client = rig.client().await;
        let mut browser = Browser::new();
        let url = callback_of(&rig, &mut browser, &client).await;
        let gate = Gate::shut();
        let held = Fault::Held(gate.clone());
        rig.provider.behave(Behaviour::At(Endpoint::Token, held));
        let changing = async {
            gate.arrived(1).await;
            change(&client, reason).await;
            gate.open();
        };
        let (page, ()) = tokio::join!(browser.open(&url, REDIRECT_URI), changing);
        is_page(&page, code);
        assert_eq!(reasons(&rig).await, [reason, reason]);
        assert!(
            rig.server
                .events("type=grant.login_succeeded")
                .await
                .is_empty()
        );

        // While the person reads what they are asked.
        for decision in ["approve", "deny"] {
            let rig = Rig::with(json!({})).await;
            let client = rig.client().await;
            let mut browser = Browser::new();
            let (page, form, mut fields) = approval(&mut browser, &client).await;
            fields.last_mut().expect("a decision").1 = decision.to_owned();
            change(&client, reason).await;
            let page = browser.submit(&page, &form, &fields, REDIRECT_URI).await;
            is_page(&page, code);
            assert!(rig.provider.requests_to(Endpoint::Authorize).is_empty());
            assert_eq!(reasons(&rig).await, [reason]);
        }
    }
}

/// The port of a loopback URI is not part of what is registered.
#[tokio::test]
async fn a_client_that_moved_to_another_port_is_not_gone() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let mut browser = Browser::new();
    let url = callback_of(&rig, &mut browser, &client).await;
    return_to(&client, "http://127.0.0.1:1/callback").await;
    let page = browser.open(&url, REDIRECT_URI).await;
    assert!(page.url.as_str().starts_with(REDIRECT_URI), "{page:?}");
}
