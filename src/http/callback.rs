//! Where the provider returns the browser: from a login to an authorization code.
//!
//! The code of the provider is spent only after state, age, provider and browser have been
//! checked. The grant's first append expects an empty stream, so a callback works once, on every
//! node.
//!
//! A login that failed is on record before a page or the client says so. Whose browser is not known
//! to be the person's writes nothing of its own there.

mod recording;
mod repeated;
mod wrong;

use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use domain::authorization::Unanswerable;
use domain::entry::Identity;
use domain::grant::{Command, FailLogin, Grant, Rule};
use domain::id::GrantId;

use super::Shared;
use super::authorize::{
    self, Failed, LOGIN_PURPOSE, Outcome, Stop, Transaction, redirect, registered, unavailable,
};
use super::cookies::{STEP_S, Step};
use super::request::Caller;
use crate::administration::PrivateTerms;
use crate::app::{Context, ExecuteError, ProxyTerms, Unavailable};
use crate::federation::{self, Login, LoginFailure};
use crate::tokens::code::Code;
use crate::tokens::sealed;
use recording::{impersonal, record_login};
pub use repeated::Callbacks;
use repeated::once;
pub(super) use wrong::ended;
use wrong::{Wrong, answered, page, refuse};

/// How long a request takes that has the provider's tokens already, with a slow store.
const SOON: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// `GET /api/v1/oauth/callback/{provider_id}`
pub async fn callback(
    State(shared): State<Shared>,
    Path(provider): Path<String>,
    RawQuery(query): RawQuery,
    Caller(context): Caller,
    headers: HeaderMap,
) -> Response {
    let query = query.unwrap_or_default();
    let state = parameter(&query, "state").unwrap_or_default();
    let key = &shared.app.vault.purpose_keys().state;
    let Ok(transaction) = sealed::unseal::<Transaction>(key, LOGIN_PURPOSE, &state) else {
        return refuse(&shared, None, &context, &Wrong::State);
    };
    if provider.parse() != Ok(transaction.provider_id) {
        return refuse(&shared, Some(&transaction), &context, &Wrong::Provider);
    }
    let grant_id = transaction.grant_id;
    let is_late = (context.now - transaction.step_at).num_seconds() > STEP_S;
    let is_bound = Step::Login.is_bound(grant_id, &headers, transaction.browser);
    if !is_bound || is_late {
        return stop(&shared, &transaction, is_bound, is_late, &context).await;
    }
    let (brought, by) = (query.clone(), context.clone());
    let answer = Box::pin(answer(shared.clone(), transaction, state, brought, by));
    let mut response = match once(&shared, grant_id, &query, answer).await {
        Ok(response) => response,
        Err(error) => return unavailable(&error, &context),
    };
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        // Nothing was answered: whoever reloads is still the same browser.
        return response;
    }
    for step in [Step::Consent, Step::Login] {
        let cookie = step.release(grant_id);
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let named = pairs.find(|(known, _)| known == name);
    named.map(|(_, value)| value.into_owned())
}

/// For a browser that cannot go on: it is not known to be the one that began, or it is late.
async fn stop(
    shared: &Shared,
    transaction: &Transaction,
    is_bound: bool,
    is_late: bool,
    context: &Context,
) -> Response {
    // The cookie ends with the answer: who goes back to an answered login is no stranger.
    let wrong = match shared.app.fresh::<Grant>(transaction.grant_id).await {
        Ok(known) => Wrong::answered(&known),
        Err(error) => return unavailable(&error, context),
    };
    match wrong {
        Some(wrong) => refuse(shared, Some(transaction), context, &wrong),
        None if is_late => {
            // An honest person comes back without the cookie, which has ended with the step, so that is no
            // reason to leave the login out of the history. That it took too long is true whoever says so;
            // where they are, and with what, is told only of the browser that began.
            let by = if is_bound {
                context.clone()
            } else {
                impersonal(context)
            };
            let told = || page(shared, Some(transaction), context, &Wrong::Expired);
            record_failure(shared, transaction, Wrong::Expired.cause(), &by, told).await
        }
        None => refuse(shared, Some(transaction), context, &Wrong::Browser),
    }
}

/// What the person's own browser brought, answered.
async fn answer(
    shared: Shared,
    transaction: Transaction,
    state: String,
    query: String,
    context: Context,
) -> Response {
    let terms = shared
        .terms(transaction.request.proxy_id, |terms| {
            terms.proxy.settings.provider_id == transaction.provider_id
        })
        .await;
    let terms = match terms {
        Ok(Some(terms)) => terms,
        Ok(None) => {
            let told = || page(&shared, Some(&transaction), &context, &Wrong::Proxy);
            let reason = Wrong::Proxy.cause();
            return record_failure(&shared, &transaction, reason, &context, told).await;
        }
        Err(error) => return unavailable(&error, &context),
    };
    if let Err(why) = registered(&shared, &transaction.request).await {
        return gone(&shared, &transaction, why, &context).await;
    }
    let (code, iss, error) = (
        parameter(&query, "code"),
        parameter(&query, "iss"),
        parameter(&query, "error"),
    );
    let callback = federation::Callback {
        code: code.as_deref(),
        iss: iss.as_deref(),
        error: error.as_deref(),
    };
    match log_in(&shared, &terms, &transaction, &state, &callback, &context).await {
        Ok(login) => admit(&shared, &terms, &transaction, login, &context).await,
        Err(Failure::Answered) => answered(&shared, &transaction, &context).await,
        Err(Failure::Login(failure)) => {
            fail(&shared, &terms, &transaction, failure, &context).await
        }
        Err(Failure::Store(error)) => unavailable(&error, &context),
    }
}

enum Failure {
    Login(LoginFailure),
    /// It is none: the same callback was answered elsewhere.
    Answered,
    Store(Unavailable),
}

impl From<Unavailable> for Failure {
    fn from(error: Unavailable) -> Self {
        Self::Store(error)
    }
}

async fn log_in(
    shared: &Shared,
    terms: &ProxyTerms,
    transaction: &Transaction,
    state: &str,
    callback: &federation::Callback<'_>,
    context: &Context,
) -> Result<Login, Failure> {
    // A callback that was answered must not reach the provider a second time.
    let known = shared.app.state::<Grant>(transaction.grant_id).await?;
    if *known != Grant::Absent {
        return Err(Failure::Answered);
    }
    let provider_id = transaction.provider_id;
    let secret = shared
        .app
        .provider_secret(provider_id, &terms.provider)
        .await?;
    let callback_url = shared.urls.callback(provider_id);
    let provider = federation::Provider {
        id: provider_id,
        settings: &terms.provider.settings,
        client_secret: &secret,
        callback_url: &callback_url,
    };
    let private = private_terms(shared, terms).await?;
    let attempt = federation::Attempt {
        is_selective: !private.allowed_subjects.is_empty(),
        ..transaction.attempt(state)
    };
    let completed = shared
        .federation
        .complete(&provider, callback, &attempt, context.now);
    match completed.await {
        Ok(login) => Ok(login),
        // The provider takes its code once: another request may have brought it the same one.
        Err(LoginFailure::TokenEndpointInvalidGrant)
            if is_answered(shared, transaction.grant_id).await? =>
        {
            Err(Failure::Answered)
        }
        Err(failure) => Err(Failure::Login(failure)),
    }
}

async fn private_terms(shared: &Shared, terms: &ProxyTerms) -> Result<PrivateTerms, Unavailable> {
    PrivateTerms::read(&shared.app, terms.id, terms.proxy.private_version).await
}

/// Whether a callback is answered by now, or soon, perhaps by another node: a browser or a balancer
/// that repeats a request must not turn a login that succeeds into one that failed.
async fn is_answered(shared: &Shared, grant_id: GrantId) -> Result<bool, Unavailable> {
    let answered = async {
        while *shared.app.fresh::<Grant>(grant_id).await? == Grant::Absent {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(true)
    };
    let answered = tokio::time::timeout(SOON, answered).await;
    answered.unwrap_or(Ok(false))
}

/// Makes a login a grant, if this proxy admits the person, and hands out the code.
async fn admit(
    shared: &Shared,
    terms: &ProxyTerms,
    transaction: &Transaction,
    login: Login,
    context: &Context,
) -> Response {
    let mut context = context.clone();
    context.identity = Some(Identity {
        email: login.email.clone(),
        email_verified: login.email_verified,
        name: login.name.clone(),
        upstream_sub: Some(login.sub.clone()),
    });
    let target = &transaction.request.target;
    let private = private_terms(shared, terms).await;
    match private.map(|private| private.admits(&login)) {
        Ok(true) => {}
        // It is not known whether they would be.
        Ok(false) if let Some(failure) = login.missing => {
            return fail(shared, terms, transaction, failure, &context).await;
        }
        Ok(false) => {
            let told = || redirect(shared, terms, target, Outcome::Failed(Failed::AccessDenied));
            let reason = "subject_not_allowed";
            return record_failure(shared, transaction, reason, &context, told).await;
        }
        Err(error) => return unavailable(&error, &context),
    }
    let client = match registered(shared, &transaction.request).await {
        Ok(client) => client,
        Err(why) => return gone(shared, transaction, why, &context).await,
    };
    let code = Code::generate(transaction.grant_id);
    let hash = code.hash();
    let authorized = record_login(shared, terms, transaction, &client, login, hash, &context).await;
    match authorized {
        Ok(()) => redirect(shared, terms, target, Outcome::Code(&code)),
        Err(ExecuteError::Refused(Rule::AlreadyAnswered)) => {
            answered(shared, transaction, &context).await
        }
        Err(ExecuteError::Refused(rule)) => {
            tracing::warn!(rule = rule.as_str(), "a login was refused");
            redirect(shared, terms, target, Outcome::Failed(Failed::ServerError))
        }
        Err(ExecuteError::Unavailable(error)) => unavailable(&error, &context),
    }
}

/// Records a failed login and tells the client, or the person where the client must not be told.
pub(super) async fn fail(
    shared: &Shared,
    terms: &ProxyTerms,
    transaction: &Transaction,
    failure: LoginFailure,
    context: &Context,
) -> Response {
    let told = || match Failed::told(failure) {
        Some(failed) => {
            let target = &transaction.request.target;
            redirect(shared, terms, target, Outcome::Failed(failed))
        }
        None => page(shared, Some(transaction), context, &Wrong::Answer(failure)),
    };
    record_failure(shared, transaction, failure.as_str(), context, told).await
}

/// For a client that was removed, or does not return there any more, while the person was on the way:
/// nothing may lead to it.
pub(super) async fn gone(
    shared: &Shared,
    transaction: &Transaction,
    why: Stop,
    context: &Context,
) -> Response {
    let why = match why {
        Stop::Request(why) => why,
        Stop::Store(error) => return unavailable(&error, context),
    };
    let reason = if why == Unanswerable::ClientUnknown {
        "client_removed"
    } else {
        "redirect_uri_removed"
    };
    let told = || authorize::page(why, context);
    record_failure(shared, transaction, reason, context, told).await
}

/// Says so, once it is on record that the login failed.
async fn record_failure(
    shared: &Shared,
    transaction: &Transaction,
    reason: &str,
    context: &Context,
    told: impl FnOnce() -> Response,
) -> Response {
    let command = Command::FailLogin(FailLogin {
        request: transaction.requested(),
        reason: reason.to_owned(),
    });
    let grant_id = transaction.grant_id;
    match shared
        .app
        .execute::<Grant>(grant_id, command, context)
        .await
    {
        Ok(_) => told(),
        Err(ExecuteError::Refused(_)) => answered(shared, transaction, context).await,
        Err(ExecuteError::Unavailable(error)) => unavailable(&error, context),
    }
}
