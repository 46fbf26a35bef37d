//! OAuth endpoints on the gateway's own origin, for clients that guess them there instead of
//! reading metadata (MCP revision 2025-03-26 told them to). They are the default proxy's, by the
//! same handlers; a person is sent on to the real authorization endpoint, because the cookies of
//! a login belong to that origin.

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::http::error::OAuthError;
use crate::http::form::Posted;
use crate::http::{Shared, metadata as server_metadata, register as registration, token as tokens};

pub(super) use server_metadata::by_query as metadata;

/// `GET /authorize`
pub(super) async fn authorize(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let Some(proxy) = shared.default_proxy() else {
        return OAuthError::proxy_not_found().into_response();
    };
    let mut location = format!("{}/authorize", shared.urls.issuer(proxy));
    if let Some(query) = query {
        location.push('?');
        location.push_str(&query);
    }
    let Ok(location) = HeaderValue::try_from(location) else {
        return OAuthError::invalid_request("query", "malformed query").into_response();
    };
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::FOUND, headers).into_response()
}

/// `POST /token`
pub(super) async fn token(State(shared): State<Shared>, posted: Posted) -> Response {
    let proxy = default_proxy(&shared);
    tokens::token(State(shared), proxy, posted).await
}

/// `POST /register`
pub(super) async fn register(State(shared): State<Shared>, posted: Posted) -> Response {
    let proxy = default_proxy(&shared);
    registration::register(State(shared), proxy, posted).await
}

/// Empty, and so unknown to every handler, if there is none.
fn default_proxy(shared: &Shared) -> Path<String> {
    let proxy = shared.default_proxy();
    Path(proxy.map(|id| id.to_string()).unwrap_or_default())
}
