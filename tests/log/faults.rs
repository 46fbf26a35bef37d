//! Every write fails once in every way, and the log stays what it said it was.

use grantlog::log::{Append, AppendError, Appended, Log};

use super::faulty::{Call, Fault, Faults};
use super::{STORES, Store, append, read_all};

/// Appends one after another, in commits of one, of a batch, and of a batch with a conflict in it.
fn script() -> Vec<Vec<Append>> {
    vec![
        vec![append("a", 0, &["a0", "a1"])],
        vec![append("b", 0, &["b0"]), append("c", 0, &["c0"])],
        vec![append("a", 2, &["a2"])],
        vec![
            append("d", 0, &["d0"]),
            append("b", 9, &["never"]),
            append("d", 1, &["d1", "d2"]),
            append("e", 0, &["e0"]),
        ],
        vec![append("e", 1, &["e1"])],
    ]
}

type Answers = Vec<(Append, Result<Appended, AppendError>)>;

async fn run(log: &Log, script: Vec<Vec<Append>>) -> Answers {
    let mut answers = Vec::new();
    for batch in script {
        let said = log.append_batch(batch.clone()).await;
        answers.extend(batch.into_iter().zip(said));
    }
    answers
}

/// What was acknowledged is there, whole and at its place; of everything else there is nothing.
async fn verify(log: &Log, answers: &Answers, case: &str) {
    let all = read_all(log).await;
    let mut acknowledged = 0;
    for (append, answer) in answers {
        let Ok(appended) = answer else {
            assert!(
                !matches!(answer, Err(AppendError::Unknown)),
                "{case}: {append:?}"
            );
            continue;
        };
        for (i, new) in append.entries.iter().enumerate() {
            let stored = &all[appended.first_position as usize + i];
            assert_eq!(stored.stream, append.stream, "{case}");
            assert_eq!(stored.version, append.expected + i as u64, "{case}");
            assert_eq!(stored.entry, new.entry, "{case}");
            acknowledged += 1;
        }
    }
    assert_eq!(
        all.len(),
        acknowledged,
        "{case}: something refused is there"
    );
}

async fn fault_matrix(store: Store, call: Call, fault: Fault, settle_fails: usize) {
    for nth in 0..script().len() {
        let case =
            format!("{store:?}: {call:?} {nth} {fault:?}, settle fails {settle_fails} times");
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::default();
        let log = store.open_faulty(dir.path(), &faults);
        if call == Call::OneStep {
            faults.in_one_step();
        }
        faults.plan(call, nth, fault);
        for n in 0..settle_fails {
            faults.plan(
                Call::Settle,
                n,
                if n % 2 == 0 {
                    Fault::Undone
                } else {
                    Fault::Done
                },
            );
        }
        let mut answers = run(&log, script()).await;
        let refused = answers
            .iter()
            .filter(|(_, answer)| matches!(answer, Err(AppendError::Unavailable(_))));
        if (call, fault) == (Call::Commit, Fault::Done) {
            assert_eq!(
                refused.count(),
                0,
                "{case}: it landed, so it is acknowledged"
            );
        } else if (call, fault) == (Call::Commit, Fault::Undone) {
            assert_ne!(
                refused.count(),
                0,
                "{case}: it did not land, so it is refused"
            );
        }
        // It heals by itself, and goes on.
        let after = log.append(append("after", 0, &["x"])).await;
        assert!(after.is_ok() && log.healthy(), "{case}: {after:?}");
        answers.push((append("after", 0, &["x"]), after));
        verify(&log, &answers, &case).await;
        drop(log);
        verify(&store.open(dir.path()), &answers, &case).await;
    }
}

#[tokio::test]
async fn a_write_that_fails_before_its_commit_leaves_nothing() {
    for store in STORES {
        for call in [Call::Begin, Call::Versions, Call::Insert] {
            for fault in [Fault::Undone, Fault::Done] {
                fault_matrix(store, call, fault, 0).await;
            }
        }
        fault_matrix(store, Call::Commit, Fault::Refused, 0).await;
    }
}

#[tokio::test]
async fn a_commit_of_unknown_outcome_is_answered_by_the_truth() {
    for store in STORES {
        for fault in [Fault::Undone, Fault::Done] {
            for settle_fails in 0..3 {
                fault_matrix(store, Call::Commit, fault, settle_fails).await;
            }
        }
    }
}

#[tokio::test]
async fn so_is_one_that_was_tried_in_one_step() {
    for store in STORES {
        fault_matrix(store, Call::OneStep, Fault::Refused, 0).await;
        for fault in [Fault::Undone, Fault::Done] {
            for settle_fails in 0..3 {
                fault_matrix(store, Call::OneStep, fault, settle_fails).await;
            }
        }
    }
}

#[tokio::test]
async fn a_commit_in_one_step_is_found_wherever_it_landed() {
    for (before, after) in [(0, 0), (3, 2), (5000, 5000)] {
        for fault in [Fault::Done, Fault::Undone] {
            let dir = tempfile::tempdir().unwrap();
            let faults = Faults::default();
            let log = Store::Postgres.open_faulty(dir.path(), &faults);
            let other = Store::Postgres.open(dir.path());
            log.append(append("a", 0, &["a0"])).await.unwrap();
            faults.in_one_step();
            if before > 0 {
                let many = append("b", 0, &vec!["b"; before]);
                other.append(many).await.unwrap();
            }
            faults.plan(Call::OneStep, 0, fault);
            let gate = faults.hold(Call::Settle);
            let doubtful = log.submit(append("a", 1, &["a1", "a2"]));
            gate.reached().await;
            if after > 0 {
                other
                    .append(append("c", 0, &vec!["c"; after]))
                    .await
                    .unwrap();
            }
            gate.open();
            let answer = doubtful.await;
            if fault == Fault::Done {
                assert_eq!(answer.unwrap().first_position, 1 + before as u64);
            } else {
                assert!(
                    matches!(answer, Err(AppendError::Unavailable(_))),
                    "{answer:?}"
                );
            }
            let appended = if fault == Fault::Done { 2 } else { 0 };
            let all = log.read_after(0, 20_000).await.unwrap();
            assert_eq!(all.len(), 1 + before + appended + after);
            let next = append("a", 1 + appended as u64, &["next"]);
            log.append(next).await.unwrap();
        }
    }
}

#[tokio::test]
async fn while_a_commit_is_in_doubt_nothing_is_acknowledged() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::default();
        let log = store.open_faulty(dir.path(), &faults);
        faults.plan(Call::Commit, 0, Fault::Done);
        faults.always(Call::Settle, Some(Fault::Undone));
        let doubtful = log.submit(append("a", 0, &["a0"]));
        faults.next(Call::Settle).await;
        assert!(!log.healthy());
        let meanwhile = log.append(append("b", 0, &["b0"])).await;
        assert!(
            matches!(meanwhile, Err(AppendError::Unavailable(_))),
            "{meanwhile:?}"
        );
        // Where others write, what they can see is seen.
        assert!(log.head() == 0 || !matches!(store, Store::Sqlite));

        faults.always(Call::Settle, None);
        assert_eq!(doubtful.await.unwrap().first_position, 0);
        assert!(log.healthy());
        log.append(append("a", 1, &["a1"])).await.unwrap();
        assert_eq!(read_all(&log).await.len(), 2);
    }
}

#[tokio::test]
async fn a_doubt_that_cannot_be_settled_is_said() {
    for store in STORES {
        for (fault, there) in [(Fault::Done, 1), (Fault::Undone, 0)] {
            let dir = tempfile::tempdir().unwrap();
            let faults = Faults::default();
            let log = store.open_faulty(dir.path(), &faults);
            faults.plan(Call::Commit, 0, fault);
            faults.always(Call::Settle, Some(Fault::Undone));
            let doubtful = log.submit(append("a", 0, &["a0"]));
            faults.next(Call::Settle).await;
            log.close().await;
            assert!(matches!(doubtful.await, Err(AppendError::Unknown)));
            drop(log);
            assert_eq!(read_all(&store.open(dir.path())).await.len(), there);
        }
    }
}

#[tokio::test]
async fn a_store_that_is_away_and_comes_back_needs_no_append_to_be_noticed() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::default();
        let log = store.open_faulty(dir.path(), &faults);
        faults.plan(Call::Begin, 0, Fault::Undone);
        let answer = log.append(append("a", 0, &["a0"])).await;
        assert!(
            matches!(answer, Err(AppendError::Unavailable(_))),
            "{answer:?}"
        );
        assert!(!log.healthy());
        faults.next(Call::Settle).await;
        // The probe has begun; the answer to the next append comes after it.
        log.append(append("a", 1, &["conflicts"]))
            .await
            .unwrap_err();
        assert!(log.healthy());
    }
}

#[tokio::test]
async fn an_unreadable_stream_fails_alone() {
    for store in STORES {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::default();
        let log = store.open_faulty(dir.path(), &faults);
        faults.unreadable("bad");
        let batch = ["a", "bad", "b", "c", "d"].map(|stream| append(stream, 0, &["e"]));
        let answers = log.append_batch(batch.to_vec()).await;
        for (append, answer) in batch.iter().zip(answers) {
            assert_eq!(answer.is_err(), append.stream == "bad", "{answer:?}");
        }
        assert_eq!(read_all(&log).await.len(), 4);
    }
}
