//! The authorization endpoint (RFC 6749 §3.1): from the client's request to the consent page or
//! straight to the provider.
//!
//! Order, because each step protects the next: client and redirect URI, then everything else,
//! then the person's consent, and only then a cookie and the provider. Nothing is written to the
//! log here: the request travels sealed, bound to the browser, until a person has answered.

mod outcome;
mod refusal;

use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::Timestamp;
use domain::authorization::{
    AuthorizationParameters, AuthorizationRequest, Offer, Prompt, Rule, Target, Unanswerable,
};
use domain::client::{Client, Registration};
use domain::grant::{Consent, Grant, Requested};
use domain::id::{GrantId, ProviderId};
use domain::secret::SecretHash;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::cookies::Step;
use super::error::{Code, OAuthError, RETRY_AFTER_S};
use super::pages::{ConsentPage, ErrorPage};
use super::request::Caller;
use crate::app::{Context, ProxyTerms, Unavailable};
use crate::causes::chain;
use crate::clock;
use crate::federation::{self, Attempt};
use crate::secret::Secret;
use crate::tokens::sealed;
pub(super) use outcome::{Failed, Outcome, redirect, see_other};
use refusal::{Concerned, local, note};

const ENDPOINT: &str = "authorization";

/// An authorization on its way through browser and provider; sealed.
#[derive(Clone, Serialize, Deserialize)]
pub struct Transaction {
    /// The grant it will become.
    pub grant_id: GrantId,
    /// What the client asks for.
    pub request: AuthorizationRequest,
    /// Where the person is sent to log in.
    pub provider_id: ProviderId,
    /// When the client asked.
    pub requested_at: Timestamp,
    /// When this step began.
    pub step_at: Timestamp,
    /// What the browser's cookie must hash to.
    pub browser: SecretHash,
    /// Whether the person has been asked.
    pub consent: Consent,
    /// The provider must return it in the ID token.
    pub nonce: String,
    /// Our own PKCE verifier towards the provider.
    pub code_verifier: String,
}

/// Seals a transaction for the consent form.
pub const CONSENT_PURPOSE: &str = "consent";
/// Seals a transaction for the provider's `state`.
pub const LOGIN_PURPOSE: &str = "login";

impl Transaction {
    /// What the log keeps of the request.
    #[must_use]
    pub fn requested(&self) -> Requested {
        Requested {
            proxy_id: self.request.proxy_id,
            client_id: self.request.client_id,
            provider_id: self.provider_id,
            redirect_uri: self.request.target.redirect_uri.clone(),
            scope: self.request.scope.clone(),
            resource: self.request.resource.clone(),
            requested_at: self.requested_at,
        }
    }

    /// What the provider is asked.
    #[must_use]
    pub fn attempt<'a>(&'a self, state: &'a str) -> Attempt<'a> {
        let asked = |prompt| self.request.prompt.contains(&prompt);
        Attempt {
            state,
            nonce: &self.nonce,
            code_verifier: &self.code_verifier,
            prompt: if asked(Prompt::Login) {
                Some(federation::Prompt::Login)
            } else if asked(Prompt::SelectAccount) {
                Some(federation::Prompt::SelectAccount)
            } else {
                None
            },
            max_age_s: self.request.max_age_s,
            is_selective: false,
        }
    }
}

/// `GET {base}/authorize`
pub async fn authorize(
    State(shared): State<Shared>,
    Path(proxy): Path<String>,
    RawQuery(query): RawQuery,
    Caller(context): Caller,
) -> Response {
    let mut terms = match shared.proxy(&proxy).await {
        Ok(terms) => terms,
        Err(error) => return turned_away(&shared, &proxy, &context, error),
    };
    if let Err(error) = shared.rates.authorization(context.ip) {
        return turned_away(&shared, &proxy, &context, error);
    }
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .into_owned()
        .collect();
    let parameters = AuthorizationParameters::new(pairs);
    let client = match client(&shared, &parameters, &terms, context.now).await {
        Ok(client) => client,
        Err(error) => return error.into_page(&shared, &terms, &context, Concerned::default()),
    };
    let (registration, target) = match parameters.target(&client, terms.id) {
        Ok(found) => found,
        Err(error) => {
            let concerned = Concerned::target(error, &client, &parameters);
            return Stop::from(error).into_page(&shared, &terms, &context, concerned);
        }
    };
    let judge = |terms: &ProxyTerms| judge(&shared, &parameters, registration, &target, terms);
    let mut judged = judge(&terms);
    if let Err(Rule::ScopeNotOffered | Rule::Resource(_)) = judged {
        terms = match shared.latest(&terms).await {
            Ok(terms) => terms,
            Err(error) => return turned_away(&shared, &proxy, &context, error),
        };
        judged = judge(&terms);
    }
    let request = match judged {
        Ok(request) => request,
        Err(rule) => {
            let concerned = Concerned::client(registration);
            note(&shared, &terms, &context, rule.as_str(), concerned);
            return redirect(&shared, &terms, &target, Outcome::Refused(rule));
        }
    };
    let wants_consent =
        terms.proxy.settings.require_consent || request.prompt.contains(&Prompt::Consent);
    let transaction = begin(&terms, request, &context, wants_consent);
    if wants_consent {
        ask(&shared, &terms, registration, transaction, &context)
    } else {
        to_provider(&shared, &terms, transaction, &context).await
    }
}

/// A page, as it is a person who asks; but for a proxy that is not there: that is nobody's page.
fn turned_away(shared: &Shared, proxy: &str, context: &Context, error: OAuthError) -> Response {
    let (code, message) = if error.code == Code::SlowDown {
        (
            "slow_down",
            "Too many requests came from your network. Please try again in a moment.",
        )
    } else {
        ("temporarily_unavailable", UNAVAILABLE)
    };
    let is_missing = error.code == Code::ProxyNotFound;
    let answer = shared.answered(ENDPOINT, proxy, context, Err(error));
    if is_missing {
        return answer;
    }
    let page = ErrorPage {
        status: answer.status(),
        code,
        message,
        detail: None,
        again: None,
        request_id: context.request_id,
    };
    let mut response = page.into_response();
    if let Some(wait) = answer.headers().get(header::RETRY_AFTER) {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, wait.clone());
    }
    response
}

/// The request by the terms of a proxy.
fn judge(
    shared: &Shared,
    parameters: &AuthorizationParameters,
    registration: &Registration,
    target: &Target,
    terms: &ProxyTerms,
) -> Result<AuthorizationRequest, Rule> {
    let own = shared.own_resources(terms.id);
    let offer = Offer {
        scopes: &terms.scopes(),
        default_scopes: &terms.default_scopes(),
        resource: &own.canonical,
        other_resources: &own.others,
    };
    parameters.request(registration, target.clone(), offer)
}

/// Why the request is answered on a page of ours.
pub(super) enum Stop {
    Request(Unanswerable),
    Store(Unavailable),
}

impl From<Unanswerable> for Stop {
    fn from(error: Unanswerable) -> Self {
        Self::Request(error)
    }
}

impl Stop {
    fn into_page(
        self,
        shared: &Shared,
        terms: &ProxyTerms,
        context: &Context,
        concerned: Concerned,
    ) -> Response {
        match self {
            Self::Store(error) => unavailable(&error, context),
            Self::Request(error) => {
                note(shared, terms, context, error.as_str(), concerned);
                page(error, context)
            }
        }
    }
}

/// A page for when nobody but the person can be told.
pub(super) fn page(error: Unanswerable, context: &Context) -> Response {
    let (code, message) = local(error);
    ErrorPage {
        status: StatusCode::BAD_REQUEST,
        code,
        message,
        detail: None,
        again: None,
        request_id: context.request_id,
    }
    .into_response()
}

const UNAVAILABLE: &str = "This cannot be done right now. Please try again in a moment.";

/// A page for when the stores cannot be used now.
pub(super) fn unavailable(error: &Unavailable, context: &Context) -> Response {
    tracing::error!(error = chain(error), "a store failed");
    let page = ErrorPage {
        status: StatusCode::SERVICE_UNAVAILABLE,
        code: "temporarily_unavailable",
        message: UNAVAILABLE,
        detail: None,
        again: None,
        request_id: context.request_id,
    };
    let mut response = page.into_response();
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, RETRY_AFTER_S.into());
    response
}

async fn client(
    shared: &Shared,
    parameters: &AuthorizationParameters,
    terms: &ProxyTerms,
    now: Timestamp,
) -> Result<std::sync::Arc<Client>, Stop> {
    let id = parameters.client_id()?;
    let is_unused = |client: &Client| {
        let registration = client.registration();
        registration.is_some_and(|registration| shared.is_unused(registration, now))
    };
    // Where another node may have removed it just now, nobody is sent on a way that leads nowhere.
    if !shared.app.log.is_shared() {
        let known = shared.app.state::<Client>(id).await.map_err(Stop::Store)?;
        if parameters.target(&known, terms.id).is_ok() && !is_unused(&known) {
            return Ok(known);
        }
    }
    let known = shared.app.fresh::<Client>(id).await.map_err(Stop::Store)?;
    if is_unused(&known) {
        return Err(Unanswerable::ClientUnknown.into());
    }
    Ok(known)
}

/// The client of an authorization on its way, if it is still registered and returns where it asked to.
pub(super) async fn registered(
    shared: &Shared,
    request: &AuthorizationRequest,
) -> Result<std::sync::Arc<Client>, Stop> {
    let id = request.client_id;
    let known = shared.app.current::<Client>(id).await;
    let known = known.map_err(Stop::Store)?;
    if request.check_client(&known).is_ok() {
        return Ok(known);
    }
    let known = shared.app.fresh::<Client>(id).await.map_err(Stop::Store)?;
    request.check_client(&known)?;
    Ok(known)
}

fn begin(
    terms: &ProxyTerms,
    request: AuthorizationRequest,
    context: &Context,
    wants_consent: bool,
) -> Transaction {
    Transaction {
        grant_id: GrantId(clock::event_id().0),
        request,
        provider_id: terms.proxy.settings.provider_id,
        requested_at: context.now,
        step_at: context.now,
        browser: SecretHash::of(""),
        consent: if wants_consent {
            Consent::Given
        } else {
            Consent::NotRequired
        },
        nonce: Secret::for_browser().expose().to_owned(),
        code_verifier: Secret::for_browser().expose().to_owned(),
    }
}

fn ask(
    shared: &Shared,
    terms: &ProxyTerms,
    client: &Registration,
    mut transaction: Transaction,
    context: &Context,
) -> Response {
    let secret = Secret::for_browser();
    transaction.browser = secret.hash();
    let key = &shared.app.vault.purpose_keys().state;
    let Ok(sealed) = sealed::seal(key, CONSENT_PURPOSE, &transaction) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let action = format!("{}/consent", shared.urls.issuer(terms.id));
    let mut response = ConsentPage {
        client,
        request: &transaction.request,
        terms,
        action: &action,
        transaction: &sealed,
        request_id: context.request_id,
    }
    .into_response();
    let cookie = Step::Consent.bind(transaction.grant_id, &secret);
    response.headers_mut().append(header::SET_COOKIE, cookie);
    response
}

/// Binds the browser and sends it to the provider.
pub(super) async fn to_provider(
    shared: &Shared,
    terms: &ProxyTerms,
    mut transaction: Transaction,
    context: &Context,
) -> Response {
    shared.app.drawn::<Grant>(transaction.grant_id);
    let secret = Secret::for_browser();
    transaction.browser = secret.hash();
    transaction.step_at = context.now;
    let key = &shared.app.vault.purpose_keys().state;
    let Ok(state) = sealed::seal(key, LOGIN_PURPOSE, &transaction) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let client_secret = match shared
        .app
        .provider_secret(transaction.provider_id, &terms.provider)
        .await
    {
        Ok(secret) => secret,
        Err(error) => return unavailable(&error, context),
    };
    let callback_url = shared.urls.callback(transaction.provider_id);
    let provider = federation::Provider {
        id: transaction.provider_id,
        settings: &terms.provider.settings,
        client_secret: &client_secret,
        callback_url: &callback_url,
    };
    let attempt = transaction.attempt(&state);
    match shared
        .federation
        .authorization_url(&provider, &attempt, context.now)
        .await
    {
        Ok(url) => {
            let mut response = see_other(url.as_str());
            let cookie = Step::Login.bind(transaction.grant_id, &secret);
            response.headers_mut().append(header::SET_COOKIE, cookie);
            response
        }
        Err(failure) => super::callback::fail(shared, terms, &transaction, failure, context).await,
    }
}
