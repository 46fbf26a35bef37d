//! Any sequence of stored events folds, in any state; and each can be told.

use domain::event::Event;
use domain::grant::{Command, Grant, RotateRefreshToken, TokenPolicy};
use domain::id::EventId;
use domain::{
    Aggregate, Fact, Timestamp, api_key, client, explain, operator, provider, proxy, subject,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::arbitrary::{event, event_id, instant};

type Stored = (EventId, Timestamp, Event);

fn stored() -> impl Strategy<Value = Stored> {
    (event_id(), instant(), event())
}

/// Folds on with the events that are this aggregate's own.
fn fold<A: Aggregate<Event: TryFrom<Event>>>(state: A, history: &[Stored]) -> A {
    history.iter().fold(state, |state, (id, at, event)| {
        match A::Event::try_from(event.clone()) {
            Ok(event) => state.evolve(Fact {
                id: *id,
                at: *at,
                event: &event,
            }),
            Err(_) => state,
        }
    })
}

/// Folds any history without panic, and in two parts as in one.
fn check<A>(history: &[Stored], split: usize) -> Result<A, TestCaseError>
where
    A: Aggregate<Event: TryFrom<Event>> + PartialEq + std::fmt::Debug,
{
    let state = fold(A::default(), history);
    let (first, rest) = history.split_at(split.min(history.len()));
    let resumed = fold(fold(A::default(), first), rest);
    prop_assert_eq!(&resumed, &state);
    let _ = state.correlation();
    Ok(state)
}

/// Whatever the history, an owner's refresh is decided without panic.
fn decide_on(grant: &Grant, generation: u32, now: Timestamp) {
    let Some(authorization) = grant.authorization() else {
        return;
    };
    let command = Command::RotateRefreshToken(RotateRefreshToken {
        client_id: authorization.request.client_id,
        proxy_id: authorization.request.proxy_id,
        generation,
        scope: None,
        resource: None,
        policy: TokenPolicy {
            access_token: chrono::TimeDelta::hours(1),
            refresh_token: chrono::TimeDelta::days(30),
            refresh_retry: chrono::TimeDelta::minutes(10),
        },
    });
    let _ = grant.decide(command, now);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_folds(
        history in vec(stored(), 0..60),
        split in 0..60_usize,
        generation in 0..6_u32,
        now in instant(),
    ) {
        check::<provider::Provider>(&history, split)?;
        check::<proxy::Proxy>(&history, split)?;
        check::<client::Client>(&history, split)?;
        check::<subject::Subject>(&history, split)?;
        check::<operator::Operator>(&history, split)?;
        check::<api_key::ApiKey>(&history, split)?;
        let grant = check::<Grant>(&history, split)?;
        decide_on(&grant, generation, now);
    }

    #[test]
    fn any_event_is_told_in_one_sentence((_, at, event) in stored()) {
        let sentence = explain(&event, at);
        prop_assert!(sentence.ends_with('.'), "{sentence}");
        prop_assert!(sentence.starts_with(|c: char| c.is_uppercase() || c.is_numeric()), "{sentence}");
    }
}
