//! Reading the shared store: every read is one transaction in one round trip, and checks what it returns against the promise
//! of density as the embedded store's readers do.

use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::{join3, join4};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::super::types::{ReadError, StoreError, StoredEntry};
use super::super::writer::RACES;
use super::follow::Heard;
use super::seen::{Expected, Seen};
use super::{ENTRIES, one, signed, stored_entry, unsigned};
use crate::clock;
use crate::postgres::{BEGIN_READ, Error, Lease, Postgres, within};

/// The head, the entry at a position, and what the server's clock shows.
const HEAD: &str = "SELECT next, (SELECT entry FROM grantlog_log.entries WHERE position = $1), \
    (extract(epoch FROM clock_timestamp()) * 1000000)::bigint \
    FROM grantlog_log.log_head WHERE one = 1";

const STREAM: &str = "SELECT position, stream, version, entry, sealed FROM grantlog_log.entries \
    WHERE stream = $1 AND version >= $2 ORDER BY version LIMIT $3";

/// The readers of one shared log.
#[derive(Clone)]
pub struct PostgresReaders {
    pub(super) store: Postgres,
    pub(super) heard: Heard,
    pub(super) seen: Seen,
}

impl PostgresReaders {
    pub(super) fn new(store: Postgres, seen: Seen) -> Self {
        Self {
            store,
            heard: Heard::default(),
            seen,
        }
    }

    /// Closes the connections that nobody uses.
    pub fn rest(&self) {
        self.store.rest();
    }

    /// Runs a read on a thread that may be waited on.
    pub fn block_on<T>(&self, read: impl Future<Output = T>) -> T {
        self.store.block_on(read)
    }

    /// How many entries there are.
    pub async fn head(&self) -> Result<u64, ReadError> {
        let expected = self.seen.expected();
        let head = self.twice(move |lease| {
            let expected = expected.clone();
            async move {
                let head = read_head(&lease, &expected).await?;
                lease.release();
                Ok(head)
            }
        });
        Ok(head.await?)
    }

    /// At most `limit` entries of one stream after its first `known`.
    pub async fn read_stream(
        &self,
        stream: &str,
        known: u64,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, ReadError> {
        let name = stream.as_bytes().to_vec();
        // The last that is known tells whether they are still there.
        let first = known.saturating_sub(1);
        let count = signed((limit as u64).saturating_add(known - first));
        let rows = self
            .twice(move |lease| read_stream(lease, name.clone(), signed(first), count))
            .await?;
        if known > 0 && rows.is_empty() {
            return Err(ReadError::shorter(stream, known));
        }
        let mut entries = Vec::with_capacity(rows.len());
        for (row, expected) in rows.iter().zip(first..) {
            let entry = stored_entry(row)?;
            if entry.version != expected {
                let found = entry.version;
                return Err(ReadError::Corrupt {
                    position: Some(entry.position),
                    detail: format!("{stream} goes on with version {found}, expected {expected}"),
                });
            }
            entries.push(entry);
        }
        self.note(&entries);
        if known > 0 {
            entries.remove(0);
        }
        Ok(entries)
    }

    /// At most `limit` entries from position `from` on, of a log that is known to have at least `known`.
    pub async fn read_after(
        &self,
        from: u64,
        limit: usize,
        known: u64,
    ) -> Result<Vec<StoredEntry>, ReadError> {
        let (first, count) = (signed(from), signed(limit as u64));
        let expected = self.seen.expected();
        let (told, rows) = self
            .twice({
                let seen = expected.position();
                move |lease| read_after(lease, first, count, seen)
            })
            .await?;
        let head = unsigned(&told, 0)?;
        let corrupt = |position, detail| ReadError::Corrupt {
            position: Some(position),
            detail,
        };
        if head < known {
            let detail = format!("it has {head} entries, {known} were there before");
            return Err(corrupt(head, detail));
        }
        let mut entries = Vec::with_capacity(rows.len());
        for (row, expected) in rows.iter().zip(from..) {
            let entry = stored_entry(row).map_err(|error| corrupt(expected, error.to_string()))?;
            if entry.position != expected {
                let found = entry.position;
                let detail = format!("there is no entry, the next is at {found}");
                return Err(corrupt(expected, detail));
            }
            entries.push(entry);
        }
        let wanted = head.saturating_sub(from).min(limit as u64);
        let found = entries.len() as u64;
        if found < wanted {
            return Err(corrupt(from + found, "there is no entry".to_owned()));
        }
        expected.count(&told)?;
        self.note(&entries);
        Ok(entries)
    }

    fn note(&self, entries: &[StoredEntry]) {
        if let Some(last) = entries.last() {
            self.seen.note(last.position, &last.entry);
        }
    }

    /// Reads, and once more if a connection that rested turns out to have been cut.
    async fn twice<T, R>(
        &self,
        read: impl Fn(Lease) -> R + Send + Sync + 'static,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        R: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let (store, heard) = (self.store.clone(), self.heard.clone());
        let reading = async move {
            match read(store.lease().await?).await {
                Err(Error::Unreachable(_)) => {
                    store.rest();
                    read(store.lease().await?).await
                }
                answer => answer,
            }
        };
        // Boxed, or every future that reads would hold all of this in its type.
        let reading = async move { heard.unless_silent(reading).await }.boxed();
        self.store.spawn(reading).await
    }
}

/// Reads again, over the same connection, where the engine aborted that instead of letting it wait.
async fn unless_aborted<T, R>(read: impl Fn() -> R) -> Result<T, Error>
where
    R: Future<Output = Result<T, Error>>,
{
    for _ in 0..RACES {
        match within(read()).await {
            Err(error) if error.lost_race() => {}
            answer => return answer,
        }
    }
    within(read()).await
}

/// How many entries there are; one statement is a transaction by itself. The server's clock is followed.
pub(super) async fn read_head(client: &Client, expected: &Expected) -> Result<u64, Error> {
    let seen = [(&expected.position() as _, Type::INT8)];
    let asked = Instant::now();
    let head = unless_aborted(|| async { Ok(client.query_typed(HEAD, &seen).await?) }).await?;
    let head = one(&head)?;
    clock::follow(head.try_get(2)?, asked);
    expected.count(head)
}

async fn read_stream(
    lease: Lease,
    name: Vec<u8>,
    first: i64,
    count: i64,
) -> Result<Vec<Row>, Error> {
    let answers = || async {
        let range = [
            (&name as _, Type::BYTEA),
            (&first as _, Type::INT8),
            (&count as _, Type::INT8),
        ];
        let (begun, rows, ended) = join3(
            lease.batch_execute(BEGIN_READ),
            lease.query_typed(STREAM, &range),
            lease.batch_execute("COMMIT"),
        )
        .await;
        begun?;
        let rows = rows?;
        ended?;
        Ok::<_, Error>(rows)
    };
    let rows = unless_aborted(answers).await?;
    lease.release();
    Ok(rows)
}

/// The head and what is at `first` and after it. The head is read first, so that all entries before it must be among those
/// that are read then; there may be more.
async fn read_after(
    lease: Lease,
    first: i64,
    count: i64,
    seen: i64,
) -> Result<(Row, Vec<Row>), Error> {
    let answers = || async {
        let seen = [(&seen as _, Type::INT8)];
        let range = [(&first as _, Type::INT8), (&count as _, Type::INT8)];
        let (begun, head, rows, ended) = join4(
            lease.batch_execute(BEGIN_READ),
            lease.query_typed(HEAD, &seen),
            lease.query_typed(ENTRIES, &range),
            lease.batch_execute("COMMIT"),
        )
        .await;
        begun?;
        let answers = (head?, rows?);
        ended?;
        Ok::<_, Error>(answers)
    };
    let (mut head, rows) = unless_aborted(answers).await?;
    lease.release();
    one(&head)?;
    Ok((head.swap_remove(0), rows))
}

/// A store that answers wrongly is damaged; one that does not answer is unavailable.
impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        let damaged = matches!(error, Error::Unexpected(_))
            || error.is(&SqlState::DATA_CORRUPTED)
            || error.is(&SqlState::INDEX_CORRUPTED);
        if damaged {
            let detail = error.to_string();
            Self::Corrupt {
                position: None,
                detail,
            }
        } else {
            Self::Unavailable(StoreError::new(error))
        }
    }
}
