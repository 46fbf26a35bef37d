//! A refresh after the provider's own token has ended: whether the person is still there is the provider's to say.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use domain::provider::Kind;
use futures_util::future::join_all;
use grantlog::clock;
use grantlog::vault::{FILE_NAME, MasterKeys, UpstreamTokens, Vault};
use serde_json::json;
use support::{Client, Server, Tokens};

use crate::fake_provider::{self, Behaviour, Endpoint, FakeProvider, Fault};
use crate::refresh::upstream_tokens;
use crate::rig::{Rig, refused};

const DOWN: Behaviour = Behaviour::At(Endpoint::Token, Fault::Status(500));

fn ends_at_once() -> Behaviour {
    Behaviour::At(Endpoint::Token, Fault::Member("expires_in", json!(0)))
}

/// A rig whose upstream gets `upstream_auth`, and whose provider gives refresh tokens that stay.
async fn rig(upstream_auth: &str) -> Rig {
    let provider = FakeProvider::start_as(fake_provider::Setup {
        rotates_refresh_tokens: false,
        ..Default::default()
    });
    let config = json!({
        "oauth_proxy_require_consent": false,
        "oauth_proxy_upstream_auth": upstream_auth,
    });
    Rig::at(provider.await, Server::setup(), config).await
}

/// A login whose token from the provider ends at once.
async fn log_in(rig: &Rig, client: &Client) -> Tokens {
    rig.provider.behave(ends_at_once());
    let tokens = rig.log_in(client).await;
    rig.provider.behave(Behaviour::WellBehaved);
    tokens
}

/// How often the provider was asked.
fn asked(rig: &Rig) -> usize {
    let mut requests = rig.provider.requests_to(Endpoint::Token);
    requests.retain(|request| request.parameter("grant_type") == "refresh_token");
    requests.len()
}

async fn count(rig: &Rig, event: &str) -> usize {
    rig.server.events(&format!("type={event}")).await.len()
}

/// Refreshes as soon as the provider can be asked.
async fn refreshed(client: &Client, token: &str) -> Tokens {
    let refreshing = async {
        loop {
            let answer = client.refresh(token).await;
            if answer.status != 503 {
                return Tokens::of(&answer.expect(200));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let refreshed = tokio::time::timeout(Duration::from_secs(20), refreshing).await;
    refreshed.expect("it is refreshed")
}

#[tokio::test]
async fn the_provider_is_asked_once_for_all_who_refresh() {
    let rig = rig("provider_token").await;
    let client = rig.client().await;
    let first = log_in(&rig, &client).await;
    assert_eq!(asked(&rig), 0, "the login itself was its word");
    let mut newest = String::new();
    for answer in join_all((0..20).map(|_| client.refresh(&first.refresh))).await {
        newest = Tokens::of(&answer.expect(200)).refresh;
    }
    let last = Tokens::of(&client.refresh(&newest).await.expect(200));
    assert!(rig.admits(&last.access).await, "the gateway has it, too");
    assert_eq!(asked(&rig), 1);
    assert_eq!(count(&rig, "grant.upstream_token_refreshed").await, 1);
    assert_eq!(count(&rig, "grant.refresh_token_rotated").await, 2);
}

#[tokio::test]
async fn a_person_who_is_gone_loses_the_grant() {
    for upstream_auth in ["static", "none", "provider_token"] {
        let rig = rig(upstream_auth).await;
        let client = rig.client().await;
        let tokens = log_in(&rig, &client).await;
        rig.provider.behave(Behaviour::TokenError("invalid_grant"));
        for answer in join_all((0..5).map(|_| client.refresh(&tokens.refresh))).await {
            refused(answer, 400, "invalid_grant");
        }
        refused(client.refresh(&tokens.refresh).await, 400, "invalid_grant");
        assert!(!rig.admits(&tokens.access).await);
        assert_eq!((asked(&rig), upstream_tokens(&rig)), (1, 0));
        let revoked = rig.server.events("type=grant.revoked").await;
        let [revoked] = &revoked[..] else {
            panic!("{upstream_auth}: {revoked:?}");
        };
        assert_eq!(revoked["data"]["reason"], "upstream_refused");
        assert_eq!(count(&rig, "grant.refresh_token_rotated").await, 0);
    }
}

#[tokio::test]
async fn a_provider_in_anothers_place_is_not_shown_what_the_other_gave() {
    let (rig, other) = (rig("none").await, FakeProvider::start().await);
    let client = rig.client().await;
    let tokens = log_in(&rig, &client).await;
    let change = json!({"issuer": other.settings(Kind::Oidc).issuer});
    let changed = rig.server.patch("/api/v1/providers/1", &change).await;
    changed.expect(200);
    refused(client.refresh(&tokens.refresh).await, 400, "invalid_grant");
    assert_eq!((asked(&rig), other.requests().len()), (0, 0));
    let revoked = rig.server.events("type=grant.revoked").await;
    assert_eq!(revoked[0]["data"]["reason"], "provider_removed");
}

#[tokio::test]
async fn while_the_provider_is_down_nothing_is_spent() {
    for upstream_auth in ["static", "provider_token"] {
        let rig = rig(upstream_auth).await;
        let client = rig.client().await;
        let tokens = log_in(&rig, &client).await;
        rig.provider.behave(DOWN);
        for answer in join_all((0..10).map(|_| client.refresh(&tokens.refresh))).await {
            let after = answer.header("retry-after").parse::<u32>();
            assert!(after.is_ok_and(|seconds| (1..=60).contains(&seconds)));
            refused(answer, 503, "temporarily_unavailable");
        }
        assert_eq!(asked(&rig), 1);
        for event in ["grant.refresh_token_rotated", "grant.revoked"] {
            assert_eq!(count(&rig, event).await, 0, "{upstream_auth}: {event}");
        }
        rig.provider.behave(Behaviour::WellBehaved);
        let second = refreshed(&client, &tokens.refresh).await;
        client.refresh(&second.refresh).await.expect(200);
        assert_eq!(asked(&rig), 2);
        assert_eq!(count(&rig, "grant.refresh_token_retried").await, 0);
    }
}

#[tokio::test]
async fn a_provider_that_hangs_is_not_waited_for_for_long() {
    let rig = rig("none").await;
    let client = rig.client().await;
    let tokens = log_in(&rig, &client).await;
    rig.provider
        .behave(Behaviour::At(Endpoint::Token, Fault::Stall));
    let begun = Instant::now();
    let answer = client.refresh(&tokens.refresh).await;
    refused(answer, 503, "temporarily_unavailable");
    assert!(begun.elapsed() < Duration::from_secs(7));
    rig.provider.behave(Behaviour::WellBehaved);
    refreshed(&client, &tokens.refresh).await;
    assert_eq!(count(&rig, "grant.refresh_token_rotated").await, 1);
}

#[tokio::test]
async fn theft_is_told_while_the_provider_is_down() {
    let rig = rig("none").await;
    let client = rig.client().await;
    let first = log_in(&rig, &client).await;
    rig.provider.behave(ends_at_once());
    let second = Tokens::of(&client.refresh(&first.refresh).await.expect(200));
    assert!(rig.admits(&second.access).await);
    rig.provider.behave(DOWN);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let newest = client.refresh(&second.refresh).await;
    refused(newest, 503, "temporarily_unavailable");
    refused(client.refresh(&first.refresh).await, 400, "invalid_grant");
    assert_eq!(count(&rig, "grant.refresh_token_reused").await, 1);
    assert!(!rig.admits(&second.access).await);
}

/// What a node that has just started knows is what the vault says.
#[tokio::test]
async fn nobody_is_asked_without_a_refresh_token_and_a_life_that_was_not_told_is_an_hour() {
    let mut rig = rig("none").await;
    let client = rig.client().await;
    let mut logins = Vec::new();
    for _ in 0..4 {
        logins.push(log_in(&rig, &client).await);
    }
    rig.server.stop().await;
    let data = rig.server.folder().join("data");
    let keys = MasterKeys::in_data_folder(&data).expect("the key file");
    let vault = Vault::open(&data.join(FILE_NAME), keys, true, clock::now()).expect("the vault");
    let minute = TimeDelta::minutes(1);
    let ended = Some(clock::now() - minute);
    let cases = [
        (false, 60, None),
        (true, 60, None),
        (true, 50, None),
        // It went unused for too long, which says nothing of the person.
        (true, 60, ended),
    ];
    for (login, (renews, minutes, refresh_expires_at)) in logins.iter().zip(cases) {
        let claims = login.claims();
        let grant = claims["grant"].as_str().expect("text").parse();
        let grant = grant.expect("an id");
        let read = vault.upstream(grant).await.expect("read").expect("tokens");
        let tokens = UpstreamTokens {
            refresh_token: read.tokens.refresh_token.filter(|_| renews),
            expires_at: None,
            refresh_expires_at,
            ..read.tokens
        };
        let given_at = clock::now() - minute * minutes;
        let replaced =
            vault.replace_upstream(read.subject, grant, &read.revision, &tokens, given_at);
        assert!(replaced.await.expect("stored"));
    }
    drop(vault);
    rig.server.start_again().await;
    for (login, so_far) in logins.iter().zip([0, 1, 1, 1]) {
        client.refresh(&login.refresh).await.expect(200);
        assert_eq!(asked(&rig), so_far);
    }
}
