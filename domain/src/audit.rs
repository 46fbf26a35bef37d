//! Facts that belong to no aggregate: somebody read the record, or requests were refused.
//!
//! Each is the only event of its stream (`audit-<uuid>`, `refusals-<uuid>`), so recording one
//! never waits for another.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Facts that belong to no aggregate.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An operator read the record.
    Read(Read),
    /// Requests were refused before they concerned any stream.
    RequestRefused(RequestRefused),
}

/// An operator read the record; what they searched for is sealed beside the entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// The route that was read, such as `/api/v1/logins`.
    pub route: String,
}

/// Requests of one cause at one endpoint, of one client and from one address. The first of a minute
/// is recorded at once, the others of that minute together, so that noise cannot fill the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRefused {
    /// Where, such as `token` or `gateway`.
    pub endpoint: String,
    /// A stable word for the broken rule, such as `unknown_client`.
    pub cause: String,
    /// How many requests this stands for.
    pub count: u64,
    /// When the first of them came.
    #[serde(with = "crate::timestamp")]
    pub first_at: Timestamp,
    /// When the last of them came.
    #[serde(with = "crate::timestamp")]
    pub last_at: Timestamp,
    /// The redirect URI that was refused, of one request alone; see [`told_redirect_uri`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
}

const REDIRECT_URI_CHARS_MAX: usize = 200;

/// What the record keeps of a redirect URI that a stranger may have written: no query, fragment or
/// user information, which may hold anything; nothing that does not show; not much.
#[must_use]
pub fn told_redirect_uri(uri: &str) -> String {
    let uri = uri.split(['?', '#']).next().unwrap_or_default();
    let mut parts: Vec<&str> = uri.split('/').collect();
    // The first that is not a scheme is the authority, however many slashes are before it.
    let mut named = parts.iter_mut();
    if let Some(authority) = named.find(|part| !part.is_empty() && !part.ends_with(':')) {
        *authority = authority.rsplit('@').next().unwrap_or_default();
    }
    parts
        .join("/")
        .chars()
        .map(|c| if c.is_ascii_graphic() { c } else { '?' })
        .take(REDIRECT_URI_CHARS_MAX)
        .collect()
}
