//! A node that is never idle.

use std::time::{Duration, Instant};

use support::postgres::Database;
use support::{Nodes, Tokens};

use crate::rig::{Rig, Word, is_ready};

/// Twice as long as a node trusts what it knows.
const LONG: Duration = Duration::from_secs(4);

/// There is always something that it has not read yet; but none of it is old.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_steady_load_it_knows_what_others_did_and_is_ready() {
    let database = Database::create();
    let rig = Rig::on(Nodes::start(1, &database.url()).await).await;
    let client = rig.client().await;
    let mut workers = Vec::new();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    for _ in 0..32 {
        let (client, stopped) = (client.clone(), stopped.clone());
        let mut tokens = rig.log_in(&client).await;
        workers.push(tokio::spawn(async move {
            while !*stopped.borrow() {
                tokens = Tokens::of(&client.refresh(&tokens.refresh).await.expect(200));
            }
        }));
    }
    let access = rig.log_in(&client).await.access;
    let until = Instant::now() + LONG;
    while Instant::now() < until {
        assert!(is_ready(&rig.nodes[0]).await);
        assert_eq!(rig.word(0, &access).await, Word::Admitted);
    }
    stop.send_replace(true);
    for worker in workers {
        worker.await.expect("no other answer than 200");
    }
}
