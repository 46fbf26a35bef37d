//! The MCP gateway: protected MCP endpoints in front of the real MCP servers.
//!
//! MCP authorization (revisions 2025-03-26 to 2026-07-28), RFC 6750, RFC 9728, RFC 9110 §7.6.
//!
//! Every request is judged before a byte of it goes on: browser origin, proxy, credentials,
//! revocation, scope, and the first use of a token is durable before it is of use. Invariants:
//! nothing is forwarded without authentication; the client's credentials never reach the upstream;
//! admitting a token that was seen before touches no store; bodies are passed on as they come,
//! never collected; every refusal is noted once, without token material.
//!
//! Absent: knowledge of MCP messages. Whatever travels below an endpoint is forwarded, so every
//! revision of the transport works.

mod admit;
mod answer;
mod challenge;
mod client;
mod credentials;
mod endpoint;
mod first_use;
mod forward;
mod guessed;
mod headers;
mod known_tokens;
mod origin;
mod resource_metadata;
mod target;
mod upstream_auth;
mod upstream_uri;

use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{any, get, post};
use tower_http::cors::AllowHeaders;

use crate::http::{Failures, Shared, cors, request};
use first_use::FirstUses;
use forward::Forwarder;
use known_tokens::KnownTokens;
use upstream_auth::StaticHeaders;

/// OAuth requests that a client sends here by guess are no larger than where they belong.
const OAUTH_BODY_BYTES_MAX: usize = 64 * 1024;

/// Everything the gateway's origin answers.
///
/// What clients listen to ends when the service stops, so that a graceful shutdown need not wait for it.
pub fn routes(shared: Shared) -> Router {
    let gateway = Gateway::new(shared.clone());
    let protected = Router::new()
        .route("/mcp", any(endpoint::serve))
        .route("/mcp/", any(endpoint::serve))
        .route("/mcp/{*below}", any(endpoint::serve))
        .route("/proxy/{proxy}/mcp", any(endpoint::serve))
        .route("/proxy/{proxy}/mcp/", any(endpoint::serve))
        .route("/proxy/{proxy}/mcp/{*below}", any(endpoint::serve))
        .with_state(gateway)
        // Whatever a page that is admitted wants to send, such as `Mcp-Param-*`.
        .layer(cors().allow_headers(AllowHeaders::mirror_request()))
        .layer(middleware::from_fn_with_state(
            origin::AdmittedOrigins::new(shared.clone()),
            origin::guard,
        ));
    // Public, or protected by what is in the request: any origin may, as at the issuer itself.
    let documents = Router::new()
        .route(resource_metadata::PATH, get(resource_metadata::document))
        .route(
            "/.well-known/oauth-protected-resource/{*path}",
            get(resource_metadata::document),
        )
        .route(
            "/.well-known/oauth-authorization-server",
            get(guessed::metadata),
        )
        .route("/.well-known/openid-configuration", get(guessed::metadata))
        .route("/register", post(guessed::register))
        .route("/token", post(guessed::token))
        .layer(cors());
    documents
        .route("/authorize", get(guessed::authorize))
        .layer(DefaultBodyLimit::max(OAUTH_BODY_BYTES_MAX))
        .with_state(shared.clone())
        .merge(protected)
        .fallback(endpoint::not_found)
        .layer(middleware::from_fn_with_state(shared, request::identify))
}

/// What the gateway keeps in memory; cheap to clone.
#[derive(Clone)]
struct Gateway(Arc<Parts>);

struct Parts {
    shared: Shared,
    forwarder: Forwarder,
    known_tokens: KnownTokens,
    first_uses: FirstUses,
    static_headers: StaticHeaders,
    /// API keys that never were.
    failures: Failures,
}

impl Gateway {
    fn new(shared: Shared) -> Self {
        Self(Arc::new(Parts {
            forwarder: Forwarder::new(&shared),
            known_tokens: KnownTokens::default(),
            first_uses: FirstUses::default(),
            static_headers: StaticHeaders::default(),
            failures: Failures::default(),
            shared,
        }))
    }
}

impl Deref for Gateway {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}
