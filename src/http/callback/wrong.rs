//! Callbacks that are answered on a page of ours, because no client may be told.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::event::Correlation;
use domain::grant::Grant;

use crate::app::{Context, RefusedRequest};
use crate::federation::LoginFailure;
use crate::http::authorize::{Transaction, unavailable};
use crate::http::pages::ErrorPage;
use crate::http::{Shared, restart};

/// What is wrong with a callback that is answered on a page of ours.
pub(super) enum Wrong {
    State,
    Provider,
    Browser,
    Proxy,
    /// Somebody logged in before.
    Completed,
    /// It failed, or was refused, before.
    Failed,
    Expired,
    Answer(LoginFailure),
}

impl Wrong {
    /// What is wrong with going on with an authorization that was answered.
    pub(super) fn answered(grant: &Grant) -> Option<Self> {
        match grant {
            Grant::Absent => None,
            Grant::Refused => Some(Self::Failed),
            Grant::Live(_) | Grant::Revoked(_) => Some(Self::Completed),
        }
    }

    /// The stable word for it in the record.
    pub(super) fn cause(&self) -> &'static str {
        match self {
            Self::State => "unknown_state",
            Self::Provider => "callback_of_another_provider",
            Self::Browser => "callback_from_another_browser",
            Self::Proxy => "proxy_changed_during_login",
            Self::Completed | Self::Failed => "callback_repeated",
            Self::Expired => "login_took_too_long",
            Self::Answer(failure) => failure.as_str(),
        }
    }

    fn message(&self) -> &'static str {
        match self {
            Self::State => "This is not an answer to a login that began here.",
            Self::Provider => "The answer came from another provider than the one that was asked.",
            Self::Browser => {
                "This login began in another browser. If you did not start it yourself, somebody \
                 may be trying to use your account: close this page."
            }
            Self::Proxy => "The server you were logging in to has changed. Please start again.",
            Self::Completed => "This login has already been completed.",
            Self::Failed => {
                "This login has already ended without success. Please start again, here or in the \
                 application."
            }
            Self::Expired => {
                "The login took too long. Please start again, here or in the application."
            }
            Self::Answer(_) => "The provider's answer cannot be trusted. Please start again.",
        }
    }

    fn leads_on(&self) -> bool {
        match self {
            Self::Proxy | Self::Failed | Self::Expired | Self::Answer(_) => true,
            Self::State | Self::Provider | Self::Browser | Self::Completed => false,
        }
    }
}

/// Says so, and takes note of it, because no stream does.
pub(super) fn refuse(
    shared: &Shared,
    transaction: Option<&Transaction>,
    context: &Context,
    wrong: &Wrong,
) -> Response {
    let correlation = transaction.map_or_else(Correlation::default, |transaction| Correlation {
        proxy_id: Some(transaction.request.proxy_id),
        client_id: Some(transaction.request.client_id),
        subject: None,
    });
    let refused = RefusedRequest {
        endpoint: "callback",
        cause: wrong.cause(),
        correlation,
    };
    shared.app.refusals.note(refused, context);
    page(shared, transaction, context, wrong)
}

/// Says so.
pub(super) fn page(
    shared: &Shared,
    transaction: Option<&Transaction>,
    context: &Context,
    wrong: &Wrong,
) -> Response {
    let again = transaction
        .filter(|_| wrong.leads_on())
        .filter(|transaction| {
            let proxy_id = transaction.request.proxy_id;
            shared.app.directory.enabled(proxy_id).is_some()
        })
        .map(|transaction| restart::url(&shared.urls, &transaction.request));
    let status = if matches!(wrong, Wrong::Browser) {
        StatusCode::FORBIDDEN
    } else {
        StatusCode::BAD_REQUEST
    };
    ErrorPage {
        status,
        code: "invalid_request",
        message: wrong.message(),
        detail: None,
        again: again.as_deref(),
        request_id: context.request_id,
    }
    .into_response()
}

/// For whoever goes on with an authorization that was answered; `None` where nobody has.
pub(in crate::http) fn ended(
    shared: &Shared,
    transaction: &Transaction,
    known: &Grant,
    context: &Context,
) -> Option<Response> {
    let wrong = Wrong::answered(known)?;
    Some(page(shared, Some(transaction), context, &wrong))
}

/// Says how an authorization was answered before. Where nothing is on record yet, somebody else has
/// just logged in.
pub(super) async fn answered(
    shared: &Shared,
    transaction: &Transaction,
    context: &Context,
) -> Response {
    match shared.app.fresh::<Grant>(transaction.grant_id).await {
        Ok(known) => {
            let wrong = Wrong::answered(&known).unwrap_or(Wrong::Failed);
            refuse(shared, Some(transaction), context, &wrong)
        }
        Err(error) => unavailable(&error, context),
    }
}
