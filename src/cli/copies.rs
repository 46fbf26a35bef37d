//! `grantlog backup` and `restore`: copies of the store.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::configured::ConfigArgs;
use super::exit::{Failure, refuse_existing, unavailable};
use super::moving;
use super::output::{Output, Report};
use super::read_only::Stores;
use crate::config::Config;
use crate::log::{self, BackupError, Log};
use crate::migrations::Schema;
use crate::server::{self, StartError};
use crate::vault;

/// Copies the store while it may be in use. The master key is not in the copy: keep it elsewhere.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// A folder that does not exist yet
    target: PathBuf,
    #[command(flatten)]
    configuration: ConfigArgs,
}

/// Puts a copy back, where there is no store.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The folder that `backup` wrote
    from: PathBuf,
    #[command(flatten)]
    configuration: ConfigArgs,
}

/// Copies the store.
///
/// # Errors
/// See [`Failure`]; the target exists.
pub async fn backup(args: BackupArgs, output: &mut Output) -> Result<(), Failure> {
    let config = args.configuration.load()?;
    refuse_existing(&args.target)?;
    Ok(output.report(&copy(&config, &args.target).await?)?)
}

/// Puts a copy back.
///
/// # Errors
/// See [`Failure`]; there is a store already.
pub fn restore(args: RestoreArgs, output: &mut Output) -> Result<(), Failure> {
    let config = args.configuration.load()?;
    Ok(output.report(&put_back(&config, &args.from)?)?)
}

/// Copies log and vault to a new folder. The vault is copied last, so every entry's key is there.
async fn copy(config: &Config, target: &Path) -> Result<Report, Failure> {
    let stores = Stores::open(config)?;
    // A file is copied as it is, rows of a database one by one.
    if let Some(url) = &config.store.database_url {
        expect_known(&server::schemas(&config.store.data_dir, Some(url))?)?;
    }
    fs::create_dir_all(target).map_err(|error| unavailable(&error))?;
    let copied = stores.log.backup_to(&target.join(log::FILE_NAME)).await;
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
fn put_back(config: &Config, from: &Path) -> Result<Report, Failure> {
    let folder = &config.store.data_dir;
    if let Some(url) = &config.store.database_url {
        let report = moving::carry(config, from, url, None)?.finish()?;
        return Ok(report);
    }
    // The log last: with it the store is there.
    let files = [vault::FILE_NAME, log::FILE_NAME];
    if stopped_between_the_files(folder) {
        fs::rename(
            folder.join(vault::FILE_NAME),
            partial(folder, vault::FILE_NAME),
        )
        .map_err(|error| unavailable(&error))?;
    }
    for file in files {
        let (copied, target) = (from.join(file), folder.join(file));
        refuse_existing(&target)?;
        for wal in [from, folder].map(|folder| folder.join(format!("{file}-wal"))) {
            if fs::metadata(&wal).is_ok_and(|wal| wal.len() > 0) {
                return Err(Failure::Error(format!(
                    "{} is not empty: what it holds belongs to another file, or is missing in the copy. Copy with `grantlog backup`, restore \
                     into an empty folder",
                    wal.display()
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
    let has = |file| folder.join(file).exists();
    let waits = |file| partial(folder, file).exists();
    has(vault::FILE_NAME) && !waits(vault::FILE_NAME) && waits(log::FILE_NAME) && !has(log::FILE_NAME)
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
