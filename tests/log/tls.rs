//! A managed server: reached with TLS and a password, by the name in its certificate.

use grantlog::log::Log;
use grantlog::postgres::Postgres;
use support::postgres::Cluster;

use super::{MIGRATE, append};

#[tokio::test]
async fn tls_is_verified_and_passwords_stay_secret() {
    let (cluster, port) = Cluster::start_with_tls();
    cluster.run(
        "CREATE ROLE by_password LOGIN PASSWORD 'open sesame'; CREATE SCHEMA grantlog_log AUTHORIZATION by_password",
    );
    let root = cluster.dir().join("server.crt");
    let url = |password: &str, host: &str, rest: &str| {
        format!("postgres://by_password:{password}@{host}:{port}/postgres?{rest}")
    };
    let trusted = format!("sslmode=verify-full&sslrootcert={}", root.display());
    let good = url("open%20sesame", "localhost", &trusted);
    let log = Log::open_postgres(&good, MIGRATE).unwrap();
    log.append(append("s", 0, &["e"])).await.unwrap();
    let store = Postgres::new(&good, 1).unwrap();
    let lease = store.lease().await.unwrap();
    let own = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert!(
        lease
            .query_typed_one(own, &[])
            .await
            .unwrap()
            .get::<_, bool>(0)
    );

    let required = format!("sslmode=require&sslrootcert={}", root.display());
    for (case, refused) in [
        (
            "nobody vouches for it",
            url("open%20sesame", "localhost", "sslmode=require"),
        ),
        (
            "another name than its own",
            url("open%20sesame", "127.0.0.1", &required),
        ),
        (
            "without TLS",
            url("open%20sesame", "localhost", "sslmode=disable"),
        ),
        (
            "another password",
            url("open%20says-me", "localhost", &trusted),
        ),
    ] {
        let error = Log::open_postgres(&refused, MIGRATE).err().expect(case);
        let said = format!("{error} {error:?}");
        assert!(
            !said.contains("sesame") && !said.contains("says-me"),
            "{case}: {said}"
        );
    }
}
