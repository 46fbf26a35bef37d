//! How many appends a second the log takes on each store, and how long each waits: `cargo bench --bench append`.
//!
//! Producers append one 500-byte entry at a time, five to a stream as a grant would, and wait for each to be durable.
#![expect(
    clippy::unwrap_used,
    reason = "a measurement that fails is no measurement"
)]

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use grantlog::log::{Append, Log, NewEntry, Options};
use support::postgres::Database;

const MIGRATE: Options = Options { migrate: true };

const EACH: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() {
    // As part of the tests there is nothing to measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    for producers in [1, 32, 512] {
        let dir = tempfile::tempdir_in(folder()).unwrap();
        let log = Log::open(dir.path(), MIGRATE).unwrap();
        let count = measure("embedded", log, producers).await;
        let size = std::fs::metadata(dir.path().join("log.db")).unwrap().len();
        say(&format!(
            ", {} bytes an entry on disk\n",
            size / count as u64
        ));
    }
    for producers in [1, 32, 512] {
        let database = Database::create();
        let log = Log::open_postgres(&database.url(), MIGRATE).unwrap();
        let count = measure("PostgreSQL on this machine", log, producers).await;
        let size = database.run(
            "SELECT pg_total_relation_size('grantlog_log.entries') + pg_total_relation_size('grantlog_log.log_head')",
        );
        let size: u64 = size.parse().unwrap();
        say(&format!(
            ", {} bytes an entry on disk\n",
            size / count as u64
        ));
    }
}

async fn measure(store: &str, log: Log, producers: usize) -> usize {
    let start = Instant::now();
    let tasks: Vec<_> = (0..producers)
        .map(|producer| tokio::spawn(produce(log.clone(), producer, start + EACH)))
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap());
    }
    let took = start.elapsed();
    latencies.sort_unstable();
    let at = |share: f64| latencies[(latencies.len() as f64 * share) as usize];
    let per_second = latencies.len() as f64 / took.as_secs_f64();
    let (p50, p99, p999) = (at(0.5), at(0.99), at(0.999));
    let max = latencies.last().unwrap();
    log.close().await;
    say(&format!(
        "{store}, {producers:>3} producers: {per_second:>6.0} appends/s, p50 {p50:.1?}, p99 {p99:.1?}, \
         p99.9 {p999:.1?}, max {max:.1?}",
    ));
    latencies.len()
}

fn say(what: &str) {
    std::io::stdout().write_all(what.as_bytes()).unwrap();
}

async fn produce(log: Log, producer: usize, until: Instant) -> Vec<Duration> {
    let mut latencies = Vec::new();
    for n in 0_u64.. {
        let began = Instant::now();
        if began >= until {
            break;
        }
        // Spread over the index as random grant ids are.
        let grant = (u128::from(n / 5) << 64 | producer as u128)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        let append = Append {
            stream: format!("grant-{grant:032x}"),
            expected: n % 5,
            premises: Vec::new(),
            entries: vec![NewEntry {
                entry: vec![b'x'; 500],
                sealed: None,
            }],
        };
        log.append(append).await.unwrap();
        latencies.push(began.elapsed());
    }
    latencies
}

/// A real disk, not the memory that a temporary folder may be: beside the build.
fn folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
