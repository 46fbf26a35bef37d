//! The OAuth endpoints in the OpenAPI document. Their shapes are the RFCs', so that naming these
//! says more than repeating them.

use serde_json::{Map, Value, json};

/// Method, path, request media type if there is one, summary.
type Endpoint = (
    &'static str,
    &'static str,
    Option<&'static str>,
    &'static str,
);

const FORM: Option<&str> = Some("application/x-www-form-urlencoded");
const JSON: Option<&str> = Some("application/json");

const ENDPOINTS: [Endpoint; 17] = [
    (
        "post",
        "/api/v1/oauth-proxy/{proxy}/register",
        JSON,
        "Registers a client (RFC 7591 §3).",
    ),
    (
        "get",
        "/api/v1/oauth-proxy/{proxy}/register/{client}",
        None,
        "Shows a registration to its client (RFC 7592 §2.1).",
    ),
    (
        "put",
        "/api/v1/oauth-proxy/{proxy}/register/{client}",
        JSON,
        "Replaces a registration (RFC 7592 §2.2).",
    ),
    (
        "delete",
        "/api/v1/oauth-proxy/{proxy}/register/{client}",
        None,
        "Takes a registration back (RFC 7592 §2.3).",
    ),
    (
        "get",
        "/api/v1/oauth-proxy/{proxy}/authorize",
        None,
        "Begins an authorization (RFC 6749 §4.1.1, RFC 7636, RFC 8707).",
    ),
    (
        "post",
        "/api/v1/oauth-proxy/{proxy}/consent",
        FORM,
        "Takes a person's decision on the consent page.",
    ),
    (
        "get",
        "/api/v1/oauth/callback/{provider}",
        None,
        "Takes the browser back from a provider (RFC 6749 §4.1.2).",
    ),
    (
        "post",
        "/api/v1/oauth-proxy/{proxy}/token",
        FORM,
        "Exchanges a code or a refresh token (RFC 6749 §4.1.3, §6).",
    ),
    (
        "post",
        "/api/v1/oauth-proxy/{proxy}/revoke",
        FORM,
        "Gives a token up (RFC 7009).",
    ),
    (
        "post",
        "/api/v1/oauth-proxy/{proxy}/introspect",
        FORM,
        "Tells what a token is worth (RFC 7662).",
    ),
    (
        "get",
        "/api/v1/oauth-proxy/{proxy}/jwks",
        None,
        "Publishes public keys (RFC 7517).",
    ),
    (
        "get",
        "/.well-known/oauth-authorization-server",
        None,
        "Publishes a proxy's metadata, by ?proxy_id= (RFC 8414).",
    ),
    (
        "get",
        "/.well-known/oauth-authorization-server/api/v1/oauth-proxy/{proxy}",
        None,
        "Publishes a proxy's metadata (RFC 8414 §3).",
    ),
    (
        "get",
        "/.well-known/openid-configuration/api/v1/oauth-proxy/{proxy}",
        None,
        "The same, where RFC 8414 §5 looks for it.",
    ),
    (
        "get",
        "/api/v1/oauth-proxy/{proxy}/.well-known/openid-configuration",
        None,
        "The same, where OpenID Connect Discovery looks for it.",
    ),
    (
        "get",
        "/.well-known/oauth-protected-resource",
        None,
        "Describes the default proxy's resource, at the gateway's origin (RFC 9728).",
    ),
    (
        "get",
        "/.well-known/oauth-protected-resource/proxy/{proxy}/mcp",
        None,
        "Describes a proxy's resource, at the gateway's origin (RFC 9728 §3.1).",
    ),
];

/// The endpoints as OpenAPI path items.
pub(super) fn paths() -> Map<String, Value> {
    let mut paths = Map::new();
    for (method, path, request, summary) in ENDPOINTS {
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[method] = operation(method, path, request, summary);
    }
    paths
}

fn operation(method: &str, path: &str, request: Option<&str>, summary: &str) -> Value {
    let slug = path.trim_start_matches('/').replace(['/', '-', '.'], "_");
    let parameters: Vec<_> = path
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split('}').next())
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    let mut operation = json!({
        "tags": ["oauth"],
        "operationId": format!("{method}_{}", slug.replace(['{', '}'], "")),
        "summary": summary,
        "parameters": parameters,
        "responses": {
            success(method, path): {"description": "Done"},
            "default": {"description": "An OAuth error, or a page for a person"},
        },
    });
    if let Some(mime) = request {
        operation["requestBody"] =
            json!({"required": true, "content": {mime: {"schema": {"type": "object"}}}});
    }
    operation
}

fn success(method: &str, path: &str) -> &'static str {
    match (method, path.rsplit('/').next()) {
        ("post", Some("register")) => "201",
        ("delete", _) => "204",
        (_, Some("authorize" | "consent")) | (_, Some("{provider}")) => "303",
        _ => "200",
    }
}
