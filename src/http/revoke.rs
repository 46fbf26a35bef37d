//! Token revocation (RFC 7009). Whichever token is given up, the whole grant ends: an access
//! token alone could be renewed by its refresh token, and who gives one up wants neither.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::client::Endpoint;
use domain::entry::Actor;
use domain::grant::{Command, Grant, Rule};
use domain::id::GrantId;

use super::Shared;
use super::client_authentication::authenticate;
use super::error::{OAuthError, no_store};
use super::form::{Form, Posted};
use crate::app::{ExecuteError, Unavailable};
use crate::tokens::access;
use crate::tokens::refresh::RefreshToken;

/// `POST {base}/revoke`
pub async fn revoke(
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
        let token = form.required("token")?;
        let client =
            authenticate(&shared, &terms, Endpoint::Other, &headers, &form, &context).await?;
        let context = context.by(Actor::Client(client.id));
        if let Some(grant_id) = grant_of(&shared, token).await? {
            let command = Command::RevokeByClient {
                client_id: client.id,
                proxy_id: terms.id,
            };
            match shared
                .app
                .execute::<Grant>(grant_id, command, &context)
                .await
            {
                Ok(_) => shared.app.forget_upstream_tokens(grant_id).await,
                Err(ExecuteError::Refused(Rule::UnknownGrant)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut response = StatusCode::OK.into_response();
        no_store(response.headers_mut());
        Ok(response)
    };
    shared.answered("revocation", &proxy, &context, outcome.await)
}

/// The grant that a token of ours belongs to, whatever its age. Unknown tokens are no error
/// (RFC 7009 §2.2), and `token_type_hint` is not needed to tell ours apart.
async fn grant_of(shared: &Shared, token: &str) -> Result<Option<GrantId>, OAuthError> {
    if let Ok(token) = RefreshToken::parse(token) {
        return Ok(verified(shared, &token).await?.then_some(token.grant_id));
    }
    let grant = shared.app.by_signing_keys(|keys| {
        let (claims, _) = access::authenticate(keys, token)?;
        Ok(claims.grant)
    });
    Ok(grant.await?.ok())
}

/// Whether we issued this refresh token, decided on the log if the cache does not know it.
pub(super) async fn verified(shared: &Shared, token: &RefreshToken) -> Result<bool, Unavailable> {
    let key = &shared.app.vault.purpose_keys().refresh;
    let is_ours = |grant: &Grant| {
        let salt = grant.refresh_salt();
        salt.is_some_and(|salt| token.verify(key, &salt.0))
    };
    if is_ours(&*shared.app.state::<Grant>(token.grant_id).await?) {
        return Ok(true);
    }
    Ok(is_ours(&*shared.app.fresh::<Grant>(token.grant_id).await?))
}
