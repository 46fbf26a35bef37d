//! Refresh tokens: rotation, retry, reuse.

use futures_util::future::join_all;
use rusqlite::Connection;
use serde_json::json;
use support::{Params, Tokens};

use crate::rig::{Rig, refused};

/// Of how many grants the provider's tokens are kept.
pub fn upstream_tokens(rig: &Rig) -> i64 {
    let file = rig.server.folder().join("data").join("vault.db");
    let vault = Connection::open(file).expect("the vault opens");
    let count = vault.query_row("SELECT count(*) FROM upstream_token", [], |row| row.get(0));
    count.expect("counted")
}

#[tokio::test]
async fn twenty_at_once_get_the_same_successor() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let first = rig.log_in(&client).await;
    let answers = join_all((0..20).map(|_| client.refresh(&first.refresh))).await;
    let successors: std::collections::BTreeSet<String> = answers
        .into_iter()
        .map(|answer| Tokens::of(&answer.expect(200)).refresh)
        .collect();
    assert_eq!(successors.len(), 1);
    let rotated = rig.server.events("type=grant.refresh_token_rotated").await;
    assert_eq!(rotated.len(), 1);
    let retried = rig.server.events("type=grant.refresh_token_retried").await;
    assert_eq!(retried.len(), 19);
    let successor = successors.first().expect("one");
    client.refresh(successor).await.expect(200);
}

#[tokio::test]
async fn a_token_that_was_replaced_and_whose_successor_was_used_is_theft() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let first = rig.log_in(&client).await;
    let second = Tokens::of(&client.refresh(&first.refresh).await.expect(200));
    assert_ne!(first.refresh, second.refresh);
    assert!(
        rig.admits(&first.access).await,
        "rotation does not end the earlier access token"
    );
    let retried = Tokens::of(&client.refresh(&first.refresh).await.expect(200));
    assert_eq!(
        retried.refresh, second.refresh,
        "nothing of the successor was used yet"
    );
    assert!(rig.admits(&second.access).await);
    assert_eq!(upstream_tokens(&rig), 1);
    refused(client.refresh(&first.refresh).await, 400, "invalid_grant");
    for token in [&first.access, &second.access, &retried.access] {
        assert!(!rig.admits(token).await);
    }
    refused(client.refresh(&second.refresh).await, 400, "invalid_grant");
    let reused = rig.server.events("type=grant.refresh_token_reused").await;
    assert_eq!(reused.len(), 1);
    assert_eq!(upstream_tokens(&rig), 0);
    assert_eq!(rig.server.events("type=grant.revoked").await.len(), 1);
}

#[tokio::test]
async fn without_a_window_every_second_use_is_theft() {
    let rig = Rig::with(json!({
        "oauth_proxy_require_consent": false,
        "oauth_proxy_refresh_retry_seconds": 0,
    }))
    .await;
    let client = rig.client().await;
    let first = rig.log_in(&client).await;
    client.refresh(&first.refresh).await.expect(200);
    refused(client.refresh(&first.refresh).await, 400, "invalid_grant");
    assert_eq!(rig.server.events("type=grant.revoked").await.len(), 1);
}

#[tokio::test]
async fn scopes_narrow_and_never_widen_and_strangers_do_no_harm() {
    let rig = Rig::start().await;
    let (client, other) = (rig.client().await, rig.client().await);
    let tokens = rig.log_in(&client).await;
    let refresh = |scope: &str| {
        client.authenticated(Params::new([
            ("grant_type", "refresh_token"),
            ("refresh_token", &tokens.refresh),
            ("scope", scope),
        ]))
    };
    refused(
        rig.token(&refresh("read admin")).await,
        400,
        "invalid_scope",
    );
    refused(other.refresh(&tokens.refresh).await, 400, "invalid_grant");
    let mut forged = tokens.refresh.clone();
    forged.pop();
    forged.push(if tokens.refresh.ends_with('A') {
        'Q'
    } else {
        'A'
    });
    refused(client.refresh(&forged).await, 400, "invalid_grant");
    let narrowed = rig.token(&refresh("read")).await.expect(200).json();
    assert_eq!(narrowed["scope"], "read");
    let next = narrowed["refresh_token"].as_str().expect("a token");
    assert_eq!(
        client.refresh(next).await.expect(200).json()["scope"],
        "read write"
    );
}

#[tokio::test]
async fn a_client_that_registered_no_refreshing_gets_none() {
    let rig = Rig::start().await;
    let mut metadata = support::public_client();
    metadata["grant_types"] = json!(["authorization_code"]);
    let client = rig.proxy.register(metadata).await;
    let code = rig.code(&client).await;
    let answer = client
        .redeem(&code, &support::Pkce::rfc7636())
        .await
        .expect(200);
    assert!(answer.json().get("refresh_token").is_none());
    refused(
        client.refresh("gw_refresh_x").await,
        400,
        "unauthorized_client",
    );
}

#[tokio::test]
async fn a_client_or_proxy_that_is_gone_takes_its_grants_along() {
    let rig = Rig::start().await;
    let (one, other) = (rig.client().await, rig.client().await);
    let (of_one, of_other) = (rig.log_in(&one).await, rig.log_in(&other).await);
    rig.server
        .delete(&format!("/api/v1/clients/{}", one.id))
        .await
        .expect(204);
    assert!(!rig.admits(&of_one.access).await);
    refused(one.refresh(&of_one.refresh).await, 401, "invalid_client");
    assert!(rig.admits(&of_other.access).await);
    let off = json!({"config": {"oauth_proxy_enabled": false}});
    rig.server
        .patch("/api/v1/proxies/1", &off)
        .await
        .expect(200);
    refused(
        other.refresh(&of_other.refresh).await,
        404,
        "proxy_not_found",
    );
    assert_eq!(rig.proxy.list_tools(&of_other.access).await.status, 404);
}
