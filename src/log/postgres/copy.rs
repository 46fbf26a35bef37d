//! A copy of the shared log as one file, which is an embedded log: for evidence, and to go on without a server.

use std::io;
use std::path::Path;

use super::super::carry::{CarryError, carry};
use super::super::readers::Readers;
use super::super::types::BackupError;
use super::super::{Options, open, readers};
use super::PostgresReaders;

/// Writes the entries that there are now to a new file at `to`; blocks.
///
/// # Errors
/// There is something at `to`, it cannot be written, or the log cannot be read.
pub fn copy_to(readers: PostgresReaders, to: &Path) -> Result<(), BackupError> {
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
    let from = Readers::Postgres(readers);
    let entries = 0..from.head()?;
    carry(&from, &mut file, entries, &mut |_| {}).map_err(|error| match error {
        CarryError::Read(error) => error.into(),
        CarryError::Write(error) => failed(io::Error::other(error)),
    })?;
    // Closing folds everything into the one file.
    drop(file);
    readers::place(&partial.path().join(open::FILE_NAME), to).map_err(failed)
}
