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
    Error(&'static str),
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
        Outcome::Error(error) => query
            .append_pair("error", error)
            .append_pair("error_description", description(error)),
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

/// What a client's developer is told of an error that is not theirs.
fn description(error: &str) -> &'static str {
    match error {
        "access_denied" => "the person or the identity provider said no",
        "temporarily_unavailable" => "the identity provider cannot be used now",
        _ => "the login at the identity provider failed",
    }
}

/// The RFC 6749 §4.1.2.1 code for a failed login; `None` where it must not be redirected.
pub(in crate::http) fn login_error_code(failure: LoginFailure) -> Option<&'static str> {
    match failure.answer() {
        Answer::AccessDenied => Some("access_denied"),
        Answer::TemporarilyUnavailable => Some("temporarily_unavailable"),
        Answer::ServerError => Some("server_error"),
        Answer::Page => None,
    }
}
