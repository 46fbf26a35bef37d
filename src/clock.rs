//! The only place that reads the clock and draws randomness; everything else is handed both.

use aws_lc_rs::rand;
use chrono::SubsecRound;
use domain::Timestamp;
use domain::id::EventId;

/// The current instant in UTC, truncated to microseconds as every stored instant is.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the place")]
pub fn now() -> Timestamp {
    chrono::Utc::now().trunc_subsecs(6)
}

/// `N` random bytes, fit for keys and secrets.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
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
    fn event_ids_are_version_7_and_distinct() {
        let (first, second) = (event_id(), event_id());
        assert_eq!(first.0.get_version_num(), 7);
        assert_ne!(first, second);
    }
}
