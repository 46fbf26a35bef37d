//! The token endpoint (RFC 6749 §3.2): codes and refresh tokens become access tokens.
//!
//! Nothing is minted before the event that issues it is durable, and the minted token's `jti` is
//! that event's id.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::client::Endpoint;
use domain::client::metadata::GrantType;
use domain::entry::Actor;
use domain::grant::{self, Command, Event, Grant, RefreshSalt, Rule};
use domain::id::{EventId, GrantId};
use domain::resource::{RequestedResource, Resource};
use domain::scope::Scope;
use domain::{Aggregate, Timestamp, grant::LoginSucceeded};

use super::Shared;
use super::client_authentication::{AuthenticatedClient, authenticate, authenticate_again};
use super::error::{Code, OAuthError, no_store};
use super::form::{Form, Posted};
use super::provider_tokens;
use super::revoke::verified;
use crate::app::{Context, ExecuteError, ProxyTerms};
use crate::causes::chain;
use crate::clock;
use crate::secret::Secret;
use crate::tokens::access::{self, Claims};
use crate::tokens::code::Code as AuthorizationCode;
use crate::tokens::refresh::RefreshToken;

const ENDPOINT: &str = "token";

/// `POST {base}/token`
pub async fn token(
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
        shared
            .app
            .ensure_signs(terms.proxy.settings.token_alg, &context)
            .await?;
        let form = Form::parse(&headers, &body)?;
        let grant_type = grant_type(&form)?;
        let client =
            authenticate(&shared, &terms, Endpoint::Token, &headers, &form, &context).await?;
        if !client.registration.metadata.allows(grant_type) {
            return Err(OAuthError::new(
                Code::UnauthorizedClient,
                "grant_type_not_registered",
                "the client did not register this grant_type",
            ));
        }
        let context = context.by(Actor::Client(client.id));
        let issued = match grant_type {
            GrantType::AuthorizationCode => redeem(&shared, &terms, &client, &form, &context).await,
            GrantType::RefreshToken => refresh(&shared, &terms, &client, &form, &context).await,
        };
        if issued.is_err() && shared.app.log.is_shared() {
            authenticate_again(&shared, &terms, &client, &headers, &form, &context).await?;
        }
        answer(&shared, &terms, issued?, context.now)
    };
    shared.answered(ENDPOINT, &proxy, &context, outcome.await)
}

fn grant_type(form: &Form) -> Result<GrantType, OAuthError> {
    match form.required("grant_type")? {
        "authorization_code" => Ok(GrantType::AuthorizationCode),
        "refresh_token" => Ok(GrantType::RefreshToken),
        _ => Err(OAuthError::new(
            Code::UnsupportedGrantType,
            "unsupported_grant_type",
            "expected authorization_code or refresh_token",
        )),
    }
}

/// What an event issued, on its way to being minted.
struct Issued {
    grant_id: GrantId,
    jti: EventId,
    authorization: Arc<LoginSucceeded>,
    scope: Scope,
    resource: Resource,
    access_token_expires_at: Timestamp,
    /// The refresh token's number and salt, if there is one.
    refresh_token: Option<(u32, RefreshSalt)>,
}

async fn redeem(
    shared: &Shared,
    terms: &ProxyTerms,
    client: &AuthenticatedClient,
    form: &Form,
    context: &Context,
) -> Result<Issued, OAuthError> {
    let code = AuthorizationCode::parse(form.required("code")?)
        .map_err(|_| OAuthError::invalid_grant("unknown_code"))?;
    let may_refresh = client.registration.metadata.allows(GrantType::RefreshToken);
    let command = Command::RedeemCode(grant::RedeemCode {
        client_id: client.id,
        proxy_id: terms.id,
        code: code.hash,
        redirect_uri: form.get("redirect_uri").map(str::to_owned),
        code_verifier: form.get("code_verifier").map(str::to_owned),
        resource: resource(shared, terms, form)?,
        refresh_salt: may_refresh.then(|| RefreshSalt(clock::random())),
        policy: terms.proxy.settings.token_policy(),
    });
    issue(shared, code.grant_id, command, context).await
}

async fn refresh(
    shared: &Shared,
    terms: &ProxyTerms,
    client: &AuthenticatedClient,
    form: &Form,
    context: &Context,
) -> Result<Issued, OAuthError> {
    let presented = form.required("refresh_token")?;
    let token = RefreshToken::parse(presented).map_err(|_| Rule::UnknownRefreshToken)?;
    let scope =
        form.get("scope").map(str::parse).transpose().map_err(|_| {
            OAuthError::new(Code::InvalidScope, "malformed_scope", "malformed scope")
        })?;
    if !verified(shared, &token).await? {
        return Err(Rule::UnknownRefreshToken.into());
    }
    let command = Command::RotateRefreshToken(grant::RotateRefreshToken {
        client_id: client.id,
        proxy_id: terms.id,
        generation: token.n,
        scope,
        resource: resource(shared, terms, form)?,
        policy: terms.proxy.settings.token_policy(),
    });
    if !shared.provider_tokens.vouches(token.grant_id, context.now) {
        Box::pin(ask_provider(shared, token.grant_id, &command, context)).await?;
    }
    issue(shared, token.grant_id, command, context).await
}

/// Has the provider vouch for the person first. What is refused anyway, theft above all, does not wait for it.
async fn ask_provider(
    shared: &Shared,
    grant_id: GrantId,
    command: &Command,
    context: &Context,
) -> Result<(), OAuthError> {
    let grant = shared.app.current::<Grant>(grant_id).await?;
    if grant.decide(command.clone(), context.now).is_ok() {
        provider_tokens::vouched(shared, grant_id, context).await?;
    }
    Ok(())
}

async fn issue(
    shared: &Shared,
    grant_id: GrantId,
    command: Command,
    context: &Context,
) -> Result<Issued, OAuthError> {
    let executed = shared
        .app
        .execute::<Grant>(grant_id, command, context)
        .await;
    if let Err(ExecuteError::Refused(Rule::CodeReplayed | Rule::RefreshTokenReused)) = executed {
        // The grant has ended by it.
        shared.app.forget_upstream_tokens(grant_id).await;
    }
    let executed = executed?;
    let authorization = executed.state.authorization().cloned();
    let (Some((jti, event)), Some(authorization)) = (executed.events.last(), authorization) else {
        return Err(Rule::UnknownGrant.into());
    };
    let request = &authorization.request;
    let (granted, authorized) = (request.scope.clone(), request.resource.clone());
    let salt = executed.state.refresh_salt();
    let (scope, resource, access_token_expires_at, generation) = match event {
        Event::CodeRedeemed(redeemed) => (
            granted,
            redeemed.resource.clone(),
            redeemed.access_token_expires_at,
            redeemed.refresh_token.as_ref().map(|_| 1),
        ),
        Event::RefreshTokenRotated(rotated) => (
            rotated.scope.clone().unwrap_or(granted),
            rotated.resource.clone(),
            rotated.access_token_expires_at,
            Some(rotated.generation),
        ),
        Event::RefreshTokenRetried(retried) => (
            retried.scope.clone().unwrap_or(granted),
            retried.resource.clone(),
            retried.access_token_expires_at,
            Some(retried.generation),
        ),
        Event::LoginSucceeded(_)
        | Event::LoginFailed(_)
        | Event::ConsentDenied(_)
        | Event::CodeIssued(_)
        | Event::CodeReplayed(_)
        | Event::RefreshTokenReused(_)
        | Event::AccessTokenFirstUsed(_)
        | Event::UpstreamTokenRefreshed(_)
        | Event::Revoked(_) => return Err(Rule::UnknownGrant.into()),
    };
    Ok(Issued {
        grant_id,
        jti: *jti,
        authorization,
        scope,
        resource: resource.unwrap_or(authorized),
        access_token_expires_at,
        refresh_token: generation.zip(salt),
    })
}

fn answer(
    shared: &Shared,
    terms: &ProxyTerms,
    issued: Issued,
    now: Timestamp,
) -> Result<Response, OAuthError> {
    let vault = &shared.app.vault;
    let claims = Claims {
        iss: shared.urls.issuer(terms.id),
        sub: issued.authorization.subject,
        aud: issued.resource.as_str().to_owned(),
        client_id: issued.authorization.request.client_id,
        scope: issued.scope.clone(),
        iat: now.timestamp(),
        exp: issued.access_token_expires_at.timestamp(),
        jti: issued.jti,
        grant: issued.grant_id,
    };
    let alg = terms.proxy.settings.token_alg;
    let access_token = access::mint(&vault.signing_keys(), alg, &claims, now).map_err(|error| {
        tracing::error!(error = chain(&error), "no key to sign with");
        OAuthError::new(
            Code::TemporarilyUnavailable,
            "no_signing_key",
            "try again later",
        )
    })?;
    let refresh_token = issued.refresh_token.map(|(n, salt)| {
        RefreshToken::compute(&vault.purpose_keys().refresh, issued.grant_id, n, &salt.0)
    });
    let expires_in = claims.exp - claims.iat;
    let body = body(
        &access_token,
        expires_in,
        refresh_token.as_ref(),
        &issued.scope,
    );
    let json = [(header::CONTENT_TYPE, "application/json")];
    let mut response = (StatusCode::OK, json, body).into_response();
    no_store(response.headers_mut());
    Ok(response)
}

/// RFC 6749 §5.1. Put together as it is: escaping a kilobyte that never needs it takes longer than signing it. Tokens are
/// base64url, `.` and `_`, and a scope (§3.3) has neither `"` nor `\`.
fn body(
    access_token: &str,
    expires_in: i64,
    refresh_token: Option<&Secret>,
    scope: &Scope,
) -> String {
    let refresh_token = refresh_token.map_or_else(String::new, |token| {
        format!(r#","refresh_token":"{}""#, token.expose())
    });
    // §3.3 knows no scope without a token.
    let scope = match scope.is_empty() {
        true => String::new(),
        false => format!(r#","scope":"{scope}""#),
    };
    format!(
        r#"{{"access_token":"{access_token}","token_type":"Bearer","expires_in":{expires_in}{refresh_token}{scope}}}"#
    )
}

/// `resource` (RFC 8707 §2.2): one of those that were authorized, if named at all.
fn resource(
    shared: &Shared,
    terms: &ProxyTerms,
    form: &Form,
) -> Result<Option<RequestedResource>, OAuthError> {
    let mut named = form.all("resource");
    let first = named.next();
    if named.next().is_some() {
        return Err(OAuthError::new(
            Code::InvalidTarget,
            "several_resources",
            "expected one resource",
        ));
    }
    let resource = first.map(str::parse).transpose().map_err(|_| {
        OAuthError::new(
            Code::InvalidTarget,
            "malformed_resource",
            "malformed resource",
        )
    })?;
    Ok(resource.map(|resource| {
        let own = shared.own_resources(terms.id);
        RequestedResource { resource, own }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_scope_there_is_the_answer_is_json(
            words in prop::collection::vec("[\\x21\\x23-\\x5b\\x5d-\\x7e]{1,9}", 0..4), expires_in: i64,
        ) {
            let scope: Scope = words.join(" ").parse().expect("a scope");
            let refresh_token = Secret::new("gw_refresh_0_-.7.aZ".to_owned());
            for refresh_token in [None, Some(&refresh_token)] {
                let body = body("eyJ.a-_.Z", expires_in, refresh_token, &scope);
                let read: serde_json::Value = serde_json::from_str(&body).expect("JSON");
                let mut expected = serde_json::json!({
                    "access_token": "eyJ.a-_.Z",
                    "token_type": "Bearer",
                    "expires_in": expires_in,
                });
                if !scope.is_empty() {
                    expected["scope"] = scope.to_string().into();
                }
                if let Some(token) = refresh_token {
                    expected["refresh_token"] = token.expose().into();
                }
                prop_assert_eq!(read, expected);
            }
        }
    }
}
