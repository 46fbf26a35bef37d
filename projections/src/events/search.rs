//! Finding events: postings for closed segments, a walk for the open one.

use std::ops::ControlFlow;

use domain::Timestamp;
use domain::id::{ClientId, GrantId, ProxyId, SubjectId};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use uuid::Uuid;

use super::postings::{self, Dimension, SEGMENT, Span};
use super::{EventRow, SELECT, load, read};
use crate::sql::{micros, position};

/// Something that an event has to have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Condition {
    Request(Uuid),
    Grant(GrantId),
    Stream(String),
    Subject(SubjectId),
    Client(ClientId),
    /// An address between two, both included.
    Ip([u8; 16], [u8; 16]),
    /// One of these type names, or one that begins with one of these prefixes.
    Types(Vec<TypeName>),
    Proxy(ProxyId),
}

/// A type name or the beginning of several.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TypeName {
    Exact(String),
    Prefix(String),
}

impl TypeName {
    /// The first and last name meant.
    fn range(&self) -> (String, String) {
        match self {
            Self::Exact(name) => (name.clone(), name.clone()),
            Self::Prefix(prefix) => (prefix.clone(), format!("{prefix}{}", char::MAX)),
        }
    }
}

/// Values between two, both included.
type Values = (Vec<u8>, Vec<u8>);

impl Condition {
    /// Where its postings are: values between two, both included.
    fn postings(&self) -> (Dimension, Vec<Values>) {
        let one = |value: &[u8]| vec![(value.to_vec(), value.to_vec())];
        match self {
            Self::Request(id) => (Dimension::Request, one(id.as_bytes())),
            Self::Grant(id) => (Dimension::Grant, one(id.0.as_bytes())),
            Self::Stream(name) => (Dimension::Stream, one(name.as_bytes())),
            Self::Subject(id) => (Dimension::Subject, one(id.0.as_bytes())),
            Self::Client(id) => (Dimension::Client, one(id.0.as_bytes())),
            Self::Ip(first, last) => (Dimension::Ip, vec![(first.to_vec(), last.to_vec())]),
            Self::Proxy(id) => (Dimension::Proxy, one(&id.0.to_be_bytes())),
            Self::Types(names) => {
                let bytes = |(first, last): (String, String)| (first.into(), last.into());
                let ranges = names.iter().map(|name| bytes(name.range())).collect();
                (Dimension::Type, ranges)
            }
        }
    }

    /// The same as a predicate over rows, for the open segment.
    fn predicate(&self, values: &mut Vec<Value>) -> String {
        let blob = |id: &Uuid| Value::Blob(id.as_bytes().to_vec());
        let (column, value) = match self {
            Self::Request(id) => ("request_id", blob(id)),
            Self::Grant(id) => ("stream", Value::Text(domain::grant::stream(*id))),
            Self::Stream(name) => ("stream", Value::Text(name.clone())),
            Self::Subject(id) => ("subject", blob(&id.0)),
            Self::Client(id) => ("client_id", blob(&id.0)),
            Self::Proxy(id) => ("proxy_id", Value::Integer(id.0.into())),
            Self::Ip(first, last) => {
                values.extend([first, last].map(|ip| Value::Blob(ip.to_vec())));
                return "source IN (SELECT id FROM sources WHERE ip BETWEEN ? AND ?)".to_owned();
            }
            Self::Types(names) => {
                for (first, last) in names.iter().map(TypeName::range) {
                    values.extend([first, last].map(Value::Text));
                }
                return format!(
                    "({})",
                    vec!["type BETWEEN ? AND ?"; names.len()].join(" OR ")
                );
            }
        };
        values.push(value);
        format!("{column} = ?")
    }

    /// The offsets in a closed segment that fulfil it, in order.
    fn offsets(&self, db: &Connection, segment: u64) -> rusqlite::Result<Vec<u16>> {
        let (dimension, ranges) = self.postings();
        let mut found = Vec::new();
        for (first, last) in &ranges {
            found.extend(postings::offsets(db, segment, dimension, (first, last))?);
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

/// What to look for, and where.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    pub conditions: Vec<Condition>,
    pub span: Span,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub ascending: bool,
}

impl Search {
    fn is_in_time(&self, row: &EventRow) -> bool {
        self.since.is_none_or(|since| since <= row.recorded_at)
            && self.until.is_none_or(|until| row.recorded_at <= until)
    }
}

/// Shows each matching event, in order, until told to stop.
pub(crate) fn search(
    db: &Connection,
    search: &Search,
    mut each: impl FnMut(EventRow) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    let span = search
        .span
        .and(postings::span(db, search.since, search.until)?);
    if search.conditions.is_empty() {
        return walk(db, search, span, &mut each).map(drop);
    }
    let open_from = postings::open_from(db)?;
    let open = Span {
        first: span.first.max(open_from),
        last: span.last,
    };
    if !search.ascending && walk(db, search, open, &mut each)?.is_break() {
        return Ok(());
    }
    let first = span.first / SEGMENT;
    let end = open_from.min(span.last.saturating_add(1)).div_ceil(SEGMENT);
    for n in first..end {
        let segment = if search.ascending {
            n
        } else {
            first + end - 1 - n
        };
        if in_segment(db, search, segment, span, &mut each)?.is_break() {
            return Ok(());
        }
    }
    if search.ascending {
        walk(db, search, open, &mut each).map(drop)
    } else {
        Ok(())
    }
}

/// Goes through positions one by one.
fn walk(
    db: &Connection,
    search: &Search,
    span: Span,
    each: &mut impl FnMut(EventRow) -> ControlFlow<()>,
) -> rusqlite::Result<ControlFlow<()>> {
    if span.first > span.last {
        return Ok(ControlFlow::Continue(()));
    }
    let (sql, values) = walk_sql(search, span);
    let mut statement = db.prepare_cached(&sql)?;
    for row in statement.query_map(params_from_iter(values), read)? {
        if each(row?).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

pub(super) fn walk_sql(search: &Search, span: Span) -> (String, Vec<Value>) {
    let mut values = vec![
        Value::Integer(position(span.first)),
        Value::Integer(position(span.last)),
    ];
    let mut sql = format!("{SELECT} WHERE position BETWEEN ? AND ?");
    for (operator, limit) in [(">=", search.since), ("<=", search.until)] {
        if let Some(limit) = limit {
            values.push(Value::Integer(micros(limit)));
            sql = format!("{sql} AND recorded_at {operator} ?");
        }
    }
    for condition in &search.conditions {
        sql = format!("{sql} AND {}", condition.predicate(&mut values));
    }
    let order = if search.ascending { "ASC" } else { "DESC" };
    (format!("{sql} ORDER BY position {order}"), values)
}

/// Reads the postings of a closed segment, and the rows that are in all of them.
fn in_segment(
    db: &Connection,
    search: &Search,
    segment: u64,
    span: Span,
    each: &mut impl FnMut(EventRow) -> ControlFlow<()>,
) -> rusqlite::Result<ControlFlow<()>> {
    let mut common: Option<Vec<u16>> = None;
    for condition in &search.conditions {
        let offsets = condition.offsets(db, segment)?;
        let both = match common {
            None => offsets,
            Some(mut common) => {
                common.retain(|offset| offsets.binary_search(offset).is_ok());
                common
            }
        };
        if both.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        common = Some(both);
    }
    let mut offsets = common.unwrap_or_default();
    if !search.ascending {
        offsets.reverse();
    }
    for offset in offsets {
        let at = segment * SEGMENT + u64::from(offset);
        if !(span.first..=span.last).contains(&at) {
            continue;
        }
        if let Some(row) = load(db, at)?.filter(|row| search.is_in_time(row))
            && each(row).is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}
