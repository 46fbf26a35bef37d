//! What may be asked of a grant. Everything a decision needs to know is in the command.

use chrono::TimeDelta;

use super::event::{
    CodeIssued, Consent, ConsentDenied, Event, LoginFailed, LoginSucceeded, RefreshSalt, Requested,
    RevocationReason,
};
use crate::Timestamp;
use crate::id::{ClientId, EventId, ProxyId, SubjectId};
use crate::pkce::CodeChallenge;
use crate::resource::RequestedResource;
use crate::scope::Scope;
use crate::secret::SecretHash;

/// What may be asked of a grant.
#[derive(Clone, Debug)]
pub enum Command {
    /// Somebody logged in at the provider: authorize and issue a code.
    Authorize(Box<Authorize>),
    /// The provider, or a check of its answer, said no.
    FailLogin(FailLogin),
    /// The person said no on the consent page.
    DenyConsent(DenyConsent),
    /// Exchange the code for tokens (RFC 6749 §4.1.3).
    RedeemCode(RedeemCode),
    /// Exchange a refresh token for its successor (RFC 6749 §6).
    RotateRefreshToken(RotateRefreshToken),
    /// An access token reached the protected resource for the first time.
    RecordAccessTokenUse {
        /// The access token's id.
        jti: EventId,
    },
    /// The provider renewed its own tokens for this grant.
    RecordUpstreamRefresh {
        /// When the provider's new access token ends, if it said so.
        expires_at: Option<Timestamp>,
    },
    /// The client gave up one of its tokens (RFC 7009); the whole grant ends with it.
    RevokeByClient {
        /// The authenticated client.
        client_id: ClientId,
        /// Where it asked.
        proxy_id: ProxyId,
    },
    /// An operator, or a rule outside this stream, ends the grant.
    Revoke {
        /// Why.
        reason: RevocationReason,
    },
}

/// Somebody logged in.
#[derive(Clone, Debug)]
pub struct Authorize {
    /// What the client asked for.
    pub request: Requested,
    /// Who logged in.
    pub subject: SubjectId,
    /// How consent came about.
    pub consent: Consent,
    /// Hash of the code that will be handed out.
    pub code: SecretHash,
    /// How long the code lives.
    pub code_lifetime: TimeDelta,
    /// The challenge that its redemption must answer.
    pub code_challenge: CodeChallenge,
    /// How long the whole grant may live.
    pub grant_lifetime: TimeDelta,
}

impl Authorize {
    pub(super) fn events(self, now: Timestamp) -> Vec<Event> {
        vec![
            Event::LoginSucceeded(LoginSucceeded {
                request: self.request,
                subject: self.subject,
                consent: self.consent,
                expires_at: now + self.grant_lifetime,
            }),
            Event::CodeIssued(CodeIssued {
                code: self.code,
                code_challenge: self.code_challenge,
                expires_at: now + self.code_lifetime,
            }),
        ]
    }
}

/// The provider, or a check of its answer, said no.
#[derive(Clone, Debug)]
pub struct FailLogin {
    /// What the client asked for.
    pub request: Requested,
    /// A stable word for the cause, such as `id_token_wrong_nonce`.
    pub reason: String,
}

impl From<FailLogin> for LoginFailed {
    fn from(command: FailLogin) -> Self {
        Self {
            request: command.request,
            reason: command.reason,
        }
    }
}

/// The person said no.
#[derive(Clone, Debug)]
pub struct DenyConsent {
    /// What the client asked for.
    pub request: Requested,
}

impl From<DenyConsent> for ConsentDenied {
    fn from(command: DenyConsent) -> Self {
        Self {
            request: command.request,
        }
    }
}

/// How long tokens live, as the proxy is configured now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenPolicy {
    /// An access token's life.
    pub access_token: TimeDelta,
    /// How long a refresh token may go unused.
    pub refresh_token: TimeDelta,
    /// How long a replaced refresh token may be retried; zero means never.
    pub refresh_retry: TimeDelta,
}

/// Exchange the code for tokens.
#[derive(Clone, Debug)]
pub struct RedeemCode {
    /// The authenticated client.
    pub client_id: ClientId,
    /// Where it asked.
    pub proxy_id: ProxyId,
    /// Hash of the code as presented.
    pub code: SecretHash,
    /// `redirect_uri`, if sent.
    pub redirect_uri: Option<String>,
    /// `code_verifier`, if sent.
    pub code_verifier: Option<String>,
    /// `resource`, if sent.
    pub resource: Option<RequestedResource>,
    /// The salt for a refresh token; absent if the client may not refresh.
    pub refresh_salt: Option<RefreshSalt>,
    /// How long tokens live.
    pub policy: TokenPolicy,
}

/// Exchange a refresh token for its successor.
#[derive(Clone, Debug)]
pub struct RotateRefreshToken {
    /// The authenticated client.
    pub client_id: ClientId,
    /// Where it asked.
    pub proxy_id: ProxyId,
    /// The generation of the presented token, whose MAC has been verified.
    pub generation: u32,
    /// `scope`, if sent: this access token gets no more.
    pub scope: Option<Scope>,
    /// `resource`, if sent.
    pub resource: Option<RequestedResource>,
    /// How long tokens live.
    pub policy: TokenPolicy,
}
