//! The provider's token endpoint: codes and refresh tokens for tokens (RFC 6749 §4.1.3, §6).

use std::time::Duration;

use chrono::TimeDelta;
use domain::Timestamp;
use domain::provider::Settings;
use reqwest::StatusCode;
use reqwest::header::ACCEPT;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::discovery::{ClientAuth, Upstream};
use super::failure::{LoginFailure, RefreshFailure};
use super::transport::{self, Reply, Unreachable};
use super::{Federation, Provider, kinds};
use crate::secret::Secret;
use crate::vault::UpstreamTokens;

/// No access token lives longer; a larger number is a mistake or an attempt to overflow.
const EXPIRES_IN_S_MAX: f64 = (10 * 365 * 24 * 3600) as f64;

/// Why there are no tokens.
#[derive(Debug)]
pub(super) enum TokenFailure {
    Unavailable(Unreachable),
    /// Our client id or secret.
    InvalidClient,
    /// We are known, but not for this.
    UnauthorizedClient,
    /// The code, the refresh token, or the person behind it.
    InvalidGrant,
    /// The request itself: what it brought was not looked at.
    InvalidRequest(StatusCode),
    /// A "no" in other words.
    Refused,
    /// Neither tokens nor a refusal, under this status.
    Other(StatusCode),
}

/// What a grant is asked with, beside the client's credentials.
pub(super) type Form<'a> = [(&'static str, &'a str)];

/// What a token endpoint grants (RFC 6749 §5.1, OpenID Connect Core §3.1.3.3).
pub(super) struct Granted {
    pub(super) tokens: UpstreamTokens,
    /// Not verified.
    pub(super) id_token: Option<Zeroizing<String>>,
}

#[derive(Deserialize)]
struct Response {
    access_token: Option<Zeroizing<String>>,
    token_type: Option<String>,
    expires_in: Option<Value>,
    /// Keycloak's name; Entra and others say `refresh_token_expires_in`.
    #[serde(default, alias = "refresh_token_expires_in")]
    refresh_expires_in: Option<Value>,
    refresh_token: Option<Zeroizing<String>>,
    id_token: Option<Zeroizing<String>>,
    error: Option<Value>,
    ok: Option<Value>,
}

impl Federation {
    /// Asks the token endpoint, authenticated as the provider wants it.
    pub(super) async fn tokens(
        &self,
        provider: &Provider<'_>,
        upstream: &Upstream,
        form: &Form<'_>,
        now: Timestamp,
    ) -> Result<Granted, TokenFailure> {
        let ask = |basic| self.ask(provider, upstream, form, basic, now);
        match upstream.client_auth {
            ClientAuth::Post => ask(false).await,
            ClientAuth::Basic => ask(true).await,
            // Clients are authenticated before codes are looked at, so a refused client has
            // not spent its code. Whatever else was answered may have, and a second use of a code
            // can cost the person everything that was granted for it (RFC 6749 §4.1.2).
            ClientAuth::Either => match ask(true).await {
                Err(TokenFailure::InvalidClient | TokenFailure::InvalidRequest(_)) => {
                    ask(false).await
                }
                answer => answer,
            },
        }
    }

    async fn ask(
        &self,
        provider: &Provider<'_>,
        upstream: &Upstream,
        form: &Form<'_>,
        basic: bool,
        now: Timestamp,
    ) -> Result<Granted, TokenFailure> {
        let client_id = provider.settings.client_id.as_str();
        let mut form = form.to_vec();
        // GitHub answers in JSON only if asked to.
        let mut request = self
            .client
            .post(upstream.token_endpoint.clone())
            .header(ACCEPT, "application/json");
        match (basic, provider.client_secret) {
            (_, "") => form.push(("client_id", client_id)),
            (true, secret) => {
                request = request.basic_auth(encoded(client_id), Some(encoded(secret)));
            }
            (false, secret) => {
                form.extend([("client_id", client_id), ("client_secret", secret)]);
            }
        }
        let reply = transport::send("token", request.form(&form)).await;
        read(provider, &reply.map_err(TokenFailure::Unavailable)?, now)
    }
}

/// RFC 6749 §2.3.1: both halves are form-encoded before they are joined by a colon.
fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn read(provider: &Provider<'_>, reply: &Reply, now: Timestamp) -> Result<Granted, TokenFailure> {
    let response: Option<Response> = reply.json_or_form();
    let is_refusal = response.as_ref().is_some_and(Response::is_refusal);
    let error = response
        .as_ref()
        .and_then(Response::error)
        .map(str::to_owned);
    let (status, error) = (reply.status, error.as_deref());
    let is_json = response.is_some();
    if let Some(response) = response
        && status.is_success()
        && !is_refusal
    {
        return response
            .granted(provider.settings, now)
            .ok_or(TokenFailure::Other(status));
    }
    tracing::warn!(
        provider_id = provider.id.0,
        status = status.as_u16(),
        error = error.filter(|error| is_error_code(error)),
        "token endpoint refused"
    );
    Err(match (error, status) {
        (Some("invalid_client" | "incorrect_client_credentials"), _)
        // Keycloak's word for a wrong secret.
        | (Some("unauthorized_client"), StatusCode::UNAUTHORIZED) => TokenFailure::InvalidClient,
        (None, StatusCode::UNAUTHORIZED) if !is_refusal => TokenFailure::InvalidClient,
        // Atlassian's word, with 403, for a refresh token that is dead.
        (Some("unauthorized_client"), StatusCode::FORBIDDEN) => TokenFailure::Refused,
        (Some("unauthorized_client"), _) => TokenFailure::UnauthorizedClient,
        (
            Some(
                "invalid_grant"
                | "bad_verification_code"
                | "bad_refresh_token"
                | "access_denied"
                | "interaction_required"
                | "login_required"
                | "consent_required",
            ),
            _,
        ) => TokenFailure::InvalidGrant,
        (
            Some(
                error @ ("temporarily_unavailable"
                | "server_error"
                | "internal_failure"
                | "rate_limit_exceeded"
                | "too_many_requests"
                | "slow_down"),
            ),
            _,
        ) => TokenFailure::Unavailable(Unreachable::answered(&error)),
        (Some("invalid_request"), StatusCode::BAD_REQUEST) | (_, StatusCode::UNAUTHORIZED) => {
            TokenFailure::InvalidRequest(status)
        }
        (_, StatusCode::BAD_REQUEST) if is_json => TokenFailure::Refused,
        // No token endpoint is there, or it had no time: nothing was judged.
        (
            _,
            StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_EARLY,
        ) => TokenFailure::Other(status),
        // What stands before a token endpoint answers in HTML, or forbids in words of its own.
        _ if error.is_some_and(|error| !is_error_code(error)) => TokenFailure::Other(status),
        _ if is_refusal && !status.is_redirection() => TokenFailure::Refused,
        _ => TokenFailure::Other(status),
    })
}

/// An error code as registered ones look; anything else could be a token put in the wrong place.
pub(super) fn is_error_code(text: &str) -> bool {
    text.len() <= 40 && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

impl Response {
    /// GitHub refuses with status 200, Slack with `ok` beside it.
    fn is_refusal(&self) -> bool {
        self.error.is_some() || self.ok == Some(Value::Bool(false))
    }

    fn error(&self) -> Option<&str> {
        self.error.as_ref().and_then(Value::as_str)
    }

    fn granted(self, settings: &Settings, now: Timestamp) -> Option<Granted> {
        let bearer = |kind: &str| kind.eq_ignore_ascii_case("bearer");
        if !self.token_type.as_deref().is_none_or(bearer) {
            return None;
        }
        let present = |token: &Zeroizing<String>| !token.is_empty();
        let access_token = self.access_token.filter(present).filter(is_presentable)?;
        let expires_in = self.expires_in.as_ref();
        let refresh_expires_in = self.refresh_expires_in.as_ref();
        Some(Granted {
            tokens: UpstreamTokens {
                access_token: access_token.into(),
                refresh_token: self.refresh_token.filter(present).map(Secret::from),
                expires_at: expires_in.and_then(|value| expiry(value, now)),
                // 0 is Keycloak's word for "never".
                refresh_expires_at: refresh_expires_in
                    .and_then(|value| expiry(value, now))
                    .filter(|end| now < *end),
                origin: Some(kinds::origin(settings)),
            },
            id_token: self.id_token.filter(present),
        })
    }
}

/// RFC 6749 Appendix A.12: visible characters and spaces, so that a header can carry it.
fn is_presentable(token: &Zeroizing<String>) -> bool {
    token.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// A number, which some providers write as a string or with a fraction.
fn expiry(expires_in: &Value, now: Timestamp) -> Option<Timestamp> {
    let seconds = match expires_in {
        Value::String(text) => text.parse().ok()?,
        value => value.as_f64()?,
    };
    let seconds = Some(seconds).filter(|seconds: &f64| seconds.is_finite())?;
    let seconds = seconds.min(EXPIRES_IN_S_MAX).trunc();
    let lifetime = Duration::try_from_secs_f64(seconds).ok()?;
    now.checked_add_signed(TimeDelta::from_std(lifetime).ok()?)
}

impl From<TokenFailure> for LoginFailure {
    fn from(failure: TokenFailure) -> Self {
        match failure {
            TokenFailure::Unavailable(_) => Self::UpstreamUnavailable,
            TokenFailure::InvalidClient | TokenFailure::UnauthorizedClient => {
                Self::TokenEndpointInvalidClient
            }
            TokenFailure::InvalidGrant => Self::TokenEndpointInvalidGrant,
            TokenFailure::InvalidRequest(_) | TokenFailure::Refused | TokenFailure::Other(_) => {
                Self::TokenEndpointError
            }
        }
    }
}

impl From<TokenFailure> for RefreshFailure {
    /// A wrong secret of ours says nothing about the person.
    fn from(failure: TokenFailure) -> Self {
        match failure {
            TokenFailure::InvalidGrant => Self::Rejected,
            // Zoom's word for a refresh token that is dead; with 400 it is about what we sent.
            TokenFailure::InvalidRequest(StatusCode::UNAUTHORIZED) | TokenFailure::Refused => {
                Self::Refused
            }
            TokenFailure::UnauthorizedClient
            | TokenFailure::InvalidRequest(_)
            | TokenFailure::Unavailable(_)
            | TokenFailure::InvalidClient
            | TokenFailure::Other(_) => Self::Unavailable,
        }
    }
}
