//! What clients discover: authorization server metadata (RFC 8414, and the same document where
//! OpenID Connect Discovery looks for it) and the public keys.
//!
//! The document is a function of configuration alone, never of a request header, and has the same
//! bytes at every address it is served from.

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Shared;
use super::error::OAuthError;
use super::request::Caller;
use crate::app::ProxyTerms;

const ENDPOINT: &str = "metadata";

#[derive(Serialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    registration_endpoint: String,
    revocation_endpoint: String,
    introspection_endpoint: String,
    jwks_uri: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes_supported: Vec<String>,
    response_types_supported: [&'static str; 1],
    response_modes_supported: [&'static str; 1],
    grant_types_supported: [&'static str; 2],
    token_endpoint_auth_methods_supported: [&'static str; 3],
    revocation_endpoint_auth_methods_supported: [&'static str; 3],
    introspection_endpoint_auth_methods_supported: [&'static str; 2],
    code_challenge_methods_supported: [&'static str; 1],
    authorization_response_iss_parameter_supported: bool,
    client_id_metadata_document_supported: bool,
    subject_types_supported: [&'static str; 1],
    protected_resources: Vec<String>,
}

/// `GET /.well-known/oauth-authorization-server?proxy_id={id}`; without the parameter, the
/// default proxy's.
pub async fn by_query(
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
    Caller(context): Caller,
    headers: HeaderMap,
) -> Response {
    let query = query.unwrap_or_default();
    let named = form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "proxy_id")
        .map(|(_, value)| value.into_owned());
    let proxy = named.or_else(|| shared.default_proxy().map(|id| id.to_string()));
    let proxy = proxy.unwrap_or_default();
    let outcome = shared.proxy(&proxy).await;
    let outcome = outcome.and_then(|terms| document(&shared, &terms, &headers));
    shared.answered(ENDPOINT, &proxy, &context, outcome)
}

/// The same document at its other addresses.
pub async fn by_path(
    State(shared): State<Shared>,
    Path(proxy): Path<String>,
    Caller(context): Caller,
    headers: HeaderMap,
) -> Response {
    let outcome = shared.proxy(&proxy).await;
    let outcome = outcome.and_then(|terms| document(&shared, &terms, &headers));
    shared.answered(ENDPOINT, &proxy, &context, outcome)
}

/// `GET {base}/jwks`
pub async fn jwks(
    State(shared): State<Shared>,
    Path(proxy): Path<String>,
    Caller(context): Caller,
    headers: HeaderMap,
) -> Response {
    let outcome = shared.proxy(&proxy).await.map(|terms| {
        let keys = shared.app.vault.signing_keys();
        let keys = keys.jwks(terms.proxy.settings.token_alg, context.now);
        cacheable(&keys, &headers)
    });
    shared.answered(ENDPOINT, &proxy, &context, outcome)
}

fn document(
    shared: &Shared,
    terms: &ProxyTerms,
    headers: &HeaderMap,
) -> Result<Response, OAuthError> {
    Ok(cacheable(&of(shared, terms), headers))
}

fn of(shared: &Shared, terms: &ProxyTerms) -> Metadata {
    let issuer = shared.urls.issuer(terms.id);
    Metadata {
        authorization_endpoint: format!("{issuer}/authorize"),
        token_endpoint: format!("{issuer}/token"),
        registration_endpoint: format!("{issuer}/register"),
        revocation_endpoint: format!("{issuer}/revoke"),
        introspection_endpoint: format!("{issuer}/introspect"),
        jwks_uri: format!("{issuer}/jwks"),
        scopes_supported: terms.scopes().tokens().map(str::to_owned).collect(),
        response_types_supported: ["code"],
        response_modes_supported: ["query"],
        grant_types_supported: ["authorization_code", "refresh_token"],
        token_endpoint_auth_methods_supported: [
            "client_secret_basic",
            "client_secret_post",
            "none",
        ],
        revocation_endpoint_auth_methods_supported: [
            "client_secret_basic",
            "client_secret_post",
            "none",
        ],
        introspection_endpoint_auth_methods_supported: [
            "client_secret_basic",
            "client_secret_post",
        ],
        code_challenge_methods_supported: ["S256"],
        authorization_response_iss_parameter_supported: true,
        client_id_metadata_document_supported: false,
        subject_types_supported: ["public"],
        protected_resources: shared.audiences(terms.id),
        issuer,
    }
}

/// Whether an `If-None-Match` names this one, by weak comparison (RFC 9110 §13.1.2): caches on the
/// way weaken tags, for a compressed body for one. Our tags have no comma in them.
fn names(known: &HeaderValue, etag: &str) -> bool {
    let tags = known.to_str().unwrap_or_default().split(',').map(str::trim);
    tags.map(|tag| tag.strip_prefix("W/").unwrap_or(tag))
        .any(|tag| tag == "*" || tag == etag)
}

/// JSON that caches may keep for a short while, and need not fetch again unchanged.
pub(crate) fn cacheable<T: Serialize>(value: &T, request: &HeaderMap) -> Response {
    let Ok(body) = serde_json::to_vec(value) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
    let mut etag = String::with_capacity(34);
    etag.push('"');
    for byte in &digest.as_ref()[..16] {
        etag.push_str(&format!("{byte:02x}"));
    }
    etag.push('"');
    let is_known = request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .any(|known| names(known, &etag));
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=60"),
    );
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}
