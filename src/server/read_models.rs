//! Opening this node's read models, and loading from them what has to be in memory: they must be a fold of this log.

use std::path::Path;

use domain::entry::Entry;
use projections::{EventRow, ReadModel, ReadModelError, Reader};

use crate::app::{App, LoadError, Unavailable};
use crate::clock;
use crate::log::Log;

/// The read models, once what the program needs of them is in memory. Damage shows where it is read, so they are built anew
/// wherever that is. Blocks.
///
/// # Errors
/// As [`open`].
pub(super) fn load(path: &Path, app: &App) -> Result<(ReadModel, Reader), LoadError> {
    let read_model = open(path, &app.log)?;
    match load_into(app, path, read_model) {
        Err(LoadError::ReadModel(error)) if error.is_damage() => {
            load_into(app, path, make_anew(path)?)
        }
        loaded => loaded,
    }
}

fn load_into(
    app: &App,
    path: &Path,
    read_model: ReadModel,
) -> Result<(ReadModel, Reader), LoadError> {
    let reader = Reader::open(path)?;
    app.load(&reader, read_model.position(), clock::now())?;
    Ok((read_model, reader))
}

/// The read models, or empty ones where the file is of another version, damaged, or tells of what is
/// not in the log (which was restored, or lost its end with its primary): the log fills them again.
/// Blocks.
///
/// # Errors
/// The file is something else or cannot be made; the log cannot be read.
fn open(path: &Path, log: &Log) -> Result<ReadModel, LoadError> {
    match ReadModel::open(path) {
        Ok(read_model) if is_of(path, read_model.position(), log)? => return Ok(read_model),
        Ok(_) | Err(ReadModelError::OtherVersion) => {}
        Err(error) if error.is_damage() => {}
        Err(error) => return Err(error.into()),
    }
    make_anew(path)
}

/// Empty read models, in the place of those that nobody has open any more.
fn make_anew(path: &Path) -> Result<ReadModel, LoadError> {
    tracing::info!("read models are built anew from the log");
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        let _ = std::fs::remove_file(file);
    }
    Ok(ReadModel::open(path)?)
}

/// Whether what was folded last stands where it stood.
fn is_of(path: &Path, next: u64, log: &Log) -> Result<bool, LoadError> {
    let Some(last) = next.checked_sub(1) else {
        return Ok(true);
    };
    if next > log.head() {
        return Ok(false);
    }
    let stored = log.read_after_blocking(last, 1);
    let stored = stored.map_err(Unavailable::from)?;
    let entry = stored.first().map(|stored| Entry::decode(&stored.entry));
    let folded = Reader::open(path).and_then(|reader| reader.event(last));
    match (entry, folded) {
        (Some(Ok(entry)), Ok(Some(folded))) => Ok(is_same(&entry, &folded)),
        // What cannot be read now is read again by whoever folds it.
        (_, _) => Ok(false),
    }
}

fn is_same(entry: &Entry, folded: &EventRow) -> bool {
    let envelope = &entry.envelope;
    envelope.stream == folded.stream
        && envelope.recorded_at == folded.recorded_at
        && envelope.request_id == folded.request_id
        && entry.event.name() == folded.name
}
