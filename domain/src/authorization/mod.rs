//! The authorization request (RFC 6749 §4.1.1, RFC 7636, RFC 8707, OpenID Connect Core §3.1.2.1):
//! from raw parameters to a request that may be shown to a person.
//!
//! Two stages, because of where an error may go. Until client and redirect URI are known to
//! belong together, an error is a page of ours ([`Unanswerable`]); from then on it goes to the
//! redirect URI ([`Rule`]). Nothing here writes an event: the request travels sealed until a
//! person has answered.
//!
//! Invariants: code only, S256 only, `query` only, no request objects. There are no sessions
//! here, so `prompt=none` always ends in `login_required`. A client that registered a scope gets
//! no more than that, unless it names nothing of this proxy; `offline_access` is dropped where
//! the proxy does not offer it, because many clients add it unasked.

mod parameters;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::parameters::AuthorizationParameters;
use crate::client::Client;
use crate::id::{ClientId, ProxyId};
use crate::pkce::{CodeChallenge, InvalidChallenge};
use crate::redirect_uri::RedirectUri;
use crate::resource::{InvalidTarget, Resource};
use crate::scope::Scope;

/// An authorization request that may be shown to a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationRequest {
    /// Who asks.
    pub client_id: ClientId,
    /// Where it asks.
    pub proxy_id: ProxyId,
    /// Where the answer goes.
    pub target: Target,
    /// What is asked for, after defaults.
    pub scope: Scope,
    /// Which protected resource tokens will be for.
    pub resource: Resource,
    /// What the redemption of the code must answer.
    pub code_challenge: CodeChallenge,
    /// What the person must be asked whatever is remembered, here or at the provider.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompt: Vec<Prompt>,
    /// How old the login at the provider may be, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_s: Option<u32>,
}

impl AuthorizationRequest {
    /// Whether the client may still be answered, after a person has taken their time.
    ///
    /// # Errors
    /// It is not registered at this proxy any more, or where the answer goes is not by it.
    pub fn check_client(&self, client: &Client) -> Result<(), Unanswerable> {
        let registration = client
            .registration()
            .filter(|registration| registration.proxy_id == self.proxy_id)
            .ok_or(Unanswerable::ClientUnknown)?;
        let redirect_uri = &self.target.redirect_uri;
        let mut registered = registration.metadata.redirect_uris.iter();
        if registered.any(|known| redirect_uri.matches_registered(known)) {
            Ok(())
        } else {
            Err(Unanswerable::RedirectUriUnregistered)
        }
    }
}

/// Where the answer to an authorization request goes, and what it must carry back.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Registered by the client, but for the port of a loopback URI.
    pub redirect_uri: RedirectUri,
    /// Whether the request named it, rather than leaving it to the only one registered.
    pub redirect_uri_given: bool,
    /// The client's `state`, to be returned as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// What a person must be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// To log in again at the provider.
    Login,
    /// To consent, even where the proxy asks for no consent.
    Consent,
    /// To choose an account at the provider.
    SelectAccount,
}

/// What a proxy offers to its clients.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// All scopes that may be asked for.
    pub scopes: &'a Scope,
    /// What a request gets that names none.
    pub default_scopes: &'a Scope,
    /// The proxy's protected resource.
    pub resource: &'a Resource,
    /// Further names of the same resource.
    pub other_resources: &'a [Resource],
}

/// Why a request cannot be answered to a redirect URI; a person sees it on a page of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    /// There is no `client_id` (`unauthorized_client`).
    #[error("expected a client_id")]
    ClientIdMissing,
    /// There are several (`unauthorized_client`).
    #[error("expected one client_id")]
    ClientIdRepeated,
    /// No such client is registered at this proxy, or no more (`unauthorized_client`).
    #[error("expected a client that is registered at this proxy")]
    ClientUnknown,
    /// There are several redirect URIs (`invalid_redirect_uri`).
    #[error("expected one redirect_uri")]
    RedirectUriRepeated,
    /// The client did not register this one (`invalid_redirect_uri`).
    #[error("expected a redirect_uri that the client registered")]
    RedirectUriUnregistered,
    /// It is left out, but the client registered several (`invalid_redirect_uri`).
    #[error("expected a redirect_uri, as the client registered several")]
    RedirectUriAmbiguous,
    /// A parameter is longer than 8192 bytes (`invalid_request`).
    #[error("expected parameters of at most 8192 bytes")]
    TooLong,
}

impl Unanswerable {
    /// The stable word for it in the record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientIdMissing => "client_id_missing",
            Self::ClientIdRepeated => "client_id_repeated",
            Self::ClientUnknown => "unknown_client",
            Self::RedirectUriRepeated => "redirect_uri_repeated",
            Self::RedirectUriUnregistered => "redirect_uri_unregistered",
            Self::RedirectUriAmbiguous => "redirect_uri_ambiguous",
            Self::TooLong => "parameter_too_long",
        }
    }
}

/// The rules of an authorization request; breaking one is answered to the redirect URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// A parameter comes twice (`invalid_request`).
    #[error("expected one {0}")]
    Repeated(&'static str),
    /// Request objects are not offered (`request_not_supported`).
    #[error("expected no request object")]
    Request,
    /// Nor are references to them (`request_uri_not_supported`).
    #[error("expected no request_uri")]
    RequestUri,
    /// There is no `response_type` (`invalid_request`).
    #[error("expected a response_type")]
    ResponseTypeMissing,
    /// It is not `code` (`unsupported_response_type`).
    #[error("expected response_type code")]
    ResponseType,
    /// It is not `query` (`invalid_request`).
    #[error("expected response_mode query")]
    ResponseMode,
    /// There is no `code_challenge` (`invalid_request`).
    #[error("expected a code_challenge")]
    CodeChallengeMissing,
    /// Its method is not S256, or left out, which means `plain` (`invalid_request`).
    #[error("expected code_challenge_method S256")]
    CodeChallengeMethod,
    /// It is malformed (`invalid_request`).
    #[error(transparent)]
    CodeChallenge(#[from] InvalidChallenge),
    /// The scope is malformed (`invalid_scope`).
    #[error("expected scope tokens of printable ASCII without quotes or backslashes")]
    ScopeMalformed,
    /// The scope holds what the proxy does not offer (`invalid_scope`).
    #[error("expected scopes that this proxy offers")]
    ScopeNotOffered,
    /// The scope holds nothing of what the client registered (`invalid_scope`).
    #[error("expected scopes that the client registered")]
    ScopeNotRegistered,
    /// The resource is another one (`invalid_target`).
    #[error(transparent)]
    Resource(#[from] InvalidTarget),
    /// `none` stands beside another value (`invalid_request`).
    #[error("expected prompt none to stand alone")]
    Prompt,
    /// Nobody may be asked, but nobody is logged in (`login_required`).
    #[error("expected a prompt other than none, as every authorization asks for a login")]
    LoginRequired,
    /// It is no number of seconds (`invalid_request`).
    #[error("expected max_age in seconds")]
    MaxAge,
}

impl Rule {
    /// The stable word for it in the record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Repeated(_) => "parameter_repeated",
            Self::Request => "request_object",
            Self::RequestUri => "request_uri",
            Self::ResponseTypeMissing => "response_type_missing",
            Self::ResponseType => "response_type",
            Self::ResponseMode => "response_mode",
            Self::CodeChallengeMissing => "code_challenge_missing",
            Self::CodeChallengeMethod => "code_challenge_method",
            Self::CodeChallenge(_) => "code_challenge_malformed",
            Self::ScopeMalformed => "scope_malformed",
            Self::ScopeNotOffered => "scope_not_offered",
            Self::ScopeNotRegistered => "scope_not_registered",
            Self::Resource(_) => "resource",
            Self::Prompt => "prompt",
            Self::LoginRequired => "login_required",
            Self::MaxAge => "max_age",
        }
    }
}

/// Hides the client's `state`, which guards its own session.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("redirect_uri", &self.redirect_uri)
            .field("redirect_uri_given", &self.redirect_uri_given)
            .finish_non_exhaustive()
    }
}
