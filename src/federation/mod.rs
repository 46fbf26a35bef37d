//! The relying party: people log in at okta, google, github, azure_ad, any OpenID Connect
//! provider and any OAuth 2 server with a userinfo endpoint.
//!
//! RFC 6749 §4.1, RFC 7636, RFC 9207, OpenID Connect Core §3.1, Discovery 1.0.
//!
//! Invariants:
//! - A person is (provider, issuer, `sub`), never an e-mail address; an address that the provider
//!   does not call verified is marked so.
//! - No claim of an ID token is believed before its signature is verified with a key from the
//!   provider's own key set, by an asymmetric algorithm that this key is for.
//! - The client's request never travels on: own state, nonce and verifier, no `resource`.
//! - Whatever a provider does, an attempt ends within the deadline, and no answer of it is
//!   followed elsewhere (no redirects).
//!
//! Absent: HTTP handlers, the log, clock and randomness, and of the vault all but the form in which
//! it keeps tokens. Callers check the browser and the `state` before they call
//! [`Federation::complete`]: only then may a code be spent.

mod authorization;
mod cache;
mod check;
mod discovery;
mod failure;
mod github;
mod id_token;
mod issuer;
mod jwks;
mod kinds;
mod login;
mod token;
mod transport;
mod userinfo;

use std::time::Duration;

use domain::Timestamp;
use domain::id::ProviderId;
use domain::provider::{Kind, Settings};
use serde_json::Value;
use url::Url;

pub use authorization::{Attempt, Prompt};
pub use check::Problem;
pub use failure::{Answer, LoginFailure, RefreshFailure};
pub use kinds::{Misconfigured, origin, validate};
pub use login::Login;

use cache::Cache;
use discovery::{Document, Identity, Upstream};
use jwks::Keys;
use login::Profile;
use token::Granted;
use transport::Unreachable;

use crate::secret::Secret;
use crate::vault::UpstreamTokens;

/// A person waits for the answer, and their client gives up after ten seconds.
const DEADLINE: Duration = Duration::from_secs(8);

/// Speaks to providers; one for the whole program.
pub struct Federation {
    client: reqwest::Client,
    deadline: Duration,
    documents: Cache<Option<Document>, Unreachable>,
    key_sets: Cache<Keys, Unreachable>,
}

/// A provider, as its stream and the vault tell it.
#[derive(Clone, Copy)]
pub struct Provider<'a> {
    /// Its number, for the program's own log.
    pub id: ProviderId,
    /// How to speak to it.
    pub settings: &'a Settings,
    /// Our secret there; empty if it gave us none.
    pub client_secret: &'a str,
    /// Where it sends the browser back, as registered with it.
    pub callback_url: &'a str,
}

/// What the browser brought back from the provider, each parameter at most once.
#[derive(Clone, Copy, Default)]
pub struct Callback<'a> {
    /// To be exchanged for tokens.
    pub code: Option<&'a str>,
    /// RFC 9207.
    pub iss: Option<&'a str>,
    /// RFC 6749 §4.1.2.1.
    pub error: Option<&'a str>,
}

impl Federation {
    /// Ready to speak to any provider; each call ends within eight seconds.
    ///
    /// # Errors
    /// If the machine's TLS cannot be set up.
    pub fn new() -> reqwest::Result<Self> {
        Self::with_deadline(DEADLINE)
    }

    /// The same with another deadline for each call.
    ///
    /// # Errors
    /// If the machine's TLS cannot be set up.
    pub fn with_deadline(deadline: Duration) -> reqwest::Result<Self> {
        Ok(Self {
            client: transport::client(deadline)?,
            deadline,
            documents: Cache::new(Option::is_some),
            key_sets: Cache::new(|keys| !keys.is_empty()),
        })
    }

    /// Where to send the browser to log in.
    ///
    /// # Errors
    /// If the provider is not configured completely, or its endpoints cannot be discovered.
    pub async fn authorization_url(
        &self,
        provider: &Provider<'_>,
        attempt: &Attempt<'_>,
        now: Timestamp,
    ) -> Result<Url, LoginFailure> {
        let upstream = self
            .within_deadline(
                provider,
                LoginFailure::UpstreamUnavailable,
                self.resolve(provider.settings, now),
            )
            .await?;
        Ok(authorization::url(
            &upstream,
            provider.settings,
            provider.callback_url,
            attempt,
        ))
    }

    /// Who came back, given what the browser brought and the attempt it belongs to.
    ///
    /// # Errors
    /// The first reason not to believe it. A code is only spent if nothing before it failed.
    pub async fn complete(
        &self,
        provider: &Provider<'_>,
        callback: &Callback<'_>,
        attempt: &Attempt<'_>,
        now: Timestamp,
    ) -> Result<Login, LoginFailure> {
        self.within_deadline(
            provider,
            LoginFailure::UpstreamUnavailable,
            self.log_in(provider, callback, attempt, now),
        )
        .await
    }

    /// Renews a person's tokens at the provider, which is also how it says that they are gone.
    ///
    /// # Errors
    /// [`RefreshFailure::Rejected`] only if the provider judged the refresh token itself.
    pub async fn refresh(
        &self,
        provider: &Provider<'_>,
        refresh_token: &str,
        now: Timestamp,
    ) -> Result<UpstreamTokens, RefreshFailure> {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
        ];
        let renewal = async {
            let upstream = self.resolve(provider.settings, now).await;
            let upstream = upstream.map_err(|_| RefreshFailure::Unavailable)?;
            let Granted { tokens, .. } = self.tokens(provider, &upstream, &form, now).await?;
            Ok(UpstreamTokens {
                refresh_token: tokens
                    .refresh_token
                    .or_else(|| Some(Secret::new(refresh_token))),
                ..tokens
            })
        };
        self.within_deadline(provider, RefreshFailure::Unavailable, renewal)
            .await
    }

    async fn log_in(
        &self,
        provider: &Provider<'_>,
        callback: &Callback<'_>,
        attempt: &Attempt<'_>,
        now: Timestamp,
    ) -> Result<Login, LoginFailure> {
        let upstream = self.resolve(provider.settings, now).await?;
        if let Some(error) = callback.error.filter(|error| *error != "access_denied") {
            tracing::warn!(
                provider_id = provider.id.0,
                error = Some(error).filter(|error| token::is_error_code(error)),
                "a provider sent an error instead of a code"
            );
        }
        let code = authorization_code(callback, &upstream)?;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", provider.callback_url),
            ("code_verifier", attempt.code_verifier),
        ];
        let granted = self.tokens(provider, &upstream, &form, now).await?;
        let access_token = granted.tokens.access_token.expose();
        let described = match &upstream.identity {
            Identity::IdToken { .. } => {
                return self
                    .identified(provider, &upstream, attempt, granted, now)
                    .await;
            }
            Identity::Userinfo(url) => self.describe(url, access_token).await?,
            Identity::Github(url) => self.describe_github(url, access_token).await?,
        };
        login(
            upstream.issuer.name().to_owned(),
            described.sub,
            described.profile,
            granted.tokens,
        )
    }

    async fn identified(
        &self,
        provider: &Provider<'_>,
        upstream: &Upstream,
        attempt: &Attempt<'_>,
        Granted { tokens, id_token }: Granted,
        now: Timestamp,
    ) -> Result<Login, LoginFailure> {
        let Identity::IdToken {
            jwks_uri,
            algorithms,
            userinfo,
        } = &upstream.identity
        else {
            return Err(LoginFailure::IdTokenMissing);
        };
        let id_token = id_token.ok_or(LoginFailure::IdTokenMissing)?;
        let access_token = tokens.access_token.expose();
        let signed = self
            .verify_signature(&id_token, jwks_uri, algorithms, now)
            .await?;
        let expected = id_token::Expected {
            issuer: &upstream.issuer,
            client_id: &provider.settings.client_id,
            nonce: attempt.nonce,
            access_token,
            max_age_s: attempt.provable_max_age_s(provider.settings.kind),
        };
        let person = id_token::identify(signed, &expected, now)?;
        let mut profile = Profile::of(&person.claims);
        if provider.settings.kind == Kind::AzureAd && profile.email.is_some() {
            // Entra ID's word for "the owner of the domain has verified this address".
            if login::is_true(person.claims.get("xms_edov")) {
                profile.email_verified = Some(true);
            }
        }
        let mut missing = None;
        let is_thin = profile.email.is_none() || attempt.is_selective && !profile.is_full();
        if let Some(url) = userinfo
            && is_thin
            && asks_for_a_profile(provider.settings)
        {
            match self.userinfo(url, access_token).await {
                Ok(claims) if claims.get("sub").and_then(Value::as_str) != Some(&person.sub) => {
                    return Err(LoginFailure::UserinfoWrongSubject);
                }
                Ok(claims) => profile = profile.or(Profile::of(&claims)),
                // What the ID token tells may be enough.
                Err(failure) if profile.email.is_some() => missing = Some(failure),
                Err(failure) => return Err(failure),
            }
        }
        let login = login(person.issuer, person.sub, profile, tokens)?;
        Ok(Login { missing, ..login })
    }

    async fn within_deadline<T, E>(
        &self,
        provider: &Provider<'_>,
        otherwise: E,
        attempt: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let outcome = tokio::time::timeout(self.deadline, attempt).await;
        outcome.unwrap_or_else(|_| {
            let provider_id = provider.id.0;
            tracing::warn!(provider_id, "a provider took longer than we wait for it");
            Err(otherwise)
        })
    }
}

/// The code to exchange, if the answer is the provider's and is not an error. The issuer is
/// checked first: an error from elsewhere says nothing about this transaction either.
fn authorization_code<'a>(
    callback: &Callback<'a>,
    upstream: &Upstream,
) -> Result<&'a str, LoginFailure> {
    match callback.iss {
        Some(iss) if !upstream.issuer.admits_answer_of(iss) => {
            return Err(LoginFailure::IssuerMismatch);
        }
        None if upstream.iss_announced => return Err(LoginFailure::IssuerMismatch),
        Some(_) | None => {}
    }
    match (callback.error, callback.code) {
        (Some("access_denied"), _) => Err(LoginFailure::UpstreamDenied),
        (Some("temporarily_unavailable"), _) => Err(LoginFailure::UpstreamUnavailable),
        (Some(_), _) => Err(LoginFailure::UpstreamError),
        (None, Some(code)) if !code.is_empty() => Ok(code),
        (None, _) => Err(LoginFailure::CallbackMalformed),
    }
}

/// Without one of these scopes the userinfo endpoint tells no more than the ID token did.
fn asks_for_a_profile(settings: &Settings) -> bool {
    kinds::scope(settings)
        .split(' ')
        .any(|token| matches!(token, "email" | "profile" | "groups"))
}

/// # Errors
/// What is called a subject is too long to be one.
fn login(
    issuer: String,
    sub: String,
    profile: Profile,
    tokens: UpstreamTokens,
) -> Result<Login, LoginFailure> {
    if sub.len() > login::SUB_BYTES_MAX {
        return Err(LoginFailure::SubjectMissing);
    }
    Ok(Login {
        issuer,
        sub,
        email: profile.email,
        email_verified: profile.email_verified == Some(true),
        name: profile.name,
        groups: profile.groups,
        missing: None,
        tokens,
    })
}
