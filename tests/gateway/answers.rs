//! How long an answer goes on that has begun.

use std::time::Duration;

use chrono::TimeDelta;
use domain::id::{ClientId, OperatorId, ProxyId};
use domain::{api_key, client, proxy};
use grantlog::clock;
use grantlog::tokens::secret::ApiKey;
use reqwest::Response;
use serde_json::json;
use tokio::time::timeout;

use crate::rig::{Rig, system};
use crate::upstream::Scripted;

/// More than any promise here: what is left to calls when the service stops is 9 s.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who ended it cannot be told from outside: only this may.
async fn next(response: &mut Response) -> reqwest::Result<Option<String>> {
    let chunk = timeout(PATIENCE, response.chunk()).await.expect("in time");
    chunk.map(|chunk| chunk.map(|chunk| String::from_utf8_lossy(&chunk).into_owned()))
}

/// An event stream that a caller of the rig's holds.
struct Held {
    rig: Rig,
    upstream: Scripted,
}

impl Held {
    async fn new() -> Self {
        let upstream = Scripted::start("text/event-stream").await;
        let rig = Rig::new(&upstream.url).await;
        Self { rig, upstream }
    }

    async fn open(&self, credential: &str) -> Response {
        let mut response = self.rig.call(credential).await;
        assert_eq!(response.status(), 200);
        self.says(&mut response, "data: 1\n\n").await;
        response
    }

    /// It goes on.
    async fn says(&self, response: &mut Response, event: &'static str) {
        self.upstream.say(event).await;
        let said = next(response).await.expect("no break");
        assert_eq!(said.as_deref(), Some(event));
    }

    /// It ends in good order, and the upstream's side of it, too.
    async fn ends(self, mut response: Response) {
        assert_eq!(next(&mut response).await.expect("no break"), None);
        timeout(PATIENCE, self.upstream.says.closed())
            .await
            .expect("the upstream notices");
    }
}

#[tokio::test]
async fn a_revoked_grant_ends_its_event_streams() {
    let held = Held::new().await;
    let [ours, other] = [held.rig.grant("read").await, held.rig.grant("read").await];
    let mut response = held.open(&ours.token).await;
    held.rig.revoke(other.id).await;
    held.says(&mut response, "data: 2\n\n").await;
    held.rig.revoke(ours.id).await;
    held.ends(response).await;
}

#[tokio::test]
async fn a_client_that_is_removed_loses_its_event_streams() {
    let held = Held::new().await;
    let registration = json!({ "redirect_uris": ["http://127.0.0.1/callback"] });
    let registered = held.rig.http.post(held.rig.at("/register"));
    let registered = registered.json(&registration).send().await;
    let registered = registered.expect("an answer").json::<serde_json::Value>();
    let registered = registered.await.expect("JSON");
    let id = registered["client_id"].as_str().expect("an id");
    let id: ClientId = id.parse().expect("an id");
    let mut claims = held.rig.grant("read").await.claims;
    claims.client_id = id;
    let response = held.open(&held.rig.mint(&claims)).await;
    let by = client::Remover::Operator(OperatorId(uuid::Uuid::nil()));
    let removed = held
        .rig
        .app()
        .execute::<client::Client>(id, client::Command::Remove(by), &system())
        .await;
    assert!(removed.is_ok());
    held.ends(response).await;
}

#[tokio::test]
async fn a_proxy_that_is_switched_off_or_removed_loses_its_event_streams() {
    for is_removed in [true, false] {
        let held = Held::new().await;
        let response = held.open(&held.rig.grant("read").await.token).await;
        let app = held.rig.app();
        let known = app.directory.proxy(ProxyId(1)).expect("a proxy");
        let mut settings = known.settings.clone();
        settings.enabled = false;
        let command = if is_removed {
            proxy::Command::Remove
        } else {
            proxy::Command::Change {
                from: Box::new(proxy::Configured::clone(&known)),
                settings: Box::new(settings),
                private_version: None,
                provider_is_known: true,
            }
        };
        let changed = app
            .execute::<proxy::Proxy>(ProxyId(1), command, &system())
            .await;
        assert!(changed.is_ok());
        held.ends(response).await;
    }
}

#[tokio::test]
async fn an_api_key_that_is_revoked_or_expires_loses_its_event_streams() {
    for expires in [false, true] {
        let held = Held::new().await;
        let end = expires.then(|| clock::now() + TimeDelta::seconds(3));
        let key = held.rig.api_key(1, "read", end).await;
        let response = held.open(key.expose()).await;
        if !expires {
            let id = ApiKey::parse(key.expose()).expect("a key").id;
            let by = OperatorId(uuid::Uuid::nil());
            let command = api_key::Command::Revoke(api_key::Revoked { by });
            let app = held.rig.app();
            let revoked = app.execute::<api_key::ApiKey>(id, command, &system()).await;
            assert!(revoked.is_ok());
        }
        held.ends(response).await;
    }
}

#[tokio::test]
async fn what_is_no_event_stream_is_broken_off_rather_than_taken_for_whole() {
    let upstream = Scripted::start("application/json").await;
    let rig = Rig::new(&upstream.url).await;
    let granted = rig.grant("read").await;
    let mut response = rig.call(&granted.token).await;
    upstream.say("[1,").await;
    assert!(next(&mut response).await.is_ok());
    rig.revoke(granted.id).await;
    assert!(next(&mut response).await.is_err());
}

#[tokio::test]
async fn a_call_that_began_in_its_tokens_time_is_answered_after_it() {
    let held = Held::new().await;
    let mut claims = held.rig.grant("read").await.claims;
    claims.exp = clock::now().timestamp() + 3;
    let token = held.rig.mint(&claims);
    let mut response = held.open(&token).await;
    while held.rig.call(&token).await.status() != 401 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Longer than it takes to judge an answer.
    tokio::time::sleep(Duration::from_secs(1)).await;
    held.says(&mut response, "data: 2\n\n").await;
}

#[tokio::test]
async fn stopping_ends_what_a_client_listens_to_in_good_order() {
    let upstream = Scripted::start("text/event-stream; charset=utf-8").await;
    let rig = Rig::new(&upstream.url).await;
    let request = rig.http.get(rig.at("/mcp"));
    let request = request.bearer_auth(rig.grant("read").await.token);
    let mut response = request.send().await.expect("an answer");
    upstream.say("data: 1\n\n").await;
    assert!(next(&mut response).await.expect("no break").is_some());
    rig.shared.stopping.cancel();
    Held { rig, upstream }.ends(response).await;
}

#[tokio::test]
async fn stopping_lets_calls_be_answered_and_breaks_off_those_that_take_too_long() {
    for content_type in ["text/event-stream", "application/json"] {
        let upstream = Scripted::start(content_type).await;
        let rig = Rig::new(&upstream.url).await;
        let mut response = rig.call(&rig.grant("read").await.token).await;
        rig.shared.stopping.cancel();
        upstream.say("late").await;
        assert_eq!(
            next(&mut response).await.expect("no break").as_deref(),
            Some("late")
        );
        drop(upstream.says);
        assert_eq!(next(&mut response).await.expect("no break"), None);
    }
    let held = Held::new().await;
    let mut response = held.open(&held.rig.grant("read").await.token).await;
    held.rig.shared.stopping.cancel();
    assert!(next(&mut response).await.is_err());
}
