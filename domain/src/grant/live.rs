//! What a grant holds between its login and its revocation, and what remains of it then.

use std::sync::Arc;

use super::Rule;
use super::event::{
    CodeIssued, Event, LoginSucceeded, RefreshSalt, RefreshTokenIssued, RefreshTokenRotated,
    RevocationReason, Revoked,
};
use crate::Timestamp;
use crate::id::EventId;
use crate::resource::{RequestedResource, Resource, narrowed};

/// A grant that has not been revoked (it may still be past its end).
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// What was authorized; never changes, so states share it.
    pub authorization: Arc<LoginSucceeded>,
    /// How far token issuance has come.
    pub tokens: Tokens,
    /// When the last access token issued so far ends.
    pub access_tokens_expire_at: Option<Timestamp>,
}

/// How far token issuance has come.
#[derive(Clone, Debug, PartialEq)]
pub enum Tokens {
    /// The code is about to be issued.
    None,
    /// A code waits to be redeemed.
    Code(CodeIssued),
    /// The code was redeemed.
    Redeemed(Redeemed),
}

/// The token family after redemption.
#[derive(Clone, Debug, PartialEq)]
pub struct Redeemed {
    /// The code that was redeemed, to recognize its replay.
    pub code: CodeIssued,
    /// The newest access tokens: issued beside the newest refresh token, by first issue and each
    /// retry, or with the code if the client may not refresh.
    pub access_tokens: Vec<AccessToken>,
    /// The newest refresh token, unless the client may not refresh.
    pub refresh: Option<Leaf>,
}

/// An access token of the newest generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// The id of the event that issued it.
    pub jti: EventId,
    /// Whether it has reached the protected resource.
    pub used: bool,
}

/// The newest refresh token of a grant.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    /// Its number: 1 at redemption, one more at each rotation.
    pub generation: u32,
    /// Part of every refresh token's MAC, so that the refresh key alone forges nothing.
    pub salt: RefreshSalt,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it dies unused.
    pub expires_at: Timestamp,
}

/// What remains of a grant after its revocation.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// What was authorized.
    pub authorization: Arc<LoginSucceeded>,
    /// Part of every refresh token's MAC: a revoked token is still recognized as ours.
    pub salt: Option<RefreshSalt>,
    /// When it ended.
    pub at: Timestamp,
    /// Why it ended.
    pub reason: RevocationReason,
}

/// When a grant that was not revoked ends, and what was issued of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The grant itself, whatever is refreshed.
    pub grant: Timestamp,
    /// Its code, while it waits to be redeemed.
    pub code: Option<Timestamp>,
    /// The last of its access tokens.
    pub access_tokens: Option<Timestamp>,
    /// Its newest refresh token.
    pub refresh_token: Option<Timestamp>,
}

impl Ends {
    /// Until when something can be done with it, if nothing else happens: the code redeemed, an access
    /// token used, or a refresh token exchanged.
    #[must_use]
    pub fn live_until(self) -> Timestamp {
        let last = self.code.max(self.access_tokens).max(self.refresh_token);
        last.map_or(self.grant, |last| last.min(self.grant))
    }
}

impl Live {
    /// The newest refresh token.
    #[must_use]
    pub fn leaf(&self) -> Option<&Leaf> {
        self.redeemed()?.refresh.as_ref()
    }

    pub(super) fn ends(&self) -> Ends {
        Ends {
            grant: self.authorization.expires_at,
            code: match &self.tokens {
                Tokens::Code(code) => Some(code.expires_at),
                Tokens::None | Tokens::Redeemed(_) => None,
            },
            access_tokens: self.access_tokens_expire_at,
            refresh_token: self.leaf().map(|leaf| leaf.expires_at),
        }
    }

    /// The token family, once the code was redeemed.
    pub(super) fn redeemed(&self) -> Option<&Redeemed> {
        match &self.tokens {
            Tokens::Redeemed(redeemed) => Some(redeemed),
            Tokens::None | Tokens::Code(_) => None,
        }
    }

    /// The resource of an access token, where it is another one than was authorized.
    pub(super) fn narrowed(
        &self,
        requested: Option<&RequestedResource>,
    ) -> Result<Option<Resource>, Rule> {
        narrowed(requested, &self.authorization.request.resource)
            .map_err(|_| Rule::ResourceMismatch)
    }

    pub(super) fn revoked(&self, reason: RevocationReason) -> Event {
        Event::Revoked(Revoked {
            reason,
            access_tokens_expire_at: self.access_tokens_expire_at,
        })
    }

    pub(super) fn ended(self, reason: RevocationReason, at: Timestamp) -> Ended {
        Ended {
            salt: self.leaf().map(|leaf| leaf.salt),
            authorization: self.authorization,
            at,
            reason,
        }
    }

    pub(super) fn evolve(mut self, event: &Event, id: EventId, at: Timestamp) -> Self {
        match event {
            Event::CodeIssued(code) => self.tokens = Tokens::Code(code.clone()),
            Event::CodeRedeemed(redeemed) => {
                if let Tokens::Code(code) = self.tokens {
                    self.tokens = Tokens::Redeemed(Redeemed {
                        code,
                        access_tokens: vec![AccessToken::new(id)],
                        refresh: redeemed
                            .refresh_token
                            .as_ref()
                            .map(|issued| Leaf::first(issued, at)),
                    });
                }
                self.issued_until(redeemed.access_token_expires_at);
            }
            Event::RefreshTokenRotated(rotated) => {
                if let Some(redeemed) = self.redeemed_mut() {
                    redeemed.access_tokens = vec![AccessToken::new(id)];
                    if let Some(leaf) = &mut redeemed.refresh {
                        leaf.rotated(rotated, at);
                    }
                }
                self.issued_until(rotated.access_token_expires_at);
            }
            Event::RefreshTokenRetried(retried) => {
                if let Some(redeemed) = self.redeemed_mut() {
                    redeemed.access_tokens.push(AccessToken::new(id));
                }
                self.issued_until(retried.access_token_expires_at);
            }
            Event::AccessTokenFirstUsed(used) => {
                for token in self
                    .redeemed_mut()
                    .into_iter()
                    .flat_map(|r| &mut r.access_tokens)
                {
                    token.used |= token.jti == used.jti;
                }
            }
            Event::LoginSucceeded(_)
            | Event::LoginFailed(_)
            | Event::ConsentDenied(_)
            | Event::CodeReplayed(_)
            | Event::RefreshTokenReused(_)
            | Event::UpstreamTokenRefreshed(_)
            | Event::Revoked(_) => {}
        }
        self
    }

    fn redeemed_mut(&mut self) -> Option<&mut Redeemed> {
        match &mut self.tokens {
            Tokens::Redeemed(redeemed) => Some(redeemed),
            Tokens::None | Tokens::Code(_) => None,
        }
    }

    fn issued_until(&mut self, expires_at: Timestamp) {
        self.access_tokens_expire_at = self.access_tokens_expire_at.max(Some(expires_at));
    }
}

impl Redeemed {
    /// Whether a newest access token has been used: then no retry is due any more.
    pub(super) fn is_used(&self) -> bool {
        self.access_tokens.iter().any(|token| token.used)
    }

    /// Whether this one of the newest access tokens has been used before.
    pub(super) fn knows_use_of(&self, jti: EventId) -> bool {
        self.access_tokens
            .contains(&AccessToken { jti, used: true })
    }
}

impl AccessToken {
    fn new(jti: EventId) -> Self {
        Self { jti, used: false }
    }
}

impl Leaf {
    fn first(issued: &RefreshTokenIssued, at: Timestamp) -> Self {
        Self {
            generation: 1,
            salt: issued.salt,
            issued_at: at,
            expires_at: issued.expires_at,
        }
    }

    fn rotated(&mut self, rotated: &RefreshTokenRotated, at: Timestamp) {
        self.generation = rotated.generation;
        self.issued_at = at;
        self.expires_at = rotated.expires_at;
    }
}
