//! What is acknowledged survives a kill in the middle of everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::Tokens;

use crate::rig::Rig;

#[tokio::test]
async fn no_acknowledged_refresh_is_lost() {
    let mut rig = Rig::start().await;
    let client = rig.client().await;
    let killed = Arc::new(AtomicBool::new(false));
    let mut workers = Vec::new();
    for _ in 0..8 {
        let tokens = rig.log_in(&client).await;
        let (client, killed) = (client.clone(), killed.clone());
        workers.push(tokio::spawn(async move {
            let mut newest = tokens.refresh;
            let mut count = 0_u32;
            while !killed.load(Ordering::Acquire) {
                let url = format!("{}/token", client.proxy.issuer);
                let form = [
                    ("grant_type", "refresh_token"),
                    ("refresh_token", newest.as_str()),
                    ("client_id", client.id.as_str()),
                ];
                let Ok(answer) = support::plain_http().post(url).form(&form).send().await else {
                    break;
                };
                let status = answer.status();
                let Ok(body) = answer.json::<serde_json::Value>().await else {
                    break;
                };
                assert_eq!(status, 200, "{body}");
                newest = body["refresh_token"].as_str().expect("a token").to_owned();
                count += 1;
            }
            (newest, count)
        }));
    }
    // Killed once the load is well under way, seen by the record and not by a clock.
    while rig
        .server
        .events("type=grant.refresh_token_rotated")
        .await
        .len()
        < 100
    {}
    rig.server.kill().await;
    killed.store(true, Ordering::Release);
    let mut newest = Vec::new();
    for worker in workers {
        let (token, count) = worker.await.expect("a worker ends");
        assert!(count > 0);
        newest.push(token);
    }
    rig.server.start_again().await;
    for token in newest {
        // The newest that was acknowledged is the newest still, or was replaced by one whose
        // answer was lost: a retry.
        let answer = client.refresh(&token).await.expect(200);
        client
            .refresh(&Tokens::of(&answer).refresh)
            .await
            .expect(200);
    }
    let data = rig.server.folder().join("data");
    let data = data.to_str().expect("a path of text");
    let verified = rig.server.command(&["verify", "--data", data]).await;
    assert!(verified.status.success(), "{verified:?}");
    let replayed = rig
        .server
        .command(&["replay", "--check", "--data", data])
        .await;
    assert!(replayed.status.success(), "{replayed:?}");
}
