//! Identities, subjects and what the provider gave for them.

use std::collections::HashSet;

use grantlog::vault::VaultError;

use super::*;

#[tokio::test]
async fn one_identity_is_one_subject_for_good() {
    let fixture = Fixture::new();
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

#[tokio::test]
async fn every_part_of_an_identity_counts() {
    let fixture = Fixture::new();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_logins_agree_on_the_subject() {
    let fixture = Fixture::new();
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
        assert_eq!(found.access_token.expose(), format!("access-{n}"));
    }
}

#[tokio::test]
async fn upstream_tokens_are_kept_replaced_and_deleted() {
    let fixture = Fixture::new();
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
    assert_eq!(read.access_token.expose(), "first");
    let refresh_token = read.refresh_token.expect("kept");
    assert_eq!(refresh_token.expose(), "upstream-refresh-\"quoted\"-é");
    assert_eq!(
        (read.expires_at, read.scope.as_deref()),
        (Some(at(3600)), Some("openid email"))
    );
    assert_eq!(
        (read.id_token.is_none(), read.token_type.as_str()),
        (true, "Bearer")
    );

    vault
        .put_upstream(subject, grant(1), &tokens("second"), at(1))
        .await
        .expect("replaced");
    let read = vault
        .upstream(grant(1))
        .await
        .expect("read")
        .expect("there");
    assert_eq!(read.access_token.expose(), "second");

    assert!(vault.delete_upstream(grant(1)).await.expect("deleted"));
    assert!(!vault.delete_upstream(grant(1)).await.expect("already"));
    assert!(vault.upstream(grant(1)).await.expect("read").is_none());
}

#[tokio::test]
async fn rows_cannot_trade_places() {
    let fixture = Fixture::new();
    let vault = fixture.open();
    for n in [1, 2] {
        let tokens = tokens(&format!("access-{n}"));
        let login = vault.record_login(alice(), grant(n), &tokens, at(0)).await;
        login.expect("recorded");
    }
    fixture
        .sql()
        .execute(
            "UPDATE upstream_token SET sealed = (SELECT sealed FROM upstream_token WHERE grant_id = ?2)
             WHERE grant_id = ?1",
            [grant(1).0.as_bytes(), grant(2).0.as_bytes()],
        )
        .expect("swapped");
    let read = vault.upstream(grant(1)).await;
    assert!(matches!(read, Err(VaultError::Tampered(_))), "{read:?}");
}

#[tokio::test]
async fn secrets_are_kept_by_owner_and_version() {
    let fixture = Fixture::new();
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
