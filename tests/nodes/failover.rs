//! The primary is lost and a streaming standby takes its place.

use std::time::{Duration, Instant};

use serde_json::Value;
use support::postgres::{Cluster, Stop};
use support::{Client, Nodes, Pkce, Server, Setup, Tokens};

use crate::load::{Load, Told};
use crate::record;
use crate::revocation::is_refused_everywhere;
use crate::rig::{NODES, Rig, Word, is_ready, try_again_later, until};
use crate::tails::Tails;

/// Two servers, and nodes that know of both.
async fn rig() -> (Cluster, Cluster, Rig) {
    let primary = Cluster::start(&[]);
    let standby = primary.standby();
    let nodes = Nodes::start(NODES, &primary.url_with(&standby)).await;
    (primary, standby, Rig::on(nodes).await)
}

#[tokio::test]
async fn with_synchronous_replication_nothing_is_lost() {
    let (mut primary, standby, rig) = rig().await;
    primary.waits_for_standby();
    let (load, tails) = (Load::start(&rig, 8), Tails::start(&rig));
    load.goes_on(15).await;
    primary.stop(Stop::Immediate);
    standby.promote();
    load.goes_on(15).await;
    for node in rig.nodes.iter() {
        until("a node to be ready", async || is_ready(node).await).await;
    }
    let told = load.end().await;
    tails.reach(record::head(&rig.nodes[0]).await).await;
    record::agrees(&rig, told).await;
}

/// What was acknowledged and did not reach the standby is gone. Nodes that know of it refuse to go on
/// beside it, also once others have gone on; restarted, they agree with what is there.
#[tokio::test]
async fn with_asynchronous_replication_nodes_that_knew_more_stop_until_they_are_restarted() {
    let (mut primary, standby, mut rig) = rig().await;
    let client = rig.client().await;
    let (kept, ended) = (rig.log_in(&client).await, rig.log_in(&client).await);
    for tokens in [&kept, &ended] {
        assert_eq!(rig.words(&tokens.access).await, [Word::Admitted; NODES]);
    }
    until("the standby to have it", async || {
        let head = "SELECT next FROM grantlog_log.log_head";
        primary.run(head) == standby.run(head)
    })
    .await;
    standby.falls_behind();
    let lost = rig.log_in(&client).await;
    let renewed = Tokens::of(&client.refresh(&kept.refresh).await.expect(200));
    for tokens in [&lost, &renewed] {
        assert_eq!(rig.words(&tokens.access).await, [Word::Admitted; NODES]);
    }
    client.revoke(&ended.refresh).await.expect(200);
    is_refused_everywhere(&rig, &ended.access).await;
    assert_eq!(grants(&rig, 0).await.len(), 3);
    primary.stop(Stop::Immediate);
    standby.promote();
    for node in 0..NODES {
        until("a node to be unready", async || {
            !is_ready(&rig.nodes[node]).await
        })
        .await;
        rig.until_word(node, &kept.access, Word::Unavailable).await;
    }
    // One that knows nothing finds nothing wrong, and goes on past what the others knew.
    let url = primary.url_with(&standby);
    rig.nodes.add(Setup::default().database(&url)).await;
    let newcomer = &rig.nodes[NODES];
    let mut told = Told::default();
    for _ in 0..3 {
        rig.nodes.server.lead_next_to(&[NODES; 2]);
        let code = rig.code(&client).await;
        let at_newcomer = client.at(newcomer);
        let redeemed = at_newcomer.redeem(&code, &Pkce::rfc7636()).await;
        let tokens = Tokens::of(&redeemed.expect(200));
        told.issued.push(tokens.clone());
        told.last = Some((client.clone(), tokens));
    }
    stay_stopped(&rig, &client, &kept).await;

    rig.nodes.get_mut(0).stop().await;
    told.revoked = ended_of(&rig.nodes[0]).await;
    let ended_grant = ended.claims()["grant"].as_str().map(str::to_owned);
    assert_eq!(told.revoked, Vec::from_iter(ended_grant));
    rig.nodes.get_mut(0).start_again().await;
    for node in 1..NODES {
        let server = rig.nodes.get_mut(node);
        server.stop().await;
        server.start_again().await;
    }
    // The login is gone, and so are the refresh and the revocation.
    let here = client.at(&rig.nodes[0]);
    for tokens in [&lost, &renewed] {
        let refused = here.refresh(&tokens.refresh).await;
        refused.expect_error(400, "invalid_grant");
    }
    for tokens in [&kept, &ended] {
        assert_eq!(rig.words(&tokens.access).await, [Word::Admitted; NODES + 1]);
        told.issued
            .push(Tokens::of(&here.refresh(&tokens.refresh).await.expect(200)));
    }
    here.revoke(&ended.refresh).await.expect(200);
    is_refused_everywhere(&rig, &ended.access).await;
    let grants = grants(&rig, NODES).await;
    assert_eq!(grants.len(), 5);
    for node in 0..NODES {
        assert_eq!(self::grants(&rig, node).await, grants, "node {node}");
    }
    told.issued.extend([kept, ended]);
    record::agrees(&rig, vec![told]).await;
}

/// The nodes that knew more neither answer nor write, however often and long they are asked.
async fn stay_stopped(rig: &Rig, client: &Client, kept: &Tokens) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        for node in 0..NODES {
            assert!(!is_ready(&rig.nodes[node]).await, "node {node}");
            assert_eq!(rig.word(node, &kept.access).await, Word::Unavailable);
            let at = client.at(&rig.nodes[node]);
            try_again_later(&at.refresh(&kept.refresh).await);
            let metadata = support::public_client();
            try_again_later(&at.proxy.try_register(&metadata).await);
        }
    }
}

/// The grants that have ended, as the read model of a node that is stopped tells them.
async fn ended_of(node: &Server) -> Vec<String> {
    let list = "grant list --live false --json --read-model data/read.db";
    let list: Vec<_> = list.split(' ').collect();
    let listed = node.offline(&list).await;
    let page: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let rows = page["data"].as_array().expect("rows").iter();
    rows.map(|row| row["grant_id"].as_str().expect("an id").to_owned())
        .collect()
}

/// The grants that a node's lists know.
async fn grants(rig: &Rig, node: usize) -> Vec<Value> {
    rig.nodes[node].list("/api/v1/grants").await
}
