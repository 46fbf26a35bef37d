//! The only place that reads the clock and draws randomness; everything else is handed both.
//!
//! Nodes that share a log judge the same codes, tokens and retries, so they must agree on the time, and their
//! machines need not. The database they share has one clock, and its answers say what it shows: from the first one on
//! [`now`] is that clock, as far as this machine can tell, and not its own. Order never comes from it.

use std::cell::RefCell;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_lc_rs::rand;
use chrono::{SubsecRound, TimeDelta};
use domain::Timestamp;
use domain::id::EventId;
use zeroize::{Zeroize, Zeroizing};

/// How far the clock that is followed is ahead of this machine's, in microseconds.
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// A machine's clock that is off by more is worth a word.
const NOTICED: TimeDelta = TimeDelta::seconds(1);

/// The current instant in UTC, truncated to microseconds as every stored instant is.
#[must_use]
pub fn now() -> Timestamp {
    this_machines() + ahead()
}

/// How far the clock that is followed is ahead of this machine's.
#[must_use]
pub fn ahead() -> TimeDelta {
    TimeDelta::microseconds(AHEAD.load(Ordering::Relaxed))
}

/// Follows a clock that showed `theirs`, in microseconds since 1970, at some instant of the last `within`. As long as
/// what is known of it may be right, nothing changes: its answers take time, now more and now less.
pub fn follow(theirs: i64, within: Duration) {
    let least = theirs.saturating_sub(this_machines().timestamp_micros());
    let within = i64::try_from(within.as_micros()).unwrap_or(i64::MAX);
    let most = least.saturating_add(within);
    let before = ahead();
    if (least..=most).contains(&AHEAD.load(Ordering::Relaxed)) {
        return;
    }
    AHEAD.store(least.midpoint(most), Ordering::Relaxed);
    if (ahead() - before).abs() > NOTICED {
        let seconds = ahead().num_seconds();
        tracing::warn!(
            seconds,
            "the database's clock is followed, which is ahead of this machine's"
        );
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the place")]
fn this_machines() -> Timestamp {
    chrono::Utc::now().trunc_subsecs(6)
}

/// `N` random bytes, fit for keys and secrets.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    DRAWN.with_borrow_mut(Drawn::take)
}

thread_local! {
    static DRAWN: RefCell<Drawn> = RefCell::new(Drawn { bytes: Zeroizing::new([0; DRAWN_BYTES]), left: 0 });
}

/// Drawing many bytes takes hardly longer than drawing few, and a request needs some for several purposes.
const DRAWN_BYTES: usize = 1024;

/// Random bytes that nobody has been given yet.
struct Drawn {
    bytes: Zeroizing<[u8; DRAWN_BYTES]>,
    /// How many, at the beginning; what was given out is overwritten.
    left: usize,
}

impl Drawn {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= DRAWN_BYTES) };
        if self.left < N {
            rand::fill(&mut *self.bytes).expect("the operating system gives randomness");
            self.left = DRAWN_BYTES;
        }
        self.left -= N;
        let given = &mut self.bytes[self.left..self.left + N];
        let bytes = given.try_into().expect("N bytes are N bytes");
        given.zeroize();
        bytes
    }
}

/// A fresh event id: a UUID v7 (RFC 9562 §5.7) of the current millisecond.
#[must_use]
pub fn event_id() -> EventId {
    let unix_ms = u64::try_from(now().timestamp_millis()).unwrap_or_default();
    EventId(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random()).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_carry_microseconds_at_most() {
        assert_eq!(now().timestamp_subsec_nanos() % 1000, 0);
    }

    #[test]
    fn nothing_random_is_given_out_twice() {
        let drawn: Vec<[u8; 24]> = (0..1000).map(|_| random()).collect();
        let distinct: std::collections::HashSet<_> = drawn.iter().collect();
        assert_eq!(distinct.len(), drawn.len());
        let half_zero = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == 0).count() > 12;
        assert!(!drawn.iter().any(|bytes| half_zero(bytes)));
        DRAWN.with_borrow(|drawn| assert!(drawn.bytes[drawn.left..].iter().all(|byte| *byte == 0)));
    }

    #[test]
    fn a_clock_is_followed_as_far_as_its_answers_tell() {
        let theirs = |ahead: TimeDelta| (this_machines() + ahead).timestamp_micros();
        let hour = TimeDelta::hours(1);
        follow(theirs(hour), Duration::from_millis(2));
        let first = ahead();
        assert!((first - hour).abs() < TimeDelta::seconds(1), "{first}");
        assert!((now() - this_machines() - hour).abs() < TimeDelta::seconds(1));
        // Slow answers say less, and nothing against it.
        follow(theirs(hour - TimeDelta::seconds(4)), Duration::from_secs(8));
        assert_eq!(ahead(), first);
        follow(theirs(TimeDelta::zero()), Duration::from_secs(1));
        assert!(ahead().abs() < TimeDelta::seconds(2), "{}", ahead());
        AHEAD.store(0, Ordering::Relaxed);
    }

    #[test]
    fn event_ids_are_version_7_and_distinct() {
        let (first, second) = (event_id(), event_id());
        assert_eq!(first.0.get_version_num(), 7);
        assert_ne!(first, second);
    }
}
