//! An OpenID provider that approves everybody at once and keeps nothing, so that it costs the
//! load client little: the nonce travels in the code. Never good for anything but measuring.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use axum::extract::{Query, State};
use axum::response::Redirect;
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{Fallible, clock};

pub const CLIENT_ID: &str = "grantlog";
pub const CLIENT_SECRET: &str = "the-secret-of-grantlog-at-figures";

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
pub async fn start() -> Fallible<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let host = listener.local_addr()?.to_string();
    let pkcs8 =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| "no EC key")?;
    let key = EncodingKey::from_ec_der(pkcs8.as_ref());
    let jwk = Jwk::from_encoding_key(&key, Algorithm::ES256)?;
    let provider = Provider {
        issuer: format!("http://{host}"),
        jwks: json!({ "keys": [jwk] }),
        key,
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
    let now = clock::seconds();
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
    let header = Header::new(Algorithm::ES256);
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
