//! The record itself: events by what they can be found by, with their bodies from the log.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use domain::event::Event;
use projections::{EventFilter, EventRow, Page};
use serde::Serialize;

use super::Admin;
use super::authentication::MayRead;
use super::list::Query;
use super::problem::Problem;
use crate::investigation::{self, RenderedEvent};

/// Lists events, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "investigation",
    responses((status = 200, description = "A page of events"))
)]
pub async fn list(
    MayRead(operator): MayRead,
    State(admin): State<Admin>,
    query: Query,
) -> Result<Response, Problem> {
    let filter = EventFilter::parse(query.pairs(), operator.context.now)?;
    let head = admin.caught_up(filter.paging.min_position).await?;
    admin
        .record_read(&operator, "/api/v1/events", &query)
        .await?;
    let page = admin.read(move |reader| reader.events(&filter)).await?;
    let page = Page {
        rows: render(&admin, page.rows).await?,
        next: page.next,
        watermark: page.watermark,
    };
    query.answer(&page, head)
}

/// Shows the event at a position.
#[utoipa::path(
    get,
    path = "/api/v1/events/{position}",
    tag = "investigation",
    params(("position" = u64, Path, description = "Its place in the log")),
    responses((status = 200, description = "The event"))
)]
pub async fn show(
    MayRead(operator): MayRead,
    State(admin): State<Admin>,
    Path(position): Path<String>,
    query: Query,
) -> Result<Response, Problem> {
    let unknown = || Problem::not_found("unknown_position", "position");
    let position: u64 = position.parse().map_err(|_| unknown())?;
    if position >= admin.shared.app.log.head() {
        return Err(unknown());
    }
    admin.caught_up(query.min_position()?).await?;
    let query = query.of("position", &position);
    admin
        .record_read(&operator, "/api/v1/events/{position}", &query)
        .await?;
    let row = admin.read(move |reader| reader.event(position)).await?;
    let event = match row {
        Some(row) => render(&admin, vec![row]).await?.pop(),
        None => {
            let shared = admin.shared.clone();
            admin
                .in_turn(move || {
                    investigation::bodies(&shared.app.log, &shared.app.vault, position, 1)
                })
                .await??
                .pop()
        }
    };
    Ok(Json(event.ok_or_else(unknown)?).into_response())
}

/// The types of events there are.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct EventTypes {
    data: Vec<EventType>,
}

/// A type of event as it is written today.
#[derive(Serialize, utoipa::ToSchema)]
struct EventType {
    /// Its frozen name.
    #[serde(rename = "type")]
    name: &'static str,
    /// The number of the shape of its `data`.
    schema: u16,
}

/// Lists every type of event there is.
#[utoipa::path(
    get,
    path = "/api/v1/event-types",
    tag = "investigation",
    responses((status = 200, description = "Every type of event", body = EventTypes))
)]
pub async fn types(_operator: MayRead) -> Response {
    let all = Event::TYPES.iter();
    let data = all
        .map(|(name, schema)| EventType {
            name,
            schema: *schema,
        })
        .collect();
    Json(EventTypes { data }).into_response()
}

/// Fetches the bodies of events that the index found, in the same order.
///
/// # Errors
/// The log cannot be read.
pub(super) async fn render(
    admin: &Admin,
    rows: Vec<EventRow>,
) -> Result<Vec<RenderedEvent>, Problem> {
    let app = admin.shared.app.clone();
    let bodies = move || investigation::bodies_of(&app.log, &app.vault, rows);
    Ok(admin.in_turn(bodies).await??)
}
