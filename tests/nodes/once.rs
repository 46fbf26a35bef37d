//! What may happen once happens once, on whichever nodes it is tried at the same time.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::json;
use support::{Browser, Pkce, Tokens, moved};

use crate::fake_provider::{Behaviour, Endpoint, Fault, Request};
use crate::rig::{NODES, Rig, Word};

/// How often each node is asked at once.
const EACH: usize = 4;

#[tokio::test]
async fn a_code_is_redeemed_once_and_its_replay_ends_the_family() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    for _ in 0..3 {
        let code = rig.code(&client).await;
        let nodes = rig.nodes.in_turn(EACH * NODES).map(|node| client.at(node));
        let redeeming = nodes.map(|client| {
            let code = code.clone();
            async move { client.redeem(&code, &Pkce::rfc7636()).await }
        });
        let mut tokens = Vec::new();
        for answer in join_all(redeeming).await {
            match answer.status {
                200 => tokens.push(Tokens::of(&answer)),
                _ => drop(answer.expect_error(400, "invalid_grant")),
            }
        }
        let [tokens] = &tokens[..] else {
            panic!("{} answers with tokens", tokens.len());
        };
        for node in 0..NODES {
            let refused = client.at(&rig.nodes[node]).refresh(&tokens.refresh).await;
            refused.expect_error(400, "invalid_grant");
            rig.until_word(node, &tokens.access, Word::Refused).await;
        }
        let grant = tokens.claims()["grant"].as_str().expect("an id").to_owned();
        let told = rig.nodes[0].event_types(&format!("grant_id={grant}")).await;
        let story = [
            "grant.login_succeeded",
            "grant.code_issued",
            "grant.code_redeemed",
            "grant.code_replayed",
            "grant.revoked",
        ];
        assert_eq!(told, story);
    }
}

#[tokio::test]
async fn a_callback_leads_to_one_code() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    for round in 0..4 {
        let mut browser = Browser::new();
        let url = client.authorize_url(&client.authorization(&Pkce::rfc7636()));
        let callback = format!("{}/api/v1/oauth/callback/1", rig.nodes.server.url);
        let back = browser.open(&url, &callback).await;
        let back = back.url.as_str().to_owned();
        let returning = rig.nodes.in_turn(EACH * NODES).map(|node| {
            let (mut tab, back) = (browser.clone(), moved(&back, &node.url));
            let redirect_uri = client.redirect_uri.clone();
            async move { tab.open(&back, &redirect_uri).await }
        });
        let (back, elsewhere): (Vec<_>, Vec<_>) = join_all(returning)
            .await
            .into_iter()
            .partition(|page| page.url.as_str().starts_with(&client.redirect_uri));
        // The others are told that it is done, or sent to the same place by the node that did it.
        for page in &elsewhere {
            assert_eq!(page.status, 400, "{page:?}");
            assert!(page.body.contains("already been completed"), "{page:?}");
        }
        let codes: BTreeSet<_> = back.iter().map(|page| page.param("code")).collect();
        assert_eq!(codes.len(), 1, "round {round}");
        let code = back[0].param("code").expect("a code");
        client.redeem(&code, &Pkce::rfc7636()).await.expect(200);
    }
    let logins = rig.nodes[0].list("/api/v1/logins?outcome=success").await;
    assert_eq!(logins.len(), 4);
}

#[tokio::test]
async fn a_refresh_token_has_one_successor_on_all_nodes() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let mut newest = rig.log_in(&client).await;
    const ROUNDS: usize = 4;
    for _ in 0..ROUNDS {
        let nodes = rig.nodes.in_turn(EACH * NODES).map(|node| client.at(node));
        let refreshing = nodes.map(|client| {
            let token = newest.refresh.clone();
            async move { Tokens::of(&client.refresh(&token).await.expect(200)) }
        });
        let all = join_all(refreshing).await;
        let successors: BTreeSet<_> = all.iter().map(|tokens| &tokens.refresh).collect();
        assert_eq!(successors.len(), 1, "more than one live leaf");
        for (n, tokens) in all.iter().enumerate() {
            assert_eq!(rig.word(n % NODES, &tokens.access).await, Word::Admitted);
        }
        newest = all.into_iter().next().expect("an answer");
    }
    let count = async |of: &str| rig.nodes[1].events(&format!("type={of}")).await.len();
    assert_eq!(count("grant.refresh_token_rotated").await, ROUNDS);
    let retries = ROUNDS * (EACH * NODES - 1);
    assert_eq!(count("grant.refresh_token_retried").await, retries);
    assert_eq!(count("grant.revoked").await, 0);
}

#[tokio::test]
async fn a_provider_is_asked_once_by_all_nodes() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let asked = || {
        let requests = rig.provider.requests_to(Endpoint::Token);
        let is_refresh = |r: &&Request| r.parameter("grant_type") == "refresh_token";
        requests.iter().filter(is_refresh).count()
    };
    for (so_far, word, status) in [
        (1, Behaviour::WellBehaved, 200),
        (2, Behaviour::TokenError("invalid_grant"), 400),
    ] {
        let ends_at_once = Fault::Member("expires_in", json!(0));
        let ends_at_once = Behaviour::At(Endpoint::Token, ends_at_once);
        rig.provider.behave(ends_at_once);
        let tokens = rig.log_in(&client).await;
        rig.provider.behave(word);
        let nodes = rig.nodes.in_turn(EACH * NODES).map(|node| client.at(node));
        let refreshing = nodes.map(|client| {
            let token = tokens.refresh.clone();
            async move { client.refresh(&token).await }
        });
        for answer in join_all(refreshing).await {
            answer.expect(status);
        }
        assert_eq!(asked(), so_far);
    }
    let count = async |of: &str| rig.nodes[1].events(&format!("type={of}")).await.len();
    assert_eq!(count("grant.refresh_token_rotated").await, 1);
    assert_eq!(count("grant.revoked").await, 1);
}

#[tokio::test]
async fn numbers_are_given_once() {
    let rig = Rig::start().await;
    let adding = rig.nodes.in_turn(EACH * NODES).map(|node| {
        let provider = rig.provider.document("openid email");
        async move {
            let config = json!({"oauth_proxy_provider_id": 1});
            tokio::join!(
                node.add_provider(&provider),
                node.add_proxy("http://127.0.0.1:9/mcp", config),
            )
        }
    });
    let added = join_all(adding).await;
    let expected: BTreeSet<u64> = (2..2 + (EACH * NODES) as u64).collect();
    let providers: BTreeSet<u64> = added.iter().map(|(provider, _)| *provider).collect();
    let proxies: BTreeSet<u64> = added.iter().map(|(_, proxy)| proxy.id).collect();
    assert_eq!(providers, expected);
    assert_eq!(proxies, expected);
    for node in rig.nodes.iter() {
        for (provider, proxy) in &added {
            node.get(&format!("/api/v1/providers/{provider}"))
                .await
                .expect(200);
            proxy.at(node).metadata().await;
        }
    }
}

#[tokio::test]
async fn a_client_that_was_removed_is_refused_everywhere() {
    let rig = Rig::start().await;
    for node in 0..NODES {
        let (client, other) = (rig.client().await, rig.client().await);
        let (tokens, others) = (rig.log_in(&client).await, rig.log_in(&other).await);
        let code = rig.code(&client).await;
        for at in 0..NODES {
            assert_eq!(rig.word(at, &tokens.access).await, Word::Admitted);
        }
        let path = format!("/api/v1/clients/{}", client.id);
        rig.nodes[node].delete(&path).await.expect(204);
        for at in 0..NODES {
            let here = client.at(&rig.nodes[at]);
            for refused in [
                here.refresh(&tokens.refresh).await,
                here.redeem(&code, &Pkce::rfc7636()).await,
            ] {
                refused.expect_error(401, "invalid_client");
            }
            let url = here.authorize_url(&here.authorization(&Pkce::rfc7636()));
            let page = Browser::new().open(&url, &client.redirect_uri).await;
            assert_eq!(page.status, 400, "{page:?}");
            assert!(page.body.contains("unauthorized_client"));
            rig.until_word(at, &tokens.access, Word::Refused).await;
            assert_eq!(rig.word(at, &others.access).await, Word::Admitted);
        }
    }
}
