//! Refused requests as events: the first of a minute and cause at once, the others of that
//! minute counted and recorded together, so that noise cannot fill the disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use domain::audit::RequestRefused;
use domain::event::Correlation;
use domain::{Timestamp, audit};
use tokio::sync::mpsc;

use super::{App, Context};

/// A request that broke a rule before it concerned any stream.
#[derive(Clone, Debug)]
pub struct RefusedRequest {
    /// Where, such as `token`.
    pub endpoint: &'static str,
    /// A stable word for the rule.
    pub cause: &'static str,
    /// Whom it concerned, as far as that is certain.
    pub correlation: Correlation,
}

/// What is known of the refusals of the current minute.
pub struct Refusals {
    counts: Mutex<HashMap<Key, Counted>>,
    first_ones: mpsc::Sender<First>,
    receiver: Mutex<Option<mpsc::Receiver<First>>>,
}

/// The first refusal of its minute and cause, to be recorded by itself.
type First = (RefusedRequest, Box<Context>);

type Key = (&'static str, &'static str, Option<domain::id::ProxyId>);

struct Counted {
    minute: i64,
    /// Beyond the first, which was recorded by itself.
    more: u64,
    first_at: Timestamp,
    last_at: Timestamp,
}

/// First refusals waiting to be recorded; beyond that they are only counted.
const WAITING_MAX: usize = 256;

impl Default for Refusals {
    fn default() -> Self {
        let (first_ones, receiver) = mpsc::channel(WAITING_MAX);
        Self {
            counts: Mutex::default(),
            first_ones,
            receiver: Mutex::new(Some(receiver)),
        }
    }
}

impl Refusals {
    /// Takes note of a refusal. Never waits: recording happens in [`record`].
    pub fn note(&self, refused: RefusedRequest, context: &Context) {
        let key = (
            refused.endpoint,
            refused.cause,
            refused.correlation.proxy_id,
        );
        let minute = context.now.timestamp() / 60;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&key) {
            Some(counted) if counted.minute == minute || counted.more > 0 => {
                if counted.more == 0 {
                    counted.first_at = context.now;
                }
                counted.more += 1;
                counted.last_at = context.now;
            }
            Some(_) | None => {
                let counted = Counted {
                    minute,
                    more: 0,
                    first_at: context.now,
                    last_at: context.now,
                };
                let sent = self
                    .first_ones
                    .try_send((refused, Box::new(context.clone())));
                let more = u64::from(sent.is_err());
                counts.insert(key, Counted { more, ..counted });
            }
        }
    }

    /// What has been counted in minutes that are over, or at all if `all`.
    fn take(&self, now: Timestamp, all: bool) -> Vec<(Key, Counted)> {
        let minute = now.timestamp() / 60;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let over: Vec<Key> = counts
            .iter()
            .filter(|(_, counted)| all || counted.minute < minute)
            .map(|(key, _)| *key)
            .collect();
        over.into_iter()
            .filter_map(|key| counts.remove(&key).map(|counted| (key, counted)))
            .filter(|(_, counted)| counted.more > 0)
            .collect()
    }
}

/// Records what [`Refusals::note`] takes in, until `stop` ends; then records the rest.
pub async fn record(app: Arc<App>, stop: impl Future<Output = ()>) {
    let receiver = app
        .refusals
        .receiver
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let Some(mut receiver) = receiver else {
        return;
    };
    let mut minutes = tokio::time::interval(std::time::Duration::from_secs(15));
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some((refused, context)) = receiver.recv() => one(&app, &refused, &context).await,
            _ = minutes.tick() => several(&app, false).await,
        }
    }
    while let Ok((refused, context)) = receiver.try_recv() {
        one(&app, &refused, &context).await;
    }
    several(&app, true).await;
}

async fn one(app: &App, refused: &RefusedRequest, context: &Context) {
    let event = RequestRefused {
        endpoint: refused.endpoint.to_owned(),
        cause: refused.cause.to_owned(),
        count: 1,
        first_at: context.now,
        last_at: context.now,
    };
    append(app, event, refused.correlation, context).await;
}

async fn several(app: &App, all: bool) {
    let now = crate::clock::now();
    for ((endpoint, cause, proxy_id), counted) in app.refusals.take(now, all) {
        let event = RequestRefused {
            endpoint: endpoint.to_owned(),
            cause: cause.to_owned(),
            count: counted.more,
            first_at: counted.first_at,
            last_at: counted.last_at,
        };
        let correlation = Correlation {
            proxy_id,
            ..Correlation::default()
        };
        append(app, event, correlation, &Context::system(now)).await;
    }
}

async fn append(app: &App, event: RequestRefused, correlation: Correlation, context: &Context) {
    let event = audit::Event::RequestRefused(event).into();
    if let Err(error) = app.record("refusals", event, correlation, context).await {
        tracing::warn!(%error, "a refused request could not be recorded");
    }
}
