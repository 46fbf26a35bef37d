//! Clients that registered and never came: every node may remove them, and none removes one with
//! which somebody is just logging in, wherever that began.

use support::postgres::Database;
use support::{Browser, Client, Pkce, Setup, Tokens, moved};

use crate::rig::{Rig, until};

/// Lets a client have registered so many minutes ago.
fn age(database: &Database, client: &Client, minutes: u32) {
    database.run(&format!(
        r#"
        UPDATE grantlog_log.entries SET entry = convert_to(regexp_replace(
            convert_from(entry, 'UTF8'), '"recorded_at":"[^"]*"', '"recorded_at":"' || to_char(
                now() AT TIME ZONE 'UTC' - interval '{minutes} minutes', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
            ) || '"'
        ), 'UTF8') WHERE stream = 'client-{}' AND version = 0
        "#,
        client.id
    ));
}

const DAY: u32 = 24 * 60;

#[tokio::test]
async fn no_node_removes_a_client_that_is_under_way() {
    let mut rig = Rig::with(async |url| [Setup::default().database(url)]).await;
    let [under_way, late, unused] = [rig.client().await, rig.client().await, rig.client().await];
    // What a node has seen last must not change under its eyes.
    rig.client().await;
    let (mut browser, pkce) = (Browser::new(), Pkce::rfc7636());
    let url = under_way.authorize_url(&under_way.authorization(&pkce));
    let callback = format!("{}/api/v1/oauth/callback/1", rig.nodes.server.url);
    let back = browser.open(&url, &callback).await;
    for (client, minutes) in [
        (&under_way, DAY + 10),
        (&late, DAY + 10),
        (&unused, DAY + 60),
    ] {
        age(rig.database(), client, minutes);
    }
    // A node looks after them when it starts, if it knows of them by then.
    let database = rig.database().url();
    rig.nodes.add(Setup::default().database(&database)).await;
    let other = rig.nodes.get_mut(1);
    other.events("type=client.registered").await;
    other.stop().await;
    other.start_again().await;
    let expired = async || rig.nodes[1].events("type=client.expired").await;
    until("the unused one to be removed", async || {
        !expired().await.is_empty()
    })
    .await;
    let expired = expired().await;
    assert_eq!(expired.len(), 1, "{expired:?}");
    assert_eq!(expired[0]["client_id"], unused.id);

    // Nobody begins with it any more, so that it can be told when nobody is under way.
    let url = late
        .at(&rig.nodes[1])
        .authorize_url(&late.authorization(&pkce));
    let page = Browser::new().open(&url, &callback).await;
    assert_eq!(page.status, 400, "{page:?}");
    assert!(page.body.contains("unauthorized_client"));

    let back = moved(back.url.as_str(), &rig.nodes[1].url);
    let page = browser.open(&back, &under_way.redirect_uri).await;
    let code = page.param("code").expect("a code");
    let redeemed = under_way.redeem(&code, &pkce).await.expect(200);
    under_way
        .refresh(&Tokens::of(&redeemed).refresh)
        .await
        .expect(200);
}
