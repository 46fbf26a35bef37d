//! An upstream identity provider: who people log in with.
//!
//! Stream `provider-N`. The client secret is in the vault; events name only its version.

use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

use crate::scope::Scope;
use crate::text::is_name;
use crate::{Aggregate, Fact, Refusal, Timestamp};

/// How a provider is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// What operators call it.
    pub name: String,
    /// Which dialect it speaks.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Our client id at the provider.
    pub client_id: String,
    /// The OpenID Connect issuer, from which everything else is discovered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Url>,
    /// Overrides or replaces the discovered authorization endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_url: Option<Url>,
    /// Overrides or replaces the discovered token endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_url: Option<Url>,
    /// Overrides or replaces the discovered userinfo endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub userinfo_url: Option<Url>,
    /// Overrides or replaces the discovered key set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<Url>,
    /// What is asked of the provider for each login; empty: the default of its kind.
    #[serde(default, skip_serializing_if = "Scope::is_empty")]
    pub scopes: Scope,
}

impl Settings {
    /// What is asked of the provider for each login, and of a proxy that says nothing of scopes: one
    /// set, so that clients are offered what people are asked for.
    #[must_use]
    pub fn scopes_or_default(&self) -> Scope {
        if self.scopes.is_empty() {
            self.kind.default_scopes()
        } else {
            self.scopes.clone()
        }
    }

    fn check(&self) -> Result<(), Rule> {
        if !is_name(&self.name) {
            return Err(Rule::Name);
        }
        if !is_name(&self.client_id) {
            return Err(Rule::ClientId);
        }
        Ok(())
    }
}

/// The dialect of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Okta, custom authorization servers included.
    Okta,
    /// Google.
    Google,
    /// GitHub: OAuth 2 without OpenID Connect.
    Github,
    /// Microsoft Entra ID.
    AzureAd,
    /// Any OpenID Connect provider, by discovery.
    Oidc,
    /// Any OAuth 2 server with a userinfo endpoint.
    Oauth2,
}

impl Kind {
    /// What tells who a person is; nothing where no standard says.
    #[must_use]
    pub fn default_scopes(self) -> Scope {
        let tokens = match self {
            Self::Okta | Self::Google | Self::AzureAd | Self::Oidc => "openid profile email",
            Self::Github => "user:email",
            Self::Oauth2 => "",
        };
        tokens.parse().expect("scope tokens")
    }
}

/// What may be asked of a provider.
#[derive(Clone, Debug)]
pub enum Command {
    /// Make it known. Its secret is already in the vault under `secret_version`.
    Add {
        /// How to speak to it.
        settings: Settings,
        /// Which client secret in the vault belongs to it.
        secret_version: Uuid,
    },
    /// Replace its settings; unchanged settings record nothing.
    Change {
        /// What they were when the new ones were made of them.
        from: Box<Configured>,
        /// How to speak to it from now on.
        settings: Settings,
        /// Which client secret in the vault belongs to it.
        secret_version: Uuid,
    },
    /// Take it away. Grants that came through it are revoked apart.
    Remove {
        /// Whether people log in with it at a proxy.
        in_use: bool,
    },
}

/// What can happen to a provider.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// It became known.
    Added(Box<Configured>),
    /// Its settings or its secret changed.
    Changed(Box<Configured>),
    /// It was taken away.
    Removed(Removed),
}

/// A provider's whole configuration after a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configured {
    /// How to speak to it.
    #[serde(flatten)]
    pub settings: Settings,
    /// Which client secret in the vault belongs to it.
    pub secret_version: Uuid,
}

/// A provider was taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {}

/// The rules of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// The number is taken.
    #[error("a provider with this number exists")]
    Exists,
    /// There is none of this number, or no more.
    #[error("there is no such provider")]
    Unknown,
    /// Its settings are no longer those that the change was made of.
    #[error("the provider was changed meanwhile")]
    Outdated,
    /// The name is empty, too long or not printable.
    #[error("name: expected 1 to 200 printable characters")]
    Name,
    /// Our client id there is empty or not printable.
    #[error("client_id: expected the client id that the provider gave us")]
    ClientId,
    /// Proxies send people there to log in.
    #[error("proxies use this provider")]
    InUse,
}

/// A provider as its stream tells it.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Provider {
    /// Never added.
    #[default]
    Absent,
    /// People can log in with it.
    Present(Box<Configured>),
    /// Taken away; the number is never given out again.
    Removed,
}

impl Provider {
    /// The configuration, while there is one.
    #[must_use]
    pub fn configured(&self) -> Option<&Configured> {
        match self {
            Self::Present(configured) => Some(configured),
            Self::Absent | Self::Removed => None,
        }
    }
}

impl Aggregate for Provider {
    type Command = Command;
    type Event = Event;
    type Rule = Rule;

    fn decide(&self, command: Command, _: Timestamp) -> Result<Vec<Event>, Refusal<Rule, Event>> {
        match (command, self) {
            (
                Command::Add {
                    settings,
                    secret_version,
                },
                Self::Absent,
            ) => {
                settings.check()?;
                let configured = Configured {
                    settings,
                    secret_version,
                };
                Ok(vec![Event::Added(Box::new(configured))])
            }
            (Command::Add { .. }, Self::Present(_) | Self::Removed) => Err(Rule::Exists.into()),
            (
                Command::Change {
                    from,
                    settings,
                    secret_version,
                },
                Self::Present(current),
            ) => {
                settings.check()?;
                let next = Configured {
                    settings,
                    secret_version,
                };
                if next == **current {
                    Ok(Vec::new())
                } else if from == *current {
                    Ok(vec![Event::Changed(Box::new(next))])
                } else {
                    Err(Rule::Outdated.into())
                }
            }
            (Command::Remove { in_use: true }, Self::Present(_)) => Err(Rule::InUse.into()),
            (Command::Remove { in_use: false }, Self::Present(_)) => {
                Ok(vec![Event::Removed(Removed {})])
            }
            (Command::Change { .. } | Command::Remove { .. }, Self::Absent | Self::Removed) => {
                Err(Rule::Unknown.into())
            }
        }
    }

    fn evolve(self, fact: Fact<'_, Event>) -> Self {
        match fact.event {
            Event::Added(configured) | Event::Changed(configured) => {
                Self::Present(configured.clone())
            }
            Event::Removed(_) => Self::Removed,
        }
    }
}
