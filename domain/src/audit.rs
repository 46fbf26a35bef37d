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

/// Requests of one cause at one endpoint. The first of a minute is recorded at once, the others
/// of that minute together, so that noise cannot fill the disk.
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
}
