//! Scripts with keys that operators made.

use chrono::TimeDelta;
use domain::api_key::{ApiKey, Command, Revoked};
use domain::id::OperatorId;
use domain::proxy::UpstreamAuth;
use grantlog::clock;
use grantlog::tokens::secret;

use crate::rig::{Rig, system};
use crate::upstream::Upstream;

#[tokio::test]
async fn a_key_is_good_at_its_proxy_in_either_header() {
    let upstream = Upstream::start().await;
    let rig = Rig::new(&upstream.url).await;
    rig.add_proxy(2, &upstream.url, |_| {}, None).await;
    let key = rig.api_key(1, "", None).await;
    assert_eq!(rig.call(key.expose()).await.status(), 200);
    let header = rig
        .http
        .post(rig.at("/proxy/1/mcp"))
        .header("x-api-key", key.expose());
    assert_eq!(header.send().await.expect("an answer").status(), 200);
    for received in upstream.received() {
        assert!(!received.headers.contains_key("authorization"));
        assert!(!received.headers.contains_key("x-api-key"));
    }
    let elsewhere = rig.post("/proxy/2/mcp", key.expose()).send().await;
    assert_eq!(elsewhere.expect("an answer").status(), 401);
    assert_eq!(rig.refusals().await["api_key_of_another_proxy"], 1);
}

#[tokio::test]
async fn keys_that_have_ended_or_never_were_are_invalid() {
    let upstream = Upstream::start().await;
    let rig = Rig::new(&upstream.url).await;
    let key = rig.api_key(1, "", None).await;
    assert_eq!(rig.call(key.expose()).await.status(), 200);
    let id = secret::ApiKey::parse(key.expose()).expect("a key").id;
    let by = OperatorId(uuid::Uuid::nil());
    let command = Command::Revoke(Revoked { by });
    let revoked = rig.app().execute::<ApiKey>(id, command, &system()).await;
    assert!(revoked.is_ok());
    let forged = secret::ApiKey::generate(id);
    let unknown = secret::ApiKey::generate(domain::id::ApiKeyId(uuid::Uuid::nil()));
    for key in [&key, &forged, &unknown] {
        let response = rig.call(key.expose()).await;
        assert_eq!(response.status(), 401);
        let challenge = response.headers()["www-authenticate"]
            .to_str()
            .expect("text");
        assert!(challenge.contains("error=\"invalid_token\""));
    }
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn who_fails_too_often_is_not_looked_up_and_keys_that_are_known_work_on() {
    let upstream = Upstream::start().await;
    let rig = Rig::new(&upstream.url).await;
    let key = rig.api_key(1, "", None).await;
    let unknown = secret::ApiKey::generate(domain::id::ApiKeyId(uuid::Uuid::nil()));
    let fail = async || rig.call(unknown.expose()).await.status().as_u16();
    // A minute may end meanwhile, once.
    let mut answers = Vec::new();
    while answers.last() != Some(&429) && answers.len() < 62 {
        answers.push(fail().await);
    }
    assert_eq!(answers.last(), Some(&429));
    assert!(answers.len() > 30 && answers[..30].iter().all(|status| *status == 401));
    assert_eq!(rig.call(key.expose()).await.status(), 200);
    assert_eq!(rig.refusals().await["too_many_failures"], 1);
}

#[tokio::test]
async fn a_key_needs_what_every_call_needs() {
    let upstream = Upstream::start().await;
    let rig = Rig::with(&upstream.url, |settings| {
        settings.required_scopes = "read".parse().expect("a scope");
    })
    .await;
    let soon = Some(clock::now() + TimeDelta::hours(1));
    let (small, enough) = (
        rig.api_key(1, "", soon).await,
        rig.api_key(1, "read", soon).await,
    );
    assert_eq!(rig.call(small.expose()).await.status(), 403);
    assert_eq!(rig.call(enough.expose()).await.status(), 200);
}

#[tokio::test]
async fn a_key_has_no_person_so_the_upstream_gets_nobodys_token() {
    let upstream = Upstream::start().await;
    let rig = Rig::with(&upstream.url, |settings| {
        settings.upstream_auth = UpstreamAuth::ProviderToken;
    })
    .await;
    let response = rig.call(rig.api_key(1, "", None).await.expose()).await;
    assert_eq!(response.status(), 200);
    assert!(!upstream.only().headers.contains_key("authorization"));
}
