//! The file itself: who may open it, what is in it, copies of it.

use grantlog::vault::{Opened, Scope, VaultError};

use super::*;

#[tokio::test]
async fn the_file_holds_no_secret_in_plain() {
    let fixture = Fixture::new();
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
    let fixture = Fixture::new();
    let vault = fixture.open();
    vault
        .backup_to(&fixture.folder.path().join("copy.db"))
        .await
        .expect("copied");
    for file in std::fs::read_dir(fixture.folder.path()).expect("listed") {
        let file = file.expect("a file");
        let mode = file.metadata().expect("known").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} {mode:o}", file.path());
    }
}

#[test]
fn another_master_key_opens_nothing() {
    let fixture = Fixture::new();
    drop(fixture.open());
    let refused = fixture
        .open_with(&new_master_key())
        .expect_err("must be refused");
    assert!(matches!(refused, VaultError::WrongMasterKey));
    assert!(refused.is_configuration());
}

#[tokio::test]
async fn the_master_key_rotates() {
    let fixture = Fixture::new();
    let new = new_master_key();
    let vault = fixture.open();
    let subject = vault
        .record_login(alice(), grant(1), &tokens("access"), at(0))
        .await
        .expect("recorded");
    let scope = Scope::Subject(subject);
    let sealed = vault.seal(scope, b"", b"x").expect("sealed");
    let state = grantlog::tokens::sealed::seal(&vault.purpose_keys().state, "p", &1);
    let state = state.expect("sealed");
    drop(vault);

    let both = fixture
        .open_with(&format!("{new},{}", fixture.master_key))
        .expect("opened");
    let rewrapped = both.rewrap().await.expect("rewrapped");
    assert_eq!(rewrapped, 4, "system, two months, one subject");
    assert_eq!(both.rewrap().await.expect("rewrapped"), 0);
    drop(both);

    let refused = fixture.open_with(&fixture.master_key);
    assert!(matches!(refused, Err(VaultError::WrongMasterKey)));
    let vault = fixture.open_with(&new).expect("opened");
    vault.load(scope).await.expect("loaded");
    let opened = vault.open_sealed(scope, b"", &sealed).expect("opened");
    assert!(matches!(opened, Opened::Plain(plain) if *plain == b"x"));
    let keys = vault.purpose_keys();
    assert_eq!(
        grantlog::tokens::sealed::unseal(&keys.state, "p", &state),
        Ok(1)
    );
    assert_eq!(
        vault.subject_for(alice(), at(1)).await.expect("known"),
        subject
    );
}

#[tokio::test]
async fn rewrapping_reaches_every_subject() {
    const SUBJECTS: usize = 1100;
    let fixture = Fixture::new();
    let vault = fixture.open();
    let admissions: Vec<_> = (0..SUBJECTS)
        .map(|n| {
            let vault = vault.clone();
            tokio::spawn(async move {
                let sub = n.to_string();
                let identity = Identity {
                    sub: &sub,
                    ..alice()
                };
                vault.subject_for(identity, at(0)).await.expect("admitted")
            })
        })
        .collect();
    for admission in admissions {
        admission.await.expect("joined");
    }
    drop(vault);
    let both = format!("{} {}", new_master_key(), fixture.master_key);
    let vault = fixture.open_with(&both).expect("opened");
    assert_eq!(vault.rewrap().await.expect("rewrapped"), SUBJECTS + 3);
}

#[tokio::test]
async fn a_copy_is_whole_and_opens_with_the_same_key() {
    let fixture = Fixture::new();
    let vault = fixture.open();
    vault
        .record_login(alice(), grant(1), &tokens("access"), at(0))
        .await
        .expect("recorded");
    let copy = fixture.folder.path().join("copy.db");
    vault.backup_to(&copy).await.expect("copied");
    let again = vault.backup_to(&copy).await;
    assert!(matches!(again, Err(VaultError::File(_))), "{again:?}");
    let keys = MasterKeys::parse(&fixture.master_key).expect("a key");
    let copied = Vault::open(&copy, keys, at(1)).expect("opened");
    let read = copied
        .upstream(grant(1))
        .await
        .expect("read")
        .expect("there");
    assert_eq!(read.access_token.expose(), "access");
}

#[tokio::test]
async fn read_only_reads_and_never_writes() {
    let fixture = Fixture::new();
    let keys = || MasterKeys::parse(&fixture.master_key).expect("a key");
    assert!(Vault::open_read_only(&fixture.path(), keys()).is_err());
    let vault = fixture.open();
    let subject = vault
        .record_login(alice(), grant(1), &tokens("access"), at(0))
        .await
        .expect("recorded");
    let reader = Vault::open_read_only(&fixture.path(), keys()).expect("opened");
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
    Vault::open_read_only(&fixture.path(), keys()).expect("opened when nobody else has it");
}

#[tokio::test]
async fn a_file_of_a_newer_program_is_refused() {
    let fixture = Fixture::new();
    let vault = fixture.open();
    vault.healthy().await.expect("healthy");
    drop(vault);
    fixture
        .sql()
        .pragma_update(None, "user_version", 99)
        .expect("set");
    let refused = fixture
        .open_with(&fixture.master_key)
        .expect_err("must be refused");
    assert!(matches!(refused, VaultError::Schema { found: 99, .. }));
}

#[tokio::test]
async fn a_failing_write_fails_alone() {
    let fixture = Fixture::new();
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
