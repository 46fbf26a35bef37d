//! Clients that registered themselves.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::client::{Client, Command, Remover, Rule};
use domain::grant::RevocationReason;
use domain::id::ClientId;
use projections::{ClientFilter, Of};

use super::Admin;
use super::authentication::{MayRead, MayRevoke};
use super::list::Query;
use super::problem::Problem;
use crate::app::ExecuteError;

/// Lists clients, gone ones included, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/clients",
    tag = "administration",
    responses((status = 200, description = "A page of clients"))
)]
pub async fn list(
    MayRead(operator): MayRead,
    State(admin): State<Admin>,
    query: Query,
) -> Result<Response, Problem> {
    let filter = ClientFilter::parse(query.pairs(), operator.context.now)?;
    let head = admin.caught_up(filter.paging.min_position).await?;
    admin
        .record_read(&operator, "/api/v1/clients", &query)
        .await?;
    let page = admin.read(move |reader| reader.clients(&filter)).await?;
    query.answer(&page, head)
}

/// Shows a client.
#[utoipa::path(
    get,
    path = "/api/v1/clients/{id}",
    tag = "administration",
    params(("id" = String, Path, description = "Its client_id")),
    responses((status = 200, description = "The client"))
)]
pub async fn show(
    MayRead(operator): MayRead,
    State(admin): State<Admin>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Problem> {
    let id: ClientId = id.parse().map_err(|_| Problem::from(Rule::Unknown))?;
    admin.caught_up(query.min_position()?).await?;
    let query = query.of("client_id", &id);
    admin
        .record_read(&operator, "/api/v1/clients/{id}", &query)
        .await?;
    let client = admin.read(move |reader| reader.client(id)).await?;
    Ok(Json(client.ok_or(Rule::Unknown)?).into_response())
}

/// Takes a client away and revokes everything it was granted.
#[utoipa::path(
    delete,
    path = "/api/v1/clients/{id}",
    tag = "administration",
    params(("id" = String, Path, description = "Its client_id")),
    responses((status = 204, description = "It is gone"))
)]
pub async fn remove(
    MayRevoke(operator): MayRevoke,
    State(admin): State<Admin>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id: ClientId = id.parse().map_err(|_| Problem::from(Rule::Unknown))?;
    let shared = admin.shared.clone();
    let removing = async move {
        let context = &operator.context;
        let command = Command::Remove(Remover::Operator(operator.id));
        let removed = shared.app.execute::<Client>(id, command, context).await;
        // Also when it was gone before: perhaps not everything could be revoked then.
        if let Ok(_) | Err(ExecuteError::Refused(Rule::Unknown)) = removed {
            let (of, reason) = (Of::Client(id), RevocationReason::ClientRemoved);
            let (app, reader) = (&shared.app, &shared.reader);
            app.revoke_all(reader, of, &reason, context).await?;
        }
        removed?;
        Ok(StatusCode::NO_CONTENT)
    };
    admin.shared.to_the_end(removing).await?
}
