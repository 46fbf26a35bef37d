//! Programs of several versions on one log: expanding stops nobody, contracting stops those who do not know it.

use std::path::Path;
use std::time::{Duration, Instant};

use grantlog::log::{Log, OpenError, Options, postgres};
use grantlog::migrations::postgres::{migrate, schema};
use grantlog::migrations::{Migration, Unfit};
use grantlog::postgres::Postgres;
use support::postgres::Database;

use super::{MIGRATE, STORES, Store, append, read_all, url};

/// What a newer program might do to the log: the first two are as they are here, by number.
const NEWER: [Migration; 4] = [
    Migration::expand(""),
    Migration::expand(""),
    Migration::expand("ALTER TABLE grantlog_log.entries ADD COLUMN later text"),
    Migration::contract("ALTER TABLE grantlog_log.log_head DROP COLUMN settled"),
];

impl Store {
    /// Plays a newer program that expands.
    fn expand(self, at: &Path) {
        match self {
            Self::Sqlite => {
                let file = rusqlite::Connection::open(at.join("log.db")).unwrap();
                file.execute_batch("ALTER TABLE entries ADD COLUMN later TEXT")
                    .unwrap();
                // The last contraction in the upper half, the number of migrations in the lower.
                file.pragma_update(None, "user_version", 3 << 16 | 4)
                    .unwrap();
            }
            Self::Postgres => {
                let store = Postgres::new(&url(at), 1).unwrap();
                let lease = store.block_on(store.lease()).unwrap();
                let migrated = migrate(&lease, "grantlog_log", &NEWER, false);
                assert_eq!(store.block_on(migrated).unwrap().applied, 3);
            }
        }
    }

    /// Plays a newer program that contracts.
    fn contract(self, at: &Path) {
        match self {
            Self::Sqlite => {
                let file = rusqlite::Connection::open(at.join("log.db")).unwrap();
                file.pragma_update(None, "user_version", 5 << 16 | 5)
                    .unwrap();
            }
            Self::Postgres => {
                let store = Postgres::new(&url(at), 1).unwrap();
                let lease = store.block_on(store.lease()).unwrap();
                let migrated = migrate(&lease, "grantlog_log", &NEWER, true);
                assert_eq!(store.block_on(migrated).unwrap().applied, 4);
            }
        }
    }

    /// How many migrations this program has.
    fn known(self) -> u32 {
        match self {
            Self::Sqlite => 3,
            Self::Postgres => 2,
        }
    }

    fn open_read_only(self, at: &Path) -> Result<Log, OpenError> {
        match self {
            Self::Sqlite => Log::open_read_only(at),
            Self::Postgres => Log::open_postgres_read_only(&url(at)),
        }
    }

    fn try_open(self, at: &Path, options: Options) -> Result<Log, OpenError> {
        match self {
            Self::Sqlite => Log::open(at, options),
            Self::Postgres => Log::open_postgres(&url(at), options),
        }
    }
}

#[tokio::test]
async fn an_older_program_goes_on_until_a_newer_one_contracts() {
    let never = Options { migrate: false };
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let log = store.open(dir.path());
        log.append(append("s", 0, &["before"])).await.unwrap();
        log.close().await;
        drop(log);
        store.expand(dir.path());
        for (n, options) in (1..).zip([MIGRATE, never]) {
            let log = store.try_open(dir.path(), options).unwrap();
            log.append(append("s", n, &["after"])).await.unwrap();
            assert_eq!(read_all(&log).await.len() as u64, n + 1);
            log.close().await;
        }
        assert_eq!(store.open_read_only(dir.path()).unwrap().head(), 3);

        store.contract(dir.path());
        for refused in [
            store.try_open(dir.path(), MIGRATE),
            store.try_open(dir.path(), never),
            store.open_read_only(dir.path()),
        ] {
            let known = store.known();
            let ahead = Unfit::Ahead {
                applied: known + 2,
                minimum: known + 2,
                known,
            };
            assert!(matches!(refused, Err(OpenError::Schema(found)) if found == ahead));
        }
    }
}

/// A node that runs has read the schema once; a newer program expands, and waits for a reader that is slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_append_and_read_while_a_newer_program_expands() {
    let database = Database::create();
    let nodes = [(); 2].map(|()| Log::open_postgres(&database.url(), MIGRATE).unwrap());
    nodes[0].append(append("s", 0, &["e"])).await.unwrap();
    let store = Postgres::new(&database.url(), 2).unwrap();
    let slow = store.lease().await.unwrap();
    let read = "BEGIN; SELECT count(*) FROM grantlog_log.entries";
    slow.batch_execute(read).await.unwrap();
    let newer = store.lease().await.unwrap();
    let expanding = tokio::spawn(async move {
        let first = migrate(&newer, "grantlog_log", &NEWER, false)
            .await
            .unwrap();
        (newer, first)
    });
    let waits = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'ALTER TABLE%later%'";
    let mut appended = 1;
    for _ in 0..3 {
        // Each time the migration has got in line, and everybody else behind it.
        let deadline = Instant::now() + Duration::from_secs(20);
        while database.run(waits) != "1" {
            assert!(Instant::now() < deadline, "the migration does not wait");
        }
        for node in &nodes {
            node.append(append("s", appended, &["e"])).await.unwrap();
            appended += 1;
            assert_eq!(node.read_stream("s").await.unwrap().len() as u64, appended);
        }
    }
    assert!(!expanding.is_finished());
    slow.batch_execute("COMMIT").await.unwrap();
    let (newer, expanded) = expanding.await.unwrap();
    assert_eq!(
        (expanded.applied, expanded.known, expanded.needed),
        (3, 4, 3)
    );
    for node in &nodes {
        node.append(append("s", appended, &["e"])).await.unwrap();
        appended += 1;
        assert_eq!(read_all(node).await.len() as u64, appended);
    }
    // The nodes are replaced, the last of them goes, and only then is contracted.
    let contracted = migrate(&newer, "grantlog_log", &NEWER, true).await.unwrap();
    assert_eq!(contracted.check(), Ok(contracted));
    assert_eq!((contracted.applied, contracted.known), (4, 4));
    let older = schema(&newer, "grantlog_log", &NEWER[..3]).await.unwrap();
    let ahead = Unfit::Ahead {
        applied: 4,
        minimum: 4,
        known: 3,
    };
    assert_eq!(older.check(), Err(ahead));
}

/// It has the table to itself, so that nobody reads either.
#[tokio::test]
async fn a_node_that_stops_half_way_through_a_migration_holds_the_others_up_for_seconds_only() {
    const HALF_DONE: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event = 'PgSleep'";
    let mut newer = NEWER;
    newer[2] = Migration::expand(
        "ALTER TABLE grantlog_log.entries ADD COLUMN later text; SELECT pg_sleep(2)",
    );
    let database = Database::create();
    let log = Log::open_postgres(&database.url(), MIGRATE).unwrap();
    let store = Postgres::new(&database.url(), 1).unwrap();
    let stopped = store.lease().await.unwrap();
    let half_done = async {
        while database.run(HALF_DONE) != "1" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        migrated = migrate(&stopped, "grantlog_log", &newer, false) => panic!("{migrated:?}"),
        () = half_done => {}
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(away) = log.append(append("s", 0, &["e"])).await {
        assert!(Instant::now() < deadline, "{away}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        stopped.batch_execute("COMMIT").await.is_err(),
        "the server has ended it"
    );
    assert_eq!(postgres::migrations(&database.url()).unwrap().applied, 2);
}

/// An engine that does not know what a migration would make does without it, if programs can, and gets the next.
#[tokio::test]
async fn what_is_only_offered_may_be_declined() {
    const OFFERS: [Migration; 3] = [
        Migration::expand("CREATE TABLE offers.t (n integer)"),
        Migration::offer(
            "ALTER TABLE offers.t ADD COLUMN half integer; CREATE FUNCTION offers.f() RETURNS integer LANGUAGE cobol AS ''",
        ),
        Migration::expand("ALTER TABLE offers.t ADD COLUMN next integer"),
    ];
    let database = Database::create();
    let store = Postgres::new(&database.url(), 1).unwrap();
    let lease = store.lease().await.unwrap();
    let migrated = migrate(&lease, "offers", &OFFERS, false).await.unwrap();
    assert_eq!((migrated.applied, migrated.check()), (3, Ok(migrated)));
    let columns =
        "SELECT string_agg(column_name, ' ' ORDER BY column_name) FROM information_schema.columns
        WHERE table_schema = 'offers' AND table_name = 't'";
    assert_eq!(database.run(columns), "n next");
    let needed = [Migration::expand(OFFERS[1].sql)];
    assert!(migrate(&lease, "needs", &needed, false).await.is_err());

    // Who may not even take note of it cannot go without.
    database.run(
        "CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA offers TO reader; GRANT SELECT ON offers.migrations TO reader",
    );
    let more = [OFFERS[0], OFFERS[1], OFFERS[2], OFFERS[1]];
    let url = database.url().replace("user=grantlog", "user=reader");
    let store = Postgres::new(&url, 1).unwrap();
    let lease = store.lease().await.unwrap();
    let refused = migrate(&lease, "offers", &more, false).await.unwrap_err();
    assert!(refused.to_string().contains("42501"), "{refused}");
    drop(lease);
    database.run("DROP OWNED BY reader; DROP ROLE reader");
}

/// Version 0.1.0 kept an embedded log with one migration and found streams by an index of the entries.
#[tokio::test]
async fn a_log_of_the_first_version_is_taken_over_and_rewritten_only_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let file = rusqlite::Connection::open(dir.path().join("log.db")).unwrap();
    file.execute_batch(include_str!("../../migrations/log/sqlite/0001_log.sql"))
        .unwrap();
    let version_1 = "PRAGMA user_version = 1;
        INSERT INTO entries VALUES (0, 's', 0, x'61', NULL), (1, 't', 0, x'62', x'00'), (2, 's', 1, x'63', NULL);
        UPDATE log_head SET next = 3";
    file.execute_batch(version_1).unwrap();
    drop(file);
    assert!(matches!(
        Log::open_read_only(dir.path()),
        Err(OpenError::Schema(Unfit::Behind { applied: 1, .. }))
    ));
    let log = Log::open(dir.path(), MIGRATE).unwrap();
    log.append(append("s", 2, &["d"])).await.unwrap();
    let before = read_all(&log).await;
    log.close().await;
    drop(log);
    // The first version goes on for a while, and knows nothing of `streams`.
    let file = rusqlite::Connection::open(dir.path().join("log.db")).unwrap();
    let version_1 =
        "INSERT INTO entries VALUES (4, 's', 3, x'65', NULL); UPDATE log_head SET next = 5";
    file.execute_batch(version_1).unwrap();
    drop(file);
    let log = Log::open(dir.path(), MIGRATE).unwrap();
    assert_eq!(log.read_stream("s").await.unwrap().len(), 4);
    log.append(append("s", 4, &["f"])).await.unwrap();
    let all = read_all(&log).await;
    assert_eq!(all[..4], before);
    log.close().await;
    drop(log);

    let contracted = grantlog::log::migrate(dir.path(), true).unwrap();
    assert_eq!((contracted.applied, contracted.minimum), (3, 3));
    let log = Log::open(dir.path(), MIGRATE).unwrap();
    assert_eq!(read_all(&log).await, all);
    assert_eq!(log.read_stream("s").await.unwrap().len(), 5);
    log.append(append("s", 5, &["g"])).await.unwrap();
}
