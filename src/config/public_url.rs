//! The URLs under which the outside sees us. Every URL in an answer is built from one of them,
//! never from a request header.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::Deserialize;
use url::{Host, Url};

/// An origin: `https://host[:port]`, or `http` on a loopback host. No path, query, fragment or
/// user, because well-known URIs (RFC 8615) live at the root of an origin.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicUrl(Url);

/// The text is not such an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {EXPECTED}")]
pub struct InvalidPublicUrl;

pub(super) const EXPECTED: &str =
    "an https URL without path, query, fragment or user (http only for a loopback host)";

impl PublicUrl {
    /// As text, without a slash at the end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// As a URL, whose path is `/`.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// What a person reaches who listens at `listen` and says nothing else: the loopback address
    /// where it is one or where every address is listened to.
    pub(super) fn of_listener(listen: SocketAddr) -> Option<Self> {
        let host = match listen.ip() {
            ip if ip.is_loopback() => ip,
            ip if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            _ => return None,
        };
        let address = SocketAddr::new(host, listen.port());
        Url::parse(&format!("http://{address}")).ok().map(Self)
    }
}

/// Whether a URL is an origin and nothing else (RFC 6454 §6.2).
pub(super) fn is_bare(url: &Url) -> bool {
    url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
}

/// Whether a URL's host is the device itself.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

impl FromStr for PublicUrl {
    type Err = InvalidPublicUrl;
    fn from_str(text: &str) -> Result<Self, InvalidPublicUrl> {
        let url = Url::parse(text).map_err(|_| InvalidPublicUrl)?;
        let scheme = match url.scheme() {
            "https" => true,
            "http" => is_loopback(&url),
            _ => false,
        };
        if scheme && is_bare(&url) {
            Ok(Self(url))
        } else {
            Err(InvalidPublicUrl)
        }
    }
}

impl<'de> Deserialize<'de> for PublicUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
