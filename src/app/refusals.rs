//! Refused requests as events: the first of a minute, cause, client and address at once, the others
//! of that minute counted and recorded together, so that noise cannot fill the disk. Where too many
//! addresses are refused for one cause in a minute, the rest is counted by cause alone.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use domain::audit::RequestRefused;
use domain::event::Correlation;
use domain::id::{ClientId, ProxyId};
use domain::{Timestamp, audit};
use tokio::sync::mpsc;

use super::address::customer_block;
use super::{App, Context};
use crate::causes::chain;

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

/// The first refusal of its minute and key, to be recorded by itself.
struct First {
    refused: RefusedRequest,
    redirect_uri: Option<String>,
    context: Box<Context>,
}

/// What is counted together.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    endpoint: &'static str,
    cause: &'static str,
    proxy_id: Option<ProxyId>,
    client_id: Option<ClientId>,
    block: Option<IpAddr>,
}

impl Key {
    fn together(self) -> Self {
        Self {
            client_id: None,
            block: None,
            ..self
        }
    }

    /// At whichever proxy.
    fn is_apart_for_the_cause_of(self, other: Self) -> bool {
        (self.endpoint, self.cause) == (other.endpoint, other.cause) && self != self.together()
    }
}

struct Counted {
    minute: i64,
    /// Beyond the first, which was recorded by itself.
    more: u64,
    first_at: Timestamp,
    last_at: Timestamp,
}

/// So many keys of one cause, at all proxies, are told apart by client and address in a minute: neither memory nor disk is filled by
/// somebody with many addresses. Causes have no bound in common: whoever makes noise must not hide who presents a revoked token.
const APART_OF_CAUSE_MAX: usize = 16;

/// First refusals waiting to be recorded; beyond that they are only counted.
const WAITING_MAX: usize = 1024;

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
        self.note_redirect_uri(refused, None, context);
    }

    /// The same, where it was a redirect URI that was refused.
    pub fn note_redirect_uri(
        &self,
        refused: RefusedRequest,
        redirect_uri: Option<String>,
        context: &Context,
    ) {
        let minute = context.now.timestamp() / 60;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let apart = Key {
            endpoint: refused.endpoint,
            cause: refused.cause,
            proxy_id: refused.correlation.proxy_id,
            client_id: refused.correlation.client_id,
            block: context.ip.map(customer_block),
        };
        let together = apart.together();
        let of_cause = || {
            counts
                .keys()
                .filter(|key| key.is_apart_for_the_cause_of(apart))
        };
        let is_apart = counts.contains_key(&apart) || of_cause().count() < APART_OF_CAUSE_MAX;
        let key = if is_apart { apart } else { together };
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
                let sent = self.first_ones.try_send(First {
                    refused,
                    redirect_uri,
                    context: Box::new(context.clone()),
                });
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
            Some(first) = receiver.recv() => one(&app, first).await,
            _ = minutes.tick() => several(&app, false).await,
        }
    }
    while let Ok(first) = receiver.try_recv() {
        one(&app, first).await;
    }
    several(&app, true).await;
}

async fn one(app: &App, first: First) {
    let (refused, context) = (first.refused, first.context);
    let event = RequestRefused {
        endpoint: refused.endpoint.to_owned(),
        cause: refused.cause.to_owned(),
        count: 1,
        first_at: context.now,
        last_at: context.now,
        redirect_uri: first.redirect_uri,
    };
    append(app, event, refused.correlation, &context).await;
}

async fn several(app: &App, all: bool) {
    let now = crate::clock::now();
    for (key, counted) in app.refusals.take(now, all) {
        let event = RequestRefused {
            endpoint: key.endpoint.to_owned(),
            cause: key.cause.to_owned(),
            count: counted.more,
            first_at: counted.first_at,
            last_at: counted.last_at,
            redirect_uri: None,
        };
        let correlation = Correlation {
            proxy_id: key.proxy_id,
            client_id: key.client_id,
            subject: None,
        };
        let context = Context {
            ip: key.block,
            ..Context::system(now)
        };
        append(app, event, correlation, &context).await;
    }
}

async fn append(app: &App, event: RequestRefused, correlation: Correlation, context: &Context) {
    let event = audit::Event::RequestRefused(event).into();
    if let Err(error) = app.record("refusals", event, correlation, context).await {
        tracing::warn!(
            error = chain(&error),
            "a refused request could not be recorded"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(client_id: Option<ClientId>) -> RefusedRequest {
        RefusedRequest {
            endpoint: "token",
            cause: "unknown_code",
            correlation: Correlation {
                client_id,
                ..Correlation::default()
            },
        }
    }

    fn from(ip: &str) -> Context {
        Context {
            ip: Some(ip.parse().unwrap()),
            ..Context::system(Timestamp::UNIX_EPOCH)
        }
    }

    fn first_ones(refusals: &Refusals) -> usize {
        let mut receiver = refusals.receiver.lock().unwrap().take().unwrap();
        std::iter::from_fn(|| receiver.try_recv().ok()).count()
    }

    #[test]
    fn addresses_and_clients_are_told_apart() {
        let refusals = Refusals::default();
        let client = Some(ClientId(uuid::Uuid::from_u128(1)));
        for (client_id, ip) in [
            (None, "203.0.113.9"),
            (None, "203.0.113.9"),
            (None, "203.0.113.10"),
            (client, "203.0.113.9"),
            (None, "2001:db8::1"),
            (None, "2001:db8::2"),
        ] {
            refusals.note(refused(client_id), &from(ip));
        }
        let counted = refusals.take(Timestamp::UNIX_EPOCH, true);
        let mut counted: Vec<_> = counted
            .into_iter()
            .map(|(key, counted)| (key.block.unwrap().to_string(), counted.more))
            .collect();
        counted.sort();
        assert_eq!(
            counted,
            [("2001:db8::".to_owned(), 1), ("203.0.113.9".to_owned(), 1)]
        );
        assert_eq!(first_ones(&refusals), 4);
    }

    #[test]
    fn a_flood_from_many_addresses_is_counted_together_and_crowds_out_no_other_cause() {
        let refusals = Refusals::default();
        for n in 0..10_000_u32 {
            let ip = IpAddr::from(n.to_be_bytes()).to_string();
            refusals.note(refused(None), &from(&ip));
        }
        let of_cause = APART_OF_CAUSE_MAX + 1;
        assert_eq!(refusals.counts.lock().unwrap().len(), of_cause);
        let other = RefusedRequest {
            cause: "unknown_client",
            ..refused(None)
        };
        refusals.note(other, &from("203.0.113.9"));
        let counted = refusals.take(Timestamp::UNIX_EPOCH, true);
        assert_eq!(counted.len(), 1);
        assert_eq!(counted[0].0.block, None);
        // All but those that were recorded by themselves.
        assert_eq!(counted[0].1.more, 10_000 - of_cause as u64);
        assert_eq!(first_ones(&refusals), of_cause + 1);
    }

    #[test]
    fn noise_elsewhere_hides_nobody() {
        const CAUSES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
        let refusals = Refusals::default();
        for (n, cause) in (0..6_000_u32).zip(CAUSES.iter().cycle()) {
            let refused = RefusedRequest {
                cause,
                ..refused(None)
            };
            let ip = IpAddr::from(n.to_be_bytes()).to_string();
            refusals.note(refused, &from(&ip));
        }
        let known = refusals.counts.lock().unwrap().len();
        assert_eq!(known, CAUSES.len() * (APART_OF_CAUSE_MAX + 1));
        let revoked = RefusedRequest {
            endpoint: "gateway",
            cause: "revoked",
            ..refused(None)
        };
        for _ in 0..2 {
            refusals.note(revoked.clone(), &from("203.0.113.9"));
        }
        let counted = refusals.take(Timestamp::UNIX_EPOCH, true);
        let (key, _) = counted
            .iter()
            .find(|(key, _)| key.cause == "revoked")
            .unwrap();
        assert_eq!(key.block, Some("203.0.113.9".parse().unwrap()));
    }
}
