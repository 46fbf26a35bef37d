//! The proxies there are, with their whole configuration: what a node loads when it starts.

use domain::event::Event;
use domain::id::ProxyId;
use domain::{Timestamp, proxy};
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use crate::recorded::Seen;
use crate::sql::{self, Columns, micros};
use crate::table::{BadStream, Projection, id_in};

/// A proxy that ever was.
#[derive(Clone, Debug, PartialEq)]
pub struct Proxy {
    /// Its number.
    pub proxy_id: ProxyId,
    /// The version of the last event in its stream, from 0.
    pub version: u64,
    /// Its configuration; none: it was removed.
    pub configured: Option<proxy::Configured>,
    /// When it was added.
    pub added_at: Timestamp,
    /// When it last changed.
    pub changed_at: Timestamp,
}

pub(crate) struct Proxies;

impl Projection for Proxies {
    type Key = u32;
    type Row = Proxy;
    type Memo = ();

    fn key(seen: &Seen<'_>) -> Result<Option<u32>, BadStream> {
        match seen.event() {
            Event::Proxy(_) => id_in(seen.stream(), "proxy-").map(|ProxyId(number)| Some(number)),
            Event::Provider(_)
            | Event::Client(_)
            | Event::Grant(_)
            | Event::Subject(_)
            | Event::Operator(_)
            | Event::ApiKey(_)
            | Event::Audit(_)
            | Event::Key(_) => Ok(None),
        }
    }

    fn fold(row: Option<Proxy>, seen: &Seen<'_>) -> Option<Proxy> {
        let Event::Proxy(event) = seen.event() else {
            return row;
        };
        Some(Proxy {
            proxy_id: id_in(seen.stream(), "proxy-").ok()?,
            version: seen.recorded.entry.envelope.version,
            configured: match event {
                proxy::Event::Added(configured) | proxy::Event::Changed(configured) => {
                    Some(configured.as_ref().clone())
                }
                proxy::Event::Removed(_) => None,
            },
            added_at: row.map_or(seen.at(), |row| row.added_at),
            changed_at: seen.at(),
        })
    }

    fn load(db: &Connection, key: &u32) -> rusqlite::Result<Option<Proxy>> {
        db.prepare_cached("SELECT * FROM proxies WHERE proxy_id = ?")?
            .query_row([key], read)
            .optional()
    }

    fn store(db: &Connection, (): &mut (), rows: &[(&u32, &Proxy)]) -> rusqlite::Result<()> {
        let mut store = db.prepare_cached(
            "INSERT OR REPLACE INTO proxies \
             VALUES (:proxy_id, :version, :configured, :added_at, :changed_at)",
        )?;
        for (key, row) in rows {
            store.execute(named_params! {
                ":proxy_id": key,
                ":version": sql::position(row.version),
                ":configured": row.configured.as_ref().map(sql::json).transpose()?,
                ":added_at": micros(row.added_at),
                ":changed_at": micros(row.changed_at),
            })?;
        }
        Ok(())
    }
}

pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Proxy> {
    Ok(Proxy {
        proxy_id: ProxyId(row.get("proxy_id")?),
        version: row.position("version")?,
        configured: row.json("configured")?,
        added_at: row.at("added_at")?,
        changed_at: row.at("changed_at")?,
    })
}
