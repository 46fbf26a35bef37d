//! Throw-away PostgreSQL: a [`Cluster`] of a test's own, and a [`Database`] in one that all tests share.
//!
//! PostgreSQL refuses to run as root, so root starts it as another user. Clusters write as real ones do (`fsync` is on), listen
//! on a Unix socket (and on a loopback port where TLS is tested), and are gone, with their files, when nobody uses them: an own
//! one when it is dropped, the shared one some seconds after the last test process that used it has ended, however it ended.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod cluster;
mod cutter;
mod held;
mod pooler;
mod standby;

use std::fs::{self, File};
use std::io::Write;

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub use cluster::{Cluster, Stop};
pub use cutter::{Cut, Cutter};
pub use held::Held;
pub use pooler::Pooler;

/// How long a server may take to start or stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// An empty database in the shared cluster, this test's own until it is dropped.
///
/// Making one and removing it is slow (hundreds of files each), so they are emptied and used again.
pub struct Database {
    name: String,
    cluster: PathBuf,
    /// Locked, by which other processes see that it is in use.
    _in_use: File,
}

impl Database {
    /// Takes one; starts the shared cluster if it does not run.
    pub fn create() -> Self {
        let cluster = shared();
        for number in 0_u32.. {
            let note = cluster.join("data").join(format!("test-{number}"));
            let mut note = File::options()
                .create(true)
                .append(true)
                .open(note)
                .unwrap();
            if note.try_lock().is_err() {
                continue;
            }
            let name = format!("test_{number}");
            if note.metadata().unwrap().len() == 0 {
                run_sql(&cluster, "postgres", &format!("CREATE DATABASE {name}"));
                note.write_all(b"made").unwrap();
            } else {
                run_sql(&cluster, &name, EMPTY);
            }
            return Self {
                name,
                cluster,
                _in_use: note,
            };
        }
        unreachable!("numbers do not end");
    }

    /// Where it is.
    pub fn url(&self) -> String {
        url(&self.cluster, &self.name)
    }

    /// Runs statements in it as its owner and returns what they say, one row a line.
    pub fn run(&self, sql: &str) -> String {
        run_sql(&self.cluster, &self.name, sql)
    }

    /// Gives every session that begins from now on this setting.
    pub fn set(&self, setting: &str, value: &str) {
        let name = &self.name;
        self.run(&format!("ALTER DATABASE {name} SET {setting} = '{value}'"));
    }
}

/// Whoever is still connected belongs to a test that has ended.
const EMPTY: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
    WHERE datname = current_database() AND pid <> pg_backend_pid(); \
    DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET ALL', current_database()); END $$; \
    SET client_min_messages = error; \
    DROP SCHEMA IF EXISTS grantlog_log, grantlog_vault, public CASCADE; CREATE SCHEMA public";

/// Ends the server when no process whose id is in `users` lives. Who arrives either is seen there once more after `stopping`
/// has been made, or waits until that has gone.
const WATCHDOG: &str = r#"
"$@" &
server=$!
idle=0
while [ $idle -lt 10 ]; do
  sleep 1
  for user in users/*; do ps -p "${user#users/}" >/dev/null 2>&1 || rm -f "$user"; done
  idle=$((idle + 1))
  [ -z "$(ls users)" ] || idle=0
  if [ $idle -eq 10 ]; then
    mkdir stopping
    [ -z "$(ls users)" ] || { rmdir stopping; idle=0; }
  fi
done
kill -QUIT $server
wait $server
rm -rf data
rmdir stopping
"#;

/// The folder of the cluster that the tests of this checkout share, which runs while this process does.
fn shared() -> PathBuf {
    static SHARED: OnceLock<PathBuf> = OnceLock::new();
    let start = || {
        let checkout = env!("CARGO_MANIFEST_DIR").trim_end_matches("/tests/support");
        let dir = std::env::temp_dir().join(format!("grantlog-pg{}", checkout.replace('/', "-")));
        let lock = File::create(dir.with_extension("lock")).unwrap();
        lock.lock().unwrap();
        fs::create_dir_all(dir.join("users")).unwrap();
        give(&dir);
        give(&dir.join("users"));
        fs::write(dir.join("users").join(std::process::id().to_string()), "").unwrap();
        wait_for("the last server to stop", || !dir.join("stopping").exists());
        if !is_ready(&dir) {
            let _ = fs::remove_dir_all(dir.join("data"));
            init(&dir);
            let server = serve(&dir, &[]);
            let mut watchdog = as_other_user(&dir, "sh");
            watchdog
                .args(["-c", WATCHDOG, "watchdog"])
                .arg(server.get_program());
            watchdog
                .args(server.get_args())
                .stderr(Stdio::null())
                .process_group(0);
            start_and_leave(watchdog);
            wait_for("a PostgreSQL server to start", || is_ready(&dir));
        }
        dir
    };
    SHARED.get_or_init(start).clone()
}

#[expect(
    clippy::zombie_processes,
    reason = "it outlives this process, and ends by itself"
)]
fn start_and_leave(mut watchdog: Command) {
    watchdog.spawn().unwrap();
}

fn init(dir: &Path) {
    give(dir);
    let mut initdb = as_other_user(dir, program("initdb"));
    initdb.args([
        "--pgdata=data",
        "--username=grantlog",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
    ]);
    done(
        &initdb
            .args(["--no-sync"])
            .stderr(Stdio::piped())
            .output()
            .unwrap(),
    );
}

fn serve(dir: &Path, options: &[String]) -> Command {
    let mut server = as_other_user(dir, program("postgres"));
    server
        .args([
            "-D",
            "data",
            "-clisten_addresses=",
            "-cmax_connections=300",
            "-k",
        ])
        .arg(dir);
    server
        .args(options)
        .stderr(File::create(dir.join("server.log")).unwrap());
    server
}

fn is_ready(dir: &Path) -> bool {
    psql(dir, "postgres", "SELECT 1")
        .output()
        .unwrap()
        .status
        .success()
}

fn run_sql(dir: &Path, database: &str, sql: &str) -> String {
    done(&psql(dir, database, sql).output().unwrap())
}

fn psql(dir: &Path, database: &str, sql: &str) -> Command {
    let mut psql = session(dir, database);
    psql.args(["-c", sql]);
    psql
}

/// A session that is told what to do line by line.
fn session(dir: &Path, database: &str) -> Command {
    let mut psql = Command::new(program("psql"));
    psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "grantlog"]);
    psql.args(["-d", database, "-h"]).arg(dir);
    // Where it is not the usual one, the port is noted; the socket is named after it.
    psql.env(
        "PGPORT",
        fs::read_to_string(dir.join("port"))
            .as_deref()
            .unwrap_or("5432"),
    );
    psql
}

fn url(dir: &Path, database: &str) -> String {
    format!(
        "postgresql:///{database}?user=grantlog&host={}",
        dir.display()
    )
}

/// What a command said; it must have succeeded.
fn done(output: &Output) -> String {
    let (said, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{said}{error}");
    said.trim_end().to_owned()
}

/// Debian keeps every version's programs apart; elsewhere they are found by name.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let programs = versions.map(|version| version.path().join("bin").join(name));
    let programs = programs.chain([Path::new("/usr/sbin").join(name)]);
    let newest = programs.filter(|program| program.exists()).max();
    newest.unwrap_or_else(|| name.into())
}

fn as_other_user(dir: &Path, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if let Some((user, group)) = other_user() {
        command.uid(user).gid(group);
    }
    command
}

/// Whom root starts the server as.
fn other_user() -> Option<(u32, u32)> {
    let id = |args: &[&str]| {
        let output = Command::new("id").args(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse::<u32>()
            .ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    let of = |name| id(&["-u", name]).zip(id(&["-g", name]));
    of("postgres").or_else(|| of("nobody"))
}

fn give(path: &Path) {
    if let Some((user, group)) = other_user() {
        chown(path, Some(user), Some(group)).unwrap();
    }
}

fn wait_for(what: &str, is_there: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_there() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(30));
    }
}
