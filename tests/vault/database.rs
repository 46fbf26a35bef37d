//! The vault in PostgreSQL: who may open it, what it survives.

use grantlog::migrations::Unfit;
use grantlog::vault::Scope;
use support::postgres::{Cluster, Stop};

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
        match login.await.expect("joined") {
            Ok(_) => {
                let found = vault
                    .upstream(grant(n))
                    .await
                    .expect("read")
                    .expect("there");
                assert_eq!(found.tokens.access_token.expose(), n.to_string());
                done += 1;
            }
            // Cut while its commit was under way, or more often than it tries.
            Err(VaultError::Unsettled(_) | VaultError::Postgres(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert!(done > 100, "{done}");
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
