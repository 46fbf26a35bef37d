//! Token introspection (RFC 7662), for the client a token was issued to.
//!
//! Everybody else, and everything that is not live, gets `{"active":false}` and nothing more.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use domain::Timestamp;
use domain::client::Endpoint;
use domain::grant::Grant;
use domain::id::{ClientId, EventId, GrantId, SubjectId};
use domain::scope::Scope;
use serde::Serialize;

use super::Shared;
use super::client_authentication::authenticate;
use super::error::{Code, OAuthError, no_store};
use super::form::{Form, Posted};
use super::revoke::verified;
use crate::app::ProxyTerms;
use crate::tokens::access::{self, Expected};
use crate::tokens::refresh::RefreshToken;

/// `POST {base}/introspect`
pub async fn introspect(
    State(shared): State<Shared>,
    Path(proxy): Path<String>,
    Posted {
        context,
        headers,
        body,
    }: Posted,
) -> Response {
    let outcome = async {
        let terms = shared.proxy(&proxy).await?;
        shared.rates.token(context.ip)?;
        let form = Form::parse(&headers, &body)?;
        let client =
            authenticate(&shared, &terms, Endpoint::Other, &headers, &form, &context).await?;
        if client.registration.metadata.is_public() {
            return Err(OAuthError::new(
                Code::InvalidClient,
                "public_client_introspects",
                "introspection needs client authentication",
            ));
        }
        let token = form.required("token")?;
        let active = if token.starts_with("gw_refresh_") {
            refresh_token(&shared, &terms, client.id, token, context.now).await?
        } else {
            access_token(&shared, &terms, client.id, token, context.now).await?
        };
        let mut response = match active {
            Some(active) => Json(active).into_response(),
            None => Json(Inactive { active: false }).into_response(),
        };
        no_store(response.headers_mut());
        Ok(response)
    };
    shared.answered("introspection", &proxy, &context, outcome.await)
}

#[derive(Serialize)]
struct Inactive {
    active: bool,
}

#[derive(Serialize)]
struct Active {
    active: bool,
    #[serde(skip_serializing_if = "Scope::is_empty")]
    scope: Scope,
    client_id: ClientId,
    sub: SubjectId,
    aud: String,
    iss: String,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    grant: GrantId,
}

async fn access_token(
    shared: &Shared,
    terms: &ProxyTerms,
    caller: ClientId,
    token: &str,
    now: Timestamp,
) -> Result<Option<Active>, OAuthError> {
    let issuer = shared.urls.issuer(terms.id);
    let audiences = shared.audiences(terms.id);
    let audiences: Vec<&str> = audiences.iter().map(String::as_str).collect();
    let expected = Expected {
        issuer: &issuer,
        audiences: &audiences,
        now,
        leeway_s: shared.leeway_s(),
    };
    let verified = shared
        .app
        .by_signing_keys(|keys| access::verify(keys, token, expected));
    let Ok(claims) = verified.await? else {
        return Ok(None);
    };
    // "Active" is a statement about now, on whichever node the grant was revoked.
    shared.app.catch_up().await?;
    let revocations = &shared.app.revocations;
    if claims.client_id != caller || revocations.contains(claims.grant, claims.client_id) {
        return Ok(None);
    }
    Ok(Some(Active {
        active: true,
        scope: claims.scope,
        client_id: claims.client_id,
        sub: claims.sub,
        aud: claims.aud,
        iss: claims.iss,
        exp: claims.exp,
        iat: Some(claims.iat),
        jti: Some(claims.jti),
        token_type: Some("Bearer"),
        grant: claims.grant,
    }))
}

async fn refresh_token(
    shared: &Shared,
    terms: &ProxyTerms,
    caller: ClientId,
    token: &str,
    now: Timestamp,
) -> Result<Option<Active>, OAuthError> {
    let Ok(token) = RefreshToken::parse(token) else {
        return Ok(None);
    };
    if !verified(shared, &token).await? {
        return Ok(None);
    }
    let grant = shared.app.fresh::<Grant>(token.grant_id).await?;
    let (Some(authorization), Some(leaf)) = (grant.authorization(), grant.leaf()) else {
        return Ok(None);
    };
    let request = &authorization.request;
    let is_live = grant.is_in_force(now) && leaf.generation == token.n && now < leaf.expires_at;
    if !is_live || request.client_id != caller || request.proxy_id != terms.id {
        return Ok(None);
    }
    Ok(Some(Active {
        active: true,
        scope: request.scope.clone(),
        client_id: request.client_id,
        sub: authorization.subject,
        aud: request.resource.as_str().to_owned(),
        iss: shared.urls.issuer(terms.id),
        exp: leaf.expires_at.timestamp(),
        iat: None,
        jti: None,
        token_type: None,
        grant: token.grant_id,
    }))
}
