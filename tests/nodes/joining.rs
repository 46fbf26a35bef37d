//! Nodes that come: from nothing, from a copy, and in the middle of catching up.

use rusqlite::Connection;
use support::postgres::Database;
use support::{Client, Nodes, Setup, Tokens};
use tempfile::TempDir;

use crate::load::Load;
use crate::record;
use crate::rig::{NODES, Rig, Word, is_ready, word};

/// More than a node reads before it serves, and than its lists take in while they are looked at.
const ENTRIES: u64 = 400_000;

/// Makes a long log of what is there: everything ten days older, and as many entries more that
/// concern nobody.
fn age(rig: &Rig) {
    rig.database().run(&format!(
        r#"
        UPDATE grantlog_log.entries SET entry = convert_to(regexp_replace(
            convert_from(entry, 'UTF8'), '"recorded_at":"[^"]*"',
            '"recorded_at":"' || to_char(now() AT TIME ZONE 'UTC' - interval '10 days', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') || '"'
        ), 'UTF8');
        WITH head AS (UPDATE grantlog_log.log_head SET next = next + {ENTRIES} RETURNING next),
        key AS (
            SELECT convert_from(stream, 'UTF8') AS stream, convert_from(entry, 'UTF8') AS entry
            FROM grantlog_log.entries WHERE convert_from(stream, 'UTF8') LIKE 'signing-key-%' LIMIT 1
        )
        INSERT INTO grantlog_log.entries (position, stream, version, entry)
        SELECT next - {ENTRIES} + n, convert_to('signing-key-' || n, 'UTF8'), 0,
            convert_to(replace(entry, '"stream":"' || stream, '"stream":"signing-key-' || n), 'UTF8')
        FROM head, key, generate_series(0, {ENTRIES} - 1) AS n
        "#
    ));
}

/// How many entries a node's lists do not know yet.
async fn behind(rig: &Rig, node: usize) -> u64 {
    let status = rig.nodes[node]
        .get("/api/v1/status")
        .await
        .expect(200)
        .json();
    let position = status["read_model"]["position"]
        .as_u64()
        .unwrap_or_default();
    status["head"].as_u64().expect("a head") - position
}

/// People log in, tokens are verified, the revoked one refused, and grants go on, while lists are behind.
async fn serves(rig: &Rig, node: usize, client: &Client, kept: &mut Tokens, revoked: &Tokens) {
    assert!(is_ready(&rig.nodes[node]).await);
    assert_eq!(rig.word(node, &revoked.access).await, Word::Refused);
    assert_eq!(rig.word(node, &kept.access).await, Word::Admitted);
    let here = client.at(&rig.nodes[node]);
    let refused = here.refresh(&revoked.refresh).await;
    refused.expect_error(400, "invalid_grant");
    rig.nodes.server.lead_next_to(&[node; 2]);
    let code = rig.code(client).await;
    let redeemed = here.redeem(&code, &support::Pkce::rfc7636()).await;
    let new = Tokens::of(&redeemed.expect(200));
    assert_eq!(rig.word(node, &new.access).await, Word::Admitted);
    *kept = Tokens::of(&here.refresh(&kept.refresh).await.expect(200));
    let behind = behind(rig, node).await;
    assert!(behind > 0, "the lists have caught up");
}

#[tokio::test]
async fn a_node_from_nothing_serves_before_its_lists_have_caught_up() {
    let mut rig = Rig::with(async |url| [Setup::default().database(url)]).await;
    rig.nodes.get_mut(0).stop().await;
    age(&rig);
    rig.nodes.get_mut(0).start_again().await;
    let client = rig.client().await;
    let (mut kept, revoked) = (rig.log_in(&client).await, rig.log_in(&client).await);
    for token in [&kept.access, &revoked.access] {
        assert_eq!(rig.words(token).await, [Word::Admitted]);
    }
    client.revoke(&revoked.refresh).await.expect(200);
    let url = rig.database().url();
    rig.nodes.add(Setup::default().database(&url)).await;
    serves(&rig, 1, &client, &mut kept, &revoked).await;
    // What it had folded by then is taken up again.
    rig.nodes.get_mut(1).kill().await;
    rig.nodes.get_mut(1).start_again().await;
    serves(&rig, 1, &client, &mut kept, &revoked).await;
}

/// With a copy of another node's read models it does not fold the log from its beginning.
#[tokio::test]
async fn a_node_with_a_copy_of_anothers_read_models_goes_on_from_there() {
    let mut rig = Rig::start().await;
    let client = rig.client().await;
    let (kept, revoked) = (rig.log_in(&client).await, rig.log_in(&client).await);
    rig.nodes[0].list("/api/v1/grants").await;
    let folder = TempDir::new().expect("a folder");
    let [original, copy] = [&rig.nodes[0].folder().join("data"), folder.path()]
        .map(|folder| folder.join("read.db").display().to_string());
    let original = Connection::open(original).expect("a read model");
    original.execute("VACUUM INTO ?1", [&copy]).expect("copied");
    // No fold would make it.
    let mark = "UPDATE operators SET name = 'of the copy'";
    let copy = Connection::open(copy).expect("a read model");
    copy.execute_batch(mark).expect("marked");
    drop(copy);
    client.revoke(&revoked.refresh).await.expect(200);
    rig.log_in(&client).await;
    let url = rig.database().url();
    let data = folder.path().display().to_string();
    let setup = Setup::default().database(&url);
    rig.nodes
        .add(setup.env("GRANTLOG_STORE__DATA_DIR", &data))
        .await;

    let [old, new] = [&rig.nodes[0], &rig.nodes[NODES]];
    for list in ["grants", "logins", "clients", "events?type=grant.*"] {
        let list = format!("/api/v1/{list}");
        assert_eq!(new.list(&list).await, old.list(&list).await, "{list}");
    }
    let operators = new.list("/api/v1/operators").await;
    assert_eq!(operators[0]["name"], "of the copy", "{operators:?}");
    assert_eq!(rig.word(NODES, &kept.access).await, Word::Admitted);
    assert_eq!(rig.word(NODES, &revoked.access).await, Word::Refused);
}

/// The copy that `backup` makes of a shared store under load is an embedded store, and goes on.
#[tokio::test]
async fn a_backup_goes_on_as_a_node_of_its_own() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let (kept, revoked) = (rig.log_in(&client).await, rig.log_in(&client).await);
    assert_eq!(rig.word(0, &kept.access).await, Word::Admitted);
    client.revoke(&revoked.refresh).await.expect(200);
    let load = Load::start(&rig, 4);
    load.goes_on(10).await;
    let folder = TempDir::new().expect("a folder");
    let [backup, data] = ["backup", "data"].map(|name| folder.path().join(name));
    let [backup, data] = [&backup, &data].map(|path| path.to_str().expect("text"));
    for args in [
        &["backup", backup][..],
        &["restore", backup, "--data", data],
    ] {
        let done = rig.nodes[1].offline(args).await;
        assert!(done.status.success(), "{args:?}: {done:?}");
    }
    load.goes_on(10).await;
    let mut told = load.end_undisturbed().await;
    told[0]
        .revoked
        .extend(revoked.claims()["grant"].as_str().map(str::to_owned));
    record::agrees(&rig, told).await;

    let setup = Setup::default().nodes_master_key();
    let copy = rig
        .nodes
        .start_apart(setup.env("GRANTLOG_STORE__DATA_DIR", data))
        .await;
    assert_eq!(word(&rig.proxy, &copy, &kept.access).await, Word::Admitted);
    assert_eq!(
        word(&rig.proxy, &copy, &revoked.access).await,
        Word::Refused
    );
    let refreshed = client.at(&copy).refresh(&kept.refresh).await.expect(200);
    let new = Tokens::of(&refreshed);
    assert_eq!(word(&rig.proxy, &copy, &new.access).await, Word::Admitted);
    let story = copy.events("type=client.registered").await;
    assert!(story.iter().any(|event| event["client_id"] == client.id));
}

/// Nodes that begin together in an empty database agree on every key and on the first operator.
#[tokio::test]
async fn nodes_that_start_together_are_one() {
    let database = Database::create();
    let rig = Rig::on(Nodes::start(6, &database.url()).await).await;
    let client = rig.client().await;
    let tokens = rig.log_in(&client).await;
    assert_eq!(rig.words(&tokens.access).await, [Word::Admitted; 6]);
    let count = async |of: &str| rig.nodes[3].events(&format!("type={of}")).await.len();
    assert_eq!(count("operator.added").await, 1);
    assert_eq!(count("signing_key.created").await, 1);
}

/// It could neither read what is sealed nor refresh anything.
#[tokio::test]
async fn a_node_with_another_master_key_does_not_start() {
    let rig = Rig::start().await;
    let other = "pPqkR0zq3lJYw1nC7Vb2hXf8tSgE5uDyA9oKiL4Z6Hc=";
    let setup = Setup::default().database(&rig.database().url());
    let refused = setup
        .env("GRANTLOG_KEYS__MASTER_KEY", other)
        .refused()
        .await;
    assert_eq!(refused.status.code(), Some(8), "{refused:?}");
    let tokens = rig.log_in(&rig.client().await).await;
    assert_eq!(rig.words(&tokens.access).await, [Word::Admitted; NODES]);
}

/// Where nodes may not change the schema, one command does.
#[tokio::test]
async fn a_database_is_migrated_by_whom_it_is_left_to() {
    let database = Database::create();
    let url = database.url();
    let setup = || {
        let setup = Setup::default().database(&url);
        setup.env("GRANTLOG_STORE__MIGRATE", "false")
    };
    let code = async |args: &[&str]| setup().run(args).await.status.code();
    let needs_migration = Some(6);
    assert_eq!(code(&["serve"]).await, needs_migration);
    assert_eq!(code(&["migrate", "status"]).await, needs_migration);
    assert_eq!(code(&["migrate", "up"]).await, Some(0));
    assert_eq!(code(&["migrate", "status"]).await, Some(0));
    let rig = Rig::on(Nodes::with([setup(), setup()]).await).await;
    let tokens = rig.log_in(&rig.client().await).await;
    assert_eq!(rig.words(&tokens.access).await, [Word::Admitted; 2]);
}
