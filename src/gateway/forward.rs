//! Passing a request on and its answer back, as they come: nothing is collected, event streams
//! included. Who goes away takes the other side along: a client that disconnects ends the
//! upstream's request, an upstream that disconnects ends the client's answer.
//!
//! Redirects are passed on, not followed: the upstream an operator named is the only one that is
//! spoken to. One that leads below the upstream's URL is told as what the client knows, one that leads
//! elsewhere at the upstream's origin is an error of the set-up, 502: with the upstream's own address,
//! a client would learn where the upstream is, and go past the gateway.
//!
//! An upstream that asks for authentication is not believed by clients as if we had asked: they would
//! log people in again for nothing. That is an error of the set-up, too, but for a person's own token
//! that ended or was taken back (see `http::provider_tokens`).

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
use axum::response::Response;
use domain::proxy::UpstreamAuth;
use http_body::Body as _;
use http_body_util::{LengthLimitError, Limited};
use url::{Position, Url};

use super::challenge::{self, Denial, Denied};
use super::client::{self, Client};
use super::endpoint::Stop;
use super::headers;
use super::target::Target;
use super::upstream_auth::Credentials;
use super::upstream_uri::location_for_client;
use crate::app::Context;
use crate::causes::{self, chain};
use crate::http::request::{X_FORWARDED_FOR, X_REQUEST_ID};
use crate::http::{Shared, Urls};

/// Tools may work for minutes before they say anything; beyond this, somebody has forgotten us.
/// Once an answer has begun it may take as long as it likes.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Speaks to upstreams; one for the whole gateway, with its pool of connections.
pub(super) struct Forwarder {
    client: Client,
    body_bytes_max: u64,
    /// Our own public host and scheme, for upstreams that build links.
    host: Option<HeaderValue>,
    proto: Option<HeaderValue>,
    urls: Urls,
}

/// Why there is no answer of the upstream to pass on. Never the client's fault.
#[derive(Clone, Copy, Debug)]
pub(super) enum Failure {
    /// No connection, or it broke before an answer: 502.
    Unreachable,
    /// No answer in time: 504.
    TimedOut,
    /// It wants other credentials than it was given, by this status: 502.
    Unauthorized(StatusCode),
    /// It answered with something that cannot be passed on: 502.
    Unexpected,
    /// Its URL or its fixed headers cannot be used: 502.
    Misconfigured,
}

impl Forwarder {
    pub(super) fn new(shared: &Shared) -> Self {
        let public = Url::parse(&shared.urls.gateway).ok();
        let value = |text: Option<&str>| HeaderValue::from_str(text?).ok();
        Self {
            client: client::client(),
            body_bytes_max: match shared.mcp_body_bytes {
                0 => u64::MAX,
                max => max,
            },
            host: value(
                public
                    .as_ref()
                    .map(|url| &url[Position::BeforeHost..Position::AfterPort]),
            ),
            proto: value(public.as_ref().map(Url::scheme)),
            urls: shared.urls.clone(),
        }
    }

    /// Sends a request that was admitted, and gives the beginning of the answer.
    pub(super) async fn forward(
        &self,
        request: Request,
        uri: Uri,
        credentials: Credentials,
        target: &Target,
        context: &Context,
    ) -> Result<Response, Stop> {
        let (parts, body) = request.into_parts();
        let mut outgoing = Request::new(self.limited(body)?);
        let is_chunked = outgoing.body().size_hint().exact().is_none();
        let is_post = parts.method == Method::POST;
        *outgoing.method_mut() = parts.method;
        *outgoing.uri_mut() = uri.clone();
        *outgoing.headers_mut() = parts.headers;
        let headers = outgoing.headers_mut();
        headers::for_upstream(headers);
        if is_chunked {
            // Of a GET's, hyper would send nothing unless told so.
            let chunked = HeaderValue::from_static("chunked");
            headers.insert(header::TRANSFER_ENCODING, chunked);
        }
        if is_post {
            headers::name_both_answers(headers);
        }
        self.introduce(headers, context);
        credentials.add_to(headers);
        let answer = tokio::time::timeout(ANSWER_WITHIN, self.client.request(outgoing)).await;
        let response = answer
            .map_err(|_| Failure::TimedOut)?
            .map_err(|error| failed(&error, target, context))?;
        Ok(self.pass_back(response, &uri, target)?)
    }

    /// A body whose length is announced is judged by that, another one as it comes.
    fn limited(&self, body: Body) -> Result<Body, Denial> {
        let size = body.size_hint();
        if size.lower() > self.body_bytes_max {
            return Err(too_large());
        }
        if size.exact().is_some() || self.body_bytes_max == u64::MAX {
            return Ok(body);
        }
        let max = usize::try_from(self.body_bytes_max).unwrap_or(usize::MAX);
        Ok(Body::new(Limited::new(body, max)))
    }

    /// Who we forward for, as what, and under which id the request's events are found.
    fn introduce(&self, headers: &mut HeaderMap, context: &Context) {
        headers.insert(header::VIA, HeaderValue::from_static("1.1 grantlog"));
        let ip = context.ip.map(|ip| HeaderValue::try_from(ip.to_string()));
        let id = context
            .request_id
            .map(|id| HeaderValue::try_from(id.to_string()));
        let ours = [
            (X_FORWARDED_FOR, ip.and_then(Result::ok)),
            (X_FORWARDED_HOST, self.host.clone()),
            (X_FORWARDED_PROTO, self.proto.clone()),
            (X_REQUEST_ID, id.and_then(Result::ok)),
        ];
        for (name, value) in ours {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
    }

    fn pass_back(
        &self,
        response: hyper::Response<hyper::body::Incoming>,
        asked: &Uri,
        target: &Target,
    ) -> Result<Response, Failure> {
        let (mut parts, body) = response.into_parts();
        let challenges = parts.headers.contains_key(header::WWW_AUTHENTICATE);
        match parts.status {
            StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                return Err(Failure::Unauthorized(parts.status));
            }
            StatusCode::FORBIDDEN if challenges => {
                return Err(Failure::Unauthorized(parts.status));
            }
            StatusCode::SWITCHING_PROTOCOLS => return Err(Failure::Unexpected),
            _ => {}
        }
        headers::for_client(&mut parts.headers);
        parts.headers.remove(header::WWW_AUTHENTICATE);
        if let Some(location) = parts.headers.remove(header::LOCATION) {
            let upstream = &target.terms.proxy.settings.upstream_url;
            let resource = target.resource(&self.urls);
            match location_for_client(&location, asked, upstream, &resource) {
                Ok(location) => {
                    parts.headers.insert(header::LOCATION, location);
                }
                Err(failure) if parts.status.is_redirection() => {
                    tracing::warn!(
                        proxy_id = target.terms.id.0,
                        "an upstream redirects to an address of its own that is not below its URL"
                    );
                    return Err(failure);
                }
                // It only says where something is, which this client cannot reach.
                Err(_) => {}
            }
        }
        // The connection to the client is ours: HTTP/1.1, whatever the upstream speaks.
        parts.version = Version::HTTP_11;
        parts.extensions.clear();
        Ok(Response::from_parts(parts, Body::new(body)))
    }
}

fn failed(error: &hyper_util::client::legacy::Error, target: &Target, context: &Context) -> Stop {
    if causes::any(error, |cause| cause.is::<LengthLimitError>()) {
        return too_large().into();
    }
    // What hyper calls the user's is what we gave it: the client's body.
    let is_body = |cause: &hyper::Error| cause.is_user();
    if causes::any(error, |cause| cause.downcast_ref().is_some_and(is_body)) {
        let denied = Denied::InvalidRequest("the request body is malformed or incomplete");
        return denied.because("body_broken").into();
    }
    tracing::warn!(
        proxy_id = target.terms.id.0,
        request_id = context.request_id.map(tracing::field::display),
        error = chain(error),
        "an upstream failed"
    );
    Failure::Unreachable.into()
}

fn too_large() -> Denial {
    Denied::TooLarge.because("body_too_large")
}

impl Failure {
    /// Answers, and tells the operator; the log of events tells nothing of upstreams' faults.
    pub(super) fn answer(self, target: &Target, context: &Context) -> Response {
        let (status, error, description) = match self {
            Self::Unreachable => (
                StatusCode::BAD_GATEWAY,
                "upstream_unreachable",
                "the MCP server cannot be reached",
            ),
            Self::TimedOut => (
                StatusCode::GATEWAY_TIMEOUT,
                "upstream_timeout",
                "the MCP server did not answer in time",
            ),
            Self::Unauthorized(_) => (
                StatusCode::BAD_GATEWAY,
                "upstream_unauthorized",
                match target.terms.proxy.settings.upstream_auth {
                    UpstreamAuth::ProviderToken => {
                        "the MCP server refused your token from the identity provider, or needs one for an API key, which has none"
                    }
                    UpstreamAuth::Static | UpstreamAuth::None => {
                        "the MCP server refused the credentials of this gateway, not yours"
                    }
                },
            ),
            Self::Unexpected => (
                StatusCode::BAD_GATEWAY,
                "upstream_unexpected",
                "the MCP server's answer cannot be passed on",
            ),
            Self::Misconfigured => (
                StatusCode::BAD_GATEWAY,
                "upstream_misconfigured",
                "the MCP server's settings cannot be used",
            ),
        };
        tracing::warn!(
            proxy_id = target.terms.id.0,
            request_id = context.request_id.map(tracing::field::display),
            error,
            "not answered by the upstream"
        );
        challenge::json(status, error, description)
    }
}
