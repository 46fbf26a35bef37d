//! Long histories: what a node knows of a grant it does not read again, however often other nodes move that grant on.

use support::Tokens;

use crate::rig::Rig;

/// What both nodes know of a grant is taken away in the database, so that whoever reads it again fails.
#[tokio::test]
async fn only_what_other_nodes_appended_is_read() {
    let rig = Rig::start().await;
    let client = rig.confidential_client().await;
    let at = |node: usize| client.at(&rig.nodes[node]);
    let mut newest = rig.log_in(&client).await;
    let grant = newest.claims()["grant"].as_str().expect("an id").to_owned();
    let mut former = newest.clone();
    for _ in 0..3 {
        for node in [0, 0, 1] {
            let refreshed = at(node).refresh(&newest.refresh).await.expect(200);
            former = std::mem::replace(&mut newest, Tokens::of(&refreshed));
        }
        rig.database().run(&format!(
            "UPDATE grantlog_log.entries SET stream = 'aside' WHERE stream = 'grant-{grant}' AND version < \
             (SELECT max(version) - 3 FROM grantlog_log.entries WHERE stream = 'grant-{grant}')"
        ));
    }
    // Neither a look, nor a retry, nor a refusal needs more.
    for node in 0..2 {
        let live = at(node).introspect(&newest.refresh).await.expect(200);
        assert_eq!(live.json()["active"], true, "{live:?}");
    }
    for node in [1, 0] {
        let retried = at(node).refresh(&former.refresh).await.expect(200);
        assert_eq!(Tokens::of(&retried).refresh, newest.refresh);
    }
    at(0).revoke(&newest.refresh).await.expect(200);
    for node in [1, 0] {
        let refused = at(node).refresh(&newest.refresh).await;
        refused.expect_error(400, "invalid_grant");
    }
}
