//! An OpenID provider that approves everybody at once and keeps nothing, so that it costs the
//! load client little: the nonce travels in the code. Never good for anything but measuring.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Query, State};
use axum::response::Redirect;
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use jsonwebtoken::{EncodingKey, Header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{BenchError, Fallible};
use crate::clock;
use crate::keys::{self, Algorithm, KeyInfo};

pub(super) const CLIENT_ID: &str = "grantlog";
pub(super) const CLIENT_SECRET: &str = "the-secret-of-grantlog-at-its-bench";

/// How many people there are; they log in in turn.
const PEOPLE: u64 = 1000;

struct Provider {
    issuer: String,
    key: EncodingKey,
    jwks: Value,
    logins: AtomicU64,
}

#[derive(Deserialize)]
struct Authorization {
    redirect_uri: String,
    state: String,
    nonce: String,
}

#[derive(Deserialize)]
struct TokenRequest {
    code: String,
}

/// Starts it on a free port; returns its `host:port`.
pub(super) async fn start() -> Fallible<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let host = listener.local_addr()?.to_string();
    let now = clock::now();
    let key = keys::generate(KeyInfo {
        kid: "bench".to_owned(),
        alg: Algorithm::ES256,
        created_at: now,
        not_before: now,
        retires_at: None,
    });
    let no_key = || BenchError::Unexpected("no signing key".to_owned());
    let key = key.map_err(|_| no_key())?;
    let public = key
        .public_jwk
        .and_then(|jwk| serde_json::from_str(&jwk).ok());
    let public: Value = public.ok_or_else(no_key)?;
    let provider = Provider {
        issuer: format!("http://{host}"),
        jwks: json!({ "keys": [public] }),
        key: EncodingKey::from_ec_der(&key.private),
        logins: AtomicU64::new(0),
    };
    let routes = Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/authorize", get(authorize))
        .route("/token", post(token))
        .route("/jwks", get(jwks))
        .with_state(Arc::new(provider));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(host)
}

async fn discovery(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let issuer = &provider.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": ["client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
    }))
}

async fn authorize(Query(asked): Query<Authorization>) -> Redirect {
    let Authorization {
        redirect_uri,
        state,
        nonce,
    } = asked;
    Redirect::to(&format!("{redirect_uri}?code={nonce}&state={state}"))
}

async fn token(
    State(provider): State<Arc<Provider>>,
    Form(request): Form<TokenRequest>,
) -> Json<Value> {
    let person = provider.logins.fetch_add(1, Ordering::Relaxed) % PEOPLE;
    let now = clock::now().timestamp();
    let claims = json!({
        "iss": provider.issuer,
        "aud": CLIENT_ID,
        "sub": format!("person-{person}"),
        "email": format!("person-{person}@example.com"),
        "email_verified": true,
        "name": format!("Person {person}"),
        "nonce": request.code,
        "iat": now,
        "exp": now + 300,
    });
    let mut header = Header::new(jsonwebtoken::Algorithm::ES256);
    header.kid = Some("bench".to_owned());
    let id_token = jsonwebtoken::encode(&header, &claims, &provider.key);
    Json(json!({
        "access_token": "an-access-token-of-the-provider-with-some-length-to-it",
        "refresh_token": "a-refresh-token-of-the-provider-with-some-length-to-it",
        "token_type": "Bearer",
        "expires_in": 3600,
        "id_token": id_token.unwrap_or_default(),
    }))
}

async fn jwks(State(provider): State<Arc<Provider>>) -> Json<Value> {
    Json(provider.jwks.clone())
}
