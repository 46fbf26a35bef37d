//! The primary is lost and a streaming standby takes its place.

use std::time::{Duration, Instant};

use serde_json::Value;
use support::postgres::{Cluster, Stop};
use support::{Client, Nodes, Pkce, Setup, Tokens};

use crate::load::{Load, Told};
use crate::record;
use crate::rig::{NODES, Rig, Word, is_ready, try_again_later, until};

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
    let load = Load::start(&rig, 8);
    load.goes_on(15).await;
    primary.stop(Stop::Immediate);
    standby.promote();
    load.goes_on(15).await;
    for node in rig.nodes.iter() {
        until("a node to be ready", async || is_ready(node).await).await;
    }
    let told = load.end().await;
    record::agrees(&rig, told).await;
}

/// What was acknowledged and did not reach the standby is gone. Nodes that know of it refuse to go on
/// beside it, also once others have gone on; restarted, they agree with what is there.
#[tokio::test]
async fn with_asynchronous_replication_nodes_that_knew_more_stop_until_they_are_restarted() {
    let (mut primary, standby, mut rig) = rig().await;
    let client = rig.client().await;
    let kept = rig.log_in(&client).await;
    assert_eq!(rig.words(&kept.access).await, [Word::Admitted; NODES]);
    until("the standby to have it", async || {
        let head = "SELECT next FROM grantlog_log.log_head";
        primary.run(head) == standby.run(head)
    })
    .await;
    standby.falls_behind();
    let lost = rig.log_in(&client).await;
    assert_eq!(rig.words(&lost.access).await, [Word::Admitted; NODES]);
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

    for node in 0..NODES {
        let server = rig.nodes.get_mut(node);
        server.stop().await;
        server.start_again().await;
    }
    assert_eq!(rig.words(&kept.access).await, [Word::Admitted; NODES + 1]);
    let refused = client.at(&rig.nodes[0]).refresh(&lost.refresh).await;
    refused.expect_error(400, "invalid_grant");
    let grants = grants(&rig, NODES).await;
    assert_eq!(grants.len(), 4);
    for node in 0..NODES {
        assert_eq!(self::grants(&rig, node).await, grants, "node {node}");
    }
    told.issued.push(kept);
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

/// The grants that a node's lists know.
async fn grants(rig: &Rig, node: usize) -> Vec<Value> {
    rig.nodes[node].list("/api/v1/grants").await
}
