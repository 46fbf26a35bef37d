//! A protected MCP server and the terms on which its tokens are issued.
//!
//! Stream `proxy-N`. What is secret or personal about a proxy (static upstream headers, the
//! subjects it admits) is in the vault; events name only its version.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

use crate::grant::TokenPolicy;
use crate::id::ProviderId;
use crate::key::Algorithm;
use crate::redirect_uri::{AllowedRedirects, InvalidPattern};
use crate::scope::Scope;
use crate::text::is_name;
use crate::{Aggregate, Fact, Refusal, Timestamp};

/// The terms of a proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// What operators and consent pages call it.
    pub name: String,
    /// The MCP server behind it.
    pub upstream_url: Url,
    /// Whether it answers at all.
    pub enabled: bool,
    /// Where people log in.
    pub provider_id: ProviderId,
    /// Which redirect URIs may be registered.
    #[serde(default)]
    pub allowed_redirects: AllowedRedirects,
    /// Whether people are asked before they are sent to the provider.
    pub require_consent: bool,
    /// What clients may ask for; absent: the provider's scopes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scope>,
    /// What clients get that ask for nothing; absent: all of `scopes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_scopes: Option<Scope>,
    /// What every call to the MCP server needs.
    #[serde(default, skip_serializing_if = "Scope::is_empty")]
    pub required_scopes: Scope,
    /// An access token's life, in seconds.
    pub access_token_s: u32,
    /// How long a refresh token may go unused, in seconds.
    pub refresh_token_s: u32,
    /// The whole grant's life, in seconds.
    pub grant_s: u32,
    /// How long a replaced refresh token may be retried, in seconds; 0 means never.
    pub refresh_retry_s: u32,
    /// What access tokens are signed with.
    pub token_alg: Algorithm,
    /// What the MCP server gets in place of the client's token.
    pub upstream_auth: UpstreamAuth,
}

impl Settings {
    /// How long tokens live.
    #[must_use]
    pub fn token_policy(&self) -> TokenPolicy {
        TokenPolicy {
            access_token: TimeDelta::seconds(self.access_token_s.into()),
            refresh_token: TimeDelta::seconds(self.refresh_token_s.into()),
            refresh_retry: TimeDelta::seconds(self.refresh_retry_s.into()),
        }
    }

    /// How long a whole grant lives.
    #[must_use]
    pub fn grant_lifetime(&self) -> TimeDelta {
        TimeDelta::seconds(self.grant_s.into())
    }

    /// What clients may ask for, given what the provider is asked for.
    #[must_use]
    pub fn scopes<'a>(&'a self, provider: &'a Scope) -> &'a Scope {
        self.scopes.as_ref().unwrap_or(provider)
    }

    /// What clients get that ask for nothing.
    #[must_use]
    pub fn default_scopes<'a>(&'a self, provider: &'a Scope) -> &'a Scope {
        self.default_scopes
            .as_ref()
            .unwrap_or_else(|| self.scopes(provider))
    }

    fn check(&self) -> Result<(), Rule> {
        if !is_name(&self.name) {
            return Err(Rule::Name);
        }
        if !matches!(self.upstream_url.scheme(), "http" | "https") || !self.upstream_url.has_host()
        {
            return Err(Rule::UpstreamUrl);
        }
        if !self.upstream_url.username().is_empty()
            || self.upstream_url.password().is_some()
            || self.upstream_url.fragment().is_some()
        {
            return Err(Rule::UpstreamUrl);
        }
        if !(1..=ACCESS_TOKEN_S_MAX).contains(&self.access_token_s) {
            return Err(Rule::AccessTokenSeconds);
        }
        if !(1..=GRANT_S_MAX).contains(&self.refresh_token_s) {
            return Err(Rule::RefreshTokenSeconds);
        }
        if !(1..=GRANT_S_MAX).contains(&self.grant_s) {
            return Err(Rule::GrantSeconds);
        }
        if self.refresh_retry_s > ACCESS_TOKEN_S_MAX {
            return Err(Rule::RefreshRetrySeconds);
        }
        if let (Some(scopes), Some(default)) = (&self.scopes, &self.default_scopes)
            && !scopes.contains(default)
        {
            return Err(Rule::DefaultScopes);
        }
        Ok(self.allowed_redirects.check()?)
    }
}

/// A day: longer access tokens would make revocation lists, and mistakes, last.
const ACCESS_TOKEN_S_MAX: u32 = 24 * 60 * 60;
/// Ten years.
const GRANT_S_MAX: u32 = 10 * 365 * 24 * 60 * 60;

/// What the MCP server gets in place of the client's token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamAuth {
    /// The person's own token from the provider.
    #[default]
    ProviderToken,
    /// Nothing.
    None,
    /// Fixed headers, kept in the vault.
    Static,
}

/// What may be asked of a proxy.
#[derive(Clone, Debug)]
pub enum Command {
    /// Make it known.
    Add {
        /// Its terms.
        settings: Box<Settings>,
        /// Which secret settings in the vault belong to it, if any.
        private_version: Option<Uuid>,
        /// Whether its provider exists.
        provider_is_known: bool,
    },
    /// Replace its terms; unchanged terms record nothing.
    Change {
        /// What they were when the new ones were made of them.
        from: Box<Configured>,
        /// Its terms from now on.
        settings: Box<Settings>,
        /// Which secret settings in the vault belong to it, if any.
        private_version: Option<Uuid>,
        /// Whether its provider exists.
        provider_is_known: bool,
    },
    /// Take it away. Its grants are revoked apart.
    Remove,
}

/// What can happen to a proxy.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// It became known.
    Added(Box<Configured>),
    /// Its terms changed.
    Changed(Box<Configured>),
    /// It was taken away.
    Removed(Removed),
}

/// A proxy's whole configuration after a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Configured {
    /// Its terms.
    #[serde(flatten)]
    pub settings: Settings,
    /// Which secret settings in the vault belong to it, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_version: Option<Uuid>,
}

/// A proxy was taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {}

/// The rules of a proxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// The number is taken.
    #[error("a proxy with this number exists")]
    Exists,
    /// There is none of this number, or no more.
    #[error("there is no such proxy")]
    Unknown,
    /// Its terms are no longer those that the change was made of.
    #[error("the proxy was changed meanwhile")]
    Outdated,
    /// Its provider does not exist.
    #[error("oauth_proxy_provider_id: expected the number of a provider")]
    UnknownProvider,
    /// The name is empty, too long or not printable.
    #[error("name: expected 1 to 200 printable characters")]
    Name,
    /// The upstream is no plain http(s) URL.
    #[error("upstream_url: expected an http or https URL without credentials or fragment")]
    UpstreamUrl,
    /// The access token's life is out of bounds.
    #[error("oauth_proxy_access_token_seconds: expected 1 to 86400")]
    AccessTokenSeconds,
    /// The refresh token's life is out of bounds.
    #[error("oauth_proxy_refresh_token_seconds: expected 1 to 315360000")]
    RefreshTokenSeconds,
    /// The grant's life is out of bounds.
    #[error("oauth_proxy_grant_seconds: expected 1 to 315360000")]
    GrantSeconds,
    /// The retry window is out of bounds.
    #[error("oauth_proxy_refresh_retry_seconds: expected 0 to 86400")]
    RefreshRetrySeconds,
    /// A default scope is not among the scopes.
    #[error("oauth_proxy_default_scopes: expected scopes that are among oauth_proxy_scopes")]
    DefaultScopes,
    /// An entry of the list of redirects says nothing.
    #[error("oauth_proxy_allowed_redirects: {0}")]
    AllowedRedirects(#[from] InvalidPattern),
}

/// A proxy as its stream tells it.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Proxy {
    /// Never added.
    #[default]
    Absent,
    /// Known; it may be switched off.
    Present(Box<Configured>),
    /// Taken away; the number is never given out again.
    Removed,
}

impl Proxy {
    /// The configuration, while there is one.
    #[must_use]
    pub fn configured(&self) -> Option<&Configured> {
        match self {
            Self::Present(configured) => Some(configured),
            Self::Absent | Self::Removed => None,
        }
    }
}

impl Aggregate for Proxy {
    type Command = Command;
    type Event = Event;
    type Rule = Rule;

    fn decide(&self, command: Command, _: Timestamp) -> Result<Vec<Event>, Refusal<Rule, Event>> {
        match (command, self) {
            (
                Command::Add {
                    settings,
                    private_version,
                    provider_is_known,
                },
                Self::Absent,
            ) => {
                let configured = configured(*settings, private_version, provider_is_known)?;
                Ok(vec![Event::Added(Box::new(configured))])
            }
            (Command::Add { .. }, Self::Present(_) | Self::Removed) => Err(Rule::Exists.into()),
            (
                Command::Change {
                    from,
                    settings,
                    private_version,
                    provider_is_known,
                },
                Self::Present(current),
            ) => {
                let next = configured(*settings, private_version, provider_is_known)?;
                if next == **current {
                    Ok(Vec::new())
                } else if from == *current {
                    Ok(vec![Event::Changed(Box::new(next))])
                } else {
                    Err(Rule::Outdated.into())
                }
            }
            (Command::Remove, Self::Present(_)) => Ok(vec![Event::Removed(Removed {})]),
            (Command::Change { .. } | Command::Remove, Self::Absent | Self::Removed) => {
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

fn configured(
    settings: Settings,
    private_version: Option<Uuid>,
    provider_is_known: bool,
) -> Result<Configured, Rule> {
    settings.check()?;
    if !provider_is_known {
        return Err(Rule::UnknownProvider);
    }
    Ok(Configured {
        settings,
        private_version,
    })
}
