//! Login history.

use axum::extract::State;
use axum::response::Response;
use projections::LoginFilter;

use super::Admin;
use super::authentication::MayRead;
use super::list::Query;
use super::problem::Problem;

/// Lists authorization attempts that reached a person or failed, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/logins",
    tag = "investigation",
    responses((status = 200, description = "A page of logins"))
)]
pub async fn list(
    MayRead(operator): MayRead,
    State(admin): State<Admin>,
    query: Query,
) -> Result<Response, Problem> {
    let filter = LoginFilter::parse(query.pairs(), operator.context.now)?;
    let head = admin.caught_up(filter.paging.min_position).await?;
    admin
        .record_read(&operator, "/api/v1/logins", &query)
        .await?;
    let page = admin.read(move |reader| reader.logins(&filter)).await?;
    query.answer(&page, head)
}
