//! Several nodes on one log in PostgreSQL: one order, one winner, nothing skipped.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use grantlog::log::{Append, AppendError, Log, OpenError, Options, Premise, ReadError, postgres};
use grantlog::migrations::Unfit;
use grantlog::postgres::{BEGIN_WRITE, Postgres};
use support::postgres::Database;

use super::{MIGRATE, append, read_all};

const NODES: usize = 4;

fn nodes(database: &Database) -> Vec<Log> {
    let open = |_| Log::open_postgres(&database.url(), MIGRATE).unwrap();
    (0..NODES).map(open).collect()
}

/// Each rests on the other's stream having no entry: however they meet, one is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_that_rest_on_each_other_one_is_written() {
    let database = Database::create();
    let nodes = nodes(&database);
    for round in 0..50 {
        let streams = [format!("a{round}"), format!("b{round}")];
        let resting = |own: usize, on: usize| Append {
            premises: vec![Premise {
                stream: streams[on].clone(),
                length: 0,
            }],
            ..append(&streams[own], 0, &["x"])
        };
        let (one, other) = tokio::join!(
            nodes[0].append(resting(0, 1)),
            nodes[1].append(resting(1, 0))
        );
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    }
    assert_eq!(read_all(&nodes[2]).await.len(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_node_sees_every_position_once_and_in_order_while_all_append() {
    const SUBMITTERS: usize = 8;
    const EACH: u64 = 25;
    const TOTAL: usize = NODES * SUBMITTERS * EACH as usize;
    let database = Database::create();
    let nodes = nodes(&database);
    let poller = |log: Log| async move {
        let mut seen = Vec::new();
        while seen.len() < TOTAL {
            log.wait_past(seen.len() as u64).await;
            let more = log.read_after(seen.len() as u64, 50).await.unwrap();
            assert!(!more.is_empty(), "the head is past it");
            seen.extend(more);
        }
        seen
    };
    let pollers: Vec<_> = nodes
        .iter()
        .cloned()
        .map(|log| tokio::spawn(poller(log)))
        .collect();
    let submitter = |log: Log, stream: String| async move {
        let mut positions = Vec::new();
        for n in 0..EACH {
            let appended = log.append(append(&stream, n, &["e"])).await.unwrap();
            positions.push(appended.first_position);
        }
        positions
    };
    let submitters: Vec<_> = (0..NODES * SUBMITTERS)
        .map(|n| tokio::spawn(submitter(nodes[n % NODES].clone(), format!("s{n}"))))
        .collect();
    let mut positions = HashSet::new();
    for submitter in submitters {
        let mine = submitter.await.unwrap();
        assert!(mine.is_sorted());
        positions.extend(mine);
    }
    assert_eq!(positions.len(), TOTAL);
    let mut views = Vec::new();
    for poller in pollers {
        views.push(poller.await.unwrap());
    }
    for node in nodes {
        assert!(views.iter().all(|view| view.len() == TOTAL));
        let all = read_all(&node).await;
        assert!(
            views.iter().all(|view| *view == all),
            "a node saw another log"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_nodes_racing_for_one_version_exactly_one_wins() {
    let database = Database::create();
    let nodes = nodes(&database);
    for version in 0..20 {
        let racers: Vec<_> = (0..NODES * 4)
            .map(|n| {
                let log = nodes[n % NODES].clone();
                tokio::spawn(async move { log.append(append("s", version, &["mine"])).await })
            })
            .collect();
        let mut won = 0;
        for racer in racers {
            match racer.await.unwrap() {
                Ok(_) => won += 1,
                Err(AppendError::Conflict { actual }) => assert_eq!(actual, version + 1),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(won, 1);
    }
}

#[tokio::test]
async fn a_transaction_that_is_open_elsewhere_hides_nothing() {
    let (here, elsewhere) = (Database::create(), Database::create());
    let mut held = Vec::new();
    for database in [&here, &elsewhere] {
        database.run("CREATE TABLE public.other (x integer)");
        let store = Postgres::new(&database.url(), 1).unwrap();
        let open = store.lease().await.unwrap();
        // With a transaction id, older than any that the log will use, and a snapshot.
        open.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; INSERT INTO other VALUES (1)")
            .await
            .unwrap();
        held.push(open);
    }
    let nodes = nodes(&here);
    for n in 0..20 {
        let node = &nodes[n as usize % NODES];
        let position = node
            .append(append("s", n, &["e"]))
            .await
            .unwrap()
            .first_position;
        assert_eq!(position, n);
        for reader in &nodes {
            let read = reader.read_after(0, 100).await.unwrap();
            assert_eq!(read.len() as u64, n + 1);
        }
    }
    for open in held {
        open.batch_execute("COMMIT").await.unwrap();
    }
}

/// However many ask at the same time, and also where the connection that asks is cut meanwhile.
#[tokio::test]
async fn the_current_head_holds_whatever_was_durable_before_it_was_asked_for() {
    let database = Database::create();
    let [log, other] = [(); 2].map(|()| Log::open_postgres(&database.url(), MIGRATE).unwrap());
    for n in 0..24 {
        other.append(append("s", n, &["e"])).await.unwrap();
        if n % 8 == 7 {
            database.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            );
        }
        let heads = join_all((0..16).map(|_| log.current_head())).await;
        for head in heads {
            assert_eq!(head.unwrap(), n + 1);
        }
    }
}

/// A node that stops in the middle of a transaction, or loses its network there.
#[tokio::test]
async fn a_node_that_stops_with_the_row_in_its_hands_holds_the_others_up_for_seconds_only() {
    let database = Database::create();
    let log = Log::open_postgres(&database.url(), MIGRATE).unwrap();
    let store = Postgres::new(&database.url(), 1).unwrap();
    let stopped = store.lease().await.unwrap();
    stopped.batch_execute(BEGIN_WRITE).await.unwrap();
    let take = "SELECT next FROM grantlog_log.log_head FOR UPDATE";
    stopped.batch_execute(take).await.unwrap();
    log.append(append("s", 0, &["e"])).await.unwrap();
    assert!(
        stopped.batch_execute("COMMIT").await.is_err(),
        "the server has ended it"
    );
}

/// Nobody's append is at fault then, so that none gets a wait of its own.
#[tokio::test]
async fn a_row_that_is_not_let_go_is_waited_for_once() {
    let database = Database::create();
    let log = Log::open_postgres(&database.url(), MIGRATE).unwrap();
    database.run(
        "CREATE SEQUENCE public.waits;
         CREATE FUNCTION public.held() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           PERFORM nextval('public.waits');
           RAISE EXCEPTION 'held' USING ERRCODE = 'lock_not_available';
         END $$;
         CREATE TRIGGER held BEFORE INSERT ON grantlog_log.entries EXECUTE FUNCTION public.held()",
    );
    let appends = (0..8).map(|n| append(&format!("s{n}"), 0, &["e"]));
    for answer in log.append_batch(appends.collect()).await {
        assert!(matches!(answer, Err(AppendError::Unavailable(_))));
    }
    assert_eq!(database.run("SELECT last_value FROM public.waits"), "1");
}

/// Engines that abort where PostgreSQL waits; in one call, and in two trips where the server's default is an isolation that
/// the call does not take.
#[tokio::test]
async fn a_transaction_that_loses_a_race_is_decided_anew() {
    for options in [
        "",
        "&options=-c%20default_transaction_isolation%3Dserializable",
    ] {
        let database = Database::create();
        let url = format!("{}{options}", database.url());
        let log = Log::open_postgres(&url, MIGRATE).unwrap();
        database.run(
            "CREATE SEQUENCE public.races;
             CREATE FUNCTION public.race() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
               IF nextval('public.races') % 5 IN (2, 3) THEN RAISE EXCEPTION 'lost' USING ERRCODE = '40001'; END IF;
               RETURN NULL;
             END $$;
             CREATE TRIGGER at_once AFTER INSERT ON grantlog_log.entries FOR EACH ROW EXECUTE FUNCTION public.race();
             CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON grantlog_log.entries
               DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.race()",
        );
        for n in 0..5 {
            let appended = log.append(append("s", n, &["e"])).await.unwrap();
            assert_eq!(appended.first_position, n);
            assert!(log.healthy());
        }
        assert_eq!(read_all(&log).await.len(), 5);
        // Each was refused once at its commit and once before.
        assert_eq!(database.run("SELECT last_value FROM public.races"), "25");
    }
}

/// They abort reads, too. Here each statement fails when a session sends it for the first time: what a transaction that only reads
/// leaves behind is a lock of the session.
#[tokio::test]
async fn a_read_that_loses_a_race_is_read_again() {
    let database = Database::create();
    let log = Log::open_postgres(&database.url(), MIGRATE).unwrap();
    log.append(append("s", 0, &["e"])).await.unwrap();
    database.run(
        "CREATE FUNCTION public.race() RETURNS boolean LANGUAGE plpgsql AS $$
         DECLARE statement integer := abs(hashtext(current_query()));
         BEGIN
           IF EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory' AND objid = statement::oid) THEN
             RETURN true;
           END IF;
           PERFORM pg_advisory_lock_shared(0, statement);
           RAISE EXCEPTION 'lost' USING ERRCODE = '40001';
         END $$;
         ALTER TABLE grantlog_log.entries SET SCHEMA public;
         CREATE VIEW grantlog_log.entries AS SELECT * FROM public.entries WHERE (SELECT public.race())",
    );
    for _ in 0..10 {
        assert_eq!(log.current_head().await.unwrap(), 1);
    }
    assert_eq!(log.read_stream("s").await.unwrap().len(), 1);
    assert_eq!(log.read_after(0, 10).await.unwrap().len(), 1);
    assert!(log.healthy());
    let races = "SELECT count(*) FROM pg_locks JOIN pg_database ON database = pg_database.oid
        WHERE datname = current_database() AND locktype = 'advisory'";
    // One of whoever follows, and one of each statement of the two reads.
    assert_eq!(database.run(races), "4");
}

#[tokio::test]
async fn nodes_that_start_together_migrate_once() {
    let database = Database::create();
    let url = database.url();
    let never = Options { migrate: false };
    let refused = Log::open_postgres(&url, never);
    assert!(matches!(
        refused,
        Err(OpenError::Schema(Unfit::Behind {
            applied: 0,
            known: 2,
            blocked: false
        }))
    ));
    assert!(Log::open_postgres_read_only(&url).is_err());
    let starting: Vec<_> = (0..6)
        .map(|_| {
            let url = url.clone();
            std::thread::spawn(move || Log::open_postgres(&url, MIGRATE).unwrap())
        })
        .collect();
    for (n, node) in (0..).zip(starting) {
        let log = node.join().unwrap();
        log.append(append("s", n, &["e"])).await.unwrap();
    }
    let schema = postgres::migrations(&url).unwrap();
    assert_eq!((schema.applied, schema.known), (2, 2));
    assert_eq!(Log::open_postgres(&url, never).unwrap().head(), 6);
}

#[tokio::test]
async fn a_reader_follows_what_others_append() {
    let database = Database::create();
    let log = Log::open_postgres(&database.url(), MIGRATE).unwrap();
    let reader = Log::open_postgres_read_only(&database.url()).unwrap();
    for n in 0..3 {
        log.append(append("s", n, &["e"])).await.unwrap();
        reader.wait_past(n).await;
        assert_eq!(reader.read_stream("s").await.unwrap().len() as u64, n + 1);
    }
    let answer = reader.append(append("s", 3, &["x"])).await;
    assert!(matches!(answer, Err(AppendError::Unavailable(_))));
    assert!(!reader.healthy() && reader.silent_for() < Duration::from_secs(5));
}

#[tokio::test]
async fn what_is_missing_is_named_by_its_position() {
    for (sql, first_bad) in [
        ("DELETE FROM grantlog_log.entries WHERE position = 4", 4),
        ("DELETE FROM grantlog_log.entries WHERE position >= 8", 8),
        (
            "UPDATE grantlog_log.entries SET version = -1 WHERE position = 6",
            6,
        ),
        (
            "UPDATE grantlog_log.entries SET position = 77 WHERE position = 9",
            9,
        ),
        (
            "UPDATE grantlog_log.entries SET stream = '\\xff' WHERE position = 5",
            5,
        ),
        // An older copy of the database in the place of the log.
        (
            "DELETE FROM grantlog_log.entries WHERE position >= 7; UPDATE grantlog_log.log_head SET next = 7",
            7,
        ),
    ] {
        let database = Database::create();
        let log = Log::open_postgres(&database.url(), MIGRATE).unwrap();
        for n in 0..10 {
            log.append(append(&format!("s{}", n % 7), n / 7, &["e"]))
                .await
                .unwrap();
        }
        database.run(sql);
        for from in [0, 3] {
            let error = log.read_after(from, 100).await.unwrap_err();
            let ReadError::Corrupt { position, .. } = error else {
                panic!("{sql}: {error}")
            };
            assert_eq!(position, Some(first_bad), "{sql}");
        }
        let more = log.append(append("new", 0, &["e"])).await;
        let noticed = first_bad >= 7;
        assert_eq!(more.is_err(), noticed, "{sql}: {more:?}");
    }
}
