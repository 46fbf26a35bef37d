//! How often somebody at an address has failed to prove who they are, so that guessing costs this server little.
//!
//! IPv6 addresses count by /64, as for all rates.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::Timestamp;

use crate::app::{Context, customer_block};

/// Failed authentications of the current minute by address.
#[derive(Default)]
pub(crate) struct Failures(Mutex<Minute>);

#[derive(Default)]
struct Minute {
    number: i64,
    by_address: HashMap<IpAddr, u32>,
}

const FAILURES_PER_MINUTE: u32 = 30;

impl Failures {
    /// Whether there have been so many that nobody there is looked up until the minute is over.
    pub(crate) fn are_too_many(&self, context: &Context) -> bool {
        self.of(context.now)
            .by_address
            .get(&address(context))
            .is_some_and(|failures| *failures >= FAILURES_PER_MINUTE)
    }

    /// Counts one.
    pub(crate) fn count(&self, context: &Context) {
        let mut minute = self.of(context.now);
        let failures = minute.by_address.entry(address(context)).or_default();
        *failures = failures.saturating_add(1);
    }

    fn of(&self, now: Timestamp) -> MutexGuard<'_, Minute> {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = now.timestamp() / 60;
        if minute.number != number {
            *minute = Minute {
                number,
                by_address: HashMap::new(),
            };
        }
        minute
    }
}

fn address(context: &Context) -> IpAddr {
    context
        .ip
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), customer_block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    #[test]
    fn failures_of_an_address_are_bounded_per_minute() {
        let failures = Failures::default();
        let mut context = Context::system(crate::clock::now());
        context.ip = Some("2001:db8::1".parse().unwrap());
        for _ in 0..FAILURES_PER_MINUTE {
            assert!(!failures.are_too_many(&context));
            failures.count(&context);
        }
        let mut neighbour = context.clone();
        neighbour.ip = Some("2001:db8::2".parse().unwrap());
        assert!(failures.are_too_many(&neighbour), "one customer has a /64");
        neighbour.ip = Some("203.0.113.9".parse().unwrap());
        assert!(!failures.are_too_many(&neighbour));
        context.now += TimeDelta::seconds(60);
        assert!(!failures.are_too_many(&context));
    }
}
