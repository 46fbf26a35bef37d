//! Identities, subjects and what the provider gave for them.

use std::collections::HashSet;

use grantlog::vault::VaultError;

use super::*;

on_both![
    one_identity_is_one_subject_for_good,
    every_part_of_an_identity_counts,
    concurrent_logins_agree_on_the_subject,
    upstream_tokens_are_kept_replaced_and_deleted,
    a_grant_has_tokens_of_one_subject,
    rows_cannot_trade_places,
    secrets_are_kept_by_owner_and_version,
    all_secrets_of_an_owner_are_deleted,
];

async fn one_identity_is_one_subject_for_good(fixture: Fixture) {
    let vault = fixture.open();
    let subject = vault.subject_for(alice(), at(0)).await.expect("admitted");
    assert_eq!(
        vault.subject_for(alice(), at(1)).await.expect("known"),
        subject
    );
    drop(vault);
    let vault = fixture.open();
    assert_eq!(
        vault.subject_for(alice(), at(2)).await.expect("known"),
        subject
    );
}

async fn every_part_of_an_identity_counts(fixture: Fixture) {
    let vault = fixture.open();
    let identity = |provider, issuer, sub| Identity {
        provider: ProviderId(provider),
        issuer,
        sub,
    };
    let mut subjects = HashSet::new();
    let identities = [
        identity(1, "https://a.example", "x"),
        identity(2, "https://a.example", "x"),
        identity(1, "https://b.example", "x"),
        identity(1, "https://a.example", "y"),
        identity(1, "https://a.example", "X"),
        identity(1, "https://a.example/", "x"),
        identity(1, "https://a.examplex", ""),
        identity(1, "", "https://a.examplex"),
    ];
    for identity in identities {
        subjects.insert(vault.subject_for(identity, at(0)).await.expect("admitted"));
    }
    assert_eq!(subjects.len(), identities.len());
}

async fn concurrent_logins_agree_on_the_subject(fixture: Fixture) {
    // Two handles on one file, as after a start that overlaps a stop.
    let (one, two) = (fixture.open(), fixture.open());
    let logins: Vec<_> = (0..64)
        .map(|n| {
            let vault = if n % 2 == 0 { one.clone() } else { two.clone() };
            tokio::spawn(async move {
                let issuer = format!("https://{}.example", n % 4);
                let identity = Identity {
                    issuer: &issuer,
                    ..alice()
                };
                vault
                    .record_login(identity, grant(n), &tokens(&format!("access-{n}")), at(0))
                    .await
            })
        })
        .collect();
    let mut subjects = HashSet::new();
    for login in logins {
        subjects.insert(login.await.expect("joined").expect("recorded"));
    }
    assert_eq!(subjects.len(), 4);
    for n in 0..64 {
        let found = two.upstream(grant(n)).await.expect("read").expect("there");
        assert_eq!(found.tokens.access_token.expose(), format!("access-{n}"));
    }
}

async fn upstream_tokens_are_kept_replaced_and_deleted(fixture: Fixture) {
    let vault = fixture.open();
    let subject = vault
        .record_login(alice(), grant(1), &tokens("first"), at(0))
        .await
        .expect("recorded");
    let read = vault
        .upstream(grant(1))
        .await
        .expect("read")
        .expect("there");
    assert_eq!(read.tokens.access_token.expose(), "first");
    let refresh_token = read.tokens.refresh_token.as_ref().expect("kept");
    assert_eq!(refresh_token.expose(), "upstream-refresh-\"quoted\"-é");
    assert_eq!(read.tokens.expires_at, Some(at(3600)));

    let replaced = vault
        .replace_upstream(subject, grant(1), &read.revision, &tokens("second"), at(1))
        .await;
    assert!(replaced.expect("replaced"));
    let late = vault
        .replace_upstream(subject, grant(1), &read.revision, &tokens("late"), at(1))
        .await;
    assert!(!late.expect("kept as it is"));
    let read = vault
        .upstream(grant(1))
        .await
        .expect("read")
        .expect("there");
    assert_eq!(read.tokens.access_token.expose(), "second");

    let other = tokens("other");
    let login = vault.record_login(alice(), grant(2), &other, at(2));
    login.await.expect("recorded");
    let untouched = async |after, before, limit| {
        let grants = vault.grants_with_upstream(grant(after), at(before), limit);
        grants.await.expect("read")
    };
    assert_eq!(untouched(0, 3, 9).await, [grant(1), grant(2)]);
    assert_eq!(untouched(0, 3, 1).await, [grant(1)]);
    assert_eq!(untouched(0, 2, 9).await, [grant(1)]);
    assert_eq!(untouched(1, 3, 9).await, [grant(2)]);

    assert!(vault.delete_upstream(grant(1)).await.expect("deleted"));
    assert!(!vault.delete_upstream(grant(1)).await.expect("already"));
    assert!(vault.upstream(grant(1)).await.expect("read").is_none());
}

/// Two people who answer one authorization at the same moment, in both orders.
async fn a_grant_has_tokens_of_one_subject(fixture: Fixture) {
    let vault = fixture.open();
    let bob = Identity {
        sub: "bob-at-the-provider",
        ..alice()
    };
    for (n, first, second) in [(1, alice(), bob), (2, bob, alice())] {
        let login = async |identity, given: &str| {
            let given = tokens(given);
            vault.record_login(identity, grant(n), &given, at(0)).await
        };
        let kept = async || {
            let stored = vault.upstream(grant(n)).await.expect("read");
            let stored = stored.expect("there");
            let access_token = stored.tokens.access_token.expose().to_owned();
            (stored.subject, access_token)
        };
        let subject = login(first, "first").await.expect("recorded");
        let refused = login(second, "second").await;
        assert!(matches!(refused, Err(VaultError::AnotherSubject)));
        assert_eq!(kept().await, (subject, "first".to_owned()));
        // The same person may answer again.
        let again = login(first, "again").await;
        assert_eq!(again.expect("recorded"), subject);
        assert_eq!(kept().await, (subject, "again".to_owned()));
    }
}

async fn rows_cannot_trade_places(fixture: Fixture) {
    let vault = fixture.open();
    for n in [1, 2] {
        let tokens = tokens(&format!("access-{n}"));
        let login = vault.record_login(alice(), grant(n), &tokens, at(0)).await;
        login.expect("recorded");
    }
    fixture.run(
        "UPDATE grantlog_vault.upstream_token AS it SET sealed = (SELECT other.sealed
         FROM grantlog_vault.upstream_token AS other WHERE other.grant_id <> it.grant_id)",
    );
    let read = vault.upstream(grant(1)).await;
    assert!(matches!(read, Err(VaultError::Tampered(_))), "{read:?}");
}

async fn secrets_are_kept_by_owner_and_version(fixture: Fixture) {
    let vault = fixture.open();
    let first = vault
        .put_secret("provider-1", b"one", at(0))
        .await
        .expect("kept");
    let second = vault
        .put_secret("provider-1", b"two", at(0))
        .await
        .expect("kept");
    let read = |owner, version| {
        let vault = vault.clone();
        async move {
            vault
                .secret(owner, version)
                .await
                .map(|plain| plain.to_vec())
        }
    };
    assert_eq!(read("provider-1", first).await.expect("there"), b"one");
    assert_eq!(read("provider-1", second).await.expect("there"), b"two");
    let elsewhere = read("provider-2", first).await;
    assert!(matches!(elsewhere, Err(VaultError::NoSecret)));
    assert!(
        vault
            .delete_secret("provider-1", first)
            .await
            .expect("deleted")
    );
    assert!(matches!(
        read("provider-1", first).await,
        Err(VaultError::NoSecret)
    ));
}

#[test]
fn debug_names_nobody_and_shows_no_token() {
    let shown = format!("{:?} {:?}", alice(), tokens("upstream-access"));
    for hidden in [
        "alice",
        "idp.example",
        "upstream-access",
        "upstream-refresh",
    ] {
        assert!(!shown.contains(hidden), "{shown}");
    }
}

async fn all_secrets_of_an_owner_are_deleted(fixture: Fixture) {
    let vault = fixture.open();
    let mut versions = Vec::new();
    for n in 0..3 {
        let kept = vault.put_secret("provider-1", b"a secret", at(n)).await;
        versions.push(kept.expect("kept"));
    }
    let other = vault.put_secret("provider-2", b"another", at(0)).await;
    let other = other.expect("kept");
    let there = async || {
        let mut there = Vec::new();
        for version in &versions {
            there.push(vault.secret("provider-1", *version).await.is_ok());
        }
        there
    };
    assert_eq!(there().await, [true; 3]);
    let deleted = vault.delete_secrets("provider-1").await;
    deleted.expect("deleted");
    assert_eq!(there().await, [false; 3]);
    assert!(vault.secret("provider-2", other).await.is_ok());
}
