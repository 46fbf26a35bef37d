//! The seconds that go into tokens.

use std::time::UNIX_EPOCH;

/// Seconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "a measurement runs in real time, outside of the program's clock"
)]
pub fn seconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
