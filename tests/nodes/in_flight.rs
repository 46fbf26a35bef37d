//! What a node decides while an append of its own is under way, and another node comes in between.

use std::time::Duration;

use support::postgres::{Database, Held};

use crate::rig::{Rig, until};

/// How many sessions wait for a lock in a database.
fn waiting(database: &Database) -> usize {
    let count = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    database.run(count).parse().expect("a number")
}

/// A refresh and its retry wait at one node, a revocation at another. In most rounds it waits before them: a retry that was decided
/// on the refresh would then be recorded although that was not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_decided_on_what_may_not_come_about() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let (here, there) = (client.at(&rig.nodes[0]), client.at(&rig.nodes[1]));
    let waits = async |sessions: usize| {
        until("appends to wait", async || {
            waiting(rig.database()) == sessions
        })
        .await;
    };
    for _ in 0..6 {
        let tokens = rig.log_in(&client).await;
        let grant = tokens.claims()["grant"].as_str().expect("an id").to_owned();
        let held = Held::head(rig.database());
        let retry = async {
            waits(2).await;
            // It is in the queue of its node then, which nobody sees.
            tokio::time::sleep(Duration::from_millis(100)).await;
            here.refresh(&tokens.refresh).await
        };
        let release = async {
            waits(2).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
            held.commit();
        };
        let refreshes = async {
            waits(1).await;
            tokio::join!(here.refresh(&tokens.refresh), retry, release)
        };
        let (revoked, answers) = tokio::join!(there.revoke(&tokens.refresh), refreshes);
        revoked.expect(200);
        let refreshed = [answers.0, answers.1].map(|answer| answer.status == 200);
        let types = rig.nodes[2]
            .event_types(&format!("stream=grant-{grant}"))
            .await;
        let last = types.last().map(String::as_str);
        assert_eq!(last, Some("grant.revoked"), "{types:?}");
        let recorded = ["grant.refresh_token_rotated", "grant.refresh_token_retried"]
            .map(|name| types.iter().any(|recorded| recorded == name));
        assert_eq!(refreshed, recorded, "{types:?}");
    }
}
