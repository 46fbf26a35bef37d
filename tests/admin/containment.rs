//! Ending what was granted: what is named ends, and nothing else.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::rig::{Rig, problem, send};

#[tokio::test]
async fn what_does_not_say_clearly_what_to_end_is_refused() {
    let rig = Rig::start().await;
    let server = &rig.server;
    let one = rig.log_in().await;
    let revocations = "/api/v1/revocations";
    for (document, code) in [
        (json!({"reason": "why"}), "missing_member"),
        (
            json!({"grant": one.grant, "proxy": 1, "reason": "why"}),
            "missing_member",
        ),
        (json!({"grant": one.grant}), "missing_member"),
        (json!({"grant": one.grant, "reason": ""}), "invalid_member"),
        (json!({"grant": "x", "reason": "why"}), "invalid_member"),
        (
            json!({"grants": one.grant, "reason": "why"}),
            "unknown_member",
        ),
    ] {
        problem(server.post(revocations, &document).await, 400, code);
    }
    for (seed, code) in [
        (
            json!({"client": format!("gateway_{}", "0".repeat(32))}),
            "unknown_client",
        ),
        (json!({"proxy": 99}), "unknown_proxy"),
        (json!({"provider": 99}), "unknown_provider"),
    ] {
        let mut document = seed;
        document["reason"] = json!("a typing error is no success");
        problem(server.post(revocations, &document).await, 404, code);
    }
    let unknown = json!({"grant": "0".repeat(32), "reason": "why"});
    problem(
        server.post(revocations, &unknown).await,
        404,
        "unknown_grant",
    );
}

#[tokio::test]
async fn containment_ends_what_it_names() {
    let rig = Rig::start().await;
    let server = &rig.server;
    let (one, other) = (rig.log_in().await, rig.log_in().await);
    let revocations = "/api/v1/revocations";
    let plan = json!({"subject": one.subject, "reason": "stolen laptop", "dry_run": true});
    let planned = server.post(revocations, &plan).await.expect(200).json();
    let grants: BTreeSet<_> = rows_of(&planned).into_iter().collect();
    assert_eq!(grants, [one.grant.clone(), other.grant.clone()].into());
    assert_eq!(
        (&planned["dry_run"], &planned["counts"]["grants"]),
        (&json!(true), &json!(2))
    );
    let none: [String; 0] = [];
    assert_eq!(server.event_types("type=grant.revoked").await, none);
    let read = server.events("type=audit.read").await;
    let told = read
        .iter()
        .filter(|event| event["data"]["route"] == revocations);
    let told: Vec<_> = told.map(|event| event["query"].clone()).collect();
    assert_eq!(
        told,
        [json!(format!("subject={}", one.subject))],
        "a dry run is a read"
    );

    let responder = rig.operator("responder").await;
    let reason = format!("stolen laptop with {}", one.tokens.refresh);
    let document = json!({"grant": one.grant, "reason": reason});
    let done = send(
        server,
        &responder,
        Method::POST,
        revocations,
        Some(&document),
    )
    .await;
    assert_eq!(rows_of(&done.expect(200).json()), [one.grant.as_str()]);
    let revoked = server.events("type=grant.revoked").await;
    assert_eq!(revoked.len(), 1);
    let note = "stolen laptop with gw_refresh_(redacted)";
    assert_eq!(revoked[0]["data"]["note"], note);
    let grant = server
        .get(&format!("/api/v1/grants/{}", one.grant))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&grant["live"], &grant["reason"]),
        (&json!(false), &json!("operator"))
    );
    one.client
        .refresh(&one.tokens.refresh)
        .await
        .expect_error(400, "invalid_grant");
    let rest = json!({"client": other.client.id, "reason": "stolen laptop"});
    server.post(revocations, &rest).await.expect(200);
    other
        .client
        .refresh(&other.tokens.refresh)
        .await
        .expect_error(400, "invalid_grant");
}

/// Nothing ends twice, and nothing is said to.
#[tokio::test]
async fn what_has_ended_is_not_ended_again() {
    let rig = Rig::start().await;
    let (server, grant) = (&rig.server, rig.log_in().await.grant);
    let revocations = "/api/v1/revocations";
    let document = json!({"grant": grant, "reason": "stolen laptop"});
    let plan = json!({"grant": grant, "reason": "stolen laptop", "dry_run": true});
    for (document, count) in [(&plan, 1), (&document, 1), (&document, 0), (&plan, 0)] {
        let done = server.post(revocations, document).await.expect(200).json();
        assert_eq!(rows_of(&done), vec![grant.clone(); count], "{document}");
        assert_eq!(done["counts"]["grants"], count);
    }
    assert_eq!(server.events("type=grant.revoked").await.len(), 1);
    let command = ["grant", "revoke", &grant, "--yes"];
    let said = server.command(&command).await;
    assert_eq!(said.status.code(), Some(0));
    assert_eq!(said.stderr, b"the grant had ended already\n");
}

fn rows_of(revocation: &Value) -> Vec<String> {
    let grants = revocation["grants"].as_array().expect("grants");
    grants
        .iter()
        .map(|grant| grant.as_str().expect("an id").to_owned())
        .collect()
}
