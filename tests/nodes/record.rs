//! What everybody was told, compared with what every node says is on record.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use support::{Server, Tokens};

use crate::load::Told;
use crate::rig::{Rig, Word};

/// The events that issue tokens.
const ISSUES: [&str; 3] = [
    "grant.code_redeemed",
    "grant.refresh_token_rotated",
    "grant.refresh_token_retried",
];

/// Checks that nothing acknowledged is lost, nothing was done twice, no node skips a position, and
/// every client can go on at every node.
pub async fn agrees(rig: &Rig, told: Vec<Told>) {
    for (client, tokens) in told.iter().filter_map(|told| told.last.clone()) {
        let mut newest = tokens;
        for node in rig.nodes.iter() {
            let answer = client.at(node).refresh(&newest.refresh).await;
            newest = Tokens::of(&answer.expect(200));
        }
        let words = rig.words(&newest.access).await;
        assert!(
            words.iter().all(|word| *word == Word::Admitted),
            "{words:?}"
        );
    }
    let mut views = Vec::new();
    let head = head(&rig.nodes[0]).await;
    for node in rig.nodes.iter() {
        views.push(events(node, head).await);
        let status = node.get("/api/v1/status").await.expect(200).json();
        assert_eq!(status["log_intact"], true);
    }
    let record = views.pop().expect("a node");
    for view in views {
        assert!(view == record, "two nodes tell different stories");
    }
    every_token_has_its_event(&record, &told);
    every_client_has_its_event(&record, &told);
    every_grant_is_one_family(&record, &told);
}

/// Checks that no token was issued to somebody who was not told.
pub async fn every_answer_was_given(rig: &Rig, told: &[Told]) {
    let issued: usize = told.iter().map(|told| told.issued.len()).sum();
    let record = events(&rig.nodes[0], head(&rig.nodes[0]).await).await;
    let issues = record
        .iter()
        .filter(|event| ISSUES.contains(&text(event, "type")));
    assert_eq!(issues.count(), issued);
}

/// The position of an event that this node makes now.
pub async fn head(node: &Server) -> u64 {
    let operator = serde_json::json!({"name": "witness", "role": "auditor"});
    node.post("/api/v1/operators", &operator).await.expect(201);
    let events = node.events("type=operator.added").await;
    let last = events.last().expect("the event that was just made");
    last["position"].as_u64().expect("a position")
}

/// Every event up to `head` as a node tells it; the positions are dense.
async fn events(node: &Server, head: u64) -> Vec<Value> {
    let (mut events, mut next) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/events?sort=asc&limit=1000&min_position={head}{next}");
        let page = node.get(&path).await.expect(200).json();
        for event in page["data"].as_array().expect("rows") {
            let position = event["position"].as_u64().expect("a position");
            assert_eq!(position, events.len() as u64, "a position is missing");
            events.push(event.clone());
            if position == head {
                return events;
            }
        }
        let cursor = page["next"].as_str().expect("more, up to the head");
        next = format!("&cursor={cursor}");
    }
}

fn every_token_has_its_event(record: &[Value], told: &[Told]) {
    let by_id: BTreeMap<&str, &Value> = record
        .iter()
        .map(|event| (text(event, "id"), event))
        .collect();
    assert_eq!(by_id.len(), record.len(), "an event is there twice");
    let mut seen = BTreeSet::new();
    for tokens in told.iter().flat_map(|told| &told.issued) {
        let claims = tokens.claims();
        let jti = text(&claims, "jti");
        assert!(seen.insert(jti.to_owned()), "two answers for {jti}");
        let event = by_id
            .get(jti)
            .unwrap_or_else(|| panic!("no event for {claims}"));
        let stream = format!("grant-{}", text(&claims, "grant"));
        assert_eq!(text(event, "stream"), stream);
        assert!(ISSUES.contains(&text(event, "type")), "{event}");
    }
}

fn every_client_has_its_event(record: &[Value], told: &[Told]) {
    let registered = record
        .iter()
        .filter(|event| event["type"] == "client.registered")
        .map(|event| text(event, "client_id"));
    let registered: Vec<&str> = registered.collect();
    for client in told.iter().flat_map(|told| &told.clients) {
        let count = registered.iter().filter(|id| *id == client).count();
        assert_eq!(count, 1, "{client}");
    }
}

/// One redemption, one successor for each token, and nobody taken for a thief.
fn every_grant_is_one_family(record: &[Value], told: &[Told]) {
    let mut grants: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for event in record {
        if let Some(grant) = text(event, "stream").strip_prefix("grant-") {
            grants.entry(grant).or_default().push(event);
        }
    }
    let revoked: Vec<&String> = told.iter().flat_map(|told| &told.revoked).collect();
    let doubtful: Vec<&String> = told.iter().flat_map(|told| &told.doubtful).collect();
    let is_among = |grants: &[&String], grant: &str| grants.iter().any(|one| *one == grant);
    for (grant, events) in grants {
        for (version, event) in (0..).zip(&events) {
            assert_eq!(event["version"], version, "{event}");
        }
        let of = |name: &str| events.iter().filter(|event| event["type"] == name).count();
        assert!(of("grant.code_redeemed") <= 1, "{grant} is redeemed twice");
        assert_eq!(of("grant.refresh_token_reused"), 0, "{grant}");
        if of("grant.revoked") > 0 && !is_among(&revoked, grant) {
            assert!(is_among(&doubtful, grant), "{grant} was revoked");
            assert_eq!(of("grant.code_replayed"), 1, "{grant}");
        }
        let generations = events
            .iter()
            .filter(|event| event["type"] == "grant.refresh_token_rotated")
            .map(|event| event["data"]["generation"].as_u64());
        for (expected, generation) in (2..).zip(generations) {
            assert_eq!(generation, Some(expected), "{grant}");
        }
    }
}

fn text<'a>(json: &'a Value, member: &str) -> &'a str {
    json[member]
        .as_str()
        .unwrap_or_else(|| panic!("no {member} in {json}"))
}
