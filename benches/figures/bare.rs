//! What the machine allows: a token endpoint that parses the form, hashes once, signs once and
//! keeps nothing. It accepts every request.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::post;
use axum::{Form, Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use crate::{Fallible, clock};

/// The word that makes this program the bare server.
pub const ARGUMENT: &str = "bare";

#[derive(Deserialize)]
struct Request {
    grant_type: String,
    refresh_token: String,
    client_id: String,
    client_secret: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    client_id: &'a str,
    scope: &'a str,
    iat: u64,
    exp: u64,
    jti: &'a str,
    grant: &'a str,
}

#[derive(Serialize)]
struct Response {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    refresh_token: String,
    scope: &'static str,
}

/// Serves at `host:port` until it is killed; the path is that of a real proxy.
pub async fn serve(host: &str) -> Fallible<()> {
    let key = Arc::new(EncodingKey::from_secret(&[7; 32]));
    let routes = Router::new()
        .route("/api/v1/oauth-proxy/{proxy}/token", post(token))
        .with_state(key);
    let listener = TcpListener::bind(host).await?;
    Ok(axum::serve(listener, routes).await?)
}

async fn token(
    State(key): State<Arc<EncodingKey>>,
    Form(request): Form<Request>,
) -> Json<Response> {
    let hash = Sha256::digest(&request.client_secret);
    let now = clock::seconds();
    let claims = Claims {
        iss: "http://127.0.0.1:8080/api/v1/oauth-proxy/1",
        sub: "00112233445566778899aabbccddeeff",
        aud: "http://127.0.0.1:9001/proxy/1/mcp",
        client_id: &request.client_id,
        scope: "read write",
        iat: now,
        exp: now + 3600,
        jti: "019abcde-0000-7000-8000-000000000000",
        grant: &request.grant_type,
    };
    let header = Header::new(Algorithm::HS256);
    Json(Response {
        access_token: jsonwebtoken::encode(&header, &claims, &key).unwrap_or_default(),
        token_type: "Bearer",
        expires_in: 3600,
        refresh_token: format!("{}{}", request.refresh_token, URL_SAFE_NO_PAD.encode(hash)),
        scope: "read write",
    })
}
