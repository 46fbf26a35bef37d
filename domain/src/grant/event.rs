//! What can happen to a grant. Nothing here is personal: addresses, agents and identities are
//! sealed beside the entry, and a fold accepts their absence.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::id::{ClientId, EventId, ProviderId, ProxyId, SubjectId};
use crate::pkce::CodeChallenge;
use crate::redirect_uri::RedirectUri;
use crate::resource::Resource;
use crate::scope::Scope;
use crate::secret::{SecretHash, redacted};
use crate::text::is_name;

/// What can happen to a grant.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Somebody logged in and authorized the client.
    LoginSucceeded(LoginSucceeded),
    /// A login ended without a grant.
    LoginFailed(LoginFailed),
    /// The person said no on the consent page.
    ConsentDenied(ConsentDenied),
    /// A code was handed to the client's redirect URI.
    CodeIssued(CodeIssued),
    /// The code was exchanged; this event's id is the access token's `jti`.
    CodeRedeemed(CodeRedeemed),
    /// A redeemed code came back.
    CodeReplayed(CodeReplayed),
    /// A refresh token was exchanged; this event's id is the access token's `jti`.
    RefreshTokenRotated(RefreshTokenRotated),
    /// The last exchange was repeated and answered with the same successor; this event's id is
    /// the access token's `jti`.
    RefreshTokenRetried(RefreshTokenRetried),
    /// A replaced refresh token came back outside its retry window.
    RefreshTokenReused(RefreshTokenReused),
    /// An access token reached the protected resource for the first time.
    AccessTokenFirstUsed(AccessTokenFirstUsed),
    /// The provider renewed its own tokens for this grant.
    UpstreamTokenRefreshed(UpstreamTokenRefreshed),
    /// The grant ended before its time.
    Revoked(Revoked),
}

/// What a client asked for in its authorization request, as far as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Requested {
    /// Where the client asked.
    pub proxy_id: ProxyId,
    /// Who asked.
    pub client_id: ClientId,
    /// Where the person was sent to log in.
    pub provider_id: ProviderId,
    /// Where the answer goes.
    pub redirect_uri: RedirectUri,
    /// What was asked for, after defaults.
    pub scope: Scope,
    /// Which protected resource tokens are for (RFC 8707).
    pub resource: Resource,
    /// When the request came in.
    #[serde(with = "crate::timestamp")]
    pub requested_at: Timestamp,
}

/// How consent came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// The person approved on our page.
    Given,
    /// The proxy asks for none.
    NotRequired,
}

/// Somebody logged in and authorized the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoginSucceeded {
    /// What the client asked for, and now has.
    #[serde(flatten)]
    pub request: Requested,
    /// Who logged in.
    pub subject: SubjectId,
    /// How consent came about.
    pub consent: Consent,
    /// When the whole grant ends, whatever is refreshed.
    #[serde(with = "crate::timestamp")]
    pub expires_at: Timestamp,
}

/// A login ended without a grant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoginFailed {
    /// What the client asked for.
    #[serde(flatten)]
    pub request: Requested,
    /// A stable word for the cause, such as `id_token_wrong_nonce`.
    pub reason: String,
}

/// The person said no on the consent page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConsentDenied {
    /// What the client asked for.
    #[serde(flatten)]
    pub request: Requested,
}

/// A code was handed to the client's redirect URI.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CodeIssued {
    /// Hash of the code.
    #[serde(rename = "code_sha256")]
    pub code: SecretHash,
    /// The challenge that its redemption must answer (RFC 7636, S256).
    pub code_challenge: CodeChallenge,
    /// When it can no longer be redeemed.
    #[serde(with = "crate::timestamp")]
    pub expires_at: Timestamp,
}

/// The code was exchanged for the first tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CodeRedeemed {
    /// When the access token ends.
    #[serde(with = "crate::timestamp")]
    pub access_token_expires_at: Timestamp,
    /// The first refresh token, unless the client may not refresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<RefreshTokenIssued>,
    /// The access token's resource, where the client asked for another one than was authorized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
}

/// The first refresh token of a grant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefreshTokenIssued {
    /// Part of every refresh token's MAC.
    pub salt: RefreshSalt,
    /// When it dies unused.
    #[serde(with = "crate::timestamp")]
    pub expires_at: Timestamp,
}

/// A redeemed code came back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CodeReplayed {}

/// A refresh token was exchanged for its successor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefreshTokenRotated {
    /// The successor's number.
    pub generation: u32,
    /// When the successor dies unused.
    #[serde(with = "crate::timestamp")]
    pub expires_at: Timestamp,
    /// When the access token ends.
    #[serde(with = "crate::timestamp")]
    pub access_token_expires_at: Timestamp,
    /// The access token's scope, where the client asked for less than was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// The access token's resource, where the client asked for another one than was authorized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
}

/// The last exchange was repeated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefreshTokenRetried {
    /// The successor's number, the same as in the first answer.
    pub generation: u32,
    /// When the access token ends.
    #[serde(with = "crate::timestamp")]
    pub access_token_expires_at: Timestamp,
    /// The access token's scope, where the client asked for less than was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// The access token's resource, where the client asked for another one than was authorized.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
}

/// A replaced refresh token came back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefreshTokenReused {
    /// The presented token's number.
    pub generation: u32,
    /// The newest token's number at that time.
    pub current_generation: u32,
    /// When the presented token was replaced, if it was the newest but one.
    #[serde(
        with = "crate::timestamp::optional",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub replaced_at: Option<Timestamp>,
}

/// An access token reached the protected resource for the first time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccessTokenFirstUsed {
    /// The access token's id.
    pub jti: EventId,
}

/// The provider renewed its own tokens for this grant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpstreamTokenRefreshed {
    /// When the provider's new access token ends, if it said so.
    #[serde(
        with = "crate::timestamp::optional",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub expires_at: Option<Timestamp>,
}

/// The grant ended before its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Revoked {
    /// Why.
    #[serde(flatten)]
    pub reason: RevocationReason,
    /// When its last access token would have ended: until then gateways must refuse them.
    #[serde(
        with = "crate::timestamp::optional",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub access_tokens_expire_at: Option<Timestamp>,
}

/// Why a grant was revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum RevocationReason {
    /// A replaced refresh token came back.
    RefreshTokenReused,
    /// A redeemed code came back.
    CodeReplayed,
    /// The client revoked one of its tokens (RFC 7009).
    ClientRequest,
    /// The client was removed.
    ClientRemoved,
    /// The proxy was removed.
    ProxyRemoved,
    /// The provider was removed, or another one put in its place.
    ProviderRemoved,
    /// The provider no longer vouches for the person.
    UpstreamRefused,
    /// An operator decided so.
    Operator {
        /// In the operator's words.
        note: String,
    },
}

/// An operator ends nothing without saying why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to 200 printable characters")]
pub struct InvalidNote;

impl RevocationReason {
    /// An operator's decision, in their words.
    ///
    /// # Errors
    /// The note is empty, too long or not printable.
    pub fn by_operator(note: &str) -> Result<Self, InvalidNote> {
        if is_name(note) {
            Ok(Self::Operator {
                note: redacted(note),
            })
        } else {
            Err(InvalidNote)
        }
    }

    /// The stable word that the event stores.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::RefreshTokenReused => "refresh_token_reused",
            Self::CodeReplayed => "code_replayed",
            Self::ClientRequest => "client_request",
            Self::ClientRemoved => "client_removed",
            Self::ProxyRemoved => "proxy_removed",
            Self::ProviderRemoved => "provider_removed",
            Self::UpstreamRefused => "upstream_refused",
            Self::Operator { .. } => "operator",
        }
    }
}

/// 128 random bits that go into every refresh token's MAC of one grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshSalt(pub [u8; 16]);

impl Serialize for RefreshSalt {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for RefreshSalt {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "16 bytes as base64url";
        crate::text::deserialize(deserializer, expected, |text| {
            let mut salt = [0; 16];
            match URL_SAFE_NO_PAD.decode_slice(text, &mut salt) {
                Ok(length) if length == salt.len() => Ok(Self(salt)),
                Ok(_) | Err(_) => Err(expected),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_says_why_in_text_that_shows() {
        let reason = RevocationReason::by_operator("stolen laptop").expect("valid");
        assert_eq!(reason.as_str(), "operator");
        for note in ["", "  ", "a\nb", &"a".repeat(201)] {
            assert_eq!(RevocationReason::by_operator(note), Err(InvalidNote));
        }
    }
}
