//! What was fetched from providers, for a while: bounded, and fetched once however many ask.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::TimeDelta;
use domain::Timestamp;
use tokio::sync::Mutex;
use url::Url;

/// Only operators name URLs to fetch from, so this is ample.
const ENTRIES_MAX: usize = 256;

/// The last good answer of each URL.
pub(super) struct Cache<T, E> {
    cells: quick_cache::sync::Cache<Url, Arc<Cell<T, E>>>,
}

struct Cell<T, E> {
    attempts: AtomicU64,
    slot: Mutex<Slot<T, E>>,
}

struct Slot<T, E> {
    good: Option<(Arc<T>, Timestamp)>,
    last_failure: Option<E>,
}

impl<T, E: Clone> Cache<T, E> {
    pub(super) fn new() -> Self {
        Self {
            cells: quick_cache::sync::Cache::new(ENTRIES_MAX),
        }
    }

    /// What is at `url`: the copy in hand if it is younger than `max_age` says, else a new one.
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
        if let Some((value, fetched_at)) = &slot.good
            && (now - *fetched_at).abs() < max_age(value)
        {
            return Ok(Arc::clone(value));
        }
        if cell.attempts.load(Ordering::Acquire) != attempts
            && let Some(failure) = &slot.last_failure
        {
            return Err(failure.clone());
        }
        let outcome = fetch.await.map(Arc::new);
        cell.attempts.fetch_add(1, Ordering::Release);
        match &outcome {
            Ok(value) => {
                slot.good = Some((Arc::clone(value), now));
                slot.last_failure = None;
            }
            Err(failure) => slot.last_failure = Some(failure.clone()),
        }
        outcome
    }
}

impl<T, E> Cell<T, E> {
    fn new() -> Self {
        Self {
            attempts: AtomicU64::new(0),
            slot: Mutex::new(Slot {
                good: None,
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

    #[tokio::test]
    async fn keeps_an_answer_until_it_is_too_old() {
        let cache = Cache::new();
        assert_eq!(get(&cache, 0, Ok(1)).await, Ok(1));
        assert_eq!(get(&cache, 59, Ok(2)).await, Ok(1));
        assert_eq!(get(&cache, 60, Ok(3)).await, Ok(3));
    }

    #[tokio::test]
    async fn asks_again_after_a_failure() {
        let cache = Cache::new();
        assert_eq!(get(&cache, 0, Err("down")).await, Err("down"));
        assert_eq!(get(&cache, 0, Ok(1)).await, Ok(1));
    }

    #[tokio::test]
    async fn those_who_waited_share_one_attempt_and_its_failure() {
        let cache = Cache::<u32, &str>::new();
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
