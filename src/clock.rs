//! The only place that reads the clock and draws randomness; everything else is handed both.
//!
//! Nodes that share a log judge the same codes, tokens and retries, so they must agree on the time, and their
//! machines need not. The database they share has one clock, and its answers say what it shows: from the first one on
//! [`now`] is that clock, as far as this machine can tell, and not its own, which may be set meanwhile. Order never comes from
//! it.

use std::cell::RefCell;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use chrono::{DateTime, SubsecRound, TimeDelta};
use domain::Timestamp;
use domain::id::EventId;
use zeroize::{Zeroize, Zeroizing};

/// The clock that is followed.
static FOLLOWED: LazyLock<Followed> = LazyLock::new(|| Followed::since(Instant::now()));

/// How far it was ahead when that was last said, in microseconds.
static SAID: AtomicI64 = AtomicI64::new(0);

/// A machine's clock that is off by more is worth a word.
const NOTICED: TimeDelta = TimeDelta::seconds(1);

/// The current instant in UTC, truncated to microseconds as every stored instant is.
#[must_use]
pub fn now() -> Timestamp {
    let followed = FOLLOWED.at(Instant::now());
    followed.unwrap_or_else(this_machines)
}

/// How far the clock that is followed is ahead of this machine's.
#[must_use]
pub fn ahead() -> TimeDelta {
    let own = this_machines();
    let followed = FOLLOWED.at(Instant::now());
    followed.map_or(TimeDelta::zero(), |followed| followed - own)
}

/// Follows a clock that showed `theirs`, in microseconds since 1970, at some instant since it was `asked`.
pub fn follow(theirs: i64, asked: Instant) {
    FOLLOWED.correct(theirs, asked, Instant::now());
    let ahead = ahead();
    let said = TimeDelta::microseconds(SAID.load(Ordering::Relaxed));
    if (ahead - said).abs() > NOTICED {
        let micros = ahead.num_microseconds().unwrap_or(i64::MAX);
        SAID.store(micros, Ordering::Relaxed);
        let seconds = ahead.num_seconds();
        tracing::warn!(
            seconds,
            "the database's clock is followed, which is ahead of this machine's"
        );
    }
}

/// A clock that is followed by what measures how long something takes: a step of this machine's own clock is none of it.
/// Where the machine sleeps, and nothing measures, it is behind until it is corrected. Nor does a node's view of the log grow
/// older then: until its first look afterwards the gateway admits by what was known before.
struct Followed {
    since: Instant,
    /// What it showed then, in microseconds since 1970; the least there is while that is not known.
    shown: AtomicI64,
}

impl Followed {
    fn since(since: Instant) -> Self {
        let shown = AtomicI64::new(i64::MIN);
        Self { since, shown }
    }

    /// What it shows, as far as is known.
    fn at(&self, instant: Instant) -> Option<Timestamp> {
        let shown = self.shown.load(Ordering::Relaxed);
        if shown == i64::MIN {
            return None;
        }
        DateTime::from_timestamp_micros(shown.saturating_add(self.passed(instant)))
    }

    /// Takes note that it showed `theirs` between two instants. As long as what is known of it may be right, nothing changes:
    /// its answers take time, now more and now less.
    fn correct(&self, theirs: i64, asked: Instant, answered: Instant) {
        let least = theirs.saturating_sub(self.passed(answered));
        let most = theirs.saturating_sub(self.passed(asked));
        if !(least..=most).contains(&self.shown.load(Ordering::Relaxed)) {
            self.shown.store(least.midpoint(most), Ordering::Relaxed);
        }
    }

    fn passed(&self, instant: Instant) -> i64 {
        let micros = |passed: Duration| i64::try_from(passed.as_micros()).unwrap_or(i64::MAX);
        match instant.checked_duration_since(self.since) {
            Some(passed) => micros(passed),
            None => -micros(self.since - instant),
        }
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
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let followed = Followed::since(at(1_000));
        let shows = |ms| Some(DateTime::from_timestamp_millis(ms).unwrap());
        assert_eq!(followed.at(at(1_000)), None);
        // It was asked before anything was counted.
        followed.correct(50_000_000, at(998), at(1_002));
        assert_eq!(followed.at(at(1_000)), shows(50_000));
        assert_eq!(followed.at(at(3_500)), shows(52_500));
        assert_eq!(followed.at(at(0)), shows(49_000));
        // Slow answers say less, and nothing against it.
        followed.correct(56_000_000, at(4_000), at(12_000));
        assert_eq!(followed.at(at(12_000)), shows(61_000));
        // It was set, or this machine slept.
        followed.correct(70_000_000, at(13_000), at(13_010));
        assert_eq!(followed.at(at(13_005)), shows(70_000));
        followed.correct(60_000_000, at(14_000), at(14_000));
        assert_eq!(followed.at(at(14_001)), shows(60_001));
    }

    #[test]
    fn event_ids_are_version_7_and_distinct() {
        let (first, second) = (event_id(), event_id());
        assert_eq!(first.0.get_version_num(), 7);
        assert_ne!(first, second);
    }
}
