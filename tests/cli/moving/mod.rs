//! A store is moved into a database: what clients hold lives on there, and nothing else is touched.

mod again;
mod refused;

use std::fs;
use std::path::{Path, PathBuf};

use grantlog::clock;
use serde_json::{Value, json};
use support::postgres::{Database, Pooler};
use support::{Client, Pkce, Server, Tokens};

use super::fake_provider::User;
use super::rig::{Rig, refused};
use super::{Ended, Run, open, seal};

/// `grantlog move` from a data folder.
fn move_to(database: &Database, data: &Path) -> Run {
    move_to_url(&database.url(), data)
}

fn move_to_url(url: &str, data: &Path) -> Run {
    let from = format!("sqlite://{}", data.display());
    let run = Run::new(&["move", "--json", "--from", &from, "--to", url]);
    run.inside(data.parent().expect("a folder around it"))
}

/// What is in a database, every row of it.
fn dump(database: &Database) -> Vec<String> {
    let tables = "SELECT table_schema || '.' || table_name FROM information_schema.tables
        WHERE table_schema LIKE 'grantlog%' ORDER BY 1";
    let rows = |table| {
        database.run(&format!(
            "SELECT '{table}', t FROM {table} t ORDER BY t::text"
        ))
    };
    database.run(tables).lines().map(rows).collect()
}

/// What a move that ended well says.
fn report(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).expect("one document")
}

fn data(server: &Server) -> PathBuf {
    server.folder().join("data")
}

fn master_key(data: &Path) -> String {
    let key = fs::read_to_string(data.join("master.key")).expect("a key");
    key.trim().to_owned()
}

/// A rig whose server has stopped, what its clients hold, and what its record says.
struct Stopped {
    rig: Rig,
    client: Client,
    newest: Tokens,
    redeemed: String,
    revoked: Tokens,
    record: String,
}

async fn stopped() -> Stopped {
    let mut rig = Rig::start().await;
    let client = rig.client().await;
    let first = rig.log_in(&client).await;
    let newest = Tokens::of(&client.refresh(&first.refresh).await.expect(200));
    let redeemed = rig.code(&client).await;
    client.redeem(&redeemed, &Pkce::rfc7636()).await.expect(200);
    let revoked = rig.log_in(&client).await;
    client.revoke(&revoked.refresh).await.expect(200);
    rig.provider.user(User {
        sub: "grace-at-fake".to_owned(),
        email: Some("grace@example.com".to_owned()),
        name: "Grace Hopper".to_owned(),
        ..User::default()
    });
    let grace = rig.log_in(&client).await.claims()["sub"].clone();
    rig.server.stop().await;
    let data = data(&rig.server);
    erase(&data, grace.as_str().expect("a subject")).await;
    seal(&data).await;
    let folder = data.to_str().expect("text");
    Run::new(&["replay", "--data", folder]).end().prints();
    let record = record(|run| run.end(), &["--data", folder]);
    let people = record.contains("ada@example.com") && !record.contains("grace");
    assert!(people, "Ada is there, Grace is erased");
    Stopped {
        rig,
        client,
        newest,
        redeemed,
        revoked,
        record,
    }
}

/// What investigators see: every event, and every login with its person.
fn record(run: impl Fn(Run) -> Ended, source: &[&str]) -> String {
    let print = |command: &[&str]| {
        run(Run::new(&[command, source].concat()))
            .prints()
            .to_owned()
    };
    print(&["events", "export"]) + &print(&["logins", "--jsonl"])
}

fn entries(record: &str) -> usize {
    record
        .lines()
        .filter(|line| line.contains("\"schema\""))
        .count()
}

async fn erase(data: &Path, subject: &str) {
    let subject = subject.parse().expect("a subject");
    assert!(
        open(data)
            .destroy(subject, clock::now())
            .await
            .expect("erased")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_moved_store_goes_on_where_it_stopped() {
    let mut stopped = stopped().await;
    let database = Database::create();
    let data = data(&stopped.rig.server);
    let (key, record) = (master_key(&data), stopped.record.clone());
    let log_before = fs::read(data.join("log.db")).expect("read");
    let moved = report(&move_to(&database, &data).end());
    let entries = entries(&record);
    assert_eq!(
        (&moved["entries"], &moved["carried"]),
        (&json!(entries), &json!(entries))
    );
    assert!(
        moved["vault_rows"].as_u64() > Some(10) && moved["seconds"].is_number(),
        "{moved}"
    );
    assert_eq!(
        fs::read(data.join("log.db")).expect("read"),
        log_before,
        "the log is never changed"
    );

    for (arguments, said) in [
        (
            &["verify"][..],
            format!("{entries}/{entries} entries valid, {entries} of them sealed\n"),
        ),
        (
            &["migrate", "status"],
            "log\t2\t2\tup to date\nvault\t2\t2\tup to date\n".to_owned(),
        ),
    ] {
        let ended = Run::new(arguments)
            .inside(stopped.rig.server.folder())
            .on(&database, &key)
            .end();
        assert_eq!(ended.prints(), said);
    }
    let with_key = |run: Run| run.with("GRANTLOG_KEYS__MASTER_KEY", &key).end();
    let there = self::record(with_key, &["--database", &database.url()]);
    assert!(there == record, "another record than before");

    // Not by accident from where it was, until somebody says so.
    let again = stopped.rig.server.refused_again().await;
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!(again.status.code(), Some(6), "{said}");
    assert!(
        said.contains("was moved into a database") && said.contains("moved.txt"),
        "{said}"
    );

    clients_go_on(&mut stopped, &database, &key).await;

    // The database has gone on: it is compared once more and not overwritten by what it was made from.
    let before = dump(&database);
    let again = report(&move_to(&database, &data).end());
    assert_eq!(
        (&again["entries"], &again["carried"], &again["vault_rows"]),
        (&json!(entries), &json!(0), &Value::Null)
    );
    assert!(again["recorded_since"].as_u64() > Some(0), "{again}");
    // Nor does another one get what is served there.
    let other = Database::create();
    move_to(&other, &data)
        .end()
        .fails(1, "moved.txt says, and not into this database");
    assert_eq!(dump(&other), [""; 0]);
    // Without the note the folder might have gone on, too.
    fs::remove_file(data.join("moved.txt")).expect("removed");
    move_to(&database, &data)
        .end()
        .fails(1, "that are not this folder's: nothing was overwritten");
    assert_eq!(dump(&database), before);
}

/// What clients hold, on a node that has the old folder for its read models.
async fn clients_go_on(stopped: &mut Stopped, database: &Database, key: &str) {
    let Stopped {
        rig,
        client,
        newest,
        redeemed,
        revoked,
        ..
    } = stopped;
    let file = data(&rig.server).join("master.key");
    rig.server
        .set_env("GRANTLOG_STORE__DATABASE_URL", &database.url());
    rig.server.set_env(
        "GRANTLOG_KEYS__MASTER_KEY_FILE",
        file.to_str().expect("text"),
    );
    rig.server.start_again().await;
    assert!(rig.admits(&newest.access).await, "an access token lives on");
    assert!(
        !rig.admits(&revoked.access).await,
        "a revoked one stays dead"
    );
    refused(client.refresh(&revoked.refresh).await, 400, "invalid_grant");
    let refreshed = Tokens::of(&client.refresh(&newest.refresh).await.expect(200));
    assert!(rig.admits(&refreshed.access).await);
    refused(
        client.redeem(redeemed, &Pkce::rfc7636()).await,
        400,
        "invalid_grant",
    );
    let known = Tokens::of(&client.refresh(&refreshed.refresh).await.expect(200));
    let logged_in = rig.log_in(client).await;
    assert!(rig.admits(&known.access).await && rig.admits(&logged_in.access).await);
    rig.server.stop().await;
    for arguments in [&["verify"][..], &["replay", "--check"]] {
        let run = Run::new(arguments)
            .inside(rig.server.folder())
            .on(database, key);
        let ended = run.with("GRANTLOG_STORE__DATA_DIR", "data").end();
        assert_eq!(ended.code, Some(0), "{arguments:?} {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_as_it_was_is_found() {
    let stopped = stopped().await;
    let database = Database::create();
    let data = data(&stopped.rig.server);
    // By way of a proxy that lends sessions for a transaction only.
    let pooler = Pooler::before(&database);
    let moved = report(&move_to_url(&pooler.url(), &data).end());
    drop(pooler);
    let again = report(&move_to(&database, &data).end());
    assert_eq!(
        (&again["entries"], &again["carried"]),
        (&moved["entries"], &json!(0))
    );
    assert_eq!(again["vault_rows"], moved["vault_rows"]);

    let entry = "UPDATE grantlog_log.entries SET sealed = sealed || '\\x00' WHERE position = 11";
    for (change, back, reason) in [
        (
            entry.to_owned(),
            entry.replace("sealed || '\\x00'", "substr(sealed, 1, length(sealed) - 1)"),
            "entry 11 in the database is not the folder's",
        ),
        vault(
            "data_key",
            "created_at = created_at + 1",
            "created_at = created_at - 1",
            "in table data_key",
        ),
        vault(
            "secret",
            "owner = owner || 'x'",
            "owner = rtrim(owner, 'x')",
            "in table secret",
        ),
        vault(
            "upstream_token",
            "claimed_until = 5",
            "claimed_until = NULL",
            "in table upstream_token",
        ),
        vault(
            "signing_key",
            "retires_at = 5",
            "retires_at = NULL",
            "in table signing_key",
        ),
        vault(
            "cache_version",
            "version = version + 1",
            "version = version - 1",
            "in table cache_version",
        ),
    ] {
        assert_ne!(
            database.run(&format!("{change} RETURNING 1")),
            "",
            "{change}"
        );
        move_to(&database, &data).end().fails(4, reason);
        database.run(&back);
        report(&move_to(&database, &data).end());
    }
    for gone in ["seals", "subject", "data_key"] {
        database.run(&format!("DELETE FROM grantlog_vault.{gone}"));
        move_to(&database, &data).end().fails(4, "in table");
    }
    database.run("DELETE FROM grantlog_log.entries WHERE position = 3");
    move_to(&database, &data)
        .end()
        .fails(4, "at position 3: there is no entry");
}

fn vault(
    table: &str,
    change: &str,
    back: &str,
    reason: &'static str,
) -> (String, String, &'static str) {
    let update = |set| format!("UPDATE grantlog_vault.{table} SET {set}");
    (update(change), update(back), reason)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_restored_into_a_database() {
    let Stopped {
        mut rig,
        client,
        newest,
        record,
        ..
    } = stopped().await;
    let database = Database::create();
    let data = data(&rig.server);
    let key = master_key(&data);
    let home = rig.server.folder().to_owned();
    let copied = Run::new(&["backup", "copy", "--data", "data"])
        .inside(&home)
        .end();
    assert_eq!(copied.code, Some(0), "{copied:?}");
    let here = |run: Run| run.inside(&home).on(&database, &key).end();
    let restored = here(Run::new(&["restore", "copy"]));
    let entries = entries(&record);
    assert!(
        restored
            .prints()
            .starts_with(&format!("{entries} entries and ")),
        "{restored:?}"
    );
    assert!(
        !home.join("copy/moved.txt").exists(),
        "a copy may be used again"
    );

    rig.server
        .set_env("GRANTLOG_STORE__DATABASE_URL", &database.url());
    rig.server.set_env("GRANTLOG_KEYS__MASTER_KEY", &key);
    rig.server.start_again().await;
    let newest = Tokens::of(&client.refresh(&newest.refresh).await.expect(200));
    assert!(rig.admits(&newest.access).await);
    rig.log_in(&client).await;
    here(Run::new(&["restore", "copy"])).fails(1, "nothing was overwritten");

    // Who names the copy hears of it and not of the database that the configuration names.
    let valid = format!("{entries}/{entries} entries valid, {entries} of them sealed\n");
    assert_eq!(
        here(Run::new(&["verify", "--data", "copy"])).prints(),
        valid
    );
    here(Run::new(&["replay", "--data", "copy"])).prints();
    here(Run::new(&["replay", "--check", "--data", "copy"])).prints();
    assert!(
        self::record(here, &["--data", "copy"]) == record,
        "another record than before"
    );
    assert_ne!(here(Run::new(&["verify"])).prints(), valid);
}
