//! A commit in one round trip and one statement: the server alone finds out whether it may be.
//!
//! The function `append` (migration `0002`) takes the row of `log_head`, and then writes only if all of it holds: each stream has
//! as many entries as is expected, the head is where the entries end and not before where this node knows it, the entry that
//! this node has seen last is there, and nothing was settled meanwhile. The writer's rule is the same; what differs here is who
//! applies it. Outside a transaction the statement is one; it is answered only when that has been committed.

use std::collections::HashMap;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::super::backend::CommitError;
use super::seen::Expected;
use super::{Columns, one, signed, uncommitted, unsigned};
use crate::postgres::{Error, within};

const APPEND: &str =
    "SELECT head FROM grantlog_log.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) AS head";

/// What the node knows of the row of `log_head`.
pub(super) struct Known {
    pub head: u64,
    pub settlements: i64,
}

/// What came of it.
pub(super) enum Step {
    /// It is durable, behind this head.
    Appended(u64),
    /// Nothing was written: something is not as expected.
    Otherwise,
    /// Nothing was written: the engine does not have the function, or does not let this user call it.
    Unsupported,
}

/// Appends and commits if everything is as expected.
pub(super) async fn append(
    client: &Client,
    known: Known,
    seen: &Expected,
    expected: &HashMap<&str, u64>,
    columns: &Columns,
) -> Result<Step, CommitError> {
    let streams: Vec<&[u8]> = expected.keys().map(|stream| stream.as_bytes()).collect();
    let versions: Vec<i64> = expected.values().map(|version| signed(*version)).collect();
    let values = [
        (&signed(known.head) as _, Type::INT8),
        (&known.settlements as _, Type::INT8),
        (&seen.position() as _, Type::INT8),
        (&seen.bytes() as _, Type::BYTEA),
        (&streams as _, Type::BYTEA_ARRAY),
        (&versions as _, Type::INT8_ARRAY),
        (&columns.streams as _, Type::BYTEA_ARRAY),
        (&columns.versions as _, Type::INT8_ARRAY),
        (&columns.entries as _, Type::BYTEA_ARRAY),
        (&columns.sealed as _, Type::BYTEA_ARRAY),
    ];
    let answer = async {
        let rows = client.query_typed(APPEND, &values).await?;
        let row = one(&rows)?;
        Ok(match row.try_get::<_, Option<i64>>(0)? {
            Some(_) => Step::Appended(unsigned(row, 0)?),
            None => Step::Otherwise,
        })
    };
    match within::<_, Error>(answer).await {
        Err(error) if is_unsupported(&error) => Ok(Step::Unsupported),
        Err(error) if is_for_the_other_way(&error) => Ok(Step::Otherwise),
        // Somebody holds the row: waiting again for each half of the batch would not help any.
        Err(error) if error.is(&SqlState::LOCK_NOT_AVAILABLE) => Err(match uncommitted(error) {
            CommitError::NotWritten(why) => CommitError::NotBegun(why),
            other => other,
        }),
        answered => answered.map_err(uncommitted),
    }
}

/// It has become a standby, which the other way says once and not for each append; or its time-out for a statement is short,
/// and the other way sets its own.
fn is_for_the_other_way(error: &Error) -> bool {
    error.is(&SqlState::READ_ONLY_SQL_TRANSACTION) || error.is(&SqlState::QUERY_CANCELED)
}

fn is_unsupported(error: &Error) -> bool {
    error.is(&SqlState::UNDEFINED_FUNCTION) || error.is(&SqlState::INSUFFICIENT_PRIVILEGE)
}
