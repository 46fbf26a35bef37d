//! Client metadata (RFC 7591 §2): what a client says about itself, judged and reduced to what is
//! kept.
//!
//! Invariants: unknown members are ignored; `null` and empty strings count as absent (RFC 7592
//! §2.2). What nothing here uses is judged but not kept: `contacts`, because people's addresses
//! do not belong in a log that is for ever, and `jwks`/`jwks_uri`, as long as `private_key_jwt`
//! is not offered. `grant_types` that are not offered are dropped and the rest is echoed, because
//! real clients list all they know. Nothing is ever fetched.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use crate::redirect_uri::{AllowedRedirects, InvalidRedirectUri, RedirectUri};
use crate::scope::Scope;
use crate::text::{NAME_CHARS_MAX, is_deceptive};

/// What is kept of a client's metadata. What it left open is absent; see
/// [`effective`](Self::effective) for what holds then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientMetadata {
    /// Where answers may go; at least one.
    pub redirect_uris: Vec<RedirectUri>,
    /// How it authenticates; absent: it did not choose, and has a secret that it may send as it
    /// likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_method: Option<AuthMethod>,
    /// What it may ask of the token endpoint; `authorization_code` always is among them.
    pub grant_types: Vec<GrantType>,
    /// What it calls itself, without characters that deceive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// Its home page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_uri: Option<String>,
    /// Its logo; never fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logo_uri: Option<String>,
    /// Its terms of service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tos_uri: Option<String>,
    /// Its privacy policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_uri: Option<String>,
    /// What it says it will ask for; empty: it did not say.
    #[serde(default, skip_serializing_if = "Scope::is_empty")]
    pub scope: Scope,
    /// Which software it is an instance of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software_id: Option<String>,
    /// Which version of that software.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software_version: Option<String>,
    /// `web` or `native`, as it says; no rule depends on it, because clients get it wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_type: Option<String>,
}

/// How a client authenticates at the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// Not at all: a public client.
    None,
    /// With its secret in the `Authorization` header.
    ClientSecretBasic,
    /// With its secret in the body.
    ClientSecretPost,
}

/// What a client may ask of the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantType {
    /// Exchange a code.
    AuthorizationCode,
    /// Exchange a refresh token.
    RefreshToken,
}

/// Metadata that cannot be registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMetadata {
    /// `redirect_uris` is missing or no list (`invalid_redirect_uri`).
    #[error("redirect_uris: expected an array of 1 to 20 strings")]
    RedirectUris,
    /// Some of `redirect_uris` break a rule; all of those are named (`invalid_redirect_uri`).
    #[error("redirect_uris: {}", join(.0))]
    RedirectUri(Vec<InvalidRedirectUri>),
    /// Another member cannot be accepted (`invalid_client_metadata`).
    #[error("{member}: expected {expected}")]
    Member {
        /// Its name.
        member: &'static str,
        /// What would have been accepted.
        expected: &'static str,
    },
    /// What would be kept of it is too much (`invalid_client_metadata`).
    #[error("expected at most 16384 bytes of metadata")]
    Size,
    /// The metadata is no JSON object (`invalid_client_metadata`).
    #[error("expected a JSON object")]
    NotAnObject,
    /// Nobody's statements are trusted here (`unapproved_software_statement`).
    #[error("software_statement: expected none, as no issuer of statements is trusted")]
    SoftwareStatement,
}

impl InvalidMetadata {
    /// The stable word for it in the record.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::RedirectUris => "redirect_uris_missing",
            Self::RedirectUri(_) => "redirect_uri_refused",
            Self::Member { .. } | Self::Size => "metadata_refused",
            Self::NotAnObject => "malformed_json",
            Self::SoftwareStatement => "software_statement",
        }
    }
}

const REDIRECT_URIS_MAX: usize = 20;
const LIST_MAX: usize = 50;
const URL_BYTES_MAX: usize = 2048;
const SCOPE_BYTES_MAX: usize = 4096;
/// Anybody may register, and what is kept is in the log for ever.
const METADATA_BYTES_MAX: usize = 16 * 1024;

impl ClientMetadata {
    /// Parses what a client sent, and judges its redirect URIs by the proxy's list.
    ///
    /// # Errors
    /// A member that must be understood is malformed, too large or not offered.
    pub fn parse(document: &Value, allowed: &AllowedRedirects) -> Result<Self, InvalidMetadata> {
        let members = document.as_object().ok_or(InvalidMetadata::NotAnObject)?;
        let redirect_uris = redirect_uris(members, allowed)?;
        if string(members, "software_statement")?.is_some() {
            return Err(InvalidMetadata::SoftwareStatement);
        }
        check_response_types(members)?;
        check_unused(members)?;
        let metadata = Self {
            redirect_uris,
            token_endpoint_auth_method: auth_method(members)?,
            grant_types: grant_types(members)?,
            client_name: label(members, "client_name")?,
            client_uri: page(members, "client_uri")?,
            logo_uri: page(members, "logo_uri")?,
            tos_uri: page(members, "tos_uri")?,
            policy_uri: page(members, "policy_uri")?,
            scope: scope(members)?,
            software_id: label(members, "software_id")?,
            software_version: label(members, "software_version")?,
            application_type: label(members, "application_type")?,
        };
        let kept = serde_json::to_vec(&metadata).map_or(usize::MAX, |kept| kept.len());
        if kept > METADATA_BYTES_MAX {
            return Err(InvalidMetadata::Size);
        }
        Ok(metadata)
    }

    /// How the client authenticates, chosen or not.
    #[must_use]
    pub fn auth_method(&self) -> AuthMethod {
        self.token_endpoint_auth_method
            .unwrap_or(AuthMethod::ClientSecretBasic)
    }

    /// Whether the client cannot keep a secret, and has none.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.auth_method() == AuthMethod::None
    }

    /// Whether the client may ask for this.
    #[must_use]
    pub fn allows(&self, grant_type: GrantType) -> bool {
        self.grant_types.contains(&grant_type)
    }

    /// The metadata that holds, defaults included, as members of a registration response. Parsing
    /// it again gives the same; there is no `null` in it.
    #[must_use]
    pub fn effective(&self) -> Map<String, Value> {
        let mut members = match serde_json::to_value(self) {
            Ok(Value::Object(members)) => members,
            Ok(_) | Err(_) => Map::new(),
        };
        let method = match self.auth_method() {
            AuthMethod::None => "none",
            AuthMethod::ClientSecretBasic => "client_secret_basic",
            AuthMethod::ClientSecretPost => "client_secret_post",
        };
        members.insert("token_endpoint_auth_method".to_owned(), method.into());
        members.insert("response_types".to_owned(), vec!["code"].into());
        members
    }
}

impl AuthMethod {
    fn offered(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::None),
            "client_secret_basic" => Some(Self::ClientSecretBasic),
            "client_secret_post" => Some(Self::ClientSecretPost),
            _ => None,
        }
    }
}

fn redirect_uris(
    members: &Map<String, Value>,
    allowed: &AllowedRedirects,
) -> Result<Vec<RedirectUri>, InvalidMetadata> {
    let texts = match members.get("redirect_uris") {
        Some(Value::Array(texts)) if (1..=REDIRECT_URIS_MAX).contains(&texts.len()) => texts,
        Some(_) | None => return Err(InvalidMetadata::RedirectUris),
    };
    let mut admitted = Vec::new();
    let mut refused = Vec::new();
    for text in texts {
        match allowed.admit(text.as_str().ok_or(InvalidMetadata::RedirectUris)?) {
            Ok(uri) if admitted.contains(&uri) => {}
            Ok(uri) => admitted.push(uri),
            Err(error) => refused.push(error),
        }
    }
    if refused.is_empty() {
        Ok(admitted)
    } else {
        Err(InvalidMetadata::RedirectUri(refused))
    }
}

/// The chosen method, or the best offered one of `token_endpoint_auth_methods_supported`, which
/// some clients send in its place; `none` first, because who can do without a secret should.
fn auth_method(members: &Map<String, Value>) -> Result<Option<AuthMethod>, InvalidMetadata> {
    let chosen = string(members, "token_endpoint_auth_method")?;
    if let Some(method) = chosen.and_then(AuthMethod::offered) {
        return Ok(Some(method));
    }
    let supported = strings(members, "token_endpoint_auth_methods_supported")?;
    if chosen.is_none() && supported.is_none() {
        return Ok(None);
    }
    let supported = supported.unwrap_or_default();
    ["none", "client_secret_basic", "client_secret_post"]
        .into_iter()
        .find(|method| supported.contains(method))
        .and_then(AuthMethod::offered)
        .map(Some)
        .ok_or(InvalidMetadata::Member {
            member: "token_endpoint_auth_method",
            expected: "none, client_secret_basic or client_secret_post",
        })
}

fn grant_types(members: &Map<String, Value>) -> Result<Vec<GrantType>, InvalidMetadata> {
    let Some(names) = strings(members, "grant_types")? else {
        return Ok(vec![GrantType::AuthorizationCode]);
    };
    let mut offered = Vec::new();
    for name in names {
        let grant_type = match name {
            "authorization_code" => GrantType::AuthorizationCode,
            "refresh_token" => GrantType::RefreshToken,
            _ => continue,
        };
        if !offered.contains(&grant_type) {
            offered.push(grant_type);
        }
    }
    if offered.contains(&GrantType::AuthorizationCode) {
        Ok(offered)
    } else {
        Err(InvalidMetadata::Member {
            member: "grant_types",
            expected: "authorization_code, with or without refresh_token",
        })
    }
}

fn check_response_types(members: &Map<String, Value>) -> Result<(), InvalidMetadata> {
    match strings(members, "response_types")? {
        Some(names) if names.is_empty() || names.iter().any(|name| *name != "code") => {
            Err(InvalidMetadata::Member {
                member: "response_types",
                expected: "code alone",
            })
        }
        Some(_) | None => Ok(()),
    }
}

/// Judges the members that are not kept, so that a mistake in them is not hidden.
fn check_unused(members: &Map<String, Value>) -> Result<(), InvalidMetadata> {
    strings(members, "contacts")?;
    let jwks = members.get("jwks").filter(|jwks| !jwks.is_null());
    if jwks.is_some_and(|jwks| !jwks.is_object()) {
        return Err(InvalidMetadata::Member {
            member: "jwks",
            expected: "a JSON object",
        });
    }
    if page(members, "jwks_uri")?.is_some() && jwks.is_some() {
        return Err(InvalidMetadata::Member {
            member: "jwks",
            expected: "either jwks or jwks_uri",
        });
    }
    Ok(())
}

fn scope(members: &Map<String, Value>) -> Result<Scope, InvalidMetadata> {
    let text = string(members, "scope")?.unwrap_or_default();
    match text.parse() {
        Ok(scope) if text.len() <= SCOPE_BYTES_MAX => Ok(scope),
        Ok(_) | Err(_) => Err(InvalidMetadata::Member {
            member: "scope",
            expected: "at most 4096 bytes of space-separated scope tokens",
        }),
    }
}

/// A text for people. Deceptive characters are taken out rather than refused, so that a harmless
/// oddity does not keep a client out.
fn label(
    members: &Map<String, Value>,
    member: &'static str,
) -> Result<Option<String>, InvalidMetadata> {
    let text = string(members, member)?.unwrap_or_default();
    let shown = text.replace(is_deceptive, "");
    let shown = shown.trim();
    if shown.chars().count() > NAME_CHARS_MAX {
        return Err(InvalidMetadata::Member {
            member,
            expected: "at most 200 characters",
        });
    }
    Ok((!shown.is_empty()).then(|| shown.to_owned()))
}

/// The URL of a document on the web.
fn page(
    members: &Map<String, Value>,
    member: &'static str,
) -> Result<Option<String>, InvalidMetadata> {
    let Some(text) = string(members, member)? else {
        return Ok(None);
    };
    let plain = text.len() <= URL_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic());
    match Url::parse(text) {
        Ok(url) if plain && url.scheme() == "https" && url.username().is_empty() => {
            Ok(Some(text.to_owned()))
        }
        Ok(_) | Err(_) => Err(InvalidMetadata::Member {
            member,
            expected: "an https URL of at most 2048 bytes",
        }),
    }
}

fn string<'a>(
    members: &'a Map<String, Value>,
    member: &'static str,
) -> Result<Option<&'a str>, InvalidMetadata> {
    match members.get(member) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(InvalidMetadata::Member {
            member,
            expected: "a string",
        }),
    }
}

fn strings<'a>(
    members: &'a Map<String, Value>,
    member: &'static str,
) -> Result<Option<Vec<&'a str>>, InvalidMetadata> {
    let texts = match members.get(member) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(values)) if values.len() <= LIST_MAX => {
            values.iter().map(Value::as_str).collect()
        }
        Some(_) => None,
    };
    texts.map(Some).ok_or(InvalidMetadata::Member {
        member,
        expected: "an array of at most 50 strings",
    })
}

fn join(refused: &[InvalidRedirectUri]) -> String {
    let texts: Vec<String> = refused.iter().map(ToString::to_string).collect();
    texts.join("; ")
}
