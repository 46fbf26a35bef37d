//! Every public address, built from configuration and never from a request.

use domain::id::{ProviderId, ProxyId};
use domain::resource::Resource;

/// The public addresses of this installation.
#[derive(Clone, Debug)]
pub struct Urls {
    /// Origin of the authorization server, without a trailing slash.
    pub server: String,
    /// Origin of the MCP gateway, without a trailing slash.
    pub gateway: String,
}

impl Urls {
    /// The issuer of a proxy, and the base of its endpoints.
    #[must_use]
    pub fn issuer(&self, proxy: ProxyId) -> String {
        format!("{}/api/v1/oauth-proxy/{proxy}", self.server)
    }

    /// Where a provider returns the browser.
    #[must_use]
    pub fn callback(&self, provider: ProviderId) -> String {
        format!("{}/api/v1/oauth/callback/{provider}", self.server)
    }

    /// The MCP endpoint that is a proxy's own, whatever the default proxy is.
    #[must_use]
    pub fn mcp(&self, proxy: ProxyId) -> String {
        format!("{}/proxy/{proxy}/mcp", self.gateway)
    }

    /// The MCP endpoint of the default proxy.
    #[must_use]
    pub fn default_mcp(&self) -> String {
        format!("{}/mcp", self.gateway)
    }

    /// What a token is good for at a proxy, canonical first: its own resource everywhere, that of `/mcp` only where it is the
    /// default.
    #[must_use]
    pub fn audiences(&self, proxy: ProxyId, is_default: bool) -> Vec<String> {
        let mut audiences = vec![self.mcp(proxy)];
        audiences.extend(is_default.then(|| self.default_mcp()));
        audiences
    }

    /// A proxy's canonical resource identifier (RFC 8707).
    #[must_use]
    pub fn resource(&self, proxy: ProxyId) -> Resource {
        resource(&self.mcp(proxy))
    }
}

/// The identifier of a protected resource at one of our own addresses.
pub(super) fn resource(url: &str) -> Resource {
    url.parse()
        .expect("configured URLs are absolute and have no fragment")
}
