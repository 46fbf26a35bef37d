//! One authorization and everything that follows from it: login, code, redemption, every
//! refresh, reuse, revocation. Its stream, `grant-<id>`, is the story an investigator reads.
//!
//! Rules: RFC 6749 §4.1 and §6, RFC 7636, RFC 8707, RFC 9700 §2.2.2 and §4.14 (rotation).
//!
//! Invariants: at most one redemption succeeds; at most one refresh token is the newest
//! (*leaf*); nothing lives after reuse, replay or revocation; rotation never moves the absolute
//! end; a check that fails consumes nothing. Neither codes nor tokens are here: a code is known
//! by its hash, a refresh token by its generation (its MAC is checked outside, see
//! [`Grant::refresh_salt`]), an access token by the id of the event that issued it.

mod command;
mod event;
mod live;
mod redeem;
mod refresh;

pub use command::{
    Authorize, Command, DenyConsent, FailLogin, RedeemCode, RotateRefreshToken, TokenPolicy,
};
pub use event::{
    AccessTokenFirstUsed, CodeIssued, CodeRedeemed, CodeReplayed, Consent, ConsentDenied, Event,
    InvalidNote, LoginFailed, LoginSucceeded, RefreshSalt, RefreshTokenIssued, RefreshTokenRetried,
    RefreshTokenReused, RefreshTokenRotated, Requested, RevocationReason, Revoked,
    UpstreamTokenRefreshed,
};
pub use live::{AccessToken, Ended, Ends, Leaf, Live, Redeemed, Tokens};

use std::sync::Arc;

use crate::event::Correlation;
use crate::id::{ClientId, EventId, GrantId, ProxyId};
use crate::{Aggregate, Fact, Refusal, Timestamp};

/// The rules of a grant. Each is one refusal inside; most are `invalid_grant` outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// The authorization has already been answered: a callback came twice.
    #[error("this authorization has already been answered")]
    AlreadyAnswered,
    /// No authorization of this id ever succeeded.
    #[error("there is no such grant")]
    UnknownGrant,
    /// It was issued to another client.
    #[error("issued to another client")]
    ClientMismatch,
    /// It was issued at another proxy.
    #[error("issued at another proxy")]
    ProxyMismatch,
    /// The code's secret is not the one that was issued.
    #[error("the code is not the one that was issued")]
    CodeMismatch,
    /// The code is older than its lifetime.
    #[error("the code has expired")]
    CodeExpired,
    /// The code was redeemed before; the grant is revoked.
    #[error("the code was redeemed before")]
    CodeReplayed,
    /// `redirect_uri` differs from the authorization request's.
    #[error("redirect_uri differs from the authorization request's")]
    RedirectUriMismatch,
    /// `code_verifier` is missing.
    #[error("code_verifier is missing")]
    CodeVerifierMissing,
    /// `code_verifier` is malformed or does not match the challenge.
    #[error("code_verifier does not match the code_challenge")]
    CodeVerifierMismatch,
    /// `resource` is not what was authorized.
    #[error("resource is not what was authorized")]
    ResourceMismatch,
    /// `scope` asks for more than was granted.
    #[error("scope exceeds what was granted")]
    ScopeExceeded,
    /// No refresh token of this generation was ever issued.
    #[error("no such refresh token was issued")]
    UnknownRefreshToken,
    /// The refresh token went unused for too long.
    #[error("the refresh token has expired")]
    RefreshTokenExpired,
    /// A replaced refresh token came back outside its retry window; the grant is revoked.
    #[error("the refresh token was used before")]
    RefreshTokenReused,
    /// The last refresh was retried more often than any client in good faith would.
    #[error("the refresh was retried too often")]
    RetriedTooOften,
    /// The whole grant is past its absolute end.
    #[error("the grant has expired")]
    GrantExpired,
    /// The grant was revoked.
    #[error("the grant was revoked")]
    Revoked,
}

impl Rule {
    /// The stable word for it in the record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyAnswered => "already_answered",
            Self::UnknownGrant => "unknown_grant",
            Self::ClientMismatch => "client_mismatch",
            Self::ProxyMismatch => "proxy_mismatch",
            Self::CodeMismatch => "code_mismatch",
            Self::CodeExpired => "code_expired",
            Self::CodeReplayed => "code_replayed",
            Self::RedirectUriMismatch => "redirect_uri_mismatch",
            Self::CodeVerifierMissing => "code_verifier_missing",
            Self::CodeVerifierMismatch => "code_verifier_mismatch",
            Self::ResourceMismatch => "resource_mismatch",
            Self::ScopeExceeded => "scope_exceeded",
            Self::UnknownRefreshToken => "unknown_refresh_token",
            Self::RefreshTokenExpired => "refresh_token_expired",
            Self::RefreshTokenReused => "refresh_token_reused",
            Self::RetriedTooOften => "retried_too_often",
            Self::GrantExpired => "grant_expired",
            Self::Revoked => "revoked",
        }
    }
}

/// A grant as its stream tells it.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Grant {
    /// Nobody has answered the authorization yet.
    #[default]
    Absent,
    /// The login failed or consent was denied: nothing can follow.
    Refused,
    /// Somebody logged in; tokens can be or have been issued.
    Live(Box<Live>),
    /// Ended before its time.
    Revoked(Box<Ended>),
}

impl Grant {
    /// What was authorized, once somebody has.
    #[must_use]
    pub fn authorization(&self) -> Option<&Arc<LoginSucceeded>> {
        match self {
            Self::Live(live) => Some(&live.authorization),
            Self::Revoked(ended) => Some(&ended.authorization),
            Self::Absent | Self::Refused => None,
        }
    }

    /// The salt that the MACs of this grant's refresh tokens are computed with.
    #[must_use]
    pub fn refresh_salt(&self) -> Option<RefreshSalt> {
        match self {
            Self::Live(live) => live.leaf().map(|leaf| leaf.salt),
            Self::Revoked(ended) => ended.salt,
            Self::Absent | Self::Refused => None,
        }
    }

    /// Whether it was granted and is neither revoked nor past its absolute end. No token outlives that, but
    /// many end before it: whoever holds one judges its own end beside this.
    #[must_use]
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        match self {
            Self::Live(live) => now < live.authorization.expires_at,
            Self::Absent | Self::Refused | Self::Revoked(_) => false,
        }
    }

    /// See [`Ends::live_until`]. `None` where nothing can be done with it any more, or never could.
    #[must_use]
    pub fn live_until(&self) -> Option<Timestamp> {
        match self {
            Self::Live(live) => Some(live.ends().live_until()),
            Self::Absent | Self::Refused | Self::Revoked(_) => None,
        }
    }

    /// The newest refresh token's generation and end, while one can be used.
    #[must_use]
    pub fn leaf(&self) -> Option<&Leaf> {
        match self {
            Self::Live(live) => live.leaf(),
            Self::Absent | Self::Refused | Self::Revoked(_) => None,
        }
    }

    fn live(&self) -> Result<&Live, Rule> {
        match self {
            Self::Live(live) => Ok(live),
            Self::Revoked(_) => Err(Rule::Revoked),
            Self::Absent | Self::Refused => Err(Rule::UnknownGrant),
        }
    }

    /// Whether `client_id` may act on it at `proxy_id`. Comes before every other check, so that a
    /// stranger's attempt neither consumes nor revokes anything.
    fn expect_party(&self, client_id: ClientId, proxy_id: ProxyId) -> Result<(), Rule> {
        let authorization = self.authorization().ok_or(Rule::UnknownGrant)?;
        if authorization.request.client_id != client_id {
            return Err(Rule::ClientMismatch);
        }
        if authorization.request.proxy_id != proxy_id {
            return Err(Rule::ProxyMismatch);
        }
        Ok(())
    }
}

impl Aggregate for Grant {
    type Command = Command;
    type Event = Event;
    type Rule = Rule;

    fn decide(&self, command: Command, now: Timestamp) -> Result<Vec<Event>, Refusal<Rule, Event>> {
        match command {
            Command::Authorize(command) => match self {
                Self::Absent => Ok(command.events(now)),
                Self::Refused | Self::Live(_) | Self::Revoked(_) => {
                    Err(Rule::AlreadyAnswered.into())
                }
            },
            Command::FailLogin(command) => match self {
                Self::Absent => Ok(vec![Event::LoginFailed(command.into())]),
                Self::Refused | Self::Live(_) | Self::Revoked(_) => {
                    Err(Rule::AlreadyAnswered.into())
                }
            },
            Command::DenyConsent(command) => match self {
                Self::Absent => Ok(vec![Event::ConsentDenied(command.into())]),
                Self::Refused | Self::Live(_) | Self::Revoked(_) => {
                    Err(Rule::AlreadyAnswered.into())
                }
            },
            Command::RedeemCode(command) => redeem::decide(self, &command, now),
            Command::RotateRefreshToken(command) => refresh::decide(self, &command, now),
            Command::RecordAccessTokenUse { jti } => Ok(self.record_use(jti)),
            Command::RecordUpstreamRefresh { expires_at } => {
                self.live()?;
                Ok(vec![Event::UpstreamTokenRefreshed(
                    UpstreamTokenRefreshed { expires_at },
                )])
            }
            Command::RevokeByClient {
                client_id,
                proxy_id,
            } => {
                self.expect_party(client_id, proxy_id)?;
                Ok(self.revoke(RevocationReason::ClientRequest))
            }
            Command::Revoke { reason } => {
                self.authorization().ok_or(Rule::UnknownGrant)?;
                Ok(self.revoke(reason))
            }
        }
    }

    fn evolve(self, fact: Fact<'_, Event>) -> Self {
        match (self, fact.event) {
            (Self::Absent, Event::LoginSucceeded(login)) => Self::Live(Box::new(Live {
                authorization: Arc::new(login.clone()),
                tokens: Tokens::None,
                access_tokens_expire_at: None,
            })),
            (Self::Absent, Event::LoginFailed(_) | Event::ConsentDenied(_)) => Self::Refused,
            (Self::Live(live), Event::Revoked(revoked)) => {
                Self::Revoked(Box::new(live.ended(revoked.reason.clone(), fact.at)))
            }
            (Self::Live(live), event) => Self::Live(Box::new(live.evolve(event, fact.id, fact.at))),
            (state @ (Self::Absent | Self::Refused | Self::Revoked(_)), _) => state,
        }
    }

    fn correlation(&self) -> Correlation {
        self.authorization()
            .map(|authorization| Correlation {
                proxy_id: Some(authorization.request.proxy_id),
                client_id: Some(authorization.request.client_id),
                subject: Some(authorization.subject),
            })
            .unwrap_or_default()
    }
}

impl Grant {
    /// First use of an access token: recorded once per token of the newest generation. Older
    /// generations' tokens are no longer tracked here; whoever asks remembers them.
    fn record_use(&self, jti: EventId) -> Vec<Event> {
        match self.live() {
            Ok(live) if live.redeemed().is_some_and(|r| r.knows_use_of(jti)) => Vec::new(),
            Ok(_) => vec![Event::AccessTokenFirstUsed(AccessTokenFirstUsed { jti })],
            Err(_) => Vec::new(),
        }
    }

    fn revoke(&self, reason: RevocationReason) -> Vec<Event> {
        match self {
            Self::Live(live) => vec![live.revoked(reason)],
            Self::Absent | Self::Refused | Self::Revoked(_) => Vec::new(),
        }
    }
}

/// The name of a grant's stream.
#[must_use]
pub fn stream(id: GrantId) -> String {
    format!("grant-{id}")
}
