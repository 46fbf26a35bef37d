//! The demo's identity provider: a small OpenID provider (OpenID Connect Core 1.0, code flow
//! only; PKCE S256, RFC 7636; `iss` in answers, RFC 9207).
//!
//! Demo only. It listens on loopback, knows one client and three made-up people whose passwords
//! stand on its own login page, and keeps everything in memory. Nothing that `serve` runs refers
//! to this module. Codes and refresh tokens are single use, as in a real provider.

mod authorize;
mod token;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use domain::Timestamp;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

use crate::causes::chain;
use crate::clock;

/// The only client this provider knows.
pub(super) const CLIENT_ID: &str = "grantlog-demo";

/// How long an access or ID token lives.
const TOKEN_S: i64 = 3600;

/// Somebody who can log in.
#[derive(Debug)]
pub(super) struct Person {
    /// The `sub` claim.
    subject: &'static str,
    /// What goes into the login field, and the e-mail address.
    pub login: &'static str,
    /// Shown on the login page: this is a demo.
    pub password: &'static str,
    name: &'static str,
}

/// Everybody who can log in.
pub(super) const PEOPLE: [Person; 3] = [
    Person {
        subject: "1815",
        login: "ada@demo",
        password: "analytical-engine",
        name: "Ada",
    },
    Person {
        subject: "1906",
        login: "grace@demo",
        password: "nanoseconds",
        name: "Grace",
    },
    Person {
        subject: "1969",
        login: "linus@demo",
        password: "just-for-fun",
        name: "Linus",
    },
];

/// The running provider; dropping it stops it.
pub(super) struct IdentityProvider {
    provider: Arc<Provider>,
    _serving: AbortOnDropHandle<()>,
}

impl IdentityProvider {
    /// Starts on a free loopback port, with a fresh signing key and client secret.
    ///
    /// # Errors
    /// If no port is free or no key can be made.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let issuer = format!("http://{}", listener.local_addr()?);
        let provider = Arc::new(Provider::new(issuer).map_err(std::io::Error::other)?);
        let router = router(Arc::clone(&provider));
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(error = chain(&error), "the demo identity provider stopped");
            }
        });
        Ok(Self {
            provider,
            _serving: AbortOnDropHandle::new(serving),
        })
    }

    /// Its issuer identifier, from which everything else is discovered.
    pub fn issuer(&self) -> &str {
        &self.provider.issuer
    }

    /// The secret of [`CLIENT_ID`].
    pub fn client_secret(&self) -> &str {
        &self.provider.client_secret
    }

    /// Says where answers may go. Until then every authorization request is refused; a second
    /// call changes nothing.
    pub fn register_redirect_uri(&self, uri: &str) {
        self.provider.redirect_uri.get_or_init(|| uri.to_owned());
    }
}

struct Provider {
    issuer: String,
    client_secret: Zeroizing<String>,
    redirect_uri: OnceLock<String>,
    key: EncodingKey,
    key_id: String,
    keys: JwkSet,
    issued: Mutex<Issued>,
}

/// What is out and not yet used up.
#[derive(Default)]
struct Issued {
    codes: HashMap<String, Code>,
    access_tokens: HashMap<String, Session>,
    refresh_tokens: HashMap<String, Session>,
}

/// Somebody's login, as its tokens remember it.
#[derive(Clone)]
struct Session {
    person: &'static Person,
    scope: String,
    logged_in_at: Timestamp,
    expires_at: Timestamp,
}

struct Code {
    session: Session,
    redirect_uri: String,
    code_challenge: String,
    nonce: Option<String>,
}

impl Provider {
    fn new(issuer: String) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())?;
        let key = EncodingKey::from_ec_der(pkcs8.as_ref());
        let mut public = Jwk::from_encoding_key(&key, Algorithm::ES256)?;
        let key_id = public.thumbprint(ThumbprintHash::SHA256)?;
        public.common.key_id = Some(key_id.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok(Self {
            issuer,
            client_secret: Zeroizing::new(random_secret()),
            redirect_uri: OnceLock::new(),
            key,
            key_id,
            keys: JwkSet { keys: vec![public] },
            issued: Mutex::default(),
        })
    }

    /// What is out, without what has expired.
    fn issued(&self, now: Timestamp) -> MutexGuard<'_, Issued> {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        issued.codes.retain(|_, code| code.session.expires_at > now);
        issued
            .access_tokens
            .retain(|_, session| session.expires_at > now);
        issued
            .refresh_tokens
            .retain(|_, session| session.expires_at > now);
        issued
    }
}

impl Session {
    fn lasting(&self, span: TimeDelta, now: Timestamp) -> Self {
        Self {
            expires_at: now + span,
            ..self.clone()
        }
    }
}

fn router(provider: Arc<Provider>) -> axum::Router {
    axum::Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/jwks", get(jwks))
        .route("/authorize", get(authorize::page).post(authorize::log_in))
        .route("/token", post(token::exchange))
        .route("/userinfo", get(userinfo).post(userinfo))
        .with_state(provider)
}

/// OpenID Connect Discovery 1.0 §3.
async fn discovery(State(provider): State<Arc<Provider>>) -> Json<serde_json::Value> {
    let issuer = &provider.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "jwks_uri": format!("{issuer}/jwks"),
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "claims_supported": [
            "iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "name", "email",
            "email_verified"
        ],
        "authorization_response_iss_parameter_supported": true,
    }))
}

async fn jwks(State(provider): State<Arc<Provider>>) -> Json<JwkSet> {
    Json(provider.keys.clone())
}

/// OpenID Connect Core 1.0 §5.3.
async fn userinfo(State(provider): State<Arc<Provider>>, headers: HeaderMap) -> Response {
    let session = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .and_then(|token| {
            provider
                .issued(clock::now())
                .access_tokens
                .get(token)
                .cloned()
        });
    match session {
        Some(session) => Json(claims_of(session.person)).into_response(),
        None => (
            StatusCode::UNAUTHORIZED,
            [(header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")],
        )
            .into_response(),
    }
}

fn claims_of(person: &Person) -> serde_json::Value {
    json!({
        "sub": person.subject,
        "name": person.name,
        "email": person.login,
        "email_verified": true,
    })
}

fn random_secret() -> String {
    URL_SAFE_NO_PAD.encode(clock::random::<32>())
}

#[cfg(test)]
mod tests;
