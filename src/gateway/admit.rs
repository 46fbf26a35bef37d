//! Who may pass: the access token or API key of a request, judged in memory.
//!
//! An access token passes if one of our keys signed it for this resource, its time is now, its
//! grant is not revoked and its client not removed as far as the log has been followed, and its
//! scope holds what every call needs. An API key is refused only after its stream was read again; for an
//! address that guesses too often none is read until the minute is over. Where several nodes share a
//! log, another's revocation is known here within a second, and a node that is cut off from the log
//! admits nobody.

use std::sync::Arc;

use axum::http::{HeaderMap, Uri};
use domain::Timestamp;
use domain::api_key::{self, Denial, Issued};
use domain::entry::Actor;
use domain::event::Correlation;
use domain::id::{ApiKeyId, ClientId, GrantId, SubjectId};
use domain::scope::Scope;

use super::Gateway;
use super::challenge::Denied;
use super::credentials::{self, Credential};
use super::endpoint::Stop;
use super::first_use::Unrecorded;
use super::target::{Target, for_resource};
use crate::app::Context;
use crate::tokens::access::{Claims, Expected, Rejection};
use crate::tokens::secret::ApiKey;

/// Whoever was admitted.
pub(super) enum Admitted {
    /// A client, on a person's behalf.
    Client {
        client: ClientId,
        subject: SubjectId,
        grant: GrantId,
    },
    /// A script, on nobody's behalf.
    Script(ApiKeyId),
}

impl Admitted {
    /// Whom the request concerns, for the record.
    pub(super) fn correlation(&self) -> Correlation {
        match self {
            Self::Client {
                client, subject, ..
            } => Correlation {
                client_id: Some(*client),
                subject: Some(*subject),
                ..Correlation::default()
            },
            Self::Script(_) => Correlation::default(),
        }
    }

    pub(super) fn actor(&self) -> Actor {
        match self {
            Self::Client { client, .. } => Actor::Client(*client),
            Self::Script(id) => Actor::ApiKey(*id),
        }
    }
}

/// Admits a request, or says why not. The first use of an access token is durable on return.
pub(super) async fn admit(
    gateway: &Gateway,
    target: &Target,
    uri: &Uri,
    headers: &HeaderMap,
    context: &Context,
) -> Result<Admitted, Stop> {
    if !gateway.shared.app.is_followed() {
        return Err(Stop::Unavailable);
    }
    match credentials::presented(headers, uri.query())? {
        Credential::Token(token) => by_token(gateway, target, token, context).await,
        Credential::ApiKey(key) => by_api_key(gateway, target, key, context).await,
    }
}

async fn by_token(
    gateway: &Gateway,
    target: &Target,
    token: &str,
    context: &Context,
) -> Result<Admitted, Stop> {
    let shared = &gateway.shared;
    let claims = verify(gateway, target, token, context.now).await?;
    let admitted = Admitted::Client {
        client: claims.client_id,
        subject: claims.sub,
        grant: claims.grant,
    };
    let denied = |denied: Denied, cause| denied.because(cause).of(admitted.correlation());
    let revocations = &shared.app.revocations;
    if revocations.contains(claims.grant, claims.client_id) {
        return Err(denied(Denied::InvalidToken, "revoked").into());
    }
    if let Some(needed) = missing(target, &claims.scope) {
        return Err(denied(Denied::InsufficientScope(needed), "insufficient_scope").into());
    }
    let by = || context.by(admitted.actor());
    match gateway.first_uses.record(shared, &claims, by).await {
        Ok(()) => Ok(admitted),
        Err(Unrecorded::GrantEnded) => Err(denied(Denied::InvalidToken, "revoked").into()),
        Err(Unrecorded::Store) => Err(Stop::Unavailable),
    }
}

async fn verify(
    gateway: &Gateway,
    target: &Target,
    token: &str,
    now: Timestamp,
) -> Result<Arc<Claims>, Stop> {
    let shared = &gateway.shared;
    let audiences = target.audiences(&shared.urls);
    let audiences: Vec<&str> = audiences.iter().map(String::as_str).collect();
    let expected = Expected {
        issuer: &shared.urls.issuer(target.terms.id),
        audiences: &audiences,
        now,
        leeway_s: shared.leeway_s(),
    };
    let known = &gateway.known_tokens;
    let verified = shared
        .app
        .by_signing_keys(|keys| known.verify(keys, token, expected));
    let denied = |rejection: Rejection| Denied::InvalidToken.because(rejection.as_str());
    Ok(verified.await?.map_err(denied)?)
}

async fn by_api_key(
    gateway: &Gateway,
    target: &Target,
    key: &str,
    context: &Context,
) -> Result<Admitted, Stop> {
    let app = &gateway.shared.app;
    let key = ApiKey::parse(key).map_err(|_| Denied::InvalidToken.because("malformed_api_key"))?;
    let admit = |known: &api_key::ApiKey| {
        known
            .admit(&key.hash, target.terms.id, context.now)
            .map(|Issued { scopes, .. }| missing(target, scopes))
    };
    let known = app.known::<api_key::ApiKey>(key.id);
    let judged = match known.and_then(|known| admit(&known).ok()) {
        Some(missing) => Ok(missing),
        // Whoever is known is let in all the same: they may share the address with whoever fails.
        None if gateway.failures.are_too_many(context) => {
            return Err(Denied::TooManyFailures.because("too_many_failures").into());
        }
        None => admit(&*app.fresh::<api_key::ApiKey>(key.id).await?),
    };
    match judged {
        Ok(None) => Ok(Admitted::Script(key.id)),
        Ok(Some(needed)) => Err(Denied::InsufficientScope(needed)
            .because("insufficient_scope")
            .into()),
        Err(denial) => {
            // A key that has ended is still in use for a while, beside its successor.
            if denial == Denial::Unknown {
                gateway.failures.count(context);
            }
            Err(Denied::InvalidToken.because(denial.as_str()).into())
        }
    }
}

/// Everything to ask for, at once, if what every call needs is not all there: what there is
/// already, so that nobody loses it by stepping up, and what is missing.
fn missing(target: &Target, granted: &Scope) -> Option<Scope> {
    let required = &target.terms.proxy.settings.required_scopes;
    (!granted.contains(required)).then(|| for_resource(granted.tokens().chain(required.tokens())))
}
