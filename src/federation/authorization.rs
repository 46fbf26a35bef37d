//! The authorization request that the browser takes to the provider (RFC 6749 §4.1.1, RFC 7636).
//!
//! Nothing of the client's own request travels on: not its state, not its verifier, and never its
//! `resource`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::provider::{Kind, Settings};
use sha2::{Digest, Sha256};
use url::Url;

use super::discovery::{Identity, Upstream};
use super::kinds;

/// One attempt to log somebody in. The three secrets are drawn for it alone and kept until the
/// browser is back.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// Binds the answer to this transaction and this browser; the caller checks it.
    pub state: &'a str,
    /// Binds the ID token to this transaction.
    pub nonce: &'a str,
    /// Binds the code to this transaction (RFC 7636 §4.1).
    pub code_verifier: &'a str,
    /// What the person must be asked at the provider.
    pub prompt: Option<Prompt>,
    /// How long ago the person may have authenticated at the provider, in seconds.
    pub max_age_s: Option<u32>,
    /// Whether who may log in hangs on a verified address or on groups, so that the provider is asked
    /// for what its ID token leaves out.
    pub is_selective: bool,
}

/// `prompt` (OpenID Connect Core §3.1.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// To authenticate again.
    Login,
    /// Which account to use.
    SelectAccount,
}

impl Attempt<'_> {
    /// The age that the ID token must prove: only providers that can are asked to.
    pub(super) fn provable_max_age_s(&self, kind: Kind) -> Option<u32> {
        match kind {
            Kind::Oidc | Kind::Okta => self.max_age_s,
            Kind::Google | Kind::AzureAd | Kind::Github | Kind::Oauth2 => None,
        }
    }
}

/// Where to send the browser.
pub(super) fn url(
    upstream: &Upstream,
    settings: &Settings,
    callback_url: &str,
    attempt: &Attempt<'_>,
) -> Url {
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(attempt.code_verifier));
    let scope = kinds::scope(settings);
    let mut parameters = vec![
        ("response_type", "code".to_owned()),
        ("client_id", settings.client_id.clone()),
        ("redirect_uri", callback_url.to_owned()),
        ("state", attempt.state.to_owned()),
        ("code_challenge", challenge),
        ("code_challenge_method", "S256".to_owned()),
    ];
    if !scope.is_empty() {
        parameters.push(("scope", scope));
    }
    if let Identity::IdToken { .. } = upstream.identity {
        parameters.push(("nonce", attempt.nonce.to_owned()));
    }
    if let Some(max_age_s) = attempt.provable_max_age_s(settings.kind) {
        parameters.push(("max_age", max_age_s.to_string()));
    }
    if let Some(prompt) = prompt(settings.kind, attempt) {
        parameters.push(("prompt", prompt.to_owned()));
    }
    if settings.kind == Kind::Google {
        parameters.push(("access_type", "offline".to_owned()));
    }
    with_parameters(&upstream.authorization_endpoint, &parameters)
}

/// Parameters that the endpoint's own URL carries stay, unless they are ours to set.
fn with_parameters(endpoint: &Url, parameters: &[(&str, String)]) -> Url {
    let own: Vec<(String, String)> = endpoint
        .query_pairs()
        .filter(|(name, _)| !parameters.iter().any(|(ours, _)| ours == name))
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    let mut url = endpoint.clone();
    url.query_pairs_mut()
        .clear()
        .extend_pairs(own)
        .extend_pairs(parameters);
    url
}

/// A demand for a fresh login becomes the strongest prompt of a provider that proves no age.
fn prompt(kind: Kind, attempt: &Attempt<'_>) -> Option<&'static str> {
    let fresh = attempt.max_age_s.is_some() && attempt.provable_max_age_s(kind).is_none();
    let asked = match attempt.prompt {
        None if fresh => Some(Prompt::Login),
        asked => asked,
    };
    match kind {
        Kind::Oidc | Kind::Okta | Kind::AzureAd => asked.map(|prompt| match prompt {
            Prompt::Login => "login",
            Prompt::SelectAccount => "select_account",
        }),
        // Google gives a refresh token again only to those who consent again, and knows no `login`.
        Kind::Google => Some(match asked {
            Some(Prompt::Login | Prompt::SelectAccount) => "consent select_account",
            None => "consent",
        }),
        Kind::Github => asked.map(|_| "select_account"),
        Kind::Oauth2 => None,
    }
}
