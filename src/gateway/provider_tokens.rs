//! The people's own tokens from the provider, for upstreams that want them: opened from the
//! vault, held in memory for a short while, renewed when they are about to end.
//!
//! One flight per grant and node: whoever needs the tokens while they are being opened or renewed
//! waits for the same outcome, good or bad, because a provider that rotates refresh tokens takes a
//! second use of one for theft. For the same reason a node claims a renewal in the vault first;
//! the others use the tokens there are, or wait for the new ones. A flight is a task of its own: a client that goes away must not
//! lose the tokens that the provider has just sent. They are in the vault before they are used. The
//! provider may have forgotten the old ones by then: while the store is away, the new ones wait in
//! memory for it for as long as the node lives, and nobody renews the old ones again.
//!
//! Nobody waits for the provider while the tokens there are good: they are renewed behind.
//!
//! The provider says "gone": the grant is revoked. The provider says nothing: nothing happens, and
//! the tokens there are stay good as long as they are. Another "no" counts once they ended. Tokens
//! that ended and cannot be renewed are no reason to end the grant: whether the upstream needs one
//! is the upstream's to say. When it says so the grant is revoked, because a client whose refresh
//! token still works never asks its person to log in again.
//!
//! An upstream that refuses a token which has not ended may know that the provider took it back, or
//! have reasons of its own. The provider is the judge, asked for a renewal; where nothing renews, only
//! a new login can tell, once the refusal has gone on for a while. Neither happens within [`SETTLED`] of the
//! last time, so that an upstream that refuses everybody costs no more than that, and tells what it is (502)
//! in between.

mod flight;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::HeaderValue;
use chrono::TimeDelta;
use domain::Timestamp;
use domain::id::GrantId;
use quick_cache::sync::{Cache, EntryAction, EntryResult};
use zeroize::Zeroizing;

use crate::app::Context;
use crate::clock;
use crate::http::Shared;
use crate::secret::Secret;
use crate::vault::UpstreamTokens;
use flight::Flight;

/// What was opened is forgotten after this long: another node may have renewed it, and a person
/// who is erased must not stay in memory.
const HELD: TimeDelta = TimeDelta::seconds(60);
/// How long a failure is everybody's answer.
const TRY_AGAIN: TimeDelta = TimeDelta::seconds(2);
/// How long a login or a renewal has proved enough of a token that the upstream refuses.
const SETTLED: TimeDelta = TimeDelta::minutes(5);
/// A refusal so long after another one goes on; later it is a new one.
const GOES_ON: TimeDelta = TimeDelta::hours(1);
const HELD_MAX: usize = 4096;
/// Provider tokens in memory, by grant.
pub(super) struct ProviderTokens {
    held: Arc<Cache<GrantId, Arc<Held>>>,
    unstored: Arc<Unstored>,
    /// When the provider was last asked because the upstream refused.
    judged: Cache<GrantId, Timestamp>,
}

/// Grants whose renewed tokens wait for the store.
#[derive(Default)]
struct Unstored(Mutex<HashSet<GrantId>>);

impl Unstored {
    fn grants(&self) -> MutexGuard<'_, HashSet<GrantId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why there is no token to forward.
#[derive(Clone, Copy, Debug)]
pub(super) enum NoToken {
    /// The provider no longer vouches for the person, who has to log in again.
    Gone,
    /// The provider cannot be reached now.
    Unavailable,
    /// A store cannot be reached now: worth asking again as soon as it is back.
    StoreAway,
}

struct Held {
    /// None: it ended, and there is nothing to renew it with.
    outcome: Result<Option<Secret>, NoToken>,
    /// When it has to be looked at again.
    until: Timestamp,
}

impl Default for ProviderTokens {
    fn default() -> Self {
        Self {
            held: Arc::new(Cache::new(HELD_MAX)),
            unstored: Arc::default(),
            judged: Cache::new(HELD_MAX),
        }
    }
}

impl ProviderTokens {
    /// The `Authorization` header that speaks for the person behind a grant, while there is one.
    pub(super) async fn authorization(
        &self,
        shared: &Shared,
        grant: GrantId,
        now: Timestamp,
        context: impl FnOnce() -> Context,
    ) -> Result<Option<HeaderValue>, NoToken> {
        if let Some(held) = self.held.get(&grant).filter(|held| now < held.until) {
            return held.authorization();
        }
        let mut flight = self.flight(shared, grant, context());
        let cache = self.held.clone();
        let landed = shared.tasks.spawn(async move {
            let look = |_: &GrantId, held: &mut Arc<Held>| {
                if now < held.until {
                    EntryAction::Retain(held.clone())
                } else {
                    EntryAction::ReplaceWithGuard
                }
            };
            let seat = match cache.entry_async(&grant, look).await {
                EntryResult::Retained(held) => return held,
                EntryResult::Vacant(seat) | EntryResult::Replaced(seat, _) => Some(seat),
                EntryResult::Removed(..) | EntryResult::Timeout => None,
            };
            // Those before may have been in the air for long.
            flight.context.now = clock::now();
            let (held, claimed) = match flight.tokens().await {
                Ok(found) => found,
                Err(why) => (Held::without(why), None),
            };
            let held = Arc::new(held);
            if let Some(seat) = seat {
                let _ = seat.insert(held.clone());
            }
            if let Some(claimed) = claimed {
                let (tasks, cache) = (flight.shared.tasks.clone(), cache.clone());
                tasks.spawn(async move {
                    match flight.renewed(claimed).await {
                        // What is held is good while it is.
                        Err(NoToken::Unavailable | NoToken::StoreAway) => {}
                        renewed => {
                            let renewed = renewed.unwrap_or_else(Held::without);
                            cache.insert(grant, Arc::new(renewed));
                        }
                    }
                });
            }
            held
        });
        let held = landed.await.map_err(|_| NoToken::Unavailable)?;
        held.authorization()
    }

    /// Finds out what it means that the upstream refused a token that has not ended. Whether there is
    /// another now.
    ///
    /// # Errors
    /// [`NoToken::Gone`] where the person has to log in again.
    pub(super) async fn refused(
        &self,
        shared: &Shared,
        grant: GrantId,
        token: &HeaderValue,
        context: Context,
    ) -> Result<bool, NoToken> {
        let is_other = |held: &Held| Ok(held.authorization()?.as_ref() != Some(token));
        if let Some(held) = self.held.get(&grant)
            && is_other(&held)?
        {
            return Ok(true);
        }
        let now = clock::now();
        let judged_at = self.judged.get(&grant);
        let Some(goes_on) = goes_on(judged_at, now) else {
            return Ok(false);
        };
        self.judged.insert(grant, now);
        let mut flight = self.flight(shared, grant, context);
        flight.context.now = now;
        let (cache, token) = (self.held.clone(), token.clone());
        let judged = shared.tasks.spawn(async move {
            let held = flight
                .judged(&token, goes_on)
                .await
                .unwrap_or_else(Held::without);
            let held = Arc::new(held);
            cache.insert(grant, held.clone());
            held
        });
        let held = judged.await.map_err(|_| NoToken::Unavailable)?;
        if matches!(held.outcome, Err(NoToken::Unavailable | NoToken::StoreAway)) {
            self.judged.remove(&grant);
        }
        is_other(&held)
    }

    /// Ends a grant whose upstream needs a token, where the last one ended for good.
    pub(super) async fn ended(&self, shared: &Shared, grant: GrantId, context: Context) -> NoToken {
        self.flight(shared, grant, context).gone().await
    }

    fn flight(&self, shared: &Shared, grant: GrantId, context: Context) -> Flight {
        Flight {
            shared: shared.clone(),
            grant,
            context,
            unstored: self.unstored.clone(),
        }
    }
}

impl Held {
    fn authorization(&self) -> Result<Option<HeaderValue>, NoToken> {
        let token = self.outcome.as_ref().map_err(|why| *why)?;
        token.as_ref().map(bearer).transpose()
    }

    fn good(tokens: UpstreamTokens, until: Timestamp) -> Self {
        Self {
            outcome: Ok(Some(tokens.access_token)),
            until,
        }
    }

    fn without(why: NoToken) -> Self {
        let now = clock::now();
        let until = match why {
            // For those who waited for it, and nobody else.
            NoToken::StoreAway => now,
            NoToken::Gone | NoToken::Unavailable => now + TRY_AGAIN,
        };
        let outcome = Err(why);
        Self { outcome, until }
    }
}

/// Whether a refusal goes on, of a grant that was last judged then. `None`: that was just now.
fn goes_on(judged_at: Option<Timestamp>, now: Timestamp) -> Option<bool> {
    let age = judged_at.map(|judged_at| now - judged_at);
    match age {
        Some(age) if age < SETTLED => None,
        Some(age) => Some(age < GOES_ON),
        None => Some(false),
    }
}

fn bearer(token: &Secret) -> Result<HeaderValue, NoToken> {
    let text = Zeroizing::new(format!("Bearer {}", token.expose()));
    let mut value = HeaderValue::from_str(&text).map_err(|_| NoToken::Unavailable)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_goes_on_for_a_while_before_it_counts() {
        let now = clock::now();
        let after = |minutes| goes_on(Some(now), now + TimeDelta::minutes(minutes));
        assert_eq!(goes_on(None, now), Some(false));
        assert_eq!([after(0), after(4)], [None, None]);
        assert_eq!([after(5), after(59)], [Some(true), Some(true)]);
        assert_eq!(after(60), Some(false));
    }
}
