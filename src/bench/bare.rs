//! What the machine allows, in a process of its own: a token endpoint that parses the form, hashes
//! once, signs once and keeps nothing, and a reverse proxy with the gateway's client library that
//! passes everything on. Both accept every request. Never good for anything but measuring.

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::ListenerExt;
use axum::{Form, Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use super::machine::Placement;
use super::{BenchError, Fallible};
use crate::clock;

/// The process; killed when dropped.
pub(super) struct Bare {
    child: Child,
    /// Its `host:port`.
    pub host: String,
}

impl Bare {
    /// Starts it on the server's CPU; its proxy passes on to `upstream`, a `host:port`.
    pub fn start(placement: Placement, upstream: &str) -> Fallible<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["bench", "--bare", upstream])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let child = placement.spawn(command)?;
        let mut bare = Self {
            child,
            host: String::new(),
        };
        // It says where it listens before it does anything else.
        if let Some(stdout) = bare.child.stdout.take() {
            BufReader::new(stdout).read_line(&mut bare.host)?;
        }
        bare.host.truncate(bare.host.trim_end().len());
        if bare.host.is_empty() {
            let reason = "the bare endpoint does not start".to_owned();
            return Err(BenchError::Server(reason));
        }
        Ok(bare)
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Clone)]
struct Parts {
    key: Arc<EncodingKey>,
    client: Client<HttpConnector, Body>,
    upstream: Arc<str>,
}

/// Serves until the process is killed, after it has told its `host:port`.
///
/// # Errors
/// No port is free.
pub async fn serve_bare(upstream: &str, tell: impl FnOnce(&str)) -> Fallible<()> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let parts = Parts {
        key: Arc::new(EncodingKey::from_secret(&[7; 32])),
        client: Client::builder(TokioExecutor::new()).build(connector),
        upstream: upstream.into(),
    };
    let routes = Router::new()
        .route("/api/v1/oauth-proxy/{proxy}/token", post(token))
        .fallback(pass_on)
        .with_state(parts);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    tell(&listener.local_addr()?.to_string());
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, routes).await?)
}

#[derive(Deserialize)]
struct TokenRequest {
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
    iat: i64,
    exp: i64,
    jti: &'a str,
    grant: &'a str,
}

#[derive(Serialize)]
struct TokenResponse {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    refresh_token: String,
    scope: &'static str,
}

async fn token(State(parts): State<Parts>, Form(request): Form<TokenRequest>) -> Response {
    let hash = Sha256::digest(&request.client_secret);
    let now = clock::now().timestamp();
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
    let Ok(access_token) = jsonwebtoken::encode(&header, &claims, &parts.key) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let response = TokenResponse {
        access_token,
        token_type: "Bearer",
        expires_in: 3600,
        refresh_token: format!("{}{}", request.refresh_token, URL_SAFE_NO_PAD.encode(hash)),
        scope: "read write",
    };
    Json(response).into_response()
}

async fn pass_on(State(parts): State<Parts>, mut request: Request) -> Response {
    let uri = Uri::builder()
        .scheme("http")
        .authority(&*parts.upstream)
        .path_and_query(request.uri().path())
        .build();
    let Ok(uri) = uri else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    *request.uri_mut() = uri;
    match parts.client.request(request).await {
        Ok(response) => response.into_response(),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}
