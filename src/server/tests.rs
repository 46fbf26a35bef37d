use std::time::Duration;

use super::rig::{config, register, start};
use super::*;
use crate::log::{Append, NewEntry};

fn anywhere(folder: &std::path::Path) -> Config {
    let mut config = config(folder);
    let any = "127.0.0.1:0".parse().unwrap();
    (
        config.server.listen,
        config.gateway.listen,
        config.ops.listen,
    ) = (any, any, any);
    config
}

#[tokio::test]
async fn a_start_that_fails_does_not_use_up_the_first_operators_token() {
    let folder = tempfile::tempdir().unwrap();
    let config = anywhere(folder.path());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut failing = config.clone();
    failing.ops.listen = taken.local_addr().unwrap();
    assert!(matches!(
        super::start(failing).await,
        Err(StartError::Listen { .. })
    ));
    let running = loop {
        match super::start(config.clone()).await {
            // What the failed start left has not ended yet.
            Err(StartError::InUse(_)) => tokio::task::yield_now().await,
            started => break started.ok().unwrap(),
        }
    };
    assert!(running.new_bootstrap_token.is_some());
    running.stop().await;
}

#[tokio::test]
async fn a_log_that_this_program_cannot_read_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (shared, follower) = start(folder.path()).await;
    let client = register(&shared, clock::now()).await;
    shared.app.read_model_is_current().await.unwrap();
    let log = &shared.app.log;
    let known = log.read_after(log.head() - 1, 1).await.unwrap();
    let entry = String::from_utf8(known[0].entry.clone()).unwrap();
    let unknown = entry.replace("client.registered", "client.unheard_of");
    assert_ne!(entry, unknown);
    let append = Append {
        stream: format!("client-{client}"),
        expected: known[0].version + 1,
        entries: vec![NewEntry {
            entry: unknown.into_bytes(),
            sealed: None,
        }],
        premises: Vec::new(),
    };
    let position = log.head();
    log.append(append).await.unwrap();
    log.close().await;
    follower.end().await;
    drop(shared);
    let config = config(folder.path());
    let again = tokio::time::timeout(Duration::from_secs(60), assemble(&config));
    let refused = again
        .await
        .expect("it does not wait for ever")
        .err()
        .unwrap();
    let StartError::Store(Unavailable::Entry(unreadable)) = refused else {
        panic!("{refused}");
    };
    assert_eq!(unreadable.position, position);
    assert!(!unreadable.is_damage(), "a newer program may read it");
}

#[tokio::test]
async fn a_log_with_a_missing_entry_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (shared, follower) = start(folder.path()).await;
    register(&shared, clock::now()).await;
    shared.app.log.close().await;
    follower.end().await;
    drop(shared);
    std::fs::remove_file(folder.path().join(READ_MODEL_FILE)).unwrap();
    let log = rusqlite::Connection::open(folder.path().join("log.db")).unwrap();
    log.execute_batch(
        "DROP TRIGGER entries_are_not_removed; DELETE FROM entries WHERE position = 1",
    )
    .unwrap();
    drop(log);
    let config = config(folder.path());
    let again = tokio::time::timeout(Duration::from_secs(60), assemble(&config));
    let refused = again.await.expect("it does not wait for ever");
    assert!(refused.is_err());
}

#[tokio::test]
async fn who_waits_for_a_turn_holds_no_batch_up() {
    use domain::client::{Client, Command};
    use futures_util::FutureExt;

    let folder = tempfile::tempdir().unwrap();
    let (shared, follower) = start(folder.path()).await;
    let now = clock::now();
    let [client, other] = [register(&shared, now).await, register(&shared, now).await];
    let (app, context) = (&shared.app, Context::system(now));
    let authorized = |share, id| {
        app.execute_with::<Client>(share, id, Command::RecordFirstAuthorization, &context)
    };

    let [one, beside_one] = app.log.together();
    let [two, beside_two] = app.log.together();
    let mut has_the_turn = Box::pin(authorized(one, client));
    let mut waits_for_it = Box::pin(authorized(two, client));
    assert!((&mut has_the_turn).now_or_never().is_none());
    assert!((&mut waits_for_it).now_or_never().is_none());
    assert!(authorized(beside_two, other).await.is_ok());
    drop(beside_one);
    assert!(has_the_turn.await.is_ok());
    assert!(waits_for_it.await.is_ok());

    app.log.close().await;
    follower.end().await;
}
