//! Where a provider is: its endpoints and how its answers are to be believed
//! (OpenID Connect Discovery 1.0, RFC 9207).
//!
//! Explicit settings win over the document found at the issuer. A document that names another
//! issuer than the one it was fetched from is never used, Entra ID's per-tenant form excepted,
//! whose gap is closed by each ID token's `tid`. The endpoints it names are held to the rules of those
//! that operators set.
//!
//! Endpoints given without an issuer: the issuer is worked out from them (see `kinds`). Where no
//! document is to be found, a configured key set verifies ID tokens whose issuer lives where the
//! authorization endpoint does; without one, an okta, google or azure_ad provider is used as a
//! plain OAuth 2 server with its userinfo endpoint, or the one beside its token endpoint. An ID
//! token without a key set to verify it is never read, and type `oidc` never does without one.

use std::str::FromStr;
use std::sync::Arc;

use chrono::TimeDelta;
use domain::Timestamp;
use domain::provider::{Kind, Settings};
use jsonwebtoken::Algorithm;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use url::Url;

use super::failure::LoginFailure;
use super::issuer::{Issuer, azure_tenant_of, same_issuer};
use super::kinds::{self, Candidate, Misconfigured, Origin};
use super::transport::{self, Unreachable};
use super::{Federation, github, jwks};

const MAX_AGE: TimeDelta = TimeDelta::hours(1);
/// Short, so that a provider put right is found soon.
const ABSENT_MAX_AGE: TimeDelta = TimeDelta::seconds(30);

/// A provider, resolved.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    pub(super) issuer: Issuer,
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) client_auth: ClientAuth,
    /// Whether every authorization answer carries `iss` (RFC 9207 §3).
    pub(super) iss_announced: bool,
    pub(super) identity: Identity,
}

/// Where it is learnt who logged in.
#[derive(Clone, Debug)]
pub(super) enum Identity {
    /// From a verified ID token; the rest of the profile from userinfo where the token is thin.
    IdToken {
        jwks_uri: Url,
        algorithms: Vec<Algorithm>,
        userinfo: Option<Url>,
    },
    /// From the userinfo endpoint alone.
    Userinfo(Url),
    /// From GitHub's API.
    Github(Url),
}

/// How we authenticate at the token endpoint (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientAuth {
    Basic,
    Post,
    /// The provider does not say: basic, and post if that is refused.
    Either,
}

/// OpenID Connect Discovery §3, as far as it matters here. A member that may be absent and is not
/// what it should be is taken for absent.
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    issuer: String,
    authorization_endpoint: Url,
    token_endpoint: Url,
    #[serde(default, deserialize_with = "or_absent")]
    jwks_uri: Option<Url>,
    #[serde(default, deserialize_with = "or_absent")]
    userinfo_endpoint: Option<Url>,
    #[serde(default, deserialize_with = "or_absent")]
    id_token_signing_alg_values_supported: Vec<String>,
    #[serde(default, deserialize_with = "or_absent")]
    token_endpoint_auth_methods_supported: Vec<String>,
    #[serde(default, deserialize_with = "or_absent")]
    authorization_response_iss_parameter_supported: bool,
}

fn or_absent<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

impl Federation {
    /// Finds out how to speak to a provider, asking it where the settings do not tell.
    pub(super) async fn resolve(
        &self,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<Upstream, LoginFailure> {
        kinds::validate(settings).map_err(LoginFailure::Misconfigured)?;
        match settings.kind {
            Kind::Github => return of_github(settings),
            Kind::Oauth2 => return oauth2(settings),
            Kind::Oidc | Kind::Okta | Kind::Google | Kind::AzureAd => {}
        }
        if let Some(upstream) = explicit(settings) {
            return Ok(upstream);
        }
        let candidates = kinds::issuers(settings).map_err(LoginFailure::Misconfigured)?;
        for candidate in &candidates {
            let found = self.document(candidate, now).await;
            let found = found.map_err(|_| LoginFailure::UpstreamUnavailable)?;
            if let Some(document) = found.as_ref()
                && (candidate.from != Origin::Guess || document.confirms(candidate, settings))
            {
                return document.upstream(candidate, settings);
            }
        }
        undiscovered(settings, &candidates)
    }

    async fn document(
        &self,
        candidate: &Candidate,
        now: Timestamp,
    ) -> Result<Arc<Option<Document>>, Unreachable> {
        let max_age = |document: &Option<Document>| match document {
            Some(_) => MAX_AGE,
            None => ABSENT_MAX_AGE,
        };
        let url = document_url(&candidate.issuer);
        let fetch = self.fetch_document(candidate);
        self.documents.get(&url, now, max_age, fetch).await
    }

    /// Asks for the document, whatever is in hand; none where there is no usable one.
    pub(super) async fn fetch_document(
        &self,
        candidate: &Candidate,
    ) -> Result<Option<Document>, Unreachable> {
        let url = document_url(&candidate.issuer);
        let reply = transport::send("discovery", self.client.get(url)).await?;
        // That nothing is where it was only guessed to be is no news.
        Ok(
            match candidate.from == Origin::Guess && !reply.status.is_success() {
                true => None,
                false => reply.document(),
            },
        )
    }
}

fn document_url(issuer: &Url) -> Url {
    let mut url = issuer.clone();
    url.set_query(None);
    let path = issuer.path().trim_end_matches('/');
    url.set_path(&format!("{path}/.well-known/openid-configuration"));
    url
}

impl Document {
    /// Whether a document found by guessing speaks of the endpoints that were configured.
    fn confirms(&self, candidate: &Candidate, settings: &Settings) -> bool {
        let same = |configured: &Option<Url>, found: &Url| {
            configured.as_ref().is_some_and(|url| {
                let mut url = url.clone();
                url.set_query(None);
                url == *found
            })
        };
        same_issuer(&self.issuer, candidate.issuer.as_str())
            && same(&settings.authorization_url, &self.authorization_endpoint)
            && same(&settings.token_url, &self.token_endpoint)
    }

    fn upstream(
        &self,
        candidate: &Candidate,
        settings: &Settings,
    ) -> Result<Upstream, LoginFailure> {
        let issuer = self.issuer_for(candidate, settings.kind)?;
        let secure = candidate.issuer.scheme() == "https";
        let usable = |url: &&Url| kinds::is_usable(url) && (url.scheme() == "https" || !secure);
        let endpoint = |configured: &Option<Url>, found: Option<&Url>| {
            configured.as_ref().or(found.filter(usable)).cloned()
        };
        let required = |url: Option<Url>| url.ok_or(LoginFailure::DiscoveryFailed);
        // Entra ID's userinfo is a Graph API and refuses tokens for any other.
        let userinfo = match settings.kind {
            Kind::AzureAd => settings.userinfo_url.clone(),
            Kind::Oidc | Kind::Okta | Kind::Google | Kind::Github | Kind::Oauth2 => {
                endpoint(&settings.userinfo_url, self.userinfo_endpoint.as_ref())
            }
        };
        Ok(Upstream {
            issuer,
            authorization_endpoint: required(endpoint(
                &settings.authorization_url,
                Some(&self.authorization_endpoint),
            ))?,
            token_endpoint: required(endpoint(&settings.token_url, Some(&self.token_endpoint)))?,
            client_auth: self.client_auth(settings.kind),
            iss_announced: self.authorization_response_iss_parameter_supported,
            identity: Identity::IdToken {
                jwks_uri: required(endpoint(&settings.jwks_url, self.jwks_uri.as_ref()))?,
                algorithms: self.algorithms(),
                userinfo,
            },
        })
    }

    fn issuer_for(&self, candidate: &Candidate, kind: Kind) -> Result<Issuer, LoginFailure> {
        if same_issuer(&self.issuer, candidate.issuer.as_str()) {
            Ok(Issuer::Known(self.issuer.clone()))
        } else if kind == Kind::AzureAd && azure_tenant_of(&self.issuer, &candidate.issuer) {
            Ok(Issuer::of_azure(&self.issuer))
        } else {
            Err(LoginFailure::DiscoveryWrongIssuer)
        }
    }

    fn client_auth(&self, kind: Kind) -> ClientAuth {
        let methods = &self.token_endpoint_auth_methods_supported;
        let has = |method: &str| methods.iter().any(|known| known == method);
        match kind {
            Kind::Google | Kind::AzureAd | Kind::Github => ClientAuth::Post,
            Kind::Oidc | Kind::Okta | Kind::Oauth2 => {
                match has("client_secret_post") && !has("client_secret_basic") {
                    true => ClientAuth::Post,
                    false => ClientAuth::Basic,
                }
            }
        }
    }

    fn algorithms(&self) -> Vec<Algorithm> {
        let announced = self.id_token_signing_alg_values_supported.iter();
        let known: Vec<_> = announced
            .filter_map(|name| Algorithm::from_str(name).ok())
            .filter(|algorithm| jwks::ASYMMETRIC.contains(algorithm))
            .collect();
        match self.id_token_signing_alg_values_supported.is_empty() {
            true => jwks::ASYMMETRIC.to_vec(),
            false => known,
        }
    }
}

/// Everything an ID token needs is in the settings: nothing is left to discover.
fn explicit(settings: &Settings) -> Option<Upstream> {
    let issuer = kinds::without_root_slash(settings.issuer.as_ref()?);
    Some(Upstream {
        issuer: Issuer::Known(issuer),
        authorization_endpoint: settings.authorization_url.clone()?,
        token_endpoint: settings.token_url.clone()?,
        client_auth: undiscovered_auth(settings.kind),
        iss_announced: false,
        identity: Identity::IdToken {
            jwks_uri: settings.jwks_url.clone()?,
            algorithms: jwks::ASYMMETRIC.to_vec(),
            userinfo: settings.userinfo_url.clone(),
        },
    })
}

/// An OpenID provider without a document: by what the settings tell, if that is enough.
fn undiscovered(settings: &Settings, candidates: &[Candidate]) -> Result<Upstream, LoginFailure> {
    let failed = LoginFailure::DiscoveryFailed;
    let (Some(authorization_url), Some(token_url)) =
        (&settings.authorization_url, &settings.token_url)
    else {
        return Err(failed);
    };
    let userinfo = settings.userinfo_url.clone();
    let identity = match (&settings.jwks_url, userinfo, settings.kind) {
        (Some(jwks_uri), userinfo, _) => Identity::IdToken {
            jwks_uri: jwks_uri.clone(),
            algorithms: jwks::ASYMMETRIC.to_vec(),
            userinfo,
        },
        (None, _, Kind::Oidc) => return Err(failed),
        (None, Some(url), _) => Identity::Userinfo(url),
        // Whoever names an issuer expects its ID tokens to be verified.
        (None, None, _) if settings.issuer.is_some() => return Err(failed),
        (None, None, _) => Identity::Userinfo(token_url.join("userinfo").map_err(|_| failed)?),
    };
    // A name that stays the same should the provider publish its document one day.
    let name = match candidates {
        [ruled] if ruled.from == Origin::Rule => kinds::without_root_slash(&ruled.issuer),
        _ => kinds::assumed_issuer(settings, authorization_url),
    };
    Ok(Upstream {
        issuer: Issuer::Assumed(name),
        authorization_endpoint: authorization_url.clone(),
        token_endpoint: token_url.clone(),
        client_auth: undiscovered_auth(settings.kind),
        iss_announced: false,
        identity,
    })
}

fn undiscovered_auth(kind: Kind) -> ClientAuth {
    match kind {
        Kind::Google | Kind::AzureAd | Kind::Github => ClientAuth::Post,
        Kind::Oidc | Kind::Okta | Kind::Oauth2 => ClientAuth::Either,
    }
}

fn oauth2(settings: &Settings) -> Result<Upstream, LoginFailure> {
    let given = |url: &Option<Url>| {
        url.clone()
            .ok_or(LoginFailure::Misconfigured(Misconfigured::Endpoints))
    };
    let authorization_endpoint = given(&settings.authorization_url)?;
    let name = kinds::assumed_issuer(settings, &authorization_endpoint);
    Ok(Upstream {
        issuer: match settings.issuer {
            Some(_) => Issuer::Known(name),
            None => Issuer::Assumed(name),
        },
        authorization_endpoint,
        token_endpoint: given(&settings.token_url)?,
        client_auth: undiscovered_auth(settings.kind),
        iss_announced: false,
        identity: Identity::Userinfo(given(&settings.userinfo_url)?),
    })
}

fn of_github(settings: &Settings) -> Result<Upstream, LoginFailure> {
    let github =
        github::endpoints(settings).ok_or(LoginFailure::Misconfigured(Misconfigured::Url))?;
    Ok(Upstream {
        issuer: Issuer::Assumed(github.issuer),
        authorization_endpoint: github.authorization_endpoint,
        token_endpoint: github.token_endpoint,
        client_auth: ClientAuth::Post,
        iss_announced: false,
        identity: Identity::Github(github.user_url),
    })
}
