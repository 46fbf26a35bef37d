//! Carrying entries as they are from one store into another, whichever the two are.

use std::ops::Range;

use super::backend::{Backend, CommitError, Row};
use super::readers::Readers;
use super::types::{ReadError, StoreError, StoredEntry};

/// How many entries are read and written at once.
const STEP: u64 = 1000;

/// Why entries were not carried; those before them are.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// They cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// They cannot be written, or it is not known whether they were.
    #[error("the entries cannot be written: {0}")]
    Write(#[from] StoreError),
}

/// Adds the entries of `range` to a store that has those before it; tells after each step how many it has.
pub(super) fn carry(
    from: &Readers,
    to: &mut impl Backend,
    range: Range<u64>,
    done: &mut dyn FnMut(u64),
) -> Result<(), CarryError> {
    for step in steps(range) {
        let entries = read(from, &step)?;
        let rows: Vec<Row<'_>> = entries.iter().map(row).collect();
        write(to, step.start, &rows).inspect_err(|_| to.abandon())?;
        done(step.end);
    }
    Ok(())
}

/// The first position in `range` where two stores do not have the same, byte for byte.
pub(super) fn difference(
    one: &Readers,
    other: &Readers,
    range: Range<u64>,
    done: &mut dyn FnMut(u64),
) -> Result<Option<u64>, ReadError> {
    for step in steps(range) {
        let (one, other) = (read(one, &step)?, read(other, &step)?);
        let same = one.iter().zip(&other).take_while(|(a, b)| a == b).count() as u64;
        if same < step.end - step.start {
            return Ok(Some(step.start + same));
        }
        done(step.end);
    }
    Ok(None)
}

fn steps(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    range
        .step_by(STEP as usize)
        .map(move |start| start..end.min(start + STEP))
}

/// All entries of a step, which must be there.
fn read(from: &Readers, step: &Range<u64>) -> Result<Vec<StoredEntry>, ReadError> {
    let wanted = step.end - step.start;
    let entries = from.read_after_blocking(step.start, wanted as usize, step.end)?;
    let found = entries.len() as u64;
    if found < wanted {
        return Err(ReadError::Corrupt {
            position: Some(step.start + found),
            detail: "there is no entry".to_owned(),
        });
    }
    Ok(entries)
}

fn write(to: &mut impl Backend, expected: u64, rows: &[Row<'_>]) -> Result<(), StoreError> {
    let head = to.begin(&[])?;
    if head != expected {
        let why = format_args!("it has {head} entries, expected {expected}: somebody else writes");
        return Err(StoreError::new(why));
    }
    to.insert(rows)?;
    to.commit().map_err(|error| match error {
        CommitError::NotBegun(why) | CommitError::NotWritten(why) | CommitError::Unknown(why) => {
            why
        }
    })
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
