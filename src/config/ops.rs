//! `[ops]`: metrics and health.

use std::net::SocketAddr;

use super::ConfigError;
use super::key::Key;
use super::section::Section;
use super::server::LISTEN;

/// Where operations are looked after.
#[derive(Clone, Debug)]
pub struct Ops {
    /// The address of `/metrics`, `/healthz` and `/readyz`, which ask for no token. Default
    /// `127.0.0.1:9090`.
    pub listen: SocketAddr,
}

pub(super) const KEYS: &[Key] = &[Key::plain("listen", "127.0.0.1:9090", LISTEN)];

impl Ops {
    pub(super) fn read(section: &Section<'_, '_>) -> Result<Self, ConfigError> {
        Ok(Self {
            listen: section.or_default("listen")?,
        })
    }
}
