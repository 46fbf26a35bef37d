//! What ends on one node ends on all of them within a second, and what begins there is good at once.

use std::time::{Duration, Instant};

use serde_json::json;
use support::{Params, Tokens, plain_http};

use crate::load::Load;
use crate::record;
use crate::rig::{NODES, Rig, Word};

/// The promise.
const EVERYWHERE_WITHIN: Duration = Duration::from_secs(1);

/// Asks all gateways again and again: each has to refuse the token when it is asked a second later, and goes on to.
pub async fn is_refused_everywhere(rig: &Rig, access_token: &str) {
    let revoked = Instant::now();
    let mut refused = vec![false; rig.nodes.count()];
    while refused.contains(&false) {
        let after = revoked.elapsed();
        for (node, word) in rig.words(access_token).await.into_iter().enumerate() {
            let in_time = after < EVERYWHERE_WITHIN && !refused[node];
            assert!(
                word == Word::Refused || in_time,
                "{node} after {after:?}: {word:?}"
            );
            refused[node] = word == Word::Refused;
        }
    }
}

/// A grant whose token every gateway has seen and remembers.
async fn known_everywhere(rig: &Rig) -> (support::Client, Tokens) {
    let client = rig.client().await;
    let tokens = rig.log_in(&client).await;
    assert_eq!(rig.words(&tokens.access).await, [Word::Admitted; NODES]);
    (client, tokens)
}

#[tokio::test]
async fn a_revoked_grant_is_refused_at_every_gateway_within_a_second() {
    let rig = Rig::start().await;
    let (_, bystander) = known_everywhere(&rig).await;
    for (node, server) in rig.nodes.iter().enumerate() {
        // By its client (RFC 7009), with either token.
        let (client, tokens) = known_everywhere(&rig).await;
        let given_up = [&tokens.access, &tokens.refresh][node % 2];
        client.at(server).revoke(given_up).await.expect(200);
        is_refused_everywhere(&rig, &tokens.access).await;
        // By an operator.
        let (_, tokens) = known_everywhere(&rig).await;
        let grant = &tokens.claims()["grant"];
        let revocation = json!({"grant": grant, "reason": "a test"});
        server
            .post("/api/v1/revocations", &revocation)
            .await
            .expect(200);
        is_refused_everywhere(&rig, &tokens.access).await;
        // With its client.
        let (client, tokens) = known_everywhere(&rig).await;
        let path = format!("/api/v1/clients/{}", client.id);
        server.delete(&path).await.expect(204);
        is_refused_everywhere(&rig, &tokens.access).await;
        // By reuse of a refresh token.
        let (client, tokens) = known_everywhere(&rig).await;
        let new = Tokens::of(&client.refresh(&tokens.refresh).await.expect(200));
        assert_eq!(rig.words(&new.access).await, [Word::Admitted; NODES]);
        let reused = client.at(server).refresh(&tokens.refresh).await;
        reused.expect_error(400, "invalid_grant");
        is_refused_everywhere(&rig, &new.access).await;
        is_refused_everywhere(&rig, &tokens.access).await;
    }
    assert_eq!(rig.words(&bystander.access).await, [Word::Admitted; NODES]);
}

/// Under load a node always has something to read before it comes to the revocation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_a_revoked_grant_is_refused_at_every_gateway_within_a_second() {
    let rig = Rig::start().await;
    let load = Load::start(&rig, 8);
    let mut revoked = Vec::new();
    for server in rig.nodes.iter() {
        let (client, tokens) = known_everywhere(&rig).await;
        load.goes_on(10).await;
        client.at(server).revoke(&tokens.refresh).await.expect(200);
        is_refused_everywhere(&rig, &tokens.access).await;
        revoked.extend(tokens.claims()["grant"].as_str().map(str::to_owned));
    }
    let mut told = load.end_undisturbed().await;
    told[0].revoked.extend(revoked);
    record::agrees(&rig, told).await;
}

#[tokio::test]
async fn an_api_key_or_proxy_that_ends_ends_everywhere_within_a_second() {
    let rig = Rig::start().await;
    for server in rig.nodes.iter() {
        let document = json!({"name": "script", "proxy_id": 1});
        let issued = server.post("/api/v1/api-keys", &document).await.expect(201);
        let (id, key) = (issued.json()["id"].clone(), issued.json()["key"].clone());
        let key = key.as_str().expect("a key");
        assert_eq!(rig.words(key).await, [Word::Admitted; NODES]);
        let path = format!("/api/v1/api-keys/{}", id.as_str().expect("an id"));
        server.delete(&path).await.expect(204);
        is_refused_everywhere(&rig, key).await;
    }
    let (_, tokens) = known_everywhere(&rig).await;
    let off = json!({"config": {"oauth_proxy_enabled": false}});
    rig.nodes[1]
        .patch("/api/v1/proxies/1", &off)
        .await
        .expect(200);
    let switched_off = Instant::now();
    for server in rig.nodes.iter() {
        let at = rig.proxy.at(server);
        while at.list_tools(&tokens.access).await.status != 404 {
            assert!(switched_off.elapsed() < EVERYWHERE_WITHIN);
        }
    }
}

#[tokio::test]
async fn an_operator_who_was_removed_is_let_in_nowhere() {
    let rig = Rig::start().await;
    for server in rig.nodes.iter() {
        let document = json!({"name": "responder", "role": "responder"});
        let added = server
            .post("/api/v1/operators", &document)
            .await
            .expect(201);
        let (id, token) = (added.json()["id"].clone(), added.json()["token"].clone());
        let token = token.as_str().expect("a token");
        let statuses = async || {
            let mut statuses = Vec::new();
            for node in rig.nodes.iter() {
                let request = plain_http().get(format!("{}/api/v1/grants", node.url));
                let answer = request.bearer_auth(token).send().await.expect("an answer");
                statuses.push(answer.status().as_u16());
            }
            statuses
        };
        assert_eq!(statuses().await, [200; NODES]);
        let path = format!("/api/v1/operators/{}", id.as_str().expect("an id"));
        server.delete(&path).await.expect(204);
        assert_eq!(statuses().await, [401; NODES]);
    }
}

/// A key that one node made is known to the others before its first token reaches them.
#[tokio::test]
async fn a_rotated_key_is_good_on_all_nodes_at_once() {
    let rig = Rig::start().await;
    let client = rig.confidential_client().await;
    let mut kids = std::collections::BTreeSet::new();
    for round in 0..2 * NODES {
        let [here, next, last] = [0, 1, 2].map(|n| (round + n) % NODES);
        let mut tokens = rig.log_in(&client).await;
        if round == 0 {
            let rotated = rig.nodes[here].command(&["keys", "rotate", "HS256", "--yes"]);
            assert!(rotated.await.status.success());
        } else {
            let rotate = json!({"alg": "HS256"});
            let rotated = rig.nodes[here].post("/api/v1/keys/rotate", &rotate).await;
            rotated.expect(201);
        }
        let old = tokens.access;
        let refreshed = client.at(&rig.nodes[here]).refresh(&tokens.refresh).await;
        tokens = Tokens::of(&refreshed.expect(200));
        assert!(kids.insert(tokens.kid()), "signed with the old key");
        // Whichever endpoint of whichever node sees it first.
        match round % 3 {
            0 => {
                let revoked = client.at(&rig.nodes[next]).revoke(&tokens.access).await;
                revoked.expect(200);
                is_refused_everywhere(&rig, &tokens.access).await;
            }
            1 => {
                let params = Params::new([("token", tokens.access.as_str())]);
                let proxy = rig.proxy.at(&rig.nodes[last]);
                let said = proxy
                    .post("introspect", &client.authenticated(params))
                    .await;
                assert_eq!(said.expect(200).json()["active"], true);
            }
            _ => {
                assert_eq!(rig.word(next, &tokens.access).await, Word::Admitted);
                assert_eq!(rig.words(&old).await, [Word::Admitted; NODES]);
            }
        }
    }
}
