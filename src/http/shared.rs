//! What all handlers share.

use std::ops::Deref;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use domain::Timestamp;
use domain::client::Registration;
use domain::event::Correlation;
use domain::id::ProxyId;
use domain::resource::OwnResources;
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::callback::Callbacks;
use super::error::{Code, OAuthError};
use super::provider_tokens::ProviderTokens;
use super::rates::Rates;
use super::urls::{Urls, resource};
use crate::app::{App, Context, ProxyTerms, RefusedRequest, Unavailable};
use crate::config::Gateway;
use crate::federation::Federation;

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
    /// People's tokens from their providers.
    pub provider_tokens: ProviderTokens,
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
        let is_default = self.default_proxy() == Some(proxy);
        self.urls.audiences(proxy, is_default)
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
}
