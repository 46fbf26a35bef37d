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
use crate::vault::{self, Vault};

/// The log last: with it a restored store is there.
const FILES: [&str; 2] = [vault::FILE_NAME, log::FILE_NAME];

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

/// Copies log and vault to a new folder. The vault is copied last, so every entry's key is there, and without the seals of what
/// came meanwhile: they would say that it is missing. A copy is whole when it has its name.
async fn copy(config: &Config, target: &Path) -> Result<Report, Failure> {
    let stores = Stores::open(config)?;
    // A file is copied as it is, rows of a database one by one.
    if let Some(url) = &config.store.database_url {
        expect_known(&server::schemas(&config.store.data_dir, Some(url))?)?;
    }
    fs::create_dir_all(target).map_err(|error| unavailable(&error))?;
    let _claim = server::claim(target)?;
    let sealed = stores.vault.sealed_entries().await;
    let sealed = sealed.map_err(|error| unavailable(&error))?;
    let copied = stores.log.backup_to(&target.join(log::FILE_NAME)).await;
    copied.map_err(|error| match error {
        BackupError::Read(error) => error.into(),
        error @ BackupError::Io { .. } => unavailable(&error),
    })?;
    let vault_copy = partial(target, vault::FILE_NAME);
    let copied = stores.vault.backup_to(&vault_copy).await;
    copied.map_err(|error| unavailable(&error))?;
    let copy = Log::open_read_only(target).map_err(StartError::from)?;
    let entries = copy.head();
    // An entry that had been sealed before and is not in the log is missing in the copy, too.
    Vault::cut_seals(&vault_copy, entries.max(sealed)).map_err(|error| unavailable(&error))?;
    name(target, vault::FILE_NAME)?;
    let synced = target
        .canonicalize()
        .and_then(|target| match target.parent() {
            Some(around) => synced(around),
            None => Ok(()),
        });
    synced.map_err(|error| unavailable(&error))?;
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
    expect_whole(from)?;
    let folder = &config.store.data_dir;
    if let Some(url) = &config.store.database_url {
        let report = moving::carry(config, from, url, None)?.finish()?;
        return Ok(report);
    }
    expect_nothing_beside(from, "-wal")?;
    let copy = Log::open_read_only(from).map_err(StartError::from)?;
    server::create_private(folder).map_err(|error| unavailable(&error))?;
    // Until the end, or a start meanwhile would make a store of its own there.
    let _claim = server::claim(folder)?;
    if stopped_between_the_files(folder) {
        fs::rename(
            folder.join(vault::FILE_NAME),
            partial(folder, vault::FILE_NAME),
        )
        .map_err(|error| unavailable(&error))?;
    }
    for file in FILES {
        refuse_existing(&folder.join(file))?;
    }
    expect_nothing_beside(folder, "-wal")?;
    expect_nothing_beside(folder, "-journal")?;
    for file in FILES {
        copy_whole(&from.join(file), &partial(folder, file))
            .map_err(|error| unavailable(&error))?;
    }
    for file in FILES {
        name(folder, file)?;
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

/// What a backup leaves that was broken off is not restored.
fn expect_whole(copy: &Path) -> Result<(), Failure> {
    for file in FILES {
        let copied = copy.join(file);
        let reason = if !copied.exists() {
            "is missing"
        } else if !is_filled(&copied) || is_filled(&beside(copy, file, "-journal")) {
            "is not whole"
        } else {
            continue;
        };
        return Err(Failure::Unavailable(format!(
            "{} {reason}: nothing was restored. A backup that was broken off has to be made anew",
            copied.display()
        )));
    }
    Ok(())
}

fn expect_nothing_beside(folder: &Path, suffix: &str) -> Result<(), Failure> {
    let logs = FILES.map(|file| beside(folder, file, suffix));
    match logs.iter().find(|log| is_filled(log)) {
        None => Ok(()),
        Some(log) => Err(Failure::Error(format!(
            "{} is not empty: what it holds belongs to another file, or is missing in the copy. Copy with `grantlog backup`, restore \
             into an empty folder",
            log.display()
        ))),
    }
}

/// What SQLite keeps beside a file.
fn beside(folder: &Path, file: &str, suffix: &str) -> PathBuf {
    folder.join(format!("{file}{suffix}"))
}

fn is_filled(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.len() > 0)
}

/// Whether a restore gave the vault its name and was stopped before it gave the log its own: that vault is nobody's yet.
fn stopped_between_the_files(folder: &Path) -> bool {
    let has = |file| folder.join(file).exists();
    let waits = |file| partial(folder, file).exists();
    has(vault::FILE_NAME)
        && !waits(vault::FILE_NAME)
        && waits(log::FILE_NAME)
        && !has(log::FILE_NAME)
}

/// Gives a copy that is whole its name, durably.
fn name(folder: &Path, file: &str) -> Result<(), Failure> {
    fs::rename(partial(folder, file), folder.join(file))
        .and_then(|()| synced(folder))
        .map_err(|error| unavailable(&error))
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
