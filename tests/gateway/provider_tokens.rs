//! What the upstream gets in place of the client's token, when it is to get something.

use std::time::Duration;

use chrono::TimeDelta;
use domain::id::ProviderId;
use domain::provider::Kind;
use domain::proxy::UpstreamAuth;
use futures_util::future::join_all;
use grantlog::administration::PrivateTerms;
use grantlog::clock;
use grantlog::federation::{Attempt, Callback, Federation, Provider};
use grantlog::vault::{Identity, UpstreamTokens};

use crate::fake_provider::{Behaviour, CLIENT_SECRET, Endpoint, FakeProvider, Fault, browse};
use crate::rig::{Granted, PROVIDER_DEADLINE, Rig, tokens};
use crate::upstream::Upstream;

const RENEWED: &str = "grant.upstream_token_refreshed";

/// A rig in front of an upstream that wants the person's token, and the provider of proxy 1.
async fn rig() -> (FakeProvider, Upstream, Rig, ProviderId) {
    let (provider, upstream) = (FakeProvider::start().await, Upstream::start().await);
    let rig = Rig::with(&upstream.url, |settings| {
        settings.upstream_auth = UpstreamAuth::ProviderToken;
    })
    .await;
    let id = rig.add_provider(provider.settings(Kind::Oidc)).await;
    (provider, upstream, rig, id)
}

/// A grant whose provider tokens end `in_s` seconds from now.
pub async fn grant(provider: &FakeProvider, rig: &Rig, id: ProviderId, in_s: i64) -> Granted {
    let issued = log_in(provider).await;
    let tokens = UpstreamTokens {
        expires_at: Some(clock::now() + TimeDelta::seconds(in_s)),
        refresh_expires_at: None,
        ..issued
    };
    rig.grant_with("read", id, &tokens).await
}

async fn log_in(provider: &FakeProvider) -> UpstreamTokens {
    let (federation, settings) = (
        Federation::new().expect("TLS"),
        provider.settings(Kind::Oidc),
    );
    let provider = Provider {
        id: ProviderId(2),
        settings: &settings,
        client_secret: CLIENT_SECRET,
        callback_url: "https://auth.example/callback",
    };
    let attempt = Attempt {
        state: "state",
        nonce: "nonce",
        code_verifier: "a-verifier-of-at-least-forty-three-characters",
        prompt: None,
        max_age_s: None,
        is_selective: false,
    };
    let url = federation
        .authorization_url(&provider, &attempt, clock::now())
        .await;
    let back = browse(&url.expect("a URL")).await;
    let code = back
        .query_pairs()
        .find(|(name, _)| name == "code")
        .expect("a code")
        .1;
    let callback = Callback {
        code: Some(&code),
        ..Callback::default()
    };
    let login = federation
        .complete(&provider, &callback, &attempt, clock::now())
        .await;
    login.expect("a login").tokens
}

pub fn refreshes(provider: &FakeProvider) -> usize {
    let requests = provider.requests_to(Endpoint::Token);
    let is_refresh =
        |r: &&crate::fake_provider::Request| r.parameter("grant_type") == "refresh_token";
    requests.iter().filter(is_refresh).count()
}

#[tokio::test]
async fn a_token_that_lasts_is_forwarded_as_it_is() {
    let (provider, upstream, rig, id) = rig().await;
    let lasting = rig.grant_with("read", id, &tokens(None, None)).await;
    for _ in 0..3 {
        assert_eq!(rig.call(&lasting.token).await.status(), 200);
    }
    for received in upstream.received() {
        assert_eq!(received.header("authorization"), "Bearer provider-token");
    }
    assert!(provider.requests().is_empty());
}

pub async fn stored(rig: &Rig, grant: &Granted) -> UpstreamTokens {
    let stored = rig.app().vault.upstream(grant.id).await;
    stored.expect("the vault").expect("tokens").tokens
}

#[tokio::test]
async fn a_token_that_ended_is_renewed_once_for_all_who_wait() {
    let (provider, upstream, rig, id) = rig().await;
    let granted = grant(&provider, &rig, id, -1).await;
    let before = stored(&rig, &granted).await;
    for response in join_all((0..10).map(|_| rig.call(&granted.token))).await {
        assert_eq!(response.status(), 200);
    }
    let after = stored(&rig, &granted).await;
    assert_ne!(before.access_token.expose(), after.access_token.expose());
    let bearer = format!("Bearer {}", after.access_token.expose());
    for received in upstream.received() {
        assert_eq!(received.header("authorization"), bearer);
    }
    assert_eq!(upstream.received().len(), 10);
    assert_eq!((refreshes(&provider), rig.count(RENEWED)), (1, 1));
}

#[tokio::test]
async fn a_token_about_to_end_is_renewed_once_behind_those_who_use_it() {
    let (provider, upstream, rig, id) = rig().await;
    let granted = grant(&provider, &rig, id, 30).await;
    for response in join_all((0..10).map(|_| rig.call(&granted.token))).await {
        assert_eq!(response.status(), 200);
    }
    rig.settled().await;
    assert_eq!((refreshes(&provider), rig.count(RENEWED)), (1, 1));
    assert_eq!(rig.call(&granted.token).await.status(), 200);
    let bearer = format!(
        "Bearer {}",
        stored(&rig, &granted).await.access_token.expose()
    );
    let last = upstream.received().pop().expect("a request");
    assert_eq!(last.header("authorization"), bearer);
}

#[tokio::test]
async fn nobody_waits_for_a_provider_that_hangs_while_the_token_is_good() {
    let (provider, _upstream, rig, id) = rig().await;
    let granted = grant(&provider, &rig, id, 30).await;
    provider.behave(Behaviour::At(Endpoint::Token, Fault::Stall));
    let calls = async {
        for _ in 0..3 {
            let calls = join_all((0..10).map(|_| rig.call(&granted.token))).await;
            assert!(calls.iter().all(|response| response.status() == 200));
        }
    };
    let answered = tokio::time::timeout(PROVIDER_DEADLINE, calls).await;
    answered.expect("the calls do not wait");
    rig.settled().await;
    assert_eq!(refreshes(&provider), 1, "it is asked once");
    assert_eq!(rig.call(&granted.token).await.status(), 200);
}

#[tokio::test]
async fn what_a_flight_brings_is_for_those_who_come_after_it_too() {
    let (provider, _upstream, rig, id) = rig().await;
    let granted = grant(&provider, &rig, id, -1).await;
    provider.behave(Behaviour::At(Endpoint::Token, Fault::Stall));
    for _ in 0..3 {
        assert_eq!(rig.call(&granted.token).await.status(), 503);
    }
    assert_eq!(refreshes(&provider), 1, "one flight, however long it took");
}

/// The provider takes each refresh token once: what it gave for one must not be lost.
#[tokio::test]
async fn renewed_tokens_wait_for_a_store_that_is_away() {
    let (provider, upstream, rig, id) = rig().await;
    let granted = grant(&provider, &rig, id, -1).await;
    let stored = async || {
        let tokens = stored(&rig, &granted).await;
        tokens.access_token.expose().to_owned()
    };
    let old = stored().await;
    let vault = rig.folder.path().join("vault.db");
    let vault = rusqlite::Connection::open(vault).expect("the vault opens");
    let away = "CREATE TRIGGER away BEFORE UPDATE OF sealed ON upstream_token
                BEGIN SELECT RAISE(ABORT, 'away'); END";
    vault.execute_batch(away).expect("a trigger");
    for _ in 0..2 {
        assert_eq!(rig.call(&granted.token).await.status(), 503);
    }
    assert_eq!(stored().await, old);

    vault.execute_batch("DROP TRIGGER away").expect("a trigger");
    let served = async { while rig.call(&granted.token).await.status() == 503 {} };
    let served = tokio::time::timeout(Duration::from_secs(20), served).await;
    served.expect("it is served");
    let new = stored().await;
    assert_ne!(new, old);
    let bearer = format!("Bearer {new}");
    assert_eq!(upstream.only().header("authorization"), bearer);
    // Who asks as soon as they are stored is served before that is on record.
    rig.settled().await;
    assert_eq!((refreshes(&provider), rig.count(RENEWED)), (1, 1));
    assert_eq!(rig.count("grant.revoked"), 0);
}

#[tokio::test]
async fn tokens_of_somebody_else_are_not_forwarded() {
    let (_provider, upstream, rig, id) = rig().await;
    let granted = rig.grant_with("read", id, &tokens(None, None)).await;
    let vault = &rig.app().vault;
    assert!(vault.delete_upstream(granted.id).await.expect("deleted"));
    let bob = Identity {
        provider: id,
        issuer: "https://idp.example",
        sub: "bob",
    };
    let others = tokens(None, None);
    let others = vault.record_login(bob, granted.id, &others, clock::now());
    others.await.expect("recorded");
    assert_eq!(rig.call(&granted.token).await.status(), 401);
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn a_provider_that_says_gone_ends_the_grant() {
    let (provider, upstream, rig, id) = rig().await;
    let granted = grant(&provider, &rig, id, 30).await;
    provider.behave(Behaviour::TokenError("invalid_grant"));
    assert_eq!(rig.call(&granted.token).await.status(), 200);
    rig.settled().await;
    for _ in 0..2 {
        let response = rig.call(&granted.token).await;
        assert_eq!(response.status(), 401);
        let challenge = response.headers()["www-authenticate"]
            .to_str()
            .expect("text");
        assert!(challenge.contains("error=\"invalid_token\""));
    }
    assert_eq!((refreshes(&provider), rig.count("grant.revoked")), (1, 1));
    assert!(
        rig.app()
            .vault
            .upstream(granted.id)
            .await
            .expect("the vault")
            .is_none()
    );
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn a_provider_that_is_down_ends_nothing() {
    let (provider, upstream, rig, id) = rig().await;
    let (ending, ended) = (
        grant(&provider, &rig, id, 30).await,
        grant(&provider, &rig, id, -1).await,
    );
    provider.behave(Behaviour::At(Endpoint::Token, Fault::Status(503)));
    assert_eq!(
        rig.call(&ending.token).await.status(),
        200,
        "it is still good"
    );
    for response in join_all((0..5).map(|_| rig.call(&ended.token))).await {
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key("retry-after"));
    }
    rig.settled().await;
    assert_eq!(upstream.received().len(), 1);
    assert_eq!(rig.count("grant.revoked"), 0);
    assert_eq!(refreshes(&provider), 2, "one flight each");
}

#[tokio::test]
async fn without_anything_to_renew_with_the_upstream_says_whether_it_needs_a_token() {
    let (_provider, upstream, rig, id) = rig().await;
    let ended = tokens(None, Some(clock::now() - TimeDelta::seconds(1)));
    let ended = rig.grant_with("read", id, &ended).await;
    assert_eq!(rig.call(&ended.token).await.status(), 200);
    assert!(!upstream.only().headers.contains_key("authorization"));
    assert_eq!(rig.count("grant.revoked"), 0);
}

#[tokio::test]
async fn fixed_headers_replace_the_clients() {
    let upstream = Upstream::start().await;
    let rig = Rig::new("http://127.0.0.1:9/").await;
    let headers = [
        ("X-Api-Key", "fixed"),
        ("Authorization", "Basic Zml4ZWQ="),
        ("X-Tenant", "t"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let private = PrivateTerms {
        upstream_headers: headers.into(),
        ..PrivateTerms::default()
    };
    let fixed = |settings: &mut domain::proxy::Settings| {
        settings.upstream_auth = UpstreamAuth::Static;
    };
    rig.add_proxy(2, &upstream.url, fixed, Some(private)).await;
    let key = rig.api_key(2, "", None).await;
    let call = rig
        .post("/proxy/2/mcp", key.expose())
        .header("x-tenant", "mine");
    assert_eq!(call.send().await.expect("an answer").status(), 200);
    let received = upstream.only();
    assert_eq!(received.header("x-api-key"), "fixed");
    assert_eq!(received.header("authorization"), "Basic Zml4ZWQ=");
    assert_eq!(received.header("x-tenant"), "t");
}
