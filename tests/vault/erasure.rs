//! Sealing, committing, and what is left once a key is gone.

use grantlog::vault::{Opened, Scope, Tampered, VaultError};
use proptest::prelude::*;

use super::*;

on_both![
    what_was_sealed_opens_in_its_place_alone,
    every_byte_of_a_sealed_entry_counts,
    a_commitment_opens_to_one_entry,
    an_erased_subject_stays_erased,
    a_month_can_be_erased,
    a_key_that_is_not_in_memory_is_asked_for_and_never_awaited,
    nothing_puts_a_destroyed_key_back,
];

fn plain(opened: Result<Opened, VaultError>) -> Vec<u8> {
    match opened.expect("opens") {
        Opened::Plain(plain) => plain.to_vec(),
        Opened::Erased => panic!("erased"),
    }
}

fn is_tampered<T: std::fmt::Debug>(outcome: &Result<T, VaultError>) -> bool {
    matches!(outcome, Err(VaultError::Tampered(Tampered)))
}

async fn what_was_sealed_opens_in_its_place_alone(fixture: Fixture) {
    let vault = fixture.open();
    let subject = vault.subject_for(alice(), at(0)).await.expect("admitted");
    let month = Scope::month_of(at(0));
    for scope in [Scope::Subject(subject), month, Scope::System] {
        let sealed = vault.seal(scope, b"row 1", b"plaintext").expect("sealed");
        assert_eq!(
            plain(vault.open_sealed(scope, b"row 1", &sealed)),
            b"plaintext"
        );
        assert!(is_tampered(&vault.open_sealed(scope, b"row 2", &sealed)));
        for other in [Scope::Subject(subject), month, Scope::System] {
            let opened = vault.open_sealed(other, b"row 1", &sealed);
            assert_eq!(is_tampered(&opened), other != scope, "{scope} {other}");
        }
    }
}

async fn every_byte_of_a_sealed_entry_counts(fixture: Fixture) {
    let vault = fixture.open();
    let subject = vault.subject_for(alice(), at(0)).await.expect("admitted");
    for scope in [Scope::Subject(subject), Scope::month_of(at(0))] {
        let entry = vault
            .seal_entry(scope, event(1), br#"{"email":"a@b.example"}"#)
            .expect("sealed");
        let opened = vault.open_entry(event(1), &entry.commitment, &entry.sealed);
        assert_eq!(plain(opened), br#"{"email":"a@b.example"}"#);
        for position in 0..entry.sealed.len() {
            let mut changed = entry.sealed.clone();
            changed[position] ^= 1;
            let opened = vault.open_entry(event(1), &entry.commitment, &changed);
            // A changed scope may name a key that is not in memory: nothing is opened either.
            let refused = is_tampered(&opened) || matches!(opened, Err(VaultError::NotLoaded(_)));
            assert!(refused, "{position} {opened:?}");
        }
        for len in 0..entry.sealed.len() {
            let opened = vault.open_entry(event(1), &entry.commitment, &entry.sealed[..len]);
            assert!(is_tampered(&opened), "{len}");
        }
        let elsewhere = vault.open_entry(event(2), &entry.commitment, &entry.sealed);
        assert!(is_tampered(&elsewhere));
    }
}

async fn a_commitment_opens_to_one_entry(fixture: Fixture) {
    let vault = fixture.open();
    let seal = |personal: &[u8]| {
        let entry = vault.seal_entry(Scope::month_of(at(0)), event(1), personal);
        entry.expect("sealed")
    };
    let (one, other) = (seal(b"same"), seal(b"same"));
    assert_ne!(one.commitment, other.commitment);
    assert_eq!(one.commitment.len(), 43);
    assert!(is_tampered(&vault.open_entry(
        event(1),
        &other.commitment,
        &one.sealed
    )));
    assert!(is_tampered(&vault.open_entry(event(1), "", &one.sealed)));
    assert!(is_tampered(&vault.open_entry(
        event(1),
        "not base64!",
        &one.sealed
    )));
    let opened = vault.open_entry(event(1), &one.commitment, &one.sealed);
    assert_eq!(format!("{opened:?}"), "Ok(Plain(…))");
}

async fn an_erased_subject_stays_erased(fixture: Fixture) {
    let vault = fixture.open();
    let subject = vault
        .record_login(alice(), grant(1), &tokens("upstream-access"), at(0))
        .await
        .expect("recorded");
    let scope = Scope::Subject(subject);
    let entry = vault.seal_entry(scope, event(1), b"alice").expect("sealed");
    let read = vault.upstream(grant(1)).await.expect("read");
    let read = read.expect("there");

    assert!(vault.destroy(subject, at(1)).await.expect("destroyed"));
    assert!(!vault.destroy(subject, at(2)).await.expect("already"));

    let opened = vault.open_entry(event(1), &entry.commitment, &entry.sealed);
    assert_eq!(opened.expect("known"), Opened::Erased);
    let refused = vault.seal(scope, b"", b"more");
    assert!(matches!(refused, Err(VaultError::Erased(erased)) if erased == scope));
    assert!(vault.upstream(grant(1)).await.expect("read").is_none());
    let refused = vault
        .replace_upstream(subject, grant(1), &read.revision, &tokens("x"), at(3))
        .await;
    assert!(matches!(refused, Err(VaultError::Erased(_))));

    let back = vault.subject_for(alice(), at(4)).await.expect("admitted");
    assert_ne!(back, subject);

    drop(vault);
    let vault = fixture.open();
    let opened = vault.open_entry_blocking(event(1), &entry.commitment, &entry.sealed);
    assert_eq!(opened.expect("known"), Opened::Erased);
}

#[tokio::test]
async fn a_destroyed_key_is_not_left_in_the_file() {
    let fixture = Fixture::sqlite();
    let vault = fixture.open();
    let subject = vault.subject_for(alice(), at(0)).await.expect("admitted");
    let wrapped: Vec<u8> = fixture
        .sql()
        .query_row(
            "SELECT wrapped FROM data_key WHERE length(scope) = 17",
            [],
            |row| row.get(0),
        )
        .expect("one subject");
    assert!(contains(&fixture.bytes(), &wrapped));
    vault.destroy(subject, at(1)).await.expect("destroyed");
    assert!(!contains(&fixture.bytes(), &wrapped));
}

async fn a_month_can_be_erased(fixture: Fixture) {
    let vault = fixture.open();
    let scope = Scope::month_of(at(0));
    let entry = vault
        .seal_entry(scope, event(1), b"somebody")
        .expect("sealed");
    assert!(
        vault
            .destroy_month(2023, 11, at(1))
            .await
            .expect("destroyed")
    );
    let opened = vault.open_entry(event(1), &entry.commitment, &entry.sealed);
    assert_eq!(opened.expect("known"), Opened::Erased);
    let unknown = vault.destroy_month(1999, 1, at(1)).await;
    assert!(matches!(unknown, Err(VaultError::NoKey(_))));
}

async fn a_key_that_is_not_in_memory_is_asked_for_and_never_awaited(fixture: Fixture) {
    let vault = fixture.open();
    let (this_month, next) = (Scope::month_of(at(0)), Scope::month_of(at(31 * 86_400)));
    assert!(vault.is_loaded(this_month) && vault.is_loaded(next));

    let later = at(70 * 86_400);
    let scope = Scope::month_of(later);
    let refused = vault.seal(scope, b"", b"x");
    assert!(matches!(refused, Err(VaultError::NotLoaded(missing)) if missing == scope));
    assert!(matches!(vault.load(scope).await, Err(VaultError::NoKey(_))));
    vault.prepare(later).await.expect("prepared");
    let sealed = vault.seal(scope, b"", b"x").expect("sealed");

    let subject = vault.subject_for(alice(), at(0)).await.expect("admitted");
    let subject = Scope::Subject(subject);
    vault.forget(subject);
    vault.forget(scope);
    assert!(matches!(
        vault.seal(subject, b"", b"x"),
        Err(VaultError::NotLoaded(_))
    ));
    vault.ensure(subject, at(0)).await.expect("loaded");
    vault.ensure(scope, at(0)).await.expect("loaded");
    assert!(vault.seal(subject, b"", b"x").is_ok());
    assert_eq!(plain(vault.open_sealed(scope, b"", &sealed)), b"x");

    let nobody = Scope::Subject(domain::id::SubjectId(Uuid::from_u128(9)));
    assert!(matches!(
        vault.ensure(nobody, at(0)).await,
        Err(VaultError::NoKey(_))
    ));
}

async fn nothing_puts_a_destroyed_key_back(fixture: Fixture) {
    let vault = fixture.open();
    for round in 0..20 {
        let subject = vault.subject_for(alice(), at(0)).await.expect("admitted");
        let scope = Scope::Subject(subject);
        vault.forget(scope);
        let loads: Vec<_> = (0..8)
            .map(|_| {
                let vault = vault.clone();
                tokio::spawn(async move { vault.load(scope).await })
            })
            .collect();
        vault.destroy(subject, at(1)).await.expect("destroyed");
        for load in loads {
            load.await.expect("joined").expect("loaded");
        }
        let refused = vault.seal(scope, b"", b"x");
        assert!(
            matches!(refused, Err(VaultError::Erased(_))),
            "{round} {refused:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_personal_data_round_trips(personal: Vec<u8>, id: u128) {
        let fixture = Fixture::sqlite();
        let vault = fixture.open();
        let entry = vault.seal_entry(Scope::month_of(at(0)), event(id), &personal).expect("sealed");
        prop_assert_eq!(plain(vault.open_entry(event(id), &entry.commitment, &entry.sealed)), personal);
    }
}
