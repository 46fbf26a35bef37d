//! What is decided while an append of the same grant is under way.

use std::time::Duration;

use rusqlite::Connection;

use crate::rig::Rig;

/// A revocation waits for the log, then a refresh and its retry. A retry that was decided on the refresh, which was not recorded
/// because the revocation came first, would hand out tokens of a grant that has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_decided_on_what_may_not_come_about() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    for _ in 0..4 {
        let tokens = rig.log_in(&client).await;
        let file = rig.server.folder().join("data").join("log.db");
        let other = Connection::open(file).expect("the log opens");
        other.execute_batch("BEGIN IMMEDIATE").expect("held");
        let after = async |step: u64| tokio::time::sleep(Duration::from_millis(100 * step)).await;
        let refresh = async |step| {
            after(step).await;
            client.refresh(&tokens.refresh).await
        };
        let release = async {
            after(3).await;
            other.execute_batch("ROLLBACK").expect("let go");
        };
        let (revoked, first, second, ()) = tokio::join!(
            client.revoke(&tokens.refresh),
            refresh(1),
            refresh(2),
            release
        );
        revoked.expect(200);
        let grant = tokens.claims()["grant"].as_str().expect("an id").to_owned();
        let types = rig
            .server
            .event_types(&format!("stream=grant-{grant}"))
            .await;
        let last = types.last().map(String::as_str);
        assert_eq!(last, Some("grant.revoked"), "{types:?}");
        let recorded = |name| types.iter().any(|recorded| recorded == name);
        let refreshed = [first, second].map(|answer| answer.status == 200);
        assert_eq!(
            refreshed,
            ["grant.refresh_token_rotated", "grant.refresh_token_retried"].map(recorded),
            "{types:?}"
        );
    }
}
