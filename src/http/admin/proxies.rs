//! Protected MCP servers and the terms on which their tokens are issued.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::grant::RevocationReason;
use domain::id::ProxyId;
use domain::proxy::{Configured, Proxy, Rule, Settings};
use projections::{Listed, Of};
use serde::Serialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::Admin;
use super::authentication::{MayConfigure, MayRead};
use super::document::{Document, member, merge, refuse_unknown, required};
use super::list::Query;
use super::problem::{Problem, invalid};
use crate::administration::{
    PrivateTerms, Refused, add_proxy, change_proxy, private_terms, remove_proxy,
};
use crate::config::{PROXY_CONFIG_MEMBERS, ProxyConfig};
use crate::http::Shared;

const MEMBERS: [&str; 3] = ["name", "upstream_url", "config"];
const HEADERS: &str = "oauth_proxy_upstream_headers";
const PROVIDER: &str = "oauth_proxy_provider_id";

/// A proxy as operators see it: everything but its secrets.
#[derive(Serialize)]
pub(super) struct Shown {
    id: ProxyId,
    name: String,
    upstream_url: Url,
    config: Map<String, Value>,
    /// The issuer, and the base of its endpoints.
    issuer: String,
    /// The MCP endpoint of its own.
    mcp_url: String,
}

impl Listed for Shown {
    const COLUMNS: &'static [&'static str] =
        &["id", "name", "upstream_url", "config", "issuer", "mcp_url"];
}

impl Shown {
    async fn new(shared: &Shared, id: ProxyId, configured: &Configured) -> Result<Self, Problem> {
        let private = PrivateTerms::read(&shared.app, id, configured.private_version).await?;
        let mut config = config_of(&configured.settings, &private);
        config.remove(HEADERS);
        Ok(Self {
            id,
            name: configured.settings.name.clone(),
            upstream_url: configured.settings.upstream_url.clone(),
            config,
            issuer: shared.urls.issuer(id),
            mcp_url: shared.urls.mcp(id),
        })
    }
}

/// Lists proxies without their secrets.
#[utoipa::path(
    get,
    path = "/api/v1/proxies",
    tag = "administration",
    responses((status = 200, description = "A page of proxies"))
)]
pub async fn list(
    MayRead(operator): MayRead,
    State(admin): State<Admin>,
    query: Query,
) -> Result<Response, Problem> {
    let paging = query.paging("proxies")?;
    let head = admin.caught_up(paging.min_position).await?;
    let app = &admin.shared.app;
    let mut rows = Vec::new();
    for (id, proxy) in app.directory.proxies() {
        let shown = Shown::new(&admin.shared, id, &proxy).await?;
        rows.push((id.0.to_be_bytes(), shown));
    }
    let page = paging.page(rows, app.progress.memory().checked_sub(1));
    admin
        .record_read(&operator, "/api/v1/proxies", &query)
        .await?;
    query.answer(&page, head)
}

/// Shows a proxy without its secrets.
#[utoipa::path(
    get,
    path = "/api/v1/proxies/{id}",
    tag = "administration",
    params(("id" = u32, Path, description = "Its number")),
    responses((status = 200, description = "The proxy"))
)]
pub async fn show(
    MayRead(operator): MayRead,
    State(admin): State<Admin>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Problem> {
    admin.caught_up(query.min_position()?).await?;
    let id = parse(&id)?;
    let state = admin.shared.app.fresh::<Proxy>(id).await?;
    let configured = state.configured().ok_or(Rule::Unknown)?;
    let query = query.of("proxy_id", &id);
    admin
        .record_read(&operator, "/api/v1/proxies/{id}", &query)
        .await?;
    Ok(Json(Shown::new(&admin.shared, id, configured).await?).into_response())
}

/// Adds a proxy. What is secret of it goes to the vault and is never returned.
#[utoipa::path(
    post,
    path = "/api/v1/proxies",
    tag = "administration",
    request_body(content = Object, description = "The proxy"),
    responses((status = 201, description = "It is added"))
)]
pub async fn add(
    MayConfigure(operator): MayConfigure,
    State(admin): State<Admin>,
    Document(sent): Document,
) -> Result<Response, Problem> {
    refuse_unknown_members(&sent)?;
    let mut members = Map::new();
    merge(&mut members, sent);
    let (settings, private) = terms(&members)?;
    let app = &admin.shared.app;
    let (id, added) = add_proxy(app, settings, &private, &operator.context).await?;
    let shown = Shown::new(&admin.shared, id, &added).await?;
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// Changes a proxy by merging (RFC 7396); the whole must be valid.
#[utoipa::path(
    patch,
    path = "/api/v1/proxies/{id}",
    tag = "administration",
    params(("id" = u32, Path, description = "Its number")),
    request_body(content = Object, description = "What shall change"),
    responses((status = 200, description = "The proxy as it is now"))
)]
pub async fn change(
    MayConfigure(operator): MayConfigure,
    State(admin): State<Admin>,
    Path(id): Path<String>,
    Document(patch): Document,
) -> Result<Response, Problem> {
    let id = parse(&id)?;
    refuse_unknown_members(&patch)?;
    let (shared, context) = (&admin.shared, &operator.context);
    let app = &shared.app;
    loop {
        let state = app.fresh::<Proxy>(id).await?;
        let current = state.configured().ok_or(Rule::Unknown)?;
        let private = PrivateTerms::read(app, id, current.private_version).await?;
        let mut members = document(&current.settings, &private);
        merge(&mut members, patch.clone());
        let (settings, private) = terms(&members)?;
        match change_proxy(app, id, current, settings, &private, context).await {
            // Merged into what it is now, or somebody else's change would be undone.
            Err(Refused::Proxy(Rule::Outdated)) => {}
            changed => return Ok(Json(Shown::new(shared, id, &changed?).await?).into_response()),
        }
    }
}

/// Takes a proxy away and revokes everything that was granted there.
#[utoipa::path(
    delete,
    path = "/api/v1/proxies/{id}",
    tag = "administration",
    params(("id" = u32, Path, description = "Its number")),
    responses((status = 204, description = "It is gone"))
)]
pub async fn remove(
    MayConfigure(operator): MayConfigure,
    State(admin): State<Admin>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = parse(&id)?;
    let shared = admin.shared.clone();
    let removing = async move {
        let context = &operator.context;
        let removed = remove_proxy(&shared.app, id, context).await;
        // Also when it was gone before: perhaps not everything could be revoked then.
        if let Ok(()) | Err(Refused::Proxy(Rule::Unknown)) = removed {
            let reason = RevocationReason::ProxyRemoved;
            let (app, reader) = (&shared.app, &shared.reader);
            app.revoke_all(reader, Of::Proxy(id), &reason, context)
                .await?;
        }
        removed?;
        Ok(StatusCode::NO_CONTENT)
    };
    admin.shared.to_the_end(removing).await?
}

fn parse(id: &str) -> Result<ProxyId, Problem> {
    id.parse().map_err(|_| Rule::Unknown.into())
}

fn refuse_unknown_members(members: &Map<String, Value>) -> Result<(), Problem> {
    refuse_unknown(members, &MEMBERS)?;
    if let Some(Value::Object(config)) = members.get("config") {
        let known: Vec<_> = PROXY_CONFIG_MEMBERS.iter().map(|key| key.name).collect();
        refuse_unknown(config, &known)?;
    }
    Ok(())
}

/// The terms that a whole document describes.
fn terms(members: &Map<String, Value>) -> Result<(Settings, PrivateTerms), Problem> {
    let name = required(members, "name", "a name")?;
    let upstream_url = required(
        members,
        "upstream_url",
        "the http or https URL of the MCP server",
    )?;
    let config: Map<String, Value> =
        member(members, "config", "an object of oauth_proxy_ members")?.unwrap_or_default();
    let config = config_from(config)?;
    let provider_id = config.provider_id.ok_or_else(|| {
        let detail = format!("{PROVIDER} is missing: expected a positive provider number");
        Problem::bad_request("missing_member", detail).naming(PROVIDER)
    })?;
    let settings = config.settings(name, upstream_url, provider_id);
    Ok((settings, private_terms(&config)))
}

/// Reads the members one by one, so that a bad one can be named; its value is not told.
fn config_from(members: Map<String, Value>) -> Result<ProxyConfig, Problem> {
    for (name, value) in &members {
        let alone = json!({ name.as_str(): value });
        if serde_json::from_value::<ProxyConfig>(alone).is_err() {
            let known = PROXY_CONFIG_MEMBERS.iter().find(|key| key.name == name);
            let expected = known.map_or("another value", |key| key.expected);
            return Err(invalid(name, format!("{name}: expected {expected}")));
        }
    }
    serde_json::from_value(Value::Object(members))
        .map_err(|_| invalid("config", "config: expected oauth_proxy_ members".to_owned()))
}

/// The document that makes a proxy what it is, secrets included: what a change is merged into.
fn document(settings: &Settings, private: &PrivateTerms) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("name".to_owned(), json!(settings.name));
    members.insert("upstream_url".to_owned(), json!(settings.upstream_url));
    let config = config_of(settings, private);
    members.insert("config".to_owned(), Value::Object(config));
    members
}

fn config_of(settings: &Settings, private: &PrivateTerms) -> Map<String, Value> {
    let mut config = Map::new();
    let mut put = |name: &str, value: Value| {
        config.insert(format!("oauth_proxy_{name}"), value);
    };
    put("enabled", json!(settings.enabled));
    put("mode", json!("gateway"));
    put("provider_id", json!(settings.provider_id));
    put("allowed_redirects", json!(settings.allowed_redirects));
    put("require_consent", json!(settings.require_consent));
    if let Some(scopes) = &settings.scopes {
        put("scopes", json!(scopes));
    }
    if let Some(scopes) = &settings.default_scopes {
        put("default_scopes", json!(scopes));
    }
    put("required_scopes", json!(settings.required_scopes));
    put("access_token_seconds", json!(settings.access_token_s));
    put("refresh_token_seconds", json!(settings.refresh_token_s));
    put("grant_seconds", json!(settings.grant_s));
    put("refresh_retry_seconds", json!(settings.refresh_retry_s));
    put("token_alg", json!(settings.token_alg));
    put("upstream_auth", json!(settings.upstream_auth));
    put("allowed_subjects", json!(private.allowed_subjects));
    if !private.upstream_headers.is_empty() {
        put("upstream_headers", json!(private.upstream_headers));
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_of_a_proxy_makes_the_same_proxy() {
        let Value::Object(sent) = json!({
            "name": "files",
            "upstream_url": "http://host/mcp",
            "config": {
                "oauth_proxy_provider_id": 1,
                "oauth_proxy_enabled": false,
                "oauth_proxy_mode": "gateway",
                "oauth_proxy_allowed_redirects": ["https://your-app.com/callback", "cursor://*"],
                "oauth_proxy_require_consent": false,
                "oauth_proxy_scopes": "read write",
                "oauth_proxy_default_scopes": "read",
                "oauth_proxy_required_scopes": "read",
                "oauth_proxy_access_token_seconds": 60,
                "oauth_proxy_refresh_token_seconds": 61,
                "oauth_proxy_grant_seconds": 62,
                "oauth_proxy_refresh_retry_seconds": 0,
                "oauth_proxy_token_alg": "EdDSA",
                "oauth_proxy_upstream_auth": "static",
                "oauth_proxy_upstream_headers": {"X-Api-Key": "k"},
                "oauth_proxy_allowed_subjects": ["example.com"],
            }
        }) else {
            unreachable!("it is an object");
        };
        refuse_unknown_members(&sent).unwrap();
        let (settings, private) = terms(&sent).unwrap();
        assert_eq!(document(&settings, &private), sent);
        let all: Vec<_> = PROXY_CONFIG_MEMBERS.iter().map(|key| key.name).collect();
        let config = sent["config"].as_object().unwrap();
        assert!(all.iter().all(|name| config.contains_key(*name)));
    }
}
