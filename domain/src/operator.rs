//! Somebody who administers or investigates.
//!
//! Stream `operator-<id>`. Only the hash of an operator's token is kept. A removed operator is
//! never added again under the same id, so the record says for ever who did what.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::secret::SecretHash;
use crate::text::is_name;
use crate::{Aggregate, Fact, Refusal, Timestamp};

/// What an operator may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Read the record and the configuration.
    Auditor,
    /// Read, and revoke what must be contained.
    Responder,
}

/// What is asked of the administration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read the record or the configuration.
    Read,
    /// End grants, clients or keys.
    Revoke,
    /// Change the configuration, or who may do so.
    Configure,
}

impl Role {
    /// Whether this role allows an action.
    #[must_use]
    pub fn may(self, action: Action) -> bool {
        match (self, action) {
            (Self::Admin, Action::Read | Action::Revoke | Action::Configure)
            | (Self::Auditor, Action::Read)
            | (Self::Responder, Action::Read | Action::Revoke) => true,
            (Self::Auditor, Action::Revoke | Action::Configure)
            | (Self::Responder, Action::Configure) => false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admin => "admin",
            Self::Auditor => "auditor",
            Self::Responder => "responder",
        })
    }
}

/// What may be asked of an operator's stream.
#[derive(Clone, Debug)]
pub enum Command {
    /// Let somebody in.
    Add(Added),
    /// Give them another name or role; unchanged ones record nothing.
    Change {
        /// What they are called from now on, if something else.
        name: Option<String>,
        /// What they may do from now on, if something else.
        role: Option<Role>,
        /// As in [`Command::Remove`].
        another_admin_remains: bool,
    },
    /// Let them in with another token from now on; the one they have records nothing.
    ReplaceToken(TokenReplaced),
    /// Let them in no more.
    Remove {
        /// Whether somebody else administers, so that nobody is locked out for ever.
        another_admin_remains: bool,
    },
}

/// What can happen to an operator.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// They were let in.
    Added(Added),
    /// They got another name or role.
    Changed(Changed),
    /// They got another token; the old one lets nobody in.
    TokenReplaced(TokenReplaced),
    /// They are let in no more.
    Removed(Removed),
}

/// Somebody was let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// What they are called in the record.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Hash of their token.
    #[serde(rename = "token_sha256")]
    pub token: SecretHash,
}

/// An operator got another name or role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// What they are called from now on.
    pub name: String,
    /// What they may do from now on.
    pub role: Role,
}

/// An operator got another token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenReplaced {
    /// Hash of their token from now on.
    #[serde(rename = "token_sha256")]
    pub token: SecretHash,
}

/// An operator is let in no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {}

/// The rules of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// The id is taken.
    #[error("an operator with this id exists")]
    Exists,
    /// There is none of this id, or no more.
    #[error("there is no such operator")]
    Unknown,
    /// The name is empty, too long or not printable.
    #[error("expected a name of 1 to 200 printable characters")]
    Name,
    /// Nobody could administer any more.
    #[error("the last admin stays an admin")]
    LastAdmin,
}

/// An operator as their stream tells it.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Operator {
    /// Never added.
    #[default]
    Absent,
    /// Let in.
    Present(Added),
    /// Let in no more.
    Removed,
}

impl Operator {
    /// The operator, if the presented token is theirs and they are still let in.
    #[must_use]
    pub fn authenticate(&self, token: &SecretHash) -> Option<&Added> {
        match self {
            Self::Present(operator) if operator.token == *token => Some(operator),
            Self::Present(_) | Self::Absent | Self::Removed => None,
        }
    }
}

impl Aggregate for Operator {
    type Command = Command;
    type Event = Event;
    type Rule = Rule;

    fn decide(&self, command: Command, _: Timestamp) -> Result<Vec<Event>, Refusal<Rule, Event>> {
        match (command, self) {
            (Command::Add(added), Self::Absent) => {
                check_name(&added.name)?;
                Ok(vec![Event::Added(added)])
            }
            (Command::Add(_), Self::Present(_) | Self::Removed) => Err(Rule::Exists.into()),
            (
                Command::Change {
                    name,
                    role,
                    another_admin_remains,
                },
                Self::Present(current),
            ) => {
                let changed = Changed {
                    name: name.unwrap_or_else(|| current.name.clone()),
                    role: role.unwrap_or(current.role),
                };
                check_name(&changed.name)?;
                let steps_down = current.role == Role::Admin && changed.role != Role::Admin;
                if steps_down && !another_admin_remains {
                    return Err(Rule::LastAdmin.into());
                }
                let same = changed.name == current.name && changed.role == current.role;
                Ok(if same {
                    Vec::new()
                } else {
                    vec![Event::Changed(changed)]
                })
            }
            (Command::ReplaceToken(replaced), Self::Present(current)) => {
                Ok(if replaced.token == current.token {
                    Vec::new()
                } else {
                    vec![Event::TokenReplaced(replaced)]
                })
            }
            (
                Command::Remove {
                    another_admin_remains,
                },
                Self::Present(current),
            ) => {
                if current.role == Role::Admin && !another_admin_remains {
                    return Err(Rule::LastAdmin.into());
                }
                Ok(vec![Event::Removed(Removed {})])
            }
            (
                Command::Change { .. } | Command::ReplaceToken(_) | Command::Remove { .. },
                Self::Absent | Self::Removed,
            ) => Err(Rule::Unknown.into()),
        }
    }

    fn evolve(self, fact: Fact<'_, Event>) -> Self {
        match (self, fact.event) {
            (Self::Absent, Event::Added(added)) => Self::Present(added.clone()),
            (Self::Present(current), Event::Changed(changed)) => Self::Present(Added {
                name: changed.name.clone(),
                role: changed.role,
                token: current.token,
            }),
            (Self::Present(current), Event::TokenReplaced(replaced)) => Self::Present(Added {
                token: replaced.token,
                ..current
            }),
            (_, Event::Removed(_)) => Self::Removed,
            (state, Event::Added(_) | Event::Changed(_) | Event::TokenReplaced(_)) => state,
        }
    }
}

fn check_name(name: &str) -> Result<(), Rule> {
    if is_name(name) {
        Ok(())
    } else {
        Err(Rule::Name)
    }
}
