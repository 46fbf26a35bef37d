//! The file itself: who may open it, what is in it, copies of it.

use grantlog::keys::Algorithm;
use grantlog::migrations::Unfit;
use grantlog::vault::{Scope, VaultError};

use super::*;

on_both![
    a_copy_is_whole_and_opens_with_the_same_key,
    the_file_holds_no_secret_in_plain,
    read_only_reads_and_never_writes,
    a_failing_write_fails_alone,
];

async fn the_file_holds_no_secret_in_plain(fixture: Fixture) {
    let vault = fixture.open();
    let subject = vault
        .record_login(alice(), grant(1), &tokens("upstream-access"), at(0))
        .await
        .expect("recorded");
    let secret = b"provider client secret";
    vault
        .put_secret("provider-1", secret, at(0))
        .await
        .expect("kept");
    let stolen = fixture.bytes();
    for needle in [
        "upstream-access",
        "upstream-refresh",
        "provider client secret",
        "alice-at-the-provider",
        "idp.example",
        &fixture.master_key,
    ] {
        assert!(!contains(&stolen, needle.as_bytes()), "{needle}");
    }
    // The search itself works: what is not secret is found.
    assert!(contains(&stolen, subject.0.as_bytes()));
    assert!(contains(&stolen, b"provider-1"));
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_and_its_copies_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = Fixture::sqlite();
    let vault = fixture.open();
    vault
        .backup_to(&fixture.folder().join("copy.db"))
        .await
        .expect("copied");
    for file in std::fs::read_dir(fixture.folder()).expect("listed") {
        let file = file.expect("a file");
        let mode = file.metadata().expect("known").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} {mode:o}", file.path());
    }
}

async fn a_copy_is_whole_and_opens_with_the_same_key(fixture: Fixture) {
    let vault = fixture.open();
    let subject = vault
        .record_login(alice(), grant(1), &tokens("access"), at(0))
        .await
        .expect("recorded");
    let bob = Identity {
        sub: "bob",
        ..alice()
    };
    let bob = vault.subject_for(bob, at(0)).await.expect("admitted");
    vault.destroy(bob, at(0)).await.expect("destroyed");
    let version = vault
        .put_secret("provider-1", b"s", at(0))
        .await
        .expect("kept");
    vault
        .ensure_signing_key(Algorithm::ES256, at(0))
        .await
        .expect("made");
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("copy.db");
    vault.backup_to(&copy).await.expect("copied");
    let again = vault.backup_to(&copy).await;
    assert!(matches!(again, Err(VaultError::File(_))), "{again:?}");
    let keys = || MasterKeys::parse(&fixture.master_key).expect("a key");
    Vault::open_read_only(&copy, keys()).expect("opened");
    let copied = Vault::open(&copy, keys(), false, at(1)).expect("opened");
    let read = copied
        .upstream(grant(1))
        .await
        .expect("read")
        .expect("there");
    assert_eq!(read.tokens.access_token.expose(), "access");
    assert_eq!(
        copied.subject_for(alice(), at(1)).await.expect("known"),
        subject
    );
    let gone = Scope::Subject(bob);
    copied.load(gone).await.expect("known");
    assert!(matches!(
        copied.seal(gone, b"", b"x"),
        Err(VaultError::Erased(_))
    ));
    assert_eq!(
        *copied.secret("provider-1", version).await.expect("there"),
        b"s"
    );
    assert_eq!(copied.signing_keys().infos().count(), 2);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&copy)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }
}

async fn read_only_reads_and_never_writes(fixture: Fixture) {
    assert!(fixture.open_read_only().is_err());
    let vault = fixture.open();
    let subject = vault
        .record_login(alice(), grant(1), &tokens("access"), at(0))
        .await
        .expect("recorded");
    let reader = fixture.open_read_only().expect("opened");
    assert!(reader.upstream(grant(1)).await.expect("read").is_some());
    reader.load(Scope::Subject(subject)).await.expect("loaded");
    reader.healthy().await.expect("healthy");
    for outcome in [
        reader.subject_for(alice(), at(0)).await.map(drop),
        reader.destroy(subject, at(0)).await.map(drop),
        reader.put_secret("provider-1", b"x", at(0)).await.map(drop),
    ] {
        assert!(matches!(outcome, Err(VaultError::ReadOnly)), "{outcome:?}");
    }
    drop((vault, reader));
    fixture
        .open_read_only()
        .expect("opened when nobody else has it");
}

#[tokio::test]
async fn a_file_that_a_newer_program_contracted_is_refused() {
    let fixture = Fixture::sqlite();
    let vault = fixture.open();
    vault.healthy().await.expect("healthy");
    drop(vault);
    let set = |version: u32| {
        let file = fixture.sql();
        file.pragma_update(None, "user_version", version)
            .expect("set");
    };
    set(99);
    drop(fixture.open());
    fixture.open_read_only().expect("only expanded");
    set(98 << 16 | 99);
    let ahead = Unfit::Ahead {
        applied: 99,
        minimum: 98,
        known: 3,
    };
    for refused in [
        fixture.open_with(&fixture.master_key),
        fixture.open_read_only(),
    ] {
        let refused = refused.expect_err("must be refused");
        assert!(matches!(refused, VaultError::Schema(found) if found == ahead));
    }
}

async fn a_failing_write_fails_alone(fixture: Fixture) {
    let vault = fixture.open();
    let unknown = domain::id::SubjectId(Uuid::from_u128(77));
    let (good, bad, also_good) = tokio::join!(
        vault.subject_for(alice(), at(0)),
        vault.destroy(unknown, at(0)),
        vault.put_secret("provider-1", b"x", at(0)),
    );
    assert!(good.is_ok() && also_good.is_ok());
    assert!(matches!(bad, Err(VaultError::NoKey(_))));
}
