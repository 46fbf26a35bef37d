//! Signing keys across rotations and restarts.

use std::time::Duration;

use domain::id::{ClientId, SubjectId};
use grantlog::keys::Algorithm;
use grantlog::tokens::access::{self, Claims, Expected, Rejection};
use grantlog::vault::{Rotation, VaultError};

use super::*;

on_both![
    keys_outlive_a_restart,
    a_rotation_publishes_first_and_retires_last,
    a_leak_is_cut_off_at_once,
    another_handle_learns_of_a_rotation,
    no_column_of_a_key_can_be_changed_in_the_file,
];

const PACE: Rotation = Rotation {
    publish_ahead: Duration::from_secs(100),
    keep_old: Duration::from_secs(3600),
};

fn claims() -> Claims {
    Claims {
        iss: "https://issuer.example".to_owned(),
        sub: SubjectId(Uuid::from_u128(1)),
        aud: "https://resource.example/mcp".to_owned(),
        client_id: ClientId(Uuid::from_u128(2)),
        scope: domain::scope::Scope::default(),
        iat: at(0).timestamp(),
        exp: at(100_000).timestamp(),
        jti: event(3),
        grant: grant(4),
    }
}

fn verify(vault: &Vault, token: &str, now: Timestamp) -> Result<(), Rejection> {
    let expected = Expected {
        issuer: "https://issuer.example",
        audiences: &["https://resource.example/mcp"],
        now,
        leeway_s: 0,
    };
    access::verify(&vault.signing_keys(), token, expected).map(drop)
}

fn mint(vault: &Vault, alg: Algorithm, now: Timestamp) -> String {
    access::mint(&vault.signing_keys(), alg, &claims(), now).expect("minted")
}

async fn keys_outlive_a_restart(fixture: Fixture) {
    let vault = fixture.open();
    let algorithms = [
        Algorithm::HS256,
        Algorithm::ES256,
        Algorithm::EdDSA,
        Algorithm::RS256,
    ];
    let mut tokens = Vec::new();
    for alg in algorithms {
        vault.ensure_signing_key(alg, at(0)).await.expect("there");
        vault.ensure_signing_key(alg, at(0)).await.expect("there");
        tokens.push(mint(&vault, alg, at(0)));
    }
    assert_eq!(vault.signing_keys().infos().count(), algorithms.len());
    drop(vault);
    let vault = fixture.open();
    assert_eq!(vault.signing_keys().infos().count(), algorithms.len());
    for token in tokens {
        assert_eq!(verify(&vault, &token, at(1)), Ok(()));
    }
}

async fn a_rotation_publishes_first_and_retires_last(fixture: Fixture) {
    let vault = fixture.open();
    let alg = Algorithm::ES256;
    vault.ensure_signing_key(alg, at(0)).await.expect("there");
    let old = mint(&vault, alg, at(0));
    let kid = vault
        .rotate_signing_key(alg, PACE, at(10))
        .await
        .expect("rotated");

    let published = |now| {
        let set = vault.signing_keys().jwks(alg, now);
        set.keys
            .into_iter()
            .filter_map(|key| key.common.key_id)
            .collect::<Vec<_>>()
    };
    assert_eq!(published(at(10)).len(), 2);
    let signer = |now| {
        let keys = vault.signing_keys();
        keys.in_use(alg, now).expect("a key").info.kid.clone()
    };
    let first = signer(at(109));
    assert_ne!(first, kid);
    assert_eq!(signer(at(110)), kid);
    assert_eq!(verify(&vault, &old, at(3709)), Ok(()));
    assert_eq!(verify(&vault, &old, at(3710)), Err(Rejection::UnknownKey));
    assert_eq!(published(at(3710)), [kid]);

    // The next rotation erases the private part of what has retired; old tokens stay readable.
    vault
        .rotate_signing_key(alg, PACE, at(4000))
        .await
        .expect("rotated");
    drop(vault);
    let vault = fixture.open();
    assert!(access::authenticate(&vault.signing_keys(), &old).is_ok());
    let keys = vault.signing_keys();
    let signs = keys.in_use(alg, at(50)).expect("another");
    assert_ne!(signs.info.kid, first, "what has retired signs nothing");
}

async fn a_leak_is_cut_off_at_once(fixture: Fixture) {
    let vault = fixture.open();
    let token = mint(&vault, Algorithm::HS256, at(0));
    vault
        .rotate_signing_key(Algorithm::HS256, PACE, at(1))
        .await
        .expect("rotated");
    assert_eq!(verify(&vault, &token, at(2)), Ok(()));
    let now = Rotation {
        publish_ahead: Duration::ZERO,
        keep_old: Duration::ZERO,
    };
    vault
        .rotate_signing_key(Algorithm::HS256, now, at(2))
        .await
        .expect("rotated");
    assert_eq!(verify(&vault, &token, at(2)), Err(Rejection::UnknownKey));
    let token = mint(&vault, Algorithm::HS256, at(2));
    assert_eq!(verify(&vault, &token, at(3)), Ok(()));
}

async fn another_handle_learns_of_a_rotation(fixture: Fixture) {
    let (one, two) = (fixture.open(), fixture.open());
    let now = Rotation {
        publish_ahead: Duration::ZERO,
        ..PACE
    };
    one.rotate_signing_key(Algorithm::HS256, now, at(1))
        .await
        .expect("rotated");
    let token = mint(&one, Algorithm::HS256, at(2));
    assert_eq!(verify(&two, &token, at(2)), Err(Rejection::UnknownKey));
    two.catch_up().await.expect("caught up");
    assert_eq!(verify(&two, &token, at(2)), Ok(()));
}

async fn no_column_of_a_key_can_be_changed_in_the_file(fixture: Fixture) {
    let vault = fixture.open();
    vault
        .ensure_signing_key(Algorithm::ES256, at(0))
        .await
        .expect("there");
    for change in [
        "alg = 'EdDSA' WHERE alg = 'ES256'",
        "public_jwk = replace(public_jwk, '\"x\":\"', '\"x\":\"A') WHERE alg = 'ES256'",
        "not_before = not_before - 1",
        "retires_at = 1",
        "kid = 'chosen' WHERE alg = 'HS256'",
        "sealed = (SELECT wrapped FROM grantlog_vault.data_key WHERE wrapped IS NOT NULL LIMIT 1)",
    ] {
        fixture.run("CREATE TABLE kept AS SELECT * FROM grantlog_vault.signing_key");
        let changed = fixture.run(&format!(
            "UPDATE grantlog_vault.signing_key SET {change} RETURNING kid"
        ));
        assert!(!changed.is_empty(), "{change}");
        let read = vault.reload_signing_keys().await;
        assert!(
            matches!(read, Err(VaultError::Tampered(_))),
            "{change} {read:?}"
        );
        fixture.run("DELETE FROM grantlog_vault.signing_key");
        fixture.run("INSERT INTO grantlog_vault.signing_key SELECT * FROM kept");
        fixture.run("DROP TABLE kept");
        vault.reload_signing_keys().await.expect("as before");
    }
}
