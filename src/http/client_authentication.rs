//! Who calls the token, revocation and introspection endpoints (RFC 6749 §2.3).

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::client::{Client, Credentials, Denial, Endpoint, Registration};
use domain::id::ClientId;
use domain::secret::SecretHash;

use super::Shared;
use super::error::{Code, OAuthError};
use super::form::Form;
use crate::app::{Context, ProxyTerms};

/// A client that is who it says.
pub struct AuthenticatedClient {
    /// Its id.
    pub id: ClientId,
    /// Its registration.
    pub registration: Arc<Registration>,
}

/// Authenticates the client of a request. A denial is decided on the log, not on a cache.
///
/// # Errors
/// `invalid_request` if it authenticates in two ways at once, `invalid_client` if it is not who
/// it says, `slow_down` if it asks too often.
pub async fn authenticate(
    shared: &Shared,
    terms: &ProxyTerms,
    endpoint: Endpoint,
    headers: &HeaderMap,
    form: &Form,
    context: &Context,
) -> Result<AuthenticatedClient, OAuthError> {
    let (client_id, credentials) = presented(headers, form)?;
    let id: ClientId = client_id.parse().map_err(|_| Denial::Unknown)?;
    let known = shared.app.state::<Client>(id).await?;
    let registration = match known.authenticate(terms.id, credentials, endpoint, context.now) {
        Ok(registration) => registration.clone(),
        Err(_) => {
            let fresh = shared.app.fresh::<Client>(id).await?;
            fresh
                .authenticate(terms.id, credentials, endpoint, context.now)?
                .clone()
        }
    };
    // Anybody can name a public client: what is counted for it alone must be its own.
    if !registration.metadata.is_public() {
        shared.rates.client(id)?;
    }
    Ok(AuthenticatedClient { id, registration })
}

/// Authenticates the client of a token request once more, by the log: for what is refused in another way,
/// perhaps because another node has just removed the client and all that it was granted.
///
/// # Errors
/// `invalid_client` if it is not who it says by now.
pub async fn authenticate_again(
    shared: &Shared,
    terms: &ProxyTerms,
    client: &AuthenticatedClient,
    headers: &HeaderMap,
    form: &Form,
    context: &Context,
) -> Result<(), OAuthError> {
    let (_, credentials) = presented(headers, form)?;
    let fresh = shared.app.fresh::<Client>(client.id).await?;
    fresh.authenticate(terms.id, credentials, Endpoint::Token, context.now)?;
    Ok(())
}

fn presented(headers: &HeaderMap, form: &Form) -> Result<(String, Credentials), OAuthError> {
    let in_body = form.get("client_id");
    let secret_in_body = form.get("client_secret");
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(authorization) = values.next() else {
        let id = in_body.ok_or_else(|| {
            OAuthError::new(
                Code::InvalidClient,
                "client_id_missing",
                "client authentication is missing",
            )
        })?;
        let credentials = secret_in_body.map_or(Credentials::None, |secret| {
            Credentials::Post(SecretHash::of(secret))
        });
        return Ok((id.to_owned(), credentials));
    };
    if values.next().is_some() || secret_in_body.is_some() {
        return Err(OAuthError::invalid_request(
            "two_client_authentications",
            "the client authenticates in more than one way",
        ));
    }
    let (id, secret) = basic(authorization.as_bytes()).ok_or_else(|| {
        OAuthError::new(
            Code::InvalidClient,
            "malformed_basic_credentials",
            "client authentication failed",
        )
    })?;
    if in_body.is_some_and(|named| named != id) {
        return Err(OAuthError::invalid_request(
            "two_client_ids",
            "client_id differs from the Authorization header's",
        ));
    }
    // RFC 6749 §2.3.1: a client without a secret may leave it empty.
    let credentials = match secret.is_empty() {
        true => Credentials::None,
        false => Credentials::Basic(SecretHash::of(&secret)),
    };
    Ok((id, credentials))
}

/// Both parts are form-encoded before they are joined (RFC 6749 §2.3.1).
fn basic(value: &[u8]) -> Option<(String, String)> {
    let value = std::str::from_utf8(value).ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((form_decoded(id), form_decoded(secret)))
}

fn form_decoded(text: &str) -> String {
    // A lone value with `=` or `&` in it would be split: escape what separates.
    let escaped = text.replace('&', "%26").replace('=', "%3D");
    let decoded = form_urlencoded::parse(escaped.as_bytes()).next();
    decoded.map_or_else(String::new, |(decoded, _)| decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_basic_credentials_as_clients_send_them() {
        let encoded = STANDARD.encode("gateway_1:gw%5Fsecret_a-b");
        assert_eq!(
            basic(format!("bAsIc {encoded}").as_bytes()),
            Some(("gateway_1".into(), "gw_secret_a-b".into()))
        );
        let public = STANDARD.encode("gateway_1:");
        assert_eq!(
            basic(format!("Basic {public}").as_bytes()),
            Some(("gateway_1".into(), String::new()))
        );
        for value in ["Basic", "Basic !!!", "Bearer x", "Basic bm9jb2xvbg=="] {
            assert_eq!(basic(value.as_bytes()), None, "{value}");
        }
    }
}
