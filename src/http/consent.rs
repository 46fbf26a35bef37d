//! The person's decision on the consent page.
//!
//! A form counts only if it comes from the browser that was shown the page: its cookie must match
//! the sealed transaction, and the browser must not say that another site sent it.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::event::Correlation;
use domain::grant::{Command, DenyConsent, Grant};

use super::authorize::{
    CONSENT_PURPOSE, Failed, Outcome, Transaction, redirect, registered, to_provider, unavailable,
};
use super::cookies::{STEP_S, Step};
use super::form::{Form, Posted};
use super::pages::ErrorPage;
use super::{Shared, callback, restart};
use crate::app::{Context, ExecuteError, ProxyTerms, RefusedRequest};
use crate::tokens::sealed;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The decision is on other terms than the proxy's.
const FOR_ANOTHER_PROXY: &str = "consent_for_another_proxy";

/// `POST {base}/consent`
pub async fn decide(
    State(shared): State<Shared>,
    Path(proxy): Path<String>,
    Posted {
        context,
        headers,
        body,
    }: Posted,
) -> Response {
    let terms = match shared.proxy(&proxy).await {
        Ok(terms) => terms,
        Err(error) => return shared.answered("consent", &proxy, &context, Err(error)),
    };
    let (transaction, approves) = match read(&shared, &terms, &headers, &body, &context) {
        Ok(read) => read,
        Err(refused) => return refuse(&shared, &terms, &context, &refused),
    };
    let asked = transaction.provider_id;
    let fit = |terms: &ProxyTerms| terms.proxy.settings.provider_id == asked;
    let terms = match shared.terms(terms.id, fit).await {
        Ok(Some(terms)) => terms,
        Ok(None) => return refuse(&shared, &terms, &context, &FOR_ANOTHER_PROXY.into()),
        Err(error) => return unavailable(&error, &context),
    };
    if let Err(why) = registered(&shared, &transaction.request).await {
        return callback::gone(&shared, &transaction, why, &context).await;
    }
    // The cookie stays: a button that is pressed again while the next page is slow decides again.
    if !approves {
        return deny(&shared, &terms, &transaction, &context).await;
    }
    let known = match shared.app.state::<Grant>(transaction.grant_id).await {
        Ok(known) => known,
        Err(error) => return unavailable(&error, &context),
    };
    if let Some(page) = callback::ended(&shared, &transaction, &known, &context) {
        note(&shared, &terms, &context, "consent_repeated");
        return page;
    }
    to_provider(&shared, &terms, transaction, &context).await
}

fn read(
    shared: &Shared,
    terms: &ProxyTerms,
    headers: &HeaderMap,
    body: &[u8],
    context: &Context,
) -> Result<(Transaction, bool), Refused> {
    if !is_same_origin(shared, headers) {
        return Err("cross_site_consent".into());
    }
    let form = Form::parse(headers, body).map_err(|_| "malformed_consent")?;
    let sealed_transaction = form.get("transaction").ok_or("malformed_consent")?;
    let key = &shared.app.vault.purpose_keys().state;
    let transaction: Transaction =
        sealed::unseal(key, CONSENT_PURPOSE, sealed_transaction).map_err(|_| "forged_consent")?;
    if transaction.request.proxy_id != terms.id {
        return Err(FOR_ANOTHER_PROXY.into());
    }
    if (context.now - transaction.step_at).num_seconds() > STEP_S {
        return Err(Refused {
            cause: "consent_expired",
            again: Some(restart::url(&shared.urls, &transaction.request)),
        });
    }
    if !Step::Consent.is_bound(transaction.grant_id, headers, transaction.browser) {
        return Err("consent_from_another_browser".into());
    }
    match form.get("decision") {
        Some("approve") => Ok((transaction, true)),
        Some("deny") => Ok((transaction, false)),
        Some(_) | None => Err("malformed_consent".into()),
    }
}

/// Why a decision does not count.
struct Refused {
    cause: &'static str,
    /// Where the person may start again, if that helps.
    again: Option<String>,
}

impl From<&'static str> for Refused {
    fn from(cause: &'static str) -> Self {
        Self { cause, again: None }
    }
}

/// What browsers say about where a form comes from. Others say nothing; the cookie stands for
/// them alone.
fn is_same_origin(shared: &Shared, headers: &HeaderMap) -> bool {
    let site = headers.get(SEC_FETCH_SITE).map(|value| value.as_bytes());
    let origin = headers.get(header::ORIGIN).map(|value| value.as_bytes());
    // A page with `no-referrer` posts with `Origin: null`; then only the site counts.
    let is_own = |origin: &[u8]| origin == shared.urls.server.as_bytes();
    match (site, origin) {
        (Some(b"same-origin"), Some(b"null") | None) => true,
        (Some(b"same-origin") | None, Some(origin)) => is_own(origin),
        (Some(_), _) => false,
        (None, None) => true,
    }
}

async fn deny(
    shared: &Shared,
    terms: &ProxyTerms,
    transaction: &Transaction,
    context: &Context,
) -> Response {
    let command = Command::DenyConsent(DenyConsent {
        request: transaction.requested(),
    });
    let grant_id = transaction.grant_id;
    match shared
        .app
        .execute::<Grant>(grant_id, command, context)
        .await
    {
        // Answered before, perhaps in another tab: the client is told the same.
        Ok(_) | Err(ExecuteError::Refused(_)) => redirect(
            shared,
            terms,
            &transaction.request.target,
            Outcome::Failed(Failed::AccessDenied),
        ),
        Err(ExecuteError::Unavailable(error)) => unavailable(&error, context),
    }
}

fn refuse(shared: &Shared, terms: &ProxyTerms, context: &Context, why: &Refused) -> Response {
    note(shared, terms, context, why.cause);
    ErrorPage {
        status: StatusCode::FORBIDDEN,
        code: "invalid_request",
        message: "This decision did not come from the page you were shown, or came too late. \
                  Please start again in the application.",
        detail: None,
        again: why.again.as_deref(),
        request_id: context.request_id,
    }
    .into_response()
}

fn note(shared: &Shared, terms: &ProxyTerms, context: &Context, cause: &'static str) {
    let refused = RefusedRequest {
        endpoint: "consent",
        cause,
        correlation: Correlation {
            proxy_id: Some(terms.id),
            ..Correlation::default()
        },
    };
    shared.app.refusals.note(refused, context);
}
