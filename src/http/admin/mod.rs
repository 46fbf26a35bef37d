//! The administration and investigation API: `/api/v1/…` with an operator's token.
//!
//! A handler names the role it needs in its first argument, parses, executes and renders; rules
//! are in the domain. Every change is an event with its operator, every read of the record too.
//! Who adds an endpoint adds a line to `table`, which makes the route and its place in the
//! OpenAPI document in one.

mod api_keys;
mod authentication;
mod clients;
mod document;
mod events;
mod grants;
mod keys;
mod list;
mod logins;
mod openapi;
mod operators;
mod problem;
mod providers;
mod proxies;
mod reads;
mod revocations;
mod status;
mod tail;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware;
use projections::{ReadModelError, Reader};
use tokio::sync::Semaphore;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use self::problem::Problem;
use super::{Failures, Shared};
use crate::clock;

/// What the administration's handlers share; cheap to clone.
#[derive(Clone)]
pub struct Admin(Arc<Parts>);

/// The parts of it.
pub struct Parts {
    shared: Shared,
    failures: Failures,
    reads: reads::RecentReads,
    tails: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    /// Tells this process from others and from itself before a restart.
    node: Uuid,
}

impl Deref for Admin {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// The administration's routes; the circumstances of requests must have been identified.
pub fn routes<S: Clone + Send + Sync + 'static>(shared: Shared) -> Router<S> {
    let admin = Admin(Arc::new(Parts {
        shared,
        failures: Failures::default(),
        reads: reads::RecentReads::default(),
        tails: Arc::new(Semaphore::new(TAILS_MAX)),
        readers: Arc::new(Semaphore::new(READERS_MAX)),
        node: clock::event_id().0,
    }));
    Router::from(table())
        .merge(openapi::route())
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(middleware::from_fn_with_state(
            admin.clone(),
            problem::finish,
        ))
        .with_state(admin)
}

/// Everything the administration answers.
fn table() -> OpenApiRouter<Admin> {
    OpenApiRouter::new()
        .routes(routes!(providers::list, providers::add))
        .routes(routes!(
            providers::show,
            providers::change,
            providers::remove
        ))
        .routes(routes!(proxies::list, proxies::add))
        .routes(routes!(proxies::show, proxies::change, proxies::remove))
        .routes(routes!(clients::list))
        .routes(routes!(clients::show, clients::remove))
        .routes(routes!(operators::list, operators::add))
        .routes(routes!(operators::change, operators::remove))
        .routes(routes!(api_keys::list, api_keys::issue))
        .routes(routes!(api_keys::revoke))
        .routes(routes!(keys::list))
        .routes(routes!(keys::rotate))
        .routes(routes!(logins::list))
        .routes(routes!(events::list))
        .routes(routes!(events::show))
        .routes(routes!(tail::stream))
        .routes(routes!(events::types))
        .routes(routes!(grants::list))
        .routes(routes!(grants::show))
        .routes(routes!(grants::timeline))
        .routes(routes!(revocations::revoke))
        .routes(routes!(status::status))
}

async fn not_found() -> Problem {
    Problem::not_found("not_found", "resource")
}

async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this resource has no such method",
    )
}

/// Event streams that are open at once on this node.
const TAILS_MAX: usize = 256;
/// Who reads the log or the read models at once. Each has connections of its own, and SQLite gives back no file while another
/// connection of the process has it open: what was once opened at the same time stays.
const READERS_MAX: usize = 8;
/// Read models follow the log by milliseconds; this long an answer waits for what the log already
/// had when it was asked for.
const SOON: Duration = Duration::from_millis(250);
/// The bound of `min_position`.
const PATIENCE: Duration = Duration::from_secs(5);

impl Parts {
    /// Waits for the read models: shortly for what the log has now, and for `min_position`. Returns how many entries the log has,
    /// which they may not have reached.
    ///
    /// # Errors
    /// They did not reach `min_position` in time.
    async fn caught_up(&self, min_position: Option<u64>) -> Result<u64, Problem> {
        let app = &self.shared.app;
        // What another node has just done is to be told here, too.
        let head = app.log.current_head().await;
        let head = head.unwrap_or_else(|_| app.log.head());
        let soon = app.progress.wait_for_read_model(head);
        // Behind or not: the answer says how far it knows.
        let _ = tokio::time::timeout(SOON, soon).await;
        let Some(position) = min_position else {
            return Ok(head);
        };
        let reached = app.progress.wait_for_read_model(position.saturating_add(1));
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        reached.map(|()| head).map_err(|_| {
            let detail = "the read model has not reached min_position yet";
            Problem::unavailable("read_model_behind", detail).naming("min_position")
        })
    }

    /// Asks the read models where blocking is allowed.
    ///
    /// # Errors
    /// They cannot be read.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, ReadModelError> + Send + 'static,
    ) -> Result<T, Problem> {
        let reader = self.shared.reader.clone();
        let read = self.in_turn(move || read(&reader)).await?;
        read.map_err(|error| Problem::read_model(&error))
    }

    /// Reads on a thread that may block, when it is its turn.
    ///
    /// # Errors
    /// The read broke off.
    async fn in_turn<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        // The semaphore is never closed.
        let turn = self.readers.clone().acquire_owned().await.ok();
        let reading = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            read()
        });
        reading.await.map_err(|error| Problem::read_model(&error))
    }
}
