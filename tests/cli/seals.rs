//! Somebody writes to the log's file and has no key: whatever is changed of what was sealed is found.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;
use support::{Server, plain_http};

use super::rig::Rig;
use super::{Run, folder, open, seal};

/// A store in which somebody has logged in, all of it sealed.
struct Sealed {
    rig: Rig,
    data: PathBuf,
    entries: u64,
}

async fn sealed() -> Sealed {
    let mut rig = Rig::start().await;
    let client = rig.client().await;
    rig.log_in(&client).await;
    rig.server.stop().await;
    let data = rig.server.folder().join("data");
    let entries = seal(&data).await;
    Sealed { rig, data, entries }
}

/// Whoever stops the server to look, or is quicker than a second, finds nothing open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_leaves_nothing_unsealed() {
    let mut rig = Rig::start().await;
    let client = rig.client().await;
    rig.log_in(&client).await;
    rig.server.stop().await;
    let ended = verify(&rig.server.folder().join("data"));
    let document: Value = serde_json::from_str(ended.prints()).expect("JSON");
    assert_eq!(document["sealed"], document["entries"]);
    assert_eq!(document["intact"], true);
}

/// What has the key and not the read models.
fn copy(data: &Path, to: &Path) {
    for file in ["log.db", "vault.db", "master.key"] {
        fs::copy(data.join(file), to.join(file)).expect("copied");
    }
}

/// Changes the log's file as somebody would who knows how it is made.
fn change(data: &Path, sql: &str) {
    let log = Connection::open(data.join("log.db")).expect("opened");
    let triggers = "DROP TRIGGER entries_are_not_changed; DROP TRIGGER entries_are_not_removed;";
    log.execute_batch(triggers).expect("dropped");
    log.execute_batch(sql).expect(sql);
    // The index of the streams is made anew by whoever opens it next.
    log.execute_batch("DELETE FROM streams; UPDATE log_head SET indexed = 0")
        .expect("changed");
}

fn verify(data: &Path) -> super::Ended {
    Run::new(&["verify", "--json", "--data", data.to_str().expect("text")]).end()
}

#[track_caller]
fn is_whole(data: &Path, entries: u64, sealed: u64) {
    let ended = verify(data);
    let document: Value = serde_json::from_str(ended.prints()).expect("JSON");
    let expected = serde_json::json!({
        "entries": entries, "valid": entries, "sealed": sealed, "intact": true
    });
    assert_eq!(document, expected);
}

#[track_caller]
fn is_broken(data: &Path, position: u64, what: &str) {
    let ended = verify(data);
    assert_eq!(ended.code, Some(4), "{what}: {ended:?}");
    let document: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(document["intact"], false, "{what}");
    assert_eq!(document["position"], position, "{what}: {document}");
    assert_eq!(document["valid"], position, "{what}: {document}");
}

/// Replaces a character of the first entry of this name, and returns its position.
fn replace(data: &Path, name: &str, within: &str) -> u64 {
    let log = Connection::open(data.join("log.db")).expect("opened");
    let find = "SELECT position, CAST(entry AS TEXT) FROM entries
        WHERE instr(CAST(entry AS TEXT), ?1) > 0 ORDER BY position LIMIT 1";
    let found: (u32, String) = log
        .query_row(find, [name], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect(name);
    let (position, entry) = found;
    let at = entry.find(within).expect(within) + within.len();
    let other = if &entry[at..=at] == "3" { "2" } else { "3" };
    let mut changed = entry.clone();
    changed.replace_range(at..=at, other);
    change(
        data,
        &format!(
            "UPDATE entries SET entry = CAST('{}' AS BLOB) WHERE position = {position}",
            changed.replace('\'', "''")
        ),
    );
    position.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_changed_of_the_log_is_found() {
    let Sealed {
        rig: _rig,
        data,
        entries,
    } = sealed().await;
    is_whole(&data, entries, entries);
    let changed = |change: &dyn Fn(&Path) -> u64, what| {
        let folder = folder();
        copy(&data, folder.path());
        let position = change(folder.path());
        is_broken(folder.path(), position, what);
    };
    for (name, within) in [
        ("operator.added", "\"token_sha256\":\""),
        ("operator.added", "\"recorded_at\":\"202"),
        ("proxy.added", "\"upstream_url\":\"http://127.0.0."),
        ("grant.login_succeeded", "\"subject\":\""),
    ] {
        changed(&|data| replace(data, name, within), name);
    }
    let last = entries - 1;
    let swap = "UPDATE entries SET position = -1 WHERE position = 2;
        UPDATE entries SET position = 2 WHERE position = 4; UPDATE entries SET position = 4 WHERE position = -1";
    let remove =
        format!("DELETE FROM entries WHERE position >= {last}; UPDATE log_head SET next = {last}");
    let shift = "UPDATE entries SET position = -position - 1 WHERE position > 3;
        UPDATE entries SET position = -position WHERE position < 0;
        INSERT INTO entries SELECT 4, 'operator-x', 0, entry, sealed FROM entries WHERE position = 3;
        UPDATE log_head SET next = next + 1";
    let close = format!(
        "DELETE FROM entries WHERE position = 5;
        UPDATE entries SET position = -position WHERE position > 5;
        UPDATE entries SET position = -position - 1 WHERE position < 0; UPDATE log_head SET next = {last}"
    );
    for (sql, position, what) in [
        (swap, 2, "two entries change places"),
        (&remove, last, "the last entry is removed"),
        (shift, 4, "an entry is put between"),
        (&close, 5, "an entry is taken out"),
    ] {
        let apply = |data: &Path| {
            change(data, sql);
            position
        };
        changed(&apply, what);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_announces_it() {
    let Sealed { mut rig, data, .. } = sealed().await;
    let position = replace(&data, "operator.added", "\"token_sha256\":\"");
    rig.server.start_again().await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !metrics(&rig.server).await.contains("grantlog_log_intact 0") {
        assert!(Instant::now() < deadline, "nothing is announced");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let log = rig.server.log();
    let told = format!("\"position\":{position},");
    assert!(
        log.contains("not as it was written") && log.contains(&told),
        "{log}"
    );
}

async fn metrics(server: &Server) -> String {
    let asked = plain_http().get(format!("{}/metrics", server.ops_url));
    let answer = asked.send().await.expect("an answer");
    answer.text().await.expect("text")
}

/// A log that is older than the seals lacks what was acknowledged, until an operator takes the seals of that away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_log_beside_a_later_vault_is_not_whole() {
    let Sealed {
        mut rig,
        data,
        entries,
    } = sealed().await;
    let earlier = folder();
    copy(&data, earlier.path());
    rig.server.start_again().await;
    let client = rig.client().await;
    rig.log_in(&client).await;
    rig.server.stop().await;
    let all = seal(&data).await;
    assert!(all > entries);
    is_whole(&data, all, all);
    fs::copy(data.join("vault.db"), earlier.path().join("vault.db")).expect("copied");
    is_broken(earlier.path(), entries, "an earlier log");
    // A copy does not hide it.
    let copied = earlier.path().join("copy");
    let run = Run::new(&["backup", copied.to_str().expect("text")]);
    run.with(
        "GRANTLOG_STORE__DATA_DIR",
        earlier.path().to_str().expect("text"),
    )
    .end()
    .prints();
    fs::copy(data.join("master.key"), copied.join("master.key")).expect("copied");
    is_broken(&copied, entries, "its copy");

    let vault = Connection::open(copied.join("vault.db")).expect("opened");
    let documented = format!("DELETE FROM seals WHERE first > {entries} - 256");
    vault.execute_batch(&documented).expect("deleted");
    is_whole(&copied, entries, 0);
    assert_eq!(seal(&copied).await, entries);
    is_whole(&copied, entries, entries);
}

/// Of the version before: it is sealed as it is found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_store_is_sealed_as_it_is() {
    let Sealed {
        rig: _rig,
        data,
        entries,
    } = sealed().await;
    let vault = Connection::open(data.join("vault.db")).expect("opened");
    vault
        .execute_batch("DROP TABLE seals; PRAGMA user_version = 2")
        .expect("changed");
    drop(vault);
    drop(open(&data));
    is_whole(&data, entries, 0);
    assert_eq!(seal(&data).await, entries);
    is_whole(&data, entries, entries);
    replace(&data, "operator.added", "\"token_sha256\":\"");
    assert_eq!(verify(&data).code, Some(4));
}
