//! Databases that are set up otherwise than expected, and what stands before them.

use support::Nodes;
use support::postgres::{Database, Pooler};

use crate::load::Load;
use crate::rig::{NODES, Rig};
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

/// Transactions that say nothing about it would be serializable, and fail with 40001 where they
/// meet.
#[tokio::test]
async fn a_database_that_serializes_by_default_serves_several_nodes() {
    let database = Database::create();
    database.set("default_transaction_isolation", "serializable");
    let nodes = Nodes::start(NODES, &database.url()).await;
    let rig = Rig::on(nodes).await;
    let load = Load::start(&rig, 12);
    load.goes_on(60).await;
    let told = load.end().await;
    record::agrees(&rig, told).await;
}
