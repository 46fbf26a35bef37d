//! Upstreams that refuse the person's token from the provider, and who decides what that means.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use chrono::TimeDelta;
use domain::id::ProviderId;
use domain::provider::Kind;
use domain::proxy::UpstreamAuth;
use futures_util::future::join_all;
use grantlog::clock;

use crate::fake_provider::{Behaviour, Endpoint, FakeProvider, Fault};
use crate::provider_tokens::{grant, refreshes, stored};
use crate::rig::{Granted, Rig, tokens};
use crate::upstream::Upstream;

/// A rig in front of an upstream that wants the person's token and accepts none.
async fn rig(status: StatusCode) -> (FakeProvider, Rig, ProviderId) {
    let provider = FakeProvider::start().await;
    let refuses = move || (status, [("www-authenticate", "Bearer")]).into_response();
    let upstream = Upstream::answering(refuses).await;
    let rig = Rig::with(&upstream.url, |settings| {
        settings.upstream_auth = UpstreamAuth::ProviderToken;
    })
    .await;
    let id = rig.add_provider(provider.settings(Kind::Oidc)).await;
    (provider, rig, id)
}

/// Expects that the person has to log in again, now and from now on.
async fn check_ended(rig: &Rig, granted: &Granted) {
    for _ in 0..2 {
        let response = rig.call(&granted.token).await;
        assert_eq!(response.status(), 401);
        assert!(response.headers().contains_key("www-authenticate"));
    }
    assert_eq!(rig.count("grant.revoked"), 1);
    let stored = rig.app().vault.upstream(granted.id).await;
    assert!(stored.expect("the vault").is_none());
}

/// Expects that the answer puts the fault where it is, and that nothing ended.
async fn check_told(rig: &Rig, granted: &Granted) {
    let response = rig.call(&granted.token).await;
    assert_eq!(response.status(), 502);
    let told = response.text().await.expect("text");
    assert!(told.contains("identity provider"), "{told}");
    assert_eq!(rig.count("grant.revoked"), 0);
}

#[tokio::test]
async fn an_upstream_that_needs_the_token_that_ended_ends_the_grant() {
    let (_provider, rig, id) = rig(StatusCode::UNAUTHORIZED).await;
    let ended = tokens(None, Some(clock::now() - TimeDelta::seconds(1)));
    let ended = rig.grant_with("read", id, &ended).await;
    check_ended(&rig, &ended).await;
}

#[tokio::test]
async fn a_token_that_the_upstream_refuses_is_renewed_once() {
    let (provider, rig, id) = rig(StatusCode::UNAUTHORIZED).await;
    let granted = grant(&provider, &rig, id, 3600).await;
    let before = stored(&rig, &granted).await;
    let calls = join_all((0..10).map(|_| rig.call(&granted.token))).await;
    assert!(calls.iter().any(|response| response.status() == 503));
    let after = stored(&rig, &granted).await;
    assert_ne!(before.access_token.expose(), after.access_token.expose());
    check_told(&rig, &granted).await;
    assert_eq!(refreshes(&provider), 1);
}

#[tokio::test]
async fn a_token_that_the_provider_took_back_ends_the_grant() {
    for error in ["invalid_grant", "invalid_refresh_token"] {
        let (provider, rig, id) = rig(StatusCode::UNAUTHORIZED).await;
        let granted = grant(&provider, &rig, id, 3600).await;
        provider.behave(Behaviour::TokenError(error));
        check_ended(&rig, &granted).await;
    }
}

#[tokio::test]
async fn a_provider_that_cannot_judge_ends_nothing() {
    let (provider, rig, id) = rig(StatusCode::UNAUTHORIZED).await;
    let granted = grant(&provider, &rig, id, 3600).await;
    provider.behave(Behaviour::At(Endpoint::Token, Fault::Status(503)));
    for _ in 0..2 {
        assert_eq!(rig.call(&granted.token).await.status(), 503);
    }
    assert_eq!(refreshes(&provider), 1);
    assert_eq!(rig.count("grant.revoked"), 0);
}

#[tokio::test]
async fn one_refusal_does_not_end_what_nothing_renews() {
    let (_provider, rig, id) = rig(StatusCode::UNAUTHORIZED).await;
    let granted = rig.grant_with("read", id, &tokens(None, None)).await;
    for _ in 0..2 {
        check_told(&rig, &granted).await;
    }
}

#[tokio::test]
async fn a_scope_that_is_too_small_for_the_upstream_ends_nothing() {
    let (provider, rig, id) = rig(StatusCode::FORBIDDEN).await;
    let granted = grant(&provider, &rig, id, 3600).await;
    check_told(&rig, &granted).await;
    assert_eq!(refreshes(&provider), 0);
}

#[tokio::test]
async fn a_no_in_other_words_counts_once_the_token_ended() {
    let (provider, rig, id) = rig(StatusCode::OK).await;
    let (ending, ended) = (
        grant(&provider, &rig, id, 30).await,
        grant(&provider, &rig, id, -1).await,
    );
    provider.behave(Behaviour::TokenError("invalid_refresh_token"));
    for _ in 0..2 {
        assert_eq!(rig.call(&ending.token).await.status(), 200);
        rig.settled().await;
    }
    assert_eq!((refreshes(&provider), rig.count("grant.revoked")), (1, 0));
    check_ended(&rig, &ended).await;
}
