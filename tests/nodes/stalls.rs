//! Nodes that stand still for a while, and transactions of others that stay open.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use support::postgres::{Database, Held};

use crate::load::Load;
use crate::record;
use crate::rig::{NODES, Rig, Word, is_ready, until};
use crate::tails::Tails;

/// Longer than the two seconds for which a node may trust its view.
const PAUSE: Duration = Duration::from_secs(5);

/// A machine that is suspended and goes on does not know that it was: what it remembers is old, and
/// requests wait for it already.
#[tokio::test]
async fn a_node_that_was_paused_does_not_act_on_what_it_remembers() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let (kept, revoked) = (rig.log_in(&client).await, rig.log_in(&client).await);
    for token in [&kept.access, &revoked.access] {
        assert_eq!(rig.words(token).await, [Word::Admitted; NODES]);
    }
    let (load, tails) = (Load::start(&rig, 4), Tails::start(&rig));
    load.goes_on(5).await;
    rig.nodes[2].pause().await;
    let paused = Instant::now();
    let revoking = client.at(&rig.nodes[0]);
    revoking.revoke(&revoked.refresh).await.expect(200);
    // They are in its backlog when it goes on.
    let waiting = join_all((0..20).map(|_| rig.word(2, &revoked.access)));
    let resumed = async {
        tokio::time::sleep(PAUSE.saturating_sub(paused.elapsed())).await;
        rig.nodes[2].resume().await;
    };
    let (words, ()) = tokio::join!(waiting, resumed);
    assert!(!words.contains(&Word::Admitted), "{words:?}");
    until("it to admit again", async || {
        assert_ne!(rig.word(2, &revoked.access).await, Word::Admitted);
        rig.word(2, &kept.access).await == Word::Admitted
    })
    .await;
    assert_eq!(rig.word(2, &revoked.access).await, Word::Refused);
    until("it to be ready", async || is_ready(&rig.nodes[2]).await).await;
    load.goes_on(5).await;
    let mut told = load.end().await;
    let grant = revoked.claims()["grant"].as_str().map(str::to_owned);
    told[0].revoked.extend(grant);
    tails.reach(record::head(&rig.nodes[0]).await).await;
    record::agrees(&rig, told).await;
}

/// Somebody else's transaction, older than all of ours and with a snapshot, in this database and in
/// another of the same server: it hides nothing and holds nobody up.
#[tokio::test]
async fn a_transaction_that_stays_open_elsewhere_is_none_of_our_business() {
    let elsewhere = Database::create();
    let rig = Rig::start().await;
    let databases = [rig.database(), &elsewhere];
    let held = databases.map(Held::transaction);
    let (load, tails) = (Load::start(&rig, 6), Tails::start(&rig));
    load.goes_on(30).await;
    let told = load.end_undisturbed().await;
    tails.reach(record::head(&rig.nodes[0]).await).await;
    record::agrees(&rig, told).await;
    for held in held {
        held.commit();
    }
}
