//! A person who took too long: told so on a page of ours, whatever browser they come back with.

use domain::Timestamp;
use grantlog::clock;
use grantlog::tokens::sealed;
use grantlog::vault::{FILE_NAME, MasterKeys, Vault};
use serde_json::{Value, json};
use support::{ALICE, Browser, Pkce};
use url::Url;

use crate::fake_provider::Endpoint;
use crate::rig::Rig;

const REDIRECT_URI: &str = "http://127.0.0.1:33418/callback";

/// What is sealed for `purpose`, as if that step had begun `minutes` earlier.
fn older(rig: &Rig, purpose: &str, text: &str, minutes: i64) -> String {
    let data = rig.server.folder().join("data");
    let keys = MasterKeys::in_data_folder(&data).expect("the key file");
    let vault = Vault::open_read_only(&data.join(FILE_NAME), keys).expect("the vault");
    let key = &vault.purpose_keys().state;
    let mut transaction: Value = sealed::unseal(key, purpose, text).expect("a transaction");
    let step_at: Timestamp =
        serde_json::from_value(transaction["step_at"].clone()).expect("an instant");
    assert!(step_at <= clock::now());
    transaction["step_at"] = json!(step_at - chrono::TimeDelta::minutes(minutes));
    sealed::seal(key, purpose, &transaction).expect("sealed")
}

/// A callback whose login began so much earlier.
fn late(rig: &Rig, callback: &Url, minutes: i64) -> String {
    let pairs: Vec<(String, String)> = callback.query_pairs().into_owned().collect();
    let mut late = callback.clone();
    late.query_pairs_mut()
        .clear()
        .extend_pairs(pairs.iter().map(|(name, value)| {
            let value = match name.as_str() {
                "state" => older(rig, "login", value, minutes),
                _ => value.clone(),
            };
            (name, value)
        }));
    late.into()
}

#[tokio::test]
async fn a_state_older_than_ten_minutes_ends_on_a_page_that_leads_on() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let url = client.authorize_url(&client.authorization(&Pkce::rfc7636()).with("scope", "read"));
    let callback = format!("{}/api/v1/oauth/callback/1", rig.server.url);
    // The browser has dropped its cookie by then; of one that kept it, more is known.
    for keeps_cookie in [false, true] {
        let mut browser = Browser::new();
        let late = late(&rig, &browser.open(&url, &callback).await.url, 11);
        let mut other = Browser::new();
        let back = if keeps_cookie {
            &mut browser
        } else {
            &mut other
        };
        let page = back.open(&late, REDIRECT_URI).await;
        assert_eq!(page.status, 400, "{}", page.body);
        assert_eq!(page.header("location"), "");
        assert!(page.body.contains("too long"), "{}", page.body);
        let again = page.link("/authorize?").expect("a link to start again");
        let walked = back.walk(again.as_str(), REDIRECT_URI, ALICE).await;
        let code = walked.param("code").expect("a code");
        assert_eq!(walked.param("state").as_deref(), Some("the client's state"));
        let tokens = client.redeem(&code, &Pkce::rfc7636()).await.expect(200);
        assert_eq!(tokens.json()["scope"], "read");
        // It is on record once.
        let page = back.open(&late, REDIRECT_URI).await;
        assert!(page.body.contains("ended without success"), "{}", page.body);
        assert!(page.link("/authorize?").is_some());

        let failed = rig.server.list("/api/v1/logins?outcome=failure").await;
        assert_eq!(failed.len(), 1 + usize::from(keeps_cookie), "{failed:#?}");
        assert_eq!(failed[0]["reason"], "login_took_too_long");
        assert_eq!(failed[0]["ip"].is_string(), keeps_cookie, "{}", failed[0]);
    }
    // Only the two that were started again reached the provider's token endpoint.
    assert_eq!(rig.provider.requests_to(Endpoint::Token).len(), 2);
}

#[tokio::test]
async fn a_login_that_was_completed_does_not_become_late() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let url = client.authorize_url(&client.authorization(&Pkce::rfc7636()));
    let callback = format!("{}/api/v1/oauth/callback/1", rig.server.url);
    let mut browser = Browser::new();
    let back = browser.open(&url, &callback).await.url;
    let mut other = browser.clone();
    let done = browser.open(back.as_str(), REDIRECT_URI).await;
    assert!(done.url.as_str().starts_with(REDIRECT_URI), "{done:?}");
    let late = late(&rig, &back, 11);
    for browser in [&mut browser, &mut other] {
        let page = browser.open(&late, REDIRECT_URI).await;
        let words = "already been completed";
        assert!(page.body.contains(words), "{}", page.body);
    }
    let logins = rig.server.list("/api/v1/logins").await;
    assert_eq!(logins.len(), 1, "{logins:#?}");
}

#[tokio::test]
async fn a_decision_that_comes_too_late_decides_nothing() {
    let rig = Rig::with(json!({})).await;
    let client = rig.client().await;
    let url = client.authorize_url(&client.authorization(&Pkce::rfc7636()));
    let mut browser = Browser::new();
    let page = browser.open(&url, REDIRECT_URI).await;
    let form = page.form().expect("a form");
    for decision in ["approve", "deny"] {
        let mut fields = form.inputs.clone();
        fields[0].1 = older(&rig, "consent", &form.inputs[0].1, 11);
        fields.push(("decision".to_owned(), decision.to_owned()));
        let late = browser.submit(&page, &form, &fields, REDIRECT_URI).await;
        assert_eq!(late.status, 403, "{}", late.body);
    }
    assert!(rig.provider.requests_to(Endpoint::Authorize).is_empty());
}
