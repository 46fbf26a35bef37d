//! Signing keys: listed without the keys, rotated with an event.

use serde_json::json;

use crate::rig::{Rig, problem};

#[tokio::test]
async fn a_rotated_key_signs_and_the_old_one_still_verifies() {
    let rig = Rig::start().await;
    let logged_in = rig.log_in().await;
    let server = &rig.server;
    let in_use = async || {
        let keys = server.get("/api/v1/keys").await.expect(200).json();
        let keys = keys["data"].as_array().expect("a list has data").clone();
        let in_use: Vec<_> = keys
            .into_iter()
            .filter(|key| key["in_use"] == true)
            .collect();
        assert_eq!(in_use.len(), 1);
        in_use[0].clone()
    };
    let old = in_use().await;
    assert_eq!(old["alg"], "HS256");
    let rotated = server
        .post("/api/v1/keys/rotate", &json!({"alg": "HS256"}))
        .await;
    let new = rotated.expect(201).json();
    assert_ne!(new["kid"], old["kid"]);
    assert_eq!(in_use().await["kid"], new["kid"]);
    let types = server.event_types("type=signing_key.*").await;
    let types: Vec<_> = types.iter().rev().take(2).map(String::as_str).collect();
    assert_eq!(types, ["signing_key.retired", "signing_key.created"]);

    let again = logged_in.client.refresh(&logged_in.tokens.refresh).await;
    assert!(again.expect(200).json()["access_token"].is_string());
    let old_token = rig.proxy.list_tools(&logged_in.tokens.access).await;
    assert_ne!(old_token.status, 401, "its signature is still known");
    for alg in [json!("none"), json!(null), json!(1)] {
        server
            .post("/api/v1/keys/rotate", &json!({"alg": alg}))
            .await
            .expect(400);
    }
    let answer = server
        .post("/api/v1/keys/rotate", &json!({"algo": "HS256"}))
        .await;
    problem(answer, 400, "unknown_member");
}
