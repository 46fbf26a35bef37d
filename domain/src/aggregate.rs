//! The shape every aggregate has: a pure decision and a total fold.

use crate::event::Correlation;
use crate::id::EventId;

/// An instant in UTC. Clocks are read outside this crate and truncated to microseconds.
pub type Timestamp = chrono::DateTime<chrono::Utc>;

/// A consistency boundary: one stream of events and the rules that guard it.
///
/// `Default` is the state before the first event.
pub trait Aggregate: Clone + Default {
    /// What a caller may ask; holds all outside knowledge that the decision needs.
    type Command;
    /// What can have happened.
    type Event: Clone;
    /// The rules that a command can break.
    type Rule;

    /// Decides what happens. An empty list means: already so, nothing to record.
    ///
    /// # Errors
    /// A [`Refusal`] names the broken rule, and may itself hold events worth recording.
    #[expect(
        clippy::type_complexity,
        reason = "an alias would hide what a decision is"
    )]
    fn decide(
        &self,
        command: Self::Command,
        now: Timestamp,
    ) -> Result<Vec<Self::Event>, Refusal<Self::Rule, Self::Event>>;

    /// The state after an event. Never fails: what was recorded has happened.
    #[must_use]
    fn evolve(self, fact: Fact<'_, Self::Event>) -> Self;

    /// Whom and what this stream's events are about, for their envelopes.
    fn correlation(&self) -> Correlation {
        Correlation::default()
    }
}

/// An event with the identity and the instant it was recorded under.
#[derive(Debug)]
pub struct Fact<'a, E> {
    /// The event's id; for events that issue an access token, its `jti`.
    pub id: EventId,
    /// When it was recorded, by the recording node's clock.
    pub at: Timestamp,
    /// What happened.
    pub event: &'a E,
}

/// A command that broke a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal<R, E> {
    /// The rule.
    pub rule: R,
    /// What the refusal itself makes true, such as a revocation after a replay.
    pub events: Vec<E>,
}

impl<R, E> Refusal<R, E> {
    /// A refusal that must be recorded before it is answered.
    pub fn recording(rule: R, events: Vec<E>) -> Self {
        Self { rule, events }
    }
}

impl<R, E> From<R> for Refusal<R, E> {
    fn from(rule: R) -> Self {
        Self {
            rule,
            events: Vec::new(),
        }
    }
}
