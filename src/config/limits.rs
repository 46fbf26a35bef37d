//! `[limits]`: rates, sizes and lives.

use serde::Deserialize;

use super::ConfigError;
use super::key::Key;
use super::section::Section;

/// What one address or client may ask of the service. 0 switches a limit off.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Client registrations per minute and address. Default 60.
    pub registrations_per_minute: u32,
    /// Authorization requests per minute and address. Default 300.
    pub authorizations_per_minute: u32,
    /// Token, revocation and introspection requests per minute, per address and per client that has
    /// a secret. Default 1200.
    pub tokens_per_minute: u32,
    /// The longest request body the gateway forwards, in bytes. All other endpoints take at most
    /// 64 KiB. Default 16777216 (16 MiB).
    pub mcp_body_bytes: u64,
    /// How long a registered client may go without a grant before it is removed, in hours; at most
    /// 876000, a hundred years. Default 24.
    pub unused_client_hours: u32,
}

const RATE: &str = "a number per minute, 0 for no limit";

pub(super) const KEYS: &[Key] = &[
    Key::plain("registrations_per_minute", "60", RATE),
    Key::plain("authorizations_per_minute", "300", RATE),
    Key::plain("tokens_per_minute", "1200", RATE),
    Key::plain(
        "mcp_body_bytes",
        "16777216",
        "a number of bytes, 0 for no limit",
    ),
    Key::plain(
        "unused_client_hours",
        "24",
        "a number of hours up to 876000, 0 for no limit",
    ),
];

impl Limits {
    pub(super) fn read(section: &Section<'_, '_>) -> Result<Self, ConfigError> {
        let UnusedHours(unused_client_hours) = section.or_default("unused_client_hours")?;
        Ok(Self {
            registrations_per_minute: section.or_default("registrations_per_minute")?,
            authorizations_per_minute: section.or_default("authorizations_per_minute")?,
            tokens_per_minute: section.or_default("tokens_per_minute")?,
            mcp_body_bytes: section.or_default("mcp_body_bytes")?,
            unused_client_hours,
        })
    }
}

/// So long ago there has to have been a time.
struct UnusedHours(u32);

impl<'de> Deserialize<'de> for UnusedHours {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            hours @ 0..=876_000 => Ok(Self(hours)),
            _ => Err(serde::de::Error::custom(
                "expected less than a hundred years",
            )),
        }
    }
}
