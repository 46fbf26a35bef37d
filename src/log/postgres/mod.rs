//! The shared store: PostgreSQL, or what speaks its protocol, with any number of nodes writing.
//!
//! # Why it is right
//! - A transaction takes the row of `log_head` before it does anything else and holds it to its end. So transactions that
//!   append are one after another, positions are handed out without gaps, and the next one begins only after the former is
//!   visible: whoever sees a position sees all before it. Neither a transaction that is open elsewhere nor a sequence, a clock
//!   or a transaction id has a part in it.
//! - A conflict is found while the row is held, on a snapshot taken after that (`READ COMMITTED`); the primary key and the
//!   unique (stream, version) would refuse what a store with weaker rules let through.
//! - A commit whose answer is lost is settled by taking the same row over another connection. The transaction in doubt has
//!   held it since before it wrote, and lets go only when it has committed or rolled back; so once the row is ours, what is
//!   there is there, and what is not never will be, even if the `COMMIT` is still on its way to a server that has given up.
//! - What is sent in one step may begin late, even after a settlement that did not find it. So it carries the number of
//!   settlements that its node knows of, and writes nothing once there has been another.
//! - A server that took over without everything is noticed by the entry that was last seen (`seen.rs`), before anything is read
//!   from it or appended to it; the node refuses to go on then.
//! - An engine may abort a transaction instead of making it wait (40001, 40P01): then nothing has happened, and the writer
//!   decides anew. It may abort a read, too, which is read again.
//! - Neither `LISTEN`/`NOTIFY` nor advisory locks have a part in any of this.
//!
//! # Round trips
//! One for a commit of any number of appends, if each of their streams is as its appends expect, which is nearly always so
//! (`one_step.rs`). Else, or where the engine has no such function, two: one takes the row and reads the versions, one inserts
//! and commits; the row is held from the middle of the first to the end of the second. A node that is slow, or waits for its
//! turn on a busy machine, is then in everybody's way. In one step nobody but the server has the row.

mod columns;
mod copy;
mod follow;
mod one_step;
mod open;
mod readers;
mod rehearsal;
mod seen;
mod target;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::future::{join3, join4, join5};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row as Found};

use columns::Columns;
pub(super) use copy::copy_to;
pub use follow::Follower;
use one_step::{Known, Step};
pub use open::{migrate, migrations, open, open_read_only};
pub use readers::PostgresReaders;
use rehearsal::rehearse;
use seen::{Expected, Seen};
pub use target::Target;

use super::backend::{Backend, CommitError, Row, Settled};
use super::types::{StoreError, StoredEntry};
use crate::postgres::{BEGIN_WRITE, Error, Lease, Postgres, within};

/// A connection that was of use so lately is still there: nothing needs to be asked before the work is sent.
const FRESH: Duration = Duration::from_secs(1);

const TAKE_HEAD: &str = "SELECT next, settled FROM grantlog_log.log_head WHERE one = 1 FOR UPDATE";

/// A statement of its own, after the row has been taken: within that one it would be answered from before the wait for it.
const COUNT: &str = "SELECT coalesce(max(position) + 1, 0), \
    (SELECT entry FROM grantlog_log.entries WHERE position = $1) FROM grantlog_log.entries";

const VERSIONS: &str = "SELECT coalesce((SELECT e.version + 1 FROM grantlog_log.entries e \
    WHERE e.stream = s.stream ORDER BY e.version DESC LIMIT 1), 0) \
    FROM unnest($1::bytea[]) WITH ORDINALITY AS s (stream, n) ORDER BY s.n";

const MOVE_HEAD: &str = "UPDATE grantlog_log.log_head SET next = next + $1 WHERE one = 1";

const SETTLE: &str =
    "UPDATE grantlog_log.log_head SET settled = settled + 1 WHERE one = 1 RETURNING next, settled";

const ENTRIES: &str = "SELECT position, stream, version, entry, sealed FROM grantlog_log.entries \
    WHERE position >= $1 ORDER BY position LIMIT $2";

/// The writer's end of the shared store.
pub struct PostgresBackend {
    store: Postgres,
    seen: Seen,
    /// Kept from one transaction to the next; gone after a failure.
    lease: Option<Lease>,
    /// When that last answered.
    answered: Instant,
    /// How many settlements there had been when the row was last held.
    settlements: i64,
    /// Whether the store has the function that commits in one step, as far as is known.
    one_step: bool,
    /// What `begin` learned for `versions`.
    versions: Vec<u64>,
    /// What `insert` leaves to `commit`.
    columns: Vec<Columns>,
}

impl PostgresBackend {
    fn new(store: Postgres, seen: Seen) -> Self {
        Self {
            store,
            seen,
            lease: None,
            answered: Instant::now(),
            settlements: -1,
            one_step: true,
            versions: Vec::new(),
            columns: Vec::new(),
        }
    }
}

impl Backend for PostgresBackend {
    fn is_far(&self) -> bool {
        let open = self.lease.as_ref().is_some_and(|lease| !lease.is_closed());
        open && self.one_step && self.answered.elapsed() < FRESH
    }

    fn append_in_one_step(
        &mut self,
        known: u64,
        expected: &HashMap<&str, u64>,
        rows: &[Row<'_>],
    ) -> Result<Option<u64>, CommitError> {
        let mut columns = Columns::of(rows);
        let (Some(columns), true) = (columns.pop(), columns.is_empty()) else {
            return Ok(None);
        };
        let Some(lease) = self.lease.take() else {
            return Ok(None);
        };
        let known = Known {
            head: known,
            settlements: self.settlements,
        };
        let seen = self.seen.expected();
        let step = one_step::append(&lease, known, &seen, expected, &columns);
        let step = self.store.block_on(step);
        if !matches!(step, Err(CommitError::Unknown(_))) {
            self.lease = Some(lease);
        }
        match step? {
            Step::Appended(head) => {
                if let Some((offset, entry)) = columns.last() {
                    self.seen.note(head + offset, &entry);
                }
                self.answered = Instant::now();
                Ok(Some(head))
            }
            Step::Otherwise => Ok(None),
            Step::Unsupported => {
                tracing::info!("the store has no function for a commit in one step");
                self.one_step = false;
                Ok(None)
            }
        }
    }

    fn begin(&mut self, streams: &[&str]) -> Result<u64, StoreError> {
        let mut kept = self.lease.take();
        let expected = self.seen.expected();
        loop {
            let first_use = kept.is_none();
            let begun = self.store.block_on(async {
                let lease = match kept.take() {
                    Some(lease) => lease,
                    None => self.store.lease().await?,
                };
                let begun = begin(&lease, streams, &expected).await?;
                Ok((lease, begun))
            });
            match begun {
                // A connection that rested may have been cut meanwhile; nothing has begun.
                Err(Error::Unreachable(_)) if !first_use => self.store.rest(),
                Err(error) => return Err(error.into()),
                Ok((lease, begun)) => {
                    self.lease = Some(lease);
                    self.settlements = begun.settlements;
                    self.versions = begun.versions;
                    return whole(begun.head, begun.count);
                }
            }
        }
    }

    fn versions(&mut self, _: &[&str]) -> Result<Vec<u64>, StoreError> {
        Ok(std::mem::take(&mut self.versions))
    }

    fn insert(&mut self, rows: &[Row<'_>]) -> Result<(), StoreError> {
        self.columns = Columns::of(rows);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), CommitError> {
        let columns = std::mem::take(&mut self.columns);
        let last = columns.last().and_then(Columns::last);
        let Some(lease) = self.lease.take() else {
            let why = StoreError::new("no transaction has begun");
            return Err(CommitError::NotWritten(why));
        };
        let committed = self.store.block_on(commit(&lease, columns));
        if let (Ok(()), Some((position, entry))) = (&committed, last) {
            self.seen.note(position, &entry);
            self.answered = Instant::now();
        }
        if !matches!(committed, Err(CommitError::Unknown(_))) {
            self.lease = Some(lease);
        }
        committed
    }

    fn abandon(&mut self) {
        self.columns.clear();
        let Some(lease) = self.lease.take() else {
            return;
        };
        // Dropped, it is closed, which ends the transaction, too.
        let ended = self.store.block_on(within(lease.batch_execute("ROLLBACK")));
        self.lease = ended.is_ok().then_some(lease);
    }

    fn settle(&mut self, from: u64, count: usize) -> Result<Settled, StoreError> {
        // Closed first, so that a transaction still open on it ends soon.
        self.lease = None;
        self.store.rest();
        let (from, count) = (signed(from), signed(count as u64));
        let expected = self.seen.expected();
        let settled = self.store.block_on(async {
            let lease = self.store.lease().await?;
            let (settled, settlements) = settle(&lease, from, count, &expected).await?;
            self.lease = Some(lease);
            self.settlements = settlements;
            self.answered = Instant::now();
            Ok::<_, StoreError>(settled)
        })?;
        if let Some(last) = settled.entries.last() {
            self.seen.note(last.position, &last.entry);
        }
        Ok(settled)
    }

    fn rehearse(&mut self) -> Result<(), StoreError> {
        let Some(lease) = self.lease.take() else {
            return Err(StoreError::new("nothing has been settled"));
        };
        self.store.block_on(rehearse(&lease))?;
        self.lease = Some(lease);
        Ok(())
    }
}

/// What is known once the row is held.
struct Begun {
    head: u64,
    settlements: i64,
    /// How many entries there are, by themselves.
    count: u64,
    /// How many each stream has.
    versions: Vec<u64>,
}

/// Takes the row and looks around.
async fn begin(client: &Client, streams: &[&str], expected: &Expected) -> Result<Begun, Error> {
    let names: Vec<&[u8]> = streams.iter().map(|stream| stream.as_bytes()).collect();
    let answers = async {
        let seen = [(&expected.position() as _, Type::INT8)];
        let names = [(&names as _, Type::BYTEA_ARRAY)];
        let (begun, head, count, versions) = join4(
            client.batch_execute(BEGIN_WRITE),
            client.query_typed(TAKE_HEAD, &[]),
            client.query_typed(COUNT, &seen),
            client.query_typed(VERSIONS, &names),
        )
        .await;
        begun?;
        Ok::<_, Error>((head?, count?, versions?))
    };
    let (head, count, versions) = within(answers).await?;
    let versions = versions.iter().map(|row| unsigned(row, 0));
    Ok(Begun {
        head: unsigned(one(&head)?, 0)?,
        settlements: one(&head)?.try_get(1)?,
        count: expected.count(one(&count)?)?,
        versions: versions.collect::<Result<_, _>>()?,
    })
}

/// Inserts and commits.
async fn commit(client: &Client, mut columns: Vec<Columns>) -> Result<(), CommitError> {
    let moved: usize = columns.iter().map(|columns| columns.positions.len()).sum();
    let Some(last) = columns.pop() else {
        return Err(CommitError::NotWritten(StoreError::new(
            "there is nothing to insert",
        )));
    };
    for columns in columns {
        let inserted = within(columns.insert(client)).await;
        inserted.map_err(|error| CommitError::NotWritten(error.into()))?;
    }
    let moved = [(&signed(moved as u64) as _, Type::INT8)];
    let answers = async {
        let (inserted, moved, committed) = join3(
            last.insert(client),
            client.execute_typed(MOVE_HEAD, &moved),
            client.batch_execute("COMMIT"),
        )
        .await;
        // In a transaction whose statement was refused, COMMIT rolls back and is no error.
        inserted?;
        moved?;
        committed
    };
    within(answers).await.map_err(uncommitted)
}

/// How a transaction failed whose last statement was its commit.
fn uncommitted(error: Error) -> CommitError {
    let certain = matches!(error, Error::Refused { survived: true, .. })
        && !error.is(&SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN);
    if certain {
        CommitError::NotWritten(error.into())
    } else {
        CommitError::Unknown(error.into())
    }
}

/// Writes under the row, and reads.
async fn settle(
    client: &Client,
    from: i64,
    count: i64,
    expected: &Expected,
) -> Result<(Settled, i64), StoreError> {
    let range = [(&from as _, Type::INT8), (&count as _, Type::INT8)];
    let answers = async {
        let seen = [(&expected.position() as _, Type::INT8)];
        let (begun, head, found, entries, committed) = join5(
            client.batch_execute(BEGIN_WRITE),
            client.query_typed(SETTLE, &[]),
            client.query_typed(COUNT, &seen),
            client.query_typed(ENTRIES, &range),
            client.batch_execute("COMMIT"),
        )
        .await;
        begun?;
        let answers = (head?, found?, entries?);
        committed?;
        Ok::<_, Error>(answers)
    };
    let (head, found, entries) = within(answers).await?;
    let row = one(&head)?;
    let settlements = row.try_get(1).map_err(Error::from)?;
    let head = whole(unsigned(row, 0)?, expected.count(one(&found)?)?)?;
    let entries = entries.iter().map(stored_entry).collect::<Result<_, _>>()?;
    Ok((Settled { head, entries }, settlements))
}

/// The head row's count, which must be what the entries say.
fn whole(next: u64, found: u64) -> Result<u64, StoreError> {
    if next == found {
        Ok(next)
    } else {
        let why = format_args!("damaged: the head is {next}, the entries end before {found}");
        Err(StoreError::new(why))
    }
}

fn stored_entry(row: &Found) -> Result<StoredEntry, Error> {
    let stream = String::from_utf8(row.try_get(1)?);
    Ok(StoredEntry {
        position: unsigned(row, 0)?,
        stream: stream
            .map_err(|_| Error::Unexpected("a stream whose name is not UTF-8".to_owned()))?,
        version: unsigned(row, 2)?,
        entry: row.try_get(3)?,
        sealed: row.try_get(4)?,
    })
}

/// The head row, or a count.
fn one(rows: &[Found]) -> Result<&Found, Error> {
    let missing = || Error::Unexpected("no head of the log".to_owned());
    rows.first().ok_or_else(missing)
}

fn unsigned(row: &Found, column: usize) -> Result<u64, Error> {
    let value: i64 = row.try_get(column)?;
    u64::try_from(value).map_err(|_| Error::Unexpected(format!("{value}, expected a count")))
}

/// No position is beyond what the store can hold, so what is asked there is not there either.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        if error.lost_race() {
            Self::lost_race(error)
        } else {
            Self::new(error)
        }
    }
}
