//! The operators there are and were. Hashes of their tokens stay in the log.

use domain::event::Event;
use domain::id::OperatorId;
use domain::operator::Role;
use domain::{Timestamp, operator};
use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde::Serialize;

use crate::page::Listed;
use crate::recorded::Seen;
use crate::sql::{Columns, damaged, micros};
use crate::table::{BadStream, Projection, id_in};

/// An operator, removed ones included.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Operator {
    /// Their id.
    #[serde(rename = "id")]
    pub operator_id: OperatorId,
    /// What they are called.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// When they were let in.
    pub added_at: Timestamp,
    /// Since when they are let in no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<Timestamp>,
}

impl Listed for Operator {
    const COLUMNS: &'static [&'static str] = &["id", "name", "role", "added_at", "removed_at"];
}

pub(crate) struct Operators;

impl Projection for Operators {
    type Key = OperatorId;
    type Row = Operator;
    type Memo = ();

    fn key(seen: &Seen<'_>) -> Result<Option<OperatorId>, BadStream> {
        match seen.event() {
            Event::Operator(_) => id_in(seen.stream(), "operator-").map(Some),
            Event::Provider(_)
            | Event::Proxy(_)
            | Event::Client(_)
            | Event::Grant(_)
            | Event::Subject(_)
            | Event::ApiKey(_)
            | Event::Audit(_)
            | Event::Key(_) => Ok(None),
        }
    }

    fn fold(row: Option<Operator>, seen: &Seen<'_>) -> Option<Operator> {
        let Event::Operator(event) = seen.event() else {
            return row;
        };
        match (row, event) {
            (None, operator::Event::Added(added)) => Some(Operator {
                operator_id: id_in(seen.stream(), "operator-").ok()?,
                name: added.name.clone(),
                role: added.role,
                added_at: seen.at(),
                removed_at: None,
            }),
            (Some(row), operator::Event::Changed(changed)) => Some(Operator {
                name: changed.name.clone(),
                role: changed.role,
                ..row
            }),
            (Some(row), operator::Event::Removed(_)) => Some(Operator {
                removed_at: row.removed_at.or(Some(seen.at())),
                ..row
            }),
            (row @ Some(_), operator::Event::Added(_) | operator::Event::TokenReplaced(_))
            | (
                row @ None,
                operator::Event::Changed(_)
                | operator::Event::TokenReplaced(_)
                | operator::Event::Removed(_),
            ) => row,
        }
    }

    fn load(db: &Connection, key: &OperatorId) -> rusqlite::Result<Option<Operator>> {
        db.prepare_cached("SELECT * FROM operators WHERE operator_id = ?")?
            .query_row([key.to_string()], read)
            .optional()
    }

    fn store(
        db: &Connection,
        (): &mut (),
        rows: &[(&OperatorId, &Operator)],
    ) -> rusqlite::Result<()> {
        let mut store = db.prepare_cached(
            "INSERT OR REPLACE INTO operators \
             VALUES (:operator_id, :name, :role, :added_at, :removed_at)",
        )?;
        for (key, row) in rows {
            store.execute(named_params! {
                ":operator_id": key.to_string(),
                ":name": row.name,
                ":role": word(row.role),
                ":added_at": micros(row.added_at),
                ":removed_at": row.removed_at.map(micros),
            })?;
        }
        Ok(())
    }
}

fn word(role: Role) -> &'static str {
    match role {
        Role::Admin => "admin",
        Role::Auditor => "auditor",
        Role::Responder => "responder",
    }
}

pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Operator> {
    let role: String = row.get("role")?;
    Ok(Operator {
        operator_id: row.parsed("operator_id")?,
        name: row.get("name")?,
        role: [Role::Admin, Role::Auditor, Role::Responder]
            .into_iter()
            .find(|known| word(*known) == role)
            .ok_or_else(|| damaged("role"))?,
        added_at: row.at("added_at")?,
        removed_at: row.at_opt("removed_at")?,
    })
}
