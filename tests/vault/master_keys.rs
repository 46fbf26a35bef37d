//! Master keys: which opens what, and their rotation.

use grantlog::vault::{Opened, Scope, VaultError};

use super::*;

on_both![
    another_master_key_opens_nothing,
    the_master_key_rotates,
    rewrapping_reaches_every_subject,
];

async fn another_master_key_opens_nothing(fixture: Fixture) {
    drop(fixture.open());
    let refused = fixture
        .open_with(&new_master_key())
        .expect_err("must be refused");
    assert!(matches!(refused, VaultError::WrongMasterKey));
    assert!(refused.is_configuration());
}

async fn the_master_key_rotates(fixture: Fixture) {
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

async fn rewrapping_reaches_every_subject(fixture: Fixture) {
    const SUBJECTS: usize = 1100;
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
