//! Rows on their way into the store, by column, as one statement takes them.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::super::backend::Row;
use super::signed;

/// A column of 512 usual entries is far below this; larger batches go in several statements.
const STATEMENT_BYTES: usize = 16 << 20;

const INSERT: &str = "INSERT INTO grantlog_log.entries (position, stream, version, entry, sealed) \
    SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::bytea[], $5::bytea[])";

/// Rows that go in one statement.
#[derive(Default)]
pub(super) struct Columns {
    pub positions: Vec<i64>,
    pub streams: Vec<Vec<u8>>,
    pub versions: Vec<i64>,
    pub entries: Vec<Vec<u8>>,
    pub sealed: Vec<Option<Vec<u8>>>,
    bytes: usize,
}

impl Columns {
    /// As few as hold them.
    pub fn of(rows: &[Row<'_>]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for row in rows {
            let bytes = row.stream.len() + row.entry.len() + row.sealed.map_or(0, <[u8]>::len);
            if all
                .last()
                .is_none_or(|last| last.bytes + bytes > STATEMENT_BYTES)
            {
                all.push(Self::default());
            }
            let Some(columns) = all.last_mut() else {
                continue;
            };
            columns.positions.push(signed(row.position));
            columns.streams.push(row.stream.as_bytes().to_vec());
            columns.versions.push(signed(row.version));
            columns.entries.push(row.entry.to_vec());
            columns.sealed.push(row.sealed.map(<[u8]>::to_vec));
            columns.bytes += bytes;
        }
        all
    }

    /// The last row's position and entry.
    pub fn last(&self) -> Option<(u64, Vec<u8>)> {
        let position = u64::try_from(*self.positions.last()?).ok()?;
        Some((position, self.entries.last()?.clone()))
    }

    /// Adds them to the store, in the transaction that is open.
    pub async fn insert(&self, client: &Client) -> Result<u64, tokio_postgres::Error> {
        let columns = [
            (&self.positions as _, Type::INT8_ARRAY),
            (&self.streams as _, Type::BYTEA_ARRAY),
            (&self.versions as _, Type::INT8_ARRAY),
            (&self.entries as _, Type::BYTEA_ARRAY),
            (&self.sealed as _, Type::BYTEA_ARRAY),
        ];
        client.execute_typed(INSERT, &columns).await
    }
}
