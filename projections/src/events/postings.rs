//! Postings: for each closed segment of the log, which of its positions have which value.
//!
//! A segment's postings are written together when the segment is full, in key order and at the
//! end of their table, many values a row: a row per value cost as much as the events themselves.
//! The open segment has none; it is walked. A search reads one row or two per condition and
//! segment, and intersects what it finds.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::thread::{self, JoinHandle};

use domain::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::{EventRow, SELECT, read};
use crate::sql::{ip_key, micros, position, unsigned};

/// Positions a segment. Offsets within it have two bytes.
pub(crate) const SEGMENT: u64 = if cfg!(test) { 8 } else { 1 << 15 };

/// What events can be found by. The numbers are those of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dimension {
    Type = 1,
    /// Any stream but a grant's.
    Stream = 2,
    Proxy = 3,
    Grant = 4,
    Client = 5,
    Subject = 6,
    Ip = 7,
    Request = 8,
}

/// The segment that is being filled.
pub(crate) struct Open {
    segment: u64,
    span: (Timestamp, Timestamp),
    types: BTreeMap<Cow<'static, str>, Vec<u16>>,
    streams: BTreeMap<String, Vec<u16>>,
    proxies: BTreeMap<u32, Vec<u16>>,
    /// Values of 16 bytes, in the order of the log: there are about as many as there are events.
    others: [(Dimension, Vec<Posting>); 5],
}

/// A value, and the offset of a position that has it.
type Posting = ([u8; 16], u16);

impl Open {
    /// The segment of position `at`, whose row has just been written. One that was full when this program last ended, or when
    /// a batch after it failed, has had nobody who would have closed it.
    pub fn resume(db: &Connection, at: u64) -> rusqlite::Result<Self> {
        if at.is_multiple_of(SEGMENT) && open_from(db)? < at {
            Self::load(db, at - 1)?.close(db)?.write(db)?;
        }
        Self::load(db, at)
    }

    /// The segment of position `at`, with the rows it has so far (that position's included).
    fn load(db: &Connection, at: u64) -> rusqlite::Result<Self> {
        let segment = at / SEGMENT;
        let mut open: Option<Self> = None;
        let mut rows = db.prepare_cached(&format!(
            "{SELECT} WHERE position BETWEEN ? AND ? ORDER BY position"
        ))?;
        let range = [position(segment * SEGMENT), position(at)];
        for row in rows.query_map(range, read)? {
            let row = row?;
            match &mut open {
                Some(open) => open.add(&row),
                None => open = Some(Self::begin(&row)),
            }
        }
        open.ok_or(rusqlite::Error::QueryReturnedNoRows)
    }

    /// The segment that begins with a row.
    pub fn begin(first: &EventRow) -> Self {
        let mut open = Self {
            segment: first.position / SEGMENT,
            span: (first.recorded_at, first.recorded_at),
            types: BTreeMap::new(),
            streams: BTreeMap::new(),
            proxies: BTreeMap::new(),
            others: [
                Dimension::Grant,
                Dimension::Client,
                Dimension::Subject,
                Dimension::Ip,
                Dimension::Request,
            ]
            .map(|dimension| (dimension, Vec::new())),
        };
        open.add(first);
        open
    }

    /// Whether a position lies behind this segment.
    pub fn is_past(&self, position: u64) -> bool {
        position / SEGMENT > self.segment
    }

    /// Takes note of a row, in position order.
    pub fn add(&mut self, row: &EventRow) {
        let offset = (row.position % SEGMENT) as u16;
        let (first, last) = self.span;
        self.span = (first.min(row.recorded_at), last.max(row.recorded_at));
        match self.types.get_mut(&row.name) {
            Some(offsets) => offsets.push(offset),
            None => drop(self.types.insert(row.name.clone(), vec![offset])),
        }
        if let Some(proxy) = row.proxy_id {
            self.proxies.entry(proxy.0).or_default().push(offset);
        }
        let grant = row.grant_id();
        if grant.is_none() {
            let offsets = self.streams.entry(row.stream.clone()).or_default();
            offsets.push(offset);
        }
        let others = [
            grant.map(|id| id.0.into_bytes()),
            row.client_id.map(|id| id.0.into_bytes()),
            row.subject.map(|id| id.0.into_bytes()),
            row.ip.map(ip_key),
            row.request_id.map(Uuid::into_bytes),
        ];
        for ((_, postings), value) in self.others.iter_mut().zip(others) {
            postings.extend(value.map(|value| (value, offset)));
        }
    }

    /// Writes when the segment's events were recorded.
    pub fn note(&self, db: &Connection) -> rusqlite::Result<()> {
        db.prepare_cached("INSERT OR REPLACE INTO segments VALUES (?, ?, ?)")?
            .execute((
                position(self.segment),
                micros(self.span.0),
                micros(self.span.1),
            ))?;
        Ok(())
    }

    /// Begins to put the postings of a full segment in order, in a thread of its own: folding goes on meanwhile.
    pub fn close(self, db: &Connection) -> rusqlite::Result<Closing> {
        self.note(db)?;
        let segment = self.segment;
        let rows = thread::spawn(move || self.rows());
        Ok(Closing { segment, rows })
    }

    fn rows(self) -> Vec<PostingsRow> {
        let mut rows = Rows::default();
        for (value, offsets) in &self.types {
            rows.put(Dimension::Type, value.as_bytes(), offsets.iter().copied());
        }
        for (value, offsets) in &self.streams {
            rows.put(Dimension::Stream, value.as_bytes(), offsets.iter().copied());
        }
        for (value, offsets) in &self.proxies {
            let value = value.to_be_bytes();
            rows.put(Dimension::Proxy, &value, offsets.iter().copied());
        }
        for (dimension, postings) in &self.others {
            // as numbers, which is the same order and compares faster
            let numbers = postings.iter();
            let mut numbers: Vec<_> = numbers
                .map(|(value, offset)| (u128::from_be_bytes(*value), *offset))
                .collect();
            numbers.sort_unstable();
            for same in numbers.chunk_by(|a, b| a.0 == b.0) {
                if let Some((value, _)) = same.first() {
                    let offsets = same.iter().map(|(_, offset)| *offset);
                    rows.put(*dimension, &value.to_be_bytes(), offsets);
                }
            }
        }
        rows.0
    }
}

/// A full segment whose postings are not written yet.
pub(crate) struct Closing {
    segment: u64,
    rows: JoinHandle<Vec<PostingsRow>>,
}

impl Closing {
    /// Writes them.
    pub fn write(self, db: &Connection) -> rusqlite::Result<()> {
        let rows = self
            .rows
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic));
        let mut insert = db.prepare_cached("INSERT INTO postings VALUES (?, ?, ?, ?)")?;
        for row in rows {
            let (segment, dimension) = (position(self.segment), row.dimension as u8);
            insert.execute((segment, dimension, row.first, row.bytes))?;
        }
        Ok(())
    }
}

/// A row is closed when it has reached this length: with more it would not fit into its page.
const ROW: usize = if cfg!(test) { 64 } else { 880 };

/// A row of the table. It holds, from its first value on and for each value: its length and the number of its offsets (two bytes
/// each), it, and them.
struct PostingsRow {
    dimension: Dimension,
    first: Vec<u8>,
    bytes: Vec<u8>,
}

/// The rows of a segment.
#[derive(Default)]
struct Rows(Vec<PostingsRow>);

impl Rows {
    /// Takes the next value of a dimension, in order.
    fn put(
        &mut self,
        dimension: Dimension,
        value: &[u8],
        offsets: impl ExactSizeIterator<Item = u16>,
    ) {
        let open = self
            .0
            .pop_if(|row| row.dimension == dimension && row.bytes.len() < ROW);
        let mut row = open.unwrap_or_else(|| PostingsRow {
            dimension,
            first: value.to_vec(),
            bytes: Vec::with_capacity(ROW + ROW / 8),
        });
        // a stream's name is shorter, and a segment has no more positions
        for number in [value.len() as u16, offsets.len() as u16] {
            row.bytes.extend_from_slice(&number.to_le_bytes());
        }
        row.bytes.extend_from_slice(value);
        row.bytes.extend(offsets.flat_map(u16::to_le_bytes));
        self.0.push(row);
    }
}

/// The positions of a segment that have a value between two, both included.
pub(crate) fn offsets(
    db: &Connection,
    segment: u64,
    dimension: Dimension,
    (first, last): (&[u8], &[u8]),
) -> rusqlite::Result<Vec<u16>> {
    let mut statement = db.prepare_cached(POSTINGS)?;
    let key = (position(segment), dimension as u8, first, last);
    let mut found: Vec<u16> = Vec::new();
    let mut rows = statement.query(key)?;
    while let Some(row) = rows.next()? {
        let mut rest = row.get_ref(0)?.as_blob()?;
        while let Some((value, offsets, behind)) = posting(rest) {
            if (first..=last).contains(&value) {
                let offsets = offsets.chunks_exact(2);
                found.extend(offsets.map(|pair| u16::from_le_bytes([pair[0], pair[1]])));
            }
            rest = behind;
        }
    }
    Ok(found)
}

/// The first value in a row, its offsets, and what follows.
fn posting(row: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (length, rest) = row.split_first_chunk()?;
    let (count, rest) = rest.split_first_chunk()?;
    let (value, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    let (offsets, behind) = rest.split_at_checked(2 * usize::from(u16::from_le_bytes(*count)))?;
    Some((value, offsets, behind))
}

/// The rows that values between two may be in: the last that begins at or before the first of them, and on.
pub(crate) const POSTINGS: &str = "SELECT postings FROM postings WHERE segment = ?1 AND dimension = ?2 \
     AND first BETWEEN ifnull((SELECT max(first) FROM postings WHERE segment = ?1 AND dimension = ?2 \
     AND first <= ?3), ?3) AND ?4";

/// The first position that has no postings yet.
pub(crate) fn open_from(db: &Connection) -> rusqlite::Result<u64> {
    let last: Option<i64> = db
        .prepare_cached("SELECT segment FROM postings ORDER BY segment DESC LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(last.map_or(0, |segment| (unsigned(segment) + 1) * SEGMENT))
}

/// Positions from a first to a last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub first: u64,
    pub last: u64,
}

impl Span {
    pub const ALL: Self = Self {
        first: 0,
        last: i64::MAX as u64,
    };

    pub fn and(self, other: Self) -> Self {
        Self {
            first: self.first.max(other.first),
            last: self.last.min(other.last),
        }
    }
}

/// Positions outside of which nothing was recorded between two instants. Clocks are no order,
/// so it may hold more than that.
pub(crate) fn span(
    db: &Connection,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
) -> rusqlite::Result<Span> {
    let mut span = Span::ALL;
    if let Some(since) = since {
        let first: Option<i64> = db
            .prepare_cached("SELECT min(segment) FROM segments WHERE last_at >= ?")?
            .query_row([micros(since)], |row| row.get(0))?;
        match first {
            Some(segment) => span.first = unsigned(segment) * SEGMENT,
            None => span.last = 0,
        }
    }
    if let Some(until) = until {
        let last: Option<i64> = db
            .prepare_cached("SELECT max(segment) FROM segments WHERE first_at <= ?")?
            .query_row([micros(until)], |row| row.get(0))?;
        let last = last.map_or(0, |segment| unsigned(segment) * SEGMENT + SEGMENT - 1);
        span.last = span.last.min(last);
    }
    Ok(span)
}
