//! The first use of a token is an event, once, before the upstream hears of it.

use std::sync::{Arc, Mutex};

use axum::response::IntoResponse;
use domain::grant::{Command, Grant, RevocationReason};
use futures_util::future::join_all;
use grantlog::app::App;
use reqwest::StatusCode;

use crate::rig::{Rig, system};
use crate::upstream::Upstream;

const FIRST_USED: &str = "grant.access_token_first_used";

#[tokio::test]
async fn many_first_uses_at_once_are_one_event_that_comes_first() {
    let app: Arc<Mutex<Option<Arc<App>>>> = Arc::default();
    let known = app.clone();
    let upstream = Upstream::answering(move || {
        let app = known.lock().expect("no panic").clone().expect("it is set");
        let entries = app
            .log
            .read_after_blocking(0, 1000)
            .expect("the log is read");
        let told = |entry: &[u8]| String::from_utf8_lossy(entry).contains(FIRST_USED);
        if entries.iter().any(|entry| told(&entry.entry)) {
            StatusCode::OK.into_response()
        } else {
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    })
    .await;
    let rig = Rig::new(&upstream.url).await;
    *app.lock().expect("no panic") = Some(rig.app().clone());
    let granted = rig.grant("read").await;
    for response in join_all((0..20).map(|_| rig.call(&granted.token))).await {
        assert_eq!(response.status(), 200);
    }
    assert_eq!(rig.call(&granted.token).await.status(), 200);
    assert_eq!(rig.count(FIRST_USED), 1);
}

#[tokio::test]
async fn a_revocation_that_this_node_has_not_heard_of_is_found_at_the_first_use() {
    let upstream = Upstream::start().await;
    let rig = Rig::new(&upstream.url).await;
    let granted = rig.grant("read").await;
    let other_node = App::new(rig.app().log.clone(), rig.app().vault.clone());
    let command = Command::Revoke {
        reason: RevocationReason::ClientRequest,
    };
    let revoked = other_node
        .execute::<Grant>(granted.id, command, &system())
        .await;
    assert!(revoked.is_ok());
    assert!(
        !rig.app()
            .revocations
            .contains(granted.id, granted.claims.client_id)
    );
    assert_eq!(rig.call(&granted.token).await.status(), 401);
    assert_eq!(rig.count(FIRST_USED), 0);
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn a_token_of_a_grant_that_is_not_in_the_log_is_invalid() {
    let upstream = Upstream::start().await;
    let rig = Rig::new(&upstream.url).await;
    let mut granted = rig.grant("read").await;
    granted.claims.grant = domain::id::GrantId(uuid::Uuid::nil());
    assert_eq!(rig.call(&rig.mint(&granted.claims)).await.status(), 401);
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_forwarded() {
    let upstream = Upstream::start().await;
    let rig = Rig::new(&upstream.url).await;
    let (known, fresh) = (rig.grant("read").await, rig.grant("read").await);
    assert_eq!(rig.call(&known.token).await.status(), 200);
    rig.app().log.close().await;
    for _ in 0..2 {
        let response = rig.call(&fresh.token).await;
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key("retry-after"));
    }
    assert_eq!(
        rig.call(&known.token).await.status(),
        200,
        "it was recorded before"
    );
    assert_eq!(upstream.received().len(), 2);
}
