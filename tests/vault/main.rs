//! The vault on its real file: what it keeps, what it forgets, what a thief of the file gets.

mod erasure;
mod file;
mod signing;
mod subjects;

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use domain::Timestamp;
use domain::id::{EventId, GrantId, ProviderId};
use grantlog::clock;
use grantlog::tokens::Secret;
use grantlog::vault::{Identity, MasterKeys, UpstreamTokens, Vault};
use tempfile::TempDir;
use uuid::Uuid;

/// A vault in a folder of its own.
struct Fixture {
    folder: TempDir,
    master_key: String,
}

impl Fixture {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            master_key: new_master_key(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("vault.db")
    }

    fn open(&self) -> Vault {
        self.open_with(&self.master_key).expect("opened")
    }

    fn open_with(&self, keys: &str) -> Result<Vault, grantlog::vault::VaultError> {
        Vault::open(&self.path(), MasterKeys::parse(keys).expect("keys"), at(0))
    }

    /// The file as SQLite sees it, for tests that look or reach into it.
    fn sql(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).expect("opened")
    }

    /// Everything a thief of the folder would read.
    fn bytes(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.folder.path()).expect("listed");
        files
            .flat_map(|file| std::fs::read(file.expect("a file").path()).expect("read"))
            .collect()
    }
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
        id_token: None,
        scope: Some("openid email".to_owned()),
        token_type: "Bearer".to_owned(),
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}
