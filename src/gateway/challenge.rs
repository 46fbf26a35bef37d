//! How a request is denied: RFC 6750 §3 challenges with the address of the resource's metadata
//! (RFC 9728 §5.1), and a JSON body that says the same to people.
//!
//! Each denial has two faces, as everywhere: the code of the RFC outside, a stable word for the
//! broken rule in the record.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::event::Correlation;
use domain::scope::Scope;
use serde_json::json;

use super::target::Target;
use crate::app::{Context, RefusedRequest};
use crate::http::Shared;
use crate::http::error::no_store;

const ENDPOINT: &str = "gateway";

/// Others are forwarded, too; these are known to everybody.
const FORWARDED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// A request that is not forwarded, through its own fault.
#[derive(Debug)]
pub(super) struct Denial {
    pub denied: Denied,
    /// A stable word for the rule, for the record.
    pub cause: &'static str,
    /// Whom it concerns, where that is proven.
    pub correlation: Correlation,
}

/// What the client is told.
#[derive(Debug)]
pub(super) enum Denied {
    /// Nothing was presented: 401 without an error code (RFC 6750 §3.1).
    Unauthenticated,
    /// 400, with a sentence for the client's developer.
    InvalidRequest(&'static str),
    /// Bad, expired or revoked: 401.
    InvalidToken,
    /// 403, with everything a token for this call needs.
    InsufficientScope(Scope),
    /// 429: for a minute, no API key from this address is looked up.
    TooManyFailures,
    /// 405.
    MethodNotAllowed,
    /// 408.
    TooSlow,
    /// 413.
    TooLarge,
}

impl Denied {
    pub(super) fn because(self, cause: &'static str) -> Denial {
        Denial {
            denied: self,
            cause,
            correlation: Correlation::default(),
        }
    }
}

impl Denial {
    /// The same, with who is proven to be concerned.
    pub(super) fn of(self, correlation: Correlation) -> Self {
        Self {
            correlation,
            ..self
        }
    }

    /// Answers, and takes note.
    pub(super) fn answer(self, shared: &Shared, target: &Target, context: &Context) -> Response {
        let correlation = Correlation {
            proxy_id: Some(target.terms.id),
            ..self.correlation
        };
        note(shared, self.cause, correlation, context);
        let metadata_url = target.metadata_url(&shared.urls);
        let (mut response, challenge) = match self.denied {
            Denied::Unauthenticated => (
                unauthenticated(&metadata_url),
                challenge(None, &metadata_url, &target.scopes_to_ask_for()),
            ),
            Denied::InvalidRequest(description) => (
                json(StatusCode::BAD_REQUEST, "invalid_request", description),
                challenge(Some("invalid_request"), &metadata_url, &Scope::default()),
            ),
            Denied::InvalidToken => (
                json(
                    StatusCode::UNAUTHORIZED,
                    "invalid_token",
                    "the token is malformed, expired, revoked or for another resource",
                ),
                challenge(
                    Some("invalid_token"),
                    &metadata_url,
                    &target.scopes_to_ask_for(),
                ),
            ),
            Denied::InsufficientScope(needed) => (
                json(
                    StatusCode::FORBIDDEN,
                    "insufficient_scope",
                    &format!("this call needs the scopes {needed}"),
                ),
                challenge(Some("insufficient_scope"), &metadata_url, &needed),
            ),
            Denied::TooManyFailures => {
                let refused = json(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too_many_failures",
                    "too many unknown API keys from this address, try again in a minute",
                );
                return ([(header::RETRY_AFTER, "60")], refused).into_response();
            }
            Denied::MethodNotAllowed => {
                let refused = json(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "method_not_allowed",
                    "this method is not forwarded",
                );
                return ([(header::ALLOW, FORWARDED_METHODS)], refused).into_response();
            }
            Denied::TooSlow => {
                return json(
                    StatusCode::REQUEST_TIMEOUT,
                    "request_timeout",
                    "the request body did not come in time",
                );
            }
            Denied::TooLarge => {
                return json(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "request_too_large",
                    "the request body is larger than is forwarded",
                );
            }
        };
        if let Ok(challenge) = HeaderValue::try_from(challenge) {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

fn challenge(error: Option<&str>, metadata_url: &str, scope: &Scope) -> String {
    let mut challenge = String::from("Bearer ");
    if let Some(error) = error {
        challenge.push_str(&format!("error=\"{error}\", "));
    }
    challenge.push_str(&format!("resource_metadata=\"{metadata_url}\""));
    if !scope.is_empty() {
        challenge.push_str(&format!(", scope=\"{scope}\""));
    }
    challenge
}

/// No error code here either: nothing was wrong.
fn unauthenticated(metadata_url: &str) -> Response {
    let body = json!({
        "message": "this MCP server needs an access token; an MCP client obtains one by itself",
        "resource_metadata": metadata_url,
    });
    let mut response = (StatusCode::UNAUTHORIZED, Json(body)).into_response();
    no_store(response.headers_mut());
    response
}

/// An error for programs and people.
pub(super) fn json(status: StatusCode, error: &str, description: &str) -> Response {
    let body = json!({ "error": error, "error_description": description });
    let mut response = (status, Json(body)).into_response();
    no_store(response.headers_mut());
    response
}

/// Takes note of a refusal.
pub(super) fn note(
    shared: &Shared,
    cause: &'static str,
    correlation: Correlation,
    context: &Context,
) {
    let refused = RefusedRequest {
        endpoint: ENDPOINT,
        cause,
        correlation,
    };
    shared.app.refusals.note(refused, context);
}
