//! Group commit: the one thread that writes, over any store.
//!
//! It drains what is queued into one transaction, decides every append inside it, and answers after the commit. What conflicts
//! and which position an append gets (`decision.rs`), and what an unknown commit means (here), is the same on every store; a
//! [`Backend`] only moves rows, or, in one step, checks what was decided on a guess. One more implementation of that trait is in
//! the tests and fails on purpose.
//!
//! # When a commit fails without saying how
//! Its appends are neither acknowledged nor refused. The writer [settles](Backend::settle) the store: when that succeeds, the
//! entries are found at their positions or can never appear, and the appends are answered truly. Until then everything that
//! arrives is refused unwritten. After [`IN_DOUBT_ATTEMPTS`] the appends in doubt are answered `Unknown`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::decision::{Decision, answer, decide, expectations, move_by, rows, same, taken};
use super::handover::Handover;
use super::queue::{Commit, Commits, Queue, Submitted, Taken};
use super::types::{AppendError, StoreError, StoredEntry};

/// How often a log that could not be written tries whether it can be again.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// How often the store is asked about a commit in doubt, the first pause, and the longest; about 5 s together.
const IN_DOUBT_ATTEMPTS: u32 = 14;
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(800);

/// How often appends are decided anew after a race lost against another writer; with the pauses between about 3 s.
const RACES: u32 = 10;

/// A store of entries, as the writer uses it: one transaction at a time, from one thread.
///
/// The calls of a transaction are [`begin`](Self::begin), [`versions`](Self::versions), [`insert`](Self::insert),
/// [`commit`](Self::commit); after any failure but an unknown commit, [`abandon`](Self::abandon). After an unknown commit the
/// next call is [`settle`](Self::settle). No call may panic, and after any failure a later call must find its own way back
/// (reconnect, reopen).
pub trait Backend: Send + 'static {
    /// Whether asking costs so much that [`append_in_one_step`](Self::append_in_one_step), on a guess, is worth a try.
    fn is_far(&self) -> bool {
        false
    }

    /// Does all of a transaction at once if there are at least `known` entries and each stream has as many as is `expected` of
    /// it: adds `rows`, whose positions count from the head, and returns the head they were put behind when they are durable.
    /// `None` if nothing was written, because something is otherwise or for any other reason: then the calls below find out.
    ///
    /// # Errors
    /// As of [`commit`](Self::commit), also in what is called next.
    fn append_in_one_step(
        &mut self,
        known: u64,
        expected: &HashMap<&str, u64>,
        rows: &[Row<'_>],
    ) -> Result<Option<u64>, CommitError> {
        let _ = (known, expected, rows);
        Ok(None)
    }

    /// Begins a transaction, takes the head row so that nobody else gets positions until it ends, and returns how many
    /// entries there are. [`versions`](Self::versions) will ask for `streams`; a far store may answer that along with this.
    ///
    /// # Errors
    /// The store cannot be written.
    fn begin(&mut self, streams: &[&str]) -> Result<u64, StoreError>;

    /// How many entries each of `streams`, given to [`begin`](Self::begin), has, in their order, as of this transaction.
    ///
    /// # Errors
    /// The store cannot tell.
    fn versions(&mut self, streams: &[&str]) -> Result<Vec<u64>, StoreError>;

    /// Adds rows with consecutive positions, beginning at the head, and moves the head behind them; perhaps only with
    /// [`commit`](Self::commit).
    ///
    /// # Errors
    /// The store refuses them; nothing of the transaction is durable.
    fn insert(&mut self, rows: &[Row<'_>]) -> Result<(), StoreError>;

    /// Makes the transaction durable; when it returns, the rows survive a loss of power.
    ///
    /// # Errors
    /// Whether the rows are there is said by [`CommitError`].
    fn commit(&mut self) -> Result<(), CommitError>;

    /// Ends a transaction that has not been committed; nothing of it remains.
    fn abandon(&mut self);

    /// Proves by a durable write that the store can be written, and returns its head and at most `count` entries from
    /// position `from`.
    ///
    /// After it has returned, no earlier transaction can still come into effect: what it did not see will never appear, and
    /// what it saw is durable.
    ///
    /// # Errors
    /// Nothing is known.
    fn settle(&mut self, from: u64, count: usize) -> Result<Settled, StoreError>;
}

/// One entry on its way into the store.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Its place in the log.
    pub position: u64,
    /// The stream it belongs to.
    pub stream: &'a str,
    /// How many entries its stream has before it.
    pub version: u64,
    /// Canonical bytes of the event.
    pub entry: &'a [u8],
    /// Its personal part, encrypted.
    pub sealed: Option<&'a [u8]>,
}

/// How a commit failed.
#[derive(Debug, Clone)]
pub enum CommitError {
    /// It did not begin; nothing that was to be written is at fault.
    NotBegun(StoreError),
    /// It did not happen and will not.
    NotWritten(StoreError),
    /// It may have happened, or may yet come to light.
    Unknown(StoreError),
}

/// What a store holds for certain.
#[derive(Debug)]
pub struct Settled {
    /// How many entries there are.
    pub head: u64,
    /// Those that were asked for.
    pub entries: Vec<StoredEntry>,
}

enum Written {
    /// Durable, and the store has so many entries now.
    Done(Vec<Decision>, u64),
    /// Every append is in conflict with the so many entries there are.
    Nothing(Vec<Decision>, u64),
    /// Nothing could be begun; the store is at fault.
    NotBegun(StoreError),
    /// Nothing was written; the store or one of the appends is at fault.
    Failed(StoreError),
    /// The commit's outcome is unknown.
    InDoubt(Doubt, StoreError),
}

/// A commit whose outcome is unknown.
struct Doubt {
    decisions: Vec<Decision>,
    /// Where its entries are if it landed.
    place: Place,
}

enum Place {
    /// As decided.
    Decided,
    /// The decisions count from a head that only the store knows, and which is not below this.
    Behind(u64),
}

/// How many entries are looked through at a time for those of a commit in doubt.
const PAGE: usize = 4096;

/// The writing thread's state.
pub(super) struct Writer<B: Backend> {
    pub backend: B,
    pub queue: Arc<Queue>,
    pub head: watch::Sender<u64>,
    pub handover: Arc<Handover>,
    pub healthy: Arc<AtomicBool>,
    /// Dropped last, when the backend is closed.
    pub _ended: watch::Sender<()>,
}

impl<B: Backend> Writer<B> {
    /// Writes until the queue is closed and empty.
    pub fn run(mut self) {
        let mut recent = Commits::default();
        loop {
            let healthy = self.healthy.load(Ordering::Acquire);
            match self.queue.take(recent, (!healthy).then_some(PROBE_EVERY)) {
                Taken::Batch(batch) => {
                    let (appends, began) = (batch.len(), Instant::now());
                    self.append(batch);
                    let took = began.elapsed();
                    recent.note(Commit { appends, took });
                }
                Taken::Nothing => {
                    if let Err(why) = self.recover() {
                        self.ailing(&why);
                    }
                }
                Taken::Closed => return,
            }
        }
    }

    /// Writes and answers appends in one commit. Where that fails by the fault of perhaps one of them, each half gets its own
    /// try, so that the others do not fail with it.
    fn append(&mut self, mut batch: Vec<Submitted>) {
        if let Err(why) = self.recover() {
            return self.refuse(batch, &why);
        }
        match self.write(&batch) {
            Written::Done(decisions, head) => self.done(batch, &decisions, head),
            Written::Nothing(decisions, head) => {
                self.grow(head);
                answer(batch, &decisions);
            }
            Written::NotBegun(why) => self.refuse(batch, &why),
            Written::Failed(why) if batch.len() == 1 => self.refuse(batch, &why),
            Written::Failed(_) => {
                let second = batch.split_off(batch.len() / 2);
                self.append(batch);
                self.append(second);
            }
            Written::InDoubt(doubt, why) => self.resolve(batch, doubt, &why),
        }
    }

    /// A store that failed proves itself before it is given anything, so that nobody else's append
    /// comes into doubt.
    fn recover(&mut self) -> Result<(), StoreError> {
        if !self.healthy.load(Ordering::Acquire) {
            let settled = self.backend.settle(0, 0)?;
            self.advance(settled.head);
        }
        Ok(())
    }

    /// Writes, and decides anew while another writer is in the way.
    fn write(&mut self, batch: &[Submitted]) -> Written {
        let mut pause = FIRST_PAUSE;
        for _ in 0..RACES {
            match self.try_write(batch) {
                Written::NotBegun(why) | Written::Failed(why) if why.is_lost_race() => {
                    tracing::debug!(%why, "the appends are decided anew");
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                written => return written,
            }
        }
        self.try_write(batch)
    }

    fn try_write(&mut self, batch: &[Submitted]) -> Written {
        if self.backend.is_far()
            && let Some(written) = self.write_in_one_step(batch)
        {
            return written;
        }
        let mut streams: Vec<&str> = expectations(batch).map(|(stream, _)| stream).collect();
        streams.sort_unstable();
        streams.dedup();
        let head = match self.begin(&streams) {
            Ok(head) => head,
            Err(why) => {
                self.backend.abandon();
                return Written::NotBegun(why);
            }
        };
        let written = self.fill(head, streams, batch);
        if matches!(written, Written::Failed(_)) {
            self.backend.abandon();
        }
        written
    }

    /// Writes all of it on the guess that every append expects what is so; `None` if nothing was written and the guess says
    /// nothing.
    fn write_in_one_step(&mut self, batch: &[Submitted]) -> Option<Written> {
        let known = *self.head.borrow();
        let mut expected = HashMap::new();
        for (stream, length) in expectations(batch) {
            // No store holds more; beyond it, counting would not be safe.
            i64::try_from(length).ok()?;
            expected.entry(stream).or_insert(length);
        }
        let mut decisions = decide(0, expected.clone(), batch);
        if decisions.iter().any(Result::is_err) {
            return None;
        }
        let rows = rows(batch, &decisions);
        let count = rows.len() as u64;
        let stepped = self.backend.append_in_one_step(known, &expected, &rows);
        Some(match stepped.transpose()? {
            Ok(head) => {
                count_transaction();
                move_by(&mut decisions, head);
                Written::Done(decisions, head + count)
            }
            Err(error) => not_done(error, decisions, Place::Behind(known)),
        })
    }

    fn begin(&mut self, streams: &[&str]) -> Result<u64, StoreError> {
        let known = *self.head.borrow();
        let head = self.backend.begin(streams)?;
        if head < known {
            let why = format_args!("it has {head} entries, {known} were there before");
            return Err(StoreError::new(why));
        }
        Ok(head)
    }

    fn fill(&mut self, head: u64, streams: Vec<&str>, batch: &[Submitted]) -> Written {
        let versions = match self.backend.versions(&streams) {
            Ok(versions) => versions,
            Err(why) => return Written::Failed(why),
        };
        let decisions = decide(head, streams.into_iter().zip(versions).collect(), batch);
        let rows = rows(batch, &decisions);
        let Some(last) = rows.last() else {
            self.backend.abandon();
            return Written::Nothing(decisions, head);
        };
        if let Err(why) = self.backend.insert(&rows) {
            return Written::Failed(why);
        }
        match self.backend.commit() {
            Ok(()) => {
                count_transaction();
                Written::Done(decisions, last.position + 1)
            }
            Err(error) => not_done(error, decisions, Place::Decided),
        }
    }

    /// Hands durable entries over before anybody hears of them, and answers.
    fn done(&self, mut batch: Vec<Submitted>, decisions: &[Decision], head: u64) {
        self.handover.put(taken(&mut batch, decisions));
        self.advance(head);
        answer(batch, decisions);
    }

    /// Reads the truth about a commit in doubt and answers by it.
    fn resolve(&mut self, batch: Vec<Submitted>, mut doubt: Doubt, why: &StoreError) {
        self.ailing(why);
        let mut pause = FIRST_PAUSE;
        for _ in 0..IN_DOUBT_ATTEMPTS {
            match self.look(&batch, &doubt) {
                Ok((head, landed)) => {
                    tracing::warn!(?landed, head, "a log commit in doubt is settled");
                    if let Some(by) = landed {
                        move_by(&mut doubt.decisions, by);
                        self.done(batch, &doubt.decisions, head);
                    } else {
                        self.advance(head);
                        super::queue::refuse(batch, why);
                    }
                    return;
                }
                Err(why) => self.ailing(&why),
            }
            if !self.queue.refuse_for(pause, why) {
                break;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        tracing::error!("a log commit stays in doubt");
        for submitted in batch {
            submitted.answer(Err(AppendError::Unknown));
        }
    }

    /// The head of the settled store, and by how much the positions that were decided are to be moved if the commit landed.
    fn look(
        &mut self,
        batch: &[Submitted],
        doubt: &Doubt,
    ) -> Result<(u64, Option<u64>), StoreError> {
        let rows = rows(batch, &doubt.decisions);
        let first = rows.first().map_or(0, |row| row.position);
        let Place::Behind(mut from) = doubt.place else {
            let settled = self.backend.settle(first, rows.len())?;
            let landed = same(&rows, &settled.entries, 0).then_some(0);
            return Ok((settled.head, landed));
        };
        loop {
            let settled = self.backend.settle(from, PAGE.max(rows.len()))?;
            let found = settled.entries.windows(rows.len());
            let mut places = (from..).zip(found);
            if let Some((head, _)) = places.find(|(head, found)| same(&rows, found, *head)) {
                return Ok((settled.head, Some(head)));
            }
            let end = from + settled.entries.len() as u64;
            if settled.entries.len() < rows.len() || end >= settled.head {
                return Ok((settled.head, None));
            }
            // A page may end in the middle of what is sought.
            from = end + 1 - rows.len() as u64;
        }
    }

    fn refuse(&self, batch: Vec<Submitted>, why: &StoreError) {
        self.ailing(why);
        super::queue::refuse(batch, why);
    }

    /// A durable write has succeeded, and the store has `head` durable entries.
    fn advance(&self, head: u64) {
        if !self.healthy.swap(true, Ordering::AcqRel) {
            tracing::info!("the log can be written again");
        }
        self.grow(head);
    }

    fn grow(&self, head: u64) {
        self.head.send_if_modified(|known| {
            let grown = head > *known;
            *known = head.max(*known);
            grown
        });
    }

    fn ailing(&self, why: &StoreError) {
        if self.healthy.swap(false, Ordering::AcqRel) {
            tracing::error!(%why, "the log cannot be written");
        }
    }
}

/// Also when the thread unwinds: nobody is to wait for an answer that no one will give.
impl<B: Backend> Drop for Writer<B> {
    fn drop(&mut self) {
        self.healthy.store(false, Ordering::Release);
        self.queue.close();
        let closed = StoreError::new("the log is closed");
        self.queue.refuse_for(Duration::ZERO, &closed);
    }
}

fn not_done(error: CommitError, decisions: Vec<Decision>, place: Place) -> Written {
    match error {
        CommitError::NotBegun(why) => Written::NotBegun(why),
        CommitError::NotWritten(why) => Written::Failed(why),
        CommitError::Unknown(why) => Written::InDoubt(Doubt { decisions, place }, why),
    }
}

fn count_transaction() {
    metrics::counter!("grantlog_store_transactions_total", "store" => "log").increment(1);
}
