//! The only place that reads the clock and draws randomness; everything else is handed both.

use std::cell::RefCell;

use aws_lc_rs::rand;
use chrono::SubsecRound;
use domain::Timestamp;
use domain::id::EventId;
use zeroize::{Zeroize, Zeroizing};

/// The current instant in UTC, truncated to microseconds as every stored instant is.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn now() -> Timestamp {
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
    fn event_ids_are_version_7_and_distinct() {
        let (first, second) = (event_id(), event_id());
        assert_eq!(first.0.get_version_num(), 7);
        assert_ne!(first, second);
    }
}
