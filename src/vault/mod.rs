//! The vault (design: everything that must be secret or forgettable).
//!
//! A store of its own, apart from the log and with its own backups, on SQLite for one node or on
//! PostgreSQL for any number of them: data keys, the index from
//! upstream identity to subject, upstream tokens, secrets, signing keys, seals of the log. Values are AES-256-GCM
//! under data keys; data keys are wrapped by the master key, which is never in the store; a row's
//! identity is the associated data, so rows cannot trade places.
//!
//! Invariants: no plaintext secret reaches the file, a log line, an error or `Debug`. Async
//! callers never wait on the store on a runtime thread. Sealing and opening under a key in memory
//! is synchronous. Destroying a key never fails to be final: nothing puts it back in memory, and
//! other nodes forget it when they [catch up](Vault::catch_up), within a second.

mod aead;
mod copy;
mod data_keys;
mod entry;
mod erase;
mod error;
mod master;
mod postgres;
mod purpose;
mod rewrap;
mod scope;
mod seals;
mod secret;
mod signing;
mod sql;
mod sqlite;
mod store;
mod subject;
mod upstream;
mod versions;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};

use chrono::Months;
use domain::Timestamp;
use uuid::Uuid;

pub use aead::{AeadKey, Tampered};
pub use data_keys::Opened;
pub use entry::SealedEntry;
pub use error::VaultError;
pub use master::{MASTER_KEY_FILE, MasterKeyError, MasterKeys};
pub use purpose::PurposeKeys;
pub use scope::Scope;
pub use seals::{Sealing, Seals};
pub use signing::Rotation;
pub use subject::Identity;
pub use upstream::{Revision, StoredTokens, UpstreamTokens};

use crate::clock;
use crate::keys::{Algorithm, SigningKeys};
use crate::migrations::Schema;
use crate::postgres::Postgres;
use data_keys::{DataKey, DataKeys};
use postgres::Database;
use sql::Sql;
use sqlite::Sqlite;
use store::Store;
use versions::Versions;

/// The embedded vault's file in the data folder.
pub const FILE_NAME: &str = "vault.db";

/// The secret that all [`PurposeKeys`] come from.
const ROOT_OWNER: &str = "vault";
const ROOT_VERSION: Uuid = Uuid::nil();

/// A handle to the vault; clones share it.
#[derive(Clone, Debug)]
pub struct Vault(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    master_keys: MasterKeys,
    data_keys: DataKeys,
    purpose_keys: PurposeKeys,
    signing_keys: RwLock<Arc<SigningKeys>>,
    reload: Mutex<()>,
    versions: Versions,
}

/// What a vault must hold before it is of use.
struct Essentials {
    keys: Vec<(Scope, DataKey)>,
    purpose_keys: PurposeKeys,
    signing_keys: SigningKeys,
    versions: Versions,
}

impl Vault {
    /// Opens the vault at `path`. Its tables are made, or brought up to date if `migrate`. Prepares
    /// the system's key, the keys of this month and the next, and an HS256 signing key. Blocks.
    ///
    /// # Errors
    /// [`VaultError::WrongMasterKey`]; [`VaultError::Schema`] where the tables need a newer program,
    /// or are of an older one and not to be migrated; the store failed.
    pub fn open(
        path: &Path,
        master_keys: MasterKeys,
        migrate: bool,
        now: Timestamp,
    ) -> Result<Self, VaultError> {
        let prepare = |sql: &dyn Sql| make_essentials(sql, &master_keys, now);
        let (file, essentials) = Sqlite::open(path, migrate, prepare)?;
        Ok(Self::with(Store::Sqlite(file), master_keys, essentials))
    }

    /// Opens an existing vault without ever writing to it, such as for forensics. Blocks.
    ///
    /// # Errors
    /// As [`Vault::open`]; there is no such file.
    pub fn open_read_only(path: &Path, master_keys: MasterKeys) -> Result<Self, VaultError> {
        Self::reading(Store::Sqlite(Sqlite::open_read_only(path)?), master_keys)
    }

    /// [`Vault::open`] for the vault in a PostgreSQL database, which any number of nodes share that
    /// have the same master key. Its tables are made, or brought up to date if `migrate`. Blocks.
    ///
    /// # Errors
    /// [`VaultError::WrongMasterKey`]; [`VaultError::Schema`] where the tables need a newer program,
    /// or are of an older one and not to be migrated; the database failed.
    pub fn open_postgres(
        postgres: Postgres,
        master_keys: MasterKeys,
        migrate: bool,
        now: Timestamp,
    ) -> Result<Self, VaultError> {
        let database = Database::open(postgres, migrate)?;
        let essentials = database.write_blocking(|sql| make_essentials(sql, &master_keys, now))?;
        Ok(Self::with(
            Store::Postgres(database),
            master_keys,
            essentials,
        ))
    }

    /// [`Vault::open_read_only`] for the vault in a PostgreSQL database. Blocks.
    ///
    /// # Errors
    /// As [`Vault::open_postgres`]; there is no vault.
    pub fn open_postgres_read_only(
        postgres: Postgres,
        master_keys: MasterKeys,
    ) -> Result<Self, VaultError> {
        let database = Database::open_read_only(postgres)?;
        Self::reading(Store::Postgres(database), master_keys)
    }

    /// How far the tables of the vault at `path` are; it need not exist. Blocks.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn migrations(path: &Path) -> Result<Schema, VaultError> {
        Sqlite::migrations(path)
    }

    /// Takes back what a process that was killed left half done in the vault at `path`; it need not
    /// exist. Whoever is about to write asks for that first. Blocks.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn recover(path: &Path) -> Result<(), VaultError> {
        Ok(crate::migrations::sqlite::recover(path)?)
    }

    /// [`Vault::migrations`] for the vault in a PostgreSQL database. Blocks.
    ///
    /// # Errors
    /// The database failed.
    pub fn migrations_postgres(postgres: Postgres) -> Result<Schema, VaultError> {
        Database::new(postgres).migrations()
    }

    /// Makes the tables of the vault at `path` or brings them up to date, with contractions only if
    /// `contract`. Returns how far they are then. Blocks.
    ///
    /// # Errors
    /// [`VaultError::Schema`] where they need a newer program; the file cannot be written.
    pub fn migrate(path: &Path, contract: bool) -> Result<Schema, VaultError> {
        Sqlite::migrate(path, contract)
    }

    /// [`Vault::migrate`] for the vault in a PostgreSQL database. Blocks.
    ///
    /// # Errors
    /// [`VaultError::Schema`] where they need a newer program; the database failed.
    pub fn migrate_postgres(postgres: Postgres, contract: bool) -> Result<Schema, VaultError> {
        let database = Database::new(postgres);
        database.migrations()?.check_but_behind()?;
        database.migrate(contract)
    }

    fn reading(store: Store, master_keys: MasterKeys) -> Result<Self, VaultError> {
        let essentials = store.read(|sql| find_essentials(sql, &master_keys))?;
        Ok(Self::with(store, master_keys, essentials))
    }

    fn with(store: Store, master_keys: MasterKeys, essentials: Essentials) -> Self {
        let data_keys = DataKeys::new();
        for (scope, key) in essentials.keys {
            data_keys.put(scope, key);
        }
        Self(Arc::new(Inner {
            store,
            master_keys,
            data_keys,
            purpose_keys: essentials.purpose_keys,
            signing_keys: RwLock::new(Arc::new(essentials.signing_keys)),
            reload: Mutex::default(),
            versions: essentials.versions,
        }))
    }

    /// Makes the keys of this month and the next where they are missing. To be called now and
    /// then, at least once a month.
    ///
    /// # Errors
    /// The store failed.
    pub async fn prepare(&self, now: Timestamp) -> Result<(), VaultError> {
        for scope in months_ahead(now) {
            self.ensure(scope, now).await?;
        }
        self.checkpoint().await
    }

    /// The keys by purpose.
    #[must_use]
    pub fn purpose_keys(&self) -> &PurposeKeys {
        &self.0.purpose_keys
    }

    /// Whether the vault reads and writes.
    ///
    /// # Errors
    /// Why not.
    pub async fn healthy(&self) -> Result<(), VaultError> {
        self.blocking(|vault| {
            let read = |sql: &dyn Sql| sql.row("SELECT count(*) FROM grantlog_vault.secret", &[]);
            vault.0.store.read(read).map(drop)
        })
        .await?;
        match self.0.store.write(|_| Ok(())).await {
            Err(VaultError::ReadOnly) => Ok(()),
            outcome => outcome,
        }
    }

    /// Writes a consistent copy to a new private file, an embedded vault, while this one is in use.
    /// The copy is as secret as the vault, and opens with the same master key.
    ///
    /// # Errors
    /// The file exists; it could not be written.
    pub async fn backup_to(&self, path: &Path) -> Result<(), VaultError> {
        let path = path.to_owned();
        self.blocking(move |vault| vault.0.store.backup_to(&path))
            .await
    }

    async fn checkpoint(&self) -> Result<(), VaultError> {
        let emptied = self.blocking(|vault| vault.0.store.checkpoint()).await?;
        if !emptied {
            tracing::warn!("vault write-ahead log could not be emptied: a reader was in the way");
        }
        Ok(())
    }

    /// Runs `work` where blocking is allowed.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Vault) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        let vault = self.clone();
        tokio::task::spawn_blocking(move || work(&vault))
            .await
            .map_err(|_| VaultError::Stopped)?
    }
}

fn months_ahead(now: Timestamp) -> impl Iterator<Item = Scope> {
    [Some(now), now.checked_add_months(Months::new(1))]
        .into_iter()
        .flatten()
        .map(Scope::month_of)
}

fn make_essentials(
    sql: &dyn Sql,
    master_keys: &MasterKeys,
    now: Timestamp,
) -> Result<Essentials, VaultError> {
    let system = data_keys::find_or_make(sql, master_keys, Scope::System, now)?;
    if secret::get(sql, &system, ROOT_OWNER, ROOT_VERSION)?.is_none() {
        let root = zeroize::Zeroizing::new(clock::random::<32>());
        secret::put(sql, &system, ROOT_OWNER, ROOT_VERSION, root.as_slice(), now)?;
    }
    let made = signing::new_key(Algorithm::HS256, now, now)?;
    signing::ensure(sql, &system, &made, now)?;
    let mut essentials = find_essentials(sql, master_keys)?;
    for scope in months_ahead(now) {
        let key = data_keys::find_or_make(sql, master_keys, scope, now)?;
        essentials.keys.push((scope, key));
    }
    Ok(essentials)
}

fn find_essentials(sql: &dyn Sql, master_keys: &MasterKeys) -> Result<Essentials, VaultError> {
    // First, so that nothing which is read after this is older.
    let versions = Versions::read(sql)?;
    let system = data_keys::find(sql, master_keys, Scope::System)?
        .ok_or(VaultError::NoKey(Scope::System))?;
    let root = secret::get(sql, &system, ROOT_OWNER, ROOT_VERSION)?.ok_or(VaultError::NoSecret)?;
    Ok(Essentials {
        purpose_keys: PurposeKeys::derive(&root),
        signing_keys: signing::snapshot(sql, &system)?,
        keys: vec![(Scope::System, system)],
        versions,
    })
}

/// A new file that only its owner may read.
fn create_private(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}
