//! Several nodes on one vault: what they do at once is decided once, and what one changes the others
//! learn. Two handles stand for two nodes; each has its own connections and memory.

use std::collections::HashSet;
use std::time::Duration;

use grantlog::keys::Algorithm;
use grantlog::vault::{Opened, Rotation, Scope, VaultError};

use super::*;

on_both![
    nodes_that_start_at_once_agree_on_every_key,
    nodes_agree_on_the_key_of_a_month,
    nodes_agree_on_the_first_key_of_an_algorithm,
    rotations_at_once_leave_one_signer,
    of_two_renewals_one_is_kept,
    one_node_at_a_time_renews,
    an_erasure_reaches_the_other_nodes_memory,
    a_login_and_an_erasure_at_once_leave_nothing_behind,
    a_key_destroyed_while_it_is_rewrapped_stays_destroyed,
    two_nodes_rewrap_what_a_third_works_with,
    who_asks_at_once_shares_an_answer,
];

const NOW: Rotation = Rotation {
    publish_ahead: Duration::ZERO,
    keep_old: Duration::ZERO,
};

/// Runs one piece of work on each handle, all at once.
pub async fn at_once<T, F>(vaults: &[Vault], work: impl Fn(Vault, usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let running: Vec<_> = (0..)
        .zip(vaults)
        .map(|(n, vault)| tokio::spawn(work(vault.clone(), n)))
        .collect();
    let mut answers = Vec::new();
    for task in running {
        answers.push(task.await.expect("joined"));
    }
    answers
}

fn plain(opened: Result<Opened, VaultError>) -> Vec<u8> {
    match opened.expect("opens") {
        Opened::Plain(plain) => plain.to_vec(),
        Opened::Erased => panic!("erased"),
    }
}

fn kids(vault: &Vault) -> Vec<String> {
    vault
        .signing_keys()
        .infos()
        .map(|info| info.kid.clone())
        .collect()
}

async fn nodes_that_start_at_once_agree_on_every_key(fixture: Fixture) {
    let vaults: Vec<Vault> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..6).map(|_| scope.spawn(|| fixture.open())).collect();
        starts
            .into_iter()
            .map(|start| start.join().expect("started"))
            .collect()
    });
    let state = grantlog::tokens::sealed::seal(&vaults[0].purpose_keys().state, "p", &1);
    let state = state.expect("sealed");
    for scope in [
        Scope::System,
        Scope::month_of(at(0)),
        Scope::month_of(at(31 * 86_400)),
    ] {
        let sealed = vaults[0].seal(scope, b"", b"x").expect("sealed");
        for vault in &vaults {
            assert_eq!(plain(vault.open_sealed(scope, b"", &sealed)), b"x");
        }
    }
    for vault in &vaults {
        let key = &vault.purpose_keys().state;
        assert_eq!(grantlog::tokens::sealed::unseal(key, "p", &state), Ok(1));
        assert_eq!(kids(vault), kids(&vaults[0]));
    }
    assert_eq!(kids(&vaults[0]).len(), 1);
}

async fn nodes_agree_on_the_key_of_a_month(fixture: Fixture) {
    let vaults = [(); 4].map(|()| fixture.open());
    for month in 3..9 {
        let later = at(month * 31 * 86_400);
        let scope = Scope::month_of(later);
        at_once(&vaults, |vault, _| async move {
            vault.ensure(scope, later).await
        })
        .await
        .into_iter()
        .for_each(|made| made.expect("made"));
        let sealed = vaults[0].seal(scope, b"", b"x").expect("sealed");
        for vault in &vaults {
            assert_eq!(plain(vault.open_sealed(scope, b"", &sealed)), b"x");
        }
    }
}

async fn nodes_agree_on_the_first_key_of_an_algorithm(fixture: Fixture) {
    let vaults = [(); 4].map(|()| fixture.open());
    for alg in [Algorithm::ES256, Algorithm::EdDSA] {
        let made = at_once(&vaults, move |vault, _| async move {
            vault.ensure_signing_key(alg, at(0)).await.expect("there")
        })
        .await;
        assert_eq!(made.iter().filter(|made| **made).count(), 1);
        let signers: HashSet<_> = vaults
            .iter()
            .map(|vault| {
                vault
                    .signing_keys()
                    .in_use(alg, at(0))
                    .expect("a key")
                    .info
                    .kid
                    .clone()
            })
            .collect();
        assert_eq!(signers.len(), 1);
    }
}

async fn rotations_at_once_leave_one_signer(fixture: Fixture) {
    let vaults = [(); 4].map(|()| fixture.open());
    let made = at_once(&vaults, |vault, _| async move {
        vault
            .rotate_signing_key(Algorithm::HS256, NOW, at(1))
            .await
            .expect("rotated")
    })
    .await;
    let mut alive = HashSet::new();
    for vault in &vaults {
        vault.catch_up().await.expect("caught up");
        assert_eq!(kids(vault).len(), 5);
        let keys = vault.signing_keys();
        alive.extend(
            keys.infos()
                .filter(|info| info.retires_at.is_none())
                .map(|info| info.kid.clone()),
        );
    }
    assert_eq!(
        alive.len(),
        1,
        "each rotation retired what the one before had made"
    );
    assert!(made.contains(alive.iter().next().expect("one")));
}

async fn of_two_renewals_one_is_kept(fixture: Fixture) {
    let vaults = [(); 4].map(|()| fixture.open());
    let subject = vaults[0]
        .record_login(alice(), grant(1), &tokens("first"), at(0))
        .await;
    let subject = subject.expect("recorded");
    let read = vaults[0]
        .upstream(grant(1))
        .await
        .expect("read")
        .expect("there");
    let kept = at_once(&vaults, |vault, n| {
        let revision = read.revision.clone();
        async move {
            let renewed = tokens(&format!("renewed-{n}"));
            vault
                .replace_upstream(subject, grant(1), &revision, &renewed, at(1))
                .await
        }
    })
    .await;
    let kept: Vec<bool> = kept
        .into_iter()
        .map(|kept| kept.expect("decided"))
        .collect();
    let winner = kept.iter().position(|kept| *kept).expect("one");
    assert_eq!(kept.iter().filter(|kept| **kept).count(), 1);
    for vault in &vaults {
        let found = vault
            .upstream(grant(1))
            .await
            .expect("read")
            .expect("there");
        assert_eq!(
            found.tokens.access_token.expose(),
            format!("renewed-{winner}")
        );
    }
    // Deleted, such as with a revoked grant, they do not come back.
    let read = vaults[0]
        .upstream(grant(1))
        .await
        .expect("read")
        .expect("there");
    assert!(vaults[1].delete_upstream(grant(1)).await.expect("deleted"));
    let late = vaults[0]
        .replace_upstream(subject, grant(1), &read.revision, &tokens("x"), at(2))
        .await;
    assert!(!late.expect("decided"));
}

async fn one_node_at_a_time_renews(fixture: Fixture) {
    let vaults = [(); 4].map(|()| fixture.open());
    let subject = vaults[0]
        .record_login(alice(), grant(1), &tokens("first"), at(0))
        .await;
    let subject = subject.expect("recorded");
    let read = vaults[0].upstream(grant(1)).await.expect("read");
    let read = read.expect("there").revision;
    let claims = async |now| {
        let read = read.clone();
        let claims = at_once(&vaults, move |vault, _| {
            let read = read.clone();
            async move {
                let claim = vault.claim_upstream(grant(1), &read, at(now), at(now + 30));
                claim.await.expect("decided")
            }
        });
        claims.await.into_iter().filter(|claimed| *claimed).count()
    };
    assert_eq!((claims(0).await, claims(29).await), (1, 0));
    assert_eq!(
        (claims(30).await, claims(31).await),
        (1, 0),
        "after a crash"
    );
    vaults[0]
        .release_upstream(grant(1), at(30))
        .await
        .expect("not the current");
    assert_eq!(claims(32).await, 0);
    vaults[0]
        .release_upstream(grant(1), at(60))
        .await
        .expect("given back");
    assert_eq!(claims(32).await, 1);
    let replaced = vaults[0]
        .replace_upstream(subject, grant(1), &read, &tokens("second"), at(33))
        .await;
    assert!(replaced.expect("decided"));
    assert_eq!(claims(100).await, 0, "these are no longer there");
    let read = vaults[1].upstream(grant(1)).await.expect("read");
    let read = read.expect("there").revision;
    let claimed = vaults[1]
        .claim_upstream(grant(1), &read, at(34), at(64))
        .await;
    assert!(claimed.expect("decided"), "the claim ended with the tokens");
}

async fn an_erasure_reaches_the_other_nodes_memory(fixture: Fixture) {
    let (one, two) = (fixture.open(), fixture.open());
    let subject = one.subject_for(alice(), at(0)).await.expect("admitted");
    let (scope, month) = (Scope::Subject(subject), Scope::month_of(at(0)));
    two.load(scope).await.expect("loaded");
    let bob = Identity {
        sub: "bob",
        ..alice()
    };
    let other = Scope::Subject(two.subject_for(bob, at(0)).await.expect("admitted"));
    let sealed = two.seal(scope, b"", b"alice").expect("sealed");

    one.destroy(subject, at(1)).await.expect("destroyed");
    one.destroy_month(2023, 11, at(1)).await.expect("destroyed");
    two.catch_up().await.expect("caught up");

    assert!(!two.is_loaded(scope) && !two.is_loaded(month) && two.is_loaded(other));
    for scope in [scope, month] {
        two.load(scope).await.expect("known");
        assert!(matches!(
            two.seal(scope, b"", b"x"),
            Err(VaultError::Erased(_))
        ));
    }
    assert_eq!(
        two.open_sealed(scope, b"", &sealed).expect("known"),
        Opened::Erased
    );
    assert_ne!(
        two.subject_for(alice(), at(2)).await.expect("admitted"),
        subject
    );
}

async fn a_login_and_an_erasure_at_once_leave_nothing_behind(fixture: Fixture) {
    let vaults = [(); 2].map(|()| fixture.open());
    for round in 0..30 {
        let subject = vaults[0]
            .subject_for(alice(), at(0))
            .await
            .expect("admitted");
        vaults[1]
            .load(Scope::Subject(subject))
            .await
            .expect("loaded");
        let recorded = at_once(&vaults, |vault, n| async move {
            if n == 0 {
                vault.destroy(subject, at(1)).await.expect("destroyed");
                return subject;
            }
            let login = vault
                .record_login(alice(), grant(round), &tokens("access"), at(1))
                .await;
            login.expect("recorded")
        })
        .await[1];
        let found = vaults[0].upstream(grant(round)).await.expect("read");
        assert_eq!(found.is_some(), recorded != subject, "{round}");
        let left = fixture.run("SELECT 'left' FROM grantlog_vault.upstream_token WHERE subject NOT IN (SELECT subject FROM grantlog_vault.subject)");
        assert_eq!(left, "", "{round}");
    }
}

async fn a_key_destroyed_while_it_is_rewrapped_stays_destroyed(fixture: Fixture) {
    drop(fixture.open());
    let both = format!("{},{}", new_master_key(), fixture.master_key);
    let vaults = [(); 2].map(|()| fixture.open_with(&fixture.master_key).expect("opened"));
    let mut subjects = Vec::new();
    for n in 0..40 {
        let sub = n.to_string();
        let identity = Identity {
            sub: &sub,
            ..alice()
        };
        subjects.push(
            vaults[0]
                .subject_for(identity, at(0))
                .await
                .expect("admitted"),
        );
    }
    let rewrapping = fixture.open_with(&both).expect("opened");
    let (erased, vault) = (subjects.clone(), vaults[1].clone());
    let erasing = tokio::spawn(async move {
        for subject in erased {
            assert!(vault.destroy(subject, at(1)).await.expect("destroyed"));
        }
    });
    rewrapping.rewrap().await.expect("rewrapped");
    erasing.await.expect("joined");
    let alive =
        fixture.run("SELECT 'alive' FROM grantlog_vault.data_key WHERE wrapped IS NOT NULL");
    assert_eq!(alive.lines().count(), 3, "system and two months");
    rewrapping.catch_up().await.expect("caught up");
    for subject in subjects {
        rewrapping
            .load(Scope::Subject(subject))
            .await
            .expect("known");
        let refused = rewrapping.seal(Scope::Subject(subject), b"", b"x");
        assert!(matches!(refused, Err(VaultError::Erased(_))));
    }
}

async fn two_nodes_rewrap_what_a_third_works_with(fixture: Fixture) {
    let working = fixture.open();
    for n in 0..50 {
        let sub = n.to_string();
        let identity = Identity {
            sub: &sub,
            ..alice()
        };
        working
            .subject_for(identity, at(0))
            .await
            .expect("admitted");
    }
    let (new, old) = (new_master_key(), &fixture.master_key);
    let both = [(); 2].map(|()| fixture.open_with(&format!("{new},{old}")).expect("opened"));
    let rewrapped = at_once(&both, |vault, _| async move {
        vault.rewrap().await.expect("rewrapped")
    });
    let rewrapped: usize = rewrapped.await.into_iter().sum();
    assert_eq!(rewrapped, 53);
    // What it has in memory it goes on using; what it makes still opens for those with both.
    let subject = working
        .subject_for(
            Identity {
                sub: "7",
                ..alice()
            },
            at(1),
        )
        .await;
    let subject = subject.expect("known");
    let new_one = Identity {
        sub: "new",
        ..alice()
    };
    let made = working.subject_for(new_one, at(1)).await.expect("admitted");
    for subject in [subject, made] {
        both[0].load(Scope::Subject(subject)).await.expect("loaded");
    }
    assert_eq!(both[1].rewrap().await.expect("rewrapped"), 1);
}

async fn who_asks_at_once_shares_an_answer(fixture: Fixture) {
    let (one, two) = (fixture.open(), fixture.open());
    one.rotate_signing_key(Algorithm::HS256, NOW, at(1))
        .await
        .expect("rotated");
    let asked = vec![two.clone(); 200];
    let heard = at_once(&asked, |vault, _| async move {
        vault.catch_up_now().await.expect("caught up");
        kids(&vault).len()
    });
    assert_eq!(heard.await, vec![2; 200]);
}
