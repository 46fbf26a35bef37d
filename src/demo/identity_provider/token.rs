//! The token endpoint (RFC 6749 §4.1.3 and §6, OpenID Connect Core 1.0 §3.1.3).

use std::sync::Arc;

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use domain::Timestamp;
use jsonwebtoken::{Algorithm, Header};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{CLIENT_ID, Provider, Session, TOKEN_S, claims_of, random_secret};
use crate::causes::chain;
use crate::clock;

/// How long a refresh token waits for its use, in days.
const REFRESH_TOKEN_DAYS: i64 = 30;

#[derive(Deserialize)]
pub(super) struct TokenRequest {
    grant_type: String,
    client_id: Option<String>,
    client_secret: Option<String>,
    code: Option<String>,
    redirect_uri: Option<String>,
    code_verifier: Option<String>,
    refresh_token: Option<String>,
}

/// An error code of RFC 6749 §5.2.
struct Refusal(&'static str);

/// `POST /token`.
pub(super) async fn exchange(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    request: Result<Form<TokenRequest>, FormRejection>,
) -> Response {
    let answer = match request {
        Ok(Form(request)) => provider.tokens(&headers, request),
        Err(_) => Err(Refusal("invalid_request")),
    };
    match answer {
        Ok(tokens) => ([(header::CACHE_CONTROL, "no-store")], Json(tokens)).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

impl Provider {
    fn tokens(&self, headers: &HeaderMap, request: TokenRequest) -> Result<Value, Refusal> {
        if !self.authenticates(headers, &request) {
            return Err(Refusal("invalid_client"));
        }
        let now = clock::now();
        let (session, nonce) = match request.grant_type.as_str() {
            "authorization_code" => self.redeem(request, now)?,
            "refresh_token" => {
                let token = request.refresh_token.ok_or(Refusal("invalid_request"))?;
                let session = self.issued(now).refresh_tokens.remove(&token);
                (session.ok_or(Refusal("invalid_grant"))?, None)
            }
            _ => return Err(Refusal("unsupported_grant_type")),
        };
        self.issue(&session, nonce.as_deref(), now)
    }

    /// `client_secret_basic` or `client_secret_post` (RFC 6749 §2.3.1).
    fn authenticates(&self, headers: &HeaderMap, request: &TokenRequest) -> bool {
        let presented = match headers.get(header::AUTHORIZATION) {
            Some(value) => value.to_str().ok().and_then(basic_credentials),
            None => request.client_id.clone().zip(request.client_secret.clone()),
        };
        presented.is_some_and(|(id, secret)| {
            id == CLIENT_ID && bool::from(secret.as_bytes().ct_eq(self.client_secret.as_bytes()))
        })
    }

    fn redeem(
        &self,
        request: TokenRequest,
        now: Timestamp,
    ) -> Result<(Session, Option<String>), Refusal> {
        let (Some(code), Some(verifier)) = (request.code, request.code_verifier) else {
            return Err(Refusal("invalid_request"));
        };
        let code = self
            .issued(now)
            .codes
            .remove(&code)
            .ok_or(Refusal("invalid_grant"))?;
        let answers = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) == code.code_challenge;
        if !answers || request.redirect_uri.as_deref() != Some(&code.redirect_uri) {
            return Err(Refusal("invalid_grant"));
        }
        Ok((code.session, code.nonce))
    }

    fn issue(
        &self,
        session: &Session,
        nonce: Option<&str>,
        now: Timestamp,
    ) -> Result<Value, Refusal> {
        let id_token = self.id_token(session, nonce, now)?;
        let (access_token, refresh_token) = (random_secret(), random_secret());
        let mut issued = self.issued(now);
        issued.access_tokens.insert(
            access_token.clone(),
            session.lasting(TimeDelta::seconds(TOKEN_S), now),
        );
        issued.refresh_tokens.insert(
            refresh_token.clone(),
            session.lasting(TimeDelta::days(REFRESH_TOKEN_DAYS), now),
        );
        Ok(json!({
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": TOKEN_S,
            "refresh_token": refresh_token,
            "id_token": id_token,
            "scope": session.scope,
        }))
    }

    /// OpenID Connect Core 1.0 §2.
    fn id_token(
        &self,
        session: &Session,
        nonce: Option<&str>,
        now: Timestamp,
    ) -> Result<String, Refusal> {
        let mut claims = claims_of(session.person);
        claims["iss"] = json!(self.issuer);
        claims["aud"] = json!(CLIENT_ID);
        claims["iat"] = json!(now.timestamp());
        claims["exp"] = json!(now.timestamp() + TOKEN_S);
        claims["auth_time"] = json!(session.logged_in_at.timestamp());
        if let Some(nonce) = nonce {
            claims["nonce"] = json!(nonce);
        }
        let header = Header {
            kid: Some(self.key_id.clone()),
            ..Header::new(Algorithm::ES256)
        };
        jsonwebtoken::encode(&header, &claims, &self.key).map_err(|error| {
            tracing::error!(
                error = chain(&error),
                "the demo identity provider cannot sign"
            );
            Refusal("server_error")
        })
    }
}

fn basic_credentials(header: &str) -> Option<(String, String)> {
    let decoded = STANDARD.decode(header.strip_prefix("Basic ")?).ok()?;
    let (id, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((form_decoded(id), form_decoded(secret)))
}

/// RFC 6749 §2.3.1 has both halves form-encoded before they are joined.
fn form_decoded(text: &str) -> String {
    form_urlencoded::parse(text.as_bytes())
        .next()
        .map_or_else(String::new, |(decoded, _)| decoded.into_owned())
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.0 {
            "invalid_client" => StatusCode::UNAUTHORIZED,
            "server_error" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        let body = Json(json!({ "error": self.0 }));
        let no_store = [(header::CACHE_CONTROL, "no-store")];
        if status == StatusCode::UNAUTHORIZED {
            let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"demo\"")];
            (status, no_store, challenge, body).into_response()
        } else {
            (status, no_store, body).into_response()
        }
    }
}
