//! What `backup` and `restore` do with the stores of a configuration.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::exit::Failure;
use super::moving;
use super::store::Report;
use super::stores::{Stores, unavailable};
use crate::config::Config;
use crate::log::{BackupError, Log};
use crate::migrations::Schema;
use crate::server::{self, StartError};
use crate::vault;

const LOG_FILE: &str = "log.db";

/// Copies log and vault to a new folder. The vault is copied last, so every entry's key is there.
///
/// # Errors
/// Something is there already, or a store cannot be read.
pub async fn backup(config: &Config, target: &Path) -> Result<Report, Failure> {
    let stores = Stores::open(config)?;
    // A file is copied as it is, rows of a database one by one.
    if let Some(url) = &config.store.database_url {
        expect_known(&server::schemas(&config.store.data_dir, Some(url))?)?;
    }
    fs::create_dir_all(target).map_err(|error| unavailable(&error))?;
    let copied = stores.log.backup_to(&target.join(LOG_FILE)).await;
    copied.map_err(|error| match error {
        BackupError::Read(error) => error.into(),
        error @ BackupError::Io { .. } => unavailable(&error),
    })?;
    let copied = stores.vault.backup_to(&target.join(vault::FILE_NAME)).await;
    copied.map_err(|error| unavailable(&error))?;
    let copy = Log::open_read_only(target).map_err(StartError::from)?;
    let entries = copy.head();
    Ok(Report {
        sentence: format!(
            "{entries} entries and the vault copied to {}; the master key is not in it",
            target.display()
        ),
        document: json!({ "entries": entries, "folder": target.display().to_string() }),
    })
}

/// Rows are copied without what a newer program has added to them.
///
/// # Errors
/// A newer program has added something.
pub fn expect_known(schemas: &[(&str, Schema)]) -> Result<(), Failure> {
    match schemas.iter().find(|(_, schema)| schema.is_newer()) {
        None => Ok(()),
        Some((store, _)) => Err(Failure::Unavailable(format!(
            "the {store} was expanded by a newer program: only that copies it whole"
        ))),
    }
}

/// Puts a copy back where there is no store. The read models are built anew at the next start.
///
/// # Errors
/// There is a store already, or the copy is no good.
pub async fn restore(config: &Config, from: &Path) -> Result<Report, Failure> {
    let folder = &config.store.data_dir;
    if let Some(url) = &config.store.database_url {
        let report = moving::carry(config, from, url, None)?.finish()?;
        return Ok(report);
    }
    // The log last: with it the store is there.
    let files = [vault::FILE_NAME, LOG_FILE];
    if stopped_between_the_files(folder) {
        fs::rename(
            folder.join(vault::FILE_NAME),
            partial(folder, vault::FILE_NAME),
        )
        .map_err(|error| unavailable(&error))?;
    }
    for file in files {
        let (copied, target) = (from.join(file), folder.join(file));
        if target.exists() {
            return Err(Failure::Error(format!(
                "{} exists already: nothing was overwritten",
                target.display()
            )));
        }
        for log in [from, folder].map(|folder| folder.join(format!("{file}-wal"))) {
            if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
                return Err(Failure::Error(format!(
                    "{} is not empty: what it holds belongs to another file, or is missing in the copy. Copy with `grantlog backup`, restore \
                     into an empty folder",
                    log.display()
                )));
            }
        }
        if !copied.exists() {
            let missing = format!("{} is missing: nothing was restored", copied.display());
            return Err(Failure::Unavailable(missing));
        }
    }
    let copy = Log::open_read_only(from).map_err(StartError::from)?;
    server::create_private(folder).map_err(|error| unavailable(&error))?;
    for file in files {
        copy_whole(&from.join(file), &partial(folder, file))
            .map_err(|error| unavailable(&error))?;
    }
    for file in files {
        fs::rename(partial(folder, file), folder.join(file))
            .and_then(|()| synced(folder))
            .map_err(|error| unavailable(&error))?;
    }
    let entries = copy.head();
    Ok(Report {
        sentence: format!(
            "{entries} entries and the vault restored to {}",
            folder.display()
        ),
        document: json!({ "entries": entries, "folder": folder.display().to_string() }),
    })
}

/// Whether a restore gave the vault its name and was stopped before it gave the log its own: that vault is nobody's yet.
fn stopped_between_the_files(folder: &Path) -> bool {
    let log_waits = partial(folder, LOG_FILE).exists() && !folder.join(LOG_FILE).exists();
    log_waits && !partial(folder, vault::FILE_NAME).exists()
}

/// Makes the names of a folder's files durable.
fn synced(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    fs::File::open(folder)?.sync_all()?;
    Ok(())
}

/// What a copy is called until it is whole.
fn partial(folder: &Path, file: &str) -> PathBuf {
    folder.join(format!("{file}.partial"))
}

/// Copies a file, durably and for its owner alone; a copy that was broken off gives way.
fn copy_whole(from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() {
        fs::remove_file(to)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut to = options.open(to)?;
    io::copy(&mut fs::File::open(from)?, &mut to)?;
    to.sync_all()
}
