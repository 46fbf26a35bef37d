//! The vault in PostgreSQL: who may open it, what it survives.

use std::time::Duration;

use grantlog::keys::Algorithm;
use grantlog::migrations::Unfit;
use grantlog::vault::{Opened, Rotation, Scope};
use support::postgres::{Cluster, Cut, Cutter, Stop};

use super::*;

fn open(url: &str, keys: &str, migrate: bool) -> Result<Vault, VaultError> {
    Vault::open_postgres(
        connect(url),
        MasterKeys::parse(keys).expect("keys"),
        migrate,
        at(0),
    )
}

fn database(fixture: &Fixture) -> &Database {
    match &fixture.place {
        Place::Database(database) => database,
        Place::Folder(_) => panic!("a vault in a folder has no database"),
    }
}

#[test]
fn tables_are_made_only_if_that_is_wanted() {
    let fixture = Fixture::postgres();
    let (url, key) = (database(&fixture).url(), &fixture.master_key);
    let refused = open(&url, key, false);
    assert!(
        matches!(
            refused,
            Err(VaultError::Schema(Unfit::Behind {
                applied: 0,
                known: 2,
                blocked: false
            }))
        ),
        "{refused:?}"
    );
    assert_eq!(
        fixture.run("SELECT to_regnamespace('grantlog_vault') IS NULL"),
        "t"
    );
    open(&url, key, true).expect("made");
    open(&url, key, false).expect("as they are");
}

#[test]
fn tables_that_a_newer_program_contracted_are_refused() {
    let fixture = Fixture::postgres();
    drop(fixture.open());
    fixture.run("INSERT INTO grantlog_vault.migrations (number) VALUES (3)");
    drop(fixture.open());
    fixture.open_read_only().expect("only expanded");
    fixture.run("UPDATE grantlog_vault.migrations SET contracts = true WHERE number = 3");
    let ahead = Unfit::Ahead {
        applied: 3,
        minimum: 3,
        known: 2,
    };
    for refused in [
        fixture.open_with(&fixture.master_key),
        fixture.open_read_only(),
    ] {
        let refused = refused.expect_err("must be refused");
        assert!(matches!(refused, VaultError::Schema(found) if found == ahead));
    }
}

#[test]
fn the_owner_of_the_schema_needs_no_more_rights() {
    let fixture = Fixture::postgres();
    let database = database(&fixture);
    let role = format!("vault_{}", std::process::id());
    fixture.run(&format!("CREATE ROLE {role} LOGIN"));
    fixture.run(&format!(
        "CREATE SCHEMA grantlog_vault AUTHORIZATION {role}"
    ));
    let url = database
        .url()
        .replace("user=grantlog", &format!("user={role}"));
    open(&url, &fixture.master_key, true).expect("made");
    open(&url, &fixture.master_key, true).expect("opened");
    fixture.run(&format!("DROP OWNED BY {role}"));
    fixture.run(&format!("DROP ROLE {role}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connection_that_is_cut_is_replaced() {
    let fixture = Fixture::postgres();
    let vault = fixture.open();
    let subject = vault.subject_for(alice(), at(0)).await.expect("admitted");
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for round in 0..10 {
        fixture.run(cut);
        vault.healthy().await.expect("healthy");
        fixture.run(cut);
        let found = vault.subject_for(alice(), at(round)).await.expect("found");
        assert_eq!(found, subject);
        fixture.run(cut);
        assert!(vault.upstream(grant(1)).await.expect("read").is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn work_goes_on_while_connections_are_cut() {
    let fixture = Fixture::postgres();
    let vault = fixture.open();
    let url = database(&fixture).url();
    let logins: Vec<_> = (0..200)
        .map(|n| {
            let vault = vault.clone();
            tokio::spawn(async move {
                let sub = (n % 50).to_string();
                let identity = Identity {
                    sub: &sub,
                    ..alice()
                };
                vault
                    .record_login(identity, grant(n), &tokens(&n.to_string()), at(0))
                    .await
            })
        })
        .collect();
    let cutter = connect(&url);
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE application_name = 'grantlog' AND datname = current_database() AND pid <> pg_backend_pid()";
    for _ in 0..5 {
        let lease = cutter.lease().await.expect("connected");
        cutter.block_on(lease.batch_execute(cut)).expect("cut");
        lease.release();
    }
    let mut done = 0;
    for (n, login) in (0..).zip(logins) {
        let answer = login.await.expect("joined");
        let found = vault.upstream(grant(n)).await.expect("read");
        let found = found.map(|found| found.tokens.access_token.expose().to_owned());
        let whole = found.as_ref().is_some_and(|found| *found == n.to_string());
        match answer {
            Ok(_) => {
                assert!(whole, "{n}: {found:?}");
                done += 1;
            }
            // Cut more often than it tries.
            Err(VaultError::Postgres(_)) => assert_eq!(found, None, "{n}"),
            Err(VaultError::Unsettled(_)) => assert!(whole || found.is_none(), "{n}: {found:?}"),
            Err(other) => panic!("{other}"),
        }
    }
    assert!(done > 190, "{done}");
}

const CUTS: [Cut; 5] = [Cut::Before, Cut::Within, Cut::While, Cut::After, Cut::Late];

const NOW: Rotation = Rotation {
    publish_ahead: Duration::ZERO,
    keep_old: Duration::ZERO,
};

/// A vault whose commits can be cut.
async fn open_through_network(fixture: &Fixture) -> (Cutter, Vault) {
    let url = database(fixture).url();
    let network = Cutter::before(&url).await;
    let vault = open(&network.url(&url), &fixture.master_key, true).expect("opened");
    (network, vault)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_lost_at_its_commit_is_done_once_for_a_person() {
    let fixture = Fixture::postgres();
    let (network, vault) = open_through_network(&fixture).await;
    let other = fixture.open();
    for (round, cut) in (1..).zip(CUTS) {
        let (now, grant) = (at(round), grant(round as u128));
        let kept = async || other.upstream(grant).await.expect("read");

        network.cut_next_of_vault(cut);
        let first = tokens("first");
        let subject = vault.record_login(alice(), grant, &first, now);
        let subject = subject.await.expect("recorded");
        assert!(network.has_cut());
        let found = other.subject_for(alice(), now).await.expect("known");
        let read = kept().await.expect("there");
        assert_eq!((found, read.subject), (subject, subject));
        assert_eq!(read.tokens.access_token.expose(), "first");

        network.cut_next_of_vault(cut);
        let claim = vault.claim_upstream(grant, &read.revision, now, at(100));
        claim.await.expect("decided");
        assert!(network.has_cut());
        let second = other.claim_upstream(grant, &read.revision, now, at(101));
        assert!(!second.await.expect("decided"), "{cut:?}: two renew");

        network.cut_next_of_vault(cut);
        let second = tokens("second");
        let replaced = vault.replace_upstream(subject, grant, &read.revision, &second, now);
        replaced.await.expect("decided");
        assert!(network.has_cut());
        let read = kept().await.expect("there");
        assert_eq!(read.tokens.access_token.expose(), "second");

        network.cut_next_of_vault(cut);
        vault.delete_upstream(grant).await.expect("deleted");
        assert!(network.has_cut());
        assert!(kept().await.is_none());

        network.cut_next_of_vault(cut);
        vault.destroy(subject, now).await.expect("destroyed");
        assert!(network.has_cut());
        assert!(!other.destroy(subject, now).await.expect("known"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_lost_at_its_commit_is_done_once_for_all() {
    let fixture = Fixture::postgres();
    let (network, vault) = open_through_network(&fixture).await;
    let other = fixture.open();
    for (round, cut) in (1..).zip(CUTS) {
        let now = at(i64::from(round));

        network.cut_next_of_vault(cut);
        let version = vault.put_secret("owner", b"x", now).await.expect("put");
        assert!(network.has_cut());
        let secret = other.secret("owner", version).await.expect("there");
        assert_eq!(secret.as_slice(), b"x");

        network.cut_next_of_vault(cut);
        let kid = vault.rotate_signing_key(Algorithm::HS256, NOW, now);
        let kid = kid.await.expect("rotated");
        assert!(network.has_cut());
        other.catch_up().await.expect("caught up");
        let keys = other.signing_keys();
        let signer = keys.in_use(Algorithm::HS256, now).expect("one");
        assert_eq!(signer.info.kid, kid);

        network.cut_next_of_vault(cut);
        let (year, month) = (2030, round);
        let month = Scope::Month { year, month };
        vault.ensure(month, now).await.expect("made");
        assert!(network.has_cut());
        other.load(month).await.expect("there");
        let sealed = vault.seal(month, b"", b"x").expect("sealed");
        let opened = other.open_sealed(month, b"", &sealed).expect("opens");
        assert_ne!(opened, Opened::Erased);
    }
    let secrets = "SELECT count(*) FROM grantlog_vault.secret WHERE owner = 'owner'";
    assert_eq!(fixture.run(secrets), "5");
    assert_eq!(other.signing_keys().infos().count(), 1 + 5);
}

/// Its commit arrives after a while, for which both the other one and its own repetition wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rotation_that_was_lost_does_not_undo_the_next() {
    let fixture = Fixture::postgres();
    let (network, vault) = open_through_network(&fixture).await;
    let other = fixture.open();
    network.cut_next_of_vault(Cut::Late);
    let lost = tokio::spawn(async move {
        vault
            .rotate_signing_key(Algorithm::HS256, NOW, at(1))
            .await
            .expect("rotated")
    });
    while !network.has_cut() {
        tokio::task::yield_now().await;
    }
    let next = other.rotate_signing_key(Algorithm::HS256, NOW, at(2));
    let next = next.await.expect("rotated");
    assert_ne!(lost.await.expect("joined"), next);
    other.reload_signing_keys().await.expect("read");
    let keys = other.signing_keys();
    let mut signers = keys.infos().filter(|info| info.retires_at.is_none());
    assert_eq!(signers.next().map(|info| &info.kid), Some(&next));
    assert!(signers.next().is_none());
}

/// That later attempts fail for certain does not tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_stays_unknown_is_said() {
    let fixture = Fixture::postgres();
    let (network, vault) = open_through_network(&fixture).await;
    fixture.run(
        "CREATE FUNCTION public.only_one() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF EXISTS (SELECT FROM grantlog_vault.secret WHERE owner = NEW.owner) THEN
             RAISE EXCEPTION 'lost' USING ERRCODE = '40001';
           END IF;
           RETURN NEW;
         END $$;
         CREATE TRIGGER only_one BEFORE INSERT ON grantlog_vault.secret
           FOR EACH ROW EXECUTE FUNCTION public.only_one()",
    );
    network.cut_next_of_vault(Cut::After);
    let unknown = vault.put_secret("owner", b"x", at(0)).await;
    assert!(
        matches!(unknown, Err(VaultError::Unsettled(_))),
        "{unknown:?}"
    );
    let secrets = "SELECT count(*) FROM grantlog_vault.secret WHERE owner = 'owner'";
    assert_eq!(fixture.run(secrets), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_stops_is_an_error_and_one_that_starts_again_is_none() {
    let mut cluster = Cluster::start(&[]);
    let key = new_master_key();
    let vault = open(&cluster.url(), &key, true).expect("opened");
    let subject = vault
        .record_login(alice(), grant(1), &tokens("access"), at(0))
        .await
        .expect("recorded");
    for how in [Stop::Fast, Stop::Immediate] {
        cluster.stop(how);
        for error in [
            vault.healthy().await.expect_err("no server"),
            vault
                .put_secret("provider-1", b"x", at(0))
                .await
                .expect_err("no server"),
            vault
                .upstream(grant(1))
                .await
                .map(drop)
                .expect_err("no server"),
            vault.catch_up().await.expect_err("no server"),
        ] {
            assert!(matches!(error, VaultError::Postgres(_)), "{error:?}");
            assert!(
                error.to_string().starts_with("vault store: PostgreSQL "),
                "{error}"
            );
        }
        // What is in memory needs no server.
        assert!(vault.seal(Scope::Subject(subject), b"", b"x").is_ok());
        cluster.start_again();
        vault.healthy().await.expect("healthy");
        vault.catch_up().await.expect("caught up");
        let found = vault
            .upstream(grant(1))
            .await
            .expect("read")
            .expect("there");
        assert_eq!(found.tokens.access_token.expose(), "access");
    }
    let refused = open(&cluster.url(), &new_master_key(), true);
    assert!(matches!(refused, Err(VaultError::WrongMasterKey)));
}
