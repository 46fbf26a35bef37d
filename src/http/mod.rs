//! The authorization server's edge: the route table, and what all handlers share.
//!
//! A handler parses, builds a command, executes it and renders what was decided; it holds no
//! rule. Who adds an endpoint adds a file here, and a line to [`routes`].

pub mod admin;
mod authorize;
pub(crate) mod bearer;
mod callback;
mod client_authentication;
mod consent;
mod cookies;
pub mod error;
mod failures;
pub(crate) mod form;
mod introspect;
pub(crate) mod metadata;
mod pages;
pub(crate) mod provider_tokens;
mod rates;
pub(crate) mod register;
pub mod request;
mod restart;
mod revoke;
mod shared;
mod strict_json;
pub(crate) mod token;
mod urls;

use axum::Router;
use axum::http::{HeaderName, Method, header};
use axum::middleware;
use axum::routing::{get, post};
use tower_http::cors::{Any, CorsLayer};

pub use callback::Callbacks;
pub use cookies::AUTHORIZATION_MAX;
pub(crate) use failures::Failures;
pub use provider_tokens::ProviderTokens;
pub use rates::{Limits, Rates};
pub use shared::{Parts, Shared};
pub use urls::Urls;

/// Everything the authorization server's origin answers.
pub fn routes(shared: Shared) -> Router {
    // Clients in browsers: any origin may, without cookies.
    let for_scripts = Router::new()
        .route(
            "/api/v1/oauth-proxy/{proxy}/register",
            post(register::register),
        )
        .route(
            "/api/v1/oauth-proxy/{proxy}/register/{client}",
            get(register::read)
                .put(register::update)
                .delete(register::remove),
        )
        .route("/api/v1/oauth-proxy/{proxy}/token", post(token::token))
        .route("/api/v1/oauth-proxy/{proxy}/revoke", post(revoke::revoke))
        .route(
            "/api/v1/oauth-proxy/{proxy}/introspect",
            post(introspect::introspect),
        )
        .route("/api/v1/oauth-proxy/{proxy}/jwks", get(metadata::jwks))
        .route(
            "/api/v1/oauth-proxy/{proxy}/.well-known/openid-configuration",
            get(metadata::by_path),
        )
        .route(
            "/.well-known/oauth-authorization-server",
            get(metadata::by_query),
        )
        .route(
            "/.well-known/oauth-authorization-server/api/v1/oauth-proxy/{proxy}",
            get(metadata::by_path),
        )
        .route(
            "/.well-known/openid-configuration/api/v1/oauth-proxy/{proxy}",
            get(metadata::by_path),
        )
        .layer(cors());
    // A person's browser: no cross-origin access at all (RFC 9700 §2.6).
    let for_people = Router::new()
        .route(
            "/api/v1/oauth-proxy/{proxy}/authorize",
            get(authorize::authorize),
        )
        .route("/api/v1/oauth-proxy/{proxy}/consent", post(consent::decide))
        .route("/api/v1/oauth/callback/{provider}", get(callback::callback))
        .route("/assets/page.css", get(pages::style));
    for_scripts
        .merge(for_people)
        .merge(admin::routes(shared.clone()))
        .layer(middleware::from_fn_with_state(
            shared.clone(),
            request::identify,
        ))
        .with_state(shared)
}

/// What MCP clients in browsers need (no credentials: nothing here is kept in cookies).
pub(crate) fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::ACCEPT,
            HeaderName::from_static("mcp-protocol-version"),
            HeaderName::from_static("mcp-session-id"),
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("mcp-method"),
            HeaderName::from_static("mcp-name"),
            HeaderName::from_static("dpop"),
            HeaderName::from_static("x-api-key"),
        ])
        .expose_headers([
            header::WWW_AUTHENTICATE,
            header::RETRY_AFTER,
            HeaderName::from_static("mcp-session-id"),
            HeaderName::from_static("mcp-protocol-version"),
            request::X_REQUEST_ID,
        ])
        .max_age(std::time::Duration::from_secs(600))
}
