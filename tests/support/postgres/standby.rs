//! A streaming standby of a server, and its promotion.

use std::process::Stdio;

use tempfile::TempDir;

use super::{Cluster, as_other_user, done, give, program, run_sql, wait_for};

impl Cluster {
    /// Makes and starts a standby that follows this server.
    pub fn standby(&self) -> Self {
        let dir = folder();
        give(dir.path());
        let primary = format!(
            "host={} user=grantlog application_name=standby",
            self.dir.path().display()
        );
        let mut basebackup = as_other_user(dir.path(), program("pg_basebackup"));
        basebackup.args([
            "--pgdata=data",
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
        ]);
        basebackup.arg("--dbname").arg(primary);
        done(&basebackup.stderr(Stdio::piped()).output().unwrap());
        let standby = Self::start_in(dir, &[]);
        wait_for("the standby to follow", || self.followers() == "1");
        standby
    }

    /// Lets no commit be acknowledged before the standby has it, too.
    pub fn waits_for_standby(&self) {
        self.run("ALTER SYSTEM SET synchronous_standby_names = 'standby'");
        self.run("SELECT pg_reload_conf()");
        let is_synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        wait_for("replication to be synchronous", || {
            self.run(is_synchronous) == "1"
        });
    }

    /// Lets this standby hear no more of its primary.
    pub fn falls_behind(&self) {
        self.run("ALTER SYSTEM SET primary_conninfo = ''");
        self.run("SELECT pg_reload_conf()");
        let receivers = "SELECT count(*) FROM pg_stat_wal_receiver";
        wait_for("the standby to be alone", || self.run(receivers) == "0");
    }

    /// Makes a primary of this standby.
    pub fn promote(&self) {
        let mut promote = as_other_user(self.dir.path(), program("pg_ctl"));
        promote.args(["promote", "--wait", "--pgdata=data"]);
        done(&promote.stderr(Stdio::piped()).output().unwrap());
    }

    /// Where the first database of this server is, or of the other, whichever can be written.
    pub fn url_with(&self, other: &Self) -> String {
        let host = |cluster: &Self| cluster.dir.path().display().to_string().replace('/', "%2F");
        format!(
            "postgresql://grantlog@{},{}/postgres",
            host(self),
            host(other)
        )
    }

    fn followers(&self) -> String {
        let streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        run_sql(self.dir.path(), "postgres", streaming)
    }
}

pub(super) fn folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("grantlog-pg-").tempdir();
    folder.unwrap()
}
