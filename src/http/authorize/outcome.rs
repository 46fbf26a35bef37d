//! What comes of an authorization at the client's redirect URI.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::authorization::{Rule, Target};

use crate::app::ProxyTerms;
use crate::federation::{Answer, LoginFailure};
use crate::http::Shared;
use crate::secret::Secret;

/// What a client is told at its redirect URI.
pub(in crate::http) enum Outcome<'a> {
    Code(&'a Secret),
    /// The request breaks a rule.
    Refused(Rule),
    /// The request was good, and nothing came of it.
    Failed(Failed),
}

/// Why nothing came of a good request (RFC 6749 §4.1.2.1).
#[derive(Clone, Copy)]
pub(in crate::http) enum Failed {
    AccessDenied,
    TemporarilyUnavailable,
    ServerError,
}

impl Failed {
    /// What a client is told of a failed login; `None` where it must not be told.
    pub(in crate::http) fn told(failure: LoginFailure) -> Option<Self> {
        match failure.answer() {
            Answer::AccessDenied => Some(Self::AccessDenied),
            Answer::TemporarilyUnavailable => Some(Self::TemporarilyUnavailable),
            Answer::ServerError => Some(Self::ServerError),
            Answer::Page => None,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }

    /// For the client's developer, whose fault it is not.
    fn description(self) -> &'static str {
        match self {
            Self::AccessDenied => "the person or the identity provider said no",
            Self::TemporarilyUnavailable => "the identity provider cannot be used now",
            Self::ServerError => "the login at the identity provider failed",
        }
    }
}

/// Sends the browser back to the client (RFC 6749 §4.1.2, RFC 9207): its own `state` and our
/// `iss`, and nothing that the provider sent.
pub(in crate::http) fn redirect(
    shared: &Shared,
    terms: &ProxyTerms,
    target: &Target,
    outcome: Outcome<'_>,
) -> Response {
    let mut query = form_urlencoded::Serializer::new(String::new());
    match outcome {
        Outcome::Code(code) => query.append_pair("code", code.expose()),
        Outcome::Refused(rule) => query
            .append_pair("error", error_code(rule))
            .append_pair("error_description", &rule.to_string()),
        Outcome::Failed(failed) => query
            .append_pair("error", failed.code())
            .append_pair("error_description", failed.description()),
    };
    if let Some(state) = &target.state {
        query.append_pair("state", state);
    }
    query.append_pair("iss", &shared.urls.issuer(terms.id));
    let uri = target.redirect_uri.as_str();
    let separator = if uri.contains('?') { '&' } else { '?' };
    see_other(&format!("{uri}{separator}{}", query.finish()))
}

/// 303, so that a form is never posted again (RFC 9700 §4.12).
pub(in crate::http) fn see_other(location: &str) -> Response {
    let Ok(location) = HeaderValue::try_from(location) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    response
}

/// The code of an error that is redirected (RFC 6749 §4.1.2.1, RFC 8707, OpenID Connect Core
/// §3.1.2.6).
fn error_code(rule: Rule) -> &'static str {
    match rule {
        Rule::Repeated(_)
        | Rule::ResponseTypeMissing
        | Rule::ResponseMode
        | Rule::CodeChallengeMissing
        | Rule::CodeChallengeMethod
        | Rule::CodeChallenge(_)
        | Rule::Prompt
        | Rule::MaxAge => "invalid_request",
        Rule::Request => "request_not_supported",
        Rule::RequestUri => "request_uri_not_supported",
        Rule::ResponseType => "unsupported_response_type",
        Rule::ScopeMalformed | Rule::ScopeNotOffered | Rule::ScopeNotRegistered => "invalid_scope",
        Rule::Resource(_) => "invalid_target",
        Rule::LoginRequired => "login_required",
    }
}
