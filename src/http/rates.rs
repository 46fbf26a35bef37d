//! How often one address, or one client, may ask (RFC 6749 §10, RFC 9700 §2).
//!
//! IPv6 addresses count by /64, the smallest block that one customer is given.

use std::net::IpAddr;
use std::num::NonZeroU32;

use domain::id::ClientId;
use governor::clock::Clock;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::error::{Code, OAuthError};
use crate::app::customer_block;

/// Requests per minute; 0 switches a limit off.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Registrations from one address.
    pub registrations_per_minute: u32,
    /// Authorization requests from one address.
    pub authorizations_per_minute: u32,
    /// Token, revocation and introspection requests from one address, and of one client with a secret.
    pub tokens_per_minute: u32,
}

/// The state of all rate limits of this node.
pub struct Rates {
    registrations: Option<DefaultKeyedRateLimiter<IpAddr>>,
    authorizations: Option<DefaultKeyedRateLimiter<IpAddr>>,
    tokens_by_address: Option<DefaultKeyedRateLimiter<IpAddr>>,
    tokens_by_client: Option<DefaultKeyedRateLimiter<ClientId>>,
}

impl Rates {
    /// Fresh limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        fn keyed<K: std::hash::Hash + Eq + Clone>(
            per_minute: u32,
        ) -> Option<DefaultKeyedRateLimiter<K>> {
            NonZeroU32::new(per_minute).map(|n| RateLimiter::keyed(Quota::per_minute(n)))
        }
        Self {
            registrations: keyed(limits.registrations_per_minute),
            authorizations: keyed(limits.authorizations_per_minute),
            tokens_by_address: keyed(limits.tokens_per_minute),
            tokens_by_client: keyed(limits.tokens_per_minute),
        }
    }

    /// Counts a registration.
    ///
    /// # Errors
    /// There have been too many.
    pub fn registration(&self, ip: Option<IpAddr>) -> Result<(), OAuthError> {
        check(self.registrations.as_ref(), ip.map(customer_block))
    }

    /// Counts an authorization request.
    ///
    /// # Errors
    /// There have been too many.
    pub fn authorization(&self, ip: Option<IpAddr>) -> Result<(), OAuthError> {
        check(self.authorizations.as_ref(), ip.map(customer_block))
    }

    /// Counts a request to the token, revocation or introspection endpoint, whatever is in it.
    ///
    /// # Errors
    /// There have been too many.
    pub fn token(&self, ip: Option<IpAddr>) -> Result<(), OAuthError> {
        check(self.tokens_by_address.as_ref(), ip.map(customer_block))
    }

    /// Counts a request of a client that has proven who it is: nobody else uses up what is its own.
    ///
    /// # Errors
    /// There have been too many.
    pub fn client(&self, client_id: ClientId) -> Result<(), OAuthError> {
        check(self.tokens_by_client.as_ref(), Some(client_id))
    }

    /// Forgets whoever has not asked for a while.
    pub fn prune(&self) {
        for limiter in [
            &self.registrations,
            &self.authorizations,
            &self.tokens_by_address,
        ]
        .into_iter()
        .flatten()
        {
            limiter.retain_recent();
        }
        if let Some(limiter) = &self.tokens_by_client {
            limiter.retain_recent();
        }
    }
}

fn check<K: std::hash::Hash + Eq + Clone>(
    limiter: Option<&DefaultKeyedRateLimiter<K>>,
    key: Option<K>,
) -> Result<(), OAuthError> {
    let (Some(limiter), Some(key)) = (limiter, key) else {
        return Ok(());
    };
    limiter.check_key(&key).map_err(|not_until| {
        let wait = not_until.wait_time_from(limiter.clock().now());
        OAuthError {
            retry_after_s: Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)),
            ..OAuthError::new(
                Code::SlowDown,
                "rate_limited",
                "too many requests, try again later",
            )
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_turned_away_is_told_when_the_next_request_is_due() {
        let rates = Rates::new(Limits {
            registrations_per_minute: 1,
            authorizations_per_minute: 0,
            tokens_per_minute: 0,
        });
        let ip = Some("203.0.113.9".parse().unwrap());
        rates.registration(ip).unwrap();
        let turned_away = rates.registration(ip).unwrap_err();
        let wait = turned_away.retry_after_s;
        assert!(wait.is_some_and(|wait| (30..=60).contains(&wait)));
    }
}
