//! The event log: streams of immutable entries in one dense order.
//!
//! An entry is opaque here: the canonical bytes of an event and, beside them, its sealed personal part.
//! Everything the program knows is a fold of these rows, so what this module promises is what the program can promise.
//!
//! # What holds
//! - **Acknowledged means durable.** [`Appended`] is answered after the commit reached the disk, never before. A crash or a
//!   loss of power at any moment leaves every acknowledged entry in place, and every append either whole or absent.
//! - **Positions are dense, start at 0 and become visible in order.** Once a reader has seen position *p*, nothing will ever
//!   appear below it. They are handed out under the single `log_head` row, never by a clock or a sequence.
//! - **An append is conditional.** It names how many entries its stream has; another number is a
//!   [`Conflict`](AppendError::Conflict) and writes nothing. That is what makes codes, states and refresh tokens single-use. It
//!   may rest on other streams, too ([`Premise`]), which is what keeps the last admin.
//! - **Appends are independent.** Many share one commit, each has its own answer: the conflict, malformedness or unreadable
//!   stream of one never fails another. Appends submitted by one node are decided in the order of submission.
//! - **Nothing is skipped.** A read that finds a gap, a missing tail or an undecodable row is [`ReadError::Corrupt`].
//!
//! # What may fail
//! - [`Unavailable`](AppendError::Unavailable) and [`Overloaded`](AppendError::Overloaded): nothing was written and nothing
//!   will be; deciding again is safe.
//! - [`Unknown`](AppendError::Unknown): the commit may or may not have happened and the store does not answer. It must not be
//!   submitted again as it is; reading the stream later tells. The writer asks the store for some seconds before it says so,
//!   and acknowledges nothing while it does not know.
//! - After a failure the log heals without a restart: the writer reopens and probes the store until an append has succeeded, or
//!   would, and [`Log::healthy`] is false until then.
//!
//! # Who may call
//! Everything here may be called from any number of threads and tasks. One process writes to an embedded log at a time (a
//! second one is refused when it opens it), any number to one in PostgreSQL; any number may read. The log never changes or removes an entry, and has no function that could.

mod backend;
mod carry;
mod decision;
mod handover;
mod open;
pub mod postgres;
mod queue;
mod readers;
mod sqlite;
mod stream_index;
mod together;
mod types;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

pub use backend::{Backend, CommitError, Row, Settled};
pub use carry::CarryError;
pub use open::{
    FILE_NAME, Hold, expect_to_note_moved, hold, migrate, migrations, moved, note_moved,
    open as open_sqlite, recover,
};
pub use postgres::{PostgresBackend, open as open_postgres};
pub use queue::{Pending, QUEUE_LIMIT};
pub use readers::Readers;
pub use sqlite::SqliteBackend;
pub use stream_index::Agreement;
pub use together::Share;
pub use types::{
    Append, AppendError, Appended, BackupError, MAX_ENTRY_BYTES, NewEntry, OpenError, Premise,
    ReadError, StoreError, StoredEntry,
};

use handover::Handover;
use postgres::Follower;
use queue::{Job, Queue};

/// How a log is opened for writing.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Apply pending migrations; otherwise they are [`OpenError::Schema`].
    pub migrate: bool,
}

/// A handle to the event log; clones share it.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

/// The readers go first when this is dropped, so that the writer closes the last connection and can fold the WAL away.
struct Inner {
    readers: Readers,
    head: watch::Sender<u64>,
    /// Where others write, too.
    follower: Option<Follower>,
    writer: Option<WriterThread>,
}

struct WriterThread {
    queue: Arc<Queue>,
    handover: Arc<Handover>,
    healthy: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Its sender is dropped when the thread has ended and the store is closed.
    ended: watch::Receiver<()>,
}

impl Log {
    /// Opens the embedded log in `dir` for writing; creates both where they are missing.
    ///
    /// # Errors
    /// Another process writes to it, it needs a migration that `options` does not allow, it needs a newer program, it was
    /// moved into a database, or it cannot be read and written.
    pub fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        let (backend, readers) = open::open(dir, options)?;
        Self::over(backend, readers)
    }

    /// Opens the log at `path` (the file or its folder) for reading only, also while another process writes to it.
    ///
    /// Appends are unavailable; new entries are noticed by reading, [`Log::wait_past`] alone does not see them.
    ///
    /// # Errors
    /// There is no log, its schema is not one that this program may use, or it cannot be read.
    pub fn open_read_only(path: &Path) -> Result<Self, OpenError> {
        Self::reading(open::open_read_only(path)?)
    }

    /// Opens the log in the PostgreSQL database at `url` for writing, which any number of processes may do at once; creates
    /// it where it is missing. Blocks the thread meanwhile.
    ///
    /// # Errors
    /// The URL is not one, the server cannot be reached or refuses, the log needs a migration that `options` does not allow,
    /// needs a newer program, is being moved into, or cannot be read and written.
    pub fn open_postgres(url: &str, options: Options) -> Result<Self, OpenError> {
        let (backend, readers) = postgres::open(url, options)?;
        Self::over(backend, readers)
    }

    /// Opens the log in the PostgreSQL database at `url` for reading only. Blocks the thread meanwhile.
    ///
    /// # Errors
    /// The URL is not one, the server cannot be reached or refuses, or the schema is not one that this program may use.
    pub fn open_postgres_read_only(url: &str) -> Result<Self, OpenError> {
        Self::reading(postgres::open_read_only(url)?)
    }

    fn reading(readers: Readers) -> Result<Self, OpenError> {
        let (head, _) = watch::channel(readers.head()?);
        Ok(Self(Arc::new(Inner {
            follower: readers.follow(&head),
            readers,
            head,
            writer: None,
        })))
    }

    /// Starts the writer over a backend and the readers of the same store.
    ///
    /// The store is settled first: what a crashed process left visible but perhaps not on disk is made durable before anyone
    /// reads it here.
    ///
    /// # Errors
    /// The store cannot be read and written.
    pub fn over(mut backend: impl Backend, readers: Readers) -> Result<Self, OpenError> {
        let (head, _) = watch::channel(backend.settle(0, 0)?.head);
        let queue = Arc::new(Queue::default());
        let handover = Arc::new(Handover::default());
        let healthy = Arc::new(AtomicBool::new(true));
        let (ended_sender, ended) = watch::channel(());
        let writer = writer::Writer {
            backend,
            queue: Arc::clone(&queue),
            head: head.clone(),
            handover: Arc::clone(&handover),
            healthy: Arc::clone(&healthy),
            _ended: ended_sender,
        };
        let thread = std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|e| StoreError::new(format_args!("cannot start the writer thread: {e}")))?;
        let thread = Some(thread);
        Ok(Self(Arc::new(Inner {
            follower: readers.follow(&head),
            readers,
            head,
            writer: Some(WriterThread {
                queue,
                handover,
                healthy,
                thread,
                ended,
            }),
        })))
    }

    /// Queues one append, in call order and without blocking; the answer comes when it is durable or refused.
    ///
    /// Dropping the [`Pending`] does not take the append back.
    pub fn submit(&self, append: Append) -> Pending {
        let (job, mut pending) = queue::job(vec![append]);
        self.enqueue(job);
        pending.swap_remove(0)
    }

    /// Queues independent appends that share one commit, otherwise as [`Log::submit`].
    pub fn submit_batch(&self, appends: Vec<Append>) -> Vec<Pending> {
        let (job, pending) = queue::job(appends);
        self.enqueue(job);
        pending
    }

    /// Appends and waits until it is durable or refused.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        self.submit(append).await
    }

    /// Appends independent appends in one commit; the answers are in the order of the appends.
    ///
    /// An append sees those before it in the batch: two to one stream expect *n* and *n* + the entries of the first.
    pub async fn append_batch(&self, appends: Vec<Append>) -> Vec<Result<Appended, AppendError>> {
        let pending = self.submit_batch(appends);
        let mut answers = Vec::with_capacity(pending.len());
        for answer in pending {
            answers.push(answer.await);
        }
        answers
    }

    /// All entries of one stream in order; empty if there is no such stream.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read_stream(&self, stream: &str) -> Result<Vec<StoredEntry>, ReadError> {
        self.read_stream_after(stream, 0, usize::MAX).await
    }

    /// At most `limit` entries of one stream after its first `known`, all of which have been there; costs what they are, however
    /// many are before and behind them.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read_stream_after(
        &self,
        stream: &str,
        known: u64,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, ReadError> {
        self.0.readers.read_stream(stream, known, limit).await
    }

    /// At most `limit` entries from position `from` on, without gaps; empty at the end of the log.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read_after(&self, from: u64, limit: usize) -> Result<Vec<StoredEntry>, ReadError> {
        let entries = self.0.readers.read_after(from, limit, self.head()).await?;
        self.seen(&entries);
        Ok(entries)
    }

    /// [`Log::read_stream`] for a thread outside the runtime.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_stream_blocking(&self, stream: &str) -> Result<Vec<StoredEntry>, ReadError> {
        self.0.readers.read_stream_blocking(stream)
    }

    /// [`Log::read_after`] for a thread outside the runtime.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_after_blocking(
        &self,
        from: u64,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, ReadError> {
        let entries = self
            .0
            .readers
            .read_after_blocking(from, limit, self.head())?;
        self.seen(&entries);
        Ok(entries)
    }

    /// [`Log::read_after_blocking`] for the one follower of this process: the store is not asked for what this process has just
    /// made durable. `limit` is not reached wherever that begins or ends.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn follow_blocking(&self, from: u64, limit: usize) -> Result<Vec<StoredEntry>, ReadError> {
        if let Some(writer) = &self.0.writer {
            let entries = writer.handover.take(from, limit);
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
        self.read_after_blocking(from, limit)
    }

    /// What the index of the streams says, to be compared with the entries one after another; absent where the store itself
    /// answers for its index. Blocks.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn agreement_blocking(&self) -> Result<Option<Agreement>, ReadError> {
        self.0.readers.agreement()
    }

    /// Returns once there is an entry at `position`, that is once [`Log::head`] is past it.
    ///
    /// It is a hint to read again, no more; it may come late when another process writes.
    pub async fn wait_past(&self, position: u64) {
        let mut head = self.0.head.subscribe();
        // The sender lives in `self`, so this cannot end early.
        let _ = head.wait_for(|head| *head > position).await;
    }

    /// How many durable entries this process knows of, which is also the next position.
    pub fn head(&self) -> u64 {
        *self.0.head.borrow()
    }

    /// Whether other processes may append, too.
    pub fn is_shared(&self) -> bool {
        self.0.follower.is_some()
    }

    /// How many durable entries there are, whoever appended them; reads the store if it is shared.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn current_head(&self) -> Result<u64, ReadError> {
        if let Some(follower) = &self.0.follower {
            Box::pin(follower.look()).await?;
        }
        Ok(self.head())
    }

    /// Whether the last append to the store succeeded, or the next is expected to, and the store has been heard lately; false for
    /// a log opened for reading only.
    pub fn healthy(&self) -> bool {
        let writer = self.0.writer.as_ref();
        writer.is_some_and(|writer| writer.healthy.load(Ordering::Acquire))
            && (self.0.follower.as_ref()).is_none_or(|follower| follower.heard().is_ok())
    }

    /// How long ago the store last said how many entries it has, so how old [`Log::head`] may be; zero for the embedded log.
    pub fn silent_for(&self) -> Duration {
        self.0
            .follower
            .as_ref()
            .map_or(Duration::ZERO, Follower::silent_for)
    }

    /// Writes a consistent copy of the log to a new file at `path`, while appends go on.
    ///
    /// The copy appears under its name only once it is complete and durable.
    ///
    /// # Errors
    /// There is already something at `path`, or it cannot be written, or the log cannot be read.
    pub async fn backup_to(&self, path: &Path) -> Result<(), BackupError> {
        self.0.readers.backup_to(path).await
    }

    /// Takes no more appends, answers those already queued, and closes the store for writing.
    ///
    /// Returns when another process could open it. Reads still work. Dropping the last handle does the same, blocking.
    pub async fn close(&self) {
        let Some(writer) = &self.0.writer else { return };
        writer.queue.close();
        self.0.readers.rest();
        let mut ended = writer.ended.clone();
        while ended.changed().await.is_ok() {}
    }

    fn enqueue(&self, job: Job) {
        let heard = self.0.follower.as_ref().map_or(Ok(()), Follower::heard);
        match (&self.0.writer, heard) {
            // It would wait in vain; its caller is better told to come again.
            (Some(_), Err(silent)) => queue::refuse(job, &StoreError::new(silent)),
            (Some(writer), Ok(())) => writer.queue.push(job),
            (None, _) => queue::refuse(job, &StoreError::new("the log is open for reading only")),
        }
    }

    /// Where others write, what was read is the latest that is known of the head.
    fn seen(&self, entries: &[StoredEntry]) {
        let alone = self.0.writer.is_some() && self.0.follower.is_none();
        if let (false, Some(last)) = (alone, entries.last()) {
            self.knows(last.position + 1);
        }
    }

    fn knows(&self, there: u64) {
        self.0.head.send_if_modified(|head| {
            let grown = there > *head;
            *head = there.max(*head);
            grown
        });
    }
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            // A panic of the writer has been reported by its hook and has already closed the queue.
            let _ = thread.join();
        }
    }
}
