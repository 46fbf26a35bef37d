//! What the server ends by itself: the time-outs of every transaction that a node begins, in the log and in the vault.

use std::fmt::Debug;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use grantlog::clock;
use grantlog::log::Log;
use grantlog::migrations::Migration;
use grantlog::migrations::postgres::migrate;
use grantlog::postgres::Postgres;
use grantlog::vault::{MasterKeys, Vault};
use support::postgres::Database;
use uuid::Uuid;

use super::{MIGRATE, append};

/// A transaction that only reads, and every insertion, fails and says which time-outs it has.
const TELL: &str = "CREATE FUNCTION public.tell() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
        RAISE EXCEPTION 'statement %, idle %, lock %', current_setting('statement_timeout'),
            current_setting('idle_in_transaction_session_timeout'), current_setting('lock_timeout');
    END $$;
    CREATE FUNCTION public.when_read() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
        RETURN current_setting('transaction_read_only') = 'off' OR public.tell();
    END $$;
    CREATE FUNCTION public.when_written() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM public.tell();
    END $$;
    ALTER TABLE grantlog_log.entries SET SCHEMA public;
    CREATE VIEW grantlog_log.entries AS SELECT * FROM public.entries WHERE (SELECT public.when_read());
    CREATE TRIGGER told BEFORE INSERT ON public.entries EXECUTE FUNCTION public.when_written();
    ALTER TABLE grantlog_vault.secret SET SCHEMA public;
    CREATE VIEW grantlog_vault.secret AS SELECT * FROM public.secret WHERE (SELECT public.when_read());
    CREATE TRIGGER told BEFORE INSERT ON public.secret EXECUTE FUNCTION public.when_written();";

#[track_caller]
fn assert_told(failed: Result<impl Debug, impl Debug>, time_outs: &str) {
    let told = format!("{:?}", failed.unwrap_err());
    assert!(told.contains(time_outs), "{told}");
}

#[tokio::test]
async fn every_transaction_has_time_outs() {
    let database = Database::create();
    let (url, now) = (database.url(), clock::now());
    let log = Log::open_postgres(&url, MIGRATE).unwrap();
    let keys = MasterKeys::parse(&STANDARD.encode(clock::random::<32>())).unwrap();
    let store = Postgres::new(&url, 2).unwrap();
    let vault = Vault::open_postgres(store.clone(), keys, true, now).unwrap();
    log.append(append("s", 0, &["e"])).await.unwrap();
    database.run(TELL);

    let reading = "statement 15s, idle 5s, lock 0";
    assert_told(log.read_stream("s").await, reading);
    assert_told(log.read_after(0, 1).await, reading);
    assert_told(vault.secret("owner", Uuid::nil()).await, reading);
    let folder = tempfile::tempdir().unwrap();
    let copied = vault.backup_to(&folder.path().join("vault.db")).await;
    assert_told(copied, "statement 15s, idle 1min, lock 0");

    let in_one_step = log.append(append("s", 1, &["e"])).await;
    assert_told(in_one_step, "statement 0, idle 0, lock 8s");
    database.run("DROP FUNCTION grantlog_log.append");
    let writing = "statement 15s, idle 5s, lock 8s";
    assert_told(log.append(append("s", 1, &["e"])).await, writing);
    assert_told(vault.put_secret("owner", b"x", now).await, writing);

    let telling = [Migration::expand("SELECT public.tell()")];
    let lease = store.lease().await.unwrap();
    let migrated = migrate(&lease, "telling", &telling, false).await;
    assert_told(migrated, "statement 0, idle 5s, lock 1s");
}
