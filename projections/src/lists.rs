//! The filters of each list, and the SQL that they become.
//!
//! Every filter has an index (for events: postings), and every list is in the order of the log,
//! which is the only order: a cursor is a position, and what is recorded later never appears
//! before what was shown.

use chrono::TimeDelta;
use domain::Timestamp;
use domain::id::{ClientId, GrantId, ProviderId, ProxyId, SubjectId};
use rusqlite::Connection;
use rusqlite::types::Value;
use uuid::Uuid;

use crate::clients::Status;
use crate::events::{self, Condition, Span, TypeName};
use crate::filter::{BadFilter, IpRange, Paging, Pairs};
use crate::logins::Outcome;
use crate::sql::{micros, position};

/// Which logins to show.
#[derive(Clone, Debug)]
pub struct LoginFilter {
    pub(crate) wanted: Wanted,
    /// Which part of them.
    pub paging: Paging,
}

impl LoginFilter {
    /// The names of its filters.
    pub const NAMES: &'static [&'static str] = &[
        "subject",
        "email",
        "client_id",
        "proxy_id",
        "provider_id",
        "ip",
        "outcome",
        "reason",
    ];

    /// Reads a query's pairs; spans of time end at `now`.
    ///
    /// # Errors
    /// A name is unknown or given twice, or a value is not of its kind.
    pub fn parse<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        now: Timestamp,
    ) -> Result<Self, BadFilter> {
        let (mut pairs, paging) = Pairs::read("logins", Self::NAMES, pairs, now)?;
        let mut wanted = Wanted::people(&mut pairs)?;
        wanted.text(
            "outcome = ?",
            pairs.parsed::<Outcome>("outcome")?.map(Outcome::as_str),
        );
        wanted.text("reason = ?", pairs.text("reason")?);
        Ok(Self { wanted, paging })
    }

    pub(crate) fn sql(&self, db: &Connection) -> rusqlite::Result<(String, Vec<Value>)> {
        // an attempt is recorded when it ends, which is within a day of its start
        let until = self
            .paging
            .until
            .and_then(|until| until.checked_add_signed(TimeDelta::days(1)));
        let span = events::span(db, self.paging.since, until)?;
        Ok(self
            .wanted
            .sql("logins", "position", "started_at", &self.paging, span))
    }
}

/// Which grants to show.
#[derive(Clone, Debug)]
pub struct GrantFilter {
    pub(crate) wanted: Wanted,
    /// Which part of them.
    pub paging: Paging,
}

impl GrantFilter {
    /// The names of its filters.
    pub const NAMES: &'static [&'static str] = &[
        "subject",
        "email",
        "client_id",
        "proxy_id",
        "provider_id",
        "ip",
        "reason",
        "live",
    ];

    /// Reads a query's pairs; spans of time end at `now`, and `live` is judged then.
    ///
    /// # Errors
    /// A name is unknown or given twice, or a value is not of its kind.
    pub fn parse<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        now: Timestamp,
    ) -> Result<Self, BadFilter> {
        let (mut pairs, paging) = Pairs::read("grants", Self::NAMES, pairs, now)?;
        let mut wanted = Wanted::people(&mut pairs)?;
        wanted.text("reason = ?", pairs.text("reason")?);
        match pairs.flag("live")? {
            Some(true) => wanted.also("live_until > ?", Value::Integer(micros(now))),
            Some(false) => wanted.also("live_until <= ?", Value::Integer(micros(now))),
            None => {}
        }
        Ok(Self { wanted, paging })
    }

    pub(crate) fn sql(&self, db: &Connection) -> rusqlite::Result<(String, Vec<Value>)> {
        let span = events::span(db, self.paging.since, self.paging.until)?;
        Ok(self
            .wanted
            .sql("grants", "first_position", "created_at", &self.paging, span))
    }
}

/// Which clients to show.
#[derive(Clone, Debug)]
pub struct ClientFilter {
    pub(crate) wanted: Wanted,
    /// Which part of them.
    pub paging: Paging,
}

impl ClientFilter {
    /// The names of its filters.
    pub const NAMES: &'static [&'static str] = &["proxy_id", "status", "client_name"];

    /// Reads a query's pairs; spans of time end at `now`.
    ///
    /// # Errors
    /// A name is unknown or given twice, or a value is not of its kind.
    pub fn parse<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        now: Timestamp,
    ) -> Result<Self, BadFilter> {
        let (mut pairs, paging) = Pairs::read("clients", Self::NAMES, pairs, now)?;
        let mut wanted = Wanted::default();
        wanted.number(
            "proxy_id = ?",
            pairs.parsed::<ProxyId>("proxy_id")?.map(|id| id.0),
        );
        wanted.text(
            "status = ?",
            pairs.parsed::<Status>("status")?.map(Status::as_str),
        );
        wanted.text("client_name = ? COLLATE NOCASE", pairs.text("client_name")?);
        Ok(Self { wanted, paging })
    }

    pub(crate) fn sql(&self, db: &Connection) -> rusqlite::Result<(String, Vec<Value>)> {
        let span = events::span(db, self.paging.since, self.paging.until)?;
        Ok(self
            .wanted
            .sql("clients", "position", "registered_at", &self.paging, span))
    }
}

/// Which events to show.
#[derive(Clone, Debug)]
pub struct EventFilter {
    pub(crate) conditions: Vec<Condition>,
    /// Only events behind this position.
    pub after: Option<u64>,
    /// Which part of them.
    pub paging: Paging,
}

const TYPES_MAX: usize = 32;

impl EventFilter {
    /// The names of its filters.
    pub const NAMES: &'static [&'static str] = &[
        "type",
        "stream",
        "grant_id",
        "client_id",
        "subject",
        "proxy_id",
        "ip",
        "request_id",
        "after",
    ];

    /// Reads a query's pairs; spans of time end at `now`.
    ///
    /// # Errors
    /// A name is unknown or given twice, or a value is not of its kind.
    pub fn parse<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        now: Timestamp,
    ) -> Result<Self, BadFilter> {
        let (mut pairs, paging) = Pairs::read("events", Self::NAMES, pairs, now)?;
        let request = pairs.with("request_id", "a UUID", |text| Uuid::try_parse(text).ok())?;
        let ip = pairs.parsed::<IpRange>("ip")?;
        let conditions = [
            request.map(Condition::Request),
            pairs.parsed::<GrantId>("grant_id")?.map(Condition::Grant),
            pairs.text("stream")?.map(stream),
            pairs
                .parsed::<SubjectId>("subject")?
                .map(Condition::Subject),
            pairs
                .parsed::<ClientId>("client_id")?
                .map(Condition::Client),
            ip.map(|ip| Condition::Ip(ip.first, ip.last)),
            pairs
                .with(
                    "type",
                    "up to 32 event types, each with or without * at its end",
                    types,
                )?
                .map(Condition::Types),
            pairs.parsed::<ProxyId>("proxy_id")?.map(Condition::Proxy),
        ];
        Ok(Self {
            conditions: conditions.into_iter().flatten().collect(),
            after: pairs.number("after")?,
            paging,
        })
    }

    pub(crate) fn search(&self) -> events::Search {
        let after = self.after.map_or(Span::ALL, |after| Span {
            first: after.saturating_add(1),
            ..Span::ALL
        });
        events::Search {
            conditions: self.conditions.clone(),
            span: after.and(behind_cursor(&self.paging)),
            since: self.paging.since,
            until: self.paging.until,
            ascending: self.paging.ascending,
        }
    }
}

fn stream(name: String) -> Condition {
    match name.strip_prefix("grant-").map(str::parse) {
        Some(Ok(grant)) => Condition::Grant(grant),
        Some(Err(_)) | None => Condition::Stream(name),
    }
}

fn types(text: &str) -> Option<Vec<TypeName>> {
    let names: Option<Vec<_>> = text
        .split(',')
        .map(|name| {
            let plain = |name: &str| {
                name.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_'))
            };
            match name.strip_suffix('*') {
                Some(prefix) if plain(prefix) => Some(TypeName::Prefix(prefix.to_owned())),
                None if plain(name) && !name.is_empty() => Some(TypeName::Exact(name.to_owned())),
                Some(_) | None => None,
            }
        })
        .collect();
    names.filter(|names| names.len() <= TYPES_MAX)
}

/// The positions that the cursor leaves.
fn behind_cursor(paging: &Paging) -> Span {
    match paging.position() {
        None => Span::ALL,
        Some(0) if !paging.ascending => Span { first: 1, last: 0 },
        Some(last) if !paging.ascending => Span {
            last: last - 1,
            ..Span::ALL
        },
        Some(last) => Span {
            first: last.saturating_add(1),
            ..Span::ALL
        },
    }
}

/// What rows of a table have to have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    predicates: Vec<(&'static str, Value)>,
}

impl Wanted {
    /// The filters that logins and grants share.
    fn people(pairs: &mut Pairs) -> Result<Self, BadFilter> {
        let mut wanted = Self::default();
        wanted.text(
            "subject = ?",
            pairs
                .parsed::<SubjectId>("subject")?
                .map(|id| id.to_string()),
        );
        wanted.text("email = ? COLLATE NOCASE", pairs.text("email")?);
        wanted.text(
            "client_id = ?",
            pairs
                .parsed::<ClientId>("client_id")?
                .map(|id| id.to_string()),
        );
        wanted.number(
            "proxy_id = ?",
            pairs.parsed::<ProxyId>("proxy_id")?.map(|id| id.0),
        );
        wanted.number(
            "provider_id = ?",
            pairs.parsed::<ProviderId>("provider_id")?.map(|id| id.0),
        );
        if let Some(ip) = pairs.parsed::<IpRange>("ip")? {
            wanted.also("ip_key >= ?", Value::Blob(ip.first.to_vec()));
            wanted.also("ip_key <= ?", Value::Blob(ip.last.to_vec()));
        }
        Ok(wanted)
    }

    fn text(&mut self, predicate: &'static str, value: Option<impl Into<String>>) {
        if let Some(value) = value {
            self.also(predicate, Value::Text(value.into()));
        }
    }

    fn number(&mut self, predicate: &'static str, value: Option<u32>) {
        if let Some(value) = value {
            self.also(predicate, Value::Integer(value.into()));
        }
    }

    fn also(&mut self, predicate: &'static str, value: Value) {
        self.predicates.push((predicate, value));
    }

    /// One row more than the page has, so that it is known whether there is another page.
    fn sql(
        &self,
        table: &str,
        order: &str,
        time: &str,
        paging: &Paging,
        span: Span,
    ) -> (String, Vec<Value>) {
        let span = span.and(behind_cursor(paging));
        let mut sql = format!("SELECT * FROM {table} WHERE {order} BETWEEN ? AND ?");
        let mut values = vec![
            Value::Integer(position(span.first)),
            Value::Integer(position(span.last)),
        ];
        for (operator, limit) in [(">=", paging.since), ("<=", paging.until)] {
            if let Some(limit) = limit {
                sql = format!("{sql} AND {time} {operator} ?");
                values.push(Value::Integer(micros(limit)));
            }
        }
        for (predicate, value) in &self.predicates {
            sql = format!("{sql} AND {predicate}");
            values.push(value.clone());
        }
        values.push(Value::Integer(paging.limit as i64 + 1));
        let direction = if paging.ascending { "ASC" } else { "DESC" };
        (
            format!("{sql} ORDER BY {order} {direction} LIMIT ?"),
            values,
        )
    }
}
