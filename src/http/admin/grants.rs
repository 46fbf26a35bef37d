//! Grants, live and past, and the story of each.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use domain::id::GrantId;
use projections::GrantFilter;

use super::Admin;
use super::authentication::MayRead;
use super::list::Query;
use super::problem::Problem;
use crate::investigation;

/// Lists grants, live and past, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/grants",
    tag = "investigation",
    responses((status = 200, description = "A page of grants"))
)]
pub async fn list(
    MayRead(operator): MayRead,
    State(admin): State<Admin>,
    query: Query,
) -> Result<Response, Problem> {
    let now = operator.context.now;
    let filter = GrantFilter::parse(query.pairs(), now)?;
    let head = admin.caught_up(filter.paging.min_position).await?;
    admin
        .record_read(&operator, "/api/v1/grants", &query)
        .await?;
    let page = admin
        .read(move |reader| reader.grants(&filter, now))
        .await?;
    query.answer(&page, head)
}

/// Shows a grant.
#[utoipa::path(
    get,
    path = "/api/v1/grants/{id}",
    tag = "investigation",
    params(("id" = String, Path, description = "The grant's id")),
    responses((status = 200, description = "The grant"))
)]
pub async fn show(
    MayRead(operator): MayRead,
    State(admin): State<Admin>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Problem> {
    let id: GrantId = id.parse().map_err(|_| unknown())?;
    admin.caught_up(query.min_position()?).await?;
    let query = query.of("grant_id", &id);
    admin
        .record_read(&operator, "/api/v1/grants/{id}", &query)
        .await?;
    let now = operator.context.now;
    let grant = admin.read(move |reader| reader.grant(id, now)).await?;
    Ok(Json(grant.ok_or_else(unknown)?).into_response())
}

/// Tells the story of a grant, or of the login that failed to become one, from the first event on.
#[utoipa::path(
    get,
    path = "/api/v1/grants/{id}/timeline",
    tag = "investigation",
    params(("id" = String, Path, description = "The grant's id")),
    responses((status = 200, description = "`{\"grant_id\",\"live\",\"items\":[…]}`"))
)]
pub async fn timeline(
    MayRead(operator): MayRead,
    State(admin): State<Admin>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Problem> {
    let id: GrantId = id.parse().map_err(|_| unknown())?;
    admin.caught_up(query.min_position()?).await?;
    let query = query.of("grant_id", &id);
    admin
        .record_read(&operator, "/api/v1/grants/{id}/timeline", &query)
        .await?;
    let now = operator.context.now;
    let grant = admin.read(move |reader| reader.grant(id, now)).await?;
    let shared = admin.shared.clone();
    let tell = move || {
        let app = &shared.app;
        investigation::timeline(&app.log, &app.vault, id, grant.as_ref(), None)
    };
    let timeline = admin.in_turn(tell).await??.ok_or_else(unknown)?;
    Ok(Json(timeline).into_response())
}

fn unknown() -> Problem {
    Problem::not_found("unknown_grant", "grant")
}
