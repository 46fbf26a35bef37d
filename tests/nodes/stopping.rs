//! Nodes that go in order, under load: whoever is being answered is, and nobody else was served.

use crate::load::{Leaving, Load};
use crate::record;
use crate::rig::{NODES, Rig};

#[tokio::test]
async fn a_node_that_is_stopped_only_refuses_connections() {
    let mut rig = Rig::start().await;
    let load = Load::start(&rig, 8);
    for node in 0..NODES {
        load.goes_on(8).await;
        load.node(node, Leaving::Stopped);
        rig.nodes.get_mut(node).stop().await;
        let others: Vec<usize> = (0..NODES).filter(|other| *other != node).collect();
        load.goes_on_at(&others, 8).await;
        rig.nodes.get_mut(node).start_again().await;
        load.node(node, Leaving::Stays);
    }
    load.goes_on(8).await;
    let told = load.end_undisturbed().await;
    // Nothing was done for somebody who was not told.
    for told in &told {
        assert_eq!(told.doubtful, Vec::<String>::new());
    }
    record::every_answer_was_given(&rig, &told).await;
    record::agrees(&rig, told).await;
}
