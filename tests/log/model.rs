//! Any sequence of appends does what a model in memory does, and what it did survives reopening.

use std::collections::HashMap;

use grantlog::log::{Append, AppendError, Log, NewEntry, Premise};
use proptest::prelude::*;

use super::{STORES, read_all};

#[derive(Default)]
struct Model {
    entries: Vec<(String, u64, NewEntry)>,
    versions: HashMap<String, u64>,
}

impl Model {
    fn append(&mut self, append: &Append) -> Result<u64, Option<u64>> {
        if append.entries.is_empty() || append.entries.iter().any(|new| new.entry.is_empty()) {
            return Err(None);
        }
        let length = |stream: &str| self.versions.get(stream).copied().unwrap_or_default();
        let rests = |premise: &Premise| length(&premise.stream) == premise.length;
        if length(&append.stream) != append.expected || !append.premises.iter().all(rests) {
            return Err(Some(length(&append.stream)));
        }
        let version = self.versions.entry(append.stream.clone()).or_default();
        let first = self.entries.len() as u64;
        for new in &append.entries {
            self.entries
                .push((append.stream.clone(), *version, new.clone()));
            *version += 1;
        }
        Ok(first)
    }
}

fn entry() -> impl Strategy<Value = NewEntry> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..6000);
    (bytes(), proptest::option::of(bytes())).prop_map(|(entry, sealed)| NewEntry { entry, sealed })
}

/// Few streams and small numbers, so that appends meet each other.
fn one_append() -> impl Strategy<Value = Append> {
    let entries = proptest::collection::vec(entry(), 0..4);
    let premise = ("[abcd]", 0..3_u64).prop_map(|(stream, length)| Premise { stream, length });
    let premises = proptest::collection::vec(premise, 0..2);
    ("[abc]", 0..6_u64, entries, premises).prop_map(|(stream, expected, entries, premises)| {
        Append {
            stream,
            expected,
            entries,
            premises,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_what_the_model_says(
        batches in proptest::collection::vec(proptest::collection::vec(one_append(), 0..12), 1..10)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for store in STORES {
            let dir = tempfile::tempdir().unwrap();
            let mut model = Model::default();
            for batch in &batches {
                let log = store.open(dir.path());
                let answers = runtime.block_on(log.append_batch(batch.clone()));
                for (append, answer) in batch.iter().zip(answers) {
                    let answer = match answer {
                        Ok(appended) => Ok(appended.first_position),
                        Err(AppendError::Conflict { actual }) => Err(Some(actual)),
                        Err(AppendError::Malformed(_)) => Err(None),
                        Err(other) => panic!("{other}"),
                    };
                    assert_eq!(answer, model.append(append));
                }
                runtime.block_on(same(&log, &model));
            }
            runtime.block_on(same(&store.open(dir.path()), &model));
        }
    }
}

async fn same(log: &Log, model: &Model) {
    let all = read_all(log).await;
    assert_eq!(all.len(), model.entries.len());
    for (stored, (stream, version, new)) in all.iter().zip(&model.entries) {
        assert_eq!((&stored.stream, &stored.version), (stream, version));
        assert_eq!((&stored.entry, &stored.sealed), (&new.entry, &new.sealed));
    }
    for (stream, version) in &model.versions {
        assert_eq!(
            log.read_stream(stream).await.unwrap().len() as u64,
            *version
        );
    }
}
