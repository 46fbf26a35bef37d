//! PostgreSQL goes away at the worst moments; what was acknowledged is there, once, and the log heals by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use grantlog::log::{AppendError, Log};
use grantlog::postgres::Postgres;
use support::postgres::{Cluster, Cut, Cutter, Database, Pooler, Stop};

use super::{MIGRATE, append, read_all};

/// A host that accepts and says nothing is passed over: a failover leads to the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_says_nothing_is_passed_over() {
    let database = Database::create();
    let network = Cutter::before(&database.url()).await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("@{},", silent.local_addr().unwrap());
    let url = network.url(&database.url()).replace('@', &address);
    let log = Log::open_postgres(&url, MIGRATE).unwrap();
    log.append(append("s", 0, &["heard"])).await.unwrap();
}

const CUTS: [Cut; 5] = [Cut::Before, Cut::Within, Cut::While, Cut::After, Cut::Late];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_cut_is_answered_by_the_truth() {
    let database = Database::create();
    let network = Cutter::before(&database.url()).await;
    let log = Log::open_postgres(&network.url(&database.url()), MIGRATE).unwrap();
    let other = Log::open_postgres(&database.url(), MIGRATE).unwrap();
    let mut version = 0;
    for (cut, in_one_step) in CUTS.repeat(3).into_iter().zip([true, false].repeat(8)) {
        network.cut_next(cut);
        let mut batch = vec![append("s", version, &["doubtful", "both"])];
        if !in_one_step {
            // Both cannot be as expected, so it has to be asked what is there.
            batch.push(append("s", version, &["never"]));
        }
        let answer = log.append_batch(batch).await.swap_remove(0);
        assert!(network.has_cut());
        network.quiet().await;
        let there = other.read_stream("s").await.unwrap().len() as u64;
        match &answer {
            Ok(appended) => {
                assert_eq!(there, version + 2, "{cut:?}");
                let stored = &other.read_after(appended.first_position, 2).await.unwrap()[1];
                assert_eq!(
                    (stored.version, stored.entry.as_slice()),
                    (version + 1, &b"both"[..])
                );
            }
            Err(AppendError::Unavailable(_)) => assert_eq!(there, version, "{cut:?}"),
            Err(other) => panic!("{cut:?}: {other}"),
        }
        match cut {
            Cut::Before | Cut::Within => assert!(answer.is_err(), "{cut:?}"),
            Cut::After => assert!(answer.is_ok(), "{cut:?}: {answer:?}"),
            // Its transaction had begun, so it is waited for; one that had not is not let in any more.
            Cut::Late if !in_one_step => assert!(answer.is_ok(), "{cut:?}: {answer:?}"),
            Cut::Late | Cut::While => {}
        }
        version = there;
        log.append(append("s", version, &["goes on"]))
            .await
            .unwrap();
        assert!(log.healthy());
        version += 1;
    }
    assert_eq!(read_all(&other).await.len() as u64, version);
}

/// Appends one entry after another to a stream of its own until told to stop; returns how many were acknowledged.
async fn work(log: Log, stream: String, done: Arc<AtomicBool>) -> u64 {
    let mut version = 0;
    while !done.load(Ordering::Acquire) {
        match log
            .append(append(&stream, version, &[&format!("{stream} {version}")]))
            .await
        {
            Ok(_) => version += 1,
            Err(AppendError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(AppendError::Unknown) => version = length(&log, &stream).await,
            Err(other) => panic!("{stream} {version}: {other}"),
        }
    }
    version
}

/// How long a stream is, once somebody can tell.
async fn length(log: &Log, stream: &str) -> u64 {
    loop {
        match log.read_stream(stream).await {
            Ok(there) => return there.len() as u64,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Runs nodes under load while `disturb` does its worst, and checks that all that was acknowledged is there once.
async fn under_load(url: &str, disturb: impl AsyncFnOnce(&Log)) {
    let nodes: Vec<_> = (0..3)
        .map(|_| Log::open_postgres(url, MIGRATE).unwrap())
        .collect();
    let done = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..24)
        .map(|n| {
            let stream = format!("s{n}");
            let worker = work(nodes[n % 3].clone(), stream.clone(), Arc::clone(&done));
            (stream, tokio::spawn(worker))
        })
        .collect();
    disturb(&nodes[0]).await;
    // Every node has to get on again.
    for (n, node) in nodes.iter().enumerate() {
        let healed = async {
            while !(node.healthy()
                && node
                    .append(append(&format!("healed-{n}"), 0, &["e"]))
                    .await
                    .is_ok())
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), healed)
            .await
            .expect("it heals by itself");
    }
    done.store(true, Ordering::Release);
    let mut total = nodes.len();
    for (stream, worker) in workers {
        let acknowledged = worker.await.unwrap() as usize;
        assert!(acknowledged > 0);
        let there = nodes[2].read_stream(&stream).await.unwrap();
        assert_eq!(there.len(), acknowledged, "{stream}");
        total += acknowledged;
    }
    nodes[1].wait_past(total as u64 - 1).await;
    assert_eq!(read_all(&nodes[1]).await.len(), total);
}

/// Waits until so many more entries are there.
async fn some_more(log: &Log) {
    log.wait_past(log.head() + 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_is_restarted_under_load_loses_nothing() {
    let mut cluster = Cluster::start(&[]);
    let url = cluster.url();
    under_load(&url, async |log| {
        for how in [Stop::Fast, Stop::Immediate, Stop::Immediate] {
            some_more(log).await;
            cluster.stop(how);
            let noticed = async {
                while log.healthy() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(5), noticed)
                .await
                .expect("it is noticed");
            cluster.start_again();
            some_more(log).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sessions_that_are_ended_under_load_lose_nothing() {
    let database = Database::create();
    under_load(&database.url(), async |log| {
        for _ in 0..20 {
            database.run(END_SESSIONS);
            log.wait_past(log.head()).await;
        }
    })
    .await;
}

const END_SESSIONS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE datname = current_database() AND pid <> pg_backend_pid()";

/// No session is a node's own: every transaction may meet another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn behind_a_transaction_pooler_it_is_the_same_log() {
    let database = Database::create();
    let pooler = Pooler::before(&database);
    under_load(&pooler.url(), async |log| {
        for _ in 0..5 {
            some_more(log).await;
            database.run(END_SESSIONS);
        }
    })
    .await;
    let [one, other] = [(); 2].map(|()| Log::open_postgres(&pooler.url(), MIGRATE).unwrap());
    let appended = one.append(append("last", 0, &["e"])).await.unwrap();
    let seen = other.wait_past(appended.first_position);
    tokio::time::timeout(Duration::from_secs(2), seen)
        .await
        .expect("polling sees it");
    assert_eq!(other.read_stream("last").await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_node_that_does_nothing_knows_that_the_store_is_away() {
    let mut cluster = Cluster::start(&[]);
    let log = Log::open_postgres(&cluster.url(), MIGRATE).unwrap();
    assert!(log.healthy());
    cluster.stop(Stop::Fast);
    while log.healthy() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(log.silent_for() >= Duration::from_secs(2));
    let answer = log.append(append("s", 0, &["e"])).await;
    assert!(matches!(answer, Err(AppendError::Unavailable(_))));
    assert!(log.read_stream("s").await.is_err());
    cluster.start_again();
    while !log.healthy() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    log.append(append("s", 0, &["e"])).await.unwrap();
}

/// A full disk lets rows be changed and none be added; a log on one is not well between two appends either.
#[tokio::test]
async fn a_store_that_takes_no_more_entries_stays_ailing() {
    let database = Database::create();
    let log = Log::open_postgres(&database.url(), MIGRATE).unwrap();
    log.append(append("s", 0, &["before"])).await.unwrap();
    database.run(
        "CREATE FUNCTION grantlog_log.full() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'disk_full'; END $$; \
         CREATE TRIGGER full_disk BEFORE INSERT ON grantlog_log.entries \
         FOR EACH ROW EXECUTE FUNCTION grantlog_log.full()",
    );
    let answer = log.append(append("s", 1, &["refused"])).await;
    assert!(matches!(answer, Err(AppendError::Unavailable(_))));
    let settlements = || -> u64 {
        let settled = database.run("SELECT settled FROM grantlog_log.log_head");
        settled.parse().unwrap()
    };
    let before = settlements();
    while settlements() < before + 3 {
        assert!(!log.healthy());
    }
    database.run("DROP TRIGGER full_disk ON grantlog_log.entries");
    while !log.healthy() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(read_all(&log).await.len(), 1);
    log.append(append("s", 1, &["after"])).await.unwrap();
    assert_eq!(read_all(&log).await.len(), 2);
}

/// What one leaves behind in a session is another one's trouble: where a notification arrives while it
/// tries a session out, PgBouncer gives its next client the answer to that.
#[tokio::test]
async fn behind_a_transaction_pooler_nothing_is_left_in_a_session() {
    let database = Database::create();
    let pooler = Pooler::before(&database);
    let nodes = [(); 3].map(|()| Log::open_postgres(&pooler.url(), MIGRATE).unwrap());
    for (version, log) in (0..).zip(nodes.iter().cycle().take(12)) {
        log.append(append("s", version, &["e"])).await.unwrap();
        log.read_stream("s").await.unwrap();
    }
    let store = Postgres::new(&pooler.url(), Pooler::SESSIONS).unwrap();
    let mut sessions = Vec::new();
    for _ in 0..Pooler::SESSIONS {
        let session = store.lease().await.unwrap();
        // Held, so that the next one is another one.
        session.batch_execute("BEGIN").await.unwrap();
        sessions.push(session);
    }
    for session in &sessions {
        let left = "SELECT count(*) FROM pg_listening_channels()";
        let left = session.query_typed(left, &[]).await.unwrap();
        assert_eq!(left[0].get::<_, i64>(0), 0);
    }
}
