//! From broken rules to what clients are told in JSON. What a browser carries to a client is in
//! `authorize/outcome.rs`, what people read on a page in `authorize/refusal.rs` and
//! `callback/wrong.rs`, what the gateway answers in `gateway/challenge.rs`.
//!
//! An error has two faces: outside the RFC's code with a neutral description, inside a stable
//! `cause` that names the rule and goes to the record. Whatever is not a rule (a store that
//! fails) is 503 and says nothing but that.

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::client::metadata::InvalidMetadata;
use domain::{client, grant};
use serde::Serialize;

use super::provider_tokens::NoToken;
use super::request::BodyFailure;
use crate::app::{ExecuteError, Unavailable};
use crate::causes::chain;

/// An answer of the token, revocation, introspection or registration endpoint that is not a
/// success (RFC 6749 §5.2, RFC 7591 §3.2.2).
#[derive(Debug)]
pub struct OAuthError {
    /// What the client is told.
    pub code: Code,
    /// The status that goes with the code, unless the body itself is the trouble.
    pub status: StatusCode,
    /// How to authenticate, where that is missing (RFC 9110 §11.6.1).
    pub challenge: Option<&'static str>,
    /// A sentence for the client's developer; neutral.
    pub description: Cow<'static, str>,
    /// A stable word for the broken rule, for the record.
    pub cause: &'static str,
    /// Whether a stream already tells of it.
    pub is_recorded: bool,
    /// When it is worth asking again, where that is why: after so many seconds.
    pub retry_after_s: Option<u64>,
}

/// When a store that failed may be back.
pub(super) const RETRY_AFTER_S: u64 = 2;

/// Error codes, as the RFCs spell them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// RFC 6749 §5.2.
    InvalidRequest,
    /// RFC 6749 §5.2; 401.
    InvalidClient,
    /// RFC 6749 §5.2.
    InvalidGrant,
    /// RFC 6749 §5.2.
    UnauthorizedClient,
    /// RFC 6749 §5.2.
    UnsupportedGrantType,
    /// RFC 6749 §5.2.
    InvalidScope,
    /// RFC 8707 §2.
    InvalidTarget,
    /// RFC 7591 §3.2.2.
    InvalidRedirectUri,
    /// RFC 7591 §3.2.2.
    InvalidClientMetadata,
    /// RFC 7591 §3.2.2.
    UnapprovedSoftwareStatement,
    /// RFC 6750 §3.1; 401 with a Bearer challenge (RFC 7592).
    InvalidToken,
    /// No such proxy here; 404.
    ProxyNotFound,
    /// Too many requests; 429.
    SlowDown,
    /// The stores cannot be used now; 503.
    TemporarilyUnavailable,
}

impl OAuthError {
    /// An error with its two faces.
    pub fn new(code: Code, cause: &'static str, description: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            status: code.status(),
            challenge: code.challenge(),
            description: description.into(),
            cause,
            is_recorded: false,
            retry_after_s: (code == Code::TemporarilyUnavailable).then_some(RETRY_AFTER_S),
        }
    }

    /// The request is malformed.
    pub fn invalid_request(cause: &'static str, description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest, cause, description)
    }

    /// The code or refresh token is good for nothing; why is not told.
    #[must_use]
    pub fn invalid_grant(cause: &'static str) -> Self {
        Self::new(
            Code::InvalidGrant,
            cause,
            "the grant is invalid, expired, revoked or was issued to another client",
        )
    }

    /// There is no such proxy, or it is switched off.
    #[must_use]
    pub fn proxy_not_found() -> Self {
        Self::new(Code::ProxyNotFound, "unknown_proxy", "no such proxy here")
    }
}

impl Code {
    fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest
            | Self::InvalidGrant
            | Self::UnauthorizedClient
            | Self::UnsupportedGrantType
            | Self::InvalidScope
            | Self::InvalidTarget
            | Self::InvalidRedirectUri
            | Self::InvalidClientMetadata
            | Self::UnapprovedSoftwareStatement => StatusCode::BAD_REQUEST,
            Self::InvalidClient | Self::InvalidToken => StatusCode::UNAUTHORIZED,
            Self::ProxyNotFound => StatusCode::NOT_FOUND,
            Self::SlowDown => StatusCode::TOO_MANY_REQUESTS,
            Self::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn challenge(self) -> Option<&'static str> {
        match self {
            Self::InvalidClient => Some("Basic realm=\"grantlog\""),
            Self::InvalidToken => Some("Bearer error=\"invalid_token\""),
            _ => None,
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error: Code,
    error_description: &'a str,
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let description = printable(&self.description);
        let body = Json(Body {
            error: self.code,
            error_description: &description,
        });
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        no_store(headers);
        if let Some(challenge) = self.challenge {
            let challenge = HeaderValue::from_static(challenge);
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(wait) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, wait.into());
        }
        response
    }
}

/// The characters that RFC 6749 §5.2 allows in a description.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '"' => '\'',
            ' '..='~' if c != '\\' => c,
            _ => '?',
        })
        .collect()
}

/// Forbids every cache to keep an answer with credentials (RFC 6749 §5.1).
pub fn no_store(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
}

impl From<BodyFailure> for OAuthError {
    fn from(failure: BodyFailure) -> Self {
        let (cause, description) = match failure {
            BodyFailure::TooLarge => ("body_too_large", "the request is too large"),
            BodyFailure::Late => ("body_late", "the request did not come in time"),
            BodyFailure::Incomplete => ("body", "the request ended early"),
        };
        Self {
            status: failure.status(),
            ..Self::invalid_request(cause, description)
        }
    }
}

impl From<Unavailable> for OAuthError {
    fn from(error: Unavailable) -> Self {
        tracing::error!(error = chain(&error), "a store failed");
        Self {
            is_recorded: true,
            ..Self::new(
                Code::TemporarilyUnavailable,
                "store_unavailable",
                "try again later",
            )
        }
    }
}

impl From<NoToken> for OAuthError {
    fn from(why: NoToken) -> Self {
        let (code, cause, description) = match why {
            NoToken::Gone => (
                Code::InvalidGrant,
                "upstream_token_gone",
                "the grant is invalid, expired, revoked or was issued to another client",
            ),
            NoToken::Unavailable => (
                Code::TemporarilyUnavailable,
                "upstream_unavailable",
                "the identity provider cannot be asked now, try again later",
            ),
            NoToken::StoreAway => (
                Code::TemporarilyUnavailable,
                "store_unavailable",
                "try again later",
            ),
        };
        Self {
            is_recorded: !matches!(why, NoToken::Unavailable),
            ..Self::new(code, cause, description)
        }
    }
}

impl<R> From<ExecuteError<R>> for OAuthError
where
    OAuthError: From<R>,
{
    fn from(error: ExecuteError<R>) -> Self {
        match error {
            ExecuteError::Refused(rule) => rule.into(),
            ExecuteError::Unavailable(error) => error.into(),
        }
    }
}

impl From<grant::Rule> for OAuthError {
    fn from(rule: grant::Rule) -> Self {
        use grant::Rule;
        let cause = rule.as_str();
        let told = match rule {
            Rule::ResourceMismatch => {
                Self::new(Code::InvalidTarget, cause, "resource was not authorized")
            }
            Rule::ScopeExceeded => {
                Self::new(Code::InvalidScope, cause, "scope exceeds what was granted")
            }
            Rule::AlreadyAnswered => {
                Self::invalid_request(cause, "this authorization was answered")
            }
            Rule::CodeVerifierMissing
            | Rule::CodeVerifierMismatch
            | Rule::UnknownGrant
            | Rule::ClientMismatch
            | Rule::ProxyMismatch
            | Rule::CodeMismatch
            | Rule::CodeExpired
            | Rule::CodeReplayed
            | Rule::RedirectUriMismatch
            | Rule::UnknownRefreshToken
            | Rule::RefreshTokenExpired
            | Rule::RefreshTokenReused
            | Rule::RetriedTooOften
            | Rule::GrantExpired
            | Rule::Revoked => Self::invalid_grant(cause),
        };
        Self {
            is_recorded: matches!(rule, Rule::CodeReplayed | Rule::RefreshTokenReused),
            ..told
        }
    }
}

impl From<client::Denial> for OAuthError {
    fn from(denial: client::Denial) -> Self {
        Self::new(
            Code::InvalidClient,
            denial.as_str(),
            "client authentication failed",
        )
    }
}

impl From<client::Rule> for OAuthError {
    fn from(rule: client::Rule) -> Self {
        use client::Rule;
        match rule {
            Rule::RegistrationToken | Rule::Unknown => Self::new(
                Code::InvalidToken,
                rule.as_str(),
                "the registration access token is invalid",
            ),
            Rule::ClientId | Rule::ClientSecret => {
                Self::new(Code::InvalidClientMetadata, rule.as_str(), rule.to_string())
            }
            Rule::Exists | Rule::InUse | Rule::TooRecent => {
                let description = "the client is not in a state for this";
                Self::invalid_request(rule.as_str(), description)
            }
        }
    }
}

impl From<InvalidMetadata> for OAuthError {
    fn from(invalid: InvalidMetadata) -> Self {
        let code = match invalid {
            InvalidMetadata::RedirectUris | InvalidMetadata::RedirectUri(_) => {
                Code::InvalidRedirectUri
            }
            InvalidMetadata::Member { .. }
            | InvalidMetadata::NotAnObject
            | InvalidMetadata::Size => Code::InvalidClientMetadata,
            InvalidMetadata::SoftwareStatement => Code::UnapprovedSoftwareStatement,
        };
        Self::new(code, invalid.as_str(), invalid.to_string())
    }
}
