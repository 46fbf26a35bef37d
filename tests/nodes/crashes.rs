//! Nodes and the database server end in the middle of everything.

use support::Nodes;
use support::postgres::{Cluster, Stop};

use crate::load::{Leaving, Load};
use crate::record;
use crate::rig::{NODES, Rig, is_ready, until};
use crate::tails::Tails;

const CLIENTS: usize = 8;

#[tokio::test]
async fn a_node_that_is_killed_loses_nothing() {
    let mut rig = Rig::start().await;
    let (load, tails) = (Load::start(&rig, CLIENTS), Tails::start(&rig));
    for node in [1, 2] {
        load.goes_on(10).await;
        load.node(node, Leaving::Killed);
        rig.nodes.get_mut(node).kill().await;
        let others: Vec<usize> = (0..NODES).filter(|other| *other != node).collect();
        load.goes_on_at(&others, 20).await;
        rig.nodes.get_mut(node).start_again().await;
        load.node(node, Leaving::Stays);
    }
    load.goes_on(10).await;
    let told = load.end().await;
    tails.reach(record::head(&rig.nodes[0]).await).await;
    record::agrees(&rig, told).await;
}

#[tokio::test]
async fn a_database_server_that_is_restarted_loses_nothing() {
    let mut cluster = Cluster::start(&[]);
    let nodes = Nodes::start(NODES, &cluster.url()).await;
    let rig = Rig::on(nodes).await;
    let (load, tails) = (Load::start(&rig, CLIENTS), Tails::start(&rig));
    for how in [Stop::Fast, Stop::Immediate] {
        load.goes_on(10).await;
        cluster.stop(how);
        for node in rig.nodes.iter() {
            until("a node to be unready", async || !is_ready(node).await).await;
        }
        cluster.start_again();
        load.goes_on(10).await;
        for node in rig.nodes.iter() {
            until("a node to be ready", async || is_ready(node).await).await;
        }
    }
    let told = load.end().await;
    tails.reach(record::head(&rig.nodes[0]).await).await;
    record::agrees(&rig, told).await;
}
