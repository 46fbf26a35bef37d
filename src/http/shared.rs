//! What all handlers share.

use std::ops::Deref;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use domain::Timestamp;
use domain::client::Registration;
use domain::event::Correlation;
use domain::grant::{Command, Grant, RevocationReason};
use domain::id::{ClientId, GrantId, ProviderId, ProxyId};
use domain::provider;
use domain::resource::OwnResources;
use futures_util::stream::{self, StreamExt};
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::callback::Callbacks;
use super::error::{Code, OAuthError};
use super::rates::Rates;
use super::urls::{Urls, resource};
use crate::administration::PrivateTerms;
use crate::app::{App, Context, ExecuteError, ProxyTerms, RefusedRequest, Unavailable};
use crate::causes::chain;
use crate::config::Gateway;
use crate::federation::{Federation, Login};
use crate::keys::SigningKeys;
use crate::tokens::access::Rejection;

/// So many grants are revoked at once.
const REVOKED_AT_ONCE: usize = 64;

/// What all handlers share; cheap to clone.
#[derive(Clone)]
pub struct Shared(Arc<Parts>);

/// The parts of it.
pub struct Parts {
    /// Commands and state.
    pub app: Arc<App>,
    /// The relying party.
    pub federation: Federation,
    /// Public addresses.
    pub urls: Urls,
    /// Rate limits.
    pub rates: Rates,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How the MCP gateway is reached.
    pub gateway: Gateway,
    /// The largest request an MCP client may send, in bytes.
    pub mcp_body_bytes: u64,
    /// How long a client may go without ever being authorized; absent: for ever.
    pub unused_client: Option<TimeDelta>,
    /// Read models for queries.
    pub reader: projections::Reader,
    /// Secrets of the vault, by version.
    pub secrets: quick_cache::sync::Cache<Uuid, Arc<Zeroizing<String>>>,
    /// What browsers that come back from a provider again are answered with.
    pub callbacks: Callbacks,
    /// Ends streams and tasks when the service stops.
    pub stopping: CancellationToken,
    /// What the service waits for when it stops.
    pub tasks: TaskTracker,
}

impl Deref for Shared {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl From<Parts> for Shared {
    fn from(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Parts {
    /// The terms of the proxy that a path names.
    ///
    /// # Errors
    /// There is none of that number, or it is switched off; the log cannot be read.
    pub async fn proxy(&self, path: &str) -> Result<ProxyTerms, OAuthError> {
        let id = path.parse().map_err(|_| OAuthError::proxy_not_found())?;
        let terms = self.terms(id, |_| true).await?;
        terms.ok_or_else(OAuthError::proxy_not_found)
    }

    /// The terms of a proxy that is there and switched on, if they are as they must be; another
    /// node may have made them so just now.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn terms(
        &self,
        id: ProxyId,
        fit: impl Fn(&ProxyTerms) -> bool,
    ) -> Result<Option<ProxyTerms>, Unavailable> {
        let known = || self.app.directory.enabled(id).filter(&fit);
        if let Some(terms) = known() {
            return Ok(Some(terms));
        }
        self.app.catch_up().await?;
        Ok(known())
    }

    /// The terms as they are now, for what would be refused by those that were known: another node
    /// may have changed them just now.
    ///
    /// # Errors
    /// The proxy is gone or switched off; the log cannot be read.
    pub async fn latest(&self, terms: &ProxyTerms) -> Result<ProxyTerms, OAuthError> {
        self.app.catch_up().await?;
        let terms = self.app.directory.enabled(terms.id);
        terms.ok_or_else(OAuthError::proxy_not_found)
    }

    /// Makes sure that a proxy's access tokens can be signed before anything is spent on one:
    /// another node may have added the proxy, and its key, just now.
    ///
    /// # Errors
    /// A store failed.
    pub async fn ensure_signs(
        &self,
        terms: &ProxyTerms,
        context: &Context,
    ) -> Result<(), Unavailable> {
        let keys = self.app.vault.signing_keys();
        let alg = terms.proxy.settings.token_alg;
        if keys.in_use(alg, context.now).is_some() {
            return Ok(());
        }
        Box::pin(self.app.ensure_signing_keys(context)).await
    }

    /// Whether a client has gone without ever being authorized for so long that nobody may begin to
    /// any more. It is removed once whoever had begun before can have ended.
    #[must_use]
    pub fn is_unused(&self, client: &Registration, now: Timestamp) -> bool {
        let age = now - client.registered_at;
        client.first_authorized_at.is_none() && self.unused_client.is_some_and(|max| age >= max)
    }

    /// How far the clock of the node that issued a token may be from this one's, in seconds. Nodes that
    /// share a log go by its clock, but do not read it at the same instant.
    #[must_use]
    pub fn leeway_s(&self) -> u32 {
        self.app.log.is_shared().into()
    }

    /// Judges a token by the signing keys; one that this node does not know yet may be another's
    /// new one.
    ///
    /// # Errors
    /// Whether it is cannot be told now.
    pub async fn by_signing_keys<T>(
        &self,
        judge: impl Fn(&SigningKeys) -> Result<T, Rejection>,
    ) -> Result<Result<T, Rejection>, Unavailable> {
        let vault = &self.app.vault;
        match judge(&vault.signing_keys()) {
            Err(Rejection::UnknownKey) if self.app.log.is_shared() => {
                vault.catch_up_now().await?;
                Ok(judge(&vault.signing_keys()))
            }
            judged => Ok(judged),
        }
    }

    /// The proxy at the gateway's `/mcp`.
    #[must_use]
    pub fn default_proxy(&self) -> Option<ProxyId> {
        self.gateway
            .default_proxy
            .or_else(|| self.app.directory.first_enabled())
    }

    /// Every name of a proxy's resource: what its tokens can be for.
    #[must_use]
    pub fn own_resources(&self, proxy: ProxyId) -> OwnResources {
        let is_default = self.default_proxy() == Some(proxy);
        OwnResources {
            canonical: self.urls.resource(proxy),
            others: Vec::from_iter(is_default.then(|| resource(&self.urls.default_mcp()))),
        }
    }

    /// The same as text, canonical first.
    #[must_use]
    pub fn audiences(&self, proxy: ProxyId) -> Vec<String> {
        let OwnResources { canonical, others } = self.own_resources(proxy);
        let all = std::iter::once(canonical).chain(others);
        all.map(|resource| resource.as_str().to_owned()).collect()
    }

    /// Our client secret at a provider; empty if it gave us none.
    ///
    /// # Errors
    /// The vault failed.
    pub async fn provider_secret(
        &self,
        id: ProviderId,
        provider: &provider::Configured,
    ) -> Result<Arc<Zeroizing<String>>, Unavailable> {
        self.secret(&format!("provider-{id}"), provider.secret_version)
            .await
    }

    /// What a proxy keeps in the vault.
    ///
    /// # Errors
    /// The vault failed.
    pub async fn private_terms(
        &self,
        id: ProxyId,
        version: Option<Uuid>,
    ) -> Result<PrivateTerms, Unavailable> {
        let Some(version) = version else {
            return Ok(PrivateTerms::default());
        };
        let text = self.secret(&format!("proxy-{id}"), version).await?;
        serde_json::from_str(&text).map_err(|_| Unavailable::Garbled)
    }

    async fn secret(
        &self,
        owner: &str,
        version: Uuid,
    ) -> Result<Arc<Zeroizing<String>>, Unavailable> {
        if let Some(secret) = self.secrets.get(&version) {
            return Ok(secret);
        }
        let bytes = self.app.vault.secret(owner, version).await?;
        let text = str::from_utf8(&bytes).map_err(|_| Unavailable::Garbled)?;
        let secret = Arc::new(Zeroizing::new(text.to_owned()));
        self.secrets.insert(version, secret.clone());
        Ok(secret)
    }

    /// Whether a proxy admits a person: by e-mail domain (an entry like a host name), e-mail address (one
    /// with `@`) or group (any other). An address counts only if the provider vouches for it.
    ///
    /// # Errors
    /// The vault failed.
    pub async fn admits(&self, terms: &ProxyTerms, login: &Login) -> Result<bool, Unavailable> {
        let private = self
            .private_terms(terms.id, terms.proxy.private_version)
            .await?;
        Ok(private.admits(login))
    }

    /// Answers, and takes note of what was refused and is not in a stream already.
    pub fn answered(
        &self,
        endpoint: &'static str,
        proxy: &str,
        context: &Context,
        outcome: Result<Response, OAuthError>,
    ) -> Response {
        match outcome {
            Ok(response) => response,
            Err(error) => {
                if !error.is_recorded {
                    let known = proxy
                        .parse()
                        .ok()
                        .filter(|_| error.code != Code::ProxyNotFound);
                    let refused = RefusedRequest {
                        endpoint,
                        cause: error.cause,
                        correlation: Correlation {
                            proxy_id: known,
                            ..Correlation::default()
                        },
                    };
                    self.app.refusals.note(refused, context);
                }
                error.into_response()
            }
        }
    }

    /// Does something that must not stop half-way when whoever asked for it goes away.
    ///
    /// # Errors
    /// It broke off.
    pub async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let done = self.tasks.spawn(work).await;
        done.map_err(|_| Unavailable::BrokenOff)
    }

    /// Ends everything that was granted to a client that is gone.
    ///
    /// # Errors
    /// A store failed; what was not revoked is when this is called again.
    pub async fn revoke_grants_of_client(
        &self,
        client_id: ClientId,
        context: &Context,
    ) -> Result<(), Unavailable> {
        let reason = RevocationReason::ClientRemoved;
        self.revoke_all(projections::Of::Client(client_id), &reason, context)
            .await
    }

    /// Ends every live grant of a client, proxy, provider or subject.
    ///
    /// # Errors
    /// A store failed; what was not revoked is when this is called again.
    pub async fn revoke_all(
        &self,
        of: projections::Of,
        reason: &RevocationReason,
        context: &Context,
    ) -> Result<(), Unavailable> {
        self.app.read_model_is_current().await?;
        let (reader, now) = (self.reader.clone(), context.now);
        let grants = tokio::task::spawn_blocking(move || reader.live_grants_of(of, now))
            .await
            .map_err(|_| Unavailable::BrokenOff)??;
        self.revoke_each(grants, reason, context).await
    }

    /// Ends grants, many at once: they share the log's commits. Which came before which is the log's to say.
    ///
    /// # Errors
    /// A store failed, or a grant cannot be read; in the latter case all others were revoked.
    pub async fn revoke_each(
        &self,
        grants: Vec<GrantId>,
        reason: &RevocationReason,
        context: &Context,
    ) -> Result<(), Unavailable> {
        let revoke = |grant| async move {
            let command = Command::Revoke {
                reason: reason.clone(),
            };
            match self.app.execute::<Grant>(grant, command, context).await {
                Ok(_) | Err(ExecuteError::Refused(_)) => self.forget_upstream_tokens(grant).await,
                Err(ExecuteError::Unavailable(error)) => return Err(error),
            }
            Ok(())
        };
        let mut revoked = stream::iter(grants)
            .map(revoke)
            .buffer_unordered(REVOKED_AT_ONCE);
        let mut unreadable = None;
        while let Some(revoked) = revoked.next().await {
            match revoked {
                Err(error @ Unavailable::Entry { .. }) => unreadable = Some(error),
                revoked => revoked?,
            }
        }
        unreadable.map_or(Ok(()), Err)
    }

    /// Forgets the provider's tokens of a grant that has ended; failing that, they stay sealed.
    pub async fn forget_upstream_tokens(&self, grant: GrantId) {
        if let Err(error) = self.app.vault.delete_upstream(grant).await {
            tracing::warn!(error = chain(&error), %grant, "upstream tokens of an ended grant remain");
        }
    }
}
