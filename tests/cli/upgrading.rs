//! Stores of several versions, and nodes of several versions on one store.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use grantlog::log::{Append, Log, NewEntry, Options};
use grantlog::migrations::Migration;
use grantlog::migrations::postgres::migrate;
use grantlog::postgres::Postgres;
use serde_json::{Value, json};
use support::postgres::Database;
use support::{Server, Tokens, plain_http};

use super::rig::Rig;
use super::{Ended, Run, folder, new_master_key};

/// What a newer program might do to the log.
const NEWER: [Migration; 4] = [
    Migration::expand(""),
    Migration::expand(""),
    Migration::expand("ALTER TABLE grantlog_log.entries ADD COLUMN later text"),
    Migration::contract(""),
];

/// The state of each store, whether or not the command ended well.
fn states(ended: &Ended) -> Vec<(String, u64, u64, String)> {
    let document: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let stores = document["stores"].as_array().expect("stores");
    let text = |row: &Value, name: &str| row[name].as_str().expect("text").to_owned();
    let count = |row: &Value, name: &str| row[name].as_u64().expect("a number");
    let row = |row| {
        let (applied, known) = (count(row, "applied"), count(row, "known"));
        (text(row, "store"), applied, known, text(row, "state"))
    };
    stores.iter().map(row).collect()
}

fn store(name: &str, applied: u64, known: u64, state: &str) -> (String, u64, u64, String) {
    (name.to_owned(), applied, known, state.to_owned())
}

/// `grantlog migrate …` on a folder, or on a database.
fn run(arguments: &[&str], at: &Path, database: Option<(&Database, &str)>) -> Ended {
    let run = Run::new(&[&["migrate"], arguments, &["--json"]].concat()).inside(at);
    match database {
        Some((database, key)) => run.on(database, key).end(),
        None => run.with("GRANTLOG_STORE__MIGRATE", "false").end(),
    }
}

#[test]
fn what_is_missing_is_told_and_made() {
    let folder = folder();
    let database = Database::create();
    let key = new_master_key();
    for (place, logs, vaults) in [(None, 3, 3), (Some((&database, key.as_str())), 2, 2)] {
        let status = run(&["status"], folder.path(), place);
        assert_eq!(status.code, Some(6), "{status:?}");
        let pending = [logs, vaults].map(|known| format!("{known} pending"));
        let missing = [
            store("log", 0, logs, &pending[0]),
            store("vault", 0, vaults, &pending[1]),
        ];
        assert_eq!(states(&status), missing);
        assert!(
            status.stderr.contains(&format!(
                "0 of {logs} migrations: run `grantlog migrate up`"
            )),
            "{status:?}"
        );
        if place.is_none() {
            let data = folder.path().join("grantlog-data");
            assert!(!data.exists());
            let up = run(&["up"], folder.path(), place);
            up.fails(6, "there is no folder ");
            assert!(!data.exists(), "nothing is made where nothing was");
            fs::create_dir(data).expect("made");
        }
        for arguments in [&["up"][..], &["up"], &["up", "--contract"], &["status"]] {
            let ended = run(arguments, folder.path(), place);
            assert_eq!(
                (ended.code, ended.stderr.as_str()),
                (Some(0), ""),
                "{ended:?}"
            );
            let made = [
                store("log", logs, logs, "up to date"),
                store("vault", vaults, vaults, "up to date"),
            ];
            assert_eq!(states(&ended), made);
        }
    }
    let lines = Run::new(&["migrate", "status"]).inside(folder.path()).end();
    assert_eq!(
        lines.prints(),
        "log\t3\t3\tup to date\nvault\t3\t3\tup to date\n"
    );
}

/// A first start that was stopped between two migrations of the log goes on.
#[tokio::test]
async fn a_first_start_that_was_stopped_goes_on() {
    const FIRST: [Migration; 1] = [Migration::expand(include_str!(
        "../../migrations/log/postgres/0001_log.sql"
    ))];
    let database = Database::create();
    let store = Postgres::new(&database.url(), 1).expect("a URL");
    let lease = store.lease().await.expect("a connection");
    let begun = migrate(&lease, "grantlog_log", &FIRST, false).await;
    assert_eq!(begun.expect("begun").applied, 1);
    let folder = folder();
    let up = run(&["up"], folder.path(), Some((&database, &new_master_key())));
    let made = [store_of("log", 2), store_of("vault", 2)];
    assert_eq!((up.code, states(&up)), (Some(0), made.to_vec()));
}

fn store_of(name: &str, applied: u64) -> (String, u64, u64, String) {
    store(name, applied, applied, "up to date")
}

/// A role that may make tables and no functions: commits will take two trips, and whoever migrates is told.
#[test]
fn what_a_database_does_without_is_told() {
    let folder = folder();
    let database = Database::create();
    let name = database.run("SELECT current_database()");
    database.run("REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC; CREATE ROLE plain LOGIN");
    database.run(&format!("GRANT CREATE ON DATABASE {name} TO plain"));
    let url = database.url().replace("user=grantlog", "user=plain");
    let up = Run::new(&["migrate", "up", "--json"])
        .inside(folder.path())
        .with("GRANTLOG_STORE__DATABASE_URL", &url)
        .with("GRANTLOG_KEYS__MASTER_KEY", &new_master_key())
        .end();
    assert_eq!(up.code, Some(0), "{up:?}");
    assert_eq!(states(&up)[0], store("log", 2, 2, "up to date"));
    let told = "the database goes without a migration";
    assert!(
        up.stderr.contains(told) && up.stderr.contains("42501"),
        "{up:?}"
    );
    database.run("DROP OWNED BY plain; DROP ROLE plain; GRANT USAGE ON LANGUAGE plpgsql TO PUBLIC");
}

/// Version 0.1.0 kept a vault with one migration.
#[tokio::test]
async fn an_older_embedded_store_waits_until_it_may_be_migrated() {
    let mut server = Server::setup()
        .env("GRANTLOG_STORE__MIGRATE", "true")
        .start()
        .await;
    server.stop().await;
    let data = server.folder().join("data");
    let vault = rusqlite::Connection::open(data.join("vault.db")).expect("opened");
    let older = "DROP TABLE seals; DROP TABLE cache_version; DROP INDEX data_key_by_erasure; PRAGMA user_version = 1;
        ALTER TABLE data_key DROP COLUMN destroyed_in; ALTER TABLE upstream_token DROP COLUMN claimed_until";
    vault.execute_batch(older).expect("changed");
    drop(vault);
    server.set_env("GRANTLOG_STORE__MIGRATE", "false");
    let before = fs::read(data.join("vault.db")).expect("read");
    let refused = server.refused_again().await;
    assert_eq!(refused.status.code(), Some(6));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("1 of 3 migrations: run `grantlog migrate up`"),
        "{said}"
    );
    let data = data.to_str().expect("text");
    let status = Run::new(&["migrate", "status", "--json", "--data", data]).end();
    assert_eq!(status.code, Some(6), "{status:?}");
    let expected = [
        store("log", 3, 3, "up to date"),
        store("vault", 1, 3, "2 pending"),
    ];
    assert_eq!(states(&status), expected);
    assert_eq!(
        fs::read(format!("{data}/vault.db")).expect("read"),
        before,
        "asking changes nothing"
    );
    Run::new(&["migrate", "up", "--data", data]).end().prints();
    server.start_again().await;
    // Beside a server that has the store, where there is nothing to do.
    let up = Run::new(&["migrate", "up", "--json", "--data", data]).end();
    assert_eq!(up.code, Some(0), "{up:?}");
}

/// What a newer program records may be a revocation, so a node that does not know it leaves its work to others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_know_what_a_newer_one_recorded_stands_aside() {
    let database = Database::create();
    let setup = Server::setup()
        .env("GRANTLOG_STORE__DATABASE_URL", &database.url())
        .env("GRANTLOG_KEYS__MASTER_KEY", &new_master_key());
    let rig = Rig::on(setup, json!({"oauth_proxy_require_consent": false})).await;
    let client = rig.client().await;
    let tokens = rig.log_in(&client).await;
    assert!(rig.admits(&tokens.access).await);
    let newer = Log::open_postgres(&database.url(), Options { migrate: false }).expect("opened");
    let known = newer.read_after(0, 1).await.expect("read").remove(0);
    let entry = String::from_utf8(known.entry)
        .expect("text")
        .replace(".created", ".imagined");
    let append = Append {
        stream: known.stream,
        expected: 1,
        premises: Vec::new(),
        entries: vec![NewEntry {
            entry: entry.into(),
            sealed: known.sealed,
        }],
    };
    newer.append(append).await.expect("appended");
    let deadline = Instant::now() + Duration::from_secs(20);
    let ready = || {
        plain_http()
            .get(format!("{}/readyz", rig.server.ops_url))
            .send()
    };
    while ready().await.expect("an answer").status() != 503 {
        assert!(Instant::now() < deadline, "it goes on unawares");
    }
    assert_eq!(rig.proxy.list_tools(&tokens.access).await.status, 503);
    assert!(rig.server.log().contains("following the log halted"));
    // Its lists do not pass for whole.
    let page = rig.server.get("/api/v1/events?limit=1").await.expect(200);
    assert!(page.json()["behind"].as_u64() >= Some(1), "{page:?}");
    assert_eq!(page.header("x-behind"), page.json()["behind"].to_string());
    let listed = rig.server.command(&["logins"]).await;
    let said = String::from_utf8_lossy(&listed.stderr).into_owned();
    assert!(
        listed.status.success() && said.contains("incomplete: "),
        "{listed:?}"
    );
}

/// Nodes of this version; a newer program expands while they serve, and contracts before the last has gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_serve_while_a_newer_program_migrates() {
    let database = Database::create();
    let key = new_master_key();
    let setup = Server::setup()
        .env("GRANTLOG_STORE__DATABASE_URL", &database.url())
        .env("GRANTLOG_KEYS__MASTER_KEY", &key);
    let mut rig = Rig::on(setup, json!({"oauth_proxy_require_consent": false})).await;
    let client = rig.client().await;
    let mut newest = rig.log_in(&client).await;
    let store_of_newer = Postgres::new(&database.url(), 1).expect("a URL");
    let lease = store_of_newer.lease().await.expect("a connection");
    let expanding = tokio::spawn(async move {
        let expanded = migrate(&lease, "grantlog_log", &NEWER, false).await;
        (lease, expanded)
    });
    for _ in 0..20 {
        newest = Tokens::of(&client.refresh(&newest.refresh).await.expect(200));
    }
    let (lease, expanded) = expanding.await.expect("joined");
    assert_eq!(expanded.expect("expanded").applied, 3);
    newest = Tokens::of(&client.refresh(&newest.refresh).await.expect(200));

    // The older program starts anew on it, and says what it sees.
    rig.server.stop().await;
    rig.server.start_again().await;
    newest = Tokens::of(&client.refresh(&newest.refresh).await.expect(200));
    assert!(rig.admits(&newest.access).await);
    let place = Some((&database, key.as_str()));
    for arguments in ["status", "up"] {
        let ended = run(&[arguments], rig.server.folder(), place);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let newer = "expanded by a newer program, which this one may use";
        assert_eq!(states(&ended)[0], store("log", 3, 2, newer));
    }
    // It would leave out what it does not know.
    let backup = Run::new(&["backup", "copy"]).inside(rig.server.folder());
    backup.on(&database, &key).end().fails(6, "a newer program");
    assert!(!rig.server.folder().join("copy").exists());

    let contracted = migrate(&lease, "grantlog_log", &NEWER, true).await;
    assert_eq!(contracted.expect("contracted").applied, 4);
    rig.server.stop().await;
    let refused = rig.server.refused_again().await;
    assert_eq!(refused.status.code(), Some(6));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("needs a program that knows 4, this one knows 2"),
        "{said}"
    );
    let status = run(&["status"], rig.server.folder(), place);
    assert_eq!(status.code, Some(6), "{status:?}");
    assert_eq!(
        states(&status)[0],
        store("log", 4, 2, "needs a newer program")
    );
}
