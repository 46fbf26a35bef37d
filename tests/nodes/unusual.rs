//! Databases that are set up otherwise than expected, and what stands before them.

use serde_json::json;
use support::Nodes;
use support::postgres::{Database, Pooler};

use crate::load::Load;
use crate::revocation::is_refused_everywhere;
use crate::rig::{NODES, Rig, Word};
use crate::{flows, record};

/// A pooler in transaction mode lends each transaction another session and passes no notifications
/// on.
#[tokio::test]
async fn behind_a_transaction_pooler_every_step_may_go_to_another_node() {
    let database = Database::create();
    let pooler = Pooler::before(&database);
    let nodes = Nodes::start(NODES, &pooler.url()).await;
    flows::walk(&nodes).await;
}

/// Whatever a node sends ahead of an answer must not reach a session that is lent to another.
#[tokio::test]
async fn behind_a_transaction_pooler_nobody_gets_another_ones_answer() {
    let database = Database::create();
    let pooler = Pooler::before(&database);
    let rig = Rig::on(Nodes::start(NODES, &pooler.url()).await).await;
    let load = Load::start(&rig, 12);
    load.goes_on(60).await;
    let told = load.end_undisturbed().await;
    record::agrees(&rig, told).await;
}

/// Polling alone keeps the promises.
#[tokio::test]
async fn behind_a_transaction_pooler_nodes_know_what_others_did() {
    let database = Database::create();
    let pooler = Pooler::before(&database);
    let rig = Rig::on(Nodes::start(NODES, &pooler.url()).await).await;
    let client = rig.client().await;
    for (node, server) in rig.nodes.iter().enumerate() {
        let other = &rig.nodes[(node + 1) % NODES];
        let config = json!({"oauth_proxy_provider_id": 1});
        let proxy = server.add_proxy("http://127.0.0.1:9/mcp", config).await;
        let listed = other.get("/api/v1/proxies").await.expect(200).json();
        let mut rows = listed["data"].as_array().expect("rows").iter();
        assert!(rows.any(|row| row["id"] == proxy.id), "{listed}");
        let tokens = rig.log_in(&client).await;
        assert_eq!(rig.words(&tokens.access).await, [Word::Admitted; NODES]);
        let revoked = client.at(server).revoke(&tokens.refresh).await;
        revoked.expect(200);
        is_refused_everywhere(&rig, &tokens.access).await;
    }
}

/// Every transaction names its isolation; the commit in one call, which cannot, does nothing there and
/// leaves it to the transaction.
#[tokio::test]
async fn a_database_that_serializes_by_default_serves_several_nodes() {
    let database = Database::create();
    database.set("default_transaction_isolation", "serializable");
    let nodes = Nodes::start(NODES, &database.url()).await;
    let rig = Rig::on(nodes).await;
    let load = Load::start(&rig, 12);
    load.goes_on(60).await;
    let told = load.end_undisturbed().await;
    record::agrees(&rig, told).await;
}
