//! Upstream identity providers.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::grant::RevocationReason;
use domain::id::ProviderId;
use domain::provider::{Configured, Provider, Rule, Settings};
use projections::{Listed, Of};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Admin;
use super::authentication::{MayConfigure, MayRead};
use super::document::{Document, member, merge, refuse_unknown, required};
use super::list::Query;
use super::problem::Problem;
use crate::administration::{Refused, add_provider, change_provider, remove_provider};
use crate::config::PROVIDER_MEMBERS;
use crate::http::Shared;

/// A provider as operators see it: everything but its secret.
#[derive(Serialize)]
pub(super) struct Shown {
    id: ProviderId,
    #[serde(flatten)]
    settings: Settings,
    /// What the provider must know as our redirect URI.
    callback_url: String,
}

impl Listed for Shown {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "name",
        "type",
        "client_id",
        "issuer",
        "authorization_url",
        "token_url",
        "userinfo_url",
        "jwks_url",
        "scopes",
        "callback_url",
    ];
}

impl Shown {
    fn new(shared: &Shared, id: ProviderId, configured: &Configured) -> Self {
        Self {
            id,
            settings: configured.settings.clone(),
            callback_url: shared.urls.callback(id),
        }
    }
}

/// Lists providers without their secrets.
#[utoipa::path(
    get,
    path = "/api/v1/providers",
    tag = "administration",
    responses((status = 200, description = "A page of providers"))
)]
pub async fn list(
    MayRead(operator): MayRead,
    State(admin): State<Admin>,
    query: Query,
) -> Result<Response, Problem> {
    let paging = query.paging("providers")?;
    let head = admin.caught_up(paging.min_position).await?;
    let app = &admin.shared.app;
    let providers = app.directory.providers();
    let rows = providers
        .iter()
        .map(|(id, provider)| {
            let shown = Shown::new(&admin.shared, *id, provider);
            (id.0.to_be_bytes(), shown)
        })
        .collect();
    let page = paging.page(rows, app.progress.memory().checked_sub(1));
    admin
        .record_read(&operator, "/api/v1/providers", &query)
        .await?;
    query.answer(&page, head)
}

/// Shows a provider without its secret.
#[utoipa::path(
    get,
    path = "/api/v1/providers/{id}",
    tag = "administration",
    params(("id" = u32, Path, description = "Its number")),
    responses((status = 200, description = "The provider"))
)]
pub async fn show(
    MayRead(operator): MayRead,
    State(admin): State<Admin>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Problem> {
    admin.caught_up(query.min_position()?).await?;
    let id = parse(&id)?;
    let state = admin.shared.app.fresh::<Provider>(id).await?;
    let configured = state.configured().ok_or(Rule::Unknown)?;
    let query = query.of("provider_id", &id);
    admin
        .record_read(&operator, "/api/v1/providers/{id}", &query)
        .await?;
    Ok(Json(Shown::new(&admin.shared, id, configured)).into_response())
}

/// Adds a provider. Its secret goes to the vault and is never returned.
#[utoipa::path(
    post,
    path = "/api/v1/providers",
    tag = "administration",
    request_body(content = Object, description = "The provider"),
    responses((status = 201, description = "It is added"))
)]
pub async fn add(
    MayConfigure(operator): MayConfigure,
    State(admin): State<Admin>,
    Document(sent): Document,
) -> Result<Response, Problem> {
    refuse_unknown(&sent, &names())?;
    let mut members = Map::new();
    merge(&mut members, sent);
    let secret: String = required(&members, "client_secret", expected("client_secret"))?;
    check_secret(&secret)?;
    let settings = settings(&members)?;
    let app = &admin.shared.app;
    let (id, added) = add_provider(app, settings, &secret, &operator.context).await?;
    let shown = Shown::new(&admin.shared, id, &added);
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// Changes a provider by merging (RFC 7396); the whole must be valid. Without `client_secret` the
/// provider keeps its secret.
#[utoipa::path(
    patch,
    path = "/api/v1/providers/{id}",
    tag = "administration",
    params(("id" = u32, Path, description = "Its number")),
    request_body(content = Object, description = "What shall change"),
    responses((status = 200, description = "The provider as it is now"))
)]
pub async fn change(
    MayConfigure(operator): MayConfigure,
    State(admin): State<Admin>,
    Path(id): Path<String>,
    Document(patch): Document,
) -> Result<Response, Problem> {
    let id = parse(&id)?;
    refuse_unknown(&patch, &names())?;
    let secret = if patch.contains_key("client_secret") {
        let secret: String = required(&patch, "client_secret", expected("client_secret"))?;
        check_secret(&secret)?;
        Some(secret)
    } else {
        None
    };
    let (app, context) = (&admin.shared.app, &operator.context);
    loop {
        let state = app.fresh::<Provider>(id).await?;
        let current = state.configured().ok_or(Rule::Unknown)?;
        let mut members = document(&current.settings);
        merge(&mut members, patch.clone());
        let settings = settings(&members)?;
        match change_provider(app, id, current, settings, secret.as_deref(), context).await {
            // Merged into what it is now, or somebody else's change would be undone.
            Err(Refused::Provider(Rule::Outdated)) => {}
            changed => return Ok(Json(Shown::new(&admin.shared, id, &changed?)).into_response()),
        }
    }
}

/// Takes a provider away that no proxy uses, and revokes what it once vouched for.
#[utoipa::path(
    delete,
    path = "/api/v1/providers/{id}",
    tag = "administration",
    params(("id" = u32, Path, description = "Its number")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "Proxies use it")
    )
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
        let removed = remove_provider(&shared.app, id, context).await;
        // Also when it was gone before: perhaps not everything could be revoked then.
        if let Ok(()) | Err(Refused::Provider(Rule::Unknown)) = removed {
            let reason = RevocationReason::ProviderRemoved;
            let (app, reader) = (&shared.app, &shared.reader);
            app.revoke_all(reader, Of::Provider(id), &reason, context)
                .await?;
        }
        removed?;
        Ok(StatusCode::NO_CONTENT)
    };
    admin.shared.to_the_end(removing).await?
}

fn parse(id: &str) -> Result<ProviderId, Problem> {
    id.parse().map_err(|_| Rule::Unknown.into())
}

fn names() -> Vec<&'static str> {
    PROVIDER_MEMBERS.iter().map(|member| member.name).collect()
}

fn expected(name: &str) -> &'static str {
    PROVIDER_MEMBERS
        .iter()
        .find(|member| member.name == name)
        .map_or("another value", |member| member.expected)
}

fn check_secret(secret: &str) -> Result<(), Problem> {
    if secret.trim().is_empty() {
        let detail = format!("client_secret: expected {}", expected("client_secret"));
        return Err(super::problem::invalid("client_secret", detail));
    }
    Ok(())
}

/// The members of a provider's document, all but its secret.
fn document(settings: &Settings) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(members)) => members,
        Ok(_) | Err(_) => Map::new(),
    }
}

fn settings(members: &Map<String, Value>) -> Result<Settings, Problem> {
    fn optional<T: DeserializeOwned>(
        members: &Map<String, Value>,
        name: &str,
    ) -> Result<Option<T>, Problem> {
        member(members, name, expected(name))
    }
    Ok(Settings {
        name: required(members, "name", expected("name"))?,
        kind: required(members, "type", expected("type"))?,
        client_id: required(members, "client_id", expected("client_id"))?,
        issuer: optional(members, "issuer")?,
        authorization_url: optional(members, "authorization_url")?,
        token_url: optional(members, "token_url")?,
        userinfo_url: optional(members, "userinfo_url")?,
        jwks_url: optional(members, "jwks_url")?,
        scopes: optional(members, "scopes")?.unwrap_or_default(),
    })
}
