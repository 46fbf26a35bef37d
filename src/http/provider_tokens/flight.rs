//! Opening, and where needed renewing, the tokens of one grant.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use chrono::TimeDelta;
use domain::Timestamp;
use domain::entry::Actor;
use domain::grant::{Command, Grant, LoginSucceeded, RevocationReason};
use domain::id::{GrantId, ProviderId, SubjectId};
use domain::provider::Configured;

use super::{HELD, Held, NoToken, TRY_AGAIN, bearer, vouched_until};
use crate::app::{Context, ExecuteError, Unavailable};
use crate::causes::chain;
use crate::clock;
use crate::federation::{self, Provider, RefreshFailure};
use crate::http::Shared;
use crate::secret::Secret;
use crate::vault::{Revision, StoredTokens, UpstreamTokens, VaultError};

/// Tokens that end sooner are renewed first: the call itself takes time.
const RENEW_AHEAD: TimeDelta = TimeDelta::seconds(60);
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

/// Tokens that are this node's to renew.
pub(super) struct Claimed {
    authorization: Arc<LoginSucceeded>,
    stored: StoredTokens,
    until: Timestamp,
    /// Whether or not they have ended, they are good for nothing until they are renewed.
    must_be_renewed: bool,
}

/// One grant, and the request on whose behalf.
#[derive(Clone)]
pub(super) struct Flight {
    pub(super) shared: Shared,
    pub(super) grant: GrantId,
    pub(super) context: Context,
}

impl Flight {
    pub(super) fn new(shared: &Shared, grant: GrantId, context: Context) -> Self {
        Self {
            shared: shared.clone(),
            grant,
            context,
        }
    }

    /// What is handed out from now on.
    pub(super) fn hold(&self, held: Held) -> Arc<Held> {
        let held = Arc::new(held);
        let tokens = &self.shared.provider_tokens;
        tokens.held.insert(self.grant, held.clone());
        held
    }

    /// Tokens that wait for the store are those that count.
    fn ensure_stored(&self) -> Result<(), NoToken> {
        match self.shared.provider_tokens.unstored().contains(&self.grant) {
            true => Err(NoToken::StoreAway),
            false => Ok(()),
        }
    }

    /// What is handed out from now on, and what is to be renewed behind.
    pub(super) async fn tokens(&self) -> Result<(Held, Option<Claimed>), NoToken> {
        let now = self.context.now;
        self.ensure_stored()?;
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
                // A store that fails is told already, and no reason to refuse a good token.
                return Ok(match self.claim(&stored, false).await.unwrap_or(None) {
                    Some(claimed) => (Held::good(stored.tokens, end), Some(claimed)),
                    None => (Held::good(stored.tokens, end.min(now + TRY_AGAIN)), None),
                });
            }
            Some(_) => match self.claim(&stored, false).await? {
                Some(claimed) => self.renewed(claimed).await?,
                None => self.renewed_elsewhere(&stored.revision).await?,
            },
        };
        Ok((held, None))
    }

    async fn stored(&self) -> Result<Option<StoredTokens>, NoToken> {
        let app = &self.shared.app;
        let stored = app.vault.upstream(self.grant).await;
        let Some(stored) = stored.map_err(|error| unavailable(&error.into()))? else {
            return Ok(None);
        };
        // Whatever the vault holds: nobody speaks with the token of somebody else.
        let grant = app.current::<Grant>(self.grant).await;
        let grant = grant.map_err(|error| unavailable(&error))?;
        let own = grant.authorization().map(|own| own.subject);
        Ok(Some(stored).filter(|stored| own == Some(stored.subject)))
    }

    /// Until when the provider vouches for the person: asked now, if that has ended.
    pub(super) async fn vouched(&self) -> Result<Held<()>, NoToken> {
        let now = self.context.now;
        self.ensure_stored()?;
        let mut stored = self.stored().await?;
        let until = |stored: &StoredTokens| vouched_until(&stored.tokens, stored.stored_at);
        // A refresh token that went unused for too long says nothing of the person.
        let ends = |stored: &StoredTokens| stored.tokens.refresh_expires_at;
        if stored.as_ref().and_then(ends).is_some_and(|end| end <= now) {
            return Ok(Held::vouched(Timestamp::MAX_UTC));
        }
        if let Some(ended) = stored.as_ref().filter(|stored| until(stored) <= now) {
            match self.claim(ended, true).await? {
                Some(claimed) => self.renewed(claimed).await?,
                None => self.renewed_elsewhere(&ended.revision).await?,
            };
            // The provider may no longer know the token that its successor replaces.
            self.shared.provider_tokens.held.remove(&self.grant);
            stored = self.stored().await?;
        }
        // Nobody can be asked about a grant without tokens.
        let until = stored.as_ref().map_or(Timestamp::MAX_UTC, until);
        Ok(Held::vouched(until.max(clock::now() + TRY_AGAIN)))
    }

    /// What is handed out after the upstream refused a token, for the first time or on and on.
    pub(super) async fn judged(&self, token: &HeaderValue, goes_on: bool) -> Result<Held, NoToken> {
        let now = self.context.now;
        self.ensure_stored()?;
        let Some(stored) = self.stored().await? else {
            return Err(self.gone().await);
        };
        let is_newer = bearer(&stored.tokens.access_token)? != *token;
        if !is_newer && stored.tokens.refresh_token.is_some() {
            if let Some(claimed) = self.claim(&stored, true).await? {
                return self.renewed(claimed).await;
            }
        } else if !is_newer && goes_on {
            return Err(self.gone().await);
        }
        Ok(Held::good(stored.tokens, now + TRY_AGAIN))
    }

    async fn authorization(&self) -> Result<Arc<LoginSucceeded>, NoToken> {
        // A node that drew the grant's id and did not log the person in may take it for absent.
        let grant = self.shared.app.current::<Grant>(self.grant).await;
        let grant = grant.map_err(|error| unavailable(&error))?;
        grant.authorization().cloned().ok_or(NoToken::Gone)
    }

    /// Takes the renewal on, unless another has.
    async fn claim(
        &self,
        stored: &StoredTokens,
        must_be_renewed: bool,
    ) -> Result<Option<Claimed>, NoToken> {
        let authorization = self.authorization().await?;
        let (now, until) = (self.context.now, self.context.now + CLAIM);
        let vault = &self.shared.app.vault;
        let claimed = vault.claim_upstream(self.grant, &stored.revision, now, until);
        let claimed = claimed.await.map_err(|error| unavailable(&error.into()))?;
        Ok(claimed.then(|| Claimed {
            authorization,
            stored: stored.clone(),
            until,
            must_be_renewed,
        }))
    }

    pub(super) async fn renewed(&self, claimed: Claimed) -> Result<Held, NoToken> {
        let StoredTokens {
            tokens, revision, ..
        } = claimed.stored;
        let authorization = &claimed.authorization;
        let id = authorization.request.provider_id;
        let Some(provider) = self.giver(id, &tokens).await? else {
            return Err(self.end(RevocationReason::ProviderRemoved).await);
        };
        let refresh_token = tokens.refresh_token.as_ref();
        match self.ask(id, &provider, refresh_token).await {
            Ok(renewed) => {
                self.shared.provider_tokens.unstored().insert(self.grant);
                let keeping = self.clone().keep(authorization.subject, revision, renewed);
                let kept = self.shared.tasks.spawn(keeping);
                let kept = tokio::time::timeout(STORE_WAIT, kept).await;
                kept.map_or(Err(NoToken::StoreAway), |kept| {
                    kept.unwrap_or(Err(NoToken::StoreAway))
                })
            }
            Err(failure) => {
                let now = clock::now();
                let end = tokens.expires_at;
                let has_ended = end.is_some_and(|end| end <= now);
                let again = match failure {
                    RefreshFailure::Rejected => return self.rejected(&revision).await,
                    RefreshFailure::Refused if has_ended || claimed.must_be_renewed => {
                        return self.rejected(&revision).await;
                    }
                    RefreshFailure::Refused => now + HELD,
                    RefreshFailure::Unavailable => now + TRY_AGAIN,
                };
                let vault = &self.shared.app.vault;
                if let Err(error) = vault.release_upstream(self.grant, claimed.until).await {
                    tracing::warn!(error = chain(&error), "a renewal could not be given back");
                }
                let nobody_knows =
                    claimed.must_be_renewed && matches!(failure, RefreshFailure::Unavailable);
                match has_ended || nobody_knows {
                    true => Err(NoToken::Unavailable),
                    false => Ok(Held::good(tokens, end.map_or(again, |end| end.min(again)))),
                }
            }
        }
    }

    /// The refresh token is dead, unless another node was faster and has the successor.
    async fn rejected(&self, revision: &Revision) -> Result<Held, NoToken> {
        match self.stored().await? {
            Some(other) if other.revision != *revision => {
                Ok(Held::good(other.tokens, clock::now() + TRY_AGAIN))
            }
            Some(_) | None => Err(self.gone().await),
        }
    }

    /// Waits for what another node gets.
    async fn renewed_elsewhere(&self, read: &Revision) -> Result<Held, NoToken> {
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
        Err(NoToken::Unavailable)
    }

    /// The provider that gave the tokens; none where it is no longer there, or another one in its place.
    async fn giver(
        &self,
        id: ProviderId,
        tokens: &UpstreamTokens,
    ) -> Result<Option<Arc<Configured>>, NoToken> {
        let app = &self.shared.app;
        let is_giver = |provider: &Arc<Configured>| {
            let present = federation::origin(&provider.settings);
            let origin = tokens.origin.as_ref();
            origin.is_none_or(|origin| *origin == present)
        };
        let known = || app.directory.provider(id).filter(is_giver);
        if let Some(provider) = known() {
            return Ok(Some(provider));
        }
        // Another node may have put it there just now.
        app.catch_up().await.map_err(|error| unavailable(&error))?;
        Ok(known())
    }

    async fn ask(
        &self,
        id: ProviderId,
        provider: &Configured,
        refresh_token: Option<&Secret>,
    ) -> Result<UpstreamTokens, RefreshFailure> {
        let shared = &self.shared;
        let refresh_token = refresh_token.ok_or(RefreshFailure::Rejected)?;
        let secret = shared
            .app
            .provider_secret(id, provider)
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
        shared
            .federation
            .refresh(&provider, refresh_token.expose(), self.context.now)
            .await
    }

    /// Stores renewed tokens, then records that there are new ones. Where another node has stored
    /// some since, those count: the next renewal must not begin with tokens that nobody has.
    async fn keep(
        mut self,
        subject: SubjectId,
        read: Revision,
        renewed: UpstreamTokens,
    ) -> Result<Held, NoToken> {
        let stored = self.store(subject, read, &renewed).await;
        let tokens = &self.shared.provider_tokens;
        tokens.unstored().remove(&self.grant);
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
        tokens.obtained(self.grant, &renewed, now);
        let expires_at = renewed.expires_at;
        let command = Command::RecordUpstreamRefresh { expires_at };
        let app = &self.shared.app;
        match app
            .execute::<Grant>(self.grant, command, &self.context)
            .await
        {
            Ok(_) => {}
            Err(ExecuteError::Refused(_)) => {
                self.shared.app.forget_upstream_tokens(self.grant).await;
                return Err(NoToken::Gone);
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
    ) -> Result<bool, NoToken> {
        let vault = &self.shared.app.vault;
        let mut pause = STORE_PAUSE;
        loop {
            let now = self.context.now;
            match vault
                .replace_upstream(subject, self.grant, &read, tokens, now)
                .await
            {
                Ok(stored) => return Ok(stored),
                Err(VaultError::Erased(_) | VaultError::NoKey(_)) => return Err(NoToken::Gone),
                Err(error) => {
                    tracing::warn!(error = chain(&error), grant = %self.grant, "renewed tokens wait for the store");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(STORE_PAUSE_MAX);
            self.context.now = clock::now();
        }
    }

    /// Ends the grant: the provider no longer vouches for its person, who has to log in again.
    pub(super) async fn gone(&self) -> NoToken {
        self.end(RevocationReason::UpstreamRefused).await
    }

    async fn end(&self, reason: RevocationReason) -> NoToken {
        let command = Command::Revoke { reason };
        let context = self.context.by(Actor::System);
        let app = &self.shared.app;
        match app.execute::<Grant>(self.grant, command, &context).await {
            Ok(_) | Err(ExecuteError::Refused(_)) => {
                self.shared.app.forget_upstream_tokens(self.grant).await;
                NoToken::Gone
            }
            Err(ExecuteError::Unavailable(error)) => unavailable(&error),
        }
    }
}

fn unavailable(error: &Unavailable) -> NoToken {
    tracing::error!(error = chain(error), "a store failed");
    NoToken::StoreAway
}
