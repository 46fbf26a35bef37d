//! A process is killed while it writes; what it acknowledged is there.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use grantlog::log::Log;

use super::{MIGRATE, STORES, Store, append, read_all, url};

const DIR: &str = "GRANTLOG_TEST_CRASH_DIR";
const URL: &str = "GRANTLOG_TEST_CRASH_URL";
const ROUNDS: usize = 5;
const SUBMITTERS: usize = 16;

/// Not a test of its own: what the child process of the next one does, until it is killed.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how the parent tells its child apart"
)]
fn crashing_child() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let log = match std::env::var(URL) {
            Ok(url) => Log::open_postgres(&url, MIGRATE).unwrap(),
            Err(_) => Store::Sqlite.open(Path::new(&dir)),
        };
        let first = log.head();
        let submitters: Vec<_> = (0..SUBMITTERS)
            .map(|submitter| {
                let log = log.clone();
                tokio::spawn(async move {
                    let stream = format!("s{first}-{submitter}");
                    for n in 0.. {
                        let entry = format!("{stream} {n}");
                        let entries = [entry.as_str(), "and another"];
                        let appended = log.append(append(&stream, n * 2, &entries)).await.unwrap();
                        let line = format!("ack {} {entry}\n", appended.first_position);
                        std::io::stdout().write_all(line.as_bytes()).unwrap();
                    }
                })
            })
            .collect();
        for submitter in submitters {
            submitter.await.unwrap();
        }
    });
}

#[tokio::test]
async fn what_a_killed_process_acknowledged_is_there() {
    for store in STORES {
        crash(store).await;
    }
}

async fn crash(store: Store) {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(usize, String)> = Vec::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::crashing_child", "--nocapture"])
            .env(DIR, dir.path())
            .envs(matches!(store, Store::Postgres).then(|| (URL, url(dir.path()))))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acks = 0;
        for line in lines {
            let line = line.unwrap();
            // The harness writes lines of its own before.
            let Some((_, ack)) = line.split_once("ack ") else {
                continue;
            };
            let (position, entry) = ack.split_once(' ').unwrap();
            acknowledged.push((position.parse().unwrap(), entry.to_owned()));
            acks += 1;
            if acks == 40 + round * 37 {
                child.kill().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success());
        assert!(acks >= 40, "the child ended before it was killed");

        let log = store.open(dir.path());
        let all = read_all(&log).await;
        assert!(all.len().is_multiple_of(2), "an append is whole or absent");
        for (position, entry) in &acknowledged {
            assert_eq!(all[*position].entry, entry.as_bytes());
        }
    }
}
