//! A resource owner, as far as the log knows them: that they exist, and where they log in.
//!
//! Stream `subject-<id>`. Who they are is in the vault, or sealed beside the entries of their
//! grants; nothing here is personal.

use serde::{Deserialize, Serialize};

use crate::event::Correlation;
use crate::id::{ProviderId, SubjectId};
use crate::{Aggregate, Fact, Refusal, Timestamp};

/// What may be asked of a subject's stream.
#[derive(Clone, Debug)]
pub enum Command {
    /// They logged in; only the first time is recorded.
    See {
        /// Who they are to us.
        subject: SubjectId,
        /// Where they logged in.
        provider_id: ProviderId,
    },
}

/// What can happen to a subject.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// They logged in for the first time.
    FirstSeen(FirstSeen),
}

/// Somebody logged in for the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstSeen {
    /// Who they are to us.
    pub subject: SubjectId,
    /// Where they log in.
    pub provider_id: ProviderId,
}

/// The rules of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// A subject belongs to one provider for ever.
    #[error("this subject logs in at another provider")]
    OtherProvider,
}

/// A subject as their stream tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Subject {
    /// Never logged in.
    #[default]
    Absent,
    /// Logged in before.
    Known {
        /// Who they are to us.
        subject: SubjectId,
        /// Where they log in.
        provider_id: ProviderId,
        /// When they first did.
        first_seen_at: Timestamp,
    },
}

impl Aggregate for Subject {
    type Command = Command;
    type Event = Event;
    type Rule = Rule;

    fn decide(&self, command: Command, _: Timestamp) -> Result<Vec<Event>, Refusal<Rule, Event>> {
        let Command::See {
            subject,
            provider_id,
        } = command;
        match self {
            Self::Absent => Ok(vec![Event::FirstSeen(FirstSeen {
                subject,
                provider_id,
            })]),
            Self::Known {
                provider_id: known, ..
            } if *known == provider_id => Ok(Vec::new()),
            Self::Known { .. } => Err(Rule::OtherProvider.into()),
        }
    }

    fn evolve(self, fact: Fact<'_, Event>) -> Self {
        let Event::FirstSeen(seen) = fact.event;
        match self {
            Self::Absent => Self::Known {
                subject: seen.subject,
                provider_id: seen.provider_id,
                first_seen_at: fact.at,
            },
            Self::Known { .. } => self,
        }
    }

    fn correlation(&self) -> Correlation {
        match self {
            Self::Absent => Correlation::default(),
            Self::Known { subject, .. } => Correlation {
                subject: Some(*subject),
                ..Correlation::default()
            },
        }
    }
}
