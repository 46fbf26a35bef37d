//! The log and the vault that a configuration names: in its data folder, or in its database.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use super::StartError;
use crate::clock;
use crate::config::Config;
use crate::log::{self, Log, Options};
use crate::migrations::Schema;
use crate::postgres::Postgres;
use crate::secret::Secret;
use crate::vault::{FILE_NAME, MasterKeyError, MasterKeys, Vault, VaultError};

/// Locked by the process that folds the log into the data folder's read models, or makes a store there.
const LOCK_FILE: &str = "node.lock";

/// How many connections a node's vault opens at most, beside those of its log.
const VAULT_CONNECTIONS: usize = 6;

/// What a service works on.
pub struct Stores {
    /// The log.
    pub log: Log,
    /// The vault.
    pub vault: Vault,
    /// No other process writes read models, or makes a store, in the data folder while this is there.
    pub claim: Claim,
}

/// A data folder that is this process's own, until this is dropped.
pub struct Claim(#[expect(dead_code, reason = "an open file holds its lock")] File);

impl Stores {
    /// Opens them for writing; makes what is missing. Blocks.
    ///
    /// # Errors
    /// One cannot be opened, or another process has the data folder.
    pub fn open(config: &Config) -> Result<Self, StartError> {
        let folder = &config.store.data_dir;
        create_private(folder).map_err(StartError::DataFolder)?;
        let claim = claim(folder)?;
        recover(config)?;
        expect_whole(config)?;
        let migrate = config.store.migrate;
        let options = Options { migrate };
        let (log, vault) = match &config.store.database_url {
            None => {
                let log = Log::open(folder, options)?;
                let (keys, now) = (master_keys(config)?, clock::now());
                let vault = Vault::open(&folder.join(FILE_NAME), keys, migrate, now)?;
                (log, vault)
            }
            Some(url) => {
                let keys = master_keys(config)?;
                let log = Log::open_postgres(url.expose(), options)?;
                let vault =
                    Vault::open_postgres(connections(url.expose())?, keys, migrate, clock::now())?;
                (log, vault)
            }
        };
        Ok(Self { log, vault, claim })
    }
}

/// Opens log and vault without ever writing to them. Blocks.
///
/// # Errors
/// One is missing or cannot be opened.
pub fn open_read_only(config: &Config) -> Result<(Log, Vault), StartError> {
    let Some(url) = &config.store.database_url else {
        return open_embedded_read_only(config, &config.store.data_dir);
    };
    let log = Log::open_postgres_read_only(url.expose())?;
    let connections = connections(url.expose())?;
    let vault = Vault::open_postgres_read_only(connections, master_keys(config)?)?;
    Ok((log, vault))
}

/// Opens log and vault in a folder, whatever else the configuration names, without ever writing to them. Blocks.
///
/// # Errors
/// One is missing or cannot be opened.
pub fn open_embedded_read_only(config: &Config, folder: &Path) -> Result<(Log, Vault), StartError> {
    let log = Log::open_read_only(folder)?;
    let file = folder.join(FILE_NAME);
    if !file.exists() {
        let entries = log.head();
        return Err(StartError::VaultMissing { entries });
    }
    let keys = match &config.keys.master_key {
        Some(key) => MasterKeys::parse(key.expose())?,
        None => MasterKeys::found_in_data_folder(folder)?,
    };
    let vault = Vault::open_read_only(&file, keys)?;
    Ok((log, vault))
}

/// How far the schemas of log and vault are, in a folder or in a database. Blocks.
///
/// # Errors
/// One cannot be read.
pub fn schemas(
    folder: &Path,
    database_url: Option<&Secret>,
) -> Result<[(&'static str, Schema); 2], StartError> {
    let (log, vault) = match database_url {
        None => (
            log::migrations(folder)?,
            Vault::migrations(&folder.join(FILE_NAME))?,
        ),
        Some(url) => (
            log::postgres::migrations(url.expose())?,
            Vault::migrations_postgres(connections(url.expose())?)?,
        ),
    };
    Ok([("log", log), ("vault", vault)])
}

/// Brings the schemas of log and vault up to date, with contractions only if `contract`; makes what is missing. Blocks.
///
/// # Errors
/// One needs a newer program, or cannot be written.
pub fn migrate(config: &Config, contract: bool) -> Result<(), StartError> {
    let folder = &config.store.data_dir;
    let is_embedded = config.store.database_url.is_none();
    let _claim = is_embedded.then(|| claim(folder)).transpose()?;
    recover(config)?;
    expect_whole(config)?;
    match &config.store.database_url {
        None => {
            log::migrate(folder, contract)?;
            // A vault without a key beside it would never be given one.
            master_keys(config)?;
            Vault::migrate(&folder.join(FILE_NAME), contract)?;
        }
        Some(url) => {
            log::postgres::migrate(url.expose(), contract)?;
            Vault::migrate_postgres(connections(url.expose())?, contract)?;
        }
    }
    Ok(())
}

/// Before anything is looked at: what a killed writer left half done is not for those who only read.
fn recover(config: &Config) -> Result<(), StartError> {
    let store = &config.store;
    if store.database_url.is_none() {
        log::recover(&store.data_dir)?;
        Vault::recover(&store.data_dir.join(FILE_NAME))?;
    }
    Ok(())
}

/// A log without its vault, or a vault without its log, is not made whole by a new one: what one has recorded, only the other
/// opens. Another node may be making both for the first time, between one question and the next.
fn expect_whole(config: &Config) -> Result<(), StartError> {
    match missing(config)? {
        None => Ok(()),
        Some(_) => missing(config)?.map_or(Ok(()), Err),
    }
}

fn missing(config: &Config) -> Result<Option<StartError>, StartError> {
    let store = &config.store;
    let url = store.database_url.as_ref();
    let [log, vault] = schemas(&store.data_dir, url)?.map(|(_, schema)| schema);
    match (log.applied > 0, vault.applied > 0) {
        (true, true) | (false, false) => Ok(None),
        (false, true) => Ok(Some(StartError::LogMissing)),
        // Whoever makes both makes the log first, step by step, and may have been stopped then.
        (true, false) if log.check().is_err() => Ok(None),
        (true, false) => {
            let log = match url {
                None => Log::open_read_only(&store.data_dir),
                Some(url) => Log::open_postgres_read_only(url.expose()),
            };
            let entries = log?.head();
            Ok((entries > 0).then_some(StartError::VaultMissing { entries }))
        }
    }
}

/// Takes a data folder for this process, which alone writes read models and makes stores there.
///
/// # Errors
/// Another process has it, or it cannot be used.
pub fn claim(folder: &Path) -> Result<Claim, StartError> {
    let path = folder.join(LOCK_FILE);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(StartError::DataFolder)?;
    match file.try_lock() {
        Ok(()) => Ok(Claim(file)),
        Err(TryLockError::WouldBlock) => Err(StartError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(StartError::DataFolder(error)),
    }
}

/// The connections of a vault.
///
/// # Errors
/// The URL is not one.
pub fn connections(url: &str) -> Result<Postgres, StartError> {
    let connections = Postgres::new(url, VAULT_CONNECTIONS);
    connections.map_err(|error| VaultError::from(error).into())
}

/// With a database every node needs the same key, so none is made.
fn master_keys(config: &Config) -> Result<MasterKeys, MasterKeyError> {
    match (&config.keys.master_key, &config.store.database_url) {
        (Some(key), _) => MasterKeys::parse(key.expose()),
        (None, None) => MasterKeys::in_data_folder(&config.store.data_dir),
        (None, Some(_)) => Err(MasterKeyError::Missing),
    }
}

/// Makes a folder that only the service's own user may look into.
///
/// # Errors
/// It cannot be made.
pub fn create_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
