//! The disk is full: nothing is handed out that is not on record, and nothing is lost by it.

use std::time::Duration;

use serde_json::json;
use support::{ALICE, Answer, Browser, Page, Params, Pkce, Server, Tokens, plain_http};

use crate::rig::{Rig, refused};

const REDIRECT_URI: &str = "http://127.0.0.1:33418/callback";

async fn rig() -> Rig {
    let setup = Server::setup().disk_can_fill();
    Rig::on(setup, json!({"oauth_proxy_require_consent": false})).await
}

async fn is_ready(rig: &Rig) -> bool {
    let ready = plain_http().get(format!("{}/readyz", rig.server.ops_url));
    match ready.send().await.expect("an answer").status().as_u16() {
        200 => true,
        503 => false,
        status => panic!("unexpected status {status}"),
    }
}

async fn until_ready(rig: &Rig) {
    while !is_ready(rig).await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[track_caller]
fn unavailable(answer: Answer) {
    assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
    for secret in ["gw_", "eyJ", "sqlite", "disk", "/tmp"] {
        assert!(!answer.body.contains(secret), "{answer:?}");
    }
    refused(answer, 503, "temporarily_unavailable");
}

#[track_caller]
fn unavailable_page(page: &Page) {
    assert_eq!(page.status, 503, "{}", page.body);
    assert!(!page.header("retry-after").is_empty());
    assert_eq!(page.header("location"), "");
    assert!(page.body.contains("try again"), "{}", page.body);
}

#[tokio::test]
async fn no_token_is_given_that_cannot_be_recorded_and_no_code_is_lost() {
    let rig = rig().await;
    let client = rig.client().await;
    let pkce = Pkce::rfc7636();
    let (known, revocable) = (rig.log_in(&client).await, rig.log_in(&client).await);
    let code = rig.code(&client).await;
    let callback = format!("{}/api/v1/oauth/callback/1", rig.server.url);
    let mut browser = Browser::new();
    let url = client.authorize_url(&client.authorization(&pkce));
    let login = browser.open(&url, &callback).await.url;
    assert!(is_ready(&rig).await);
    let before = rig.server.get("/api/v1/status").await.json()["head"].clone();

    rig.server.fill_disk(true).await;
    for _ in 0..2 {
        unavailable(client.redeem(&code, &pkce).await);
        unavailable(client.refresh(&known.refresh).await);
        unavailable(client.revoke(&revocable.refresh).await);
        unavailable(rig.proxy.try_register(&support::public_client()).await);
        unavailable_page(&browser.open(login.as_str(), REDIRECT_URI).await);
    }
    assert!(!is_ready(&rig).await);
    let status = rig.server.get("/api/v1/status").await;
    assert!([200, 503].contains(&status.status), "{status:?}");

    rig.server.fill_disk(false).await;
    until_ready(&rig).await;
    let answer = client.redeem(&code, &pkce).await.expect(200);
    assert!(rig.admits(&Tokens::of(&answer).access).await);
    refused(client.redeem(&code, &pkce).await, 400, "invalid_grant");
    client.refresh(&known.refresh).await.expect(200);
    assert!(rig.admits(&revocable.access).await, "it was not revoked");
    client.revoke(&revocable.refresh).await.expect(200);
    assert!(!rig.admits(&revocable.access).await);
    rig.client().await;
    let head = rig.server.get("/api/v1/status").await.json()["head"].clone();
    assert!(head.as_u64() > before.as_u64());
    intact(&rig).await;
}

/// Whoever asks all the time while the disk fills and empties sees whole answers, and every token
/// among them is on record.
#[tokio::test]
async fn answers_during_the_fault_are_whole_or_none() {
    let rig = rig().await;
    let client = rig.client().await;
    let mut newest = rig.log_in(&client).await.refresh;
    let mut refreshed = 0;
    for round in 0..3 {
        rig.server.fill_disk(round % 3 == 0).await;
        if round % 3 != 0 {
            until_ready(&rig).await;
        }
        let params = Params::new([("grant_type", "refresh_token"), ("refresh_token", &newest)]);
        let answer = rig.token(&client.authenticated(params)).await;
        match answer.status {
            200 => {
                newest = Tokens::of(&answer).refresh;
                refreshed += 1;
            }
            _ => unavailable(answer),
        }
    }
    assert_eq!(refreshed, 2);
    assert_eq!(
        rig.server
            .events("type=grant.refresh_token_rotated")
            .await
            .len(),
        2
    );
    let params = client.authorization(&Pkce::rfc7636());
    let page = client.authorize(&mut Browser::new(), &params, ALICE).await;
    assert!(page.param("code").is_some());
    intact(&rig).await;
}

/// What is refused meanwhile is counted until it can be recorded.
#[tokio::test]
async fn whoever_is_refused_meanwhile_is_on_record_in_the_end() {
    let mut rig = rig().await;
    let client = rig.client().await;
    rig.server.fill_disk(true).await;
    for _ in 0..2 {
        refused(client.refresh("gw_refresh_x").await, 400, "invalid_grant");
    }
    while is_ready(&rig).await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    rig.server.fill_disk(false).await;
    until_ready(&rig).await;
    rig.server.stop().await;
    rig.server.start_again().await;
    let refusals = rig.server.events("type=request.refused").await;
    let counts = refusals.iter().map(|event| &event["data"]["count"]);
    let count: u64 = counts.filter_map(serde_json::Value::as_u64).sum();
    assert_eq!(count, 2, "{refusals:#?}");
}

async fn intact(rig: &Rig) {
    let data = rig.server.folder().join("data");
    let data = data.to_str().expect("a path of text");
    for command in [&["verify"][..], &["replay", "--check"]] {
        let output = rig
            .server
            .command(&[command, &["--data", data]].concat())
            .await;
        assert!(output.status.success(), "{output:?}");
    }
    assert!(!rig.server.log().contains("panicked"));
}
