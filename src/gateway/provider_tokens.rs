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
                Err(trouble) => (Held::trouble(trouble), None),
            };
            let held = Arc::new(held);
            if let Some(seat) = seat {
                let _ = seat.insert(held.clone());
            }
            if let Some(claimed) = claimed {
                let (tasks, cache) = (flight.shared.tasks.clone(), cache.clone());
                tasks.spawn(async move {
                    let renewed = flight.renewed(claimed).await;
                    cache.insert(grant, Arc::new(renewed.unwrap_or_else(Held::trouble)));
                });
            }
            held
        });
        let held = landed.await.map_err(|_| Trouble::Unavailable)?;
        held.authorization()
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

    fn trouble(trouble: Trouble) -> Self {
        Self {
            outcome: Err(trouble),
            until: clock::now() + TRY_AGAIN,
        }
    }
}

/// Tokens that are this node's to renew.
struct Claimed {
    stored: StoredTokens,
    until: Timestamp,
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
    /// What is handed out from now on, and what is to be renewed behind.
    async fn tokens(&self) -> Result<(Held, Option<Claimed>), Trouble> {
        let now = self.context.now;
        if self.unstored.grants().contains(&self.grant) {
            return Err(Trouble::Unavailable);
        }
        let Some(stored) = self.stored().await? else {
            return Err(self.gone().await);
        };
        let tokens = &stored.tokens;
        let held = match tokens.expires_at {
            None => Held::good(stored.tokens, now + HELD),
            Some(end) if now + RENEW_AHEAD < end => {
                Held::good(stored.tokens, (now + HELD).min(end - RENEW_AHEAD))
            }
            Some(end) if tokens.refresh_token.is_none() => match now < end {
                true => Held::good(stored.tokens, end),
                false => Held {
                    outcome: Ok(None),
                    until: now + HELD,
                },
            },
            Some(end) if now < end => {
                let tokens = tokens.clone();
                return Ok(match self.claim(&stored).await? {
                    Some(until) => (Held::good(tokens, end), Some(Claimed { stored, until })),
                    None => (Held::good(tokens, end.min(now + TRY_AGAIN)), None),
                });
            }
            Some(_) => match self.claim(&stored).await? {
                Some(until) => self.renewed(Claimed { stored, until }).await?,
                None => self.renewed_elsewhere(&stored.revision).await?,
            },
        };
        Ok((held, None))
    }

    async fn stored(&self) -> Result<Option<StoredTokens>, Trouble> {
        let stored = self.shared.app.vault.upstream(self.grant).await;
        stored.map_err(|error| unavailable(&error.into()))
    }

    /// Takes the renewal on until then, unless another has.
    async fn claim(&self, stored: &StoredTokens) -> Result<Option<Timestamp>, Trouble> {
        let now = self.context.now;
        let vault = &self.shared.app.vault;
        let claimed = vault.claim_upstream(self.grant, &stored.revision, now, now + CLAIM);
        let claimed = claimed.await.map_err(|error| unavailable(&error.into()))?;
        Ok(claimed.then_some(now + CLAIM))
    }

    async fn renewed(&self, Claimed { stored, until }: Claimed) -> Result<Held, Trouble> {
        let StoredTokens { tokens, revision } = stored;
        let grant = self.shared.app.state::<Grant>(self.grant).await;
        let grant = grant.map_err(|error| unavailable(&error))?;
        let authorization = grant.authorization().ok_or(Trouble::Gone)?;
        match self.ask(authorization, tokens.refresh_token.as_ref()).await {
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
                let vault = &self.shared.app.vault;
                if let Err(error) = vault.release_upstream(self.grant, until).await {
                    tracing::warn!(%error, "a renewal could not be given back");
                }
                let now = clock::now();
                match tokens.expires_at {
                    Some(end) if end <= now => Err(Trouble::Unavailable),
                    end => {
                        let again = now + TRY_AGAIN;
                        Ok(Held::good(tokens, end.map_or(again, |end| end.min(again))))
                    }
                }
            }
            Err(RefreshFailure::Rejected) => {
                // Unless another node was faster and has the successor.
                match self.stored().await? {
                    Some(other) if other.revision != revision => {
                        Ok(Held::good(other.tokens, clock::now() + TRY_AGAIN))
                    }
                    Some(_) | None => Err(self.gone().await),
                }
            }
        }
    }

    /// Waits for what another node gets.
    async fn renewed_elsewhere(&self, read: &Revision) -> Result<Held, Trouble> {
        for _ in 0..LOOKS {
            tokio::time::sleep(LOOK_PAUSE).await;
            match self.stored().await? {
                None => return Err(self.gone().await),
                Some(other) if other.revision != *read => {
                    return Ok(Held::good(other.tokens, clock::now() + HELD));
                }
                Some(_) => {}
            }
        }
        Err(Trouble::Unavailable)
    }

    async fn ask(
        &self,
        authorization: &LoginSucceeded,
        refresh_token: Option<&Secret>,
    ) -> Result<UpstreamTokens, RefreshFailure> {
        let shared = &self.shared;
        let refresh_token = refresh_token.ok_or(RefreshFailure::Rejected)?;
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
        let now = clock::now();
        if !stored? {
            match self.stored().await? {
                None => return Err(self.gone().await),
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
    async fn gone(&self) -> Trouble {
        let command = Command::Revoke {
            reason: RevocationReason::UpstreamRefused,
        };
        let context = self.context.by(Actor::System);
        let app = &self.shared.app;
        match app.execute::<Grant>(self.grant, command, &context).await {
            Ok(_) | Err(ExecuteError::Refused(_)) => {
                self.shared.forget_upstream_tokens(self.grant).await;
                Trouble::Gone
            }
            Err(ExecuteError::Unavailable(error)) => unavailable(&error),
        }
    }
}

fn unavailable(error: &Unavailable) -> Trouble {
    tracing::error!(error = error as &dyn std::error::Error, "a store failed");
    Trouble::Unavailable
}
