//! `[[proxy]]`: declared proxies, with the members of the administration API. Applied at start as
//! commands, which record events only where they differ.

use domain::id::ProviderId;
use domain::redirect_uri::AllowedRedirects;
use serde::Deserialize;
use url::Url;

use super::ConfigError;
use super::error::Problem;
use super::key::{Key, nearest};
use super::layers::{Declared, Layers};
use super::list::List;
use super::proxy_config::ProxyConfig;
use super::section::Section;

/// A proxy that the file declares. Its name tells it from the others.
#[derive(Clone, Debug)]
pub struct DeclaredProxy {
    /// What operators and consent pages call it.
    pub name: String,
    /// The MCP server behind it.
    pub upstream_url: Url,
    /// Where people log in.
    pub provider: ProviderRef,
    /// The rest of its terms; `provider_id` is said in `provider`.
    pub config: ProxyConfig,
}

/// Which provider a declared proxy means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderRef {
    /// The one with this name: declared in the file, or added before.
    Name(String),
    /// The one with this number.
    Id(ProviderId),
}

/// What is said of a proxy whose provider has none of the known names.
#[must_use]
pub fn unknown_provider(name: &str, known: impl IntoIterator<Item = String>) -> String {
    let nearest = nearest(name, known);
    let hint = nearest.map_or_else(String::new, |name| format!(", did you mean \"{name}\"?"));
    format!("unknown provider \"{name}\"{hint}")
}

const SECONDS: &str = "a number of seconds";
const SCOPES: &str = "a space-separated list of scopes";
const FLAG: &str = "true or false";

/// The members of a proxy, as in `POST /api/v1/proxies`. Those that begin with `oauth_proxy_`
/// stand in its `config` table.
pub const MEMBERS: &[Key] = &[
    Key::plain("name", "", "a name of its own"),
    Key::plain(
        "upstream_url",
        "",
        "the http or https URL of the MCP server",
    ),
    Key::plain("provider", "", "the name of a provider"),
    Key::plain("config", "", "a table of oauth_proxy_ members"),
];

/// The members of a proxy's `config` table.
pub const CONFIG_MEMBERS: &[Key] = &[
    Key::plain("oauth_proxy_enabled", "true", FLAG),
    Key::plain(
        "oauth_proxy_mode",
        "gateway",
        "gateway, the only mode: the MCP specification forbids to pass a provider's token through",
    ),
    Key::plain("oauth_proxy_provider_id", "", "a positive provider number"),
    Key::plain(
        "oauth_proxy_allowed_redirects",
        "",
        "exact URIs, loopback patterns such as http://localhost:* or schemes such as cursor://*",
    ),
    Key::plain("oauth_proxy_require_consent", "true", FLAG),
    Key::plain("oauth_proxy_scopes", "", SCOPES),
    Key::plain("oauth_proxy_default_scopes", "", SCOPES),
    Key::plain("oauth_proxy_required_scopes", "", SCOPES),
    Key::plain("oauth_proxy_access_token_seconds", "3600", SECONDS),
    Key::plain("oauth_proxy_refresh_token_seconds", "2592000", SECONDS),
    Key::plain("oauth_proxy_grant_seconds", "31536000", SECONDS),
    Key::plain("oauth_proxy_refresh_retry_seconds", "600", SECONDS),
    Key::plain(
        "oauth_proxy_token_alg",
        "HS256",
        "HS256, ES256, EdDSA or RS256",
    ),
    Key::plain(
        "oauth_proxy_upstream_auth",
        "provider_token",
        "provider_token, none or static",
    ),
    Key::secret(
        "oauth_proxy_upstream_headers",
        "a table of header names and values",
    ),
    Key::plain(
        "oauth_proxy_allowed_subjects",
        "",
        "a list of e-mail domains, addresses or groups",
    ),
];

pub(super) fn read_all(layers: &Layers<'_>) -> Result<Vec<DeclaredProxy>, ConfigError> {
    let declared = layers.declared("proxy")?;
    declared
        .into_iter()
        .map(|declared| read(layers, declared))
        .collect()
}

fn read(layers: &Layers<'_>, declared: Declared<'_, '_>) -> Result<DeclaredProxy, ConfigError> {
    let section = Section::declared(layers, "proxy", &declared, MEMBERS)?;
    let config = section.nested("config", CONFIG_MEMBERS)?;
    let config = read_config(&config)?;
    let named: Option<String> = section.get("provider")?;
    let provider = match (named, config.provider_id) {
        (Some(name), None) => ProviderRef::Name(name),
        (None, Some(id)) => ProviderRef::Id(id),
        (Some(_), Some(_)) => {
            return Err(ConfigError {
                problem: Problem::Invalid {
                    key: format!("proxy.{}.provider", declared.name),
                    expected: "either provider or config.oauth_proxy_provider_id".to_owned(),
                    found: Some("both".to_owned()),
                },
                place: layers.hidden(declared.span),
            });
        }
        (None, None) => return Err(section.missing("provider")),
    };
    Ok(DeclaredProxy {
        upstream_url: section.required("upstream_url")?,
        name: declared.name,
        provider,
        config,
    })
}

fn read_config(config: &Section<'_, '_>) -> Result<ProxyConfig, ConfigError> {
    let subjects: Option<List<String>> = config.get("oauth_proxy_allowed_subjects")?;
    let redirects: Option<List<RedirectPattern>> = config.get("oauth_proxy_allowed_redirects")?;
    Ok(ProxyConfig {
        enabled: config.get("oauth_proxy_enabled")?,
        mode: config.get("oauth_proxy_mode")?,
        provider_id: config.get("oauth_proxy_provider_id")?,
        allowed_redirects: redirects.map(|List(patterns)| {
            AllowedRedirects::new(patterns.into_iter().map(|pattern| pattern.0))
        }),
        require_consent: config.get("oauth_proxy_require_consent")?,
        scopes: config.get("oauth_proxy_scopes")?,
        default_scopes: config.get("oauth_proxy_default_scopes")?,
        required_scopes: config.get("oauth_proxy_required_scopes")?,
        access_token_seconds: config.get("oauth_proxy_access_token_seconds")?,
        refresh_token_seconds: config.get("oauth_proxy_refresh_token_seconds")?,
        grant_seconds: config.get("oauth_proxy_grant_seconds")?,
        refresh_retry_seconds: config.get("oauth_proxy_refresh_retry_seconds")?,
        token_alg: config.get("oauth_proxy_token_alg")?,
        upstream_auth: config.get("oauth_proxy_upstream_auth")?,
        upstream_headers: config.secret_table("oauth_proxy_upstream_headers")?,
        allowed_subjects: subjects.map(|List(subjects)| subjects),
    })
}

/// An entry of the operator's list, judged when it is read.
struct RedirectPattern(String);

impl<'de> Deserialize<'de> for RedirectPattern {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pattern = String::deserialize(deserializer)?;
        AllowedRedirects::new([pattern.as_str()])
            .check()
            .map_err(serde::de::Error::custom)?;
        Ok(Self(pattern))
    }
}
