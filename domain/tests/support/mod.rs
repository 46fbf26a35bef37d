//! Given a history, when a command comes, then these events or this refusal.

use std::fmt::Debug;

use chrono::TimeZone;
use domain::id::EventId;
use domain::{Aggregate, Fact, Refusal, Timestamp};
use uuid::Uuid;

/// An instant, in seconds since the histories of tests begin.
pub fn at(seconds: i64) -> Timestamp {
    let start = 1_700_000_000;
    chrono::Utc
        .timestamp_opt(start + seconds, 0)
        .single()
        .expect("in range")
}

/// The id of the event that happened at this second of a history.
pub fn id(second: i64) -> EventId {
    EventId(Uuid::from_u128(second.unsigned_abs().into()))
}

/// The state after a history in which one event happens each second, from 0.
pub fn after<A: Aggregate>(history: &[A::Event]) -> A {
    (0..)
        .zip(history)
        .fold(A::default(), |state, (second, event)| {
            state.evolve(Fact {
                id: id(second),
                at: at(second),
                event,
            })
        })
}

/// A history to decide on.
pub struct Given<A>(A);

pub fn given<A: Aggregate>(history: &[A::Event]) -> Given<A> {
    Given(after(history))
}

/// What was decided.
pub struct Decided<E, R>(Result<Vec<E>, Refusal<R, E>>);

impl<A: Aggregate> Given<A> {
    /// Decides a command that comes 1000 seconds after the histories of tests begin.
    pub fn when(self, command: A::Command) -> Decided<A::Event, A::Rule> {
        self.when_at(1000, command)
    }

    /// Decides a command that comes at this second.
    pub fn when_at(self, second: i64, command: A::Command) -> Decided<A::Event, A::Rule> {
        Decided(self.0.decide(command, at(second)))
    }
}

impl<E: Debug + PartialEq, R: Debug + PartialEq> Decided<E, R> {
    #[track_caller]
    pub fn then(self, events: &[E]) {
        assert_eq!(self.0.as_deref(), Ok(events));
    }

    /// Refused, and nothing happened.
    #[track_caller]
    pub fn then_refused(self, rule: R) {
        self.then_refused_recording(rule, Vec::new());
    }

    /// Refused, and the refusal made something happen.
    #[track_caller]
    pub fn then_refused_recording(self, rule: R, events: Vec<E>) {
        assert_eq!(self.0, Err(Refusal { rule, events }));
    }
}
