//! A log carried into PostgreSQL is the same log, however long it is and in however many goes it came.

use std::path::Path;
use std::time::Duration;

use grantlog::log::postgres::Target;
use grantlog::log::{Append, Log, NewEntry, OpenError, hold, note_moved};
use grantlog::migrations::Unfit;
use proptest::prelude::*;
use support::postgres::Database;

use super::{MIGRATE, append, read_all};

/// Appends until there are so many entries, whose bytes follow from the seed.
async fn grow(dir: &Path, entries: u64, seed: u64) {
    let log = Log::open(dir, MIGRATE).unwrap();
    let mut state = seed | 1;
    let mut below = |end: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % end
    };
    let mut versions = [0; 7];
    for stored in read_all(&log).await {
        versions[stored.stream.chars().count() - 1] += 1;
    }
    let mut batch = Vec::new();
    for _ in log.head()..entries {
        let stream = below(7) as usize;
        let mut bytes = |most| {
            (0..below(most))
                .map(|_| below(256) as u8)
                .collect::<Vec<_>>()
        };
        let entry = [vec![1], bytes(40)].concat();
        let sealed = Some(bytes(30)).filter(|sealed| sealed.len() % 3 > 0);
        batch.push(Append {
            stream: "\0é\u{1F512}".repeat(3)[..]
                .chars()
                .take(stream + 1)
                .collect(),
            expected: versions[stream],
            premises: Vec::new(),
            entries: vec![NewEntry { entry, sealed }],
        });
        versions[stream] += 1;
    }
    for appended in log.append_batch(batch).await {
        appended.unwrap();
    }
    assert_eq!(log.head(), entries);
}

fn carry(dir: &Path, database: &Database) -> Target {
    let _held = hold(dir).unwrap();
    let log = Log::open_read_only(dir).unwrap();
    let mut target = Target::find(&database.url()).unwrap();
    assert!(target.is_beginning_of(&log).unwrap());
    target.begin().unwrap();
    let (mut steps, first) = (Vec::new(), target.head());
    target.carry(&log, &mut |head| steps.push(head)).unwrap();
    assert!(steps.is_sorted() && steps.last().is_none_or(|last| *last == log.head()));
    assert_eq!(steps.is_empty(), first == log.head());
    assert_eq!(target.difference(&log, &mut |_| {}).unwrap(), None);
    target
}

async fn the_same_in_goes(goes: &[u64], seed: u64) {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::create());
    for entries in goes {
        grow(dir.path(), *entries, seed).await;
        drop(carry(dir.path(), &database));
        let refused = Log::open_postgres(&database.url(), MIGRATE).err().unwrap();
        assert!(matches!(refused, OpenError::Schema(Unfit::Unfinished)));
    }
    carry(dir.path(), &database).finish().unwrap();
    let moved = Log::open_postgres(&database.url(), MIGRATE).unwrap();
    let before = read_all(&Log::open_read_only(dir.path()).unwrap()).await;
    assert!(read_all(&moved).await == before);
    // It goes on as it would have.
    let version = before.iter().filter(|entry| entry.stream == "\0").count() as u64;
    let next = moved
        .append(append("\0", version, &["next"]))
        .await
        .unwrap();
    assert_eq!(next.first_position, before.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_any_length_is_carried() {
    // Around the step in which entries are carried.
    for goes in [&[0][..], &[1], &[999, 1000, 1001], &[2000], &[0, 1, 2999]] {
        the_same_in_goes(goes, 7).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn however_often_it_is_broken_off(mut goes in proptest::collection::vec(0..3500_u64, 1..4), seed: u64) {
        goes.sort_unstable();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(the_same_in_goes(&goes, seed));
    }
}

/// From before its first table on, the database says that it is not a store yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_only_begun_is_no_store() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::create());
    grow(dir.path(), 10, 3).await;
    for broken_off_at in [1, 2] {
        database.run(&format!(
            "CREATE SCHEMA IF NOT EXISTS grantlog_log;
             CREATE TABLE IF NOT EXISTS grantlog_log.migrations
                 (number integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());
             CREATE OR REPLACE FUNCTION grantlog_log.fail() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE 'broken off'; END $$;
             DROP TRIGGER IF EXISTS fail ON grantlog_log.migrations;
             CREATE TRIGGER fail BEFORE INSERT ON grantlog_log.migrations FOR EACH ROW
                 WHEN (NEW.number = {broken_off_at}) EXECUTE FUNCTION grantlog_log.fail()"
        ));
        let begun = Target::find(&database.url()).unwrap().begin();
        assert!(begun.is_err(), "broken off at {broken_off_at}");
        let refused = Log::open_postgres(&database.url(), MIGRATE).err().unwrap();
        assert!(matches!(refused, OpenError::Schema(Unfit::Unfinished)));
    }
    database.run("DROP FUNCTION grantlog_log.fail() CASCADE");
    carry(dir.path(), &database).finish().unwrap();
    let moved = Log::open_postgres(&database.url(), MIGRATE).unwrap();
    assert_eq!(moved.head(), 10);
}

/// Nobody follows a log that is only carried into, so that nothing is heard of it but the answers themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn carrying_may_take_longer_than_a_store_that_is_followed_may_be_silent() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::create());
    grow(dir.path(), 2500, 3).await;
    let target = carry(dir.path(), &database);
    std::thread::sleep(Duration::from_millis(2500));
    let log = Log::open_read_only(dir.path()).unwrap();
    assert_eq!(target.difference(&log, &mut |_| {}).unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_difference_is_told() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::create());
    grow(dir.path(), 2500, 3).await;
    carry(dir.path(), &database).finish().unwrap();
    let log = Log::open_read_only(dir.path()).unwrap();
    let difference = || {
        let target = Target::find(&database.url()).unwrap();
        target.difference(&log, &mut |_| {})
    };
    assert_eq!(difference().unwrap(), None);
    for (position, change) in [
        (2499, "entry = entry || '\\x00'"),
        (1000, "sealed = coalesce(sealed || '\\x00', '')"),
        (999, "stream = stream || 'x'"),
        (17, "version = version + 5000"),
    ] {
        let table = "grantlog_log.entries";
        database.run(&format!(
            "UPDATE {table} SET {change} WHERE position = {position}"
        ));
        assert_eq!(difference().unwrap(), Some(position), "{change}");
    }
    database.run("DELETE FROM grantlog_log.entries WHERE position = 5");
    assert!(
        difference()
            .unwrap_err()
            .to_string()
            .contains("at position 5: there is no entry")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_beginning_of_the_same_log_is_gone_on_with() {
    let (dir, other, database) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        Database::create(),
    );
    grow(dir.path(), 1200, 3).await;
    grow(other.path(), 1200, 4).await;
    drop(carry(dir.path(), &database));
    let is_beginning = |dir: &Path| {
        let target = Target::find(&database.url()).unwrap();
        target
            .is_beginning_of(&Log::open_read_only(dir).unwrap())
            .unwrap()
    };
    assert!(is_beginning(dir.path()) && !is_beginning(other.path()));
    database.run("UPDATE grantlog_log.entries SET sealed = 'x' WHERE position = 1150");
    assert!(!is_beginning(dir.path()), "its last entries are others");
    // A log in use is neither carried into nor carried.
    let used = Database::create();
    let node = Log::open_postgres(&used.url(), MIGRATE).unwrap();
    let mut target = Target::find(&used.url()).unwrap();
    node.append(append("s", 0, &["mine"])).await.unwrap();
    assert!(matches!(target.begin(), Err(OpenError::Occupied)));
    assert_eq!(
        read_all(&Log::open_postgres(&used.url(), MIGRATE).unwrap())
            .await
            .len(),
        1
    );
    let writer = Log::open(dir.path(), MIGRATE).unwrap();
    assert!(matches!(hold(dir.path()), Err(OpenError::InUse(_))));
    writer.close().await;
    let held = hold(dir.path()).unwrap();
    assert!(matches!(
        Log::open(dir.path(), MIGRATE),
        Err(OpenError::InUse(_))
    ));
    drop(held);
    note_moved(dir.path(), "into a database").unwrap();
    assert!(matches!(
        Log::open(dir.path(), MIGRATE),
        Err(OpenError::Moved(_))
    ));
    assert_eq!(Log::open_read_only(dir.path()).unwrap().head(), 1200);
}
