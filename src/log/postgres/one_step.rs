//! A commit in one round trip: everything is sent at once, and the server alone finds out whether it may be.
//!
//! The row of `log_head` is taken first, by a statement of its own, so that the second sees what was committed until then. That
//! one writes only if all of it holds: each stream has as many entries as is expected, the head is where the entries end, the
//! entry that this node has seen last is there, and nothing was settled meanwhile. The writer's rule is the same; what differs
//! here is who applies it.

use std::collections::HashMap;

use futures_util::future::join4;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::super::writer::CommitError;
use super::seen::Expected;
use super::{Columns, TAKE_HEAD, signed, uncommitted, unsigned};
use crate::postgres::{BEGIN_WRITE, Error, within};

/// Positions come counted from the head; the answer is the head, or no row if nothing was written.
const APPEND: &str = "WITH head AS MATERIALIZED ( \
    SELECT h.next FROM grantlog_log.log_head h \
    WHERE h.one = 1 AND h.settled = $11 AND h.next = (SELECT coalesce(max(e.position) + 1, 0) FROM grantlog_log.entries e) \
    AND ($1 < 0 OR (SELECT e.entry FROM grantlog_log.entries e WHERE e.position = $1) = $2) \
    AND NOT EXISTS (SELECT FROM unnest($3::bytea[], $4::bigint[]) AS s (stream, expected) \
    WHERE s.expected <> coalesce((SELECT e.version + 1 FROM grantlog_log.entries e \
    WHERE e.stream = s.stream ORDER BY e.version DESC LIMIT 1), 0))), \
    written AS (INSERT INTO grantlog_log.entries (position, stream, version, entry, sealed) \
    SELECT head.next + r.position, r.stream, r.version, r.entry, r.sealed FROM head, \
    unnest($5::bigint[], $6::bytea[], $7::bigint[], $8::bytea[], $9::bytea[]) \
    AS r (position, stream, version, entry, sealed)), \
    moved AS (UPDATE grantlog_log.log_head h SET next = h.next + $10 FROM head WHERE h.one = 1) \
    SELECT next FROM head";

/// Appends and commits if everything is as expected; then the head before it.
pub(super) async fn append(
    client: &Client,
    seen: &Expected,
    settlements: i64,
    expected: &HashMap<&str, u64>,
    columns: &Columns,
) -> Result<Option<u64>, CommitError> {
    let streams: Vec<&[u8]> = expected.keys().map(|stream| stream.as_bytes()).collect();
    let versions: Vec<i64> = expected.values().map(|version| signed(*version)).collect();
    let count = signed(columns.positions.len() as u64);
    let values = [
        (&seen.position() as _, Type::INT8),
        (&seen.bytes() as _, Type::BYTEA),
        (&streams as _, Type::BYTEA_ARRAY),
        (&versions as _, Type::INT8_ARRAY),
        (&columns.positions as _, Type::INT8_ARRAY),
        (&columns.streams as _, Type::BYTEA_ARRAY),
        (&columns.versions as _, Type::INT8_ARRAY),
        (&columns.entries as _, Type::BYTEA_ARRAY),
        (&columns.sealed as _, Type::BYTEA_ARRAY),
        (&count as _, Type::INT8),
        (&settlements as _, Type::INT8),
    ];
    let answers = async {
        let (begun, taken, head, committed) = join4(
            client.batch_execute(BEGIN_WRITE),
            client.query_typed(TAKE_HEAD, &[]),
            client.query_typed(APPEND, &values),
            client.batch_execute("COMMIT"),
        )
        .await;
        // In a transaction whose statement was refused, COMMIT rolls back and is no error.
        begun?;
        taken?;
        let head = head?;
        committed?;
        head.first().map(|row| unsigned(row, 0)).transpose()
    };
    within::<_, Error>(answers).await.map_err(uncommitted)
}
