//! A key that admits a script to one proxy, and to nothing else.
//!
//! Stream `api-key-<id>`. Only the hash of the key is kept. It never works at OAuth endpoints.

use serde::{Deserialize, Serialize};

use crate::event::Correlation;
use crate::id::{OperatorId, ProxyId};
use crate::scope::Scope;
use crate::secret::SecretHash;
use crate::text::is_name;
use crate::{Aggregate, Fact, Refusal, Timestamp};

/// What may be asked of an API key's stream.
#[derive(Clone, Debug)]
pub enum Command {
    /// Make the key good for its proxy.
    Issue(Issued),
    /// End it now.
    Revoke(Revoked),
}

/// What can happen to an API key.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// It was handed to an operator.
    Issued(Issued),
    /// It was ended before its time.
    Revoked(Revoked),
}

/// A key was handed to an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// What operators call it.
    pub name: String,
    /// The only proxy that admits it.
    pub proxy_id: ProxyId,
    /// What it may do there.
    #[serde(default, skip_serializing_if = "Scope::is_empty")]
    pub scopes: Scope,
    /// When it ends by itself; absent: never.
    #[serde(
        with = "crate::timestamp::optional",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub expires_at: Option<Timestamp>,
    /// Hash of the key.
    #[serde(rename = "key_sha256")]
    pub key: SecretHash,
    /// Who asked for it.
    pub by: OperatorId,
}

/// A key was ended before its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// Who ended it.
    pub by: OperatorId,
}

/// The rules of an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// The id is taken.
    #[error("an API key with this id exists")]
    Exists,
    /// There is none of this id.
    #[error("there is no such API key")]
    Unknown,
    /// The name is empty, too long or not printable.
    #[error("expected a name of 1 to 200 printable characters")]
    Name,
    /// It would never have been good.
    #[error("expected an expiry in the future")]
    ExpiresAt,
}

/// Why a presented key is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// Never issued, or another key than the one that was.
    #[error("unknown API key")]
    Unknown,
    /// Issued for another proxy.
    #[error("API key of another proxy")]
    OtherProxy,
    /// Past its end.
    #[error("API key expired")]
    Expired,
    /// Ended by an operator.
    #[error("API key revoked")]
    Revoked,
}

impl Denial {
    /// The stable word for it in the record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown_api_key",
            Self::OtherProxy => "api_key_of_another_proxy",
            Self::Expired => "api_key_expired",
            Self::Revoked => "api_key_revoked",
        }
    }
}

/// An API key as its stream tells it.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ApiKey {
    /// Never issued.
    #[default]
    Absent,
    /// Good until it expires.
    Live(Box<Issued>),
    /// Ended by an operator; as it was then.
    Revoked(Box<Issued>),
}

impl ApiKey {
    /// The key's terms, if the presented key is good at this proxy now.
    ///
    /// # Errors
    /// It is unknown, another proxy's, expired or revoked.
    pub fn admit(
        &self,
        key: &SecretHash,
        proxy_id: ProxyId,
        now: Timestamp,
    ) -> Result<&Issued, Denial> {
        match self {
            Self::Absent => Err(Denial::Unknown),
            Self::Revoked(_) => Err(Denial::Revoked),
            Self::Live(issued) if issued.key != *key => Err(Denial::Unknown),
            Self::Live(issued) if issued.proxy_id != proxy_id => Err(Denial::OtherProxy),
            Self::Live(issued) if issued.expires_at.is_some_and(|end| now >= end) => {
                Err(Denial::Expired)
            }
            Self::Live(issued) => Ok(issued),
        }
    }

    /// Whether it is good now, for whoever presented it.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        matches!(self, Self::Live(issued) if issued.expires_at.is_none_or(|end| now < end))
    }
}

impl Aggregate for ApiKey {
    type Command = Command;
    type Event = Event;
    type Rule = Rule;

    fn decide(&self, command: Command, now: Timestamp) -> Result<Vec<Event>, Refusal<Rule, Event>> {
        match (command, self) {
            (Command::Issue(issued), Self::Absent) => {
                if !is_name(&issued.name) {
                    return Err(Rule::Name.into());
                }
                if issued.expires_at.is_some_and(|end| end <= now) {
                    return Err(Rule::ExpiresAt.into());
                }
                Ok(vec![Event::Issued(issued)])
            }
            (Command::Issue(_), Self::Live(_) | Self::Revoked(_)) => Err(Rule::Exists.into()),
            (Command::Revoke(revoked), Self::Live(_)) => Ok(vec![Event::Revoked(revoked)]),
            (Command::Revoke(_), Self::Revoked(_)) => Ok(Vec::new()),
            (Command::Revoke(_), Self::Absent) => Err(Rule::Unknown.into()),
        }
    }

    fn evolve(self, fact: Fact<'_, Event>) -> Self {
        match (self, fact.event) {
            (Self::Absent, Event::Issued(issued)) => Self::Live(Box::new(issued.clone())),
            (Self::Live(issued), Event::Revoked(_)) => Self::Revoked(issued),
            (state, Event::Issued(_) | Event::Revoked(_)) => state,
        }
    }

    fn correlation(&self) -> Correlation {
        match self {
            Self::Absent => Correlation::default(),
            Self::Live(issued) | Self::Revoked(issued) => Correlation {
                proxy_id: Some(issued.proxy_id),
                ..Correlation::default()
            },
        }
    }
}
