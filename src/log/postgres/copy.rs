//! A copy of the shared log as one file, which is an embedded log: for evidence, and to go on without a server.

use std::io;
use std::path::Path;

use super::super::types::{BackupError, StoredEntry};
use super::super::writer::{Backend, Row};
use super::super::{Options, SqliteBackend, open, readers};
use super::PostgresReaders;

/// How many entries are read and written at once.
const STEP: usize = 1000;

/// Writes the entries that there are now to a new file at `to`; blocks.
///
/// # Errors
/// There is something at `to`, it cannot be written, or the log cannot be read.
pub fn copy_to(readers: &PostgresReaders, to: &Path) -> Result<(), BackupError> {
    let failed = |source| BackupError::Io {
        path: to.to_owned(),
        source,
    };
    if to.try_exists().map_err(failed)? {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    let partial = tempfile::Builder::new()
        .prefix(".copy-of-log-")
        .tempdir_in(folder.unwrap_or(Path::new(".")))
        .map_err(failed)?;
    let opened = open::open(partial.path(), Options { migrate: true });
    let (mut file, _) = opened.map_err(|error| failed(io::Error::other(error)))?;
    let head = readers.block_on(readers.head())?;
    let mut next = 0;
    while next < head {
        let count = STEP.min((head - next) as usize);
        let entries = readers.block_on(readers.read_after(next, count, head))?;
        next += entries.len() as u64;
        write(&mut file, &entries).map_err(failed)?;
    }
    // Closing folds everything into the one file.
    drop(file);
    readers::place(&partial.path().join(open::FILE), to).map_err(failed)
}

fn write(file: &mut SqliteBackend, entries: &[StoredEntry]) -> io::Result<()> {
    let rows: Vec<Row<'_>> = entries.iter().map(row).collect();
    file.begin(&[]).map_err(io::Error::other)?;
    file.insert(&rows).map_err(io::Error::other)?;
    file.commit()
        .map_err(|error| io::Error::other(format!("{error:?}")))
}

fn row(entry: &StoredEntry) -> Row<'_> {
    Row {
        position: entry.position,
        stream: &entry.stream,
        version: entry.version,
        entry: &entry.entry,
        sealed: entry.sealed.as_deref(),
    }
}
