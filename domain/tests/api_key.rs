//! Where a script's key works, and until when.

mod support;

use domain::api_key::{ApiKey, Command, Denial, Event, Issued, Revoked, Rule};
use domain::id::{OperatorId, ProxyId};
use domain::secret::SecretHash;
use domain::{Aggregate, Timestamp};
use proptest::prelude::*;
use support::{after, at, given};
use uuid::Uuid;

const OPERATOR: OperatorId = OperatorId(Uuid::from_u128(7));

fn issued(expires_at: Option<Timestamp>) -> Issued {
    Issued {
        name: "nightly".to_owned(),
        proxy_id: ProxyId(1),
        scopes: "read".parse().expect("valid"),
        expires_at,
        key: SecretHash::of("key"),
        by: OPERATOR,
    }
}

fn revoked() -> Revoked {
    Revoked { by: OPERATOR }
}

#[track_caller]
fn admits(history: &[Event], key: &str, proxy: u32, second: i64, expected: Result<(), Denial>) {
    let state = after::<ApiKey>(history);
    let answer = state.admit(&SecretHash::of(key), ProxyId(proxy), at(second));
    assert_eq!(answer.map(|_| ()), expected);
}

#[test]
fn a_key_is_issued_once_and_with_a_future() {
    let good = issued(Some(at(1001)));
    given::<ApiKey>(&[])
        .when(Command::Issue(good.clone()))
        .then(&[Event::Issued(good.clone())]);
    let over = Command::Issue(issued(Some(at(1000))));
    given::<ApiKey>(&[])
        .when(over)
        .then_refused(Rule::ExpiresAt);
    let nameless = Command::Issue(Issued {
        name: String::new(),
        ..issued(None)
    });
    given::<ApiKey>(&[]).when(nameless).then_refused(Rule::Name);
    let history = [Event::Issued(good.clone()), Event::Revoked(revoked())];
    given::<ApiKey>(&history[..1])
        .when(Command::Issue(good.clone()))
        .then_refused(Rule::Exists);
    given::<ApiKey>(&history)
        .when(Command::Issue(good))
        .then_refused(Rule::Exists);
}

#[test]
fn revoking_twice_records_once() {
    let history = [Event::Issued(issued(None)), Event::Revoked(revoked())];
    given::<ApiKey>(&[])
        .when(Command::Revoke(revoked()))
        .then_refused(Rule::Unknown);
    given::<ApiKey>(&history[..1])
        .when(Command::Revoke(revoked()))
        .then(&history[1..]);
    given::<ApiKey>(&history)
        .when(Command::Revoke(revoked()))
        .then(&[]);
}

#[test]
fn a_key_works_at_its_proxy_until_it_ends() {
    let live = [Event::Issued(issued(Some(at(50))))];
    admits(&live, "key", 1, 49, Ok(()));
    admits(&live, "key", 1, 50, Err(Denial::Expired));
    admits(&live, "key", 2, 1, Err(Denial::OtherProxy));
    admits(&live, "other", 1, 1, Err(Denial::Unknown));
    admits(&[], "key", 1, 1, Err(Denial::Unknown));
    let ended = [Event::Issued(issued(None)), Event::Revoked(revoked())];
    admits(&ended, "key", 1, 1, Err(Denial::Revoked));
    assert_eq!(
        after::<ApiKey>(&ended).correlation().proxy_id,
        Some(ProxyId(1))
    );
}

proptest! {
    #[test]
    fn any_order_of_events_folds(history in prop::collection::vec(prop::sample::select(
        vec![Event::Issued(issued(None)), Event::Revoked(revoked())]), 0..8)
    ) {
        let state = after::<ApiKey>(&history);
        let first = history.iter().position(|event| matches!(event, Event::Issued(_)));
        let revoked_later = first.is_some_and(|n| history[n..].contains(&Event::Revoked(revoked())));
        let admitted = state.admit(&SecretHash::of("key"), ProxyId(1), at(0)).is_ok();
        prop_assert_eq!(admitted, first.is_some() && !revoked_later);
    }
}
