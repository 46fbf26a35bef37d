//! All nodes seal the same log, and whatever becomes of them, nobody takes it for a change.

use std::time::Duration;

use serde_json::Value;
use support::Server;

use crate::rig::{Rig, is_ready, until};

#[tokio::test]
async fn nodes_that_come_and_go_agree_on_what_is_sealed() {
    let mut rig = Rig::start().await;
    let client = rig.client().await;
    for _ in 0..3 {
        rig.log_in(&client).await;
    }
    let head = status(&rig.nodes[0]).await["head"]
        .as_u64()
        .expect("a head");
    rig.nodes.get_mut(1).kill().await;
    rig.nodes.get_mut(1).start_again().await;
    // It is sealed half a minute later.
    tokio::time::sleep(Duration::from_secs(30)).await;
    for node in rig.nodes.iter() {
        while status(node).await["log_sealed"].as_u64() <= Some(head) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    rig.log_in(&client).await;
    for number in [0, 2] {
        rig.nodes.get_mut(number).kill().await;
        rig.nodes.get_mut(number).start_again().await;
    }
    for node in rig.nodes.iter() {
        until("a node to be ready", async || is_ready(node).await).await;
        until("the log to be read", async || {
            status(node).await["log_verified"].as_u64() > Some(head)
        })
        .await;
        assert_eq!(status(node).await["log_intact"], true);
    }
    let verified = rig.nodes[0].offline(&["verify", "--json"]).await;
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    let verified: Value = serde_json::from_str(&said).expect("JSON");
    assert!(verified["sealed"].as_u64() > Some(head), "{verified}");
    assert_eq!(verified["intact"], true);

    // Who writes to the table and has no key.
    let changed = "UPDATE grantlog_log.entries SET entry =
        convert_to(replace(convert_from(entry, 'UTF8'), '\"recorded_at\":\"20', '\"recorded_at\":\"19'), 'UTF8')
        WHERE position = 4 RETURNING 1";
    assert_ne!(rig.database().run(changed), "");
    rig.nodes.get_mut(1).kill().await;
    rig.nodes.get_mut(1).start_again().await;
    until("the change to be announced", async || {
        status(&rig.nodes[1]).await["log_intact"] == false
    })
    .await;
}

async fn status(node: &Server) -> Value {
    node.get("/api/v1/status").await.expect(200).json()
}
