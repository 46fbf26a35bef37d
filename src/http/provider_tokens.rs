//! The people's own tokens from the provider: for upstreams that want them, opened from the vault, held
//! in memory for a short while, renewed when they are about to end; and for what a renewal tells of the
//! person, before a refresh.
//!
//! One flight per grant and node for each of the two: whoever needs the tokens while they are being
//! opened or renewed waits for the same outcome, good or bad, because a provider that rotates refresh
//! tokens takes a second use of one for theft. For the same reason a flight claims a renewal in the vault
//! first; the others, here and on other nodes, use the tokens there are, or wait for the new ones. A
//! flight is a task of its own: a client that goes away must not lose the tokens that the provider has
//! just sent. They are in the vault before they are used. The
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
//!
//! The provider vouches for a person for as long as the access token it gave says. A refresh after that
//! has it renewed first, whatever the upstream is given; how long it counts is remembered by grant, so that
//! a refresh before that asks neither provider nor vault. Other nodes renew, too: what is remembered can
//! only end too early, and the vault is read again before the provider is asked. Where the provider did not
//! say how long its token lives, it vouches for an hour; where it gave nothing to renew with, or that has ended unused by its own
//! word, it is not asked.

mod flight;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderValue;
use chrono::TimeDelta;
use domain::Timestamp;
use domain::id::GrantId;
use quick_cache::sync::{Cache, EntryAction, EntryResult};
use zeroize::Zeroizing;

use super::Shared;
use crate::app::Context;
use crate::clock;
use crate::secret::Secret;
use crate::vault::UpstreamTokens;
use flight::{Claimed, Flight};

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
/// As many as grants whose state is in memory; some 2 MB.
const VOUCHED_MAX: usize = 16_384;
/// How long a provider vouches for a person that did not say how long its token lives.
const UNSAID_LIFETIME: TimeDelta = TimeDelta::hours(1);
/// How long a refresh waits for the provider. What it then says is there for the next attempt.
const PATIENCE: Duration = Duration::from_secs(5);

/// Provider tokens in memory, by grant.
pub struct ProviderTokens {
    held: Cache<GrantId, Arc<Held>>,
    /// Whether the provider vouches for the person, and until when nobody asks again.
    vouched: Cache<GrantId, Arc<Held<()>>>,
    /// Grants whose renewed tokens wait for the store.
    unstored: Mutex<HashSet<GrantId>>,
    /// When the provider was last asked because the upstream refused.
    judged: Cache<GrantId, Timestamp>,
}

/// Why there is no token, and nobody vouches for the person.
#[derive(Clone, Copy, Debug)]
pub enum NoToken {
    /// The provider no longer vouches for the person, who has to log in again.
    Gone,
    /// The provider cannot be reached now.
    Unavailable,
    /// A store cannot be reached now: worth asking again as soon as it is back.
    StoreAway,
}

/// What a flight brought; a token, as a rule.
struct Held<T = Option<Secret>> {
    /// No token: it ended, and there is nothing to renew it with.
    outcome: Result<T, NoToken>,
    /// When it has to be looked at again.
    until: Timestamp,
}

impl Default for ProviderTokens {
    fn default() -> Self {
        Self {
            held: Cache::new(HELD_MAX),
            vouched: Cache::new(VOUCHED_MAX),
            unstored: Mutex::default(),
            judged: Cache::new(HELD_MAX),
        }
    }
}

impl ProviderTokens {
    /// Takes note of tokens that the provider gave just now, and that are in the vault.
    pub fn obtained(&self, grant: GrantId, tokens: &UpstreamTokens, now: Timestamp) {
        let until = vouched_until(tokens, now);
        self.vouched.insert(grant, Arc::new(Held::vouched(until)));
    }

    /// Whether it is known without a look that the provider vouches for the person, or cannot be asked.
    pub fn vouches(&self, grant: GrantId, now: Timestamp) -> bool {
        let known = self.vouched.get(&grant);
        known.is_some_and(|known| known.outcome.is_ok() && now < known.until)
    }

    fn unstored(&self) -> MutexGuard<'_, HashSet<GrantId>> {
        self.unstored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The `Authorization` header that speaks for the person behind a grant, while there is one.
///
/// # Errors
/// The person has to log in again, or whether they have to cannot be told now.
pub async fn authorization(
    shared: &Shared,
    grant: GrantId,
    now: Timestamp,
    context: impl FnOnce() -> Context,
) -> Result<Option<HeaderValue>, NoToken> {
    let held = shared.provider_tokens.held.get(&grant);
    if let Some(held) = held.filter(|held| now < held.until) {
        return held.authorization();
    }
    let mut flight = Flight::new(shared, grant, context());
    let landed = shared.tasks.spawn(async move {
        let shared = flight.shared.clone();
        let held = &shared.provider_tokens.held;
        let flight = Box::pin(async {
            // Those before may have been in the air for long.
            flight.context.now = clock::now();
            let (found, claimed) = flight.tokens().await?;
            if let Some(claimed) = claimed {
                shared.tasks.spawn(renewed_behind(flight, claimed));
            }
            Ok(found)
        });
        once(held, grant, now, flight).await
    });
    let held = landed.await.map_err(|_| NoToken::Unavailable)?;
    held.authorization()
}

async fn renewed_behind(flight: Flight, claimed: Claimed) {
    let renewed = match flight.renewed(claimed).await {
        // What is held is good while it is.
        Err(NoToken::Unavailable | NoToken::StoreAway) => return,
        renewed => renewed.unwrap_or_else(Held::without),
    };
    flight.hold(renewed);
}

/// Makes sure that the provider vouches for the person behind a grant: by having its tokens renewed,
/// if they have ended.
///
/// # Errors
/// [`NoToken::Gone`] where the person has to log in again. Otherwise nothing was decided.
pub async fn vouched(shared: &Shared, grant: GrantId, context: &Context) -> Result<(), NoToken> {
    let now = context.now;
    let mut flight = Flight::new(shared, grant, context.clone());
    let landed = shared.tasks.spawn(async move {
        let shared = flight.shared.clone();
        let flight = Box::pin(async {
            flight.context.now = clock::now();
            flight.vouched().await
        });
        once(&shared.provider_tokens.vouched, grant, now, flight).await
    });
    match tokio::time::timeout(PATIENCE, landed).await {
        Ok(Ok(vouched)) => vouched.outcome,
        Ok(Err(_)) | Err(_) => Err(NoToken::Unavailable),
    }
}

/// Finds out what it means that the upstream refused a token that has not ended. Whether there is
/// another now.
///
/// # Errors
/// [`NoToken::Gone`] where the person has to log in again.
pub async fn refused(
    shared: &Shared,
    grant: GrantId,
    token: &HeaderValue,
    context: Context,
) -> Result<bool, NoToken> {
    let tokens = &shared.provider_tokens;
    let is_other = |held: &Held| Ok(held.authorization()?.as_ref() != Some(token));
    if let Some(held) = tokens.held.get(&grant)
        && is_other(&held)?
    {
        return Ok(true);
    }
    let now = clock::now();
    let judged_at = tokens.judged.get(&grant);
    let Some(goes_on) = goes_on(judged_at, now) else {
        return Ok(false);
    };
    tokens.judged.insert(grant, now);
    let mut flight = Flight::new(shared, grant, context);
    flight.context.now = now;
    let token = token.clone();
    let judged = shared.tasks.spawn(async move {
        let judged = flight.judged(&token, goes_on).await;
        flight.hold(judged.unwrap_or_else(Held::without))
    });
    let held = judged.await.map_err(|_| NoToken::Unavailable)?;
    if matches!(held.outcome, Err(NoToken::Unavailable | NoToken::StoreAway)) {
        tokens.judged.remove(&grant);
    }
    is_other(&held)
}

/// Ends a grant whose upstream needs a token, where the last one ended for good.
pub async fn ended(shared: &Shared, grant: GrantId, context: Context) -> NoToken {
    Flight::new(shared, grant, context).gone().await
}

/// What a flight brings is for all who were there before it landed, and for those after them until it has
/// to be looked at again.
async fn once<T>(
    cache: &Cache<GrantId, Arc<Held<T>>>,
    grant: GrantId,
    now: Timestamp,
    flight: impl Future<Output = Result<Held<T>, NoToken>>,
) -> Arc<Held<T>> {
    let look = |_: &GrantId, held: &mut Arc<Held<T>>| {
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
    let held = Arc::new(flight.await.unwrap_or_else(Held::without));
    if let Some(seat) = seat {
        // Refused where newer tokens were taken note of meanwhile.
        let _ = seat.insert(held.clone());
    }
    held
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
}

impl Held<()> {
    fn vouched(until: Timestamp) -> Self {
        Self {
            outcome: Ok(()),
            until,
        }
    }
}

impl<T> Held<T> {
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

/// Until when the provider vouches for the person by tokens that it gave then.
fn vouched_until(tokens: &UpstreamTokens, given_at: Timestamp) -> Timestamp {
    match (&tokens.refresh_token, tokens.expires_at) {
        (None, _) => Timestamp::MAX_UTC,
        (Some(_), Some(end)) => end,
        (Some(_), None) => given_at + UNSAID_LIFETIME,
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

    #[test]
    fn a_provider_vouches_while_its_token_lasts_and_is_not_asked_without_a_refresh_token() {
        let now = clock::now();
        let until = |refresh_token: Option<&str>, expires_at| {
            let tokens = UpstreamTokens {
                access_token: Secret::new("access"),
                refresh_token: refresh_token.map(Secret::new),
                expires_at,
                refresh_expires_at: None,
                origin: None,
            };
            vouched_until(&tokens, now)
        };
        let end = now + TimeDelta::minutes(5);
        assert_eq!(until(Some("refresh"), Some(end)), end);
        assert_eq!(until(Some("refresh"), None), now + TimeDelta::hours(1));
        assert_eq!(until(None, Some(end)), Timestamp::MAX_UTC);
    }
}
