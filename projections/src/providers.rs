//! The providers there are, with their whole configuration: what a node loads when it starts.

use domain::event::Event;
use domain::id::ProviderId;
use domain::{Timestamp, provider};
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use crate::recorded::Seen;
use crate::sql::{self, Columns, micros};
use crate::table::{BadStream, Projection, id_in};

/// A provider that ever was.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    /// Its number.
    pub provider_id: ProviderId,
    /// The version of the last event in its stream, from 0.
    pub version: u64,
    /// Its configuration; none: it was removed.
    pub configured: Option<provider::Configured>,
    /// When it was added.
    pub added_at: Timestamp,
    /// When it last changed.
    pub changed_at: Timestamp,
}

pub(crate) struct Providers;

impl Projection for Providers {
    type Key = u32;
    type Row = Provider;
    type Memo = ();

    fn key(seen: &Seen<'_>) -> Result<Option<u32>, BadStream> {
        match seen.event() {
            Event::Provider(_) => {
                id_in(seen.stream(), "provider-").map(|ProviderId(number)| Some(number))
            }
            Event::Proxy(_)
            | Event::Client(_)
            | Event::Grant(_)
            | Event::Subject(_)
            | Event::Operator(_)
            | Event::ApiKey(_)
            | Event::Audit(_)
            | Event::Key(_) => Ok(None),
        }
    }

    fn fold(row: Option<Provider>, seen: &Seen<'_>) -> Option<Provider> {
        let Event::Provider(event) = seen.event() else {
            return row;
        };
        Some(Provider {
            provider_id: id_in(seen.stream(), "provider-").ok()?,
            version: seen.recorded.entry.envelope.version,
            configured: match event {
                provider::Event::Added(configured) | provider::Event::Changed(configured) => {
                    Some(configured.as_ref().clone())
                }
                provider::Event::Removed(_) => None,
            },
            added_at: row.map_or(seen.at(), |row| row.added_at),
            changed_at: seen.at(),
        })
    }

    fn load(db: &Connection, key: &u32) -> rusqlite::Result<Option<Provider>> {
        db.prepare_cached("SELECT * FROM providers WHERE provider_id = ?")?
            .query_row([key], read)
            .optional()
    }

    fn store(db: &Connection, (): &mut (), rows: &[(&u32, &Provider)]) -> rusqlite::Result<()> {
        let mut store = db.prepare_cached(
            "INSERT OR REPLACE INTO providers \
             VALUES (:provider_id, :version, :configured, :added_at, :changed_at)",
        )?;
        for (key, row) in rows {
            store.execute(named_params! {
                ":provider_id": key,
                ":version": sql::position(row.version),
                ":configured": row.configured.as_ref().map(sql::json).transpose()?,
                ":added_at": micros(row.added_at),
                ":changed_at": micros(row.changed_at),
            })?;
        }
        Ok(())
    }
}

pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Provider> {
    Ok(Provider {
        provider_id: ProviderId(row.get("provider_id")?),
        version: row.position("version")?,
        configured: row.json("configured")?,
        added_at: row.at("added_at")?,
        changed_at: row.at("changed_at")?,
    })
}
