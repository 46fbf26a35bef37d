//! The contract of the event log, run on every store, with faults, crashes and damage.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod contract;
mod crash;
mod damage;
mod faults;
mod faulty;
mod model;

use std::path::Path;

use grantlog::log::{Append, Log, NewEntry, Options, StoredEntry, open_sqlite};

use faulty::{Faults, Faulty};

/// The stores the contract is run on.
const STORES: [Store; 1] = [Store::Sqlite];

#[derive(Debug, Clone, Copy)]
enum Store {
    Sqlite,
}

impl Store {
    fn open(self, at: &Path) -> Log {
        match self {
            Self::Sqlite => Log::open(at, Options { migrate: true }).unwrap(),
        }
    }

    fn open_faulty(self, at: &Path, faults: &Faults) -> Log {
        match self {
            Self::Sqlite => {
                let (backend, readers) = open_sqlite(at, Options { migrate: true }).unwrap();
                Log::over(Faulty::new(backend, faults), readers).unwrap()
            }
        }
    }
}

fn append(stream: &str, expected: u64, entries: &[&str]) -> Append {
    Append {
        stream: stream.to_owned(),
        expected,
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
