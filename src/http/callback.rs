//! Where the provider returns the browser: from a login to an authorization code.
//!
//! The code of the provider is spent only after state, age, provider and browser have been
//! checked. The grant's first append expects an empty stream, so a callback works once, on every
//! node.

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use domain::client::{self, Client};
use domain::entry::{Actor, Identity};
use domain::event::Correlation;
use domain::grant::{Authorize, Command, FailLogin, Grant, Rule};
use domain::id::{ProviderId, SubjectId};
use domain::subject::{self, Subject};

use super::authorize::{
    LOGIN_PURPOSE, Outcome, Transaction, login_error_code, redirect, unavailable,
};
use super::cookies::{STEP_S, Step};
use super::pages::ErrorPage;
use super::request::Caller;
use super::{Shared, restart};
use crate::app::{Context, ExecuteError, ProxyTerms, RefusedRequest, Unavailable};
use crate::federation::{self, Login, LoginFailure};
use crate::tokens::code::Code;
use crate::tokens::sealed;
use crate::vault;

/// RFC 9700 §2.1.1 asks for a short life; a minute is a slow client.
const CODE_LIFETIME: TimeDelta = TimeDelta::seconds(60);

/// `GET /api/v1/oauth/callback/{provider_id}`
pub async fn callback(
    State(shared): State<Shared>,
    Path(provider): Path<String>,
    RawQuery(query): RawQuery,
    Caller(context): Caller,
    headers: HeaderMap,
) -> Response {
    let query = query.unwrap_or_default();
    let parameter = |name: &str| {
        form_urlencoded::parse(query.as_bytes())
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.into_owned())
    };
    let state = parameter("state").unwrap_or_default();
    let key = &shared.app.vault.purpose_keys().state;
    let Ok(transaction) = sealed::unseal::<Transaction>(key, LOGIN_PURPOSE, &state) else {
        return refuse(&shared, None, &context, Wrong::State);
    };
    if provider.parse() != Ok(transaction.provider_id) {
        return refuse(&shared, Some(&transaction), &context, Wrong::Provider);
    }
    // Before the browser is looked at: by now it has dropped the cookie, too.
    if (context.now - transaction.step_at).num_seconds() > STEP_S {
        return expired(&shared, &transaction, &context).await;
    }
    if !Step::Login.is_bound(transaction.grant_id, &headers, transaction.browser) {
        // The cookie ends with the answer: who goes back to an answered login is no stranger.
        let wrong = match shared.app.state::<Grant>(transaction.grant_id).await {
            Ok(known) if *known == Grant::Absent => Wrong::Browser,
            Ok(_) => Wrong::AlreadyAnswered,
            Err(error) => return unavailable(&error, &context),
        };
        return refuse(&shared, Some(&transaction), &context, wrong);
    }
    let terms = shared
        .app
        .directory
        .enabled(transaction.request.proxy_id)
        .filter(|terms| terms.proxy.settings.provider_id == transaction.provider_id);
    let Some(terms) = terms else {
        return refuse(&shared, Some(&transaction), &context, Wrong::Proxy);
    };
    let (code, iss, error) = (parameter("code"), parameter("iss"), parameter("error"));
    let callback = federation::Callback {
        code: code.as_deref(),
        iss: iss.as_deref(),
        error: error.as_deref(),
    };
    let mut response =
        match log_in(&shared, &terms, &transaction, &state, &callback, &context).await {
            Ok(login) => admit(&shared, &terms, &transaction, login, &context).await,
            Err(Failure::Login(failure)) => {
                fail(&shared, &terms, &transaction, failure, &context).await
            }
            Err(Failure::Store(error)) => return unavailable(&error, &context),
        };
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        // Nothing was answered: whoever reloads is still the same browser.
        return response;
    }
    for step in [Step::Consent, Step::Login] {
        let cookie = step.release(transaction.grant_id);
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

enum Failure {
    Login(LoginFailure),
    Store(Unavailable),
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
    let known = shared.app.state::<Grant>(transaction.grant_id).await;
    if *known.map_err(Failure::Store)? != Grant::Absent {
        return Err(Failure::Login(LoginFailure::CallbackMalformed));
    }
    let provider_id = transaction.provider_id;
    let secret = shared.provider_secret(provider_id, &terms.provider).await;
    let secret = secret.map_err(Failure::Store)?;
    let callback_url = shared.urls.callback(provider_id);
    let provider = federation::Provider {
        id: provider_id,
        settings: &terms.provider.settings,
        client_secret: &secret,
        callback_url: &callback_url,
    };
    shared
        .federation
        .complete(
            &provider,
            callback,
            &transaction.attempt(state),
            context.now,
        )
        .await
        .map_err(Failure::Login)
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
    match shared.admits(terms, &login).await {
        Ok(true) => {}
        Ok(false) => {
            let reason = "subject_not_allowed";
            return record_failure(
                shared,
                terms,
                transaction,
                reason,
                "access_denied",
                &context,
            )
            .await;
        }
        Err(error) => return unavailable(&error, &context),
    }
    let code = Code::generate(transaction.grant_id);
    let authorized = authorize(shared, terms, transaction, login, code.hash(), &context).await;
    let target = &transaction.request.target;
    match authorized {
        Ok(()) => redirect(shared, terms, target, Outcome::Code(&code)),
        Err(ExecuteError::Refused(Rule::AlreadyAnswered)) => {
            refuse(shared, Some(transaction), &context, Wrong::AlreadyAnswered)
        }
        Err(ExecuteError::Refused(rule)) => {
            tracing::warn!(rule = rule.as_str(), "a login was refused");
            redirect(shared, terms, target, Outcome::Error("server_error"))
        }
        Err(ExecuteError::Unavailable(error)) => unavailable(&error, &context),
    }
}

/// The vault first, then the log: a login that is recorded can always be served. The three
/// streams share one commit.
async fn authorize(
    shared: &Shared,
    terms: &ProxyTerms,
    transaction: &Transaction,
    login: Login,
    code: domain::secret::SecretHash,
    context: &Context,
) -> Result<(), ExecuteError<Rule>> {
    let client_id = transaction.request.client_id;
    let client = shared.app.current::<Client>(client_id).await?;
    let Some(registration) = client.registration() else {
        return Err(ExecuteError::Refused(Rule::ClientMismatch));
    };
    let identity = vault::Identity {
        provider: transaction.provider_id,
        issuer: &login.issuer,
        sub: &login.sub,
    };
    let subject = shared
        .app
        .vault
        .record_login(
            identity,
            transaction.grant_id,
            &login.tokens.into(),
            context.now,
        )
        .await
        .map_err(Unavailable::from)?;
    let by = context.by(Actor::Subject(subject));
    let command = Command::Authorize(Box::new(Authorize {
        request: transaction.requested(),
        subject,
        consent: transaction.consent,
        code,
        code_lifetime: CODE_LIFETIME,
        code_challenge: transaction.request.code_challenge.clone(),
        grant_lifetime: terms.proxy.settings.grant_lifetime(),
    }));
    let grant = shared
        .app
        .create::<Grant>(transaction.grant_id, command, &by);
    let seen = first_seen(shared, subject, transaction.provider_id, &by);
    let first_authorization = async {
        if registration.first_authorized_at.is_some() {
            return;
        }
        let command = client::Command::RecordFirstAuthorization;
        let by = impersonal(&by);
        let recorded = shared.app.execute::<Client>(client_id, command, &by).await;
        if let Err(ExecuteError::Unavailable(error)) = recorded {
            tracing::warn!(%error, "a client's first authorization could not be recorded");
        }
    };
    let (granted, (), ()) = tokio::join!(grant, seen, first_authorization);
    granted.map(|_| ())
}

/// Who it was and from where is told by the grant alone, under the person's own key.
fn impersonal(by: &Context) -> Context {
    Context {
        ip: None,
        user_agent: None,
        identity: None,
        ..by.clone()
    }
}

async fn first_seen(shared: &Shared, subject: SubjectId, provider_id: ProviderId, by: &Context) {
    match shared.app.state::<Subject>(subject).await {
        Ok(known) if *known != Subject::default() => return,
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "a subject could not be looked up"),
    }
    let by = impersonal(by);
    let command = subject::Command::See {
        subject,
        provider_id,
    };
    let recorded = shared.app.execute::<Subject>(subject, command, &by).await;
    if let Err(ExecuteError::Unavailable(error)) = recorded {
        tracing::warn!(%error, "a subject's first login could not be recorded");
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
    match login_error_code(failure) {
        Some(code) => {
            record_failure(shared, terms, transaction, failure.as_str(), code, context).await
        }
        None => refuse(shared, Some(transaction), context, Wrong::Answer(failure)),
    }
}

async fn record_failure(
    shared: &Shared,
    terms: &ProxyTerms,
    transaction: &Transaction,
    reason: &str,
    code: &'static str,
    context: &Context,
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
        Ok(_) => redirect(
            shared,
            terms,
            &transaction.request.target,
            Outcome::Error(code),
        ),
        Err(ExecuteError::Refused(_)) => {
            refuse(shared, Some(transaction), context, Wrong::AlreadyAnswered)
        }
        Err(ExecuteError::Unavailable(error)) => unavailable(&error, context),
    }
}

/// The person took too long: recorded as a failed login, answered with a page, because the
/// client has long given up.
async fn expired(shared: &Shared, transaction: &Transaction, context: &Context) -> Response {
    let command = Command::FailLogin(FailLogin {
        request: transaction.requested(),
        reason: "login_took_too_long".to_owned(),
    });
    let grant_id = transaction.grant_id;
    match shared
        .app
        .execute::<Grant>(grant_id, command, context)
        .await
    {
        Ok(_) | Err(ExecuteError::Refused(_)) => {
            refuse(shared, Some(transaction), context, Wrong::Expired)
        }
        Err(ExecuteError::Unavailable(error)) => unavailable(&error, context),
    }
}

/// What is wrong with a callback that is answered on a page of ours.
enum Wrong {
    State,
    Provider,
    Browser,
    Proxy,
    AlreadyAnswered,
    Expired,
    Answer(LoginFailure),
}

fn refuse(
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
