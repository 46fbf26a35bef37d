//! Callbacks that are answered on a page of ours, because no client may be told.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::event::Correlation;

use crate::app::{Context, RefusedRequest};
use crate::federation::LoginFailure;
use crate::http::authorize::Transaction;
use crate::http::pages::ErrorPage;
use crate::http::{Shared, restart};

/// What is wrong with a callback that is answered on a page of ours.
pub(super) enum Wrong {
    State,
    Provider,
    Browser,
    Proxy,
    AlreadyAnswered,
    Expired,
    Answer(LoginFailure),
}

/// Says so, and takes note of it.
pub(super) fn refuse(
    shared: &Shared,
    transaction: Option<&Transaction>,
    context: &Context,
    wrong: Wrong,
) -> Response {
    let (status, cause, message) = match wrong {
        Wrong::State => (
            StatusCode::BAD_REQUEST,
            "unknown_state",
            "This is not an answer to a login that began here.",
        ),
        Wrong::Provider => (
            StatusCode::BAD_REQUEST,
            "callback_of_another_provider",
            "The answer came from another provider than the one that was asked.",
        ),
        Wrong::Browser => (
            StatusCode::FORBIDDEN,
            "callback_from_another_browser",
            "This login began in another browser. If you did not start it yourself, somebody \
             may be trying to use your account: close this page.",
        ),
        Wrong::Proxy => (
            StatusCode::BAD_REQUEST,
            "proxy_changed_during_login",
            "The server you were logging in to has changed. Please start again.",
        ),
        Wrong::AlreadyAnswered => (
            StatusCode::BAD_REQUEST,
            "callback_repeated",
            "This login has already been completed.",
        ),
        Wrong::Expired => (
            StatusCode::BAD_REQUEST,
            "login_took_too_long",
            "The login took too long. Please start again, here or in the application.",
        ),
        Wrong::Answer(failure) => (
            StatusCode::BAD_REQUEST,
            failure.as_str(),
            "The provider's answer cannot be trusted. Please start again.",
        ),
    };
    let again = transaction
        .filter(|_| matches!(wrong, Wrong::Expired))
        .map(|transaction| restart::url(&shared.urls, &transaction.request));
    let correlation = transaction.map_or_else(Correlation::default, |transaction| Correlation {
        proxy_id: Some(transaction.request.proxy_id),
        client_id: Some(transaction.request.client_id),
        subject: None,
    });
    let refused = RefusedRequest {
        endpoint: "callback",
        cause,
        correlation,
    };
    shared.app.refusals.note(refused, context);
    ErrorPage {
        status,
        code: "invalid_request",
        message,
        detail: None,
        again: again.as_deref(),
        request_id: context.request_id,
    }
    .into_response()
}
