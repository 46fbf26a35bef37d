//! A newer program expands the stores, and the nodes are replaced one after the other.
//!
//! There is one program here: what comes is as old as what goes, and both go on with what they do not know.

use grantlog::migrations::Migration;
use grantlog::migrations::postgres::migrate;
use grantlog::postgres::Postgres;

use crate::load::{Leaving, Load};
use crate::record;
use crate::rig::{NODES, Rig};
use crate::tails::Tails;

/// What a newer program might do to each store: the first two are as they are here, by number.
const NEWER: [(&str, [Migration; 3]); 2] = [
    (
        "grantlog_log",
        expanded("ALTER TABLE grantlog_log.entries ADD COLUMN later text"),
    ),
    (
        "grantlog_vault",
        expanded("ALTER TABLE grantlog_vault.upstream_token ADD COLUMN later text"),
    ),
];

const fn expanded(by: &'static str) -> [Migration; 3] {
    [
        Migration::expand(""),
        Migration::expand(""),
        Migration::expand(by),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_interrupts_nobody() {
    let mut rig = Rig::start().await;
    let store = Postgres::new(&rig.database().url(), 1).expect("a URL");
    let (load, tails) = (Load::start(&rig, 6), Tails::start(&rig));
    load.goes_on(10).await;
    for (schema, migrations) in &NEWER {
        let lease = store.lease().await.expect("a connection");
        let migrated = migrate(&lease, schema, migrations, false).await;
        assert_eq!(migrated.expect("expanded").applied, 3, "{schema}");
        load.goes_on(10).await;
    }
    for node in 0..NODES {
        load.node(node, Leaving::Stopped);
        rig.nodes.get_mut(node).stop().await;
        rig.nodes.get_mut(node).start_again().await;
        load.node(node, Leaving::Stays);
        load.goes_on(10).await;
    }
    let told = load.end_undisturbed().await;
    record::every_answer_was_given(&rig, &told).await;
    tails.reach(record::head(&rig.nodes[0]).await).await;
    record::agrees(&rig, told).await;
}
