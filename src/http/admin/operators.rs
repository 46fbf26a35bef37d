//! Who administers and investigates.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::id::OperatorId;
use domain::operator::{Added, Command, Operator, Role, Rule};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Admin;
use super::authentication::{MayConfigure, MayRead};
use super::document::{Document, refuse_unknown, required};
use super::list::{Query, place};
use super::problem::Problem;
use crate::administration::another_admin;
use crate::app::{Context, ExecuteError, Unavailable};
use crate::clock;
use crate::tokens::secret::OperatorToken;

/// Lists operators, removed ones included, without their tokens.
#[utoipa::path(
    get,
    path = "/api/v1/operators",
    tag = "administration",
    responses((status = 200, description = "A page of operators"))
)]
pub async fn list(
    MayRead(operator): MayRead,
    State(admin): State<Admin>,
    query: Query,
) -> Result<Response, Problem> {
    let paging = query.paging("operators")?;
    let head = admin.caught_up(paging.min_position).await?;
    let (operators, watermark) = admin
        .read(|reader| Ok((reader.operators()?, reader.position()?.checked_sub(1))))
        .await?;
    let rows = operators.into_iter();
    let rows = rows.map(|row| (place(row.added_at, row.operator_id.0.as_bytes()), row));
    let page = paging.page(rows.collect(), watermark);
    admin
        .record_read(&operator, "/api/v1/operators", &query)
        .await?;
    query.answer(&page, head)
}

/// A new operator; the token is shown this once.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct NewOperator {
    /// Their id.
    #[schema(value_type = String)]
    id: OperatorId,
    /// What they are called in the record.
    name: String,
    /// `admin`, `auditor` or `responder`.
    #[schema(value_type = String)]
    role: Role,
    /// Their token; never shown again.
    token: String,
}

/// Lets somebody in.
#[utoipa::path(
    post,
    path = "/api/v1/operators",
    tag = "administration",
    request_body(content = Object, description = "`{\"name\",\"role\"}`"),
    responses((status = 201, description = "They are let in", body = NewOperator))
)]
pub async fn add(
    MayConfigure(operator): MayConfigure,
    State(admin): State<Admin>,
    Document(members): Document,
) -> Result<Response, Problem> {
    refuse_unknown(&members, &["name", "role"])?;
    let name: String = required(&members, "name", "a name")?;
    let role: Role = required(&members, "role", "admin, auditor or responder")?;
    let id = OperatorId(clock::event_id().0);
    let token = OperatorToken::generate(id);
    let command = Command::Add(Added {
        name: name.clone(),
        role,
        token: token.hash(),
    });
    let app = &admin.shared.app;
    app.execute::<Operator>(id, command, &operator.context)
        .await?;
    let new = NewOperator {
        id,
        name,
        role,
        token: token.expose().to_owned(),
    };
    Ok((StatusCode::CREATED, Json(new)).into_response())
}

/// An operator as they are now.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct ChangedOperator {
    /// Their id.
    #[schema(value_type = String)]
    id: OperatorId,
    /// What they are called in the record.
    name: String,
    /// `admin`, `auditor` or `responder`.
    #[schema(value_type = String)]
    role: Role,
}

/// Gives somebody another name or role (RFC 7396), from their next request on. The last admin
/// stays an admin.
#[utoipa::path(
    patch,
    path = "/api/v1/operators/{id}",
    tag = "administration",
    params(("id" = String, Path, description = "Their id")),
    request_body(content = Object, description = "`{\"name\"?,\"role\"?}`"),
    responses((status = 200, description = "The operator as they are now", body = ChangedOperator))
)]
pub async fn change(
    MayConfigure(operator): MayConfigure,
    State(admin): State<Admin>,
    Path(id): Path<String>,
    Document(patch): Document,
) -> Result<Response, Problem> {
    refuse_unknown(&patch, &["name", "role"])?;
    let id: OperatorId = id.parse().map_err(|_| Problem::from(Rule::Unknown))?;
    let name: Option<String> = given(&patch, "name", "a name")?;
    let role: Option<Role> = given(&patch, "role", "admin, auditor or responder")?;
    let changed = execute(&admin, id, &operator.context, |another_admin_remains| {
        Command::Change {
            name: name.clone(),
            role,
            another_admin_remains,
        }
    });
    match &*changed.await? {
        Operator::Present(Added { name, role, .. }) => Ok(Json(ChangedOperator {
            id,
            name: name.clone(),
            role: *role,
        })
        .into_response()),
        Operator::Absent | Operator::Removed => Err(Rule::Unknown.into()),
    }
}

/// A member that a change names; taking it away is none (RFC 7396).
fn given<T: DeserializeOwned>(
    patch: &Map<String, Value>,
    name: &str,
    expected: &str,
) -> Result<Option<T>, Problem> {
    let is_named = patch.contains_key(name);
    is_named
        .then(|| required(patch, name, expected))
        .transpose()
}

/// Lets somebody in no more, at once. The last admin stays.
#[utoipa::path(
    delete,
    path = "/api/v1/operators/{id}",
    tag = "administration",
    params(("id" = String, Path, description = "Their id")),
    responses((status = 204, description = "They are let in no more"))
)]
pub async fn remove(
    MayConfigure(operator): MayConfigure,
    State(admin): State<Admin>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id: OperatorId = id.parse().map_err(|_| Problem::from(Rule::Unknown))?;
    execute(&admin, id, &operator.context, |another_admin_remains| {
        Command::Remove {
            another_admin_remains,
        }
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Executes a command that may end somebody's administering: only as long as whoever else administers still does.
async fn execute(
    admin: &Admin,
    id: OperatorId,
    context: &Context,
    command: impl Fn(bool) -> Command,
) -> Result<Arc<Operator>, Problem> {
    let app = &admin.shared.app;
    loop {
        app.read_model_is_current().await?;
        let operators = admin.read(projections::Reader::operators).await?;
        let admins = operators
            .into_iter()
            .filter(|other| other.role == Role::Admin && other.removed_at.is_none())
            .map(|other| other.operator_id);
        let another = another_admin(app, id, admins).await?;
        let command = command(another.is_some());
        let premises = another.into_iter().collect();
        match app
            .execute_on::<Operator>(premises, id, command, context)
            .await
        {
            Err(ExecuteError::Unavailable(Unavailable::Overtaken)) => {}
            executed => return Ok(executed?.state),
        }
    }
}
