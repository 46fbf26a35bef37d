//! The life of a request at a protected endpoint: find the resource, admit, forward.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::event::Correlation;

use super::Gateway;
use super::admit::admit;
use super::answer;
use super::challenge::{self, Denial, Denied};
use super::credentials;
use super::forward::Failure;
use super::target::{NoSuchProxy, Target};
use super::upstream_auth;
use super::upstream_uri::upstream_uri;
use crate::app::{Context, Unavailable};
use crate::causes::chain;
use crate::clock;
use crate::http::error::{Code, OAuthError};
use crate::http::request::Caller;

/// Why a request is answered here.
pub(super) enum Stop {
    /// Its own fault.
    Denied(Denial),
    /// A store, or the provider, cannot do its part now; told to the operator already.
    Unavailable,
    /// It, or what came back, cannot be passed on.
    Failed(Failure),
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl From<Unavailable> for Stop {
    fn from(error: Unavailable) -> Self {
        tracing::error!(error = chain(&error), "a store failed");
        Self::Unavailable
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Any method at `/mcp`, `/proxy/{proxy_id}/mcp` and below.
pub(super) async fn serve(State(gateway): State<Gateway>, mut request: Request) -> Response {
    let caller = request.extensions_mut().remove();
    let Caller(context) = caller.unwrap_or_else(|| Caller(Context::system(clock::now())));
    let shared = &gateway.shared;
    let (target, below) = match Target::find(shared, request.uri().path()).await {
        Ok(Some(found)) => found,
        Ok(None) => return unknown_proxy(&gateway, &context),
        Err(error) => return OAuthError::from(error).into_response(),
    };
    let upstream = &target.terms.proxy.settings.upstream_url;
    let uri = upstream_uri(upstream, below, request.uri().query());
    let outcome = async {
        let admitted = admit(
            &gateway,
            &target,
            request.uri(),
            request.headers(),
            &context,
        )
        .await;
        // Whoever is denied anyway need not be waited for.
        let request = match admitted {
            Ok(_)
            | Err(Stop::Denied(Denial {
                denied: Denied::Unauthenticated,
                ..
            })) => credentials::without_token_in_form(request).await?,
            Err(stop) => return Err(stop),
        };
        let admitted = admitted?;
        // TRACE would come back with what the upstream was given in the client's place, CONNECT asks for
        // another server. Methods are case-sensitive (RFC 9110 §9.1), but not to every upstream.
        let method = request.method().as_str();
        let is_refused = |refused: &str| method.eq_ignore_ascii_case(refused);
        if ["TRACE", "CONNECT"].into_iter().any(is_refused) {
            return Err(Denied::MethodNotAllowed.because("method").into());
        }
        let credentials =
            upstream_auth::credentials(&gateway, &target, &admitted, &context).await?;
        let method = request.method().clone();
        let forwarder = &gateway.forwarder;
        let given = credentials.clone();
        match forwarder
            .forward(request, uri?, credentials, &target, &context)
            .await
        {
            Err(Stop::Failed(Failure::Unauthorized(status))) => {
                Err(upstream_auth::refused(&gateway, &admitted, given, status, &context).await)
            }
            Ok(response) => {
                let proxy = target.terms.id;
                Ok(answer::bounded(
                    response, &gateway, proxy, admitted, &method,
                ))
            }
            Err(stop) => Err(stop),
        }
    };
    match outcome.await {
        Ok(response) => response,
        Err(Stop::Denied(denial)) => denial.answer(shared, &target, &context),
        Err(Stop::Unavailable) => unavailable(),
        Err(Stop::Failed(failure)) => failure.answer(&target, &context),
    }
}

fn unknown_proxy(gateway: &Gateway, context: &Context) -> Response {
    challenge::note(
        &gateway.shared,
        "unknown_proxy",
        Correlation::default(),
        context,
    );
    NoSuchProxy.into_response()
}

impl IntoResponse for NoSuchProxy {
    fn into_response(self) -> Response {
        OAuthError::proxy_not_found().into_response()
    }
}

fn unavailable() -> Response {
    OAuthError::new(
        Code::TemporarilyUnavailable,
        "unavailable",
        "try again later",
    )
    .into_response()
}

/// Anything else at this origin.
pub(super) async fn not_found() -> Response {
    challenge::json(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is nothing at this address",
    )
}
