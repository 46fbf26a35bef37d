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
//! The provider says "gone": the grant is revoked. The provider says nothing: nothing happens, and
//! the tokens there are stay good as long as they are. Tokens that ended and cannot be renewed are
//! no reason to end the grant: whether the upstream needs one is the upstream's to say.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderValue;
use chrono::TimeDelta;
use domain::Timestamp;
use domain::entry::Actor;
use domain::grant::{Command, Grant, LoginSucceeded, RevocationReason};
use domain::id::{GrantId, SubjectId};
use quick_cache::sync::{Cache, EntryAction, EntryResult};
use zeroize::Zeroizing;

use crate::app::{Context, ExecuteError, Unavailable};
use crate::clock;
use crate::federation::{Provider, RefreshFailure};
use crate::http::Shared;
use crate::tokens::Secret;
use crate::vault::{Revision, StoredTokens, UpstreamTokens, VaultError};

/// Tokens that end sooner are renewed first: the call itself takes time.
const RENEW_AHEAD: TimeDelta = TimeDelta::seconds(60);
/// What was opened is forgotten after this long: another node may have renewed it, and a person
/// who is erased must not stay in memory.
const HELD: TimeDelta = TimeDelta::seconds(60);
/// How long a failure is everybody's answer.
const TRY_AGAIN: TimeDelta = TimeDelta::seconds(2);
const HELD_MAX: usize = 4096;
/// How long a request waits for the store to take renewed tokens.
const STORE_WAIT: Duration = Duration::from_secs(2);
/// After a failure, and after many: a claim must not end long before the store is back.
const STORE_PAUSE: Duration = Duration::from_millis(100);
const STORE_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long a renewal is one node's own: longer than the provider and the store may take together,
/// shorter than the margin, so that a node that crashes in the middle costs nobody a token.
const CLAIM: TimeDelta = TimeDelta::seconds(45);
/// How often and when another node's renewal is looked for.
const LOOKS: u32 = 25;
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// Provider tokens in memory, by grant.
pub(super) struct ProviderTokens {
    held: Arc<Cache<GrantId, Arc<Held>>>,
    unstored: Arc<Unstored>,
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
pub(super) enum Trouble {
    /// The provider no longer vouches for the person, who has to log in again.
    Gone,
    /// The provider or a store cannot be reached now.
    Unavailable,
}

struct Held {
    /// None: it ended, and there is nothing to renew it with.
    outcome: Result<Option<Secret>, Trouble>,
    /// When it has to be looked at again.
    until: Timestamp,
}

impl Default for ProviderTokens {
    fn default() -> Self {
        Self {
            held: Arc::new(Cache::new(HELD_MAX)),
            unstored: Arc::default(),
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
    ) -> Result<Option<HeaderValue>, Trouble> {
        if let Some(held) = self.held.get(&grant).filter(|held| now < held.until) {
            return held.authorization();
        }
        let flight = Flight {
            shared: shared.clone(),
            grant,
            context: context(),
            unstored: self.unstored.clone(),
        };
        let cache = self.held.clone();
        let landed = tokio::spawn(async move {
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
            let held = Arc::new(flight.land().await);
            if let Some(seat) = seat {
                let _ = seat.insert(held.clone());
            }
            held
        });
        let held = landed.await.map_err(|_| Trouble::Unavailable)?;
        held.authorization()
    }
}

impl Held {
    fn authorization(&self) -> Result<Option<HeaderValue>, Trouble> {
        let Some(token) = self.outcome.as_ref().map_err(|trouble| *trouble)? else {
            return Ok(None);
        };
        let text = Zeroizing::new(format!("Bearer {}", token.expose()));
        let mut value = HeaderValue::from_str(&text).map_err(|_| Trouble::Unavailable)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn good(tokens: UpstreamTokens, until: Timestamp) -> Self {
        Self {
            outcome: Ok(Some(tokens.access_token)),
            until,
        }
    }
}

/// Opening, and where needed renewing, the tokens of one grant.
#[derive(Clone)]
struct Flight {
    shared: Shared,
    grant: GrantId,
    context: Context,
    unstored: Arc<Unstored>,
}

impl Flight {
    async fn land(self) -> Held {
        self.tokens().await.unwrap_or_else(|trouble| Held {
            outcome: Err(trouble),
            until: self.context.now + TRY_AGAIN,
        })
    }

    async fn tokens(&self) -> Result<Held, Trouble> {
        let now = self.context.now;
        if self.unstored.grants().contains(&self.grant) {
            return Err(Trouble::Unavailable);
        }
        let Some(stored) = self.stored().await? else {
            return self.gone().await;
        };
        match stored.tokens.expires_at {
            None => Ok(Held::good(stored.tokens, now + HELD)),
            Some(end) if now + RENEW_AHEAD < end => {
                let until = (now + HELD).min(end - RENEW_AHEAD);
                Ok(Held::good(stored.tokens, until))
            }
            Some(end) => self.renewed(stored, end).await,
        }
    }

    async fn stored(&self) -> Result<Option<StoredTokens>, Trouble> {
        let stored = self.shared.app.vault.upstream(self.grant).await;
        stored.map_err(|error| unavailable(&error.into()))
    }

    async fn renewed(&self, stored: StoredTokens, end: Timestamp) -> Result<Held, Trouble> {
        let now = self.context.now;
        let StoredTokens { tokens, revision } = stored;
        let Some(refresh_token) = &tokens.refresh_token else {
            return if now < end {
                Ok(Held::good(tokens, end))
            } else {
                Ok(Held {
                    outcome: Ok(None),
                    until: now + HELD,
                })
            };
        };
        let grant = self.shared.app.state::<Grant>(self.grant).await;
        let grant = grant.map_err(|error| unavailable(&error))?;
        let authorization = grant.authorization().ok_or(Trouble::Gone)?;
        let claimed_until = now + CLAIM;
        let vault = &self.shared.app.vault;
        let claimed = vault.claim_upstream(self.grant, &revision, now, claimed_until);
        match claimed.await {
            Ok(true) => {}
            Ok(false) if now < end => return Ok(Held::good(tokens, end.min(now + TRY_AGAIN))),
            Ok(false) => return self.renewed_elsewhere(&revision).await,
            Err(error) => return Err(unavailable(&error.into())),
        }
        match self.ask(authorization, refresh_token).await {
            Ok(renewed) => {
                let renewed = UpstreamTokens {
                    id_token: renewed.id_token.or(tokens.id_token),
                    ..renewed
                };
                self.unstored.grants().insert(self.grant);
                let keeping = self.clone().keep(authorization.subject, revision, renewed);
                let kept = self.shared.tasks.spawn(keeping);
                let kept = tokio::time::timeout(STORE_WAIT, kept).await;
                kept.map_or(Err(Trouble::Unavailable), |kept| {
                    kept.unwrap_or(Err(Trouble::Unavailable))
                })
            }
            Err(RefreshFailure::Unavailable) => {
                if let Err(error) = vault.release_upstream(self.grant, claimed_until).await {
                    tracing::warn!(%error, "a renewal could not be given back");
                }
                if now < end {
                    Ok(Held::good(tokens, end.min(now + TRY_AGAIN)))
                } else {
                    Err(Trouble::Unavailable)
                }
            }
            Err(RefreshFailure::Rejected) => {
                // Unless another node was faster and has the successor.
                match self.stored().await? {
                    Some(other) if other.revision != revision => {
                        Ok(Held::good(other.tokens, now + TRY_AGAIN))
                    }
                    Some(_) | None => self.gone().await,
                }
            }
        }
    }

    /// Waits for what another node gets.
    async fn renewed_elsewhere(&self, read: &Revision) -> Result<Held, Trouble> {
        for _ in 0..LOOKS {
            tokio::time::sleep(LOOK_PAUSE).await;
            match self.stored().await? {
                None => return self.gone().await,
                Some(other) if other.revision != *read => {
                    return Ok(Held::good(other.tokens, self.context.now + HELD));
                }
                Some(_) => {}
            }
        }
        Err(Trouble::Unavailable)
    }

    async fn ask(
        &self,
        authorization: &LoginSucceeded,
        refresh_token: &Secret,
    ) -> Result<UpstreamTokens, RefreshFailure> {
        let shared = &self.shared;
        let id = authorization.request.provider_id;
        let Some(provider) = shared.app.directory.provider(id) else {
            return Err(RefreshFailure::Rejected);
        };
        let secret = shared
            .provider_secret(id, &provider)
            .await
            .map_err(|error| {
                unavailable(&error);
                RefreshFailure::Unavailable
            })?;
        let provider = Provider {
            id,
            settings: &provider.settings,
            client_secret: &secret,
            callback_url: &shared.urls.callback(id),
        };
        let renewed = shared
            .federation
            .refresh(&provider, refresh_token.expose(), self.context.now)
            .await?;
        Ok(renewed.into())
    }

    /// Stores renewed tokens, then records that there are new ones. Where another node has stored
    /// some since, those count: the next renewal must not begin with tokens that nobody has.
    async fn keep(
        mut self,
        subject: SubjectId,
        read: Revision,
        renewed: UpstreamTokens,
    ) -> Result<Held, Trouble> {
        let stored = self.store(subject, read, &renewed).await;
        self.unstored.grants().remove(&self.grant);
        let now = self.context.now;
        if !stored? {
            match self.stored().await? {
                None => return self.gone().await,
                Some(other) if other.tokens.access_token.hash() != renewed.access_token.hash() => {
                    return Ok(Held::good(other.tokens, now + TRY_AGAIN));
                }
                // An attempt whose answer was lost had stored them.
                Some(_) => {}
            }
        }
        let expires_at = renewed.expires_at;
        let command = Command::RecordUpstreamRefresh { expires_at };
        let app = &self.shared.app;
        match app
            .execute::<Grant>(self.grant, command, &self.context)
            .await
        {
            Ok(_) => {}
            Err(ExecuteError::Refused(_)) => {
                self.shared.forget_upstream_tokens(self.grant).await;
                return Err(Trouble::Gone);
            }
            Err(ExecuteError::Unavailable(error)) => return Err(unavailable(&error)),
        }
        // A token that never lived longer than the margin is good while it is good.
        let end = expires_at.map_or(now + HELD, |end| (end - RENEW_AHEAD).max(now + TRY_AGAIN));
        Ok(Held::good(renewed, end.min(now + HELD)))
    }

    /// Stores renewed tokens, sooner or later.
    async fn store(
        &mut self,
        subject: SubjectId,
        read: Revision,
        tokens: &UpstreamTokens,
    ) -> Result<bool, Trouble> {
        let vault = &self.shared.app.vault;
        let mut pause = STORE_PAUSE;
        loop {
            let now = self.context.now;
            match vault
                .replace_upstream(subject, self.grant, &read, tokens, now)
                .await
            {
                Ok(stored) => return Ok(stored),
                Err(VaultError::Erased(_) | VaultError::NoKey(_)) => return Err(Trouble::Gone),
                Err(error) => {
                    tracing::warn!(%error, grant = %self.grant, "renewed tokens wait for the store");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(STORE_PAUSE_MAX);
            self.context.now = clock::now();
        }
    }

    /// Ends the grant: its person has to log in again.
    async fn gone(&self) -> Result<Held, Trouble> {
        let command = Command::Revoke {
            reason: RevocationReason::UpstreamRefused,
        };
        let context = self.context.by(Actor::System);
        let app = &self.shared.app;
        match app.execute::<Grant>(self.grant, command, &context).await {
            Ok(_) | Err(ExecuteError::Refused(_)) => {
                self.shared.forget_upstream_tokens(self.grant).await;
                Err(Trouble::Gone)
            }
            Err(ExecuteError::Unavailable(error)) => Err(unavailable(&error)),
        }
    }
}

fn unavailable(error: &Unavailable) -> Trouble {
    tracing::error!(error = error as &dyn std::error::Error, "a store failed");
    Trouble::Unavailable
}
