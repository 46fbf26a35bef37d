//! `[server]`: authorization server and administration.

use std::net::SocketAddr;

use super::key::Key;
use super::public_url::{self, PublicUrl};
use super::section::Section;
use super::{ConfigError, error::Place, error::Problem};

/// Where the authorization server is.
#[derive(Clone, Debug)]
pub struct Server {
    /// The address it listens at. Default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// The origin under which browsers and clients reach it: part of every issuer, so changing it
    /// invalidates what was issued. Default: `http://` and the port of `listen` on the loopback
    /// address, `http://127.0.0.1:8080`.
    pub public_url: PublicUrl,
}

pub(super) const LISTEN: &str = "an address and port such as 127.0.0.1:8080";

pub(super) const KEYS: &[Key] = &[
    Key::plain("listen", "127.0.0.1:8080", LISTEN),
    Key::plain("public_url", "http://127.0.0.1:8080", public_url::EXPECTED),
];

impl Server {
    pub(super) fn read(section: &Section<'_, '_>) -> Result<Self, ConfigError> {
        let listen = section.or_default("listen")?;
        Ok(Self {
            listen,
            public_url: public_url_or_listener(section, "server", listen)?,
        })
    }
}

/// The default port of the URL follows the listener's, so that one flag is enough to move a
/// service that is only reached locally.
pub(super) fn public_url_or_listener(
    section: &Section<'_, '_>,
    name: &str,
    listen: SocketAddr,
) -> Result<PublicUrl, ConfigError> {
    if let Some(url) = section.get("public_url")? {
        return Ok(url);
    }
    PublicUrl::of_listener(listen).ok_or_else(|| ConfigError {
        problem: Problem::Missing {
            key: format!("{name}.public_url"),
            expected: format!("the URL under which {listen} is reached"),
        },
        place: Place::Unset,
    })
}
