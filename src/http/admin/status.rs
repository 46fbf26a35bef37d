//! How this node is: how far the log and the read models are.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use uuid::Uuid;

use super::Admin;
use super::authentication::MayRead;
use super::problem::Problem;
use crate::app::decode;

/// How this node is.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Status {
    /// The position of the newest event; absent while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<u64>,
    read_model: ReadModelStatus,
    /// This process; another one after a restart.
    #[schema(value_type = String)]
    node: Uuid,
    /// The program's version.
    version: &'static str,
    /// Whether re-reading the log found everything as it was written.
    log_intact: bool,
    /// Up to where the log has been re-read, that position excluded.
    log_verified: u64,
    /// Up to where the log's entries are sealed, that position excluded: a change to one is found.
    log_sealed: u64,
}

/// How far the read models are.
#[derive(Serialize, utoipa::ToSchema)]
struct ReadModelStatus {
    /// The newest position they know; absent while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    /// How old the oldest event is that they do not know, in milliseconds.
    lag_ms: u64,
    /// Whether they cannot go on; the program's log says why.
    halted: bool,
}

/// Tells how this node is.
#[utoipa::path(
    get,
    path = "/api/v1/status",
    tag = "operations",
    responses((status = 200, description = "How this node is", body = Status))
)]
pub async fn status(
    MayRead(operator): MayRead,
    State(admin): State<Admin>,
) -> Result<Response, Problem> {
    let app = &admin.shared.app;
    let (head, known) = (app.log.head(), app.progress.read_model());
    let lag_ms = if known < head {
        let unknown = app.log.read_after(known, 1).await;
        let unknown = unknown.map_err(crate::app::Unavailable::from)?;
        let since = unknown
            .first()
            .and_then(|stored| decode(&app.vault, stored).ok())
            .map(|recorded| recorded.entry.envelope.recorded_at);
        since.map_or(0, |since| {
            let lag = operator.context.now - since;
            u64::try_from(lag.num_milliseconds()).unwrap_or_default()
        })
    } else {
        0
    };
    let status = Status {
        head: head.checked_sub(1),
        read_model: ReadModelStatus {
            position: known.checked_sub(1),
            lag_ms,
            halted: app.progress.halted(),
        },
        node: admin.node,
        version: env!("CARGO_PKG_VERSION"),
        log_intact: admin.shared.app.integrity.is_intact(),
        log_verified: admin.shared.app.integrity.verified(),
        log_sealed: admin.shared.app.integrity.sealed(),
    };
    Ok(Json(status).into_response())
}
