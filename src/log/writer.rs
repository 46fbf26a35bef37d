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

use super::backend::{Backend, CommitError};
use super::decision::{Decision, answer, decide, expectations, move_by, rows, same, taken};
use super::handover::Handover;
use super::queue::{Commit, Commits, Queue, Submitted, Taken};
use super::types::{AppendError, StoreError};

/// How often a log that could not be written tries whether it can be again.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// How often the store is asked about a commit in doubt, the first pause, and the longest; about 6 s together.
const IN_DOUBT_ATTEMPTS: u32 = 14;
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(800);

/// How often appends are decided anew after a race lost against another writer, with the pauses between about 3 s; and how often
/// what was read in vain is read again.
pub(super) const RACES: u32 = 10;

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
                Taken::Nothing => match self.recover().and_then(|()| self.backend.rehearse()) {
                    Ok(()) => self.well(),
                    Err(why) => self.ailing(&why),
                },
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
    /// comes into doubt. It is well once an append has succeeded, or would.
    fn recover(&mut self) -> Result<(), StoreError> {
        if !self.healthy.load(Ordering::Acquire) {
            let settled = self.backend.settle(0, 0)?;
            self.grow(settled.head);
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
        self.grow(head);
        self.well();
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
                        self.grow(head);
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

    fn well(&self) {
        if !self.healthy.swap(true, Ordering::AcqRel) {
            tracing::info!("the log can be written again");
        }
    }

    /// The store has `head` durable entries.
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
