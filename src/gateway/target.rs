//! Which protected resource a path means, and under which names it is known.
//!
//! `/mcp` is the default proxy's, `/proxy/{proxy_id}/mcp` each proxy's own; a slash at the end
//! names the same resource, and is kept where the client must find its own spelling again.

use domain::scope::Scope;

use crate::app::{ProxyTerms, Unavailable};
use crate::http::{Shared, Urls};

/// A protected resource as a client addressed it.
pub(super) struct Target {
    /// The proxy it is of.
    pub terms: ProxyTerms,
    /// Addressed as the default proxy's `/mcp`.
    pub is_default: bool,
    /// Addressed with a slash at the end and nothing behind it.
    has_slash: bool,
}

/// A path below no protected resource, or of a proxy that is not there or switched off.
pub(super) struct NoSuchProxy;

impl Target {
    /// [`Target::of`], or nothing if there is none, whichever node may have made it.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(super) async fn find<'a>(
        shared: &Shared,
        path: &'a str,
    ) -> Result<Option<(Self, &'a str)>, Unavailable> {
        if let Ok(found) = Self::of(shared, path) {
            return Ok(Some(found));
        }
        shared.app.catch_up().await?;
        Ok(Self::of(shared, path).ok())
    }

    /// The resource that a path names, and what stands behind it in the path: empty, or
    /// beginning with a slash.
    fn of<'a>(shared: &Shared, path: &'a str) -> Result<(Self, &'a str), NoSuchProxy> {
        let (proxy, rest) = match path.strip_prefix("/proxy/") {
            Some(path) => {
                let (proxy, rest) = path.split_once('/').ok_or(NoSuchProxy)?;
                let proxy = proxy.parse().map_err(|_| NoSuchProxy)?;
                (Some(proxy), rest.strip_prefix("mcp"))
            }
            None => (None, path.strip_prefix("/mcp")),
        };
        let rest = rest
            .filter(|rest| rest.is_empty() || rest.starts_with('/'))
            .ok_or(NoSuchProxy)?;
        let terms = proxy
            .or_else(|| shared.default_proxy())
            .and_then(|proxy| shared.app.directory.enabled(proxy))
            .ok_or(NoSuchProxy)?;
        let target = Self {
            terms,
            is_default: proxy.is_none(),
            has_slash: rest == "/",
        };
        Ok((target, rest))
    }

    /// The resource identifier, spelled as the client addressed it.
    pub(super) fn resource(&self, urls: &Urls) -> String {
        let mut url = if self.is_default {
            urls.default_mcp()
        } else {
            urls.mcp(self.terms.id)
        };
        if self.has_slash {
            url.push('/');
        }
        url
    }

    /// Where the resource's metadata is (RFC 9728 §3.1, the path inserted form).
    pub(super) fn metadata_url(&self, urls: &Urls) -> String {
        let origin = &urls.gateway;
        let resource = self.resource(urls);
        let path = resource.strip_prefix(origin.as_str()).unwrap_or_default();
        format!("{origin}{}{path}", super::resource_metadata::PATH)
    }

    /// What a token may be for to be good here.
    pub(super) fn audiences(&self, urls: &Urls) -> Vec<String> {
        urls.audiences(self.terms.id, self.is_default)
    }

    /// What a client is told to ask for: what it would get anyway, and what every call needs.
    pub(super) fn scopes_to_ask_for(&self) -> Scope {
        let settings = &self.terms.proxy.settings;
        for_resource(
            self.terms
                .default_scopes()
                .tokens()
                .chain(settings.required_scopes.tokens()),
        )
    }

    /// All scopes that mean something here.
    pub(super) fn scopes_supported(&self) -> Scope {
        let settings = &self.terms.proxy.settings;
        for_resource(
            self.terms
                .scopes()
                .tokens()
                .chain(settings.required_scopes.tokens()),
        )
    }
}

/// Scopes that a protected resource may name: `offline_access` is between the client and the
/// authorization server alone.
pub(super) fn for_resource<'a>(tokens: impl Iterator<Item = &'a str>) -> Scope {
    let tokens: Vec<_> = tokens.filter(|token| *token != "offline_access").collect();
    tokens.join(" ").parse().unwrap_or_default()
}
