//! `[gateway]`: protected MCP endpoints.

use std::net::SocketAddr;

use domain::id::ProxyId;
use serde::Deserialize;
use url::{Origin, Url};

use super::ConfigError;
use super::key::Key;
use super::list::List;
use super::public_url::{self, PublicUrl};
use super::section::Section;
use super::server::{LISTEN, public_url_or_listener};

/// Where the MCP gateway is, and whom it admits.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// The address it listens at. Default `127.0.0.1:9001`.
    pub listen: SocketAddr,
    /// The origin under which MCP clients reach it: part of every resource identifier. Default:
    /// `http://` and the port of `listen` on the loopback address, `http://127.0.0.1:9001`.
    pub public_url: PublicUrl,
    /// The browser origins that may call it; another `Origin` gets 403. Default: loopback origins
    /// and those of both public URLs. A list replaces the default.
    pub allowed_origins: Option<Vec<Origin>>,
    /// The proxy behind `/mcp`. Default: the lowest number there is.
    pub default_proxy: Option<ProxyId>,
}

pub(super) const KEYS: &[Key] = &[
    Key::plain("listen", "127.0.0.1:9001", LISTEN),
    Key::plain("public_url", "http://127.0.0.1:9001", public_url::EXPECTED),
    Key::plain(
        "allowed_origins",
        "",
        "origins such as https://app.example.com",
    ),
    Key::plain("default_proxy", "", "a positive proxy number"),
];

impl Gateway {
    pub(super) fn read(section: &Section<'_, '_>) -> Result<Self, ConfigError> {
        let listen = section.or_default("listen")?;
        let origins: Option<List<BareOrigin>> = section.get("allowed_origins")?;
        let number: Option<ProxyNumber> = section.get("default_proxy")?;
        Ok(Self {
            listen,
            public_url: public_url_or_listener(section, "gateway", listen)?,
            allowed_origins: origins
                .map(|List(origins)| origins.into_iter().map(|origin| origin.0).collect()),
            default_proxy: number.map(|number| number.0),
        })
    }

    /// Whether a browser with this `Origin` header may call: from a listed origin, or, without
    /// `gateway.allowed_origins`, from a loopback one or one of `own`, the public URLs'.
    #[must_use]
    pub fn admits_origin(&self, origin: &str, own: &[Origin]) -> bool {
        let Some((url, BareOrigin(origin))) = parse_origin(origin) else {
            return false;
        };
        match &self.allowed_origins {
            Some(allowed) => allowed.contains(&origin),
            None => public_url::is_loopback(&url) || own.contains(&origin),
        }
    }
}

/// A number that is not 0.
struct ProxyNumber(ProxyId);

impl<'de> Deserialize<'de> for ProxyNumber {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match ProxyId::deserialize(deserializer)? {
            ProxyId(0) => Err(serde::de::Error::custom("expected a positive number")),
            id => Ok(Self(id)),
        }
    }
}

/// `scheme://host[:port]` and nothing else (RFC 6454 §6.2).
struct BareOrigin(Origin);

fn parse_origin(text: &str) -> Option<(Url, BareOrigin)> {
    let url = Url::parse(text).ok()?;
    let origin = url.origin();
    let is_origin = matches!(url.scheme(), "http" | "https") && public_url::is_bare(&url);
    is_origin.then_some((url, BareOrigin(origin)))
}

impl<'de> Deserialize<'de> for BareOrigin {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let origin = parse_origin(&text).map(|(_, origin)| origin);
        origin.ok_or_else(|| serde::de::Error::custom("expected an origin"))
    }
}
