//! A node that has lost the log says so, admits nobody on an old view, and comes back by itself.

use std::time::{Duration, Instant};

use support::postgres::Cutter;
use support::{Client, Pkce, Setup, Tokens};

use crate::record;
use crate::rig::{NODES, Rig, Word, is_ready, try_again_later, until};
use crate::tails::Tails;

/// A node that has not heard the log for so long is unready and admits nobody. Its last answer may have been on its way.
const WITHIN: Duration = Duration::from_millis(2_100);

/// Three nodes, each with a network of its own to the database.
async fn rig() -> (Rig, Vec<Cutter>) {
    let mut networks = Vec::new();
    let rig = Rig::with(async |url| {
        let mut setups = Vec::new();
        for _ in 0..NODES {
            let network = Cutter::before(url).await;
            setups.push(Setup::default().database(&network.url(url)));
            networks.push(network);
        }
        setups
    });
    (rig.await, networks)
}

/// Both ways of losing it: connections that end, and connections over which nothing comes.
const WAYS: [fn(&Cutter); 2] = [Cutter::sever, Cutter::silence];

#[tokio::test]
async fn a_node_that_has_lost_the_log_admits_nobody_and_comes_back() {
    let (rig, networks) = rig().await;
    let (client, tails) = (rig.client().await, Tails::start(&rig));
    for lose in WAYS {
        let (kept, revoked) = (rig.log_in(&client).await, rig.log_in(&client).await);
        for token in [&kept.access, &revoked.access] {
            assert_eq!(rig.words(token).await, [Word::Admitted; NODES]);
        }
        lose(&networks[2]);
        let lost = Instant::now();
        client
            .at(&rig.nodes[0])
            .revoke(&revoked.refresh)
            .await
            .expect(200);
        let mut closed = false;
        while !closed {
            let asked = lost.elapsed();
            let ready = is_ready(&rig.nodes[2]).await;
            let words = [&kept.access, &revoked.access].map(|token| rig.word(2, token));
            let words = futures_util::future::join_all(words).await;
            // Until the bound it may admit; then it says for both that it cannot tell.
            closed = !ready && words == [Word::Unavailable; 2];
            assert!(closed || asked < WITHIN, "{asked:?}: {ready}, {words:?}");
        }
        // The others go on.
        for node in 0..2 {
            assert!(is_ready(&rig.nodes[node]).await);
            assert_eq!(rig.word(node, &kept.access).await, Word::Admitted);
            assert_eq!(rig.word(node, &revoked.access).await, Word::Refused);
        }
        assert_eq!(rig.word(2, &kept.access).await, Word::Unavailable);
        networks[2].mend();
        comes_back(&rig, &client, &kept, &revoked).await;
    }
    tails.reach(record::head(&rig.nodes[0]).await).await;
}

/// By itself, and not before it has caught up.
async fn comes_back(rig: &Rig, client: &Client, kept: &Tokens, revoked: &Tokens) {
    until("it to admit again", async || {
        assert_ne!(rig.word(2, &revoked.access).await, Word::Admitted);
        rig.word(2, &kept.access).await == Word::Admitted
    })
    .await;
    assert_eq!(rig.word(2, &revoked.access).await, Word::Refused);
    until("it to be ready", async || is_ready(&rig.nodes[2]).await).await;
    let answer = client.at(&rig.nodes[2]).refresh(&kept.refresh).await;
    let next = Tokens::of(&answer.expect(200));
    assert_eq!(rig.words(&next.access).await, [Word::Admitted; NODES]);
}

/// Everything that needs the log says when to ask again, and at once; nothing of it has happened.
#[tokio::test]
async fn a_node_without_the_log_answers_503_and_has_done_nothing() {
    let (rig, networks) = rig().await;
    let client = rig.confidential_client().await;
    let pkce = Pkce::rfc7636();
    for lose in WAYS {
        let (tokens, code) = (rig.log_in(&client).await, rig.code(&client).await);
        lose(&networks[2]);
        rig.until_word(2, &tokens.access, Word::Unavailable).await;
        let away = client.at(&rig.nodes[2]);
        let asked = Instant::now();
        try_again_later(&away.redeem(&code, &pkce).await);
        try_again_later(&away.refresh(&tokens.refresh).await);
        try_again_later(&away.introspect(&tokens.access).await);
        try_again_later(&away.revoke(&tokens.access).await);
        let metadata = support::public_client();
        try_again_later(&away.proxy.try_register(&metadata).await);
        try_again_later(&rig.nodes[2].get("/api/v1/clients").await);
        assert!(asked.elapsed() < Duration::from_secs(1), "it hesitates");
        let here = client.at(&rig.nodes[0]);
        here.redeem(&code, &pkce).await.expect(200);
        for token in [&tokens.access, &tokens.refresh] {
            let said = here.introspect(token).await;
            assert_eq!(said.json()["active"], true, "it is as it was: {said:?}");
        }
        networks[2].mend();
        until("it to be ready", async || is_ready(&rig.nodes[2]).await).await;
        away.refresh(&tokens.refresh).await.expect(200);
    }
}

/// Whoever stops it does not wait for a database that does not answer.
#[tokio::test]
async fn a_node_without_the_log_stops_in_time() {
    let (mut rig, networks) = rig().await;
    let client = rig.client().await;
    let tokens = rig.log_in(&client).await;
    for (node, lose) in [1, 2].into_iter().zip(WAYS) {
        lose(&networks[node]);
        rig.until_word(node, &tokens.access, Word::Unavailable)
            .await;
        let began = Instant::now();
        rig.nodes.get_mut(node).stop().await;
        assert!(
            began.elapsed() < Duration::from_secs(12),
            "{:?}",
            began.elapsed()
        );
    }
    client
        .at(&rig.nodes[0])
        .refresh(&tokens.refresh)
        .await
        .expect(200);
}
