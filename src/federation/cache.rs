//! What was fetched from providers, for a while: bounded, and fetched once however many ask.
//!
//! A provider that fails for an hour must not log everybody out: what was good stays in use until
//! there is something good again, for a day at most. Where there is nothing, it is asked every few
//! seconds and not as often as strangers like to begin a login.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::TimeDelta;
use domain::Timestamp;
use tokio::sync::Mutex;
use url::Url;

/// Only operators name URLs to fetch from, so this is ample.
const ENTRIES_MAX: usize = 256;

/// How long a copy is used that cannot be fetched anew.
const KEPT_FOR: TimeDelta = TimeDelta::days(1);
/// How often that is tried.
const RETRY_AFTER: TimeDelta = TimeDelta::seconds(30);
/// How long a failure is everybody's answer.
const FAILURE_KEPT_FOR: TimeDelta = TimeDelta::seconds(3);

/// The last good answer of each URL.
pub(super) struct Cache<T, E> {
    is_usable: fn(&T) -> bool,
    cells: quick_cache::sync::Cache<Url, Arc<Cell<T, E>>>,
}

struct Cell<T, E> {
    attempts: AtomicU64,
    slot: Mutex<Slot<T, E>>,
}

struct Slot<T, E> {
    copy: Option<Kept<T>>,
    last_failure: Option<Failure<E>>,
}

struct Failure<E> {
    error: E,
    failed_at: Timestamp,
}

struct Kept<T> {
    value: Arc<T>,
    fetched_at: Timestamp,
    /// There was nothing usable since: it is not looked for before.
    retry_at: Option<Timestamp>,
}

impl<T, E: Clone> Cache<T, E> {
    /// Empty; `is_usable` says which answers are worth keeping.
    pub(super) fn new(is_usable: fn(&T) -> bool) -> Self {
        Self {
            is_usable,
            cells: quick_cache::sync::Cache::new(ENTRIES_MAX),
        }
    }

    /// What is at `url`: the copy in hand if it is younger than `max_age` says, or if nothing usable
    /// is to be had now, else a new one.
    ///
    /// Callers that waited for another's attempt share its outcome, a failure included, so a
    /// provider that hangs is asked once and not once per waiting login.
    pub(super) async fn get(
        &self,
        url: &Url,
        now: Timestamp,
        max_age: impl Fn(&T) -> TimeDelta,
        fetch: impl Future<Output = Result<T, E>>,
    ) -> Result<Arc<T>, E> {
        let Ok(cell) = self
            .cells
            .get_or_insert_with(url, || Ok::<_, Infallible>(Arc::new(Cell::new())));
        let attempts = cell.attempts.load(Ordering::Acquire);
        let mut slot = cell.slot.lock().await;
        if let Some(copy) = &slot.copy {
            let is_young = copy.age(now) < max_age(&copy.value);
            let is_kept = copy.age(now) < KEPT_FOR && copy.retry_at.is_some_and(|at| now < at);
            if is_young || is_kept {
                return Ok(Arc::clone(&copy.value));
            }
        }
        if let Some(failure) = &slot.last_failure {
            let is_fresh = (now - failure.failed_at).abs() < FAILURE_KEPT_FOR;
            if is_fresh || cell.attempts.load(Ordering::Acquire) != attempts {
                return Err(failure.error.clone());
            }
        }
        let outcome = fetch.await.map(Arc::new);
        cell.attempts.fetch_add(1, Ordering::Release);
        let is_usable = outcome.as_ref().is_ok_and(|value| (self.is_usable)(value));
        if !is_usable
            && let Some(copy) = &mut slot.copy
            && (self.is_usable)(&copy.value)
            && copy.age(now) < KEPT_FOR
        {
            copy.retry_at = Some(now + RETRY_AFTER);
            return Ok(Arc::clone(&copy.value));
        }
        match &outcome {
            Ok(value) => {
                slot.copy = Some(Kept {
                    value: Arc::clone(value),
                    fetched_at: now,
                    retry_at: None,
                });
                slot.last_failure = None;
            }
            Err(error) => {
                slot.last_failure = Some(Failure {
                    error: error.clone(),
                    failed_at: now,
                });
            }
        }
        outcome
    }
}

impl<T> Kept<T> {
    fn age(&self, now: Timestamp) -> TimeDelta {
        (now - self.fetched_at).abs()
    }
}

impl<T, E> Cell<T, E> {
    fn new() -> Self {
        Self {
            attempts: AtomicU64::new(0),
            slot: Mutex::new(Slot {
                copy: None,
                last_failure: None,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://op.example/jwks";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_timestamp(second, 0).expect("in range")
    }

    async fn get(
        cache: &Cache<u32, &'static str>,
        second: i64,
        answer: Result<u32, &'static str>,
    ) -> Result<u32, &'static str> {
        let url = URL.parse().expect("a URL");
        let minute = |_: &u32| TimeDelta::seconds(60);
        let got = cache.get(&url, at(second), minute, async { answer }).await;
        got.map(|value| *value)
    }

    fn is_usable(value: &u32) -> bool {
        *value > 0
    }

    #[tokio::test]
    async fn keeps_what_was_good_while_there_is_nothing_better() {
        let cache = Cache::new(is_usable);
        assert_eq!(get(&cache, 0, Ok(0)).await, Ok(0));
        assert_eq!(get(&cache, 60, Ok(1)).await, Ok(1));
        assert_eq!(get(&cache, 200, Ok(0)).await, Ok(1));
        assert_eq!(get(&cache, 229, Ok(2)).await, Ok(1), "not asked again yet");
        assert_eq!(get(&cache, 230, Err("down")).await, Ok(1));
        assert_eq!(get(&cache, 260, Ok(2)).await, Ok(2));
        let day = 24 * 3600;
        assert_eq!(get(&cache, 259 + day, Err("down")).await, Ok(2));
        assert_eq!(get(&cache, 260 + day, Err("down")).await, Err("down"));
    }

    #[tokio::test]
    async fn keeps_an_answer_until_it_is_too_old() {
        let cache = Cache::new(is_usable);
        assert_eq!(get(&cache, 0, Ok(1)).await, Ok(1));
        assert_eq!(get(&cache, 59, Ok(2)).await, Ok(1));
        assert_eq!(get(&cache, 60, Ok(3)).await, Ok(3));
    }

    #[tokio::test]
    async fn asks_again_a_few_seconds_after_a_failure() {
        let cache = Cache::new(is_usable);
        assert_eq!(get(&cache, 0, Err("down")).await, Err("down"));
        assert_eq!(get(&cache, 2, Ok(1)).await, Err("down"));
        assert_eq!(get(&cache, 3, Ok(1)).await, Ok(1));
    }

    #[tokio::test]
    async fn those_who_waited_share_one_attempt_and_its_failure() {
        let cache = Cache::<u32, &str>::new(is_usable);
        let url: Url = URL.parse().expect("a URL");
        let gate = tokio::sync::Notify::new();
        let age = |_: &u32| TimeDelta::seconds(60);
        let first = cache.get(&url, at(0), age, async {
            gate.notified().await;
            Err("down")
        });
        let second = cache.get(&url, at(0), age, async { Ok(2) });
        let release = async {
            tokio::task::yield_now().await;
            gate.notify_one();
        };
        let (first, second, ()) = tokio::join!(first, second, release);
        assert_eq!((first, second), (Err("down"), Err("down")));
    }
}
