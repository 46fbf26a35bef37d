//! Keys that admit scripts to a proxy.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::Timestamp;
use domain::api_key::{ApiKey, Command, Issued, Revoked, Rule};
use domain::id::{ApiKeyId, ProxyId};
use domain::provider::Provider;
use domain::proxy::{Proxy, Settings};
use domain::scope::Scope;
use serde::Serialize;

use super::Admin;
use super::authentication::{MayConfigure, MayRead, MayRevoke};
use super::document::{Document, member, refuse_unknown, required};
use super::list::{Query, place};
use super::problem::{Problem, invalid};
use crate::clock;
use crate::tokens::secret;

/// Lists API keys, ended ones included, without the keys themselves.
#[utoipa::path(
    get,
    path = "/api/v1/api-keys",
    tag = "administration",
    responses((status = 200, description = "A page of API keys"))
)]
pub async fn list(
    MayRead(operator): MayRead,
    State(admin): State<Admin>,
    query: Query,
) -> Result<Response, Problem> {
    let paging = query.paging("api-keys")?;
    let head = admin.caught_up(paging.min_position).await?;
    let (keys, watermark) = admin
        .read(|reader| Ok((reader.api_keys()?, reader.position()?.checked_sub(1))))
        .await?;
    let rows = keys.into_iter();
    let rows = rows.map(|row| (place(row.issued_at, row.api_key_id.0.as_bytes()), row));
    let page = paging.page(rows.collect(), watermark);
    admin
        .record_read(&operator, "/api/v1/api-keys", &query)
        .await?;
    query.answer(&page, head)
}

/// A new API key; the key is shown this once.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct NewApiKey {
    /// Its id.
    #[schema(value_type = String)]
    id: ApiKeyId,
    /// What operators call it.
    name: String,
    /// The only proxy that admits it.
    #[schema(value_type = u32)]
    proxy_id: ProxyId,
    /// What it may do there, space-separated.
    #[schema(value_type = String)]
    scopes: Scope,
    /// When it ends by itself; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    expires_at: Option<Timestamp>,
    /// The key; never shown again.
    key: String,
}

/// Issues a key for one proxy.
#[utoipa::path(
    post,
    path = "/api/v1/api-keys",
    tag = "administration",
    request_body(content = Object, description = "`{\"name\",\"proxy_id\",\"scopes\"?,\"expires_at\"?}`"),
    responses((status = 201, description = "It is issued", body = NewApiKey))
)]
pub async fn issue(
    MayConfigure(operator): MayConfigure,
    State(admin): State<Admin>,
    Document(members): Document,
) -> Result<Response, Problem> {
    refuse_unknown(&members, &["name", "proxy_id", "scopes", "expires_at"])?;
    let name: String = required(&members, "name", "a name")?;
    let proxy_id: ProxyId = required(&members, "proxy_id", "the number of a proxy")?;
    let scopes: Option<Scope> = member(&members, "scopes", "space-separated scopes")?;
    let expires_at: Option<Timestamp> = member(&members, "expires_at", "an RFC 3339 time")?;
    let app = &admin.shared.app;
    let proxy = app.fresh::<Proxy>(proxy_id).await?;
    let Some(proxy) = proxy.configured() else {
        let detail = "proxy_id: expected the number of a proxy".to_owned();
        return Err(invalid("proxy_id", detail));
    };
    let scopes = scopes.unwrap_or_default();
    let provider = app.fresh::<Provider>(proxy.settings.provider_id).await?;
    expect_known(&scopes, &proxy.settings, &provider)?;
    let id = ApiKeyId(clock::event_id().0);
    let key = secret::ApiKey::generate(id);
    let issued = Issued {
        name,
        proxy_id,
        scopes,
        expires_at,
        key: key.hash(),
        by: operator.id,
    };
    let command = Command::Issue(issued.clone());
    app.execute::<ApiKey>(id, command, &operator.context)
        .await?;
    let new = NewApiKey {
        id,
        name: issued.name,
        proxy_id,
        scopes: issued.scopes,
        expires_at,
        key: key.expose().to_owned(),
    };
    Ok((StatusCode::CREATED, Json(new)).into_response())
}

/// What the proxy neither gives nor asks for would be good for nothing.
fn expect_known(scopes: &Scope, proxy: &Settings, provider: &Provider) -> Result<(), Problem> {
    let of_provider = provider.configured();
    let of_provider = of_provider.map(|known| known.settings.scopes_or_default());
    let of_provider = of_provider.unwrap_or_default();
    let known = proxy.scopes(&of_provider);
    let is_known = |token: &str| {
        let mut all = known.tokens().chain(proxy.required_scopes.tokens());
        all.any(|known| known == token)
    };
    let unknown = scopes.clone().retain(|token| !is_known(token));
    if unknown.is_empty() {
        return Ok(());
    }
    let detail = format!("scopes: expected scopes of the proxy ({known}), found {unknown}");
    Err(invalid("scopes", detail))
}

/// Ends a key at once.
#[utoipa::path(
    delete,
    path = "/api/v1/api-keys/{id}",
    tag = "administration",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 204, description = "It is ended"))
)]
pub async fn revoke(
    MayRevoke(operator): MayRevoke,
    State(admin): State<Admin>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id: ApiKeyId = id.parse().map_err(|_| Problem::from(Rule::Unknown))?;
    let command = Command::Revoke(Revoked { by: operator.id });
    let app = &admin.shared.app;
    app.execute::<ApiKey>(id, command, &operator.context)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
