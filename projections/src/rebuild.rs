//! Rebuilding a read model from the log, aside, and putting it in place when it is complete.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{channel, sync_channel};
use std::thread;

use domain::Timestamp;
use rusqlite::Connection;

use crate::{FoldError, ReadModel, ReadModelError, Recorded};

/// How far a rebuild goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// To where the source ends.
    End,
    /// Up to and including a position.
    Position(u64),
    /// Up to the first entry that was recorded later: the log's order counts, not the clocks'.
    Time(Timestamp),
}

/// A rebuild that did not complete. Nothing was put in place.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError<E> {
    /// The log could not be read, or holds an event that this program does not know.
    #[error("the log cannot be read")]
    Source(#[source] E),
    /// An entry could not be folded.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The new file cannot be used.
    #[error(transparent)]
    ReadModel(#[from] ReadModelError),
    /// The new file cannot be put in place.
    #[error("the rebuilt read model cannot be put in place")]
    File(#[from] io::Error),
}

/// Entries a transaction. Rows that are touched often are written once in each.
const ENTRIES_A_TRANSACTION: u64 = 1 << 17;

/// Folds all that `source` gives, from position 0 on, into a new file beside `path`. The source
/// runs in a thread of its own, so that reading and folding go on at once; `progress` hears how
/// many entries have been folded. What ends at a time, or at a position that there is, shows the
/// past: see [`Reader::as_of`](crate::Reader::as_of).
///
/// # Errors
/// The source failed, an entry could not be folded, or the file cannot be used.
pub fn rebuild<E: Send>(
    path: &Path,
    source: impl Iterator<Item = Result<Vec<Recorded>, E>> + Send,
    until: Until,
    progress: impl FnMut(u64),
) -> Result<Rebuilt, RebuildError<E>> {
    let aside = with_suffix(path, ".rebuilding");
    remove(&aside)?;
    let mut model = ReadModel::open_aside(&aside)?;
    let last_at = fill(&mut model, source, until, progress)?;
    let position = model.position();
    let as_of = match until {
        Until::End => None,
        Until::Position(last) => last_at.filter(|_| position > last),
        Until::Time(at) => Some(at),
    };
    model.finish(as_of).map_err(ReadModelError::from)?;
    Ok(Rebuilt {
        aside,
        path: path.to_owned(),
        position,
    })
}

/// Returns when the last entry that was folded was recorded.
fn fill<E: Send>(
    model: &mut ReadModel,
    source: impl Iterator<Item = Result<Vec<Recorded>, E>> + Send,
    until: Until,
    mut progress: impl FnMut(u64),
) -> Result<Option<Timestamp>, RebuildError<E>> {
    thread::scope(|scope| {
        let (sender, batches) = sync_channel(4);
        let (folded, spent) = channel();
        scope.spawn(move || {
            // fails when nobody wants more
            let _ = source.into_iter().try_for_each(|batch| {
                // memory is cheapest to give back where it came from
                spent.try_iter().for_each(drop::<Vec<Recorded>>);
                sender.send(batch)
            });
        });
        model.begin()?;
        let mut begun_at = model.position();
        let mut last_at = None;
        'log: for batch in batches {
            let batch = batch.map_err(RebuildError::Source)?;
            for recorded in &batch {
                let wanted = match until {
                    Until::End => true,
                    Until::Position(last) => recorded.position <= last,
                    Until::Time(last) => recorded.at() <= last,
                };
                if !wanted {
                    break 'log;
                }
                model.step(recorded)?;
                last_at = Some(recorded.at());
            }
            if model.position() - begun_at >= ENTRIES_A_TRANSACTION {
                model.commit()?;
                model.begin()?;
                begun_at = model.position();
            }
            progress(model.position());
            let _ = folded.send(batch);
        }
        model.commit()?;
        Ok(last_at)
    })
}

/// A complete read model that is not in place yet.
#[derive(Debug)]
#[must_use = "it is put in place by `place` or `replace`"]
pub struct Rebuilt {
    aside: PathBuf,
    path: PathBuf,
    position: u64,
}

impl Rebuilt {
    /// The next position to fold into it.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Where it is for now.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.aside
    }

    /// Puts it in place where nothing is.
    ///
    /// # Errors
    /// There is a file already, or the folder cannot be written.
    pub fn place(self) -> io::Result<()> {
        if self.path.exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::rename(&self.aside, &self.path)
    }

    /// Puts it in the place of the read model that was there, which nobody may have open.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn replace(self) -> io::Result<()> {
        let log = with_suffix(&self.path, "-wal");
        if log.exists() {
            // what a killed process left: it must not be taken for the new file's
            if let Ok(old) = Connection::open(&self.path) {
                let _ = old.execute_batch("PRAGMA journal_mode = DELETE;");
            }
            remove(&self.path)?;
        }
        fs::rename(&self.aside, &self.path)
    }

    /// Throws it away.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn discard(self) -> io::Result<()> {
        remove(&self.aside)
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Removes a database file and its companions, where they are.
fn remove(path: &Path) -> io::Result<()> {
    for suffix in ["-wal", "-shm", "-journal", ""] {
        match fs::remove_file(with_suffix(path, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) | Ok(()) => {}
        }
    }
    Ok(())
}
