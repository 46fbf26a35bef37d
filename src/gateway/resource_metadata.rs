//! Protected resource metadata (RFC 9728): which authorization server issues tokens for an MCP
//! endpoint, and which scopes mean something there.
//!
//! `resource` is spelled as in the URL the document was asked for, because clients compare it
//! with the URL they were given, byte for byte.

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use domain::event::Correlation;
use domain::scope::Scope;
use serde::Serialize;

use super::challenge;
use super::target::{NoSuchProxy, Target};
use crate::http::Shared;
use crate::http::error::OAuthError;
use crate::http::metadata::cacheable;
use crate::http::request::Caller;

/// Where the document of the default proxy is; of others, with their path behind it.
pub(super) const PATH: &str = "/.well-known/oauth-protected-resource";

#[derive(Serialize)]
struct Metadata<'a> {
    resource: String,
    authorization_servers: [String; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes_supported: Vec<&'a str>,
    bearer_methods_supported: [&'static str; 1],
    resource_name: &'a str,
}

/// `GET /.well-known/oauth-protected-resource[/path]`
pub(super) async fn document(
    State(shared): State<Shared>,
    uri: Uri,
    Caller(context): Caller,
    headers: HeaderMap,
) -> Response {
    let path = uri.path().strip_prefix(PATH).unwrap_or_default();
    let path = if path.is_empty() { "/mcp" } else { path };
    match Target::find(&shared, path).await {
        Ok(Some((target, "" | "/"))) => {
            cacheable(&of(&shared, &target, &target.scopes_supported()), &headers)
        }
        Err(error) => OAuthError::from(error).into_response(),
        Ok(_) => {
            challenge::note(&shared, "unknown_proxy", Correlation::default(), &context);
            NoSuchProxy.into_response()
        }
    }
}

fn of<'a>(shared: &Shared, target: &'a Target, scopes: &'a Scope) -> Metadata<'a> {
    Metadata {
        resource: target.resource(&shared.urls),
        authorization_servers: [shared.urls.issuer(target.terms.id)],
        scopes_supported: scopes.tokens().collect(),
        bearer_methods_supported: ["header"],
        resource_name: &target.terms.proxy.settings.name,
    }
}
