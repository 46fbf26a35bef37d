//! A transaction-pooling proxy.

use std::fs::{self, File};
use std::process::Child;

use tempfile::TempDir;

use super::{Database, as_other_user, give, program, psql, url, wait_for};

/// PgBouncer in front of a database, which lends a server's session for one transaction at a time.
pub struct Pooler {
    dir: TempDir,
    database: String,
    process: Child,
}

impl Pooler {
    /// How many sessions of the server it has.
    pub const SESSIONS: usize = 4;

    /// Starts one with fewer sessions than its users have connections.
    pub fn before(database: &Database) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("grantlog-pool-")
            .tempdir()
            .unwrap();
        give(dir.path());
        let settings = format!(
            "[databases]\n* = host={} user=grantlog\n[pgbouncer]\npool_mode = transaction\nauth_type = any\n\
             unix_socket_dir = {}\nlisten_port = 5432\ndefault_pool_size = {}\nserver_check_delay = 0\n",
            database.cluster.display(),
            dir.path().display(),
            Self::SESSIONS,
        );
        fs::write(dir.path().join("pool.ini"), settings).unwrap();
        let mut pooler = as_other_user(dir.path(), program("pgbouncer"));
        pooler
            .arg("pool.ini")
            .stderr(File::create(dir.path().join("log")).unwrap());
        let process = pooler
            .spawn()
            .expect("these tests need PgBouncer: install the package pgbouncer");
        let name = database.name.clone();
        wait_for("PgBouncer to start", || {
            psql(dir.path(), &name, "SELECT 1")
                .output()
                .unwrap()
                .status
                .success()
        });
        Self {
            dir,
            database: name,
            process,
        }
    }

    /// Where the database is behind it.
    pub fn url(&self) -> String {
        url(self.dir.path(), &self.database)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
