//! Where the entries of each stream are, in the embedded store.
//!
//! Streams grow anywhere, so an index of them has to be changed in another page for nearly every append, and each
//! of those pages goes to the disk with the commit: five times the entries themselves. Therefore only memory knows
//! where the newest entries are ([`Recent`]). Once there are [`RUN`] of them, rows for all of them are written in the order of
//! the index, a share with each commit, so that many go into one page and no commit is much larger than another. A commit
//! moves `log_head.indexed` when the last of them is written: what is before that position is in the index, and what is behind
//! it is read back from the entries when the log is opened.
//!
//! So there is nothing here that the entries do not say, and a crash loses none of it.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock};

use rusqlite::{Connection, TransactionBehavior};

use super::backend::Row;
use super::sqlite::{signed, unsigned};
use super::types::{ReadError, StoreError, StoredEntry};

/// So many entries are indexed together.
const RUN: usize = if cfg!(test) { 8 } else { 4096 };

/// How many index rows a commit writes for each entry that it adds, and at least.
const SHARE: usize = 2;
const SHARE_MIN: usize = if cfg!(test) { 1 } else { 64 };

/// So many are read back together.
const LOAD_MAX: usize = 8 * RUN;

/// Where the entries are that the index may not have yet; shared with the readers.
#[derive(Debug, Default)]
pub struct Recent(RwLock<HashMap<Arc<str>, Vec<Place>>>);

/// An entry's place in its stream and in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub version: u64,
    pub position: u64,
}

/// The writing end.
#[derive(Debug)]
pub struct StreamIndex {
    recent: Arc<Recent>,
    /// How many places `recent` holds.
    count: usize,
    /// The places of the open transaction.
    staged: Vec<(Arc<str>, Place)>,
    run: Option<Run>,
}

/// Index rows that are being written.
#[derive(Debug)]
struct Run {
    /// The position before which everything is indexed when all are written.
    until: u64,
    /// In the order of the index.
    rows: Vec<IndexRow>,
    /// How many are written for good, and how many if the open transaction is committed.
    durable: usize,
    written: usize,
}

/// Entries of one stream, without a gap between their versions.
#[derive(Debug)]
struct IndexRow {
    stream: Arc<str>,
    /// Of the first of them.
    version: u64,
    /// Eight bytes for each, big end first.
    positions: Vec<u8>,
}

impl Recent {
    /// The places of a stream's newest entries, in order.
    pub fn of(&self, stream: &str) -> Vec<Place> {
        let places = self.0.read().unwrap_or_else(PoisonError::into_inner);
        places.get(stream).cloned().unwrap_or_default()
    }

    fn version(&self, stream: &str) -> Option<u64> {
        let places = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(places.get(stream)?.last()?.version + 1)
    }

    fn add(&self, places: impl Iterator<Item = (Arc<str>, Place)>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (stream, place) in places {
            known.entry(stream).or_default().push(place);
        }
    }

    /// Forgets the places of a run; how many there were.
    fn forget(&self, run: &Run) -> usize {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut forgotten = 0;
        for row in &run.rows {
            let Some(places) = known.get_mut(&row.stream) else {
                continue;
            };
            let before = places.len();
            places.retain(|place| place.position >= run.until);
            forgotten += before - places.len();
            if places.is_empty() {
                known.remove(&row.stream);
            }
        }
        forgotten
    }

    /// Takes over the places of the first entries that are not indexed; how many.
    fn load(&self, connection: &Connection) -> Result<usize, StoreError> {
        let mut entries = connection.prepare(
            "SELECT stream, version, position FROM entries \
             WHERE position >= (SELECT indexed FROM log_head) ORDER BY position LIMIT ?1",
        )?;
        let place = |row: &rusqlite::Row<'_>| {
            let (version, position) = (unsigned(row, 1)?, unsigned(row, 2)?);
            let stream = row.get_ref(0)?.as_str()?.into();
            Ok((stream, Place { version, position }))
        };
        let places = entries.query_map([LOAD_MAX as i64], place)?;
        let places: Vec<(Arc<str>, Place)> = places.collect::<Result<_, _>>()?;
        let count = places.len();
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.add(places.into_iter());
        Ok(count)
    }
}

impl StreamIndex {
    /// Reads back which entries are not indexed. Where there are many, which an earlier program has left, they become indexed.
    pub fn load(connection: &mut Connection) -> Result<Self, StoreError> {
        let mut index = Self {
            recent: Arc::default(),
            count: 0,
            staged: Vec::new(),
            run: None,
        };
        index.reload(connection)?;
        Ok(index)
    }

    /// The same where the store may have less or more than was thought.
    pub fn reload(&mut self, connection: &mut Connection) -> Result<(), StoreError> {
        self.staged.clear();
        self.run = None;
        loop {
            self.count = self.recent.load(connection)?;
            if self.count < LOAD_MAX {
                return Ok(());
            }
            self.write_all(connection)?;
        }
    }

    /// Indexes everything that memory knows.
    pub fn write_all(&mut self, connection: &mut Connection) -> Result<(), StoreError> {
        let mut run = Run::of(&self.recent);
        if run.rows.is_empty() {
            return Ok(());
        }
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        run.write(&tx, usize::MAX)?;
        Ok(tx.commit()?)
    }

    /// What the readers need.
    pub fn recent(&self) -> Arc<Recent> {
        Arc::clone(&self.recent)
    }

    /// How many entries a stream has, those of the open transaction apart.
    pub fn version(&self, connection: &Connection, stream: &str) -> Result<u64, StoreError> {
        if let Some(version) = self.recent.version(stream) {
            return Ok(version);
        }
        let mut last = connection.prepare_cached(
            "SELECT coalesce((SELECT version + length(positions) / 8 FROM streams \
             WHERE stream = ?1 ORDER BY version DESC LIMIT 1), 0)",
        )?;
        Ok(last.query_row([stream], |row| unsigned(row, 0))?)
    }

    /// Takes note of rows that the open transaction adds, and writes a share of what is to be indexed.
    pub fn add(&mut self, connection: &Connection, rows: &[Row<'_>]) -> Result<(), StoreError> {
        for row in rows {
            let stream = match self.staged.last() {
                Some((last, _)) if **last == *row.stream => Arc::clone(last),
                _ => row.stream.into(),
            };
            let (version, position) = (row.version, row.position);
            self.staged.push((stream, Place { version, position }));
        }
        if self.run.is_none() && self.count >= RUN {
            self.run = Some(Run::of(&self.recent));
        }
        match &mut self.run {
            Some(run) => run.write(connection, SHARE_MIN.max(SHARE * rows.len())),
            None => Ok(()),
        }
    }

    /// The transaction is durable.
    pub fn committed(&mut self) {
        self.count += self.staged.len();
        self.recent.add(self.staged.drain(..));
        let Some(run) = &mut self.run else { return };
        run.durable = run.written;
        if run.durable == run.rows.len() {
            self.count -= self.recent.forget(run);
            self.run = None;
        }
    }

    /// The transaction is no more.
    pub fn abandoned(&mut self) {
        self.staged.clear();
        if let Some(run) = &mut self.run {
            run.written = run.durable;
        }
    }
}

impl Run {
    /// Everything that is known.
    fn of(recent: &Recent) -> Self {
        let known = recent.0.read().unwrap_or_else(PoisonError::into_inner);
        let rows = known.iter().filter_map(|(stream, places)| {
            let positions = places.iter().flat_map(|place| place.position.to_be_bytes());
            Some(IndexRow {
                stream: Arc::clone(stream),
                version: places.first()?.version,
                positions: positions.collect(),
            })
        });
        let mut rows: Vec<IndexRow> = rows.collect();
        rows.sort_unstable_by(|a, b| a.stream.cmp(&b.stream));
        let last = known.values().filter_map(|places| places.last());
        Self {
            until: last.map(|place| place.position + 1).max().unwrap_or(0),
            rows,
            durable: 0,
            written: 0,
        }
    }

    /// Writes at most so many rows.
    fn write(&mut self, connection: &Connection, share: usize) -> Result<(), StoreError> {
        // A run that a crash ended may have left shorter ones.
        let mut insert = connection.prepare_cached(
            "INSERT OR REPLACE INTO streams (stream, version, positions) VALUES (?1, ?2, ?3)",
        )?;
        for row in self.rows.iter().skip(self.written).take(share) {
            insert.execute((&*row.stream, signed(row.version)?, &row.positions))?;
            self.written += 1;
        }
        if self.written == self.rows.len() {
            connection
                .prepare_cached("UPDATE log_head SET indexed = ?1")?
                .execute([signed(self.until)?])?;
        }
        Ok(())
    }
}

/// The positions of at most `limit` entries of a stream after its first `known`, in order of their versions, in one snapshot.
/// `recent` are the places that memory knew before it; without them the entries that are not indexed are looked through.
pub fn positions(
    snapshot: &Connection,
    stream: &str,
    known: u64,
    limit: usize,
    recent: Option<Vec<Place>>,
) -> Result<Vec<u64>, ReadError> {
    let Ok(last) = i64::try_from(known) else {
        return Err(ReadError::shorter(stream, known));
    };
    // The row that the first of them may be in.
    let mut first = snapshot.prepare_cached(
        "SELECT coalesce(max(version), 0) FROM streams WHERE stream = ?1 AND version <= ?2",
    )?;
    let first = first.query_row((stream, last), |row| unsigned(row, 0))?;
    let before = (known - first) as usize;
    let wanted = before.saturating_add(limit);
    let mut positions = Vec::new();
    let mut rows = snapshot.prepare_cached(
        "SELECT version, positions FROM streams WHERE stream = ?1 AND version >= ?2 \
         ORDER BY version",
    )?;
    let mut rows = rows.query((stream, first as i64))?;
    while positions.len() < wanted
        && let Some(row) = rows.next()?
    {
        let (version, indexed) = (unsigned(row, 0)?, row.get_ref(1)?.as_blob());
        let indexed = indexed.map_err(rusqlite::Error::from)?.as_chunks::<8>();
        let expected = first + positions.len() as u64;
        if version != expected || !indexed.1.is_empty() {
            return Err(gap(stream, version, expected));
        }
        positions.extend(indexed.0.iter().map(|bytes| u64::from_be_bytes(*bytes)));
    }
    let recent = match recent {
        // It comes after all that is indexed, or is among it.
        _ if positions.len() >= wanted => Vec::new(),
        Some(recent) => recent,
        None => not_indexed(snapshot, stream)?,
    };
    for place in recent {
        let Some(after) = place.version.checked_sub(first) else {
            continue;
        };
        match positions.get(after as usize) {
            Some(position) if *position == place.position => {}
            None if after == positions.len() as u64 => positions.push(place.position),
            Some(_) | None => {
                return Err(gap(stream, place.version, first + positions.len() as u64));
            }
        }
    }
    positions.truncate(wanted);
    if positions.len() < before {
        return Err(ReadError::shorter(stream, known));
    }
    Ok(positions.split_off(before))
}

fn not_indexed(snapshot: &Connection, stream: &str) -> Result<Vec<Place>, ReadError> {
    let mut entries = snapshot.prepare_cached(
        "SELECT version, position FROM entries \
         WHERE position >= (SELECT indexed FROM log_head) AND stream = ?1 ORDER BY position",
    )?;
    let place = |row: &rusqlite::Row<'_>| {
        let (version, position) = (unsigned(row, 0)?, unsigned(row, 1)?);
        Ok(Place { version, position })
    };
    Ok(entries
        .query_map([stream], place)?
        .collect::<Result<_, _>>()?)
}

fn gap(stream: &str, found: u64, expected: u64) -> ReadError {
    ReadError::Corrupt {
        position: None,
        detail: format!("{stream} goes on with version {found}, expected {expected}"),
    }
}

/// Which entry is where, as the index says and as the entries say, each as one sum: equal if both say the same. Neither sees
/// alone that an index row is gone, and with it that a code was redeemed.
pub struct Agreement {
    /// How many entries are indexed.
    until: u64,
    index: u64,
    entries: u64,
    hash: RandomState,
}

impl Agreement {
    /// Reads the index.
    pub(super) fn with(snapshot: &Connection) -> Result<Self, ReadError> {
        let until =
            snapshot.query_row("SELECT indexed FROM log_head", [], |row| unsigned(row, 0))?;
        let mut agreement = Self {
            until,
            index: 0,
            entries: 0,
            hash: RandomState::new(),
        };
        let mut rows = snapshot.prepare("SELECT stream, version, positions FROM streams")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let stream = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
            let positions = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
            let (positions, _) = positions.as_chunks::<8>();
            for (version, position) in (unsigned(row, 1)?..).zip(positions) {
                let position = u64::from_be_bytes(*position);
                // A run that is being written is ahead.
                if position < until {
                    agreement.index = agreement
                        .index
                        .wrapping_add(agreement.member(stream, version, position));
                }
            }
        }
        Ok(agreement)
    }

    /// Takes note of an entry.
    pub fn add(&mut self, entry: &StoredEntry) {
        if entry.position < self.until {
            let member = self.member(&entry.stream, entry.version, entry.position);
            self.entries = self.entries.wrapping_add(member);
        }
    }

    /// Whether index and entries agree, once all entries have been added.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.index == self.entries
    }

    fn member(&self, stream: &str, version: u64, position: u64) -> u64 {
        self.hash.hash_one((stream, version, position))
    }
}

#[cfg(test)]
mod tests;
