//! The contract of the event log, run on every store, with faults, crashes and damage.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod contract;
mod crash;
mod damage;
mod faults;
mod faulty;
mod model;
mod moves;
mod nodes;
mod one_step;
mod outages;
mod time_outs;
mod tls;
mod upgrades;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use grantlog::log::{Append, Log, NewEntry, Options, StoredEntry, open_postgres, open_sqlite};
use support::postgres::Database;

use faulty::{Faults, Faulty};

/// The stores the contract is run on.
const STORES: [Store; 2] = [Store::Sqlite, Store::Postgres];

const MIGRATE: Options = Options { migrate: true };

#[derive(Debug, Clone, Copy)]
enum Store {
    Sqlite,
    Postgres,
}

impl Store {
    fn open(self, at: &Path) -> Log {
        match self {
            Self::Sqlite => Log::open(at, MIGRATE).unwrap(),
            Self::Postgres => Log::open_postgres(&url(at), MIGRATE).unwrap(),
        }
    }

    fn open_faulty(self, at: &Path, faults: &Faults) -> Log {
        match self {
            Self::Sqlite => {
                let (backend, readers) = open_sqlite(at, MIGRATE).unwrap();
                Log::over(Faulty::new(backend, faults), readers).unwrap()
            }
            Self::Postgres => {
                let (backend, readers) = open_postgres(&url(at), MIGRATE).unwrap();
                Log::over(Faulty::new(backend, faults), readers).unwrap()
            }
        }
    }
}

/// The database that belongs to a folder, so that a log is opened again by the same path on every store; it is free for
/// others when the folder has gone.
fn url(at: &Path) -> String {
    static TAKEN: Mutex<Vec<(PathBuf, Database)>> = Mutex::new(Vec::new());
    let mut taken = TAKEN.lock().unwrap();
    taken.retain(|(folder, _)| folder.exists());
    if let Some((_, database)) = taken.iter().find(|(folder, _)| folder == at) {
        return database.url();
    }
    std::fs::create_dir_all(at).unwrap();
    let database = Database::create();
    let url = database.url();
    taken.push((at.to_owned(), database));
    url
}

fn append(stream: &str, expected: u64, entries: &[&str]) -> Append {
    Append {
        stream: stream.to_owned(),
        expected,
        premises: Vec::new(),
        entries: entries
            .iter()
            .map(|entry| NewEntry {
                entry: entry.as_bytes().to_vec(),
                sealed: None,
            })
            .collect(),
    }
}

/// Reads the whole log in steps and checks what must always hold; the caller checks what must hold here.
async fn read_all(log: &Log) -> Vec<StoredEntry> {
    let mut all: Vec<StoredEntry> = Vec::new();
    loop {
        let more = log.read_after(all.len() as u64, 7).await.unwrap();
        if more.is_empty() {
            break;
        }
        all.extend(more);
    }
    let mut versions = std::collections::HashMap::new();
    for (position, entry) in (0..).zip(&all) {
        assert_eq!(entry.position, position, "positions are dense");
        let version = versions.entry(entry.stream.as_str()).or_insert(0);
        assert_eq!(entry.version, *version, "versions are dense");
        *version += 1;
    }
    assert_eq!(log.head(), all.len() as u64);
    all
}
