//! Floods: too many requests of one address are turned away, and told when to come again.

use serde_json::json;
use support::{Answer, Browser, Params, Pkce, Server, plain_http};

use crate::rig::{Rig, refused};

const LIMIT: usize = 3;

async fn limited(key: &str) -> Rig {
    let setup = Server::setup().env(&format!("GRANTLOG_LIMITS__{key}"), &LIMIT.to_string());
    Rig::on(setup, json!({"oauth_proxy_require_consent": false})).await
}

fn wait_s(answer: &Answer) -> u64 {
    answer.header("retry-after").parse().expect("seconds")
}

fn is_turned_away(answer: Answer) {
    assert!((1..=60).contains(&wait_s(&answer)));
    refused(answer, 429, "slow_down");
}

#[tokio::test]
async fn registrations() {
    let rig = limited("REGISTRATIONS_PER_MINUTE").await;
    for _ in 0..LIMIT {
        rig.client().await;
    }
    let before = rig.server.events("type=client.registered").await.len();
    for _ in 0..LIMIT {
        is_turned_away(rig.proxy.try_register(&support::public_client()).await);
    }
    // A forwarding header of a stranger makes no new address.
    let spoofed = plain_http()
        .post(format!("{}/register", rig.proxy.issuer))
        .header("x-forwarded-for", "198.51.100.7")
        .header("forwarded", "for=198.51.100.7")
        .json(&support::public_client());
    is_turned_away(Answer::read(spoofed.send().await.expect("an answer")).await);
    let after = rig.server.events("type=client.registered").await.len();
    assert_eq!((before, after), (LIMIT, LIMIT));
}

/// What a client says of itself goes into the log each time it changes.
#[tokio::test]
async fn changes_of_a_registration() {
    let rig = limited("REGISTRATIONS_PER_MINUTE").await;
    let registered = rig.proxy.try_register(&support::public_client()).await;
    let mut known = registered.expect(201).json();
    let text = |known: &serde_json::Value, member: &str| known[member].as_str().map(str::to_owned);
    let uri = text(&known, "registration_client_uri").expect("an address");
    let put = async |token: &str| {
        let sent = plain_http().put(&uri).bearer_auth(token);
        let sent = sent.json(&support::public_client()).send().await;
        Answer::read(sent.expect("an answer")).await
    };
    for _ in 1..LIMIT {
        let token = text(&known, "registration_access_token").expect("a token");
        known = put(&token).await.expect(200).json();
    }
    let token = text(&known, "registration_access_token").expect("a token");
    is_turned_away(put(&token).await);
    is_turned_away(put("a guess").await);
    let changed = rig.server.events("type=client.updated").await.len();
    assert_eq!(changed, LIMIT - 1);
}

#[tokio::test]
async fn authorizations() {
    let rig = limited("AUTHORIZATIONS_PER_MINUTE").await;
    let client = rig.client().await;
    let url = client.authorize_url(&client.authorization(&Pkce::rfc7636()));
    let ask = async || {
        let sent = plain_http().get(&url).send().await.expect("an answer");
        Answer::read(sent).await
    };
    for _ in 0..LIMIT {
        ask().await.expect(303);
    }
    // It is a person who reads this.
    let page = ask().await.expect(429);
    assert!(page.header("content-type").starts_with("text/html"));
    assert_eq!(page.header("cache-control"), "no-store");
    assert!((1..=60).contains(&wait_s(&page)), "{page:?}");
    let request_id = page.header("x-request-id");
    assert!(page.body.contains("slow_down") && page.body.contains(request_id));
}

#[tokio::test]
async fn token_requests_of_all_kinds_together() {
    let rig = limited("TOKENS_PER_MINUTE").await;
    let client = rig.proxy.register(support::confidential_client()).await;
    let nothing = client.authenticated(Params::new([("token", "x")]));
    let refresh = nothing
        .clone()
        .with("grant_type", "refresh_token")
        .with("refresh_token", "gw_refresh_x");
    refused(rig.token(&refresh).await, 400, "invalid_grant");
    rig.proxy.post("revoke", &nothing).await.expect(200);
    rig.proxy.post("introspect", &nothing).await.expect(200);
    for endpoint in ["token", "revoke", "introspect"] {
        is_turned_away(rig.proxy.post(endpoint, &refresh).await);
    }
}

/// Guessing a secret counts against the client, too.
#[tokio::test]
async fn one_limit_leaves_the_others_alone() {
    let rig = limited("TOKENS_PER_MINUTE").await;
    let client = rig.client().await;
    for _ in 0..=LIMIT {
        client.refresh("gw_refresh_x").await;
    }
    is_turned_away(client.refresh("gw_refresh_x").await);
    rig.client().await;
    let params = client.authorization(&Pkce::rfc7636());
    let page = client
        .authorize(&mut Browser::new(), &params, support::ALICE)
        .await;
    assert!(page.param("code").is_some(), "{}", page.url);
    // What was turned away is on record, once a minute and cause.
    let refusals = rig.server.events("type=request.refused").await;
    assert!(
        refusals
            .iter()
            .any(|event| event["data"]["cause"] == "rate_limited"),
        "{refusals:#?}"
    );
}

/// Whoever knows the id of a public client can send anything in its name, but not from its address.
#[tokio::test]
async fn a_stranger_does_not_use_up_what_a_public_client_may() {
    let setup = Server::setup()
        .env("GRANTLOG_LIMITS__TOKENS_PER_MINUTE", &LIMIT.to_string())
        .env("GRANTLOG_NETWORK__TRUSTED_PROXIES", "127.0.0.1");
    let rig = Rig::on(setup, json!({"oauth_proxy_require_consent": false})).await;
    let client = rig.client().await;
    let tokens = rig.log_in(&client).await;
    let refresh = async |from: &str, refresh_token: &str| {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", &client.id),
            ("refresh_token", refresh_token),
        ];
        let sent = plain_http()
            .post(format!("{}/token", rig.proxy.issuer))
            .header("x-forwarded-for", from)
            .form(&form)
            .send()
            .await;
        Answer::read(sent.expect("an answer")).await
    };
    for _ in 0..LIMIT {
        refused(
            refresh("198.51.100.7", "gw_refresh_x").await,
            400,
            "invalid_grant",
        );
    }
    is_turned_away(refresh("198.51.100.7", "gw_refresh_x").await);
    refresh("203.0.113.9", &tokens.refresh).await.expect(200);
}
