//! Resource indicators (RFC 8707): which protected resource a token is for.
//!
//! A proxy's own resources are the URLs under which the gateway serves it, canonical first. What
//! a client asks for is resolved to one of them, so an audience is always spelled as we spell it.
//! Scheme and host compare without case, a default port and one trailing slash do not count;
//! another path is another resource.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

/// A protected resource's identifier: an absolute URL without fragment and user information.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Resource(Box<str>);

/// A resource indicator that no token can be issued for (`invalid_target`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTarget {
    /// Not an absolute URL, or one with a fragment or user information.
    #[error("expected an absolute resource URL without fragment")]
    Malformed,
    /// A well-formed resource that is not among those offered.
    #[error("expected a resource of this proxy")]
    Unknown,
}

/// The offered resource that a request means; `canonical` and `others` are names of one proxy.
///
/// A request that names none means the canonical one, and so does one that names several of them.
///
/// # Errors
/// Any of the requested is malformed or not offered: none is silently dropped.
pub fn resolve(
    requested: &[&str],
    canonical: &Resource,
    others: &[Resource],
) -> Result<Resource, InvalidTarget> {
    let mut resolved: Option<&Resource> = None;
    for text in requested {
        let wanted: Resource = text.parse()?;
        let found = std::iter::once(canonical)
            .chain(others)
            .find(|own| own.is_same_as(&wanted))
            .ok_or(InvalidTarget::Unknown)?;
        resolved = match resolved {
            Some(before) if before != found => Some(canonical),
            Some(_) | None => Some(found),
        };
    }
    Ok(resolved.unwrap_or(canonical).clone())
}

/// The resource that a token is for (RFC 8707 §2.2), where it is another one than was authorized.
///
/// Tokens for the canonical resource are good at each of the proxy's own, so a token for one of
/// them is less than was authorized; every other change would be more.
///
/// # Errors
/// The requested resource was not authorized.
pub fn narrowed(
    requested: Option<&RequestedResource>,
    authorized: &Resource,
) -> Result<Option<Resource>, InvalidTarget> {
    let Some(RequestedResource { resource, own }) =
        requested.filter(|requested| !requested.resource.is_same_as(authorized))
    else {
        return Ok(None);
    };
    let found = own.others.iter().find(|own| own.is_same_as(resource));
    match found {
        Some(found) if *authorized == own.canonical => Ok(Some(found.clone())),
        Some(_) | None => Err(InvalidTarget::Unknown),
    }
}

/// What a token request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedResource {
    /// `resource`, as sent.
    pub resource: Resource,
    /// What it may name.
    pub own: OwnResources,
}

/// The names of one proxy's resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnResources {
    /// The one whose tokens are good at all of them.
    pub canonical: Resource,
    /// The others.
    pub others: Vec<Resource>,
}

impl Resource {
    /// The identifier as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both name one resource.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self == other
            || match (Url::parse(&self.0), Url::parse(&other.0)) {
                (Ok(a), Ok(b)) => {
                    a.scheme() == b.scheme()
                        && a.host() == b.host()
                        && a.port_or_known_default() == b.port_or_known_default()
                        && without_slash(a.path()) == without_slash(b.path())
                        && a.query() == b.query()
                }
                (Ok(_) | Err(_), _) => false,
            }
    }
}

fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

impl FromStr for Resource {
    type Err = InvalidTarget;
    fn from_str(text: &str) -> Result<Self, InvalidTarget> {
        let plain = text.len() <= 2048 && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
        match Url::parse(text) {
            Ok(url)
                if plain
                    && url.has_host()
                    && url.fragment().is_none()
                    && url.username().is_empty()
                    && url.password().is_none() =>
            {
                Ok(Self(text.into()))
            }
            Ok(_) | Err(_) => Err(InvalidTarget::Malformed),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANONICAL: &str = "https://mcp.example/proxy/1/mcp";
    const SHORT: &str = "https://mcp.example/mcp";

    #[track_caller]
    fn check(requested: &[&str], expected: Result<&str, InvalidTarget>) {
        let canonical = CANONICAL.parse().expect("valid");
        let others = [SHORT.parse().expect("valid")];
        let resolved = resolve(requested, &canonical, &others);
        let resolved = resolved.as_ref().map(Resource::as_str).map_err(|&e| e);
        assert_eq!(resolved, expected, "{requested:?}");
    }

    #[test]
    fn none_means_the_canonical_one() {
        check(&[], Ok(CANONICAL));
    }

    #[test]
    fn spelling_does_not_matter_where_urls_say_so() {
        for same in [
            "https://mcp.example/mcp",
            "https://mcp.example/mcp/",
            "HTTPS://MCP.Example/mcp",
            "https://mcp.example:443/mcp",
        ] {
            check(&[same], Ok(SHORT));
        }
    }

    #[test]
    fn anything_else_is_another_resource() {
        for other in [
            "https://mcp.example",
            "https://mcp.example/MCP",
            "https://mcp.example/mcp//",
            "https://mcp.example/mcp?a",
            "https://mcp.example/proxy/2/mcp",
            "https://mcp.example:8443/mcp",
            "http://mcp.example/mcp",
            "https://mcp.example.evil/mcp",
        ] {
            check(&[other], Err(InvalidTarget::Unknown));
        }
    }

    #[test]
    fn what_is_no_resource_indicator_is_refused() {
        for text in [
            "",
            "/mcp",
            "mcp.example/mcp",
            "https://mcp.example/mcp#x",
            "https://mcp.example/mcp#",
            "https://a@mcp.example/mcp",
            " https://mcp.example/mcp",
            "https://mcp.example/m\tcp",
            "urn:mcp",
        ] {
            check(&[text], Err(InvalidTarget::Malformed));
        }
    }

    #[test]
    fn several_must_all_be_names_of_the_proxy() {
        check(&[SHORT, "https://MCP.example/mcp/"], Ok(SHORT));
        check(&[SHORT, CANONICAL], Ok(CANONICAL));
        check(&[SHORT, CANONICAL, SHORT], Ok(CANONICAL));
        check(
            &["https://mcp.example/mcp", "https://other.example/"],
            Err(InvalidTarget::Unknown),
        );
    }
}
