//! Dynamic client registration (RFC 7591) and its management (RFC 7592).
//!
//! Secrets are in the answer that issues them and nowhere else. Without a choice of its own a
//! client is confidential (`client_secret_basic`), as RFC 7591 §2 says.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::client::metadata::{ClientMetadata, InvalidMetadata};
use domain::client::{self, Client, Command, Registration};
use domain::entry::Actor;
use domain::grant::RevocationReason;
use domain::id::ClientId;
use domain::secret::SecretHash;
use projections::Of;
use serde_json::{Map, Value};

use super::error::{Code, OAuthError, no_store};
use super::form::Posted;
use super::request::Caller;
use super::{Shared, bearer, strict_json};
use crate::app::{Context, ProxyTerms};
use crate::causes::chain;
use crate::clock;
use crate::secret::Secret;

const ENDPOINT: &str = "registration";

/// `POST {base}/register`
pub async fn register(
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
        shared.rates.registration(context.ip)?;
        let metadata = metadata(&shared, &terms, &document(&headers, &body)?).await?;
        let client_id = ClientId(clock::event_id().0);
        let secret = (!metadata.is_public()).then(Secret::for_client);
        let registration_token = Secret::for_registration();
        let command = Command::Register(Box::new(client::Register {
            client_id,
            proxy_id: terms.id,
            metadata,
            secret: client::KeptSecret {
                hash: secret
                    .as_ref()
                    .map_or_else(|| registration_token.hash(), Secret::hash),
                expires_at: None,
            },
            registration_token: registration_token.hash(),
        }));
        let by = context.by(Actor::Client(client_id));
        let executed = shared
            .app
            .create::<Client>(client_id, command, &by, None)
            .await?;
        let registration = executed.state.registration().ok_or_else(gone)?;
        Ok(answer(
            &shared,
            registration,
            secret.as_ref(),
            &registration_token,
            StatusCode::CREATED,
        ))
    };
    shared.answered(ENDPOINT, &proxy, &context, outcome.await)
}

/// `GET {base}/register/{client_id}`
pub async fn read(
    State(shared): State<Shared>,
    Path((proxy, client)): Path<(String, String)>,
    Caller(context): Caller,
    headers: HeaderMap,
) -> Response {
    let outcome = async {
        let (terms, client_id, token) =
            managed(&shared, &proxy, &client, &headers, &context).await?;
        let state = shared.app.fresh::<Client>(client_id).await?;
        let registration = state
            .registration()
            .filter(|registration| registration.proxy_id == terms.id)
            .filter(|registration| registration.registration_token == SecretHash::of(&token))
            .ok_or_else(wrong_token)?;
        let token = Secret::new(token);
        Ok(answer(&shared, registration, None, &token, StatusCode::OK))
    };
    shared.answered(ENDPOINT, &proxy, &context, outcome.await)
}

/// `PUT {base}/register/{client_id}`: replaces the metadata and the registration token.
pub async fn update(
    State(shared): State<Shared>,
    Path((proxy, client)): Path<(String, String)>,
    Posted {
        context,
        headers,
        body,
    }: Posted,
) -> Response {
    let outcome = async {
        let (terms, client_id, token) =
            managed(&shared, &proxy, &client, &headers, &context).await?;
        let state = shared.app.fresh::<Client>(client_id).await?;
        // Who may ask comes first: a stranger learns nothing of what would be wrong with the rest.
        let before = state.managed_by(&SecretHash::of(&token))?;
        if before.proxy_id != terms.id {
            return Err(wrong_token());
        }
        let document = document(&headers, &body)?;
        let metadata = metadata(&shared, &terms, &document).await?;
        let secret = text(&document, "client_secret")?;
        let named = client::Named {
            client_id: text(&document, "client_id")?.map(str::to_owned),
            secret: secret.map(SecretHash::of),
        };
        let becomes_confidential = before.secret.is_none() && !metadata.is_public();
        let secret = Secret::for_client();
        let next = Secret::for_registration();
        let command = Command::Update(Box::new(client::Update {
            registration_token: SecretHash::of(&token),
            metadata,
            named,
            secret: client::KeptSecret {
                hash: secret.hash(),
                expires_at: None,
            },
            next_registration_token: next.hash(),
        }));
        let by = context.by(Actor::Client(client_id));
        let executed = shared
            .app
            .execute::<Client>(client_id, command, &by)
            .await?;
        let registration = executed.state.registration().ok_or_else(gone)?;
        let secret = becomes_confidential.then_some(&secret);
        Ok(answer(&shared, registration, secret, &next, StatusCode::OK))
    };
    shared.answered(ENDPOINT, &proxy, &context, outcome.await)
}

/// `DELETE {base}/register/{client_id}`: the client and everything it was granted.
pub async fn remove(
    State(shared): State<Shared>,
    Path((proxy, client)): Path<(String, String)>,
    Caller(context): Caller,
    headers: HeaderMap,
) -> Response {
    let outcome = async {
        let (terms, client_id, token) =
            managed(&shared, &proxy, &client, &headers, &context).await?;
        let state = shared.app.fresh::<Client>(client_id).await?;
        if state
            .registration()
            .is_none_or(|registration| registration.proxy_id != terms.id)
        {
            return Err(wrong_token());
        }
        let command = Command::Remove(client::Remover::Client {
            registration_token: SecretHash::of(&token),
        });
        let by = context.by(Actor::Client(client_id));
        let removing = {
            let shared = shared.clone();
            async move {
                let app = &shared.app;
                app.execute::<Client>(client_id, command, &by).await?;
                // No token of a removed client is good, and nobody could ask for this again.
                let (of, reason) = (Of::Client(client_id), RevocationReason::ClientRemoved);
                if let Err(error) = app.revoke_all(&shared.reader, of, &reason, &by).await {
                    tracing::warn!(
                        error = chain(&error),
                        "the grants of a removed client are revoked later"
                    );
                }
                Ok::<_, OAuthError>(())
            }
        };
        shared.to_the_end(removing).await??;
        let mut response = StatusCode::NO_CONTENT.into_response();
        no_store(response.headers_mut());
        Ok(response)
    };
    shared.answered(ENDPOINT, &proxy, &context, outcome.await)
}

/// The JSON document of a request.
fn document(headers: &HeaderMap, body: &[u8]) -> Result<Value, OAuthError> {
    strict_json::parse(body).map_err(|error| {
        let is_json = headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|mime| mime.to_ascii_lowercase().contains("json"));
        let (cause, description) = if is_json {
            ("malformed_json", error.to_string())
        } else {
            ("content_type", "expected application/json".to_owned())
        };
        OAuthError::new(Code::InvalidClientMetadata, cause, description)
    })
}

/// A member that is text, unless absent; null and empty count as that (RFC 7592 §2.2).
fn text<'a>(document: &'a Value, member: &str) -> Result<Option<&'a str>, OAuthError> {
    match document.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(OAuthError::new(
            Code::InvalidClientMetadata,
            "metadata_refused",
            format!("{member}: expected text"),
        )),
    }
}

async fn metadata(
    shared: &Shared,
    terms: &ProxyTerms,
    document: &Value,
) -> Result<ClientMetadata, OAuthError> {
    let parse = |terms: &ProxyTerms| {
        ClientMetadata::parse(document, &terms.proxy.settings.allowed_redirects)
    };
    match parse(terms) {
        Err(InvalidMetadata::RedirectUri(_)) => Ok(parse(&shared.latest(terms).await?)?),
        parsed => Ok(parsed?),
    }
}

/// The proxy, the client and the registration token of a management request (RFC 7592 §3), which counts as a registration: what a
/// client says of itself goes into the log each time.
async fn managed(
    shared: &Shared,
    proxy: &str,
    client: &str,
    headers: &HeaderMap,
    context: &Context,
) -> Result<(ProxyTerms, ClientId, String), OAuthError> {
    let terms = shared.proxy(proxy).await?;
    shared.rates.registration(context.ip)?;
    let token = bearer::presented(headers).ok_or_else(missing_token)?;
    let client_id = client.parse().map_err(|_| wrong_token())?;
    Ok((terms, client_id, token.to_owned()))
}

fn missing_token() -> OAuthError {
    OAuthError {
        // Whoever presented nothing is not told that it was wrong (RFC 6750 §3.1).
        challenge: Some("Bearer"),
        ..OAuthError::new(
            Code::InvalidToken,
            "registration_token_missing",
            "expected the registration access token",
        )
    }
}

fn wrong_token() -> OAuthError {
    client::Rule::RegistrationToken.into()
}

fn gone() -> OAuthError {
    client::Rule::Unknown.into()
}

/// The client information response (RFC 7591 §3.2.1). Members without a value are left out:
/// some clients cannot read `null`.
fn answer(
    shared: &Shared,
    registration: &Registration,
    secret: Option<&Secret>,
    registration_token: &Secret,
    status: StatusCode,
) -> Response {
    let client_id = registration.client_id;
    let issuer = shared.urls.issuer(registration.proxy_id);
    let mut members: Map<String, Value> = registration.metadata.effective();
    members.insert("client_id".into(), client_id.to_string().into());
    members.insert(
        "client_id_issued_at".into(),
        registration.registered_at.timestamp().into(),
    );
    if let Some(secret) = secret {
        members.insert("client_secret".into(), secret.expose().into());
    }
    if let Some(kept) = registration.secret {
        let expires_at = kept.expires_at.map_or(0, |at| at.timestamp());
        members.insert("client_secret_expires_at".into(), expires_at.into());
    }
    members.insert(
        "registration_client_uri".into(),
        format!("{issuer}/register/{client_id}").into(),
    );
    members.insert(
        "registration_access_token".into(),
        registration_token.expose().into(),
    );
    members.insert(
        "authorization_url".into(),
        format!("{issuer}/authorize").into(),
    );
    members.insert("token_url".into(), format!("{issuer}/token").into());
    let mut response = (status, Json(Value::Object(members))).into_response();
    no_store(response.headers_mut());
    response
}
