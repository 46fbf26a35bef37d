//! How long an answer goes on that has begun, such as an event stream: until the upstream ends it,
//! whoever was admitted would not be admitted again, or the service stops.
//!
//! A revoked grant, a removed client, a proxy that is gone or switched off and an API key that was
//! revoked or has expired end it within a second. An access token that has expired does not: a call
//! that began in its time is answered, and clients hold a stream while they refresh for the next
//! request. Nor does a log that cannot be followed: new requests are refused then, but a database
//! that is away for seconds would cut every running call.
//!
//! A service that stops ends what a client listens to (the event stream of a GET) at once, and gives
//! the answer to a call the time that all requests in flight have.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, header};
use axum::response::Response;
use domain::api_key::ApiKey;
use domain::id::ProxyId;
use http_body::{Body as _, Frame, SizeHint};

use super::Gateway;
use super::admit::Admitted;
use crate::clock;

/// How often an open answer is judged. Being woken for each revocation would cost more where many
/// grants are revoked while many answers are open.
const JUDGED_EVERY: Duration = Duration::from_millis(250);
/// After so many frames without a pause, too.
const JUDGED_AFTER: u32 = 64;
/// What a call has left when the service stops: a second less than the service waits for it, so
/// that its client sees the answer break off and does not wait on.
const LAST_WORDS: Duration = Duration::from_secs(9);

/// How an answer ends before its upstream ends it.
#[derive(Clone, Copy)]
enum End {
    /// As if the upstream had nothing more to say: clients ask again for an event stream.
    InOrder,
    /// Visibly broken: part of an answer must not be taken for all of it.
    BrokenOff,
}

/// An answer's body that ends when `end` says so.
struct Bounded {
    body: Body,
    end: Pin<Box<dyn Future<Output = End> + Send>>,
    /// Frames that were passed on since `end` was asked.
    unjudged: u32,
}

/// Bounds an answer to a request of `admitted` at `proxy`, made by `method`.
pub(super) fn bounded(
    response: Response,
    gateway: &Gateway,
    proxy: ProxyId,
    admitted: Admitted,
    method: &Method,
) -> Response {
    if response.body().is_end_stream() {
        return response;
    }
    let is_events = is_event_stream(response.headers());
    let is_listening = is_events && method == Method::GET;
    let ending = |is_whole| {
        if is_whole {
            End::InOrder
        } else {
            End::BrokenOff
        }
    };
    let gateway = gateway.clone();
    let end = async move {
        tokio::select! {
            () = until_denied(&gateway, proxy, &admitted) => ending(is_events),
            () = until_stopped(&gateway, is_listening) => ending(is_listening),
        }
    };
    let end = Box::pin(end);
    response.map(|body| {
        let unjudged = 0;
        Body::new(Bounded {
            body,
            end,
            unjudged,
        })
    })
}

async fn until_stopped(gateway: &Gateway, is_listening: bool) {
    gateway.shared.stopping.cancelled().await;
    if !is_listening {
        tokio::time::sleep(LAST_WORDS).await;
    }
}

async fn until_denied(gateway: &Gateway, proxy: ProxyId, admitted: &Admitted) {
    loop {
        tokio::time::sleep(JUDGED_EVERY).await;
        if !is_admitted(gateway, proxy, admitted).await {
            return;
        }
    }
}

async fn is_admitted(gateway: &Gateway, proxy: ProxyId, admitted: &Admitted) -> bool {
    let app = &gateway.shared.app;
    if app.directory.enabled(proxy).is_none() {
        return false;
    }
    match admitted {
        Admitted::Client { client, grant, .. } => !app.revocations.contains(*grant, *client),
        Admitted::Script(id) => match app.state::<ApiKey>(*id).await {
            Ok(key) => key.is_live(clock::now()),
            // A store that is away says nothing about the key.
            Err(_) => true,
        },
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        let name = b"text/event-stream";
        kind.get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name))
    })
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // Most answers are there at once. One that never pauses is judged all the same.
        self.unjudged += 1;
        if self.unjudged < JUDGED_AFTER
            && let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context)
        {
            return Poll::Ready(frame);
        }
        self.unjudged = 0;
        match self.end.as_mut().poll(context) {
            Poll::Pending => Pin::new(&mut self.body).poll_frame(context),
            Poll::Ready(End::InOrder) => Poll::Ready(None),
            Poll::Ready(End::BrokenOff) => {
                let error = std::io::Error::other("the answer was ended");
                Poll::Ready(Some(Err(axum::Error::new(error))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
