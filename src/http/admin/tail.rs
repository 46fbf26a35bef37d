//! Following the record live (server-sent events): `id:` is the position, so that who comes back
//! with `Last-Event-ID` misses nothing and sees nothing twice.
//!
//! Rows are read by position behind what the read model knows; wake-ups are hints. A reader who
//! does not keep up is told so (`lagged`, with where to resume) and closed: what they have not
//! taken is never dropped silently. The stream ends when the service stops, and when the operator
//! is let in no more: they are sent nothing that was recorded after they were removed.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use projections::EventFilter;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::Admin;
use super::authentication::{Authenticated, MayRead};
use super::events::render;
use super::list::Query;
use super::problem::Problem;
use crate::app::Unavailable;
use crate::causes::chain;

const HEARTBEAT: Duration = Duration::from_secs(15);
/// A reader who takes nothing for so long is not reading.
const PATIENCE: Duration = Duration::from_secs(30);
/// Events on their way to one reader.
const BUFFERED: usize = 64;
const BATCH: usize = 200;
/// No position: the reader keeps up.
const KEEPS_UP: u64 = u64::MAX;

/// Streams events as they are recorded; `?after=` or `Last-Event-ID` resumes behind a position.
#[utoipa::path(
    get,
    path = "/api/v1/events/stream",
    tag = "investigation",
    params(("Last-Event-ID" = Option<u64>, Header, description = "The last position that was seen")),
    responses((status = 200, description = "Events", content_type = "text/event-stream"))
)]
pub async fn stream(
    MayRead(operator): MayRead,
    State(admin): State<Admin>,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Problem> {
    let bad = |name: &str, expected: &str| {
        let detail = format!("{name}: expected {expected}");
        Problem::bad_request("invalid_parameter", detail).naming(name)
    };
    for name in ["cursor", "limit", "sort", "until", "min_position"] {
        if query.has_any(&[name]) {
            return Err(bad(name, "to be absent: a stream has no pages and no end"));
        }
    }
    let mut filter = EventFilter::parse(query.pairs(), operator.context.now)?;
    filter.paging.ascending = true;
    filter.paging.limit = BATCH;
    let resumed = headers
        .get("last-event-id")
        .map(|id| {
            let position = id.to_str().ok().and_then(|id| id.parse::<u64>().ok());
            position.ok_or_else(|| bad("Last-Event-ID", "a position, a number from 0"))
        })
        .transpose()?;
    let head = admin.shared.app.log.head();
    let next = match resumed.or(filter.after) {
        Some(after) => after.saturating_add(1),
        None if filter.paging.since.is_some() => 0,
        None => head,
    };
    let permit = admin.tails.clone().try_acquire_owned().map_err(|_| {
        let detail = "too many event streams are open on this node";
        Problem::unavailable("too_many_streams", detail)
    })?;
    query.begins_behind = next.checked_sub(1);
    admin
        .record_read(&operator, "/api/v1/events/stream", &query)
        .await?;
    let (sender, receiver) = mpsc::channel(BUFFERED);
    let lagged_at = Arc::new(AtomicU64::new(KEEPS_UP));
    let tail = Tail {
        admin,
        operator,
        filter,
        next,
        sender,
        lagged_at: lagged_at.clone(),
    };
    tokio::spawn(async move {
        tail.run().await;
        drop(permit);
    });
    let mut response = Sse::new(delivered(receiver, lagged_at)).into_response();
    let headers = response.headers_mut();
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What was sent, and at its end what the reader missed.
fn delivered(
    receiver: mpsc::Receiver<sse::Event>,
    lagged_at: Arc<AtomicU64>,
) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    stream::unfold(
        (receiver, lagged_at),
        |(mut receiver, lagged_at)| async move {
            let event = match receiver.recv().await {
                Some(event) => event,
                None => match lagged_at.swap(KEEPS_UP, Ordering::AcqRel) {
                    KEEPS_UP => return None,
                    position => sse::Event::default()
                        .event("lagged")
                        .data(format!("{{\"resume_from\":{position}}}")),
                },
            };
            Some((Ok(event), (receiver, lagged_at)))
        },
    )
}

struct Tail {
    admin: Admin,
    operator: Authenticated,
    filter: EventFilter,
    /// The first position that has not been looked at.
    next: u64,
    sender: mpsc::Sender<sse::Event>,
    /// The last position that was sent, once the reader turned out not to keep up.
    lagged_at: Arc<AtomicU64>,
}

/// The stream is over.
struct Over;

impl Tail {
    async fn run(mut self) {
        let mut heartbeats = tokio::time::interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopping = self.admin.shared.stopping.clone();
        loop {
            let progress = &self.admin.shared.app.progress;
            let outcome = tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                () = self.sender.closed() => return,
                _ = heartbeats.tick() => self.beat().await,
                () = progress.read_model_reached(self.next.saturating_add(1)) => self.step().await,
            };
            if outcome.is_err() {
                return;
            }
        }
    }

    async fn beat(&self) -> Result<(), Over> {
        let operator = &self.operator;
        unless_over(operator.is_still_let_in(&self.admin.shared.app).await)?;
        self.send(sse::Event::default().comment("")).await
    }

    /// Sends what has been recorded since, as far as the read model knows.
    async fn step(&mut self) -> Result<(), Over> {
        // Read before the query: everything below it is in what the query sees.
        let known = self.admin.shared.app.progress.read_model();
        self.filter.after = self.next.checked_sub(1);
        let filter = self.filter.clone();
        let found = self.admin.read(move |reader| reader.events(&filter)).await;
        let page = found.map_err(|_| Over)?;
        // After the query: what the read model knows was followed before.
        let app = &self.admin.shared.app;
        unless_over(self.operator.is_let_in_as_followed(app).await)?;
        let shown = page.rows.last().map(|row| row.position + 1);
        let more = page.next.is_some();
        let events = render(&self.admin, page.rows).await;
        for event in events.map_err(|_| Over)? {
            let rendered = sse::Event::default()
                .id(event.position.to_string())
                .event(event.name)
                .json_data(&event)
                .map_err(|_| Over)?;
            self.next = event.position;
            self.send(rendered).await?;
        }
        self.next = match shown {
            Some(shown) if more => shown,
            Some(shown) => shown.max(known),
            None => known.max(self.next),
        };
        Ok(())
    }

    async fn send(&self, event: sse::Event) -> Result<(), Over> {
        use mpsc::error::SendTimeoutError;
        let sending = self.sender.send_timeout(event, PATIENCE);
        let stopping = &self.admin.shared.stopping;
        match stopping.run_until_cancelled(sending).await {
            Some(Ok(())) => Ok(()),
            None | Some(Err(SendTimeoutError::Closed(_))) => Err(Over),
            Some(Err(SendTimeoutError::Timeout(_))) => {
                let last_sent = self.next.saturating_sub(1);
                self.lagged_at.store(last_sent, Ordering::Release);
                Err(Over)
            }
        }
    }
}

fn unless_over(is_let_in: Result<bool, Unavailable>) -> Result<(), Over> {
    match is_let_in {
        Ok(true) => Ok(()),
        Ok(false) => Err(Over),
        Err(error) => {
            tracing::warn!(error = chain(&error), "an event stream ends");
            Err(Over)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;

    #[tokio::test]
    async fn who_does_not_keep_up_gets_what_was_sent_and_is_told_where_to_resume() {
        let (sender, receiver) = mpsc::channel(2);
        let lagged_at = Arc::new(AtomicU64::new(KEEPS_UP));
        for position in ["6", "7"] {
            let event = sse::Event::default().id(position);
            sender.try_send(event).expect("there is room");
        }
        lagged_at.store(7, Ordering::Release);
        drop(sender);
        let delivered: Vec<_> = delivered(receiver, lagged_at).collect().await;
        assert_eq!(delivered.len(), 3);
        let last = format!("{:?}", delivered.last());
        assert!(
            last.contains("lagged") && last.contains("resume_from"),
            "{last}"
        );
    }
}
