//! Why a login did not happen, in words that stay: the audit trail keeps them for ever.

use super::kinds::Misconfigured;

/// Why nobody was logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum LoginFailure {
    /// The person, or the provider on their behalf, said no.
    #[error("the provider or the person there denied the login")]
    UpstreamDenied,
    /// Connecting failed, took too long, or was answered 429 or 5xx.
    #[error("the provider cannot be reached or is overloaded")]
    UpstreamUnavailable,
    /// The provider sent the browser back with another error.
    #[error("the provider reported an error instead of a login")]
    UpstreamError,
    /// The browser came back with neither a code nor an error.
    #[error("expected a code or an error from the provider, found neither")]
    CallbackMalformed,
    /// RFC 9207: `iss` is not the provider's issuer, or is missing though the provider announces it.
    #[error("the answer does not name the issuer it was asked from")]
    IssuerMismatch,
    /// The provider's settings do not say enough to log people in.
    #[error("the provider is not configured completely: {0}")]
    Misconfigured(Misconfigured),
    /// There is no usable discovery document at the issuer.
    #[error("no usable discovery document at the issuer")]
    DiscoveryFailed,
    /// The discovery document names another issuer (OpenID Connect Discovery §4.3).
    #[error("the discovery document names another issuer")]
    DiscoveryWrongIssuer,
    /// There is no usable key set at the provider.
    #[error("no usable key set at the provider")]
    JwksFailed,
    /// The token endpoint answered with something that is not a token response (RFC 6749 §5).
    #[error("the token endpoint's answer is not a token response")]
    TokenEndpointError,
    /// The token endpoint does not accept our client id or secret.
    #[error("the token endpoint refused our client credentials")]
    TokenEndpointInvalidClient,
    /// The token endpoint does not accept the code.
    #[error("the token endpoint refused the code")]
    TokenEndpointInvalidGrant,
    /// An OpenID Connect provider sent no ID token.
    #[error("expected an id token, found none")]
    IdTokenMissing,
    /// The ID token is not a signed JWT.
    #[error("the id token is not a signed JWT")]
    IdTokenMalformed,
    /// The ID token is unsigned, symmetrically signed, or signed as the provider never does.
    #[error("the id token's algorithm is not one of the provider's")]
    IdTokenAlgRefused,
    /// The ID token's header asks for an extension we do not know (RFC 7515 §4.1.11).
    #[error("the id token has a critical header nobody here knows")]
    IdTokenUnknownCrit,
    /// The ID token names a key that is not in the provider's key set.
    #[error("the id token's key is not in the provider's key set")]
    IdTokenUnknownKey,
    /// No key of the provider made the ID token's signature.
    #[error("the id token's signature is not the provider's")]
    IdTokenBadSignature,
    /// `iss` is not the provider's issuer.
    #[error("the id token is from another issuer")]
    IdTokenWrongIssuer,
    /// `aud` does not name our client id.
    #[error("the id token is for another audience")]
    IdTokenWrongAudience,
    /// `azp` is not our client id.
    #[error("the id token was issued to another party")]
    IdTokenWrongAzp,
    /// `nonce` is not this transaction's.
    #[error("the id token is of another transaction")]
    IdTokenWrongNonce,
    /// `exp` has passed.
    #[error("the id token has expired")]
    IdTokenExpired,
    /// `iat` or `nbf` is in the future.
    #[error("the id token is from the future")]
    IdTokenNotYetValid,
    /// A claim that must be there is not, or is of another type.
    #[error("the id token lacks a required claim")]
    IdTokenMissingClaim,
    /// `at_hash` is not of the access token that came with it.
    #[error("the id token belongs to another access token")]
    IdTokenWrongAtHash,
    /// `auth_time` is longer ago than was asked for.
    #[error("the person authenticated longer ago than was asked for")]
    AuthenticationTooOld,
    /// The userinfo endpoint did not answer with the person's claims.
    #[error("the userinfo endpoint did not answer with claims")]
    UserinfoFailed,
    /// The userinfo endpoint speaks of somebody else than the ID token.
    #[error("the userinfo endpoint names another subject than the id token")]
    UserinfoWrongSubject,
    /// Nothing in the provider's answer says who the person is.
    #[error("the provider does not say who the person is")]
    SubjectMissing,
}

/// How a failed login is answered to the client that asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Redirect with `access_denied`.
    AccessDenied,
    /// Redirect with `temporarily_unavailable`.
    TemporarilyUnavailable,
    /// Redirect with `server_error`.
    ServerError,
    /// A page of ours, no redirect: the answer may come from elsewhere than the provider asked.
    Page,
}

impl LoginFailure {
    /// The reason in the audit trail. Frozen once released.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UpstreamDenied => "upstream_denied",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::UpstreamError => "upstream_error",
            Self::CallbackMalformed => "callback_malformed",
            Self::IssuerMismatch => "issuer_mismatch",
            Self::Misconfigured(_) => "provider_misconfigured",
            Self::DiscoveryFailed => "discovery_failed",
            Self::DiscoveryWrongIssuer => "discovery_wrong_issuer",
            Self::JwksFailed => "jwks_failed",
            Self::TokenEndpointError => "token_endpoint_error",
            Self::TokenEndpointInvalidClient => "token_endpoint_invalid_client",
            Self::TokenEndpointInvalidGrant => "token_endpoint_invalid_grant",
            Self::IdTokenMissing => "id_token_missing",
            Self::IdTokenMalformed => "id_token_malformed",
            Self::IdTokenAlgRefused => "id_token_alg_refused",
            Self::IdTokenUnknownCrit => "id_token_unknown_crit",
            Self::IdTokenUnknownKey => "id_token_unknown_key",
            Self::IdTokenBadSignature => "id_token_bad_signature",
            Self::IdTokenWrongIssuer => "id_token_wrong_issuer",
            Self::IdTokenWrongAudience => "id_token_wrong_audience",
            Self::IdTokenWrongAzp => "id_token_wrong_azp",
            Self::IdTokenWrongNonce => "id_token_wrong_nonce",
            Self::IdTokenExpired => "id_token_expired",
            Self::IdTokenNotYetValid => "id_token_not_yet_valid",
            Self::IdTokenMissingClaim => "id_token_missing_claim",
            Self::IdTokenWrongAtHash => "id_token_wrong_at_hash",
            Self::AuthenticationTooOld => "authentication_too_old",
            Self::UserinfoFailed => "userinfo_failed",
            Self::UserinfoWrongSubject => "userinfo_wrong_subject",
            Self::SubjectMissing => "subject_missing",
        }
    }

    /// How the client is answered: a "no" and a forgery are denials, our own and the
    /// provider's faults are errors, and an answer of doubtful origin is not passed on at all.
    #[must_use]
    pub fn answer(self) -> Answer {
        match self {
            Self::UpstreamUnavailable => Answer::TemporarilyUnavailable,
            Self::IssuerMismatch | Self::CallbackMalformed => Answer::Page,
            Self::UpstreamError
            | Self::Misconfigured(_)
            | Self::DiscoveryFailed
            | Self::DiscoveryWrongIssuer
            | Self::JwksFailed
            | Self::TokenEndpointError
            | Self::TokenEndpointInvalidClient
            | Self::TokenEndpointInvalidGrant
            | Self::UserinfoFailed => Answer::ServerError,
            Self::UpstreamDenied
            | Self::IdTokenMissing
            | Self::IdTokenMalformed
            | Self::IdTokenAlgRefused
            | Self::IdTokenUnknownCrit
            | Self::IdTokenUnknownKey
            | Self::IdTokenBadSignature
            | Self::IdTokenWrongIssuer
            | Self::IdTokenWrongAudience
            | Self::IdTokenWrongAzp
            | Self::IdTokenWrongNonce
            | Self::IdTokenExpired
            | Self::IdTokenNotYetValid
            | Self::IdTokenMissingClaim
            | Self::IdTokenWrongAtHash
            | Self::AuthenticationTooOld
            | Self::UserinfoWrongSubject
            | Self::SubjectMissing => Answer::AccessDenied,
        }
    }
}

/// Why a provider's tokens were not renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefreshFailure {
    /// The provider no longer vouches for the person: the refresh token is dead.
    #[error("the provider rejected the refresh token")]
    Rejected,
    /// The provider will not renew the tokens, and its words for it are not those for a dead
    /// refresh token: while the access token is good, it may be of another mind.
    #[error("the provider refused to renew the tokens")]
    Refused,
    /// Nothing was decided: unreachable, overloaded, or at odds with our own credentials.
    #[error("the provider could not renew its tokens now")]
    Unavailable,
}
