//! Refused requests as events: the first of a minute, cause, client and address at once, the others
//! of that minute counted and recorded together, so that noise cannot fill the disk. Where too many
//! addresses are refused for one cause in a minute, the rest is counted by cause alone. What was certainly
//! not recorded stays counted until it can be.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::audit::RequestRefused;
use domain::event::Correlation;
use domain::id::{ClientId, ProxyId};
use domain::{Timestamp, audit};
use tokio::sync::mpsc;

use super::address::customer_block;
use super::{App, Context, Unavailable};
use crate::causes::chain;
use crate::log::AppendError;

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
    key: Key,
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

    /// Itself, or what is counted together where too many are told apart already.
    fn within_bounds(self, counts: &HashMap<Self, Counted>) -> Self {
        let of_cause = || {
            counts
                .keys()
                .filter(|key| key.is_apart_for_the_cause_of(self))
        };
        match counts.contains_key(&self) || of_cause().count() < APART_OF_CAUSE_MAX {
            true => self,
            false => self.together(),
        }
    }

    /// At whichever proxy.
    fn is_apart_for_the_cause_of(self, other: Self) -> bool {
        (self.endpoint, self.cause) == (other.endpoint, other.cause) && self != self.together()
    }
}

#[derive(Clone, Copy)]
struct Counted {
    minute: i64,
    /// Beyond the first, which was recorded by itself.
    more: u64,
    first_at: Timestamp,
    last_at: Timestamp,
}

impl Counted {
    fn one(at: Timestamp) -> Self {
        Self {
            minute: minute(at),
            more: 1,
            first_at: at,
            last_at: at,
        }
    }

    fn add(&mut self, other: Self) {
        let minute = self.minute;
        if self.more == 0 {
            *self = Self { minute, ..other };
            return;
        }
        self.more += other.more;
        self.first_at = self.first_at.min(other.first_at);
        self.last_at = self.last_at.max(other.last_at);
    }

    fn event(self, key: Key) -> RequestRefused {
        RequestRefused {
            endpoint: key.endpoint.to_owned(),
            cause: key.cause.to_owned(),
            count: self.more,
            first_at: self.first_at,
            last_at: self.last_at,
            redirect_uri: None,
        }
    }
}

fn minute(at: Timestamp) -> i64 {
    at.timestamp() / 60
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
        let mut counts = self.counts();
        let apart = Key {
            endpoint: refused.endpoint,
            cause: refused.cause,
            proxy_id: refused.correlation.proxy_id,
            client_id: refused.correlation.client_id,
            block: context.ip.map(customer_block),
        };
        let key = apart.within_bounds(&counts);
        let one = Counted::one(context.now);
        match counts.get_mut(&key) {
            Some(counted) if counted.minute == one.minute || counted.more > 0 => counted.add(one),
            Some(_) | None => {
                let sent = self.first_ones.try_send(First {
                    key,
                    refused,
                    redirect_uri,
                    context: Box::new(context.clone()),
                });
                let more = u64::from(sent.is_err());
                counts.insert(key, Counted { more, ..one });
            }
        }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Key, Counted>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what could not be recorded, with what has been counted since.
    fn put_back(&self, key: Key, lost: Counted) {
        let mut counts = self.counts();
        let key = key.within_bounds(&counts);
        let counted = counts.entry(key);
        counted
            .and_modify(|counted| counted.add(lost))
            .or_insert(lost);
    }

    /// What has been counted in minutes that are over, or at all if `all`.
    fn take(&self, now: Timestamp, all: bool) -> Vec<(Key, Counted)> {
        let minute = minute(now);
        let mut counts = self.counts();
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
    let counted = Counted::one(first.context.now);
    let event = RequestRefused {
        redirect_uri: first.redirect_uri,
        ..counted.event(first.key)
    };
    if is_lost(app, event, first.refused.correlation, &first.context).await {
        app.refusals.put_back(first.key, counted);
    }
}

async fn several(app: &App, all: bool) {
    let now = crate::clock::now();
    for (key, counted) in app.refusals.take(now, all) {
        let correlation = Correlation {
            proxy_id: key.proxy_id,
            client_id: key.client_id,
            subject: None,
        };
        let context = Context {
            ip: key.block,
            ..Context::system(now)
        };
        if is_lost(app, counted.event(key), correlation, &context).await {
            app.refusals.put_back(key, counted);
        }
    }
}

/// Records refusals. Whether it is certain that they are not on record, so that they may be recorded again.
async fn is_lost(
    app: &App,
    event: RequestRefused,
    correlation: Correlation,
    context: &Context,
) -> bool {
    let event = audit::Event::RequestRefused(event).into();
    let Err(error) = app.record("refusals", event, correlation, context).await else {
        return false;
    };
    tracing::warn!(
        error = chain(&error),
        "refused requests could not be recorded"
    );
    !matches!(error, Unavailable::Append(AppendError::Unknown))
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
    fn what_could_not_be_recorded_is_counted_with_what_came_since_and_within_the_same_bounds() {
        let refusals = Refusals::default();
        let at = |second| Timestamp::from_timestamp(second, 0).unwrap();
        let note = |ip: &str, second| {
            let now = at(second);
            refusals.note(refused(None), &Context { now, ..from(ip) });
        };
        for second in 0..3 {
            note("203.0.113.9", second);
        }
        let lost = refusals.take(at(60), false);
        assert_eq!((lost.len(), lost[0].1.more), (1, 2));
        for n in 0..APART_OF_CAUSE_MAX {
            note(&format!("198.51.100.{n}"), 61);
        }
        for _ in 0..2 {
            let (key, counted) = lost[0];
            refusals.put_back(key, counted);
        }
        note("203.0.113.9", 62);
        assert_eq!(refusals.counts().len(), APART_OF_CAUSE_MAX + 1);
        let counted = refusals.take(at(120), false);
        assert_eq!(counted.len(), 1);
        let (key, counted) = counted[0];
        assert_eq!((key.block, counted.more), (None, 5));
        assert_eq!((counted.first_at, counted.last_at), (at(1), at(62)));
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
