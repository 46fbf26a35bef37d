//! The bounded queue between those who append and the writer.
//!
//! Pushing never blocks; what does not fit is answered at once. Whatever was pushed is answered exactly once, also when the
//! writer ends, and jobs leave in the order they came.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::types::{Append, AppendError, Appended, MAX_ENTRY_BYTES, StoreError};

/// How many appends may wait for the writer before further ones are [`AppendError::Overloaded`].
pub const QUEUE_LIMIT: usize = 8192;

/// How many appends share one commit at most (a single larger batch is not divided).
pub(super) const BATCH_LIMIT: usize = 512;

/// Lingering lasts while each quantum, or a quarter of a commit if that is longer, brings at least one more append, and 2 ms
/// altogether at most.
const QUANTUM: Duration = Duration::from_micros(100);
const LINGER_MAX: Duration = Duration::from_millis(2);

/// A commit: what the next one may be like.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Commit {
    /// How many appends it carried.
    pub appends: usize,
    /// How long it took.
    pub took: Duration,
}

/// The last two commits. One that began too early, with the one append that was there, does not stand for those to come: else a
/// commit of everybody and a commit of one straggler would go on taking turns.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Commits {
    last: Commit,
    before: Commit,
}

impl Commits {
    pub fn note(&mut self, commit: Commit) {
        self.before = std::mem::replace(&mut self.last, commit);
    }

    fn larger(self) -> Commit {
        if self.before.appends > self.last.appends {
            self.before
        } else {
            self.last
        }
    }
}

/// The answer to an append that has been queued.
#[must_use = "an append is durable only once its answer says so"]
pub struct Pending(oneshot::Receiver<Result<Appended, AppendError>>);

impl Future for Pending {
    type Output = Result<Appended, AppendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A sender that is dropped without an answer was in the hands of a writer that panicked.
        let answer = Pin::new(&mut self.0).poll(cx);
        answer.map(|answer| answer.unwrap_or(Err(AppendError::Unknown)))
    }
}

/// One append with the way back to whoever waits for it.
pub(super) struct Submitted {
    pub append: Append,
    pub answer: oneshot::Sender<Result<Appended, AppendError>>,
}

impl Submitted {
    pub fn answer(self, answer: Result<Appended, AppendError>) {
        // Nobody may be waiting any more, which changes nothing.
        let _ = self.answer.send(answer);
    }
}

/// Appends that were submitted together and share a commit.
pub(super) type Job = Vec<Submitted>;

/// Pairs each append with its answer; malformed ones are answered here and do not travel on.
pub(super) fn job(appends: Vec<Append>) -> (Job, Vec<Pending>) {
    let mut job = Job::with_capacity(appends.len());
    let mut pending = Vec::with_capacity(appends.len());
    for append in appends {
        let (answer, receiver) = oneshot::channel();
        pending.push(Pending(receiver));
        let malformed = malformed(&append);
        let submitted = Submitted { append, answer };
        match malformed {
            Some(why) => submitted.answer(Err(AppendError::Malformed(why))),
            None => job.push(submitted),
        }
    }
    (job, pending)
}

fn malformed(append: &Append) -> Option<&'static str> {
    let too_big = |bytes: &Vec<u8>| bytes.len() > MAX_ENTRY_BYTES;
    if append.stream.is_empty() {
        Some("the stream has no name")
    } else if append.entries.is_empty() {
        Some("there is no entry")
    } else if append.entries.iter().any(|new| new.entry.is_empty()) {
        Some("an entry is empty")
    } else if append
        .entries
        .iter()
        .any(|new| too_big(&new.entry) || new.sealed.as_ref().is_some_and(too_big))
    {
        Some("an entry is larger than 64 MiB")
    } else {
        None
    }
}

/// Answers every append of a job that nothing was written.
pub(super) fn refuse(job: Job, why: &StoreError) {
    for submitted in job {
        submitted.answer(Err(AppendError::Unavailable(why.clone())));
    }
}

/// What the writer found in the queue.
pub(super) enum Taken {
    /// Appends to be written now.
    Batch(Vec<Submitted>),
    /// Nothing came within the time given.
    Nothing,
    /// The queue is closed and empty.
    Closed,
}

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Appends in `jobs`.
    appends: usize,
    /// The writer sleeps until there are that many; fewer do not wake it.
    wake_at: usize,
    closed: bool,
}

impl Queue {
    pub fn push(&self, job: Job) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            refuse(job, &StoreError::new("the log is closed"));
        } else if state.appends + job.len() > QUEUE_LIMIT && state.appends > 0 {
            drop(state);
            for submitted in job {
                submitted.answer(Err(AppendError::Overloaded));
            }
        } else if !job.is_empty() {
            state.appends += job.len();
            state.jobs.push_back(job);
            if state.appends >= state.wake_at {
                self.filled.notify_one();
            }
        }
    }

    /// Takes the next appends for one commit; waits for the first for ever, or for `idle`.
    ///
    /// If a recent commit carried more than one, their submitters are probably on their way back, and waiting for them makes
    /// one commit of two. A lone submitter never waits. Nobody waits longer than twice the time of a commit: by then those who
    /// still come do their work while this commit waits for the disk, rather than everybody waiting for it together.
    pub fn take(&self, recent: Commits, idle: Option<Duration>) -> Taken {
        let mut state = self.lock();
        while state.jobs.is_empty() {
            if state.closed {
                return Taken::Closed;
            }
            let timed_out;
            (state, timed_out) = self.sleep(state, 1, idle);
            if timed_out && state.jobs.is_empty() && !state.closed {
                return Taken::Nothing;
            }
        }
        let Commit { appends, took } = recent.larger();
        let wanted = appends.min(BATCH_LIMIT);
        let (linger, quantum) = (LINGER_MAX.min(2 * took), QUANTUM.max(took / 4));
        let began = Instant::now();
        while began.elapsed() < linger {
            let before = state.appends;
            if before >= wanted || state.closed {
                break;
            }
            (state, _) = self.sleep(state, wanted, Some(quantum));
            if state.appends == before {
                break;
            }
        }
        Taken::Batch(drain(&mut state))
    }

    /// Refuses everything that is there or comes, at once, for `duration` or until closed; whether the queue is still open.
    pub fn refuse_for(&self, duration: Duration, why: &StoreError) -> bool {
        let began = Instant::now();
        loop {
            let mut state = self.lock();
            state.appends = 0;
            let jobs = std::mem::take(&mut state.jobs);
            let left = duration.saturating_sub(began.elapsed());
            if jobs.is_empty() {
                if state.closed || left.is_zero() {
                    return !state.closed;
                }
                drop(self.sleep(state, 1, Some(left)));
            } else {
                drop(state);
                for job in jobs {
                    refuse(job, why);
                }
            }
        }
    }

    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        wake_at: usize,
        at_most: Option<Duration>,
    ) -> (MutexGuard<'a, State>, bool) {
        if state.closed {
            return (state, true);
        }
        state.wake_at = wake_at;
        match at_most {
            None => {
                let woken = self.filled.wait(state);
                (woken.unwrap_or_else(PoisonError::into_inner), false)
            }
            Some(at_most) => {
                let woken = self.filled.wait_timeout(state, at_most);
                let (state, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
                (state, timeout.timed_out())
            }
        }
    }
}

fn drain(state: &mut State) -> Vec<Submitted> {
    let mut batch = Vec::new();
    while let Some(job) = state.jobs.front()
        && (batch.is_empty() || batch.len() + job.len() <= BATCH_LIMIT)
    {
        state.appends -= job.len();
        batch.extend(state.jobs.pop_front().into_iter().flatten());
    }
    batch
}
