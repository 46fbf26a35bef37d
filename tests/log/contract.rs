//! What holds on every store.

use std::collections::HashSet;

use grantlog::log::{
    Append, AppendError, Appended, Log, NewEntry, Premise, QUEUE_LIMIT, ReadError,
};

use super::faulty::{Call, Faults};
use super::{STORES, Store, append, read_all};

#[tokio::test]
async fn positions_are_dense_and_entries_come_back_byte_for_byte() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let log = store.open(dir.path());
        let mut first = append("grant-a", 0, &["one", "two"]);
        first.entries[1].sealed = Some(vec![0, 255, 7]);
        assert_eq!(log.append(first.clone()).await.unwrap().first_position, 0);
        let second = append("grant-b", 0, &["three"]);
        assert_eq!(log.append(second).await.unwrap().first_position, 2);
        let third = append("grant-a", 2, &["four"]);
        assert_eq!(log.append(third).await.unwrap().first_position, 3);

        let all = read_all(&log).await;
        assert_eq!(log.head(), 4);
        let streams: Vec<_> = all.iter().map(|e| (e.stream.as_str(), e.version)).collect();
        let expected = [
            ("grant-a", 0),
            ("grant-a", 1),
            ("grant-b", 0),
            ("grant-a", 2),
        ];
        assert_eq!(streams, expected);
        assert_eq!(all[1].sealed, first.entries[1].sealed);
        let stream = log.read_stream("grant-a").await.unwrap();
        assert_eq!(stream, [&all[0], &all[1], &all[3]].map(Clone::clone));
        assert!(log.read_stream("grant-").await.unwrap().is_empty());
        assert_eq!(log.read_stream_blocking("grant-b").unwrap(), all[2..3]);
        assert_eq!(log.read_after_blocking(1, 2).unwrap(), all[1..3]);
        assert!(log.read_after(4, 10).await.unwrap().is_empty());
        assert!(
            log.read_after(u64::MAX, usize::MAX)
                .await
                .unwrap()
                .is_empty()
        );
        assert!(log.read_after(0, 0).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_stream_is_read_from_where_it_is_known() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let log = store.open(dir.path());
        for version in 0..5 {
            log.append(append("s", version, &["s"])).await.unwrap();
            log.append(append("t", version, &["t"])).await.unwrap();
        }
        let reader = Log::open_read_only(dir.path());
        let all = log.read_stream("s").await.unwrap();
        for log in [Ok(log), reader].into_iter().flatten() {
            for known in 0..=5 {
                for limit in [1, 3, usize::MAX] {
                    let more = log.read_stream_after("s", known, limit).await.unwrap();
                    let until = all.len().min((known as usize).saturating_add(limit));
                    assert_eq!(more, all[known as usize..until], "{store:?}");
                }
            }
            let nothing = log.read_stream_after("u", 0, 1).await.unwrap();
            assert!(nothing.is_empty());
            for (stream, known) in [("s", 6), ("s", 7), ("s", u64::MAX), ("u", 1)] {
                let shorter = log.read_stream_after(stream, known, 1).await;
                let noticed = matches!(shorter, Err(ReadError::Corrupt { .. }));
                assert!(noticed, "{store:?}: {stream} after {known}: {shorter:?}");
            }
        }
    }
}

#[tokio::test]
async fn another_version_than_expected_conflicts_and_writes_nothing() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let log = store.open(dir.path());
        log.append(append("s", 0, &["a", "b"])).await.unwrap();
        for expected in [0, 1, 3, u64::MAX] {
            let answer = log.append(append("s", expected, &["x"])).await;
            assert!(
                matches!(answer, Err(AppendError::Conflict { actual: 2 })),
                "{answer:?}"
            );
        }
        let answer = log.append(append("none", 1, &["x"])).await;
        assert!(
            matches!(answer, Err(AppendError::Conflict { actual: 0 })),
            "{answer:?}"
        );
        assert_eq!(read_all(&log).await.len(), 2);
        assert!(log.healthy());
    }
}

#[tokio::test]
async fn an_append_may_rest_on_other_streams() {
    let resting = |stream: &str, on: &[(&str, u64)]| Append {
        premises: on
            .iter()
            .map(|(stream, length)| Premise {
                stream: (*stream).to_owned(),
                length: *length,
            })
            .collect(),
        ..append(stream, 0, &["x"])
    };
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let log = store.open(dir.path());
        log.append(append("s", 0, &["a", "b"])).await.unwrap();
        for on in [
            &[("s", 1)][..],
            &[("s", 3)],
            &[("none", 1)],
            &[("none", 0), ("s", u64::MAX)],
        ] {
            let answer = log.append(resting("t", on)).await;
            let refused = matches!(answer, Err(AppendError::Conflict { actual: 0 }));
            assert!(refused, "{on:?} {answer:?}");
        }
        log.append(resting("t", &[("s", 2), ("none", 0)]))
            .await
            .unwrap();
        // Of two that rest on each other's stream one is written, together or one after the other.
        let both = vec![resting("u", &[("v", 0)]), resting("v", &[("u", 0)])];
        let answers = log.append_batch(both).await;
        assert!(answers[0].is_ok() && answers[1].is_err(), "{answers:?}");
        assert_eq!(read_all(&log).await.len(), 4);
    }
}

#[tokio::test]
async fn who_has_a_share_in_a_batch_is_waited_for() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let log = store.open(dir.path());
        let [first, second, given_up] = log.together();
        let first = first.submit(append("a", 0, &["a0"]));
        let second = second.submit(append("b", 5, &["early"]));
        // What is not in the batch goes past it.
        assert_eq!(said(&log.append(append("c", 0, &["c0"])).await), "at 0");
        drop(given_up);
        assert_eq!(said(&first.await), "at 1");
        assert_eq!(said(&second.await), "has 0");
    }
}

#[tokio::test]
async fn appends_of_a_batch_are_independent_and_see_each_other() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let log = store.open(dir.path());
        let answers = log
            .append_batch(vec![
                append("a", 0, &["a0"]),
                append("a", 0, &["lost"]),
                append("b", 5, &["early"]),
                append("a", 1, &["a1", "a2"]),
                append("c", 0, &[]),
                append("b", 0, &["b0"]),
                append("a", 3, &["a3"]),
            ])
            .await;
        let said: Vec<String> = answers.iter().map(said).collect();
        let expected = [
            "at 0",
            "has 1",
            "has 0",
            "at 1",
            "malformed",
            "at 3",
            "at 4",
        ];
        assert_eq!(said, expected);
        assert_eq!(read_all(&log).await.len(), 5);
        assert!(log.append_batch(Vec::new()).await.is_empty());
    }
}

fn said(answer: &Result<Appended, AppendError>) -> String {
    match answer {
        Ok(appended) => format!("at {}", appended.first_position),
        Err(AppendError::Conflict { actual }) => format!("has {actual}"),
        Err(AppendError::Malformed(_)) => "malformed".to_owned(),
        Err(other) => other.to_string(),
    }
}

#[tokio::test]
async fn an_append_without_content_is_refused() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let log = store.open(dir.path());
        for malformed in [
            append("s", 0, &[]),
            append("s", 0, &["a", ""]),
            append("", 0, &["a"]),
            append("s", 0, &[&"x".repeat((64 << 20) + 1)]),
        ] {
            let answer = log.append(malformed).await;
            assert!(matches!(answer, Err(AppendError::Malformed(_))));
        }
        assert_eq!(log.head(), 0);
    }
}

#[tokio::test]
async fn huge_entries_and_strange_names_are_kept() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let log = store.open(dir.path());
        let entry: Vec<u8> = (0..5_000_000_u32).map(|i| i as u8).collect();
        let name = "s\0'\"%_😀";
        let mut huge = append(name, 0, &[]);
        huge.entries = vec![NewEntry {
            entry,
            sealed: Some(vec![9; 3_000_000]),
        }];
        log.append(huge.clone()).await.unwrap();
        let stored = log.read_stream(name).await.unwrap();
        assert_eq!(stored[0].entry, huge.entries[0].entry);
        assert_eq!(stored[0].sealed, huge.entries[0].sealed);
    }
}

#[tokio::test]
async fn what_is_submitted_in_order_is_decided_in_order() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let log = store.open(dir.path());
        // Far more than one commit carries, none awaited before the next is submitted.
        let pending: Vec<_> = (0..2_000)
            .map(|n| log.submit(append("s", n, &["e"])))
            .collect();
        for (n, pending) in (0..).zip(pending) {
            assert_eq!(pending.await.unwrap().first_position, n);
        }
        assert_eq!(read_all(&log).await.len(), 2_000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_racing_for_one_version_exactly_one_wins() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let log = store.open(dir.path());
        for version in 0..5 {
            let racers: Vec<_> = (0..50)
                .map(|_| {
                    let log = log.clone();
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
        assert_eq!(read_all(&log).await.len(), 5);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_see_every_position_once_and_in_order_while_many_append() {
    const SUBMITTERS: usize = 64;
    const EACH: u64 = 30;
    const TOTAL: usize = SUBMITTERS * EACH as usize;
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let log = store.open(dir.path());
        let pollers: Vec<_> = (0..4)
            .map(|poller| {
                let log = log.clone();
                tokio::spawn(async move {
                    let mut seen = Vec::new();
                    while seen.len() < TOTAL {
                        if poller % 2 == 0 {
                            log.wait_past(seen.len() as u64).await;
                        }
                        seen.extend(log.read_after(seen.len() as u64, 100).await.unwrap());
                    }
                    seen
                })
            })
            .collect();
        let submitters: Vec<_> = (0..SUBMITTERS)
            .map(|submitter| {
                let log = log.clone();
                tokio::spawn(async move {
                    let stream = format!("s{submitter}");
                    let mut positions = Vec::new();
                    for n in 0..EACH {
                        let appended = log.append(append(&stream, n, &["e"])).await.unwrap();
                        positions.push(appended.first_position);
                        let read = log.read_after(appended.first_position, 1).await.unwrap();
                        assert_eq!(
                            (read[0].stream.as_str(), read[0].version),
                            (stream.as_str(), n)
                        );
                        assert!(log.head() > appended.first_position);
                    }
                    positions
                })
            })
            .collect();
        let mut positions = HashSet::new();
        for submitter in submitters {
            let mine = submitter.await.unwrap();
            assert!(mine.is_sorted());
            positions.extend(mine);
        }
        assert_eq!(positions.len(), TOTAL);
        let all = read_all(&log).await;
        for poller in pollers {
            assert!(poller.await.unwrap() == all, "a poller saw another log");
        }
    }
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        for length in 0..3 {
            let log = store.open(dir.path());
            assert_eq!(log.head(), length);
            log.append(append("s", length, &["e"])).await.unwrap();
            if length == 1 {
                log.close().await;
                let answer = log.append(append("s", 2, &["late"])).await;
                assert!(
                    matches!(answer, Err(AppendError::Unavailable(_))),
                    "{answer:?}"
                );
                assert!(!log.healthy());
                assert_eq!(read_all(&log).await.len(), 2);
            }
        }
        assert_eq!(read_all(&store.open(dir.path())).await.len(), 3);
    }
}

#[tokio::test]
async fn closing_answers_what_is_queued() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let log = store.open(dir.path());
        let pending: Vec<_> = (0..1_000)
            .map(|n| log.submit(append("s", n, &["e"])))
            .collect();
        log.close().await;
        log.close().await;
        for pending in pending {
            pending.await.unwrap();
        }
        drop(log);
        assert_eq!(read_all(&store.open(dir.path())).await.len(), 1_000);
    }
}

#[tokio::test]
async fn what_waits_together_shares_one_commit() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::default();
        let log = store.open_faulty(dir.path(), &faults);
        let gate = faults.hold(Call::Begin);
        let mut pending = vec![log.submit(append("first", 0, &["e"]))];
        gate.reached().await;
        pending.extend((0..500).map(|n| log.submit(append(&format!("s{n}"), 0, &["e"]))));
        gate.open();
        for pending in pending {
            pending.await.unwrap();
        }
        assert_eq!(faults.made(Call::Commit), 2);
        let more = (0..2_000).map(|n| append("batch", n, &["e"])).collect();
        for answer in log.append_batch(more).await {
            answer.unwrap();
        }
        assert_eq!(faults.made(Call::Commit), 3);
    }
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_loses_nothing() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::default();
        let log = store.open_faulty(dir.path(), &faults);
        let gate = faults.hold(Call::Begin);
        let mut pending = vec![log.submit(append("s", 0, &["e"]))];
        gate.reached().await;
        for n in 1..=QUEUE_LIMIT as u64 {
            pending.push(log.submit(append("s", n, &["e"])));
        }
        let answer = log.append(append("other", 0, &["e"])).await;
        assert!(matches!(answer, Err(AppendError::Overloaded)), "{answer:?}");
        gate.open();
        for (n, pending) in (0..).zip(pending) {
            assert_eq!(pending.await.unwrap().first_position, n);
        }
    }
}

#[tokio::test]
async fn a_copy_is_a_log_of_its_own() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let log = store.open(&dir.path().join("live"));
        log.append(append("s", 0, &["a", "b"])).await.unwrap();
        let copy = dir.path().join("copy");
        std::fs::create_dir(&copy).unwrap();
        log.backup_to(&copy.join("log.db")).await.unwrap();
        assert!(
            log.backup_to(&copy.join("log.db")).await.is_err(),
            "never over a copy"
        );
        log.append(append("s", 2, &["c"])).await.unwrap();

        // Whatever it was copied from, a copy is one file.
        let restored = Store::Sqlite.open(&copy);
        assert_eq!(read_all(&restored).await, read_all(&log).await[..2]);
        restored.append(append("s", 2, &["d"])).await.unwrap();
    }
}
