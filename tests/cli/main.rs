//! The program as its users see it: what it prints where, and how it ends.

mod apart;
mod bench;
mod copies;
mod damaged;
#[expect(dead_code, reason = "a part of the provider's faults is used here")]
#[path = "../support/fake_provider.rs"]
mod fake_provider;
mod killed;
mod moving;
mod past;
mod program;
#[expect(dead_code, reason = "a part of what flows need is used here")]
#[path = "../oauth/rig.rs"]
mod rig;
mod seals;
mod server;
mod setup;
mod stories;
mod upgrading;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use grantlog::clock;
use grantlog::log::Log;
use grantlog::vault::{MasterKeys, Vault};
use support::postgres::Database;

/// A run of the program in `folder`, without anything from this process's environment.
struct Run {
    command: Command,
}

impl Run {
    fn new(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_grantlog"));
        command.args(arguments).env_clear().stdin(Stdio::null());
        Self { command }
    }

    /// As somebody whom the modes of files bind, as they do not bind root; `program` is a folder that nobody else needs.
    fn as_nobody(arguments: &[&str], program: &Path) -> Self {
        let mut run = Self::new(arguments);
        if fs::metadata(program).expect("a folder").uid() == 0 {
            // Where it is, others may not be let in.
            let copy = program.join("grantlog");
            fs::copy(env!("CARGO_BIN_EXE_grantlog"), &copy).expect("copied");
            set_mode(program, 0o755);
            run.command = Command::new(copy);
            run.command.args(arguments).env_clear().stdin(Stdio::null());
            run.command.uid(65_534).gid(65_534);
        }
        run
    }

    fn inside(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// On the stores in this database.
    fn on(self, database: &Database, master_key: &str) -> Self {
        self.with("GRANTLOG_STORE__DATABASE_URL", &database.url())
            .with("GRANTLOG_KEYS__MASTER_KEY", master_key)
    }

    fn end(mut self) -> Ended {
        Ended::from(self.command.output().expect("the program starts"))
    }
}

/// How a run ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

impl Ended {
    #[track_caller]
    fn fails(&self, code: i32, reason: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains(reason), "{self:?}");
        assert_eq!(self.stdout, "", "data of a failure");
    }

    #[track_caller]
    fn prints(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        assert_eq!(self.stderr, "", "{self:?}");
        &self.stdout
    }
}

fn new_master_key() -> String {
    BASE64_STANDARD.encode(clock::random::<32>())
}

/// The vault of a data folder that no server has.
fn open(data: &Path) -> Vault {
    let keys = MasterKeys::in_data_folder(data).expect("keys");
    Vault::open(&data.join("vault.db"), keys, true, clock::now()).expect("opened")
}

/// Seals what a server would have sealed in a while.
async fn seal(data: &Path) -> u64 {
    let (log, vault) = (Log::open_read_only(data).expect("opened"), open(data));
    let sealing = vault.clone();
    let sealed = tokio::task::spawn_blocking(move || {
        grantlog::server::seal_until(&log, &sealing, log.head(), || true)
    });
    let sealed = sealed.await.expect("ended");
    // It leaves all of the vault in its one file.
    vault.prepare(clock::now()).await.expect("prepared");
    sealed.expect("sealed")
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}
