//! Postings: for each closed segment of the log, which of its positions have which value.
//!
//! A segment's postings are written together when the segment is full, in key order and at the
//! end of their table, so that they cost about as much as the rows. The open segment has none;
//! it is walked. A search reads one posting per condition and segment and intersects them.

use std::borrow::Cow;
use std::collections::BTreeMap;

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
    /// The values of 16 bytes: there are about as many as there are events.
    others: Vec<(Dimension, [u8; 16], u16)>,
}

impl Open {
    /// The segment of `position`, with the rows it has so far (that position's included).
    pub fn load(db: &Connection, at: u64) -> rusqlite::Result<Self> {
        let segment = at / SEGMENT;
        let mut open: Option<Self> = None;
        let mut rows = db.prepare_cached(&format!(
            "{SELECT} WHERE position BETWEEN ? AND ? ORDER BY position"
        ))?;
        let range = [position(segment * SEGMENT), position(at)];
        for row in rows.query_map(range, read)? {
            let row = row?;
            open.get_or_insert_with(|| Self::new(segment, row.recorded_at))
                .add(&row);
        }
        open.ok_or(rusqlite::Error::QueryReturnedNoRows)
    }

    fn new(segment: u64, at: Timestamp) -> Self {
        Self {
            segment,
            span: (at, at),
            types: BTreeMap::new(),
            streams: BTreeMap::new(),
            proxies: BTreeMap::new(),
            others: Vec::new(),
        }
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
        match row.grant_id() {
            Some(grant) => self
                .others
                .push((Dimension::Grant, grant.0.into_bytes(), offset)),
            None => self
                .streams
                .entry(row.stream.clone())
                .or_default()
                .push(offset),
        }
        let others = [
            (Dimension::Client, row.client_id.map(|id| id.0.into_bytes())),
            (Dimension::Subject, row.subject.map(|id| id.0.into_bytes())),
            (Dimension::Ip, row.ip.map(ip_key)),
            (Dimension::Request, row.request_id.map(Uuid::into_bytes)),
        ];
        for (dimension, value) in others {
            if let Some(value) = value {
                self.others.push((dimension, value, offset));
            }
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

    /// Writes the postings of a full segment.
    pub fn close(mut self, db: &Connection) -> rusqlite::Result<()> {
        self.note(db)?;
        let mut insert = db.prepare_cached("INSERT INTO postings VALUES (?, ?, ?, ?)")?;
        let segment = position(self.segment);
        let mut bytes = Vec::new();
        let mut put =
            |dimension: Dimension, value: &[u8], offsets: &mut dyn Iterator<Item = u16>| {
                bytes.clear();
                offsets.for_each(|offset| bytes.extend_from_slice(&offset.to_le_bytes()));
                insert.execute((segment, dimension as u8, value, &bytes))
            };
        for (value, offsets) in &self.types {
            put(
                Dimension::Type,
                value.as_bytes(),
                &mut offsets.iter().copied(),
            )?;
        }
        for (value, offsets) in &self.streams {
            put(
                Dimension::Stream,
                value.as_bytes(),
                &mut offsets.iter().copied(),
            )?;
        }
        for (value, offsets) in &self.proxies {
            put(
                Dimension::Proxy,
                &value.to_be_bytes(),
                &mut offsets.iter().copied(),
            )?;
        }
        self.others.sort_unstable();
        for same in self.others.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            if let Some((dimension, value, _)) = same.first() {
                put(
                    *dimension,
                    value,
                    &mut same.iter().map(|(_, _, offset)| *offset),
                )?;
            }
        }
        Ok(())
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
        let bytes = row.get_ref(0)?.as_blob()?;
        found.extend(
            bytes
                .chunks_exact(2)
                .map(|pair| u16::from_le_bytes([pair[0], pair[1]])),
        );
    }
    Ok(found)
}

pub(crate) const POSTINGS: &str =
    "SELECT offsets FROM postings WHERE segment = ? AND dimension = ? AND value BETWEEN ? AND ?";

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
