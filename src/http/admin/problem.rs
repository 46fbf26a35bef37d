//! From broken rules to what operators are told: RFC 9457 problems, each with a stable `code`.
//!
//! A problem travels in the response's extensions until [`finish`] writes its body, because only
//! there the request id is known. What a store failed at is logged and not told.

use std::borrow::Cow;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::event::Correlation;
use domain::{api_key, client, grant, operator, provider, proxy};
use projections::BadFilter;
use serde::Serialize;

use super::Admin;
use crate::administration::Refused;
use crate::app::{Context, ExecuteError, RefusedRequest, Unavailable};
use crate::causes::chain;
use crate::http::error::{RETRY_AFTER_S, no_store};
use crate::http::request::{BodyFailure, Caller};

/// Why an administration request was not done.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: Cow<'static, str>,
    /// The member, parameter or header that is at fault.
    name: Option<String>,
    /// Who was denied, once they are known.
    denied: Option<Box<Context>>,
    /// How to authenticate, where that is missing (RFC 9110 §11.6.1).
    challenge: Option<&'static str>,
    /// When it is worth asking again, where that is why: after so many seconds.
    retry_after_s: Option<u64>,
}

/// The body of a problem (RFC 9457 §3).
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub(super) struct Body9457<'a> {
    /// Always `about:blank`: the status and `code` say what it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// A stable word for the problem.
    code: &'static str,
    /// What to do about it.
    detail: &'a str,
    /// The member, parameter or header at fault, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    /// Finds the events of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    request_id: Option<uuid::Uuid>,
}

impl Problem {
    /// A problem with its stable code and a sentence for the caller.
    pub fn new(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            name: None,
            denied: None,
            challenge: None,
            retry_after_s: None,
        }
    }

    /// The request is malformed.
    pub fn bad_request(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// There is nothing of this kind under this id.
    pub fn not_found(code: &'static str, what: &'static str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            code,
            format!("there is no such {what}"),
        )
    }

    /// The state of things forbids it.
    pub fn conflict(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// It cannot be done now.
    pub fn unavailable(code: &'static str, detail: &'static str) -> Self {
        Self {
            retry_after_s: Some(RETRY_AFTER_S),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
        }
    }

    /// No operator's token was presented; whoever presents nothing is not told that it was wrong (RFC 6750 §3.1).
    #[must_use]
    pub fn token_missing() -> Self {
        let detail = "expected an operator's token: Authorization: Bearer …";
        Self {
            challenge: Some("Bearer realm=\"grantlog\""),
            ..Self::new(StatusCode::UNAUTHORIZED, "token_missing", detail)
        }
    }

    /// What was presented is no operator's token.
    #[must_use]
    pub fn token_invalid() -> Self {
        let detail = "the token is no operator's";
        Self {
            challenge: Some("Bearer realm=\"grantlog\", error=\"invalid_token\""),
            ..Self::new(StatusCode::UNAUTHORIZED, "token_invalid", detail)
        }
    }

    /// Nobody at this address is listened to until the minute is over.
    #[must_use]
    pub fn too_many_failures() -> Self {
        let detail = "too many failed authentications from this address, try again in a minute";
        Self {
            retry_after_s: Some(60),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_failures", detail)
        }
    }

    /// The operator's role does not allow it.
    #[must_use]
    pub fn forbidden(role: operator::Role, context: &Context) -> Self {
        Self {
            denied: Some(Box::new(context.clone())),
            ..Self::new(
                StatusCode::FORBIDDEN,
                "role_insufficient",
                format!("the role {role} does not allow this"),
            )
        }
    }

    /// The read models cannot answer now.
    #[must_use]
    pub fn read_model(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error = chain(error), "a read model failed");
        Self::unavailable("read_model_unavailable", "try again later")
    }

    /// Whether somebody was denied something, which is for the record.
    fn is_denial(&self) -> bool {
        matches!(
            self.status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
        )
    }

    /// The same, naming what is at fault.
    #[must_use]
    pub fn naming(self, name: impl Into<String>) -> Self {
        Self {
            name: Some(name.into()),
            ..self
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the body of a problem, takes note of denials, and forbids caches to keep answers.
pub async fn finish(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>().cloned();
    let mut response = next.run(request).await;
    no_store(response.headers_mut());
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    let context = caller.map(|Caller(context)| context);
    if let (true, Some(anonymous)) = (problem.is_denial(), &context) {
        let refused = RefusedRequest {
            endpoint: "administration",
            cause: problem.code,
            correlation: Correlation::default(),
        };
        let context = problem.denied.as_deref().unwrap_or(anonymous);
        admin.shared.app.refusals.note(refused, context);
    }
    let body = Body9457 {
        kind: "about:blank",
        title: problem.status.canonical_reason().unwrap_or_default(),
        status: problem.status.as_u16(),
        code: problem.code,
        detail: &problem.detail,
        name: problem.name.as_deref(),
        request_id: context.and_then(|context| context.request_id),
    };
    let body = serde_json::to_vec(&body).expect("texts serialize to memory");
    *response.body_mut() = Body::from(body);
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    if let Some(challenge) = problem.challenge {
        let challenge = HeaderValue::from_static(challenge);
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    if let Some(wait) = problem.retry_after_s {
        headers.insert(header::RETRY_AFTER, wait.into());
    }
    response
}

impl From<BodyFailure> for Problem {
    fn from(failure: BodyFailure) -> Self {
        let (code, detail) = match failure {
            BodyFailure::TooLarge => ("body_too_large", "expected at most 64 KiB"),
            BodyFailure::Late => ("body_late", "the body did not come in time"),
            BodyFailure::Incomplete => ("body_incomplete", "the body ended too early"),
        };
        Self::new(failure.status(), code, detail)
    }
}

impl From<BadFilter> for Problem {
    fn from(error: BadFilter) -> Self {
        let name: String = error.name.chars().take(100).collect();
        Self::bad_request("invalid_parameter", error.to_string()).naming(name)
    }
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        tracing::error!(error = chain(&error), "a store failed");
        Self::unavailable("store_unavailable", "try again later")
    }
}

impl<R: Into<Refused>> From<ExecuteError<R>> for Problem {
    fn from(error: ExecuteError<R>) -> Self {
        Refused::from(error).into()
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Provider(rule) => rule.into(),
            Refused::Proxy(rule) => rule.into(),
            Refused::Client(rule) => rule.into(),
            Refused::Grant(rule) => rule.into(),
            Refused::Operator(rule) => rule.into(),
            Refused::ApiKey(rule) => rule.into(),
            Refused::Misconfigured(error) => {
                Self::bad_request("provider_incomplete", error.to_string())
            }
            Refused::Header(error) => invalid("oauth_proxy_upstream_headers", error.to_string()),
            Refused::Reason(error) => invalid("reason", format!("reason: {error}")),
            Refused::Unavailable(error) => error.into(),
        }
    }
}

/// A member whose value breaks a rule.
pub(super) fn invalid(member: &str, detail: String) -> Problem {
    Problem::bad_request("invalid_member", detail).naming(member)
}

impl From<provider::Rule> for Problem {
    fn from(rule: provider::Rule) -> Self {
        use provider::Rule;
        match rule {
            Rule::Unknown => Self::not_found("unknown_provider", "provider"),
            Rule::Exists => Self::conflict("provider_exists", rule.to_string()),
            Rule::Outdated => Self::conflict("provider_changed", rule.to_string()),
            Rule::InUse => Self::conflict("provider_in_use", rule.to_string()),
            Rule::Name => invalid("name", rule.to_string()),
            Rule::ClientId => invalid("client_id", rule.to_string()),
        }
    }
}

impl From<proxy::Rule> for Problem {
    fn from(rule: proxy::Rule) -> Self {
        use proxy::Rule;
        let member = match rule {
            Rule::Unknown => return Self::not_found("unknown_proxy", "proxy"),
            Rule::Exists => return Self::conflict("proxy_exists", rule.to_string()),
            Rule::Outdated => return Self::conflict("proxy_changed", rule.to_string()),
            Rule::UnknownProvider => "oauth_proxy_provider_id",
            Rule::Name => "name",
            Rule::UpstreamUrl => "upstream_url",
            Rule::AccessTokenSeconds => "oauth_proxy_access_token_seconds",
            Rule::RefreshTokenSeconds => "oauth_proxy_refresh_token_seconds",
            Rule::GrantSeconds => "oauth_proxy_grant_seconds",
            Rule::RefreshRetrySeconds => "oauth_proxy_refresh_retry_seconds",
            Rule::DefaultScopes => "oauth_proxy_default_scopes",
            Rule::AllowedRedirects(_) => "oauth_proxy_allowed_redirects",
        };
        invalid(member, rule.to_string())
    }
}

impl From<client::Rule> for Problem {
    fn from(rule: client::Rule) -> Self {
        use client::Rule;
        match rule {
            Rule::Unknown => Self::not_found("unknown_client", "client"),
            Rule::Exists
            | Rule::InUse
            | Rule::TooRecent
            | Rule::RegistrationToken
            | Rule::ClientId
            | Rule::ClientSecret => Self::conflict("client_state", rule.to_string()),
        }
    }
}

impl From<grant::Rule> for Problem {
    fn from(rule: grant::Rule) -> Self {
        use grant::Rule;
        match rule {
            Rule::UnknownGrant => Self::not_found("unknown_grant", "grant"),
            Rule::AlreadyAnswered
            | Rule::ClientMismatch
            | Rule::ProxyMismatch
            | Rule::CodeMismatch
            | Rule::CodeExpired
            | Rule::CodeReplayed
            | Rule::RedirectUriMismatch
            | Rule::CodeVerifierMissing
            | Rule::CodeVerifierMismatch
            | Rule::ResourceMismatch
            | Rule::ScopeExceeded
            | Rule::UnknownRefreshToken
            | Rule::RefreshTokenExpired
            | Rule::RefreshTokenReused
            | Rule::RetriedTooOften
            | Rule::GrantExpired
            | Rule::Revoked => Self::conflict("grant_state", rule.to_string()),
        }
    }
}

impl From<operator::Rule> for Problem {
    fn from(rule: operator::Rule) -> Self {
        use operator::Rule;
        match rule {
            Rule::Unknown => Self::not_found("unknown_operator", "operator"),
            Rule::Exists => Self::conflict("operator_exists", rule.to_string()),
            Rule::LastAdmin => Self::conflict("last_admin", rule.to_string()),
            Rule::Name => invalid("name", format!("name: {rule}")),
        }
    }
}

impl From<api_key::Rule> for Problem {
    fn from(rule: api_key::Rule) -> Self {
        use api_key::Rule;
        match rule {
            Rule::Unknown => Self::not_found("unknown_api_key", "API key"),
            Rule::Exists => Self::conflict("api_key_exists", rule.to_string()),
            Rule::Name => invalid("name", format!("name: {rule}")),
            Rule::ExpiresAt => invalid("expires_at", format!("expires_at: {rule}")),
        }
    }
}
