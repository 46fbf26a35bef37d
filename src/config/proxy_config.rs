//! The terms of a proxy as operators write them: the `config` member of the administration API
//! and of a declared `[[proxy]]`.

use std::collections::BTreeMap;

use domain::id::ProviderId;
use domain::key::Algorithm;
use domain::proxy::{Settings, UpstreamAuth};
use domain::redirect_uri::AllowedRedirects;
use domain::scope::Scope;
use serde::Deserialize;
use url::Url;

use crate::secret::Secret;

/// The terms of a proxy. What is absent takes its default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyConfig {
    /// `false` switches the proxy off: its endpoints answer 404. Default `true`.
    #[serde(rename = "oauth_proxy_enabled")]
    pub enabled: Option<bool>,
    /// `gateway` is the only mode.
    #[serde(rename = "oauth_proxy_mode")]
    pub mode: Option<Mode>,
    /// Where people log in.
    #[serde(rename = "oauth_proxy_provider_id")]
    pub provider_id: Option<ProviderId>,
    /// Which redirect URIs may be registered. Default: loopback only.
    #[serde(rename = "oauth_proxy_allowed_redirects")]
    pub allowed_redirects: Option<AllowedRedirects>,
    /// Whether people are asked before they are sent to the provider. Default `true`.
    #[serde(rename = "oauth_proxy_require_consent")]
    pub require_consent: Option<bool>,
    /// What clients may ask for. Default: the provider's scopes.
    #[serde(rename = "oauth_proxy_scopes")]
    pub scopes: Option<Scope>,
    /// What clients get that ask for nothing. Default: all of them.
    #[serde(rename = "oauth_proxy_default_scopes")]
    pub default_scopes: Option<Scope>,
    /// What every call needs. Default: nothing.
    #[serde(rename = "oauth_proxy_required_scopes")]
    pub required_scopes: Option<Scope>,
    /// An access token's life, in seconds. Default 3600.
    #[serde(rename = "oauth_proxy_access_token_seconds")]
    pub access_token_seconds: Option<u32>,
    /// How long a refresh token may go unused, in seconds. Default 2592000 (30 days).
    #[serde(rename = "oauth_proxy_refresh_token_seconds")]
    pub refresh_token_seconds: Option<u32>,
    /// The whole grant's life, in seconds. Default 31536000 (365 days).
    #[serde(rename = "oauth_proxy_grant_seconds")]
    pub grant_seconds: Option<u32>,
    /// How long a replaced refresh token may be retried, in seconds; 0: never. Default 600.
    #[serde(rename = "oauth_proxy_refresh_retry_seconds")]
    pub refresh_retry_seconds: Option<u32>,
    /// What access tokens are signed with. Default `HS256`.
    #[serde(rename = "oauth_proxy_token_alg")]
    pub token_alg: Option<Algorithm>,
    /// What the MCP server gets in place of the client's token. Default `provider_token`.
    #[serde(rename = "oauth_proxy_upstream_auth")]
    pub upstream_auth: Option<UpstreamAuth>,
    /// The headers of `static`, kept in the vault.
    #[serde(rename = "oauth_proxy_upstream_headers")]
    pub upstream_headers: Option<BTreeMap<String, Secret>>,
    /// Who may log in: verified e-mail addresses (with `@`), domains of such (like a host name), groups (anything else).
    /// Default: everybody the provider lets in.
    #[serde(rename = "oauth_proxy_allowed_subjects")]
    pub allowed_subjects: Option<Vec<String>>,
}

/// How a proxy stands between client and provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It issues tokens of its own. Passing a provider's token through to an MCP server is what
    /// the MCP specification forbids.
    #[default]
    Gateway,
}

impl ProxyConfig {
    /// The terms with their defaults; what is secret or personal of them is not in there.
    #[must_use]
    pub fn settings(&self, name: String, upstream_url: Url, provider_id: ProviderId) -> Settings {
        Settings {
            name,
            upstream_url,
            enabled: self.enabled.unwrap_or(true),
            provider_id,
            allowed_redirects: self.allowed_redirects.clone().unwrap_or_default(),
            require_consent: self.require_consent.unwrap_or(true),
            scopes: self.scopes.clone(),
            default_scopes: self.default_scopes.clone(),
            required_scopes: self.required_scopes.clone().unwrap_or_default(),
            access_token_s: self.access_token_seconds.unwrap_or(60 * 60),
            refresh_token_s: self.refresh_token_seconds.unwrap_or(30 * 24 * 60 * 60),
            grant_s: self.grant_seconds.unwrap_or(365 * 24 * 60 * 60),
            refresh_retry_s: self.refresh_retry_seconds.unwrap_or(600),
            token_alg: self.token_alg.unwrap_or_default(),
            upstream_auth: self.upstream_auth.unwrap_or_default(),
        }
    }
}
