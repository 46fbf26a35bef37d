//! Everything the log's entries can be found by. Their bodies stay in the log.
//!
//! Rows are appended in position order and never change. What finds them is not an index per
//! column (seven of them cost five times what the row costs) but [`postings`], written once for
//! every closed segment of the log.

mod postings;
mod search;

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

use domain::id::{ClientId, ProxyId, SubjectId};
use domain::{Timestamp, id::GrantId};
use rusqlite::{Connection, OptionalExtension, Row, ToSql};
use serde::Serialize;
use uuid::Uuid;

use crate::page::Listed;
use crate::recorded::{Circumstances, Seen, about};
use crate::sql::{self, Columns, micros};
use crate::table::{BadStream, Projection};

pub(crate) use postings::{Span, span};
pub(crate) use search::{Condition, Search, TypeName, search};

/// What an entry of the log can be found by.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventRow {
    /// Where it stands in the log.
    pub position: u64,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// The event's type name.
    #[serde(rename = "type")]
    pub name: Cow<'static, str>,
    /// The stream it belongs to.
    pub stream: String,
    /// The proxy it happened at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_id: Option<ProxyId>,
    /// The client that was involved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<ClientId>,
    /// The person whose access it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<SubjectId>,
    /// The request that caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Uuid>,
    /// Where that request came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// What sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

impl EventRow {
    /// The grant whose story it is part of, if it is.
    #[must_use]
    pub fn grant_id(&self) -> Option<GrantId> {
        self.stream.strip_prefix("grant-")?.parse().ok()
    }
}

impl Listed for EventRow {
    const COLUMNS: &'static [&'static str] = &[
        "position",
        "recorded_at",
        "type",
        "stream",
        "proxy_id",
        "client_id",
        "subject",
        "request_id",
        "ip",
        "user_agent",
    ];
}

pub(crate) struct Events;

/// What appending rows needs to remember: the open segment, the one before it, and the sources' ids.
#[derive(Default)]
pub(crate) struct Memo {
    open: Option<postings::Open>,
    closing: Option<postings::Closing>,
    sources: Sources,
}

/// The ids of sources, by address and agent.
#[derive(Default)]
struct Sources {
    ids: HashMap<Option<IpAddr>, HashMap<Option<String>, i64>>,
    known: usize,
}

/// Sources beyond this are looked up again when they are needed again.
const SOURCES_KEPT_MAX: usize = if cfg!(test) { 2 } else { 65_536 };

impl Projection for Events {
    type Key = u64;
    type Row = EventRow;
    type Memo = Memo;
    const APPENDS: bool = true;

    fn key(seen: &Seen<'_>) -> Result<Option<u64>, BadStream> {
        Ok(Some(seen.recorded.position))
    }

    fn fold(_: Option<EventRow>, seen: &Seen<'_>) -> Option<EventRow> {
        let entry = &seen.recorded.entry;
        let about = about(entry);
        Some(EventRow {
            position: seen.recorded.position,
            recorded_at: seen.at(),
            name: Cow::Borrowed(entry.event.name()),
            stream: entry.envelope.stream.clone(),
            proxy_id: about.proxy_id,
            client_id: about.client_id,
            subject: about.subject,
            request_id: entry.envelope.request_id,
            ip: seen.circumstances.ip,
            user_agent: seen.circumstances.user_agent.clone(),
        })
    }

    fn load(db: &Connection, key: &u64) -> rusqlite::Result<Option<EventRow>> {
        load(db, *key)
    }

    fn store(db: &Connection, memo: &mut Memo, rows: &[(&u64, &EventRow)]) -> rusqlite::Result<()> {
        let starts = rows.first().is_some_and(|(position, _)| **position == 0);
        let (zeroth, others) = rows.split_at(starts.into());
        let many = others.chunks_exact(ROWS_AT_ONCE);
        let rest = many.remainder().chunks(1);
        for rows in zeroth.chunks(1).chain(many).chain(rest) {
            insert(db, &mut memo.sources, rows)?;
        }
        for (position, row) in rows {
            match &mut memo.open {
                Some(open) if open.is_past(**position) => {
                    let full = std::mem::replace(open, postings::Open::begin(row));
                    Self::settle(db, memo)?;
                    memo.closing = Some(full.close(db)?);
                }
                Some(open) => open.add(row),
                None => memo.open = Some(postings::Open::resume(db, **position)?),
            }
        }
        memo.open.as_ref().map_or(Ok(()), |open| open.note(db))
    }

    fn settle(db: &Connection, memo: &mut Memo) -> rusqlite::Result<()> {
        let closing = memo.closing.take();
        closing.map_or(Ok(()), |closing| closing.write(db))
    }
}

/// Events that one statement inserts: half of what one costs alone is to begin and to end it.
const ROWS_AT_ONCE: usize = if cfg!(test) { 3 } else { 32 };

/// Inserts rows that follow those that are there, or the one at position 0.
fn insert(
    db: &Connection,
    sources: &mut Sources,
    rows: &[(&u64, &EventRow)],
) -> rusqlite::Result<()> {
    const COLUMNS: &str =
        "recorded_at, type, stream, proxy_id, client_id, subject, request_id, source";
    const ROW: &str = "?, ?, ?, ?, ?, ?, ?, ?";
    // From the first row on SQLite numbers them by itself, and needs not look whether a number is taken.
    let values = match rows {
        [(0, _)] => format!("(position, {COLUMNS}) VALUES (0, {ROW})"),
        rows => format!(
            "({COLUMNS}) VALUES ({})",
            vec![ROW; rows.len()].join("), (")
        ),
    };
    let mut insert = db.prepare_cached(&format!("INSERT INTO events {values}"))?;
    let mut parameter = 0;
    for (_, row) in rows {
        let source = source(db, sources, row)?;
        let columns: [&dyn ToSql; 8] = [
            &micros(row.recorded_at),
            &row.name,
            &row.stream,
            &row.proxy_id.map(|id| id.0),
            &row.client_id.map(|id| id.0.into_bytes()),
            &row.subject.map(|id| id.0.into_bytes()),
            &row.request_id.map(Uuid::into_bytes),
            &source,
        ];
        for column in columns {
            parameter += 1;
            insert.raw_bind_parameter(parameter, column)?;
        }
    }
    insert.raw_execute()?;
    let last = rows.last().map(|(position, _)| sql::position(**position));
    if last.is_some_and(|last| last != db.last_insert_rowid()) {
        return Err(sql::damaged("position"));
    }
    Ok(())
}

const SELECT: &str = "SELECT position, recorded_at, type, stream, proxy_id, client_id, subject, \
    request_id, s.ip, user_agent FROM events LEFT JOIN sources s ON s.id = source";

pub(crate) fn load(db: &Connection, position: u64) -> rusqlite::Result<Option<EventRow>> {
    db.prepare_cached(&format!("{SELECT} WHERE position = ?"))?
        .query_row([sql::position(position)], read)
        .optional()
}

fn read(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    let uuid = |column: &str| -> rusqlite::Result<Option<Uuid>> {
        Ok(row
            .get::<_, Option<[u8; 16]>>(column)?
            .map(Uuid::from_bytes))
    };
    Ok(EventRow {
        position: row.position("position")?,
        recorded_at: row.at("recorded_at")?,
        name: Cow::Owned(row.get("type")?),
        stream: row.get("stream")?,
        proxy_id: row.get::<_, Option<u32>>("proxy_id")?.map(ProxyId),
        client_id: uuid("client_id")?.map(ClientId),
        subject: uuid("subject")?.map(SubjectId),
        request_id: uuid("request_id")?,
        ip: row.get::<_, Option<[u8; 16]>>("ip")?.map(sql::ip_of),
        user_agent: row.get("user_agent")?,
    })
}

/// The id of a pair of address and agent.
fn source(db: &Connection, sources: &mut Sources, row: &EventRow) -> rusqlite::Result<Option<i64>> {
    if row.ip.is_none() && row.user_agent.is_none() {
        return Ok(None);
    }
    let at_address = sources.ids.get(&row.ip);
    if let Some(id) = at_address.and_then(|agents| agents.get(&row.user_agent)) {
        return Ok(Some(*id));
    }
    let key = row.ip.map(sql::ip_key);
    let found = db
        .prepare_cached("SELECT id FROM sources WHERE ip IS ? AND user_agent IS ?")?
        .query_row((key, &row.user_agent), |row| row.get(0))
        .optional()?;
    let id = match found {
        Some(id) => id,
        None => db
            .prepare_cached("INSERT INTO sources (address, ip, user_agent) VALUES (?, ?, ?)")?
            .insert((row.ip.map(|ip| ip.to_string()), key, &row.user_agent))?,
    };
    if sources.known >= SOURCES_KEPT_MAX {
        *sources = Sources::default();
    }
    sources.known += 1;
    let agents = sources.ids.entry(row.ip).or_default();
    agents.insert(row.user_agent.clone(), id);
    Ok(Some(id))
}

/// The circumstances and names of the entry at a position, to go on from there.
pub(crate) fn carry_at(db: &Connection, position: u64) -> rusqlite::Result<crate::recorded::Carry> {
    Ok(load(db, position)?.map_or_else(Default::default, |row| {
        crate::recorded::Carry::new(
            row.stream,
            row.request_id,
            Circumstances {
                ip: row.ip,
                user_agent: row.user_agent,
            },
        )
    }))
}
