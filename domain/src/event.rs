//! Every event there is, under its frozen wire name.
//!
//! A stored event is a type name, a schema number and a JSON object. Names are frozen once
//! released; a change of shape that serde's defaults cannot bridge gets a new schema number and
//! a pure upcast in [`Event::decode`]. An unknown name or number is an error, never skipped.

use serde::{Deserialize, Serialize};

use crate::id::{ClientId, ProxyId, SubjectId};
use crate::{api_key, audit, client, grant, key, operator, provider, proxy, subject};

/// Whom and what an event is about, beside its own stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correlation {
    /// The proxy it happened at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_id: Option<ProxyId>,
    /// The client that was involved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<ClientId>,
    /// The person whose access it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<SubjectId>,
}

/// A stored event that this program cannot read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A newer program wrote it, or the log is damaged.
    #[error("unknown event {name} with schema {schema}")]
    Unknown {
        /// Its type name.
        name: String,
        /// Its schema number.
        schema: u16,
    },
    /// The data does not have the shape its type and schema promise.
    #[error("event {name} has unreadable data")]
    Data {
        /// Its type name.
        name: String,
        /// What was wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// The table of all events, from which everything that must not drift apart is generated.
macro_rules! events {
    ($( $kind:ident($module:ident) { $( $variant:ident = $name:literal @ $schema:literal, )* } )*) => {
        /// Anything that can have happened.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Event {
            $(
                #[doc = concat!("See [`", stringify!($module), "::Event`].")]
                $kind($module::Event),
            )*
        }

        impl Event {
            /// Every (type name, schema number) that is written today.
            pub const TYPES: &[(&str, u16)] = &[$($( ($name, $schema), )*)*];

            /// The frozen type name.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $($( Self::$kind($module::Event::$variant(_)) => $name, )*)* }
            }

            /// The number of the shape of its data.
            #[must_use]
            pub fn schema(&self) -> u16 {
                match self { $($( Self::$kind($module::Event::$variant(_)) => $schema, )*)* }
            }

            /// Reads stored data back.
            ///
            /// # Errors
            /// If the name or schema is unknown, or the data has another shape.
            pub fn decode(name: &str, schema: u16, data: &str) -> Result<Self, DecodeError> {
                match (name, schema) {
                    $($( ($name, $schema) => serde_json::from_str(data)
                        .map(|payload| Self::$kind($module::Event::$variant(payload))), )*)*
                    _ => return Err(DecodeError::Unknown { name: name.to_owned(), schema }),
                }
                .map_err(|source| DecodeError::Data { name: name.to_owned(), source })
            }
        }

        /// Serializes the data alone, as an object.
        impl Serialize for Event {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $($( Self::$kind($module::Event::$variant(payload)) => payload.serialize(serializer), )*)*
                }
            }
        }

        $(
            impl From<$module::Event> for Event {
                fn from(event: $module::Event) -> Self {
                    Self::$kind(event)
                }
            }

            impl TryFrom<Event> for $module::Event {
                type Error = Event;
                fn try_from(event: Event) -> Result<Self, Event> {
                    if let Event::$kind(event) = event { Ok(event) } else { Err(event) }
                }
            }
        )*
    };
}

events! {
    Provider(provider) {
        Added = "provider.added" @ 1,
        Changed = "provider.changed" @ 1,
        Removed = "provider.removed" @ 1,
    }
    Proxy(proxy) {
        Added = "proxy.added" @ 1,
        Changed = "proxy.changed" @ 1,
        Removed = "proxy.removed" @ 1,
    }
    Client(client) {
        Registered = "client.registered" @ 1,
        Updated = "client.updated" @ 1,
        FirstAuthorized = "client.first_authorized" @ 1,
        Removed = "client.removed" @ 1,
        Expired = "client.expired" @ 1,
    }
    Grant(grant) {
        LoginSucceeded = "grant.login_succeeded" @ 1,
        LoginFailed = "grant.login_failed" @ 1,
        ConsentDenied = "grant.consent_denied" @ 1,
        CodeIssued = "grant.code_issued" @ 1,
        CodeRedeemed = "grant.code_redeemed" @ 1,
        CodeReplayed = "grant.code_replayed" @ 1,
        RefreshTokenRotated = "grant.refresh_token_rotated" @ 1,
        RefreshTokenRetried = "grant.refresh_token_retried" @ 1,
        RefreshTokenReused = "grant.refresh_token_reused" @ 1,
        AccessTokenFirstUsed = "grant.access_token_first_used" @ 1,
        UpstreamTokenRefreshed = "grant.upstream_token_refreshed" @ 1,
        Revoked = "grant.revoked" @ 1,
    }
    Subject(subject) {
        FirstSeen = "subject.first_seen" @ 1,
    }
    Operator(operator) {
        Added = "operator.added" @ 1,
        Changed = "operator.changed" @ 1,
        TokenReplaced = "operator.token_replaced" @ 1,
        Removed = "operator.removed" @ 1,
    }
    ApiKey(api_key) {
        Issued = "api_key.issued" @ 1,
        Revoked = "api_key.revoked" @ 1,
    }
    Audit(audit) {
        Read = "audit.read" @ 1,
        RequestRefused = "request.refused" @ 1,
    }
    Key(key) {
        Created = "signing_key.created" @ 1,
        Retired = "signing_key.retired" @ 1,
    }
}
