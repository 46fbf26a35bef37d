//! The parameters as they were sent, and what each must be.

use std::fmt;

use super::{AuthorizationRequest, Offer, Prompt, Rule, Target, Unanswerable};
use crate::client::{Client, Registration};
use crate::id::{ClientId, ProxyId};
use crate::pkce::CodeChallenge;
use crate::redirect_uri::RedirectUri;
use crate::resource::{InvalidTarget, Resource, resolve};
use crate::scope::Scope;

/// The parameters of a request in the order they were sent, repetitions included.
#[derive(Clone)]
pub struct AuthorizationParameters(Vec<(String, String)>);

const PARAMETER_BYTES_MAX: usize = 8192;

/// What may come only once. `resource` may come again (RFC 8707 §2); unknown ones do not matter.
const SINGLE: [&str; 18] = [
    "acr_values",
    "claims",
    "code_challenge",
    "code_challenge_method",
    "display",
    "dpop_jkt",
    "id_token_hint",
    "login_hint",
    "max_age",
    "nonce",
    "prompt",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
    "ui_locales",
];

impl AuthorizationParameters {
    /// The decoded parameters of a request.
    #[must_use]
    pub fn new(parameters: Vec<(String, String)>) -> Self {
        Self(parameters)
    }

    /// Who asks; the first thing to look up.
    ///
    /// # Errors
    /// There is not exactly one id, or it cannot be one of ours.
    pub fn client_id(&self) -> Result<ClientId, Unanswerable> {
        if self.count("client_id") > 1 {
            return Err(Unanswerable::ClientIdRepeated);
        }
        self.value("client_id")
            .ok_or(Unanswerable::ClientIdMissing)?
            .parse()
            .map_err(|_| Unanswerable::ClientUnknown)
    }

    /// Where the answer goes: the first stage.
    ///
    /// # Errors
    /// The client is not registered at this proxy, or the redirect URI not by this client.
    pub fn target<'a>(
        &self,
        client: &'a Client,
        proxy_id: ProxyId,
    ) -> Result<(&'a Registration, Target), Unanswerable> {
        let registration = client
            .registration()
            .filter(|registration| registration.proxy_id == proxy_id)
            .ok_or(Unanswerable::ClientUnknown)?;
        if self
            .0
            .iter()
            .any(|(_, value)| value.len() > PARAMETER_BYTES_MAX)
        {
            return Err(Unanswerable::TooLong);
        }
        if self.count("redirect_uri") > 1 {
            return Err(Unanswerable::RedirectUriRepeated);
        }
        let given = self.value("redirect_uri");
        let target = Target {
            redirect_uri: redirect_uri(given, &registration.metadata.redirect_uris)?,
            redirect_uri_given: given.is_some(),
            state: self
                .value("state")
                .filter(|_| self.count("state") == 1)
                .map(str::to_owned),
        };
        Ok((registration, target))
    }

    /// The redirect URI as it was sent, good or not.
    #[must_use]
    pub fn redirect_uri(&self) -> Option<&str> {
        self.value("redirect_uri")
    }

    /// The whole request: the second stage.
    ///
    /// # Errors
    /// A rule is broken; the answer goes to the target.
    pub fn request(
        &self,
        registration: &Registration,
        target: Target,
        offer: Offer<'_>,
    ) -> Result<AuthorizationRequest, Rule> {
        if self.value("request").is_some() {
            return Err(Rule::Request);
        }
        if self.value("request_uri").is_some() {
            return Err(Rule::RequestUri);
        }
        if let Some(name) = SINGLE.into_iter().find(|name| self.count(name) > 1) {
            return Err(Rule::Repeated(name));
        }
        self.check_response()?;
        Ok(AuthorizationRequest {
            client_id: registration.client_id,
            proxy_id: registration.proxy_id,
            code_challenge: self.code_challenge()?,
            scope: self.scope(&registration.metadata.scope, offer)?,
            resource: self.resource(offer)?,
            prompt: self.prompt()?,
            max_age_s: self.max_age_s()?,
            target,
        })
    }

    fn check_response(&self) -> Result<(), Rule> {
        match self.value("response_type") {
            None => return Err(Rule::ResponseTypeMissing),
            Some("code") => {}
            Some(_) => return Err(Rule::ResponseType),
        }
        match self.value("response_mode") {
            None | Some("query") => Ok(()),
            Some(_) => Err(Rule::ResponseMode),
        }
    }

    fn code_challenge(&self) -> Result<CodeChallenge, Rule> {
        let challenge = self
            .value("code_challenge")
            .ok_or(Rule::CodeChallengeMissing)?;
        if self.value("code_challenge_method") != Some("S256") {
            return Err(Rule::CodeChallengeMethod);
        }
        Ok(challenge.parse()?)
    }

    fn scope(&self, registered: &Scope, offer: Offer<'_>) -> Result<Scope, Rule> {
        let offered = |token: &str| offer.scopes.tokens().any(|known| known == token);
        let requested: Scope = self
            .value("scope")
            .unwrap_or_default()
            .parse()
            .map_err(|_| Rule::ScopeMalformed)?;
        let requested = requested.retain(|token| token != "offline_access" || offered(token));
        if !offer.scopes.contains(&requested) {
            return Err(Rule::ScopeNotOffered);
        }
        let limit = registered.clone().retain(offered);
        let within = |token: &str| limit.is_empty() || limit.tokens().any(|known| known == token);
        if requested.is_empty() {
            let narrowed = offer.default_scopes.clone().retain(within);
            return Ok(if narrowed.is_empty() {
                offer.default_scopes.clone()
            } else {
                narrowed
            });
        }
        let narrowed = requested.retain(within);
        if narrowed.is_empty() {
            return Err(Rule::ScopeNotRegistered);
        }
        Ok(narrowed)
    }

    fn resource(&self, offer: Offer<'_>) -> Result<Resource, InvalidTarget> {
        let requested: Vec<&str> = self.values("resource").collect();
        resolve(&requested, offer.resource, offer.other_resources)
    }

    fn prompt(&self) -> Result<Vec<Prompt>, Rule> {
        let values: Vec<&str> = self
            .value("prompt")
            .unwrap_or_default()
            .split(' ')
            .filter(|value| !value.is_empty())
            .collect();
        if values.contains(&"none") {
            return Err(if values.len() == 1 {
                Rule::LoginRequired
            } else {
                Rule::Prompt
            });
        }
        let mut prompts = Vec::new();
        for value in values {
            let prompt = match value {
                "login" => Prompt::Login,
                "consent" => Prompt::Consent,
                "select_account" => Prompt::SelectAccount,
                _ => continue,
            };
            if !prompts.contains(&prompt) {
                prompts.push(prompt);
            }
        }
        Ok(prompts)
    }

    fn max_age_s(&self) -> Result<Option<u32>, Rule> {
        self.value("max_age")
            .map(|text| match text.parse() {
                Ok(seconds) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(seconds),
                Ok(_) | Err(_) => Err(Rule::MaxAge),
            })
            .transpose()
    }

    /// How often a parameter was sent, empty ones included.
    fn count(&self, name: &str) -> usize {
        self.0.iter().filter(|(known, _)| known == name).count()
    }

    /// What was sent; a parameter without a value counts as left out (RFC 6749 §3.1).
    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(known, value)| known == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }
}

fn redirect_uri(
    given: Option<&str>,
    registered: &[RedirectUri],
) -> Result<RedirectUri, Unanswerable> {
    let Some(given) = given else {
        return match registered {
            [only] => Ok(only.clone()),
            _ => Err(Unanswerable::RedirectUriAmbiguous),
        };
    };
    given
        .parse()
        .ok()
        .filter(|given: &RedirectUri| {
            registered
                .iter()
                .any(|known| given.matches_registered(known))
        })
        .ok_or(Unanswerable::RedirectUriUnregistered)
}

/// Hides the values: hints are addresses, and strangers write anything.
impl fmt::Debug for AuthorizationParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}
