//! The vault on its real stores: what it keeps, what it forgets, what a thief gets, what several
//! nodes do at once. One suite for both stores; `file` and `database` hold what only one of them has.

/// Runs each of these on both stores.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $test() {
                super::$test(super::Fixture::sqlite()).await;
            })*
        }

        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $test() {
                super::$test(super::Fixture::postgres()).await;
            })*
        }
    };
}

mod database;
mod erasure;
mod file;
mod master_keys;
mod nodes;
mod seals;
mod signing;
mod subjects;

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use domain::Timestamp;
use domain::id::{EventId, GrantId, ProviderId};
use grantlog::clock;
use grantlog::postgres::Postgres;
use grantlog::secret::Secret;
use grantlog::vault::{Identity, MasterKeys, UpstreamTokens, Vault, VaultError};
use support::postgres::Database;
use tempfile::TempDir;
use uuid::Uuid;

/// An empty store for a vault.
struct Fixture {
    place: Place,
    master_key: String,
}

enum Place {
    Folder(TempDir),
    Database(Database),
}

impl Fixture {
    fn sqlite() -> Self {
        Self::at(Place::Folder(tempfile::tempdir().expect("a folder")))
    }

    fn postgres() -> Self {
        Self::at(Place::Database(Database::create()))
    }

    fn at(place: Place) -> Self {
        let master_key = new_master_key();
        Self { place, master_key }
    }

    fn folder(&self) -> &Path {
        match &self.place {
            Place::Folder(folder) => folder.path(),
            Place::Database(_) => panic!("a vault in PostgreSQL has no folder"),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder().join("vault.db")
    }

    /// A handle of its own, as another node has it.
    fn open(&self) -> Vault {
        self.open_with(&self.master_key).expect("opened")
    }

    fn open_with(&self, keys: &str) -> Result<Vault, VaultError> {
        let keys = MasterKeys::parse(keys).expect("keys");
        match &self.place {
            Place::Folder(_) => Vault::open(&self.path(), keys, true, at(0)),
            Place::Database(database) => {
                Vault::open_postgres(connect(&database.url()), keys, true, at(0))
            }
        }
    }

    fn open_read_only(&self) -> Result<Vault, VaultError> {
        let keys = MasterKeys::parse(&self.master_key).expect("keys");
        match &self.place {
            Place::Folder(_) => Vault::open_read_only(&self.path(), keys),
            Place::Database(database) => {
                Vault::open_postgres_read_only(connect(&database.url()), keys)
            }
        }
    }

    /// Runs a statement behind the vault's back and returns the first column, one row a line.
    fn run(&self, sql: &str) -> String {
        let connection = match &self.place {
            Place::Folder(_) => self.sql(),
            Place::Database(database) => return database.run(sql),
        };
        let mut statement = connection
            .prepare(&sql.replace("grantlog_vault.", ""))
            .expect(sql);
        let rows = statement.query_map([], |row| row.get(0)).expect(sql);
        let lines: Vec<String> = rows.collect::<Result<_, _>>().expect(sql);
        lines.join("\n")
    }

    /// The file as SQLite sees it.
    fn sql(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).expect("opened")
    }

    /// Everything a thief of the folder, or of a dump of the database, would read.
    fn bytes(&self) -> Vec<u8> {
        if let Place::Database(database) = &self.place {
            return dump(database);
        }
        let files = std::fs::read_dir(self.folder()).expect("listed");
        files
            .flat_map(|file| std::fs::read(file.expect("a file").path()).expect("read"))
            .collect()
    }
}

fn connect(url: &str) -> Postgres {
    Postgres::new(url, 4).expect("a URL")
}

/// Every value of every column, as the bytes that it is.
fn dump(database: &Database) -> Vec<u8> {
    let selects = database.run(
        "SELECT format(CASE data_type WHEN 'bytea' THEN 'SELECT encode(%I, ''hex'') FROM grantlog_vault.%I'
         ELSE 'SELECT encode(convert_to(%I::text, ''UTF8''), ''hex'') FROM grantlog_vault.%I' END,
         column_name, table_name) FROM information_schema.columns WHERE table_schema = 'grantlog_vault'",
    );
    let values = selects.lines().map(|select| database.run(select));
    let hex = values.collect::<Vec<_>>().join("\n");
    let bytes = hex
        .lines()
        .flat_map(|line| (0..line.len() / 2).map(move |i| &line[2 * i..2 * i + 2]));
    bytes
        .map(|byte| u8::from_str_radix(byte, 16).expect("hex"))
        .collect()
}

fn new_master_key() -> String {
    STANDARD.encode(clock::random::<32>())
}

/// Seconds after a fixed instant in November 2023.
fn at(seconds: i64) -> Timestamp {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).expect("in range")
}

fn alice() -> Identity<'static> {
    Identity {
        provider: ProviderId(1),
        issuer: "https://idp.example",
        sub: "alice-at-the-provider",
    }
}

fn grant(n: u128) -> GrantId {
    GrantId(Uuid::from_u128(n))
}

fn event(n: u128) -> EventId {
    EventId(Uuid::from_u128(n))
}

fn tokens(access_token: &str) -> UpstreamTokens {
    UpstreamTokens {
        access_token: Secret::new(access_token),
        refresh_token: Some(Secret::new("upstream-refresh-\"quoted\"-é")),
        expires_at: Some(at(3600)),
        refresh_expires_at: None,
        origin: None,
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}
