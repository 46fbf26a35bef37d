//! What an investigator reads on a terminal, from a running server.

use support::{ALICE, Browser, Pkce};

use super::Ended;
use super::fake_provider::Behaviour;
use super::rig::Rig;

async fn said(rig: &Rig, arguments: &[&str]) -> Ended {
    Ended::from(rig.server.command(arguments).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_story_shows_where_each_step_came_from() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let claims = rig.log_in(&client).await.claims();
    let grant = claims["grant"].as_str().expect("a grant");
    let story = said(&rig, &["grant", "story", grant]).await;
    assert_eq!(story.code, Some(0), "{story:?}");
    for line in story.stdout.lines() {
        let cells: Vec<_> = line.split('\t').collect();
        assert_eq!(cells[3], "127.0.0.1", "{line}");
        assert!(cells[2].starts_with("grant.") && cells[4].ends_with('.'));
    }
    assert_eq!(story.stderr, "the grant is live\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_failed_login_no_grant_came() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    rig.provider
        .behave(Behaviour::AuthorizationError("access_denied"));
    let params = client.authorization(&Pkce::rfc7636());
    client.authorize(&mut Browser::new(), &params, ALICE).await;
    let failed = rig.server.events("type=grant.login_failed").await;
    let id = failed[0]["grant_id"].as_str().expect("an id");
    let story = said(&rig, &["grant", "story", id]).await;
    assert!(story.stdout.contains("grant.login_failed"), "{story:?}");
    assert_eq!(story.stderr, "no grant came of it\n");
    said(&rig, &["grant", "show", id])
        .await
        .fails(3, "unknown_grant");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_was_only_counted_is_told() {
    let rig = Rig::start().await;
    let request = "01a20849-8d6d-7daa-be5f-14e7a9205700";
    let none = said(&rig, &["events", "list", "--request", request]).await;
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), ""));
    assert!(none.stderr.contains("counted together"), "{none:?}");
    let events = rig.server.events("type=proxy.added").await;
    let request = events[0]["request_id"].as_str().expect("a request");
    let found = said(&rig, &["events", "list", "--request", request]).await;
    assert!(found.prints().contains("proxy.added"));
}
