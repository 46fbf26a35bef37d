//! What the upstream gets in place of the client's credentials (`oauth_proxy_upstream_auth`):
//! the person's own token from the provider, fixed headers, or nothing.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use quick_cache::sync::Cache;
use uuid::Uuid;

use super::Gateway;
use super::admit::Admitted;
use super::challenge::Denied;
use super::endpoint::Stop;
use super::forward::Failure;
use super::headers::remove_hop_by_hop;
use super::target::Target;
use crate::administration::PrivateTerms;
use crate::app::{Context, ProxyTerms};
use crate::http::Shared;
use crate::http::provider_tokens::{self, NoToken};
use domain::proxy::UpstreamAuth;

/// What the upstream is given.
#[derive(Clone)]
pub(super) enum Credentials {
    /// Nothing.
    None,
    /// Nothing any more: the person's token from the provider ended. An upstream that needs it
    /// says so, the grant ends, and the person logs in again.
    Ended,
    /// `Authorization`.
    Authorization(HeaderValue),
    /// Fixed headers; they replace the client's of the same name.
    Headers(Arc<HeaderMap>),
}

impl Credentials {
    pub(super) fn add_to(self, headers: &mut HeaderMap) {
        match self {
            Self::None | Self::Ended => {}
            Self::Authorization(value) => {
                headers.insert(header::AUTHORIZATION, value);
            }
            Self::Headers(fixed) => {
                for (name, value) in fixed.iter() {
                    headers.insert(name, value.clone());
                }
            }
        }
    }
}

/// What the upstream of `target` gets for a request of `admitted`.
pub(super) async fn credentials(
    gateway: &Gateway,
    target: &Target,
    admitted: &Admitted,
    context: &Context,
) -> Result<Credentials, Stop> {
    let shared = &gateway.shared;
    match (target.terms.proxy.settings.upstream_auth, admitted) {
        (UpstreamAuth::None, _) => Ok(Credentials::None),
        // Nobody's token: a script speaks for no person.
        (UpstreamAuth::ProviderToken, Admitted::Script(_)) => Ok(Credentials::None),
        (UpstreamAuth::Static, _) => {
            let headers = gateway.static_headers.of(shared, &target.terms).await?;
            Ok(Credentials::Headers(headers))
        }
        (UpstreamAuth::ProviderToken, Admitted::Client { grant, .. }) => {
            let by = || context.by(admitted.actor());
            match provider_tokens::authorization(shared, *grant, context.now, by).await {
                Ok(Some(value)) => Ok(Credentials::Authorization(value)),
                Ok(None) => Ok(Credentials::Ended),
                Err(why) => Err(stop(why, "upstream_token_gone", admitted)),
            }
        }
    }
}

/// What becomes of a request whose credentials the upstream refused by `status`.
pub(super) async fn refused(
    gateway: &Gateway,
    admitted: &Admitted,
    given: Credentials,
    status: StatusCode,
    context: &Context,
) -> Stop {
    let shared = &gateway.shared;
    let by = context.by(admitted.actor());
    // Another status is about more than the token (RFC 6750 §3.1).
    match (given, admitted) {
        (Credentials::Ended, Admitted::Client { grant, .. })
            if status == StatusCode::UNAUTHORIZED =>
        {
            let why = provider_tokens::ended(shared, *grant, by).await;
            stop(why, "upstream_token_ended", admitted)
        }
        (Credentials::Authorization(token), Admitted::Client { grant, .. })
            if status == StatusCode::UNAUTHORIZED =>
        {
            match provider_tokens::refused(shared, *grant, &token, by).await {
                // The body is gone, so the client has to send it again.
                Ok(true) => Stop::Unavailable,
                Ok(false) => Failure::Unauthorized(status).into(),
                Err(why) => stop(why, "upstream_token_gone", admitted),
            }
        }
        _ => Failure::Unauthorized(status).into(),
    }
}

fn stop(why: NoToken, cause: &'static str, admitted: &Admitted) -> Stop {
    match why {
        NoToken::Gone => Denied::InvalidToken
            .because(cause)
            .of(admitted.correlation())
            .into(),
        NoToken::Unavailable | NoToken::StoreAway => Stop::Unavailable,
    }
}

/// The fixed headers of proxies, by version of their private terms.
pub(super) struct StaticHeaders(Cache<Uuid, Arc<HeaderMap>>);

const PROXIES_MAX: usize = 1024;

impl Default for StaticHeaders {
    fn default() -> Self {
        Self(Cache::new(PROXIES_MAX))
    }
}

impl StaticHeaders {
    async fn of(&self, shared: &Shared, terms: &ProxyTerms) -> Result<Arc<HeaderMap>, Stop> {
        let Some(version) = terms.proxy.private_version else {
            return Ok(Arc::default());
        };
        if let Some(headers) = self.0.get(&version) {
            return Ok(headers);
        }
        let private = PrivateTerms::read(&shared.app, terms.id, Some(version)).await?;
        let mut headers = HeaderMap::with_capacity(private.upstream_headers.len());
        for (name, value) in &private.upstream_headers {
            let name = HeaderName::try_from(name).map_err(|_| Failure::Misconfigured)?;
            let mut value = HeaderValue::try_from(value).map_err(|_| Failure::Misconfigured)?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        remove_hop_by_hop(&mut headers);
        headers.remove(header::CONTENT_LENGTH);
        let headers = Arc::new(headers);
        self.0.insert(version, headers.clone());
        Ok(headers)
    }
}
