//! Files that are missing, foreign, damaged or in use: errors, never a panic and never a silent gap.

use std::fs;
use std::path::Path;

use grantlog::log::{AppendError, Log, OpenError, Options, ReadError, migrations};
use grantlog::migrations::Unfit;
use rusqlite::Connection;

use super::{MIGRATE, Store, append, read_all};

async fn filled(dir: &Path, count: u64) {
    let log = Store::Sqlite.open(dir);
    let entry = "x".repeat(300);
    let appends = (0..count).map(|n| append(&format!("s{}", n % 7), n / 7, &[&entry]));
    for answer in log.append_batch(appends.collect()).await {
        answer.unwrap();
    }
    log.close().await;
}

fn tamper(dir: &Path, sql: &str) {
    let connection = Connection::open(dir.join("log.db")).unwrap();
    let triggers = "DROP TRIGGER entries_are_not_changed; DROP TRIGGER entries_are_not_removed;";
    connection.execute_batch(triggers).unwrap();
    connection.execute_batch(sql).unwrap();
}

#[tokio::test]
async fn entries_cannot_be_changed_or_removed_by_accident() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 3).await;
    let connection = Connection::open(dir.path().join("log.db")).unwrap();
    for sql in [
        "DELETE FROM entries",
        "UPDATE entries SET entry = x'00' WHERE position = 1",
    ] {
        let error = connection.execute(sql, []).unwrap_err().to_string();
        assert_eq!(error, "entries are immutable");
    }
}

#[tokio::test]
async fn a_second_writer_is_refused_and_readers_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let log = Store::Sqlite.open(dir.path());
    assert!(matches!(
        Log::open(dir.path(), MIGRATE),
        Err(OpenError::InUse(_))
    ));
    log.append(append("s", 0, &["a"])).await.unwrap();

    for (path, length) in [(dir.path().to_owned(), 1), (dir.path().join("log.db"), 2)] {
        let reader = Log::open_read_only(&path).unwrap();
        assert_eq!((reader.head(), reader.healthy()), (length, false));
        log.append(append("s", length, &["b"])).await.unwrap();
        let read = reader.read_after(0, 10).await.unwrap();
        assert_eq!(read.len() as u64, length + 1);
        reader.wait_past(length).await;
        let answer = reader.append(append("s", 0, &["x"])).await;
        assert!(matches!(answer, Err(AppendError::Unavailable(_))));
        reader.close().await;
    }
    log.close().await;
    Log::open(dir.path(), MIGRATE).unwrap();
}

#[tokio::test]
async fn a_schema_that_does_not_fit_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("data");
    let refused = Log::open(&folder, Options { migrate: false });
    assert!(matches!(
        refused,
        Err(OpenError::Schema(Unfit::Behind {
            applied: 0,
            known: 3,
            blocked: false
        }))
    ));
    assert!(!folder.exists(), "asking changes nothing");
    assert!(matches!(
        Log::open_read_only(&folder),
        Err(OpenError::Missing(_))
    ));
    let schema = || migrations(&folder).unwrap();
    assert_eq!((schema().applied, schema().known), (0, 3));

    filled(&folder, 1).await;
    assert_eq!((schema().applied, schema().known), (3, 3));
    drop(Log::open(&folder, Options { migrate: false }).unwrap());

    for foreign in ["CREATE TABLE mine (x)", "PRAGMA application_id = 7"] {
        let other = tempfile::tempdir().unwrap();
        let connection = Connection::open(other.path().join("log.db")).unwrap();
        connection.execute_batch(foreign).unwrap();
        assert!(matches!(
            Log::open(other.path(), MIGRATE),
            Err(OpenError::NotALog(_))
        ));
    }
    fs::write(
        folder.join("log.db"),
        "not a database, but long enough to be looked at",
    )
    .unwrap();
    assert!(Log::open(&folder, MIGRATE).is_err());
    assert!(Log::open_read_only(&folder).is_err());
}

#[tokio::test]
async fn what_is_missing_is_named_by_its_position() {
    for (sql, first_bad) in [
        ("DELETE FROM entries WHERE position = 4", 4),
        ("DELETE FROM entries WHERE position >= 8", 8),
        ("UPDATE entries SET version = -1 WHERE position = 6", 6),
        ("UPDATE entries SET position = 77 WHERE position = 9", 9),
        (
            "PRAGMA writable_schema = ON; UPDATE entries SET stream = CAST(x'ff' AS TEXT) WHERE position = 5",
            5,
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), 10).await;
        tamper(dir.path(), sql);
        let log = Log::open_read_only(dir.path()).unwrap();
        for from in [0, 3] {
            let error = log.read_after(from, 100).await.unwrap_err();
            let ReadError::Corrupt { position, .. } = error else {
                panic!("{sql}: {error}")
            };
            assert_eq!(position, Some(first_bad), "{sql}");
        }
        let before = log.read_after(0, first_bad as usize).await.unwrap();
        assert_eq!(before.len() as u64, first_bad);
    }
    // Its stream goes on at position 7.
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 10).await;
    tamper(dir.path(), "DELETE FROM entries WHERE position = 0");
    let log = Log::open_read_only(dir.path()).unwrap();
    let error = log.read_stream("s0").await.unwrap_err();
    assert!(
        matches!(
            error,
            ReadError::Corrupt {
                position: Some(0),
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn overwritten_pages_are_errors_and_not_panics() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 500).await;
    let path = dir.path().join("log.db");
    let whole = fs::read(&path).unwrap();
    for page in 0..whole.len() / 4096 {
        let mut broken = whole.clone();
        broken[page * 4096..][..4096].fill(0xA5);
        fs::write(&path, &broken).unwrap();
        if let Ok(log) = Log::open(dir.path(), MIGRATE) {
            for stream in 0..7 {
                let _ = log.read_stream(&format!("s{stream}")).await;
            }
            match log.read_after(0, 1000).await {
                Ok(entries) => assert_eq!(entries.len() as u64, log.head()),
                Err(error) => assert!(matches!(error, ReadError::Corrupt { .. }), "{error}"),
            }
            match log.append(append("new", 0, &["x"])).await {
                Ok(_) | Err(AppendError::Unavailable(_)) => {}
                Err(other) => panic!("page {page}: {other}"),
            }
        }
        for rest in ["log.db-wal", "log.db-shm"] {
            let _ = fs::remove_file(dir.path().join(rest));
        }
    }
}

#[tokio::test]
async fn a_log_whose_file_is_gone_acknowledges_nothing_and_comes_back_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = Store::Sqlite.open(dir.path());
    log.append(append("s", 0, &["a"])).await.unwrap();
    let (here, away) = (dir.path().join("log.db"), dir.path().join("away.db"));
    fs::rename(&here, &away).unwrap();
    let answer = log.append(append("s", 1, &["b"])).await;
    assert!(
        matches!(answer, Err(AppendError::Unavailable(_))),
        "{answer:?}"
    );
    assert!(!log.healthy());
    fs::rename(&away, &here).unwrap();
    log.append(append("s", 1, &["b"])).await.unwrap();
    assert!(log.healthy());
    assert_eq!(read_all(&log).await.len(), 2);
}

#[tokio::test]
async fn evidence_on_a_read_only_medium_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("evi?dence#1 %41");
    filled(&folder, 10).await;
    let still = |readonly| {
        for path in [folder.join("log.db"), folder.clone()] {
            let mut permissions = fs::metadata(&path).unwrap().permissions();
            permissions.set_readonly(readonly);
            fs::set_permissions(&path, permissions).unwrap();
        }
    };
    still(true);
    let log = Log::open_read_only(&folder).unwrap();
    let all = read_all(&log).await;
    still(false);
    assert_eq!(all.len(), 10);
}
