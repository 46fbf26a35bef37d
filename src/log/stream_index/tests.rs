use std::fs;
use std::path::Path;

use futures_executor::block_on;
use proptest::prelude::*;
use rusqlite::Connection;

use crate::log::readers::Readers;
use crate::log::{Append, AppendError, Log, NewEntry, Options, ReadError, StoredEntry};

const STREAMS: usize = 6;

#[derive(Debug, Clone)]
enum Step {
    /// So many entries to that stream.
    Append(usize, usize),
    /// The process ends in order and begins again.
    Reopen,
    /// The process ends anywhere, and what is on the disk is all there is.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        16 => (0..STREAMS, 1..4_usize).prop_map(|(stream, count)| Step::Append(stream, count)),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..60)
}

fn open(dir: &Path) -> Log {
    Log::open(dir, Options { migrate: true }).unwrap()
}

fn append(log: &Log, stream: usize, expected: usize, count: usize) -> Result<u64, AppendError> {
    let entry = NewEntry {
        entry: b"e".to_vec(),
        sealed: None,
    };
    let append = Append {
        stream: format!("s{stream}"),
        expected: expected as u64,
        premises: Vec::new(),
        entries: vec![entry; count],
    };
    Ok(block_on(log.append(append))?.first_position)
}

fn positions_of(entries: &[StoredEntry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.position).collect()
}

/// Every stream is found whole, in order, and no further.
fn check(log: &Log, model: &[Vec<u64>]) {
    for (n, positions) in model.iter().enumerate() {
        let stream = format!("s{n}");
        let found = log.read_stream_blocking(&stream).unwrap();
        assert_eq!(&positions_of(&found), positions);
        let known = positions.len() * n / (STREAMS - 1);
        let Readers::Sqlite(readers) = &log.0.readers else {
            panic!("an embedded log");
        };
        for limit in [1, 7, usize::MAX] {
            let more = readers.read_stream(&stream, known as u64, limit).unwrap();
            let until = positions.len().min(known.saturating_add(limit));
            assert_eq!(positions_of(&more), positions[known..until]);
        }
    }
    let mut agreement = log.agreement_blocking().unwrap().unwrap();
    let entries = log.read_after_blocking(0, usize::MAX).unwrap();
    entries.iter().for_each(|entry| agreement.add(entry));
    assert!(agreement.holds());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn streams_are_found_whole_whatever_is_indexed_when(steps in steps()) {
        let mut dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path());
        let mut model = vec![Vec::new(); STREAMS];
        let mut next = 0;
        for step in steps {
            match step {
                Step::Append(stream, count) => {
                    let known = model[stream].len();
                    let first = append(&log, stream, known, count).unwrap();
                    prop_assert_eq!(first, next);
                    next += count as u64;
                    model[stream].extend(first..next);
                    let again = append(&log, stream, known, 1);
                    let actual = model[stream].len() as u64;
                    let refused = matches!(again, Err(AppendError::Conflict { actual: found }) if found == actual);
                    prop_assert!(refused, "of {actual}: {again:?}");
                }
                Step::Reopen => {
                    drop(log);
                    log = open(dir.path());
                }
                Step::Crash => {
                    let left = tempfile::tempdir().unwrap();
                    for file in ["log.db", "log.db-wal"] {
                        fs::copy(dir.path().join(file), left.path().join(file)).unwrap();
                    }
                    drop(log);
                    dir = left;
                    log = open(dir.path());
                }
            }
            check(&log, &model);
            check(&Log::open_read_only(dir.path()).unwrap(), &model);
        }
    }
}

#[test]
fn an_index_that_lost_something_or_tells_something_else_is_noticed() {
    for change in [
        "DELETE FROM streams WHERE stream = 's1'",
        "UPDATE streams SET positions = substr(positions, 1, 8) WHERE stream = 's1'",
        "UPDATE streams SET positions = CAST(zeroblob(8) || substr(positions, 9) AS BLOB) WHERE stream = 's1'",
        "UPDATE streams SET stream = 's9' WHERE stream = 's1'",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        for n in 0..30 {
            append(&log, n % 3, n / 3, 1).unwrap();
        }
        drop(log);
        let connection = Connection::open(dir.path().join("log.db")).unwrap();
        assert!(connection.execute(change, []).unwrap() > 0);
        let log = Log::open_read_only(dir.path()).unwrap();
        let mut agreement = log.agreement_blocking().unwrap().unwrap();
        let entries = log.read_after_blocking(0, 100).unwrap();
        entries.iter().for_each(|entry| agreement.add(entry));
        assert!(!agreement.holds(), "{change}");
        match log.read_stream_blocking("s1") {
            Ok(found) => assert!(found.len() < 10, "{change}"),
            Err(error) => assert!(matches!(error, ReadError::Corrupt { .. }), "{change}"),
        }
    }
}

#[test]
fn a_log_without_an_index_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for n in 0..500 {
        append(&log, n % STREAMS, n / STREAMS, 1).unwrap();
    }
    drop(log);
    let connection = Connection::open(dir.path().join("log.db")).unwrap();
    let none = "DELETE FROM streams; UPDATE log_head SET indexed = 0";
    connection.execute_batch(none).unwrap();
    let log = open(dir.path());
    let indexed = "SELECT indexed FROM log_head";
    let indexed: i64 = connection.query_row(indexed, [], |row| row.get(0)).unwrap();
    assert!(indexed > 400, "{indexed}");
    let model: Vec<Vec<u64>> = (0..STREAMS)
        .map(|stream| (stream as u64..500).step_by(STREAMS).collect())
        .collect();
    check(&log, &model);
}
