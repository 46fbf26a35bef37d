//! A commit in one call on PostgreSQL, and where it takes two trips: the answers are the same.

use grantlog::log::Log;
use support::postgres::Database;

use super::{MIGRATE, append, read_all};

/// Asserts for each entry what holds of its transaction, and counts those that came by a call.
const WITNESS: &str = "CREATE SEQUENCE public.calls;
    CREATE FUNCTION public.witness() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        ASSERT current_setting('synchronous_commit') IN ('on', 'remote_apply');
        ASSERT current_setting('transaction_isolation') = 'read committed';
        ASSERT current_setting('lock_timeout') = '8s';
        IF current_query() LIKE '%FROM grantlog_log.append%' THEN PERFORM nextval('public.calls'); END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER at_once AFTER INSERT ON grantlog_log.entries FOR EACH ROW EXECUTE FUNCTION public.witness();";

/// The settings that must hold when a call commits; what the function sets for itself is gone by then.
const AT_COMMIT: &str =
    "CREATE FUNCTION public.at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        ASSERT current_setting('synchronous_commit') IN ('on', 'remote_apply');
        ASSERT current_setting('enable_seqscan') = 'on';
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON grantlog_log.entries
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.at_commit()";

#[tokio::test]
async fn a_commit_is_one_call_wherever_that_holds_as_much() {
    for (options, change, calls) in [
        ("synchronous_commit%3Don", "", true),
        ("synchronous_commit%3Doff", "", true),
        ("synchronous_commit%3Dremote_apply", "", true),
        ("default_transaction_isolation%3Dserializable", "", false),
        (
            "synchronous_commit%3Don",
            "DROP FUNCTION grantlog_log.append",
            false,
        ),
    ] {
        let database = Database::create();
        drop(Log::open_postgres(&database.url(), MIGRATE).unwrap());
        database.run(&format!("{WITNESS}{AT_COMMIT}; {change}"));
        let url = format!("{}&options=-c%20{options}", database.url());
        let log = Log::open_postgres(&url, MIGRATE).unwrap();
        for n in 0..8 {
            log.append(append("s", n, &["e"])).await.unwrap();
        }
        assert!(log.append(append("s", 7, &["late"])).await.is_err());
        assert!(log.append(append("s", 9, &["early"])).await.is_err());
        assert_eq!(read_all(&log).await.len(), 8);
        let called = database.run("SELECT is_called FROM public.calls");
        assert_eq!(called == "t", calls, "{options} {change}");
    }
}

/// After a failover to a server without everything, within the second in which nothing is asked before it is written.
#[tokio::test]
async fn nothing_is_appended_to_another_log_than_was_known() {
    let counted = "DELETE FROM grantlog_log.entries WHERE position = 3; UPDATE grantlog_log.log_head SET next = 3";
    let seen = "UPDATE grantlog_log.entries SET entry = 'another' WHERE position = 2";
    for lost in [counted, seen] {
        let database = Database::create();
        let [log, other] = [(); 2].map(|()| Log::open_postgres(&database.url(), MIGRATE).unwrap());
        for n in 0..3 {
            log.append(append("s", n, &["seen"])).await.unwrap();
        }
        other.append(append("t", 0, &["counted"])).await.unwrap();
        log.wait_past(3).await;
        database.run(lost);
        assert!(
            log.append(append("s", 3, &["on what is gone"]))
                .await
                .is_err()
        );
        let left = database.run("SELECT count(*) FROM grantlog_log.entries WHERE stream = 's'");
        assert_eq!(left, "3", "{lost}");
    }
}
