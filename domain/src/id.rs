//! Identifiers. Each kind is its own type, so one cannot be passed for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The text is not an identifier of the expected kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct InvalidId {
    /// What would have been accepted.
    pub expected: &'static str,
}

/// Numbers given out one after the other, as users type them in URLs.
macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let canonical = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
                match text.parse() {
                    Ok(number) if canonical => Ok(Self(number)),
                    _ => Err(InvalidId { expected: $expected }),
                }
            }
        }
    };
}

/// UUIDs drawn outside the domain, written as 32 lower-case hexadecimal digits.
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.encode(&mut [0; $prefix.len() + 32]))
            }
        }

        impl $name {
            /// The text without the machinery of formatting, which costs ten times as much.
            fn encode<'a>(&self, buffer: &'a mut [u8; $prefix.len() + 32]) -> &'a str {
                let (prefix, digits) = buffer.split_at_mut($prefix.len());
                prefix.copy_from_slice($prefix.as_bytes());
                self.0.simple().encode_lower(digits);
                std::str::from_utf8(buffer).unwrap_or_default()
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let hex = text.strip_prefix($prefix);
                hex.and_then(uuid_of)
                    .map(Self)
                    .ok_or(InvalidId { expected: $expected })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.encode(&mut [0; $prefix.len() + 32]))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::text::deserialize(deserializer, $expected, str::parse)
            }
        }
    };
}

/// A UUID from its 32 lower-case hexadecimal digits. The `uuid` crate would accept other forms, too.
fn uuid_of(hex: &str) -> Option<Uuid> {
    let (pairs, []) = hex.as_bytes().as_chunks() else {
        return None;
    };
    let mut bytes = [0; 16];
    if pairs.len() != bytes.len() {
        return None;
    }
    let mut wrong = 0;
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (VALUES[usize::from(*high)], VALUES[usize::from(*low)]);
        *byte = (high << 4) | (low & 0x0f);
        wrong |= high | low;
    }
    (wrong < 16).then(|| Uuid::from_bytes(bytes))
}

/// What each character is worth as a lower-case hexadecimal digit; no digit: 255.
const VALUES: [u8; 256] = {
    let mut values = [u8::MAX; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value as usize] as usize] = value;
        value += 1;
    }
    values
};

number_id! {
    /// An upstream provider: 1, 2, 3, …
    ProviderId, "a positive provider number"
}
number_id! {
    /// A protected MCP server behind the gateway: 1, 2, 3, …
    ProxyId, "a positive proxy number"
}
uuid_id! {
    /// A registered client, `gateway_…` (RFC 7591 `client_id`).
    ClientId, "gateway_", "gateway_ and 32 hexadecimal digits"
}
uuid_id! {
    /// One authorization and everything that follows from it.
    GrantId, "", "a grant id of 32 hexadecimal digits"
}
uuid_id! {
    /// A resource owner: (provider, issuer, sub) seen through the vault's keyed index.
    SubjectId, "sub_", "sub_ and 32 hexadecimal digits"
}
uuid_id! {
    /// Somebody who administers or investigates.
    OperatorId, "op_", "op_ and 32 hexadecimal digits"
}
uuid_id! {
    /// A key that admits a script to one proxy.
    ApiKeyId, "key_", "key_ and 32 hexadecimal digits"
}

/// An event's id: a UUID v7, and the `jti` of the access token it issued, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub Uuid);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
